"""What is the same in every environ and every response head of a worker."""

from __future__ import annotations

import sys
from typing import Any

from . import _rgunicorn
from .logs import targets
from .request import Request, Response

_OWN_SOFTWARE = f"gunicorn/{_rgunicorn.GUNICORN_VERSION} (rgunicorn/{_rgunicorn.VERSION})"
_PLAIN_SOFTWARE = f"gunicorn/{_rgunicorn.GUNICORN_VERSION}"


class Errors:
    """`wsgi.errors`: the error log, and whatever streams the handlers of `gunicorn.error` have besides."""

    def __init__(self, cfg: Any, log: Any) -> None:
        self.streams = [targets.error]
        logger = getattr(log, "error_log", None)
        for handler in getattr(logger, "handlers", ()):
            stream = getattr(handler, "stream", None)
            if stream is not None and stream not in self.streams:
                self.streams.append(stream)

    def write(self, data: Any) -> int:
        """Writes a text."""
        text = data.decode("utf-8", "backslashreplace") if isinstance(data, bytes) else data
        for stream in self.streams:
            stream.write(text)
            stream.flush()
        return len(data)

    def writelines(self, lines: Any) -> None:
        """Writes several."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing is held back."""


#: What every request fills in. (On a unix socket its `Host` says how the server is called.)
_FILLED = (
    "REQUEST_METHOD QUERY_STRING RAW_URI SERVER_PROTOCOL PATH_INFO REMOTE_ADDR "
    "wsgi.input wsgi.early_hints gunicorn.socket "
)


def templates(worker: Any, multithread: bool) -> list[dict[str, Any]]:
    """An environ for each listener, to be copied for each request."""
    import gunicorn

    cfg = worker.cfg
    software = gunicorn.SERVER_SOFTWARE
    base: dict[str, Any] = {
        "wsgi.errors": Errors(cfg, worker.log),
        "wsgi.version": (1, 0),
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": cfg.workers > 1,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": _rgunicorn.FileWrapper,
        "wsgi.input_terminated": True,
        "wsgi.url_scheme": "http",
        "SERVER_SOFTWARE": _OWN_SOFTWARE if software == _PLAIN_SOFTWARE else software,
        "SCRIPT_NAME": "",
    }
    made = []
    for listener in worker.sockets:
        environ = dict(base)
        if not listener.is_unix:
            host, port = listener.getsockname()[:2]
            environ["SERVER_NAME"], environ["SERVER_PORT"] = host, str(port)
        # Their places: a copy is then neither grown nor arranged anew when the request fills it.
        filled = _FILLED + ("SERVER_NAME SERVER_PORT" if listener.is_unix else "REMOTE_PORT")
        environ.update((sys.intern(name), "") for name in filled.split())
        made.append(environ)
    return made


def server_lines(cfg: Any) -> bytes:
    """The response head's lines of the server's own, but for Date and Connection.

    Configurations hide or change `Server` by assigning `gunicorn.SERVER`, or by a class with other `default_headers()`
    in place of `gunicorn.http.wsgi.Response`.
    """
    import gunicorn
    from gunicorn.http import wsgi

    server = "rgunicorn" if gunicorn.SERVER == "gunicorn" else gunicorn.SERVER
    if wsgi.Response.default_headers is Response.default_headers:
        return f"Server: {server}\r\n".encode("latin-1")
    request = Request(cfg)
    request.method, request.version = "GET", (1, 1)
    probe = wsgi.Response(request, None, cfg)
    probe.version, probe.status, probe.status_code = server, "200 OK", 200
    ours = ("date", "connection", "transfer-encoding")
    lines = [line.strip() for line in probe.default_headers()[1:]]
    return "".join(f"{line}\r\n" for line in lines if line.partition(":")[0].lower() not in ours).encode("latin-1")
