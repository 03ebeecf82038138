"""C32: bulk operations."""

from harness import BULK_REQUEST, BULK_RESPONSE, ERROR, check, patch_body

MADE_OPERATIONS_MAX = 20000
MADE_BYTES_MAX = 64 << 20


def limits(t):
    """(maxOperations, maxPayloadSize); skips the check when bulk is not supported."""
    part = t.site.config.get("bulk") or {}
    if part.get("supported") is not True:
        t.skip("ServiceProviderConfig: bulk is not supported")
    return part.get("maxOperations") or 0, part.get("maxPayloadSize") or 0


def bulk(t, *operations, **more):
    body = {"schemas": [BULK_REQUEST], "Operations": list(operations)} | more
    return t.post("/Bulk", body)


def results(t, answer, count):
    """The operations of a 200 answer, after checks of their form."""
    t.done(answer, 200)
    t.equal(answer.object.get("schemas"), [BULK_RESPONSE], "schemas")
    found = answer.object.get("Operations") or []
    t.need(len(found) == count, f"expected {count} results, got {len(found)}")
    for item in found:
        status = item.get("status")
        t.verify(isinstance(status, str) and status.isdigit(), f"status {status!r} is no string")
        t.verify(item.get("method"), "a result without method")
        if str(status).startswith("2"):
            t.verify(item.get("location"), f"a result {status} without location")
        else:
            body = item.get("response") or {}
            t.verify(ERROR in (body.get("schemas") or []), f"a failure without error body: {item}")
            t.equal(body.get("status"), status, "status in the error body")
    return found


def statuses(found):
    return [item.get("status") for item in found]


def post(path, bulk_id, data):
    return {"method": "POST", "path": path, "bulkId": bulk_id, "data": data}


def id_of(result):
    return (result.get("location") or "").rstrip("/").split("/")[-1]


@check("C32.unsupported")
def unsupported(t):
    """RFC 7644 3.7, 3.12: without support for bulk, POST /Bulk is 501 (or 404) in SCIM form."""
    if t.site.supports("bulk"):
        t.skip("bulk is supported")
    t.error(bulk(t, post("/Users", "a", t.user_body())), (404, 501))


@check("C32.methods")
def methods(t):
    """RFC 7644 3.7: POST, PUT, PATCH and DELETE in one request, in order; each result has method,
    bulkId, location, version and a status that is a string."""
    limits(t)
    change, away = t.user(), t.user()
    body = t.user_body()
    answer = bulk(
        t,
        post("/Users", "new", body),
        {
            "method": "PUT",
            "path": f"/Users/{change['id']}",
            "data": t.user_body(change["userName"], title="put"),
        },
        {
            "method": "PATCH",
            "path": f"/Users/{change['id']}",
            "data": patch_body({"op": "add", "path": "nickName", "value": "patched"}),
        },
        {"method": "DELETE", "path": f"/Users/{away['id']}"},
    )
    found = results(t, answer, 4)
    t.equal(statuses(found)[0], "201", "status of POST")
    t.equal(statuses(found)[1], "200", "status of PUT")
    t.verify(statuses(found)[2] in ("200", "204"), "status of PATCH")
    t.equal(statuses(found)[3], "204", "status of DELETE")
    t.equal([item["method"] for item in found], ["POST", "PUT", "PATCH", "DELETE"], "methods")
    t.equal(found[0].get("bulkId"), "new", "bulkId of POST")
    made = t.done(t.call("GET", found[0]["location"])).object
    t.equal(made.get("userName"), body["userName"], "the user that was made")
    t.verify("bulkid" not in made["id"].lower(), "an id with bulkId in it")
    if t.site.supports("etag"):
        t.equal(found[0].get("version"), made["meta"]["version"], "version of POST")
    after = t.read(f"/Users/{change['id']}")
    t.equal((after.get("title"), after.get("nickName")), ("put", "patched"), "after PUT and PATCH")
    t.error(t.get(f"/Users/{away['id']}"), 404)


@check("C32.wrong-operations")
def wrong_operations(t):
    """RFC 7644 3.7: each operation is judged alone: unknown methods, paths and data are failures of
    that operation, or of the request as 400."""
    limits(t)
    for wrong in (
        {"method": "GET", "path": "/Users"},
        {"method": "BREW", "path": "/Users", "bulkId": "x", "data": {}},
        {"path": "/Users", "bulkId": "x", "data": t.user_body()},
        {"method": "POST", "bulkId": "x", "data": t.user_body()},
        {"method": "POST", "path": "/Users", "data": t.user_body()},
        {"method": "POST", "path": "/Users", "bulkId": "x"},
        {"method": "POST", "path": "/NoSuchThing", "bulkId": "x", "data": {}},
        {"method": "POST", "path": "/Bulk", "bulkId": "x", "data": {}},
        {"method": "PUT", "path": "/Users", "data": t.user_body()},
        {"method": "DELETE", "path": "/Users/no-such-id"},
        {"method": "PATCH", "path": "/Users/no-such-id", "data": patch_body()},
        {"method": "POST", "path": "/Users", "bulkId": 5, "data": t.user_body()},
    ):
        answer = bulk(t, wrong)
        if answer.status == 400:
            t.error(answer, 400, ("invalidSyntax", "invalidValue", "invalidPath", "noTarget"))
            continue
        t.done(answer)
        found = answer.object.get("Operations") or [{}]
        status = str(found[0].get("status"))
        t.verify(status[:1] == "4" or status == "501", f"{wrong}: {status}")
        t.verify(ERROR in str(found[0].get("response")), f"{wrong}: no error body")


@check("C32.failures")
def failures(t):
    """RFC 7644 3.7.3: without failOnErrors all operations are tried; a failure has its error in
    response, and POST then no location."""
    limits(t)
    taken = t.user()
    answer = bulk(
        t,
        post("/Users", "a", t.user_body(taken["userName"])),
        post("/Users", "b", {"schemas": []}),
        {"method": "DELETE", "path": "/Users/no-such-id"},
        post("/Users", "c", t.user_body()),
    )
    found = results(t, answer, 4)
    t.equal(statuses(found), ["409", "400", "404", "201"], "statuses")
    t.equal((found[0].get("response") or {}).get("scimType"), "uniqueness", "scimType")
    t.verify("location" not in found[0], "location of a POST that failed")
    t.equal([item.get("bulkId") for item in found], ["a", "b", None, "c"], "bulkIds")


@check("C32.fail-on-errors")
def fail_on_errors(t):
    """RFC 7644 3.7.1, 3.7.3: after failOnErrors failures the rest is not tried, and is not in the
    answer; what was done before stays."""
    limits(t)
    taken = t.user()["userName"]
    clash = [post("/Users", f"x{i}", t.user_body(taken)) for i in range(3)]
    for allowed, wanted in ((1, ["201", "409"]), (2, ["201", "409", "409"])):
        first, last = t.user_body(), t.user_body()
        answer = bulk(
            t,
            post("/Users", "first", first),
            *clash,
            post("/Users", "last", last),
            failOnErrors=allowed,
        )
        found = results(t, answer, len(wanted))
        t.equal(statuses(found), wanted, f"statuses with failOnErrors {allowed}")
        if t.site.supports("filter"):
            name = last["userName"]
            t.equal(t.get("/Users", filter=f'userName eq "{name}"').ids, [], "the untried user")
            name = first["userName"]
            t.equal(len(t.get("/Users", filter=f'userName eq "{name}"').ids), 1, "the first user")
    answer = bulk(t, *clash, post("/Users", "last", t.user_body()), failOnErrors=10)
    t.equal(statuses(results(t, answer, 4)), ["409", "409", "409", "201"], "below failOnErrors")
    answer = bulk(t, post("/Users", "a", t.user_body()), failOnErrors="x")
    t.error(answer, 400, ("invalidSyntax", "invalidValue"))


@check("C32.bulk-id")
def bulk_id(t):
    """RFC 7644 3.7.2: bulkId:NAME in data is the id of the resource that the same request makes,
    before or after."""
    limits(t)
    t.wants_groups()
    for forward in (False, True):
        person = post("/Users", "person", t.user_body())
        body = t.group_body(members=["bulkId:person"])
        group = post("/Groups", "group", body)
        answer = bulk(t, *((group, person) if forward else (person, group)))
        found = results(t, answer, 2)
        by_id = {item.get("bulkId"): item for item in found}
        if forward and by_id["group"]["status"] in ("400", "409"):
            t.choice("references to what comes later are refused")
            continue
        t.equal(statuses(found), ["201", "201"], f"statuses, forward {forward}")
        made = t.read(f"/Groups/{id_of(by_id['group'])}")
        members = [m["value"] for m in made.get("members") or []]
        t.equal(members, [id_of(by_id["person"])], f"members, forward {forward}")
        t.verify("bulkid" not in str(made).lower(), "a bulkId is left in the group")
    group = t.group()
    add = patch_body({"op": "add", "path": "members", "value": [{"value": "bulkId:p"}]})
    answer = bulk(
        t,
        post("/Users", "p", t.user_body()),
        {"method": "PATCH", "path": f"/Groups/{group['id']}", "data": add},
    )
    found = results(t, answer, 2)
    members = [m["value"] for m in t.read(f"/Groups/{group['id']}").get("members") or []]
    t.equal(members, [id_of(found[0])], "members added by PATCH with a bulkId")


@check("C32.bulk-id-in-path")
def bulk_id_in_path(t):
    """RFC 7644 3.7.2: a bulkId in the path of a later operation is resolved, or that operation
    fails; nothing else is hit."""
    limits(t)
    change = patch_body({"op": "add", "path": "title", "value": "by path"})
    answer = bulk(
        t,
        post("/Users", "p", t.user_body()),
        {"method": "PATCH", "path": "/Users/bulkId:p", "data": change},
    )
    found = results(t, answer, 2)
    made = t.read(f"/Users/{id_of(found[0])}")
    if found[1]["status"] in ("200", "204"):
        t.equal(made.get("title"), "by path", "title")
        t.choice("a bulkId in a path is resolved")
    else:
        t.verify(found[1]["status"] in ("400", "404", "409"), f"status {found[1]['status']}")
        t.verify("title" not in made, "title was changed all the same")
        t.choice("a bulkId in a path is not resolved")


@check("C32.unknown-bulk-id")
def unknown_bulk_id(t):
    """RFC 7644 3.7.2: a bulkId that nothing makes, or whose operation failed, fails the operation
    that refers to it (409 or 400), and makes nothing."""
    limits(t)
    t.wants_groups()
    name, second = t.site.name("g"), t.site.name("g")
    taken = t.user()["userName"]
    answer = bulk(
        t,
        post("/Groups", "g", t.group_body(name, ["bulkId:nobody"])),
        post("/Users", "failed", t.user_body(taken)),
        post("/Groups", "h", t.group_body(second, ["bulkId:failed"])),
    )
    found = results(t, answer, 3)
    for index in (0, 2):
        t.verify(found[index]["status"] in ("400", "409", "412"), f"status {found[index]}")
    if t.site.supports("filter"):
        for each in (name, second):
            t.equal(t.get("/Groups", filter=f'displayName eq "{each}"').ids, [], "groups made")


@check("C32.circular")
def circular(t):
    """RFC 7644 3.7.2: two groups that are members of each other are made, or fail as 409; the
    server stays."""
    limits(t)
    t.wants_groups()
    answer = bulk(
        t,
        post("/Groups", "a", t.group_body(members=["bulkId:b"])),
        post("/Groups", "b", t.group_body(members=["bulkId:a"])),
    )
    found = results(t, answer, 2)
    if statuses(found) == ["201", "201"]:
        ids = [id_of(item) for item in found]
        for own, peer in (ids, reversed(ids)):
            members = [m["value"] for m in t.read(f"/Groups/{own}").get("members") or []]
            t.equal(members, [peer], "members")
        return t.choice("circular references are resolved")
    t.verify(any(s in ("409", "400") for s in statuses(found)), f"statuses {statuses(found)}")
    return t.choice(f"circular references fail: {statuses(found)}")


@check("C32.duplicate-bulk-id")
def duplicate_bulk_id(t):
    """RFC 7644 3.7: bulkId is unique within a request; one that comes twice is refused."""
    limits(t)
    answer = bulk(t, post("/Users", "a", t.user_body()), post("/Users", "a", t.user_body()))
    if answer.status == 400:
        t.error(answer, 400, ("invalidSyntax", "invalidValue"))
    else:
        found = results(t, answer, 2)
        t.verify(found[1]["status"] in ("400", "409"), f"statuses {statuses(found)}")


@check("C32.limits")
def size_limits(t):
    """RFC 7644 3.7.4: more than maxOperations, or than maxPayloadSize bytes, is 413 in SCIM form
    that names the limit, and nothing is done; maxOperations itself is fine."""
    operations, payload = limits(t)
    t.verify(isinstance(operations, int) and operations > 0, f"maxOperations {operations!r}")
    t.verify(isinstance(payload, int) and payload > 0, f"maxPayloadSize {payload!r}")
    gone = {"method": "DELETE", "path": "/Users/no-such-id"}
    if 0 < operations <= MADE_OPERATIONS_MAX:
        first = t.user_body()
        answer = bulk(t, post("/Users", "a", first), *[gone] * operations)
        t.error(answer, 413)
        detail = str(answer.object.get("detail"))
        t.verify(str(operations) in detail, f"detail does not name the limit: {detail}")
        if t.site.supports("filter"):
            name = first["userName"]
            t.equal(t.get("/Users", filter=f'userName eq "{name}"').ids, [], "users made")
        results(t, bulk(t, *[gone] * operations), operations)
    else:
        t.choice(f"maxOperations {operations} was not tried")
    if 0 < payload <= MADE_BYTES_MAX:
        body = t.user_body(displayName="x" * (payload + 1))
        t.error(bulk(t, post("/Users", "a", body)), 413)
    else:
        t.choice(f"maxPayloadSize {payload} was not tried")


@check("C32.version")
def bulk_version(t):
    """RFC 7644 3.7: version in an operation is If-Match: an old one is 412."""
    limits(t)
    if not t.site.supports("etag"):
        t.skip("ServiceProviderConfig: etag is not supported")
    made = t.user()
    path = f"/Users/{made['id']}"
    stale = made["meta"]["version"]
    now = t.done(t.put(path, t.user_body(made["userName"], title="one"))).object["meta"]["version"]
    data = t.user_body(made["userName"], title="two")
    answer = bulk(t, {"method": "PUT", "path": path, "version": stale, "data": data})
    t.equal(statuses(results(t, answer, 1)), ["412"], "status with an old version")
    t.equal(t.read(path).get("title"), "one", "title")
    answer = bulk(t, {"method": "PUT", "path": path, "version": now, "data": data})
    t.equal(statuses(results(t, answer, 1)), ["200"], "status with the current version")
    answer = bulk(t, {"method": "DELETE", "path": path, "version": stale})
    t.equal(statuses(results(t, answer, 1)), ["412"], "status of DELETE with an old version")


@check("C32.message")
def message(t):
    """RFC 7644 3.7, 3.12: what is no BulkRequest is 400; other methods than POST are refused."""
    limits(t)
    good = post("/Users", "a", t.user_body())
    for body in (
        {},
        {"schemas": [BULK_REQUEST]},
        {"schemas": ["urn:x"], "Operations": [good]},
        {"schemas": [BULK_REQUEST], "Operations": good},
        {"schemas": [BULK_REQUEST], "Operations": ["POST"]},
        [good],
    ):
        t.error(t.call("POST", "/Bulk", body), 400, ("invalidSyntax", "invalidValue"))
    t.error(t.call("POST", "/Bulk", raw=b"{"), 400, "invalidSyntax")
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        body = None if method in ("GET", "DELETE") else {}
        t.error(t.call(method, "/Bulk", body), (404, 405, 501))


@check("C32.reader")
def bulk_reader(t):
    """RFC 7644 3.7, 7: a client that may only read cannot write by way of bulk."""
    limits(t)
    if t.site.reader is None:
        t.skip("needs --read-token-file")
    body = {"schemas": [BULK_REQUEST], "Operations": [post("/Users", "a", t.user_body())]}
    answer = t.call("POST", "/Bulk", body, client=t.site.reader)
    if answer.status == 200:
        found = answer.object.get("Operations") or [{}]
        t.verify(found[0].get("status") in ("403", "501"), f"{found}")
    else:
        t.error(answer, (403, 501))
