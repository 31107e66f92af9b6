"""TERM, INT and QUIT at the master."""

import os
import signal

import pytest

STOPS = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT]


@pytest.mark.parametrize("number", STOPS)
def test_it_ends(start, launcher, number):
    """Exit 0; workers, socket and pidfile are gone."""
    server = start("--workers", "2", "--pid", "app.pid", "--bind", "unix:app.sock", "hello:app", bind=False)
    server.listening()
    server.address = str(launcher.directory / "app.sock")
    server.get()
    assert server.stop(number) == 0
    assert server.family() == []
    assert not (launcher.directory / "app.pid").exists()
    assert not (launcher.directory / "app.sock").exists()


@pytest.mark.parametrize("number", STOPS)
def test_it_is_logged(start, number):
    server = start("hello:app")
    server.get()
    server.stop(number)
    name = number.name.removeprefix("SIG").lower()
    server.stderr.find(rf"\[{server.pid}\] \[INFO\] Handling signal: {name}$")
    server.stderr.find(rf"\[{server.pid}\] \[INFO\] Shutting down: Master$")


def busy(server):
    """A connection with a request that is in the app."""
    connection = server.connect().request(target="/block")
    server.events.until("in")
    return connection


def test_term_finishes_what_is_in_flight(start):
    server = start("--workers", "2", "blocking:app")
    # One after the other, so that each finds a worker that is idle.
    with busy(server) as one, busy(server) as two:
        server.send_signal(signal.SIGTERM)
        server.stderr.find("Handling signal: term")
        server.events.release(2)
        assert one.response().status == two.response().status == 200
    assert server.wait() == 0
    assert server.events.names().count("out") == 2


def test_term_while_a_response_is_streamed(start, launcher):
    launcher.write(
        "app.py",
        """
        from events import tell, wait
        def app(environ, start_response):
            start_response("200 OK", [])
            yield b"one"
            tell("half")
            wait()
            yield b"two"
        """,
    )
    server = start("app:app")
    with server.connect() as connection:
        connection.request()
        server.events.until("half")
        server.send_signal(signal.SIGTERM)
        server.stderr.find("Handling signal: term")
        server.events.release()
        assert connection.response().body == b"onetwo"
    assert server.wait() == 0


def test_term_while_a_request_body_is_read(start, launcher):
    launcher.write(
        "app.py",
        """
        from events import tell
        def app(environ, start_response):
            tell("in")
            body = environ["wsgi.input"].read()
            start_response("200 OK", [("Content-Length", str(len(body)))])
            return [body]
        """,
    )
    # More than is read before the app is called.
    body = b"x" * 4_000_000
    server = start("app:app")
    with server.connect() as connection:
        connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)).send(body[:2_000_000])
        server.events.until("in")
        server.send_signal(signal.SIGTERM)
        server.stderr.find("Handling signal: term")
        connection.send(body[2_000_000:])
        assert connection.response().body == body
    assert server.wait() == 0


def test_an_idle_connection_does_not_hold_the_stop(start, launcher):
    """Of Gunicorn's gthread one does, for the whole graceful timeout."""
    flags = ["--keep-alive", "1", "--graceful-timeout", "30"] if launcher.ours else ["--graceful-timeout", "1"]
    server = start(*launcher.keepalive, *flags, "hello:app", allowed=["was sent SIGKILL"])
    with server.connect() as connection:
        connection.request().response()
        assert server.stop() == 0
        connection.expect_end()


def test_quit_after_term_hurries(start):
    server = start("--graceful-timeout", "60", "blocking:app", allowed=["/block", "Error handling request", "was sent SIGKILL"])
    with server.connect() as connection:
        connection.request(target="/block")
        server.events.until("in")
        server.send_signal(signal.SIGTERM)
        server.stderr.find("Handling signal: term")
        server.send_signal(signal.SIGQUIT)
        assert server.wait() == 0


def test_term_twice(start):
    server = start("blocking:app")
    with server.connect() as connection:
        connection.request(target="/block")
        server.events.until("in")
        server.send_signal(signal.SIGTERM)
        server.stderr.find("Handling signal: term")
        server.send_signal(signal.SIGTERM)
        server.events.release()
        assert connection.response().status == 200
    assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_to_the_whole_group(start, number):
    """As Ctrl-C and service managers do: an idle server's exit is as clean as ever."""
    conf = "from events import tell\ndef post_worker_init(worker): tell('booted')\n"
    server = start("--workers", "2", "hello:app", conf=conf)
    server.events.take("booted", 2)
    server.get()
    os.killpg(server.pid, number)
    assert server.wait() == 0
    assert server.family() == []
    assert len(server.stderr.find("Booting worker")) == 2


def test_what_waits_in_the_queue(start):
    """Gunicorn resets connections that nobody has accepted; ours are served before the port is closed."""
    server = start("--graceful-timeout", "20", "blocking:app")
    with server.connect() as busy, server.connect() as queued:
        busy.request(target="/block")
        server.events.until("in")
        queued.request()
        server.send_signal(signal.SIGTERM)
        server.stderr.find("Handling signal: term")
        server.events.release()
        assert busy.response().status == 200
        if server.ours:
            assert queued.response().status == 200
        else:
            with pytest.raises(Exception):
                queued.response()
    assert server.wait() == 0
