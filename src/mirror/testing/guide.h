#pragma once

#include <string_view>

namespace roster::mirror::testing {

#define ROSTER_COREWEAVE_USER \
  "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser"

/// As the guides for SUNK with a foreign directory print it, with an example's host and paths.
inline constexpr std::string_view kGuideConf = R"([DEFAULT]
source = scim
cache = files
maps = passwd, shadow, group, sshkey
timestamp_dir = /var/lib/nsscache
files_dir = /etc/nsscache
files_cache_filename_suffix = cache
scim_base_url = "https://activate.example.org/api/organizations/lab/scim/v2"
scim_users_endpoint = Users
scim_groups_endpoint = Groups
scim_timeout = 60
scim_retry_max = 3
scim_retry_delay = 5
scim_verify_ssl = True
scim_default_shell = /bin/bash

[passwd]
scim_path_username = )" ROSTER_COREWEAVE_USER R"(/sunkPosixUsername
scim_path_uid = )" ROSTER_COREWEAVE_USER R"(/sunkPosixUserId
scim_path_gid = )" ROSTER_COREWEAVE_USER R"(/sunkPosixGroupId
scim_path_home_directory = )" ROSTER_COREWEAVE_USER R"(/sunkPreferredHomeDirectory
scim_path_login_shell = )" ROSTER_COREWEAVE_USER R"(/sunkLoginShell
scim_override_home_directory = /mnt/home/%%u
scim_users_parameters = attributes=)" ROSTER_COREWEAVE_USER R"(

[shadow]
scim_path_username = )" ROSTER_COREWEAVE_USER R"(/sunkPosixUsername
scim_users_parameters = attributes=)" ROSTER_COREWEAVE_USER R"(
scim_shadow_default_max = 99999

[group]
scim_path_gid = sunkPosixGroupId
scim_path_groupname = sunkPosixGroupName
scim_path_username = members/sunkPosixUsername
scim_groups_parameters = excludeInactiveUsers=true

[sshkey]
scim_path_username = )" ROSTER_COREWEAVE_USER R"(/sunkPosixUsername
scim_path_ssh_keys = )" ROSTER_COREWEAVE_USER R"(/sunkSshKeys
scim_users_parameters = attributes=)" ROSTER_COREWEAVE_USER R"(
)";

#undef ROSTER_COREWEAVE_USER

}  // namespace roster::mirror::testing
