"""What the process gives up, and the sockets that it is given."""

import os
import re
import socket
import sys

from lib import Server, Skip, Wire, check, equal, listener, marked, starts, wait_until, work_folder


def status(task):
    with open(f"/proc/{task}/status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def sandbox_line(server):
    lines = re.findall(r"sandbox landlock=(\d+) system-calls=(\d+)(.*)", server.log())
    equal(len(lines), 1, f"log lines about the sandbox ({server.log()[:300]})")
    return int(lines[0][0]), int(lines[0][1]), lines[0][2]


def test_sandbox_is_in_force():
    """The log says what is in force, and the kernel agrees; a message goes its whole way."""
    with Server() as s:
        landlock, calls, advice = sandbox_line(s)
        facts = status(s.process.pid)
        equal(facts["Seccomp"], "2" if calls else "0", "seccomp mode")
        equal(facts["NoNewPrivs"], "1" if landlock or calls else "0", "no_new_privs")
        check(landlock and calls or "advice=" in advice, f"what is not in force is not said: {advice}")
        tasks = os.listdir(f"/proc/{s.process.pid}/task")
        check(len(tasks) > 4, f"threads: {tasks}")
        ours = int(status("self").get("Seccomp_filters", "0"))
        for task in tasks if calls and "Seccomp_filters" in facts else ():  # the calls, and no more rings
            equal(int(status(task)["Seccomp_filters"]), ours + 2, f"filters of thread {status(task)['Name']}")
        names = {status(task)["Name"] for task in tasks}
        check({"ringmx-0", "ringmx-1", "ringmx-w0.0", "ringmx-w1.1", "ringmx-worker"} <= names, f"names of threads: {names}")
        check("rings-not-limited" not in s.log(), s.log())
        s.submit("alice@example.org", marked())
        s.delivered()


def test_root_is_warned_of():
    """Who starts it as root and names no user reads in the log what that means."""
    with Server() as s:
        equal("warn runs-as-root" in s.log(), os.geteuid() == 0, "warned")


def test_sandbox_off():
    """--no-sandbox is obeyed, and warned about."""
    with Server(start=False) as s:
        s.args.append("--no-sandbox")
        s.start()
        landlock, calls, advice = sandbox_line(s)
        equal((landlock, calls), (0, 0), "in force")
        check("--no-sandbox is for debugging" in advice, advice)
        equal(status(s.process.pid)["Seccomp"], "0", "seccomp mode")


def test_sandbox_mail_elsewhere():
    """A link out of the data folder is not followed by writes, which is a deferral, until --writable names where it
    leads."""
    elsewhere = work_folder()
    with Server(start=False) as s:
        os.makedirs(os.path.join(s.data, "mail"))
        os.symlink(elsewhere, os.path.join(s.data, "mail", "example.org"))
        s.start()
        if not sandbox_line(s)[0]:
            raise Skip("this kernel has no Landlock")
        s.submit("alice@example.org", marked())
        wait_until(lambda: "permission denied" in s.log(), 20, "a deferral")
        s.stop()
        equal(os.listdir(elsewhere), [], "written outside")
        s.args += ["--writable", elsewhere]
        s.start()
        s.delivered()
        check(f"writable={elsewhere}" in s.log(), s.log())


# As systemd does it: the sockets from descriptor 3 on, announced in the environment of the process that they are for.
LAUNCH = """
import fcntl, os, sys
high = [fcntl.fcntl(int(n), fcntl.F_DUPFD, 200) for n in sys.argv[1].split(",")]
for number, fd in enumerate(high):
    os.dup2(fd, 3 + number, inheritable=True)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(high)))
os.execv(sys.argv[2], sys.argv[2:])
"""


def listening(address="127.0.0.1"):
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    s.bind((address, 0))
    s.listen(64)
    return s


def hand_over(server, *sockets):
    server.pass_fds = [s.fileno() for s in sockets]
    server.prefix = [sys.executable, "-c", LAUNCH, ",".join(map(str, server.pass_fds))]


def on_socket(given):
    port = given.getsockname()[1]
    server = Server(start=False, listeners={"l": listener(port)})
    server.port = port
    hand_over(server, given)
    return server


def test_activation_serves_who_waited():
    """A connection from before the start is served; after a stop the port is still there, and the next start serves it."""
    with listening() as given, on_socket(given) as s:
        for _ in range(2):
            early = Wire(s.port)  # accepted by the kernel
            s.start(2)
            starts(early.line(), "220 ", "banner of a connection that waited")
            early.sock.close()
            for _ in range(8):
                s.submit("alice@example.org", marked())
            s.stop()
            check("socket-unused" not in s.log(), s.log())


def test_activation_unused_socket():
    """A socket that no listener binds is named in the log; the server serves its own."""
    with listening() as given, Server(start=False) as s:
        hand_over(s, given)
        s.start()
        check(f"socket-unused address=127.0.0.1:{given.getsockname()[1]}" in s.log(), s.log())
        s.submit("alice@example.org", marked())


def test_activation_not_a_listening_socket():
    """What cannot be accepted from ends the start with a reason."""
    with socket.socket() as given, Server(start=False) as s:
        hand_over(s, given)
        s.spawn()
        equal(s.ended(), 1, "exit code")
        check("not a listening TCP socket" in s.log() and "ListenStream=" in s.log(), s.log())


def test_activation_for_another_process():
    """An announcement for another process is none."""
    with Server(start=False, env_more={"LISTEN_PID": "1", "LISTEN_FDS": "9"}) as s:
        s.start()
        s.submit("alice@example.org", marked())
