"""What the engine calls: the few things that a serving worker does in Python."""

from __future__ import annotations

from typing import Any

from . import logs, wakeup
from .request import Request, Response, fill_environ, proxy_info


class RequestTimeout(BaseException):
    """Raised in a thread whose request has taken longer than `request_timeout`."""


class Bridge:
    """One worker's. The engine calls it for hooks, errors and loggers, never for a plain request."""

    #: For the engine to raise.
    RequestTimeout = RequestTimeout

    def __init__(self, worker: Any, wake: int) -> None:
        self.worker = worker
        self.cfg = worker.cfg
        self.log = worker.log
        #: What the forkserver put in the place of `signal.set_wakeup_fd`, and the descriptor that it is to have.
        self.wakeup = wakeup.function
        self.wakeup_fd = wake

    def warn(self, text: str) -> None:
        self.log.warning(text)

    def recycling(self) -> None:
        self.log.info("Autorestarting worker after current request.")

    def access_is_plain(self) -> bool:
        return logs.access_is_plain(self.log, self.cfg)

    def request_failed(self, method: str, target: str, error: BaseException, gone: bool) -> None:
        # What the app's own peers (a database, another service) do to it is a failure like any other.
        if gone and isinstance(error, (BrokenPipeError, ConnectionResetError)):
            self.log.debug("Ignoring %s of %s %s: the client left", type(error).__name__, method, target)
            return
        self.log.error("Error handling request %s %s", method, target, exc_info=_info(error))

    def request_timed_out(self, target: str, seconds: float, thread: int, stacks: str) -> None:
        what = "REQUEST TIMEOUT (pid:%s): %s has taken %.1f s in thread rgunicorn-%d\n%s"
        self.log.critical(what, self.worker.pid, target, seconds, thread, stacks.rstrip())

    def close_failed(self, error: BaseException) -> None:
        self.log.error("Error closing the response", exc_info=_info(error))

    def make_request(
        self,
        method: str,
        uri: str,
        path: str,
        query: str,
        headers: list[tuple[str, str]],
        version: tuple[int, int],
        peers: tuple[Any, Any],
        scheme: str,
        number: int,
        body: Any,
        keep_alive: bool,
        trusted: bool,
    ) -> Request:
        peer, proxy = peers
        request = Request(self.cfg, None, peer, number)
        request.proxy_protocol_info = proxy and proxy_info(*proxy)
        request.method, request.uri, request.path, request.query = method, uri, path, query
        request.fragment = uri.partition("#")[2]
        request.headers, request.version, request.scheme, request.body = headers, version, scheme, body
        request._keep_alive, request._trusted = keep_alive, trusted
        return request

    def before_request(self, request: Request, environ: dict[str, Any], listener: int) -> None:
        try:
            self.cfg.pre_request(self.worker, request)
            fill_environ(environ, request, self.worker.sockets[listener].is_unix)
        except BaseException:
            if self.cfg.settings["post_request"].custom_hook:
                self.after_request(request, {}, None)
            raise

    def finish_response(
        self,
        request: Request,
        environ: dict[str, Any],
        status: str,
        fields: str,
        sent: int,
        head_sent: bool,
        micros: int,
        log: bool,
    ) -> Response:
        response = Response(request, None, self.cfg)
        if status:
            response.status = status
            response.status_code = int(status[:3])
        for line in fields.split("\r\n"):
            name, colon, value = line.partition(": ")
            if colon:
                response.headers.append((name, value))
                if name == "Content-Length":
                    response.response_length = int(value)
        response.sent, response.headers_sent = sent, head_sent
        if log and status:
            from datetime import timedelta

            try:
                self.log.access(response, request, environ, timedelta(microseconds=micros))
            except Exception:
                self.log.exception("Exception in the access log")
        return response

    def after_request(self, request: Request, environ: dict[str, Any], response: Any) -> None:
        try:
            self.cfg.post_request(self.worker, request, environ, response)
        except Exception:
            self.log.exception("Exception in post_request hook")


def _info(error: BaseException) -> Any:
    return type(error), error, error.__traceback__
