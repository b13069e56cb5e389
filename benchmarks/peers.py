# SPDX-License-Identifier: Apache-2.0
"""What the guests' devices are used with: a disk whose content says where it is, and a server on the host's loopback."""
import socketserver
import struct
import threading

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
    """R: sends the pattern; S: receives as much, and answers with the bytes' sum; anything else is sent back."""
    stream = (PATTERN * (STREAMED // len(PATTERN) + 1))[:STREAMED]

    def handle(self):
        try:
            while asked := self.request.recv(1):
                if asked == b"R":
                    self.request.sendall(self.stream)
                elif asked == b"S":
                    self.request.sendall(bytes([self.sum_received() % 256]))
                else:
                    self.request.sendall(asked)
        except OSError:
            pass  # the guest has ended

    def sum_received(self):
        left, total = STREAMED, 0
        while left:
            got = self.request.recv(min(left, 1 << 20))
            if not got:
                raise OSError("cut off")
            left -= len(got)
            total += sum(got)
        return total


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


def server():
    return Server(("127.0.0.1", 0), Handler)
