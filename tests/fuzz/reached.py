"""Which lines of the package a case reaches that no case before it has reached."""

import sys
from pathlib import Path

import streamlstm

PACKAGE = str(Path(streamlstm.__file__).parent)
TOOL = 3  # of those that sys.monitoring has, one that no debugger, coverage or profiler takes


class Coverage:
    """Collects lines while it is on: with sys.monitoring, which forgets a line that was reached, or else by tracing."""

    def __init__(self) -> None:
        self.lines = set()
        self._missing = {}

    def __enter__(self):
        if hasattr(sys, "monitoring"):
            line = sys.monitoring.events.LINE
            sys.monitoring.use_tool_id(TOOL, "fuzz")
            sys.monitoring.register_callback(TOOL, line, self._reached)
            sys.monitoring.set_events(TOOL, line)
            sys.monitoring.restart_events()
        else:
            self._before = sys.gettrace()
            sys.settrace(self._called)
        return self

    def __exit__(self, *_) -> None:
        if hasattr(sys, "monitoring"):
            sys.monitoring.set_events(TOOL, 0)
            sys.monitoring.free_tool_id(TOOL)
        else:
            sys.settrace(self._before)

    def _reached(self, code, line):
        if code.co_filename.startswith(PACKAGE):
            self.lines.add((code.co_filename, line))
        return sys.monitoring.DISABLE

    def _called(self, frame, event, argument):
        code = frame.f_code
        if code not in self._missing:
            is_own = code.co_filename.startswith(PACKAGE)
            self._missing[code] = {line for *_, line in code.co_lines() if line} if is_own else set()
        return self._traced if self._missing[code] else None

    def _traced(self, frame, event, argument):
        missing = self._missing[frame.f_code]
        if event == "line" and frame.f_lineno in missing:
            missing.discard(frame.f_lineno)
            self.lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self._traced
