"""The loggers `gunicorn.error` and `gunicorn.access`, and the class that a `logger_class` derives from.

Lines go to the descriptors that the arbiter passed. In the forkserver they are written where they are logged; in a worker
a thread of the extension writes them, so that a slow disk or pipe never holds a request.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from typing import Any

from . import _rgunicorn

CONFIG_DEFAULTS: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "root": {"level": "INFO", "handlers": ["console"]},
    "loggers": {
        name: {"level": "INFO", "handlers": [handler], "propagate": True, "qualname": name}
        for name, handler in (("gunicorn.error", "error_console"), ("gunicorn.access", "console"))
    },
    "handlers": {
        name: {"class": "logging.StreamHandler", "formatter": "generic", "stream": f"ext://sys.{stream}"}
        for name, stream in (("console", "stdout"), ("error_console", "stderr"))
    },
    "formatters": {
        "generic": {
            "format": "%(asctime)s [%(process)d] [%(levelname)s] %(message)s",
            "datefmt": "[%Y-%m-%d %H:%M:%S %z]",
            "class": "logging.Formatter",
        }
    },
}


class Targets:
    """Where this process's log lines go: one stream a target, shared by handlers, `wsgi.errors` and the engine."""

    def __init__(self) -> None:
        self.error: Any = _rgunicorn.LogWriter(2)
        self.access: Any = None

    def open(self, error: int | None, access: int | None) -> None:
        """Takes over the descriptors that the arbiter passed."""
        for fd, name in ((error, "error"), (access, "access")):
            if fd is not None:
                setattr(self, name, _rgunicorn.LogWriter(fd))
                os.close(fd)

    def reopen(self, error: int | None, access: int | None, captured: bool) -> None:
        """Goes on with these, which are the same files opened again."""
        for fd, target in ((error, self.error), (access, self.access)):
            if fd is not None and target is not None:
                target.reopen(fd)
        if captured and error is not None:
            os.dup2(error, 1)
            os.dup2(error, 2)

    def start(self) -> None:
        """In a worker: from now on nothing waits for a line to be written."""
        os.register_at_fork(after_in_child=self._after_fork)
        for target in self._all():
            target.start()

    def drain(self, seconds: float) -> None:
        """Writes out what is left."""
        until = time.monotonic() + seconds
        for target in self._all():
            target.drain(max(0.0, until - time.monotonic()))

    def _after_fork(self) -> None:
        for target in self._all():
            target.after_fork_in_child()

    def _all(self) -> list[Any]:
        return [target for target in (self.error, self.access) if target is not None]


#: This process's.
targets = Targets()


class Formatter(logging.Formatter):
    """What an exception's text may hold came from a client as likely as not: it must not drive a terminal."""

    def formatException(self, ei: Any) -> str:
        return escaped(super().formatException(ei))


def escaped(text: str) -> str:
    """With all control characters but newline and tab written out."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(c if c in "\n\t" or not _is_control(c) else repr(c)[1:-1] for c in text)


def _is_control(c: str) -> bool:
    return c < " " or "\x7f" <= c <= "\x9f" or c in "\u2028\u2029"


class SafeAtoms(dict[str, Any]):
    """Atoms of an access line, in which no value can forge a line; unknown ones are `-`."""

    def __init__(self, atoms: dict[str, Any]) -> None:
        super().__init__()
        for name, value in atoms.items():
            self[name] = escaped_atom(value) if isinstance(value, str) else value

    def __getitem__(self, name: str) -> Any:
        return self.get(name.lower() if name.startswith("{") else name, "-")


def escaped_atom(text: str) -> str:
    """With quotes and control characters written out."""
    text = text.replace('"', '\\"')
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"\\x{ord(c):02x}" if _is_control(c) else c for c in text)


class Logger:
    """`gunicorn.glogging.Logger`."""

    LOG_LEVELS = {
        "critical": logging.CRITICAL,
        "error": logging.ERROR,
        "warning": logging.WARNING,
        "info": logging.INFO,
        "debug": logging.DEBUG,
    }
    loglevel = logging.INFO

    error_fmt = r"%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
    datefmt = r"[%Y-%m-%d %H:%M:%S %z]"
    access_fmt = "%(message)s"
    syslog_fmt = "[%(process)d] %(message)s"

    atoms_wrapper_class = SafeAtoms

    def __init__(self, cfg: Any) -> None:
        self.error_log = logging.getLogger("gunicorn.error")
        self.error_log.propagate = False
        self.access_log = logging.getLogger("gunicorn.access")
        self.access_log.propagate = False
        self.error_handlers: list[Any] = []
        self.access_handlers: list[Any] = []
        self.logfile: Any = None
        self.lock = threading.Lock()
        self.cfg = cfg
        self.setup(cfg)

    def setup(self, cfg: Any) -> None:
        """Gives both loggers their level and handler."""
        self.cfg = cfg
        self.loglevel = self.LOG_LEVELS.get((cfg.loglevel or "").lower(), logging.INFO)
        self.error_log.setLevel(self.loglevel)
        self.access_log.setLevel(logging.INFO)
        if cfg.capture_output and cfg.errorlog != "-":
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
                os.dup2(targets.error.fileno(), stream.fileno())
        self._set_handler(self.error_log, cfg.errorlog, Formatter(self.error_fmt, self.datefmt))
        if cfg.accesslog is not None:
            self._set_handler(self.access_log, cfg.accesslog, logging.Formatter(self.access_fmt), sys.stdout)

    def critical(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.error_log.critical(msg, *args, **kwargs)

    def error(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.error_log.error(msg, *args, **kwargs)

    def warning(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.error_log.warning(msg, *args, **kwargs)

    def info(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.error_log.info(msg, *args, **kwargs)

    def debug(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.error_log.debug(msg, *args, **kwargs)

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        self.error_log.exception(msg, *args, **kwargs)

    def log(self, lvl: Any, msg: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(lvl, str):
            lvl = self.LOG_LEVELS.get(lvl.lower(), logging.INFO)
        self.error_log.log(lvl, msg, *args, **kwargs)

    def atoms(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> dict[str, Any]:
        """What an access line can hold."""
        status = resp.status.split(None, 1)[0] if isinstance(resp.status, str) else resp.status
        seconds, micros = request_time.seconds, request_time.microseconds
        sent = getattr(resp, "sent", None)
        atoms = {
            "h": environ.get("REMOTE_ADDR", "-"),
            "l": "-",
            "u": self._get_user(environ) or "-",
            "t": self.now(),
            "r": f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} {environ['SERVER_PROTOCOL']}",
            "s": status,
            "m": environ.get("REQUEST_METHOD"),
            "U": environ.get("PATH_INFO"),
            "q": environ.get("QUERY_STRING"),
            "H": environ.get("SERVER_PROTOCOL"),
            "b": "-" if sent is None else str(sent),
            "B": sent,
            "f": environ.get("HTTP_REFERER", "-"),
            "a": environ.get("HTTP_USER_AGENT", "-"),
            "T": seconds,
            "D": seconds * 1_000_000 + micros,
            "M": seconds * 1000 + micros // 1000,
            "L": f"{seconds}.{micros:06}",
            "p": f"<{os.getpid()}>",
        }
        for suffix, fields in (("i", getattr(req, "headers", req)), ("o", resp.headers), ("e", environ)):
            pairs: Any = fields.items() if hasattr(fields, "items") else fields
            atoms.update({"{%s}%s" % (name.lower(), suffix): value for name, value in pairs})
        return atoms

    @property
    def access_log_enabled(self) -> bool:
        """Whether there is an access log."""
        cfg = self.cfg
        return bool(
            cfg.accesslog
            or cfg.logconfig
            or cfg.logconfig_dict
            or cfg.logconfig_json
            or (cfg.syslog and not cfg.disable_redirect_access_to_syslog)
        )

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> None:
        """Writes one access line."""
        if not self.access_log_enabled:
            return
        atoms = self.atoms_wrapper_class(self.atoms(resp, req, environ, request_time))
        try:
            self.access_log.info(self.cfg.access_log_format, atoms)
        except Exception:
            self.error(traceback.format_exc())

    def now(self) -> str:
        """The time, as an access line has it."""
        return time.strftime("[%d/%b/%Y:%H:%M:%S %z]")

    def reopen_files(self) -> None:
        """Opens the log files of Python handlers again; the server's own are the arbiter's to reopen."""
        for handler in _file_handlers():
            handler.acquire()
            try:
                if handler.stream:
                    handler.close()
                    handler.stream = handler._open()
            finally:
                handler.release()

    def close_on_exec(self) -> None:
        """Files that Python opens are closed on exec anyway."""

    def _set_handler(self, log: logging.Logger, output: Any, fmt: logging.Formatter, stream: Any = None) -> None:
        old = self._get_gunicorn_handler(log)
        if old is not None:
            log.handlers.remove(old)
        if output is None:
            return
        handler: logging.Handler
        target = _target(log, output, self.cfg)
        if target is not None:
            handler = logging.StreamHandler(target)
        elif output == "-":
            handler = logging.StreamHandler(stream)
        else:
            handler = logging.FileHandler(output)
        handler.setFormatter(fmt)
        handler.__dict__["_gunicorn"] = True
        log.addHandler(handler)

    def _get_gunicorn_handler(self, log: logging.Logger) -> logging.Handler | None:
        return next((handler for handler in log.handlers if getattr(handler, "_gunicorn", False)), None)

    def _get_user(self, environ: dict[str, Any]) -> str | None:
        scheme, _, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "basic" or not credentials:
            return None
        import base64

        try:
            return base64.b64decode(credentials.strip().encode()).split(b":", 1)[0].decode()
        except (TypeError, ValueError) as error:
            self.debug("Couldn't get username: %s", error)
            return None


def access_is_plain(log: Any, cfg: Any) -> bool:
    """Whether the access line is what the server itself would write: no class, filter or handler of somebody's own."""
    kind = type(log)
    own = ("access", "atoms", "now", "atoms_wrapper_class", "access_log_enabled", "_get_user", "access_fmt")
    if not isinstance(log, Logger) or any(getattr(kind, name) is not _ORIGINAL[name] for name in own):
        return False
    if any(name in vars(log) for name in own):
        return False
    logger = logging.getLogger("gunicorn.access")
    return (
        log.access_log is logger
        and len(logger.handlers) == 1
        and _plain_handler(logger.handlers[0])
        and not logger.filters
        and not logger.propagate
        and logger.isEnabledFor(logging.INFO)
        and _rgunicorn.Engine.formats_access_line(cfg.access_log_format)
    )


_ORIGINAL = {
    name: getattr(Logger, name)
    for name in ("access", "atoms", "now", "atoms_wrapper_class", "access_log_enabled", "_get_user", "access_fmt")
}


def _plain_handler(handler: logging.Handler) -> bool:
    return (
        type(handler) is logging.StreamHandler
        and handler.stream is targets.access
        and not handler.filters
        and handler.level <= logging.INFO
        and type(handler.formatter) is logging.Formatter
        and handler.formatter._fmt == Logger.access_fmt
    )


def _target(log: logging.Logger, output: str, cfg: Any) -> Any:
    if log.name == "gunicorn.error" and output == cfg.errorlog:
        return targets.error
    if log.name == "gunicorn.access" and output == cfg.accesslog:
        return targets.access
    return None


def _file_handlers() -> list[Any]:
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    return [handler for log in loggers for handler in log.handlers if isinstance(handler, logging.FileHandler)]
