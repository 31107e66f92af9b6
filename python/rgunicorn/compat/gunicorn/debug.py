"""`--spew`: prints every line that is executed."""

import linecache
import sys
from types import FrameType
from typing import Any

__all__ = ["spew", "unspew"]


def spew(trace_names: Any = None, show_values: bool = False) -> None:
    """Starts it, for all modules or for those named."""

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            name = frame.f_globals.get("__name__", "[unknown]")
            if trace_names is None or name in trace_names:
                line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
                print(f"{name}:{frame.f_lineno}: {line.rstrip()}")
        return trace

    sys.settrace(trace)


def unspew() -> None:
    """Ends it."""
    sys.settrace(None)
