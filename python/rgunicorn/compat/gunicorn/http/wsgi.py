"""`resp` in hooks, and what apps find in their environ."""

from rgunicorn._rgunicorn import FileWrapper
from rgunicorn.environ import Errors as WSGIErrorsWrapper
from rgunicorn.request import Response

from .. import SERVER, SERVER_SOFTWARE

__all__ = ["SERVER", "SERVER_SOFTWARE", "FileWrapper", "Response", "WSGIErrorsWrapper"]
