"""Accounting against a real Slurm: what is read, what is written and how fast, what belongs to others,
in which order things go, what fails and how that is said, and what daemons that are down, hang or come
back do to it. Passes are those of accounting_story: read, plan, apply.

    accounting_test.py [22.05|24.11]     24.11 only in the tier `all`
"""

import contextlib
import copy
import http.server
import json
import os
import pathlib
import socketserver
import subprocess
import sys
import threading
import time

from slurm_lab import VERSIONS, SlurmLab

from lab import BUILD, check, enter_namespace, skip, wait_for

MARKER = "roster:test"
UNRESOLVED = 4294967294
LATER = 80  # so many are added together
CHEMISTRY = {"parent": "science", "description": "Chemistry of: a=b",
             "settings": {"Fairshare": "5", "GrpTRES": "cpu=8,mem=4096", "MaxJobs": "7"}}


def add_person(slurm, name, uid):
    for base in {slurm.base, pathlib.Path("/")}:
        slurm.add_local_user(base, name, uid, f"/home/{name}", "/bin/bash")


def member(*accounts, **settings):
    return [{"account": account, "settings": settings} for account in accounts]


def first_wishes():
    return {
        "marker": MARKER,
        "accounts": {"science": {"settings": {"QOS": "normal,high"}}, "chemistry": CHEMISTRY,
                     "physics": {"parent": "science", "coordinators": ["alice", "bob"],
                                 "settings": {"DefaultQOS": "high", "MaxSubmitJobs": "50"}}},
        "users": {"alice": {"uid": 20001, "memberships": member("chemistry", "physics")},
                  "bob": {"uid": 20002, "admin_level": "Operator",
                          "memberships": member("physics", MaxJobs="3", MaxTRESPerJob="cpu=4",
                                                Fairshare="parent")},
                  "carol": {"uid": 20003, "memberships": member("physics")},
                  "dave": {"uid": 20004}},
    }


class Site:
    """The cluster, and the record that a pass leaves to the next one."""

    def __init__(self, slurm):
        self.slurm = slurm
        self.owned = {}

    def story(self, desired=None, check_errors=True, **more):
        question = {"endpoint": f"unix:{self.slurm.socket}", "user": "root",
                    "token": self.slurm.mint_hs256("root", 3600), "cluster": self.slurm.cluster,
                    "commands": {"folder": str(self.slurm.bin), "slurm_conf": ""},
                    "jobs_of": ["alice", "bob", "carol", "dave"], "owned": self.owned} | more
        if desired is not None:
            question["desired"] = desired
        question = {name: value for name, value in question.items() if value is not None}
        done = subprocess.run([BUILD / "tests/accounting_story"], input=json.dumps(question),
                              capture_output=True, text=True, timeout=900)
        if not done.stdout:
            raise AssertionError(f"accounting_story ended with {done.returncode}: {done.stderr}")
        answer = json.loads(done.stdout)
        self.owned = answer.get("owned", self.owned)
        if check_errors and ("error" in answer or answer.get("failures")):
            raise AssertionError(json.dumps({name: answer.get(name) for name in (
                "error", "failures", "steps")}, indent=1))
        return answer

    def held(self, **more):
        return self.story(**more)["held"]

    def settles(self, desired, what, **more):
        """A pass does something, and leaves nothing for the next one."""
        first = self.story(desired, **more)
        check(first["steps"], f"{what}: {len(first['steps'])} steps, {first['cost']}, "
              f"{first['seconds']:.1f} s")
        again = self.story(desired, **more)
        if again["steps"]:
            raise AssertionError(f"{what}: again {again['steps']}")
        return first

    def fails(self, what, *words, code=None, **more):
        """An error of the pass or of a step, with these words."""
        answer = self.story(check_errors=False, **more)
        errors = [answer["error"]] if "error" in answer else [
            [failure[1], failure[2]] for failure in answer.get("failures", [])]
        found = [error for error in errors if all(word in error[1] for word in words)
                 and code in (None, error[0])]
        if not found:
            raise AssertionError(f"{what}: {errors}")
        print(f"  ok: {what}: {found[0][1]}")
        return answer

    def associations(self, account):
        return sorted(self.slurm.sacctmgr("show", "associations", "where", f"account={account}",
                                          f"cluster={self.slurm.cluster}",
                                          "format=user").stdout.split())

    def submits(self, user, *words):
        return self.slurm.as_user(user, "srun", "-Q", *words, "true", check=False)

    def job(self, user, *words):
        return int(self.slurm.as_user(user, "sbatch", "--parsable", "-o", "/dev/null", *words,
                                      "--wrap", "sleep 300").stdout)


def make_others_things(site):
    slurm = site.slurm
    for i in range(LATER):
        add_person(slurm, f"many{i:02d}", 30000 + i)
        add_person(slurm, f"later{i:02d}", 31000 + i)
    slurm.sacctmgr("add", "qos", "high,gpu")
    slurm.sacctmgr("add", "cluster", "other")
    slurm.sacctmgr("add", "account", "foreign", "organization=theirs", "MaxJobs=9",
                   "cluster=lab,other")
    slurm.sacctmgr("add", "user", "dave", "account=foreign", "fairshare=3", "QOS=+gpu")
    slurm.sacctmgr("add", "user", "carol", "account=foreign", "partition=debug", "cluster=lab")
    slurm.sacctmgr("add", "coordinator", "account=foreign", "names=dave")


def foreign_state(site):
    held = site.held()
    names = ("foreign/dave", "foreign/carol/debug")
    return [held["accounts"]["foreign"], held["users"]["dave"]["admin_level"],
            {name: held["associations"].get(name) for name in names}]


def reads(site):
    held = site.held()
    check(held["accounts"]["foreign"] == {
        "description": "foreign", "organization": "theirs", "parent": "root",
        "settings": {"MaxJobs": "9"}, "coordinators": ["dave"], "elsewhere": True},
        "an account: what is set on it here, and that another cluster uses it")
    check(held["associations"]["foreign/carol/debug"] == {}, "an association of a partition, "
          "without what it inherits")
    check(held["users"]["dave"] == {"default_account": "foreign", "admin_level": "None",
                                    "uid": 20004}, "a user, as slurmctld resolved it")
    check(held["accounts"]["root"]["parent"] == "" and "root/root" in held["associations"],
          "the root account")
    check(held["qos"] == ["gpu", "high", "normal"], "QOS")
    for api in ((0,) if site.slurm.version == "22.05" else (40, 41, 42)):
        check(site.held(api=api) == held, f"the same again by {api or 'default'}")
    site.fails("no such cluster", "no cluster", cluster="nonesuch")
    site.fails("a token that expired", "slurmdbd", token=site.slurm.mint_hs256("root", -100))
    site.fails("a person's token", "slurm", token=site.slurm.mint_hs256("alice"), user="alice",
               desired=first_wishes())
    if site.slurm.version == "22.05":
        site.fails("without sacctmgr", "needs sacctmgr", commands=None)


def settings_of(held, name):
    account, _, user = name.partition("/")
    return held["associations"][name] if user else held["accounts"][account]["settings"]


def applies(site):
    before = foreign_state(site)
    wishes = first_wishes()
    site.settles(wishes, "the first apply")
    held = site.held()
    check(settings_of(held, "chemistry") == {"Fairshare": "5", "GrpTRES": "cpu=8,mem=4096",
                                             "MaxJobs": "7"}, "what is set on an account")
    check(held["accounts"]["chemistry"]["organization"] == MARKER and
          held["accounts"]["chemistry"]["description"].lower() == "chemistry of: a=b" and
          held["accounts"]["physics"]["description"] == "physics", "organization and description")
    check(settings_of(held, "physics/bob") == {"Fairshare": "parent", "MaxJobs": "3",
                                               "MaxTRESPerJob": "cpu=4"}, "and on an association")
    check(held["users"]["alice"]["default_account"] == "chemistry" and
          held["users"]["bob"]["admin_level"] == "Operator" and
          held["accounts"]["physics"]["coordinators"] == ["alice", "bob"], "default, level, roles")
    check(site.submits("alice", "-A", "physics").returncode == 0, "alice can submit")
    changed = copy.deepcopy(wishes)
    changed["accounts"]["chemistry"] = {"description": "Molecules",
                                        "settings": {"GrpTRES": "cpu=9,node=2", "MaxJobs": "8"}}
    changed["accounts"]["physics"]["coordinators"] = ["alice"]
    changed["accounts"]["physics"]["settings"] = {"MaxSubmitJobs": "50"}
    changed["users"]["bob"] = {"uid": 20002, "memberships": member("physics", MaxJobs="4")}
    changed["users"]["alice"]["memberships"] = member("physics", "chemistry")
    site.settles(changed, "changes")
    held = site.held()
    check(held["accounts"]["chemistry"]["parent"] == "root" and
          settings_of(held, "chemistry") == {"GrpTRES": "cpu=9,node=2", "MaxJobs": "8"} and
          settings_of(held, "physics") == {"MaxSubmitJobs": "50"} and
          settings_of(held, "physics/bob") == {"MaxJobs": "4"},
          "moved, changed, and taken back what is not wanted any more")
    check(held["users"]["alice"]["default_account"] == "physics" and
          held["users"]["bob"]["admin_level"] == "None" and
          held["accounts"]["physics"]["coordinators"] == ["alice"], "default, level, roles")
    changed["accounts"]["science"] = {}
    site.settles(changed, "a list of QOS is taken back")
    check(settings_of(site.held(), "science") == {}, "and is gone")
    check(foreign_state(site) == before, "what is not ours is as it was")
    return changed


def keeps_what_others_set(site, wishes):
    """Settings of others on what is ours, in the same row as the one that changes."""
    slurm = site.slurm
    slurm.sacctmgr("modify", "user", "where", "name=bob", "account=physics", "set", "MaxWall=90",
                   "GrpTRES=cpu=5", "QOS+=gpu")
    slurm.sacctmgr("add", "coordinator", "account=physics", "names=carol")
    wishes["users"]["bob"]["memberships"] = member("physics", MaxJobs="5")
    wishes["accounts"]["physics"]["coordinators"] = ["alice", "bob"]
    site.settles(wishes, "changes beside others'")
    held = site.held()
    bob = settings_of(held, "physics/bob")
    check(bob["MaxJobs"] == "5" and bob["MaxWallDurationPerJob"] == "90" and
          bob["GrpTRES"] == "cpu=5", f"bob keeps what others set: {bob}")
    shown = slurm.sacctmgr("show", "associations", "wopl", "withrawqos", "where", "user=bob",
                           "account=physics", "format=qos").stdout.strip()
    check(shown == "+gpu", "also a QOS that is added to the inherited ones")
    check(held["accounts"]["physics"]["coordinators"] == ["alice", "bob", "carol"],
          "and so does their coordinator")


def locks(site, wishes):
    slurm = site.slurm
    running = site.job("carol", "-A", "physics")
    waiting = site.job("carol", "-A", "physics", "-b", "now+1hour")
    wait_for(lambda: site.held()["jobs"].get(str(running), [0, 0, 0])[2] == "running", "it runs")
    locked = copy.deepcopy(wishes)
    locked["users"]["carol"]["locked"] = True
    locked["locked"] = {"new_jobs": "stop", "jobs": "hold"}
    site.settles(locked, "carol is locked")
    refused = site.submits("carol", "-A", "physics")
    check(refused.returncode != 0 and "AssocMaxSubmitJobLimit" in refused.stderr,
          "carol is refused: " + refused.stderr.strip().splitlines()[-1])
    jobs = site.held()["jobs"]
    check(jobs[str(waiting)][2] == "held" and jobs[str(running)][2] == "running",
          "what waits is held, what runs goes on")
    site.settles(wishes, "carol is back")
    check(site.held()["jobs"][str(waiting)][2] == "pending", "the job waits again")
    check(site.submits("carol", "-A", "physics").returncode == 0, "and carol can submit")
    # What has jobs cannot be removed: Slurm's 7001.
    leaver = copy.deepcopy(wishes)
    leaver["users"]["carol"] |= {"locked": True}
    leaver["locked"] = {"new_jobs": "remove", "jobs": "keep"}
    site.fails("an association with jobs", "active", desired=leaver, jobs_of=[],
               code="failed_precondition")
    check("carol" in site.associations("physics"), "it is still there")
    leaver["locked"]["jobs"] = "cancel"
    first = site.story(leaver, check_errors=False)
    check(all("has not ended" in f[2] or "left out" in f[2] for f in first["failures"]),
          f"jobs first: {first['steps']} {first['failures']}")
    wait_for(lambda: not site.held()["jobs"].get(str(running)), "the job is over")
    site.story(leaver)
    check(not site.story(leaver)["steps"], "carol is out")
    check("carol" not in site.associations("physics") and
          "carol" in site.associations("foreign"), "and others' association stays")
    site.settles(wishes, "carol is in again")


def leaves_default_account(site, wishes):
    """The default account must be another's before it is left: 7009."""
    wishes["left"] = {"new_jobs": "remove"}
    wishes["users"]["alice"]["memberships"] = member("chemistry")
    site.settles(wishes, "alice leaves the default account", accept_shrink=True)
    check(site.associations("physics") == ["bob", "carol"] and
          site.held()["users"]["alice"]["default_account"] == "chemistry", "it is another")
    wishes["users"]["alice"]["memberships"] = []
    site.settles(wishes, "and the last one", accept_shrink=True)
    check(site.associations("chemistry") == [], "alice has none")
    del wishes["accounts"]["chemistry"]
    wishes["remove_orphans"] = True
    site.settles(wishes, "the account goes")
    check("chemistry" not in site.held()["accounts"], "it is gone")
    wishes["accounts"]["chemistry"] = {"parent": "science"}
    wishes["users"]["alice"]["memberships"] = member("chemistry")
    wishes["remove_orphans"] = False
    site.settles(wishes, "and comes back")


def says_what_fails(site, wishes):
    """Of many steps the bad ones fail, with Slurm's words, and the others are done."""
    bad = copy.deepcopy(wishes)
    names = [f"many{i:02d}" for i in range(30)]
    for i, name in enumerate(names):
        bad["users"][name] = {"uid": 30000 + i, "memberships": member("chemistry")}
    bad["users"]["many07"]["memberships"] = member("chemistry", GrpTRES="gres/nonesuch=3")
    bad["users"]["many13"]["memberships"] = member("chemistry", DefaultQOS="gpu")
    answer = site.story(bad, check_errors=False)
    failed = {failure[0].split()[1].rstrip(":"): failure[2] for failure in answer["failures"]}
    check("many07" in str(answer["failures"]) and len(answer["failures"]) <= 3,
          f"some fail: {answer['failures']}")
    there = site.associations("chemistry")
    check(all(name in there for name in names if name not in ("many07", "many13")),
          f"the others are there; {len(failed)} failed, {answer['cost']}")
    site.fails("it fails again, alone", "nonesuch" if site.slurm.version == "22.05" else "GrpTRES",
               desired=bad)
    for name in names:
        del bad["users"][name]
    bad["locked"] = {"new_jobs": "remove"}
    site.settles(bad, "they are gone", accept_shrink=True)
    odd = copy.deepcopy(wishes)
    odd["users"]["x;y"] = {"uid": 30001, "memberships": member("chemistry")}
    odd["users"]["-x"] = {"uid": 30001, "memberships": member("chemistry")}
    odd["accounts"]["a'b"] = {"description": "x"}
    odd["accounts"]["quotes"] = {"description": "it's \"quoted\""}
    answer = site.story(odd, check_errors=False)
    check(len(answer["failures"]) == 4 and all("refused to send" in f[2] for f in answer["failures"]),
          "odd names and texts reach no command")


def cures(site, wishes):
    """POSIX before Slurm: who is not known to slurmctld when they are added is broken."""
    slurm = site.slurm
    wishes["users"]["early"] = {"uid": 20005, "memberships": member("chemistry")}
    site.story(wishes)
    check(site.held()["users"]["early"]["uid"] == UNRESOLVED, "slurmctld could not resolve the name")
    add_person(slurm, "early", 20005)
    check(site.submits("early").returncode != 0, "jobs of theirs are refused")
    cured = site.settles(wishes, "the next pass cures it")
    check(any("resolve" in step for step in cured["steps"]), f"{cured['steps']}")
    check(site.held()["users"]["early"]["uid"] == 20005, "the name is resolved")
    ran = site.submits("early")
    check(ran.returncode == 0, f"and they can submit {ran.stderr}")
    # One that was not known when slurmctld started: it loses the default account, too.
    wishes["users"]["late"] = {"uid": 20006, "memberships": member("chemistry")}
    site.story(wishes)
    slurm.restart("slurmctld")
    add_person(slurm, "late", 20006)
    site.settles(wishes, "the next pass cures it")
    ran = site.submits("late")
    check(ran.returncode == 0, f"and they can submit without naming the account {ran.stderr}")


class Nonsense(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Who asked has gone away."""


@contextlib.contextmanager
def proxy(slurm, path, answer):
    """slurmrestd with answers of our own where `answer(method, target, status, body)` gives one."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_one(self):
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            status, text = slurm.rest(self.command, self.path, self.headers["X-SLURM-USER-TOKEN"],
                                      self.headers["X-SLURM-USER-NAME"], body or None)
            status, text = answer(self.command, self.path, status, text) or (status, text)
            data = (text if isinstance(text, str) else json.dumps(text)).encode()
            self.send_response(status)
            if status != 304:
                self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = handle_one

        def address_string(self):
            return "proxy"

        def log_message(self, *_):
            pass

    server = Nonsense(str(path), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"unix:{path}"
    finally:
        server.shutdown()
        server.server_close()
        path.unlink()


def hears_nonsense(site, wishes):
    path = site.slurm.root / "proxy.sock"
    cases = {"no accounts": ("accounts", {"accounts": [], "errors": []}, "root account"),
             "no users": ("users", {"users": [], "errors": []}, "users"),
             "no list": ("users", {"errors": []}, "users"),
             "no JSON": ("accounts", "<html>", "JSON"),
             "an error in a 200": ("users", {"users": [], "errors": [
                 {"error_number": 2, "error": "Odd", "description": "odd"}]}, "odd")}
    if site.slurm.version != "22.05":
        cases["no associations"] = ("associations", {"associations": [], "errors": []}, "no cluster")
        cases["a parameter that is not known"] = ("associations", {
            "associations": [], "errors": [], "warnings": [
                {"description": "Ignoring unknown field \"x\""}]}, "does not know")
    for what, (word, text, seen) in cases.items():
        def lie(method, target, status, body):
            hit = method == "GET" and f"/{word}" in target.partition("?")[0]
            return (200, text) if hit else None
        with proxy(site.slurm, path, lie) as endpoint:
            answer = site.fails(f"slurmrestd answers {what}", seen, endpoint=endpoint,
                                desired=wishes)
            check("steps" not in answer, "and nothing is planned from it")
    if site.slurm.version == "22.05":
        return  # writes by commands
    more = copy.deepcopy(wishes)
    more["users"]["alice"]["memberships"] = member("chemistry", MaxJobs="33")
    with proxy(site.slurm, path, lambda m, *_: (304, "") if m == "POST" else None) as endpoint:
        site.settles(more, "304 for what was done", endpoint=endpoint)
    more["users"]["alice"]["memberships"] = member("chemistry", MaxJobs="34")
    def swallow(method, target, status, body):
        return (200, {"errors": []}) if method == "POST" else None
    original = site.slurm.rest
    site.slurm.rest = lambda method, *rest: (200, {}) if method == "POST" else original(method, *rest)
    with proxy(site.slurm, path, swallow) as endpoint:
        site.fails("200 for what was not done", "took it", "MaxJobs is 33", endpoint=endpoint,
                   desired=more)
    site.slurm.rest = original
    site.settles(wishes, "the next pass converges")


def survives_daemons(site, wishes):
    slurm = site.slurm
    more = copy.deepcopy(wishes)
    for i in range(LATER):
        more["users"][f"later{i:02d}"] = {"uid": 31000 + i, "memberships": member("chemistry")}
    slurm.stop("slurmdbd")
    site.fails("slurmdbd is down", "slurmdbd", desired=more)
    slurm.start("slurmdbd")
    slurm.suspend("slurmdbd")
    site.fails("slurmdbd hangs", "slurmdbd", desired=more, timeout_ms=3000, code="unavailable")
    slurm.resume("slurmdbd")
    slurm.stop("slurmctld")
    site.fails("slurmctld is down", "slurmctld", desired=more, timeout_ms=20000)
    slurm.start("slurmctld")
    slurm.suspend("slurmctld")
    site.fails("slurmctld hangs", "slurmctld", desired=more, timeout_ms=5000)
    slurm.resume("slurmctld")
    slurm.stop("slurmrestd")
    site.fails("slurmrestd is down", "slurmrestd" if slurm.version == "24.11" else "", desired=more)
    slurm.start("slurmrestd")
    wait_for(lambda: site.story(check_errors=False).get("held"), "all answer again")
    interrupted = 0
    for wait_s in (0.05, 0.3, 0.8):
        def stumble(name="slurmdbd", wait_s=wait_s):
            time.sleep(wait_s)
            slurm.stop(name, with_signal=9)
        thread = threading.Thread(target=stumble)
        thread.start()
        for user in more["users"].values():
            for membership in user.get("memberships", []):
                membership["settings"] = {"Priority": str(100 + int(wait_s * 100))}
        answer = site.story(more, check_errors=False)
        thread.join()
        interrupted += bool(answer.get("failures") or "error" in answer)
        slurm.start("slurmdbd")
        wait_for(lambda: site.story(check_errors=False).get("held"), "slurmdbd answers again")
    check(interrupted, f"slurmdbd was killed in {interrupted} of 3 passes, which said so")
    site.story(more)
    check(not site.story(more)["steps"], "and the next pass converges")
    wishes["locked"] = {"new_jobs": "remove"}
    site.settles(wishes, "all others are gone", accept_shrink=True)


def inside(version):
    with SlurmLab(version=version, enforce="associations,limits",
                  slurm_conf_lines="MessageTimeout=5") as slurm:
        site = Site(slurm)
        make_others_things(site)
        reads(site)
        wishes = applies(site)
        keeps_what_others_set(site, wishes)
        locks(site, wishes)
        leaves_default_account(site, wishes)
        says_what_fails(site, wishes)
        cures(site, wishes)
        hears_nonsense(site, wishes)
        survives_daemons(site, wishes)


def main():
    version = sys.argv[1] if len(sys.argv) > 1 else next(iter(VERSIONS))
    if version != "22.05" and os.environ.get("ROSTER_TEST_TIER") != "all":
        skip(f"Slurm {version} is for script/test --all (ROSTER_TEST_TIER=all)")
    enter_namespace()
    inside(version)


if __name__ == "__main__":
    main()
