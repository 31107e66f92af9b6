"""Helpers that programs import from here."""

import os
import sys
from typing import Any

from rgunicorn import _rgunicorn
from rgunicorn.loading import import_app, load_class
from rgunicorn.privileges import become as set_owner_process
from rgunicorn.values import arity as get_arity

__all__ = [
    "bytes_to_str",
    "check_is_writable",
    "chown",
    "close_on_exec",
    "get_arity",
    "getcwd",
    "http_date",
    "import_app",
    "is_glob_pattern",
    "is_ipv6",
    "load_class",
    "make_fail_app",
    "parse_address",
    "set_owner_process",
    "to_bytestring",
    "unquote_to_wsgi_str",
    "warn",
]


def _setproctitle(title: str) -> None:
    _rgunicorn.set_title(f"rgunicorn: {title}")


def is_glob_pattern(value: str) -> bool:
    """Whether it is a pattern and no plain name."""
    return any(sign in value for sign in "*?[")


def is_ipv6(addr: str) -> bool:
    """Whether it is an IPv6 address."""
    import socket

    try:
        socket.inet_pton(socket.AF_INET6, addr)
    except (OSError, ValueError):
        return False
    return True


def parse_address(netloc: str, default_port: str = "8000") -> Any:
    """What `bind` means: `(host, port)`, a path, or a descriptor's number."""
    if netloc.startswith("unix:"):
        path = netloc[len("unix:") :]
        return path[2:] if path.startswith("//") else path
    if netloc.startswith("fd://"):
        return int(netloc[len("fd://") :])
    rest = netloc.partition("tcp://")[2] if netloc.startswith("tcp://") else netloc
    if not rest:
        return "0.0.0.0", int(default_port)
    if rest.startswith("["):
        host, _, port = rest[1:].partition("]")
        port = port.lstrip(":")
    else:
        host, _, port = rest.partition(":")
    port = port or default_port
    if not port.isdigit():
        raise RuntimeError(f"{port!r} is not a valid port number.")
    return host.lower(), int(port)


def getcwd() -> str:
    """The working directory, by the name that the user knows it by."""
    try:
        named, real = os.stat(os.environ["PWD"]), os.stat(os.getcwd())
        if (named.st_ino, named.st_dev) == (real.st_ino, real.st_dev):
            return os.environ["PWD"]
    except (KeyError, OSError):
        pass
    return os.getcwd()


def http_date(timestamp: float | None = None) -> str:
    """A date as HTTP has it."""
    from email.utils import formatdate

    return formatdate(timestamp, localtime=False, usegmt=True)


def chown(path: str, uid: int, gid: int) -> None:
    """Changes a file's owner."""
    os.chown(path, uid, gid)


def close_on_exec(fd: Any) -> None:
    """Keeps a descriptor from programs that this process starts."""
    os.set_inheritable(fd if isinstance(fd, int) else fd.fileno(), False)


def check_is_writable(path: str) -> None:
    """Raises if the file can't be written."""
    try:
        with open(path, "a"):
            pass
    except OSError as error:
        raise RuntimeError(f"Error: '{path}' isn't writable [{error!r}]") from error


def to_bytestring(value: Any, encoding: str = "utf8") -> bytes:
    """As bytes."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value.encode(encoding)


def bytes_to_str(b: Any) -> str:
    """As text."""
    return b if isinstance(b, str) else str(b, "latin1")


def unquote_to_wsgi_str(string: str) -> str:
    """Percent-decoded, in WSGI's form of text."""
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(string).decode("latin-1")


def make_fail_app(msg: Any) -> Any:
    """A WSGI application that answers everything with this text and 500."""
    body = to_bytestring(msg)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
        start_response("500 Internal Server Error", headers)
        return [body]

    return app


def warn(msg: str) -> None:
    """Prints a warning that can't be missed."""
    print("!!!\n" + "".join(f"!!! {line}\n" for line in f"WARNING: {msg}".splitlines()) + "!!!\n", file=sys.stderr)
