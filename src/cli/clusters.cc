#include "cli/clusters.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <vector>

#include "base/encoding.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/subprocess.h"
#include "base/unicode.h"
#include "cli/show.h"
#include "cli/slurm_setup.h"
#include "cli/slurm_token.h"
#include "cli/table.h"

namespace roster::cli {
namespace {

constexpr std::size_t kSlurmKeyBytes = 32;
constexpr std::size_t kRulesBytesMax = 256 << 10;
constexpr std::chrono::seconds kSshDeadline{20};

std::string cluster_path(const std::string& name) { return "/clusters/" + percent_encode(name); }

const std::vector<Column>& cluster_columns() {
  static const std::vector<Column> kColumns{
      {"CLUSTER", "name"},    {"SCHEDULER", "scheduler"},   {"LOGIN HOST", "login_host"},
      {"PORT", "login_port"}, {"LOGIN USER", "login_user"}, {"SLURMRESTD", "endpoint"},
      {"SIGNING", "signing"}};
  return kColumns;
}

const std::vector<Column>& key_columns() {
  static const std::vector<Column> kColumns{
      {"KEY", "id"}, {"STATE", "state"}, {"CREATED", "created"}, {"FORMER SINCE", "former_since"}};
  return kColumns;
}

/// Options of `cluster add` and `cluster set`; what was given becomes members of the body.
struct Wish {
  std::string name;
  std::map<std::string, std::string> texts;
  std::map<std::string, std::vector<std::string>> lists;
  std::int64_t login_port = 0;
  bool plain_http = false;
  bool await_nodes = true;
  bool accept_root_key = false;
  std::map<std::string, CLI::Option*> given;

  json::object body() const {
    json::object out;
    for (const auto& [name_of, option] : given) {
      if (option->count() == 0) continue;
      if (const auto text = texts.find(name_of); text != texts.end()) {
        out[name_of] = json::string(text->second);
      } else if (const auto list = lists.find(name_of); list != lists.end()) {
        json::array items;
        for (const std::string& line : list->second) {
          if (!line.empty()) items.emplace_back(line);
        }
        out[name_of] = std::move(items);
      } else if (name_of == "login_port") {
        out[name_of] = login_port;
      } else {
        out[name_of] = name_of == "plain_http"    ? plain_http
                       : name_of == "await_nodes" ? await_nodes
                                                  : accept_root_key;
      }
    }
    return out;
  }
};

void add_settings(CLI::App* command, const std::shared_ptr<Wish>& wish) {
  const auto text = [&](const char* option, const char* member, const char* meaning) {
    wish->given[member] = command->add_option(option, wish->texts[member], meaning);
  };
  text("--endpoint", "endpoint",
       "slurmrestd: unix:/run/slurmrestd/slurmrestd.socket, http://HOST:PORT or https://HOST:PORT");
  text("--login-host", "login_host",
       "where people sign in over ssh; __USER__ in any field stands for the login name");
  text("--login-user", "login_user", "as whom they sign in; default: __USER__");
  text("--scheduler", "scheduler", "slurm, the only one");
  text("--slurm-name", "slurm_name", "ClusterName of slurm.conf; default: NAME");
  text("--ca-file", "ca_file", "on the hub: PEM file with the authorities of an https endpoint");
  text("--signing", "signing",
       "rs256: with a key of the hub's, of which Slurm has the public half (default); hs256: with "
       "Slurm's own key, which is root on the cluster");
  text("--key-file", "key_file", "on the hub, of hs256: Slurm's key");
  text("--token-ttl-max", "token_ttl_max", "of tokens that people take; default: 1h");
  text("--service-user", "service_user", "the hub's own user in Slurm; default: slurm");
  text("--read-user", "read_user",
       "person as whom tokens of scope read look through the gateway; default: nobody");
  wish->given["login_port"] =
      command->add_option("--login-port", wish->login_port, "of ssh; default: 22");
  wish->given["await_nodes"] = command->add_flag(
      "--await-nodes,!--no-await-nodes", wish->await_nodes,
      "give accounts only to people whom every node of role controller or dbd knows; default: yes");
  wish->given["user_access"] = command->add_option(
      "--user-access", wish->lists["user_access"],
      "what people may ask the gateway, \"GET,POST /slurm/*/job/submit\"; may be repeated; \"\": "
      "the built-in policy");
  wish->given["read_access"] = command->add_option("--read-access", wish->lists["read_access"],
                                                   "likewise, of tokens of scope read");
  wish->given["plain_http"] =
      command->add_flag("--plain-http,!--no-plain-http", wish->plain_http,
                        "allow an http endpoint beyond loopback: tokens can be read on the way");
  wish->given["accept_root_key"] = command->add_flag(
      "--accept-root-key", wish->accept_root_key,
      "with hs256: whoever reads the hub's key file is root on the cluster, and that is accepted");
}

void print_steps(Session& session, const json::object& report) {
  Table table({"STEP", "RESULT", "SEEN"});
  std::vector<std::pair<std::string, std::string>> mends;
  if (const json::array* steps = json::find_array(report, "steps")) {
    for (const json::value& item : *steps) {
      const json::object& step = item.get_object();
      table.add({cell(step, "step"), cell(step, "outcome"), cell(step, "seen")});
      if (!cell(step, "mend").empty()) mends.emplace_back(cell(step, "step"), cell(step, "mend"));
    }
  }
  session.out << table.render();
  for (const auto& [step, mend] : mends) session.out << step << ": " << mend << '\n';
  session.out << cell(report, "summary") << '\n';
}

struct LoginStep {
  bool good = false;
  std::string seen;
  std::string mend;
};

/// `id USER` on the login host, as the caller of this command: with their keys and known hosts.
LoginStep try_login(const json::object& cluster, const std::string& login) {
  const std::string host = cell(cluster, "login_host");
  std::string user = cell(cluster, "login_user");
  const std::vector<std::string> command{"/usr/bin/ssh",
                                         "-a",
                                         "-x",
                                         "-o",
                                         "ClearAllForwardings=yes",
                                         "-o",
                                         "BatchMode=yes",
                                         "-o",
                                         "ConnectTimeout=10",
                                         "-p",
                                         cell(cluster, "login_port"),
                                         "-l",
                                         user,
                                         "--",
                                         host,
                                         "id",
                                         "--",
                                         login};
  ProcessLimits limits;
  limits.deadline = kSshDeadline;
  for (const char* name : {"HOME", "USER", "SSH_AUTH_SOCK"}) {
    if (const char* value = std::getenv(name)) {
      limits.environment.push_back(std::string(name) + "=" + value);
    }
  }
  const auto ran = run_program(command, limits);
  if (!ran) return {false, "ssh did not run: " + ran.error().message, "install openssh-client"};
  std::string line = ran->status == 0 ? ran->out : ran->err;
  while (!line.empty() && line.back() == '\n') line.pop_back();
  line = printable(line);
  if (ran->status == 0) return {true, user + "@" + host + ": " + line, ""};
  if (ran->status == 255) {
    return {
        false, "ssh to " + user + "@" + host + " failed: " + line,
        "sign in by hand once: ssh -p " + cell(cluster, "login_port") + " " + user + "@" + host};
  }
  return {false, host + " does not know " + login + ": " + line,
          "`roster-agent status` and `roster doctor` on " + host};
}

/// Adds the step of the login host to the hub's report.
void add_login_step(json::object& report, const LoginStep& step) {
  report["steps"].as_array().push_back(json::object{{"step", "login"},
                                                    {"outcome", step.good ? "ok" : "failed"},
                                                    {"seen", step.seen},
                                                    {"mend", step.mend}});
  if (!step.good && json::find_bool(report, "good").value_or(false)) {
    report["good"] = false;
    report["summary"] = "connection failed (login): " + step.seen;
  }
}

struct CheckWish {
  std::string name;
  std::string as;
  bool no_job = false;
  bool no_login = false;
};

/// With __USER__ in the place of which stands the login.
json::object for_login(json::object cluster, const std::string& login) {
  for (const char* name : {"login_host", "login_user"}) {
    std::string text = cell(cluster, name);
    constexpr std::string_view kPlaceholder = "__USER__";
    for (std::size_t at = 0; (at = text.find(kPlaceholder, at)) != text.npos; at += login.size()) {
      text.replace(at, kPlaceholder.size(), login);
    }
    cluster[name] = json::string(text);
  }
  return cluster;
}

Result<void> check(Session& session, Hub& hub, const CheckWish& wish) {
  ASSIGN_OR_RETURN(const json::object cluster, hub.call_org("GET", cluster_path(wish.name)));
  json::object body{{"job", !wish.no_job}};
  std::string login;
  if (!wish.as.empty()) {
    ASSIGN_OR_RETURN(const json::object user,
                     hub.call_org("GET", "/users/" + percent_encode(wish.as)));
    login = cell(user, "login");
    body["as"] = json::string(wish.as);
  }
  ASSIGN_OR_RETURN(json::object report,
                   hub.call_org("POST", cluster_path(wish.name) + "/check", body));
  if (!wish.no_login && !login.empty() && !cell(cluster, "login_host").empty()) {
    add_login_step(report, try_login(for_login(cluster, login), login));
  }
  if (session.output == Output::kJson) {
    print_json(session, report);
  } else {
    print_steps(session, report);
  }
  if (json::find_bool(report, "good").value_or(false)) return {};
  return fail(Code::kFailedPrecondition, cell(report, "summary"));
}

void add_check(CLI::App* cluster, Session& session) {
  auto wish = std::make_shared<CheckWish>();
  CLI::App* command = cluster->add_subcommand(
      "check", "try everything that Roster needs of a cluster, step by step");
  command->add_option("NAME", wish->name, "name of the cluster")->required();
  command->add_option("--as", wish->as,
                      "login, userName or id: also impersonate this person, run a job as them and "
                      "look them up on the login host");
  command->add_flag("--no-job", wish->no_job, "submit no job");
  command->add_flag("--no-login", wish->no_login, "do not ask the login host over ssh");
  command->footer(
      "Examples:\n"
      "  roster cluster check hpc\n"
      "  roster cluster check hpc --as ada --output json\n"
      "Exit status: 0 all is well, 1 a step failed, 3 the hub cannot be reached.");
  command->callback([wish, &session] {
    session.action = [wish, &session](Hub& hub) { return check(session, hub, *wish); };
  });
}

void add_writes(CLI::App* cluster, Session& session) {
  struct Write {
    const char* name;
    const char* meaning;
    const char* example;
  };
  for (const Write& write :
       {Write{"add", "tell the hub of a cluster",
              "Examples:\n"
              "  roster cluster add hpc --endpoint unix:/run/slurmrestd/slurmrestd.socket \\\n"
              "      --login-host login.hpc.example.org\n"
              "  roster cluster add old --endpoint https://ctl.old.example.org:6820 --slurm-name "
              "lab"},
        Write{"set", "change settings of a cluster",
              "Example: roster cluster set hpc --login-host '__USER__.login.example.org'"}}) {
    auto wish = std::make_shared<Wish>();
    CLI::App* command = cluster->add_subcommand(write.name, write.meaning);
    command->add_option("NAME", wish->name, "[a-z0-9_-], as nodes give it when they join")
        ->required();
    add_settings(command, wish);
    command->footer(write.example);
    const bool is_new = std::string_view(write.name) == "add";
    command->callback([wish, is_new, &session] {
      session.action = [wish, is_new, &session](Hub& hub) -> Result<void> {
        json::object body = wish->body();
        if (is_new) body["name"] = json::string(wish->name);
        ASSIGN_OR_RETURN(const json::object answer,
                         is_new ? hub.call_org("POST", "/clusters", body)
                                : hub.call_org("PATCH", cluster_path(wish->name), body));
        return print_one(session, answer, cluster_columns());
      };
    });
  }
}

/// What to do next, on stderr: stdout has what programs read.
void say(const std::string& text) { std::cerr << text << '\n'; }

struct RotateWish {
  std::string cluster;
  bool activate = false;
  bool finish = false;
  bool force = false;
};

std::string key_in(const json::object& keys, std::string_view state) {
  if (const json::array* items = json::find_array(keys, "keys")) {
    for (const json::value& item : *items) {
      if (cell(item.get_object(), "state") == state) return cell(item.get_object(), "id");
    }
  }
  return {};
}

Result<void> rotate(Session& session, Hub& hub, const RotateWish& wish) {
  ASSIGN_OR_RETURN(const std::string cluster, chosen_cluster(hub, wish.cluster));
  const std::string path = cluster_path(cluster) + "/keys";
  ASSIGN_OR_RETURN(const json::object keys, hub.call_org("GET", path));
  if (wish.finish) {
    const std::string former = key_in(keys, "former");
    if (former.empty()) return fail(Code::kFailedPrecondition, "there is no former key");
    RETURN_IF_ERROR(hub.call_org(
        "DELETE", path + "/" + percent_encode(former) + (wish.force ? "?force=true" : "")));
    say("Give Slurm the JWKS once more, so that it forgets the key as well: roster slurm jwks");
  } else if (wish.activate) {
    const std::string next = key_in(keys, "next");
    if (next.empty()) {
      return fail(Code::kFailedPrecondition, "there is no next key: roster slurm rotate makes one");
    }
    RETURN_IF_ERROR(hub.call_org("POST", path + "/" + percent_encode(next) + "/activate",
                                 {{"force", wish.force}}));
    say("It signs now. When the tokens of the former key have ended: roster slurm rotate --finish");
  } else {
    RETURN_IF_ERROR(hub.call_org("POST", path, {}));
    say("Next, on the machines of slurmctld and slurmdbd: roster slurm setup --apply --restart\n"
        "or by hand:\n"
        "  1. replace the file of AuthAltParameters=jwks= by what `roster slurm jwks` prints\n"
        "  2. slurmctld: before Slurm 24.11 restart it, later `scontrol reconfigure`\n"
        "  3. slurmdbd: restart it (no release reads the file again by itself)\n"
        "Then: roster slurm rotate --activate   (refused until both take the new key)");
  }
  ASSIGN_OR_RETURN(const json::object after, hub.call_org("GET", path));
  return print_list(session, after, "keys", key_columns());
}

void add_rotate(CLI::App* slurm, Session& session) {
  auto wish = std::make_shared<RotateWish>();
  CLI::App* command = slurm->add_subcommand(
      "rotate", "replace the key that signs tokens, in three stages that refuse nobody");
  command->add_option("--cluster", wish->cluster, "default: the only one");
  auto* activate = command->add_flag("--activate", wish->activate,
                                     "second: sign with the new key, once Slurm takes it");
  command->add_flag("--finish", wish->finish, "third: forget the former key")->excludes(activate);
  command->add_flag("--force", wish->force,
                    "activate though Slurm does not take it yet, or finish before its tokens end");
  command->footer(
      "Examples:\n"
      "  roster slurm rotate --cluster hpc\n"
      "  roster slurm rotate --cluster hpc --activate\n"
      "  roster slurm rotate --cluster hpc --finish");
  command->callback([wish, &session] {
    session.action = [wish, &session](Hub& hub) { return rotate(session, hub, *wish); };
  });
}

void add_token(CLI::App* slurm, Session& session) {
  auto wish = std::make_shared<TokenWish>();
  CLI::App* command =
      slurm->add_subcommand("token", "a short-lived token for slurmrestd, for one person");
  command->add_option("--cluster", wish->cluster, "default: the only one")
      ->envname("ROSTER_CLUSTER");
  command->add_option("--user", wish->user,
                      "login, userName or id; default: the person whose token asks");
  command->add_option("--ttl", wish->ttl, "at most the cluster's token-ttl-max; default: 30m");
  static const std::map<std::string, TokenForm> kForms{
      {"token", TokenForm::kToken}, {"env", TokenForm::kEnv}, {"slurm-web", TokenForm::kSlurmWeb}};
  command
      ->add_option("--form", wish->form,
                   "token: alone; env: SLURM_JWT=..., for Slurm's commands; slurm-web: the section "
                   "[slurmrestd] of its agent.ini")
      ->transform(CLI::CheckedTransformer(kForms))
      ->default_str("token");
  command->add_option("--watch", wish->watch,
                      "write it to this file and keep that renewed, until SIGTERM");
  command->add_option("--mode", wish->mode, "of the file, octal; default: 0600")
      ->transform(CLI::Validator(
          [](std::string& text) {
            unsigned mode = 0;
            const char* end = text.data() + text.size();
            const auto [stop, problem] = std::from_chars(text.data(), end, mode, 8);
            if (problem != std::errc{} || stop != end || mode > 0777) {
              return std::string("an octal mode, like 0640");
            }
            text = std::to_string(mode);
            return std::string();
          },
          "MODE"));
  command->footer(
      "Examples:\n"
      "  export $(roster slurm token --form env) && squeue --me\n"
      "  roster slurm token --user slurm-web --ttl 8h --form slurm-web \\\n"
      "      --watch /etc/slurm-web/agent.d/token.ini --mode 0640");
  command->callback([wish, &session] {
    session.action = [wish, &session](Hub& hub) { return slurm_token(session, hub, *wish); };
  });
}

/// A key as the guides of Slurm make one: random bytes, for the owner alone; an existing file
/// stays.
Result<void> write_slurm_key(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                             S_IRUSR | S_IWUSR));
  if (!file.valid()) {
    return fail(errno == EEXIST ? Code::kAlreadyExists : Code::kFailedPrecondition,
                path + ": " + std::strerror(errno) +
                    (errno == EEXIST ? "; a key that Slurm uses is not replaced" : ""));
  }
  std::array<std::uint8_t, kSlurmKeyBytes> key{};
  system_random(key);
  const bool whole = ::write(file.get(), key.data(), key.size()) == ssize_t{key.size()} &&
                     ::fsync(file.get()) == 0;
  if (whole) return {};
  ::unlink(path.c_str());
  return fail(Code::kUnavailable, path + ": the key could not be written");
}

struct RulesWish {
  std::string cluster;
  std::filesystem::path set;
  std::filesystem::path check;
};

Result<void> rules(Session& session, Hub& hub, const RulesWish& wish) {
  ASSIGN_OR_RETURN(const std::string cluster, chosen_cluster(hub, wish.cluster));
  const std::string path = cluster_path(cluster) + "/rules";
  const std::filesystem::path& file = wish.set.empty() ? wish.check : wish.set;
  if (file.empty()) {
    ASSIGN_OR_RETURN(const json::object answer, hub.call_org("GET", path));
    session.out << json::find_string(answer, "rules").value_or("");
    return {};
  }
  ASSIGN_OR_RETURN(const std::string text, read_file(file, kRulesBytesMax));
  const json::object body{{"rules", json::string(text)},
                          {"file", json::string(file.filename().string())},
                          {"dry_run", wish.set.empty()}};
  ASSIGN_OR_RETURN(const json::object answer, hub.call_org("PUT", path, body));
  if (session.output == Output::kJson) {
    print_json(session, answer);
    return {};
  }
  session.out << cell(answer, "accounts") << " accounts, " << cell(answer, "people")
              << " people in them\n";
  if (const json::array* problems = json::find_array(answer, "problems")) {
    for (const json::value& item : *problems) {
      const json::object& problem = item.get_object();
      session.out << printable(cell(problem, "subject") + ": " + cell(problem, "sentence")) << '\n';
    }
  }
  return {};
}

void add_rules(CLI::App* slurm, Session& session) {
  auto wish = std::make_shared<RulesWish>();
  CLI::App* command = slurm->add_subcommand(
      "rules", "which groups are accounts of a cluster, with which limits: print, judge, replace");
  command->add_option("--cluster", wish->cluster, "default: the only one");
  auto* set = command->add_option("--set", wish->set, "TOML file that replaces the rules");
  command->add_option("--check", wish->check, "TOML file to judge, without storing it")
      ->excludes(set);
  command->footer(
      "Examples:\n"
      "  roster slurm rules --check rules.toml\n"
      "  roster slurm rules --set rules.toml\n"
      "The rules are explained in docs/slurm-accounts.md.");
  command->callback([wish, &session] {
    session.action = [wish, &session](Hub& hub) { return rules(session, hub, *wish); };
  });
}

Result<void> explain(Session& session, Hub& hub, const std::string& named,
                     const std::string& user) {
  ASSIGN_OR_RETURN(const std::string cluster, chosen_cluster(hub, named));
  ASSIGN_OR_RETURN(const json::object why,
                   hub.call_org("GET", cluster_path(cluster) + "/explain/" + percent_encode(user)));
  if (session.output == Output::kJson) {
    print_json(session, why);
    return {};
  }
  if (const json::array* reasons = json::find_array(why, "reasons")) {
    for (const json::value& item : *reasons) {
      session.out << printable(cell(item.get_object(), "sentence")) << '\n';
    }
  }
  return {};
}

void add_explain(CLI::App* slurm, Session& session) {
  auto cluster = std::make_shared<std::string>();
  auto user = std::make_shared<std::string>();
  CLI::App* command =
      slurm->add_subcommand("explain", "why a person has which accounts, limits and roles");
  command->add_option("USER", *user, "login, userName or id")->required();
  command->add_option("--cluster", *cluster, "default: the only one");
  command->footer("Example: roster slurm explain ada");
  command->callback([cluster, user, &session] {
    session.action = [cluster, user, &session](Hub& hub) {
      return explain(session, hub, *cluster, *user);
    };
  });
}

void add_keygen(CLI::App* slurm, Session& session) {
  auto path = std::make_shared<std::string>();
  CLI::App* command = slurm->add_subcommand(
      "keygen", "write a key for AuthAltParameters=jwt_key= (HS256): 32 random bytes, mode 0600");
  command->add_option("FILE", *path, "must not exist yet")->required();
  command->footer(
      "Example: roster slurm keygen /var/lib/slurm/jwt_hs256.key && chown slurm: "
      "/var/lib/slurm/jwt_hs256.key\n"
      "Whoever reads this key is root on the cluster. Signing by rs256 needs no such key.");
  command->callback([path, &session] {
    session.local = [path]() -> int {
      const auto written = write_slurm_key(*path);
      if (written) {
        say(*path + ": a new key. Whoever reads it is root on the cluster: chown it to SlurmUser");
        return 0;
      }
      say("roster: " + written.error().message);
      return 1;
    };
  });
}

}  // namespace

void add_cluster_commands(CLI::App& app, Session& session) {
  CLI::App* cluster = family(app, "cluster", "Slurm clusters");
  CLI::App* list = cluster->add_subcommand("list", "list clusters");
  list->footer("Example: roster cluster list");
  list->callback([&session] {
    session.action = [&session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto answer, hub.call_org("GET", "/clusters"));
      return print_list(session, answer, "clusters", cluster_columns());
    };
  });
  auto name = std::make_shared<std::string>();
  CLI::App* show = cluster->add_subcommand("show", "every setting of one cluster");
  show->add_option("NAME", *name, "name of the cluster")->required();
  show->footer("Example: roster cluster show hpc");
  show->callback([name, &session] {
    session.action = [name, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const auto answer, hub.call_org("GET", cluster_path(*name)));
      if (session.output == Output::kJson) {
        print_json(session, answer);
        return {};
      }
      Table table({"SETTING", "VALUE"});
      for (const auto& member : answer) {
        const std::string setting(std::string_view(member.key()));
        table.add({setting, cell(answer, setting)});
      }
      session.out << table.render();
      return {};
    };
  });
  add_writes(cluster, session);
  add_check(cluster, session);
  CLI::App* remove =
      cluster->add_subcommand("remove", "forget a cluster and its keys; it stays as it is");
  remove->add_option("NAME", *name, "name of the cluster")->required();
  remove->footer("Example: roster cluster remove hpc");
  remove->callback([name, &session] {
    session.action = [name](Hub& hub) -> Result<void> {
      RETURN_IF_ERROR(hub.call_org("DELETE", cluster_path(*name)));
      return {};
    };
  });
}

void add_slurm_commands(CLI::App& app, Session& session) {
  CLI::App* slurm =
      family(app, "slurm", "accounts of people, tokens for slurmrestd and the keys that sign them");
  add_token(slurm, session);
  auto cluster = std::make_shared<std::string>();
  CLI::App* jwks = slurm->add_subcommand(
      "jwks", "print what AuthAltParameters=jwks= reads: the public halves of the signing keys");
  jwks->add_option("--cluster", *cluster, "default: the only one");
  jwks->footer("Example: roster slurm jwks --cluster hpc > /etc/slurm/jwks.json");
  jwks->callback([cluster, &session] {
    session.action = [cluster, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const std::string name, chosen_cluster(hub, *cluster));
      ASSIGN_OR_RETURN(const auto answer, hub.call_org("GET", cluster_path(name) + "/jwks"));
      print_json(session, answer);
      return {};
    };
  });
  CLI::App* keys = slurm->add_subcommand("keys", "the signing keys of a cluster");
  keys->add_option("--cluster", *cluster, "default: the only one");
  keys->footer("Example: roster slurm keys --cluster hpc");
  keys->callback([cluster, &session] {
    session.action = [cluster, &session](Hub& hub) -> Result<void> {
      ASSIGN_OR_RETURN(const std::string name, chosen_cluster(hub, *cluster));
      ASSIGN_OR_RETURN(const auto answer, hub.call_org("GET", cluster_path(name) + "/keys"));
      return print_list(session, answer, "keys", key_columns());
    };
  });
  add_rules(slurm, session);
  add_explain(slurm, session);
  add_rotate(slurm, session);
  add_keygen(slurm, session);
  add_slurm_setup(slurm, session);
}

}  // namespace roster::cli
