"""Dovecot from Debian as the next hop, over LMTP."""

import contextlib
import os
import random
import re
import subprocess

import lib
from lib import Server, Skip, check, equal, free_port, marked, split_received, starts, throwaway_certificate, wait_until
from reports import bounces, recipients, status_fields
from test_dsn import history
from test_false_ends import Unpacked, listening, stop
from test_management import Managed
from test_strategies import in_log, tls_strategy
from test_verify import NO_SUCH, ask, verifying

CONF = """protocols = lmtp
listen = 127.0.0.1
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
hostname = hop.example.net
mail_location = maildir:~
mail_save_crlf = yes
mail_plugins = quota
mailbox_list_index = no
plugin {{
  quota = maildir:User quota
}}
ssl = {ssl}
ssl_cert = <{certificate}
ssl_key = <{key}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = passwd-file
  args = username_format=%Lu {folder}/users
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
service stats {{
  chroot =
}}
"""
TIGHT = "userdb_quota_rule=*:bytes=2000"
ROOMY = "userdb_quota_rule=*:bytes=1000000"


class Dovecot:
    """Debian's Dovecot as if it were installed, with mailboxes of its own, as a context."""

    def __init__(self, ssl=False, **users):
        self.program = os.path.join(lib.DOVECOT or "", "usr/sbin/dovecot")
        if lib.DOVECOT is None or not os.path.exists(self.program):
            raise Skip("needs --dovecot DIR with Debian's dovecot-core and dovecot-lmtpd packages unpacked")
        self.port, self.process = free_port(), None
        self.hop = Unpacked("")
        self.folder = self.hop.folder
        # It looks for its parts where the package has them, whatever its configuration says.
        self.hop.script += f"mount -t overlay overlay -o lowerdir={lib.DOVECOT}/usr:/usr /usr && "
        try:
            self.hop.output("true")
        except subprocess.CalledProcessError as error:
            raise Skip(f"needs an overlay over /usr: {error.stderr.decode().strip()}") from None
        certificate, key = throwaway_certificate(self.folder)
        self.hop.write("conf", CONF.format(folder=self.folder, port=self.port, certificate=certificate, key=key,
                                           ssl="yes" if ssl else "no"))
        self.set_users(**users)
        os.mkdir(os.path.join(self.folder, "mail"))
        os.chown(os.path.join(self.folder, "mail"), 65534, 65534)

    def set_users(self, **users):
        """Who has a mailbox, each with more fields of Dovecot's user database."""
        text = "".join(f"{name}@example.org::65534:65534::{self.folder}/mail/{name}::{more}\n" for name, more in users.items())
        self.hop.write("users.new", text)
        os.rename(os.path.join(self.folder, "users.new"), os.path.join(self.folder, "users"))

    def start(self):
        self.process = self.hop.start(self.program, "-F", "-c", os.path.join(self.folder, "conf"))
        try:
            listening(self.process, self.port)
        except lib.Fail as fail:
            with open(os.path.join(self.folder, "output"), encoding="utf-8", errors="replace") as f:
                raise lib.Fail(f"{fail}: {f.read()}{self.log()}") from None

    def stop(self):
        if self.process is not None:
            stop(self.process)
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *unused):
        self.stop()

    def log(self):
        path = os.path.join(self.folder, "log")
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def connections(self):
        """How many it has seen that said something (what asks whether it listens does not)."""
        return self.log().count("Connect from")

    def mailbox(self, name):
        """(what Dovecot has put on top, what ringmx has put on top, the content as it was sent) of each message."""
        folder, messages = os.path.join(self.folder, "mail", name, "new"), []
        for file in sorted(os.listdir(folder) if os.path.isdir(folder) else []):
            with open(os.path.join(folder, file), "rb") as f:
                text = f.read()
            ours = text.index(b"\r\nReceived: from client.example.net") + 2
            messages.append((text[:ours].decode(), *split_received(text[ours:])))
        return messages

    def delivered(self, name, count=1, seconds=20):
        wait_until(lambda: len(self.mailbox(name)) >= count, seconds, f"{count} messages in Dovecot's mailbox of {name}")
        found = self.mailbox(name)
        equal(len(found), count, f"messages in Dovecot's mailbox of {name}")
        return found


@contextlib.contextmanager
def behind(dovecot, server=Server, certificates="any", **options):
    fields = {"protocol": "lmtp", "allowInvalidCerts": certificates == "any"}
    with server(relay=dovecot.port, relay_fields=fields, **options) as s:
        yield s


def empty(s):
    """Stops the server: nothing may be queued."""
    s.stop()
    equal(s.queue().strip(), "0 messages", "queue")


def test_dovecot_outcomes():
    """One message to five recipients of Dovecot, each with an outcome of its own: two delivered byte for byte, one unknown and
    one over quota reported once, one put off and delivered when there is room; its replies are in the history."""
    users = {"bob": "", "ann": "", "over": TIGHT, "later": f"{TIGHT} userdb_quota_full_tempfail=yes"}
    body = "Subject: grün\r\nX-Odd:\r\n\t folded\r\n\r\n.\r\n..\r\n.dot\r\nüäö\r\n\r\n \r\n".encode() + \
        b"".join(b"%d " % i + b"x" * (i % 990) + b"\r\n" for i in range(0, 1980, 90)) + b"\x01\x7f\xff\xfe\r\n\r\n\r\n"
    check(len(body) > 2000, "more than the quota")
    with Dovecot(**users) as hop, behind(hop, Managed, cores=1) as s:
        ident = s.submit([f"{n}@example.org" for n in ("bob", "nobody", "over", "Ann", "later")], body,
                         sender="alice@example.org", mail_args=" BODY=8BITMIME RET=HDRS")
        for name, spelled in (("bob", "bob"), ("ann", "Ann")):
            [(theirs, _, content)] = hop.delivered(name)
            equal(content, body, f"content for {name}")
            starts(theirs, "Return-Path: <alice@example.org>", f"envelope for {spelled}")
        [dsn] = bounces(s)
        equal(recipients(dsn), ["nobody@example.org", "over@example.org"], "who is reported")
        fields = {group["Final-Recipient"].split(";")[1].strip().split("@")[0]: group for group in status_fields(dsn)[1]}
        for name, status, reply in (("nobody", "5.1.1", "550 5.1.1 <nobody@example.org> User doesn't exist"),
                                    ("over", "5.2.2", "552 5.2.2 <over@example.org> Quota exceeded")):
            group = fields[name]
            equal((group["Action"], group["Status"]), ("failed", status), f"about {name}")
            starts(group["Diagnostic-Code"], f"smtp;{reply}", f"about {name}")

        wait_until(lambda: len(history(s, "later")[1]) >= 2, 10, "a second attempt")
        starts(history(s, "later")[1][1]["responseMessage"], "4.2.2 <later@example.org> Quota exceeded", "its reply")
        equal({(a["result"], a["responseCode"], a["host"], a["peer"]) for a in history(s, "later")[1]},
              {("deferred", 452, "[127.0.0.1]", f"127.0.0.1:{hop.port}")}, "attempts of who is put off")
        for name, spelled in (("bob", "bob"), ("ann", "Ann")):
            [attempt] = history(s, spelled)[1]
            equal((attempt["result"], attempt["responseCode"]), ("delivered", 250), f"the attempt of {name}")
            id_there = re.search(rf"lmtp\({name}@example.org\)<[0-9]+><(.*)>: Info: .*: saved mail", hop.log())[1]
            equal(attempt["responseMessage"], f"2.0.0 <{spelled}@example.org> {id_there} Saved", "Dovecot's id of it")

        hop.set_users(**dict(users, later=ROOMY))
        equal(hop.delivered("later")[0][2], body, "content for who was put off")
        in_log(s, f"delivered id={ident} to=later@")
        for name in ("bob", "ann", "later"):
            hop.delivered(name)  # once
        equal(len(bounces(s)), 1, "reports")
        empty(s)


def test_dovecot_starttls():
    """Dovecot's STARTTLS where TLS is required: its trace header says so; a certificate that does not verify gets nothing."""
    with Dovecot(ssl=True, bob="") as hop:
        for trusted in (False, True):
            strategy = tls_strategy(startTls="require", allowInvalidCerts=trusted)
            with behind(hop, certificates="good", extra=[strategy]) as s:
                body = marked()
                s.submit("bob@example.org", body)
                if not trusted:
                    in_log(s, "the certificate does not verify")
                    equal(hop.mailbox("bob"), [], "delivered all the same")
                    continue
                [(theirs, _, content)] = hop.delivered("bob")
                equal(content, body, "content")
                check("with LMTPS" in theirs, f"without TLS: {theirs}")
                empty(s)


def test_dovecot_many_and_large():
    """Hundreds of messages over a few connections, and one of 16 MiB to two mailboxes; while Dovecot is away they wait; each is
    there once."""
    line = random.Random(1).randbytes(490).hex().encode() + b"\r\n"
    large = b"Subject: large\r\n\r\n" + b"".join(b"%06d" % n + line for n in range(16 * 1024 * 1024 // 988))
    hop = Dovecot(bob="", ann="")
    with behind(hop, retry_ms=200) as s:
        with hop, s.wire() as w:
            before, many = hop.connections(), [marked("many") for _ in range(200)]
            for body in many:
                w.message("bob@example.org", body)
            equal(sorted(m[2] for m in hop.delivered("bob", 200, 30)), sorted(many), "messages of bob")
            check(hop.connections() - before <= 40, f"{hop.connections() - before} connections for 200 messages")
            wait_until(lambda: s.log().count(" delivered ") == 200, 10, "200 deliveries in the log")
        bodies = [large] + [marked("waiting") for _ in range(20)]
        for body in bodies:
            s.submit(["bob@example.org", "ann@example.org"], body)
        in_log(s, "next-hop-down")
        with hop:
            for name, others in (("bob", many), ("ann", [])):
                wanted = sorted(bodies + others)
                equal(sorted(m[2] for m in hop.delivered(name, len(wanted), 30)), wanted, f"messages of {name}")
            wait_until(lambda: s.log().count(" delivered ") == 242, 10, "42 more")
            empty(s)


def test_dovecot_success_notice():
    """Dovecot knows no DSN parameters: it is not told them, and who asked for NOTIFY=SUCCESS is told by us what has become of it."""
    with Dovecot(bob="") as hop, behind(hop) as s:
        with s.wire() as w:
            w.expect("MAIL FROM:<alice@example.org> RET=HDRS ENVID=one", "250 2.1.0")
            w.expect("RCPT TO:<bob@example.org> NOTIFY=SUCCESS ORCPT=rfc822;old@example.org", "250 2.1.5")
            w.expect("DATA", "354")
            w.expect("Subject: x\r\n\r\nx\r\n.", "250 2.0.0")
        hop.delivered("bob")
        [dsn] = bounces(s)
        message, [group] = status_fields(dsn)
        equal((message["Original-Envelope-Id"], group["Action"], group["Original-Recipient"]),
              ("one", "delivered", "rfc822;old@example.org"), "the report")
        starts(group["Diagnostic-Code"], "smtp;250 2.0.0 <bob@example.org> ", "Dovecot's reply")
        empty(s)


def test_dovecot_asked_about_recipients():
    """Dovecot is asked before a recipient is accepted: who has no mailbox there is refused, and nothing is delivered by asking."""
    with Dovecot(bob="") as hop, behind(hop, Managed, cores=1, extra=verifying("defer")) as s:
        replies = ask(s, "bob@example.org", "no@example.org", "alice@example.org", "never@example.org", "Bob@example.org")
        equal([r[:3] for r in replies], ["250", "550", "250", "550", "250"], f"replies {replies}")
        equal(replies[1], NO_SUCH, "reply to a recipient that is not there")
        equal(hop.mailbox("bob"), [], "delivered by asking")
        s.submit("bob@example.org")
        hop.delivered("bob")
        empty(s)
