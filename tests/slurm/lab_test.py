"""The lab itself: what tests of Roster against Slurm rely on. The cluster comes up on loopback, runs
jobs of those who have an association, local or the hub's, and of nobody else, takes both kinds of
tokens, survives the restart of each daemon, and leaves nothing on the machine.

    lab_test.py [22.05|24.11]     24.11 only in the tier `all`
"""

import itertools
import os
import pathlib
import subprocess
import sys
import tempfile

from slurm_lab import DAEMONS, NODES, PEOPLE, RESTD_UID, SlurmLab, tokens

from lab import COREWEAVE, Lab, check, enter_namespace, run, skip, wait_for

# Where these daemons write when they are not told otherwise.
DEFAULT_PLACES = ("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf", "/etc/slurm*",
                  "/etc/munge*", "/var/lib/slurm*", "/var/lib/mysql*", "/var/lib/munge*",
                  "/var/lib/roster*", "/var/log/slurm*", "/var/log/munge*", "/var/log/mysql*",
                  "/var/spool/slurm*", "/run/slurm*", "/run/munge*", "/run/mysqld*", "/home/*")
# The story that runs inside of the namespace writes the paths of its labs into the file named so.
ROOTS_FILE = "SLURM_LAB_TEST_ROOTS"


# --- inside of the namespace ----------------------------------------------------------------------


def add_association(slurm, user, account="research"):
    slurm.sacctmgr("add", "account", account, check=False)
    slurm.sacctmgr("add", "user", user, f"account={account}")


def comes_up(slurm):
    check(all(slurm.alive(name) for name in DAEMONS), "all daemons run")
    owner = pathlib.Path(f"/proc/{slurm.machine.processes[slurm.key('slurmrestd')].pid}").stat()
    check(owner.st_uid == RESTD_UID, "slurmrestd runs as a user of its own")
    ports = {f"{port:04X}" for port in slurm.ports.values()}
    listening = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in pathlib.Path(table).read_text().splitlines()[1:]:
            address, port = line.split()[1].split(":")
            if line.split()[3] == "0A" and port in ports:
                listening.add((address, port))
    check(listening == {("0100007F", port) for port in ports}, "all listen, on 127.0.0.1 only")


def runs_jobs(slurm, user, uid):
    done = slurm.as_user(user, "srun", "id", check=False)
    check(done.returncode != 0 and "Invalid account" in done.stderr,
          f"srun of {user} is refused without an association")
    done = slurm.as_user(user, "sbatch", "--wrap", "id", check=False)
    check(done.returncode != 0 and "Invalid account" in done.stderr, "so is sbatch")
    add_association(slurm, user)
    seen = slurm.as_user(user, "srun", "-N2", "sh", "-c", 'echo "$SLURMD_NODENAME $(id -u)"').stdout
    check(sorted(seen.split("\n")[:-1]) == [f"{node} {uid}" for node in NODES],
          f"with one, srun of {user} runs on both nodes as uid {uid}")
    home = pathlib.Path(slurm.as_user(user, "pwd").stdout.strip())
    for node in NODES:
        slurm.as_user(user, "sbatch", "-w", node, "-o", f"{node}.out", "--wrap",
                      'echo "$SLURMD_NODENAME $(id -un) $SLURM_JOB_ACCOUNT"; : > $SLURMD_NODENAME')
    for node in NODES:
        wait_for(lambda file=home / node: file.exists(), f"the batch job on {node} ran")
        check((home / f"{node}.out").read_text() == f"{node} {user} research\n",
              f"sbatch runs on {node} as {user} under the account")


def is_accepted(slurm, token, user=None, tcp=False):
    """By slurmctld and by slurmdbd: each answers without an error."""
    answers = [slurm.rest("GET", f"/{part}/{slurm.api}/{path}", token, user, tcp=tcp)
               for part, path in (("slurm", "jobs"), ("slurmdb", "users"))]
    return [status == 200 and not body["errors"] for status, body in answers]


def takes_tokens(slurm):
    for kind, mint in (("HS256", slurm.mint_hs256), ("RS256", slurm.mint_rs256)):
        check(is_accepted(slurm, mint("alice"), "alice") == [True, True], f"{kind} tokens are taken")
        check(is_accepted(slurm, mint("alice"), "alice", tcp=True) == [True, True], "also over TCP")
        check(is_accepted(slurm, mint("alice", exp=1), "alice") == [False, False],
              "and not when they are expired")
    check(is_accepted(slurm, slurm.mint_hs256("alice", key=b"another key"), "alice")
          == [False, False], "another HS256 key is refused")
    other = tokens.RsaKey(slurm.root / "etc/other.pem", slurm.rsa_key.kid)
    check(is_accepted(slurm, slurm.mint_rs256("alice", key=other), "alice") == [False, False],
          "another RSA key under the known kid is refused")
    check(slurm.rest("GET", f"/slurm/{slurm.api}/jobs")[0] == 401, "nothing is answered without")


def signs_otherwise(slurm):
    slurm.signing = ("jwks",)
    slurm.write_configuration()
    slurm.restart("slurmdbd", "slurmctld")
    check(is_accepted(slurm, slurm.mint_rs256("alice"), "alice") == [True, True],
          "RS256 tokens are taken with the JWKS file alone")
    check(is_accepted(slurm, slurm.mint_hs256("alice"), "alice") == [False, False],
          "HS256 tokens are not")


def recovers(slurm):
    for name in DAEMONS:
        slurm.restart(name)
        works = (slurm.as_user("alice", "srun", "-N2", "true").returncode == 0
                 and slurm.sacctmgr("show", "user", "alice").stdout.startswith("alice|")
                 and is_accepted(slurm, slurm.mint_rs256("alice"), "alice") == [True, True])
        check(works, f"after a restart of {name} srun, sacctmgr and slurmrestd work")
    slurm.suspend("slurmctld")
    try:
        slurm.rest("GET", f"/slurm/{slurm.api}/jobs", slurm.mint_rs256("alice"), "alice",
                   timeout_s=0.5)
        check(False, "a suspended slurmctld answers nobody")
    except TimeoutError:
        check(True, "a suspended slurmctld answers nobody")
    slurm.resume("slurmctld")
    slurm.wait_ready("slurmctld")
    slurm.reconfigure()
    slurm.wait_ready("slurmctld")
    check(slurm.as_user("alice", "srun", "true").returncode == 0, "resumed and reconfigured, it does")


def tells_why(slurm):
    """A daemon that cannot start is named with its log, at once."""
    slurm.slurm_conf_lines = "SlurmctldPort=nonsense"
    slurm.write_configuration()
    slurm.stop("slurmctld")
    try:
        slurm.start("slurmctld")
        check(False, "a broken configuration is told with the log")
    except RuntimeError as error:
        check("slurmctld ended" in str(error) and "nonsense" in str(error),
              "a broken configuration is told with the log")


def knows_the_hubs_people(lab, slurm):
    """Roster's module is what slurmctld, slurmd and slurmrestd resolve them with."""
    jane = lab.scim.create_user("jane")
    wait_for(lambda: run("getent", "passwd", "jane", check=False).returncode == 0,
             "jane is on the node")
    home = pathlib.Path("/home/jane")
    uid = jane[COREWEAVE]["sunkPosixUserId"]
    home.mkdir()
    os.chown(home, uid, uid)
    runs_jobs(slurm, "jane", uid)


def inside(version):
    with Lab() as lab:
        lab.init_hub()
        lab.start_hub()
        lab.start_agent(lab.join_token())
        run("roster-agent", "wait", "--timeout", "20s")
        lab.scim = lab.scim_client()
        roots = pathlib.Path(os.environ[ROOTS_FILE])
        roots.write_text(f"{lab.root}\n")
        with SlurmLab(lab, version=version, people=PEOPLE) as slurm:
            comes_up(slurm)
            runs_jobs(slurm, "alice", PEOPLE["alice"])
            knows_the_hubs_people(lab, slurm)
            takes_tokens(slurm)
            signs_otherwise(slurm)
            recovers(slurm)
            if version != "22.05":
                with SlurmLab(lab, cluster="second") as second:
                    comes_up(second)
                    check(slurm.scontrol("ping").stdout and second.api != slurm.api
                          and slurm.sacctmgr("show", "cluster").stdout.startswith("lab|")
                          and second.sacctmgr("show", "cluster").stdout.startswith("second|"),
                          "both versions run at once")
            slurm.as_user("alice", "srun", "-N2", "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 &")
            slurm.as_user("alice", "sbatch", "--wrap", "touch running; sleep 1000")
            wait_for(pathlib.Path("/home/alice/running").exists, "a job runs at the end")
            tells_why(slurm)
        left = [path for path in pathlib.Path("/proc").glob("[0-9]*/environ")
                if str(slurm.root).encode() in path.read_bytes()]
        check(not left, "the lab's daemons and jobs end with it, while the machine goes on")


# --- the machine ----------------------------------------------------------------------------------


def machine_state():
    """What could be left behind, but for what names the lab's folder."""
    files = {}
    for pattern in DEFAULT_PLACES:
        for top in pathlib.Path("/").glob(pattern.lstrip("/")):
            for path in itertools.chain([top], top.rglob("*") if top.is_dir() else []):
                entry = path.lstat()
                files[str(path)] = (entry.st_mtime_ns, entry.st_size, entry.st_uid, entry.st_mode)
    cgroups = {str(path) for depth in ("*", "*/*", "*/*/*")
               for path in pathlib.Path("/sys/fs/cgroup").glob(depth + "slurm*")}
    return {"files": files, "cgroups": cgroups}


def naming(root):
    """Processes and mounts of the machine that name the folder."""
    found = [line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
             if root in line]
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            said = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if root.encode() in said:
            found.append(f"process {process.name}: {said[:200]}")
    return found


def main():
    version = sys.argv[1] if len(sys.argv) > 1 else "22.05"
    if os.environ.get(ROOTS_FILE):
        enter_namespace()
        return inside(version)
    if os.geteuid() != 0:
        skip("needs root: mount namespaces, Slurm's daemons")
    if version != "22.05" and os.environ.get("ROSTER_TEST_TIER") != "all":
        skip(f"Slurm {version} is for script/test --all (ROSTER_TEST_TIER=all)")
    before = machine_state()
    with tempfile.NamedTemporaryFile("r", prefix="slurm-lab-test-") as roots:
        status = subprocess.run([sys.executable, "-B", *sys.argv],
                                env=os.environ | {ROOTS_FILE: roots.name}).returncode
        if status != 0:
            return status
        after = machine_state()
        root = roots.read().strip()
    check(root and not pathlib.Path(root).exists(), f"{root} is gone")
    check(naming(root) == [], "no process and no mount is left")
    for kind in before:
        check(before[kind] == after[kind], f"no {kind} of the machine are made or changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
