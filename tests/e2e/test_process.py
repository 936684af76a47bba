"""The process: queue, restart, locks, signals, ports."""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import time

from lib import (Fail, Server, Sink, Skip, Wire, check, equal, free_port, listener, marked, ringmx, run_ringmx, split_local,
                 split_received, starts, update, wait_until)


def test_restart_keeps_queue():
    """Queued mail survives restarts with other numbers of cores and is delivered by the last."""
    sink = Sink(start=False)
    with Server(relay=sink.port, cores=2) as s:
        bodies = [marked() for _ in range(40)]
        idents = [s.submit("bob@example.org", body) for body in bodies]
        equal(len(set(idents)), 40, "different queue ids")
        for cores in (1, 4, 2):
            s.stop()
            listed = s.queue()
            check(all(i in listed for i in idents) and "40 messages" in listed, listed[-200:])
            s.start(cores)
        s.stop()
        with sink:
            sink.start()
            s.start(3)
            sink.got(40)
            equal({split_received(m.data)[1] for m in sink.messages}, set(bodies), "contents")
            s.stop()
            equal(s.queue().strip(), "0 messages", "queue")
    received = split_received(sink.messages[0].data)[0]
    found = [i for i in idents if re.search(rf"\bid {i}[;\s]", received)]
    equal(len(found), 1, "queue id kept in Received")


def test_restart_keeps_outcomes():
    """A recipient that has its copy gets no second one after a restart."""
    sink = Sink(start=False)
    with Server(relay=sink.port) as s:
        s.submit(["alice@example.org", "bob@example.org"], marked())
        s.delivered()
        s.stop()
        check("to=<alice@example.org> state=delivered" in s.queue(), s.queue())
        with sink:
            sink.start()
            s.start(1)
            sink.got()
            time.sleep(0.3)
        s.delivered(1)


def test_large_message_survives():
    """A message in extents is intact after restarts."""
    sink = Sink(start=False)
    body = b"Subject: large\r\n\r\n" + os.urandom(3_000_000).hex().encode() + b"\r\n"
    with Server(relay=sink.port, cores=2) as s:
        s.submit("bob@example.org", body)
        s.stop()
        s.start(1)
        s.stop()
        with sink:
            sink.start()
            s.start(3)
            check(split_received(sink.got(seconds=30)[0].data)[1] == body, "the content differs")


def test_queue_commands():
    """queue list and show: envelope, state, reason, content; an unknown id is an error."""
    with Server(relay=free_port()) as s:
        ident = s.submit("bob@example.org", b"Subject: shown\r\n\r\nthe content\r\n")
        wait_until(lambda: "deferred" in s.log(), 10, "an attempt")
        s.stop()
        listed = s.queue()
        starts(listed, ident, "listing")
        check("from=<sender@example.net>" in listed and "to=<bob@example.org>" in listed, listed)
        check("refused" in listed, f"no reason: {listed}")
        shown = s.queue("show", ident)
        check("Subject: shown" in shown and "the content" in shown, shown)
        check("Received: from client.example.net" in shown, shown)
        for bad in ("9-9-9-9", "nonsense"):
            done = run_ringmx("queue", "show", bad, "--data", s.data)
            check(done.returncode != 0, f"queue show {bad} ended with 0")
            check(done.stderr, f"queue show {bad} says nothing")


def test_queue_without_journal():
    """queue on a folder without a journal is empty; on one that does not exist, or for an id, an error."""
    with Server(start=False) as s:
        equal(s.queue().strip(), "0 messages", "queue")
        shown = run_ringmx("queue", "show", "1-2-3-4", "--data", s.data)
        equal((shown.returncode, shown.stdout), (1, ""), "queue show")
        check("no such message" in shown.stderr, shown.stderr)
        mistyped = s.data + "x"
        listed = run_ringmx("queue", "list", "--data", mistyped)
        equal(listed.returncode, 1, "exit code")
        check(mistyped in listed.stderr, listed.stderr)
        check(not os.path.exists(mistyped), "the folder was made")


def test_locked_while_serving():
    """apply and queue refuse while a server runs and name its pid; so does a second server."""
    with Server() as s:
        plan = os.path.join(s.folder, "plan.ndjson")
        for command in (["apply", "--data", s.data, plan], ["queue", "list", "--data", s.data],
                        ["queue", "show", "1-1-1-1", "--data", s.data], ["serve", "--data", s.data]):
            done = run_ringmx(*command)
            check(done.returncode != 0, f"{command[0]} ended with 0")
            check(str(s.process.pid) in done.stderr, f"{command[0]} names no pid: {done.stderr}")
        s.submit("alice@example.org")
        s.delivered()


def test_port_in_use():
    """A port in use is a clear error and the end."""
    with Sink() as sink:
        s = Server(start=False, listeners={"l": listener(sink.port)})
        s.spawn()
        check(s.ended(10) != 0, "exit code 0")
        log = s.log()
        check(str(sink.port) in log and "in use" in log.lower(), log)


def test_bad_plan():
    """An error in a plan names line, object, field and reason, and nothing is applied."""
    s = Server(start=False)
    path = os.path.join(s.folder, "bad.ndjson")
    with open(path, "w") as f:
        f.write('{"@type":"update","object":"SystemSettings","value":{"defaultHostname":"b.example"}}\n'
                '{"@type":"create","object":"MtaRoute","value":{"x":{"@type":"Relay","name":"x",'
                '"address":"127.0.0.1","port":70000}}}\n')
    done = run_ringmx("apply", "--data", s.data, path)
    check(done.returncode != 0, "exit code 0")
    for word in ("line 2", "MtaRoute", "port"):
        check(word in done.stderr, f"no {word!r}: {done.stderr}")
    with s:
        s.start()
        with s.wire(hello=False) as w:
            w.then("220 mx.example.org")


def test_plan_from_a_pipe():
    """A plan that is no regular file is read to its end: standard input, a pipe that a shell names; a folder is none."""
    plan = "".join(json.dumps({"@type": "create", "object": "Domain", "value": {
        f"d{i}": {"name": f"d{i}.example", "description": "x" * 200}}}) + "\n" for i in range(1000))
    for path in ("-", "/dev/stdin"):
        s = Server(start=False)
        done = subprocess.run([ringmx(), "apply", "--data", s.data, path], input=plan, text=True,
                              capture_output=True, timeout=60)
        equal(done.returncode, 0, f"exit code of {path} ({done.stderr})")
        check("created 1000," in done.stdout, f"from {path}: {done.stdout}")
    done = run_ringmx("apply", "--data", s.data, s.folder)
    check(done.returncode == 1 and "Is a directory" in done.stderr, f"a folder: {done.stderr}")
    done = run_ringmx("apply", "--data", s.data, "--dry-run", "--explain", "-", "-")
    check(done.returncode == 2 and "only one" in done.stderr, f"twice: {done.stderr}")


def test_expression_unknown_route():
    """A route expression that names an unknown route is refused when it is applied."""
    s = Server(start=False)
    done = s.apply([{"@type": "update", "object": "MtaOutboundStrategy",
                     "value": {"route": {"match": {}, "else": "'nowhere'"}}}], expect=1)
    check("nowhere" in done.stderr, done.stderr)


def test_expression_error_in_the_condition():
    """What is wrong in a condition is said of the condition, not of its result; and the other way round."""
    s = Server(start=False)
    for part, rule in (("if", {"if": "nobody_knows(rcpt)", "then": "'local'"}),
                       ("then", {"if": "is_local_address(rcpt)", "then": "nobody_knows(rcpt)"})):
        done = s.apply([{"@type": "update", "object": "MtaOutboundStrategy",
                         "value": {"route": {"match": {"0": rule}, "else": "'local'"}}}], expect=1)
        other = "then" if part == "if" else "if"
        check("nobody_knows" in done.stderr, done.stderr)
        check(f"/0/{part}" in done.stderr and f"/0/{other}" not in done.stderr, f"{part}: {done.stderr}")


def test_stop_during_data():
    """SIGTERM while a client is slow with its data: 421 and the end within a bounded time."""
    with Server() as s:
        with s.wire() as slow, s.wire() as idle:
            slow.begin("alice@example.org")
            slow.expect("DATA", "354")
            slow.send(b"Subject: slow\r\n")
            s.signal(signal.SIGTERM)
            idle.then("421 4.3.2", "reply to the idle session")
            idle.at_end()
            equal(s.ended(20), 0, "exit code")
            slow.then("421 4.3.2", "reply to the slow session")


def test_stop_lets_data_finish():
    """SIGTERM while content is on its way: it is taken, acknowledged, and safe."""
    with Server() as s:
        with s.wire() as w:
            w.begin("alice@example.org")
            w.expect("DATA", "354")
            w.send(b"Subject: finishing\r\n")
            s.signal(signal.SIGTERM)
            time.sleep(0.5)
            w.send(b"\r\nthe end\r\n.\r\n")
            w.then("250 2.0.0 Queued")
            w.then("421 4.3.2")
            w.at_end()
        equal(s.ended(20), 0, "exit code")
        s.start()
        s.delivered()


def test_no_new_connections_while_stopping():
    """While sessions finish nobody new is accepted."""
    with Server() as s:
        with s.wire() as w:
            w.begin("alice@example.org")
            w.expect("DATA", "354")
            w.send(b"Subject: x\r\n")
            s.signal(signal.SIGTERM)
            time.sleep(0.5)
            try:
                with Wire(s.port, seconds=3) as other:
                    starts(other.reply(), "421", "banner while stopping")
            except (ConnectionError, TimeoutError):
                pass
            except Fail as closed:
                check("closed" in str(closed) or "Reset" in str(closed), str(closed))
            w.send(b"\r\n.\r\n")
            w.then("250")
        equal(s.ended(20), 0, "exit code")


def test_second_signal():
    """A second signal ends the process at once."""
    with Server() as s:
        with s.wire() as w:
            w.begin("alice@example.org")
            w.expect("DATA", "354")
            w.send(b"Subject: x\r\n")
            s.signal(signal.SIGTERM)
            time.sleep(0.3)
            check(s.process.poll() is None, "ended at the first signal")
            s.signal(signal.SIGINT)
            s.ended(2)


def test_sigint():
    """SIGINT is an orderly end too."""
    with Server() as s:
        s.signal(signal.SIGINT)
        equal(s.ended(), 0, "exit code")


def test_kill_after_250():
    """kill -9 right after a 250 loses nothing."""
    with Server(args=["--delivery", "off"]) as s:
        bodies = []
        with s.wire() as w:
            for _ in range(20):
                bodies.append(marked())
                w.message("alice@example.org", bodies[-1])
            s.kill()
        s.args = []
        s.start(1)
        equal({split_local(m)[3] for m in s.delivered(20)}, set(bodies), "contents")


def test_received_is_logged_without_its_session():
    """A client that is gone before its message is durable: every message that is delivered was logged as received."""
    with Server(cores=1) as s:
        for _ in range(20):
            with s.wire() as w:
                w.begin("alice@example.org")
                w.expect("DATA", "354")
                w.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                w.send(marked() + b".\r\n")
        s.submit("alice@example.org")

        def ids(event):
            return {line.split(" id=")[1].split(" ")[0] for line in s.log().splitlines() if f" {event} id=" in line}
        s.stop()
        equal(ids("delivered") - ids("received"), set(), "delivered and never received")


def test_delivery_off():
    """--delivery off accepts and queues only."""
    with Server(args=["--delivery", "off"]) as s:
        s.submit("alice@example.org")
        time.sleep(0.5)
        equal(s.mailbox(), [], "mailbox")
        s.stop()
        check("1 message" in s.queue(), s.queue())


def test_help():
    """Help is there for every command, and names what the environment decides."""
    for command in ([], ["serve"], ["apply"], ["queue", "list"], ["admin"], ["doctor"], ["reference"]):
        result = run_ringmx(*command, "--help")
        equal(result.returncode, 0, f"{command}: exit code")
        for name in ("--data DIR", "STALWART_RECOVERY_MODE=1", "STALWART_RECOVERY_ADMIN", "STALWART_PUBLIC_URL"):
            check(name in result.stdout, f"{command}: {name} is not explained")


def test_doctor():
    """doctor reports kernel features, limits and versions."""
    done = run_ringmx("doctor")
    equal(done.returncode, 0, f"exit code ({done.stdout[-300:]} {done.stderr})")
    for word in ("io_uring", "NOFILE", "MEMLOCK"):
        check(word.lower() in done.stdout.lower(), f"no {word}: {done.stdout}")


def test_unwritable_mailbox():
    """A mailbox folder that cannot be used is a temporary failure, others are not held up."""
    with Server(users=("alice", "carol")) as s:
        folder = os.path.join(s.data, "mail", "example.org")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "alice"), "w"):
            pass  # a file where the mailbox should be
        s.submit(["alice@example.org", "carol@example.org"])
        s.delivered(1, "carol")
        wait_until(lambda: "deferred" in s.log(), 10, "a deferral")
        os.remove(os.path.join(folder, "alice"))
        s.delivered(1)


def test_many_connections():
    """500 idle sessions at a time, and the limit of a listener is answered by 421 or a refusal."""
    with Server(fields={"maxConnections": 500}) as s:
        wires = []
        try:
            for _ in range(490):
                wires.append(s.wire(hello=False))
                wires[-1].then("220")
            banners = []
            for _ in range(100):
                wires.append(Wire(s.port))
                banners.append(wires[-1].reply())
            told = "421 4.3.2 Too many connections to this listener (limit 500), try again later"
            equal([len([b for b in banners[:10] if b.startswith("220 ")]), banners[10:].count(told)], [10, 90], "banners")
            wires[0].expect("EHLO client.example.net", "250-")
        finally:
            for w in wires:
                w.sock.close()
        time.sleep(0.5)
        s.submit("alice@example.org")
        s.delivered()


def forbid_io_uring():
    """In a child before exec: a seccomp filter that answers io_uring_setup with EPERM, as containers do."""
    import ctypes
    import struct
    libc = ctypes.CDLL(None, use_errno=True)
    code = b"".join(struct.pack("HBBI", *row) for row in (
        (0x20, 0, 0, 0),            # load the number of the system call
        (0x15, 0, 1, 425),          # io_uring_setup?
        (0x06, 0, 0, 0x00050001),   # yes: EPERM
        (0x06, 0, 0, 0x7fff0000)))  # no: go on
    text = ctypes.create_string_buffer(code)
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(text)))
    if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, program, 0, 0) != 0:
        os._exit(99)


def test_io_uring_forbidden():
    """Where io_uring is forbidden, the server and doctor say so, and what to do."""
    with Server(start=False) as s:
        serve = subprocess.run([ringmx(), "serve", "--data", s.data], capture_output=True, text=True,
                               preexec_fn=forbid_io_uring, timeout=30, check=False)
        equal(serve.returncode, 1, "exit code of serve")
        check("cannot-start" in serve.stderr and "seccomp" in serve.stderr, serve.stderr)
        doctor = subprocess.run([ringmx(), "doctor"], capture_output=True, text=True,
                                preexec_fn=forbid_io_uring, timeout=30, check=False)
        equal(doctor.returncode, 1, "exit code of doctor")
        check("FAIL  io_uring" in doctor.stdout and "seccomp" in doctor.stdout, doctor.stdout)
        good = subprocess.run([ringmx(), "doctor", "--data", s.data], capture_output=True, text=True, timeout=30, check=False)
        equal(good.returncode, 0, "exit code of doctor without the filter")


def cpu_share(server, seconds=1):
    """CPU time of all threads of a server for a second of wall time."""
    def spent():
        return time.clock_gettime((~server.process.pid << 3) | 2)  # the CPU-time clock of another process
    before, began = spent(), time.monotonic()
    time.sleep(seconds)
    return (spent() - before) / (time.monotonic() - began)


def test_full_accept_queue():
    """With descriptors exhausted and the accept queue full as well the processor rests, and it goes on by itself."""
    import resource
    with Server(start=False, cores=1, fields={"socketBacklog": 16},
                extra=[update("Performance", overloadDescriptors=100)]) as s:
        s.spawn(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (70, 70)))
        wait_until(lambda: " ready " in s.log(), 20, "ready")
        sockets = []

        def connect(count):
            for _ in range(count):
                sockets.append(socket.socket())
                sockets[-1].setblocking(False)
                sockets[-1].connect_ex(("127.0.0.1", s.port))

        def exhausted():
            connect(8)  # fewer than wait to be accepted at most, so that none is lost
            return "cannot-accept" in s.log()
        wait_until(exhausted, 20, "the warning")
        connect(200)  # and the queue is full
        share = cpu_share(s, 2)
        check(share < 0.05, f"{share:.3f} of a core in a shortage")
        for sock in sockets:
            sock.close()

        def served():
            with s.wire(hello=False) as w:
                return w.reply().startswith("220")
        wait_until(served, 20, "service again")
        check(s.log().count("cannot-accept") <= 5, "the log fills with warnings")


def test_out_of_descriptors():
    """With descriptors exhausted connections wait, the processor rests, and it goes on by itself."""
    import resource

    def few_files():
        resource.setrlimit(resource.RLIMIT_NOFILE, (70, 70))
    with Server(start=False, cores=1, extra=[update("Performance", overloadDescriptors=100)]) as s:
        s.spawn(preexec_fn=few_files)
        wait_until(lambda: " ready " in s.log(), 20, "ready")
        sockets = [socket.create_connection(("127.0.0.1", s.port)) for _ in range(150)]
        wait_until(lambda: "cannot-accept" in s.log(), 10, "the warning")

        check(cpu_share(s) < 0.05, "CPU in a shortage")
        for sock in sockets:
            sock.close()

        def served():
            with s.wire(hello=False) as w:
                return w.reply().startswith("220")
        wait_until(served, 20, "the end of the overload")
        s.submit("alice@example.org")
        s.delivered()
