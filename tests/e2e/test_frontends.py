"""PROXY protocol, HAProxy, and Debian's smtp-source and smtp-sink."""

import contextlib
import csv
import ipaddress
import os
import socket
import ssl
import struct
import subprocess

import lib
from lib import (Fail, Server, Wire, check, equal, free_port, marked, need_program,
                 postfix_program, split_local, wait_until)
from test_management import Managed

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


def test_proxy_then_implicit_tls():
    """PROXY header and the beginning of the handshake in one piece, as a proxy sends them whose client speaks first."""
    with Server(settings=TRUSTED, fields={"tlsImplicit": True}) as s, Wire(s.port) as w:
        heard, said = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = lib.no_verify().wrap_bio(heard, said)
        first = proxy_v2()
        while True:
            try:
                banner = tls.read(200)
                break
            except ssl.SSLWantReadError:
                w.send(first + said.read())
                first = b""
                heard.write(w.sock.recv(65536))
        lib.starts(banner.decode(), "220 ", "banner")


@contextlib.contextmanager
def haproxy(server, listen, servers, defaults=""):
    """HAProxy in front of a server; gives its port and what it says of every server line."""
    program = need_program("haproxy")
    config, control, log = (os.path.join(server.folder, f"haproxy.{end}") for end in ("cfg", "sock", "log"))
    port = free_port()
    at = f"[{listen}]" if ":" in listen else listen
    with open(config, "w") as f:
        f.write(f"global\n  stats socket {control}\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n"
                f"  timeout server 30s\n  timeout check 5s\n  balance first\n{defaults}"
                f"listen mx\n  bind {at}:{port}\n"
                + "".join(f"  server {name} 127.0.0.1:{server.port} {rest}\n" for name, rest in servers.items()))

    def status():
        """{server: its state and its last check}, as `show stat` has it."""
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(10)
            asked.connect(control)
            asked.sendall(b"show stat\n")
            text = b"".join(iter(lambda: asked.recv(65536), b"")).decode()
        rows = csv.DictReader(text.lstrip("# ").splitlines())
        return {row["svname"]: (row["status"], row["check_status"].lstrip("* ")) for row in rows if row["svname"] in servers}

    with open(log, "wb") as f:
        proxy = subprocess.Popen([program, "-f", config, "-db"], stdout=f, stderr=f)
    try:
        def up():
            if proxy.poll() is not None:
                with open(log) as said:
                    raise Fail(f"haproxy ended: {said.read()}")
            try:
                return status()
            except OSError:
                return None
        wait_until(up, 10, "haproxy listens")
        yield port, status
    finally:
        proxy.terminate()
        proxy.wait(10)


def through_haproxy(version, listen="127.0.0.1", client="127.0.0.77", shown="[127.0.0.77]"):
    """Client and destination that only the header can tell."""
    with Server(settings=TRUSTED) as s, haproxy(s, listen, {"ringmx": version}) as (port, _):
        w = Wire.__new__(Wire)
        w.sock, w.buffer = socket.create_connection((listen, port), 20, (client, 0)), b""
        with w:
            w.hello()
            w.message("alice@example.org", marked())
        received = split_local(s.delivered()[0])[2]
        check(f"({shown})" in received, received)
        here = f"[IPv6:{listen}]" if ":" in listen else f"[{listen}]"
        check(f"by mx.example.org ({here}) with" in " ".join(received.split()), received)
        wait_until(lambda: f"client={client} " in s.log(), 5, "the client address in the log")


def test_haproxy_v1():
    """Through HAProxy with send-proxy the client's own address is in Received and log."""
    through_haproxy("send-proxy")


def test_haproxy_v2():
    """Through HAProxy with send-proxy-v2, every TLV that it knows and a CRC32C the same."""
    through_haproxy("send-proxy-v2")
    through_haproxy("send-proxy-v2 proxy-v2-options crc32c,unique-id,ssl,cert-cn,authority")


def test_haproxy_ipv6():
    """Over IPv6 as well: what the proxy was connected with counts, not how it comes to us."""
    for version in ("send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c"):
        through_haproxy(version, "::1", "::1", "[IPv6:::1]")


def test_haproxy_health_checks():
    """Checks with and without a header, of the connection alone or in SMTP, find the server up and leave no line in its log."""
    checks = {
        "v1": ("check send-proxy", "", "L4OK"), "v2": ("check send-proxy-v2", "", "L4OK"),
        "bare": ("check port {port}", "", "L4OK"),
        "smtp1": ("check send-proxy", "  option smtpchk EHLO check.example.net\n", "L7OK"),
        "smtp2": ("check send-proxy-v2 proxy-v2-options crc32c", "  option smtpchk EHLO check.example.net\n", "L7OK"),
    }
    for name, (how, defaults, wanted) in checks.items():
        with Managed(cores=1, settings=TRUSTED) as s:
            wait_until(lambda: "queue-recovered" in s.log(), 20, "the end of the start")
            before = s.log()
            how = how.format(port=s.port) + " inter 100ms fastinter 100ms"
            with haproxy(s, "127.0.0.1", {"ringmx": how}, defaults) as (_, status):
                wait_until(lambda: status()["ringmx"] == ("UP", wanted), 20, f"{name}: {wanted}, not {status()}")
                if name != "bare":
                    wait_until(lambda: sum(c["sessions_accepted_total"] for c in s.api.stats()) >= 5, 20, f"{name}: checks")
                equal(status()["ringmx"], ("UP", wanted), name)
            wait_until(lambda: sum(c["sessions"] + c["proxy_headers_awaited"] for c in s.api.stats()) == 0, 20,
                       f"{name}: nothing is left open")
            equal(s.log()[len(before):], "", f"{name}: log")


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
