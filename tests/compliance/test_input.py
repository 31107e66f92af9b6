"""`wsgi.input`: read, readline, readlines, iteration, for bodies of every framing."""

import json

import pytest

from support.http import chunked

APP = """
import json
def app(environ, start_response):
    stream = environ["wsgi.input"]
    calls = json.loads(environ["HTTP_X_CALLS"])
    results = []
    for name, *arguments in calls:
        try:
            if name == "iter":
                result = list(stream)
            elif name == "next":
                result = next(stream)
            else:
                result = getattr(stream, name)(*arguments)
        except Exception as error:
            result = type(error).__name__
        results.append([piece.decode() for piece in result] if isinstance(result, list) else result.decode() if isinstance(result, bytes) else result)
    body = json.dumps(results).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
BODY = b"first\nsecond line\n\nlast"


@pytest.fixture(scope="module")
def server(shared):
    shared.write("app.py", APP)
    return shared.start("app:app")


@pytest.fixture(params=["length", "chunks", "small chunks"])
def ask(server, request):
    def ask(*calls, body=BODY):
        headers = [("X-Calls", json.dumps(calls))]
        if request.param != "length":
            size = 7 if request.param == "chunks" else 1
            headers.append(("Transfer-Encoding", "chunked"))
            body = chunked(*[body[at : at + size] for at in range(0, len(body), size)])
        return server.request("POST", headers=headers, body=body).json

    return ask


TEXT = BODY.decode()


def test_read(ask):
    assert ask(["read"], ["read"]) == [TEXT, ""]


@pytest.mark.parametrize("size", [-1, None])
def test_read_all(ask, size):
    assert ask(["read", size]) == [TEXT]


def test_read_sizes(ask):
    assert ask(["read", 0], ["read", 3], ["read", 5], ["read", 1000], ["read", 1]) == ["", "fir", "st\nse", TEXT[8:], ""]


def test_read_of_no_number(ask):
    assert ask(["read", "x"], ["read"]) == ["TypeError", TEXT]


def test_readline(ask):
    assert ask(*[["readline"]] * 5) == ["first\n", "second line\n", "\n", "last", ""]


def test_readline_sizes(ask):
    assert ask(["readline", 3], ["readline", 100], ["readline", 6], ["readline", 0], ["readline"]) == ["fir", "st\n", "second", "", " line\n"]


def test_readlines(ask):
    assert ask(["readlines"]) == [["first\n", "second line\n", "\n", "last"]]


def test_iteration(ask):
    assert ask(["iter"]) == [["first\n", "second line\n", "\n", "last"]]


def test_next(ask):
    assert ask(["next"], ["next"], ["read"], ["next"]) == ["first\n", "second line\n", "\nlast", "StopIteration"]


def test_mixed(ask):
    assert ask(["read", 2], ["readline"], ["read", 3], ["readlines"]) == ["fi", "rst\n", "sec", ["ond line\n", "\n", "last"]]


def test_nothing(ask):
    assert ask(["read"], ["readline"], ["readlines"], ["iter"], body=b"") == ["", "", [], []]


def test_large(server):
    body = b"".join(b"%07d\n" % number for number in range(50_000))
    headers = [("X-Calls", json.dumps([["read", 8], ["readline"], ["read", 300_000], ["readline"]]))]
    one, two, three, four = server.request("POST", headers=headers, body=body).json
    assert (one, two, four) == ("0000000\n", "0000001\n", "0037502\n")
    assert three.encode() == body[16:300_016]


def test_a_client_that_stops_in_the_middle(start, launcher):
    """The app sees an error or a short body; the server lives on."""
    launcher.write("app.py", APP)
    server = start("app:app", allowed=["Error handling request", "Socket error"])
    for framing in ("Content-Length: 1000000", "Transfer-Encoding: chunked"):
        with server.connect() as connection:
            connection.send(f'POST / HTTP/1.1\r\nHost: a\r\nX-Calls: [["read"]]\r\n{framing}\r\n\r\nF4240\r\nhalf')
    assert server.request("POST", headers=[("X-Calls", '[["read"]]')], body=b"x").json == ["x"]
