"""The error log: `--error-logfile`, `--log-level`, `--capture-output`, `wsgi.errors`, the loggers that apps see."""

import re

import pytest

from support.output import RECORD

APP = """
import logging, os, sys
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/errors":
        environ["wsgi.errors"].write("from wsgi.errors\\n")
        environ["wsgi.errors"].flush()
    elif path == "/print":
        print("from print", flush=True)
    elif path == "/fd":
        os.write(1, b"from descriptor 1\\n")
        os.write(2, b"from descriptor 2\\n")
    elif path == "/logger":
        logging.getLogger("gunicorn.error").warning("from the %s", "logger")
        logging.getLogger("gunicorn.error").debug("too fine")
    elif path == "/borrowed":
        mine = logging.getLogger("mine")
        mine.handlers = logging.getLogger("gunicorn.error").handlers
        mine.setLevel(logging.getLogger("gunicorn.error").level)
        mine.info("from a borrowed handler")
    elif path == "/raise":
        raise RuntimeError("on purpose")
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""


@pytest.fixture
def serve(start, launcher):
    launcher.write("logapp.py", APP)

    def serve(*arguments, paths=(), **options):
        server = start(*arguments, "logapp:app", allowed=["on purpose"], **options)
        for path in paths:
            server.get(path)
        server.stop()
        server.close()
        return server

    return serve


def messages(lines):
    return [(match["level"], match["message"]) for line in lines if (match := RECORD.fullmatch(line))]


def test_lines_have_time_pid_and_level(serve):
    server = serve(paths=["/"])
    first = RECORD.fullmatch(server.stderr.lines[0])
    assert first and int(first["pid"]) == server.pid and first["level"] == "INFO"
    assert all(RECORD.fullmatch(line) for line in server.stderr.lines)


def test_it_starts_with_name_and_address(serve):
    server = serve(paths=["/"])
    first, second = messages(server.stderr.lines)[:2]
    assert re.fullmatch(r"Starting r?gunicorn \d[\w.]*", first[1])
    assert second[1] == f"Listening at: http://127.0.0.1:{server.address[1]} ({server.pid})"


def test_it_tells_of_the_stop(serve):
    server = serve(paths=["/"])
    said = [message for _, message in messages(server.stderr.lines)]
    assert "Handling signal: term" in said
    assert said[-1] == "Shutting down: Master"


@pytest.mark.parametrize("flag", ["--error-logfile", "--log-file"])
def test_to_a_file(serve, launcher, flag):
    server = serve(flag, "error.log", paths=["/"])
    lines = (launcher.directory / "error.log").read_text().splitlines()
    assert messages(lines)[-1] == ("INFO", "Shutting down: Master")
    assert server.stderr.text == ""


def test_a_file_is_appended_to(serve, launcher):
    path = launcher.write("error.log", "before\n")
    serve("--error-logfile", "error.log", paths=["/"])
    assert path.read_text().startswith("before\n[")


def test_a_file_that_cannot_be_written(run):
    run("--error-logfile", "nowhere/error.log", "hello:app", code=1)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", {"INFO", "WARNING", "ERROR"}),
        ("info", {"INFO", "WARNING", "ERROR"}),
        ("INFO", {"INFO", "WARNING", "ERROR"}),
        ("warning", {"WARNING", "ERROR"}),
        ("error", {"ERROR"}),
        ("critical", set()),
        ("no-such-level", {"INFO", "WARNING", "ERROR"}),
    ],
)
def test_level(serve, level, expected):
    server = serve("--log-level", level, paths=["/logger", "/raise"])
    levels = {level for level, _ in messages(server.stderr.lines)}
    assert levels - {"DEBUG"} == expected
    assert ("DEBUG" in levels) == (level == "debug")


def test_wsgi_errors(serve):
    assert "from wsgi.errors" in serve(paths=["/errors"]).stderr.lines


def test_wsgi_errors_go_to_the_file(serve, launcher):
    server = serve("--error-logfile", "error.log", paths=["/errors"])
    assert "from wsgi.errors" in (launcher.directory / "error.log").read_text().splitlines()
    assert server.stderr.text == ""


def test_standard_streams_are_the_apps(serve):
    server = serve(paths=["/print", "/fd"])
    assert server.stdout.lines == ["from print", "from descriptor 1"]
    assert "from descriptor 2" in server.stderr.lines


def test_capture_output(serve, launcher):
    server = serve("--capture-output", "--error-logfile", "error.log", paths=["/print", "/fd"])
    lines = (launcher.directory / "error.log").read_text().splitlines()
    assert {"from print", "from descriptor 1", "from descriptor 2"} <= set(lines)
    assert server.stdout.text == server.stderr.text == ""


def test_capture_output_without_a_file(serve):
    """It changes nothing then."""
    assert serve("--capture-output", paths=["/print"]).stdout.lines == ["from print"]


def test_the_app_may_use_the_logger(serve):
    server = serve(paths=["/logger"])
    assert ("WARNING", "from the logger") in messages(server.stderr.lines)
    assert "too fine" not in server.stderr.text


def test_the_app_may_borrow_the_handlers(serve):
    """As the guides for Flask tell everybody to do."""
    server = serve(paths=["/borrowed"])
    assert ("INFO", "from a borrowed handler") in messages(server.stderr.lines)


def test_a_traceback(serve):
    server = serve(paths=["/raise"])
    (record,) = [message for level, message in messages(server.stderr.lines) if level == "ERROR"]
    assert record == "Error handling request GET /raise"
    assert "Traceback (most recent call last):" in server.stderr.lines
    assert "RuntimeError: on purpose" in server.stderr.lines


def test_an_inherited_file_is_not_truncated(start, launcher, program):
    """`2>>file` in a shell: lines are appended where others write too."""
    path = launcher.write("both.log", "before\n")
    server = start("hello:app", before=("/bin/sh", "-c", f'exec "$@" 2>>{path}', "sh"))
    server.get()
    with path.open("a") as other:
        other.write("between\n")
    server.stop()
    lines = path.read_text().splitlines()
    assert lines[0] == "before" and "between" in lines
    assert lines[-1].endswith("Shutting down: Master")
