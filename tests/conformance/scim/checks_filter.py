"""C16, C17 and C18: lists without match, and the filter grammar."""

import datetime

from harness import ENTERPRISE, GROUP, SEARCH_REQUEST, USER, check, flip, moment

PAGES_MAX = 20


class People:
    """Five users that differ in every way a filter can tell, made once for all these checks."""

    def __init__(self, t):
        self.tag = t.site.tag + "-f-"
        rows = {
            "a": (
                "alpha",
                {"displayName": "Alpha One", "title": "Engineer", "userType": "Employee"},
            ),
            "b": (
                "beta",
                {"displayName": "beta two", "title": "engineer", "userType": "Contractor"},
            ),
            "c": ("gamma", {"displayName": "gamma three", "userType": "Employee"}),
            "d": ("delta", {"displayName": "Delta Four", "title": "Manager", "userType": "Intern"}),
            "e": ("epsilon", {"displayName": 'E"psi\\lon \u00e9 (x) [y]', "userType": "Employee"}),
        }
        more = {
            "a": {"name": {"givenName": "Ada", "familyName": "Alpha"}, "active": True},
            "b": {"name": {"givenName": "Bob", "familyName": "Beta"}, "active": False},
            "c": {"name": {"familyName": "Gamma"}, "active": True},
            "d": {"active": True},
            "e": {"active": True, "phoneNumbers": [{"value": "+49-30-1", "type": "mobile"}]},
        }
        mails = {
            "a": [mail("work", "a@example.com", True), mail("home", "a@home.example.org")],
            "b": [mail("work", "b@home.example.org"), mail("home", "b@example.com")],
            "d": [mail("home", "d@example.com")],
        }
        outer = {"a": t.site.tag + "-X", "b": t.site.tag + "-x"}
        self.made = {}
        for key, (name, attributes) in rows.items():
            attributes = attributes | more[key]
            if key in mails:
                attributes["emails"] = mails[key]
            if key in outer:
                attributes["externalId"] = outer[key]
            if t.site.has_enterprise and key in "ab":
                department = {"a": "Tools", "b": "Sales"}[key]
                attributes[ENTERPRISE] = {"department": department, "employeeNumber": "7" + key}
            self.made[key] = t.user(self.tag + name, **attributes)
        self.keys = {user["id"]: key for key, user in self.made.items()}

    def id(self, key):
        return self.made[key]["id"]


def mail(kind, value, primary=False):
    found = {"value": value, "type": kind}
    return found | {"primary": True} if primary else found


def people(t):
    """The shared population; the site's keeper deletes it at the end of the run."""
    t.wants_filter()
    if "people" not in t.site.shared:
        keeper = t.site.keeper
        before = len(keeper.failures)
        t.site.shared["people"] = People(keeper)
        t.failures += keeper.failures[before:]
    return t.site.shared["people"]


def matches(t, filter_text, endpoint="/Users"):
    """Keys of the population that a filter selects, "" for none; None when it is refused."""
    found = ""
    known = t.site.shared["people"].keys
    start = 1
    for _ in range(PAGES_MAX):
        answer = t.get(endpoint, filter=filter_text, count="200", startIndex=str(start))
        if answer.status != 200:
            return None
        found += "".join(known.get(i, "") for i in answer.ids)
        start += len(answer.ids)
        if not answer.ids or start > answer.object.get("totalResults", 0):
            break
    return "".join(sorted(found))


def expect(t, rows):
    """[(filter, keys)]: each alone, and narrowed by userName; several answers are a choice."""
    group = people(t)
    for filter_text, wanted in rows:
        wanted = wanted if isinstance(wanted, dict) else {wanted: ""}
        narrow = f'userName sw "{group.tag}" and ({filter_text})'
        for text in (narrow, filter_text):
            found = matches(t, text)
            if found is None and t.last.scim_type == "tooMany":
                t.choice("tooMany for a filter that is not narrowed")
                continue
            shown = " or ".join(repr(keys) for keys in wanted)
            if t.verify(found in wanted, f"{text}: expected {shown}, got {found!r}"):
                if wanted[found]:
                    t.choice(wanted[found])


def refuse(t, filters, endpoint="/Users"):
    people(t)
    for text in filters:
        t.error(t.get(endpoint, filter=text), 400, "invalidFilter")


@check("C16.no-match")
def no_match(t):
    """RFC 7644 3.4.2: a list without match is 200 with totalResults 0 and no resources, for users,
    groups and search; never 404."""
    t.wants_filter()
    nobody = t.site.name("nobody")
    answers = [t.get("/Users", filter=f'userName eq "{nobody}"')]
    body = {"schemas": [SEARCH_REQUEST], "filter": f'userName eq "{nobody}"'}
    answers.append(t.post("/Users/.search", body))
    if t.site.has_groups:
        answers.append(t.get("/Groups", filter=f'displayName eq "{nobody}"'))
    answers.append(t.get("/Users", filter=f'userName eq "{nobody}"', startIndex="5", count="10"))
    for answer in answers:
        t.status(answer, 200)
        t.equal(answer.object.get("totalResults"), 0, "totalResults", answer)
        t.equal(answer.object.get("Resources", []), [], "Resources", answer)
        t.equal(answer.object.get("itemsPerPage", 0), 0, "itemsPerPage", answer)


@check("C17.eq")
def eq(t):
    """RFC 7644 3.4.2.2: eq on strings by caseExact, on common attributes, on null."""
    group = people(t)
    expect(
        t,
        [
            (f'userName eq "{group.tag}alpha"', "a"),
            (f'userName eq "{flip(group.tag + "alpha")}"', "a"),
            (f'userName eq "{group.tag}alph"', ""),
            ('displayName eq "ALPHA ONE"', "a"),
            ('title eq "engineer"', "ab"),
            ('title eq "nobody"', ""),
            (f'externalId eq "{t.site.tag}-X"', "a"),
            (f'externalId eq "{t.site.tag}-x"', "b"),
            (f'id eq "{group.id("c")}"', "c"),
            ('meta.resourceType eq "User"', "abcde"),
            ('meta.resourceType eq "Group"', ""),
            (f'meta.location eq "{group.made["d"]["meta"]["location"]}"', "d"),
            (f'schemas eq "{USER}"', "abcde"),
            (f'schemas eq "{GROUP}"', ""),
            ("title eq null", "ce"),
        ],
    )


@check("C17.ne")
def ne(t):
    """RFC 7644 3.4.2.2: ne; on a missing value either answer is a choice."""
    group = people(t)
    without, within = "ne is true of a missing value", "ne is false of a missing value"
    expect(
        t,
        [
            (f'userName ne "{group.tag}alpha"', "bcde"),
            (f'userName ne "{flip(group.tag + "alpha")}"', "bcde"),
            ('title ne "engineer"', {"cde": without, "d": within}),
            (f'id ne "{group.id("a")}"', "bcde"),
            ("active ne true", "b"),
            ("title ne null", "abd"),
        ],
    )


@check("C17.parts")
def parts(t):
    """RFC 7644 3.4.2.2: co, sw and ew, by caseExact; the empty string is in every value."""
    group = people(t)
    expect(
        t,
        [
            (f'userName sw "{group.tag}"', "abcde"),
            (f'userName sw "{flip(group.tag)}a"', "a"),
            (f'userName co "{t.site.tag}-F-A"', "a"),
            (f'userName ew "-f-beta" and userName co "{t.site.tag}"', "b"),
            ('displayName co "LTA F"', "d"),
            ('displayName sw "gamma"', "c"),
            ('displayName ew "TWO"', "b"),
            ('displayName ew "tw"', ""),
            (f'externalId sw "{t.site.tag}-X"', "a"),
            (f'externalId ew "{t.site.tag[4:]}-x"', "b"),
            (f'externalId co "{flip(t.site.tag)}"', ""),
            ('title sw ""', "abd"),
            ('displayName co "%"', ""),
            ('displayName co "_"', ""),
        ],
    )


@check("C17.pr")
def pr(t):
    """RFC 7644 3.4.2.2: pr is true of a value that is not empty, or a complex one with such a
    sub-attribute."""
    rows = [
        ("title pr", "abd"),
        ("not (title pr)", "ce"),
        ("userName pr", "abcde"),
        ("active pr", "abcde"),
        ("id pr", "abcde"),
        ("name pr", "abc"),
        ("name.givenName pr", "ab"),
        ("emails pr", "abd"),
        ("emails.value pr", "abd"),
        ("emails.primary pr", {"a": "", "abd": "every value has primary"}),
        ("phoneNumbers pr", "e"),
        ("addresses pr", ""),
        ("meta pr", "abcde"),
        ("meta.created pr", "abcde"),
        ("externalId pr", "ab"),
    ]
    people(t)
    if t.site.has_enterprise:
        rows += [(f"{ENTERPRISE}:department pr", "ab"), (f"{ENTERPRISE}:manager pr", "")]
    expect(t, rows)


@check("C17.order-strings")
def order_strings(t):
    """RFC 7644 3.4.2.2: gt, ge, lt and le on strings, in lexical order."""
    tag = people(t).tag
    expect(
        t,
        [
            (f'userName gt "{tag}beta" and userName sw "{tag}"', "cde"),
            (f'userName ge "{tag}beta" and userName sw "{tag}"', "bcde"),
            (f'userName lt "{tag}delta" and userName sw "{tag}"', "ab"),
            (f'userName le "{tag}delta" and userName sw "{tag}"', "abd"),
            ('displayName lt "b"', "a"),
            ('displayName ge "delta four" and displayName le "DELTA FOUR"', "d"),
            ('title gt "a"', "abd"),
            ('title lt "z"', "abd"),
        ],
    )


@check("C17.booleans")
def booleans(t):
    """RFC 7644 3.4.2.2: eq and ne on booleans; gt, ge, lt and le are 400 invalidFilter."""
    expect(
        t,
        [
            ("active eq true", "acde"),
            ("active eq false", "b"),
            ("active ne false", "acde"),
            ("not (active eq true)", "b"),
            ("emails.primary eq true", "a"),
            ("emails[primary eq true]", "a"),
        ],
    )
    refuse(t, [f"active {op} true" for op in ("gt", "ge", "lt", "le")])
    refuse(t, ['active eq "maybe"', "active eq 5"])
    found = matches(t, f'active eq "false" and userName sw "{people(t).tag}"')
    if found is None:
        t.error(t.last, 400, "invalidFilter")
        t.choice("booleans in quotes are refused")
    else:
        t.equal(found, "b", 'active eq "false"')
        t.choice("booleans in quotes are understood")


@check("C17.binary")
def binary(t):
    """RFC 7644 3.4.2.2: gt, ge, lt and le on binary attributes are 400 invalidFilter."""
    t.wants("x509Certificates")
    refuse(t, [f'x509Certificates.value {op} "aGk="' for op in ("gt", "ge", "lt", "le")])


@check("C17.date-times")
def date_times(t):
    """RFC 7644 3.4.2.2: dateTimes compare in time, whatever their zone and precision; a literal
    that is none is 400 invalidFilter."""
    group = people(t)
    times = {key: moment(user["meta"]["created"]) for key, user in group.made.items()}

    def those(holds):
        return "".join(key for key in sorted(times) if holds(times[key]))

    middle = times["c"]
    zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
    utc = middle.astimezone(datetime.timezone.utc)
    spellings = [
        group.made["c"]["meta"]["created"],
        middle.astimezone(zone).isoformat(),
        utc.replace(tzinfo=None).isoformat(timespec="microseconds") + "000Z",
    ]
    rows = []
    for text in spellings:
        rows += [
            (f'meta.created eq "{text}"', those(lambda m: m == middle)),
            (f'meta.created ne "{text}"', those(lambda m: m != middle)),
            (f'meta.created gt "{text}"', those(lambda m: m > middle)),
            (f'meta.created ge "{text}"', those(lambda m: m >= middle)),
            (f'meta.created lt "{text}"', those(lambda m: m < middle)),
            (f'meta.created le "{text}"', those(lambda m: m <= middle)),
        ]
    rows += [
        ('meta.lastModified gt "2001-01-01T00:00:00Z"', "abcde"),
        ('meta.lastModified lt "2001-01-01T00:00:00Z"', ""),
        ('meta.lastModified gt "2001-01-01T00:00:00+14:00"', "abcde"),
    ]
    expect(t, rows)
    refuse(t, ['meta.created gt "yesterday"', "meta.created gt 5", "meta.created gt true"])


@check("C17.integers")
def integers(t):
    """RFC 7644 3.4.2.2: integers compare by value, not as text."""
    group = people(t)
    for urn in (USER, *t.site.extensions("User")):
        for attribute in t.site.attributes(urn):
            if attribute.get("type") != "integer" or attribute.get("multiValued"):
                continue
            name = attribute["name"] if urn == USER else f"{urn}:{attribute['name']}"
            values = {}
            for key, user in group.made.items():
                inside = user if urn == USER else user.get(urn) or {}
                if isinstance(inside.get(attribute["name"]), int):
                    values[key] = inside[attribute["name"]]
            if values:
                return compare_integers(t, name, values)
    return t.skip("no user has an integer attribute")


def compare_integers(t, name, values):
    middle = sorted(values.values())[len(values) // 2]

    def those(holds):
        return "".join(key for key in sorted(values) if holds(values[key]))

    expect(
        t,
        [
            (f"{name} eq {middle}", those(lambda v: v == middle)),
            (f"{name} gt {middle}", those(lambda v: v > middle)),
            (f"{name} ge {middle}", those(lambda v: v >= middle)),
            (f"{name} lt {middle}", those(lambda v: v < middle)),
            (f"{name} le {middle}", those(lambda v: v <= middle)),
            (f"{name} ge 9", those(lambda v: v >= 9)),
            (f"{name} gt -1", those(lambda v: v > -1)),
            (f"{name} pr", those(lambda v: True)),
        ],
    )
    refuse(t, [f'{name} eq "x"', f"{name} gt true"])


@check("C17.logic")
def logic(t):
    """RFC 7644 3.4.2.2: and, or, not, with and without spaces in front of the parenthesis,
    nested."""
    tag = people(t).tag
    expect(
        t,
        [
            ('title eq "engineer" and active eq true', "a"),
            (f'userName eq "{tag}alpha" or userName eq "{tag}delta"', "ad"),
            ('not (title eq "engineer")', "cde"),
            ('not(title eq "engineer")', "cde"),
            ('not (not (title eq "engineer"))', "ab"),
            ('(title eq "engineer")', "ab"),
            ('((((title eq "engineer"))))', "ab"),
            ('not (title eq "engineer" or title eq "manager")', "ce"),
            ('not (title eq "engineer") and not (active eq false) and not (title pr)', "ce"),
            ('userType eq "Employee" and (title pr or phoneNumbers pr)', "ae"),
            ('(title pr and (active eq false or (userType eq "Intern" and emails pr)))', "bd"),
        ],
    )


@check("C17.precedence")
def precedence(t):
    """RFC 7644 3.4.2.2: grouping, then not, then and, then or."""
    expect(
        t,
        [
            ('userType eq "Intern" or title eq "engineer" and active eq false', "bd"),
            ('title eq "engineer" and active eq false or userType eq "Intern"', "bd"),
            ('(userType eq "Intern" or title eq "engineer") and active eq true', "ad"),
            ('not (active eq false) and title pr or userType eq "Contractor"', "abd"),
            ("title pr and not (active eq false) or not (title pr) and phoneNumbers pr", "ade"),
            ("active eq true and (title pr or phoneNumbers pr) and not (emails pr)", "e"),
        ],
    )


@check("C17.value-paths")
def value_paths(t):
    """RFC 7644 3.4.2.2: what is in brackets is true of one and the same value; outside of them,
    each comparison may find its own."""
    expect(
        t,
        [
            ('emails[type eq "work" and value co "@example.com"]', "a"),
            ('emails.type eq "work" and emails.value co "@example.com"', "ab"),
            ('emails[type eq "work"]', "ab"),
            ('emails[type eq "WORK"]', "ab"),
            ('emails[type eq "home" or type eq "work"]', "abd"),
            ('emails[not (type eq "work")]', "abd"),
            ('emails[type eq "work" and not (value co "home")]', "a"),
            ('emails[(type eq "work" or primary eq true) and value ew ".org"]', "b"),
            ('emails[type eq "other"]', ""),
            ("emails[value pr and type pr]", "abd"),
            ('not (emails[type eq "work"])', "cde"),
            ('userType eq "Employee" and emails[type eq "work"]', "a"),
            ('emails[type eq "work"] and emails[type eq "home" and value ew ".com"]', "b"),
            ('emails[type eq "home" and value sw "d@"] or phoneNumbers[type eq "mobile"]', "de"),
            ('name[familyName eq "gamma"]', {"c": "brackets on a single complex attribute"}),
        ],
    )


@check("C17.multi-valued")
def multi_valued(t):
    """RFC 7644 3.4.2.2, RFC 7643 2.4: a multi-valued attribute matches when one of its values does;
    its name alone means its value."""
    expect(
        t,
        [
            ('emails.value eq "a@home.example.org"', "a"),
            ('emails eq "a@home.example.org"', "a"),
            ('emails co "example.com"', "abd"),
            ('emails sw "B@"', "b"),
            ('phoneNumbers.type eq "mobile"', "e"),
            ('name.familyName sw "B"', "b"),
        ],
    )


@check("C17.urn-names")
def urn_names(t):
    """RFC 7644 3.4.2.2, 3.10: names may be prefixed with their schema URI, in any case; attributes
    of extensions must be."""
    tag = people(t).tag
    rows = [
        (f'{USER}:userName eq "{tag}alpha"', "a"),
        (f'{flip(USER)}:USERNAME eq "{tag}alpha"', "a"),
        (f'{USER}:name.familyName eq "Beta"', "b"),
        (f'{USER}:emails[type eq "work" and value co "@example.com"]', "a"),
        (f"{USER}:title pr and not ({USER}:active eq false)", "ad"),
    ]
    if t.site.has_enterprise:
        rows += [
            (f'{ENTERPRISE}:department eq "tools"', "a"),
            (f'{flip(ENTERPRISE)}:Department sw "SAL"', "b"),
            (f'not ({ENTERPRISE}:employeeNumber eq "7a")', "bcde"),
            (f'{ENTERPRISE}:department eq "tools" or {USER}:title eq "manager"', "ad"),
        ]
    expect(t, rows)


@check("C17.case")
def case(t):
    """RFC 7644 3.4.2.2: names of attributes and operators compare without case."""
    tag = people(t).tag
    expect(
        t,
        [
            (f'USERNAME EQ "{tag}alpha"', "a"),
            (f'username Eq "{tag}alpha" OR UserName eQ "{tag}beta"', "ab"),
            ('NOT (TITLE PR) AND NOT (Title Eq "x")', "ce"),
            ('Emails[TYPE Eq "work" And VALUE Co "@EXAMPLE.com"]', "a"),
            ('NAME.GIVENNAME SW "ad"', "a"),
        ],
    )


@check("C17.literals")
def literals(t):
    """RFC 7644 3.4.2.2, RFC 8259: literals are JSON: escapes, Unicode, brackets inside of
    strings."""
    expect(
        t,
        [
            ('displayName eq "E\\"psi\\\\lon \\u00e9 (x) [y]"', "e"),
            ('displayName eq "e\\"PSI\\\\lon \u00c9 (x) [y]"', "e"),
            ('displayName co "(x) [y]"', "e"),
            ('displayName co "\\" and title pr or \\""', ""),
            ('emails[value eq "]"] or displayName co ")"', "e"),
            ('displayName sw "\\u0041lpha"', "a"),
        ],
    )


INVALID = [
    "userName",
    "userName eq",
    'userName xx "a"',
    'userName eq"a"',
    'eq "a"',
    '"a" eq userName',
    '(userName eq "a"',
    'userName eq "a")',
    'userName eq "a" and',
    'userName eq "a" or',
    'and userName eq "a"',
    'userName eq "a" userName eq "b"',
    'userName eq "a" xor userName eq "b"',
    'userName eq "unterminated',
    'userName eq "bad \\x escape"',
    'userName eq "a" "b"',
    'userName pr "x"',
    'emails[type eq "work"',
    'emails type eq "work"]',
    "emails[]",
    "emails[type]",
    'emails[type eq "work" and emails[type eq "home"]]',
    'userName[type eq "x"]',
    "()",
    "not",
    "not ()",
    "userName eq {}",
    'userName eq ["a"]',
    "= 1",
    "' OR 1=1 --",
    'user Name eq "a"',
    'user%Name eq "a"',
]


@check("C17.invalid")
def invalid(t):
    """RFC 7644 3.4.2.2, 3.12: what is no filter is 400 invalidFilter, by GET and by search."""
    refuse(t, INVALID)
    for text in INVALID[:4]:
        body = {"schemas": [SEARCH_REQUEST], "filter": text}
        t.error(t.post("/Users/.search", body), 400, "invalidFilter")
    if t.site.has_groups:
        refuse(t, ['displayName zz "a"', "members["], "/Groups")
    for text, about in (
        ("userName eq bareword", "a bare word as a literal"),
        ("userName eq 'a'", "single quotes"),
        ('not userName eq "a"', "not without parenthesis"),
        ("", "an empty filter"),
        ('emails[type eq "work"].value co "a"', "a sub-attribute behind brackets"),
    ):
        answer = t.get("/Users", filter=text, count="1")
        if answer.status == 200:
            t.choice(f"{about}: understood")
        else:
            t.error(answer, 400, "invalidFilter")
            t.choice(f"{about}: refused")


@check("C17.depth")
def depth(t):
    """RFC 7644 3.4.2.2, 7.5: sixteen levels of parenthesis work; ten thousand are refused, not the
    end of the server."""
    group = people(t)
    text = "(" * 16 + 'title eq "engineer"' + ")" * 16
    expect(t, [(text, "ab")])
    clause = f'userName eq "{group.tag}alpha"'
    expect(t, [(" or ".join([clause] * 40), "a")])
    for monster in (
        "(" * 10000 + clause + ")" * 10000,
        "not (" * 5000,
        " or ".join([clause] * 4000),
    ):
        body = {"schemas": [SEARCH_REQUEST], "filter": monster}
        answer = t.post("/Users/.search", body)
        if answer.status == 200:
            t.choice(f"a filter of {len(monster)} characters is answered")
        else:
            t.error(answer, (400, 413), ("invalidFilter", "tooMany", ""))
    t.status(t.get("/Users", count="1"), 200)


@check("C17.too-many")
def too_many(t):
    """RFC 7644 3.4.2.2, 3.12: what would return too much is 400 tooMany; less is answered."""
    people(t)
    answer = t.get("/Users", filter='nickName co "x" or title co "e"', count="1")
    if answer.status == 200:
        t.skip("an unindexed filter was answered: too few resources to be refused")
    t.error(answer, 400, "tooMany")


@check("C18.unknown-attribute")
def unknown_attribute(t):
    """RFC 7644 3.4.2.2: an attribute that no schema has counts as without value, or is 400
    invalidFilter; never all resources."""
    group = people(t)
    for text, wanted in (
        ('noSuchThing eq "x"', ""),
        ("noSuchThing pr", ""),
        (f'userName eq "{group.tag}alpha" or noSuchThing eq "x"', "a"),
        ('urn:example:unknown:1.0:User:thing eq "x"', ""),
    ):
        found = matches(t, text)
        if found is None:
            t.error(t.last, 400, "invalidFilter")
            t.choice("unknown attributes in filters are refused")
        else:
            t.equal(found, wanted, text)
            t.choice("unknown attributes in filters have no value")


@check("C18.groups")
def group_filters(t):
    """RFC 7644 3.4.2.2: the grammar on groups, with members by value, type and brackets."""
    tag = people(t).tag
    one, two = people(t).id("a"), people(t).id("b")
    first = t.group(tag + "First", [one])
    both = t.group(tag + "second", [one, two])
    none = t.group(tag + "third")
    names = {first["id"]: "1", both["id"]: "2", none["id"]: "3"}
    for text, wanted in (
        (f'displayName eq "{tag}FIRST"', "1"),
        (f'displayName sw "{tag}"', "123"),
        (f'members eq "{one}"', "12"),
        (f'members.value eq "{two}"', "2"),
        (f'members[value eq "{one}"]', "12"),
        (f'members[value eq "{one}" and type eq "User"]', "12"),
        (f'members[value eq "{one}" and value eq "{two}"]', ""),
        (f'members eq "{one}" and members eq "{two}"', "2"),
        (f'id eq "{first["id"]}" and members eq "{two}"', ""),
        (f'displayName sw "{tag}" and members pr', "12"),
        (f'displayName sw "{tag}" and not (members pr)', "3"),
        (f'displayName sw "{tag}" and not (members eq "{two}")', "13"),
        (f'displayName sw "{tag}" and members.type eq "Group"', ""),
        (f'displayName gt "{tag}first" and displayName sw "{tag}"', "23"),
        (f'{GROUP}:displayName ew "THIRD" and displayName sw "{tag}"', "3"),
    ):
        answer = t.done(t.get("/Groups", filter=text))
        found = "".join(sorted(names.get(i, "") for i in answer.ids))
        t.equal(found, wanted, text)


@check("C18.across-types")
def across_types(t):
    """RFC 7644 3.4.2.1: at the root, an attribute that a type does not have is without value."""
    tag = people(t).tag
    made = t.group(tag + "root")
    body = {"schemas": [SEARCH_REQUEST], "count": 100}

    def search(text):
        answer = t.post("/.search", body | {"filter": text})
        if answer.status in (404, 405, 501):
            t.skip(f"search at the root is not supported: {answer.status}")
        return set(t.done(answer).ids)

    person = people(t).id("a")
    text = f'userName eq "{tag}alpha" or displayName eq "{tag}root"'
    t.equal(search(text), {person, made["id"]}, text)
    t.equal(search(f'userName eq "{tag}alpha"'), {person}, "by userName alone")
    text = f'displayName eq "{tag}root" and not (userName pr)'
    t.equal(search(text), {made["id"]}, text)
    text = f'meta.resourceType eq "Group" and displayName eq "{tag}root"'
    t.equal(search(text), {made["id"]}, text)
    text = f'members pr or userName eq "{tag}alpha"'
    t.verify(person in search(text), f"{text}: a user is missing")
