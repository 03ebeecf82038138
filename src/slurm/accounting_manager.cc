/// Writing by sacctmgr and scontrol, where slurmrestd cannot: Slurm 22.05 and 23.02.
#include <algorithm>
#include <utility>

#include "slurm/accounting_session.h"

namespace roster::slurm {
namespace {

using accounting::Act;
using accounting::Step;

constexpr std::size_t kAddsMax = 2000;  // of one load: some ten seconds
constexpr std::size_t kNamesMax = 1000;
constexpr std::size_t kJobStepsMax = 10;  // each may be thousands of jobs, and a word has 128 KiB

template <typename Name>
std::string list_of(const Work& work, const Work::Group& group, const Name& name) {
  std::set<std::string> names;
  for (const std::size_t i : group) names.insert(work.steps[i].*name);
  return joined(names);
}

std::vector<std::uint32_t> jobs_of_all(const Work& work, const Work::Group& group) {
  std::vector<std::uint32_t> jobs;
  for (const std::size_t i : group) {
    jobs.insert(jobs.end(), work.steps[i].jobs.begin(), work.steps[i].jobs.end());
  }
  return jobs;
}

std::string changes_key(const Step& step) {
  std::string key = step.user.empty() ? "account" : "user";
  for (const std::string& word : words_of(step.changes)) key += "|" + word;
  return key;
}

std::string to_key(const Step& step) { return step.to; }

}  // namespace

Result<void> Accounting::Session::sacctmgr(std::vector<std::string> words, std::string input) {
  auto ran = commands_->sacctmgr(std::move(words), std::move(input));
  if (!ran) return std::unexpected(std::move(ran).error());
  return {};
}

void Accounting::Session::command_all(Work& work) {
  command_adds(work, work.of({Act::kAddAccount, Act::kAddUser, Act::kAddAssociation}));
  command_modifies(work);
  command_roles(work);
  command_removals(work);
  command_jobs(work);
  command_cures(work);
}

/// slurmctld resolves all names again, which adding a second time does not make it do; and takes
/// the default account again, which it has lost when it was started before it could resolve the
/// name.
void Accounting::Session::command_cures(Work& work) {
  const Group cures = work.of({Act::kCureUser});
  if (cures.empty()) return;
  work.send(cures, cures.size(), [&](const Group&) -> Result<void> {
    auto ran = commands_->run("scontrol", {"reconfigure"}, "slurmctld");
    if (!ran) return std::unexpected(std::move(ran).error());
    return {};
  });
  std::map<std::string, std::set<std::string>> defaults;
  for (const std::size_t i : work.of({Act::kCureUser})) {
    const auto user = held_.users.find(work.steps[i].user);
    if (user == held_.users.end() || user->second.default_account.empty()) continue;
    defaults[user->second.default_account].insert(user->first);
  }
  for (const auto& [account, users] : defaults) {
    const auto set = sacctmgr({"modify", "user", "where", "name=" + joined(users),
                               "cluster=" + access_.cluster, "set", "defaultaccount=" + account});
    if (!set) return work.fail(cures, set.error());
  }
}

/// One command for all: each would take half a second, and slurmrestd a fifth for each association.
void Accounting::Session::command_adds(Work& work, Group group) {
  work.send(std::move(group), kAddsMax, [&](const Group& some) {
    std::vector<const Step*> steps;
    for (const std::size_t i : some) steps.push_back(&work.steps[i]);
    return sacctmgr({"load", "file=/dev/stdin"}, load_file(access_.cluster, steps));
  });
}

/// By id, so that nothing else is touched: names of users and accounts would also mean those of
/// partitions, and each user in each account.
Result<std::string> Accounting::Session::ids_of(const Work& work, const Group& group) const {
  std::vector<std::uint64_t> ids;
  for (const std::size_t i : group) {
    const auto found = ids_.find({work.steps[i].account, work.steps[i].user});
    const bool there = found != ids_.end() &&
                       (work.steps[i].user.empty() || held_.associations.contains(found->first));
    if (!there) {
      return fail(Code::kNotFound, "there is no such association any more: " + work.steps[i].user +
                                       " in account " + work.steps[i].account);
    }
    ids.push_back(found->second);
  }
  return joined(ids);
}

void Accounting::Session::command_modifies(Work& work) {
  const Group settings = work.of({Act::kStopNewJobs, Act::kSetAccount, Act::kSetAssociation});
  work.send_by(settings, kNamesMax, changes_key, [&](const Group& some) -> Result<void> {
    const Step& first = work.steps[some.front()];
    ASSIGN_OR_RETURN(const std::string ids, ids_of(work, some));
    std::vector<std::string> words{"modify", first.user.empty() ? "account" : "user", "where",
                                   "ids=" + ids, "set"};
    for (std::string& word : words_of(first.changes)) words.push_back(std::move(word));
    return sacctmgr(std::move(words));
  });
  work.send_by(work.of({Act::kMoveAccount}), kNamesMax, to_key,
               [&](const Group& some) -> Result<void> {
                 ASSIGN_OR_RETURN(const std::string ids, ids_of(work, some));
                 return sacctmgr({"modify", "account", "where", "ids=" + ids, "set",
                                  "parent=" + work.steps[some.front()].to});
               });
  const auto texts = [&](Act act, const char* option) {
    work.send_by(work.of({act}), kNamesMax, to_key, [&](const Group& some) -> Result<void> {
      return sacctmgr({"modify", "account", "where", "name=" + list_of(work, some, &Step::account),
                       "set", option + work.steps[some.front()].to});
    });
  };
  texts(Act::kAdoptAccount, "organization=");
  texts(Act::kDescribeAccount, "description=");
}

void Accounting::Session::command_roles(Work& work) {
  const auto by_account = [](const Step& step) { return step.account; };
  work.send_by(work.of({Act::kSetDefaultAccount}), kNamesMax, to_key, [&](const Group& some) {
    return sacctmgr({"modify", "user", "where", "name=" + list_of(work, some, &Step::user),
                     "cluster=" + access_.cluster, "set",
                     "defaultaccount=" + work.steps[some.front()].to});
  });
  work.send_by(
      work.of({Act::kLowerAdminLevel, Act::kRaiseAdminLevel}), kNamesMax, to_key,
      [&](const Group& some) {
        return sacctmgr({"modify", "user", "where", "name=" + list_of(work, some, &Step::user),
                         "set", "adminlevel=" + work.steps[some.front()].to});
      });
  work.send_by(work.of({Act::kAddCoordinator}), kNamesMax, by_account, [&](const Group& some) {
    return sacctmgr({"add", "coordinator", "account=" + work.steps[some.front()].account,
                     "names=" + list_of(work, some, &Step::user)});
  });
  work.send_by(work.of({Act::kRemoveCoordinator}), kNamesMax, by_account, [&](const Group& some) {
    return sacctmgr({"delete", "coordinator", "where",
                     "account=" + work.steps[some.front()].account,
                     "names=" + list_of(work, some, &Step::user)});
  });
}

/// sacctmgr refuses to remove the default account's; slurmrestd of these releases does not.
void Accounting::Session::command_removals(Work& work) {
  Group plain;
  Group defaults;
  for (const std::size_t i : work.of({Act::kRemoveAssociation})) {
    const Step& step = work.steps[i];
    const auto user = held_.users.find(step.user);
    const bool is_default =
        user != held_.users.end() && user->second.default_account == step.account;
    (is_default ? defaults : plain).push_back(i);
  }
  work.send(std::move(plain), kNamesMax, [&](const Group& some) -> Result<void> {
    ASSIGN_OR_RETURN(const std::string ids, ids_of(work, some));
    return sacctmgr({"delete", "user", "where", "ids=" + ids});
  });
  work.send(std::move(defaults), 1, [&](const Group& one) -> Result<void> {
    const Step& step = work.steps[one.front()];
    return send("DELETE",
                database("association?cluster=" + access_.cluster + "&account=" + step.account +
                         "&user=" + step.user),
                nullptr, "slurmdbd");
  });
  work.send(work.of({Act::kRemoveAccount}), 1, [&](const Group& one) -> Result<void> {
    const Step& step = work.steps[one.front()];
    RETURN_IF_ERROR(check_empty(step.account));
    std::vector<std::string> words{"delete", "account", "where", "name=" + step.account};
    if (step.elsewhere) words.push_back("cluster=" + access_.cluster);
    return sacctmgr(std::move(words));
  });
}

/// Of several jobs the commands do what they can, and fail for those that are over: what counts is
/// what is seen when jobs are read.
void Accounting::Session::command_jobs(Work& work) {
  const auto run = [&](const char* program, std::vector<std::string> words) -> Result<void> {
    auto ran = commands_->run(program, std::move(words), "slurmctld");
    if (!ran) return std::unexpected(std::move(ran).error());
    return {};
  };
  work.send(work.of({Act::kHoldJobs}), kJobStepsMax, [&](const Group& some) {
    return run("scontrol", {"hold", joined(jobs_of_all(work, some))});
  });
  work.send(work.of({Act::kReleaseJobs}), kJobStepsMax, [&](const Group& some) {
    return run("scontrol", {"release", joined(jobs_of_all(work, some))});
  });
  work.send(work.of({Act::kCancelJobs}), kJobStepsMax, [&](const Group& some) {
    std::vector<std::string> words;
    for (const std::uint32_t job : jobs_of_all(work, some)) words.push_back(std::to_string(job));
    return run("scancel", std::move(words));
  });
}

/// A load tells only of its first error.
Result<void> Accounting::Session::explain_command(const Step& step) {
  std::vector<std::string> words;
  if (step.act == Act::kAddUser || step.act == Act::kAddAssociation) {
    words = {"add", "user", "name=" + step.user, "account=" + step.account,
             "cluster=" + access_.cluster};
  } else if (step.act == Act::kAddAccount) {
    words = {"add",
             "account",
             "name=" + step.account,
             "parent=" + step.to,
             "cluster=" + access_.cluster,
             "organization=" + step.organization};
    if (!step.description.empty()) words.push_back("description=" + step.description);
  } else {
    return {};
  }
  for (std::string& word : words_of(step.changes)) words.push_back(std::move(word));
  return sacctmgr(std::move(words));
}

}  // namespace roster::slurm
