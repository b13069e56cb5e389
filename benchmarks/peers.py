# SPDX-License-Identifier: Apache-2.0
"""What the guests' devices are used with: a disk whose content says where it is, and a server on the host's loopback."""
import socketserver
import struct
import subprocess
import sys

import machines

SECTOR = 4096
DISK_SECTORS = (64 << 20) // SECTOR
STREAMED = 8 << 20
PATTERN = bytes(range(251))


def make_disk(path):
    """In each 4 KiB their number, plus one."""
    with open(path, "wb") as disk:
        for number in range(DISK_SECTORS):
            disk.write(struct.pack("<Q", number + 1).ljust(SECTOR, b"\0"))


class Handler(socketserver.BaseRequestHandler):
    """R: sends the pattern; S: receives it, and says whether it did, by 1 or 0; anything else is sent back."""
    stream = (PATTERN * (STREAMED // len(PATTERN) + 1))[:STREAMED]

    def handle(self):
        try:
            while asked := self.request.recv(1):
                if asked == b"R":
                    self.request.sendall(self.stream)
                elif asked == b"S":
                    self.request.sendall(bytes([self.receive() == self.stream]))
                else:
                    self.request.sendall(asked)
        except OSError:
            pass  # the guest has ended

    def receive(self):
        got = bytearray(STREAMED)
        view = memoryview(got)
        while view:
            size = self.request.recv_into(view)
            if size == 0:
                raise OSError("cut off")
            view = view[size:]
        return got


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


class ServerProcess:
    """A process of its own, as fast as the guests. Its port is the context's value."""

    def __enter__(self):
        # pylint: disable=consider-using-with,subprocess-popen-preexec-fn
        self.process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, preexec_fn=machines.raise_priority)
        return int(self.process.stdout.readline())

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


if __name__ == "__main__":
    with Server(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
