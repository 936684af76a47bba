"""When deliveries are tried again and given up, how many there are at a time, and what senders are told."""

import threading
import time

from lib import Sink, check, comes_to, equal, marked, wait_until
from nameserver import NameServer
from reports import bounces, recipients, status_fields
from test_explain import explain
from test_management import Managed, session_on_every_core
from test_queue_api import get

BUSY = "451 4.3.2 not now, says the host"


def later(session, verb, line):
    """Every recipient, for ever."""
    return BUSY if verb == "RCPT" else None


def seconds(*values):
    return {"@type": "Custom", "intervals": {str(i): {"duration": int(v * 1000)} for i, v in enumerate(values)}}


def queue_of(s, name):
    return s.api.find("MtaVirtualQueue", name=name)


def choose(s, otherwise, **by_rcpt):
    """Schedules by the recipient's local part; what is local here (reports) has its own."""
    match = {"0": {"if": "is_local_address(rcpt)", "then": "'local'"}}
    for local, name in by_rcpt.items():
        match[str(len(match))] = {"if": f"starts_with(rcpt, '{local}')", "then": f"'{name}'"}
    s.api.update("MtaOutboundStrategy", "singleton", schedule={"match": match, "else": f"'{otherwise}'"})


def attempts(s, address):
    """As the log tells them."""
    return sum(any(f"{event} id=" in line for event in ("deferred", "failed")) and f"to={address} " in line
               for line in s.log().splitlines())


def test_schedule_by_recipient():
    """Two recipients of one message, each with its own waits and number of attempts; the rest waits for days."""
    with Sink(hook=later) as sink, Managed(relay=sink.port, cores=1, retry_ms=None) as s:
        for name, tries in (("two", 2), ("three", 3)):
            s.api.create("MtaDeliverySchedule", name=name, queueId=queue_of(s, "remote"), retry=seconds(1),
                         expiry={"@type": "Attempts", "maxAttempts": tries})
        choose(s, "remote", two="two", three="three")
        s.submit(["two@example.org", "three@example.org", "days@example.org"], marked(), sender="alice@example.org")
        wait_until(lambda: len(s.mailbox()) == 2, 20, "a report for each that was given up")
        wait_until(lambda: [attempts(s, f"{who}@example.org") for who in ("two", "three", "days")] == [2, 3, 1], 5,
                   "the attempts")
        found = {}
        for dsn in bounces(s, 2):
            [fields] = status_fields(dsn)[1]
            found[recipients(dsn)[0]] = (fields["Action"], fields["Status"], fields["Diagnostic-Code"])
        given_up = ("failed", "5.4.7", "smtp;451 4.3.2 not now, says the host")
        equal(found, {"two@example.org": given_up, "three@example.org": given_up}, "reports")


def test_schedule_changes_live():
    """A schedule that is changed holds for what is queued, from the next attempt on; a deleted one is not deleted."""
    with Sink(hook=later) as sink, Managed(relay=sink.port, cores=1, retry_ms=None) as s:
        slow = s.api.create("MtaDeliverySchedule", name="slow", queueId=queue_of(s, "remote"), retry=seconds(1, 3600))
        choose(s, "slow")
        s.submit("bob@example.org", marked(), sender="alice@example.org")
        wait_until(lambda: attempts(s, "bob@example.org") == 2, 10, "two attempts, then an hour")
        refused = s.api.set("MtaDeliverySchedule", destroy=[slow])["notDestroyed"][slow]
        equal(refused["type"], "objectIsLinked", "a schedule in use")
        s.api.update("MtaDeliverySchedule", slow, expiry={"@type": "Attempts", "maxAttempts": 3})
        [message] = s.api.calls(("x:QueuedMessage/query", {}))[0]["ids"]
        s.api.update("QueuedMessage", message, nextRetry="2001-01-01T00:00:00Z")
        wait_until(lambda: len(s.mailbox()) == 1, 10, "given up with the third attempt")
        wait_until(lambda: attempts(s, "bob@example.org") == 3, 5, "the attempts")


def test_schedule_unknown_is_no_attempt():
    """While nobody can say which schedule a recipient has, its mail waits and uses up none of its attempts; then it has all of
    them."""
    zone = {"example.org": {"TXT": ["x"]}}
    with NameServer(zone) as names, Sink(hook=later) as sink, Managed(
            relay=sink.port, cores=1, retry_ms=100, extra=[names.resolver(attempts=1)]) as s:
        s.api.create("MtaDeliverySchedule", name="three", queueId=queue_of(s, "remote"), retry=seconds(1),
                     expiry={"@type": "Attempts", "maxAttempts": 3})
        s.api.update("MtaOutboundStrategy", "singleton", schedule={
            "match": {"0": {"if": "is_empty(dns_query(rcpt_domain, 'txt'))", "then": "'local'"}}, "else": "'three'"})
        with s.wire() as w:
            w.begin("bob@example.org", "alice@example.org")
            w.expect("DATA", "354")
            names.mode = "servfail"
            w.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
            w.then("250 2.0.0")
        wait_until(lambda: attempts(s, "bob@example.org") >= 5, 20, "it is put off again and again")
        check(" schedule-unknown " in s.log(), s.log())
        equal([sink.messages, s.mailbox()], [[], []], "it is neither tried nor given up")
        said = sum("451 4.3.2 not now" in line for line in s.log().splitlines())
        equal(said, 0, "attempts at the next hop")
        names.mode = "answer"
        wait_until(lambda: " failed id=" in s.log(), 20, "it is given up")
        said = sum("to=bob@example.org" in line and "not now, says the host" in line for line in s.log().splitlines())
        equal(said, 3, "attempts at the next hop")


def test_schedule_notices():
    """Delay reports at the ages that were asked for, once each, whatever the waits are; none where NOTIFY says no."""
    with Sink(hook=later) as sink, Managed(relay=sink.port, cores=1, retry_ms=None) as s:
        s.api.create("MtaDeliverySchedule", name="long", queueId=queue_of(s, "remote"), retry=seconds(3600),
                     notify=seconds(1, 2), expiry={"@type": "Ttl", "expire": 4000})
        choose(s, "long")
        began = time.time()
        with s.wire() as w:
            w.expect("MAIL FROM:<alice@example.org>", "250")
            w.expect("RCPT TO:<bob@example.org>", "250")
            w.expect("RCPT TO:<carol@example.org> NOTIFY=FAILURE", "250")
            w.expect("DATA", "354")
            w.expect("Subject: x\r\n\r\nx\r\n.", "250")
        wait_until(lambda: len(s.mailbox()) == 3, 20, "two reports of delay, one of failure")
        check(time.time() - began >= 4, "not before its time")
        told = sorted((status_fields(d)[1][0]["Action"], recipients(d)) for d in bounces(s, 3))
        equal(told, [("delayed", ["bob@example.org"]), ("delayed", ["bob@example.org"]),
                     ("failed", ["bob@example.org", "carol@example.org"])], "one report for each event")
        wait_until(lambda: [attempts(s, f"{who}@example.org") for who in ("bob", "carol")] == [4, 2], 5, "the attempts")


def test_queue_workers():
    """A virtual queue has as many deliveries at a time as it has workers; one that is full holds up no other."""
    lock, now, most, gate = threading.Lock(), [0], [0], threading.Event()

    def slow(session, verb, line):
        if verb == "RCPT":
            session.is_bulk = "<bulk" in line
        if verb == "EOD" and session.is_bulk:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            gate.wait(20)
            with lock:
                now[0] -= 1
        return None

    with Sink(hook=slow) as sink, Managed(relay=sink.port, cores=1, retry_ms=None) as s:
        queue = s.api.create("MtaVirtualQueue", name="bulk", threadsPerNode=2)
        s.api.create("MtaDeliverySchedule", name="bulk", queueId=queue)
        choose(s, "remote", bulk="bulk")
        for i in range(8):
            s.submit(f"bulk{i}@example.org", marked())
        wait_until(lambda: now[0] == 2, 10, "two transactions")
        s.submit("other@example.org", marked())
        wait_until(lambda: any(m.rcpts == ["other@example.org"] for m in sink.messages), 10, "another queue's mail")
        equal(most[0], 2, "at a time")
        s.api.update("MtaVirtualQueue", queue, threadsPerNode=4)
        wait_until(lambda: now[0] == 4, 10, "four after the change")
        gate.set()
        wait_until(lambda: len(sink.messages) == 9, 10, "the rest")
        equal(most[0], 4, "at a time")


def test_virtual_queue_paused():
    """Mail of a paused virtual queue waits without an attempt and without memory, also after a kill; other mail for the
    same next hop goes on. What waits goes on at once when the queue does, or is there no more."""
    gate = threading.Event()

    def slow(session, verb, line):
        if verb == "EOD":
            gate.wait(20)
        return None

    def pause(kind, **fields):
        s.api.create("Action", **{"@type": kind, **fields})

    def waiting():
        return [r for m in get(s)["list"] for a, r in m["recipients"].items() if a.startswith("bulk")]

    def rests(count):
        wait_until(lambda: len(waiting()) == count, 10, f"{count} recipients")
        equal({(r["retryCount"], r["status"]["@type"]) for r in waiting()}, {(0, "Scheduled")}, "attempts")

    with Sink(hook=slow) as sink, Managed(relay=sink.port, cores=2, retry_ms=None) as s:
        bulk = s.api.create("MtaVirtualQueue", name="bulk", threadsPerNode=1)
        schedule = s.api.create("MtaDeliverySchedule", name="bulk", queueId=bulk)
        choose(s, "remote", bulk="bulk")
        s.submit("bulk@example.org", marked())
        s.submit("bulk@example.org", marked())  # waits for the worker, then for the pause
        wait_until(lambda: sink.verbs().count("DATA") + sink.verbs().count("BDAT") == 1, 10, "a transaction")
        answer = s.api.set("Action", create={"n": {"@type": "PauseMtaQueue", "queue": "nowhere"}})
        check("no such virtual queue" in str(answer["notCreated"]), f"{answer}")
        pause("PauseMtaQueue", queue="bulk")
        comes_to(lambda: s.log().count(" queues=bulk\n"), s.cores, "lines of the log that name the queue")
        gate.set()
        wait_until(lambda: len(sink.messages) == 1, 10, "what was on its way")
        for i in range(20):
            s.submit([f"bulk{i}@example.org", f"other{i}@example.org"], marked())
        wait_until(lambda: len([m for m in sink.messages if m.rcpts[0].startswith("other")]) == 20, 10, "other mail")
        rests(21)
        wait_until(lambda: [c["queue_active_messages"] for c in s.api.stats()] == [0, 0], 10, "no message in memory")
        equal([explain(s, f"{who}@example.org")["paused"] for who in ("bulk0", "other0")], [True, False], "explained")
        s.kill()
        s.api.connection = None
        s.start()
        rests(21)
        s.submit("other@example.org", marked())
        wait_until(lambda: sink.messages[-1].rcpts == ["other@example.org"], 10, "other mail after the kill")
        pause("ResumeMtaQueue", queue="bulk")
        wait_until(lambda: len([m for m in sink.messages if m.rcpts[0].startswith("bulk")]) == 22, 10, "what waited")
        wait_until(lambda: get(s)["list"] == [], 10, "an empty queue")
        pause("PauseMtaQueue", queue="bulk")
        s.submit("bulk-again@example.org", marked())
        rests(1)
        pause("ResumeMtaQueue")
        wait_until(lambda: sink.messages[-1].rcpts == ["bulk-again@example.org"], 10, "with everything")
        pause("PauseMtaQueue", queue="bulk")
        s.submit("bulk-last@example.org", marked())
        rests(1)
        s.api.update("MtaDeliverySchedule", schedule, queueId=queue_of(s, "remote"))
        s.api.set("MtaVirtualQueue", destroy=[bulk])
        wait_until(lambda: sink.messages[-1].rcpts == ["bulk-last@example.org"], 10, "the queue is gone")


def test_queue_workers_fewer_than_cores():
    """A limit of one, then of three, is what it says on four cores, all of which have mail and get their turn."""
    lock, now, most = threading.Lock(), [0], [0]

    def slow(session, verb, line):
        if verb == "EOD":
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.02)
            with lock:
                now[0] -= 1
        return None

    with Sink(hook=slow) as sink, Managed(relay=sink.port, cores=4, retry_ms=None) as s:
        queue = s.api.create("MtaVirtualQueue", name="bulk", threadsPerNode=1)
        s.api.create("MtaDeliverySchedule", name="bulk", queueId=queue)
        choose(s, "bulk")
        clients = session_on_every_core(s)

        def offer(count):
            for i in range(count):
                for core, client in enumerate(clients):
                    client.sendmail("s@example.net", [f"b{core}-{i}@example.org"], b"Subject: x\r\n\r\nx\r\n")

        offer(10)
        wait_until(lambda: len(sink.messages) == 40, 30, "one after the other")
        equal(most[0], 1, "at a time")
        s.api.update("MtaVirtualQueue", queue, threadsPerNode=3)
        offer(20)
        wait_until(lambda: len(sink.messages) == 120, 30, "three at a time")
        check(2 <= most[0] <= 3, f"at a time: {most[0]}")
        s.api.update("MtaVirtualQueue", queue, threadsPerNode=40)
        offer(5)
        wait_until(lambda: len(sink.messages) == 140, 30, "shares")
        s.api.update("MtaVirtualQueue", queue, threadsPerNode=2)
        wait_until(lambda: now[0] == 0, 5, "quiet")
        most[0] = 0
        offer(10)
        wait_until(lambda: len(sink.messages) == 180, 30, "two at a time")
        check(1 <= most[0] <= 2, f"at a time: {most[0]}")
        for client in clients:
            client.quit()


def test_relayed_mail_is_not_local():
    """By default the queue of a recipient is local only if his mailbox is; whose domain it is does not matter."""
    with Sink() as sink, Managed(relay=sink.port, cores=1) as s:
        answers = [explain(s, a)["schedule"] for a in ("alice@example.org", "bob@example.org")]
        equal([(a["name"], a["queue"]) for a in answers], [("local", "local"), ("remote", "remote")], "schedules")
        equal([a["expiry"] for a in answers], [259200000, 259200000], "three days")
