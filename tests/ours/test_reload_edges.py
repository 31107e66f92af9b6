"""What can come between: hooks that hang or end late, addresses that go, reloads that get stuck, upgrades that overlap."""

import os
import signal
import socket

import pytest

from support import processes
from support.http import Connection
from support.notify import NotifySocket

pytestmark = pytest.mark.only("ours")

SERVES = r"the new arbiter \(pid:(\d+)\) serves beside this one"


def wait_for(condition):
    assert processes.wait_until(condition), "it did not come about"


def hup(server, done):
    server.send_signal(signal.SIGHUP)
    server.stderr.find(r"Reloaded: generation \d+ serves", done)


def is_closed(port):
    """Nobody listens, and the address can be had."""
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
        return False
    except ConnectionRefusedError:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except TimeoutError:
        return False


def test_an_address_that_an_upgrade_drops_is_closed(start, launcher, free_port):
    kept, dropped = free_port(), free_port()
    server = start("process:app", conf=f"bind = ['127.0.0.1:{kept}', '127.0.0.1:{dropped}', 'unix:old.sock']", bind=False)
    server.listening()
    server.address = ("127.0.0.1", kept)
    server.get()
    launcher.write("gunicorn.conf.py", f"bind = '127.0.0.1:{kept}'")
    server.send_signal(signal.SIGUSR2)
    new = int(server.stderr.find(SERVES)[-1][1])
    with Connection(("127.0.0.1", dropped)) as connection:
        # The old one serves there until it goes.
        assert connection.request().final().json["ppid"] == server.pid
    server.stop()
    wait_for(lambda: is_closed(dropped) and not (launcher.directory / "old.sock").exists())
    assert server.get().json["ppid"] == new
    os.kill(new, signal.SIGTERM)
    server.wait_family()


def test_an_upgrade_whose_old_arbiter_goes_at_once(start, launcher):
    """Before the new one has bound anything: what it has then is its own."""
    server = start("process:app", "--bind", "unix:g.sock", "--bind", "127.0.0.1:0", bind=False, conf="")
    path = launcher.directory / "g.sock"
    server.listening()
    with Connection(str(path)) as connection:
        assert connection.request().final().json["ppid"] == server.pid
    launcher.write("gunicorn.conf.py", "from events import wait; wait()")
    server.send_signal(signal.SIGUSR2)
    server.stderr.find(r"the new arbiter \(pid:(\d+)\) comes up beside this one")
    server.send_signal(signal.SIGQUIT)
    assert server.wait() == 0
    server.events.release()
    [promoted] = server.stderr.find(r"\[(\d+)\] \[INFO\] Master has been promoted")
    wait_for(path.exists)

    def new():
        with Connection(str(path)) as connection:
            return connection.request().final().json["ppid"]

    assert new() == int(promoted[1])
    os.kill(int(promoted[1]), signal.SIGTERM)
    server.wait_family()
    assert not path.exists()


@pytest.mark.parametrize("stays", ["forkserver", "nobody"])
def test_an_address_that_a_reload_drops_is_closed(start, launcher, free_port, stays):
    kept, dropped = free_port(), free_port()
    thread = "import threading, time\ndef when_ready(server):\n    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    hook = thread if stays == "forkserver" else ""
    server = start("process:app", conf=hook + f"bind = ['127.0.0.1:{kept}', '127.0.0.1:{dropped}']", bind=False, allowed=[""])
    server.listening()
    server.address = ("127.0.0.1", kept)
    server.get()
    if stays == "nobody":
        # Another forkserver has taken over before, and the workers of the first are gone.
        [forkserver] = [pid for pid in server.family() if ": forkserver [" in processes.command_line(pid)]
        [worker] = server.workers()
        os.kill(forkserver, signal.SIGKILL)
        server.stderr.find("the workers serve on")
        wait_for(lambda: any(": forkserver [" in processes.command_line(pid) for pid in server.family()))
        os.kill(worker, signal.SIGTERM)
        wait_for(lambda: server.workers() and worker not in server.workers())
        server.get()
    launcher.write("gunicorn.conf.py", hook + f"bind = '127.0.0.1:{kept}'")
    hup(server, 1)
    if stays == "forkserver":
        server.stderr.find("Generation 1 stays until the stop")
    wait_for(lambda: is_closed(dropped))
    assert server.get().status == 200
    launcher.write("gunicorn.conf.py", hook + f"bind = ['127.0.0.1:{kept}', '127.0.0.1:{dropped}']")
    hup(server, 2)
    with Connection(("127.0.0.1", dropped)) as connection:
        assert connection.request().final().status == 200


def test_a_reload_that_gets_stuck_is_overtaken(start, launcher):
    """Its first worker was ready, no other one can be: the settings that mend it are not kept waiting."""
    server = start("process:app", conf="workers = 2", allowed=[""])
    server.get()
    launcher.write(
        "gunicorn.conf.py",
        """
        import os
        workers = 2
        def post_worker_init(worker):
            try:
                os.mkdir("first")
            except FileExistsError:
                raise LookupError("on purpose")
        """,
    )
    server.send_signal(signal.SIGHUP)
    server.stderr.find("A worker ended before it was ready")
    launcher.write("gunicorn.conf.py", "workers = 2")
    server.send_signal(signal.SIGHUP)
    server.stderr.find("Reloaded: generation 3 serves with 2 workers")
    assert server.get().status == 200


def test_when_ready_may_end_after_the_next_reload(start, launcher):
    conf = """
    from events import tell, wait
    def when_ready(server):
        tell("when_ready")
        if len(__import__("os").environ.get("SLOW", "")): wait()
    """
    server = start("process:app", conf=conf)
    server.get()
    server.events.until("when_ready")
    launcher.write("gunicorn.conf.py", "import os\nos.environ['SLOW'] = 'yes'\n" + "\n".join(line[4:] for line in conf.splitlines()))
    hup(server, 1)
    server.events.until("when_ready")
    launcher.write("gunicorn.conf.py", "")
    hup(server, 2)
    server.events.release()
    assert processes.wait_until(lambda: len([p for p in server.family() if ": forkserver [" in processes.command_line(p)]) == 1)
    assert server.stop() == 0


def test_a_pre_exec_that_hangs_is_ended(start, launcher):
    # Its first worker has to be ready in this time, too.
    conf = "import time\nboot_timeout = 4\ndef pre_exec(server): time.sleep(600)"
    server = start("process:app", conf=conf, allowed=["took too long", "Upgrade failed", "was ended by"])
    worker = server.get().json["pid"]
    server.send_signal(signal.SIGUSR2)
    server.stderr.find("Upgrade failed, nothing has changed: the forkserver ended in pre_exec")
    assert server.get().json["pid"] == worker
    launcher.write("gunicorn.conf.py", "")
    hup(server, 1)
    server.send_signal(signal.SIGUSR2)
    new = int(server.stderr.find(SERVES)[-1][1])
    os.kill(new, signal.SIGTERM)
    server.stderr.find("this one goes on")
    server.allowed.append("this one goes on")


def test_a_drain_is_none_beside_a_new_arbiter(start, launcher):
    """The service goes on: nobody is told that it stops, and nobody is sent away."""
    notify = NotifySocket(launcher.directory / "notify.sock")
    server = start("--drain-delay", "60", "process:app", env={"NOTIFY_SOCKET": notify.address})
    server.get()
    server.send_signal(signal.SIGUSR2)
    new = int(server.stderr.find(SERVES)[-1][1])
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    _, state = notify.until("MAINPID")
    assert state["MAINPID"] == str(new)
    assert not [state for _, state in notify.said if "STOPPING" in state]
    os.kill(new, signal.SIGQUIT)
    server.wait_family()
    os.unlink(notify.address)


def test_a_drain_begins_no_reload(start, launcher):
    conf = """
        from events import tell, wait
        tell("read")
        def post_worker_init(worker):
            tell("in")
            wait()
        """
    server = start("--drain-delay", "1", "--workers", "2", "process:app", conf=conf, allowed=[""])
    server.events.take("in", 2)
    server.events.release(2)
    server.get()
    server.send_signal(signal.SIGHUP)
    server.events.until("in")
    server.events.release()
    server.stderr.find("Reload: generation 2 takes over")
    # Its second worker holds the reload up: the next one cannot begin before the drain does.
    server.events.until("in")
    server.send_signal(signal.SIGHUP)
    server.stderr.find("A reload is under way; another one will follow it")
    server.send_signal(signal.SIGTERM)
    server.stderr.find("Stopping in 1 s")
    server.events.release(9)
    assert server.wait() == 0
    assert server.events.names().count("read") == 2
    assert "generation 3" not in server.stderr.text


def test_another_spelling_of_an_address_is_the_same(start, launcher, free_port):
    port = free_port()
    server = start("process:app", conf=f"bind = 'localhost:{port}'", bind=False)
    server.listening()
    server.address = ("127.0.0.1", port)
    server.get()
    launcher.write("gunicorn.conf.py", f"bind = '127.0.0.1:{port}'")
    hup(server, 1)
    assert server.get().status == 200


def test_an_address_that_overlaps_changes_nothing(start, launcher, free_port):
    port = free_port()
    server = start("process:app", conf=f"bind = '0.0.0.0:{port}'", bind=False, allowed=["already in use", "connection to", "Reload failed", "in use"])
    server.listening()
    server.address = ("127.0.0.1", port)
    worker = server.get().json["pid"]
    launcher.write("gunicorn.conf.py", f"bind = '127.0.0.1:{port}'")
    server.send_signal(signal.SIGHUP)
    server.stderr.find("Reload failed, nothing has changed: can't listen at 127.0.0.1")
    assert server.get().json["pid"] == worker
