"""HUP: a new generation comes up, proves itself and takes over; one that cannot changes nothing."""

import signal
import stat

import pytest

from support import processes
from support.control import Control
from support.http import Connection
from support.load import Load

pytestmark = pytest.mark.only("ours")

APP = """
import os
VERSION = "one"
def app(environ, start_response):
    body = f"{VERSION} {os.getpid()} {os.environ.get('FROM_CONFIG', '')}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

BOOTED = "from events import tell\ndef post_worker_init(worker): tell('booted')\n"
CONF = """
from events import tell
raw_env = ["FROM_CONFIG=one"]
def on_starting(server): tell("on_starting")
def nworkers_changed(server, new, old): tell("nworkers_changed", new, old)
def on_reload(server): tell("on_reload", server.num_workers)
def when_ready(server): tell("when_ready", [str(each) for each in server.LISTENERS])
def on_exit(server): tell("on_exit")
"""

FAILED = "Reload failed, nothing has changed: "
DONE = r"Reloaded: generation \d+ serves"


def reload(server, count=1):
    server.send_signal(signal.SIGHUP)
    server.stderr.find(DONE, count)


def served(server):
    """How many requests it has answered."""
    with Control(server.directory / ".gunicorn" / "gunicorn.ctl") as control:
        return control.do("show stats")["requests"]


def answers(server, start, end=b""):
    """Whether a new one did: one that has just been told to leave may still have taken the connection."""
    body = server.get().body
    return body.startswith(start) and body.endswith(end)


def workers(server):
    """The workers' pids: all processes but the arbiter and the forkserver."""
    return sorted(pid for pid in server.family() if "worker" in processes.command_line(pid))


def both_workers(server):
    """Once both have loaded the app."""

    path = server.directory / ".gunicorn" / "gunicorn.ctl"
    wait_for(path.exists)
    with Control(path) as control:

        def booted():
            return sorted(worker["pid"] for worker in control.do("show workers")["workers"] if worker["booted"])

        wait_for(lambda: len(booted()) == 2)
        pids, descriptors = booted(), processes.descriptors(server.pid)
    # Its own connection is closed there, too.
    wait_for(lambda: processes.descriptors(server.pid) < descriptors)
    return pids


def test_everything_is_read_anew(start, launcher):
    launcher.write("served.py", APP)
    server = start("served:app", conf=CONF)
    assert server.get().body.startswith(b"one ") and server.get().body.endswith(b" one")
    launcher.write("served.py", APP.replace('"one"', '"two"'))
    launcher.write("gunicorn.conf.py", CONF.replace("FROM_CONFIG=one", "FROM_CONFIG=two") + "workers = 3\n")
    reload(server)
    wait_for(lambda: answers(server, b"two ", b" two"))
    wait_for(lambda: len(workers(server)) == 3)


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["plain", "preload"])
def test_a_new_generation_also_with_preload(start, launcher, preload):
    launcher.write("served.py", APP)
    server = start("--workers", "2", *preload, "served:app")
    before = both_workers(server)
    launcher.write("served.py", APP.replace('"one"', '"two"'))
    reload(server)
    wait_for(lambda: answers(server, b"two "))
    wait_for(lambda: not set(before) & set(workers(server)))


def test_hooks_of_a_reload(start):
    server = start("hello:app", conf=CONF)
    server.get()
    reload(server)
    server.events.until("when_ready")
    server.events.until("when_ready")
    server.stop()
    server.events.drain()
    named = [event[0] for event in server.events.seen]
    assert named == [
        "nworkers_changed", "on_starting", "when_ready", "nworkers_changed", "on_reload", "when_ready", "on_exit",
    ]  # fmt: skip
    assert [event[1:] for event in server.events.seen if event[0] == "nworkers_changed"] == [[1, None], [1, 1]]


def test_what_when_ready_has_started_goes_on(start):
    conf = """
        import threading
        from events import tell
        stop = threading.Event()
        def when_ready(server):
            tell("when_ready")
            threading.Thread(target=stop.wait, daemon=True, name="metrics").start()
        """
    server = start("hello:app", conf=conf, allowed=["metrics"])
    server.get()
    for count in (1, 2):
        reload(server, count)
    server.stderr.find("stays until the stop, for what its hooks started: thread metrics")
    wait_for(lambda: len([pid for pid in server.family() if "forkserver" in processes.command_line(pid)]) == 2)
    server.stop()
    server.events.drain()
    assert len(server.events.seen) == 1, "it runs once while that thread does"


def test_what_when_ready_has_started_and_is_over_keeps_nothing(start):
    """Nobody has waited for it: it is a zombie."""
    conf = """
        import os, subprocess
        def when_ready(server):
            server.started = subprocess.Popen(["true"])
            os.waitid(os.P_PID, server.started.pid, os.WEXITED | os.WNOWAIT)
        """
    server = start("hello:app", conf=conf)
    server.get()
    reload(server)
    wait_for(lambda: len([pid for pid in server.family() if "forkserver" in processes.command_line(pid)]) == 1)
    reload(server, 2)
    server.stop()
    assert "stays until the stop" not in server.stderr.text


@pytest.mark.parametrize(
    "broken",
    [
        ("gunicorn.conf.py", "workers = (", "never closed"),
        ("gunicorn.conf.py", "workers = -1", "workers"),
        ("gunicorn.conf.py", "1 / 0", "ZeroDivisionError"),
        ("gunicorn.conf.py", "def on_reload(server): raise LookupError('on purpose')", "on purpose"),
        ("gunicorn.conf.py", "user = 'nobody-of-that-name'", "nobody-of-that-name"),
        ("gunicorn.conf.py", "errorlog = '/no/such/directory/log'", "/no/such/directory/log"),
        ("gunicorn.conf.py", "pidfile = '/no/such/directory/pid'", "/no/such/directory"),
        ("gunicorn.conf.py", "chdir = '/no/such/directory'", "/no/such/directory"),
        ("gunicorn.conf.py", "bind = '203.0.113.7:1'", "203.0.113.7:1"),
        ("gunicorn.conf.py", "def post_fork(server, worker): raise LookupError('on purpose')", "on purpose"),
        ("gunicorn.conf.py", "import os\ndef post_fork(server, worker): os._exit(7)", "code 7"),
        ("gunicorn.conf.py", "import time\nboot_timeout = 1\ndef post_fork(server, worker): time.sleep(60)", "not ready within 1 s"),
        ("gunicorn.conf.py", "import os\ndef on_reload(server): os._exit(9)", "code 9"),
        ("served.py", "app = (", "never closed"),
        ("served.py", "import no_such_module", "no_such_module"),
        ("served.py", "other = 1", "app"),
    ],
    ids=lambda broken: broken[1].split("\n")[-1][:40],
)
def test_what_cannot_come_up_changes_nothing(start, launcher, broken):
    name, text, told = broken
    launcher.write("served.py", APP)
    # Not by fd://: a bind that is wrong must be looked at.
    conf = f"{BOOTED}bind = '127.0.0.1:0'\npidfile = 'g.pid'\nworkers = 2\n"
    server = start("served:app", conf=conf, bind=False, allowed=[""])
    server.events.take("booted", 2)
    before, fds = both_workers(server), processes.descriptors(server.pid)
    launcher.write(name, text if name == "served.py" else f"{conf}{text}\n")
    server.send_signal(signal.SIGHUP)
    line = server.stderr.find(FAILED + "(.*)")[0][1]
    assert told in line or told in server.stderr.text
    assert server.get().body.startswith(b"one ")
    wait_for(lambda: workers(server) == before)
    assert (launcher.directory / "g.pid").read_text() == f"{server.pid}\n"
    # Fewer, where something of the start was still about to go.
    wait_for(lambda: processes.descriptors(server.pid) <= fds)
    assert not list(launcher.directory.glob(".*sock*"))
    # And the next one is as good as ever.
    launcher.write("served.py", APP.replace('"one"', '"two"'))
    launcher.write("gunicorn.conf.py", conf)
    reload(server)
    wait_for(lambda: answers(server, b"two "))


def test_addresses_are_opened_and_closed(start, launcher, free_port):
    port = free_port()
    server = start("--workers", "2", "hello:app", conf=f"bind = ['127.0.0.1:{port}', 'unix:old.sock']\n", bind=False)
    server.listening()
    server.address = ("127.0.0.1", port)
    server.get()
    old, new = launcher.directory / "old.sock", launcher.directory / "new.sock"
    assert stat.S_ISSOCK(old.stat().st_mode)
    launcher.write("gunicorn.conf.py", "bind = ['unix:new.sock', '127.0.0.1:0']\n")
    reload(server)
    assert not old.exists() and stat.S_ISSOCK(new.stat().st_mode)
    with Connection(str(new)) as connection:
        assert connection.request().final().status == 200
    with pytest.raises(ConnectionRefusedError):
        server.get()
    # What is free again can be taken again.
    launcher.write("gunicorn.conf.py", f"bind = ['127.0.0.1:{port}']\n")
    reload(server, 2)
    assert server.get().status == 200
    assert not new.exists()


def test_pidfile_title_and_logs_change_at_the_commit(start, launcher):
    server = start("hello:app", conf="pidfile = 'one.pid'\nproc_name = 'one'\n")
    server.get()
    launcher.write("gunicorn.conf.py", "pidfile = 'two.pid'\nproc_name = 'two'\nerrorlog = 'error-two.log'\naccesslog = 'access-two.log'\n")
    server.send_signal(signal.SIGHUP)
    log = launcher.directory / "error-two.log"
    wait_for(lambda: log.exists() and "Reloaded" in log.read_text())
    assert not (launcher.directory / "one.pid").exists()
    assert (launcher.directory / "two.pid").read_text() == f"{server.pid}\n"
    assert "[two]" in processes.command_line(server.pid)
    # One that has just been told to leave may take a request or two, and logs them as before.
    wait_for(lambda: server.get() and "GET / HTTP/1.1" in (launcher.directory / "access-two.log").read_text())


def test_a_stop_during_a_reload_stops_at_once(start, launcher):
    server = start("hello:app", conf="from events import tell, wait\ndef on_reload(server):\n  tell('in')\n  wait()\n")
    server.get()
    server.send_signal(signal.SIGHUP)
    server.events.until("in")
    assert server.stop() == 0


def test_hup_while_booting_replaces_what_boots(start, launcher):
    launcher.write("served.py", APP)
    server = start("served:app", conf="", allowed=["another reload was asked for"])
    server.get()
    launcher.write("gunicorn.conf.py", "from events import tell, wait\ndef post_fork(server, worker):\n  tell('in')\n  wait()\n")
    server.send_signal(signal.SIGHUP)
    server.events.until("in")
    launcher.write("gunicorn.conf.py", "raw_env = ['FROM_CONFIG=third']\n")
    server.send_signal(signal.SIGHUP)
    server.stderr.find(DONE)
    wait_for(lambda: answers(server, b"one ", b" third"))


def test_ttin_counts_until_the_next_hup(start):
    server = start("--workers", "2", "hello:app")
    server.get()
    for count in (3, 4):
        server.send_signal(signal.SIGTTIN)
        wait_for(lambda: len(workers(server)) == count)  # noqa: B023
    reload(server)
    wait_for(lambda: len(workers(server)) == 2)


def test_many_reloads_leave_nothing_behind(start):
    server = start("--workers", "2", "hello:app")
    server.get()
    reload(server)
    wait_for(lambda: len(server.family()) == 4)
    before = processes.descriptors(server.pid)
    for count in range(2, 12):
        reload(server, count)
    wait_for(lambda: len(server.family()) == 4)
    # More, until the arbiter has seen the last ones off; fewer, where it had not yet done so before.
    wait_for(lambda: processes.descriptors(server.pid) <= before)


@pytest.mark.parametrize("surge", ["1", "all"])
def test_no_request_fails(start, surge):
    server = start("--workers", "2", "--reload-surge", surge, "--keep-alive", "60", "hello:app")
    server.get()
    with Load(server.address[1]) as load:
        count = 0
        # However slow the clients are.
        while count < 3 or served(server) < 200:
            count += 1
            reload(server, count)
        report = load.stop()
    assert report.failed == 0, report
    assert report.requests > 100


def wait_for(condition):
    assert processes.wait_until(condition), "it did not come about"
