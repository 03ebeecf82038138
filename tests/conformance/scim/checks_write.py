"""C14, C15, C23, C30 and C31: create, read, replace, delete, and versions."""

from harness import GROUP, check

FULL = {
    "displayName": "Ada Example",
    "nickName": "ada",
    "title": "Engineer",
    "name": {"givenName": "Ada", "familyName": "Example"},
    "emails": [{"value": "ada@example.com", "type": "work", "primary": True}],
}


@check("C14.created")
def created(t):
    """RFC 7644 3.3: POST is 201 with Location, and the body as it is read afterwards; meta.location
    equals Location, and leads to the resource."""
    body = t.user_body(**FULL)
    answer = t.done(t.post("/Users", body), 201)
    made = answer.object
    location = answer.header("Location")
    t.verify(location, "no Location header")
    t.equal((made.get("meta") or {}).get("location"), location, "meta.location against Location")
    read = t.done(t.call("GET", location))
    t.equal(read.object, made, "what Location leads to")
    t.equal(t.read(f"/Users/{made['id']}"), made, "what GET by id gives")
    for name, value in FULL.items():
        t.equal(made.get(name), value, name)
    if t.site.has_groups:
        answer = t.done(t.post("/Groups", t.group_body(members=[made["id"]])), 201)
        t.equal(
            (answer.object.get("meta") or {}).get("location"), answer.header("Location"), "group"
        )
        t.equal(t.read(f"/Groups/{answer.object['id']}"), answer.object, "the group when read")


@check("C14.refused")
def refused(t):
    """RFC 7644 3.3, 3.12: what is no resource is refused: a list, text, nothing."""
    for raw in (b"[]", b'"text"', b"5", b"null"):
        t.error(t.call("POST", "/Users", raw=raw), 400, ("invalidSyntax", "invalidValue"))
    t.error(t.call("POST", "/Users", raw=b""), 400, ("invalidSyntax", "invalidValue"))
    for path in ("/Users/some-id", "/Groups/some-id"):
        t.error(t.post(path, t.user_body()), (404, 405))


@check("C15.read")
def read(t):
    """RFC 7644 3.4.1: GET of an id is 200; of an unknown or deleted one 404 in SCIM form, for users
    and groups, and an id of the other type is unknown."""
    made = t.user()
    t.equal(t.read(f"/Users/{made['id']}"), made, "the user")
    t.error(t.get("/Users/no-such-id"), 404)
    t.error(t.get("/Users/00000000-0000-0000-0000-000000000000"), 404)
    t.error(t.get("/Users/" + "x" * 300), 404)
    t.error(t.get("/Users/%00"), (400, 404))
    t.error(t.get("/Users/..%2f..%2f"), (400, 404))
    if t.site.has_groups:
        t.error(t.get("/Groups/no-such-id"), 404)
        t.error(t.get(f"/Groups/{made['id']}"), 404)
        t.error(t.get(f"/Users/{t.group()['id']}"), 404)
    t.status(t.delete(f"/Users/{made['id']}"), 204)
    t.error(t.get(f"/Users/{made['id']}"), 404)


@check("C15.head")
def head(t):
    """RFC 9110 9.3.2: HEAD, where it is offered, is GET without the body."""
    made = t.user()
    answer = t.call("HEAD", f"/Users/{made['id']}")
    if answer.status in (405, 501):
        return t.choice(f"HEAD is not offered: {answer.status}")
    t.status(answer, 200)
    t.equal(answer.body, b"", "body of HEAD")
    t.status(t.call("HEAD", "/Users/no-such-id"), 404)
    return t.choice("HEAD is offered")


@check("C23.replaces")
def replaces(t):
    """RFC 7644 3.5.1: PUT is 200 with the body; readWrite attributes that it leaves out are cleared
    or get their default."""
    made = t.user(**FULL)
    path = f"/Users/{made['id']}"
    body = t.user_body(made["userName"], title="Manager")
    answer = t.done(t.put(path, body))
    after = t.read(path)
    t.equal(answer.object, after, "PUT answers what GET then gives")
    t.equal(after.get("title"), "Manager", "title")
    for name in ("displayName", "nickName", "name", "emails"):
        t.verify(name not in after, f"{name} was left out, and is {after.get(name)!r}")
    t.equal(after["id"], made["id"], "id")
    t.equal(after["meta"]["created"], made["meta"]["created"], "created")
    t.equal(after["meta"]["location"], made["meta"]["location"], "location")
    if t.site.has_attribute("active"):
        t.put(path, body | {"active": False})
        t.equal(t.read(path).get("active"), False, "active after PUT with false")
        t.put(path, body)
        found = t.read(path).get("active")
        t.choice(f"active false, then left out by PUT: {found}")


@check("C23.multi-valued")
def put_multi_valued(t):
    """RFC 7644 3.5.1: PUT replaces the values of a multi-valued attribute, it does not add."""
    t.wants("emails")
    made = t.user(**FULL)
    path = f"/Users/{made['id']}"
    mails = [{"value": "new@example.com", "type": "home"}]
    t.done(t.put(path, t.user_body(made["userName"], emails=mails)))
    t.equal(t.read(path).get("emails"), mails, "emails")
    if t.site.has_groups:
        one, two = t.user()["id"], t.user()["id"]
        group = t.group(members=[one])
        t.done(t.put(f"/Groups/{group['id']}", t.group_body(group["displayName"], [two])))
        found = t.read(f"/Groups/{group['id']}").get("members") or []
        t.equal([m["value"] for m in found], [two], "members")
        t.done(t.put(f"/Groups/{group['id']}", t.group_body(group["displayName"], [])))
        t.verify(not t.read(f"/Groups/{group['id']}").get("members"), "members after PUT of []")
        t.put(f"/Groups/{group['id']}", t.group_body(group["displayName"], [one]))
        t.done(t.put(f"/Groups/{group['id']}", t.group_body(group["displayName"])))
        left = t.read(f"/Groups/{group['id']}").get("members")
        t.choice("members left out by PUT are " + ("kept" if left else "cleared"))


@check("C23.round-trip")
def round_trip(t):
    """RFC 7644 3.5.1: what GET gives can be sent back by PUT, and changes nothing."""
    made = t.user(**FULL, externalId=t.site.name("ext"))
    path = f"/Users/{made['id']}"
    answer = t.done(t.put(path, made))
    again = {k: v for k, v in answer.object.items() if k != "meta"}
    t.equal(again, {k: v for k, v in made.items() if k != "meta"}, "the user")
    if t.site.has_groups:
        group = t.group(members=[made["id"]], externalId=t.site.name("ext"))
        group = t.read(f"/Groups/{group['id']}")
        answer = t.done(t.put(f"/Groups/{group['id']}", group))
        again = {k: v for k, v in answer.object.items() if k != "meta"}
        t.equal(again, {k: v for k, v in group.items() if k != "meta"}, "the group")


@check("C23.never-creates")
def never_creates(t):
    """RFC 7644 3.5.1: PUT never creates: an unknown id is 404, and stays unknown."""
    name = t.site.name()
    t.error(t.put("/Users/no-such-id", t.user_body(name)), 404)
    t.error(t.get("/Users/no-such-id"), 404)
    if t.site.supports("filter"):
        t.equal(t.get("/Users", filter=f'userName eq "{name}"').ids, [], "users made by PUT")
    if t.site.has_groups:
        t.error(t.put("/Groups/no-such-id", t.group_body()), 404)
    t.error(t.put("/Users", t.user_body(name)), (404, 405))


@check("C23.refused-whole")
def refused_whole(t):
    """RFC 7644 3.5.1, 3.12: a PUT that is refused changes nothing."""
    made = t.user(**FULL)
    path = f"/Users/{made['id']}"
    for wrong in ({"emails": 5}, {"userName": None}, {"schemas": [GROUP]}, {"name": "x"}):
        body = t.user_body(made["userName"], title="Changed") | wrong
        t.error(t.put(path, body), 400, ("invalidValue", "invalidSyntax"))
    t.error(t.call("PUT", path, raw=b'{"userName":'), 400, "invalidSyntax")
    t.equal(t.read(path), made, "the user afterwards")


@check("C30.delete")
def delete(t):
    """RFC 7644 3.6: DELETE is 204 without body; afterwards every operation on the id is 404, and
    the resource is in no list."""
    made = t.user()
    path = f"/Users/{made['id']}"
    answer = t.delete(path)
    t.status(answer, 204)
    t.equal(answer.body, b"", "body")
    t.error(t.get(path), 404)
    t.error(t.put(path, t.user_body(made["userName"])), 404)
    if t.site.supports("patch"):
        t.error(t.patch(path, {"op": "replace", "path": "title", "value": "x"}), 404)
    t.error(t.delete(path), 404)
    if t.site.supports("filter"):
        t.equal(t.get("/Users", filter=f'userName eq "{made["userName"]}"').ids, [], "in a list")
        t.equal(t.get("/Users", filter=f'id eq "{made["id"]}"').ids, [], "by id in a list")


@check("C30.members-cleaned")
def members_cleaned(t):
    """RFC 7644 3.6: a deleted user is no member of any group, and a deleted group is in nobody's
    groups."""
    t.wants_groups()
    one, two = t.user(), t.user()
    group = t.group(members=[one["id"], two["id"]])
    t.status(t.delete(f"/Users/{one['id']}"), 204)
    found = t.read(f"/Groups/{group['id']}").get("members") or []
    t.equal([m["value"] for m in found], [two["id"]], "members")
    if t.site.supports("filter"):
        answer = t.get("/Groups", filter=f'members eq "{one["id"]}"')
        t.equal(answer.ids, [], "groups that hold the deleted user")
    t.status(t.delete(f"/Groups/{group['id']}"), 204)
    t.error(t.get(f"/Groups/{group['id']}"), 404)
    t.verify(not t.read(f"/Users/{two['id']}").get("groups"), "groups of the other member")


@check("C30.collections")
def delete_collections(t):
    """RFC 7644 3.2: a whole collection cannot be deleted."""
    for path in ("/Users", "/Groups"):
        t.error(t.delete(path), (403, 404, 405, 501))
    t.status(t.get("/Users", count="1"), 200)


# ---- C31 ----


def wants_etag(t):
    if t.site.supports("etag"):
        return
    made = t.user()
    answer = t.get(f"/Users/{made['id']}")
    t.choice("ETag is " + ("sent all the same" if answer.header("ETag") else "not sent"))
    t.skip("ServiceProviderConfig: etag is not supported")


def strong(tag):
    return tag[2:] if tag.startswith("W/") else tag


@check("C31.advertised")
def advertised(t):
    """RFC 7644 3.14: with etag.supported, GET, POST, PUT and PATCH of a resource have an ETag that
    equals meta.version; it is another one after each change."""
    wants_etag(t)
    kinds = [("/Users", t.user_body(), t.user_body)]
    if t.site.has_groups:
        kinds.append(("/Groups", t.group_body(), t.group_body))
    for endpoint, body, body_of in kinds:
        answer = t.done(t.post(endpoint, body), 201)
        path = f"{endpoint}/{answer.object['id']}"
        name = body.get("userName") or body["displayName"]
        tags = [answer.header("ETag")]
        t.equal((answer.object.get("meta") or {}).get("version"), tags[0], "meta.version, ETag")
        t.verify(tags[0].endswith('"') and '"' in tags[0][:-1], f"no entity tag: {tags[0]!r}")
        answer = t.get(path)
        t.equal(answer.header("ETag"), tags[0], "ETag of GET")
        answer = t.done(t.put(path, body_of(name, externalId="changed")))
        tags.append(answer.header("ETag"))
        t.equal((answer.object.get("meta") or {}).get("version"), tags[1], "meta.version after PUT")
        if t.site.supports("patch"):
            answer = t.patch(path, {"op": "replace", "path": "externalId", "value": "again"})
            t.status(answer, 200, 204)
            now = t.get(path).header("ETag")
            t.verify(answer.header("ETag") in ("", now), "ETag of PATCH is not the current one")
            tags.append(now)
        t.equal(len(set(tags)), len(tags), f"distinct versions of {tags}")


@check("C31.if-none-match")
def if_none_match(t):
    """RFC 7644 3.14, RFC 9110 13.1.2: GET with the current tag in If-None-Match, weak or strong,
    alone or in a list, or *, is 304 without body; with another one 200."""
    wants_etag(t)
    made = t.user()
    path = f"/Users/{made['id']}"
    tag = t.get(path).header("ETag")
    for value in (tag, strong(tag), f'"other", {tag}', f'{tag}, W/"other"', "*"):
        answer = t.call("GET", path, headers={"If-None-Match": value})
        t.status(answer, 304)
        t.equal(answer.body, b"", "body of 304")
        t.equal(strong(answer.header("ETag")), strong(tag), "ETag of 304")
    for value in ('W/"other"', '"x", "y"'):
        t.status(t.call("GET", path, headers={"If-None-Match": value}), 200)
    t.put(path, t.user_body(made["userName"], title="x"))
    t.status(t.call("GET", path, headers={"If-None-Match": tag}), 200)


@check("C31.if-match")
def if_match(t):
    """RFC 7644 3.14, RFC 9110 13.1.1: PUT, PATCH and DELETE with the current tag in If-Match, alone
    or in a list, or *, are done; with another one they are 412 and change nothing."""
    wants_etag(t)
    made = t.user()
    path = f"/Users/{made['id']}"
    for number, form in enumerate(("{}", '"other", {}', '{}, W/"other"', "*")):
        value = form.format(t.get(path).header("ETag"))
        body = t.user_body(made["userName"], title=f"title {number}")
        t.status(t.put(path, body, headers={"If-Match": value}), 200)
        t.equal(t.read(path).get("title"), f"title {number}", "title")
    before = t.read(path)
    stale = made["meta"]["version"]
    body = t.user_body(made["userName"], title="lost")
    for value in (stale, 'W/"other"', '"other"', '"x", "y"', "not-a-tag"):
        headers = {"If-Match": value}
        wanted = 412 if value != "not-a-tag" else (400, 412)
        t.error(t.put(path, body, headers=headers), wanted)
        if t.site.supports("patch"):
            op = {"op": "replace", "path": "title", "value": "lost"}
            t.error(t.patch(path, op, headers=headers), wanted)
        t.error(t.delete(path, headers=headers), wanted)
    t.equal(t.read(path), before, "the user after refused changes")
    t.status(t.delete(path, headers={"If-Match": before["meta"]["version"]}), 204)
    t.error(t.put(path, body, headers={"If-Match": "*"}), (404, 412))


@check("C31.if-match-group")
def if_match_group(t):
    """RFC 7644 3.14: the same for groups: a change of members is a new version."""
    wants_etag(t)
    made = t.group()
    path = f"/Groups/{made['id']}"
    stale = t.get(path).header("ETag")
    t.done(t.put(path, t.group_body(made["displayName"], [t.user()["id"]])))
    t.verify(t.get(path).header("ETag") != stale, "the version after a change of members")
    answer = t.put(path, t.group_body(made["displayName"], []), headers={"If-Match": stale})
    t.error(answer, 412)
    t.equal(len(t.read(path).get("members") or []), 1, "members after 412")
    t.error(t.delete(path, headers={"If-Match": stale}), 412)


@check("C31.if-none-match-write")
def if_none_match_write(t):
    """RFC 9110 13.1.2: a write with a false If-None-Match is 412 and changes nothing."""
    wants_etag(t)
    made = t.user()
    path = f"/Users/{made['id']}"
    for value in ("*", made["meta"]["version"]):
        answer = t.put(
            path, t.user_body(made["userName"], title="x"), headers={"If-None-Match": value}
        )
        t.error(answer, 412)
    t.equal(t.read(path), made, "the user afterwards")


@check("C31.lists")
def list_tags(t):
    """RFC 7644 3.14, RFC 9110 13.1.2: where a list has an ETag, it is honest: 304 only while
    nothing changed, and never for another query."""
    wants_etag(t)
    answer = t.get("/Users", count="5")
    tag = answer.header("ETag")
    if not tag:
        return t.choice("lists have no ETag")
    t.status(t.call("GET", "/Users", query={"count": "5"}, headers={"If-None-Match": tag}), 304)
    made = t.user()
    again = t.call("GET", "/Users", query={"count": "5"}, headers={"If-None-Match": tag})
    t.status(again, 200)
    tag = again.header("ETag")
    t.put(f"/Users/{made['id']}", t.user_body(made["userName"], title="x"))
    t.status(t.call("GET", "/Users", query={"count": "5"}, headers={"If-None-Match": tag}), 200)
    tag = t.get("/Users", count="5").header("ETag")
    t.delete(f"/Users/{made['id']}")
    t.status(t.call("GET", "/Users", query={"count": "5"}, headers={"If-None-Match": tag}), 200)
    return t.choice("lists have an ETag")
