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
