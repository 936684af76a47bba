"""Clients that the server bans by itself: what leads to it, as which object, and where it is in force."""

import base64
import ctypes
import http.client
import os
import socket
import subprocess
import threading

from lib import Skip, check, equal, need_program, session_limits, wait_until
from test_management import ADMIN, Api, Managed

CLONE_NEWNET = 0x40000000
PROXY = {"proxyTrustedNetworks": {"127.0.0.0/8": True}}


def in_own_network(*addresses):
    """Runs a test in a network namespace of its own, whose only interface has these addresses as well."""
    def decorate(function):
        def run():
            if os.geteuid() != 0:
                raise Skip("a network namespace of its own needs root")
            ip = need_program("ip")
            caught = []

            def enter():
                try:
                    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
                        raise Skip(f"no network namespace: {os.strerror(ctypes.get_errno())}")
                    subprocess.run([ip, "link", "set", "lo", "up"], check=True)
                    for address in addresses:
                        subprocess.run([ip, "addr", "add", address, "dev", "lo"],
                                       check=True)
                    function()
                except BaseException as error:  # raised again by the caller
                    caught.append(error)
            thread = threading.Thread(target=enter)
            thread.start()
            thread.join()
            if caught:
                raise caught[0]
        run.__name__, run.__doc__ = function.__name__, function.__doc__
        return run
    return decorate


def session_of(s, client):
    """An SMTP session of a client behind the proxy, or None when it was closed without a word."""
    raw = socket.create_connection(("127.0.0.1", s.port), timeout=20)
    raw.sendall(f"PROXY TCP4 {client} 192.0.2.1 4711 25\r\n".encode())
    try:
        banner = raw.recv(200)
    except ConnectionResetError:
        banner = b""
    if not banner:
        raw.close()
        return None
    check(banner.startswith(b"220"), f"banner {banner}")
    return raw


def say(session, line):
    """The reply; empty when the server closed."""
    try:
        session.sendall(line.encode() + b"\r\n")
        return session.recv(500).decode()
    except (ConnectionResetError, BrokenPipeError):
        return ""


def served(s, client):
    session = session_of(s, client)
    if session is not None:
        session.close()
    return session is not None


def bans(s):
    """Every BlockedIp by its address."""
    ids, shown = s.api.calls(("x:BlockedIp/query", {}), ("x:BlockedIp/get", {}))
    equal(len(ids["ids"]), len(shown["list"]), "objects")
    return {b["address"]: b for b in shown["list"]}


def banned(s, address, reason):
    """Waits for the ban that the program makes."""
    ban = wait_until(lambda: bans(s).get(address), 10, f"a ban of {address}")
    equal(ban["reason"], reason, "reason")
    check(ban["expiresAt"] > ban["createdAt"], f"{ban}")
    return ban


def test_ban_for_refused_recipients():
    """Too many refused recipients: the client alone is banned, on every core, in its open sessions, until it expires or is deleted."""
    with Managed(cores=2, settings=PROXY, allow_relaying=False) as s:
        s.api.update("Security", "singleton", abuseBanRate={"count": 5, "period": 3600000}, abuseBanPeriod=3600000)
        innocent = session_of(s, "203.0.113.8")
        say(innocent, "EHLO good.example.net")
        open_sessions = [session_of(s, "203.0.113.7") for _ in range(8)]
        for number, session in enumerate(open_sessions[:6]):
            say(session, "EHLO bad.example.net")
            say(session, "MAIL FROM:<a@example.net>")
            equal(say(session, f"RCPT TO:<nobody{number}@example.org>")[:3], "550", "an unknown user")
        ban = banned(s, "203.0.113.7", "rcptToFailure")
        for session in open_sessions:
            equal(say(session, "NOOP"), "", "an open session")
        for _ in range(8):
            check(not served(s, "203.0.113.7"), "a new connection is served")
        check(served(s, "203.0.113.9"), "its neighbour is not served")
        equal(say(innocent, "NOOP")[:3], "250", "an innocent session")
        check("client-banned client=203.0.113.7 reason=rcptToFailure" in s.log(), "the log does not say it")
        s.api.update("BlockedIp", ban["id"], expiresAt="2001-01-01T00:00:00Z")
        check(served(s, "203.0.113.7"), "after its expiry was changed")
        s.api.update("BlockedIp", ban["id"], expiresAt=None)
        check(not served(s, "203.0.113.7"), "for ever")
        s.api.destroy("BlockedIp", ban["id"])
        check(served(s, "203.0.113.7"), "after the ban was lifted")


def test_ban_for_unknown_commands():
    """Commands that nobody knows are scanning; counted over sessions and cores; it survives a restart."""
    with Managed(cores=2, settings=PROXY) as s:
        s.api.update("Security", "singleton", scanBanRate={"count": 9, "period": 3600000})
        for _ in range(5):
            session = session_of(s, "203.0.113.7")
            for line in ("GOT / HTTP/1.0", "XYZZY"):
                say(session, line)
            session.close()
        banned(s, "203.0.113.7", "portScanning")
        s.stop()
        s.api.connection = None
        s.start()
        check(not served(s, "203.0.113.7"), "after a restart")
        check(served(s, "203.0.113.8"), "another client")


def test_ban_for_loitering():
    """Sessions that have to be ended after the longest time count as loitering; idle ones do not."""
    with Managed(settings=PROXY, extra=[session_limits(maxDuration="1s")]) as s:
        s.api.update("Security", "singleton", loiterBanRate={"count": 2, "period": 3600000})
        sessions = [session_of(s, "203.0.113.7") for _ in range(3)]
        for session in sessions:
            check(session is not None, "it is served at first")
            equal(session.recv(100)[:3], b"421", "after its time")
        banned(s, "203.0.113.7", "loitering")
        check(not served(s, "203.0.113.7"), "it is served")


def test_ban_spares_who_sends_mail():
    """A sender that keeps its connections until their time is over does not loiter, when mail came over them; who drips content does."""
    limits = session_limits(maxDuration="2s", minDataRate="1000", minDataRateGrace="1s")
    with Managed(settings=PROXY, extra=[limits]) as s:
        s.api.update("Security", "singleton", loiterBanRate={"count": 2, "period": 3600000})
        for client, sends in (("203.0.113.7", True), ("203.0.113.8", False)):
            sessions = [session_of(s, client) for _ in range(3)]
            for session in sessions:
                check(say(session, "EHLO large.example.net").startswith("250"), "EHLO")
                for line, code in (("MAIL FROM:<a@example.net>", "250"), ("RCPT TO:<alice@example.org>", "250"), ("DATA", "354")):
                    equal(say(session, line)[:3], code, line)
                if sends:
                    equal(say(session, "Subject: kept\r\n\r\nx\r\n.")[:3], "250", "the message")
            for session in sessions:
                equal(session.recv(100)[:3], b"421", "after its time")
        banned(s, "203.0.113.8", "loitering")  # told in the order in which it happened
        check("203.0.113.7" not in bans(s), "the sender is banned")


def test_never_banned():
    """Loopback, the proxy itself and AllowedIp are never banned, whatever they do."""
    with Managed(settings=PROXY, allow_relaying=False) as s:
        s.api.update("Security", "singleton", abuseBanRate={"count": 1, "period": 3600000},
                     scanBanRate={"count": 1, "period": 3600000})
        s.api.create("AllowedIp", address="203.0.113.0/28")
        for client in ("203.0.113.7", "127.0.0.1", "127.8.8.8", "203.0.113.200"):
            session = session_of(s, client)
            for line in ("EHLO x.example.net", "MAIL FROM:<a@example.net>", "RCPT TO:<no@example.org>",
                         "RCPT TO:<no@elsewhere.example>", "RCPT TO:<no1@example.org>"):
                say(session, line)
            session.close()
        banned(s, "203.0.113.200", "rcptToFailure")  # told in the order in which it happened
        equal(list(bans(s)), ["203.0.113.200"], "bans")
        check("client-banned client=127" not in s.log(), "loopback is in the log of bans")


def request_from(port, source, credentials=None, path="/jmap/session"):
    """Status of one GET from this source address; 0 when the connection is closed."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=(source, 0))
    headers = {}
    if credentials:
        headers["Authorization"] = "Basic " + base64.b64encode(credentials.encode()).decode()
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (http.client.HTTPException, OSError):
        return 0
    finally:
        connection.close()


@in_own_network("192.0.2.7/32", "192.0.2.8/32")
def test_ban_for_failed_sign_ins():
    """Failed sign-ins lead to a ban on HTTP and SMTP, by client, also for requests on an open connection."""
    with Managed() as s:
        s.api.update("Security", "singleton", authBanRate={"count": 2, "period": 3600000}, authBanPeriod=3600000)
        kept = http.client.HTTPConnection("127.0.0.1", s.http_port, timeout=20, source_address=("192.0.2.7", 0))
        kept.request("GET", "/healthz/live")
        answer = kept.getresponse()
        equal((answer.status, bool(answer.read())), (200, True), "before")
        codes = [request_from(s.http_port, "192.0.2.7", "admin:wrong") for _ in range(3)]
        equal(codes, [401] * 2 + [429], "answers to wrong passwords")
        ban = banned(s, "192.0.2.7", "authFailure")
        equal(request_from(s.http_port, "192.0.2.7", ADMIN), 403, "the right password")
        for path in ("/healthz/live", "/metrics", "/stats", "/.well-known/oauth-authorization-server", "/none"):
            equal(request_from(s.http_port, "192.0.2.7", path=path), 403, path)
        kept.request("GET", "/healthz/live")
        equal(kept.getresponse().status, 403, "on the connection that was open")
        equal(request_from(s.http_port, "192.0.2.8", ADMIN), 200, "another client")
        equal(request_from(s.http_port, "127.0.0.1", ADMIN), 200, "loopback")
        with socket.create_connection(("127.0.0.1", s.port), timeout=20, source_address=("192.0.2.7", 0)) as smtp:
            equal(smtp.recv(100), b"", "SMTP")
        s.api.destroy("BlockedIp", ban["id"])
        equal(request_from(s.http_port, "192.0.2.7", ADMIN), 200, "after the ban was lifted")
        equal([request_from(s.http_port, "127.0.0.1", "admin:wrong") for _ in range(4)], [401] * 4, "loopback")
        equal(bans(s), {}, "bans")


@in_own_network("192.0.2.7/32")
def test_statistics_from_elsewhere():
    """Statistics are for everybody on this machine; from another one they take a sign-in with a permission."""
    with Managed() as s:
        domain = s.api.find("Domain", name="example.org")
        for name, roles in (("root", {"@type": "Admin"}), ("ann", {"@type": "User"})):
            s.api.create("Account", **{"@type": "User"}, name=name, domainId=domain, roles=roles,
                         credentials={"0": {"@type": "Password", "secret": "correct horse battery"}})
        key = Api(s.http_port, "root@example.org:correct horse battery").set("ApiKey", create={"k": {
            "description": "scraper", "permissions": {"@type": "Replace", "permissions": {
                "sysSystemSettingsGet": True}}}})["created"]["k"]["secret"]
        for path in ("/metrics", "/metrics/prometheus", "/stats"):
            def ask(client, authorization=None):
                connection = http.client.HTTPConnection("127.0.0.1", s.http_port, timeout=20, source_address=(client, 0))
                connection.request("GET", path, headers={"Authorization": authorization} if authorization else {})
                answer = connection.getresponse()
                body = answer.read()
                connection.close()
                return answer.status, len(body) > 1000

            def basic(user, password="correct horse battery"):
                return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
            equal(ask("127.0.0.1"), (200, True), f"{path} from this machine")
            equal(ask("192.0.2.7"), (401, False), f"{path} without credentials")
            equal(ask("192.0.2.7", basic("root@example.org", "wrong")), (401, False), f"{path} with a wrong password")
            equal(ask("192.0.2.7", basic("ann@example.org")), (403, False), f"{path} without the permission")
            equal(ask("192.0.2.7", basic("root@example.org")), (200, True), f"{path} for an administrator")
            equal(ask("192.0.2.7", f"Bearer {key}"), (200, True), f"{path} with a key")
            equal(request_from(s.http_port, "192.0.2.7", path="/healthz/ready"), 200, "health is for everybody")
        equal(bans(s), {}, "bans")


@in_own_network("192.0.2.7/32", "192.0.2.8/32")
def test_ban_for_paths():
    """Who looks for holes of other software over HTTP is banned at once; who mistypes a path is not."""
    with Managed() as s:
        equal(request_from(s.http_port, "192.0.2.8", path="/jmap/sesion"), 404, "a path that is not there")
        equal(request_from(s.http_port, "192.0.2.7", path="/index.php"), 404, "another")
        banned(s, "192.0.2.7", "portScanning")
        equal(request_from(s.http_port, "192.0.2.7", path="/jmap/session"), 403, "afterwards")
        equal(request_from(s.http_port, "192.0.2.8", path="/jmap/session"), 200, "the other one")
        s.api.update("Security", "singleton", **{"scanBanPaths": {"*/secret/*": True}})
        equal(request_from(s.http_port, "192.0.2.8", path="/index.php"), 404, "a path that is not listed any more")
        equal(request_from(s.http_port, "192.0.2.8", path="/a/secret/b"), 404, "one that is")
        banned(s, "192.0.2.8", "portScanning")


@in_own_network("192.0.2.7/32")
def test_ban_for_nonsense_over_http():
    """What is no HTTP on the management endpoint counts as scanning."""
    with Managed() as s:
        s.api.update("Security", "singleton", scanBanRate={"count": 2, "period": 3600000})
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", s.http_port), timeout=20, source_address=("192.0.2.7", 0)) as raw:
                raw.sendall(b"\x16\x03\x01\x02\x00 EHLO x\r\n\r\n")
                equal(raw.recv(12), b"HTTP/1.1 400", "the answer")
        banned(s, "192.0.2.7", "portScanning")
        equal(request_from(s.http_port, "192.0.2.7"), 403, "afterwards")


@in_own_network("192.0.2.7/32")
def test_recovery_mode_blocks_nobody():
    """In recovery mode nobody is shut out of the management endpoint."""
    with Managed(start=False) as s:
        s.apply([{"@type": "create", "object": "BlockedIp", "value": {"b": {"address": "192.0.2.7"}}}])
        s.start()
        equal(request_from(s.http_port, "192.0.2.7", ADMIN), 403, "in normal mode")
        s.stop()
        s.start(env=dict(s.env, STALWART_RECOVERY_MODE="1"))
        equal(request_from(s.http_port, "192.0.2.7", ADMIN), 200, "in recovery mode")
