"""A client of the control socket."""

import json
import socket
import struct


class Commands:
    """What can be asked; `ask` gets a command's answer, whole."""

    def do(self, command, *args):
        """The data that a command is answered with."""
        answer = self.ask(command, *args)
        assert answer["status"] == "ok", answer
        return answer["data"]

    def refuse(self, command, *args):
        """The error that a command is answered with."""
        answer = self.ask(command, *args)
        assert answer["status"] == "error", answer
        return answer["error"]


class Control(Commands):
    """One connection."""

    def __init__(self, path, timeout=30):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self.last = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, request):
        """A request, as bytes or as what is put into JSON."""
        message = request if isinstance(request, bytes) else json.dumps(request).encode()
        self.socket.sendall(struct.pack(">I", len(message)) + message)

    def receive(self):
        """The next answer, whole; None once the server has closed."""
        prefix = self._exactly(4)
        return None if prefix is None else json.loads(self._exactly(struct.unpack(">I", prefix)[0]))

    def ask(self, command, *args):
        """A command's answer, whole."""
        self.last += 1
        self.send({"id": self.last, "command": command, "args": list(args)})
        answer = self.receive()
        assert answer["id"] == self.last
        return answer

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                assert not data, "an answer was cut short"
                return None
            data += more
        return data
