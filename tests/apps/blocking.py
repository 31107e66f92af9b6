"""Tells the test that a request is in, and answers when the gate opens."""

import os

from events import tell, wait


def app(environ, start_response):
    if environ["PATH_INFO"] == "/block":
        tell("in", os.getpid())
        wait()
        tell("out", os.getpid())
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
