"""roster-agent in nsscache's place, on real programs: rosterd over TLS as the SCIM server, the nsscache.conf
of the guides for SUNK, nsscache's command line and exit statuses, libnss-cache from Debian as the reader;
then the same source for libnss_roster's mapped cache, by passes and by a running agent."""

import fcntl
import json
import os
import pathlib
import stat
import sys

from lab import CORE_GROUP, Lab, enter_namespace, run, wait_for
from nsscache_conf import nsscache_conf

PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJkRyIjPyoq7nKHnuZe9ZKzuWD2RtPvxd6pgfeiQzQpC {}@laptop"


def check(condition, what):
    if not condition:
        raise AssertionError(what)
    print(f"  ok: {what}", flush=True)


def getent(database, key):
    done = run("getent", database, key, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def read_by(source):
    """What glibc asks, for processes that start from now on."""
    path = pathlib.Path("/etc/nsswitch.conf")
    lines = [line for line in path.read_text().splitlines()
             if not line.startswith(("passwd:", "group:", "shadow:"))]
    lines += [f"{name}: files {source}" for name in ("passwd", "group", "shadow")]
    path.write_text("\n".join(lines) + "\n")


class Site:
    def __init__(self, lab):
        self.lab = lab
        self.stamps = lab.root / "stamps"
        self.stamps.mkdir()
        self.conf = lab.root / "nsscache.conf"
        self.write_conf()
        token = lab.roster("token", "create", "--name", "nodes", "--scope", "read").stdout.strip()
        self.environment = os.environ | {"NSSCACHE_SCIM_AUTH_TOKEN": token}
        self.nsscache_path = lab.root / "nsscache"
        self.nsscache_path.symlink_to("/usr/bin/roster-agent")

    def write_conf(self, more=""):
        url = f"{self.lab.url}/api/organizations/{self.lab.org}/scim/v2"
        own = f"roster_ca_file = {self.lab.ca_file}\nscim_override_home_directory = /mnt/home/%%u\n"
        self.conf.write_text(nsscache_conf(url, "/etc", self.stamps, own + more))

    def nsscache(self, *words, expect=0, **options):
        done = run(self.nsscache_path, "--config-file", self.conf, *words, check=False,
                   env=self.environment, **options)
        check(done.returncode == expect, f"nsscache {' '.join(map(str, words))}: exit {expect}"
              + ("" if done.returncode == expect else f", got {done.returncode}: {done.stderr}"))
        return done

    def report(self):
        return json.loads((self.stamps / "roster-mirror-report.json").read_text())


def the_drop_in(site, scim, alice):
    site.nsscache("update")
    read_by("cache")
    line = getent("passwd", "alice")
    check(line.endswith(":Alice Example:/mnt/home/alice:/bin/bash"), "libnss-cache finds alice by name")
    uid = line.split(":")[2]
    check(getent("passwd", uid).startswith("alice:"), "and by uid")
    check(getent("group", "ml-team").split(":")[3] == "alice,bob", "a group has its members")
    check(getent("shadow", "bob").startswith("bob:*:"), "and shadow its entry")
    keys = pathlib.Path("/etc/sshkey.cache").read_text()
    check(f"alice:['{PUBLIC.format('alice')}']\n" in keys, "the sshkey map is nsscache's")
    mode = stat.S_IMODE(os.stat("/etc/shadow.cache").st_mode)
    check(mode == stat.S_IMODE(os.stat("/etc/shadow").st_mode), "shadow.cache has shadow's mode")
    check("all maps are in order" in site.nsscache("verify").stdout, "verify finds nothing")
    status = site.nsscache("status").stdout
    check("NSS map: passwd\nlast-modify-timestamp: Unknown\n" in status, "status is nsscache's")
    site.nsscache("status", "--epoch", "--template", "%(map)s %(key)s %(value)s")
    before = os.stat("/etc/passwd.cache").st_ino
    site.nsscache("update")
    check(site.report()["conditional"], "an unchanged server costs conditional requests only")
    check(os.stat("/etc/passwd.cache").st_ino == before, "and no file is written")
    scim.patch(f"/Users/{alice['id']}", {"op": "replace", "path": "active", "value": False})
    site.nsscache("update", "-m", "passwd", "-m", "group")
    check(getent("passwd", "alice") is None, "a leaver is gone")
    check(getent("group", "ml-team").split(":")[3] == "bob", "also from groups")
    scim.patch(f"/Users/{alice['id']}", {"op": "replace", "path": "active", "value": True})
    site.nsscache("update")
    check(getent("passwd", "alice") is not None, "and comes back")
    done = run("/usr/bin/roster-agent", "sync", "--nsscache-conf", site.conf, "--full", "--output",
               "json", "--metrics-file", site.lab.root / "metrics", env=site.environment)
    check(json.loads(done.stdout)["maps"]["passwd"]["outcome"] == "unchanged", "sync reports in JSON")
    check("roster_mirror_ok 1" in (site.lab.root / "metrics").read_text(), "and in metrics")


def exit_statuses(site):
    held = open(site.stamps / "lock", "r+")
    fcntl.lockf(held, fcntl.LOCK_EX)
    try:
        error = site.nsscache("update", expect=200).stderr
        check(f"pid {os.getpid()} (python3, since 20" in error, "who holds the lock is told")
        done = run("/usr/bin/roster-agent", "sync", "--nsscache-conf", site.conf, "--metrics-file",
                   site.lab.root / "metrics", env=site.environment, check=False)
        check(done.returncode == 1 and f"pid {os.getpid()}" in done.stderr, "sync tells it, too")
        check("roster_mirror_ok 0" in (site.lab.root / "metrics").read_text(), "and its metrics")
    finally:
        held.close()
    for option in (["--full"], ["--force-write"], ["--accept-id", "a=20001"]):
        done = run("/usr/bin/roster-agent", "sync", *option, check=False)
        check(done.returncode == 2 and "requires --nsscache-conf" in done.stderr + done.stdout,
              f"{option[0]} is of no use with a hub")
    site.nsscache(expect=64)
    check("--force-write" in site.nsscache("help", "update").stdout, "help tells of a command")
    check("repair" in site.nsscache("help").stdout, "and of all")
    site.nsscache("help", "mend", expect=1)
    site.nsscache("mend", expect=70)
    site.nsscache("update", "--colour", expect=2)
    site.write_conf("scim_colour = red")
    error = site.nsscache("update", expect=1).stderr
    check("scim_colour" in error and str(site.conf) in error, "an unknown option is named")
    site.write_conf()
    good = site.environment
    site.environment = good | {"NSSCACHE_SCIM_AUTH_TOKEN": "rst_wrong"}
    check("does not know the token" in site.nsscache("update", "--full", expect=75).stderr,
          "a wrong token is told")
    site.environment = good
    pathlib.Path("/etc/group.cache").unlink()
    pathlib.Path("/etc/group.cache").mkdir()
    check("group: " in site.nsscache("update", expect=1).stderr, "one map's failure is the run's")
    pathlib.Path("/etc/group.cache").rmdir()
    pathlib.Path("/etc/passwd.cache").write_bytes(b"alice:x:1\n")
    check("has 3 fields" in site.nsscache("verify", "-m", "passwd", expect=1).stderr,
          "verify finds a broken file")
    site.nsscache("repair")
    site.nsscache("verify")
    site.lab.stop("rosterd")
    site.nsscache("update", expect=75)
    check(getent("passwd", "alice") is not None, "without the server, what is there stays")
    run("roster-agent", "deny", "alice")
    site.nsscache("update", expect=75)
    check(getent("passwd", "alice").endswith(":/usr/sbin/nologin"), "but a lockout takes effect")
    check("alice:\n" in pathlib.Path("/etc/sshkey.cache").read_text(), "and takes the keys")
    run("roster-agent", "allow", "alice")
    site.lab.start_hub()
    site.nsscache("update")
    check(getent("passwd", "alice").endswith(":/bin/bash"), "until the server says otherwise")


def phase():
    return json.loads(run("roster-agent", "status", "--output", "json", check=False).stdout)["phase"]


def the_mapped_cache(site, scim, alice):
    lab = site.lab
    cache = pathlib.Path("/var/lib/roster/cache")
    done = run("roster-agent", "sync", "--nsscache-conf", site.conf, "--publish", "cache",
               "--cache-dir", cache, env=site.environment)
    check("cache       published" in done.stdout, "a pass publishes the mapped cache")
    read_by("roster")
    check(getent("passwd", "alice").split(":")[5] == "/mnt/home/alice", "libnss_roster has the same")
    check(getent("group", "ml-team").split(":")[3] == "alice,bob", "groups, too")
    uid = getent("passwd", "alice").split(":")[2]
    keys = run("setpriv", "--reuid", "roster-keys", "--regid", "roster-keys", "--clear-groups",
               "/usr/bin/roster-authorized-keys", "alice", uid).stdout
    check(PUBLIC.format("alice") in keys, "and sshd gets the keys")
    lab.start("agent", "roster-agent", "run", "--nsscache-conf", site.conf, "--publish", "cache",
              "--cache-dir", cache, "--interval", "200ms", env=site.environment)
    run("roster-agent", "wait", "--timeout", "20s", "--user", "alice")
    scim.patch(f"/Users/{alice['id']}", {"op": "replace", "path": "active", "value": False})
    wait_for(lambda: getent("passwd", "alice") is None, "a running agent notices a leaver", 20,
             pause=0.05)
    status = lab.agent_status()
    check(status["phase"] == "following" and status["mirror"]["ok"], "status tells of the last pass")
    lab.stop("rosterd")
    wait_for(lambda: phase() == "unreachable", "and of a server that is gone", 20,
             pause=0.05)
    check(getent("passwd", "bob") is not None, "while everybody is served")
    lab.start_hub()
    wait_for(lambda: phase() == "following", "until it is back", 20, pause=0.05)
    check(lab.stop("agent") == 0, "the agent ends in order")


def main():
    enter_namespace()
    with Lab() as lab:
        lab.init_hub()
        lab.start_hub()
        site = Site(lab)
        scim = lab.scim_client()
        alice = scim.create_user("alice", [PUBLIC.format("alice")], displayName="Alice Example")
        bob = scim.create_user("bob", displayName="Bob Example")
        members = [{"value": alice["id"]}, {"value": bob["id"]}]
        scim.call("POST", "/Groups", {"schemas": [CORE_GROUP], "displayName": "ML-Team",
                                      "members": members}, expect=201)
        the_drop_in(site, scim, alice)
        exit_statuses(site)
        the_mapped_cache(site, scim, alice)
    print("1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
