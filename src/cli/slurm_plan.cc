#include "cli/slurm_plan.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "base/unicode.h"
#include "cli/slurm_conf.h"

namespace roster::cli {
namespace {

namespace fs = std::filesystem;
using node::RootFile;

constexpr std::size_t kConfBytesMax = 8 << 20;
constexpr int kIncludeDepthMax = 8;
constexpr mode_t kPublic = 0644;
constexpr std::string_view kSlurmConf = "slurm.conf";
constexpr std::string_view kDbdConf = "slurmdbd.conf";
constexpr std::string_view kBackup = ".roster-before";
constexpr std::pair kReconfigureReloads{24, 11};

constexpr std::string_view kConfinement =
    "CapabilityBoundingSet=\n"
    "NoNewPrivileges=yes\n"
    "ProtectSystem=strict\n"
    "ProtectHome=yes\n"
    "PrivateTmp=yes\n"
    "PrivateDevices=yes\n"
    "ProtectClock=yes\n"
    "ProtectControlGroups=yes\n"
    "ProtectHostname=yes\n"
    "ProtectKernelLogs=yes\n"
    "ProtectKernelModules=yes\n"
    "ProtectKernelTunables=yes\n"
    "ProtectProc=invisible\n"
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n"
    "RestrictNamespaces=yes\n"
    "RestrictRealtime=yes\n"
    "RestrictSUIDSGID=yes\n"
    "LockPersonality=yes\n"
    "SystemCallArchitectures=native\n"
    "SystemCallFilter=@system-service\n"
    "SystemCallErrorNumber=EPERM\n"
    "LimitCORE=0\n";

std::unexpected<Error> refuse(std::string sentence) {
  return fail(Code::kFailedPrecondition, std::move(sentence));
}

/// Of a name that is one account for the C library.
Result<uid_t> uid_of(const std::string& name) {
  const passwd* const entry = ::getpwnam(name.c_str());
  if (entry == nullptr) return refuse("SlurmUser=" + name + " is no user of this machine");
  return entry->pw_uid;
}

std::string owner_text(const RootFile& file) {
  const passwd* const user = ::getpwuid(file.uid);
  const std::string owner = user != nullptr ? user->pw_name : std::to_string(file.uid);
  const group* const found = ::getgrgid(file.gid);
  const std::string owners = found != nullptr ? found->gr_name : std::to_string(file.gid);
  return fmt::format("{}:{}, mode {:04o}", owner, owners, file.mode);
}

std::string head(const fs::path& path, const RootFile& after, bool is_new) {
  return fmt::format("--- {}\n+++ {}  ({})\n", is_new ? "/dev/null" : path.string(), path.string(),
                     owner_text(after));
}

std::string shown_lines(char mark, std::string_view lines) {
  std::string out;
  each_line(lines, [&](std::string_view line) { out += mark + printable(line) + "\n"; });
  return out;
}

std::string shown_edit(const std::vector<ConfChange>& changes) {
  std::string out;
  for (const ConfChange& change : changes) {
    out += fmt::format("@@ line {} @@\n", change.line) + shown_lines('-', change.before) +
           shown_lines('+', change.after);
  }
  return out;
}

/// Of a JWKS (RFC 7517 5): a line for each key, as `roster slurm keys` names it.
std::string key_ids(const std::string& jwks) {
  std::string out;
  const auto parsed = json::parse(jwks);
  const json::object* const set = parsed ? parsed->if_object() : nullptr;
  const json::array* const keys = set != nullptr ? json::find_array(*set, "keys") : nullptr;
  if (keys == nullptr) return "(no JWKS)\n";
  for (const json::value& item : *keys) {
    const json::object* const key = item.if_object();
    const auto id = key != nullptr ? json::find_string(*key, "kid") : std::nullopt;
    out += "public key " + std::string(id.value_or("without a name")) + "\n";
  }
  return out.empty() ? "(no keys)\n" : out;
}

/// The file itself, where a name is a symbolic link.
fs::path real_path(const fs::path& path) {
  std::error_code error;
  fs::path real = fs::canonical(path, error);
  return error ? path : real;
}

class Planner {
 public:
  Planner(const ClusterFacts& facts, const SlurmMachine& machine)
      : facts_(facts), machine_(machine), conf_dir_(real_path(machine.conf_dir)) {}

  Result<SlurmPlan> plan() {
    if (facts_.rs256) {
      option_ = {"jwks", machine_.jwks_file.empty() ? (conf_dir_ / "jwks.json").string()
                                                    : machine_.jwks_file};
    }
    if (has(SlurmRole::kController) || has(SlurmRole::kDbd)) RETURN_IF_ERROR(plan_daemons());
    if (has(SlurmRole::kRest)) RETURN_IF_ERROR(plan_rest());
    plan_restarts();
    return std::move(plan_);
  }

 private:
  /// A configuration file with what is known of it.
  struct Conf {
    fs::path path;
    RootFile file;
    uid_t slurm_user = 0;
  };

  bool has(SlurmRole role) const {
    return std::ranges::find(machine_.roles, role) != machine_.roles.end();
  }
  void note(std::string sentence) { plan_.notes.push_back(std::move(sentence)); }

  Result<Conf> read_conf(std::string_view name);
  Result<std::string> setting(const Conf& conf, std::string_view name);
  Result<bool> is_in_includes(const Conf& conf, std::string_view text, int depth);
  Result<void> plan_conf(const Conf& conf);
  Result<void> plan_daemons();
  Result<void> plan_jwks(const std::vector<Conf>& confs);
  Result<void> choose_key(const std::vector<Conf>& confs);
  Result<std::string> option_of(const Conf& conf, std::string_view option);
  Result<void> check_cluster(const Conf& conf);
  Result<std::string> rest_text();
  Result<std::string> socket_lines(const fs::path& socket);
  Result<void> plan_rest();
  void plan_restarts();

  const ClusterFacts& facts_;
  const SlurmMachine& machine_;
  const fs::path conf_dir_;
  JwtSetting option_;
  bool conf_changes_ = false;
  bool dbd_changes_ = false;
  bool keys_change_ = false;
  bool rest_changes_ = false;
  SlurmPlan plan_;
};

Result<Planner::Conf> Planner::read_conf(std::string_view name) {
  Conf conf{.path = real_path(conf_dir_ / name), .file = {}};
  // Whom its owner may be stands in the file: once for that, and then for good.
  auto first = read_file(conf.path, kConfBytesMax);
  if (!first && first.error().code == Code::kNotFound) {
    return refuse(conf.path.string() + " is not there: --conf-dir names its folder");
  }
  if (!first) return std::unexpected(first.error());
  conf.file.content = std::move(*first);
  ASSIGN_OR_RETURN(const std::string user, setting(conf, "SlurmUser"));
  if (!user.empty()) {
    const auto number = parse_number<uid_t>(user);
    ASSIGN_OR_RETURN(conf.slurm_user, number ? Result<uid_t>(*number) : uid_of(user));
  }
  ASSIGN_OR_RETURN(auto read, node::read_root_file(conf.path, conf.slurm_user, kConfBytesMax));
  if (!read) return refuse(conf.path.string() + " is gone");
  conf.file = std::move(*read);
  return conf;
}

/// The last one, as for Slurm; empty when there is none.
Result<std::string> Planner::setting(const Conf& conf, std::string_view name) {
  const auto all = conf_settings(conf.file.content, name);
  if (!all) return fail_in(conf.path.string(), all.error());
  return all->empty() ? std::string() : all->back().value;
}

/// Of AuthAltParameters: what stands behind "NAME="; empty when there is none.
Result<std::string> Planner::option_of(const Conf& conf, std::string_view option) {
  ASSIGN_OR_RETURN(const std::string parameters, setting(conf, "AuthAltParameters"));
  for (const std::string_view part : split(parameters, ',')) {
    if (ascii_lower(part).starts_with(option)) return std::string(part.substr(option.size()));
  }
  return std::string();
}

Result<void> Planner::check_cluster(const Conf& conf) {
  ASSIGN_OR_RETURN(const std::string name, setting(conf, "ClusterName"));
  if (name.empty() || ascii_iequals(name, facts_.slurm_name)) return {};
  return refuse(conf.path.string() + " is of the cluster " + name + ", and " + facts_.name +
                " at the hub is " + facts_.slurm_name +
                ": --cluster names another, roster cluster set --slurm-name corrects it");
}

/// HS256: which key, and whether it is kept as it must be.
Result<void> Planner::choose_key(const std::vector<Conf>& confs) {
  std::string path = machine_.key_file;
  for (const Conf& each : confs) {
    ASSIGN_OR_RETURN(const std::string named, option_of(each, "jwt_key="));
    if (named.empty() || !machine_.key_file.empty()) continue;
    if (!path.empty() && path != named) {
      return refuse(each.path.string() + " names the key " + named + ", and " +
                    confs.front().path.string() + " names " + path +
                    ": --key-file says which it shall be");
    }
    path = named;
  }
  const Conf& conf = confs.front();
  if (path.empty()) path = (conf_dir_ / "jwt_hs256.key").string();
  const passwd* const user = ::getpwuid(conf.slurm_user);
  const std::string owner = user != nullptr ? user->pw_name : std::to_string(conf.slurm_user);
  const std::string chown = "chown " + owner + ": " + path;
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) {
    return refuse(path + ", Slurm's key, is not there: give it by --key-file, or make one with " +
                  "roster slurm keygen " + path + " && " + chown);
  }
  if (!S_ISREG(info.st_mode)) return refuse(path + " is no regular file");
  if (info.st_uid != conf.slurm_user && info.st_uid != 0) {
    return refuse(path + " belongs neither to SlurmUser nor to root: " + chown);
  }
  if ((info.st_mode & 077) != 0) {
    return refuse(path + " can be opened by others, and whoever has it is root on the cluster: " +
                  "chmod 0600 " + path + ", and replace it if somebody may have read it");
  }
  option_ = {"jwt_key", path};
  note(path + ": Slurm's key, kept as it must be. Whoever has it is root on the cluster");
  return {};
}

/// Whether an included file says all of it; kFailedPrecondition when one says something else.
Result<bool> Planner::is_in_includes(const Conf& conf, std::string_view text, int depth) {
  bool there = false;
  for (std::string name : conf_includes(text)) {
    if (const auto at = name.find("%c"); at != name.npos) name.replace(at, 2, facts_.slurm_name);
    const fs::path path = real_path(conf_dir_ / name);
    const auto included = depth < kIncludeDepthMax ? read_file(path, kConfBytesMax)
                                                   : refuse("too many files include each other");
    if (!included) return fail_in(conf.path.string() + " includes a file", included.error());
    for (const char* key : {"AuthAltTypes", "AuthAltParameters"}) {
      const auto set = conf_settings(*included, key);
      if (!set) return fail_in(path.string(), set.error());
      if (set->empty()) continue;
      const auto edit = add_jwt(*included, option_);
      if (edit && edit->changes.empty()) {
        there = true;
        continue;
      }
      return refuse(fmt::format(
          "{} sets {} in line {}. {} includes it, and included files are not "
          "edited. Make it say what follows, and what it says besides:\n{}",
          path.string(), key, set->front().line, conf.path.string(), jwt_lines(option_)));
    }
    note(conf.path.string() + " includes " + path.string() + ", which is left as it is");
    ASSIGN_OR_RETURN(const bool deeper, is_in_includes(conf, *included, depth + 1));
    there = there || deeper;
  }
  return there;
}

Result<void> Planner::plan_conf(const Conf& conf) {
  ASSIGN_OR_RETURN(const bool included, is_in_includes(conf, conf.file.content, 0));
  if (included) {
    for (const char* key : {"AuthAltTypes", "AuthAltParameters"}) {
      ASSIGN_OR_RETURN(const std::string own, setting(conf, key));
      if (!own.empty()) {
        return refuse(conf.path.string() + " sets " + key + ", and so does a file it includes");
      }
    }
    return {};
  }
  auto edit = add_jwt(conf.file.content, option_);
  if (!edit) return fail_in(conf.path.string(), edit.error());
  if (edit->changes.empty()) return {};
  ASSIGN_OR_RETURN(const std::string types, setting(conf, "AuthAltTypes"));
  ASSIGN_OR_RETURN(const std::string parameters, setting(conf, "AuthAltParameters"));
  if (facts_.rs256 && !types.empty() && !ascii_lower(parameters).contains("jwt_key=") &&
      !ascii_lower(parameters).contains("jwks=")) {
    note(conf.path.string() +
         ": with jwks= Slurm looks for no key of its own any more: `scontrol token` and its tokens "
         "end, unless AuthAltParameters names that key by jwt_key=");
  }
  ASSIGN_OR_RETURN(const std::string former, option_of(conf, std::string(option_.option) + "="));
  if (!former.empty()) {
    note(conf.path.string() + ": in the place of " + former + ", whose tokens end");
  }
  RootFile after = conf.file;
  after.content = std::move(edit->text);
  (conf.path.filename() == kDbdConf ? dbd_changes_ : conf_changes_) = true;
  std::string shown = head(conf.path, after, false) + shown_edit(edit->changes);
  plan_.files.push_back(
      {conf.path, conf.slurm_user, conf.file, std::move(after), std::move(shown)});
  return {};
}

Result<void> Planner::plan_jwks(const std::vector<Conf>& confs) {
  const fs::path path = real_path(option_.path);
  const uid_t owner = confs.front().slurm_user;
  RETURN_IF_ERROR(node::check_directory(path.parent_path(), owner));
  ASSIGN_OR_RETURN(auto before, node::read_root_file(path, owner, kConfBytesMax));
  RootFile after{.content = facts_.jwks, .mode = kPublic, .uid = ::geteuid(), .gid = ::getegid()};
  if (before && before->content == after.content && (before->mode & 0444) == 0444) return {};
  keys_change_ = true;
  std::string shown = head(path, after, !before);
  if (before) shown += shown_lines('-', key_ids(before->content));
  shown += shown_lines('+', key_ids(after.content));
  plan_.files.push_back({path, owner, std::move(before), std::move(after), std::move(shown)});
  return {};
}

Result<void> Planner::plan_daemons() {
  std::vector<Conf> confs;
  for (const auto& [role, name] :
       {std::pair{SlurmRole::kController, kSlurmConf}, std::pair{SlurmRole::kDbd, kDbdConf}}) {
    if (!has(role)) continue;
    ASSIGN_OR_RETURN(Conf conf, read_conf(name));
    if (role == SlurmRole::kController) {
      RETURN_IF_ERROR(check_cluster(conf));
      const auto hosts = conf_settings(conf.file.content, "SlurmctldHost");
      if (hosts && hosts->size() > 1) {
        note("slurmctld has backups: do the same on all of them");
      }
    }
    confs.push_back(std::move(conf));
  }
  if (facts_.rs256) {
    RETURN_IF_ERROR(plan_jwks(confs));
  } else {
    RETURN_IF_ERROR(choose_key(confs));
  }
  for (const Conf& conf : confs) RETURN_IF_ERROR(plan_conf(conf));
  if (confs.size() == 1) {
    note(std::string(has(SlurmRole::kDbd) ? "slurmctld" : "slurmdbd") +
         " needs the same on its own machine");
  }
  if (conf_changes_) note("slurm.conf should be the same on all machines of the cluster");
  return {};
}

/// Lets only the group in: slurmrestd makes its socket so that everybody may connect.
Result<std::string> Planner::socket_lines(const fs::path& socket) {
  const fs::path folder = socket.parent_path();
  if (folder.parent_path() != "/run" || !folder.has_filename()) {
    return refuse(socket.string() +
                  ": the socket must be in a folder of its own below /run, which "
                  "systemd makes: roster cluster set " +
                  facts_.name + " --endpoint unix:/run/slurmrestd/slurmrestd.socket");
  }
  if (::getgrnam(machine_.socket_group.c_str()) == nullptr) {
    return refuse("there is no group " + machine_.socket_group +
                  " here, which would be let into slurmrestd's socket: --socket-group names "
                  "that of the hub, or of the proxy before slurmrestd");
  }
  return fmt::format(
      "RuntimeDirectory={}\nRuntimeDirectoryMode=0710\n"
      "# slurmrestd's socket is open to everybody: who gets at it is decided by its folder.\n"
      "ExecStartPre=+/bin/chgrp {} {}\n",
      folder.filename().string(), machine_.socket_group, folder.string());
}

Result<std::string> Planner::rest_text() {
  std::string listen;
  std::string lines;
  const std::string& endpoint = facts_.endpoint;
  constexpr std::string_view kUnix = "unix:";
  constexpr std::string_view kHttp = "http://";
  if (endpoint.starts_with(kHttp)) {
    listen = endpoint.substr(kHttp.size());
    if (const auto slash = listen.find('/'); slash != listen.npos) listen.resize(slash);
    note("slurmrestd listens on " + listen + " for everybody who can reach it");
  } else {
    std::string socket = "/run/slurmrestd/slurmrestd.socket";
    if (endpoint.starts_with(kUnix)) socket = endpoint.substr(kUnix.size());
    if (endpoint.empty()) {
      note("the hub does not know slurmrestd yet: roster cluster set " + facts_.name +
           " --endpoint unix:" + socket);
    } else if (!endpoint.starts_with(kUnix)) {
      note("a proxy must give " + endpoint + " from unix:" + socket);
    }
    ASSIGN_OR_RETURN(lines, socket_lines(socket));
    listen = "unix:" + socket;
  }
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:/[]";
  if (listen.find_first_not_of(kPlain) != listen.npos) {
    return refuse("the endpoint " + printable(endpoint) + " cannot be written into a unit");
  }
  const std::string conf =
      conf_dir_ == "/etc/slurm"
          ? std::string()
          : fmt::format("Environment=SLURM_CONF={}/slurm.conf\n", conf_dir_.string());
  return fmt::format(
      "# Made by roster slurm setup; changes here are lost.\n"
      "[Service]\n"
      "# In the place of the package's line: rest_auth/local would act as whoever runs "
      "slurmrestd.\n"
      "ExecStart=\n"
      "ExecStart={}/slurmrestd -a rest_auth/jwt {}\n"
      "Environment=SLURM_JWT=daemon\n"
      "{}"
      "# It refuses to be root, SlurmUser or nobody.\n"
      "DynamicUser=yes\n"
      "User=slurmrestd\n"
      "{}"
      "{}",
      machine_.sbin_dir.string(), listen, conf, lines, kConfinement);
}

Result<void> Planner::plan_rest() {
  ASSIGN_OR_RETURN(std::string text, rest_text());
  const fs::path path = machine_.systemd_dir / "slurmrestd.service.d" / "roster.conf";
  RETURN_IF_ERROR(node::check_directory(machine_.systemd_dir, ::geteuid()));
  ASSIGN_OR_RETURN(auto before, node::read_root_file(path, ::geteuid(), kConfBytesMax));
  RootFile after{
      .content = std::move(text), .mode = kPublic, .uid = ::geteuid(), .gid = ::getegid()};
  if (before && *before == after) return {};
  rest_changes_ = true;
  std::string shown = head(path, after, !before);
  if (before) shown += shown_lines('-', before->content);
  shown += shown_lines('+', after.content);
  plan_.files.push_back({path, ::geteuid(), std::move(before), std::move(after), std::move(shown)});
  return {};
}

/// What was measured: no daemon reads its JWKS again by itself nor by SIGHUP; slurmctld does by
/// `reconfigure` from 24.11 on, slurmdbd never. Settings of authentication count from a start on.
void Planner::plan_restarts() {
  const auto restart = [this](const char* unit) {
    plan_.restarts.push_back({"/usr/bin/systemctl", "restart", unit});
  };
  if (has(SlurmRole::kDbd) && (dbd_changes_ || keys_change_)) restart("slurmdbd");
  if (has(SlurmRole::kController)) {
    const bool reads_again = machine_.release && *machine_.release >= kReconfigureReloads;
    if (conf_changes_ || (keys_change_ && !reads_again)) {
      restart("slurmctld");
    } else if (keys_change_) {
      plan_.restarts.push_back({"/usr/bin/scontrol", "reconfigure"});
    }
  }
  if (rest_changes_) {
    plan_.restarts.push_back({"/usr/bin/systemctl", "daemon-reload"});
    restart("slurmrestd");
  }
}

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

/// Everything written beside its place, so that little can go wrong from then on.
Result<std::vector<StagedFile>> stage(const SlurmPlan& plan) {
  std::vector<StagedFile> staged;
  const auto add = [&staged](const fs::path& path, const RootFile& file) -> Result<void> {
    ASSIGN_OR_RETURN(StagedFile next, StagedFile::create(path));
    RETURN_IF_ERROR(next.append(file.content));
    RETURN_IF_ERROR(next.seal(file.mode, FileOwner{file.uid, file.gid}));
    staged.push_back(std::move(next));
    return {};
  };
  for (const PlannedFile& file : plan.files) {
    if (!file.before) continue;
    RETURN_IF_ERROR(add(file.path.string() + std::string(kBackup), *file.before));
  }
  for (const PlannedFile& file : plan.files) RETURN_IF_ERROR(add(file.path, file.after));
  return staged;
}

Result<void> put_back(const PlannedFile& file) {
  return file.before ? node::write_root_file(file.path, *file.before)
                     : node::remove_root_file(file.path);
}

Result<void> write_all_files(const SlurmPlan& plan) {
  ASSIGN_OR_RETURN(std::vector<StagedFile> staged, stage(plan));
  const std::size_t backups = staged.size() - plan.files.size();
  for (std::size_t i = 0; i < staged.size(); ++i) {
    auto done = staged[i].commit();
    const std::size_t in_place = done ? i + 1 : i;
    if (done) done = fsync_directory(staged[i].target().parent_path());
    if (done) continue;
    std::string rest;
    for (std::size_t j = in_place; j > backups; --j) {
      const PlannedFile& file = plan.files[j - 1 - backups];
      if (!put_back(file)) rest += " " + file.path.string();
    }
    return fail(done.error().code,
                done.error().message + (rest.empty() ? "; everything is as it was"
                                                     : "; could not be put back:" + rest));
  }
  return {};
}

}  // namespace

std::vector<SlurmRole> roles_here(const SlurmMachine& machine) {
  std::vector<SlurmRole> roles;
  if (is_there(machine.conf_dir / kSlurmConf) && is_there(machine.sbin_dir / "slurmctld")) {
    roles.push_back(SlurmRole::kController);
  }
  if (is_there(machine.conf_dir / kDbdConf)) roles.push_back(SlurmRole::kDbd);
  if (is_there(machine.sbin_dir / "slurmrestd")) roles.push_back(SlurmRole::kRest);
  return roles;
}

std::optional<std::pair<int, int>> parse_release(std::string_view text) {
  const std::size_t begin = text.find_first_of("0123456789");
  if (begin == text.npos) return std::nullopt;
  const std::vector<std::string_view> parts = split(trim(text.substr(begin), " \t\r\n"), '.');
  if (parts.size() < 2) return std::nullopt;
  const auto year = parse_number<int>(parts[0]);
  const auto month =
      parse_number<int>(parts[1].substr(0, parts[1].find_first_not_of("0123456789")));
  if (!year || !month) return std::nullopt;
  return std::pair{*year, *month};
}

Result<SlurmPlan> plan_slurm(const ClusterFacts& facts, const SlurmMachine& machine) {
  return Planner(facts, machine).plan();
}

Result<void> apply_slurm(const SlurmPlan& plan) {
  std::vector<fs::path> made;
  for (const PlannedFile& file : plan.files) {
    const fs::path folder = file.path.parent_path();
    if (::mkdir(folder.c_str(), 0755) == 0) {
      made.push_back(folder);
    } else if (errno != EEXIST) {
      return std::unexpected(errno_error("mkdir " + folder.string(), errno));
    }
    const auto now = node::read_root_file(file.path, file.owner, kConfBytesMax);
    if (!now || *now != file.before) {
      return refuse(file.path.string() + " was changed by somebody else just now: try again");
    }
  }
  auto written = write_all_files(plan);
  if (!written) {
    for (const fs::path& folder : made) ::rmdir(folder.c_str());
  }
  return written;
}

}  // namespace roster::cli
