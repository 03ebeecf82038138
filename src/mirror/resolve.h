#pragma once

#include "mirror/identity_memory.h"
#include "mirror/roll.h"
#include "mirror/settings.h"
#include "nsscache/local_rules.h"

namespace roster::mirror {

/// Who of a reading gets into the maps. Of a resource that came twice, the later one. Takes out of
/// `roll`, each with a Refusal: reserved names that are not admitted; names and ids that two
/// resources share and the memory gives to neither; what the memory gives to somebody else; whom an
/// account of this node masks; members who are not in the maps. Inactive people are left out or
/// locked as the settings say, and whom the node's deny file names is locked: Person::active is
/// false for those who are left.
void resolve(const Settings& settings, const nsscache::RuleSet& local, IdentityMemory& memory,
             Roll& roll);

}  // namespace roster::mirror
