"""Files that are in the way: pidfiles of others, paths that are taken. At a start nothing begins, at HUP nothing changes."""

import os
import signal

import pytest

from support import processes

pytestmark = pytest.mark.only("ours")

TAKEN = "somebody's file"


def test_a_socket_path_that_is_taken_by_a_file(run, launcher):
    path = launcher.write("taken", TAKEN)
    server = run("--bind", "unix:taken", "--pid", "app.pid", "hello:app", bind=False, code=1)
    assert "taken" in server.stderr.text
    assert path.read_text() == TAKEN
    assert not (launcher.directory / "app.pid").exists()


@pytest.mark.parametrize("pidfile", ["/proc/app.pid", "directory"], ids=["unwritable", "a directory"])
def test_a_pidfile_that_cannot_be_written(run, launcher, pidfile):
    (launcher.directory / "directory").mkdir()
    server = run("--pid", pidfile, "hello:app", code=1)
    assert "Listening at" not in server.stderr.text
    assert pidfile in server.stderr.text
    assert (launcher.directory / "directory").is_dir()


@pytest.mark.parametrize(
    "setting, told",
    [
        ("bind = 'unix:taken'", "taken"),
        ("pidfile = 'living'", str(os.getppid())),
        ("pidfile = '/proc/app.pid'", "/proc/app.pid"),
        ("pidfile = 'directory'", "directory"),
        ("user = 'no-such-user'", "no-such-user"),
        ("group = 'no-such-group'", "no-such-group"),
    ],
    ids=lambda text: text.replace(" ", ""),
)
def test_at_hup_nothing_changes(start, launcher, setting, told):
    launcher.write("taken", TAKEN)
    living = launcher.write("living", f"{os.getppid()}\n")
    (launcher.directory / "directory").mkdir()
    conf = "pidfile = 'app.pid'\nbind = 'unix:app.sock'\n"
    server = start("hello:app", conf=conf, bind=False, allowed=["Reload failed", "connection to"])
    server.listening()
    server.address = str(launcher.directory / "app.sock")
    server.get()
    before = [pid for pid in server.family() if "worker" in processes.command_line(pid)]
    launcher.write("gunicorn.conf.py", f"{conf}{setting}\n")
    server.send_signal(signal.SIGHUP)
    line = server.stderr.find("Reload failed, nothing has changed: (.*)")[0][1]
    assert told in line
    assert server.get().status == 200
    assert processes.wait_until(lambda: [pid for pid in server.family() if "worker" in processes.command_line(pid)] == before)
    assert (launcher.directory / "app.pid").read_text() == f"{server.pid}\n"
    assert (launcher.directory / "taken").read_text() == TAKEN
    assert living.read_text() == f"{os.getppid()}\n"


def test_a_pidfile_under_another_name_stays(start, launcher):
    (launcher.directory / "run").mkdir()
    (launcher.directory / "link").symlink_to("run")
    server = start("hello:app", conf="pidfile = 'link/app.pid'")
    server.get()
    launcher.write("gunicorn.conf.py", "pidfile = 'run/app.pid'")
    server.send_signal(signal.SIGHUP)
    server.stderr.find(r"Reloaded: generation \d+ serves")
    pidfile = launcher.directory / "run" / "app.pid"
    assert pidfile.read_text() == f"{server.pid}\n"
    server.stop()
    assert not pidfile.exists()


def test_a_stale_pidfile_is_taken_over_at_hup(start, launcher):
    launcher.write("stale.pid", "garbage\n")
    server = start("hello:app", conf="")
    server.get()
    launcher.write("gunicorn.conf.py", "pidfile = 'stale.pid'\n")
    server.send_signal(signal.SIGHUP)
    server.stderr.find(r"Reloaded: generation \d+ serves")
    assert (launcher.directory / "stale.pid").read_text() == f"{server.pid}\n"
