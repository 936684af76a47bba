"""Each resource that runs short: load is shed in order, log, statistics and health say which one it is, and it ends by itself."""

import json
import os
import resource
import socket
import subprocess

from lib import Wire, check, equal, need_program, session_limits, starts, update, wait_until
from stats_watch import preload
from test_bans import PROXY
from test_disk import SmallDisk
from test_frontends import proxy_v2
from test_limits import is_refused, open_sessions, proxied
from test_management import Managed
from test_queue_api import act

MIB = 1 << 20
NONE, STRAINED, REFUSING = 0, 1, 2


def level(s, name):
    """The worst of the cores."""
    return max(row["value"] for core in s.api.stats() for row in core["overload_level"] if row["resource"] == name)


def comes_to(s, name, wanted):
    wait_until(lambda: level(s, name) == wanted, 20, f"level {wanted} of {name}")


def banner(s):
    """What a new connection is told."""
    with s.wire(hello=False) as w:
        return w.reply()


def is_refusing(s, name, said):
    """New connections get 421, and everything says why."""
    comes_to(s, name, REFUSING)
    with s.wire(hello=False) as w:
        w.then("421 4.3.2 Too busy")
        w.at_end()
    status, _, body = s.api.http("GET", "/healthz/ready")
    equal((status, json.loads(body)["detail"]), (503, f"core 0: overload: {said}"), "readiness")
    metrics = s.api.http("GET", "/metrics")[2].decode()
    check(f'ringmx_overload_level{{core="0",resource="{name}"}} 2\n' in metrics, "a level in /metrics")
    check(sum(row["value"] for core in s.api.stats() for row in core["sessions_refused_total"]
              if row["reason"] == "overload") > 0, "refusals are counted")


def logged(s, name):
    """[(event, level)] of a resource's log lines."""
    lines = [dict(part.split("=", 1) for part in line.split() if "=" in part) | {"line": line}
             for line in s.log().splitlines() if f" resource={name} " in line]
    return [("ended" if " overload-ended " in x["line"] else "begun", int(x.get("level", 0))) for x in lines]


def is_over(s, name):
    """It has ended by itself, and was said once for each step."""
    comes_to(s, name, NONE)
    starts(banner(s), "220", "banner afterwards")
    equal(s.api.http("GET", "/healthz/ready")[0], 200, "readiness afterwards")
    lines = logged(s, name)
    equal(lines[-1], ("ended", 0), "the last log line")
    for before, after in zip(lines, lines[1:]):
        check(before[1] != after[1], f"a level is logged when it changes: {lines}")


def test_overload_descriptors():
    """Open files near the limit of the process: new connections get 421, open sessions send their mail."""
    with Managed(cores=1, start=False) as s:
        s.spawn(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300)))
        wait_until(lambda: " ready " in s.log(), 20, "ready")

        def used():
            return len(os.listdir(f"/proc/{s.process.pid}/fd"))
        with s.wire() as mine:
            others = []
            while used() < 272:
                others.append(socket.create_connection(("127.0.0.1", s.port)))
                sent = len(others)
                wait_until(lambda: used() >= sent, 20, "an accepted connection")
            is_refusing(s, "descriptors", "descriptors")
            mine.message("alice@example.org", b"Subject: open\r\n\r\nx\r\n")
            for sock in others:
                sock.close()
        s.delivered()
        is_over(s, "descriptors")
        equal(logged(s, "descriptors")[-1], ("ended", 0), "the log")


def test_overload_memory():
    """The memory of one core for content: said of that core; what has begun is taken."""
    with Managed(cores=1, extra=[update("Performance", contentMemory=4 * MIB, overloadMemory=25)]) as s:
        busy = [s.wire() for _ in range(40)]
        for w in busy:
            w.begin("alice@example.org")
        for w in busy:
            w.expect("DATA", "354")
            w.send((b"y" * 70 + b"\r\n") * 400)
        comes_to(s, "memory", REFUSING)
        with s.wire(hello=False) as w:
            w.then("421 4.3.2")
        equal(s.api.http("GET", "/healthz/ready")[0], 503, "readiness")
        check(" resource=memory of-core=0 " in s.log(), "the core in the log line")
        for w in busy:
            w.send(b".\r\n")
            w.then("250")
            w.sock.close()
        s.delivered(40)
        is_over(s, "memory")


def test_overload_beside_a_hung_file_system():
    """While a file system does not say how much room it has, all else is watched: memory runs short, and is free again."""
    with Managed(cores=1, start=False, extra=[update("Performance", contentMemory=4 * MIB, overloadMemory=25)]) as s:
        hold = os.path.join(s.folder, "hold")
        preload(s, HOLD_ROOM=hold)
        wait_until(lambda: " ready " in s.log(), 20, "ready")
        busy = [s.wire() for _ in range(40)]
        for w in busy:
            w.begin("alice@example.org")
        open(hold, "w").close()
        try:
            for w in busy:
                w.expect("DATA", "354")
                w.send((b"y" * 70 + b"\r\n") * 400)
            comes_to(s, "memory", REFUSING)
            for w in busy:
                w.sock.close()
            comes_to(s, "memory", NONE)
        finally:
            os.remove(hold)


def test_overload_disk():
    """Little space left: strained, then refusing, before the journal has to refuse; open sessions go on."""
    with SmallDisk(400) as disk, Managed(data=disk.path, cores=1) as s, s.wire() as mine:
        equal(level(s, "disk_bytes"), NONE, "level on an empty disk")
        disk.fill(leave=36 * MIB)
        comes_to(s, "disk_bytes", STRAINED)
        starts(banner(s), "220", "banner while strained")
        equal(s.api.http("GET", "/healthz/ready")[0], 200, "readiness while strained")
        disk.fill(leave=12 * MIB)
        is_refusing(s, "disk_bytes", "disk space")
        mine.message("alice@example.org", b"Subject: open\r\n\r\nx\r\n")
        s.delivered()
        disk.release()
        is_over(s, "disk_bytes")
        equal([x for x, _ in zip(logged(s, "disk_bytes"), range(2))], [("begun", STRAINED), ("begun", REFUSING)], "order")
        # The thresholds change live.
        s.api.update("Performance", "singleton", overloadDiskFree=1 << 40)
        is_refusing(s, "disk_bytes", "disk space")
        s.api.update("Performance", "singleton", overloadDiskFree=MIB)
        is_over(s, "disk_bytes")


def test_overload_inodes():
    """Few inodes left although there is space."""
    with SmallDisk(400) as disk, Managed(data=disk.path, cores=1) as s:
        subprocess.run([need_program("mount"), "-o", "remount,nr_inodes=3000", disk.path], check=True)
        folder = os.path.join(disk.path, "many")
        os.mkdir(folder)
        while os.statvfs(disk.path).f_favail >= 900:
            open(os.path.join(folder, str(len(os.listdir(folder)))), "wb").close()
        is_refusing(s, "disk_inodes", "disk inodes")
        for name in os.listdir(folder):
            os.remove(os.path.join(folder, name))
        is_over(s, "disk_inodes")


def queue_is_too_long(name, said, field, threshold, body):
    """New connections get 421, an open session 452 at its next MAIL; it ends when the queue is shorter."""
    with Managed(cores=1) as s, s.wire() as mine:
        act(s, "PauseMtaQueue")
        s.api.update("Performance", "singleton", **{field: threshold})
        sent = 0
        while level(s, name) < REFUSING and sent < 500:
            reply = mine.cmd("MAIL FROM:<sender@example.net>")
            if not reply.startswith("250"):
                break
            mine.expect("RCPT TO:<alice@example.org>", "250")
            mine.expect("DATA", "354")
            mine.send(body + b".\r\n")
            mine.then("250")
            sent += 1
        is_refusing(s, name, said)
        mine.expect("MAIL FROM:<sender@example.net>", "452 4.3.1")
        act(s, "ResumeMtaQueue")
        s.delivered(sent)
        is_over(s, name)
        mine.message("alice@example.org", body)


def test_overload_queue_messages():
    """So many messages in the queue."""
    queue_is_too_long("queue_messages", "queue messages", "overloadQueueMessages", 20, b"Subject: one of many\r\n\r\nx\r\n")


def test_overload_queue_bytes():
    """So many bytes in the queue."""
    queue_is_too_long("queue_bytes", "queue bytes", "overloadQueueBytes", 300000,
                      b"Subject: large\r\n\r\n" + (b"z" * 70 + b"\r\n") * 300)


def test_overload_strained():
    """Strained: a quarter of the connections of a client, none of the open ones is cut; shorter timeouts, for open sessions too."""
    with Managed(cores=2, settings=PROXY | {"maxConnectionsPerClient": 8}, extra=[session_limits(timeout="40s")]) as s:
        mine = open_sessions(s, "203.0.113.7", 4)
        room = os.statvfs(s.data)
        # Between the threshold and twice as much is left.
        s.api.update("Performance", "singleton", overloadDiskFree=room.f_bavail * room.f_frsize * 2 // 3)
        comes_to(s, "disk_bytes", STRAINED)
        is_refused(proxied(s, "203.0.113.7"), "[203.0.113.7]", 2)
        other = open_sessions(s, "203.0.113.8", 2)
        is_refused(proxied(s, "203.0.113.8"), "[203.0.113.8]", 2)
        idle = Wire(s.port, first=proxy_v2("203.0.113.9"), seconds=35)
        idle.hello()
        idle.then("421 4.4.2", "before the 40 s of its own timeout")
        for w in mine[:1] + other[:1]:
            w.then("421 4.4.2")
        s.api.update("Performance", "singleton", overloadDiskFree=1)
        comes_to(s, "disk_bytes", NONE)
        for w in mine + other + open_sessions(s, "203.0.113.7", 8):
            w.sock.close()
