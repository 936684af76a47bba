"""False ends of data (SMTP smuggling) and commands injected before TLS, against the real process and real next hops.

Every sequence of CR, LF and dot up to six bytes stands where an end of data would, with a whole envelope behind it."""

import glob
import itertools
import os
import re
import socket
import ssl
import subprocess

import lib
from lib import (Server, Sink, Skip, Wire, check, constant, equal, free_port, postfix_program,
                 session_limits, sink_tls, split_received, starts, update, wait_until, work_folder)

INJECTED = (b"MAIL FROM:<evil@example.net>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nSubject: evil\r\n\r\nx\r\n.\r\n")
PUBLISHED = (b"\r\r\n.\r\r\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n. \r\n", b"\r\n .\r\n", b"\r\n\x1a.\r\n")
LIMITS = (session_limits(maxErrors=1000000, maxCommands=1000000), update("MtaStageData", maxMessages=constant(100000)))
NORMALIZE = update("MtaStageData", bareNewlines="normalize")


def sequences(longest):
    for length in range(longest + 1):
        for chosen in itertools.product(b"\r\n.", repeat=length):
            yield bytes(chosen)
    yield from PUBLISHED


def contents(longest):
    """(what goes behind the 354 without its end, the same as it is to arrive in normalize mode)"""
    for number, (sequence, before) in enumerate(itertools.product(sequences(longest), (b"ab", b"ab\r\n"))):
        raw = b"Subject: m%d\r\n\r\n" % number + before + sequence + INJECTED[:-3]
        if b"\r\n.\r\n" in raw:
            continue  # the true end: the client itself goes on with another message
        plain = (b"\r\n" + raw).replace(b"\r\n.", b"\r\n")[2:]
        yield raw, re.sub(rb"\r\n|\r|\n", b"\r\n", plain)


def is_odd(content):
    return re.search(rb"(?<!\r)\n|\r(?!\n)|\0", content) is not None


def send_all(port, raws):
    """Each as a message to bob in one connection; the reply to each. One reply per command, or the next is wrong."""
    replies = []
    with Wire(port) as w:
        w.hello()
        for raw in raws:
            w.send(b"MAIL FROM:<a@example.net>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n")
            for prefix in ("250 2.1.0", "250 2.1.5", "354 "):
                w.then(prefix)
            w.send(raw + b".\r\nNOOP\r\n")
            replies.append(w.reply())
            w.then("250 2.0.0 OK", f"reply to what follows {raw!r}")
        w.expect("QUIT", "221")
    return replies


def number_of(content):
    return int(re.search(rb"Subject: m(\d+)\r\n", content).group(1))


def same(got, wanted):
    """The messages at a receiver, without trace headers of ours: each once, byte for byte."""
    equal(len(got), len(wanted), "messages at the next hop")
    for have, want in zip(sorted(got, key=number_of), sorted(wanted, key=number_of)):
        equal(have, want, "content at the next hop")


def test_false_ends_refused():
    """Every sequence of CR, LF and dot: 550 5.5.2 if it is no content of lines, else relayed as it is; nothing ever splits."""
    cases = list(contents(6))
    with Sink() as sink, Server(relay=sink.port, extra=LIMITS) as s:
        wanted = []
        for (raw, whole), reply in zip(cases, send_all(s.port, [raw for raw, _ in cases])):
            starts(reply, "550 5.5.2" if is_odd(raw) else "250 2.0.0", f"reply to {raw!r}")
            if not is_odd(raw):
                wanted.append(whole)
        check(len(wanted) >= 50, f"{len(wanted)} taken")
        same([split_received(m.data)[1] for m in sink.got(len(wanted), 60)], wanted)


def test_false_ends_chunked():
    """The same by BDAT, all in one segment: what is taken goes on by DATA, stuffed, to a next hop without CHUNKING."""
    with Sink([e for e in Sink.ALL if e != "CHUNKING"]) as sink, Server(relay=sink.port, extra=LIMITS) as s:
        wanted = []
        with s.wire() as w:
            for number, sequence in enumerate(sequences(5)):
                body = b"Subject: m%d\r\n\r\nab" % number + sequence + INJECTED
                w.begin("bob@example.org")
                w.send(b"BDAT %d LAST\r\n" % len(body) + body + b"NOOP\r\n")
                w.then("550 5.5.2" if is_odd(body) else "250 2.0.0", f"reply to {body!r}")
                w.then("250 2.0.0 OK")
                if not is_odd(body):
                    wanted.append(body)
        check(any(b"\r\n.\r\n" in body[:-3] for body in wanted), "no dot alone was taken")
        same([split_received(m.data)[1] for m in sink.got(len(wanted), 60)], wanted)
        equal({m.by for m in sink.messages}, {"DATA"}, "how it was sent")


def test_binary_content_bounces_in_lines():
    """A notice about BINARYMIME content that no next hop takes: nothing in it ends the data at a lenient server."""
    body = b"Subject: x\n.\nMAIL FROM:<evil@example.net>\r.\r\n\0.\r\nRCPT TO:<bob@example.org>\n.\r\n\r\nx\n.\n"
    with Sink() as sink, Server(relay=sink.port, extra=[update("MtaStageData", binaryMime=True)]) as s:
        for by in ("HDRS", "FULL"):
            with s.wire() as w:
                w.begin("bob@example.org", "carol@example.org", f" BODY=BINARYMIME RET={by}")
                w.send(b"BDAT %d LAST\r\n" % len(body) + body)
                w.then("250 2.0.0")
        for notice in sink.got(2):
            equal((notice.sender, notice.rcpts), ("", ["carol@example.org"]), "whose notice")
            check(b"MAIL FROM:<evil@example.net>" in notice.data, "the header is not quoted")
            check(not is_odd(notice.data), f"bare CR, LF or NUL in {notice.data!r}")


# Real next hops. What they take for the end of data is theirs: they may not be led astray.


def relay_normalized(port, cases):
    """What ringmx makes of the cases with bareNewlines normalize goes to this port; how they are to arrive."""
    with Server(relay=port, extra=[*LIMITS, NORMALIZE]) as s:
        wanted = []
        for (raw, whole), reply in zip(cases, send_all(s.port, [raw for raw, _ in cases])):
            starts(reply, "550 5.5.2" if b"\0" in raw else "250 2.0.0", f"reply to {raw!r}")
            if b"\0" not in raw:
                wanted.append(whole)
        wait_until(lambda: s.log().count(" delivered ") >= len(wanted), 60, f"{len(wanted)} deliveries")
        equal(s.log().count(" delivered "), len(wanted), "deliveries")
        s.stop()
        equal(s.queue().strip(), "0 messages", "queue")
    return wanted


def listening(process, port):
    def up():
        check(process.poll() is None, f"the next hop ended with {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as sock:
                return sock.recv(4) == b"220 "
        except OSError:
            return False
    wait_until(up, 20, "the next hop listens")


def stop(process):
    process.terminate()
    process.wait(20)


def in_crlf(text):
    """A message that a receiver keeps with LF at the ends of its lines."""
    check(b"\r" not in text, f"CR in {text!r}")
    return text.replace(b"\n", b"\r\n")


def own_part(message):
    """Behind all trace and other headers that were added on top of it."""
    return message[message.index(b"Subject: m"):]


def test_false_ends_smtp_sink():
    """Normalized and relayed to smtp-sink, which takes LF alone for a line's end."""
    program, environment = postfix_program("smtp-sink")
    port, folder = free_port(), work_folder()
    os.chmod(folder, 0o777)
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    sink = subprocess.Popen([program, *user, "-d", os.path.join(folder, "m."), f"inet:127.0.0.1:{port}", "100"],
                            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        listening(sink, port)
        wanted = relay_normalized(port, list(contents(6)))
        got = []
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), "rb") as f:
                got.append(f.read())
        same([own_part(in_crlf(text)).removesuffix(b"\r\n") for text in got], wanted)  # it ends each with an empty line
    finally:
        stop(sink)


NAMES = {"passwd": "postfix:x:64990:64990::/:/bin/false\nDebian-exim:x:64991:64991::/:/bin/false\n",
         "group": "postfix:x:64990:\npostdrop:x:64992:\nDebian-exim:x:64991:\n"}


class Unpacked:
    """Programs of a Debian package that was only unpacked, run as if it were installed: with the users and groups that
    it needs, in mounts of their own."""

    def __init__(self, libraries, **environment):
        if os.getuid() != 0:
            raise Skip("the next hop has to be started as root")
        self.folder = work_folder()
        os.chmod(self.folder, 0o755)
        self.environment = dict(os.environ, LD_LIBRARY_PATH=libraries, **environment)
        self.script = ""
        for name, own in NAMES.items():
            with open(os.path.join("/etc", name), encoding="utf-8") as f:
                others = [line for line in f if not re.match("postfix:|postdrop:|Debian-exim:", line)]
            with open(os.path.join(self.folder, name), "w", encoding="utf-8") as f:
                f.write("".join(others) + own)
            self.script += f"mount --bind {self.folder}/{name} /etc/{name} && "

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as f:
            f.write(text)

    def start(self, *command):
        log = open(os.path.join(self.folder, "output"), "ab")  # the process has it
        with log:
            return subprocess.Popen([lib.need_program("unshare"), "-m", "sh", "-c", self.script + 'exec "$@"', "sh", *command],
                                    env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def output(self, *command):
        return subprocess.run([lib.need_program("unshare"), "-m", "sh", "-c", self.script + 'exec "$@"', "sh", *command],
                              env=self.environment, capture_output=True, check=True, timeout=60).stdout


MAIN_CF = """compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
meta_directory = {folder}
command_directory = {postfix}/usr/sbin
daemon_directory = {postfix}/usr/lib/postfix/sbin
shlib_directory = {postfix}/usr/lib/postfix
import_environment = MAIL_CONFIG={folder} LD_LIBRARY_PATH={postfix}/usr/lib/postfix
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
myhostname = hop.example.net
mydestination =
local_recipient_maps =
relay_domains = example.org
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
local_header_rewrite_clients =
smtpd_peername_lookup = no
smtpd_recipient_restrictions = permit_mynetworks
smtpd_forbid_bare_newline = no
smtpd_discard_ehlo_keywords = {without}
"""
MASTER_CF = """127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
rewrite unix - - n - - trivial-rewrite
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""
POSTFIX_FOLDERS = ("incoming", "active", "deferred", "bounce", "defer", "hold", "corrupt", "saved", "trace", "private",
                   "public", "maildrop")


def through_postfix(without):
    """Normalized and relayed to Postfix, which is told to take LF alone for a line's end; its queue is looked into."""
    postfix_program("postcat")
    port = free_port()
    hop = Unpacked(os.path.join(lib.POSTFIX, "usr/lib/postfix"))
    hop.environment["MAIL_CONFIG"] = hop.folder
    values = {"folder": hop.folder, "postfix": lib.POSTFIX, "port": port, "without": without}
    hop.write("main.cf", MAIN_CF.format(**values))
    hop.write("master.cf", MASTER_CF.format(**values))
    os.makedirs(os.path.join(hop.folder, "queue/pid"))
    os.mkdir(os.path.join(hop.folder, "data"))
    os.chown(os.path.join(hop.folder, "data"), 64990, 64990)
    for name in POSTFIX_FOLDERS:
        os.mkdir(os.path.join(hop.folder, "queue", name))
        os.chown(os.path.join(hop.folder, "queue", name), 64990, 64992)
    process = hop.start(f"{lib.POSTFIX}/usr/lib/postfix/sbin/master", "-c", hop.folder, "-d")
    try:
        listening(process, port)
        with Wire(port) as w:  # it does take LF dot LF for the end
            w.hello()
            w.begin("bob@example.org")
            w.expect("DATA", "354")
            w.send(b"Subject: m999999\r\n\r\nab\n.\nQUIT\r\n")
            w.then("250 2.0.0 Ok: queued")
            w.then("221")
        wanted = relay_normalized(port, list(contents(3))) + [b"Subject: m999999\r\n\r\nab\r\n"]
        incoming = os.path.join(hop.folder, "queue/incoming")
        shown = hop.output(f"{lib.POSTFIX}/usr/sbin/postcat", *(os.path.join(incoming, n) for n in os.listdir(incoming)))
        got = re.findall(rb"\*\*\* MESSAGE CONTENTS [^\n]*\*\*\*\n(.*?)\*\*\* HEADER EXTRACTED", shown, re.DOTALL)
        same([own_part(in_crlf(text)) for text in got], wanted)
        with open(os.path.join(hop.folder, "log"), encoding="utf-8", errors="replace") as f:
            check("evil@example.net" not in f.read(), "an injected sender")
    finally:
        stop(process)


def test_false_ends_postfix():
    """Postfix as the next hop, by BDAT."""
    through_postfix("")


def test_false_ends_postfix_data():
    """Postfix as the next hop, by DATA."""
    through_postfix("chunking, silent-discard")


EXIM_CONF = """primary_hostname = hop.example.net
spool_directory = {folder}/spool
log_file_path = {folder}/spool/log-%s
pid_file_path = {folder}/spool/pid
keep_environment =
queue_only = true
split_spool_directory = false
tls_advertise_hosts =
{without}
acl_smtp_rcpt = accept
acl_smtp_data = accept
host_lookup =
rfc1413_hosts =
smtp_accept_max = 100
begin acl
accept:
  accept
"""


def through_exim(without):
    """Normalized and relayed to Exim; its queue is looked into."""
    program = os.path.join(lib.EXIM or "", "usr/sbin/exim4")
    if lib.EXIM is None or not os.path.exists(program):
        raise Skip("needs --exim DIR with Debian's exim4-daemon-light package unpacked")
    port = free_port()
    hop = Unpacked(":".join(glob.glob(os.path.join(lib.EXIM, "usr/lib/*-linux-gnu"))))
    hop.write("conf", EXIM_CONF.format(folder=hop.folder, without=without))
    spool = os.path.join(hop.folder, "spool")
    os.mkdir(spool)
    os.chown(spool, 64991, 64991)
    process = hop.start(program, "-C", os.path.join(hop.folder, "conf"), "-bdf", "-oX", f"127.0.0.1.{port}")
    try:
        listening(process, port)
        wanted = relay_normalized(port, list(contents(3)))
        got = []
        for name in os.listdir(os.path.join(spool, "input")):
            if name.endswith("-D"):
                with open(os.path.join(spool, "input", name), "rb") as f:
                    body = f.read().split(b"\n", 1)[1]  # behind its own name
                with open(os.path.join(spool, "input", name[:-1] + "H"), "rb") as f:
                    header = f.read()
                check(header.split(b"\n")[2] == b"<a@example.net>", f"sender: {header!r}")
                got.append(in_crlf(b"Subject: m%d\n\n" % int(re.search(rb"Subject: m(\d+)\n", header).group(1)) + body))
        same(got, wanted)
    finally:
        stop(process)


def test_false_ends_exim():
    """Exim as the next hop, by BDAT."""
    through_exim("")


def test_false_ends_exim_data():
    """Exim as the next hop, by DATA."""
    through_exim("chunking_advertise_hosts =")


# Before TLS


def test_commands_injected_before_tls():
    """What is sent in clear behind STARTTLS is no command, at every split: the session ends over it, it is gone, or the
    handshake fails over it."""
    for policy in ("refuse", "tolerate"):
        injected_before_tls(policy)


def injected_before_tls(policy):
    text = b"STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<alice@example.org>\r\n"
    with Server(extra=[lib.update("MtaInboundSession", unauthorizedPipelining=policy)]) as s:
        for split in range(1, len(text) + 1):
            with s.wire() as w:
                w.send(text[:split])
                if split < len(text):
                    w.send(text[split:])
                reply = w.reply()
                if policy == "refuse" and split == len(text):
                    equal(reply[:9], "554 5.5.1", "what came in one segment ends the session")
                if not reply.startswith("220"):
                    equal((policy, reply[:9]), ("refuse", "554 5.5.1"), f"reply at split {split}")
                    w.at_end()
                    continue
                equal(w.buffer[:1] in (b"", b"\x15"), True, "nothing but an alert follows in clear")
                try:
                    w.start_tls()
                except (ssl.SSLError, OSError):
                    check(split < len(text), "one segment is thrown away behind STARTTLS")
                    continue
                w.expect("RCPT TO:<alice@example.org>", "503")
                w.expect("MAIL FROM:<b@example.net>", "503")
                check("helo=evil" not in w.expect("EHLO client.example.net", "250-"), "EHLO")
                w.expect("QUIT", "221")
        check(" received " not in s.log(), "a message")


def test_replies_injected_before_tls():
    """What a next hop sends in clear behind its 220 is no reply under TLS, at every split."""
    text = b"220 go\r\n250-evil\r\n250-CHUNKING\r\n250 SIZE 1\r\n250 ok\r\n250 ok\r\n"
    splits = iter(range(8, len(text) + 1, 3))

    def hook(session, verb, _line):
        if verb == "STARTTLS":
            split = next(splits, len(text))
            session.sock.sendall(text[:split])
            if split < len(text):
                session.sock.sendall(text[split:])
            session.buffer.clear()
            session.upgrade()
            return lib.NO_REPLY
        return None if verb != "EOD" else "421 4.3.2 Next one"  # a connection for every message

    extensions = [e for e in Sink.ALL if e != "CHUNKING"] + ["STARTTLS"]
    with Sink(extensions, hook=hook, tls=sink_tls()) as sink, Server(relay=sink.port, retry_ms=50) as s:
        s.submit("bob@example.org", b"Subject: x\r\n\r\nhello\r\n")
        wait_until(lambda: sink.verbs().count("STARTTLS") > 20, 30, "20 connections")
        for number in range(1, sink.connections):
            verbs = sink.verbs(number)
            under_tls = verbs[2:3] in ([], ["EHLO"]) if "STARTTLS" in verbs else True  # else: the attempt went on in clear
            check(verbs[0] == "EHLO" and under_tls and "BDAT" not in verbs, f"commands: {verbs}")
