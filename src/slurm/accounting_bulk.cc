/// Writing by slurmrestd of Slurm 23.11 and later.
#include <algorithm>
#include <utility>

#include "base/text.h"
#include "base/unicode.h"
#include "slurm/accounting_session.h"

namespace roster::slurm {
namespace {

using accounting::Act;
using accounting::AssociationId;
using accounting::Change;
using accounting::Held;
using accounting::Setting;
using accounting::Settings;
using accounting::Step;

constexpr std::size_t kItemsMax = 1000;  // of one call: some seconds
constexpr std::size_t kNamesMax = 100;   // in a target
/// Each users_association/ takes slurmctld a fifth of a second with 5,000 users, and a millisecond
/// for each of its own; the other way takes three.
constexpr std::size_t kAlikeMin = 64;
constexpr std::string_view kDatabase = "slurmdbd";
constexpr std::string_view kController = "slurmctld";
constexpr std::int64_t kParentShares = 2147483647;  // SLURMDB_FS_USE_PARENT

struct Path {
  Setting setting;
  std::string_view path;
  bool is_tres;
};
constexpr Path kPaths[] = {
    {Setting::kGrpTres, "max/tres/total", true},
    {Setting::kGrpTresMins, "max/tres/group/minutes", true},
    {Setting::kGrpTresRunMins, "max/tres/group/active", true},
    {Setting::kGrpJobs, "max/jobs/per/count", false},
    {Setting::kGrpJobsAccrue, "max/jobs/per/accruing", false},
    {Setting::kGrpSubmitJobs, "max/jobs/per/submitted", false},
    {Setting::kGrpWall, "max/per/account/wall_clock", false},
    {Setting::kMaxTresPerJob, "max/tres/per/job", true},
    {Setting::kMaxTresPerNode, "max/tres/per/node", true},
    {Setting::kMaxTresMinsPerJob, "max/tres/minutes/per/job", true},
    {Setting::kMaxJobs, "max/jobs/active", false},
    {Setting::kMaxJobsAccrue, "max/jobs/accruing", false},
    {Setting::kMaxSubmitJobs, "max/jobs/total", false},
    {Setting::kMaxWallDurationPerJob, "max/jobs/per/wall_clock", false},
    {Setting::kPriority, "priority", false},
    {Setting::kMinPrioThreshold, "min/priority_threshold", false},
};

void put_at(json::object& object, std::string_view path, json::value value) {
  json::object* at = &object;
  const auto parts = split(path, '/');
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    json::value& next = (*at)[parts[i]];
    if (!next.is_object()) next = json::object();
    at = &next.get_object();
  }
  (*at)[parts.back()] = std::move(value);
}

json::value number_value(std::string_view text) {
  const auto number = parse_number<std::int64_t>(text);
  if (!number) return json::object{{"set", true}, {"infinite", true}};  // takes it back
  return json::object{{"set", true}, {"infinite", false}, {"number", *number}};
}

/// Of "cpu=4,gres/gpu=2".
json::value tres_value(std::string_view text) {
  json::array list;
  for (const std::string_view each : split(text, ',')) {
    const std::size_t equals = each.rfind('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view type = each.substr(0, equals);
    const std::size_t slash = std::min(type.find('/'), type.size());
    json::object tres{{"type", type.substr(0, slash)},
                      {"count", parse_number<std::int64_t>(each.substr(equals + 1)).value_or(0)}};
    if (slash < type.size()) tres["name"] = type.substr(slash + 1);
    list.push_back(std::move(tres));
  }
  return list;
}

/// "association" of users_association/: other names for the same.
json::object association_record(const std::vector<Change>& changes) {
  json::object record;
  for (const Change& each : changes) {
    if (each.setting == Setting::kFairshare) {
      record["fairshare"] = parse_number<std::int64_t>(each.to).value_or(kParentShares);
    } else if (each.setting == Setting::kQos) {
      json::array names;
      for (const std::string_view name : split(each.to, ',')) names.push_back(json::value(name));
      record["qoslevel"] = std::move(names);
    } else if (each.setting == Setting::kDefaultQos) {
      record["defaultqos"] = each.to;
    } else if (each.setting == Setting::kMinPrioThreshold) {
      record["minpriothresh"] = number_value(each.to);
    } else {
      const auto* const path = std::ranges::find(kPaths, each.setting, &Path::setting);
      CHECK(path != std::end(kPaths));
      record[ascii_lower(accounting::name_of(each.setting))] =
          path->is_tres ? tres_value(each.to) : number_value(each.to);
    }
  }
  return record;
}

std::string alike_key(const Step& step) {
  std::string key = step.act == Act::kAddUser ? "u|" + step.account : "a|" + step.account;
  for (const std::string& word : words_of(step.changes)) key += "|" + word;
  return key;
}

const Change* change_of(const std::vector<Change>& changes, Setting setting) {
  const auto found = std::ranges::find(changes, setting, &Change::setting);
  return found == changes.end() ? nullptr : &*found;
}

bool takes_qos_back(const Step& step) {
  const Change* qos = change_of(step.changes, Setting::kQos);
  return qos != nullptr && qos->to.empty() && step.act != Act::kAddAccount &&
         step.act != Act::kAddUser && step.act != Act::kAddAssociation;
}

AssociationId association_of(const Step& step, const Held& held) {
  if (step.act == Act::kSetDefaultAccount) return {step.to, step.user};
  if (step.act != Act::kCureUser) return {step.account, step.user};
  const auto user = held.users.find(step.user);
  return {user == held.users.end() ? "" : user->second.default_account, step.user};
}

bool makes_default(Act act) {
  return act == Act::kSetDefaultAccount || act == Act::kAddUser || act == Act::kCureUser;
}

/// What is set on it now. Nothing when there is no such association.
const Settings* settings_of(const Held& held, const AssociationId& id) {
  if (!id.user.empty()) {
    const auto found = held.associations.find(id);
    return found == held.associations.end() ? nullptr : &found->second;
  }
  const auto found = held.accounts.find(id.account);
  const bool here = found != held.accounts.end() && !found->second.parent.empty();
  return here ? &found->second.settings : nullptr;
}

std::unexpected<Error> not_there(const Step& step) {
  return fail(Code::kNotFound, "there is no such association any more: " + step.user +
                                   " in account " + step.account);
}

std::string escaped(const Work& work, const Work::Group& group) {
  std::string out;
  for (const std::size_t i : group) out += (out.empty() ? "" : "%2C") + work.steps[i].user;
  return out;
}

}  // namespace

json::object association_item(std::string_view cluster, const AssociationId& id,
                              const Settings& held, const std::vector<Change>& changes) {
  // An empty "user" is the account's own; without it slurmrestd refuses all. Without "qos" it would
  // set those that are inherited; an empty list changes nothing.
  json::object item{{"cluster", cluster}, {"account", id.account}, {"user", id.user}};
  const Change* qos = change_of(changes, Setting::kQos);
  json::array names;
  if (qos != nullptr && !qos->to.empty()) {
    for (const std::string_view name : split(qos->to, ',')) names.push_back(json::value(name));
  }
  item["qos"] = std::move(names);
  if (const Change* name = change_of(changes, Setting::kDefaultQos)) {
    put_at(item, "default/qos", json::value(name->to));
  }
  if (const Change* shares = change_of(changes, Setting::kFairshare)) {
    item["shares_raw"] = parse_number<std::int64_t>(shares->to).value_or(kParentShares);
  }
  for (const Path& each : kPaths) {
    const Change* change = change_of(changes, each.setting);
    if (!each.is_tres) {
      if (change != nullptr) put_at(item, each.path, number_value(change->to));
      continue;
    }
    const std::string_view value =
        change != nullptr ? std::string_view(change->to) : accounting::value_of(held, each.setting);
    if (!value.empty()) put_at(item, each.path, tres_value(value));
  }
  return item;
}

void Accounting::Session::send_bulk(Work& work) {
  bulk_accounts(work, work.of({Act::kAddAccount}));
  bulk_users(work, work.of({Act::kAddUser}));
  bulk_associations(
      work, work.of({Act::kStopNewJobs, Act::kMoveAccount, Act::kSetAccount, Act::kSetAssociation,
                     Act::kSetDefaultAccount, Act::kAddUser, Act::kAddAssociation}));
  bulk_account_rows(work, work.of({Act::kAdoptAccount, Act::kDescribeAccount, Act::kAddCoordinator,
                                   Act::kRemoveCoordinator}));
  bulk_user_rows(work, work.of({Act::kLowerAdminLevel, Act::kRaiseAdminLevel, Act::kCureUser}));
  Group cures = work.of({Act::kCureUser});
  std::erase_if(
      cures, [&](std::size_t i) { return association_of(work.steps[i], held_).account.empty(); });
  bulk_associations(work, std::move(cures));  // slurmctld has lost the default account
  bulk_remove(work);
  bulk_jobs(work);
}

/// The accounts and their associations in one call, which leaves alone what others made meanwhile;
/// then what is set on them, and descriptions, which are their names without that.
void Accounting::Session::bulk_accounts(Work& work, Group group) {
  if (group.empty()) return;
  const auto key = [](const Step& step) { return step.to + "|" + step.organization; };
  work.send_by(group, kItemsMax, key, [&](const Group& some) -> Result<void> {
    const Step& first = work.steps[some.front()];
    json::array names;
    for (const std::size_t i : some) names.push_back(json::value(work.steps[i].account));
    const json::object body{{"association_condition",
                             json::object{{"accounts", std::move(names)},
                                          {"clusters", json::array{json::value(access_.cluster)}},
                                          {"association", json::object{{"parent", first.to}}}}},
                            {"account", json::object{{"organization", first.organization}}}};
    return send("POST", database("accounts_association/"), &body, kDatabase);
  });
  Scope scope;
  Group set;
  Group described;
  for (const std::size_t i : work.of({Act::kAddAccount})) {
    const Step& step = work.steps[i];
    const bool own_text = !step.description.empty() && step.description != step.account;
    if (!step.changes.empty()) set.push_back(i);
    if (own_text && !step.elsewhere) described.push_back(i);
    if (!step.changes.empty() || own_text) scope.add(step);
  }
  if (set.empty() && described.empty()) return;
  // Only on what is there: slurmrestd makes an account without a parent of what is not.
  if (const auto read = refresh(scope); !read) {
    return work.fail(set.empty() ? described : set, read.error());
  }
  bulk_associations(work, std::move(set));
  bulk_account_rows(work, std::move(described));
}

/// Many who get the same together; of the others first the rows of users, then the associations.
void Accounting::Session::bulk_adds(Work& work) {
  std::map<std::string, Group> alike;
  for (const std::size_t i : work.of({Act::kAddUser, Act::kAddAssociation})) {
    alike[alike_key(work.steps[i])].push_back(i);
  }
  Group others;
  for (auto& [key, group] : alike) {
    if (group.size() < kAlikeMin) {
      others.insert(others.end(), group.begin(), group.end());
      continue;
    }
    work.send(std::move(group), kItemsMax,
              [&](const Group& some) { return post_users_association(work, some); });
  }
  bulk_users(work, others);
  std::erase_if(others, [&](std::size_t i) { return work.errors[i].has_value(); });
  bulk_associations(work, std::move(others));
}

/// Of steps that are alike. Tells more of what is wrong than associations/ does.
Result<void> Accounting::Session::post_users_association(const Work& work, const Group& group) {
  const Step& first = work.steps[group.front()];
  json::array users;
  for (const std::size_t i : group) users.push_back(json::value(work.steps[i].user));
  json::object user;
  if (first.act == Act::kAddUser) user["defaultaccount"] = first.account;
  const json::object body{{"association_condition",
                           json::object{{"accounts", json::array{json::value(first.account)}},
                                        {"clusters", json::array{json::value(access_.cluster)}},
                                        {"users", std::move(users)},
                                        {"association", association_record(first.changes)}}},
                          {"user", std::move(user)}};
  return send("POST", database("users_association/"), &body, kDatabase);
}

/// Their rows; the associations follow.
void Accounting::Session::bulk_users(Work& work, Group group) {
  std::erase_if(group, [&](std::size_t i) {
    return work.steps[i].elsewhere || work.steps[i].act != Act::kAddUser;
  });
  work.send(std::move(group), kItemsMax, [&](const Group& some) -> Result<void> {
    json::array users;
    for (const std::size_t i : some) {
      users.push_back(json::object{{"name", work.steps[i].user}});
    }
    const json::object body{{"users", std::move(users)}};
    return send("POST", database("users/"), &body, kDatabase);
  });
}

void Accounting::Session::bulk_associations(Work& work, Group group) {
  std::erase_if(group, [&](std::size_t i) {
    const Step& step = work.steps[i];
    if (work.errors[i]) return true;
    if (!takes_qos_back(step)) return false;
    if (auto cleared = clear_qos(step); !cleared) work.errors[i] = cleared.error();
    return work.errors[i].has_value();
  });
  work.send(std::move(group), kItemsMax,
            [&](const Group& some) { return post_associations(work, some); });
}

Result<void> Accounting::Session::post_associations(const Work& work, const Group& group) {
  json::array items;
  for (const std::size_t i : group) {
    const Step& step = work.steps[i];
    const bool adds = step.act == Act::kAddUser || step.act == Act::kAddAssociation;
    const AssociationId id = association_of(step, held_);
    const Settings* held = settings_of(held_, id);
    if (held == nullptr && !adds) return not_there(step);
    // Else slurmrestd would make an association of an account that is not there.
    const bool account_here = settings_of(held_, {id.account, ""}) != nullptr;
    if (adds && !account_here) {
      return fail(Code::kNotFound, "there is no account " + id.account + " in the cluster");
    }
    json::object item =
        association_item(access_.cluster, id, held == nullptr ? Settings() : *held, step.changes);
    if (step.act == Act::kMoveAccount) item["parent_account"] = step.to;
    if (makes_default(step.act)) item["is_default"] = true;
    items.push_back(std::move(item));
  }
  const json::object body{{"associations", std::move(items)}};
  return send("POST", database("associations/"), &body, kDatabase);
}

/// slurmrestd cannot: an empty list changes nothing, and a list of an empty name ends slurmrestd.
Result<void> Accounting::Session::clear_qos(const Step& step) {
  if (!commands_) {
    return fail(Code::kUnsupported,
                "slurmrestd cannot take a list of QOS back; name sacctmgr of this host for the "
                "cluster, or run `sacctmgr modify ... set qos=''`");
  }
  const bool of_user = !step.user.empty();
  std::vector<std::string> words{"modify", of_user ? "user" : "account", "where"};
  words.push_back(of_user ? "name=" + step.user : "name=" + step.account);
  if (of_user) words.insert(words.end(), {"account=" + step.account, "partition="});
  words.insert(words.end(), {"cluster=" + access_.cluster, "set", "QOS="});
  return sacctmgr(std::move(words));
}

void Accounting::Session::bulk_account_rows(Work& work, Group group) {
  std::erase_if(group, [&](std::size_t i) { return work.errors[i].has_value(); });
  work.send(std::move(group), kItemsMax,
            [&](const Group& some) -> Result<void> { return post_account_rows(work, some); });
}

/// A row is replaced as a whole, coordinators included: what is there is sent with it.
Result<void> Accounting::Session::post_account_rows(const Work& work, const Group& group) {
  std::map<std::string, accounting::HeldAccount> rows;
  for (const std::size_t i : group) {
    const Step& step = work.steps[i];
    const auto held = held_.accounts.find(step.account);
    if (held == held_.accounts.end()) {
      return fail(Code::kNotFound, "there is no account " + step.account);
    }
    accounting::HeldAccount& row = rows.try_emplace(step.account, held->second).first->second;
    if (step.act == Act::kAdoptAccount) row.organization = step.to;
    if (step.act == Act::kDescribeAccount) row.description = step.to;
    if (step.act == Act::kAddAccount) row.description = step.description;
    if (step.act == Act::kAddCoordinator) row.coordinators.insert(step.user);
    if (step.act == Act::kRemoveCoordinator) row.coordinators.erase(step.user);
  }
  json::array accounts;
  for (const auto& [name, row] : rows) {
    json::array coordinators;
    for (const std::string& user : row.coordinators) {
      coordinators.push_back(json::object{{"name", user}, {"direct", true}});
    }
    accounts.push_back(json::object{{"name", name},
                                    {"description", row.description},
                                    {"organization", row.organization},
                                    {"coordinators", std::move(coordinators)}});
  }
  const json::object body{{"accounts", std::move(accounts)}};
  RETURN_IF_ERROR(send("POST", database("accounts/"), &body, kDatabase));
  for (auto& [name, row] : rows) held_.accounts[name] = std::move(row);
  return {};
}

/// An admin level; or only the name, upon which slurmctld resolves it again.
void Accounting::Session::bulk_user_rows(Work& work, Group group) {
  work.send(std::move(group), kItemsMax, [&](const Group& some) -> Result<void> {
    json::array users;
    for (const std::size_t i : some) {
      const Step& step = work.steps[i];
      if (!held_.users.contains(step.user)) {
        return fail(Code::kNotFound, "there is no user " + step.user);
      }
      json::object user{{"name", step.user}};
      if (step.act != Act::kCureUser) {
        user["administrator_level"] = json::array{json::value(step.to)};
      }
      users.push_back(std::move(user));
    }
    const json::object body{{"users", std::move(users)}};
    return send("POST", database("users/"), &body, kDatabase);
  });
}

void Accounting::Session::bulk_remove(Work& work) {
  const auto by_account = [](const Step& step) { return step.account; };
  const Group associations = work.of({Act::kRemoveAssociation});
  work.send_by(associations, kNamesMax, by_account, [&](const Group& some) -> Result<void> {
    // slurmrestd takes those of partitions with it, whatever it is told.
    for (const std::size_t i : some) {
      const Step& step = work.steps[i];
      const auto next = held_.associations.upper_bound({step.account, step.user});
      if (next != held_.associations.end() && next->first.account == step.account &&
          next->first.user == step.user) {
        return fail(Code::kFailedPrecondition,
                    step.user + " in account " + step.account +
                        " has associations of partitions, which would be removed with it");
      }
    }
    return send("DELETE",
                database("associations/?cluster=" + access_.cluster + "&account=" +
                         work.steps[some.front()].account + "&user=" + escaped(work, some)),
                nullptr, kDatabase);
  });
  work.send(work.of({Act::kRemoveAccount}), 1, [&](const Group& one) -> Result<void> {
    const Step& step = work.steps[one.front()];
    RETURN_IF_ERROR(check_empty(step.account));
    if (!step.elsewhere)
      return send("DELETE", database("account/" + step.account), nullptr, kDatabase);
    return send("DELETE",
                database("associations/?cluster=" + access_.cluster + "&account=" + step.account),
                nullptr, kDatabase);
  });
}

/// slurmctld answers for each job; that one is over is no error, and seen when jobs are read.
void Accounting::Session::bulk_jobs(Work& work) {
  work.send(work.of({Act::kCancelJobs}), kNamesMax, [&](const Group& some) -> Result<void> {
    json::array jobs;
    for (const std::size_t i : some) {
      for (const std::uint32_t job : work.steps[i].jobs) {
        jobs.push_back(json::value(std::to_string(job)));
      }
    }
    const json::object body{{"jobs", std::move(jobs)}};
    return send("DELETE", controller("jobs/"), &body, kController);
  });
  const Group others = work.of({Act::kHoldJobs, Act::kReleaseJobs});
  work.send(others, 1, [&](const Group& one) -> Result<void> {
    const Step& step = work.steps[one.front()];
    const json::object body{{"hold", step.act == Act::kHoldJobs}};
    Result<void> outcome;
    for (const std::uint32_t job : step.jobs) {
      auto sent = send("POST", controller("job/" + std::to_string(job)), &body, kController);
      if (!sent) outcome = std::move(sent);
    }
    return outcome;
  });
}

/// POST associations/ swallows why it could not add one.
Result<void> Accounting::Session::explain_bulk(const Step& step) {
  if (step.act != Act::kAddUser && step.act != Act::kAddAssociation) return {};
  if (held_.associations.contains({step.account, step.user})) return {};
  const Work one(std::span(&step, 1));
  return post_users_association(one, {0});
}

}  // namespace roster::slurm
