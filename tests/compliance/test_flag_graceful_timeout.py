"""`--graceful-timeout`: how long a stop waits for requests."""

import signal
import time

import pytest

from support import processes


def test_a_request_in_flight_is_finished(start):
    server = start("--graceful-timeout", "20", "blocking:app")
    with server.connect() as connection:
        connection.request(target="/block")
        server.events.until("in")
        server.send_signal(signal.SIGTERM)
        server.stderr.find("Handling signal: term")
        server.events.release()
        assert connection.response().status == 200
        connection.expect_end()
    assert server.wait() == 0


def test_one_that_takes_too_long_is_cut(start):
    server = start("--graceful-timeout", "1", "blocking:app", allowed=["was sent SIGKILL", "/block"])
    with server.connect() as connection:
        connection.request(target="/block")
        pid = server.events.until("in")[1]
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert processes.wait_gone(pid)
        assert time.monotonic() - began > 0.9
    assert server.wait() == 0


def test_no_new_connections_meanwhile(start):
    """The port is closed at once."""
    conf = "from events import tell\ndef post_worker_init(worker): tell('booted')\n"
    server = start("--graceful-timeout", "20", "--workers", "2", "blocking:app", conf=conf)
    server.events.take("booted", 2)
    with server.connect() as connection:
        connection.request(target="/block")
        server.events.until("in")
        server.send_signal(signal.SIGTERM)
        # The other worker ends first: by then everybody knows.
        server.stderr.find(r"Worker exiting \(pid: \d+\)")
        with pytest.raises((ConnectionRefusedError, ConnectionResetError, TimeoutError)):
            server.connect(timeout=2).request().response()
        server.events.release()
        assert connection.response().status == 200
    assert server.wait() == 0


def test_an_idle_server_stops_at_once(start):
    server = start("--graceful-timeout", "30", "hello:app")
    server.get()
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 10


def test_quit_does_not_wait(start, program):
    """INT and QUIT: the request in flight is abandoned."""
    server = start("--graceful-timeout", "30", "blocking:app", allowed=["/block", "Error handling request"])
    with server.connect() as connection:
        connection.request(target="/block")
        server.events.until("in")
        began = time.monotonic()
        assert server.stop(signal.SIGQUIT) == 0
        assert time.monotonic() - began < 10
