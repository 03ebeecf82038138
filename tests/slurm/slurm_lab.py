#!/usr/bin/env python3
"""A real Slurm cluster on one machine, for tests and by hand.

munged, mariadbd, slurmdbd, slurmctld, two slurmds (n1, n2) and slurmrestd, on free loopback ports,
with everything they write below one folder of the lab's machine (tests/e2e/lab.py): private mounts,
nothing left behind. By hand, as root:

    tests/slurm/slurm_lab.py                     a shell inside of the lab
    tests/slurm/slurm_lab.py -- COMMAND...       runs a command in it and ends with its exit status

Inside, `srun`, `sacctmgr` and so on speak to the lab's cluster, and there are
    as USER COMMAND...                     a command as alice, bob, carol, dave, or the hub's people
    token [--rs256] USER [CLAIM=JSON...]   prints a token for slurmrestd, HS256 without --rs256
    rest METHOD PATH [BODY]                asks slurmrestd as $REST_USER (root) with $REST_TOKEN
and SLURM_LAB_ROOT, _SOCKET, _URL, _JWT_KEY, _JWKS, _RSA_KEY, _LOGS, _CLUSTER say where things are.
With --hub, $ROSTER is the `roster` command with its options, and SCIM_URL, SCIM_TOKEN and
SCIM_CA_FILE are a provisioning client's.
"""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import tokens  # noqa: E402
import trixie  # noqa: E402
from lab import MULTIARCH, Lab, Machine, enter_namespace, run, skip, wait_for  # noqa: E402

# Each with the newest API that its slurmrestd serves.
VERSIONS = {"22.05": "v0.0.38", "24.11": "v0.0.42"}

NODES = ("n1", "n2")
DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", *(f"slurmd-{node}" for node in NODES),
           "slurmrestd")
CLIENTS = ("sacct", "sacctmgr", "salloc", "sbatch", "scancel", "scontrol", "sinfo", "sprio",
           "squeue", "srun", "sshare", "sstat")
PEOPLE = {"alice": 20001, "bob": 20002, "carol": 20003, "dave": 20004}
RESTD_USER, RESTD_UID = "slurmrestd", 64031
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
START_SECONDS = {"mariadbd": 60, "slurmdbd": 60}
# Lines of slurm.conf that add to others of the same name instead of replacing them.
GO_HOME = 'cd "$HOME" 2>/dev/null || cd /; exec "$@"'
ADDING = {"nodename", "partitionname", "nodeset", "downnodes"}


def render(settings, lines):
    """A configuration file of `settings`, but for those that the text `lines` sets otherwise."""
    replaced = {line.split("=")[0].strip().lower() for line in lines.splitlines()} - ADDING
    kept = [f"{name}={value}" for name, value in settings if name.lower() not in replaced]
    return "\n".join([*kept, *lines.splitlines()]) + "\n"


def free_ports(count):
    """Loopback ports that differ from each other."""
    with contextlib.ExitStack() as open_until_all:
        probes = [open_until_all.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class SlurmLab:
    """One cluster; `with SlurmLab() as slurm:` inside the namespace (lab.enter_namespace).

    `version`: "22.05", as Debian 12 installs it, or "24.11", from a Debian 13 that its daemons and
    commands see as their root; people, their homes and Roster's module and cache are the machine's.
    `machine`: where it runs, a Machine of tests/e2e/lab.py or a Lab, whose people Slurm then knows as
    the node does; without one it makes its own. Several clusters may share a machine.
    `people`: local users to make, name to uid (and gid); none by default on a machine that is given.
    `enforce`: AccountingStorageEnforce. `signing`: what AuthAltParameters names, of "jwks" and
    "jwt_key". `slurm_conf_lines`, `slurmdbd_conf_lines`: lines to add, or to put in the place of the
    lab's own.

    Paths, the same in that Debian 13 and outside of it: root, slurm_conf, slurmdbd_conf, socket and
    tcp (host:port) of slurmrestd, jwt_key, jwks, rsa_key.path, logs (a folder: munged.log ...
    slurmrestd.log), bin (Slurm's commands for this cluster and no other). Daemons are named as in
    DAEMONS.
    """

    def __init__(self, machine=None, *, version="22.05", people=None, enforce="associations",
                 signing=("jwks", "jwt_key"), cluster="lab", slurm_conf_lines="",
                 slurmdbd_conf_lines=""):
        if version not in VERSIONS:
            raise ValueError(f"no lab for Slurm {version}, only for {', '.join(VERSIONS)}")
        self.version = version
        self.api = VERSIONS[version]
        self.machine = machine
        self.people = people if people is not None else ({} if machine else PEOPLE)
        self.enforce = enforce
        self.signing = signing
        self.cluster = cluster
        self.slurm_conf_lines = slurm_conf_lines
        self.slurmdbd_conf_lines = slurmdbd_conf_lines
        self.base = pathlib.Path("/")  # what its daemons and commands have as their root
        self.opened = contextlib.ExitStack()

    def __enter__(self):
        self.require()
        with contextlib.ExitStack() as undo:
            if self.machine is None:
                self.machine = undo.enter_context(Machine())
            undo.callback(self.close)
            self.install()
            self.start()
            self.opened = undo.pop_all()
        return self

    def __exit__(self, *why):
        return self.opened.__exit__(*why)

    def require(self):
        """Skips the test on a machine without Slurm."""
        if self.version == "24.11":
            self.debian = trixie.folder()
            return
        missing = [name for name in ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd",
                                     "slurmrestd", "sbatch") if not shutil.which(name, path=PATH)]
        if missing:
            skip(f"no {', '.join(missing)} here; script/setup installs Slurm {self.version}")

    # --- files ---------------------------------------------------------------------------------

    def install(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix=f"slurm-{self.version}-",
                                                  dir=self.machine.root))
        self.root.chmod(0o755)
        self.name = self.root.name
        self.slurm_conf = self.root / "etc/slurm.conf"
        self.slurmdbd_conf = self.root / "etc/slurmdbd.conf"
        self.jwt_key = self.root / "etc/jwt_hs256.key"
        self.jwks = self.root / "etc/jwks.json"
        self.socket = self.root / "run/slurmrestd/slurmrestd.socket"
        self.logs = self.root / "log"
        self.bin = self.root / "bin"
        self.munge_socket = self.root / "run/munge/munge.socket"
        self.mysql_socket = self.root / "run/mysql/mysqld.sock"
        self.ports = dict(zip(("mariadbd", "slurmdbd", "slurmctld", "slurmrestd",
                               *(f"slurmd-{node}" for node in NODES)), free_ports(6 + len(NODES))))
        self.tcp = f"127.0.0.1:{self.ports['slurmrestd']}"
        self.environment = {"PATH": PATH, "LANG": "C.UTF-8", "SLURM_CONF": str(self.slurm_conf)}
        if self.version == "24.11":
            self.mount_debian()
        for base in {pathlib.Path("/"), self.base}:
            self.add_people(base)
        self.make_folders()
        self.make_keys()
        self.write_configuration()
        self.write_commands()

    def mount_debian(self):
        """Debian 13 as this machine would be under it, with the same paths for all that is shared."""
        self.base = self.machine.root / f"{self.name}-debian"
        layers = [self.machine.root / f"{self.name}-{kind}" for kind in ("upper", "work")]
        for path in (self.base, *layers):
            path.mkdir()
        self.machine.mount_at(self.base, "-t", "overlay", "-o", f"lowerdir={self.debian},"
                              f"upperdir={layers[0]},workdir={layers[1]}", "overlay")
        self.machine.mount_at(self.base / "proc", "-t", "proc", "proc")
        self.machine.mount_at(self.base / "sys", "-t", "sysfs", "-o", "ro", "sysfs")
        for shared in (self.root, "/home", "/var/lib/roster"):
            inside = self.base / str(shared).lstrip("/")
            inside.mkdir(parents=True, exist_ok=True)
            self.machine.mount_at(inside, "--bind", shared)
        module = MULTIARCH / "libnss_roster.so.2"
        if module.exists():
            shutil.copy(module, self.base / str(MULTIARCH).lstrip("/"))
        shutil.copy("/etc/nsswitch.conf", self.base / "etc/nsswitch.conf")

    def add_people(self, base):
        # Slurm binds to the address of the machine's name and must find it on loopback.
        hosts = base / "etc/hosts"
        name = f"127.0.0.1 localhost {socket.gethostname()}\n"
        hosts.write_text(name + hosts.read_text().removeprefix(name))
        self.add_local_user(base, RESTD_USER, RESTD_UID, "/nonexistent", "/usr/sbin/nologin")
        for person, uid in self.people.items():
            self.add_local_user(base, person, uid, f"/home/{person}", "/bin/bash")
            home = pathlib.Path("/home") / person
            home.mkdir(mode=0o700, exist_ok=True)
            os.chown(home, uid, uid)

    def add_local_user(self, base, name, uid, home, shell):
        """Into the private passwd, with a group of the same name and number."""
        for path, line in (("passwd", f"{name}:x:{uid}:{uid}:{name.title()}:{home}:{shell}"),
                           ("group", f"{name}:x:{uid}:"),
                           ("shadow", f"{name}:*:19000:0:99999:7:::")):
            file = base / "etc" / path
            if not any(known.startswith(name + ":") for known in file.read_text().splitlines()):
                with open(file, "a") as end:
                    end.write(line + "\n")

    def owner(self, path, user):
        """Gives the file to a system user of the Debian that this Slurm is installed in."""
        for line in (self.base / "etc/passwd").read_text().splitlines():
            name, _, uid, gid = line.split(":")[:4]
            if name == user:
                return os.chown(path, int(uid), int(gid))
        raise KeyError(f"no user {user} in {self.base}/etc/passwd")

    def make_folders(self):
        for path, user in (("etc", "root"), ("log", "root"), ("bin", "root"), ("tmp", "root"),
                           ("state/slurmctld", "slurm"), ("state/mysql", "mysql"),
                           *((f"state/slurmd-{node}", "root") for node in NODES), ("run", "root"),
                           ("run/munge", "munge"), ("run/mysql", "mysql"),
                           ("run/slurmrestd", RESTD_USER)):
            (self.root / path).mkdir(parents=True)
            self.owner(self.root / path, user)
        (self.root / "tmp").chmod(0o1777)

    def make_keys(self):
        for path, user, size in ((self.root / "etc/munge.key", "munge", 128),
                                 (self.jwt_key, "slurm", 32)):
            path.touch(mode=0o600)
            path.write_bytes(os.urandom(size))
            self.owner(path, user)
        self.rsa_key = tokens.RsaKey(self.root / "etc/rsa.pem", "lab-1")
        self.write_jwks(self.rsa_key)

    def write_jwks(self, *keys):
        """The public keys that Slurm accepts, from the next start of slurmctld and slurmdbd on."""
        self.jwks.write_text(tokens.jwks(*keys))

    def write_configuration(self):
        """Again, when a test has changed one of the constructor's settings; daemons read it when they
        start."""
        files = {"jwks": self.jwks, "jwt_key": self.jwt_key}
        authentication = [("AuthType", "auth/munge"), ("AuthInfo", f"socket={self.munge_socket}"),
                          ("SlurmUser", "slurm")]
        if self.signing:
            authentication += [("AuthAltTypes", "auth/jwt"), ("AuthAltParameters", ",".join(
                f"{name}={files[name]}" for name in self.signing))]
        self.slurm_conf.write_text(render(authentication + self.slurm_settings(),
                                          self.slurm_conf_lines))
        self.slurmdbd_conf.touch(mode=0o600)
        self.owner(self.slurmdbd_conf, "slurm")
        self.slurmdbd_conf.write_text(render(authentication + self.slurmdbd_settings(),
                                             self.slurmdbd_conf_lines))
        # Without proctrack/cgroup and task/cgroup none is used; 22.05 cannot say so.
        plugin = "cgroup/v1" if self.version == "22.05" else "disabled"
        (self.root / "etc/cgroup.conf").write_text(f"CgroupPlugin={plugin}\n")
        (self.root / "etc/my.cnf").write_text(f"""[mysqld]
user=mysql
datadir={self.root}/state/mysql
socket={self.mysql_socket}
pid-file={self.root}/run/mysql/mysqld.pid
tmpdir={self.root}/tmp
bind-address=127.0.0.1
port={self.ports['mariadbd']}
skip-name-resolve
innodb_buffer_pool_size=128M
innodb_log_file_size=32M
innodb_lock_wait_timeout=900
innodb_flush_log_at_trx_commit=0
performance_schema=OFF
""")

    def slurm_settings(self):
        host = socket.gethostname()
        run_folder, state = self.root / "run", self.root / "state"
        nodes = [("NodeName", f"{node} NodeHostname={host} NodeAddr=127.0.0.1 "
                  f"Port={self.ports[f'slurmd-{node}']} CPUs=8 RealMemory=2000 State=UNKNOWN")
                 for node in NODES]
        return [
            ("ClusterName", self.cluster), ("SlurmctldHost", f"{host}(127.0.0.1)"),
            ("SlurmctldPort", self.ports["slurmctld"]), ("CredType", "cred/munge"),
            ("CommunicationParameters", "NoCtldInAddrAny,NoInAddrAny"),
            ("StateSaveLocation", state / "slurmctld"), ("SlurmdSpoolDir", state / "slurmd-%n"),
            ("SlurmctldPidFile", run_folder / "slurmctld.pid"),
            ("SlurmdPidFile", run_folder / "slurmd-%n.pid"),
            ("SlurmctldDebug", "info"), ("SlurmdDebug", "info"),
            # More CPUs than the machine has, so that a test's jobs never wait for each other.
            ("SlurmdParameters", "config_overrides"),
            ("SelectType", "select/cons_tres"), ("SelectTypeParameters", "CR_Core"),
            ("ProctrackType", "proctrack/linuxproc"), ("TaskPlugin", "task/none"),
            ("JobAcctGatherType", "jobacct_gather/none"), ("MpiDefault", "none"),
            ("MailProg", "/bin/true"),
            ("AccountingStorageType", "accounting_storage/slurmdbd"),
            ("AccountingStorageHost", "127.0.0.1"),
            ("AccountingStoragePort", self.ports["slurmdbd"]),
            # Not AuthInfo: this is what a client's connection to slurmdbd asks munge by.
            ("AccountingStoragePass", self.munge_socket),
            ("AccountingStorageEnforce", self.enforce),
            ("ReturnToService", "2"), ("KillWait", "2"),
            # A batch job waits for the next second, not for three.
            ("SchedulerParameters", "batch_sched_delay=0"), *nodes,
            ("PartitionName", "debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP"),
        ]

    def slurmdbd_settings(self):
        return [
            ("CommunicationParameters", "NoInAddrAny"), ("DbdHost", "localhost"),
            ("DbdAddr", "127.0.0.1"), ("DbdPort", self.ports["slurmdbd"]), ("DebugLevel", "info"),
            ("PidFile", self.root / "run/slurmdbd.pid"),
            ("StorageType", "accounting_storage/mysql"), ("StorageHost", "127.0.0.1"),
            ("StoragePort", self.ports["mariadbd"]), ("StorageUser", "slurm"),
            ("StoragePass", "slurm-lab"), ("StorageLoc", "slurm_acct_db"),
        ]

    def write_commands(self):
        """Slurm's commands by which anyone on the machine speaks to this cluster and no other."""
        words = ["env", f"SLURM_CONF={self.slurm_conf}"]
        for name in CLIENTS:
            path = self.bin / name
            path.write_text("#!/bin/sh\nexec " + shlex.join(self.inside(*words, f"/usr/bin/{name}"))
                            + ' "$@"\n')
            path.chmod(0o755)

    def inside(self, *command):
        """The words that run `command` where this Slurm is installed."""
        chroot = ["chroot", self.base] if self.version == "24.11" else []
        return [str(word) for word in (*chroot, *command)]

    # --- daemons -------------------------------------------------------------------------------

    def start(self, *names):
        """Starts these daemons, or all, in their order; returns when each answers."""
        for name in names or DAEMONS:
            if name == "mariadbd" and not (self.root / "state/mysql/mysql").exists():
                self.make_database()
            self.launch(name)
            self.wait_ready(name)
            if name == "slurmctld":
                self.register_nodes()
            elif name == "mariadbd":
                self.mariadb("create database if not exists slurm_acct_db;"
                             "create user if not exists slurm@'127.0.0.1' identified by 'slurm-lab';"
                             "grant all on slurm_acct_db.* to slurm@'127.0.0.1'")
            elif name == "slurmdbd" and not self.sacctmgr("show", "cluster").stdout.strip():
                self.sacctmgr("add", "cluster", self.cluster)

    def register_nodes(self):
        """A slurmctld that comes back asks its nodes after some four seconds only; told to read their
        configuration, they come by themselves. Unlike by `reconfigure`, slurmctld's own view of
        people and associations stays as it is."""
        for node in NODES:
            if self.alive(f"slurmd-{node}"):
                self.machine.processes[self.key(f"slurmd-{node}")].send_signal(signal.SIGHUP)

    def launch(self, name):
        """Starts one daemon and does not wait for it."""
        environment = dict(self.environment)
        if name == "slurmrestd":
            environment["SLURM_JWT"] = "daemon"
            self.socket.unlink(missing_ok=True)
        self.logs.mkdir(exist_ok=True)
        self.machine.start(f"{self.name}/log/{name}", *self.inside(*self.command(name)),
                           env=environment, cwd="/")

    def command(self, name):
        as_user = ("setpriv", "--clear-groups", "--reuid")
        if name == "munged":
            folder = self.root / "run/munge"
            return (*as_user, "munge", "--regid", "munge", "munged", "--foreground",
                    "--key-file", self.root / "etc/munge.key", "--socket", self.munge_socket,
                    "--pid-file", folder / "munged.pid", "--log-file", folder / "munged.log",
                    "--seed-file", folder / "munged.seed")
        if name == "mariadbd":
            return "mariadbd", f"--defaults-file={self.root}/etc/my.cnf"
        if name == "slurmrestd":
            return (*as_user, RESTD_USER, "--regid", RESTD_USER, "slurmrestd", "-a",
                    "rest_auth/jwt", f"unix:{self.socket}", self.tcp)
        if name.startswith("slurmd-"):
            return "slurmd", "-D", "-N", name.removeprefix("slurmd-")
        return name, "-D"

    def is_ready(self, name):
        if name == "munged":
            return self.run("munge", "-S", self.munge_socket, "-n", check=False).returncode == 0
        if name == "mariadbd":
            return self.mariadb("select 1", check=False).returncode == 0
        if not accepts(self.ports[name]):
            return False
        if name == "slurmdbd":
            return self.sacctmgr("show", "cluster", check=False).returncode == 0
        if name == "slurmctld":
            return " is UP" in self.scontrol("ping", check=False).stdout
        if name == "slurmrestd":
            return self.rest("GET", "/openapi")[0] == 401
        state = self.run("sinfo", "-h", "-N", "-n", name.removeprefix("slurmd-"), "-o", "%T",
                         check=False).stdout.strip()
        return state in ("idle", "mixed", "allocated")

    def wait_ready(self, name, seconds=None):
        """Until the daemon answers; a RuntimeError with the end of its log when it does not."""
        def ready():
            if not self.alive(name):
                raise RuntimeError(f"{name} ended")
            return self.is_ready(name)

        try:
            return wait_for(ready, f"{name} answers", seconds or START_SECONDS.get(name, 30),
                            pause=0.02)
        except (RuntimeError, TimeoutError, subprocess.TimeoutExpired) as error:
            raise RuntimeError(f"{error}\n--- {name}\n{self.log(name)}") from None

    def stop(self, *names, with_signal=signal.SIGTERM):
        """Ends these daemons, or all, the last started first; suspended ones as well."""
        for name in reversed(names or [name for name in DAEMONS if self.key(name)
                                       in self.machine.processes]):
            # Then one signal only: the slurmdbd of 24.11 may hang at a second SIGTERM.
            self.machine.processes[self.key(name)].send_signal(signal.SIGCONT)
            self.machine.stop(self.key(name), with_signal, 30)

    def restart(self, *names, with_signal=signal.SIGTERM):
        self.stop(*names, with_signal=with_signal)
        self.start(*names)

    def suspend(self, name):
        """The daemon hangs: it takes connections and never answers. `resume`, `stop` or `restart` end
        that."""
        self.machine.processes[self.key(name)].send_signal(signal.SIGSTOP)

    def resume(self, name):
        self.machine.processes[self.key(name)].send_signal(signal.SIGCONT)

    def alive(self, name):
        return self.machine.alive(self.key(name))

    def key(self, name):
        """The daemon's name among the machine's processes, and its log's below the machine's root."""
        return f"{self.name}/log/{name}"

    def log(self, name, lines=30):
        """The end of a daemon's log."""
        path = self.logs / f"{name}.log"
        text = path.read_text(errors="replace") if path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def reconfigure(self):
        self.scontrol("reconfigure")

    def make_database(self):
        self.run("mariadb-install-db", "--no-defaults", "--user=mysql", "--skip-test-db",
                 f"--datadir={self.root}/state/mysql", "--auth-root-authentication-method=socket",
                 f"--tmpdir={self.root}/tmp")

    def close(self):
        """Ends the daemons and what their jobs left running. Nothing is kept, so nothing is asked nicely."""
        for name in DAEMONS:
            process = self.machine.processes.pop(self.key(name), None)
            if process is not None:
                process.kill()
                process.wait()
        wait_for(lambda: not self.kill_rest(), f"{self.name} has no process left")

    def kill_rest(self):
        """Slurm's step daemons outlive slurmd. They, and jobs, have the cluster's slurm.conf in their
        environment, or a parent that has."""
        parents, ours = {}, set()
        mark = f"SLURM_CONF={self.slurm_conf}".encode()
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                pid = int(process.name)
                fields = (process / "stat").read_bytes().rpartition(b")")[2].split()
                if fields[0] != b"Z":
                    parents[pid] = int(fields[1])
                    if mark in (process / "environ").read_bytes().split(b"\0"):
                        ours.add(pid)
        while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
            ours |= more
        for pid in ours:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return ours

    # --- use -----------------------------------------------------------------------------------

    def run(self, *command, check=True, **options):
        """A command as root, where this Slurm is installed."""
        return run(*self.inside(*command), check=check,
                   **{"env": self.environment, "cwd": "/", "timeout": 60} | options)

    def sacctmgr(self, *words, **options):
        """Asks nothing and prints bare lines with | between the fields."""
        return self.run("sacctmgr", "-i", "-n", "-P", *words, **options)

    def scontrol(self, *words, **options):
        return self.run("scontrol", *words, **options)

    def mariadb(self, statement, check=True):
        return self.run("mariadb", "--no-defaults", f"--socket={self.mysql_socket}", "-u", "root",
                        "-e", statement, check=check)

    def as_user(self, user, *command, check=True, **options):
        """A command as a person of this machine, in their home if they have one."""
        return run(*self.words_as(user, *command), check=check, **{
            "env": self.environment, "cwd": "/", "timeout": 60} | options)

    def words_as(self, user, *command):
        entry = pwd.getpwnam(user)
        return self.inside(
            "setpriv", "--reuid", user, "--regid", entry.pw_gid, "--init-groups", "env",
            f"HOME={entry.pw_dir}", f"USER={user}", f"LOGNAME={user}",
            f"SLURM_CONF={self.slurm_conf}", "sh", "-c", GO_HOME, "sh", *command)

    def mint_hs256(self, user, ttl_s=300, *, key=None, **claims):
        """A token as Slurm's own key signs it; `claims` add to, replace and (None) remove claims."""
        return tokens.hs256(key or self.jwt_key.read_bytes(),
                            tokens.claims_of(user, ttl_s, **claims))

    def mint_rs256(self, user, ttl_s=300, *, key=None, **claims):
        """A token of the lab's RSA key, whose public half is in `jwks`."""
        return (key or self.rsa_key).rs256(tokens.claims_of(user, ttl_s, **claims))

    def rest(self, method, path, token=None, user=None, body=None, *, headers=(), tcp=False,
             timeout_s=30):
        """Status and body of slurmrestd's answer, the body parsed when it is JSON."""
        connection = (http.client.HTTPConnection(self.tcp, timeout=timeout_s) if tcp
                      else UnixConnection(self.socket, timeout_s))
        every = dict(headers)
        if token is not None:
            every["X-SLURM-USER-TOKEN"] = token
        if user is not None:
            every["X-SLURM-USER-NAME"] = user
        if body is not None:
            every["Content-Type"] = "application/json"
            body = body if isinstance(body, (bytes, str)) else json.dumps(body)
        with contextlib.closing(connection):
            connection.request(method, path, body, every)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        is_json = "json" in (answer.getheader("Content-Type") or "")
        return answer.status, json.loads(text) if is_json and text else text


# --- by hand -------------------------------------------------------------------------------------


def places(slurm):
    return {"SLURM_CONF": slurm.slurm_conf, "SLURM_LAB_ROOT": slurm.root,
            "SLURM_LAB_SOCKET": slurm.socket, "SLURM_LAB_URL": f"http://{slurm.tcp}",
            "SLURM_LAB_JWT_KEY": slurm.jwt_key, "SLURM_LAB_JWKS": slurm.jwks,
            "SLURM_LAB_RSA_KEY": slurm.rsa_key.path, "SLURM_LAB_LOGS": slurm.logs,
            "SLURM_LAB_CLUSTER": slurm.cluster}


def write_helpers(slurm):
    """What the shell has besides Slurm's own commands."""
    as_user = shlex.join(slurm.inside("setpriv", "--init-groups"))
    helpers = {
        "token": f'exec /usr/bin/python3 -B {HERE}/tokens.py "$@"',
        "as": f"""user=$1; shift
exec {as_user} --reuid "$user" --regid "$(id -g "$user")" env -i PATH={PATH} LANG=C.UTF-8 \\
  SLURM_CONF={slurm.slurm_conf} USER="$user" LOGNAME="$user" TERM="${{TERM:-dumb}}" \\
  HOME="$(getent passwd "$user" | cut -d: -f6)" sh -c {shlex.quote(GO_HOME)} sh "$@" """,
        "rest": f"""method=$1 path=$2 user=${{REST_USER:-root}}
token=${{REST_TOKEN:-$(token "$user")}}
if [ $# -ge 3 ]; then set -- -H 'Content-Type: application/json' --data-binary "$3"; else set --; fi
exec curl -sS -w '\\n%{{stderr}}HTTP %{{http_code}}\\n' --unix-socket {slurm.socket} -X "$method" \\
  -H "X-SLURM-USER-NAME: $user" -H "X-SLURM-USER-TOKEN: $token" "$@" "http://localhost$path" """,
    }
    for name, text in helpers.items():
        path = slurm.bin / name
        path.write_text("#!/bin/sh\n" + text.rstrip() + "\n")
        path.chmod(0o755)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", choices=VERSIONS, default="22.05")
    parser.add_argument("--hub", action="store_true",
                        help="Roster's hub and agent run on the machine too; Slurm knows its people")
    parser.add_argument("--enforce", default="associations", metavar="LIST",
                        help="AccountingStorageEnforce, as in associations,limits,safe")
    parser.add_argument("--signing", default="jwks,jwt_key", metavar="LIST",
                        help="what AuthAltParameters names, of jwks and jwt_key")
    parser.add_argument("--conf", action="append", default=[], metavar="LINE",
                        help="a line of slurm.conf, added or in the place of the lab's")
    parser.add_argument("command", nargs="*", metavar="COMMAND")
    return parser.parse_args()


def add_roster(lab):
    """The hub and an agent. What a provisioning client needs, and `roster`'s options."""
    lab.init_hub()
    lab.start_hub()
    lab.start_agent(lab.join_token())
    run("roster-agent", "wait", "--timeout", "20s")
    scim = lab.scim_client()
    options = ["--url", lab.url, "--token-file", lab.token_file, "--ca-file", lab.ca_file,
               "--org", lab.org]
    return {"SCIM_URL": scim.base, "SCIM_TOKEN": scim.token, "SCIM_CA_FILE": str(lab.ca_file),
            "ROSTER": shlex.join(["roster", *map(str, options)])}


def main():
    options = arguments()
    enter_namespace()
    started = time.monotonic()
    with contextlib.ExitStack() as opened:
        machine = opened.enter_context(Lab() if options.hub else Machine())
        environment = add_roster(machine) if options.hub else {}
        slurm = opened.enter_context(SlurmLab(
            machine, version=options.version, people=PEOPLE, enforce=options.enforce,
            signing=tuple(options.signing.split(",")), slurm_conf_lines="\n".join(options.conf)))
        print(f"Slurm {slurm.version} is up after {time.monotonic() - started:.1f} s: "
              f"{slurm.root}, slurmrestd on {slurm.tcp}", file=sys.stderr)
        write_helpers(slurm)
        environment |= os.environ | {name: str(value) for name, value in places(slurm).items()}
        environment["PATH"] = f"{slurm.bin}:{environment['PATH']}"
        try:
            return subprocess.call(options.command or [environment.get("SHELL", "/bin/bash")],
                                   env=environment)
        except KeyboardInterrupt:
            return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
