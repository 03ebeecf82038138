"""A hub that can lie: speaks enrolment and feed (src/feed/FORMAT.md) over plain HTTP on loopback,
keeps a few people in memory, and lets a test replace any answer.
"""

import hashlib
import http.server
import json
import socket
import struct
import threading
import time
import urllib.parse

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def join_token(secret="J" * 43):
    value, check = crc32c(f"rsj_{secret}".encode()), ""
    for _ in range(6):
        check, value = BASE62[value % 62] + check, value // 62
    return f"rsj_{secret}_{check}"


def zstd_frame(data):
    """RFC 8878 with raw blocks: valid, not compressed."""
    out = [bytes.fromhex("28b52ffd"), b"\xe0", struct.pack("<Q", len(data))]
    blocks = [data[at : at + (1 << 17)] for at in range(0, len(data), 1 << 17)] or [b""]
    for index, block in enumerate(blocks):
        header = len(block) << 3 | (index == len(blocks) - 1)
        out += [header.to_bytes(3, "little"), block]
    return b"".join(out)


def zstd_bomb(byte, blocks):
    """A frame that unpacks to `blocks` times 128 KiB of one byte."""
    block = ((1 << 17) << 3 | 1 << 1).to_bytes(3, "little") + byte
    last = ((1 << 17) << 3 | 1 << 1 | 1).to_bytes(3, "little") + byte
    return bytes.fromhex("28b52ffd") + b"\x00\x58" + block * (blocks - 1) + last


def lines(*messages):
    return b"".join(json.dumps(m).encode() + b"\n" for m in messages)


class Answer:
    """One HTTP answer. `cut_after`: so many bytes of the body are sent, then nothing."""

    def __init__(self, status=200, body=b"", headers=None, cut_after=None):
        self.status, self.body, self.headers = status, body, headers or {}
        self.cut_after = cut_after


class FakeHub:
    def __init__(self, org="acme", view="login"):
        self.org, self.view, self.epoch = org, view, "1001"
        self.users, self.groups, self.gone = {}, {}, {}
        self.seq, self.lie, self.lies_told, self.requests = 0, None, 0, []
        self.changed = threading.Condition()
        self.server = None

    # --- content ---------------------------------------------------------------------------------

    def put_user(self, n, **members):
        with self.changed:
            self.seq += 1
            self.users[n] = {
                "t": "user",
                "n": n,
                "seq": self.seq,
                "name": f"u{n}",
                "uid": 20000 + n,
                "gecos": f"User {n}",
                "home": f"/home/u{n}",
                "shell": "/bin/bash",
                **members,
            }
            self.changed.notify_all()
            return self.users[n]

    def put_group(self, n, name, gid):
        with self.changed:
            self.seq += 1
            self.groups[n] = {"t": "group", "n": n, "seq": self.seq, "name": name, "gid": gid}
            self.changed.notify_all()

    def cursor(self, seq=None, epoch=None):
        seq = self.seq if seq is None else seq
        tag = hashlib.sha256(str(seq).encode()).hexdigest()[:16] if seq else ""
        return f"{epoch or self.epoch}.{seq}.{tag}"

    def head(self, kind, **members):
        return {
            "t": "head",
            "v": 1,
            "epoch": self.epoch,
            "org": self.org,
            "view": self.view,
            "kind": kind,
            "head": self.seq,
            "keys": True,
            **members,
        }

    def end(self, records, **members):
        kinds = [record["t"] for record in records]
        return {
            "t": "end",
            "counts": {
                "users": kinds.count("user"),
                "groups": kinds.count("group"),
                "gone": sum(kind.endswith("_gone") for kind in kinds),
            },
            "cursor": self.cursor(),
            "totals": {"users": len(self.users), "groups": len(self.groups)},
            **members,
        }

    def delta(self, since):
        return [
            record
            for record in [*self.groups.values(), *self.users.values()]
            if record["seq"] > since
        ]

    def delta_stream(self, since):
        records = self.delta(since)
        return lines(self.head("delta"), *records, self.end(records))

    def snapshot_stream(self, **head):
        records = [*self.groups.values(), *self.users.values()]
        return lines(self.head("snapshot", **head), *records, self.end(records))

    # --- answers ---------------------------------------------------------------------------------

    def answer(self, request):
        """`request`: kind ("enroll", "renew", "feed", "snapshot"), method, query, headers."""
        lie = self.lie
        if lie is not None:
            told = lie(request)
            if told is not None:
                self.lies_told += 1
                return told
        if request["kind"] in ("enroll", "renew"):
            return self.enrolled(201 if request["kind"] == "enroll" else 200)
        if request["kind"] == "snapshot":
            return self.snapshot_answer(zstd_frame(self.snapshot_stream()), self.cursor())
        return self.feed_answer(request)

    def enrolled(self, status, **members):
        body = {
            "node_id": "node-1",
            "credential": "rsn_" + "N" * 43,
            "org": self.org,
            "cluster": "hpc",
            "view": self.view,
            "role": "login",
            "issued": "2026-01-01T00:00:00.000Z",
            "expires": "2096-01-01T00:00:00.000Z",
        }
        return Answer(
            status, json.dumps(body | members).encode(), {"Content-Type": "application/json"}
        )

    def snapshot_answer(self, frame, cursor):
        return Answer(
            200,
            frame,
            {
                "Content-Type": "application/zstd",
                "Roster-Cursor": cursor,
                "ETag": '"' + hashlib.sha256(frame).hexdigest()[:20] + '"',
            },
        )

    def feed_answer(self, request):
        query = request["query"]
        since = query.get("since") or query.get("from") or ""
        epoch, seq, _ = (since.split(".") + ["", "", ""])[:3]
        if epoch != self.epoch or since != self.cursor(int(seq)) or int(seq) > self.seq:
            return Answer(409, lines({"t": "reset", "reason": "unknown position"}))
        deadline = time.monotonic() + min(float(query.get("wait", 0)), 30)
        with self.changed:
            while self.seq <= int(seq) and not self.lie and time.monotonic() < deadline:
                self.changed.wait(0.2)
        if self.lie is not None and (told := self.lie(request)) is not None:
            self.lies_told += 1
            return told
        return Answer(200, self.delta_stream(int(seq)), {"Content-Type": "application/x-ndjson"})

    def wake(self):
        with self.changed:
            self.changed.notify_all()

    # --- the wire --------------------------------------------------------------------------------

    def start(self):
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                url = urllib.parse.urlsplit(self.path)
                kind = {"enroll": "enroll", "renew": "renew", "snapshot": "snapshot"}.get(
                    url.path.rsplit("/", 1)[1], "feed"
                )
                request = {
                    "kind": kind,
                    "method": self.command,
                    "path": url.path,
                    "query": dict(urllib.parse.parse_qsl(url.query)),
                    "headers": dict(self.headers),
                    "at": time.monotonic(),
                }
                hub.requests.append(request)
                self.send(hub.answer(request))

            def send(self, answer):
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                if self.command == "HEAD":
                    return
                body = answer.body if answer.cut_after is None else answer.body[: answer.cut_after]
                self.wfile.write(body)
                if answer.cut_after is not None:
                    self.wfile.flush()
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True

            do_GET = do_POST = do_HEAD = serve

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # the agent hangs up on a liar

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
