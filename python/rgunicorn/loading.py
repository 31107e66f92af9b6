"""Finds what dotted names, class names and `module:expression` stand for."""

from __future__ import annotations

import importlib
import sys
from typing import Any

#: Gunicorn's other worker classes.
#: They serve WSGI apps too: until they are built, sync stands in, and the daemon says so in a warning.
_STOOD_IN_FOR = ("gevent", "gevent_pywsgi", "gevent_wsgi", "tornado")


def import_app(uri: str) -> Any:
    """The application that `module[:expression]` names. The expression is a name, or a call of one with literals."""
    from gunicorn.errors import AppImportError

    module_name, colon, expression = uri.partition(":")
    if not colon:
        expression = "application"
    module = _import_module(module_name, expression)
    name, arguments = _parsed(expression)
    try:
        found = getattr(module, name)
    except AttributeError:
        raise AppImportError(f"Failed to find attribute {name!r} in {module_name!r}.") from None
    if arguments is not None:
        found = _call(found, *arguments)
    if found is None:
        raise AppImportError(f"Failed to find application object: {expression!r}")
    if not callable(found):
        raise AppImportError("Application object must be callable.")
    return found


def _parsed(expression: str) -> tuple[str, tuple[list[Any], dict[Any, Any]] | None]:
    """The name, and for a call its arguments."""
    from keyword import iskeyword

    if expression.isidentifier() and not iskeyword(expression):
        return expression, None  # the usual case, without importing `ast`
    import ast

    from gunicorn.errors import AppImportError

    refusal = f"Failed to parse {expression!r} as an attribute name or function call."
    try:
        parsed = ast.parse(expression, mode="eval").body
    except SyntaxError:
        raise AppImportError(refusal) from None
    if isinstance(parsed, ast.Name):
        return parsed.id, None
    if not isinstance(parsed, ast.Call):
        raise AppImportError(refusal)
    if not isinstance(parsed.func, ast.Name):
        raise AppImportError(f"Function reference must be a simple name: {expression!r}")
    try:
        arguments = [ast.literal_eval(argument) for argument in parsed.args]
        keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in parsed.keywords}
    except ValueError:
        raise AppImportError(f"Failed to parse arguments as literal values: {expression!r}") from None
    return parsed.func.id, (arguments, keywords)


def load_class(uri: Any, default: str = "gunicorn.workers.sync.SyncWorker", section: str = "gunicorn.workers") -> Any:
    """The class that a setting names: a class, a short name, a dotted name, or an entry point."""
    if isinstance(uri, type):
        return uri
    from gunicorn.workers import SUPPORTED_WORKERS

    if section == "gunicorn.workers" and uri not in SUPPORTED_WORKERS:
        if uri in _STOOD_IN_FOR:
            uri = "sync"
        elif uri == "asgi":
            raise RuntimeError("worker class 'asgi' is not built yet: only WSGI applications are served")
    try:
        if uri.startswith("egg:"):
            distribution, _, name = uri[len("egg:") :].rpartition("#")
            return _entry_point(section, name if distribution else default)
        short = uri.lstrip("#")
        if "." not in short:
            if short not in SUPPORTED_WORKERS:
                return _entry_point(section, short)
            uri = SUPPORTED_WORKERS[short]
        module_name, _, name = uri.rpartition(".")
        module = importlib.import_module(module_name)
    except Exception as error:
        raise RuntimeError(f"class uri {uri!r} invalid or not found: \n\n[{_format(error)}]") from error
    return getattr(module, name)


def load_paste_app(uri: str, global_conf: dict[str, str] | None) -> Any:
    """The application of a Paste Deployment file."""
    import os

    from paste.deploy import loadapp  # type: ignore[import-not-found]

    if ":" not in uri:
        uri = "config:" + uri
    return loadapp(uri, relative_to=os.getcwd(), global_conf=global_conf)


def _import_module(name: str, expression: str) -> Any:
    import os

    try:
        return importlib.import_module(name)
    except ImportError:
        if name.endswith(".py") and os.path.exists(name):
            hint = f"Failed to find application, did you mean '{name[:-3]}:{expression}'?"
            raise ImportError(hint) from None
        raise


def _call(factory: Any, arguments: list[Any], keywords: dict[Any, Any]) -> Any:
    from gunicorn.errors import AppImportError

    try:
        return factory(*arguments, **keywords)
    except TypeError as error:
        # Raised by the call itself, not by something within the factory: the operator's arguments are wrong.
        if _reached_no_further_than(error, sys._getframe()):
            raise AppImportError(f"TypeError: {error}") from None
        raise


def _reached_no_further_than(error: BaseException, frame: Any) -> bool:
    traceback = error.__traceback__
    return traceback is not None and traceback.tb_frame is frame and traceback.tb_next is None


def _entry_point(section: str, name: str) -> Any:
    from importlib import metadata

    for point in metadata.entry_points(group=section):
        if point.name == name:
            return point.load()
    raise ImportError(f"Entry point {name!r} not found")


def _format(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(type(error), error, error.__traceback__))
