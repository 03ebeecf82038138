"""Hostile bytes over real HTTPS: names, ids, keys, homes, JSON, headers, slow clients, wrong
tokens. After all of it the hub answers, the node shows nothing hostile, and no log has a secret
or a line of somebody else's.
"""

import json
import re
import socket
import ssl
import threading
import time

from support import (
    CORE_GROUP,
    COREWEAVE,
    FOUND,
    STATE,
    Client,
    Lab,
    NssModule,
    in_child,
    joined,
    main,
    patch_body,
    run,
    spawn,
    uid_of,
    user_body,
    wait_for,
)

LOGIN = re.compile(r"[a-z_][a-z0-9._-]{0,31}")
POWERFUL = {
    "root",
    "sudo",
    "wheel",
    "admin",
    "daemon",
    "bin",
    "sys",
    "docker",
    "lxd",
    "adm",
    "disk",
    "shadow",
    "kvm",
    "slurm",
    "munge",
    "nobody",
    "ubuntu",
    "ec2-user",
    "sshd",
    "staff",
    "mail",
}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" "FRkW0NjS4cS1yVqZ4WQ3nq0W7m2vZB1o3uQJm0d8Xkq laptop"

NAMES = [
    "evil:x:0:0:evil:/:/bin/sh",
    "evil\nroot2:x:0:0::/root:/bin/sh",
    "evil\r\nx",
    "evil\0root",
    "\0",
    "../../etc/passwd",
    "..",
    ".",
    "/",
    "-rf",
    "--help",
    " ",
    "\t",
    "",
    "$(reboot)",
    "`reboot`",
    "'; DROP TABLE usr; --",
    '" or "1"="1',
    "%s%n%x",
    "${jndi:ldap://x}",
    "<script>alert(1)</script>",
    "\u202egnp.exe",
    "\ufeffroot",
    "r\u043e\u043et",
    "ROOT",
    "\uff52\uff4f\uff4f\uff54",
    "root\u200b",
    "\U0001f600",
    "0",
    "1000",
    "-1",
    "4294967296",
    "a" * 256,
    "a" * 257,
    "\u00e9" * 200,
    "\ud800",
    "evil\x1b[2J",
    "evil\x7f",
    "evil\u2028root",
    "+",
    "+@all",
    "-@all",
    "#evil",
    "*",
    "@",
    "a@b@c",
    *sorted(POWERFUL),
]


class Raw:
    """Bytes on a TLS connection."""

    def __init__(self, lab):
        context = ssl.create_default_context(cafile=str(lab.ca_file))
        plain = socket.create_connection(("127.0.0.1", lab.port), 10)
        self.socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self.socket.settimeout(20)

    def send(self, data):
        self.socket.sendall(data)
        return self

    def status(self):
        """Status of the answer; 0 when the connection ended without one."""
        answer = b""
        try:
            while b"\r\n\r\n" not in answer and len(answer) < 1 << 16:
                piece = self.socket.recv(4096)
                if not piece:
                    break
                answer += piece
        except (ConnectionError, ssl.SSLError):
            pass
        found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
        return int(found[1]) if found else 0

    def close(self):
        self.socket.close()


class Hostile:
    def __init__(self, checks, lab, scim):
        self.checks, self.lab, self.scim, self.client = checks, lab, scim, Client(scim)
        self.path = "/api/organizations/" + lab.org + "/scim/v2"

    def call(self, method, path, body=None):
        return self.client.call(method, path, body)

    def raw(self, head, body=b""):
        """Status of the answer to bytes; `head` without the empty line."""
        connection = Raw(self.lab)
        try:
            try:
                connection.send(head + b"\r\n\r\n" + body)
            except (ConnectionError, ssl.SSLError, TimeoutError):
                pass  # it may hang up before all is sent
            return connection.status()
        finally:
            connection.close()

    def post_bytes(self, body, content_type="application/scim+json", path="/Users", length=None):
        head = (
            f"POST {self.path}{path} HTTP/1.1\r\nHost: 127.0.0.1:{self.lab.port}\r\n"
            f"Authorization: Bearer {self.scim.token}\r\n"
            f"Content-Length: {len(body) if length is None else length}"
        )
        if content_type:
            head += "\r\nContent-Type: " + content_type
        return self.raw(head.encode("latin-1"), body)

    def get_status(self, path, token=None):
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.lab.port}"
        if token is not None:
            head += "\r\nAuthorization: Bearer " + token
        return self.raw(head.encode("utf-8", "surrogateescape"))

    # --- what is written -------------------------------------------------------------------------

    def names(self):
        logins = {}
        for index, name in enumerate(NAMES):
            body = json.dumps(
                user_body("x") | {"userName": name, "externalId": f"n{index}", "displayName": name}
            )
            status = self.post_bytes(body.encode("utf-8", "surrogatepass"))
            if status not in (201, 400, 409):
                raise AssertionError(f"userName {name!r}: {status}")
            logins[name] = status
        self.checks.equal(
            [logins[n] for n in ("a" * 257, "evil\0root", "evil\nroot2:x:0:0::/root:/bin/sh")],
            [400, 400, 400],
            "too long, NUL and newline in userName: 400",
        )
        users, _ = self.client.every("/Users")
        for user in users:
            login, uid = user[COREWEAVE]["sunkPosixUsername"], uid_of(user)
            if not LOGIN.fullmatch(login) or login in POWERFUL or not 10000 <= uid < 60000:
                raise AssertionError(f"{user['userName']!r} became {login!r}, uid {uid}")
        self.checks.that(
            len(users) > 30,
            f"{len(NAMES)} hostile userNames: {len(users)} harmless logins, "
            "the others 400 or 409",
        )
        for name in NAMES:
            status = self.post_bytes(
                json.dumps({"schemas": [CORE_GROUP], "displayName": name}).encode(), path="/Groups"
            )
            if status not in (201, 400, 409):
                raise AssertionError(f"displayName {name!r}: {status}")
        self.checks.equal(
            self.post_bytes(json.dumps(user_body("a" * (1 << 20))).encode()),
            413,
            "a name of 1 MiB: 413",
        )
        self.checks.equal(
            self.post_bytes(json.dumps(user_body("x") | {"userName": "a" * 1_000_000}).encode()),
            400,
            "a name just inside the limit of the body: 400",
        )

    def attributes(self):
        status, user = self.call(
            "POST",
            "/Users",
            user_body("victim")
            | {
                COREWEAVE: {
                    "sunkPosixUserId": 0,
                    "sunkPosixGroupId": 0,
                    "sunkPosixUsername": "root",
                }
            },
        )
        self.checks.that(
            status == 201
            and uid_of(user) >= 10000
            and user[COREWEAVE]["sunkPosixUsername"] == "victim",
            "uid 0 and login root in the extension of a POST: ignored, they are read-only",
            f"{status} {user}",
        )
        victim = "/Users/" + user["id"]
        for path in (f"{COREWEAVE}:sunkPosixUserId", f"{COREWEAVE}:sunkPosixGroupId"):
            self.call("PATCH", victim, patch_body({"op": "replace", "path": path, "value": 0}))
        self.call(
            "PATCH", victim, patch_body({"op": "add", "value": {COREWEAVE: {"sunkPosixUserId": 0}}})
        )
        self.checks.equal(
            uid_of(self.call("GET", victim)[1]), uid_of(user), "PATCH cannot change a uid"
        )
        self.call("POST", "/Users", user_body("owner"))
        for home in (
            "/root",
            "/",
            "/home",
            "/home/",
            "/etc",
            "home/x",
            "/home/../root",
            "/home/./x",
            "/home//x",
            "/home/a:b",
            "/home/a\nb",
            "/home/" + "x" * 5000,
            "/home/$(id)",
            "/home/owner",
            7,
            ["/x"],
        ):
            self.refused(victim, "sunkPreferredHomeDirectory", home)
        for shell in ("/tmp/evil", "sh", "/bin/sh -c id", "/bin/bash\n", "/bin/../tmp/x", "", 0):
            self.refused(victim, "sunkLoginShell", shell)
        for keys in (
            ['command="id" ' + KEY],
            [KEY + "\nssh-ed25519 AAAA"],
            ["no key"],
            [KEY[:60]],
            [""],
            ["-----BEGIN OPENSSH PRIVATE KEY-----"],
            ["ssh-dss AAAAB3NzaC1kc3MAAACB"],
            [7],
            [KEY * 8000],
            ["restrict,pty " + KEY],
            ["ssh-rsa " + KEY.split()[1]],
        ):
            self.refused(victim, "sunkSshKeys", keys)
        self.checks.that(True, "hostile homes, shells and keys: each 400, naming the attribute")

    def refused(self, victim, attribute, value):
        status, answer = self.call(
            "PATCH",
            victim,
            patch_body({"op": "replace", "path": f"{COREWEAVE}:{attribute}", "value": value}),
        )
        # An empty value is "unassigned" in SCIM: nothing of it may appear.
        if status in (200, 204) and value in ("", [""]):
            return
        if status != 400 or attribute not in answer.get("detail", ""):
            raise AssertionError(f"{attribute} {str(value)[:60]!r}: {status} {answer}")

    # --- how it is written -----------------------------------------------------------------------

    def json_bombs(self):
        deep = b'{"schemas":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
        wide = b"{" + b",".join(b'"k%d":1' % n for n in range(90_000)) + b"}"
        wrong = {
            "depth 200,000": deep,
            "objects of depth 100,000": b'{"a":' * 100_000,
            "90,000 keys and no userName": wide,
            "a bare string": b'"x"',
            "nothing": b"",
            "an array": b"[]",
            "cut off": b'{"userName":"x"',
            "not UTF-8": b'{"userName":"\xff\xfe"}',
            "U+0000 in a string": b'{"userName":"a","displayName":"\\u0000"}',
            "a lone surrogate": b'{"userName":"\\ud800"}',
            "a number beyond all": b'{"userName":1e999999}',
            "NaN": b'{"userName":NaN}',
            "two values": b'{"userName":"a"}{"userName":"b"}',
            "a comment": b'/**/{"userName":"a"}',
            "userName an object": b'{"userName":{"a":1}}',
        }
        for what, body in wrong.items():
            status = self.post_bytes(body)
            if status != 400:
                raise AssertionError(f"JSON: {what}: {status}")
        self.checks.that(True, f"{len(wrong)} kinds of wrong or explosive JSON: 400")
        self.checks.equal(self.post_bytes(b" " * (2 << 20)), 413, "2 MiB to /Users: 413")
        many = patch_body(
            *[{"op": "replace", "path": "displayName", "value": str(n)} for n in range(10_000)]
        )
        user = self.call("POST", "/Users", user_body("bombed"))[1]
        self.checks.equal(
            self.call("PATCH", "/Users/" + user["id"], many)[0] in (400, 413),
            True,
            "10,000 operations in a PATCH are refused",
        )

    def content(self):
        body = json.dumps(user_body("typed")).encode()
        for content_type in (
            "text/plain",
            "application/xml",
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencoded",
            "application/jsonp",
            "x",
        ):
            status = self.post_bytes(body, content_type)
            if status not in (400, 415):
                raise AssertionError(f"Content-Type {content_type}: {status}")
        self.checks.that(True, "wrong content types: 415")
        self.checks.equal(
            self.call("GET", '/Users?filter=userName+eq+"typed"')[1]["totalResults"],
            0,
            "and nothing was made",
        )

    def framing(self):
        """RFC 9112: what two readers could read differently is refused."""
        start = (
            f"POST {self.path}/Users HTTP/1.1\r\nHost: h\r\n"
            f"Authorization: Bearer {self.scim.token}\r\n"
            "Content-Type: application/scim+json\r\n"
        )
        body = json.dumps(user_body("smuggled")).encode()
        wrong = {
            "two different lengths": f"Content-Length: {len(body)}\r\nContent-Length: 3",
            "length and chunked": f"Content-Length: {len(body)}\r\nTransfer-Encoding: chunked",
            "a negative length": "Content-Length: -1",
            "a length of words": "Content-Length: many",
            "a huge length": "Content-Length: 99999999999999999999",
            "an unknown coding": "Transfer-Encoding: gzip, chunked",
            "a space before the colon": "X : y",
            "a folded line": "X: y\r\n z",
            "a bare NUL": "X: \0",
            "no name": ": y",
            "broken chunks": "Transfer-Encoding: chunked",
        }
        for what, line in wrong.items():
            status = self.raw((start + line).encode("latin-1"), body)
            if status not in (0, 400, 411, 413, 431, 501):
                raise AssertionError(f"framing: {what}: {status}")
        self.checks.that(True, f"{len(wrong)} kinds of ambiguous framing are refused")
        for what, bad in {
            "one long line": "X: " + "y" * 100_000,
            "20,000 lines": "\r\n".join(f"X{n}: y" for n in range(20_000)),
            "a long target": None,
        }.items():
            head = start + bad if bad else f"GET /{'x' * 100_000} HTTP/1.1\r\nHost: h"
            status = self.raw(head.encode())
            if status not in (0, 400, 414, 431):
                raise AssertionError(f"header bomb: {what}: {status}")
        self.checks.that(True, "header bombs are refused")
        for garbage in (
            b"\x16\x03\x01" * 100,
            b"GET / HTTP/9.9",
            b"PRI * HTTP/2.0\r\n\r\nSM",
            b"GET /",
            b"\0" * 1000,
            b"A" * 5000 + b" / HTTP/1.1",
        ):
            status = self.raw(garbage)
            if status not in (0, 400, 404, 405, 414, 431, 501, 505):
                raise AssertionError(f"{garbage[:20]!r}: {status}")
        connection = Raw(self.lab)
        connection.send((start + f"Content-Length: {len(body) + 50}\r\n\r\n").encode() + body)
        connection.close()
        self.checks.equal(
            self.call("GET", '/Users?filter=userName+eq+"smuggled"')[1]["totalResults"],
            0,
            "a body that was cut off or smuggled made nobody",
        )

    def slow_clients(self):
        """Hundreds of connections that never finish their request do not hold up others."""
        slow = [
            Raw(self.lab).send(b"POST " + self.path.encode() + b"/Users HTTP/1.1\r\nHost: h\r\n")
            for _ in range(150)
        ]
        half = json.dumps(user_body("slow")).encode()
        slow += [
            Raw(self.lab).send(
                (
                    f"POST {self.path}/Users HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n"
                    f"Authorization: Bearer {self.scim.token}\r\n"
                    "Content-Type: application/scim+json\r\n\r\n"
                ).encode()
                + half
            )
            for _ in range(50)
        ]
        stop, dripped = threading.Event(), []

        def drip():
            while not stop.wait(0.2):
                for connection in slow:
                    try:
                        connection.send(b"x")
                        dripped.append(1)
                    except OSError:
                        pass

        thread = spawn(drip)
        worst = 0.0
        for index in range(40):
            started = time.monotonic()
            status, _ = Client(self.scim).call("POST", "/Users", user_body(f"quick{index}"))
            worst = max(worst, time.monotonic() - started)
            if status != 201:
                raise AssertionError(f"POST beside slow clients: {status}")
        stop.set()
        joined([thread])
        self.checks.that(
            worst < 1.5, f"beside 200 slow clients a POST takes at most {worst * 1000:.0f} ms"
        )
        statuses = {slow[0].status()}
        self.checks.that(statuses <= {408, 400, 0}, f"a slow client ends with {statuses}")
        for connection in slow:
            connection.close()

    # --- who writes it ---------------------------------------------------------------------------

    def tokens(self):
        lab, token = self.lab, self.scim.token
        lab.roster("org", "create", "globex")
        lab.roster("client", "create", "entra", org="globex")
        other = lab.roster(
            "token",
            "create",
            "--name",
            "entra",
            "--scope",
            "scim",
            "--client",
            "entra",
            org="globex",
        ).stdout.strip()
        read = lab.roster("token", "create", "--name", "reader", "--scope", "read").stdout.strip()
        user = lab.roster("token", "create", "--name", "gone", "--scope", "read").stdout.strip()
        lab.roster("token", "revoke", "gone")
        join = (lab.root / "join.token").read_text().strip()
        node = json.loads((STATE / "node.json").read_text())["credential"]
        wrong = [
            "",
            "x",
            token[:-1],
            token[:-1] + ("0" if token[-1] != "0" else "1"),
            token.upper(),
            token + " x",
            "rst_" + "A" * 43 + "_000000",
            "a" * 8000,
            user,
            join,
            node,
            other,
            lab.operator_token[:-3],
        ]
        for bad in wrong:
            status = self.get_status(self.path + "/Users", bad)
            if status not in (400, 401, 403, 404):
                raise AssertionError(f"token {bad[:8]}... of {len(bad)}: {status}")
        self.checks.equal(self.get_status(self.path + "/Users"), 401, "no token: 401")
        self.checks.that(
            True, f"{len(wrong)} wrong tokens, another organization's among them: refused"
        )
        stranger = self.get_status("/api/organizations/globex/scim/v2/Users", token)
        self.checks.that(
            stranger in (401, 403, 404), f"our token at another organization: {stranger}"
        )
        mine = self.client.every("/Users")[0][0]["id"]
        self.checks.equal(
            self.get_status(f"/api/organizations/globex/scim/v2/Users/{mine}", other),
            404,
            "our person under another organization: 404",
        )
        reader = Client(
            type("Base", (), {"base": self.scim.base, "tls": self.scim.tls, "token": read})
        )
        statuses = {
            reader.call(m, "/Users/" + mine if m != "POST" else "/Users", user_body("byreader"))[0]
            for m in ("POST", "PUT", "DELETE")
        }
        self.checks.that(statuses <= {403, 501}, f"a read token cannot write: {statuses}")
        for path in (
            "/api/v1/orgs",
            f"/api/v1/orgs/{lab.org}/tokens",
            f"/api/v1/orgs/{lab.org}/audit",
        ):
            for powerless in (token, read, node, join, other):
                status = self.get_status(path, powerless)
                if status not in (401, 403, 404):
                    raise AssertionError(f"{path} with a powerless token: {status}")
        self.checks.that(True, "the admin API refuses tokens of other scopes")

    def paths(self):
        for path in (
            "/../../../etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "//",
            "/%00",
            "/%",
            "/%zz",
            "/\x7f",
            self.path + "/Users/../../../../v1/orgs",
            self.path + "/Users/..%2f..%2fGroups",
            self.path + "/Users/%00",
            self.path + "/Users//",
            self.path + "//Users",
            "/api/organizations/../v1/orgs",
            "/api/organizations/%2e%2e/v1/orgs",
            "/api/organizations//scim/v2/Users",
            "/api/organizations/acme%00/scim/v2/Users",
            "/api/organizations/ACME/scim/v2/Users",
            "/scim/v2/acme/../globex/Users",
            "/" + "a/" * 4000,
            "/" + "%41" * 3000,
            "http://evil.example/" + self.path,
            "*",
        ):
            for token in (None, self.scim.token):
                status = self.get_status(path, token)
                if status not in (0, 301, 308, 400, 401, 403, 404, 405, 414, 431):
                    raise AssertionError(f"path {path[:60]!r}: {status}")
        self.checks.that(True, "tricks with paths: 400 or 404")
        for text, allowed in (
            ('userName eq "x" or 1 eq 1', (400,)),
            ('userName eq "', (400,)),
            ("(" * 5000 + "a", (400, 414, 431)),
            ("not (" * 2000, (400, 414, 431)),
            ('userName eq "%"', (200,)),
            ('userName co "\\u0000"', (200, 400)),
            ('password eq "x"', (400, 200)),
            ("a" * 12_000, (400, 414, 431)),
            ('userName eq "\' or 1=1 --"', (200,)),
            ('emails[type eq "work" and value co "' + "x" * 3000 + '"]', (200, 400)),
        ):
            status, answer = self.call(
                "GET",
                "/Users?filter="
                + text.replace("%", "%25")
                .replace(" ", "%20")
                .replace('"', "%22")
                .replace("\\", "%5C"),
            )
            if status not in allowed or (status == 200 and answer["totalResults"] != 0):
                raise AssertionError(f"filter {text[:40]!r}: {status} {str(answer)[:300]}")
        self.checks.that(True, "hostile filters: 400, or nobody")


def node_is_clean(checks, scim):
    """All that NSS shows on the node, after everything."""

    def look():
        module = NssModule()
        status, users = module.all_users()
        return [status, [vars(user) for user in users], {n: module.user(n)[0] for n in POWERFUL}]

    users, _ = Client(scim).every("/Users")
    logins = {user[COREWEAVE]["sunkPosixUsername"] for user in users}
    wait_for(
        lambda: {user["name"] for user in in_child(look)[1]} == logins,
        "the node has them all",
        20,
        0.1,
    )
    _, shown, powerful = in_child(look)
    for user in shown:
        fields = [user["name"], user["gecos"], user["home"], user["shell"]]
        if (
            not LOGIN.fullmatch(user["name"])
            or user["name"] in POWERFUL
            or user["uid"] < 10000
            or user["gid"] != user["uid"]
            or any(re.search("[:\x00-\x1f\x7f]", f) for f in fields)
            or not user["home"].startswith("/home/")
            or "/.." in user["home"]
        ):
            raise AssertionError(f"the node shows {user}")
    checks.that(
        FOUND not in powerful.values(), f"the node shows {len(shown)} people, nothing hostile"
    )
    passwd = run("getent", "passwd").stdout.splitlines()
    checks.that(
        all(len(line.split(":")) == 7 for line in passwd), "getent passwd: seven fields a line"
    )
    checks.equal(
        [line for line in passwd if line.split(":")[2] == "0"],
        [line for line in open("/etc/passwd").read().splitlines() if line.split(":")[2] == "0"],
        "uid 0 is whom the node itself says",
    )


def logs_are_clean(checks, lab, tokens):
    text = {name: path.read_text(errors="replace") for name, path in lab.logs.items()}
    for name, log in text.items():
        for token in tokens:
            if token in log or token[4:40] in log:
                raise AssertionError(f"a secret is in the log of {name}: {token[:4]}...")
        strange = [
            line
            for line in log.splitlines()
            if not re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z (debug|info|warn|error) ", line)
        ]
        if strange:
            raise AssertionError(f"log of {name}: lines that are none of ours: {strange[:3]}")
        if "\x1b" in log or "\0" in log:
            raise AssertionError(f"log of {name}: control characters")
    checks.that(
        "rosterd" in text and "agent" in text and sum(map(len, text.values())) > 1000,
        "no secret and no foreign line in any log",
    )


def story(checks):
    with Lab() as lab:
        lab.init_hub()
        lab.start_hub("--log-level", "debug")
        scim = lab.scim_client()
        lab.start_agent(lab.join_token())
        run("roster-agent", "wait", "--timeout", "20s")
        hub = lab.processes["rosterd"]
        hostile = Hostile(checks, lab, scim)
        for part in (
            hostile.names,
            hostile.attributes,
            hostile.json_bombs,
            hostile.content,
            hostile.framing,
            hostile.tokens,
            hostile.paths,
            hostile.slow_clients,
        ):
            part()
            if hub.poll() is not None:
                raise AssertionError("rosterd ended")
        node_is_clean(checks, scim)
        with open(f"/proc/{hub.pid}/status") as status:
            peak = int(re.search(r"VmHWM:\s+(\d+)", status.read())[1]) >> 10
        checks.that(peak < 600, f"the hub's peak memory: {peak} MiB")
        checks.that("yes" in lab.roster("audit", "verify").stdout, "the audit chain is whole")
        secrets = [
            scim.token,
            lab.operator_token,
            (lab.root / "join.token").read_text().strip(),
            json.loads((STATE / "node.json").read_text())["credential"],
        ]
        logs_are_clean(checks, lab, secrets)


if __name__ == "__main__":
    main(story)
