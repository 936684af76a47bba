"""How much may be queued and how fast it leaves, for the whole process and after a restart."""

import threading

from hours import Hours
from lib import Sink, check, equal, marked, starts, wait_until
from test_management import Api, Managed, session_on_every_core
from test_schedule import choose, later, queue_of, seconds

HOUR_S = 3600
EARLY_S = 600  # no test takes as long
FULL = "452 4.3.1 Queue quota reached: "


def ids(s):
    return s.api.calls(("x:QueuedMessage/query", {}))[0]["ids"]


def offered(s, to, sender="sender@example.net", body=b"Subject: x\r\n\r\nhello\r\n"):
    """The reply to the end of the data."""
    with s.wire() as w:
        w.expect(f"MAIL FROM:<{sender}>", "250")
        for address in [to] if isinstance(to, str) else to:
            w.expect(f"RCPT TO:<{address}>", "250")
        w.expect("DATA", "354")
        w.send(body + b".\r\n")
        return w.reply()


def taken(replies):
    """How many were accepted; every other one was told why."""
    replies = list(replies)
    for reply in replies:
        check(reply.startswith("250 2.0.0 ") or reply.startswith(FULL), reply)
    return sum(reply.startswith("250") for reply in replies)


def test_queue_quota_keys():
    """A quota counts apart what its key says; what its match leaves out is not counted; disabled it holds nobody up."""
    with Sink(hook=later) as sink, Managed(relay=sink.port, cores=1, retry_ms=None) as s:
        by_sender = s.api.create("MtaQueueQuota", description="of a sender", key={"sender": True}, messages=2,
                                 match={"match": {}, "else": "sender_domain != 'free.example'"})
        equal(taken(offered(s, "bob@example.org", "One@A.Example") for _ in range(2)), 2, "of one sender")
        equal(offered(s, "bob@example.org", "oNE@a.example"), FULL + "of a sender, try again later", "one too many")
        equal(taken([offered(s, "bob@example.org", "two@a.example")]), 1, "another sender")
        equal(taken(offered(s, "bob@example.org", "x@free.example") for _ in range(4)), 4, "whom it does not match")
        s.api.update("MtaQueueQuota", by_sender, enable=False)
        equal(taken([offered(s, "bob@example.org", "one@a.example")]), 1, "disabled")
        s.api.create("MtaQueueQuota", description="pairs", key={"senderDomain": True, "rcptDomain": True}, messages=1)
        equal(taken([offered(s, "bob@example.org", "one@b.example")]), 1, "of a domain")
        equal(taken([offered(s, "carol@example.org", "two@b.example")]), 0, "of the same pair")
        by_rcpt = s.api.create("MtaQueueQuota", description="recipients", key={"rcpt": True}, messages=1)
        equal(taken([offered(s, [f"r{i}@example.org" for i in range(9)], "x@c.example")]), 1, "nine recipients")
        equal(offered(s, ["free@example.org", "R8@example.org"], "x@d.example"), FULL + "recipients, try again later",
              "one of two is full")
        equal(taken([offered(s, "free@example.org", "x@d.example")]), 1, "the other was given back, and so was the pair")
        s.api.destroy("MtaQueueQuota", by_rcpt)
        equal(taken([offered(s, "free@example.org", "x@e.example")]), 1, "destroyed")


def test_queue_quota_size():
    """Bytes count as the client sent them; a quota without key is one for everything; an empty match is everybody."""
    body = b"Subject: x\r\n\r\n" + 98 * (b"x" * 98 + b"\r\n")
    with Sink(hook=later) as sink, Managed(relay=sink.port, cores=1, retry_ms=None) as s:
        quota = s.api.create("MtaQueueQuota", description="all", match={"match": {}}, size=3 * len(body))
        for _ in range(3):
            starts(offered(s, "bob@example.org", body=body), "250", "fits")
        starts(offered(s, "bob@example.org", body=b"x: y\r\n"), FULL, "not one byte more")
        message = ids(s)[0]
        s.api.destroy("QueuedMessage", message)
        wait_until(lambda: len(ids(s)) == 2, 5, "cancelled")
        starts(offered(s, "bob@example.org", body=body), "250", "given back")
        s.api.update("MtaQueueQuota", quota, size=5 * len(body), messages=4)
        starts(offered(s, "bob@example.org", body=b"x: y\r\n"), "250", "more room")
        starts(offered(s, "bob@example.org", body=b"x: y\r\n"), FULL, "but not for a fifth")
        refused = s.api.set("MtaQueueQuota", create={"a": {"description": "nothing"}})["notCreated"]["a"]
        check("messages" in str(refused), refused)


def test_queue_quota_whole_process():
    """A quota of 40 is 40 on four cores, whoever asks how fast; what is delivered, or was refused, is given back."""
    gate = threading.Event()

    def held(session, verb, line):
        return None if gate.is_set() or verb != "RCPT" else "451 4.3.2 later"

    with Sink(hook=held) as sink, Managed(relay=sink.port, cores=4, retry_ms=500) as s:
        s.api.create("MtaQueueQuota", description="forty", key={"rcptDomain": True}, messages=40)
        replies, lock = [], threading.Lock()

        def send(who):
            for _ in range(8):
                reply = offered(s, f"bob{who}@example.org")
                with lock:
                    replies.append(reply)

        threads = [threading.Thread(target=send, args=(i,)) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        equal((len(replies), taken(replies), len(ids(s))), (96, 40, 40), "offered, taken, queued")
        gate.set()
        wait_until(lambda: len(ids(s)) == 0, 30, "all delivered")
        gate.clear()
        wait_until(lambda: taken([offered(s, "bob@example.org")]) == 1, 5, "its core knows")
        equal(taken(offered(s, "bob@example.org") for _ in range(40)), 39, "as many again")


def test_queue_quota_restart():
    """What was queued counts again after kill -9, on any number of cores; local mail that was delivered does not."""
    with Sink(hook=later) as sink, Managed(relay=sink.port, cores=2, retry_ms=None) as s:
        s.api.create("MtaQueueQuota", description="five", key={"senderDomain": True}, messages=5)
        for i in range(7):
            s.submit("alice@example.org", marked())
            wait_until(lambda: len(s.mailbox()) == i + 1 and not ids(s), 10, "local mail counts while it is queued")
        s.api.create("MtaQueueQuota", description="by recipient", key={"rcpt": True}, messages=3)
        equal(taken(offered(s, ["bob@example.org", "carol@example.org"]) for _ in range(2)), 2, "two")
        equal(taken([offered(s, "dave@example.org")]), 1, "three")
        for cores in (3, 1):
            s.kill()
            s.start(cores=cores)
            s.api = Api(s.http_port)
            wait_until(lambda: "queue-recovered" in s.log() and len(ids(s)) == (3 if cores == 3 else 4), 20, "the old queue")
            equal(taken([offered(s, "bob@example.org")]), int(cores == 3), f"bob's third, on {cores} cores")
        equal(taken([offered(s, "dave@example.org")]), 1, "the sender's fifth")
        equal(taken([offered(s, "erin@example.org")]), 0, "the sender's sixth")


def test_queue_quota_many_keys():
    """A message counts under as many keys as there are: a thousand recipients under six quotas, also after a kill."""
    many = [f"r{i}@example.org" for i in range(1000)]
    with Sink(hook=later) as sink, Managed(relay=sink.port, cores=2, retry_ms=None) as s:
        for i in range(6):
            s.api.create("MtaQueueQuota", description=f"number {i}", key={"rcpt": True}, messages=1)
        starts(offered(s, many), "250 2.0.0 ", "a thousand recipients")
        starts(offered(s, many[999]), FULL, "the last of them again")
        starts(offered(s, "other@example.org"), "250 2.0.0 ", "somebody else")
        s.kill()
        s.start(cores=1)
        s.api = Api(s.http_port)
        wait_until(lambda: "queue-recovered" in s.log() and len(ids(s)) == 2, 20, "the old queue")
        starts(offered(s, many[500]), FULL, "one of them after the kill")
        for id in ids(s):
            s.api.destroy("QueuedMessage", id)
        wait_until(lambda: not ids(s), 10, "cancelled")
        starts(offered(s, many), "250 2.0.0 ", "all was given back")


def test_queue_largest_record():
    """A thousand long recipients with long ORCPT under twenty quotas leave no room for content in the message's record:
    it is delivered whole all the same, also by the next process."""
    domain = ".".join(["d" * 60, "e" * 60, "example.org"])
    rcpts = [f"{i:04}{'u' * 56}@{domain}" for i in range(1000)]
    body = b"Subject: x\r\n\r\n" + b"0123456789abcdef" * 16000 + b"\r\n"
    long = {"@type": "create", "object": "Domain", "value": {"long": {"name": domain, "allowRelaying": True}}}
    with Sink() as sink, Managed(relay=sink.port, cores=1, retry_ms=None, extra=[long]) as s:
        for i in range(20):
            s.api.create("MtaQueueQuota", description=f"number {i}", key={"rcpt": True}, messages=1)
        s.api.create("Action", **{"@type": "PauseMtaQueue"})
        with s.wire() as w:
            w.expect("MAIL FROM:<sender@example.net>", "250")
            w.send("".join(f"RCPT TO:<{r}> ORCPT=rfc822;{'o' * 490}\r\n" for r in rcpts))
            for _ in rcpts:
                w.then("250")
            w.expect("DATA", "354")
            w.send(body + b".\r\n")
            w.then("250 2.0.0 ")
        s.kill()
        s.start()
        s.api = Api(s.http_port)
        s.api.create("Action", **{"@type": "ResumeMtaQueue"})
        wait_until(lambda: sum(len(m.rcpts) for m in sink.messages) == len(rcpts), 30, "all recipients")
        check(all(m.data.endswith(body) for m in sink.messages), "content")


def test_queue_quota_by_session():
    """Relayed mail is not counted as local: what a quota for local mail holds up is local mail."""
    with Sink(hook=later) as sink, Managed(relay=sink.port, cores=1, retry_ms=None) as s:
        s.api.create("MtaQueueQuota", description="local", messages=1,
                     match={"match": {}, "else": "is_local_address(rcpt)"})
        equal(taken(offered(s, "bob@example.org") for _ in range(3)), 3, "relayed")
        starts(offered(s, ["bob@example.org", "alice@example.org"]), "250", "both")
        starts(offered(s, "alice@example.org"), FULL, "local, while the other is still queued for bob")


def rate(count, seconds):
    return {"count": count, "period": int(seconds * 1000)}


def waiting(s):
    """What the queue says of each recipient."""
    got = s.api.calls(("x:QueuedMessage/get", {"ids": ids(s)}))[0]["list"]
    return {address: r for message in got for address, r in message["recipients"].items()}


def throttled(s):
    return s.log().count("rate limit: ")


def test_throttle_defers():
    """Over the rate nothing is tried: the queue shows why and when, no attempt is counted, and the turn comes, in order."""
    clock = Hours()
    with Sink() as sink, Managed(relay=sink.port, cores=1, retry_ms=None, start=False) as s:
        clock.start(s)
        s.api.create("MtaOutboundThrottle", description="two in 2 h", key={"rcptDomain": True}, rate=rate(2, 2 * HOUR_S))

        def came():
            return [m.rcpts[0] for m in sink.messages]
        for i in range(4):
            s.submit(f"bob{i}@example.org", marked())
        wait_until(lambda: throttled(s) == 2 and len(came()) == 2, 10, "two over the rate")
        equal(sorted(came()), ["bob0@example.org", "bob1@example.org"], "at once")
        queue = waiting(s)
        equal(sorted(queue), ["bob2@example.org", "bob3@example.org"], "those that wait")
        for r in queue.values():
            equal((r["retryCount"], r["attempts"]), (0, {}), "no attempt was made")
            check("rate limit: two in 2 h" in str(r["status"]), r)
        check(queue["bob2@example.org"]["retryDue"] < queue["bob3@example.org"]["retryDue"], f"one after the other: {queue}")
        for number in (2, 3):
            clock.ahead(s, (number - 1) * HOUR_S - EARLY_S)
            equal((len(came()), sorted(waiting(s))), (number, [f"bob{i}@example.org" for i in range(number, 4)]), "before its time")
            clock.ahead(s, (number - 1) * HOUR_S)
            wait_until(lambda n=number: len(came()) == n + 1, 10, "its turn")
            equal(came()[number], f"bob{number}@example.org", "the order")
        wait_until(lambda: not ids(s), 20, "an empty queue")


def test_throttle_expires():
    """Whose turn would come after his time is given up in time, untried; the report says why he waited."""
    clock = Hours()
    with Sink() as sink, Managed(relay=sink.port, cores=1, retry_ms=None, users=("alice", "carol"), start=False) as s:
        clock.start(s)
        s.api.create("MtaDeliverySchedule", name="short", queueId=queue_of(s, "remote"), retry=seconds(3600),
                     expiry={"@type": "Ttl", "expire": HOUR_S * 1000 // 2})
        choose(s, "short")
        s.api.create("MtaOutboundThrottle", description="one an hour", key={"rcptDomain": True}, rate=rate(1, HOUR_S))
        for i in range(2):
            s.submit(f"bob{i}@example.org", marked(), sender="alice@example.org")
        wait_until(lambda: len(sink.messages) == 1 and throttled(s) == 1, 10, "one over the rate")
        clock.ahead(s, HOUR_S // 2 - EARLY_S, "carol@example.org")
        equal(s.mailbox(), [], "reports before his time")
        clock.ahead(s, HOUR_S // 2, "carol@example.org")
        [report] = s.delivered(1)
        check("bob1@example.org" in str(report) and "5.4.7" in str(report) and "rate limit: one an hour" in str(report), report)
        equal([m.rcpts[0] for m in sink.messages], ["bob0@example.org"], "those that were tried")
        wait_until(lambda: not ids(s), 10, "an empty queue")


def test_throttle_keys():
    """Keys count apart; a match leaves out; recipients of one message are told apart; disabled it holds nobody up; local
    mail is never throttled, nor does anybody pay for a transaction that another throttle forbids."""
    with Sink() as sink, Managed(relay=sink.port, cores=1, retry_ms=None) as s:
        def sent():
            return sorted(a for m in sink.messages for a in m.rcpts)

        by_sender = s.api.create("MtaOutboundThrottle", description="by sender", key={"sender": True}, rate=rate(1, 3600),
                                 match={"match": {}, "else": "sender != 'free@a.example' && !starts_with(rcpt, 'vip')"})
        for sender in ("one@a.example", "ONE@a.example", "two@a.example", "free@a.example", "free@a.example"):
            s.submit("bob@example.org", marked(), sender=sender)
        wait_until(lambda: len(sink.messages) == 4 and throttled(s) == 1, 10, "one of five waits")
        s.submit(["bob@example.org", "vip@example.org", "alice@example.org"], marked(), sender="one@a.example")
        wait_until(lambda: "vip@example.org" in sent() and throttled(s) == 2 and len(s.mailbox()) == 1, 10,
                   "one of three waits")
        equal(sent().count("bob@example.org"), 4, "bob's")
        s.api.create("MtaOutboundThrottle", description="all", rate=rate(1, 3600))
        s.submit("carol@example.org", marked(), sender="one@a.example")
        wait_until(lambda: throttled(s) == 3, 10, "its sender's rate")
        s.submit("dave@example.org", marked(), sender="free@a.example")
        wait_until(lambda: "dave@example.org" in sent(), 10, "that of all was given back")
        s.submit("erin@example.org", marked(), sender="free@a.example")
        wait_until(lambda: "rate limit: all" in s.log(), 10, "and is used up now")
        for _ in range(3):
            s.submit("alice@example.org", marked(), sender="one@a.example")
        wait_until(lambda: len(s.mailbox()) == 4, 10, "local mail")
        for throttle in s.api.calls(("x:MtaOutboundThrottle/query", {}))[0]["ids"]:
            s.api.update("MtaOutboundThrottle", throttle, enable=False)
        s.api.destroy("MtaOutboundThrottle", by_sender)
        for message in ids(s):
            s.api.update("QueuedMessage", message, nextRetry="2001-01-01T00:00:00Z")
        wait_until(lambda: not ids(s), 10, "without throttles")


def test_throttle_hosts():
    """Hosts and addresses as keys; last_error says rate to the expressions."""
    with Sink() as sink, Managed(relay=sink.port, cores=1, retry_ms=None) as s:
        for part in ("mx", "remoteIp", "localIp", "senderDomain"):
            throttle = s.api.create("MtaOutboundThrottle", description=part, key={part: True}, rate=rate(1, 3600),
                                    match={"match": {"0": {"if": "last_error == 'rate'", "then": "false"}}, "else": "true"})
            before = len(sink.messages)
            for _ in range(2):
                s.submit("bob@example.org", marked())
            wait_until(lambda: len(sink.messages) == before + 1 and f"rate limit: {part}" in s.log(), 10, part)
            for message in ids(s):
                s.api.update("QueuedMessage", message, nextRetry="2001-01-01T00:00:00Z")
            wait_until(lambda: len(sink.messages) == before + 2, 10, "who has waited is left alone by the match")
            s.api.destroy("MtaOutboundThrottle", throttle)


def test_throttle_whole_process():
    """Four cores send no more together than one throttle says: each that waits has its own turn, and waits once."""
    clock = Hours()
    with Sink() as sink, Managed(relay=sink.port, cores=4, retry_ms=None, start=False) as s:
        clock.start(s)
        s.api.create("MtaOutboundThrottle", description="ten", key={"mx": True}, rate=rate(10, 10 * HOUR_S))
        clients = session_on_every_core(s)
        for i in range(24):
            clients[i % 4].sendmail("sender@example.net", f"bob{i}@example.org", marked())
        wait_until(lambda: throttled(s) == 14 and len(sink.messages) == 10, 10, "those over the rate")
        for hour in range(1, 15):
            clock.ahead(s, hour * HOUR_S - EARLY_S)
            equal(len(sink.messages), 9 + hour, f"before hour {hour}")
            clock.ahead(s, hour * HOUR_S)
            s.api.stats()  # every core looks at the clock
            wait_until(lambda n=10 + hour: len(sink.messages) == n, 10, f"one more in hour {hour}")
        equal(throttled(s), 14, "each has waited once")
        wait_until(lambda: not ids(s), 10, "an empty queue")
        equal(len({m.rcpts[0] for m in sink.messages}), 24, "each of them")
