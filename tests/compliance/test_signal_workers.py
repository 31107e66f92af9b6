"""TTIN, TTOU, and workers that die."""

import signal

import pytest

from support import processes

CONF = """
from events import tell
def post_worker_init(worker): tell("booted", worker.pid, worker.age)
def child_exit(server, worker): tell("gone", worker.pid)
"""


def booted(server):
    """The pid of the one worker, which serves: before that its death would be a boot that failed."""
    pid = server.events.until("booted")[1]
    server.get()
    return pid


def test_ttin_adds_one(start):
    server = start("hello:app", conf=CONF)
    first = server.events.until("booted")[1]
    for _ in range(2):
        server.send_signal(signal.SIGTTIN)
        assert server.events.until("booted")[1] != first
    assert server.stop() == 0
    assert server.events.names().count("booted") == 3


def test_ttou_takes_the_oldest(start):
    server = start("--workers", "3", "blocking:app", conf=CONF)
    # What they write comes in any order.
    _, oldest, _ = min(server.events.take("booted", 3), key=lambda event: event[2])
    # One request in each: by then the arbiter knows that all of them are ready.
    connections = []
    for _ in range(3):
        connections.append(server.connect().request(target="/block"))
        server.events.until("in")
    server.events.release(3)
    for connection in connections:
        assert connection.response().status == 200
        connection.close()
    server.send_signal(signal.SIGTTOU)
    assert server.events.until("gone")[1] == oldest
    assert server.get().status == 200


def test_ttou_leaves_one(start):
    server = start("--workers", "2", "hello:app", conf=CONF)
    server.events.take("booted", 2)
    server.send_signal(signal.SIGTTOU)
    server.events.until("gone")
    for number in range(3):
        server.send_signal(signal.SIGTTOU)
        # One at a time: of those that wait, the kernel delivers TTIN first.
        server.stderr.find("Handling signal: ttou", number + 2)
    server.send_signal(signal.SIGTTIN)
    server.events.until("booted")
    assert server.stop() == 0
    assert server.events.names().count("gone") == 3


def test_they_are_logged(start):
    server = start("hello:app", conf=CONF)
    server.events.until("booted")
    server.send_signal(signal.SIGTTIN)
    server.stderr.find("Handling signal: ttin")
    server.events.until("booted")
    server.send_signal(signal.SIGTTOU)
    server.stderr.find("Handling signal: ttou")
    server.events.until("gone")


def test_a_killed_worker_is_replaced(start):
    server = start("hello:app", conf=CONF, allowed=["was sent SIGKILL"])
    first = booted(server)
    server.send_signal(signal.SIGKILL, first)
    server.stderr.find(rf"Worker \(pid:{first}\) was sent SIGKILL!")
    assert server.events.until("booted")[1] != first
    assert server.get().status == 200


def test_again_and_again(start):
    server = start("hello:app", conf=CONF, allowed=["was sent SIGKILL"])
    for _ in range(4):
        server.send_signal(signal.SIGKILL, booted(server))
    server.events.until("booted")
    assert server.get().status == 200


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGUSR2, signal.SIGPIPE])
def test_other_deaths_are_named(start, number):
    """A signal that the worker does not handle ends it, and is named."""
    server = start("hello:app", conf=CONF, allowed=["was sent"])
    first = booted(server)
    if server.ours and number == signal.SIGUSR2:
        # `pkill -USR2` hits workers too: ours do nothing then.
        server.send_signal(number, first)
        assert server.get().status == 200 and processes.alive(first)
        return
    if number == signal.SIGPIPE:
        # Python ignores it.
        server.send_signal(number, first)
        assert server.get().status == 200 and processes.alive(first)
        return
    server.send_signal(number, first)
    server.stderr.find(rf"Worker \(pid:{first}\) was sent {number.name}!")
    server.events.until("booted")


def test_hup_at_a_worker(start):
    """`pkill -HUP` hits workers too: Gunicorn's die of it, ours do nothing."""
    server = start("process:app", conf=CONF, allowed=["was sent SIGHUP"])
    first = server.events.until("booted")[1]
    server.send_signal(signal.SIGHUP, first)
    if server.ours:
        assert server.get().json["pid"] == first
    else:
        assert server.events.until("gone")[1] == first
        server.events.until("booted")


def test_term_at_a_worker(start):
    """It leaves in good order, and is replaced."""
    server = start("hello:app", conf=CONF)
    first = server.events.until("booted")[1]
    server.send_signal(signal.SIGTERM, first)
    assert processes.wait_gone(first)
    seen = [server.events.next() for _ in range(2)]
    assert ["gone", first] in seen
    assert server.get().status == 200


def test_term_at_a_worker_with_a_request_in_flight(start):
    server = start("blocking:app")
    with server.connect() as connection:
        connection.request(target="/block")
        pid = server.events.until("in")[1]
        server.send_signal(signal.SIGTERM, pid)
        server.events.release()
        response = connection.response()
        assert (response.status, response.body) == (200, str(pid).encode())
        connection.expect_end()
    assert processes.wait_gone(pid)
    assert server.get().status == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_at_a_worker(start, number):
    server = start("process:app", conf=CONF)
    first = server.events.until("booted")[1]
    server.send_signal(number, first)
    assert processes.wait_gone(first)
    assert server.get().json["pid"] != first


def test_abrt_at_a_worker(start):
    """worker_abort, then exit 1."""
    conf = CONF + "def worker_abort(worker): tell('abort', worker.pid)\n"
    server = start("hello:app", conf=conf, allowed=["exited with code 1"])
    first = server.events.until("booted")[1]
    server.send_signal(signal.SIGABRT, first)
    assert server.events.until("abort")[1] == first
    server.stderr.find(rf"Worker \(pid:{first}\) exited with code 1")
    server.events.until("booted")


def test_winch_is_ignored(start):
    server = start("process:app", conf=CONF)
    pid = server.events.until("booted")[1]
    server.send_signal(signal.SIGWINCH)
    server.send_signal(signal.SIGWINCH, pid)
    assert server.get().json["pid"] == pid


def test_an_app_that_exits(start, launcher):
    """os._exit in a request: the client sees the end, the worker is replaced, others never notice."""
    launcher.write(
        "app.py",
        """
        import os
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/exit":
                os._exit(7)
            start_response("200 OK", [])
            return [b"fine"]
        """,
    )
    server = start("app:app", allowed=["exited with code 7"])
    assert server.get().body == b"fine"
    with server.connect() as connection:
        assert connection.request(target="/exit").rest() == b""
    server.stderr.find(r"Worker \(pid:\d+\) exited with code 7")
    assert server.get().body == b"fine"
