"""The access log: `--access-logfile`, `--access-logformat`, every atom of it."""

import base64
import re

import pytest

APP = """
import time
def app(environ, start_response):
    headers = [("Content-Type", "text/plain"), ("X-Answer", "forty-two"), ("X-Answer", "43"), ("Content-Length", "5")]
    if environ["PATH_INFO"] == "/empty":
        start_response("204 No Content", [])
        return []
    if environ["PATH_INFO"] == "/busy":
        until = time.monotonic() + 1.05
        while time.monotonic() < until:
            pass
    if environ["PATH_INFO"] == "/odd":
        start_response("299 Fine  by me", headers)
        return [b"hello"]
    start_response("200 OK", headers)
    return [b"he", b"llo"]
"""

DEFAULT = (
    r'(?P<h>\S+) - - \[(?P<t>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "(?P<r>.*)" (?P<s>\d+) (?P<b>\d+|-) "(?P<f>.*)" "(?P<a>.*)"'
)


@pytest.fixture
def logged(start, launcher):
    """Makes one request; its line in the access log."""
    launcher.write("logapp.py", APP)

    def logged(form, request=None, method="GET", target="/path?query=1", headers=(), version="1.1"):
        server = start("--access-logfile", "-", "--access-logformat", form, "logapp:app")
        if request is None:
            server.request(method, target, headers, version=version)
        else:
            with server.connect() as connection:
                connection.send(request).rest()
        server.stop()
        server.close()
        (line,) = server.stdout.lines
        return line

    return logged


def test_off_by_default(start):
    server = start("hello:app")
    server.get()
    server.stop()
    assert server.stdout.text == ""
    assert "GET" not in server.stderr.text


def test_default_format(start):
    server = start("--access-logfile", "-", "hello:app")
    server.get("/a?b=c", [("Referer", "http://from.example/"), ("User-Agent", "tester/1")])
    server.get("/plain")
    server.stop()
    first, second = [re.fullmatch(DEFAULT, line) for line in server.stdout.lines]
    assert first.group("h", "r", "s", "b", "f", "a") == ("127.0.0.1", "GET /a?b=c HTTP/1.1", "200", "6", "http://from.example/", "tester/1")
    assert second.group("r", "f", "a") == ("GET /plain HTTP/1.1", "-", "-")


def test_to_a_file(start, launcher):
    server = start("--access-logfile", "access.log", "hello:app")
    server.get("/one")
    server.get("/two")
    server.stop()
    lines = (launcher.directory / "access.log").read_text().splitlines()
    assert [re.fullmatch(DEFAULT, line)["r"] for line in lines] == ["GET /one HTTP/1.1", "GET /two HTTP/1.1"]
    assert server.stdout.text == ""


def test_a_file_is_appended_to(start, launcher):
    path = launcher.write("access.log", "before\n")
    server = start("--access-logfile", "access.log", "hello:app")
    server.get("/one")
    server.stop()
    assert path.read_text().splitlines()[0] == "before"
    assert len(path.read_text().splitlines()) == 2


def test_a_file_that_cannot_be_written(run):
    run("--access-logfile", "nowhere/access.log", "hello:app", code=1)


@pytest.mark.parametrize(
    ("atom", "expected"),
    [
        ("%(h)s", "127.0.0.1"),
        ("%(l)s", "-"),
        ("%(u)s", "-"),
        ("%(r)s", "GET /path?query=1 HTTP/1.1"),
        ("%(m)s", "GET"),
        ("%(U)s", "/path"),
        ("%(q)s", "query=1"),
        ("%(H)s", "HTTP/1.1"),
        ("%(s)s", "200"),
        ("%(b)s", "5"),
        ("%(B)s", "5"),
        ("%(f)s", "-"),
        ("%(a)s", "-"),
        ("%(T)s", "0"),
        ("%({host}i)s", "test.example"),
        ("%({HOST}i)s", "test.example"),
        ("%({missing}i)s", "-"),
        ("%({content-type}o)s", "text/plain"),
        ("%({Content-Length}o)s", "5"),
        ("%({x-answer}o)s", "43"),
        ("%({server}o)s", "-"),
        ("%({date}o)s", "-"),
        ("%({missing}o)s", "-"),
        ("%({REQUEST_METHOD}e)s", "GET"),
        ("%({raw_uri}e)s", "/path?query=1"),
        ("%({missing}e)s", "-"),
        ("%(unknown)s", "-"),
        ("100%% %(s)s", "100% 200"),
        ('{"status": %(s)s, "path": "%(U)s"}', '{"status": 200, "path": "/path"}'),
    ],
)
def test_atom(logged, atom, expected):
    assert logged(atom) == expected


@pytest.mark.parametrize(
    ("atom", "pattern"),
    [
        ("%(t)s", r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"),
        ("%(D)s", r"\d+"),
        ("%(M)s", r"\d+"),
        ("%(L)s", r"0\.\d{6}"),
        ("%(p)s", r"<\d+>"),
    ],
)
def test_atom_that_varies(logged, atom, pattern):
    assert re.fullmatch(pattern, logged(atom))


def test_times_agree(logged):
    """A request of more than a second: whole seconds, milliseconds, microseconds, and seconds with a fraction."""
    seconds, millis, micros, decimal = logged("%(T)s %(M)s %(D)s %(L)s", target="/busy").split()
    assert int(seconds) == int(millis) // 1000 == int(micros) // 1_000_000 >= 1
    assert int(millis) == int(micros) // 1000
    assert decimal == f"{int(micros) // 1_000_000}.{int(micros) % 1_000_000:06d}"


def test_pid(start):
    server = start("--access-logfile", "-", "--access-logformat", "%(p)s", "process:app")
    pid = server.get().json["pid"]
    server.stop()
    assert server.stdout.lines == [f"<{pid}>"]


def test_status_is_the_code_alone(logged):
    assert logged("%(s)s", target="/odd") == "299"


def test_no_body(logged):
    assert logged("%(b)s %(B)s", target="/empty") == "0 0"


def test_body_of_a_head_request_does_not_count(logged):
    assert logged("%(m)s %(b)s", method="HEAD") == "HEAD 0"


def test_path_is_decoded_and_request_line_is_not(logged):
    assert logged("%(U)s|%(r)s", target="/a%20b?c%20d") == "/a b|GET /a%20b?c%20d HTTP/1.1"


def test_repeated_request_header(logged):
    """The last one."""
    assert logged("%({x-a}i)s", headers=[("X-A", "1"), ("X-A", "2")]) == "2"


def test_http_1_0(logged):
    assert logged("%(r)s %(H)s", version="1.0", target="/") == "GET / HTTP/1.0 HTTP/1.0"


def test_basic_user(logged):
    credentials = base64.b64encode(b"frank:secret").decode()
    assert logged("%(u)s", headers=[("Authorization", f"Basic {credentials}")]) == "frank"


@pytest.mark.parametrize("value", ["Bearer abc", "Basic", "Basic !!!", "Basic " + base64.b64encode(b"\xff\xfe:x").decode()])
def test_no_basic_user(logged, value):
    assert logged("%(u)s", headers=[("Authorization", value)]) == "-"


def test_quotes_are_escaped(logged):
    assert logged('"%(a)s"', headers=[("User-Agent", 'say "hi"')]) == r'"say \"hi\""'


def test_client_on_a_unix_socket(start, launcher):
    server = start("--access-logfile", "-", "--bind", "unix:app.sock", "hello:app", bind=False)
    server.listening()
    server.address = str(launcher.directory / "app.sock")
    server.get("/")
    server.stop()
    (line,) = server.stdout.lines
    assert re.fullmatch(DEFAULT.replace(r"(?P<h>\S+)", ""), line)


def test_a_failing_app_is_in_it(start, launcher):
    launcher.write("app.py", "def app(environ, start_response): raise RuntimeError('on purpose')\n")
    server = start("--access-logfile", "-", "app:app", allowed=["on purpose"])
    assert server.get("/x").status == 500
    server.stop()
    (line,) = server.stdout.lines
    assert re.fullmatch(DEFAULT, line).group("r", "s") == ("GET /x HTTP/1.1", "500")


def test_one_line_a_request(start):
    server = start("--access-logfile", "-", "--workers", "2", "hello:app")
    for number in range(50):
        server.get(f"/{number}")
    server.stop()
    seen = sorted(int(re.fullmatch(DEFAULT, line)["r"].split()[1][1:]) for line in server.stdout.lines)
    assert seen == list(range(50))


def test_off_in_the_config_file(start):
    server = start("hello:app", conf="accesslog = None")
    server.get()
    server.stop()
    assert server.stdout.text == ""


def test_an_empty_name_is_no_file(run):
    run("hello:app", conf="accesslog = ''", code=1)


def test_format_from_the_config_file(start):
    server = start("hello:app", conf="accesslog = '-'\naccess_log_format = '%(m)s %(U)s %({x-busy}i)s'\n")
    server.get("/a", [("X-Busy", "7")])
    server.stop()
    assert server.stdout.lines == ["GET /a 7"]
