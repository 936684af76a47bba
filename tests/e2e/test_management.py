"""The management endpoint and configuration that changes while mail flows."""

import base64
import http.client
import json
import os
import re
import smtplib
import socket
import threading
import time

from lib import (Fail, Server, Sink, check, constant, equal, free_port, session_limits, starts, update,
                 wait_until)

ADMIN = "admin:a long secret"
# The same as the server is given it: as a hash that costs next to nothing, for every start and every first sign-in.
ADMIN_HASHED = "admin:$argon2id$v=19$m=8,t=1,p=1$cmluZ214LWZvci10ZXN0cw$0E5RoKbsV5Kzeupnhv+73PI2ad4JYddaT/BfPGaQfAM"


class Api:
    """The JMAP API of a server, as the administrator of STALWART_RECOVERY_ADMIN."""

    def __init__(self, port, credentials=ADMIN):
        self.port, self.connection = port, None
        self.headers = {"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode(),
                        "Content-Type": "application/json"}

    def http(self, method, path, body=None, headers=None):
        """Status, headers, body."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.connection.request(method, path, body, self.headers if headers is None else headers)
        response = self.connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()

    def calls(self, *calls):
        body = {"using": ["urn:ietf:params:jmap:core", "urn:stalwart:jmap"],
                "methodCalls": [[name, args, f"c{i}"] for i, (name, args) in enumerate(calls)]}
        status, _, answer = self.http("POST", "/jmap", json.dumps(body))
        equal(status, 200, f"status of {calls} ({answer[:200]})")
        return [r[1] if r[0] != "error" else r for r in json.loads(answer)["methodResponses"]]

    def set(self, kind, **args):
        return self.calls((f"x:{kind}/set", args))[0]

    def create(self, kind, **value):
        answer = self.set(kind, create={"n": value})
        check("created" in answer, f"creating {kind} {value}: {answer}")
        return answer["created"]["n"]["id"]

    def update(self, kind, id, **patch):
        answer = self.set(kind, update={id: patch})
        check(id in answer.get("updated", {}), f"updating {kind} {patch}: {answer}")

    def destroy(self, kind, id):
        answer = self.set(kind, destroy=[id])
        check(id in answer.get("destroyed", []), f"destroying {kind} {id}: {answer}")

    def find(self, kind, **filter):
        ids = self.calls((f"x:{kind}/query", {"filter": filter}))[0]["ids"]
        equal(len(ids), 1, f"{kind} with {filter}")
        return ids[0]

    def stats(self):
        status, _, body = self.http("GET", "/stats")
        equal(status, 200, "status of /stats")
        return json.loads(body)["cores"]


class Managed(Server):
    """A server with its management endpoint on a port of its own."""

    def __init__(self, *args, **kwargs):
        self.http_port = free_port()
        super().__init__(*args, args=["--http", f"127.0.0.1:{self.http_port}"],
                         env_more={"STALWART_RECOVERY_ADMIN": ADMIN_HASHED}, **kwargs)
        self.api = Api(self.http_port)

    def stop(self, seconds=60):
        """Without the connection that was kept: the server waits a moment for what a client may still have to say."""
        if self.api.connection is not None:
            self.api.connection.close()
            self.api.connection = None
        super().stop(seconds)


def session_on_every_core(server):
    """One greeted SMTP session per core: the kernel decides which core a connection gets."""
    sessions, spare = {}, []
    for _ in range(200):
        before = [c["sessions"] for c in server.api.stats()]
        client = smtplib.SMTP("127.0.0.1", server.port, "client.example.net")
        client.ehlo()
        after = [c["sessions"] for c in server.api.stats()]
        grown = [i for i in range(len(after)) if after[i] > before[i]]
        if len(grown) == 1 and grown[0] not in sessions:
            sessions[grown[0]] = client
        else:  # another there, or somebody else's session came or went meanwhile
            spare.append(client)
        if len(sessions) == server.cores:
            for client in spare:
                client.quit()
            return [sessions[core] for core in range(server.cores)]
    raise Fail("200 connections did not reach every core")


def rcpt_code(session, address):
    equal(session.docmd("RSET")[0], 250, "RSET")
    equal(session.docmd("MAIL", "FROM:<s@example.net>")[0], 250, "MAIL")
    return session.docmd("RCPT", f"TO:<{address}>")[0]


class Traffic:
    """Mail that flows meanwhile, as a context; no session of it may fail."""

    def __init__(self, server, address):
        self.server, self.address, self.stop, self.count, self.problem = server, address, False, 0, None

    def run(self):
        try:
            while not self.stop:
                with smtplib.SMTP("127.0.0.1", self.server.port, "traffic.example.net") as client:
                    for _ in range(20):
                        client.sendmail("s@example.net", [self.address], b"Subject: x\r\n\r\nx\r\n")
                        self.count += 1
        except (OSError, smtplib.SMTPException) as e:
            self.problem = e

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *unused):
        self.stop = True
        self.thread.join()
        check(self.problem is None, f"a session failed: {self.problem}")
        check(self.count > 0, "no mail flowed")


def test_change_is_everywhere_when_it_is_answered():
    """An account is known, and unknown again, on every core with the next command, while mail flows."""
    rounds = int(os.environ.get("LIVE_ROUNDS", "500"))
    limits = session_limits(maxErrors=1000000, maxCommands=10000000)
    many = update("MtaStageData", maxMessages=constant(1000000))
    with Managed(allow_relaying=False, extra=[limits, many]) as s, Traffic(s, "alice@example.org"):
        domain = s.api.find("Domain", name="example.org")
        sessions = session_on_every_core(s)
        for i in range(rounds):
            address = f"user{i}@example.org"
            account = s.api.create("Account", **{"@type": "User"}, name=f"user{i}", domainId=domain)
            for core, session in enumerate(sessions):
                equal(rcpt_code(session, address), 250, f"round {i}, core {core}: RCPT after create")
            s.api.destroy("Account", account)
            for core, session in enumerate(sessions):
                equal(rcpt_code(session, address), 550, f"round {i}, core {core}: RCPT after destroy")


def test_listeners_change_live():
    """A listener appears, changes and goes while the server runs; its sessions go on."""
    port, other = free_port(), free_port()
    with Managed() as s:
        listener = s.api.create("NetworkListener", name="second", bind={f"127.0.0.1:{port}": True})
        old = smtplib.SMTP("127.0.0.1", port, "client.example.net")
        equal(old.ehlo()[0], 250, "EHLO at the new listener")
        s.api.update("NetworkListener", listener, bind={f"127.0.0.1:{other}": True}, useTls=False)
        equal(old.noop()[0], 250, "NOOP in the session of the old address")
        with smtplib.SMTP("127.0.0.1", other, "client.example.net") as new:
            check(b"STARTTLS" not in new.ehlo()[1], "STARTTLS is still offered")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5)
            raise Fail("the old address still listens")
        except ConnectionRefusedError:
            pass
        s.api.destroy("NetworkListener", listener)
        old.quit()


def test_refusal_in_a_session_of_a_retired_listener():
    """The log line of a session that was refused something does without the listener that is gone."""
    port = free_port()
    with Managed() as s:
        listener = s.api.create("NetworkListener", name="second", bind={f"127.0.0.1:{port}": True})
        with smtplib.SMTP("127.0.0.1", port, "client.example.net") as old:
            equal(old.ehlo()[0], 250, "EHLO")
            s.api.destroy("NetworkListener", listener)
            equal(old.docmd("NONSENSE")[0], 500, "a refusal")
        wait_until(lambda: "session-refused" in s.log(), 10, "the log line")
        equal(s.api.http("GET", "/healthz/live", headers={})[0], 200, "it lives")


def test_listener_that_cannot_be_bound():
    """The refusal names the property and what to do; the others of the same call are made."""
    cases = ("127.0.0.1:{taken}", "in use by another program"), ("192.0.2.200:2525", "is it an address of this machine?")
    for protocol in ("smtp", "http"):
        for bind, advice in cases:
            with Managed() as s:
                bad = {"name": "bad", "protocol": protocol, "bind": {bind.format(taken=s.http_port): True}}
                good = {"name": "good", "bind": {f"127.0.0.1:{free_port()}": True}}
                answer = s.api.set("NetworkListener", create={"g": good, "b": bad})
                error = answer.get("notCreated", {}).get("b", {})
                equal((error.get("type"), error.get("properties")), ("validationFailed", ["bind"]), f"{answer}")
                equal([v["property"] for v in error["validationErrors"]], ["bind"], "validationErrors")
                check(error["description"].startswith("bind: NetworkListener 'bad': cannot listen on ") and
                      advice in error["description"], f"description: {error}")
                check("g" in answer.get("created", {}), f"the other listener: {answer}")
                ids = s.api.set("NetworkListener", update={answer["created"]["g"]["id"]: {"bind": bad["bind"]}})
                equal([e["properties"] for e in ids["notUpdated"].values()], [["bind"]], f"an update: {ids}")


def test_proxy_networks_change_live():
    """What is trusted to send PROXY headers is decided anew for every connection."""
    with Managed() as s:
        with s.wire() as w:
            w.expect("NOOP", "250")
        s.api.update("SystemSettings", "singleton", proxyTrustedNetworks={"127.0.0.0/8": True})
        with socket.create_connection(("127.0.0.1", s.port), timeout=10) as raw:
            raw.sendall(b"PROXY TCP4 192.0.2.9 192.0.2.1 4711 25\r\n")
            starts(raw.recv(100).decode(), "220", "greeting after a PROXY header")
        s.api.update("SystemSettings", "singleton", proxyTrustedNetworks={})
        with s.wire() as w:
            w.expect("NOOP", "250")


def test_blocked_clients():
    """BlockedIp acts on the real client from the next connection on; AllowedIp wins; expired ones are over."""
    def greeting(client):
        with socket.create_connection(("127.0.0.1", s.port), timeout=10) as raw:
            raw.sendall(f"PROXY TCP4 {client} 192.0.2.1 4711 25\r\n".encode())
            try:
                return raw.recv(100)[:3]
            except ConnectionResetError:
                return b""
    with Managed(settings={"proxyTrustedNetworks": {"127.0.0.0/8": True}}) as s:
        equal(greeting("203.0.113.7"), b"220", "before")
        blocked = s.api.create("BlockedIp", address="203.0.113.0/24")
        s.api.create("BlockedIp", address="198.51.100.1", expiresAt="2001-01-01T00:00:00Z")
        equal(greeting("203.0.113.7"), b"", "blocked by network")
        equal(greeting("198.51.100.1"), b"220", "a block that has expired")
        s.api.create("AllowedIp", address="203.0.113.7", reason="ours")
        equal(greeting("203.0.113.7"), b"220", "allowed")
        equal(greeting("203.0.113.8"), b"", "its neighbour")
        s.api.destroy("BlockedIp", blocked)
        equal(greeting("203.0.113.8"), b"220", "after the block is gone")
        s.api.create("BlockedIp", address="127.0.0.0/8")
        equal(greeting("203.0.113.8"), b"220", "a trusted proxy is never blocked")


def test_queue_follows_the_route():
    """Mail that waits for a dead source goes where the changed route leads, at its next attempt."""
    with Sink() as sink, Managed(relay=free_port()) as s:
        with s.wire() as w:
            w.message("bob@example.org", b"Subject: waits\r\n\r\nx\r\n")
        wait_until(lambda: "next-hop-down" in s.log(), 10, "the dead source is noticed")
        s.api.update("MtaRoute", s.api.find("MtaRoute", name="source"), port=sink.port)
        equal(len(sink.got(1)), 1, "messages at the new port")


def test_refused_changes_change_nothing():
    """A change that does not compile is refused with the reason, and nothing moves."""
    with Managed(relay=free_port()) as s:
        before = wait_until(lambda: s.api.stats()[0]["config_generation"], 20, "the first sample of the cores")
        answer = s.api.set("MtaOutboundStrategy", update={"singleton": {
            "route": {"match": {}, "else": "'nowhere'"}}})
        check("nowhere" in json.dumps(answer["notUpdated"]), f"a route that does not exist: {answer}")
        answer = s.api.set("MtaRoute", destroy=[s.api.find("MtaRoute", name="source")])
        equal(list(answer["notDestroyed"].values())[0]["type"], "objectIsLinked", "a route in use")
        answer = s.api.set("Account", create={"n": {"@type": "User", "name": "bob", "domainId": "b7"}})
        check("notCreated" in answer, f"a domain that does not exist: {answer}")
        equal(s.api.stats()[0]["config_generation"], before, "generation")
        with s.wire() as w:
            w.message("alice@example.org", b"Subject: still\r\n\r\nx\r\n")


def test_refusal_shows_what_it_found():
    """What is wrong in an expression is named whole, whatever its characters: a refusal is JSON, which holds no half of one."""
    with Managed() as s:
        for condition, reason in (("rcpt é", 'found "é"'), ("€", 'found "€"'), ("'" + "x" * 39 + "é' 1", "found"),
                                  ("rcpt '" + "x" * 39 + "é'", f'found "{"x" * 39}"'), ("\U0001f4e7", 'found "\U0001f4e7"')):
            answer = s.api.set("MtaOutboundStrategy", update={"singleton": {"route": {
                "match": {"0": {"if": condition, "then": "'local'"}}, "else": "'mx'"}}})
            check(reason in answer["notUpdated"]["singleton"]["description"], f"{condition}: {answer}")
            equal(answer["notUpdated"]["singleton"]["properties"], ["route/match/0/if"], "where")


def test_health():
    """Alive always; ready while mail is taken."""
    with Managed() as s:
        for path in ("/healthz/live", "/healthz/ready"):
            status, headers, _ = s.api.http("GET", path, headers={})
            equal(status, 200, path)
            equal(headers["Content-Type"], "application/problem+json", path)
        for path in ("/metrics", "/metrics/prometheus"):
            status, _, body = s.api.http("GET", path, headers={})
            equal(status, 200, path)
            check(b'\nringmx_ready{core="1"} 1\n' in body, f"{path}: {body[:300]}")
        equal(s.api.http("POST", "/healthz/live", b"", headers={})[0], 405, "POST to a page")
        equal(s.api.http("GET", "/healthz", headers={})[0], 401, "details, for anybody")
        details = json.loads(s.api.http("GET", "/healthz")[2])
        equal((details["mode"], details["recoveryAdministrator"], details["coreBehind"]), ("normal", "admin", None), "details")
        equal(details["configGeneration"], s.api.stats()[0]["config_generation"], "generation")
        secret = {"0": {"@type": "Password", "secret": "a user of the day"}}
        s.api.create("Account", **{"@type": "User"}, name="user", domainId=s.api.find("Domain", name="example.org"),
                     credentials=secret)
        equal(Api(s.http_port, "user@example.org:a user of the day").http("GET", "/healthz")[0], 403, "details, for a user")
        equal(s.api.http("POST", "/jmap", b"{}", headers={})[0], 401, "without credentials")


def test_recovery_mode():
    """No SMTP, nothing delivered; the whole API; afterwards what was changed is in force."""
    with Managed(start=False, allow_relaying=False) as s:
        s.start(env=dict(os.environ, STALWART_RECOVERY_MODE="1", STALWART_RECOVERY_ADMIN=ADMIN))
        check("recovery-mode" in s.log(), "the log does not say which mode runs")
        try:
            socket.create_connection(("127.0.0.1", s.port), timeout=5)
            raise Fail("SMTP is served in recovery mode")
        except ConnectionRefusedError:
            pass
        equal(s.api.http("GET", "/healthz/live", headers={})[0], 200, "live")
        equal(s.api.http("GET", "/healthz/ready", headers={})[0], 503, "ready")
        domain = s.api.find("Domain", name="example.org")
        s.api.create("Account", **{"@type": "User"}, name="carol", domainId=domain)
        s.stop()
        s.api.connection = None
        s.start()
        with s.wire() as w:
            w.message("carol@example.org", b"Subject: recovered\r\n\r\nx\r\n")
        s.delivered(1, local="carol")


def test_first_administrator():
    """A new data folder has an administrator whose password is printed once; an Account can take over."""
    with Managed(start=False) as s:
        s.env.pop("STALWART_RECOVERY_ADMIN")
        s.start()
        made = re.search(r"administrator is '(\w+)' with the password '(\w+)'", s.log())
        check(made, f"no password was printed: {s.log()[:300]}")
        s.api = Api(s.http_port, f"{made[1]}:{made[2]}")
        equal(s.api.http("GET", "/jmap/session", headers={})[0], 200, "session without credentials")
        domain = s.api.find("Domain", name="example.org")
        s.api.create("Account", **{"@type": "User"}, name="root", domainId=domain, roles={"@type": "Admin"},
                     credentials={"0": {"@type": "Password", "secret": "correct horse battery"}})
        root = Api(s.http_port, "root@example.org:correct horse battery")
        equal(root.find("Domain", name="example.org"), domain, "what the account's administrator sees")
        equal(s.api.http("POST", "/jmap", b"{}")[0], 401, "the first administrator rests now")
        check("correct horse" not in s.log(), "the password is in the log")
        s.stop()
        s.start()
        check("administrator is" not in s.log(), "another password was printed")


def test_failed_sign_ins():
    """Wrong passwords are refused, later each time, and logged without the password; who has the right one does not wait."""
    with Managed() as s:
        s.api.update("Security", "singleton", authBanRate={"count": 5, "period": 3600000})
        wrong = Api(s.http_port, "admin:nothing like it")
        codes, seconds = [], []
        for _ in range(5):
            began = time.monotonic()
            codes.append(wrong.http("POST", "/jmap", b"{}")[0])
            seconds.append(time.monotonic() - began)
        equal(codes, [401] * 5, "the answers")
        for number, least in enumerate((0.05, 0.1, 0.2, 0.4, 0.5)):  # a busy machine only adds to it
            check(seconds[number] >= least, f"answer {number + 1} came after {seconds[number]:.3f} s, not {least}")
        equal(s.api.http("GET", "/api/account")[0], 200, "the right password meanwhile")
        check("nothing like it" not in s.log(), "the password is in the log")
        check(s.log().count("sign-in-refused") >= 5, "refusals are not logged")


def test_every_change_is_logged():
    """One line for each object: who, from where, what; names of properties, no values. Refused changes have none."""
    def lines():
        return [dict(re.findall(r'([a-z]+)=("[^"]*"|\S+)', line)) for line in s.log().splitlines() if " object-changed " in line]
    with Managed(extra=[update("Security", authBanRate={"count": 100, "period": 3600000})]) as s:
        domain = s.api.find("Domain", name="example.org")
        account = s.api.create("Account", **{"@type": "User"}, name="root", domainId=domain, roles={"@type": "Admin"},
                               credentials={"0": {"@type": "Password", "secret": "correct horse battery"}})
        root = Api(s.http_port, "root@example.org:correct horse battery")
        root.update("Account", account, description="a \"b\" x=y", credentials={
            "0": {"@type": "Password", "secret": "another long secret"}})
        root = Api(s.http_port, "root@example.org:another long secret")
        answer = root.set("BlockedIp", create={"good": {"address": "203.0.113.1"}, "bad": {"address": "nonsense"}})
        blocked = answer["created"]["good"]["id"]
        root.update("SystemSettings", "singleton", proxyTrustedNetworks={"203.0.113.9": True})
        root.destroy("BlockedIp", blocked)
        root.create("Action", **{"@type": "PauseMtaQueue"})
        root.set("Domain", update={domain: {"description": "x" * 300}}, destroy=[domain])
        wait_until(lambda: "PauseMtaQueue" in s.log(), 5, "the last line")
        found = lines()
        ours = {"who": "root@example.org", "account": account, "from": "127.0.0.1"}
        wanted = [
            {"verb": "create", "type": "Account", "variant": "User", "id": account, "name": "root", "who": "admin",
             "account": "d333333", "from": "127.0.0.1", "properties": "@type,name,domainId,roles,credentials"},
            {"verb": "update", "type": "Account", "id": account, "name": "root", "properties": "credentials,description"},
            {"verb": "create", "type": "BlockedIp", "id": blocked, "name": "203.0.113.1", "properties": "address"},
            {"verb": "update", "type": "SystemSettings", "id": "singleton", "properties": "proxyTrustedNetworks"},
            {"verb": "destroy", "type": "BlockedIp", "id": blocked, "name": "203.0.113.1"},
            {"verb": "create", "type": "Action", "variant": "PauseMtaQueue"},
        ]
        equal(len(found), len(wanted), f"lines: {found}")
        for line, want in zip(found, wanted):
            line["properties"] = ",".join(sorted(line.get("properties", "").split(",")))
            want["properties"] = ",".join(sorted(want.get("properties", "").split(",")))
            if line["type"] == "Action":
                want["properties"] = line["properties"]
            equal({k: line.get(k) for k in ours | want}, ours | want, f"{line}")
        generations = [int(line["generation"]) for line in found if "generation" in line]
        equal(generations, list(range(generations[0], generations[0] + 5)), "a generation for every change of the registry")
        check("horse" not in s.log() and "another long" not in s.log(), "a secret is in the log")
        many = {f"n{i}": {"address": f"10.{i // 256}.{i % 256}.1"} for i in range(500)}
        for _ in range(6):
            made = root.set("BlockedIp", create=many)["created"]
            root.set("BlockedIp", destroy=[m["id"] for m in made.values()])
        wait_until(lambda: len(lines()) == len(wanted) + 6000, 10, "6,000 more lines, none dropped")


def test_first_change_of_a_singleton_is_an_update():
    """A singleton that nobody has stored yet is not made by its first change: the log names that property, not all."""
    with Managed() as s:
        s.api.update("MtaStageData", "singleton", binaryMime=True)
        wait_until(lambda: "object-changed" in s.log(), 5, "the line")
        [line] = [line for line in s.log().splitlines() if " object-changed " in line]
        check("verb=update type=MtaStageData id=singleton " in line and line.endswith(" properties=binaryMime"), line)


def test_public_url():
    """STALWART_PUBLIC_URL decides what is advertised; without it, the request's own host."""
    with Managed() as s:
        session = json.loads(s.api.http("GET", "/jmap/session")[2])
        equal(session["apiUrl"], f"http://127.0.0.1:{s.http_port}/jmap/", "apiUrl")
        s.stop()
        s.api.connection = None
        s.env["STALWART_PUBLIC_URL"] = "https://mx.example.org/"
        s.start()
        session = json.loads(s.api.http("GET", "/jmap/session")[2])
        equal(session["apiUrl"], "https://mx.example.org/jmap/", "apiUrl")
        status, _, body = s.api.http("GET", "/.well-known/oauth-authorization-server", headers={})
        equal((status, json.loads(body)["issuer"]), (200, "https://mx.example.org"), "issuer")
