"""`start_response`, `write()` and what the app returns: PEP 3333 as Gunicorn reads it."""

from email.utils import parsedate_to_datetime

import pytest

HEAD = """
import sys
from events import tell

class Body:
    def __init__(self, pieces, fail_at=None):
        self.pieces, self.fail_at = list(pieces), fail_at
    def __iter__(self):
        for number, piece in enumerate(self.pieces):
            if number == self.fail_at:
                raise LookupError("on purpose")
            yield piece
    def close(self):
        tell("close")

"""


@pytest.fixture
def serve(start, launcher):
    """Serves an app whose body is given."""

    def serve(body, *arguments, allowed=None, **options):
        lines = "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
        launcher.write("app.py", HEAD + "def app(environ, start_response):\n" + lines)
        return start(*arguments, "app:app", allowed=allowed, **options)

    return serve


FAILS = ["Error handling request"]


# -- bodies ---------------------------------------------------------------------------------------------------------------


def test_a_list_of_one(serve):
    """Ours knows its length; Gunicorn sends it in chunks."""
    server = serve('start_response("200 OK", [("Content-Type", "text/plain")])\nreturn [b"hello"]')
    response = server.get()
    assert response.body == b"hello"
    assert response.framing == ("length" if server.ours else "chunked")


def test_a_list_of_several(serve):
    response = serve('start_response("200 OK", [])\nreturn [b"one", b"", b"two"]').get()
    assert (response.body, response.framing, response.chunks) == (b"onetwo", "chunked", [b"one", b"two"])


def test_a_generator(serve):
    response = serve('start_response("200 OK", [])\nreturn (piece for piece in (b"a", b"b"))').get()
    assert (response.body, response.framing) == (b"ab", "chunked")


def test_a_generator_may_start_late(serve):
    """start_response is called when the first piece is asked for."""
    launcher_body = """
def late():
    start_response("202 Accepted", [("X-Late", "1")])
    yield b"late"
return late()
"""
    response = serve(launcher_body).get()
    assert (response.status, response.header("x-late"), response.body) == (202, "1", b"late")


def test_an_iterator_class(serve):
    body = """
class Pieces:
    left = [b"a", b"b"]
    def __iter__(self): return self
    def __next__(self):
        if not self.left: raise StopIteration
        return self.left.pop(0)
Pieces.left = [b"a", b"b"]
start_response("200 OK", [])
return Pieces()
"""
    assert serve(body).get().body == b"ab"


@pytest.mark.parametrize("empty", ["[]", "()", "iter(())", '[b""]', '[b"", b""]'])
def test_no_body(serve, empty):
    response = serve(f'start_response("200 OK", [])\nreturn {empty}').get()
    assert (response.status, response.body) == (200, b"")


def test_a_tuple(serve):
    assert serve('start_response("200 OK", [])\nreturn (b"tuple",)').get().body == b"tuple"


def test_bytes_instead_of_a_list(serve):
    """Each item of a bytes object is a number, which no body may have."""
    server = serve('start_response("200 OK", [])\nreturn b"no list"', allowed=FAILS)
    with server.connect() as connection:
        assert b"no list" not in connection.request().rest()


def test_a_large_body(serve):
    response = serve('start_response("200 OK", [("Content-Length", "5000000")])\nreturn [b"x" * 5000000]').get()
    assert (len(response.body), response.framing) == (5_000_000, "length")


def test_many_pieces(serve):
    response = serve('start_response("200 OK", [])\nreturn (b"%04d" % n for n in range(2000))').get()
    assert response.body == b"".join(b"%04d" % n for n in range(2000))


def test_pieces_come_as_they_are_made(serve):
    """None waits for the next."""
    body = """
from events import wait
def pieces():
    yield b"first"
    wait()
    yield b"second"
start_response("200 OK", [])
return pieces()
"""
    server = serve(body)
    with server.connect() as connection:
        connection.request(headers=[("Connection", "close")])
        got = b""
        while b"first" not in got:
            got += connection.socket.recv(1000)
        server.events.release()
        assert got.endswith(b"first\r\n") and connection.rest().startswith(b"6\r\nsecond\r\n")


@pytest.mark.parametrize("piece", ["'text'", "7", "None", "bytearray(b'x')", "memoryview(b'x')"])
def test_pieces_must_be_bytes(serve, piece):
    """The head is out by then where it was not the first piece; here it is the first."""
    server = serve(f'start_response("200 OK", [])\nreturn [{piece}]', allowed=FAILS)
    with server.connect() as connection:
        answer = connection.request().rest()
    if server.ours:
        assert answer.startswith(b"HTTP/1.1 500 ")
    else:
        # It has sent the head before it looks.
        assert answer.startswith(b"HTTP/1.1 200 ") and b"\r\n0\r\n" not in answer


def test_close_is_called(serve):
    server = serve('start_response("200 OK", [])\nreturn Body([b"a", b"b"])')
    assert server.get().body == b"ab"
    server.events.until("close")


def test_close_is_called_after_a_failure(serve):
    server = serve('start_response("200 OK", [("Content-Length", "2")])\nreturn Body([b"a", b"b"], fail_at=1)', allowed=FAILS)
    with server.connect() as connection:
        assert connection.request().rest().endswith(b"\r\n\r\na")
    server.events.until("close")


def test_close_is_called_after_a_failure_at_once(serve):
    server = serve('start_response("200 OK", [])\nreturn Body([b"a"], fail_at=0)', allowed=FAILS)
    assert server.get().status == 500
    server.events.until("close")


def test_close_is_called_when_the_client_has_gone(serve):
    body = """
from events import wait
def pieces():
    tell("in")
    wait()
    while True:
        yield b"x" * 65536
class Closing(Body):
    def __iter__(self): return pieces()
start_response("200 OK", [])
return Closing([])
"""
    server = serve(body)
    with server.connect() as connection:
        connection.request()
        server.events.until("in")
    server.events.release()
    server.events.until("close")


def test_a_close_that_fails(serve):
    body = """
class Bad(Body):
    def close(self): raise LookupError("on purpose")
start_response("200 OK", [("Content-Length", "1")])
return Bad([b"a"])
"""
    server = serve(body, allowed=["on purpose", "Error handling request"])
    assert server.get().body == b"a"
    assert server.get().body == b"a"
    server.stderr.find("LookupError: on purpose")


# -- write() --------------------------------------------------------------------------------------------------------------


def test_write(serve):
    response = serve('write = start_response("200 OK", [])\nwrite(b"one")\nwrite(b"two")\nreturn [b"three"]').get()
    assert response.body == b"onetwothree"


def test_write_only(serve):
    response = serve('start_response("200 OK", [("Content-Length", "3")])(b"abc")\nreturn []').get()
    assert (response.body, response.framing) == (b"abc", "length")


def test_write_takes_bytes(serve):
    server = serve('start_response("200 OK", [])("text")\nreturn []', allowed=FAILS)
    with server.connect() as connection:
        answer = connection.request().rest()
    assert answer.startswith(b"HTTP/1.1 500 " if server.ours else b"HTTP/1.1 200 ")


# -- status and fields ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "299 Own words, with $igns", "500 ", "200"])
def test_status(serve, status):
    server = serve(f'start_response("{status}", [("Content-Length", "0")])\nreturn []')
    with server.connect() as connection:
        head = connection.request(headers=[("Connection", "close")]).rest().split(b"\r\n")[0]
    assert head.decode().rstrip() == f"HTTP/1.1 {status}".rstrip()


@pytest.mark.parametrize("status", ['""', '"OK"', '"20 OK"', '"2000 OK"', '"200 OK\\r\\nX: 1"', '"200 \\x00"', 'b"200 OK"', "200", '"abc OK"'])
def test_bad_status(serve, status):
    assert serve(f'start_response({status}, [])\nreturn [b"x"]', allowed=FAILS).get().status == 500


def test_fields_keep_their_order_and_case(serve):
    fields = [("X-B", "1"), ("x-a", "2"), ("X-B", "3"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    response = serve(f'start_response("200 OK", {fields!r})\nreturn []').get()
    own = [field for field in response.headers if field in fields]
    assert own == fields


def test_fields_of_the_server(serve):
    server = serve('start_response("200 OK", [])\nreturn [b"x"]')
    response = server.get()
    assert response.header("server") == ("rgunicorn" if server.ours else "gunicorn")
    assert parsedate_to_datetime(response.header("date")).utcoffset().total_seconds() == 0
    assert response.header("connection") == "close"


@pytest.mark.parametrize(
    "field",
    ["Server", "Date", "Connection", "Keep-Alive", "Transfer-Encoding", "TE", "Trailers", "Upgrade", "Proxy-Authenticate", "Proxy-Authorization", "sErVeR"],
)
def test_what_is_the_servers_is_left_out(serve, field):
    response = serve(f'start_response("200 OK", [("{field}", "mine"), ("X-Kept", "yes")])\nreturn [b"x"]').get()
    assert "mine" not in response.all(field)
    assert response.header("x-kept") == "yes"
    assert response.body == b"x"


@pytest.mark.parametrize("value", ['"a\\r\\nSet-Cookie: evil=1"', '"a\\nb"', '"a\\rb"', '"a\\x00b"', '"a\\x7fb"', '"\\u20ac"', "7", "None", 'b"bytes"'])
def test_bad_values(serve, value):
    server = serve(f'start_response("200 OK", [("X-Bad", {value})])\nreturn [b"x"]', allowed=FAILS)
    response = server.get()
    assert response.status == 500
    assert response.header("set-cookie") is None


@pytest.mark.parametrize("name", ['"X Bad"', '"X-Bad:"', '""', '"X-Bad\\r\\nX"', '"X-\\xe4"', "7", 'b"X"'])
def test_bad_names(serve, name):
    assert serve(f'start_response("200 OK", [({name}, "x")])\nreturn [b"x"]', allowed=FAILS).get().status == 500


@pytest.mark.parametrize("value", ["  padded \t", "\xe4\xf6", "", "tab\tinside"])
def test_good_values(serve, value):
    response = serve(f'start_response("200 OK", [("X-Good", {value!r})])\nreturn [b"x"]').get()
    assert response.header("x-good") == value.strip(" \t")


def test_headers_may_be_any_iterable(serve):
    response = serve('start_response("200 OK", iter([["X-A", "1"]]))\nreturn [b"x"]').get()
    assert response.header("x-a") == "1"


# -- calling it, or not ---------------------------------------------------------------------------------------------------


def test_never(serve):
    """Gunicorn sends what it has: a status line that says None."""
    server = serve('return [b"x"]', allowed=FAILS)
    with server.connect() as connection:
        answer = connection.request().rest()
    assert answer.startswith(b"HTTP/1.1 500 " if server.ours else b"HTTP/1.1 None\r\n")


def test_twice(serve):
    body = 'start_response("200 OK", [])\nstart_response("404 Not Found", [])\nreturn [b"x"]'
    server = serve(body, allowed=FAILS)
    assert server.get().status == 500
    server.stderr.find("AssertionError")


def test_again_with_exc_info(serve):
    """Before anything is sent the response can still be replaced."""
    body = """
start_response("200 OK", [("X-First", "1")])
try:
    raise LookupError("on purpose")
except LookupError:
    start_response("503 Service Unavailable", [("X-Second", "2")], sys.exc_info())
return [b"sorry"]
"""
    response = serve(body).get()
    assert (response.status, response.header("x-second"), response.body) == (503, "2", b"sorry")


def test_the_first_fields_are_gone_then(serve):
    """Gunicorn adds the second ones to them."""
    body = """
start_response("200 OK", [("X-First", "1")])
try:
    raise LookupError("on purpose")
except LookupError:
    start_response("503 Service Unavailable", [("X-Second", "2")], sys.exc_info())
return [b"sorry"]
"""
    server = serve(body)
    assert server.get().header("x-first") == (None if server.ours else "1")


def test_again_with_exc_info_too_late(serve):
    """The head is out: the exception goes on, and the connection ends within the body."""
    body = """
write = start_response("200 OK", [("Content-Length", "10")])
write(b"half")
try:
    raise LookupError("on purpose")
except LookupError:
    start_response("500 Oops", [], sys.exc_info())
return [b"never"]
"""
    server = serve(body, allowed=FAILS)
    with server.connect() as connection:
        answer = connection.request().rest()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\nhalf")
    server.stderr.find("LookupError: on purpose")


# -- lengths --------------------------------------------------------------------------------------------------------------


def test_more_than_promised_is_cut(serve):
    response = serve('start_response("200 OK", [("Content-Length", "3")])\nreturn [b"ab", b"cdef", b"g"]').get()
    assert response.body == b"abc"


def test_less_than_promised_ends_the_connection(serve):
    server = serve('start_response("200 OK", [("Content-Length", "10")])\nreturn [b"short"]')
    with server.connect() as connection:
        assert connection.request().rest().endswith(b"\r\n\r\nshort")


@pytest.mark.parametrize("value", ["x", "", "-1", "1.5"])
def test_a_length_that_is_none(serve, value):
    server = serve(f'start_response("200 OK", [("Content-Length", "{value}")])\nreturn [b"x"]', allowed=FAILS)
    with server.connect() as connection:
        status = connection.request().rest().split(b" ")[1]
    # Gunicorn takes whatever int() takes.
    assert status == (b"200" if value == "-1" and not server.ours else b"500")


# -- failures of the app --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ["LookupError('on purpose')", "SystemExit(1)", "KeyboardInterrupt()", "GeneratorExit()", "ValueError()"])
def test_an_exception(serve, error):
    """500; the worker serves on."""
    server = serve(
        f"""
import os
if environ["PATH_INFO"] == "/bad":
    raise {error}
start_response("200 OK", [])
return [str(os.getpid()).encode()]
""",
        allowed=FAILS,
    )
    pid = server.get().body
    response = server.get("/bad")
    assert (response.status, response.reason) == (500, "Internal Server Error")
    assert server.get().body == pid
    server.stderr.find(r"\[ERROR\] Error handling request GET /bad")


def test_an_exception_after_start_response(serve):
    server = serve('start_response("200 OK", [("X-Mine", "1")])\nraise LookupError("on purpose")', allowed=FAILS)
    response = server.get()
    assert response.status == 500 and response.header("x-mine") is None


def test_an_exception_in_the_middle_of_chunks(serve):
    """There is no last chunk: the client sees that something is missing."""
    server = serve('start_response("200 OK", [])\nreturn Body([b"a", b"b"], fail_at=1)', allowed=FAILS)
    with server.connect() as connection:
        answer = connection.request().rest()
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"1\r\na\r\n")


def test_stop_iteration(serve):
    """Closes without an answer and without an error; extensions that take the socket end so."""
    server = serve('if environ["PATH_INFO"] == "/stop":\n    raise StopIteration()\nstart_response("200 OK", [])\nreturn [b"x"]')
    with server.connect() as connection:
        assert connection.request(target="/stop").rest() == b""
    assert server.get().body == b"x"
    server.stop()
    assert "[ERROR]" not in server.stderr.text


def test_an_error_page_says_nothing_of_the_app(serve):
    server = serve('raise LookupError("secret")', allowed=FAILS)
    response = server.get()
    assert b"secret" not in response.body and b"LookupError" not in response.body
    assert response.header("content-type") == "text/html"


def test_an_app_that_returns_none(serve):
    server = serve('start_response("200 OK", [])', allowed=FAILS)
    assert server.get().status == 500
