"""What the engine does with connections: reading, writing, waiting, ending."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import termios
import time

import pytest
from harness import LIMIT, Response, read_all, read_until

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


def small(arbiter):
    """A client whose socket takes little at once."""
    listener = arbiter.listeners[0]
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    client = socket.socket(listener.family)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(LIMIT)
    client.connect(listener.getsockname())
    return client


@pytest.mark.parametrize("look", ["getpeername()", "__class__.__name__"])
@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_a_response_beside_a_socket_that_was_looked_at(start, look, kind):
    arbiter, _ = serve(
        start,
        f"""
        import copy, tempfile
        def app(environ, start_response):
            environ["gunicorn.socket"].{look}
            start_response("200 OK", [("Content-Length", "3000000")])
            if {kind!r} == "bytes":
                return [b"x" * 3000000]
            file = tempfile.TemporaryFile()
            file.write(b"x" * 3000000)
            file.seek(0)
            return environ["wsgi.file_wrapper"](file)
        """,
    )
    client = small(arbiter)
    client.sendall(REQUEST)
    head = read_until(client, b"\r\n\r\n", 1)
    body = b""
    while len(body) < 3000000 and (piece := client.recv(1 << 16)):
        body += piece
    assert len(body) == 3000000
    # Asking a class or a missing protocol method is no use of the socket.
    assert (b"keep-alive" in head) == (look != "getpeername()")


def test_an_upload_that_the_app_does_not_read_loses_no_big_answer(start):
    arbiter, _ = serve(start, "def app(e, s):\n    s('200 OK', []); return [b'x' * 3000000]")
    client = small(arbiter)
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n")
    while select.select([], [client], [], 0.2)[1]:
        client.send(b"z" * 65536)
    answer = b""
    while piece := client.recv(1 << 16):
        answer += piece
    assert answer.endswith(b"x" * 3000000)


@pytest.mark.parametrize("direction", ["body", "response"])
def test_signals_reach_a_thread_that_waits_for_its_client(start, direction):
    """It ends at once: the app gets what the handler raises."""
    arbiter, worker = serve(
        start,
        """
        def app(environ, start_response):
            print("entered", flush=True)
            try:
                if environ["PATH_INFO"] == "/body":
                    environ["wsgi.input"].read()
                else:
                    write = start_response("200 OK", [])
                    while True:
                        write(b"x" * 100000)
            except BaseException as error:
                print(type(error).__name__, flush=True)
                raise
        """,
    )
    client = arbiter.connect()
    client.sendall(b"POST /%s HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" % direction.encode())
    arbiter.wait_for(arbiter.stdout)
    stuck = f"/proc/{worker.pid}/wchan"
    arbiter.wait_for(lambda: "poll" in open(stuck).read())
    os.kill(worker.pid, signal.SIGQUIT)
    worker.says("bye")
    assert worker.wait() == 0
    assert arbiter.stdout() == "entered\nSystemExit\n"


def test_one_thread_reads_the_body_while_another_answers(start):
    arbiter, worker = serve(
        start,
        """
        import queue, threading
        def app(environ, start_response):
            pieces = queue.Queue()
            def read():
                while piece := environ["wsgi.input"].read(10):
                    pieces.put(piece)
                pieces.put(b"")
            threading.Thread(target=read).start()
            start_response("200 OK", [])
            return iter(pieces.get, b"")
        """,
    )
    client = arbiter.connect()
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n")
    for number in range(20):
        client.sendall(b"%010d" % number)
        read_until(client, b"%010d\r\n" % number)


def test_a_long_line_in_many_pieces(start):
    arbiter, worker = serve(
        start,
        "def app(e, s):\n    lines = list(e['wsgi.input']); s('200 OK', [])\n"
        "    return [repr([len(line) for line in lines]).encode()]",
    )
    body = b"y" * 3000000 + b"\n" + b"z" * 100 + b"\n" + b"end"
    client = arbiter.connect()
    client.sendall(b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
    for at in range(0, len(body), 30000):
        client.sendall(body[at : at + 30000])
    assert Response(read_all(client)).body == b"[3000001, 101, 3]"


def test_a_bad_chunk_that_the_app_finds_is_answered(start):
    """The client is still sending: a close without reading would be a reset that destroys the answer."""
    arbiter, _ = serve(start, ECHO)
    good = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    client = arbiter.connect()
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + good * 20 + b"ZZ\r\n" + good * 40)
    client.shutdown(socket.SHUT_WR)
    assert Response(read_all(client)).status == 400


def resident(pid):
    """Kilobytes of memory."""
    return next(int(line.split()[1]) for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS"))


def test_names_that_a_client_invents_cost_nothing_for_long(start):
    arbiter, worker = serve(start)
    client = arbiter.connect()

    def ask(first, count):
        for request in range(first, first + count):
            names = b"".join(b"X-%d-%d-%s: 1\r\n" % (request, each, b"q" * 200) for each in range(60))
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n" + names + b"\r\n")
            read_until(client, b"hello")

    ask(0, 100)
    before = resident(worker.pid)
    ask(100, 600)
    assert resident(worker.pid) - before < 2000  # as many names as were sent take 10 MB


def test_repeated_fields_are_joined(start):
    arbiter, _ = serve(
        start,
        "def app(e, s):\n    s('200 OK', []); return [repr([e['HTTP_X_A'], e['HTTP_COOKIE'], e['HTTP_B']]).encode()]",
    )
    fields = ["X-A: 1", "Cookie: a=b", "X-a: 2", "B: x", "Cookie: c=d", "x-A: \xe9"]
    assert arbiter.get("/", *fields).body == repr(["1,2,\xe9", "a=b,c=d", "x"]).encode()


def test_a_head_that_is_refused_replaces_none(start):
    arbiter, _ = serve(
        start,
        """
        def app(environ, start_response):
            start_response("200 OK", [("X-A", "1")])
            for status, headers in [("500 Bad\\r\\nSet-Cookie: evil=1", []), ("500 Bad", [("X-B", "2\\r\\nX-C: 3")])]:
                try:
                    start_response(status, headers, (ValueError, ValueError("x"), None))
                except ValueError:
                    pass
            return [b"body"]
        """,
    )
    response = arbiter.get()
    assert response.line == "HTTP/1.1 200 OK" and response.headers["x-a"] == "1"
    assert b"evil" not in response.raw and b"X-B" not in response.raw and response.body == b"body"


def test_a_pipelining_client_takes_turns(start):
    arbiter, worker = serve(
        start,
        "import time\ndef app(e, s):\n    print(e['PATH_INFO'], flush=True); time.sleep(0.005)\n"
        "    s('200 OK', []); return [b'hello']",
    )
    many, one = arbiter.connect(), arbiter.connect()
    for client in (many, one):
        client.sendall(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
        read_until(client, b"hello")
    with stopped(worker):
        many.sendall(b"GET /many HTTP/1.1\r\nHost: a\r\n\r\n" * 10)
        one.sendall(b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n")
        late = arbiter.connect()
        late.sendall(b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
    for client in (many, one, late):
        read_until(client, b"hello")
    arbiter.wait_for(lambda: arbiter.stdout().count("/many") == 10)
    order = arbiter.stdout().split()[2:]
    assert max(order.index("/one"), order.index("/late")) <= 4, order


def test_a_half_closed_client_gets_all_its_answers(start):
    arbiter, worker = serve(start)
    client = arbiter.connect()
    for _ in range(2):
        client.sendall(REQUEST)
        read_until(client, b"hello")
    with stopped(worker):
        client.sendall(REQUEST * 3)
        client.shutdown(socket.SHUT_WR)
    assert read_all(client).count(b"hello") == 3


def test_without_descriptors_one_line_is_logged_and_nothing_is_lost(start):
    arbiter, _ = serve(
        start,
        """
        import os, resource
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/none":
                used = max(map(int, os.listdir("/proc/self/fd")))
                resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
            elif environ["PATH_INFO"] == "/some":
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            start_response("200 OK", [])
            return [b"hello"]
        """,
        keepalive=10,
    )
    client = arbiter.connect()
    for episode in (1, 2):
        client.sendall(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
        read_until(client, b"hello")
        others = [arbiter.connect() for _ in range(3)]
        for other in others:
            other.sendall(REQUEST)
        arbiter.wait_for(lambda: arbiter.output().count("cannot accept connections") == episode)
        time.sleep(0.35)  # three more tries
        client.sendall(b"GET /some HTTP/1.1\r\nHost: a\r\n\r\n")
        read_until(client, b"hello")
        for other in others:
            read_until(other, b"hello")
            other.close()
        assert arbiter.output().count("cannot accept connections") == episode


def test_a_listener_that_is_shut_down_stops_no_other(start):
    arbiter = start()
    arbiter.expect("hello")
    arbiter.load()
    arbiter.configure()
    arbiter.expect("started")
    for _ in range(3):
        arbiter.listen()
    arbiter.bound()
    worker = arbiter.fork()
    first, second, third = arbiter.listeners
    second.shutdown(socket.SHUT_RDWR)
    for listener in (first, third):
        with socket.create_connection(listener.getsockname(), LIMIT) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert read_all(client).endswith(b"hello")
    with open(f"/proc/{worker.pid}/stat") as stat:
        ticks = lambda: sum(map(int, (stat.seek(0), stat.read())[1].rpartition(") ")[2].split()[11:13]))  # noqa: E731
        before = ticks()
        time.sleep(0.5)
        assert ticks() - before < 20, "it spins"


def test_a_big_body_is_kept_once_for_all_who_read_it_slowly(start):
    arbiter, worker = serve(start, "BODY = b'x' * 30000000\ndef app(e, s):\n    s('200 OK', []); return [BODY]")
    assert len(arbiter.get().body) == 30000000
    before = resident(worker.pid)
    clients = [small(arbiter) for _ in range(10)]
    for client in clients:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    for client in clients:
        read_until(client, b"\r\n\r\n", 1)
    assert resident(worker.pid) - before < 60000
    assert len(read_all(clients[0])) == 30000000


def test_bodies_that_are_kept_have_a_budget(start):
    """Above it they are read by the app, as they come."""
    arbiter, worker = serve(
        start,
        "def app(e, s):\n    print('entered', flush=True)\n    n = len(e['wsgi.input'].read())\n"
        "    s('200 OK', []); return [b'%d' % n]",
    )
    clients = []
    while not arbiter.stdout():
        assert len(clients) < 70
        clients.append(arbiter.connect())
        clients[-1].sendall(b"POST / HTTP/1.0\r\nContent-Length: 1000001\r\n\r\n" + b"x" * 1000000)
        arbiter.wait_for(lambda: arrived(clients[-1]))
    assert resident(worker.pid) < 110000
    for client in clients[::-1]:
        client.sendall(b"x")
        assert read_all(client).endswith(b"\r\n1000001")


def test_a_stream_to_a_slow_client_is_not_kept_whole(start):
    arbiter = start(
        """
        def app(environ, start_response):
            start_response("200 OK", [])
            for _ in range(1000):
                yield b"x" * 65536
        """
    )
    arbiter.boot(unix=True)
    worker = arbiter.fork()
    arbiter.get(method="HEAD")
    before = resident(worker.pid)
    client = arbiter.connect()
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    got = 0
    while got < 60_000_000:
        # Slower than the app, so that something is kept all the time.
        time.sleep(0.0005)
        got += len(client.recv(1 << 16))
    assert resident(worker.pid) - before < 16000
    got += len(read_all(client))
    assert got > 65_536_000
