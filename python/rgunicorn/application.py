"""The application objects of Gunicorn's Python API: what `server.app` and `worker.app` are."""

from __future__ import annotations

import os
import sys
from typing import Any


class BaseApplication:
    """`gunicorn.app.base.BaseApplication`."""

    def __init__(self, usage: str | None = None, prog: str | None = None) -> None:
        self.usage = usage
        self.prog = prog
        self.cfg: Any = None
        self.callable: Any = None
        self.logger: Any = None
        self.do_load_config()

    def do_load_config(self) -> None:
        raise NotImplementedError("rgunicorn: starting the server from Python code (embedding) is not built yet")

    def load_config(self) -> None:
        raise NotImplementedError()

    def load(self) -> Any:
        raise NotImplementedError()

    def init(self, parser: Any, opts: Any, args: Any) -> Any:
        raise NotImplementedError()

    def reload(self) -> None:
        self.do_load_config()

    def wsgi(self) -> Any:
        """The WSGI application, loaded when first asked for."""
        if self.callable is None:
            self.callable = self.load()
        return self.callable

    def run(self) -> None:
        raise NotImplementedError("rgunicorn: starting the server from Python code (embedding) is not built yet")


class Application(BaseApplication):
    """`gunicorn.app.base.Application`."""

    def chdir(self) -> None:
        """Enters the configured directory; the app's modules are looked for there."""
        enter(self.cfg.chdir)


class WSGIApplication(Application):
    """`gunicorn.app.wsgiapp.WSGIApplication`."""

    app_uri: str | None = None

    def load_wsgiapp(self) -> Any:
        import gunicorn.util

        return gunicorn.util.import_app(self.app_uri or "")

    def load_pasteapp(self) -> Any:
        from .loading import load_paste_app

        uri = os.path.abspath(self.cfg.paste)
        return load_paste_app(uri, self.cfg.paste_global_conf)

    def load(self) -> Any:
        return self.load_pasteapp() if self.cfg.paste is not None else self.load_wsgiapp()


class ServedApplication(WSGIApplication):
    """The application of a forkserver, whose configuration is the daemon's."""

    def __init__(self, cfg: Any, uri: str) -> None:
        self.usage = None
        self.prog = None
        self.logger = None
        self.callable = None
        self.cfg = cfg
        self.app_uri = uri

    def do_load_config(self) -> None:
        """Done by the daemon."""


def enter(path: str) -> None:
    """chdir as Gunicorn does it: the directory also goes first on sys.path."""
    os.chdir(path)
    if path not in sys.path:
        sys.path.insert(0, path)
