"""The PROXY protocol as a boundary: who must send a header, what a bad, late or missing one costs, what a good one decides."""

import resource
import time

from lib import Fail, Server, Wire, check, equal, free_port, listener, marked, split_local, update, wait_until
from test_frontends import SIGNATURE, TRUSTED, proxy_v2
from test_management import Managed

V1 = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 25\r\n"


def refusals(s):
    """Reasons of all log lines about headers; each names the peer."""
    lines = [line for line in s.log().splitlines() if "proxy-header-refused" in line]
    for line in lines:
        check(" peer=127.0.0.1 reason=" in line, line)
    return [line.split(" reason=", 1)[1].strip('"') for line in lines]


def total(s, name):
    return sum(core[name] for core in s.api.stats())


def refused(s, reason):
    return sum(row["value"] for core in s.api.stats() for row in core["sessions_refused_total"] if row["reason"] == reason)


def test_one_line_for_every_bad_header():
    """Each malformed or cut off header: closed without a word, one line with peer and reason, counted. Connections that say nothing: none."""
    bad = {
        b"EHLO client.example.net\r\n": "no PROXY header where one is required",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 1\r\n": "version 1: wrong number of fields",
        b"PROXY TCP4 192.0.2.256 192.0.2.1 1 2\r\n": "version 1: malformed address",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 1 65536\r\n": "version 1: malformed port",
        b"PROXY TCP5 192.0.2.7 192.0.2.1 1 2\r\n": "version 1: unknown protocol",
        b"PROXY UNKNOWN" + b" x" * 60: "version 1: header too long",
        SIGNATURE + b"\x31": "version 2: unknown version",
        SIGNATURE + b"\x22": "version 2: unknown command",
        SIGNATURE + b"\x21\x12": "version 2: not TCP over IPv4 or IPv6",
        SIGNATURE + b"\x21\x41": "version 2: unknown address family or protocol",
        SIGNATURE + b"\x21\x11\0\x0b": "version 2: header shorter than its addresses",
        SIGNATURE + b"\x21\x11\xff\xff": "version 2: header too long",
        proxy_v2(tlvs=b"\x04\0\x09x"): "version 2: TLV longer than the header",
        proxy_v2(tlvs=b"\x03\0\x04abcd"): "version 2: CRC32C does not match",
    }
    with Managed(cores=1, settings=TRUSTED) as s:
        for number, (header, reason) in enumerate(bad.items(), 1):
            with Wire(s.port, first=header) as w:
                w.at_end()
            equal(wait_until(lambda: (lambda r: r if len(r) >= number else None)(refusals(s)), 10, f"a line for {header}")[number - 1:],
                  [reason], f"reasons of {header}")
        cut = [V1[:9], V1[:-1], proxy_v2()[:5], proxy_v2()[:20]]
        for header in cut:
            Wire(s.port, first=header).sock.close()
        for _ in range(20):
            Wire(s.port).sock.close()
        wanted = list(bad.values()) + ["closed within the header"] * len(cut)
        wait_until(lambda: refused(s, "proxy_header") == len(wanted) and total(s, "proxy_headers_awaited") == 0, 10, "all counted")
        equal(refusals(s), wanted, "reasons")
        equal([total(s, n) for n in ("sessions_accepted_total", "sessions_timed_out_total")], [0, 0], "sessions")


def test_a_header_has_five_seconds():
    """From the accept on, however it trickles in; the session's limits are no business of it."""
    with Managed(cores=1, settings=TRUSTED) as s:
        with Wire(s.port) as silent, Wire(s.port) as w:
            began = time.monotonic()
            try:
                for byte in b"PROXY UNKNOWN " + b"x" * 80:
                    w.send(bytes([byte]))
                    if refusals(s):
                        break
                    time.sleep(0.25)
            except OSError:
                pass
            w.at_end()
            silent.at_end()
            check(time.monotonic() - began > 4, "too early")
        equal(refusals(s), ["no complete header in time"] * 2, "reasons")
        equal([refused(s, "proxy_timeout"), total(s, "sessions_timed_out_total")], [2, 0], "counts")


def test_silent_proxies_take_no_session():
    """Connections that wait for their header count against no limit of sessions."""
    with Managed(cores=1, settings=TRUSTED | {"maxConnections": 2}, fields={"maxConnections": 2}) as s:
        silent = [Wire(s.port) for _ in range(40)]
        with Wire(s.port, first=V1) as a, Wire(s.port, first=proxy_v2()) as b:
            a.hello()
            b.hello()
            with Wire(s.port, first=V1) as w:
                w.then("421", "over the limit")
        wait_until(lambda: refused(s, "listener_full") == 1, 10, "the third is counted")
        for w in silent:
            w.sock.close()


def test_waiting_proxies_have_a_limit():
    """The oldest connection that waits makes room for one more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    silent = []
    try:
        with Managed(cores=1, settings=TRUSTED) as s:
            wait_until(lambda: s.api.stats()[0]["ready"], 20, "the server")
            for _ in range(20):
                silent += [Wire(s.port) for _ in range(1100)]
                if "too many connections wait for their header" in refusals(s):
                    break
                while len(silent) > 1100:
                    silent.pop(0).sock.close()
            check("too many connections wait for their header" in refusals(s), "no limit")
            with Wire(s.port, first=V1) as w:
                w.hello()
            check(total(s, "proxy_headers_awaited") <= 1024, "too many wait")
            check(refused(s, "proxy_waits") > 0, "not counted")
    finally:
        for w in silent:
            w.sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_trust_nobody():
    """A listener's own networks replace the system's; the address that no peer has means nobody, and acts on the next connection."""
    with Managed(settings=TRUSTED) as s:
        port = free_port()
        own = s.api.create("NetworkListener", name="own", bind={f"127.0.0.1:{port}": True})
        nobody = {"0.0.0.0": True}

        def header_first(to):
            with Wire(to, first=b"NOOP\r\n") as w:
                try:
                    w.then("220")
                    return False
                except (Fail, OSError):
                    return True
        equal([header_first(s.port), header_first(port)], [True, True], "the system's setting for both")
        s.api.update("NetworkListener", own, overrideProxyTrustedNetworks=nobody)
        equal([header_first(s.port), header_first(port)], [True, False], "nobody on one")
        with Wire(port, first=V1) as w:
            w.then("220")
            w.then("500", "a header from somebody who is not trusted")
        s.api.update("NetworkListener", own, overrideProxyTrustedNetworks=nobody | {"127.0.0.0/8": True})
        equal([header_first(s.port), header_first(port)], [True, True], "somebody after all")
        s.api.update("NetworkListener", own, overrideProxyTrustedNetworks={})
        equal([header_first(s.port), header_first(port)], [True, True], "again as the system")


def test_trusted_networks_are_not_blocked():
    """Whom the listener trusts is served though blocked, by its own setting as by the system's; the clients behind are not."""
    block = [{"@type": "create", "object": "BlockedIp", "value": {f"b{i}": {"address": a}}}
             for i, a in enumerate(("10.9.0.0/16", "203.0.113.0/24"))]
    trusted = {"127.0.0.0/8": True, "10.9.0.0/24": True}
    for where in ({"settings": {"proxyTrustedNetworks": trusted}}, {"fields": {"overrideProxyTrustedNetworks": trusted}}):
        with Managed(cores=1, extra=block, **where) as s:
            for client, served in (("10.9.0.5", True), ("10.9.1.5", False), ("203.0.113.7", False), ("203.0.112.7", True)):
                with Wire(s.port, first=proxy_v2(client)) as w:
                    if served:
                        w.then("220", client)
                    else:
                        w.at_end()
            equal(refused(s, "blocked"), 2, "blocked")


def test_the_real_destination():
    """local_ip and local_port are those that the client connected to, from the header or of the connection; Received names the former."""
    limit = update("MtaStageRcpt", maxRecipients={
        "match": {"0": {"if": "local_ip == '192.0.2.1' && local_port == 25", "then": "1"},
                  "1": {"if": "local_ip == '127.0.0.1' && remote_ip == '127.0.0.1'", "then": "2"}}, "else": "3"})

    def taken(w):
        w.hello()
        w.expect("MAIL FROM:<a@example.net>", "250")
        count = 0
        while w.cmd(f"RCPT TO:<u{count}@example.org>").startswith("250"):
            count += 1
        return count
    users = ["alice"] + [f"u{i}" for i in range(5)]
    port = free_port()
    with Server(settings=TRUSTED, users=users, extra=[limit], listeners={"l": listener(port, bind={f"0.0.0.0:{port}": True})}) as s:
        for header, wanted in ((proxy_v2("203.0.113.7"), 1), (proxy_v2(command=0), 2), (b"PROXY UNKNOWN\r\n", 2),
                               (proxy_v2("2001:db8::7"), 3), (V1.replace(b" 25", b" 26"), 3)):
            with Wire(port, first=header) as w:
                equal(taken(w), wanted, f"recipients behind {header}")
        with Wire(port, first=proxy_v2("203.0.113.7")) as w:
            w.hello()
            w.message("alice@example.org", marked())
        received = " ".join(split_local(s.delivered()[0])[2].split())
        check("([203.0.113.7]) by mx.example.org ([192.0.2.1]) with ESMTP" in received, received)
