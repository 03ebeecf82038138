"""C07 to C12: what attributes are, and who may change and see them (RFC 7643)."""

import json

from harness import GROUP, USER, check, flip, moment

EMAILS = [
    {"value": "one@example.com", "type": "work", "primary": True},
    {"value": "two@example.com", "type": "home"},
]


def primaries(values):
    return [v.get("value") for v in values or [] if v.get("primary") is True]


# ---- C07: primary ----


@check("C07.post-two")
def two_primaries(t):
    """RFC 7643 2.4: primary true is on one value at most; two of them are refused or settled."""
    t.wants("emails")
    body = t.user_body(emails=[dict(e, primary=True) for e in EMAILS])
    answer = t.post("/Users", body)
    if answer.status == 400:
        t.error(answer, 400, "invalidValue")
        t.choice("two primary values are refused")
    else:
        t.done(answer, 201)
        t.verify(len(primaries(answer.object.get("emails"))) <= 1, "two primary values were kept")
        t.choice("of two primary values one is kept")
    made = t.user(emails=EMAILS)
    answer = t.put(f"/Users/{made['id']}", t.user_body(made["userName"], emails=body["emails"]))
    if answer.status != 400:
        t.status(answer, 200)
    after = t.read(f"/Users/{made['id']}")
    t.verify(len(primaries(after.get("emails"))) <= 1, "two primary values after PUT")


@check("C07.patch-clears")
def patch_clears_primary(t):
    """RFC 7644 3.5.2: a value added or replaced with primary true takes it from the old one."""
    t.wants_patch()
    t.wants("emails")
    made = t.user(emails=EMAILS)
    path = f"/Users/{made['id']}"
    new = {"value": "three@example.com", "type": "other", "primary": True}
    after = t.patched(path, {"op": "add", "path": "emails", "value": [new]})
    t.equal(primaries(after.get("emails")), ["three@example.com"], "primary after add")
    t.equal(len(after.get("emails") or []), 3, "emails after add")
    where = 'emails[type eq "home"].primary'
    after = t.patched(path, {"op": "replace", "path": where, "value": True})
    t.equal(primaries(after.get("emails")), ["two@example.com"], "primary after replace")
    where = 'emails[type eq "work"]'
    value = {"value": "one@example.com", "type": "work", "primary": True}
    after = t.patched(path, {"op": "replace", "path": where, "value": value})
    t.equal(primaries(after.get("emails")), ["one@example.com"], "primary after replacing a value")
    after = t.patched(
        path, {"op": "add", "value": {"emails": [dict(new, value="four@example.com")]}}
    )
    t.equal(primaries(after.get("emails")), ["four@example.com"], "primary after add without path")


# ---- C08: mutability ----


@check("C08.read-only-ignored")
def read_only_ignored(t):
    """RFC 7643 7, RFC 7644 3.3 and 3.5.1: values for readOnly attributes are ignored in POST and
    PUT, for each attribute that the schemas call readOnly."""
    lies = {}
    for attribute in t.site.attributes(USER):
        if attribute.get("mutability") == "readOnly" and attribute["name"] not in ("id", "meta"):
            lies[attribute["name"]] = lie_for(attribute)
    lies.setdefault("groups", [{"value": "nowhere", "display": "lie"}])
    for urn in t.site.extensions("User"):
        part = {
            a["name"]: lie_for(a)
            for a in t.site.attributes(urn)
            if a.get("mutability") == "readOnly"
        }
        if part:
            lies[urn] = part
    lies.pop("schemas", None)
    plain = t.user()
    made = t.create("/Users", t.user_body(**lies))
    again = t.put(f"/Users/{made['id']}", t.user_body(made["userName"], **lies))
    t.status(again, 200)
    for body in (made, again.object):
        for name, lie in lies.items():
            found = body.get(name)
            if isinstance(lie, dict):
                for sub, value in lie.items():
                    t.verify((found or {}).get(sub) != value, f"{name}:{sub} was taken: {value!r}")
            else:
                t.verify(found != lie and not is_part(lie, found), f"{name} was taken: {lie!r}")
    t.equal(sorted(made), sorted({**plain, **made}), "attributes beside those of a plain user")


def lie_for(attribute):
    value = {"integer": 424242, "boolean": True, "decimal": 4.25}.get(attribute.get("type"), "lie")
    if attribute.get("type") == "complex":
        value = {sub["name"]: lie_for(sub) for sub in attribute.get("subAttributes") or []}
    return [value] if attribute.get("multiValued") else value


def is_part(lie, found):
    return isinstance(lie, list) and isinstance(found, list) and any(v in found for v in lie)


@check("C08.read-only-patch")
def read_only_patch(t):
    """RFC 7644 3.5.2, 3.12: PATCH with a path to a readOnly attribute is 400 mutability, for add,
    replace and remove."""
    t.wants_patch()
    made = t.user()
    path = f"/Users/{made['id']}"
    targets = [("groups", [{"value": "x"}]), ("id", "x")]
    for urn in t.site.extensions("User"):
        for attribute in t.site.attributes(urn):
            if attribute.get("mutability") == "readOnly":
                targets.append((f"{urn}:{attribute['name']}", lie_for(attribute)))
    for where, value in targets:
        for op in ("add", "replace"):
            answer = t.patch(path, {"op": op, "path": where, "value": value})
            t.error(answer, 400, "mutability")
        t.error(t.patch(path, {"op": "remove", "path": where}), 400, "mutability")
    after = t.read(path)
    t.equal(after, made, "the user after refused changes")


@check("C08.read-only-in-value")
def read_only_in_value(t):
    """RFC 7644 3.5.2: a readOnly attribute inside the value of a PATCH without path is ignored or
    refused as mutability; it never changes."""
    t.wants_patch()
    t.wants("displayName")
    made = t.user()
    path = f"/Users/{made['id']}"
    value = {"id": "x", "displayName": "New", "groups": [{"value": "x"}]}
    answer = t.patch(path, {"op": "replace", "value": value})
    after = t.read(path)
    if answer.status == 400:
        t.error(answer, 400, "mutability")
        t.equal(after.get("displayName"), made.get("displayName"), "displayName")
        t.choice("readOnly names in a PATCH value are refused")
    else:
        t.status(answer, 200, 204)
        t.equal(after.get("displayName"), "New", "displayName")
        t.choice("readOnly names in a PATCH value are ignored")
    t.equal(after["id"], made["id"], "id")
    t.verify("groups" not in after, "groups was taken")


@check("C08.immutable")
def immutable(t):
    """RFC 7643 7: an immutable attribute is set once; changing it is 400 mutability. Also
    members.value and its siblings, RFC 7643 8.7.1."""
    t.wants_patch()
    t.wants_groups()
    one, two = t.user(), t.user()
    made = t.group(members=[one["id"]])
    where = f'members[value eq "{one["id"]}"].value'
    answer = t.patch(f"/Groups/{made['id']}", {"op": "replace", "path": where, "value": two["id"]})
    t.error(answer, 400, "mutability")
    where = f'members[value eq "{one["id"]}"].type'
    answer = t.patch(f"/Groups/{made['id']}", {"op": "replace", "path": where, "value": "Group"})
    t.error(answer, 400, "mutability")
    after = t.read(f"/Groups/{made['id']}")
    t.equal([m["value"] for m in after.get("members") or []], [one["id"]], "members afterwards")


@check("C08.write-only")
def write_only(t):
    """RFC 7643 4.1.1, 7: password is never returned: not by POST, GET, PUT, PATCH, lists or search,
    not when asked for, and not by way of a filter."""
    t.wants("password")
    secret = "Kx9!" + t.site.word(24)
    made = t.user(password=secret)
    path = f"/Users/{made['id']}"
    answers = [t.last, t.get(path), t.get(path, attributes="password,userName")]
    answers.append(t.put(path, t.user_body(made["userName"], password=secret)))
    if t.site.supports("patch"):
        op = {"op": "replace", "path": "password", "value": secret + "2"}
        answer = t.patch(path, op, query={"attributes": "password"})
        if answer.status == 400:
            t.error(answer, 400)
            t.choice("PATCH of password is refused")
        else:
            t.status(answer, 200, 204)
        answers.append(answer)
    answers.append(t.get("/Users", attributes="password", count="5"))
    for answer in answers:
        text = answer.body.decode("utf-8", "replace")
        t.verify(secret not in text, "the password is in an answer", answer)
        t.verify('"password"' not in text, "password is in an answer", answer)
    if t.site.supports("filter"):
        right = t.get("/Users", filter=f'id eq "{made["id"]}" and password eq "{secret}"')
        wrong = t.get("/Users", filter=f'id eq "{made["id"]}" and password eq "wrong"')
        same = (right.status, right.ids) == (wrong.status, wrong.ids)
        t.verify(same, "a filter tells the right password from a wrong one", right)


# ---- C09: returned ----


@check("C09.always")
def returned_always(t):
    """RFC 7643 7, RFC 7644 3.9: what is returned always (id, schemas) is in every answer, whatever
    attributes and excludedAttributes say."""
    made = t.user()
    path = f"/Users/{made['id']}"
    for query in ({"attributes": "userName"}, {"excludedAttributes": "id,schemas,userName"}):
        for answer in (t.get(path, **query), t.get("/Users", count="3", **query)):
            bodies = answer.resources or [answer.object]
            for body in bodies:
                t.verify("id" in body and "schemas" in body, f"id or schemas left out by {query}")


@check("C09.request")
def returned_request(t):
    """RFC 7643 7: what is returned on request is in an answer only when asked for."""
    found = [
        (urn, attribute["name"])
        for urn in (USER, *t.site.extensions("User"))
        for attribute in t.site.attributes(urn)
        if attribute.get("returned") == "request"
    ]
    if not found:
        t.skip("no schema has an attribute that is returned on request")
    made = t.user()
    for urn, name in found:
        inside = made if urn == USER else made.get(urn) or {}
        t.verify(name not in inside, f"{urn}:{name} is returned without being asked for")


@check("C09.never")
def returned_never(t):
    """RFC 7643 7: what is never returned stays out of every answer, also when asked for."""
    made = t.user()
    for urn in (USER, *t.site.extensions("User")):
        for attribute in t.site.attributes(urn):
            if attribute.get("returned") != "never":
                continue
            name = attribute["name"] if urn == USER else f"{urn}:{attribute['name']}"
            answer = t.get(f"/Users/{made['id']}", attributes=name)
            t.verify(attribute["name"] not in json.dumps(answer.object), f"{name} is returned")


# ---- C10: required and unique ----


@check("C10.required")
def required(t):
    """RFC 7643 7, RFC 7644 3.12: a body without a required attribute, or with an empty one, is 400
    invalidValue, in POST and PUT."""
    made = t.user()
    for body in ({"schemas": [USER]}, {"schemas": [USER], "userName": None}):
        t.error(t.post("/Users", body), 400, "invalidValue")
        t.error(t.put(f"/Users/{made['id']}", body), 400, "invalidValue")
    t.error(t.post("/Users", {"schemas": [USER], "userName": ""}), 400, "invalidValue")
    t.equal(t.read(f"/Users/{made['id']}")["userName"], made["userName"], "userName afterwards")
    if t.site.has_groups and (t.site.attribute(GROUP, "displayName") or {}).get("required"):
        t.error(t.post("/Groups", {"schemas": [GROUP]}), 400, "invalidValue")


@check("C10.uniqueness-post")
def uniqueness_post(t):
    """RFC 7644 3.3, 3.12: a second user of the same userName is 409 uniqueness, also right after
    a deletion failed to happen; after a deletion the name is free."""
    made = t.user()
    t.error(t.post("/Users", t.user_body(made["userName"])), 409, "uniqueness")
    t.status(t.delete(f"/Users/{made['id']}"), 204)
    again = t.user(made["userName"])
    t.verify(again["id"] != made["id"], "the id was used again")


@check("C10.uniqueness-change")
def uniqueness_change(t):
    """RFC 7644 3.5.1, 3.5.2, 3.12: PUT or PATCH to a taken userName is 409 uniqueness and changes
    nothing; to its own name, in whatever case, it is fine."""
    one, two = t.user(), t.user()
    path = f"/Users/{two['id']}"
    t.error(t.put(path, t.user_body(one["userName"])), 409, "uniqueness")
    t.error(t.put(path, t.user_body(flip(one["userName"]))), 409, "uniqueness")
    if t.site.supports("patch"):
        op = {"op": "replace", "path": "userName", "value": one["userName"]}
        t.error(t.patch(path, op), 409, "uniqueness")
    t.equal(t.read(path)["userName"], two["userName"], "userName after refused changes")
    answer = t.put(path, t.user_body(flip(two["userName"])))
    t.status(answer, 200)
    t.equal(answer.object.get("userName"), flip(two["userName"]), "userName in other case")


# ---- C11: groups and members ----


@check("C11.members")
def members(t):
    """RFC 7643 4.2: members have value, $ref, type and display; none means no members at all."""
    t.wants_groups()
    person = t.user(displayName="Ada Example")
    t.verify(
        "members" not in t.group() or not t.last.object["members"], "members of an empty group"
    )
    made = t.group(members=[person["id"]])
    t.done(t.get(f"/Groups/{made['id']}"))
    found = t.last.object.get("members") or []
    t.equal([m.get("value") for m in found], [person["id"]], "members")
    for member in found:
        reference = member.get("$ref") or ""
        t.verify(reference.endswith(f"Users/{person['id']}"), f"$ref of a member: {reference!r}")
        t.equal(member.get("type"), "User", "type of a member")
        if "://" in reference:
            t.equal(t.call("GET", reference).object.get("id"), person["id"], "what $ref leads to")
        if "display" in member:
            t.verify(isinstance(member["display"], str) and member["display"], "display")


@check("C11.unknown-member")
def unknown_member(t):
    """RFC 7643 4.2: a member that does not exist is refused; nothing is made or changed."""
    t.wants_groups()
    name = t.site.name("g")
    answer = t.post("/Groups", t.group_body(name, ["no-such-id-" + t.site.word()]))
    t.error(answer, (400, 404), ("invalidValue", "noTarget", ""))
    if t.site.supports("filter"):
        found = t.get("/Groups", filter=f'displayName eq "{name}"')
        t.equal(found.ids, [], "groups of the refused name")
    if t.site.supports("patch"):
        made = t.group()
        op = {"op": "add", "path": "members", "value": [{"value": "no-such-" + t.site.word()}]}
        answer = t.patch(f"/Groups/{made['id']}", op)
        t.error(answer, (400, 404), ("invalidValue", "noTarget", ""))
        t.verify(not t.read(f"/Groups/{made['id']}").get("members"), "members afterwards")


@check("C11.groups-derived")
def groups_derived(t):
    """RFC 7643 4.1.2: User.groups follows the groups' members: value, $ref, display, type
    direct."""
    t.wants_groups()
    person = t.user()
    made = t.group(members=[person["id"]])
    path = f"/Users/{person['id']}"
    found = t.read(path).get("groups") or []
    t.equal([g.get("value") for g in found], [made["id"]], "groups of a member")
    for each in found:
        t.verify((each.get("$ref") or "").endswith(f"Groups/{made['id']}"), f"$ref: {each}")
        t.verify(each.get("display") in (None, made["displayName"]), f"display: {each}")
        t.verify(each.get("type") in (None, "direct"), f"type: {each}")
    if t.site.supports("filter"):
        query = f'groups.value eq "{made["id"]}"'
        t.equal(t.get("/Users", filter=query).ids, [person["id"]], f"users with {query}")
    t.put(f"/Groups/{made['id']}", t.group_body(made["displayName"], []))
    t.verify(not t.read(path).get("groups"), "groups after the group lost its members")


@check("C11.nested")
def nested(t):
    """RFC 7643 4.2: a member may be a group; then its type is Group. Refusing them is a choice, a
    circle never makes the server fail."""
    t.wants_groups()
    person = t.user()
    inner = t.group(members=[person["id"]])
    answer = t.post("/Groups", t.group_body(members=[inner["id"]]))
    if answer.status != 201:
        t.error(answer, (400, 409, 501))
        return t.choice("nested groups are refused")
    outer = answer.object
    found = t.read(f"/Groups/{outer['id']}").get("members") or []
    t.equal([(m.get("value"), m.get("type")) for m in found], [(inner["id"], "Group")], "members")
    t.verify((found[0].get("$ref") or "").endswith(f"Groups/{inner['id']}"), "$ref of a group")
    mine = {g["value"]: g.get("type") for g in t.read(f"/Users/{person['id']}").get("groups") or []}
    t.verify(mine.get(inner["id"]) in ("direct", None) and inner["id"] in mine, f"groups: {mine}")
    if outer["id"] in mine:
        t.equal(mine[outer["id"]], "indirect", "type of a group that holds one's group")
    t.choice("indirect groups are " + ("shown" if outer["id"] in mine else "not shown"))
    body = t.group_body(inner["displayName"], [person["id"], outer["id"]])
    answer = t.put(f"/Groups/{inner['id']}", body)
    t.verify(answer.status in (200, 400, 409), f"a circle of groups: {answer.status}")
    t.choice("a circle of groups is " + ("accepted" if answer.status == 200 else "refused"))
    t.status(t.get(f"/Groups/{outer['id']}"), 200)
    return None


@check("C11.self-member")
def self_member(t):
    """RFC 7643 4.2: a group as its own member is refused, or kept without harm."""
    t.wants_patch()
    made = t.group()
    path = f"/Groups/{made['id']}"
    answer = t.patch(path, {"op": "add", "path": "members", "value": [{"value": made["id"]}]})
    t.verify(answer.status in (200, 204, 400, 409), f"status {answer.status}")
    t.choice("a group in itself is " + ("kept" if answer.status < 300 else "refused"))
    t.status(t.get(path), 200)


# ---- C12: types ----


@check("C12.types")
def types(t):
    """RFC 7643 2.3: values have the JSON type of their attribute, by the schemas: booleans, numbers
    never quoted, dateTimes with a zone, lists where multiValued."""
    rich = {"active": True, "emails": EMAILS, "name": {"familyName": "B"}}
    t.user(**{name: value for name, value in rich.items() if t.site.has_attribute(name)})
    answer = t.get("/Users", count="20")
    for name in ("totalResults", "startIndex", "itemsPerPage"):
        value = answer.object.get(name)
        t.verify(isinstance(value, int) and not isinstance(value, bool), f"{name} is {value!r}")
    for body in answer.resources:
        check_types(t, t.site.attributes(USER), body, "")
        for urn in t.site.extensions("User"):
            check_types(t, t.site.attributes(urn), body.get(urn) or {}, urn + ":")


def check_types(t, attributes, body, where):
    for attribute in attributes:
        value = body.get(attribute["name"])
        if value is None:
            continue
        name = where + attribute["name"]
        if bool(attribute.get("multiValued")) != isinstance(value, list):
            t.fail(f"{name}: multiValued is {attribute.get('multiValued')}, the value {value!r}")
            continue
        for item in value if isinstance(value, list) else [value]:
            if not fits(attribute.get("type"), item):
                t.fail(f"{name}: {item!r} is no {attribute.get('type')}")
            elif attribute.get("type") == "complex":
                check_types(t, attribute.get("subAttributes") or [], item, name + ".")


def fits(kind, value):
    if kind == "dateTime":
        try:
            moment(value)
        except ValueError:
            return False
        return True
    if kind in ("integer", "decimal"):
        wanted = int if kind == "integer" else (int, float)
        return isinstance(value, wanted) and not isinstance(value, bool)
    wanted = {"boolean": bool, "complex": dict}.get(kind, str)
    return isinstance(value, wanted)


@check("C12.boolean-input")
def boolean_input(t):
    """RFC 7643 2.3.2: a boolean is true or false; a string instead is refused, or understood as
    some providers send it, and returned as a boolean."""
    t.wants("active")
    answer = t.post("/Users", t.user_body(active="False"))
    if answer.status == 400:
        t.error(answer, 400, ("invalidValue", "invalidSyntax"))
        t.choice("booleans as strings are refused")
    else:
        t.done(answer, 201)
        t.equal(answer.object.get("active"), False, "active of a body with the string False")
        t.choice("booleans as strings are understood")
    answer = t.post("/Users", t.user_body(active="maybe"))
    t.error(answer, 400, ("invalidValue", "invalidSyntax"))
    answer = t.post("/Users", t.user_body(active=5))
    t.error(answer, 400, ("invalidValue", "invalidSyntax"))


@check("C12.wrong-types")
def wrong_types(t):
    """RFC 7643 2.3, RFC 7644 3.12: a value of the wrong JSON type is 400 invalidValue (or
    invalidSyntax), and nothing is made."""
    name = t.site.name()
    for wrong in (
        {"userName": {"x": 1}},
        {"userName": ["a", "b"]},
        {"userName": 5},
        {"displayName": 5},
        {"name": 5},
        {"name": [{"givenName": "a"}, {"givenName": "b"}]},
        {"emails": 5},
        {"emails": [5]},
        {"emails": [{"value": {"x": 1}}]},
        {"emails": [{"value": "a@example.com", "primary": "perhaps"}]},
    ):
        answer = t.post("/Users", t.user_body(name) | wrong)
        t.error(answer, 400, ("invalidValue", "invalidSyntax"))
    if t.site.supports("filter"):
        t.equal(t.get("/Users", filter=f'userName eq "{name}"').ids, [], "users made by mistake")


@check("C12.strings")
def strings(t):
    """RFC 7643 2.3.1, RFC 8259: text of every script comes back as it was sent."""
    t.wants("displayName")
    for text in (
        "J\u00f6rg \u00c5str\u00f6m",
        "\u65e5\u672c\u8a9e",
        "\U0001f600 smile",
        "quote \" back \\ slash / 'x'",
        "e\u0301 (two code points)",
        "  spaces  ",
        "<b>&amp;",
    ):
        made = t.user(displayName=text)
        t.equal(made.get("displayName"), text, "displayName of the created user")
        t.equal(t.read(f"/Users/{made['id']}").get("displayName"), text, "displayName when read")
