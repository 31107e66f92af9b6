"""Requests that are refused: the status, an HTML page, the end of the connection, a warning, and a worker that lives on."""

import pytest


@pytest.fixture(scope="module")
def server(shared):
    return shared.start(*shared.keepalive, "mirror:app")


def refused(server, data, status=400):
    """Sends bytes and a good request after them: the first is refused, the second never answered."""
    if isinstance(data, str):
        data = data.encode("latin-1")
    with server.connect() as connection:
        try:
            connection.send(data + b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n")
        except ConnectionError:
            pass
        response = connection.response()
        assert response.status == status, response
        assert response.header("connection") == "close"
        assert response.header("content-type") == "text/html"
        assert b"<title>" in response.body
        connection.expect_end()
    assert server.get("/alive").status == 200
    return response


FIELDS = "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n"


@pytest.mark.parametrize(
    "line",
    [
        "GARBAGE",
        "GET /",
        "GET / HTTP/1.1 more",
        "GET  / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/1.1.1",
        "GET / HTTP/01.1",
        "GET / HTTP/1.10",
        "GET / HTTP/2.0",
        "GET / HTTP/0.9",
        "GET / HTTP/3.1",
        "GET / FTP/1.1",
        "get / HTTP/1.1",
        "Get / HTTP/1.1",
        "GE / HTTP/1.1",
        "G#T / HTTP/1.1",
        "G,T / HTTP/1.1",
        "G\xc4T / HTTP/1.1",
        "AVERYLONGMETHODNAMEXYZ / HTTP/1.1",
        "GET relative HTTP/1.1",
        "GET * HTTP/1.1",
        "GET host:443 HTTP/1.1",
        "GET /a\tb HTTP/1.1",
        "GET /a\x00b HTTP/1.1",
        "GET /a\x1bb HTTP/1.1",
        "GET /a\x7fb HTTP/1.1",
        "GET /\xe4 HTTP/1.1",
        "GET /a\rb HTTP/1.1",
    ],
)
def test_request_line(server, line):
    refused(server, f"{line}\r\nHost: a\r\n\r\n")


@pytest.mark.parametrize(
    "field",
    [
        "no colon",
        ": no name",
        "X Blank: 1",
        "X-Blank : 1",
        "X-Tab\t: 1",
        " X-Folded: 1",
        "X\x80: 1",
        "X@: 1",
        "X-Nul: a\x00b",
        "X-Esc: a\x1bb",
        "X-Del: a\x7fb",
        "X-Cr: a\rb",
        "X-Long: a\r\n folded",
        "X-Long: a\r\n\tfolded",
        "Host: b",
        "Content-Type: a\r\nContent-Type: b",
    ],
)
def test_fields(server, field):
    refused(server, FIELDS.format(field))


@pytest.mark.parametrize(
    "length", ["+5", "-0", "-1", "0_5", "5, 5", "5,5", "3 1", "0x5", "5.0", "", "five", "\xb2", "5\r\nContent-Length: 5", "5\r\nContent-Length: 6"]
)
def test_content_length(server, length):
    refused(server, f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\nhello")


@pytest.mark.parametrize(
    ("coding", "status"),
    [
        ("chunked\r\nContent-Length: 5", 400),
        ("chunked, chunked", 400),
        ("chunked, identity", 400),
        ("chunked\r\nTransfer-Encoding: identity", 400),
        ("chunked\r\nTransfer-Encoding: chunked", 400),
        ("xchunked", 501),
        ("chunked;q=1", 501),
        ('"chunked"', 501),
        ("\x0bchunked", 400),
        ("", 501),
    ],
)
def test_transfer_encoding(server, coding, status):
    body = "5\r\nhello\r\n0\r\n\r\n"
    if server.ours and status == 501 and coding == "":
        status = 400
    refused(server, f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n{body}", status)


@pytest.mark.parametrize("coding", ["gzip", "identity", "gzip, chunked", "identity, chunked"])
def test_codings_that_are_not_decoded(server, coding):
    """With chunked behind them Gunicorn lets them pass and hands the app what it does not understand; ours says so."""
    data = f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    if server.ours and coding.endswith("chunked"):
        refused(server, data, 501)
    elif coding.endswith("chunked"):
        with server.connect() as connection:
            assert connection.send(data).response().body == b"hello"
    else:
        refused(server, data, 400)


def test_chunked_in_1_0(server):
    refused(server, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "body",
    [
        "\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
        "5\r\nhello\r\n0\r\nHost: b\r\n\r\n",
        "5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
    ],
)
def test_chunks(server, body):
    refused(server, f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")


@pytest.mark.parametrize("value", ["200-ok", "100-continue, x", ""])
def test_expectations(server, value):
    refused(server, FIELDS.format(f"Expect: {value}"), 417)


@pytest.mark.parametrize("host", ["a b", "a/b", "user@a", 'a"b', "[::1"])
def test_host(server, host):
    """Gunicorn takes anything."""
    data = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    if server.ours:
        refused(server, data)
    else:
        with server.connect() as connection:
            assert connection.send(data).response().status == 200


def test_bare_line_feeds(server):
    refused(server, "GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n")


def test_bare_line_feeds_everywhere(start, launcher):
    """Gunicorn looks for CRLF after the request line, and waits for it."""
    server = start(*launcher.keepalive, "hello:app")
    with server.connect() as connection:
        connection.send("GET / HTTP/1.1\nHost: a\n\n")
        if server.ours:
            assert connection.response().status == 400
            connection.expect_end()
        else:
            connection.expect_open()


def test_the_message_is_escaped(server):
    body = refused(server, "GET <script>alert(1)</script> HTTP/1.1\r\n\r\n").body
    assert b"<script>" not in body


def test_it_is_logged_as_a_warning(start):
    server = start("hello:app")
    refused(server, "GARBAGE\r\n\r\n")
    server.stderr.find(r"\[WARNING\] Invalid request from ip=127\.0\.0\.1: ")


def test_reasons(server):
    assert refused(server, "GARBAGE\r\n\r\n").reason == "Bad Request"
    assert refused(server, "GET /" + "x" * 5000 + " HTTP/1.1\r\n\r\n", 414).reason == "URI Too Long"
    assert refused(server, FIELDS.format("X: " + "x" * 9000), 431).reason == "Request Header Fields Too Large"
    assert refused(server, FIELDS.format("Expect: x"), 417).reason == "Expectation Failed"
    unsupported = refused(server, FIELDS.format("Transfer-Encoding: x"), 501)
    assert unsupported.reason == ("Not Implemented" if server.ours else "Bad Request")


@pytest.mark.parametrize("data", [b"\x00" * 100, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 300 + b"\r\n\r\n", bytes(range(256)) + b"\r\n\r\n"], ids=["nul", "tls", "all"])
def test_garbage(server, data):
    """Whatever it is, the next client is served."""
    with server.connect() as connection:
        connection.send(data)
        connection.socket.shutdown(1)
        answer = connection.rest()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert server.get().status == 200


@pytest.mark.parametrize("data", ["", "G", "GET / HT", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a", "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf"])
def test_a_client_that_leaves(start, launcher, data):
    """Half a request, or none: no answer is needed, nothing is logged above WARNING."""
    server = start(*launcher.keepalive, "mirror:careless")
    for _ in range(3):
        with server.connect() as connection:
            connection.send(data)
    assert server.get().status == 200


def test_permit_unconventional_method(start):
    server = start("--permit-unconventional-http-method", "environ:app")
    assert server.request("get").json["REQUEST_METHOD"] == "get"


def test_casefold_method(start):
    server = start("--permit-unconventional-http-method", "--casefold-http-method", "environ:app")
    assert server.request("get").json["REQUEST_METHOD"] == "GET"


def test_permit_unconventional_version(start):
    server = start("--permit-unconventional-http-version", "environ:app")
    with server.connect() as connection:
        assert b'"HTTP/2.7"' in connection.send("GET / HTTP/2.7\r\nHost: a\r\nConnection: close\r\n\r\n").rest()


def test_permit_obsolete_folding(start):
    server = start("--permit-obsolete-folding", "environ:app")
    assert server.get(headers=[("X-Long", "a\r\n  b\r\n\tc")]).json["HTTP_X_LONG"] == "a b c"


def test_strip_header_spaces(start):
    server = start("--strip-header-spaces", "environ:app")
    assert server.get(headers=[("X-Blank ", "1")]).json["HTTP_X_BLANK"] == "1"
