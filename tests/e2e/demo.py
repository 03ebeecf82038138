"""The main job as a short story, with the measured delay of each step. Run by script/demo."""

import grp
import pwd
import sys
import time

from lab import COREWEAVE, CORE_GROUP, Lab, enter_namespace, run, wait_for


def say(text=""):
    print(text, flush=True)


def step(text, seconds=None):
    say(f"  {text}" + (f"  [{seconds * 1000:.1f} ms]" if seconds is not None else ""))


def resolves(name):
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def in_group(name, group):
    try:
        return name in grp.getgrnam(group).gr_mem
    except KeyError:
        return False


def demand(condition, what):
    if not condition:
        raise SystemExit(f"demo: this should not happen: {what}")


def main():
    enter_namespace()
    with Lab() as lab:
        say("1. The hub: rosterd init makes store, organization, certificate authority and one token.")
        lab.init_hub()
        step(f"rosterd serves {lab.url} with TLS", lab.start_hub())
        scim = lab.scim_client("okta")
        step("a client 'okta' with a SCIM token, as an identity provider's connector would have")

        say("2. A node: roster-agent joins with a join token that pins the hub's certificate authority.")
        started = time.monotonic()
        lab.start_agent(lab.join_token())
        run("roster-agent", "wait", "--timeout", "20s")
        step("enrolled, first generation of the identity cache is published",
             time.monotonic() - started)
        lab.start_sshd(use_pam=True)
        step("sshd on a loopback port, nsswitch.conf: 'passwd: files roster'")

        say("3. The identity provider creates Alice, with an SSH key.")
        key, public = lab.make_key("alice")
        started = time.monotonic()
        alice = scim.create_user("alice@example.org", [public],
                                 name={"givenName": "Alice", "familyName": "Example"})
        step("POST /Users answered 201", time.monotonic() - started)
        step("getpwnam(\"alice\") succeeds on the node after", wait_for(lambda: resolves("alice"),
                                                                        "alice resolves"))
        step("$ getent passwd alice    " + run("getent", "passwd", "alice").stdout.strip())
        started = time.monotonic()
        login = lab.ssh("alice", key, "id")
        demand(login.returncode == 0, "ssh was refused: " + login.stderr)
        step("$ ssh alice@node id      " + login.stdout.strip(), time.monotonic() - started)

        say("4. The identity provider adds her to a group.")
        group = scim.call("POST", "/Groups", {"schemas": [CORE_GROUP], "displayName": "astro",
                                              "members": []}, expect=201)[1]
        scim.patch(f"/Groups/{group['id']}",
                   {"op": "add", "path": "members", "value": [{"value": alice["id"]}]})
        step("the group is there after", wait_for(lambda: in_group("alice", "astro"), "membership"))
        step("$ id alice               " + run("id", "alice").stdout.strip())

        say("5. Alice leaves: the identity provider deactivates her, as Microsoft Entra ID does.")
        scim.patch(f"/Users/{alice['id']}", {"op": "Replace", "path": "active", "value": "False"})
        step("locked on the node after",
             wait_for(lambda: resolves("alice").pw_shell.endswith("nologin"), "locked"))
        refused = lab.ssh("alice", key, "id")
        demand(refused.returncode != 0, "ssh still works")
        step("$ ssh alice@node id      " + refused.stderr.strip().splitlines()[-1])
        step("$ id -u alice            " + run("id", "-u", "alice").stdout.strip()
             + "   (her files and jobs still have an owner)")

        say("6. She comes back, as Okta says it: the same person, the same uid.")
        scim.patch(f"/Users/{alice['id']}", {"op": "replace", "value": {"active": True}})
        step("unlocked after", wait_for(lambda: resolves("alice").pw_shell == "/bin/bash", "unlocked"))
        demand(resolves("alice").pw_uid == alice[COREWEAVE]["sunkPosixUserId"], "another uid")
        demand(lab.ssh("alice", key, "true").returncode == 0, "ssh is refused after reactivation")
        step("$ ssh alice@node true    ok")

        say("7. The hub goes away. Nobody notices on the node.")
        lab.stop("rosterd")
        demand(lab.ssh("alice", key, "true").returncode == 0, "ssh needs the hub")
        step("$ ssh alice@node true    ok, from the node's own cache")
        run("roster-agent", "deny", "alice")
        demand(lab.ssh("alice", key, "true").returncode != 0, "the local deny list is not honoured")
        step("$ roster-agent deny alice; ssh alice@node true    refused, also without the hub")
        lab.start_hub()

        say("8. Every change is in the audit log, chained by hashes.")
        for line in lab.roster("audit", "verify").stdout.splitlines():
            step(line)
    say("Done. Nothing is left behind.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
