"""A hub that lies to the real agent: what a node serves never gets worse, status and exit say
what is wrong, and all is well again as soon as the hub behaves.
"""

import signal
import time

from fake_hub import Answer, FakeHub, join_token, lines, zstd_bomb, zstd_frame
from support import (
    FOUND,
    NOTFOUND,
    Lab,
    NssModule,
    Reader,
    agent_status,
    in_child,
    main,
    run,
    seeded,
    wait_for,
)

PEOPLE = 30
KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFRkW0NjS4cS1yVqZ4WQ3nq0W7m2vZB1o3uQJm0d8Xkq "
    "someone@laptop"
)


class Liar(FakeHub):
    """Streams that are wrong in one point each."""

    def wrong_delta(self, request, *records, head=None, end=None, without_end=False):
        """A delta that is right but for what is given."""
        since = int(request["query"]["since"].split(".")[1])
        records = [*self.delta(since), *records]
        messages = [self.head("delta", **(head or {})), *records]
        if not without_end:
            messages.append(self.end(records, **({"totals": None} | (end or {}))))
        for message in messages:
            for name in [name for name, value in message.items() if value is None]:
                del message[name]
        return Answer(200, lines(*messages))

    def stranger(self, **members):
        """A new person in a delta, wrong in what is given."""
        n = 9000
        return {
            "t": "user",
            "n": n,
            "seq": self.seq,
            "name": "stranger",
            "uid": 29000,
            "gecos": "",
            "home": "/home/stranger",
            "shell": "/bin/bash",
            **members,
        }


def feed_lies(hub):
    """(what the hub does, the answer to a request for a delta)"""
    records = {
        "takes somebody's uid": {"uid": 20003},
        "takes somebody's login": {"name": "u3"},
        "takes a group's name": {"name": "team"},
        "takes a group's id": {"uid": 25000},
        "sends uid 0": {"uid": 0},
        "sends uid 65534": {"uid": 65534},
        "sends a uid beyond 32 bits": {"uid": 1 << 32},
        "sends a negative uid": {"uid": -1},
        "sends a login with a colon": {"name": "evil::0:0::/:"},
        "sends a login with a newline": {"name": "evil\nroot"},
        "sends a login that is an option": {"name": "-rf"},
        "sends a login of 33 bytes": {"name": "e" * 33},
        "sends a home with a colon": {"home": "/home/x:/bin/sh"},
        "sends a home that climbs": {"home": "/home/../root"},
        "sends a shell with a newline": {"shell": "/bin/sh\nevil"},
        "sends gecos with a newline": {"gecos": "a\nevil:x:0:0::/:/bin/sh"},
        "sends a key with options": {"keys": [{"line": 'command="id" ' + KEY}]},
        "sends a key with a newline": {"keys": [{"line": KEY + "\n" + KEY}]},
        "sends no seq": {"seq": None},
        "sends 70,000 groups of a person": {"groups": list(range(1, 70001))},
        "sends a record as a list": {"name": ["stranger"]},
    }
    lies = [
        (what, lambda r, m=members: hub.wrong_delta(r, hub.stranger(**m)))
        for what, members in records.items()
    ]
    return lies + [
        ("answers with an HTML page", lambda r: Answer(200, b"<html><body>gateway</body></html>")),
        ("answers with random bytes", lambda r: Answer(200, bytes(range(256)) * 16)),
        ("answers with nothing", lambda r: Answer(200, b"")),
        ("leaves the end out", lambda r: hub.wrong_delta(r, without_end=True)),
        (
            "is cut off in the middle of a line",
            lambda r: Answer(
                200, hub.wrong_delta(r).body, cut_after=len(hub.wrong_delta(r).body) - 20
            ),
        ),
        ("sends another organization's feed", lambda r: hub.wrong_delta(r, head={"org": "globex"})),
        ("sends another view", lambda r: hub.wrong_delta(r, head={"view": "compute"})),
        ("sends another version", lambda r: hub.wrong_delta(r, head={"v": 2})),
        (
            "changes its epoch without a word",
            lambda r: hub.wrong_delta(
                r, head={"epoch": "77"}, end={"cursor": hub.cursor(epoch="77")}
            ),
        ),
        (
            "sends a cursor of another epoch",
            lambda r: hub.wrong_delta(r, end={"cursor": hub.cursor(epoch="77")}),
        ),
        (
            "sends a cursor that goes back",
            lambda r: hub.wrong_delta(r, end={"cursor": hub.cursor(1)}),
        ),
        ("sends a cursor that is none", lambda r: hub.wrong_delta(r, end={"cursor": "../../etc"})),
        (
            "repeats itself: records, but the cursor stays",
            lambda r: hub.wrong_delta(r, end={"cursor": r["query"]["since"]}),
        ),
        (
            "sends an older state of a person",
            lambda r: hub.wrong_delta(r, hub.users[2] | {"seq": 1, "gecos": "Old"}),
        ),
        (
            "counts wrongly",
            lambda r: hub.wrong_delta(r, end={"counts": {"users": 9, "groups": 0, "gone": 0}}),
        ),
        (
            "sends a part without end of parts",
            lambda r: hub.wrong_delta(r, end={"final": False, "cursor": None}),
        ),
        ("sends a snapshot for a delta", lambda r: Answer(200, hub.snapshot_stream())),
        ("sends a line of 5 MiB", lambda r: hub.wrong_delta(r, {"t": "x", "x": "y" * (5 << 20)})),
        (
            "sends JSON of depth 100,000",
            lambda r: Answer(200, lines(hub.head("delta")) + b'{"t":' + b"[" * 100000),
        ),
        (
            "sends a decompression bomb",
            lambda r: Answer(200, zstd_bomb(b"a", 200000), {"Content-Encoding": "zstd"}),
        ),
        (
            "sends a bomb of empty lines",
            lambda r: Answer(200, zstd_bomb(b"\n", 200000), {"Content-Encoding": "zstd"}),
        ),
        ("answers 500", lambda r: Answer(500, b"oops")),
        ("answers 403", lambda r: Answer(403, b"{}")),
        ("answers 429", lambda r: Answer(429, b"", {"Retry-After": "1"})),
    ]


def snapshot_lies(hub):
    """(what the hub does, the stream of its snapshot)"""

    def few(**head):
        records = [*hub.groups.values(), *list(hub.users.values())[:5]]
        return lines(
            hub.head("snapshot", **head),
            *records,
            hub.end(records, totals={"users": 5, "groups": len(hub.groups)}),
        )

    return [
        ("shrinks", few),
        ("is empty", lambda: lines(hub.head("snapshot"), hub.end([]))),
        ("is of another organization", lambda: hub.snapshot_stream(org="globex")),
        ("is of another view", lambda: hub.snapshot_stream(view="default")),
        ("is a delta", lambda: hub.delta_stream(0)),
        ("has no end", lambda: lines(hub.head("snapshot"), *hub.users.values())),
        (
            "has a person twice",
            lambda: lines(
                hub.head("snapshot"),
                *hub.groups.values(),
                *hub.users.values(),
                hub.users[1] | {"n": 9000},
                hub.end([*hub.groups.values(), *hub.users.values(), hub.users[1]]),
            ),
        ),
        ("is garbage", lambda: b"\x00" * 1000 + b"\n"),
    ]


def served():
    """All that the node answers, through a fresh module."""
    module = NssModule()
    status, users = module.all_users()
    group = module.group("team")
    return [status, sorted(map(repr, users)), group[0], group[1], sorted(group[2] or [])]


def watch(module):
    """One round of a reader that lives through everything."""
    for n in range(1, PEOPLE + 1):
        status, user = module.user(f"u{n}")
        if (
            status != FOUND
            or user.uid != 20000 + n
            or user.home != f"/home/u{n}"
            or user.gecos == "Old"
        ):
            return f"u{n}: {status} {user!r}"
    for name in ("stranger", "evil", "-rf"):
        if module.user(name)[0] != NOTFOUND:
            return f"{name} is served"
    if module.group("team")[2] != ["u1", "u2"]:
        return f"team: {module.group('team')}"
    return None


class Story:
    def __init__(self, checks, hub):
        self.checks, self.hub, self.round = checks, hub, 0

    def change(self):
        """An honest change: person 30 gets another name."""
        self.round += 1
        self.hub.put_user(PEOPLE, gecos=f"Round {self.round}")

    def arrives(self, seconds=15):
        gecos = f"Round {self.round}"
        wait_for(
            lambda: any(gecos in user for user in in_child(served)[1]),
            "the honest change",
            seconds,
            pause=0.05,
        )
        wait_for(
            lambda: "error" not in (agent_status() or {"error": 1}), "status is well again", 5, 0.02
        )

    def tell(self, what, lie):
        """The lie is told until the agent says that something is wrong; what is served stays."""
        before, told = in_child(served), self.hub.lies_told
        self.hub.lie = lie
        self.change()

        def noticed():
            status = agent_status()
            return self.hub.lies_told > told and status and "error" in status and status

        wait_for(noticed, f"the agent notices: {what}", 20, pause=0.02)
        status = agent_status()
        after = in_child(served)
        self.hub.lie = None
        if after != before:
            raise AssertionError(f"{what}: served is now {after}, was {before}")
        error = status.get("error", {})
        self.arrives()
        self.checks.that(
            True,
            f"{what}: {status['phase']}, {error.get('code')}: "
            f"{error.get('message', '')[:90]!r}",
        )

    def lie_in_feed(self, what, answer):
        self.tell(
            f"the hub {what}",
            lambda request: answer(request) if "since" in request["query"] else None,
        )

    def lie_in_snapshot(self, what, stream):
        """The position is refused, so that the agent needs the snapshot."""

        def lie(request):
            if request["kind"] == "snapshot":
                return self.hub.snapshot_answer(zstd_frame(stream()), self.hub.cursor())
            if "since" in request["query"]:
                return Answer(409, lines({"t": "reset", "reason": "start anew"}))
            return None

        self.tell(f"the hub's snapshot {what}", lie)


def skipped_record_is_found(story, checks):
    """A record left out shows in the totals: the agent takes a snapshot, by itself."""
    hub = story.hub

    def skips(request):
        if "since" not in request["query"] or hub.lies_told > told:
            return None
        records = [
            r for r in hub.delta(int(request["query"]["since"].split(".")[1])) if r["n"] != 500
        ]
        return Answer(200, lines(hub.head("delta"), *records, hub.end(records)))

    told = hub.lies_told
    hub.lie = skips
    hub.put_user(500)
    story.change()
    wait_for(
        lambda: in_child(lambda: NssModule().user("u500")[0]) == FOUND,
        "the skipped person",
        20,
        0.1,
    )
    hub.lie = None
    checks.that(True, "a record that the hub skipped is missed and fetched")


def no_hot_loop(story, checks):
    """A hub that answers at once with nothing does not make the agent spin."""
    hub = story.hub

    def at_once(request):
        if "since" not in request["query"]:
            return None
        return Answer(200, lines(hub.head("delta"), hub.end([], cursor=request["query"]["since"])))

    hub.lie = at_once
    story.change()
    count = len(hub.requests)
    time.sleep(2)
    asked = len(hub.requests) - count
    hub.lie = None
    checks.that(asked <= 12, f"{asked} requests in 2 s to a hub that never waits")
    story.arrives()


def credential_stays_here(story, checks):
    """A redirect is not followed: the credential goes to the hub alone."""
    other = FakeHub()
    other.start()
    story.lie_in_feed(
        "redirects to another server",
        lambda r: Answer(302, b"", {"Location": other.url + "/stolen"}),
    )
    checks.equal(other.requests, [], "the other server was not asked")
    other.stop()


def confirmed_shrink(story, checks):
    """What was confirmed at the hub passes."""
    hub = story.hub
    hub.users = {n: user for n, user in hub.users.items() if n <= 5}
    hub.epoch = "2002"
    hub.lie = lambda r: (
        hub.snapshot_answer(zstd_frame(hub.snapshot_stream(shrink_ok=True)), hub.cursor())
        if r["kind"] == "snapshot"
        else None
    )
    hub.seq += 1
    hub.wake()
    wait_for(lambda: len(in_child(served)[1]) == 5, "the confirmed shrink", 20, 0.1)
    checks.that(True, "a shrink that an operator confirmed passes")


def exit_status(checks, lab, token):
    """`roster-agent sync`, one pass, tells the truth by its exit status."""
    hub = Liar()
    hub.start()
    hub.put_group(1, "crew", 27000)
    for n in range(1, PEOPLE + 1):
        hub.put_user(n, groups=[1])
    state, cache = lab.root / "s", lab.root / "c"

    def sync(*more):
        return run(
            "roster-agent",
            "sync",
            "--url",
            hub.url,
            "--org",
            "acme",
            "--join-token-file",
            token,
            "--state-dir",
            state,
            "--cache-dir",
            cache,
            *more,
            check=False,
        )

    for what, lie, expected in (
        (
            "enrols in another organization",
            lambda r: hub.enrolled(201, org="globex") if r["kind"] == "enroll" else None,
            4,
        ),
        (
            "does not take the token",
            lambda r: Answer(401, b"{}") if r["kind"] == "enroll" else None,
            4,
        ),
        (
            "answers enrolment with garbage",
            lambda r: Answer(201, b"{") if r["kind"] == "enroll" else None,
            1,
        ),
    ):
        hub.lie = lie
        done = sync()
        checks.that(
            done.returncode == expected and done.stderr.strip(),
            f"sync: the hub {what}: exit {expected}",
            f"exit {done.returncode}: {done.stderr}",
        )
    hub.lie = None
    checks.equal(sync().returncode, 0, "sync: an honest hub: exit 0")
    before = {path.name for path in cache.iterdir()}
    for what, lie, expected in (
        ("sends garbage", lambda r: Answer(200, b"garbage\n"), 1),
        (
            "sends another organization",
            lambda r: Answer(200, lines(hub.head("delta", org="globex"), hub.end([]))),
            4,
        ),
        ("is cut off", lambda r: Answer(200, hub.delta_stream(0), cut_after=50), 3),
        ("answers 500", lambda r: Answer(500), 3),
    ):
        hub.lie = lie
        done = sync()
        checks.that(
            done.returncode == expected,
            f"sync: the hub {what}: exit {expected}",
            f"exit {done.returncode}: {done.stderr}",
        )
    hub.stop()
    checks.equal(sync().returncode, 3, "sync: no hub: exit 3")
    checks.equal({path.name for path in cache.iterdir()}, before, "the cache is as it was")


def story(checks):
    seeded()
    hub = Liar()
    hub.start()
    hub.put_group(100, "team", 25000)
    for n in range(1, PEOPLE + 1):
        hub.put_user(n, groups=[100] if n <= 2 else [])
    with Lab() as lab:
        lab.url = hub.url
        token = lab.root / "join.token"
        token.touch(mode=0o600)
        token.write_text(join_token())
        lab.start_agent(token)
        run("roster-agent", "wait", "--timeout", "20s")
        checks.equal(len(in_child(served)[1]), PEOPLE, "the node has what the hub has")
        tale, reader = Story(checks, hub), Reader(watch)
        for what, answer in feed_lies(hub):
            tale.lie_in_feed(what, answer)
        for what, stream in snapshot_lies(hub):
            tale.lie_in_snapshot(what, stream)
        skipped_record_is_found(tale, checks)
        no_hot_loop(tale, checks)
        credential_stays_here(tale, checks)
        checks.that(lab.alive("agent"), "the agent that was started first still runs")
        rounds = reader.finish()
        checks.that(rounds > 50, f"a reader saw nothing wrong in {rounds} rounds")
        confirmed_shrink(tale, checks)
        memory = [
            line
            for line in open(f"/proc/{lab.processes['agent'].pid}/status")
            if line.startswith("VmHWM")
        ][0].split()[1]
        checks.that(int(memory) < 200 << 10, f"the agent's peak memory: {int(memory) >> 10} MiB")
        lab.stop("agent", signal.SIGTERM)
        exit_status(checks, lab, token)
    hub.stop()


if __name__ == "__main__":
    main(story)
