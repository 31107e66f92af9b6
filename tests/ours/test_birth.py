"""How processes of ours come to be, and what app code inherits."""

import shutil
import signal
import subprocess

import pytest

from support import processes
from support.ours import forkserver, socket_inodes, workers
from support.program import VENV_PYTHON

pytestmark = pytest.mark.only("ours")

BOOT_FAILS = ["on purpose", "exited with code 3", "could not boot", "failed to boot"]


def test_the_family(start):
    """Workers are the arbiter's children, beside the forkserver."""
    server = start("--workers", "3", "process:app", conf="from events import tell\ndef post_worker_init(worker): tell('booted', worker.pid)\n")
    booted = {event[1] for event in server.events.take("booted", 3)}
    assert set(workers(server)) == booted
    assert processes.parent(forkserver(server)) == server.pid
    assert len(server.family()) == 5


def test_titles(start):
    server = start("--name", "shop", "process:app")
    worker = server.get().json["pid"]
    titles = {pid: processes.command_line(pid) for pid in (server.pid, forkserver(server), worker)}
    assert list(titles.values()) == ["rgunicorn: master [shop]", "rgunicorn: forkserver [shop]", "rgunicorn: worker [shop]"]


def test_one_process_group(start):
    """So that Ctrl-C and Ctrl-Z work."""
    server = start("--workers", "2", "hello:app", conf="from events import tell\ndef post_worker_init(worker): tell('booted')\n")
    server.events.take("booted", 2)
    groups = {processes.stat_fields(pid)[2] for pid in server.family()}
    assert groups == {str(server.pid)}


def test_the_arbiter_has_no_python(start):
    server = start("hello:app")
    server.get()
    with open(f"/proc/{server.pid}/maps") as maps:
        assert "python" not in maps.read().replace(str(server.directory), "")


def test_no_descriptor_of_the_forkserver_reaches_the_app(start):
    """Least of all its link to the arbiter."""
    server = start("process:app")
    facts = server.get().json
    assert not socket_inodes(forkserver(server)) & set(facts["fds"].values())


def test_what_the_app_starts_inherits_the_standard_streams_only(start, launcher):
    launcher.write(
        "app.py",
        """
        import subprocess, sys
        LIST = "import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + n)))"
        def app(environ, start_response):
            done = subprocess.run([sys.executable, "-c", LIST], close_fds=False, capture_output=True)
            start_response("200 OK", [])
            return [done.stdout]
        """,
    )
    assert start("app:app").get().body == b"[0, 1, 2]\n"


def test_at_fork_hooks_run_once_a_worker(start):
    conf = """
    import os
    from events import tell
    os.register_at_fork(after_in_child=lambda: tell("child", os.getpid()))
    def post_worker_init(worker): tell("booted", worker.pid)
    """
    server = start("--workers", "2", "hello:app", conf=conf)
    booted = sorted(event[1] for event in server.events.take("booted", 2))
    server.stop()
    assert sorted(event[1] for event in server.events.drain() if event[0] == "child") == booted


def test_threads_at_a_fork_are_named(start):
    conf = """
    import threading
    from events import wait
    def on_starting(server):
        threading.Thread(target=wait, name="metrics-server", daemon=True).start()
    """
    server = start("hello:app", conf=conf)
    assert server.get().status == 200
    server.stderr.find(r"\[WARNING\] .*metrics-server")
    server.events.release()


def test_without_threads_there_is_no_warning(start):
    server = start("--workers", "2", "hello:app")
    server.get()
    server.stop()
    assert "[WARNING]" not in server.stderr.text


def test_random_numbers_differ(start, launcher):
    """The workers of a preloaded app do not all draw the same."""
    launcher.write(
        "app.py",
        """
        import random, tempfile
        from events import tell, wait
        def app(environ, start_response):
            tell("drew", random.random(), random.randint(0, 10**9))
            wait()
            start_response("200 OK", [])
            return []
        """,
    )
    server = start("--preload", "--workers", "2", "app:app")
    with server.connect() as one:
        one.request()
        first = server.events.until("drew")
        two = server.connect().request()
        assert server.events.until("drew") != first
        server.events.release(2)
        one.response()
        two.response()
        two.close()


def test_the_app_sees_a_clean_path(start, launcher):
    """Nothing that was only needed to start: no empty entry, none of the package's own directory before the app's."""
    facts = start("process:app").get().json
    assert facts["path"][0] == str(launcher.directory)
    assert "" not in facts["path"]


def test_multiprocessing_by_spawn(start, launcher):
    """It imports `__main__` again, which must do nothing."""
    launcher.write(
        "work.py",
        """
        def double(number):
            return number * 2
        """,
    )
    launcher.write(
        "app.py",
        """
        import multiprocessing
        from work import double
        def app(environ, start_response):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                result = pool.apply(double, (21,))
            start_response("200 OK", [])
            return [str(result).encode()]
        """,
    )
    assert start("app:app").get().body == b"42"


# -- starts that fail -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["1", "4"])
@pytest.mark.parametrize(("app", "code", "reason"), [("failing:app", 3, "Worker failed to boot."), ("hello:missing", 4, "App failed to load.")])
def test_a_boot_that_fails_is_reported_once(run, launcher, workers, app, code, reason):
    launcher.write("failing.py", "raise LookupError('on purpose')\n")
    server = run("--workers", workers, "--pid", "app.pid", "--bind", "unix:app.sock", app, bind=False, code=code)
    assert server.stderr.text.count(reason) == 1


@pytest.mark.parametrize("how", ["os._exit(0)", "os._exit(9)", "os.kill(os.getpid(), 9)", "os.abort()", "raise SystemExit(0)"])
def test_an_import_that_ends_the_worker(run, launcher, how):
    launcher.write("app.py", f"import os\n{how}\n")
    server = run("--workers", "2", "--pid", "app.pid", "app:app", code=3)
    assert "Worker failed to boot." in server.stderr.text


def test_one_worker_is_enough_to_go_on(start, launcher):
    """The others are tried again."""
    launcher.write(
        "app.py",
        """
        import os
        from events import tell
        try:
            os.close(os.open("first", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            if not os.path.exists("mended"):
                tell("failed")
                raise LookupError("on purpose")
        tell("imported", os.getpid())
        def app(environ, start_response):
            start_response("200 OK", [])
            return [b"fine"]
        """,
    )
    server = start("--workers", "2", "app:app", allowed=BOOT_FAILS)
    server.events.until("failed")
    assert server.get().body == b"fine"
    server.events.until("failed")
    launcher.write("mended", "")
    server.events.until("imported")
    assert processes.alive(server.pid)


def test_respawns_that_fail_are_spaced_out(start, launcher):
    """Once a worker has booted, an app that no longer imports is tried again, not at full speed; when it is mended it is back."""
    launcher.write(
        "app.py",
        """
        import os, time
        from events import tell
        if os.path.exists("broken"):
            tell("failed", time.monotonic())
            raise LookupError("on purpose")
        def app(environ, start_response):
            start_response("200 OK", [])
            return [str(os.getpid()).encode()]
        """,
    )
    server = start("app:app", allowed=[*BOOT_FAILS, "was sent SIGKILL"])
    pid = int(server.get().body)
    (launcher.directory / "broken").touch()
    server.send_signal(signal.SIGKILL, pid)
    times = [event[1] for event in server.events.take("failed", 3)]
    assert times[2] - times[0] > 0.5
    assert processes.alive(server.pid)
    (launcher.directory / "broken").unlink()
    assert int(server.get().body) != pid


# -- the interpreter ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("python", ["/nonexistent/python3", "/etc/hostname", "/tmp", "/bin/true", "/bin/false"])
def test_no_interpreter(run, python):
    """One line, exit 1, no hanging about."""
    server = run("--python", python, "--pid", "app.pid", "--bind", "unix:app.sock", "hello:app", bind=False, code=1)
    assert python in server.stderr.text
    assert "panicked" not in server.stderr.text


def test_a_lonely_binary(launcher, program):
    """Copied away from its extension and package it says where it looked."""
    lonely = launcher.directory / "elsewhere" / "rgunicorn"
    lonely.parent.mkdir()
    shutil.copy(program.argv[0], lonely)
    done = subprocess.run(
        [lonely, "--python", VENV_PYTHON, "hello:app"], cwd=launcher.directory, env=launcher.environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert str(lonely.parent.parent) in done.stderr
