"""Listening sockets as hooks and worker classes see them."""

from __future__ import annotations

from typing import Any

from . import _rgunicorn


class Listener:
    """One listener. `sock`, and whatever else of a socket, is made when first used: `socket` takes long to import."""

    def __init__(self, shown: str, fd: int = -1) -> None:
        self._shown = shown
        self._fd = fd
        self._sock: Any = None

    def __str__(self) -> str:
        return self._shown

    __repr__ = __str__

    def fileno(self) -> int:
        """The descriptor, or -1 where this process has none."""
        return self._fd

    def getsockname(self) -> Any:
        """`(host, port)`, or a path."""
        if self.is_unix:
            return self._shown[len("unix:") :]
        return _rgunicorn.socket_name(self._fd)

    @property
    def is_unix(self) -> bool:
        """Whether it is a unix socket."""
        return self._shown.startswith("unix:")

    @property
    def cfg_addr(self) -> Any:
        """The address, as Gunicorn names it."""
        return self.getsockname()

    @property
    def sock(self) -> Any:
        """The socket itself."""
        if self._sock is None:
            import socket

            self._sock = socket.socket(fileno=self._fd)
        return self._sock

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or self.__dict__.get("_fd", -1) < 0:
            raise AttributeError(name)
        return getattr(self.sock, name)

    def gone(self) -> None:
        """The descriptor belongs to another process now."""
        self._fd = -1
