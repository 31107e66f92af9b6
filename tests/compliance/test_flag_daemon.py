"""`--daemon`: in the background, in a session of its own, away from the terminal."""

import os
import signal
import socket

import pytest

from support import processes


def daemon(start, launcher, *arguments, app="process:app", **options):
    """Starts one; returns its launcher, which has ended, and its pid."""
    arguments = ("--pid", "daemon.pidfile", "--error-logfile", "error.log", *arguments)
    server = start(*arguments, app, conf="from events import tell\ndef when_ready(server): tell('ready', server.pid)\n", **options)
    assert server.wait() == 0
    pid = server.events.until("ready")[1]
    return server, pid


def end(server, pid):
    os.kill(pid, signal.SIGTERM)
    assert processes.wait_gone(pid)
    assert not (server.directory / "daemon.pidfile").exists()


@pytest.mark.parametrize("flag", ["-D", "--daemon"])
def test_it_goes_to_the_background(start, launcher, flag):
    server, pid = daemon(start, launcher, flag)
    assert pid != server.pid
    facts = server.get().json
    assert (launcher.directory / "daemon.pidfile").read_text() == f"{pid}\n"
    assert facts["ppid"] == pid
    assert facts["session"] != server.pid
    assert facts["session"] != pid, "a session's leader could get a terminal back"
    end(server, pid)


def test_standard_streams_lead_nowhere(start, launcher):
    server, pid = daemon(start, launcher, "--daemon")
    fds = server.get().json["fds"]
    assert [fds[number] for number in "012"] == ["/dev/null"] * 3
    assert [os.readlink(f"/proc/{pid}/fd/{number}") for number in "012"] == ["/dev/null"] * 3
    end(server, pid)


def test_umask_and_directory(start, launcher):
    server, pid = daemon(start, launcher, "--daemon")
    facts = server.get().json
    assert facts["umask"] == 0o022
    assert facts["cwd"] == str(launcher.directory)
    end(server, pid)


def test_from_the_config_file(start, launcher):
    server = start(
        "process:app",
        conf="""
        from events import tell
        daemon = True
        pidfile = "daemon.pidfile"
        errorlog = "error.log"
        def when_ready(server): tell("ready", server.pid)
        """,
    )
    assert server.wait() == 0
    pid = server.events.until("ready")[1]
    assert pid != server.pid
    assert server.get().json["ppid"] == pid
    end(server, pid)


def test_the_log_goes_to_its_file(start, launcher):
    server, pid = daemon(start, launcher, "--daemon")
    server.get()
    end(server, pid)
    log = (launcher.directory / "error.log").read_text()
    assert f"[{pid}] [INFO] Listening at: " in log
    assert server.stderr.text == ""


def test_stdio_inheritance(start, launcher):
    """Streams that are no terminals stay as they are."""
    server, pid = daemon(start, launcher, "--daemon", "-R")
    fds = server.get().json["fds"]
    assert fds["0"] == "/dev/null"
    assert fds["1"].startswith("pipe:") and fds["2"].startswith("pipe:")
    end(server, pid)


def test_an_address_in_use(start, launcher):
    """The daemon ends. The launcher of Gunicorn's has said 0 long before; ours waits and says 1."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        server = start("--daemon", "--error-logfile", "error.log", "--bind", f"127.0.0.1:{port}", "hello:app", bind=False, allowed=[""])
        code = server.wait()
        server.wait_family()
    if server.ours:
        assert code == 1
        assert "in use" in server.stderr.text
    else:
        assert code == 0
    assert "Connection in use" in (launcher.directory / "error.log").read_text()


def test_a_config_error_is_seen_before(run):
    run("--daemon", "--workers", "-1", "hello:app", code=1)
