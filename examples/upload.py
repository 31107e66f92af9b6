"""An upload: a multipart form's file goes to disk as it arrives; the answer has its size and SHA-256.

    rgunicorn --chdir examples upload:app
    curl -F file=@/etc/hostname http://127.0.0.1:8000/

Files go to `$UPLOADS`, or to the system's directory for temporary files.
"""

import hashlib
import json
import os
import tempfile
from email.message import Message

PIECE = 64 * 1024
LONGEST_HEAD = 16 * 1024


class BadForm(Exception):
    """The form cannot be understood."""


def boundary_of(environ) -> bytes:
    message = Message()
    message["Content-Type"] = environ.get("CONTENT_TYPE", "")
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/form-data" or not boundary:
        raise BadForm("a multipart/form-data body is needed")
    return b"--" + boundary.encode("latin-1")


def save(stream, boundary: bytes, directory: str) -> dict[str, object]:
    """Saves the first part that has a file name."""
    held = b"\r\n"  # so that the first boundary looks like all others
    end = b"\r\n" + boundary
    while True:
        held, _ = skip_to(stream, held, end)
        while len(held) < 2:
            held += more(stream)
        if held.startswith(b"--"):
            raise BadForm("there is no file in the form")
        held, head = skip_to(stream, held, b"\r\n\r\n", LONGEST_HEAD)
        name = file_name(head)
        if name is None:
            continue
        digest, size = hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(dir=directory, prefix="upload-", delete=False) as target:
            while True:
                at = held.find(end)
                # What could be the beginning of a boundary waits for the next piece.
                piece = held[:at] if at >= 0 else held[: max(0, len(held) - len(end) + 1)]
                target.write(piece)
                digest.update(piece)
                size += len(piece)
                held = held[len(piece) :]
                if at >= 0:
                    return {"name": name, "saved": target.name, "size": size, "sha256": digest.hexdigest()}
                held += more(stream)


def skip_to(stream, held: bytes, mark: bytes, limit: int | None = None) -> tuple[bytes, bytes]:
    """What follows the mark, and what was before it."""
    while mark not in held:
        if limit is not None and len(held) > limit:
            raise BadForm("a part's head is too long")
        if limit is None:
            held = held[-len(mark) :]
        held += more(stream)
    before, _, after = held.partition(mark)
    return after, before


def more(stream) -> bytes:
    piece = stream.read(PIECE)
    if not piece:
        raise BadForm("the form ends too early")
    return piece


def file_name(head: bytes) -> str | None:
    for line in head.decode("utf-8", "replace").split("\r\n"):
        if line.lower().startswith("content-disposition:"):
            message = Message()
            message["Content-Disposition"] = line.split(":", 1)[1].strip()
            return message.get_filename()
    return None


def app(environ, start_response):
    try:
        if environ["REQUEST_METHOD"] != "POST":
            raise BadForm("POST a form with a file")
        answer = save(environ["wsgi.input"], boundary_of(environ), os.environ.get("UPLOADS") or tempfile.gettempdir())
        status = "201 Created"
    except BadForm as error:
        answer, status = {"error": str(error)}, "400 Bad Request"
    body = json.dumps(answer).encode() + b"\n"
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
