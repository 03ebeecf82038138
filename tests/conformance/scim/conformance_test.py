"""The conformance runner against the real rosterd over TLS: a fresh hub with two organizations,
each with a provisioning client, and a token that only reads. Passes when no check fails."""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "e2e"))

from lab import Lab, enter_namespace  # noqa: E402

OTHER = "globex"


def token_file(lab, name, scope, org=None, client=None):
    """Path of a file with a new token of `org`."""
    words = ["token", "create", "--name", name, "--scope", scope]
    if client:
        lab.roster("client", "create", client, org=org)
        words += ["--client", client]
    path = lab.root / f"{name}.token"
    path.touch(mode=0o600)
    path.write_text(lab.roster(*words, org=org).stdout)
    return path


def base_url(lab, org):
    return f"{lab.url}/api/organizations/{org}/scim/v2"


def main(words):
    with Lab() as lab:
        lab.init_hub()
        lab.start_hub()
        lab.roster("org", "create", OTHER)
        command = [
            *(sys.executable, "-B", HERE / "scim_conformance.py"),
            *("--url", base_url(lab, lab.org), "--ca-file", lab.ca_file),
            *("--token-file", token_file(lab, "okta", "scim", client="okta")),
            *("--other-url", base_url(lab, OTHER)),
            *("--other-token-file", token_file(lab, "other", "scim", OTHER, "entra")),
            *("--read-token-file", token_file(lab, "reader", "read")),
            *words,
        ]
        status = subprocess.run([str(word) for word in command], check=False).returncode
        if not lab.alive("rosterd"):
            print("rosterd ended during the run")
            status = 1
    return status


if __name__ == "__main__":
    enter_namespace()
    sys.exit(main(sys.argv[1:]))
