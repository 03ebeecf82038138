#include <dlfcn.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <sstream>
#include <system_error>

#include "base/file.h"
#include "base/subprocess.h"
#include "node/root_file.h"
#include "node/setup.h"
#include "node/texts.h"
#include "nsscache/reader.h"

namespace roster::node {
namespace {

using std::filesystem::path;

constexpr std::size_t kPasswdBytesMax = 16 << 20;

std::unexpected<Error> missing(std::string message) {
  return fail(Code::kFailedPrecondition, std::move(message));
}

/// What a failed program said, as one line.
std::string said(const ProcessOutput& output) {
  std::string text = output.err.empty() ? output.out : output.err;
  while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
  for (char& c : text) {
    if (c == '\n') c = ';';
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  return text.empty() ? "exit status " + std::to_string(output.status) : text;
}

Result<void> check_program(const path& program, uid_t owner) {
  struct stat info{};
  std::error_code error;
  const path real = std::filesystem::canonical(program, error);  // /usr/bin may be a link's target
  if (error || ::stat(real.c_str(), &info) != 0) {
    return missing(program.string() + " is not installed");
  }
  RETURN_IF_ERROR(check_directory(real.parent_path(), owner));
  if ((info.st_uid != owner && info.st_uid != 0) || (info.st_mode & 022) != 0) {
    return missing(program.string() + " must be root's, and writable by nobody else");
  }
  return {};
}

/// The module as glibc will load it: by name, on the library path.
Result<void> check_module(const Paths& paths) {
  void* module = ::dlopen(paths.nss_module.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) {
    const char* why = ::dlerror();
    return missing("user_population: the NSS module cannot be loaded: " +
                   std::string(why == nullptr ? "unknown reason" : why));
  }
  const bool good = ::dlsym(module, "_nss_roster_getpwnam_r") != nullptr;
  ::dlclose(module);
  if (!good) return missing("user_population: " + paths.nss_module + " is not Roster's module");
  return {};
}

Result<void> check_pam_modules(const Paths& paths) {
  for (const char* module : {"pam_mkhomedir.so", "pam_succeed_if.so"}) {
    const bool found = std::ranges::any_of(paths.pam_modules, [module](const path& directory) {
      return ::access((directory / module).c_str(), R_OK) == 0;
    });
    if (!found) return missing(std::string("home_directories: PAM has no ") + module);
  }
  return {};
}

bool has_content(const path& file) {
  struct stat info{};
  return ::stat(file.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0;
}

/// The keys by which root, or whoever else administers this node, logs in must go on doing so.
Result<void> check_home_keys(const Settings& settings, const Paths& paths) {
  if (settings.home_keys) return {};
  ASSIGN_OR_RETURN(const std::vector<std::string> accounts, accounts_with_home_keys(paths));
  if (accounts.empty()) return {};
  std::string names;
  for (const std::string& name : accounts) names += (names.empty() ? "" : ", ") + name;
  return missing(
      "these accounts of the node log in with keys in their homes, which would open "
      "nothing any more: " +
      names + ". Copy ~/.ssh/authorized_keys of each to " + paths.kept_keys.string() +
      "/NAME (of root, in a directory of root), or set home_keys = true");
}

Result<void> check_user(const std::string& name) {
  struct passwd entry{};
  struct passwd* found = nullptr;
  std::array<char, 16 << 10> buffer;
  ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found == nullptr) {
    return missing("ssh_keys: there is no user " + name + ": run systemd-sysusers");
  }
  return {};
}

struct Person {
  std::string name;
  uid_t uid;
};

/// Somebody whom this node's cache serves, if anybody.
std::optional<Person> somebody() {
  nsscache::Enumeration walk;
  if (nsscache::open_enumeration(walk) != nsscache::Answer::kFound) return std::nullopt;
  struct passwd entry{};
  std::array<char, 16 << 10> buffer;
  const auto answer = nsscache::next_passwd(walk, entry, buffer.data(), buffer.size());
  std::optional<Person> out;
  if (answer == nsscache::Answer::kFound) out = Person{entry.pw_name, entry.pw_uid};
  nsscache::close_enumeration(walk);
  return out;
}

/// The program's output; kFailedPrecondition with what it said when its status is not 0.
Result<std::string> ask(const std::vector<std::string>& argv) {
  ASSIGN_OR_RETURN(const ProcessOutput output, run_program(argv));
  if (output.status != 0) return missing(argv.front() + ": " + said(output));
  return output.out;
}

}  // namespace

Result<void> check_requirements(const Settings& settings, const Paths& paths) {
  if (settings.user_population) RETURN_IF_ERROR(check_module(paths));
  if (settings.home_directories) RETURN_IF_ERROR(check_pam_modules(paths));
  if (settings.ssh_keys) {
    RETURN_IF_ERROR(check_program(paths.sshd, paths.owner));
    RETURN_IF_ERROR(check_program(paths.key_helper, paths.owner));
    RETURN_IF_ERROR(check_user(paths.keys_user));
    RETURN_IF_ERROR(check_home_keys(settings, paths));
  }
  if (settings.sudo_access) RETURN_IF_ERROR(check_program(paths.visudo, paths.owner));
  return {};
}

Result<std::vector<std::string>> accounts_with_home_keys(const Paths& paths) {
  ASSIGN_OR_RETURN(const std::string text, read_file(paths.passwd, kPasswdBytesMax));
  std::vector<std::string> out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    // passwd(5): name:password:uid:gid:gecos:home:shell
    std::vector<std::string> fields;
    std::istringstream rest(line);
    for (std::string field; std::getline(rest, field, ':');) fields.push_back(field);
    if (fields.size() < 6 || fields[0].empty() || !fields[5].starts_with('/')) continue;
    const std::string shell = fields.size() > 6 ? fields[6] : "";
    if (shell.ends_with("/nologin") || shell.ends_with("/false")) continue;
    const path home = fields[5];
    const bool keys =
        has_content(home / ".ssh/authorized_keys") || has_content(home / ".ssh/authorized_keys2");
    if (keys && !has_content(paths.kept_keys / fields[0])) out.push_back(fields[0]);
  }
  return out;
}

Result<std::string> check_lookups(const Paths& paths, bool roster_expected) {
  ASSIGN_OR_RETURN(const std::string root, ask({paths.getent, "passwd", "root"}));
  ASSIGN_OR_RETURN(const std::string group, ask({paths.getent, "group", "root"}));
  if (!root.starts_with("root:") || !group.starts_with("root:")) {
    return missing("a fresh process does not know root any more");
  }
  if (!roster_expected) return std::string();
  const auto person = somebody();
  if (!person) {
    return std::string(
        "nobody is published on this node yet, so no lookup of Roster's people was "
        "tried: roster-agent wait, then roster doctor");
  }
  const auto by_id = ask({paths.getent, "passwd", std::to_string(person->uid)});
  const auto by_name = ask({paths.getent, "passwd", person->name});
  if (!by_id || !by_name || *by_id != *by_name || !by_id->starts_with(person->name + ":")) {
    return missing("a fresh process does not find " + person->name + " (uid " +
                   std::to_string(person->uid) + "), whom this node's cache serves");
  }
  return std::string();
}

Result<void> check_sshd(const Settings& settings, const Paths& paths) {
  RETURN_IF_ERROR(ask({paths.sshd, "-t", "-f", paths.sshd_config}));
  if (!settings.ssh_keys) return {};
  ASSIGN_OR_RETURN(const std::string output, ask({paths.sshd, "-T", "-f", paths.sshd_config}));
  const struct {
    std::string_view keyword;
    std::string wanted;
  } kWanted[] = {{"authorizedkeyscommand", paths.key_helper.string() + " %u %U %f"},
                 {"authorizedkeyscommanduser", paths.keys_user}};
  for (const auto& [keyword, wanted] : kWanted) {
    const std::string found = effective(output, keyword).value_or("none");
    if (found == wanted) continue;
    const std::string why = found == "none" ? "it is not set yet, or another setting comes first"
                                            : "another setting comes first; remove it";
    return missing("sshd takes " + std::string(keyword) + " \"" + found + "\", not \"" + wanted +
                   "\": " + why);
  }
  return {};
}

Result<void> check_sudoers(const Paths& paths) {
  ASSIGN_OR_RETURN(const std::string output, ask({paths.visudo, "-c"}));
  if (output.find(paths.sudoers_snippet.string() + ": parsed OK") == std::string::npos) {
    return missing("sudo does not read " + paths.sudoers_snippet.string() +
                   ": /etc/sudoers needs a line \"@includedir /etc/sudoers.d\"");
  }
  return {};
}

}  // namespace roster::node
