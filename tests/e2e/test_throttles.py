"""Rates of what comes in (MtaInboundThrottle): what is counted apart, at which command, what is told, and what lasts."""

import re
import socket

from lib import Wire, check, comes_to, equal, free_port, wait_until
from nameserver import NameServer
from test_bans import PROXY
from test_frontends import proxy_v2
from test_management import Managed

HOUR = 3600000
LONG = {"count": 2, "period": HOUR}


def throttle(s, description, key=(), rate=None, match=None, **fields):
    if match is not None:
        fields["match"] = {"match": {}, "else": match}
    return s.api.create("MtaInboundThrottle", description=description, key={part: True for part in key}, rate=rate or LONG, **fields)


def over(code, text, w=None, reply=None):
    """The reply names the throttle, its rate and how long it lasts."""
    reply = reply or w.reply()
    check(re.fullmatch(re.escape(f"{code} 4.4.5 Rate limit reached: {text}, try again in ") + r"\d+ s", reply), f"reply {reply!r}")


def total(s, name, label=None):
    rows = [core[name] for core in s.api.stats()]
    if label is None:
        return sum(rows)
    return sum(row["value"] for core in rows for row in core if row["throttle"] == label)


def mail(w, sender="a@example.net"):
    w.cmd("RSET")
    return w.cmd(f"MAIL FROM:<{sender}>")


def rcpts(w, *addresses, sender="a@example.net"):
    check(mail(w, sender).startswith("250"), "MAIL")
    return [w.cmd(f"RCPT TO:<{address}>") for address in addresses]


def client(s, address="203.0.113.7"):
    return Wire(s.port, first=proxy_v2(address))


def test_throttle_of_clients():
    """Connections of one client, on all cores together, are answered 421 with the name of the rate in the place of the banner; others are served."""
    with Managed(cores=2, settings=PROXY) as s:
        throttle(s, "per source", ["remoteIp"], {"count": 5, "period": HOUR})
        for _ in range(5):
            with client(s) as w:
                w.hello()
        for _ in range(10):
            with client(s) as w:
                over(421, "per source (5 in 1 h)", w)
                w.at_end()
        for host in range(1, 6):
            with client(s, f"2001:db8::{host}") as w, client(s, f"203.0.113.{host}") as other:
                w.hello()
                other.hello()
        with client(s, "2001:db8::ffff") as w:
            over(421, "per source (5 in 1 h)", w)
        equal(total(s, "inbound_throttle_passed_total", "per source"), 15, "counted")
        equal(total(s, "inbound_throttle_over_total", "per source"), 11, "refused")
        equal(total(s, "inbound_throttle_forgotten_total"), 0, "forgotten")
        # A proxy that speaks for itself has no rate by client.
        for _ in range(10):
            with Wire(s.port, first=proxy_v2(command=0)) as w:
                w.hello()
        s.stop()
        lines = [line for line in s.log().splitlines() if " inbound-throttled " in line]
        check(len(lines) == 11 and " throttle=\"per source\" session=" in lines[0] and " client=203.0.113.7 command=connect count=5 period-ms=3600000 wait-ms=" in lines[0],
              f"log {lines}")


def test_throttle_comes_back():
    """After a period / count there is one more, and what was refused has not been counted."""
    with Managed(cores=1) as s:
        throttle(s, "slow", ["sender"], {"count": 1, "period": 700})
        with s.wire() as w:
            check(mail(w).startswith("250"), "the first")
            reply = mail(w)
            if not reply.startswith("250"):  # a machine that slept has one again already
                over(452, "slow (1 in 700 ms)", reply=reply)
            wait_until(lambda: mail(w).startswith("250"), 10, "one more")


def test_throttle_at_each_command():
    """A key decides where it is tested: EHLO, MAIL or RCPT; what is counted apart is counted apart, letters of either case alike."""
    with Managed(cores=1) as s:
        made = [throttle(s, "names", ["heloDomain"])]
        for _ in range(2):
            with s.wire(hello=False) as w:
                w.then("220")
                w.expect("EHLO one.example", "250")
        with s.wire(hello=False) as w:
            w.then("220")
            w.expect("EHLO two.example", "250")
        with s.wire(hello=False) as w:
            w.then("220")
            w.send("EHLO ONE.example\r\n")
            over(421, "names (2 in 1 h)", w)
            w.at_end()
        s.api.destroy("MtaInboundThrottle", made.pop())
        with s.wire() as w:
            made = [throttle(s, "senders", ["sender"])]
            equal([mail(w, sender)[:3] for sender in ("a@example.net", "A@EXAMPLE.NET", "b@example.net")], ["250"] * 3, "MAIL")
            over(452, "senders (2 in 1 h)", reply=mail(w))
            s.api.destroy("MtaInboundThrottle", made.pop())
            made = [throttle(s, "domains", ["senderDomain"])]
            equal([mail(w, sender)[:3] for sender in ("a@example.net", "b@example.net", "c@example.com")], ["250"] * 3, "MAIL")
            over(452, "domains (2 in 1 h)", reply=mail(w, "d@example.net"))
            s.api.destroy("MtaInboundThrottle", made.pop())
            made = [throttle(s, "mailboxes", ["rcpt"])]
            for _ in range(2):
                equal([r[:3] for r in rcpts(w, "alice@example.org", "alice@example.org", "bob@example.org")], ["250"] * 3, "RCPT")
            over(452, "mailboxes (2 in 1 h)", reply=rcpts(w, "ALICE@example.org")[0])
            s.api.destroy("MtaInboundThrottle", made.pop())
            # Once for each domain of a message.
            made = [throttle(s, "their domains", ["rcptDomain"])]
            for _ in range(2):
                equal([r[:3] for r in rcpts(w, "alice@example.org", "bob@example.org", "carol@example.org")], ["250"] * 3, "RCPT")
            replies = rcpts(w, "alice@example.org", "bob@example.org")
            for reply in replies:
                over(452, "their domains (2 in 1 h)", reply=reply)
            s.api.destroy("MtaInboundThrottle", made.pop())
            # What is not accepted does not count.
            throttle(s, "pairs", ["senderDomain", "rcpt"], {"count": 1, "period": 86400000})
            for _ in range(3):
                check(rcpts(w, "x@elsewhere.example")[0].startswith("550"), "relaying")
            equal([r[:3] for r in rcpts(w, "alice@example.org")], ["250"], "RCPT")
            over(452, "pairs (1 in 1 d)", reply=rcpts(w, "alice@example.org")[0])
            equal([r[:3] for r in rcpts(w, "alice@example.org", sender="a@example.com")], ["250"], "another sender")
        comes_to(lambda: sum(row["value"] for row in s.api.stats()[0]["recipients_total"] if row["verdict"] == "throttled"), 4,
                 "recipients")


def test_throttle_counts_a_session_once():
    """EHLO counts once for each name in a session, however often it is said, as behind STARTTLS; connections and what is in TLS alone likewise."""
    rate = {"count": 3, "period": HOUR}
    with Managed(cores=1, settings=PROXY) as s:
        names = throttle(s, "names", ["heloDomain"], rate)
        throttle(s, "in TLS", ["remoteIp"], {"count": 1000, "period": HOUR}, match="is_tls && helo_domain != ''")
        throttle(s, "clients", ["remoteIp"], {"count": 1000, "period": HOUR})

        def greet(w, *hello):
            for name in hello:
                w.expect(f"EHLO {name}", "250-")
        for _ in range(3):
            with client(s) as w:
                w.then("220")
                greet(w, "one.example", "one.example")
                w.expect("STARTTLS", "220")
                w.start_tls()
                greet(w, "one.example", "ONE.example")
        equal([total(s, "inbound_throttle_passed_total", name) for name in ("names", "in TLS", "clients")], [3, 3, 3], "counted")
        with client(s) as w:
            w.then("220")
            greet(w, "two.example", "two.example")
            s.api.update("SystemSettings", "singleton", maxConnections=4000)
            greet(w, "two.example")  # another configuration: counted again
            greet(w, "three.example", "two.example")  # another name, and back
            w.send("EHLO one.example\r\n")
            over(421, "names (3 in 1 h)", w)
        s.api.update("MtaInboundThrottle", names, rate={"count": 1, "period": HOUR})
        for name in ("two.example", "three.example"):
            with client(s) as w:
                w.then("220")
                greet(w, name, name)


def test_throttle_by_everything():
    """A key of all parts, each as long as it can be."""
    parts = ["listener", "remoteIp", "localIp", "heloDomain", "sender", "senderDomain", "rcpt", "rcptDomain"]
    domain = ".".join(["d" * 61] * 3) + ".org"
    sender, rcpt = "s" * 64 + "@" + domain, "r" * 64 + "@example.org"
    port = free_port()
    with Managed(cores=1) as s:
        s.api.create("Domain", name=domain, allowRelaying=True)
        s.api.create("NetworkListener", name="l" * 64, bind={f"127.0.0.1:{port}": True})
        w = Wire(port)
        throttle(s, "d" * 255, parts, {"count": 1, "period": HOUR})
        w.then("220")
        w.expect("EHLO " + "h" * 255, "250-")
        longest = "r" * 64 + "@" + domain
        check(rcpts(w, longest, sender=sender)[0].startswith("250"), "the first")
        over(452, "d" * 100 + " (1 in 1 h)", reply=rcpts(w, longest, sender=sender)[0])
        check(rcpts(w, rcpt, sender=sender)[0].startswith("250"), "another")


def test_throttle_conditions():
    """A condition says what a rate is for, and is tested when what it looks at is known; several rates hold together, or none counts."""
    with Managed(cores=1) as s:
        throttle(s, "bulk", ["remoteIp"], match="sender_domain == 'bulk.example'")
        with s.wire() as w:
            for _ in range(4):
                check(mail(w).startswith("250"), "others")
            equal([mail(w, "a@bulk.example")[:3] for _ in range(2)], ["250"] * 2, "MAIL")
            over(452, "bulk (2 in 1 h)", reply=mail(w, "b@bulk.example"))
            throttle(s, "never", match="false", rate={"count": 1, "period": HOUR})
            off = throttle(s, "off", ["sender"], enable=False, rate={"count": 1, "period": HOUR})
            few = throttle(s, "few", ["sender"], {"count": 3, "period": HOUR}, match="local_port == 0 || sender == 'few@bulk.example'")
            for _ in range(5):
                over(452, "bulk (2 in 1 h)", reply=mail(w, "few@bulk.example"))
            equal(total(s, "inbound_throttle_passed_total", "few"), 0, "nothing was taken of the second")
            s.api.update("MtaInboundThrottle", few, match={"match": {}, "else": "sender == 'few@example.net'"})
            equal([mail(w, "few@example.net")[:3] for _ in range(3)], ["250"] * 3, "MAIL")
            over(452, "few (3 in 1 h)", reply=mail(w, "few@example.net"))
            s.api.update("MtaInboundThrottle", off, enable=True)
            check(mail(w, "c@example.net").startswith("250"), "MAIL")
            over(452, "off (1 in 1 h)", reply=mail(w, "c@example.net"))


def test_throttle_for_all():
    """Without a key there is one counter, of each listener with that key, of each own address with that one."""
    with Managed(cores=2) as s:
        port = free_port()
        s.api.create("NetworkListener", name="open", bind={f"0.0.0.0:{port}": True})
        made = throttle(s, "all", rate={"count": 3, "period": HOUR})
        for host in range(1, 4):
            with session(s, f"127.0.0.{host}") as w:
                w.hello()
        with session(s, "127.0.0.9") as w:
            over(421, "all (3 in 1 h)", w)
        s.api.destroy("MtaInboundThrottle", made)
        throttle(s, "ours", ["localIp"], {"count": 1, "period": HOUR})
        for own in ("127.0.0.1", "127.0.0.2"):
            with session(s, "127.0.0.5", own, port) as w:
                w.hello()
            with session(s, "127.0.0.6", own, port) as w:
                over(421, "ours (1 in 1 h)", w)
        s.api.destroy("MtaInboundThrottle", s.api.find("MtaInboundThrottle", description="ours"))
        throttle(s, "doors", ["listener"], {"count": 1, "period": HOUR})
        with session(s, "127.0.0.5", "127.0.0.1", port) as w:
            w.hello()
        with session(s, "127.0.0.5", "127.0.0.2", port) as w:
            over(421, "doors (1 in 1 h)", w)
        with s.wire() as w:
            w.expect("NOOP", "250")


def test_throttle_asks_the_dns():
    """A condition that asks the DNS waits for it and then counts once, at MAIL at the earliest; when nobody can say, the client is to try again."""
    zone = {"7.113.0.203.list.example": {"A": ["127.0.0.2"]}}
    with NameServer(zone) as names, Managed(cores=1, settings=PROXY, extra=[names.resolver(attempts=1)]) as s:
        throttle(s, "listed", ["remoteIp"], match="!is_empty(dns_query(ip_reverse_name(remote_ip) + '.list.example', 'ipv4'))")
        throttle(s, "each", ["remoteIp"], {"count": 4, "period": HOUR}, match="sender != ''")
        with client(s) as w, client(s, "203.0.113.8") as other:
            w.hello()
            other.hello()
            equal([mail(w)[:3] for _ in range(2)], ["250"] * 2, "MAIL")
            over(452, "listed (2 in 1 h)", reply=mail(w))
            equal([mail(other)[:3] for _ in range(4)], ["250"] * 4, "MAIL")
            over(452, "each (4 in 1 h)", reply=mail(other))
            equal(total(s, "inbound_throttle_passed_total", "each"), 6, "counted")
            names.mode = "servfail"
            with client(s, "203.0.113.9") as third:
                third.hello()
                equal(mail(third)[:9], "451 4.4.3", "nobody can say")
        wait_until(lambda: "expression-failed field=MtaInboundThrottle.match" in s.log(), 10, "the log line")


def session(s, address, to="127.0.0.1", port=None):
    w = Wire.__new__(Wire)
    w.sock, w.buffer = socket.create_connection((to, port or s.port), timeout=20, source_address=(address, 0)), b""
    return w


def test_throttle_changes_live():
    """A new one holds for the next command; counters outlive other changes, another condition too, and begin anew with another rate."""
    with Managed(cores=2) as s, s.wire() as w:
        own = throttle(s, "own", ["sender"])
        equal([mail(w)[:3] for _ in range(2)], ["250"] * 2, "MAIL")
        s.api.update("SystemSettings", "singleton", maxConnections=4000)
        throttle(s, "another", ["sender"], {"count": 1000, "period": 1000})
        over(452, "own (2 in 1 h)", reply=mail(w))
        s.api.update("MtaInboundThrottle", own, match={"match": {}, "else": "sender != 'x@example.net'"})
        over(452, "own (2 in 1 h)", reply=mail(w))
        s.api.update("MtaInboundThrottle", own, rate={"count": 1, "period": 60000})
        check(mail(w).startswith("250"), "another rate")
        over(452, "own (1 in 1 min)", reply=mail(w))
        s.api.update("MtaInboundThrottle", own, key={"senderDomain": True})
        check(mail(w).startswith("250"), "another key")
        over(452, "own (1 in 1 min)", reply=mail(w))
        s.api.destroy("MtaInboundThrottle", own)
        check(mail(w).startswith("250"), "none any more")
