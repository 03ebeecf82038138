"""rosterd dies by SIGKILL hundreds of times while clients change people and groups. What was
acknowledged stays, ids and names are unique, numbers and audit have no gap, and a node ends up
with all of it.
"""

import signal
import sqlite3
import time

from support import (
    CORE_GROUP,
    FOUND,
    Client,
    Lab,
    NssModule,
    Unanswered,
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
CLIENTS = 4


class Connector:
    """One provisioning thread with people and a group of its own. Repeats each change until it is
    acknowledged, so at the end `people` and `members` are exactly what the hub must hold."""

    def __init__(self, scim, number, random):
        self.scim, self.number, self.random = Client(scim, timeout=5), number, random
        self.people = {}  # userName -> {"id", "uid", "display", "active"}
        self.members = set()  # userNames
        self.group = None
        self.stopping = False
        self.acknowledged = 0
        self.unanswered = 0

    def until_answered(self, method, path, body=None, expect=()):
        """(status, answer, whether an earlier try may have been carried out)"""
        unsure = False
        while True:
            try:
                status, answer = self.scim.call(method, path, body)
            except Unanswered:
                self.unanswered += 1
                unsure = True
                time.sleep(0.002)
                continue
            if status == 503:
                time.sleep(0.01)
                continue
            if status not in expect:
                raise AssertionError(f"{method} {path}: {status} {answer}")
            self.acknowledged += 1
            return status, answer, unsure

    def found(self, kind, attribute, value):
        _, page, _ = self.until_answered(
            "GET", f'/{kind}?filter={attribute}+eq+"{value}"', expect=(200,)
        )
        if page["totalResults"] != 1:
            raise AssertionError(f"{kind} {value}: {page['totalResults']} of them")
        return page["Resources"][0]

    def create_group(self):
        name = f"team{self.number}"
        status, group, unsure = self.until_answered(
            "POST", "/Groups", {"schemas": [CORE_GROUP], "displayName": name}, (201, 409)
        )
        if status == 409 and not unsure:
            raise AssertionError(f"409 for a group that nobody made: {name}")
        self.group = group if status == 201 else self.found("Groups", "displayName", name)

    def create_user(self):
        name = f"c{self.number}-u{len(self.people)}"
        status, user, unsure = self.until_answered(
            "POST", "/Users", user_body(name, "rev 0"), (201, 409)
        )
        if status == 409:
            if not unsure:
                raise AssertionError(f"409 for a user that nobody made: {name}")
            user = self.found("Users", "userName", name)
        self.people[name] = {
            "id": user["id"],
            "uid": uid_of(user),
            "display": "rev 0",
            "active": True,
        }

    def change_user(self):
        name = self.random.choice(list(self.people))
        person = self.people[name]
        if self.random.random() < 0.5:
            change = {"active": not person["active"]}
        else:
            change = {"displayName": f"rev {self.random.randrange(10**6)}"}
        self.until_answered(
            "PATCH",
            "/Users/" + person["id"],
            patch_body({"op": "replace", "value": change}),
            (200, 204),
        )
        person["active"] = change.get("active", person["active"])
        person["display"] = change.get("displayName", person["display"])

    def change_group(self):
        name = self.random.choice(list(self.people))
        member = self.people[name]["id"]
        if name in self.members:
            operation = {"op": "remove", "path": f'members[value eq "{member}"]'}
        else:
            operation = {"op": "add", "path": "members", "value": [{"value": member}]}
        self.until_answered(
            "PATCH", "/Groups/" + self.group["id"], patch_body(operation), (200, 204)
        )
        self.members ^= {name}

    def work(self):
        self.create_group()
        while not self.stopping:
            choice = self.random.random()
            if choice < 0.5 or len(self.people) < 3:
                self.create_user()
            elif choice < 0.8:
                self.change_user()
            else:
                self.change_group()


def kill_again_and_again(lab, connectors, random):
    """Each kill falls into running work: something was acknowledged since the start before it."""
    for _ in range(KILLS):
        before = sum(c.acknowledged for c in connectors)

        def under_way():
            if not lab.alive("rosterd"):
                raise AssertionError(
                    "rosterd ended by itself: "
                    + lab.logs["rosterd"].read_text(errors="replace")[-3000:]
                )
            return sum(c.acknowledged for c in connectors) > before

        wait_for(under_way, "a change is acknowledged after a restart", 20)
        time.sleep(random.random() * 0.03)
        lab.stop("rosterd", signal.SIGKILL)
        lab.launch_hub("--log-level", "warn")


def check_hub(checks, lab, scim, connectors):
    client = Client(scim)
    expected = {name: person for c in connectors for name, person in c.people.items()}
    users, total = client.every("/Users")
    checks.equal(total, len(expected), "as many users as were acknowledged")
    checks.equal({u["userName"] for u in users}, set(expected), "every acknowledged user is there")
    for user in users:
        person = expected[user["userName"]]
        got = {
            "id": user["id"],
            "uid": uid_of(user),
            "display": user.get("displayName"),
            "active": user["active"],
        }
        if got != person:
            raise AssertionError(f"{user['userName']}: acknowledged {person}, the hub has {got}")
    checks.that(True, f"{len(users)} users have id, uid, name and state as acknowledged")
    checks.equal(len({uid_of(u) for u in users}), len(users), "no uid twice")
    for connector in connectors:
        _, group = client.call("GET", "/Groups/" + connector.group["id"])
        got = {m["value"] for m in group.get("members", [])}
        if got != {connector.people[n]["id"] for n in connector.members}:
            raise AssertionError(f"members of {group['displayName']} are not as acknowledged")
    checks.that(True, "members of all groups are as acknowledged")
    org = lab.roster_json("org", "list")["orgs"][0]
    active = sum(person["active"] for person in expected.values())
    checks.equal(
        (org["users"], org["active_users"], org["groups"]),
        (len(users), active, len(connectors)),
        "the organization's counts are right",
    )
    checks.that("yes" in lab.roster("audit", "verify").stdout, "the audit chain is whole")
    return expected


def check_node(checks, expected, connectors):
    def look():
        module, wrong = NssModule(), []
        for name, person in expected.items():
            status, user = module.user(name)
            if (
                status != FOUND
                or user.uid != person["uid"]
                or user.gecos != person["display"]
                or user.locked == person["active"]
            ):
                wrong.append(f"{name}: {person}, node: {status} {user}")
        for connector in connectors:
            members = sorted(n for n in connector.members if connector.people[n]["active"])
            status, _, got = module.group(f"team{connector.number}")
            if status != FOUND or sorted(got) != members:
                wrong.append(f"team{connector.number}: {members}, node: {status} {got}")
        return wrong[:3]

    wait_for(lambda: not in_child(look), "the node has everything", 30, pause=0.2)
    checks.that(True, "the node that followed all the time has all of it")


def check_store(checks, lab):
    database = sqlite3.connect(lab.data_dir / "roster.db")
    checks.equal(
        database.execute("PRAGMA integrity_check").fetchall(),
        [("ok",)],
        "SQLite finds the file whole",
    )
    checks.equal(database.execute("PRAGMA foreign_key_check").fetchall(), [], "no dangling row")
    for org, seq in database.execute("SELECT n, seq FROM org").fetchall():
        low, high, count = database.execute(
            "SELECT coalesce(min(seq), 1), coalesce(max(seq), 0), count(*) FROM change "
            "WHERE org = ?",
            (org,),
        ).fetchone()
        if (low, high, count) != (1, seq, seq):
            raise AssertionError(f"organization {org}: head {seq}, changes {low}-{high}, {count}")
    checks.that(True, "sequence numbers run from 1 to the head without a gap")
    for column in ("number", "name"):
        doubled = database.execute(
            f"SELECT {column}, count(*) FROM posix_id WHERE {column} IS NOT NULL "
            f"GROUP BY org, {column} HAVING count(*) > 1"
        ).fetchall()
        checks.equal(doubled, [], f"no {column} twice in the table of identities")
    database.close()


def story(checks):
    random = seeded()
    with Lab() as lab:
        lab.init_hub()
        lab.start_hub("--log-level", "warn")
        scim = lab.scim_client()
        lab.start_agent(lab.join_token())
        run("roster-agent", "wait", "--timeout", "20s")
        connectors = [Connector(scim, n, type(random)(random.random())) for n in range(CLIENTS)]
        threads = [spawn(c.work) for c in connectors]
        started = time.monotonic()
        try:
            kill_again_and_again(lab, connectors, random)
        finally:
            for connector in connectors:
                connector.stopping = True
        joined(threads)
        print(
            f"  {KILLS} kills in {time.monotonic() - started:.0f} s, "
            f"{sum(c.acknowledged for c in connectors)} acknowledged, "
            f"{sum(c.unanswered for c in connectors)} times no answer"
        )
        checks.that(sum(c.unanswered for c in connectors) > KILLS / 4, "kills met running requests")
        expected = check_hub(checks, lab, scim, connectors)
        check_node(checks, expected, connectors)
        lab.stop("rosterd")
        check_store(checks, lab)


if __name__ == "__main__":
    main(story)
