"""Numbers about watching in the text format of Prometheus: in a file, or for a scraper on this machine.

No text of a log is ever in a name or a label.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any, NamedTuple

from ..system.files import opened_atomically

HOST = "127.0.0.1"


class Metric(NamedTuple):
    """A metric: its name without `streamlstm_watch_`, `counter` or `gauge`, and what it says."""

    name: str
    kind: str
    help: str


METRICS = (
    Metric("lines_total", "counter", "Lines or events that were read, before restarts too."),
    Metric("characters_total", "counter", "Characters that were scored, before restarts too."),
    Metric("flagged_total", "counter", "Unusual lines."),
    Metric("alarms_total", "counter", "Lines that were raised."),
    Metric("repeated_total", "counter", "Unusual lines that were not raised because their kind was."),
    Metric("held_total", "counter", "Unusual lines that were not raised because the budget was spent."),
    Metric("invalid_total", "counter", "Lines that were not in the format of the input, since the start."),
    Metric("dropped_total", "counter", "Alarms for which the command of --exec was not run, since the start."),
    Metric("failed_total", "counter", "Commands of --exec that failed, since the start."),
    Metric("familiar_total", "counter", "Lines that were not read in full, because everything in them was known."),
    Metric("silenced_total", "counter", "Unusual lines that were not raised because of a verdict."),
    Metric("sessions_total", "counter", "Sessions that ended, before restarts too. Flagged and raised are sessions."),
    Metric("open_sessions", "gauge", "Sessions that have not ended."),
    Metric("threshold", "gauge", "What the score of a line must exceed to be unusual."),
    Metric("lag_bytes", "gauge", "Bytes that were written to the followed files and not read."),
    Metric("lag_lines", "gauge", "About as many lines."),
    Metric("lag_seconds", "gauge", "For how long the next line has been there."),
    Metric("characters_per_second", "gauge", "Characters that were scored per second, since the last report."),
    Metric("saved_seconds", "gauge", "When the state was saved last, in seconds since 1970."),
)
"""The metrics by name. A metric without a value is left out."""

Values = dict[str, float]
"""The value of each metric by its name."""


def metrics_text(values: Values) -> str:
    """The metrics as Prometheus reads them.

    >>> print(metrics_text({"lines_total": 12}), end="")
    # HELP streamlstm_watch_lines_total Lines or events that were read, before restarts too.
    # TYPE streamlstm_watch_lines_total counter
    streamlstm_watch_lines_total 12
    """
    rows = []
    for name, kind, text in METRICS:
        if name in values:
            full = f"streamlstm_watch_{name}"
            rows += [f"# HELP {full} {text}", f"# TYPE {full} {kind}", f"{full} {_number(values[name])}"]
    return "\n".join(rows) + "\n"


def _number(value: float) -> str:
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def write_metrics(path: str | os.PathLike[str], values: Values) -> None:
    """Write the metrics to a file, which is replaced as a whole. Raises OSError.

    It is not synced to the disk: after a crash of the system, old metrics are of no use.
    """
    with opened_atomically(path, is_synced=False) as file:
        file.write(metrics_text(values).encode())


def check_server() -> None:
    """Raise ValueError if the library that serves metrics is not installed."""
    if find_spec("prometheus_client") is None:
        raise ValueError(
            "--metrics-port requires prometheus_client; install it with: pip install 'streamlstm[metrics]'"
        )


def serve_metrics(port: int, values: Callable[[], Values]) -> Callable[[], None]:
    """Serve the metrics at a port of this machine, to this machine only, in a thread of its own.

    port    0 for any
    values  called for each request

    Returns a function that ends it. Raises ValueError without the library, OSError if the port is in use.
    """
    check_server()
    library: Any = importlib.import_module("prometheus_client")
    core: Any = importlib.import_module("prometheus_client.core")
    families = {"counter": core.CounterMetricFamily, "gauge": core.GaugeMetricFamily}

    class Collector:
        def collect(self) -> Iterable[Any]:
            current = values()
            for name, kind, text in METRICS:
                if name in current:
                    full = f"streamlstm_watch_{name}".removesuffix("_total")
                    yield families[kind](full, text, value=current[name])

    registry = library.CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    server, thread = library.start_http_server(port, addr=HOST, registry=registry)

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join(5)

    return end
