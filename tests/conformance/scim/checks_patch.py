"""C24 to C29: PATCH."""

from harness import ENTERPRISE, USER, check, patch_body

WORK = {"value": "work@example.com", "type": "work", "primary": True}
HOME = {"value": "home@example.com", "type": "home"}
OTHER = {"value": "other@example.com", "type": "other"}


def person(t, **attributes):
    """Path of a new user with two e-mail addresses, a name and a title."""
    t.wants_patch()
    t.wants("emails", "name", "title", "displayName")
    given = {
        "emails": [WORK, HOME],
        "name": {"givenName": "Ada", "familyName": "Example"},
        "title": "Engineer",
    }
    return f"/Users/{t.user(**(given | attributes))['id']}"


def op(kind, path=None, value=None):
    found = {"op": kind}
    if path is not None:
        found["path"] = path
    if value is not None:
        found["value"] = value
    return found


def values(emails):
    return sorted(mail.get("value", "") for mail in emails or [])


# ---- C24 ----


@check("C24.atomic")
def atomic(t):
    """RFC 7644 3.5.2: one operation that fails undoes all of them, wherever it stands."""
    path = person(t)
    before = t.read(path)
    good = [op("replace", "title", "Changed"), op("remove", "emails"), op("add", "nickName", "x")]
    for bad, types in (
        (op("replace", "id", "x"), "mutability"),
        (op("replace", 'emails[type eq "none"]', WORK), "noTarget"),
        (op("replace", "no such path", "x"), "invalidPath"),
        (op("replace", "active", "maybe"), "invalidValue"),
        (op("remove"), "noTarget"),
        (op("remove", "userName"), "mutability"),
        (op("move", "title", "x"), ("invalidSyntax", "invalidValue")),
    ):
        for operations in ([*good, bad], [bad, *good], [good[0], bad, *good[1:]]):
            t.error(t.patch(path, *operations), 400, types)
            t.equal(t.read(path), before, f"the user after a PATCH with {bad}")


@check("C24.atomic-group")
def atomic_group(t):
    """RFC 7644 3.5.2: the same for members of groups, and for clashes of names."""
    t.wants_patch()
    one, two = t.user()["id"], t.user()["id"]
    made = t.group(members=[one])
    path = f"/Groups/{made['id']}"
    before = t.read(path)
    add = op("add", "members", [{"value": two}])
    rename = op("replace", "displayName", t.site.name("g"))
    for operations in (
        [add, rename, op("replace", "id", "x")],
        [op("remove", "members"), op("add", "members", [{"value": "no-such-id"}])],
        [rename, add, op("remove", "displayName")],
    ):
        t.error(t.patch(path, *operations), (400, 404))
        t.equal(t.read(path), before, "the group after a refused PATCH")
    taken = t.user()["userName"]
    victim = t.user(title="Engineer")
    operations = [op("replace", "title", "x"), op("replace", "userName", taken)]
    t.error(t.patch(f"/Users/{victim['id']}", *operations), 409, "uniqueness")
    t.equal(t.read(f"/Users/{victim['id']}").get("title"), "Engineer", "title after the clash")


@check("C24.order")
def order(t):
    """RFC 7644 3.5.2: operations are applied one after another, each to what the last one left."""
    path = person(t)
    after = t.patched(
        path,
        op("replace", "title", "one"),
        op("remove", "title"),
        op("add", "title", "three"),
        op("remove", "emails"),
        op("add", "emails", [OTHER]),
        op("replace", 'emails[type eq "other"].value', "last@example.com"),
    )
    t.equal(after.get("title"), "three", "title")
    t.equal(after.get("emails"), [dict(OTHER, value="last@example.com")], "emails")
    after = t.patched(path, op("add", "title", "x"), op("remove", "title"))
    t.verify("title" not in after, "title was removed last")
    t.wants_groups()
    one, two = t.user()["id"], t.user()["id"]
    group = f"/Groups/{t.group(members=[one])['id']}"
    after = t.patched(
        group,
        op("remove", f'members[value eq "{one}"]'),
        op("add", "members", [{"value": two}]),
        op("add", "members", [{"value": one}]),
        op("remove", f'members[value eq "{two}"]'),
    )
    t.equal([m["value"] for m in after.get("members") or []], [one], "members")


@check("C24.op-case")
def op_case(t):
    """RFC 7644 3.5.2: op compares without case, as providers send Add, Replace and Remove."""
    path = person(t)
    t.equal(t.patched(path, op("Replace", "title", "x")).get("title"), "x", "title after Replace")
    after = t.patched(path, op("ADD", "emails", [OTHER]))
    t.equal(len(after.get("emails") or []), 3, "emails after ADD")
    t.verify("emails" not in t.patched(path, op("Remove", "emails")), "emails after Remove")


@check("C24.message")
def message(t):
    """RFC 7644 3.5.2, 3.12: a body that is no PatchOp is 400 invalidSyntax (or invalidValue)."""
    path = person(t)
    before = t.read(path)
    good = op("replace", "title", "Changed")
    kinds = ("invalidSyntax", "invalidValue")
    for body in (
        {},
        {"schemas": patch_body()["schemas"]},
        patch_body(),
        {"schemas": [USER], "Operations": [good]},
        {"schemas": patch_body()["schemas"], "Operations": good},
        patch_body("replace"),
        patch_body({"path": "title", "value": "x"}),
        patch_body({"op": 5, "path": "title", "value": "x"}),
        patch_body({"op": "", "path": "title", "value": "x"}),
        patch_body({"op": "test", "path": "title", "value": "x"}),
        patch_body({"op": "replace", "path": "title"}),
        patch_body({"op": "add", "path": "title"}),
        patch_body({"op": "add"}),
        [good],
    ):
        t.error(t.call("PATCH", path, body), 400, kinds)
    answer = t.call("PATCH", path, patch_body({"op": "replace", "path": 5, "value": "x"}))
    t.error(answer, 400, (*kinds, "invalidPath"))
    t.equal(t.read(path), before, "the user afterwards")
    answer = t.call("PATCH", path, {"Operations": [good]})
    t.verify(answer.status in (200, 204, 400), f"a PATCH without schemas: {answer.status}")
    t.choice("a PATCH without schemas is " + ("refused" if answer.status == 400 else "accepted"))
    lower = {"schemas": patch_body()["schemas"], "operations": [op("replace", "title", "Lower")]}
    t.verify(t.call("PATCH", path, lower).status in (200, 204), "operations in lower case")


# ---- C25: add ----


@check("C25.pathless")
def add_pathless(t):
    """RFC 7644 3.5.2.1: add without path merges: single values are set, lists grow, complex ones
    merge, extensions by their URI."""
    path = person(t)
    value = {"title": "New", "emails": [OTHER], "name": {"middleName": "M"}, "nickName": "nick"}
    if t.site.has_enterprise:
        value[ENTERPRISE] = {"department": "Tools"}
    after = t.patched(path, {"op": "add", "value": value})
    t.equal(after.get("title"), "New", "title")
    t.equal(after.get("nickName"), "nick", "nickName")
    t.equal(values(after.get("emails")), values([WORK, HOME, OTHER]), "emails")
    wanted = {"givenName": "Ada", "familyName": "Example", "middleName": "M"}
    t.equal(after.get("name"), wanted, "name")
    if t.site.has_enterprise:
        t.equal((after.get(ENTERPRISE) or {}).get("department"), "Tools", "department")


@check("C25.multi-valued")
def add_multi_valued(t):
    """RFC 7644 3.5.2.1: add to a multi-valued attribute appends; a value that is there already is
    no duplicate; what is absent is made."""
    path = person(t)
    after = t.patched(path, op("add", "emails", [OTHER]))
    t.equal(values(after.get("emails")), values([WORK, HOME, OTHER]), "emails after add")
    after = t.patched(path, op("add", "emails", [HOME]), op("add", "emails", [OTHER, HOME]))
    t.equal(values(after.get("emails")), values([WORK, HOME, OTHER]), "emails after adding again")
    after = t.patched(path, op("add", "emails", dict(OTHER, value="single@example.com")))
    t.verify("single@example.com" in values(after.get("emails")), "a value that is no list")
    after = t.patched(path, op("remove", "emails"), op("add", "emails", [HOME]))
    t.equal(after.get("emails"), [HOME], "emails where none was")


@check("C25.single-valued")
def add_single_valued(t):
    """RFC 7644 3.5.2.1: add to a single-valued attribute replaces it; to a complex one it merges;
    to a sub-attribute it sets that alone."""
    path = person(t)
    after = t.patched(path, op("add", "title", "New"))
    t.equal(after.get("title"), "New", "title")
    after = t.patched(path, op("add", "name", {"middleName": "M", "givenName": "Eva"}))
    wanted = {"givenName": "Eva", "familyName": "Example", "middleName": "M"}
    t.equal(after.get("name"), wanted, "name")
    after = t.patched(path, op("add", "name.honorificPrefix", "Dr."))
    t.equal(after.get("name"), wanted | {"honorificPrefix": "Dr."}, "name")
    after = t.patched(path, op("add", 'emails[type eq "home"].display', "At home"))
    t.verify(
        dict(HOME, display="At home") in after.get("emails", []), "display of the home address"
    )


@check("C25.no-change")
def add_no_change(t):
    """RFC 7644 3.5.2.1: adding what is there already succeeds and does not change lastModified."""
    path = person(t)
    before = t.read(path)
    after = t.patched(path, op("add", "title", "Engineer"), op("add", "emails", [WORK]))
    t.equal(after, before, "the user after adding what was there")
    if t.site.has_groups:
        member = t.user()["id"]
        group = f"/Groups/{t.group(members=[member])['id']}"
        before = t.read(group)
        after = t.patched(group, op("add", "members", [{"value": member}]))
        t.equal(after, before, "the group after adding a member that was there")


@check("C25.members")
def add_members(t):
    """RFC 7644 3.5.2.1: members are added, several at once, without duplicates, never lost."""
    t.wants_patch()
    ids = [t.user()["id"] for _ in range(4)]
    path = f"/Groups/{t.group()['id']}"
    for wanted, operation in (
        (1, op("add", "members", [{"value": ids[0]}])),
        (3, op("add", "members", [{"value": ids[1]}, {"value": ids[2]}])),
        (3, op("add", "members", [{"value": ids[2]}, {"value": ids[2]}])),
        (4, {"op": "add", "value": {"members": [{"value": ids[3]}]}}),
    ):
        found = sorted(m["value"] for m in t.patched(path, operation).get("members") or [])
        t.equal(found, sorted(ids[:wanted]), f"members after {operation}")


# ---- C26: replace ----


@check("C26.single-valued")
def replace_single(t):
    """RFC 7644 3.5.2.3: replace sets a value; of what is absent it is an add; of a complex one it
    leaves the sub-attributes that are not named."""
    path = person(t)
    after = t.patched(path, op("replace", "title", "New"), op("replace", "nickName", "nick"))
    t.equal((after.get("title"), after.get("nickName")), ("New", "nick"), "title, nickName")
    after = t.patched(path, op("replace", "name", {"givenName": "Eva"}))
    t.equal(after.get("name"), {"givenName": "Eva", "familyName": "Example"}, "name")
    after = t.patched(path, op("replace", "name.familyName", "New"))
    t.equal(after.get("name"), {"givenName": "Eva", "familyName": "New"}, "name")
    after = t.patched(path, op("replace", f"{USER}:title", "By URI"))
    t.equal(after.get("title"), "By URI", "title by its URI")
    after = t.patched(path, op("replace", f"{USER}:name.givenName", "Uri"))
    t.equal((after.get("name") or {}).get("givenName"), "Uri", "name.givenName by its URI")


@check("C26.pathless")
def replace_pathless(t):
    """RFC 7644 3.5.2.3: replace without path replaces what the value names, lists whole, and
    nothing else."""
    path = person(t)
    value = {"title": "New", "emails": [OTHER], "name": {"givenName": "Eva"}}
    if t.site.has_enterprise:
        value[ENTERPRISE] = {"department": "Tools"}
    before = t.read(path)
    after = t.patched(path, {"op": "replace", "value": value})
    t.equal(after.get("title"), "New", "title")
    t.equal(after.get("emails"), [OTHER], "emails")
    t.equal((after.get("name") or {}).get("givenName"), "Eva", "name.givenName")
    t.equal((after.get("name") or {}).get("familyName"), "Example", "name.familyName")
    t.equal(after.get("userName"), before["userName"], "userName")
    if t.site.has_enterprise:
        t.equal((after.get(ENTERPRISE) or {}).get("department"), "Tools", "department")


@check("C26.multi-valued")
def replace_multi(t):
    """RFC 7644 3.5.2.3: replace of a multi-valued attribute replaces all of it; with a filter, the
    values that match; with a sub-attribute, that alone in all that match."""
    path = person(t)
    after = t.patched(path, op("replace", "emails", [OTHER, HOME]))
    t.equal(values(after.get("emails")), values([OTHER, HOME]), "emails")
    after = t.patched(path, op("replace", 'emails[type eq "home"].value', "new@example.com"))
    wanted = values([OTHER, dict(HOME, value="new@example.com")])
    t.equal(values(after.get("emails")), wanted, "emails after replacing one value")
    new = {"value": "whole@example.com", "type": "home", "display": "Whole"}
    after = t.patched(path, op("replace", 'emails[type eq "home"]', new))
    t.equal(values(after.get("emails")), values([OTHER, new]), "emails after replacing an element")
    t.verify(new in after.get("emails", []), "the element that replaced one")
    after = t.patched(path, op("replace", "emails[value pr].display", "All"))
    t.equal([m.get("display") for m in after["emails"]], ["All", "All"], "display of all")


@check("C26.members")
def replace_members(t):
    """RFC 7644 3.5.2.3: replace of members by path or without sets exactly those; [] none."""
    t.wants_patch()
    ids = [t.user()["id"] for _ in range(3)]
    path = f"/Groups/{t.group(members=ids[:2])['id']}"
    for wanted, operation in (
        (ids[1:], op("replace", "members", [{"value": i} for i in ids[1:]])),
        (ids[:1], {"op": "replace", "value": {"members": [{"value": ids[0]}]}}),
        ([], op("replace", "members", [])),
        (ids, op("replace", "members", [{"value": i} for i in ids])),
    ):
        found = sorted(m["value"] for m in t.patched(path, operation).get("members") or [])
        t.equal(found, sorted(wanted), f"members after {operation}")


@check("C26.no-target")
def no_target(t):
    """RFC 7644 3.5.2.3, 3.12: replace with a filter that matches nothing is 400 noTarget; making
    the value from the filter, as Entra ID expects it of type filters, is a choice."""
    path = person(t)
    before = t.read(path)
    for where, value in (
        ('emails[type eq "nosuch"]', WORK),
        ('emails[value eq "nobody@example.com"].display', "x"),
        ('emails[type eq "work" and value eq "nobody@example.com"].value', "x@example.com"),
        ('emails[value sw "zzz"].value', "x@example.com"),
    ):
        t.error(t.patch(path, op("replace", where, value)), 400, "noTarget")
    t.equal(t.read(path), before, "the user after refused changes")
    answer = t.patch(path, op("replace", 'emails[type eq "other"].value', "made@example.com"))
    if answer.status == 400:
        t.error(answer, 400, "noTarget")
        return t.choice("no value is made from a type filter")
    t.status(answer, 200, 204)
    made = {"type": "other", "value": "made@example.com"}
    t.verify(made in t.read(path).get("emails", []), "the value made from the filter")
    return t.choice("a value is made from a type filter that matches nothing")


# ---- C27: remove ----


@check("C27.no-path")
def remove_no_path(t):
    """RFC 7644 3.5.2.2: remove without path is 400 noTarget."""
    path = person(t)
    before = t.read(path)
    t.error(t.patch(path, {"op": "remove"}), 400, "noTarget")
    t.error(t.patch(path, {"op": "remove", "value": {"title": "Engineer"}}), 400, "noTarget")
    t.equal(t.read(path), before, "the user afterwards")


@check("C27.values")
def remove_values(t):
    """RFC 7644 3.5.2.2: remove of a single value, a sub-attribute, a whole list, what a filter
    selects, a sub-attribute of that; the last value gone means unassigned."""
    path = person(t)
    after = t.patched(path, op("remove", "title"))
    t.verify("title" not in after, "title")
    after = t.patched(path, op("remove", "name.givenName"))
    t.equal(after.get("name"), {"familyName": "Example"}, "name")
    after = t.patched(path, op("remove", 'emails[type eq "work"].primary'))
    t.verify({"value": WORK["value"], "type": "work"} in after["emails"], "primary of one value")
    after = t.patched(path, op("remove", 'emails[type eq "work" or value sw "nobody"]'))
    t.equal(after.get("emails"), [HOME], "emails after a filter")
    after = t.patched(path, op("remove", 'emails[value ew "example.com"]'))
    t.verify("emails" not in after, "emails after the last value went")
    t.patched(path, op("add", "emails", [WORK, HOME]))
    t.verify("emails" not in t.patched(path, op("remove", "emails")), "emails")
    t.verify("name" not in t.patched(path, op("remove", "name")), "name")


@check("C27.several")
def remove_several(t):
    """RFC 7644 3.5.2.2: several removals in one PATCH hit the values they name, not others that
    moved into their places."""
    path = person(t, emails=[])
    mails = [{"value": f"{i}@example.com", "type": "other"} for i in range(6)]
    t.patched(path, op("replace", "emails", mails))
    gone = [op("remove", f'emails[value eq "{i}@example.com"]') for i in (0, 2, 4)]
    after = t.patched(path, *gone)
    t.equal(values(after.get("emails")), values([mails[1], mails[3], mails[5]]), "emails")
    if t.site.has_groups:
        ids = [t.user()["id"] for _ in range(6)]
        group = f"/Groups/{t.group(members=ids)['id']}"
        after = t.patched(group, *[op("remove", f'members[value eq "{i}"]') for i in ids[::2]])
        t.equal(sorted(m["value"] for m in after["members"]), sorted(ids[1::2]), "members")


@check("C27.mutability")
def remove_mutability(t):
    """RFC 7644 3.5.2.2, 3.12: removing what is required or readOnly is 400 mutability."""
    path = person(t)
    before = t.read(path)
    for where in ("userName", "id", "meta", "meta.created", "groups", "USERNAME"):
        t.error(t.patch(path, op("remove", where)), 400, "mutability")
    t.equal(t.read(path), before, "the user afterwards")
    if t.site.has_groups:
        group = f"/Groups/{t.group()['id']}"
        t.error(t.patch(group, op("remove", "displayName")), 400, "mutability")


@check("C27.absent")
def remove_absent(t):
    """RFC 7644 3.5.2.2, 3.12: removing what is not there succeeds without change, or is
    noTarget."""
    path = person(t)
    before = t.read(path)
    for where in ("nickName", 'emails[type eq "nosuch"]', "name.middleName"):
        answer = t.patch(path, op("remove", where))
        if answer.status == 400:
            t.error(answer, 400, "noTarget")
            t.choice(f"removing an absent {where}: noTarget")
        else:
            t.status(answer, 200, 204)
            t.choice(f"removing an absent {where}: done")
        t.equal(t.read(path), before, "the user afterwards")


@check("C27.members")
def remove_members(t):
    """RFC 7644 3.5.2.2: members go by value and all at once; the rest stays."""
    t.wants_patch()
    ids = [t.user()["id"] for _ in range(4)]
    path = f"/Groups/{t.group(members=ids)['id']}"
    after = t.patched(path, op("remove", f'members[value eq "{ids[0]}"]'))
    t.equal(sorted(m["value"] for m in after["members"]), sorted(ids[1:]), "members after one went")
    where = f'members[value eq "{ids[1]}" or value eq "{ids[2]}"]'
    after = t.patched(path, op("remove", where))
    t.equal([m["value"] for m in after["members"]], ids[3:], "members after two went")
    after = t.patched(path, op("remove", "members"))
    t.verify(not after.get("members"), "members after all went")


# ---- C28, C29 ----


@check("C28.invalid-path")
def invalid_path(t):
    """RFC 7644 3.12: a path that is none, or names no attribute, is 400 invalidPath (a filter in it
    may be invalidFilter)."""
    path = person(t)
    before = t.read(path)
    for where in (
        "title title",
        "emails[",
        'emails[type eq "work"',
        'emails[type eq "work"]]',
        'emails[type eq "work"].',
        'emails[type eq "work"]value',
        'emails[type zz "work"]',
        "emails[]",
        "name..givenName",
        ".name",
        "name.",
        "noSuchAttribute",
        "name.noSuchPart",
        'emails[type eq "work"].noSuchPart',
        'title[value eq "x"]',
        f"{USER}:noSuchAttribute",
        "(title)",
        'title eq "x"',
        "a[b[c]]",
        "[]",
    ):
        for kind in ("replace", "remove"):
            answer = t.patch(path, op(kind, where, "x" if kind == "replace" else None))
            t.error(answer, 400, ("invalidPath", "invalidFilter", "noTarget"))
    t.equal(t.read(path), before, "the user afterwards")


@check("C28.invalid-syntax")
def invalid_syntax(t):
    """RFC 7644 3.12: what is no JSON is 400 invalidSyntax, in POST, PUT and PATCH."""
    path = person(t)
    before = t.read(path)
    for raw in (
        b"{",
        b"{'userName': 'x'}",
        b'{"userName": "x",}',
        b'{"userName": "x"} {}',
        b'{"userName": "\xff\xfe"}',
        b'{"userName": "bad \\x"}',
        b"userName=x",
        b"\x00\x01",
        b'{"a":' * 5000,
        b"[" * 100000,
    ):
        t.error(t.call("POST", "/Users", raw=raw), 400, "invalidSyntax")
        t.error(t.call("PUT", path, raw=raw), 400, "invalidSyntax")
        t.error(t.call("PATCH", path, raw=raw), 400, "invalidSyntax")
    t.equal(t.read(path), before, "the user afterwards")


@check("C28.invalid-value")
def invalid_value(t):
    """RFC 7644 3.12: a value that does not fit its attribute is 400 invalidValue."""
    path = person(t)
    before = t.read(path)
    for where, value in (
        ("active", "maybe"),
        ("active", 5),
        ("title", {"x": 1}),
        ("title", ["a", "b"]),
        ("title", 5),
        ("name", 5),
        ("name.givenName", {"x": 1}),
        ("emails", 5),
        ("emails", [5]),
        ('emails[type eq "work"].primary', "perhaps"),
        ("userName", ""),
    ):
        for kind in ("add", "replace"):
            t.error(t.patch(path, op(kind, where, value)), 400, ("invalidValue", "invalidSyntax"))
    for value in ("text", 5, ["title"], True):
        answer = t.patch(path, {"op": "replace", "value": value})
        t.error(answer, 400, ("invalidValue", "invalidSyntax"))
    t.equal(t.read(path), before, "the user afterwards")


@check("C28.unknown-in-value")
def unknown_in_value(t):
    """RFC 7644 3.5.2, 3.12: an unknown name in the value of a PATCH without path is ignored or
    refused; never stored."""
    path = person(t)
    answer = t.patch(path, {"op": "add", "value": {"noSuchThing": "x", "title": "New"}})
    after = t.read(path)
    if answer.status == 400:
        t.error(answer, 400, ("invalidPath", "invalidValue", "invalidSyntax", "noTarget"))
        t.equal(after.get("title"), "Engineer", "title after a refused PATCH")
        t.choice("unknown names in a PATCH value are refused")
    else:
        t.status(answer, 200, 204)
        t.equal(after.get("title"), "New", "title")
        t.choice("unknown names in a PATCH value are ignored")
    t.verify("noSuchThing" not in after, "the unknown name was stored")


@check("C29.answer")
def answer_form(t):
    """RFC 7644 3.5.2: PATCH answers 200 with the resource or 204 without body; 200 when attributes
    are asked for, then with those alone."""
    path = person(t)
    paths = [(path, op("replace", "title", "x"), "title")]
    if t.site.has_groups:
        group = t.group()
        paths.append(
            (
                f"/Groups/{group['id']}",
                op("replace", "displayName", t.site.name("g")),
                "displayName",
            )
        )
    for where, operation, name in paths:
        answer = t.patch(where, operation)
        t.status(answer, 200, 204)
        t.choice(f"PATCH of {where.split('/')[1]} answers {answer.status}")
        if answer.status == 204:
            t.equal(answer.body, b"", "body of 204")
        else:
            t.equal(answer.object, t.read(where), "the resource in the answer")
        answer = t.patch(where, operation, query={"attributes": name})
        if t.status(answer, 200):
            found = set(answer.object) - {"id", "schemas"}
            t.equal(found, {name}, f"attributes of an answer that was asked for {name}")


@check("C29.unknown-resource")
def patch_unknown(t):
    """RFC 7644 3.5.2: PATCH of an unknown id is 404, of a collection 404 or 405."""
    t.wants_patch()
    t.error(t.patch("/Users/no-such-id", op("replace", "title", "x")), 404)
    if t.site.has_groups:
        t.error(t.patch("/Groups/no-such-id", op("replace", "displayName", "x")), 404)
        one = op("add", "members", [{"value": "x"}])
        t.error(t.patch("/Groups/no-such-id", one), 404)
    t.error(t.patch("/Users", op("replace", "title", "x")), (404, 405, 501))
