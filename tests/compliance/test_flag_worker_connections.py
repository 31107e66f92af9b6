"""`--worker-connections`."""

import pytest


def test_more_than_that_wait_their_turn(start, launcher):
    """They are neither refused nor lost."""
    server = start(*launcher.keepalive, "--worker-connections", "5", "hello:app")
    connections = [server.connect() for _ in range(12)]
    for connection in connections:
        connection.request(headers=[("Connection", "close")])
    for connection in connections:
        assert connection.response().status == 200
        connection.close()


def test_with_sync_it_limits_nothing_that_matters(start):
    server = start("--worker-connections", "1", "hello:app")
    for _ in range(5):
        assert server.get().status == 200


@pytest.mark.parametrize(("value", "code"), [("-1", 1), ("x", 2)])
def test_bad_value(run, value, code):
    run(f"--worker-connections={value}", "hello:app", code=code)
