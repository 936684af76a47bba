"""A DNS server for the tests, and a server process whose resolver asks it."""

import ctypes
import os
import random
import socket
import struct
import threading

from lib import Skip, work_folder

CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 4096, 16384, 1 << 18
A, IN = 1, 1
SERVFAIL, NXDOMAIN = 2, 3


class NameServer:
    """Answers every A query with 127.0.0.1, or as `mode` says: answer, silent, servfail, nxdomain."""

    def __init__(self):
        self.mode, self.asked = "answer", 0
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for _ in range(20):
            self.address = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.53"
            try:
                self.sock.bind((self.address, 53))
                break
            except PermissionError:
                raise Skip("a name server on port 53 needs root") from None
            except OSError:
                continue
        folder = work_folder()
        self.files = {"/etc/resolv.conf": f"nameserver {self.address}\noptions timeout:3 attempts:2\n",
                      "/etc/hosts": "127.0.0.1 localhost\n", "/etc/nsswitch.conf": "hosts: files dns\n"}
        for path, text in self.files.items():
            self.files[path] = os.path.join(folder, os.path.basename(path))
            with open(self.files[path], "w", encoding="ascii") as f:
                f.write(text)
        threading.Thread(target=self.run, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.sock.close()

    def run(self):
        while True:
            try:
                query, client = self.sock.recvfrom(4096)
            except OSError:
                return
            self.asked += 1
            if self.mode != "silent":
                self.sock.sendto(self.reply(query), client)

    def reply(self, query):
        end = query.index(b"\0", 12) + 5  # of the question
        kind = struct.unpack("!H", query[end - 4:end - 2])[0]
        code = {"servfail": SERVFAIL, "nxdomain": NXDOMAIN}.get(self.mode, 0)
        answer = b"\xc0\x0c" + struct.pack("!HHIH", A, IN, 0, 4) + socket.inet_aton("127.0.0.1")
        answers = int(code == 0 and kind == A)
        return query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, answers, 0, 0) + query[12:end] + \
            answer * answers

    def use(self):
        """In a new process: a mount namespace of its own in which the resolver asks this server."""
        libc = ctypes.CDLL(None, use_errno=True)

        def done(result):
            if result != 0:
                raise OSError(ctypes.get_errno(), "no mount namespace")
        done(libc.unshare(CLONE_NEWNS))
        done(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
        for path, own in self.files.items():
            done(libc.mount(own.encode(), os.path.realpath(path).encode(), None, MS_BIND, None))
