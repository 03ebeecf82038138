"""roster sync from one organization of a hub to another, over loopback: the first run, runs with nothing to do, and
runs with one change. Beside the runs with nothing to do, in the same rounds: the same lists, fetched page by page and
thrown away, which nobody can do without. Prints a table; figures are medians of the rounds.

    sync_bench.py [--people N] [--rounds N]
"""

import argparse
import json
import os
import subprocess
import time
import urllib.parse
import urllib.request

from sites import BUILD, HubOnly, Provisioner, median

PAGE = 1000
# As roster sync asks.
ATTRIBUTES = ("id,externalId,userName,active,name,displayName,emails,"
              "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser")


def token_file(lab, org, scope, *words):
    path = lab.root / f"{org}.{scope}.token"
    path.touch(mode=0o600)
    path.write_text(lab.roster("token", "create", "--name", scope, "--scope", scope, *words, org=org).stdout)
    return path


class Sync:
    def __init__(self, lab):
        lab.roster("org", "create", "there")
        lab.roster("client", "create", "sync", org="there")
        self.source = Provisioner(lab, lab.org)
        self.read_token = token_file(lab, lab.org, "read")
        self.write_token = token_file(lab, "there", "scim", "--client", "sync")
        self.to = f"{lab.url}/api/organizations/there/scim/v2"

    def run(self):
        """Seconds, seconds of CPU, and MiB at most, of the program itself."""
        command = [BUILD.resolve() / "bin/roster", "sync", "--from", "scim", "--from-url", self.source.url,
                   "--from-token-file", self.read_token, "--to", self.to, "--to-token-file",
                   self.write_token, "--output", "json"]
        begin = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        report = json.loads(process.stdout.read())
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        assert status == 0 and not report["failed"], report
        return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024

    def walk(self):
        """Seconds for the lists alone."""
        mine = urllib.parse.quote('externalId sw "roster:"')
        begin = time.monotonic()
        for base, token, question in ((self.source.url, self.read_token, ""),
                                      (self.to, self.write_token, f"&filter={mine}")):
            for endpoint in ("Groups", f"Users?attributes={urllib.parse.quote(ATTRIBUTES)}"):
                walk(base, token.read_text().strip(), endpoint, question)
        return time.monotonic() - begin

    def lock_somebody(self, active):
        with open(self.source.ids) as ids:
            someone = next(ids).strip()
        body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                "Operations": [{"op": "replace", "path": "active", "value": active}]}
        request = urllib.request.Request(f"{self.source.url}/Users/{someone}", json.dumps(body).encode(),
                                         method="PATCH")
        request.add_header("Authorization", "Bearer " + self.source.token_file.read_text().strip())
        request.add_header("Content-Type", "application/scim+json")
        urllib.request.urlopen(request).close()


def walk(base, token, endpoint, question):
    cursor = ""
    while cursor is not None:
        join = "&" if "?" in endpoint else "?"
        request = urllib.request.Request(
            f"{base}/{endpoint}{join}count={PAGE}&cursor={urllib.parse.quote(cursor)}{question}")
        request.add_header("Authorization", "Bearer " + token)
        with urllib.request.urlopen(request) as answer:
            page = answer.read()
        # The cursor stands in front of the resources or behind them: a search, not a parse of megabytes.
        at = page.rfind(b'"nextCursor":"')
        cursor = page[at + 14:page.index(b'"', at + 14)].decode() if at >= 0 else None


def line(what, rows):
    print(f"| {what} | {median([row[0] for row in rows]):.2f} s | {median([row[1] for row in rows]):.2f} s | "
          f"{median([row[2] for row in rows]):.0f} MiB |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with HubOnly(plain_http=True) as lab:
        sync = Sync(lab)
        sync.source.load("post", "--count", options.people, "--ids", sync.source.ids, clients=16)
        sync.source.load("groups", "--count", options.people // 100, "--members", 50, "--ids", sync.source.ids)
        print(f"\n### {options.people:,} people, {options.people // 100:,} groups of 50\n\n"
              "| | wall | CPU of the program | memory at most |\n|---|---|---|---|")
        line("the first run", [sync.run()])
        unchanged, walks, changed = [], [], []
        for number in range(options.rounds):
            unchanged.append(sync.run())
            walks.append(sync.walk())
            sync.lock_somebody(active=bool(number % 2))
            changed.append(sync.run())
        line("nothing to do", unchanged)
        line("one person locked or let in", changed)
        bound = median(walks)
        print(f"| the lists alone | {bound:.2f} s ({bound / median([row[0] for row in unchanged]):.2f}) | | |")


if __name__ == "__main__":
    main()
