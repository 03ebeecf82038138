#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "node/record.h"
#include "node/root_file.h"
#include "node/settings.h"

namespace roster::node {

/// One file as it is and as it shall be; nothing: no file.
struct Change {
  std::filesystem::path path;
  std::optional<RootFile> before;
  std::optional<RootFile> after;
};

struct Plan {
  std::vector<Change> changes;     // only of files that differ
  std::vector<std::string> notes;  // what the operator should know
  Record next;                     // the record when all is done

  bool touches(const std::filesystem::path& path) const;
};

/// What has to change so that this node is as `settings` say, whatever was done before: what the
/// record knows is thought away first, so that repeating, other settings and a cut-off run are all
/// the same. All switches off is the way back. Reads; changes nothing.
/// kFailedPrecondition saying what is missing or in the way, kPermissionDenied for files that
/// others may write.
Result<Plan> make_plan(const Settings& settings, const Paths& paths, const Record& record);

/// Text for people: the notes and a unified diff of every file.
std::string render(const Plan& plan);

}  // namespace roster::node
