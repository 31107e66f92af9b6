"""What an operator installs from `conf/`: the init script and the logrotate file, at work on a real server."""

import os
import shutil
import subprocess

import pytest

from support import processes
from support.http import Connection
from support.program import REPOSITORY

pytestmark = pytest.mark.only("ours")

CONF = REPOSITORY / "conf"


class Service:
    """The init script with everything in one directory."""

    def __init__(self, launcher):
        self.directory = launcher.directory
        self.pidfile, self.log, self.socket = (self.directory / name for name in ("app.pid", "error.log", "app.sock"))
        program, *arguments = launcher.program.argv
        self.environment = launcher.environment() | {
            "NAME": "app",
            "DEFAULTS": str(launcher.write("defaults", f'DIRECTORY="{self.directory}"\n')),
            "DAEMON": program,
            "DAEMON_ARGS": " ".join([*arguments, "--bind", "unix:app.sock", "--access-logfile", "access.log", "process:app"]),
            "PIDFILE": str(self.pidfile),
            "LOGFILE": str(self.log),
            "STOP_WAIT": "30",
        }

    def __call__(self, action, code=0, **environment):
        done = subprocess.run(
            [CONF / "rgunicorn.init", action], env=self.environment | environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == code, (action, done.stdout, done.stderr, self.log.exists() and self.log.read_text())
        return done.stdout + done.stderr

    def pid(self):
        return int(self.pidfile.read_text())

    def master(self):
        """Who serves."""
        with Connection(str(self.socket)) as connection:
            return connection.request().final().json["ppid"]


@pytest.fixture
def service(launcher):
    before = set(processes.descendants(os.getpid()))
    service = Service(launcher)
    yield service
    left = [pid for pid in processes.descendants(os.getpid()) if pid not in before]
    living = [pid for pid in left if processes.alive(pid)]
    processes.end(living)
    processes.reap_strangers(left)
    assert not living, "processes left"


def test_start_status_stop(service):
    assert "does not run" in service("status", code=3)
    assert "started" in service("start")
    assert service.master() == service.pid()
    assert f"runs (pid {service.pid()})" in service("status")
    assert "already runs" in service("start")
    assert "stopped" in service("stop")
    assert not service.pidfile.exists()
    assert "does not run" in service("stop")
    service("status", code=3)


def test_restart_and_try_restart(service):
    service("try-restart")
    assert not service.pidfile.exists(), "what does not run stays so"
    service("restart")
    first = service.pid()
    service("try-restart")
    assert service.pid() != first and service.master() == service.pid()
    service("stop")


def test_reload(service):
    assert "does not run" in service("reload", code=7)
    service("start")
    pid = service.pid()
    service("reload")
    assert processes.wait_until(lambda: "Reloaded: generation 2 serves" in service.log.read_text())
    assert service.pid() == pid == service.master()
    service("stop")


def test_upgrade(service):
    service("upgrade", code=7)
    service("start")
    old = service.pid()
    assert "upgraded" in service("upgrade")
    # The old one has removed its file, then the new one gives its own this name.
    assert processes.wait_until(lambda: service.pidfile.exists() and service.pid() != old)
    assert service.master() == service.pid() != old
    service("stop")


def test_an_upgrade_that_fails_leaves_the_old_one(service):
    service("start")
    old = service.pid()
    (service.directory / "gunicorn.conf.py").write_text("1 / 0\n")
    assert "was not upgraded" in service("upgrade", code=1)
    assert service.pid() == old == service.master()
    service("stop")


def test_a_start_that_fails_says_why(service):
    assert "no_such_option" in service("start", code=1, DAEMON_ARGS="--no_such_option app:app")
    assert "is missing" in service("start", code=5, DAEMON="/no/such/program")


def test_the_pid_of_somebody_else_is_left_alone(service):
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        service.pidfile.write_text(f"{sleeper.pid}\n")
        assert "left" in service("status", code=1)
        service("stop")
        service("reload", code=7)
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()
    for garbage in ("", "-1\n", "x y\n"):
        service.pidfile.write_text(garbage)
        service("status", code=1)


def test_an_unknown_action(service):
    assert "usage" in service("jump", code=2)


def test_logrotate(service):
    program = shutil.which("logrotate", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program is not None, "logrotate is missing: ./test installs it"
    service("start")
    service.master()
    access = service.directory / "access.log"
    assert processes.wait_until(lambda: access.exists() and access.read_text().count("GET / ") == 1)
    text = (CONF / "rgunicorn.logrotate").read_text()
    text = text.replace("/var/log/rgunicorn", str(service.directory)).replace("/run/rgunicorn.pid", str(service.pidfile))
    # As root it refuses files that others may write to; compressing takes time, and nothing here.
    text = text.replace("    compress\n", "    nocompress\n")
    configuration = service.directory / "rotate.conf"
    configuration.write_text(text)
    configuration.chmod(0o644)
    command = [program, "--force", "--state", str(service.directory / "state"), str(configuration)]
    done = subprocess.run(command, capture_output=True, text=True, env=service.environment, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (service.directory / "access.log.1").read_text().count("GET / ") == 1
    assert processes.wait_until(lambda: access.exists() and service.log.exists())
    # The files are there before the workers have heard of them.
    assert processes.wait_until(lambda: service.master() and "GET / " in access.read_text())
    service("stop")
    assert "Shutting down" in service.log.read_text()


def test_the_service_starts_with_flags_that_there_are(launcher):
    """The rest of the units is systemd's to judge: `systemd-analyze verify`."""
    unit = (CONF / "rgunicorn.service").read_text()
    command = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    words = command.removeprefix("ExecStart=").split()[1:]
    words = [word.replace("/srv/app", str(launcher.directory)) for word in words]
    launcher.write("app.py", "def app(environ, start_response): pass\n")
    launcher.write("gunicorn.conf.py", "")
    launcher.run("--check-config", *words, bind=False, code=0)
