"""An exception in each hook: what it ends, and what it does not."""

import pytest

from support import processes

FAIL = """
from events import tell
def {hook}({arguments}):
    tell("hook")
    raise LookupError("on purpose")
"""


def conf(hook, arguments):
    return FAIL.format(hook=hook, arguments=arguments)


@pytest.mark.parametrize(("hook", "arguments"), [("on_starting", "server"), ("when_ready", "server"), ("nworkers_changed", "server, new, old")])
def test_the_start_fails(run, launcher, hook, arguments):
    server = run("--pid", "app.pidfile", "hello:app", conf=conf(hook, arguments), code=1)
    assert "LookupError: on purpose" in server.stderr.text
    # Of Gunicorn's the pidfile stays, where it had been written before.
    stays = not launcher.ours and hook != "nworkers_changed"
    assert (launcher.directory / "app.pidfile").exists() == stays


@pytest.mark.parametrize(("hook", "arguments"), [("post_fork", "server, worker"), ("post_worker_init", "worker")])
def test_the_worker_fails_to_boot(run, launcher, hook, arguments):
    server = run("--pid", "app.pid", "hello:app", conf=conf(hook, arguments), code=3)
    assert "LookupError: on purpose" in server.stderr.text
    assert "Worker failed to boot." in server.stderr.text


def test_pre_fork(run, launcher):
    """Gunicorn's master dies of it (255); to ours it is a worker that cannot boot."""
    server = run("--pid", "app.pid", "hello:app", conf=conf("pre_fork", "server, worker"), code=3 if launcher.ours else 255)
    assert "LookupError: on purpose" in server.stderr.text


def test_pre_request(start):
    """This request fails, and only this."""
    text = """
    def pre_request(worker, req):
        if req.path == "/bad":
            raise LookupError("on purpose")
    """
    server = start("process:app", conf=text, allowed=["on purpose"])
    pid = server.get("/good").json["pid"]
    assert server.get("/bad").status == 500
    assert server.get("/good").json["pid"] == pid
    server.stderr.find("LookupError: on purpose")


def test_post_request(start):
    """Logged; the client has its answer."""
    server = start("process:app", conf=conf("post_request", "worker, req"), allowed=["Exception in post_request"])
    pid = server.get().json["pid"]
    assert server.get().json["pid"] == pid
    server.stderr.find("LookupError: on purpose")


def test_worker_exit(start):
    """Logged; the stop goes on."""
    server = start("hello:app", conf=conf("worker_exit", "server, worker"), allowed=["on purpose"])
    server.get()
    assert server.stop() == 0
    assert "LookupError: on purpose" in server.stderr.text


def test_worker_int(start):
    server = start("hello:app", conf=conf("worker_int", "worker"), allowed=["on purpose", "exited with code 255"])
    server.get()
    assert server.stop(2) == 0


def test_child_exit(start):
    """Gunicorn's master dies of one that comes while it runs; ours logs it."""
    server = start("process:app", conf=conf("child_exit", "server, worker"), allowed=["on purpose", "was sent SIGKILL", "Unhandled exception"])
    pid = server.get().json["pid"]
    server.send_signal(9, pid)
    server.events.until("hook")
    if server.ours:
        assert server.get().json["pid"] != pid
    else:
        assert server.wait() == 255
    server.stderr.find("LookupError: on purpose")


def test_on_exit(start, launcher):
    server = start("--pid", "app.pid", "hello:app", conf=conf("on_exit", "server"), allowed=["on purpose"])
    server.get()
    # The last thing of all: nothing is left that could be left behind.
    assert server.stop() == (0 if server.ours else 1)
    assert not (launcher.directory / "app.pid").exists()
    server.stderr.find("LookupError: on purpose")


def test_wrong_arity(run):
    run("hello:app", conf="def post_fork(worker): pass\n", code=1)


def test_no_callable(run):
    run("hello:app", conf="post_fork = 7\n", code=1)


def test_sys_exit_in_a_worker_hook(start):
    """A worker that leaves before it has booted, without an error, is started again: by ours at growing intervals."""
    server = start("hello:app", conf="import sys\ndef post_fork(server, worker): sys.exit(0)\n")
    server.stderr.find("Booting worker", 3)
    assert processes.alive(server.pid)
