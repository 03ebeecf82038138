#include "cli/slurm_setup.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <ostream>
#include <thread>

#include "base/encoding.h"
#include "base/subprocess.h"
#include "cli/show.h"
#include "cli/slurm_token.h"
#include "cli/table.h"

namespace roster::cli {
namespace {

constexpr std::chrono::seconds kRestartDeadline{120};
/// How long daemons that were just started may take until they answer.
constexpr std::chrono::seconds kSettle{45};
constexpr std::chrono::seconds kSettlePoll{1};

std::string cluster_path(const std::string& name) { return "/clusters/" + percent_encode(name); }

Result<ClusterFacts> ask_hub(Hub& hub, const std::string& named) {
  ClusterFacts facts;
  ASSIGN_OR_RETURN(facts.name, chosen_cluster(hub, named));
  ASSIGN_OR_RETURN(const json::object cluster, hub.call_org("GET", cluster_path(facts.name)));
  facts.slurm_name = cell(cluster, "slurm_name");
  if (facts.slurm_name.empty()) facts.slurm_name = facts.name;
  facts.rs256 = cell(cluster, "signing") == "rs256";
  facts.endpoint = cell(cluster, "endpoint");
  if (!facts.rs256) return facts;
  ASSIGN_OR_RETURN(const json::object jwks,
                   hub.call_org("GET", cluster_path(facts.name) + "/jwks"));
  facts.jwks = json::serialize(jwks) + "\n";
  return facts;
}

/// slurmdbd alone tells it only when it finds its configuration, so the others are asked first.
std::optional<std::pair<int, int>> installed_release(const SlurmMachine& machine) {
  for (const char* name : {"slurmctld", "slurmd", "slurmdbd"}) {
    const auto ran = run_program({(machine.sbin_dir / name).string(), "-V"});
    if (!ran || ran->status != 0) continue;
    if (const auto release = parse_release(ran->out)) return release;
  }
  return std::nullopt;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

void show(Session& session, const SlurmPlan& plan) {
  for (const PlannedFile& file : plan.files) session.out << file.shown;
  for (const std::string& sentence : plan.notes) session.out << "note: " << sentence << '\n';
}

void show_restarts(Session& session, const SlurmPlan& plan) {
  if (plan.restarts.empty()) return;
  session.out << "Then, in this order (jobs run on):\n";
  for (const auto& command : plan.restarts) session.out << "  " << joined(command) << '\n';
}

Result<void> restart(Session& session, const SlurmPlan& plan, const SlurmMachine& machine) {
  ProcessLimits limits;
  limits.deadline = kRestartDeadline;
  limits.environment = {"SLURM_CONF=" + (machine.conf_dir / "slurm.conf").string()};
  for (const auto& command : plan.restarts) {
    session.out << joined(command) << std::endl;
    ASSIGN_OR_RETURN(const ProcessOutput ran, run_program(command, limits));
    if (ran.status != 0) {
      return fail(Code::kFailedPrecondition, joined(command) + " failed: " + ran.err +
                                                 " The files are in place; the rest was not done");
    }
  }
  return {};
}

/// Which step of the connection check a daemon stands behind.
struct Daemon {
  SlurmRole role;
  const char* name;
  const char* step;
};
constexpr Daemon kDaemons[] = {{SlurmRole::kRest, "slurmrestd", "endpoint"},
                               {SlurmRole::kController, "slurmctld", "slurmctld"},
                               {SlurmRole::kDbd, "slurmdbd", "slurmdbd"}};

struct Judged {
  Table table{{"DAEMON", "RESULT", "SEEN"}};
  std::string summary;
  bool good = false;
};

Result<Judged> judge_daemons(Hub& hub, const ClusterFacts& facts, const SlurmMachine& machine) {
  ASSIGN_OR_RETURN(
      const json::object report,
      hub.call_org("POST", cluster_path(facts.name) + "/check", json::object{{"job", false}}));
  Judged judged;
  judged.good = json::find_bool(report, "good").value_or(false);
  judged.summary = cell(report, "summary");
  const json::array* steps = json::find_array(report, "steps");
  for (const Daemon& daemon : kDaemons) {
    if (std::ranges::find(machine.roles, daemon.role) == machine.roles.end()) continue;
    std::string outcome = "skipped";
    std::string seen;
    for (std::size_t i = 0; steps != nullptr && i < steps->size(); ++i) {
      const json::object& step = steps->at(i).get_object();
      if (cell(step, "step") != daemon.step) continue;
      outcome = cell(step, "outcome");
      seen = cell(step, "seen");
      if (const std::string mend = cell(step, "mend"); !mend.empty()) seen += "; " + mend;
    }
    judged.table.add({daemon.name, outcome, seen});
  }
  return judged;
}

/// Asks the hub, which asks the daemons with its own token: that they take it is what counts.
Result<void> check_daemons(Session& session, Hub& hub, const ClusterFacts& facts,
                           const SlurmMachine& machine, std::chrono::seconds patience) {
  const auto begin = std::chrono::steady_clock::now();
  Result<Judged> judged = judge_daemons(hub, facts, machine);
  while (judged && !judged->good && std::chrono::steady_clock::now() - begin < patience) {
    std::this_thread::sleep_for(kSettlePoll);
    judged = judge_daemons(hub, facts, machine);
  }
  if (!judged) return std::unexpected(judged.error());
  session.out << judged->table.render() << judged->summary << '\n';
  if (judged->good) return {};
  return fail(Code::kFailedPrecondition, judged->summary);
}

Result<void> check_only(Session& session, Hub& hub, const ClusterFacts& facts,
                        const SlurmMachine& machine, const SlurmPlan& plan) {
  for (const PlannedFile& file : plan.files) {
    session.out << file.path.string() << ": not as it should be\n";
  }
  RETURN_IF_ERROR(check_daemons(session, hub, facts, machine, std::chrono::seconds(0)));
  if (plan.files.empty()) return {};
  return fail(Code::kFailedPrecondition,
              "files are not as they should be: roster slurm setup shows how");
}

}  // namespace

Result<void> slurm_setup(Session& session, Hub& hub, SetupWish wish) {
  SlurmMachine& machine = wish.machine;
  if (::geteuid() != 0) {
    return fail(Code::kPermissionDenied, "slurm setup is for root, on a machine of Slurm's");
  }
  ASSIGN_OR_RETURN(const ClusterFacts facts, ask_hub(hub, wish.cluster));
  if (machine.roles.empty()) machine.roles = roles_here(machine);
  if (machine.roles.empty()) {
    return fail(Code::kFailedPrecondition,
                "there is no slurmctld, slurmdbd or slurmrestd here: run it on their machines, or "
                "name what this one is by --role, --conf-dir and --sbin-dir");
  }
  machine.release = installed_release(machine);
  ASSIGN_OR_RETURN(const SlurmPlan plan, plan_slurm(facts, machine));
  if (wish.check) return check_only(session, hub, facts, machine, plan);
  show(session, plan);
  if (plan.files.empty()) {
    session.out << "Nothing to do: the files are as they should be. Whether the daemons run with "
                   "them: roster slurm setup --check\n";
    return {};
  }
  if (!wish.apply) {
    show_restarts(session, plan);
    session.out << "Nothing was changed. To do this, run it again with --apply.\n";
    return {};
  }
  RETURN_IF_ERROR(apply_slurm(plan));
  session.out << "Done: " << plan.files.size() << (plan.files.size() == 1 ? " file" : " files")
              << ". What was there before is in *.roster-before.\n";
  if (!wish.restart) {
    show_restarts(session, plan);
    session.out << "Then: roster slurm setup --check\n";
    return {};
  }
  RETURN_IF_ERROR(restart(session, plan, machine));
  return check_daemons(session, hub, facts, machine, kSettle);
}

void add_slurm_setup(CLI::App* slurm, Session& session) {
  auto wish = std::make_shared<SetupWish>();
  CLI::App* command = slurm->add_subcommand(
      "setup", "make slurmctld, slurmdbd and slurmrestd of this machine take the hub's tokens");
  SlurmMachine& machine = wish->machine;
  command->add_option("--cluster", wish->cluster, "default: the only one")
      ->envname("ROSTER_CLUSTER");
  static const std::map<std::string, SlurmRole> kRoles{
      {"controller", SlurmRole::kController}, {"dbd", SlurmRole::kDbd}, {"rest", SlurmRole::kRest}};
  command
      ->add_option("--role", machine.roles,
                   "controller, dbd, rest; may be repeated; default: what is here")
      ->transform(CLI::CheckedTransformer(kRoles));
  command->add_option("--conf-dir", machine.conf_dir, "of slurm.conf; default: /etc/slurm");
  command->add_option("--jwks-file", machine.jwks_file, "default: jwks.json in that folder");
  command->add_option("--key-file", machine.key_file,
                      "of hs256: Slurm's key; default: what jwt_key= says");
  command->add_option("--sbin-dir", machine.sbin_dir, "of Slurm's daemons; default: /usr/sbin");
  command->add_option("--socket-group", machine.socket_group,
                      "whom slurmrestd's unix socket lets in; default: rosterd");
  auto* apply = command->add_flag("--apply", wish->apply, "do it; otherwise it is only shown");
  command->add_flag("--restart", wish->restart, "then restart the daemons, and check")
      ->needs(apply);
  command->add_flag("--check", wish->check, "change nothing; say whether the daemons run with it")
      ->excludes(apply);
  command->footer(
      "Runs as root on the machines of slurmctld, slurmdbd and slurmrestd.\n"
      "Examples:\n"
      "  roster slurm setup\n"
      "  roster slurm setup --apply --restart\n"
      "  roster slurm setup --check\n"
      "Exit status: 0 done, shown, or all is well; 1 refused or not well.");
  command->callback([wish, &session] {
    session.action = [wish, &session](Hub& hub) { return slurm_setup(session, hub, *wish); };
  });
}

}  // namespace roster::cli
