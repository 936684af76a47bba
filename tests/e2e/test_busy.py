"""The management kept busy: sign-ins, large changes, slow clients. Mail does not notice, health answers, and
afterwards everything goes on without a restart."""

import contextlib
import http.client
import json
import os
import select
import signal
import smtplib
import socket
import tempfile
import threading
import time

from lib import Fail, Sink, check, equal, free_port, marked, split_local, split_received, wait_until
from stats_watch import leave_waiting, preload
from test_management import Api, Managed

BUSY_S = 3
CONNECTIONS_MAX = 128  # of the endpoint


class Busy:
    """Threads that run until the context ends; what goes wrong in one of them is raised there."""

    def __init__(self):
        self.stop, self.threads, self.problems = threading.Event(), [], []

    def add(self, action):
        """action(stop) is called again and again."""
        def run():
            try:
                while not self.stop.is_set():
                    action()
            except (OSError, http.client.HTTPException, smtplib.SMTPException, Fail) as problem:
                self.problems.append(f"{action.__name__}: {problem!r}")
        thread = threading.Thread(target=run)
        self.threads.append(thread)
        thread.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        if kind is None:
            equal(self.problems, [], "problems meanwhile")


class Mail:
    """Sessions that send marked messages to alice and to bob; all of them have to arrive."""

    def __init__(self, server, sink):
        self.server, self.sink, self.sent, self.lock = server, sink, [], threading.Lock()

    def session(self):
        with smtplib.SMTP("127.0.0.1", self.server.port, "client.example.net", timeout=60) as client:
            for _ in range(10):
                body = marked("busy")
                client.sendmail("sender@example.net", ["alice@example.org", "bob@example.org"], body)
                with self.lock:
                    self.sent.append(body)

    def arrived(self):
        check(len(self.sent) > 0, "no mail flowed")
        wait_until(lambda: len(self.sink.messages) >= len(self.sent), 60, "all at the next hop")
        wait_until(lambda: len(self.server.mailbox()) >= len(self.sent), 60, "all in the mailbox")
        equal(sorted(split_received(m.data)[1] for m in self.sink.messages), sorted(self.sent), "at the next hop")
        equal(sorted(split_local(m)[3] for m in self.server.mailbox()), sorted(self.sent), "in the mailbox")


def guesses(server, counts):
    """Somebody who signs in with names that do not exist: each time one argon2 on the worker."""
    api = Api(server.http_port, "nobody@example.org:wrong")

    def guess():
        status = api.http("POST", "/jmap", b'{"using":[],"methodCalls":[]}')[0]
        check(status in (401, 503), f"status of a wrong sign-in: {status}")
        counts[status] = counts.get(status, 0) + 1
    return guess


def large_sets(server, name, counts):
    """500 accounts in one call, and away again."""
    api, made = Api(server.http_port), []
    domain = api.find("Domain", name="example.org")

    def change():
        if made:
            args = {"destroy": [made.pop() for _ in range(len(made))]}
        else:
            args = {"create": {f"n{i}": {"@type": "User", "name": f"{name}{i}", "domainId": domain} for i in range(500)}}
        answer = api.set("Account", **args)
        check(not any(k.startswith("not") for k in answer), f"a large set: {str(answer)[:200]}")
        made.extend(o["id"] for o in answer.get("created", {}).values())
        counts["sets"] = counts.get("sets", 0) + 1
    return change


def health(server, answers):
    api = Api(server.http_port)

    def ask():
        for path in ("/healthz/live", "/healthz/ready", "/stats"):
            answers.append((path, api.http("GET", path)[0]))
        time.sleep(0.05)
    return ask


def slow_readers(server, count):
    """Connections that ask for the schema and hardly read it."""
    sockets = []
    for _ in range(count):
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", server.http_port))
        raw.sendall(b"GET /api/schema HTTP/1.1\r\nHost: x\r\n\r\n")
        sockets.append(raw)

    def read():
        for raw in sockets:
            raw.settimeout(0.001)
            try:
                raw.recv(16)
            except TimeoutError:
                pass
        time.sleep(0.1)
    return read, sockets


def test_management_kept_busy():
    """Sign-ins, changes of 500 objects and slow readers at the same time: every message is delivered, every answer
    about health and statistics comes, all work gets done or is refused with 503; then a change is in force at once."""
    with Sink() as sink, Managed(relay=sink.port, allow_relaying=True) as s:
        s.api.update("Security", "singleton", authBanRate=None)
        domain = s.api.find("Domain", name="example.org")
        mail, counts, answers = Mail(s, sink), {}, []
        read, sockets = slow_readers(s, 40)
        with Busy() as busy:
            for _ in range(16):
                busy.add(guesses(s, counts))
            for name in ("a", "b"):
                busy.add(large_sets(s, f"{name}-of-many-", counts))
            busy.add(read)
            busy.add(health(s, answers))
            for _ in range(3):
                busy.add(mail.session)
            time.sleep(BUSY_S)
        for raw in sockets:
            raw.close()
        # Ready may say, on a machine with no time to spare, that a core has not answered lately.
        said = set(answers) - {("/healthz/ready", 503)}
        equal(said, {("/healthz/live", 200), ("/healthz/ready", 200), ("/stats", 200)}, "health and statistics")
        wait_until(lambda: s.api.http("GET", "/healthz/ready")[0] == 200, 60, "ready afterwards")
        check(counts.get(401, 0) > 0 and counts.get("sets", 0) > 0, f"the worker got nothing done: {counts}")
        mail.arrived()
        s.api.create("Account", **{"@type": "User"}, name="after", domainId=domain)
        s.submit("after@example.org")
        s.delivered(1, local="after")


class Bulk:
    """A call that creates accounts, each with a password of its own, sent and not answered yet."""

    def __init__(self, server, count):
        self.api = Api(server.http_port)
        domain = server.api.find("Domain", name="example.org")
        create = {f"n{i}": {"@type": "User", "name": f"bulk{i}", "domainId": domain,
                            "credentials": {"0": {"@type": "Password", "secret": f"correct horse battery {i}"}}}
                  for i in range(count)}
        self.api.http("GET", "/healthz/live")  # connected
        self.api.connection.request("POST", "/jmap", json.dumps(
            {"using": [], "methodCalls": [["x:Account/set", {"create": create}, "0"]]}), self.api.headers)

    def is_answered(self):
        return bool(select.select([self.api.connection.sock], [], [], 0)[0])

    def answer(self):
        response = self.api.connection.getresponse()
        equal(response.status, 200, "status of the bulk call")
        return json.loads(response.read())["methodResponses"][0]


def test_passwords_in_bulk_hold_up_nobody():
    """While the passwords of many accounts are worked out, other calls and sign-ins are answered; the accounts come all at once."""
    with Managed() as s:
        s.api.create("Domain", name="before.example")
        bulk = Bulk(s, 200)
        for i in range(5):
            s.api.create("Domain", name=f"between{i}.example")
            equal(s.api.calls(("x:Account/query", {"filter": {"name": "bulk0"}}))[0]["ids"], [], "accounts of the call so far")
        check(not bulk.is_answered(), "other calls waited for the passwords")
        name, args, _ = bulk.answer()
        equal(name, "x:Account/set", f"what became of it ({str(args)[:200]})")
        equal(len(args["created"]), 200, "accounts")
        account = Api(s.http_port, "bulk7@example.org:correct horse battery 7")
        equal(account.http("GET", "/api/account")[0], 200, "status of a sign-in with one of the passwords")


def test_passwords_in_bulk_do_not_hold_up_the_end():
    """SIGTERM while passwords are worked out: the call is given up as a whole and says so."""
    with Managed() as s:
        bulk = Bulk(s, 500)
        for _ in range(2):
            s.api.calls(("x:Domain/query", {}))
        s.api.connection.close()
        s.signal(signal.SIGTERM)
        name, args, _ = bulk.answer()
        equal((name, args.get("description")), ("error", "the server is stopping; nothing was changed"), "what became of it")
        bulk.api.connection.close()
        equal(s.ended(), 0, "exit code")
        s.start()
        s.api = Api(s.http_port)
        equal(s.api.calls(("x:Account/query", {"filter": {"name": "bulk0"}}))[0]["ids"], [], "accounts of the call")


def test_management_connections_taken():
    """Clients that take every connection of the endpoint and send nothing whole: others are refused, mail flows,
    and a moment later the slow ones give way, one for each that has a request; what they do does not matter."""
    with Sink() as sink, Managed(relay=sink.port) as s:
        mail, sockets = Mail(s, sink), []
        for _ in range(CONNECTIONS_MAX):
            raw = socket.create_connection(("127.0.0.1", s.http_port), timeout=20)
            raw.sendall(b"POST /jmap HTTP/1.1\r\nHost: x\r\n")
            sockets.append(raw)

        def answer():
            try:
                return Api(s.http_port).http("GET", "/healthz/live", headers={})[0]
            except (OSError, http.client.HTTPException):
                return None
        wait_until(lambda: answer() in (503, None), 5, "a refusal while all connections are taken")
        mail.session()
        mail.arrived()
        wait_until(lambda: answer() == 200, 5, "the endpoint answers again")
        for raw in sockets:
            raw.close()
        s.api.create("Domain", name="after.example")


def test_management_bodies_taken():
    """Clients without credentials that fill the memory for bodies and never end: they give way to a request that goes on."""
    with Managed() as s:
        sockets = []
        for _ in range(6):
            raw = socket.create_connection(("127.0.0.1", s.http_port), timeout=20)
            raw.sendall(b"POST /jmap HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n" + bytes(9900000))
            sockets.append(raw)
        large = json.dumps({"using": [], "methodCalls": [], "x": "y" * 9000000})

        def status():
            try:
                return Api(s.http_port).http("POST", "/jmap", large)[0]
            except (OSError, http.client.HTTPException):
                return None
        wait_until(lambda: status() == 200, 10, "a large request of an administrator")
        for raw in sockets:
            raw.close()


def bind_alone(port):
    """An address that nobody else has bound, whether he listens or not."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))
        s.listen(1)


def test_listener_given_up_is_closed():
    """A change that is refused because a core does not answer leaves none of its ports bound, though the core has not
    answered yet; the same change goes through when it has."""
    with tempfile.TemporaryDirectory() as folder, Managed(start=False, cores=2) as s:
        hold = os.path.join(folder, "hold")
        preload(s, HOLD_CORE=hold)
        ports = {"smtp": free_port(), "http": free_port()}
        wanted = {protocol: {"name": f"new-{protocol}", "protocol": protocol, "bind": {f"127.0.0.1:{port}": True}}
                  for protocol, port in ports.items()}
        with s.wire() as w:
            with open(hold, "w"):
                leave_waiting(w)  # its core stands still
                [error, answer] = s.api.calls(("x:NetworkListener/set", {"create": wanted}))[0][:2]
                equal((error, answer["type"]), ("error", "serverUnavailable"), f"{answer}")
                check("does not answer; nothing was changed" in answer["description"], f"{answer}")
                for port in ports.values():
                    bind_alone(port)
            os.unlink(hold)
        made = s.api.set("NetworkListener", create=wanted)
        equal(sorted(made.get("created", {})), ["http", "smtp"], f"{made}")
        with smtplib.SMTP("127.0.0.1", ports["smtp"], timeout=20) as client:
            equal(client.noop()[0], 250, "the new listener")
        equal(Api(ports["http"]).http("GET", "/healthz/live", headers={})[0], 200, "the new HTTP listener")


@contextlib.contextmanager
def late_change(s, folder, listeners):
    """A change is committed while a core stands still, for as long as the context lasts."""
    hold, commit = os.path.join(folder, "core"), os.path.join(folder, "commit")
    preload(s, HOLD_CORE=hold, HOLD_COMMIT=commit)
    log = os.path.join(s.data, "registry.db-wal")
    answers = []

    def written():
        return os.path.getsize(log) if os.path.exists(log) else 0
    before = written()
    with s.wire() as w:
        open(commit, "w").close()
        change = threading.Thread(target=lambda: answers.extend(
            Api(s.http_port).calls(("x:NetworkListener/set", {"create": listeners}))))
        change.start()
        wait_until(lambda: written() > before, 20, "the commit begins: all cores have prepared the change")
        open(hold, "w").close()
        leave_waiting(w)
        wait_until(lambda: " core-stalled " in s.log(), 20, "a core stands still")
        os.unlink(commit)
        change.join()
        check("not in force everywhere yet" in str(answers) and "is behind" in str(answers), f"{answers}")
        yield
        os.unlink(hold)


def test_late_change_ends_by_itself():
    """A core that stands still while a committed change is to be applied gets it when it goes on, and so does what waits for
    the last core: the HTTP listeners of the change and the generation that is shown, without another change."""
    with tempfile.TemporaryDirectory() as folder, Managed(start=False, cores=2) as s:
        ports = {"smtp": free_port(), "http": free_port()}
        wanted = {protocol: {"name": f"new-{protocol}", "protocol": protocol, "bind": {f"127.0.0.1:{port}": True}}
                  for protocol, port in ports.items()}
        with late_change(s, folder, wanted):
            generation = json.loads(s.api.http("GET", "/healthz")[2])["configGeneration"]
        equal(Api(ports["http"]).http("GET", "/healthz/live", headers={})[0], 200, "the new HTTP listener")
        with smtplib.SMTP("127.0.0.1", ports["smtp"], timeout=20) as client:
            equal(client.noop()[0], 250, "the new listener")
        health = json.loads(s.api.http("GET", "/healthz")[2])
        equal((health["configGeneration"] > generation, health["coreBehind"]), (True, None), f"{health}")


def test_change_behind_a_late_one():
    """While a core is behind a committed change, the next one is refused and takes nothing of the committed one back: that
    is in force on all cores when the late one goes on, and then the refused one goes through."""
    with tempfile.TemporaryDirectory() as folder, Managed(start=False, cores=2) as s:
        port, other = free_port(), free_port()
        held = late_change(s, folder, {"new": {"name": "new", "bind": {f"127.0.0.1:{port}": True}}})
        with held:
            [error, answer] = s.api.calls(("x:NetworkListener/set", {"create": {
                "n": {"name": "other", "bind": {f"127.0.0.1:{other}": True}}}}))[0][:2]
            equal((error, answer["type"]), ("error", "serverUnavailable"), f"{answer}")
            check("is behind an earlier change; try again later; nothing was changed" in answer["description"], f"{answer}")
        for number in (port, other):
            if number == other:
                s.api.create("NetworkListener", name="other", bind={f"127.0.0.1:{other}": True})
            for _ in range(20):  # at either core
                with smtplib.SMTP("127.0.0.1", number, timeout=20) as client:
                    equal(client.noop()[0], 250, "a listener")
