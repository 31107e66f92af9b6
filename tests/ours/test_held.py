"""Responses of requests that are ready together are held for a moment and sent in one go: none waits for what comes after it."""

import signal

import pytest

pytestmark = pytest.mark.only("ours")

CLASSES = pytest.mark.parametrize("server", [[], ["-k", "gthread"]], ids=["sync", "gthread"], indirect=True)

APP = """
import os
from events import tell, wait

class Body:
    def __init__(self, text, path):
        self.pieces, self.path = [text], path

    def __iter__(self):
        return self

    def __next__(self):
        if self.pieces:
            return self.pieces.pop()
        if self.path == "/after":
            tell("after"), wait()
        if self.path == "/fail":
            raise LookupError("on purpose")
        raise StopIteration

    def close(self):
        if self.path == "/close":
            tell("close"), wait()

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/block":
        tell("in"), wait()
    if path == "/fork":
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
    text = path.encode() * (100_000 if path == "/large" else 1)
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return Body(text, path) if path in ("/after", "/close", "/fail", "/iterated") else [text]
"""


@pytest.fixture
def server(start, launcher, request):
    launcher.write("app.py", APP)
    flags = getattr(request, "param", [])
    return start("--keep-alive", "60", *flags, "app:app", allowed=["on purpose", "LookupError", "Error handling request"])


def together(server, clients, targets):
    """Has these requests ready when the only thread comes to look: it was in another one."""
    with server.connect() as first:
        first.request(target="/block")
        server.events.until("in")
        for client, target in zip(clients, targets, strict=True):
            client.request(target=target)
        server.events.release()
        assert first.response().body == b"/block"


def kept(server, count):
    """Connections that have had a request: their next one makes an event."""
    clients = [server.connect() for _ in range(count)]
    for client in clients:
        assert client.request(target="/").response().persistent
    return clients


def finish(server, clients, bodies):
    for client, body in zip(clients, bodies, strict=True):
        response = client.response()
        assert response.body == body and response.persistent
    # Each one has gone on from there.
    for client in clients:
        assert client.request(target="/again").response().body == b"/again"
        client.close()


@CLASSES
def test_all_are_answered(server):
    clients = kept(server, 40)
    targets = ["/large" if at % 10 == 7 else f"/{at}" if at % 2 else "/iterated" for at in range(40)]
    for _ in range(3):
        together(server, clients, targets)
        for client, target in zip(clients, targets, strict=True):
            response = client.response()
            assert response.body == target.encode() * (100_000 if target == "/large" else 1) and response.persistent
    for client in clients:
        client.close()


@CLASSES
def test_none_waits_for_a_request_that_takes_long(server):
    clients = kept(server, 9)
    together(server, clients[:8], [f"/{at}" for at in range(8)])
    for at, client in enumerate(clients[:8]):
        assert client.response().body == f"/{at}".encode()
    # And now the last of those that are ready is one that is stuck.
    together(server, clients, [f"/{at}" for at in range(8)] + ["/block"])
    server.events.until("in")
    for at, client in enumerate(clients[:8]):
        assert client.response().body == f"/{at}".encode()
    server.events.release()
    finish(server, clients[8:], [b"/block"])
    for client in clients[:8]:
        client.close()


@pytest.mark.parametrize("where", ["/after", "/close"])
def test_an_app_that_is_not_done_keeps_no_response(server, where):
    """The body was whole; then its iterator, or its close(), takes long."""
    with server.connect() as client:
        client.request(target=where)
        server.events.until(where[1:])
        response = client.response()
        assert response.body == where.encode() and response.persistent
        server.events.release()
        assert client.request(target="/again").response().body == b"/again"


def test_a_body_that_was_whole_before_the_app_failed(server):
    with server.connect() as client:
        assert client.request(target="/fail").response().body == b"/fail"
        assert client.rest() == b""
    assert server.get("/again").status == 200


def test_the_end_of_a_connection_comes_with_its_response(server):
    clients = [server.connect() for _ in range(8)]
    with server.connect() as first:
        first.request(target="/block")
        server.events.until("in")
        for at, client in enumerate(clients):
            client.request(target=f"/{at}", headers=[("Connection", "close")] if at % 2 else [])
        server.events.release()
    for at, client in enumerate(clients):
        response = client.response()
        assert response.body == f"/{at}".encode() and response.persistent == (at % 2 == 0)
        if at % 2:
            assert client.rest() == b""
        client.close()


def test_clients_that_are_gone(server):
    """A response that cannot be sent costs no other one."""
    clients = kept(server, 20)
    with server.connect() as first:
        first.request(target="/block")
        server.events.until("in")
        for client in clients:
            client.request(target="/iterated")
        for client in clients[::2]:
            client.reset()
        server.events.release()
    finish(server, clients[1::2], [b"/iterated"] * 10)


def test_an_app_that_forks(server):
    clients = kept(server, 20)
    targets = ["/fork" if at % 3 == 2 else f"/{at}" for at in range(20)]
    together(server, clients, targets)
    finish(server, clients, [target.encode() for target in targets])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_a_worker_that_leaves_sends_what_it_holds(server, how):
    clients = kept(server, 20)
    with server.connect() as first:
        first.request(target="/block")
        server.events.until("in")
        for client in clients:
            client.request(target="/iterated")
        server.send_signal(how)
        server.stderr.find("Handling signal")
        server.events.release()
        assert first.response().body == b"/block"
    for client in clients:
        assert client.response().body == b"/iterated"
        client.close()
    if how == signal.SIGTERM:
        assert server.wait() == 0


def test_behind_what_its_client_has_not_taken(start, launcher):
    """A response that is whole before the app is done does not overtake the early hints before it."""
    launcher.write(
        "app.py",
        """
        from events import tell, wait

        def app(environ, start_response):
            for _ in range(40):
                environ["wsgi.early_hints"]([("Link", "x" * 250_000)])
            start_response("200 OK", [("Content-Length", "5")])
            yield b"hello"
            tell("whole"), wait()
        """,
    )
    # Room for all, so that the app does not wait for the client.
    server = start("--response-buffer", str(64 << 20), "app:app")
    with server.connect() as client:
        client.request()
        server.events.until("whole")
        server.events.release()
        hints = []
        while (response := client.response()).status == 103:
            hints.append(response.header("Link"))
        assert hints == ["x" * 250_000] * 40
        assert response.status == 200 and response.body == b"hello"


def test_before_what_the_app_sends_itself(start, launcher):
    launcher.write(
        "app.py",
        """
        def app(environ, start_response):
            socket = environ["gunicorn.socket"]
            if environ["PATH_INFO"] == "/early":
                socket.fileno()
            start_response("200 OK", [("Content-Length", "0")])
            yield b""
            socket.sendall(b"frames")
        """,
    )
    server = start("app:app")
    for target in ("/early", "/late"):
        with server.connect() as client:
            client.request(target=target)
            assert client.response().status == 200
            assert client.rest() == b"frames"


def test_a_whole_body_is_a_sign_of_life(start, launcher):
    """As any other piece that is sent: the silence before it and the one after it are two."""
    launcher.write(
        "app.py",
        """
        import time

        def app(environ, start_response):
            time.sleep(2.5)
            start_response("200 OK", [("Content-Length", "5")])
            yield b"hello"
            time.sleep(2.5)
        """,
    )
    server = start("--timeout", "4", "app:app")
    with server.connect() as client:
        assert client.request().response().body == b"hello"
        # Of the same worker, which has got over it.
        assert client.request().response().body == b"hello"


def test_a_request_out_of_time_whose_response_was_whole(start, launcher):
    """While its stacks are written the app may become so far: then the client gets that."""
    launcher.write(
        "app.py",
        """
        import time

        def app(environ, start_response):
            time.sleep(float(environ["PATH_INFO"][1:]))
            start_response("200 OK", [("Content-Length", "5")])
            yield b"hello"
            for _ in range(100):
                time.sleep(0.02)
        """,
    )
    allowed = ["REQUEST TIMEOUT", "RequestTimeout", "Error handling request"]
    server = start("--threads", "4", "--request-timeout", "1", "app:app", allowed=allowed)
    for at in range(1000, 1012, 2):
        with server.connect() as client:
            response = client.request(target=f"/{at / 1000}").response()
            assert response.status == 504 or response.status == 200 and response.body == b"hello"


def test_a_fork_that_hangs_is_found(start, launcher):
    """In somebody's hook: the worker is ended like any other that is silent."""
    launcher.write(
        "app.py",
        """
        import os, threading

        hangs = threading.Event()
        os.register_at_fork(before=lambda: hangs.is_set() and threading.Event().wait())

        def app(environ, start_response):
            if environ["PATH_INFO"] == "/fork":
                hangs.set()
                os.fork()
            start_response("200 OK", [("Content-Length", "5")])
            return [b"hello"]
        """,
    )
    allowed = ["WORKER TIMEOUT", "was sent SIGKILL", "exited with code", "in hand for"]
    server = start("--preload", "--timeout", "2", "app:app", allowed=allowed)
    with server.connect() as client:
        assert client.request(target="/fork").response().status == 504
    server.stderr.find("WORKER TIMEOUT")
    assert server.get("/").text == "hello"
