#include "directory/settings.h"

#include <algorithm>
#include <array>
#include <utility>

#include "posix/id_ranges.h"
#include "posix/names.h"
#include "posix/reserved_names.h"
#include "posix/shell.h"

namespace roster::directory {
namespace {

constexpr store::Statement kSettings{"org.settings", "SELECT settings FROM org WHERE n = $1"};

constexpr std::size_t kListMax = 64;
constexpr std::size_t kReservedNamesMax = 1000;
constexpr std::size_t kGroupPrefixBytesMax = 16;

constexpr std::array kLoginSources = std::to_array<std::pair<LoginSource, std::string_view>>({
    {LoginSource::kUserName, "userName"},
    {LoginSource::kEmail, "email"},
    {LoginSource::kNickName, "nickName"},
    {LoginSource::kExternalId, "externalId"},
});

json::array to_array(const std::vector<std::string>& texts) {
  json::array out;
  for (const std::string& text : texts) out.emplace_back(text);
  return out;
}

Result<std::vector<std::string>> read_texts(const json::object& o, std::string_view name,
                                            std::vector<std::string> otherwise) {
  const json::value* member = json::find(o, name);
  if (member == nullptr) return otherwise;
  std::vector<std::string> texts;
  if (!member->is_array()) return fail(Code::kDataLoss, std::string(name) + ": not a list");
  for (const json::value& item : member->get_array()) {
    if (!item.is_string()) return fail(Code::kDataLoss, std::string(name) + ": not texts");
    texts.emplace_back(json::view(item.get_string()));
  }
  return texts;
}

std::string read_text(const json::object& o, std::string_view name, std::string_view otherwise) {
  return std::string(json::find_string(o, name).value_or(otherwise));
}

Result<void> check_shells(const OrgSettings& settings) {
  if (settings.shells.size() > kListMax) {
    return fail(Code::kInvalidArgument, "shells: more than " + std::to_string(kListMax));
  }
  for (const std::string& shell : settings.shells) {
    if (auto valid = posix::validate_shell_path(shell); !valid) {
      return fail_in("shells", valid.error());
    }
  }
  const auto allowed = settings.shells.empty()
                           ? posix::check_shell(settings.default_shell)
                           : posix::check_shell(settings.default_shell, settings.shells);
  if (!allowed) return fail_in("default_shell", allowed.error());
  return {};
}

}  // namespace

Result<Rules> check_settings(const OrgSettings& settings) {
  auto prefixes = posix::HomePrefixes::parse(settings.home_prefixes);
  if (!prefixes) return fail_in("home_prefixes", prefixes.error());
  auto home_template = posix::HomeTemplate::parse(settings.home_template, *prefixes);
  if (!home_template) return fail_in("home_template", home_template.error());
  RETURN_IF_ERROR(check_shells(settings));
  if (settings.admitted_ids.size() > kListMax) {
    return fail(Code::kInvalidArgument, "admitted_ids: more than " + std::to_string(kListMax));
  }
  for (const posix::IdBlock& block : settings.admitted_ids) {
    if (auto valid = posix::validate_import_block(block); !valid) {
      return fail_in("admitted_ids", valid.error());
    }
  }
  if (settings.reserved_names.size() > kReservedNamesMax) {
    return fail(Code::kInvalidArgument,
                "reserved_names: more than " + std::to_string(kReservedNamesMax));
  }
  if (!settings.group_prefix.empty()) {
    const auto valid = posix::GroupName::parse(settings.group_prefix);
    if (!valid) return fail_in("group_prefix", valid.error());
    if (settings.group_prefix.size() > kGroupPrefixBytesMax) {
      return fail(Code::kInvalidArgument,
                  "group_prefix: longer than " + std::to_string(kGroupPrefixBytesMax) + " bytes");
    }
  }
  std::set<std::string, std::less<>> reserved;
  for (const std::string& name : settings.reserved_names) {
    if (auto valid = posix::LoginName::parse(name); !valid) {
      return fail_in("reserved_names", valid.error());
    }
    reserved.insert(name);
  }
  return Rules{settings, std::move(*prefixes), std::move(*home_template), std::move(reserved)};
}

std::string settings_to_json(const OrgSettings& settings) {
  json::object o;
  o["leaver_policy"] = settings.leaver_policy == LeaverPolicy::kHide ? "hide" : "lock";
  o["home_template"] = settings.home_template;
  o["home_prefixes"] = to_array(settings.home_prefixes);
  o["default_shell"] = settings.default_shell;
  o["shells"] = to_array(settings.shells);
  json::array admitted;
  for (const posix::IdBlock& block : settings.admitted_ids) {
    admitted.emplace_back(posix::format_block(block));
  }
  o["admitted_ids"] = std::move(admitted);
  o["rebind_deleted"] = settings.rebind_deleted;
  o["reserved_names"] = to_array(settings.reserved_names);
  o["nested_groups"] = settings.nested_groups;
  o["scim_api"] = settings.scim_api;
  o["automated_provisioning"] = settings.automated_provisioning;
  o["user_provisioning"] = settings.user_provisioning;
  o["login_from"] = login_source_name(settings.login_from);
  o["group_prefix"] = settings.group_prefix;
  o["primary_gid"] = settings.primary_gid;
  return json::canonical(o);
}

Result<OrgSettings> settings_from_json(std::string_view text) {
  const auto parsed = json::parse(text);
  if (!parsed || !parsed->is_object()) {
    return fail(Code::kDataLoss, "the stored settings of the organization are not a JSON object");
  }
  const json::object& o = parsed->get_object();
  OrgSettings settings;
  if (json::find_string(o, "leaver_policy") == "hide") settings.leaver_policy = LeaverPolicy::kHide;
  settings.home_template = read_text(o, "home_template", settings.home_template);
  ASSIGN_OR_RETURN(settings.home_prefixes, read_texts(o, "home_prefixes", settings.home_prefixes));
  settings.default_shell = read_text(o, "default_shell", settings.default_shell);
  ASSIGN_OR_RETURN(settings.shells, read_texts(o, "shells", {}));
  ASSIGN_OR_RETURN(const std::vector<std::string> blocks, read_texts(o, "admitted_ids", {}));
  for (const std::string& block : blocks) {
    const auto parsed_block = posix::parse_block(block);
    if (!parsed_block) return fail(Code::kDataLoss, "admitted_ids: " + block);
    settings.admitted_ids.push_back(*parsed_block);
  }
  settings.rebind_deleted = json::find_bool(o, "rebind_deleted").value_or(false);
  ASSIGN_OR_RETURN(settings.reserved_names, read_texts(o, "reserved_names", {}));
  settings.nested_groups = json::find_bool(o, "nested_groups").value_or(true);
  settings.scim_api = json::find_bool(o, "scim_api").value_or(true);
  settings.automated_provisioning = json::find_bool(o, "automated_provisioning").value_or(true);
  settings.user_provisioning = json::find_bool(o, "user_provisioning").value_or(true);
  const auto login_from = parse_login_source(read_text(o, "login_from", "userName"));
  if (!login_from) return fail(Code::kDataLoss, login_from.error().message);
  settings.login_from = *login_from;
  settings.group_prefix = read_text(o, "group_prefix", "");
  if (const auto gid = json::find_int(o, "primary_gid")) {
    settings.primary_gid = static_cast<std::uint32_t>(*gid);
  }
  return settings;
}

std::string_view login_source_name(LoginSource source) {
  return std::ranges::find(kLoginSources, source, &decltype(kLoginSources)::value_type::first)
      ->second;
}

Result<LoginSource> parse_login_source(std::string_view text) {
  const auto found =
      std::ranges::find(kLoginSources, text, &decltype(kLoginSources)::value_type::second);
  if (found != kLoginSources.end()) return found->first;
  return fail(Code::kInvalidArgument, "login_from must be userName, email, nickName or externalId");
}

bool Rules::reserves(std::string_view name) const {
  return posix::is_reserved_name(name) || reserved_names.contains(name);
}

Result<std::shared_ptr<const Rules>> RulesCache::get(store::Tx& tx, OrgN org) {
  ASSIGN_OR_RETURN(
      const std::optional<std::string> text,
      tx.query_one(kSettings, [](const store::Row& row) { return std::string(row.text(0)); }, org));
  if (!text) return fail(Code::kNotFound, "there is no such organization");
  {
    const std::lock_guard lock(mutex_);
    const auto known = entries_.find(org);
    if (known != entries_.end() && known->second.text == *text) return known->second.rules;
  }
  ASSIGN_OR_RETURN(const OrgSettings settings, settings_from_json(*text));
  ASSIGN_OR_RETURN(Rules checked, check_settings(settings));
  auto rules = std::make_shared<const Rules>(std::move(checked));
  const std::lock_guard lock(mutex_);
  entries_[org] = {*text, rules};
  return rules;
}

}  // namespace roster::directory
