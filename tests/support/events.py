"""A server's app and hooks tell the test what happens, and wait for it, over two FIFOs: nobody ever sleeps.

The other side is `tests/apps/events.py`.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .processes import PATIENCE

Event = list[Any]


class Events:
    """What the server said, in the order in which it said it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "events.fifo"
        self.gate = directory / "gate.fifo"
        for path in (self.path, self.gate):
            os.mkfifo(path)
            path.chmod(0o666)  # workers may run as another user
        # Read and write: neither opening nor reading ever depends on a peer being there.
        self._events = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._gate = os.open(self.gate, os.O_RDWR | os.O_CLOEXEC)
        self._rest = b""
        self.seen: list[Event] = []
        #: Whether there is nobody left to speak.
        self.failed: Callable[[], bool] = lambda: False

    def environment(self) -> dict[str, str]:
        return {"EVENTS": str(self.path), "GATE": str(self.gate)}

    def next(self, timeout: float = PATIENCE) -> Event:
        """The next event."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            # Asked first: what it said before its end is there by then.
            failed = self.failed()
            if not select.select([self._events], [], [], min(max(left, 0), 1))[0]:
                if left <= 0 or failed:
                    raise AssertionError(f"no event came; so far: {self.seen}")
                continue
            self._rest += os.read(self._events, 65536)
        line, self._rest = self._rest.split(b"\n", 1)
        event: Event = json.loads(line)
        self.seen.append(event)
        return event

    def until(self, name: str, timeout: float = PATIENCE) -> Event:
        """The next event of this name; others before it are passed over (they stay in `seen`)."""
        deadline = time.monotonic() + timeout
        while True:
            event = self.next(max(0.0, deadline - time.monotonic()))
            if event[0] == name:
                return event

    def take(self, name: str, count: int) -> list[Event]:
        """So many events of this name."""
        return [self.until(name) for _ in range(count)]

    def drain(self) -> list[Event]:
        """Everything so far, without waiting: for when the server has ended."""
        while select.select([self._events], [], [], 0)[0]:
            self._rest += os.read(self._events, 65536)
        while b"\n" in self._rest:
            self.next(0)
        return self.seen

    def names(self) -> list[str]:
        return [event[0] for event in self.drain()]

    def release(self, count: int = 1) -> None:
        """Lets so many waiters at the gate go on."""
        os.write(self._gate, b"g" * count)

    def close(self) -> None:
        os.close(self._events)
        os.close(self._gate)
        self.path.unlink()
        self.gate.unlink()
