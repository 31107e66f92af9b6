"""Answers with its environ as JSON: strings and numbers as they are, of everything else its type's name."""

import json


def app(environ, start_response):
    plain = (str, int, bool, type(None))
    shown = {key: value if isinstance(value, plain) else type(value).__name__ for key, value in environ.items()}
    shown["wsgi.version"] = list(environ["wsgi.version"])
    body = json.dumps(shown).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
