"""What apps see, and what clients get."""

from __future__ import annotations

import os
import socket

import pytest
from harness import LIMIT, Response, read_all, read_until

SHOW = """
def app(environ, start_response):
    names = sorted(k for k in environ if k.split(".")[0] not in ("wsgi", "gunicorn"))
    text = "".join(f"{k}={environ[k]!r}\\n" for k in names)
    text += f"scheme={environ['wsgi.url_scheme']} body={environ['wsgi.input'].read()!r}\\n"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode("latin-1")]
"""


def serve(start, app, config=None, unix=False, **settings):
    arbiter = start(app, config=config)
    arbiter.boot(settings=settings, unix=unix)
    arbiter.fork()
    return arbiter


def shown(response):
    return dict(line.split("=", 1) for line in response.body.decode("latin-1").splitlines())


def test_environ(start):
    arbiter = serve(start, SHOW)
    seen = shown(
        arbiter.get(
            "/a%20b/%C3%A9?q=1&r=%41",
            "X-Two: 1",
            "x-two: 2",
            "Cookie: a=1",
            "Cookie: b=2",
            "Content-Type: x/y",
            "Under_Score: dropped",
            "X-Latin: \xe9",
            method="POST",
            body=b"data",
        )
    )
    host, port = arbiter.listeners[0].getsockname()
    assert seen.pop("REMOTE_PORT").strip("'").isdigit()
    assert seen.pop("SERVER_SOFTWARE").startswith("'gunicorn/27.0.1 (rgunicorn/")
    assert seen == {
        "REQUEST_METHOD": "'POST'",
        "QUERY_STRING": "'q=1&r=%41'",
        "RAW_URI": "'/a%20b/%C3%A9?q=1&r=%41'",
        "SERVER_PROTOCOL": "'HTTP/1.1'",
        "REMOTE_ADDR": "'127.0.0.1'",
        "SERVER_NAME": repr(host),
        "SERVER_PORT": f"'{port}'",
        "PATH_INFO": "'/a b/Ã©'",
        "SCRIPT_NAME": "''",
        "CONTENT_TYPE": "'x/y'",
        "CONTENT_LENGTH": "'4'",
        "HTTP_HOST": "'test'",
        "HTTP_CONNECTION": "'close'",
        "HTTP_X_TWO": "'1,2'",
        "HTTP_COOKIE": "'a=1,b=2'",
        "HTTP_X_LATIN": "'é'",
        "scheme": "http body=b'data'",
    }


def test_environ_on_a_unix_socket(start):
    arbiter = serve(start, SHOW, unix=True)
    seen = shown(arbiter.get("/", "X-Forwarded-Proto: https"))
    assert "REMOTE_PORT" not in seen
    assert (seen["REMOTE_ADDR"], seen["SERVER_NAME"], seen["SERVER_PORT"]) == ("''", "'test'", "'443'")
    assert seen["scheme"].startswith("https")


def test_scheme_and_script_name_of_trusted_peers(start):
    arbiter = serve(start, SHOW)
    seen = shown(arbiter.get("/base/x", "X-Forwarded-Proto: https", "SCRIPT_NAME: /base"))
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("'/base'", "'/x'") and seen["scheme"].startswith("https")
    assert arbiter.get("/", "X-Forwarded-Proto: https", "X-Forwarded-Ssl: off").status == 400
    assert arbiter.get("/other", "SCRIPT_NAME: /base").status == 500
    assert arbiter.get("/base/x").status == 200


def test_untrusted_peers_say_nothing(start):
    arbiter = serve(start, SHOW, forwarded_allow_ips=["10.0.0.0/8"])
    seen = shown(arbiter.get("/base/x", "X-Forwarded-Proto: https", "SCRIPT_NAME: /base"))
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("''", "'/base/x'") and seen["scheme"].startswith("http ")


def test_script_name_of_the_environment(start):
    arbiter = start(SHOW)
    arbiter.boot(settings={"raw_env": ["SCRIPT_NAME=/env"]})
    arbiter.fork()
    seen = shown(arbiter.get("/env/x"))
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("'/env'", "'/x'")


def test_the_validator_is_content(start):
    arbiter = serve(
        start,
        """
        from wsgiref.validate import validator
        def inner(environ, start_response):
            body = environ["wsgi.input"].read(3) + environ["wsgi.input"].readline()
            environ["wsgi.errors"].write("to the error log\\n")
            write = start_response("200 OK", [("Content-Type", "text/plain")])
            write(b"written ")
            return [b"got ", body]
        app = validator(inner)
        """,
    )
    response = arbiter.get(method="POST", body=b"abcdef\nrest")
    assert (response.status, response.body) == (200, b"written got abcdef\n"), arbiter.output()
    arbiter.wait_for(lambda: "to the error log" in arbiter.output())
    assert arbiter.get(method="HEAD").status == 200
    assert "Error" not in arbiter.output()


def test_framing(start):
    arbiter = serve(
        start,
        """
        def app(environ, start_response):
            path, headers = environ["PATH_INFO"], []
            if path == "/length":
                headers = [("Content-Length", "3")]
            start_response({"/304": "304 Not Modified", "/204": "204 No Content"}.get(path, "200 OK"), headers)
            return [b"abcdef"] if path == "/one" else [b"abc", b"", b"def"]
        """,
    )
    one = arbiter.get("/one")
    assert (one.headers["content-length"], one.body) == ("6", b"abcdef")
    many = arbiter.get("/many")
    assert (many.headers["transfer-encoding"], many.body, many.rest) == (
        "chunked",
        b"abcdef",
        b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
    )
    old = arbiter.get("/many", version="1.0")
    assert (old.line, old.rest) == ("HTTP/1.0 200 OK", b"abcdef")
    assert "transfer-encoding" not in old.headers
    cut = arbiter.get("/length")
    assert (cut.headers["content-length"], cut.body) == ("3", b"abc")
    for path, method in (("/304", "GET"), ("/204", "GET"), ("/many", "HEAD")):
        empty = arbiter.get(path, method=method)
        assert empty.rest == b"" and "transfer-encoding" not in empty.headers, empty.raw
    assert arbiter.get("/one", method="HEAD").headers["content-length"] == "6"


def test_server_and_hop_by_hop_fields(start):
    arbiter = serve(
        start,
        """
        def app(environ, start_response):
            start_response("200 OK", [("Server", "mine"), ("Date", "never"), ("Transfer-Encoding", "chunked"),
                                      ("Keep-Alive", "5"), ("X-Blank", " padded "), ("Set-Cookie", "a"), ("Set-Cookie", "b")])
            return [b"x"]
        """,
    )
    response = arbiter.get()
    assert response.headers["server"] == "rgunicorn" and response.headers["date"].endswith("GMT")
    assert response.headers["x-blank"] == "padded" and "keep-alive" not in response.headers
    assert response.raw.count(b"Set-Cookie") == 2 and b"Transfer-Encoding" not in response.raw


@pytest.mark.parametrize(
    ("config", "server", "software"),
    [
        (
            "import gunicorn; gunicorn.SERVER = 'Undisclosed'; gunicorn.SERVER_SOFTWARE = 'apache'",
            "Undisclosed",
            "apache",
        ),
        (
            """
            from gunicorn.http import wsgi
            class Quiet(wsgi.Response):
                def default_headers(self, *args, **kwargs):
                    lines = super().default_headers(*args, **kwargs)
                    return [line for line in lines if not line.startswith("Server:")] + ["X-Node: 7\\r\\n"]
            wsgi.Response = Quiet
            """,
            None,
            "gunicorn/27.0.1 (rgunicorn/",
        ),
    ],
)
def test_patched_server_names(start, config, server, software):
    arbiter = serve(
        start,
        """
        import os
        def app(environ, start_response):
            start_response("200 OK", [])
            return [(environ["SERVER_SOFTWARE"] + "|" + os.environ["SERVER_SOFTWARE"]).encode()]
        """,
        config=config,
    )
    response = arbiter.get()
    assert response.headers.get("server") == server
    assert response.headers.get("x-node") == (None if server else "7")
    first, second = response.body.decode().split("|")
    assert first.startswith(software) and second == "gunicorn/27.0.1"


ERRORS = {
    "/raise": ("raise ValueError('broken app')", "ValueError: broken app"),
    "/base": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "/exit": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "/none": ("return None", "TypeError"),
    "/str": ("s('200 OK', []); return ['text']", "TypeError: the app's body must consist of bytes"),
    "/unstarted": ("return [b'x']", "AssertionError"),
    "/twice": ("s('200 OK', []); s('200 OK', [])", "AssertionError: Response headers already set!"),
    "/newline": ("s('200 OK', [('X', 'a\\r\\nSet-Cookie: evil')]); return []", "ValueError"),
    "/name": ("s('200 OK', [('X Y', 'a')]); return []", "ValueError"),
    "/status": ("s('200', []); s('OK', [])", "AssertionError"),
    "/status2": ("s('nope', []); return []", "ValueError"),
    "/bytes": ("s('200 OK', [(b'X', b'y')]); return []", "TypeError"),
    "/wide": ("s('200 OK', [('X', '\\u20ac')]); return []", "ValueError"),
    "/close": ("s('200 OK', []); return Closing()", "RuntimeError: in close"),
}


def test_app_errors(start):
    branches = "".join(f"    if path == {path!r}:\n        {code}\n" for path, (code, _) in ERRORS.items())
    arbiter = serve(
        start,
        "class Closing:\n    def __iter__(self): return iter([b'x'])\n    def close(self): raise RuntimeError('in close')\n"
        f"def app(e, s):\n    path = e['PATH_INFO']\n{branches}    s('200 OK', []); return [b'fine']\n",
    )
    for path, (_, text) in ERRORS.items():
        response = arbiter.get(path)
        assert response.status == (200 if path == "/close" else 500), (path, response.raw)
        arbiter.wait_for(lambda text=text: text in arbiter.output(), f"{path}: {arbiter.output()}")
        assert arbiter.get("/fine").body == b"fine"
    assert "Error handling request GET /raise" in arbiter.output()


def test_errors_after_the_head(start):
    arbiter = serve(
        start,
        """
        closed = []
        class Body:
            def __iter__(self):
                yield b"first"
                raise ValueError("halfway")
            def close(self):
                closed.append(1)
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/closed":
                start_response("200 OK", [])
                return [str(len(closed)).encode()]
            start_response("200 OK", [("X-First", "1")])
            return Body()
        """,
    )
    response = arbiter.get()
    assert response.raw.endswith(b"5\r\nfirst\r\n")
    assert arbiter.get("/closed").body == b"1"


def test_exc_info(start):
    arbiter = serve(
        start,
        """
        import sys
        def app(environ, start_response):
            start_response("200 OK", [("X-Old", "1")])
            try:
                raise ValueError("replaced")
            except ValueError:
                start_response("503 Later", [("X-New", "1")], sys.exc_info())
            return [b"sorry"]
        """,
    )
    response = arbiter.get()
    assert (response.line, response.body) == ("HTTP/1.1 503 Later", b"sorry")
    assert "x-old" not in response.headers and response.headers["x-new"] == "1"


def test_stop_iteration_closes_quietly(start):
    arbiter = serve(start, "def app(e, s): raise StopIteration")
    assert arbiter.get().raw == b""
    assert "StopIteration" not in arbiter.output()


def test_streaming_is_lazy(start):
    arbiter = serve(
        start,
        """
        def app(environ, start_response):
            start_response("200 OK", [])
            def body():
                yield b"one"
                environ["gunicorn.test"] = environ["wsgi.input"].readline()
                yield environ["gunicorn.test"]
            return body()
        """,
    )
    client = arbiter.connect()
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000005\r\n\r\n")
    assert read_until(client, b"one\r\n")
    client.sendall(b"more\n" + b"x" * 2_000_000)
    assert read_until(client, b"0\r\n\r\n") == b"5\r\nmore\n\r\n0\r\n\r\n"


def test_input(start):
    arbiter = serve(
        start,
        """
        import hashlib
        def app(environ, start_response):
            body, how = environ["wsgi.input"], environ["PATH_INFO"]
            if how == "/lines":
                data = [body.readline(), body.readline(2), *body.readlines(1), *body]
            elif how == "/sizes":
                data = [body.read(0), body.read(5), body.read(-1), body.read(), body.read(None)]
            else:
                digest = hashlib.sha256()
                while piece := body.read(10_007):
                    digest.update(piece)
                data = digest.hexdigest()
            start_response("200 OK", [])
            return [repr(data).encode()]
        """,
    )
    assert eval(arbiter.get("/lines", method="POST", body=b"a\nbcd\ne\nf").body) == [
        b"a\n",
        b"bc",
        b"d\n",
        b"e\n",
        b"f",
    ]
    assert eval(arbiter.get("/sizes", method="POST", body=b"123456789").body) == [b"", b"12345", b"6789", b"", b""]
    import hashlib

    big = os.urandom(5_000_000)
    assert eval(arbiter.get("/hash", method="POST", body=big).body) == hashlib.sha256(big).hexdigest()
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(big[at : at + 70_001]), big[at : at + 70_001]) for at in range(0, len(big), 70_001)
    )
    client = arbiter.connect()
    client.sendall(b"POST /hash HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    client.shutdown(socket.SHUT_WR)
    assert eval(Response(read_all(client)).body) == hashlib.sha256(big).hexdigest()


def test_bad_bodies(start):
    arbiter = serve(start, "def app(e, s):\n    d = e['wsgi.input'].read()\n    s('200 OK', []); return [d]")
    client = arbiter.connect()
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX")
    assert Response(read_all(client)).status == 400
    # The same found by the app, which reads a long body itself
    client = arbiter.connect()
    client.sendall(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n" + b"x" * 0x200000 + b"X"
    )
    assert Response(read_all(client)).status == 400
    # A client that leaves within its body is no error of the app's
    client = arbiter.connect()
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 2_000_000)
    client.close()
    assert arbiter.get(method="POST", body=b"ok").body == b"ok"
    arbiter.wait_for(lambda: arbiter.output().count("Invalid request from ip=127.0.0.1") == 2)
    assert "Traceback" not in arbiter.output()


def test_keep_alive_and_pipelining(start):
    arbiter = serve(
        start,
        "def app(e, s):\n    d = e['wsgi.input'].read()\n    s('200 OK', []); return [e['PATH_INFO'].encode() + d]",
    )
    client = arbiter.connect()
    for number in range(3):
        client.sendall(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        response = Response(read_until(client, b"/%d" % number))
        assert response.headers["connection"] == "keep-alive"
    requests = b"".join(
        b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody" % number for number in range(1000)
    )
    client.sendall(requests + b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    data = read_all(client)
    assert data.count(b"HTTP/1.1 200 OK") == 1001 and data.endswith(b"/last")
    assert [int(piece.split(b"body")[0]) for piece in data.split(b"\r\n\r\n/")[1:-1]] == list(range(1000))


def test_http_1_0_and_keepalive_off(start):
    arbiter = serve(start, "def app(e, s):\n    s('200 OK', []); return [b'x']", keepalive=0)
    client = arbiter.connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert Response(read_all(client)).headers["connection"] == "close"


def test_idle_connections_are_closed(start):
    arbiter = serve(start, "def app(e, s):\n    s('200 OK', []); return [b'x']", keepalive=1)
    client = arbiter.connect()
    client.sendall(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert Response(read_all(client)).headers["connection"] == "keep-alive"


def test_expect_continue(start):
    arbiter = serve(start, "def app(e, s):\n    d = e['wsgi.input'].read()\n    s('200 OK', []); return [d]")
    client = arbiter.connect()
    client.sendall(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    assert read_until(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"data")
    assert Response(read_all(client)).body == b"data"
    assert arbiter.get("/", "Expect: tea").status == 417


def test_early_hints(start):
    arbiter = serve(
        start,
        """
        def app(environ, start_response):
            environ["wsgi.early_hints"]([("Link", "</a.css>"), (b"X", b"y")])
            start_response("200 OK", [])
            environ["wsgi.early_hints"]([("Link", "late")]) if environ["PATH_INFO"] == "/" else None
            return [b"x"]
        """,
    )
    raw = arbiter.get("/early").raw
    assert raw.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert arbiter.get(version="1.0").raw.startswith(b"HTTP/1.0 200 OK")


@pytest.mark.parametrize("how", ["plain", "buffered", "gzip", "bytesio", "temporary", "offset"])
def test_file_wrapper(start, how):
    arbiter = serve(
        start,
        """
        import gzip, io, tempfile
        data = bytes(range(256)) * 4096
        open("data.bin", "wb").write(data)
        with gzip.open("data.gz", "wb") as file:
            file.write(data)
        closed = []
        def app(environ, start_response):
            how = environ["PATH_INFO"][1:]
            headers = []
            if how == "closed":
                start_response("200 OK", [])
                return [repr(closed[-1].closed).encode()]
            if how == "gzip":
                file = gzip.open("data.gz")
            elif how == "bytesio":
                file = io.BytesIO(data)
            elif how == "temporary":
                file = tempfile.NamedTemporaryFile()
                file.write(data)
                file.seek(0)
            else:
                file = open("data.bin", "rb", buffering=0 if how == "plain" else 8192)
            if how == "offset":
                file.read(100)
                headers = [("Content-Length", "500")]
            closed.append(file)
            start_response("200 OK", headers)
            return environ["wsgi.file_wrapper"](file, 4096)
        """,
    )
    data = bytes(range(256)) * 4096
    expected = data[100:600] if how == "offset" else data
    assert arbiter.get("/" + how).body == expected, arbiter.output()
    assert arbiter.get("/closed").body == b"True"
    assert arbiter.get("/" + how, method="HEAD").rest == b""
    assert arbiter.get("/" + how, version="1.0").rest == expected


def test_slow_readers_get_everything(start):
    arbiter = serve(
        start,
        """
        def app(environ, start_response):
            start_response("200 OK", [])
            return [b"x" * 1_000_000 for _ in range(20)] if environ["PATH_INFO"] == "/many" else [b"y" * 30_000_000]
        """,
    )
    for path, size in (("/many", 20_000_000), ("/one", 30_000_000)):
        assert len(arbiter.get(path).body) == size


def test_many_slow_clients_hold_nobody(start):
    """Finished responses are written by readiness: the worker serves others meanwhile."""
    arbiter = serve(
        start, "def app(e, s):\n    s('200 OK', []); return [b'y' * (50_000_000 if e['PATH_INFO'] == '/big' else 1)]"
    )
    slow = [arbiter.connect() for _ in range(5)]
    for client in slow:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        client.recv(1000)
    half = arbiter.connect()
    half.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Le")
    assert arbiter.get("/").body == b"y"
    assert sum(len(read_all(client)) for client in slow) > 5 * 49_000_000


def test_gunicorn_socket(start):
    arbiter = serve(
        start,
        """
        def app(environ, start_response):
            client = environ["gunicorn.socket"]
            if environ["PATH_INFO"] == "/peer":
                start_response("200 OK", [])
                return [repr(client.getpeername()).encode()]
            client.sendall(b"raw:")
            client.sendall(client.recv(100))
            client.close()
            raise StopIteration
        """,
        accesslog="-",
    )
    client = arbiter.connect()
    client.sendall(b"GET /raw HTTP/1.1\r\nHost: a\r\n\r\n")
    read_until(client, b"raw:")
    client.sendall(b"ping")
    assert read_all(client) == b"ping"
    peer = arbiter.connect()
    peer.sendall(b"GET /peer HTTP/1.1\r\nHost: a\r\n\r\n")
    response = Response(read_all(peer))
    assert eval(response.body) == peer.getsockname() and response.headers["connection"] == "close"
    arbiter.wait_for(lambda: "GET /peer" in arbiter.stdout())
    assert "/raw" not in arbiter.stdout()


def test_kept_objects_reach_no_later_request(start):
    arbiter = serve(
        start,
        """
        kept = []
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/keep":
                write = start_response("200 OK", [])
                kept.extend([write, environ["wsgi.early_hints"], environ["wsgi.input"]])
                return [b"kept"]
            start_response("200 OK", [])
            if kept:
                try:
                    kept[0](b"EVIL")
                except OSError:
                    pass
                else:
                    raise AssertionError("written")
                kept[1]([("Evil", "1")])
                assert kept[2].read() == b""
            return [b"clean"]
        """,
    )
    client = arbiter.connect()
    client.sendall(b"GET /keep HTTP/1.1\r\nHost: a\r\n\r\n")
    assert read_until(client, b"kept")
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert Response(read_all(client)).body == b"clean", arbiter.output()


def test_garbage(start):
    arbiter = serve(start, "def app(e, s):\n    s('200 OK', []); return [b'x']")
    for garbage, status in [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /" + b"a" * 5000, 414),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 9000, 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
    ]:
        client = arbiter.connect()
        client.sendall(garbage)
        assert Response(read_all(client)).status == status
    client = arbiter.connect()
    client.close()
    assert arbiter.get().status == 200
    arbiter.wait_for(lambda: arbiter.output().count("Invalid request from ip=127.0.0.1: ") == 6)


def test_pre_request_changes_what_the_app_sees(start):
    arbiter = serve(
        start,
        SHOW,
        config="""
        from gunicorn.http import Request
        def pre_request(worker, req):
            assert isinstance(req, Request) and req.method == "GET" and req.path == "/a%20b" and req.query == "q"
            assert req.version == (1, 1) and req.uri == "/a%20b?q" and req.remote_addr == req.peer_addr
            req.scheme = "https"
            req.headers.append(("X-ADDED", "1"))
            req.headers.append(("x-lower", "2"))
            req.started = worker.nr
        """,
    )
    seen = shown(arbiter.get("/a%20b?q", "X-Two: 1", "X-Two: 2", "Content-Type: t"))
    assert seen["scheme"].startswith("https") and seen["HTTP_X_ADDED"] == "'1'" and seen["HTTP_x_lower"] == "'2'"
    assert seen["HTTP_X_TWO"] == "'1,2'" and seen["PATH_INFO"] == "'/a b'" and seen["CONTENT_TYPE"] == "'t'"
    assert seen["REMOTE_ADDR"] == "'127.0.0.1'" and seen["SERVER_PORT"] == f"'{arbiter.listeners[0].getsockname()[1]}'"


def test_pre_request_that_raises(start):
    arbiter = serve(
        start,
        SHOW,
        config="def pre_request(worker, req): raise ValueError('unwanted')\n"
        "def post_request(worker, req, environ, resp): print(req.method, environ, resp, flush=True)",
    )
    assert arbiter.get().status == 500
    arbiter.wait_for(lambda: "ValueError: unwanted" in arbiter.output())
    assert arbiter.stdout() == "GET {} None\n"


@pytest.mark.parametrize(
    ("definition", "seen"),
    [
        ("def post_request(worker, req): print(worker.nr, req.method)", "1 GET"),
        ("def post_request(worker, req, *rest): print(rest)", "()"),
        ("def post_request(worker, req, environ): print(environ['PATH_INFO'])", "/x"),
        (
            "def post_request(worker, req, environ, resp):\n"
            "    print(resp.status, resp.status_code, resp.headers, resp.sent, resp.headers_sent, req.should_close())",
            "200 OK 200 [('X-A', '1'), ('Content-Length', '5')] 5 True True",
        ),
    ],
)
def test_post_request(start, definition, seen):
    app = "def app(e, s):\n    s('200 OK', [('X-A', '1'), ('Content-Length', '5')]); return [b'hello']"
    arbiter = serve(
        start,
        app,
        config=definition + "\n    import sys; sys.stdout.flush()"
        if "\n" in definition
        else definition + "; import sys; sys.stdout.flush()",
    )
    assert arbiter.get("/x").body == b"hello"
    arbiter.wait_for(arbiter.stdout)
    assert arbiter.stdout() == seen + "\n"


def test_post_request_after_a_failure_and_one_that_fails(start):
    arbiter = serve(
        start,
        "def app(e, s): raise ValueError('x')",
        config="def post_request(worker, req, environ, resp):\n"
        "    print(resp.status, resp.sent, flush=True)\n    raise RuntimeError('hook')",
    )
    assert arbiter.get().status == 500
    arbiter.wait_for(lambda: "Exception in post_request hook" in arbiter.output())
    assert arbiter.stdout() == "500 Internal Server Error 0\n"


def test_worker_connections(start):
    arbiter = serve(start, "def app(e, s):\n    s('200 OK', []); return [b'x']", worker_connections=2)
    first, second = arbiter.connect(), arbiter.connect()
    for client in (first, second):
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        read_until(client, b"x")
    third = arbiter.connect()
    third.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    third.settimeout(0.3)
    with pytest.raises(TimeoutError):
        third.recv(1)
    first.close()
    third.settimeout(LIMIT)
    assert Response(read_all(third)).body == b"x"


def test_debug_logs_each_request(start):
    arbiter = serve(start, "def app(e, s):\n    s('200 OK', []); return [b'x']", loglevel="debug")
    arbiter.get("/path?q")
    arbiter.wait_for(lambda: "[DEBUG] GET /path\n" in arbiter.output())
