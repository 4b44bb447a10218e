"""What a disk may hold after a power cut, by the record of `recorded_calls.c`.

Promised is what POSIX promises: the content of a file as it was when its last `fsync` returned, and the names
in a folder as they were when the folder's last `fsync` returned. Of what was written later there is any
subset, in sectors that are old or new as a whole; of later names, any first part, as file systems keep a
journal of those. Bytes beside those that are written are not harmed: SQLite relies on that, too.
Source: sqlite.org/psow.html.
"""

import random
import struct
from collections.abc import Iterator
from typing import NamedTuple

HEAD = struct.Struct("<cIQQ")
SHARES = (0.0, 0.05, 0.5, 0.95, 1.0)


class Call(NamedTuple):
    """A change of a file, or a moment: write, truncate, sync, unlink, rename, make a folder, mark."""

    operation: str
    path: str
    number: int
    data: bytes


def calls_of(record: bytes) -> Iterator[Call]:
    at = 0
    while at < len(record):
        operation, n_path, n_data, number = HEAD.unpack_from(record, at)
        at += HEAD.size
        path, data = record[at : at + n_path].decode(), record[at + n_path : at + n_path + n_data]
        at += n_path + n_data
        yield Call(operation.decode(), path, number, data)


class File:
    """An inode: what is surely on the disk, and what was written since."""

    def __init__(self, content: bytes = b"") -> None:
        self.durable = bytearray(content)
        self.pending: list[Call] = []

    def sync(self) -> None:
        for call in self.pending:
            apply(self.durable, call)
        self.pending.clear()

    def whole(self) -> bytes:
        content = bytearray(self.durable)
        for call in self.pending:
            apply(content, call)
        return bytes(content)

    def after_power_cut(self, rng: random.Random) -> bytes:
        content, share, sector = bytearray(self.durable), rng.choice(SHARES), rng.choice([512, 4096])
        for call in self.pending:
            for part in in_sectors(call, sector):
                if rng.random() < share:
                    apply(content, part)
        if rng.random() < 0.2:  # the new length is there, the data is not
            content.extend(bytes(max(0, len(self.whole()) - len(content))))
        return bytes(content)


def apply(content: bytearray, call: Call) -> None:
    if call.operation == "T":
        del content[call.number :]
        content.extend(bytes(call.number - len(content)))
    else:
        content.extend(bytes(max(0, call.number - len(content))))
        content[call.number : call.number + len(call.data)] = call.data


def in_sectors(call: Call, sector: int) -> Iterator[Call]:
    if call.operation == "T":
        yield call
        return
    at, end = call.number, call.number + len(call.data)
    while at < end:
        edge = min(end, (at // sector + 1) * sector)
        yield call._replace(number=at, data=call.data[at - call.number : edge - call.number])
        at = edge


class Disk:
    """The files of one folder, and of those that were made in it, over the calls of a record."""

    def __init__(self, files: dict[str, bytes]) -> None:
        """A disk that holds `files`, by path."""
        self.durable_names = {path: File(content) for path, content in files.items()}
        self.names = dict(self.durable_names)
        self.pending_names: list[tuple[str, File | None]] = []
        self.unsure_folders: set[str] = set()

    def apply(self, call: Call) -> None:
        if call.operation == "D":
            self.unsure_folders.add(call.path)
        elif call.operation == "S" and call.path not in self.names:
            self.sync_folder(call.path)
        elif call.operation == "S":
            self.names[call.path].sync()
        elif call.operation == "U":
            self.name(call.path, None)
        elif call.operation == "R":
            file = self.names[call.path]
            self.name(call.data.decode(), file)
            self.name(call.path, None)
        elif call.operation in "WT":
            if call.path not in self.names:
                self.name(call.path, File())
            self.names[call.path].pending.append(call)

    def name(self, path: str, file: File | None) -> None:
        self.pending_names.append((path, file))
        give(self.names, path, file)

    def sync_folder(self, folder: str) -> None:
        self.unsure_folders = {made for made in self.unsure_folders if made.rpartition("/")[0] != folder}
        rest = []
        for path, file in self.pending_names:
            if path.rpartition("/")[0] == folder:
                give(self.durable_names, path, file)
            else:
                rest.append((path, file))
        self.pending_names = rest

    def after_power_cut(self, rng: random.Random) -> dict[str, bytes]:
        """The content of the files that are there, by path."""
        names = dict(self.durable_names)
        n = rng.choice([0, len(self.pending_names), rng.randint(0, len(self.pending_names))])
        for path, file in self.pending_names[:n]:
            give(names, path, file)
        lost = {made for made in self.unsure_folders if rng.random() < 0.5}
        return {
            path: file.after_power_cut(rng)
            for path, file in names.items()
            if not any(path.startswith(f"{made}/") for made in lost)
        }


def give(names: dict[str, File], path: str, file: File | None) -> None:
    if file is None:
        names.pop(path, None)
    else:
        names[path] = file
