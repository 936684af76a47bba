"""A migration as its guide describes it: the commands, each step while mail flows, and every way back."""

import json
import os
import re
import socket
import subprocess

import lib
from lib import Sink, Wire, check, equal, free_port, marked, wait_until, work_folder
from test_bans import PROXY, say, session_of
from client import Bare
from test_management import ADMIN, Api, Managed, session_on_every_core

GUIDE = r"""
stalwart-cli create Domain --field name=example.org
stalwart-cli query Domain --where name=example.org --fields id
stalwart-cli update Domain <domain-id> --field allowRelaying=true
stalwart-cli create MtaRoute/Relay --field name=source --field address=source.internal.example.org --field port=25 --field protocol=smtp --field implicitTls=false --field allowInvalidCerts=true
stalwart-cli update MtaOutboundStrategy singleton --field 'route={"match":{"0":{"if":"is_local_address(rcpt)","then":"'\''local'\''"},"1":{"if":"is_local_domain(rcpt_domain)","then":"'\''source'\''"}},"else":"'\''mx'\''"}'
stalwart-cli update SystemSettings singleton --field 'proxyTrustedNetworks={"203.0.113.10/32":true}'
"""


class Shell:
    """A shell in which `stalwart-cli` is our client, and the variables point to the server."""

    def __init__(self, server):
        self.folder = work_folder()
        os.symlink(os.path.join(lib.BUILD, "ringmx-cli"), os.path.join(self.folder, "stalwart-cli"))
        user, password = ADMIN.split(":")
        self.env = dict(os.environ, PATH=self.folder + ":" + os.environ["PATH"], HOME=self.folder,
                        STALWART_URL=f"http://127.0.0.1:{server.http_port}", STALWART_USER=user, STALWART_PASSWORD=password)

    def run(self, line, code=0):
        done = subprocess.run(["sh", "-c", line], env=self.env, capture_output=True, text=True, timeout=60,
                              stdin=subprocess.DEVNULL)
        equal(done.returncode, code, f"exit code of {line} ({done.stderr.strip()})")
        return done.stdout + done.stderr


def code(s, address, port=None):
    """The reply to RCPT."""
    with s.wire(port=port) as w:
        w.expect("MAIL FROM:<a@example.net>", "250")
        return w.cmd(f"RCPT TO:<{address}>")[:9]


def test_guide_commands():
    """The six commands of the guide, to the letter, make a domain whose accounts are here or still on the source."""
    with Sink() as source, Bare() as s:
        shell = Shell(s)
        lines = GUIDE.strip().splitlines()
        shell.run(lines[0])
        domain = shell.run(lines[1]).split()[-1]
        for line in lines[2:]:
            shell.run(line.replace("<domain-id>", domain))
        equal(s.api.calls(("x:SystemSettings/get", {"ids": ["singleton"]}))[0]["list"][0]["proxyTrustedNetworks"],
              {"203.0.113.10": True}, "trusted networks")
        s.api.update("MtaRoute", s.api.find("MtaRoute", name="source"), address="127.0.0.1", port=source.port)
        s.api.create("Account", **{"@type": "User"}, name="alice", domainId=domain)
        body = marked("both")
        s.submit(["alice@example.org", "bob@example.org"], body)
        check(s.delivered()[0].endswith(body), "alice's copy")
        equal([m.rcpts for m in source.got()], [["bob@example.org"]], "recipients at the source")


def test_account_switches_its_mail():
    """Creating an account moves its mail here, destroying it moves it back: on every core, in open sessions, at once."""
    with Sink() as source, Managed(relay=source.port) as s:
        domain = s.api.find("Domain", name="example.org")
        sessions = session_on_every_core(s)
        cores = len(sessions)

        def send(text):
            for session in sessions:
                session.sendmail("a@example.net", ["bob@example.org"], f"Subject: {text}\r\n\r\nx\r\n")
        send("before")
        source.got(cores)
        bob = s.api.create("Account", **{"@type": "User"}, name="bob", domainId=domain)
        send("here")
        s.delivered(cores, local="bob")
        s.api.destroy("Account", bob)
        send("back")
        source.got(2 * cores)
        equal(len(s.mailbox("bob")), cores, "messages in the mailbox")


def test_queued_mail_follows_the_account():
    """What waits for a source that is down goes to the mailbox, once its account has moved."""
    with Managed(relay=free_port(), retry_ms=500) as s:
        body = marked("waits")
        s.submit("bob@example.org", body)
        wait_until(lambda: "deferred" in s.log(), 10, "the source is down")
        s.api.create("Account", **{"@type": "User"}, name="bob", domainId=s.api.find("Domain", name="example.org"))
        check(s.delivered(1, local="bob")[0].endswith(body), "the message")


def test_rollback_of_everything():
    """The guide's order is refused and changes nothing; the refusal names the command that has to come first."""
    with Sink() as source, Managed(relay=source.port) as s:
        shell = Shell(s)
        route = s.api.find("MtaRoute", name="source")
        domain = s.api.find("Domain", name="example.org")
        before = s.api.stats()[0]["config_generation"]
        refused = s.api.set("MtaRoute", destroy=[route])["notDestroyed"][route]
        equal((refused["type"], refused["objectId"]["object"]), ("objectIsLinked", "MtaRoute"), "refusal")
        equal([o["object"] for o in refused["linkedObjects"]], ["MtaOutboundStrategy"], "who links it")
        said = shell.run(f"stalwart-cli delete MtaRoute --ids {route}", code=1)
        check("objectIsLinked" in said and "MtaOutboundStrategy" in said, f"the client says: {said}")
        equal(s.api.stats()[0]["config_generation"], before, "generation")
        s.submit("bob@example.org", marked("still"))
        source.got()
        command = re.search(r"stalwart-cli update MtaOutboundStrategy singleton --field 'route=.*'", said)
        check(command, f"no command that resets the route: {said}")
        shell.run(command[0])
        shell.run(f"stalwart-cli delete MtaRoute --ids {route}")
        shell.run(f"stalwart-cli update Domain {domain} --field allowRelaying=false")
        equal([code(s, "bob@example.org"), code(s, "alice@example.org")], ["550 5.1.1", "250 2.1.5"], "afterwards")


def test_trust_changes_live():
    """Whom a listener trusts: the global networks, or its own in their place, from the next connection on."""
    def proxied(port, header=b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 25\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
            raw.sendall(header)
            try:
                return raw.recv(4)
            except ConnectionResetError:
                return b""
    with Managed() as s:
        port = free_port()
        other = s.api.create("NetworkListener", name="other", bind={f"127.0.0.1:{port}": True})
        equal([proxied(s.port)[:3], proxied(port)[:3]], [b"220", b"220"], "nobody is trusted: a banner, then 500")
        s.api.update("NetworkListener", other, overrideProxyTrustedNetworks={"192.0.2.77": True})
        s.api.update("SystemSettings", "singleton", proxyTrustedNetworks={"127.0.0.1": True})
        equal(proxied(s.port, b"EHLO x\r\n"), b"", "trusted, and no header")
        equal(proxied(port, b"EHLO x\r\n")[:3], b"220", "the other listener trusts somebody else")
        s.api.update("NetworkListener", other, overrideProxyTrustedNetworks={"127.0.0.1": True})
        s.api.update("SystemSettings", "singleton", proxyTrustedNetworks={})
        equal([proxied(s.port, b"EHLO x\r\n")[:3], proxied(port, b"EHLO x\r\n")], [b"220", b""], "the other way round")
        s.api.update("NetworkListener", other, overrideProxyTrustedNetworks={})
        equal(proxied(port, b"EHLO x\r\n")[:3], b"220", "nobody again")


def test_burst_through_the_proxy():
    """Many clients behind one proxy at once are many clients: none is refused, and a banned one stops alone."""
    with Managed(settings=PROXY, allow_relaying=False) as s:
        s.api.update("Security", "singleton", scanBanRate={"count": 3, "period": 3600000})
        sessions = [session_of(s, f"203.0.113.{n}") for n in range(200)]
        equal([n for n, session in enumerate(sessions) if session is None], [], "refused")
        for _ in range(4):
            say(sessions[7], "XYZZY")
        wait_until(lambda: "client-banned" in s.log(), 10, "the ban")
        equal([n for n, session in enumerate(sessions) if not say(session, "NOOP").startswith("250")], [7], "ended")
        check(session_of(s, "203.0.113.7") is None and session_of(s, "203.0.113.8") is not None, "new connections")


def test_finalized():
    """When nothing leads to the source any more it is not asked; clients may connect directly while the proxy stays trusted."""
    with Sink() as source, Managed(relay=source.port, settings={"proxyTrustedNetworks": {"203.0.113.10": True}}) as s:
        s.api.create("Account", **{"@type": "User"}, name="bob", domainId=s.api.find("Domain", name="example.org"))
        s.api.update("Domain", s.api.find("Domain", name="example.org"), allowRelaying=False)
        s.submit(["alice@example.org", "bob@example.org"], marked("direct"))
        s.delivered()
        s.delivered(local="bob")
        equal((source.connections, code(s, "carol@example.org")), (0, "550 5.1.1"), "the source, and unknown users")


def test_recovery_mode_leaves_mail_alone():
    """Recovery mode serves HTTP alone, on its own port; the queue waits; other values of the variable mean nothing."""
    with Managed(relay=free_port()) as s:
        s.submit("bob@example.org", marked("queued"))
        s.stop()
        port = free_port()
        s.start(env=dict(s.env, STALWART_RECOVERY_MODE="TRUE", STALWART_RECOVERY_MODE_PORT=str(port)))
        check("mode=recovery" in s.log(), "the log does not say which mode runs")
        for closed in (s.port, s.http_port):
            with socket.socket() as probe:
                check(probe.connect_ex(("127.0.0.1", closed)) != 0, f"port {closed} is served in recovery mode")
        equal(Api(port).http("GET", "/jmap/session")[0], 200, "management on its port")
        s.stop()
        check("deferred" not in s.log(), "a delivery was tried")
        for value in ("0", "yes", "on", ""):
            s.start(env=dict(s.env, STALWART_RECOVERY_MODE=value))
            check("mode=normal" in s.log(), f"mode with {value!r}")
            equal("recovery-mode-unclear" in s.log(), value in ("yes", "on"), f"the warning with {value!r}")
            s.stop()
        check("bob@example.org" in s.queue(), "the queue")


def test_recovery_administrator_in_every_mode():
    """STALWART_RECOVERY_ADMIN signs in on an empty folder, beside accounts, and in recovery mode; without a password nothing starts."""
    word = "a password of some length"
    with Managed(start=False) as s:
        s.data = os.path.join(s.folder, "empty")
        os.mkdir(s.data)
        s.args += ["--cores", "1"]
        for number, mode in enumerate(("0", "0", "1")):
            s.start(env=dict(s.env, STALWART_RECOVERY_MODE=mode, STALWART_RECOVERY_MODE_PORT=str(s.http_port)))
            check("administrator is" not in s.log(), "another administrator was made")
            equal("recovery-administrator" in s.log(), mode == "0", "the warning in the log")
            s.api.connection = None
            domains = s.api.calls(("x:Domain/query", {}))[0]["ids"]
            if number == 0:
                for port in s.api.calls(("x:NetworkListener/get", {}))[0]["list"]:
                    s.api.destroy("NetworkListener", port["id"])
                domain = s.api.create("Domain", name="example.org")
                s.api.create("Account", **{"@type": "User"}, name="admin", domainId=domain, roles={"@type": "Admin"},
                             credentials={"0": {"@type": "Password", "secret": word}})
                s.api.update("SystemSettings", "singleton", defaultDomainId=domain)
            else:
                equal(len(domains), 1, "domains")
                equal(Api(s.http_port, f"admin:{word}").http("GET", "/api/account")[0], 401, "an account of that name")
                equal(Api(s.http_port, f"admin@example.org:{word}").http("GET", "/api/account")[0], 200, "... in full")
            s.stop()
        for value in ("admin", "admin:", ":word", " : "):
            s.spawn(env=dict(s.env, STALWART_RECOVERY_ADMIN=value))
            equal(s.ended(), 1, f"exit code with {value!r}")
            check("user:password" in s.log() and "word" not in s.log().replace("password", ""), f"{s.log()}")


def test_malformed_environment():
    """A variable that says nothing usable ends the start with its name and why; an empty one is none."""
    cases = [("STALWART_RECOVERY_ADMIN", "admin:$argon2id$v=19$nonsense", "is not an argon2id hash"),
             ("STALWART_RECOVERY_ADMIN", "admin:$6$abc$defghijkl", "of a kind that is not supported by ringmx"),
             ("STALWART_RECOVERY_ADMIN", "a" * 256 + ":word", "user:password"),
             ("STALWART_RECOVERY_MODE_PORT", "0", "a port"), ("STALWART_RECOVERY_MODE_PORT", "http", "a port"),
             ("STALWART_PUBLIC_URL", "mx.example.org", "http://"), ("STALWART_PUBLIC_URL", "https://", "a host"),
             ("STALWART_PUBLIC_URL", "https:", "a host"), ("STALWART_PUBLIC_URL", "https://a b", "no blanks")]
    with Managed(start=False) as s:
        for name, value, why in cases:
            s.spawn(env=dict(s.env, **{name: value}))
            equal(s.ended(), 1, f"exit code with {name}={value!r}")
            check(f"ringmx: {name}" in s.log() and why in s.log(), f"{name}={value!r}: {s.log()}")
        s.start(env=dict(s.env, STALWART_RECOVERY_MODE_PORT="", STALWART_PUBLIC_URL="", STALWART_RECOVERY_MODE=""))
        check("mode=normal" in s.log(), "empty values")


def cutover(w, pipelined):
    """The session with which a cutover is checked, under TLS."""
    w.expect("EHLO test.example", "250-")
    w.expect("STARTTLS", "220")
    w.start_tls()
    w.expect("EHLO test.example", "250-")
    lines = ["MAIL FROM:<check@test.example>", "RCPT TO:<alice@example.org>", "DATA"]
    if pipelined:
        w.send("".join(line + "\r\n" for line in lines))
        for wanted in ("250 2.1.0", "250 2.1.5", "354"):
            w.then(wanted)
    else:
        for line, wanted in zip(lines, ("250 2.1.0", "250 2.1.5", "354")):
            w.expect(line, wanted)
    w.send(b"Subject: cutover\r\n\r\nIt works.\r\n.\r\n" + (b"QUIT\r\n" if pipelined else b""))
    w.then("250 2.0.0")
    if not pipelined:
        w.send(b"QUIT\r\n")
    w.then("221")


def test_cutover_session():
    """The scripted session through the proxy, line by line and in one burst."""
    with Managed(settings=PROXY) as s:
        for pipelined in (False, True):
            with Wire(s.port, first=b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 25\r\n") as w:
                w.then("220", "banner")
                cutover(w, pipelined)
        for message in s.delivered(2):
            check(b"([203.0.113.7])" in message, "the real client in Received")


def test_debug_log():
    """At the level debug the log tells of every delivery: route, host, address, TLS and reply."""
    with Sink() as source, Managed(relay=source.port) as s:
        s.stop()
        s.args += ["--log", "debug"]
        s.start()
        ident = s.submit(["alice@example.org", "bob@example.org"], marked("told"))
        source.got()
        s.delivered()
        wait_until(lambda: s.log().count("delivered ") >= 2, 10, "both deliveries in the log")
        lines = [line for line in s.log().splitlines() if ident in line]
        told = "\n".join(lines)
        for part in ("route=source", "route=local", f"127.0.0.1:{source.port}", "tls=", "250"):
            check(part in told, f"{part} is not told: {told}")


def test_recovery_mode_provisions():
    """A plan of thousands of accounts is applied in recovery mode by the command line; the next start delivers to them."""
    with Managed() as s:
        s.stop()
        s.start(env=dict(s.env, STALWART_RECOVERY_MODE="1", STALWART_RECOVERY_MODE_PORT=str(s.http_port)))
        plan = [{"@type": "upsert", "object": "Domain", "value": {"d": {"name": "new.example"}}}]
        plan += [{"@type": "upsert", "object": "Account", "matchOn": ["name", "domainId"], "value": {
            f"a{part}-{i}": {"@type": "User", "name": f"user{part}-{i}", "domainId": "#d"} for i in range(500)}} for part in range(4)]
        env = dict(os.environ, STALWART_URL=f"http://127.0.0.1:{s.http_port}", STALWART_USER="admin",
                   STALWART_PASSWORD=ADMIN.split(":", 1)[1], XDG_CACHE_HOME=s.folder)
        done = subprocess.run([os.path.join(lib.BUILD, "ringmx-cli"), "apply", "--stdin"], env=env, capture_output=True, text=True,
                              input="".join(json.dumps(op) + "\n" for op in plan), timeout=60)
        check(done.returncode == 0 and "2001 created (0 failed)" in done.stderr, f"apply: {done.stderr}")
        s.stop()
        s.api.connection = None
        s.start()
        s.submit("user3-499@new.example", marked("provisioned"))
        wait_until(lambda: s.mailbox("user3-499", "new.example"), 15, "the mailbox")
