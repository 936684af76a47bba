"""ringmx-cli trace: the timeline of a message, of mail of an address, and of a client."""

import json

from lib import Sink, check, equal, update, wait_until
from test_explain import cli
from test_management import Managed

SENDER_MUST_DIFFER = {"match": {"0": {"if": "sender == 'bad@example.net'", "then": "false"}}, "else": "true"}


def trace(server, of, code=0):
    done = cli(server, "trace", of, "--json", code=code)
    return json.loads(done.stdout)


def told(server, of):
    """The events, as (event, id or None)."""
    return [(r["event"], r.get("id")) for r in trace(server, of)["records"]]


def test_trace_timeline():
    """From the connection to the report: two deferrals, a delivery, a failure and its DSN, on two cores, found by the
    queue id, by each address and by the client; refusals of the same session come with it."""
    answers = {"later": "451 4.3.0 not now", "never": "550 5.1.1 nobody here"}
    with Sink(hook=lambda s, verb, line: next((a for n, a in answers.items() if verb == "RCPT" and n in line), None)) as sink, \
            Managed(relay=sink.port, retry_ms=300, settings={"proxyTrustedNetworks": {"127.0.0.1/32": True}}) as s:
        header = b"PROXY TCP4 203.0.113.7 127.0.0.1 4000 25\r\n"
        with s.wire(first=header) as w:
            w.expect("MAIL FROM:<a@example.net>", "250")
            w.expect("RCPT TO:<nobody@elsewhere.example>", "550")
            w.expect("RSET", "250")
            queue_id = w.message(["alice@example.org", "later@example.org", "never@example.org"],
                                 b"Subject: x\r\n\r\nhello\r\n", sender="a@example.net")
        wait_until(lambda: told(s, queue_id).count(("deferred", queue_id)) >= 2, 20, "two attempts in vain")
        answers.pop("later")
        wait_until(lambda: {e for e, i in told(s, queue_id) if i == queue_id} >= {"delivered", "failed"} and
                   told(s, queue_id).count(("delivered", queue_id)) == 2, 20, "the outcomes")
        records = trace(s, queue_id)["records"]
        times = [r["time"] for r in records]
        equal(times, sorted(times), "in order")
        [refused] = [r for r in records if r["event"] == "command-refused"]
        equal((refused["command"], refused["address"], refused["code"], refused["client"]),
              ("RCPT", "nobody@elsewhere.example", 550, "203.0.113.7"), "the refusal")
        [received] = [r for r in records if r["event"] == "received"]
        equal((received["client"], received["from"], received["to"], received["recipients"], received["tls"],
               received["session"], received["core"]),
              ("203.0.113.7", "a@example.net", "alice@example.org", 3, "none", refused["session"], refused["core"]), "arrival")
        deferred = [r for r in records if (r["event"], r.get("id")) == ("deferred", queue_id)]
        check(all((r["to"], r["code"]) == ("later@example.org", 451) and "not now" in r["reply"] for r in deferred), deferred)
        [report] = [r for r in records if r["event"] == "dsn-queued"]
        equal((report["of"], report["to"]), (queue_id, "a@example.net"), "the report")
        wait_until(lambda: len(told(s, report["id"])) >= 2, 20, "the report's own way")
        for of in ("a@example.net", "LATER@example.org", "alice@example.org", "203.0.113.7", "203.0.113.0/24"):
            check(("received", queue_id) in told(s, of), f"found by {of}")
        shown = cli(s, "trace", queue_id, code=0).stdout
        check(f"message {queue_id}\n" in shown and " received " in shown and f"message {report['id']}\n" in shown, shown)


def test_trace_of_refused_sessions():
    """What was refused to whom, also when the log leaves it out; unknown things and wrong questions."""
    with Managed(settings={"proxyTrustedNetworks": {"127.0.0.1/32": True}},
                 extra=[update("MtaStageMail", isSenderAllowed=SENDER_MUST_DIFFER),
                        {"@type": "create", "object": "BlockedIp", "value": {"b": {"address": "198.51.100.9"}}}]) as s:
        with s.wire(first=b"PROXY TCP4 198.51.100.7 127.0.0.1 4000 25\r\n") as w:
            w.cmd("MAIL FROM:<bad@example.net>")
            w.expect("QUIT", "221")
        with s.wire(hello=False, first=b"PROXY TCP4 198.51.100.9 127.0.0.1 4000 25\r\n") as w:
            w.at_end()
        wait_until(lambda: [e for e, _ in told(s, "198.51.100.7")] == ["command-refused", "session-refused"], 10, "the session")
        equal([r["client"] for r in trace(s, "198.51.100.9")["records"]], ["198.51.100.9"], "blocked, which the log does not say")
        check("198.51.100.9" not in s.log(), "the log is silent about it")
        equal([e for e, _ in told(s, "bad@example.net")], ["command-refused", "session-refused"], "by the refused sender")
        missing = cli(s, "trace", "1-2-3-4", code=1)
        check("nothing is kept of '1-2-3-4'" in missing.stderr, missing.stderr)
        wrong = cli(s, "trace", "what is this", code=1)
        check("neither a queue id" in wrong.stderr, wrong.stderr)
        for body in (b"", b"[]", b'{"of": 5}', b'{"of": ""}', b'{"of": "a@b", "x": 1}'):
            equal(s.api.http("POST", "/api/trace", body)[0], 400, f"status for {body}")
        equal(s.api.http("POST", "/api/trace", b'{"of": "a@b"}', headers={})[0], 401, "without signing in")


def test_trace_of_long_names():
    """A recipient is found at once, also when the names before his fill the record of the arrival."""
    long = "a" * 64 + "@" + ("b" * 60 + ".") * 2 + "example"
    with Sink() as sink, Managed(relay=sink.port, cores=1) as s:
        s.api.create("Action", **{"@type": "PauseMtaQueue"})
        with s.wire() as w:
            w.expect("EHLO " + ("c" * 60 + ".") * 3 + "example", "250")
            w.expect(f"MAIL FROM:<{long}>", "250")
            w.expect("RCPT TO:<bob@example.org>", "250")
            w.expect("DATA", "354")
            w.expect("Subject: x\r\n\r\nx\r\n.", "250")
        shown = cli(s, "trace", "bob@example.org", code=0).stdout
        check(" received " in shown and " recipient to=bob@example.org" in shown, shown)


def test_trace_memory_bounded():
    """A bounded trace keeps the newest; another size is in force at once."""
    with Managed(cores=1, extra=[update("Performance", traceMemory=65536)]) as s:
        with s.wire() as w:
            ids = [w.message("alice@example.org", b"Subject: x\r\n\r\nhello\r\n") for _ in range(150)]
        wait_until(lambda: s.api.stats()[0]["queue_messages"] == 0, 20, "an empty queue")
        cli(s, "trace", ids[0], code=1)
        wait_until(lambda: ("delivered", ids[-1]) in told(s, ids[-1]), 10, "the newest")
        s.api.update("Performance", "singleton", traceMemory=1 << 20)
        equal(told(s, ids[-1]), [("received", ids[-1]), ("delivered", ids[-1])], "what is kept in the larger one")
        check(s.api.stats()[0]["trace_records_total"] >= 300, "records")


def test_texts_of_others_on_a_terminal():
    """Whatever strangers put into addresses and replies: no command shows a byte that a terminal would obey, and no value looks like
    the end of its field."""
    def hook(session, verb, line):
        return "450 4.2.0 \x1b[31m \u009b31m \x7f\" peer=192.0.2.1 x=\"" if verb == "RCPT" else None
    with Sink(hook=hook) as sink, Managed(cores=1, relay=sink.port, retry_ms=3600000) as s:
        with s.wire() as w:
            w.expect("RCPT TO:<x@else.example>", "503")
            w.expect("MAIL FROM:<\u009b31m@x.example> SMTPUTF8", "250")
            w.expect("RCPT TO:<bo\u009b31mb@example.org>", "250")
            w.expect('RCPT TO:<"q\\" code=200 "@example.org>', "250")
            w.expect("DATA", "354")
            w.send(b"Subject: x\r\n\r\nhello\r\n.\r\n")
            id = w.then("250 2.0.0 Queued").split()[-1]
        wait_until(lambda: s.log().count(" deferred ") == 2, 10, "both deferred")
        for args in (("queue", "list"), ("queue", "show", id), ("queue", "list", "--json"), ("queue", "shape"), ("trace", id), ("trace", id, "--json"),
                     ("trace", "127.0.0.1"), ("query", "QueuedMessage"), ("explain", "bo\u009b31mb@example.org")):
            shown = cli(s, *args).stdout
            check(not [c for c in shown if c != "\n" and (c < " " or "\x7f" <= c < "\xa0")], f"{args}: {shown!r}")
        equal(json.loads(cli(s, "queue", "list", "--json").stdout)["returnPath"], "\u009b31m@x.example", "as JSON it is all there")
        shown = cli(s, "trace", id).stdout
        check(r'to="\x22q\x5c\x22 code=200 \x22@example.org" route=' in shown, shown)
        check(r'\x22 peer=192.0.2.1 x=\x22" peer=127.0.0.1:' in shown, shown)
        s.stop()
        for args in ((), ("show", id)):
            shown = s.queue(*args)
            check(not [c for c in shown if c not in "\r\n\t" and (c < " " or "\x7f" <= c < "\xa0")], f"{args}: {shown!r}")
            check(r'\x22 peer=192.0.2.1 x=\x22"' in shown, shown)
        s.start()
