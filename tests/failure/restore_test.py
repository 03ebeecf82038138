"""A hub restored from a backup while nodes know more than it does: it starts a new epoch, nodes
take a snapshot, and no id that a node has seen is given to anybody else.
"""

import shutil
import signal
import sqlite3

from support import (
    CORE_GROUP,
    FOUND,
    PATCH_OP,
    Client,
    Lab,
    NssModule,
    agent_status,
    in_child,
    main,
    run,
    uid_of,
    user_body,
    wait_for,
)


def create(client, prefix, count):
    """{login: uid}"""
    made = {}
    for index in range(count):
        status, user = client.call("POST", "/Users", user_body(f"{prefix}{index}"))
        if status != 201:
            raise AssertionError(f"POST: {status} {user}")
        made[f"{prefix}{index}"] = uid_of(user)
    return made


def node_has(people):
    def look():
        module = NssModule()
        return all(
            status == FOUND and user.uid == uid
            for name, uid in people.items()
            for status, user in [module.user(name)]
        )

    return in_child(look)


def node_misses(people):
    def look():
        module = NssModule()
        return not any(module.user(name)[0] == FOUND for name in people)

    return in_child(look)


def epoch_of(lab):
    database = sqlite3.connect(f"file:{lab.data_dir}/roster.db?mode=ro", uri=True)
    try:
        return database.execute("SELECT epoch FROM org WHERE slug = ?", (lab.org,)).fetchone()[0]
    finally:
        database.close()


def back_up(lab):
    """An online copy of the store, as SQLite makes it, and the other files."""
    backup = lab.root / "backup"
    shutil.rmtree(backup, ignore_errors=True)
    shutil.copytree(
        lab.data_dir, backup, ignore=shutil.ignore_patterns("roster.db*", "reserve", "snapshots")
    )
    source = sqlite3.connect(f"file:{lab.data_dir}/roster.db?mode=ro", uri=True)
    target = sqlite3.connect(backup / "roster.db")
    source.backup(target)
    source.close()
    target.close()
    (backup / "roster.db").chmod(0o600)
    backup.chmod(0o700)
    return backup


def restore(lab, backup):
    lab.stop("rosterd")
    shutil.rmtree(lab.data_dir)
    shutil.copytree(backup, lab.data_dir)
    lab.data_dir.chmod(0o700)
    # Another machine, or this one after a reboot: without marks the hub asks the nodes.
    lab.empty_run_dir()
    lab.start_hub()


def provider_comes_first(checks, scim):
    """Before any node was heard the hub cannot know which ids were given out since the backup."""
    client = Client(scim)
    status, answer = client.call("POST", "/Users", user_body("early"))
    checks.equal(status, 503, f"a POST before the node was heard waits: {answer.get('detail')}")
    checks.that(client.headers.get("Retry-After"), "it says when to come again")
    status, _ = client.call("POST", "/Groups", {"schemas": [CORE_GROUP], "displayName": "early"})
    checks.equal(status, 503, "so does a group's")
    status, found = client.call("GET", "/Users?filter=userName%20eq%20%22old0%22")
    user = "/Users/" + found["Resources"][0]["id"]
    for active in (False, True):
        operation = {"op": "replace", "path": "active", "value": active}
        status, _ = client.call("PATCH", user, {"schemas": [PATCH_OP], "Operations": [operation]})
        checks.equal(status, 200, f"who is there is {'let in' if active else 'locked'} all the same")


def few_are_lost(checks, lab, scim, old):
    """Fewer than 10 people were made since the backup: the node drops them by itself."""
    backup, before = back_up(lab), epoch_of(lab)
    client = Client(scim)
    lost = create(client, "lost", 5)
    status, group = client.call(
        "POST", "/Groups", {"schemas": [CORE_GROUP], "displayName": "lostgroup"}
    )
    if status != 201:
        raise AssertionError(f"POST: {status} {group}")
    wait_for(lambda: node_has(lost), "the node has those made after the backup", pause=0.05)
    agent = lab.processes["agent"]
    agent.send_signal(signal.SIGSTOP)
    restore(lab, backup)
    provider_comes_first(checks, scim)
    agent.send_signal(signal.SIGCONT)
    wait_for(lambda: node_misses(lost), "the node follows the restored hub", 30, pause=0.1)
    checks.that(node_has(old), "people of the backup are on the node all the time")
    checks.that(epoch_of(lab) != before, "the restored hub has a new epoch")
    client = Client(scim)
    again = create(client, "again", 5)
    highest = max(lost.values()) + 1  # the group's id came last
    checks.that(
        min(again.values()) > highest,
        "new people get ids above all that the node has seen",
        f"{again}, lost: {lost}",
    )
    same = create(client, "lost", 1)
    checks.that(
        same["lost0"] > highest, "also one with a login that was lost: nobody's files change hands"
    )
    wait_for(lambda: node_has(again | same), "the node has the new ones", pause=0.05)
    wait_for(lambda: "error" not in (agent_status() or {"error": 1}), "status is well", pause=0.05)
    checks.that("yes" in lab.roster("audit", "verify").stdout, "the audit chain is whole")
    return list(lost.values()) + list(again.values()) + list(same.values())


def many_are_lost(checks, lab, scim, old):
    """More than 20 % would vanish: nodes keep them until an operator confirms at the hub, once."""
    backup = back_up(lab)
    lost = create(Client(scim), "many", 25)
    wait_for(lambda: node_has(lost), "the node has those made after the backup", pause=0.05)
    restore(lab, backup)

    def refused():
        status = agent_status()
        return status and status["phase"] == "refused" and status["error"]["code"] == "shrinks"

    wait_for(refused, "the agent refuses the shrunken snapshot", 30, pause=0.1)
    checks.that(node_has(lost | old), "the node keeps everybody, and its status says: shrinks")
    done = run("roster-agent", "status", check=False)
    checks.equal(done.returncode, 4, "roster-agent status: exit 4")
    new = create(Client(scim), "more", 30)
    checks.that(
        min(new.values()) > max(lost.values()),
        "meanwhile new people get ids above all seen",
        f"{new}, lost: {lost}",
    )
    lab.roster("fuse", "release")
    wait_for(lambda: node_misses(lost), "confirmed at the hub, the node follows", 90, pause=0.2)
    checks.that(node_has(old | new), "the node has the restored hub's people, and the new ones")
    return list(lost.values()) + list(new.values())


def story(checks):
    with Lab() as lab:
        lab.init_hub()
        lab.start_hub()
        scim = lab.scim_client()
        lab.start_agent(lab.join_token())
        old = create(Client(scim), "old", 20)
        wait_for(lambda: node_has(old), "the node has everybody", pause=0.05)
        seen = few_are_lost(checks, lab, scim, old)
        later = many_are_lost(checks, lab, scim, old)
        everybody = [*old.values(), *seen, *later]
        checks.equal(len(set(everybody)), len(everybody), "no id was handed out twice")


if __name__ == "__main__":
    main(story)
