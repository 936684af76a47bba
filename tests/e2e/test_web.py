"""HTTP listeners of the configuration: they come, change and go while the server runs; TLS; malformed requests."""

import http.client
import json
import os
import socket
import ssl
import subprocess

import lib
from lib import Fail, check, equal, free_port, starts, wait_until
from test_management import ADMIN, Managed
from test_store import as_nobody, owned_by

MALFORMED = [
    (b"GET / HTTP/1.1\r\n\r\n", 400, "no host"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "two hosts"),
    (b"GET /\r\n\r\n", 400, "no version"),
    (b"\x00\x01\x02\r\n\r\n", 400, "no text"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 20000 + b"\r\n\r\n", 431, "a head over the limit"),
    (b"POST /jmap HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400, "two lengths"),
    (b"POST /jmap HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "length and chunks"),
    (b"POST /jmap HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", 413, "a body over the limit"),
    (b"POST /jmap HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "a chunk without length"),
]


def listen(server, name="web", port=None, **fields):
    """Creates an HTTP listener; its port and id."""
    port = port or free_port()
    made = server.api.create("NetworkListener", name=name, bind={f"127.0.0.1:{port}": True}, protocol="http", **fields)
    return port, made


def connect(port, tls=False):
    raw = socket.create_connection(("127.0.0.1", port), timeout=20)
    return lib.no_verify().wrap_socket(raw) if tls else raw


def ask(port, tls=False, path="/healthz/live"):
    """Status and body of one request on a new connection."""
    kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
    more = {"context": lib.no_verify()} if tls else {}
    connection = kind("127.0.0.1", port, timeout=20, **more)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def certificate_on(port):
    with connect(port, tls=True) as s:
        return s.getpeercert(binary_form=True)


def make_certificate(folder, name):
    paths = [os.path.join(folder, f"{name}.{kind}") for kind in ("crt", "key")]
    subprocess.run([lib.need_program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-keyout", paths[1], "-out", paths[0], "-days", "30", "-subj", f"/CN={name}",
                    "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"], check=True, capture_output=True)
    return paths


def read_until_closed(s):
    data = b""
    while True:
        try:
            more = s.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            return data
        if not more:
            return data
        data += more


def test_web_listeners_live():
    """In force when the answer is there: creating, TLS on and off, removing; and after a restart."""
    with Managed() as s:
        port, web = listen(s)
        equal(ask(port)[0], 200, "a new listener")
        s.api.update("NetworkListener", web, tlsImplicit=True)
        equal(ask(port, tls=True)[0], 200, "the same address with TLS")
        session = json.loads(ask(port, tls=True, path="/jmap/session")[1])
        starts(session["apiUrl"], f"https://127.0.0.1:{port}/", "apiUrl")
        other = free_port()
        s.api.update("NetworkListener", web, tlsImplicit=False, bind={f"127.0.0.1:{other}": True})
        equal(ask(other)[0], 200, "another address")
        try:
            ask(port)
            raise Fail("the former address is served")
        except ConnectionRefusedError:
            pass
        s.api.update("NetworkListener", web, bind={f"127.0.0.1:{other}": True, f"127.0.0.1:{port}": True})
        for one in (port, other):
            equal(ask(one)[0], 200, "two addresses")
        s.stop()
        s.start()
        s.api.connection = None
        for one in (port, other):
            equal(ask(one)[0], 200, "after a restart")
        check(f"listener=web address=127.0.0.1:{port}" in s.log(), f"the log does not name it: {s.log()[:600]}")
        s.api.destroy("NetworkListener", web)
        for one in (port, other):
            try:
                ask(one)
                raise Fail("a removed listener is served")
            except ConnectionRefusedError:
                pass
        equal(s.api.http("GET", "/healthz/ready", headers={})[0], 200, "the listener of the command line")


def test_web_listener_refused():
    """A port in use, one that mail has, and what HTTP listeners have not: refused, nothing changes."""
    with Managed() as s:
        before = s.api.stats()[0]["config_generation"]
        for fields, why in (({"bind": {f"127.0.0.1:{s.http_port}": True}}, "in use"),
                            ({"bind": {f"127.0.0.1:{s.port}": True}}, "has 127.0.0.1"),
                            ({"bind": {f"127.0.0.1:{free_port()}": True},
                              "overrideProxyTrustedNetworks": {"10.0.0.0/8": True}}, "not supported by ringmx"),
                            ({"bind": {f"127.0.0.1:{free_port()}": True}, "protocol": "imap"}, "protocol: ")):
            answer = s.api.set("NetworkListener", create={"n": {"name": "web", "protocol": "http"} | fields})
            check(why in json.dumps(answer.get("notCreated", {})), f"{fields}: {answer}")
        equal(s.api.stats()[0]["config_generation"], before, "generation")
        port, _ = listen(s)
        answer = s.api.set("NetworkListener", create={"n": {"name": "mail", "bind": {f"127.0.0.1:{port}": True}}})
        check("notCreated" in answer, f"mail on the address of HTTP: {answer}")
        equal(ask(port)[0], 200, "the HTTP listener after that")


def greeted(port, what):
    """Mail answers here at once, whichever core gets the connection."""
    for i in range(20):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
            line = s.makefile("rb").readline()
            check(line.startswith(b"220 "), f"{what}, connection {i}: {line!r}")


def test_web_listener_changes_protocol():
    """From management to mail and back on the same address, by an update and by another object of the same call."""
    with Managed() as s:
        port, made = listen(s, useTls=False)
        s.api.update("NetworkListener", made, protocol="smtp")
        greeted(port, "mail on the address that management had")
        s.api.update("NetworkListener", made, protocol="http")
        check(all(ask(port)[0] == 200 for _ in range(20)), "management on the address that mail had")
        bind = {f"127.0.0.1:{port}": True}
        answer = s.api.set("NetworkListener", destroy=[made], create={"n": {"name": "mail", "bind": bind}})
        check("created" in answer and "destroyed" in answer, f"another listener on the same address: {answer}")
        greeted(port, "the other listener")


def test_web_listener_narrows():
    """Between all addresses and one of them, while the port is the same; what overlaps is refused by name."""
    with Managed() as s:
        port = free_port()
        wide, narrow = {f"[::]:{port}": True}, {f"127.0.0.1:{port}": True}
        mail = s.api.create("NetworkListener", name="mail", bind=wide)
        for bind in (narrow, {f"0.0.0.0:{port}": True}, wide, narrow):
            s.api.update("NetworkListener", mail, bind=bind)
            greeted(port, f"listening on {list(bind)[0]}")
        s.api.update("NetworkListener", mail, protocol="http", bind=wide)
        check(all(ask(port)[0] == 200 for _ in range(20)), "management on all addresses")
        s.api.update("NetworkListener", mail, bind=narrow)
        check(all(ask(port)[0] == 200 for _ in range(20)), "management on one address")
        for bind in (wide, {f"0.0.0.0:{port}": True}):
            answer = s.api.set("NetworkListener", create={"n": {"name": "other", "bind": bind}})
            check("NetworkListener 'mail' listens on" in json.dumps(answer.get("notCreated", {})), f"{bind}: {answer}")
        s.api.update("NetworkListener", mail, bind=wide)
        s.stop()
        s.start()
        s.api.connection = None
        equal(ask(port)[0], 200, "after a restart")


def test_web_listener_narrows_as_a_user():
    """The same for a socket that was opened as root, before the server became another user."""
    uid = as_nobody()
    port = free_port()
    wide, narrow = {f"[::]:{port}": True}, {f"127.0.0.1:{port}": True}
    with Managed(start=False, extra=[{"@type": "create", "object": "NetworkListener", "value": {
            "w": {"name": "wide", "bind": wide}}}]) as s:
        s.args += ["--user", "nobody"]
        owned_by(uid, s)
        s.start()
        s.api.connection = None
        made = s.api.find("NetworkListener", name="wide")
        for bind in (narrow, wide):
            s.api.update("NetworkListener", made, bind=bind)
            greeted(port, f"listening on {list(bind)[0]}")


def test_web_without_command_line():
    """`--http off` leaves the configured listeners."""
    port = free_port()
    with lib.Server(args=["--http", "off"], env_more={"STALWART_RECOVERY_ADMIN": ADMIN}, extra=[
            {"@type": "create", "object": "NetworkListener", "value": {
                "w": {"name": "web", "bind": {f"127.0.0.1:{port}": True}, "protocol": "http", "tlsImplicit": True}}}]):
        equal(ask(port, tls=True)[0], 200, "the configured listener")


def test_web_not_in_recovery_mode():
    """Recovery mode listens on the address of the command line alone."""
    with Managed() as s:
        port, _ = listen(s)
        s.stop()
        s.start(env=dict(os.environ, STALWART_RECOVERY_MODE="1", STALWART_RECOVERY_ADMIN=ADMIN))
        s.api.connection = None
        equal(s.api.http("GET", "/healthz/live", headers={})[0], 200, "alive")
        try:
            ask(port)
            raise Fail("a configured listener is served in recovery mode")
        except ConnectionRefusedError:
            pass
        equal(s.api.find("NetworkListener", name="web") != "", True, "the object")


def test_web_certificate_live():
    """New connections get the new certificate, with curl checking it; those that are open go on."""
    with Managed() as s:
        port, _ = listen(s, tlsImplicit=True)
        first = certificate_on(port)
        open_one = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=lib.no_verify())
        open_one.request("GET", "/healthz/live")
        equal(open_one.getresponse().read() != b"", True, "an answer with the first certificate")
        cert, key = make_certificate(s.folder, "mx.example.org")
        s.api.create("Certificate", certificate={"@type": "File", "filePath": cert},
                     privateKey={"@type": "File", "filePath": key})
        second = certificate_on(port)
        check(second != first, "the certificate is the old one")
        curl = [lib.need_program("curl"), "--silent", "--show-error", "--max-time", "20", "--cacert", cert]
        done = subprocess.run([*curl, f"https://127.0.0.1:{port}/healthz/live"], capture_output=True, text=True)
        equal(done.returncode, 0, f"exit code of curl ({done.stderr})")
        check("alive" in done.stdout, f"what curl got: {done.stdout}")
        done = subprocess.run([*curl, "--tls-max", "1.1", f"https://127.0.0.1:{port}/healthz/live"], capture_output=True)
        check(done.returncode != 0, "TLS 1.1 is spoken")
        done = subprocess.run([os.path.join(lib.BUILD, "ringmx-cli"), "query", "Domain", "--fields", "name", "--json"],
                              capture_output=True, text=True, timeout=60, env=dict(
                                  os.environ, SSL_CERT_FILE=cert, STALWART_URL=f"https://127.0.0.1:{port}",
                                  STALWART_USER=ADMIN.split(":")[0], STALWART_PASSWORD=ADMIN.split(":")[1]))
        equal(done.returncode, 0, f"exit code of ringmx-cli ({done.stderr})")
        check("example.org" in done.stdout, f"what ringmx-cli got: {done.stdout}")
        open_one.request("GET", "/healthz/ready")
        equal(open_one.getresponse().status, 200, "the open connection")
        open_one.close()
        make_certificate(s.folder, "mx.example.org")
        s.api.create("Action", **{"@type": "ReloadTlsCertificates"})
        check(certificate_on(port) != second, "the file was not read again")


def test_web_malformed():
    """4xx and a closed connection, in clear and over TLS; what is no TLS at all is closed."""
    with Managed() as s:
        port, _ = listen(s, tlsImplicit=True)
        for where, tls in ((s.http_port, False), (port, True)):
            for request, status, what in MALFORMED:
                with connect(where, tls) as c:
                    c.sendall(request)
                    answer = read_until_closed(c)
                starts(answer, b"HTTP/1.1 %d " % status, f"{what}, TLS {tls}")
                check(b"\r\nConnection: close\r\n" in answer, f"{what}: {answer[:300]}")
        for request in (b"HEAD / HTTP/1.1\r\n\r\n", b"HEAD / HTTP/1.1\r\nHost: a\r\nA b\r\n\r\n", b"HEAD / HTTP/3.0\r\n"):
            with connect(s.http_port) as c:
                c.sendall(request)
                answer = read_until_closed(c)
            check(answer.count(b"\r\n\r\n") == 1 and answer.endswith(b"\r\n\r\n"), f"a body for HEAD: {answer}")
        for hello in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\xff\xff" + bytes(70000),
                      b"\x80\x2e\x01\x00\x02"):
            with connect(port) as c:
                try:
                    c.sendall(hello)
                except OSError:
                    pass  # it was closed already
                if hello[0] != 0x80:  # the beginning of something larger: the time limit's business
                    check(not read_until_closed(c).startswith(b"HTTP"), "clear text on the TLS port")
        equal(ask(port, tls=True)[0], 200, "after all of them")


def test_web_schema_revalidated():
    """The schema by its hash comes with a tag; who has it is answered 304 without a body, on a connection that goes on."""
    with Managed() as s:
        status, headers, _ = s.api.http("GET", "/api/schema")
        equal(status, 302, "without a hash")
        status, headers, body = s.api.http("GET", headers["Location"])
        equal((status, headers["Content-Encoding"], len(body) > 1000), (200, "gzip", True), "the document")
        tag = headers["ETag"]
        path = "/api/schema/" + tag.strip('"')
        for condition, wanted in ((tag, 304), ("W/" + tag, 304), ('"other"', 200)):
            status, headers, body = s.api.http("GET", path, headers=s.api.headers | {"If-None-Match": condition})
            equal((status, headers["ETag"], len(body) > 0), (wanted, tag, wanted == 200), f"If-None-Match: {condition}")
            equal(headers["Connection"], "keep-alive", "the connection")
        equal(s.api.http("GET", path, headers={"If-None-Match": tag})[0], 401, "without a password")


def test_web_connection_limits():
    """Over maxConnections: 503 and closed; a place that becomes free is taken again."""
    with Managed() as s:
        port, web = listen(s, maxConnections=1)
        with connect(port) as first:
            first.sendall(b"GET /healthz/live HTTP/1.1\r\nHost: a\r\n\r\n")
            starts(first.recv(4096), b"HTTP/1.1 200 ", "the first connection")
            with connect(port) as second:
                starts(read_until_closed(second), b"HTTP/1.1 503 ", "the second connection")
            s.api.update("NetworkListener", web, maxConnections=2)
            equal(ask(port)[0], 200, "with a higher limit")
            s.api.update("NetworkListener", web, maxConnections=1)
            wait_until(lambda: ask(port)[0] == 200, 10, "the idle connection gives way")
            equal(first.recv(4096), b"", "the idle connection")
        wait_until(lambda: ask(port)[0] == 200, 10, "the place that became free")
        equal(s.api.http("GET", "/healthz/live", headers={})[0], 200, "the other listener")
