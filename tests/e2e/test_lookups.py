"""What expressions look up and remember: lists, statistics, keys and counters."""

import json
import os
import socket
import threading

from lib import Sink, check, constant, equal, relay_route, starts, wait_until
from nameserver import NameServer
from test_explain import cli, explain
from test_management import Managed, session_on_every_core


def said(s, command):
    """What MAIL or RCPT is answered, in a session of its own."""
    with s.wire() as w:
        if command.startswith("RCPT"):
            w.expect("MAIL FROM:<a@example.net>", "250")
        return w.cmd(command)


def refusal(s, kind, change):
    """The text of the refusal of a change."""
    answer = s.api.set(kind, **change)
    for part in ("notCreated", "notUpdated", "notDestroyed"):
        for error in answer.get(part, {}).values():
            return error.get("description", "") + str(error.get("validationErrors", ""))
    return f"accepted: {answer}"


def test_lookup_lists():
    """Keys, values and patterns of both types, in force on all cores with the answer; names that are not there, keys that are
    there twice and the last key of a list in use are refused by name."""
    with Managed(cores=2) as s:
        s.api.update("Domain", s.api.find("Domain", name="example.org"), allowRelaying=False)
        s.api.create("MemoryLookupKey", namespace="senders", key="spam@example.net")
        pattern = s.api.create("MemoryLookupKey", namespace="senders", key="*@bad.example", isGlobPattern=True)
        s.api.update("MtaStageMail", "singleton", isSenderAllowed=constant("!key_exists('senders', to_lowercase(sender))"))
        for sender, code in (("SPAM@example.net", "550"), ("x@bad.example", "550"), ("x@example.net", "250")) * 3:
            starts(said(s, f"MAIL FROM:<{sender}>"), code, sender)
        s.api.destroy("MemoryLookupKey", pattern)
        for _ in range(4):
            starts(said(s, "MAIL FROM:<x@bad.example>"), "250", "after the pattern has gone")
        moved = s.api.create("MemoryLookupKeyValue", namespace="moved", key="old@example.org", value="alice@example.org")
        s.api.update("MtaStageRcpt", "singleton", rewrite=constant("key_get('moved', rcpt)"))
        starts(said(s, "RCPT TO:<old@example.org>"), "250", "an address with another")
        starts(said(s, "RCPT TO:<older@example.org>"), "550", "an address without")
        s.api.update("MemoryLookupKeyValue", moved, key="older@example.org")
        starts(said(s, "RCPT TO:<old@example.org>"), "550", "after the key has changed")
        starts(said(s, "RCPT TO:<older@example.org>"), "250", "the new key")

        text = refusal(s, "MtaStageMail", {"update": {"singleton": {"rewrite": constant("key_get('Moved', sender)")}}})
        check("at position 8" in text and 'not "Moved" (a list needs a key: add one, or change this first); available: * moved senders' in text, text)
        text = refusal(s, "MemoryLookupKey", {"create": {"a": {"namespace": "moved", "key": "older@example.org"}}})
        check("the list 'moved' has the key 'older@example.org' twice" in text, text)
        # Of many it is that one alone, whichever type the other one has.
        answer = s.api.set("MemoryLookupKey", create={name: {"namespace": space, "key": key} for name, space, key in (
            ("a", "senders", "a@example.net"), ("b", "moved", "older@example.org"), ("c", "*", "x"), ("d", "senders", "d@example.net"))})
        equal((sorted(answer["created"]), sorted(answer["notCreated"])), (["a", "d"], ["b", "c"]), f"one call ({answer})")
        text = refusal(s, "MemoryLookupKey", {"create": {"a": {"namespace": "*", "key": "x"}}})
        check("is the store that expressions fill" in text, text)
        text = refusal(s, "MemoryLookupKeyValue", {"destroy": [moved]})
        check('not "moved" (a list needs a key: add one, or change this first); available: * senders' in text, text)
        s.api.update("MtaStageRcpt", "singleton", rewrite=constant("false"))
        s.api.destroy("MemoryLookupKeyValue", moved)
        check(s.api.create("Action", **{"@type": "ReloadLookupStores"}), "the action of the contract")
        s.stop()
        s.start()
        starts(said(s, "MAIL FROM:<spam@example.net>"), "550", "after a restart")


def test_metric_function():
    """A statistic of all cores in an expression; one that does not exist is refused with those that do."""
    with Managed(cores=2) as s:
        text = refusal(s, "MtaStageMail", {"update": {"singleton": {"isSenderAllowed": constant("metric('queue.size') > 1")}}})
        check("at position 7" in text and "one of: queue.count queue.message-queued queue.rescheduled" in text, text)
        s.api.update("MtaStageMail", "singleton", isSenderAllowed=constant("metric('queue.message-queued') < 5"))
        wait_until(lambda: said(s, "MAIL FROM:<a@example.net>")[:3] == "250", 10, "the first collection")
        s.api.update("MtaStageMail", "singleton", isSenderAllowed=constant("true"))
        for _ in range(5):  # over whichever core
            s.submit("alice@example.org")
        s.api.update("MtaStageMail", "singleton", isSenderAllowed=constant("metric('queue.message-queued') < 5"))
        wait_until(lambda: said(s, "MAIL FROM:<a@example.net>")[:3] == "550", 10, "five messages of both cores")


def test_system_function():
    """What system() says of the server and of the machine: every name of the contract has an answer."""
    with Managed(cores=1) as s:
        s.api.update("SystemSettings", "singleton", defaultHostname="mx.example.org")
        for name, holds in (("hostname", "== 'mx.example.org'"), ("domain", "== 'example.org'"), ("node_id", "< 1024"),
                            ("node_hostname", f"== '{socket.gethostname().lower()}'"), ("node_role", "== ''")):
            s.api.update("MtaStageMail", "singleton", isSenderAllowed=constant(f"system('{name}') {holds}"))
            starts(said(s, "MAIL FROM:<a@example.net>"), "250", name)


def test_expression_counters():
    """Keys and counters that expressions change: one store for all cores, each call once for a command however long the DNS
    takes; explain shows them and changes nothing; a restart forgets them."""
    zone = {"good.example": {"A": ["192.0.2.5"]}}
    with NameServer(zone) as names, Managed(cores=2, extra=[names.resolver(attempts=1)]) as s:
        def allowed(expression):
            s.api.update("MtaStageMail", "singleton", isSenderAllowed=constant(expression))

        def mail(sender):
            return said(s, f"MAIL FROM:<{sender}>")[:3]
        sessions = session_on_every_core(s)

        def on(core, sender):
            equal(sessions[core].docmd("RSET")[0], 250, "RSET")
            return sessions[core].docmd("MAIL", f"FROM:<{sender}>")[0]
        allowed("counter_incr('*', sender) <= 3")
        for name in ("a", "b", "c", "d"):  # whichever core a name belongs to
            equal([on(i % 2, f"{name}@good.example") for i in range(5)], [250, 250, 250, 550, 550], name)
        # The name server is waited for, so the expression is evaluated twice, and other expressions of the command with it.
        allowed("counter_incr('*', 'once') > 0 && !is_empty(dns_query(sender_domain, 'ipv4'))")
        s.api.update("MtaStageMail", "singleton", rewrite=constant("if_then(counter_incr('*', 'once') > 0, sender, sender)"))
        for i in range(4):
            equal(on(i % 2, "a@good.example"), 250, "with the DNS")
        s.api.update("MtaStageMail", "singleton", rewrite=constant("false"))
        allowed("counter_get('*', 'once') == 4")
        equal([on(0, "x@good.example"), on(1, "x@good.example")], [250, 250], "each once")
        allowed("key_set('*', sender, sender_domain + '!')")
        equal(on(0, "kept@good.example"), 250, "key_set")
        allowed("key_get('*', sender) == 'good.example!' && key_exists('*', sender) && key_get('*', 'other') == ''")
        equal([on(0, "kept@good.example"), on(1, "kept@good.example")], [250, 250], "key_get")
        equal(on(1, "other@good.example"), 550, "another key")
        # What cannot be done is temporary, and in the log.
        allowed("key_set('*', sender, [1])")
        equal(on(0, "x@good.example"), 451, "an array")
        allowed("counter_incr('*', sender, 1.5) > 0")
        equal(on(0, "x@good.example"), 451, "half a count")
        allowed(f"key_set('*', sender + '{'x' * 600}', 1)")
        equal(on(0, "x@good.example"), 451, "a long key")
        for reason in ("an array cannot be kept under a key", "a counter takes whole numbers", "a key or its value is too long"):
            wait_until(lambda r=reason: f'reason="{r}"' in s.log(), 10, reason)

        allowed("counter_incr('*', 'shown', 5) < 100 && key_set('*', 'shown', 7)")
        for _ in range(3):
            answer = explain(s, "alice@example.org", "--from", "a@good.example")
            decision = [d for d in answer["decisions"] if d["setting"] == "isSenderAllowed"][0]
            equal({v["text"]: v["value"] for v in decision["rule"][0]["values"]}["counter_incr('*', 'shown', 5)"], "5", "a peek")
            check("changes no key and no counter" in decision["note"], f"{decision}")
        allowed("counter_get('*', 'shown') == 0 && !key_exists('*', 'shown')")
        equal(on(1, "x@good.example"), 250, "nothing has changed")
        allowed("counter_incr('*', 'shown') < 100")
        check("note: explaining changes no key" in cli(s, "explain", "alice@example.org").stdout, "said to people")
        allowed("counter_get('*', 'shown') == 0")
        check("note: explaining changes" not in cli(s, "explain", "alice@example.org").stdout, "no word without a change")

        text = refusal(s, "MtaOutboundStrategy", {"update": {"singleton": {"tls": constant("if_then(counter_incr('*', 'x'), 'default', 'default')")}}})
        check('this setting cannot change what is changed by "counter_incr"()' in text, text)
        text = refusal(s, "MtaOutboundStrategy", {"update": {"singleton": {"schedule": {
            "match": {"0": {"if": "counter_incr('*', 'x')", "then": "'remote'"}}, "else": "'remote'"}}}})
        check("cannot change keys or counters" in text, text)
        for session in sessions:
            session.close()
        allowed("counter_get('*', 'once') == 0")
        equal(mail("x@good.example"), "550", "before a restart")
        s.stop()
        s.start()
        equal(mail("x@good.example"), "250", "after it")


def test_counters_of_routes():
    """A route may count: at RCPT and at each attempt, once for all recipients of a message with the same call."""
    with Sink() as one, Sink() as two, Managed(cores=2, extra=[relay_route(one.port, "one"), relay_route(two.port, "two")]) as s:
        s.api.update("MtaOutboundStrategy", "singleton", route={
            "match": {"0": {"if": "is_local_address(rcpt)", "then": "'local'"},
                      "1": {"if": "counter_incr('*', rcpt) - counter_incr('*', rcpt) != 0", "then": "'local'"},
                      "2": {"if": "counter_get('*', rcpt) == 2", "then": "'one'"}}, "else": "'two'"})
        s.submit("a@example.org")
        s.submit("b@example.org")
        equal(sorted(m.rcpts[0] for m in one.got(2)), ["a@example.org", "b@example.org"], "RCPT and attempt")
        s.submit("a@example.org")
        equal(len(two.got(1)), 1, "the third and fourth time")


def test_answers_have_a_bound():
    """What the expressions of hundreds of queued messages were told takes no more than its bound; messages for which there is no
    room wait, lose no attempt, and are delivered when the next hop takes mail."""
    gate, text = threading.Event(), "x" * 1000
    asks = " && ".join(f"key_set('*', 'k{n}', '{text}')" for n in range(15)) + " && counter_incr('*', 'attempts') >= 0"
    route = {"match": {"0": {"if": "is_local_address(rcpt)", "then": "'local'"}, "1": {"if": asks, "then": "'source'"}},
             "else": "'local'"}

    def hook(session, verb, line):
        if verb == "MAIL":
            gate.wait()
        return None

    def bytes_of(s, statistic):
        [row] = [row["value"] for row in s.api.stats()[0][statistic] if row["pool"] == "expression-answers"]
        return row
    with Sink(hook=hook) as sink, Managed(relay=sink.port, cores=1, strategy=route, retry_ms=100) as s:
        count = 700
        with s.wire() as w:
            for _ in range(count):
                w.message("bob@example.org", b"x\r\n")
        wait_until(lambda: bytes_of(s, "pool_used_bytes") > 8 << 20, 20, "memory for answers is low")
        gate.set()
        wait_until(lambda: s.log().count(" delivered ") == count, 40, f"{count} deliveries")
        equal(len(sink.messages), count, "messages at the sink")
        check(" deferred " not in s.log(), "an attempt was lost")
        check(bytes_of(s, "pool_used_peak_bytes") <= bytes_of(s, "pool_limit_bytes") == 16 << 20, "over the bound")
        wait_until(lambda: bytes_of(s, "pool_used_bytes") == 0, 10, "everything is given back")


def test_answers_of_waiting_mail():
    """What the expressions of queued mail were told keeps nobody else from asking while it waits for its next hop, however much
    mail there is: another next hop gets its own at once, and the bound holds."""
    gate, text = threading.Event(), "x" * 1000
    asks = " && ".join(f"key_set('*', rcpt + '{n}', '{text}')" for n in range(15))
    route = {"match": {"0": {"if": "is_local_address(rcpt)", "then": "'local'"},
                       "1": {"if": f"{asks} && rcpt == 'other@example.org'", "then": "'second'"}}, "else": "'source'"}

    def hook(session, verb, line):
        if verb == "MAIL":
            gate.wait()
        return None

    def bytes_of(s, statistic):
        [row] = [row["value"] for row in s.api.stats()[0][statistic] if row["pool"] == "expression-answers"]
        return row
    with Sink(hook=hook) as sink, Sink() as second, Managed(relay=sink.port, cores=1, strategy=route, retry_ms=100,
                                                            extra=[relay_route(second.port, "second")]) as s:
        recipients, count = [f"r{n}@example.org" for n in range(4)], 400  # each takes the memory of four
        with s.wire() as w:
            for _ in range(count):
                w.message(recipients, b"x\r\n")
        wait_until(lambda: bytes_of(s, "pool_used_bytes") > 8 << 20, 20, "much is kept for mail that waits")
        for n in range(3):
            s.submit("other@example.org")
            equal(len(second.got(n + 1)), n + 1, "to the other next hop, meanwhile")
        equal(len(sink.messages), 0, "none of the slow one's has gone")
        wait_until(lambda: bytes_of(s, "pool_used_peak_bytes") > 15 << 20, 20, "there is no room for all of it")
        check(bytes_of(s, "pool_used_peak_bytes") <= bytes_of(s, "pool_limit_bytes") == 16 << 20, "over the bound")
        gate.set()
        wait_until(lambda: len(sink.messages) == count, 60, f"{count} messages at the sink")
        check(" deferred " not in s.log(), "an attempt was lost")
        wait_until(lambda: bytes_of(s, "pool_used_bytes") == 0, 10, "everything is given back")


def test_counters_of_a_dry_run():
    """What a plan would change is worked out with its lists, and with keys, counters and statistics as they are; nothing is
    counted by that."""
    with Sink() as sink, Managed(relay=sink.port) as s:
        plan, recipients = os.path.join(s.folder, "plan.ndjson"), os.path.join(s.folder, "recipients")
        rule = ("key_exists('moved', rcpt) && counter_incr('*', rcpt) == 1 && counter_get('*', rcpt) == 0 && "
                "key_get('*', rcpt) == '' && metric('queue.count') == 0")
        with open(plan, "w") as f:
            for line in ({"@type": "create", "object": "MemoryLookupKey", "value": {"k": {"namespace": "moved", "key": "bob@example.org"}}},
                         {"@type": "update", "object": "MtaOutboundStrategy", "value": {"route": {
                             "match": {"0": {"if": f"is_local_address(rcpt) || {rule}", "then": "'local'"}}, "else": "'source'"}}}):
                f.write(json.dumps(line) + "\n")
        with open(recipients, "w") as f:
            f.write("bob@example.org\ncarol@example.org\n")
        def told():
            return cli(s, "apply", "--dry-run", "--explain", recipients, "--file", plan, code=0).stdout.splitlines()
        wait_until(lambda: "statistics have not been collected yet" not in "".join(told()), 10, "the first statistics")
        lines = told()
        check(lines[-2].startswith("bob@example.org: relayed by source") and "refused" in lines[-2], f"{lines}")
        equal(lines[-1], "1 of 2 recipients would go another way", "the other one")
