"""What the drivers of whole programs share: where the programs are, hubs and nodes on a real disk."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

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


def peak_memory_mib(process):
    """VmHWM of proc(5)."""
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM")


def scim_load(lab, clients, people, keys=0, groups=0, members=0):
    """One row per kind of resource, from a fresh provisioning client."""
    scim = lab.scim_client("load")
    token = lab.root / "load.token"
    token.touch(mode=0o600)
    token.write_text(scim.token + "\n")
    ca_file = lab.ca_file if lab.url.startswith("https") else "-"
    return json_lines(PARTS / "scim_load", scim.base, token, ca_file, clients, people, keys, groups,
                      members)


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
