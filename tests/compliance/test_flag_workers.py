"""`--workers` and `WEB_CONCURRENCY`."""

import pytest

TELL = """
from events import tell
def post_worker_init(worker):
    tell("booted", worker.pid)
"""


def pids(server, count):
    return {pid for _, pid in server.events.take("booted", count)}


@pytest.mark.parametrize("flag", [["-w", "3"], ["-w3"], ["--workers=3"], ["-w 3"]])
def test_so_many(start, flag):
    server = start(*flag, "hello:app", conf=TELL)
    assert len(pids(server, 3)) == 3
    assert server.stop() == 0
    assert server.events.names().count("booted") == 3


def test_one_by_default(start):
    server = start("hello:app", conf=TELL)
    assert len(pids(server, 1)) == 1
    assert server.stop() == 0
    assert server.events.names().count("booted") == 1


def test_they_are_named_in_the_log(start):
    server = start("--workers", "2", "hello:app", conf=TELL)
    logged = {int(match[1]) for match in server.stderr.find(r"Booting worker with pid: (\d+)", 2)}
    assert logged == pids(server, 2)


def test_default_from_the_environment(start):
    server = start("hello:app", conf=TELL, env={"WEB_CONCURRENCY": "2"})
    assert len(pids(server, 2)) == 2


def test_the_flag_beats_the_environment(start):
    server = start("-w", "1", "hello:app", conf=TELL, env={"WEB_CONCURRENCY": "3"})
    assert len(pids(server, 1)) == 1
    assert server.stop() == 0
    assert server.events.names().count("booted") == 1


def test_a_string_from_the_config_file(start):
    server = start("hello:app", conf=TELL + "workers = ' 0x2 '\n")
    assert len(pids(server, 2)) == 2


def test_several_accept(start):
    """Each of them is reached: a request that is being served keeps its worker from taking another."""
    server = start("--workers", "2", "blocking:app")
    with server.connect() as first:
        first.request(target="/block")
        one = server.events.until("in")[1]
        second = server.connect().request(target="/block")
        two = server.events.until("in")[1]
        assert one != two
        server.events.release(2)
        assert {int(first.response().body), int(second.response().body)} == {one, two}
        second.close()


@pytest.mark.parametrize("value", ["many", "-1", "1.5", ""])
def test_no_number(run, value):
    # argparse refuses what is no integer (2); the setting's own check refuses negative ones (1).
    run(f"--workers={value}", "hello:app", code=1 if value == "-1" else 2)


def test_environment_that_is_no_number(run):
    run("hello:app", env={"WEB_CONCURRENCY": "many"}, code=1)
