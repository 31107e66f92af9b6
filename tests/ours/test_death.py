"""How processes of ours end, whoever ends them."""

import os
import signal
import socket

import pytest

from support import processes
from support.ours import by_title, forkserver, workers

pytestmark = pytest.mark.only("ours")

# The promise for a killed arbiter, and what a loaded machine may add to it.
ORPHANS_END_WITHIN = 3.0 + 2.0

TELL = """
from events import tell
def post_worker_init(worker): tell("booted", worker.pid)
def child_exit(server, worker): tell("gone", worker.pid)
"""


def kill_arbiter(server):
    """As the OOM killer would; the guard has nothing more to say about it."""
    family = [pid for pid in server.family() if pid != server.pid]
    server.send_signal(signal.SIGKILL)
    assert server.wait() == -signal.SIGKILL
    return family


def port_is_free(address):
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(address)
        again.listen()


# -- the arbiter ----------------------------------------------------------------------------------------------------------


def test_a_killed_arbiter_takes_all_with_it(start, free_port):
    server = start("--bind", f"127.0.0.1:{free_port()}", "--workers", "3", "hello:app", bind=False, conf=TELL)
    server.events.take("booted", 3)
    assert server.get().status == 200
    family = kill_arbiter(server)
    assert len(family) == 4
    for pid in family:
        assert processes.wait_gone(pid, ORPHANS_END_WITHIN), processes.command_line(pid)
    port_is_free(server.address)


def test_a_busy_worker_too(start):
    """One that sits in app code, where no Python handler runs."""
    server = start("blocking:app")
    with server.connect() as connection:
        connection.request(target="/block")
        server.events.until("in")
        for pid in kill_arbiter(server):
            assert processes.wait_gone(pid, ORPHANS_END_WITHIN), processes.command_line(pid)


def test_a_worker_that_boots_too(start, launcher):
    launcher.write("slow.py", "from events import tell, wait\ntell('importing')\nwait()\n")
    server = start("slow:app")
    server.events.until("importing")
    for pid in kill_arbiter(server):
        assert processes.wait_gone(pid, ORPHANS_END_WITHIN), processes.command_line(pid)


def test_workers_of_another_user_too(start):
    """setuid takes the parent-death signal away."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    server = start("--user", "nobody", "--group", "nogroup", "process:app", conf="import json\n")
    assert server.get().json["uid"][0] != 0
    for pid in kill_arbiter(server):
        assert processes.wait_gone(pid, ORPHANS_END_WITHIN), processes.command_line(pid)


# -- the forkserver -------------------------------------------------------------------------------------------------------


def test_a_killed_forkserver_is_replaced(start):
    """Its workers serve on; who dies later is replaced by the new one, which also runs child_exit for the orphans."""
    server = start("--workers", "2", "process:app", conf=TELL, allowed=["orkserver", "was sent SIGKILL"])
    booted = {event[1] for event in server.events.take("booted", 2)}
    old = forkserver(server)
    server.send_signal(signal.SIGKILL, old)
    assert processes.wait_gone(old)
    assert server.get().json["pid"] in booted
    victim = min(booted)
    server.send_signal(signal.SIGKILL, victim)
    assert server.events.until("booted")[1] not in booted
    assert server.get().status == 200
    assert forkserver(server) != old
    server.stop()
    gone = [event[1] for event in server.events.drain() if event[0] == "gone"]
    assert victim in gone


def test_again_and_again(start):
    server = start("process:app", conf=TELL, allowed=["orkserver", "was sent SIGKILL"])
    server.events.until("booted")
    for _ in range(3):
        before = forkserver(server)
        server.send_signal(signal.SIGKILL, before)
        assert processes.wait_gone(before)
        # A worker can only come from a new one.
        server.send_signal(signal.SIGTTIN)
        server.events.until("booted")
    assert server.get().status == 200


def test_term_while_there_is_none(start):
    server = start("process:app", conf=TELL, allowed=["orkserver"])
    server.events.until("booted")
    server.send_signal(signal.SIGKILL, forkserver(server))
    assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP])
def test_signals_do_nothing_to_it(start, number):
    """They reach whole groups; the arbiter decides."""
    server = start("process:app", conf=TELL)
    server.events.until("booted")
    pid = forkserver(server)
    server.send_signal(number, pid)
    server.send_signal(signal.SIGTTIN)
    server.events.until("booted")
    assert forkserver(server) == pid


# -- groups ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_the_whole_group(start, number):
    """Exit 0, nobody is started again, nothing is said of failures."""
    server = start("--workers", "3", "hello:app", conf=TELL)
    server.events.take("booted", 3)
    os.killpg(server.pid, number)
    assert server.wait() == 0
    assert server.family() == []
    assert len(server.stderr.find("Booting worker")) == 3
    assert "[WARNING]" not in server.stderr.text and "[ERROR]" not in server.stderr.text


@pytest.mark.parametrize("whom", ["arbiter", "group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_while_the_app_is_imported(start, launcher, whom, number):
    """Ctrl-C during a slow boot: exit 0, no respawn, no line about backing off."""
    launcher.write(
        "slow.py",
        """
        from events import tell, wait
        tell("importing")
        wait()
        def app(environ, start_response): ...
        """,
    )
    server = start("--workers", "2", "--pid", "app.pid", "--graceful-timeout", "2", "slow:app")
    server.events.take("importing", 2)
    if whom == "group":
        os.killpg(server.pid, number)
    else:
        server.send_signal(number)
    assert server.wait() == 0
    assert server.family() == []
    assert len(server.stderr.find("Booting worker")) == 2
    assert "[ERROR]" not in server.stderr.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_the_config_is_read(start, number):
    server = start("--pid", "app.pid", "hello:app", conf="from events import tell, wait\ntell('reading')\nwait()\n")
    server.events.until("reading")
    server.send_signal(number)
    assert server.wait() == 0
    assert server.family() == []


@pytest.mark.parametrize("hook", ["on_starting", "when_ready"])
def test_while_a_hook_blocks(start, hook):
    server = start("--pid", "app.pid", "hello:app", conf=f"from events import tell, wait\ndef {hook}(server):\n    tell('hook')\n    wait()\n")
    server.events.until("hook")
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    assert server.family() == []


def test_ctrl_c_in_the_middle_of_a_request(start):
    server = start("--graceful-timeout", "2", "blocking:app", allowed=["/block", "was sent SIGKILL"])
    with server.connect() as connection:
        connection.request(target="/block")
        server.events.until("in")
        os.killpg(server.pid, signal.SIGINT)
        assert server.wait() == 0
    assert server.family() == []


# -- strangers ------------------------------------------------------------------------------------------------------------


def test_orphans_of_the_app_are_reaped(start, launcher):
    """The arbiter is their parent when theirs has gone: none stays a zombie."""
    launcher.write(
        "app.py",
        """
        import os
        from events import tell, wait
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/orphan":
                if (child := os.fork()) == 0:
                    if os.fork() == 0:
                        tell("orphan", os.getpid())
                        wait()
                        os._exit(5)
                    os._exit(0)
                os.waitpid(child, 0)
            start_response("200 OK", [("Content-Length", "2")])
            return [b"ok"]
        """,
    )
    server = start("app:app", conf=TELL)
    server.events.until("booted")
    assert server.get("/orphan").body == b"ok"
    orphan = server.events.until("orphan")[1]
    assert processes.parent(orphan) == server.pid
    server.events.release()
    assert processes.wait_gone(orphan)
    # By the time a later event has been dealt with, this one has.
    server.send_signal(signal.SIGTTIN)
    server.events.until("booted")
    assert processes.state(orphan) is None
    assert server.get().body == b"ok"


def test_a_child_of_the_app_does_not_hold_its_connection(start, launcher):
    """The client sees the end of its response while the child lives on, and the worker serves others."""
    launcher.write(
        "app.py",
        """
        import os
        from events import tell, wait
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/fork":
                if os.fork() == 0:
                    tell("child", os.getpid())
                    wait()
                    os._exit(0)
            start_response("200 OK", [("Content-Length", "2")])
            return [b"ok"]
        """,
    )
    server = start("app:app")
    response = server.get("/fork")
    assert response.body == b"ok"
    server.events.until("child")
    with server.connect() as connection:
        for _ in range(5):
            assert connection.request().response().body == b"ok"
    server.events.release()


def test_multiprocessing_in_a_request(start, launcher):
    launcher.write(
        "app.py",
        """
        import multiprocessing
        def work(queue):
            queue.put(42)
        def app(environ, start_response):
            context = multiprocessing.get_context("fork")
            queue = context.SimpleQueue()
            process = context.Process(target=work, args=(queue,))
            process.start()
            result = queue.get()
            process.join()
            start_response("200 OK", [])
            return [f"{result} {process.exitcode}".encode()]
        """,
    )
    server = start("app:app")
    for _ in range(3):
        assert server.get().body == b"42 0"


# -- time -----------------------------------------------------------------------------------------------------------------


def test_a_freeze_kills_nobody(start):
    """The whole group is stopped for longer than the timeout, as a paused container is."""
    server = start("--timeout", "1", "--workers", "2", "process:app", conf=TELL)
    booted = {event[1] for event in server.events.take("booted", 2)}
    os.killpg(server.pid, signal.SIGSTOP)
    assert not processes.wait_gone(server.pid, timeout=2.5)
    os.killpg(server.pid, signal.SIGCONT)
    assert server.get().json["pid"] in booted
    assert not processes.wait_gone(min(booted), timeout=1.5)
    assert set(workers(server)) == booted
    assert by_title(server, "forkserver")
