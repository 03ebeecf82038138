"""C21 and C22: sorting, and POST /.search."""

from checks_filter import people
from harness import SEARCH_REQUEST, USER, check, moment

# ---- C21: sorting ----


def wants_sort(t):
    if t.site.supports("sort"):
        return
    people(t)
    answer = t.get("/Users", sortBy="userName", count="2")
    t.verify(answer.status in (200, 400, 501), f"sortBy without support: status {answer.status}")
    t.choice("sortBy is " + ("ignored" if answer.status == 200 else "refused"))
    t.skip("ServiceProviderConfig: sort is not supported")


def sorted_keys(t, **query):
    group = people(t)
    answer = t.get("/Users", filter=f'userName sw "{group.tag}"', count="50", **query)
    t.status(answer, 200)
    return "".join(group.keys.get(i, "?") for i in answer.ids)


@check("C21.strings")
def sort_strings(t):
    """RFC 7644 3.4.2.3: sortBy, ascending by default, without case where caseExact is false; any
    case and URI prefix of the name; dateTimes in time."""
    wants_sort(t)
    for name in ("userName", "USERNAME", f"{USER}:userName"):
        t.equal(sorted_keys(t, sortBy=name), "abdec", f"users by {name}")
    t.equal(sorted_keys(t, sortBy="userName", sortOrder="ascending"), "abdec", "ascending")
    t.equal(sorted_keys(t, sortBy="userName", sortOrder="descending"), "cedba", "descending")
    t.equal(sorted_keys(t, sortBy="displayName"), "abdec", "users by displayName")
    for order in ("ascending", "descending"):
        found = sorted_keys(t, sortBy="meta.created", sortOrder=order)
        times = [moment(people(t).made[key]["meta"]["created"]) for key in found]
        t.equal(len(times), 5, "users by meta.created")
        t.verify(times == sorted(times, reverse=order == "descending"), f"{order}: {found}")


@check("C21.missing")
def sort_missing(t):
    """RFC 7644 3.4.2.3: without value comes last in ascending order, first in descending order."""
    wants_sort(t)
    found = sorted_keys(t, sortBy="title")
    t.verify(set(found[:2]) == set("ab") and found[2:3] == "d", f"by title: {found}")
    t.verify(set(found[3:]) == set("ce"), f"by title, without value last: {found}")
    found = sorted_keys(t, sortBy="title", sortOrder="descending")
    t.verify(set(found[:2]) == set("ce") and found[2:3] == "d", f"by title, descending: {found}")
    found = sorted_keys(t, sortBy="name.givenName")
    t.equal(found[:2], "ab", "users by name.givenName")


@check("C21.multi-valued")
def sort_multi_valued(t):
    """RFC 7644 3.4.2.3: a multi-valued attribute sorts by its primary value, else its first."""
    wants_sort(t)
    for name in ("emails", "emails.value"):
        found = sorted_keys(t, sortBy=name)
        t.equal(found[:3], "abd", f"users by {name}")
        t.equal(set(found[3:]), set("ce"), f"users without {name}, last")


@check("C21.odd-parameters")
def sort_odd(t):
    """RFC 7644 3.4.2.3: an unknown sortBy or sortOrder is ignored or 400; never 500."""
    wants_sort(t)
    for query in ({"sortBy": "noSuchThing"}, {"sortBy": "userName", "sortOrder": "sideways"}):
        answer = t.get("/Users", filter=f'userName sw "{people(t).tag}"', **query)
        if answer.status == 200:
            t.equal(len(answer.ids), 5, f"users listed with {query}")
            t.choice(f"{query}: ignored")
        else:
            t.error(answer, 400, ("invalidValue", "invalidPath", "invalidFilter"))
            t.choice(f"{query}: refused")


@check("C21.pages")
def sort_pages(t):
    """RFC 7644 3.4.2.3, 3.4.2.4: pages of a sorted list are parts of the sorted list, by index and
    by search."""
    wants_sort(t)
    group = people(t)
    query = {"filter": f'userName sw "{group.tag}"', "sortBy": "userName", "count": "2"}
    found = ""
    for start in (1, 3, 5):
        answer = t.get("/Users", **query, startIndex=str(start))
        found += "".join(group.keys.get(i, "?") for i in answer.ids)
    t.equal(found, "abdec", "three pages by userName")
    body = {"schemas": [SEARCH_REQUEST], "filter": query["filter"]}
    body |= {"sortBy": "userName", "sortOrder": "descending", "startIndex": 2, "count": 3}
    answer = t.done(t.post("/Users/.search", body))
    found = "".join(group.keys.get(i, "?") for i in answer.ids)
    t.equal(found, "edb", "the second to fourth, descending, by search")


# ---- C22: search ----


@check("C22.equals-get")
def search_equals_get(t):
    """RFC 7644 3.4.3: POST /.search on a type answers as GET with the same parameters."""
    group = people(t)
    for query in (
        {"filter": f'userName sw "{group.tag}"'},
        {"filter": f'userName sw "{group.tag}"', "count": 2, "startIndex": 2},
        {"filter": f'userName sw "{group.tag}"', "count": 0},
        {"filter": f'userName sw "{group.tag}"', "count": -1, "startIndex": -5},
        {"filter": f'userName sw "{group.tag}"', "attributes": ["userName", "emails.value"]},
        {"filter": f'userName sw "{group.tag}"', "excludedAttributes": ["emails", "name"]},
    ):
        asked = {k: ",".join(v) if isinstance(v, list) else str(v) for k, v in query.items()}
        by_get = t.done(t.get("/Users", **asked))
        by_post = t.done(t.post("/Users/.search", {"schemas": [SEARCH_REQUEST]} | query))
        t.equal(by_post.object, by_get.object, f"search of {query} against GET")
        t.equal(by_post.media_type, by_get.media_type, "media type")
    if t.site.has_groups:
        made = t.group()
        query = {"filter": f'id eq "{made["id"]}"', "excludedAttributes": ["members"]}
        by_post = t.done(t.post("/Groups/.search", {"schemas": [SEARCH_REQUEST]} | query))
        t.equal(by_post.ids, [made["id"]], "groups found by search")


@check("C22.root")
def search_root(t):
    """RFC 7644 3.4.2.1, 3.4.3: search at the root goes over all types, with one count of results
    and pages across them; not offering it is a choice."""
    tag = people(t).tag
    made = t.group(tag + "search")
    body = {"schemas": [SEARCH_REQUEST]}
    body["filter"] = f'userName sw "{tag}" or displayName eq "{tag}search"'
    whole = t.post("/.search", body | {"count": 50})
    if whole.status in (404, 405, 501):
        t.error_form(whole)
        return t.choice(f"search at the root is not offered: {whole.status}")
    t.done(whole)
    t.equal(whole.object.get("totalResults"), 6, "totalResults")
    wanted = set(people(t).keys) | {made["id"]}
    t.equal(set(whole.ids), wanted, "resources found")
    kinds = {(r.get("meta") or {}).get("resourceType") for r in whole.resources}
    t.equal(kinds, {"User", "Group"}, "types found")
    found = []
    for start in (1, 3, 5, 7):
        page = t.done(t.post("/.search", body | {"startIndex": start, "count": 2}))
        t.equal(page.object.get("totalResults"), 6, f"totalResults from {start}")
        found += page.ids
    t.equal(found, whole.ids, "resources in pages of two")
    return t.choice("search at the root is offered")


@check("C22.root-get")
def root_get(t):
    """RFC 7644 3.4.2.1: GET of the root with a filter lists all types, or is refused in SCIM
    form."""
    tag = people(t).tag
    answer = t.call("GET", "/", query={"filter": f'userName eq "{tag}alpha"'})
    if answer.status == 200:
        t.equal(answer.ids, [people(t).id("a")], "resources at the root")
        return t.choice("GET of the root is offered")
    t.error(answer, (403, 404, 405, 501))
    return t.choice(f"GET of the root is not offered: {answer.status}")


@check("C22.bad-requests")
def search_bad(t):
    """RFC 7644 3.4.3, 3.12: a search that is no SearchRequest is 400; other methods are refused."""
    people(t)
    t.error(t.call("POST", "/Users/.search", raw=b"{"), 400, "invalidSyntax")
    t.error(t.call("POST", "/Users/.search", raw=b"[]"), 400, ("invalidSyntax", "invalidValue"))
    answer = t.post("/Users/.search", {"schemas": [USER], "filter": "userName pr"})
    t.error(answer, 400, ("invalidSyntax", "invalidValue"))
    answer = t.post("/Users/.search", {"schemas": [SEARCH_REQUEST], "filter": 5})
    t.error(answer, 400, ("invalidSyntax", "invalidValue", "invalidFilter"))
    for wrong in ({"count": "x"}, {"startIndex": {}}, {"attributes": 5}):
        answer = t.post("/Users/.search", {"schemas": [SEARCH_REQUEST]} | wrong)
        t.error(answer, 400, ("invalidSyntax", "invalidValue", "invalidCount"))
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        body = None if method in ("GET", "DELETE") else {}
        t.error(t.call(method, "/Users/.search", body), (404, 405, 501))
