"""Figures, by hand: 5,000 people in 200 accounts; docs/performance.md has them.

    accounting_speed.py [22.05|24.11] [PEOPLE ACCOUNTS]
"""

import pathlib
import sys
import time

from accounting_test import MARKER, Site
from slurm_lab import VERSIONS, SlurmLab

from lab import enter_namespace

SAMPLE = 20


def add_people(slurm, names):
    """Into passwd and group at once: slurmctld resolves them all."""
    for base in {slurm.base, pathlib.Path("/")}:
        with open(base / "etc/passwd", "a") as passwd, open(base / "etc/group", "a") as group:
            for i, name in enumerate(names):
                passwd.write(f"{name}:x:{100000 + i}:{100000 + i}::/tmp:/bin/bash\n")
                group.write(f"{name}:x:{100000 + i}:\n")


def wishes_for(names, accounts):
    return {"marker": MARKER,
            "accounts": {f"acc{i:03d}": {"settings": {"Fairshare": str(1 + i % 7)}}
                         for i in range(accounts)},
            "users": {name: {"uid": 100000 + i, "memberships": [
                {"account": f"acc{i % accounts:03d}", "settings": {}}]}
                for i, name in enumerate(names)}}


def one_percent(wishes, names, accounts):
    """Half of them move to another account, a quarter get a limit, a quarter are locked."""
    changed = names[::100]
    for i, name in enumerate(changed):
        user = wishes["users"][name]
        if i % 4 < 2:
            user["memberships"][0]["account"] = f"acc{(i * 7 + 1) % accounts:03d}"
        elif i % 4 == 2:
            user["memberships"][0]["settings"] = {"MaxJobs": "4"}
        else:
            user["locked"] = True
    return len(changed)


def one_by_one(slurm, accounts):
    """Seconds that sacctmgr takes to add a user, and for one change."""
    started = time.monotonic()
    for i in range(SAMPLE):
        slurm.sacctmgr("add", "user", f"single{i:02d}", f"account=acc{i % accounts:03d}")
    added = time.monotonic()
    for i in range(SAMPLE):
        slurm.sacctmgr("modify", "user", "where", f"name=single{i:02d}", "set", "MaxJobs=3")
    return (added - started) / SAMPLE, (time.monotonic() - added) / SAMPLE


def show(what, answer):
    print(f"{what}: {answer['seconds']:.1f} s, of which reading {answer['read_seconds']:.1f} s; "
          f"{len(answer['steps'])} steps, {answer['cost']['requests']} requests, "
          f"{answer['cost']['commands']} commands", flush=True)


def main():
    version = sys.argv[1] if len(sys.argv) > 1 else next(iter(VERSIONS))
    people, accounts = map(int, sys.argv[2:4]) if len(sys.argv) > 3 else (5000, 200)
    enter_namespace()
    with SlurmLab(version=version, enforce="associations,limits") as slurm:
        names = [f"person{i:05d}" for i in range(people)]
        add_people(slurm, names + [f"single{i:02d}" for i in range(SAMPLE)])
        site = Site(slurm)
        wishes = wishes_for(names, accounts)
        more = {"jobs_of": names, "quiet": True}
        show("first apply", site.story(wishes, **more))
        show("nothing to do", site.story(wishes, **more))
        changed = one_percent(wishes, names, accounts)
        show(f"{changed} people changed", site.story(wishes, **more))
        again = site.story(wishes, **more)
        show("nothing to do", again)
        if again["steps"]:
            raise AssertionError(again["steps"][:10])
        everybody = {name: user | {"memberships": user["memberships"] + [
            {"account": "everybody", "settings": {"MaxSubmitJobs": "100"}}]}
                     for name, user in wishes["users"].items()}
        show("all of them into one more account",
             site.story(wishes | {"users": everybody, "accounts": wishes["accounts"] | {
                 "everybody": {}}}, **more))
        add, change = one_by_one(slurm, accounts)
        print(f"sacctmgr one by one: {add:.2f} s to add a user, {change:.2f} s for a change "
              f"(mean of {SAMPLE}); for {people} people {add * people / 60:.0f} min")


if __name__ == "__main__":
    main()
