"""How many connections one client may have: who is meant, what it is told, and who is not limited."""

import os
import socket
import subprocess
import time

import lib
from lib import Server, Wire, check, comes_to, constant, equal, free_port, listener, session_limits, update, wait_until
from nameserver import NameServer
from netns import own_network
from test_bans import PROXY
from test_frontends import proxy_v2
from test_management import Managed
from test_stats import act

SERVER, CLIENT, OTHER, SERVER_6, CLIENT_6 = "192.0.2.10", "192.0.2.1", "192.0.2.2", "2001:db8:5::10", "2001:db8:6::1"


LARGE_SENDER = int(os.environ.get("LARGE_SENDER", "5000"))  # messages; 100,000 are 1,000 over each connection
LINGERING = 64  # refused clients that a core waits for


def total(s, name):
    """All rows of all cores."""
    values = [core[name] for core in s.api.stats()]
    return sum(sum(row["value"] for row in value) if isinstance(value, list) else value for value in values)


def told(address, limit):
    return f"421 4.7.0 Too many connections from {address} (limit {limit})"


def refused(s):
    return sum(row["value"] for core in s.api.stats() for row in core["sessions_refused_total"] if row["reason"] == "client_full")


def sessions(s):
    return sum(core["sessions"] for core in s.api.stats())


def proxied(s, client):
    return Wire(s.port, first=proxy_v2(client))


def open_sessions(s, client, count):
    wires = [proxied(s, client) for _ in range(count)]
    for w in wires:
        w.hello()
    return wires


def is_refused(w, address, limit):
    with w:
        equal(w.reply(), told(address, limit), "the reply")
        w.at_end()


def test_limit_of_a_client():
    """One connection too many is answered at once by a text that names address and limit; on every core together; others are served."""
    with Managed(cores=2, settings=PROXY | {"maxConnectionsPerClient": 5}) as s:
        mine = open_sessions(s, "203.0.113.7", 5)
        for number in range(1, 21):
            is_refused(proxied(s, "203.0.113.7"), "[203.0.113.7]", 5)
            comes_to(lambda: refused(s), number, "counted")
        for w in open_sessions(s, "203.0.113.8", 5):
            w.sock.close()
        for w in mine:
            w.expect("NOOP", "250")
        mine.pop().expect("QUIT", "221")
        wait_until(lambda: sessions(s) == 4, 10, "the end of the others")
        mine += open_sessions(s, "203.0.113.7", 1)
        is_refused(proxied(s, "203.0.113.7"), "[203.0.113.7]", 5)
        comes_to(lambda: refused(s), 21, "counted")
        for w in mine:
            w.sock.close()


def test_limit_of_an_ipv6_client():
    """Of IPv6 a network of 64 bits is one client."""
    with Managed(cores=2, settings=PROXY | {"maxConnectionsPerClient": 4}) as s:
        mine = [w for host in range(1, 5) for w in open_sessions(s, f"2001:db8:0:1::{host}", 1)]
        is_refused(proxied(s, "2001:db8:0:1:ffff::"), "[2001:db8:0:1:ffff::]/64", 4)
        for w in mine + open_sessions(s, "2001:db8:0:2::1", 4):
            w.sock.close()


def test_limit_of_a_network():
    """Clients of one network have a limit together, on all cores; what is one network is configured, null is no limit, both live."""
    limits = {"maxConnectionsPerNetwork": 3, "maxConnectionsPerClient": 2}

    def full(s):
        return sum(row["value"] for core in s.api.stats() for row in core["sessions_refused_total"] if row["reason"] == "network_full")
    with Managed(cores=2, settings=PROXY | limits) as s:
        mine = [w for host in range(1, 4) for w in open_sessions(s, f"203.0.113.{host}", 1)]
        is_refused(proxied(s, "203.0.113.200"), "[203.0.113.0]/24", 3)
        six = [w for net in range(1, 4) for w in open_sessions(s, f"2001:db8:7:{net}::1", 1)]
        is_refused(proxied(s, "2001:db8:7:ffff::1"), "[2001:db8:7::]/48", 3)
        mine += open_sessions(s, "203.0.112.1", 2) + open_sessions(s, "2001:db8:8::1", 2)
        is_refused(proxied(s, "203.0.112.1"), "[203.0.112.1]", 2)
        comes_to(lambda: (full(s), refused(s)), (2, 1), "counted")
        # Who was refused for himself has taken nothing of his network, and the other way round.
        mine += open_sessions(s, "203.0.112.2", 1)
        is_refused(proxied(s, "203.0.112.3"), "[203.0.112.0]/24", 3)
        for w in mine.pop(), mine.pop():
            w.expect("QUIT", "221")
        s.api.update("SystemSettings", "singleton", networkPrefixLengthIpv4=32, networkPrefixLengthIpv6=64, maxConnectionsPerNetwork=2)
        mine += open_sessions(s, "203.0.113.201", 2) + open_sessions(s, "2001:db8:7:4::1", 2)
        s.api.update("SystemSettings", "singleton", networkPrefixLengthIpv4=8, maxConnectionsPerNetwork=None)
        mine += open_sessions(s, "203.1.1.1", 2) + open_sessions(s, "203.1.1.2", 2)
        for w in mine + six:
            w.sock.close()


def test_refused_sessions_take_no_place():
    """Whoever is told that it has too many connections does not keep others out by those, though it does not close them."""
    with Managed(cores=1, settings=PROXY | {"maxConnections": 8, "maxConnectionsPerClient": 2}) as s:
        mine = open_sessions(s, "203.0.113.7", 2)
        more = [proxied(s, "203.0.113.7") for _ in range(20)]
        for w in more:
            w.then(told("[203.0.113.7]", 2))
        for n in range(3):
            mine += open_sessions(s, f"203.0.113.{8 + n}", 2)
        one_more = proxied(s, "203.0.113.11")
        one_more.then("421 4.3.2 Too many connections in all (limit 8), try again later")
        for w in mine:
            w.expect("NOOP", "250")
        for w in [*mine, *more, one_more]:
            w.sock.close()


def descriptors(s):
    return len(os.listdir(f"/proc/{s.process.pid}/fd"))


def test_a_flood_of_refused_clients():
    """Clients over their limit that never close, far more than may wait for their end: the oldest go, everybody is told, others are served."""
    with Managed(cores=1, settings=PROXY | {"maxConnections": 4, "maxConnectionsPerClient": 1}) as s:
        mine = open_sessions(s, "203.0.113.7", 1)
        before = descriptors(s)
        more = []
        for number in range(400):
            more.append(proxied(s, "203.0.113.7"))
            more[-1].then(told("[203.0.113.7]", 1), f"number {number}")
            more[-1].at_end()
        check(descriptors(s) <= before + LINGERING + 1, f"{descriptors(s)} descriptors, {before} before")
        comes_to(lambda: refused(s), 400, "counted")
        mine += open_sessions(s, "203.0.113.8", 1)
        # Of a rate as well, whose clients had a place until they were refused.
        s.api.create("MtaInboundThrottle", description="few", key={"remoteIp": True}, rate={"count": 1, "period": 3600000})
        mine += open_sessions(s, "203.0.113.9", 1)
        mine.pop().expect("QUIT", "221")
        for _ in range(100):
            more.append(proxied(s, "203.0.113.9"))
            more[-1].then("421 4.4.5 Rate limit reached: few")
            more[-1].at_end()
        check(descriptors(s) <= before + LINGERING + 3, f"{descriptors(s)} descriptors, {before} before")
        mine += open_sessions(s, "203.0.113.10", 1) + open_sessions(s, "203.0.113.11", 1)
        for w in mine:
            w.expect("NOOP", "250")
        for w in mine + more:
            w.sock.close()


def test_refused_before_the_handshake():
    """With implicit TLS a client over its limit is closed before the handshake, one log line; the others have theirs."""
    port = free_port()
    with Managed(cores=1, settings=PROXY | {"maxConnectionsPerClient": 1}, listeners={"l": listener(port, tlsImplicit=True)}) as s:
        def handshakes():
            return sum(total(s, f"tls_server_handshakes_{how}_total") for how in ("full", "resumed", "failed"))

        def tls(client):
            w = Wire(port, first=proxy_v2(client))
            w.start_tls()
            return w
        with tls("203.0.113.7") as mine:
            mine.hello()
            before = handshakes()
            for _ in range(30):
                with Wire(port, first=proxy_v2("203.0.113.7")) as w:
                    w.at_end()
            with tls("203.0.113.8") as other:
                other.hello()
            comes_to(lambda: refused(s), 30, "counted")
            equal(handshakes() - before, 1, "handshakes")
        line = next(line for line in s.log().splitlines() if "session-refused" in line)
        check(line.endswith(' client=203.0.113.7 listener=smtp command=connect reason=client_full effect="closed before the TLS handshake"'), line)


def test_limit_of_a_client_changes_live():
    """Another limit holds for the next connection, and cuts no open one."""
    with Managed(cores=2, settings=PROXY | {"maxConnectionsPerClient": 3}) as s:
        mine = open_sessions(s, "203.0.113.7", 3)
        s.api.update("SystemSettings", "singleton", maxConnectionsPerClient=5)
        mine += open_sessions(s, "203.0.113.7", 2)
        is_refused(proxied(s, "203.0.113.7"), "[203.0.113.7]", 5)
        s.api.update("SystemSettings", "singleton", maxConnectionsPerClient=1)
        is_refused(proxied(s, "203.0.113.7"), "[203.0.113.7]", 1)
        for w in mine:
            w.expect("NOOP", "250")
            w.sock.close()


def test_limit_does_not_fill_the_log():
    """Refusals have at most one log line a second and core, which says how many there were."""
    with Managed(cores=1, settings=PROXY | {"maxConnectionsPerClient": 1}) as s:
        [mine] = open_sessions(s, "203.0.113.7", 1)
        began = time.monotonic()
        for _ in range(100):
            is_refused(proxied(s, "203.0.113.7"), "[203.0.113.7]", 1)
        seconds = time.monotonic() - began
        comes_to(lambda: refused(s), 100, "counted")
        mine.sock.close()
        s.stop()
        lines = [line for line in s.log().splitlines() if "client-over-limit" in line]
        check(1 <= len(lines) <= 1 + seconds, f"{len(lines)} lines in {seconds} s")
        check(lines[0].endswith(" client=203.0.113.7 limit=1 refused=1"), lines[0])


def test_limit_spares_proxies():
    """A trusted proxy that speaks for itself is not limited, nor are clients on loopback that it names."""
    with Managed(cores=1, settings=PROXY | {"maxConnectionsPerClient": 1}) as s:
        wires = [Wire(s.port, first=proxy_v2(command=0)) for _ in range(10)]
        for w in wires:
            w.hello()
        for w in wires + open_sessions(s, "::1", 5):
            w.sock.close()
        equal(refused(s), 0, "refused")


def session_from(address, to, port):
    w = Wire.__new__(Wire)
    w.sock, w.buffer = socket.create_connection((to, port), timeout=20, source_address=(address, 0)), b""
    return w


def test_limit_without_a_proxy():
    """The peer's address counts, of IPv4 and IPv6, on all listeners together; connections over loopback are not limited."""
    own_network(SERVER, CLIENT, OTHER, SERVER_6, CLIENT_6)
    with Managed(cores=2, settings={"maxConnectionsPerClient": 2}) as s:
        ports = [free_port(), free_port()]
        for port in ports:
            s.api.create("NetworkListener", name=f"open{port}", bind={f"[::]:{port}": True})
        mine = [session_from(CLIENT, SERVER, port) for port in ports] + [session_from(CLIENT_6, SERVER_6, port) for port in ports]
        for w in mine:
            w.hello()
        for port in ports:
            is_refused(session_from(CLIENT, SERVER, port), f"[{CLIENT}]", 2)
            is_refused(session_from(CLIENT_6, SERVER_6, port), f"[{CLIENT_6}]/64", 2)
        more = [session_from(OTHER, SERVER, ports[0])] + [session_from(f"127.0.0.{n % 3 + 1}", "127.0.0.1", ports[0]) for n in range(30)]
        more += [session_from("::1", "::1", ports[1]) for _ in range(10)]
        for w in mine + more:
            if w in more:
                w.hello()
            w.expect("NOOP", "250")
        for w in mine + more:
            w.sock.close()
        comes_to(lambda: refused(s), 4, "refused")


def test_error_delay():
    """Behind some errors the reply to one waits, and with it what was sent meanwhile; others go on, and the session's end need not wait."""
    delay = update("MtaInboundSession", errorDelay=400, errorDelayAfter=2)
    with Managed(cores=1, extra=[delay]) as s, s.wire() as w, s.wire() as other:
        def seconds(command, code, wire=w):
            began = time.monotonic()
            wire.expect(command, code)
            return time.monotonic() - began
        fast = [seconds("NONSENSE", "500") for _ in range(2)]
        equal(s.api.stats()[0]["replies_delayed_total"], 0, "delayed")
        check(seconds("NONSENSE", "500") >= 0.4, "the third waits")
        began = time.monotonic()
        w.send("RCPT TO:<alice@example.org>\r\nNOOP\r\nNOOP\r\n")
        other.expect("NOOP", "250")
        for code in ("503", "250", "250"):
            w.then(code)
        check(time.monotonic() - began >= 0.4, "all of them wait")
        comes_to(lambda: s.api.stats()[0]["replies_delayed_total"], 2, "delayed")
        w.expect("MAIL FROM:<a@example.net>", "250")
        check(seconds("RCPT TO:<x@elsewhere.example>", "550") >= 0.4, "a refused recipient")
        s.api.update("MtaInboundSession", "singleton", errorDelay=60000)
        w.send("NONSENSE\r\nNONSENSE\r\n")
        wait_until(lambda: s.api.stats()[0]["replies_delayed_total"] == 4, 10, "the delay")
        gone = s.wire()
        gone.send("A\r\nB\r\nC\r\nD\r\n")
        wait_until(lambda: s.api.stats()[0]["replies_delayed_total"] == 5, 10, "the delay")
        gone.sock.close()
        check(max(fast) < 60, "the first two")
        s.stop()
        for code in ("500", "421"):
            w.then(code)


def delays(s):
    return s.api.stats()[0]["replies_delayed_total"]


def pipelined(w, *rcpts, end="RSET"):
    """A transaction in one packet; when it was sent."""
    began = time.monotonic()
    w.send("".join(["MAIL FROM:<a@example.net>\r\n"] + [f"RCPT TO:<{rcpt}>\r\n" for rcpt in rcpts] + [end + "\r\n"]))
    return began


def test_error_delay_of_pipelined_recipients():
    """Behind the grace every error waits for itself, in one packet as well: what was answered before is there, order is kept."""
    with Managed(cores=1, allow_relaying=False, extra=[update("MtaInboundSession", errorDelay=300, errorDelayAfter=1)]) as s, s.wire() as w:
        began = pipelined(w, "no1@example.org", "no2@example.org", "alice@example.org", "no3@example.org", "no4@example.org")
        for code, delayed in (("250", 0), ("550", 0), ("550", 1), ("250", 1), ("550", 2), ("550", 3), ("250", 3)):
            w.then(code)
            check(time.monotonic() - began >= 0.3 * delayed, f"{code} came before {delayed} errors had waited")
        equal(delays(s), 3, "delayed")
        s.api.update("MtaInboundSession", "singleton", errorDelay=60000)
        pipelined(w, "alice@example.org", "no@example.org", "alice@example.org")
        w.then("250"), w.then("250")  # at once: the third waits for a minute
        wait_until(lambda: delays(s) == 4, 10, "the delay")


def test_error_delay_ends_with_the_session():
    """However many errors are pipelined, and however long each of them waits: the session's time is its end."""
    with Managed(cores=1, extra=[session_limits(maxDuration="2s"), update("MtaInboundSession", errorDelay=60000, errorDelayAfter=1)]) as s:
        with s.wire() as w:
            w.send("A\r\n" * 15)
            for code in ("500", "500", "421 4.4.2"):
                w.then(code)
            w.at_end()
    with Managed(cores=1, extra=[session_limits(maxErrors=3), update("MtaInboundSession", errorDelay=300, errorDelayAfter=0)]) as s:
        with s.wire() as w:  # the last error that is put up with waits as well, and with it the end
            began = time.monotonic()
            w.send("A\r\n" * 30)
            for code in ("500", "500", "500", "421 4.7.0"):
                w.then(code)
            check(time.monotonic() - began >= 0.9, "the end came early")
            w.at_end()


def test_refused_recipients_of_a_session():
    """So many refused recipients end it, other errors not; by client, and not when there is no such limit."""
    by_client = {"match": {"0": {"if": "remote_ip == '203.0.113.7'", "then": "3"}}, "else": "0"}
    with Managed(cores=1, settings=PROXY, allow_relaying=False, extra=[update("MtaStageRcpt", maxFailures=by_client)]) as s:
        with proxied(s, "203.0.113.7") as w, proxied(s, "203.0.113.8") as other:
            for wire in (w, other):
                wire.hello()
                for _ in range(5):
                    wire.expect("NONSENSE", "500")
                pipelined(wire, "no1@example.org", "alice@example.org", "x@elsewhere.example", "no3@example.org", "no4@example.org")
                for code in ("250", "550", "250", "550", "550"):
                    wire.then(code)
            w.then("421 4.7.0 Too many errors")
            w.at_end()
            other.then("550"), other.then("250")
            other.expect("NOOP", "250")


def test_wait_on_fail():
    """The reply to a refused recipient waits, from the first on and pipelined; to other errors not; with errorDelay the longer one counts."""
    wait = update("MtaStageRcpt", waitOnFail=constant("400ms"))
    with Managed(cores=1, allow_relaying=False, extra=[wait]) as s, s.wire() as w:
        began = pipelined(w, "no1@example.org", "x@elsewhere.example", "alice@example.org")
        for code, delayed in (("250", 0), ("550", 1), ("550", 2), ("250", 2), ("250", 2)):
            w.then(code)
            check(time.monotonic() - began >= 0.4 * delayed, f"{code} came before {delayed} errors had waited")
        s.api.update("MtaInboundSession", "singleton", errorDelay=100, errorDelayAfter=0)
        began = pipelined(w, "no1@example.org")
        w.then("250"), w.then("550"), w.then("250")
        check(time.monotonic() - began >= 0.4, "waitOnFail is longer")
        equal(delays(s), 3, "delayed")
        s.api.update("MtaInboundSession", "singleton", errorDelay=800)
        began = pipelined(w, "no1@example.org")
        w.then("250"), w.then("550"), w.then("250")
        check(time.monotonic() - began >= 0.8, "errorDelay is longer")
        equal(delays(s), 4, "delayed")
        s.api.update("MtaInboundSession", "singleton", errorDelay=0)
        s.api.update("MtaStageRcpt", "singleton", waitOnFail=constant("60s"))
        w.expect("NONSENSE", "500")
        s.api.update("MtaStageRcpt", "singleton", waitOnFail=constant("0"))
        pipelined(w, "no1@example.org")
        w.then("250"), w.then("550"), w.then("250")
        equal(delays(s), 4, "delayed")


def test_error_delay_of_late_answers():
    """A refusal that the DNS had to be asked about waits like any other."""
    allowed = update("MtaStageMail", isSenderAllowed=constant("!is_empty(dns_query(sender_domain, 'ipv4'))"))
    with NameServer({"good.example": {"A": ["192.0.2.1"]}}) as names, Managed(cores=1, extra=[
            update("MtaInboundSession", errorDelay=400, errorDelayAfter=1), names.resolver(), allowed]) as s, s.wire() as w:
        w.expect("MAIL FROM:<a@bad.example>", "550 5.7.1")
        equal(s.api.stats()[0]["replies_delayed_total"], 0, "delayed")
        began = time.monotonic()
        w.expect("MAIL FROM:<a@worse.example>", "550 5.7.1")
        check(time.monotonic() - began >= 0.4, "the second does not wait")
        w.expect("MAIL FROM:<a@good.example>", "250")
        w.send("MAIL FROM:<a@b.example>\r\nRSET\r\nMAIL FROM:<a@c.example>\r\nQUIT\r\n")
        for code in ("503", "250", "550", "221"):
            w.then(code)
        comes_to(lambda: s.api.stats()[0]["replies_delayed_total"], 3, "delayed")


def test_a_large_sender_is_within_the_limits():
    """By default one client can keep 100 connections, and send 1,000 messages over one."""
    with Managed(cores=1, settings=PROXY) as s:
        wires = open_sessions(s, "203.0.113.7", 100)
        act(s, "PauseMtaQueue")
        for number in range(1000):
            wires[0].send("MAIL FROM:<a@example.net>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n")
            for code in ("250", "250", "354"):
                wires[0].then(code, f"message {number}")
            wires[0].send("Subject: many\r\n\r\nx\r\n.\r\n")
            wires[0].then("250", f"message {number}")
        for w in wires:
            w.expect("NOOP", "250")
            w.sock.close()


def test_a_large_sender_at_once():
    """All of them at the same time, over all cores: nothing is refused, nobody banned, no line in the log."""
    with Managed(settings=PROXY) as s:
        act(s, "PauseMtaQueue")
        done = subprocess.run([
            os.path.join(lib.BUILD, "ringmx-bench"), "send", "--to", f"127.0.0.1:{s.port}", "--from", "a@example.net", "--rcpt",
            "alice@example.org", "--sessions", "100", "--messages", str(LARGE_SENDER), "--size", "100", "--proxy", "v2",
            "--clients", "203.0.113.7/32", "--quiet", "--json", "--assert", f"accepted={LARGE_SENDER},errors=0,refused=0"],
            capture_output=True, text=True, timeout=600)
        equal(done.returncode, 0, f"exit code of ringmx-bench ({done.stdout}{done.stderr})")
        equal((refused(s), total(s, "sessions_refused_total")), (0, 0), "connections refused")
        for word in ("session-refused", "client-over-limit", "client-banned"):
            check(word not in s.log(), f"in the log: {word}")


def test_a_large_sender_with_many_recipients():
    """What is counted in commands and errors begins anew behind every message: not the recipients of 1,000 messages end
    a session, nor those of them that are gone."""
    with Server(cores=1, allow_relaying=False) as s, s.wire() as w:
        for number in range(110):
            rcpts = ["alice"] * 99 + ["gone" if number % 4 == 0 else "alice"]
            w.send("MAIL FROM:<a@example.net>\r\n" + "".join(f"RCPT TO:<{r}@example.org>\r\n" for r in rcpts) + "DATA\r\n")
            for code in ("250", *("550" if r == "gone" else "250" for r in rcpts), "354"):
                w.then(code, f"message {number}")
            w.send("Subject: many\r\n\r\nx\r\n.\r\n")
            w.then("250", f"message {number}")
        w.expect("QUIT", "221")
