"""Reads a Python config file as Gunicorn does, and notes what it sets and where."""

from __future__ import annotations

import os
import sys
from typing import Any

from . import values


class ConfigFailed(Exception):
    """The file could not be read; the message is for the operator."""

    def __init__(self, message: str, traceback: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.traceback = traceback
        self.exit_code = exit_code


#: Settings that stand for a class: a function given for one is called, and what it returns counts.
CLASS_SETTINGS = ("worker_class", "logger_class")


def read(source: str, name: str, names: list[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Runs the file or imports the module. Returns the objects by setting, and what the daemon is told of them."""
    pid = os.getpid()
    try:
        namespace = _run_file(name) if source == "file" else _import(name)
    finally:
        if os.getpid() != pid:
            # The file forked and its child came back here: it must neither speak for the forkserver nor serve.
            _leave_child()
    lines = _assigned_lines(namespace.get("__file__"))
    objects: dict[str, Any] = {}
    told: dict[str, dict[str, Any]] = {}
    known = set(names)
    for key, value in list(namespace.items()):
        if key in known:
            objects[key] = value = _class_of(key, value)
            told[key] = {"value": values.to_wire(value), "line": lines.get(key), "shown": values.shown(value)}
    return objects, told


def _run_file(name: str) -> dict[str, Any]:
    from importlib.machinery import SourceFileLoader
    from importlib.util import module_from_spec, spec_from_file_location

    if not os.path.exists(name):
        raise ConfigFailed(f"{name!r} doesn't exist")
    try:
        if os.path.splitext(name)[1] in (".py", ".pyc"):
            spec = spec_from_file_location("__config__", name)
        else:
            print("!!!\n!!! WARNING: configuration file should have a valid Python extension.\n!!!", file=sys.stderr)
            spec = spec_from_file_location("__config__", name, loader=SourceFileLoader("__config__", name))
        assert spec is not None and spec.loader is not None
        module = module_from_spec(spec)
        sys.modules["__config__"] = module
        spec.loader.exec_module(module)
    except SystemExit as error:
        raise _exited(name, error) from None
    except BaseException as error:
        raise ConfigFailed(f"Failed to read config file: {name}", _traceback(error)) from None
    return vars(module)


def _import(name: str) -> dict[str, Any]:
    import importlib

    try:
        return vars(importlib.import_module(name))
    except SystemExit as error:
        raise _exited(name, error) from None
    except BaseException as error:
        raise ConfigFailed(str(error) or type(error).__name__, _traceback(error)) from None


def _class_of(key: str, value: Any) -> Any:
    import types

    if key not in CLASS_SETTINGS or not isinstance(value, (types.FunctionType, types.MethodType)):
        return value
    try:
        return value()
    except Exception as error:
        raise ConfigFailed(f"Invalid value for {key}: {values.shown(value)}: {error}", _traceback(error)) from None


def _exited(name: str, error: SystemExit) -> ConfigFailed:
    code, message = exit_status(error)
    return ConfigFailed(
        f"config file {name} called exit({'' if error.code is None else repr(error.code)}){message}", "", code
    )


def exit_status(error: SystemExit) -> tuple[int, str]:
    """The exit code that Python would end with, and what it would print."""
    if error.code is None:
        return 0, ""
    if isinstance(error.code, int):
        return error.code & 0xFF, ""
    return 1, f": {values.shown(error.code)}"


def _leave_child() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass
    os._exit(0)


def _traceback(error: BaseException) -> str:
    """As Python prints it, without our own frames and importlib's."""
    import traceback

    frame = error.__traceback__
    while frame is not None and (
        frame.tb_frame.f_code.co_filename == __file__ or "importlib" in frame.tb_frame.f_code.co_filename
    ):
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(error), error, frame))


def _assigned_lines(path: Any) -> dict[str, int]:
    """Line of the last assignment to each name at module level, bodies of if, try, for, while, with and match included."""
    import _ast

    try:
        with open(path, "rb") as file:
            tree = compile(file.read(), path, "exec", _ast.PyCF_ONLY_AST, dont_inherit=True)
    except Exception:
        # A .pyc, or a file that is gone by now: lines are a help, no more.
        return {}
    lines: dict[str, int] = {}
    pending: list[Any] = [tree]
    while pending:
        node = pending.pop()
        kind = type(node).__name__
        if kind in ("FunctionDef", "AsyncFunctionDef", "ClassDef"):
            _note(lines, node.name, node.lineno)
            continue
        if kind in ("Lambda", "ListComp", "SetComp", "DictComp", "GeneratorExp"):
            continue
        if kind == "Name" and type(node.ctx).__name__ == "Store":
            _note(lines, node.id, node.lineno)
        elif kind == "alias":
            _note(lines, node.asname or node.name.partition(".")[0], node.lineno)
        elif kind == "AnnAssign" and node.value is None:
            continue
        for field in node._fields:
            child = getattr(node, field, None)
            children = child if isinstance(child, list) else [child]
            pending.extend(item for item in children if hasattr(item, "_fields"))
    return lines


def _note(lines: dict[str, int], name: str, line: int) -> None:
    lines[name] = max(line, lines.get(name, 0))
