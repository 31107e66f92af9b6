"""The requests of tests/requests (see its README): bytes, and what must come of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .program import REPOSITORY

FOLDER = REPOSITORY / "tests" / "requests"
ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}


@dataclass
class Case:
    """What a client sends over one connection."""

    name: str
    data: bytes
    expected: dict[str, Any]

    @property
    def settings(self) -> str:
        return json.dumps(self.expected.get("settings", {}), sort_keys=True)

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Those that are understood to their end, one by one."""
        complete = [each for each in self.expected["requests"] if each.get("complete", True)]
        return [each for each in complete for _ in range(each.get("repeat", 1))]


def cases(kind: str) -> list[Case]:
    """All of `valid` or `invalid`."""
    found = []
    for path in sorted((FOLDER / kind).glob("*.http")):
        expected = json.loads(path.with_suffix(".json").read_text())
        found.append(Case(f"{kind}/{path.stem}", decode(path.read_text()), expected))
    return found


def decode(text: str) -> bytes:
    return _decode(iter(text.replace("\n", "")), nested=False)


def text(value: Any) -> str:
    """A string, or a list of strings with how often each is repeated."""
    return value if isinstance(value, str) else "".join(piece * count for piece, count in value)


def _decode(text: Iterator[str], nested: bool) -> bytes:
    out = b""
    for char in text:
        if char == "}" and nested:
            break
        if char != "\\":
            out += char.encode("ascii")
            continue
        escape = next(text)
        if escape == "x":
            out += bytes([int(next(text) + next(text), 16)])
        elif escape == "{":
            count = "".join(iter(lambda: next(text), ":"))
            out += _decode(text, nested=True) * int(count)
        else:
            out += ESCAPES[escape]
    return out
