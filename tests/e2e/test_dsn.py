"""Reports to senders: how many, about what, from whom."""

import os
import threading
import time

import lib
from lib import Sink, check, constant, equal, marked, relay_route, wait_until, work_folder
from reports import bounces, recipients, status_fields
from test_management import Managed
from test_queue_api import act, get
from test_queue_steer import restart, run_cli
from test_schedule import choose, later, queue_of, seconds
from test_stages import when
from test_strategies import connection_strategy

BY_NAME = {"match": {"0": {"if": "is_local_address(rcpt)", "then": "'local'"},
                     "1": {"if": "starts_with(rcpt, 'lmtp')", "then": "'lmtp'"}}, "else": "'source'"}


def two_hops(smtp, lmtp, more=(), **options):
    return Managed(relay=smtp.port, cores=1, strategy=BY_NAME,
                   extra=[relay_route(lmtp.port, "lmtp", protocol="lmtp"), *more], **options)


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
        if verb != "RCPT":
            return None
        return ("550 5.1.1 no such user" if "smtp-bad" in line else
                "451 4.3.2 later" if "smtp-later" in line else None)

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
        equal(message["Received-From-MTA"], "dns;client.example.net ([127.0.0.1])", "Received-From-MTA")
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


def test_dsn_notify():
    """Every NOTIFY with every outcome, in one message: a report about those alone who asked for that (RFC 3461 4.1)."""
    asked = {"unset": "", "never": " NOTIFY=NEVER"}
    for words in (("SUCCESS",), ("FAILURE",), ("DELAY",), ("SUCCESS", "FAILURE"), ("DELAY", "SUCCESS"), ("FAILURE", "DELAY"),
                  ("SUCCESS", "FAILURE", "DELAY")):
        asked["-".join(words).lower()] = " NOTIFY=" + ",".join(words)

    def says(session, verb, line):
        return "550 5.1.1 no such user" if verb == "RCPT" and "-bad-" in line else None
    plain = [e for e in Sink.ALL if e != "DSN"]
    for dsn in (True, False):
        with Sink(Sink.ALL if dsn else plain, hook=says) as smtp, Sink(lmtp=True, hook=says) as lmtp, two_hops(smtp, lmtp) as s:
            send(s, *(f"<{hop}-{end}-{name}@example.org>{word}" for name, word in asked.items() for hop in ("smtp", "lmtp")
                      for end in ("good", "bad")))
            [report] = bounces(s)
            wanted = {}
            for name, word in asked.items():
                if "SUCCESS" in word:
                    wanted[f"lmtp-good-{name}"] = "delivered"
                    if not dsn:  # else that is now the next hop's affair
                        wanted[f"smtp-good-{name}"] = "relayed"
                if "FAILURE" in word or not word:
                    wanted |= {f"{hop}-bad-{name}": "failed" for hop in ("smtp", "lmtp")}
            equal({who: fields[0] for who, fields in by_recipient(report).items()}, wanted, f"next hop with DSN: {dsn}")
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


def test_dsn_does_not_wait_for_ever():
    """A next hop that hangs holds the report about the others up for ten minutes and no longer; what comes of it then
    is told apart."""
    goes_on = threading.Event()

    def smtp_says(session, verb, line):
        return "550 5.1.1 no such user" if verb == "RCPT" and "smtp-bad" in line else None

    def lmtp_says(session, verb, line):
        if verb == "RESULT" and "lmtp-slow" in line:
            goes_on.wait(60)
            return "552 5.2.2 too full"
        return None
    path = os.path.join(work_folder(), "steady")

    def minutes_pass(minutes):
        """On the steady clock of the server, which then gets something to do, as it sleeps by the kernel's."""
        with open(path + ".new", "w", encoding="ascii") as f:
            f.write(str(60 * minutes))
        os.replace(path + ".new", path)
        ident = s.submit("bob@example.org", marked())
        wait_until(lambda: f" delivered id={ident}" in s.log(), 30, "other mail")
    env = dict(os.environ, LD_PRELOAD=os.path.join(lib.BUILD, "tests", "shift_clock.so"), SHIFT_STEADY_FILE=path,
               ASAN_OPTIONS="verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", ""))
    patient = connection_strategy(dataTimeout=3600 * 1000)
    with Sink(hook=smtp_says) as smtp, Sink(lmtp=True, hook=lmtp_says) as lmtp, \
            two_hops(smtp, lmtp, start=False, more=[patient]) as s:
        s.start(env=env)
        send(s, "<smtp-bad@example.org>", "<lmtp-slow@example.org>")
        wait_until(lambda: " failed " in s.log(), 10, "the first outcome")
        minutes_pass(9)
        equal(s.mailbox(), [], "reports after nine minutes")
        minutes_pass(11)
        [dsn] = bounces(s)
        equal(list(by_recipient(dsn)), ["smtp-bad"], "after eleven")
        goes_on.set()
        told = [by_recipient(d) for d in bounces(s, 2)]
        equal(sorted(list(t) for t in told), [["lmtp-slow"], ["smtp-bad"]], "one report for each")


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
        wait_until(lambda: " dsn-from-default " in s.log(), 10, "a log line")
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


def test_delay_report_keeps_the_queue():
    """A first attempt that is at once reported as late: after a kill the queue still says where it went, why
    it waits and when it ends."""
    with Sink(hook=later) as sink, Managed(relay=sink.port, cores=1, retry_ms=None) as s:
        s.api.create("MtaDeliverySchedule", name="long", queueId=queue_of(s, "remote"), retry=seconds(3600), notify=seconds(1))
        choose(s, "long")
        act(s, "PauseMtaQueue")
        s.submit("bob@example.org", marked(), sender="alice@example.org")
        time.sleep(1.2)  # what is late is late by the clock
        act(s, "ResumeMtaQueue")
        equal(status_fields(bounces(s)[0])[1][0]["Action"], "delayed", "the report")

        def bob():
            [r] = wait_until(lambda: [m["recipients"]["bob@example.org"] for m in get(s)["list"]
                                      if "bob@example.org" in m["recipients"]], 10, "the message")
            return r["nextHop"], str(r["status"]), r["expires"]["expiresAt"]
        before = bob()
        check(before[2] is not None, "its end")
        equal(before[0], "source", "the next hop")
        restart(s)
        equal(bob(), before, "after the kill")


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
