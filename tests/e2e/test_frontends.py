"""PROXY protocol, HAProxy, and Debian's smtp-source and smtp-sink."""

import ipaddress
import os
import socket
import struct
import subprocess

from lib import (Server, Wire, check, equal, free_port, marked, need_program,
                 postfix_program, split_local, wait_until)

TRUSTED = {"proxyTrustedNetworks": {"127.0.0.0/8": True}}
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def proxy_v2(source="192.0.2.7", family=None, command=1, tlvs=b""):
    address = ipaddress.ip_address(source)
    if family is None:
        family = 0x11 if address.version == 4 else 0x21
    other = ipaddress.ip_address("192.0.2.1" if address.version == 4 else "2001:db8::1")
    body = b"" if family == 0 else address.packed + other.packed + struct.pack("!HH", 40000, 25)
    body += tlvs
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack("!H", len(body)) + body


def received_of(server, header, split=False):
    """Received of a message sent behind a PROXY header."""
    with Wire(server.port) as w:
        if split:
            for byte in header:
                w.send(bytes([byte]))
        else:
            w.send(header)
        w.hello()
        w.message("alice@example.org", marked())
    wait_until(server.mailbox, 10, "delivery")
    [message] = server.mailbox()
    folder = os.path.join(server.data, "mail/example.org/alice/new")
    for name in os.listdir(folder):
        os.remove(os.path.join(folder, name))
    return split_local(message)[2]


def test_proxy_headers():
    """PROXY v1 and v2 from a trusted network: the client address is the one of the header."""
    with Server(settings=TRUSTED) as s:
        for header, wanted in (
                (b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 25\r\n", "[192.0.2.7]"),
                (b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 25\r\n", "[IPv6:2001:db8::7]"),
                (b"PROXY UNKNOWN\r\n", "[127.0.0.1]"),
                (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "[127.0.0.1]"),
                (proxy_v2(), "[192.0.2.7]"),
                (proxy_v2(tlvs=b"\x04\0\x20" + bytes(32)), "[192.0.2.7]"),
                (proxy_v2("2001:db8::7"), "[IPv6:2001:db8::7]"),
                (proxy_v2(family=0, command=0), "[127.0.0.1]"),
                (proxy_v2(command=0), "[127.0.0.1]")):
            for split in (False, True):
                received = received_of(s, header, split)
                check(f"({wanted})" in received, f"{header!r}: {received}")


def test_proxy_missing():
    """A connection from a trusted network without a valid header is dropped without a word."""
    with Server(settings=TRUSTED) as s:
        for first in (b"EHLO client.example.net\r\n", b"PROXY TCP4 192.0.2.7\r\n",
                      b"PROXY TCP4 192.0.2.999 192.0.2.1 1 2\r\n", b"PROXY " + b"x" * 200 + b"\r\n",
                      SIGNATURE + b"\x31\x11\0\x0c" + bytes(12), SIGNATURE + b"\x21\x11\0\x02xx",
                      b"\r\n\r\n\0\r\nNOPE\n"):
            with Wire(s.port) as w:
                w.send(first)
                w.at_end()
        with Wire(s.port, seconds=1) as w:
            # No banner before the header.
            try:
                got = w.fill()
            except TimeoutError:
                got = None
            check(got is None, f"bytes before the header: {got!r}")
        received_of(s, proxy_v2())


def test_proxy_deadline():
    """A trusted peer that sends no header at all is dropped after a deadline."""
    with Server(settings=TRUSTED) as s:
        with Wire(s.port, seconds=40) as w:
            w.send(b"PROXY TCP4 ")
            w.at_end()


def test_proxy_untrusted():
    """From anyone else a PROXY header is not looked at and headerless SMTP works."""
    with Server(settings={"proxyTrustedNetworks": {"192.0.2.0/24": True}}) as s:
        with Wire(s.port) as w:
            w.then("220")
            w.expect("PROXY TCP4 192.0.2.7 192.0.2.1 40000 25", "500 5.5.2")
            w.expect("EHLO client.example.net", "250-")
            w.message("alice@example.org", marked())
        check("([127.0.0.1])" in split_local(s.delivered()[0])[2], "wrong address")


def test_proxy_by_listener():
    """overrideProxyTrustedNetworks takes the place of the system's setting."""
    with Server(fields={"overrideProxyTrustedNetworks": {"127.0.0.1": True}}) as s:
        check("([192.0.2.7])" in received_of(s, proxy_v2()), "wrong address")


def test_proxy_then_tls():
    """PROXY header, then STARTTLS."""
    with Server(settings=TRUSTED) as s:
        with Wire(s.port) as w:
            w.send(proxy_v2())
            w.hello()
            w.expect("STARTTLS", "220")
            w.start_tls()
            w.expect("EHLO client.example.net", "250-")
            w.message("alice@example.org", marked())
        received = split_local(s.delivered()[0])[2]
        check("([192.0.2.7])" in received and "ESMTPS" in received, received)


def through_haproxy(version):
    program = need_program("haproxy")
    with Server(settings=TRUSTED) as s:
        port = free_port()
        config = os.path.join(s.folder, "haproxy.cfg")
        with open(config, "w") as f:
            f.write("defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n"
                    f"  timeout server 30s\nlisten mx\n  bind 127.0.0.1:{port}\n"
                    f"  server ringmx 127.0.0.1:{s.port} {version}\n")
        proxy = subprocess.Popen([program, "-f", config, "-db"], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        try:
            def up():
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    return True
                except OSError:
                    return False
            wait_until(up, 10, "haproxy listens")
            # A client address that only the header can tell.
            sock = socket.create_connection(("127.0.0.1", port), 20, ("127.0.0.77", 0))
            w = Wire.__new__(Wire)
            w.sock, w.buffer = sock, b""
            with w:
                w.hello()
                w.message("alice@example.org", marked())
            check("([127.0.0.77])" in split_local(s.delivered()[0])[2],
                  split_local(s.mailbox()[0])[2])
            wait_until(lambda: "client=127.0.0.77" in s.log(), 5, "the client address in the log")
        finally:
            proxy.terminate()
            proxy.wait(10)


def test_haproxy_v1():
    """Through HAProxy with send-proxy the client's own address is in Received and log."""
    through_haproxy("send-proxy")


def test_haproxy_v2():
    """Through HAProxy with send-proxy-v2 the client's own address is in Received and log."""
    through_haproxy("send-proxy-v2")


def test_smtp_source():
    """smtp-source delivers 500 messages over 10 sessions, with and without kept connections."""
    program, environment = postfix_program("smtp-source")
    for kept in ([], ["-d"]):
        with Server() as s:
            done = subprocess.run([program, "-s", "10", "-m", "500", "-l", "4096", *kept, "-f",
                                   "sender@example.net", "-t", "alice@example.org",
                                   f"inet:127.0.0.1:{s.port}"], env=environment, timeout=60,
                                  capture_output=True, text=True)
            equal(done.returncode, 0, f"exit code of smtp-source ({done.stderr})")
            s.delivered(500, seconds=30)


def test_smtp_sink():
    """smtp-sink takes relayed mail over SMTP and over LMTP."""
    program, environment = postfix_program("smtp-sink")
    source, _ = postfix_program("smtp-source")
    for protocol, flags in (("smtp", []), ("lmtp", ["-L"])):
        port = free_port()
        with Server(relay=port, relay_fields={"protocol": protocol}) as s:
            user = ["-u", "nobody"] if os.getuid() == 0 else []
            sink = subprocess.Popen([program, *user, *flags, "-v", f"inet:127.0.0.1:{port}", "100"],
                                    env=environment, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL)
            try:
                def up():
                    check(sink.poll() is None, f"smtp-sink ended with {sink.returncode}")
                    try:
                        socket.create_connection(("127.0.0.1", port), 1).close()
                        return True
                    except OSError:
                        return False
                wait_until(up, 10, "smtp-sink listens")
                done = subprocess.run([source, "-s", "5", "-m", "200", "-l", "4096", "-f",
                                       "sender@example.net", "-t", "bob@example.org",
                                       f"inet:127.0.0.1:{s.port}"], env=environment, timeout=60,
                                      capture_output=True, text=True)
                equal(done.returncode, 0, f"exit code of smtp-source ({done.stderr})")
                wait_until(lambda: s.log().count(" delivered ") == 200, 20, "200 deliveries")
                s.stop()
                equal(s.queue().strip(), "0 messages", "queue")
            finally:
                sink.terminate()
                sink.wait(10)
