"""Sends the request's body back, with its length in a field of its own."""


def app(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))])
    return [body]


def careless(environ, start_response):
    """Never looks at the body."""
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
