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
  std::optional<Problem> kept;  // why they stay as they are, unless they are known to be inactive
};

/// Whose a user name is.
struct Owner {
  static constexpr std::size_t kUnknown = static_cast<std::size_t>(-1);  // an entry without a key
  std::size_t at;                                                        // in the list of people
  bool several = false;  // more than one entry has it: then it is nobody's
};

struct FoundGroup {
  reconcile::Group group;
  std::optional<std::int64_t> gid;
  std::vector<std::string> names;  // members by user name, as they came
  std::vector<std::string> dns;    // and by DN, normalized
  std::string unknown;             // why it is not known who is in it; empty: it is
  std::size_t strangers = 0;
  std::string some_strangers;
};

/// One reading of a directory.
class Reading {
 public:
  Reading(const LdapOptions& options, LdapConnection& connection, std::int64_t today,
          const Intake& intake)
      : options_(options),
        connection_(connection),
        today_(today),
        intake_(intake),
        seen_states_(options.inactive.size()) {}

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
  void take_name(const LdapEntry& entry, const std::string& name, std::size_t at);
  void take_state(const LdapEntry& entry, const std::string& subject, FoundPerson& found);
  void take_texts(const LdapEntry& entry, FoundPerson& found);
  Result<void> take_group(const LdapEntry& entry);
  void warn_of_references(const LdapConnection::Found& found, const std::string& base) const;
  void keep_what_holds_unknown();
  void stranger(FoundGroup& group, const std::string& who) const;
  std::vector<std::vector<std::uint64_t>> direct_memberships();
  void flatten();
  void leave_out(std::span<const std::uint64_t> direct, std::span<const std::uint64_t> effective);
  bool is_private(const FoundGroup& group) const;
  void tell_groups();
  void tell_people();
  void tell_hidden() const;

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
  std::unordered_map<std::string, std::size_t> person_by_dn_;
  std::unordered_map<std::string, Owner> owners_;  // by user name in lower case
  std::vector<Problem> keyless_;
  std::unordered_set<std::string> unreadable_;  // DNs of groups
  std::array<bool, kTexts> seen_texts_{};       // whether anybody has it
  bool seen_keys_ = false;
  std::vector<bool> seen_states_;  // of options_.inactive
  bool filter_shows_ = false;      // somebody who is inactive
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
  if (!keyless_.empty()) {
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
  found.person.user_name = name_of(entry, options_.user_name);
  const std::string& name = found.person.user_name;
  const std::string subject = "person " + (name.empty() ? shown(entry.dn) : name);
  take_state(entry, subject, found);
  if (found.person.key.empty()) {
    take_name(entry, name, Owner::kUnknown);
    keyless_.push_back(
        {"person " + shown(entry.dn), "has not one readable value of " + options_.key});
    return;
  }
  if (name.empty()) found.kept = Problem{subject, "has no readable " + options_.user_name};
  const auto& gid =
      options_.gid_number.empty() ? std::vector<std::string>() : entry.values(options_.gid_number);
  if (!gid.empty()) found.gid = parse_number<std::int64_t>(gid.front());
  take_texts(entry, found);
  person_by_dn_.emplace(normal_dn(entry.dn), people_.size());
  take_name(entry, name, people_.size());
  people_.push_back(std::move(found));
}

/// A name that several entries have says nothing: else whoever may write one of them could take the
/// place of another in groups that list names.
void Reading::take_name(const LdapEntry& entry, const std::string& name, std::size_t at) {
  if (name.empty()) return;
  const auto [owner, is_new] = owners_.try_emplace(ascii_lower(name), Owner{.at = at});
  if (is_new) return;
  owner->second.several = true;
  intake_.warn({"person " + name, "another entry has the same user name: " + shown(entry.dn) +
                                      "; no member that groups list by it is told"});
}

void Reading::take_state(const LdapEntry& entry, const std::string& subject, FoundPerson& found) {
  for (std::size_t i = 0; i < options_.inactive.size(); ++i) {
    const std::string& attribute = options_.inactive[i];
    for (const std::string& value : entry.values(attribute)) {
      seen_states_[i] = true;
      const State state = state_by(attribute, value, today_);
      if (state == State::kInactive) found.person.active = false;
      if (state == State::kUnknown) found.kept = Problem{subject, attribute + " cannot be read"};
    }
  }
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

/// Who does not match the filter for active people. By key, as an entry may be renamed between the
/// two searches; of a key that several entries have, all must match.
Result<void> Reading::find_inactive() {
  if (options_.active_filter.empty()) return {};
  std::unordered_map<std::string, std::size_t> matches;
  RETURN_IF_ERROR(connection_.search(
      options_.people_base, "(&" + options_.people_filter + options_.active_filter + ")",
      {options_.key}, [this, &matches](const LdapEntry& entry) -> Result<void> {
        ++matches[key_of(entry, options_.key)];
        return {};
      }));
  std::unordered_map<std::string, std::size_t> entries;
  for (const FoundPerson& found : people_) ++entries[found.person.key];
  std::size_t active = 0;
  for (FoundPerson& found : people_) {
    const auto match = matches.find(found.person.key);
    if (match != matches.end() && match->second >= entries.at(found.person.key)) {
      ++active;
    } else {
      found.person.active = false;
    }
  }
  const auto all = static_cast<std::int64_t>(people_.size());
  if (active == 0) {
    return fail(Code::kFailedPrecondition,
                "nobody matches " + options_.active_filter + ": everybody would be inactive");
  }
  if (static_cast<std::int64_t>(active) * 100 < all * options_.active_percent_min) {
    return fail(Code::kFailedPrecondition,
                "only " + std::to_string(active) + " of " + std::to_string(all) + " people match " +
                    options_.active_filter +
                    ": all others would be inactive. If that is meant, lower active_percent_min");
  }
  filter_shows_ = active < people_.size();
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
  if (found.entries == 0) {
    return fail(Code::kFailedPrecondition,
                "no group is found below " + options_.groups_base + " by " +
                    options_.groups_filter +
                    ": may this client read them? Where there are none, leave groups_base empty");
  }
  if (groups_.empty()) {
    return fail(Code::kFailedPrecondition, "no group below " + options_.groups_base +
                                               " has readable values of " + options_.group_key +
                                               " and " + options_.group_name);
  }
  const bool lists_members = !options_.member_uid.empty() || !options_.member.empty();
  const bool has_members = std::ranges::any_of(
      groups_, [](const FoundGroup& group) { return !group.names.empty() || !group.dns.empty(); });
  if (lists_members && !has_members) {
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
      const auto owner = owners_.find(ascii_lower(name));
      if (owner == owners_.end()) {
        stranger(group, name);
      } else if (owner->second.several) {
        group.unknown = "lists " + shown(name) + ", the user name of more than one person";
      } else if (owner->second.at != Owner::kUnknown) {
        direct[owner->second.at].push_back(i);
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
        group.unknown = "a group within it cannot be read";
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
    if (!effective.complete) leave_out(direct[i], effective.groups);
  }
}

/// Marks the groups of somebody that are beyond a limit. Groups that are farther still hold these.
void Reading::leave_out(std::span<const std::uint64_t> direct,
                        std::span<const std::uint64_t> effective) {
  const auto mark = [this, effective](std::span<const std::uint64_t> groups) {
    for (const std::uint64_t group : groups) {
      if (std::ranges::binary_search(effective, group)) continue;
      groups_[group].unknown = "some are in it through too many other groups";
    }
  };
  mark(direct);
  for (const std::uint64_t inner : effective) mark(parents_[inner]);
}

bool Reading::is_private(const FoundGroup& group) const {
  const auto owner = owners_.find(ascii_lower(group.group.name));
  return owner != owners_.end() && owner->second.at != Owner::kUnknown && group.gid &&
         people_[owner->second.at].gid == group.gid;
}

/// Who is in a group is not known either when that is not known of one within it.
void Reading::keep_what_holds_unknown() {
  std::vector<std::size_t> open;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    const auto owner = owners_.find(ascii_lower(groups_[i].group.name));
    if (owner != owners_.end() && owner->second.several) {
      groups_[i].unknown = "more than one person has its name: it may be a private group";
    }
    if (!groups_[i].unknown.empty()) open.push_back(i);
  }
  while (!open.empty()) {
    const std::size_t inner = open.back();
    open.pop_back();
    for (const std::uint64_t outer : parents_[inner]) {
      if (!groups_[outer].unknown.empty()) continue;
      groups_[outer].unknown = "it is not known who is in a group within it";
      open.push_back(outer);
    }
  }
}

void Reading::tell_groups() {
  keep_what_holds_unknown();
  for (FoundGroup& group : groups_) {
    const std::string subject = "group " + group.group.name;
    if (!group.unknown.empty()) {
      intake_.keep_group(group.group.key, {subject, group.unknown + "; it stays as it is"});
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

/// What shows who is locked and shows nobody is more likely hidden than unused.
void Reading::tell_hidden() const {
  if (!options_.active_filter.empty()) {
    if (filter_shows_) return;
    intake_.hide_locks({"active_filter " + options_.active_filter,
                        "everybody matches it: may this client read what it asks for, for all?"});
    return;
  }
  std::string hidden;
  for (std::size_t i = 0; i < seen_states_.size(); ++i) {
    if (!seen_states_[i]) hidden += (hidden.empty() ? "" : ", ") + options_.inactive[i];
  }
  if (hidden.empty()) return;
  intake_.hide_locks({"attributes " + hidden,
                      "nobody has them, or this client may not read them, and they say who is "
                      "locked: let it read them, or take out of source.inactive what nobody has"});
}

void Reading::tell_people() {
  tell_hidden();
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
    if (found.kept && person.active) {
      found.kept->sentence += "; they stay as they are";
      intake_.keep(std::move(person.key), std::move(*found.kept));
      continue;
    }
    if (found.kept) intake_.warn(std::move(*found.kept));
    if (person.user_name.empty()) {  // nothing but that they are locked
      intake_.person({.key = std::move(person.key), .user_name = {}, .active = false});
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
  if (options.active_percent_min < 0 || options.active_percent_min > 100) {
    return refuse("active_percent_min must be 0 to 100");
  }
  return std::make_unique<LdapSource>(std::move(options), std::move(surroundings));
}

}  // namespace roster::sync
