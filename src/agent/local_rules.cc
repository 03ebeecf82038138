#include "agent/local_rules.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <limits>
#include <utility>

#include "agent/errors.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "posix/names.h"

namespace roster::agent {
namespace {

constexpr std::size_t kFileBytesMax = 64 << 20;
constexpr std::string_view kBlanks = " \t\r";
constexpr std::string_view kSpaces = " \t\r\v\f";  // isspace(3) within a line

std::optional<std::uint32_t> parse_id(std::string_view text) {
  std::uint32_t id = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (code != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return id;
}

/// The first four fields of a line; missing ones are empty.
std::array<std::string_view, 4> split_fields(std::string_view line) {
  std::array<std::string_view, 4> fields{};
  for (std::string_view& field : fields) {
    const std::size_t end = line.find(':');
    field = line.substr(0, end);
    if (end == std::string_view::npos) break;
    line.remove_prefix(end + 1);
  }
  return fields;
}

template <typename T>
void sort_unique(std::vector<T>& items) {
  std::ranges::sort(items);
  const auto rest = std::ranges::unique(items);
  items.erase(rest.begin(), rest.end());
}

FileRules parse_deny_rules(std::string_view text, std::vector<std::string>& problems) {
  FileRules rules;
  for (DenyEntry& entry : parse_deny(text, problems)) {
    if (entry.uid) {
      rules.ids.push_back(*entry.uid);
    } else {
      rules.names.push_back(std::move(entry.text));
    }
  }
  sort_unique(rules.names);
  sort_unique(rules.ids);
  return rules;
}

/// Text without the lines that name `entry`, keeping comments and order.
std::string without_entry(std::string_view text, std::string_view entry) {
  std::string out;
  each_line(text, [&out, entry](std::string_view line) {
    if (trim(line.substr(0, line.find('#')), kBlanks) == entry) return;
    out += line;
    out += '\n';
  });
  return out;
}

Result<UniqueFd> lock_directory(const std::filesystem::path& directory) {
  UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return std::unexpected(errno_error("open " + directory.string(), errno));
  while (flock(fd.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return std::unexpected(errno_error("lock " + directory.string(), errno));
  }
  return fd;
}

}  // namespace

FileRules parse_accounts(std::string_view text) {
  FileRules rules;
  each_line(text, [&rules](std::string_view line) {
    const auto fields =
        split_fields(line.substr(std::min(line.size(), line.find_first_not_of(kSpaces))));
    const auto id = parse_id(fields[2]);
    const char first = fields[0].empty() ? '#' : fields[0].front();
    if (!id || first == '#' || first == '+' || first == '-') return;
    rules.names.emplace_back(fields[0]);
    rules.ids.push_back(*id);
  });
  sort_unique(rules.names);
  sort_unique(rules.ids);
  return rules;
}

FileRules parse_sub_ids(std::string_view text) {
  FileRules rules;
  each_line(text, [&rules](std::string_view line) {
    const auto fields = split_fields(line);
    const auto first = parse_id(fields[1]);
    const auto count = parse_id(fields[2]);
    if (!first || !count || *count == 0) return;
    const std::uint64_t last = std::min<std::uint64_t>(std::uint64_t{*first} + *count - 1,
                                                       std::numeric_limits<std::uint32_t>::max());
    rules.ranges.emplace_back(*first, static_cast<std::uint32_t>(last));
  });
  sort_unique(rules.ranges);
  return rules;
}

std::vector<DenyEntry> parse_deny(std::string_view text, std::vector<std::string>& problems) {
  std::vector<DenyEntry> out;
  std::size_t number = 0;
  each_line(text, [&out, &problems, &number](std::string_view line) {
    ++number;
    const std::string_view entry = trim(line.substr(0, line.find('#')), kBlanks);
    if (entry.empty()) return;
    const auto uid = parse_id(entry);
    if (!uid && !posix::LoginName::parse(entry)) {
      problems.push_back("deny file, line " + std::to_string(number) +
                         ": neither a login nor a uid");
      return;
    }
    out.push_back({std::string(entry), uid});
  });
  return out;
}

bool LocalRulesReader::refresh_one(const std::filesystem::path& path, Parse parse, Source& source,
                                   bool force) {
  const auto keep = [&source, &path](const Error& error) {
    source.problems = {path.string() + ": " + error.message};
    source.stamp.reset();
    return false;
  };
  struct stat info{};
  Stamp stamp;
  if (stat(path.c_str(), &info) == 0) {
    constexpr std::int64_t kSecond = 1'000'000'000;
    stamp = {.device = info.st_dev,
             .inode = info.st_ino,
             .size = info.st_size,
             .modified_ns = info.st_mtim.tv_sec * kSecond + info.st_mtim.tv_nsec,
             .changed_ns = info.st_ctim.tv_sec * kSecond + info.st_ctim.tv_nsec};
  } else if (errno != ENOENT) {
    return keep(errno_error("stat", errno));
  }
  if (!force && source.stamp == stamp) return false;
  auto text = stamp.size < 0 ? Result<std::string>() : read_file(path, kFileBytesMax);
  if (!text && text.error().code != Code::kNotFound) return keep(text.error());
  std::vector<std::string> problems;
  auto rules = parse(text ? *text : std::string_view(), problems);
  if (!rules) return keep(rules.error());
  source.stamp = stamp;
  source.problems = std::move(problems);
  if (std::exchange(source.known, true) && *rules == source.rules) return false;
  source.rules = std::move(*rules);
  return true;
}

LocalRulesReader::Change LocalRulesReader::refresh(bool force) {
  // A system without local accounts does not exist: the file is just being replaced, or damaged.
  const Parse accounts = [](std::string_view text, std::vector<std::string>&) -> Result<FileRules> {
    FileRules rules = parse_accounts(text);
    if (rules.names.empty()) return fail(Code::kNotFound, "names no local account");
    return rules;
  };
  const Parse sub_ids = [](std::string_view text, std::vector<std::string>&) -> Result<FileRules> {
    return parse_sub_ids(text);
  };
  const Parse deny = [](std::string_view text,
                        std::vector<std::string>& problems) -> Result<FileRules> {
    return parse_deny_rules(text, problems);
  };
  Change change;
  change.masks |= refresh_one(sources_.passwd, accounts, passwd_, force);
  change.masks |= refresh_one(sources_.group, accounts, group_, force);
  change.masks |= refresh_one(sources_.subuid, sub_ids, subuid_, force);
  change.masks |= refresh_one(sources_.subgid, sub_ids, subgid_, force);
  change.deny = refresh_one(sources_.deny, deny, deny_, force);
  return change;
}

bool LocalRulesReader::known() const {
  return std::ranges::all_of(std::array{&passwd_, &group_, &subuid_, &subgid_, &deny_},
                             [](const Source* source) { return source->known; });
}

nsscache::LocalRules LocalRulesReader::rules() const {
  nsscache::LocalRules rules;
  for (const Source* source : {&passwd_, &group_, &subuid_, &subgid_}) {
    const FileRules& file = source->rules;
    rules.masks_unknown |= !source->known;
    rules.masked_names.insert(rules.masked_names.end(), file.names.begin(), file.names.end());
    rules.masked_ids.insert(rules.masked_ids.end(), file.ids.begin(), file.ids.end());
    rules.masked_ranges.insert(rules.masked_ranges.end(), file.ranges.begin(), file.ranges.end());
  }
  sort_unique(rules.masked_names);
  sort_unique(rules.masked_ids);
  sort_unique(rules.masked_ranges);
  rules.denied_names = deny_.rules.names;
  rules.denied_uids = deny_.rules.ids;
  rules.denials_unknown = !deny_.known;
  return rules;
}

std::vector<std::string> LocalRulesReader::problems() const {
  std::vector<std::string> out;
  for (const Source* source : {&passwd_, &group_, &subuid_, &subgid_, &deny_}) {
    out.insert(out.end(), source->problems.begin(), source->problems.end());
  }
  return out;
}

Result<bool> edit_deny_file(const std::filesystem::path& file, std::string_view entry,
                            bool denied) {
  if (!parse_id(entry) && !posix::LoginName::parse(entry)) {
    return fail(Code::kInvalidArgument, "\"" + std::string(entry.substr(0, 64)) +
                                            "\" is neither a login ([a-z_][a-z0-9._-]*) nor a uid");
  }
  // Denying somebody must work on a node that was never configured; other errors show at the lock.
  mkdir(file.parent_path().c_str(), 0755);
  ASSIGN_OR_RETURN(const UniqueFd lock, lock_directory(file.parent_path()));
  auto text = read_file(file, kFileBytesMax);
  if (!text && text.error().code != Code::kNotFound) return std::unexpected(text.error());
  const std::string before = text ? *text : std::string();
  std::vector<std::string> problems;
  const std::vector<DenyEntry> entries = parse_deny(before, problems);
  const bool present =
      std::ranges::any_of(entries, [entry](const DenyEntry& e) { return e.text == entry; });
  if (present == denied) return false;
  std::string after = without_entry(before, entry);
  if (denied) {
    after += entry;
    after += '\n';
  }
  // The key helper reads it without root.
  RETURN_IF_ERROR(on_this_node(write_file_atomic(file, after, 0644)));
  return true;
}

}  // namespace roster::agent
