"""POST /Users per second over loopback, with and without TLS, by 1 and 16 clients, against the same
statements on a bare SQLite connection, 1 and 16 people to a transaction. All alternate, a fresh hub
and file each time; the ratio is of the medians. The clients share the machine with the hub.

    hub_bench.py [ROUNDS [PEOPLE]]
"""

import json
import subprocess
import sys

from sites import BUILD, HubOnly, median, scim_load

CLIENTS = (1, 16)


def engine_rates():
    """People per second by size of the transaction."""
    done = subprocess.run([BUILD / "bench" / "directory_bench", "--benchmark_filter=bare_sqlite",
                           "--benchmark_format=json"], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL)
    rates = {}
    for row in json.loads(done.stdout)["benchmarks"]:
        people = int(row["name"].split("people_per_commit:")[1].split("/")[0])
        rates[people] = row["items_per_second"]
    return rates


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    people = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    engine = {clients: [] for clients in CLIENTS}
    hub = {(scheme, clients): [] for scheme in ("http", "https") for clients in CLIENTS}
    for _ in range(rounds):
        for clients, rate in engine_rates().items():
            engine[clients].append(rate)
        for (scheme, clients), rows in hub.items():
            with HubOnly(plain_http=scheme == "http") as site:
                rows.append(scim_load(site, clients, people)[0])
    for clients in CLIENTS:
        bound = median(engine[clients])
        print(f"SQLite, {clients:2} people per commit           {bound:8.0f} people/s", flush=True)
        for scheme in ("http", "https"):
            rows = hub[scheme, clients]
            rate = median([row["per_second"] for row in rows])
            print(f"POST /Users, {scheme:5}, {clients:2} clients        {rate:8.0f} people/s  "
                  f"ratio {rate / bound:.2f}  median {median([r['median_us'] for r in rows]):6.0f} us"
                  f"  p99 {median([r['p99_us'] for r in rows]):6.0f} us", flush=True)


if __name__ == "__main__":
    main()
