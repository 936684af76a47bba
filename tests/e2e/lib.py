"""What the end-to-end tests share: the real server in a temporary folder, a raw client, a sink."""

import errno
import itertools
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

os.environ.setdefault("RINGMX_HTTP", "off")  # tests of the management endpoint give --http

BUILD = None  # folder of the ringmx binary
POSTFIX = None  # folder with Debian's postfix unpacked, or None
EXIM = None  # the same with exim4-daemon-light and its libraries
DNS = None  # the same with nsd and unbound
DOVECOT = None  # the same with dovecot-core and dovecot-lmtpd
NO_REPLY = object()  # a sink's hook: say nothing
DROP = object()  # a sink's hook: close the connection

running = []  # servers of the test that runs now, for reports and cleaning up
work_folders = []


class Fail(Exception):
    """A test's expectation that does not hold."""


class Skip(Exception):
    """A test that cannot run here, with the reason."""


def how_to_repeat(command):
    """What a failure says last."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                            cwd=os.path.dirname(os.path.abspath(__file__)), check=False).stdout.strip()
    return f"commit {commit or 'unknown'}; repeat: {command}"


def check(holds, why):
    if not holds:
        raise Fail(why)


def equal(got, want, what):
    if got != want:
        raise Fail(f"{what}: got {short(got)}, expected {short(want)}")


def starts(text, prefix, what):
    if not text.startswith(prefix):
        raise Fail(f"{what}: got {short(text)}, expected {short(prefix)}...")


def short(value):
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:200]}...{text[-80:]} ({len(value)})"


PATIENCE_S = 60  # for what has to come: a machine that is busy, or a process that was not run, is no failure


def wait_until(condition, seconds, what):
    """Waits for a condition; returns what it yields. Takes the seconds on a quiet machine, at most; it is no proof
    that something comes soon."""
    seconds = max(seconds, PATIENCE_S)
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Fail(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def comes_to(read, want, what, seconds=10):
    """A count, which a core may raise a moment behind the reply that it counts."""
    end = time.monotonic() + max(seconds, PATIENCE_S)
    while read() != want and time.monotonic() < end:
        time.sleep(0.02)
    equal(read(), want, what)


port_claims = []  # sockets: each claims a port for as long as this process lives


def free_port():
    """A loopback port below the range from which the kernel gives out ports by itself. No other test gets it, not
    even before anybody listens there: its number is the name of a socket, of which the kernel allows one. Whether
    somebody else listens is asked by a connection, not by bind(2): a process that another thread starts just then
    would hold the bound socket until its exec."""
    while True:
        port, claim = random.randrange(20000, 32000), socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0ringmx-test-port-{port}")
        except OSError:
            claim.close()
            continue
        port_claims.append(claim)
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED:
                return port


def work_folder():
    folder = tempfile.mkdtemp(prefix="ringmx-e2e-")
    work_folders.append(folder)
    return folder


def clean_up():
    """After a test, whatever its outcome."""
    for server in running:
        server.kill()
    running.clear()
    for folder in work_folders:
        shutil.rmtree(folder, ignore_errors=True)
    work_folders.clear()


def need_program(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise Skip(f"{name} is not installed")
    return path


def postfix_program(name):
    """Path and environment of a program of Debian's postfix package."""
    if POSTFIX is None:
        raise Skip("needs --postfix DIR with Debian's postfix package unpacked")
    path = os.path.join(POSTFIX, "usr/sbin", name)
    if not os.path.exists(path):
        raise Skip(f"{path} does not exist")
    return path, dict(os.environ, LD_LIBRARY_PATH=os.path.join(POSTFIX, "usr/lib/postfix"))


def ringmx():
    return os.path.join(BUILD, "ringmx")


def run_ringmx(*args):
    return subprocess.run([ringmx(), *args], capture_output=True, text=True, timeout=60)


# Plans


def update(name, **value):
    return {"@type": "update", "object": name, "value": value}


def constant(value):
    """An expression with one value."""
    return {"match": {}, "else": str(value)}


def session_limits(**limits):
    return update("MtaInboundSession", **{k: constant(v) for k, v in limits.items()})


# Whole dialogues in one segment are carried out.
TOLERANT = update("MtaInboundSession", unauthorizedPipelining="tolerate")


def relay_route(port, name="source", **fields):
    value = {"@type": "Relay", "name": name, "address": "127.0.0.1", "port": port, "protocol": "smtp",
             "allowInvalidCerts": True} | fields
    return {"@type": "upsert", "object": "MtaRoute", "matchOn": ["name"], "value": {f"r-{name}": value}}


SPLIT = {"match": {"0": {"if": "is_local_address(rcpt)", "then": "'local'"},
                   "1": {"if": "is_local_domain(rcpt_domain)", "then": "'source'"}}, "else": "'mx'"}
LOCAL = {"match": {"0": {"if": "is_local_domain(rcpt_domain)", "then": "'local'"}}, "else": "'mx'"}


# Nobody listens there: tests ask no name server but their own.
NO_RESOLVER = update("DnsResolver", **{"@type": "Custom", "servers": {"127.0.0.1:9": True}})


def base_plan(listeners, relay=None, users=("alice",), allow_relaying=True, relay_fields=None,
              settings=None, strategy=None, extra=()):
    """example.org with local users; everybody else of it on the relay's port when there is one."""
    accounts = {f"u-{u}": {"@type": "User", "name": u, "domainId": "#d"} for u in users}
    plan = [
        {"@type": "upsert", "object": "Domain", "matchOn": ["name"],
         "value": {"d": {"name": "example.org", "allowRelaying": allow_relaying}}},
        update("SystemSettings", defaultHostname="mx.example.org", defaultDomainId="#d",
               **(settings or {})),
        {"@type": "create", "object": "Account", "value": accounts},
        {"@type": "destroy", "object": "NetworkListener"},
        {"@type": "create", "object": "NetworkListener", "value": listeners},
    ]
    if relay is not None:
        plan.append(relay_route(relay, **(relay_fields or {})))
    if strategy is None:
        strategy = LOCAL if relay is None else SPLIT
    plan.append(update("MtaOutboundStrategy", route=strategy))
    plan.append(NO_RESOLVER)
    plan.extend(extra)
    return plan


def listener(port, **fields):
    return {"name": fields.pop("name", "smtp"), "bind": {f"127.0.0.1:{port}": True}} | fields


class Server:
    """The real process on a free port, as a context: stopped by SIGTERM, which must end with 0."""

    def __init__(self, relay=None, cores=2, retry_ms=300, args=(), start=True, folder=None,
                 data=None, listeners=None, fields=None, env_more=None, **plan):
        self.folder = folder or work_folder()
        self.data = data or os.path.join(self.folder, "data")
        self.port = free_port()
        self.cores, self.retry_ms, self.args = cores, retry_ms, list(args)
        self.env = dict(os.environ, **env_more) if env_more else None
        self.process = None
        self.prefix, self.pass_fds = [], ()  # a launcher, and what it hands over
        self.log_path = os.path.join(self.folder, "log")
        if listeners is None:
            listeners = {"l": listener(self.port, **(fields or {}))}
        self.apply(base_plan(listeners, relay=relay, **plan))
        if start:
            self.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            if self.process is not None:
                self.stop()
        else:
            self.kill()

    def apply(self, plan, expect=0):
        path = os.path.join(self.folder, "plan.ndjson")
        with open(path, "w") as f:
            f.writelines(json.dumps(line) + "\n" for line in plan)
        done = run_ringmx("apply", "--data", self.data, path)
        equal(done.returncode, expect, f"exit code of apply ({done.stderr.strip()})")
        return done

    def spawn(self, cores=None, preexec_fn=None, env=None):
        if self not in running:
            running.append(self)
        command = [*self.prefix, ringmx(), "serve", "--data", self.data, "--cores", str(cores or self.cores)]
        if self.retry_ms is not None:
            command += ["--retry-ms", str(self.retry_ms)]
        with open(self.log_path, "ab") as log:
            self.log_start = log.tell()
            self.process = subprocess.Popen(command + self.args, stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, preexec_fn=preexec_fn,
                                            pass_fds=self.pass_fds, env=env or self.env)

    def start(self, cores=None, seconds=20, env=None):
        self.spawn(cores, env=env)

        def ready():
            if self.process.poll() is not None:
                raise Fail(f"the server ended with {self.process.returncode}: {self.log()[-300:]}")
            log = self.log()
            return " ready " in log or '"event":"ready"' in log
        wait_until(ready, seconds, "the log line 'ready'")

    def log(self):
        """The log of the present process."""
        with open(self.log_path, "rb") as f:
            f.seek(self.log_start)
            return f.read().decode(errors="replace")

    def signal(self, number):
        self.process.send_signal(number)

    def ended(self, seconds=PATIENCE_S):
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Fail(f"the server did not end within {seconds} s") from None
        self.process = None
        return code

    def stop(self, seconds=PATIENCE_S):
        check(self.process.poll() is None, f"the server ended by itself: {self.log()[-500:]}")
        self.signal(signal.SIGTERM)
        equal(self.ended(seconds), 0, "exit code after SIGTERM")

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def queue(self, *args):
        """Output of `ringmx queue`; the server must be stopped."""
        command, *rest = args or ("list",)
        done = run_ringmx("queue", command, *rest, "--data", self.data)
        equal(done.returncode, 0, f"exit code of queue {command} ({done.stderr.strip()})")
        return done.stdout

    def mailbox(self, local="alice", domain="example.org"):
        """Every message in a mailbox, as bytes."""
        folder = os.path.join(self.data, "mail", domain, local, "new")
        if not os.path.isdir(folder):
            return []
        messages = []
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), "rb") as f:
                messages.append(f.read())
        return messages

    def delivered(self, count=1, local="alice", seconds=15):
        """Waits for exactly so many messages in a mailbox."""
        wait_until(lambda: len(self.mailbox(local)) >= count, seconds,
                   f"{count} messages in the mailbox of {local}")
        found = self.mailbox(local)
        equal(len(found), count, f"messages in the mailbox of {local}")
        return found

    def wire(self, hello=True, port=None, **options):
        wire = Wire(port or self.port, **options)
        if hello:
            wire.hello()
        return wire

    def submit(self, to, body=b"Subject: x\r\n\r\nhello\r\n", sender="sender@example.net",
               mail_args=""):
        """One message by DATA in a session of its own; returns the queue id."""
        with self.wire() as w:
            return w.message(to, body, sender, mail_args)


class Wire:
    """A raw SMTP client."""

    def __init__(self, port, seconds=PATIENCE_S, first=b"", host="127.0.0.1"):
        self.sock = socket.create_connection((host, port), timeout=seconds)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        if first:
            self.send(first)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def fill(self):
        data = self.sock.recv(65536)
        self.buffer += data
        return data

    def line(self):
        while b"\n" not in self.buffer:
            try:
                data = self.fill()
            except (TimeoutError, OSError) as e:
                raise Fail(f"no reply: {e!r}") from None
            if not data:
                raise Fail(f"connection closed, before it: {self.buffer!r}")
        line, self.buffer = self.buffer.split(b"\n", 1)
        check(line.endswith(b"\r"), f"reply line without CR: {line!r}")
        return line[:-1].decode()

    def reply(self):
        """One reply, its lines joined by LF."""
        lines = [self.line()]
        while lines[-1][3:4] == "-":
            lines.append(self.line())
        return "\n".join(lines)

    def cmd(self, command):
        self.send(command.encode() + b"\r\n" if isinstance(command, str) else command + b"\r\n")
        return self.reply()

    def expect(self, command, prefix):
        """Sends a command; its reply must start so."""
        got = self.cmd(command)
        starts(got, prefix, f"reply to {short(command)}")
        return got

    def then(self, prefix, what="reply"):
        got = self.reply()
        starts(got, prefix, what)
        return got

    def hello(self):
        self.then("220 ", "banner")
        return self.expect("EHLO client.example.net", "250-")

    def begin(self, to, sender="sender@example.net", mail_args=""):
        self.expect(f"MAIL FROM:<{sender}>{mail_args}", "250 2.1.0")
        for rcpt in [to] if isinstance(to, str) else to:
            self.expect(f"RCPT TO:<{rcpt}>", "250 2.1.5")

    def message(self, to, body, sender="sender@example.net", mail_args=""):
        self.begin(to, sender, mail_args)
        self.expect("DATA", "354")
        self.send(stuff(body) + b".\r\n")
        return queue_id(self.then("250 2.0.0", "reply after the data"))

    def at_end(self):
        """The server closes, and nothing comes before that."""
        try:
            while self.fill():
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            raise Fail("the connection stays open") from None
        equal(self.buffer, b"", "bytes before the end of the connection")

    def start_tls(self):
        context = no_verify()
        self.sock = context.wrap_socket(self.sock)
        self.buffer = b""


def no_verify():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def stuff(body):
    """Content (ending in CRLF or empty) as it goes after DATA, without the final dot."""
    return (b"\r\n" + body).replace(b"\r\n.", b"\r\n..")[2:]


def queue_id(reply):
    return reply.rsplit(" ", 1)[1]


def split_local(message):
    """A Maildir file as (Return-Path, Delivered-To, Received, the rest as it was sent)."""
    return_path, rest = message.split(b"\r\n", 1)
    starts(return_path, b"Return-Path: <", "first line of the mailbox copy")
    delivered_to, rest = rest.split(b"\r\n", 1)
    starts(delivered_to, b"Delivered-To: ", "second line of the mailbox copy")
    received, rest = split_received(rest)
    return return_path, delivered_to, received, rest


def split_received(message):
    """(Received as one line, the rest)."""
    starts(message, b"Received: ", "trace header")
    lines = message.split(b"\r\n")
    count = 1
    while lines[count][:1] in (b" ", b"\t"):
        count += 1
    header = b" ".join(line.strip() for line in lines[:count])
    return header.decode(), b"\r\n".join(lines[count:])


# The sink: a next hop that records what it gets and misbehaves as told.


class SinkMessage:
    def __init__(self, session):
        self.connection = session.number
        self.tls = session.tls
        self.sender = None
        self.mail = None  # text after MAIL FROM:
        self.rcpts = []  # accepted ones, as spelled
        self.rcpt_lines = []
        self.by = None  # DATA or BDAT
        self.chunks = 0
        self.data = b""


class Sink:
    """An SMTP or LMTP server. hook(session, verb, line) returns a reply without CRLF, NO_REPLY,
    DROP, or None for the usual; verbs are the commands, BANNER, EOD (the end of the data), and under
    LMTP RESULT with the recipient as the line."""

    ALL = ("PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN",
           "ENHANCEDSTATUSCODES")

    def __init__(self, extensions=ALL, lmtp=False, hook=None, tls=None, start=True, port=None,
                 address="127.0.0.1"):
        self.extensions, self.lmtp, self.hook, self.tls = list(extensions), lmtp, hook, tls
        self.port, self.address = port or free_port(), address
        self.messages, self.commands = [], []
        self.connections = 0
        self.lock = threading.Lock()
        self.listening = None
        self.open_sockets = set()
        if start:
            self.start()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.stop()

    def start(self):
        self.listening = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET)
        self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listening.bind((self.address, self.port))
        self.listening.listen(1024)
        threading.Thread(target=self.accept, args=(self.listening,), daemon=True).start()

    def stop(self):
        if self.listening is not None:
            try:
                self.listening.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.listening.close()
            self.listening = None
        with self.lock:
            sockets = list(self.open_sockets)
        for s in sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def accept(self, listening):
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        with self.lock:
            self.connections += 1
            number = self.connections
            self.open_sockets.add(sock)
        try:
            SinkSession(self, sock, number).run()
        except (OSError, EOFError, ssl.SSLError):
            pass
        finally:
            with self.lock:
                self.open_sockets.discard(sock)
            sock.close()

    def got(self, count=1, seconds=15):
        """Waits for exactly so many messages."""
        wait_until(lambda: len(self.messages) >= count, seconds, f"{count} messages at the sink")
        equal(len(self.messages), count, "messages at the sink")
        return self.messages

    def verbs(self, connection=None):
        return [c.split(" ")[0].upper() for n, c in self.commands if connection in (None, n)]


class SinkSession:
    def __init__(self, sink, sock, number):
        self.sink, self.sock, self.number = sink, sock, number
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.tls = False
        self.message = None

    def fill(self):
        data = self.sock.recv(262144)
        if not data:
            raise EOFError
        self.buffer += data

    def line(self):
        while (end := self.buffer.find(b"\r\n")) < 0:
            self.fill()
        line = bytes(self.buffer[:end])
        del self.buffer[:end + 2]
        return line.decode("utf-8", "surrogateescape")

    def take(self, count):
        while len(self.buffer) < count:
            self.fill()
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def dotted(self):
        if self.buffer.startswith(b".\r\n"):
            return b"" if self.take(3) else b""
        start = 0
        while True:
            if self.buffer.startswith(b".\r\n"):
                self.take(3)
                return b""
            end = self.buffer.find(b"\r\n.\r\n", start)
            if end >= 0:
                break
            start = max(0, len(self.buffer) - 4)
            self.fill()
        data = self.take(end + 5)[:-3]
        return (b"\r\n" + data).replace(b"\r\n.", b"\r\n")[2:]

    def say(self, verb, line, usual):
        """False when the connection is over. The reply given is in self.said."""
        told = self.sink.hook(self, verb, line) if self.sink.hook else None
        if told is DROP:
            raise EOFError
        self.said = usual if told is None else told
        if self.said is not NO_REPLY:
            self.sock.sendall(self.said.encode() + b"\r\n")
        return self.said is not NO_REPLY and self.said[:1] in ("2", "3")

    def run(self):
        if self.sink.tls and "STARTTLS" not in self.sink.extensions:
            self.upgrade()
        if not self.say("BANNER", "", "220 sink.example.net ESMTP"):
            return
        while True:
            line = self.line()
            verb = line.split(" ")[0].upper()
            with self.sink.lock:
                self.sink.commands.append((self.number, line))
            if verb == "QUIT":
                self.say(verb, line, "221 2.0.0 Bye")
                return
            getattr(self, "do_" + verb.lower(), self.do_unknown)(verb, line)

    def upgrade(self):
        self.sock = self.sink.tls.wrap_socket(self.sock, server_side=True)
        self.tls = True

    def do_unknown(self, verb, line):
        self.say(verb, line, "500 5.5.2 Unknown command")

    def do_ehlo(self, verb, line):
        lines = ["sink.example.net"] + [e for e in self.sink.extensions
                                        if e != "STARTTLS" or not self.tls]
        text = "\r\n".join("250-" + t for t in lines[:-1])
        self.say(verb, line, (text + "\r\n" if text else "") + "250 " + lines[-1])

    do_lhlo = do_ehlo

    def do_helo(self, verb, line):
        self.say(verb, line, "250 sink.example.net")

    def do_rset(self, verb, line):
        self.message = None
        self.say(verb, line, "250 2.0.0 OK")

    def do_noop(self, verb, line):
        self.say(verb, line, "250 2.0.0 OK")

    def do_starttls(self, verb, line):
        if self.say(verb, line, "220 2.0.0 Go on"):
            self.buffer.clear()
            self.message = None
            self.upgrade()

    def do_mail(self, verb, line):
        if self.say(verb, line, "250 2.1.0 OK"):
            self.message = SinkMessage(self)
            self.message.mail = line[len("MAIL FROM:"):]
            self.message.sender = self.message.mail.split(">")[0].lstrip("<")

    def do_rcpt(self, verb, line):
        if self.message is None:
            self.say(verb, line, "503 5.5.1 MAIL first")
            return
        self.message.rcpt_lines.append(line[len("RCPT TO:"):])
        if self.say(verb, line, "250 2.1.5 OK"):
            self.message.rcpts.append(line[len("RCPT TO:"):].split(">")[0].lstrip("<"))

    def do_data(self, verb, line):
        if self.message is None or not self.message.rcpts:
            self.say(verb, line, "503 5.5.1 RCPT first" if self.message is None
                     else "554 5.5.1 No valid recipients")
            return
        if self.say(verb, line, "354 Go"):
            self.message.by = "DATA"
            self.message.data = self.dotted()
            self.end()

    def do_bdat(self, verb, line):
        words = line.split(" ")
        data = self.take(int(words[1]))
        if self.message is None or not self.message.rcpts:
            self.say(verb, line, "503 5.5.1 RCPT first")
            return
        self.message.by = "BDAT"
        self.message.chunks += 1
        self.message.data += data
        if len(words) == 3 and words[2].upper() == "LAST":
            self.end()
        elif not self.say(verb, line, "250 2.0.0 OK"):
            self.message = None

    def end(self):
        message, self.message = self.message, None
        if not self.sink.lmtp:
            # Recorded before the reply leaves, as a real server would.
            told = self.sink.hook(self, "EOD", message) if self.sink.hook else None
            if told is None or (isinstance(told, str) and told.startswith("2")):
                with self.sink.lock:
                    self.sink.messages.append(message)
            if told is DROP:
                raise EOFError
            if told is not NO_REPLY:
                self.sock.sendall((told or "250 2.0.0 Taken").encode() + b"\r\n")
            return
        accepted, message.rcpts = message.rcpts, []
        replies = []
        for rcpt in accepted:
            told = self.sink.hook(self, "RESULT", rcpt) if self.sink.hook else None
            if told is DROP:
                raise EOFError
            replies.append(told or "250 2.0.0 Taken")
            if replies[-1].startswith("2"):
                message.rcpts.append(rcpt)
        if message.rcpts:
            with self.sink.lock:
                self.sink.messages.append(message)
        self.sock.sendall("".join(r + "\r\n" for r in replies).encode())


def throwaway_certificate(folder, name="sink.example.net"):
    """(certificate path, key path), self-signed."""
    need_program("openssl")
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", f"/CN={name}"],
                   check=True, capture_output=True)
    return cert, key


def sink_tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*throwaway_certificate(work_folder()))
    return context


counter = itertools.count(1)


def marked(text="hello"):
    """A message of its own with CRLF line ends."""
    number = next(counter)
    return f"From: sender@example.net\r\nSubject: {text} {number}\r\n\r\n{text} {number}\r\n".encode()
