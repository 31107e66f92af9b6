"""Clients that keep a server busy and count every request that fails: a reset, a short body, a status that is not 200.

Half of them keep their connections, half open a new one for every request. They run in a process of their own, so that
what the test does meanwhile does not hold them up.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

#: A request that takes longer has failed: nothing under load may wait for ever.
PATIENCE = 30.0


@dataclass
class Report:
    """What the clients saw."""

    requests: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    bodies: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    def __str__(self) -> str:
        return f"{self.requests} requests, {self.failed} failed: {dict(self.failures)}"


class Load:
    """Runs clients until stopped."""

    def __init__(self, port: int, clients: int = 8, think: float = 0.0, target: str = "/") -> None:
        arguments = [str(port), str(clients), str(think), target]
        command = [sys.executable, "-m", "support.load", *arguments]
        self.process = subprocess.Popen(
            command, cwd=__file__.rsplit("/", 2)[0], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "running\n"

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> Report:
        """Lets every client finish the request that it has begun."""
        output, _ = self.process.communicate("", timeout=PATIENCE + 10)
        seen = json.loads(output)
        return Report(seen["requests"], Counter(seen["failures"]), Counter(seen["bodies"]))


class Clients:
    def __init__(self, port: int, think: float, target: str) -> None:
        self.port = port
        self.think = think
        self.request = f"GET {target} HTTP/1.1\r\nHost: load\r\n\r\n".encode()
        self.running = True
        self.report = Report()

    async def run(self, count: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(self.client(keep=number % 2 == 0))
            group.create_task(self.wait_for_the_end())

    async def wait_for_the_end(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        self.running = False

    async def client(self, keep: bool) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        kind = "kept" if keep else "new"
        while self.running:
            try:
                if connection is not None and connection[0].at_eof():
                    # Closed while it was idle, and seen in time: any client opens another one.
                    connection[1].close()
                    connection = None
                if connection is None:
                    connection = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port), PATIENCE)
                reader, writer = connection
                closes = await asyncio.wait_for(self.exchange(reader, writer), PATIENCE)
                if closes or not keep:
                    writer.close()
                    connection = None
            except Exception as error:
                self.report.failures[f"{kind}: {type(error).__name__} {error}".strip()] += 1
                if connection is not None:
                    connection[1].close()
                    connection = None
                # A server that is down must not be counted a thousand times.
                await asyncio.sleep(0.01)
            self.report.requests += 1
            if self.think:
                await asyncio.sleep(self.think)
        if connection is not None:
            connection[1].close()

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection ends with it."""
        writer.write(self.request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, _, fields = head.partition("\r\n")
        values = dict(line.lower().split(": ", 1) for line in fields.split("\r\n") if line)
        if status.split(" ")[1] != "200":
            raise ValueError(status)
        length = values.get("content-length")
        body = await (reader.readexactly(int(length)) if length is not None else reader.read())
        self.report.bodies[body.decode("latin-1")] += 1
        return values.get("connection") == "close" or length is None


def main() -> None:
    port, count, think, target = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    clients = Clients(port, think, target)
    print("running", flush=True)
    began = time.monotonic()
    asyncio.run(clients.run(count))
    report = clients.report
    seen = {"requests": report.requests, "failures": report.failures, "bodies": report.bodies}
    print(json.dumps(seen | {"seconds": time.monotonic() - began}))


if __name__ == "__main__":
    main()
