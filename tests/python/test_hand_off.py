"""Nobody waits behind another while a worker is idle: connections go from workers that are stuck to those that are not."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections import Counter

import pytest
from harness import LIMIT, Response, read_all, read_until

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#: `/stuck` says so and waits for the file `go`; others say who they are, and who served them.
APP = """
import os, time
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/stuck":
        print("stuck", os.getpid(), flush=True)
        while not os.path.exists("go"):
            time.sleep(0.002)
    elif path == "/once":
        with open("served.txt", "a") as file:
            file.write(environ["QUERY_STRING"] + "\\n")
    start_response("200 OK", [("X-Pid", str(os.getpid())), ("X-Peer", environ.get("REMOTE_PORT", "-"))])
    return [environ["wsgi.input"].read() or b"hello"]
"""


def serve(start, workers=2, app=APP, config=None, **settings):
    arbiter = start(app, config=config)
    arbiter.boot(settings={"workers": workers, "keepalive": 30, "timeout": 0, **settings})
    return arbiter, [arbiter.fork() for _ in range(workers)]


class Client:
    """A connection that is kept."""

    def __init__(self, arbiter):
        self.socket = arbiter.connect()

    def ask(self, path="/"):
        self.socket.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
        return self

    def answer(self):
        """The response, and who gave it."""
        response = Response(read_until(self.socket, b"hello"))
        assert response.status == 200
        assert response.headers["x-peer"] == str(self.socket.getsockname()[1])
        return int(response.headers["x-pid"])


def kept_by(arbiter, pid, count=1):
    """Connections that this worker keeps; every other one has as many, so that none is moved for the sake of balance."""
    clients = []
    for _ in range(500):
        clients.append(Client(arbiter))
        owned = {worker.pid: [] for worker in arbiter.workers}
        for client in clients:
            owned[client.ask().answer()].append(client)
        for client in [client for kept in owned.values() for client in kept[count:]]:
            clients.remove(client)
            client.socket.close()
        if len(clients) == count * len(owned):
            arbiter.others = clients
            return owned[pid]
    raise AssertionError("the worker is given no connections")


def stick(arbiter, count=1):
    """Has so many workers stuck; their pids."""
    clients = []
    for number in range(1, count + 1):
        clients.append(Client(arbiter).ask("/stuck"))
        arbiter.wait_for(lambda n=number: arbiter.stdout().count("stuck") == n)
    return clients, [int(line.split()[1]) for line in arbiter.stdout().splitlines()]


def go(arbiter):
    (arbiter.directory / "go").touch()


CLASSES = pytest.mark.parametrize(
    "settings", [{}, {"worker_class": "gthread", "threads": 1}], ids=["sync", "gthread"]
)


@CLASSES
def test_clients_of_a_stuck_worker_are_served_by_others(start, settings):
    arbiter, workers = serve(start, **settings)
    for worker in workers:
        clients = kept_by(arbiter, worker.pid, 3)
        break
    stuck = clients[0].ask("/stuck")
    arbiter.wait_for(lambda: "stuck" in arbiter.stdout())
    for _ in range(3):
        for client in clients[1:]:
            assert client.ask().answer() == workers[1].pid
    go(arbiter)
    assert stuck.answer() == workers[0].pid


def test_half_a_head_goes_along(start):
    arbiter, workers = serve(start)
    first, second = kept_by(arbiter, workers[0].pid, 2)
    second.socket.sendall(b"GET /?begun HTTP/1.1\r\nHo")
    first.ask().answer()  # the other one's bytes were read by then, or will be
    stuck = first.ask("/stuck")
    arbiter.wait_for(lambda: "stuck" in arbiter.stdout())
    second.socket.sendall(b"st: a\r\n\r\n")
    assert second.answer() == workers[1].pid
    go(arbiter)
    stuck.answer()


def test_pipelined_requests_stay_in_order(start):
    arbiter, workers = serve(start)
    first, second = kept_by(arbiter, workers[0].pid, 2)
    stuck = first.ask("/stuck")
    arbiter.wait_for(lambda: "stuck" in arbiter.stdout())
    body = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n%02d"
    second.socket.sendall(b"".join(body % number for number in range(20)) + REQUEST)
    answers = read_until(second.socket, b"hello")
    assert [part[-2:] for part in answers.split(b"HTTP/1.1 200 OK")[1:-1]] == [b"%02d" % n for n in range(20)]
    go(arbiter)
    stuck.answer()


@pytest.mark.parametrize("workers", [2, 4])
def test_all_speak_at_once_and_none_waits(start, workers):
    """Each worker keeps several clients; all but one worker get stuck; everybody else's clients are served at once."""
    arbiter, _ = serve(start, workers)
    clients = [Client(arbiter) for _ in range(workers * 3)]
    for client in clients:
        client.ask().answer()
    stuck, pids = stick(arbiter, workers - 1)
    for client in clients:
        client.ask()
    assert {client.answer() for client in clients}.isdisjoint(pids)
    go(arbiter)
    for client in stuck:
        client.answer()


def test_with_all_stuck_they_wait_for_the_first_that_is_not(start):
    arbiter, workers = serve(start)
    clients = [Client(arbiter) for _ in range(6)]
    for client in clients:
        client.ask().answer()
    stuck, _ = stick(arbiter, 2)
    for client in clients:
        client.ask()
    late = Client(arbiter).ask()
    readable, _, _ = select.select([client.socket for client in (*clients, late)], [], [], 0.2)
    assert not readable
    go(arbiter)
    for client in (*clients, late, *stuck):
        client.answer()


@pytest.mark.parametrize("fate", ["stuck", "killed", "retiring"])
def test_a_lone_connection_never_waits_while_a_worker_is_idle(start, fate):
    """Whatever becomes of the worker that was woken for it."""
    arbiter, workers = serve(start, 3)
    stuck = None
    for turn in range(30):
        if fate == "stuck" and turn == 0:
            stuck, _ = stick(arbiter)
        client = Client(arbiter)
        if fate == "killed" and turn in (5, 15):
            victim = arbiter.workers[-1]
            os.kill(victim.pid, signal.SIGSTOP)
            client.ask()
            os.kill(victim.pid, signal.SIGKILL)
            victim.wait()
            # It may have been in the dead one's hands: then it is closed, and never silent.
            try:
                data = client.socket.recv(4096)
            except ConnectionResetError:
                continue
            assert data == b"" or data.endswith(b"hello")
            continue
        if fate == "retiring" and turn in (5, 15):
            workers.pop().retire(heirs=True)
        began = time.monotonic()
        client.ask().answer()
        # A blind look comes once a second; nobody is to need one twice.
        assert time.monotonic() - began < 2.5
    if stuck:
        go(arbiter)
        stuck[0].answer()


def test_a_retiring_worker_passes_its_idle_connections_on(start):
    arbiter, workers = serve(start)
    clients = kept_by(arbiter, workers[0].pid, 5)
    workers[0].retire(heirs=True)
    workers[0].says("bye")
    assert workers[0].wait() == 0
    for _ in range(2):
        for client in clients:
            assert client.ask().answer() == workers[1].pid


def test_a_request_at_a_retiring_worker_closes_no_connection(start):
    arbiter, workers = serve(start)
    clients = kept_by(arbiter, workers[0].pid, 2)
    clients[0].ask("/stuck")
    arbiter.wait_for(lambda: "stuck" in arbiter.stdout())
    workers[0].retire(heirs=True)
    os.kill(workers[0].pid, signal.SIGTERM)
    for _ in range(3):
        clients[1].ask().answer()
    go(arbiter)
    assert clients[0].answer() == workers[0].pid
    assert workers[0].wait() == 0
    assert clients[0].ask().answer() == workers[1].pid


def test_the_last_worker_lets_them_linger(start):
    arbiter, workers = serve(start, 1, keepalive=2)
    client = Client(arbiter)
    client.ask().answer()
    workers[0].retire(drain=True)
    time.sleep(0.1)  # the order may come before or after the next request
    client.ask().answer()
    assert workers[0].wait() == 0


def test_the_whole_stop_serves_what_is_on_its_way(start):
    arbiter, workers = serve(start)
    clients = [Client(arbiter) for _ in range(6)]
    for client in clients:
        client.ask().answer()
    stuck, _ = stick(arbiter, 2)
    for client in clients:
        client.ask()
    for worker in workers:
        worker.retire(drain=True)
    go(arbiter)
    for client in (*clients, *stuck):
        client.answer()
    for worker in workers:
        assert worker.wait() == 0


def test_a_fork_of_the_app_keeps_nothing_open(start):
    """The poll set is left before the close: a copy in a child would report for ever."""
    arbiter, workers = serve(
        start,
        app="import os, time\n" + APP.replace('print("stuck"', 'os.fork() or (time.sleep(60), os._exit(0)); print("stuck"'),
    )
    clients = kept_by(arbiter, workers[0].pid, 3)
    clients[0].ask("/stuck")
    arbiter.wait_for(lambda: "stuck" in arbiter.stdout())
    children = [int(pid) for pid in open(f"/proc/{workers[0].pid}/task/{workers[0].pid}/children").read().split()]
    try:
        for client in clients[1:]:
            assert client.ask().answer() == workers[1].pid
        go(arbiter)
        clients[0].answer()
        used = lambda: sum(map(int, open(f"/proc/{workers[0].pid}/stat").read().rpartition(") ")[2].split()[11:13]))  # noqa: E731
        before = used()
        time.sleep(0.5)
        assert used() - before < 20, "it spins"
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)


@CLASSES
@pytest.mark.parametrize("killed", [False, True], ids=["", "kill"])
def test_never_twice_and_lost_only_by_a_kill(start, settings, killed):
    """Clients with kept connections and an app that is stuck now and then; workers are killed in between."""
    arbiter, workers = serve(
        start,
        4,
        app="""
        import os, random, time
        def app(environ, start_response):
            with open("served.txt", "a") as file:
                file.write(environ["QUERY_STRING"] + "\\n")
            if random.random() < 0.1:
                time.sleep(0.01)
            start_response("200 OK", [])
            return [environ["QUERY_STRING"].encode()]
        """,
        **settings,
    )
    stop = time.monotonic() + 3
    answered: Counter[str] = Counter()
    broken: list[str] = []
    failures: list[BaseException] = []

    def client(number):
        try:
            connection, turn = arbiter.connect(), 0
            while time.monotonic() < stop:
                turn += 1
                name = f"{number}-{turn}"
                try:
                    connection.sendall(f"GET /?{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                    read_until(connection, f"\r\n\r\n{name}".encode())
                    answered[name] += 1
                except (ConnectionError, AssertionError):
                    broken.append(name)
                    connection.close()
                    connection = arbiter.connect()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    while killed and time.monotonic() < stop - 0.5:
        victim = arbiter.workers[0]
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
        arbiter.fork()
        time.sleep(0.2)
    for thread in threads:
        thread.join(LIMIT * 2)
    assert not failures, failures
    served = Counter(arbiter.file("served.txt").split())
    assert max(served.values()) == 1, "served twice"
    assert set(answered) <= set(served)
    assert killed or not broken, broken
    assert len(answered) > 500


def spread(clients):
    return Counter(client.ask().answer() for client in clients)


@pytest.mark.parametrize("workers", [2, 4, 16])
def test_connections_spread(start, workers):
    """Within 20 % where there are more of them than workers; every worker has one where there are as many."""
    arbiter, _ = serve(start, workers)
    clients = []
    for _ in range(workers * 10):
        clients.append(Client(arbiter))
        clients[-1].ask().answer()
    # The first ones may have come before the last worker was there; that is made up for when it is.
    even = lambda counts: len(counts) == workers and 8 <= min(counts.values()) and max(counts.values()) <= 12  # noqa: E731
    arbiter.wait_for(lambda: even(spread(clients)), "connections are not spread")


@pytest.mark.parametrize("workers", [2, 4, 16])
def test_every_worker_has_one_where_there_are_as_many(start, workers):
    arbiter, _ = serve(start, workers)
    clients = [Client(arbiter) for _ in range(workers)]
    arbiter.wait_for(lambda: len(spread(clients)) == workers, "a worker has no connection")


def test_unix_sockets_are_handed_off_too(start):
    arbiter = start(APP)
    arbiter.boot(settings={"workers": 2, "keepalive": 30}, unix=True)
    workers = [arbiter.fork(), arbiter.fork()]
    clients, others = [], []
    for _ in range(50):
        client = arbiter.connect()
        client.sendall(REQUEST)
        first = Response(read_until(client, b"hello")).headers["x-pid"] == str(workers[0].pid)
        # All stay open: they are spread.
        (clients if first else others).append(client)
    clients[0].sendall(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
    arbiter.wait_for(lambda: "stuck" in arbiter.stdout())
    clients[1].sendall(REQUEST)
    assert Response(read_until(clients[1], b"hello")).headers["x-pid"] == str(workers[1].pid)
    go(arbiter)
    read_until(clients[0], b"hello")
    with socket.socket(socket.AF_UNIX) as last:
        last.connect(arbiter.listeners[0].getsockname())
        last.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert read_all(last).endswith(b"hello")


@pytest.mark.parametrize("what", ["connections", "descriptors"])
def test_a_worker_without_room_leaves_what_waits_to_others_and_sleeps(start, what):
    app = APP + """
import resource
def fill(environ):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if environ["PATH_INFO"] == "/fill":
        used = max(map(int, os.listdir("/proc/self/fd"))) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
        held = []
        try:
            while True:
                held.append(os.dup(0))
        except OSError:
            fill.held = held
    elif environ["PATH_INFO"] == "/empty":
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
inner = app
def app(environ, start_response):
    fill(environ)
    return inner(environ, start_response)
"""
    limit = 4 if what == "connections" else 100
    arbiter, (first, second) = serve(start, app=app, worker_connections=limit)
    clients = kept_by(arbiter, first.pid, 3)
    others = [client for client in arbiter.others if client not in clients]
    if what == "descriptors":
        assert others[0].ask("/fill").answer() == second.pid
    clients[0].ask("/stuck")
    arbiter.wait_for(lambda: "stuck" in arbiter.stdout())
    # The first of them may find the last place; the others wait.
    for client in clients[1:]:
        client.ask()
    time.sleep(0.1)
    before = ticks(second.pid)
    time.sleep(0.5)
    assert ticks(second.pid) - before < 20, "it spins"
    if what == "descriptors":
        assert others[0].ask("/empty").answer() == second.pid
    else:
        others[0].socket.close()
    assert {client.answer() for client in clients[1:]} == {second.pid}
    go(arbiter)


def ticks(pid):
    """Of CPU time, 10 ms each."""
    with open(f"/proc/{pid}/stat") as stat:
        return sum(map(int, stat.read().rpartition(") ")[2].split()[11:13]))
