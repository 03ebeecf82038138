#include "node/setup.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <system_error>

#include "base/file.h"
#include "base/subprocess.h"
#include "node/plan.h"
#include "node/record_store.h"
#include "node/root_file.h"
#include "node/texts.h"

namespace roster::node {
namespace {

constexpr std::size_t kFileBytesMax = 1 << 20;

Settings all_off() {
  Settings out;
  out.user_population = false;
  out.home_directories = false;
  out.ssh_keys = false;
  out.sudo_access = false;
  return out;
}

Result<void> need_root(const Paths& paths) {
  if (::geteuid() == paths.owner) return {};
  return fail(Code::kPermissionDenied,
              "only root sets a node up: run it as root, also to see what would be done");
}

Result<void> put(const std::filesystem::path& path, const std::optional<RootFile>& file) {
  return file ? write_root_file(path, *file) : remove_root_file(path);
}

/// sshd reads its configuration again; true when there is nothing to do for the operator. Only the
/// process that its own pid file names, if that is sshd.
bool reload_sshd(const Paths& paths) {
  const auto output = run_program({paths.sshd, "-T", "-f", paths.sshd_config});
  if (!output || output->status != 0) return false;
  const auto name = effective(output->out, "pidfile");
  if (!name || *name == "none") return false;
  std::error_code error;
  const auto text = read_root_file(std::filesystem::weakly_canonical(*name, error), 0, 64);
  if (error || !text || !*text) return false;
  const std::string& digits = (*text)->content;
  pid_t pid = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), pid);
  if (pid <= 1) return false;
  const auto running =
      std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/exe", error);
  if (error || running != std::filesystem::canonical(paths.sshd, error)) return false;
  return ::kill(pid, SIGHUP) == 0;
}

/// One plan carried out, or everything as it was.
class Application {
 public:
  Application(const Plan& plan, const Settings& settings, const Paths& paths, RecordStore& store)
      : plan_(plan), settings_(settings), paths_(paths), store_(store) {}

  /// What could not be checked.
  Result<std::vector<std::string>> run() {
    const Record former = store_.record();
    RETURN_IF_ERROR(store_.save(former.joined(plan_.next)));
    auto good = check_before();
    if (good) good = carry_out();
    if (good) good = check_after();
    if (good) {
      if (touches_sshd() && !reload_sshd(paths_)) {
        notes_.push_back(
            "sshd was not found running: where it runs, reload it (systemctl reload ssh or sshd)");
      }
      // The record from before knows both ends: a next run can go on from it in either direction.
      if (auto saved = store_.save(plan_.next); !saved) {
        return fail_in(
            "all is changed and checked, but its record could not be brought up to "
            "date (mend that and run it again)",
            saved.error());
      }
      return std::move(notes_);
    }
    if (const auto back = roll_back(); !back) {
      return fail(good.error().code, good.error().message + "; and not all could be put back: " +
                                         back.error().message +
                                         ": run roster-agent unsetup --apply when it is mended");
    }
    const auto kept = store_.save(former);
    return fail(good.error().code, good.error().message + " (nothing was changed" +
                                       (kept ? "" : ", but the record: " + kept.error().message) +
                                       ")");
  }

 private:
  bool touches_sshd() const {
    return plan_.touches(paths_.sshd_snippet) || plan_.touches(paths_.sshd_config);
  }

  bool is_now(const Change& change, const std::optional<RootFile>& wanted) const {
    const auto now = read_root_file(change.path, paths_.owner, kFileBytesMax);
    return now && *now == wanted;
  }

  /// What sshd refuses already must not be taken for our fault, and sudoers that visudo refuses
  /// must never stand in the place where sudo reads them.
  Result<void> check_before() {
    if (touches_sshd()) {
      Settings as_it_is = settings_;
      as_it_is.ssh_keys = false;
      const auto good = check_sshd(as_it_is, paths_);
      sshd_was_good_ = good.has_value();
      if (!good && settings_.ssh_keys) {
        return fail_in("sshd refuses its configuration already, mend that first", good.error());
      }
    }
    if (!settings_.sudo_access || !plan_.touches(paths_.sudoers_snippet)) return {};
    RETURN_IF_ERROR(write_file_atomic(store_.scratch(), sudoers_text(settings_), 0440));
    ASSIGN_OR_RETURN(const ProcessOutput output,
                     run_program({paths_.visudo, "-c", "-f", store_.scratch()}));
    if (output.status != 0) {
      return fail(Code::kFailedPrecondition, "visudo refuses the sudoers file: " + output.err);
    }
    return {};
  }

  Result<void> carry_out() {
    for (const Change& change : plan_.changes) {
      if (!is_now(change, change.before)) {
        return fail(Code::kFailedPrecondition,
                    change.path.string() + " was changed by somebody else just now: try again");
      }
      done_.push_back(change);
      if (auto written = put(change.path, change.after); !written) {
        if (is_now(change, change.before)) done_.pop_back();
        return written;
      }
    }
    return {};
  }

  Result<void> check_after() {
    if (plan_.touches(paths_.nsswitch)) {
      ASSIGN_OR_RETURN(const std::string unchecked,
                       check_lookups(paths_, settings_.user_population));
      if (!unchecked.empty()) notes_.push_back(unchecked);
    }
    // What was broken, or not there, before does not stand in the way back.
    if (touches_sshd() && sshd_was_good_) RETURN_IF_ERROR(check_sshd(settings_, paths_));
    if (plan_.touches(paths_.sudoers_snippet) && settings_.sudo_access) {
      RETURN_IF_ERROR(check_sudoers(paths_));
    }
    return {};
  }

  /// Last first, and only what still is as we left it.
  Result<void> roll_back() {
    for (auto change = done_.rbegin(); change != done_.rend(); ++change) {
      if (!is_now(*change, change->after)) {
        return fail(Code::kFailedPrecondition,
                    change->path.string() + " was changed by somebody else meanwhile");
      }
      RETURN_IF_ERROR(put(change->path, change->before));
    }
    return {};
  }

  const Plan& plan_;
  const Settings& settings_;
  const Paths& paths_;
  RecordStore& store_;
  bool sshd_was_good_ = false;
  std::vector<Change> done_;
  std::vector<std::string> notes_;
};

/// Of runs that were killed.
void clear_leftovers(const Paths& paths) {
  std::vector<std::filesystem::path> files = paths.pam_stacks;
  files.insert(files.end(),
               {paths.nsswitch, paths.sshd_config, paths.sshd_snippet, paths.sudoers_snippet});
  for (const auto& file : files) {
    if (check_directory(file.parent_path(), paths.owner)) remove_leftovers(file);
  }
}

std::string notes_text(const std::vector<std::string>& notes) {
  std::string out;
  for (const std::string& note : notes) out += "note: " + note + "\n";
  return out;
}

Result<std::string> apply_now(const Settings& settings, const Paths& paths, bool is_setup) {
  ASSIGN_OR_RETURN(RecordStore store, RecordStore::open(paths.record_dir, paths.owner));
  clear_leftovers(paths);
  ASSIGN_OR_RETURN(Plan plan, make_plan(settings, paths, store.record()));
  if (is_setup) plan.next.settings = settings;
  const std::string shown = render(plan);
  if (plan.changes.empty()) {
    RETURN_IF_ERROR(store.save(plan.next));
    return shown + "Nothing to do: this node is as it should be.\n";
  }
  Application application(plan, settings, paths, store);
  ASSIGN_OR_RETURN(const std::vector<std::string> notes, application.run());
  return shown + notes_text(notes) + "Done: " + std::to_string(plan.changes.size()) +
         (plan.changes.size() == 1 ? " file was changed.\n" : " files were changed.\n");
}

Result<std::string> show_only(const Settings& settings, const Paths& paths) {
  ASSIGN_OR_RETURN(const Record record, RecordStore::peek(paths.record_dir, paths.owner));
  ASSIGN_OR_RETURN(const Plan plan, make_plan(settings, paths, record));
  if (plan.changes.empty()) return render(plan) + "Nothing to do: this node is as it should be.\n";
  return render(plan) + "Nothing was changed. To do this, run it again with --apply.\n";
}

}  // namespace

Result<std::string> set_up(const Settings& settings, const Paths& paths, bool apply) {
  RETURN_IF_ERROR(need_root(paths));
  RETURN_IF_ERROR(validate(settings));
  RETURN_IF_ERROR(check_requirements(settings, paths));
  return apply ? apply_now(settings, paths, true) : show_only(settings, paths);
}

Result<std::string> undo_setup(const Paths& paths, bool apply) {
  RETURN_IF_ERROR(need_root(paths));
  return apply ? apply_now(all_off(), paths, false) : show_only(all_off(), paths);
}

}  // namespace roster::node
