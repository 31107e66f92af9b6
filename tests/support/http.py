"""A raw HTTP/1.1 client that forgives nothing: what it does not understand is a failure of the server."""

from __future__ import annotations

import json
import re
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .processes import PATIENCE

Address = tuple[str, int] | str
Headers = Iterable[tuple[str, str]]

STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9]) ([\t \x21-\x7e\x80-\xff]*)")
FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t \x21-\x7e\x80-\xff]*)")
CHUNK_SIZE = re.compile(rb"[0-9A-F]+")
# Sent twice, they contradict each other or confuse a proxy.
SINGLE = {"content-length", "transfer-encoding", "connection", "date", "server", "content-type"}


class ProtocolError(AssertionError):
    """The server said something that HTTP does not allow."""


@dataclass
class Response:
    """A response as it came."""

    version: str
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    framing: str = "none"  # none, length, chunked, close

    def header(self, name: str) -> str | None:
        values = self.all(name)
        if len(values) > 1:
            raise ProtocolError(f"{name} came {len(values)} times: {values}")
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def persistent(self) -> bool:
        """Whether the server said that the connection stays open."""
        options = [option.strip().lower() for option in (self.header("connection") or "").split(",")]
        return "close" not in options if self.version == "1.1" else "keep-alive" in options


class Connection:
    """One connection to a server."""

    def __init__(self, address: Address, timeout: float = PATIENCE) -> None:
        if isinstance(address, str):
            family = socket.AF_UNIX
        else:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(address)
        except BaseException:
            self.socket.close()
            raise
        self._rest = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Breaks it off, as a client that has crashed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def send(self, data: bytes | str) -> Connection:
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    def request(
        self,
        method: str = "GET",
        target: str = "/",
        headers: Headers = (),
        body: bytes | None = None,
        version: str = "1.1",
    ) -> Connection:
        """Sends a well-formed request; `Host` and `Content-Length` come by themselves."""
        return self.send(request(method, target, headers, body, version))

    def response(self, method: str = "GET") -> Response:
        """The next response, interim ones included."""
        response = self._head()
        if response.status < 200 or response.status in (204, 304) or method == "HEAD":
            if response.status in (204,) or response.status < 200:
                _refuse(response.header("content-length") is not None, "a length where no body can be")
                _refuse(response.header("transfer-encoding") is not None, "a coding where no body can be")
            return response
        coding, length = response.header("transfer-encoding"), response.header("content-length")
        _refuse(coding is not None and length is not None, "both Transfer-Encoding and Content-Length")
        if coding is not None:
            _refuse(coding != "chunked", f"transfer coding {coding!r}")
            _refuse(response.version == "1.0", "chunked in HTTP/1.0")
            self._chunked(response)
        elif length is not None:
            _refuse(not length.isdigit(), f"Content-Length {length!r}")
            response.framing = "length"
            response.body = self._exactly(int(length))
        else:
            response.framing = "close"
            response.body = self.rest()
        return response

    def final(self, method: str = "GET") -> Response:
        """The next response that is not an interim one."""
        while (response := self.response(method)).status < 200:
            pass
        return response

    def rest(self) -> bytes:
        """Everything until the server closes."""
        data, self._rest = self._rest, b""
        while piece := self.socket.recv(65536):
            data += piece
        return data

    def expect_end(self) -> None:
        """The server closes, and says nothing more."""
        if rest := self.rest():
            raise ProtocolError(f"bytes after the response: {rest[:200]!r}")

    def expect_open(self) -> None:
        """The server has not closed (as far as can be seen now) and said nothing more."""
        self.socket.setblocking(False)
        try:
            data = self._rest or self.socket.recv(1)
        except BlockingIOError:
            return
        finally:
            self.socket.settimeout(PATIENCE)
        raise ProtocolError(f"expected silence, got {data!r}")

    def _head(self) -> Response:
        head = self._until(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        match = STATUS_LINE.fullmatch(status)
        if match is None:
            raise ProtocolError(f"status line {status!r}")
        headers = []
        for line in lines:
            parsed = FIELD_LINE.fullmatch(line)
            if parsed is None:
                raise ProtocolError(f"field line {line!r}")
            headers.append((parsed[1].decode("ascii"), parsed[2].decode("latin-1").strip(" \t")))
        names = [name.lower() for name, _ in headers]
        for name in SINGLE:
            _refuse(names.count(name) > 1, f"{name} came more than once")
        return Response("1." + match[1].decode(), int(match[2]), match[3].decode("latin-1"), headers)

    def _chunked(self, response: Response) -> None:
        response.framing = "chunked"
        while True:
            line = self._until(b"\r\n")
            _refuse(CHUNK_SIZE.fullmatch(line) is None, f"chunk size {line!r}")
            size = int(line, 16)
            data = self._exactly(size)
            _refuse(self._exactly(2) != b"\r\n", "a chunk that does not end in CRLF")
            if size == 0:
                return
            response.chunks.append(data)
            response.body += data

    def _until(self, end: bytes) -> bytes:
        while end not in self._rest:
            self._more(f"waiting for {end!r}")
        data, self._rest = self._rest.split(end, 1)
        return data

    def _exactly(self, count: int) -> bytes:
        while len(self._rest) < count:
            self._more(f"{count - len(self._rest)} bytes are missing")
        data, self._rest = self._rest[:count], self._rest[count:]
        return data

    def _more(self, why: str) -> None:
        piece = self.socket.recv(65536)
        if not piece:
            raise ProtocolError(f"the server closed, {why}; got {self._rest[:500]!r}")
        self._rest += piece


def request(
    method: str = "GET",
    target: str = "/",
    headers: Headers = (),
    body: bytes | None = None,
    version: str = "1.1",
) -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {target} HTTP/{version}"]
    given = list(headers)
    names = {name.lower() for name, _ in given}
    if "host" not in names:
        lines.append("Host: test.example")
    lines += [f"{name}: {value}" for name, value in given]
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    """A body in chunks."""
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return framed + b"0\r\n" + trailers + b"\r\n"


def _refuse(wrong: bool, what: str) -> None:
    if wrong:
        raise ProtocolError(what)
