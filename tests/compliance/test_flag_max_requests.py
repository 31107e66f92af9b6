"""`--max-requests` and its jitter: workers are renewed."""

import pytest

from support import processes


def test_a_worker_is_replaced(start):
    server = start("--max-requests", "5", "process:app")
    seen = []

    def renewed_twice():
        seen.append(server.get().json["pid"])
        return len(set(seen)) == 3

    assert processes.wait_until(renewed_twice)
    first = seen.count(seen[0])
    if server.ours:
        # It serves until its replacement is ready: a wish, not a count.
        assert first >= 5
    else:
        assert first == 5
    server.stderr.find(r"Booting worker with pid", 3)


def test_no_request_is_lost(start):
    server = start("--max-requests", "3", "--workers", "2", "hello:app")
    for _ in range(40):
        assert server.get().status == 200


def test_never_by_default(start):
    server = start("process:app")
    assert len({server.get().json["pid"] for _ in range(50)}) == 1


def test_jitter(start):
    """Each worker adds its own chance number."""
    conf = """
    from events import tell
    def post_worker_init(worker): tell("max", worker.max_requests)
    """
    server = start("--max-requests", "100", "--max-requests-jitter", "1000000", "--workers", "4", "hello:app", conf=conf)
    limits = [limit for _, limit in server.events.take("max", 4)]
    assert all(100 <= limit <= 1_000_100 for limit in limits)
    assert len(set(limits)) > 1


@pytest.mark.parametrize("flag", ["--max-requests", "--max-requests-jitter"])
def test_negative(run, flag):
    run(f"{flag}=-1", "hello:app", code=1)
