"""`gunicorn.socket`: the client's socket in the app's hands."""

import threading

RAW = """
def app(environ, start_response):
    sock = environ["gunicorn.socket"]
    if environ["PATH_INFO"] == "/name":
        body = repr((sock.getpeername(), sock.fileno() >= 0)).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    sock.sendall(b"HTTP/1.1 200 Raw\\r\\nConnection: close\\r\\nContent-Length: 3\\r\\n\\r\\nraw")
    data = sock.recv(100)
    sock.sendall(data.upper())
    raise StopIteration()
"""
ECHO = """
from flask import Flask
from flask_sock import Sock
app = Flask(__name__)
sock = Sock(app)

@app.get("/plain")
def plain():
    return "plain"

@sock.route("/echo")
def echo(ws):
    while True:
        message = ws.receive()
        if message == "bye":
            break
        ws.send(message[::-1])
"""


def test_the_app_speaks_for_itself(start, launcher):
    launcher.write("app.py", RAW)
    server = start("app:app")
    with server.connect() as connection:
        response = connection.request(target="/raw").response()
        assert (response.reason, response.body) == ("Raw", b"raw")
        connection.send("more")
        assert connection.rest() == b"MORE"
    assert server.get("/name").status == 200


def test_an_app_that_only_looks_at_it(start, launcher):
    launcher.write("app.py", RAW)
    server = start("app:app")
    with server.connect() as connection:
        port = connection.socket.getsockname()[1]
        assert connection.request(target="/name").response().text == repr((("127.0.0.1", port), True))


def test_websocket(start, launcher):
    """flask-sock takes the connection over, and leaves with StopIteration."""
    from simple_websocket import Client, ConnectionClosed

    launcher.write("app.py", ECHO)
    server = start("--worker-class", "gthread", "--threads", "4", "app:app") if not launcher.ours else start("app:app")
    host, port = server.address
    socket = Client(f"ws://{host}:{port}/echo")
    for word in ("hello", "\xe4" * 70_000):
        socket.send(word)
        assert socket.receive(timeout=30) == word[::-1]
    socket.send("bye")
    try:
        socket.receive(timeout=30)
    except ConnectionClosed:
        pass
    else:
        raise AssertionError("the server did not close")
    socket.thread.join()
    assert server.get("/plain").body == b"plain"
    assert threading.active_count() < 50
