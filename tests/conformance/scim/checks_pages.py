"""C19 and P01 to P10: pages by index and by cursor."""

import re
import threading

from harness import LIST_RESPONSE, SEARCH_REQUEST, check

CROWD = 23
WRITES = 30
EXPIRY_S_MAX = 10
UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+")


def crowd(t):
    """Ids of a shared crowd of users, in the order of creation, and the filter that selects
    them."""
    t.wants_filter()
    if "crowd" not in t.site.shared:
        prefix = t.site.tag + "-p-"
        made = [t.site.keeper.user(f"{prefix}{i:03}")["id"] for i in range(CROWD)]
        t.site.shared["crowd"] = (made, f'userName sw "{prefix}"')
    return t.site.shared["crowd"]


def walk_index(t, text, count, between=None):
    """Ids of all pages by startIndex, as nsscache and providers walk them."""
    ids, start = [], 1
    for _ in range(10 * CROWD):
        answer = t.done(t.get("/Users", filter=text, count=str(count), startIndex=str(start)))
        ids += answer.ids
        start += len(answer.ids)
        if not answer.ids or start > answer.object.get("totalResults", 0):
            return ids
        if between:
            between()
    t.fail("the walk by startIndex does not end")
    return ids


@check("C19.numbers")
def numbers(t):
    """RFC 7644 3.4.2, 3.4.2.4: ListResponse with totalResults, startIndex, itemsPerPage as
    integers; itemsPerPage is what was returned; Resources is a list."""
    made, text = crowd(t)
    for query in ({}, {"count": "5"}, {"count": "5", "startIndex": "21"}, {"startIndex": "2"}):
        answer = t.done(t.get("/Users", filter=text, **query))
        body = answer.object
        t.equal(body.get("schemas"), [LIST_RESPONSE], "schemas")
        t.equal(body.get("totalResults"), CROWD, f"totalResults with {query}")
        t.equal(body.get("startIndex"), int(query.get("startIndex", 1)), "startIndex")
        t.equal(body.get("itemsPerPage"), len(answer.ids), "itemsPerPage")
        t.verify(isinstance(body.get("Resources"), list), "Resources is no list")
        t.equal(len(answer.ids), len(set(answer.ids)), "distinct ids")
        if "count" in query:
            wanted = min(5, CROWD + 1 - int(query.get("startIndex", 1)))
            t.equal(len(answer.ids), wanted, "resources")
    t.verify(set(walk_index(t, text, 200)) == set(made), "the whole crowd")


@check("C19.edges")
def edges(t):
    """RFC 7644 3.4.2.4: startIndex below 1 is 1; count below 0 is 0; count 0 gives totals alone;
    beyond the end there is nothing."""
    made, text = crowd(t)
    first = t.done(t.get("/Users", filter=text, count="3")).ids
    for start in ("0", "-1", "-99999999999", "1"):
        answer = t.done(t.get("/Users", filter=text, count="3", startIndex=start))
        t.equal(answer.ids, first, f"page with startIndex {start}")
        t.equal(answer.object.get("startIndex"), 1, f"startIndex of the answer to {start}")
    for count in ("0", "-1", "-1000"):
        answer = t.done(t.get("/Users", filter=text, count=count))
        t.equal(answer.ids, [], f"resources with count {count}")
        t.equal(answer.object.get("totalResults"), CROWD, f"totalResults with count {count}")
        t.equal(answer.object.get("itemsPerPage", 0), 0, f"itemsPerPage with count {count}")
    for start in (str(CROWD + 1), "100000", "9223372036854775807"):
        answer = t.done(t.get("/Users", filter=text, startIndex=start))
        t.equal(answer.ids, [], f"resources from {start}")
        t.equal(answer.object.get("totalResults"), CROWD, f"totalResults from {start}")
    answer = t.get("/Users", filter=text, count="99999999999999999999")
    t.verify(answer.status in (200, 400), f"a count beyond 64 bits: {answer.status}")
    t.verify(made, "no crowd")


@check("C19.maximum")
def maximum(t):
    """RFC 7643 5, RFC 7644 3.4.2.4: a count above the server's maximum is cut to it, not an error;
    no page has more than was asked for or filter.maxResults."""
    made, text = crowd(t)
    biggest = t.site.page_max
    answer = t.done(t.get("/Users", count=str(biggest + 1)))
    t.verify(len(answer.ids) <= biggest, f"{len(answer.ids)} resources, the maximum is {biggest}")
    for count in (1, 2, 7):
        found = t.done(t.get("/Users", filter=text, count=str(count)))
        t.equal(len(found.ids), count, f"resources with count {count}")
    t.verify(made, "no crowd")


@check("C19.order")
def stable_order(t):
    """RFC 7644 3.4.2.4: the order does not depend on count or startIndex, and walking pages gives
    everything once, for users, groups and search."""
    made, text = crowd(t)
    orders = [walk_index(t, text, count) for count in (1, 2, 7, 10, 100)]
    for found in orders:
        t.equal(found, orders[0], "the order of another page size")
    t.equal(sorted(orders[0]), sorted(made), "the whole crowd")
    for start in (1, 4, 17, 23):
        answer = t.done(t.get("/Users", filter=text, count="4", startIndex=str(start)))
        t.equal(answer.ids, orders[0][start - 1 : start + 3], f"page from {start}")
    body = {"schemas": [SEARCH_REQUEST], "filter": text, "count": 10, "startIndex": 11}
    t.equal(t.done(t.post("/Users/.search", body)).ids, orders[0][10:20], "page by search")
    total = t.done(t.get("/Users", count="0")).object.get("totalResults")
    if isinstance(total, int) and total <= 500:
        whole = [t.get("/Users", count=str(n), startIndex="1").ids for n in (5, total)]
        t.equal(whole[1][:5], whole[0], "the order of the list without filter")


@check("C19.inserts")
def index_inserts(t):
    """RFC 7644 3.4.2.4: users made while somebody walks the pages make no other one come twice or
    never; deleted ones may, which is a choice."""
    t.wants_filter()
    prefix = t.site.name("i") + "-"
    made = [t.user(f"{prefix}{i:03}")["id"] for i in range(12)]
    text = f'userName sw "{prefix}"'
    serial = iter(range(100, 200))
    found = walk_index(t, text, 3, lambda: t.user(f"{prefix}{next(serial)}"))
    kept = [i for i in found if i in made]
    t.equal(sorted(kept), sorted(made), "those that were there all the time")
    victims = iter(made)
    found = walk_index(t, text, 3, lambda: t.delete(f"/Users/{next(victims)}"))
    left = set(walk_index(t, text, 50))
    t.equal(len(found), len(set(found)), "distinct ids while others are deleted")
    missed = len(left - set(found))
    t.choice(f"deletions behind the reader make it miss {'some' if missed else 'nobody'}")


# ---- cursors ----


def wants_cursor(t):
    if t.site.pagination.get("cursor") is True:
        return
    _, text = crowd(t)
    answer = t.call("GET", "/Users", query={"filter": text, "cursor": "", "count": "2"})
    t.verify("nextCursor" not in answer.object, "nextCursor, but pagination.cursor is not true")
    t.skip("ServiceProviderConfig: pagination.cursor is not true")


def walk_cursor(t, query, ask=None, between=None):
    """(ids, answers) of all pages by cursor."""
    ask = ask or (lambda q: t.call("GET", "/Users", query=q))
    ids, answers, cursor = [], [], ""
    for _ in range(10 * CROWD):
        answer = t.done(ask({**query, "cursor": cursor}))
        answers.append(answer)
        ids += answer.ids
        cursor = answer.object.get("nextCursor")
        if cursor is None:
            return ids, answers
        t.need(isinstance(cursor, str) and cursor, "nextCursor is no string", answer)
        if between:
            between()
    t.fail("the walk by cursor does not end")
    return ids, answers


@check("P01.first")
def cursor_first(t):
    """RFC 9865 2: an empty cursor, with or without "=", asks for the first page."""
    _, text = crowd(t)
    wants_cursor(t)
    whole = walk_index(t, text, 100)
    by_equals = t.done(t.call("GET", "/Users", query={"filter": text, "count": "5", "cursor": ""}))
    bare = t.done(t.call("GET", "/Users?cursor", query={"filter": text, "count": "5"}))
    for answer in (by_equals, bare):
        t.equal(len(answer.ids), 5, "resources on the first page", answer)
        t.verify(answer.object.get("nextCursor"), "no nextCursor", answer)
    t.equal(by_equals.ids, bare.ids, "the same first page")
    t.choice(
        "cursor and index give " + ("one order" if by_equals.ids == whole[:5] else "two orders")
    )
    without = t.done(t.call("GET", "/Users", query={"filter": text, "cursor": ""}))
    t.verify(without.ids, "a first page without count")


@check("P01.opaque")
def cursor_opaque(t):
    """RFC 9865 2: cursors are of unreserved characters (RFC 3986 2.3) and show no names or ids."""
    made, text = crowd(t)
    wants_cursor(t)
    _, answers = walk_cursor(t, {"filter": text, "count": "4"})
    for answer in answers:
        for name in ("nextCursor", "previousCursor"):
            cursor = answer.object.get(name)
            if cursor is None:
                continue
            t.verify(UNRESERVED.fullmatch(cursor), f"{name} has other characters: {cursor}", answer)
            shown = [i for i in made if i in cursor]
            t.verify(not shown, f"{name} shows an id", answer)


@check("P02.walk")
def cursor_walk(t):
    """RFC 9865 2: nextCursor is on every page but the last, previousCursor not on the first; the
    walk gives everything once, in one order whatever the count."""
    made, text = crowd(t)
    wants_cursor(t)
    orders = []
    for count in (1, 4, 23, 24, 100):
        ids, answers = walk_cursor(t, {"filter": text, "count": str(count)})
        orders.append(ids)
        t.equal(sorted(ids), sorted(made), f"the whole crowd with count {count}")
        t.verify("previousCursor" not in answers[0].object, "previousCursor on page 1", answers[0])
        for answer in answers:
            t.verify(len(answer.ids) <= count, f"more than {count} resources", answer)
            t.equal(
                answer.object.get("itemsPerPage", len(answer.ids)), len(answer.ids), "itemsPerPage"
            )
    for found in orders:
        t.equal(found, orders[0], "the order of another page size")
    answer = t.call("GET", "/Users", query={"filter": 'userName eq "nobody at all"', "cursor": ""})
    t.done(answer)
    t.equal((answer.ids, answer.object.get("nextCursor")), ([], None), "an empty result")


@check("P02.previous")
def cursor_previous(t):
    """RFC 9865 2: previousCursor, where it is offered, leads to the page before."""
    _, text = crowd(t)
    wants_cursor(t)
    query = {"filter": text, "count": "5"}
    _, answers = walk_cursor(t, query)
    if not any("previousCursor" in a.object for a in answers):
        return t.choice("previousCursor is not offered")
    for before, answer in zip(answers, answers[1:]):
        cursor = answer.object.get("previousCursor")
        t.need(cursor, "a later page without previousCursor", answer)
        back = t.done(t.call("GET", "/Users", query={**query, "cursor": cursor}))
        t.equal(back.ids, before.ids, "the page before")
    return t.choice("previousCursor is offered")


@check("P03.same-query")
def cursor_same_query(t):
    """RFC 9865 2: a cursor goes with the query that it came from; with another filter, sort or type
    it is 400 invalidCursor; another count is accepted or 400."""
    _, text = crowd(t)
    wants_cursor(t)
    query = {"filter": text, "count": "5"}
    cursor = t.done(t.call("GET", "/Users", query={**query, "cursor": ""})).object["nextCursor"]
    for wrong in (
        {"filter": "userName pr", "count": "5"},
        {"count": "5"},
        {"filter": text + " and active eq false", "count": "5"},
    ):
        answer = t.call("GET", "/Users", query={**wrong, "cursor": cursor})
        t.error(answer, 400, ("invalidCursor", "expiredCursor"))
    if t.site.supports("sort"):
        answer = t.call("GET", "/Users", query={**query, "sortBy": "title", "cursor": cursor})
        t.error(answer, 400, ("invalidCursor", "expiredCursor"))
    if t.site.has_groups:
        answer = t.call("GET", "/Groups", query={"count": "5", "cursor": cursor})
        t.error(answer, 400, ("invalidCursor", "expiredCursor"))
    answer = t.call("GET", "/Users", query={**query, "count": "6", "cursor": cursor})
    if answer.status == 200:
        t.choice("another count with a cursor is accepted")
    else:
        t.error(answer, 400, ("invalidCount", "invalidCursor"))
        t.choice("another count with a cursor is refused")
    again = [t.call("GET", "/Users", query={**query, "cursor": cursor}) for _ in range(2)]
    t.equal(again[1].ids, again[0].ids, "the same cursor asked for twice")


@check("P04.invalid-cursor")
def invalid_cursor(t):
    """RFC 9865 2.2: what is no cursor of this server is 400 invalidCursor, in SCIM form."""
    _, text = crowd(t)
    wants_cursor(t)
    for cursor in ("x", "AAAA", "0", "-1", "null", "a" * 3000, "../..", "%00", "\u00e9", "' OR 1"):
        answer = t.call("GET", "/Users", query={"filter": text, "cursor": cursor})
        t.error(answer, 400, "invalidCursor")
    body = {"schemas": [SEARCH_REQUEST], "filter": text, "cursor": "x"}
    t.error(t.post("/Users/.search", body), 400, "invalidCursor")
    t.error(t.post("/Users/.search", body | {"cursor": 5}), 400, ("invalidCursor", "invalidSyntax"))


@check("P04.invalid-count")
def invalid_count(t):
    """RFC 9865 2.2: with a cursor, a count that is no number is 400 invalidCount; one below 1 or
    above the maximum is that, or is cut."""
    _, text = crowd(t)
    wants_cursor(t)
    for count in ("x", "1.5", "5x"):
        answer = t.call("GET", "/Users", query={"filter": text, "cursor": "", "count": count})
        t.error(answer, 400, "invalidCount")
    for count in ("-1", "0", str(t.site.page_max + 1)):
        answer = t.call("GET", "/Users", query={"filter": text, "cursor": "", "count": count})
        if answer.status == 200:
            t.verify(len(answer.ids) <= t.site.page_max, "more than the maximum")
            if count != str(t.site.page_max + 1):
                t.equal(answer.ids, [], f"resources with count {count}")
            t.choice(f"count {count} with a cursor: answered")
        else:
            t.error(answer, 400, "invalidCount")
            t.choice(f"count {count} with a cursor: invalidCount")


@check("P04.expired-cursor")
def expired_cursor(t):
    """RFC 9865 2.2: a cursor older than cursorTimeout is 400 expiredCursor, or still good."""
    _, text = crowd(t)
    wants_cursor(t)
    timeout = t.site.pagination.get("cursorTimeout")
    if not isinstance(timeout, int) or timeout > EXPIRY_S_MAX:
        t.skip(f"cursorTimeout is {timeout}: too long to wait for")
    query = {"filter": text, "count": "5"}
    cursor = t.done(t.call("GET", "/Users", query={**query, "cursor": ""})).object["nextCursor"]
    threading.Event().wait(timeout + 1)
    answer = t.call("GET", "/Users", query={**query, "cursor": cursor})
    if answer.status == 200:
        t.choice("cursors live longer than cursorTimeout")
    else:
        t.error(answer, 400, "expiredCursor")


@check("P05.total")
def cursor_total(t):
    """RFC 9865 2.1: totalResults may be left out with cursors; where it is there it is right, on
    every page."""
    _, text = crowd(t)
    wants_cursor(t)
    _, answers = walk_cursor(t, {"filter": text, "count": "5"})
    totals = {a.object.get("totalResults") for a in answers}
    t.verify(totals <= {CROWD, None} and len(totals) == 1, f"totalResults: {totals}")
    t.choice("totalResults with cursors is " + ("there" if CROWD in totals else "left out"))


@check("P06.default-method")
def default_method(t):
    """RFC 9865 2.4, 2.6: a request that names no method gets the default one; index stays as it
    was; both at once are refused or one of them wins."""
    _, text = crowd(t)
    wants_cursor(t)
    default = t.site.pagination.get("defaultPaginationMethod")
    answer = t.done(t.get("/Users", filter=text, count="5"))
    if default == "cursor":
        t.verify(answer.object.get("nextCursor"), "no nextCursor, but cursor is the default")
    elif default == "index":
        t.verify("nextCursor" not in answer.object, "nextCursor, but index is the default")
        t.equal(answer.object.get("startIndex"), 1, "startIndex")
    answer = t.get("/Users", filter=text, count="5", startIndex="6")
    if t.site.pagination.get("index") is True:
        t.done(answer)
        t.equal(answer.object.get("startIndex"), 6, "startIndex")
        t.verify("nextCursor" not in answer.object, "nextCursor in an answer by index")
    query = {"filter": text, "count": "5", "startIndex": "6", "cursor": ""}
    answer = t.call("GET", "/Users", query=query)
    if answer.status == 200:
        wins = "cursor" if "nextCursor" in answer.object else "startIndex"
        t.choice(f"startIndex and cursor: {wins} wins")
    else:
        t.error(answer, 400, ("invalidCursor", "invalidValue", "invalidSyntax"))
        t.choice("startIndex and cursor: refused")


@check("P07.config")
def config(t):
    """RFC 9865 4: pagination in ServiceProviderConfig: cursor and index booleans, the method one of
    two, sizes and timeout positive integers, and true."""
    part = t.site.config.get("pagination")
    if part is None:
        t.skip("ServiceProviderConfig has no pagination")
    for name in ("cursor", "index"):
        t.verify(isinstance(part.get(name), bool), f"pagination.{name} is {part.get(name)!r}")
    t.verify(part.get("cursor") or part.get("index"), "neither cursor nor index")
    method = part.get("defaultPaginationMethod")
    t.verify(method in (None, "cursor", "index"), f"defaultPaginationMethod {method!r}")
    for name in ("defaultPageSize", "maxPageSize", "cursorTimeout"):
        value = part.get(name)
        good = isinstance(value, int) and not isinstance(value, bool) and value > 0
        t.verify(value is None or good, f"pagination.{name} is {value!r}")
    sizes = part.get("defaultPageSize"), part.get("maxPageSize")
    if None not in sizes:
        t.verify(
            sizes[0] <= sizes[1], f"the default page {sizes[0]} is over the maximum {sizes[1]}"
        )
    filtered = (t.site.config.get("filter") or {}).get("maxResults")
    if sizes[1] and filtered:
        t.verify(sizes[1] <= filtered, f"maxPageSize {sizes[1]}, filter.maxResults {filtered}")
    if t.site.schemas:
        urn = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
        t.verify(t.site.attribute(urn, "pagination"), "the schema does not define pagination")


@check("P08.search")
def cursor_search(t):
    """RFC 9865 3: cursors work by POST /.search on a type, and at the root where that is offered;
    the pages are those of GET."""
    made, text = crowd(t)
    wants_cursor(t)
    by_get, _ = walk_cursor(t, {"filter": text, "count": "5"})

    def ask_at(path):
        def ask(query):
            body = {"schemas": [SEARCH_REQUEST]} | query
            return t.post(path, body | {"count": int(query["count"])})

        return ask

    ids, answers = walk_cursor(t, {"filter": text, "count": "5"}, ask_at("/Users/.search"))
    t.equal(ids, by_get, "the pages by search")
    t.equal(len(answers), 5, "number of pages")
    first = t.post("/.search", {"schemas": [SEARCH_REQUEST], "filter": text, "count": 1})
    if first.status == 200:
        ids, _ = walk_cursor(t, {"filter": text, "count": "5"}, ask_at("/.search"))
        t.equal(sorted(ids), sorted(made), "the pages by search at the root")


@check("P08.projection")
def cursor_projection(t):
    """RFC 9865 2, RFC 7644 3.9: attributes hold on every page of a walk by cursor."""
    _, text = crowd(t)
    wants_cursor(t)
    _, answers = walk_cursor(t, {"filter": text, "count": "9", "attributes": "userName"})
    for answer in answers:
        for body in answer.resources:
            t.equal(set(body), {"id", "schemas", "userName"}, "attributes", answer)


@check("P08.sorted")
def cursor_sorted(t):
    """RFC 9865 2.3: where sorting is supported, pages by cursor are sorted."""
    made, text = crowd(t)
    wants_cursor(t)
    if not t.site.supports("sort"):
        t.skip("ServiceProviderConfig: sort is not supported")
    query = {"filter": text, "count": "5", "sortBy": "userName", "sortOrder": "descending"}
    ids, _ = walk_cursor(t, query)
    t.equal(ids, list(reversed(made)), "the crowd, descending by userName")


@check("P09.forged")
def forged(t):
    """RFC 9865 5: a cursor that was changed, or belongs to another tenant, is refused as invalid
    with one message that tells nothing; one of another client of the tenant gives no more than
    its own."""
    _, text = crowd(t)
    wants_cursor(t)
    query = {"filter": text, "count": "5"}
    cursor = t.done(t.call("GET", "/Users", query={**query, "cursor": ""})).object["nextCursor"]
    refusals = []
    for index in sorted({0, 1, len(cursor) // 3, len(cursor) // 2, len(cursor) - 2}):
        letter = "A" if cursor[index] != "A" else "B"
        changed = cursor[:index] + letter + cursor[index + 1 :]
        refusals.append(t.call("GET", "/Users", query={**query, "cursor": changed}))
    refusals.append(t.call("GET", "/Users", query={**query, "cursor": cursor[:-4]}))
    refusals.append(t.call("GET", "/Users", query={**query, "cursor": cursor + "AAAA"}))
    if t.site.other is not None:
        other = t.site.other
        answer = t.call("GET", "/Users", query={**query, "cursor": cursor}, client=other)
        refusals.append(answer)
    for answer in refusals:
        t.error(answer, 400, "invalidCursor")
    t.equal(len({a.object.get("detail") for a in refusals}), 1, "messages for invalid cursors")
    if t.site.reader is not None:
        answer = t.call("GET", "/Users", query={**query, "cursor": cursor}, client=t.site.reader)
        if answer.status == 200:
            t.choice("a cursor of another client of the tenant is understood")
        else:
            t.error(answer, 400, "invalidCursor")
            t.choice("a cursor of another client of the tenant is refused")


@check("P10.writes-between")
def writes_between(t):
    """RFC 9865 1, 2: users made, changed and deleted between pages by cursor make no surviving one
    come twice or never."""
    t.wants_filter()
    wants_cursor(t)
    prefix = t.site.name("s") + "-"
    made = [t.user(f"{prefix}{i:03}")["id"] for i in range(16)]
    serial = iter(range(900, 999))
    gone = []

    def write():
        victim = made[len(gone) * 3]
        t.delete(f"/Users/{victim}")
        gone.append(victim)
        t.user(f"{prefix}{next(serial)}")
        name = f"{prefix}0{15 - len(gone):02}"
        t.put(f"/Users/{made[15 - len(gone)]}", t.user_body(name, title="changed"))

    query = {"filter": f'userName sw "{prefix}"', "count": "4"}
    ids, _ = walk_cursor(t, query, between=lambda: len(gone) < 4 and write())
    t.equal(len(ids), len(set(ids)), "distinct ids")
    t.verify(gone, "no write took place")
    surviving = set(made) - set(gone)
    t.equal(surviving - set(ids), set(), "surviving users that never came")


@check("P10.writes-meanwhile")
def writes_meanwhile(t):
    """RFC 9865 1, 2; RFC 7644 3.4.2.4: the same with a second client that writes all the time, by
    cursor and, for what is not deleted, by index."""
    made, text = crowd(t)
    name = text.split('"')[1] + "zz-"
    stop = threading.Event()
    writer = t.client.twin()
    problems = []

    def write():
        try:
            for number in range(100 * WRITES):
                body = t.user_body(f"{name}{number}")
                answer = writer.call("POST", "/Users", body)
                if answer.status == 201:
                    writer.call("DELETE", f"/Users/{answer.object['id']}")
                if stop.is_set():
                    return
        except OSError as problem:
            problems.append(str(problem))
        finally:
            writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(5):
            found = walk_index(t, text, 4)
            t.equal(sorted(i for i in found if i in made), sorted(made), "a walk by index")
            if t.site.pagination.get("cursor") is True:
                found, _ = walk_cursor(t, {"filter": text, "count": "4"})
                t.equal(sorted(i for i in found if i in made), sorted(made), "a walk by cursor")
    finally:
        stop.set()
        thread.join()
    t.verify(not problems, f"the writer: {problems}")
