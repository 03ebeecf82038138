"""The hub's SCIM side over loopback, beside bounds that are measured in the same rounds: for reads a
bare Boost.Beast server that answers the same requests with the same bytes; for writes the recorded
statements on a bare SQLite connection, on a copy of a directory of the same size, as many requests
to a transaction as there are clients. Prints tables; figures are medians of the rounds, ratios are
of the medians. The clients share the machine with the hub.

    hub_bench.py [--people N] [--rounds N]
"""

import argparse
import json
import os
import subprocess

from sites import BUILD, PARTS, HubOnly, Provisioner, json_lines, median, memory_mib

CLIENTS = (1, 16)
READERS = (1, 16, 64)
JOINERS = 2000  # besides the people: who joins groups, and leaves them
GROUPS = (10, 10_000)
TENANTS = 100
PEOPLE_OF_TENANT = 100


def table(title, *columns):
    print(f"\n### {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)


def line(*cells):
    print(f"| {' | '.join(cells)} |", flush=True)


def rate(rows):
    return median([row["per_second"] for row in rows])


def latency(rows, name):
    return f"{median([row[name + '_us'] for row in rows]) / 1000:.2f} ms"


class Floor:
    """A server that does nothing but HTTP: one thread, as the hub's edge has."""

    def __init__(self, lab, name, body):
        file = lab.root / f"{name}.body"
        file.write_bytes(body)
        self.process = subprocess.Popen([PARTS / "beast_floor", "1", file], stdout=subprocess.PIPE,
                                        stdin=subprocess.DEVNULL, text=True)
        self.url = f"http://127.0.0.1:{self.process.stdout.readline().strip()}/scim/v2"

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Reads:
    """One kind of read: what scim_load is told, and an answer as the hub gives it."""

    def __init__(self, what, path, operation, *words, clients=READERS):
        self.what = what
        self.path = path
        self.command = (operation, *words)
        self.clients = clients
        self.hub = {count: [] for count in clients}
        self.floor = {count: [] for count in clients}

    def run(self, okta, url):
        for clients in self.clients:
            self.hub[clients] += okta.load(*self.command, clients=clients)
            self.floor[clients] += okta.load(*self.command, clients=clients, url=url)

    def report(self):
        for clients in self.clients:
            hub, floor = self.hub[clients], self.floor[clients]
            line(self.what, str(clients), f"{rate(hub):,.0f}", latency(hub, "median"),
                 latency(hub, "p99"), f"{rate(floor):,.0f}", f"{rate(hub) / rate(floor):.2f}",
                 f"{median([row['client_cpu_us'] for row in hub]):.0f} us")


def kinds_of_reads(okta, people):
    ids, everybody = ("--ids", okta.ids), ("--people", people)
    someone = f"{people // 2 + people // 7}"
    name = f"person{someone}@example.org"
    with open(okta.ids) as lines:
        one = next(lines).strip()
    prefix = "/Users?filter=externalId%20sw%20%2200u{}%22"
    return [
        Reads("GET by id", f"/Users/{one}", "get", "--count", 20_000, *ids),
        Reads("filter `userName eq`", f"/Users?filter=userName%20eq%20%22{name}%22", "find",
              "--count", 20_000, *everybody),
        Reads("filter `externalId sw`, 11 match", prefix.format(someone[:-1]), "prefix", "--count",
              4_000, *everybody),
        Reads("filter `externalId sw`, 100 of 111", prefix.format(someone[:-2]), "prefix",
              "--count", 1_000, "--dropped-digits", 2, *everybody),
        Reads("everybody in pages of 100, people/s", "/Users?count=100", "list", *everybody,
              "--page", 100, clients=(1,)),
        Reads("everybody in pages of 1,000, people/s", "/Users?count=1000", "list", *everybody,
              "--page", 1000, clients=(1,)),
    ]


def reads(lab, okta, people, rounds):
    kinds = kinds_of_reads(okta, people)
    floors = [Floor(lab, f"floor{i}", okta.fetch(kind.path)) for i, kind in enumerate(kinds)]
    try:
        for _ in range(rounds):
            for kind, floor in zip(kinds, floors):
                kind.run(okta, floor.url)
    finally:
        for floor in floors:
            floor.stop()
    table(f"Reads, {people:,} people", "", "clients", "per second", "median", "p99", "bare Beast",
          "ratio", "client's CPU")
    for kind in kinds:
        kind.report()


def bound_rates(people):
    """Requests per second of the bare connection by (name, members, requests per commit)."""
    done = subprocess.run([BUILD / "bench" / "directory_bench", "--benchmark_filter=bare",
                           "--benchmark_format=json"], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL,
                          env=os.environ | {"ROSTER_BENCH_PEOPLE": str(people)})
    rates = {}
    for row in json.loads(done.stdout)["benchmarks"]:
        name, *arguments = row["name"].split("/")
        values = dict(argument.split(":") for argument in arguments if ":" in argument)
        key = (name, int(values.get("members", 0)), int(values["per_commit"]))
        rates[key] = row["items_per_second"]
    return rates


class Writes:
    """The rounds of all writes; `next_person` is the number of one that is not there yet."""

    def __init__(self, okta, next_person):
        self.okta = okta
        self.next_person = next_person
        self.bound = []
        self.rows = {}

    def keep(self, key, rows):
        self.rows.setdefault(key, []).extend(rows)

    def create(self, operation, clients, count):
        rows = self.okta.load(operation, "--count", count, "--first", self.next_person,
                              clients=clients)
        self.next_person += count
        self.keep((operation, 0, clients), rows)

    def run(self):
        for clients in CLIENTS:
            self.create("post", clients, 5_000)
            self.create("bulk", clients, 5_000)
            for members in GROUPS:
                rows = self.okta.load("member", "--count", JOINERS, "--members", members, "--ids",
                                      self.okta.ids, clients=clients)
                self.keep(("member", members, clients), rows)

    def report(self):
        names = [("post", 0, "POST /Users"), ("bulk", 0, "Bulk of 100, people/s")]
        names += [("member", members, f"PATCH of one member, group of {members:,}")
                  for members in GROUPS]
        for operation, members, what in names:
            for clients in CLIENTS:
                rows = self.rows[operation, members, clients]
                bare = "bare_member" if operation == "member" else "bare_post"
                bound = median([rates[bare, members, clients] for rates in self.bound])
                line(what, str(clients), f"{rate(rows):,.0f}", latency(rows, "median"),
                     latency(rows, "p99"), f"{bound:,.0f}", f"{rate(rows) / bound:.2f}")


def writes(okta, people, rounds):
    kinds = Writes(okta, people + JOINERS)
    # To fill a large directory for the bound takes longer than everything else.
    bound_rounds = rounds if people <= 100_000 else 1
    for number in range(rounds):
        if number < bound_rounds:
            kinds.bound.append(bound_rates(people))
        kinds.run()
    table(f"Writes, {people:,} people", "", "clients", "per second", "median", "p99",
          "bare SQLite", "ratio")
    kinds.report()


def memory(lab, when):
    hub = lab.processes["rosterd"]
    print(f"\nThe hub's memory {when}: {memory_mib(hub, 'VmRSS'):.0f} MiB, at most "
          f"{memory_mib(hub, 'VmHWM'):.0f}", flush=True)


def over_http(people, rounds):
    with HubOnly(plain_http=True) as lab:
        okta = Provisioner(lab, lab.org)
        row, = okta.load("post", "--count", people + JOINERS, "--ids", okta.ids, clients=16)
        print(f"\n{people + JOINERS:,} people created by 16 clients: {row['per_second']:,.0f}/s, "
              f"median {latency([row], 'median')}, p99 {latency([row], 'p99')}, longest "
              f"{row['max_us'] / 1000:.0f} ms", flush=True)
        memory(lab, "after loading")
        reads(lab, okta, people, rounds)
        memory(lab, "after the reads")
        writes(okta, people, rounds)
        memory(lab, "after the writes")


def over_https(rounds):
    """POST /Users once more, with TLS: fresh hubs, 10,000 people."""
    rows = {clients: [] for clients in CLIENTS}
    for _ in range(rounds):
        for clients in CLIENTS:
            with HubOnly(plain_http=False) as lab:
                rows[clients] += Provisioner(lab, lab.org).load("post", "--count", 10_000,
                                                                clients=clients)
    table("POST /Users over HTTPS", "clients", "per second", "median", "p99")
    for clients in CLIENTS:
        line(str(clients), f"{rate(rows[clients]):,.0f}", latency(rows[clients], "median"),
             latency(rows[clients], "p99"))


def many_tenants(rounds):
    """25 requests per second from each of 100 organizations at once, over HTTPS."""
    with HubOnly(plain_http=False) as lab:
        tenants = lab.root / "tenants"
        with open(tenants, "w") as file:
            for number in range(TENANTS):
                lab.roster("org", "create", f"tenant-{number}")
                tenant = Provisioner(lab, f"tenant-{number}")
                tenant.load("post", "--count", PEOPLE_OF_TENANT, "--ids", tenant.ids)
                file.write(f"{tenant.url} {tenant.token_file} {tenant.ids}\n")
        table(f"{TENANTS} organizations, 25 requests per second each, TLS", "requests",
              "per second", "median", "p99", "longest", "failed")
        for _ in range(rounds):
            row, = json_lines(PARTS / "scim_load", "--ca-file", lab.ca_file, "mixed", "--tenants",
                              tenants)
            line(f"{row['requests']:,}", f"{row['per_second']:,.0f}", latency([row], "median"),
                 latency([row], "p99"), latency([row], "max"), str(row["failed"]))
        memory(lab, "then")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--people", type=int, default=10_000,
                        help="in the directory; at least 10000, of whom groups are made")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.people < max(GROUPS):
        parser.error(f"--people must be at least {max(GROUPS)}")
    over_http(options.people, options.rounds)
    over_https(options.rounds)
    many_tenants(options.rounds)


if __name__ == "__main__":
    main()
