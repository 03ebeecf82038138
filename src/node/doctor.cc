#include "node/doctor.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/fd.h"
#include "base/file.h"
#include "base/subprocess.h"
#include "feed/enrollment.h"
#include "http/client.h"
#include "node/plan.h"
#include "node/record_store.h"
#include "node/setup.h"
#include "node/texts.h"

namespace roster::node {
namespace {

using std::chrono::milliseconds;
using std::filesystem::path;

constexpr std::size_t kFileBytesMax = 1 << 20;
constexpr milliseconds kRequestTimeout{5'000};
constexpr const char* kAsRoot = "run roster doctor as root";
constexpr const char* kPutRight = "put right what it names";
constexpr const char* kSetup = "roster-agent setup --apply";

/// What of agent.toml matters here; the defaults are the agent's.
struct AgentSettings {
  std::string url;
  path ca_file;
  path state_dir = "/var/lib/roster/agent";
  path cache_dir = "/var/lib/roster/cache";
  path socket = "/run/roster/agent.sock";
  path deny = "/etc/roster/deny";
  bool plain_http = false;
  Settings node;
};

class Doctor {
 public:
  explicit Doctor(const DoctorOptions& options)
      : options_(options), paths_(options.paths), is_root_(::geteuid() == options.paths.owner) {}

  std::vector<Finding> examine() {
    read_configuration();
    read_record();
    look_at_agent();
    look_at_deny_list();
    look_at_nsswitch();
    look_at_nscd();
    look_at_sshd();
    look_at_homes();
    look_at_sudo();
    look_at_hub();
    return std::move(findings_);
  }

 private:
  void add(std::string check, Health health, std::string detail, std::string mend = {}) {
    findings_.push_back({std::move(check), health, std::move(detail), std::move(mend)});
  }
  void unknown(std::string check, std::string detail, std::string mend = {}) {
    if (mend.empty()) mend = is_root_ ? kPutRight : kAsRoot;
    add(std::move(check), Health::kUnknown, std::move(detail), std::move(mend));
  }
  void off(std::string check, std::string_view which) {
    add(std::move(check), Health::kOff, std::string(which) + " is off on this node");
  }

  void read_configuration() {
    ConfigReader reader;
    reader.ignore_unknown_keys();
    reader.bind("url", agent_.url);
    reader.bind("ca_file", agent_.ca_file);
    reader.bind("state_dir", agent_.state_dir);
    reader.bind("cache_dir", agent_.cache_dir);
    reader.bind("socket", agent_.socket);
    reader.bind("deny_file", agent_.deny);
    reader.bind("plain_http", agent_.plain_http);
    bind_settings(reader, agent_.node);
    const auto read = reader.read_file(options_.config);
    const bool absent = !read && read.error().code == Code::kNotFound;
    if (!read && !absent) {
      const bool denied = read.error().code == Code::kPermissionDenied;
      add("configuration", denied ? Health::kUnknown : Health::kBad, read.error().message,
          denied ? kAsRoot : "correct the file; deploy/agent.toml shows every setting");
      return;
    }
    const auto safe = load_settings(options_.config, paths_.owner);
    if (!safe) {
      add("configuration", Health::kBad, safe.error().message,
          "it decides who may become root: chown root, chmod go-w, no symbolic links");
      return;
    }
    add("configuration", Health::kGood,
        options_.config.string() + (absent ? " does not exist: defaults" : ""));
  }

  /// What setup applied counts, also when it was given on the command line.
  void read_record() {
    const auto record = RecordStore::peek(paths_.record_dir, paths_.owner);
    if (!record) {
      if (!is_root_) return unknown("setup", "the record of setup is root's");
      return add("setup", Health::kBad, record.error().message,
                 "put the record back from a backup; without it unsetup cannot be exact");
    }
    if (*record == Record()) {
      return add("setup", Health::kNotice, "this node was not set up by roster-agent setup",
                 "roster-agent setup shows what it would do");
    }
    if (!record->settings) {
      return add("setup", Health::kBad, "a setup or unsetup was cut off",
                 "roster-agent setup --apply, or roster-agent unsetup --apply");
    }
    agent_.node = *record->settings;
    const auto plan = make_plan(agent_.node, paths_, *record);
    if (!plan) return add("setup", Health::kBad, plan.error().message, kPutRight);
    std::string changed;
    for (const Change& change : plan->changes) changed += " " + change.path.string();
    if (!changed.empty()) {
      return add("setup", Health::kBad, "not as setup left it:" + changed,
                 "roster-agent setup shows the difference, --apply puts it right");
    }
    add("setup", Health::kGood, "all files are as setup left them");
  }

  Result<json::object> ask_agent() {
    http::ClientOptions options;
    options.url = "unix:" + agent_.socket.string();
    options.timeout = kRequestTimeout;
    options.body_bytes_max = kFileBytesMax;
    ASSIGN_OR_RETURN(const auto client, http::Client::create(std::move(options)));
    http::ClientRequest request;
    request.target = "/status";
    ASSIGN_OR_RETURN(const http::ClientResponse response, client->call(request));
    if (response.status != 200) {
      return fail(Code::kUnavailable, "it answered " + std::to_string(response.status));
    }
    ASSIGN_OR_RETURN(json::value status, json::parse(response.body));
    if (!status.is_object()) return fail(Code::kDataLoss, "its status is no object");
    return std::move(status.get_object());
  }

  void look_at_agent() {
    auto status = ask_agent();
    if (!status) {
      if (::access(agent_.socket.c_str(), W_OK) != 0 && errno == EACCES) {
        return unknown("agent", "its socket is not for this user");
      }
      return add("agent", Health::kBad,
                 "no agent answers at " + agent_.socket.string() + ": " + status.error().message,
                 "systemctl enable --now roster-agent; journalctl -u roster-agent says why not");
    }
    // The agent's user may not send root to any socket.
    const std::string_view hub = json::find_string(*status, "hub").value_or("");
    if (agent_.url.empty() && hub.starts_with("http")) agent_.url = hub;
    std::ranges::move(judge_status(*status, options_.clock()), std::back_inserter(findings_));
  }

  void look_at_deny_list() {
    const auto text = read_file(agent_.deny, kFileBytesMax);
    if (!text && text.error().code == Code::kNotFound) {
      return add("deny", Health::kGood, "nobody is on this node's deny list");
    }
    if (!text) {
      if (!is_root_) return unknown("deny", text.error().message);
      return add("deny", Health::kBad,
                 text.error().message + ": while it cannot be read nobody gets keys",
                 "make it a readable file of root");
    }
    struct stat info{};
    if (::stat(agent_.deny.c_str(), &info) == 0 && (info.st_mode & 022) != 0) {
      return add("deny", Health::kBad, agent_.deny.string() + " can be written by others",
                 "chmod 644 " + agent_.deny.string());
    }
    std::string names;
    std::string_view rest = *text;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find('\n'), rest.size());
      std::string_view line = rest.substr(0, std::min(rest.find('#'), end));
      while (!line.empty() && line.find_first_of(" \t\r") == 0) line.remove_prefix(1);
      while (!line.empty() && line.find_last_of(" \t\r") == line.size() - 1) line.remove_suffix(1);
      if (!line.empty()) names += (names.empty() ? "" : ", ") + std::string(line);
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    if (names.empty()) return add("deny", Health::kGood, "nobody is on this node's deny list");
    add("deny", Health::kNotice, "locked on this node by its deny list: " + names,
        "roster-agent allow NAME, when that is over");
  }

  void look_at_nsswitch() {
    if (!agent_.node.user_population) return off("nsswitch", "user_population");
    const auto text = read_file(paths_.nsswitch, kFileBytesMax);
    if (!text) return add("nsswitch", Health::kBad, text.error().message, kSetup);
    std::ranges::move(judge_nsswitch(*text), std::back_inserter(findings_));
    if (agent_.cache_dir != "/var/lib/roster/cache" && agent_.cache_dir != "/run/roster/cache") {
      add("lookups", Health::kBad,
          "the agent publishes in " + agent_.cache_dir.string() + ", where nobody looks",
          "cache_dir is /var/lib/roster/cache, or /run/roster/cache on stateless nodes");
    }
    const auto looked = check_lookups(paths_, true);
    if (!looked) {
      return add("lookups", Health::kBad, looked.error().message,
                 "see that " + paths_.nss_module + " is in the library path (ldconfig), that " +
                     paths_.nsswitch.string() + " asks it, and restart nscd");
    }
    if (!looked->empty()) {
      return unknown("lookups", *looked, "roster-agent wait --timeout 30s, then again");
    }
    add("lookups", Health::kGood, "a fresh process finds Roster's people");
  }

  bool nscd_runs() const {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string name = options_.nscd_socket.string();
    if (!socket.valid() || name.size() >= sizeof address.sun_path) return false;
    std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
    const int made = ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address),
                               static_cast<socklen_t>(sizeof address));
    return made == 0 || errno == EAGAIN || errno == EINPROGRESS;
  }

  void look_at_nscd() {
    if (!agent_.node.user_population) return off("nscd", "user_population");
    if (!nscd_runs()) return add("nscd", Health::kGood, "does not run");
    const auto text = read_file(options_.nscd_conf, kFileBytesMax);
    if (!text)
      return unknown("nscd", "it runs, and its caches are not known: " + text.error().message);
    std::string names;
    for (const std::string& name : nscd_caches(*text)) names += " " + name;
    if (names.empty()) return add("nscd", Health::kGood, "runs without passwd and group");
    add("nscd", Health::kBad, "it answers from old copies of:" + names,
        "in " + options_.nscd_conf.string() +
            ": enable-cache passwd no, enable-cache group no; systemctl restart nscd");
  }

  void look_at_sshd() {
    if (!agent_.node.ssh_keys) return off("sshd", "ssh_keys");
    if (!is_root_) return unknown("sshd", "its configuration is root's");
    if (const auto needed = check_keys_requirements(); !needed) {
      return add("sshd", Health::kBad, needed.error().message, kPutRight);
    }
    if (const auto good = check_sshd(agent_.node, paths_); !good) {
      return add("sshd", Health::kBad, good.error().message,
                 "roster-agent setup --apply, or remove the setting that comes first");
    }
    const auto output = run_program({paths_.sshd, "-T", "-f", paths_.sshd_config});
    if (output && effective(output->out, "usepam") == "no") {
      return add("sshd", Health::kBad,
                 "UsePAM is no: accounts that have expired are refused by their shell only" +
                     std::string(agent_.node.home_directories ? ", and nobody gets a home" : ""),
                 "UsePAM yes in " + paths_.sshd_config.string());
    }
    add("sshd", Health::kGood, "takes keys from " + paths_.key_helper.string());
    const auto stranded = accounts_with_home_keys(paths_);
    if (agent_.node.home_keys || !stranded || stranded->empty()) return;
    std::string names;
    for (const std::string& name : *stranded) names += " " + name;
    add("sshd", Health::kNotice, "keys in the homes of these local accounts open nothing:" + names,
        "where they shall log in, copy the keys to " + paths_.kept_keys.string() + "/NAME");
  }

  Result<void> check_keys_requirements() {
    Settings keys_only;
    keys_only.user_population = false;
    keys_only.home_directories = false;
    keys_only.home_keys = true;
    return check_requirements(keys_only, paths_);
  }

  void look_at_homes() {
    if (!agent_.node.home_directories) return off("homes", "home_directories");
    bool found = false;
    for (const path& stack : paths_.pam_stacks) {
      const auto text = read_file(stack, kFileBytesMax);
      found |= text && makes_homes(*text);
    }
    if (!found) {
      return add("homes", Health::kBad, "no PAM stack has pam_mkhomedir", kSetup);
    }
    Settings homes_only;
    homes_only.user_population = false;
    homes_only.ssh_keys = false;
    if (const auto good = check_requirements(homes_only, paths_); !good) {
      return add("homes", Health::kBad, good.error().message, "install libpam-modules");
    }
    add("homes", Health::kGood, "made by pam_mkhomedir");
  }

  void look_at_sudo() {
    if (!agent_.node.sudo_access) return off("sudo", "sudo_access");
    if (!is_root_) return unknown("sudo", "sudoers are root's");
    const auto text = read_root_file(paths_.sudoers_snippet, paths_.owner, kFileBytesMax);
    if (!text || !*text || (*text)->content != sudoers_text(agent_.node)) {
      return add("sudo", Health::kBad,
                 !text ? text.error().message
                       : paths_.sudoers_snippet.string() + " is not what setup writes",
                 kSetup);
    }
    if (const auto good = check_sudoers(paths_); !good) {
      return add("sudo", Health::kBad, good.error().message, "visudo");
    }
    std::string gids;
    for (const std::int64_t gid : agent_.node.sudo_gids) gids += " " + std::to_string(gid);
    add("sudo", Health::kGood, "for members of the groups" + gids);
  }

  /// The authority that the node learned when it joined; nothing when there is none.
  Result<std::string> learned_authority() {
    const path file = agent_.state_dir / "node.json";
    struct stat info{};
    // A FIFO in its place would hold root up.
    if (::lstat(file.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
      return fail(Code::kFailedPrecondition, file.string() + " is not a regular file");
    }
    const auto text = read_private_file(file, kFileBytesMax);
    if (!text && text.error().code == Code::kNotFound) return std::string();
    if (!text) return std::unexpected(text.error());
    ASSIGN_OR_RETURN(const feed::Enrollment enrollment, feed::Enrollment::parse(*text));
    return enrollment.ca_pem;
  }

  void look_at_hub() {
    if (agent_.url.empty()) {
      return unknown("clock", "no hub is known", "set url in " + options_.config.string());
    }
    http::ClientOptions options;
    options.url = agent_.url;
    options.timeout = kRequestTimeout;
    options.allow_plain_http = agent_.plain_http;
    options.user_agent = "roster-doctor";
    options.body_bytes_max = kFileBytesMax;
    if (!agent_.ca_file.empty()) {
      options.ca_file = agent_.ca_file;
      const auto pem = read_file(agent_.ca_file, kFileBytesMax);
      if (pem) {
        findings_.push_back(judge_authority(*pem, options_.clock()));
      } else {
        unknown("certificate", pem.error().message);
      }
    } else if (auto pem = learned_authority(); !pem) {
      unknown("certificate", pem.error().message);
      return unknown("clock", "the hub is not asked without its authority");
    } else {
      if (!pem->empty()) findings_.push_back(judge_authority(*pem, options_.clock()));
      options.ca_pem = std::move(*pem);
    }
    look_at_clock(std::move(options));
  }

  void look_at_clock(http::ClientOptions options) {
    const auto client = http::Client::create(std::move(options));
    if (!client) return unknown("clock", client.error().message, "correct url or ca_file");
    http::ClientRequest request;
    request.target = "/healthz";
    const auto response = (*client)->call(request);
    if (!response) {
      return unknown("clock", "the hub does not answer: " + response.error().message,
                     "see that the hub runs and that this node reaches it");
    }
    const auto hub = http::parse_date(response->headers.get("Date"));
    if (!hub) return unknown("clock", "the hub's answer has no date", "look at the proxy between");
    findings_.push_back(judge_clock(options_.clock(), *hub));
  }

  const DoctorOptions& options_;
  const Paths& paths_;
  const bool is_root_;
  AgentSettings agent_;
  std::vector<Finding> findings_;
};

}  // namespace

std::vector<Finding> examine(const DoctorOptions& options) { return Doctor(options).examine(); }

}  // namespace roster::node
