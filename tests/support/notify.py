"""Stands in for systemd: a socket that `NOTIFY_SOCKET` names."""

from __future__ import annotations

import select
import socket
import struct
import time
from pathlib import Path
from types import TracebackType

from .processes import PATIENCE


class NotifySocket:
    """What was said to it, and by whom: `(pid, {"READY": "1", ...})`."""

    def __init__(self, address: str | Path) -> None:
        #: For `$NOTIFY_SOCKET`: a path, or `@` and a name.
        self.address = str(address)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind("\0" + self.address[1:] if self.address.startswith("@") else self.address)
        self.said: list[tuple[int, dict[str, str]]] = []

    def next(self, timeout: float = PATIENCE) -> tuple[int, dict[str, str]]:
        """The next message."""
        if not select.select([self.socket], [], [], timeout)[0]:
            raise AssertionError(f"nothing more was said; so far: {self.said}")
        data, control, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(12))
        (_, _, credentials), *_ = control
        pid = struct.unpack("3i", credentials)[0]
        state = dict(line.split("=", 1) for line in data.decode().split("\n"))
        self.said.append((pid, state))
        return pid, state

    def until(self, name: str, timeout: float = PATIENCE) -> tuple[int, dict[str, str]]:
        """The next message with this variable."""
        deadline = time.monotonic() + timeout
        while True:
            pid, state = self.next(max(0.0, deadline - time.monotonic()))
            if name in state:
                return pid, state

    def drain(self) -> list[tuple[int, dict[str, str]]]:
        """What has come by now, too."""
        while select.select([self.socket], [], [], 0)[0]:
            self.next()
        return self.said

    def names(self) -> list[str]:
        """What was said, in order, without text and watchdog."""
        return [name for _, state in self.drain() for name in state if name not in ("STATUS", "WATCHDOG", "MONOTONIC_USEC")]

    def __enter__(self) -> NotifySocket:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.socket.close()
        if not self.address.startswith("@"):
            Path(self.address).unlink()
