"""Debian 13 (trixie) with its Slurm 24.11 in a folder, made by debootstrap once and then only read:
labs run in an overlay over it."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

from lab import SOURCE, run, skip

FOLDER = SOURCE / "build" / "trixie"
PACKAGES = ("munge", "slurmctld", "slurmd", "slurmdbd", "slurmrestd", "slurm-client",
            "slurm-wlm-jwt-plugin", "slurm-wlm-mysql-plugin", "mariadb-server")
KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def folder():
    """The folder, made when it is missing or was made for other packages: about a minute, 1 GB. The
    test is skipped where it cannot be made. Inside the namespace only: it mounts."""
    if is_made():
        return FOLDER
    if not shutil.which("debootstrap") or not KEYRING.exists():
        skip("no debootstrap or no keyring of Debian's archive; script/setup installs them")
    FOLDER.parent.mkdir(exist_ok=True)
    with open(FOLDER.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_made():
            make(mirror())
    return FOLDER


def is_made():
    stamp = FOLDER / "packages"
    return stamp.exists() and stamp.read_text().split() == list(PACKAGES)


def mirror():
    """The archive that this machine's apt takes Debian from."""
    targets = run("apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)",
                  "Created-By: Packages", check=False).stdout
    uris = [line.split()[2] for line in targets.splitlines() if line.startswith("Debian Debian ")]
    if not uris:
        skip("apt of this machine knows no archive of Debian")
    try:
        urllib.request.urlopen(uris[0] + "dists/trixie/Release", timeout=20).close()
    except (urllib.error.URLError, OSError) as error:
        skip(f"no trixie from {uris[0]}: {error}")
    return uris[0]


def make(archive):
    started = time.monotonic()
    print(f"making {FOLDER} from {archive} ...", file=sys.stderr, flush=True)
    target = FOLDER.with_suffix(".new")
    for old in (target, FOLDER):
        if old.exists():
            shutil.rmtree(old)
    try:
        # apt in there checks the same signatures with the keyring that debootstrap installs.
        run("debootstrap", "--variant=minbase", "--force-check-gpg", f"--keyring={KEYRING}",
            "--include=ca-certificates", "trixie", target, archive)
        policy = target / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        shutil.copy("/etc/resolv.conf", target / "etc/resolv.conf")
        shutil.copy("/etc/hosts", target / "etc/hosts")
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LANG": "C.UTF-8"}
        with mounted_proc(target):
            for words in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES],
                          ["clean"]):
                run("chroot", target, "apt-get", "-q", *words, env=environment)
    except (RuntimeError, subprocess.SubprocessError):
        shutil.rmtree(target, ignore_errors=True)
        raise
    (target / "packages").write_text("\n".join(PACKAGES) + "\n")
    target.rename(FOLDER)
    print(f"... done in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


@contextlib.contextmanager
def mounted_proc(target):
    run("mount", "-t", "proc", "proc", target / "proc")
    try:
        yield
    finally:
        run("umount", target / "proc")
