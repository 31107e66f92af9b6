"""What tests about our own processes need to find."""

from __future__ import annotations

import os
from pathlib import Path

from . import processes
from .server import Server


def forkserver(server: Server) -> int:
    """The one forkserver; there is one once a request has been answered."""
    found = by_title(server, "forkserver")
    assert len(found) == 1, server.describe()
    return found[0]


def workers(server: Server) -> list[int]:
    return by_title(server, "worker")


def by_title(server: Server, kind: str) -> list[int]:
    """The arbiter's children that call themselves so."""
    families = processes.children()
    return [
        pid
        for pid in families.get(server.pid, ())
        if processes.alive(pid) and processes.command_line(pid).startswith(f"rgunicorn: {kind} [")
    ]


def socket_inodes(pid: int) -> set[str]:
    """The sockets that a process has open."""
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def connections(pid: int) -> int:
    """Established TCP connections (IPv4) that a process has."""
    inodes = socket_inodes(pid)
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    # Columns: state (01: established), inode.
    return sum(row[3] == "01" and f"socket:[{row[9]}]" in inodes for row in rows)
