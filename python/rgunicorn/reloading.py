"""`--reload`, on Python's side: which files the app is made of, and what is served while it cannot be imported.

The arbiter watches them. A forkserver tells it what it has loaded, a worker what came in addition, for as long as it lives.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

#: Seconds between two looks at what was imported, as in Gunicorn.
_INTERVAL = 1.0
#: Seconds that a worker waits, before it is ready, for room on its link.
_PATIENCE = 1.0
#: Bytes of names in one message of a worker's: the arbiter takes none that are much longer.
_AT_ONCE = 3000

#: What the arbiter knows. A worker inherits what its forkserver has told.
_told: set[str] = set()


def load(app: Any, log: Any) -> Any:
    """The application, or one that shows why there is none. The files that its failure names are remembered."""
    try:
        return app.wsgi()
    except Exception as error:
        log.exception("The application can't be imported; every request gets this traceback until that is mended")
        failure = Failure(error)
        app.callable = failure
        return failure


class Failure:
    """A WSGI application that answers with a traceback."""

    def __init__(self, error: BaseException) -> None:
        from gunicorn.util import make_fail_app

        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self.files = set(files_of(error))
        self._app = make_fail_app(text.encode("utf-8", "backslashreplace"))

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self._app(environ, start_response)


def unreported(app: Any = None, error: BaseException | None = None) -> list[str]:
    """The files that the arbiter has not been told of yet."""
    found = {*_module_files(), *getattr(getattr(app, "callable", None), "files", ()), *(files_of(error) if error else ())}
    return sorted(name for name in found if name not in _told and _is_text(name))


def report(channel: Any, app: Any = None, error: BaseException | None = None) -> None:
    """Tells it, from a forkserver."""
    if files := unreported(app, error):
        channel.send({"type": "files", "files": files})
        _told.update(files)


class Reporter(threading.Thread):
    """Tells it from a worker: at once, and then what is imported later."""

    def __init__(self, app: Any, send: Callable[[list[str]], bool]) -> None:
        super().__init__(name="reload", daemon=True)
        self._app = app
        self._send = send

    def first(self) -> None:
        """What is loaded now."""
        deadline = time.monotonic() + _PATIENCE
        while not self._tell() and time.monotonic() < deadline:
            time.sleep(0.01)

    def run(self) -> None:
        while True:
            self._tell()
            time.sleep(_INTERVAL)

    def _tell(self) -> bool:
        for files in _portions(unreported(self._app)):
            if not self._send(files):
                return False
            _told.update(files)
        return True


def files_of(error: BaseException) -> Iterator[str]:
    """The files that an error speaks of: where it was raised and passed through, what could not be compiled, and where a
    module that was not found would be."""
    queue: list[BaseException | None] = [error]
    seen: set[int] = set()
    while queue:
        error_or_none = queue.pop()
        if error_or_none is None or id(error_or_none) in seen:
            continue
        error = error_or_none
        seen.add(id(error))
        queue += [error.__cause__, error.__context__]
        names = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
        if isinstance(error, SyntaxError) and isinstance(error.filename, str):
            names.append(error.filename)
        if isinstance(error, ModuleNotFoundError) and isinstance(error.name, str):
            names += _places(error.name)
        # "<string>", "<frozen importlib._bootstrap>"
        yield from (os.path.abspath(name) for name in names if not name.startswith("<"))


def _places(module: str) -> list[str]:
    package, _, name = module.rpartition(".")
    # A package that failed with its module has been taken out again.
    known = getattr(sys.modules.get(package), "__path__", None) if package else sys.path
    parents: Iterable[Any] = known or [os.path.join(entry, *package.split(".")) for entry in sys.path]
    parents = [parent for parent in parents if isinstance(parent, str)]
    return [os.path.join(parent, *end) for parent in parents for end in ((f"{name}.py",), (name, "__init__.py"))]


def _module_files() -> Iterator[str]:
    for module in tuple(sys.modules.values()):
        try:
            name = module.__file__
        except Exception:
            continue  # Modules can be anything, and raise anything.
        if isinstance(name, str) and name and not name.startswith("<"):
            name = name[:-1] if name.endswith((".pyc", ".pyo")) else name
            yield os.path.abspath(name)


def _portions(files: list[str]) -> Iterator[list[str]]:
    portion: list[str] = []
    size = 0
    for name in files:
        length = len(name.encode()) + 4
        if portion and size + length > _AT_ONCE:
            yield portion
            portion, size = [], 0
        portion.append(name)
        size += length
    if portion:
        yield portion


def _is_text(name: str) -> bool:
    # A name that is no UTF-8 cannot be told: it is not watched.
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in name
