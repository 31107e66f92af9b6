"""`--worker-class gthread`, `--threads`: several requests at a time in one worker."""

import signal

import pytest


@pytest.fixture(params=[["--worker-class", "gthread", "--threads", "3"], ["--threads", "3"]], ids=["named", "implied"])
def flags(request):
    return request.param


def test_requests_run_at_the_same_time(start, flags):
    server = start(*flags, "blocking:app")
    clients = [server.connect().request(target="/block") for _ in range(3)]
    pids = {server.events.until("in")[1] for _ in clients}
    server.events.release(3)
    for client in clients:
        assert client.response().status == 200
        client.close()
    assert len(pids) == 1


def test_environ(start, flags):
    environ = start(*flags, "environ:app").get().json
    assert (environ["wsgi.multithread"], environ["wsgi.multiprocess"]) == (True, False)


def test_one_thread(start):
    server = start("--worker-class", "gthread", "environ:app")
    assert [server.get().status for _ in range(3)] == [200] * 3


def test_a_long_request_is_no_silence(start, launcher):
    """`timeout` watches the worker, not the request."""
    launcher.write(
        "app.py",
        """
        import time
        def app(environ, start_response):
            time.sleep(4)
            start_response("200 OK", [("Content-Length", "2")])
            return [b"ok"]
        """,
    )
    # Gunicorn's shows life once a second.
    server = start("--threads", "2", "--timeout", "2", "app:app")
    assert server.get().body == b"ok"


def test_more_requests_than_threads(start):
    server = start("--threads", "2", "hello:app")
    clients = [server.connect().request(headers=[("Connection", "close")]) for _ in range(20)]
    for client in clients:
        assert client.response().status == 200
        client.close()


def test_pipelined(start):
    server = start("--threads", "2", "hello:app")
    with server.connect() as client:
        client.request().request().request(headers=[("Connection", "close")])
        assert [client.response().status for _ in range(3)] == [200] * 3
        client.expect_end()


def test_the_stop_finishes_every_request(start, flags):
    server = start(*flags, "blocking:app")
    clients = [server.connect().request(target="/block", headers=[("Connection", "close")]) for _ in range(3)]
    for _ in clients:
        server.events.until("in")
    server.send_signal(signal.SIGTERM)
    server.stderr.find("Handling signal: term")
    server.events.release(3)
    for client in clients:
        assert client.response().status == 200
        client.close()
    assert server.wait() == 0


@pytest.mark.only("ours")  # Gunicorn joins its threads
def test_quit_waits_for_none(start, flags):
    server = start(*flags, "--graceful-timeout", "30", "blocking:app")
    clients = [server.connect().request(target="/block") for _ in range(2)]
    for _ in clients:
        server.events.until("in")
    assert server.stop(signal.SIGQUIT) == 0
    for client in clients:
        client.close()


def test_max_requests(start, flags):
    server = start(*flags, "--max-requests", "5", "process:app")
    pids = set()
    while len(pids) < 3:
        pids.add(server.get().json["pid"])


def test_an_app_that_fails_takes_nobody_along(start, launcher):
    launcher.write(
        "app.py",
        """
        from events import tell, wait
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/fail":
                raise LookupError("on purpose")
            tell("in")
            wait()
            start_response("200 OK", [("Content-Length", "2")])
            return [b"ok"]
        """,
    )
    server = start("--threads", "2", "app:app", allowed=["Error handling request", "on purpose"])
    with server.connect() as client:
        client.request()
        server.events.until("in")
        assert server.get("/fail").status == 500
        server.events.release()
        assert client.response().body == b"ok"


def test_hooks_see_the_threads(start):
    conf = """
    import threading
    from events import tell
    def pre_request(worker, req): tell("pre", req.path)
    def post_request(worker, req, environ, resp): tell("post", resp.status)
    def post_worker_init(worker): tell("class", type(worker).__name__, worker.cfg.threads)
    """
    server = start("--threads", "2", "hello:app", conf=conf)
    assert server.events.until("class")[1:] == ["ThreadWorker", 2]
    server.get("/here")
    assert server.events.until("pre")[1:] == ["/here"]
    assert server.events.until("post")[1:] == ["200 OK"]


@pytest.mark.parametrize(("value", "code"), [("-1", 1), ("x", 2)])
def test_bad_value(run, value, code):
    run(f"--threads={value}", "hello:app", code=code)
