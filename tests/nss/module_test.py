"""The NSS module through glibc, and the key helper as sshd runs it, in a private mount namespace.

Would catch: a module that needs more than libc or a newer one, wrong return codes (a local account hidden
behind an unavailable cache), a lookup that fails in a chroot, a user namespace or over a bind mount.
"""

import ctypes
import os
import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from lab import BUILD, enter_namespace, run, skip  # noqa: E402

MODULE = BUILD / "lib" / "libnss_roster.so.2"
HELPER = BUILD / "bin" / "roster-authorized-keys"
CACHE = pathlib.Path("/var/lib/roster/cache")
EXPORTS = {
    "_nss_roster_" + name
    for name in ("getpwnam_r", "getpwuid_r", "getgrnam_r", "getgrgid_r", "getspnam_r",
                 "initgroups_dyn", "setpwent", "getpwent_r", "endpwent", "setgrent",
                 "getgrent_r", "endgrent")
}


def check(condition, what):
    if not condition:
        raise AssertionError(what)
    print("ok:", what)


def equal(got, wanted, what):
    check(got == wanted, f"{what}: {got!r}" if got == wanted else f"{what}: {got!r}, not {wanted!r}")


def prepare():
    """An /etc and a /var/lib of our own; the module in a directory of LD_LIBRARY_PATH."""
    run("mount", "-t", "tmpfs", "tmpfs", "/mnt")
    for name in ("etc", "varlib"):
        for part in ("upper", "work"):
            os.makedirs(f"/mnt/{name}/{part}")
    for target, name in (("/etc", "etc"), ("/var/lib", "varlib")):
        run("mount", "-t", "overlay", "overlay", "-o",
            f"lowerdir={target},upperdir=/mnt/{name}/upper,workdir=/mnt/{name}/work", target)
    os.makedirs("/var/lib/roster", exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/var/lib/roster")
    pathlib.Path("/etc/nsswitch.conf").write_text(
        "passwd: files roster\ngroup: files roster\nshadow: files roster\n")
    os.makedirs("/mnt/lib")
    (pathlib.Path("/mnt/lib") / MODULE.name).write_bytes(MODULE.read_bytes())
    os.environ["LD_LIBRARY_PATH"] = "/mnt/lib"


class Story:
    def __init__(self, directory):
        self.process = subprocess.Popen([BUILD / "tests" / "nss_story", directory], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def tell(self, *lines):
        self.process.stdin.write("\n".join(lines) + "\npublish\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        check(answer.startswith("generation"), "published " + "; ".join(lines)[:60])

    def end(self):
        self.process.stdin.close()
        equal(self.process.wait(), 0, "the publisher ends")


def getent(database, *keys):
    done = run("getent", database, *keys, check=False)
    return done.returncode, done.stdout


def abi():
    symbols = run("nm", "-D", MODULE).stdout
    exported = {line.split()[-1] for line in symbols.splitlines() if " T " in line}
    equal(exported, EXPORTS, "exports")
    check("_ZNS" not in symbols and "GLIBCXX" not in symbols and "CXXABI" not in symbols,
          "nothing of libstdc++")
    needed = re.findall(r"NEEDED\s+(\S+)", run("objdump", "-p", MODULE).stdout)
    equal(needed, ["libc.so.6"], "needed libraries")
    versions = {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([\d.]+)", symbols)}
    check(max(versions) <= (2, 17), f"newest symbol version {max(versions)}")
    ctypes.CDLL(str(MODULE), mode=os.RTLD_NOW)
    check(True, "loads with RTLD_NOW")
    file_type = run("objdump", "-f", HELPER).stdout + run("objdump", "-p", HELPER).stdout
    check("NEEDED" not in file_type, "the helper is static")


def before_the_first_cache():
    equal(getent("passwd", "alice")[0], 2, "unknown before the cache exists")
    equal(getent("passwd", "root")[0], 0, "root does not depend on the cache")
    library = ctypes.CDLL("libc.so.6", use_errno=True)
    library.getpwnam.restype = ctypes.c_void_p
    ctypes.set_errno(0)
    check(library.getpwnam(b"alice") is None, "no entry")
    equal(ctypes.get_errno(), 5, "errno is EIO: not knowing is not absence")


def people(story):
    story.tell("group 1 physics 20001 -", "group 2 science 20002 -", "group 1 physics 20001 2",
               "user 1 alice 10001 1", "user 2 bob 10002 2", "key 1 ssh-ed25519 AAAA alice")
    equal(getent("passwd", "alice"), (0, "alice:x:10001:10001:User alice:/home/alice:/bin/sh\n"),
          "getent passwd NAME")
    equal(getent("passwd", "10002")[1].split(":")[0], "bob", "getent passwd UID")
    equal(getent("group", "science"), (0, "science:x:20002:alice,bob\n"), "getent group NAME")
    equal(getent("group", "20001"), (0, "physics:x:20001:alice\n"), "getent group GID")
    equal(getent("group", "alice"), (0, "alice:x:10001:\n"), "the private group")
    equal(getent("initgroups", "alice")[1].split(), ["alice", "20001", "20002"],
          "getent initgroups")
    equal(getent("shadow", "alice"), (0, "alice:*:::::::\n"), "getent shadow")
    equal(run("id", "alice").stdout.strip(),
          "uid=10001(alice) gid=10001(alice) groups=10001(alice),20001(physics),20002(science)",
          "id")
    everybody = getent("passwd")[1]
    check("alice:" in everybody and "bob:" in everybody and "root:" in everybody, "enumeration")
    check("physics:" in getent("group")[1], "enumeration of groups")
    equal(getent("passwd", "nobody-here")[0], 2, "unknown")
    equal(run("setpriv", "--reuid", "10001", "--regid", "10001", "--init-groups", "id", "-G").stdout
          .split(), ["10001", "20001", "20002"], "setpriv --init-groups")


def locked(story):
    story.tell("lock 1")
    equal(getent("passwd", "alice")[1].strip().split(":")[-1], "/usr/sbin/nologin", "locked: shell")
    equal(getent("shadow", "alice"), (0, "alice:*::::::1:\n"), "locked: expired")
    equal(run("id", "-G", "alice").stdout.split(), ["10001"], "locked: no groups")
    equal(getent("group", "science"), (0, "science:x:20002:bob\n"), "locked: in no list")
    equal(run("id", "-u", "alice").stdout.strip(), "10001", "locked: the id still resolves")
    story.tell("unlock 1")
    story.tell("mask physics")
    equal(getent("group", "physics")[0], 2, "masked group")
    equal(run("id", "-G", "alice").stdout.split(), ["10001", "20002"], "masked: gives nothing")
    story.tell("unmask")


def keys_of(*arguments, **options):
    done = run(HELPER, *arguments, check=False, **options)
    return done.returncode, done.stdout


def helper(story):
    key = "ssh-ed25519 AAAA alice\n"
    deny = pathlib.Path("/etc/roster/deny")
    equal(keys_of("alice", "10001"), (0, key), "keys")
    equal(keys_of("alice", "10001", "SHA256:6"), (0, key), "the key that is asked for")
    equal(keys_of("alice", "10001", "SHA256:7"), (0, ""), "no other key")
    equal(keys_of("alice", "10002"), (0, ""), "another uid")
    equal(keys_of("nobody-here", "10001"), (0, ""), "unknown")
    for wrong in ([], ["alice"], ["alice", "x"], ["alice", "-1"], ["alice", "4294967296"],
                  ["--what", "alice", "1"], ["alice", "10001", "f", "more"], ["--cache-dir"]):
        equal(keys_of(*wrong), (2, ""), f"usage {wrong}")
    check(run(HELPER, "--help").stdout.startswith("roster-authorized-keys"), "--help")
    deny.parent.mkdir(exist_ok=True)
    for text, denied in (("", False), ("# alice\n", False), ("alice\n", True), ("alice", True),
                         ("  10001  # left\n", True), ("alicex\nalic\n100010\n", False),
                         ("bob\r\nalice\r\n", True), ("x" * 4000 + "\nalice\n", True)):
        deny.write_text(text)
        equal(keys_of("alice", "10001"), (0, "" if denied else key), f"deny list {text[-20:]!r}")
    deny.write_text("x" * 5000 + "\nbob\n")
    equal(keys_of("alice", "10001"), (1, ""), "a deny list that makes no sense")
    deny.unlink()
    deny.mkdir()
    equal(keys_of("alice", "10001"), (1, ""), "a deny list that cannot be read")
    deny.rmdir()
    story.tell("stale 100", "contact 1")
    equal(keys_of("alice", "10001"), (1, ""), "the hub was silent for too long")
    equal(getent("passwd", "alice")[0], 0, "names stay")
    story.tell(f"contact {int(time.time())}")
    equal(keys_of("alice", "10001"), (0, key), "in contact again")
    equal(keys_of("--cache-dir", "/nonexistent", "alice", "10001"), (1, ""), "no cache")
    story.tell("until 1 1000")
    equal(keys_of("alice", "10001"), (0, ""), "past the end of their time")
    story.tell("until 1 0", "lock 1")
    equal(keys_of("alice", "10001"), (0, ""), "locked")
    story.tell("unlock 1", "deny alice")
    equal(keys_of("alice", "10001"), (0, ""), "denied in the cache")
    story.tell("unmask")
    os.chmod("/mnt", 0o755)
    os.chmod(CACHE, 0o755)
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    copy = pathlib.Path("/mnt/helper")
    copy.write_bytes(HELPER.read_bytes())
    copy.chmod(0o755)
    equal(run(*nobody, copy, "alice", "10001", check=False).returncode, 1,
          "keys are not for everybody")
    equal(run(*nobody, "getent", "passwd", "alice").returncode, 0, "names are")
    for index in range(200):
        equal_quiet = run(HELPER, "bob" if index % 2 else "alice", "10001").returncode
        if equal_quiet != 0:
            raise AssertionError("the helper failed under repetition")


def places():
    # A chroot that binds the cache, a user namespace, and the cache behind a bind mount.
    os.makedirs("/mnt/root")
    run("mount", "--rbind", "/", "/mnt/root")
    equal(run("chroot", "/mnt/root", "id", "-u", "alice").stdout.strip(), "10001", "chroot")
    run("umount", "-l", "/mnt/root")
    done = run("unshare", "--user", "--map-root-user", "getent", "passwd", "alice", check=False)
    if done.returncode != 0 and "Operation not permitted" in done.stderr:
        print("note: this machine allows no user namespaces")
    else:
        equal(done.stdout.split(":")[0], "alice", "user namespace")
    os.makedirs("/mnt/elsewhere")
    run("cp", "-a", f"{CACHE}/.", "/mnt/elsewhere")
    run("mount", "--bind", "/mnt/elsewhere", str(CACHE))
    equal(getent("passwd", "alice")[0], 0, "bind mount")
    run("umount", str(CACHE))
    environment = os.environ | {"ROSTER_CACHE_DIR": "/mnt/elsewhere"}
    os.rename(CACHE, "/var/lib/roster/away")
    equal(run("getent", "passwd", "alice", check=False, env=environment).returncode, 2,
          "root ignores ROSTER_CACHE_DIR")
    as_alice = ["setpriv", "--reuid", "10001", "--regid", "10001", "--clear-groups"]
    equal(run(*as_alice, "getent", "passwd", "alice", check=False, env=environment).returncode, 0,
          "others may use it")
    os.makedirs("/run/roster", exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run/roster")
    run("cp", "-a", "/var/lib/roster/away", "/run/roster/cache")
    equal(getent("passwd", "alice")[0], 0, "a stateless node's cache in /run")
    os.rename("/var/lib/roster/away", CACHE)


def generations():
    run("rm", "-rf", str(CACHE), "/run/roster/cache")
    done = run(BUILD / "tests" / "nss_generations", CACHE, "100000", check=False)
    check(done.returncode == 0, f"many generations: {done.stdout.strip()}{done.stderr.strip()}")


def main():
    for needed in (MODULE, HELPER, BUILD / "tests" / "nss_story"):
        if not needed.exists():
            skip(f"{needed} is not built")
    enter_namespace()
    prepare()
    abi()
    before_the_first_cache()
    os.makedirs(CACHE.parent, exist_ok=True)
    story = Story(CACHE)
    people(story)
    locked(story)
    helper(story)
    story.end()
    places()
    generations()
    print("all passed")


main()
