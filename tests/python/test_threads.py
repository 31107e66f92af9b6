"""Workers with several threads."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from harness import LIMIT, Response, read_all, read_until

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#: `/hold` waits until all are there that should be; `/` answers at once.
TOGETHER = """
import threading
barrier = threading.Barrier(4)
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/hold":
        barrier.wait(10)
    start_response("200 OK", [])
    return [f"{threading.current_thread().name} {environ['wsgi.multithread']}".encode()]
"""


def serve(start, app=TOGETHER, config=None, threads=4, **settings):
    arbiter = start(app, config=config)
    arbiter.boot(settings={"worker_class": "gthread", "threads": threads, **settings})
    return arbiter, arbiter.fork()


def ask(arbiter, path="/"):
    client = arbiter.connect()
    client.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path.encode())
    return client


def test_requests_that_block_run_at_the_same_time(start):
    arbiter, _ = serve(start)
    clients = [ask(arbiter, "/hold") for _ in range(4)]
    names = {Response(read_all(client)).body for client in clients}
    assert names == {b"rgunicorn-%d True" % number for number in range(4)}


def test_idle_connections_that_speak_at_once_are_all_served(start):
    arbiter, _ = serve(start)
    clients = [arbiter.connect() for _ in range(4)]
    for client in clients:
        client.sendall(REQUEST)
        read_until(client, b"True")
    for client in clients:
        client.sendall(b"GET /hold HTTP/1.0\r\n\r\n")
    assert len({Response(read_all(client)).body for client in clients}) == 4


def test_short_requests_stay_with_one_thread(start):
    arbiter, _ = serve(start)
    clients = [arbiter.connect() for _ in range(8)]
    names = []
    for _ in range(50):
        for client in clients:
            client.sendall(REQUEST)
        names += [read_until(client, b"True").rpartition(b"\r\n")[2] for client in clients]
    # Another one may lead after a hiccup of the machine.
    assert len(set(names[-8:])) <= 2
    leader = max(set(names), key=names.count)
    assert names.count(leader) > len(names) / 2


def test_thread_locals_last(start):
    arbiter, _ = serve(
        start,
        """
        import threading, time
        local = threading.local()
        def app(environ, start_response):
            local.count = getattr(local, "count", 0) + 1
            start_response("200 OK", [])
            return [b"%d" % local.count]
        """,
        threads=1,
    )
    assert [arbiter.get().body for _ in range(5)] == [b"1", b"2", b"3", b"4", b"5"]


def test_signals_are_handled_while_all_threads_are_busy(start):
    arbiter, worker = serve(
        start,
        "import threading\ndef app(e, s):\n    print('in', flush=True); threading.Event().wait()",
        config="import signal\ndef post_worker_init(w): signal.signal(signal.SIGUSR2, lambda *a: print('usr2', flush=True))\n"
        "def worker_int(worker): print('int', flush=True)",
        threads=2,
    )
    clients = [ask(arbiter), ask(arbiter)]
    arbiter.wait_for(lambda: arbiter.stdout().count("in\n") == 2)
    os.kill(worker.pid, signal.SIGUSR2)
    arbiter.wait_for(lambda: "usr2" in arbiter.stdout())
    os.kill(worker.pid, signal.SIGQUIT)
    worker.says("bye")
    assert worker.wait() == 0
    assert arbiter.stdout().endswith("usr2\nint\n")
    assert len(clients) == 2


def test_a_stop_waits_for_all_requests_and_no_idle_client(start):
    arbiter, worker = serve(start, keepalive=75, graceful_timeout=30)
    idle = arbiter.connect()
    idle.sendall(REQUEST)
    read_until(idle, b"True")
    held = [ask(arbiter, "/hold") for _ in range(3)]
    last = arbiter.connect()
    last.sendall(b"GET /hold HTTP/1.1\r\n")
    arbiter.get()
    worker.retire(drain=True)
    os.kill(worker.pid, signal.SIGTERM)
    last.sendall(b"Host: a\r\n\r\n")
    for client in (*held, last):
        assert Response(read_all(client)).status == 200
    worker.says("bye")
    assert worker.wait() == 0


def test_a_long_request_is_no_silence(start):
    arbiter, worker = serve(
        start,
        "import time\ndef app(e, s):\n    time.sleep(2.5); s('200 OK', []); return [b'x']",
        timeout=1,
        threads=2,
    )
    assert arbiter.get().status == 200
    worker.link.ours.setblocking(False)
    with pytest.raises(BlockingIOError):
        worker.link.ours.recv(100)


def test_a_gil_that_cannot_be_had_is_silence(start):
    arbiter, worker = serve(
        start,
        "import re\ndef holds_the_gil(): re.match('(a+)+$', 'a' * 60 + 'b')\ndef app(e, s): holds_the_gil()",
        timeout=1,
        threads=2,
    )
    client = ask(arbiter)
    worker.says("silent")
    assert "in holds_the_gil" in worker.stacks_text()
    del client


def test_hooks_and_counts_come_from_all_threads(start):
    arbiter, worker = serve(
        start,
        config="""
        import threading
        def pre_request(worker, req): print("pre", threading.current_thread().name, flush=True)
        def post_request(worker, req, environ, resp): print("post", worker.nr, resp.status, flush=True)
        """,
        max_requests=4,
        accesslog="access.log",
        access_log_format="%(U)s %(s)s",
    )
    clients = [ask(arbiter, "/hold") for _ in range(4)]
    for client in clients:
        assert Response(read_all(client)).status == 200
    worker.says("recycle")
    arbiter.wait_for(lambda: arbiter.stdout().count("post") == 4)
    lines = arbiter.stdout().splitlines()
    assert len({line for line in lines if line.startswith("pre")}) == 4
    assert arbiter.wait_for(lambda: arbiter.file("access.log").count("\n") == 4)
    assert arbiter.file("access.log") == "/hold 200\n" * 4
    assert arbiter.get().status == 200


def test_a_thousand_requests_from_many_clients(start):
    """Mixed: short ones, ones that block, ones whose client is slow; nobody is forgotten."""
    arbiter, _ = serve(
        start,
        """
        import time
        def app(environ, start_response):
            time.sleep(float(environ["QUERY_STRING"]))
            body = environ["wsgi.input"].read()
            start_response("200 OK", [])
            return [environ["PATH_INFO"].encode() + body]
        """,
    )
    failures = []

    def client(number):
        try:
            connection = arbiter.connect()
            for turn in range(50):
                delay = "0.003" if (turn + number) % 5 == 0 else "0"
                head = f"POST /{number}/{turn}?{delay} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo"
                connection.sendall(head.encode())
                if turn % 7 == 0:
                    time.sleep(0.001)
                connection.sendall(b"dy")
                read_until(connection, f"\r\n\r\n/{number}/{turn}body".encode())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT * 2)
    assert not failures, failures


@pytest.mark.parametrize("head", [True, False], ids=["before the head", "after it"])
def test_one_request_times_out_and_the_others_go_on(start, head):
    arbiter, _ = serve(
        start,
        """
        import time
        def stuck_here():
            while True:
                time.sleep(0.01)
        def app(environ, start_response):
            try:
                if environ["PATH_INFO"] == "/before":
                    stuck_here()
                start_response("200 OK", [])
                if environ["PATH_INFO"] == "/after":
                    yield b"some"
                    stuck_here()
                yield b"x"
            except BaseException as error:
                print(type(error).__name__, flush=True)
                raise
        """,
        request_timeout=1,
        threads=2,
        accesslog="access.log",
        access_log_format="%(U)s %(s)s",
    )
    client = ask(arbiter, "/before" if head else "/after")
    assert arbiter.get().status == 200
    raw = read_all(client)
    if head:
        assert Response(raw).status == 504
    else:
        assert raw.endswith(b"some\r\n"), raw
    arbiter.wait_for(lambda: "RequestTimeout" in arbiter.stdout())
    arbiter.wait_for(lambda: "REQUEST TIMEOUT" in arbiter.output() and "in stuck_here" in arbiter.output())
    assert f"GET {'/before' if head else '/after'} has taken 1." in arbiter.output()
    # The thread serves again.
    assert [arbiter.get().status for _ in range(4)] == [200] * 4
    arbiter.wait_for(lambda: ("/before 504" if head else "/after 200") in arbiter.file("access.log"))


def test_threads_that_python_cannot_reach_are_lost(start):
    """All of them: then the worker is as good as silent."""
    arbiter, worker = serve(
        start,
        "import threading\ndef app(e, s): threading.Lock().acquire() and lock.acquire()\nlock = threading.Lock(); lock.acquire()",
        request_timeout=1,
        threads=2,
    )
    clients = [ask(arbiter), ask(arbiter)]
    assert [Response(read_all(client)).status for client in clients] == [504, 504]
    worker.says("silent")
    os.kill(worker.pid, signal.SIGABRT)
    worker.says("bye")
    assert worker.wait() == 1


def test_threads_that_listen_anew_at_once_are_not_deaf_afterwards(start):
    """Each connection puts its worker to the end of the listener's queue; here two threads do so at the same moment."""
    arbiter, _ = serve(
        start,
        """
        import time
        def app(environ, start_response):
            time.sleep(0.003)
            start_response("200 OK", [("Content-Length", "2")])
            return [b"ok"]
        """,
    )
    until = time.monotonic() + 2.5
    late = []

    def client():
        while time.monotonic() < until and not late:
            with arbiter.connect() as connection:
                connection.settimeout(5)
                try:
                    connection.sendall(REQUEST)
                    read_until(connection, b"ok")
                except OSError as error:
                    late.append(error)

    clients = [threading.Thread(target=client) for _ in range(8)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    assert not late


def test_a_place_that_becomes_free_is_taken_at_once(start):
    arbiter, _ = serve(
        start,
        """
        import time
        def app(environ, start_response):
            time.sleep(0.03)
            start_response("200 OK", [])
            return [b"ok"]
        """,
        worker_connections=2,
    )
    began = time.monotonic()
    clients = [ask(arbiter) for _ in range(8)]
    for client in clients:
        assert Response(read_all(client)).body == b"ok"
    # Four rounds of 30 ms; it looks around unasked once a second.
    assert time.monotonic() - began < 0.9


def test_what_a_thread_leaves_to_others_is_taken_at_once(start):
    """After a turn's time a connection with many requests goes to the end of the list, and its thread to sleep."""
    arbiter, _ = serve(
        start,
        """
        import time
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/slow":
                time.sleep(0.03)
            else:
                until = time.perf_counter() + 0.0002
                while time.perf_counter() < until:
                    pass
            start_response("200 OK", [("Content-Length", "2")])
            return [b"ok"]
        """,
        threads=2,
    )
    client = arbiter.connect()
    for _ in range(3):
        began = time.monotonic()
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" + 40 * REQUEST)
        data = b""
        while data.count(b"\r\n\r\nok") < 41:
            data += client.recv(1 << 16)
        assert time.monotonic() - began < 0.8


def test_no_thread_waits_for_the_gil_with_what_another_worker_could_serve(start):
    """C code that holds the GIL: one more thread finds that out, and what comes then goes to the other worker."""
    arbiter = start(
        """
        import ctypes, os
        library = ctypes.PyDLL(None)
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/hold":
                print("held", flush=True)
                for _ in range(3):
                    library.usleep(990000)
            start_response("200 OK", [("Content-Length", "5"), ("X-Pid", str(os.getpid()))])
            return [b"hello"]
        """
    )
    arbiter.boot(settings={"worker_class": "gthread", "threads": 4, "workers": 2, "keepalive": 30})
    workers = [arbiter.fork() for _ in range(2)]
    owned = {worker.pid: [] for worker in workers}
    while min(len(clients) for clients in owned.values()) < 6:
        client = arbiter.connect()
        client.sendall(REQUEST)
        owned[int(Response(read_until(client, b"hello")).headers["x-pid"])].append(client)
    stuck, *others = owned[workers[0].pid][:6]
    stuck.sendall(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
    arbiter.wait_for(lambda: "held" in arbiter.stdout())
    began = time.monotonic()
    for client in others:
        client.sendall(REQUEST)
        time.sleep(0.02)
    late = 0
    for client in others:
        client.settimeout(max(0.001, began + 0.8 - time.monotonic()))
        try:
            read_until(client, b"hello")
        except TimeoutError:
            late += 1
    assert late <= 1
