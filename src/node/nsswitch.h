#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "node/insertion.h"

namespace roster::node {

/// The source's name in nsswitch.conf(5), after libnss_roster.so.2.
inline constexpr std::string_view kNssSource = "roster";

/// One source of a line with what follows it, e.g. {"files", "[SUCCESS=merge]"}.
struct NssSource {
  std::string name;
  std::string actions;  // as written, without space around; empty: none
};

/// The sources of `database` in the order glibc asks them; nothing when there is no such line.
/// kFailedPrecondition for what glibc's versions read differently: two lines of one database, or no
/// colon right after the name.
Result<std::optional<std::vector<NssSource>>> nss_sources(std::string_view text,
                                                          std::string_view database);

/// Whether a lookup that these sources do not know ends before `index`: what stands there is never
/// asked for people of the hub.
bool ends_before(std::span<const NssSource> sources, std::size_t index);

/// Puts the source into passwd, group and shadow, and into initgroups when that line exists: right
/// behind the node's own accounts (files, compat, db, altfiles), in front of caches and directories
/// (cache, sss, ldap, systemd, ...), never twice. A pair that is merged ([SUCCESS=merge]) stays
/// together. A database without a line gets one. All other bytes stay. kFailedPrecondition as
/// nss_sources, and when an action such as [NOTFOUND=return] would hide the source.
Result<Edited> add_nss_source(std::string_view text);

/// Takes out what was inserted, wherever the operator has moved it in its line; what is not there
/// any more is passed over.
std::string remove_nss_source(std::string_view text, std::span<const Insertion> insertions);

}  // namespace roster::node
