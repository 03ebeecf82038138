#include <algorithm>
#include <array>

#include "base/unicode.h"
#include "crypto/x509.h"
#include "node/doctor.h"
#include "node/nsswitch.h"

namespace roster::node {
namespace {

using std::chrono::milliseconds;

constexpr std::int64_t kContactOldS = 900;
constexpr std::int64_t kCredentialSoonMs = 7LL * 24 * 3600 * 1000;
constexpr std::int64_t kAuthoritySoonMs = 90LL * 24 * 3600 * 1000;
constexpr std::size_t kNamesShown = 10;

/// A member of the agent's status as text.
std::string text_of(const json::object& o, std::string_view name) {
  const json::value* found = json::find(o, name);
  if (found == nullptr || found->is_null()) return {};
  if (found->is_string()) return std::string(json::view(found->get_string()));
  return json::serialize(*found);
}

Finding judge_exchange(const json::object& status) {
  const std::string phase = text_of(status, "phase");
  const std::string hub = text_of(status, "hub");
  if (phase == "following") {
    return {"agent", Health::kGood, "follows " + hub, ""};
  }
  const json::object* error = json::find_object(status, "error");
  const std::string why = error == nullptr ? "" : ": " + text_of(*error, "message");
  if (phase == "refused") {
    return {"agent", Health::kBad, "the hub's data or this node's credential is refused" + why,
            "do what the message says; a node that was removed at the hub needs a new join token"};
  }
  return {"agent", Health::kBad, phase + " " + hub + why,
          "see that the hub runs and that this node reaches it: roster-agent status"};
}

Finding judge_generation(const json::object& cache) {
  const auto generation = json::find_int(cache, "generation").value_or(0);
  if (generation == 0) {
    return {"generation", Health::kBad, "nobody is published on this node yet",
            "roster-agent wait --timeout 30s, then roster-agent status"};
  }
  std::string detail = "generation " + std::to_string(generation) + ", " + text_of(cache, "users") +
                       " people, " + text_of(cache, "groups") + " groups";
  const auto age = json::find_int(cache, "contact_age_s");
  if (!age) {
    return {"generation", Health::kBad, detail + ", never confirmed by the hub",
            "see that this node reaches the hub: roster-agent status"};
  }
  detail += ", confirmed " + std::to_string(*age) + " s ago";
  if (*age > kContactOldS) {
    return {"generation", Health::kBad, detail,
            "see that this node reaches the hub: until then nobody arrives, and lockouts come by "
            "roster-agent deny only"};
  }
  return {"generation", Health::kGood, detail, ""};
}

Finding judge_masked(const json::object& cache) {
  const std::int64_t count = json::find_int(cache, "masked_users").value_or(0) +
                             json::find_int(cache, "masked_groups").value_or(0);
  if (count == 0) return {"masked", Health::kGood, "no record of the hub is hidden here", ""};
  std::string names;
  if (const json::array* masked = json::find_array(cache, "masked")) {
    for (std::size_t i = 0; i < std::min(masked->size(), kNamesShown); ++i) {
      if (!(*masked)[i].is_string()) continue;
      names += (names.empty() ? "" : ", ") + std::string(json::view((*masked)[i].get_string()));
    }
  }
  return {
      "masked", Health::kNotice,
      std::to_string(count) + " people and groups are hidden by accounts of this node: " + names,
      "remove the local account (userdel, groupdel) if it is the same person, or rename one of "
      "the two: roster user rename"};
}

Finding judge_credential(const json::object& status, Timestamp now) {
  const auto expires = parse_rfc3339(text_of(status, "credential_expires"));
  if (!expires) {
    return {"credential", Health::kUnknown, "the agent has none yet",
            "see that it can join: roster-agent status"};
  }
  const std::int64_t left_ms = to_millis(*expires) - to_millis(now);
  const std::string detail = "this node's credential ends " + format_rfc3339(*expires);
  if (left_ms <= 0) {
    return {"credential", Health::kBad, detail, "give the node a new join token"};
  }
  if (left_ms < kCredentialSoonMs) {
    return {"credential", Health::kBad, detail + ", and was not renewed at half of its life",
            "see why the hub does not renew it: roster-agent status"};
  }
  return {"credential", Health::kGood, detail, ""};
}

/// Words of a line up to a comment.
std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> out;
  line = line.substr(0, line.find('#'));
  for (std::size_t at = 0; at < line.size();) {
    const std::size_t begin = line.find_first_not_of(" \t\r", at);
    if (begin == std::string_view::npos) break;
    const std::size_t end = std::min(line.find_first_of(" \t\r", begin), line.size());
    out.emplace_back(line.substr(begin, end - begin));
    at = end;
  }
  return out;
}

template <typename Visit>
void each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    visit(words_of(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

Finding judge_database(std::string_view text, std::string_view database) {
  const std::string name(database);
  const auto sources = nss_sources(text, database);
  if (!sources) return {"nsswitch", Health::kBad, sources.error().message, "correct the line"};
  if (!*sources) {
    return {"nsswitch", Health::kBad, "there is no line of " + name, "roster-agent setup --apply"};
  }
  const auto& list = **sources;
  const auto ours = std::ranges::find(list, kNssSource, &NssSource::name);
  if (ours == list.end()) {
    return {"nsswitch", Health::kBad, name + " does not ask roster", "roster-agent setup --apply"};
  }
  const auto place = static_cast<std::size_t>(ours - list.begin());
  if (ends_before(list, place)) {
    return {"nsswitch", Health::kBad,
            "an action in the line of " + name + " ends every lookup before roster is asked",
            "remove the action, such as [NOTFOUND=return]"};
  }
  const auto files = std::ranges::find(list, "files", &NssSource::name);
  if (files != list.end() && files > ours) {
    return {"nsswitch", Health::kBad, name + " asks roster before the node's own files",
            "put roster behind files"};
  }
  for (const std::string_view other : {"cache", "sss", "ldap", "winbind", "nis"}) {
    const auto found = std::ranges::find(list, other, &NssSource::name);
    if (found < ours) {
      return {"nsswitch", Health::kNotice,
              name + " asks " + std::string(other) +
                  " before roster: whom both know, it answers for, also when they have left",
              "put roster in front of it"};
    }
  }
  return {"nsswitch", Health::kGood, name + " asks roster", ""};
}

}  // namespace

std::string_view health_name(Health health) {
  switch (health) {
    case Health::kGood:
      return "ok";
    case Health::kNotice:
      return "notice";
    case Health::kBad:
      return "bad";
    case Health::kUnknown:
      return "unknown";
    case Health::kOff:
      return "off";
  }
  return "";
}

bool is_healthy(const std::vector<Finding>& findings) {
  return std::ranges::none_of(findings, [](const Finding& finding) {
    return finding.health == Health::kBad || finding.health == Health::kUnknown;
  });
}

std::vector<Finding> judge_status(const json::object& status, Timestamp now) {
  std::vector<Finding> out;
  out.push_back(judge_exchange(status));
  for (const std::string_view kind : {"disk_problems", "rule_problems"}) {
    const json::array* problems = json::find_array(status, kind);
    if (problems == nullptr) continue;
    for (const json::value& problem : *problems) {
      if (!problem.is_string()) continue;
      out.push_back({"agent", Health::kBad, std::string(json::view(problem.get_string())),
                     kind == "disk_problems" ? "make room on that disk, or make it writable"
                                             : "correct the file: the agent keeps what it last "
                                               "understood of it"});
    }
  }
  const json::object* cache = json::find_object(status, "cache");
  if (cache == nullptr) {
    out.push_back({"generation", Health::kUnknown, "the agent's status does not tell", ""});
    return out;
  }
  out.push_back(judge_generation(*cache));
  out.push_back(judge_masked(*cache));
  out.push_back(judge_credential(status, now));
  return out;
}

std::vector<Finding> judge_nsswitch(std::string_view text) {
  std::vector<Finding> out;
  for (const std::string_view database : {"passwd", "group", "shadow"}) {
    out.push_back(judge_database(text, database));
  }
  const auto initgroups = nss_sources(text, "initgroups");
  if (!initgroups || *initgroups) out.push_back(judge_database(text, "initgroups"));
  return out;
}

std::vector<std::string> nscd_caches(std::string_view text) {
  std::vector<std::string> out;
  each_line(text, [&out](const std::vector<std::string>& words) {
    if (words.size() < 3 || words[0] != "enable-cache") return;
    if (words[1] != "passwd" && words[1] != "group") return;
    std::erase(out, words[1]);  // the last line counts
    if (ascii_lower(words[2]) == "yes") out.push_back(words[1]);
  });
  return out;
}

bool makes_homes(std::string_view pam) {
  bool found = false;
  each_line(pam, [&found](const std::vector<std::string>& words) {
    if (words.empty() || (words.front() != "session" && words.front() != "-session")) return;
    found |= std::ranges::any_of(words, [](const std::string& word) {
      return word.ends_with("pam_mkhomedir.so") || word.ends_with("pam_oddjob_mkhomedir.so");
    });
  });
  return found;
}

Finding judge_authority(std::string_view pem, Timestamp now) {
  const auto info = crypto::certificate_info(pem);
  if (!info) {
    return {"certificate", Health::kBad, info.error().message,
            "give ca_file a PEM file, or let the node join anew"};
  }
  const std::int64_t left_ms = to_millis(info->not_after) - to_millis(now);
  std::string detail = "of " + info->subject + " ends " + format_rfc3339(info->not_after);
  if (left_ms < kAuthoritySoonMs) {
    return {"certificate", left_ms > 0 ? Health::kNotice : Health::kBad, std::move(detail),
            "give the hub a new authority and let this node join anew"};
  }
  return {"certificate", Health::kGood, std::move(detail), ""};
}

Finding judge_clock(Timestamp here, Timestamp hub) {
  const std::int64_t ahead_ms = to_millis(here) - to_millis(hub);
  const std::int64_t off_s = (ahead_ms < 0 ? -ahead_ms : ahead_ms) / 1000;
  const std::string detail = off_s <= 2 ? "as the hub's"
                                        : std::to_string(off_s) + " s " +
                                              (ahead_ms > 0 ? "ahead of" : "behind") + " the hub's";
  if (off_s > 60) {
    return {"clock", Health::kBad, detail,
            "set the clock by NTP (timedatectl set-ntp true): keys and people end by time"};
  }
  return {"clock", off_s > 5 ? Health::kNotice : Health::kGood, detail,
          off_s > 5 ? "look after NTP: timedatectl" : ""};
}

}  // namespace roster::node
