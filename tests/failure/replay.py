"""Every state in which a power loss may leave a directory, from the log of recorder.c.

What may be lost, and what may not: the content of a file is sure up to the beginning of its last
successful sync; of the writes after that any subset may have reached the disk, each in whole, in
part (4096-byte pages) or as its length only, filled with zeros. Names (create, rename, unlink)
reach the disk in their order, as journaling file systems do it, and are sure up to the last sync
of their directory. A file's content and its name are independent: a synced file may have no name
yet, and a name may stand for a file whose content is lost.
"""

import os
import pathlib
import struct

HEAD = struct.Struct("<IIQQqqq")
OPEN, WRITE, TRUNCATE, ALLOCATE, SYNC_BEGIN, SYNC_END, RENAME, UNLINK, MAKE_DIR, CHANGE_MODE = (
    range(1, 11)
)
KEEP_SIZE = 1
PAGE = 4096


def read_log(path):
    """[(end offset in the log, kind, file, text, data, a, b, c)]; a cut last record is left out."""
    log, records, at = pathlib.Path(path).read_bytes(), [], 0
    while at + HEAD.size <= len(log):
        kind, text_bytes, data_bytes, file, a, b, c = HEAD.unpack_from(log, at)
        end = at + HEAD.size + text_bytes + data_bytes
        if end > len(log):
            break
        text = log[at + HEAD.size : at + HEAD.size + text_bytes].decode()
        records.append((end, kind, file, text, log[end - data_bytes : end], a, b, c))
        at = end
    return records


class File:
    def __init__(self, content=b"", mode=0o600):
        self.sure = bytearray(content)
        self.pending = []  # (kind, offset or size, data or length)
        self.mode = mode


def apply(content, change, part=None):
    """Carries a change out on a bytearray. `part`: None for all of it, a random.Random for some
    pages of it, "size" for its length only.
    """
    kind, position, value = change
    if kind == TRUNCATE:
        if position < len(content):
            del content[position:]
        else:
            content.extend(bytes(position - len(content)))
    elif kind == ALLOCATE:
        content.extend(bytes(max(0, position + value - len(content))))
    else:
        end = position + len(value)
        content.extend(bytes(max(0, end - len(content))))
        if part is None:
            content[position:end] = value
        elif part != "size":
            at = position
            while at < end:
                until = min(end, (at // PAGE + 1) * PAGE)
                if part.random() < 0.5:
                    content[at:until] = value[at - position : until - position]
                at = until


class Disk:
    """What is sure and what is pending after a prefix of the log."""

    def __init__(self, directory=None):
        self.names = {}  # sure: path -> File, or None for a directory
        self.pending = []  # changes of names after that: functions of a dict
        self.places = []  # directory of each pending change of names
        self.files = {}  # inode -> File
        self.directories = {}  # inode -> path
        self.now = {}  # as the program sees it
        self.syncs = {}
        if directory is not None:
            self.take(pathlib.Path(directory))

    def take(self, root):
        """Starts from what lies there, all of it sure. Inodes must be the recorded program's."""
        for path in root.rglob("*"):
            name, status = str(path.relative_to(root)), path.stat(follow_symlinks=False)
            if path.is_dir():
                self.names[name] = self.now[name] = None
                continue
            if name.endswith("-shm") or not path.is_file():
                continue
            file = File(path.read_bytes(), status.st_mode & 0o7777)
            self.names[name] = self.now[name] = self.files[status.st_ino] = file

    def step(self, record):
        _, kind, inode, text, data, a, b, c = record
        if text.endswith("-shm"):
            return
        if kind == OPEN:
            self._opened(inode, text, a, b, c)
        elif kind in (RENAME, UNLINK, MAKE_DIR):
            self._renamed(kind, text)
        elif kind in (SYNC_BEGIN, SYNC_END):
            self._synced(kind, inode, a, b)
        elif inode in self.files:
            self._changed(kind, self.files[inode], data, a, b, c)

    def _opened(self, inode, name, created, truncated, is_directory):
        if is_directory:
            self.directories[inode] = name
        elif created:
            file = self.files[inode] = File()
            self._name_changes([name], lambda names: names.__setitem__(name, file))
        elif truncated and inode in self.files:
            self.files[inode].pending.append((TRUNCATE, 0, None))

    def _changed(self, kind, file, data, a, b, c):
        if kind == WRITE:
            file.pending.append((WRITE, a, data))
        elif kind == TRUNCATE:
            file.pending.append((TRUNCATE, a, None))
        elif kind == ALLOCATE:
            if not c & KEEP_SIZE:
                file.pending.append((ALLOCATE, a, b))
        elif kind == CHANGE_MODE:
            file.mode = a

    def _renamed(self, kind, text):
        if kind == RENAME:
            source, target = text.split("\0")
            self._name_changes([source, target], lambda names: move(names, source, target))
        elif kind == UNLINK:
            self._name_changes([text], lambda names: names.pop(text, None))
        else:
            self._name_changes([text], lambda names: names.__setitem__(text, None))

    def _name_changes(self, names, change):
        change(self.now)
        self.pending.append(change)
        self.places.append({os.path.dirname(name) for name in names})

    def _synced(self, kind, inode, number, succeeded):
        if inode not in self.files and inode not in self.directories:
            return
        changes = self.pending if inode in self.directories else self.files[inode].pending
        if kind == SYNC_BEGIN:
            self.syncs[number] = (inode, len(changes))
            return
        _, count = self.syncs.pop(number, (inode, 0))
        if not succeeded or count == 0:
            return
        if inode in self.directories:
            count = self._names_are_sure(count, self.directories[inode])
        else:
            for change in changes[:count]:
                apply(self.files[inode].sure, change)
            del changes[:count]
        # Other syncs under way counted what is no longer pending.
        for other, (their, mark) in self.syncs.items():
            if (their in self.directories) == (inode in self.directories) and (
                inode in self.directories or their == inode
            ):
                self.syncs[other] = (their, max(0, mark - count))

    def _names_are_sure(self, count, directory):
        """A journal keeps the order: with the last change in this directory all before it are
        sure.
        """
        last = max(
            (index + 1 for index in range(count) if directory in self.places[index]), default=0
        )
        for change in self.pending[:last]:
            change(self.names)
        del self.pending[:last], self.places[:last]
        return last

    # --- states ----------------------------------------------------------------------------------

    def state(self, how):
        """{path: (mode, bytes) or None for a directory}. `how`: "nothing" of what is pending
        arrived, "everything", or a random.Random that chooses.
        """
        names = dict(self.names)
        count = {"nothing": 0, "everything": len(self.pending)}.get(how)
        if count is None:
            count = how.randint(0, len(self.pending))
        for change in self.pending[:count]:
            change(names)
        return {
            name: None if file is None else (file.mode, content_of(file, how))
            for name, file in names.items()
        }


def move(names, source, target):
    if source in names:
        names[target] = names.pop(source)


def content_of(file, how):
    content = bytearray(file.sure)
    if how == "nothing":
        return bytes(content)
    for change in file.pending:
        if how == "everything":
            apply(content, change)
            continue
        chance = how.random()
        if chance < 0.4:
            apply(content, change)
        elif chance < 0.6:
            apply(content, change, how)
        elif chance < 0.7:
            apply(content, change, "size")
    return bytes(content)


def write_state(state, root):
    """Puts a state into an empty directory."""
    root = pathlib.Path(root)
    for name in sorted(state):
        path = root / name
        if state[name] is None:
            path.mkdir(parents=True, exist_ok=True)
            continue
        mode, content = state[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as out:
            if content.strip(b"\0"):
                out.write(content)
            else:
                out.truncate(len(content))  # a reserve of zeros needs no memory
        path.chmod(mode)
