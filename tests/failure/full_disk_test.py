"""Full disks. The hub refuses writes in order, goes on answering and feeding, and can still take
access away; a node serves what it has, says what is wrong, and goes on when there is room.
"""

import os
import signal
import time

from support import (
    CACHE,
    CORE_GROUP,
    COREWEAVE,
    FOUND,
    STATE,
    Client,
    Lab,
    NssModule,
    agent_status,
    in_child,
    main,
    patch_body,
    run,
    uid_of,
    user_body,
    wait_for,
)

HUB_BYTES = 256 << 20
NODE_BYTES = 8 << 20
OFF = {"op": "replace", "value": {"active": False}}


class Ballast:
    """Fills a file system, and empties it again."""

    def __init__(self, directory):
        self.path = directory / "ballast"

    def fill(self, leave=0):
        """Takes all but `leave` bytes."""
        with open(self.path, "ab") as out:
            for step in (1 << 20, 4096):
                while self.free() - leave >= step:
                    try:
                        os.posix_fallocate(out.fileno(), out.tell(), step)
                    except OSError:
                        break
                    out.seek(0, os.SEEK_END)

    def free(self):
        status = os.statvfs(self.path.parent)
        return status.f_bavail * status.f_frsize

    def drop(self):
        self.path.unlink()


def small_disk(path, size):
    path.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"mode=700,size={size}", "tmpfs", path)


def node_user(name):
    def look():
        status, user = NssModule().user(name)
        return (
            [status, user.uid, user.locked, user.gecos] if status == FOUND else [status, 0, 0, ""]
        )

    return in_child(look)


def members_on_node(name):
    return in_child(lambda: NssModule().group(name)[2])


def refused_in_order(checks, client, answer):
    """RFC 7644 3.12: an error body, and when to come again."""
    status, body = answer
    checks.equal(status, 503, "a POST on a full disk answers 503")
    checks.that(
        int(client.headers.get("Retry-After", 0)) > 0, "with Retry-After", str(client.headers)
    )
    checks.equal(
        (body["schemas"], body["status"]),
        (["urn:ietf:params:scim:api:messages:2.0:Error"], "503"),
        "and a SCIM error body",
    )


def post_until_refused(client, made):
    for index in range(20000):
        status, user = client.call("POST", "/Users", user_body(f"fill{index}", "x" * 2000))
        if status != 201:
            return status, user
        made[f"fill{index}"] = user
    raise AssertionError("the disk does not become full")


def access_is_taken_away(checks, lab, client, people, group):
    """What ends somebody's access is carried out from the reserve, and reaches the node."""
    for name in ("p0", "p1", "p2"):
        status, answer = client.call("PATCH", "/Users/" + people[name]["id"], patch_body(OFF))
        checks.that(
            status in (200, 204), f"deactivating {name} on a full disk", f"{status} {answer}"
        )
        seconds = wait_for(lambda: node_user(name)[2], f"{name} is locked on the node", 10, 0.02)
        print(f"    locked on the node after {seconds:.2f} s")
    member = people["p3"]["id"]
    status, answer = client.call(
        "PATCH",
        "/Groups/" + group,
        patch_body({"op": "remove", "path": f'members[value eq "{member}"]'}),
    )
    checks.that(status in (200, 204), "taking somebody out of a group", f"{status} {answer}")
    wait_for(lambda: "p3" not in members_on_node("crew"), "p3 left the group on the node", 10, 0.02)
    lab.roster("token", "revoke", "spare")
    checks.that(True, "revoking a token on a full disk")


def reads_go_on(checks, lab, client):
    checks.equal(
        client.call("GET", '/Users?filter=userName+eq+"p5"')[1]["totalResults"], 1, "reads go on"
    )
    checks.equal(http_status(lab, "/healthz"), 200, "/healthz: alive")
    wait_for(lambda: http_status(lab, "/readyz") == 503, "/readyz says no", 15, 0.1)
    checks.that(True, "/readyz: not ready for everything")


def http_status(lab, path):
    return int(
        run(
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--cacert",
            lab.ca_file,
            lab.url + path,
            check=False,
        ).stdout
    )


def hub_story(checks):
    with Lab() as lab:
        small_disk(lab.root / "hub", HUB_BYTES)
        lab.init_hub()
        lab.start_hub("--log-level", "warn")
        scim = lab.scim_client()
        lab.roster("token", "create", "--name", "spare", "--scope", "read")
        client, people = Client(scim), {}
        for index in range(10):
            people[f"p{index}"] = client.call("POST", "/Users", user_body(f"p{index}"))[1]
        status, group = client.call(
            "POST",
            "/Groups",
            {
                "schemas": [CORE_GROUP],
                "displayName": "crew",
                "members": [{"value": people[f"p{n}"]["id"]} for n in range(5)],
            },
        )
        checks.equal(status, 201, "a group of five")
        lab.start_agent(lab.join_token())
        wait_for(
            lambda: members_on_node("crew") and node_user("p9")[0] == FOUND, "the node", 20, 0.05
        )

        ballast, made = Ballast(lab.data_dir), {}
        ballast.fill(leave=3 << 20)
        refused_in_order(checks, client, post_until_refused(client, made))
        ballast.fill()
        refused_in_order(checks, client, client.call("POST", "/Users", user_body("toolate")))
        reads_go_on(checks, lab, client)
        access_is_taken_away(checks, lab, client, people, group["id"])
        lab.stop("rosterd", signal.SIGKILL)
        lab.start(
            "rosterd",
            "rosterd",
            "serve",
            "--data-dir",
            lab.data_dir,
            "--listen",
            f"127.0.0.1:{lab.port}",
            "--log-level",
            "warn",
        )
        wait_for(lambda: http_status(lab, "/healthz") == 200, "it starts on the full disk", 20, 0.1)
        client = Client(scim)
        status, _ = client.call("PATCH", "/Users/" + people["p4"]["id"], patch_body(OFF))
        checks.that(
            status in (200, 204),
            "killed and started on the full disk, it still deactivates",
            status,
        )
        wait_for(lambda: node_user("p4")[2], "p4 is locked on the node", 20, 0.05)

        ballast.drop()
        seconds = wait_for(
            lambda: client.call("POST", "/Users", user_body("later"))[0] in (201, 409),
            "writes work again",
            10,
            0.05,
        )
        checks.that(True, f"with room again, writes work after {seconds:.2f} s")
        wait_for(lambda: node_user("later")[0] == FOUND, "the node has the new one", 20, 0.05)
        users, total = client.every("/Users")
        there = {user["userName"]: uid_of(user) for user in users}
        expected = {n: uid_of(u) for n, u in [*people.items(), *made.items()]}
        checks.that(
            all(there.get(n) == uid for n, uid in expected.items()),
            f"all {len(expected)} that were acknowledged are there",
        )
        checks.equal(set(there) - set(expected), {"later"}, "and nobody who was refused")
        wait_for(lambda: http_status(lab, "/readyz") == 200, "/readyz says yes", 15, 0.1)
        checks.that("yes" in lab.roster("audit", "verify").stdout, "the audit chain is whole")


def helper_keys(name, uid):
    """What sshd is told."""
    return run(
        "setpriv",
        "--reuid",
        "roster-keys",
        "--regid",
        "roster-keys",
        "--clear-groups",
        "/usr/bin/roster-authorized-keys",
        name,
        str(uid),
    ).stdout


def is_locked_out(user):
    name = user["userName"]
    return node_user(name)[2] and helper_keys(name, uid_of(user)) == ""


def leavers_are_locked_out(checks, client, people, names, what):
    """One after the other, more than the reserve would hold at once, each in good time."""
    slowest = 0
    for name in names:
        user = people[name]
        if not helper_keys(name, uid_of(user)).startswith("ssh-"):
            raise AssertionError(f"{name} has no key to lose")
        status, answer = client.call("PATCH", "/Users/" + user["id"], patch_body(OFF))
        if status not in (200, 204):
            raise AssertionError(f"{status} {answer}")
        slowest = max(
            slowest, wait_for(lambda u=user: is_locked_out(u), f"{name} is locked out", 15, 0.02)
        )
    checks.that(True, f"{what} is full: {len(names)} leavers locked out, {slowest:.2f} s at most")


def disk_problems():
    return (agent_status() or {}).get("disk_problems", ["no agent"])


def state_full(checks, client, people):
    """A full state directory holds nothing back; what it cannot take is told."""
    ballast = Ballast(STATE)
    ballast.fill()
    # A new and higher id is what the agent keeps there.
    status, new = client.call("POST", "/Users", user_body("nstate"))
    checks.equal(status, 201, "state directory is full; somebody is new at the hub")
    wait_for(lambda: node_user("nstate")[1] == uid_of(new), "the new one", 10, 0.02)
    leavers_are_locked_out(checks, client, people, ["s0", "s1"], "state directory")
    problems = disk_problems()
    checks.that("space" in str(problems).lower(), f"status: {problems!r}")
    checks.equal(agent_status()["phase"], "following", "the hub is not blamed")
    checks.that(run("roster-agent", "status", check=False).returncode != 0, "its exit status, too")
    ballast.drop()
    client.call("POST", "/Users", user_body("nstate2"))
    wait_for(lambda: not disk_problems(), "status is well", 20, 0.05)
    highest = int((STATE / "highest-id").read_text())
    checks.that(highest >= uid_of(new), "with room again, the highest id is kept")


def keeps_serving(checks, client, people):
    """While it is full the last generation is served, whoever leaves is locked out, and then the
    node catches up."""
    what, ballast = "cache directory", Ballast(CACHE)
    before = node_user("p1")
    ballast.fill()
    status, new = client.call("POST", "/Users", user_body("ncache"))
    checks.equal(status, 201, f"{what} is full; somebody is new at the hub")
    wait_for(lambda: "error" in (agent_status() or {}), "status says so", 10, 0.02)
    status, _ = client.call(
        "PATCH",
        "/Users/" + people["p1"]["id"],
        patch_body({"op": "replace", "value": {"displayName": f"After {what}"}}),
    )
    checks.that(status in (200, 204), "and somebody changes")
    error = agent_status()["error"]
    checks.equal(error["code"], "local", "the hub is not blamed")
    checks.that("space" in error["message"].lower(), f"status: {error['message']!r}")
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        if node_user("p1") != before:
            raise AssertionError(f"p1 is {node_user('p1')}, was {before}")
    checks.that(run("roster-agent", "status", check=False).returncode != 0, "its exit status, too")
    leavers_are_locked_out(checks, client, people, [f"c{n}" for n in range(12)], what)
    ballast.fill()
    leavers_are_locked_out(checks, client, people, ["c12"], what)
    problems = disk_problems()
    checks.that("reserve" in str(problems) or "kept for" in str(problems), f"status: {problems!r}")
    ballast.drop()
    wait_for(
        lambda: node_user("p1")[3] == f"After {what}", "the change after there is room", 30, 0.05
    )
    wait_for(lambda: node_user("ncache")[1] == uid_of(new), "the new one", 10, 0.05)
    client.call("POST", "/Users", user_body("ncache2"))
    wait_for(lambda: "error" not in (agent_status() or {"error": 1}), "status is well", 10, 0.02)
    wait_for(lambda: not disk_problems(), "the reserve is whole again", 20, 0.05)
    checks.that(True, "with room again, the node catches up and status is well")


def node_story(checks):
    with Lab() as lab:
        for directory in (CACHE, STATE):
            small_disk(directory, NODE_BYTES)
        CACHE.chmod(0o755)
        lab.init_hub()
        lab.start_hub("--log-level", "warn")
        scim = lab.scim_client()
        client, people = Client(scim), {}
        public = lab.make_key("key")[1]
        for name in [f"p{n}" for n in range(5)] + [f"c{n}" for n in range(13)] + ["s0", "s1"]:
            body = user_body(name)
            body["schemas"].append(COREWEAVE)
            body[COREWEAVE] = {"sunkSshKeys": [public]}
            people[name] = client.call("POST", "/Users", body)[1]
        lab.start_agent(lab.join_token())
        wait_for(lambda: node_user("p4")[0] == FOUND, "the node", 20, 0.05)
        keeps_serving(checks, client, people)
        state_full(checks, client, people)
        ballast = Ballast(CACHE)
        ballast.fill()
        lab.stop("agent", signal.SIGKILL)
        lab.start_agent(None)
        wait_for(lambda: agent_status() is not None, "the agent runs", 10, 0.02)
        checks.equal(node_user("p1")[0], FOUND, "killed and started on a full disk: people resolve")
        ballast.drop()
        client.call("PATCH", "/Users/" + people["p2"]["id"], patch_body(OFF))
        wait_for(lambda: node_user("p2")[2], "p2 is locked", 30, 0.05)
        checks.that(True, "and it goes on when there is room")


def story(checks):
    hub_story(checks)
    node_story(checks)


if __name__ == "__main__":
    main(story)
