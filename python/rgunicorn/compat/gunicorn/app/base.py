"""Application classes to derive from."""

from rgunicorn.application import Application, BaseApplication

__all__ = ["Application", "BaseApplication"]
