"""How much may be queued, for the whole process and after a restart."""

import threading

from lib import Sink, check, equal, marked, starts, wait_until
from test_management import Api, Managed
from test_schedule import later

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
        equal(taken(offered(s, "bob@example.org") for _ in range(41)), 40, "as many again")


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


def test_queue_quota_by_session():
    """Relayed mail is not counted as local: what a quota for local mail holds up is local mail."""
    with Sink(hook=later) as sink, Managed(relay=sink.port, cores=1, retry_ms=None) as s:
        s.api.create("MtaQueueQuota", description="local", messages=1,
                     match={"match": {}, "else": "is_local_address(rcpt)"})
        equal(taken(offered(s, "bob@example.org") for _ in range(3)), 3, "relayed")
        starts(offered(s, ["bob@example.org", "alice@example.org"]), "250", "both")
        starts(offered(s, "alice@example.org"), FULL, "local, while the other is still queued for bob")
