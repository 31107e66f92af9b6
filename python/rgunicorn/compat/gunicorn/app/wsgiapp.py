"""The application that `gunicorn module:app` makes."""

from rgunicorn.application import WSGIApplication

__all__ = ["WSGIApplication", "run"]


def run(prog: "str | None" = None) -> None:
    """Runs the server on the command line's arguments."""
    WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]", prog=prog).run()
