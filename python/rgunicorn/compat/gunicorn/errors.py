"""Exceptions of the server."""


class HaltServer(BaseException):
    """The server is to stop."""

    def __init__(self, reason: str, exit_status: int = 1) -> None:
        self.reason = reason
        self.exit_status = exit_status

    def __str__(self) -> str:
        return f"<HaltServer {self.reason!r} {self.exit_status}>"


class ConfigError(Exception):
    """A setting is wrong."""


class AppImportError(Exception):
    """The application could not be found or made."""
