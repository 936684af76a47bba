"""Reports to senders: how many, about what, from whom."""

import threading
import time

from lib import Sink, check, constant, equal, marked, relay_route, wait_until
from test_management import Managed
from test_queue_api import get
from test_queue_steer import restart, run_cli
from test_relay import bounces, recipients, status_fields
from test_stages import when

BY_NAME = {"match": {"0": {"if": "is_local_address(rcpt)", "then": "'local'"},
                     "1": {"if": "starts_with(rcpt, 'lmtp')", "then": "'lmtp'"}}, "else": "'source'"}


def two_hops(smtp, lmtp, **options):
    return Managed(relay=smtp.port, cores=1, strategy=BY_NAME,
                   extra=[relay_route(lmtp.port, "lmtp", protocol="lmtp")], **options)


def send(s, *rcpts):
    with s.wire() as w:
        w.expect("MAIL FROM:<alice@example.org> RET=FULL ENVID=one+2Bonly", "250")
        for rcpt in rcpts:
            w.expect(f"RCPT TO:{rcpt}", "250")
        w.expect("DATA", "354")
        w.expect("Subject: x\r\nMessage-ID: <first@example.org>\r\n\r\nthe body\r\n.", "250")


def by_recipient(dsn):
    return {g["Final-Recipient"].split(";")[1].strip().split("@")[0]:
            (g["Action"], g["Status"], g["Diagnostic-Code"]) for g in status_fields(dsn)[1]}


def test_dsn_one_for_several_hops():
    """Failures and successes of several next hops, some slow, in one attempt of a message: one report about all."""
    def smtp_says(session, verb, line):
        return {"RCPT": "550 5.1.1 no such user" if "smtp-bad" in line else
                        "451 4.3.2 later" if "smtp-later" in line else None}.get(verb)

    def lmtp_says(session, verb, line):
        if verb == "RCPT":
            time.sleep(0.5)
        return "552 5.2.2 too full" if verb == "RESULT" and "lmtp-bad" in line else None
    with Sink(hook=smtp_says) as smtp, Sink(lmtp=True, hook=lmtp_says) as lmtp, two_hops(smtp, lmtp) as s:
        send(s, "<smtp-bad@example.org>", "<smtp-later@example.org>", "<smtp-silent@example.org> NOTIFY=NEVER",
             "<lmtp-bad@example.org> ORCPT=rfc822;Old@example.org", "<lmtp-good@example.org> NOTIFY=SUCCESS,FAILURE",
             "<lmtp-quiet@example.org>")
        [dsn] = bounces(s)
        equal(by_recipient(dsn), {
            "smtp-bad": ("failed", "5.1.1", "smtp;550 5.1.1 no such user"),
            "lmtp-bad": ("failed", "5.2.2", "smtp;552 5.2.2 too full"),
            "lmtp-good": ("delivered", by_recipient(dsn)["lmtp-good"][1], by_recipient(dsn)["lmtp-good"][2])}, "outcomes")
        message, groups = status_fields(dsn)
        equal(message["Original-Envelope-Id"], "one+only", "Original-Envelope-Id")
        equal([g["Original-Recipient"] for g in groups if "lmtp-bad" in g["Final-Recipient"]],
              ["rfc822;Old@example.org"], "Original-Recipient")
        for group in groups:
            check(group["Last-Attempt-Date"] and group["Remote-MTA"], f"fields of an attempt: {group.items()}")
        equal((dsn["In-Reply-To"], dsn["References"], dsn["Auto-Submitted"]),
              ("<first@example.org>", "<first@example.org>", "auto-replied"), "RFC 3834")
        quoted = list(dsn.iter_parts())[2]
        equal(quoted.get_content_type(), "message/rfc822", "RET=FULL and a failure")
        check("the body" in quoted.as_string(), "the content")
        time.sleep(1)
        equal(len(s.mailbox()), 1, "reports")


def test_dsn_success_returns_no_content():
    """RET=FULL is about failures alone (RFC 3461 section 6.2)."""
    with Sink(lmtp=True) as lmtp, Sink() as smtp, two_hops(smtp, lmtp) as s:
        send(s, "<lmtp-good@example.org> NOTIFY=SUCCESS")
        [dsn] = bounces(s)
        equal(by_recipient(dsn)["lmtp-good"][0], "delivered", "action")
        equal(list(dsn.iter_parts())[2].get_content_type(), "text/rfc822-headers", "third part")


def test_dsn_open_report_survives_a_kill():
    """One next hop is done, the other hangs, the process is killed: nothing is delivered twice, all is reported once."""
    hangs = threading.Event()

    def smtp_says(session, verb, line):
        return "550 5.1.1 no such user" if verb == "RCPT" and "smtp-bad" in line else None

    def lmtp_says(session, verb, line):
        if verb == "RCPT" and not hangs.is_set():
            hangs.set()
            time.sleep(3)
        return None
    with Sink([e for e in Sink.ALL if e != "DSN"], hook=smtp_says) as smtp, \
            Sink(lmtp=True, hook=lmtp_says) as lmtp, two_hops(smtp, lmtp) as s:
        send(s, "<smtp-bad@example.org>", "<smtp-good@example.org> NOTIFY=SUCCESS,FAILURE", "<lmtp-slow@example.org>")
        wait_until(lambda: hangs.is_set() and len(smtp.messages) == 1 and " failed " in s.log(), 10, "the first outcomes")
        time.sleep(0.5)  # they are on the disk soon
        equal(s.mailbox(), [], "reports before the attempt has ended")
        s.kill()
        s.start()
        [dsn] = bounces(s)
        found = by_recipient(dsn)
        equal(found["smtp-bad"], ("failed", "5.1.1", "smtp;550 5.1.1 no such user"), "the failure")
        equal(found["smtp-good"][0], "relayed", "the success")
        wait_until(lambda: len(lmtp.messages) == 1, 20, "the rest")
        time.sleep(0.5)
        equal((len(s.mailbox()), len(smtp.messages)), (1, 1), "reports, and copies of what was delivered")


def test_dsn_from():
    """DsnReportSettings: whose name and address stand in the From field, for each report; never signed."""
    def refuse(session, verb, line):
        return "550 5.1.1 no" if verb == "RCPT" else None
    with Sink(hook=refuse) as sink, Managed(relay=sink.port, cores=1) as s:
        def report(count):
            s.submit("bob@example.org", marked(), sender="alice@example.org")
            bounces(s, count)  # there are so many
            return [d for d in bounces(s, count) if str(d["From"]) not in seen][0]
        seen = []

        def from_field(count):
            found = str(report(count)["From"])
            seen.append(found)
            return found
        equal(from_field(1), "Mail Delivery System <MAILER-DAEMON@mx.example.org>", "by default")
        s.api.update("DsnReportSettings", "singleton", fromName=constant("'Grüße, ' + sender_domain"),
                     fromAddress=when("last_status == '550'", "'refused@example.org'", "'other@example.org'"))
        equal(from_field(2), '"Grüße, example.org" <refused@example.org>', "by expressions")
        s.api.update("DsnReportSettings", "singleton", fromName=constant("'Post'"), fromAddress=constant("'no address'"))
        equal(from_field(3), "Post <MAILER-DAEMON@mx.example.org>", "what is no address")
        check(" dsn-from-default " in s.log(), "no log line")
        for field, value in (("dkimSignDomain", constant("'example.org'")), ("fromName", constant("rcpt"))):
            refused = s.api.set("DsnReportSettings", update={"singleton": {field: value}})
            check("singleton" in refused.get("notUpdated", {}), f"{field}: {refused}")


def history(s, who):
    """(result, code, text) of each attempt, as the API tells them."""
    [message] = wait_until(lambda: [m for m in get(s)["list"] if m["returnPath"] == "alice@example.org"], 10, "the message")
    rcpt = message["recipients"][f"{who}@example.org"]
    return message, [rcpt["attempts"][str(i)] for i in range(len(rcpt["attempts"]))]


def test_queue_history():
    """Every attempt of a recipient with its reply, over the API and the command line; after a kill as well; bounded."""
    answers = {"later": "451 4.3.2 not now", "good": None}

    def says(session, verb, line):
        if verb == "RCPT" and "later" in line:
            return answers["later"]
        return "250 2.0.0 queued as REMOTE77" if verb == "EOD" else None
    with Sink(hook=says) as sink, Managed(relay=sink.port, cores=1) as s:
        queue_id = s.submit(["later@example.org", "good@example.org"], marked(), sender="alice@example.org")
        wait_until(lambda: len(history(s, "later")[1]) >= 2, 20, "two attempts")
        first = history(s, "later")[1][0]
        equal((first["result"], first["responseCode"], first["responseMessage"], first["nextHop"], first["host"]),
              ("deferred", 451, "4.3.2 not now", "source", "[127.0.0.1]"), "an attempt")
        equal(first["peer"], f"127.0.0.1:{sink.port}", "its address")
        check(0 <= first["duration"] < 20000 and first["at"].startswith("20"), f"times: {first}")
        [delivered] = history(s, "good")[1]
        equal((delivered["result"], delivered["responseCode"], delivered["responseMessage"]),
              ("delivered", 250, "2.0.0 queued as REMOTE77"), "the queue id there")
        answers["later"] = "452 4.2.2 too full"
        wait_until(lambda: history(s, "later")[1][-1]["responseCode"] == 452, 20, "another reply")
        answers["later"] = "450 4.2.1 busy"
        restart(s)
        wait_until(lambda: history(s, "later")[1][-1]["responseCode"] == 450, 20, "attempts after the kill")
        message, attempts = history(s, "later")
        codes = [a["responseCode"] for a in attempts]
        check(452 in codes and codes == sorted(codes, key=[451, 452, 450].index), f"attempts before it as well: {codes}")
        equal([a["responseCode"] for a in history(s, "good")[1]], [250], "the one that was delivered")
        wait_until(lambda: {a["responseCode"] for a in history(s, "later")[1]} == {450}, 30, "the oldest go")
        equal(len(history(s, "later")[1]), 10, "attempts that are kept")
        _, shown, _ = run_cli(s, "show", queue_id)
        check("  history\n" in shown and "450  4.2.1 busy" in shown and "queued as REMOTE77" in shown, shown)


def test_dsn_about_a_thousand():
    """A thousand recipients, ten transactions, all refused with long texts: one report, larger than a record takes at once."""
    def refuse(session, verb, line):
        return f"550 5.1.1 {'no ' * 60}" if verb == "RCPT" else None
    rcpts = sorted(f"{'x' * 40}{n}@example.org" for n in range(1000))
    with Sink(hook=refuse) as sink, Managed(relay=sink.port, cores=1) as s:
        s.submit(rcpts, marked(), sender="alice@example.org")
        [raw] = s.delivered(1)
        check(len(raw) > 400 * 1024, f"only {len(raw)} octets")
        [dsn] = bounces(s)
        equal(recipients(dsn), rcpts, "recipients")
        time.sleep(0.5)
        equal(len(s.mailbox()), 1, "reports")
