"""Threads that compute independent tasks, for as long as the program wants their results."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")


class Threads:
    """Tasks, and threads that compute them in the order in which they were added.

    Unlike those of `ThreadPoolExecutor`, the threads do not keep a program running: it can end while they compute.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def add(self, task: Callable[[], Result]) -> Future[Result]:
        """Add a task, before the start. It may wait for the results of those before it."""
        future: Future[Result] = Future()
        self._waiting.append((future, task))
        return future

    def start(self, n: int) -> None:
        """Start n threads. Each ends when no task is left."""
        for _ in range(n):
            threading.Thread(target=self._work, name="streamlstm task", daemon=True).start()

    def stop(self) -> None:
        """Begin no further task."""
        self._waiting.clear()

    def _work(self) -> None:
        while True:
            try:
                future, task = self._waiting.popleft()
            except IndexError:
                return
            try:
                future.set_result(task())
            except BaseException as error:
                future.set_exception(error)
