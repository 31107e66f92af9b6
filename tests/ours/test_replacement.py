"""Workers that are renewed: the next one is ready before the old one goes."""

import signal

import pytest

from support import processes

pytestmark = pytest.mark.only("ours")

CONF = """
from events import tell
def post_worker_init(worker): tell("booted", worker.pid)
def child_exit(server, worker): tell("gone", worker.pid)
"""


def test_ready_first(start):
    server = start("--max-requests", "3", "process:app", conf=CONF)
    first = server.events.until("booted")[1]
    for _ in range(3):
        server.get()
    assert [server.events.next()[0], server.events.next()] == ["booted", ["gone", first]]


def test_the_old_one_serves_on_while_the_new_one_cannot_boot(start, launcher):
    launcher.write(
        "app.py",
        """
        import os
        from events import tell
        if os.path.exists("broken"):
            tell("failed")
            raise LookupError("on purpose")
        def app(environ, start_response):
            start_response("200 OK", [])
            return [str(os.getpid()).encode()]
        """,
    )
    server = start("--max-requests", "3", "app:app", allowed=["on purpose", "exited with code 3", "could not boot", "failed to boot"])
    pid = server.get().body
    (launcher.directory / "broken").touch()
    server.get()
    server.get()
    server.events.take("failed", 2)
    for _ in range(5):
        assert server.get().body == pid
    (launcher.directory / "broken").unlink()
    assert processes.wait_gone(int(pid))
    assert server.get().body != pid


def test_ttou_finishes_what_is_in_flight(start):
    server = start("--workers", "2", "blocking:app", conf=CONF)
    server.events.take("booted", 2)
    # One after the other, so that each finds a worker that is idle.
    with server.connect() as one:
        one.request(target="/block")
        server.events.until("in")
        two = server.connect().request(target="/block")
        server.events.until("in")
        server.send_signal(signal.SIGTTOU)
        server.events.release(2)
        assert one.response().status == two.response().status == 200
        two.close()
    server.events.until("gone")
    assert server.get().status == 200
