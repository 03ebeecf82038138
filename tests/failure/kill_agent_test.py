"""roster-agent dies by SIGKILL hundreds of times while people and groups change. Whoever looks
somebody up gets an answer from one whole generation, at every moment, and never an older one than
before.
"""

import re
import shutil
import signal
import time

from support import (
    CACHE,
    COREWEAVE,
    FOUND,
    NOTFOUND,
    STATE,
    STATUS_NAMES,
    Client,
    Lab,
    NssModule,
    Reader,
    agent_status,
    in_child,
    joined,
    main,
    patch_body,
    run,
    scaled,
    seeded,
    spawn,
    uid_of,
    user_body,
    wait_for,
)

KILLS = scaled(200, 600)
JOINS = scaled(30, 200)
PEOPLE = 20
READERS = 2
SHIFTS = (range(0, 6), range(6, 14))  # members of the group "shift": one of these, never a mixture


def facts(number, revision):
    """What one PATCH sets together."""
    return {
        "displayName": f"Person {number} rev {revision}",
        COREWEAVE: {
            "sunkPreferredHomeDirectory": f"/home/r{revision}/p{number}",
            "sunkLoginShell": "/bin/sh" if revision % 2 else "/bin/bash",
        },
    }


def revision_of(user, number):
    """Which revision this record is, or None when it is none wholly."""
    found = re.fullmatch(r"Person (\d+) rev (\d+)", user.gecos)
    if not found or int(found[1]) != number:
        return None
    expected = facts(number, int(found[2]))[COREWEAVE]
    if (user.home, user.shell) != (
        expected["sunkPreferredHomeDirectory"],
        expected["sunkLoginShell"],
    ):
        return None
    return int(found[2])


def observer(uids):
    """The look of a reader; it remembers the newest revision it saw of each."""
    newest = dict.fromkeys(range(PEOPLE), 0)
    shifts = [sorted(f"p{n}" for n in shift) for shift in SHIFTS]
    turn = [0]

    def look(module):
        number = turn[0] = (turn[0] + 1) % PEOPLE
        key = f"p{number}" if turn[0] % 2 else uids[number]
        status, user = module.user(key)
        if status != FOUND or user.uid != uids[number] or user.name != f"p{number}":
            return f"{key}: {STATUS_NAMES.get(status, status)} {user!r}"
        revision = revision_of(user, number)
        if revision is None:
            return f"a record of two generations: {user!r}"
        if revision < newest[number]:
            return f"p{number} goes back from revision {newest[number]} to {revision}"
        newest[number] = revision
        status, _, members = module.group("shift")
        if status != FOUND or sorted(members) not in shifts:
            return f"shift: {STATUS_NAMES.get(status, status)} {members}"
        status, nobody = module.user("nobody-of-this-name")
        return None if status == NOTFOUND else f"unknown name: {status} {nobody!r}"

    return look


class Writer:
    """Changes people and the group until told to stop."""

    def __init__(self, scim, ids, group):
        self.scim, self.ids, self.group = Client(scim), ids, group
        self.revision, self.shift, self.stopping = 0, 0, False

    def patch(self, path, operation):
        status, answer = self.scim.call("PATCH", path, patch_body(operation))
        if status not in (200, 204):
            raise AssertionError(f"PATCH {path}: {status} {answer}")

    def change_somebody(self):
        self.revision += 1
        number = self.revision % PEOPLE
        self.patch(
            "/Users/" + self.ids[number],
            {"op": "replace", "value": facts(number, self.revision)},
        )

    def work(self):
        while not self.stopping:
            self.change_somebody()
            if self.revision % 5 == 0:
                self.shift = 1 - self.shift
                self.patch(
                    "/Groups/" + self.group,
                    {
                        "op": "replace",
                        "path": "members",
                        "value": [{"value": self.ids[n]} for n in SHIFTS[self.shift]],
                    },
                )
            time.sleep(0.005)


def populate(scim):
    """People and their group, before the node joins: every generation has all of them."""
    client, users = Client(scim), []
    for number in range(PEOPLE):
        status, user = client.call("POST", "/Users", user_body(f"p{number}") | facts(number, 0))
        if status != 201:
            raise AssertionError(f"POST: {status} {user}")
        users.append(user)
    status, group = client.call(
        "POST",
        "/Groups",
        {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
            "displayName": "shift",
            "members": [{"value": users[n]["id"]} for n in SHIFTS[0]],
        },
    )
    if status != 201:
        raise AssertionError(f"POST: {status} {group}")
    return [user["id"] for user in users], [uid_of(user) for user in users], group["id"]


def newest_revision():
    module = NssModule()
    return max(int(module.user(f"p{n}")[1].gecos.rsplit(" ", 1)[1]) for n in range(PEOPLE))


def kill_again_and_again(lab, random):
    """At a random instant from the start of the process on; every tenth is let publish first."""
    progress = 0
    for index in range(KILLS):
        lab.start_agent(None)
        if index % 10 == 9:
            before = in_child(newest_revision)
            wait_for(
                lambda: in_child(newest_revision) > before, "a restarted agent publishes", 20, 0.02
            )
            progress += 1
        else:
            time.sleep(random.random() * random.choice((0.01, 0.05, 0.2)))
        if not lab.alive("agent"):
            raise AssertionError("the agent ended by itself")
        lab.stop("agent", signal.SIGKILL)
    return progress


def join_again_and_again(checks, lab, random):
    """Killed at a random instant of its enrolment, a node is not refused as its own impostor."""
    token, slowest = lab.join_token(name="many"), 0
    for index in range(JOINS):
        for directory in (STATE, CACHE):
            shutil.rmtree(directory, ignore_errors=True)
        lab.start_agent(token, "--node-name", f"join{index}")
        time.sleep(random.random() * 0.08)
        lab.stop("agent", signal.SIGKILL)
        lab.start_agent(token, "--node-name", f"join{index}")
        slowest = max(
            slowest,
            wait_for(
                lambda: (agent_status() or {}).get("phase") == "following", "it follows", 20, 0.02
            ),
        )
        lab.stop("agent")
    names = [node["name"] for node in lab.roster_json("node", "list")["nodes"]]
    checks.equal(
        sorted(n for n in names if n.startswith("join")),
        sorted(f"join{n}" for n in range(JOINS)),
        f"{JOINS} killed on the way to their enrolment follow, after {slowest:.1f} s at most",
    )
    check_leftovers(checks)


def check_leftovers(checks):
    """Nothing but the files of generations; what an interrupted agent left is gone."""
    known = re.compile(r"control\.1|reserve(\.[23])?|(base|delta|keybase|keys)\.1\.\d+")
    strange = [path.name for path in CACHE.iterdir() if not known.fullmatch(path.name)]
    checks.equal(strange, [], "no leftovers in the cache directory")
    strange = {path.name for path in STATE.iterdir()} - {"node.json", "highest-id"}
    checks.equal(strange, set(), "no leftovers in the state directory")


def story(checks):
    random = seeded()
    with Lab() as lab:
        lab.init_hub()
        lab.start_hub("--log-level", "warn")
        scim = lab.scim_client()
        ids, uids, group = populate(scim)
        lab.start_agent(lab.join_token())
        run("roster-agent", "wait", "--timeout", "20s")
        writer = Writer(scim, ids, group)
        readers = [Reader(observer(uids)) for _ in range(READERS)]
        thread = spawn(writer.work)
        lab.stop("agent", signal.SIGKILL)
        started = time.monotonic()
        progress = kill_again_and_again(lab, random)
        print(f"  {KILLS} kills in {time.monotonic() - started:.0f} s, {writer.revision} changes")
        checks.that(progress >= KILLS // 10, f"{progress} times it was let publish, and did")
        writer.stopping = True
        joined([thread])
        lab.start_agent(None)
        wait_for(lambda: in_child(newest_revision) == writer.revision, "it catches up", 20, 0.05)
        checks.that(True, "the last agent catches up with the last change")
        # It may have had nothing to catch up with, and so nothing to count.
        writer.change_somebody()
        wait_for(lambda: in_child(newest_revision) == writer.revision, "it goes on", 20, 0.05)
        expected = sorted(f"p{n}" for n in SHIFTS[writer.shift])
        checks.equal(
            sorted(in_child(lambda: NssModule().group("shift")[2])),
            expected,
            "the group is as it was written last",
        )
        rounds = [reader.finish() for reader in readers]
        metrics = run(
            "curl",
            "-s",
            "--unix-socket",
            "/run/roster/agent.sock",
            "http://agent/metrics",
        ).stdout
        checks.that(
            'reason="totals"' not in metrics, "what the hub counts is what the node has", metrics
        )
        received = re.search(r"^roster_agent_records_total (\S+)$", metrics, re.M)
        checks.that(received and float(received[1]) > 0, "records are counted")
        checks.that(min(rounds) > 1000, f"readers saw nothing wrong in {sum(rounds)} rounds")
        check_leftovers(checks)
        lab.stop("agent")
        join_again_and_again(checks, lab, random)


if __name__ == "__main__":
    main(story)
