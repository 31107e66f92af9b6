"""`req` in hooks."""

from rgunicorn.request import Request

__all__ = ["Message", "Request"]

Message = Request
