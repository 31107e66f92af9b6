"""`--control-socket`: Gunicorn's protocol and commands."""

import stat

import pytest

from support import processes
from support.control import Commands, Control


class Client(Commands):
    """Connects for each command: Gunicorn closes its socket around every fork."""

    def __init__(self, path):
        self.path = path

    def ask(self, command, *args):
        answers = []

        def answered():
            try:
                with Control(self.path) as connection:
                    answers.append(connection.ask(command, *args))
                    return True
            except (FileNotFoundError, ConnectionRefusedError):
                return False

        assert processes.wait_until(answered)
        return answers[0]


@pytest.fixture
def control(start, launcher, program):
    theirs = program.name == "theirs"

    def connect(*args, app="process:app", **more):
        # Gunicorn stops its own thread at every fork, which asyncio complains about.
        allowed = ["Exception in callback", "CancelledError"] if theirs else []
        server = start("--control-socket", "g.ctl", *args, app, allowed=allowed, **more)
        server.get()
        path = launcher.directory / "g.ctl"
        assert processes.wait_until(path.exists)
        return server, Client(path)

    return connect


def test_the_file_is_the_owners(control, launcher):
    server, client = control()
    assert client.do("show stats")["pid"] == server.pid
    there = (launcher.directory / "g.ctl").stat()
    assert stat.S_ISSOCK(there.st_mode) and stat.S_IMODE(there.st_mode) == 0o600
    assert server.stop() == 0
    assert not (launcher.directory / "g.ctl").exists()


def test_its_mode_can_be_set(control, launcher):
    _, client = control("--control-socket-mode", "0660")
    # Gunicorn's has its mode a moment after its name: what answers has both.
    client.do("show stats")
    assert stat.S_IMODE((launcher.directory / "g.ctl").stat().st_mode) == 0o660


def test_none(start, launcher):
    server = start("--control-socket", "g.ctl", "--no-control-socket", "process:app")
    server.get()
    assert not (launcher.directory / "g.ctl").exists()


def test_show(control):
    server, client = control("--workers", "2")

    def alive():
        workers = client.do("show workers")["workers"]
        return len(workers) == 2 and all(worker["last_heartbeat"] is not None for worker in workers)

    assert processes.wait_until(alive)
    shown = client.do("show workers")
    assert shown["count"] == 2
    assert {worker["pid"] for worker in shown["workers"]} == set(server.workers())
    assert [worker["age"] for worker in shown["workers"]] == [1, 2]
    for worker in shown["workers"]:
        assert worker["aborted"] is False and 0 <= worker["last_heartbeat"] < 60
    everything = client.do("show all")
    assert everything["arbiter"] == {"pid": server.pid, "type": "arbiter", "role": "master"}
    assert everything["web_worker_count"] == 2 and everything["dirty_arbiter"] is None
    assert {worker["type"] for worker in everything["web_workers"]} == {"web"}
    stats = client.do("show stats")
    assert (stats["workers_current"], stats["workers_target"], stats["workers_spawned"]) == (2, 2, 2)
    assert stats["uptime"] >= 0 and stats["reloads"] == 0
    listeners = client.do("show listeners")
    assert listeners["count"] == 1 and listeners["listeners"][0]["type"] == "tcp"
    host, port = server.listening()[0]
    assert listeners["listeners"][0]["address"] == f"http://{host}:{port}"
    assert client.do("show dirty") == {"enabled": False, "pid": None, "workers": [], "apps": []}
    settings = client.do("show config")
    assert settings["workers"] == 2 and settings["timeout"] == 30 and settings["preload_app"] is False
    assert "show workers" in client.do("help")["commands"]


def test_workers_are_added_and_removed(control):
    server, client = control()
    assert client.do("worker add 2") == {"added": 2, "previous": 1, "total": 3}
    assert processes.wait_until(lambda: len(server.workers()) == 3)
    assert client.do("worker remove", 1) == {"removed": 1, "previous": 3, "total": 2}
    assert processes.wait_until(lambda: len(server.workers()) == 2)
    assert client.do("worker remove 9") == {"removed": 1, "previous": 2, "total": 1}
    assert processes.wait_until(lambda: len(server.workers()) == 1)


def test_a_worker_is_replaced(control):
    server, client = control()
    [old] = server.workers()
    assert client.do("worker kill 1") == {"success": False, "error": "Worker 1 not found"}
    # The last thing to ask: at the fork that follows, Gunicorn drops whoever is connected.
    assert client.do("worker kill", old) == {"success": True, "killed": old}
    assert processes.wait_until(lambda: server.workers() and old not in server.workers())
    assert server.get().status == 200


def test_reload(control):
    server, client = control()
    [old] = server.workers()
    assert client.do("reload") == {"status": "reloading"}
    server.stderr.find("Hang up")
    assert processes.wait_until(lambda: server.workers() and old not in server.workers())


def test_reopen(control, launcher):
    server, client = control("--error-logfile", "error.log")
    log = launcher.directory / "error.log"
    log.rename(launcher.directory / "error.log.1")
    assert client.do("reopen") == {"status": "reopening"}
    assert processes.wait_until(log.exists)
    server.stop()


@pytest.mark.parametrize("mode", ["graceful", "quick"])
def test_shutdown(control, mode):
    server, client = control()
    assert client.do("shutdown", mode) == {"status": "shutting_down", "mode": mode}
    assert server.wait() == 0


@pytest.mark.parametrize(
    "command, error",
    [
        ("", "Empty command"),
        ("fly", "Invalid argument: Unknown command: fly"),
        ("show", "Invalid argument: Missing show target (all|workers|dirty|config|stats|listeners)"),
        ("show me", "Invalid argument: Unknown show target: me"),
        ("worker", "Invalid argument: Missing worker action (add|remove|kill)"),
        ("worker kill", "Invalid argument: Missing PID for worker kill"),
        ("worker eat", "Invalid argument: Unknown worker action: eat"),
        ("dirty", "Invalid argument: Missing dirty action (add|remove)"),
        ("'", "Invalid argument: No closing quotation"),
    ],
)
def test_what_cannot_be_read(control, command, error):
    _, client = control()
    assert client.refuse(command) == error
    assert client.do("show workers")["count"] == 1
