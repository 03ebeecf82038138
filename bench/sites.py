"""What the drivers of whole programs share: where the programs are, hubs and nodes on a real disk."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "e2e"))
from lab import BUILD, Lab, free_port, run  # noqa: E402

PARTS = BUILD.resolve() / "bench" / "parts"


def median(values):
    return sorted(values)[len(values) // 2]


def scratch_directory():
    """On the file system behind $TMPDIR, as in the other benchmarks."""
    return pathlib.Path(tempfile.mkdtemp(prefix="roster-bench-", dir=os.environ.get("TMPDIR", "/tmp")))


def json_lines(*command):
    done = subprocess.run([str(word) for word in command], check=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def memory_mib(process, field):
    """VmRSS or VmHWM of proc(5)."""
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field}")


class Provisioner:
    """A provisioning client of one organization, as scim_load drives it."""

    def __init__(self, lab, org):
        lab.roster("client", "create", "load", org=org)
        token = lab.roster("token", "create", "--name", "load-token", "--scope", "scim", "--client",
                           "load", org=org).stdout
        self.url = f"{lab.url}/api/organizations/{org}/scim/v2"
        self.token_file = lab.root / f"{org}.token"
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(token)
        self.ca_file = lab.ca_file if lab.url.startswith("https") else None
        self.ids = lab.root / f"{org}.ids"

    def load(self, operation, *words, clients=1, url=None):
        """One row per kind of request. `url`: another service that is sent the same."""
        tls = ("--ca-file", self.ca_file) if self.ca_file else ()
        return json_lines(PARTS / "scim_load", *tls, operation, "--url", url or self.url,
                          "--token-file", self.token_file, "--clients", clients, *words)

    def fetch(self, path):
        """The bytes of an answer, over plain HTTP."""
        request = urllib.request.Request(self.url + path)
        request.add_header("Authorization", "Bearer " + self.token_file.read_text().strip())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()


class HubOnly(Lab):
    """A hub on its own, in the namespace of the caller, on a real disk."""

    def __init__(self, plain_http):
        super().__init__()
        shutil.rmtree(self.root)
        self.root = scratch_directory()
        self.plain_http = plain_http
        os.environ["PATH"] = f"{BUILD.resolve() / 'bin'}:{os.environ['PATH']}"

    def __enter__(self):
        self.init_hub()
        if self.plain_http:
            self.url = self.url.replace("https:", "http:")
        self.start_hub("--log-level", "warn", *(["--plain-http"] if self.plain_http else []))
        return self

    def __exit__(self, kind, value, trace):
        for name in list(self.processes):
            self.stop(name)
        shutil.rmtree(self.root, ignore_errors=True)


class SiteOnDisk(Lab):
    """A hub and a node in the lab's namespace, their data on a real disk."""

    def __init__(self):
        super().__init__()
        self.scratch = scratch_directory()

    def mount(self):
        super().mount()
        for path, name in ((self.root / "hub", "hub"), ("/var/lib/roster", "node")):
            (self.scratch / name).mkdir()
            pathlib.Path(path).mkdir(exist_ok=True)
            run("mount", "--bind", self.scratch / name, path)

    def __exit__(self, kind, value, trace):
        super().__exit__(kind, value, trace)
        run("umount", "--lazy", "/var/lib/roster", check=False)
        shutil.rmtree(self.scratch, ignore_errors=True)
