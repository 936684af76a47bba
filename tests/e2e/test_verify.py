"""Recipients that are not here: the relay is asked before they are accepted."""

import os
import re
import socket
import subprocess
import threading
import time

from lib import (DROP, NO_REPLY, Server, Sink, check, equal, free_port, marked, postfix_program, sink_tls, starts,
                 update, wait_until)
from nameserver import NameServer
from test_bans import PROXY, banned, say, session_of
from test_explain import cli, explain
from test_management import Managed, rcpt_code, session_on_every_core
from test_strategies import TLS_SINK, chosen, connection_strategy, tls_strategy

NO_SUCH = "550 5.1.1 No such user here"
NOT_NOW = "451 4.4.1"


def verifying(how="accept", **performance):
    """Plan lines that switch it on for example.org."""
    plan = [{"@type": "update", "object": "Domain", "id": "#d", "value": {"verifyRecipients": how}}]
    return plan + ([update("Performance", **performance)] if performance else [])


def knows(*names):
    """A sink's hook: a mail system with these recipients."""
    def hook(session, verb, line):
        if verb == "RCPT" and not any(f"<{n}@" in line for n in names):
            return "550 5.1.1 unknown here"
        return None
    return hook


def asked(sink):
    """Recipients that the sink was asked about or got mail for, in order."""
    return [re.search("<(.*)>", line)[1] for _, line in sink.commands if line.startswith("RCPT")]


def ask(server, *rcpts, seconds=20):
    """Replies to RCPT, all sent at once."""
    with server.wire(seconds=seconds) as w:
        w.expect("MAIL FROM:<sender@example.net>", "250")
        w.send("".join(f"RCPT TO:<{r}>\r\n" for r in rcpts).encode())
        replies = [w.reply() for _ in rcpts]
        w.expect("QUIT", "221")
    return replies


def results(server):
    """Of verifications, by their result; and those that were answered without a question."""
    stats = server.api.stats()[0]
    numbers = {row["result"]: row["value"] for row in stats["verifications_total"] if row["value"]}
    return numbers | {k: stats[f"verifications_{k}_total"] for k in ("kept", "shared")
                      if stats[f"verifications_{k}_total"]}


class Gate:
    """A sink's hook that says nothing to RCPT before it is opened."""

    def __init__(self, then=None):
        self.open, self.then = threading.Event(), then

    def __call__(self, session, verb, line):
        if verb == "RCPT":
            self.open.wait(30)
        return self.then(session, verb, line) if self.then else None


def test_verify_recipients():
    """Known at the relay: 250 and delivered there; unknown: 550 5.1.1; local ones never ask; each is asked about once."""
    with Sink(hook=knows("bob", "Carol")) as source, Managed(relay=source.port, cores=1, extra=verifying()) as s:
        names = ["bob", "nobody", "alice", "bob", "nobody", "postmaster", "Carol", "carol", "alice+tag"]
        replies = ask(s, *[f"{n}@example.org" for n in names], "x@elsewhere.example")
        equal([r[:9] for r in replies], ["250 2.1.5", NO_SUCH[:9], "250 2.1.5", "250 2.1.5", NO_SUCH[:9], "250 2.1.5",
                                        "250 2.1.5", NO_SUCH[:9], "250 2.1.5", "550 5.7.1"], "replies")
        equal(sorted(asked(source)), ["Carol@example.org", "bob@example.org", "carol@example.org",
                                      "nobody@example.org"], "recipients asked about")
        equal(source.connections, 1, "connections to the relay")
        wait_until(lambda: "recipient-verified to=nobody@example.org route=source result=refused code=550" in s.log(), 10,
                   "the log line")
        s.submit("bob@example.org", marked())
        equal(source.got(1)[0].rcpts, ["bob@example.org"], "recipients of the message")
        verbs = source.verbs(1)
        equal([verbs[i] for i in range(len(verbs)) if verbs[i] != "RCPT"][:3], ["EHLO", "MAIL", "RSET"], "commands")
        check("MAIL FROM:<>" in [line for _, line in source.commands], "the null sender asks")
        told = results(s)  # what follows in the input is asked about ahead, so it may be kept or shared
        equal((told["accepted"], told["refused"]), (2, 2), "statistics")
        s.api.update("Domain", s.api.find("Domain", name="example.org"), verifyRecipients="disable")
        equal(ask(s, "nobody@example.org")[0][:3], "250", "when it is off")


def test_verify_pipelines_and_shares():
    """Sessions that ask at once share connections and questions; pipelined recipients are asked about together."""
    gate = Gate(knows(*[f"b{n}" for n in range(0, 40, 2)]))
    with Sink(hook=gate) as source, Managed(relay=source.port, cores=1, extra=verifying()) as s:
        names = [f"b{n}@example.org" for n in range(30)]
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(ask(s, *names, seconds=40))) for _ in range(12)]
        for thread in threads:
            thread.start()
        # Nothing is answered yet, so all of this is on its way at the same time.
        wait_until(lambda: sum(line.startswith("MAIL") for _, line in source.commands) == 3, 10, "three transactions")
        gate.open.set()
        for thread in threads:
            thread.join()
        expected = ["250" if n % 2 == 0 else "550" for n in range(30)]
        equal([[r[:3] for r in replies] for replies in answers], [expected] * 12, "replies, in order")
        equal(sorted(asked(source)), sorted(names), "asked once each")
        check(source.connections <= 4, f"connections: {source.connections}")
        told = results(s)
        equal((told["accepted"], told["refused"], told["kept"] + told["shared"]), (15, 15, 12 * 30 - 30 + 29), "counts")


def test_verify_unavailable():
    """4xx, policy, MAIL refused, no answer, no host: accepted or 451 as configured, and never kept."""
    mood = {"RCPT": None, "MAIL": None, "BANNER": None}

    def hook(session, verb, line):
        return mood.get(verb)
    with Sink(hook=hook) as source, Managed(relay=source.port, cores=1,
                                            extra=verifying(verificationTimeout=1000)) as s:
        domain = s.api.find("Domain", name="example.org")
        bad = ({"RCPT": "450 4.2.1 busy"}, {"RCPT": "554 5.7.1 Client host rejected"}, {"MAIL": "550 5.7.1 no null sender"},
               {"RCPT": NO_REPLY}, {"RCPT": DROP}, {"MAIL": "421 4.7.0 too much"})
        for number, moods in enumerate(bad):
            both = (("accept", "250"), ("defer", NOT_NOW))
            for how, code in both if number < 3 else (both[number % 2],):  # after a lost connection there is a pause
                mood.update({"RCPT": None, "MAIL": None} | moods)
                s.api.update("Domain", domain, verifyRecipients=how)
                reply = ask(s, f"x{number}@example.org")[0]
                starts(reply, code, f"{moods} with {how}")
                mood.update(RCPT=None, MAIL=None)
                wait_until(lambda: ask(s, f"good{number}@example.org")[0][:3] == "250" and
                           any(f"<good{number}@" in line for _, line in source.commands), 20, "questions again")
                mood["RCPT"] = "550 5.1.1 unknown"
                starts(ask(s, f"x{number}@example.org")[0], "550 5.1.1", "nothing was kept")
                s.api.update("Domain", domain, verifyRecipients="disable")  # what was kept is dropped
        told = results(s)
        for result in ("undecided", "unreachable", "late"):
            check(told.get(result, 0) >= 1, f"{result}: {told}")
        s.api.update("Domain", domain, verifyRecipients="defer")
        source.stop()
        starts(ask(s, "away@example.org")[0], NOT_NOW, "no host")
        wait_until(lambda: "verification-unavailable route=source" in s.log(), 10, "the log line")
        starts(ask(s, "alice@example.org")[0], "250", "a local account")
        source.start()
        mood["RCPT"] = None
        wait_until(lambda: ask(s, "away@example.org")[0][:3] == "250", 20, "the host is back")


def test_verify_follows_changes():
    """An account or alias that is created counts at once; what was kept about the address is dropped, tags too; so
    is everything when domain or routes change, and nothing when somebody else is created."""
    known = []

    def hook(session, verb, line):
        return "550 5.1.1 no" if verb == "RCPT" and not any(f"<{n}" in line for n in known) else None
    with Sink(hook=hook) as source, Managed(relay=source.port, cores=2, extra=verifying()) as s:
        domain = s.api.find("Domain", name="example.org")

        sessions = session_on_every_core(s)

        def everywhere(codes, what, *names):
            for session in sessions:
                equal([rcpt_code(session, f"{n}@example.org") for n in names], codes, what)
        everywhere([550, 550, 550], "unknown everywhere", "dora", "dora+x", "emil")
        account = s.api.create("Account", **{"@type": "User", "name": "dora", "domainId": domain})
        everywhere([250, 250, 550], "an account here", "dora", "dora+x", "emil")
        known.append("dora")
        s.api.destroy("Account", account)
        everywhere([250, 250, 550], "an account there", "dora", "dora+x", "emil")
        known[:] = []
        alice = s.api.find("Account", name="alice")
        s.api.update("Account", alice, aliases={"0": {"name": "emil", "domainId": domain}})
        everywhere([250, 250], "an alias here; dora is still known", "emil", "dora")
        s.api.update("Account", alice, aliases={})
        known.append("emil")
        everywhere([250], "the alias is there now", "emil")
        count = len(asked(source))
        other = s.api.create("Account", **{"@type": "User", "name": "fritz", "domainId": domain})
        s.api.update("MtaStageRcpt", "singleton", maxRecipients={"match": {}, "else": "500"})
        everywhere([250, 250], "kept", "emil", "dora")
        equal(len(asked(source)), count, "questions after a change of something else")
        s.api.destroy("Account", other)
        known[:] = []
        s.api.update("MtaRoute", s.api.find("MtaRoute", name="source"), allowInvalidCerts=False)
        everywhere([550, 550], "another route", "emil", "dora")


def test_verify_change_while_asking():
    """An account that is created while the relay is being asked about it is accepted, whatever the relay says."""
    gate = Gate(lambda session, verb, line: "550 5.1.1 no" if verb == "RCPT" else None)
    with Sink(hook=gate) as source, Managed(relay=source.port, cores=1, extra=verifying()) as s:
        domain = s.api.find("Domain", name="example.org")
        answers = []
        thread = threading.Thread(target=lambda: answers.extend(ask(s, "gina@example.org", "hans@example.org")))
        thread.start()
        wait_until(lambda: len(asked(source)) >= 1, 10, "a question")
        s.api.create("Account", **{"@type": "User", "name": "gina", "domainId": domain})
        gate.open.set()
        thread.join()
        equal([r[:3] for r in answers], ["250", "550"], "replies")
        s.submit("gina@example.org", marked())
        s.delivered(1, "gina")


def test_verify_session_goes():
    """Clients that go, sessions that end and a server that stops while the relay is being asked."""
    gate = Gate()
    with Sink(hook=gate) as source, Managed(relay=source.port, cores=1, extra=verifying()) as s:
        for number in range(20):
            with s.wire() as w:
                w.expect("MAIL FROM:<sender@example.net>", "250")
                w.send(f"RCPT TO:<n{number}@example.org>\r\n".encode())
                wait_until(lambda: len(asked(source)) > min(number, 3), 10, "a question")
        gate.open.set()
        starts(ask(s, "bob@example.org")[0], "250", "another session")
        gate.open.clear()
        waiting = s.wire()
        waiting.expect("MAIL FROM:<sender@example.net>", "250")
        waiting.send(b"RCPT TO:<last@example.org>\r\n")
        wait_until(lambda: "last@example.org" in asked(source), 10, "a question")
        s.stop()
        starts(waiting.reply(), "421", "the session's end")


def test_verify_bans():
    """What the relay refuses counts as a refused recipient of the client, also when the answer was kept."""
    with Sink(hook=knows("bob")) as source, Managed(relay=source.port, cores=2, settings=PROXY,
                                                    extra=verifying()) as s:
        s.api.update("Security", "singleton", abuseBanRate={"count": 4, "period": 3600000})
        session = session_of(s, "203.0.113.7")
        for line in ("EHLO bad.example.net", "MAIL FROM:<a@example.net>", "RCPT TO:<bob@example.org>"):
            equal(say(session, line)[:3], "250", line)
        for number in range(5):
            equal(say(session, f"RCPT TO:<no{number % 2}@example.org>")[:3], "550", "an unknown recipient")
        banned(s, "203.0.113.7", "rcptToFailure")


def test_verify_smtp_sink():
    """Postfix's smtp-sink as the relay: many recipients in few transactions; when it says 4xx, as nobody could say."""
    program, environment = postfix_program("smtp-sink")
    for flags, replies in (([], {"250"}), (["-r", "RCPT"], {"451"})):
        port = free_port()
        user = ["-u", "nobody"] if os.getuid() == 0 else []
        sink = subprocess.Popen([program, *user, *flags, f"inet:127.0.0.1:{port}", "100"], env=environment,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            def up():
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    return True
                except OSError:
                    return False
            wait_until(up, 10, "smtp-sink listens")
            with Managed(relay=port, cores=1, extra=verifying("defer")) as s:
                for start in range(0, 200, 50):
                    got = ask(s, *[f"n{n}@example.org" for n in range(start, start + 50)], "alice@example.org")
                    equal((set(got[i][:3] for i in range(50)), got[50][:3]), (replies, "250"), "replies")
                told = results(s)
                if flags:  # never kept, so what was asked ahead of its turn may be asked again
                    check(set(told) <= {"undecided", "shared"} and told["undecided"] >= 200, f"results: {told}")
                else:
                    equal(told["accepted"], 200, f"results: {told}")
        finally:
            sink.terminate()
            sink.wait(10)


def test_verify_explained():
    """explain says that the relay is asked, and what it has said."""
    with Sink(hook=knows("bob")) as source, Managed(relay=source.port, cores=1, extra=verifying("defer")) as s:
        for name, known, outcome in (("bob", "accepted", "relayed"), ("no", "refused", "refused")):
            answer = explain(s, f"{name}@example.org")
            equal((answer["outcome"], answer["verification"]), ("relayed", {"otherwise": "defer", "known": None, "for": None}),
                  "before")
            starts(answer["reason"], "accepted if the relay has such a recipient", "reason")
            reply = ask(s, f"{name}@example.org")[0]
            answer = explain(s, f"{name}@example.org")
            equal((answer["outcome"], answer["verification"]["known"]), (outcome, known), "afterwards")
            check(0 < answer["verification"]["for"] <= 3600000, f"{answer}")
            if outcome == "refused":
                stated = answer["reply"]
                equal(reply, f"{stated['code']} {stated['enhanced']} {stated['text']}", "reply")
        check("Asked at the relay" in cli(s, "explain", "bob@example.org", code=3).stdout, "as text")
        equal(explain(s, "alice@example.org")["verification"], None, "a local account")


def test_verify_strategy_changes_live():
    """A connection that was made by the TLS strategy of before asks nothing more when it has changed."""
    with Sink(hook=knows("bob", "ann"), tls=sink_tls(), extensions=("PIPELINING", "STARTTLS")) as source, \
            Managed(relay=source.port, cores=1, extra=verifying()) as s:
        equal(ask(s, "bob@example.org")[0][:3], "250", "by the first connection")
        equal(source.verbs(1)[:3], ["EHLO", "STARTTLS", "EHLO"], "commands")
        s.api.create("MtaTlsStrategy", name="never", startTls="disable")
        s.api.update("MtaOutboundStrategy", "singleton", tls={"match": {}, "else": "'never'"})
        equal(ask(s, "ann@example.org")[0][:3], "250", "by another one")
        check("STARTTLS" not in source.verbs(2) and "RCPT" in source.verbs(2), f"commands: {source.commands}")


def under_tls(sink):
    """Recipients asked about, each with whether its connection was under TLS."""
    return {re.search("<(.*)>", line)[1]: "STARTTLS" in sink.verbs(n) for n, line in sink.commands if line.startswith("RCPT")}


def test_verify_by_the_recipients_strategy():
    """Where an expression chooses by recipient, each is asked about over a connection as its mail would have; those that are
    asked at the same time share one by their strategies, and connections are kept by them."""
    plan = [tls_strategy("never", startTls="disable"), chosen("tls", "starts_with(rcpt, 'old')", "never")]
    with Sink(TLS_SINK, hook=knows("bob", "ann", "old1", "old2"), tls=sink_tls()) as source, \
            Managed(relay=source.port, cores=1, extra=verifying() + plan) as s:
        for names, codes in ((("bob", "old1", "no", "old3"), ["250", "250", "550", "550"]), (("ann", "old2"), ["250", "250"])):
            equal([r[:3] for r in ask(s, *[f"{n}@example.org" for n in names])], codes, f"{names}")
            wait_until(lambda: all(source.verbs(n)[-1:] == ["RSET"] for n in range(1, source.connections + 1)), 10, "connections that are free")
        equal(under_tls(source), {f"{n}@example.org": not n.startswith("old") for n in ("bob", "ann", "no", "old1", "old2", "old3")},
              "under TLS")
        equal(source.connections, 2, "one connection for each strategy")


def test_verify_strategies_within_the_limit():
    """One connection, more strategies: they take turns, and each question is answered by its own."""
    plan = [connection_strategy(n, ehloHostname=f"{n}.example.org") for n in ("a", "b", "c")]
    plan.append(update("MtaOutboundStrategy", connection={"match": {
        str(i): {"if": f"starts_with(rcpt, '{n}')", "then": f"'{n}'"} for i, n in enumerate(("a", "b", "c"))}, "else": "'default'"}))
    active, most = set(), []

    def hook(session, verb, line):
        with session.sink.lock:
            if verb == "BANNER":
                active.add(session.number)
                most.append(len(active))
            elif verb == "QUIT":
                active.discard(session.number)
        return knows("a1", "b1", "c1", "x1")(session, verb, line)
    with Sink(hook=hook) as source, Managed(relay=source.port, cores=1, extra=verifying(verificationConnections=1) + plan) as s:
        for _ in range(3):
            names = ("a1", "b1", "c1", "x1", "a2", "b2", "c2", "x2")
            equal([r[:3] for r in ask(s, *[f"{n}@example.org" for n in names])], ["250"] * 4 + ["550"] * 4, "replies")
            s.api.update("Domain", s.api.find("Domain", name="example.org"), verifyRecipients="disable")  # forgets
            s.api.update("Domain", s.api.find("Domain", name="example.org"), verifyRecipients="defer")
        equal(max(most), 1, "most connections at a time")
        for number, line in source.commands:
            if line.startswith("RCPT"):
                own = re.search("<(.)", line)[1]
                said = next(c for n, c in source.commands if n == number and c.startswith("EHLO"))
                equal(said.startswith(f"EHLO {own}.example.org"), own != "x", f"{line} after {said}")


def test_verify_strategy_that_fails():
    """TLS that one strategy needs and the host has not: its recipients cannot be asked about, for a while without another
    connection; the others are not to blame."""
    plan = [tls_strategy("strict", startTls="require"), chosen("tls", "starts_with(rcpt, 'safe')", "strict")]
    with Sink(hook=knows("bob", "ann", "safe")) as source, \
            Managed(relay=source.port, cores=1, extra=verifying("defer") + plan) as s:
        starts(ask(s, "safe@example.org")[0], NOT_NOW, "whose TLS is not offered")
        count = source.connections
        starts(ask(s, "safe@example.org")[0], NOT_NOW, "again")
        equal(source.connections, count, "connections within the pause")
        equal([r[:3] for r in ask(s, "bob@example.org", "no@example.org", "safe@example.org")], ["250", "550", "451"], "others")
        wait_until(lambda: "TLS is required and was not offered" in s.log(), 10, "why")
        source.tls = sink_tls()
        source.extensions.append("STARTTLS")
        s.api.update("MtaTlsStrategy", s.api.find("MtaTlsStrategy", name="strict"), allowInvalidCerts=True)
        wait_until(lambda: ask(s, "safe@example.org")[0][:3] == "250", 20, "it has TLS now")
        check(under_tls(source)["safe@example.org"] and not under_tls(source)["bob@example.org"], f"{source.commands}")


def test_verify_strategy_asks_the_dns():
    """An expression that asks the DNS for the strategy: the question waits for it; when nobody can say, nobody is asked."""
    zone = {"old.list.example": {"A": ["127.0.0.2"]}}
    plan = [tls_strategy("never", startTls="disable"),
            chosen("tls", "!is_empty(dns_query(split(rcpt, '@')[0] + '.list.example', 'ipv4'))", "never")]
    with NameServer(zone) as names, Sink(TLS_SINK, hook=knows("bob", "old"), tls=sink_tls()) as source, \
            Managed(relay=source.port, cores=1, extra=[names.resolver(attempts=1), *verifying("defer"), *plan]) as s:
        equal([r[:3] for r in ask(s, "bob@example.org", "old@example.org", "no@example.org")], ["250", "250", "550"], "replies")
        equal(under_tls(source), {"bob@example.org": True, "old@example.org": False, "no@example.org": True}, "under TLS")
        names.mode = "servfail"
        starts(ask(s, "ann@example.org")[0], NOT_NOW, "nobody can say how")
        wait_until(lambda: "expression could not be evaluated" in s.log(), 10, "why")
        names.mode = "silent"
        with s.wire() as w:
            w.expect("MAIL FROM:<sender@example.net>", "250")
            w.send(b"RCPT TO:<late@example.org>\r\n")
            s.stop()


def test_verify_names_forgotten():
    """InvalidateCaches: the next question goes where the relay's name leads now."""
    names = NameServer({"relay.example": {"A": ["127.0.0.2"]}})
    with names, Sink(hook=knows("bob", "ann"), address="127.0.0.2") as old, \
            Sink(hook=knows("bob", "ann"), address="127.0.0.3", port=old.port) as new, \
            Managed(relay=old.port, cores=1, relay_fields={"address": "relay.example"}, extra=[names.resolver(), *verifying()]) as s:
        equal(ask(s, "bob@example.org")[0][:3], "250", "at the old place")
        names.zone["relay.example"] = {"A": ["127.0.0.3"]}
        s.api.create("Action", **{"@type": "InvalidateCaches"})
        equal(ask(s, "ann@example.org")[0][:3], "250", "at the new place")
        equal((asked(old), asked(new)), (["bob@example.org"], ["ann@example.org"]), "who was asked")


def test_verify_lmtp_and_tls():
    """Over LMTP, and over STARTTLS; a relay whose handshake fails is asked in clear."""
    with Sink(lmtp=True, hook=knows("bob")) as source, \
            Server(relay=source.port, cores=1, relay_fields={"protocol": "lmtp"}, extra=verifying()) as s:
        equal([r[:3] for r in ask(s, "bob@example.org", "no@example.org")], ["250", "550"], "LMTP")
        check(source.verbs(1)[0] == "LHLO", f"commands: {source.verbs(1)}")
    with Sink(hook=knows("bob"), tls=sink_tls(), extensions=("PIPELINING", "STARTTLS")) as source, \
            Server(relay=source.port, cores=1, extra=verifying()) as s:
        equal([r[:3] for r in ask(s, "bob@example.org", "no@example.org")], ["250", "550"], "STARTTLS")
        equal(source.verbs(1)[:3], ["EHLO", "STARTTLS", "EHLO"], "commands")

    def broken(session, verb, line):
        if verb != "STARTTLS":
            return knows("bob")(session, verb, line)
        session.sock.sendall(b"220 2.0.0 Go on\r\n")
        session.sock.recv(1)
        return DROP
    with Sink(hook=broken, tls=sink_tls(), extensions=("STARTTLS",)) as source, \
            Server(relay=source.port, cores=1, extra=verifying()) as s:
        wait_until(lambda: ask(s, "no@example.org")[0][:3] == "550", 20, "an answer in clear")
        equal(ask(s, "bob@example.org")[0][:3], "250", "in clear, without PIPELINING")


def test_verify_few_refusals_each():
    """No connection names more than ten unknown recipients: servers cut those off."""
    with Sink(hook=knows("bob")) as source, Managed(relay=source.port, cores=1,
                                                    extra=verifying(verificationConnections=1)) as s:
        for start in range(0, 60, 15):  # below what closes a session
            replies = ask(s, *[f"n{n}@example.org" for n in range(start, start + 15)])
            equal({r[:3] for r in replies}, {"550"}, "replies")
        per = {}
        for number, line in source.commands:
            per[number] = per.get(number, 0) + line.startswith("RCPT")
        check(max(per.values()) <= 10 and sum(per.values()) == 60, f"recipients per connection: {per}")


def test_verify_tuning():
    """Times and bounds of questions are those of Performance, at once."""
    gate = Gate(knows("bob"))
    gate.open.set()
    with Sink(hook=gate) as source, Managed(relay=source.port, cores=1, extra=verifying()) as s:
        def tune(**fields):
            s.api.update("Performance", "singleton", **fields)

        def connections():
            return s.api.stats()[0]["verification_connections"]

        def hold(*names):
            """Sessions of ten recipients each that wait for the relay."""
            sessions = []
            for name in names:
                sessions.append(s.wire(seconds=40))
                sessions[-1].expect("MAIL FROM:<sender@example.net>", "250")
                sessions[-1].send("".join(f"RCPT TO:<{name}{n}@example.org>\r\n" for n in range(10)).encode())
            return sessions

        tune(verificationKeepAccepted=1000, verificationKeepRefused=604800000 // 7)
        ask(s, "bob@example.org", "no@example.org")
        wait_until(lambda: ask(s, "bob@example.org", "no@example.org") and asked(source).count("bob@example.org") == 2, 20,
                   "a new question about who was accepted")
        equal(asked(source).count("no@example.org"), 1, "questions about who was refused")
        tune(verificationKeepAccepted=3600000, verificationKeepRefused=1000)
        ask(s, "bob2@example.org")
        wait_until(lambda: ask(s, "bob2@example.org") and asked(source).count("bob2@example.org") == 2, 20,
                   "a new question about who was refused")
        tune(verificationKeepRefused=3600000, verificationCache=8)
        names = [f"c{n}@example.org" for n in range(19)]
        ask(s, *names)
        ask(s, *names)
        check(sum(asked(source).count(n) for n in names) >= 19 + 11, "eight answers are kept")
        tune(verificationCache=4096)
        names = [f"d{n}@example.org" for n in range(19)]
        ask(s, *names)
        ask(s, *names)
        equal(sum(asked(source).count(n) for n in names), 19, "all are kept")
        gate.open.clear()
        tune(verificationTimeout=60000, verificationConnections=2)
        sessions = hold("e", "f", "g", "h", "i")
        wait_until(lambda: connections() == 2, 10, "two connections")
        time.sleep(0.2)
        equal(connections(), 2, "connections, and no further")
        tune(verificationConnections=4)
        sessions += hold("j")
        wait_until(lambda: connections() == 4, 10, "four connections")
        gate.open.set()
        for w in sessions:
            equal({w.reply()[:3] for _ in range(10)}, {"550"}, "replies")
            w.sock.close()
        gate.open.clear()
        tune(verificationQuestions=2)
        before = results(s).get("full", 0)
        sessions = [s.wire() for _ in range(2)]
        for number, w in enumerate(sessions):
            w.expect("MAIL FROM:<sender@example.net>", "250")
            w.send(f"RCPT TO:<k{number}@example.org>\r\n".encode())
        wait_until(lambda: len([n for n in asked(source) if n.startswith("k")]) >= 1, 10, "questions")
        starts(ask(s, "l@example.org")[0], "250", "over the bound: as when nobody can say")
        equal(results(s)["full"], before + 1, "counted")
        tune(verificationQuestions=1024, verificationTimeout=100)
        before = results(s).get("late", 0)
        starts(ask(s, "m@example.org")[0], "250", "no answer in time")
        gate.open.set()
        wait_until(lambda: results(s).get("late", 0) == before + 1, 10, "counted as late")
        for w in sessions:
            starts(w.reply(), "550", "an answer that came in its time")
            w.sock.close()
