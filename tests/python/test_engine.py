"""What the engine does with connections: reading, writing, waiting, ending."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import termios

import pytest
from harness import read_until

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HELLO = "def app(e, s):\n    s('200 OK', []); return [b'hello']\n"
ECHO = """
def app(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [b"%d;" % len(body)]
"""


def serve(start, app=HELLO, config=None, **settings):
    arbiter = start(app, config=config)
    arbiter.boot(settings=settings)
    return arbiter, arbiter.fork()


class stopped:
    """Nothing is read while it lasts: what is sent meanwhile is there all at once."""

    def __init__(self, worker):
        self.worker = worker

    def __enter__(self):
        os.kill(self.worker.pid, signal.SIGSTOP)
        tasks = [f"/proc/{self.worker.pid}/task/{task}/stat" for task in os.listdir(f"/proc/{self.worker.pid}/task")]
        self.worker.arbiter.wait_for(lambda: all(open(stat).read().rpartition(") ")[2][0] == "T" for stat in tasks))

    def __exit__(self, *_):
        os.kill(self.worker.pid, signal.SIGCONT)


def arrived(client):
    """Everything that was sent is in the other side's hands (SIOCOUTQ)."""
    return fcntl.ioctl(client, termios.TIOCOUTQ, b"1234") == bytes(4)


@pytest.mark.parametrize("kept", [False, True], ids=["fresh", "kept"])
@pytest.mark.parametrize("size", [32 * 1024, 64 * 1024])
def test_a_read_that_fills_the_buffer_is_followed_by_another(start, size, kept):
    """The edge is gone: whoever parks then never hears of the rest."""
    arbiter, worker = serve(start, ECHO)
    arbiter.listeners[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    client = arbiter.connect()
    for _ in range(2 if kept else 0):  # the second time it has been waited for
        client.sendall(REQUEST)
        read_until(client, b"0;")
    with stopped(worker):
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
        body = size - len(head % size)
        first = head % body
        client.sendall(first + b"x" * (size - len(first)) + REQUEST)
        arbiter.wait_for(lambda: arrived(client))
    assert b"\r\n\r\n%d;" % (size - len(first)) in read_until(client, b"\r\n\r\n0;")
