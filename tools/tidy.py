#!/usr/bin/env python3
"""House rules that a machine can check, over the files that git tracks.

Usage: tools/tidy.py          prints one line per finding, exit status 1 when there are any
       tools/tidy.py --test   checks the rules themselves on small examples
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Who may include whom: each room and the rooms it may include, besides itself. See ARCHITECTURE.md.
MECHANISMS = {
    "base": [],
    "crypto": ["base"],
    "store": ["base"],
    "http": ["base", "crypto"],
    "posix": ["base", "crypto"],
    "scim": ["base"],
    "feed": ["base", "posix"],
    "nsscache": ["base", "posix"],
    "kubernetes": ["base", "http"],
    "reconcile": ["base", "crypto"],
    "scim_client": ["base", "http"],
    "slurm": ["base", "http", "posix", "reconcile"],
}
DIRECTORY = {"directory": ["base", "crypto", "store", "posix", "scim"]}
CLUSTERS = {"clusters": ["base", "crypto", "http", "posix", "reconcile", "slurm", "directory"]}
FACE = ["base", "crypto", "store", "http", "posix", "scim", "feed", "directory"]
FACES = {"provider": FACE, "hub": FACE, "admin": FACE + ["reconcile", "slurm", "clusters"]}
# What a node needs to be set up and looked at; agent and cli stand on it.
NODE = {"node": ["base", "crypto", "http", "feed", "nsscache"]}
PROGRAM_ROOM = ["base", "crypto", "http", "posix", "scim", "feed", "nsscache", "kubernetes", "node",
                "scim_client"]
PROGRAM_ROOMS = {"mirror": ["base", "crypto", "http", "posix", "nsscache", "scim_client"],
                 "sync": ["base", "crypto", "http", "posix", "reconcile", "scim_client"],
                 "agent": PROGRAM_ROOM + ["mirror"], "cli": PROGRAM_ROOM + ["sync"]}
EDGES = MECHANISMS | DIRECTORY | CLUSTERS | FACES | NODE | PROGRAM_ROOMS
# Programs are thin: the rooms each may use.
APPS = {
    "rosterd": FACE + ["clusters", "provider", "hub", "admin"],
    "agent": ["base", "node", "agent"],
    "roster": ["base", "cli"],
}
# What lives inside other programs' processes: one header, and libc.
READER_ONLY = {"nss", "authorized_keys"}
READER_HEADERS = {"nsscache/reader.h"}

# Pattern, where it is allowed (path prefixes), what to use instead.
BANNED = [
    (r"\bsystem_clock::now\b", ["src/base/", "apps/"], "a Clock parameter (base/time.h)"),
    (r"#include <boost/(asio|beast)", ["src/http/", "bench/beast_floor.cc"],
     "src/http: the only room with Asio and Beast"),
    (r"#include <openssl/", ["src/crypto/", "src/http/"], "src/crypto"),
    (r"#include <sqlite3\.h>", ["src/store/", "bench/"], "src/store"),
    (r"#include <libpq-fe\.h>", ["src/store/"], "src/store"),
    (r"\b(strcpy|strcat|sprintf|gets|strtok)\s*\(", [], "bounded functions or std::string"),
    (r"(?<!\.)\b(s?rand|::random)\s*\(", [], "RandomBytes (base/ids.h)"),
    (r"\bstd::(cout|cerr)\b", ["apps/", "src/cli/", "src/agent/", "bench/", "tests/"], "base/log.h"),
    (r"\bsystem\s*\(\s*\"", [], "posix_spawn with an argument vector"),
    (r"\b(TODO|FIXME|XXX)\b", ["tools/tidy.py"], "finish it, or say so in the docs"),
]
TEST_ALLOWED = {"system_clock::now"}
CODE_SUFFIXES = {".cc", ".h", ".c"}
LINE_MAX = 100
FILE_BYTES_MAX = 1 << 20


def tracked_files():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [pathlib.PurePosixPath(name) for name in listing.stdout.decode().split("\0") if name]


def included_rooms(text):
    return re.findall(r'^\s*#include "([^"]+)"', text, re.MULTILINE)


def check_includes(path, text):
    parts = path.parts
    is_test = path.stem.endswith("_test") or "testing" in parts
    for header in included_rooms(text):
        room = header.split("/")[0]
        if parts[0] == "src":
            own = parts[1]
            if own not in EDGES:
                yield f"{path}: room '{own}' is not in tools/tidy.py's table"
            elif room != own and room in EDGES and room not in EDGES[own]:
                if is_test and room in tests_may_use(own):
                    continue
                yield f"{path}: {own} must not include {header}"
        elif parts[0] == "apps":
            app = parts[1]
            if app in READER_ONLY:
                if header not in READER_HEADERS and room in EDGES:
                    yield f"{path}: only {', '.join(READER_HEADERS)} may be included here"
            elif room in EDGES and app in APPS and room not in APPS[app]:
                yield f"{path}: {app} must not include {header}"


def tests_may_use(room):
    """A test may stand on everything below its room, and use the store's test engines."""
    extra = {"provider": ["hub"], "kubernetes": ["crypto"]}
    return set(EDGES[room]) | set(extra.get(room, []))


def check_text(path, text):
    for pattern, allowed, instead in BANNED:
        if any(str(path).startswith(prefix) for prefix in allowed):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(pattern, line) and not line.lstrip().startswith("//"):
                if path.stem.endswith("_test") and any(t in pattern for t in TEST_ALLOWED):
                    continue
                yield f"{path}:{number}: banned: {line.strip()[:60]}: use {instead}"
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > LINE_MAX and "http" not in line and 'R"' not in line:
            yield f"{path}:{number}: longer than {LINE_MAX} columns"
    if path.suffix == ".h" and "#pragma once" not in text:
        yield f"{path}: no #pragma once"
    if path.suffix == ".h" and "using namespace " in text:
        yield f"{path}: using namespace in a header"


def documented_words():
    words = ""
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*"), *(ROOT / "deploy").rglob("*")]:
        if page.is_file():
            words += page.read_text(errors="replace")
    return words


def check_documented(files):
    """Every metric and every setting has a line in the documentation."""
    pages = documented_words()
    for path in files:
        if path.suffix != ".cc" or path.parts[0] not in ("src", "apps") or path.stem.endswith("_test"):
            continue
        text = (ROOT / path).read_text(errors="replace")
        for metric in set(re.findall(r'"(roster_[a-z_]+_(?:total|seconds|bytes|count))"', text)):
            if metric not in pages:
                yield f"{path}: metric {metric} has no line in docs/"
        for setting in set(re.findall(r'\.bind\(\s*"([a-z_.]+)"', text)):
            if setting.split(".")[-1] not in pages:
                yield f"{path}: setting {setting} has no line in docs/"


def findings():
    files = [path for path in tracked_files() if (ROOT / path).is_file()]
    for path in files:
        if (ROOT / path).stat().st_size > FILE_BYTES_MAX:
            yield f"{path}: larger than 1 MiB"
        if path.suffix in CODE_SUFFIXES:
            text = (ROOT / path).read_text(errors="replace")
            yield from check_includes(path, text)
            yield from check_text(path, text)
    yield from check_documented(files)


def test_rules():
    """The rules find what they are for: a rule that matches nothing protects nothing."""
    path = pathlib.PurePosixPath
    assert list(check_includes(path("src/scim/x.cc"), '#include "store/database.h"\n'))
    assert list(check_includes(path("src/agent/x.cc"), '#include "directory/directory.h"\n'))
    assert list(check_includes(path("apps/nss/x.cc"), '#include "base/file.h"\n'))
    assert not list(check_includes(path("apps/nss/x.cc"), '#include "nsscache/reader.h"\n'))
    assert not list(check_includes(path("src/hub/x.cc"), '#include "directory/directory.h"\n'))
    assert list(check_text(path("src/scim/x.cc"), "auto t = std::chrono::system_clock::now();\n"))
    assert list(check_text(path("src/hub/x.cc"), "#include <boost/asio.hpp>\n"))
    assert list(check_text(path("src/hub/x.cc"), "x" * 101 + "\n"))
    for room, may in EDGES.items():
        for other in may:
            assert room not in EDGES[other], f"{room} and {other} include each other"


def main():
    test_rules()
    if "--test" in sys.argv[1:]:
        return 0
    found = sorted(set(findings()))
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
