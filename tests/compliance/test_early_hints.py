"""`wsgi.early_hints`: 103 before the answer."""

import pytest

APP = """
def app(environ, start_response):
    hints = environ["wsgi.early_hints"]
    path = environ["PATH_INFO"]
    if path == "/one":
        hints([("Link", "</style.css>; rel=preload; as=style"), ("Link", "</a.js>; rel=preload")])
    elif path == "/two":
        hints([("Link", "</one>")])
        hints([(b"Link", b"</two>")])
    elif path == "/bad":
        hints([("Link", "a\\r\\nSet-Cookie: evil=1")])
    elif path == "/badname":
        hints([("Bad Name", "x")])
    write = start_response("200 OK", [("Content-Length", "5")])
    if path == "/late":
        write(b"he")
        hints([("Link", "</late>")])
        return [b"llo"]
    return [b"hello"]
"""


@pytest.fixture(scope="module")
def server(shared):
    shared.write("app.py", APP)
    return shared.start("app:app", allowed=["Error handling request"])


def interim(connection):
    response = connection.response()
    assert response.status == 103
    return response.all("link")


def test_one(server):
    with server.connect() as connection:
        connection.request(target="/one")
        assert interim(connection) == ["</style.css>; rel=preload; as=style", "</a.js>; rel=preload"]
        assert connection.response().body == b"hello"


def test_two(server):
    with server.connect() as connection:
        connection.request(target="/two")
        assert interim(connection) == ["</one>"]
        assert interim(connection) == ["</two>"]
        assert connection.response().body == b"hello"


def test_not_on_1_0(server):
    with server.connect() as connection:
        assert connection.request(target="/one", version="1.0").response().status == 200


def test_too_late(server):
    with server.connect() as connection:
        assert connection.request(target="/late").response().body == b"hello"


@pytest.mark.parametrize("target", ["/bad", "/badname"])
def test_bad_fields(server, target):
    with server.connect() as connection:
        response = connection.request(target=target).response()
        assert response.status == 500
        assert response.header("set-cookie") is None
