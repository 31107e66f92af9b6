"""Values of settings on their way between interpreter and daemon: the wire's PyValue."""

from __future__ import annotations

from typing import Any

_POSITIONAL_FUNCTION = type(lambda: None)
_METHOD = type("", (), {"m": lambda self: None})().m.__class__
_MAX_INT = 1 << 63


class Live:
    """Stands for an object that stays here."""

    __slots__ = ()


LIVE = Live()


def to_wire(value: Any) -> dict[str, Any]:
    """What the daemon is told of a value. What cannot leave the interpreter is `live`."""
    plain = _plain(value, 0)
    return (
        plain if plain is not None else {"kind": "live", "value": {"shown": shown_live(value), "arity": arity(value)}}
    )


def from_wire(value: dict[str, Any]) -> Any:
    """The value that the daemon sent; [`LIVE`] for one that never left."""
    kind = value["kind"]
    inner: Any = value.get("value")
    if kind == "list":
        return [from_wire(item) for item in inner]
    if kind == "map":
        return {key: from_wire(item) for key, item in inner}
    return LIVE if kind == "live" else inner


def shown(value: Any) -> str:
    """As `print` shows it, whatever its own methods do."""
    try:
        text = str(value)
    except Exception:
        text = object.__repr__(value)
    return _encodable(text)


def shown_live(value: Any) -> str:
    """As `--print-config` shows it."""
    name = getattr(value, "__qualname__", None) if callable(value) else None
    return _encodable(f"<{name}()>") if isinstance(name, str) else shown(value)


def arity(value: Any) -> int | None:
    """How many positional parameters a callable takes, defaults included; None when that can't be told."""
    if not callable(value):
        return None
    # The usual cases without `inspect`, which takes long to import.
    function, bound = value, 0
    if type(value) is _METHOD:
        function, bound = value.__func__, 1
    if type(function) is _POSITIONAL_FUNCTION and not function.__dict__:
        count = function.__code__.co_argcount
        if count >= bound:
            return count - bound
    import inspect

    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _plain(value: Any, depth: int) -> dict[str, Any] | None:
    if value is None:
        return {"kind": "none"}
    if isinstance(value, bool):
        return {"kind": "bool", "value": bool(value)}
    if isinstance(value, int):
        number = int(value)
        return {"kind": "int", "value": number} if -_MAX_INT <= number < _MAX_INT else None
    if isinstance(value, float):
        # JSON has neither infinities nor NaN.
        return {"kind": "float", "value": float(value)} if value - value == 0 else None
    if isinstance(value, str):
        text = str.__str__(value)
        return {"kind": "str", "value": text} if _encodable(text) == text else None
    if depth > 16:
        return None
    if isinstance(value, (list, tuple)):
        items = [_plain(item, depth + 1) for item in value]
        return None if None in items else {"kind": "list", "value": items}
    if isinstance(value, dict):
        pairs = [[key, _plain(item, depth + 1)] for key, item in value.items()]
        if all(isinstance(key, str) and _encodable(key) == key and item is not None for key, item in pairs):
            return {"kind": "map", "value": pairs}
    return None


def _encodable(text: str) -> str:
    """Without surrogates: an undecodable byte of a file name or environment variable."""
    return text.encode("utf-8", "backslashreplace").decode()
