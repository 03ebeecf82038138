#include "node/record.h"

#include <algorithm>

#include "base/encoding.h"
#include "base/json.h"

namespace roster::node {
namespace {

constexpr std::int64_t kVersion = 1;
constexpr json::Limits kLimits{.bytes_max = 16 << 20, .depth_max = 16, .values_max = 10'000};

json::value file_json(const std::optional<RootFile>& file) {
  if (!file) return nullptr;
  return json::object{{"content", base64_encode(file->content)},
                      {"mode", std::int64_t{file->mode}},
                      {"uid", std::int64_t{file->uid}},
                      {"gid", std::int64_t{file->gid}}};
}

json::object record_json(const FileRecord& record) {
  json::array insertions;
  for (const Insertion& insertion : record.insertions) {
    insertions.push_back(
        json::object{{"database", insertion.database}, {"text", base64_encode(insertion.text)}});
  }
  return {{"insertions", std::move(insertions)},
          {"replaced", record.replaced},
          {"before", file_json(record.before)}};
}

std::unexpected<Error> broken() {
  return fail(Code::kDataLoss, "the record of the set-up is damaged");
}

Result<RootFile> parse_file(const json::object& o) {
  const auto content = json::find_string(o, "content");
  const auto mode = json::find_int(o, "mode");
  const auto uid = json::find_int(o, "uid");
  const auto gid = json::find_int(o, "gid");
  if (!content || !mode || !uid || !gid || *mode < 0 || *mode > 07777) return broken();
  auto bytes = base64_decode(*content);
  if (!bytes) return broken();
  return RootFile{.content = std::move(*bytes),
                  .mode = static_cast<mode_t>(*mode),
                  .uid = static_cast<uid_t>(*uid),
                  .gid = static_cast<gid_t>(*gid)};
}

Result<FileRecord> parse_record(const json::object& o) {
  FileRecord out;
  const json::array* insertions = json::find_array(o, "insertions");
  const auto replaced = json::find_bool(o, "replaced");
  if (insertions == nullptr || !replaced) return broken();
  out.replaced = *replaced;
  for (const json::value& item : *insertions) {
    if (!item.is_object()) return broken();
    const auto database = json::find_string(item.get_object(), "database");
    const auto text = json::find_string(item.get_object(), "text");
    if (!database || !text) return broken();
    auto bytes = base64_decode(*text);
    if (!bytes) return broken();
    out.insertions.push_back({.database = std::string(*database), .text = std::move(*bytes)});
  }
  if (const json::object* before = json::find_object(o, "before")) {
    ASSIGN_OR_RETURN(out.before, parse_file(*before));
  }
  return out;
}

}  // namespace

std::string Record::to_json() const {
  json::object all;
  for (const auto& [path, record] : files) all[path] = record_json(record);
  const json::object o{
      {"version", kVersion},
      {"settings", settings ? json::value(node::to_json(*settings)) : json::value(nullptr)},
      {"files", std::move(all)},
      {"made_parent", made_parent}};
  return json::serialize(o) + "\n";
}

Result<Record> Record::parse(std::string_view text) {
  const auto parsed = json::parse(text, kLimits);
  if (!parsed || !parsed->is_object()) return broken();
  const json::object& o = parsed->get_object();
  if (json::find_int(o, "version") != kVersion) {
    return fail(Code::kFailedPrecondition,
                "the record of the set-up was written by another version of roster-agent: undo it "
                "with that one");
  }
  Record out;
  out.made_parent = json::find_bool(o, "made_parent").value_or(false);
  if (const json::object* settings = json::find_object(o, "settings")) {
    auto read = settings_from_json(*settings);
    if (!read) return broken();
    out.settings = std::move(*read);
  }
  const json::object* files = json::find_object(o, "files");
  if (files == nullptr) return broken();
  for (const auto& [path, value] : *files) {
    if (!value.is_object()) return broken();
    ASSIGN_OR_RETURN(out.files[std::string(path)], parse_record(value.get_object()));
  }
  return out;
}

Record Record::joined(const Record& next) const {
  Record out = *this;
  out.settings.reset();
  out.made_parent = made_parent || next.made_parent;
  for (const auto& [path, record] : next.files) {
    const auto [at, is_new] = out.files.try_emplace(path, record);
    if (is_new) continue;
    FileRecord& have = at->second;
    for (const Insertion& insertion : record.insertions) {
      if (std::ranges::find(have.insertions, insertion) == have.insertions.end()) {
        have.insertions.push_back(insertion);
      }
    }
    if (record.replaced && !have.replaced) {
      have.replaced = true;
      have.before = record.before;
    }
  }
  return out;
}

}  // namespace roster::node
