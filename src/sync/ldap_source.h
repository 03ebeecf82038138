#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "sync/ldap_connection.h"
#include "sync/source.h"
#include "sync/surroundings.h"

namespace roster::sync {

/// What of an LDAP directory is people and groups. Attributes compare without case. An empty name
/// of one that is not needed means that it is not asked for and stays as it is at the destination.
struct LdapOptions {
  LdapServer server = {};

  std::string people_base = {};
  std::string people_filter = "(objectClass=posixAccount)";
  std::string groups_base = {};  // empty: no groups
  std::string groups_filter = "(objectClass=posixGroup)";

  /// What is never given to somebody else; binary ones, such as objectGUID, become hex.
  std::string key = "entryUUID";
  std::string group_key = "entryUUID";
  std::string user_name = "uid";
  std::string group_name = "cn";
  std::string display_name = "cn";
  std::string given_name = "givenName";
  std::string family_name = "sn";
  std::string email = "mail";
  std::string home = "homeDirectory";
  std::string shell = "loginShell";
  std::string gid_number = "gidNumber";  // of the primary group; empty: it has no members by that
  std::string ssh_keys = {};             // "sshPublicKey" (openssh-lpk)

  /// Members by user name, and by DN, groups within groups included. ldap_defaults() fills them.
  std::string member_uid = {};
  std::vector<std::string> member = {};

  /// What makes somebody inactive, each by its own rule. Who has none of them is active. One that
  /// nobody at all has may be hidden from the client: then Intake::hide_locks() is told, unless
  /// `active_filter` shows who is inactive.
  ///   shadowExpire          a day that has come (RFC 2307)
  ///   pwdAccountLockedTime  "000001010000Z": locked by hand, not by wrong passwords (ppolicy)
  ///   nsAccountLock         "true" (389 Directory Server, FreeIPA)
  ///   userAccountControl    bit 0x2 (Active Directory)
  std::vector<std::string> inactive = {"shadowExpire"};
  /// Who does not match it is inactive; when everybody does, hide_locks() is told. Empty: not
  /// asked.
  std::string active_filter = {};
  /// 0..100: when fewer of all people than that match it, it is an error, not a directory where
  /// nearly everybody is locked.
  std::int64_t active_percent_min = 50;
};

/// Options for a schema: "rfc2307" (memberUid) or "rfc2307bis" (member and uniqueMember).
/// kInvalidArgument for another.
Result<LdapOptions> ldap_defaults(const std::string& schema);

/// People and groups of an LDAP directory.
///
/// Members are those of a group's own list, of groups within it, and everybody whose primary group
/// it is. A group that has the name of a person and is their primary group is their private one
/// and not told. An entry that has no key may be anybody's; one that cannot be read otherwise is
/// kept, unless what is known of it says that it is inactive. An attribute that nobody at all has
/// is not told of anybody: it is more likely hidden than gone.
///
/// A user name that several entries have is nobody's: groups that list it are kept. So are groups
/// that somebody is in through more others than posix::effective_groups() follows.
///
/// An error means that what came is not all: limits of the server, lost connections, nobody found,
/// no group found, groups of which none lists a member (another schema, or hidden), members that
/// come in ranges (Active Directory, groups of more than 1,500).
///
/// Memory: some 1.2 kB a person besides the keys, and 150 bytes a membership.
Result<std::unique_ptr<Source>> open_ldap(LdapOptions options, Surroundings surroundings);

}  // namespace roster::sync
