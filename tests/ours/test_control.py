"""The control socket, where it says more or takes more than Gunicorn's; and `rgunicorn ctl`."""

import json
import os
import pty
import select
import signal
import socket
import stat
import struct
import subprocess

import pytest

from support import processes
from support.control import Control

pytestmark = pytest.mark.only("ours")

MAX = 16 << 20
#: Whoever reads it waits at the gate: a reload goes on when the test lets it.
GATED = "from events import wait; wait()"


@pytest.fixture
def server(start, launcher):
    def begin(*args, app="process:app", **more):
        server = start("--control-socket", "g.ctl", *args, app, **more)
        server.get()
        return server, launcher.directory / "g.ctl"

    return begin


@pytest.fixture
def ctl(program, launcher):
    """Runs the client; its exit code, output and errors."""

    def run(*args, stdin=""):
        argv = [program.argv[0], "ctl", "--socket", "g.ctl", *args]
        done = subprocess.run(argv, cwd=launcher.directory, input=stdin, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    return run


def test_a_reload_that_is_waited_for(server, ctl):
    begun, _ = server("--workers", "2")
    assert processes.wait_until(lambda: len(begun.workers()) == 2)
    before = set(begun.workers())
    code, out, err = ctl("reload", "--wait", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"status": "reloaded", "generation": 2}
    assert processes.wait_until(lambda: not before & set(begun.workers()))
    assert processes.wait_until(lambda: len(begun.workers()) == 2)


@pytest.mark.parametrize("broken, why", [("config", "LookupError: on purpose"), ("app", "LookupError: on purpose")])
def test_a_reload_that_is_discarded(server, ctl, launcher, broken, why):
    begun, _ = server(conf="", allowed=["on purpose", "Reload failed", "exited with code", "booting"])
    before = begun.workers()
    launcher.write({"config": "gunicorn.conf.py", "app": "process.py"}[broken], "raise LookupError('on purpose')")
    code, out, err = ctl("reload", "--wait")
    assert code == 1 and out == ""
    assert err.startswith("Error: Reload failed, nothing has changed: ") and why in err
    assert processes.wait_until(lambda: begun.workers() == before)


def test_a_reload_is_waited_for_while_another_one_rolls(server, launcher):
    """The answer is that of the reload that was asked for, not of the one before it."""
    begun, path = server(conf="import time; time.sleep(0.3); workers = 2")
    with Control(path) as first, Control(path) as second:
        first.send({"id": 1, "command": "reload --wait"})
        begun.stderr.find("Handling signal: hup")
        launcher.write("gunicorn.conf.py", "workers = 3")
        assert second.do("reload", "--wait")["status"] == "reloaded"
        assert first.receive()["data"]["status"] == "reloaded"


def test_one_wait_at_a_time(server, launcher):
    launcher.events.release()
    begun, path = server(conf=GATED)
    with Control(path) as client:
        client.send({"id": 1, "command": "reload --wait"})
        client.send({"id": 2, "command": "reload --wait"})
        client.send({"id": 3, "command": "show stats"})
        assert client.receive() == {
            "id": 2,
            "status": "error",
            "error": "Command failed: this connection waits for a reload already",
        }
        assert client.receive()["id"] == 3
        begun.events.release()
        assert client.receive()["id"] == 1


def test_a_client_that_sends_no_more_gets_its_answers(server):
    begun, path = server(conf="import time; time.sleep(1)")
    for command in ("show stats", "reload", "reload --wait"):
        with Control(path) as client:
            client.send({"id": 1, "command": "help"})
            client.send({"id": 2, "command": command})
            client.socket.shutdown(socket.SHUT_WR)
            assert client.receive()["id"] == 1
            spent = processes.cpu_ticks(begun.pid)
            assert client.receive()["id"] == 2 and client.receive() is None
            # The end of its input woke nobody meanwhile.
            assert processes.cpu_ticks(begun.pid) - spent < 30


def test_who_is_gone_waits_for_nothing(server, launcher):
    launcher.events.release()
    begun, path = server(conf=GATED)
    descriptors = processes.descriptors(begun.pid)
    with Control(path) as client:
        client.send({"id": 1, "command": "reload --wait"})
        client.socket.shutdown(socket.SHUT_WR)
        begun.stderr.find("Handling signal: hup")
    begun.events.release()
    begun.stderr.find("Reloaded: generation 2")
    # Fewer, where something of the start was still about to go.
    assert processes.wait_until(lambda: processes.descriptors(begun.pid) <= descriptors)


def test_a_stop_ends_the_wait(server, launcher):
    launcher.events.release()
    begun, path = server(conf=GATED, allowed=["Reload failed"])
    with Control(path) as client:
        client.send({"id": 1, "command": "reload --wait"})
        begun.stderr.find("Handling signal: hup")
        begun.send_signal(signal.SIGTERM)
        answer = client.receive()
        assert answer["status"] == "error" and "the server stops" in answer["error"]
        assert begun.wait() == 0


def test_what_workers_do_is_shown(server, ctl):
    begun, path = server(app="blocking:app")
    with begun.connect() as connection, Control(path) as client:
        connection.request(target="/block")
        begun.events.until("in")
        [worker] = client.do("show workers")["workers"]
        assert worker["booted"] is True and worker["state"] == "ready" and worker["generation"] == 1
        assert worker["in_flight"][0]["request"] == "GET /block" and worker["rss"] > 1 << 20
        assert "GET /block" in ctl("show", "workers")[1]
        begun.events.release()
        assert connection.response().status == 200
        assert processes.wait_until(lambda: client.do("show workers")["workers"][0]["in_flight"] == [])
        assert processes.wait_until(lambda: client.do("show stats")["requests"] >= 2)


def test_the_client_speaks_plainly(server, ctl, program, launcher):
    begun, _ = server()
    assert ctl("show", "stats")[1].splitlines()[1].split() == ["PID:", str(begun.pid)]
    assert ctl("-c", "show stats")[0] == 0
    assert "show workers" in ctl("help")[1]
    code, out, err = ctl("fly")
    assert (code, out) == (1, "") and err == "Error: Invalid argument: Unknown command: fly\n"
    assert ctl("worker", "kill", "1")[0] == 1
    code, out, err = ctl(stdin="show stats\n\nfly\nshow stats\n")
    assert code == 1 and out.count("PID:") == 1 and "Unknown command" in err
    assert ctl(stdin="worker add 1\nquit\nfly\n")[0] == 0
    begun.stop()
    code, out, err = ctl("show", "stats")
    assert code == 1 and "can't connect to" in err and "g.ctl" in err
    assert ctl("--no-such-flag")[0] == 2
    for empty in ("", " "):
        code, out, err = ctl("-c", empty)
        assert code == 2 and out == "" and "is empty" in err and "panicked" not in err
    name = launcher.directory / "rgunicornctl"
    name.symlink_to(program.argv[0])
    shown = subprocess.run([name, "--version"], capture_output=True, text=True)
    assert shown.returncode == 0 and shown.stdout.startswith("rgunicornctl ")


def test_a_place_that_cannot_be_had_is_one_line(start, launcher):
    """Whoever has a read-only root, or runs two servers, gets a line and a server."""
    (launcher.directory / "file").write_text("mine")
    for path in ("/proc/nowhere/g.ctl", "file", "file/below", "x" * 200):
        server = start("--control-socket", path, "process:app")
        assert server.get().status == 200
        [line] = server.stderr.find("No control socket: ")
        assert "[INFO]" in line.string
        assert server.stop() == 0
    assert (launcher.directory / "file").read_text() == "mine"


def test_a_second_server_leaves_the_firsts_alone(start, launcher):
    first = start("--control-socket", "g.ctl", "process:app")
    first.get()
    second = start("--control-socket", "g.ctl", "process:app")
    second.get()
    second.stderr.find("No control socket: .*another server has it")
    second.send_signal(signal.SIGTERM)
    assert second.wait() == 0
    with Control(launcher.directory / "g.ctl") as client:
        assert client.do("show stats")["pid"] == first.pid
    assert first.stop() == 0


def test_a_server_that_takes_nobody_is_not_waited_for(start, launcher):
    path = launcher.directory / "g.ctl"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        server = start("--control-socket", "g.ctl", "process:app")
        assert server.get().status == 200
        server.stderr.find("No control socket: .*another server has it")
        assert server.stop() == 0
    path.unlink()


def test_a_place_that_could_not_be_had_is_tried_again(start, launcher):
    path = launcher.directory / "g.ctl"
    path.write_text("in the way")
    server = start("--control-socket", "g.ctl", "process:app")
    server.get()
    server.stderr.find("No control socket: ")
    server.send_signal(signal.SIGHUP)
    server.stderr.find("Reloaded: generation 2")
    path.unlink()
    server.send_signal(signal.SIGHUP)
    server.stderr.find("Control socket listening at")
    with Control(path) as client:
        assert client.do("show stats")["pid"] == server.pid
    server.stop()
    assert len(server.stderr.find("No control socket: ")) == 1


def test_what_a_killed_server_left_is_replaced(start, launcher):
    first = start("--control-socket", "g.ctl", "process:app", allowed=[""])
    first.get()
    first.send_signal(signal.SIGKILL)
    first.wait_family()
    assert (launcher.directory / "g.ctl").exists()
    second = start("--control-socket", "g.ctl", "process:app")
    second.get()
    with Control(launcher.directory / "g.ctl") as client:
        assert client.do("show stats")["pid"] == second.pid


def test_it_moves_and_goes_at_a_reload(start, launcher):
    server = start("process:app", conf="control_socket = 'a.ctl'")
    server.get()
    launcher.write("gunicorn.conf.py", "control_socket = 'dir/b.ctl'; control_socket_mode = 0o660")
    with Control(launcher.directory / "a.ctl") as client:
        client.send({"id": 1, "command": "reload --wait"})
        # Its socket is closed with the generation that had it.
        assert client.receive() is None
    server.stderr.find("Reloaded: generation 2")
    assert not (launcher.directory / "a.ctl").exists()
    moved = launcher.directory / "dir" / "b.ctl"
    assert stat.S_IMODE(moved.stat().st_mode) == 0o660 and stat.S_IMODE(moved.parent.stat().st_mode) == 0o700
    launcher.write("gunicorn.conf.py", "control_socket_disable = True")
    with Control(moved) as client:
        assert client.do("reload") == {"status": "reloading"}
    server.stderr.find("Reloaded: generation 3")
    assert not moved.exists()


def test_it_changes_hands_at_promotion(start, launcher):
    server = start("--control-socket", "g.ctl", "process:app")
    server.get()
    server.send_signal(signal.SIGUSR2)
    new = int(server.stderr.find(r"the new arbiter \(pid:(\d+)\) serves beside this one")[-1][1])
    path = launcher.directory / "g.ctl"
    with Control(path) as client:
        assert client.do("show stats")["pid"] == server.pid
    server.stop()

    def is_new():
        try:
            with Control(path) as client:
                return client.do("show stats")["pid"] == new
        except OSError:
            return False

    assert processes.wait_until(is_new)
    os.kill(new, signal.SIGTERM)
    server.wait_family()
    assert not path.exists()


GARBAGE = [
    b"GET / HTTP/1.1\r\n\r\n",
    struct.pack(">I", MAX + 1) + b"x",
    struct.pack(">I", 0),
    struct.pack(">I", 3) + b"\xff\xfe\xfd",
    struct.pack(">I", 2) + b"[]",
    struct.pack(">I", 60_000) + b"[" * 60_000,
    struct.pack(">I", 100) + b"half of it",
    b"\0\0",
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_disturbs_nobody(server, garbage):
    begun, path = server()
    descriptors = processes.descriptors(begun.pid)
    for _ in range(3):
        with Control(path) as client:
            client.socket.sendall(garbage)
    with Control(path) as client:
        assert client.do("show workers")["count"] == 1
    # Fewer, where something of the start was still about to go.
    assert processes.wait_until(lambda: processes.descriptors(begun.pid) <= descriptors)
    assert begun.get().status == 200


def test_frames_of_16_megabytes_are_read_past(server):
    begun, path = server()
    with Control(path) as client:
        client.send(b" " * MAX)
        assert "are no command" in client.receive()["error"]
        assert client.do("show stats")["pid"] == begun.pid
    kilobytes = int(processes.status_field(begun.pid, "VmRSS").split()[0])
    assert kilobytes < 12 << 10


def test_200_connections_keep_nobody_out(server):
    begun, path = server()
    idle = [Control(path) for _ in range(200)]
    assert idle[-1].do("show workers")["count"] == 1
    with Control(path) as client:
        assert client.do("show workers")["count"] == 1
    # Those that were silent for longest made room.
    assert idle[0].receive() is None
    assert begun.get().status == 200
    for client in idle:
        client.socket.close()


def test_a_client_that_does_not_read_is_dropped(server):
    begun, path = server()
    with Control(path) as client:
        request = json.dumps({"id": 1, "command": "help"}).encode()
        message = struct.pack(">I", len(request)) + request
        with pytest.raises(OSError):
            client.socket.settimeout(20)
            for _ in range(100_000):
                client.socket.sendall(message * 20)
    with Control(path) as client:
        assert client.do("show stats")["pid"] == begun.pid
    assert begun.get().status == 200


PROMPT = "rgunicorn> "


class Terminal:
    """The client at a terminal."""

    def __init__(self, argv, directory):
        self.master, slave = pty.openpty()
        environment = os.environ | {"HOME": str(directory), "TERM": "xterm"}
        # A terminal of its own, so that Ctrl-C is its own too.
        self.process = subprocess.Popen(
            argv, cwd=directory, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.text = ""

    def type(self, keys):
        os.write(self.master, keys.encode())

    def until(self, what, since=0):
        """Reads until it has been shown after so many characters; returns how many there are by then."""
        while what not in self.text[since:]:
            assert select.select([self.master], [], [], processes.PATIENCE)[0], self.text
            try:
                self.text += os.read(self.master, 65536).decode(errors="replace")
            except OSError:
                raise AssertionError(f"it ended: {self.text}") from None
        return self.text.index(what, since) + len(what)

    def ask(self, keys, answer):
        """Types at the prompt, and waits for the answer and for the next prompt: between them the terminal is not the client's."""
        since = len(self.text)
        self.type(keys)
        self.until(PROMPT, self.until(answer, since))

    def end(self):
        try:
            return self.process.wait(processes.PATIENCE)
        finally:
            self.process.kill()
            os.close(self.master)


def test_the_prompt_has_a_history(server, program, launcher):
    server()
    argv = [program.argv[0], "ctl", "--socket", "g.ctl"]
    terminal = Terminal(argv, launcher.directory)
    terminal.until(PROMPT)
    # A letter that is taken back before the line is sent.
    terminal.ask("show statx\x7fs\r", "PID:")
    terminal.ask("fly\r", "Unknown command: fly")
    up = "\x1b[A"
    terminal.ask(f"{up}{up}\r", "PID:")
    terminal.type("\x03")
    assert terminal.end() == 130
    # What was typed is there for the next one.
    terminal = Terminal(argv, launcher.directory)
    terminal.until(PROMPT)
    terminal.ask(f"{up}\r", "PID:")
    terminal.type("\x04")
    assert terminal.end() == 0
