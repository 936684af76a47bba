"""Configuration changes of the crash test: a client of the management API that changes accounts, domains, routes
and the strategy while mail flows and the server is killed, and what it expects to find in the next life.

Every change is a request of one or more calls. A call is a transaction: whole or absent. What was answered is
there in every later life; of a request without its answer, the calls up to one of them are. Mail follows: RCPT
knows the accounts and domains at once, and a probe arrives where the strategy leads.
"""

import http.client
import json
import os
import random
import threading
import time

import lib
from test_management import Api

MOVES, PROBE = "moves.example", "probe.example"
OF_THE_LOAD = ("example.org", "lmtp.example")  # domains that stay as they are
MOVES_TO = ("local", "source", "lmtp")  # besides routes that come and go
PROBE_TO = ("local", "probe-smtp", "probe-lmtp")
STRATEGY = ("strategy",)
ACCOUNTS_MAX, DOMAINS_MAX, ROUTES_MAX = 300, 8, 6
BATCH_MAX = 60
PAUSE_S = 0.03  # between changes, at most
ARRIVAL_S = 30  # of a probe; in a life that is long enough
WAIT_S = 120  # until the old queue has been read, after many lives in which it was not
RCPTS = 12  # addresses tried after a start


def strategy(moves_to, probe_to):
    """The route expression; what goes where is read back from it."""
    return {"match": {"0": {"if": "is_local_address(rcpt) && rcpt_domain == 'example.org'", "then": "'local'"},
                      "1": {"if": "rcpt_domain == 'lmtp.example'", "then": "'lmtp'"},
                      "2": {"if": f"rcpt_domain == '{MOVES}'", "then": f"'{moves_to}'"},
                      "3": {"if": f"rcpt_domain == '{PROBE}'", "then": f"'{probe_to}'"}}, "else": "'source'"}


def creation_id(key):
    return "".join(c if c.isalnum() else "-" for c in key[1])


class Unanswered(Exception):
    """The connection ended, or the server is going: what was asked may have happened or not."""


class Probes:
    """Destinations of the probe besides the mailbox, and what has arrived anywhere."""

    def __init__(self, server):
        self.server, self.sent = server, {}  # by subject: acknowledged
        self.smtp, self.lmtp = lib.Sink(), lib.Sink(lmtp=True)
        self.seen = {}  # file of the mailbox: subject

    def plan(self):
        return [lib.relay_route(self.smtp.port, name="probe-smtp"),
                lib.relay_route(self.lmtp.port, name="probe-lmtp", protocol="lmtp")]

    @staticmethod
    def subject(content):
        return content.split(b"\r\nSubject: ", 1)[1].split(b"\r\n", 1)[0].decode()

    def mailbox(self):
        folder = os.path.join(self.server.data, "mail", PROBE, "probe", "new")
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            if name not in self.seen:
                with open(os.path.join(folder, name), "rb") as f:
                    self.seen[name] = self.subject(f.read())
        return list(self.seen.values())

    def arrived(self, subject):
        """Names of the routes by which it has come."""
        found = ["probe-smtp" for m in list(self.smtp.messages) if self.subject(m.data) == subject]
        found += ["probe-lmtp" for m in list(self.lmtp.messages) if self.subject(m.data) == subject]
        return found + ["local" for s in self.mailbox() if s == subject]

    def missing(self):
        return [subject for subject in self.sent if not self.arrived(subject)]

    def stop(self):
        self.smtp.stop()
        self.lmtp.stop()


class Configuration:
    """What is known about the configuration, over all lives. A state maps keys to values: ("account", address),
    ("domain", name), ("route", name) to a text, STRATEGY to two routes' names."""

    def __init__(self, server, http_port, hop_port, seed, problem):
        self.server, self.http_port, self.hop_port = server, http_port, hop_port
        self.dice, self.problem = random.Random(f"{seed}-changes"), problem
        self.probes = Probes(server)
        self.known, self.pending = None, []  # pending: the steps of a request without its answer
        self.ids, self.gone = {}, set()  # gone: keys that were there once
        self.serial = 0
        self.counts = {"answered": 0, "whole": 0, "absent": 0, "in part": 0, "checked lives": 0, "probes": 0}

    def plan(self):
        """What the first start has: before the strategy, and it."""
        domains = {"moves": {"name": MOVES}, "probe": {"name": PROBE}}
        accounts = {"u-gina": {"@type": "User", "name": "gina", "domainId": "#moves"},
                    "u-probe": {"@type": "User", "name": "probe", "domainId": "#probe"}}
        many = {"maxErrors": 100000, "maxCommands": 1000000}
        return [{"@type": "create", "object": "Domain", "value": domains},
                {"@type": "create", "object": "Account", "value": accounts},
                *self.probes.plan(), lib.session_limits(**many),
                lib.update("MtaOutboundStrategy", route=strategy("local", "local"))]

    def name(self, kind):
        self.serial += 1
        return f"{kind}{self.serial}"


class Life(threading.Thread):
    """The client during one life of the server: looks whether everything is as it should be, then changes it."""

    def __init__(self, conf, delivery, changes=True):
        super().__init__(daemon=True)
        self.conf, self.delivery, self.changes, self.dice = conf, delivery, changes, conf.dice
        self.dying = False  # set before the server is told to end, or killed
        self.asked = threading.Event()  # a change is under way
        self.api = Api(conf.http_port)

    def run(self):
        try:
            self.wait_for_server()
            self.look()
            while self.changes and not self.dying:
                self.change()
                time.sleep(self.dice.uniform(0, PAUSE_S))
        except Unanswered:
            pass
        except (OSError, http.client.HTTPException, lib.Fail) as trouble:
            if not self.dying:
                self.conf.problem(f"configuration: {trouble!r}")
        except Exception as trouble:  # a mistake in here
            self.conf.problem(f"configuration: {trouble!r}")

    def wait_for_server(self):
        while not self.dying:
            try:
                self.api.http("GET", "/healthz/live", headers={})
                return
            except (OSError, http.client.HTTPException):
                self.api.connection = None
                time.sleep(0.01)
        raise Unanswered

    def request(self, *calls):
        """The answers to the calls of one request."""
        body = json.dumps({"using": ["urn:ietf:params:jmap:core"],
                           "methodCalls": [[f"x:{name}", args, f"c{i}"] for i, (name, args) in enumerate(calls)]})
        try:
            status, _, answer = self.api.http("POST", "/jmap", body)
        except (OSError, http.client.HTTPException):
            if self.dying:
                raise Unanswered from None
            raise
        if status == 503 and self.dying:
            raise Unanswered
        lib.equal(status, 200, f"status ({answer[:200]})")
        return [r[1] if r[0] != "error" else r for r in json.loads(answer)["methodResponses"]]

    # What is there

    def read(self):
        """The present state. Remembers ids."""
        kinds = ("Account", "Domain", "MtaRoute")
        answers = self.request(*((f"{kind}/get", {"ids": None}) for kind in kinds),
                               ("MtaOutboundStrategy/get", {"ids": ["singleton"]}))
        accounts, domains, routes, rule = (answer["list"] for answer in answers)
        names = {d["id"]: d["name"] for d in domains}
        state, ids = {}, {}
        for key, o, text in [(("account", f"{a['name']}@{names[a['domainId']]}"), a, a.get("description"))
                             for a in accounts] + \
                            [(("domain", d["name"]), d, d.get("description")) for d in domains] + \
                            [(("route", r["name"]), r, r.get("description")) for r in routes]:
            state[key], ids[key] = text, o["id"]
        match = rule[0]["route"]["match"]
        state[STRATEGY] = match["2"]["then"].strip("'"), match["3"]["then"].strip("'")
        self.conf.ids = ids
        return state

    def look(self):
        """Every change that was answered is there; one that was not, up to one of its calls."""
        conf = self.conf
        state = self.read()
        if conf.known is None:
            conf.known = state
        expected, found = [dict(conf.known)], None
        for step in conf.pending:
            expected.append(self.applied(expected[-1], step))
        for count, wanted in enumerate(expected):
            if wanted == state:
                found = count
                break
        if found is None:
            wrong = {str(k): (conf.known.get(k, "absent"), state.get(k, "absent"))
                     for k in conf.known.keys() | state.keys()
                     if conf.known.get(k, "absent") != state.get(k, "absent")}
            conf.problem(f"configuration after the restart: (known, found) {lib.short(wrong)}; "
                         f"without an answer: {lib.short(conf.pending)}")
        elif conf.pending:
            conf.counts["absent" if found == 0 else "whole" if found == len(conf.pending) else "in part"] += 1
        conf.known, conf.pending = state, []
        keys = sorted(k for k in conf.gone | state.keys() if k[0] in ("account", "domain") and
                      not k[1].endswith(OF_THE_LOAD))
        keys = self.dice.sample(keys, min(RCPTS, len(keys)))
        self.when_there_is_room(lambda: self.rcpt(keys))
        if self.dice.random() < 0.7:
            self.probe()
        conf.counts["checked lives"] += 1

    @staticmethod
    def applied(state, step):
        """A step maps keys to values; the value `absent` takes away."""
        state = dict(state)
        for key, value in step.items():
            if value == "absent":
                state.pop(key, None)
            else:
                state[key] = value
        return state

    def accepted(self, address):
        """By RCPT: accounts; and everybody in a domain that was made here, since it relays."""
        domain = address.split("@")[1]
        return ("account", address) in self.conf.known or \
            domain.startswith("d") and ("domain", domain) in self.conf.known

    def rcpt(self, keys):
        """Accounts and domains are known to SMTP if, and only if, they are there."""
        addresses = [key[1] if key[0] == "account" else f"anybody@{key[1]}" for key in keys]
        with self.conf.server.wire() as w:
            for address in addresses:
                w.expect("MAIL FROM:<s@example.net>", "250")
                reply = w.cmd(f"RCPT TO:<{address}>")
                lib.equal(reply[:3], "250" if self.accepted(address) else "550", f"RCPT TO:<{address}>")
                w.expect("RSET", "250")

    def when_there_is_room(self, ask):
        """Asks again while the journal waits for the old queue to be read, as it does after many short lives."""
        end = time.monotonic() + WAIT_S
        while True:
            try:
                return ask()
            except lib.Fail as trouble:
                if "452 4.3.1" not in str(trouble) or "journal-waits" not in self.conf.server.log() or \
                        time.monotonic() > end:
                    raise
                if self.dying:
                    raise Unanswered from None
            time.sleep(0.2)

    def probe(self):
        """A message that has to arrive where the strategy leads."""
        conf, probes = self.conf, self.conf.probes
        subject = conf.name("probe")
        body = f"From: s@example.net\r\nSubject: {subject}\r\n\r\nprobe\r\n".encode()
        self.when_there_is_room(lambda: conf.server.submit(f"probe@{PROBE}", body))
        probes.sent[subject] = conf.known[STRATEGY][1]
        end = time.monotonic() + ARRIVAL_S
        while self.delivery and not self.dying:
            arrived = probes.arrived(subject)
            if arrived:
                lib.equal(arrived[0], conf.known[STRATEGY][1], "the route of a probe")
                conf.counts["probes"] += 1
                return
            lib.check(time.monotonic() < end, f"{subject} does not arrive")
            time.sleep(0.01)

    # Changes

    def change(self):
        """One request. Until its answer is there, its steps are pending."""
        kind = self.dice.choices((self.accounts, self.guest, self.domain_made, self.domain_gone, self.switch,
                                  self.route), (6, 2, 2, 2, 3, 2))[0]
        calls, steps = kind()
        if not calls:
            return
        self.conf.pending = steps
        self.asked.set()
        answers = self.request(*calls)
        self.asked.clear()
        self.conf.counts["answered"] += 1
        for (name, args), answer, step in zip(calls, answers, steps):
            refused = not isinstance(answer, dict) or any(k.startswith("not") for k in answer)
            lib.check(not refused, f"{name} {lib.short(args)}: {answer}")
            self.conf.known = self.applied(self.conf.known, step)
            self.conf.gone |= {k for k, v in step.items() if v == "absent"}
            self.remember(step, answer)
        self.conf.pending = []
        if self.dice.random() < 0.2:
            keys = [k for step in steps for k in step if k[0] in ("account", "domain")][:RCPTS]
            self.when_there_is_room(lambda: self.rcpt(keys))
        if STRATEGY in steps[-1] and self.dice.random() < 0.3:
            self.probe()

    def remember(self, step, answer):
        made = answer.get("created") or {}
        for key in step:
            if key != STRATEGY and creation_id(key) in made:
                self.conf.ids[key] = made[creation_id(key)]["id"]

    def mine(self, kind, prefix, suffix=""):
        return [k for k in self.conf.known if k[0] == kind and k[1].startswith(prefix) and k[1].endswith(suffix)]

    def accounts(self):
        """A batch: some come, some go, some change."""
        own = self.mine("account", "c", f"@{MOVES}")
        count = self.dice.randrange(1, BATCH_MAX)
        step, create, update, destroy = {}, {}, {}, []
        for _ in range(count if len(own) + count < ACCOUNTS_MAX else 0):
            name = self.conf.name("c")
            key = "account", f"{name}@{MOVES}"
            create[creation_id(key)] = {"@type": "User", "name": name, "domainId": self.conf.ids["domain", MOVES]}
            step[key] = None
        for key in self.dice.sample(own, min(len(own), count)):
            if self.dice.random() < 0.6:
                destroy.append(self.conf.ids[key])
                step[key] = "absent"
            else:
                text = self.conf.name("text ")
                update[self.conf.ids[key]] = {"description": text}
                step[key] = text
        return [("Account/set", {"create": create, "update": update, "destroy": destroy})], [step]

    def guest(self):
        """An account that gets mail all the time comes or goes."""
        key = "account", f"guest@{MOVES}"
        if key in self.conf.known:
            return [("Account/set", {"destroy": [self.conf.ids[key]]})], [{key: "absent"}]
        value = {"@type": "User", "name": "guest", "domainId": self.conf.ids["domain", MOVES]}
        return [("Account/set", {"create": {creation_id(key): value}})], [{key: None}]

    def domain_made(self):
        """A domain, and in the same request an account in it."""
        if len(self.mine("domain", "d")) >= DOMAINS_MAX:
            return [], []
        name = self.conf.name("d") + ".example"
        domain, account = ("domain", name), ("account", f"root@{name}")
        root = {"@type": "User", "name": "root", "domainId": f"#{creation_id(domain)}"}
        return [("Domain/set", {"create": {creation_id(domain): {"name": name, "allowRelaying": True}}}),
                ("Account/set", {"create": {creation_id(account): root}})], [{domain: None}, {account: None}]

    def domain_gone(self):
        own = self.mine("domain", "d")
        if not own:
            return [], []
        key = self.dice.choice(own)
        account = "account", f"root@{key[1]}"
        calls, steps = [("Domain/set", {"destroy": [self.conf.ids[key]]})], [{key: "absent"}]
        if account in self.conf.known:
            calls.insert(0, ("Account/set", {"destroy": [self.conf.ids[account]]}))
            steps.insert(0, {account: "absent"})
        return calls, steps

    def switch(self):
        """The strategy leads elsewhere."""
        routes = [k[1] for k in self.mine("route", "via")]
        moves_to, probe_to = self.dice.choice([*MOVES_TO, *routes]), self.dice.choice(PROBE_TO)
        return [self.strategy_call(moves_to, probe_to)], [{STRATEGY: (moves_to, probe_to)}]

    @staticmethod
    def strategy_call(moves_to, probe_to):
        return "MtaOutboundStrategy/set", {"update": {"singleton": {"route": strategy(moves_to, probe_to)}}}

    def route(self):
        """A new relay, the strategy leads to it, and one that is in nobody's way any more goes."""
        name, probe_to = self.conf.name("via"), self.dice.choice(PROBE_TO)
        old = [k for k in self.mine("route", "via")]
        value = {"@type": "Relay", "name": name, "address": "127.0.0.1", "port": self.conf.hop_port,
                 "protocol": "smtp", "allowInvalidCerts": True}
        calls = [("MtaRoute/set", {"create": {name: value}}), self.strategy_call(name, probe_to)]
        steps = [{("route", name): None}, {STRATEGY: (name, probe_to)}]
        if len(old) >= ROUTES_MAX:
            key = self.dice.choice(old)
            calls.append(("MtaRoute/set", {"destroy": [self.conf.ids[key]]}))
            steps.append({key: "absent"})
        return calls, steps
