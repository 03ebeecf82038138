"""`roster-agent setup`, `unsetup` and `roster doctor` on a node, for real: glibc's lookups, a login by
OpenSSH with a key of Roster's, a home made by pam_mkhomedir, sudo by the number of a group."""

import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import lab as lab_module
from lab import CORE_GROUP, POSIX_GROUP, Lab, check, enter_namespace, run, wait_for

CONFIG = pathlib.Path("/etc/roster/agent.toml")
NSSWITCH = pathlib.Path("/etc/nsswitch.conf")
SSHD_SNIPPET = pathlib.Path("/etc/ssh/sshd_config.d/50-roster.conf")
SUDOERS_SNIPPET = pathlib.Path("/etc/sudoers.d/50-roster")
COMMON_SESSION = pathlib.Path("/etc/pam.d/common-session")
RECORD = pathlib.Path("/var/lib/roster/setup")


def picture(*roots):
    """Every file below: bytes, mode and owner."""
    out = {}
    for root in roots:
        for path in sorted(pathlib.Path(root).rglob("*")):
            info = path.lstat()
            content = None
            if stat.S_ISREG(info.st_mode):
                content = path.read_bytes()
            elif stat.S_ISLNK(info.st_mode):
                content = os.readlink(path)
            out[str(path)] = (content, info.st_mode, info.st_uid, info.st_gid)
    return out


def differences(before, after):
    return sorted(path for path in before.keys() | after.keys()
                  if before.get(path) != after.get(path))


def node_picture():
    shot = picture("/etc")
    shot["record"] = RECORD.exists()
    return shot


def setup(*words, ok=True):
    done = run("roster-agent", "setup", *words, check=False)
    if ok != (done.returncode == 0):
        raise AssertionError(f"setup {words}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout if ok else done.stderr


def unsetup():
    return run("roster-agent", "unsetup", "--apply").stdout


def configure(lab, **settings):
    lines = [f'url = "{lab.url}"', 'state_dir = "/var/lib/roster/state"', "[node]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    CONFIG.write_text("\n".join(lines) + "\n")
    CONFIG.chmod(0o644)


def start_sshd(lab):
    """With the node's own sshd_config, which setup changes."""
    lab.ssh_port = lab_module.free_port()
    host_key = lab.root / "host_key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host_key)
    lab.start("sshd", "/usr/sbin/sshd", "-D", "-e", "-p", lab.ssh_port, "-o",
              "ListenAddress=127.0.0.1", "-o", f"HostKey={host_key}")
    wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", lab.ssh_port)) == 0, "sshd listens")


def dry_run_changes_nothing(gid):
    before = node_picture()
    shown = setup()
    check(differences(before, node_picture()) == [], "a dry run changes nothing")
    for path in (NSSWITCH, SSHD_SNIPPET, SUDOERS_SNIPPET, COMMON_SESSION):
        check(f"+++ {path}\n" in shown, f"and shows what would become of {path}")
    check(f"+%#{gid} ALL=(ALL:ALL) NOPASSWD: ALL\n" in shown, "sudo by number")
    check("--apply" in shown, "and how to do it")
    done = run("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups",
               "roster-agent", "setup", check=False)
    check(done.returncode == 1 and "root" in done.stderr, "it is for root")


def whose_configuration(lab, gid):
    """A configuration that others may write would give them sudo."""
    before = node_picture()
    CONFIG.chmod(0o664)
    check("written by others" in setup("--apply", ok=False), "a group-writable file is refused")
    CONFIG.chmod(0o644)
    os.chown(CONFIG, pwd.getpwnam("roster-agent").pw_uid, 0)
    check("not to root" in setup("--apply", ok=False), "so is one of another user")
    os.chown(CONFIG, 0, 0)
    CONFIG.rename("/etc/roster/real.toml")
    CONFIG.symlink_to("/etc/roster/real.toml")
    check("symbolic link" in setup("--apply", ok=False), "and a link")
    CONFIG.unlink()
    pathlib.Path("/etc/roster/real.toml").rename(CONFIG)
    pathlib.Path("/etc/roster").chmod(0o777)
    check("written by others" in setup("--apply", ok=False), "and one in a directory for all")
    pathlib.Path("/etc/roster").chmod(0o755)
    for bad in ("0", "27", "65534"):
        setup("--sudo-gid", bad, ok=False)
    check(True, "groups of the system get no sudo")
    check(differences(before, node_picture()) == [], "nothing was changed")


def root_keeps_its_keys():
    keys = pathlib.Path("/root/.ssh/authorized_keys")
    keys.parent.mkdir(mode=0o700, exist_ok=True)
    keys.write_text("ssh-ed25519 AAAA root@laptop\n")
    before = node_picture()
    check("any more: root. Copy" in setup("--apply", ok=False),
          "root's only keys would open nothing: refused")
    check(differences(before, node_picture()) == [], "nothing was changed")
    setup("--home-keys", "on")
    shutil.copy(keys, "/etc/ssh/authorized_keys.d/root")
    check(True, "with a kept copy, or with home_keys, it goes on")


def applied(lab, key, bob_key, gid):
    start_sshd(lab)
    check(lab.ssh("alice", key, "id -un").returncode != 0, "before: no login")
    shown = setup("--apply")
    check("Done: " in shown and "note:" not in shown, "applied, checked, and sshd reloaded")
    wait_for(lambda: lab.ssh("alice", key, "id -un").stdout.strip() == "alice", "ssh by key", 10,
             pause=0.2)
    entry = run("getent", "passwd", "alice").stdout.split(":")
    home = pathlib.Path(entry[5])
    check(stat.S_IMODE(home.stat().st_mode) == 0o700 and home.stat().st_uid == int(entry[2]),
          "login by key; pam_mkhomedir made a home of mode 0700")
    done = lab.ssh("alice", key, "sudo -n id -u")
    check(done.stdout.strip() == "0", "sudo by the group's number")
    check(lab.ssh("bob", bob_key, "id -un").stdout.strip() == "bob", "bob logs in")
    check(lab.ssh("bob", bob_key, "sudo -n id -u").returncode != 0, "and gets no sudo")
    # A session that goes on keeps the groups it began with.
    alice = ["setpriv", "--reuid", entry[2], "--regid", entry[3], f"--groups={entry[3]},{gid}",
             "sudo", "-n", "id", "-u"]
    check(run(*alice).stdout.strip() == "0", "sudo in a session that is there")
    run("roster-agent", "deny", "alice")
    wait_for(lambda: pwd.getpwnam("alice").pw_shell.endswith("nologin"), "alice is denied")
    done = run(*alice, check=False)
    check(done.returncode == 1 and "sudo:" in done.stderr, f"a lockout ends that: {done.stderr.strip()}")
    run("roster-agent", "allow", "alice")
    wait_for(lambda: pwd.getpwnam("alice").pw_shell == "/bin/bash", "alice is allowed")
    for path in pathlib.Path("/etc/roster").glob("deny*"):
        path.unlink()  # what is compared later is setup's
    run("su", "-s", "/bin/sh", "nobody", "-c", "true")
    check(not pathlib.Path("/nonexistent").exists(), "accounts of the system get no home")


def repeat_is_no_op():
    before = node_picture()
    inodes = [path.stat().st_ino for path in (NSSWITCH, SSHD_SNIPPET, COMMON_SESSION)]
    check("Nothing to do" in setup() and "Nothing to do" in setup("--apply"), "again: nothing to do")
    check(differences(before, node_picture()) == [] and inodes == [
        path.stat().st_ino for path in (NSSWITCH, SSHD_SNIPPET, COMMON_SESSION)], "no file was touched")
    run("env", "DEBIAN_FRONTEND=noninteractive", "pam-auth-update", "--package")
    check(before[str(COMMON_SESSION)] == node_picture()[str(COMMON_SESSION)],
          "pam-auth-update keeps what it does not manage")


def switched_off_again(original):
    setup("--sudo-access", "off", "--home-directories", "off", "--apply")
    check(not SUDOERS_SNIPPET.exists(), "a switch that is off takes its file back")
    check(original[str(COMMON_SESSION)] == node_picture()[str(COMMON_SESSION)], "and its lines")
    setup("--apply")


def unset_with_edits(original):
    NSSWITCH.write_text("# by hand\n" + NSSWITCH.read_text().replace("dns", "dns myhostname"))
    COMMON_SESSION.write_text(COMMON_SESSION.read_text() + "session optional pam_exec.so /bin/true\n")
    unsetup()
    after = node_picture()
    expected = ("# by hand\n" + original[str(NSSWITCH)][0].decode().replace("dns", "dns myhostname"))
    check(NSSWITCH.read_text() == expected, "unsetup keeps the operator's edits")
    check(COMMON_SESSION.read_bytes() == original[str(COMMON_SESSION)][0] +
          b"session optional pam_exec.so /bin/true\n", "in PAM, too")
    NSSWITCH.write_bytes(original[str(NSSWITCH)][0])
    COMMON_SESSION.write_bytes(original[str(COMMON_SESSION)][0])
    left = differences(original, node_picture())
    check(left == [], f"and leaves no other trace: {left}")
    check("Nothing to do" in unsetup(), "twice is once")
    check(not after["record"], "no record either")


def own_files_come_back(original):
    SSHD_SNIPPET.write_text("# mine\nLogLevel VERBOSE\n")
    SSHD_SNIPPET.chmod(0o600)
    before = node_picture()
    check("unsetup puts it back" in setup("--apply"), "a file that was there is kept")
    unsetup()
    check(differences(before, node_picture()) == [], "and comes back as it was")
    SSHD_SNIPPET.unlink()
    check(differences(original, node_picture()) == [], "as in the beginning")


def rolled_back(original):
    other = pathlib.Path("/etc/ssh/sshd_config.d/10-other.conf")
    other.write_text("AuthorizedKeysCommand /bin/true\nAuthorizedKeysCommandUser nobody\n")
    before = node_picture()
    error = setup("--apply", ok=False)
    check("another setting comes first" in error and "nothing was changed" in error,
          "sshd takes another key command: refused")
    check(differences(before, node_picture()) == [], "all is put back")
    other.write_text("NoSuchKeyword yes\n")
    before = node_picture()
    check("already" in setup("--apply", ok=False), "sshd's configuration was broken before")
    check(differences(before, node_picture()) == [], "nothing was changed")
    other.unlink()

    sudoers = pathlib.Path("/etc/sudoers")
    content = sudoers.read_text()
    sudoers.write_text(content.replace("@includedir", "#no"))
    before = node_picture()
    check("includedir" in setup("--apply", ok=False), "sudo does not read our file: refused")
    check(differences(before, node_picture()) == [], "all is put back")
    sudoers.write_text(content)

    NSSWITCH.write_text("passwd: files [NOTFOUND=return] sss\n")
    before = node_picture()
    check("NOTFOUND=return" in setup("--apply", ok=False), "an nsswitch.conf that hides roster")
    check(differences(before, node_picture()) == [], "nothing was changed")
    NSSWITCH.unlink()
    NSSWITCH.symlink_to("/etc/authselect/nsswitch.conf")
    pathlib.Path("/etc/authselect").mkdir()
    pathlib.Path("/etc/authselect/nsswitch.conf").write_bytes(original[str(NSSWITCH)][0])
    before = node_picture()
    check("authselect" in setup("--apply", ok=False), "authselect's file is left alone")
    check(differences(before, node_picture()) == [], "nothing was changed")
    shutil.rmtree("/etc/authselect")
    NSSWITCH.unlink()
    NSSWITCH.write_bytes(original[str(NSSWITCH)][0])
    check(differences(original, node_picture()) == [], "as in the beginning")


def record_on_a_full_disk(original):
    """The record is written before the first change and after the last: a node that was set up can
    be taken back wherever the disk got full."""
    def changes():
        return [path for path in differences(original, node_picture()) if path != "record"]
    outcomes = []
    for pages in range(1, 64):
        RECORD.mkdir(mode=0o700, parents=True)
        run("mount", "-t", "tmpfs", "-o", f"mode=700,size={pages * 4096}", "tmpfs", RECORD)
        done = run("roster-agent", "setup", "--apply", check=False)
        changed = changes()
        outcomes.append((done.returncode, bool(changed)))
        if done.returncode != 0 and "No space left" not in done.stderr:
            raise AssertionError(f"{pages} pages: {done.stderr}")
        if done.returncode != 0 and changed and "all is changed and checked" not in done.stderr:
            raise AssertionError(f"{pages} pages, half changed: {changed}: {done.stderr}")
        run("mount", "-o", "remount,size=1m", RECORD)
        if done.returncode != 0 and pages % 2 == 0:
            setup("--apply")
        unsetup()
        if changes():
            raise AssertionError(f"{pages} pages: unsetup leaves {changes()}")
        run("umount", RECORD)
        RECORD.rmdir()
        if done.returncode == 0:
            break
    check((1, False) in outcomes, "no room for the record: nothing is changed")
    check((1, True) in outcomes, "no room for its last word: told, and taken back all the same")
    check(outcomes[-1] == (0, True), f"with {len(outcomes)} pages it works")


def ahead(seconds):
    """The environment of a program whose clock is wrong."""
    return os.environ | {"LD_PRELOAD": str(lab_module.BUILD / "tests" / "libroster_clock.so"),
                         "ROSTER_TEST_CLOCK_AHEAD_S": str(seconds)}


def doctor_knows_the_time():
    def finds_at(seconds, check_name, state, words, what):
        done = run("roster", "doctor", "--output", "json", check=False, env=ahead(seconds))
        found = {f["check"]: f for f in json.loads(done.stdout)["findings"]}[check_name]
        if found["state"] != state or words not in found["detail"] + found["mend"]:
            raise AssertionError(f"{what}: {found}")
        print(f"  ok: doctor, {what}: {found['detail']}")
    day = 24 * 3600
    finds_at(0, "clock", "ok", "as the hub's", "a clock that is right")
    finds_at(30, "clock", "notice", "ahead of the hub's", "a clock that drifts")
    finds_at(3600, "clock", "bad", "ahead of the hub's", "a clock that is wrong")
    finds_at(-3600, "clock", "bad", "behind the hub's", "in the other direction")
    finds_at(0, "credential", "ok", "credential ends", "a fresh credential")
    finds_at(25 * day, "credential", "bad", "was not renewed", "a credential that ends soon")
    finds_at(31 * day, "credential", "bad", "new join token", "a credential that has ended")


def doctor(ok=None):
    """Findings by check, the worst of each; and the answer as a whole."""
    done = run("roster", "doctor", "--output", "json", check=False)
    answer = json.loads(done.stdout)
    if done.returncode != (0 if answer["healthy"] else 1):
        raise AssertionError(f"exit {done.returncode}: {done.stdout}")
    if ok is not None and answer["healthy"] != ok:
        raise AssertionError(f"healthy is not {ok}: {done.stdout}")
    order = ["off", "ok", "notice", "unknown", "bad"]
    worst = {}
    for finding in answer["findings"]:
        if finding["state"] in ("bad", "unknown", "notice") and not finding["mend"]:
            raise AssertionError(f"no way out: {finding}")
        have = worst.get(finding["check"])
        if have is None or order.index(finding["state"]) > order.index(have["state"]):
            worst[finding["check"]] = finding
    return worst


def finds(check_name, state, words, what):
    found = doctor()[check_name]
    if found["state"] != state or words not in found["detail"]:
        raise AssertionError(f"{what}: {found}")
    print(f"  ok: doctor, {what}: {found['detail']}")


def replaced(path, text):
    """Puts `text` there and gives a function that puts back what was."""
    path = pathlib.Path(path)
    before = path.read_bytes() if path.exists() else None
    path.write_text(text)
    return lambda: path.unlink() if before is None else path.write_bytes(before)


def hang_up(listener):
    """An nscd that serves nobody: glibc asks its sources at once."""
    while True:
        try:
            listener.accept()[0].close()
        except OSError:
            return


def doctor_finds(lab, scim):
    setup("--apply")
    found = doctor(ok=True)
    check(all(f["state"] == "ok" for f in found.values()), f"doctor: all well: {sorted(found)}")
    text = run("roster", "doctor").stdout
    check("CHECK" in text and "To mend" not in text, "as a table, too")
    doctor_knows_the_time()
    done = run("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "roster",
               "doctor", "--output", "json", check=False)
    states = {f["check"]: f["state"] for f in json.loads(done.stdout)["findings"]}
    check(done.returncode == 1 and states["sshd"] == states["sudo"] == "unknown",
          "without root it says what it cannot know")

    nsswitch = NSSWITCH.read_text()
    restore = replaced(NSSWITCH, nsswitch.replace("roster", "", 1))
    finds("nsswitch", "bad", "passwd does not ask roster", "a source that is gone")
    finds("lookups", "bad", "does not find", "and lookups fail")
    finds("setup", "bad", str(NSSWITCH), "a file changed since setup")
    NSSWITCH.write_text(nsswitch.replace("files roster", "roster files"))
    finds("nsswitch", "bad", "before the node's own files", "a wrong order")
    NSSWITCH.write_text(nsswitch.replace("files roster", "files sss roster"))
    finds("nsswitch", "notice", "sss before roster", "another directory in front")
    restore()

    module = next(lab_module.MULTIARCH.glob("libnss_roster.so.2"))
    gone = module.rename(module.with_name("gone"))
    finds("lookups", "bad", "does not find", "the module is gone")
    gone.rename(module)

    pathlib.Path("/run/nscd").mkdir()
    nscd = socket.socket(socket.AF_UNIX)
    nscd.bind("/run/nscd/socket")
    nscd.listen()
    threading.Thread(target=hang_up, args=(nscd,), daemon=True).start()
    finds("nscd", "unknown", "not known", "nscd without a configuration that can be read")
    restore = replaced("/etc/nscd.conf", "\tenable-cache passwd yes\n\tenable-cache group no\n")
    finds("nscd", "bad", "passwd", "nscd with caches")
    pathlib.Path("/etc/nscd.conf").write_text("enable-cache passwd no\n")
    finds("nscd", "ok", "without", "nscd without them")
    restore()
    nscd.shutdown(socket.SHUT_RDWR)
    shutil.rmtree("/run/nscd")

    restore = replaced("/etc/ssh/sshd_config.d/10-other.conf", "UsePAM no\n")
    finds("sshd", "bad", "UsePAM", "no PAM")
    pathlib.Path("/etc/ssh/sshd_config.d/10-other.conf").write_text("AuthorizedKeysCommand none\n")
    finds("sshd", "bad", "another setting comes first", "another key command")
    restore()
    helper = pathlib.Path("/usr/bin/roster-authorized-keys")
    helper.chmod(0o775)
    finds("sshd", "bad", "writable by nobody else", "a key helper that others may write")
    helper.chmod(0o755)

    restore = replaced(COMMON_SESSION, "session required pam_unix.so\n")
    finds("homes", "bad", "no PAM stack", "no pam_mkhomedir")
    restore()
    restore = replaced(SUDOERS_SNIPPET, "%#4 ALL=(ALL) ALL\n")
    finds("sudo", "bad", "not what setup writes", "another sudoers file")
    restore()
    CONFIG.chmod(0o666)
    finds("configuration", "bad", "written by others", "a configuration for all")
    CONFIG.chmod(0o644)

    run("roster-agent", "deny", "bob")
    finds("deny", "notice", "bob", "somebody is denied")
    run("roster-agent", "allow", "bob")
    run("useradd", "--uid", "4242", "--no-create-home", "carol")
    scim.create_user("carol")
    scim.create_user("dave")
    run("roster-agent", "wait", "--timeout", "20s", "--user", "dave")
    finds("masked", "notice", "carol", "a local account hides somebody")
    run("userdel", "carol")
    wait_for(lambda: doctor()["masked"]["state"] == "ok", "carol shows", 20, pause=0.2)

    lab.stop("rosterd")
    wait_for(lambda: doctor()["agent"]["state"] == "bad", "the agent notices", 20, pause=0.2)
    finds("clock", "unknown", "does not answer", "no hub, so the clock is not known")
    lab.start_hub()
    wait_for(lambda: doctor()["agent"]["state"] == "ok", "the agent is back", 90, pause=0.2)
    lab.stop("agent")
    finds("agent", "bad", "no agent answers", "no agent")
    lab.start_agent()
    run("roster-agent", "wait", "--timeout", "20s")
    wait_for(lambda: doctor()["agent"]["state"] == "ok", "the agent is back", 90, pause=0.2)
    doctor(ok=True)
    run("roster-agent", "unsetup", "--apply")
    for path in ("/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/subuid-",
                 "/etc/subgid-"):
        pathlib.Path(path).unlink(missing_ok=True)  # useradd's
    finds("setup", "notice", "was not set up", "a node that was not set up")


def killed(original):
    """At any instant: what comes next ends it, in either direction."""
    started = time.monotonic()
    setup("--apply")
    length = time.monotonic() - started
    target = node_picture()
    unsetup()
    states = set()
    rounds = 20
    for i in range(rounds):
        for command in ("setup", "unsetup"):
            process = subprocess.Popen(["roster-agent", command, "--apply"], start_new_session=True,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(length * (i + 0.5) / rounds)
            process.send_signal(signal.SIGKILL)
            process.wait()
            states.add(len(differences(original, node_picture())))
            if i % 2 == 0:
                setup("--apply")
                bad = differences(target, node_picture())
                if bad:
                    raise AssertionError(f"setup after a kill at {i}: {bad}")
            unsetup()
            bad = differences(original, node_picture())
            if bad:
                raise AssertionError(f"unsetup after a kill at {i}: {bad}")
            if command == "setup":
                setup("--apply")
        unsetup()
    check(len(states) > 2, f"{2 * rounds} kills in {len(states)} different states, all mended")


def story():
    with Lab(set_up=False) as lab:
        lab.overlay("/root")
        lab.init_hub()
        lab.start_hub()
        scim = lab.scim_client("okta")
        lab.start_agent(lab.join_token())
        key, public = lab.make_key("alice")
        bob_key, bob_public = lab.make_key("bob")
        alice = scim.create_user("alice", [public])
        scim.create_user("bob", [bob_public])
        wheel = scim.call("POST", "/Groups", {"schemas": [CORE_GROUP], "displayName": "operators",
                                              "members": [{"value": alice["id"]}]}, expect=201)[1]
        gid = wheel[POSIX_GROUP]["sunkPosixGroupId"]
        run("roster-agent", "wait", "--timeout", "20s", "--user", "bob")
        configure(lab, sudo_access=True, sudo_gids=[gid])
        dry_run_changes_nothing(gid)
        whose_configuration(lab, gid)
        root_keeps_its_keys()
        original = node_picture()
        applied(lab, key, bob_key, gid)
        repeat_is_no_op()
        switched_off_again(original)
        unset_with_edits(original)
        own_files_come_back(original)
        rolled_back(original)
        killed(original)
        record_on_a_full_disk(original)
        doctor_finds(lab, scim)


def main():
    enter_namespace()
    story()
    print("1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
