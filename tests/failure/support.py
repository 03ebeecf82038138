"""What the failure tests share: the lab, counted checks, the NSS module's own entry points, and a
client that knows whether an answer was read.
"""

import ctypes
import http.client
import json
import os
import pathlib
import random
import signal
import sys
import threading
import time
import traceback
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from lab import (  # noqa: E402,F401
    BUILD,
    CORE_GROUP,
    CORE_USER,
    COREWEAVE,
    MULTIARCH,
    PATCH_OP,
    Lab,
    enter_namespace,
    free_port,
    run,
    skip,
    wait_for,
)

ALL_TIERS = os.environ.get("ROSTER_TEST_TIER") == "all"
CACHE = pathlib.Path("/var/lib/roster/cache")
STATE = pathlib.Path("/var/lib/roster/state")


def scaled(default, everything):
    """How often a loop runs: `everything` in the long tier."""
    return everything if ALL_TIERS else default


def seeded():
    """Random choices that can be had again: ROSTER_TEST_SEED, printed by every run."""
    seed = int(os.environ.get("ROSTER_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed} (ROSTER_TEST_SEED={seed} repeats these choices)", flush=True)
    return random.Random(seed)


class Checks:
    """Counts what held. The first thing that does not hold ends the test."""

    def __init__(self):
        self.passed = 0

    def that(self, condition, what, detail=""):
        if not condition:
            raise AssertionError(f"{what}: {detail}" if detail else what)
        self.passed += 1
        print(f"  ok: {what}", flush=True)

    def equal(self, got, expected, what):
        self.that(got == expected, what, f"got {got!r}, expected {expected!r}")


def main(story):
    """Runs `story(checks)` inside a private mount namespace and says how it went."""
    enter_namespace()
    checks = Checks()
    started = time.monotonic()
    try:
        story(checks)
    except SystemExit:
        raise  # skipped
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        print(f"{checks.passed} passed, 1 failed")
        sys.exit(1)
    print(f"{time.monotonic() - started:.1f} s")
    print(f"{checks.passed} passed, 0 failed")
    sys.exit(0)


# --- the NSS module -----------------------------------------------------------------------------

FOUND, NOTFOUND, UNAVAIL, TRYAGAIN = 1, 0, -1, -2
STATUS_NAMES = {FOUND: "SUCCESS", NOTFOUND: "NOTFOUND", UNAVAIL: "UNAVAIL", TRYAGAIN: "TRYAGAIN"}


class Passwd(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("passwd", ctypes.c_char_p),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("gecos", ctypes.c_char_p),
        ("home", ctypes.c_char_p),
        ("shell", ctypes.c_char_p),
    ]


class Group(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("passwd", ctypes.c_char_p),
        ("gid", ctypes.c_uint32),
        ("members", ctypes.POINTER(ctypes.c_char_p)),
    ]


class User:
    """One answer of the passwd map, copied out of the caller's buffer."""

    def __init__(self, entry):
        self.name, self.uid, self.gid = entry.name.decode(), entry.uid, entry.gid
        self.gecos, self.home = entry.gecos.decode(), entry.home.decode()
        self.shell = entry.shell.decode()

    @property
    def locked(self):
        return self.shell.endswith("nologin")

    def __repr__(self):
        return f"{self.name}:{self.uid}:{self.gid}:{self.gecos}:{self.home}:{self.shell}"


class NssModule:
    """libnss_roster's entry points without glibc around them, so that "no such user" and "I do not
    know" are told apart. Each process that makes one has a module of its own."""

    def __init__(self, path=None):
        self.library = ctypes.CDLL(str(path or MULTIARCH / "libnss_roster.so.2"))
        self.bytes = 1 << 16
        self.buffer = ctypes.create_string_buffer(self.bytes)

    def _call(self, function, key, result):
        error = ctypes.c_int(0)
        while True:
            status = getattr(self.library, "_nss_roster_" + function)(
                key,
                ctypes.byref(result),
                self.buffer,
                ctypes.c_size_t(self.bytes),
                ctypes.byref(error),
            )
            if status != TRYAGAIN or error.value != 34:  # ERANGE
                return status
            self.bytes *= 2
            self.buffer = ctypes.create_string_buffer(self.bytes)

    def user(self, key):
        """(status, User or None), by name or by uid."""
        entry = Passwd()
        by_name = isinstance(key, str)
        status = self._call(
            "getpwnam_r" if by_name else "getpwuid_r",
            key.encode() if by_name else ctypes.c_uint32(key),
            entry,
        )
        return status, User(entry) if status == FOUND else None

    def group(self, key):
        """(status, gid, list of members), by name or by gid."""
        entry = Group()
        by_name = isinstance(key, str)
        status = self._call(
            "getgrnam_r" if by_name else "getgrgid_r",
            key.encode() if by_name else ctypes.c_uint32(key),
            entry,
        )
        if status != FOUND:
            return status, None, None
        members = []
        while entry.members[len(members)]:
            members.append(entry.members[len(members)].decode())
        return status, entry.gid, members

    def all_users(self):
        """(status at the end, users): the whole passwd map of one generation."""
        users, error, entry = [], ctypes.c_int(0), Passwd()
        status = self.library._nss_roster_setpwent(0)
        while status == FOUND:
            status = self.library._nss_roster_getpwent_r(
                ctypes.byref(entry), self.buffer, ctypes.c_size_t(self.bytes), ctypes.byref(error)
            )
            if status == FOUND:
                users.append(User(entry))
        self.library._nss_roster_endpwent()
        return status, users


def in_child(function, *arguments):
    """Runs `function` in a forked process, which meets the NSS module afresh; returns its result,
    which must be JSON. A crash of the child is an error here."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(read_end)
            with os.fdopen(write_end, "w") as out:
                json.dump(function(*arguments), out)
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    os.close(write_end)
    with os.fdopen(read_end) as answer:
        text = answer.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 0:
        raise AssertionError(f"child ended with {status}")
    return json.loads(text)


class Reader:
    """A process that looks people up without pause and keeps the first thing that was wrong.
    `look(module)` makes one round and returns a complaint or None."""

    def __init__(self, look):
        self.read_end, write_end = os.pipe()
        sys.stdout.flush()
        self.child = os.fork()
        if self.child == 0:
            os._exit(self._run(look, write_end))
        os.close(write_end)

    def _run(self, look, write_end):
        try:
            told_to_stop = []
            signal.signal(signal.SIGUSR1, lambda *_: told_to_stop.append(True))
            module, rounds, complaint = NssModule(), 0, None
            while complaint is None and not told_to_stop:
                complaint = look(module)
                rounds += 1
            os.write(write_end, json.dumps({"rounds": rounds, "complaint": complaint}).encode())
            return 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            return 1

    def finish(self):
        """Rounds made; raises when something was wrong."""
        os.kill(self.child, signal.SIGUSR1)
        with os.fdopen(self.read_end) as answer:
            text = answer.read()
        status = os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
        if status != 0:
            raise AssertionError(f"reader ended with {status}")
        report = json.loads(text)
        if report["complaint"]:
            raise AssertionError(f"reader, round {report['rounds']}: {report['complaint']}")
        return report["rounds"]


# --- HTTP ---------------------------------------------------------------------------------------


class Unanswered(Exception):
    """The connection ended before the answer was read: nobody knows whether the change was made."""


class Client:
    """A SCIM client on one kept connection. Status and body are returned only after the last byte
    of the answer was read; `headers` are the last answer's.
    """

    def __init__(self, scim, timeout=20):
        url = urllib.parse.urlsplit(scim.base)
        self.host, self.port, self.prefix = url.hostname, url.port, url.path
        self.tls, self.token, self.timeout = scim.tls, scim.token, timeout
        self.connection, self.headers = None, {}

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def call(self, method, path, body=None):
        try:
            if self.connection is None:
                self.connection = http.client.HTTPSConnection(
                    self.host, self.port, timeout=self.timeout, context=self.tls
                )
            self.connection.request(
                method,
                self.prefix + path,
                json.dumps(body) if body is not None else None,
                {"Authorization": "Bearer " + self.token, "Content-Type": "application/scim+json"},
            )
            answer = self.connection.getresponse()
            text = answer.read()
            self.headers = answer.headers
        except (OSError, http.client.HTTPException) as lost:
            self.close()
            raise Unanswered(str(lost)) from lost
        if answer.will_close:
            self.close()
        is_json = "json" in (answer.headers.get("Content-Type") or "")
        return answer.status, json.loads(text) if is_json and text else None

    def every(self, path, expect=200):
        """All resources of a list, page by page."""
        resources = []
        while True:
            join = "&" if "?" in path else "?"
            status, page = self.call(
                "GET", f"{path}{join}startIndex={len(resources) + 1}&count=500"
            )
            if status != expect:
                raise AssertionError(f"GET {path}: {status} {page}")
            resources += page["Resources"]
            if len(resources) >= page["totalResults"] or not page["Resources"]:
                return resources, page["totalResults"]


def user_body(name, display=None, active=True, **more):
    body = {
        "schemas": [CORE_USER],
        "userName": name,
        "externalId": "x-" + name,
        "active": active,
        **more,
    }
    if display is not None:
        body["displayName"] = display
    return body


def patch_body(*operations):
    return {"schemas": [PATCH_OP], "Operations": list(operations)}


def uid_of(user):
    return user[COREWEAVE]["sunkPosixUserId"]


def agent_status():
    """What the agent says of itself; None while it does not answer."""
    done = run("roster-agent", "status", "--output", "json", check=False)
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        return None


def spawn(function, *arguments):
    """A daemon thread whose exception is kept: join with `joined`."""
    thread = threading.Thread(target=_kept, args=(function, arguments), daemon=True)
    thread.failure = None
    thread.start()
    return thread


def _kept(function, arguments):
    try:
        function(*arguments)
    except BaseException as failure:
        threading.current_thread().failure = failure


def joined(threads, seconds=60):
    for thread in threads:
        thread.join(seconds)
        if thread.is_alive():
            raise TimeoutError("a client thread does not end")
        if thread.failure is not None:
            raise thread.failure
