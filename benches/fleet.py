#!/usr/bin/env python3
"""What clients notice of reloads, upgrades, recycled and killed workers: rgunicorn beside Gunicorn, in one run.

    benches/fleet.py [--seconds 30] [--clients 16] [--servers ours,ours-gthread,gunicorn-sync,gunicorn-gthread] [scenario ...]

Clients with kept connections and clients that connect for each request, as many of each, count every reset, short body and
status that is not 200. Prints one line of a Markdown table for each scenario and server. Needs the venv that ./test makes.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support import processes  # noqa: E402
from support.load import Load, Report  # noqa: E402
from support.ours import socket_inodes  # noqa: E402

APP = """
import os, time
def app(environ, start_response):
    time.sleep(0.001)
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

# linux/netlink.h, linux/sock_diag.h, net/tcp_states.h
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, TCP_ESTABLISHED = 4, 20, 1
NLM_F_REQUEST, NLM_F_DUMP, NLMSG_ERROR, NLMSG_DONE = 0x1, 0x300, 2, 3

SERVERS = {
    "ours": [ROOT / "target/release/rgunicorn", "--python", ROOT / ".venv/bin/python"],
    "ours-gthread": [ROOT / "target/release/rgunicorn", "--python", ROOT / ".venv/bin/python", "-k", "gthread", "--threads", "4"],
    "gunicorn-sync": [ROOT / ".venv/bin/gunicorn"],
    "gunicorn-gthread": [ROOT / ".venv/bin/gunicorn", "-k", "gthread", "--threads", "4"],
}


class Server:
    """One server in a directory of its own."""

    def __init__(self, name: str, *arguments: str) -> None:
        self.name = name
        self.directory = Path(tempfile.mkdtemp(prefix="rg-fleet-"))
        (self.directory / "app.py").write_text(APP)
        (self.directory / "gunicorn.conf.py").write_text("")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.log = self.directory / "error.log"
        command = [*map(str, SERVERS[name]), "--bind", f"127.0.0.1:{self.port}", "--workers", "3", "--pid", "g.pid"]
        command += ["--no-control-socket", "--error-logfile", "error.log", "--graceful-timeout", "20", *arguments, "app:app"]
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(command, cwd=self.directory, env=environment, stderr=subprocess.DEVNULL)
        self.pid = self.process.pid
        assert processes.wait_until(self.serves), f"{name} does not serve: {self.text()}"

    def serves(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return b"200 OK" in connection.recv(1000)
        except OSError:
            return False

    def text(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def signal(self, number: int, pid: int | None = None) -> None:
        try:
            os.kill(pid or self.pid, number)
        except ProcessLookupError:
            pass

    def workers(self) -> list[int]:
        children = sorted(processes.children().get(self.pid, []))
        ours = self.name.startswith("ours")
        return [pid for pid in children if not ours or ": worker [" in processes.command_line(pid)]

    def close(self) -> None:
        left = [self.process.pid, *processes.descendants(self.process.pid)]
        for pid in {self.pid, self.process.pid}:
            self.signal(signal.SIGTERM, pid)
        for pid in left:
            processes.wait_gone(pid, 25)
        for pid in [*left, self.pid, *processes.descendants(self.pid)]:
            self.signal(signal.SIGKILL, pid)
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def evenly(seconds: float, count: int, act) -> None:
    """Does it so many times, spread over the time."""
    began = time.monotonic()
    for number in range(count):
        act(number)
        time.sleep(max(0.0, began + seconds * (number + 1) / count - time.monotonic()))


def nothing(server: Server, seconds: float) -> str:
    time.sleep(seconds)
    return ""


def hup(server: Server, seconds: float) -> str:
    evenly(seconds, 20, lambda _: server.signal(signal.SIGHUP))
    return "20 × HUP"


def resize(server: Server, seconds: float) -> str:
    evenly(seconds, 40, lambda number: server.signal([signal.SIGTTIN, signal.SIGTTOU][number % 2]))
    return "20 × TTIN, TTOU"


def upgrade(server: Server, seconds: float) -> str:
    """Three that are promoted, then one that is backed out of."""
    done = []

    def act(number: int) -> None:
        before = set(processes.children()) and set(masters(server))
        server.signal(signal.SIGUSR2)
        if not processes.wait_until(lambda: set(masters(server)) - before, 10):
            return
        new = (set(masters(server)) - before).pop()
        # What a script does that cannot know when the new one serves.
        time.sleep(seconds / 10)
        if number < 3:
            old, server.pid = server.pid, new
            server.signal(signal.SIGQUIT if server.name.startswith("gunicorn") else signal.SIGTERM, old)
            processes.wait_gone(old, 25)
        else:
            server.signal(signal.SIGTERM, new)
            processes.wait_gone(new, 25)
        done.append(number)

    evenly(seconds, 4, act)
    return f"{len(done)} of 3 × USR2 and 1 back-out"


def masters(server: Server) -> list[int]:
    """The arbiters there are: those of these processes whose command names the app and that are nobody's worker."""
    found = []
    for pid in [server.process.pid, server.pid, *processes.descendants(server.process.pid), *processes.descendants(server.pid)]:
        named = [name for name in ("g.pid", "g.pid.2") if (server.directory / name).exists()]
        if any((server.directory / name).read_text().strip() == str(pid) for name in named):
            found.append(pid)
    return found


def recycle(server: Server, seconds: float) -> str:
    time.sleep(seconds)
    left = len(re.findall(r"Worker exiting", server.text()))
    return f"{left} × max_requests"


def reload(server: Server, seconds: float) -> str:
    def act(number: int) -> None:
        (server.directory / "app.py").write_text(APP + f"# {number}\n")

    evenly(seconds, 5, act)
    return "5 × --reload"


def unread_bytes(inodes: set[str]) -> list[int]:
    """For each of these sockets that is an established TCP connection (IPv4): how much of it has not been read."""
    # By sock_diag(7): /proc/net/tcp takes tens of milliseconds where many connections have just ended.
    request = struct.pack("=IHHII", 16 + 56, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
    request += struct.pack("=BBBBI48x", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 1 << TCP_ESTABLISHED)
    found = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as diag:
        diag.settimeout(10)
        diag.send(request)
        while True:
            answer = diag.recv(1 << 20)
            while answer:
                length, kind = struct.unpack_from("=IH", answer)
                if kind == NLMSG_ERROR:
                    raise OSError(-struct.unpack_from("=i", answer, 16)[0], "sock_diag")
                if kind == NLMSG_DONE:
                    return found
                # struct inet_diag_msg: 56 bytes, then the lengths of both queues, the user and the inode.
                unread, _, _, inode = struct.unpack_from("=IIII", answer, 16 + 56)
                if f"socket:[{inode}]" in inodes:
                    found.append(unread)
                answer = answer[(length + 3) & ~3 :]


def kill(server: Server, seconds: float) -> str:
    """Failures may be as many as requests that the killed ones had in hand, by the scoreboard (the arbiter's log tells), and
    those that their kernel had received for them and they had not read."""
    unread = 0

    def act(_: int) -> None:
        nonlocal unread
        workers = server.workers()
        if workers:
            # Still, for a millisecond or so: what is counted is what it dies with.
            server.signal(signal.SIGSTOP, workers[0])
            lengths = unread_bytes(socket_inodes(workers[0]))
            server.signal(signal.SIGKILL, workers[0])
            unread += sum(length > 0 for length in lengths)

    evenly(seconds, 5, act)
    what = "5 × kill -9 of a worker"
    if server.name.startswith("ours"):
        what += f"; in hand {len(re.findall(r': in hand for ', server.text()))}, "
    return f"{what.removesuffix(', ')}, unread {unread}"


def broken_config(server: Server, seconds: float) -> str:
    before = server.workers()
    (server.directory / "gunicorn.conf.py").write_text("raise RuntimeError('on purpose')\n")
    evenly(seconds, 5, lambda _: server.signal(signal.SIGHUP))
    return f"5 × HUP, broken config; same workers: {'yes' if server.workers() == before else 'no'}"


def broken_app(server: Server, seconds: float) -> str:
    before = server.workers()
    (server.directory / "app.py").write_text("raise RuntimeError('on purpose')\n")
    evenly(seconds, 5, lambda _: server.signal(signal.SIGHUP))
    return f"5 × HUP, broken app; same workers: {'yes' if server.workers() == before else 'no'}"


SCENARIOS = {
    "nothing": (nothing, []),
    "hup": (hup, []),
    "resize": (resize, []),
    "upgrade": (upgrade, []),
    "recycle": (recycle, ["--max-requests", "{recycle}"]),
    "reload": (reload, ["--reload"]),
    "kill": (kill, []),
    "broken-config": (broken_config, []),
    "broken-app": (broken_app, []),
}


def run(scenario: str, name: str, seconds: float, clients: int, rate: float) -> tuple[Report, str]:
    act, arguments = SCENARIOS[scenario]
    # About 20 workers reach it in the time.
    arguments = [argument.format(recycle=max(50, int(rate * seconds / 20))) for argument in arguments]
    server = Server(name, *arguments)
    try:
        with Load(server.port, clients * 2, think=0.02) as load:
            time.sleep(0.3)
            what = act(server, seconds)
            time.sleep(0.5)
            report = load.stop()
        if not server.serves():
            what += "; it does not serve any more"
        return report, what
    finally:
        server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--clients", type=int, default=16, help="of each kind")
    parser.add_argument("--servers", default=",".join(SERVERS))
    parser.add_argument("scenarios", nargs="*", default=[], help=", ".join(SCENARIOS))
    options = parser.parse_args()
    processes.become_subreaper()
    print("| what | server | requests | failed | how |\n|---|---|---:|---:|---|", flush=True)
    rates = {}
    for scenario in options.scenarios or SCENARIOS:
        for name in options.servers.split(","):
            report, what = run(scenario, name, options.seconds, options.clients, rates.get(name, 600))
            if scenario == "nothing":
                rates[name] = report.requests / options.seconds
            how = ", ".join(f"{count} {kind}" for kind, count in report.failures.most_common(4))
            print(f"| {scenario}: {what} | {name} | {report.requests} | {report.failed} | {how} |", flush=True)


if __name__ == "__main__":
    main()
