"""Error log and access log."""

from __future__ import annotations

import os
import re
import select

import pytest
from harness import Response, read_until

HELLO = """
def app(environ, start_response):
    start_response("201 Created", [("X-Id", "abc"), ("Content-Type", "text/plain")])
    return [b"hello"]
"""


def serve(start, app=HELLO, config=None, **settings):
    arbiter = start(app, config=config)
    arbiter.boot(settings=settings)
    return arbiter, arbiter.fork()


def access(arbiter, count=1):
    return arbiter.wait_for(lambda: (lines := arbiter.stdout().splitlines()) and len(lines) >= count and lines)


ATOMS = "%(h)s|%(l)s|%(u)s|%(r)s|%(m)s|%(U)s|%(q)s|%(H)s|%(s)s|%(b)s|%(B)s|%(f)s|%(a)s|%({x-in}i)s|%({X-ID}o)s|%({none}i)s|%(nonsense)s|100%%"


def test_default_format(start):
    arbiter, _ = serve(start, accesslog="-")
    arbiter.get("/path?q=1", 'Referer: r"r', "User-Agent: agent")
    (line,) = access(arbiter)
    assert re.fullmatch(
        r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /path\?q=1 HTTP/1\.1" 201 5 "r\\"r" "agent"',
        line,
    ), line


@pytest.mark.parametrize("slow", [False, True])
def test_atoms_are_the_same_either_way(start, slow):
    config = "from gunicorn.glogging import Logger\nclass Own(Logger):\n    def access(self, *a): super().access(*a)\nlogger_class = Own"
    arbiter, _ = serve(start, config=config if slow else None, accesslog="-", access_log_format=ATOMS)
    arbiter.get(
        "/a%20b?q=%41", "X-In: one", "X-IN: two", "Authorization: Basic dXNlcjpwYXNz", 'User-Agent: a\tb\x85\xe9"'
    )
    (line,) = access(arbiter)
    assert line == (
        '127.0.0.1|-|user|GET /a%20b?q=%41 HTTP/1.1|GET|/a b|q=%41|HTTP/1.1|201|5|5|-|a\\x09b\\x85é\\"|two|abc|-|-|100%'
    )


@pytest.mark.parametrize(
    "config",
    [
        "import logging\ndef post_worker_init(worker): worker.log.access_log.addFilter(lambda record: False)",
        "import logging\nclass F(logging.Filter):\n    def filter(self, record): return False\n"
        "def on_starting(server): server.log.access_log.addFilter(F())",
        "import logging\ndef post_fork(server, worker): logging.getLogger('gunicorn.access').handlers[0].addFilter(lambda r: 0)",
        "def post_fork(server, worker): worker.log.access_log.setLevel(40)",
        "from gunicorn.glogging import Logger\nclass Quiet(Logger):\n    def access(self, *args): pass\nlogger_class = Quiet",
    ],
)
def test_filters_and_classes_have_their_say(start, config):
    arbiter, worker = serve(start, config=config, accesslog="-")
    for _ in range(3):
        arbiter.get()
    worker.retire()
    worker.wait()
    assert arbiter.stdout() == ""


def test_a_filter_that_the_app_adds_later(start):
    arbiter, worker = serve(
        start,
        """
        import logging
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/filter":
                logging.getLogger("gunicorn.access").addFilter(lambda record: "secret" not in record.getMessage())
            start_response("200 OK", [])
            return [b"x"]
        """,
        accesslog="-",
    )
    for path in ("/secret", "/filter", "/secret", "/plain"):
        arbiter.get(path)
    worker.retire()
    worker.wait()
    paths = [line.split('"')[1].split()[1] for line in arbiter.stdout().splitlines()]
    assert paths == ["/secret", "/filter", "/plain"]


def test_handlers_that_the_app_takes_over(start):
    """What every Flask guide does."""
    arbiter, worker = serve(
        start,
        """
        import logging
        gunicorn = logging.getLogger("gunicorn.error")
        mine = logging.getLogger("mine")
        mine.handlers = gunicorn.handlers
        mine.setLevel(gunicorn.level)
        def app(environ, start_response):
            mine.info("info of %s", "mine")
            mine.debug("not shown")
            start_response("200 OK", [])
            return [b"x"]
        """,
    )
    arbiter.get()
    line = arbiter.wait_for(lambda: [line for line in arbiter.output().splitlines() if "mine" in line])
    assert re.fullmatch(rf"\[[\d-]+ [\d:]+ [+-]\d{{4}}\] \[{worker.pid}\] \[INFO\] info of mine", line[0])
    assert "not shown" not in arbiter.output()


def test_a_logger_class_is_really_used(start):
    arbiter = start(
        HELLO,
        config="""
        from gunicorn import glogging
        class Atoms(glogging.SafeAtoms):
            def __getitem__(self, key): return "*" if key == "h" else super().__getitem__(key)
        class Own(glogging.Logger):
            atoms_wrapper_class = Atoms
            def now(self): return "[frozen]"
            def atoms(self, resp, req, environ, request_time):
                atoms = super().atoms(resp, req, environ, request_time)
                assert request_time.seconds >= 0 and resp.status == "201 Created" and resp.status_code == 201
                atoms["f"] = environ["RAW_URI"]
                return atoms
            def info(self, msg, *args, **kwargs): super().info("own: " + msg, *args, **kwargs)
        logger_class = Own
        """,
    )
    arbiter.boot(settings={"accesslog": "-"})
    arbiter.fork()
    arbiter.get("/x")
    (line,) = access(arbiter)
    assert line.startswith('* - - [frozen] "GET /x HTTP/1.1" 201 5 "/x"')
    assert "own: Booting worker" in arbiter.output()


def test_a_logger_class_that_sets_up_nothing(start):
    arbiter, _ = serve(
        start,
        config="from gunicorn.glogging import Logger\nclass Own(Logger):\n    def setup(self, cfg): self.error_logger = None\n"
        "logger_class = Own",
    )
    assert arbiter.get().status == 201


def test_no_request_forges_a_line(start):
    arbiter, _ = serve(start, accesslog="-", access_log_format="%(r)s %(a)s %(u)s")
    arbiter.get("/", "User-Agent: x\ty\x9b31m", "Authorization: Basic YQpiOmM=")
    arbiter.get("/", "User-Agent: \x85\xff")
    first, second = access(arbiter, 2)
    assert first == "GET / HTTP/1.1 x\\x09y\\x9b31m a\\x0ab"
    assert second == "GET / HTTP/1.1 \\x85\xff -"


def test_nothing_is_lost_at_the_end(start):
    arbiter, worker = serve(start, accesslog="access.log", keepalive=5)
    client = arbiter.connect()
    for _ in range(20):
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
        count = 0
        while count < 100:
            count += read_until(client, b"hello").count(b"hello")
    worker.retire()
    client.close()
    assert worker.wait() == 0
    assert arbiter.file("access.log").count("\n") == 2000


def test_a_log_that_nobody_reads_holds_no_request(start):
    arbiter = start(HELLO)
    os.mkfifo(arbiter.directory / "access.log")
    reader = os.open(arbiter.directory / "access.log", os.O_RDONLY | os.O_NONBLOCK)
    try:
        arbiter.boot(settings={"accesslog": "access.log", "graceful_timeout": 1})
        arbiter.fork()
        for _ in range(300):
            assert arbiter.get("/" + "a" * 1000).status == 201
    finally:
        os.close(reader)


def test_error_log_file_level_and_wsgi_errors(start):
    arbiter, worker = serve(
        start,
        "import sys\ndef app(e, s):\n    e['wsgi.errors'].write('to errors\\n'); print('to stderr', file=sys.stderr)\n    1/0",
        errorlog="error.log",
        loglevel="ERROR",
    )
    arbiter.get()
    worker.retire()
    worker.wait()
    text = arbiter.file("error.log")
    assert "to errors" in text and "ZeroDivisionError" in text and "Booting" not in text
    assert arbiter.output().strip() == "to stderr"


def test_capture_output(start):
    arbiter, worker = serve(
        start,
        "import os\nos.system('echo from a program')\nprint('printed')\n" + HELLO,
        errorlog="error.log",
        capture_output=True,
    )
    worker.retire()
    worker.wait()
    text = arbiter.file("error.log")
    assert "from a program" in text and "printed" in text


def test_tracebacks_drive_no_terminal(start):
    arbiter, _ = serve(start, "def app(e, s): raise ValueError('\\x1b[2J' + e['HTTP_X'])")
    arbiter.get("/", "X: a")
    arbiter.wait_for(lambda: "ValueError: \\x1b[2Ja" in arbiter.output())
    assert "\x1b" not in arbiter.output()


def test_failed_requests_are_logged_with_what_the_client_got(start):
    arbiter, _ = serve(
        start, "def app(e, s):\n    s('200 OK', []); raise ValueError", accesslog="-", access_log_format="%(s)s %(b)s"
    )
    arbiter.get()
    assert access(arbiter) == ["500 0"]


@pytest.mark.parametrize("hook", [None, "def pre_request(worker, req): pass"])
def test_access_lines_show_what_middleware_left(start, hook):
    """A proxy's client, a rewritten path."""
    arbiter, _ = serve(
        start,
        """
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/changed":
                environ["REMOTE_ADDR"] = "9.9.9.9"
                for times in range(3):
                    environ["PATH_INFO"] = "".join(["/re", 'written"'])
                environ["REQUEST_METHOD"] = "PUT"
                environ["HTTP_AUTHORIZATION"] = "Basic dTpw"
                del environ["HTTP_USER_AGENT"]
            start_response("200 OK", [])
            return [b""]
        """,
        config=hook,
        accesslog="-",
        access_log_format="%(h)s %(u)s %(m)s %(U)s %(a)s %(r)s",
    )
    for path in ("/changed", "/plain"):
        assert arbiter.get(path, "User-Agent: me").status == 200
    assert access(arbiter, 2) == [
        '9.9.9.9 u PUT /rewritten\\" - PUT /changed HTTP/1.1',
        "127.0.0.1 - GET /plain me GET /plain HTTP/1.1",
    ]


@pytest.mark.parametrize("error", ["ConnectionResetError(104, 'the database')", "BrokenPipeError(32, 'the cache')"])
def test_connections_of_the_apps_own_that_break_are_errors(start, error):
    arbiter, _ = serve(start, f"def app(e, s): raise {error}")
    assert arbiter.get().status == 500
    arbiter.wait_for(lambda: "[ERROR] Error handling request GET /" in arbiter.output())


def test_a_client_that_leaves_is_no_error(start):
    arbiter, _ = serve(
        start,
        "def app(e, s):\n    try: e['wsgi.input'].read()\n    finally: print('over', flush=True)",
        loglevel="debug",
    )
    with arbiter.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n")
    arbiter.wait_for(lambda: "Ignoring ConnectionResetError of POST /: the client left" in arbiter.output())
    assert "[ERROR]" not in arbiter.output()


@pytest.mark.parametrize("spare", [True, False], ids=["spare", "none"])
def test_logs_are_opened_again_by_a_worker_without_descriptors(start, spare):
    """It has some in reserve; without them a log stays where it is, and so does the worker."""
    arbiter = start(
        """
        import os, resource
        held = []
        def app(environ, start_response):
            print(environ["PATH_INFO"], file=environ["wsgi.errors"])
            if environ["PATH_INFO"] in ("/full", "/none"):
                limit = 3 if environ["PATH_INFO"] == "/none" else max(map(int, os.listdir("/proc/self/fd"))) + 1
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
                try:
                    while True:
                        held.append(os.dup(0))
                except OSError:
                    pass
            start_response("200 OK", [])
            return [b"hello"]
        """
    )
    arbiter.boot(settings={"errorlog": "error.log", "keepalive": 30})
    worker = arbiter.fork()
    client = arbiter.connect()

    def ask(path):
        client.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path)
        return Response(read_until(client, b"hello", 1)).headers["connection"]

    ask(b"/full" if spare else b"/none")
    os.rename(arbiter.directory / "error.log", arbiter.directory / "old.log")
    fd = os.open(arbiter.directory / "error.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    worker.link.send({"type": "logs", "error": True, "access": False, "captured": False}, [fd])
    os.close(fd)
    # What follows it on the link shows when it has been read.
    worker.link.send({"type": "drain"})
    arbiter.wait_for(lambda: ask(b"/next") == "close")
    arbiter.wait_for(lambda: "/next" in arbiter.file("error.log" if spare else "old.log"))
    assert spare or not arbiter.file("error.log")
    assert not select.select([worker.link.ours], [], [], 0.2)[0], "it leaves"
