"""What a worker still does when it leaves: exit handlers, threads, streams."""

import signal

import pytest

APP = """
import atexit, sys, threading
from events import tell, wait

atexit.register(tell, "atexit")

def linger():
    wait()
    tell("thread")

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/thread":
        threading.Thread(target=linger).start()
    elif path == "/daemon":
        threading.Thread(target=wait, daemon=True).start()
    elif path == "/print":
        sys.stdout.write("not flushed")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.fixture
def server(start, launcher):
    launcher.write("app.py", APP)
    return start("app:app", conf="from events import tell\ndef worker_exit(server, worker): tell('worker_exit')\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_exit_handlers_run_after_worker_exit(server, number):
    server.get()
    assert server.stop(number) == 0
    names = server.events.names()
    assert names.count("atexit") == 1
    assert names.index("worker_exit") < names.index("atexit")


def test_threads_are_waited_for(server):
    server.get("/thread")
    server.send_signal(signal.SIGTERM)
    server.stderr.find("Worker exiting")
    server.events.release()
    server.events.until("thread")
    assert server.wait() == 0


def test_daemon_threads_are_not(server):
    server.get("/daemon")
    assert server.stop() == 0


def test_what_was_printed_is_flushed(server):
    server.get("/print")
    server.stop()
    assert server.stdout.lines == ["not flushed"]


def test_a_worker_that_max_requests_ends_runs_them_too(start, launcher):
    launcher.write("app.py", APP)
    server = start("--max-requests", "2", "app:app")
    for _ in range(2):
        server.get()
    server.events.until("atexit")
    assert server.get().status == 200
