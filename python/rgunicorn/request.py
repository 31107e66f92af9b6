"""Requests and responses as hooks and loggers see them, and the environ of a request that a hook may have changed."""

from __future__ import annotations

from typing import Any


class Request:
    """`gunicorn.http.message.Request`: one request, already parsed."""

    method: str
    uri: str
    path: str
    query: str
    fragment: str
    headers: list[tuple[str, str]]
    version: tuple[int, int]
    scheme: str

    def __init__(self, cfg: Any, unreader: Any = None, peer_addr: Any = None, req_number: int = 1) -> None:
        self.cfg = cfg
        self.unreader = unreader
        self.peer_addr = peer_addr
        self.remote_addr = peer_addr
        self.req_number = req_number
        self.headers = []
        self.trailers: list[tuple[str, str]] = []
        self.body: Any = None
        self.fragment = ""
        self.must_close = False
        self.proxy_protocol_info: dict[str, Any] | None = None
        self._expected_100_continue = False
        self._keep_alive = True
        self._trusted = False

    def force_close(self) -> None:
        """Another request must not follow."""
        self.must_close = True

    def should_close(self) -> bool:
        """Whether the connection ends with this request, as far as the client says."""
        return self.must_close or not self._keep_alive


class Response:
    """`gunicorn.http.wsgi.Response`: what has been sent."""

    def __init__(self, req: Any, sock: Any, cfg: Any) -> None:
        import gunicorn

        self.req = req
        self.sock = sock
        self.cfg = cfg
        self.version = gunicorn.SERVER
        self.status: Any = None
        self.status_code: int | None = None
        self.headers: list[tuple[str, str]] = []
        self.headers_sent = False
        self.response_length: int | None = None
        self.sent = 0
        self.chunked = False
        self.must_close = False
        self.upgrade = False

    def force_close(self) -> None:
        """Another request must not follow."""
        self.must_close = True

    def should_close(self) -> bool:
        """Whether the connection ends with this response."""
        return self.must_close or self.req.should_close()

    def default_headers(self) -> list[str]:
        """The head lines that are the server's; a class that overrides this has its own sent."""
        return [
            f"HTTP/{self.req.version[0]}.{self.req.version[1]} {self.status}\r\n",
            f"Server: {self.version}\r\n",
            "Date: \r\n",
            "Connection: keep-alive\r\n",
        ]


def proxy_info(protocol: str, ends: Any) -> dict[str, Any]:
    """What a PROXY header said: its kind, and addresses and ports of client and proxy if it told them."""
    (client, client_port), (proxy, proxy_port) = ends or ((None, None), (None, None))
    return {
        "proxy_protocol": protocol,
        "client_addr": client,
        "client_port": client_port,
        "proxy_addr": proxy,
        "proxy_port": proxy_port,
    }


def fill_environ(environ: dict[str, Any], request: Any, unix: bool) -> None:
    """Fills a copy of the listener's environ from a request that `pre_request` has seen."""
    from urllib.parse import unquote_to_bytes

    host = ""
    script_name = environ["SCRIPT_NAME"]
    fields: dict[str, list[str]] = {}
    for name, value in request.headers:
        if name == "CONTENT-TYPE":
            environ["CONTENT_TYPE"] = value
            continue
        if name == "CONTENT-LENGTH":
            environ["CONTENT_LENGTH"] = value
            continue
        if name == "HOST":
            host = value
        elif name == "SCRIPT_NAME" and request._trusted:
            script_name = value
        fields.setdefault("HTTP_" + name.replace("-", "_"), []).append(value)
    environ.update({key: ",".join(values) for key, values in fields.items()})
    path = request.path
    if script_name:
        if not path.startswith(script_name):
            from gunicorn.http.errors import ConfigurationProblem

            raise ConfigurationProblem(f"Request path {path!r} does not start with SCRIPT_NAME {script_name!r}")
        path = path[len(script_name) :]
    environ.update(
        {
            "REQUEST_METHOD": request.method,
            "QUERY_STRING": request.query,
            "RAW_URI": request.uri,
            "SERVER_PROTOCOL": "HTTP/%s.%s" % request.version,
            "PATH_INFO": unquote_to_bytes(path.encode("latin-1")).decode("latin-1"),
            "SCRIPT_NAME": script_name,
            "wsgi.url_scheme": request.scheme,
        }
    )
    peer = request.remote_addr
    environ["REMOTE_ADDR"] = peer if isinstance(peer, str) else peer[0]
    if not isinstance(peer, str):
        environ["REMOTE_PORT"] = str(peer[1])
    if info := request.proxy_protocol_info:
        environ["PROXY_PROTOCOL"] = info["proxy_protocol"]
        if info["proxy_addr"] is not None:
            environ["PROXY_ADDR"], environ["PROXY_PORT"] = info["proxy_addr"], str(info["proxy_port"])
    if unix:
        name, colon, port = host.partition(":") if not host.endswith("]") else (host, "", "")
        environ["SERVER_NAME"] = name
        environ["SERVER_PORT"] = (
            port if colon else {"http": "80", "https": "443"}.get(request.scheme, "") if host else ""
        )
