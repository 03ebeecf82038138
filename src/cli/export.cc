#include "cli/export.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "base/encoding.h"
#include "base/file.h"
#include "base/unicode.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "posix/id_ranges.h"
#include "sync/export_text.h"

namespace roster::cli {
namespace {

using sync::Exported;

struct Flags {
  sync::ExportOptions options;
  std::filesystem::path file = "-";
};

Result<Exported> read_entry(const json::object& o) {
  static const std::map<std::string, Exported::State, std::less<>> kStates{
      {"active", Exported::State::kActive},
      {"locked", Exported::State::kLocked},
      {"reserved", Exported::State::kReserved},
      {"tombstone", Exported::State::kDeleted}};
  const auto text = [&o](const char* name) {
    return std::string(json::find_string(o, name).value_or(""));
  };
  Exported entry;
  entry.is_group = text("type") == "group";
  entry.name = text("name");
  const std::int64_t number = json::find_int(o, "number").value_or(0);
  const std::int64_t gid = json::find_int(o, "gid").value_or(number);
  const auto state = kStates.find(text("state"));
  if (state == kStates.end() || number < 1 || number > posix::kIdMax || gid < 1 ||
      gid > posix::kIdMax) {
    return fail(Code::kInternal, "the hub's answer has an identity that cannot be");
  }
  entry.state = state->second;
  entry.number = static_cast<std::uint32_t>(number);
  entry.gid = static_cast<std::uint32_t>(gid);
  entry.gecos = text("gecos");
  entry.home = text("home");
  entry.shell = text("shell");
  entry.resource = text("userName") + text("displayName");
  entry.external_id = text("externalId");
  entry.client = text("client");
  if (const json::array* members = json::find_array(o, "members")) {
    for (const json::value& member : *members) {
      if (member.is_string()) entry.members.emplace_back(json::view(member.get_string()));
    }
  }
  return entry;
}

/// Where the text goes: a file that is there whole or not at all, or standard output.
class Sink {
 public:
  static Result<Sink> open(const std::filesystem::path& path, std::ostream& out) {
    if (path == "-") return Sink(std::nullopt, out);
    ASSIGN_OR_RETURN(StagedFile file, StagedFile::create(path));
    return Sink(std::move(file), out);
  }
  Result<void> append(std::string_view text) {
    if (file_) return file_->append(text);
    out_ << text;
    if (!out_) return fail(Code::kInternal, "standard output cannot be written");
    return {};
  }
  /// Homes and names of people: for the owner alone.
  Result<void> finish() {
    if (!file_) {
      out_.flush();
      if (!out_) return fail(Code::kInternal, "standard output cannot be written");
      return {};
    }
    RETURN_IF_ERROR(file_->seal(0600, std::nullopt));
    const std::filesystem::path parent = file_->target().parent_path();
    RETURN_IF_ERROR(file_->commit());
    return fsync_directory(parent.empty() ? "." : parent);
  }

 private:
  Sink(std::optional<StagedFile> file, std::ostream& out) : file_(std::move(file)), out_(out) {}
  std::optional<StagedFile> file_;
  std::ostream& out_;
};

Result<void> run(Hub& hub, Flags flags, std::ostream& out) {
  sync::ExportOptions& options = flags.options;
  ASSIGN_OR_RETURN(const json::object org, hub.call_org("GET", ""));
  if (const json::object* settings = json::find_object(org, "settings")) {
    options.default_shell =
        json::find_string(*settings, "default_shell").value_or(options.default_shell);
    options.home_template =
        json::find_string(*settings, "home_template").value_or(options.home_template);
  }
  ASSIGN_OR_RETURN(Sink sink, Sink::open(flags.file, out));
  RETURN_IF_ERROR(sink.append(sync::export_head(options)));
  ProgressLine line;
  std::size_t done = 0;
  std::size_t deleted = 0;
  std::string after;
  for (;;) {
    const std::string query = std::string("/identities?limit=1000") +
                              (options.groups ? "&members=true" : "") +
                              (after.empty() ? "" : "&after=" + percent_encode(after));
    ASSIGN_OR_RETURN(const json::object page, hub.call_org("GET", query));
    const json::array* items = json::find_array(page, "identities");
    if (items == nullptr) return fail(Code::kInternal, "the hub's answer lacks the list");
    std::string text;
    for (const json::value& item : *items) {
      if (!item.is_object()) return fail(Code::kInternal, "the hub's answer is not a list");
      ASSIGN_OR_RETURN(const Exported entry, read_entry(item.get_object()));
      ASSIGN_OR_RETURN(const std::string lines, sync::export_entry(entry, options));
      if (entry.state == Exported::State::kDeleted && lines.empty()) ++deleted;
      text += lines;
    }
    RETURN_IF_ERROR(sink.append(text));
    done += items->size();
    line.show("exported", done, 0);
    const auto next = json::find_string(page, "next");
    if (!next) break;
    if (*next == after) return fail(Code::kInternal, "the hub's list does not go on");
    after = *next;
  }
  RETURN_IF_ERROR(sink.finish());
  line.clear();
  if (deleted > 0 && options.format != sync::ImportFormat::kCsv) {
    std::cerr << "roster: export: " << deleted
              << " deleted identities are left out, which only CSV can tell\n";
  }
  return {};
}

}  // namespace

void add_export(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("export", "write people or groups as a file");
  auto flags = std::make_shared<Flags>();
  static const std::map<std::string, sync::ImportFormat> kFormats{
      {"passwd", sync::ImportFormat::kPasswd},
      {"ldif", sync::ImportFormat::kLdif},
      {"csv", sync::ImportFormat::kCsv}};
  command->add_option("--format", flags->options.format, "passwd, ldif or csv")
      ->transform(CLI::CheckedTransformer(kFormats))
      ->required();
  command->add_option("FILE", flags->file, "mode 0600; -, the default: standard output");
  command->add_flag("--groups", flags->options.groups, "groups instead of people");
  command->add_option("--base-dn", flags->options.base_dn, "of LDIF; default o=roster");
  command->footer(
      "Only CSV tells everything: states, whom reserved identities wait for, the deleted.\n"
      "Example:\n"
      "  roster export --format csv people.csv\n"
      "  roster export --format csv --groups groups.csv");
  command->callback([flags, &session] {
    session.action = [flags, &session](Hub& hub) { return run(hub, *flags, session.out); };
  });
}

}  // namespace roster::cli
