#include "sync/import_list.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <map>
#include <span>
#include <unordered_map>
#include <utility>

#include "base/text.h"
#include "base/unicode.h"
#include "posix/claims.h"
#include "posix/gecos.h"
#include "sync/csv.h"
#include "sync/ldif.h"

namespace roster::sync {
namespace {

std::size_t count_members(std::string_view list) {
  if (list.empty()) return 0;
  return static_cast<std::size_t>(std::ranges::count(list, ',')) + 1;
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

/// One file on its way into a list.
class Adding {
 public:
  Adding(ImportList& list, const ImportOptions& options) : list_(list), options_(options) {}

  void add(ImportFormat format, std::string_view text, bool is_group_file) {
    if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
      const auto before = std::ranges::count(text.substr(0, nul), '\n');
      problem(static_cast<std::size_t>(before) + 1, "holds a NUL byte; is it a whole copy?");
      return;
    }
    switch (format) {
      case ImportFormat::kPasswd:
        return add_lines(text, is_group_file);
      case ImportFormat::kLdif:
        return add_ldif(text);
      case ImportFormat::kCsv:
        return add_csv(text);
    }
  }

 private:
  void problem(std::size_t line, std::string sentence) {
    ++list_.problem_count;
    if (list_.problems.size() < kImportProblemsMax) {
      list_.problems.push_back({list_.files.size() - 1, line, std::move(sentence)});
    }
  }
  void take(Imported entry, std::size_t line, std::string_view number, std::string_view gid);

  void add_lines(std::string_view text, bool is_group_file);
  void add_account(std::string_view line, std::size_t number);
  void add_group_line(std::string_view line, std::size_t number);
  void add_ldif(std::string_view text);
  void add_csv(std::string_view text);
  void add_csv_row(const CsvRow& row, const std::vector<std::string>& header, bool is_group);

  ImportList& list_;
  const ImportOptions& options_;
};

/// Checks the texts and the numbers of an entry, and takes it.
void Adding::take(Imported entry, std::size_t line, std::string_view number, std::string_view gid) {
  entry.file = list_.files.size() - 1;
  entry.line = line;
  const auto parsed = parse_number<std::uint32_t>(number);
  const auto parsed_gid = entry.is_group ? parsed : parse_number<std::uint32_t>(gid);
  if (!parsed || !parsed_gid) {
    problem(line, !parsed ? "its id is not a number of 32 bits"
                          : "its primary group is not a number of 32 bits");
    return;
  }
  entry.number = *parsed;
  entry.gid = options_.private_groups ? *parsed : *parsed_gid;
  if (entry.number < options_.id_min || entry.number == 65534 || entry.number == 65535) {
    ++list_.outside;
    return;
  }
  // Old files hold Latin-1 here; what cannot be read of it is left out.
  entry.gecos = posix::sanitize_gecos(entry.gecos);
  const std::string none;
  for (const std::string* text : std::initializer_list<const std::string*>{
           &entry.name, &entry.home, &entry.shell, &entry.mail, &entry.external_id, &entry.client,
           entry.user_name ? &*entry.user_name : &none}) {
    if (text->size() > kImportFieldBytesMax) {
      problem(line, "a field of more than " + std::to_string(kImportFieldBytesMax) + " bytes");
      return;
    }
    if (!is_valid_utf8(*text) || has_control_characters(*text)) {
      problem(line, "a field that is not UTF-8 or has control characters");
      return;
    }
  }
  if (entry.name.empty()) {
    problem(line, "the name is empty");
    return;
  }
  list_.memberships += entry.members;
  list_.entries.push_back(std::move(entry));
}

void Adding::add_lines(std::string_view text, bool is_group_file) {
  if (!text.empty() && !text.ends_with('\n')) {
    problem(static_cast<std::size_t>(std::ranges::count(text, '\n')) + 1,
            "ends inside a line; is it a whole copy?");
    return;
  }
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (line.size() > kImportLineBytesMax) {
      problem(number, "the line is too long");
      continue;
    }
    // nss_files passes over the same ones: empty ones and comments.
    const std::size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos || line[begin] == '#') continue;
    if (line.starts_with('+') || line.starts_with('-')) {
      ++list_.others;
    } else if (is_group_file) {
      add_group_line(line, number);
    } else {
      add_account(line, number);
    }
  }
}

void Adding::add_account(std::string_view line, std::size_t number) {
  std::array<std::string_view, 7> fields;
  if (!split_into(line, ':', fields)) {
    problem(number, "has not the seven fields of passwd(5)");
    return;
  }
  Imported person;
  person.name = fields[0];
  person.gecos = fields[4].substr(0, fields[4].find(','));
  person.home = fields[5];
  person.shell = fields[6];
  take(std::move(person), number, fields[2], fields[3]);
}

void Adding::add_group_line(std::string_view line, std::size_t number) {
  std::array<std::string_view, 4> fields;
  if (!split_into(line, ':', fields)) {
    problem(number, "has not the four fields of group(5)");
    return;
  }
  Imported group;
  group.is_group = true;
  group.name = fields[0];
  group.members = count_members(fields[3]);
  take(std::move(group), number, fields[2], {});
}

/// An attribute that identity hangs on and that has more than one value; the dn decides for names.
std::string_view several_values(const LdifRecord& record, bool is_group) {
  const std::string_view name = is_group ? "cn" : "uid";
  if (record.count(name) > 1 && record.deciding(name).empty()) return name;
  for (const std::string_view each : {"uidnumber", "gidnumber", "homedirectory", "loginshell"}) {
    if (record.count(each) > 1) return each;
  }
  return {};
}

void Adding::add_ldif(std::string_view text) {
  const auto records = parse_ldif(text);
  if (!records) {
    problem(0, records.error().message);
    return;
  }
  for (const LdifRecord& record : *records) {
    Imported entry;
    entry.is_group = record.is("posixGroup");
    if (!entry.is_group && !record.is("posixAccount")) {
      ++list_.others;
      continue;
    }
    const auto several = several_values(record, entry.is_group);
    if (!several.empty()) {
      problem(record.line, "has several values of " + std::string(several) +
                               ", and its dn does not say which counts");
      continue;
    }
    if (entry.is_group) {
      entry.name = record.deciding("cn");
      entry.members =
          record.count("memberuid") + record.count("member") + record.count("uniquemember");
      take(std::move(entry), record.line, record.first("gidnumber"), {});
      continue;
    }
    entry.name = record.deciding("uid");
    entry.gecos = record.first(record.first("gecos").empty() ? "cn" : "gecos");
    entry.gecos = entry.gecos.substr(0, entry.gecos.find(','));
    entry.home = record.first("homedirectory");
    entry.shell = record.first("loginshell");
    entry.mail = record.first("mail");
    take(std::move(entry), record.line, record.first("uidnumber"), record.first("gidnumber"));
  }
}

constexpr std::array kPersonColumns = std::to_array<std::string_view>(
    {"login", "uid", "gid", "userName", "externalId", "client", "gecos", "home", "shell", "state"});
constexpr std::array kGroupColumns = std::to_array<std::string_view>(
    {"name", "gid", "displayName", "externalId", "client", "members", "state"});

void Adding::add_csv(std::string_view text) {
  const auto rows = parse_csv(text);
  if (!rows) {
    problem(0, rows.error().message);
    return;
  }
  if (rows->empty()) {
    problem(1, "has no header");
    return;
  }
  const CsvRow& header = rows->front();
  const auto has = [&header](std::string_view name) {
    return std::ranges::find(header.fields, name) != header.fields.end();
  };
  const bool is_group = !has("login");
  const std::span<const std::string_view> known =
      is_group ? std::span<const std::string_view>(kGroupColumns) : kPersonColumns;
  for (const std::string_view needed : {is_group ? "name" : "login", is_group ? "gid" : "uid"}) {
    if (has(needed)) continue;
    problem(header.line, "the header has no column " + std::string(needed));
    return;
  }
  for (const std::string& column : header.fields) {
    if (std::ranges::find(known, column) != known.end() &&
        std::ranges::count(header.fields, column) == 1) {
      continue;
    }
    problem(header.line, "the column '" + printable(column) + "' is not known or there twice");
    return;
  }
  for (const CsvRow& row : std::span(*rows).subspan(1)) add_csv_row(row, header.fields, is_group);
}

void Adding::add_csv_row(const CsvRow& row, const std::vector<std::string>& header, bool is_group) {
  if (row.fields.size() != header.size()) {
    problem(row.line, std::to_string(row.fields.size()) + " fields, and the header has " +
                          std::to_string(header.size()));
    return;
  }
  const auto given = [&](std::string_view column) -> std::optional<std::string> {
    const auto at = std::ranges::find(header, column);
    if (at == header.end()) return std::nullopt;
    return row.fields[static_cast<std::size_t>(at - header.begin())];
  };
  const auto value = [&given](std::string_view column) { return given(column).value_or(""); };
  Imported entry;
  entry.is_group = is_group;
  entry.name = value(is_group ? "name" : "login");
  entry.user_name = given(is_group ? "displayName" : "userName");
  entry.external_id = value("externalId");
  entry.client = value("client");
  entry.gecos = value("gecos");
  entry.home = value("home");
  entry.shell = value("shell");
  entry.members = count_members(value("members"));
  const std::string state = value("state");
  if (!state.empty() && state != "active" && state != "locked" && state != "reserved" &&
      state != "deleted") {
    problem(row.line, "the state is not active, locked, reserved or deleted");
    return;
  }
  entry.deleted = state == "deleted";
  const std::string number = value(is_group ? "gid" : "uid");
  const std::string gid = value("gid");
  take(std::move(entry), row.line, number, gid.empty() ? number : gid);
}

/// What an entry waits for from now on.
Result<void> settle(Imported& entry, const ImportOptions& options, ImportList& list) {
  if (entry.client.empty()) entry.client = options.client;
  if (entry.deleted) {
    entry.user_name = "";
    entry.external_id = entry.client = "";
    return {};
  }
  if (!options.match_external_id) entry.external_id.clear();
  if (entry.is_group) {
    const bool by_external_id = !options.match_user_name && !entry.external_id.empty();
    if (by_external_id) entry.user_name = "";
    if (!entry.user_name) entry.user_name = entry.name;
    return {};
  }
  if (!options.match_user_name) {
    entry.user_name = "";
  } else if (!entry.user_name) {
    if (entry.mail.empty() && options.user_name.contains("{mail}")) {
      ++list.problem_count;
      if (list.problems.size() < kImportProblemsMax) {
        list.problems.push_back(
            {entry.file, entry.line, "has no mail, which the template of userNames asks for"});
      }
    }
    std::string text = replace_all(options.user_name, "{login}", entry.name);
    text = replace_all(std::move(text), "{uid}", std::to_string(entry.number));
    entry.user_name = replace_all(std::move(text), "{mail}", entry.mail);
  }
  return {};
}

}  // namespace

std::string ImportList::place(std::size_t file, std::size_t line) const {
  return files[file] + (line == 0 ? "" : ":" + std::to_string(line));
}

void add_import_text(ImportList& list, ImportFormat format, std::string name, std::string_view text,
                     bool is_group_file, const ImportOptions& options) {
  list.files.push_back(std::move(name));
  Adding(list, options).add(format, text, is_group_file);
}

Result<void> finish_import(ImportList& list, const ImportOptions& options) {
  if (!options.user_name.contains("{login}") && !options.user_name.contains("{uid}") &&
      !options.user_name.contains("{mail}")) {
    return fail(Code::kInvalidArgument,
                "a template of userNames holds {login}, {uid} or {mail}; else all would wait for "
                "one");
  }
  std::unordered_map<std::uint32_t, std::string_view> private_groups;
  for (const Imported& entry : list.entries) {
    if (!entry.is_group && entry.gid == entry.number) private_groups.emplace(entry.gid, entry.name);
  }
  // By positions: the names that the table looks at must not move.
  std::vector<bool> is_private;
  for (const Imported& entry : list.entries) {
    const auto found = private_groups.find(entry.number);
    is_private.push_back(entry.is_group && found != private_groups.end() &&
                         found->second == entry.name);
  }
  std::vector<Imported> kept;
  for (const bool groups : {true, false}) {
    for (std::size_t i = 0; i < list.entries.size(); ++i) {
      if (list.entries[i].is_group != groups) continue;
      if (is_private[i]) {
        ++list.private_groups;
      } else {
        kept.push_back(std::move(list.entries[i]));
      }
    }
  }
  list.entries = std::move(kept);
  for (Imported& entry : list.entries) RETURN_IF_ERROR(settle(entry, options, list));
  return {};
}

std::vector<ListClash> clashes_within(const ImportList& list) {
  std::vector<ListClash> clashes;
  posix::Claims claims;
  for (std::size_t i = 0; i < list.entries.size(); ++i) {
    const Imported& entry = list.entries[i];
    const auto note = [&](std::string_view what, std::string reason,
                          std::optional<std::size_t> owner) {
      if (owner) clashes.push_back({i, *owner, what, std::move(reason)});
    };
    note("name", "the name comes twice", claims.name(entry.name, i));
    note("id", "the id comes twice", claims.number(entry.number, i));
    // Paths that are none are the hub's to refuse.
    std::string home = entry.home;
    while (home.size() > 1 && home.ends_with('/')) home.pop_back();
    if (home.size() > 1 && home.starts_with('/')) {
      note("home", home + " is another's home, lies inside one or holds one", claims.home(home, i));
    }
    const std::string kind = entry.is_group ? "g" : "u";
    const std::string user_name = entry.user_name.value_or("");
    if (const auto key = case_key(user_name); key && !key->empty()) {
      note("match", user_name + " comes twice", claims.key(kind + "n" + *key, i));
    }
    if (!entry.external_id.empty()) {
      note("match", "externalId " + entry.external_id + " comes twice",
           claims.external_id(kind + entry.external_id, entry.client, i));
    }
  }
  return clashes;
}

}  // namespace roster::sync
