"""C34: discovery. T01 onwards: every attribute that the schemas name, by POST, PUT and PATCH."""

import base64
import json

from harness import CORE, GROUP, LIST_RESPONSE, USER, check, flip, moment

CONFIG = CORE + "ServiceProviderConfig"
RESOURCE_TYPE = CORE + "ResourceType"
SCHEMA = CORE + "Schema"
ENDPOINTS = ("/ServiceProviderConfig", "/ResourceTypes", "/Schemas")
KINDS = {"string", "boolean", "decimal", "integer", "dateTime", "reference", "binary", "complex"}
MUTABILITY = {"readOnly", "readWrite", "immutable", "writeOnly"}
RETURNED = {"always", "never", "default", "request"}
UNIQUENESS = {"none", "server", "global"}

# RFC 7643 8.7.1: what the schemas of the core must say where they have the attribute.
CORE_RULES = {
    (USER, "userName"): {"required": True, "caseExact": False, "uniqueness": "server"},
    (USER, "password"): {"mutability": "writeOnly", "returned": "never"},
    (USER, "groups"): {"mutability": "readOnly", "multiValued": True, "type": "complex"},
    (USER, "active"): {"type": "boolean", "multiValued": False},
    (USER, "name"): {"type": "complex", "multiValued": False},
    (USER, "emails"): {"type": "complex", "multiValued": True},
    (USER, "phoneNumbers"): {"type": "complex", "multiValued": True},
    (USER, "ims"): {"type": "complex", "multiValued": True},
    (USER, "photos"): {"type": "complex", "multiValued": True},
    (USER, "addresses"): {"type": "complex", "multiValued": True},
    (USER, "entitlements"): {"type": "complex", "multiValued": True},
    (USER, "roles"): {"type": "complex", "multiValued": True},
    (USER, "x509Certificates"): {"type": "complex", "multiValued": True},
    (USER, "profileUrl"): {"type": "reference"},
    (USER, "displayName"): {"type": "string", "multiValued": False},
    (GROUP, "displayName"): {"type": "string", "multiValued": False},
    (GROUP, "members"): {"type": "complex", "multiValued": True, "mutability": "readWrite"},
    (GROUP, "members.value"): {"mutability": "immutable"},
    (GROUP, "members.$ref"): {"mutability": "immutable", "type": "reference"},
    (GROUP, "members.type"): {"mutability": "immutable"},
}


@check("C34.config")
def config(t):
    """RFC 7643 5: ServiceProviderConfig has patch, bulk, filter, changePassword, sort, etag and
    authenticationSchemes, with the right types, and its own meta."""
    answer = t.done(t.get("/ServiceProviderConfig"))
    body = answer.object
    t.equal(body.get("schemas"), [CONFIG], "schemas")
    for name in ("patch", "bulk", "filter", "changePassword", "sort", "etag"):
        part = body.get(name) or {}
        t.verify(isinstance(part.get("supported"), bool), f"{name}.supported: {part}")
    for name, sub in (
        ("bulk", "maxOperations"),
        ("bulk", "maxPayloadSize"),
        ("filter", "maxResults"),
    ):
        value = (body.get(name) or {}).get(sub)
        t.verify(isinstance(value, int) and not isinstance(value, bool), f"{name}.{sub}: {value!r}")
    schemes = body.get("authenticationSchemes")
    t.verify(isinstance(schemes, list) and schemes, "authenticationSchemes is empty")
    for scheme in schemes or []:
        for name in ("type", "name", "description"):
            t.verify(isinstance(scheme.get(name), str) and scheme[name], f"{name} of a scheme")
    t.verify(sum(s.get("primary") is True for s in schemes or []) <= 1, "two primary schemes")
    found = body.get("meta") or {}
    t.equal(found.get("resourceType"), "ServiceProviderConfig", "meta.resourceType")
    t.equal(
        t.call("GET", found.get("location") or "/x").object, body, "what meta.location leads to"
    )
    for name in ("created", "lastModified"):
        if name in found:
            t.verify(moment(found[name]), f"meta.{name}")
    t.verify(None not in body.values(), "a null in the answer")


@check("C34.resource-types")
def resource_types(t):
    """RFC 7643 6, RFC 7644 4: ResourceTypes is a list; each is found by its name, has id, name,
    endpoint and schema, and its schema and extensions are under /Schemas."""
    answer = t.done(t.get("/ResourceTypes"))
    t.equal(answer.object.get("schemas"), [LIST_RESPONSE], "schemas of the list")
    t.equal(answer.object.get("totalResults"), len(answer.resources), "totalResults")
    names = [each.get("name") for each in answer.resources]
    t.verify("User" in names, f"no User among {names}")
    for each in answer.resources:
        t.equal(each.get("schemas"), [RESOURCE_TYPE], "schemas")
        t.verify(each.get("endpoint", "").startswith("/"), f"endpoint {each.get('endpoint')!r}")
        t.equal(t.done(t.get(f"/ResourceTypes/{each['name']}")).object, each, "by its name")
        t.equal(each.get("id", each["name"]), each["name"], "id")
        t.equal((each.get("meta") or {}).get("resourceType"), "ResourceType", "meta.resourceType")
        t.equal(t.call("GET", each["meta"]["location"]).object, each, "by meta.location")
        t.status(t.get(each["endpoint"], count="1"), 200)
        extensions = each.get("schemaExtensions") or []
        for urn in [each.get("schema"), *[e.get("schema") for e in extensions]]:
            found = t.done(t.get(f"/Schemas/{urn}")).object
            t.equal(found.get("id"), urn, "id of a schema that a resource type names")
        for extension in extensions:
            t.verify(isinstance(extension.get("required"), bool), f"required: {extension}")
    t.error(t.get("/ResourceTypes/NoSuchType"), 404)


@check("C34.schemas")
def schemas(t):
    """RFC 7643 7, 8.7, RFC 7644 4: Schemas is a list with the schemas of all resource types and of
    ResourceType, ServiceProviderConfig and Schema; each is found by its URI, in any case."""
    answer = t.done(t.get("/Schemas"))
    t.equal(answer.object.get("schemas"), [LIST_RESPONSE], "schemas of the list")
    t.equal(answer.object.get("totalResults"), len(answer.resources), "totalResults")
    t.equal(answer.object.get("itemsPerPage", len(answer.ids)), len(answer.ids), "itemsPerPage")
    t.equal(len(answer.ids), len(set(answer.ids)), "distinct ids")
    for urn in (USER, CONFIG, RESOURCE_TYPE, SCHEMA):
        t.verify(urn in answer.ids, f"{urn} is not listed")
    for each in answer.resources:
        t.equal(each.get("schemas"), [SCHEMA], f"schemas of {each.get('id')}")
        t.equal(t.done(t.get(f"/Schemas/{each['id']}")).object, each, "by its URI")
        t.equal((each.get("meta") or {}).get("resourceType"), "Schema", "meta.resourceType")
        t.equal(t.call("GET", each["meta"]["location"]).object, each, "by meta.location")
        t.verify(each.get("name") and each.get("attributes"), "name or attributes are missing")
    answer = t.get(f"/Schemas/{flip(USER)}")
    t.choice("a schema by its URI in other case: " + str(answer.status))
    t.verify(answer.status in (200, 404), f"status {answer.status}")
    t.error(t.get("/Schemas/urn:example:no:such:schema"), 404)


@check("C34.definitions")
def definitions(t):
    """RFC 7643 7: each attribute has name, type, multiValued, required, mutability, returned and,
    where it applies, caseExact, uniqueness, referenceTypes and subAttributes, with values that
    exist."""
    for schema in t.done(t.get("/Schemas")).resources:
        names = [a.get("name", "").lower() for a in schema.get("attributes") or []]
        t.equal(len(names), len(set(names)), f"distinct names in {schema.get('id')}")
        for attribute in schema.get("attributes") or []:
            define(t, schema.get("id", ""), attribute, True)


def define(t, where, attribute, top):
    where = f"{where}:{attribute.get('name')}"
    kind = attribute.get("type")

    def hold(condition, what):
        if not condition:
            t.failures.append(f"{where}: {what}: {json.dumps(attribute)[:300]}")

    hold(isinstance(attribute.get("name"), str) and attribute["name"], "no name")
    hold(kind in KINDS, f"type {kind!r}")
    for name in ("multiValued", "required"):
        hold(isinstance(attribute.get(name), bool), f"{name} is {attribute.get(name)!r}")
    hold(attribute.get("mutability") in MUTABILITY, f"mutability {attribute.get('mutability')!r}")
    hold(attribute.get("returned") in RETURNED, f"returned {attribute.get('returned')!r}")
    hold(attribute.get("uniqueness", "none") in UNIQUENESS, "uniqueness")
    hold(isinstance(attribute.get("caseExact", False), bool), "caseExact")
    hold(None not in attribute.values(), "a null")
    never = attribute.get("mutability") != "writeOnly" or attribute.get("returned") == "never"
    hold(never, "writeOnly, but returned")
    if kind == "reference":
        hold(attribute.get("referenceTypes"), "a reference without referenceTypes")
    if kind == "complex":
        hold(attribute.get("subAttributes"), "complex without subAttributes")
        hold(top or where.startswith(SCHEMA), "a complex sub-attribute")
    for sub in attribute.get("subAttributes") or []:
        define(t, where, sub, False)


@check("C34.core-rules")
def core_rules(t):
    """RFC 7643 4, 8.7.1: the schemas of User and Group say of their attributes what the RFC
    does."""
    for (urn, path), rules in CORE_RULES.items():
        name, _, part = path.partition(".")
        attribute = t.site.attribute(urn, name)
        if attribute is not None and part:
            subs = [s for s in attribute.get("subAttributes") or [] if s.get("name") == part]
            attribute = subs[0] if subs else None
        if attribute is None:
            t.choice(f"{path} is not in the schema")
            continue
        for rule, value in rules.items():
            t.equal(attribute.get(rule), value, f"{rule} of {urn}:{path}")
    for name in ("id", "externalId", "meta", "schemas"):
        if t.site.attribute(USER, name) is not None:
            t.choice(f"the User schema lists the common attribute {name}")


@check("C34.read-only")
def read_only(t):
    """RFC 7644 4: discovery is for GET: POST, PUT, PATCH and DELETE are 405, in SCIM form."""
    for path in (*ENDPOINTS, f"/Schemas/{USER}", "/ResourceTypes/User"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = t.call(method, path, None if method == "DELETE" else {})
            t.error(answer, 405)


@check("C34.filter")
def discovery_filter(t):
    """RFC 7644 4: a filter on discovery is 403 in SCIM form."""
    for path in ENDPOINTS:
        t.error(t.get(path, filter='name eq "User"'), 403)


@check("C34.ignored")
def discovery_ignored(t):
    """RFC 7644 4: pagination and sorting are ignored on discovery: the list is whole."""
    for path in ("/ResourceTypes", "/Schemas"):
        whole = t.done(t.get(path))
        for query in ({"count": "1"}, {"startIndex": "2"}, {"count": "0"}, {"sortBy": "id"}):
            answer = t.done(t.get(path, **query))
            t.equal(sorted(answer.ids), sorted(whole.ids), f"{path} with {query}")
            t.equal(answer.object.get("totalResults"), whole.object.get("totalResults"), "total")


@check("C34.honest")
def honest(t):
    """RFC 7643 5: what ServiceProviderConfig declares is so: patch, filter, etag; what it does not
    declare is refused or ignored."""
    made = t.user()
    path = f"/Users/{made['id']}"
    answer = t.patch(path, {"op": "replace", "path": "title", "value": "x"})
    t.status(answer, *((200, 204) if t.site.supports("patch") else (404, 405, 501)))
    answer = t.get("/Users", filter=f'userName eq "{made["userName"]}"')
    if t.site.supports("filter"):
        t.equal(answer.ids, [made["id"]], "users by filter")
    else:
        t.verify(answer.status >= 400, "a filter is answered without being supported")
    tag = t.get(path).header("ETag")
    t.equal(bool(tag), t.site.supports("etag"), "an ETag, as declared")
    if not t.site.pagination:
        cursor = t.call("GET", "/Users", query={"cursor": "", "count": "1"})
        t.verify("nextCursor" not in cursor.object, "cursors work, but are not declared")
    if not t.site.supports("sort"):
        names = [t.user(t.site.name(word))["id"] for word in ("b", "c", "a")]
        found = t.get("/Users", sortBy="userName", sortOrder="descending", count="200")
        if found.status == 200 and set(names) <= set(found.ids):
            order = [found.ids.index(i) for i in names]
            t.verify(not order[1] < order[0] < order[2], "sorting works, but is not declared")


@check("C34.schema-of-resources")
def schema_of_resources(t):
    """RFC 7643 7: what is in a resource is in its schema, or a common attribute."""
    common = {"schemas", "id", "externalId", "meta"}
    kinds = [("User", USER, "/Users")]
    if t.site.has_groups:
        kinds.append(("Group", GROUP, "/Groups"))
        t.group(members=[t.user()["id"]])
    for kind, urn, endpoint in kinds:
        allowed = {a["name"] for a in t.site.attributes(urn)} | common
        for body in t.get(endpoint, count="20").resources:
            unknown = set(body) - allowed - set(t.site.extensions(kind))
            t.verify(not unknown, f"{kind} has attributes that no schema names: {unknown}")


# ---- T: every attribute ----


def key_line(t):
    """An OpenSSH public key of random bytes."""
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + t.site.random.randbytes(32)
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} {t.site.word()}@example.com"


def fitting(t, attribute, turn):
    """A value for one attribute; another one for another `turn`."""
    if attribute.get("type") == "complex":
        return complex_value(t, attribute, turn)
    name = attribute["name"].lower()
    canonical = attribute.get("canonicalValues")
    if canonical:
        return canonical[turn % len(canonical)]
    kind = attribute.get("type")
    if kind == "boolean":
        return turn % 2 == 0
    if kind in ("integer", "decimal"):
        return t.site.random.randrange(20000, 30000)
    if kind == "dateTime":
        return f"20{10 + turn}-01-02T03:04:05Z"
    if kind == "binary":
        return base64.b64encode(t.site.random.randbytes(33)).decode()
    if kind == "reference":
        return f"https://example.com/{t.site.word()}"
    named = {
        "locale": ("en-US", "de-DE"),
        "preferredlanguage": ("en", "de"),
        "timezone": ("Europe/Berlin", "America/Denver"),
        "country": ("DE", "US"),
    }
    if name in named:
        return named[name][turn % 2]
    if "sshkey" in name:
        return key_line(t)
    if "shell" in name:
        return ("/bin/bash", "/bin/sh")[turn % 2]
    if "homedirectory" in name:
        return f"/home/{t.site.word()}"
    return t.site.word()


def complex_value(t, attribute, turn):
    name = attribute["name"].lower()
    if name in ("members", "manager"):
        return {"value": t.user()["id"]}
    value = {}
    for sub in attribute.get("subAttributes") or []:
        if sub.get("mutability") in ("readOnly", "immutable") or sub["name"] == "primary":
            continue
        value[sub["name"]] = fitting(t, sub, turn)
    if name in ("emails",):
        value["value"] = f"{t.site.word()}@example.com"
    if name == "phonenumbers":
        value["value"] = f"+49-30-{t.site.random.randrange(10**6)}"
    return value


def types_under_test(t):
    """(name, endpoint, path prefix, schema URI, attributes that a client may write and remove)."""
    for each in t.site.types:
        if each.get("endpoint") not in ("/Users", "/Groups"):
            t.choice(f"{each.get('name')} was not tried: no way to make one is known")
            continue
        for urn in (each["schema"], *t.site.extensions(each["name"])):
            prefix = "" if urn == each["schema"] else urn + ":"
            free = [
                a
                for a in t.site.attributes(urn)
                if a.get("mutability") in ("readWrite", "writeOnly")
                and not a.get("required")
                and a["name"] not in ("id", "externalId", "meta", "schemas")
            ]
            yield each["name"], each["endpoint"], prefix, urn, free


def plain(t, endpoint):
    made = t.group() if endpoint == "/Groups" else t.user()
    return f"{endpoint}/{made['id']}"


def inside(body, prefix, name):
    """The value of an attribute in a resource."""
    return ((body.get(prefix[:-1]) or {}) if prefix else body).get(name)


def same(t, got, wanted, attribute):
    """Whether a resource holds what was written: sub-attributes that the server adds are fine."""
    if attribute.get("returned") == "never":
        return got is None
    if isinstance(wanted, list):
        return (
            isinstance(got, list)
            and len(got) == len(wanted)
            and all(any(same(t, g, w, attribute) for g in got) for w in wanted)
        )
    if isinstance(wanted, dict):
        return isinstance(got, dict) and all(got.get(k) == v for k, v in wanted.items())
    return got == wanted


def value_for(t, attribute, turn):
    value = fitting(t, attribute, turn)
    return [value] if attribute.get("multiValued") else value


def each_attribute(t):
    t.wants_patch()
    if not t.site.schemas:
        t.skip("/Schemas gives nothing")
    for _, endpoint, prefix, _, attributes in types_under_test(t):
        for attribute in attributes:
            yield plain(t, endpoint), prefix, attribute


def hold_patch(t, path, operation, prefix, attribute, wanted):
    """A PATCH that must be done; then the attribute has the value, in the answer and when read."""
    name = attribute["name"]
    answer = t.patch(path, operation)
    if not t.status(answer, 200, 204):
        return
    bodies = [answer.object] if answer.status == 200 else []
    for body in (*bodies, t.read(path)):
        got = inside(body, prefix, name)
        if wanted is None and got is False and attribute.get("type") == "boolean":
            t.choice(f"{name} without value is shown as false")
        elif wanted is None:
            t.verify(got is None, f"{prefix}{name} after {operation['op']}: {got!r}", answer)
        else:
            fine = same(t, got, wanted, attribute)
            t.verify(fine, f"{prefix}{name}: expected {wanted!r}, got {got!r}", answer)


@check("T01.patch-add")
def patch_add(t):
    """RFC 7644 3.5.2.1 (patch:add): every attribute that is not required can be added by PATCH, in
    the core by its name and its URI, in extensions by the URI."""
    for path, prefix, attribute in each_attribute(t):
        value = value_for(t, attribute, 0)
        operation = {"op": "add", "path": prefix + attribute["name"], "value": value}
        hold_patch(t, path, operation, prefix, attribute, value)


@check("T02.patch-replace")
def patch_replace(t):
    """RFC 7644 3.5.2.3 (patch:replace): and replaced, where it was absent and where it was not."""
    for path, prefix, attribute in each_attribute(t):
        for turn in (0, 1):
            value = value_for(t, attribute, turn)
            operation = {"op": "replace", "path": prefix + attribute["name"], "value": value}
            hold_patch(t, path, operation, prefix, attribute, value)


@check("T03.patch-remove")
def patch_remove(t):
    """RFC 7644 3.5.2.2 (patch:remove): and removed, after which it is absent."""
    for path, prefix, attribute in each_attribute(t):
        where = prefix + attribute["name"]
        answer = t.patch(path, {"op": "add", "path": where, "value": value_for(t, attribute, 0)})
        if t.status(answer, 200, 204):
            hold_patch(t, path, {"op": "remove", "path": where}, prefix, attribute, None)


@check("T04.patch-by-urn")
def patch_by_urn(t):
    """RFC 7644 3.10: attributes of the core can be patched by their full URI as well."""
    t.wants_patch()
    for _, endpoint, prefix, urn, attributes in types_under_test(t):
        if prefix:
            continue
        path = plain(t, endpoint)
        for attribute in attributes:
            value = value_for(t, attribute, 0)
            where = f"{urn}:{attribute['name']}"
            operation = {"op": "replace", "path": where, "value": value}
            hold_patch(t, path, operation, "", attribute, value)
            hold_patch(t, path, {"op": "remove", "path": where}, "", attribute, None)


@check("T05.patch-pathless")
def patch_pathless(t):
    """RFC 7644 3.5.2: and by a value without path, under the URI of the extension."""
    for path, prefix, attribute in each_attribute(t):
        value = value_for(t, attribute, 0)
        body = {attribute["name"]: value}
        operation = {"op": "add", "value": {prefix[:-1]: body} if prefix else body}
        hold_patch(t, path, operation, prefix, attribute, value)


@check("T06.patch-sub-attributes")
def patch_sub_attributes(t):
    """RFC 7644 3.5.2: sub-attributes of complex attributes can be added, replaced and removed, in
    lists by a filter on the type or value."""
    for path, prefix, attribute in each_attribute(t):
        if attribute.get("type") != "complex" or attribute["name"].lower() == "members":
            continue
        first = value_for(t, attribute, 0)
        where = prefix + attribute["name"]
        if not t.status(t.patch(path, {"op": "add", "path": where, "value": first}), 200, 204):
            continue
        element = first[0] if isinstance(first, list) else first
        for sub in attribute.get("subAttributes") or []:
            if sub.get("mutability") != "readWrite" or sub["name"] in ("value", "type"):
                continue
            target = f"{where}.{sub['name']}"
            if isinstance(first, list):
                chosen = "type" if "type" in element else "value"
                target = f'{where}[{chosen} eq "{element[chosen]}"].{sub["name"]}'
            patch_sub(t, path, target, sub, attribute, prefix)


def patch_sub(t, path, target, sub, attribute, prefix):
    for turn, kind in ((1, "replace"), (2, "add"), (0, "remove")):
        value = fitting(t, sub, turn)
        if sub["name"] == "primary":
            value = True
        operation = {"op": kind, "path": target}
        if kind != "remove":
            operation["value"] = value
        if not t.status(t.patch(path, operation), 200, 204):
            continue
        got = inside(t.read(path), prefix, attribute["name"])
        element = (got or [{}])[0] if attribute.get("multiValued") else got or {}
        wanted = None if kind == "remove" else value
        t.equal(element.get(sub["name"]), wanted, f"{target} after {kind}")


def whole_body(t, endpoint, turn):
    body = t.group_body() if endpoint == "/Groups" else t.user_body()
    expected = []
    for _, where, prefix, urn, attributes in types_under_test(t):
        if where != endpoint:
            continue
        part = {a["name"]: value_for(t, a, turn) for a in attributes}
        expected += [(prefix, a, part[a["name"]]) for a in attributes]
        if prefix and part:
            body["schemas"].append(urn)
            body[urn] = part
        else:
            body |= part
    return body, expected


@check("T07.create-whole")
def create_whole(t):
    """RFC 7644 3.3 (crud:create, crud:read): a resource with every attribute can be made, and has
    all values in the answer, by id and in lists."""
    for endpoint in dict.fromkeys(each[1] for each in types_under_test(t)):
        body, expected = whole_body(t, endpoint, 0)
        made = t.create(endpoint, body)
        bodies = [made, t.read(f"{endpoint}/{made['id']}")]
        if t.site.supports("filter"):
            bodies += t.get(endpoint, filter=f'id eq "{made["id"]}"').resources
        t.equal(len(bodies), 3 if t.site.supports("filter") else 2, "answers with the resource")
        for each in bodies:
            for prefix, attribute, value in expected:
                got = inside(each, prefix, attribute["name"])
                fine = same(t, got, value, attribute)
                t.verify(fine, f"{prefix}{attribute['name']}: expected {value!r}, got {got!r}")


@check("T08.replace-whole")
def replace_whole(t):
    """RFC 7644 3.5.1 (crud:update, crud:delete): every attribute can be replaced by PUT; the
    resource can be deleted and is gone."""
    for endpoint in dict.fromkeys(each[1] for each in types_under_test(t)):
        body, _ = whole_body(t, endpoint, 0)
        path = f"{endpoint}/{t.create(endpoint, body)['id']}"
        body, expected = whole_body(t, endpoint, 1)
        t.status(t.put(path, body), 200)
        after = t.read(path)
        for prefix, attribute, value in expected:
            got = inside(after, prefix, attribute["name"])
            fine = same(t, got, value, attribute)
            t.verify(fine, f"{prefix}{attribute['name']}: expected {value!r}, got {got!r}")
        t.status(t.delete(path), 204)
        t.error(t.get(path), 404)


@check("T09.project-each")
def project_each(t):
    """RFC 7644 3.9 (object_query_with_attributes, search_with_attributes): each attribute alone by
    attributes, and all but it by excludedAttributes, by id."""
    for endpoint in dict.fromkeys(each[1] for each in types_under_test(t)):
        body, expected = whole_body(t, endpoint, 0)
        made = t.create(endpoint, body)
        path = f"{endpoint}/{made['id']}"
        for prefix, attribute, value in expected:
            name = prefix + attribute["name"]
            got = inside(t.done(t.get(path, attributes=name)).object, prefix, attribute["name"])
            t.verify(same(t, got, value, attribute), f"{name} alone: got {got!r}")
            others = set(t.last.object) - {"id", "schemas", prefix[:-1] or attribute["name"]}
            t.verify(not others, f"beside {name}: {others}")
            rest = t.done(t.get(path, excludedAttributes=name)).object
            got = inside(rest, prefix, attribute["name"])
            t.verify(got is None, f"{name} although excluded: {got!r}")


@check("T10.filter-each")
def filter_each(t):
    """RFC 7644 3.4.2.2: each attribute can be filtered by pr, and each text among them by eq."""
    t.wants_filter()
    for endpoint in dict.fromkeys(each[1] for each in types_under_test(t)):
        body, expected = whole_body(t, endpoint, 0)
        made = t.create(endpoint, body)
        for prefix, attribute, value in expected:
            name = prefix + attribute["name"]
            if attribute.get("returned") == "never":
                continue
            found = t.get(endpoint, filter=f'id eq "{made["id"]}" and {name} pr')
            t.equal(found.ids, [made["id"]], f"found by {name} pr")
            if attribute.get("type") == "string":
                literal = json.dumps(value[0] if isinstance(value, list) else value)
                found = t.get(endpoint, filter=f'id eq "{made["id"]}" and {name} eq {literal}')
                t.equal(found.ids, [made["id"]], f"found by {name} eq")
