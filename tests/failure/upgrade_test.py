"""The cache's format grows and changes its major: an old reader passes over what it does not
know, never misreads what it must understand, and programs of two majors live side by side in one
directory.
"""

import shutil
import struct
import time

from fake_hub import FakeHub, crc32c, join_token
from support import (
    CACHE,
    FOUND,
    NOTFOUND,
    STATUS_NAMES,
    Lab,
    NssModule,
    Reader,
    in_child,
    main,
    run,
    wait_for,
)

# Places in the header of base and delta, src/nsscache/FORMAT.md.
MAJOR, MINOR, CRC, HEADER_BYTES, SECTIONS, FILE_BYTES = 8, 10, 12, 16, 20, 32
MUST_UNDERSTAND, SECTION_TABLE, SECTION_BYTES = 124, 584, 24
CONTROL_HEADER = 64


def patched(path, change, header_bytes=None):
    """Changes a file's header and makes its checksum right again."""
    image = bytearray(path.read_bytes())
    change(image)
    size = header_bytes or struct.unpack_from("<I", image, HEADER_BYTES)[0]
    struct.pack_into("<I", image, CRC, 0)
    struct.pack_into("<I", image, CRC, crc32c(image[:size]))
    # A file that readers have mapped is never written to.
    fresh = path.with_name("patched")
    fresh.write_bytes(image)
    fresh.chmod(0o644)
    fresh.rename(path)


def put(offset, layout, value):
    return lambda image: struct.pack_into(layout, image, offset, value)


def add_unknown_section(image):
    count = struct.unpack_from("<I", image, SECTIONS)[0]
    file_bytes = struct.unpack_from("<Q", image, FILE_BYTES)[0]
    struct.pack_into(
        "<IIQQ",
        image,
        SECTION_TABLE + count * SECTION_BYTES,
        999,
        0,
        file_bytes // 64 * 64 - 64,
        64,
    )
    struct.pack_into("<I", image, SECTIONS, count + 1)
    struct.pack_into("<H", image, MINOR, 7)


def newest(prefix):
    return max(CACHE.glob(prefix + ".1.*"), key=lambda path: int(path.suffix[1:]))


def look(name="u1"):
    status, user = NssModule().user(name)
    return [STATUS_NAMES[status], user.uid if user else None]


def with_copy(what, change, expected, checks):
    """A fresh reader on a changed copy of the cache."""
    saved = CACHE.with_name("saved")
    shutil.copytree(CACHE, saved)
    change()
    got = in_child(look)[0]
    shutil.rmtree(CACHE)
    saved.rename(CACHE)
    checks.equal(got, expected, what)


def readers_meet_the_unknown(checks):
    with_copy(
        "a newer minor with a section that nobody knows: answered",
        lambda: patched(newest("delta"), add_unknown_section),
        "SUCCESS",
        checks,
    )
    # The delta names its base by a checksum of the base's body: its header may differ.
    with_copy(
        "the same in the base: answered",
        lambda: patched(newest("base"), add_unknown_section),
        "SUCCESS",
        checks,
    )
    for name in ("delta", "base"):
        with_copy(
            f"a {name} of another major under our name: unavailable",
            lambda name=name: patched(newest(name), put(MAJOR, "<H", 2)),
            "UNAVAIL",
            checks,
        )
        with_copy(
            f'a {name} that says "you must understand this": unavailable',
            lambda name=name: patched(newest(name), put(MUST_UNDERSTAND, "<I", 1 << 5)),
            "UNAVAIL",
            checks,
        )
    with_copy(
        "a control page of another major: unavailable",
        lambda: patched(CACHE / "control.1", put(MAJOR, "<H", 2), CONTROL_HEADER),
        "UNAVAIL",
        checks,
    )
    with_copy("the files of a newer major beside ours: answered", newer_major, "SUCCESS", checks)


def newer_major():
    """What a newer agent would put beside ours."""
    for name in ("control.2", "base.2.9", "delta.2.9", "keys.2.9"):
        (CACHE / name).write_bytes(b"RosterXx" + bytes(8192))


def two_majors_in_one_directory(checks, lab, hub):
    """Our agent starts where a newer one published, and leaves the newer one's files alone."""
    lab.stop("agent")
    newer_major()
    lab.start_agent(None)
    hub.put_user(2, gecos="Second")
    wait_for(lambda: in_child(look, "u2")[0] == "SUCCESS", "the agent goes on", 10, 0.05)
    kept = [path.name for path in CACHE.iterdir()]
    checks.that(
        {"control.2", "base.2.9", "delta.2.9", "keys.2.9"} <= set(kept),
        "files of another major are not touched",
        kept,
    )


def downgrade(checks, lab, hub):
    """A newer agent stopped publishing our major; then the older one comes back."""

    def living(module):
        status, user = module.user("u1")
        if status == NOTFOUND or (status == FOUND and user.uid != 20001):
            return f"u1: {status} {user!r}"
        return None

    reader = Reader(living)
    wait_for(lambda: in_child(look)[0] == "SUCCESS", "people resolve", 5)
    lab.stop("agent")
    for path in {*CACHE.glob("*.1"), *CACHE.glob("*.1.*")}:
        path.unlink()
    checks.equal(in_child(look)[0], "UNAVAIL", "our major is gone: a fresh reader knows nothing")
    time.sleep(1.2)  # a reader looks at the path once a second
    lab.start_agent(None)
    wait_for(lambda: in_child(look)[0] == "SUCCESS", "the older agent makes its own", 10, 0.05)
    hub.put_user(3)
    wait_for(lambda: in_child(look, "u3")[0] == "SUCCESS", "and goes on", 10, 0.05)
    checks.that(
        reader.finish() > 0, 'a process that lived through it was never told "no such user"'
    )


def story(checks):
    hub = FakeHub()
    hub.start()
    hub.put_group(100, "team", 25000)
    hub.put_user(1, groups=[100])
    with Lab() as lab:
        lab.url = hub.url
        token = lab.root / "join.token"
        token.touch(mode=0o600)
        token.write_text(join_token())
        lab.start_agent(token)
        run("roster-agent", "wait", "--timeout", "20s")
        checks.equal(in_child(look), ["SUCCESS", 20001], "a node of today")
        lab.stop("agent")
        readers_meet_the_unknown(checks)
        lab.start_agent(None)
        two_majors_in_one_directory(checks, lab, hub)
        downgrade(checks, lab, hub)
    hub.stop()


if __name__ == "__main__":
    main(story)
