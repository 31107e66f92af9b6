"""`--keep-alive`: how long an idle connection is kept.

Gunicorn's sync worker never keeps one; its gthread worker stands in for it here, as our sync worker does both.
"""

import time

import pytest


def test_many_requests_on_one_connection(start, launcher):
    server = start(*launcher.keepalive, "hello:app")
    with server.connect() as connection:
        for number in range(20):
            response = connection.request(target=f"/{number}").response()
            assert response.body == b"hello\n"
            assert response.persistent


def test_the_sync_worker(start):
    """One request a connection in Gunicorn's; ours keeps it."""
    server = start("hello:app")
    with server.connect() as connection:
        response = connection.request().response()
        if server.ours:
            assert response.persistent
            assert connection.request().response().status == 200
        else:
            assert response.header("connection") == "close"
            connection.expect_end()


def test_an_idle_connection_is_closed(start, launcher):
    server = start(*launcher.keepalive, "--keep-alive", "1", "hello:app")
    # It is up.
    server.get()
    with server.connect() as connection:
        began = time.monotonic()
        connection.request().response()
        connection.expect_end()
        assert time.monotonic() - began > 0.5


def test_zero_keeps_none(start, launcher):
    server = start(*launcher.keepalive, "--keep-alive", "0", "hello:app")
    with server.connect() as connection:
        connection.request().response()
        connection.expect_end()


def test_the_client_says_close(start, launcher):
    server = start(*launcher.keepalive, "hello:app")
    with server.connect() as connection:
        response = connection.request(headers=[("Connection", "close")]).response()
        assert not response.persistent
        connection.expect_end()


@pytest.mark.parametrize("value", ["Close", "CLOSE", " close "])
def test_close_in_any_case(start, launcher, value):
    server = start(*launcher.keepalive, "hello:app")
    with server.connect() as connection:
        connection.send(f"GET / HTTP/1.1\r\nHost: a\r\nConnection:{value}\r\n\r\n").response()
        connection.expect_end()


def test_close_in_a_list(start, launcher):
    """RFC 9110, 7.6.1. Gunicorn compares the whole value."""
    server = start(*launcher.keepalive, "--keep-alive", "1", "hello:app")
    with server.connect() as connection:
        response = connection.request(headers=[("Connection", "x-option, close")]).response()
        assert response.persistent == (not server.ours)
        connection.expect_end()


def test_http_1_0_closes(start, launcher):
    server = start(*launcher.keepalive, "hello:app")
    with server.connect() as connection:
        assert not connection.request(version="1.0").response().header("connection") == "keep-alive"
        connection.expect_end()


def test_http_1_0_with_keep_alive(start, launcher):
    server = start(*launcher.keepalive, "hello:app")
    with server.connect() as connection:
        for _ in range(3):
            response = connection.request(headers=[("Connection", "keep-alive")], version="1.0").response()
            assert response.header("connection") == "keep-alive"


@pytest.mark.parametrize("value", ["-1"])
def test_negative(run, value):
    run(f"--keep-alive={value}", "hello:app", code=1)
