#include "reconcile/accounting_state.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/text.h"
#include "base/unicode.h"

namespace roster::reconcile::accounting {
namespace {

enum class Kind { kFairshare, kQos, kOneQos, kTres, kCount, kMinutes };

struct Row {
  Setting setting;
  std::string_view name;
  std::string_view shown;  // as a column of sacctmgr(1); empty: the same
  Kind kind;
};

constexpr std::array<Row, kSettings> kRows = {{
    {Setting::kFairshare, "Fairshare", "Share", Kind::kFairshare},
    {Setting::kQos, "QOS", "QosLevel", Kind::kQos},
    {Setting::kDefaultQos, "DefaultQOS", "Def QOS", Kind::kOneQos},
    {Setting::kGrpTres, "GrpTRES", "", Kind::kTres},
    {Setting::kGrpTresMins, "GrpTRESMins", "", Kind::kTres},
    {Setting::kGrpTresRunMins, "GrpTRESRunMins", "GrpTRESRunMin", Kind::kTres},
    {Setting::kGrpJobs, "GrpJobs", "", Kind::kCount},
    {Setting::kGrpJobsAccrue, "GrpJobsAccrue", "", Kind::kCount},
    {Setting::kGrpSubmitJobs, "GrpSubmitJobs", "GrpSubmit", Kind::kCount},
    {Setting::kGrpWall, "GrpWall", "", Kind::kMinutes},
    {Setting::kMaxTresPerJob, "MaxTRESPerJob", "MaxTRES", Kind::kTres},
    {Setting::kMaxTresPerNode, "MaxTRESPerNode", "", Kind::kTres},
    {Setting::kMaxTresMinsPerJob, "MaxTRESMinsPerJob", "MaxTRESMins", Kind::kTres},
    {Setting::kMaxJobs, "MaxJobs", "", Kind::kCount},
    {Setting::kMaxJobsAccrue, "MaxJobsAccrue", "", Kind::kCount},
    {Setting::kMaxSubmitJobs, "MaxSubmitJobs", "MaxSubmit", Kind::kCount},
    {Setting::kMaxWallDurationPerJob, "MaxWallDurationPerJob", "MaxWall", Kind::kMinutes},
    {Setting::kPriority, "Priority", "", Kind::kCount},
    {Setting::kMinPrioThreshold, "MinPrioThreshold", "MinPrioThres", Kind::kCount},
}};

const Row& row_of(Setting setting) {
  const Row& row = kRows.at(static_cast<std::size_t>(setting));
  CHECK(row.setting == setting);
  return row;
}

// slurm.h: NO_VAL (4294967294) and INFINITE (4294967295) mean that there is no value.
constexpr std::uint64_t kCountMax = 4294967293U;
// SLURMDB_FS_USE_PARENT is 2147483647.
constexpr std::uint64_t kFairshareMax = 2147483646U;
constexpr std::uint64_t kTresMax = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t kQosMax = 64;
constexpr std::size_t kTresTypesMax = 64;
constexpr std::size_t kNameBytesMax = 128;

std::unexpected<Error> wanted(std::string_view what, std::string_view text) {
  return fail(Code::kInvalidArgument,
              "must be " + std::string(what) + ", not \"" + printable(text) + "\"");
}

std::optional<std::uint64_t> number_up_to(std::string_view text, std::uint64_t max) {
  const auto number = parse_number<std::uint64_t>(text);
  if (!number || *number > max) return {};
  return number;
}

Result<std::string> canonical_count(std::string_view text, std::uint64_t max) {
  const auto number = number_up_to(text, max);
  if (!number) return wanted("a whole number from 0 to " + std::to_string(max), text);
  return std::to_string(*number);
}

/// As time_str2mins of Slurm: "minutes", "minutes:seconds", "hours:minutes:seconds", "days-hours",
/// "days-hours:minutes", "days-hours:minutes:seconds"; begun minutes count.
std::optional<std::uint64_t> minutes_of(std::string_view text) {
  constexpr std::uint64_t kPartMax = kCountMax;  // so that no sum overflows
  std::uint64_t days = 0;
  const std::size_t dash = text.find('-');
  const bool has_days = dash != std::string_view::npos;
  if (has_days) {
    const auto number = number_up_to(text.substr(0, dash), kPartMax);
    if (!number) return {};
    days = *number;
    text.remove_prefix(dash + 1);
  }
  std::array<std::uint64_t, 3> parts{};  // hours, minutes, seconds
  const auto texts = split(text, ':');
  if (texts.size() > parts.size()) return {};
  // Without days, one or two parts begin with the minutes.
  const std::size_t first = has_days || texts.size() == parts.size() ? 0 : 1;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto number = number_up_to(texts[i], kPartMax);
    if (!number) return {};
    parts[first + i] = *number;
  }
  return days * 1440 + parts[0] * 60 + parts[1] + (parts[2] + 59) / 60;
}

Result<std::string> canonical_minutes(std::string_view text) {
  const auto minutes = minutes_of(text);
  if (!minutes || *minutes > kCountMax) {
    return wanted(
        "a time as sacctmgr takes it: \"minutes\", \"hours:minutes:seconds\" or "
        "\"days-hours:minutes\"",
        text);
  }
  return std::to_string(*minutes);
}

bool is_plain_name(std::string_view text, std::string_view more) {
  return !text.empty() && text.size() <= kNameBytesMax && std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           more.find(c) != std::string_view::npos;
  });
}

/// slurmdbd keeps names of QOS in lower case.
Result<std::string> canonical_qos(std::string_view text) {
  text = trim(text);
  if (!is_plain_name(text, "_.-") || text.starts_with('-')) {
    return wanted("the name of a QOS", text);
  }
  return ascii_lower(text);
}

Result<std::string> canonical_qos_list(std::string_view text) {
  std::set<std::string> names;
  for (const std::string_view each : split(text, ',')) {
    ASSIGN_OR_RETURN(std::string name, canonical_qos(each));
    names.insert(std::move(name));
  }
  if (names.size() > kQosMax) return fail(Code::kTooLarge, "names more than 64 QOS");
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ",") + name;
  return out;
}

/// Types of TRES (slurm.conf(5), AccountingStorageTRES); those of the second list have names.
constexpr std::array<std::string_view, 7> kTresAlone = {"cpu",  "mem",  "energy", "billing",
                                                        "node", "vmem", "pages"};
constexpr std::array<std::string_view, 5> kTresNamed = {"gres", "license", "bb", "fs", "ic"};

Result<std::string> canonical_tres_type(std::string_view text) {
  const std::size_t slash = text.find('/');
  std::string type = ascii_lower(text.substr(0, slash));
  const auto is_one_of = [&type](const auto& list) {
    return std::ranges::find(list, type) != list.end();
  };
  if (slash == std::string_view::npos) {
    if (is_one_of(kTresAlone)) return type;
  } else if (is_one_of(kTresNamed) && is_plain_name(text.substr(slash + 1), "_.:@-")) {
    return type + std::string(text.substr(slash));
  }
  return wanted("a TRES such as cpu, mem, node, billing, gres/gpu or license/NAME", text);
}

/// In MiB, which is the unit of memory and burst buffers; "K", "M", "G", "T" and "P" are accepted.
std::optional<std::uint64_t> mebibytes_of(std::string_view text) {
  constexpr std::string_view kUnits = "kmgtp";
  std::size_t unit = 1;
  if (!text.empty()) {
    const std::string last = ascii_lower(text.substr(text.size() - 1));
    if (const std::size_t at = kUnits.find(last[0]); at != std::string_view::npos) {
      unit = at;
      text.remove_suffix(1);
    }
  }
  const auto number = number_up_to(text, kTresMax);
  if (!number) return {};
  if (unit == 0) return *number / 1024 + (*number % 1024 != 0 ? 1 : 0);
  const std::size_t shift = (unit - 1) * 10;
  if (*number > kTresMax >> shift) return {};
  return *number << shift;
}

Result<std::string> canonical_tres(std::string_view text) {
  std::map<std::string, std::uint64_t> counts;
  for (const std::string_view part : split(text, ',')) {
    std::array<std::string_view, 2> pair;
    if (!split_into(trim(part), '=', pair)) {
      return wanted("a list such as \"cpu=64,gres/gpu=8,mem=100G\"", text);
    }
    ASSIGN_OR_RETURN(std::string type, canonical_tres_type(trim(pair[0])));
    const std::string_view value = trim(pair[1]);
    const bool has_unit = type == "mem" || type.starts_with("bb/");
    const auto count = has_unit ? mebibytes_of(value) : number_up_to(value, kTresMax);
    if (!count) return wanted("a whole number for " + type, value);
    if (!counts.emplace(type, *count).second) {
      return fail(Code::kInvalidArgument, "names " + type + " twice");
    }
  }
  if (counts.size() > kTresTypesMax) return fail(Code::kTooLarge, "names more than 64 TRES");
  std::string out;
  for (const auto& [type, count] : counts) {
    out += (out.empty() ? "" : ",") + type + "=" + std::to_string(count);
  }
  return out;
}

}  // namespace

std::string_view name_of(Setting setting) { return row_of(setting).name; }

std::optional<Setting> setting_named(std::string_view name) {
  for (const Row& row : kRows) {
    if (ascii_iequals(name, row.name) || (!row.shown.empty() && ascii_iequals(name, row.shown))) {
      return row.setting;
    }
  }
  return {};
}

std::string_view default_of(Setting setting) { return setting == Setting::kFairshare ? "1" : ""; }

std::string_view value_of(const Settings& settings, Setting setting) {
  const auto found = settings.find(setting);
  return found == settings.end() ? default_of(setting) : std::string_view(found->second);
}

Result<std::string> canonical(Setting setting, std::string_view text) {
  text = trim(text);
  switch (row_of(setting).kind) {
    case Kind::kFairshare: {
      if (ascii_iequals(text, "parent")) return "parent";
      const auto shares = number_up_to(text, kFairshareMax);
      if (!shares) {
        return wanted("\"parent\" or a whole number from 0 to " + std::to_string(kFairshareMax),
                      text);
      }
      return std::to_string(*shares);
    }
    case Kind::kQos:
      return canonical_qos_list(text);
    case Kind::kOneQos:
      return canonical_qos(text);
    case Kind::kTres:
      return canonical_tres(text);
    case Kind::kCount:
      return canonical_count(text, kCountMax);
    case Kind::kMinutes:
      return canonical_minutes(text);
  }
  CHECK(false);
}

std::string_view name_of(AdminLevel level) {
  switch (level) {
    case AdminLevel::kNone:
      return "None";
    case AdminLevel::kOperator:
      return "Operator";
    case AdminLevel::kAdministrator:
      return "Administrator";
  }
  CHECK(false);
}

}  // namespace roster::reconcile::accounting
