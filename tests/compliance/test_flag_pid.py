"""`--pid`: the pidfile."""

import os
import stat
import subprocess
import sys

import pytest


@pytest.mark.parametrize("flag", [["-p", "app.pid"], ["--pid", "app.pid"], ["--pid=app.pid"]])
def test_it_holds_the_pid_and_goes_away(start, launcher, flag):
    path = launcher.directory / "app.pid"
    server = start(*flag, "hello:app")
    server.get()
    assert path.read_text() == f"{server.pid}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert server.stop() == 0
    assert not path.exists()


def test_it_is_there_before_the_listener(start, launcher):
    server = start("--pid", "app.pid", "--bind", "unix:app.sock", "hello:app", bind=False)
    server.listening()
    assert (launcher.directory / "app.pid").exists()


def test_from_the_config_file(start, launcher):
    server = start("hello:app", conf="pidfile = 'app.pid'")
    server.get()
    assert (launcher.directory / "app.pid").read_text() == f"{server.pid}\n"


def dead_pid() -> int:
    """Nobody has it: its process has just been reaped."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("content", ["", "garbage\n", None], ids=["empty", "garbage", "dead"])
def test_a_stale_one_is_replaced(start, launcher, content):
    path = launcher.write("app.pid", f"{dead_pid()}\n" if content is None else content)
    server = start("--pid", "app.pid", "hello:app")
    server.get()
    assert path.read_text() == f"{server.pid}\n"


def test_that_of_a_living_process_is_respected(run, launcher):
    """Exit 1, nothing bound, and the file is left alone."""
    path = launcher.write("taken.pidfile", f"{os.getpid()}\n")
    server = run("--pid", "taken.pidfile", "--bind", "unix:app.sock", "hello:app", bind=False, code=1)
    assert path.read_text() == f"{os.getpid()}\n"
    assert str(os.getpid()) in server.stderr.text
    assert "Listening at" not in server.stderr.text


def test_two_servers(start, launcher):
    """The second one gives way, the first goes on."""
    first = start("--pid", "app.pid", "hello:app")
    first.get()
    second = start("--pid", "app.pid", "hello:app", allowed=[""])
    assert second.wait() == 1
    assert (launcher.directory / "app.pid").read_text() == f"{first.pid}\n"
    assert first.get().status == 200
    first.stop()
    second.close()


def test_one_that_is_no_longer_ours_stays(start, launcher):
    path = launcher.directory / "app.pidfile"
    server = start("--pid", "app.pidfile", "hello:app")
    server.get()
    path.write_text("1\n")
    assert server.stop() == 0
    assert path.read_text() == "1\n"


def test_missing_directory(run):
    run("--pid", "nowhere/app.pid", "hello:app", code=1)


@pytest.mark.parametrize("app", ["missing:app", "hello:missing"])
def test_nothing_stays_of_a_boot_that_failed(run, launcher, app):
    run("--pid", "app.pid", app, code=3 if app == "missing:app" else 4)
    assert not (launcher.directory / "app.pid").exists()


def test_nothing_stays_of_a_bind_that_failed(run, launcher):
    run("--pid", "app.pidfile", "--bind", "192.0.2.1:0", "hello:app", bind=False, code=1)
    # Gunicorn leaves it behind: the next start finds a dead pid in it.
    assert (launcher.directory / "app.pidfile").exists() == (not launcher.ours)
