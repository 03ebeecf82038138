"""From the hub to a node, whole programs over TLS: a directory's first snapshot, how fast a PATCH is
visible on a node, and lookups through glibc. Everything is on a real disk, in a private mount
namespace.

    node_bench.py [PEOPLE [GROUPS [ROUNDS]]]      default 100000 people, 1000 groups of 50, 1000 rounds
"""

import os
import pathlib
import shutil
import sys
import time

from sites import BUILD, PARTS, Provisioner, SiteOnDisk, json_lines, memory_mib, run
from lab import MULTIARCH, enter_namespace, wait_for

KEYS = 2
MEMBERS = 50
CACHE = pathlib.Path("/var/lib/roster/cache")


def known(name):
    """Asked by a new process: one that knows an earlier cache keeps it until it sees a new one."""
    return run("getent", "passwd", name, check=False).returncode == 0


def copy_seconds(scratch):
    """What the disk takes for the bytes of the published images: written and fsynced once."""
    images = [path.read_bytes() for path in CACHE.iterdir() if not path.name.startswith("control")]
    started = time.monotonic()
    for data in images:
        with open(scratch / "copy", "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    return time.monotonic() - started, sum(map(len, images))


def first_snapshot(lab, people, attempt):
    """A node without anything joins; `attempt` names it. Ends with the agent running."""
    for path in pathlib.Path("/var/lib/roster").iterdir():
        shutil.rmtree(path)
    join = lab.join_token(f"join{attempt}")
    started = time.monotonic()
    lab.start_agent(join, "--node-name", f"node{attempt}")
    wait_for(lambda: known(f"person{people - 1}"), "the snapshot is published", 300, pause=0.01)
    seconds = time.monotonic() - started
    copied, size = copy_seconds(lab.scratch)
    print(f"first snapshot, {people} people, {'cold' if attempt == 0 else 'hub has rendered it'}: "
          f"{seconds:.2f} s  agent's peak memory {memory_mib(lab.processes['agent'], 'VmHWM'):.0f} MiB  "
          f"hub's {memory_mib(lab.processes['rosterd'], 'VmHWM'):.0f} MiB  "
          f"{size / 1e6:.1f} MB published, the disk alone {copied:.2f} s", flush=True)


def visible(lab, rounds):
    row, = json_lines(PARTS / "visible_bench", lab.url, lab.org, lab.token_file, lab.ca_file,
                      BUILD.resolve() / "lib" / "libnss_roster.so.2", "person77", lab.scratch, rounds)
    print(f"PATCH answered -> visible: median {row['visible_median_ms']:.2f} ms  "
          f"p99 {row['visible_p99_ms']:.2f} ms  max {row['visible_max_ms']:.2f} ms  "
          f"({row['rounds']} rounds)\n"
          f"  bound, a round trip and a durable file: median {row['bound_median_ms']:.2f} ms  "
          f"p99 {row['bound_p99_ms']:.2f} ms  "
          f"ratio {row['visible_median_ms'] / row['bound_median_ms']:.2f}\n"
          f"  the PATCH itself: median {row['patch_median_ms']:.2f} ms  "
          f"p99 {row['patch_p99_ms']:.2f} ms", flush=True)


def main():
    numbers = [int(word) for word in sys.argv[1:]]
    people, groups, rounds = (numbers + [100_000, 1000, 1000][len(numbers):])[:3]
    enter_namespace()
    with SiteOnDisk() as lab:
        lab.init_hub()
        lab.start_hub("--log-level", "warn")
        okta = Provisioner(lab, lab.org)
        for kind, row in (
                ("people", okta.load("post", "--count", people, "--keys", KEYS, "--ids", okta.ids,
                                     clients=16)),
                ("groups", okta.load("groups", "--count", groups, "--members", MEMBERS, "--ids",
                                     okta.ids, clients=16))):
            print(f"{row[0]['requests']} {kind} created over SCIM by 16 clients in "
                  f"{row[0]['seconds']:.1f} s", flush=True)
        for attempt in range(3):
            if attempt > 0:
                lab.stop("agent")
            first_snapshot(lab, people, attempt)
        visible(lab, rounds)
        shutil.copy(PARTS / "libnss_floor.so.2", MULTIARCH)
        print(run(PARTS / "glibc_bench", people, lab.scratch / "nsswitch.conf").stdout, end="",
              flush=True)


if __name__ == "__main__":
    main()
