"""A view that an organization defined, on real programs: rosterd over TLS on SQLite, roster-agent on a node of the
view, and the NSS module through glibc. Who is in the scope resolves there as the view says, and nobody else."""

import grp
import pwd
import sys

from lab import CORE_GROUP, COREWEAVE, Lab, enter_namespace, run, wait_for

PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJkRyIjPyoq7nKHnuZe9ZKzuWD2RtPvxd6pgfeiQzQpC {}@laptop"


def resolves(name):
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def is_group(name):
    try:
        return grp.getgrnam(name) is not None
    except KeyError:
        return False


def groups_of(name):
    return set(run("id", "-nG", name).stdout.split())


def keys_of(name, uid):
    return run("setpriv", "--reuid", "roster-keys", "--regid", "roster-keys", "--clear-groups",
               "/usr/bin/roster-authorized-keys", name, str(uid)).stdout


def check(condition, what):
    if not condition:
        raise AssertionError(what)
    print(f"  ok: {what}")


def add_person(scim, name):
    return scim.create_user(name, [PUBLIC.format(name)], displayName=name.title() + " Example")


def add_group(scim, name, *members):
    body = {"schemas": [CORE_GROUP], "displayName": name,
            "members": [{"value": member["id"]} for member in members]}
    return scim.call("POST", "/Groups", body, expect=201)[1]


def join(scim, group, member):
    scim.patch(f"/Groups/{group['id']}",
               {"op": "add", "path": "members", "value": [{"value": member["id"]}]})


def leave(scim, group, member):
    scim.patch(f"/Groups/{group['id']}",
               {"op": "remove", "path": f"members[value eq \"{member['id']}\"]"})


def caught_up(lab, what):
    """Until the node has published everything: what it then does not have, it was not told."""
    def behind():
        return all(node["behind"] == 0 for node in lab.roster_json("node", "list")["nodes"])
    wait_for(behind, what, pause=0.05)


def refusals(lab):
    unknown = lab.roster("token", "create", "--name", "early", "--scope", "join", "--view", "gpu",
                         check=False)
    check(unknown.returncode == 1 and "default, login, compute" in unknown.stderr,
          "a join token for a view that does not exist is refused, naming those there are")
    built_in = lab.roster("view", "set", "login", check=False)
    check(built_in.returncode == 1 and "built in" in built_in.stderr, "built-in views stay")
    shared = lab.roster("view", "set", "gpu", "--home", "/home/everybody", check=False)
    check(shared.returncode == 1 and "home" in shared.stderr, "a home that all would share is refused")


def scope(lab, scim, ann, bob, eve, gpu, inner, other):
    seconds = wait_for(lambda: resolves("ann") and resolves("bob"), "the scope resolves")
    check(True, f"direct and nested members resolve after {seconds:.3f} s")
    check(resolves("eve") is None and not is_group("other"), "who is outside does not")
    entry = pwd.getpwnam("ann")
    check(entry.pw_dir == f"/lustre/{lab.org}/ann" and entry.pw_gecos == "", "home, no full name")
    check(entry.pw_uid == ann[COREWEAVE]["sunkPosixUserId"], "the same uid as everywhere")
    check(groups_of("ann") == {"ann", "gpu"}, "no memberships from outside")
    check(groups_of("bob") == {"bob", "gpu", "inner"}, "nested memberships")
    check("ann@laptop" in keys_of("ann", entry.pw_uid), "keys travel")

    join(scim, other, bob)
    leave(scim, other, eve)
    caught_up(lab, "changes outside pass by")
    check(resolves("eve") is None and groups_of("bob") == {"bob", "gpu", "inner"},
          "memberships outside change nothing")
    join(scim, inner, eve)
    seconds = wait_for(lambda: resolves("eve"), "eve arrives")
    check(groups_of("eve") == {"eve", "gpu", "inner"}, f"who enters arrives after {seconds:.3f} s")
    scim.patch(f"/Users/{ann['id']}", {"op": "replace", "value": {"active": False}})
    wait_for(lambda: pwd.getpwnam("ann").pw_shell.endswith("nologin"), "ann is locked")
    check(pwd.getpwnam("ann").pw_uid == entry.pw_uid, "a leaver of the scope resolves as locked")
    leave(scim, gpu, inner)
    seconds = wait_for(lambda: not resolves("bob") and not resolves("eve"), "a nested group leaves")
    check(resolves("ann") is not None and not is_group("inner"),
          f"a group that leaves takes its people along after {seconds:.3f} s")
    join(scim, gpu, inner)
    wait_for(lambda: resolves("bob"), "they come back")
    scim.call("DELETE", f"/Groups/{inner['id']}", expect=204)
    wait_for(lambda: not resolves("bob") and not resolves("eve"), "a deleted group's people leave")
    check(resolves("ann") is not None, "a deleted group takes its people along")


def definitions(lab):
    lab.roster("view", "set", "gpu", "--attribute", "gecos", "--shell", "/bin/sh")
    seconds = wait_for(lambda: resolves("eve"), "the wider view arrives")
    check(True, f"a new definition reaches the node by a snapshot after {seconds:.3f} s")
    eve = pwd.getpwnam("eve")
    check((eve.pw_dir, eve.pw_shell, eve.pw_gecos) == ("/home/eve", "/bin/sh", "Eve Example"),
          "own home, the view's shell, full name")
    check(keys_of("eve", eve.pw_uid) == "", "no keys any more")
    check(pwd.getpwnam("ann").pw_shell.endswith("nologin"), "the locked shell stays")
    for number in range(15):
        add_person(lab.scim, f"extra{number}")
    wait_for(lambda: resolves("extra14"), "more people")
    lab.roster("view", "set", "gpu", "--group", "gpu")
    wait_for(lambda: not resolves("extra14"), "a narrow view")
    check(resolves("ann") is not None, "a view that shrinks a lot is believed: removals explain it")
    status = run("roster-agent", "status")
    check(status.returncode == 0, "the agent is content")
    listed = lab.roster("view", "list").stdout
    check("gpu" in listed and "compute" in listed and "everybody" in listed, "roster view list")
    check(lab.roster_json("view", "get", "gpu")["groups"][0]["name"] == "gpu", "roster view get")


def removal(lab):
    node = lab.roster_json("node", "list")["nodes"][0]
    refused = lab.roster("view", "remove", "gpu", check=False)
    check(refused.returncode == 1 and f"hpc/{node['name']}" in refused.stderr,
          "a view that nodes have is not removed, and they are named")
    lab.stop("agent")
    lab.roster("node", "delete", "hpc", node["name"])
    lab.roster("view", "remove", "gpu")
    check(lab.roster("view", "get", "gpu", check=False).returncode == 1, "without nodes it is")
    check("yes" in lab.roster("audit", "verify").stdout, "roster audit verify: intact")


def main():
    enter_namespace()
    with Lab() as lab:
        lab.init_hub()
        lab.start_hub()
        lab.scim = scim = lab.scim_client("okta")
        ann, bob, eve = (add_person(scim, name) for name in ("ann", "bob", "eve"))
        inner = add_group(scim, "inner", bob)
        gpu = add_group(scim, "gpu", ann, inner)
        other = add_group(scim, "other", ann, eve)
        refusals(lab)
        lab.roster("org", "set", "--home-prefix", "/home", "--home-prefix", "/lustre")
        lab.roster("view", "set", "gpu", "--group", "GPU", "--attribute", "keys", "--home",
                   "/lustre/{org}/{name}")
        lab.start_agent(lab.join_token(view="gpu"))
        run("roster-agent", "wait", "--timeout", "20s")
        scope(lab, scim, ann, bob, eve, gpu, inner, other)
        definitions(lab)
        removal(lab)
    print("1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
