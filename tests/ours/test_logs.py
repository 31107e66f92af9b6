"""Logs of ours: no request can forge a line, none tears, none is lost."""

import base64
import fcntl
import os
import re
import sys
import threading

import pytest

from support.http import Connection
from support.output import RECORD

pytestmark = pytest.mark.only("ours")

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def test_no_line_is_forged_in_the_access_log(start):
    """Whatever a client may send in a field, a path or a name: one request, one line, no control character."""
    server = start("--access-logfile", "-", "--access-logformat", "%(U)s %(q)s %(u)s %(f)s %(a)s %({x-one}i)s %(r)s", "hello:app")
    forged = "127.0.0.1 - - forged"
    user = base64.b64encode(f"frank\n{forged}\x1b[31m:x".encode()).decode()
    headers = [
        ("Authorization", f"Basic {user}"),
        ("Referer", 'a" 200 "b'),
        ("User-Agent", "\x85next line\x9b31m"),
        ("X-One", "\xa0\xad\x80"),
    ]
    server.get(f"/%0a{forged.replace(' ', '%20')}%0d%1b%5b31m%00%7f?x=%0a", headers)
    server.stop()
    (line,) = server.stdout.lines
    assert not CONTROL.search(line)
    assert r"a\" 200 \"b" in line


def test_no_line_is_forged_in_the_error_log(start):
    server = start("hello:app")
    forged = "[2026-01-01 00:00:00 +0000] [1] [CRITICAL] forged"
    for line in (f"GET /a\n{forged} HTTP/1.1", f"GET /\x1b[31m{forged} HTTP/1.1", f"\x85{forged}", f"GET /a\r{forged}"):
        with server.connect() as connection:
            assert connection.send(f"{line}\r\n\r\n").response().status == 400
    for field in (f"X-A: a\r\n b\n{forged}", f"X-B\x1b: {forged}", f"Content-Length: \x9b{forged}", f"Host: {forged}\x7f"):
        with server.connect() as connection:
            assert connection.send(f"GET / HTTP/1.1\r\n{field}\r\n\r\n").response().status == 400
    server.stop()
    assert all(RECORD.fullmatch(line) and not CONTROL.search(line) for line in server.stderr.lines)
    assert not [line for line in server.stderr.lines if RECORD.fullmatch(line)["level"] == "CRITICAL"]


def test_a_failing_requests_path_is_escaped(start, launcher):
    launcher.write("app.py", "def app(environ, start_response): raise LookupError('on purpose')\n")
    server = start("app:app", allowed=["on purpose"])
    assert server.get("/quote\"and'more").status == 500
    server.stderr.find(r"\[ERROR\] Error handling request GET /quote")


def load(server, clients, requests, headers=()):
    """So many clients at once, each with so many requests on one connection."""

    def client(number):
        with Connection(server.address) as connection:
            for count in range(requests):
                assert connection.request(target=f"/{number}/{count}", headers=headers).response().status == 200

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {f"/{number}/{count}" for number in range(clients) for count in range(requests)}


def test_lines_do_not_tear_in_a_pipe(start):
    """Four workers, lines of nearly the size that a pipe takes whole."""
    server = start("--workers", "4", "--access-logfile", "-", "--access-logformat", '"%(U)s" "%(a)s" end', "hello:app")
    agent = "x" * 3900
    wanted = load(server, 8, 100, [("User-Agent", agent)])
    server.stop()
    server.close()
    lines = [re.fullmatch(rf'"(/\d+/\d+)" "{agent}" end', line) for line in server.stdout.lines]
    assert all(lines)
    assert sorted(line[1] for line in lines) == sorted(wanted)


@pytest.mark.parametrize("target", ["-", "access.log"])
def test_nothing_is_lost_at_the_stop(start, launcher, target):
    server = start("--workers", "2", "--access-logfile", target, "--access-logformat", "%(U)s", "hello:app")
    wanted = load(server, 6, 150)
    server.stop()
    server.close()
    lines = server.stdout.lines if target == "-" else (launcher.directory / target).read_text().splitlines()
    assert sorted(lines) == sorted(wanted)


def test_a_slow_reader_loses_nothing(start, launcher):
    """The log's pipe is full for a while: nobody reads until all requests are answered."""
    fifo = launcher.directory / "access.fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        server = start("--access-logfile", str(fifo), "--access-logformat", "%(U)s %(a)s", "hello:app")
        wanted = load(server, 2, 100, [("User-Agent", "y" * 2000)])
        os.set_blocking(reader, True)
        collected = []
        thread = threading.Thread(target=lambda: collected.extend(iter(lambda: os.read(reader, 65536), b"")))
        thread.start()
        server.stop()
        thread.join()
        lines = b"".join(collected).decode().splitlines()
        assert sorted(line.split()[0] for line in lines) == sorted(wanted)
    finally:
        os.close(reader)


def test_what_the_app_logs_last(start, launcher):
    """Lines written while the worker leaves are there, too."""
    launcher.write(
        "app.py",
        """
        import atexit, logging
        logger = logging.getLogger("gunicorn.error")
        atexit.register(lambda: logger.warning("at exit"))
        def app(environ, start_response):
            start_response("200 OK", [])
            return [b"ok"]
        """,
    )
    conf = "def worker_exit(server, worker): worker.log.warning('worker exit')\ndef on_exit(server): server.log.warning('on exit')\n"
    server = start("app:app", conf=conf)
    server.get()
    server.stop()
    for text in ("worker exit", "at exit", "on exit"):
        server.stderr.find(rf"\[WARNING\] {text}")


def test_standard_streams_stay_blocking(start, launcher):
    """They are shared with whoever started us."""
    read, write = os.pipe()
    try:
        redirect = "import os, sys; os.dup2(int(sys.argv[1]), 1); os.execv(sys.argv[2], sys.argv[2:])"
        server = start("--access-logfile", "-", "hello:app", before=(sys.executable, "-c", redirect, str(write)), pass_fds=(write,))
        server.get()
        assert not fcntl.fcntl(write, fcntl.F_GETFL) & os.O_NONBLOCK
        server.stop()
    finally:
        os.close(write)
        os.close(read)
