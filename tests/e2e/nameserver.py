"""A DNS server for the tests, and a server process whose resolver asks it."""

import ctypes
import os
import random
import socket
import struct
import threading
import time

from lib import Skip, update, work_folder

CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 4096, 16384, 1 << 18
IN = 1
TYPES = {"A": 1, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}
NAMES = {number: name for name, number in TYPES.items()}
SERVFAIL, NXDOMAIN, TRUNCATED, AUTHENTIC = 2, 3, 0x200, 0x20


def encode_name(name):
    labels = [label.encode() for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def encode_data(kind, value):
    if kind == "A":
        return socket.inet_aton(value)
    if kind == "AAAA":
        return socket.inet_pton(socket.AF_INET6, value)
    if kind == "MX":
        return struct.pack("!H", value[0]) + encode_name(value[1])
    if kind == "TXT":
        return bytes([len(value)]) + value.encode()
    return encode_name(value)


def encode_record(name, kind, value, ttl):
    data = encode_data(kind, value)
    return encode_name(name) + struct.pack("!HHIH", TYPES[kind], IN, ttl, len(data)) + data


SOA = b"\0" + struct.pack("!HHIH", 6, IN, 1, 22) + b"\0\0" + struct.pack("!IIIII", 1, 1, 1, 1, 1)


class NameServer:
    """Answers from `zone`, {name: {type: [value, ...]}}; without one, every A query with 127.0.0.1.
    `mode` changes that: answer, silent, servfail, nxdomain, truncate (by UDP), lower (the case of
    names is lost by UDP), forge (a wrong answer with a wrong id comes first)."""

    def __init__(self, zone=None, address=None, port=53, ttl=0):
        self.zone, self.ttl, self.port = zone, ttl, port
        self.mode, self.asked, self.questions, self.by_tcp = "answer", 0, [], 0
        self.lock = threading.Lock()
        self.bind(address)
        self.threads = [threading.Thread(target=serve, daemon=True)
                        for serve in (self.run_udp, self.run_tcp)]
        for thread in self.threads:
            thread.start()

    def bind(self, address):
        for _ in range(20):
            self.address = address or f"127.{random.randrange(1, 255)}.{random.randrange(256)}.53"
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.tcp = socket.socket()
            self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                self.sock.bind((self.address, self.port))
                self.tcp.bind((self.address, self.port))
                self.tcp.listen(64)
                return
            except PermissionError:
                raise Skip("a name server on port 53 needs root") from None
            except OSError:
                self.sock.close()
                self.tcp.close()
        raise Skip("no loopback address for a name server")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for sock in (self.sock, self.tcp):
            try:
                sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in it
            except OSError:
                pass
            sock.close()
        for thread in self.threads:
            thread.join(5)

    def resolver(self, **fields):
        """The line of a plan that makes ringmx ask this server."""
        return update("DnsResolver", **{"@type": "Custom",
                                        "servers": {f"{self.address}:{self.port}": True},
                                        "timeout": 1000} | fields)

    def run_udp(self):
        while True:
            try:
                query, client = self.sock.recvfrom(4096)
            except OSError:
                return
            if len(query) < 17:  # woken up to end
                return
            with self.lock:
                mode = self.mode
                self.asked += 1
            if mode == "silent":
                continue
            if mode == "forge":
                lie = bytearray(self.reply(query, "answer"))
                lie[0] ^= 0xff
                lie[-4:] = socket.inet_aton("127.0.0.66")
                self.sock.sendto(bytes(lie), client)
            self.sock.sendto(self.reply(query, mode, True), client)

    def run_tcp(self):
        while True:
            try:
                sock, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self.serve_tcp, args=(sock,), daemon=True).start()

    def serve_tcp(self, sock):
        with sock, sock.makefile("rb") as stream:
            head = stream.read(2)
            if len(head) == 2:
                reply = self.reply(stream.read(struct.unpack("!H", head)[0]), self.mode)
                with self.lock:
                    self.by_tcp += 1
                reply = struct.pack("!H", len(reply)) + reply
                sock.sendall(reply[:-10])
                time.sleep(0.05)  # in two pieces
                sock.sendall(reply[-10:])

    def records(self, name, kind):
        """(rcode, records) with the aliases on the way."""
        if self.zone is None:
            return 0, [(name, "A", "127.0.0.1")] if kind == "A" else []
        found = []
        for _ in range(10):
            types = self.zone.get(name)
            if types is None:
                return (0 if found else NXDOMAIN), found
            if kind in types or "CNAME" not in types:
                return 0, found + [(name, kind, value) for value in types.get(kind, [])]
            found.append((name, "CNAME", types["CNAME"][0]))
            name = types["CNAME"][0]
        return 0, found

    def reply(self, query, mode, udp=False):
        end = query.index(b"\0", 12) + 5  # of the question
        kind = NAMES.get(struct.unpack("!H", query[end - 4:end - 2])[0], "?")
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        name = ".".join(labels)
        with self.lock:
            self.questions.append((name, kind))
        code, records = self.records(name, kind)
        if mode in ("servfail", "nxdomain"):
            code, records = {"servfail": SERVFAIL, "nxdomain": NXDOMAIN}[mode], []
        flags = 0x8180 | code | AUTHENTIC
        if mode == "truncate" and udp:
            flags, records = flags | TRUNCATED, []
        question = query[12:end].lower() if mode == "lower" and udp else query[12:end]
        answers = b"".join(encode_record(*record, self.ttl) for record in records)
        negative = not any(record[1] == kind for record in records)
        return query[:2] + struct.pack("!HHHHH", flags, 1, len(records), int(negative), 0) + \
            question + answers + (SOA if negative else b"")

    def use(self):
        """In a new process: a mount namespace of its own in which the system's resolver configuration
        names this server."""
        folder = work_folder()
        files = {"/etc/resolv.conf": f"nameserver {self.address}\noptions timeout:3 attempts:2\n",
                 "/etc/hosts": "127.0.0.1 localhost\n127.0.0.1 known.relay.example\n"}
        libc = ctypes.CDLL(None, use_errno=True)

        def done(result):
            if result != 0:
                raise OSError(ctypes.get_errno(), "no mount namespace")
        done(libc.unshare(CLONE_NEWNS))
        done(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
        for path, text in files.items():
            own = os.path.join(folder, os.path.basename(path))
            with open(own, "w", encoding="ascii") as f:
                f.write(text)
            done(libc.mount(own.encode(), os.path.realpath(path).encode(), None, MS_BIND, None))
