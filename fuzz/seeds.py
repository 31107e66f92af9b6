"""Writes seeds for a fuzz target out of the requests of tests/requests: seeds.py TARGET FOLDER."""

import pathlib
import sys

ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}


def decode(text: str) -> bytes:
    """The bytes that a .http file stands for (tests/requests/README.md)."""
    text = text.replace("\n", "")

    def piece(at: int, nested: bool) -> tuple[bytes, int]:
        out = bytearray()
        while at < len(text):
            if nested and text[at] == "}":
                return bytes(out), at + 1
            if text[at] != "\\":
                out += text[at].encode("ascii")
                at += 1
            elif text[at + 1] == "x":
                out.append(int(text[at + 2 : at + 4], 16))
                at += 4
            elif text[at + 1] == "{":
                colon = text.index(":", at)
                repeated, end = piece(colon + 1, True)
                out += repeated * int(text[at + 2 : colon])
                at = end
            else:
                out += ESCAPES[text[at + 1]]
                at += 2
        return bytes(out), at

    return piece(0, False)[0]


def requests() -> list[tuple[str, bytes]]:
    """Names and bytes of all of them."""
    folder = pathlib.Path(__file__).parent.parent / "tests" / "requests"
    paths = sorted(folder.glob("*/*.http"))
    return [(f"{path.parent.name}-{path.stem}", decode(path.read_text("ascii"))) for path in paths]


def seeds(target: str, data: bytes) -> list[bytes]:
    """What the target's first bytes mean is in its source."""
    head, end, body = data.partition(b"\r\n\r\n")
    if target == "head":
        return [bytes([doors, more, 0]) + data for doors, more in ((0, 0), (0x5F, 6))]
    if target == "chunked":
        return [body] if end and b"chunked" in head.lower() else []
    if target == "connection":
        return [bytes([0, 0, 0, 5, 1, 0xC0, 40, 0xE0, 9]) + data, bytes([0x5F, 2, 0, 0]) + data]
    if target == "proxy":
        return [bytes([3]) + data] if data[:1] in (b"P", b"\r") else []
    return [data]


def main() -> None:
    target, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in requests():
        if len(data) > 4000:
            continue
        for number, seed in enumerate(seeds(target, data)):
            (folder / f"{name}-{number}").write_bytes(seed)


if __name__ == "__main__":
    main()
