"""Processes: finding a server's whole family, waiting for deaths, ending what is left.

The test process is a child subreaper, so whatever a server's processes leave behind becomes our child and is found.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
# A bound that says "it hangs"; nothing is ever waited for that long when all is well.
PATIENCE = 30.0


def become_subreaper() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def stat_fields(pid: int) -> list[str] | None:
    """`/proc/PID/stat` after the command's name: state, ppid, pgrp, session, tty, ..."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def cpu_ticks(pid: int) -> int:
    """The time that it has spent so far."""
    fields = stat_fields(pid)
    assert fields, f"{pid} is gone"
    return int(fields[11]) + int(fields[12])


def parent(pid: int) -> int | None:
    fields = stat_fields(pid)
    return int(fields[1]) if fields else None


def state(pid: int) -> str | None:
    """`R`, `S`, `Z`...; None: there is no such process."""
    fields = stat_fields(pid)
    return fields[0] if fields else None


def alive(pid: int) -> bool:
    return state(pid) not in (None, "Z", "X")


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children() -> dict[int, list[int]]:
    """Every process's children, by pid."""
    found: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (mother := parent(int(entry))) is not None:
            found.setdefault(mother, []).append(int(entry))
    return found


def descendants(pid: int) -> list[int]:
    """All processes below this one, parents first."""
    families = children()
    found: list[int] = []
    queue = list(families.get(pid, ()))
    while queue:
        child = queue.pop(0)
        found.append(child)
        queue.extend(families.get(child, ()))
    return found


def wait_gone(pid: int, timeout: float = PATIENCE) -> bool:
    """Waits until a process has ended (it may still be a zombie). False: it has not."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], max(timeout, 0))[0])
    finally:
        os.close(fd)


def wait_until(condition: Callable[[], object], timeout: float = PATIENCE) -> bool:
    """Waits for something that can only be looked at."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def descriptors(pid: int) -> int:
    """How many it has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def end(pids: list[int]) -> None:
    """Kills and reaps; each of them is, or becomes, a child of this process."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    for pid in pids:
        wait_gone(pid)
    reap_strangers(pids)


def reap_strangers(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue


def write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def status_field(pid: int, name: str) -> str:
    """A line of `/proc/PID/status`, such as `Uid` or `Groups`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.split(":", 1)[1].strip()
    raise KeyError(name)
