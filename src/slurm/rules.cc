#include "slurm/rules.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/config.h"
#include "base/unicode.h"
#include "posix/names.h"

namespace roster::slurm {
namespace {

using accounting::Ending;
using accounting::Setting;
using accounting::Settings;

constexpr std::size_t kTextBytesMax = 1 << 20;
constexpr std::size_t kAccountsMax = 5000;
constexpr std::size_t kLevelsMax = 100;  // of accounts
constexpr std::size_t kItemsMax = 10000;
constexpr std::size_t kStringBytesMax = 256;
constexpr std::chrono::hours kGraceMax{24 * 90};

std::unexpected<Error> wrong(std::string sentence) {
  return fail(Code::kInvalidArgument, std::move(sentence));
}

Result<void> check_string(const std::string& text) {
  if (text.empty()) return wrong("must not be empty");
  if (text.size() > kStringBytesMax) return fail(Code::kTooLarge, "is longer than 256 bytes");
  if (!is_valid_utf8(text) || has_control_characters(text)) {
    return wrong("must be text without control characters");
  }
  return {};
}

/// A name as `account_name` leaves it, and not Slurm's own.
Result<void> check_account_name(const std::string& name) {
  RETURN_IF_ERROR(check_string(name));
  if (name == accounting::kRootAccount) {
    return wrong("\"root\" is Slurm's own account: choose another name");
  }
  const std::string good = account_name(name);
  if (good == name) return {};
  return wrong("is no name of an account: lower case letters, digits, \"_\" and \"-\"" +
               (good.empty() ? std::string() : ", as in \"" + good + "\""));
}

Result<void> check_parent(const std::string& name) {
  return name == accounting::kRootAccount ? Result<void>() : check_account_name(name);
}

Result<void> check_login(const std::string& name) {
  if (name.starts_with('@')) {
    return wrong("\"" + printable(name) + "\" is a group: only people who are named here");
  }
  if (!posix::LoginName::parse(name)) {
    return wrong("\"" + printable(name) + "\" is no login name; groups are written as \"@name\"");
  }
  return {};
}

Result<void> check_group(const std::string& name) { return check_string(name); }

Result<void> check_person_or_group(const std::string& name) {
  if (!name.starts_with('@')) return check_login(name);
  return check_group(name.substr(1));
}

Result<void> check_description(const std::string& text) {
  RETURN_IF_ERROR(check_string(text));
  if (text.find_first_of("\"'\\") == std::string::npos) return {};
  return wrong("must be without quotes and backslashes, which sacctmgr takes away");
}

using Check = Result<void> (*)(const std::string&);

void bind_string(ConfigReader& reader, std::string key, std::string& target,
                 Check check = check_string) {
  reader.bind_text(std::move(key), [&target, check](std::string text) -> Result<void> {
    RETURN_IF_ERROR(check(text));
    target = std::move(text);
    return {};
  });
}

void bind_optional(ConfigReader& reader, std::string key, std::optional<std::string>& target,
                   Check check = check_string) {
  reader.bind_text(std::move(key), [&target, check](std::string text) -> Result<void> {
    RETURN_IF_ERROR(check(text));
    target = std::move(text);
    return {};
  });
}

void bind_names(ConfigReader& reader, std::string key, std::vector<std::string>& target,
                Check check) {
  reader.bind_list(std::move(key),
                   [&target, check](std::vector<std::string> items) -> Result<void> {
                     if (items.size() > kItemsMax) {
                       return fail(Code::kTooLarge, "names more than 10000");
                     }
                     std::set<std::string_view> seen;
                     for (const std::string& each : items) {
                       RETURN_IF_ERROR(check(each));
                       if (!seen.insert(each).second) {
                         return wrong("names \"" + printable(each) + "\" twice");
                       }
                     }
                     target = std::move(items);
                     return {};
                   });
}

template <typename T>
struct Choice {
  std::string_view name;
  T value;
};

template <typename T, std::size_t n>
void bind_choice(ConfigReader& reader, std::string key, T& target, const Choice<T> (&choices)[n]) {
  reader.bind_text(std::move(key), [&target, &choices](const std::string& text) -> Result<void> {
    std::string all;
    for (const Choice<T>& each : choices) {
      if (each.name == text) {
        target = each.value;
        return {};
      }
      all += (all.empty() ? "\"" : ", \"") + std::string(each.name) + "\"";
    }
    return wrong("must be one of " + all);
  });
}

constexpr Choice<Rules::From> kFrom[] = {{"none", Rules::From::kNone},
                                         {"all", Rules::From::kAll},
                                         {"prefix", Rules::From::kPrefix},
                                         {"list", Rules::From::kList},
                                         {"attribute", Rules::From::kAttribute}};
constexpr Choice<Rules::Attribute> kAttributes[] = {
    {"client", Rules::Attribute::kClient},
    {"externalId", Rules::Attribute::kExternalId},
    {"displayName", Rules::Attribute::kDisplayName}};
constexpr Choice<Rules::Name> kNames[] = {{"posix", Rules::Name::kPosix},
                                          {"display", Rules::Name::kDisplay}};
constexpr Choice<bool> kOrphans[] = {{"keep", false}, {"remove", true}};
constexpr Choice<Ending::NewJobs> kNewJobs[] = {{"stop", Ending::NewJobs::kStop},
                                                {"remove", Ending::NewJobs::kRemove}};
constexpr Choice<Ending::Jobs> kJobs[] = {{"keep", Ending::Jobs::kKeep},
                                          {"hold", Ending::Jobs::kHold},
                                          {"cancel", Ending::Jobs::kCancel}};

Result<void> set(Settings& settings, Setting setting, std::string_view text) {
  ASSIGN_OR_RETURN(settings[setting], accounting::canonical(setting, text));
  return {};
}

/// fairshare, qos, default_qos and limits below `prefix`.
void bind_settings(ConfigReader& reader, const std::string& prefix, Settings& settings) {
  reader.bind_text(prefix + "fairshare", [&settings](const std::string& text) {
    return set(settings, Setting::kFairshare, text);
  });
  reader.bind_text(prefix + "default_qos", [&settings](const std::string& text) {
    return set(settings, Setting::kDefaultQos, text);
  });
  reader.bind_list(prefix + "qos",
                   [&settings](const std::vector<std::string>& items) -> Result<void> {
                     if (items.empty()) {
                       return wrong("must name a QOS; leave it out to inherit those above");
                     }
                     std::string list;
                     for (const std::string& each : items) {
                       if (each.find(',') != std::string::npos) {
                         return wrong("must be a list of names, each in quotes of its own");
                       }
                       list += (list.empty() ? "" : ",") + each;
                     }
                     return set(settings, Setting::kQos, list);
                   });
  reader.bind_texts(prefix + "limits",
                    [&settings](const std::string& name, const std::string& text) -> Result<void> {
                      const auto setting = accounting::setting_named(name);
                      if (!setting || *setting <= Setting::kDefaultQos) {
                        return wrong(
                            "is no limit: GrpTRES, GrpJobs, MaxTRESPerJob, MaxJobs, "
                            "MaxSubmitJobs, MaxWallDurationPerJob and the others of "
                            "sacctmgr(1)");
                      }
                      if (settings.contains(*setting)) return wrong("is given twice");
                      return set(settings, *setting, text);
                    });
}

void bind_ending(ConfigReader& reader, const std::string& section, Ending& ending) {
  bind_choice(reader, section + ".new_jobs", ending.new_jobs, kNewJobs);
  bind_choice(reader, section + ".jobs", ending.jobs, kJobs);
  reader.bind_text(section + ".grace", [&ending](const std::string& text) -> Result<void> {
    ASSIGN_OR_RETURN(ending.grace, parse_duration(text));
    if (ending.grace > kGraceMax) return wrong("must be at most 90d");
    return {};
  });
}

/// What depends on `from`, and is a mistake without it.
struct Given {
  bool strip_prefix = false;
  bool attribute = false;
};

void bind_all(ConfigReader& reader, Rules& rules, Given& given) {
  bind_choice(reader, "accounts.from", rules.from, kFrom);
  bind_string(reader, "accounts.prefix", rules.prefix);
  reader.bind("accounts.strip_prefix", rules.strip_prefix);
  bind_names(reader, "accounts.groups", rules.groups, check_group);
  reader.bind_text("accounts.attribute", [&rules, &given](const std::string& text) -> Result<void> {
    given.attribute = true;
    for (const auto& each : kAttributes) {
      if (each.name == text) {
        rules.attribute = each.value;
        return {};
      }
    }
    return wrong("must be one of \"client\", \"externalId\", \"displayName\"");
  });
  bind_optional(reader, "accounts.equals", rules.equals);
  bind_optional(reader, "accounts.starts_with", rules.starts_with);
  bind_choice(reader, "accounts.name", rules.name, kNames);
  bind_string(reader, "accounts.parent", rules.parent, check_parent);
  bind_choice(reader, "accounts.orphans", rules.remove_orphans, kOrphans);
  bind_settings(reader, "accounts.", rules.settings);
  reader.bind_tables("account", [&rules](std::string name, ConfigReader& inner) -> Result<void> {
    RETURN_IF_ERROR(check_account_name(name));
    if (rules.accounts.size() >= kAccountsMax) {
      return fail(Code::kTooLarge, "is one account more than 5000");
    }
    AccountRule& account = rules.accounts[std::move(name)];
    bind_names(inner, "groups", account.groups, check_group);
    bind_string(inner, "parent", account.parent, check_parent);
    bind_optional(inner, "description", account.description, check_description);
    bind_settings(inner, "", account.settings);
    bind_settings(inner, "members.", account.members);
    bind_names(inner, "coordinators", account.coordinators, check_person_or_group);
    return {};
  });
  bind_names(reader, "users.default_accounts", rules.default_accounts, check_account_name);
  bind_string(reader, "users.no_group", rules.no_group, check_account_name);
  bind_settings(reader, "users.", rules.users);
  bind_names(reader, "admins.operators", rules.operators, check_person_or_group);
  bind_names(reader, "admins.administrators", rules.administrators, check_login);
  bind_ending(reader, "leavers", rules.leavers);
  bind_ending(reader, "left_group", rules.left_group);
}

/// Each way of choosing groups has its own keys.
Result<void> check_from(const Rules& rules, const Given& given) {
  const auto need = [&](bool has, Rules::From from, std::string_view key,
                        std::string_view value) -> Result<void> {
    const std::string from_text = "accounts.from = \"" + std::string(value) + "\"";
    if (rules.from == from && !has) {
      return wrong("accounts." + std::string(key) + ": " + from_text + " needs it");
    }
    if (rules.from != from && has) {
      return wrong("accounts." + std::string(key) + ": is only read with " + from_text);
    }
    return {};
  };
  RETURN_IF_ERROR(need(!rules.prefix.empty(), Rules::From::kPrefix, "prefix", "prefix"));
  if (rules.strip_prefix && rules.from != Rules::From::kPrefix) {
    return wrong("accounts.strip_prefix: is only read with accounts.from = \"prefix\"");
  }
  RETURN_IF_ERROR(need(!rules.groups.empty(), Rules::From::kList, "groups", "list"));
  RETURN_IF_ERROR(need(given.attribute, Rules::From::kAttribute, "attribute", "attribute"));
  const bool both = rules.equals && rules.starts_with;
  if (both) return wrong("accounts.equals: not together with accounts.starts_with");
  return need(rules.equals || rules.starts_with, Rules::From::kAttribute, "equals", "attribute");
}

/// Parents are accounts, and nobody is above themselves.
Result<void> check_tree(const Rules& rules) {
  const auto known = [&rules](const std::string& name) {
    // What groups become is only known with the groups.
    return name == accounting::kRootAccount || rules.accounts.contains(name) ||
           rules.from != Rules::From::kNone;
  };
  if (rules.parent != accounting::kRootAccount && !rules.accounts.contains(rules.parent)) {
    return wrong("accounts.parent: there is no [account." + rules.parent + "]: add it");
  }
  if (!rules.no_group.empty() && !rules.accounts.contains(rules.no_group)) {
    return wrong("users.no_group: there is no [account." + rules.no_group + "]: add it");
  }
  for (const auto& [name, account] : rules.accounts) {
    if (!known(account.parent)) {
      return wrong("account." + name + ".parent: there is no [account." + account.parent +
                   "]: add it, or take \"root\"");
    }
    std::string path = name;
    std::size_t steps = 0;
    for (auto at = rules.accounts.find(account.parent); at != rules.accounts.end();
         at = rules.accounts.find(at->second.parent)) {
      if (++steps > kLevelsMax) {
        return wrong("account." + name +
                     ".parent: there are more than 100 accounts above it, or a "
                     "circle of them");
      }
      path += " -> " + at->first;
      if (at->first == name) {
        return wrong("account." + name + ".parent: goes round in a circle: " + path);
      }
    }
  }
  return {};
}

bool has_item(std::string_view list, std::string_view item) {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    if (list.substr(0, comma) == item) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

/// The QOS that an account allows by the rules, its own or the nearest above; empty: all.
std::string_view qos_of(const Rules& rules, const std::string& account) {
  auto at = rules.accounts.find(account);
  while (at != rules.accounts.end()) {
    const std::string_view own = value_of(at->second.settings, Setting::kQos);
    if (!own.empty()) return own;
    at = rules.accounts.find(at->second.parent);
  }
  return "";
}

Result<void> check_default_qos(const Settings& settings, std::string_view above,
                               const std::string& key) {
  const std::string_view wanted = value_of(settings, Setting::kDefaultQos);
  const std::string_view own = value_of(settings, Setting::kQos);
  const std::string_view allowed = own.empty() ? above : own;
  if (wanted.empty() || allowed.empty() || has_item(allowed, wanted)) return {};
  return wrong(key + ": \"" + std::string(wanted) + "\" is not among the QOS allowed there (" +
               std::string(allowed) + "): Slurm would refuse it");
}

Settings merged(Settings above, const Settings& own) {
  for (const auto& [setting, value] : own) above[setting] = value;
  return above;
}

Result<void> check_qos(const Rules& rules) {
  const std::string_view above = qos_of(rules, rules.parent);
  RETURN_IF_ERROR(check_default_qos(rules.settings, above, "accounts.default_qos"));
  const std::string_view own = value_of(rules.settings, Setting::kQos);
  if (rules.from != Rules::From::kNone) {
    RETURN_IF_ERROR(check_default_qos(rules.users, own.empty() ? above : own, "users.default_qos"));
  }
  for (const auto& [name, account] : rules.accounts) {
    RETURN_IF_ERROR(check_default_qos(account.settings, qos_of(rules, account.parent),
                                      "account." + name + ".default_qos"));
    if (account.groups.empty() && name != rules.no_group) continue;
    const bool own_default = account.members.contains(Setting::kDefaultQos);
    RETURN_IF_ERROR(check_default_qos(merged(rules.users, account.members), qos_of(rules, name),
                                      own_default ? "account." + name + ".members.default_qos"
                                                  : "users.default_qos, in account " + name));
  }
  return {};
}

Result<void> check(const Rules& rules, const Given& given) {
  RETURN_IF_ERROR(check_from(rules, given));
  RETURN_IF_ERROR(check_tree(rules));
  RETURN_IF_ERROR(check_qos(rules));
  for (const auto* ending : {&rules.leavers, &rules.left_group}) {
    if (ending->grace.count() == 0 || ending->jobs == Ending::Jobs::kCancel) continue;
    const std::string section = ending == &rules.leavers ? "leavers" : "left_group";
    return wrong(section + ".grace: is only read with " + section + ".jobs = \"cancel\"");
  }
  return {};
}

}  // namespace

std::string account_name(std::string_view group) {
  std::string out;
  for (const char c : ascii_lower(group)) {
    const bool kept = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
    if (kept) {
      out += c;
    } else if (!out.ends_with('_')) {
      out += '_';
    }
  }
  const std::size_t first = out.find_first_not_of("_-");
  if (first == std::string::npos) return "";
  return out.substr(first, out.find_last_not_of("_-") - first + 1);
}

Result<Rules> parse_rules(std::string_view text, std::string_view name) {
  if (text.size() > kTextBytesMax) {
    return fail(Code::kTooLarge, std::string(name) + ": is larger than 1 MiB");
  }
  Rules rules;
  Given given;
  ConfigReader reader;
  bind_all(reader, rules, given);
  RETURN_IF_ERROR(reader.read_text(text, name));
  if (const auto checked = check(rules, given); !checked) return fail_in(name, checked.error());
  return rules;
}

}  // namespace roster::slurm
