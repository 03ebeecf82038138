#include "sync/files_source.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "base/unicode.h"
#include "posix/gecos.h"
#include "posix/shell.h"

namespace roster::sync {
namespace {

using reconcile::Problem;
using reconcile::Text;

constexpr std::size_t kNameBytesMax = 256;
/// How many of many are named in a sentence.
constexpr std::size_t kNamedMax = 5;

struct Line {
  std::size_t number;
  std::string_view text;
};

/// The lines that say something. nss_files passes over the same ones: empty ones and comments.
Result<std::vector<Line>> lines_of(std::string_view text, const std::string& name) {
  if (text.contains('\0')) {
    return fail(Code::kDataLoss, name + ": holds NUL bytes; it was not written to its end");
  }
  if (!text.empty() && !text.ends_with('\n')) {
    return fail(Code::kDataLoss, name + ": ends inside a line; is it a whole copy?");
  }
  std::vector<Line> lines;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (line.size() > kAccountLineBytesMax) {
      return fail(Code::kTooLarge, name + ": line " + std::to_string(number) + " is too long");
    }
    const std::size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos || line[begin] == '#') continue;
    lines.push_back({number, line.substr(begin)});  // nss_files passes over leading blanks, too
  }
  return lines;
}

bool is_text(std::string_view name) {
  return !name.empty() && name.size() <= kNameBytesMax && is_valid_utf8(name) &&
         !has_control_characters(name);
}
bool is_name(std::string_view name) {
  return is_text(name) && !name.contains(' ') && !name.contains(',');
}

/// "+", "-alice", "+@staff:::::": what NIS would put there.
bool is_nis_entry(std::string_view line) { return line.starts_with('+') || line.starts_with('-'); }

struct Account {
  std::string_view name;
  std::int64_t uid = -1;
  std::int64_t gid = -1;
  std::string_view gecos = {}, home = {}, shell = {};
  bool has_texts = true;
  std::optional<Problem> kept = {};  // why it is not known whether they are active, or their texts
};

struct NamedGroup {
  std::string_view name;
  std::int64_t gid = -1;
  std::vector<std::string> members = {};
  std::size_t strangers = 0;
  std::string some_strangers = {};
};

class Reading {
 public:
  Reading(const AccountTexts& texts, const FilesOptions& options, std::int64_t today,
          const Intake& intake)
      : texts_(texts), options_(options), today_(today), intake_(intake) {}

  Result<void> run() {
    RETURN_IF_ERROR(read_passwd());
    if (texts_.has_shadow) RETURN_IF_ERROR(read_shadow());
    RETURN_IF_ERROR(read_groups());
    tell_groups();
    for (Problem& each : nameless_) intake_.keep("", std::move(each));
    for (Account& account : accounts_) tell_person(account);
    return {};
  }

 private:
  Result<void> read_passwd();
  Result<void> read_shadow();
  Result<void> read_groups();
  void read_account(const Line& line);
  void read_group(const Line& line);
  void add_member(NamedGroup& group, std::string_view member);
  void tell_groups();
  void tell_person(Account& account);
  void take_texts(const Account& account, reconcile::Person& person) const;

  bool in_range(std::int64_t id) const {
    return id >= options_.id_min && id <= options_.id_max && id != 65534 && id != 65535;
  }
  void warn(const std::string& file, std::size_t number, std::string sentence) const {
    intake_.warn({file + " line " + std::to_string(number), std::move(sentence)});
  }
  /// Keeps whom a line of passwd names.
  void keep(std::string_view name, const Line& line, const std::string& reason,
            std::int64_t gid = -1) {
    const auto [at, is_new] = by_name_.try_emplace(name, accounts_.size());
    if (!is_new) return;
    accounts_.push_back({.name = name, .gid = gid, .has_texts = false});
    mark(accounts_.back(), texts_.passwd_name + " line " + std::to_string(line.number), reason);
  }
  static void mark(Account& account, const std::string& where, const std::string& reason) {
    if (account.kept) return;
    account.kept = Problem{"person " + std::string(account.name), where + ": " + reason};
  }

  const AccountTexts& texts_;
  const FilesOptions& options_;
  const std::int64_t today_;
  const Intake& intake_;
  std::vector<Account> accounts_;  // people, in the order of the file
  std::unordered_map<std::string_view, std::size_t> by_name_;
  std::set<std::string_view> others_;   // names of the file that are nobody's
  std::set<std::string_view> expired_;  // and locked ones, when that counts
  std::vector<Problem> nameless_;       // people whose names cannot be read
  std::vector<NamedGroup> groups_;
  std::unordered_map<std::string_view, std::size_t> group_by_name_;
  std::map<std::string_view, Problem> kept_groups_;  // by name; nobody knows which: an empty one
};

Result<void> Reading::read_passwd() {
  ASSIGN_OR_RETURN(const std::vector<Line> lines, lines_of(texts_.passwd, texts_.passwd_name));
  for (const Line& line : lines) read_account(line);
  return {};
}

void Reading::read_account(const Line& line) {
  if (is_nis_entry(line.text)) {
    warn(texts_.passwd_name, line.number, "an entry of NIS: whom it stands for is not known here");
    return;
  }
  const std::string_view name = line.text.substr(0, line.text.find(':'));
  std::array<std::string_view, 7> fields;
  const bool whole = split_into(line.text, ':', fields);
  const auto uid = whole ? parse_number<std::int64_t>(fields[2]) : std::nullopt;
  const auto gid = whole ? parse_number<std::int64_t>(fields[3]) : std::nullopt;
  if (!is_text(name)) {
    const std::string where = texts_.passwd_name + " line " + std::to_string(line.number);
    if (!uid || in_range(*uid)) nameless_.push_back({where, "does not begin with a name"});
    return;
  }
  if (by_name_.contains(name) || others_.contains(name)) {
    warn(texts_.passwd_name, line.number,
         "'" + std::string(name) + "' was there before; the first line counts");
    return;
  }
  if (!whole) {
    keep(name, line, "has not seven fields");
    return;
  }
  if (!uid || !gid) {
    keep(name, line, "has an id that is no number");
    return;
  }
  if (!in_range(*uid) || name.ends_with('$')) {
    others_.insert(name);
    return;
  }
  if (!is_name(name)) {
    keep(name, line, "the name has a space or comma", *gid);
    return;
  }
  if (!is_valid_utf8(fields[5]) || !is_valid_utf8(fields[6]) || has_control_characters(fields[5]) ||
      has_control_characters(fields[6])) {
    keep(name, line, "has a home or shell that is no text", *gid);
    return;
  }
  by_name_.emplace(name, accounts_.size());
  accounts_.push_back({.name = name,
                       .uid = *uid,
                       .gid = *gid,
                       .gecos = fields[4],
                       .home = fields[5],
                       .shell = fields[6]});
}

Result<void> Reading::read_shadow() {
  ASSIGN_OR_RETURN(const std::vector<Line> lines, lines_of(texts_.shadow, texts_.shadow_name));
  std::set<std::string_view> seen;
  for (const Line& line : lines) {
    if (is_nis_entry(line.text)) continue;
    const std::string_view name = line.text.substr(0, line.text.find(':'));
    const auto account = by_name_.find(name);
    if (account == by_name_.end()) continue;
    if (!seen.insert(name).second) {
      warn(texts_.shadow_name, line.number,
           "'" + std::string(name) + "' was there before; the first line counts");
      continue;
    }
    std::array<std::string_view, 9> fields;
    const bool whole = split_into(line.text, ':', fields);
    const auto expires = whole ? parse_number<std::int64_t>(fields[7]) : std::nullopt;
    const bool is_expired = expires && *expires >= 0 && *expires <= today_;
    const bool is_locked = whole && (fields[1].starts_with('!') || fields[1].starts_with('*'));
    if (is_expired || (is_locked && options_.locked_password_is_inactive)) expired_.insert(name);
    if (!whole || (!fields[7].empty() && !expires)) {
      // Whether they have expired is not known; the sentence must not hold the line: it has a hash.
      mark(accounts_[account->second], texts_.shadow_name + " line " + std::to_string(line.number),
           "cannot be read as shadow(5)");
    }
  }
  if (seen.empty() && !accounts_.empty()) {
    return fail(Code::kDataLoss, texts_.shadow_name + ": has no line for anybody in " +
                                     texts_.passwd_name + "; is it a whole copy?");
  }
  for (Account& account : accounts_) {
    if (!seen.contains(account.name)) {
      mark(account, texts_.shadow_name, "has no line for them, which would say if they are locked");
    }
  }
  return {};
}

Result<void> Reading::read_groups() {
  ASSIGN_OR_RETURN(const std::vector<Line> lines, lines_of(texts_.group, texts_.group_name));
  for (const Line& line : lines) read_group(line);
  std::unordered_map<std::int64_t, std::size_t> by_gid;
  for (std::size_t i = 0; i < groups_.size(); ++i) by_gid.try_emplace(groups_[i].gid, i);
  for (const Account& account : accounts_) {
    const auto primary = by_gid.find(account.gid);
    if (primary != by_gid.end()) groups_[primary->second].members.emplace_back(account.name);
  }
  return {};
}

void Reading::read_group(const Line& line) {
  if (is_nis_entry(line.text)) {
    warn(texts_.group_name, line.number, "an entry of NIS: whom it stands for is not known here");
    return;
  }
  std::array<std::string_view, 4> fields;
  const bool whole = split_into(line.text, ':', fields);
  const auto gid = whole ? parse_number<std::int64_t>(fields[2]) : std::nullopt;
  const std::string_view name = line.text.substr(0, line.text.find(':'));
  if (gid && !in_range(*gid)) return;
  if (!gid || !is_name(name)) {
    kept_groups_.try_emplace(is_text(name) ? name : std::string_view(),
                             Problem{texts_.group_name + " line " + std::to_string(line.number),
                                     "cannot be read as group(5): the group stays as it is"});
    return;
  }
  const auto [at, is_new] = group_by_name_.try_emplace(fields[0], groups_.size());
  if (is_new) groups_.push_back({.name = fields[0], .gid = *gid});
  NamedGroup& group = groups_[at->second];
  // Long groups are written as several lines of one name and gid: their members are all in it.
  if (group.gid != *gid) {
    warn(
        texts_.group_name, line.number,
        "'" + std::string(fields[0]) + "' was there before, with another id; the first one counts");
    return;
  }
  std::string_view list = fields[3];
  while (!list.empty()) {
    const std::size_t end = list.find(',');
    std::string_view member = list.substr(0, end);
    list.remove_prefix(end == std::string_view::npos ? list.size() : end + 1);
    const std::size_t begin = member.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos) continue;
    member = member.substr(begin, member.find_last_not_of(" \t\r") - begin + 1);
    add_member(group, member);
  }
}

void Reading::add_member(NamedGroup& group, std::string_view member) {
  if (by_name_.contains(member)) {
    group.members.emplace_back(member);
    return;
  }
  if (others_.contains(member)) return;
  if (++group.strangers > kNamedMax) return;
  if (!group.some_strangers.empty()) group.some_strangers += ", ";
  group.some_strangers += is_name(member) ? std::string(member) : "(no name)";
}

void Reading::tell_groups() {
  for (auto& [name, problem] : kept_groups_) {
    intake_.keep_group(std::string(name), std::move(problem));
  }
  for (NamedGroup& group : groups_) {
    // Another line of it cannot be read: some of its members may be there.
    if (kept_groups_.contains(group.name)) continue;
    std::ranges::sort(group.members);
    const auto repeated = std::ranges::unique(group.members);
    group.members.erase(repeated.begin(), repeated.end());
    const std::string name(group.name);
    if (group.strangers > 0) {
      intake_.warn({"group " + name, std::to_string(group.strangers) +
                                         " of its members are not in " + texts_.passwd_name + ": " +
                                         group.some_strangers +
                                         (group.strangers > kNamedMax ? ", ..." : "")});
    }
    const auto owner = by_name_.find(group.name);
    if (owner != by_name_.end() && accounts_[owner->second].gid == -1) {
      intake_.keep_group(name, {"group " + name,
                                "may be the private group of the person with that name, whose line "
                                "cannot be read; it stays as it is"});
      continue;
    }
    if (owner != by_name_.end() && accounts_[owner->second].gid == group.gid) {
      if (group.members.size() > 1) {
        intake_.warn({"group " + name,
                      "is the private group of the person with that name and not told, although "
                      "it has other members; give it another name to keep them in one group"});
      }
      continue;
    }
    intake_.group({.key = name, .name = name, .members = std::move(group.members)});
  }
}

/// Who is known to be inactive is so, whatever else of them cannot be read.
void Reading::tell_person(Account& account) {
  reconcile::Person person;
  person.key = account.name;
  person.user_name = account.name;
  person.active = !expired_.contains(account.name) &&
                  !(options_.nologin_is_inactive && posix::refuses_login(account.shell));
  if (account.kept && person.active) {
    account.kept->sentence += "; they stay as they are";
    intake_.keep(std::move(person.key), std::move(*account.kept));
    return;
  }
  if (account.kept) intake_.warn(*account.kept);
  if (account.has_texts) take_texts(account, person);
  intake_.person(std::move(person));
}

void Reading::take_texts(const Account& account, reconcile::Person& person) const {
  const std::string_view full_name = account.gecos.substr(0, account.gecos.find(','));
  if (!is_valid_utf8(full_name)) {
    intake_.warn(
        {"person " + person.key, "their name in " + texts_.passwd_name +
                                     " is not UTF-8; what cannot be read of it is left out"});
  }
  person.text(Text::kDisplayName) = posix::sanitize_gecos(full_name);
  person.text(Text::kHome) = std::string(account.home);
  person.text(Text::kShell) = std::string(account.shell);
}

class FilesSource : public Source {
 public:
  FilesSource(FilesOptions options, Clock clock)
      : options_(std::move(options)), clock_(std::move(clock)) {}

  std::string describe() const override {
    std::string text = "files " + options_.passwd.string();
    for (const auto& path : {options_.group, options_.shadow}) {
      if (!path.empty()) text += " " + path.string();
    }
    return text;
  }

  Result<void> read(const Intake& intake) override {
    ASSIGN_OR_RETURN(const std::string passwd, read_file(options_.passwd, kAccountFileBytesMax));
    std::string group, shadow;
    if (!options_.group.empty()) {
      ASSIGN_OR_RETURN(group, read_file(options_.group, kAccountFileBytesMax));
    }
    if (!options_.shadow.empty()) {
      ASSIGN_OR_RETURN(shadow, read_file(options_.shadow, kAccountFileBytesMax));
    }
    const AccountTexts texts{.passwd = passwd,
                             .group = group,
                             .shadow = shadow,
                             .passwd_name = options_.passwd.string(),
                             .group_name = options_.group.string(),
                             .shadow_name = options_.shadow.string(),
                             .has_shadow = !options_.shadow.empty()};
    const auto today = std::chrono::floor<std::chrono::days>(clock_());
    return read_accounts(texts, options_, today.time_since_epoch().count(), intake);
  }

 private:
  const FilesOptions options_;
  const Clock clock_;
};

}  // namespace

Result<void> read_accounts(const AccountTexts& texts, const FilesOptions& options,
                           std::int64_t today, const Intake& intake) {
  return Reading(texts, options, today, intake).run();
}

Result<std::unique_ptr<Source>> open_files(FilesOptions options, Clock clock) {
  if (options.passwd.empty()) return fail(Code::kInvalidArgument, "the passwd file is not named");
  if (options.id_min < 1 || options.id_max < options.id_min) {
    return fail(Code::kInvalidArgument, "the range of ids is empty or holds root's");
  }
  if (options.locked_password_is_inactive && options.shadow.empty()) {
    return fail(Code::kInvalidArgument, "locked passwords can only be told from a shadow file");
  }
  return std::make_unique<FilesSource>(std::move(options), std::move(clock));
}

}  // namespace roster::sync
