"""Clients that are slow, silent, many or gone: none of them costs another its answer."""

import pytest

from support.http import Connection

pytestmark = pytest.mark.only("ours")


def test_silent_ones(start):
    """A hundred connections that say nothing, one worker."""
    server = start("hello:app")
    silent = [server.connect() for _ in range(100)]
    assert server.get().status == 200
    for connection in silent:
        assert connection.request().response().status == 200
        connection.close()


def test_half_a_head(start):
    server = start("hello:app")
    halves = [server.connect().send("GET / HTTP/1.1\r\nHost: a\r\n") for _ in range(50)]
    assert server.get().status == 200
    for connection in halves:
        assert connection.send("\r\n").response().status == 200
        connection.close()


def test_half_a_body(start):
    """A small body is read before the app is called."""
    server = start("mirror:app")
    halves = [server.connect().send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello") for _ in range(20)]
    assert server.get().status == 200
    for connection in halves:
        assert connection.send("world").response().body == b"helloworld"
        connection.close()


def test_idle_ones_do_not_keep_others_out(start):
    server = start("--keep-alive", "60", "hello:app")
    idle = [server.connect() for _ in range(50)]
    for connection in idle:
        assert connection.request().response().persistent
    assert server.get().status == 200
    for connection in idle:
        assert connection.request().response().status == 200
        connection.close()


def test_one_that_does_not_read(start, launcher):
    """A finished response waits for its client in the engine, not in the app's thread."""
    launcher.write(
        "app.py",
        """
        def app(environ, start_response):
            size = 4_000_000 if environ["PATH_INFO"] == "/large" else 2
            start_response("200 OK", [("Content-Length", str(size))])
            return [b"x" * size]
        """,
    )
    server = start("app:app")
    with server.connect() as slow:
        slow.request(target="/large")
        for _ in range(5):
            assert server.get().body == b"xx"
        assert len(slow.response().body) == 4_000_000


def test_those_that_leave(start):
    """In every state that a connection can be in."""
    server = start("mirror:app")
    for _ in range(20):
        for data in ("", "G", "GET / HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", "GET / HTTP/1.1\r\n\r\n" * 5):
            with Connection(server.address) as connection:
                connection.send(data)
    assert server.get().status == 200
    server.stop()
    assert "[WARNING]" not in server.stderr.text and "[ERROR]" not in server.stderr.text


def test_one_lone_connection_each_while_a_worker_is_stuck(start):
    """Whoever comes next is served by the other worker, although the busy one was awake too."""
    server = start("--workers", "2", "blocking:app")
    with server.connect() as stuck:
        stuck.request(target="/block")
        busy = str(server.events.until("in")[1]).encode()
        for _ in range(30):
            assert server.get("/pid").body != busy
        server.events.release()
        stuck.response()


def test_worker_connections_is_kept(start):
    """More wait in the kernel's queue until there is room."""
    server = start("--worker-connections", "3", "--keep-alive", "60", "hello:app")
    first = [server.connect() for _ in range(3)]
    for connection in first:
        connection.request().response()
    with server.connect() as waiting:
        waiting.request()
        waiting.expect_open()
        first.pop().close()
        assert waiting.response().status == 200
    for connection in first:
        connection.close()


def test_every_byte_in_every_field(start):
    """No byte brings a worker down: it is refused or served."""
    server = start("process:app")
    pid = server.get().json["pid"]
    names = ["Host", "Cookie", "Authorization", "Content-Type", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol", "Upgrade", "Range", "X-Forwarded-Proto"]
    for name in names:
        for value in ("".join(map(chr, range(0x80, 0x100))), "\x00", "\xff" * 50, "Basic " + "\xff" * 8, "\t \t", '"' * 99):
            with server.connect() as connection:
                answer = connection.send(f"GET / HTTP/1.1\r\n{name}: {value}\r\nConnection: close\r\n\r\n").rest()
                assert answer[:12] in (b"HTTP/1.1 200", b"HTTP/1.1 400")
    assert server.get().json["pid"] == pid
