"""Notes who takes Python's wake-up descriptor for signals: event loops do, and leave it at -1."""

from __future__ import annotations

import signal

from . import _rgunicorn

#: In the place of `signal.set_wakeup_fd`.
function = _rgunicorn.WakeupFd(signal.set_wakeup_fd)


def watch() -> None:
    """Before any user code, which may keep the function."""
    signal.set_wakeup_fd = function
