"""roster sync between two directories, on real programs: the source and the destination are organizations of one
rosterd on SQLite, over loopback. People, keys and groups arrive; what changes there changes here; who leaves is locked;
what is somebody else's is never touched; a run that is cut off is finished by the next one."""

import json
import os
import sys

from lab import BUILD, CORE_GROUP, COREWEAVE, PlainHub, check, run

KEYS = [line.split()[0:2] for line in """
ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJkRyIjPyoq7nKHnuZe9ZKzuWD2RtPvxd6pgfeiQzQpC
ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFM+fzKgsq0DTIC7eExOt0hF4qDvIcCzZxgvHTPHBnFF
""".strip().splitlines()]
KEY_A, KEY_B = (" ".join(key) for key in KEYS)


class Site(PlainHub):
    """One hub with the organizations `here` (the source) and `there` (the destination)."""

    def __init__(self):
        super().__init__("here")

    def __enter__(self):
        super().__enter__()
        self.roster("org", "create", "there")
        self.scim = {(org, client): self.scim_client(client, org)
                     for org in ("here", "there") for client in ("okta", "sync")}
        self.write_token("here-read", self.roster("token", "create", "--name", "reader", "--scope",
                                                  "read").stdout.strip())
        return self

    def write_config(self, destination, kind="scim"):
        config = self.root / "sync.toml"
        config.write_text(f"""
parallel = 2
[source]
kind = "{kind}"
url = "{self.base('here')}"
token_file = "{self.root}/here-read.token"
[destination]
url = "{destination}"
token_file = "{self.root}/there-sync.token"
""")
        return config

    def sync(self, *words, status=0, source="here-read", destination="there-sync", bare=False):
        """`bare`: nothing on the command line but `words`."""
        where = [] if bare else [
            "--from", "scim", "--from-url", self.base("here"), "--from-token-file",
            self.root / f"{source}.token", "--to", self.base("there"), "--to-token-file",
            self.root / f"{destination}.token"]
        done = run(BUILD / "bin/roster", "sync", *where, *words, check=False)
        if done.returncode != status:
            raise AssertionError(f"exit {done.returncode}, not {status}: {words}\n"
                                 f"{done.stdout}{done.stderr}")
        return done

    def there(self):
        """By userName: what the operator sees of the destination."""
        listing = self.scim["there", "sync"].call("GET", "/Users?count=500", expect=200)[1]
        return {person["userName"]: person for person in listing.get("Resources", [])}

    def groups_there(self):
        listing = self.scim["there", "sync"].call("GET", "/Groups?count=500", expect=200)[1]
        people = {person["id"]: name for name, person in self.there().items()}
        return {group["displayName"]: {people[m["value"]] for m in group.get("members", [])}
                for group in listing.get("Resources", [])}


def add_group(scim, name, *members):
    return scim.call("POST", "/Groups", {"schemas": [CORE_GROUP], "displayName": name,
                                         "members": [{"value": m["id"]} for m in members]},
                     expect=201)[1]


def keys_of(person):
    return person.get(COREWEAVE, {}).get("sunkSshKeys", [])


def follows_the_source(site):
    okta = site.scim["here", "okta"]
    alice = okta.create_user("alice@example.org", [KEY_A + " alice@laptop", KEY_B],
                             displayName="Alice", name={"givenName": "Alice", "familyName": "A"},
                             emails=[{"value": "alice@example.org", "primary": True}])
    bob = okta.create_user("bob@example.org")
    eve = okta.create_user("eve@example.org")
    dev = add_group(okta, "dev", alice, bob)
    add_group(okta, "ops", eve)

    dry = site.sync("--dry-run")
    check("create          alice@example.org" in dry.stdout and "create group" in dry.stdout,
          "a dry run says what would be done")
    check(site.there() == {}, "and does nothing")
    plan = json.loads(site.sync("--dry-run", "--output", "json").stdout)
    check([step["act"] for step in plan["steps"]].count("create") == 3, "also as JSON")

    site.sync()
    there = site.there()
    check(set(there) == {"alice@example.org", "bob@example.org", "eve@example.org"},
          "everybody arrives")
    check(there["alice@example.org"]["externalId"] == "roster:user:" + alice["id"],
          "marked as ours")
    check(len(keys_of(there["alice@example.org"])) == 2 and
          there["alice@example.org"]["name"]["givenName"] == "Alice" and
          there["alice@example.org"]["emails"][0]["value"] == "alice@example.org",
          "with keys, name and address")
    check(site.groups_there() == {"dev": {"alice@example.org", "bob@example.org"},
                                  "ops": {"eve@example.org"}}, "groups arrive with their members")
    check("nothing to do" in site.sync().stdout, "a second run has nothing to do")

    okta.patch(f"/Users/{alice['id']}",
               {"op": "replace", "path": f"{COREWEAVE}:sunkSshKeys", "value": [KEY_B]},
               {"op": "replace", "path": "displayName", "value": "Alice B."})
    okta.patch(f"/Users/{bob['id']}", {"op": "replace", "path": "active", "value": False})
    okta.call("DELETE", f"/Users/{eve['id']}", expect=204)
    okta.patch(f"/Groups/{dev['id']}", {"op": "replace", "path": "displayName", "value": "devs"})
    site.sync()
    there = site.there()
    check(keys_of(there["alice@example.org"]) == [KEY_B] and
          there["alice@example.org"]["displayName"] == "Alice B.", "changes arrive")
    check(not there["bob@example.org"]["active"] and not there["eve@example.org"]["active"],
          "who is locked or gone is locked, not deleted")
    check(site.groups_there()["devs"] >= {"alice@example.org"} and
          site.groups_there()["ops"] == set(), "groups follow")
    check("nothing to do" in site.sync().stdout, "and then there is nothing to do")

    okta.patch(f"/Users/{bob['id']}", {"op": "replace", "path": "active", "value": True})
    site.sync()
    check(site.there()["bob@example.org"]["active"], "who comes back is let in again")
    return alice, bob


def leaves_others_alone(site):
    other = site.scim["there", "okta"]
    other.create_user("carol@example.org")
    add_group(other, "theirs")
    site.sync()
    seen = other.call("GET", '/Users?filter=userName%20eq%20"carol@example.org"',
                      expect=200)[1]["Resources"][0]
    check(seen["active"], "what is not ours stays as it is")

    site.scim["here", "okta"].create_user("carol@example.org")
    done = site.sync(status=1)
    check("failed: create carol@example.org" in done.stdout and "1 failed" in done.stdout,
          "a name that somebody else has is reported, and not taken over")
    report = json.loads(site.sync("--output", "json", status=1).stdout)
    check(report["failed"][0]["name"] == "carol@example.org" and "409" in report["failed"][0]["error"],
          "also as JSON")
    site.scim["here", "okta"].call(
        "DELETE", "/Users/" + site.scim["here", "okta"].call(
            "GET", '/Users?filter=userName%20eq%20"carol@example.org"')[1]["Resources"][0]["id"],
        expect=204)


def keeps_to_its_groups(site, alice, bob):
    done = site.sync("--group", "devs", "--group", "nobody-has-it")
    check("warning: group nobody-has-it" in done.stdout, "an unknown group is only warned of")
    dan = site.scim["here", "okta"].create_user("dan@example.org")
    site.sync("--group", "devs")
    check("dan@example.org" not in site.there(), "who is in no selected group does not arrive")
    site.scim["here", "okta"].patch(f"/Users/{dan['id']}",
                                    {"op": "replace", "path": "active", "value": True})
    site.sync()
    check(site.there()["dan@example.org"]["active"], "without a selection everybody does")
    site.sync("--group", "devs")
    check(not site.there()["dan@example.org"]["active"], "a selection deactivates everybody else")
    done = site.sync("--group", "nobody-has-it", status=1)
    check("none of the groups" in done.stderr, "a selection of nothing is refused")
    site.sync()


def takes_over_names(site, alice, bob):
    """Two people who swap their names at the source swap them at the destination."""
    okta = site.scim["here", "okta"]
    for person, name in ((alice, "parked@example.org"), (bob, "alice@example.org"),
                         (alice, "bob@example.org")):
        okta.patch(f"/Users/{person['id']}", {"op": "replace", "path": "userName", "value": name})
    site.sync()
    there = site.there()
    check(there["bob@example.org"]["externalId"].endswith(alice["id"]) and
          there["alice@example.org"]["externalId"].endswith(bob["id"]), "names are swapped")


def does_not_believe_everything(site):
    okta = site.scim["here", "okta"]
    many = [okta.create_user(f"many{i}@example.org") for i in range(40)]
    site.sync()
    for person in many[:30]:
        okta.call("DELETE", f"/Users/{person['id']}", expect=204)
    done = site.sync(status=1)
    check("are gone from the source" in done.stderr, "a source that shrinks is refused")
    check(site.there()["many0@example.org"]["active"], "and nothing is changed")
    site.sync("--accept-shrink")
    check(not site.there()["many0@example.org"]["active"], "unless that is meant")


def says_what_is_wrong(site):
    done = site.sync(source="nothing", status=2)
    check("nothing.token" in done.stderr, "a missing token file is named")
    (site.root / "bad.token").touch(mode=0o600)
    (site.root / "bad.token").write_text("roster_wrong\n")
    done = site.sync(status=1, destination="bad")
    check("destination: " in done.stderr and "401" in done.stderr and
          "roster_wrong" not in done.stderr, "a refused token is said, and never shown")
    
    done = site.sync("--config", site.write_config(site.base("there"), "carrier-pigeon"), status=2,
                     bare=True)
    check("carrier-pigeon" in done.stderr, "a kind that there is not is wrong usage")
    away = site.sync("--config", site.write_config("http://127.0.0.1:1"), status=3, bare=True)
    check("destination: " in away.stderr, "a server that cannot be reached is another exit status")
    config = site.root / "bad.toml"
    config.write_text("prefix = \"x:\"\n[source]\nkimd = \"scim\"\n")
    done = site.sync("--config", config, status=2, bare=True)
    check("bad.toml" in done.stderr and "kimd" in done.stderr, "a wrong key of the file is named")


def reads_a_file_and_the_environment(site):
    config = site.write_config(site.base("there"))
    config.write_text("".join(line for line in config.read_text().splitlines(True)
                              if "token_file" not in line))
    tokens = {name: (site.root / f"{file}.token").read_text().strip()
              for name, file in (("ROSTER_SYNC_SOURCE_TOKEN", "here-read"),
                                 ("ROSTER_SYNC_TOKEN", "there-sync"))}
    done = run(BUILD / "bin/roster", "sync", "--config", config, env=os.environ | tokens)
    check("nothing to do" in done.stdout, "settings from a file, tokens from the environment")


def main():
    with Site() as site:
        alice, bob = follows_the_source(site)
        leaves_others_alone(site)
        keeps_to_its_groups(site, alice, bob)
        takes_over_names(site, alice, bob)
        does_not_believe_everything(site)
        says_what_is_wrong(site)
        reads_a_file_and_the_environment(site)
    print("sync: passed")


if __name__ == "__main__":
    sys.exit(main())
