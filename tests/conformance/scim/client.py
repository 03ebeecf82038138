"""One SCIM client over HTTP: requests, answers, and how both are shown to people."""

import http.client
import json
import socket
import ssl
import time
import urllib.parse

SCIM_TYPE = "application/scim+json"
JSON_TYPE = "application/json"
EXCERPT_BYTES = 700
IDLE_S = 4.0
THROTTLED_TRIES = 5
THROTTLED_S_MAX = 30.0


def printable(text):
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def excerpt(data):
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    if len(text) > 10 * EXCERPT_BYTES:
        return f"{printable(text[:EXCERPT_BYTES])}... ({len(text)} chars)"
    text = printable(text)
    return text if len(text) <= EXCERPT_BYTES else f"{text[:EXCERPT_BYTES]}... ({len(text)} chars)"


def without_duplicates(pairs):
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise ValueError("a JSON object names a member twice: " + ", ".join(names))
    return dict(pairs)


class Answer:
    """What came back for one request, with the request itself."""

    def __init__(self, request_line, request_body, status, headers, body):
        self.request_line = request_line
        self.request_body = request_body
        self.status = status
        self.headers = headers
        self.body = body
        self.json = None
        self.defect = ""  # why the body is not JSON
        if body:
            try:
                self.json = json.loads(body.decode("utf-8"), object_pairs_hook=without_duplicates)
            except ValueError as broken:
                self.defect = str(broken)

    def header(self, name):
        return self.headers.get(name) or ""

    @property
    def media_type(self):
        return self.header("Content-Type").split(";")[0].strip().lower()

    @property
    def object(self):
        """The body when it is a JSON object, else an empty one."""
        return self.json if isinstance(self.json, dict) else {}

    @property
    def resources(self):
        found = self.object.get("Resources")
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []

    @property
    def ids(self):
        return [item.get("id") for item in self.resources]

    @property
    def scim_type(self):
        return self.object.get("scimType", "")

    def describe(self):
        lines = [f"sent: {excerpt(self.request_line)}"]
        if self.request_body:
            lines.append(f"      {excerpt(self.request_body)}")
        shown = [f"{name}: {self.headers[name]}" for name in NOTABLE if name in self.headers]
        lines.append(f"came: {self.status}" + (f" ({', '.join(shown)})" if shown else ""))
        if self.body:
            lines.append(f"      {excerpt(self.body)}")
        return "\n".join(lines)


NOTABLE = ("Content-Type", "ETag", "Location", "Allow", "WWW-Authenticate", "Retry-After")


class Client:
    """One bearer token at one base URL. Keeps its connection; waits as told when throttled."""

    def __init__(self, base, token, ca_file=None, timeout_s=60.0):
        self.base = base.rstrip("/")
        self.token = token
        self.timeout_s = timeout_s
        parts = urllib.parse.urlsplit(self.base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not an HTTP URL: {base}")
        self.scheme, self.host = parts.scheme, parts.hostname
        self.port = parts.port or (443 if self.scheme == "https" else 80)
        self.root = parts.path
        self.query = parts.query  # some deployments keep a flag in the base URL
        self.tls = ssl.create_default_context(cafile=ca_file) if self.scheme == "https" else None
        self.connection = None
        self.used_at = 0.0
        self.throttled = []  # answers 429
        self.seconds = []  # of each request

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def twin(self):
        """The same client on a connection of its own, for another thread."""
        twin = Client.__new__(Client)
        twin.__dict__.update(self.__dict__)
        twin.connection, twin.throttled, twin.seconds = None, [], []
        return twin

    def open_socket(self):
        plain = socket.create_connection((self.host, self.port), self.timeout_s)
        if self.tls is None:
            return plain
        return self.tls.wrap_socket(plain, server_hostname=self.host)

    def target(self, path, query=None):
        """Path and query as sent. `path` is below the base, or a whole URL that the server gave."""
        if path.startswith(("http://", "https://")):
            parts = urllib.parse.urlsplit(path)
            path, given = parts.path, parts.query
        else:
            path, _, given = (self.root + path).partition("?")
        words = [word for word in (self.query, given) if word]
        if query:
            words.append(urllib.parse.urlencode(query, quote_via=urllib.parse.quote))
        return path + ("?" + "&".join(words) if words else "")

    def call(self, method, path, body=None, query=None, headers=None, raw=None, token=None):
        """`body` is sent as SCIM JSON, `raw` as it is. A header of None is left out. `token` of ""
        sends no credentials."""
        sent = {"Accept": SCIM_TYPE}
        token = self.token if token is None else token
        if token:
            sent["Authorization"] = "Bearer " + token
        data = raw if raw is not None else None
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = SCIM_TYPE
        sent.update(headers or {})
        sent = {name: value for name, value in sent.items() if value is not None}
        target = self.target(path, query)
        for _ in range(THROTTLED_TRIES):
            answer = self.send(method, target, data, sent, headers or {})
            if answer.status != 429:
                break
            self.throttled.append(answer)
            wait = answer.header("Retry-After")
            time.sleep(min(float(wait) if wait.isdigit() else 1.0, THROTTLED_S_MAX))
        return answer

    def send(self, method, target, data, headers, notable):
        if self.connection is not None and time.monotonic() - self.used_at > IDLE_S:
            self.close()
        started = time.monotonic()
        fresh = self.connection is None
        try:
            answer = self.exchange(method, target, data, headers)
        except (http.client.RemoteDisconnected, ConnectionResetError):
            self.close()
            if fresh:
                raise
            answer = self.exchange(method, target, data, headers)  # the old one had ended
        except BaseException:  # also an interrupt: the clean-up needs a whole connection
            self.close()
            raise
        self.used_at = time.monotonic()
        self.seconds.append(self.used_at - started)
        status, answer_headers, text = answer
        line = f"{method} {urllib.parse.unquote(target)}"
        shown = [f"{name}: {value}" for name, value in notable.items() if name != "Authorization"]
        line += f"  [{'; '.join(shown)}]" if shown else ""
        return Answer(line, data or b"", status, answer_headers, text)

    def exchange(self, method, target, data, headers):
        if self.connection is None:
            if self.tls is None:
                self.connection = http.client.HTTPConnection(self.host, self.port, self.timeout_s)
            else:
                self.connection = http.client.HTTPSConnection(
                    self.host, self.port, timeout=self.timeout_s, context=self.tls
                )
        try:
            self.connection.request(method, target, data, headers)
        except BrokenPipeError:
            pass  # refused before all was sent: the answer is there
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.will_close:
            self.close()
        return answer.status, answer.headers, text
