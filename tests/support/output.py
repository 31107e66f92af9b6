"""What a server writes: collected as it comes, waited for, and judged at the end."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable, Iterator

from .processes import PATIENCE

RECORD = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[(?P<pid>\d+)\] \[(?P<level>[A-Z]+)\] (?P<message>.*)")
ALARMING = re.compile(
    r"^\[\d{4}-[^]]*\] \[\d+\] \[(ERROR|CRITICAL)\]|^Traceback \(most recent|^Exception ignored|panicked at|^Fatal Python error"
)


class Output:
    """The lines of a pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._open = True
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with os.fdopen(self._fd, "rb") as pipe:
            for line in pipe:
                with self._changed:
                    self._lines.append(line.decode("utf-8", "backslashreplace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._open = False
            self._changed.notify_all()

    @property
    def lines(self) -> list[str]:
        with self._changed:
            return list(self._lines)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def find(self, pattern: str, count: int = 1, timeout: float = PATIENCE) -> list[re.Match[str]]:
        """Waits for so many lines that contain the pattern."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                found = [match for line in self._lines if (match := re.search(pattern, line))]
                if len(found) >= count:
                    return found
                left = deadline - time.monotonic()
                if left <= 0 or not self._open:
                    gone = "" if self._open else " (it has ended)"
                    raise AssertionError(f"{len(found)} of {count} lines with {pattern!r} came{gone}; got:\n" + "\n".join(self._lines))
                self._changed.wait(left)

    def close(self, timeout: float = 5.0) -> bool:
        """Waits for the end. False: somebody still has it open."""
        self._thread.join(timeout)
        return not self._thread.is_alive()


def records(lines: Iterable[str]) -> Iterator[str]:
    """Log records with the lines (tracebacks) that belong to them."""
    record: list[str] = []
    for line in lines:
        if record and RECORD.match(line):
            yield "\n".join(record)
            record = []
        record.append(line)
    if record:
        yield "\n".join(record)


def alarms(lines: Iterable[str], allowed: Iterable[str]) -> list[str]:
    """Records that speak of a failure nobody expected."""
    patterns = [re.compile(pattern, re.DOTALL) for pattern in allowed]
    return [
        record
        for record in records(lines)
        if any(ALARMING.search(line) for line in record.split("\n")) and not any(pattern.search(record) for pattern in patterns)
    ]
