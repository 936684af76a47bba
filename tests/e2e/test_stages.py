"""Decisions of sessions that are expressions; some ask the DNS."""

import socket

from lib import LOCAL, TOLERANT, Server, Sink, check, constant, equal, relay_route, starts, update, wait_until
from nameserver import NameServer
from test_bans import PROXY, say, session_of
from test_explain import explain
from test_management import Managed


def when(condition, then, otherwise):
    return {"match": {"0": {"if": condition, "then": then}}, "else": otherwise}


def greeted(s, name):
    with s.wire(hello=False) as w:
        w.then("220")
        return w.cmd(f"EHLO {name}")[:9], w.cmd(f"HELO {name}")[:9]


def test_stage_greeting():
    """The banner is the result of smtpGreeting, for each client; what is no text leaves the usual one."""
    with Managed(cores=1, settings=PROXY) as s:
        equal(say_banner(s, "203.0.113.7"), "220 mx.example.org ESMTP", "the usual banner")
        s.api.update("MtaStageConnect", "singleton", smtpGreeting=when(
            "is_ip_in_cidr(remote_ip, '203.0.113.0/24')", "system('hostname') + ' ESMTP hello ' + remote_ip", "0"))
        equal(say_banner(s, "203.0.113.7"), "220 mx.example.org ESMTP hello 203.0.113.7", "of its own")
        equal(say_banner(s, "192.0.2.1"), "220 mx.example.org ESMTP", "no text")
        refused = s.api.set("MtaStageConnect", update={"singleton": {"smtpGreeting": constant("sender")}})
        check("singleton" in refused.get("notUpdated", {}), f"a variable that is not known yet: {refused}")
        refused = s.api.set("MtaStageConnect", update={"singleton": {"script": constant("'x'")}})
        check("singleton" in refused.get("notUpdated", {}), f"scripts: {refused}")


def say_banner(s, client):
    """The banner for a client behind the proxy."""
    with socket.create_connection(("127.0.0.1", s.port), timeout=20) as sock:
        sock.sendall(f"PROXY TCP4 {client} 127.0.0.1 4000 25\r\n".encode())
        return sock.makefile("rb").readline().decode().rstrip("\r\n")


def test_stage_helo():
    """rejectNonFqdn: names without a dot, and address literals, get 550 5.5.0; another name may follow."""
    with Managed(cores=1) as s:
        equal(greeted(s, "localhost"), ("250-mx.ex", "250 mx.ex"), "by default")
        s.api.update("MtaStageEhlo", "singleton", rejectNonFqdn=when(f"local_port == {s.port}", "true", "false"))
        for name in ("localhost", "[192.0.2.1]", "a"):
            equal(greeted(s, name), ("550 5.5.0", "550 5.5.0"), name)
        equal(greeted(s, "client.example.net")[0], "250-mx.ex", "a name with a dot")
        with s.wire(hello=False) as w:
            w.then("220")
            w.expect("EHLO localhost", "550 5.5.0")
            w.expect("MAIL FROM:<a@example.net>", "503")
            w.expect("EHLO client.example.net", "250-")
            w.expect("MAIL FROM:<a@example.net>", "250")
        s.api.update("MtaStageEhlo", "singleton", rejectNonFqdn=constant("false"))
        equal(greeted(s, "localhost"), ("250-mx.ex", "250 mx.ex"), "again")


def test_stage_hostname():
    """hostname: what the server calls itself in banner, EHLO and Received; what is no name of a host is an end for now."""
    with Managed(cores=1, settings=PROXY) as s:
        s.api.update("MtaStageConnect", "singleton", hostname=when(
            "is_ip_in_cidr(remote_ip, '203.0.113.0/24')", "'inside.example.org'", "if_then(remote_port > 0, 'b d', 'x')"))
        session = session_of(s, "203.0.113.7")
        equal(say(session, "EHLO client.example.net").split()[0], "250-inside.example.org", "EHLO")
        for line in ("MAIL FROM:<a@example.net>", "RCPT TO:<alice@example.org>"):
            equal(say(session, line)[:3], "250", line)
        equal(say(session, "DATA")[:3], "354", "DATA")
        equal(say(session, "Subject: x\r\n\r\nhello\r\n.")[:3], "250", "the message")
        session.close()
        wait_until(lambda: s.mailbox(), 10, "the message")
        check(b"by inside.example.org" in s.mailbox()[0], "Received names it")
        equal(say_banner(s, "203.0.113.7"), "220 inside.example.org ESMTP", "the usual banner")
        starts(say_banner(s, "192.0.2.1"), "421 4.3.2", "a result that is no name")
        wait_until(lambda: "expression-failed field=hostname" in s.log(), 10, "the log line")


def test_stage_no_helo():
    """require: where it is false, MAIL needs no EHLO before it."""
    with Managed(cores=1, settings=PROXY) as s:
        s.api.update("MtaStageEhlo", "singleton", require=when("remote_ip == '203.0.113.7'", "false", "true"))
        for client, code in (("203.0.113.7", "250 2.1.0"), ("192.0.2.1", "503 5.5.1")):
            session = session_of(s, client)
            equal(say(session, "MAIL FROM:<a@example.net>")[:9], code, client)
            session.close()
        s.api.update("MtaStageEhlo", "singleton", require=constant("false"))
        session = session_of(s, "192.0.2.1")
        for line in ("MAIL FROM:<a@example.net>", "RCPT TO:<alice@example.org>", "RSET", "EHLO a.example",
                     "MAIL FROM:<a@example.net>"):
            equal(say(session, line)[:3], "250", line)
        session.close()


def test_stage_extensions():
    """What EHLO offers is worked out at every EHLO, also by its name and by what the DNS says; what is not offered is refused."""
    with NameServer({"plain.example": {"A": ["192.0.2.1"]}}) as names, Managed(
            cores=1, extra=[names.resolver(attempts=1)]) as s:
        s.api.update("MtaExtensions", "singleton", pipelining=when("helo_domain == 'old.example'", "false", "true"),
                     chunking=when("is_empty(dns_query(helo_domain, 'ipv4'))", "true", "false"), dsn=constant("is_tls"))

        def offered(w, name):
            w.send(f"EHLO {name}\r\n".encode())
            reply = w.reply()
            return [word for word in ("PIPELINING", "CHUNKING", "DSN", "STARTTLS") if word in reply]
        with s.wire(hello=False) as w:
            w.then("220")
            equal(offered(w, "old.example"), ["CHUNKING", "STARTTLS"], "by name")
            equal(offered(w, "plain.example"), ["PIPELINING", "STARTTLS"], "by the DNS")
            equal(offered(w, "new.example"), ["PIPELINING", "CHUNKING", "STARTTLS"], "neither")
            w.expect("MAIL FROM:<a@example.net> RET=HDRS", "555")
            equal(offered(w, "plain.example"), ["PIPELINING", "STARTTLS"], "again")
            w.expect("BDAT 0 LAST", "50")
            names.mode = "servfail"
            w.expect("EHLO gone.example", "451 4.4.3")
            names.mode = "answer"
        wait_until(lambda: "expression-failed field=chunking" in s.log(), 10, "the log line")


def test_stage_asks_early():
    """The banner, limits and names at EHLO may depend on the DNS: the client waits, keeps its order, and may go; 421 or 451
    when nobody can say."""
    zone = {"7.113.0.203.list.example": {"A": ["127.0.0.2"]}, "good.example": {"A": ["192.0.2.5"]}}
    listed = "is_empty(dns_query(ip_reverse_name(remote_ip) + '.list.example', 'ipv4'))"
    with NameServer(zone) as names, Managed(cores=1, settings=PROXY, extra=[names.resolver(attempts=1, timeout=30000), TOLERANT]) as s:
        s.api.update("MtaStageConnect", "singleton", smtpGreeting=when(listed, "'mx.example.org hello'", "'mx.example.org listed'"))
        s.api.update("MtaStageData", "singleton", maxMessageSize=when(listed, "5000", "2000"))
        s.api.update("MtaStageEhlo", "singleton", rejectNonFqdn=constant("is_empty(dns_query('good.example', 'ipv4'))"))
        for client, banner, size in (("203.0.113.7", "listed", 2000), ("203.0.113.8", "hello", 5000)):
            equal(say_banner(s, client), f"220 mx.example.org {banner}", client)
            with socket.create_connection(("127.0.0.1", s.port), timeout=20) as sock:
                sock.sendall(f"PROXY TCP4 {client} 127.0.0.1 4000 25\r\nEHLO localhost\r\nNOOP\r\n".encode())
                lines = sock.makefile("rb")
                text = b""
                while b"250 2.0.0" not in text:
                    more = lines.readline()
                    check(more, f"the end behind {text}")
                    text += more
                check(f"SIZE {size}".encode() in text, f"SIZE for {client}: {text}")
        equal(names.questions.count(("7.113.0.203.list.example", "A")), 2, "questions: one for each session")
        names.mode = "silent"
        asked = names.asked
        gone = socket.create_connection(("127.0.0.1", s.port), timeout=20)
        gone.sendall(b"PROXY TCP4 203.0.113.9 127.0.0.1 4000 25\r\n")
        wait_until(lambda: names.asked > asked, 10, "a question")
        gone.close()
        stays = socket.create_connection(("127.0.0.1", s.port), timeout=20)
        stays.sendall(b"PROXY TCP4 203.0.113.10 127.0.0.1 4000 25\r\n")
        wait_until(lambda: names.asked > asked + 1, 10, "another question")
        s.stop()
        starts(stays.makefile("rb").readline().decode(), "421", "the end")
        stays.close()
    with NameServer(zone) as names, Managed(cores=1, settings=PROXY, extra=[names.resolver(attempts=1)]) as s:
        names.mode = "servfail"
        s.api.update("MtaStageEhlo", "singleton", rejectNonFqdn=constant("is_empty(dns_query('good.example', 'ipv4'))"))
        session = session_of(s, "203.0.113.7")
        starts(say(session, "EHLO localhost"), "451 4.4.3", "EHLO when nobody can say")
        session.close()
        s.api.update("MtaStageConnect", "singleton", smtpGreeting=constant("if_then(is_empty(dns_query('x.example', 'ipv4')), 'a', 'b')"))
        starts(say_banner(s, "203.0.113.7"), "421 4.3.2", "the banner when nobody can say")


def test_session_duration_expression():
    """maxDuration may depend on the client: a session whose limit is an expression lives as long as that says."""
    with Managed(cores=1, settings=PROXY) as s:
        s.api.update("MtaInboundSession", "singleton", maxDuration=when("remote_ip == '203.0.113.7'", "1s", "1h"))
        session = session_of(s, "203.0.113.8")
        starts(say(session, "EHLO client.example.net"), "250", "the one that lives long")
        short = session_of(s, "203.0.113.7")
        starts(say(short, "EHLO client.example.net"), "250", "the one that lives shortly")
        starts(short.recv(500).decode(), "421", "its end")
        starts(say(session, "NOOP"), "250", "the other goes on")
        session.close()
        short.close()


def test_session_timeout_expression():
    """timeout may depend on the client, and holds for one that says nothing after the banner."""
    short = update("MtaInboundSession", timeout=when("remote_ip == '127.0.0.7'", "1s", "1h"))
    with Server(cores=1, extra=[short]) as s, s.wire(hello=False) as other:
        with socket.create_connection(("127.0.0.1", s.port), timeout=20, source_address=("127.0.0.7", 0)) as silent:
            text = silent.makefile("rb").read().decode()
        check(text.startswith("220 ") and "\r\n421 4.4.2" in text, text)
        other.hello()


def test_stage_sender():
    """isSenderAllowed refuses with 550 5.7.1; it may ask the DNS: block lists, each name once, order kept, 451 when nobody can say."""
    zone = {"7.113.0.203.list.example": {"A": ["127.0.0.2"]}, "good.example": {"MX": [(10, "mx.good.example")], "A": ["192.0.2.5"]},
            "7.113.0.203.in-addr.arpa": {"PTR": ["client.example.net"]}, "t.example": {"TXT": ["one", "two"]}}
    with NameServer(zone) as names, Managed(cores=1, settings=PROXY, extra=[names.resolver(attempts=1)]) as s:
        def allowed(expression):
            s.api.update("MtaStageMail", "singleton", isSenderAllowed=constant(expression))

        def code(client="203.0.113.7", sender="a@good.example"):
            session = session_of(s, client)
            equal(say(session, "EHLO client.example.net")[:3], "250", "EHLO")
            reply = say(session, f"MAIL FROM:<{sender}>")
            equal(say(session, "RSET")[:3], "250", "the session goes on")
            session.close()
            return reply[:9]
        allowed("sender_domain != 'bad.example'")
        equal(code(sender="a@bad.example"), "550 5.7.1", "a sender that is not wanted")
        equal(code(), "250 2.1.0", "another")
        equal(code(sender=""), "250 2.1.0", "the null sender")
        allowed("is_empty(dns_query(ip_reverse_name(remote_ip) + '.list.example', 'ipv4'))")
        equal(code(), "550 5.7.1", "on the list")
        equal(code("203.0.113.8"), "250 2.1.0", "not on the list")
        equal(names.questions.count(("7.113.0.203.list.example", "A")), 1, "questions")
        for expression in ("contains(dns_query(sender_domain, 'mx'), 'mx.good.example')",
                           "dns_query(sender_domain, 'ip') == ['192.0.2.5']", "is_empty(dns_query(sender_domain, 'ipv6'))",
                           "dns_query(remote_ip, 'ptr') == ['client.example.net']", "count(dns_query('t.example', 'txt')) == 2",
                           "is_empty(dns_query('no..name', 'ipv4'))", "is_empty(dns_query('nowhere.example', 'txt'))",
                           # without a time to live nothing is kept from one evaluation to the next
                           "dns_query('good.example', 'ipv4') == dns_query(sender_domain, 'ipv4')"):
            allowed(expression)
            equal(code(), "250 2.1.0", expression)
        allowed(" && ".join(f"is_empty(dns_query('n{n}.example', 'ipv4'))" for n in range(9)))
        equal(code(), "451 4.4.3", "more names than it may ask about")
        wait_until(lambda: "expression-failed field=isSenderAllowed" in s.log(), 10, "the log line")
        allowed("is_empty(dns_query('x.' + sender_domain, 'ipv4'))")
        names.mode = "servfail"
        equal(code(), "451 4.4.3", "nobody can say")
        names.mode = "answer"
        refused = s.api.set("MtaStageMail", update={"singleton": {"script": constant("'x'")}})
        check("singleton" in refused.get("notUpdated", {}), f"scripts: {refused}")


def test_stage_rewrite():
    """rewrite: another envelope sender, another recipient, before it is looked up and checked; the original is what reports and
    the log name; what is no address, and what the DNS cannot say, is 451."""
    zone = {"b.example": {"TXT": ["moved.example"]}}
    with NameServer(zone) as names, Sink() as sink, Managed(cores=1, relay=sink.port, extra=[names.resolver(attempts=1)]) as s:
        s.api.update("MtaStageMail", "singleton", rewrite=when(
            "matches('^(.*)@old[.]example$', sender)", "$1 + '@new.example'", "if_then(sender_domain == 'bad.example', 'no address', false)"),
            isSenderAllowed=constant("sender_domain != 'new.example'"))
        s.api.update("MtaStageRcpt", "singleton", rewrite={"match": {
            "0": {"if": "matches('^list-(.*)@example[.]org$', rcpt)", "then": "$1 + '@example.org'"},
            "1": {"if": "rcpt_domain == 'b.example' && contains(dns_query(rcpt_domain, 'txt'), 'moved.example')",
                  "then": "'alice@example.org'"},
            "2": {"if": "rcpt_domain == 'odd.example'", "then": "'x'"}}, "else": "false"})

        def send(sender, *rcpts):
            with s.wire() as w:
                w.expect(f"MAIL FROM:<{sender}>", "250")
                for rcpt in rcpts:
                    w.expect(f"RCPT TO:<{rcpt}>", "250")
                w.expect("DATA", "354")
                w.send(b"Subject: x\r\n\r\nhello\r\n.\r\n")
                w.then("250 2.0.0 Queued")
        send("a@old.example", "list-bob@example.org", "list-carol@example.org", "carol@example.org")
        message = sink.got(1)[0]
        equal(message.sender, "a@new.example", "sender")
        equal(message.rcpts, ["bob@example.org", "carol@example.org"], "recipients, each once")
        wait_until(lambda: "address-rewritten" in s.log() and "command=MAIL address=a@old.example becomes=a@new.example" in s.log(),
                   10, "the log")
        send("a@other.example", "list-alice@example.org", "x@b.example")
        wait_until(lambda: s.mailbox(), 10, "local mail")
        with s.wire() as w:
            w.expect("MAIL FROM:<a@new.example>", "550 5.7.1")
            w.expect("MAIL FROM:<a@bad.example>", "451 4.4.3")
            w.expect("MAIL FROM:<>", "250")
            w.expect("RCPT TO:<y@odd.example>", "451 4.4.3")
            w.expect("RCPT TO:<list-x@elsewhere.example>", "550 5.7.1")
            w.expect("RCPT TO:<bob@example.org>", "250")
            names.mode = "servfail"
            w.expect("RCPT TO:<z@b.example>", "451 4.4.3")
        wait_until(lambda: s.log().count('reason="the result is not an address"') == 2, 10, "why, for both")
        answer = explain(s, "list-bob@example.org", "--from", "a@old.example")
        equal((answer["rewrittenRecipient"], answer["rewrittenSender"], answer["route"]["name"]),
              ("bob@example.org", "a@new.example", "source"), "explained")


def test_expressions_whatever_the_case():
    """Domains are compared in lower case by every expression, addresses by those of a session, so no spelling gets around a rule;
    what is relayed keeps its own."""
    spam = {"@type": "create", "object": "MemoryLookupKey", "value": {"k": {"namespace": "spam", "key": "boss@spam.example", "isGlobPattern": False}}}
    with Sink() as sink, Sink() as second, Managed(cores=1, relay=sink.port, extra=[spam, relay_route(second.port, "second")]) as s:
        s.api.update("MtaStageMail", "singleton", isSenderAllowed=constant("!key_exists('spam', sender) && sender_domain != 'bad.example'"))
        s.api.update("MtaStageRcpt", "singleton", allowRelaying=constant("rcpt_domain == 'partner.example' && sender == 'friend@example.net'"),
                     rewrite={"match": {"0": {"if": "rcpt == 'old@example.org'", "then": "'New@example.org'"}}, "else": "rcpt"})
        s.api.update("MtaOutboundStrategy", "singleton", route=when(
            "rcpt_domain == 'partner.example' && sender_domain == 'example.net' && ends_with(rcpt, '@partner.example')", "'second'", "'source'"))
        with s.wire() as w:
            for sender in ("boss@spam.example", "Boss@SPAM.Example", "x@bad.example", "x@BAD.example"):
                w.expect(f"MAIL FROM:<{sender}>", "550 5.7.1")
            w.expect("MAIL FROM:<Friend@Example.NET>", "250")
            for rcpt in ("X.Y@Partner.EXAMPLE", "OLD@Example.Org", "Bob@EXAMPLE.org"):
                w.expect(f"RCPT TO:<{rcpt}>", "250")
            w.expect("RCPT TO:<x@other.example>", "550 5.7.1")
            w.expect("DATA", "354")
            w.send(b"Subject: x\r\n\r\nhello\r\n.\r\n")
            w.then("250 2.0.0 Queued")
        equal((second.got(1)[0].sender, second.messages[0].rcpts), ("Friend@Example.NET", ["X.Y@Partner.EXAMPLE"]), "as it was sent")
        equal(sink.got(1)[0].rcpts, ["New@example.org", "Bob@EXAMPLE.org"], "rewritten, and as it was sent")
        answer = explain(s, "X.Y@Partner.EXAMPLE", "--from", "FRIEND@example.net")
        equal((answer["outcome"], answer["route"]["name"], answer["rewrittenRecipient"]), ("relayed", "second", None), "explained")


def test_stage_greeting_is_a_variable():
    """An expression may yield what it was told, and nothing else: the banner is the client's address."""
    with Managed(cores=1, settings=PROXY) as s:
        s.api.update("MtaStageConnect", "singleton", smtpGreeting=constant("remote_ip"))
        for client in ("203.0.113.7", "192.0.2.123"):
            equal(say_banner(s, client), "220 " + client, "banner")


def test_stage_rewrite_reports():
    """A report about a rewritten recipient names the original one, or what the client has named."""
    def nobody(session, verb, line):
        return "550 5.1.1 nobody" if verb == "RCPT" else None
    with Sink(hook=nobody) as sink, Managed(cores=1, relay=sink.port) as s:
        s.api.update("MtaStageRcpt", "singleton", rewrite=when(
            "matches('^list-(.*)@example[.]org$', rcpt)", "$1 + '@example.org'", "false"))
        with s.wire() as w:
            w.expect("MAIL FROM:<alice@example.org>", "250")
            w.expect("RCPT TO:<list-bob@example.org>", "250")
            w.expect("RCPT TO:<list-carol@example.org> ORCPT=rfc822;said@example.net", "250")
            w.expect("DATA", "354")
            w.send(b"Subject: x\r\n\r\nhello\r\n.\r\n")
            w.then("250 2.0.0 Queued")
        wait_until(lambda: s.mailbox(), 15, "the report")
        report = b"".join(s.mailbox())
        for part in (b"Original-Recipient: rfc822;list-bob@example.org", b"Final-Recipient: rfc822;bob@example.org",
                     b"Original-Recipient: rfc822;said@example.net"):
            check(part in report, f"{part} in {report}")


def test_stage_sender_waits():
    """While the DNS is silent a session waits with its pipelined commands; it can be cut, and the server can stop."""
    with NameServer({}) as names, Managed(cores=1, extra=[names.resolver(timeout=30000)]) as s:
        s.api.update("MtaStageMail", "singleton", isSenderAllowed=constant("is_empty(dns_query(sender_domain, 'ipv4'))"))
        names.mode = "silent"
        commands = b"MAIL FROM:<a@one.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n"
        gone = s.wire()
        gone.send(commands)
        wait_until(lambda: names.asked >= 1, 10, "a question")
        gone.sock.close()
        stays = s.wire()
        stays.send(commands)
        other = s.wire()
        other.expect("NOOP", "250")
        stops = s.wire()
        stops.send(b"MAIL FROM:<a@two.example>\r\n")
        wait_until(lambda: names.asked >= 2, 10, "a question")
        s.stop()
        for w in (stays, stops, other):
            starts(w.reply(), "421", "the end")


def test_stage_relaying():
    """allowRelaying lets some clients send to domains that are not served here; mail goes where the route leads."""
    zone = {"7.113.0.203.friends.example": {"A": ["127.0.0.1"]}}
    to_far = {"match": {"0": {"if": "is_local_domain(rcpt_domain)", "then": "'local'"}}, "else": "'far'"}
    with NameServer(zone) as names, Sink() as far, Managed(cores=2, settings=PROXY, strategy=LOCAL, extra=[
            names.resolver(attempts=1), relay_route(far.port, name="far"),
            {"@type": "update", "object": "MtaOutboundStrategy", "value": {"route": to_far}}]) as s:
        def code(client, rcpt):
            session = session_of(s, client)
            for line in ("EHLO client.example.net", "MAIL FROM:<a@example.net>"):
                equal(say(session, line)[:3], "250", line)
            reply = say(session, f"RCPT TO:<{rcpt}>")
            if reply[:3] == "250":
                equal(say(session, "DATA")[:3], "354", "DATA")
                equal(say(session, "Subject: x\r\n\r\nhello\r\n.")[:3], "250", "the message")
            session.close()
            return reply[:9]
        equal(code("203.0.113.7", "x@far.example"), "550 5.7.1", "by default")
        s.api.update("MtaStageRcpt", "singleton", allowRelaying=constant(
            "rcpt_domain == 'far.example' && !is_empty(dns_query(ip_reverse_name(remote_ip) + '.friends.example', 'ipv4'))"))
        equal(code("203.0.113.7", "x@far.example"), "250 2.1.5", "a friend")
        equal(far.got(1)[0].rcpts, ["x@far.example"], "recipients")
        equal(code("203.0.113.8", "x@far.example"), "550 5.7.1", "somebody else")
        equal(code("203.0.113.7", "x@other.example"), "550 5.7.1", "another domain")
        equal(code("203.0.113.7", "alice@example.org"), "250 2.1.5", "a local account")
        names.mode = "servfail"
        equal(code("203.0.113.9", "x@far.example"), "451 4.4.3", "nobody can say")
        check("allowRelaying" in explain(s, "x@far.example")["reason"], "explain names the field")


def test_route_asks():
    """route and schedule may ask the DNS, at RCPT and at every attempt: mail goes where the answer leads, a message to many
    as one; when nobody can say, RCPT gets 451 and queued mail waits, and never goes elsewhere."""
    zone = {"moved.example": {"TXT": ["second"]}, "stays.example": {"TXT": ["first"]}, "b.moved.example": {"TXT": ["second"]}}
    domains = [{"@type": "create", "object": "Domain", "value": {
        n: {"name": f"{n}.example" if n != "bm" else "b.moved.example", "allowRelaying": True} for n in ("moved", "stays", "bm")}}]
    rule = {"match": {"0": {"if": "is_local_address(rcpt)", "then": "'local'"},
                      "1": {"if": "contains(dns_query(rcpt_domain, 'txt'), 'second')", "then": "'second'"}}, "else": "'source'"}
    with NameServer(zone) as names, Sink() as first, Sink() as second, Managed(
            cores=2, relay=first.port, retry_ms=200, strategy=LOCAL,
            extra=[names.resolver(attempts=1), relay_route(second.port, "second"), *domains]) as s:
        s.api.update("MtaOutboundStrategy", "singleton", route=rule)

        def send(*rcpts, code="250"):
            with s.wire() as w:
                w.expect("MAIL FROM:<a@example.net>", "250")
                for rcpt in rcpts:
                    w.expect(f"RCPT TO:<{rcpt}>", code)
                if code == "250":
                    w.expect("DATA", "354")
                    w.send(b"Subject: x\r\n\r\nhello\r\n.\r\n")
                    w.then("250 2.0.0 Queued")
        send("a@moved.example", "b@stays.example", "c@moved.example", "alice@example.org", "d@b.moved.example")
        equal(sorted(second.got(1)[0].rcpts), ["a@moved.example", "c@moved.example", "d@b.moved.example"], "one message there")
        equal(first.got(1)[0].rcpts, ["b@stays.example"], "and one here")
        wait_until(lambda: s.mailbox(), 10, "and one local")
        asked = names.asked
        with s.wire() as w:
            w.expect("MAIL FROM:<a@example.net>", "250")
            w.expect("RCPT TO:<x@elsewhere.example>", "550 5.7.1")
        equal(names.asked, asked, "strangers do not make it ask")
        names.mode = "servfail"
        send("e@moved.example", code="451 4.4.3")
        wait_until(lambda: "routing-failed" in s.log() and "detail=" in s.log(), 10, "the log line")
        names.mode = "answer"
        with s.wire() as w:
            w.expect("MAIL FROM:<a@example.net>", "250")
            w.expect("RCPT TO:<f@b.moved.example>", "250")
            w.expect("DATA", "354")
            names.mode = "servfail"
            w.send(b"Subject: x\r\n\r\nhello\r\n.\r\n")
            w.then("250 2.0.0 Queued")
        wait_until(lambda: 'event=deferred' in s.log() or " deferred id=" in s.log(), 10, "it is put off")
        equal((len(first.messages), len(second.messages)), (1, 1), "and goes nowhere")
        names.mode = "answer"
        equal(second.got(2)[1].rcpts, ["f@b.moved.example"], "later it goes where it should")
        s.api.update("MtaOutboundStrategy", "singleton", route=rule, schedule=when("is_empty(dns_query(rcpt_domain, 'txt'))", "'remote'", "'dsn'"))
        send("g@stays.example")
        equal(first.got(2)[1].rcpts, ["g@stays.example"], "with a schedule that asks")


def test_route_asks_stop():
    """Mail whose route waits for the DNS does not keep the server from stopping, and is delivered after the next start."""
    zone = {"example.org": {"TXT": ["x"]}}
    with NameServer(zone) as names, Sink() as sink, Managed(
            cores=1, relay=sink.port, retry_ms=200, extra=[names.resolver(attempts=1, timeout=30000)]) as s:
        s.api.update("MtaOutboundStrategy", "singleton", route=when(
            "is_empty(dns_query(rcpt_domain, 'txt'))", "'local'", "'source'"))
        with s.wire() as w:
            w.expect("MAIL FROM:<a@example.net>", "250")
            w.expect("RCPT TO:<bob@example.org>", "250")
            w.expect("DATA", "354")
            names.mode = "silent"
            asked = names.asked
            w.send(b"Subject: x\r\n\r\nhello\r\n.\r\n")
            w.then("250 2.0.0 Queued")
        wait_until(lambda: names.asked > asked, 10, "a question")
        s.stop()
        names.mode = "answer"
        s.start()
        equal(sink.got(1)[0].rcpts, ["bob@example.org"], "delivered after the start")


def test_strategy_asks():
    """connection and tls may ask the DNS, for a recipient and a host: a message is split by what is said, nobody goes another
    way when nobody can say, and the server stops while it waits."""
    zone = {"safe.example": {"TXT": ["tls"]}, "plain.example": {"TXT": ["none"]}}
    domains = [{"@type": "create", "object": "Domain", "value": {
        n: {"name": f"{n}.example", "allowRelaying": True} for n in ("safe", "plain", "late")}}]
    strategies = [{"@type": "create", "object": "MtaTlsStrategy", "value": {"t": {"name": "safe", "startTls": "require"}}},
                  {"@type": "create", "object": "MtaConnectionStrategy", "value": {"c": {"name": "named", "ehloHostname": "named.example"}}}]
    with NameServer(zone) as names, Sink() as sink, Managed(
            cores=1, relay=sink.port, retry_ms=300, extra=[names.resolver(attempts=1, timeout=30000), *domains, *strategies]) as s:
        s.api.update("MtaOutboundStrategy", "singleton",
                     tls=when("contains(dns_query(rcpt_domain, 'txt'), 'tls')", "'safe'", "'default'"),
                     connection=when("!is_empty(dns_query(rcpt_domain, 'txt'))", "'named'", "'default'"))

        def send(*rcpts):
            with s.wire() as w:
                w.expect("MAIL FROM:<a@example.net>", "250")
                for rcpt in rcpts:
                    w.expect(f"RCPT TO:<{rcpt}>", "250")
                w.expect("DATA", "354")
                w.send(b"Subject: x\r\n\r\nhello\r\n.\r\n")
                w.then("250 2.0.0 Queued")
        send("a@plain.example", "b@safe.example", "c@plain.example")
        equal(sink.got(1)[0].rcpts, ["a@plain.example", "c@plain.example"], "those that need no TLS")
        check("EHLO named.example" in str(sink.commands), f"the connection's strategy: {sink.commands}")
        wait_until(lambda: " deferred id=" in s.log() and "to=b@safe.example" in s.log(), 10, "the one that needs it waits")
        explained = explain(s, "b@safe.example")["nextHop"]
        equal((explained["tlsStrategy"]["name"], explained["connection"]["name"]), ("safe", "named"), "explained")
        names.mode = "servfail"
        send("d@late.example")
        wait_until(lambda: "to=d@late.example" in s.log() and "expression could not be evaluated" in s.log(), 10, "put off")
        equal(len(sink.messages), 1, "and not sent in another way")
        names.mode = "silent"
        asked = names.asked
        send("e@plain.example")
        wait_until(lambda: names.asked > asked, 10, "a question")
        s.stop()
        names.mode = "answer"
        s.start()
        wait_until(lambda: ["e@plain.example"] in [m.rcpts for m in sink.messages], 15, "after the start")
