"""The examples, started as their first lines say (but for the address), and used."""

import hashlib
import http.cookiejar
import json
import os
import re
import subprocess
import urllib.parse
import urllib.request

import pytest

from support.program import REPOSITORY, VENV_PYTHON

EXAMPLES = REPOSITORY / "examples"


@pytest.fixture(params=[[], ["--threads", "2"]], ids=["sync", "gthread"])
def example(request, start):
    """Starts one in the repository's own directory, with each of the worker classes."""

    def example(*arguments, directory=EXAMPLES, **options):
        return start("--chdir", str(directory), *request.param, *arguments, **options)

    return example


def url(server, path):
    host, port = server.address
    return f"http://{host}:{port}{path}"


def test_every_example_says_how_to_start_it():
    for path in EXAMPLES.glob("*.py"):
        assert re.search(r"^    rgunicorn .*\b" + path.stem.split(".")[0], path.read_text(), re.MULTILINE), path


# -- hello ----------------------------------------------------------------------------------------------------------------


def test_hello(example):
    response = example("hello:app").get("/")
    assert (response.status, response.body) == (200, b"Hello, world!\n")


# -- Flask ----------------------------------------------------------------------------------------------------------------


def test_flask(example):
    server = example("flask_app:app")
    assert server.get("/notes/1").status == 404
    body = json.dumps({"text": "milk"}).encode()
    created = server.request("POST", "/notes", [("Content-Type", "application/json")], body)
    assert (created.status, created.json) == (201, {"number": 1, "text": "milk"})
    assert server.get("/notes/1").json == {"number": 1, "text": "milk"}
    assert b"<li>milk</li>" in server.get("/").body
    server.stderr.find("note 1 added")


def test_flask_factory(example):
    assert b"<h1>Shopping</h1>" in example('flask_app:create_app(title="Shopping")').get("/").body


def test_flask_bad_request(example):
    server = example("flask_app:app")
    assert server.request("POST", "/notes", [("Content-Type", "application/json")], b"{").status == 400
    assert server.request("POST", "/notes", [("Content-Type", "text/plain")], b"x").status == 415
    assert server.request("PUT", "/notes").status == 405


# -- Django ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def django(example, launcher):
    """The guest book over a fresh database."""
    database = launcher.directory / "guests.sqlite3"
    project = EXAMPLES / "django_project"
    env = {"DATABASE": str(database)}
    subprocess.run(
        [VENV_PYTHON, "manage.py", "migrate", "--verbosity", "0"], cwd=project, env={**os.environ, **env, "PYTHONDONTWRITEBYTECODE": "1"}, check=True
    )

    def django(*arguments, **options):
        return example(*arguments, "project.wsgi", directory=project, env=env, **options)

    return django


def browser():
    jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)


def test_django(django):
    """A visitor reads, writes and reads again; two workers share the database."""
    server = django("--workers", "2")
    visitor = browser()
    assert "0 entries" in visitor.open(url(server, "/")).read().decode()
    form = visitor.open(url(server, "/add/")).read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)[1]
    fields = urllib.parse.urlencode({"csrfmiddlewaretoken": token, "name": "Zoë <b>", "text": "Hello\n\nthere"}).encode()
    page = visitor.open(url(server, "/add/"), fields).read().decode()
    assert "Thank you, Zoë &lt;b&gt;." in page
    assert "1 entry" in page and "<p>Hello</p>" in page
    assert "Thank you" not in visitor.open(url(server, "/")).read().decode()


def test_django_refuses_a_forged_form(django):
    server = django()
    body = urllib.parse.urlencode({"name": "x", "text": "y"}).encode()
    response = server.request("POST", "/add/", [("Content-Type", "application/x-www-form-urlencoded")], body)
    assert response.status == 403


def test_django_error(django):
    """The traceback is in the error log, and the next request is served."""
    server = django(allowed=["this view always fails"])
    assert server.get("/fail/").status == 500
    assert server.get("/").status == 200
    server.stderr.find("LookupError: this view always fails")


def test_django_redirects(django):
    response = django().get("/add")
    assert (response.status, response.header("location")) == (301, "/add/")


# -- streaming ------------------------------------------------------------------------------------------------------------


def test_streaming(example):
    response = example("streaming:app").get("/numbers?count=100000")
    assert response.framing == "chunked"
    assert response.body == b"".join(b"%d\n" % number for number in range(100_000))


def test_streamed_file(example, launcher):
    data = os.urandom(1_000_000)
    (launcher.directory / "big.bin").write_bytes(data)
    server = example("streaming:app", env={"FILES": str(launcher.directory)})
    response = server.get("/file/big.bin")
    assert (response.framing, response.body) == ("length", data)
    assert server.get("/file/../../../etc/passwd").status == 404
    assert server.get("/file/missing").status == 404


def test_a_stream_that_nobody_takes_ends(example):
    """The client leaves in the middle: the next one is served."""
    server = example("streaming:app")
    with server.connect() as connection:
        connection.request(target="/numbers?count=100000000")
        assert connection.socket.recv(1000)
    assert server.get("/numbers?count=1").body == b"0\n"


# -- upload ---------------------------------------------------------------------------------------------------------------


def form(data, name="photo.jpg", boundary="XboundaryX"):
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="comment"\r\n\r\nno file\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: image/jpeg\r\n\r\n'
    )
    body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
    return [("Content-Type", f"multipart/form-data; boundary={boundary}")], body


@pytest.mark.parametrize("size", [0, 1, 65_536, 3_000_000])
def test_upload(example, launcher, size):
    data = os.urandom(size)
    server = example("upload:app", env={"UPLOADS": str(launcher.directory)})
    headers, body = form(data)
    response = server.request("POST", "/", headers, body)
    answer = response.json
    assert (response.status, answer["name"], answer["size"]) == (201, "photo.jpg", size)
    assert answer["sha256"] == hashlib.sha256(data).hexdigest()
    with open(answer["saved"], "rb") as saved:
        assert saved.read() == data


def test_upload_of_a_tricky_file(example, launcher):
    """What looks like a boundary and is none."""
    data = b"\r\n--XboundaryY\r\n--Xboundary" + b"\r\n" * 40_000 + b"\r\n--Xboundar"
    server = example("upload:app", env={"UPLOADS": str(launcher.directory)})
    headers, body = form(data)
    assert server.request("POST", "/", headers, body).json["sha256"] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([("Content-Type", "text/plain")], b"x"),
        ([], b""),
        ([("Content-Type", "multipart/form-data; boundary=x")], b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--\r\n"),
        ([("Content-Type", "multipart/form-data; boundary=x")], b"nothing of the kind"),
    ],
)
def test_upload_of_something_else(example, headers, body):
    response = example("upload:app").request("POST", "/", headers, body)
    assert response.status == 400 and "error" in response.json


# -- configuration --------------------------------------------------------------------------------------------------------


def test_configuration(example):
    server = example("-c", str(EXAMPLES / "gunicorn.conf.py"), "hello:app")
    server.stderr.find(r"\[INFO\] worker [12] spawned \(pid \d+\)", 2)
    server.get("/")
    server.stop()
    for text in ("starting with 2 workers", r"ready: http://127\.0\.0\.1:\d+", "bye"):
        server.stderr.find(rf"\[INFO\] {text}")
    assert len(server.stderr.find(r"\[INFO\] worker [12] is gone", 2)) == 2
    assert re.fullmatch(r'127\.0\.0\.1 "GET / HTTP/1\.1" 200 14 \d+us', server.stdout.lines[0])
