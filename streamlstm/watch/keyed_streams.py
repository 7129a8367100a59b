"""A watcher with keys: each key has a stream of its own, over one model.

Each stream begins where the model stands and depends on its own lines only: it does not matter where it lay in between.
Those used last are in memory, the others on disk. If there are too many, the model that was not used for longest is
dropped. The history of its key is kept on the disk: the first lines of a new model are compared with it.

A stream is the model that reads its lines, parked unless it is the current one, and what is known of the lines. A line
is undone by the `LineReader` of all streams, as long as the key stays the same.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint import Arrays, dump_checkpoint, parse_checkpoint
from ..codec.coder import identity
from ..kernels.arrays import F32, F64
from ..predictor import Learn, StreamPredictor
from ..predictor.stream import ParkedStream
from ..predictor.stream_reader import StreamReader
from ..ranges import Whole, check_values
from ..streams.cache import HotStream, Limits, StreamCache
from ..streams.pool import MAX_PAGES
from ..streams.store import StreamStore
from ..vocabulary import Tokens
from .familiar import FamiliarLines
from .key_file import Claim, claim_in, claim_of, new_store, replaced, write_model
from .lines import History, LineStream, is_noted
from .single_stream import LineReader

MAX_KEY_LENGTH = 256
"""Of a longer key at most this many characters count."""

_OUTSIDE = re.compile(r"\W")


class KeyPattern:
    """Finds the key of a line.

    regex  the key is what its first group matches or, without a group, the whole match; None: no line has a key

    Raises ValueError if it is not a valid regular expression, as a str.

    >>> KeyPattern(r"host-(\\d+)").key_of("from host-12 to host-7"), KeyPattern(r"\\d+").key_of("none")
    ('12', '')
    """

    def __init__(self, regex: str | None) -> None:
        if not (regex is None or isinstance(regex, str)):
            raise ValueError(f"a regular expression for lines must be a str, not {regex!r}")
        try:
            self._regex = None if regex is None else re.compile(regex)
        except re.error as error:
            raise ValueError(f"{regex!r} is not a valid regular expression: {error}") from None

    def key_of(self, line: str) -> str:
        """The key of a line, truncated; "" if it has none."""
        match = self._regex.search(line) if self._regex else None
        if match is None:
            return ""
        return ((match[1] if match.re.groups else match[0]) or "")[:MAX_KEY_LENGTH]

    def replaced(self, line: str) -> tuple[str, str]:
        """The key of a line, as `key_of` finds it, and the line with `#` for the key wherever the expression finds it.

        >>> KeyPattern(r"user=(\\w+)").replaced("user=o wrote to user=o and user=p")
        ('o', 'user=# wrote to user=# and user=p')
        """
        if self._regex is None or self._regex.search(line) is None:
            return "", line
        group = 1 if self._regex.groups else 0
        key, parts, at = None, [], 0
        for match in self._regex.finditer(line):
            found = match[group] or ""
            key = found if key is None else key
            if not key:
                return "", line
            if found == key:
                parts += [line[at : match.start(group)], "#"]
                at = match.end(group)
        return (key or "")[:MAX_KEY_LENGTH], "".join([*parts, line[at:]])


def without_word(line: str, word: str) -> str:
    """A line with `#` for each occurrence of `word` that is not part of a longer word.

    >>> without_word("o wrote to user=o: no", "o")
    '# wrote to user=#: no'
    """
    parts, done, at = [], 0, line.find(word) if word else -1
    while at >= 0:
        end = at + len(word)
        if _is_in_word(line[at - 1 : at]) or _is_in_word(line[end : end + 1]):
            outside = _OUTSIDE.search(
                line, at
            )  # no occurrence can be whole before the word that this one is in has ended
            at = -1 if outside is None else line.find(word, outside.end())
        else:
            parts += [line[done:at], "#"]
            done, at = end, line.find(word, end)
    return "".join([*parts, line[done:]])


def _is_in_word(character: str) -> bool:
    return character.isalnum() or character == "_"


FAMILIAR = "familiar."
"""What the names of the arrays of familiar lines begin with in a snapshot."""

OVERHEAD = 12_000
"""The bytes that the baselines of a key and Python's objects take, about."""


@dataclass
class KeyStream:
    """The stream of a key.

    model  reads its lines, unless another one is in use
    lines  the scores of its lines, and which are familiar
    """

    model: ParkedStream
    lines: LineStream

    @property
    def n_symbols(self) -> int:
        """How many symbols the model has seen."""
        return self.model.n_symbols


class KeyStreamCodec:
    """The stored form of the stream of a key.

    reader    reads for all streams
    identity  identifies the model that all streams begin with
    familiar  of which those of a new stream are made; None if all lines are to be read in full
    """

    def __init__(self, reader: StreamReader, identity: bytes, familiar: FamiliarLines | None) -> None:
        self._reader, self._identity, self._familiar = reader, identity.hex(), familiar

    def new(self, model: ParkedStream, history: History) -> KeyStream:
        """The stream of a key that comes for the first time, or whose model was dropped."""
        familiar = None if self._familiar is None else self._familiar.new()
        return KeyStream(model, LineStream(familiar, history=history))

    def nbytes(self, parked: KeyStream) -> int:
        """How many bytes a stream takes in memory."""
        familiar = parked.lines.familiar
        return self._reader.nbytes(parked.model) + (0 if familiar is None else familiar.nbytes) + OVERHEAD

    def to_arrays(self, parked: KeyStream) -> tuple[Arrays, dict[str, Any]]:
        """The stored form of a stream."""
        arrays, values = self._reader.to_arrays(parked.model)
        lines = _described(parked.lines, arrays)
        return arrays, {**values, "model": self._identity, "lines": lines}

    def from_arrays(self, arrays: Arrays, values: dict[str, Any]) -> KeyStream:
        """The stream with a stored form, which is not checked."""
        return KeyStream(self._reader.from_arrays(arrays, values), self._lines_of(arrays, values["lines"]))

    def parse(self, content: bytes, name: str) -> KeyStream:
        """The stream of these bytes, called `name` in errors. Raises ValueError if they are not valid."""
        arrays, values = parse_checkpoint(content, name, "crc32")
        if values.get("model") != self._identity:
            raise ValueError(f"{name} is of another model")
        try:
            model = self._reader.checked_stream(arrays, values)
            return KeyStream(model, self._lines_of(arrays, values["lines"]))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(f"{name} cannot be used: {error!r}") from None

    def dump_history(self, history: History) -> bytes:
        """The bytes of what is kept of a key whose model is dropped."""
        return dump_checkpoint({}, history.describe(), "crc32")

    def parse_history(self, content: bytes, name: str) -> History:
        """What these bytes say, called `name` in errors. Raises ValueError if they are not valid."""
        try:
            return History.from_description(parse_checkpoint(content, name, "crc32")[1])
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"{name} cannot be used: {error!r}") from None

    def _lines_of(self, arrays: Arrays, described: dict[str, Any]) -> LineStream:
        familiar = None if self._familiar is None else self._familiar.new()
        baseline = {**described["baseline"], "recent": arrays["recent"].tolist()}
        return LineStream.from_description({**described, "baseline": baseline}, arrays, FAMILIAR, familiar)


def _described(lines: LineStream, arrays: Arrays) -> dict[str, Any]:
    """What is known of the lines as JSON values; large parts are added to `arrays`."""
    arrays["recent"] = np.array(lines.baseline.recent, dtype=np.uint16)
    described = lines.describe(arrays, FAMILIAR)
    del described["baseline"]["recent"]
    return described


STATE = "state"
"""The name of the value in the store with the state of the watcher."""


class _ModelSnapshot:
    """A copy of the model of a key, for a `LineReader`."""

    def __init__(self, streams: KeyedStreams) -> None:
        self._streams = streams
        self._numbered = 0, streams.copied_model()

    @property
    def epoch(self) -> int:
        return self._numbered[0]

    def update(self) -> None:
        self._numbered = self.epoch + 1, self._streams.copied_model()

    def restore(self) -> None:
        self._streams.replace_model(self._numbered[1].copy())


class KeyedStreams:
    """The streams by key.

    predictor      where all streams begin; it is copied
    learn          what the streams learn
    max_keys       the most models to keep
    memory_budget  bytes of streams to keep in memory
    thorough       whether all lines are to be read in full
    """

    keyed = True

    def __init__(
        self, predictor: StreamPredictor, learn: Learn, max_keys: int, memory_budget: int, thorough: bool
    ) -> None:
        self._options = learn, max_keys, memory_budget, thorough
        self._predictor, self._max_keys = predictor.fork(), max_keys
        model = predictor.fork()
        model.learn = learn
        self._reader = model.stream_reader(MAX_PAGES)
        self._first = self._reader.park()
        self._reader.resume(self._first.copy())
        self._identity = b"watch" + identity(model)
        familiar = None if thorough else FamiliarLines(predictor.vocabulary)
        self._codec = KeyStreamCodec(self._reader, self._identity, familiar)
        self._limits = Limits(memory_budget, None, None)
        self._streams = self._cache(None)
        self._n_dropped, self._n_lines = 0, 0
        self._hot: HotStream[KeyStream] | None = None  # what `get` returned last
        self._key = ""
        self._active: HotStream[KeyStream] | None = None  # the current stream of the reader
        self._active_key = ""
        self._line_reader = LineReader(self._observe, lambda: _ModelSnapshot(self))  # of the model of `_hot`
        self._file: Path | None = None  # of which the store is
        self._claim: Claim | None = None  # what the file says of the store
        self._written: tuple[int, ...] | None = None  # identifies the file, once it is written

    def _cache(self, store: StreamStore | None) -> StreamCache[KeyStream]:
        """Streams in memory, in a temporary file and in a store."""
        return StreamCache(self._codec, self._limits, store, self._identity, self._clock)

    def _clock(self) -> float:
        """The time, as the number of lines so far, so that the order in which models are dropped can be saved."""
        return float(self._n_lines)

    def __len__(self) -> int:
        return len(self._streams)

    def get(self, key: str, notes: list[str]) -> LineStream:
        """The stream of a key. For a new key the least recently used stream may be dropped; then a note is added."""
        self._line_reader.finish_undo()
        self._streams.measure(self._key)
        self._n_lines += 1
        try:
            hot = self._streams.load(key)
        except BaseException:
            self._n_lines -= 1
            raise
        if hot is None:
            if len(self._streams) == self._max_keys:
                self._note_dropped(self._drop(), key, notes)
            hot = self._streams.add(key, self._codec.new(self._first.copy(), self._history_of(key)))
        self._hot, self._key = hot, key
        return hot.parked.lines

    def read(self, tokens: Tokens, undoable: bool) -> F64:
        """Let the model of the key that was last passed to `get` observe a line; returns the surprisals, float64 [n].

        undoable  whether `undo` may follow; reading costs less otherwise
        """
        if self._hot is not self._active:
            self._park()
        return self._line_reader.read(tokens, undoable)

    def undo(self) -> None:
        """Make the model what it was before the last line. Raises ValueError if that was not read as undoable.

        After an interrupt, the next call of any method completes it.
        """
        self._line_reader.undo()

    def _observe(self, tokens: Tokens) -> F32:
        """Let the model of the key observe a line."""
        hot = self._hot
        assert hot is not None
        if hot is not self._active:
            self._reader.resume(hot.parked.model)
            hot.in_use, self._active, self._active_key = True, hot, self._key
        return self._reader.read(tokens)

    def copied_model(self) -> ParkedStream:
        """A copy of the model of the key."""
        assert self._hot is not None
        self._suspend()
        return self._hot.parked.model.copy()

    def replace_model(self, model: ParkedStream) -> None:
        """Let the key have another model, instead of what the reader has made of its own."""
        assert self._hot is not None
        self._hot.parked.model = model
        self._active, self._hot.in_use = None, False

    def _suspend(self) -> None:
        """Park the current stream of the reader, if there is one."""
        if self._active is not None:
            self._active.parked.model, self._active.in_use = self._reader.park(), False
            self._streams.measure(self._active_key)
            self._active = None

    def _park(self) -> None:
        """Park the current stream of the reader; its last line cannot be undone any more."""
        self._line_reader.forget()
        self._suspend()

    def _drop(self) -> str:
        """Drop the least recently used model, and keep the history of its key; returns the key."""
        self._park()
        key = str(self._streams.oldest()[0])
        hot = self._streams.load(key)
        assert hot is not None
        self._streams.drop(key, self._codec.dump_history(hot.parked.lines.history))
        return key

    def _history_of(self, key: str) -> History:
        """The history of a key whose model was dropped; an empty one if the key is new."""
        content = self._streams.dropped(key)
        return History() if content is None else self._codec.parse_history(content, f"the history of {key!r}")

    def _note_dropped(self, key: str, new_key: str, notes: list[str]) -> None:
        self._n_dropped += 1
        if is_noted(self._n_dropped):
            notes.append(
                f"dropped the model of key {key!r} to make one for {new_key!r}: max_keys is {self._max_keys} "
                f"({self._n_dropped:,} dropped so far); a new model misses more until it has read enough lines"
            )

    def save(self, path: str | os.PathLike[str], state: dict[str, Any]) -> None:
        """Write all streams and the state of the watcher; see `key_file`.

        What has changed since the last time is written if it goes to the same pair, else everything.
        """
        self._park()
        counts = {"n_dropped": self._n_dropped, "n_lines": self._n_lines}
        content = dump_checkpoint({}, {**state, **counts}, "crc32")
        if self._is_alone(Path(path).resolve()):
            assert self._claim is not None
            self._streams.save({STATE: content, **self._claim.values()})
        else:
            self._write_pair(path, content)

    def _is_alone(self, file: Path) -> bool:
        """Whether the store is that of this file, which is as it was written, and of nothing else."""
        is_own = self._claim is not None and file == self._file and self._written == _identified(file) != ()
        return is_own and self._claim is not None and not self._claim.is_shared(file)

    def _write_pair(self, path: str | os.PathLike[str], content: bytes) -> None:
        """Write the model to the file, and everything to a new store."""
        file = Path(path).resolve()
        with replaced(file, self._claim):
            self._move_to(file, content)
            assert self._claim is not None
            write_model(path, self._predictor, self._claim, {"learn": self._options[0]})
            self._written = _identified(file)

    def _move_to(self, file: Path, content: bytes) -> None:
        """Write everything to a new store, of a file that is to be written."""
        store, claim = new_store(file, self._identity)
        self._streams.move_to(store, {STATE: content, **claim.values()})
        self._delete_unwritten()
        self._file, self._claim, self._written = file, claim, None

    def _delete_unwritten(self) -> None:
        """Delete the store, which is closed, if its file was not written."""
        if self._claim is not None and self._written is None:
            self._claim.delete_unless_named()  # the file can have been replaced although `save` failed

    def restored(
        self, path: str | os.PathLike[str], saved: dict[str, Any], arrays: Arrays, *, exclusive: bool
    ) -> tuple[KeyedStreams, dict[str, Any]]:
        """The streams that `save` wrote, and the state of the watcher.

        exclusive  whether to use the store itself, as long as these streams are open, and not a copy of it; if anything
                   but the file has it, the file gets a new one

        Raises OSError if the store cannot be opened, ValueError, TypeError, KeyError or AttributeError if something
        does not fit.
        """
        found = KeyedStreams(self._predictor, *self._options)
        if saved["learn"] != self._options[0]:
            raise ValueError(f"its keys were saved with learn={saved['learn']!r}; continue with the same")
        claim, file = claim_in(path, saved), Path(path).resolve()
        is_own = exclusive and not claim.is_shared(file)
        store = (StreamStore if is_own else StreamStore.copy_of)(claim.store, self._identity)
        found._streams.close()
        found._streams = found._cache(store)
        try:
            content = store.value(STATE)
            state = parse_checkpoint(content, f"the state in {claim.store}", "crc32")[1]
            check_values(state, {"n_dropped": Whole(), "n_lines": Whole()}, f"the state in {claim.store}")
            found._n_dropped, found._n_lines = state["n_dropped"], state["n_lines"]
            if is_own:
                found._file, found._claim, found._written = file, claim, _identified(file)
            elif exclusive:
                found._write_pair(path, content)
            if exclusive and claim_of(file) != found._claim:
                raise BlockingIOError(errno.EWOULDBLOCK, "another process is saving to this file", os.fspath(path))
            while len(found) > self._max_keys:
                found._drop()
        except BaseException:
            found.close()
            raise
        return found, state

    def close(self) -> None:
        """Close the store, so that others can open it. What has changed since `save` is lost."""
        self._streams.close()
        self._delete_unwritten()
        self._claim = None


def _identified(file: Path) -> tuple[int, ...]:
    """What differs if a file was replaced or written; empty if there is none."""
    with suppress(FileNotFoundError):
        status = file.stat()
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
    return ()
