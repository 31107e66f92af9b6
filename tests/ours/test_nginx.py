"""Behind nginx, as most run it: kept connections to the server, buffered and unbuffered bodies, fields of a proxy."""

import os
import shutil
import signal
import subprocess

import pytest

from support import processes
from support.control import Control
from support.http import Connection, chunked
from support.load import Load

pytestmark = pytest.mark.only("ours")

#: `./test` installs it. Not in the path of users who are not root.
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")

CONF = """
{user}
daemon off;
pid {directory}/nginx.run;
error_log stderr error;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/nginx-body;
    proxy_temp_path {directory}/nginx-proxy;
    fastcgi_temp_path {directory}/nginx-fastcgi;
    uwsgi_temp_path {directory}/nginx-uwsgi;
    scgi_temp_path {directory}/nginx-scgi;
    client_max_body_size 0;
    upstream app {{
        server {upstream};
        keepalive 16;
    }}
    server {{
        listen 127.0.0.1:{port};
        keepalive_requests 100000;
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Proto https;
            # A connection that the server closes under a request is to be seen.
            proxy_next_upstream off;
        }}
        location /unbuffered/ {{
            proxy_pass http://app/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_next_upstream off;
        }}
    }}
}}
"""


class Nginx:
    def __init__(self, server, directory, port):
        self.port = port
        address = server.address
        upstream = f"unix:{address}" if isinstance(address, str) else "{}:{}".format(*address)
        user = "user root;" if os.geteuid() == 0 else ""
        conf = directory / "nginx.conf"
        conf.write_text(CONF.format(directory=directory, port=self.port, upstream=upstream, user=user))
        assert NGINX is not None, "nginx is missing: ./test installs it as root, or apt-get install nginx"
        self.process = subprocess.Popen([NGINX, "-p", str(directory), "-c", str(conf)], stderr=subprocess.PIPE, text=True)
        assert processes.wait_until(self.answers), "nginx does not come up"

    def answers(self):
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return False
        return True

    def connect(self):
        return Connection(("127.0.0.1", self.port))

    def close(self):
        """Ends it; what it has complained about."""
        self.process.terminate()
        return self.process.communicate(timeout=processes.PATIENCE)[1]


def served(server):
    """How many requests it has answered."""
    with Control(server.directory / ".gunicorn" / "gunicorn.ctl") as control:
        return control.do("show stats")["requests"]


@pytest.fixture(params=["tcp", "unix"])
def nginx(request, start, launcher, free_port):
    """Starts a server and nginx before it."""
    started = []

    def begin(*arguments, **options):
        if request.param == "unix":
            server = start("--bind", "unix:app.sock", *arguments, bind=False, **options)
            server.listening()
            server.address = str(launcher.directory / "app.sock")
        else:
            server = start(*arguments, **options)
        started.append(Nginx(server, launcher.directory, free_port()))
        return server, started[0]

    yield begin
    for each in started:
        assert each.close() == ""


@pytest.mark.parametrize("flags", [[], ["--threads", "4"]], ids=["sync", "gthread"])
def test_many_requests_over_few_connections(nginx, flags):
    server, front = nginx("--keep-alive", "60", *flags, "environ:app")
    with front.connect() as client:
        ports = set()
        for _ in range(100):
            environ = client.request(headers=[("X-Forwarded-For", "192.0.2.1")]).response().json
            assert environ["wsgi.url_scheme"] == "https"
            ports.add(environ.get("REMOTE_PORT"))
    assert len(ports) <= 2, "nginx has to open connections again"


@pytest.mark.parametrize("location", ["/", "/unbuffered/"])
def test_bodies(nginx, location):
    server, front = nginx("mirror:app")
    large = bytes(range(256)) * 8000
    with front.connect() as client:
        for body in (b"", b"x", large):
            assert client.request("POST", location, body=body).response().body == body
            pieces = [body[at : at + 100_000] for at in range(0, len(body), 100_000)]
            coded = [("Transfer-Encoding", "chunked")]
            assert client.request("POST", location, coded, chunked(*pieces)).response().body == body


def test_a_response_that_is_streamed(nginx, launcher):
    launcher.write(
        "app.py",
        """
        from events import wait
        def app(environ, start_response):
            start_response("200 OK", [("X-Accel-Buffering", "no")])
            yield b"first"
            wait()
            yield b"last"
        """,
    )
    server, front = nginx("app:app")
    with front.connect() as client:
        client.request(target="/unbuffered/")
        assert b"first" in client._until(b"first") + b"first"
        server.events.release()
        client._until(b"last")


def test_reloads_and_renewed_workers_under_load(nginx):
    """nginx keeps connections to the server, and none is closed under a request: it would answer 502."""
    # Not so short that it is over just when nginx sends the next request.
    server, front = nginx("--workers", "2", "--max-requests", "300", "--keep-alive", "60", "hello:app")
    with Load(front.port) as load:
        count = 0
        # However slow the clients are.
        while count < 3 or served(server) < 200:
            count += 1
            server.send_signal(signal.SIGHUP)
            server.stderr.find(r"Reloaded: generation \d+ serves", count)
        report = load.stop()
    assert report.failed == 0, report
    assert report.requests > 100
