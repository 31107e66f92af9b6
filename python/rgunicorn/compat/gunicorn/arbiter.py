"""`server` in hooks."""

from rgunicorn.server import Arbiter

__all__ = ["Arbiter"]
