#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/unicode.h"
#include "slurm/rules.h"

namespace roster::slurm {
namespace {

using accounting::AdminLevel;
using accounting::Settings;
using reconcile::Problem;

constexpr std::size_t kAccountBytesMax = 128;

Problem about_group(const Group& group, std::string sentence) {
  return {"group " + group.posix_name, std::move(sentence)};
}

bool is_older(const Group& a, const Group& b) {
  return a.created != b.created ? a.created < b.created : a.number < b.number;
}

std::string text_of(const Settings& settings) {
  std::string out;
  for (const auto& [setting, value] : settings) {
    out += (out.empty() ? "" : ", ") + std::string(name_of(setting)) + "=" + value;
  }
  return out;
}

/// One account that somebody is to be in.
struct Entry {
  const std::string* account;
  const Group* group;  // the earliest of theirs that leads there; nullptr: they are in none
};

/// An account that the rules make.
struct Source {
  const AccountRule* rule = nullptr;  // nullptr: of `group`
  const Group* group = nullptr;
};

/// sacctmgr(1) takes quotes away.
std::optional<std::string> description_of(const Group& group) {
  std::string text = group.display_name;
  std::erase_if(text, [](char c) { return c == '"' || c == '\'' || c == '\\'; });
  return text.empty() ? std::nullopt : std::optional(std::move(text));
}

using Roles = std::map<std::string, std::string>;  // login -> how the rules name them

class Applying {
 public:
  Applying(const Rules& rules, const Facts& facts);
  Outcome outcome();
  Result<Explanation> explanation(std::string_view login) const;

 private:
  void name_groups();
  void make_named_accounts();
  void make_group_accounts();
  void make_account_of(const Group& group);
  bool selects(const Group& group) const;
  std::string unselected(const Group& group) const;
  const std::string& chosen_name(const Group& group) const;
  const Group* group_named(const std::string& name) const;
  void report_unknown_default_accounts();

  std::vector<Entry> entries_of(const Person& person) const;
  Settings members_of(const std::string& account) const;
  accounting::DesiredUser user_of(const Person& person) const;
  bool is_slurm_user(const Person& person) const;
  Roles roles_of(const std::vector<std::string>& names, const std::string& key);
  void add_accounts(accounting::Desired& desired) const;

  void explain_groups(const Person& person, Explanation& out) const;
  void explain_settings(Explanation& out) const;
  void explain_roles(Explanation& out) const;

  const Rules& rules_;
  const Facts& facts_;
  std::vector<Problem> problems_;
  std::map<std::string, Source> accounts_;
  std::unordered_map<std::int64_t, const Group*> groups_;
  std::unordered_map<std::string, const Group*> by_posix_;
  std::unordered_map<std::string, const Group*> by_display_;
  std::unordered_map<std::int64_t, std::vector<const std::string*>> accounts_of_group_;
  std::unordered_map<std::int64_t, std::string> no_account_;  // of a group: why
  std::unordered_map<std::string_view, const Person*> people_;
  std::unordered_map<std::int64_t, std::vector<const Person*>> members_;
  Roles operators_;
  Roles administrators_;
  std::map<std::string, Roles> coordinators_;  // by account
};

Applying::Applying(const Rules& rules, const Facts& facts) : rules_(rules), facts_(facts) {
  name_groups();
  for (const Person& each : facts_.people) {
    people_.emplace(each.login, &each);
    for (const std::int64_t group : each.groups) members_[group].push_back(&each);
  }
  make_named_accounts();
  make_group_accounts();
  report_unknown_default_accounts();
  operators_ = roles_of(rules_.operators, "admins.operators");
  administrators_ = roles_of(rules_.administrators, "admins.administrators");
  for (const auto& [name, account] : rules_.accounts) {
    coordinators_[name] = roles_of(account.coordinators, "account." + name + ".coordinators");
  }
}

void Applying::name_groups() {
  for (const Group& each : facts_.groups) {
    groups_.emplace(each.number, &each);
    by_posix_.emplace(each.posix_name, &each);
    by_display_.emplace(case_key(each.display_name).value_or(each.display_name), &each);
  }
}

/// By its POSIX name, else by its display name in any case.
const Group* Applying::group_named(const std::string& name) const {
  if (const auto found = by_posix_.find(name); found != by_posix_.end()) return found->second;
  const auto found = by_display_.find(case_key(name).value_or(name));
  return found == by_display_.end() ? nullptr : found->second;
}

void Applying::make_named_accounts() {
  for (const auto& [name, account] : rules_.accounts) {
    const auto at = accounts_.emplace(name, Source{.rule = &account}).first;
    for (const std::string& each : account.groups) {
      const Group* group = group_named(each);
      if (group == nullptr) {
        problems_.push_back({"account " + name,
                             "there is no group \"" + each + "\", named in account." + name +
                                 ".groups: nobody is in the account through it; mend the name, or "
                                 "take it out"});
        continue;
      }
      std::vector<const std::string*>& all = accounts_of_group_[group->number];
      // By its POSIX and by its display name: the same group.
      if (std::ranges::find(all, &at->first) == all.end()) all.push_back(&at->first);
    }
  }
}

/// The earliest first, so that of two that clash it keeps the account.
void Applying::make_group_accounts() {
  std::vector<const Group*> groups;
  for (const Group& each : facts_.groups) {
    if (!accounts_of_group_.contains(each.number)) groups.push_back(&each);
  }
  std::ranges::sort(groups, [](const Group* a, const Group* b) { return is_older(*a, *b); });
  for (const Group* group : groups) {
    if (selects(*group)) {
      make_account_of(*group);
    } else {
      no_account_[group->number] = unselected(*group);
    }
  }
  for (const std::string& name : rules_.groups) {
    if (group_named(name) != nullptr) continue;
    problems_.push_back({"group " + name,
                         "is named in accounts.groups, and does not exist: mend "
                         "the name, or take it out"});
  }
}

const std::string& Applying::chosen_name(const Group& group) const {
  return rules_.name == Rules::Name::kPosix ? group.posix_name : group.display_name;
}

bool Applying::selects(const Group& group) const {
  switch (rules_.from) {
    case Rules::From::kNone:
      return false;
    case Rules::From::kAll:
      return true;
    case Rules::From::kPrefix:
      return chosen_name(group).starts_with(rules_.prefix);
    case Rules::From::kList:
      return std::ranges::any_of(
          rules_.groups, [&](const std::string& name) { return group_named(name) == &group; });
    case Rules::From::kAttribute: {
      const std::string& value = rules_.attribute == Rules::Attribute::kClient ? group.client
                                 : rules_.attribute == Rules::Attribute::kExternalId
                                     ? group.external_id
                                     : group.display_name;
      return rules_.equals ? value == *rules_.equals : value.starts_with(*rules_.starts_with);
    }
  }
  CHECK(false);
}

std::string Applying::unselected(const Group& group) const {
  switch (rules_.from) {
    case Rules::From::kNone:
      return "accounts.from = \"none\": only groups that an [account.NAME] names have one";
    case Rules::From::kPrefix:
      return "\"" + chosen_name(group) + "\" does not begin with accounts.prefix = \"" +
             rules_.prefix + "\"";
    case Rules::From::kList:
      return "it is not in accounts.groups";
    case Rules::From::kAttribute:
      return "accounts.attribute does not choose it";
    case Rules::From::kAll:
      break;
  }
  CHECK(false);
}

void Applying::make_account_of(const Group& group) {
  std::string_view chosen = chosen_name(group);
  if (rules_.from == Rules::From::kPrefix && rules_.strip_prefix) {
    chosen.remove_prefix(rules_.prefix.size());
  }
  const std::string name = account_name(chosen);
  const auto refuse = [&](std::string sentence) {
    problems_.push_back(about_group(group, "becomes no account: " + sentence));
    no_account_[group.number] = std::move(sentence);
  };
  const std::string way_out = "name the group in an [account.NAME] of its own";
  if (name.empty()) {
    return refuse("no letter or digit of \"" + std::string(chosen) + "\" can be in its name; " +
                  way_out);
  }
  if (name == accounting::kRootAccount) {
    return refuse("\"root\" is Slurm's own account; " + way_out);
  }
  if (name.size() > kAccountBytesMax) {
    return refuse("its name would be longer than 128 bytes; " + way_out);
  }
  const auto [at, fresh] = accounts_.emplace(name, Source{.group = &group});
  if (fresh) {
    accounts_of_group_[group.number].push_back(&at->first);
    return;
  }
  if (at->second.rule != nullptr) {
    return refuse("[account." + name +
                  "] has that name and does not name the group; to put its "
                  "people there, add \"" +
                  group.posix_name + "\" to account." + name + ".groups");
  }
  refuse("account " + name + " is already made of group " + at->second.group->posix_name +
         ", which is older; to merge the two, name both in account." + name + ".groups, else " +
         way_out);
}

void Applying::report_unknown_default_accounts() {
  for (const std::string& name : rules_.default_accounts) {
    if (accounts_.contains(name)) continue;
    problems_.push_back({"account " + name,
                         "is named in users.default_accounts, and is made by no rule: mend the "
                         "name, or take it out"});
  }
  for (const auto& [name, account] : rules_.accounts) {
    if (account.parent == accounting::kRootAccount || accounts_.contains(account.parent)) continue;
    problems_.push_back({"account " + name, "its parent " + account.parent +
                                                " is made by no rule: add [account." +
                                                account.parent + "], or mend the name"});
  }
}

// ---- people ----

bool Applying::is_slurm_user(const Person& person) const {
  return !person.locked && !entries_of(person).empty();
}

/// In the order in which they are default accounts.
std::vector<Entry> Applying::entries_of(const Person& person) const {
  std::map<std::string_view, Entry> found;
  for (const std::int64_t number : person.groups) {
    const auto group = groups_.find(number);
    const auto accounts = accounts_of_group_.find(number);
    if (group == groups_.end() || accounts == accounts_of_group_.end()) continue;
    for (const std::string* account : accounts->second) {
      const auto [at, fresh] = found.emplace(*account, Entry{account, group->second});
      if (!fresh && is_older(*group->second, *at->second.group)) at->second.group = group->second;
    }
  }
  std::vector<Entry> entries;
  for (const auto& [name, entry] : found) entries.push_back(entry);
  if (entries.empty() && !rules_.no_group.empty()) {
    entries.push_back({&rules_.no_group, nullptr});
  }
  const auto rank = [this](const Entry& entry) {
    return std::ranges::find(rules_.default_accounts, *entry.account) -
           rules_.default_accounts.begin();
  };
  std::ranges::sort(entries, [&rank](const Entry& a, const Entry& b) {
    if (rank(a) != rank(b)) return rank(a) < rank(b);
    if (a.group != b.group) return is_older(*a.group, *b.group);
    return *a.account < *b.account;
  });
  return entries;
}

Settings Applying::members_of(const std::string& account) const {
  Settings settings = rules_.users;
  if (const auto rule = rules_.accounts.find(account); rule != rules_.accounts.end()) {
    for (const auto& [setting, value] : rule->second.members) settings[setting] = value;
  }
  return settings;
}

accounting::DesiredUser Applying::user_of(const Person& person) const {
  accounting::DesiredUser user{.uid = person.uid,
                               .locked = person.locked,
                               .locked_since = person.locked_since,
                               .ready = person.ready};
  if (person.locked) return user;
  for (const Entry& each : entries_of(person)) {
    user.memberships.push_back({*each.account, members_of(*each.account)});
  }
  if (user.memberships.empty()) return user;
  if (operators_.contains(person.login)) user.admin_level = AdminLevel::kOperator;
  if (administrators_.contains(person.login)) user.admin_level = AdminLevel::kAdministrator;
  return user;
}

/// Who of those named is a Slurm user. Groups may have members who are not.
Roles Applying::roles_of(const std::vector<std::string>& names, const std::string& key) {
  Roles roles;
  for (const std::string& name : names) {
    const auto report = [&](std::string sentence) {
      problems_.push_back({(name.starts_with('@') ? "group " + name.substr(1) : "user " + name),
                           "is named in " + key + ", and " + std::move(sentence)});
    };
    if (name.starts_with('@')) {
      const Group* group = group_named(name.substr(1));
      if (group == nullptr) {
        report("does not exist: mend the name, or take it out");
        continue;
      }
      const auto members = members_.find(group->number);
      if (members == members_.end()) continue;
      for (const Person* each : members->second) {
        if (is_slurm_user(*each)) roles.emplace(each->login, name);
      }
      continue;
    }
    const auto person = people_.find(name);
    if (person == people_.end()) {
      report("is not in the directory: mend the name, or take it out");
    } else if (!person->second->locked && !is_slurm_user(*person->second)) {
      report("is in no account: put them into a group that becomes one, or set users.no_group");
    } else if (!person->second->locked) {
      roles[name] = name;
    }
  }
  return roles;
}

void Applying::add_accounts(accounting::Desired& desired) const {
  for (const auto& [name, source] : accounts_) {
    accounting::DesiredAccount account;
    if (source.rule != nullptr) {
      account.parent = source.rule->parent;
      account.description = source.rule->description;
      account.settings = source.rule->settings;
      for (const auto& [login, how] : coordinators_.at(name)) account.coordinators.insert(login);
    } else {
      account.parent = rules_.parent;
      account.description = description_of(*source.group);
      account.settings = rules_.settings;
    }
    desired.accounts.emplace(name, std::move(account));
  }
}

Outcome Applying::outcome() {
  Outcome out;
  out.desired.marker = mark_of(facts_.organization);
  out.desired.locked = rules_.leavers;
  out.desired.left = rules_.left_group;
  out.desired.remove_orphans = rules_.remove_orphans;
  add_accounts(out.desired);
  for (const Person& each : facts_.people) {
    if (ascii_lower(each.login) != each.login) {
      problems_.push_back({"user " + each.login,
                           "has capital letters in the name, which slurmdbd does not keep: rename "
                           "them"});
      continue;
    }
    out.desired.users.emplace(each.login, user_of(each));
  }
  out.problems = std::move(problems_);
  return out;
}

// ---- why ----

void Applying::explain_groups(const Person& person, Explanation& out) const {
  std::vector<const Group*> groups;
  for (const std::int64_t number : person.groups) {
    if (const auto found = groups_.find(number); found != groups_.end()) {
      groups.push_back(found->second);
    }
  }
  std::ranges::sort(groups, [](const Group* a, const Group* b) { return is_older(*a, *b); });
  for (const Group* group : groups) {
    const std::string& name = group->posix_name;
    const auto accounts = accounts_of_group_.find(group->number);
    if (accounts == accounts_of_group_.end()) {
      out.reasons.push_back({Reason::Kind::kNoAccount, "", name,
                             "group " + name + " is no account: " + no_account_.at(group->number)});
      continue;
    }
    for (const std::string* account : accounts->second) {
      const bool named = accounts_.at(*account).rule != nullptr;
      out.reasons.push_back(
          {Reason::Kind::kAccount, *account, name,
           "group " + name + " gives account " + *account + ", by " +
               (named ? "account." + *account + ".groups" : std::string("[accounts]"))});
    }
  }
  const std::vector<Entry> entries = entries_of(person);
  if (entries.empty()) {
    out.reasons.push_back({Reason::Kind::kNoAccount, "", "",
                           "no group of theirs is an account, and users.no_group is not set: they "
                           "are no Slurm user"});
    return;
  }
  const Entry& first = entries.front();
  const std::string is_default = "the default account is " + *first.account + ": ";
  std::string why = "it is the only one";
  if (first.group == nullptr) {
    why = "no group of theirs is an account, so users.no_group counts";
  } else if (std::ranges::find(rules_.default_accounts, *first.account) !=
             rules_.default_accounts.end()) {
    why = "it is the first of theirs in users.default_accounts";
  } else if (entries.size() > 1) {
    why = "of their groups that are accounts, " + first.group->posix_name + " is the oldest";
  }
  out.reasons.push_back({Reason::Kind::kDefault, *first.account,
                         first.group == nullptr ? "" : first.group->posix_name, is_default + why});
}

void Applying::explain_settings(Explanation& out) const {
  for (const accounting::Membership& each : out.wanted.memberships) {
    const auto rule = rules_.accounts.find(each.account);
    const Settings none;
    const Settings& own = rule == rules_.accounts.end() ? none : rule->second.members;
    Settings shared = each.settings;
    for (const auto& [setting, value] : own) shared.erase(setting);
    const auto tell = [&](const Settings& settings, const std::string& of, const std::string& by) {
      if (settings.empty()) return;
      out.reasons.push_back(
          {Reason::Kind::kSetting, each.account, "", of + text_of(settings) + ", from " + by});
    };
    const std::string theirs = "in account " + each.account + ": ";
    tell(own, theirs, "account." + each.account + ".members");
    tell(shared, theirs, "[users]");
    // What is set on the accounts counts for everybody in them, whoever is below as well.
    std::string account = each.account;
    for (std::size_t i = 0; i <= accounts_.size(); ++i) {
      const auto source = accounts_.find(account);
      if (source == accounts_.end()) break;
      const AccountRule* named = source->second.rule;
      tell(named == nullptr ? rules_.settings : named->settings, "account " + account + " has ",
           named == nullptr ? "[accounts]" : "[account." + account + "]");
      account = named == nullptr ? rules_.parent : named->parent;
    }
  }
}

void Applying::explain_roles(Explanation& out) const {
  const auto tell = [&out](const std::string& what, const std::string& account,
                           const std::string& key, const std::string& how) {
    const bool group = how.starts_with('@');
    out.reasons.push_back({Reason::Kind::kRole, account, group ? how.substr(1) : "",
                           what + ", by " + key + (group ? " (" + how + ")" : "")});
  };
  const std::string& login = out.login;
  if (const auto found = administrators_.find(login); found != administrators_.end()) {
    tell("admin level Administrator", "", "admins.administrators", found->second);
  } else if (const auto operates = operators_.find(login); operates != operators_.end()) {
    tell("admin level Operator", "", "admins.operators", operates->second);
  }
  for (const auto& [account, roles] : coordinators_) {
    if (const auto found = roles.find(login); found != roles.end()) {
      tell("coordinates account " + account, account, "account." + account + ".coordinators",
           found->second);
    }
  }
}

Result<Explanation> Applying::explanation(std::string_view login) const {
  const auto found = people_.find(login);
  if (found == people_.end()) {
    return fail(Code::kNotFound, "nobody in the directory has the login name " + printable(login));
  }
  const Person& person = *found->second;
  Explanation out{.login = person.login, .wanted = user_of(person), .reasons = {}};
  if (person.locked) {
    out.reasons.push_back({Reason::Kind::kState, "", "",
                           std::string("they are locked: [leavers] counts, new jobs are ") +
                               (rules_.leavers.new_jobs == accounting::Ending::NewJobs::kStop
                                    ? "stopped"
                                    : "stopped by removing their associations")});
    return out;
  }
  if (!person.ready) {
    out.reasons.push_back({Reason::Kind::kState, "", "",
                           "not every machine on which Slurm resolves names knows them yet: "
                           "nothing is given to them before"});
  }
  explain_groups(person, out);
  explain_settings(out);
  explain_roles(out);
  return out;
}

}  // namespace

std::string mark_of(std::string_view organization) { return "roster:" + std::string(organization); }

std::string_view name_of(Reason::Kind kind) {
  switch (kind) {
    case Reason::Kind::kState:
      return "state";
    case Reason::Kind::kAccount:
      return "account";
    case Reason::Kind::kNoAccount:
      return "no_account";
    case Reason::Kind::kDefault:
      return "default_account";
    case Reason::Kind::kSetting:
      return "setting";
    case Reason::Kind::kRole:
      return "role";
  }
  CHECK(false);
}

Outcome apply_rules(const Rules& rules, const Facts& facts) {
  return Applying(rules, facts).outcome();
}

Result<Explanation> explain(const Rules& rules, const Facts& facts, std::string_view login) {
  return Applying(rules, facts).explanation(login);
}

}  // namespace roster::slurm
