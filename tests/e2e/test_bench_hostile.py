"""ringmx-bench send --hostile: where `reset` resets, seen from the other end, and what it leaves at ringmx; `bare-lf` against servers
that can be talked into a second message, and against those that cannot."""

import json
import socket
import threading
import time

import lib
from lib import Server, check, equal, wait_until
from test_bench import bench
from test_bench_send import TO_ALICE, send
from test_management import Managed
from test_slow import total

STAGES = ("connect", "banner", "ehlo", "mail", "rcpt", "data", "body", "end", "quit", "starttls", "handshake", "bdat")
NOT_EVERYWHERE = {"starttls", "handshake", "bdat"}
ACCEPTED = b"<220>"  # in what was heard, after the reply to STARTTLS


class Player:
    """A small SMTP server, a thread for each connection; `heard` is what each client said, and whether it ended with a reset."""

    def __init__(self, extensions=(), ends=(b".\r\n",), smuggled=b"250 ok\r\n"):
        self.extensions, self.ends = extensions, ends
        self.smuggled = smuggled  # the answer to MAIL in a content
        self.heard = []

    def __enter__(self):
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *unused):
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()

    def accept(self):
        try:
            while True:
                threading.Thread(target=self.session, args=(self.listening.accept()[0],), daemon=True).start()
        except OSError:  # closed
            pass

    def session(self, sock):
        said = bytearray()
        try:
            with sock, sock.makefile("rb", buffering=0) as lines:
                sock.sendall(b"220 player\r\n")
                self.talk(sock, lines, said)
            self.heard.append((bytes(said), False))
        except (ConnectionResetError, BrokenPipeError):
            self.heard.append((bytes(said), True))
        except OSError:
            pass

    def talk(self, sock, lines, said):
        """Line by line. Without a buffer, so that nothing that was read is lost when the reset comes."""
        in_data, sender = False, False
        while line := lines.readline():
            said += line
            word = line.split()[0].upper() if line.split() else b""
            if in_data:
                in_data = line not in self.ends or not said.endswith(b"\n" + line)
                if not in_data:
                    sock.sendall(b"250 taken\r\n")
            elif word == b"EHLO":
                names = [b"player", *self.extensions]
                sock.sendall(b"".join(b"250%s%s\r\n" % (b" " if name is names[-1] else b"-", name) for name in names))
            elif word == b"MAIL":
                answer = self.smuggled if b"smuggled" in line else b"250 ok\r\n"
                sender = answer.startswith(b"250")
                sock.sendall(answer)
            elif word in (b"RCPT", b"DATA"):
                in_data = sender and word == b"DATA"
                sock.sendall(b"354 go on\r\n" if in_data else b"250 ok\r\n" if sender else b"503 no sender\r\n")
            elif word in (b"STARTTLS", b"BDAT"):
                if word == b"STARTTLS":
                    time.sleep(0.02)
                    sock.sendall(b"220 go on\r\n")  # raises when there was a reset without waiting for it
                    said += ACCEPTED
                while part := sock.recv(4096):
                    said += part
            elif word == b"QUIT":
                sock.sendall(b"221 bye\r\n")  # the client is to end it: now, or a reset would be missed
            else:
                sock.sendall(b"500 what?\r\n")


def reset(port, seconds=3):
    return send(port, "--sessions", "0", "--time", str(seconds), "--hostile", "reset:12")["hostile"]["reset"]


def reset_heard(player, count):
    """What was said on the connections that ended with a reset, of which there are so many; those of the run's end are closed."""
    wait_until(lambda: sum(was_reset for _, was_reset in player.heard) >= count, 10, f"the end of {count} connections")
    return [said for said, was_reset in player.heard if was_reset]


def test_bench_hostile_reset_of_tls_and_chunks():
    """What the other end of such a connection has got before the reset: STARTTLS, then nothing or a part of a ClientHello; a part of
    the chunk that BDAT announced. Each only where it is offered, in whichever case and at whichever line; else it is counted."""
    with Player((b"SIZE 1000", b"starttls", b"CHUNKING")) as player:
        r = reset(player.port)
        equal((set(r["resets"]), r["not_offered"]), (set(STAGES), 0), "stages of the resets, not offered")
        heard = reset_heard(player, sum(r["resets"].values()))
    tls = [said.partition(ACCEPTED)[2] for said in heard if ACCEPTED in said]
    hellos = [said for said in tls if said]
    equal((len(tls) - len(hellos), len(hellos)), (r["resets"]["starttls"], r["resets"]["handshake"]), "without, with a ClientHello")
    for hello in hellos:
        check(hello.startswith(b"\x16\x03\x01") and hello[5:6] == b"\1" and hello[9:11] == b"\x03\x03", f"no ClientHello: {hello}")
        record, body = int.from_bytes(hello[3:5], "big"), int.from_bytes(hello[6:9], "big")
        check(record == body + 4 and 11 < len(hello) < record + 5, f"a part of one record: {hello}")
    chunks = [said for said in heard if b"BDAT" in said]
    equal(len(chunks), r["resets"]["bdat"], "with a chunk")
    for said in chunks:
        envelope, _, rest = said.partition(b"BDAT ")
        size, _, part = rest.partition(b"\r\n")
        check(envelope.endswith(b"RCPT TO:<alice@example.org>\r\n") and 0 < len(part) < int(size), f"no part of a chunk: {said}")

    with Player((b"XSTARTTLS", b"CHUNKING-NOT", b"SIZE STARTTLS")) as player:
        r = reset(player.port)
        equal(set(r["resets"]), set(STAGES) - NOT_EVERYWHERE, "stages of the resets without extensions")
        check(r["not_offered"] >= 3, f"not offered: {r}")
        check(not [said for said, _ in player.heard if b"STARTTLS" in said or b"BDAT" in said], "what is not offered was used")
        said = bench("send", "--to", f"127.0.0.1:{player.port}", *TO_ALICE, "--sessions", "0", "--time", "1", "--hostile", "reset:12")
        check("resets at stages that were not offered: " in said.stdout, f"text: {said.stdout}")


def test_bench_hostile_reset_leaves_nothing():
    """All stages at ringmx with STARTTLS and CHUNKING, many at a time: it goes on, and has no session, and no place, of them left."""
    with Managed(cores=2, fields={"useTls": True}) as s:
        before = total(s, "sessions_accepted_total")
        r = send(s.port, "--time", "4", "--rate", "50", "--hostile", "reset:60")
        equal((r["errors"], r["accepted"] > 0), (0, True), "errors of the load, and whether it got on")
        h = r["hostile"]["reset"]
        equal({stage: h["resets"].get(stage, 0) > 0 for stage in STAGES}, dict.fromkeys(STAGES, True), f"stages that were reached: {h}")
        equal((h["not_offered"], h["failed"]), (0, 0), "not offered, failed")
        check(total(s, "sessions_accepted_total") - before > 60, "sessions that the server counts")
        wait_until(lambda: total(s, "sessions") == 0, 10, "the end of all sessions")
        closed = sum(row["value"] for core in s.api.stats() for row in core["tls_server_handshakes_failed_total"]
                     if row["reason"] == "closed")
        cut = h["resets"]["starttls"] + h["resets"]["handshake"]
        check(cut <= closed <= cut + 60, f"{closed} handshakes that were cut off, {cut} resets")  # and what the run's end cut off
        with s.wire() as w:
            equal(total(s, "sessions"), 1, "the one session that there is")
            w.expect("NOOP", "250")
        good = send(s.port, "--messages", "20", "--tls", "starttls")
        equal((good["accepted"], good["errors"]), (20, 0), "messages afterwards")
        equal(s.process.poll(), None, "the server ended")


def smuggle(port, *more):
    return bench("send", "--to", f"127.0.0.1:{port}", *TO_ALICE, "--sessions", "0", "--time", "1", "--hostile", "bare-lf:2", "--json",
                 "--quiet", *more)


def test_bench_hostile_smuggling_decides():
    """A server that takes LF . LF for the end, and so answers what stands behind it, well or ill: exit code 1, and it is said."""
    bare = (b".\r\n", b".\n")
    for answer in (b"250 ok\r\n", b"550 not from there\r\n"):
        for more in ((), ("--assert", "errors=0")):
            with Player(ends=bare, smuggled=answer) as player:
                done = smuggle(player.port, *more)
            h = json.loads(done.stdout)["hostile"]["bare-lf"]
            equal((done.returncode, h["smuggled"] > 0), (1, True), f"exit code, smuggled with {answer} {more}: {h}")
            check(f"on {h['smuggled']} connections the server answered commands" in done.stderr, f"said: {done.stderr}")


def test_bench_hostile_smuggling_not_possible():
    """Servers that keep to CR LF . CR LF, and ringmx whether it refuses bare LF or makes CR LF of it: 0, and exit code 0."""
    def none(port, taken, who):
        done = smuggle(port)
        h = json.loads(done.stdout)["hostile"]["bare-lf"]
        equal((done.returncode, done.stderr, h["smuggled"], h["taken"] > 0), (0, "", 0, taken), f"{who}: code, said, smuggled, taken {h}")
        check(h["connections"] > 2, f"{who}: {h}")
    with Player() as player:
        none(player.port, True, "a server that takes it as it is")
    for how, taken in (("refuse", False), ("normalize", True)):
        with Server(cores=1, extra=[lib.update("MtaStageData", bareNewlines=how)]) as server:
            none(server.port, taken, f"ringmx, {how}")
