"""roster import and roster export on real programs: ids that files on disk belong to are reserved from passwd, LDIF and
CSV files, the identity provider's push binds them; every clash is told with both owners before anything is written;
what was exported comes back in an empty organization; an import that is killed, or whose hub is, is finished by the
next one."""

import json
import os
import signal
import subprocess
import sys
import time

from lab import BUILD, CORE_GROUP, PlainHub, Scim, check, run, wait_for

PEOPLE = int(os.environ.get("ROSTER_IMPORT_PEOPLE", "20000"))


class Site(PlainHub):
    """One hub with an organization that admits 1000-9999."""

    def __init__(self, org="acme"):
        super().__init__(org)

    def __enter__(self):
        super().__enter__()
        self.roster("org", "set", "--admit-ids", "1000-9999", "--admit-ids", "100000-999999")
        self.scim = self.scim_client("okta")
        return self

    def write(self, name, text):
        path = self.root / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def import_(self, *words, status=0, org=None):
        done = self.roster("import", *words, check=False, org=org)
        if done.returncode != status:
            raise AssertionError(f"exit {done.returncode}, not {status}: {words}\n"
                                 f"{done.stdout}{done.stderr}")
        return done

    def push_group(self, name, *members):
        return self.scim.call("POST", "/Groups", {
            "schemas": [CORE_GROUP], "displayName": name,
            "members": [{"value": m["id"]} for m in members]}, expect=201)[1]

    def user(self, name, org=None):
        return json.loads(self.roster("user", "get", name, "--output", "json", org=org).stdout)

    def identities(self):
        """By name, as CSV tells them."""
        out = {}
        for flags in ([], ["--groups"]):
            rows = self.roster("export", "--format", "csv", *flags).stdout.splitlines()
            header = rows[0].split(",")
            for row in rows[1:]:
                # No commas in the texts of this test but in lists of members, which are last but one.
                cells = row.replace('"', "").split(",")
                out[cells[0]] = dict(zip(header[:5], cells[:5])) | {"state": cells[-1]}
        return out


PASSWD = """root:x:0:0:root:/root:/bin/bash
alice:x:1001:1001:Alice Example,Room 1,,:/home/alice:/bin/zsh
bob:x:1002:1500:Bob:/home/bob:/bin/bash
carol:x:1003:1003::/home/carol:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUP = """root:x:0:
alice:x:1001:
lab:x:1500:alice,bob
carol:x:1003:
sudo:x:27:alice
"""


def pushes_bind_what_was_imported(site):
    people, groups = site.write("people", PASSWD), site.write("groups", GROUP)
    words = ["--format", "passwd", people, "--group-file", groups, "--user-name",
             "{login}@example.org"]
    dry = site.import_(*words, "--dry-run")
    check("4 would be reserved, 0 would be changed, 0 unchanged, 0 clash" in dry.stdout,
          "a dry run says what would be done")
    check("4 with ids of the system" in dry.stdout and "2 private groups" in dry.stdout and
          "2 memberships" in dry.stdout, "and what is left out")
    check(site.identities() == {}, "and does nothing")
    check("4 reserved" in site.import_(*words).stdout, "people and groups are reserved")
    check("4 unchanged" in site.import_(*words).stdout, "the same again is no change")
    rows = site.identities()
    check(rows["alice"]["state"] == "reserved" and rows["lab"]["gid"] == "1500",
          "they wait, and are seen")

    alice = site.scim.create_user("alice@example.org")
    stored = site.user("alice")
    check((stored["login"], stored["uid"], stored["gid"], stored["state"]) ==
          ("alice", 1001, 1001, "active"), "a push has the uid, the gid and the login")
    bob = site.scim.create_user("bob@example.org")
    check((site.user("bob")["uid"], site.user("bob")["gid"]) == (1002, 1500),
          "and the primary group, which waits, too")
    line = next(row for row in site.roster("export", "--format", "passwd").stdout.splitlines()
                if row.startswith("alice:"))
    check(line.endswith(":/home/alice:/bin/zsh") and line.startswith("alice:x:1001:1001:"),
          "and the home and the shell")
    site.push_group("Lab", alice, bob)
    lines = site.roster("export", "--format", "passwd", "--groups").stdout.splitlines()
    check("lab:x:1500:alice,bob" in lines and "alice:x:1001:" in lines,
          "a group's push has the gid")
    check("4 unchanged" in site.import_(*words).stdout, "and the same again is still no change")

    site.roster("org", "create", "beta")
    site.roster("client", "create", "okta", org="beta")
    token = site.roster("token", "create", "--name", "okta", "--scope", "scim", "--client", "okta",
                        org="beta").stdout.strip()
    beta = Scim(f"{site.url}/api/organizations/beta/scim/v2", token, None)
    beta.create_user("carol@example.org")
    check(site.user("carol", org="beta")["uid"] != 1003, "another organization's push binds nobody")
    site.scim.create_user("carol@example.org")
    status, _ = site.scim.call("POST", "/Users", {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": "Carol@Example.org"})[:2]
    check(status == 409 and site.user("carol")["uid"] == 1003, "and nobody binds twice")
    audit = site.roster("audit", "list", "--output", "json").stdout
    check(audit.count("identity.reserve") == 4, "each one is in the audit log")


def clashes_are_told_with_both_owners(site):
    site.scim.create_user("zed@example.org")
    zed = site.user("zed@example.org")
    before = site.identities()
    bad = site.write("bad.csv", "login,uid,gid,userName,externalId,gecos,home,shell\n"
                     f"eve,{zed['uid']},,eve@example.org,,,/home/eve,/bin/bash\n"
                     "alice,2001,,al@example.org,,,,\n"
                     "frank,2002,,zed@example.org,,,,\n"
                     "sudo,2003,,s@example.org,,,,\n"
                     "gina,50,,g@example.org,,,,\n"
                     "hans,2004,,h@example.org,,,/home/alice/sub,\n"
                     "ida,2005,,i@example.org,,,/home/ida,\n"
                     "ida,2006,,j@example.org,,,/home/ida,\n"
                     "kurt,70000,,k@example.org,,,,\n"
                     "good,2010,,good@example.org,,,,\n")
    done = site.import_("--format", "csv", bad, status=1)
    report = " ".join(done.stdout.split())
    for part in ("bad.csv:2 user eve", "user zed", "bad.csv:3 user alice (2001)",
                 "user alice (1001), alice@example.org, active", "bad.csv:9", "bad.csv:8 user ida",
                 "reserved for accounts of the nodes", "nothing was imported"):
        check(part in report, f"the report has {part!r}")
    check(site.identities() == before, "and nothing was imported")
    report = json.loads(site.import_("--format", "csv", bad, "--output", "json", status=1).stdout)
    check(report["skipped"] == 7 and not report["applied"] and
          report["left_out"]["system_ids"] == 1, "as JSON, too")
    clash = next(c for c in report["clashes"] if c["entry"]["name"] == "eve")
    check(clash["entry"]["place"].endswith("bad.csv:2") and clash["owner"]["name"] == zed["login"]
          and clash["owner"]["userName"] == "zed@example.org" and clash["what"] == "id",
          "with both owners")
    check("2 reserved" in site.import_("--format", "csv", bad, "--skip-clashes", status=1).stdout,
          "the others are imported when that is asked for")
    check(set(site.identities()) - set(before) == {"good", "ida"}, "and only they")


def errors_can_be_taken_back(site):
    wrong = site.write("wrong.csv", "login,uid\nmia,2100\n")
    right = site.write("right.csv", "login,uid\nmia,2101\n")
    site.import_("--format", "csv", wrong)
    site.import_("--format", "csv", right, status=1)
    site.roster("unreserve", "2100")
    site.import_("--format", "csv", right)
    check(site.identities()["mia"]["uid"] == "2101", "a wrong id is taken back")
    refused = site.roster("unreserve", "1001", check=False)
    check(refused.returncode == 1 and "alice" in refused.stderr, "but nobody's who has come")


def hostile_files_are_refused(site):
    before = site.identities()
    for name, fmt, text, sentence in (
            ("nul", "passwd", b"e\0e:x:1100:1100:::\n", "nul:1: holds a NUL"),
            ("cut", "passwd", "eve:x:1100:1100:::", "cut:1: ends inside a line"),
            ("fields", "passwd", "ok:x:1100:1100:::\neve:x:1:1\n", "fields:2: has not the seven"),
            ("esc", "csv", "login,uid\n\x1b[2J,1100\n", "esc:2: a field that is not UTF-8"),
            ("huge", "csv", "login,uid\n" + "x" * 5000 + ",1100\n", "huge:2: a field of more than"),
            ("quote", "csv", 'login,uid\n"eve,1100\n', "quote: line 2: a quote that does not end"),
            ("change", "ldif", "dn: x\nchangetype: delete\n", "change: line 2: a change"),
            ("url", "ldif", "dn: x\nuid:< file:///etc/shadow\n", "url: line 2: a value by URL")):
        done = site.import_("--format", fmt, site.write(name, text), status=1)
        check(sentence in done.stderr and "\x1b" not in done.stderr, f"refused: {sentence}")
    check(site.identities() == before, "none of it was imported")
    check(site.roster("import", "--format", "xml", "x", check=False).returncode == 2 and
          site.roster("import", "--format", "csv", site.write("n.csv", "login,uid\nx,1100\n"),
                      "--user-name", "all", check=False).returncode == 2, "wrong usage is 2")
    done = run(BUILD / "bin/roster", "--url", "http://127.0.0.1:1", "--org", "acme", "import",
               "--token-file", site.root / "operator.token", "--format", "csv",
               site.root / "n.csv", check=False)
    check(done.returncode == 3, "a hub that is not there is 3")


def exports_come_back(site):
    site.scim.create_user("lena@example.org")
    site.roster("user", "deactivate", "lena")
    site.scim.create_user("gone@example.org")
    site.roster("user", "delete", "gone")
    want = site.identities()
    check(want["lena"]["state"] == "locked" and "lena:!:" in site.roster(
        "export", "--format", "passwd").stdout and "shadowExpire: 1" in site.roster(
            "export", "--format", "ldif").stdout, "who is locked is marked")
    for fmt in ("csv", "passwd", "ldif"):
        people, groups = site.root / f"out.{fmt}", site.root / f"out-groups.{fmt}"
        site.roster("export", "--format", fmt, people)
        site.roster("export", "--format", fmt, "--groups", groups)
        check((people.stat().st_mode & 0o777, groups.stat().st_mode & 0o777) == (0o600, 0o600),
              f"{fmt}: for the owner alone")
        with Site() as empty:
            template = [] if fmt == "csv" else ["--user-name", "{login}@example.org"]
            empty.import_("--format", fmt, people, "--group-file", groups, *template)
            have = empty.identities()
            column = {name: row.get("uid") or row["gid"] for name, row in have.items()}
            expected = {name: row.get("uid") or row["gid"] for name, row in want.items()
                        if fmt == "csv" or row["state"] != "deleted"}
            check(column == expected, f"{fmt}: all {len(expected)} ids are the same elsewhere")
            check({n: r["gid"] for n, r in have.items()} ==
                  {n: r["gid"] for n, r in want.items() if n in have}, f"{fmt}: and the groups")
            empty.scim.create_user("lena@example.org")
            check(empty.user("lena")["uid"] == int(want["lena"]["uid"]),
                  f"{fmt}: and bind there")


def count(site):
    """Rows so far, while an import runs."""
    return len(site.roster("export", "--format", "csv").stdout.splitlines()) - 1


def interrupted_imports_go_on(site):
    rows = "".join(f"p{i},{100000 + i},,p{i}@example.org,,Person {i},/home/p{i},/bin/bash\n"
                   for i in range(PEOPLE))
    file = site.write("many.csv", "login,uid,gid,userName,externalId,gecos,home,shell\n" + rows)
    words = site.command("import", "--format", "csv", file)
    base = count(site)

    def started():
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: count(site) > seen or process.poll() is not None, "it writes", 60,
                 pause=0.005)
        return process

    seen = base
    process = started()
    process.kill()
    process.wait()
    looks = []

    def request_is_over():
        looks.append(count(site))
        return looks[-1] == looks[-2] if len(looks) > 1 else False

    wait_for(request_is_over, "the hub ends the request that it was in", 20, pause=0.25)
    seen = looks[-1]
    check(base < seen < base + PEOPLE, f"killed in the middle: {seen - base} of {PEOPLE} are in")
    first = site.user("zed@example.org")
    process = started()
    site.stop(signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    check(process.returncode == 3 and "run it again to go on" in err,
          f"the hub is killed: exit 3, {err.splitlines()[0]}")
    site.start()
    seen = count(site)
    check(base < seen < base + PEOPLE, f"and {seen - base} are in")
    # One that comes meanwhile, for one who is not in yet, would take the id from nobody.
    started_at = time.monotonic()
    done = site.import_("--format", "csv", file)
    took = time.monotonic() - started_at
    check(f"{base + PEOPLE - seen} reserved, 0 changed, {seen - base} unchanged, 0 clash"
          in done.stdout, f"the next run finishes it ({took:.1f} s)")
    check(count(site) == base + PEOPLE and site.user("zed@example.org") == first, "all are in, once")
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    site.stop(signal.SIGKILL)
    site.start()
    out, err = process.communicate(timeout=60)
    check(process.returncode == 0 and f"{PEOPLE} unchanged" in out,
          "a hub that starts again soon is waited for")
    site.roster("audit", "verify")


def main():
    with Site() as site:
        pushes_bind_what_was_imported(site)
        clashes_are_told_with_both_owners(site)
        errors_can_be_taken_back(site)
        hostile_files_are_refused(site)
        exports_come_back(site)
        interrupted_imports_go_on(site)
    print("import: all passed")


if __name__ == "__main__":
    sys.exit(main())
