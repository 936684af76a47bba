"""ringmx-cli explain: what it says is what mail does."""

import json
import os
import subprocess

import lib
from lib import LOCAL, Sink, check, equal, marked, update, wait_until
from nameserver import NameServer
from test_bans import PROXY, say, session_of
from test_management import ADMIN, Managed

EXIT = {"delivered": 0, "relayed": 3, "refused": 4, "temporary": 5}
SLOW = "x" * 40  # the expression gives up on it

RULE = {"match": {
    "0": {"if": "matches('^(x+x+)+[yz]', rcpt)", "then": "'local'"},
    "1": {"if": "matches('^vip-(.+)@', rcpt) && size < 1000 && sender_domain != 'spam.example'",
          "then": "'second'"},
    "2": {"if": "is_local_address(rcpt)", "then": "'local'"},
    "3": {"if": "is_local_domain(rcpt_domain)", "then": "'source'"}}, "else": "'mx'"}


def cli(server, *args, code=None):
    env = dict(os.environ, STALWART_URL=f"http://127.0.0.1:{server.http_port}", STALWART_USER=ADMIN.split(":")[0],
               STALWART_PASSWORD=ADMIN.split(":")[1])
    done = subprocess.run([os.path.join(lib.BUILD, "ringmx-cli"), *args], capture_output=True, text=True, timeout=60,
                          env=env, check=False)
    if code is not None:
        equal(done.returncode, code, f"exit code of {args} ({done.stderr.strip()})")
    return done


def explain(server, recipient, *args):
    done = cli(server, "explain", recipient, "--json", *args)
    answer = json.loads(done.stdout)
    equal(done.returncode, EXIT[answer["outcome"]], f"exit code for {recipient}")
    return answer


def test_explain_is_what_mail_does():
    """A table of recipients: outcome, reply and next hop as explained are those of real mail, on the real rule."""
    extra = [{"@type": "create", "object": "Domain", "value": {
                 "d2": {"name": "closed.example", "catchAllAddress": None},
                 "d3": {"name": "catch.example", "catchAllAddress": "alice@example.org"}}},
             {"@type": "create", "object": "MailingList", "value": {
                 "m": {"name": "team", "domainId": "#d", "recipients": {"alice@example.org": True}}}}]
    with Sink() as source, Sink() as second:
        extra.insert(0, lib.relay_route(second.port, "second"))
        with Managed(relay=source.port, strategy=RULE, extra=extra) as s:
            table = [
                ("alice@example.org", "delivered", "local"),
                ("ALICE+tag@Example.ORG", "delivered", "local"),
                ("team@example.org", "delivered", "local"),
                ("anybody@catch.example", "delivered", "local"),
                ("Bob@example.org", "relayed", "source"),
                ("vip-carol@example.org", "relayed", "second"),
                ("postmaster@example.org", "relayed", "source"),
                ("nobody@closed.example", "refused", None),
                ("x@elsewhere.example", "refused", None),
                (SLOW + "@example.org", "temporary", None),
            ]
            for number, (address, outcome, route) in enumerate(table):
                answer = explain(s, address, "--from", "sender@example.net")
                equal(answer["outcome"], outcome, f"outcome of {address}")
                if route is not None:
                    equal(answer["route"]["name"], route, f"route of {address}")
                body = marked(f"explained {number}")
                before = len(s.mailbox()), len(source.messages), len(second.messages)
                with s.wire() as w:
                    w.expect("MAIL FROM:<sender@example.net>", "250")
                    w.send(f"RCPT TO:<{address}>\r\n".encode())
                    reply = w.reply()
                    stated = answer["reply"]
                    equal(reply, f"{stated['code']} {stated['enhanced']} {stated['text']}", f"reply for {address}")
                    if stated["code"] != 250:
                        continue
                    w.expect("DATA", "354")
                    w.send(body + b".\r\n")
                    w.then("250 2.0.0 Queued")
                place = {"local": 0, "source": 1, "second": 2}[route]

                def counts():
                    return len(s.mailbox()), len(source.messages), len(second.messages)
                wait_until(lambda: counts() != before, 15, f"{address} arrives")
                equal([a - b for a, b in zip(counts(), before)], [int(i == place) for i in range(3)],
                      f"where {address} arrives")


def test_explain_steps():
    """Resolver, values of the operands, route, next hop, schedule, limits and generation; what a change changes."""
    with Sink() as source, Sink() as second:
        extra = [lib.relay_route(second.port, "second"),
                 update("MtaStageData", maxMessageSize={"match": {}, "else": "5000"})]
        with Managed(relay=source.port, strategy=RULE, extra=extra) as s:
            answer = explain(s, "vip-carol@example.org", "--from", "a@spam.example", "--size", "500", "--ip", "192.0.2.1")
            equal([(r["branch"], r["result"]) for r in answer["rule"]],
                  [(0, False), (1, False), (2, False), (3, True), (3, "'source'")], "branches")
            values = {v["text"]: v["value"] for v in answer["rule"][1]["values"]}
            equal(values["size"], "500", "an operand")
            equal(values["sender_domain"], "'spam.example'", "an operand")
            equal(values["sender_domain != 'spam.example'"], "0", "a comparison")
            equal([(r["step"], r["result"]) for r in answer["resolver"]],
                  [("domain", "local"), ("address", "not here"), ("allowRelaying", "by the route")], "resolver")
            hop = answer["nextHop"]
            equal((hop["address"], hop["port"], hop["protocol"], hop["down"]), ("127.0.0.1", source.port, "smtp", False),
                  "next hop")
            equal(answer["limits"]["maxMessageSize"], 5000, "a limit")
            check(answer["schedule"]["retry"] and answer["schedule"]["expiry"], "schedule")
            generation = answer["generation"]

            too_big = explain(s, "alice@example.org", "--size", "5001")
            equal((too_big["outcome"], too_big["stage"], too_big["reply"]["code"]), ("refused", "MAIL", 552), "too big")
            with s.wire() as w:
                w.expect("MAIL FROM:<> SIZE=5001", "552 5.3.4")

            s.api.create("BlockedIp", address="192.0.2.0/24")
            blocked = explain(s, "alice@example.org", "--ip", "192.0.2.1")
            equal((blocked["outcome"], blocked["stage"], blocked["reply"]), ("refused", "connect", None), "blocked")
            equal(explain(s, "alice@example.org", "--ip", "192.0.3.1")["outcome"], "delivered", "not blocked")
            check(blocked["generation"] > generation, "the configuration that decided is named")

            domain = s.api.find("Domain", name="example.org")
            s.api.create("Account", **{"@type": "User", "name": "bob", "domainId": domain})
            bob = explain(s, "bob+x@example.org")
            equal([r["step"] for r in bob["resolver"]], ["domain", "address", "without tag"], "cut at the tag")
            equal(bob["resolution"]["mailbox"], "bob@example.org", "mailbox")

            text = cli(s, "explain", "bob@example.org", "--listener", "smtp", code=0).stdout
            for part in ("bob@example.org: delivered", "RCPT answers 250", "is_local_address(rcpt) = 1",
                         "then 'local'", "listenerConnections"):
                check(part in text, f"{part} in {text}")


def test_explain_decisions():
    """Every expression that decides over the session, the queue and the connection, with its values; they may ask the DNS, and
    what is refused early is said so, with the reply that a session gets."""
    zone = {"7.113.0.203.list.example": {"A": ["127.0.0.2"]}}
    extra = [update("MtaStageMail", isSenderAllowed={"match": {}, "else":
                    "is_empty(dns_query(ip_reverse_name(remote_ip) + '.list.example', 'ipv4'))"}),
             update("MtaStageEhlo", rejectNonFqdn={"match": {}, "else": "remote_ip == '192.0.2.9'"}),
             update("MtaExtensions", dsn={"match": {}, "else": "helo_domain != 'old.example'"}),
             update("MtaInboundSession", maxErrors={"match": {"0": {"if": "remote_ip == '192.0.2.9'", "then": "7"}}, "else": "9"}),
             {"@type": "create", "object": "MtaTlsStrategy", "value": {"t": {"name": "safe", "startTls": "require"}}},
             {"@type": "create", "object": "MtaConnectionStrategy", "value": {"c": {"name": "quick", "dataTimeout": 5000}}},
             update("MtaOutboundStrategy",
                    tls={"match": {"0": {"if": "mx == '127.0.0.1' && rcpt == 'safe@example.org'", "then": "'safe'"}}, "else": "'default'"},
                    connection={"match": {"0": {"if": "remote_ip == '127.0.0.1'", "then": "'quick'"}}, "else": "'default'"})]
    with NameServer(zone) as names, Sink() as sink, Managed(
            cores=2, relay=sink.port, settings=PROXY, extra=[names.resolver(attempts=1), *extra]) as s:
        def decisions(answer):
            return {d["setting"]: (d["stage"], d["result"], d["problem"]) for d in answer["decisions"]}
        answer = explain(s, "safe@example.org", "--ip", "192.0.2.9", "--listener", "smtp", "--helo", "client.example")
        equal(decisions(answer), {
            "schedule": ("queue", "'remote'", None), "route": ("queue", "'source'", None), "maxErrors": ("connect", "7", None),
            "rejectNonFqdn": ("EHLO", "1", None), "dsn": ("EHLO", "1", None), "isSenderAllowed": ("MAIL", "1", None),
            "connection": ("host", "'quick'", None), "tls": ("host", "'safe'", None)}, "decisions")
        hop = answer["nextHop"]
        equal((hop["tlsStrategy"]["name"], hop["tlsStrategy"]["startTls"]), ("safe", "require"), "TLS strategy")
        equal((hop["connection"]["name"], hop["connection"]["dataTimeout"]), ("quick", 5000), "connection strategy")
        equal([a["address"] for a in hop["addresses"]], [f"127.0.0.1:{sink.port}"], "addresses")
        limits = answer["limits"]
        equal((limits["maxErrors"], limits["queueWorkers"]), (7, 50), "limits")
        check(all(name in limits for name in ("maxConnectionsPerClient", "listenerConnections", "hopConnections")), f"{limits}")
        tls = [d for d in answer["decisions"] if d["setting"] == "tls"][0]
        equal({v["text"]: v["value"] for v in tls["rule"][0]["values"]}["rcpt"], "'safe@example.org'", "an operand")
        other = explain(s, "bob@example.org", "--ip", "192.0.2.1")
        equal((other["nextHop"]["tlsStrategy"]["name"], other["limits"]["maxErrors"]), ("default", 9), "of somebody else")

        for ip, helo, stage, code in (("192.0.2.9", "localhost", "EHLO", 550), ("203.0.113.7", "a.example", "MAIL", 550)):
            answer = explain(s, "safe@example.org", "--ip", ip, "--helo", helo)
            equal((answer["stage"], answer["reply"]["code"], answer["outcome"]), (stage, code, "refused"), ip)
            session = session_of(s, ip)
            reply = say(session, f"EHLO {helo}")
            reply = say(session, "MAIL FROM:<>") if stage == "MAIL" else reply
            equal(reply.rstrip(), f"{code} {answer['reply']['enhanced']} {answer['reply']['text']}", "what a session gets")
            session.close()
        names.mode = "servfail"
        answer = explain(s, "safe@example.org", "--ip", "203.0.113.99")
        equal((answer["stage"], answer["outcome"], answer["reply"]["code"]), ("MAIL", "temporary", 451), "nobody can say")
        equal(decisions(answer)["isSenderAllowed"][2], "the name server failed (SERVFAIL)", "why")
        names.mode = "silent"
        answer = explain(s, "safe@example.org", "--ip", "203.0.113.98")
        equal((answer["stage"], answer["outcome"]), ("MAIL", "temporary"), "nobody answers")
        text = cli(s, "explain", "alice@example.org", "--ip", "203.0.113.98").stdout
        check("Decisions" in text and "MAIL MtaStageMail.isSenderAllowed: " in text, text)


def test_explain_mail_hosts():
    """Where mail of a domain would go: its mail hosts and their addresses, or why there are none; asked, and as mail knows them."""
    zone = {"good.example": {"MX": [(10, "b.good.example"), (5, "a.good.example")]}, "a.good.example": {"A": ["192.0.2.1"]},
            "b.good.example": {"A": ["192.0.2.2"]}, "null.example": {"MX": [(0, ".")]},
            "even.example": {"MX": [(10, "b.good.example"), (10, "a.good.example"), (20, "in.example"), (20, "c.good.example")]},
            "c.good.example": {"A": ["192.0.2.4"]},
            "inside.example": {"MX": [(5, "in.example")]}, "in.example": {"A": ["127.0.0.1"]}, "plain.example": {"A": ["192.0.2.3"]}}
    rule = {"match": {"0": {"if": "is_local_domain(rcpt_domain)", "then": "'local'"}}, "else": "'mx'"}
    with NameServer(zone) as names, Managed(cores=1, strategy=LOCAL, extra=[names.resolver(attempts=1)]) as s:
        s.api.update("MtaOutboundStrategy", "singleton", route=rule)
        s.api.update("MtaStageRcpt", "singleton", allowRelaying={"match": {}, "else": "sender == 'a@example.org'"})
        friend = ("--from", "a@example.org")

        def hop(rcpt):
            answer = explain(s, rcpt, *friend)
            return [(a["host"], a["address"]) for a in answer["nextHop"]["addresses"]], answer["nextHop"]["problem"]
        equal(hop("x@good.example"), ([("a.good.example", "192.0.2.1:25"), ("b.good.example", "192.0.2.2:25")], None), "MX")
        equal(hop("x@plain.example"), ([("plain.example", "192.0.2.3:25")], None), "without MX")
        equal(hop("x@null.example"), ([], "the domain takes no mail (null MX)"), "null MX")
        equal(hop("x@nowhere.example"), ([], "the domain does not exist"), "no such name")
        answer = explain(s, "x@null.example", *friend)
        equal((answer["outcome"], answer["stage"], answer["reply"]["code"]), ("refused", None, 250), "accepted, and returned")
        check("returned to the sender" in answer["reason"], answer["reason"])
        refused = explain(s, "x@good.example")
        equal((refused["outcome"], refused["reply"]["code"]), ("refused", 550), "who may not relay")
        equal(hop("x@inside.example"), ([], "no host with a usable address"), "addresses of this machine, said by somebody else")
        equal(hop("x@[192.0.2.9]"), ([("192.0.2.9", "192.0.2.9:25")], None), "an address literal")

        def order(rcpt):
            return {a["host"]: (a["preference"], a["orderByChance"]) for a in explain(s, rcpt, *friend)["nextHop"]["addresses"]}
        equal(order("x@good.example"), {"a.good.example": (5, False), "b.good.example": (10, False)}, "preferences")
        equal(order("x@even.example"), {"a.good.example": (10, True), "b.good.example": (10, True), "c.good.example": (20, True)},
              "hosts of equal preference, one of them without a usable address")
        equal(order("x@plain.example"), {"plain.example": (None, False)}, "without MX")
        shown = cli(s, "explain", "x@even.example", *friend, code=3).stdout
        check("10, any order" in shown and "20, any order" in shown, shown)
        names.mode = "servfail"
        equal(hop("x@later.example")[0], [], "nobody can say")


def test_explain_by_host():
    """What an expression says of a host is worked out with the hosts that mail would go to, and which one that was is said;
    every address has the strategies and throttles that hold there."""
    zone = {"good.example": {"MX": [(5, "a.good.example"), (10, "b.good.example")]}, "a.good.example": {"A": ["192.0.2.1"]},
            "b.good.example": {"A": ["192.0.2.2"]}}
    rate = {"count": 25, "period": 3600000}

    def throttle(name, condition):
        return {"description": name, "enable": True, "key": {"mx": True}, "rate": rate,
                "match": {"match": {"0": {"if": condition, "then": "true"}}, "else": "false"}}
    extra = [{"@type": "create", "object": "MtaOutboundThrottle", "value": {
                 "o1": throttle("first host", "mx == 'a.good.example' && remote_ip == '192.0.2.1'"),
                 "o2": throttle("second host", "mx == 'b.good.example'"),
                 "o3": throttle("from here", "local_ip == '127.0.0.7'"),
                 "o4": throttle("no host", "is_empty(mx)")}},
             {"@type": "create", "object": "MtaTlsStrategy", "value": {"t1": {"name": "safe", "startTls": "require"}}},
             {"@type": "create", "object": "MtaConnectionStrategy", "value": {
                 "c1": {"name": "seven", "sourceIps": {"0": {"sourceIp": "127.0.0.7"}}}}},
             update("MtaOutboundStrategy", route={"match": {"0": {"if": "is_local_domain(rcpt_domain)", "then": "'local'"}}, "else": "'mx'"},
                    tls={"match": {"0": {"if": "mx == 'b.good.example'", "then": "'safe'"}}, "else": "'default'"},
                    connection={"match": {"0": {"if": "remote_ip == '192.0.2.1'", "then": "'seven'"}}, "else": "'default'"}),
             update("MtaStageRcpt", allowRelaying={"match": {}, "else": "true"})]
    with NameServer(zone) as names, Managed(cores=1, extra=[names.resolver(attempts=1), *extra]) as s:
        answer = explain(s, "x@good.example")
        hop = answer["nextHop"]
        equal([(a["host"], a["connection"], a["tlsStrategy"], a["throttles"]) for a in hop["addresses"]],
              [("a.good.example", "seven", "default", ["first host", "from here"]),
               ("b.good.example", "default", "safe", ["second host"])], "each address")
        equal(hop["assumedHost"], {"mx": "a.good.example", "remoteIp": "192.0.2.1", "localIp": "127.0.0.7"}, "assumed host")
        equal((hop["connection"]["name"], hop["tlsStrategy"]["name"]), ("seven", "default"), "strategies of the first")
        equal([r["name"] for r in answer["rates"]], ["first host", "from here"], "rates there")
        shown = cli(s, "explain", "x@good.example", code=3).stdout
        for part in ("assumedHost mx a.good.example, remoteIp 192.0.2.1, localIp 127.0.0.7", "throttles",
                     "192.0.2.2:25  b.good.example  default     safe         10          second host", "connection name seven"):
            check(part in shown, f"{part} in {shown}")
        names.mode = "servfail"
        answer = explain(s, "x@unknown.example")
        equal(answer["nextHop"]["assumedHost"], {"mx": None, "remoteIp": None, "localIp": None}, "when no host is known")
        equal([r["name"] for r in answer["rates"]], ["no host"], "rates then")
        equal(explain(s, "alice@example.org")["rates"], [], "of a mailbox here")


def test_explain_limits_of_the_client():
    """Limits of connections are those of the client that is asked about: none for loopback and proxies, both for others."""
    def of(s, *args):
        limits = explain(s, "alice@example.org", *args)["limits"]
        return limits.get("maxConnectionsPerClient"), limits.get("maxConnectionsPerNetwork")
    with Managed(cores=1, settings=dict(PROXY, maxConnectionsPerClient=7, maxConnectionsPerNetwork=9)) as s:
        equal(of(s), (7, 9), "of anybody")
        equal(of(s, "--ip", "192.0.2.1", "--listener", "smtp"), (7, 9), "of a client")
        equal(of(s, "--ip", "::1"), (None, None), "of loopback")
        shown = cli(s, "explain", "alice@example.org", "--ip", "192.0.2.1", code=0).stdout
        check("maxConnectionsPerClient 7" in shown and "maxConnectionsPerNetwork 9" in shown, shown)


def test_explain_wrong_questions():
    """What is no question is refused with its member's name; without credentials nothing is explained."""
    with Managed() as s:
        for args, reason in ((("no address",), "recipient: is not an address"),
                             (("alice@example.org", "--from", "x"), "sender: is not an address"),
                             (("alice@example.org", "--ip", "x"), "ip: is not an IP address"),
                             (("alice@example.org", "--listener", "x"), "listener: there is no such listener"),
                             (("alice@example.org", "--size", "x"), "--size: 'x' is not a number of bytes")):
            done = cli(s, "explain", *args, code=1)
            check(reason in done.stderr, f"{reason} in {done.stderr}")
        cli(s, "explain", code=2)
        status, _, body = s.api.http("POST", "/api/explain", json.dumps({"recipient": "a@b.example", "x": 1}))
        equal(status, 400, f"an unknown member ({body})")
        status, _, _ = s.api.http("POST", "/api/explain", "[]")
        equal(status, 400, "no object")
        status, _, _ = s.api.http("POST", "/api/explain", json.dumps({"recipient": "a@b.example"}), headers={})
        equal(status, 401, "without credentials")


def test_explain_plan():
    """A dry run says which recipients would go elsewhere: of a running server and of a stopped one, and alike; nothing
    is changed by it, and a plan that is refused says why."""
    with Sink() as sink, Managed(relay=sink.port, retry_ms=100) as s:
        plan = os.path.join(s.folder, "move.ndjson")
        recipients = os.path.join(s.folder, "recipients")
        with open(plan, "w") as f:
            for line in ({"@type": "upsert", "object": "Domain", "matchOn": ["name"],
                          "value": {"d": {"name": "example.org"}, "e": {"name": "new.example"}}},
                         {"@type": "create", "object": "Account",
                          "value": {"b": {"@type": "User", "name": "bob", "domainId": "#d"}}}):
                f.write(json.dumps(line) + "\n")
        with open(recipients, "w") as f:
            f.write("# moved\nBob+tag@example.org\r\n\nalice@example.org\ncarol@example.org\nx@new.example\n")
        moved = [f"Bob+tag@example.org: relayed by source (127.0.0.1:{sink.port}; schedule remote, queue remote, "
                 "connection default, tls default) -> "
                 "delivered by local (bob@example.org; schedule local, queue local)",
                 "x@new.example: refused (550 5.7.1) -> refused (550 5.1.1)",
                 "2 of 4 recipients would go another way"]
        generation = explain(s, "bob@example.org")["generation"]
        done = cli(s, "apply", "--dry-run", "--explain", recipients, "--file", plan, code=0)
        equal(done.stdout.splitlines()[-3:], moved, "of the running server")
        after = explain(s, "bob@example.org")
        equal((after["generation"], after["outcome"]), (generation, "relayed"), "nothing has changed")

        with open(recipients, "a") as f:
            f.write("nobody\n")
        done = cli(s, "apply", "--dry-run", "--explain", recipients, "--file", plan, code=1)
        check("line 7 is not an address" in done.stderr, done.stderr)
        with open(recipients, "w") as f:
            f.write("bob@example.org\n")
        with open(plan, "a") as f:
            f.write(json.dumps(update("MtaOutboundStrategy", route={"match": {}, "else": "'nowhere'"})) + "\n")
        done = cli(s, "apply", "--dry-run", "--explain", recipients, "--file", plan, code=1)
        check("line 3, MtaOutboundStrategy, field route: names the route 'nowhere'" in done.stderr, done.stderr)
        cli(s, "apply", "--explain", recipients, "--file", plan, code=1)

        s.stop()
        with open(plan) as f:
            lines = f.readlines()[:2]
        with open(plan, "w") as f:
            f.writelines(lines)
        done = lib.run_ringmx("apply", "--data", s.data, "--dry-run", "--explain", recipients, plan)
        equal((done.returncode, done.stdout.splitlines()[-2:]),
              (0, [moved[0].replace("Bob+tag", "bob"), "1 of 1 recipients would go another way"]), "of the stopped one")
        s.start()
        equal(explain(s, "bob@example.org")["outcome"], "relayed", "still nothing has changed")
        cli(s, "apply", "--file", plan, code=0)
        equal(explain(s, "Bob+tag@example.org")["outcome"], "delivered", "once it is carried out")


def test_explain_plan_looks_up():
    """A dry run on a running server knows what explain knows: the DNS, mail hosts, keys, counters and statistics. What it
    could not be told, and all that is looked up when no server runs, it says for each recipient that it matters to."""
    zone = {"_route.new.example": {"TXT": ["second"]}, "far.example": {"MX": [(5, "a.far.example")]},
            "a.far.example": {"A": ["192.0.2.1"]}, "null.example": {"MX": [(0, ".")]}}

    def route(name, condition):
        return update("MtaOutboundStrategy", route={"match": {
            "0": {"if": condition, "then": f"'{name}'"}, "1": {"if": "is_local_domain(rcpt_domain)", "then": "'source'"}}, "else": "'mx'"})
    base = [update("MtaStageMail", isSenderAllowed={"match": {}, "else": "counter_incr('*', 'seen') > 0"}),
            update("MtaStageRcpt", allowRelaying={"match": {}, "else": "true"}),
            {"@type": "create", "object": "Domain", "value": {"d2": {"name": "new.example", "allowRelaying": True}}},
            {"@type": "create", "object": "MtaTlsStrategy", "value": {"t": {"name": "safe", "startTls": "require"}}}]
    with NameServer(zone) as names, Sink() as source, Sink() as second, Managed(
            relay=source.port, extra=[lib.relay_route(second.port, "second"), names.resolver(attempts=1), *base]) as s:
        plan, recipients = os.path.join(s.folder, "plan"), os.path.join(s.folder, "recipients")

        def told(change, *addresses):
            with open(plan, "w") as f:
                f.write(json.dumps(change) + "\n")
            with open(recipients, "w") as f:
                f.write("\n".join(addresses) + "\n")
            done = cli(s, "apply", "--dry-run", "--explain", recipients, "--file", plan, code=0) if s.process else \
                lib.run_ringmx("apply", "--data", s.data, "--dry-run", "--explain", recipients, plan)
            equal(done.returncode, 0, done.stderr)
            return [line for line in done.stdout.splitlines() if not line.startswith(("line 1", "dry run"))]

        def there(name, port, queue="remote"):
            return f"relayed by {name} (127.0.0.1:{port}; schedule {queue}, queue {queue}, connection default, tls default)"
        now, then = there("source", source.port), there("second", second.port)
        by_dns = route("second", "contains(dns_query('_route.' + rcpt_domain, 'txt'), 'second')")
        equal(told(by_dns, "x@new.example", "x@example.org"),
              [f"x@new.example: {now} -> {then}", "1 of 2 recipients would go another way"], "by the DNS")
        by_counter = route("second", "counter_get('*', 'seen') > 0")
        by_metric = route("second", "metric('queue.count') > 0")
        stays = ["0 of 1 recipients would go another way"]
        equal(told(by_counter, "x@example.org"), stays, "before there is mail")
        wait_until(lambda: told(by_metric, "x@example.org") == stays, 5, "statistics")  # are collected only a moment after the start
        cli(s, "queue", "pause", code=0)
        s.submit("bob@example.org")
        moved = [f"x@example.org: {now} -> {then}", "1 of 1 recipients would go another way"]
        equal(told(by_counter, "x@example.org"), moved, "by a counter")
        wait_until(lambda: told(by_metric, "x@example.org") == moved, 5, "by a statistic")
        equal(told(by_counter, "x@example.org"), moved, "and that has counted nothing")
        by_host = update("MtaOutboundStrategy", tls={"match": {
            "0": {"if": "remote_ip == '192.0.2.1'", "then": "'safe'"}}, "else": "'default'"})
        mx = "relayed by mx (MX; schedule remote, queue remote, connection default, tls "
        equal(told(by_host, "x@far.example", "x@null.example"),
              [f"x@far.example: {mx}default) -> {mx}safe)", "1 of 2 recipients would go another way"], "by a mail host")
        closed = update("MtaStageRcpt", allowRelaying={"match": {}, "else": "false"})
        equal(told(closed, "x@null.example")[0].split(" -> ")[0], "x@null.example: refused (accepted, then returned to the sender: "
              "nobody takes mail for the domain)", "a domain that takes no mail")

        names.mode = "servfail"
        unheard = route("second", "is_empty(dns_query('_new.' + rcpt_domain, 'txt'))")
        equal(told(unheard, "x@example.org"), [f"x@example.org: {now} -> temporary (451 4.4.3); not certain, MtaOutboundStrategy.route: "
                      "the name server failed (SERVFAIL)",
                      "0 of 1 recipients would go another way; of 1 it is not certain"], "when nobody can say")
        names.mode = "answer"
        s.stop()
        silent = "nothing is looked up while no server runs"
        equal(told(by_dns, "x@new.example", "alice@new.example"),
              [f"{a}@new.example: {now} -> temporary (451 4.4.3); not certain, dns_query: {silent}" for a in ("x", "alice")] +
              ["0 of 2 recipients would go another way; of 2 it is not certain"], "of a stopped server")
        where = f"{mx}default); not certain, addresses of its hosts: {silent}"
        equal(told(by_host, "x@far.example", "alice@example.org"),
              [f"x@far.example: {where}", "0 of 2 recipients would go another way; of 1 it is not certain"], "hosts likewise")
        equal(told(by_counter, "x@example.org"), stays, "counters end with the process")


def test_explain_rates_and_quotas():
    """Those whose condition holds are told, with what they allow; nothing that would have to be asked may stand in a
    condition of theirs that cannot wait."""
    def of(answer):
        return [(r["object"], r["name"]) for r in answer["rates"]]
    rate = {"count": 25, "period": 3600000}
    match = {"match": {"0": {"if": "rcpt == 'bob@example.org'", "then": "true"}}, "else": "false"}
    with Sink() as sink, Managed(relay=sink.port, extra=[
            {"@type": "create", "object": "MtaInboundThrottle", "value": {
                "a": {"description": "each sender", "enable": True, "key": {"sender": True}, "rate": rate}}},
            {"@type": "create", "object": "MtaOutboundThrottle", "value": {
                "o": {"description": "gently", "enable": True, "key": {"mx": True}, "rate": rate}}},
            {"@type": "create", "object": "MtaQueueQuota", "value": {
                "q": {"description": "for bob", "enable": True, "key": {"rcpt": True}, "messages": 5, "match": match}}}]) as s:
        bob = explain(s, "bob@example.org", "--from", "a@example.net")
        equal(of(bob), [("MtaInboundThrottle", "each sender"), ("MtaQueueQuota", "for bob"), ("MtaOutboundThrottle", "gently")],
              "of a relayed one")
        equal((bob["rates"][0]["count"], bob["rates"][0]["period"], bob["rates"][1]["messages"]), (25, 3600000, 5), "amounts")
        equal(of(explain(s, "alice@example.org", "--from", "a@example.net")), [("MtaInboundThrottle", "each sender")], "of a local one")
        shown = cli(s, "explain", "bob@example.org", code=3).stdout
        check("MtaOutboundThrottle 'gently' 25 in 3600000 ms" in shown and "MtaQueueQuota 'for bob' messages 5" in shown, shown)
        answer = s.api.set("MtaQueueQuota", create={"n": {
            "description": "asks", "messages": 5, "match": {"else": "count(dns_query('a.example', 'ipv4')) > 0"}}})
        check("nothing can be asked here" in json.dumps(answer), f"{answer}")
