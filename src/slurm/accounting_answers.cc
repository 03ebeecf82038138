#include "slurm/accounting_answers.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "base/text.h"
#include "base/unicode.h"

namespace roster::slurm {
namespace {

using accounting::AdminLevel;
using accounting::Setting;
using accounting::Settings;

constexpr std::size_t kNameBytesMax = 256;
constexpr std::size_t kValueBytesMax = 4096;
/// slurm.h: NO_VAL and INFINITE, which mean that there is no value.
constexpr std::int64_t kNoValue = 4294967294;
/// SLURMDB_FS_USE_PARENT.
constexpr std::int64_t kParentShares = 2147483647;

std::unexpected<Error> not_understood(std::string_view what, std::string_view why) {
  return fail(Code::kDataLoss,
              "the answer about " + std::string(what) + " is not understood: " + std::string(why));
}

/// A name that may stand in sentences, commands and texts of ours.
bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= kNameBytesMax && is_printable_ascii(text) &&
         text.find_first_of(" |,'\"\\") == std::string_view::npos;
}

bool is_value(std::string_view text) {
  return !text.empty() && text.size() <= kValueBytesMax && is_printable_ascii(text);
}

/// A text, or null, which is the empty one. Nothing for any other kind.
std::optional<std::string> text_in(const json::object& o, std::string_view name) {
  const json::value* value = json::find(o, name);
  if (value == nullptr || value->is_null()) return "";
  if (!value->is_string()) return {};
  return std::string(json::view(value->get_string()));
}

Result<const json::array*> list_in(const json::object& body, std::string_view name,
                                   std::string_view what) {
  const json::array* list = json::find_array(body, name);
  if (list == nullptr) return not_understood(what, "it has no list \"" + std::string(name) + "\"");
  return list;
}

/// slurmrestd says so when it does not know a parameter, and answers as if it were not there: with
/// limits inherited from parents, for one.
Result<void> parameters_were_known(const json::object& body, std::string_view what) {
  const json::array* warnings = json::find_array(body, "warnings");
  if (warnings == nullptr) return {};
  for (const json::value& each : *warnings) {
    const json::object* warning = each.if_object();
    if (warning == nullptr) continue;
    const std::string_view text = json::find_string(*warning, "description").value_or("");
    if (text.starts_with("Ignoring unknown field")) {
      return fail(Code::kUnsupported, "slurmrestd was asked about " + std::string(what) +
                                          " in words that it does not know: " + printable(text));
    }
  }
  return {};
}

bool is_deleted(const json::object& row) {
  const json::array* flags = json::find_array(row, "flags");
  if (flags == nullptr) return false;
  return std::ranges::any_of(*flags, [](const json::value& flag) {
    return flag.is_string() && json::view(flag.get_string()) == "DELETED";
  });
}

/// Follows "max/jobs/total"; nullptr when a part of it is missing or null.
const json::value* at(const json::object& row, std::string_view path) {
  const json::object* object = &row;
  const auto parts = split(path, '/');
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    object = json::find_object(*object, parts[i]);
    if (object == nullptr) return nullptr;
  }
  const json::value* value = json::find(*object, parts.back());
  return value == nullptr || value->is_null() ? nullptr : value;
}

/// {"set": true, "infinite": false, "number": 5}; a plain number up to Slurm 22.05. Nothing when no
/// value is set.
Result<std::optional<std::int64_t>> number_of(const json::value* value, std::string_view what) {
  if (value == nullptr) return std::optional<std::int64_t>();
  std::optional<std::int64_t> number;
  if (const json::object* object = value->if_object()) {
    const auto set = json::find_bool(*object, "set");
    const auto infinite = json::find_bool(*object, "infinite");
    number = json::find_int(*object, "number");
    if (!set || !infinite || !number) return not_understood(what, "a number of an unknown form");
    if (!*set || *infinite) return std::optional<std::int64_t>();
  } else if (value->is_int64()) {
    number = value->get_int64();
  }
  if (!number || *number < 0) return not_understood(what, "a number of an unknown form");
  if (*number >= kNoValue) return std::optional<std::int64_t>();
  return number;
}

Result<std::string> tres_of(const json::value* value, std::string_view what) {
  if (value == nullptr) return "";
  const json::array* list = value->if_array();
  if (list == nullptr) return not_understood(what, "TRES that are no list");
  std::map<std::string, std::int64_t> counts;
  for (const json::value& each : *list) {
    const json::object* tres = each.if_object();
    if (tres == nullptr) return not_understood(what, "a TRES that is no object");
    const auto type = text_in(*tres, "type");
    const auto name = text_in(*tres, "name");
    const auto count = json::find_int(*tres, "count");
    if (!type || !name || !count || *count < 0 || !is_name(*type) ||
        (!name->empty() && !is_name(*name))) {
      return not_understood(what, "a TRES of an unknown form");
    }
    counts[name->empty() ? *type : *type + "/" + *name] = *count;
  }
  std::string text;
  for (const auto& [type, count] : counts) {
    text += (text.empty() ? "" : ",") + type + "=" + std::to_string(count);
  }
  return text;
}

enum class Form { kNumber, kTres };
struct Path {
  Setting setting;
  std::string_view path;
  Form form;
};
constexpr Path kPaths[] = {
    {Setting::kGrpTres, "max/tres/total", Form::kTres},
    {Setting::kGrpTresMins, "max/tres/group/minutes", Form::kTres},
    {Setting::kGrpTresRunMins, "max/tres/group/active", Form::kTres},
    {Setting::kGrpJobs, "max/jobs/per/count", Form::kNumber},
    {Setting::kGrpJobsAccrue, "max/jobs/per/accruing", Form::kNumber},
    {Setting::kGrpSubmitJobs, "max/jobs/per/submitted", Form::kNumber},
    {Setting::kGrpWall, "max/per/account/wall_clock", Form::kNumber},
    {Setting::kMaxTresPerJob, "max/tres/per/job", Form::kTres},
    {Setting::kMaxTresPerNode, "max/tres/per/node", Form::kTres},
    {Setting::kMaxTresMinsPerJob, "max/tres/minutes/per/job", Form::kTres},
    {Setting::kMaxJobs, "max/jobs/active", Form::kNumber},
    {Setting::kMaxJobsAccrue, "max/jobs/accruing", Form::kNumber},
    {Setting::kMaxSubmitJobs, "max/jobs/total", Form::kNumber},
    {Setting::kMaxWallDurationPerJob, "max/jobs/per/wall_clock", Form::kNumber},
    {Setting::kPriority, "priority", Form::kNumber},
    {Setting::kMinPrioThreshold, "min/priority_threshold", Form::kNumber},
};

Result<std::string> qos_list_of(const json::object& row, std::string_view what) {
  const json::value* value = json::find(row, "qos");
  if (value == nullptr || !value->is_array()) return not_understood(what, "QOS that are no list");
  std::set<std::string> names;
  for (const json::value& each : value->get_array()) {
    const std::string_view name =
        each.is_string() ? json::view(each.get_string()) : std::string_view();
    if (!is_name(name)) return not_understood(what, "a QOS without a name");
    names.insert(ascii_lower(name));
  }
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ",") + name;
  return text;
}

Result<Settings> settings_of(const json::object& row, std::string_view what) {
  Settings settings;
  const auto shares = json::find_int(row, "shares_raw");
  if (!shares || *shares < 0) return not_understood(what, "no shares");
  const std::string fairshare = *shares == kParentShares ? "parent" : std::to_string(*shares);
  if (fairshare != accounting::default_of(Setting::kFairshare)) {
    settings[Setting::kFairshare] = fairshare;
  }
  ASSIGN_OR_RETURN(std::string qos, qos_list_of(row, what));
  if (!qos.empty()) settings[Setting::kQos] = std::move(qos);
  if (const json::value* name = at(row, "default/qos")) {
    if (!name->is_string()) return not_understood(what, "a default QOS that is no name");
    const std::string_view text = json::view(name->get_string());
    if (!text.empty()) {
      if (!is_name(text)) return not_understood(what, "a default QOS that is no name");
      settings[Setting::kDefaultQos] = ascii_lower(text);
    }
  }
  for (const Path& each : kPaths) {
    const json::value* value = at(row, each.path);
    if (each.form == Form::kTres) {
      ASSIGN_OR_RETURN(std::string tres, tres_of(value, what));
      if (!tres.empty()) settings[each.setting] = std::move(tres);
    } else {
      ASSIGN_OR_RETURN(const auto number, number_of(value, what));
      if (number) settings[each.setting] = std::to_string(*number);
    }
  }
  return settings;
}

/// `name` of the object, if it is empty or a name.
Result<std::string> name_in(const json::object& row, std::string_view name, std::string_view what) {
  auto text = text_in(row, name);
  if (!text || (!text->empty() && !is_name(*text))) {
    return not_understood(what, "an odd \"" + std::string(name) + "\"");
  }
  return std::move(*text);
}

Result<AssociationRow> association_of(const json::object& row) {
  constexpr std::string_view kWhat = "associations";
  AssociationRow out;
  ASSIGN_OR_RETURN(out.account, name_in(row, "account", kWhat));
  if (out.account.empty()) return not_understood(kWhat, "one without an account");
  ASSIGN_OR_RETURN(out.user, name_in(row, "user", kWhat));
  ASSIGN_OR_RETURN(out.partition, name_in(row, "partition", kWhat));
  ASSIGN_OR_RETURN(out.parent, name_in(row, "parent_account", kWhat));
  const std::string what = "association " + out.account + "/" + out.user;
  ASSIGN_OR_RETURN(out.settings, settings_of(row, what));
  const auto is_default = json::find_bool(row, "is_default");
  if (!is_default) return not_understood(what, "no \"is_default\"");
  out.is_default = *is_default && !out.user.empty();
  return out;
}

Result<AccountRow> account_of(const json::object& row, std::string_view cluster) {
  constexpr std::string_view kWhat = "accounts";
  AccountRow out;
  ASSIGN_OR_RETURN(out.name, name_in(row, "name", kWhat));
  if (out.name.empty()) return not_understood(kWhat, "one without a name");
  const std::string what = "account " + out.name;
  auto description = text_in(row, "description");
  auto organization = text_in(row, "organization");
  if (!description || !organization) return not_understood(what, "no description or organization");
  out.description = std::move(*description);
  out.organization = std::move(*organization);
  const json::array* associations = json::find_array(row, "associations");
  if (associations == nullptr) return not_understood(what, "no associations");
  for (const json::value& each : *associations) {
    const json::object* association = each.if_object();
    if (association == nullptr) return not_understood(what, "an association that is no object");
    ASSIGN_OR_RETURN(const std::string other, name_in(*association, "cluster", what));
    if (other.empty()) return not_understood(what, "an association without a cluster");
    if (!ascii_iequals(other, cluster)) out.elsewhere = true;
  }
  return out;
}

Result<void> add_coordinators(const json::object& row, std::set<std::string>& names,
                              std::string_view what) {
  const json::array* list = json::find_array(row, "coordinators");
  if (list == nullptr) return not_understood(what, "no coordinators");
  for (const json::value& each : *list) {
    const json::object* coordinator = each.if_object();
    if (coordinator == nullptr)
      return not_understood(what, "an account coordinated that is no object");
    ASSIGN_OR_RETURN(std::string name, name_in(*coordinator, "name", what));
    const json::value* direct = json::find(*coordinator, "direct");
    const bool known = direct != nullptr && (direct->is_bool() || direct->is_int64());
    if (name.empty() || !known)
      return not_understood(what, "an account coordinated of an unknown form");
    if (direct->is_bool() ? direct->get_bool() : direct->get_int64() != 0) {
      names.insert(std::move(name));
    }
  }
  return {};
}

/// "None", or ["None"] from Slurm 23.02 on.
std::optional<AdminLevel> admin_level_of(const json::object& row) {
  const json::value* value = json::find(row, "administrator_level");
  if (value == nullptr) return {};
  if (const json::array* list = value->if_array()) {
    if (list->empty()) return AdminLevel::kNone;
    if (list->size() > 1) return {};
    value = &list->front();
  }
  if (!value->is_string()) return {};
  const std::string_view name = json::view(value->get_string());
  // A user that slurmdbd made by the way has none set.
  if (name == "None" || name == "Not Set") return AdminLevel::kNone;
  if (name == "Operator") return AdminLevel::kOperator;
  if (name == "Administrator") return AdminLevel::kAdministrator;
  return {};
}

Result<UserRow> user_of(const json::object& row) {
  constexpr std::string_view kWhat = "users";
  UserRow out;
  ASSIGN_OR_RETURN(out.name, name_in(row, "name", kWhat));
  if (out.name.empty()) return not_understood(kWhat, "one without a name");
  const std::string what = "user " + out.name;
  const auto level = admin_level_of(row);
  if (!level) return not_understood(what, "an unknown admin level");
  out.admin_level = *level;
  RETURN_IF_ERROR(add_coordinators(row, out.coordinates, what));
  return out;
}

/// "RUNNING", or ["RUNNING", "COMPLETING"].
std::vector<std::string_view> states_of(const json::object& row) {
  const json::value* value = json::find(row, "job_state");
  if (value == nullptr) return {};
  if (value->is_string()) return {json::view(value->get_string())};
  std::vector<std::string_view> states;
  if (const json::array* list = value->if_array()) {
    for (const json::value& each : *list) {
      if (each.is_string()) states.push_back(json::view(each.get_string()));
    }
  }
  return states;
}

/// Nothing when it is over.
Result<std::optional<accounting::Job>> job_of(const json::object& row,
                                              const std::map<std::uint32_t, std::string>& names) {
  constexpr std::string_view kWhat = "jobs";
  constexpr std::array<std::string_view, 7> kRunning = {
      "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "RESIZING", "SIGNALING", "STOPPED"};
  const auto id = json::find_int(row, "job_id");
  if (!id || *id <= 0 || *id >= kNoValue) return not_understood(kWhat, "a job without a number");
  const std::string what = "job " + std::to_string(*id);
  const auto states = states_of(row);
  if (states.empty()) return not_understood(what, "no state");
  const bool pending = std::ranges::find(states, "PENDING") != states.end();
  const bool running = std::ranges::any_of(states, [&](std::string_view state) {
    return std::ranges::find(kRunning, state) != kRunning.end();
  });
  if (!pending && !running) return std::optional<accounting::Job>();
  accounting::Job job;
  job.id = static_cast<std::uint32_t>(*id);
  ASSIGN_OR_RETURN(job.account, name_in(row, "account", what));
  ASSIGN_OR_RETURN(job.user, name_in(row, "user_name", what));
  const auto uid = json::find_int(row, "user_id");
  if (uid && *uid >= 0 && *uid < kNoValue) {
    const auto known = names.find(static_cast<std::uint32_t>(*uid));
    if (known != names.end()) job.user = known->second;
  }
  job.state = accounting::Job::State::kRunning;
  if (pending && !running) {
    // Held is what has the priority 0, which is a number also where others may be unset.
    ASSIGN_OR_RETURN(const auto priority, number_of(at(row, "priority"), what));
    job.state = priority == 0 ? accounting::Job::State::kHeld : accounting::Job::State::kPending;
  }
  return job;
}

/// Each object of a list, by `read`.
template <typename Row, typename Read>
Result<std::vector<Row>> rows_of(const json::array& list, std::string_view what, const Read& read) {
  std::vector<Row> rows;
  rows.reserve(list.size());
  for (const json::value& each : list) {
    const json::object* object = each.if_object();
    if (object == nullptr) return not_understood(what, "a row that is no object");
    if (is_deleted(*object)) continue;
    ASSIGN_OR_RETURN(Row row, read(*object));
    rows.push_back(std::move(row));
  }
  return rows;
}

constexpr std::size_t kLeadingColumns = 5;

bool keeps_any_form(Setting setting) {
  if (setting == Setting::kQos) return true;
  const auto* const found = std::ranges::find(kPaths, setting, &Path::setting);
  return found != std::end(kPaths) && found->form == Form::kTres;
}

/// Columns 5 to 23 of `show associations`, in the order of enum Setting.
Result<Settings> settings_in(const std::vector<std::string_view>& fields, std::string_view what) {
  Settings settings;
  for (std::size_t i = 0; i < accounting::kSettings; ++i) {
    const std::string_view text = fields[kLeadingColumns + i];
    if (text.empty()) continue;
    const auto setting = static_cast<Setting>(i);
    if (!is_value(text)) return not_understood(what, "an odd value");
    const auto value = accounting::canonical(setting, text);
    // QOS that are added to the inherited ones ("+high") and TRES of other types are of no form
    // that we set, and kept as they are.
    if (!value && !keeps_any_form(setting)) return not_understood(what, value.error().message);
    const std::string kept = value ? *value : std::string(text);
    if (kept != accounting::default_of(setting)) settings[setting] = kept;
  }
  return settings;
}

/// `visit` gets the fields of each line; how many there must be.
template <typename Visit>
Result<void> each_row(std::string_view text, std::size_t count, std::string_view what,
                      const Visit& visit) {
  Result<void> outcome;
  each_line(text, [&](std::string_view line) {
    if (!outcome || line.empty()) return;
    const auto fields = split(line, '|');
    if (fields.size() != count) {
      outcome = not_understood(what, "a line of " + std::to_string(fields.size()) + " fields");
    } else {
      outcome = visit(fields);
    }
  });
  return outcome;
}

}  // namespace

Result<std::vector<AssociationRow>> associations_of(const json::object& body,
                                                    std::string_view cluster) {
  constexpr std::string_view kWhat = "associations";
  RETURN_IF_ERROR(parameters_were_known(body, kWhat));
  ASSIGN_OR_RETURN(const json::array* list, list_in(body, "associations", kWhat));
  for (const json::value& each : *list) {
    const json::object* row = each.if_object();
    const auto name = row == nullptr ? std::nullopt : text_in(*row, "cluster");
    if (!name || !ascii_iequals(*name, cluster)) {
      return not_understood(kWhat, "one of another cluster than was asked for");
    }
  }
  return rows_of<AssociationRow>(*list, kWhat, association_of);
}

Result<std::vector<AccountRow>> accounts_of(const json::object& body, std::string_view cluster) {
  constexpr std::string_view kWhat = "accounts";
  RETURN_IF_ERROR(parameters_were_known(body, kWhat));
  ASSIGN_OR_RETURN(const json::array* list, list_in(body, "accounts", kWhat));
  ASSIGN_OR_RETURN(auto rows, rows_of<AccountRow>(*list, kWhat, [&](const json::object& row) {
                     return account_of(row, cluster);
                   }));
  if (std::ranges::find(rows, accounting::kRootAccount, &AccountRow::name) == rows.end()) {
    return not_understood(kWhat, "there is no root account");
  }
  return rows;
}

Result<std::vector<UserRow>> users_of(const json::object& body) {
  constexpr std::string_view kWhat = "users";
  RETURN_IF_ERROR(parameters_were_known(body, kWhat));
  ASSIGN_OR_RETURN(const json::array* list, list_in(body, "users", kWhat));
  ASSIGN_OR_RETURN(auto rows, rows_of<UserRow>(*list, kWhat, user_of));
  if (rows.empty()) return not_understood(kWhat, "there is none");
  return rows;
}

Result<std::set<std::string>> qos_of(const json::object& body) {
  constexpr std::string_view kWhat = "QOS";
  const json::array* list = json::find_array(body, "qos");
  if (list == nullptr) {
    ASSIGN_OR_RETURN(list, list_in(body, "QOS", kWhat));  // v0.0.38
  }
  std::set<std::string> names;
  for (const json::value& each : *list) {
    const json::object* row = each.if_object();
    if (row == nullptr) return not_understood(kWhat, "a row that is no object");
    if (is_deleted(*row)) continue;
    ASSIGN_OR_RETURN(const std::string name, name_in(*row, "name", kWhat));
    if (name.empty()) return not_understood(kWhat, "one without a name");
    names.insert(ascii_lower(name));
  }
  if (names.empty()) return not_understood(kWhat, "there is none");
  return names;
}

Result<std::vector<accounting::Job>> jobs_of(const json::object& body,
                                             const std::map<std::uint32_t, std::string>& names) {
  ASSIGN_OR_RETURN(const json::array* list, list_in(body, "jobs", "jobs"));
  std::vector<accounting::Job> jobs;
  for (const json::value& each : *list) {
    const json::object* row = each.if_object();
    if (row == nullptr) return not_understood("jobs", "a row that is no object");
    ASSIGN_OR_RETURN(auto job, job_of(*row, names));
    if (job) jobs.push_back(std::move(*job));
  }
  return jobs;
}

std::string association_columns() {
  std::string columns = "id,account,user,partition,parentname";
  for (std::size_t i = 0; i < accounting::kSettings; ++i) {
    columns += "," + ascii_lower(accounting::name_of(static_cast<Setting>(i)));
  }
  return columns;
}

Result<std::vector<AssociationRow>> associations_in(std::string_view text) {
  constexpr std::string_view kWhat = "associations";
  std::vector<AssociationRow> rows;
  const auto visit = [&](const std::vector<std::string_view>& fields) -> Result<void> {
    AssociationRow row;
    const auto id = parse_number<std::uint64_t>(fields[0]);
    const bool odd =
        std::ranges::any_of(std::array{fields[2], fields[3], fields[4]},
                            [](std::string_view f) { return !f.empty() && !is_name(f); });
    if (!id || *id == 0 || !is_name(fields[1]) || odd) {
      return not_understood(kWhat, "a line of an unknown form");
    }
    row.id = *id;
    row.account = fields[1];
    row.user = fields[2];
    row.partition = fields[3];
    row.parent = fields[4];
    ASSIGN_OR_RETURN(row.settings,
                     settings_in(fields, "association " + row.account + "/" + row.user));
    rows.push_back(std::move(row));
    return {};
  };
  RETURN_IF_ERROR(each_row(text, kLeadingColumns + accounting::kSettings, kWhat, visit));
  return rows;
}

Result<std::map<std::string, std::string>> default_accounts_in(std::string_view text) {
  constexpr std::string_view kWhat = "default accounts";
  std::map<std::string, std::string> out;
  const auto visit = [&](const std::vector<std::string_view>& fields) -> Result<void> {
    if (!is_name(fields[0]) || (!fields[1].empty() && !is_name(fields[1]))) {
      return not_understood(kWhat, "a line of an unknown form");
    }
    out[std::string(fields[0])] = std::string(fields[1]);
    return {};
  };
  RETURN_IF_ERROR(each_row(text, 2, kWhat, visit));
  return out;
}

Result<std::map<std::string, ControllerUser>> controller_users_in(std::string_view text) {
  constexpr std::string_view kWhat = "users in slurmctld";
  constexpr std::string_view kName = "UserName=";
  constexpr std::string_view kDefault = "DefAccount=";
  if (text.find("User Records") == std::string_view::npos) {
    return not_understood(kWhat, "it has no heading");
  }
  std::map<std::string, ControllerUser> out;
  Result<void> outcome;
  each_line(text, [&](std::string_view line) {
    if (!outcome || !line.starts_with(kName)) return;
    const auto words = split(line.substr(kName.size()), ' ');
    const std::string_view word = words.front();
    const std::size_t open = word.rfind('(');
    const auto uid =
        open == std::string_view::npos || !word.ends_with(')')
            ? std::nullopt
            : parse_number<std::uint32_t>(word.substr(open + 1, word.size() - open - 2));
    if (!uid || !is_name(word.substr(0, open)) || words.size() < 2 ||
        !words[1].starts_with(kDefault)) {
      outcome = not_understood(kWhat, "a line of an unknown form");
      return;
    }
    const std::string_view account = words[1].substr(kDefault.size());
    out[std::string(word.substr(0, open))] = {*uid, !account.empty() && account != "(null)"};
  });
  RETURN_IF_ERROR(outcome);
  return out;
}

}  // namespace roster::slurm
