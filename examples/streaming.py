"""A streaming download: made piece by piece, never as a whole in memory.

    rgunicorn --chdir examples streaming:app

`/numbers?count=1000000` counts; `/file/NAME` sends a file of `$FILES` (the current directory by default), by the kernel
where it can be done.
"""

import os
from collections.abc import Iterator
from urllib.parse import parse_qs

LINES_A_PIECE = 1000


def numbers(count: int) -> Iterator[bytes]:
    for start in range(0, count, LINES_A_PIECE):
        yield b"".join(b"%d\n" % number for number in range(start, min(start + LINES_A_PIECE, count)))


def file_of(name: str):
    """The file of this name in the directory, if it is one: names do not lead out of it."""
    directory = os.path.realpath(os.environ.get("FILES", "."))
    path = os.path.realpath(os.path.join(directory, name))
    inside = os.path.commonpath([directory, path]) == directory
    return open(path, "rb") if inside and os.path.isfile(path) else None


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/numbers":
        count = int(parse_qs(environ["QUERY_STRING"]).get("count", ["1000"])[0])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return numbers(count)
    if path.startswith("/file/") and (file := file_of(path.removeprefix("/file/"))):
        size = os.fstat(file.fileno()).st_size
        start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))])
        return environ["wsgi.file_wrapper"](file)
    start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "10")])
    return [b"Not found\n"]
