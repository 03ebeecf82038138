"""What every check stands on: the registry, the trial of one check, and the server under test."""

import datetime
import http.client
import random
import re
import secrets
import string
import time

from client import SCIM_TYPE

CORE = "urn:ietf:params:scim:schemas:core:2.0:"
USER = CORE + "User"
GROUP = CORE + "Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
MESSAGES = "urn:ietf:params:scim:api:messages:2.0:"
LIST_RESPONSE = MESSAGES + "ListResponse"
SEARCH_REQUEST = MESSAGES + "SearchRequest"
PATCH_OP = MESSAGES + "PatchOp"
BULK_REQUEST = MESSAGES + "BulkRequest"
BULK_RESPONSE = MESSAGES + "BulkResponse"
ERROR = MESSAGES + "Error"
SCIM_TYPES = {
    "invalidFilter",
    "tooMany",
    "uniqueness",
    "mutability",
    "invalidSyntax",
    "invalidPath",
    "noTarget",
    "invalidValue",
    "invalidVers",
    "sensitive",
    "invalidCursor",
    "expiredCursor",
    "invalidCount",
}
DATE_TIME = re.compile(r"-?\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

CHECKS = {}  # name: function, in the order of the report


def check(name):
    """Registers a check. Its docstring names what it holds a server to: RFC and section."""

    def register(function):
        if name in CHECKS or not function.__doc__:
            raise ValueError(f"check {name}: taken, or without docstring")
        CHECKS[name] = function
        return function

    return register


def row_of(name):
    row = name.split(".")[0]
    return (row[0], int(row[1:]))


class Skipped(Exception):
    """The server declares not to offer what the check is about."""


class Stop(Exception):
    """The check failed where nothing after it makes sense."""


def moment(text):
    """A dateTime as a datetime with zone; ValueError when it is none."""
    if not isinstance(text, str) or not DATE_TIME.fullmatch(text):
        raise ValueError(f"not an xsd:dateTime with zone: {text!r}")
    text = re.sub(r"\.(\d+)", lambda found: "." + found[1][:6].ljust(6, "0"), text)
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def find_key(thing, name):
    """The value of a member whose name matches without case."""
    for key, value in thing.items():
        if key.lower() == name.lower():
            return value
    return None


def flip(text):
    return text.swapcase()


class Site:
    """The server under test and what it says of itself."""

    def __init__(self, client, other=None, reader=None):
        self.client = client
        self.other = other
        self.reader = reader
        self.tag = "conf" + secrets.token_hex(4)
        self.random = random.Random(self.tag)
        self.serial = 0
        self.shared = {}  # name: population, made once
        self.keeper = None  # trial that owns the shared populations
        self.choices = []
        config = client.call("GET", "/ServiceProviderConfig")
        self.config = config.object if config.status == 200 else {}
        self.types = self.fetch_all("/ResourceTypes")
        self.schemas = {s.get("id", "").lower(): s for s in self.fetch_all("/Schemas")}

    def fetch_all(self, path):
        answer = self.client.call("GET", path)
        return answer.resources if answer.status == 200 else []

    def supports(self, feature):
        part = self.config.get(feature)
        return isinstance(part, dict) and part.get("supported") is True

    @property
    def pagination(self):
        part = self.config.get("pagination")
        return part if isinstance(part, dict) else {}

    @property
    def page_max(self):
        found = [self.pagination.get("maxPageSize"), self.config.get("filter", {})]
        found[1] = found[1].get("maxResults") if isinstance(found[1], dict) else None
        numbers = [n for n in found if isinstance(n, int) and not isinstance(n, bool) and n > 0]
        return min(numbers) if numbers else 200

    def type_named(self, name):
        for each in self.types:
            if each.get("name") == name:
                return each
        return None

    @property
    def has_groups(self):
        return not self.types or self.type_named("Group") is not None

    def extensions(self, type_name):
        """URNs of the schema extensions of a resource type, as the server writes them."""
        each = self.type_named(type_name) or {}
        return [e.get("schema", "") for e in each.get("schemaExtensions") or []]

    @property
    def has_enterprise(self):
        return ENTERPRISE.lower() in [urn.lower() for urn in self.extensions("User")]

    def attributes(self, urn):
        return (self.schemas.get(urn.lower()) or {}).get("attributes") or []

    def attribute(self, urn, name):
        for each in self.attributes(urn):
            if each.get("name", "").lower() == name.lower():
                return each
        return None

    def has_attribute(self, name, urn=USER):
        """Whether the schema lists the attribute; true when there is no schema to look at."""
        return not self.attributes(urn) or self.attribute(urn, name) is not None

    def name(self, word="u"):
        self.serial += 1
        return f"{self.tag}-{word}{self.serial}"

    def word(self, length=10):
        return "".join(self.random.choice(string.ascii_lowercase) for _ in range(length))


class Trial:
    """One check at work. Failures are collected; `need` and `done` end the check."""

    def __init__(self, site):
        self.site = site
        self.client = site.client
        self.failures = []  # texts
        self.choices = []
        self.made = []  # (client, path)
        self.last = None

    # ---- verdicts ----

    def fail(self, message, answer=None):
        answer = answer or self.last
        self.failures.append(message + ("\n" + answer.describe() if answer is not None else ""))

    def verify(self, condition, message, answer=None):
        if not condition:
            self.fail(message, answer)
        return bool(condition)

    def equal(self, got, expected, what, answer=None):
        return self.verify(got == expected, f"{what}: expected {expected!r}, got {got!r}", answer)

    def need(self, condition, message, answer=None):
        if not self.verify(condition, message, answer):
            raise Stop

    def skip(self, reason):
        raise Skipped(reason)

    def choice(self, text):
        if text not in self.choices:
            self.choices.append(text)

    def status(self, answer, *expected):
        wanted = " or ".join(map(str, expected))
        return self.verify(
            answer.status in expected, f"expected status {wanted}, got {answer.status}", answer
        )

    def done(self, answer, *expected):
        """Ends the check when the status is another one."""
        if not self.status(answer, *(expected or (200,))):
            raise Stop
        return answer

    def error(self, answer, statuses, scim_types=()):
        """The answer is an error in SCIM's form: RFC 7644 3.12."""
        statuses = statuses if isinstance(statuses, tuple) else (statuses,)
        scim_types = (scim_types,) if isinstance(scim_types, str) else tuple(scim_types)
        if not self.status(answer, *statuses):
            return False
        failed = len(self.failures)
        self.error_form(answer)
        if scim_types:
            wanted = " or ".join(scim_types)
            self.verify(
                answer.scim_type in scim_types,
                f"expected scimType {wanted}, got {answer.scim_type or 'none'}",
                answer,
            )
        return len(self.failures) == failed

    def error_form(self, answer):
        if answer.json is None or not isinstance(answer.json, dict):
            why = answer.defect or "no JSON object"
            return self.fail(f"a status {answer.status} without SCIM error body: {why}", answer)
        body = answer.json
        self.verify(
            answer.media_type == SCIM_TYPE,
            f"an error as {answer.media_type or 'no type'}, expected {SCIM_TYPE}",
            answer,
        )
        self.equal(body.get("schemas"), [ERROR], "schemas of an error", answer)
        self.equal(body.get("status"), str(answer.status), "status in the error body", answer)
        if "scimType" in body:
            self.verify(body["scimType"] in SCIM_TYPES, "scimType that no RFC defines", answer)
        self.verify(isinstance(body.get("detail", ""), str), "detail that is no string", answer)
        return None

    # ---- requests ----

    def call(self, method, path, body=None, client=None, **options):
        client = client or self.client
        self.last = answer = client.call(method, path, body, **options)
        self.remember(client, answer, method, path.split("?")[0])
        return answer

    def remember(self, client, answer, method, path):
        if method != "POST" or answer.status not in (200, 201):
            return
        if answer.status == 201 and isinstance(answer.object.get("id"), str):
            self.made.append((client, f"{path.rstrip('/')}/{answer.object['id']}"))
        if path == "/Bulk":
            for item in answer.object.get("Operations") or []:
                if isinstance(item, dict) and str(item.get("status")) == "201":
                    self.made.append((client, item.get("location") or ""))

    def get(self, path, **query):
        return self.call("GET", path, query=query or None)

    def post(self, path, body, **options):
        return self.call("POST", path, body, **options)

    def put(self, path, body, **options):
        return self.call("PUT", path, body, **options)

    def delete(self, path, **options):
        return self.call("DELETE", path, **options)

    def patch(self, path, *operations, **options):
        return self.call("PATCH", path, patch_body(*operations), **options)

    def patched(self, path, *operations, **options):
        """A PATCH that must succeed; the resource as it is read afterwards."""
        answer = self.patch(path, *operations, **options)
        if not self.status(answer, 200, 204):
            return self.read(path)
        after = self.read(path)
        if answer.status == 200:
            body = {k: v for k, v in answer.object.items() if k != "meta"}
            again = {k: v for k, v in after.items() if k != "meta"}
            self.verify(body == again, f"PATCH answers {body}, GET then {again}", answer)
        self.last = answer
        return after

    def read(self, path):
        return self.done(self.call("GET", path), 200).object

    def user_body(self, name=None, /, **attributes):
        body = {"schemas": [USER], "userName": name or self.site.name()}
        extensions = [key for key in attributes if key.lower().startswith("urn:")]
        body["schemas"] += extensions
        return body | attributes

    def group_body(self, name=None, members=None, **attributes):
        body = {"schemas": [GROUP], "displayName": name or self.site.name("g")}
        if members is not None:
            body["members"] = [{"value": member} for member in members]
        return body | attributes

    def user(self, name=None, /, **attributes):
        """Makes a user; what the server answered."""
        return self.create("/Users", self.user_body(name, **attributes))

    def group(self, name=None, members=None, **attributes):
        self.wants_groups()
        return self.create("/Groups", self.group_body(name, members, **attributes))

    def create(self, path, body):
        answer = self.done(self.post(path, body), 201)
        self.need(isinstance(answer.object.get("id"), str), "a created resource without id", answer)
        return answer.object

    def names_schemas(self, body, *wanted):
        """`schemas` names what is in the resource and nothing else: the core, each extension there
        is data of, among them `wanted`."""
        named = body.get("schemas") or []
        self.equal(len({urn.lower() for urn in named}), len(named), f"distinct URIs of {named}")
        there = {key for key in body if key.lower().startswith("urn:")}
        extensions = {urn for urn in named if not urn.startswith(CORE)}
        self.equal(extensions, there, "extensions in schemas, against those with data")
        for urn in wanted:
            self.verify(urn in named, f"{urn} is not in schemas {named}")

    def wants_groups(self):
        if not self.site.has_groups:
            self.skip("ResourceTypes has no Group")

    def wants_patch(self):
        if not self.site.supports("patch"):
            self.skip("ServiceProviderConfig: patch is not supported")

    def wants_filter(self):
        if not self.site.supports("filter"):
            self.skip("ServiceProviderConfig: filter is not supported")

    def wants(self, *names, urn=USER):
        for name in names:
            if not self.site.has_attribute(name, urn):
                self.skip(f"the schema has no attribute {name}")

    # ---- cleaning up ----

    def clean_up(self):
        """Deletes what the check made, groups first; returns what could not be deleted."""
        left = []
        for client, path in sorted(self.made, key=lambda item: "/Groups/" not in item[1]):
            try:
                answer = client.call("DELETE", path)
                if answer.status not in (200, 202, 204, 404, 410):
                    left.append(f"{path}: {answer.status}")
            except (OSError, ValueError, http.client.HTTPException) as problem:
                left.append(f"{path}: {problem}")
        self.made = []
        return left


def patch_body(*operations):
    return {"schemas": [PATCH_OP], "Operations": list(operations)}


def run_check(site, name):
    """{name, result, failures, reason, choices, seconds}: one check, cleaned up after."""
    trial = Trial(site)
    reason = ""
    started = time.monotonic()
    try:
        CHECKS[name](trial)
    except Skipped as skipped:
        reason = str(skipped)
    except Stop:
        pass
    except (OSError, http.client.HTTPException) as problem:
        trial.fail(f"no answer: {type(problem).__name__}: {problem}")
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as problem:
        trial.fail(f"the answer broke the check: {type(problem).__name__}: {problem}")
    finally:
        left = trial.clean_up()
    result = "fail" if trial.failures else ("skipped" if reason else "pass")
    return {
        "name": name,
        "result": result,
        "about": " ".join(CHECKS[name].__doc__.split()),
        "failures": trial.failures,
        "reason": reason,
        "choices": trial.choices,
        "left": left,
        "seconds": round(time.monotonic() - started, 3),
    }
