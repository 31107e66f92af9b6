"""USR2: a new program comes up beside the old one, takes over, or is backed out of."""

import os
import signal

import pytest

from support import processes
from support.http import Connection
from support.load import Load

pytestmark = pytest.mark.only("ours")

READY = r"the new arbiter \(pid:(\d+)\) serves beside this one"


def upgrade(server, count=1):
    """Its pid, once it is ready."""
    server.send_signal(signal.SIGUSR2)
    return int(server.stderr.find(READY, count)[-1][1])


def masters(server):
    """The arbiters' pids that clients reach."""
    return {server.get().json["ppid"] for _ in range(30)}


def wait_for(condition):
    assert processes.wait_until(condition), "it did not come about"


def test_promotion(start, launcher):
    pidfile, second = launcher.directory / "g.pid", launcher.directory / "g.pid.2"
    server = start("--pid", "g.pid", "--workers", "2", "process:app")
    server.get()
    new = upgrade(server)
    assert pidfile.read_text() == f"{server.pid}\n" and second.read_text() == f"{new}\n"
    assert ".2]" in processes.command_line(new)
    wait_for(lambda: new in masters(server))
    server.send_signal(signal.SIGQUIT)
    server.stderr.find("Master has been promoted")
    assert server.wait() == 0
    assert masters(server) == {new}
    # The old one has removed its file, then the new one gives its own this name.
    wait_for(lambda: pidfile.exists() and pidfile.read_text() == f"{new}\n" and not second.exists())
    assert ".2]" not in processes.command_line(new)
    os.kill(new, signal.SIGTERM)
    server.wait_family()
    assert not pidfile.exists()


def test_the_pidfile_of_another_server_stays_his(start, launcher):
    other, second = launcher.directory / "other.pid", launcher.directory / "other.pid.2"
    server = start("process:app", conf="pidfile = 'g.pid'", allowed=["Already running on PID"])
    server.get()
    other.write_text(f"{os.getpid()}\n")
    launcher.write("gunicorn.conf.py", "pidfile = 'other.pid'")
    new = upgrade(server)
    server.send_signal(signal.SIGQUIT)
    server.stderr.find("Already running on PID")
    assert other.read_text() == f"{os.getpid()}\n" and second.read_text() == f"{new}\n"
    assert server.wait() == 0
    os.kill(new, signal.SIGTERM)
    server.wait_family()
    assert not second.exists()
    other.unlink()


def test_back_out(start, launcher):
    server = start("--pid", "g.pid", "--workers", "2", "process:app", allowed=["this one goes on"])
    server.get()
    new = upgrade(server)
    os.kill(new, signal.SIGTERM)
    server.stderr.find("this one goes on")
    assert masters(server) == {server.pid}
    assert not (launcher.directory / "g.pid.2").exists()
    # And once more, the other way.
    new = upgrade(server, 2)
    server.stop()
    assert masters(server) == {new}
    os.kill(new, signal.SIGTERM)
    server.wait_family()


def test_unix_sockets_stay_with_whoever_serves(start, launcher):
    path = launcher.directory / "g.sock"
    server = start("process:app", "--bind", "unix:g.sock", "--bind", "127.0.0.1:0", bind=False)
    server.listening()

    def ppid():
        with Connection(str(path)) as connection:
            return connection.request().final().json["ppid"]

    assert ppid() == server.pid
    new = upgrade(server)
    os.kill(new, signal.SIGTERM)
    server.stderr.find("this one goes on")
    assert ppid() == server.pid
    new = upgrade(server, 2)
    server.stop()
    assert ppid() == new
    os.kill(new, signal.SIGTERM)
    server.wait_family()
    assert not path.exists()


def test_a_new_one_that_cannot_come_up_changes_nothing(start, launcher):
    allowed = ["Upgrade failed", "on purpose", "could not boot", "exited with code", "failed to boot"]
    server = start("--pid", "g.pid", "process:app", conf="", allowed=allowed)
    server.get()
    fds = processes.descriptors(server.pid)
    for count, broken in enumerate(["raise LookupError('on purpose')", "def post_fork(server, worker): raise LookupError('on purpose')"], 1):
        launcher.write("gunicorn.conf.py", broken)
        server.send_signal(signal.SIGUSR2)
        server.stderr.find(r"Upgrade failed, nothing has changed: the new arbiter .* ended with code \d before it was ready", count)
        assert masters(server) == {server.pid}
        assert not (launcher.directory / "g.pid.2").exists()
    # Fewer, where something of the start was still about to go.
    wait_for(lambda: processes.descriptors(server.pid) <= fds)


def test_pre_exec(start):
    conf = """
        import os
        from events import tell
        def pre_exec(server):
            tell("pre_exec", server.pid, os.environ.get("ROUND"))
            os.environ["ROUND"] = "two"
        """
    server = start("process:app", conf=conf)
    assert "ROUND" not in server.get().json["environ"]
    new = upgrade(server)
    assert server.events.until("pre_exec") == ["pre_exec", server.pid, None]
    server.stop(signal.SIGQUIT)
    server.stderr.find("promoted")
    environ = server.get().json["environ"]
    assert environ["ROUND"] == "two"
    assert not [name for name in environ if name.startswith(("GUNICORN_PID", "GUNICORN_FD", "RGUNICORN_"))]
    os.kill(new, signal.SIGTERM)
    server.wait_family()


def test_a_pre_exec_that_raises_stops_the_upgrade(start):
    server = start("process:app", conf="def pre_exec(server): raise LookupError('on purpose')", allowed=["on purpose"])
    server.get()
    server.send_signal(signal.SIGUSR2)
    server.stderr.find("Upgrade failed, nothing has changed: pre_exec failed: on purpose")
    assert masters(server) == {server.pid}


def test_a_second_upgrade_is_refused(start):
    server = start("process:app", allowed=["USR2 signal ignored"])
    server.get()
    new = upgrade(server)
    server.send_signal(signal.SIGUSR2)
    server.stderr.find("USR2 signal ignored: a new arbiter .* runs already")
    os.kill(new, signal.SIGUSR2)
    server.stderr.find("USR2 signal ignored: this one has not taken over")
    os.kill(new, signal.SIGTERM)
    processes.wait_gone(new)


def test_what_the_new_settings_bind_besides(start, launcher, free_port):
    port = free_port()
    server = start("process:app", conf="bind = ['127.0.0.1:0']", bind=False)
    old = server.listening()[0]
    server.get()
    launcher.write("gunicorn.conf.py", f"bind = ['127.0.0.1:0', '127.0.0.1:{port}']")
    new = upgrade(server)
    server.stop()
    for address in (old, ("127.0.0.1", port)):
        with Connection(address) as connection:
            assert connection.request().final().json["ppid"] == new
    os.kill(new, signal.SIGTERM)
    server.wait_family()


def test_the_old_ones_end_promotes_whatever_ended_it(start, launcher):
    server = start("--pid", "g.pid", "process:app", allowed=[""])
    server.get()
    new = upgrade(server)
    server.send_signal(signal.SIGKILL)
    server.stderr.find("Master has been promoted")
    wait_for(lambda: (launcher.directory / "g.pid").read_text() == f"{new}\n")
    wait_for(lambda: masters(server) == {new})
    os.kill(new, signal.SIGTERM)
    server.wait_family()


def test_winch_then_quit_or_hup(start, launcher):
    """The procedure of Gunicorn's manual, of a daemon: see the new one alone at work, then decide."""
    server = start("--daemon", "--pid", "g.pid", "--log-file", "error.log", "process:app")
    assert server.wait() == 0
    pidfile, log = launcher.directory / "g.pid", launcher.directory / "error.log"
    old = int(pidfile.read_text())
    server.get()
    os.kill(old, signal.SIGUSR2)
    wait_for(lambda: "serves beside this one" in log.read_text())
    new = int((launcher.directory / "g.pid.2").read_text())
    os.kill(old, signal.SIGWINCH)
    wait_for(lambda: masters(server) == {new})
    # Back out: the old one's workers come back, then the new one leaves.
    os.kill(old, signal.SIGHUP)
    wait_for(lambda: masters(server) == {old, new})
    os.kill(new, signal.SIGTERM)
    assert processes.wait_gone(new)
    assert masters(server) == {old}
    os.kill(old, signal.SIGTERM)
    server.wait_family()


def test_no_request_fails(start):
    server = start("--workers", "2", "--keep-alive", "60", "process:app", allowed=["this one goes on"])
    server.get()
    with Load(server.address[1]) as load:
        new = upgrade(server)
        os.kill(new, signal.SIGTERM)
        server.stderr.find("this one goes on")
        new = upgrade(server, 2)
        server.stop()
        server.stderr.find("promoted")
        report = load.stop()
    assert report.failed == 0, report
    os.kill(new, signal.SIGTERM)
    server.wait_family()
