#pragma once

#include "mirror/roll.h"
#include "mirror/settings.h"
#include "nsscache/text_map.h"

namespace roster::mirror {

/// The lines of a map, in the order of the server. Somebody who is not active is locked: a shell
/// that ends at once, an expired shadow entry, no keys.
///   passwd  name:x:uid:gid:gecos:home:shell
///   group   name:x:gid:member,member
///   shadow  name:*:lstchg:min:max:warn:inact:expire:flag
///   sshkey  name:['key', 'key'], or a line name:key for each key; name: without keys
Result<void> write_map(const Settings& settings, const Roll& roll, Map map, nsscache::TextMap& out);

}  // namespace roster::mirror
