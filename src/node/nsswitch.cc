#include "node/nsswitch.h"

#include <algorithm>
#include <array>

#include "base/unicode.h"

namespace roster::node {
namespace {

constexpr std::array<std::string_view, 4> kLocalSources = {"files", "compat", "db", "altfiles"};
constexpr std::array<std::string_view, 3> kDatabases = {"passwd", "group", "shadow"};
constexpr std::string_view kInitgroups = "initgroups";

/// isspace(3) of the C locale, as glibc's parser.
bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f' || c == '\n';
}

/// Where a source and its actions stand in the whole text.
struct Placed {
  NssSource source;
  std::size_t begin;
  std::size_t end;  // behind its last action
};

struct Line {
  std::size_t services;  // behind the colon
  std::size_t end;       // of what counts: before a comment or the newline
  std::vector<Placed> sources;
};

/// Each "[" has its "]" before the next one.
bool has_whole_brackets(std::string_view text) {
  bool open = false;
  for (const char c : text) {
    if (c != '[' && c != ']') continue;
    if (open == (c == '[')) return false;
    open = !open;
  }
  return !open;
}

std::vector<Placed> parse_sources(std::string_view text, std::size_t at, std::size_t end) {
  std::vector<Placed> out;
  while (true) {
    while (at < end && is_space(text[at])) ++at;
    if (at >= end) return out;
    if (text[at] == '[') {
      const std::size_t close = text.find(']', at);
      if (!out.empty()) {
        Placed& last = out.back();
        if (!last.source.actions.empty()) last.source.actions += ' ';
        last.source.actions += text.substr(at, close + 1 - at);
        last.end = close + 1;
      }
      at = close + 1;
      continue;
    }
    const std::size_t begin = at;
    while (at < end && !is_space(text[at]) && text[at] != '[') ++at;
    out.push_back({.source = {.name = std::string(text.substr(begin, at - begin)), .actions = {}},
                   .begin = begin,
                   .end = at});
  }
}

Result<std::optional<Line>> find_line(std::string_view text, std::string_view database) {
  std::optional<Line> found;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t newline = std::min(text.find('\n', at), text.size());
    const std::size_t end = std::min(std::min(text.find('#', at), newline), text.size());
    std::size_t name = at;
    while (name < end && is_space(text[name])) ++name;
    std::size_t stop = name;
    while (stop < end && !is_space(text[stop]) && text[stop] != ':') ++stop;
    if (text.substr(name, stop - name) == database) {
      const std::string which(database);
      if (stop >= end || text[stop] != ':') {
        return fail(Code::kFailedPrecondition, "the line of " + which + " is not \"" + which +
                                                   ": SOURCES\": correct it first");
      }
      const std::string_view services = text.substr(stop + 1, end - stop - 1);
      if (!has_whole_brackets(services)) {
        return fail(Code::kFailedPrecondition,
                    "the line of " + which + " has brackets without partner: correct it first");
      }
      if (found) {
        return fail(Code::kFailedPrecondition,
                    "there are two lines of " + which + ": remove one first");
      }
      found = Line{.services = stop + 1, .end = end, .sources = {}};
      found->sources = parse_sources(text, stop + 1, end);
    }
    at = newline + 1;
  }
  return found;
}

bool is_local(const NssSource& source) {
  return std::ranges::find(kLocalSources, source.name) != kLocalSources.end();
}

std::vector<NssSource> names_of(const Line& line) {
  std::vector<NssSource> out;
  for (const Placed& placed : line.sources) out.push_back(placed.source);
  return out;
}

/// Index in front of which the source belongs.
std::size_t place_in(const std::vector<Placed>& sources) {
  // Behind the last local source; without one, behind all.
  std::size_t place = sources.size();
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (is_local(sources[i].source)) place = i + 1;
  }
  while (place > 0 && place < sources.size() &&
         ascii_lower(sources[place - 1].source.actions).find("merge") != std::string::npos) {
    ++place;
  }
  return place;
}

/// In passwd, group and shadow the first source that knows somebody answers. In a line of
/// initgroups that ends the search for further groups, which would take the groups of Roster away
/// from whoever is in a local one, and those of the next source from people of Roster: both go on.
std::string initgroups_piece(const Line& line, std::size_t place) {
  constexpr std::string_view kGoOn = " [SUCCESS=continue]";
  std::string text;
  if (place > 0 && line.sources[place - 1].source.actions.empty()) text += kGoOn;
  text += " " + std::string(kNssSource);
  if (place < line.sources.size()) text += kGoOn;
  return text;
}

Result<void> insert_into(Edited& edited, std::string_view database) {
  ASSIGN_OR_RETURN(const std::optional<Line> line, find_line(edited.text, database));
  if (!line) {
    if (database == kInitgroups) return {};
    std::string text = std::string(database) + ": files " + std::string(kNssSource);
    const bool whole = edited.text.empty() || edited.text.ends_with('\n');
    text = whole ? text + "\n" : "\n" + text;
    edited.text += text;
    edited.insertions.push_back({.database = std::string(database), .text = std::move(text)});
    return {};
  }
  for (const Placed& placed : line->sources) {
    if (placed.source.name == kNssSource) return {};
  }
  const std::size_t place = place_in(line->sources);
  if (ends_before(names_of(*line), place)) {
    return fail(Code::kFailedPrecondition,
                "in the line of " + std::string(database) +
                    " an action such as [NOTFOUND=return] ends every lookup before roster could "
                    "be asked: remove it first");
  }
  const std::size_t at = place > 0 ? line->sources[place - 1].end : line->services;
  std::string piece =
      database == kInitgroups ? initgroups_piece(*line, place) : " " + std::string(kNssSource);
  // "files [SUCCESS=merge]systemd": what comes next must not grow together with the new word.
  if (at < line->end && !is_space(edited.text[at])) piece += ' ';
  edited.text.insert(at, piece);
  edited.insertions.push_back({.database = std::string(database), .text = std::move(piece)});
  return {};
}

/// Removes a whole line that was added; false when it is not there as it was.
bool erase_line(std::string& text, const std::string& inserted) {
  if (inserted.starts_with('\n')) {
    for (std::size_t at = text.find(inserted); at != std::string::npos;
         at = text.find(inserted, at + 1)) {
      const std::size_t end = at + inserted.size();
      if (end == text.size() || text[end] == '\n') {
        text.erase(at, inserted.size());
        return true;
      }
    }
    return false;
  }
  for (std::size_t at = text.find(inserted); at != std::string::npos;
       at = text.find(inserted, at + 1)) {
    if (at == 0 || text[at - 1] == '\n') {
      text.erase(at, inserted.size());
      return true;
    }
  }
  return false;
}

void erase_from_line(std::string& text, const Insertion& insertion) {
  const auto found = find_line(text, insertion.database);
  if (!found || !*found) return;
  const Line& line = **found;
  const auto placed = std::ranges::find(
      line.sources, kNssSource, [](const Placed& p) -> const auto& { return p.source.name; });
  if (placed == line.sources.end()) return;
  // The remembered bytes, where they still stand around the word.
  const std::size_t offset = insertion.text.find(kNssSource);
  if (offset != std::string::npos && placed->begin >= line.services + offset) {
    const std::size_t at = placed->begin - offset;
    if (text.compare(at, insertion.text.size(), insertion.text) == 0 &&
        at + insertion.text.size() <= line.end) {
      text.erase(at, insertion.text.size());
      return;
    }
  }
  // The operator has rewritten the line: the word, and one space beside it.
  std::size_t begin = placed->begin;
  std::size_t end = placed->begin + kNssSource.size();
  if (begin > line.services && is_space(text[begin - 1])) {
    --begin;
  } else if (end < line.end && is_space(text[end])) {
    ++end;
  }
  text.erase(begin, end - begin);
}

}  // namespace

Result<std::optional<std::vector<NssSource>>> nss_sources(std::string_view text,
                                                          std::string_view database) {
  ASSIGN_OR_RETURN(const std::optional<Line> line, find_line(text, database));
  if (!line) return std::optional<std::vector<NssSource>>();
  return std::optional(names_of(*line));
}

bool ends_before(std::span<const NssSource> sources, std::size_t index) {
  for (std::size_t i = 0; i < std::min(index, sources.size()); ++i) {
    const std::string actions = ascii_lower(sources[i].actions);
    // [!SUCCESS=return] and the like include NOTFOUND, too.
    if (actions.find("notfound=return") != std::string::npos &&
        actions.find("!notfound=return") == std::string::npos) {
      return true;
    }
    const std::size_t negated = actions.find('!');
    if (negated != std::string::npos && actions.find("=return", negated) != std::string::npos &&
        actions.compare(negated + 1, 8, "notfound") != 0) {
      return true;
    }
  }
  return false;
}

Result<Edited> add_nss_source(std::string_view text) {
  Edited edited{.text = std::string(text), .insertions = {}};
  for (const std::string_view database : kDatabases) {
    RETURN_IF_ERROR(insert_into(edited, database));
  }
  RETURN_IF_ERROR(insert_into(edited, kInitgroups));
  return edited;
}

std::string remove_nss_source(std::string_view text, std::span<const Insertion> insertions) {
  std::string out(text);
  // In reverse: the last line that was added stands behind the ones before.
  for (auto insertion = insertions.rbegin(); insertion != insertions.rend(); ++insertion) {
    const bool added_line = insertion->text.find(':') != std::string::npos;
    if (added_line && erase_line(out, insertion->text)) continue;
    erase_from_line(out, *insertion);
  }
  return out;
}

}  // namespace roster::node
