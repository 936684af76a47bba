"""Delivery to the MX of other domains (RFC 5321 section 5.1), in a network of the test's own."""

import time

from lib import DROP, NO_REPLY, Fail, Server, Sink, check, equal, listener, update, wait_until
from nameserver import NameServer
from netns import own_network

MX1, MX2, MX3 = "198.51.100.1", "198.51.100.2", "198.51.100.3"
DEAD = "198.51.100.9"  # nobody listens
MX1_6 = "2001:db8::1"
NETWORK = (MX1, MX2, MX3, DEAD, MX1_6)
TO_MX = {"match": {"0": {"if": "rcpt_domain == 'example.org'", "then": "'local'"}}, "else": "'mx'"}
BODY = b"Subject: far\r\n\r\nhello\r\n"


def host(address, **more):
    return {"A": [address]} | more


def mx(*hosts):
    return {"MX": [(preference, name) for preference, name in hosts]}


class Far:
    """A name server, and ringmx as backup of `domains`, which hands their mail to their MX."""

    def __init__(self, zone, domains=("far.example",), retry_ms=300, cores=1, resolver=None, extra=(), **more):
        self.names = NameServer(zone, address="127.0.0.53")
        served = {f"f{n}": {"name": name, "allowRelaying": True} for n, name in enumerate(domains)}
        extra = [self.names.resolver(**(resolver or {})),
                 {"@type": "create", "object": "Domain", "value": served}, *extra]
        self.server = Server(strategy=TO_MX, cores=cores, retry_ms=retry_ms, extra=extra, **more)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.server.__exit__(kind, value, trace)
        self.names.__exit__()

    def send(self, *to, sender="sender@example.org"):
        return self.server.submit(list(to), BODY, sender=sender)

    def bounced(self, status, text, to="alice@example.org"):
        """A report to alice with this status and this text."""
        copy = self.server.delivered(1)[0].decode()
        check(f"Status: {status}" in copy, f"no status {status} in {copy}")
        check(text in copy, f"no '{text}' in {copy}")


def sink(address, **more):
    return Sink(port=25, address=address, **more)


def test_mx_preference():
    """The host with the lowest preference gets the mail, whatever the order of the records."""
    own_network(*NETWORK)
    zone = {"far.example": mx((20, "b.far.example"), (10, "a.far.example"), (30, "c.far.example")),
            "a.far.example": host(MX1), "b.far.example": host(MX2), "c.far.example": host(MX3)}
    with sink(MX1) as a, sink(MX2) as b, Far(zone) as far:
        far.send("bob@far.example", "Ann@FAR.example")
        got = a.got()
        equal(sorted(got[0].rcpts), ["Ann@FAR.example", "bob@far.example"], "recipients, in one transaction")
        far.send("eve@far.example")
        a.got(2)
        equal(a.connections, 1, "connections to the first host")
        equal(b.connections, 0, "connections to the second host")


def test_mx_next_host():
    """A host that cannot be reached, or that greets with 4xx or 5xx, or says 4xx to EHLO: the next one at
    once, in the same attempt."""
    own_network(*NETWORK)
    zone = {"far.example": mx((10, "dead.example"), (20, "a.example"), (30, "b.example")),
            "dead.example": host(DEAD), "a.example": host(MX1), "b.example": host(MX2)}
    refusals = {"BANNER": ("421 4.3.2 later", "554 5.3.2 no"), "EHLO": ("421 4.3.2 later",)}
    for verb, replies in refusals.items():
        for reply in replies:
            def hook(_session, what, _line, verb=verb, reply=reply):
                return reply if what in (verb, "HELO" if verb == "EHLO" else verb) else None
            with sink(MX1, hook=hook) as a, sink(MX2) as b, Far(zone, retry_ms=60000) as far:
                far.send("bob@far.example")
                b.got()
                check(a.connections >= 1, f"{reply}: the first host was not tried")
                wait_until(lambda: "delivered" in far.server.log(), 10, "the log line")
                log = far.server.log()
                check("deferred" not in log, f"{reply}: it was put off")
                passed = [line for line in log.splitlines() if "address-passed-over" in line]
                equal([DEAD in passed[0], MX1 in passed[1]], [True, True], f"{reply}: addresses passed over")
                check(reply[4:] in passed[1] or reply[10:] in passed[1], f"{reply}: not in {passed[1]}")


def test_mx_next_host_after_mail():
    """A host that says 4xx to MAIL: the next one takes the message in the same attempt, all its recipients;
    after the last one it is put off."""
    own_network(*NETWORK)
    zone = {"far.example": mx((10, "a.example"), (20, "b.example")),
            "a.example": host(MX1), "b.example": host(MX2)}

    def busy(_session, verb, _line):
        return "451 4.3.2 not now" if verb == "MAIL" else None
    with sink(MX1, hook=lambda _session, verb, _line: "421 4.3.2 closing" if verb == "MAIL" else None), \
            sink(MX2) as b, Far(zone, retry_ms=60000) as far:
        far.send("bob@far.example")
        b.got()
        check("deferred" not in far.server.log(), "421 to MAIL: put off")
    with sink(MX1, hook=busy) as a, sink(MX2) as b, Far(zone, retry_ms=60000) as far:
        far.send("bob@far.example", "ann@far.example")
        equal(len(b.got()[0].rcpts), 2, "recipients at the second host")
        wait_until(lambda: "delivered" in far.server.log(), 10, "the log line")
        equal(far.server.log().count("address-passed-over"), 1, "lines about the first host")
        check("MAIL" in a.verbs(), "the first host was not asked")
        b.hook = busy
        far.send("eve@far.example")
        wait_until(lambda: "not now" in far.server.log(), 10, "put off with the reply of the last host")
        equal(len(a.messages) + len(b.messages), 1, "messages taken")


def test_mx_next_host_for_want_of_tls():
    """Hosts that have not the TLS that one recipient needs: the mail of others still goes to the first of them."""
    own_network(*NETWORK)
    zone = {"far.example": mx((10, "a.example"), (20, "b.example")),
            "a.example": host(MX1), "b.example": host(MX2)}
    plan = [{"@type": "upsert", "object": "MtaTlsStrategy", "matchOn": ["name"],
             "value": {"s": {"name": "strict", "startTls": "require"}}},
            update("MtaOutboundStrategy", tls={"match": {"0": {"if": "rcpt == 'bank@far.example'", "then": "'strict'"}},
                                               "else": "'default'"})]
    with sink(MX1) as a, sink(MX2) as b, Far(zone, retry_ms=60000, extra=plan) as far:
        far.send("bank@far.example")
        wait_until(lambda: "deferred" in far.server.log(), 10, "put off")
        equal([a.connections, b.connections], [1, 1], "both hosts were tried")
        far.send("bob@far.example")
        a.got()
        equal(len(b.messages), 0, "messages at the second host")


def test_mx_next_host_paused():
    """A message that waits for the end of a connection to go to the next host: not when its route is paused meanwhile."""
    own_network(*NETWORK)
    zone = {"far.example": mx((10, "a.example"), (20, "b.example")),
            "a.example": host(MX1), "b.example": host(MX2)}

    def hook(_session, verb, _line):
        if verb == "QUIT":
            time.sleep(1.5)
        return "451 4.3.2 not now" if verb == "MAIL" else None
    with sink(MX1, hook=hook) as a, sink(MX2) as b, \
            Far(zone, retry_ms=60000, extra=[update("Performance", connectionsPerHop=1)],
                args=["--http", "127.0.0.1:18080"], env_more={"STALWART_RECOVERY_ADMIN": "root:secret"}) as far:
        far.send("bob@far.example")
        wait_until(lambda: "QUIT" in a.verbs(), 10, "the end of the first connection")
        act_live(18080, "PauseMtaQueue")
        time.sleep(3)
        equal(b.connections, 0, "connections to the second host while all is paused")
        act_live(18080, "ResumeMtaQueue")
        b.got()


def test_mx_null():
    """A domain with a null MX takes no mail: bounced at once with 5.1.10 (RFC 7505)."""
    own_network(*NETWORK)
    with Far({"far.example": {"MX": [(0, ".")], "A": [MX1]}}) as far, sink(MX1) as a:
        far.send("bob@far.example", sender="alice@example.org")
        far.bounced("5.1.10", "null MX")
        equal(a.connections, 0, "connections to the domain's address")


def test_mx_absent_domain():
    """A domain that does not exist: bounced with 5.1.2; one whose hosts have no address: with 5.4.4."""
    own_network(*NETWORK)
    with Far({}) as far:
        far.send("bob@far.example", sender="alice@example.org")
        far.bounced("5.1.2", "does not exist")
    with Far({"far.example": mx((10, "nowhere.example"))}) as far:
        far.send("bob@far.example", sender="alice@example.org")
        far.bounced("5.4.4", "no host with a usable address")


def test_mx_implicit():
    """Without MX records the domain's own address is its host; IPv6 is used where there is no IPv4."""
    own_network(*NETWORK)
    zone = {"four.example": host(MX1), "six.example": {"AAAA": [MX1_6]}}
    with sink(MX1) as a, sink(MX1_6) as six, Far(zone, zone) as far:
        far.send("bob@four.example")
        a.got()
        far.send("bob@six.example")
        six.got()


def test_mx_address_order():
    """ipLookupStrategy says which addresses are used, and which first; maxMultihomed, how many."""
    own_network(*NETWORK)
    zone = {"far.example": mx((10, "a.example")), "a.example": {"A": [DEAD, MX1, MX2], "AAAA": [MX1_6]}}
    for strategy, first in (("v6ThenV4", "six"), ("v6Only", "six"), ("v4Only", "two"), ("v4ThenV6", "two")):
        route = {"@type": "upsert", "object": "MtaRoute", "matchOn": ["name"], "value": {
            "r": {"@type": "Mx", "name": "mx", "ipLookupStrategy": strategy, "maxMultihomed": 3}}}
        with sink(MX1) as two, sink(MX2) as three, sink(MX1_6) as six, Far(zone, extra=[route]) as far:
            far.send("bob@far.example")
            {"six": six, "two": two}[first].got()
            equal(len(two.messages) + len(three.messages) + len(six.messages), 1, f"{strategy}: messages")
    route["value"]["r"] |= {"ipLookupStrategy": "v4Only", "maxMultihomed": 1}
    with sink(MX1) as two, Far(zone, extra=[route]) as far:
        far.send("bob@far.example")
        wait_until(lambda: "deferred" in far.server.log(), 10, "put off: one dead address is all there is")
        equal(two.connections, 0, "connections to a second address")


def test_mx_own_host():
    """Our own name in the list cuts it: no host from our preference on is tried, so nothing goes in circles.
    When we are the best host, the mail bounces with 5.4.6."""
    own_network(*NETWORK)
    zone = {"far.example": mx((10, "dead.example"), (20, "MX.example.org"), (30, "a.example")),
            "dead.example": host(DEAD), "a.example": host(MX1), "mx.example.org": host(MX2),
            "ours.example": mx((10, "mx.example.org"), (10, "a.example"))}
    with sink(MX1) as a, sink(MX2) as b, Far(zone, ("far.example", "ours.example")) as far:
        far.send("bob@far.example")
        wait_until(lambda: "deferred" in far.server.log(), 10, "put off")
        far.send("bob@ours.example", sender="alice@example.org")
        far.bounced("5.4.6", "best mail host")
        equal(a.connections + b.connections, 0, "connections")


def test_mx_own_address():
    """A host that is this server under another name, by the address of a listener at port 25 or of a listener
    at all addresses, cuts the list as our name does."""
    own_network(*NETWORK)
    zone = {"far.example": mx((10, "dead.example"), (20, "alias.example"), (30, "a.example")),
            "dead.example": host(DEAD), "alias.example": host(MX2), "a.example": {"AAAA": [MX1_6]},
            "ours.example": mx((10, "alias.example"), (20, "a.example"))}
    for bind in (f"{MX2}:25", "0.0.0.0:25"):
        with sink(MX1_6) as a, Far(zone, ("far.example", "ours.example")) as far:
            far.server.stop()
            far.server.apply([{"@type": "create", "object": "NetworkListener", "value": {
                "x": listener(25, name="all") | {"bind": {bind: True}}}}])
            far.server.start()
            if bind != "0.0.0.0:25":  # all addresses of this network are those of one machine
                far.send("bob@far.example")
                wait_until(lambda: "deferred" in far.server.log(), 10, "put off")
            far.send("bob@ours.example", sender="alice@example.org")
            far.bounced("5.4.6", "best mail host")
            equal(a.connections, 0, f"{bind}: connections to a host behind us")


def test_mx_loopback_answers():
    """Answers of the DNS that lead to this machine are not followed for a foreign domain."""
    own_network(*NETWORK)
    zone = {"far.example": mx((10, "a.example")), "a.example": {"A": ["127.0.0.1", "0.0.0.0"], "AAAA": ["::1", "::ffff:127.0.0.1"]}}
    with sink("127.0.0.1") as a, Far(zone) as far:
        far.send("bob@far.example", sender="alice@example.org")
        far.bounced("5.4.4", "no host with a usable address")
        equal(a.connections, 0, "connections to the loopback address")


def test_mx_answers_that_are_no_host():
    """Answers that no host can have, as multicast, are not tried until the mail expires; beside one that may be a host they are
    passed over."""
    own_network(*NETWORK)
    none = {"A": ["224.0.0.251", "239.255.255.255", "255.255.255.255", "0.1.2.3"], "AAAA": ["::", "ff02::1", "::ffff:224.0.0.1"]}
    zone = {"far.example": mx((10, "a.example")), "a.example": none,
            "some.example": mx((10, "b.example")), "b.example": {"A": ["224.0.0.1", MX1]}}
    with sink(MX1) as a, Far(zone, ["far.example", "some.example"]) as far:
        far.send("bob@some.example")
        equal(a.got()[0].rcpts, ["bob@some.example"], "at the address that is one")
        far.send("bob@far.example", sender="alice@example.org")
        far.bounced("5.4.4", "no host with a usable address")


def test_mx_address_literal():
    """A report to a sender at an address literal goes to that address, but never to this machine."""
    own_network(*NETWORK)
    with sink(MX1) as a, sink("127.0.0.1") as here, Far({"far.example": {"MX": [(0, ".")]}}) as far:
        for literal in ("127.0.0.1", MX1):
            far.send("bob@far.example", sender=f"ann@[{literal}]")
        equal(a.got()[0].rcpts, [f"ann@[{MX1}]"], "recipient of the report")
        wait_until(lambda: "route=mx" in far.server.log() and "usable address" in far.server.log(), 10, "given up")
        equal(here.connections, 0, "connections to the loopback address")


def test_mx_equal_preference():
    """Hosts of equal preference share the domains."""
    own_network(*NETWORK)
    zone = {"a.example": host(MX1), "b.example": host(MX2)}
    domains = [f"d{number}.example" for number in range(40)]
    for domain in domains:
        zone[domain] = mx((10, "a.example"), (10, "b.example"))
    with sink(MX1) as a, sink(MX2) as b, Far(zone, domains) as far:
        for domain in domains:
            far.send(f"bob@{domain}")
        wait_until(lambda: len(a.messages) + len(b.messages) >= 40, 20, "all messages")
        check(a.messages and b.messages, f"one host got everything: {len(a.messages)}, {len(b.messages)}")


def test_mx_dns_trouble():
    """Servers that fail or are silent put mail off, keep it, and it leaves when they answer; truncated
    answers are asked again by TCP, so are those whose name lost its case; forged ones change nothing."""
    own_network(*NETWORK)
    zone = {"far.example": mx((10, "a.example")), "a.example": host(MX1)}
    with sink(MX1) as a, Far(zone) as far:
        for count, mode in enumerate(("servfail", "silent"), 1):
            far.names.mode = mode
            far.send(f"{mode}@far.example")
            wait_until(lambda n=count: far.server.log().count("deferred ") >= n, 20, f"put off: {mode}")
            equal(len(a.messages), 0, "messages at the host")
        far.names.mode = "answer"
        a.got(2, seconds=30)
    for mode in ("truncate", "lower", "forge"):
        with sink(MX1) as a, Far(zone) as far:
            far.names.mode = mode
            far.send("bob@far.example")
            a.got()
            check((far.names.by_tcp > 0) == (mode != "forge"), f"{mode}: {far.names.by_tcp} answers by TCP")


def test_mx_alias():
    """A chain of aliases of a domain and of its host is followed; a circle is a failure for now."""
    own_network(*NETWORK)
    zone = {"far.example": {"CNAME": ["real.example"]}, "real.example": mx((10, "a.example")),
            "a.example": {"CNAME": ["b.example"]}, "b.example": {"CNAME": ["c.example"]},
            "c.example": host(MX1), "round.example": {"CNAME": ["about.example"]},
            "about.example": {"CNAME": ["round.example"]}}
    with sink(MX1) as a, Far(zone, ("far.example", "round.example")) as far:
        far.send("bob@far.example")
        a.got()
        far.send("bob@round.example")
        wait_until(lambda: "deferred" in far.server.log(), 10, "put off")


def test_mx_answers_are_kept():
    """Within its time to live an answer, or an absence, is not asked for again; a failure not for a moment."""
    own_network(*NETWORK)
    zone = {"far.example": mx((10, "a.example")), "a.example": host(MX1)}
    with sink(MX1) as a, Far(zone) as far:
        far.names.ttl = 300
        for count in range(5):
            far.send("bob@far.example")
            a.got(count + 1)
        equal(sorted(far.names.questions), [("a.example", "A"), ("a.example", "AAAA"), ("far.example", "MX")],
              "questions")


def test_mx_resolver_changes_live():
    """Another name server is asked as soon as the configuration says so, by lookups under way as well."""
    own_network(*NETWORK)
    zone = {"far.example": mx((10, "a.example")), "a.example": host(MX1)}
    with sink(MX1) as a, NameServer(zone, address="127.0.0.54") as other, \
            Far(zone, args=["--http", "127.0.0.1:18080"], resolver={"timeout": 30000},
                env_more={"STALWART_RECOVERY_ADMIN": "root:secret"}) as far:
        far.names.mode = "silent"
        far.send("bob@far.example")
        wait_until(lambda: far.names.asked > 0, 10, "a question to the silent server")
        set_live(18080, "DnsResolver", {"@type": "Custom", "servers": {"127.0.0.54:53": True}})
        a.got()
        check(other.asked > 0, "the other server was not asked")


def test_mx_names_forgotten():
    """InvalidateCaches: the next mail goes where the name leads now, though a connection to the old place was kept."""
    own_network(*NETWORK)
    zone = {"far.example": mx((10, "a.example")), "a.example": host(MX1)}
    with sink(MX1) as old, sink(MX2) as new, Far(zone, cores=2, args=["--http", "127.0.0.1:18080"],
                                                 env_more={"STALWART_RECOVERY_ADMIN": "root:secret"}) as far:
        far.names.ttl = 300
        for count in range(8):
            far.send("bob@far.example")
            old.got(count + 1)
        far.names.zone["a.example"] = host(MX2)
        act_live(18080, "InvalidateCaches")
        for count in range(8):
            far.send("bob@far.example")
            new.got(count + 1)
        equal(len(old.messages), 8, "mail at the old place")
        equal(far.server.log().count(" names-forgotten "), 2, "lines of the log, one a core")


def test_mx_absent_names_forgotten():
    """InvalidateNegativeCaches: a domain that appears gets its mail at once; what was found is not asked for again."""
    own_network(*NETWORK)
    zone = {"near.example": mx((10, "a.example")), "a.example": host(MX1)}
    with sink(MX1) as there, Far(zone, domains=("far.example", "near.example"), args=["--http", "127.0.0.1:18080"],
                                 env_more={"STALWART_RECOVERY_ADMIN": "root:secret"}) as far:
        far.names.ttl = 300
        far.send("bob@near.example")
        there.got(1)
        far.send("bob@far.example", sender="alice@example.org")
        far.server.delivered(1)  # a report
        far.names.zone["far.example"] = mx((10, "a.example"))
        far.send("bob@far.example", sender="alice@example.org")
        far.server.delivered(2)
        asked = len(far.names.questions)
        act_live(18080, "InvalidateNegativeCaches")
        far.send("bob@far.example")
        there.got(2)
        equal(sorted(far.names.questions[asked:]), [("a.example", "AAAA"), ("far.example", "MX")],
              "asked anew: what was absent, not the A record")


def act_live(port, variant):
    call_live(port, "Action", {"create": {"n": {"@type": variant}}}, "created")


def set_live(port, name, patch):
    call_live(port, name, {"update": {"singleton": patch}}, "updated")


def call_live(port, name, arguments, done_member):
    import base64
    import json
    import urllib.request
    call = {"using": ["urn:ietf:params:jmap:core", "urn:stalwart:jmap"],
            "methodCalls": [[f"x:{name}/set", arguments, "0"]]}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/jmap", json.dumps(call).encode(), {
        "Content-Type": "application/json",
        "Authorization": "Basic " + base64.b64encode(b"root:secret").decode()})
    with urllib.request.urlopen(request, timeout=10) as answer:
        done = json.load(answer)["methodResponses"][0][1]
    if not done.get(done_member):
        raise Fail(f"not {done_member}: {done}")


def test_mx_resolver_fields():
    """A silent name server is asked `attempts` times, `timeout` apart; maxMxHosts bounds the hosts tried."""
    own_network(*NETWORK)
    zone = {"far.example": mx((10, "dead.example"), (20, "a.example")), "dead.example": host(DEAD),
            "a.example": host(MX1)}
    with Far(zone, retry_ms=60000, resolver={"attempts": 4, "timeout": 500}) as far:
        far.names.mode = "silent"
        began = time.monotonic()
        far.send("bob@far.example")
        wait_until(lambda: "deferred" in far.server.log(), 20, "put off")
        check(time.monotonic() - began > 4 * 0.5, "four timeouts")
        equal(far.names.asked, 4, "questions")
    route = {"@type": "upsert", "object": "MtaRoute", "matchOn": ["name"],
             "value": {"r": {"@type": "Mx", "name": "mx", "maxMxHosts": 1}}}
    with sink(MX1) as a, Far(zone, extra=[route]) as far:
        far.send("bob@far.example")
        wait_until(lambda: "deferred" in far.server.log(), 10, "put off")
        equal(a.connections, 0, "connections to the second host")


def test_mx_dead_domain_holds_nobody_up():
    """One domain's dead or silent host does not hold up the mail of other domains."""
    own_network(*NETWORK)
    zone = {"a.example": host(MX1), "slow.example": host(MX2)}
    zone |= {f"d{number}.example": mx((10, "a.example")) for number in range(20)}

    def silent(_session, verb, _line):
        return NO_REPLY if verb == "BANNER" else None
    with sink(MX1) as a, sink(MX2, hook=silent), Far(zone, zone) as far:
        for number in range(20):
            far.send("bob@slow.example", f"bob@d{number}.example")
        a.got(20)


def test_mx_no_storm():
    """What a host refuses or breaks for now is put off by the schedule, not tried again at once: 4xx to MAIL
    while no other host can be reached, 421 within a transaction, a connection cut in the middle."""
    own_network(*NETWORK)
    zone = {"two.example": mx((10, "a.example"), (20, "dead.example")), "a.example": host(MX1),
            "dead.example": host(DEAD), "one.example": mx((10, "a.example"))}
    cases = (("MAIL", "451 4.3.2 not now", "two"), ("MAIL", "421 4.3.2 not now", "two"),
             ("RCPT", "421 4.3.2 not now", "one"), ("RCPT", DROP, "one"), ("EOD", DROP, "one"))
    for verb, reply, domain in cases:
        def hook(_session, what, _line, verb=verb, reply=reply):
            return reply if what == verb else None
        with sink(MX1, hook=hook) as a, Far(zone, ("one.example", "two.example"), retry_ms=60000) as far:
            far.send(f"bob@{domain}.example")
            wait_until(lambda: a.connections > 0, 10, "the host was asked")
            time.sleep(1)
            tries = a.verbs().count("MAIL")
            log = far.server.log()
            check(tries <= 2 and "deferred" in log, f"{reply} to {verb}: tried {tries} times")
            deferred = next(line for line in log.splitlines() if "deferred" in line)
            check("peer=" not in deferred or DEAD not in deferred, f"two hosts in one line: {deferred}")


def test_mx_kept_connection_used_up():
    """A host that takes so many messages per connection and then says 421 to MAIL: the next connection at
    once, nothing is put off."""
    own_network(*NETWORK)
    zone = {"far.example": mx((10, "a.example")), "a.example": host(MX1)}

    def two_each(session, verb, _line):
        session.taken = getattr(session, "taken", 0) + (verb == "MAIL")
        return "421 4.3.2 enough" if verb == "MAIL" and session.taken > 2 else None
    with sink(MX1, hook=two_each) as a, Far(zone, retry_ms=60000) as far:
        for count in range(5):
            far.send("bob@far.example")
            a.got(count + 1)
        equal(a.connections, 3, "connections")
        check("deferred" not in far.server.log(), "put off")


def test_mx_long_answer():
    """An answer of many kilobytes comes by TCP, in pieces; of its hosts the best are tried."""
    own_network(*NETWORK)
    hosts = [(20 + number, f"h{number}.far.example") for number in range(300)]
    zone = {"far.example": mx(*hosts, (10, "a.example")), "a.example": host(MX1)}
    with sink(MX1) as a, Far(zone, resolver={"attempts": 1}) as far:
        far.names.mode = "truncate"
        far.send("bob@far.example")
        a.got()
        check("deferred" not in far.server.log(), "put off")


def test_mx_many_domains():
    """More domains at a time than lookups: they wait their turn, none is put off, whatever the name server's
    pace."""
    own_network(*NETWORK)
    count = 1100  # lookups at a time: 1024
    domains = [f"d{number}.example" for number in range(count)]
    zone = {"a.example": host(MX1)} | {domain: mx((10, "a.example")) for domain in domains}
    with sink(MX1) as a, Far(zone, domains, resolver={"timeout": 5000, "attempts": 4}) as far:
        far.names.mode = "silent"
        for first in range(0, count, 60):
            far.send(*[f"bob@{domain}" for domain in domains[first:first + 60]])
        wait_until(lambda: far.names.asked >= 200, 20, "questions")
        time.sleep(1)
        far.names.mode = "answer"
        wait_until(lambda: len(a.messages) >= count, 60, "all messages")
        check("deferred" not in far.server.log(), "put off")
