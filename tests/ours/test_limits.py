"""Limits of our own on what one request may cost: its head, its body, its time, its wait."""

import select

import pytest

pytestmark = pytest.mark.only("ours")

CLASSES = pytest.mark.parametrize("flags", [[], ["--threads", "2"]], ids=["sync", "gthread"])
POST = "POST / HTTP/1.1\r\nHost: a\r\n"


def silent(connection, seconds=0.3):
    """Nothing comes for a while. (Not for ever: whether it comes is what the caller asks next.)"""
    return not select.select([connection.socket], [], [], seconds)[0]


# -- limit_request_body ---------------------------------------------------------------------------------------------------


@CLASSES
@pytest.mark.parametrize("framing", ["Content-Length: 11", "Content-Length: 9223372036854775807"])
def test_a_body_that_is_announced_too_long(start, flags, framing):
    """413 before `100 Continue`, and before the app."""
    server = start("--limit-request-body", "10", *flags, "mirror:app", allowed=["Invalid request"])
    with server.connect() as connection:
        response = connection.send(f"{POST}{framing}\r\nExpect: 100-continue\r\n\r\n").response()
        assert response.status == 413
        assert response.header("connection") == "close"
        connection.expect_end()
    server.stderr.find("too large")


@CLASSES
def test_a_body_that_becomes_too_long(start, flags):
    server = start("--limit-request-body", "10", *flags, "mirror:app", allowed=["Invalid request"])
    with server.connect() as connection:
        connection.send(f"{POST}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n1\r\n!\r\n0\r\n\r\n{POST}\r\n")
        assert connection.response().status == 413
        connection.expect_end()


@CLASSES
def test_a_streamed_body_that_becomes_too_long(start, flags):
    """The app is reading it already; what follows is never taken for a request."""
    server = start("--limit-request-body", "3000", "--request-buffer", "1000", *flags, "mirror:app", allowed=[""])
    with server.connect() as connection:
        connection.send(f"{POST}Transfer-Encoding: chunked\r\n\r\n" + "3e8\r\n{}\r\n".format("x" * 1000) * 4 + f"0\r\n\r\n{POST}\r\n")
        assert connection.response().status == 413
        connection.expect_end()
    assert server.get().status == 200


def test_a_body_at_the_limit(start):
    server = start("--limit-request-body", "10", "mirror:app")
    with server.connect() as connection:
        assert connection.request("POST", body=b"0123456789").response().body == b"0123456789"
        assert connection.request("POST", body=b"").response().body == b""
        chunks = "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
        assert connection.send(POST + chunks).response().status == 100
        assert connection.send("a\r\n0123456789\r\n0\r\n\r\n").response().body == b"0123456789"


# -- request_head_timeout -------------------------------------------------------------------------------------------------


@CLASSES
def test_a_head_that_takes_too_long(start, flags):
    server = start("--request-head-timeout", "1", "--keep-alive", "60", *flags, "hello:app")
    slow = server.connect().send("GET / HT")
    silent_one = server.connect()
    with server.connect() as kept:
        assert kept.request().response().persistent
        # It began after a request that was served: the limit is the head's, not the connection's.
        kept.send("GET / HTTP/1.1\r\nHost: a\r\n")
        for connection in (slow, kept):
            response = connection.response()
            assert (response.status, response.header("connection")) == (408, "close")
            connection.expect_end()
    silent_one.expect_end()
    slow.close()
    silent_one.close()
    assert server.get().status == 200


def test_an_idle_connection_has_its_own_limit(start):
    server = start("--request-head-timeout", "1", "--keep-alive", "60", "hello:app")
    with server.connect() as connection:
        connection.request().response()
        # Others' heads have had all of their time since.
        for _ in range(2):
            with server.connect() as slow:
                assert slow.send("GET / HT").response().status == 408
        connection.expect_open()
        assert connection.request().response().status == 200


# -- request_timeout ------------------------------------------------------------------------------------------------------

STUCK = """
import time
from events import tell
def stuck_here():
    while True:
        time.sleep(0.01)
def app(environ, start_response):
    if environ["PATH_INFO"] == "/stuck":
        tell("in")
        stuck_here()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@CLASSES
def test_a_request_that_takes_too_long(start, launcher, flags):
    """The client is told, and the log says which it was and where it was stuck."""
    launcher.write("app.py", STUCK)
    server = start("--request-timeout", "1", *flags, "app:app", allowed=["TIMEOUT", "SystemExit", "was aborted", "exited with", "RequestTimeout"])
    with server.connect() as connection:
        connection.request(target="/stuck")
        server.events.until("in")
        if flags:
            assert server.get().body == b"ok"
        assert connection.response().status == 504
    server.stderr.find("TIMEOUT")
    server.stderr.find("GET /stuck")
    server.stderr.find("in stuck_here")
    assert server.get().body == b"ok"


# -- max_queue_wait -------------------------------------------------------------------------------------------------------


@CLASSES
def test_a_request_that_has_waited_too_long(start, flags):
    conf = "from events import tell\ndef post_worker_init(worker): tell('booted')\n"
    server = start("--max-queue-wait", "1", "--keep-alive", "60", *flags, "blocking:app", conf=conf)
    # What comes before waits for the boot, and that may take too long.
    server.events.until("booted")
    kept = server.connect()
    assert kept.request().response().status == 200
    stuck = [server.connect().request(target="/block") for _ in range(2 if flags else 1)]
    server.events.take("in", len(stuck))
    late = server.connect().request()
    kept.request()
    assert silent(late, 1.5) and silent(kept, 0)
    server.events.release(len(stuck))
    for connection in stuck:
        assert connection.response().status == 200
    for connection in (kept, late):
        response = connection.response()
        assert response.status == 503
        assert response.header("retry-after") == "1"
        connection.expect_end()
        connection.close()
    with server.connect() as connection:
        assert connection.request().response().status == 200
    for connection in stuck:
        connection.close()


# -- buffers --------------------------------------------------------------------------------------------------------------


def test_a_body_within_the_buffer_costs_no_thread(start):
    """Half of it is there, and the only thread serves another client."""
    server = start("--request-buffer", "100000", "mirror:app")
    with server.connect() as slow:
        slow.send(f"{POST}Content-Length: 90000\r\n\r\n" + "x" * 45000)
        assert server.get().status == 200
        assert slow.send("x" * 45000).response().body == b"x" * 90000


def test_a_body_beyond_the_buffer_is_read_by_the_app(start, launcher):
    launcher.write(
        "app.py",
        """
        from events import tell
        def app(environ, start_response):
            first = environ["wsgi.input"].read(10)
            tell("began", len(first))
            rest = environ["wsgi.input"].read()
            start_response("200 OK", [("Content-Length", "1")])
            return [b"y" if len(first + rest) == 3000 else b"n"]
        """,
    )
    server = start("--request-buffer", "1000", "app:app")
    with server.connect() as slow:
        slow.send(f"{POST}Content-Length: 3000\r\n\r\n" + "x" * 1000)
        assert server.events.until("began") == ["began", 10]
        assert slow.send("x" * 2000).response().body == b"y"


@CLASSES
def test_a_response_that_nobody_takes(start, launcher, flags):
    """What the buffer holds costs no thread; the app goes on where it does not, and others are served."""
    launcher.write(
        "app.py",
        """
        from events import tell
        def app(environ, start_response):
            size = 2_000_000 if environ["PATH_INFO"] == "/large" else 2
            start_response("200 OK", [])
            yield b"x" * size
            tell("done", size)
        """,
    )
    server = start("--response-buffer", "8000000", *flags, "app:app")
    with server.connect() as slow:
        slow.request(target="/large")
        assert server.events.until("done") == ["done", 2_000_000]
        for _ in range(3):
            assert server.get().body == b"xx"
        assert len(slow.response().body) == 2_000_000
