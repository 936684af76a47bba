"""Faults on the real process: each with the behaviour that is promised, and recovery without a restart."""

import os
import resource
import signal
import subprocess
import threading
import time

import lib
from blockdev import BlockDevice
from lib import (DROP, Server, Sink, Skip, check, equal, free_port, split_local, split_received, starts, update,
                 wait_until, work_folder)
from nameserver import NameServer

MIB = 1 << 20


def lines(size, text=b"x"):
    return b"Subject: fault\r\n\r\n" + (text * 70 + b"\r\n") * (size // 72)


def offer(server, body, to="bob@example.org", before_end=None):
    """One message; returns the first reply that is a refusal, or the last one. before_end is called before its last line."""
    with server.wire(seconds=60) as w:
        for command in ("MAIL FROM:<sender@example.net>", f"RCPT TO:<{to}>", "DATA"):
            reply = w.cmd(command)
            if reply[0] not in "23":
                return reply
        w.send(lib.stuff(body))
        if before_end is not None:
            before_end()
        w.send(b".\r\n")
        return w.reply()


def accepts_again(server, body, accepted, seconds=30, to="bob@example.org"):
    """Waits until a message is taken; it belongs to the accepted ones then."""
    def taken():
        reply = offer(server, body, to)
        if reply.startswith("250"):
            accepted.append(reply.rsplit(" ", 1)[1])
            return True
        starts(reply, "4", "reply while it recovers")
        return False
    wait_until(taken, seconds, "accepting again")


def arrive(sink, count, body, seconds=60):
    wait_until(lambda: len(sink.messages) >= count, seconds, f"{count} messages at the next hop")
    time.sleep(0.5)
    equal(len(sink.messages), count, "messages at the next hop")
    for message in sink.messages:
        check(split_received(message.data)[1] == body, "a message was altered")


def refused_while(operation):
    """The device fails in that way: 451 4.3.0, an error in the log; then it goes on by itself."""
    body = lines(20000)
    with BlockDevice(512, journal=False) as disk, Sink() as sink, \
            Server(data=os.path.join(disk.mount, "data"), relay=sink.port, cores=1) as s:
        accepted = [s.submit("bob@example.org", body) for _ in range(5)]
        arrive(sink, len(accepted), body)
        disk.fail(operation)
        starts(offer(s, body), "451 4.3.0", f"reply while every {operation} fails")
        wait_until(lambda: "journal-write-failed" in s.log(), 10, "an error in the log")
        starts(offer(s, body), "45", f"second reply while every {operation} fails")
        disk.heal(operation)
        accepts_again(s, body, accepted)
        arrive(sink, len(accepted), body)
        s.stop()
        equal(s.queue().strip(), "0 messages", "queue")


def test_device_write_error():
    """EIO from the block device on write: 451 4.3.0, logged; it accepts again without a restart."""
    refused_while("write")


def test_device_flush_error():
    """EIO from the block device on flush, the write having worked: no 250 but 451 4.3.0, then recovery."""
    refused_while("flush")


def test_device_read_error():
    """EIO on read: queued mail waits, nothing is bounced or dropped; it is delivered when reading works."""
    body = lines(3 * MIB)
    sink = Sink(start=False)
    with BlockDevice(512, journal=False) as disk, sink, \
            Server(data=os.path.join(disk.mount, "data"), relay=sink.port, cores=1,
                   args=["--delivery", "off"]) as s:
        for _ in range(3):
            s.submit("bob@example.org", body, sender="alice@example.org")
        s.stop()
        s.args = []
        s.start()  # reads everything; what delivery reads later will fail
        wait_until(lambda: "deferred" in s.log(), 10, "a deferral")
        disk.fail("read")
        sink.start()
        time.sleep(3)
        equal(len(sink.messages), 0, "messages while nothing can be read")
        equal(s.mailbox(), [], "DSNs")
        wait_until(lambda: "message-not-read" in s.log(), 10, "a log line that tells of it")
        disk.heal("read")
        arrive(sink, 3, body)
        s.stop()
        equal(s.queue().strip(), "0 messages", "queue")


def test_device_mailbox_error():
    """EIO while a mailbox file is written: a deferral, the file comes whole and once afterwards."""
    with BlockDevice(256, journal=False) as disk, Server(cores=1, args=["--writable", disk.mount]) as s:
        os.makedirs(os.path.join(s.data, "mail"), exist_ok=True)
        os.symlink(disk.mount, os.path.join(s.data, "mail", "example.org"))
        disk.fail("write")
        disk.fail("flush")
        body = lines(200000)
        s.submit("alice@example.org", body)
        wait_until(lambda: "deferred" in s.log(), 20, "a deferral")
        disk.heal("write")
        disk.heal("flush")
        equal(split_local(s.delivered(seconds=30)[0])[3], body, "content")
        time.sleep(1)
        equal(len(s.mailbox()), 1, "messages in the mailbox")


def test_no_descriptors_for_delivery():
    """Not one descriptor is free: deliveries wait, sessions go on; all of it arrives afterwards."""
    body = lines(3000)
    with Sink() as sink, Server(relay=sink.port, cores=1) as s:
        with s.wire() as w:
            pid = s.process.pid
            hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))  # all above are taken
            for to in ("alice@example.org", "bob@example.org") * 3:
                w.message(to, body)
            wait_until(lambda: s.log().count("deferred ") >= 6, 20, "deferrals")
            equal(s.mailbox(), [], "mailbox without descriptors")
            w.expect("NOOP", "250")
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
        for message in s.delivered(3, seconds=30):
            equal(split_local(message)[3], body, "content")
        arrive(sink, 3, body)


def memory(server, name):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith(name + ":")).split()[1]) * 1024


def test_memory_limit():
    """The address space is exhausted: 4xx replies, no crash, acknowledged mail is safe, then recovery."""
    if "asan" in os.path.basename(lib.BUILD):
        raise Skip("the address sanitizer needs the address space and ends the process without it")
    body = lines(MIB)
    with Sink() as sink, Server(relay=sink.port, cores=2) as s:
        accepted = [s.submit("bob@example.org", body)]
        pid = s.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_AS)
        replies, lock = [], threading.Lock()
        resource.prlimit(pid, resource.RLIMIT_AS, (memory(s, "VmSize") + 2 * MIB, before[1]))

        everybody = threading.Barrier(60)  # what all of them have sent is in memory at the same time, as far as it has to be

        def press():
            for _ in range(4):
                arrived = []

                def wait(arrived=arrived):
                    arrived.append(everybody.wait(60))
                try:
                    reply = offer(s, body, before_end=wait)
                except (lib.Fail, OSError) as failure:
                    reply = f"lost {failure}"
                if not arrived:
                    everybody.wait(60)
                with lock:
                    replies.append(reply)
        threads = [threading.Thread(target=press) for _ in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check(s.process.poll() is None, f"the server ended with {s.process.poll()}: {s.log()[-300:]}")
        resource.prlimit(pid, resource.RLIMIT_AS, before)
        refused = [r for r in replies if not r.startswith("250")]
        for reply in refused:
            check(reply.startswith(("4", "lost connection closed", "lost no reply")), f"reply: {reply}")
        check(refused, f"the limit was not felt: {len(replies)} accepted")
        accepted += [r for r in replies if r.startswith("250")]
        accepts_again(s, body, accepted)
        wait_until(lambda: len(sink.messages) >= len(accepted), 90, f"{len(accepted)} messages at the next hop")
        for message in sink.messages:
            check(split_received(message.data)[1] == body, "a message was altered")
        s.stop(60)
        equal(s.queue().strip(), "0 messages", "queue")


def test_memory_gone_before_first_job():
    """No memory is left when a worker thread gets its first job: the delivery waits, nothing crashes."""
    if "asan" in os.path.basename(lib.BUILD):
        raise Skip("the address sanitizer needs the address space and ends the process without it")
    body = lines(1000)
    with Server(cores=1) as s:
        with s.wire() as w:
            w.message("postmaster@example.org", body)  # the session's own memory is there
            pid = s.process.pid
            before = resource.prlimit(pid, resource.RLIMIT_AS)
            resource.prlimit(pid, resource.RLIMIT_AS, (memory(s, "VmSize"), before[1]))
            for _ in range(3):
                w.message("alice@example.org", body)
            wait_until(lambda: "deferred " in s.log() or "message-not-read" in s.log() or
                       "delivered " in s.log(), 10, "an attempt")
            resource.prlimit(pid, resource.RLIMIT_AS, before)
        for message in s.delivered(3, seconds=30):
            equal(split_local(message)[3], body, "content")


def test_silent_next_hop():
    """A next hop that accepts and never answers: others are delivered, memory and connections are bounded;
    when its connections end, it is tried again."""
    body = lines(2000)
    speaks = threading.Event()
    sink = Sink(hook=lambda session, verb, line: None if speaks.wait(60) else DROP)
    with sink, Server(relay=sink.port, cores=1) as s:
        with s.wire() as w:
            for _ in range(200):
                w.message("bob@example.org", body)
            w.message("alice@example.org", body)
        s.delivered(1)
        check(0 < sink.connections <= 16, f"{sink.connections} connections to a silent next hop")
        began = time.monotonic()
        s.stop()
        check(time.monotonic() - began < 60, "a silent next hop holds up the stop")
        s.start()
        wait_until(lambda: len(sink.open_sockets) > 0, 10, "a connection")
        sink.stop()
        speaks.set()
        sink.start()
        arrive(sink, 200, body)


def test_clock_steps():
    """The calendar is set forwards and backwards: what is due by the steady clock is tried, nothing expires
    that was not tried, and a queue id does not come twice."""
    folder = work_folder()
    path = os.path.join(folder, "shift")

    def step(seconds):
        with open(path + ".new", "w", encoding="ascii") as f:
            f.write(str(seconds))
        os.replace(path + ".new", path)
    step(0)
    env = dict(os.environ, LD_PRELOAD=os.path.join(lib.BUILD, "tests", "shift_clock.so"),
               SHIFT_CLOCK_FILE=path,
               ASAN_OPTIONS="verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", ""))
    body = lines(1000)
    idents, sink = [], Sink(start=False)
    with sink, Server(relay=sink.port, cores=1, start=False, retry_ms=1000) as s:
        s.start(env=env)
        for number, seconds in enumerate((3600, -3600, 0, -86400, 86400, 0, -3 * 86400)):
            idents.append(s.submit("bob@example.org", body, sender=""))  # no delay reports
            wait_until(lambda: f"deferred id={idents[-1]}" in s.log(), 10, "a deferral")
            step(seconds)
            sink.start()
            wait_until(lambda: len(sink.messages) > number, 15,
                       f"the message after the clock was set to {seconds} s from the truth")
            sink.stop()
        s.stop()
        equal(s.queue().strip(), "0 messages", "queue")
        equal(len(sink.messages), len(idents), "messages at the next hop")
        equal(len(set(idents)), len(idents), "different queue ids")


def test_clock_stepped_before_restart():
    """The server starts with a clock far behind that of its last life: queued mail is tried at once."""
    path = os.path.join(lib.BUILD, "tests", "shift_clock.so")
    env = dict(os.environ, LD_PRELOAD=path, SHIFT_CLOCK_SECONDS=str(30 * 86400),
               ASAN_OPTIONS="verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", ""))
    body, sink = lines(1000), Sink(start=False)
    with sink, Server(relay=sink.port, cores=1, start=False) as s:
        s.start(env=env)
        ident = s.submit("bob@example.org", body)
        wait_until(lambda: f"deferred id={ident}" in s.log(), 10, "a deferral")
        s.stop()
        sink.start()
        s.start()
        arrive(sink, 1, body, seconds=15)


SYSTEM_RESOLVER = update("DnsResolver", **{"@type": "System"})


def test_hosts_file():
    """A relay's name that the hosts file has needs no name server."""
    with NameServer() as names, Sink() as sink, \
            Server(relay=sink.port, cores=1, start=False,
                   relay_fields={"address": "known.relay.example"}, extra=[SYSTEM_RESOLVER]) as s:
        names.mode = "silent"
        try:
            s.spawn(preexec_fn=names.use)
        except subprocess.SubprocessError:
            raise Skip("a mount namespace is not to be had here") from None
        wait_until(lambda: " ready " in s.log(), 20, "ready")
        s.submit("bob@example.org")
        sink.got()
        equal(names.asked, 0, "questions to the name server")


def test_names_gone():
    """The name server fails, lies, or is silent: relays by name wait, accepting and mailboxes go on, and
    the mail leaves when names are found again."""
    body = lines(1000)
    with NameServer() as names, Sink() as sink, \
            Server(relay=sink.port, cores=1, start=False,
                   relay_fields={"address": "hop.relay.example"}, extra=[SYSTEM_RESOLVER]) as s:
        try:
            s.spawn(preexec_fn=names.use)
        except subprocess.SubprocessError:
            raise Skip("a mount namespace is not to be had here") from None
        wait_until(lambda: " ready " in s.log(), 20, "ready")
        names.mode = "silent"
        s.submit("bob@example.org", body)
        wait_until(lambda: names.asked > 0, 10, "a question to the name server")
        began = time.monotonic()
        for number in range(10):
            s.submit("alice@example.org", body)
            s.delivered(number + 1)
        check(time.monotonic() - began < 30, f"{time.monotonic() - began:.1f} s for ten mailbox deliveries")
        for mode in ("servfail", "nxdomain"):
            seen = s.log().count("deferred ")
            names.mode = mode
            wait_until(lambda: s.log().count("deferred ") > seen, 40, f"a deferral with {mode}")
        equal(len(sink.messages), 0, "messages at the next hop")
        names.mode = "answer"
        arrive(sink, 1, body)


def test_stop_during_a_name_look_up():
    """SIGTERM while a name server has not answered yet: the question is dropped, the end does not wait for its
    minute, and the mail leaves in the next life."""
    body = lines(1000)
    with NameServer(port=free_port()) as names, Sink() as sink:
        names.mode = "silent"
        with Server(relay=sink.port, relay_fields={"address": "hop.relay.example"},
                    extra=[names.resolver(timeout=30000, attempts=2)]) as s:
            s.submit("bob@example.org", body)
            wait_until(lambda: names.asked > 0, 10, "a question to the name server")
            s.stop(20)
            names.mode = "answer"
            s.start()
            arrive(sink, 1, body)


def test_frozen_process():
    """Stopped for three seconds under load (SIGSTOP, SIGCONT): every session goes on, nothing is lost."""
    body = lines(3000)
    with Sink() as sink, Server(relay=sink.port) as s:
        count, stop, failures = [0] * 6, threading.Event(), []

        def send(i):
            try:
                with s.wire(seconds=30) as w:
                    while not stop.is_set():
                        w.message("bob@example.org", body)
                        count[i] += 1
            except (lib.Fail, OSError) as failure:
                failures.append(failure)
        threads = [threading.Thread(target=send, args=(i,)) for i in range(len(count))]
        for thread in threads:
            thread.start()
        for _ in range(2):
            time.sleep(0.3)
            s.signal(signal.SIGSTOP)
            time.sleep(1.5)
            s.signal(signal.SIGCONT)
        before = sum(count)
        wait_until(lambda: sum(count) > before + 10 or failures, 20, "going on afterwards")
        stop.set()
        for thread in threads:
            thread.join()
        equal(failures, [], "sessions that broke")
        arrive(sink, sum(count), body)
