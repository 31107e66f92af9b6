"""A worker's life: loading, signals, timeouts, forks of the app, its end."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from harness import LIMIT, Response, read_all, read_until

HELLO = "def app(e, s):\n    s('200 OK', []); return [b'hello']\n"
SLOW = """
import time
def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        print("entered", flush=True)
        stuck()
    start_response("200 OK", [])
    return [b"done"]
def stuck():
    time.sleep(30)
"""


def serve(start, app=HELLO, config=None, **settings):
    arbiter = start(app, config=config)
    arbiter.boot(settings=settings)
    return arbiter, arbiter.fork()


@pytest.mark.parametrize(
    ("app", "code", "said"),
    [
        ("raise ValueError('broken')", 3, "ValueError: broken"),
        ("import nothing_of_this_name", 3, "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("app = 1 +", 3, "SyntaxError"),
        ("application = 1", 4, "AppImportError: Failed to find attribute 'app' in 'app'."),
        ("app = 5", 4, "AppImportError: Application object must be callable."),
        ("app = None", 4, "AppImportError: Failed to find application object: 'app'"),
        ("raise KeyboardInterrupt", 3, "KeyboardInterrupt"),
    ],
)
def test_apps_that_do_not_load(start, app, code, said):
    arbiter = start(app)
    arbiter.boot()
    worker = arbiter.fork(ready=False)
    failed = worker.says("failed")
    assert failed["exit"] == code and said in failed["reason"], failed
    assert worker.wait() == code
    if code == 3:
        assert "Exception in worker process" in arbiter.output() and said.split(":")[0] in arbiter.output()


def test_app_that_exits_while_it_loads(start):
    arbiter = start("import sys; sys.exit(7)")
    arbiter.boot()
    worker = arbiter.fork(ready=False)
    worker.says("bye")
    assert worker.wait() == 7


@pytest.mark.parametrize(
    ("uri", "ok"),
    [
        ("app:make()", True),
        ("app:make('x', loud=True)", True),
        ("app", False),
        ("app:make(1, 2, 3)", False),
        ("app:make(name)", False),
        ("app:a.b", False),
        ("app:a.b()", False),
        ("app:(", False),
        ("app:inner()", False),
        ("app.py", False),
    ],
)
def test_app_uris(start, uri, ok):
    arbiter = start(
        "def make(word='', loud=False):\n"
        "    def app(e, s):\n        s('200 OK', []); return [b'made']\n"
        "    return app\n"
        "def inner(): return make(1, 2, 3, 4)\n"
    )
    arbiter.boot(app_uri=uri)
    worker = arbiter.fork(ready=ok)
    if ok:
        assert arbiter.get().body == b"made"
        return
    failed = worker.says("failed")
    expected = {
        "app": (4, "Failed to find attribute 'application' in 'app'."),
        "app:make(1, 2, 3)": (4, "TypeError: make() takes from 0 to 2 positional arguments but 3 were given"),
        "app:make(name)": (4, "Failed to parse arguments as literal values: 'make(name)'"),
        "app:a.b": (4, "Failed to parse 'a.b' as an attribute name or function call."),
        "app:a.b()": (4, "Function reference must be a simple name: 'a.b()'"),
        "app:(": (4, "Failed to parse '(' as an attribute name or function call."),
        "app:inner()": (3, "TypeError: make() takes"),
        "app.py": (3, "Failed to find application, did you mean 'app:application'?"),
    }[uri]
    assert failed["exit"] == expected[0] and expected[1] in failed["reason"], failed
    assert worker.wait() == expected[0]


def test_load_wsgi_goes_through_the_application_class(start):
    arbiter, _ = serve(
        start,
        config="""
        import gunicorn.app.base
        original = gunicorn.app.base.Application.wsgi
        def wsgi(self):
            app = original(self)
            def wrapped(environ, start_response):
                return [b"wrapped " + app(environ, start_response)[0]]
            return wrapped
        gunicorn.app.base.Application.wsgi = wsgi
        """,
    )
    assert arbiter.get().body == b"wrapped hello"


def test_post_fork_replaces_the_app(start):
    arbiter, _ = serve(
        start,
        config="def post_fork(server, worker):\n    inner = worker.app.wsgi\n"
        "    worker.app.wsgi = lambda: lambda e, s: [b'replaced ' + inner()(e, s)[0]]",
    )
    assert arbiter.get().body == b"replaced hello"


def test_real_gunicorn_is_never_seen(start):
    arbiter = start(
        "import gunicorn, gunicorn.util, gunicorn.workers.gthread, gunicorn.http.errors, gunicorn.debug\n"
        "def app(e, s):\n    s('200 OK', []); return [repr([gunicorn.__file__, gunicorn.__version__]).encode()]",
    )
    (arbiter.directory / "gunicorn").mkdir()
    (arbiter.directory / "gunicorn/__init__.py").write_text("__version__ = 'real'")
    arbiter.boot()
    arbiter.fork()
    assert b"compat/gunicorn" in arbiter.get().body


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_quick_signals_while_idle(start, number):
    arbiter, worker = serve(start, config="def worker_int(worker): print('int', worker.alive, flush=True)")
    os.kill(worker.pid, number)
    worker.says("bye")
    assert worker.wait() == 0
    assert arbiter.stdout() == "int False\n"


def test_quick_signal_within_a_request(start):
    arbiter, worker = serve(start, SLOW)
    client = arbiter.connect()
    client.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    arbiter.wait_for(arbiter.stdout)
    os.kill(worker.pid, signal.SIGQUIT)
    assert Response(read_all(client)).status == 500
    assert worker.wait() == 0
    assert "in stuck" in arbiter.output()


def test_term_is_the_arbiters_to_decide(start):
    arbiter, worker = serve(start)
    os.kill(worker.pid, signal.SIGTERM)
    worker.says("stop_asked")
    assert arbiter.get().status == 200
    worker.retire()
    os.kill(worker.pid, signal.SIGTERM)
    worker.says("bye")
    assert worker.wait() == 0


def test_signals_that_mean_nothing(start):
    arbiter, worker = serve(start)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCHLD):
        os.kill(worker.pid, number)
        assert arbiter.get().status == 200


def test_signals_get_through_where_the_app_takes_the_wakeup_fd(start):
    arbiter, worker = serve(
        start,
        "import asyncio\nasync def f(): await asyncio.sleep(0)\n"
        "def app(e, s):\n    asyncio.run(f()); s('200 OK', []); return [b'x']",
        config="import signal\ndef post_worker_init(worker):\n"
        "    old = signal.getsignal(signal.SIGTERM)\n"
        "    signal.signal(signal.SIGTERM, lambda *a: (print('wrapped', flush=True), old(*a)))",
    )
    for count in range(1, 20):
        assert arbiter.get().status == 200
        os.kill(worker.pid, signal.SIGTERM)
        worker.says("stop_asked", 2)
        assert arbiter.stdout() == "wrapped\n" * count


def test_retiring_finishes_what_has_begun(start):
    arbiter, worker = serve(start, keepalive=2)
    idle, half = arbiter.connect(), arbiter.connect()
    idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    read_until(idle, b"hello")
    half.sendall(b"GET / HTTP/1.1\r\nHo")
    arbiter.get()
    worker.retire()
    time.sleep(0.1)  # not a wait for something: the order may arrive before or after what follows
    idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert Response(read_all(idle)).headers["connection"] == "close"
    half.sendall(b"st: a\r\n\r\n")
    assert Response(read_all(half)).body == b"hello"
    worker.says("bye")
    assert worker.wait() == 0


def test_draining_takes_the_queue(start):
    arbiter, worker = serve(start)
    os.kill(worker.pid, signal.SIGSTOP)
    clients = [arbiter.connect() for _ in range(20)]
    for client in clients:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    worker.retire(drain=True)
    os.kill(worker.pid, signal.SIGCONT)
    assert all(Response(read_all(client)).body == b"hello" for client in clients)
    assert worker.wait() == 0


def test_a_worker_that_the_app_wants_gone(start):
    arbiter, worker = serve(start, config="def post_request(worker, req): worker.alive = False")
    assert arbiter.get().status == 200
    worker.says("bye")
    assert worker.wait() == 0


def test_the_arbiter_hanging_up_ends_it(start):
    arbiter, worker = serve(start)
    worker.link.ours.close()
    assert worker.wait() == 0


def test_max_requests_asks_for_a_replacement(start):
    arbiter, worker = serve(start, max_requests=3)
    for _ in range(3):
        assert arbiter.get().status == 200
    worker.says("recycle")
    assert arbiter.get().status == 200
    arbiter.wait_for(lambda: "Autorestarting worker after current request." in arbiter.output())
    with pytest.raises(BlockingIOError):  # asked once
        worker.link.ours.recv(100, socket.MSG_DONTWAIT)


def test_jitter_differs(start):
    arbiter = start(config="def post_fork(server, worker): print(worker.max_requests, flush=True)")
    arbiter.boot(settings={"max_requests": 10, "max_requests_jitter": 1_000_000})
    for _ in range(3):
        arbiter.fork()
    numbers = [int(line) for line in arbiter.stdout().split()]
    assert len(set(numbers)) > 1 and all(10 <= number <= 1_000_010 for number in numbers)


def test_silence_is_told_with_stacks_and_answered(start):
    arbiter, worker = serve(
        start,
        "import time\ndef stuck_here(): time.sleep(30)\n"
        "def app(e, s):\n    if e['PATH_INFO'] == '/slow': stuck_here()\n    s('200 OK', []); return [b'x']",
        config="def worker_abort(worker): print('abort', worker.alive, flush=True)",
        accesslog="access.log",
        access_log_format="%(U)s %(s)s %(b)s",
        timeout=1,
    )
    assert arbiter.get("/").status == 200
    client = arbiter.connect()
    client.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    silent = worker.says("silent")
    assert silent["for_ms"] >= 1000
    assert "in stuck_here" in worker.stacks_text() and "most recent call first" in worker.stacks_text()
    assert Response(read_all(client)).status == 504
    os.kill(worker.pid, signal.SIGABRT)
    worker.says("bye")
    assert worker.wait() == 1
    assert arbiter.stdout() == "abort False\n"
    assert [line.split() for line in arbiter.file("access.log").splitlines()] == [
        ["/", "200", "1"],
        ["/slow", "504", "0"],
    ]


@pytest.mark.parametrize("piece", [0.3, 0.003])
def test_a_request_has_its_own_limit_whatever_it_sends(start, piece):
    arbiter, worker = serve(
        start,
        f"""
        import time
        def app(environ, start_response):
            start_response("200 OK", [])
            for _ in range(int(6 / {piece})):
                time.sleep({piece})
                yield b"x"
        """,
        request_timeout=1,
    )
    client = arbiter.connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert worker.says("silent", 4)["for_ms"] >= 1000
    assert "in app" in worker.stacks_text()
    os.kill(worker.pid, signal.SIGABRT)
    worker.says("bye")
    assert worker.wait() == 1


def test_stacks_come_with_the_gil_held(start):
    arbiter, worker = serve(
        start,
        "import re\ndef holds_the_gil(): re.match('(a+)+$', 'a' * 60 + 'b')\ndef app(e, s): holds_the_gil()",
        timeout=1,
    )
    client = arbiter.connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    worker.says("silent")
    assert "in holds_the_gil" in worker.stacks_text()
    assert Response(read_all(client)).status == 504


def test_progress_is_no_silence(start):
    arbiter, worker = serve(
        start,
        "import time\ndef app(e, s):\n    s('200 OK', [])\n    for _ in range(8):\n        time.sleep(0.25)\n        yield b'x'",
        timeout=1,
    )
    assert arbiter.get().body == b"x" * 8
    client = arbiter.connect()
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n")
    assert worker.link.ours.setblocking(False) is None
    with pytest.raises(BlockingIOError):
        worker.link.ours.recv(100)


def test_notify_keeps_a_long_request_alive(start):
    arbiter, worker = serve(
        start,
        "import time\nworker = None\ndef app(e, s):\n"
        "    for _ in range(8):\n        time.sleep(0.25)\n        worker.notify()\n"
        "    s('200 OK', []); return [b'x']",
        config="def post_worker_init(worker):\n    import app\n    app.worker = worker",
        timeout=1,
    )
    assert arbiter.get().status == 200


def test_worker_classes_of_the_users_own(start):
    arbiter = start(
        my_worker="""
        from gunicorn.workers.sync import SyncWorker
        class SideWorker(SyncWorker):
            @classmethod
            def setup(cls): print("setup")
            @classmethod
            def check_config(cls, cfg, log): print("check", cfg.timeout)
            def init_process(self):
                self.side = "init"
                super().init_process()
            def load_wsgi(self):
                super().load_wsgi()
                app = self.wsgi
                self.wsgi = lambda e, s: [self.side.encode() + b" " + app(e, s)[0]]
            def handle_quit(self, sig, frame):
                print("quit", flush=True)
                super().handle_quit(sig, frame)
            def handle_abort(self, sig, frame):
                print("abort", flush=True)
                super().handle_abort(sig, frame)
            def handle(self, listener, client, addr): pass
        """
    )
    arbiter.boot(settings={"worker_class": "my_worker.SideWorker"})
    worker = arbiter.fork()
    assert arbiter.get().body == b"init hello"
    os.kill(worker.pid, signal.SIGQUIT)
    worker.says("bye")
    assert worker.wait() == 0
    other = arbiter.fork()
    os.kill(other.pid, signal.SIGABRT)
    other.says("bye")
    assert other.wait() == 1
    assert arbiter.stdout() == "setup\ncheck 30\nquit\nabort\n"
    assert "SideWorker.handle() is not called" in arbiter.output()


def test_a_loop_of_its_own(start):
    arbiter = start(
        own="""
        import select
        from gunicorn.workers.base import Worker
        class Own(Worker):
            def run(self):
                listener = self.sockets[0]
                while self.alive:
                    select.select(self.wait_fds, [], [], 0.2)
                    try:
                        client, _ = listener.accept()
                    except BlockingIOError:
                        continue
                    client.setblocking(True)
                    path = client.recv(1000).split()[1]
                    client.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + path)
                    client.close()
                    if path != b"/stuck":
                        self.notify()
                    else:
                        while True:
                            select.select([], [], [], 1)
        """
    )
    arbiter.boot(settings={"worker_class": "own.Own", "timeout": 1})
    worker = arbiter.fork()
    assert arbiter.get("/mine").body == b"/mine"
    arbiter.get("/stuck")
    worker.says("silent")
    assert "in run" in worker.stacks_text()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("asgi", "worker class 'asgi' is not built yet"),
        ("nonsense", "class uri 'nonsense' invalid or not found"),
        ("no.such.Class", "class uri 'no.such.Class' invalid or not found"),
    ],
)
def test_unknown_worker_classes(start, name, why):
    arbiter = start()
    arbiter.expect("hello")
    arbiter.load()
    arbiter.configure(settings={"worker_class": name})
    failed = arbiter.expect("failed")
    assert (failed["stage"], failed["exit"]) == ("configure", 1) and why in failed["message"]


def test_the_end_runs_what_an_interpreters_end_runs(start):
    arbiter, worker = serve(
        start,
        """
        import atexit, threading, time
        atexit.register(print, "atexit")
        def late():
            time.sleep(0.2)
            print("thread done")
        def app(environ, start_response):
            threading.Thread(target=late).start()
            start_response("200 OK", [])
            return [b"x"]
        """,
        config="def worker_exit(server, worker): print('worker_exit')",
    )
    arbiter.get()
    worker.retire()
    assert worker.wait() == 0
    assert arbiter.stdout() == "worker_exit\nthread done\natexit\n"
    assert "Worker exiting" in arbiter.output()


def test_the_end_is_bounded(start):
    arbiter, worker = serve(
        start,
        "import threading\nthreading.Thread(target=threading.Event().wait).start()\n" + HELLO,
        graceful_timeout=1,
    )
    worker.retire()
    worker.says("bye")
    assert worker.wait() == 0


def test_a_child_that_the_app_forks_holds_no_client(start):
    arbiter, worker = serve(
        start,
        """
        import os, time
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/fork":
                child = os.fork()
                if child == 0:
                    if environ["QUERY_STRING"] == "return":
                        start_response("200 OK", [])
                        return [b"of the child"]
                    time.sleep(60)
                    os._exit(0)
                start_response("200 OK", [])
                return [str(child).encode()]
            start_response("200 OK", [])
            return [b"x"]
        """,
    )
    idle = arbiter.connect()
    idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    read_until(idle, b"x")
    child = int(arbiter.get("/fork").body)  # read to the end: the child holds no copy
    try:
        idle.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert read_all(idle).endswith(b"x")

        def held():
            links = [os.readlink(f"/proc/{child}/fd/{fd}") for fd in os.listdir(f"/proc/{child}/fd")]
            return [link for link in links if "socket" in link or "eventpoll" in link or "scoreboard" in link]

        arbiter.wait_for(lambda: not held(), "descriptors of the worker's")
    finally:
        os.kill(child, signal.SIGKILL)
    returned = arbiter.get("/fork?return")
    assert returned.body.isdigit() and b"of the child" not in returned.raw
    assert arbiter.get().body == b"x"


def test_multiprocessing(start):
    arbiter, _ = serve(
        start,
        """
        import logging, multiprocessing
        def work(queue):
            logging.getLogger("gunicorn.error").error("from the child")
            queue.put(42)
        def app(environ, start_response):
            context = multiprocessing.get_context(environ["PATH_INFO"][1:])
            queue = context.SimpleQueue()
            child = context.Process(target=work, args=(queue,))
            child.start()
            number = queue.get()
            child.join()
            start_response("200 OK", [])
            return [f"{number} {child.exitcode}".encode()]
        """,
    )
    assert arbiter.get("/fork").body == b"42 0", arbiter.output()
    assert arbiter.get("/spawn").body == b"42 0", arbiter.output()
    assert arbiter.output().count("from the child") >= 1


def test_descriptors_of_a_worker(start):
    arbiter = start()
    arbiter.boot(settings={"accesslog": "access.log", "errorlog": "error.log"})
    arbiter.fork()
    counts = []
    for _ in range(3):
        worker = arbiter.fork()
        names = sorted(
            os.readlink(f"/proc/{worker.pid}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{worker.pid}/fd")
        )
        counts.append(names)
    assert counts[0] == counts[1] == counts[2]
    # link, listener and both ends of the hand-off; no link of the forkserver's
    assert counts[0].count("socket") == 4, counts[0]
    held = len(os.listdir(f"/proc/{arbiter.process.pid}/fd"))
    arbiter.fork()
    arbiter.wait_for(lambda: len(os.listdir(f"/proc/{arbiter.process.pid}/fd")) == held)


@pytest.mark.parametrize("busy", [False, True])
def test_without_its_arbiter_everything_ends(python, tmp_path, busy):
    """kill -9: the worker's sentinel sees it, whatever the app does, and the port is free."""
    (tmp_path / "app.py").write_text(
        "import re\ndef app(e, s):\n    s('200 OK', [])\n"
        "    return [b'x'] if e['PATH_INFO'] == '/' else re.match('(a+)+$', 'a' * 60 + 'b')\n"
    )
    script = (
        "import sys, pathlib\nfrom harness import Arbiter\n"
        "arbiter = Arbiter(sys.argv[1], pathlib.Path(sys.argv[2]))\narbiter.boot()\nworker = arbiter.fork()\n"
        "print(arbiter.process.pid, worker.pid, arbiter.listeners[0].getsockname()[1], flush=True)\nsys.stdin.read()"
    )
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # orphans come to this process
    here = os.path.dirname(__file__)
    arbiter = subprocess.Popen(
        [sys.executable, "-c", script, python, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=here,
    )
    assert arbiter.stdout
    forkserver, worker, port = map(int, arbiter.stdout.readline().split())
    if busy:
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n")
        stat = f"/proc/{worker}/stat"
        used = lambda: int(open(stat).read().rsplit(")", 1)[1].split()[11])  # noqa: E731
        before, until = used(), time.monotonic() + LIMIT
        while used() < before + 5 and time.monotonic() < until:
            time.sleep(0.01)
    arbiter.kill()
    arbiter.wait()
    began = time.monotonic()
    for pid in (forkserver, worker):
        os.waitpid(pid, 0)
    assert time.monotonic() - began < LIMIT
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("initgroups", [False, True])
def test_privileges(start, initgroups):
    arbiter = start(
        "import os\ndef app(e, s):\n    s('200 OK', [])\n"
        "    return [repr([os.getresuid(), os.getresgid(), os.getgroups(), loaded]).encode()]\nloaded = os.getuid()",
        config="import os\ndef post_fork(server, worker): assert os.getuid() == 0",
    )
    os.chmod(arbiter.directory, 0o755)
    for parent in [*arbiter.directory.parents][:3]:
        if str(parent).startswith("/tmp/"):
            os.chmod(parent, 0o755)
    arbiter.boot(settings={"user": "nobody", "group": "nogroup", "initgroups": initgroups})
    arbiter.fork()
    uids, gids, groups, loaded = eval(arbiter.get().body)
    assert uids == (65534,) * 3 and gids == (65534,) * 3 and loaded == 65534
    assert 0 not in groups and (not initgroups or groups == [65534])


def test_an_idle_client_does_not_hold_the_last_stop(start):
    arbiter, worker = serve(start, keepalive=75)
    idle = arbiter.connect()
    idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    read_until(idle, b"hello")
    worker.retire(drain=True)
    assert worker.wait() == 0


def test_a_freeze_of_everything_is_no_silence(start):
    arbiter, worker = serve(
        start,
        "import time\ndef app(e, s):\n    print('in', flush=True); time.sleep(1.5); s('200 OK', []); return [b'x']",
        timeout=2,
    )
    client = arbiter.connect()
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    arbiter.wait_for(arbiter.stdout)
    os.kill(worker.pid, signal.SIGSTOP)
    time.sleep(4)  # what is measured is the time itself
    os.kill(worker.pid, signal.SIGCONT)
    assert Response(read_all(client)).status == 200
    worker.link.ours.setblocking(False)
    with pytest.raises(BlockingIOError):
        worker.link.ours.recv(100)
