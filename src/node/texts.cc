#include "node/texts.h"

#include <fnmatch.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/unicode.h"

namespace roster::node {
namespace {

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size() - 1);
    out.push_back(text.substr(0, end + 1));
    text.remove_prefix(end + 1);
  }
  return out;
}

/// Words of a line of sshd_config(5), which may be quoted; "keyword=value" is split, too.
std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> out;
  std::string word;
  bool quoted = false;
  for (const char c : line) {
    if (c == '"') {
      quoted = !quoted;
    } else if (!quoted &&
               (c == ' ' || c == '\t' || c == '\r' || c == '\n' || (c == '=' && out.empty()))) {
      if (!word.empty()) out.push_back(std::move(word));
      word.clear();
    } else {
      word += c;
    }
  }
  if (!word.empty()) out.push_back(std::move(word));
  return out;
}

void show(std::string& out, char sign, std::string_view line) {
  out += sign;
  for (const char c : line) {
    const auto byte = static_cast<unsigned char>(c);
    out += (byte < 0x20 && c != '\t' && c != '\n') || byte == 0x7F ? '?' : c;
  }
  if (!line.ends_with('\n')) out += "\n\\ No newline at end of file\n";
}

/// Everything from the first line that differs to the last: edits here are of few places. Within it
/// a longest common subsequence keeps what stayed.
struct Hunk {
  std::vector<std::string_view> before, after;
  std::size_t head = 0;  // equal lines in front of it
  std::size_t tail = 0;  // and behind it

  std::size_t removed() const { return before.size() - head - tail; }
  std::size_t added() const { return after.size() - head - tail; }

  void show_middle(std::string& out) const {
    const std::size_t m = removed();
    const std::size_t n = added();
    constexpr std::size_t kCellsMax = 4'000'000;
    const bool small = m * n <= kCellsMax;  // else all of it is shown as replaced
    std::vector<std::uint32_t> longest(small ? (m + 1) * (n + 1) : 0);
    const auto cell = [&longest, n](std::size_t i, std::size_t j) -> std::uint32_t& {
      return longest[i * (n + 1) + j];
    };
    for (std::size_t i = m; small && i-- > 0;) {
      for (std::size_t j = n; j-- > 0;) {
        cell(i, j) = before[head + i] == after[head + j] ? cell(i + 1, j + 1) + 1
                                                         : std::max(cell(i + 1, j), cell(i, j + 1));
      }
    }
    for (std::size_t i = 0, j = 0; i < m || j < n;) {
      if (small && i < m && j < n && before[head + i] == after[head + j]) {
        show(out, ' ', before[head + i++]);
        ++j;
      } else if (i < m && (!small || j == n || cell(i + 1, j) >= cell(i, j + 1))) {
        show(out, '-', before[head + i++]);
      } else {
        show(out, '+', after[head + j++]);
      }
    }
  }
};

}  // namespace

std::string sshd_text(const Settings& settings, const Paths& paths) {
  std::string out(kOwnHeader);
  out +=
      "# Keys of Roster's people, from this node's cache. The helper refuses a login name whose "
      "uid is not\n# the record's: a local account of the same name gets no keys.\n";
  out += "AuthorizedKeysCommand " + paths.key_helper.string() + " %u %U %f\n";
  out += "AuthorizedKeysCommandUser " + paths.keys_user + "\n";
  if (!settings.home_keys) {
    out +=
        "# Break-glass keys, root's included, are files of root in a directory of root; "
        "forgotten keys in home\n# directories open nothing.\n";
    out += "AuthorizedKeysFile " + paths.kept_keys.string() + "/%u\n";
  }
  return out;
}

std::string sudoers_text(const Settings& settings) {
  std::string out(kOwnHeader);
  out += "# By number, which the hub never gives to another group; names are only for show.\n";
  for (const std::int64_t gid : settings.sudo_gids) {
    out += "%#" + std::to_string(gid) + " ALL=(ALL:ALL) NOPASSWD: ALL\n";
  }
  return out;
}

std::string pam_text(const Settings& settings) {
  return "session\t[success=2 default=ignore]\tpam_succeed_if.so quiet uid < 1000\n"
         "session\t[success=1 default=ignore]\tpam_succeed_if.so quiet uid eq 65534\n"
         "session\toptional\t\t\tpam_mkhomedir.so umask=" +
         settings.home_umask + "\n";
}

bool includes(std::string_view sshd_config, const std::filesystem::path& snippet) {
  for (const std::string_view line : lines_of(sshd_config)) {
    const std::vector<std::string> words = words_of(line);
    if (words.empty() || words.front().starts_with('#')) continue;
    const std::string keyword = ascii_lower(words.front());
    if (keyword == "match") return false;  // until the end of the file or the next one
    if (keyword != "include") continue;
    for (std::size_t i = 1; i < words.size(); ++i) {
      if (words[i].starts_with('#')) break;
      const std::string pattern = words[i].starts_with('/') ? words[i] : "/etc/ssh/" + words[i];
      if (::fnmatch(pattern.c_str(), snippet.c_str(), FNM_PATHNAME | FNM_PERIOD) == 0) return true;
    }
  }
  return false;
}

std::optional<std::string> effective(std::string_view sshd_output, std::string_view keyword) {
  for (std::string_view line : lines_of(sshd_output)) {
    if (line.ends_with('\n')) line.remove_suffix(1);
    if (line.size() > keyword.size() && line.starts_with(keyword) && line[keyword.size()] == ' ') {
      return std::string(line.substr(keyword.size() + 1));
    }
  }
  return std::nullopt;
}

std::string unified_diff(std::string_view before, std::string_view after, std::string_view a,
                         std::string_view b) {
  if (before == after) return {};
  Hunk hunk{.before = lines_of(before), .after = lines_of(after)};
  while (hunk.head < hunk.before.size() && hunk.head < hunk.after.size() &&
         hunk.before[hunk.head] == hunk.after[hunk.head]) {
    ++hunk.head;
  }
  while (hunk.removed() > 0 && hunk.added() > 0 &&
         hunk.before[hunk.head + hunk.removed() - 1] == hunk.after[hunk.head + hunk.added() - 1]) {
    ++hunk.tail;
  }
  constexpr std::size_t kContext = 3;
  const std::size_t first = hunk.head - std::min(hunk.head, kContext);
  const std::size_t context = hunk.head - first + std::min(hunk.tail, kContext);
  const auto range = [first](std::size_t count) {
    return std::to_string(count == 0 ? first : first + 1) + "," + std::to_string(count);
  };
  std::string out = "--- " + std::string(a) + "\n+++ " + std::string(b) + "\n@@ -" +
                    range(context + hunk.removed()) + " +" + range(context + hunk.added()) +
                    " @@\n";
  for (std::size_t i = first; i < hunk.head; ++i) show(out, ' ', hunk.before[i]);
  hunk.show_middle(out);
  for (std::size_t i = 0; i < std::min(hunk.tail, kContext); ++i) {
    show(out, ' ', hunk.before[hunk.head + hunk.removed() + i]);
  }
  return out;
}

}  // namespace roster::node
