#!/usr/bin/env python3
"""Holds any SCIM 2.0 server to RFC 7643, RFC 7644 and RFC 9865, over HTTP alone.

Makes users and groups with random names, and deletes them at the end. Rows C01 to C40 are the core
and the protocol, P01 to P10 cursor pagination, T01 onwards every attribute of the schemas.

A check passes, fails, or is skipped with the reason: what ServiceProviderConfig declares not to
support is no failure. Where an RFC leaves a choice, each passes and the one taken is printed.
"""

import argparse
import json
import pathlib
import signal
import sys

import checks_answers  # noqa: F401  the modules register their checks
import checks_bulk  # noqa: F401
import checks_data  # noqa: F401
import checks_filter  # noqa: F401
import checks_pages  # noqa: F401
import checks_patch  # noqa: F401
import checks_rules  # noqa: F401
import checks_schema  # noqa: F401
import checks_search  # noqa: F401
import checks_write  # noqa: F401
from client import Client
from harness import CHECKS, Site, Trial, row_of, run_check

USAGE = 2


def parse_arguments(words):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="base URL, such as https://host/scim/v2")
    parser.add_argument("--token-file", help="file with a bearer token that may write")
    parser.add_argument("--token", help="the token itself; others on the machine can see it")
    parser.add_argument("--ca-file", help="certificates to trust instead of the system's")
    parser.add_argument("--other-url", help="base URL of a second tenant")
    parser.add_argument("--other-token-file", help="file with a token of the second tenant")
    parser.add_argument(
        "--read-url", help="base URL for the client that only reads (default: --url)"
    )
    parser.add_argument("--read-token-file", help="file with a token that only reads")
    parser.add_argument("--only", help="checks or rows: C17,P02,C26.no-target")
    parser.add_argument("--list", action="store_true", help="name the checks and end")
    parser.add_argument("--output", choices=("text", "json"), default="text")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one request")
    arguments = parser.parse_args(words)
    if not arguments.list:
        if not arguments.url:
            parser.error("--url is needed")
        if bool(arguments.token) == bool(arguments.token_file):
            parser.error("one of --token-file and --token is needed")
        if bool(arguments.other_url) != bool(arguments.other_token_file):
            parser.error("--other-url and --other-token-file go together")
    return parser, arguments


def selected(only):
    """Names of checks in the order of their rows; ValueError for a word that selects none."""
    names = sorted(CHECKS, key=row_of)
    if not only:
        return names
    chosen = set()
    for word in filter(None, (w.strip() for w in only.split(","))):
        found = [n for n in names if n.lower() == word.lower() or n.split(".")[0] == word.upper()]
        if not found:
            raise ValueError(f"there is no check {word}")
        chosen.update(found)
    return [name for name in names if name in chosen]


def read_token(path):
    return pathlib.Path(path).read_text().strip()


def make_site(arguments):
    def client(url, token):
        return Client(url, token, arguments.ca_file, arguments.timeout)

    token = arguments.token or read_token(arguments.token_file)
    other = reader = None
    if arguments.other_url:
        other = client(arguments.other_url, read_token(arguments.other_token_file))
    if arguments.read_token_file:
        reader = client(arguments.read_url or arguments.url, read_token(arguments.read_token_file))
    main = client(arguments.url, token)
    probe = main.call("GET", "/Users", query={"count": "1"})
    if probe.status != 200:
        raise ValueError(f"no SCIM service with this token:\n{probe.describe()}")
    site = Site(main, other, reader)
    site.keeper = Trial(site)
    return site


def show(result):
    mark = {"pass": "pass   ", "fail": "FAIL   ", "skipped": "skipped"}[result["result"]]
    line = f"{mark} {result['name']}"
    if result["reason"]:
        line += f": {result['reason']}"
    print(line)
    for choice in result["choices"]:
        print(f"          choice: {choice}")
    if result["failures"]:
        print(f"          {result['about']}")
    for failure in result["failures"]:
        first, *rest = failure.split("\n")
        print(f"        - {first}")
        for line in rest:
            print(f"            {line}")
    for path in result["left"]:
        print(f"          left behind: {path}")
    sys.stdout.flush()


def run_all(site, names, report):
    results = []
    try:
        for name in names:
            results.append(run_check(site, name))
            report(results[-1])
    finally:
        left = site.keeper.clean_up()
        for client in (site.client, site.other, site.reader):
            if client is not None:
                client.close()
    return results, left


def interrupt(*_):
    raise KeyboardInterrupt


def main(words):
    parser, arguments = parse_arguments(words)
    try:
        names = selected(arguments.only)
    except ValueError as unknown:
        parser.error(str(unknown))
    if arguments.list:
        for name in names:
            print(f"{name:28} {' '.join(CHECKS[name].__doc__.split())}")
        return 0
    try:
        site = make_site(arguments)
    except (OSError, ValueError) as problem:
        print(f"scim_conformance: {problem}", file=sys.stderr)
        return USAGE
    signal.signal(signal.SIGTERM, interrupt)
    text = arguments.output == "text"
    try:
        results, left = run_all(site, names, show if text else lambda result: None)
    except KeyboardInterrupt:
        print("interrupted; what was made is deleted", file=sys.stderr)
        return 1
    counts = {
        word: sum(r["result"] == word for r in results) for word in ("pass", "fail", "skipped")
    }
    if text:
        for path in left:
            print(f"left behind: {path}")
        print(f"{counts['pass']} passed, {counts['fail']} failed, {counts['skipped']} skipped")
    else:
        print(
            json.dumps({"url": arguments.url, **counts, "left": left, "checks": results}, indent=1)
        )
    return 1 if counts["fail"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
