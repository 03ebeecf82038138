"""Power loss: what rosterd and roster-agent write, sync and rename is recorded, and every state
that the disk may be left in is looked at. The hub has everything it acknowledged; a node answers
from one whole generation, or says that it does not know.
"""

import os
import shutil
import signal
import sqlite3
import sys

import replay
from support import (
    BUILD,
    CACHE,
    COREWEAVE,
    FOUND,
    NOTFOUND,
    STATE,
    STATUS_NAMES,
    UNAVAIL,
    Client,
    Lab,
    NssModule,
    free_port,
    in_child,
    joined,
    main,
    patch_body,
    run,
    scaled,
    seeded,
    skip,
    spawn,
    uid_of,
    user_body,
    wait_for,
)

RECORDER = BUILD / "tests" / "libroster_recorder.so"
HUB_USERS = scaled(100, 400)
NODE_CHANGES = scaled(30, 150)
STATES = scaled(900, sys.maxsize)  # at most, of each program; --all: every prefix
STARTS = scaled(12, 40)  # states in which the real program is started
PEOPLE = 6


def recorded(directory, log):
    return os.environ | {
        "LD_PRELOAD": str(RECORDER),
        "ROSTER_RECORD_DIR": str(directory),
        "ROSTER_RECORD_LOG": str(log),
    }


def states(disk, records, random):
    """(end offset in the log, state) of each prefix, three of each, or of a regular choice of them
    when there are many; the last prefix always."""
    every = max(1, len(records) * 3 // STATES)
    for index, record in enumerate(records):
        disk.step(record)
        if index % every == 0 or index == len(records) - 1:
            for how in ("nothing", "everything", random):
                yield record[0], disk.state(how)


class Sample:
    """A fair choice of `count` from a stream of unknown length."""

    def __init__(self, count, random):
        self.count, self.random, self.seen, self.kept = count, random, 0, []

    def offer(self, item):
        self.seen += 1
        if len(self.kept) < self.count:
            self.kept.append(item)
        elif (place := self.random.randrange(self.seen)) < self.count:
            self.kept[place] = item


# --- the hub ------------------------------------------------------------------------------------


def provision(scim, prefix, log, acknowledged):
    """POSTs people, deactivates some; notes how long the log was when each answer was read."""
    client = Client(scim)
    for index in range(HUB_USERS // 2):
        name = f"{prefix}{index}"
        status, user = client.call("POST", "/Users", user_body(name))
        if status != 201:
            raise AssertionError(f"{name}: {status} {user}")
        acknowledged.append((log.stat().st_size, name, uid_of(user), True))
        if index % 4 == 3:
            status, _ = client.call(
                "PATCH",
                "/Users/" + user["id"],
                patch_body({"op": "replace", "value": {"active": False}}),
            )
            if status not in (200, 204):
                raise AssertionError(f"PATCH {name}: {status}")
            acknowledged.append((log.stat().st_size, name, uid_of(user), False))


def check_store(path, due):
    """`due`: what was acknowledged before the power went: {name: (uid, active)}."""
    database = sqlite3.connect(path)
    try:
        if database.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            raise AssertionError("integrity_check fails")
        rows = database.execute(
            "SELECT u.user_name, p.number, u.active FROM usr u " "JOIN posix_id p ON p.n = u.n"
        ).fetchall()
        there = {name: (uid, bool(active)) for name, uid, active in rows}
        if len({uid for uid, _ in there.values()}) != len(rows):
            raise AssertionError("a uid twice")
        for name, (uid, active) in due.items():
            # A change that was not acknowledged yet may have been made.
            if name not in there or there[name][0] != uid or (there[name][1] and not active):
                raise AssertionError(f"{name}: acknowledged {uid, active}, have {there.get(name)}")
        gaps = database.execute(
            "SELECT o.n, o.seq, count(c.seq), coalesce(max(c.seq), 0) FROM org o "
            "LEFT JOIN change c ON c.org = o.n GROUP BY o.n "
            "HAVING count(c.seq) <> o.seq OR coalesce(max(c.seq), 0) <> o.seq"
        ).fetchall()
        if gaps:
            raise AssertionError(f"sequence numbers: {gaps}")
        return len(rows)
    finally:
        database.close()


def due_at(offset, acknowledged):
    due = {}
    for at, name, uid, active in acknowledged:
        if at <= offset:
            due[name] = (uid, active)
    return due


def serve_state(lab, scim_base, token, state, due):
    """The real rosterd on a state: it starts, has what is due, its audit chain is whole, it goes
    on.
    """
    directory = lab.root / "replayed"
    shutil.rmtree(directory, ignore_errors=True)
    replay.write_state(state, directory)
    directory.chmod(0o700)
    lab.data_dir = directory
    lab.empty_run_dir()
    lab.start_hub("--log-level", "warn")
    client = Client(type("Base", (), {"base": scim_base, "tls": lab.tls, "token": token}))
    users, _ = client.every("/Users")
    there = {user["userName"]: uid_of(user) for user in users}
    for name, (uid, _) in due.items():
        if there.get(name) != uid:
            raise AssertionError(f"rosterd has {name} as {there.get(name)}, acknowledged {uid}")
    if "yes" not in lab.roster("audit", "verify").stdout:
        raise AssertionError("the audit chain is broken")
    status, user = client.call("POST", "/Users", user_body("after-the-loss"))
    if status != 201 or uid_of(user) in there.values():
        raise AssertionError(f"POST after the loss: {status} {user}")
    lab.stop("rosterd", signal.SIGKILL)


def hub_story(checks, random):
    with Lab() as lab:
        lab.init_hub()
        log, acknowledged = lab.root / "hub.record", []
        disk = replay.Disk(lab.data_dir)
        lab.ca_file = shutil.copy(lab.ca_file, lab.root / "ca.pem")
        lab.start_hub("--log-level", "warn", env=recorded(lab.data_dir, log))
        scim = lab.scim_client()
        lab.tls = scim.tls
        joined([spawn(provision, scim, prefix, log, acknowledged) for prefix in ("a", "b")])
        lab.stop("rosterd", signal.SIGKILL)
        # The clients' tokens: states before they were on the disk cannot be asked over SCIM.
        ready = min(at for at, *_ in acknowledged)
        records = replay.read_log(log)
        syncs = sum(record[1] == replay.SYNC_END for record in records)
        checks.that(
            len(records) > 200 and syncs >= 30,
            "rosterd was recorded",
            f"{len(records)} records, {syncs} syncs",
        )
        print(
            f"  {len(records)} records, {syncs} syncs, {len(acknowledged)} acknowledged", flush=True
        )
        sample, seen, most = Sample(STARTS, random), set(), 0
        scratch = lab.root / "scratch"
        for offset, state in states(disk, records, random):
            due = due_at(offset, acknowledged)
            files = {name: state[name] for name in ("roster.db", "roster.db-wal") if name in state}
            digest = hash((tuple(files.items()), len(due)))
            if offset >= ready:
                sample.offer((offset, state, due))
            if digest in seen:
                continue
            seen.add(digest)
            shutil.rmtree(scratch, ignore_errors=True)
            replay.write_state(files, scratch)
            try:
                most = max(most, check_store(scratch / "roster.db", due))
            except (AssertionError, sqlite3.Error) as wrong:
                raise AssertionError(f"power loss at byte {offset} of the log: {wrong}") from wrong
        checks.that(
            len(seen) > 200 and most >= len(due),
            f"{len(seen)} states of the store are whole " "and have all that was acknowledged",
        )
        for offset, state, due in sample.kept:
            try:
                serve_state(lab, scim.base, scim.token, state, due)
            except Exception as wrong:
                raise AssertionError(f"power loss at byte {offset} of the log: {wrong}") from wrong
        checks.that(True, f"rosterd starts and goes on from {len(sample.kept)} of them")


def init_story(checks, random):
    """A power loss while the hub is made: either there is a hub, or `rosterd init` makes one."""
    with Lab() as lab:
        parent, log = lab.root / "made", lab.root / "init.record"
        parent.mkdir()
        disk = replay.Disk(parent)
        run(
            "rosterd",
            "init",
            "--data-dir",
            parent / "hub",
            "--org",
            "acme",
            env=recorded(parent, log),
        )
        sample, whole, none = Sample(STARTS, random), 0, 0
        last = None
        for offset, state in states(disk, replay.read_log(log), random):
            sample.offer((offset, state))
            last = state
        checks.that("hub/roster.db" in last, "init was recorded")
        for offset, state in sample.kept + [(None, last)]:
            root = lab.root / "replayed"
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            replay.write_state(state, root)
            done = run("rosterd", "init", "--data-dir", root / "hub", "--org", "acme", check=False)
            if done.returncode == 0:
                none += 1
            elif "holds a hub already" in done.stderr:
                whole += 1
            else:
                raise AssertionError(f"power loss at byte {offset}: {done.stderr}")
            lab.data_dir, lab.ca_file = root / "hub", root / "hub" / "ca.pem"
            lab.port = getattr(lab, "port", None) or free_port()
            lab.url = f"https://127.0.0.1:{lab.port}"
            lab.empty_run_dir()
            lab.start_hub("--log-level", "warn")
            lab.stop("rosterd")
        checks.that(whole > 0, f"after a loss within init: {whole} whole hubs, {none} made anew")


# --- the node -----------------------------------------------------------------------------------


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
    """Which of the revisions this record is, wholly."""
    revision = int(user.gecos.rsplit(" ", 1)[1])
    expected = facts(number, revision)
    if (
        user.gecos != expected["displayName"]
        or user.home != expected[COREWEAVE]["sunkPreferredHomeDirectory"]
        or user.shell != expected[COREWEAVE]["sunkLoginShell"]
    ):
        raise AssertionError(f"a record of two generations: {user!r}")
    return revision


def look_around(uids):
    """{"status": one for all, "revisions": [...]} of the people through a fresh module."""
    module, found, unknown = NssModule(), {}, 0
    for name, uid in uids.items():
        status, user = module.user(name)
        if status == UNAVAIL:
            unknown += 1
            continue
        if status != FOUND or user.uid != uid or user.name != name or user.gid != uid:
            raise AssertionError(f"{name}: {STATUS_NAMES.get(status, status)} {user!r}")
        found[name] = revision_of(user, int(name[1:]))
        status, again = module.user(uid)
        if status != FOUND or repr(again) != repr(user):
            raise AssertionError(f"{uid}: {STATUS_NAMES.get(status, status)} {again!r}, {user!r}")
    if unknown and found:
        raise AssertionError(f"some are known, some are not: {found}")
    status, _ = module.user("nobody-of-this-name")
    if status != (UNAVAIL if unknown else NOTFOUND):
        raise AssertionError(f"an unknown name: {STATUS_NAMES.get(status, status)}")
    return found


def follow_changes(scim, ids, uids, log):
    """Changes people one by one; notes how long the log was when each change was seen on the
    node. In a process of its own: what a module once mapped it keeps, and the caller wants to
    meet each state afresh.
    """
    client, visible, module = Client(scim), [], NssModule()
    for change in range(1, NODE_CHANGES + 1):
        number = change % PEOPLE
        status, answer = client.call(
            "PATCH",
            f"/Users/{ids[number]}",
            patch_body({"op": "replace", "value": facts(number, change)}),
        )
        if status not in (200, 204):
            raise AssertionError(f"PATCH: {status} {answer}")
        wait_for(
            lambda: module.user(f"p{number}")[1].gecos.endswith(f"rev {change}"),
            "the change arrives",
        )
        visible.append((log.stat().st_size, f"p{number}", change))
    if set(look_around(uids)) != set(uids):
        raise AssertionError("not everybody is known")
    return visible


def put_node_state(state):
    for directory in (CACHE, STATE):
        shutil.rmtree(directory, ignore_errors=True)
    replay.write_state({name: entry for name, entry in state.items()}, CACHE.parent)
    for directory in (CACHE, STATE):
        directory.mkdir(exist_ok=True)


def start_on_state(lab, uids, due):
    """The real agent without a hub: it serves at least what was visible before the power went."""
    lab.start_agent(None)
    if due:
        run("roster-agent", "wait", "--timeout", "10s")
        found = in_child(look_around, uids)
        if not found:
            raise AssertionError("the agent runs, and nobody is known")
        for name, revision in due.items():
            if found[name] < revision:
                raise AssertionError(f"{name}: revision {revision} was seen, now {found[name]}")
    else:
        wait_for(
            lambda: run("roster-agent", "status", check=False).returncode in (0, 3, 4),
            "the agent answers",
        )
        in_child(look_around, uids)
    lab.stop("agent", signal.SIGKILL)


def node_story(checks, random):
    with Lab() as lab:
        lab.init_hub()
        lab.start_hub("--log-level", "warn")
        scim = lab.scim_client()
        client, ids, uids = Client(scim), [], {}
        for number in range(PEOPLE):
            status, user = client.call("POST", "/Users", user_body(f"p{number}") | facts(number, 0))
            if status != 201:
                raise AssertionError(f"POST: {status} {user}")
            ids.append(user["id"])
            uids[f"p{number}"] = uid_of(user)
        log = lab.root / "agent.record"
        for directory in (CACHE, STATE):
            directory.mkdir()
        disk = replay.Disk(CACHE.parent)
        lab.start_agent(lab.join_token(), env=recorded(CACHE.parent, log))
        run("roster-agent", "wait", "--timeout", "20s")
        first = log.stat().st_size
        visible = [(first, name, 0) for name in uids]
        visible += in_child(follow_changes, scim, ids, uids, log)
        lab.stop("agent", signal.SIGKILL)
        lab.stop("rosterd")
        records = replay.read_log(log)
        checks.that(len(records) > NODE_CHANGES * 4, "roster-agent was recorded", len(records))
        sample, seen, known, last = Sample(STARTS, random), set(), 0, None
        for offset, state in states(disk, records, random):
            due = {name: revision for at, name, revision in visible if at <= offset}
            sample.offer((offset, state, due))
            last = last or (state if offset == records[-1][0] else None)
            digest = hash(tuple(state.items()))
            if digest in seen:
                continue
            seen.add(digest)
            put_node_state(state)
            try:
                known += bool(in_child(look_around, uids))
            except AssertionError as wrong:
                raise AssertionError(f"power loss at byte {offset} of the log: {wrong}") from wrong
        checks.that(
            0 < known < len(seen),
            f"{len(seen)} states of a node: {known} with one whole generation, the "
            "others say that nothing is known",
        )
        for offset, state, due in sample.kept:
            put_node_state(state)
            try:
                start_on_state(lab, uids, due)
            except Exception as wrong:
                raise AssertionError(f"power loss at byte {offset} of the log: {wrong}") from wrong
        checks.that(
            True,
            f"roster-agent starts without its hub in {len(sample.kept)} of them and "
            "serves at least what was seen before",
        )
        put_node_state(last)
        lab.start_hub("--log-level", "warn")
        lab.start_agent(None)
        Client(scim).call(
            "PATCH", f"/Users/{ids[0]}", patch_body({"op": "replace", "value": facts(0, 10**6)})
        )
        wait_for(lambda: in_child(look_around, uids).get("p0") == 10**6, "it catches up", 20, 0.1)
        checks.that(True, "with its hub again, the node catches up")


def story(checks):
    if not RECORDER.exists():
        skip(f"{RECORDER.name} is not built: target integration_tests")
    random = seeded()
    init_story(checks, random)
    hub_story(checks, random)
    node_story(checks, random)


if __name__ == "__main__":
    main(story)
