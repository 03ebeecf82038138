"""C13, C20, C33 and C35 to C40: media types, projection, errors, /Me, access and tenants."""

import socket
import urllib.parse

from client import JSON_TYPE, SCIM_TYPE
from harness import ENTERPRISE, ERROR, GROUP, SEARCH_REQUEST, USER, check, flip, patch_body

HUGE = 1 << 30
EARLY_S = 5.0


@check("C13.produced")
def produced(t):
    """RFC 7644 3.1, 8.1: answers are application/scim+json, whatever of the two the client
    accepts."""
    made = t.user()
    for accept in (SCIM_TYPE, SCIM_TYPE + "; charset=utf-8", "*/*", None, JSON_TYPE):
        for path in (
            "/Users?count=1",
            f"/Users/{made['id']}",
            "/ServiceProviderConfig",
            "/Schemas",
        ):
            answer = t.call("GET", path, headers={"Accept": accept})
            t.status(answer, 200)
            allowed = (SCIM_TYPE, JSON_TYPE) if accept == JSON_TYPE else (SCIM_TYPE,)
            t.verify(answer.media_type in allowed, f"Content-Type {answer.header('Content-Type')}")
    answer = t.call("GET", "/Users?count=1", headers={"Accept": "text/html"})
    t.verify(answer.status in (200, 406), f"Accept: text/html: {answer.status}")
    t.choice("Accept: text/html is " + ("ignored" if answer.status == 200 else "406"))


@check("C13.accepted")
def accepted(t):
    """RFC 7644 3.1: bodies are taken as application/scim+json and application/json, with a charset
    and in any case."""
    for kind in (
        SCIM_TYPE,
        JSON_TYPE,
        SCIM_TYPE + "; charset=utf-8",
        JSON_TYPE + ";charset=UTF-8",
        "Application/SCIM+JSON",
        'application/scim+json; charset="utf-8"',
    ):
        answer = t.post("/Users", t.user_body(), headers={"Content-Type": kind})
        if t.status(answer, 201):
            path = f"/Users/{answer.object['id']}"
            body = t.user_body(answer.object["userName"])
            t.status(t.put(path, body, headers={"Content-Type": kind}), 200)
    query = {"schemas": [SEARCH_REQUEST], "count": 1}
    t.status(t.post("/Users/.search", query, headers={"Content-Type": JSON_TYPE}), 200)


@check("C13.refused")
def types_refused(t):
    """RFC 9110 15.5.16: a body of another type is 415 in SCIM form (or 400), and not read."""
    name = t.site.name()
    for kind in ("text/plain", "application/xml", "application/x-www-form-urlencoded"):
        answer = t.post("/Users", t.user_body(name), headers={"Content-Type": kind})
        t.error(answer, (400, 415))
    made = t.user()
    headers = {"Content-Type": "text/plain"}
    t.error(t.put(f"/Users/{made['id']}", t.user_body(name), headers=headers), (400, 415))
    answer = t.call("PATCH", f"/Users/{made['id']}", patch_body(), headers=headers)
    t.error(answer, (400, 415))
    answer = t.post("/Users", t.user_body(), headers={"Content-Type": None})
    t.verify(answer.status in (201, 400, 415), f"no Content-Type: {answer.status}")
    t.choice(f"a body without Content-Type: {answer.status}")


# ---- C20 ----


def rich_user(t):
    attributes = {
        "displayName": "Ada Example",
        "title": "Engineer",
        "name": {"givenName": "Ada", "familyName": "Example"},
        "emails": [{"value": "ada@example.com", "type": "work", "primary": True}],
    }
    if t.site.has_enterprise:
        attributes[ENTERPRISE] = {"department": "Tools", "employeeNumber": "7"}
    return t.user_body(**attributes)


# Parameter, what is left of the rich user; None: not there.
def projections(t):
    mail = {"value": "ada@example.com", "type": "work", "primary": True}
    rows = [
        ("attributes", "userName", {"userName": True}),
        ("attributes", "USERNAME,displayname", {"userName": True, "displayName": True}),
        ("attributes", "userName, title", {"userName": True, "title": True}),
        ("attributes", "name.givenName", {"name": {"givenName": "Ada"}}),
        (
            "attributes",
            "NAME.givenname,emails.value",
            {"name": {"givenName": "Ada"}, "emails": [{"value": mail["value"]}]},
        ),
        ("attributes", "emails", {"emails": [mail]}),
        (
            "attributes",
            "emails.type,emails.value",
            {"emails": [{"value": mail["value"], "type": "work"}]},
        ),
        ("attributes", f"{USER}:title", {"title": True}),
        ("attributes", f"{flip(USER)}:name.familyName", {"name": {"familyName": "Example"}}),
        ("attributes", "noSuchThing", {}),
        ("attributes", "id", {}),
        ("attributes", "meta.resourceType", {"meta": {"resourceType": "User"}}),
    ]
    if t.site.has_enterprise:
        whole = {"department": "Tools", "employeeNumber": "7"}
        rows += [
            ("attributes", f"{ENTERPRISE}:department", {ENTERPRISE: {"department": "Tools"}}),
            ("attributes", flip(f"{ENTERPRISE}:department"), {ENTERPRISE: {"department": "Tools"}}),
            ("attributes", ENTERPRISE, {ENTERPRISE: whole}),
            ("attributes", f"title,{ENTERPRISE}", {"title": True, ENTERPRISE: whole}),
        ]
    return rows


def exclusions(t):
    rows = [
        ("title", {"title": None}),
        ("TITLE,DisplayName", {"title": None, "displayName": None}),
        ("name.givenName", {"name": {"familyName": "Example"}}),
        ("emails", {"emails": None}),
        ("emails.primary", {"emails": [{"value": "ada@example.com", "type": "work"}]}),
        (f"{USER}:title", {"title": None}),
        ("id,schemas", {}),
        ("noSuchThing", {}),
        ("meta", {"meta": None}),
    ]
    if t.site.has_enterprise:
        rows += [
            (f"{ENTERPRISE}:department", {ENTERPRISE: {"employeeNumber": "7"}}),
            (ENTERPRISE, {ENTERPRISE: None}),
        ]
    return rows


def holds_projection(t, answer, whole, wanted, included):
    """`wanted` by name: a value, True for the whole user's one, None for absent."""
    found = answer.resources[0] if answer.resources else answer.object
    t.equal(found.get("id"), whole["id"], "id", answer)
    t.verify(found.get("schemas"), "schemas is missing", answer)
    expected = {} if included else dict(whole)
    for name, value in wanted.items():
        if value is None:
            expected.pop(name, None)
        else:
            expected[name] = whole.get(name) if value is True else value
    for part in (expected, found := dict(found)):
        for name in ("id", "schemas"):
            part.pop(name, None)
    if included and "groups" not in wanted:
        found.pop("groups", None)
    if not included and "meta" in expected and "meta" in found:
        expected["meta"] = found["meta"]
    t.equal(found, expected, "attributes", answer)


def every_answer(t, made, query):
    """GET by id, list, both searches, PUT, PATCH and POST of the rich user with these
    parameters."""
    path = f"/Users/{made['id']}"
    yield t.get(path, **query)
    if t.site.supports("filter"):
        chosen = f'id eq "{made["id"]}"'
        yield t.get("/Users", filter=chosen, **query)
        body = {name: value.split(",") for name, value in query.items()}
        body = {"schemas": [SEARCH_REQUEST], "filter": chosen} | body
        yield t.post("/Users/.search", body)
        answer = t.post("/.search", body)
        if answer.status not in (404, 405, 501):
            yield answer
    body = {k: v for k, v in made.items() if k not in ("id", "meta", "groups")}
    yield t.put(path, body, query=query)
    if t.site.supports("patch"):
        answer = t.patch(path, {"op": "replace", "path": "title", "value": "Engineer"}, query=query)
        if answer.status != 204 or "attributes" in query:
            yield answer


@check("C20.attributes")
def attributes(t):
    """RFC 7644 3.4.2.5, 3.9: attributes names what is returned beside what always is: sub-
    attributes, URI prefixes, extensions, any case; on GET, lists, search, PUT and PATCH."""
    made = t.create("/Users", rich_user(t))
    for name, value, wanted in projections(t):
        for answer in every_answer(t, made, {name: value}):
            if t.status(answer, 200):
                holds_projection(t, answer, made, wanted, True)


@check("C20.excluded")
def excluded(t):
    """RFC 7644 3.4.2.5, 3.9: excludedAttributes names what is left out of what is returned by
    default; what is always returned stays."""
    made = t.create("/Users", rich_user(t))
    for value, wanted in exclusions(t):
        for answer in every_answer(t, made, {"excludedAttributes": value}):
            if t.status(answer, 200):
                holds_projection(t, answer, made, wanted, False)


@check("C20.post")
def projected_post(t):
    """RFC 7644 3.9: POST answers with what attributes and excludedAttributes say."""
    answer = t.post("/Users", rich_user(t), query={"attributes": "title"})
    t.done(answer, 201)
    t.equal(set(answer.object), {"id", "schemas", "title"}, "attributes of the answer")
    t.verify(answer.header("Location"), "no Location header")
    answer = t.post("/Users", rich_user(t), query={"excludedAttributes": "title,emails"})
    t.done(answer, 201)
    t.verify("title" not in answer.object and "emails" not in answer.object, "what was excluded")
    t.verify("userName" in answer.object, "userName is missing")


@check("C20.groups")
def projected_groups(t):
    """RFC 7644 3.9: on groups, members can be left out or asked for alone, in every answer."""
    member = t.user()["id"]
    made = t.group(members=[member])
    path = f"/Groups/{made['id']}"
    chosen = {"filter": f'id eq "{made["id"]}"'} if t.site.supports("filter") else None
    for query, has_name, has_members in (
        ({"excludedAttributes": "members"}, True, False),
        ({"attributes": "displayName"}, True, False),
        ({"attributes": "members"}, False, True),
        ({"attributes": "members.value"}, False, True),
        ({"attributes": f"{GROUP}:members"}, False, True),
    ):
        answers = [t.get(path, **query)]
        if chosen:
            answers.append(t.get("/Groups", **chosen, **query))
        body = t.group_body(made["displayName"], [member])
        answers.append(t.put(path, body, query=query))
        for answer in answers:
            t.status(answer, 200)
            found = answer.resources[0] if answer.resources else answer.object
            t.equal("displayName" in found, has_name, f"displayName with {query}", answer)
            t.equal("members" in found, has_members, f"members with {query}", answer)
            if query.get("attributes") == "members.value":
                t.equal(found.get("members"), [{"value": member}], "members", answer)
    t.equal(len(t.read(path).get("members") or []), 1, "members after PUT with projections")


@check("C20.both")
def both_lists(t):
    """RFC 7644 3.9: attributes and excludedAttributes exclude each other: 400, or one of them
    wins."""
    made = t.user()
    query = {"attributes": "userName", "excludedAttributes": "title"}
    for answer in (t.get(f"/Users/{made['id']}", **query), t.get("/Users", count="1", **query)):
        if answer.status == 200:
            t.choice("attributes with excludedAttributes: answered")
        else:
            t.error(answer, 400, ("invalidValue", "invalidSyntax", ""))
            t.choice("attributes with excludedAttributes: 400")


# ---- C33, C35, C37, C38 ----


@check("C33.form")
def error_forms(t):
    """RFC 7644 3.12: errors have the Error schema, status as a string, and a scimType that exists:
    400, 401, 404, 405, 409, 412 and 415, for every method that can earn them."""
    made = t.user()
    path = f"/Users/{made['id']}"
    t.error(t.call("POST", "/Users", raw=b"{"), 400, "invalidSyntax")
    t.error(t.call("GET", "/Users", token="wrong"), 401)
    t.error(t.call("POST", "/Users", t.user_body(), token="wrong"), 401)
    t.error(t.call("PUT", path, t.user_body(), token="wrong"), 401)
    t.error(t.call("PATCH", path, patch_body(), token="wrong"), 401)
    t.error(t.call("DELETE", path, token="wrong"), 401)
    t.error(t.get("/Users/no-such-id"), 404)
    t.error(t.post("/ServiceProviderConfig", {}), (404, 405))
    t.error(t.post("/Users", t.user_body(made["userName"])), 409, "uniqueness")
    if t.site.supports("etag"):
        t.error(t.delete(path, headers={"If-Match": 'W/"stale"'}), 412)
    answer = t.post("/Users", t.user_body(), headers={"Content-Type": "text/csv"})
    t.error(answer, (400, 415))
    for method in ("TRACE", "PROPFIND", "BREW"):
        answer = t.call(method, path)
        t.verify(answer.status in (400, 403, 404, 405, 501), f"{method}: {answer.status}")
        if answer.body:
            t.error_form(answer)
    t.error(t.call("POST", path, t.user_body()), (404, 405))


@check("C33.allow")
def allow(t):
    """RFC 9110 15.5.6: 405 names the methods that are allowed."""
    for path in ("/ServiceProviderConfig", "/Schemas", "/ResourceTypes", "/Users"):
        method = "PUT" if path == "/Users" else "POST"
        answer = t.call(method, path, {})
        t.error(answer, (404, 405, 501))
        if answer.status == 405:
            t.verify("GET" in answer.header("Allow"), f"Allow is {answer.header('Allow')!r}")


@check("C33.too-large")
def too_large(t):
    """RFC 7644 3.12, RFC 9110 15.5.14: what is too large is refused as 413 (or 400) in SCIM form,
    without waiting for all of it."""
    t.wants("displayName")
    answer = t.post("/Users", t.user_body(displayName="x" * (2 << 20)))
    if answer.status == 201:
        t.choice("a user with 2 MiB of text is taken")
    else:
        t.error(answer, (400, 413))
    answer = announce(t, HUGE)
    if answer is None:
        return t.choice("a body of 1 GiB is not refused before it is sent")
    status, media_type, body = answer
    t.verify(status in (400, 413), f"a body of 1 GiB: expected 413, got {status}")
    text = body.decode("utf-8", "replace")
    t.equal(media_type, SCIM_TYPE, f"media type of the answer {text!r}")
    t.verify(f'"{status}"' in text and "Error" in text, f"no SCIM error body: {text!r}")
    return t.choice(f"a body of 1 GiB is refused at once: {status}")


def announce(t, length):
    """Sends only the head of a POST; (status, media type, body) when the server answers at once."""
    client = t.client
    head = (
        f"POST {client.target('/Users')} HTTP/1.1\r\nHost: {client.host}:{client.port}\r\n"
        f"Authorization: Bearer {client.token}\r\nContent-Type: {SCIM_TYPE}\r\n"
        f"Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    text = b""
    with client.open_socket() as link:
        link.settimeout(EARLY_S)
        link.sendall(head.encode() + b"{")
        try:
            while piece := link.recv(65536):
                text += piece
        except (socket.timeout, ConnectionError):
            pass
    if not text.startswith(b"HTTP/1.1 "):
        return None
    top, _, body = text.partition(b"\r\n\r\n")
    kinds = [
        line
        for line in top.decode("latin-1").split("\r\n")
        if line.lower().startswith("content-type:")
    ]
    media_type = kinds[0].split(":")[1].split(";")[0].strip().lower() if kinds else ""
    return int(top.split()[1]), media_type, body


@check("C33.query")
def bad_query(t):
    """RFC 7644 3.12, 3.4.2: parameters that are unknown are ignored; broken ones are 400."""
    t.status(t.get("/Users", count="1", noSuchParameter="x", groups=""), 200)
    for query in ({"count": "x"}, {"startIndex": "1.5"}, {"count": ""}):
        answer = t.get("/Users", **query)
        if answer.status == 200:
            t.choice(f"{query} is ignored")
        else:
            t.error(answer, 400, ("invalidValue", "invalidCount", "invalidSyntax"))
            t.choice(f"{query} is refused")


@check("C35.me")
def me(t):
    """RFC 7644 3.11: /Me is the caller's resource (200 or 308), 404 where the caller has none, or
    501; the same for every method."""
    answer = t.get("/Me")
    t.choice(f"GET /Me: {answer.status}")
    if answer.status == 200:
        t.verify(answer.object.get("id"), "no id")
        location = (answer.object.get("meta") or {}).get("location") or ""
        t.verify("/Me" not in location, f"meta.location is not the permanent one: {location}")
        return
    if answer.status == 308:
        t.equal(t.call("GET", answer.header("Location")).status, 200, "where it leads to")
        return
    t.error(answer, (403, 404, 501))
    body = t.user_body()
    for method, sent in (("PUT", body), ("PATCH", patch_body()), ("POST", body), ("DELETE", None)):
        answer = t.call(method, "/Me", sent)
        t.error(answer, (400, 403, 404, 405, 501))


@check("C37.unknown-endpoint")
def unknown_endpoint(t):
    """RFC 7644 3.12: unknown endpoints below the base are 404 in SCIM form, for every method."""
    made = t.user()
    for path in (
        "/NoSuchThing",
        "/NoSuchThing/1",
        f"/Users/{made['id']}/more",
        f"/Users/{made['id']}/emails",
        "/Users/a/b/c",
        "/Schemas/a/b",
        "/ServiceProviderConfig/x",
        "/Users;x=1",
        "/.well-known",
        "/%2e%2e/Users",
    ):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            body = None if method in ("GET", "DELETE") else {}
            t.error(t.call(method, path, body), (400, 404) if "%" in path else 404)
    answer = t.get("/users")
    t.verify(answer.status in (200, 404), f"/users: {answer.status}")
    t.choice("endpoints are found " + ("without case" if answer.status == 200 else "with case"))
    answer = t.call("GET", "/Users/", query={"count": "1"})
    t.verify(answer.status in (200, 308, 301, 404), f"/Users/: {answer.status}")
    t.choice(f"/Users/ with a slash at the end: {answer.status}")


@check("C38.version")
def version(t):
    """RFC 7644 3.13: a version in the base URL that is not supported is 404; whether in SCIM form is
    a choice, as it is no SCIM endpoint."""
    base = urllib.parse.urlsplit(t.client.base).path
    if "/v2" not in base:
        t.skip("the base URL has no version")
    origin = t.client.base[: len(t.client.base) - len(base)]
    for other in ("/v1", "/v3", "/V99"):
        where = base.replace("/v2", other)
        for path in ("/Users", "/ServiceProviderConfig"):
            for method, body in (("GET", None), ("POST", {})):
                answer = t.call(method, f"{origin}{where}{path}", body)
                if t.status(answer, 404):
                    scim = answer.object.get("schemas") == [ERROR]
                    t.choice(
                        "unsupported versions: 404 " + ("in" if scim else "not in") + " SCIM form"
                    )


# ---- C36 ----


@check("C36.authentication")
def authentication(t):
    """RFC 7644 2, RFC 6750 3, RFC 9110 11.6.1: without a good token every endpoint is 401 with
    WWW-Authenticate, in SCIM form; the scheme's name compares without case."""
    for path in ("/Users", "/Users/x", "/Groups", "/.search", "/Me", "/Bulk", "/NoSuchThing"):
        answer = t.call("GET", path, token="")
        t.error(answer, (401, 404) if path == "/NoSuchThing" else 401)
        if answer.status == 401:
            t.verify(answer.header("WWW-Authenticate"), "401 without WWW-Authenticate")
    for value in (
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Basic {t.client.token}",
        t.client.token,
        f"Bearer {t.client.token}x",
        f"Bearer {t.client.token[:-1]}",
        f"Bearer {flip(t.client.token)}",
        f"Bearer x {t.client.token}",
    ):
        answer = t.call("GET", "/Users", headers={"Authorization": value}, token="")
        if value == f"Bearer {flip(t.client.token)}" and flip(t.client.token) == t.client.token:
            continue
        t.error(answer, 401)
        challenge = answer.header("WWW-Authenticate")
        t.verify("bearer" in challenge.lower(), f"WWW-Authenticate: {challenge!r}")
    for scheme in ("bearer", "BEARER"):
        headers = {"Authorization": f"{scheme} {t.client.token}"}
        t.status(t.call("GET", "/Users?count=1", headers=headers, token=""), 200)
    for path in ("/ServiceProviderConfig", "/Schemas", "/ResourceTypes"):
        answer = t.call("GET", path, token="")
        if answer.status == 200:
            t.choice(f"{path} is public")
        else:
            t.error(answer, 401)
            t.choice(f"{path} needs a token")


@check("C36.token-in-url")
def token_in_url(t):
    """RFC 7644 2, RFC 6750 2.3: a token in the URL is not taken, and no link holds one."""
    for name in ("access_token", "token"):
        answer = t.call("GET", "/Users", query={name: t.client.token}, token="")
        t.error(answer, 401)
    raw = urllib.parse.urlencode({"access_token": t.client.token}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    t.error(t.call("POST", "/Users", raw=raw, headers=headers, token=""), 401)
    made = t.user()
    t.verify(t.client.token not in str(made), "the token is in a resource")


@check("C36.tls")
def tls(t):
    """RFC 7644 2, 7.2: SCIM is served over TLS; without it on loopback alone."""
    if t.client.scheme == "https":
        with t.client.open_socket() as link:
            t.choice(f"{link.version()}, {link.cipher()[0]}")
            t.verify(link.version() in ("TLSv1.2", "TLSv1.3"), f"{link.version()}")
        return
    addresses = {info[4][0] for info in socket.getaddrinfo(t.client.host, t.client.port)}
    local = all(a == "::1" or a.startswith("127.") for a in addresses)
    t.verify(local, f"plain HTTP on {sorted(addresses)}")
    t.choice("plain HTTP on loopback")


@check("C36.reader")
def reader(t):
    """RFC 7644 2, 3.12: a client that may only read is refused every write, in SCIM form (403 or
    501), and nothing changes."""
    if t.site.reader is None:
        t.skip("needs --read-token-file")
    made = t.user()
    path = f"/Users/{made['id']}"
    name = t.site.name()
    client = t.site.reader
    for method, where, body in (
        ("POST", "/Users", t.user_body(name)),
        ("PUT", path, t.user_body(name)),
        ("PATCH", path, patch_body({"op": "replace", "path": "title", "value": "x"})),
        ("DELETE", path, None),
        ("POST", "/Groups", t.group_body()),
        ("POST", "/Users/no-such-id", {}),
    ):
        statuses = (404, 405) if where.endswith("no-such-id") else (403, 501)
        t.error(t.call(method, where, body, client=client), statuses)
    t.equal(t.read(path), made, "the user afterwards")
    t.status(t.call("GET", path, client=client), 200)
    t.choice(f"writes of a reader: {t.call('DELETE', path, client=client).status}")


# ---- C39, C40 ----


@check("C39.tenants")
def tenants(t):
    """RFC 7644 6: two tenants have the same userName, externalId and group name without clash; ids
    of one are unknown to the other; tokens of one open nothing of the other."""
    other = t.site.other
    if other is None:
        t.skip("needs a second tenant: --other-url, --other-token-file")
    name = t.site.name()
    body = t.user_body(name, externalId="same-" + name)
    mine = t.create("/Users", body)
    answer = t.done(t.post("/Users", body, client=other), 201)
    theirs = answer.object
    t.verify(mine["id"] != theirs["id"], "the same id in two tenants")
    for client, own, foreign in ((t.client, mine, theirs), (other, theirs, mine)):
        path = f"/Users/{foreign['id']}"
        t.error(t.call("GET", path, client=client), 404)
        t.error(t.call("PUT", path, t.user_body(name), client=client), 404)
        op = {"op": "replace", "path": "title", "value": "x"}
        t.error(t.call("PATCH", path, patch_body(op), client=client), 404)
        t.error(t.call("DELETE", path, client=client), 404)
        for text in (f'userName eq "{name}"', f'externalId eq "same-{name}"'):
            found = t.call("GET", "/Users", query={"filter": text}, client=client)
            t.equal(found.ids, [own["id"]], f"users with {text}")
        found = t.call("GET", "/Users", query={"filter": f'id eq "{foreign["id"]}"'}, client=client)
        t.equal(found.ids, [], "users by the other tenant's id")
    t.equal(t.read(f"/Users/{mine['id']}"), mine, "the user afterwards")
    if t.site.has_groups:
        t.group(name)
        t.done(t.post("/Groups", t.group_body(name), client=other), 201)
        members = t.group_body(members=[theirs["id"]])
        t.error(t.post("/Groups", members), (400, 404), ("invalidValue", "noTarget", ""))


@check("C39.tokens")
def foreign_tokens(t):
    """RFC 7644 6, 7: a token at another tenant's URL is refused, the same as for a tenant that does
    not exist."""
    other = t.site.other
    if other is None or other.base == t.client.base:
        t.skip("needs a second tenant with a URL of its own")
    made = t.user()
    for client, token in ((other, t.client.token), (t.client, other.token)):
        for method, path in (
            ("GET", "/Users"),
            ("GET", f"/Users/{made['id']}"),
            ("GET", "/Schemas"),
        ):
            answer = client.call(method, path, token=token)
            t.error(answer, (401, 403, 404))
            t.verify(made["id"] not in answer.body.decode("utf-8", "replace"), "a leak", answer)
        answer = client.call("POST", "/Users", t.user_body(), token=token)
        t.error(answer, (401, 403, 404))


@check("C40.throttled")
def throttled(t):
    """RFC 6585 4, RFC 7644 3.12: 429 has Retry-After and SCIM form."""
    seen = [a for c in (t.client, t.site.other, t.site.reader) if c for a in c.throttled]
    if not seen:
        t.skip("the server never answered 429 during this run")
    for answer in seen:
        t.error_form(answer)
        t.verify(answer.header("Retry-After"), "429 without Retry-After", answer)
