#include "sync/ldap_source.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/encoding.h"
#include "base/text.h"
#include "base/unicode.h"
#include "posix/flatten.h"
#include "sync/key_lines.h"

namespace roster::sync {
namespace {

using reconcile::kTexts;
using reconcile::Problem;
using reconcile::Text;

constexpr std::size_t kTextBytesMax = 4096;
constexpr std::size_t kNamedMax = 5;

bool is_text(std::string_view text) {
  return !text.empty() && text.size() <= kTextBytesMax && is_valid_utf8(text) &&
         !has_control_characters(text);
}

bool is_binary(std::string_view attribute) {
  return ascii_iequals(attribute, "objectGUID") || ascii_iequals(attribute, "GUID") ||
         ascii_lower(attribute).ends_with(";binary");
}

/// A key as text, or empty when there is none.
std::string key_of(const LdapEntry& entry, const std::string& attribute) {
  const auto& values = entry.values(attribute);
  if (values.size() != 1) return {};
  if (is_binary(attribute)) return hex_encode(values.front());
  return is_text(values.front()) ? values.front() : std::string();
}

/// Of several values the one in the entry's own DN, as nss_ldap takes it; else the first.
std::string name_of(const LdapEntry& entry, const std::string& attribute) {
  const auto& values = entry.values(attribute);
  if (values.empty()) return {};
  std::string name = values.front();
  if (values.size() > 1) {
    const std::string own = rdn_value(entry.dn, attribute);
    if (std::ranges::find(values, own) != values.end()) name = own;
  }
  return is_text(name) ? name : std::string();
}

/// For sentences.
std::string shown(std::string_view text) {
  return is_text(text) ? std::string(text) : std::string("(unreadable)");
}

enum class State { kActive, kInactive, kUnknown };

State state_by_expiry(std::string_view value, std::int64_t today) {
  const auto day = parse_number<std::int64_t>(value);
  if (!day) return State::kUnknown;
  return *day >= 0 && *day <= today ? State::kInactive : State::kActive;
}

State state_by_control(std::string_view value) {
  constexpr std::int64_t kAccountDisable = 0x2;  // [MS-ADTS] 2.2.16, ADS_UF_ACCOUNT_DISABLE
  const auto flags = parse_number<std::int64_t>(value);
  if (!flags) return State::kUnknown;
  return (*flags & kAccountDisable) != 0 ? State::kInactive : State::kActive;
}

/// What one attribute's value says of an account.
State state_by(std::string_view attribute, std::string_view value, std::int64_t today) {
  if (ascii_iequals(attribute, "shadowExpire")) return state_by_expiry(value, today);
  if (ascii_iequals(attribute, "userAccountControl")) return state_by_control(value);
  if (ascii_iequals(attribute, "nsAccountLock")) {
    return ascii_iequals(value, "true") ? State::kInactive : State::kActive;
  }
  // Any other time is when wrong passwords locked it, which anybody can bring about.
  return value.starts_with("000001010000") ? State::kInactive : State::kActive;
}

bool is_known_state_attribute(const std::string& name) {
  constexpr auto kKnown = std::to_array<std::string_view>(
      {"shadowExpire", "pwdAccountLockedTime", "nsAccountLock", "userAccountControl"});
  return std::ranges::any_of(
      kKnown, [&name](std::string_view known) { return ascii_iequals(known, name); });
}

struct FoundPerson {
  reconcile::Person person;
  std::vector<std::string> key_texts;
  std::optional<std::int64_t> gid;
  std::optional<Problem> kept;
};

struct FoundGroup {
  reconcile::Group group;
  std::optional<std::int64_t> gid;
  std::vector<std::string> names;  // members by user name, as they came
  std::vector<std::string> dns;    // and by DN, normalized
  bool holds_unreadable = false;   // a group within it
  std::size_t strangers = 0;
  std::string some_strangers;
};

/// One reading of a directory.
class Reading {
 public:
  Reading(const LdapOptions& options, LdapConnection& connection, std::int64_t today,
          const Intake& intake)
      : options_(options), connection_(connection), today_(today), intake_(intake) {}

  Result<void> run() {
    RETURN_IF_ERROR(find_people());
    RETURN_IF_ERROR(find_inactive());
    if (!options_.groups_base.empty()) RETURN_IF_ERROR(find_groups());
    tell_groups();
    tell_people();
    return {};
  }

 private:
  Result<void> find_people();
  Result<void> find_inactive();
  Result<void> find_groups();
  void take_person(const LdapEntry& entry);
  void take_texts(const LdapEntry& entry, FoundPerson& found);
  Result<void> take_group(const LdapEntry& entry);
  void warn_of_references(const LdapConnection::Found& found, const std::string& base) const;
  void keep_what_holds_unreadable();
  void stranger(FoundGroup& group, const std::string& who) const;
  std::vector<std::vector<std::uint64_t>> direct_memberships();
  void flatten();
  bool is_private(const FoundGroup& group) const;
  void tell_groups();
  void tell_people();

  std::array<const std::string*, kTexts> text_attributes() const {
    std::array<const std::string*, kTexts> names{};
    const auto set = [&names](Text text, const std::string& attribute) {
      names[static_cast<std::size_t>(text)] = &attribute;
    };
    set(Text::kGivenName, options_.given_name);
    set(Text::kFamilyName, options_.family_name);
    set(Text::kDisplayName, options_.display_name);
    set(Text::kEmail, options_.email);
    set(Text::kHome, options_.home);
    set(Text::kShell, options_.shell);
    return names;
  }

  const LdapOptions& options_;
  LdapConnection& connection_;
  const std::int64_t today_;
  const Intake& intake_;
  std::vector<FoundPerson> people_;
  std::unordered_map<std::string, std::size_t> person_by_dn_, person_by_name_;
  std::size_t without_key_ = 0;
  std::vector<Problem> keyless_;
  std::unordered_set<std::string> unreadable_;  // DNs of groups
  std::array<bool, kTexts> seen_texts_{};       // whether anybody has it
  bool seen_keys_ = false;
  std::vector<FoundGroup> groups_;
  std::unordered_map<std::string, std::size_t> group_by_dn_;
  std::vector<std::vector<std::uint64_t>> parents_;  // of each group
};

Result<void> Reading::find_people() {
  std::vector<std::string> attributes{options_.key, options_.user_name, options_.gid_number,
                                      options_.ssh_keys};
  for (const std::string* name : text_attributes()) attributes.push_back(*name);
  attributes.insert(attributes.end(), options_.inactive.begin(), options_.inactive.end());
  std::erase(attributes, std::string());
  ASSIGN_OR_RETURN(const LdapConnection::Found found,
                   connection_.search(options_.people_base, options_.people_filter, attributes,
                                      [this](const LdapEntry& entry) -> Result<void> {
                                        take_person(entry);
                                        return {};
                                      }));
  warn_of_references(found, options_.people_base);
  if (!people_.empty()) return {};
  if (without_key_ > 0) {
    return fail(Code::kFailedPrecondition, "nobody below " + options_.people_base +
                                               " has one readable value of " + options_.key +
                                               ": name another key, or let the client read it");
  }
  return fail(Code::kFailedPrecondition, "nobody is found below " + options_.people_base + " by " +
                                             options_.people_filter +
                                             ": may this client read them?");
}

void Reading::take_person(const LdapEntry& entry) {
  FoundPerson found;
  found.person.key = key_of(entry, options_.key);
  if (found.person.key.empty()) {
    ++without_key_;
    keyless_.push_back(
        {"person " + shown(entry.dn), "has not one readable value of " + options_.key});
    return;
  }
  found.person.user_name = name_of(entry, options_.user_name);
  const std::string subject =
      "person " + (found.person.user_name.empty() ? shown(entry.dn) : found.person.user_name);
  if (found.person.user_name.empty()) {
    found.kept =
        Problem{subject, "has no readable " + options_.user_name + "; they stay as they are"};
  }
  const auto& gid =
      options_.gid_number.empty() ? std::vector<std::string>() : entry.values(options_.gid_number);
  if (!gid.empty()) found.gid = parse_number<std::int64_t>(gid.front());
  for (const std::string& attribute : options_.inactive) {
    const auto& values = entry.values(attribute);
    if (values.empty()) continue;
    const State state = state_by(attribute, values.front(), today_);
    if (state == State::kInactive) found.person.active = false;
    if (state == State::kUnknown) {
      found.kept = Problem{subject, attribute + " cannot be read; they stay as they are"};
    }
  }
  take_texts(entry, found);
  const std::size_t at = people_.size();
  person_by_dn_.emplace(normal_dn(entry.dn), at);
  const std::string name = ascii_lower(found.person.user_name);
  if (!name.empty() && !person_by_name_.emplace(name, at).second) {
    intake_.warn({subject, "another entry has the same user name: " + shown(entry.dn)});
  }
  people_.push_back(std::move(found));
}

void Reading::take_texts(const LdapEntry& entry, FoundPerson& found) {
  const auto names = text_attributes();
  for (std::size_t i = 0; i < kTexts; ++i) {
    if (names[i]->empty()) continue;
    const auto& values = entry.values(*names[i]);
    if (values.empty() || values.front().empty()) {
      found.person.texts[i] = "";
      continue;
    }
    seen_texts_[i] = true;
    if (is_text(values.front())) {
      found.person.texts[i] = values.front();
    } else {
      intake_.warn({"person " + shown(found.person.user_name),
                    *names[i] + " is no text of one line; it stays as it is"});
    }
  }
  if (options_.ssh_keys.empty()) return;
  found.key_texts = entry.values(options_.ssh_keys);
  if (!found.key_texts.empty()) seen_keys_ = true;
}

/// Who does not match the filter for active people.
Result<void> Reading::find_inactive() {
  if (options_.active_filter.empty()) return {};
  std::unordered_set<std::string> active;
  ASSIGN_OR_RETURN(const LdapConnection::Found found,
                   connection_.search(options_.people_base,
                                      "(&" + options_.people_filter + options_.active_filter + ")",
                                      {"1.1"}, [&active](const LdapEntry& entry) -> Result<void> {
                                        active.insert(normal_dn(entry.dn));
                                        return {};
                                      }));
  if (found.entries == 0) {
    return fail(Code::kFailedPrecondition,
                "nobody matches " + options_.active_filter + ": everybody would be inactive");
  }
  for (const auto& [dn, at] : person_by_dn_) {
    if (!active.contains(dn)) people_[at].person.active = false;
  }
  return {};
}

Result<void> Reading::find_groups() {
  std::vector<std::string> attributes{options_.group_key, options_.group_name, options_.gid_number,
                                      options_.member_uid};
  attributes.insert(attributes.end(), options_.member.begin(), options_.member.end());
  std::erase(attributes, std::string());
  ASSIGN_OR_RETURN(
      const LdapConnection::Found found,
      connection_.search(options_.groups_base, options_.groups_filter, attributes,
                         [this](const LdapEntry& entry) { return take_group(entry); }));
  warn_of_references(found, options_.groups_base);
  if (groups_.empty() && found.entries > 0) {
    return fail(Code::kFailedPrecondition, "no group below " + options_.groups_base +
                                               " has readable values of " + options_.group_key +
                                               " and " + options_.group_name);
  }
  const bool lists_members = !options_.member_uid.empty() || !options_.member.empty();
  const bool has_members = std::ranges::any_of(
      groups_, [](const FoundGroup& group) { return !group.names.empty() || !group.dns.empty(); });
  if (!groups_.empty() && lists_members && !has_members) {
    return fail(Code::kFailedPrecondition,
                "no group below " + options_.groups_base +
                    " lists a member: is it the other schema (rfc2307, rfc2307bis), or may this "
                    "client not read them?");
  }
  flatten();
  return {};
}

Result<void> Reading::take_group(const LdapEntry& entry) {
  FoundGroup found;
  found.group.key = key_of(entry, options_.group_key);
  found.group.name = name_of(entry, options_.group_name);
  for (const auto& [name, values] : entry.attributes) {
    if (ascii_lower(name).contains(";range=")) {
      return fail(Code::kUnsupported, "group " + shown(entry.dn) +
                                          ": its members come in ranges, which are not read; raise "
                                          "MaxValRange of Active Directory, or leave it out");
    }
  }
  if (found.group.key.empty() || found.group.name.empty()) {
    const bool keyless = found.group.key.empty();
    unreadable_.insert(normal_dn(entry.dn));
    intake_.keep_group(found.group.key,
                       {"group " + shown(entry.dn),
                        "has no readable " + (keyless ? options_.group_key : options_.group_name)});
    return {};
  }
  if (!options_.gid_number.empty()) {
    const auto& gid = entry.values(options_.gid_number);
    if (!gid.empty()) found.gid = parse_number<std::int64_t>(gid.front());
  }
  if (!options_.member_uid.empty()) found.names = entry.values(options_.member_uid);
  for (const std::string& attribute : options_.member) {
    for (std::string dn : entry.values(attribute)) {
      // Name and Optional UID (RFC 4517 3.3.21): the bit string tells owners of one DN apart.
      if (dn.ends_with("'B")) dn.resize(std::min(dn.size(), dn.rfind('#')));
      found.dns.push_back(normal_dn(dn));
    }
  }
  group_by_dn_.emplace(normal_dn(entry.dn), groups_.size());
  groups_.push_back(std::move(found));
  return {};
}

void Reading::warn_of_references(const LdapConnection::Found& found,
                                 const std::string& base) const {
  if (found.references == 0) return;
  intake_.warn({"directory " + base, "refers to other servers for " +
                                         std::to_string(found.references) +
                                         " parts of it, which are not read"});
}

void Reading::stranger(FoundGroup& group, const std::string& who) const {
  if (++group.strangers > kNamedMax) return;
  group.some_strangers += (group.some_strangers.empty() ? "" : "; ") + shown(who);
}

/// The groups that each person is in directly; fills `parents_` on the way.
std::vector<std::vector<std::uint64_t>> Reading::direct_memberships() {
  std::vector<std::vector<std::uint64_t>> direct(people_.size());
  parents_.resize(groups_.size());
  std::unordered_map<std::int64_t, std::size_t> by_gid;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    FoundGroup& group = groups_[i];
    if (group.gid) by_gid.emplace(*group.gid, i);
    for (const std::string& name : group.names) {
      const auto person = person_by_name_.find(ascii_lower(name));
      if (person != person_by_name_.end()) {
        direct[person->second].push_back(i);
      } else {
        stranger(group, name);
      }
    }
    for (const std::string& dn : group.dns) {
      const auto person = person_by_dn_.find(dn);
      const auto inner = group_by_dn_.find(dn);
      if (person != person_by_dn_.end()) {
        direct[person->second].push_back(i);
      } else if (inner != group_by_dn_.end()) {
        parents_[inner->second].push_back(i);
      } else if (unreadable_.contains(dn)) {
        group.holds_unreadable = true;
      } else {
        stranger(group, dn);
      }
    }
    group.names = {};
    group.dns = {};
  }
  for (std::size_t i = 0; i < people_.size(); ++i) {
    const auto primary = people_[i].gid ? by_gid.find(*people_[i].gid) : by_gid.end();
    if (primary != by_gid.end()) direct[i].push_back(primary->second);
  }
  return direct;
}

void Reading::flatten() {
  const auto direct = direct_memberships();
  const posix::ParentsOf parents_of = [this](std::uint64_t group) {
    return std::span<const std::uint64_t>(parents_[group]);
  };
  for (std::size_t i = 0; i < people_.size(); ++i) {
    if (direct[i].empty()) continue;
    const posix::EffectiveGroups effective = posix::effective_groups(direct[i], parents_of);
    for (const std::uint64_t group : effective.groups) {
      groups_[group].group.members.push_back(people_[i].person.key);
    }
    if (!effective.complete) {
      intake_.warn({"person " + shown(people_[i].person.user_name),
                    "is in groups through too many others; the farthest are left out"});
    }
  }
}

bool Reading::is_private(const FoundGroup& group) const {
  const auto owner = person_by_name_.find(ascii_lower(group.group.name));
  return owner != person_by_name_.end() && group.gid && people_[owner->second].gid == group.gid;
}

/// Whoever holds a group with an unreadable one in it holds that as well.
void Reading::keep_what_holds_unreadable() {
  std::vector<std::size_t> open;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    if (groups_[i].holds_unreadable) open.push_back(i);
  }
  while (!open.empty()) {
    const std::size_t inner = open.back();
    open.pop_back();
    for (const std::uint64_t outer : parents_[inner]) {
      if (!std::exchange(groups_[outer].holds_unreadable, true)) open.push_back(outer);
    }
  }
}

void Reading::tell_groups() {
  keep_what_holds_unreadable();
  for (FoundGroup& group : groups_) {
    const std::string subject = "group " + group.group.name;
    if (group.holds_unreadable) {
      intake_.keep_group(group.group.key, {subject, "a group within it cannot be read"});
      continue;
    }
    if (group.strangers > 0) {
      intake_.warn({subject, std::to_string(group.strangers) +
                                 " of its members are neither people nor groups that are read: " +
                                 group.some_strangers +
                                 (group.strangers > kNamedMax ? "; ..." : "")});
    }
    if (is_private(group)) {
      if (group.group.members.size() > 1) {
        intake_.warn({subject,
                      "is the private group of the person with that name and not told, although "
                      "it has other members; give it another name to keep them in one group"});
      }
      continue;
    }
    intake_.group(std::move(group.group));
  }
}

void Reading::tell_people() {
  const auto names = text_attributes();
  for (std::size_t i = 0; i < kTexts; ++i) {
    if (names[i]->empty() || seen_texts_[i]) continue;
    intake_.warn({"attribute " + *names[i],
                  "nobody has it, or it may not be read; it is not told of anybody"});
  }
  if (!options_.ssh_keys.empty() && !seen_keys_) {
    intake_.warn({"attribute " + options_.ssh_keys,
                  "nobody has it, or it may not be read; SSH keys stay as they are"});
  }
  for (Problem& each : keyless_) intake_.keep("", std::move(each));
  for (FoundPerson& found : people_) {
    reconcile::Person& person = found.person;
    if (found.kept) {
      intake_.keep(std::move(person.key), std::move(*found.kept));
      continue;
    }
    for (std::size_t i = 0; i < kTexts; ++i) {
      if (!seen_texts_[i]) person.texts[i].reset();
    }
    if (seen_keys_) {
      person.ssh_keys = take_keys("person " + person.user_name, found.key_texts, intake_.warn);
    }
    intake_.person(std::move(person));
  }
}

class LdapSource : public Source {
 public:
  LdapSource(LdapOptions options, Surroundings surroundings)
      : options_(std::move(options)), surroundings_(std::move(surroundings)) {}

  std::string describe() const override {
    return "ldap " + options_.server.url + " " + options_.people_base;
  }

  Result<void> read(const Intake& intake) override {
    ASSIGN_OR_RETURN(const auto connection,
                     LdapConnection::open(options_.server, surroundings_.pause));
    const auto today = std::chrono::floor<std::chrono::days>(surroundings_.clock());
    return Reading(options_, *connection, today.time_since_epoch().count(), intake).run();
  }

 private:
  const LdapOptions options_;
  const Surroundings surroundings_;
};

}  // namespace

Result<LdapOptions> ldap_defaults(const std::string& schema) {
  LdapOptions options;
  if (schema == "rfc2307") {
    options.member_uid = "memberUid";
  } else if (schema == "rfc2307bis") {
    options.member = {"member", "uniqueMember"};
  } else {
    return fail(Code::kInvalidArgument, "the LDAP schema must be rfc2307 or rfc2307bis");
  }
  return options;
}

Result<std::unique_ptr<Source>> open_ldap(LdapOptions options, Surroundings surroundings) {
  RETURN_IF_ERROR(check_ldap_server(options.server));
  const auto refuse = [](std::string_view why) {
    return fail(Code::kInvalidArgument, std::string(why));
  };
  if (options.people_base.empty()) return refuse("people_base of the LDAP directory is missing");
  for (const std::string* needed : {&options.people_filter, &options.groups_filter, &options.key,
                                    &options.group_key, &options.user_name, &options.group_name}) {
    if (needed->empty()) return refuse("a filter or attribute that LDAP needs is empty");
  }
  for (const std::string& name : options.inactive) {
    if (is_known_state_attribute(name)) continue;
    return refuse("inactive: " + shown(name) +
                  " is not shadowExpire, pwdAccountLockedTime, nsAccountLock or "
                  "userAccountControl; use active_filter");
  }
  for (std::string* filter :
       {&options.people_filter, &options.groups_filter, &options.active_filter}) {
    if (!filter->empty() && !filter->starts_with('(')) *filter = "(" + *filter + ")";
  }
  return std::make_unique<LdapSource>(std::move(options), std::move(surroundings));
}

}  // namespace roster::sync
