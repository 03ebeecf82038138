"""Clusters and tokens against a real Slurm: what `roster cluster check` says when all is well and in
everything that goes wrong, people's tokens, and the rotation of the key that signs them.

    connection_test.py [22.05|24.11]     24.11 only in the tier `all`
"""

import base64
import http.server
import json
import os
import pathlib
import ssl
import sys
import threading
import urllib.error
import urllib.request

from slurm_lab import VERSIONS, SlurmLab

from lab import Lab, check, enter_namespace, free_port, run, skip, wait_for

CLUSTER = "hpc"


class Site:
    """The hub, a node and Slurm, and what the tests of this file do to them."""

    def __init__(self, lab, slurm):
        self.lab, self.slurm = lab, slurm
        self.socket = f"unix:{slurm.socket}"

    def roster(self, *words, check=True):
        return self.lab.roster(*words, check=check)

    def give_jwks(self, *daemons):
        self.slurm.jwks.write_text(self.roster("slurm", "jwks", "--cluster", CLUSTER).stdout)
        self.slurm.restart(*daemons)

    def set(self, *words):
        self.roster("cluster", "set", CLUSTER, *words)

    def report(self, *words):
        done = self.roster("--output", "json", "cluster", "check", CLUSTER, *words, check=False)
        report = json.loads(done.stdout)
        if (done.returncode == 0) != report["good"]:
            raise AssertionError(f"exit status {done.returncode} of {report}")
        return report, {step["step"]: step for step in report["steps"]}

    def fails(self, what, step, seen, *words, mend=""):
        """The check must fail at this step, first, with these words."""
        report, steps = self.report(*words)
        first = next((each for each in report["steps"] if each["outcome"] == "failed"), None)
        if not first or first["step"] != step or seen not in first["seen"] or \
                mend not in first["mend"] or not first["mend"] or \
                report["summary"] != f"connection failed ({step}): {first['seen']}":
            raise AssertionError(f"{what}: {json.dumps(report, indent=1)}")
        print(f"  ok: {what}: {report['summary']}")
        return steps


def add_people(lab):
    scim = lab.scim_client()
    for name in ("jane", "joe"):
        scim.create_user(name)
    wait_for(lambda: run("getent", "passwd", "joe", check=False).returncode == 0, "joe has arrived")
    return scim


def is_not_there(site):
    site.roster("cluster", "add", CLUSTER, "--endpoint", "unix:/nonexistent/socket",
                "--slurm-name", site.slurm.cluster)
    site.fails("no socket", "endpoint", "/nonexistent/socket", mend="slurmrestd")
    site.set("--endpoint", f"http://127.0.0.1:{free_port()}")
    site.fails("nobody listens", "endpoint", "refused")

    class NotSlurm(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"hi")

        def log_message(self, *_):
            pass

    other = http.server.HTTPServer(("127.0.0.1", 0), NotSlurm)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    site.set("--endpoint", f"http://127.0.0.1:{other.server_port}")
    site.fails("somebody else listens", "endpoint", "no interface of slurmrestd")
    other.shutdown()
    refused = site.roster("cluster", "set", CLUSTER, "--endpoint", "http://192.0.2.1:6820")
    check(refused.returncode == 0, "an address beyond loopback can be set")
    site.fails("http beyond loopback", "endpoint", "http", mend="endpoint")
    site.set("--endpoint", site.socket)


def learns_the_key(site):
    steps = site.fails("neither daemon has the key", "slurmctld", "refuses the token",
                       mend="roster slurm jwks hpc")
    check(steps["slurmdbd"]["outcome"] == "failed" and "refuses" in steps["slurmdbd"]["seen"],
          "slurmdbd is asked all the same, and refuses: " + steps["slurmdbd"]["seen"])
    site.give_jwks("slurmctld")
    steps = site.fails("slurmctld has the key, slurmdbd not", "slurmdbd", "refuses the token",
                       mend="restart slurmdbd")
    check(steps["slurmctld"]["outcome"] == "ok", "slurmctld takes it")
    site.slurm.restart("slurmdbd")
    report, steps = site.report()
    release = {"22.05": "22.05.8"}.get(site.slurm.version, site.slurm.version)
    want = f"connection successful (slurm: {release}"
    check(report["summary"].startswith(want) and report["summary"].endswith(
        f", cluster: {site.slurm.cluster}, api: {site.slurm.api})"), report["summary"])
    check(steps["job"]["outcome"] == steps["impersonation"]["outcome"] == "skipped",
          "nobody was named to try as, and that is said")
    site.set("--endpoint", f"http://{site.slurm.tcp}")
    check(site.report()[0]["good"], "also over TCP")
    site.set("--endpoint", site.socket)


def acts_as_people(site, scim):
    slurm = site.slurm
    steps = site.fails("no association", "job", "jane is refused", "--as", "jane",
                       mend="slurm explain")
    check("may act as anybody" in steps["impersonation"]["seen"],
          "that SlurmUser may act as anybody is said: " + steps["impersonation"]["seen"])
    slurm.sacctmgr("add", "account", "research")
    for name in ("jane", "joe"):
        slurm.sacctmgr("add", "user", name, "account=research")
    report, steps = site.report("--as", "jane")
    check(report["good"] and "ran as jane under the account research" in steps["job"]["seen"],
          steps["job"]["seen"])
    left = slurm.run("squeue", "-h").stdout
    check(left == "", "no job is left")
    slurm.scontrol("update", "partition=debug", "state=down")
    slurm_user_job = site.report("--as", "jane", "--no-job")[0]
    check(slurm_user_job["good"], "--no-job submits none")
    slurm.scontrol("update", "partition=debug", "state=up")
    site.roster("user", "deactivate", "joe")
    site.fails("a locked person", "impersonation", "deactivated", "--as", "joe")
    site.roster("user", "reactivate", "joe")


def fails_in_daemons(site):
    slurm = site.slurm
    site.set("--slurm-name", "other")
    site.fails("another name", "slurmdbd", "", mend="--slurm-name")
    site.set("--slurm-name", slurm.cluster)
    slurm.stop("slurmdbd")
    site.fails("slurmdbd is down", "slurmdbd", "")
    slurm.start("slurmdbd")
    slurm.stop("slurmctld")
    site.fails("slurmctld is down", "slurmctld", "")
    slurm.start("slurmctld")
    slurm.suspend("slurmctld")
    site.fails("slurmctld hangs", "slurmctld", "")
    slurm.resume("slurmctld")
    slurm.wait_ready("slurmctld")
    slurm.stop("slurmrestd")
    site.fails("slurmrestd is down", "endpoint", "")
    slurm.start("slurmrestd")
    check(site.report("--as", "jane")[0]["good"], "all daemons are back, and so is the connection")


def asks_the_login_host(site):
    lab = site.lab
    private, _ = lab.make_key("jane")
    lab.roster("user", "keys", "add", "jane", private.with_suffix(".pub"))
    lab.start_sshd(use_pam=False)
    host_key = (lab.root / "host_key.pub").read_text().split()[:2]
    pathlib.Path("/etc/ssh/ssh_known_hosts").write_text(
        f"[127.0.0.1]:{lab.ssh_port} {' '.join(host_key)}\n")
    site.set("--login-host", "127.0.0.1", "--login-port", str(lab.ssh_port))
    site.fails("no key for the login host", "login", "ssh to jane@127.0.0.1 failed", "--as", "jane",
               "--no-job", mend="by hand")
    lab.start("ssh-agent", "ssh-agent", "-D", "-a", lab.root / "agent.sock")
    wait_for((lab.root / "agent.sock").exists, "ssh-agent listens")
    os.environ["SSH_AUTH_SOCK"] = str(lab.root / "agent.sock")
    run("ssh-add", "-q", private)
    wait_for(lambda: site.report("--as", "jane", "--no-job")[1]["login"]["outcome"] == "ok",
             "the key has arrived")
    seen = site.report("--as", "jane", "--no-job")[1]["login"]["seen"]
    check(seen.startswith("jane@127.0.0.1: uid=") and "(jane)" in seen, f"login: {seen}")
    report, steps = site.report("--as", "joe", "--no-job")
    check(not report["good"] and steps["login"]["outcome"] == "failed",
          "joe's key is not there: " + steps["login"]["seen"])
    site.set("--login-host", "")


def rotates(site):
    slurm = site.slurm
    site.roster("slurm", "rotate", "--cluster", CLUSTER)
    again = site.roster("slurm", "rotate", check=False)
    check(again.returncode == 1 and "next key already" in again.stderr, "one next key at a time")
    check(site.report("--as", "jane")[0]["good"], "a next key changes nothing")

    def refused(daemon):
        done = site.roster("slurm", "rotate", "--activate", check=False)
        check(done.returncode == 1 and done.stderr.startswith(f"roster: {daemon} does not take"),
              f"activation is refused: {done.stderr.strip()}")

    refused("slurmctld")
    slurm.jwks.write_text(site.roster("slurm", "jwks").stdout)
    slurm.scontrol("reconfigure")
    slurm.wait_ready("slurmctld")
    if slurm.version == "22.05":
        refused("slurmctld")
        slurm.restart("slurmctld")
    refused("slurmdbd")
    slurm.restart("slurmdbd")
    old = site.roster("slurm", "token", "--user", "jane").stdout.strip()
    site.roster("slurm", "rotate", "--activate")
    new = site.roster("slurm", "token", "--user", "jane").stdout.strip()
    check(key_id_of(old) != key_id_of(new), "another key signs")
    for token in (old, new):
        check(slurm.rest("GET", f"/slurm/{slurm.api}/jobs", token, "jane")[0] == 200,
              "tokens of both keys are taken")
    early = site.roster("slurm", "rotate", "--finish", check=False)
    check(early.returncode == 1 and "good until" in early.stderr,
          "the former key is kept while its tokens live: " + early.stderr.strip())
    site.roster("slurm", "rotate", "--finish", "--force")
    site.give_jwks("slurmctld", "slurmdbd")
    check(slurm.rest("GET", f"/slurm/{slurm.api}/jobs", new, "jane")[0] == 200, "the new one stays")
    check(slurm.rest("GET", f"/slurm/{slurm.api}/jobs", old, "jane")[0] != 200, "the old one ended")


def key_id_of(token):
    return json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))["kid"]


def gives_tokens_to_people(site):
    lab, slurm = site.lab, site.slurm
    token = site.roster("token", "create", "--name", "jane-laptop", "--scope", "user", "--user",
                        "jane").stdout.strip()
    path = lab.root / "jane.rst"
    path.touch(mode=0o600)
    path.write_text(token)

    def as_jane(*words):
        return run("roster", "--url", lab.url, "--token-file", path, "--ca-file", lab.ca_file,
                   "--org", lab.org, *words, check=False)

    done = as_jane("slurm", "token", "--form", "env")
    check(done.returncode == 0 and done.stdout.startswith("SLURM_JWT="), "jane takes her token")
    seen = run("env", f"SLURM_CONF={slurm.slurm_conf}", done.stdout.strip(), "SLURM_LIBS=",
               slurm.bin / "squeue", "--me", "-h", check=False)
    check(seen.returncode == 0, f"squeue takes it without munge {seen.stderr}")
    for words, reason in (((), ""), (("--user", "joe"), "that person only"),
                          (("--user", "root"), "that person only")):
        done = as_jane("slurm", "token", *words)
        check((done.returncode == 0) == (reason == "") and reason in done.stderr,
              f"jane asks with {words}: {done.stderr.strip() or 'given'}")
    for words in (("cluster", "show", CLUSTER), ("cluster", "check", CLUSTER), ("slurm", "keys"),
                  ("slurm", "jwks"), ("slurm", "rotate"), ("user", "list")):
        done = as_jane(*words)
        check(done.returncode == 1 and "cannot administer" in done.stderr, f"not {words[:2]}")
    shown = json.loads(as_jane("--output", "json", "cluster", "list").stdout)["clusters"][0]
    check("endpoint" not in shown and shown["login_user"] == "jane", f"she sees {shown}")
    site.roster("user", "deactivate", "jane")
    done = as_jane("slurm", "token")
    check(done.returncode == 1, "and no more once she left: " + done.stderr.strip())
    done = site.roster("slurm", "token", "--user", "jane", check=False)
    check(done.returncode == 1 and "deactivated" in done.stderr, "nor does an administrator get one")
    site.roster("user", "reactivate", "jane")
    path.write_text(site.roster("token", "create", "--name", "jane-desktop", "--scope", "user",
                                "--user", "jane").stdout.strip())
    rows = [row for row in lab.roster_json("audit", "list")["audit"]
            if row["action"] == "cluster.token"]
    check(rows and all("ey" not in json.dumps(row) for row in rows),
          f"{len(rows)} tokens left a row each, without the token")


def uses_the_gateway(site):
    """Programs with one of Roster's tokens, before slurmrestd and in its place."""
    lab, slurm = site.lab, site.slurm
    token = (lab.root / "jane.rst").read_text()
    tls = ssl.create_default_context(cafile=lab.ca_file)

    def ask(method, path, body=None, token=token, **headers):
        request = urllib.request.Request(f"{lab.url}/slurm/{CLUSTER}{path}", method=method,
                                         data=json.dumps(body).encode() if body else None)
        request.add_header("Authorization", "Bearer " + token)
        request.add_header("Content-Type", "application/json")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, context=tls, timeout=60) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            status, text = refused.code, refused.read()
        return status, json.loads(text) if text.startswith(b"{") else text.decode()

    def submit(script, token=token):
        environment = {"PATH": "/bin:/usr/bin"} if old else ["PATH=/bin:/usr/bin"]
        status, body = ask("POST", f"{api}/job/submit", {
            "script": f"#!/bin/sh\n{script}\n",
            "job": {"name": "g", "environment": environment, "current_working_directory": "/tmp",
                    "standard_output": "/dev/null"}}, token)
        if status != 200:
            raise AssertionError(f"submit: {status} {body}")
        return body["job_id"]

    old, api = slurm.version == "22.05", f"/slurm/{slurm.api}"
    status, body = ask("GET", f"{api}/jobs")
    check(status == 200 and not body["errors"], "jane lists jobs through the hub")
    check(submit("id -un > /tmp/gateway-job") > 0, "and submits one")
    seen = slurm.base / "tmp/gateway-job"
    wait_for(lambda: seen.exists() and seen.read_text() == "jane\n", "which runs as jane", 30)
    seen.unlink()
    joe = site.roster("token", "create", "--name", "joe", "--scope", "user", "--user",
                      "joe").stdout.strip()
    jobs = [(name, submit("true", of)) for _ in range(4) for name, of in (("jane", token), ("joe", joe))]
    users = [ask("GET", f"{api}/job/{number}")[1]["jobs"][0]["user_name"] for _, number in jobs]
    check(users == [name for name, _ in jobs],
          "two people over the same connections to slurmrestd stay two people")
    for what, options, want in (
            ("another's name", {"X_SLURM_USER_NAME": "joe"}, 403),
            ("a token that Slurm's key signs for slurm", {"token": slurm.mint_hs256("slurm")}, 401),
            ("a token of hers for slurmrestd", {"token": site.roster(
                "slurm", "token", "--user", "jane").stdout.strip()}, 401)):
        status, body = ask("GET", f"{api}/jobs", **options)
        check(status == want and body["errors"][0]["source"] == "roster", f"{what}: {want}")
    db = f"/slurmdb/{slurm.api}"
    status, body = ask("POST", f"{db}/users", {"users": [{"name": "jane",
                                                          "administrator_level": "Administrator"}]})
    check(status == 403 and body["errors"][0]["source"] == "roster", "nobody is made administrator")
    check(ask("GET", f"{api}/ping")[0] == 200, "ping")
    site.set("--user-access", "* /slurm/**", "--user-access", "* /slurmdb/**")
    status, body = ask("DELETE", f"{db}/account/research")
    check(status == 403 and body["errors"][0]["source"] != "roster",
          f"what policy allows and Slurm refuses: {status}")
    site.set("--user-access", "")
    check(ask("GET", "/slurm/v0.0.99/jobs")[0] == 404, "an unknown version stays 404")
    slurm.stop("slurmdbd")
    status, body = ask("GET", f"{db}/users")
    check(status in (502, 503), f"slurmdbd down: {status}")
    slurm.start("slurmdbd")
    slurm.stop("slurmctld")
    status, body = ask("GET", f"{api}/ping")
    check(status == 503, f"a ping that nobody answers is no 200: {status}")
    slurm.start("slurmctld")
    rows = [row for row in lab.roster_json("audit", "list")["audit"]
            if row["action"] == "cluster.request"]
    check(any("job/submit" in json.dumps(row) for row in rows), "writes left a row each")


def keeps_a_file_renewed(site):
    lab, slurm = site.lab, site.slurm
    path = lab.root / "agent.ini"
    options = ("--url", lab.url, "--token-file", lab.token_file, "--ca-file", lab.ca_file, "--org",
               lab.org)
    lab.start("watch", "roster", *options, "slurm", "token", "--user", "jane", "--ttl", "6s",
              "--watch", path, "--form", "slurm-web", "--mode", "0640")
    wait_for(path.exists, "the file is there")
    first = path.read_text()
    check(first.startswith("[slurmrestd]\nauth = jwt\njwt_mode = static\njwt_user = jane\n"),
          "in the form of Slurm-web's agent.ini")
    check(path.stat().st_mode & 0o777 == 0o640, "with the mode that was asked for")
    wait_for(lambda: path.read_text() != first, "it is renewed at half its life")
    token = path.read_text().split("jwt_token = ")[1].strip()
    check(slurm.rest("GET", f"/slurm/{slurm.api}/jobs", token, "jane")[0] == 200, "and good")
    lab.stop("watch")
    done = site.roster("slurm", "token", "--user", "nobody-here", "--watch", lab.root / "no",
                       check=False)
    check(done.returncode == 1 and not (lab.root / "no").exists(), "who gets none is told at once")


def signs_with_slurms_key(site):
    lab, slurm = site.lab, site.slurm
    key = lab.root / "slurm.key"
    done = site.roster("cluster", "set", CLUSTER, "--signing", "hs256", "--key-file", key,
                       check=False)
    check(done.returncode == 1 and "root on the cluster" in done.stderr, done.stderr.strip())
    words = ("--signing", "hs256", "--key-file", key, "--accept-root-key")
    for mode, reason in ((None, "No such file"), (0o644, "chmod"), (0o620, "chmod")):
        if mode is not None:
            key.write_bytes(os.urandom(32))
            key.chmod(mode)
        done = site.roster("cluster", "set", CLUSTER, *words, check=False)
        check(done.returncode == 1 and reason in done.stderr, done.stderr.strip())
    key.unlink()
    run("roster", "slurm", "keygen", key)
    done = run("roster", "slurm", "keygen", key, check=False)
    check(done.returncode == 1 and key.stat().st_mode & 0o777 == 0o600,
          "keygen writes 0600 and replaces nothing: " + done.stderr.strip())
    site.set(*words)
    site.fails("another key than Slurm's", "slurmctld", "refuses the token", mend="jwt_key=")
    key.write_bytes(slurm.jwt_key.read_bytes())
    check(site.report("--as", "jane")[0]["good"], "with Slurm's key it works")
    key.chmod(0o644)
    site.fails("a key that everybody reads", "token", "chmod")
    site.set("--signing", "rs256")
    check(site.report("--as", "jane")[0]["good"], "and back")


def inside(version):
    with Lab() as lab:
        lab.init_hub()
        lab.start_hub()
        lab.start_agent(lab.join_token(cluster=CLUSTER))
        run("roster-agent", "wait", "--timeout", "20s")
        with SlurmLab(lab, version=version) as slurm:
            site = Site(lab, slurm)
            scim = add_people(lab)
            is_not_there(site)
            learns_the_key(site)
            acts_as_people(site, scim)
            fails_in_daemons(site)
            asks_the_login_host(site)
            gives_tokens_to_people(site)
            uses_the_gateway(site)
            keeps_a_file_renewed(site)
            rotates(site)
            signs_with_slurms_key(site)


def main():
    version = sys.argv[1] if len(sys.argv) > 1 else next(iter(VERSIONS))
    if version != "22.05" and os.environ.get("ROSTER_TEST_TIER") != "all":
        skip(f"Slurm {version} is for script/test --all (ROSTER_TEST_TIER=all)")
    enter_namespace()
    inside(version)


if __name__ == "__main__":
    main()
