"""`wsgi.file_wrapper`: files are sent by the kernel where they can be, and are the same bytes where they can't."""

import hashlib
import os

import pytest

from support import processes

APP = """
import gzip, io, os, tempfile
from events import tell

class Watched(io.FileIO):
    def close(self):
        tell("close")
        super().close()

def body(name):
    if name == "buffered": return open("data.bin", "rb")
    if name == "raw": return open("data.bin", "rb", buffering=0)
    if name == "offset":
        file = open("data.bin", "rb"); file.seek(1000); return file
    if name == "partly read":
        file = open("data.bin", "rb"); file.read(1000); return file
    if name == "memory": return io.BytesIO(open("data.bin", "rb").read())
    if name == "gzip": return gzip.open("data.gz", "rb")
    if name == "temporary":
        file = tempfile.TemporaryFile(); file.write(open("data.bin", "rb").read()); file.seek(0); return file
    if name == "empty": return open("empty.bin", "rb")
    if name == "pipe":
        read, write = os.pipe()
        os.write(write, b"through a pipe"); os.close(write)
        return os.fdopen(read, "rb")
    if name == "watched": return Watched("data.bin", "rb")
    raise LookupError(name)

def app(environ, start_response):
    name = environ["PATH_INFO"][1:]
    fields = []
    if environ["QUERY_STRING"]:
        fields.append(("Content-Length", environ["QUERY_STRING"]))
    start_response("200 OK", fields)
    return environ["wsgi.file_wrapper"](body(name), *([512] if "HTTP_X_BLOCK" in environ else []))
"""
DATA = hashlib.shake_256(b"data").digest(300_000)


@pytest.fixture(scope="module", params=["sendfile", "no sendfile"])
def server(shared, request):
    import gzip

    shared.write("fileapp.py", APP)
    (shared.directory / "data.bin").write_bytes(DATA)
    (shared.directory / "data.gz").write_bytes(gzip.compress(DATA))
    (shared.directory / "empty.bin").write_bytes(b"")
    server = shared.start(*([] if request.param == "sendfile" else ["--no-sendfile"]), "fileapp:app")
    yield server
    server.stop()
    server.close()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("buffered", DATA),
        ("raw", DATA),
        ("offset", DATA[1000:]),
        ("memory", DATA),
        ("temporary", DATA),
        ("pipe", b"through a pipe"),
    ],
)
def test_content(server, name, expected):
    assert server.get(f"/{name}").body == expected


def test_an_empty_file(server, request):
    """Gunicorn ends such a body twice."""
    with server.connect() as connection:
        answer = connection.request(target="/empty", headers=[("Connection", "close")]).rest()
    twice = "no sendfile" not in request.node.name and not server.ours
    assert answer.partition(b"\r\n\r\n")[2] == (b"0\r\n\r\n0\r\n\r\n" if twice else b"0\r\n\r\n")


def test_what_was_read_before(server, request):
    """The descriptor of a file that the app has read from is ahead of it: `tell()` says where it is."""
    body = server.get("/partly%20read").body
    if server.ours or "no sendfile" in request.node.name:
        assert body == DATA[1000:]
    else:
        assert DATA.endswith(body) and len(body) < len(DATA) - 1000


def test_a_compressed_file(server, request):
    """Its descriptor is that of the compressed bytes: Gunicorn takes it for the file, or fails, as Python's version has it."""
    with server.connect() as connection:
        connection.request(target="/gzip", headers=[("Connection", "close")])
        if server.ours or "no sendfile" in request.node.name:
            assert connection.response().body == DATA
        else:
            server.allowed.append("Error handling request")
            assert DATA not in connection.rest()


def test_with_a_length(server):
    response = server.get(f"/buffered?{len(DATA)}")
    assert (response.framing, response.body) == ("length", DATA)


def test_a_shorter_length(server):
    assert server.get("/buffered?1000").body == DATA[:1000]


def test_head(server):
    response = server.request("HEAD", f"/buffered?{len(DATA)}")
    assert response.header("content-length") == str(len(DATA))


def test_it_is_closed(server):
    assert server.get("/watched").body == DATA
    server.events.until("close")


def test_block_size(server):
    assert server.get("/memory", [("X-Block", "1")]).body == DATA


def test_no_descriptor_is_lost(start, launcher):
    launcher.write("fileapp.py", APP)
    (launcher.directory / "data.bin").write_bytes(DATA)
    server = start("fileapp:app")
    server.get("/buffered")
    worker = int(server.stderr.find(r"Booting worker with pid: (\d+)")[0][1])
    before = open_files(worker)
    for _ in range(20):
        server.get("/buffered")
    # The last answer may be read before its connection is closed.
    assert processes.wait_until(lambda: open_files(worker) <= before)
    assert processes.alive(worker)


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_is_a_class(start, launcher):
    """Frameworks test with isinstance, and iterate over it."""
    launcher.write(
        "app.py",
        """
        import io
        def app(environ, start_response):
            wrapper = environ["wsgi.file_wrapper"]
            wrapped = wrapper(io.BytesIO(b"abcdef"), 4)
            assert isinstance(wrapped, wrapper)
            pieces = list(wrapped)
            start_response("200 OK", [])
            return [b"|".join(pieces)]
        """,
    )
    assert start("app:app").get().body == b"abcd|ef"


def test_a_slow_client_gets_it_all(server):
    with server.connect() as connection:
        connection.socket.setsockopt(1, 8, 4096)  # SO_RCVBUF
        response = connection.request(target="/buffered", headers=[("Connection", "close")]).response()
    assert response.body == DATA
