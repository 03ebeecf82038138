#include "reconcile/plan.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/unicode.h"
#include "reconcile/names.h"

namespace roster::reconcile {
namespace {

constexpr std::size_t kNamedMax = 10;  // of many, in one sentence
constexpr std::size_t kAllMin = 3;     // so few that all of them may well be meant: less than that

/// What two names have in common that no server tells apart.
std::string folded(const std::string& name) {
  auto key = case_key(name);
  if (!key) return name;
  return std::move(*key);
}

std::string join_some(const std::vector<std::string>& all) {
  std::string out;
  for (std::size_t i = 0; i < std::min(all.size(), kNamedMax); ++i) {
    out += (i == 0 ? "" : ", ") + all[i];
  }
  if (all.size() > kNamedMax) out += ", ...";
  return out;
}

Problem about_person(const std::string& name, std::string sentence) {
  return {"person " + name, std::move(sentence)};
}
Problem about_group(const std::string& name, std::string sentence) {
  return {"group " + name, std::move(sentence)};
}

/// For reports.
const std::string& name_of(const HeldPerson& person) {
  return person.user_name.empty() ? person.key : person.user_name;
}

/// Held records by their key; of those that share one, which counts: a readable one, then an active
/// one, then the one with the smallest id, so that every run agrees.
template <typename T, typename Better>
std::unordered_map<std::string_view, std::size_t> index_by_key(const std::vector<T>& held,
                                                               Better better) {
  std::unordered_map<std::string_view, std::size_t> index;
  index.reserve(held.size());
  for (std::size_t i = 0; i < held.size(); ++i) {
    const auto [at, fresh] = index.emplace(held[i].key, i);
    if (!fresh && better(held[i], held[at->second])) at->second = i;
  }
  return index;
}

/// The same of those that cannot have their names.
std::string name_is_held(const std::string& name) {
  return "the name " + name +
         " is held at the destination by a record of ours that the source does not tell of under "
         "it; rename or delete that one there";
}

}  // namespace

std::string_view name_of(Act act) {
  switch (act) {
    case Act::kDeactivate:
      return "deactivate";
    case Act::kRemoveMembers:
      return "remove members";
    case Act::kUpdate:
      return "update";
    case Act::kCreate:
      return "create";
    case Act::kReactivate:
      return "reactivate";
    case Act::kCreateGroup:
      return "create group";
    case Act::kRenameGroup:
      return "rename group";
    case Act::kAddMembers:
      return "add members";
  }
  CHECK(false);
}

std::size_t Plan::steps() const {
  std::size_t sum = 0;
  for (const Stage& stage : stages) sum += stage.steps.size();
  return sum;
}

struct Planner::Impl {
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  /// Somebody the source tells of.
  struct Wanted {
    std::size_t held = kNone;
    std::size_t pending = kNone;  // in `pending`, when there is something to do
    bool active = false;
    bool refused = false;  // nothing is done for them but what locks them
  };
  struct Pending {
    std::size_t wanted;
    Person person;
    Changes changes = {};
    bool moves = false;  // to another name than by case, or to a first one
    Turn turn{};
  };
  struct WantedGroup {
    std::size_t held = kNone;
    Group group;  // without members: these are compared at once
    bool renames = false;
    bool moves = false;
    bool refused = false;
    Turn turn{};
    std::vector<std::string> members;      // keys; then ids of those who come in
    std::vector<std::string> new_members;  // keys
    std::vector<std::string> stay;         // ids
  };

  Impl(Held held_, Digester digester_, PlanOptions options_);

  void add(Person person);
  void add(Group group);
  void keep(std::string key, Problem why);
  void keep_group(std::string key, Problem why);
  Result<Plan> finish();

  Changes compare(const Person& person, const HeldPerson& now) const;
  void lock(Wanted& who);
  void claim_name(const Person& person, std::size_t wanted_index);
  void resolve_clashes();
  void hold_back();
  void stay_locked(const std::vector<std::size_t>& who, const std::string& sentence);
  void order_people();
  void order_groups();
  void deactivate();
  void plan_groups();
  void plan_members(WantedGroup& wanted_group, std::vector<Step>& removals);
  std::vector<std::string> remove_from(const HeldGroup& group,
                                       const std::unordered_set<std::string_view>& wanted_ids,
                                       std::vector<Step>& removals);
  void replace_keys();
  void update_people();
  void let_in();
  void fill_groups();
  bool is_suspicious(std::size_t some, std::size_t all) const;
  Result<void> check_shrinkage() const;
  Step step_for(Act act, const Pending& p) const;
  /// Or may not be known to be gone.
  bool is_kept(std::size_t held_index) const {
    return kept.contains(held.people[held_index].key) || (somebody_unknown && !seen[held_index]);
  }
  bool is_leaver(std::size_t held_index) const { return !seen[held_index] && !is_kept(held_index); }

  Held held;
  Digester digester;
  PlanOptions options;
  std::unordered_map<std::string_view, std::size_t> held_by_key;
  std::unordered_map<std::string_view, std::size_t> held_groups_by_key;
  std::unordered_map<std::string_view, std::size_t> held_by_id;
  std::vector<bool> seen;    // of held.people: the source tells of them
  std::vector<bool> active;  // and says that they are active
  std::unordered_set<std::string> kept;
  std::unordered_set<std::string> kept_groups;
  std::optional<Problem> locks_hidden;  // why
  bool somebody_unknown = false;        // the source has somebody whom it gives no key
  bool some_group_unknown = false;

  std::unordered_map<std::string, std::size_t> wanted_by_key;
  std::vector<Wanted> wanted;
  std::vector<Pending> pending;
  std::unordered_map<std::string, std::size_t> claims;      // folded userName -> the first wanted
  std::map<std::string, std::vector<std::size_t>> clashes;  // of those that several claim: all
  std::unordered_map<std::string, std::size_t> group_by_key;
  std::vector<WantedGroup> groups;
  std::size_t gone = 0;  // of those who are active
  std::size_t keys_lost = 0;
  std::size_t held_with_keys = 0;
  std::size_t held_memberships = 0;
  std::size_t memberships_lost = 0;  // of people who stay

  Plan plan;
};

Planner::Impl::Impl(Held held_, Digester digester_, PlanOptions options_)
    : held(std::move(held_)), digester(std::move(digester_)), options(options_) {
  const auto readable = [](const auto& record) { return record.unreadable.empty(); };
  held_by_key = index_by_key(held.people, [&](const HeldPerson& a, const HeldPerson& b) {
    if (readable(a) != readable(b)) return readable(a);
    return a.active != b.active ? a.active : a.id < b.id;
  });
  held_groups_by_key = index_by_key(held.groups, [&](const HeldGroup& a, const HeldGroup& b) {
    return readable(a) != readable(b) ? readable(a) : a.id < b.id;
  });
  const Digest none = digester.of_keys({});
  for (std::size_t i = 0; i < held.people.size(); ++i) {
    held_by_id.emplace(held.people[i].id, i);
    if (held.people[i].active) ++plan.counts.held_active;
    if (held.people[i].active && held.people[i].ssh_keys != none) ++held_with_keys;
  }
  for (const HeldPerson& each : held.people) {
    if (!each.unreadable.empty()) {
      plan.problems.push_back(
          about_person(name_of(each),
                       "the destination gives " + each.unreadable + ": it can be locked, no more"));
    }
  }
  if (held.hides_active) {
    plan.problems.push_back({"destination",
                             "shows `active` of nobody: who is locked there is not let in again, "
                             "and who left is locked at every run"});
  }
  for (const HeldGroup& each : held.groups) {
    if (!each.unreadable.empty()) {
      keep_group(each.key, about_group(each.key, "the destination gives " + each.unreadable +
                                                     ": left as it is"));
    }
  }
  plan.counts.held_people = held.people.size();
  seen.resize(held.people.size());
  active.resize(held.people.size());
}

Changes Planner::Impl::compare(const Person& person, const HeldPerson& now) const {
  Changes changes = {};
  // RFC 7643 4.1.1: userName has no case; a server may have folded it.
  changes.user_name =
      person.user_name != now.user_name && folded(person.user_name) != folded(now.user_name);
  for (std::size_t i = 0; i < kTexts; ++i) {
    changes.texts[i] = person.texts[i] && digester.of(*person.texts[i]) != now.texts[i];
  }
  changes.ssh_keys = person.ssh_keys && digester.of_keys(*person.ssh_keys) != now.ssh_keys;
  return changes;
}

void Planner::Impl::add(Person person) {
  if (person.key.empty() || (person.user_name.empty() && person.active)) {
    const bool keyless = person.key.empty();
    Problem why = about_person(
        keyless ? person.user_name : person.key,
        keyless ? "the source gives no key" : "the source gives no user name: left as it is");
    keep(std::move(person.key), std::move(why));
    return;
  }
  const auto [at, fresh] = wanted_by_key.emplace(person.key, wanted.size());
  if (!fresh) {
    plan.problems.push_back(
        about_person(person.user_name, "the key " + person.key + " comes more than once"));
    if (!person.active) lock(wanted[at->second]);
    return;
  }
  ++plan.counts.people;
  const auto found = held_by_key.find(person.key);
  const std::size_t held_index = found == held_by_key.end() ? kNone : found->second;
  wanted.push_back({.held = held_index, .active = person.active});
  Wanted& entry = wanted.back();
  if (held_index == kNone) {
    if (!person.active) return;  // nobody is created to be locked
    claim_name(person, wanted.size() - 1);
    entry.pending = pending.size();
    pending.push_back({.wanted = wanted.size() - 1, .person = std::move(person), .moves = true});
    return;
  }
  seen[held_index] = true;
  active[held_index] = person.active;
  if (person.user_name.empty()) return;  // of whom is only known that they are locked
  const HeldPerson& now = held.people[held_index];
  if (!now.unreadable.empty()) {
    entry.refused = true;
    return;
  }
  claim_name(person, wanted.size() - 1);
  const Changes changes = compare(person, now);
  if (!changes.any() && person.active == now.active) return;
  if (changes.ssh_keys && person.active && now.active && person.ssh_keys->empty()) ++keys_lost;

  entry.pending = pending.size();
  pending.push_back({.wanted = wanted.size() - 1,
                     .person = std::move(person),
                     .changes = changes,
                     .moves = changes.user_name});
}

/// Whoever is said to be locked is, though something else is said of them, too.
void Planner::Impl::lock(Wanted& who) {
  who.active = false;
  if (who.held != kNone) active[who.held] = false;
}

void Planner::Impl::add(Group group) {
  if (group.key.empty() || group.name.empty()) {
    Problem why = about_group(group.key.empty() ? group.name : group.key,
                              "the source gives no key or no name: left as it is");
    keep_group(std::move(group.key), std::move(why));
    return;
  }
  const auto [at, fresh] = group_by_key.emplace(group.key, groups.size());
  if (!fresh) {
    plan.problems.push_back(
        about_group(group.name, "the key " + group.key + " comes more than once"));
    return;
  }
  ++plan.counts.groups;
  WantedGroup entry;
  if (const auto found = held_groups_by_key.find(group.key); found != held_groups_by_key.end()) {
    const HeldGroup& now = held.groups[found->second];
    if (!now.unreadable.empty()) return;
    entry.held = found->second;
    entry.renames = group.name != now.name;
    entry.moves = entry.renames && folded(group.name) != folded(now.name);
  } else {
    entry.moves = true;
  }
  entry.members = std::exchange(group.members, {});
  std::ranges::sort(entry.members);
  const auto repeated = std::ranges::unique(entry.members);
  entry.members.erase(repeated.begin(), repeated.end());
  entry.group = std::move(group);
  groups.push_back(std::move(entry));
}

void Planner::Impl::keep(std::string key, Problem why) {
  if (key.empty()) {
    why.sentence += "; while it is not known who that is, nobody is taken for gone";
    somebody_unknown = true;
  }
  plan.problems.push_back(std::move(why));
  kept.insert(std::move(key));
}

void Planner::Impl::keep_group(std::string key, Problem why) {
  if (key.empty()) {
    why.sentence += "; while it is not known which that is, no group is taken for gone";
    some_group_unknown = true;
  }
  plan.problems.push_back(std::move(why));
  kept_groups.insert(std::move(key));
}

void Planner::Impl::claim_name(const Person& person, std::size_t wanted_index) {
  std::string name = folded(person.user_name);
  const auto [at, fresh] = claims.emplace(std::move(name), wanted_index);
  if (fresh) return;
  std::vector<std::size_t>& all = clashes[at->first];
  if (all.empty()) all.push_back(at->second);
  all.push_back(wanted_index);
}

/// Those who would be let in stay out when the source may have lost its locks: who is locked at the
/// destination, and, of a source that hides them, many who are not there yet.
void Planner::Impl::hold_back() {
  if (options.accept_return) return;
  std::vector<std::size_t> returning;
  std::vector<std::size_t> coming;
  for (const Pending& each : pending) {
    const Wanted& who = wanted[each.wanted];
    if (who.refused || !who.active) continue;
    if (who.held == kNone) {
      coming.push_back(each.wanted);
    } else if (!held.people[who.held].active) {
      returning.push_back(each.wanted);
    }
  }
  const std::size_t locked = plan.counts.held_people - plan.counts.held_active;
  if (locks_hidden || is_suspicious(returning.size(), locked)) {
    stay_locked(returning, std::to_string(returning.size()) + " of " + std::to_string(locked) +
                               " locked people would be let in again and stay locked: ");
  }
  if (locks_hidden && !held.people.empty() &&
      is_suspicious(coming.size(), plan.counts.held_people)) {
    stay_locked(coming, std::to_string(coming.size()) + " people would be created beside " +
                            std::to_string(plan.counts.held_people) +
                            ", some of whom may be locked at the source: ");
  }
}

void Planner::Impl::stay_locked(const std::vector<std::size_t>& who, const std::string& sentence) {
  if (who.empty()) return;
  std::vector<std::string> names;
  for (const std::size_t i : who) {
    lock(wanted[i]);
    names.push_back(pending[wanted[i].pending].person.user_name);
  }
  Problem problem = locks_hidden.value_or(Problem{"people", "has the source lost its locks?"});
  problem.sentence += (locks_hidden ? "; " : " ") + sentence + join_some(names) +
                      "; if it is meant: --accept-return";
  plan.problems.push_back(std::move(problem));
}

/// Two people with one name: who has it at the destination keeps it; the others are left alone.
void Planner::Impl::resolve_clashes() {
  for (const auto& [name, claimants] : clashes) {
    bool given = false;
    for (const std::size_t i : claimants) {
      Wanted& each = wanted[i];
      const bool has = each.held != kNone && folded(held.people[each.held].user_name) == name;
      if (has && !std::exchange(given, true)) continue;
      each.refused = true;
      plan.problems.push_back(
          about_person(name,
                       "the source gives this user name to more than one: only who has it already "
                       "keeps it, the others are left as they are"));
    }
  }
  claims.clear();
  clashes.clear();
}

void Planner::Impl::order_people() {
  std::vector<std::size_t> movers;
  std::vector<Move> moves;
  for (std::size_t i = 0; i < pending.size(); ++i) {
    Pending& p = pending[i];
    if (wanted[p.wanted].refused || !p.moves) continue;
    const std::size_t at = wanted[p.wanted].held;
    movers.push_back(i);
    moves.push_back({at == kNone ? std::nullopt : std::optional(folded(held.people[at].user_name)),
                     folded(p.person.user_name)});
  }
  std::vector<std::string> taken;
  if (!moves.empty()) {
    for (const HeldPerson& each : held.people) taken.push_back(folded(each.user_name));
  }
  const std::vector<Turn> turns = order_moves(moves, taken);
  for (std::size_t i = 0; i < movers.size(); ++i) {
    Pending& p = pending[movers[i]];
    p.turn = turns[i];
    if (p.turn.level != Turn::kNever) continue;
    plan.problems.push_back(about_person(p.person.user_name, name_is_held(p.person.user_name)));
    if (wanted[p.wanted].held == kNone) wanted[p.wanted].refused = true;
    p.changes.user_name = p.moves = false;
    p.turn = {};
  }
}

void Planner::Impl::order_groups() {
  std::vector<std::size_t> movers;
  std::vector<Move> moves;
  std::unordered_map<std::string, std::size_t> names;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    WantedGroup& g = groups[i];
    const auto [at, fresh] = names.emplace(folded(g.group.name), i);
    if (!fresh) {
      plan.problems.push_back(about_group(
          g.group.name, "the source gives this name to more than one group: one gets it"));
      g.refused = g.held == kNone;
      g.renames = g.moves = false;
    }
    if (!g.moves) continue;
    movers.push_back(i);
    moves.push_back(
        {g.held == kNone ? std::nullopt : std::optional(folded(held.groups[g.held].name)),
         folded(g.group.name)});
  }
  std::vector<std::string> taken;
  for (const HeldGroup& each : held.groups) taken.push_back(folded(each.name));
  const std::vector<Turn> turns = order_moves(moves, taken);
  for (std::size_t i = 0; i < movers.size(); ++i) {
    WantedGroup& g = groups[movers[i]];
    g.turn = turns[i];
    if (g.turn.level != Turn::kNever) continue;
    plan.problems.push_back(about_group(g.group.name, name_is_held(g.group.name)));
    g.refused = g.held == kNone;
    g.renames = g.moves = false;
    g.turn = {};
  }
}

/// Those who left, those whom the source says are locked, and what shares another's key.
void Planner::Impl::deactivate() {
  Stage stage;
  const auto lock = [&stage](const HeldPerson& person) {
    Step step;
    step.act = Act::kDeactivate;
    step.id = person.id;
    step.key = person.key;
    step.name = name_of(person);
    stage.steps.push_back(std::move(step));
  };
  for (std::size_t i = 0; i < held.people.size(); ++i) {
    const HeldPerson& person = held.people[i];
    if (held_by_key.at(person.key) != i) {
      plan.problems.push_back(about_person(
          person.user_name, "another record at the destination has the same externalId (key " +
                                person.key + "); this one, id " + person.id + ", is locked"));
      if (person.active && !is_kept(i)) {
        lock(person);
        ++gone;
      }
    } else if (person.active && is_leaver(i)) {
      lock(person);
      ++gone;
    }
  }
  for (const Wanted& each : wanted) {
    if (each.held != kNone && !each.active && held.people[each.held].active) {
      lock(held.people[each.held]);
    }
  }
  plan.counts.deactivated = stage.steps.size();
  plan.stages.push_back(std::move(stage));
}

/// Takes our people but those wanted out of a group; strangers stay. Who is in it then.
std::vector<std::string> Planner::Impl::remove_from(
    const HeldGroup& group, const std::unordered_set<std::string_view>& wanted_ids,
    std::vector<Step>& removals) {
  Step step;
  step.act = Act::kRemoveMembers;
  step.id = group.id;
  step.key = group.key;
  step.name = group.name;
  for (const std::string& id : group.member_ids) {
    const auto found = held_by_id.find(id);
    const bool ours = found != held_by_id.end();
    if (ours) ++held_memberships;
    if (!ours || wanted_ids.contains(id) || is_kept(found->second)) {
      step.stay.push_back(id);
      continue;
    }
    if (active[found->second]) ++memberships_lost;
    step.members.push_back(id);
  }
  std::vector<std::string> stay = step.stay;
  plan.counts.members_removed += step.members.size();
  if (!step.members.empty()) removals.push_back(std::move(step));
  return stay;
}

void Planner::Impl::plan_members(WantedGroup& g, std::vector<Step>& removals) {
  std::unordered_set<std::string_view> now;
  if (g.held != kNone) {
    now.insert(held.groups[g.held].member_ids.begin(), held.groups[g.held].member_ids.end());
  }
  std::unordered_set<std::string_view> wanted_ids;
  std::vector<std::string> add;
  std::vector<std::string> unknown;
  for (std::string& key : g.members) {
    const auto found = wanted_by_key.find(key);
    if (found == wanted_by_key.end()) {
      if (!kept.contains(key)) unknown.push_back(key);
      continue;
    }
    const Wanted& person = wanted[found->second];
    if (person.held == kNone) {
      if (person.active && !person.refused) g.new_members.push_back(std::move(key));
      continue;
    }
    const std::string& id = held.people[person.held].id;
    wanted_ids.insert(id);
    if (person.active && !person.refused && !now.contains(id)) add.push_back(id);
  }
  if (!unknown.empty()) {
    plan.problems.push_back(
        about_group(g.group.name, std::to_string(unknown.size()) +
                                      " members are not among the people: " + join_some(unknown)));
  }
  if (g.held != kNone && kept_groups.contains(g.group.key)) {
    g.stay = held.groups[g.held].member_ids;
  } else if (g.held != kNone) {
    g.stay = remove_from(held.groups[g.held], wanted_ids, removals);
  }
  g.members = std::move(add);
  if (!g.refused) plan.counts.members_added += g.members.size() + g.new_members.size();
}

void Planner::Impl::plan_groups() {
  Stage removals;
  for (WantedGroup& g : groups) plan_members(g, removals.steps);
  for (std::size_t i = 0; i < held.groups.size(); ++i) {
    const HeldGroup& group = held.groups[i];
    const bool counts = held_groups_by_key.at(group.key) == i;
    if (!counts) {
      plan.problems.push_back(
          about_group(group.name, "another group at the destination has the same externalId (key " +
                                      group.key + "); this one, id " + group.id + ", is emptied"));
    }
    const bool stays =
        group_by_key.contains(group.key) || kept_groups.contains(group.key) || some_group_unknown;
    if (counts && stays) continue;
    const std::size_t before = removals.steps.size();
    remove_from(group, {}, removals.steps);
    plan.counts.groups_emptied += removals.steps.size() - before;
  }
  plan.stages.push_back(std::move(removals));
}

Step Planner::Impl::step_for(Act act, const Pending& p) const {
  Step step;
  step.act = act;
  step.key = p.person.key;
  step.changes = p.changes;
  step.person = p.person;
  const std::size_t at = wanted[p.wanted].held;
  step.name = at == kNone ? p.person.user_name : held.people[at].user_name;
  if (at != kNone) step.id = held.people[at].id;
  if (p.changes.user_name) step.new_name = p.person.user_name;
  return step;
}

/// Of those who have an account, before anything else of them: a server may refuse a new name or
/// text, and a key that is taken away must not stay for that.
void Planner::Impl::replace_keys() {
  Stage stage;
  for (Pending& p : pending) {
    const Wanted& who = wanted[p.wanted];
    if (who.held == kNone || !p.changes.ssh_keys) continue;
    const bool comes_back = who.active && !held.people[who.held].active && !who.refused;
    if (comes_back) continue;  // with everything else, before they are let in
    Step step = step_for(Act::kUpdate, p);
    step.changes = {.ssh_keys = true};
    step.new_name.clear();
    stage.steps.push_back(std::move(step));
    p.changes.ssh_keys = false;
    if (who.refused || !p.changes.any()) ++plan.counts.updated;
  }
  plan.stages.push_back(std::move(stage));
}

/// Levels of names one after the other; what moves no name goes with the first.
void Planner::Impl::update_people() {
  std::vector<Stage> levels(1);
  Stage parking;
  for (Pending& p : pending) {
    const Wanted& who = wanted[p.wanted];
    if (who.refused || who.held == kNone) continue;
    const bool comes_back = who.active && !held.people[who.held].active;
    if (p.turn.parked) {
      Step step = step_for(Act::kUpdate, p);
      step.changes = {.user_name = true};
      step.new_name = "roster-moving-" + std::to_string(digester.of(p.person.key)[0]);
      parking.steps.push_back(std::move(step));
    }
    // Who comes back gets everything at once, but a name that others may be waiting for.
    if (comes_back && !p.moves) continue;
    if (!p.changes.any()) continue;
    if (levels.size() <= p.turn.level) levels.resize(p.turn.level + 1);
    Step step = step_for(Act::kUpdate, p);
    if (comes_back) step.changes = {.user_name = true};
    levels[p.turn.level].steps.push_back(std::move(step));
    if (comes_back) p.changes.user_name = false;
    if (!comes_back) ++plan.counts.updated;
  }
  plan.stages.push_back(std::move(parking));
  std::ranges::move(levels, std::back_inserter(plan.stages));
}

void Planner::Impl::let_in() {
  Stage stage;
  for (const Pending& p : pending) {
    const Wanted& who = wanted[p.wanted];
    if (who.refused || !who.active) continue;
    if (who.held == kNone) {
      stage.steps.push_back(step_for(Act::kCreate, p));
      ++plan.counts.created;
    } else if (!held.people[who.held].active) {
      stage.steps.push_back(step_for(Act::kReactivate, p));
      ++plan.counts.reactivated;
    }
  }
  plan.stages.push_back(std::move(stage));
}

void Planner::Impl::fill_groups() {
  std::vector<Stage> levels(1);
  Stage parking;
  Stage filling;
  const auto step_of = [this](Act act, const WantedGroup& g) {
    Step step;
    step.act = act;
    step.key = g.group.key;
    step.name = g.held == kNone ? g.group.name : held.groups[g.held].name;
    if (g.held != kNone) step.id = held.groups[g.held].id;
    return step;
  };
  for (WantedGroup& g : groups) {
    if (g.refused) continue;
    if (g.turn.parked) {
      Step step = step_of(Act::kRenameGroup, g);
      step.new_name = "roster-moving-" + std::to_string(digester.of(g.group.key)[0]);
      parking.steps.push_back(std::move(step));
    }
    if (g.renames) {
      if (levels.size() <= g.turn.level) levels.resize(g.turn.level + 1);
      Step step = step_of(Act::kRenameGroup, g);
      step.new_name = g.group.name;
      levels[g.turn.level].steps.push_back(std::move(step));
      ++plan.counts.groups_renamed;
    }
    if (g.held != kNone && g.members.empty() && g.new_members.empty()) continue;
    Step step = step_of(g.held == kNone ? Act::kCreateGroup : Act::kAddMembers, g);
    if (g.held == kNone) ++plan.counts.groups_created;
    if (g.renames) step.name = g.group.name;
    step.members = std::move(g.members);
    step.new_members = std::move(g.new_members);
    step.stay = std::move(g.stay);
    filling.steps.push_back(std::move(step));
  }
  plan.stages.push_back(std::move(parking));
  std::ranges::move(levels, std::back_inserter(plan.stages));
  plan.stages.push_back(std::move(filling));
}

bool Planner::Impl::is_suspicious(std::size_t some, std::size_t all) const {
  return some > options.shrink_people_max && some * 100 > all * options.shrink_percent_max;
}

Result<void> Planner::Impl::check_shrinkage() const {
  if (options.accept_shrink) return {};
  const auto is_too_much = [this](std::size_t lost, std::size_t before) {
    return is_suspicious(lost, before) || (lost == before && lost >= kAllMin);
  };
  const auto refuse = [](std::size_t lost, std::size_t before, const std::string& what) {
    return fail(
        Code::kFailedPrecondition,
        std::to_string(lost) + " of " + std::to_string(before) + " " + what +
            ": is the source whole, and in the form of the last run? Nothing was changed; if it is "
            "meant: --accept-shrink");
  };
  const Counts& c = plan.counts;
  if (c.people == 0 && kept.empty() && c.held_active > 0) {
    return fail(Code::kFailedPrecondition,
                "the source tells of nobody, and " + std::to_string(c.held_active) +
                    " people are active at the destination. Nothing was changed; if it is meant: "
                    "--accept-shrink");
  }
  // Whom the source says to be locked is locked, however many they are.
  if (is_suspicious(gone, c.held_active)) {
    return refuse(gone, c.held_active, "active people are gone from the source");
  }
  if (is_too_much(keys_lost, held_with_keys)) {
    return refuse(keys_lost, held_with_keys, "people with SSH keys would lose all of them");
  }
  if (is_too_much(memberships_lost, held_memberships)) {
    return refuse(memberships_lost, held_memberships, "memberships would be taken away");
  }
  return {};
}

Result<Plan> Planner::Impl::finish() {
  resolve_clashes();
  hold_back();
  order_people();
  order_groups();
  deactivate();
  plan_groups();
  replace_keys();
  update_people();
  let_in();
  fill_groups();
  std::erase_if(plan.stages, [](const Stage& stage) { return stage.steps.empty(); });
  RETURN_IF_ERROR(check_shrinkage());
  return std::move(plan);
}

Planner::Planner(Held held, Digester digester, PlanOptions options)
    : impl_(std::make_unique<Impl>(std::move(held), std::move(digester), options)) {}
Planner::~Planner() = default;
Planner::Planner(Planner&&) noexcept = default;

void Planner::add(Person person) { impl_->add(std::move(person)); }
void Planner::add(Group group) { impl_->add(std::move(group)); }
void Planner::keep(std::string key, Problem why) { impl_->keep(std::move(key), std::move(why)); }
void Planner::keep_group(std::string key, Problem why) {
  impl_->keep_group(std::move(key), std::move(why));
}
void Planner::hide_locks(Problem why) { impl_->locks_hidden = std::move(why); }
Result<Plan> Planner::finish() && { return impl_->finish(); }

}  // namespace roster::reconcile
