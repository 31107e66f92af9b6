"""Requests and responses."""

from .message import Request

__all__ = ["Request"]
