"""Good HTTP: connections, pipelining, HEAD, 204, 304, 1.0, Expect, request bodies of every framing."""

import os

import pytest

from support.http import chunked, request

STATUSES = """
def app(environ, start_response):
    status = environ["PATH_INFO"][1:]
    fields = [("X-Kept", "1")] if environ["QUERY_STRING"] == "bare" else [("Content-Length", "5")]
    start_response(status + " Whatever", fields)
    return [b"hello"]
"""


@pytest.fixture(scope="module")
def server(shared):
    return shared.start(*shared.keepalive, "mirror:app")


# -- bodies of requests ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1000, 70_000, 1_000_000])
def test_length(server, size):
    body = os.urandom(size)
    with server.connect() as connection:
        for _ in range(2):
            assert connection.request("POST", body=body).response().body == body


@pytest.mark.parametrize("size", [1, 1000, 70_000, 1_000_000])
def test_chunks(server, size):
    body = os.urandom(size)
    pieces = [body[at : at + 8191] for at in range(0, size, 8191)]
    with server.connect() as connection:
        for _ in range(2):
            connection.request("POST", headers=[("Transfer-Encoding", "chunked")], body=chunked(*pieces))
            assert connection.response().body == body


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("0\r\n\r\n", b""),
        ("5\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("00005\r\nhello\r\n000\r\n\r\n", b"hello"),
        ("A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        ("a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        ("5;name=value\r\nhello\r\n0;last\r\n\r\n", b"hello"),
        ('5;name="quoted value"\r\nhello\r\n0\r\n\r\n', b"hello"),
        ("5 ;x\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("5\r\nhello\r\n0\r\nX-Trailer: 1\r\nX-Other: 2\r\n\r\n", b"hello"),
    ],
)
def test_forms_of_chunks(server, body, expected):
    with server.connect() as connection:
        connection.send(f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
        assert connection.response().body == expected
        assert connection.request("POST", body=b"next").response().body == b"next"


@pytest.mark.parametrize("spelling", ["Chunked", "CHUNKED", " chunked "])
def test_spelling_of_chunked(server, spelling):
    with server.connect() as connection:
        connection.send(f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:{spelling}\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        assert connection.response().body == b"hello"


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_any_split(server, framing):
    """Byte by byte is as good as whole."""
    headers = [("Transfer-Encoding", "chunked")] if framing == "chunked" else []
    data = request("POST", headers=headers, body=chunked(b"hel", b"lo") if headers else b"hello")
    with server.connect() as connection:
        connection.socket.setsockopt(6, 1, 1)  # TCP_NODELAY
        for at in range(len(data)):
            connection.send(data[at : at + 1])
        assert connection.response().body == b"hello"


def test_body_of_a_get(server):
    with server.connect() as connection:
        for _ in range(2):
            assert connection.request("GET", body=b"unusual").response().body == b"unusual"


def test_a_body_that_nobody_reads(start, launcher):
    """It is not taken for the next request."""
    server = start(*launcher.keepalive, "mirror:careless")
    with server.connect() as connection:
        connection.send(request("POST", body=b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"))
        assert connection.response().body == b"ok"
        assert connection.request(headers=[("Connection", "close")]).response().body == b"ok"
        connection.expect_end()


def test_a_large_body_that_nobody_reads(start, launcher):
    """The client gets its answer although it is still sending."""
    server = start(*launcher.keepalive, "mirror:careless")
    body = b"x" * 300_000
    with server.connect() as connection:
        connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
        connection.send(body)
        assert connection.response().body == b"ok"


# -- Expect ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["100-continue", "100-Continue"])
def test_expect(server, value):
    with server.connect() as connection:
        connection.send(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: {value}\r\n\r\n")
        assert connection.response().status == 100
        connection.send("hello")
        assert connection.response().body == b"hello"


def test_expect_on_1_0(server):
    """It has no meaning there."""
    with server.connect() as connection:
        connection.send("POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello")
        response = connection.response()
        assert (response.status, response.body) == (200, b"hello")


# -- pipelining -----------------------------------------------------------------------------------------------------------


def test_two_in_one_packet(start, launcher):
    """Gunicorn's gthread looks at the second only when more bytes come: its sync worker never does."""
    server = start(*launcher.keepalive, "mirror:app")
    with server.connect() as connection:
        connection.send(request("POST", body=b"one") + request("POST", body=b"two"))
        assert connection.response().body == b"one"
        if not server.ours:
            connection.send(request("POST", body=b"three"))
        assert connection.response().body == b"two"


def test_many_in_one_packet(start, launcher):
    server = start(*launcher.keepalive, "mirror:app")
    with server.connect() as connection:
        connection.send(b"".join(request("POST", body=b"%d" % number) for number in range(100)))
        if not server.ours:
            connection.socket.shutdown(1)
        assert [int(connection.response().body) for _ in range(100)] == list(range(100))


def test_nothing_is_served_after_close(start, launcher):
    server = start(*launcher.keepalive, "mirror:app")
    with server.connect() as connection:
        connection.send(request("POST", headers=[("Connection", "close")], body=b"one") + request("POST", body=b"two"))
        assert connection.response().body == b"one"
        connection.expect_end()


def test_an_empty_line_before_a_request(server):
    """RFC 9112, 2.2."""
    with server.connect() as connection:
        connection.send(b"\r\n" + request("POST", body=b"x"))
        assert connection.response().body == b"x"


# -- responses without a body ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def statuses(shared):
    shared.write("statuses.py", STATUSES)
    return shared.start(*shared.keepalive, "statuses:app")


@pytest.mark.parametrize("target", ["/200", "/200?bare", "/404"])
def test_head(statuses, target):
    with statuses.connect() as connection:
        head = connection.request("HEAD", target).response("HEAD")
        assert head.status in (200, 404)
        # Ours knows how long one piece is.
        expected = "5" if statuses.ours or "bare" not in target else None
        assert head.header("content-length") == expected
        # Nothing follows: the next response begins at once.
        assert connection.request("GET", "/200").response().body == b"hello"


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("query", ["", "?bare"])
def test_no_body(statuses, status, query):
    with statuses.connect() as connection:
        response = connection.request("GET", f"/{status}{query}").response()
        assert response.status == status
        assert response.header("transfer-encoding") is None
        if status == 204:
            assert response.header("content-length") is None
        assert connection.request("GET", "/200").response().body == b"hello"


def test_length_of_a_304(statuses):
    """It may say how long the body would be."""
    with statuses.connect() as connection:
        assert connection.request("GET", "/304").response().header("content-length") == "5"


def test_205_has_a_body_here(statuses):
    with statuses.connect() as connection:
        assert connection.request("GET", "/205").response().body == b"hello"


# -- HTTP/1.0 -------------------------------------------------------------------------------------------------------------


def test_1_0_without_a_length_ends_with_the_connection(start, launcher):
    launcher.write("app.py", "def app(e, s):\n    s('200 OK', [])\n    return iter([b'one', b'two'])\n")
    server = start(*launcher.keepalive, "app:app")
    with server.connect() as connection:
        response = connection.request(headers=[("Connection", "keep-alive")], version="1.0").response()
    assert (response.framing, response.body) == ("close", b"onetwo")
    assert response.header("connection") == "close"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_version_of_the_response(server, version):
    """The client's own."""
    with server.connect() as connection:
        assert connection.request("POST", body=b"x", version=version).response().version == version


def test_connection_upgrade_of_the_client_changes_nothing(server):
    with server.connect() as connection:
        headers = [("Connection", "Upgrade"), ("Upgrade", "h2c")]
        assert connection.request("POST", headers=headers, body=b"x").response().body == b"x"
