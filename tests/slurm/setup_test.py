"""`roster slurm setup` on the machine of a real Slurm that knows nothing of tokens yet.

    setup_test.py [22.05|24.11]     24.11 only in the tier `all`
"""

import contextlib
import json
import os
import pathlib
import pwd
import re
import sys
import threading

from slurm_lab import RESTD_USER, VERSIONS, SlurmLab

from lab import Lab, check, enter_namespace, run, skip, wait_for

CLUSTER = "hpc"
RESTD_FOLDER = pathlib.Path("/run/slurmrestd")


class Site:
    def __init__(self, lab, slurm):
        self.lab, self.slurm = lab, slurm
        self.folder = slurm.slurm_conf.parent
        self.programs = slurm.root / "sbin"
        self.programs.mkdir()
        release = {"22.05": "slurm-wlm 22.05.8"}.get(slurm.version, f"slurm {slurm.version}.5")
        for name in ("slurmctld", "slurmrestd"):
            (self.programs / name).write_text(f"#!/bin/sh\necho '{release}'\n")
            (self.programs / name).chmod(0o755)

    def setup(self, *words, roles=("controller", "dbd"), code=0):
        named = [word for role in roles for word in ("--role", role)]
        done = self.lab.roster("slurm", "setup", "--conf-dir", self.folder, "--sbin-dir",
                               self.programs, *named, *words, check=False)
        if done.returncode != code or "slurm-lab" in done.stdout + done.stderr:
            raise AssertionError(f"{words}: {done}")
        return done.stdout if code == 0 else done.stderr

    def files(self):
        """Every file of the folder: bytes, mode, owner, and which one it is."""
        return {path.name: (path.read_bytes(), path.stat().st_mode, path.stat().st_uid,
                            path.stat().st_ino)
                for path in self.folder.iterdir() if path.is_file()}

    def report(self):
        done = self.lab.roster("--output", "json", "cluster", "check", CLUSTER, check=False)
        return json.loads(done.stdout)


@contextlib.contextmanager
def manager(slurm):
    """In the place of systemctl and scontrol on this machine, which has no systemd: what they are
    asked is done to the lab's daemons. Gives the list of what was asked."""
    asked, question, answer = [], slurm.root / "asked", slurm.root / "answered"
    for path in (question, answer):
        os.mkfifo(path)
    # 22.05 has its scontrol here, and shall have no use for `reconfigure`.
    for name in ("systemctl",) if slurm.version == "22.05" else ("systemctl", "scontrol"):
        path = pathlib.Path("/usr/bin") / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\necho {name} \"$*\" > {question}\nread good < {answer}\n")
        path.chmod(0o755)

    def serve():
        while True:
            line = question.read_text().strip()
            if line == "end":
                return
            asked.append(line)
            words = line.split()
            if words[:2] == ["systemctl", "restart"]:
                slurm.restart(words[2])
            elif words[0] == "scontrol":
                slurm.scontrol(*words[1:])
                slurm.wait_ready("slurmctld")
            answer.write_text("good\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield asked
    question.write_text("end\n")
    thread.join(10)


def restarts_of(text):
    return re.findall(r"^  (\S.*)$", text.partition("in this order")[2], re.M)


def is_set_up(site):
    slurm = site.slurm
    slurm.jwks.unlink()
    before = site.files()
    shown = site.setup()
    check(site.files() == before, "shown only: no byte, mode or owner has changed")
    check("+AuthAltTypes=auth/jwt" in shown and "+++ " + str(slurm.jwks) in shown,
          "what would change is shown:\n" + shown)
    want = ["/usr/bin/systemctl restart slurmdbd", "/usr/bin/systemctl restart slurmctld"]
    check(restarts_of(shown) == want, f"and what to restart: {restarts_of(shown)}")
    done = site.setup("--apply")
    after = site.files()
    check(restarts_of(done) == want and set(after) == set(before) | {
        "slurm.conf.roster-before", "slurmdbd.conf.roster-before", "jwks.json"},
          f"applied: {sorted(set(after) - set(before))} are new")
    for name in ("slurm.conf", "slurmdbd.conf"):
        check(after[name][1:3] == before[name][1:3], f"{name} has its mode and owner")
        check(after[name + ".roster-before"][:3] == before[name][:3], "and so has what was before")
        lines = after[name][0].decode().splitlines()
        added = [line for line in lines if line not in before[name][0].decode().splitlines()]
        check(added == ["AuthAltTypes=auth/jwt", f"AuthAltParameters=jwks={slurm.jwks}"],
              f"{name} has two lines more")
    check("Nothing to do" in site.setup("--apply") and site.files() == after, "again: nothing")
    problem = site.setup("--check", code=1)
    check("connection failed" in problem, "the daemons do not run with it yet: " + problem.strip())
    for command in restarts_of(done):
        slurm.restart(command.split()[-1])
    seen = site.setup("--check")
    check("connection successful" in seen, "after the restarts they do:\n" + seen)
    check(site.report()["good"], "and roster cluster check is good")


def reads_as_slurm_does(site):
    """What setup makes of unusual lines, slurmctld understands as it was meant."""
    slurm = site.slurm
    good = slurm.slurm_conf.read_text()
    plain = "".join(line for line in good.splitlines(True) if not line.startswith("AuthAlt"))
    key = f"jwt_key={slurm.jwt_key}"
    for lines, want in (
            (f'authALTtypes = "auth/jwt"   # x\nAuthAltParameters="{key}"\n', f"{key},"),
            (f"AuthAltTypes=auth/jwt\nAuthAltParameters={key},\\  \njwks=/old # c\n", f"{key},"),
            (f"AuthAltParameters= {key},\n", f"{key},"),
            ("# c \\\nAuthAltTypes=auth/jwt\r\n", "")):
        slurm.slurm_conf.write_text(plain + lines)
        site.setup("--apply", roles=("controller",))
        slurm.restart("slurmctld")
        shown = dict(re.findall(r"^(AuthAlt\w+) *= (.*)$", slurm.scontrol("show", "config").stdout,
                                re.M))
        check(shown == {"AuthAltTypes": "auth/jwt",
                        "AuthAltParameters": f"{want}jwks={slurm.jwks}"}, f"{lines!r}")
    slurm.slurm_conf.write_text(good)
    slurm.restart("slurmctld")


def follows_the_rotation(site):
    site.lab.roster("slurm", "rotate")
    with manager(site.slurm) as asked:
        done = site.setup("--apply", "--restart")
        slurmctld = ("systemctl restart slurmctld" if site.slurm.version == "22.05"
                     else "scontrol reconfigure")
        check(asked == ["systemctl restart slurmdbd", slurmctld], f"restarted: {asked}")
    check("connection successful" in done, "and checked")
    done = site.lab.roster("slurm", "rotate", "--activate", check=False)
    check(done.returncode == 0, f"the new key signs {done.stderr}")
    site.lab.roster("slurm", "rotate", "--finish", "--force")


def keeps_slurms_key(site):
    """A cluster that signs with Slurm's own key, beside the JWKS."""
    slurm, lab = site.slurm, site.lab
    key = lab.root / "slurm.key"
    key.touch(mode=0o600)
    key.write_bytes(slurm.jwt_key.read_bytes())
    lab.roster("cluster", "set", CLUSTER, "--signing", "hs256", "--key-file", key,
               "--accept-root-key")
    missing = site.setup("--key-file", site.folder / "none", code=1)
    check("roster slurm keygen" in missing, missing.strip())
    slurm.jwt_key.chmod(0o640)
    check("chmod 0600" in site.setup("--key-file", slurm.jwt_key, code=1), "an open key is refused")
    slurm.jwt_key.chmod(0o600)
    os.chown(slurm.jwt_key, 65534, 65534)
    check("chown" in site.setup("--key-file", slurm.jwt_key, code=1), "a stranger's as well")
    slurm.owner(slurm.jwt_key, "slurm")
    site.setup("--key-file", slurm.jwt_key, "--apply")
    line = f"AuthAltParameters=jwks={slurm.jwks},jwt_key={slurm.jwt_key}"
    for path in (slurm.slurm_conf, slurm.slurmdbd_conf):
        check(line in path.read_text().splitlines(), f"{path.name}: jwks= stays, jwt_key= is added")
    check("Nothing to do" in site.setup("--apply"), "and jwt_key= is found the next time")
    slurm.restart("slurmdbd", "slurmctld")
    check("connection successful" in site.setup("--check"), "Slurm's key is taken")
    lab.roster("cluster", "set", CLUSTER, "--signing", "rs256")
    site.setup("--apply")
    slurm.restart("slurmdbd", "slurmctld")
    check("connection successful" in site.setup("--check"), "and the hub's again")


def refuses(site):
    slurm = site.slurm
    good = slurm.slurm_conf.read_bytes()

    def refused(what, seen, text=None):
        if text is not None:
            slurm.slurm_conf.write_bytes(text)
        before = site.files()
        said = site.setup("--apply", code=1)
        check(seen in said and site.files() == before, f"{what}: {said.strip()}")

    refused("a second setting", "a second time", good + b"authalttypes=auth/jwt\n")
    refused("two values", "one plain value",
            good.replace(b"AuthAltTypes=auth/jwt", b"AuthAltTypes=auth/jwt auth/none"))
    refused("cut off", "does not go on", good + b"NodeName=x \\\n")
    refused("another cluster", "is of the cluster other",
            good.replace(f"ClusterName={slurm.cluster}".encode(), b"ClusterName=other"))
    refused("an included file that is not there", "includes a file", good + b"Include none.conf\n")
    included = site.folder / "auth.conf"
    included.write_text("AuthAltParameters=jwt_key=/k\n")
    refused("an included file", "not edited", good + b"Include auth.conf\n")
    included.unlink()
    without = b"".join(line for line in good.splitlines(True) if not line.startswith(b"AuthAlt"))
    slurm.slurm_conf.chmod(0o666)
    refused("a file that all may write", "written by others", without)
    slurm.slurm_conf.chmod(0o644)
    in_the_way = site.folder / "slurm.conf.roster-before"
    kept = in_the_way.read_bytes()
    in_the_way.unlink()
    (in_the_way / "x").mkdir(parents=True)
    refused("a copy that cannot be kept", "everything is as it was", without)
    (in_the_way / "x").rmdir()
    in_the_way.rmdir()
    in_the_way.write_bytes(kept)
    authority = site.lab.root / "authority.pem"
    authority.write_bytes(site.lab.ca_file.read_bytes())
    as_nobody = run("setpriv", "--reuid", "65534", "--clear-groups", "roster", "--url",
                    site.lab.url, "slurm", "setup", check=False, env=os.environ | {
                        "ROSTER_TOKEN": site.lab.token_file.read_text().strip(),
                        "ROSTER_CA_FILE": str(authority), "ROSTER_ORG": site.lab.org})
    check("is for root" in as_nobody.stderr, "not for everybody: " + as_nobody.stderr.strip())
    slurm.slurm_conf.write_bytes(good)


def serves_the_hub_alone(site):
    """The unit's settings, carried out by hand: here is no systemd."""
    slurm, lab = site.slurm, site.lab
    lab.roster("cluster", "set", CLUSTER, "--endpoint", f"unix:{RESTD_FOLDER}/slurmrestd.socket")
    options = ("--socket-group", "daemon")
    check("no group" in site.setup("--socket-group", "nobody-has-it", roles=("rest",), code=1),
          "the group must be there")
    shown = site.setup("--apply", *options, roles=("rest",))
    check(restarts_of(shown) == ["/usr/bin/systemctl daemon-reload",
                                 "/usr/bin/systemctl restart slurmrestd"], "it says how to restart")
    drop_in = pathlib.Path("/etc/systemd/system/slurmrestd.service.d/roster.conf")
    lines = drop_in.read_text().splitlines()
    check("Nothing to do" in site.setup("--apply", *options, roles=("rest",)), "again: nothing")
    start = next(line for line in lines if line.startswith("ExecStart=/")).partition("=")[2]
    words = start.replace(str(site.programs), "/usr/sbin").split()
    environment = dict(line.partition("=")[2].split("=", 1) for line in lines
                       if line.startswith("Environment="))
    check(environment == {"SLURM_JWT": "daemon", "SLURM_CONF": str(slurm.slurm_conf)},
          f"its environment: {environment}")
    user = pwd.getpwnam(RESTD_USER)
    RESTD_FOLDER.mkdir(mode=0o710)
    RESTD_FOLDER.chmod(0o710)
    os.chown(RESTD_FOLDER, user.pw_uid, user.pw_gid)
    group = next(line for line in lines if line.startswith("ExecStartPre=+"))
    run(*group.removeprefix("ExecStartPre=+").split())
    slurm.machine.start(f"{slurm.name}/log/restd-unit", "setpriv", "--clear-groups", "--reuid",
                        RESTD_USER, "--regid", RESTD_USER, *words,
                        env=dict(slurm.environment) | environment, cwd="/")
    wait_for((RESTD_FOLDER / "slurmrestd.socket").exists, "slurmrestd listens")
    wait_for(lambda: site.report()["good"], "roster cluster check is good on it")
    seen = site.setup("--check", *options, roles=("rest",))
    check("connection successful" in seen, "and so is setup --check")
    for group_id, want in (("daemon", 0), ("nogroup", 7)):
        done = run("setpriv", "--reuid", "65534", "--regid", group_id, "--clear-groups", "curl",
                   "-s", "-o", "/dev/null", "--unix-socket", RESTD_FOLDER / "slurmrestd.socket",
                   "http://localhost/openapi", check=False)
        check(done.returncode == want, f"curl of group {group_id} ends with {done.returncode}")


def main():
    version = sys.argv[1] if len(sys.argv) > 1 else next(iter(VERSIONS))
    if version != "22.05" and os.environ.get("ROSTER_TEST_TIER") != "all":
        skip(f"Slurm {version} is for script/test --all (ROSTER_TEST_TIER=all)")
    enter_namespace()
    with Lab() as lab:
        lab.init_hub()
        lab.start_hub()
        with SlurmLab(lab, version=version, signing=()) as slurm:
            lab.roster("cluster", "add", CLUSTER, "--endpoint", f"unix:{slurm.socket}",
                       "--slurm-name", slurm.cluster)
            site = Site(lab, slurm)
            is_set_up(site)
            reads_as_slurm_does(site)
            follows_the_rotation(site)
            keeps_slurms_key(site)
            refuses(site)
            if version == "22.05":  # of the others the daemons are behind a root of their own
                serves_the_hub_alone(site)


if __name__ == "__main__":
    main()
