"""Where a recipient goes: local, relay, refused, waiting for MX."""

import os

from lib import (LOCAL, Server, Sink, check, equal, marked, split_local, split_received, starts, update,
                 wait_until)


def test_split_delivery():
    """alice is local in any spelling, bob is relayed with the spelling that was sent."""
    body = marked("split")
    with Sink() as sink, Server(relay=sink.port) as s:
        with s.wire() as w:
            w.begin(["Alice@Example.ORG", "Bob.Builder@EXAMPLE.org"])
            w.expect("RCPT TO:<x@elsewhere.example>", "550 5.7.1")
            w.expect("DATA", "354")
            w.send(body + b".\r\n")
            ident = w.then("250 2.0.0 Queued").rsplit(" ", 1)[1]
        s.submit("alice+news@example.org", body)
        copies = [split_local(m) for m in s.delivered(2)]
        equal({c[1] for c in copies}, {b"Delivered-To: Alice@Example.ORG",
                                       b"Delivered-To: alice+news@example.org"}, "Delivered-To")
        equal([c[3] for c in copies], [body, body], "content in the mailbox")
        [message] = sink.got()
        equal(message.rcpts, ["Bob.Builder@EXAMPLE.org"], "recipient at the sink")
        equal(message.sender, "sender@example.net", "sender at the sink")
        received, rest = split_received(message.data)
        starts(received, "Received: from client.example.net ([127.0.0.1]) by mx.example.org with "
               f"ESMTP id {ident}; ", "Received, without 'for' as there were two recipients")
        equal(rest, body, "content at the sink")


def test_unknown_users():
    """A domain without allowRelaying refuses unknown users; foreign domains are always refused."""
    with Server(allow_relaying=False, users=("alice", "carol")) as s:
        with s.wire() as w:
            w.expect("MAIL FROM:<>", "250")
            w.expect("RCPT TO:<bob@example.org>", "550 5.1.1")
            w.expect("RCPT TO:<alicea@example.org>", "550 5.1.1")
            w.expect("RCPT TO:<alice@sub.example.org>", "550 5.7.1")
            w.expect("RCPT TO:<alice@[127.0.0.1]>", "550 5.7.1")
            w.expect("RCPT TO:<@relay.example:CAROL@example.org>", "250 2.1.5")


def test_aliases():
    """Aliases of users and of domains reach the mailbox; a disabled alias does not exist."""
    aliases = {"0": {"name": "a.liddell", "domainId": "#d"},
               "1": {"name": "gone", "domainId": "#d", "enabled": False}}
    with Server(allow_relaying=False, extra=[
            {"@type": "create", "object": "Account",
             "value": {"u": {"@type": "User", "name": "lewis", "domainId": "#d", "aliases": aliases}}},
            {"@type": "upsert", "object": "Domain", "matchOn": ["name"],
             "value": {"d2": {"name": "example.org", "aliases": {"example.com": True}}}}]) as s:
        with s.wire() as w:
            w.expect("MAIL FROM:<>", "250")
            w.expect("RCPT TO:<gone@example.org>", "550 5.1.1")
            w.expect("RSET", "250")
            w.message(["A.Liddell@example.org", "lewis@EXAMPLE.com"], marked())
        wait_until(lambda: s.mailbox("lewis"), 10, "delivery to lewis")


def test_postmaster():
    """postmaster, bare and at every local domain, is always accepted and delivered."""
    settings = {"postmasterAddress": "alice@example.org"}
    for strategy in (LOCAL, None):
        with Server(allow_relaying=False, settings=settings, strategy=strategy) as s:
            s.submit("postmaster", marked("bare"))
            s.submit("PostMaster@example.org", marked("at"))
            s.delivered(2)
    # While accounts move, the postmaster of the domain is still where the other accounts are.
    with Sink() as sink, Server(relay=sink.port, settings=settings) as s:
        s.submit("postmaster", marked("bare"))
        s.submit("Postmaster@example.org", marked("at"))
        s.delivered(1)
        equal(sink.got()[0].rcpts, ["Postmaster@example.org"], "recipient at the sink")
    with Sink() as sink, Server(relay=sink.port) as s:
        s.submit("Postmaster", marked("bare"))
        equal(sink.got()[0].rcpts, ["Postmaster"], "recipient at the sink")


def test_postmaster_default():
    """Postmaster mail that no account takes is accepted and waits until one does."""
    with Server() as s:
        s.submit("postmaster", marked("bare"), sender="")
        wait_until(lambda: "deferred" in s.log(), 10, "an attempt")
        s.stop()
        check("postmasterAddress" in s.queue(), f"no advice in the listing: {s.queue()}")
        s.apply([update("SystemSettings", postmasterAddress="alice@example.org")])
        s.start()
        s.delivered()


def test_mx_route_waits():
    """A recipient on the MX route stays queued while no name server answers, with the reason in the listing."""
    strategy = {"match": {"0": {"if": "is_local_address(rcpt)", "then": "'local'"}}, "else": "'mx'"}
    with Server(strategy=strategy) as s:
        ident = s.submit(["alice@example.org", "bob@example.org"])
        s.delivered()
        wait_until(lambda: "deferred" in s.log(), 5, "an attempt")
        s.stop()
        listed = s.queue()
        check(ident in listed and "bob@example.org" in listed, listed)
        check("mail hosts of example.org" in listed, f"no reason: {listed}")
        check("1 message" in listed, listed)
        check("to=<alice@example.org> state=delivered" in listed, listed)


def test_unsafe_local_parts():
    """Local parts such as .. and a/b never leave the mail folder."""
    with Server(users=("alice",), allow_relaying=False, extra=[
            {"@type": "create", "object": "Account", "value": {
                "x": {"@type": "User", "name": "a/b", "domainId": "#d"},
                "y": {"@type": "User", "name": "x" * 64, "domainId": "#d"}}}]) as s:
        s.submit(["a/b@example.org", "x" * 64 + "@example.org", '"alice"@example.org'], marked())
        mail = os.path.join(s.data, "mail")

        def files():
            return [os.path.join(d, f) for d, _, fs in os.walk(mail) for f in fs]
        wait_until(lambda: len(files()) == 3, 10, f"3 copies, found {files()}")
        check(all(len(os.path.relpath(f, mail).split(os.sep)) == 4 for f in files()), str(files()))


def test_internationalized_domain():
    """A domain stored by its A-label is found by its U-label too, in any case; the envelope keeps the spelling."""
    extra = [
        {"@type": "create", "object": "Domain", "value": {"i": {"name": "grün.example"}}},
        {"@type": "create", "object": "Account", "value": {"ina": {"@type": "User", "name": "ina", "domainId": "#i"}}},
    ]
    with Server(extra=extra) as s:
        with s.wire() as w:
            w.expect("MAIL FROM:<a@example.net> SMTPUTF8", "250 2.1.0")
            w.expect("RCPT TO:<Ina@GRÜN.example>", "250 2.1.5")
            w.expect("RCPT TO:<nobody@grün.example>", "550 5.1.1")
            w.expect("RCPT TO:<ina@blau.example>", "550 5.7.1")
            w.expect("RCPT TO:<ina@xn--grn-ioa.example>", "250 2.1.5")
            w.expect("DATA", "354")
            w.send("Subject: x\r\n\r\nx\r\n.\r\n")
            w.then("250 2.0.0")
        folder = os.path.join(s.data, "mail", "xn--grn-ioa.example", "ina", "new")
        wait_until(lambda: os.path.isdir(folder) and len(os.listdir(folder)) == 2, 10, "both copies")
        text = b"".join(open(os.path.join(folder, name), "rb").read() for name in os.listdir(folder))
        check("Delivered-To: Ina@GRÜN.example".encode() in text, "spelling kept")
