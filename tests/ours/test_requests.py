"""The requests of tests/requests over sockets: whole, cut in two at every byte, and a byte at a time.

Many connections at once, so that all of it takes seconds: the first parts of all, then round trips on a connection beside
them, by which the server has read those, then the rest.
"""

import json
import select
import socket

import pytest

from support import corpus
from support.processes import PATIENCE

pytestmark = pytest.mark.only("ours")

APP = """
import json
def app(environ, start_response):
    told = {name: environ[name] for name in ("REQUEST_METHOD", "RAW_URI", "SERVER_PROTOCOL")}
    told["proxy"] = [environ.get("PROXY_PROTOCOL"), environ["REMOTE_ADDR"], environ["REMOTE_PORT"]]
    told["body"] = environ["wsgi.input"].read().decode("latin-1")
    body = json.dumps(told).encode()
    start_response("200 OK", [("Content-Length", str(len(body))), ("X-Told", environ["REQUEST_METHOD"])])
    return [body]
"""
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
#: Connections at once.
BATCH = 100
#: Cuts of one case: at every byte of those that are no longer, else spread over it, and at each of the last.
CUTS = 260

CASES = [*corpus.cases("valid"), *corpus.cases("invalid")]
SETTINGS = sorted({case.settings for case in CASES})


def by_settings(settings):
    return [case for case in CASES if case.settings == settings]


@pytest.fixture(params=SETTINGS)
def served(request, start, launcher):
    """A server with some of the corpus's settings, and the cases for it."""
    launcher.write("app.py", APP)
    values = json.loads(request.param)
    conf = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    server = start("--keep-alive", "60", "app:app", conf=conf, allowed=["Invalid request", "unexpected end"])
    return server, by_settings(request.param)


def test_whole(served):
    server, cases = served
    for case in cases:
        check(case, Client(server, case).send(case.data).end())


def test_cut_in_two_at_every_byte(served):
    server, cases = served
    cuts = [(case, at) for case in cases for at in places(len(case.data))]
    with server.connect() as beside:
        beside.request().response()
        for first in range(0, len(cuts), BATCH):
            batch = [(Client(server, case).send(case.data[:at]), at) for case, at in cuts[first : first + BATCH]]
            round_trips(beside, 10)
            for client, at in batch:
                client.send(client.case.data[at:])
            for client, at in batch:
                check(client.case, client.end(), f"cut at {at}")


def test_a_byte_at_a_time(served):
    server, cases = served
    cases = [case for case in cases if len(case.data) <= CUTS]
    with server.connect() as beside:
        beside.request().response()
        for first in range(0, len(cases), BATCH):
            clients = [Client(server, case) for case in cases[first : first + BATCH]]
            for at in range(max(len(client.case.data) for client in clients)):
                for client in clients:
                    client.send(client.case.data[at : at + 1])
                round_trips(beside, 1)
            for client in clients:
                check(client.case, client.end(), "a byte at a time")


def test_nearly_everything_is_cut_everywhere():
    """What the bound above leaves out is known."""
    assert sum(len(case.data) > CUTS for case in CASES) < 30 < len(CASES) / 10


class Client:
    """One connection with one case."""

    def __init__(self, server, case):
        self.case = case
        self.connection = server.connect()
        self.connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        try:
            self.connection.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has been answered, and closed
        return self

    def end(self):
        """All the answers: of requests, and one more where the connection goes on."""
        if self.case.expected.get("eof"):
            self.connection.socket.shutdown(socket.SHUT_WR)
        else:
            self.send(LAST)
        methods = [each["method"] for each in self.case.requests]
        answers = []
        try:
            while readable(self.connection):
                method = methods[len(answers)] if len(answers) < len(methods) else "GET"
                answers.append(self.connection.final(method))
        finally:
            self.connection.close()
        return answers


def readable(connection):
    """Whether there is another byte, before the end."""
    if connection._rest:
        return True
    assert select.select([connection.socket], [], [], PATIENCE)[0], "the server is silent"
    try:
        piece = connection.socket.recv(65536)
    except ConnectionResetError:
        return False
    connection._rest += piece
    return bool(piece)


def check(case, answers, how="whole"):
    where = f"{case.name} {how}: {[answer.status for answer in answers]}"
    understood = case.requests
    error = case.expected.get("error")
    for expected, answer in zip(understood, answers, strict=False):
        assert answer.status == 200, where
        assert answer.header("x-told") == expected["method"], where
        if expected["method"] == "HEAD":
            continue
        told = answer.json
        assert told["RAW_URI"] == corpus.text(expected["target"]), where
        assert told["SERVER_PROTOCOL"] == f"HTTP/{expected.get('version', '1.1')}", where
        assert told["body"] == corpus.text(expected.get("body", "")), where
        if proxy := case.expected.get("proxy"):
            assert told["proxy"][0] == proxy["protocol"], where
            if source := proxy.get("source"):
                host, _, port = source.rpartition(":")
                assert told["proxy"][1:] == [host.strip("[]"), port], where
    assert len(answers) >= len(understood), where
    rest = answers[len(understood) :]
    if error is not None:
        # A message that was cut short may find no answer.
        assert [answer.status for answer in rest] == [error] or (case.expected.get("eof") and not rest), where
        assert all(answer.header("connection") == "close" for answer in rest), where
    elif not case.expected.get("eof") and all(each.get("keep_alive", True) for each in understood):
        assert [answer.status for answer in rest] == [200] and rest[0].json["RAW_URI"] == "/last", where
    else:
        assert not rest, where


def places(length):
    """Where to cut so many bytes."""
    if length <= CUTS:
        return range(1, length)
    step = length // (CUTS // 2)
    return sorted({*range(1, length, step), *range(length - CUTS // 2, length)})


def round_trips(connection, count):
    for _ in range(count):
        assert connection.request().response().status == 200


