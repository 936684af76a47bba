"""The servers that bench/compare sets side by side: how each is set up for the same work, started and stopped.

All accept mail for example.org: bob is a mailbox (Maildir), anybody else there is unknown. Mail for smtp.example
goes over SMTP to one sink, mail for lmtp.example over LMTP to another. `deliver` off: mail is accepted, made durable
and stays in the queue.

Other servers come from Debian's packages, unpacked into a folder and run in it with chroot, as root; nothing is
installed. Everything that costs CPU time and is no part of the work is switched off in their favour: DNS, ident,
rate limits, logging.
"""

import contextlib
import glob
import ipaddress
import math
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request

import lib

DOMAIN, SMTP_DOMAIN, LMTP_DOMAIN = "example.org", "smtp.example", "lmtp.example"
USERS = {"postfix": 601, "postdrop": 602, "Debian-exim": 603, "opensmtpd": 604, "opensmtpq": 605, "vmail": 606,
         "nobody": 65534}


class Unavailable(Exception):
    """This server cannot run here, with the reason."""


def process_cpu_ns(pid):
    """CPU time of the threads that it has now."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0])
    return total


class Group:
    """CPU time of all processes that are started in it, also those that have ended."""

    def __init__(self, name):
        self.name, self.v1 = name, True
        self.path = f"/sys/fs/cgroup/cpuacct/ringmx-compare-{os.getpid()}-{name}"
        if not os.path.isdir("/sys/fs/cgroup/cpuacct"):
            self.v1 = False
            self.path = f"/sys/fs/cgroup/ringmx-compare-{os.getpid()}-{name}"
        try:
            os.mkdir(self.path)
        except OSError as error:
            raise Unavailable(f"CPU time of a whole process tree needs a control group of its own: {error}") from None

    def join(self):
        with open(os.path.join(self.path, "cgroup.procs"), "w") as f:
            f.write(str(os.getpid()))

    def pids(self):
        with open(os.path.join(self.path, "cgroup.procs")) as f:
            return [int(line) for line in f]

    def cpu_ns(self):
        if self.v1:
            with open(os.path.join(self.path, "cpuacct.usage")) as f:
                return int(f.read())
        with open(os.path.join(self.path, "cpu.stat")) as f:
            return int(f.readline().split()[1]) * 1000

    def rss_bytes(self):
        """Anonymous memory of all processes."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith("Pss_Anon:"))
        return total * 1024

    def end(self):
        deadline = time.monotonic() + 10
        while self.pids() and time.monotonic() < deadline:
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        with contextlib.suppress(OSError):
            os.rmdir(self.path)


REST_WINDOW_S, REST_SHARE = 0.2, 0.02  # at rest: less than this share of a CPU for so long


def comes_to_rest(target, seconds):
    """Waits until what a server has put off is done; False: it is not after so many seconds."""
    end, before = time.monotonic() + seconds, target.group.cpu_ns()
    while time.monotonic() < end:
        time.sleep(REST_WINDOW_S)
        now = target.group.cpu_ns()
        if not now - before >= REST_SHARE * REST_WINDOW_S * 1e9:  # also where nothing is known
            return True
        before = now
    return False


class Target:
    """A server; start() returns when it answers."""

    name = None
    host = "127.0.0.1"
    stores = True
    sessions = None  # other than the scenario says
    start_s = 30

    def __init__(self, options, kind, sinks):
        self.options, self.kind, self.sinks, self.process = options, kind, sinks, None
        self.group, self.port, self.folder = None, None, None

    def start(self):
        self.group = Group(f"{self.name}-{self.kind}")
        self.port = lib.free_port()
        self.folder = lib.work_folder()
        self.prepare()
        self.spawn(self.command(), self.environment())
        self.wait_for_banner()

    def stop(self):
        if self.group is not None:
            self.group.end()
        self.clean()

    def prepare(self):
        pass

    def clean(self):
        pass

    def endpoint(self):
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def environment(self):
        return None

    def root(self):
        return None

    def spawn(self, command, env=None):
        log = open(os.path.join(self.folder, "output"), "ab")

        def child():
            self.group.join()
            os.sched_setaffinity(0, self.options.server_cpus)
            if self.root():
                os.chroot(self.root())
                os.chdir("/")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env, preexec_fn=child)

    def output(self):
        if self.folder is None:
            return "nothing is known of it"
        with open(os.path.join(self.folder, "output"), errors="replace") as f:
            return f.read()[-400:]

    def wait_for_banner(self):
        end = time.monotonic() + self.start_s
        while time.monotonic() < end and (self.process is None or self.process.poll() is None):
            try:
                with lib.Wire(self.port, seconds=5, host=self.host) as wire:
                    if wire.reply().startswith("220"):
                        wire.send("QUIT\r\n")
                        return
            except (OSError, lib.Fail):
                time.sleep(0.1)
        raise Unavailable(f"{self.name} does not answer: {self.output()}")

    def delivered(self):
        """Messages in bob's Maildir."""
        return sum(len(os.listdir(folder)) for folder in glob.glob(self.maildir()) if os.path.isdir(folder))


class Null(Target):
    name = "null"
    stores = False
    more = ()

    def command(self):
        options = {"tls": ["--starttls"], "refuse": ["--refuse"]}.get(self.kind, [])
        return [os.path.join(lib.BUILD, "ringmx-bench"), "null", "--listen", f"127.0.0.1:{self.port}", *options, *self.more]


class NullEpoll(Null):
    name = "null-epoll"
    more = ("--epoll",)


class Ringmx(Target):
    name = "ringmx"
    limits = {"maxCommands": 10000000}  # of a session

    def prepare(self):
        relays = [{"@type": "create", "object": "Domain",
                   "value": {n: {"name": n, "allowRelaying": True} for n in (SMTP_DOMAIN, LMTP_DOMAIN)}},
                  lib.relay_route(self.sinks["smtp"], name="smtp"),
                  lib.relay_route(self.sinks["lmtp"], name="lmtp", protocol="lmtp"),
                  lib.session_limits(**self.limits),
                  lib.update("MtaStageData", maxMessages=lib.constant(1000000))]
        route = {"match": {"0": {"if": "is_local_address(rcpt)", "then": "'local'"},
                           "1": {"if": f"rcpt_domain == '{LMTP_DOMAIN}'", "then": "'lmtp'"}}, "else": "'smtp'"}
        self.server = lib.Server(start=False, folder=self.folder, users=("bob",), allow_relaying=False,
                                 strategy=route, extra=relays, settings={"maxConnections": 100000},
                                 fields={"maxConnections": 100000})
        self.port = self.server.port

    def command(self):
        paused = self.kind not in ("maildir", "relay", "split")
        self.http = lib.free_port()
        return [lib.ringmx(), "serve", "--data", self.server.data, "--cores", "1", "--http", f"127.0.0.1:{self.http}",
                *(["--delivery=off"] if paused else [])]

    def journal(self):
        """Synced writes until now: how many, their bytes, and seconds in all."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        total = lambda name: sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"ringmx_journal_{name}{{"))  # noqa: E731
        return {name: total(name) for name in ("commits_total", "written_bytes_total", "sync_seconds_sum")}

    def maildir(self):
        return os.path.join(self.server.data, "mail", DOMAIN, "bob", "new")


class RingmxNoSync(Ringmx):
    name = "ringmx-nosync"

    def environment(self):
        return dict(os.environ, LD_PRELOAD=os.path.join(lib.BUILD, "no_sync.so"))


class RingmxOther(Ringmx):
    """Another build of it: `--also NAME=BINARY`."""

    def __init__(self, name, binary, *more):
        super().__init__(*more)
        self.name, self.binary = name, binary

    def command(self):
        return [self.binary, *super().command()[1:]]


def tree_cpu_ns(root):
    """CPU time of a process, its descendants, and those of them that have ended and were waited for."""
    parents, times = {}, {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
            parents[int(pid)] = int(fields[1])
            times[int(pid)] = sum(map(int, fields[11:15]))
    if root not in times:
        raise lib.Fail(f"there is no process {root}")

    def belongs(pid):
        while pid > 1 and pid != root:
            pid = parents.get(pid, 0)
        return pid == root
    return sum(times[pid] for pid in times if belongs(pid)) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Address(Target):
    """A server that runs already: `--address NAME=ADDRESS:PORT[,PID]`."""

    place = re.compile(r"(?:([0-9.]+)|\[([0-9a-fA-F:.]+)\]):(\d+)(?:,(\d+))?")

    @classmethod
    def is_place(cls, text):
        found = cls.place.fullmatch(text)
        with contextlib.suppress(ValueError):
            return bool(found and ipaddress.ip_address(found[1] or found[2]))
        return False

    def __init__(self, name, place, *more):
        super().__init__(*more)
        found = self.place.fullmatch(place)
        self.name, self.host, self.port = name, found[1] or found[2], int(found[3])
        self.pid = int(found[4]) if found[4] else None

    def start(self):
        if self.kind not in ("accept", "refuse", "tls"):
            raise Unavailable("a server given by address is measured only where it accepts")
        if not self.options.allow_remote and not ipaddress.ip_address(self.host).is_loopback:
            raise Unavailable(f"{self.host} is no loopback address: --allow-remote")
        self.wait_for_banner()
        self.group = self

    def stop(self):
        pass

    def cpu_ns(self):
        return tree_cpu_ns(self.pid) if self.pid else math.nan


# --- servers of Debian's packages ---


def unpack(options, packages):
    """A folder with these packages, the libraries they need and a few users; made once."""
    root = os.path.join(options.packages, packages[0])
    if os.path.exists(os.path.join(root, "complete")):
        return root
    if os.getuid() != 0:
        raise Unavailable("needs root, for chroot and for the users of its processes")
    debs = os.path.join(options.packages, "debs")
    os.makedirs(debs, exist_ok=True)
    os.makedirs(root, exist_ok=True)
    for package in packages:
        if not glob.glob(os.path.join(debs, f"{package}_*.deb")):
            done = subprocess.run(["apt-get", "download", "-qq", package], cwd=debs, capture_output=True, text=True)
            if done.returncode != 0:
                raise Unavailable(f"Debian's package {package} cannot be had: {done.stderr.strip()[-200:]}")
        subprocess.run(["dpkg", "-x", glob.glob(os.path.join(debs, f"{package}_*.deb"))[0], root], check=True)
    add_libraries(root)
    add_system(root)
    with open(os.path.join(root, "complete"), "w"):
        pass
    return root


def elf_files(root):
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as f:
                    if f.read(4) == b"\x7fELF":
                        yield path


def add_libraries(root):
    own = [os.path.join(root, "usr/lib/postfix"), os.path.join(root, "usr/lib/x86_64-linux-gnu")]
    env = dict(os.environ, LD_LIBRARY_PATH=":".join(own))
    wanted = {"/bin/sh", *glob.glob("/lib/x86_64-linux-gnu/libnss_files*")}
    for path in list(elf_files(root)):
        for line in subprocess.run(["ldd", path], capture_output=True, text=True, env=env).stdout.splitlines():
            words = line.split()
            wanted.update(w for w in words if w.startswith("/") and not w.startswith(root))
    for path in wanted:
        to = root + path
        if not os.path.exists(to):
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copy(path, to)


def add_system(root):
    for folder in ("etc", "dev", "tmp", "var/log", "var/mail", "var/empty", "var/run", "run", "home/bob"):
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    for name, minor in (("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)):
        with contextlib.suppress(FileExistsError):
            os.mknod(os.path.join(root, "dev", name), 0o20666, os.makedev(1, minor))
    os.chmod(os.path.join(root, "tmp"), 0o1777)
    with open(os.path.join(root, "etc/passwd"), "w") as f:
        f.write("root:x:0:0::/root:/bin/sh\n")
        f.writelines(f"{n}:x:{i}:{i}::/{'home/bob' if n == 'vmail' else 'var/empty'}:/bin/false\n"
                     for n, i in USERS.items())
    with open(os.path.join(root, "etc/group"), "w") as f:
        f.write("root:x:0:\nmail:x:8:\n")
        f.writelines(f"{n}:x:{i}:\n" for n, i in USERS.items())
    write(root, "etc/hosts", "127.0.0.1 localhost mx.example.org mx\n")
    write(root, "etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")
    write(root, "etc/resolv.conf", "nameserver 127.0.0.1\n")
    write(root, "etc/services", "smtp 25/tcp\nlmtp 24/tcp\n")
    with open("/etc/localtime", "rb") as f, open(os.path.join(root, "etc/localtime"), "wb") as out:
        out.write(f.read())


def write(root, path, text):
    path = os.path.join(root, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)


class Packaged(Target):
    """In a copy of the unpacked packages, so that several can run."""

    packages = ()

    def root(self):
        return os.path.join(self.folder, "root")

    def prepare(self):
        # cp: a socket or device in it is copied as such, and large files share their blocks where that is possible.
        subprocess.run(["cp", "-a", unpack(self.options, self.packages), self.root()], check=True)
        self.mail = os.path.join(self.root(), "home/bob")
        os.chown(self.mail, USERS["vmail"], USERS["vmail"])
        self.configure()

    def maildir(self):
        return os.path.join(self.mail, "Maildir/new")

    def config(self, path, text):
        write(self.root(), path, text)

    def certificate(self):
        """A self-signed certificate of the kind that ringmx makes."""
        folder = os.path.join(self.root(), "etc")
        done = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                               "-days", "10", "-subj", "/CN=mx.example.org", "-keyout", os.path.join(folder, "key.pem"),
                               "-out", os.path.join(folder, "cert.pem")], capture_output=True, text=True)
        if done.returncode != 0:
            raise Unavailable(f"no certificate: {done.stderr[-200:]}")


class Postfix(Packaged):
    name = "postfix"
    packages = ("postfix",)

    def configure(self):
        paused = self.kind not in ("maildir", "relay", "split")
        self.certificate()
        self.config("etc/postfix/main.cf", f"""compatibility_level = 3.6
myhostname = mx.example.org
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks =
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_maps = inline:{{ bob@{DOMAIN}=Maildir/ }}
virtual_mailbox_base = /home/bob
virtual_uid_maps = static:{USERS['vmail']}
virtual_gid_maps = static:{USERS['vmail']}
relay_domains = {SMTP_DOMAIN} {LMTP_DOMAIN}
transport_maps = inline:{{ {{{SMTP_DOMAIN}=relay:[127.0.0.1]:{self.sinks['smtp']}}} {{{LMTP_DOMAIN}=lmtp:inet:127.0.0.1:{self.sinks['lmtp']}}} }}
smtpd_tls_security_level = may
smtpd_tls_cert_file = /etc/cert.pem
smtpd_tls_key_file = /etc/key.pem
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_hard_error_limit = 1000000
smtpd_soft_error_limit = 1000000
smtpd_error_sleep_time = 0
in_flow_delay = 0
default_process_limit = 200
max_idle = 3600s
default_destination_concurrency_limit = 50
lmtp_destination_concurrency_limit = 50
relay_destination_concurrency_limit = 50
maximal_queue_lifetime = 5d
queue_run_delay = 1d
minimal_backoff_time = 1d
maximal_backoff_time = 1d
{'defer_transports = virtual relay smtp lmtp' if paused else ''}
""")
        # Debian runs most services of the package in a chroot of their own: within ours there is nothing to gain.
        services = [("pickup", "unix n - n 60 1 pickup"), ("cleanup", "unix n - n - 0 cleanup"),
                    ("qmgr", "unix n - n 300 1 qmgr"), ("tlsmgr", "unix - - n 1000? 1 tlsmgr"),
                    ("rewrite", "unix - - n - - trivial-rewrite"), ("bounce", "unix - - n - 0 bounce"),
                    ("defer", "unix - - n - 0 bounce"), ("trace", "unix - - n - 0 bounce"),
                    ("verify", "unix - - n - 1 verify"), ("flush", "unix n - n 1000? 0 flush"),
                    ("proxymap", "unix - - n - - proxymap"), ("smtp", "unix - - n - - smtp"),
                    ("relay", "unix - - n - - smtp"), ("lmtp", "unix - - n - - lmtp"),
                    ("error", "unix - - n - - error"), ("retry", "unix - - n - - error"),
                    ("discard", "unix - - n - - discard"), ("virtual", "unix - n n - - virtual"),
                    ("local", "unix - n n - - local"), ("anvil", "unix - - n - 1 anvil"),
                    ("scache", "unix - - n - 1 scache"), ("showq", "unix n - n - - showq")]
        self.config("etc/postfix/master.cf", f"127.0.0.1:{self.port} inet n - n - - smtpd\n" +
                    "".join(f"{name} {rest}\n" for name, rest in services))
        shutil.copy(os.path.join(self.root(), "usr/share/postfix/main.cf.dist"),
                    os.path.join(self.root(), "etc/postfix/main.cf.proto")) if os.path.exists(
                        os.path.join(self.root(), "usr/share/postfix/main.cf.dist")) else None
        queue = os.path.join(self.root(), "var/spool/postfix")
        for name, owner, group, mode in (
                ("active", "postfix", 0, 0o700), ("bounce", "postfix", 0, 0o700), ("corrupt", "postfix", 0, 0o700),
                ("defer", "postfix", 0, 0o700), ("deferred", "postfix", 0, 0o700), ("flush", "postfix", 0, 0o700),
                ("hold", "postfix", 0, 0o700), ("incoming", "postfix", 0, 0o700), ("private", "postfix", 0, 0o700),
                ("maildrop", "postfix", USERS["postdrop"], 0o1730), ("public", "postfix", USERS["postdrop"], 0o2710),
                ("pid", None, 0, 0o755), ("saved", "postfix", 0, 0o700), ("trace", "postfix", 0, 0o700)):
            folder = os.path.join(queue, name)
            os.makedirs(folder, exist_ok=True)
            os.chown(folder, USERS[owner] if owner else 0, group)
            os.chmod(folder, mode)
        data = os.path.join(self.root(), "var/lib/postfix")
        os.makedirs(data, exist_ok=True)
        os.chown(data, USERS["postfix"], 0)

    def command(self):
        return ["/usr/lib/postfix/sbin/master", "-d", "-c", "/etc/postfix"]

    def environment(self):
        return {"PATH": "/usr/sbin:/usr/bin", "LD_LIBRARY_PATH": "/usr/lib/postfix", "MAIL_CONFIG": "/etc/postfix"}


class Exim(Packaged):
    name = "exim"
    packages = ("exim4-daemon-light", "exim4-base", "libidn12")

    def configure(self):
        self.certificate()
        os.chown(os.path.join(self.root(), "etc/key.pem"), USERS["Debian-exim"], USERS["Debian-exim"])
        for folder in ("var/spool/exim4", "var/log/exim4"):
            path = os.path.join(self.root(), folder)
            os.makedirs(path, exist_ok=True)
            os.chown(path, USERS["Debian-exim"], USERS["Debian-exim"])
        self.config("etc/exim4/exim4.conf", f"""primary_hostname = mx.example.org
domainlist local = {DOMAIN}
domainlist relay = {SMTP_DOMAIN} : {LMTP_DOMAIN}
acl_smtp_rcpt = rcpt
acl_smtp_data = accept
host_lookup =
rfc1413_query_timeout = 0s
daemon_smtp_ports = {self.port}
local_interfaces = 127.0.0.1
disable_ipv6 = true
smtp_accept_max = 0
smtp_connect_backlog = 4096
smtp_accept_queue = 0
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
smtp_accept_max_nonmail = 1000000
smtp_enforce_sync = false
message_size_limit = 100M
queue_only = {'true' if self.kind not in ('maildir', 'relay', 'split') else 'false'}
log_selector = -all
log_file_path = syslog
tls_advertise_hosts = *
tls_certificate = /etc/cert.pem
tls_privatekey = /etc/key.pem
pipelining_advertise_hosts = *
chunking_advertise_hosts = *
keep_environment =

begin acl
rcpt:
  accept domains = +relay
  accept domains = +local
         local_parts = bob
  deny message = No such user here

begin routers
smtp:
  driver = manualroute
  domains = {SMTP_DOMAIN}
  transport = smtp
  route_list = * 127.0.0.1::{self.sinks['smtp']}
  self = send
lmtp:
  driver = manualroute
  domains = {LMTP_DOMAIN}
  transport = lmtp
  route_list = * 127.0.0.1::{self.sinks['lmtp']}
  self = send
local:
  driver = accept
  domains = +local
  transport = maildir

begin transports
smtp:
  driver = smtp
  hosts_try_fastopen =
lmtp:
  driver = smtp
  protocol = lmtp
  hosts_try_fastopen =
maildir:
  driver = appendfile
  maildir_format
  directory = /home/bob/Maildir
  create_directory
  user = vmail
  group = vmail

begin retry
* * F,2h,15m
""")

    def command(self):
        return ["/usr/sbin/exim4", "-bdf", "-q1h"]

    def environment(self):
        return {"PATH": "/usr/sbin:/usr/bin"}


class OpenSmtpd(Packaged):
    name = "opensmtpd"
    packages = ("opensmtpd",)
    sessions = "4"

    def configure(self):
        self.certificate()
        os.chmod(os.path.join(self.root(), "etc/key.pem"), 0o600)
        paused = self.kind not in ("maildir", "relay", "split")
        self.paused = paused
        os.makedirs(os.path.join(self.root(), "var/spool/smtpd"), exist_ok=True)
        os.chmod(os.path.join(self.root(), "var/spool/smtpd"), 0o711)
        self.config("etc/aliases", "")
        self.config("etc/smtpd.conf", f"""pki mx.example.org cert "/etc/cert.pem"
pki mx.example.org key "/etc/key.pem"
table users {{ "bob@{DOMAIN}" = "vmail" }}
smtp limit max-mails 1000000
smtp limit max-rcpt 1000000
listen on 127.0.0.1 port {self.port} tls pki mx.example.org hostname mx.example.org
action "maildir" maildir "/home/bob/Maildir" virtual <users>
action "smtp" relay host smtp://127.0.0.1:{self.sinks['smtp']}
action "lmtp" lmtp "127.0.0.1:{self.sinks['lmtp']}" rcpt-to virtual {{ "@" = "vmail" }}
match from any for domain "{DOMAIN}" action "maildir"
match from any for domain "{SMTP_DOMAIN}" action "smtp"
match from any for domain "{LMTP_DOMAIN}" action "lmtp"
""")

    def command(self):
        return ["/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd.conf", *(["-P", "mda", "-P", "mta"] if self.paused else [])]

    def environment(self):
        return {"PATH": "/usr/sbin:/usr/bin:/bin"}


ALL = {c.name: c for c in (Null, NullEpoll, Ringmx, RingmxNoSync, Postfix, Exim, OpenSmtpd)}
