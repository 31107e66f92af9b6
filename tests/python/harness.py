"""Plays the arbiter: starts a forkserver, gives it orders, and talks HTTP to the workers that it forks."""

from __future__ import annotations

import array
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = os.environ.get("RGUNICORN_EXTENSION", str(ROOT / "target/debug/lib_rgunicorn.so"))
LIMIT = 20.0
SLOTS = 32

DEFAULTS: dict[str, Any] = {
    "config": "./gunicorn.conf.py",
    "wsgi_app": None,
    "bind": ["127.0.0.1:8000"],
    "backlog": 2048,
    "workers": 1,
    "worker_class": "sync",
    "threads": 1,
    "worker_connections": 1000,
    "max_requests": 0,
    "max_requests_jitter": 0,
    "timeout": 30,
    "graceful_timeout": 30,
    "keepalive": 2,
    "limit_request_line": 4094,
    "limit_request_fields": 100,
    "limit_request_field_size": 8190,
    "reload": False,
    "reload_engine": "auto",
    "reload_extra_files": [],
    "spew": False,
    "check_config": False,
    "print_config": False,
    "preload_app": False,
    "sendfile": None,
    "reuse_port": False,
    "chdir": "",
    "daemon": False,
    "raw_env": [],
    "pidfile": None,
    "worker_tmp_dir": None,
    "user": os.geteuid(),
    "group": os.getegid(),
    "umask": 0,
    "initgroups": False,
    "tmp_upload_dir": None,
    "secure_scheme_headers": {"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"},
    "forwarded_allow_ips": ["127.0.0.1", "::1"],
    "accesslog": None,
    "disable_redirect_access_to_syslog": False,
    "access_log_format": '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',
    "errorlog": "-",
    "loglevel": "info",
    "capture_output": False,
    "logger_class": "gunicorn.glogging.Logger",
    "logconfig": None,
    "logconfig_dict": {},
    "logconfig_json": None,
    "syslog_addr": "udp://localhost:514",
    "syslog": False,
    "syslog_prefix": None,
    "syslog_facility": "user",
    "enable_stdio_inheritance": False,
    "statsd_host": None,
    "dogstatsd_tags": "",
    "statsd_prefix": "",
    "enable_backlog_metric": False,
    "proc_name": None,
    "default_proc_name": "app:app",
    "pythonpath": None,
    "paste": None,
    "proxy_protocol": "off",
    "proxy_allow_ips": ["127.0.0.1", "::1"],
    "keyfile": None,
    "certfile": None,
    "ssl_version": 2,
    "cert_reqs": 0,
    "ca_certs": None,
    "suppress_ragged_eofs": True,
    "do_handshake_on_connect": False,
    "ciphers": None,
    "raw_paste_global_conf": [],
    "permit_obsolete_folding": False,
    "strip_header_spaces": False,
    "permit_unconventional_http_method": False,
    "permit_unconventional_http_version": False,
    "casefold_http_method": False,
    "forwarder_headers": ["SCRIPT_NAME", "PATH_INFO"],
    "header_map": "drop",
    "root_path": "",
    "request_head_timeout": 30,
    "limit_request_body": 0,
    "request_buffer": 1 << 20,
    "response_buffer": 1 << 20,
    "request_timeout": 0,
    "max_queue_wait": 0,
}
CALLABLES = {
    "on_starting": 1,
    "on_reload": 1,
    "when_ready": 1,
    "pre_fork": 2,
    "post_fork": 2,
    "post_worker_init": 1,
    "worker_int": 1,
    "worker_abort": 1,
    "pre_exec": 1,
    "pre_request": 2,
    "post_request": 4,
    "child_exit": 2,
    "worker_exit": 2,
    "nworkers_changed": 3,
    "on_exit": 1,
    "ssl_context": 2,
}
NAMES = [*DEFAULTS, *CALLABLES]


def wired(value: Any) -> dict[str, Any]:
    """As the daemon sends a value."""
    if value is None:
        return {"kind": "none"}
    if isinstance(value, (list, tuple)):
        return {"kind": "list", "value": [wired(item) for item in value]}
    if isinstance(value, dict):
        return {"kind": "map", "value": [[key, wired(item)] for key, item in value.items()]}
    return {"kind": {bool: "bool", int: "int", float: "float", str: "str"}[type(value)], "value": value}


class Link:
    """A SOCK_SEQPACKET link, this side of it."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def send(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        data = json.dumps(message).encode()
        fds = list(fds or [])
        keep = None
        if len(data) > 64 * 1024:
            keep = os.memfd_create("message")
            os.write(keep, data)
            data, fds = b"memf", [keep, *fds]
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.ours.sendmsg([data], rights)
        if keep is not None:
            os.close(keep)

    def receive(self, limit: float = LIMIT) -> dict[str, Any] | None:
        """The next message; None at the end."""
        ready, _, _ = select.select([self.ours], [], [], limit)
        assert ready, "no message within the limit"
        try:
            data, control, _, _ = self.ours.recvmsg(1 << 17, socket.CMSG_SPACE(64))
        except ConnectionResetError:
            return None
        if not data:
            return None
        if data == b"memf":
            (fd,) = array.array("i", control[0][2][:4])
            data = os.pread(fd, 1 << 24, 0)
            os.close(fd)
        return json.loads(data)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


class Worker:
    """A forked worker as the arbiter sees it."""

    def __init__(self, arbiter: Arbiter, age: int, link: Link, stacks: int) -> None:
        self.arbiter, self.age, self.link, self.stacks = arbiter, age, link, stacks
        self.pid = 0
        self.status: int | None = None

    def says(self, kind: str, limit: float = LIMIT) -> dict[str, Any]:
        message = self.link.receive(limit)
        assert message is not None and message["type"] == kind, (kind, message, self.arbiter.output())
        return message

    def retire(self, drain: bool = False, heirs: bool = False) -> None:
        self.link.send({"type": "retire", "drain": drain, "heirs": heirs})

    def wait(self, limit: float = LIMIT) -> int:
        """Its exit code, or minus the signal that ended it."""
        fd = os.pidfd_open(self.pid)
        try:
            ready, _, _ = select.select([fd], [], [], limit)
            assert ready, "the worker lives on"
        finally:
            os.close(fd)
        _, status = os.waitpid(self.pid, 0)
        self.status = status
        self.arbiter.workers.remove(self)
        return os.waitstatus_to_exitcode(status)

    def stacks_text(self) -> str:
        return os.pread(self.stacks, 1 << 20, 0).decode()


class Arbiter:
    """One forkserver and its workers."""

    def __init__(self, python: str, directory: Path, env: dict[str, str] | None = None) -> None:
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
        self.directory = directory
        self.link = Link()
        self.workers: list[Worker] = []
        self.listeners: list[socket.socket] = []
        self.age = 0
        self.error = open(directory / "stderr.txt", "w+b", buffering=0)
        self.out = open(directory / "stdout.txt", "w+b", buffering=0)
        boot = (ROOT / "python/boot.py").read_text()
        fd = self.link.theirs.fileno()
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
        self.process = subprocess.Popen(
            [python, "-c", boot, str(fd), str(ROOT / "python"), EXTENSION, " " * 200],
            pass_fds=[fd],
            cwd=directory,
            env=environment,
            stdout=self.out,
            stderr=self.error,
        )
        self.link.theirs.close()
        self.threads = 1
        self.scoreboard = -1
        self.hand_off = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)

    def expect(self, kind: str, limit: float = LIMIT) -> dict[str, Any]:
        """The next report, which is to be of this kind."""
        message = self.link.receive(limit)
        assert message is not None and message["type"] == kind, (kind, message, self.output())
        return message

    def load(self, config: str | None = "gunicorn.conf.py", argv: list[str] | None = None, source: str = "file") -> Any:
        if source == "file" and config is not None and not (self.directory / config).exists():
            config = None
        order: dict[str, Any] = {
            "type": "load",
            "generation": 1,
            "argv": argv or ["/usr/bin/gunicorn", "app:app"],
            "config": None if config is None else {"source": source, "name": config},
            "chdir": str(self.directory),
            "names": NAMES,
            "watch": False,
        }
        self.link.send(order)
        return self.link.receive()

    def configure(self, kind: str = "configure", settings: dict[str, Any] | None = None, **more: Any) -> None:
        """Merges: defaults, the config file, `settings`."""
        merged = {name: wired(value) for name, value in DEFAULTS.items()}
        merged.update({name: wired(None) for name in CALLABLES})
        merged["chdir"] = wired(str(self.directory))
        merged.update({name: told["value"] for name, told in (self.told or {}).items()})
        merged.update({name: wired(value) for name, value in (settings or {}).items()})
        plain = {name: value.get("value") for name, value in merged.items()}
        fds = []
        if plain["errorlog"] != "-":
            fds.append(os.open(self.directory / plain["errorlog"], os.O_CREAT | os.O_APPEND | os.O_WRONLY))
        has_error = bool(fds)
        if plain["accesslog"] is not None:
            target = plain["accesslog"]
            fds.append(
                os.dup(self.out.fileno())
                if target == "-"
                else os.open(self.directory / target, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
            )
        name = plain["worker_class"]
        self.threads = max(1, plain["threads"])
        self.link.send(
            {
                "type": kind,
                "settings": merged,
                "callables": CALLABLES,
                "address": [wired(["127.0.0.1", 8000])],
                "app_uri": "app:app",
                "chdir": str(self.directory),
                "worker_class": name if isinstance(name, str) else "sync",
                "proc_name": "app:app",
                "arbiter_pid": os.getpid(),
                "num_workers": plain["workers"],
                "old_num_workers": None,
                "first": True,
                "replacement": False,
                "has_error_log": has_error,
                "has_access_log": plain["accesslog"] is not None,
                **more,
            },
            fds,
        )
        for fd in fds:
            os.close(fd)

    told: dict[str, Any] | None = None

    def boot(self, settings: dict[str, Any] | None = None, unix: bool = False, **more: Any) -> None:
        """Everything up to the first fork."""
        self.expect("hello")
        loaded = self.load()
        assert loaded["type"] == "loaded", loaded
        self.told = loaded["settings"]
        self.configure(settings=settings, **more)
        self.expect("started")
        self.listen(unix)
        self.bound()

    def listen(self, unix: bool = False) -> None:
        if unix:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self.directory / "sock"))
            os.chmod(self.directory / "sock", 0o777)
        else:
            listener = socket.socket()
            listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        listener.setblocking(False)
        self.listeners.append(listener)

    def bound(self) -> None:
        self.link.send({"type": "bound", "addresses": [self.shown(each) for each in self.listeners]})
        self.expect("ready_done")

    @staticmethod
    def shown(listener: socket.socket) -> str:
        name = listener.getsockname()
        return f"unix:{name}" if isinstance(name, str) else f"http://{name[0]}:{name[1]}"

    def fork(self, ready: bool = True) -> Worker:
        self.age += 1
        if self.scoreboard < 0:
            self.scoreboard = memfd("scoreboard", 8 * (64 + (36 + 32 * self.threads) * SLOTS))
        slot = self.age % SLOTS
        used = struct.unpack("Q", os.pread(self.scoreboard, 8, 0))[0]
        os.pwrite(self.scoreboard, struct.pack("Q", max(used, slot + 1)), 0)
        link = Link()
        link.ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        stacks = memfd("stacks", 0)
        pidfd = os.pidfd_open(os.getpid())
        worker = Worker(self, self.age, link, stacks)
        shared = [*self.hand_off, *self.listeners]
        fds = [link.theirs.fileno(), self.scoreboard, stacks, pidfd, *(each.fileno() for each in shared)]
        order = {
            "type": "fork",
            "age": self.age,
            "slot": slot,
            "threads": self.threads,
            "listeners": len(self.listeners),
            "addresses": [self.shown(each) for each in self.listeners],
        }
        self.link.send(order, fds)
        link.theirs.close()
        os.close(pidfd)
        answer = self.link.receive()
        assert answer is not None and answer["type"] == "forked", (answer, self.output())
        worker.pid = answer["pid"]
        self.workers.append(worker)
        worker.says("hello")
        if ready:
            worker.says("ready")
        return worker

    def child_exit(self, worker: Worker) -> None:
        order = {"type": "child_exit", "pid": worker.pid, "age": worker.age, "status": worker.status}
        self.link.send(order)

    def exit(self, on_exit: bool = True) -> int:
        self.link.send({"type": "exit", "on_exit": on_exit})
        return self.process.wait(LIMIT)

    def output(self) -> str:
        """What has been written to stderr."""
        return os.pread(self.error.fileno(), 1 << 22, 0).decode(errors="replace")

    def stdout(self) -> str:
        return os.pread(self.out.fileno(), 1 << 22, 0).decode(errors="replace")

    def file(self, name: str) -> str:
        path = self.directory / name
        return path.read_text() if path.exists() else ""

    def wait_for(self, condition: Any, what: str = "") -> Any:
        """Looks until it is so; bounded. For what makes no event of its own."""
        until = time.monotonic() + LIMIT
        while not (value := condition()):
            assert time.monotonic() < until, what or self.output()
            time.sleep(0.005)
        return value

    def connect(self) -> socket.socket:
        listener = self.listeners[0]
        client = socket.socket(listener.family)
        client.settimeout(LIMIT)
        client.connect(listener.getsockname())
        return client

    def get(
        self, path: str = "/", *headers: str, method: str = "GET", body: bytes = b"", version: str = "1.1"
    ) -> Response:
        client = self.connect()
        lines = [f"{method} {path} HTTP/{version}", "Host: test", "Connection: close", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        client.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        with client:
            return Response(read_all(client))

    def stop(self) -> None:
        """Leaves nothing behind."""
        for worker in list(self.workers):
            try:
                os.kill(worker.pid, signal.SIGKILL)
                os.waitpid(worker.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        self.link.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for listener in self.listeners:
            listener.close()
        for file in (self.error, self.out):
            file.close()
        for end in self.hand_off:
            end.close()
        if self.scoreboard >= 0:
            os.close(self.scoreboard)


class Response:
    """A response, taken apart."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        head, _, self.rest = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.line = lines[0]
        self.status = int(lines[0].split()[1]) if lines[0] else 0
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}

    @property
    def body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rest
        body, rest = b"", self.rest
        while True:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            if length == 0:
                assert rest == b"\r\n"
                return body
            body, rest = body + rest[:length], rest[length + 2 :]


def read_all(client: socket.socket) -> bytes:
    pieces = []
    while piece := client.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def read_until(client: socket.socket, end: bytes, step: int = 1 << 16) -> bytes:
    data = b""
    while not data.endswith(end):
        piece = client.recv(step)
        assert piece, data
        data += piece
    return data


def memfd(name: str, size: int) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    if size:
        os.ftruncate(fd, size)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


assert sys.version_info >= (3, 10)
