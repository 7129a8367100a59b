"""Quix Streams: the function with the library's own state, and in an application that is killed.

The broker is the one that librdkafka, the client library, has for tests. It runs in the process of the tests; messages,
offsets, consumer groups and the changelog go over sockets as with Kafka, but topics cannot be configured, and nothing
is replicated or written to a disk.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from extras import library

from streamlstm import Config, StreamPool, StreamPredictor

library("quixstreams")
from confluent_kafka import Consumer, Producer  # noqa: E402
from confluent_kafka.admin import AdminClient  # noqa: E402
from quix_application import model  # noqa: E402
from quixstreams.state.rocksdb import RocksDBStorePartition  # noqa: E402

from streamlstm.integrations.quix import STREAM, StreamSurprisal  # noqa: E402
from streamlstm.watch.lines import Baseline  # noqa: E402

MAX_SNAPSHOT = 900_000
"""Bytes; Kafka's limit for a message is 1 MB."""

APPLICATION = Path(__file__).with_name("quix_application.py")
KEYS = ["web-1", "web-2", "db-1"]


def lines(n):
    """Messages of three keys, one of them unusual."""
    messages = [{"n": k, "host": KEYS[k % 3], "line": f"job {k % 7} of {KEYS[k % 3]} done"} for k in range(n)]
    messages[n - 5]["line"] = "KERNEL PANIC at 0xc0ffee"
    return messages


def expected(messages):
    """What the function must add to each message, by its number."""
    pool, baselines, found = StreamPool(model()), {}, {}
    for message in messages:
        key, text = message["host"], message["line"] + "\n"
        bits = pool.observe(key, text)
        total = float(bits.sum(dtype=np.float64))
        baseline = baselines.setdefault(key, Baseline())
        z = baseline.compare(total / len(text), len(text))[1]
        baseline.add(total / len(text), len(text))
        values = total, total / len(text), float(bits.max()), z
        names = "line_bits", "line_bits_per_character", "line_max_bits", "line_z"
        found[message["n"]] = message | dict(zip(names, values, strict=True))
    return found


@pytest.fixture
def partition(tmp_path):
    partition = RocksDBStorePartition(str(tmp_path / "state"))
    yield partition
    partition.close()


class Stored:
    """The function as Quix Streams calls it for a message, over the state on the disk, with a checkpoint after it."""

    def __init__(self, partition, function):
        self.partition, self.function = partition, function

    def __call__(self, key, value):
        with self.partition.begin() as transaction:
            return self.function(value, transaction.as_state(prefix=key.encode()))


def test_each_key_is_a_stream_and_its_state_is_on_the_disk(partition):
    messages = lines(90)
    found = {}
    for start in range(0, 90, 30):  # in a new process each time, as far as the function can tell
        apply = Stored(partition, StreamSurprisal(on="line", predictor=model()))
        found |= {message["n"]: apply(message["host"], message) for message in messages[start : start + 30]}
    assert found == expected(messages)
    assert max(found, key=lambda n: found[n]["line_z"]) == 85


def test_a_message_that_is_processed_again_gets_the_same_values(partition):
    apply = Stored(partition, StreamSurprisal(predictor=model()))
    apply("a", "job 1 done")
    lost = partition.begin()  # the process ends before the checkpoint
    first = apply.function("job 2 done", lost.as_state(prefix=b"a"))
    assert apply("a", "job 2 done") == first


def test_a_message_may_be_a_text_bytes_or_a_dict(partition):
    apply = Stored(partition, StreamSurprisal(predictor=model(), learn="nothing"))
    text = apply("text", "h\u00e9llo")
    assert text["text"] == "h\u00e9llo"
    assert text["bits"] == pytest.approx(8 * 7, abs=0.1)
    assert apply("bytes", "h\u00e9llo".encode()) == text
    assert apply("invalid", b"h\xffllo")["text"] == "h\ufffdllo"
    fields = apply("dict", {"b": 2, "a": "x"})
    assert list(fields) == ["b", "a", "bits", "bits_per_character", "max_bits", "z"]
    assert fields["bits"] == pytest.approx(8 * len("a=x b=2\n"), abs=0.1)


def test_the_state_of_another_model_is_refused(partition):
    Stored(partition, StreamSurprisal(predictor=model()))("a", "job 1 done")
    other = Stored(partition, StreamSurprisal(predictor=StreamPredictor()))
    with pytest.raises(ValueError, match="is of another model, or of a pool with other options"):
        other("a", "job 2 done")


def test_a_stream_that_cannot_fit_into_a_message_is_refused():
    with pytest.raises(ValueError, match="learn must be one of memory, nothing, not 'all'"):
        StreamSurprisal(predictor=model(), learn="all")
    with pytest.raises(ValueError, match="max_pages must be at most 8192"):
        StreamSurprisal(predictor=model(), max_pages=8193)


@pytest.mark.slow
def test_a_stream_of_any_length_fits_into_a_message(partition):
    chance = np.random.default_rng(0)
    text = chance.integers(0, 256, 60_000, dtype=np.uint8)  # noise fills the most pages
    apply = Stored(partition, StreamSurprisal(predictor=StreamPredictor(config=Config(hidden=12, layers=1))))
    for start in range(0, len(text), 3000):
        apply("a", text[start : start + 3000].tobytes())
    with partition.begin() as transaction:
        n_bytes = len(transaction.as_state(prefix=b"a").get_bytes(STREAM))
    assert 700_000 < n_bytes < MAX_SNAPSHOT


@pytest.fixture
def broker():
    """The address of a broker of one node, which lives as long as its client."""
    client = AdminClient({"bootstrap.servers": "none", "test.mock.num.brokers": 1})
    (node,) = client.list_topics(timeout=10).brokers.values()
    yield f"{node.host}:{node.port}"
    client.poll(0)


def read_until(consumer, found, n_messages):
    """Read what was scored, by number, until there are so many, or for four minutes."""
    deadline = time.monotonic() + 240
    while len(found) < n_messages and time.monotonic() < deadline:
        for message in consumer.consume(1000, timeout=0.2):
            if message.error() is None:
                value = json.loads(message.value())
                found.setdefault(value["n"], []).append(value)


@pytest.mark.slow
def test_an_application_that_is_killed_continues_from_the_changelog(broker, tmp_path):
    messages = lines(150)
    producer = Producer({"bootstrap.servers": broker})
    producer.list_topics("lines", timeout=10)
    scored = Consumer({"bootstrap.servers": broker, "group.id": "test", "auto.offset.reset": "earliest"})
    scored.list_topics("scored", timeout=10)
    scored.subscribe(["scored"])
    found: dict[int, list[dict]] = {}
    for part in (messages[:75], messages[75:]):  # after the first one, 15 messages are not committed
        for message in part:
            producer.produce("lines", json.dumps(message), message["host"])
        producer.flush()
        state = tmp_path / str(len(found))  # as on another machine: nothing but the changelog is left
        command = [sys.executable, APPLICATION, broker, state]
        with open(tmp_path / "errors", "wb") as errors, subprocess.Popen(command, stderr=errors) as application:
            try:
                read_until(scored, found, part[-1]["n"] + 1)
            finally:
                application.kill()
        assert len(found) == part[-1]["n"] + 1, (tmp_path / "errors").read_text()
        shutil.rmtree(state)
    scored.close()
    wanted = expected(messages)
    assert all(value == wanted[n] for n, values in found.items() for value in values)
    assert sum(len(values) > 1 for values in found.values()) == 15
