"""Kept connections outlive the workers that have them: no client sees a close or a reset when a worker leaves or is stuck."""

import os
import signal

import pytest

from support import processes
from support.ours import connections

pytestmark = pytest.mark.only("ours")

BOOTED = "from events import tell\ndef post_worker_init(worker): tell('booted')\n"
CLASSES = pytest.mark.parametrize("flags", [[], ["--threads", "2"]], ids=["sync", "gthread"])


def workers(server):
    return sorted(pid for pid in server.family() if "worker" in processes.command_line(pid))


def wait_for(condition):
    assert processes.wait_until(condition), "it did not come about"


def kept(server, count=8):
    """Connections that have had a request each."""
    connections = [server.connect() for _ in range(count)]
    for connection in connections:
        ask(connection)
    return connections


def ask(connection):
    """A request on a connection that stays: who answered."""
    response = connection.request().response()
    assert response.status == 200 and response.persistent
    return int(response.body)


def close(*connections):
    for connection in connections:
        connection.close()


@CLASSES
@pytest.mark.parametrize("surge", ["1", "all"])
def test_a_reload_closes_none(start, flags, surge):
    server = start("--workers", "2", "--keep-alive", "60", "--reload-surge", surge, *flags, "blocking:app")
    clients = kept(server)
    for count in (1, 2):
        before = workers(server)
        server.send_signal(signal.SIGHUP)
        server.stderr.find(r"Reloaded: generation \d+ serves", count)
        wait_for(lambda: not set(before) & set(workers(server)))  # noqa: B023
        assert not {ask(client) for client in clients} & set(before)
    close(*clients)


@CLASSES
def test_fewer_workers_close_none(start, flags):
    server = start("--workers", "3", "--keep-alive", "60", *flags, "blocking:app", conf=BOOTED)
    server.events.take("booted", 3)
    clients = kept(server, 12)
    for left in (2, 1):
        server.send_signal(signal.SIGTTOU)
        wait_for(lambda: len(workers(server)) == left)  # noqa: B023
        assert {ask(client) for client in clients} <= set(workers(server))
    close(*clients)


@CLASSES
def test_renewed_workers_close_none(start, flags):
    server = start("--workers", "2", "--max-requests", "15", "--keep-alive", "60", *flags, "blocking:app")
    clients = kept(server, 6)
    seen = set()
    while len(seen) < 8:
        seen |= {ask(client) for client in clients}
    close(*clients)


@CLASSES
def test_clients_of_a_stuck_worker_are_served(start, flags):
    server = start("--workers", "2", "--keep-alive", "60", *flags, "blocking:app", conf=BOOTED)
    server.events.take("booted", 2)
    clients = kept(server)
    # All threads of one worker; of the other one there is one left at least.
    stuck, pids = [], []
    while not pids or pids.count(pids[-1]) < (2 if flags else 1):
        stuck.append(server.connect().request(target="/block"))
        pids.append(server.events.until("in")[1])
    for _ in range(3):
        for client in clients:
            assert ask(client) != pids[-1]
    server.events.release(len(stuck))
    assert [int(connection.response().body) for connection in stuck] == pids
    close(*stuck, *clients)


def test_a_stuck_worker_that_has_to_leave_keeps_nobody(start):
    """Its clients go to the next generation while it is still in its last request."""
    server = start("--keep-alive", "60", "blocking:app")
    clients = kept(server)
    last = server.connect().request(target="/block")
    old = server.events.until("in")[1]
    server.send_signal(signal.SIGHUP)
    server.stderr.find(r"Reloaded: generation \d+ serves")
    assert old not in {ask(client) for client in clients}
    assert processes.alive(old)
    server.events.release()
    assert int(last.response().body) == old
    assert processes.wait_gone(old)
    assert ask(last) != old
    close(last, *clients)


def test_a_stuck_worker_opens_its_logs_again(start, launcher):
    """The line of the request that it is in goes to the new file."""
    server = start("--access-logfile", "access.log", "blocking:app")
    connection = server.connect().request(target="/block")
    pid = server.events.until("in")[1]
    log = launcher.directory / "access.log"
    log.rename(launcher.directory / "old.log")
    server.send_signal(signal.SIGUSR1)
    wait_for(lambda: log.exists() and str(log) in open_files(pid))
    server.events.release()
    assert connection.response().status == 200
    connection.close()
    wait_for(lambda: "GET /block" in log.read_text())
    assert (launcher.directory / "old.log").read_text() == ""


def test_a_killed_worker_loses_only_its_own(start):
    server = start("--workers", "3", "--keep-alive", "60", "blocking:app", conf=BOOTED, allowed=["was killed", "SIGKILL"])
    server.events.take("booted", 3)
    clients = kept(server, 12)
    for _ in range(3):
        owners = {client: ask(client) for client in clients}
        victim = owners[clients[0]]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in workers(server))  # noqa: B023
        lost = [client for client in clients if owners[client] == victim]
        for client in clients:
            if client not in lost:
                ask(client)
        close(*lost)
        clients = [client for client in clients if client not in lost] + kept(server, len(lost))
    close(*clients)


def test_the_stop_waits_for_no_idle_client(start):
    server = start("--threads", "2", "--keep-alive", "3600", "blocking:app")
    clients = kept(server)
    held = server.connect().request(target="/block")
    server.events.until("in")
    server.send_signal(signal.SIGTERM)
    server.events.release()
    assert held.response().status == 200
    assert server.wait() == 0
    close(held, *clients)


def test_what_was_passed_on_is_answered_beside_a_new_server(start):
    """Connections that nobody had time for wait between the workers; those end, and the listeners live on elsewhere."""
    server = start("--workers", "2", "--keep-alive", "60", "blocking:app", conf=BOOTED)
    server.events.take("booted", 2)
    clients = kept(server)
    stuck = [server.connect().request(target="/block") for _ in range(2)]
    pids = sorted(server.events.until("in")[1] for _ in stuck)
    for client in clients:
        client.request()
    # All of them have left the workers that they were with.
    wait_for(lambda: not any(connections(pid) > 1 for pid in pids))
    new = upgrade(server)
    server.send_signal(signal.SIGTERM)
    server.stderr.find("Handling signal: term")
    server.events.release(2)
    for client in [*clients, *stuck]:
        response = client.response()
        assert response.status == 200 and int(response.body) in pids
    close(*clients, *stuck)
    assert server.wait() == 0
    os.kill(new, signal.SIGTERM)
    server.wait_family()


def test_nobody_is_left_a_connection_by_one_who_leaves_later(start):
    """It was told that others stay; then they leave too, for a new server, which cannot take it."""
    server = start("--keep-alive", "60", "blocking:app")
    last = server.connect().request(target="/block")
    old = server.events.until("in")[1]
    server.send_signal(signal.SIGHUP)
    server.stderr.find(r"Reloaded: generation \d+ serves")
    heir = next(pid for pid in workers(server) if pid != old)
    new = upgrade(server)
    server.send_signal(signal.SIGTERM)
    assert processes.wait_gone(heir)
    server.events.release()
    assert int(last.response().body) == old
    response = last.request().response()
    assert int(response.body) == old and not response.persistent
    assert server.wait() == 0
    close(last)
    os.kill(new, signal.SIGTERM)
    server.wait_family()


@pytest.mark.parametrize("keepalive", ["0", "60"])
def test_the_stop_answers_who_waits_to_be_accepted(start, keepalive):
    """Also where the worker has learned that clients rarely have sent something by the time they are accepted."""
    server = start("--keep-alive", keepalive, "blocking:app")
    for _ in range(20):
        with server.connect() as slow:
            # The connection has been accepted by the time a later one is answered.
            assert server.get().status == 200
            assert slow.request(headers=[("Connection", "close")]).response().status == 200
    held = server.connect().request(target="/block")
    server.events.until("in")
    waiting = [server.connect().request() for _ in range(4)]
    server.send_signal(signal.SIGTERM)
    server.stderr.find("Handling signal: term")
    server.events.release()
    for client in [held, *waiting]:
        assert client.response().status == 200
    close(held, *waiting)
    assert server.wait() == 0


def upgrade(server):
    """The new server's pid, once it serves."""
    server.send_signal(signal.SIGUSR2)
    return int(server.stderr.find(r"the new arbiter \(pid:(\d+)\) serves beside this one")[-1][1])


def open_files(pid):
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            continue
    return found
