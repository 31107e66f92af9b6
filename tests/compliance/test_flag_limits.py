"""`--limit-request-line`, `--limit-request-fields`, `--limit-request-field_size`: at the limit and one past it."""

import pytest


def ask(server, line=None, fields=()):
    """The status of a request with this request line (without CRLF) and these fields."""
    with server.connect() as connection:
        head = [line or "GET / HTTP/1.1", *fields, "", ""]
        connection.send("\r\n".join(head))
        response = connection.response()
        if response.status >= 400:
            connection.expect_end()
        return response.status


def line_of(length):
    return "GET /" + "x" * (length - len("GET / HTTP/1.1")) + " HTTP/1.1"


def field_of(length):
    """With its CRLF."""
    return "X-Long: " + "x" * (length - len("X-Long: \r\n"))


@pytest.mark.parametrize(
    ("flags", "limit"),
    [([], 4094), (["--limit-request-line", "100"], 100), (["--limit-request-line", "8190"], 8190), (["--limit-request-line", "9999"], 8190)],
    ids=["default", "smaller", "largest", "clamped"],
)
def test_request_line(start, flags, limit):
    server = start(*flags, "hello:app")
    assert ask(server, line_of(limit)) == 200
    assert ask(server, line_of(limit + 1)) == 414


def test_request_line_without_limit(start):
    server = start("--limit-request-line", "0", "hello:app")
    assert ask(server, line_of(60_000)) == 200


def test_request_line_that_never_ends(start):
    """Refused as soon as it is too long, not when it ends."""
    server = start("hello:app")
    with server.connect() as connection:
        connection.send("GET /" + "x" * 4200)
        assert connection.response().status == 414


@pytest.mark.parametrize(("flags", "limit"), [([], 100), (["--limit-request-fields", "3"], 3)], ids=["default", "smaller"])
def test_number_of_fields(start, flags, limit):
    server = start(*flags, "hello:app")
    fields = [f"X-{number}: {number}" for number in range(limit + 1)]
    assert ask(server, fields=fields[:-1]) == 200
    assert ask(server, fields=fields) == 431


@pytest.mark.parametrize(
    ("flags", "limit"),
    [([], 8190), (["--limit-request-field_size", "50"], 50), (["--limit-request-field_size", "20000"], 20000)],
    ids=["default", "smaller", "larger"],
)
def test_size_of_a_field(start, flags, limit):
    server = start(*flags, "hello:app")
    assert ask(server, fields=[field_of(limit)]) == 200
    assert ask(server, fields=[field_of(limit + 1)]) == 431


@pytest.mark.parametrize("flag", ["--limit-request-line", "--limit-request-fields", "--limit-request-field_size"])
def test_negative(run, flag):
    run(f"{flag}=-1", "hello:app", code=1)
