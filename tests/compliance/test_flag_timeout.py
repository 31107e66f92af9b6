"""`--timeout`: a worker that is silent is ended and replaced."""

import pytest

from support import processes

APP = """
import os, time
from events import tell, wait
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/stuck":
        tell("stuck", os.getpid())
        wait()
    elif path == "/stream":
        start_response("200 OK", [])
        def pieces():
            for _ in range(10):
                time.sleep(0.5)
                yield b"piece"
        return pieces()
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


TIMED_OUT = ["Python stacks", "Request in hand", "WORKER TIMEOUT", "Error handling request", "/stuck", "exited with code", "was sent"]


@pytest.fixture
def stuck(start, launcher):
    """A server with a request stuck in it: server, connection, pid of the worker."""
    launcher.write("app.py", APP)
    connections = []

    def stuck(*arguments, **options):
        server = start("--timeout", "1", *arguments, "app:app", allowed=TIMED_OUT, **options)
        connection = server.connect().request(target="/stuck")
        connections.append(connection)
        return server, connection, server.events.until("stuck")[1]

    yield stuck
    for connection in connections:
        connection.close()


def test_it_is_ended_and_replaced(stuck):
    server, _, pid = stuck()
    server.stderr.find(rf"\[CRITICAL\] WORKER TIMEOUT \(pid:{pid}\)")
    assert processes.wait_gone(pid)
    assert int(server.get().body) != pid


def test_the_client_gets_an_answer(stuck):
    """Gunicorn's worker is told to abort and answers 500 on its way out; ours is answered for, as a gateway would be."""
    server, connection, _ = stuck()
    response = connection.response()
    assert response.status == (504 if server.ours else 500)
    connection.expect_end()


def test_where_it_hangs_is_logged(stuck):
    server, _, pid = stuck()
    assert processes.wait_gone(pid)
    server.stderr.find(r'File ".*events.py", line \d+,? in wait')
    if server.ours:
        # What the stuck request was, too.
        server.stderr.find(r"WORKER TIMEOUT .*GET /stuck|GET /stuck")


def test_other_workers_go_on(stuck):
    # The last one counts: a machine that is busy keeps the other worker waiting, too.
    server, _, pid = stuck("--workers", "2", "--timeout", "4")
    other = int(server.get().body)
    assert other != pid
    assert processes.wait_gone(pid)
    assert processes.alive(other)


def test_worker_abort_runs(stuck):
    conf = """
    from events import tell
    def worker_abort(worker): tell("abort", worker.pid)
    """
    server, _, pid = stuck(conf=conf)
    assert server.events.until("abort")[1] == pid


def test_one_that_ignores_abort_is_killed(start, launcher):
    launcher.write(
        "app.py",
        """
        import os, signal
        from events import tell, wait
        def app(environ, start_response):
            start_response("200 OK", [])
            if environ["PATH_INFO"] == "/stuck":
                signal.signal(signal.SIGABRT, lambda *_: None)
                tell("stuck", os.getpid())
                while True:
                    wait()
            return [b"fine"]
        """,
    )
    server = start("--timeout", "1", "app:app", allowed=["WORKER TIMEOUT", "was sent SIGKILL", "/stuck"])
    with server.connect() as connection:
        connection.request(target="/stuck")
        pid = server.events.until("stuck")[1]
        assert processes.wait_gone(pid)
    assert server.get().body == b"fine"


def test_zero_is_no_limit(start, launcher):
    launcher.write("app.py", APP)
    server = start("--timeout", "0", "app:app")
    with server.connect() as connection:
        connection.request(target="/stuck")
        server.events.until("stuck")
        server.events.release()
        assert connection.response().status == 200


def test_a_response_that_streams(start, launcher):
    """A request that takes longer than the timeout and sends data meanwhile: Gunicorn ends it, we count silence only."""
    launcher.write("app.py", APP)
    allowed = [] if launcher.ours else ["WORKER TIMEOUT", "Error handling request", "exited with code", "was sent SIGKILL"]
    # Far longer than a busy machine keeps a process waiting.
    server = start("--timeout", "2", "app:app", allowed=allowed)
    with server.connect() as connection:
        connection.request(target="/stream")
        if server.ours:
            assert connection.response().body == b"piece" * 10
        else:
            server.stderr.find("WORKER TIMEOUT")
            assert b"\r\n0\r\n" not in connection.rest()


def test_an_idle_worker_is_not_silent(start):
    """Waiting for requests is no silence, however long."""
    # Gunicorn's shows life after half of it: what is left is for a machine that is busy.
    server = start("--timeout", "3", "process:app")
    pid = server.get().json["pid"]
    assert not processes.wait_gone(pid, timeout=5.5)
    assert server.get().json["pid"] == pid


def test_a_slow_client_is_not_the_workers_fault(start, program):
    """One that sends half a head keeps Gunicorn's sync worker from its heartbeat."""
    allowed = [] if program.ours else ["WORKER TIMEOUT", "Error handling request", "exited with code", "was sent SIGKILL"]
    server = start("--timeout", "1", "process:app", allowed=allowed)
    pid = server.get().json["pid"]
    with server.connect() as connection:
        connection.send("GET / HTTP/1.1\r\nHost: a\r\n")
        if server.ours:
            assert not processes.wait_gone(pid, timeout=3.5)
            connection.send("\r\n")
            assert connection.response().json["pid"] == pid
        else:
            assert processes.wait_gone(pid)


@pytest.mark.parametrize("value", ["x", "1.5"])
def test_no_number(run, value):
    run("--timeout", value, "hello:app", code=2)
