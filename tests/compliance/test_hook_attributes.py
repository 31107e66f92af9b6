"""What real configurations look at on `server`, `worker`, `req`, `resp` and `environ` in their hooks."""

import pytest


@pytest.fixture
def told(start):
    """Runs a config that tells something, with one request; what it told, which is so much before the stop."""

    def told(conf, *arguments, app="hello:app", request=True, before=0, **options):
        server = start(*arguments, app, conf="import os\nfrom events import tell\n" + conf, **options)
        server.events.take("told", before)
        if request:
            server.get("/path?q=1", [("X-One", "1")])
        else:
            server.listening()
        server.stop()
        return [event[1:] for event in server.events.drain() if event[0] == "told"], server

    return told


def test_server_in_on_starting(told):
    conf = """
def on_starting(server):
    tell("told", server.num_workers, server.timeout, server.proc_name, server.cfg.workers, server.cfg.timeout,
         list(server.LISTENERS), server.WORKERS, len(server.address), server.worker_age, server.pid)
"""
    ((workers, timeout, name, cfg_workers, cfg_timeout, listeners, fleet, addresses, age, pid),), server = told(conf, "-w", "2", "-t", "40")
    assert (workers, timeout, name, cfg_workers, cfg_timeout) == (2, 40, "hello:app", 2, 40)
    assert (listeners, fleet, addresses, age) == ([], {}, 1, 0)
    assert pid == server.pid


def test_server_in_when_ready(told):
    conf = """
def when_ready(server):
    tell("told", [str(listener) for listener in server.LISTENERS], server.WORKERS, server.pid, server.app.app_uri)
"""
    ((listeners, fleet, pid, uri),), server = told(conf)
    assert listeners == [f"http://127.0.0.1:{server.address[1]}"]
    assert fleet == {}
    assert pid == server.pid
    assert uri == "hello:app"


def test_address(told):
    conf = "def on_starting(server): tell('told', server.address)\n"
    ((address,),), _ = told(conf, "-b", "127.0.0.1:0", "-b", "unix:a.sock", bind=False, request=False)
    assert address == [["127.0.0.1", 0], "a.sock"]


def test_the_fleet_in_child_exit(told):
    """Attributes that pre_fork sets on a worker are there in the child and in the master."""
    conf = """
def pre_fork(server, worker):
    worker.number = worker.age * 100
def post_fork(server, worker):
    tell("told", "child", worker.number)
def child_exit(server, worker):
    tell("told", "master", worker.number, worker.pid in server.WORKERS, isinstance(worker.pid, int))
"""
    said, _ = told(conf)
    assert said == [["child", 100], ["master", 100, False, True]]


def test_the_fleet_of_living_workers(told):
    """A second worker is forked while the first is in the list."""
    conf = """
def pre_fork(server, worker):
    tell("told", worker.age, sorted(w.age for w in server.WORKERS.values()), [w.alive for w in server.WORKERS.values()])
"""
    said, _ = told(conf, "-w", "3", before=3)
    assert said == [[1, [], []], [2, [1], [True]], [3, [1, 2], [True, True]]]


def test_worker_in_pre_fork(told):
    conf = """
def pre_fork(server, worker):
    tell("told", worker.pid, worker.age, worker.timeout, worker.ppid, worker.booted, worker.alive, worker.nr, worker.cfg is server.cfg, worker.app is server.app)
"""
    ((pid, age, timeout, ppid, booted, alive, number, same_cfg, same_app),), server = told(conf, "--timeout", "40")
    assert (pid, age, timeout, booted, alive, number) == ("[booting]", 1, 20, False, True, 0)
    assert ppid == server.pid
    assert same_cfg and same_app


def test_worker_in_post_fork(told):
    conf = """
def post_fork(server, worker):
    tell("told", worker.pid == os.getpid(), worker.ppid == os.getppid(), worker.app.callable is None, getattr(worker, "wsgi", None), str(worker))
"""
    ((own, parent, no_app, wsgi, text),), _ = told(conf)
    assert (own, parent, no_app, wsgi) == (True, True, True, None)
    assert text.startswith("<Worker ") and text[8:-1].isdigit()


def test_worker_in_post_worker_init(told):
    conf = """
def post_worker_init(worker):
    import hello
    tell("told", worker.wsgi is hello.app, worker.app.callable is hello.app, worker.booted, len(worker.sockets),
         worker.sockets[0].getsockname()[1], worker.cfg.proc_name, worker.max_requests > 10**9)
    worker.notify()
    worker.tmp.last_update()
"""
    ((wsgi, callable_, booted, sockets, port, name, unlimited),), server = told(conf)
    assert (wsgi, callable_, booted, sockets, name, unlimited) == (True, True, False, 1, "hello:app", True)
    assert port == server.address[1]


def test_requests_are_counted(told):
    conf = "def post_request(worker, req, environ, resp): tell('told', worker.nr)\n"
    said, _ = told(conf)
    assert said == [[1]]


def test_req(told):
    conf = """
def pre_request(worker, req):
    tell("told", req.method, req.uri, req.path, req.query, req.fragment, req.version, req.scheme,
         dict(req.headers), req.remote_addr[0], req.peer_addr[0], req.req_number, req.should_close(), req.trailers, req.proxy_protocol_info)
"""
    ((method, uri, path, query, fragment, version, scheme, headers, remote, peer, number, close, trailers, proxy),), _ = told(conf)
    assert (method, uri, path, query, fragment) == ("GET", "/path?q=1", "/path", "q=1", "")
    assert (version, scheme, remote, peer, number, close, trailers, proxy) == ([1, 1], "http", "127.0.0.1", "127.0.0.1", 1, True, [], None)
    assert headers == {"HOST": "test.example", "X-ONE": "1", "CONNECTION": "close"}


def test_resp(told):
    conf = """
def post_request(worker, req, environ, resp):
    tell("told", resp.status, resp.status_code, resp.headers, resp.sent, resp.response_length, resp.headers_sent, environ["PATH_INFO"])
"""
    ((status, code, headers, sent, length, head_sent, path),), _ = told(conf)
    assert (status, code, sent, length, head_sent, path) == ("200 OK", 200, 6, 6, True, "/path")
    assert {name.lower(): value for name, value in headers} == {"content-type": "text/plain", "content-length": "6"}


@pytest.mark.parametrize(
    ("signature", "seen"),
    [
        ("worker, req", "2"),
        ("worker, req, environ", "'PATH_INFO' in environ"),
        ("worker, req, environ, resp", "resp.status_code"),
        ("worker, req, *rest", "len(rest)"),
    ],
)
def test_post_request_takes_what_it_asks_for(told, signature, seen):
    said, _ = told(f"def post_request({signature}): tell('told', {seen})\n")
    assert said == [[{"2": 2, "'PATH_INFO' in environ": True, "resp.status_code": 200, "len(rest)": 0}[seen]]]


def test_pre_request_may_change_the_request(start):
    conf = """
def pre_request(worker, req):
    req.scheme = "https"
    req.headers.append(("X-ADDED", "by hook"))
    req.started = 1
"""
    environ = start("environ:app", conf=conf).get().json
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["HTTP_X_ADDED"] == "by hook"


def test_attributes_are_kept_from_pre_to_post_request(told):
    conf = """
def pre_request(worker, req):
    req.mine = "req"
    worker.mine = "worker"
def post_request(worker, req, environ, resp):
    tell("told", req.mine, worker.mine)
"""
    assert told(conf)[0] == [["req", "worker"]]


def test_logs(start):
    """`server.log` and `worker.log` are loggers with arguments, and the loggers below them are there."""
    conf = """
def on_starting(server): server.log.info("starting %s", "now")
def when_ready(server): server.log.warning("ready")
def post_fork(server, worker): server.log.info("forked %d", worker.pid)
def post_worker_init(worker):
    worker.log.info("init %(x)s", {"x": 1})
    worker.log.debug("hidden")
    worker.log.error_log.info("directly")
    worker.log.access_log
def pre_request(worker, req): worker.log.debug("%s %s" % (req.method, req.path))
"""
    server = start("hello:app", conf=conf)
    server.get()
    server.stop()
    for text in (r"\[INFO\] starting now", r"\[WARNING\] ready", r"\[INFO\] forked \d+", r"\[INFO\] init 1", r"\[INFO\] directly"):
        server.stderr.find(text, timeout=1)
    assert "hidden" not in server.stderr.text


def test_log_exception(start):
    conf = """
def post_worker_init(worker):
    try:
        1 / 0
    except ZeroDivisionError:
        worker.log.exception("caught %s", "it")
"""
    server = start("hello:app", conf=conf, allowed=["caught it"])
    server.get()
    server.stop()
    assert "ZeroDivisionError: division by zero" in server.stderr.lines


def test_cfg_set_in_on_starting(start):
    """Listeners come after it, so it decides where they are."""
    conf = """
def on_starting(server):
    server.cfg.set("bind", ["unix:set.sock"])
"""
    server = start("hello:app", bind=False, conf=conf + "bind = 'unix:file.sock'\n")
    assert server.listening() == ["set.sock"]
    server.address = str(server.directory / "set.sock")
    assert server.get().status == 200


def test_the_app_can_be_replaced(start):
    """As profilers and tracers do in post_worker_init and post_fork."""
    conf = """
def post_fork(server, worker):
    original = worker.app.wsgi
    def wrapped():
        app = original()
        def outer(environ, start_response):
            return [piece.upper() for piece in app(environ, start_response)]
        return outer
    worker.app.wsgi = wrapped
"""
    assert start("hello:app", conf=conf).get().body == b"HELLO\n"


def test_wsgi_is_looked_up_on_the_class(start):
    """New Relic wraps `gunicorn.app.base.Application.wsgi` by its name."""
    conf = """
from gunicorn.app import base
original = base.Application.wsgi
def wsgi(self):
    app = original(self)
    return lambda environ, start_response: [piece.upper() for piece in app(environ, start_response)]
base.Application.wsgi = wsgi
"""
    assert start("hello:app", conf=conf).get().body == b"HELLO\n"


def test_kill_worker(start):
    """A watcher in the master may ask for a worker's end."""
    conf = """
import signal, threading
from events import tell, wait
def watch(server):
    wait()
    for pid in list(server.WORKERS):
        server.kill_worker(pid, signal.SIGTERM)
def when_ready(server):
    threading.Thread(target=watch, args=(server,), daemon=True).start()
def child_exit(server, worker):
    tell("exit", worker.pid)
"""
    server = start("process:app", conf=conf)
    first = server.get().json["pid"]
    server.events.release()
    assert server.events.until("exit")[1] == first
    assert server.get().json["pid"] != first
