"""The standard library's checker of servers and apps finds nothing."""

import pytest

APP = """
from wsgiref.validate import validator

def plain(environ, start_response):
    stream = environ["wsgi.input"]
    body = stream.read(4) + stream.readline() + b"".join(stream.readlines()) + b"".join(stream)
    environ["wsgi.errors"].write("")
    environ["wsgi.errors"].flush()
    environ["wsgi.errors"].writelines([])
    path = environ["PATH_INFO"]
    if path == "/none":
        start_response("204 No Content", [])
        return []
    if path == "/write":
        start_response("200 OK", [("Content-Type", "text/plain")])(b"written")
        return []
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]

app = validator(plain)
"""


@pytest.fixture(scope="module")
def server(shared):
    shared.write("app.py", APP)
    return shared.start("app:app")


@pytest.mark.parametrize(
    ("method", "target", "body", "expected"),
    [
        ("GET", "/", None, b""),
        ("POST", "/path?query", b"some\nlines\nof text", b"some\nlines\nof text"),
        ("PUT", "/", b"", b""),
        ("GET", "/none", None, b""),
        ("GET", "/write", None, b"written"),
        ("DELETE", "/%20x", None, b""),
    ],
)
def test_valid(server, method, target, body, expected):
    response = server.request(method, target, body=body)
    assert response.status in (200, 204)
    assert response.body == expected


def test_head(server):
    assert server.request("HEAD", "/").status == 200
