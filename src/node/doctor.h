#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"
#include "node/settings.h"

namespace roster::node {

enum class Health {
  kGood,
  kNotice,   // well, and somebody should know
  kBad,      // wrong: `mend` says what to do
  kUnknown,  // could not be checked
  kOff,      // not switched on here
};
/// "ok", "notice", "bad", "unknown", "off".
std::string_view health_name(Health health);

struct Finding {
  std::string check;  // "agent", "nsswitch", ...
  Health health;
  std::string detail;
  std::string mend;  // empty when there is nothing to do
};

struct DoctorOptions {
  std::filesystem::path config = "/etc/roster/agent.toml";
  Paths paths;
  std::filesystem::path nscd_conf = "/etc/nscd.conf";
  std::filesystem::path nscd_socket = "/run/nscd/socket";
  Clock clock;
};

/// Looks at everything that a login needs on this node, and changes nothing. What needs root and is
/// not run by root is kUnknown, never kGood.
std::vector<Finding> examine(const DoctorOptions& options);

/// Everything that is switched on was checked, and nothing is wrong.
bool is_healthy(const std::vector<Finding>& findings);

// What examine is made of, where outside bytes are judged. Pure.

/// Of the running agent's status (docs/agent.md): the exchange with the hub, the generation, disks
/// and local files, masked records, denied people, the credential.
std::vector<Finding> judge_status(const json::object& status, Timestamp now);

/// Of nsswitch.conf: roster in passwd, group and shadow, behind files, and reached.
std::vector<Finding> judge_nsswitch(std::string_view text);

/// Of nscd.conf(5): names of the databases passwd and group that nscd answers for.
std::vector<std::string> nscd_caches(std::string_view text);

/// Whether PAM text makes homes: a session line with pam_mkhomedir.
bool makes_homes(std::string_view pam);

/// The authority (PEM) that this node trusts for the hub.
Finding judge_authority(std::string_view pem, Timestamp now);

/// The clock against the hub's, which has a resolution of a second.
Finding judge_clock(Timestamp here, Timestamp hub);

}  // namespace roster::node
