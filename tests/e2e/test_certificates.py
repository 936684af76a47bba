"""Several certificates: which of them a client is shown, by the name that it asks for."""

import os
import socket
import ssl
import subprocess

import lib
from lib import check, equal, free_port, wait_until
from test_management import Managed

NAMES = {"default": "mx.example.org", "exact": "b.mail.example", "wild": "*.mail.example", "other": "MX2.Example.NET"}


def make(folder, label, name, days=30):
    paths = [os.path.join(folder, f"{label}.{kind}") for kind in ("crt", "key")]
    subprocess.run([lib.need_program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-keyout", paths[1], "-out", paths[0], "-days", str(days), "-subj", f"/CN={label}",
                    "-addext", f"subjectAltName=DNS:{name}"], check=True, capture_output=True)
    return paths


def der(path):
    with open(path) as f:
        return ssl.PEM_cert_to_DER_cert(f.read())


def install(server, cert, key):
    return server.api.create("Certificate", certificate={"@type": "File", "filePath": cert},
                             privateKey={"@type": "File", "filePath": key})


class Shown:
    """Certificates by what they are called here."""

    def __init__(self, server):
        self.server, self.labels = server, {}

    def add(self, label, name, days=30):
        cert, key = make(self.server.folder, label, name, days)
        self.labels[der(cert)] = label
        return install(self.server, cert, key)

    def starttls(self, name, context=None):
        """Label of the certificate, and whether the session was resumed."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=60) as raw:
            lines = raw.makefile("rb")
            lines.readline()
            raw.sendall(b"EHLO client.example.net\r\n")
            while not lines.readline().startswith(b"250 "):
                pass
            raw.sendall(b"STARTTLS\r\n")
            equal(lines.readline()[:3], b"220", "STARTTLS")
            with (context or lib.no_verify()).wrap_socket(raw, server_hostname=name) as tls:
                tls.sendall(b"EHLO client.example.net\r\n")
                tls.recv(4096)
                return self.labels.get(tls.getpeercert(binary_form=True))

    def https(self, port, name):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
            with lib.no_verify().wrap_socket(raw, server_hostname=name) as tls:
                return self.labels.get(tls.getpeercert(binary_form=True))


ASKED = (("mx.example.org", "default"), ("b.mail.example", "exact"), ("B.Mail.Example", "exact"), ("a.mail.example", "wild"),
         ("a.b.mail.example", "default"), ("mail.example", "default"), ("mx2.example.net", "other"),
         ("nobody.example", "default"), (None, "default"))


def test_certificate_by_server_name():
    """STARTTLS, implicit TLS and management: exact names, wildcards of one label, else the default one; by live changes."""
    with Managed(cores=2) as s:
        shown = Shown(s)
        ids = {"default": shown.add("default", NAMES["default"])}
        s.api.update("SystemSettings", "singleton", defaultCertificateId=ids["default"])
        for label in ("exact", "wild", "other"):
            ids[label] = shown.add(label, NAMES[label])
        port = free_port()
        s.api.create("NetworkListener", name="web", bind={f"127.0.0.1:{port}": True}, protocol="http", tlsImplicit=True)
        for name, label in ASKED:
            equal(shown.starttls(name), label, f"over STARTTLS for {name}")
            equal(shown.https(port, name), label, f"of management for {name}")
        s.api.destroy("Certificate", ids["exact"])
        equal(shown.starttls("b.mail.example"), "wild", "once the exact one is gone")
        equal(shown.https(port, "b.mail.example"), "wild", "of management once the exact one is gone")
        s.api.update("SystemSettings", "singleton", defaultCertificateId=ids["other"])
        equal(shown.starttls("nobody.example"), "other", "with another default one")
        equal(shown.starttls("mx.example.org"), "default", "of the one that was the default")


def test_certificate_that_is_valid_for_longer():
    """Of two for one name the one is shown that is valid for longer, whichever was first; after a renewal, too."""
    with Managed() as s:
        shown = Shown(s)
        first = shown.add("default", NAMES["default"])
        s.api.update("SystemSettings", "singleton", defaultCertificateId=first)
        shown.add("short", "a.mail.example", days=10)
        equal(shown.starttls("a.mail.example"), "short", "the only one")
        shown.add("long", "a.mail.example", days=20)
        equal(shown.starttls("a.mail.example"), "long", "of two")
        shown.add("shorter", "a.mail.example", days=5)
        equal(shown.starttls("a.mail.example"), "long", "of three")


def test_certificate_files_that_are_gone():
    """A file of a certificate that is not the default one is missing, at a start or reload: it goes without, and says so."""
    with Managed() as s:
        shown = Shown(s)
        s.api.update("SystemSettings", "singleton", defaultCertificateId=shown.add("default", NAMES["default"]))
        shown.add("other", NAMES["other"])
        s.stop()
        os.remove(os.path.join(s.folder, "other.key"))
        s.start()
        line = wait_until(lambda: next((x for x in s.log().splitlines() if " certificate-skipped " in x), None), 60,
                          "a log line that tells of it")
        check("field privateKey" in line and "default one" in line, line)
        equal(shown.starttls("mx2.example.net"), "default", "the certificate")
        s.api.create("Action", **{"@type": "ReloadTlsCertificates"})
        wait_until(lambda: s.log().count(" certificate-skipped ") == 2, 60, "a reload tells of it as well")


def test_sessions_stay_with_their_certificate():
    """A session that began under one certificate is not resumed where another one is shown."""
    with Managed(cores=1) as s:
        shown = Shown(s)
        s.api.update("SystemSettings", "singleton", defaultCertificateId=shown.add("default", NAMES["default"]))
        shown.add("other", NAMES["other"])
        port = free_port()
        s.api.create("NetworkListener", name="web", bind={f"127.0.0.1:{port}": True}, protocol="http", tlsImplicit=True)
        context = lib.no_verify()

        def visit(name, session=None):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
                with context.wrap_socket(raw, server_hostname=name, session=session) as tls:
                    tls.sendall(b"GET /healthz/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    while tls.recv(4096):
                        pass
                    return tls.session, tls.session_reused
        session, reused = visit("mx.example.org")
        equal(reused, False, "a first visit")
        equal(visit("mx.example.org", session)[1], True, "the same name again")
        equal(visit("mx2.example.net", session)[1], False, "another certificate")
