"""Compares what the decoder makes of requests with two other parsers: h11, and llhttp (as httptools).

    python fuzz/compare.py [SECONDS [SEED]]        needs: pip install h11 httptools

Inputs are the requests of tests/requests, the fuzz corpus, and damaged copies of both until the time is over. What is a
finding: a request that the decoder accepts and another parser reads otherwise, or refuses, except for what is listed in
`KNOWN`. Where the decoder is the stricter one there is nothing to find: it is meant to be.
"""

import json
import pathlib
import random
import re
import struct
import subprocess
import sys
import time

import h11
import httptools

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import seeds  # noqa: E402

HERE = pathlib.Path(__file__).parent
PIECES = [
    b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b";", b",", b"\0", b"\xff", b"0", b"5", b"a", b"_", b"GET / HTTP/1.1\r\n",
    b"Host: a\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"0\r\n\r\n",
    b"5\r\nhello\r\n", b";a=b", b' ;a="b"', b"Upgrade: x\r\n", b"Connection: upgrade\r\n", b"HTTP/1.0", b"Expect: 100-continue\r\n",
]  # fmt: skip


class Ours:
    """The decoder, in a process of its own."""

    def __init__(self) -> None:
        target = HERE / "target" / "plain"
        build = ["cargo", "build", "--release", "--quiet", "--example", "transcript", "--target-dir", str(target)]
        subprocess.run(build, cwd=HERE, check=True)
        self.process = subprocess.Popen(
            [str(target / "release" / "examples" / "transcript")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def read(self, data: bytes) -> dict:
        self.process.stdin.write(struct.pack(">I", len(data)) + data)
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the decoder died of {data!r}")
        return json.loads(line)


def by_h11(data: bytes, wanted: int) -> tuple[list[dict], str | None]:
    """The first requests, and why there are no more."""
    requests: list[dict] = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    while len(requests) <= wanted:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            return requests, str(error)
        if event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
            if connection.their_state is h11.DONE and connection.our_state is not h11.ERROR and requests[-1]["complete"]:
                # Answer it, so that it reads on.
                try:
                    connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                    connection.send(h11.EndOfMessage())
                    connection.start_next_cycle()
                    continue
                except h11.LocalProtocolError:
                    return requests, None
            return requests, None
        if isinstance(event, h11.Request):
            fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
            request = {"method": event.method, "target": event.target, "version": event.http_version}
            request = {key: value.decode("latin-1") for key, value in request.items()}
            requests.append(request | {"fields": fields, "body": b"", "complete": False})
        elif isinstance(event, h11.Data):
            requests[-1]["body"] += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            requests[-1]["complete"] = True
            if connection.their_state is h11.MUST_CLOSE or connection.their_state is h11.MIGHT_SWITCH_PROTOCOL:
                return requests, None
    return requests, None


class Llhttp:
    """What llhttp calls back with."""

    def __init__(self) -> None:
        self.requests: list[dict] = []

    def on_message_begin(self) -> None:
        self.requests.append({"target": b"", "fields": [], "body": b"", "complete": False})

    def on_url(self, piece: bytes) -> None:
        self.requests[-1]["target"] += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        request = self.requests[-1]
        # After the body these are trailers.
        if not request["body"] and "method" not in request:
            request["fields"].append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        request = self.requests[-1]
        request["method"] = self.parser.get_method().decode("latin-1")
        request["version"] = self.parser.get_http_version()

    def on_body(self, piece: bytes) -> None:
        self.requests[-1]["body"] += piece

    def on_message_complete(self) -> None:
        self.requests[-1]["complete"] = True


def by_llhttp(data: bytes, _wanted: int) -> tuple[list[dict], str | None]:
    told = Llhttp()
    told.parser = httptools.HttpRequestParser(told)
    error = None
    try:
        told.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as caught:
        error = f"{type(caught).__name__}: {caught}"
    requests = [request for request in told.requests if "method" in request]
    for request in requests:
        request["target"] = request["target"].decode("latin-1")
    return requests, error


# What another parser refuses although RFC 9110 and 9112 allow it, by the words of its error; why.
KNOWN = {
    "h11": (
        "Missing mandatory Host",  # accepted, as Gunicorn does
        "no request line received",  # an empty line before a request
        "illegal chunk header",  # blanks in chunk extensions
        "unsupported HTTP version",  # 1.2 to 1.9
    ),
    "llhttp": (
        "Invalid method",  # it knows a list of methods
        "Expected space after method",  # likewise
        "Invalid HTTP version",  # 1.2 to 1.9
        "in chunk size",  # blanks before chunk extensions
        "in chunk extensions",  # blanks and obs-text in them
        "Unexpected char in url",  # a scheme with digits, + - .
        "Data after `Connection: close`",  # it reads Proxy-Connection too
        "invalid `Transfer-Encoding`",  # a TAB after chunked
    ),
}


def same(ours: dict, theirs: dict) -> str | None:
    """What is different."""
    kept = [
        # h11 turns the name of the coding into lower case.
        (name.lower(), value.strip(" \t").lower() if name.lower() == "transfer-encoding" else value.strip(" \t"))
        for name, value in theirs["fields"]
        if "_" not in name and name.lower() != "proxy"
    ]
    mine = [
        (name.lower(), value.lower() if name.lower() == "transfer-encoding" else value.strip(" \t"))
        for name, value in ours["fields"]
    ]
    body = theirs["body"].decode("latin-1")
    for what, one, other in (
        ("method", ours["method"], theirs["method"]),
        ("target", ours["target"], theirs["target"]),
        ("version", "{}.{}".format(*ours["version"]), theirs["version"]),
        ("fields", mine, kept),
        ("body", ours["body"], body),
        ("complete", ours["complete"], theirs["complete"]),
    ):
        if one != other:
            return f"{what}: {one!r} here, {other!r} there"
    return None


def compare(ours: Ours, data: bytes) -> list[str]:
    """Findings."""
    got = ours.read(data)
    # The last one may have failed: there the decoder is the stricter, or the other will fail too.
    requests = got["requests"] if got["error"] is None else [r for r in got["requests"] if r["complete"]]
    # After these the bytes may be no requests any more.
    last = next((at for at, request in enumerate(requests) if not request["keep_alive"]), len(requests))
    requests = requests[: last + 1]
    found = []
    for name, parse in (("h11", by_h11), ("llhttp", by_llhttp)):
        theirs, error = parse(data, len(requests))
        for at, request in enumerate(requests):
            if at >= len(theirs) or (error and not theirs[at]["complete"] and at == len(theirs) - 1):
                # Of one that goes on, the end may be refused here too.
                if error and request["complete"] and not any(words in error for words in KNOWN[name]):
                    found.append(f"{name} refuses request {at}: {error}")
                break
            # What follows these heads is another protocol's, for it.
            keys = [key.lower() for key, _ in request["fields"]]
            if request["method"] == "CONNECT" or "upgrade" in keys:
                break
            different = same(request, theirs[at])
            if different:
                found.append(f"{name} reads request {at} otherwise: {different}")
                break
    return found


def damage(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(out))
        kind = chance.randrange(6)
        if kind == 0 and at < len(out):
            out[at] = chance.choice((chance.randrange(256), *b"\r\n\t :;,0aA"))
        elif kind == 1:
            out[at:at] = chance.choice(PIECES)
        elif kind == 2:
            del out[at : at + chance.randint(1, 5)]
        elif kind == 3:
            out[at:at] = out[at : at + chance.randint(1, 30)]
        elif kind == 4:
            lines = list(re.finditer(rb"\r\n", out))
            if lines:
                end = chance.choice(lines).end()
                out[end:end] = chance.choice(PIECES)
        else:
            out += chance.choice(others)
    return bytes(out[:3000])


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    chance = random.Random(seed)
    ours = Ours()
    corpus = [data for _, data in seeds.requests() if len(data) < 3000 and not data.startswith(b"PROXY")]
    for folder in (HERE / "corpus", HERE / "target" / "corpus"):
        paths = sorted((folder / "differential").glob("*"))
        corpus += [path.read_bytes() for path in paths if path.stat().st_size < 3000]
    findings: dict[str, bytes] = {}
    until = time.monotonic() + seconds
    count = 0
    inputs = iter(corpus)
    while time.monotonic() < until and len(findings) < 20:
        data = next(inputs, None)
        if data is None:
            data = damage(chance, chance.choice(corpus), corpus)
        count += 1
        for finding in compare(ours, data):
            # One of a kind is enough.
            kind = re.sub(r"\d+|b?'.*'|\".*\"|\[.*\]", "…", finding)
            if kind not in findings:
                findings[kind] = data
                print(f"{finding}\n    {data!r}")
    print(f"{count} inputs, {len(findings)} findings (seed {seed})")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
