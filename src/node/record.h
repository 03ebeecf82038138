#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "node/insertion.h"
#include "node/root_file.h"
#include "node/settings.h"

namespace roster::node {

/// What the set-up did to one file, so that it can be undone to the byte.
struct FileRecord {
  std::vector<Insertion> insertions;  // of a file that is the operator's
  bool replaced = false;              // a file of ours: it is as a whole what setup wrote
  std::optional<RootFile> before;     // with `replaced`: what was there; nothing: no file
  bool operator==(const FileRecord&) const = default;
};

/// What `roster-agent setup` did on this node: DIR/record.json, 0600. It is written before the
/// first file is touched, with all that is going to be done and all that is done already: after a
/// kill at any instant, whoever undoes takes out what is there and passes over what is not.
struct Record {
  std::optional<Settings> settings;  // that were applied completely; nothing: cut off on the way
  std::map<std::string, FileRecord> files;
  bool made_parent = false;  // the directory above the record's
  bool operator==(const Record&) const = default;

  std::string to_json() const;
  /// kDataLoss when it is not what to_json wrote.
  static Result<Record> parse(std::string_view text);

  /// This record and what `next` adds: true of every state between the two.
  Record joined(const Record& next) const;
};

}  // namespace roster::node
