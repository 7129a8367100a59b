"""What a disk may hold after a power failure, given the calls that a process made before it.

What was synced is there. Of the rest, anything may be: the data of a file without its name, the name without the data,
a later write without an earlier one, half a write (T. S. Pillai et al., All file systems are not created equal, OSDI
2014). Only renaming is atomic. Here each of these happens alone, after each call.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from system_calls import Call

Names = dict[str, int]
Contents = dict[int, bytes]


class Change(NamedTuple):
    """A change of a file's content that is not synced: bytes at an offset, or its length if there are none."""

    offset: int
    data: bytes

    def applied(self, content: bytes) -> bytes:
        if not self.data:
            return content[: self.offset].ljust(self.offset, b"\0")
        return content[: self.offset].ljust(self.offset, b"\0") + self.data + content[self.offset + len(self.data) :]


class Disk:
    """A folder on a disk, and what the system would still have to write to it.

    names, contents  which file each name stands for, and what is in the files, as far as they are synced
    renamed          the names that were changed since, in their order, with the file: None if the name is gone
    changed          the changes of each file since it was synced
    """

    def __init__(self, folder: Path) -> None:
        self.names: Names = {}
        self.contents: Contents = {}
        for path in folder.iterdir():
            self.names[path.name] = len(self.names)
            self.contents[self.names[path.name]] = path.read_bytes()
        self.live = dict(self.names)
        self.renamed: list[dict[str, int | None]] = []
        self.changed: dict[int, list[Change]] = {}

    def take(self, call: Call) -> None:
        """A call that the process has made."""
        if call.name == "open":
            self._open(call)
        elif call.name in ("write", "ftruncate"):
            self._change(call.path, Change(call.offset, call.data))
        elif call.name == "rename":
            file = self.live.pop(call.path)
            self.live[call.to] = file
            self.renamed.append({call.path: None, call.to: file})
        elif call.name == "unlink":
            if self.live.pop(call.path, None) is not None:
                self.renamed.append({call.path: None})
        elif call.name == "fsync" and call.path:
            file = self.live[call.path]
            self.contents[file] = self._content(file)
            self.changed.pop(file, None)
        elif call.name == "fsync":
            self.names, self.renamed = dict(self.live), []
        else:
            assert call.name in ("close", "chmod", "fchmod"), f"{call.name} is not known to this module"

    def _open(self, call: Call) -> None:
        if call.path not in self.live:
            self.live[call.path] = file = len(self.contents)
            self.contents[file] = b""
            self.renamed.append({call.path: file})
        elif call.flags & os.O_TRUNC:
            self._change(call.path, Change(0, b""))

    def _change(self, path: str, change: Change) -> None:
        path = path.removesuffix(" (deleted)")
        if path in self.live:
            self.changed.setdefault(self.live[path], []).append(change)

    def _content(self, file: int, without: int = -1) -> bytes:
        content = self.contents[file]
        for index, change in enumerate(self.changed.get(file, [])):
            if index != without:
                content = change.applied(content)
        return content

    def states(self) -> Iterator[dict[str, bytes]]:
        """What may be there if the power fails now: the content of each name. Of many changes of a file, some count."""
        for names in self._possible_names():
            yield {name: self.contents[file] for name, file in names.items()}
            yield {name: self._content(file) for name, file in names.items()}
        for file, changes in self.changed.items():
            for index in sorted({0, len(changes) // 2, len(changes) - 1}):
                change = changes[index]
                half = Change(change.offset, change.data[: len(change.data) // 2]) if len(change.data) > 1 else None
                for content in (
                    self._content(file, without=index),
                    change.applied(self.contents[file]),
                    *([half.applied(self.contents[file])] if half else []),
                ):
                    yield {name: content if each == file else self._content(each) for name, each in self.live.items()}

    def durable(self) -> Iterator[dict[str, bytes]]:
        """What may be there if the power fails later on, in the least and in the best case."""
        yield {name: self.contents[file] for name, file in self.names.items()}
        yield {name: self._content(file) for name, file in self.live.items()}

    def _possible_names(self) -> Iterator[Names]:
        """The names that are synced, those of the process, and each change of names alone."""
        yield self.names
        yield self.live
        for changes in self.renamed:
            alone = {**self.names, **changes}
            yield {name: file for name, file in alone.items() if file is not None}
