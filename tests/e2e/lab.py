"""A whole Roster site on one machine, for end-to-end tests and the demo.

Everything happens in a private mount namespace with overlays over /etc, /usr and /var/lib and a fresh
tmpfs over /var/lib/roster, /home and /run: the hub, the agent, the NSS module under its real name, the key helper at
its real path, and an OpenSSH server on a loopback port. Nothing of the machine is changed, and all
of it is gone when the process ends.
"""

import ctypes
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

BUILD = pathlib.Path(os.environ.get("ROSTER_BUILD_DIR")
                     or pathlib.Path(__file__).resolve().parents[2] / "build" / "release")
SOURCE = pathlib.Path(__file__).resolve().parents[2]
MULTIARCH = pathlib.Path("/usr/lib/x86_64-linux-gnu")
CORE_USER = "urn:ietf:params:scim:schemas:core:2.0:User"
CORE_GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
COREWEAVE = "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser"
POSIX_GROUP = "urn:roster:params:scim:schemas:extension:posix:2.0:Group"
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
SKIPPED = 77
RUN_DIR = pathlib.Path("/run/rosterd")


def skip(reason):
    """Reports the whole script as skipped, never as passed."""
    print(f"SKIPPED: {reason}")
    sys.exit(SKIPPED)


def enter_namespace():
    """Re-runs this script in private mount and process namespaces; returns once inside. When this
    script ends, however it ends, everything that it started ends with it."""
    if os.environ.get("ROSTER_LAB") == "inside":
        if os.getpid() == 1:
            leave_init_behind()
        return
    if os.geteuid() != 0:
        skip("needs root: mount namespaces, sshd")
    unshare = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
               "--mount-proc"]
    probe = subprocess.run([*unshare, "true"], capture_output=True)
    if probe.returncode != 0:
        skip("this machine allows no mount namespaces: " + probe.stderr.decode().strip())
    environment = os.environ | {"ROSTER_LAB": "inside"}
    os.execvpe("unshare", [*unshare, sys.executable, "-B", *sys.argv], environment)


def leave_init_behind():
    """Goes on in a child. Process 1 stays to reap what daemons leave to it, which would be zombies
    for those who look for them (Slurm's steps), and ends as the child does."""
    child = os.fork()
    if child == 0:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def run(*command, check=True, **options):
    options.setdefault("capture_output", True)
    options.setdefault("text", True)
    options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run([str(word) for word in command], check=False, **options)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {done.returncode}\n"
                           f"{done.stdout or ''}{done.stderr or ''}")
    return done


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, what, seconds=10.0, pause=0.002):
    """Polls until `condition()` is true; returns how long it took."""
    started = time.monotonic()
    while True:
        if condition():
            return time.monotonic() - started
        if time.monotonic() - started > seconds:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(pause)


class Scim:
    """One provisioning client, as an identity provider's connector would speak."""

    def __init__(self, base, token, ca_file):
        self.base = base
        self.token = token
        self.tls = ssl.create_default_context(cafile=ca_file) if ca_file else None

    def call(self, method, path, body=None, headers=None, expect=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.base + path, data=data, method=method)
        request.add_header("Authorization", "Bearer " + self.token)
        request.add_header("Accept", "application/scim+json")
        if data is not None:
            request.add_header("Content-Type", "application/scim+json")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, context=self.tls, timeout=30) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            status, text = refused.code, refused.read()
        parsed = json.loads(text) if text else None
        if expect is not None and status not in (expect if isinstance(expect, tuple) else (expect,)):
            raise AssertionError(f"{method} {path}: {status}, expected {expect}: {text[:2000]}")
        return status, parsed

    def create_user(self, user_name, keys=(), **attributes):
        body = {"schemas": [CORE_USER, COREWEAVE], "userName": user_name, "active": True,
                "externalId": "x-" + user_name, **attributes}
        if keys:
            body[COREWEAVE] = {"sunkSshKeys": list(keys)}
        return self.call("POST", "/Users", body, expect=201)[1]

    def patch(self, path, *operations, expect=(200, 204)):
        return self.call("PATCH", path, {"schemas": [PATCH_OP], "Operations": list(operations)},
                         expect=expect)[1]


def check(condition, what):
    """One step of a test, said when it holds."""
    if not condition:
        raise AssertionError(what)
    print(f"  ok: {what}")


class PlainHub:
    """A rosterd of its own on loopback without TLS, for tests of programs that talk to it; needs no namespace."""

    def __init__(self, org):
        self.org = org
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="roster-hub-", dir="/tmp"))
        self.url = f"http://127.0.0.1:{free_port()}"
        self.process = None

    def __enter__(self):
        done = run(BUILD / "bin/rosterd", "init", "--data-dir", self.root / "hub", "--org", self.org)
        self.write_token("operator", done.stdout.strip().splitlines()[-1])
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    def start(self):
        with open(self.root / "rosterd.log", "ab") as log:
            self.process = subprocess.Popen(
                [BUILD / "bin/rosterd", "serve", "--data-dir", self.root / "hub", "--run-dir",
                 self.root / "run", "--listen", self.url.removeprefix("http://"), "--plain-http"],
                stdout=log, stderr=log)
        wait_for(lambda: run("curl", "-sf", self.url + "/readyz", check=False).returncode == 0,
                 "the hub is ready", 20, pause=0.05)

    def stop(self, how=signal.SIGTERM):
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(15)

    def base(self, org=None):
        return f"{self.url}/api/organizations/{org or self.org}/scim/v2"

    def write_token(self, name, token):
        path = self.root / f"{name}.token"
        path.touch(mode=0o600)
        path.write_text(token + "\n")
        return path

    def command(self, *words, org=None):
        return [str(word) for word in (BUILD / "bin/roster", "--url", self.url, "--token-file",
                                       self.root / "operator.token", "--org", org or self.org,
                                       *words)]

    def roster(self, *words, check=True, org=None):
        return run(*self.command(*words, org=org), check=check)

    def scim_client(self, name, org=None):
        """A provisioning client, its token in NAME.token of the organization."""
        self.roster("client", "create", name, org=org)
        token = self.roster("token", "create", "--name", name, "--scope", "scim", "--client", name,
                            org=org).stdout.strip()
        self.write_token(f"{org or self.org}-{name}", token)
        return Scim(self.base(org), token, None)


class Machine:
    """What a test may do to the machine, in its private namespace: files below /etc, /usr, /var/lib,
    /run and /home change for it alone, and what it starts and mounts ends with it."""

    def __init__(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="roster-lab-", dir="/tmp"))
        self.processes = {}
        self.logs = {}
        self.mounts = []
        self.is_open = True

    def __enter__(self):
        try:
            self.mount()
            self.install()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, value, trace):
        self.is_open = False  # a thread that restarts what it kills must not do so outside of the lab
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if kind is not None:
            for name, log in self.logs.items():
                print(f"--- {name}\n" + "".join(log.read_text(errors="replace").splitlines(True)[-30:]))
        libc = ctypes.CDLL(None)
        for path in reversed(self.mounts):
            libc.umount2(str(path).encode(), 2)  # MNT_DETACH; a next lab begins on the bare machine
        shutil.rmtree(self.root, ignore_errors=True)

    # --- the machine ---------------------------------------------------------------------------

    def mount(self):
        self.mount_at(self.root, "-t", "tmpfs", "-o", "mode=755", "tmpfs")
        for path in ("/etc", "/usr", "/var/lib"):
            self.overlay(path)
        for path in ("/run", "/var/lib/roster", "/home"):
            pathlib.Path(path).mkdir(parents=True, exist_ok=True)
            self.mount_at(path, "-t", "tmpfs", "-o", "mode=755", "tmpfs")

    def overlay(self, path):
        """What is changed below `path` from now on is gone with the lab."""
        upper, work = (self.root / (kind + path.replace("/", "-")) for kind in ("upper", "work"))
        upper.mkdir(parents=True)
        work.mkdir(parents=True)
        self.mount_at(path, "-t", "overlay", "-o",
                      f"lowerdir={path},upperdir={upper},workdir={work}", "overlay")

    def mount_at(self, path, *words):
        run("mount", *words, path)
        self.mounts.append(path)

    def install(self):
        """What else the fresh machine has."""

    # --- processes -----------------------------------------------------------------------------

    def start(self, name, *command, **options):
        if not self.is_open:
            raise RuntimeError(f"{name} is not started: the lab is closed")
        log = self.root / f"{name}.log"
        self.logs[name] = log
        with open(log, "ab") as output:
            self.processes[name] = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, start_new_session=True, **options)
        return self.processes[name]

    def stop(self, name, with_signal=signal.SIGTERM, seconds=15):
        process = self.processes.pop(name)
        if process.poll() is None:
            process.send_signal(with_signal)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def alive(self, name):
        process = self.processes.get(name)
        return process is not None and process.poll() is None


class Lab(Machine):
    """Roster on that machine; `with Lab() as lab:` inside the namespace."""

    def __init__(self, org="acme", set_up=True):
        """`set_up`: the node's nsswitch.conf as roster-agent setup would leave it, without any
        source but the node's own files."""
        super().__init__()
        self.org = org
        self.set_up = set_up

    def install(self):
        """Puts files where a package would, and makes the system users."""
        for name in ("rosterd", "roster-agent", "roster", "roster-authorized-keys"):
            shutil.copy(BUILD / "bin" / name, f"/usr/bin/{name}")
        shutil.copy(BUILD / "lib" / "libnss_roster.so.2", MULTIARCH)
        for user in ("roster-agent", "roster-keys"):
            run("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", user,
                check=False)
        if self.set_up:
            nsswitch = pathlib.Path("/etc/nsswitch.conf")
            lines = [line for line in nsswitch.read_text().splitlines()
                     if line.split(":")[0] not in ("passwd", "group", "shadow", "initgroups")]
            lines += [f"{kind}: files roster" for kind in ("passwd", "group", "shadow")]
            nsswitch.write_text("\n".join(lines) + "\n")
        pathlib.Path("/etc/roster").mkdir()
        pathlib.Path("/etc/ssh/authorized_keys.d").mkdir(exist_ok=True)
        pathlib.Path("/run/sshd").mkdir()
        pathlib.Path("/run/roster").mkdir()
        RUN_DIR.mkdir()

    # --- the hub -------------------------------------------------------------------------------

    def init_hub(self):
        self.data_dir = self.root / "hub"
        self.port = getattr(self, "port", None) or free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        done = run("rosterd", "init", "--data-dir", self.data_dir, "--org", self.org)
        self.operator_token = done.stdout.strip().splitlines()[-1]
        self.ca_file = self.data_dir / "ca.pem"
        self.token_file = self.root / "operator.token"
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(self.operator_token + "\n")

    def empty_run_dir(self):
        """What a reboot does."""
        for path in RUN_DIR.iterdir():
            path.unlink()

    def launch_hub(self, *options, **process):
        self.start("rosterd", "rosterd", "serve", "--data-dir", self.data_dir, "--run-dir",
                   RUN_DIR, "--listen", f"127.0.0.1:{self.port}", *options, **process)

    def start_hub(self, *options, **process):
        self.launch_hub(*options, **process)
        tls = ssl.create_default_context(cafile=self.ca_file)

        def ready():
            if not self.alive("rosterd"):
                raise RuntimeError("rosterd ended: " + self.logs["rosterd"].read_text())
            try:
                with urllib.request.urlopen(self.url + "/readyz", context=tls, timeout=2) as answer:
                    return answer.status == 200
            except (urllib.error.URLError, OSError):
                return False

        return wait_for(ready, "the hub answers /readyz", 20, pause=0.02)

    def roster(self, *words, check=True, org=None):
        return run("roster", "--url", self.url, "--token-file", self.token_file, "--ca-file",
                   self.ca_file, "--org", org or self.org, *words, check=check)

    def roster_json(self, *words):
        return json.loads(self.roster("--output", "json", *words).stdout)

    def scim_client(self, name="okta"):
        self.roster("client", "create", name)
        token = self.roster("token", "create", "--name", name + "-token", "--scope", "scim",
                            "--client", name).stdout.strip()
        base = f"{self.url}/api/organizations/{self.org}/scim/v2"
        return Scim(base, token, str(self.ca_file))

    # --- a node --------------------------------------------------------------------------------

    def join_token(self, name="join", view="login", role="login", cluster="hpc"):
        token = self.roster("token", "create", "--name", name, "--scope", "join", "--cluster",
                            cluster, "--view", view, "--role", role, "--ttl", "1h").stdout
        path = self.root / f"{name}.token"
        path.touch(mode=0o600)
        path.write_text(token)
        return path

    def start_agent(self, join_token_file=None, *options, **process):
        state, cache = pathlib.Path("/var/lib/roster/state"), pathlib.Path("/var/lib/roster/cache")
        for directory in (state, cache):
            directory.mkdir(parents=True, exist_ok=True)
        command = ["roster-agent", "run", "--url", self.url, "--org", self.org, "--state-dir", state,
                   "--cache-dir", cache, *options]
        if join_token_file:
            command += ["--join-token-file", join_token_file]
        self.start("agent", *command, **process)

    def agent_status(self):
        return json.loads(run("roster-agent", "status", "--output", "json").stdout)

    # --- sshd ----------------------------------------------------------------------------------

    def make_key(self, name, kind="ed25519"):
        path = self.root / name
        run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", f"{name}@laptop", "-f", path)
        return path, path.with_suffix(".pub").read_text().strip()

    def start_sshd(self, use_pam):
        self.ssh_port = free_port()
        host_key = self.root / "host_key"
        if not host_key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host_key)
        config = self.root / "sshd_config"
        config.write_text(f"""Port {self.ssh_port}
ListenAddress 127.0.0.1
HostKey {host_key}
PidFile {self.root}/sshd.pid
UsePAM {'yes' if use_pam else 'no'}
PasswordAuthentication no
KbdInteractiveAuthentication no
LogLevel VERBOSE
Include {SOURCE}/deploy/sshd/50-roster.conf
""")
        self.start("sshd", "/usr/sbin/sshd", "-D", "-e", "-f", config)
        wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", self.ssh_port)) == 0,
                 "sshd listens")

    def ssh(self, user, key, command="id"):
        return run("ssh", "-F", "none", "-p", self.ssh_port, "-i", key, "-o", "BatchMode=yes", "-o",
                   "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o",
                   "LogLevel=ERROR", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=10",
                   f"{user}@127.0.0.1", command, check=False)
