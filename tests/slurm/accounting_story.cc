// Reads the accounting of a cluster, plans and applies: what the hub does in a pass, for tests
// against a real Slurm. One JSON document on stdin, one on stdout; exit status 1 when nothing could
// be done.
//
//   in:  endpoint, user, token, cluster, api (0: the one that accounting_version chooses),
//   timeout_ms,
//        commands {folder, slurm_conf} or none, owned (as in the last answer), jobs_of [names],
//        desired {marker, accounts, users, locked, left, remove_orphans} or none to read only,
//        adopt_accounts, adopt_users, accept_shrink, now_ms
//   out: error, or api, held, problems, steps, done, failures, owned, cost, seconds
#include <chrono>
#include <iostream>
#include <iterator>
#include <string>

#include "base/json.h"
#include "slurm/accounting.h"

namespace {

namespace accounting = roster::reconcile::accounting;
namespace json = roster::json;
namespace slurm = roster::slurm;
using roster::Result;

std::string text_of(const json::object& o, std::string_view name, std::string_view otherwise = "") {
  return std::string(json::find_string(o, name).value_or(otherwise));
}

std::set<std::string> names_in(const json::object& o, std::string_view name) {
  std::set<std::string> names;
  if (const json::array* list = json::find_array(o, name)) {
    for (const json::value& each : *list) names.insert(std::string(json::view(each.as_string())));
  }
  return names;
}

/// `visit` gets name and object of each member of a member.
template <typename Visit>
void each_in(const json::object& o, std::string_view name, const Visit& visit) {
  if (const json::object* members = json::find_object(o, name)) {
    for (const auto& [key, value] : *members) visit(std::string(key), value.as_object());
  }
}

Result<accounting::Settings> settings_in(const json::object& o) {
  accounting::Settings out;
  const json::object* settings = json::find_object(o, "settings");
  if (settings == nullptr) return out;
  for (const auto& [name, value] : *settings) {
    const auto setting = accounting::setting_named(std::string(name));
    if (!setting)
      return roster::fail(roster::Code::kInvalidArgument, "setting " + std::string(name));
    ASSIGN_OR_RETURN(out[*setting], accounting::canonical(*setting, json::view(value.as_string())));
  }
  return out;
}

accounting::AdminLevel level_of(std::string_view name) {
  if (name == "Administrator") return accounting::AdminLevel::kAdministrator;
  return name == "Operator" ? accounting::AdminLevel::kOperator : accounting::AdminLevel::kNone;
}

accounting::Ending ending_of(const json::object& o, std::string_view name) {
  accounting::Ending ending;
  if (const json::object* given = json::find_object(o, name)) {
    if (text_of(*given, "new_jobs") == "remove") {
      ending.new_jobs = accounting::Ending::NewJobs::kRemove;
    }
    if (text_of(*given, "jobs") == "hold") ending.jobs = accounting::Ending::Jobs::kHold;
    if (text_of(*given, "jobs") == "cancel") ending.jobs = accounting::Ending::Jobs::kCancel;
  }
  return ending;
}

Result<accounting::Desired> desired_of(const json::object& o) {
  accounting::Desired out;
  Result<void> outcome;
  out.marker = text_of(o, "marker");
  each_in(o, "accounts", [&](const std::string& name, const json::object& account) {
    accounting::DesiredAccount& made = out.accounts[name];
    made.parent = text_of(account, "parent", accounting::kRootAccount);
    if (const auto text = json::find_string(account, "description")) made.description = *text;
    made.coordinators = names_in(account, "coordinators");
    auto settings = settings_in(account);
    if (!settings) outcome = std::unexpected(settings.error());
    if (settings) made.settings = *settings;
  });
  each_in(o, "users", [&](const std::string& name, const json::object& user) {
    accounting::DesiredUser& made = out.users[name];
    made.uid = static_cast<std::uint32_t>(json::find_int(user, "uid").value_or(0));
    made.locked = json::find_bool(user, "locked").value_or(false);
    made.ready = json::find_bool(user, "ready").value_or(true);
    made.admin_level = level_of(text_of(user, "admin_level"));
    const json::array* memberships = json::find_array(user, "memberships");
    if (memberships == nullptr) return;
    for (const json::value& each : *memberships) {
      auto settings = settings_in(each.as_object());
      if (!settings) outcome = std::unexpected(settings.error());
      if (settings) made.memberships.push_back({text_of(each.as_object(), "account"), *settings});
    }
  });
  RETURN_IF_ERROR(outcome);
  out.locked = ending_of(o, "locked");
  out.left = ending_of(o, "left");
  out.remove_orphans = json::find_bool(o, "remove_orphans").value_or(false);
  return out;
}

template <typename Names>
json::array array_of(const Names& names) {
  json::array out;
  for (const auto& name : names) out.push_back(json::value(name));
  return out;
}

json::array settings_array(const std::set<accounting::Setting>& settings) {
  json::array out;
  for (const accounting::Setting each : settings) out.push_back(json::value(name_of(each)));
  return out;
}

json::object settings_object(const accounting::Settings& settings) {
  json::object out;
  for (const auto& [setting, value] : settings) out[name_of(setting)] = value;
  return out;
}

json::object json_of(const accounting::Owned& owned) {
  json::object accounts;
  for (const auto& [name, account] : owned.accounts) {
    accounts[name] = json::object{{"settings", settings_array(account.settings)},
                                  {"coordinators", array_of(account.coordinators)},
                                  {"described", account.described}};
  }
  json::object users;
  for (const auto& [name, user] : owned.users) {
    json::object made{{"default_account", user.default_account},
                      {"held_jobs", array_of(user.held_jobs)}};
    if (user.admin_before) made["admin_before"] = name_of(*user.admin_before);
    users[name] = std::move(made);
  }
  json::array associations;
  for (const auto& [id, association] : owned.associations) {
    json::object made{{"account", id.account},
                      {"user", id.user},
                      {"settings", settings_array(association.settings)}};
    if (association.leaving_since) {
      made["leaving_since"] = roster::to_millis(*association.leaving_since);
    }
    associations.push_back(std::move(made));
  }
  return {{"accounts", std::move(accounts)},
          {"users", std::move(users)},
          {"associations", std::move(associations)}};
}

std::set<accounting::Setting> settings_named(const json::object& o) {
  std::set<accounting::Setting> out;
  for (const std::string& name : names_in(o, "settings")) {
    if (const auto setting = accounting::setting_named(name)) out.insert(*setting);
  }
  return out;
}

accounting::Owned owned_of(const json::object& o) {
  accounting::Owned out;
  each_in(o, "accounts", [&](const std::string& name, const json::object& account) {
    out.accounts[name] = {settings_named(account), names_in(account, "coordinators"),
                          json::find_bool(account, "described").value_or(false)};
  });
  each_in(o, "users", [&](const std::string& name, const json::object& user) {
    accounting::OwnedUser& made = out.users[name];
    made.default_account = json::find_bool(user, "default_account").value_or(false);
    if (const auto level = json::find_string(user, "admin_before")) {
      made.admin_before = level_of(*level);
    }
    if (const json::array* jobs = json::find_array(user, "held_jobs")) {
      for (const json::value& job : *jobs) {
        made.held_jobs.insert(static_cast<std::uint32_t>(job.as_int64()));
      }
    }
  });
  if (const json::array* list = json::find_array(o, "associations")) {
    for (const json::value& each : *list) {
      const json::object& given = each.as_object();
      accounting::OwnedAssociation& made =
          out.associations[{text_of(given, "account"), text_of(given, "user")}];
      made.settings = settings_named(given);
      if (const auto since = json::find_int(given, "leaving_since")) {
        made.leaving_since = roster::from_millis(*since);
      }
    }
  }
  return out;
}

std::string_view name_of_state(accounting::Job::State state) {
  if (state == accounting::Job::State::kRunning) return "running";
  return state == accounting::Job::State::kHeld ? "held" : "pending";
}

json::object json_of(const accounting::Held& held) {
  json::object accounts;
  for (const auto& [name, account] : held.accounts) {
    accounts[name] = json::object{{"description", account.description},
                                  {"organization", account.organization},
                                  {"parent", account.parent},
                                  {"settings", settings_object(account.settings)},
                                  {"coordinators", array_of(account.coordinators)},
                                  {"elsewhere", account.elsewhere}};
  }
  json::object users;
  for (const auto& [name, user] : held.users) {
    json::object made{{"default_account", user.default_account},
                      {"admin_level", name_of(user.admin_level)}};
    if (user.uid) made["uid"] = *user.uid;
    users[name] = std::move(made);
  }
  json::object associations;
  for (const auto& [id, settings] : held.associations) {
    associations[id.account + "/" + id.user + (id.partition.empty() ? "" : "/" + id.partition)] =
        settings_object(settings);
  }
  json::object jobs;
  for (const accounting::Job& job : held.jobs) {
    jobs[std::to_string(job.id)] = json::array{json::value(job.user), json::value(job.account),
                                               json::value(name_of_state(job.state))};
  }
  return {{"accounts", std::move(accounts)},
          {"users", std::move(users)},
          {"associations", std::move(associations)},
          {"jobs", std::move(jobs)},
          {"qos", array_of(held.qos.value_or(std::set<std::string>()))}};
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Result<slurm::ApiVersion> api_of(slurm::RestClient& rest, const slurm::Caller& caller, int wanted) {
  if (wanted != 0) return slurm::ApiVersion{wanted};
  ASSIGN_OR_RETURN(const auto offered, rest.versions(caller));
  return slurm::accounting_version(offered);
}

Result<void> apply(slurm::Accounting& session, const json::object& in, const accounting::Held& held,
                   json::object& out) {
  const json::object* wanted = json::find_object(in, "desired");
  if (wanted == nullptr) return {};
  ASSIGN_OR_RETURN(const accounting::Desired desired, desired_of(*wanted));
  accounting::Options options;
  options.now = roster::from_millis(json::find_int(in, "now_ms").value_or(1'700'000'000'000));
  options.adopt_accounts = names_in(in, "adopt_accounts");
  options.adopt_users = names_in(in, "adopt_users");
  options.accept_shrink = json::find_bool(in, "accept_shrink").value_or(false);
  const json::object* before = json::find_object(in, "owned");
  const accounting::Owned owned = before == nullptr ? accounting::Owned() : owned_of(*before);
  ASSIGN_OR_RETURN(const accounting::Plan plan, accounting::plan(desired, held, owned, options));
  json::array problems;
  for (const auto& problem : plan.problems) {
    problems.push_back(json::value(problem.subject + ": " + problem.sentence));
  }
  out["problems"] = std::move(problems);
  json::array steps;
  for (const accounting::Stage& stage : plan.stages) {
    for (const accounting::Step& step : stage.steps) steps.push_back(json::value(sentence(step)));
  }
  out["steps"] = std::move(steps);
  const auto started = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(
      const slurm::Carried carried,
      carry_out(session, plan, [](const accounting::Owned&) { return Result<void>(); }));
  out["apply_seconds"] = seconds_since(started);
  json::array failures;
  for (const slurm::Carried::Failure& each : carried.failures) {
    failures.push_back(json::array{json::value(sentence(each.step)),
                                   json::value(roster::code_name(each.error.code)),
                                   json::value(each.error.message)});
  }
  out["done"] = carried.done;
  out["failures"] = std::move(failures);
  out["owned"] = json_of(carried.owned);
  return {};
}

Result<void> pass(const json::object& in, json::object& out) {
  slurm::RestOptions options;
  options.endpoint = text_of(in, "endpoint");
  options.timeout = std::chrono::milliseconds(json::find_int(in, "timeout_ms").value_or(120'000));
  ASSIGN_OR_RETURN(slurm::RestClient rest, slurm::RestClient::create(options));
  slurm::AccountingAccess access;
  access.cluster = text_of(in, "cluster");
  access.caller = {text_of(in, "user"), roster::Secret(text_of(in, "token"))};
  if (const json::object* commands = json::find_object(in, "commands")) {
    access.commands = slurm::SlurmCommands{text_of(*commands, "folder"),
                                           text_of(*commands, "slurm_conf"), options.timeout};
  }
  ASSIGN_OR_RETURN(access.version, api_of(rest, access.caller,
                                          static_cast<int>(json::find_int(in, "api").value_or(0))));
  out["api"] = access.version.text();
  ASSIGN_OR_RETURN(slurm::Accounting session, slurm::Accounting::create(rest, std::move(access)));
  const auto started = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const accounting::Held held, session.read(names_in(in, "jobs_of")));
  out["read_seconds"] = seconds_since(started);
  if (!json::find_bool(in, "quiet").value_or(false)) out["held"] = json_of(held);
  const Result<void> applied = apply(session, in, held, out);
  out["seconds"] = seconds_since(started);
  out["cost"] =
      json::object{{"requests", session.cost().requests}, {"commands", session.cost().commands}};
  return applied;
}

}  // namespace

int main() {
  const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
  const auto in = json::parse(text, {.bytes_max = 64 << 20, .values_max = 5'000'000});
  if (!in || !in->is_object()) {
    std::cerr << "accounting_story: stdin is not a JSON object\n";
    return 2;
  }
  json::object out;
  const Result<void> done = pass(in->get_object(), out);
  if (!done) {
    out["error"] = json::array{json::value(roster::code_name(done.error().code)),
                               json::value(done.error().message)};
  }
  std::cout << json::serialize(out) << '\n';
  return done ? 0 : 1;
}
