"""Hooks: which run where, in what order, with what arguments."""

import signal

CONF = """
import os
from events import tell

def nworkers_changed(server, new, old): tell("nworkers_changed", os.getpid(), new, old)
def on_starting(server): tell("on_starting", os.getpid())
def when_ready(server): tell("when_ready", os.getpid())
def pre_fork(server, worker): tell("pre_fork", os.getpid(), str(worker.pid), str(worker))
def post_fork(server, worker): tell("post_fork", os.getpid(), worker.pid, os.getppid())
def post_worker_init(worker): tell("post_worker_init", os.getpid(), worker.pid)
def pre_request(worker, req): tell("pre_request", os.getpid(), req.path)
def post_request(worker, req, environ, resp): tell("post_request", os.getpid(), req.path, resp.status)
def worker_int(worker): tell("worker_int", os.getpid())
def worker_exit(server, worker): tell("worker_exit", os.getpid(), worker.pid)
def child_exit(server, worker): tell("child_exit", os.getpid(), worker.pid)
def on_exit(server): tell("on_exit", os.getpid())
"""


def master(server):
    """Where the server's hooks run: Gunicorn's master, our forkserver."""
    return {event[1] for event in server.events.seen if event[0] in ("on_starting", "when_ready", "pre_fork", "child_exit", "on_exit")}


def test_a_whole_life(start, launcher):
    launcher.write("app.py", "from events import tell\ntell('import')\ndef app(e, s):\n    tell('app')\n    s('200 OK', [])\n    return [b'x']\n")
    server = start("app:app", conf=CONF)
    server.get("/path")
    server.stop()
    assert server.events.names() == [
        "nworkers_changed",
        "on_starting",
        "when_ready",
        "pre_fork",
        "post_fork",
        "import",
        "post_worker_init",
        "pre_request",
        "app",
        "post_request",
        "worker_exit",
        "child_exit",
        "on_exit",
    ]
    places = master(server)
    assert len(places) == 1
    assert (places == {server.pid}) == (not server.ours)


def test_arguments(start):
    server = start("hello:app", conf=CONF)
    server.get("/path?x=1")
    server.stop()
    said = {event[0]: event[2:] for event in server.events.drain()}
    worker = next(event[1] for event in server.events.seen if event[0] == "post_fork")
    assert said["nworkers_changed"] == [1, None]
    assert said["pre_fork"] == ["[booting]", "<Worker [booting]>"]
    assert said["post_fork"] == [worker, server.pid]
    assert said["post_worker_init"] == [worker]
    assert said["pre_request"] == ["/path"]
    assert said["post_request"] == ["/path", "200 OK"]
    assert said["worker_exit"] == [worker]
    assert said["child_exit"] == [worker]


def test_worker_hooks_run_in_the_worker(start):
    server = start("process:app", conf=CONF)
    pid = server.get().json["pid"]
    server.stop()
    places = {event[0]: event[1] for event in server.events.drain()}
    assert {places[name] for name in ("post_fork", "post_worker_init", "pre_request", "post_request", "worker_exit")} == {pid}


def test_worker_int_on_quit(start):
    server = start("process:app", conf=CONF)
    pid = server.get().json["pid"]
    server.stop(signal.SIGQUIT)
    names = server.events.names()
    assert names.index("worker_int") < names.index("worker_exit") < names.index("child_exit") < names.index("on_exit")
    assert ["worker_int", pid] in server.events.seen


def test_no_worker_int_on_term(start):
    server = start("hello:app", conf=CONF)
    server.get()
    server.stop()
    assert "worker_int" not in server.events.names()


def test_each_worker(start):
    server = start("--workers", "3", "hello:app", conf=CONF)
    server.events.take("post_worker_init", 3)
    server.stop()
    names = server.events.names()
    for hook in ("pre_fork", "post_fork", "post_worker_init", "worker_exit", "child_exit"):
        assert names.count(hook) == 3, hook
    for hook in ("on_starting", "when_ready", "on_exit", "nworkers_changed"):
        assert names.count(hook) == 1, hook


def test_a_killed_worker(start):
    """It has no worker_exit, its child_exit is run all the same, and its successor gets all of them."""
    server = start("process:app", conf=CONF, allowed=["was sent SIGKILL"])
    first = server.get().json["pid"]
    server.send_signal(signal.SIGKILL, first)
    assert server.events.until("child_exit")[2] == first
    second = server.get().json["pid"]
    server.stop()
    assert ["worker_exit", first, first] not in server.events.drain()
    assert ["worker_exit", second, second] in server.events.seen
    assert server.events.names().count("post_fork") == 2


def test_ttin_and_ttou(start):
    server = start("hello:app", conf=CONF)
    server.get()
    server.events.until("post_worker_init")
    server.send_signal(signal.SIGTTIN)
    server.events.until("post_worker_init")
    server.send_signal(signal.SIGTTOU)
    server.events.until("child_exit")
    server.stop()
    changes = [event[2:] for event in server.events.drain() if event[0] == "nworkers_changed"]
    assert changes == [[1, None], [2, 1], [1, 2]]
