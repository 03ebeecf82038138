"""C01 to C06: names, schemas, identifiers and unassigned values of RFC 7643."""

import time
import urllib.parse

from harness import ENTERPRISE, GROUP, USER, check, flip, moment

EMAILS = [
    {"value": "one@example.com", "type": "work", "primary": True},
    {"value": "two@example.com", "type": "home"},
]


# ---- C01: case ----


@check("C01.attribute-names")
def attribute_names(t):
    """RFC 7643 2.1: names of attributes and sub-attributes compare without case, in POST, PUT and
    PATCH; answers use the case of the schema."""
    t.wants("displayName", "name")
    name = t.site.name()
    body = {"SCHEMAS": [USER], "USERNAME": name, "displayname": "One", "NAME": {"GIVENNAME": "Ada"}}
    made = t.create("/Users", body)
    t.equal(made.get("userName"), name, "userName of a body with USERNAME")
    t.equal(made.get("displayName"), "One", "displayName of a body with displayname")
    t.equal((made.get("name") or {}).get("givenName"), "Ada", "name.givenName from NAME.GIVENNAME")
    path = f"/Users/{made['id']}"
    answer = t.put(path, {"schemas": [USER], "UserName": name, "DISPLAYNAME": "Two"})
    t.status(answer, 200)
    t.equal(answer.object.get("displayName"), "Two", "displayName after PUT with DISPLAYNAME")
    if t.site.supports("patch"):
        after = t.patched(path, {"op": "replace", "path": "dIsPlAyNaMe", "value": "Three"})
        t.equal(after.get("displayName"), "Three", "displayName after PATCH of dIsPlAyNaMe")
        after = t.patched(path, {"op": "replace", "value": {"DisplayNAME": "Four"}})
        t.equal(after.get("displayName"), "Four", "displayName after PATCH without path")


@check("C01.schema-uris")
def schema_uris(t):
    """RFC 7643 2.1 and 3.1: schema URIs compare without case, in schemas, as keys and in PATCH."""
    body = t.user_body()
    body["schemas"] = [flip(USER)]
    made = t.create("/Users", body)
    t.names_schemas(made, USER)
    if not t.site.has_enterprise:
        return t.choice("no enterprise extension: only the core URI was tried")
    body = t.user_body()
    body["schemas"] = [USER, flip(ENTERPRISE)]
    body[flip(ENTERPRISE)] = {"department": "Tools"}
    made = t.create("/Users", body)
    t.equal((made.get(ENTERPRISE) or {}).get("department"), "Tools", "department by flipped URI")
    if t.site.supports("patch"):
        where = flip(ENTERPRISE) + ":department"
        after = t.patched(
            f"/Users/{made['id']}", {"op": "replace", "path": where, "value": "Sales"}
        )
        t.equal((after.get(ENTERPRISE) or {}).get("department"), "Sales", "department after PATCH")
    return None


@check("C01.duplicate-names")
def duplicate_names(t):
    """RFC 7643 2.1: the same name twice in other case is one attribute; refused or one value
    wins."""
    t.wants("displayName")
    body = t.user_body(displayName="One") | {"DISPLAYNAME": "Two"}
    answer = t.post("/Users", body)
    if answer.status == 400:
        t.error(answer, 400, ("invalidSyntax", "invalidValue"))
        return t.choice("a name that comes twice is refused")
    t.done(answer, 201)
    names = [key for key in answer.object if key.lower() == "displayname"]
    t.equal(names, ["displayName"], "members called displayName in the answer")
    return t.choice("a name that comes twice: one value is kept")


@check("C01.values-without-case")
def values_without_case(t):
    """RFC 7643 4.1.1, 7 (caseExact false): userName is unique and found whatever its case."""
    name = t.site.name("Case")
    made = t.user(name)
    t.equal(made["userName"], name, "userName is kept as it came")
    t.error(t.post("/Users", t.user_body(flip(name))), 409, "uniqueness")
    if t.site.supports("filter"):
        answer = t.get("/Users", filter=f'userName eq "{flip(name)}"')
        t.equal(answer.ids, [made["id"]], "users found by userName in other case")


@check("C01.values-with-case")
def values_with_case(t):
    """RFC 7643 3.1 (caseExact true): id and externalId compare with case."""
    outer = t.site.name("Ext")
    made = t.user(externalId=outer)
    if made["id"] != flip(made["id"]):
        t.error(t.get(f"/Users/{flip(made['id'])}"), 404)
    if t.site.supports("filter"):
        found = t.get("/Users", filter=f'externalId eq "{outer}"')
        t.equal(found.ids, [made["id"]], "users found by externalId")
        found = t.get("/Users", filter=f'externalId eq "{flip(outer)}"')
        t.equal(found.ids, [], "users found by externalId in other case")
        found = t.get("/Users", filter=f'id eq "{flip(made["id"])}"')
        if made["id"] != flip(made["id"]):
            t.equal(found.ids, [], "users found by id in other case")


@check("C01.group-names")
def group_names(t):
    """RFC 7643 4.2: displayName of a group is found whatever its case (caseExact false)."""
    t.wants_filter()
    name = t.site.name("Team")
    made = t.group(name)
    answer = t.get("/Groups", filter=f'displayName eq "{flip(name)}"')
    t.equal(answer.ids, [made["id"]], "groups found by displayName in other case")
    again = t.post("/Groups", t.group_body(flip(name)))
    if again.status == 409:
        t.error(again, 409, "uniqueness")
        return t.choice("displayName of groups is unique")
    t.status(again, 201)
    return t.choice("groups may share a displayName")


# ---- C02: schemas ----


@check("C02.schemas")
def schemas(t):
    """RFC 7643 3: schemas is there, not empty, without duplicates, and names what is in the
    resource: the core schema, and each extension that has data."""
    made = t.user()
    for body in (made, *t.get("/Users", count="20").resources):
        t.names_schemas(body, USER)
    if t.site.has_groups:
        for body in (t.group(), *t.get("/Groups", count="20").resources):
            t.names_schemas(body, GROUP)


@check("C02.extension-key")
def extension_key(t):
    """RFC 7643 3.3: data of an extension are under its URI and nowhere else."""
    if not t.site.has_enterprise:
        t.skip("ResourceTypes has no enterprise extension")
    made = t.user(**{ENTERPRISE: {"employeeNumber": "701984"}})
    t.equal(made.get(ENTERPRISE), {"employeeNumber": "701984"}, "the extension's data")
    t.names_schemas(made, USER, ENTERPRISE)
    t.verify("employeeNumber" not in made, "employeeNumber is among the core attributes")
    answer = t.post("/Users", t.user_body(employeeNumber="1"))
    if answer.status == 201:
        t.verify(
            ENTERPRISE not in answer.object,
            "an extension's attribute outside of its URI was taken into the extension",
        )
        t.choice("an attribute of an extension at the top is ignored")
    else:
        t.error(answer, 400, ("invalidSyntax", "invalidValue"))


@check("C02.extension-removed")
def extension_removed(t):
    """RFC 7643 3.1, 3.3: an extension whose last attribute goes leaves no key behind."""
    t.wants_patch()
    if not t.site.has_enterprise:
        t.skip("ResourceTypes has no enterprise extension")
    made = t.user(**{ENTERPRISE: {"department": "Tools"}})
    after = t.patched(f"/Users/{made['id']}", {"op": "remove", "path": ENTERPRISE + ":department"})
    t.verify(not after.get(ENTERPRISE), f"{ENTERPRISE} has data: {after.get(ENTERPRISE)}")
    t.verify(ENTERPRISE not in after, "an empty extension is in the answer")


@check("C02.wrong-schemas")
def wrong_schemas(t):
    """RFC 7643 3: a body names the schemas that it uses; one that names another type's is refused,
    one without schemas is refused or read as its endpoint's type."""
    body = t.user_body()
    answer = t.post("/Users", body | {"schemas": [GROUP]})
    t.error(answer, 400, ("invalidSyntax", "invalidValue"))
    answer = t.post("/Users", body | {"schemas": []})
    t.error(answer, 400, ("invalidSyntax", "invalidValue"))
    answer = t.post("/Users", body | {"schemas": "x"})
    t.error(answer, 400, ("invalidSyntax", "invalidValue"))
    without = {key: value for key, value in t.user_body().items() if key != "schemas"}
    answer = t.post("/Users", without)
    if answer.status == 201:
        t.choice("a body without schemas is accepted")
    else:
        t.error(answer, 400, ("invalidSyntax", "invalidValue"))
        t.choice("a body without schemas is refused")


@check("C02.unknown-schema")
def unknown_schema(t):
    """RFC 7644 3.3: an unknown schema URI and its data are ignored or refused, never returned."""
    urn = "urn:example:params:scim:schemas:extension:unknown:2.0:User"
    answer = t.post("/Users", t.user_body(**{urn: {"x": 1}}))
    if answer.status == 400:
        t.error(answer, 400, ("invalidSyntax", "invalidValue"))
        return t.choice("unknown extensions are refused")
    t.done(answer, 201)
    t.verify(urn not in answer.object and urn not in answer.object["schemas"], "it is returned")
    return t.choice("unknown extensions are ignored")


# ---- C03: id ----


@check("C03.server-assigned")
def server_assigned(t):
    """RFC 7643 3.1: id is the server's; one that a client sends in POST or PUT is ignored."""
    wished = t.site.name("id")
    made = t.user(id=wished)
    t.verify(made["id"] != wished, "the client's id was taken")
    t.status(t.get(f"/Users/{wished}"), 404)
    other = t.user()
    answer = t.put(f"/Users/{made['id']}", t.user_body(made["userName"], id=other["id"]))
    t.status(answer, 200)
    t.equal(answer.object.get("id"), made["id"], "id after PUT with another one")
    t.equal(t.read(f"/Users/{other['id']}")["userName"], other["userName"], "the other user")


@check("C03.stable-and-unique")
def stable_and_unique(t):
    """RFC 7643 3.1: ids are not empty, unique across types, not reused, stable under changes, and
    never hold the keyword bulkId."""
    ids = []
    name = t.site.name()
    for _ in range(3):
        made = t.user(name)
        ids.append(made["id"])
        t.status(t.delete(f"/Users/{made['id']}"), 204)
    if t.site.has_groups:
        ids.append(t.group()["id"])
    made = t.user(name)
    ids.append(made["id"])
    t.equal(len(set(ids)), len(ids), f"distinct ids of {ids}")
    for each in ids:
        t.verify(isinstance(each, str) and each, "an empty id")
        t.verify("bulkid" not in each.lower(), f"the id {each} holds bulkId")
        t.equal(urllib.parse.quote(each, safe=""), each, "id as a part of a path")
    answer = t.put(f"/Users/{made['id']}", t.user_body(t.site.name()))
    t.equal(answer.object.get("id"), made["id"], "id after a change of userName")


@check("C03.id-in-patch")
def id_in_patch(t):
    """RFC 7644 3.5.2: id cannot be changed by PATCH; with a path the error is mutability."""
    t.wants_patch()
    made = t.user()
    path = f"/Users/{made['id']}"
    t.error(t.patch(path, {"op": "replace", "path": "id", "value": "x"}), 400, "mutability")
    t.error(t.patch(path, {"op": "remove", "path": "id"}), 400, "mutability")
    t.equal(t.read(path)["id"], made["id"], "id afterwards")


# ---- C04: meta ----


@check("C04.meta")
def meta(t):
    """RFC 7643 3.1: meta has resourceType, created, lastModified and location, and version where
    ETags are supported; in POST, GET and lists."""
    kinds = [("User", "/Users", t.user())]
    if t.site.has_groups:
        kinds.append(("Group", "/Groups", t.group()))
    for kind, endpoint, made in kinds:
        read = t.read(f"{endpoint}/{made['id']}")
        listed = []
        if t.site.supports("filter"):
            listed = t.get(endpoint, filter=f'id eq "{made["id"]}"').resources
            t.equal(len(listed), 1, f"{kind}s found by id")
        for body in (made, read, *listed):
            found = body.get("meta") or {}
            t.equal(found.get("resourceType"), kind, "meta.resourceType")
            for name in ("created", "lastModified"):
                try:
                    moment(found.get(name))
                except ValueError as wrong:
                    t.fail(f"meta.{name}: {wrong}")
            location = found.get("location") or ""
            t.verify(
                location.endswith(f"{endpoint}/{made['id']}") and "://" in location,
                f"meta.location is no absolute URI of the resource: {location!r}",
            )
            if t.site.supports("etag"):
                t.verify(
                    isinstance(found.get("version"), str) and found["version"],
                    "meta.version is missing, but etag.supported is true",
                )
        t.equal(read.get("meta"), made.get("meta"), "meta in GET against POST")


@check("C04.read-only")
def meta_read_only(t):
    """RFC 7643 3.1: what a client sends as meta is ignored in POST and PUT."""
    lies = {
        "resourceType": "Group",
        "created": "1999-01-01T00:00:00Z",
        "lastModified": "1999-01-01T00:00:00Z",
        "location": "https://example.com/elsewhere",
        "version": 'W/"lie"',
    }
    body = t.user_body(meta=lies)
    made = t.create("/Users", body)
    again = t.put(f"/Users/{made['id']}", body | {"title": "x"})
    t.status(again, 200)
    for found in (made.get("meta") or {}, again.object.get("meta") or {}):
        for name, lie in lies.items():
            t.verify(found.get(name) != lie, f"the client's meta.{name} was taken: {lie}")
    t.equal((again.object.get("meta") or {}).get("created"), made["meta"]["created"], "created")


@check("C04.last-modified")
def last_modified(t):
    """RFC 7643 3.1: lastModified and version follow changes; created never does."""
    t.wants("displayName")
    made = t.user(displayName="One")
    path = f"/Users/{made['id']}"
    created = moment(made["meta"]["created"])
    t.verify(moment(made["meta"]["lastModified"]) >= created, "lastModified before created")
    deadline = time.monotonic() + 5
    while True:  # clocks of servers may count whole seconds
        after = t.put(path, t.user_body(made["userName"], displayName=t.site.word())).object
        if moment(after["meta"]["lastModified"]) > moment(made["meta"]["lastModified"]):
            break
        if time.monotonic() > deadline:
            t.fail("lastModified did not move within 5 s of changes")
            break
        time.sleep(0.05)
    t.equal(after["meta"]["created"], made["meta"]["created"], "created after a change")
    if t.site.supports("etag"):
        t.verify(after["meta"]["version"] != made["meta"]["version"], "version after a change")


@check("C04.read-only-paths")
def meta_paths(t):
    """RFC 7644 3.5.2, 3.12: PATCH of meta or a part of it is 400 mutability."""
    t.wants_patch()
    made = t.user()
    path = f"/Users/{made['id']}"
    for part, value in (
        ("meta.created", "1999-01-01T00:00:00Z"),
        ("meta.resourceType", "Group"),
        ("meta", {"version": "1"}),
        ("schemas", [GROUP]),
    ):
        answer = t.patch(path, {"op": "replace", "path": part, "value": value})
        if part == "schemas" and answer.status in (200, 204):
            t.choice("PATCH of schemas is accepted")
            continue
        t.error(answer, 400, ("mutability", "invalidValue") if part == "schemas" else "mutability")
    t.equal(t.read(path).get("meta"), made.get("meta"), "meta after refused changes")


# ---- C05: externalId ----


@check("C05.external-id")
def external_id(t):
    """RFC 7643 3.1: externalId is the client's: kept as sent, changed and cleared by PUT and
    PATCH."""
    outer = "Ext/ 'x' \u00e4 " + t.site.name()
    made = t.user(externalId=outer)
    path = f"/Users/{made['id']}"
    t.equal(made.get("externalId"), outer, "externalId of the created user")
    t.equal(t.read(path).get("externalId"), outer, "externalId when read")
    t.put(path, t.user_body(made["userName"], externalId="next-" + outer))
    t.equal(t.read(path).get("externalId"), "next-" + outer, "externalId after PUT")
    t.put(path, t.user_body(made["userName"], externalId=None))
    t.verify("externalId" not in t.read(path), "externalId after PUT with null")
    if t.site.supports("patch"):
        after = t.patched(path, {"op": "add", "path": "externalId", "value": outer})
        t.equal(after.get("externalId"), outer, "externalId after PATCH add")
        after = t.patched(path, {"op": "remove", "path": "externalId"})
        t.verify("externalId" not in after, "externalId after PATCH remove")
    if t.site.has_groups:
        made = t.group(externalId=outer)
        t.equal(t.read(f"/Groups/{made['id']}").get("externalId"), outer, "externalId of a group")


@check("C05.not-an-identifier")
def external_id_types(t):
    """RFC 7643 3.1: externalId is unique at most within one type and one client; the same value on
    a user and a group is no clash."""
    outer = t.site.name("ext")
    t.user(externalId=outer)
    if t.site.has_groups:
        t.group(externalId=outer)
    again = t.post("/Users", t.user_body(externalId=outer))
    if again.status == 409:
        t.error(again, 409, "uniqueness")
        return t.choice("externalId is unique within a client's users")
    t.status(again, 201)
    return t.choice("two users may have one externalId")


@check("C05.other-client")
def external_id_other_client(t):
    """RFC 7643 3.1: externalId belongs to the client that set it; others see it or do not, but
    never a different one."""
    if t.site.reader is None:
        t.skip("needs a second client: --read-token-file")
    outer = t.site.name("ext")
    made = t.user(externalId=outer)
    answer = t.done(t.call("GET", f"/Users/{made['id']}", client=t.site.reader), 200)
    seen = answer.object.get("externalId")
    t.verify(seen in (None, outer), f"another client sees externalId {seen!r}")
    t.choice("externalId is " + ("shown to" if seen else "hidden from") + " other clients")


# ---- C06: unassigned ----


@check("C06.post")
def unassigned_in_post(t):
    """RFC 7643 2.5: null, and an empty list, mean unassigned: accepted and not in the answer."""
    empty = {"displayName": None, "name": None, "emails": [], "roles": [], "phoneNumbers": None}
    empty = {name: value for name, value in empty.items() if t.site.has_attribute(name)}
    made = t.user(**empty)
    for name in empty:
        t.verify(name not in made, f"{name} was unassigned and is {made.get(name)!r}")
    t.verify(None not in made.values(), "a null in an answer")
    t.verify([] not in made.values(), "an empty list in an answer")


@check("C06.put")
def unassigned_in_put(t):
    """RFC 7643 2.5, RFC 7644 3.5.1: PUT with null or an empty list clears the attribute."""
    t.wants("displayName", "emails", "name")
    made = t.user(displayName="One", emails=EMAILS, name={"givenName": "A", "familyName": "B"})
    path = f"/Users/{made['id']}"
    body = t.user_body(made["userName"], displayName=None, emails=[], name=None)
    t.status(t.put(path, body), 200)
    after = t.read(path)
    for name in ("displayName", "emails", "name"):
        t.verify(name not in after, f"{name} after PUT of an unassigned value: {after.get(name)!r}")
    body = t.user_body(made["userName"], name={"givenName": None, "familyName": "B"})
    t.put(path, body)
    t.equal((t.read(path).get("name") or {}).get("givenName"), None, "name.givenName after null")


@check("C06.patch")
def unassigned_in_patch(t):
    """RFC 7643 2.5, RFC 7644 3.5.2.3: replacing by null or an empty list unassigns."""
    t.wants_patch()
    t.wants("title", "emails")
    made = t.user(title="One", emails=EMAILS)
    path = f"/Users/{made['id']}"
    after = t.patched(path, {"op": "replace", "path": "emails", "value": []})
    t.verify("emails" not in after, f"emails after replacing by []: {after.get('emails')!r}")
    after = t.patched(path, {"op": "replace", "path": "title", "value": None})
    t.verify("title" not in after, f"title after replacing by null: {after.get('title')!r}")


@check("C06.filter")
def unassigned_in_filter(t):
    """RFC 7643 2.5, RFC 7644 3.4.2.2: an unassigned attribute has no value: pr is false."""
    t.wants_filter()
    t.wants("title", "emails")
    made = t.user(title=None, emails=[])
    for name in ("title", "emails"):
        found = t.get("/Users", filter=f'id eq "{made["id"]}" and {name} pr')
        t.equal(found.ids, [], f"users with {name} pr")
