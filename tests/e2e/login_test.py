"""From an identity provider's POST to a login on a node, with real programs: rosterd over TLS on SQLite,
roster-agent, the NSS module through glibc, and OpenSSH with UsePAM yes and no."""

import grp
import os
import pathlib
import pwd
import sys

import lab as lab_module
from lab import COREWEAVE, POSIX_GROUP, Lab, enter_namespace, run, wait_for

ENTRA_OFF = {"op": "Replace", "path": "active", "value": "False"}
OKTA_OFF = {"op": "replace", "value": {"active": False}}
OKTA_ON = {"op": "replace", "value": {"active": True}}


def resolves(name):
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def groups_of(name):
    return set(run("id", "-nG", name).stdout.split())


def keys_of(name, uid):
    return run("setpriv", "--reuid", "roster-keys", "--regid", "roster-keys", "--clear-groups",
               "/usr/bin/roster-authorized-keys", name, str(uid)).stdout


def check(condition, what):
    if not condition:
        raise AssertionError(what)
    print(f"  ok: {what}")


def arrives(scim, alice_key, alice_public):
    user = scim.create_user("Alice.Example@example.org", [alice_public],
                            name={"givenName": "Alice", "familyName": "Example"})
    seconds = wait_for(lambda: resolves("alice.example"), "alice resolves")
    entry = pwd.getpwnam("alice.example")
    check(entry.pw_uid >= 10000 and entry.pw_gid == entry.pw_uid, f"getent passwd, {seconds:.3f} s")
    check(entry.pw_gecos == "Alice Example" and entry.pw_dir == "/home/alice.example", "gecos, home")
    check(grp.getgrgid(entry.pw_gid).gr_name == "alice.example", "private group")
    check(user[COREWEAVE]["sunkPosixUserId"] == entry.pw_uid, "the answer told the uid")
    return user, entry


def logs_in(lab, name, key):
    done = lab.ssh(name, key, "id -un")
    check(done.returncode == 0 and done.stdout.strip() == name, f"ssh as {name}")


def refused(lab, name, key, why):
    done = lab.ssh(name, key, "id -un")
    check(done.returncode != 0 and name not in done.stdout.split(), f"ssh refused: {why}")


def joins_group(scim, user):
    group = scim.call("POST", "/Groups", {"schemas": [lab_module.CORE_GROUP],
                                          "displayName": "ML Research", "members": []}, expect=201)[1]
    scim.patch(f"/Groups/{group['id']}",
               {"op": "add", "path": "members", "value": [{"value": user["id"]}]})
    seconds = wait_for(lambda: "mlresearch" in groups_of("alice.example"), "the group shows")
    check(True, f"id shows the group after {seconds:.3f} s: {sorted(groups_of('alice.example'))}")


def locked_out(lab, scim, user, entry, key, public, operation):
    """Each lock alone refuses: no keys, nologin shell, expired account."""
    path = f"/Users/{user['id']}"
    scim.patch(path, operation)
    seconds = wait_for(lambda: pwd.getpwnam("alice.example").pw_shell.endswith("nologin"), "locked")
    check(True, f"locked after {seconds:.3f} s")
    refused(lab, "alice.example", key, "deactivated")
    check(run("id", "-u", "alice.example").stdout.strip() == str(entry.pw_uid), "id -u resolves")
    check(groups_of("alice.example") == {"alice.example"}, "no supplementary groups")
    check(keys_of("alice.example", entry.pw_uid) == "", "no keys")
    # Keys that Roster does not manage: the account must still refuse.
    own = pathlib.Path("/etc/ssh/authorized_keys.d/alice.example")
    own.write_text(public + "\n")
    refused(lab, "alice.example", key, "expired, though a local key file matches")
    check("not available" not in lab.ssh("alice.example", key).stdout, "by expiry, not by the shell")
    shell_only(lab, key)
    own.unlink()
    again = scim.patch(path, OKTA_ON)
    wait_for(lambda: pwd.getpwnam("alice.example").pw_shell == "/bin/bash", "unlocked")
    check(pwd.getpwnam("alice.example").pw_uid == entry.pw_uid, "reactivated with the same uid")
    check(again is None or again["active"] is True, "the answer says active")
    logs_in(lab, "alice.example", key)


def shell_only(lab, key):
    """With key and unexpired account the shell alone must refuse: shadow from files only, no PAM."""
    nsswitch = pathlib.Path("/etc/nsswitch.conf")
    before = nsswitch.read_text()
    nsswitch.write_text(before.replace("shadow: files roster", "shadow: files"))
    lab.stop("sshd")
    lab.start_sshd(use_pam=False)
    done = lab.ssh("alice.example", key, "id -un")
    check(done.returncode != 0 and "not available" in done.stdout + done.stderr,
          "the nologin shell alone refuses")
    nsswitch.write_text(before)
    lab.stop("sshd")
    lab.start_sshd(use_pam=lab.use_pam)


def hide_policy(lab, scim):
    lab.roster("org", "set", "--leaver-policy", "hide")
    bob = scim.create_user("bob")
    wait_for(lambda: resolves("bob"), "bob resolves")
    scim.patch(f"/Users/{bob['id']}", OKTA_OFF)
    wait_for(lambda: not resolves("bob"), "bob vanishes")
    check(run("id", "bob", check=False).returncode != 0, "policy hide: nothing resolves")
    lab.roster("org", "set", "--leaver-policy", "lock")


def local_accounts_win(lab, scim, key, public):
    run("useradd", "--uid", "4242", "--create-home", "--shell", "/bin/bash", "carol")
    carol = scim.create_user("carol", [public])
    dora = scim.create_user("dora", [public])
    wait_for(lambda: resolves("dora"), "dora resolves, so carol was processed")
    check(pwd.getpwnam("carol").pw_uid == 4242, "the local carol stays herself")
    hub_uid = carol[COREWEAVE]["sunkPosixUserId"]
    check(keys_of("carol", 4242) == "" and keys_of("carol", hub_uid) == "", "carol gets no keys")
    refused(lab, "carol", key, "a local account of the same name with another uid")
    check(not any(e.pw_uid == hub_uid for e in pwd.getpwall()), "the masked uid does not resolve")
    logs_in(lab, "dora", key)


def no_power_from_names(scim, user):
    sudo = scim.call("POST", "/Groups", {"schemas": [lab_module.CORE_GROUP], "displayName": "sudo",
                                         "members": [{"value": user["id"]}]}, expect=201)[1]
    wait_for(lambda: len(groups_of("alice.example")) == 3, "the pushed group arrives")
    check("sudo" not in groups_of("alice.example"), "a pushed group 'sudo' gives nobody anything")
    check("alice.example" not in grp.getgrnam("sudo").gr_mem, "the local sudo has no new member")
    scim.call("DELETE", f"/Groups/{sudo['id']}", expect=204)


def one_primary_group(lab, scim, key, public):
    """In the place of private ones, for people who come from then on."""
    people = scim.call("POST", "/Groups", {"schemas": [lab_module.CORE_GROUP],
                                           "displayName": "people"}, expect=201)[1]
    gid = people[POSIX_GROUP]["sunkPosixGroupId"]
    lab.roster("org", "set", "--primary-group", "people")
    scim.create_user("frida", [public])
    wait_for(lambda: resolves("frida"), "frida resolves")
    check(pwd.getpwnam("frida").pw_gid == gid, "the primary group is the one that all share")
    check(grp.getgrgid(gid).gr_name == "people", "which has a name")
    check(groups_of("frida") == {"people"}, "and there is no private one")
    logs_in(lab, "frida", key)
    scim.call("DELETE", f"/Groups/{people['id']}", expect=409)
    lab.roster("org", "set", "--primary-group", "private")


def provisioning_off_and_on(lab, scim):
    lab.roster("org", "set", "--user-provisioning", "off")
    scim.create_user("grace")
    check(not resolves("grace"), "in the directory only")
    lab.roster("org", "set", "--user-provisioning", "on")
    seconds = wait_for(lambda: resolves("grace"), "grace resolves")
    check(True, f"on the node {seconds:.3f} s after user provisioning was switched on")


def local_deny(lab, key):
    run("roster-agent", "deny", "dora")
    refused(lab, "dora", key, "the node's own deny list")
    wait_for(lambda: pwd.getpwnam("dora").pw_shell.endswith("nologin"), "denied locally")
    run("roster-agent", "allow", "dora")
    wait_for(lambda: pwd.getpwnam("dora").pw_shell == "/bin/bash", "allowed again")
    logs_in(lab, "dora", key)


def without_the_hub(lab, key, public):
    lab.stop("rosterd")
    check(resolves("alice.example") is not None, "the hub is gone: people still resolve")
    logs_in(lab, "alice.example", key)
    lab.stop("agent", lab_module.signal.SIGKILL)
    logs_in(lab, "alice.example", key)
    lab.start_hub()
    lab.start_agent()
    erin = lab.scim.create_user("erin", [public])
    wait_for(lambda: resolves("erin"), "the agent catches up after kill -9", 20)
    check(pwd.getpwnam("erin").pw_uid == erin[COREWEAVE]["sunkPosixUserId"], "caught up")


def story(use_pam):
    print(f"UsePAM {'yes' if use_pam else 'no'}")
    with Lab() as lab:
        lab.use_pam = use_pam
        lab.init_hub()
        lab.start_hub()
        lab.scim = scim = lab.scim_client("okta")
        lab.start_agent(lab.join_token())
        run("roster-agent", "wait", "--timeout", "20s")
        lab.start_sshd(use_pam)
        key, public = lab.make_key("alice")
        other_key, _ = lab.make_key("mallory")
        user, entry = arrives(scim, key, public)
        logs_in(lab, "alice.example", key)
        refused(lab, "alice.example", other_key, "a key that is not hers")
        refused(lab, "nosuch", key, "nobody of that name")
        joins_group(scim, user)
        locked_out(lab, scim, user, entry, key, public, ENTRA_OFF)
        locked_out(lab, scim, user, entry, key, public, OKTA_OFF)
        hide_policy(lab, scim)
        local_accounts_win(lab, scim, key, public)
        no_power_from_names(scim, user)
        one_primary_group(lab, scim, key, public)
        provisioning_off_and_on(lab, scim)
        local_deny(lab, key)
        without_the_hub(lab, key, public)
        nodes = lab.roster_json("node", "list")
        check(nodes["nodes"][0]["role"] == "login", "roster node list shows the node")
        check("yes" in lab.roster("audit", "verify").stdout, "roster audit verify: intact")


def main():
    enter_namespace()
    # Each story in its own child: glibc of this process must meet each site afresh.
    for use_pam in (False, True):
        child = os.fork()
        if child == 0:
            try:
                story(use_pam)
            except BaseException:
                import traceback
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            sys.stdout.flush()
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != 0:
            return status
    print("2 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
