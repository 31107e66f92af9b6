"""Server hooks: their order, what they see, what becomes of their failures."""

from __future__ import annotations

import os
import signal

import pytest
from harness import CALLABLES

RECORDER = """
import gunicorn.arbiter, gunicorn.workers.base, gunicorn.workers.sync
def note(*words):
    print(*words, flush=True)
def nworkers_changed(server, new, old):
    assert isinstance(server, gunicorn.arbiter.Arbiter)
    note("nworkers_changed", new, old, hasattr(server, "pid"), server.log is not None)
def on_starting(server):
    note("on_starting", server.pid, server.address, server.LISTENERS, server.app.callable)
def when_ready(server):
    note("when_ready", len(server.LISTENERS), server.WORKERS)
def pre_fork(server, worker):
    assert isinstance(worker, gunicorn.workers.base.Worker) and type(worker) is gunicorn.workers.sync.SyncWorker
    worker._id = worker.age * 10
    note("pre_fork", worker, worker.pid, worker.timeout, worker.age, server.worker_age, worker.alive)
def post_fork(server, worker):
    import os
    assert worker.pid == os.getpid() and worker.ppid == os.getppid() == server.pid
    note("post_fork", worker._id, worker.app.callable, getattr(worker, "wsgi", None))
def post_worker_init(worker):
    note("post_worker_init", worker.wsgi is worker.app.callable, worker.booted)
def worker_exit(server, worker):
    note("worker_exit", worker._id)
def child_exit(server, worker):
    note("child_exit", worker._id, worker.pid in server.WORKERS)
def on_exit(server):
    note("on_exit")
import atexit
atexit.register(note, "atexit")
"""


def lines(arbiter):
    return arbiter.stdout().splitlines()


def test_order_and_what_they_see(start):
    arbiter = start(config=RECORDER)
    arbiter.boot(settings={"workers": 2})
    worker = arbiter.fork()
    worker.retire()
    worker.says("bye")
    assert worker.wait() == 0
    arbiter.child_exit(worker)
    arbiter.link.send({"type": "num_workers", "new": 3, "old": 2})
    assert arbiter.exit() == 0
    assert lines(arbiter) == [
        "nworkers_changed 2 None False True",
        f"on_starting {os.getpid()} [('127.0.0.1', 8000)] [] None",
        "when_ready 1 {}",
        "pre_fork <Worker [booting]> [booting] 15.0 1 1 True",
        "post_fork 10 None None",
        "post_worker_init True False",
        "worker_exit 10",
        "atexit",  # the worker's: it is a fork of the forkserver
        "child_exit 10 False",
        "nworkers_changed 3 2 True True",
        "on_exit",
        "atexit",
    ]


def test_preload_comes_before_on_starting(start):
    app = "print('loading', flush=True)\ndef app(e, s): s('200 OK', []); return [b'x']"
    arbiter = start(app, config=RECORDER + "preload_app = True")
    arbiter.boot()
    arbiter.fork()
    seen = [line.split()[0] for line in lines(arbiter)]
    assert seen == [
        "nworkers_changed",
        "loading",
        "on_starting",
        "when_ready",
        "pre_fork",
        "post_fork",
        "post_worker_init",
    ]
    assert arbiter.get().body == b"x"


def test_later_generations_and_replacements(start):
    arbiter = start(config=RECORDER + "def on_reload(server): note('on_reload')")
    arbiter.boot(first=False)
    assert [line.split()[0] for line in lines(arbiter)] == ["nworkers_changed", "on_reload", "when_ready"]


def test_a_replacement_starts_nothing(start):
    arbiter = start(config=RECORDER)
    arbiter.boot(replacement=True)
    assert [line.split()[0] for line in lines(arbiter)] == ["when_ready"]


def test_boot_failures_run_no_child_exit(start):
    arbiter = start("raise ValueError('no app')", config=RECORDER)
    arbiter.boot()
    worker = arbiter.fork(ready=False)
    assert worker.says("failed")["exit"] == 3
    worker.says("bye")
    assert worker.wait() == 3
    arbiter.child_exit(worker)
    assert arbiter.exit() == 0
    assert "child_exit" not in arbiter.stdout()


def test_settings_that_hooks_change_are_reported(start):
    arbiter = start(
        config="""
        def on_starting(server):
            server.cfg.set("keyfile", "/k.pem")
            server.cfg.set("workers", "0x3")
            server.cfg.set("bind", "127.0.0.1:9")
            for name, value in (("workers", -1), ("nonsense", 1), ("reload", "yes"), ("on_exit", lambda: None)):
                try:
                    server.cfg.set(name, value)
                except (ValueError, AttributeError, TypeError) as error:
                    print(type(error).__name__)
            print(server.cfg.workers, server.cfg.address, "keyfile" in server.cfg.settings, server.cfg.is_ssl)
        """
    )
    arbiter.expect("hello")
    arbiter.told = arbiter.load()["settings"]
    arbiter.configure()
    assert arbiter.expect("started")["changed"] == {
        "keyfile": {"kind": "str", "value": "/k.pem"},
        "workers": {"kind": "int", "value": 3},
        "bind": {"kind": "list", "value": [{"kind": "str", "value": "127.0.0.1:9"}]},
    }
    assert lines(arbiter) == [
        "ValueError",
        "AttributeError",
        "ValueError",
        "TypeError",
        "3 [('127.0.0.1', 9)] True /k.pem",
    ]


@pytest.mark.parametrize("stage", ["nworkers_changed", "on_starting", "preload"])
def test_hooks_that_stop_the_start(start, stage):
    failing = "import app" if stage == "preload" else f"def {stage}(*a): raise RuntimeError('first line\\nsecond')"
    if stage == "nworkers_changed":
        failing = "def nworkers_changed(s, n, o): raise RuntimeError('first line\\nsecond')"
    elif stage == "on_starting":
        failing = "def on_starting(s): raise RuntimeError('first line\\nsecond')"
    app = "raise RuntimeError('first line\\nsecond')" if stage == "preload" else "app = 1"
    arbiter = start(app, config="preload_app = True" if stage == "preload" else failing)
    arbiter.expect("hello")
    arbiter.told = arbiter.load()["settings"]
    arbiter.configure()
    failed = arbiter.expect("failed")
    assert (failed["stage"], failed["message"], failed["exit"]) == (stage, "first line", 1)
    assert "RuntimeError: first line\nsecond" in failed["traceback"]


def test_when_ready_fails(start):
    arbiter = start(config="def when_ready(s): raise RuntimeError('not today')")
    arbiter.expect("hello")
    arbiter.told = arbiter.load()["settings"]
    arbiter.configure()
    arbiter.expect("started")
    arbiter.listen()
    arbiter.link.send({"type": "bound", "addresses": ["http://127.0.0.1:1"]})
    failed = arbiter.expect("failed")
    assert (failed["stage"], failed["message"]) == ("when_ready", "not today")


def test_hook_that_exits(start):
    arbiter = start(config="import sys\ndef on_starting(s): sys.exit(5)")
    arbiter.expect("hello")
    arbiter.told = arbiter.load()["settings"]
    arbiter.configure()
    assert arbiter.expect("failed")["exit"] == 5


def test_later_hooks_fail_into_the_log(start):
    arbiter = start(
        config="""
        def child_exit(server, worker): raise RuntimeError("one")
        def on_exit(server): raise RuntimeError("two")
        def worker_exit(server, worker): raise RuntimeError("three")
        """
    )
    arbiter.boot()
    worker = arbiter.fork()
    worker.retire()
    assert worker.wait() == 0
    arbiter.child_exit(worker)
    assert arbiter.exit() == 0
    text = arbiter.output()
    for word in ("one", "two", "three"):
        assert f"RuntimeError: {word}" in text, text


def test_pre_fork_fails(start):
    arbiter = start(config="def pre_fork(server, worker): raise RuntimeError('not now')")
    arbiter.boot()
    with pytest.raises(AssertionError, match="not now"):
        arbiter.fork()
    assert "RuntimeError: not now" in arbiter.output()


@pytest.mark.parametrize("hook", ["post_fork", "post_worker_init"])
def test_worker_hooks_that_raise_are_boot_failures(start, hook):
    parameters = ", ".join("ab"[: CALLABLES[hook]])
    arbiter = start(config=f"def {hook}({parameters}): raise RuntimeError('no cache today')")
    arbiter.boot()
    worker = arbiter.fork(ready=False)
    failed = worker.says("failed")
    assert failed == {"type": "failed", "exit": 3, "reason": "RuntimeError: no cache today"}
    worker.says("bye")
    assert worker.wait() == 3
    assert "Exception in worker process" in arbiter.output()


def test_dotted_hooks_and_their_arity(start):
    arbiter = start(hooks="def good(server): print('ready')\ndef bad(): pass")
    arbiter.boot(settings={"when_ready": "hooks.good"})
    assert arbiter.stdout() == "ready\n"
    for name, why in [
        ("hooks.bad", "Value must have an arity of: 1"),
        ("hooks.none", "Can not load 'none'"),
        ("nowhere.x", "No module named 'nowhere'"),
        ("plain", "is not import string"),
    ]:
        arbiter.configure(settings={"when_ready": name})
        failed = arbiter.expect("failed")
        assert failed["stage"] == "configure" and why in failed["message"] and "when_ready" in failed["message"], failed


def test_threads_are_named_at_the_first_fork(start):
    arbiter = start(
        config="""
        import threading
        def when_ready(server):
            threading.Thread(target=threading.Event().wait, name="metrics", daemon=True).start()
        """
    )
    arbiter.boot()
    arbiter.fork()
    arbiter.fork()
    assert arbiter.output().count("metrics") == 1


def test_a_child_that_a_hook_forks_does_not_speak(start):
    arbiter = start(config="import os\ndef on_starting(server):\n    if os.fork() == 0: return\n    os.wait()")
    arbiter.boot()
    arbiter.fork()
    assert arbiter.get().status == 200


def test_kill_worker_and_workers(start):
    arbiter = start(
        config="""
        import signal
        def nworkers_changed(server, new, old):
            if old is not None:
                for pid, worker in list(server.WORKERS.items()):
                    print(pid == worker.pid, worker.alive, worker.tmp.last_update() > 0)
                    server.kill_worker(pid, signal.SIGKILL)
        """
    )
    arbiter.boot()
    worker = arbiter.fork()
    arbiter.link.send({"type": "num_workers", "new": 1, "old": 1})
    assert worker.wait() == -signal.SIGKILL
    assert arbiter.stdout() == "True True True\n"


def test_check_imports_the_app_and_shows_what_it_found(start):
    arbiter = start(hooks="def ready(server): pass")
    arbiter.expect("hello")
    arbiter.load()
    arbiter.configure("check", settings={"when_ready": "hooks.ready", "pythonpath": "/nowhere"})
    assert arbiter.expect("validated")["shown"] == {"when_ready": "<ready()>"}
    arbiter.expect("checked")


def test_check_fails_where_the_app_does(start):
    arbiter = start("import nothing_of_this_name")
    arbiter.expect("hello")
    arbiter.load()
    arbiter.configure("check")
    arbiter.expect("validated")
    failed = arbiter.expect("failed")
    assert (failed["stage"], failed["exit"]) == ("check", 1) and "ModuleNotFoundError" in failed["traceback"]
