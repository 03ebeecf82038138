#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "reconcile/accounting_state.h"
#include "reconcile/directory.h"

/// The accounting rules of one cluster: docs/slurm-accounts.md.
namespace roster::slurm {

namespace accounting = reconcile::accounting;

/// An account that the rules name: [account.NAME].
struct AccountRule {
  std::vector<std::string> groups = {};  // POSIX or display names; none: a pure container
  std::string parent{accounting::kRootAccount};
  std::optional<std::string> description = {};
  accounting::Settings settings = {};
  accounting::Settings members = {};           // of the people in it; above [users]
  std::vector<std::string> coordinators = {};  // login names, and groups as "@name"
};

struct Rules {
  // [accounts]: which groups become accounts without being named
  enum class From { kNone, kAll, kPrefix, kList, kAttribute };
  enum class Attribute { kClient, kExternalId, kDisplayName };
  enum class Name { kPosix, kDisplay };
  From from = From::kNone;
  std::string prefix = {};
  bool strip_prefix = false;
  std::vector<std::string> groups = {};
  Attribute attribute = Attribute::kClient;
  std::optional<std::string> equals = {};
  std::optional<std::string> starts_with = {};
  Name name = Name::kPosix;
  std::string parent{accounting::kRootAccount};
  accounting::Settings settings = {};
  bool remove_orphans = false;

  std::map<std::string, AccountRule> accounts = {};

  // [users]
  std::vector<std::string> default_accounts = {};  // before the others, in this order
  std::string no_group = {};                       // the account of people in no other; empty: none
  accounting::Settings users = {};

  // [admins]
  std::vector<std::string> operators = {};       // login names, and groups as "@name"
  std::vector<std::string> administrators = {};  // login names

  accounting::Ending leavers = {};     // [leavers]
  accounting::Ending left_group = {};  // [left_group]
};

/// Reads the TOML text of a cluster's rules. `name` stands for it in errors. kInvalidArgument and
/// kTooLarge name file, line or key, and how to mend it.
Result<Rules> parse_rules(std::string_view text, std::string_view name);

/// The account that a group of this name becomes: lower case, what is not [a-z0-9_-] is "_", runs
/// of "_" are one, "_" and "-" at the ends are gone. Empty when nothing is left.
std::string account_name(std::string_view group);

struct Group {
  std::int64_t number = 0;
  std::string posix_name;
  std::string display_name;
  Timestamp created = {};
  std::string client = {};
  std::string external_id = {};
};

struct Person {
  std::int64_t number = 0;
  std::string login;
  std::uint32_t uid = 0;
  /// Deactivated, past the end of their time, or deleted: deleted people are told of, too, as long
  /// as they may have jobs.
  bool locked = false;
  std::optional<Timestamp> locked_since = {};
  /// Every machine on which Slurm resolves names has acknowledged them.
  bool ready = true;
  std::vector<std::int64_t> groups = {};  // numbers, through other groups, too
};

/// What the directory knows.
struct Facts {
  std::string organization;  // its slug: accounts are marked "roster:SLUG"
  std::vector<Person> people;
  std::vector<Group> groups;
};

/// What is in the organization field of our accounts.
std::string mark_of(std::string_view organization);

struct Outcome {
  accounting::Desired desired;
  std::vector<reconcile::Problem> problems;
};

/// What a cluster's accounting shall have by its rules.
Outcome apply_rules(const Rules& rules, const Facts& facts);

struct Reason {
  enum class Kind { kState, kAccount, kNoAccount, kDefault, kSetting, kRole };
  Kind kind{};
  std::string account;   // or empty
  std::string group;     // its POSIX name, or empty
  std::string sentence;  // for people
  bool operator==(const Reason&) const = default;
};
/// "account", "no_account", ...
std::string_view name_of(Reason::Kind kind);

/// Why somebody shall have what they shall have.
struct Explanation {
  std::string login;
  accounting::DesiredUser wanted;
  std::vector<Reason> reasons;
};

/// kNotFound when the facts have nobody of that login name.
Result<Explanation> explain(const Rules& rules, const Facts& facts, std::string_view login);

}  // namespace roster::slurm
