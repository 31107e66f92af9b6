"""Exceptions that requests can end in."""


class ParseException(Exception):
    """The request is wrong."""


class NoMoreData(IOError):
    """The client closed the connection."""


class ConfigurationProblem(ParseException):
    """The request can't be served with this configuration."""


class InvalidRequestLine(ParseException):
    """See the name."""


class InvalidRequestMethod(ParseException):
    """See the name."""


class InvalidHTTPVersion(ParseException):
    """See the name."""


class InvalidHeader(ParseException):
    """See the name."""


class InvalidHeaderName(ParseException):
    """See the name."""


class ObsoleteFolding(ParseException):
    """See the name."""


class ExpectationFailed(ParseException):
    """See the name."""


class UnsupportedTransferCoding(ParseException):
    """See the name."""


class InvalidChunkSize(ParseException):
    """See the name."""


class ChunkMissingTerminator(ParseException):
    """See the name."""


class LimitRequestLine(ParseException):
    """See the name."""


class LimitRequestHeaders(ParseException):
    """See the name."""


class InvalidProxyLine(ParseException):
    """See the name."""


class ForbiddenProxyRequest(ParseException):
    """See the name."""


class InvalidSchemeHeaders(ParseException):
    """See the name."""
