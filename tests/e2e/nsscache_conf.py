"""The nsscache.conf that the guides for SUNK with a foreign directory print."""

URN = "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser"
TEXT = """[DEFAULT]
source = scim
cache = files
maps = passwd, shadow, group, sshkey
timestamp_dir = {stamps}
lockfile = {stamps}/lock
files_dir = {files}
files_cache_filename_suffix = cache
scim_base_url = "{url}"
scim_retry_max = 2
scim_retry_delay = 1
{more}
[passwd]
scim_path_username = {urn}/sunkPosixUsername
scim_path_uid = {urn}/sunkPosixUserId
scim_path_gid = {urn}/sunkPosixGroupId
scim_path_home_directory = {urn}/sunkPreferredHomeDirectory
scim_path_login_shell = {urn}/sunkLoginShell
scim_users_parameters = attributes={urn}
[shadow]
scim_path_username = {urn}/sunkPosixUsername
scim_users_parameters = attributes={urn}
[group]
scim_path_gid = sunkPosixGroupId
scim_path_groupname = sunkPosixGroupName
scim_path_username = members/sunkPosixUsername
scim_groups_parameters = excludeInactiveUsers=true
[sshkey]
scim_path_username = {urn}/sunkPosixUsername
scim_path_ssh_keys = {urn}/sunkSshKeys
scim_users_parameters = attributes={urn}
"""


def nsscache_conf(url, files, stamps, more=""):
    """`more`: lines for [DEFAULT]."""
    return TEXT.format(url=url, files=files, stamps=stamps, urn=URN, more=more)
