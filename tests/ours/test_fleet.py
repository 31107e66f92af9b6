"""The fleet under wear: limits of workers, drains, storms of signals, hundreds of reloads."""

import os
import random
import signal
import time

import pytest

from support import processes
from support.control import Control
from support.http import Connection
from support.load import Load

pytestmark = pytest.mark.only("ours")


def wait_for(condition, timeout=30.0):
    assert processes.wait_until(condition, timeout), "it did not come about"


def control(server):
    path = server.directory / ".gunicorn" / "gunicorn.ctl"
    wait_for(path.exists)
    return Control(path)


def ready(server):
    """The pids of the workers that serve."""
    with control(server) as client:
        return sorted(worker["pid"] for worker in client.do("show workers")["workers"] if worker["state"] == "ready")


def descriptors(server):
    """How many the arbiter has open, this question's connection aside."""
    with control(server) as client:
        for _ in range(3):
            client.do("show stats")
        return processes.descriptors(server.pid) - 1


def fresh(server):
    """The answer on a connection that would stay."""
    with server.connect() as connection:
        return connection.request().response()


def test_a_drain_closes_connections_and_goes_on_accepting(start):
    server = start("--drain-delay", "60", "--keep-alive", "60", "process:app")
    with server.connect() as kept:
        assert kept.request().response().header("connection") != "close"
        assert fresh(server).header("connection") != "close"
        server.send_signal(signal.SIGTERM)
        server.stderr.find(r"Stopping in 60 s \(drain_delay\)")
        # The worker hears of it a moment later.
        wait_for(lambda: fresh(server).header("connection") == "close")
        assert kept.request().response().header("connection") == "close"
    with server.connect() as another:
        assert another.request().response().status == 200
    # What is not the time for a drain any more.
    server.send_signal(signal.SIGHUP)
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0


def test_a_drain_ends_by_itself(start):
    server = start("--drain-delay", "1", "process:app")
    server.get()
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0


def test_a_worker_that_grows_is_replaced(start, launcher):
    launcher.write(
        "grows.py",
        """
        import os
        kept = []
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/grow":
                kept.append(b"x" * (96 << 20))
            start_response("200 OK", [])
            return [str(os.getpid()).encode()]
        """,
    )
    server = start("--max-rss", "100M", "--keep-alive", "60", "grows:app", allowed=["memory", "max_rss"])
    first = int(server.get().body)
    assert int(server.get("/grow").body) == first
    with Load(server.listening()[0][1], clients=4, think=0.01) as load:
        wait_for(lambda: first not in server.workers())
        report = load.stop()
    assert report.failed == 0, report
    assert len(ready(server)) == 1 and int(server.get().body) != first
    [line] = server.stderr.find(r"max_rss")
    assert str(first) in line.string


def test_workers_are_replaced_when_their_time_is_over_one_at_a_time(start):
    flags = ["--max-lifetime", "2", "--max-lifetime-jitter", "1", "--workers", "3", "--keep-alive", "60"]
    server = start(*flags, "process:app", allowed=["max_lifetime"])
    server.get()
    wait_for(lambda: len(ready(server)) == 3)
    first = set(ready(server))
    fewest, most = 3, 3
    with Load(server.listening()[0][1], clients=4, think=0.01) as load:
        deadline = time.monotonic() + 30
        while first & set(ready(server)):
            assert time.monotonic() < deadline, "they were not replaced"
            serving = len(ready(server))
            fewest, most = min(fewest, serving), max(most, serving)
            time.sleep(0.02)
        report = load.stop()
    assert report.failed == 0, report
    assert fewest >= 3 and most <= 4


def test_one_that_is_deaf_to_term_is_killed(start, launcher):
    launcher.write(
        "deaf.py",
        """
        import os, signal, time
        from events import tell
        def app(environ, start_response):
            for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGABRT):
                signal.signal(number, signal.SIG_IGN)
            tell("in", os.getpid())
            time.sleep(600)
        """,
    )
    server = start("--graceful-timeout", "1", "--timeout", "0", "deaf:app", allowed=["did not leave in time", "SIGKILL"])
    with server.connect() as connection:
        connection.request()
        pid = server.events.until("in")[1]
        assert server.stop() == 0
        assert processes.wait_gone(pid)
    # What it was doing, and where.
    server.stderr.find("GET /: in hand for")
    server.stderr.find(r'File ".*deaf.py", line \d+,? in app')


def test_a_storm_of_signals(start):
    """10,000 in a few seconds, of every kind that does not end the server; then all is as it should be."""
    server = start("--workers", "2", "--keep-alive", "60", "process:app", conf="", allowed=[""])
    server.get()
    wait_for(lambda: len(ready(server)) == 2)
    before = descriptors(server)
    numbers = [signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGWINCH, signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU]
    dice = random.Random(4)
    with Load(server.listening()[0][1], clients=4, think=0.02) as load:
        for number in range(10_000):
            os.kill(server.pid, dice.choice(numbers))
            if number % 20 == 0:
                time.sleep(0.01)
        report = load.stop()
    assert report.failed == 0, report
    with control(server) as client:
        # Whatever it has come to, this is the size that is asked for next.
        total = client.do("show stats")["workers_target"]
        assert total >= 1
        client.do("worker add 1")
        assert client.do("reload --wait")["status"] == "reloaded"
    wait_for(lambda: len(ready(server)) == 2 and len(server.workers()) == 2)
    # One that has just ended is a zombie until it is reaped; none stays one.
    wait_for(lambda: not [pid for pid in processes.descendants(server.pid) if processes.state(pid) == "Z"])
    # Fewer, where something of before was still about to go.
    wait_for(lambda: descriptors(server) <= before)
    assert server.stop() == 0


def test_a_stop_in_the_midst_of_a_storm(start):
    server = start("--workers", "2", "process:app", conf="", allowed=[""])
    server.get()
    dice = random.Random(5)
    for _ in range(500):
        os.kill(server.pid, dice.choice([signal.SIGHUP, signal.SIGTTIN, signal.SIGUSR1, signal.SIGCHLD]))
    server.send_signal(signal.SIGTERM)
    for _ in range(500):
        try:
            os.kill(server.pid, dice.choice([signal.SIGHUP, signal.SIGTTOU, signal.SIGTERM, signal.SIGUSR1]))
        except ProcessLookupError:
            break
    assert server.wait() == 0


def test_200_reloads_leave_nothing_behind(start):
    server = start("process:app", conf="", allowed=[""])
    server.get()

    def reload(times):
        with control(server) as client:
            for _ in range(times):
                assert client.do("reload --wait")["status"] == "reloaded"

    def kilobytes():
        """Its own memory: of files the kernel keeps there what it likes."""
        return sum(int(processes.status_field(server.pid, name).split()[0]) for name in ("RssAnon", "RssShmem"))

    reload(20)
    wait_for(lambda: len(server.workers()) == 1)
    memory, before = kilobytes(), descriptors(server)
    reload(180)
    wait_for(lambda: len(server.workers()) == 1)
    # Fewer, where something of before was still about to go.
    wait_for(lambda: descriptors(server) <= before)
    assert kilobytes() < memory + 512
    server.stderr.find("generation 201 serves")
    with Connection(server.listening()[0]) as connection:
        assert connection.request().response().status == 200
