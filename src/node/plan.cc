#include "node/plan.h"

#include <unistd.h>

#include <cstdio>

#include <algorithm>
#include <system_error>

#include "base/file.h"
#include "node/nsswitch.h"
#include "node/texts.h"

namespace roster::node {
namespace {

constexpr std::size_t kFileBytesMax = 1 << 20;
constexpr std::string_view kAuthselect =
    ": it is managed by authselect(8), which setup leaves alone: add roster behind files to "
    "passwd, "
    "group and shadow in /etc/authselect/user-nsswitch.conf and run authselect apply-changes";

class Planner {
 public:
  Planner(const Settings& settings, const Paths& paths, const Record& record)
      : settings_(settings), paths_(paths), record_(record) {}

  Result<Plan> plan() {
    RETURN_IF_ERROR(plan_nsswitch());
    RETURN_IF_ERROR(plan_pam());
    RETURN_IF_ERROR(plan_sshd());
    RETURN_IF_ERROR(
        plan_owned(paths_.sudoers_snippet, settings_.sudo_access, sudoers_text(settings_), 0440));
    return std::move(plan_);
  }

 private:
  const FileRecord& recorded(const std::filesystem::path& path) const {
    static const FileRecord kNone;
    const auto found = record_.files.find(path.string());
    return found == record_.files.end() ? kNone : found->second;
  }

  bool is_recorded(const std::filesystem::path& path) const {
    return record_.files.contains(path.string());
  }

  void change(const std::filesystem::path& path, std::optional<RootFile> before,
              std::optional<RootFile> after) {
    if (before == after) return;
    plan_.changes.push_back({path, std::move(before), std::move(after)});
  }

  /// A file of the operator's: `text` is to be its content, with these insertions of ours.
  void change_text(const std::filesystem::path& path, const RootFile& file, Edited edited) {
    RootFile after = file;
    after.content = std::move(edited.text);
    if (!edited.insertions.empty()) {
      plan_.next.files[path.string()].insertions = std::move(edited.insertions);
    }
    change(path, file, std::move(after));
  }

  Result<void> plan_nsswitch() {
    const bool on = settings_.user_population;
    if (!on && !is_recorded(paths_.nsswitch)) return {};
    std::error_code error;
    if (std::filesystem::is_symlink(paths_.nsswitch, error)) return plan_linked_nsswitch();
    ASSIGN_OR_RETURN(const auto file, read_root_file(paths_.nsswitch, paths_.owner, kFileBytesMax));
    if (!file) {
      if (!on) return {};
      return fail(Code::kFailedPrecondition, paths_.nsswitch.string() + " does not exist");
    }
    Edited edited{.text = remove_nss_source(file->content, recorded(paths_.nsswitch).insertions),
                  .insertions = {}};
    if (on) {
      auto added = add_nss_source(edited.text);
      if (!added) return fail_in(paths_.nsswitch.string(), added.error());
      edited = std::move(*added);
    }
    change_text(paths_.nsswitch, *file, std::move(edited));
    return {};
  }

  /// authselect's: good when roster is there already, and never written through.
  Result<void> plan_linked_nsswitch() {
    const std::string name = paths_.nsswitch.string() + " is a symbolic link";
    if (!settings_.user_population) {
      plan_.notes.push_back(name + " now: take roster out of it where that file is made");
      return {};
    }
    ASSIGN_OR_RETURN(const std::string text, read_file(paths_.nsswitch, kFileBytesMax));
    const auto added = add_nss_source(text);
    if (!added || !added->insertions.empty()) {
      return fail(Code::kFailedPrecondition, name + std::string(kAuthselect));
    }
    if (is_recorded(paths_.nsswitch)) {
      plan_.next.files[paths_.nsswitch.string()] = recorded(paths_.nsswitch);
    }
    plan_.notes.push_back(name + " and has roster already: left alone");
    return {};
  }

  /// A block between markers in a file of the operator's, or none.
  Result<void> plan_block(const std::filesystem::path& path, const RootFile& file,
                          Edited (*add)(std::string_view, std::string_view),
                          const std::optional<std::string>& body) {
    auto base = remove_block(file.content, recorded(path).insertions);
    if (!base) return fail_in(path.string(), base.error());
    change_text(path, file,
                body ? add(*base, *body) : Edited{.text = std::move(*base), .insertions = {}});
    return {};
  }

  Result<void> plan_pam() {
    bool wanted = settings_.home_directories;
    for (const std::filesystem::path& path : paths_.pam_stacks) {
      auto file = read_root_file(path, paths_.owner, kFileBytesMax);
      // A file that is none of our business is nobody's obstacle.
      if (!file && !wanted && !is_recorded(path)) continue;
      if (!file) return std::unexpected(file.error());
      if (!*file) continue;
      std::optional<std::string> body;
      if (wanted) body = pam_text(settings_);
      wanted = false;
      RETURN_IF_ERROR(plan_block(path, **file, append_block, body));
    }
    if (wanted) {
      return fail(Code::kFailedPrecondition, "home_directories: there is neither " +
                                                 paths_.pam_stacks.front().string() + " nor " +
                                                 paths_.pam_stacks.back().string());
    }
    return {};
  }

  Result<void> plan_sshd() {
    RETURN_IF_ERROR(
        plan_owned(paths_.sshd_snippet, settings_.ssh_keys, sshd_text(settings_, paths_), 0644));
    const auto file = read_root_file(paths_.sshd_config, paths_.owner, kFileBytesMax);
    if (!file && !settings_.ssh_keys && !is_recorded(paths_.sshd_config)) return {};
    if (!file) return std::unexpected(file.error());
    if (!*file) {
      if (!settings_.ssh_keys) return {};
      return fail(Code::kFailedPrecondition, paths_.sshd_config.string() + " does not exist");
    }
    const auto base = remove_block((*file)->content, recorded(paths_.sshd_config).insertions);
    std::optional<std::string> body;
    // In front: the first value of a setting counts, and a Match block has no end.
    if (settings_.ssh_keys && base && !includes(*base, paths_.sshd_snippet)) {
      body = "Include " + paths_.sshd_snippet.string() + "\n";
    }
    return plan_block(paths_.sshd_config, **file, prepend_block, body);
  }

  /// A file that is ours as a whole. Whatever stood there before is kept in the record.
  Result<void> plan_owned(const std::filesystem::path& path, bool on, std::string text,
                          mode_t mode) {
    auto read = read_root_file(path, paths_.owner, kFileBytesMax);
    if (!read && !on && !is_recorded(path)) return {};
    if (!read) return std::unexpected(read.error());
    const std::optional<RootFile> current = std::move(*read);
    const FileRecord& known = recorded(path);
    std::optional<RootFile> base = current;
    const bool ours = current && current->content.starts_with(kOwnHeader);
    if (ours || (!current && known.replaced)) base = known.before;
    if (!on) {
      change(path, current, base);
      return {};
    }
    RETURN_IF_ERROR(check_directory(path.parent_path(), paths_.owner));
    if (base && !known.replaced)
      plan_.notes.push_back(path.string() + " was there: unsetup puts it back");
    plan_.next.files[path.string()] = {.insertions = {}, .replaced = true, .before = base};
    // The group of root, as its primary one is.
    change(path, current,
           RootFile{.content = std::move(text), .mode = mode, .uid = paths_.owner, .gid = group()});
    return {};
  }

  gid_t group() const { return paths_.owner == 0 ? 0 : ::getgid(); }

  const Settings& settings_;
  const Paths& paths_;
  const Record& record_;
  Plan plan_;
};

}  // namespace

bool Plan::touches(const std::filesystem::path& path) const {
  return std::ranges::any_of(changes, [&path](const Change& c) { return c.path == path; });
}

Result<Plan> make_plan(const Settings& settings, const Paths& paths, const Record& record) {
  RETURN_IF_ERROR(validate(settings));
  return Planner(settings, paths, record).plan();
}

std::string render(const Plan& plan) {
  std::string out;
  for (const std::string& note : plan.notes) out += "note: " + note + "\n";
  for (const Change& c : plan.changes) {
    const std::string name = c.path.string();
    out += unified_diff(c.before ? c.before->content : "", c.after ? c.after->content : "",
                        c.before ? name : "/dev/null", c.after ? name : "/dev/null");
    if (c.before && c.after && c.before->mode != c.after->mode) {
      char text[64];
      std::snprintf(text, sizeof text, ": mode %04o becomes %04o\n",
                    static_cast<unsigned>(c.before->mode), static_cast<unsigned>(c.after->mode));
      out += name + text;
    }
  }
  return out;
}

}  // namespace roster::node
