"""A pass of roster-agent in nsscache's place: 10,000 and 100,000 people with two keys each and one group
of 50 for every hundred, from a server that has all pages ready. Beside it, in the same rounds: a bound
that fetches, reads and writes the same bytes and does nothing else; and, when it is given, another
program that takes the same configuration.

    mirror_bench.py [--people N ...] [--rounds N] [--peer COMMAND]

COMMAND is run with the configuration's path in the place of {conf}; its maps are compared with ours.
"""

import argparse
import base64
import http.server
import json
import os
import pathlib
import shlex
import shutil
import struct
import subprocess
import sys
import time

from sites import BUILD, PARTS, median, scratch_directory
from nsscache_conf import URN, nsscache_conf

PAGE = 1000
MAPS = ("passwd", "shadow", "group", "sshkey")


def key(number, which):
    blob = (struct.pack(">I", 11) + b"ssh-ed25519" + struct.pack(">I", 32)
            + struct.pack(">QQQQ", number, which, number * 7, number ^ which))
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} user{number}@host{which}.example.org"


def person(number):
    name = f"user{number:06d}"
    ident = f"65f0c0ff-0000-4000-8000-{number:012d}"
    return {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", URN], "id": ident,
            "externalId": f"00u{number:09d}", "userName": f"{name}@example.org", "active": True,
            "name": {"formatted": f"User Number {number}", "givenName": "User",
                     "familyName": f"Number {number}"},
            "emails": [{"value": f"{name}@example.org", "type": "work", "primary": True}],
            URN: {"sunkPosixUsername": name, "sunkPosixUserId": 1000000 + number,
                  "sunkPosixGroupId": 1000000 + number, "sunkPreferredHomeDirectory": f"/home/{name}",
                  "sunkLoginShell": "/bin/bash", "sunkSshKeys": [key(number, 1), key(number, 2)]},
            "meta": {"resourceType": "User", "created": "2026-01-01T00:00:00Z",
                     "location": f"https://hub.example.org/api/organizations/lab/scim/v2/Users/{ident}"}}


def group(number):
    members = [{"value": f"65f0c0ff-0000-4000-8000-{n:012d}", "display": f"user{n:06d}", "type": "User",
                "sunkPosixUsername": f"user{n:06d}"} for n in range(number * 100, number * 100 + 50)]
    return {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "id": f"g-{number:06d}",
            "displayName": f"team{number}", "sunkPosixGroupId": 3000000 + number,
            "sunkPosixGroupName": f"team{number}", "members": members,
            "meta": {"resourceType": "Group"}}


class Pages:
    """All pages of a directory, ready to be sent."""

    def __init__(self, people):
        self.bytes = {}
        self.targets = []
        for kind, count, make in (("Users", people, person), ("Groups", people // 100, group)):
            for start in range(0, count, PAGE):
                resources = [make(n) for n in range(start, min(count, start + PAGE))]
                page = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
                        "totalResults": count, "startIndex": start + 1,
                        "itemsPerPage": len(resources), "Resources": resources}
                self.bytes[kind, start + 1] = json.dumps(page, separators=(",", ":")).encode()
                self.targets.append(f"/{kind}?startIndex={start + 1}")

    def serve(self):
        pages = self.bytes

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                path, _, query = self.path.partition("?")
                parameters = dict(part.partition("=")[::2] for part in query.split("&"))
                body = pages[path.rsplit("/", 1)[1], int(parameters.get("startIndex", "1"))]
                tag = f'"{len(body)}"'
                same = self.headers.get("If-None-Match") == tag
                self.send_response(304 if same else 200)
                self.send_header("Content-Type", "application/scim+json")
                self.send_header("ETag", tag)
                if not same:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if not same:
                    self.wfile.write(body)

            def log_message(self, *words):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        total = sum(map(len, self.bytes.values()))
        print(json.dumps({"port": server.server_port, "targets": self.targets, "bytes": total}),
              flush=True)
        server.serve_forever()


def measured(command):
    """Wall and CPU seconds and peak memory in MiB of one run."""
    begin = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - begin
    if process.returncode != 0:
        raise RuntimeError(f"{command}: exit {process.returncode}: {error.decode()}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


class Contender:
    def __init__(self, name, command):
        self.name = name
        self.command = command
        self.runs = []

    def run(self):
        self.runs.append(measured(self.command))

    def median(self, what):
        return median([run[what] for run in self.runs])


def line(contender, ours):
    cells = [contender.name]
    for what, form in ((0, "{:.3f} s"), (1, "{:.3f} s"), (2, "{:.0f} MiB")):
        ratio = contender.median(what) / ours.median(what)
        cells.append(form.format(contender.median(what)) + (f" ({ratio:.2f})" if contender is not ours
                                                            else ""))
    print(f"| {' | '.join(cells)} |", flush=True)


def compare(ours, theirs):
    for name in MAPS:
        for suffix in ("", ".ixname", *((".ixuid",) if name == "passwd" else ()),
                       *((".ixgid",) if name == "group" else ())):
            file = f"{name}.cache{suffix}"
            if (ours / file).read_bytes() != (theirs / file).read_bytes():
                print(f"{file}: the peer's differs from ours")


def measure(people, rounds, peer):
    root = scratch_directory()
    # Another process: what this one has in memory would count for those it starts.
    server = subprocess.Popen([sys.executable, "-B", __file__, "--serve", str(people)],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    pages = json.loads(server.stdout.readline())
    url = f"http://127.0.0.1:{pages['port']}/scim/v2"
    try:
        for name in ("ours", "theirs"):
            (root / name).mkdir()
            (root / f"{name}.conf").write_text(
                nsscache_conf(url, root / name, root / name, "scim_auth_token = token"))
        agent = BUILD.resolve() / "bin" / "roster-agent"
        pass_words = [agent, "sync", "--nsscache-conf", root / "ours.conf"]
        ours = Contender("a full pass", [*pass_words, "--full"])
        unchanged = Contender("an unchanged pass", pass_words)
        ours.run()  # the first pass writes what the others find
        ours.runs.clear()
        size = sum(file.stat().st_size for file in (root / "ours").glob("*.cache*"))
        (root / "targets").write_text("".join(target + "\n" for target in pages["targets"]))
        floor = Contender("the bound", [PARTS / "mirror_floor", url, root / "targets", size,
                                        root / "floor"])
        contenders = [ours, floor, unchanged]
        if peer:
            words = [word.format(conf=root / "theirs.conf") for word in shlex.split(peer)]
            contenders.append(Contender("the peer", words))
        for _ in range(rounds):
            for name in MAPS:  # as after a change: all is written
                (root / "ours" / f"{name}.cache").unlink()
            for contender in contenders:
                contender.run()
        if peer:
            compare(root / "ours", root / "theirs")
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(root, ignore_errors=True)
    print(f"\n### {people:,} people, {pages['bytes'] / 1e6:.1f} MB in {len(pages['targets'])} pages\n\n"
          "| | wall | CPU | memory at most |\n|---|---|---|---|")
    for contender in contenders:
        line(contender, ours)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--people", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", default="", help="another program, e.g. 'nsscache -c {conf} update'")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        Pages(options.serve).serve()
    for people in options.people:
        measure(people, options.rounds, options.peer)


if __name__ == "__main__":
    main()
