"""Holding, releasing, expiring, cancelling queued messages: one by one, by recipient, by filter; what is answered is
true after a kill."""

import json
import os
import re
import struct
import subprocess
import time

import lib
from lib import NO_REPLY, Sink, check, comes_to, equal, free_port, wait_until
from test_management import ADMIN, Managed
from test_queue_api import NOW, act, fill, get, query

LATER = "2099-01-01T00:00:00Z"
BY_DOMAIN = {"match": {"0": {"if": "rcpt_domain == 'one.example'", "then": "'one'"},
                       "1": {"if": "rcpt_domain == 'two.example'", "then": "'two'"}}, "else": "'local'"}


def restart(server):
    """As after a crash."""
    server.kill()
    server.api.connection = None
    server.start()


def taken_over(server, count):
    wait_until(lambda: len(query(server)["ids"]) == count, 10, f"{count} messages taken over")


def ids_of(server, **filter):
    return query(server, filter=filter, sort=[{"property": "id", "isAscending": True}])["ids"]


def one(server, id):
    return get(server, id)["list"][0]


def change(server, operation, **fields):
    """Action/ChangeMtaQueue until it is done: found, changed, refused."""
    sums, cursor = [0, 0, 0], None
    while True:
        answer = server.api.set("Action", create={"n": {"@type": "ChangeMtaQueue", "operation": operation,
                                                        "cursor": cursor, **fields}})
        check("created" in answer, f"{operation} {fields}: {answer}")
        made = answer["created"]["n"]
        sums = [a + made[k] for a, k in zip(sums, ("found", "changed", "refused"))]
        cursor = made["cursor"]
        if cursor is None:
            return tuple(sums)


def act_on(server, operation, route):
    server.api.create("Action", **{"@type": operation, "route": route})


def routes(one, two):
    """Two relays, by domain."""
    def relay(name, port):
        return {"@type": "create", "object": "MtaRoute", "value": {name: {
            "@type": "Relay", "name": name, "address": "127.0.0.1", "port": port, "protocol": "smtp",
            "implicitTls": False, "allowInvalidCerts": True}}}
    domains = [{"@type": "create", "object": "Domain", "value": {f"d-{name}": {"name": f"{name}.example", "allowRelaying": True}}}
               for name in ("one", "two")]
    return [relay("one", one), relay("two", two), *domains,
            {"@type": "update", "object": "MtaOutboundStrategy", "value": {"route": BY_DOMAIN}}]


def submit_both(server, count):
    """Messages to a recipient in each of two domains."""
    with server.wire() as w:
        for n in range(count):
            w.expect(f"MAIL FROM:<user{n}@example.net>", "250")
            w.expect(f"RCPT TO:<r{n}@one.example>", "250")
            w.expect(f"RCPT TO:<r{n}@two.example>", "250")
            w.expect("DATA", "354")
            w.send(f"Subject: {n}\r\n\r\nnumber {n}\r\n.\r\n".encode())
            w.reply()


def test_queue_held_after_a_kill():
    """Held mail is not delivered, not even when it is asked for or after a kill -9, until it is released; others are."""
    port = free_port()
    with Managed(relay=port, retry_ms=500) as s:
        fill(s, 6)
        wait_until(lambda: "next-hop-down" in s.log(), 10, "the dead next hop is noticed")
        ids = ids_of(s)
        answer = s.api.set("QueuedMessage", update={i: {"held": True} for i in ids[:3]})
        equal(sorted(answer["updated"]), sorted(ids[:3]), "held")
        equal(sorted(ids_of(s, status="held")), sorted(ids[:3]), "filter")
        message = one(s, ids[0])
        equal((message["held"], message["nextRetry"]), (True, None), "shown")
        refused = s.api.set("QueuedMessage", update={ids[0]: {"nextRetry": NOW}})["notUpdated"]
        equal(refused[ids[0]]["type"], "validationFailed", "a retry of what is held")
        held = {m["queueId"] for m in get(s, *ids[:3])["list"]}
        restart(s)
        taken_over(s, 6)
        with Sink(port=port) as sink:
            equal({m["queueId"] for m in get(s, *ids_of(s, status="held"))["list"]}, held, "after the kill")
            sink.got(3)
            wait_until(lambda: len(query(s)["ids"]) == 3, 10, "the others are delivered")
            left = query(s)["ids"]
            equal({m["queueId"] for m in get(s, *left)["list"]}, held, "left")
            s.api.update("QueuedMessage", left[0], held=False)
            sink.got(4)
            equal(change(s, "release", status="held"), (2, 2, 0), "release by filter")
            sink.got(6)
            wait_until(lambda: query(s)["ids"] == [], 10, "an empty queue")
            equal((s.log().count(" released "), len(sink.messages)), (3, 6), "each once")


def test_queue_expiry_changed():
    """A changed expiry outlives a kill; when it has come the sender gets a report at the next attempt."""
    port = free_port()
    with Managed(relay=port, retry_ms=500) as s:
        s.submit("bob@example.org", sender="alice@example.org")
        wait_until(lambda: "next-hop-down" in s.log(), 10, "the dead next hop is noticed")
        [id] = ids_of(s)
        s.api.update("QueuedMessage", id, expiresAt=LATER)
        equal(one(s, id)["recipients"]["bob@example.org"]["expires"]["expiresAt"], "2099-01-01T00:00:00.000Z", "later")
        restart(s)
        taken_over(s, 1)
        [id] = ids_of(s)
        equal(one(s, id)["expiresAt"], "2099-01-01T00:00:00.000Z", "after the kill")
        s.api.update("QueuedMessage", id, **{"recipients/bob@example.org/expires/expiresAt": NOW})
        [report] = s.delivered(1)
        check(b"Action: failed" in report and b"bob@example.org" in report, f"{report}")
        wait_until(lambda: query(s)["ids"] == [], 10, "an empty queue")


def test_queue_expiry_before_the_next_attempt():
    """An expiry before the next attempt is due: the last attempt is made then, and the sender gets the report."""
    def hook(_session, verb, _line):
        return "451 4.2.1 not now" if verb == "RCPT" else None
    with Sink(hook=hook) as sink, Managed(relay=sink.port, retry_ms=600000) as s:
        s.submit("bob@example.org", sender="alice@example.org")
        wait_until(lambda: "deferred" in s.log(), 10, "put off")
        then = time.time() + 2
        s.api.update("QueuedMessage", ids_of(s)[0], expiresAt=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(then)))
        report = s.delivered(1)[0].decode()
        check("Status: 5.4.7" in report and "not now" in report, f"the report: {report}")
        check(time.time() >= int(then), "given up before its time")
        equal(sink.verbs().count("RCPT"), 2, "attempts")


def test_queue_cancelled_with_and_without_report():
    """Recipients are cancelled apart; destroy and null say nothing, PermanentFailure tells the sender; none comes back
    after a kill."""
    port = free_port()
    with Managed(relay=port, retry_ms=3600000) as s:
        for n in range(3):
            s.submit([f"x{n}@example.org", f"y{n}@example.org"], sender="alice@example.org")
        wait_until(lambda: s.log().count(" deferred ") >= 6, 10, "attempts")
        first, second, third = ids_of(s)
        s.api.update("QueuedMessage", first, **{"recipients/x0@example.org": None})
        equal({a: r["status"]["@type"] for a, r in one(s, first)["recipients"].items()},
              {"x0@example.org": "PermanentFailure", "y0@example.org": "TemporaryFailure"}, "one is cancelled")
        refused = s.api.set("QueuedMessage", update={second: {"recipients/nobody@example.org": None},
                                                     third: {"recipients/x2@example.org/orcpt": "x"}})["notUpdated"]
        equal([refused[i]["type"] for i in (second, third)], ["invalidPatch"] * 2, "what cannot be done")
        s.api.update("QueuedMessage", second, **{"recipients/x1@example.org/status": {"@type": "PermanentFailure"}})
        [report] = s.delivered(1)
        check(b"Final-Recipient: rfc822;x1@example.org" in report and b"cancelled by an administrator" in report and
              b"Final-Recipient: rfc822;y1@example.org" not in report, f"{report}")
        s.api.destroy("QueuedMessage", third)
        restart(s)
        with Sink(port=port) as sink:
            taken_over(s, 2)
            equal(change(s, "retry"), (2, 2, 0), "retry")
            sink.got(2)
            wait_until(lambda: query(s)["ids"] == [], 10, "an empty queue")
            equal(sorted(r for m in sink.messages for r in m.rcpts), ["y0@example.org", "y1@example.org"], "delivered")
            equal(len(s.mailbox()), 1, "reports")


def test_queue_given_up_apart_from_a_route():
    """Recipients that are given up wait for no route, whichever of a message's is paused, and count for none."""
    paths = {"local": "alice@example.org", "one": "x@one.example", "two": "x@two.example"}
    with Managed(extra=routes(free_port(), free_port()), retry_ms=3600000, users=("alice", "carol")) as s:
        for paused, stays in paths.items():
            act_on(s, "PauseMtaQueue", paused)
            before = len(s.log())
            s.submit(list(paths.values()), sender="carol@example.org")
            going = [r for r in paths.values() if r != stays and not r.startswith("alice")]
            wait_until(lambda: all(f" deferred " in line for line in [next(
                (x for x in s.log()[before:].splitlines() if f"to={r} " in x and "reply=" in x), "") for r in going]), 10, "attempts")
            [message] = [i for i in ids_of(s) if one(s, i)["returnPath"] == "carol@example.org"]
            s.api.update("QueuedMessage", message,
                         **{f"recipients/{r}/status": {"@type": "PermanentFailure"} for r in going})
            log = wait_until(lambda: s.log()[before:] if " dsn-queued " in s.log()[before:] else "", 10, "the report")
            failed = [line for line in log.splitlines() if " failed " in line]
            equal(len(failed), len(going), f"given up while {paused} is paused")
            check(not any(" route=" in line for line in failed), f"a route failed: {failed}")
            s.api.destroy("QueuedMessage", message)
            act_on(s, "ResumeMtaQueue", paused)
            wait_until(lambda: not ids_of(s), 10, "an empty queue")


def test_queue_by_filter():
    """All that fit are changed, in pieces, with counts; of messages with several recipients only those that are meant."""
    ports = free_port(), free_port()
    with Managed(retry_ms=3600000, extra=routes(*ports)) as s:
        submit_both(s, 620)
        wait_until(lambda: query(s, filter={"nextHop": "one"}, calculateTotal=True)["total"] == 620 and
                   query(s, filter={"nextHop": "two", "status": "deferred"}, calculateTotal=True)["total"] == 620, 30,
                   "all were tried")
        equal(query(s, filter={"error": "refused"}, calculateTotal=True)["total"], 620, "by the error")
        equal(query(s, filter={"error": "no such words"}, calculateTotal=True)["total"], 0, "by another")
        equal(len(ids_of(s, to="r61", nextHop="one")), 11, "by recipient and next hop")
        equal(change(s, "hold", nextHop="one"), (620, 620, 0), "hold")
        message = one(s, ids_of(s, to="r7@")[0])
        equal({a: r["held"] for a, r in message["recipients"].items()}, {"r7@one.example": True, "r7@two.example": False},
              "only those of the next hop")
        equal(change(s, "hold", error="refused", nextHop="nowhere"), (0, 0, 0), "nobody")
        equal(change(s, "cancel", to="r9@two"), (1, 1, 0), "cancel a recipient")
        equal(change(s, "cancel", returnPath="user8@"), (1, 1, 0), "cancel a message")
        equal(change(s, "expire", at=LATER, to="@one.example"), (619, 619, 0), "expire")
        restart(s)
        taken_over(s, 619)
        with Sink(port=ports[0]) as first, Sink(port=ports[1]) as second:
            equal(change(s, "retry"), (619, 618, 1), "retry: all but what is held alone")
            second.got(618, seconds=60)
            wait_until(lambda: query(s, filter={"nextHop": "two"})["ids"] == [], 20, "one half is gone")
            equal((len(first.messages), query(s, calculateTotal=True)["total"]), (0, 619), "held")
            message = one(s, ids_of(s, to="r7@")[0])
            equal(message["recipients"]["r7@one.example"]["expires"]["expiresAt"], "2099-01-01T00:00:00.000Z", "expiry")
            equal(message["recipients"]["r7@two.example"]["status"]["@type"], "Completed", "the other")
            equal(change(s, "release", status="held"), (619, 619, 0), "release")
            first.got(619, seconds=60)
            wait_until(lambda: query(s)["ids"] == [], 20, "an empty queue")
            rcpts = [r for m in first.messages + second.messages for r in m.rcpts]
            equal((len(rcpts), len(set(rcpts))), (1237, 1237), "each once")
            check(not {"r9@two.example", "r8@one.example", "r8@two.example"} & set(rcpts), "cancelled")


def test_queue_content_and_replies():
    """The text comes whole, also of large messages, or its header alone; what the next hop said is kept and shown."""
    def hook(session, verb, line):
        if verb == "RCPT" and "slow" in line:
            return "450 4.2.0 come back, ticket 4711"
        return "250 2.0.0 queued as REMOTE17" if verb == "EOD" else None
    big = b"Subject: big\r\nX-Big: yes\r\n\r\n" + b"0123456789abcdef" * 60000 + b"\r\n"
    with Sink(hook=hook) as sink, Managed(relay=sink.port, retry_ms=3600000) as s:
        s.submit(["slow@example.org", "quick@example.org"], big)
        sink.got(1)
        wait_until(lambda: " deferred " in s.log(), 10, "one is deferred")
        [id] = ids_of(s, error="TICKET 4711")
        message = one(s, id)
        status = {a: r["status"] for a, r in message["recipients"].items()}
        equal(status["slow@example.org"], {"@type": "TemporaryFailure", "responseCode": 450,
                                          "responseMessage": status["slow@example.org"]["responseMessage"]}, "reply")
        check("ticket 4711" in status["slow@example.org"]["responseMessage"], "its text")
        check("REMOTE17" in status["quick@example.org"]["responseMessage"], f"the remote's queue id: {status}")
        equal(message["recipients"]["slow@example.org"]["nextHop"], "source", "next hop")

        def download(blob):
            status, headers, body = s.api.http("GET", f"/jmap/download/d333333/{blob}/x")
            return status, headers.get("Content-Type"), body
        code, kind, text = download(message["blobId"])
        equal((code, kind), (200, "message/rfc822"), "download")
        check(text.endswith(big) and text.startswith(b"Received: "), "the text")
        code, _, header = download(message["blobId"] + ".headers")
        check(code == 200 and text.startswith(header) and header.endswith(b"X-Big: yes\r\n\r\n"), "the header")
        equal(download("bad7")[0], 404, "no such message")
        equal(s.api.http("GET", "/jmap/download/d333333/b/x", headers={})[0], 401, "without a password")
        restart(s)
        taken_over(s, 1)
        [id] = ids_of(s, error="ticket 4711")
        status = {a: r["status"] for a, r in one(s, id)["recipients"].items()}
        check("REMOTE17" in status["quick@example.org"]["responseMessage"], f"after the kill: {status}")


def test_queue_route_paused():
    """Mail on a paused route waits without an attempt, also after a kill; the other route goes on. Shape and pause are
    shown."""
    def shape():
        status, _, body = s.api.http("GET", "/api/queue/shape")
        equal(status, 200, "shape")
        return json.loads(body)
    with Sink() as first, Sink() as second, Managed(extra=routes(first.port, second.port)) as s:
        answer = s.api.set("Action", create={"n": {"@type": "PauseMtaQueue", "route": "nowhere"}})
        check("no such route" in str(answer["notCreated"]), f"{answer}")
        s.api.create("Action", **{"@type": "PauseMtaQueue", "route": "one"})
        def told():
            return [x for x in s.log().splitlines() if " delivery-paused " in x]
        comes_to(lambda: len(told()), s.cores, "lines of the log")
        check(all(" everything=no routes=one" in x and " queues=" not in x for x in told()), f"the log names the route: {told()}")
        submit_both(s, 20)
        second.got(20)
        restart(s)
        taken_over(s, 20)

        def only_one_waits(count):
            wait_until(lambda: [(r["nextHop"], r["total"]) for r in shape()["rows"]] == [("one", count)], 10, "shape")
        only_one_waits(20)
        again = len(second.messages)  # a kill before a mark may double some
        submit_both(s, 5)
        second.got(again + 5)
        only_one_waits(25)
        answer = shape()
        equal((answer["paused"], sum(answer["rows"][0]["ages"]), answer["rows"][0]["ages"][0], len(answer["minutes"])),
              ({"everything": False, "routes": ["one"], "queues": []}, 25, 25, 9), "shape")
        equal((first.messages, [r["retryCount"] for m in get(s)["list"] for a, r in m["recipients"].items()
                                if "one" in a]), ([], [0] * 25), "attempts")
        s.api.create("Action", **{"@type": "ResumeMtaQueue", "route": "one"})
        first.got(25)
        wait_until(lambda: query(s)["ids"] == [], 10, "an empty queue")
        act(s, "PauseMtaQueue")
        equal(shape()["paused"], {"everything": True, "routes": [], "queues": []}, "everything")
        act(s, "ResumeMtaQueue")


def test_many_paused_routes_are_named():
    """As many routes as may be paused, with the longest names: the log line names those that it has room for, whole, and
    still the queues behind them."""
    names = [f"{i:02d}" + "x" * 62 for i in range(64)]
    with Managed(extra=[{"@type": "create", "object": "MtaRoute", "value": {
            f"r{i}": {"@type": "Mx", "name": name} for i, name in enumerate(names)}}], cores=1) as s:
        s.api.set("Action", create={name: {"@type": "PauseMtaQueue", "route": name} for name in names})
        s.api.create("MtaVirtualQueue", name="bulk", threadsPerNode=5)
        s.api.create("Action", **{"@type": "PauseMtaQueue", "queue": "bulk"})
        wait_until(lambda: " queues=bulk\n" in s.log(), 10, "the line of the last pause, with its queue")
        last = [x for x in s.log().splitlines() if " delivery-paused " in x][-1]
        told = re.search(r" routes=(\S+)", last)[1].split(",")
        check(told[:-1] == names[:len(told) - 1] and len(told) > 4 and told[-1] == "...", f"{last}")


def test_queue_filters_of_changes():
    """Times and texts choose what is changed; a time that is needed or malformed is refused."""
    with Managed(relay=free_port(), retry_ms=3600000) as s:
        fill(s, 3)
        wait_until(lambda: "next-hop-down" in s.log(), 10, "the dead next hop is noticed")
        first, second, third = (one(s, i) for i in ids_of(s))
        s.api.update("QueuedMessage", third["id"], nextRetry=LATER)
        equal(change(s, "hold", text="USER1@"), (1, 1, 0), "text")
        check(one(s, second["id"])["held"], "text")
        equal(change(s, "hold", createdBefore=second["createdAt"]), (1, 1, 0), "createdBefore")
        check(one(s, first["id"])["held"], "createdBefore")
        equal(change(s, "release", createdAfter=second["createdAt"]), (1, 1, 0), "createdAfter")
        equal(change(s, "retry", dueAfter="2098-01-01T00:00:00Z", at="2097-01-01T00:00:00Z", status="deferred"), (1, 1, 0),
              "dueAfter")
        equal(one(s, third["id"])["nextRetry"], "2097-01-01T00:00:00.000Z", "another time")
        equal(change(s, "cancel", dueBefore="2098-01-01T00:00:00Z", status="deferred"), (1, 1, 0), "dueBefore")
        equal(sorted(query(s)["ids"]), sorted([first["id"], second["id"]]), "left")
        for wrong in ({"operation": "expire"}, {"operation": "drop"}, {"operation": "hold", "cursor": "x"},
                      {"operation": "hold", "at": "tomorrow"}, {}):
            answer = s.api.set("Action", create={"n": {"@type": "ChangeMtaQueue", **wrong}})
            check("n" in answer.get("notCreated", {}), f"{wrong}: {answer}")


def test_queue_active_and_damaged():
    """A message on its way is active; one whose content has rotted is damaged, stays, and can only be cancelled."""
    def hook(session, verb, line):
        return NO_REPLY if verb == "MAIL" else None
    with Sink(hook=hook) as sink, Managed(relay=sink.port) as s:
        s.submit("bob@example.org")
        wait_until(lambda: [m["active"] for m in get(s)["list"]] == [True], 10, "it is active")
    with Managed() as s:
        act(s, "PauseMtaQueue")
        s.submit("alice@example.org", b"Subject: big\r\n\r\n" + b"0123456789abcdef" * 60000 + b"ROTTEN\r\n" * 9 + b"\r\n" +
                 b"0123456789abcdef" * 60000 + b"\r\n")
        s.kill()
        rotten = 0
        for folder, _, names in os.walk(os.path.join(s.data, "journal")):
            for name in names:
                with open(os.path.join(folder, name), "r+b") as f:
                    at = f.read().find(b"ROTTEN")
                    if at >= 0:
                        f.seek(at)
                        f.write(b"rotten")
                        rotten += 1
        equal(rotten, 1, "places")
        s.api.connection = None
        s.start()
        act(s, "ResumeMtaQueue")
        wait_until(lambda: [m["damaged"] for m in get(s)["list"]] == [True], 10, "it is damaged")
        [id] = ids_of(s, status="damaged")
        equal(s.api.set("QueuedMessage", update={id: {"nextRetry": NOW}})["notUpdated"][id]["type"], "validationFailed",
              "a retry")
        s.api.destroy("QueuedMessage", id)
        equal((query(s)["ids"], s.mailbox()), ([], []), "nothing is left")


def run_cli(server, *args):
    """Exit code, standard output, standard error of ringmx-cli queue."""
    env = {**os.environ, "STALWART_URL": f"http://127.0.0.1:{server.http_port}", "STALWART_USER": "admin",
           "STALWART_PASSWORD": ADMIN.split(":")[1], "XDG_CACHE_HOME": server.folder}
    done = subprocess.run([os.path.join(lib.BUILD, "ringmx-cli"), "queue", *args], capture_output=True, text=True, env=env,
                          timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_queue_command_line():
    """Every verb of ringmx-cli queue does what it says, by queue id, recipient and filter, with its exit codes."""
    ports = free_port(), free_port()
    with Managed(retry_ms=3600000, extra=routes(*ports)) as s:
        submit_both(s, 5)
        wait_until(lambda: [r["status"]["@type"] for m in get(s)["list"] for r in m["recipients"].values()] ==
                   ["TemporaryFailure"] * 10, 20, "all were tried")

        def run(*args, code=0):
            got, out, err = run_cli(s, *args)
            equal(got, code, f"exit code of {args} ({out} {err})")
            return out + err
        lines = run("list").splitlines()
        check(lines[0].startswith("Queue id  ") and len(lines) == 6 and all("deferred" in x for x in lines[1:]), f"{lines}")
        ids = [line.split()[0] for line in lines[1:]]
        listed = [json.loads(line) for line in run("list", "--json").splitlines()]
        equal([m["queueId"] for m in listed], ids, "as JSON")
        check("5 messages" in run("list", "--total", "--limit", "2"), "total")
        equal([x.split()[0] for x in run("list", "--after", ids[1], "--limit", "2").splitlines()[1:3]], ids[2:4], "after")
        equal([x.split()[0] for x in run("list", "--position", "3").splitlines()[1:]], ids[3:], "position")
        equal([x.split()[0] for x in run("list", "--to", "r4@", "--newer", "1h").splitlines()[1:]],
              [m["queueId"] for m in listed if "r4@one.example" in m["recipients"]], "recipient")
        equal((run("list", "--older", "2h"), run("list", "--older", "2h", "--json")), ("no messages\n", ""), "older")
        shown = run("show", ids[0])
        check(all(x in shown for x in (ids[0], "next hop     one", "next hop     two", "attempts     1", "refused")), shown)
        equal(json.loads(run("show", "--json", ids[0]))["queueId"], ids[0], "as JSON")
        check(run("content", ids[0]).endswith("number 4\n") or "number" in run("content", ids[0]), "content")
        header = run("content", "--headers", ids[0])
        check("Subject: " in header and "number" not in header, header)
        shape = run("shape")
        check("Next hop" in shape and "<1280m" in shape and "one" in shape and "two" in shape, shape)
        equal(sum(r["total"] for r in json.loads(run("shape", "--json"))["rows"]), 10, "shape as JSON")

        check("1 of 1" in run("hold", ids[0]), "hold")
        check("5 of 5" in run("hold", "--next-hop", "one"), "hold by next hop")
        equal(len(run("list", "--status", "held").splitlines()), 6, "held")
        check("1 refused" in run("retry", ids[0], code=1), "a retry of what is held")
        run("release", ids[0], "--rcpt", f"r{4}@nowhere.example", code=1)
        check("4 of 4" in run("release", *ids[1:]), "release")
        run("expire", ids[1], "--at", "2099-01-01T00:00:00Z")
        check("2099-01-01" in run("show", ids[1]), "expire")
        run("expire", ids[1], code=1)
        run("cancel", code=1)
        run("cancel", "--to", "nobody@", code=3)
        check("1 of 1" in run("cancel", ids[2]), "cancel")
        run("show", ids[2], code=1)
        address = next(a for a in listed[3]["recipients"] if a.endswith("@one.example"))
        run("bounce", ids[3], "--rcpt", address)
        wait_until(lambda: f"cancelled-with-report by=admin id={ids[3]} to={address}\n" in s.log(), 10, "whose, in the log")
        wait_until(lambda: json.loads(run("show", "--json", ids[3]))["recipients"][address]["status"]["@type"] ==
                   "PermanentFailure", 10, "bounced")
        run("pause", "--route", "nowhere", code=1)
        run("pause", "--route", "two")
        check("paused: route two" in run("shape"), "pause")
        with Sink(port=ports[0]) as first:
            run("release", "--all")
            run("retry", "--all")
            first.got(3)
            run("pause")
            check("paused: everything" in run("shape"), "pause")
            run("resume")
        answer = json.loads(run("cancel", "--all", "--json"))
        equal((answer["found"], answer["changed"], run("list")), (4, 4, "no messages\n"), "cancel all")
        for word in ("no-such", "1-2-3", "1-2--3", "1-2-3-x", "1-2-3-4-5"):
            check(f"{word} is no queue id" in run("hold", word, code=1), "what is no queue id")
        run("pause", "--queue", "nowhere", code=1)
        equal(run("pause", "--queue", "remote", "--route", "one"), "paused: route one\npaused: queue remote\n", "pause of both")
        check("paused: route one\npaused: queue remote\n" in run("shape"), "a virtual queue")
        equal(run("resume", "--queue", "remote"), "resumed: queue remote\n", "resume")
        run("resume")
        check("paused" not in run("shape"), "everything goes on")
        run("dance", code=1)
        run("show", code=1)


def test_queue_next_hop_after_restart():
    """What the next hop is called is known at once after a restart, long before the next attempt: filters and shape work."""
    port = free_port()
    with Managed(relay=port, retry_ms=3600000) as s:
        for n in range(3):
            s.submit([f"x{n}@example.org", f"y{n}@example.org"])
        wait_until(lambda: s.log().count(" deferred ") == 6, 10, "attempts")
        s.stop()
        s.api.connection = None
        s.start()
        taken_over(s, 3)
        found = s.api.calls(("x:QueuedMessage/query", {"filter": {"nextHop": "source"}}))[0]["ids"]
        equal(len(found), 3, "messages for the relay")
        equal({r["nextHop"] for id in found for r in one(s, id)["recipients"].values()}, {"source"}, "recipients")
        equal(s.log().split("queue-recovered")[1].count(" deferred "), 0, "attempts since")


def segment_use(server, number):
    """State (2: in use) and how manieth use a segment of the only core is, by its header."""
    with open(os.path.join(server.data, "journal", "set-0000", f"{number:08x}.seg"), "rb") as f:
        return struct.unpack("<8x2xH12xQ", f.read(32))


def test_queue_texts_after_their_segment_has_gone():
    """A message that is moved to another segment keeps what next hops said, and its history, over the end of the old one."""
    def hook(session, verb, line):
        if verb == "RCPT" and "slow" in line:
            return "450 4.2.0 come back, ticket 4712"
        return "250 2.0.0 queued as REMOTE18" if verb == "EOD" else None
    filler = b"BDAT 16000000\r\n" + b"x" * 16000000

    def fill_segment(server):
        """What is not finished takes room, and needs none any more afterwards."""
        with server.wire() as w:
            w.begin("quick@example.org")
            w.send(filler)
            w.then("250")
    with Sink(hook=hook) as sink, Managed(relay=sink.port, retry_ms=3600000, cores=1) as s:
        def deferred(count):
            wait_until(lambda: s.log().count(" deferred ") == count, 10, f"{count} deferred")
        s.submit(["slow@example.org", "quick@example.org"])
        sink.got(1)
        deferred(1)
        first = segment_use(s, 0)
        equal(first[0], 2, "the first segment is in use")
        waiting = 1
        while segment_use(s, 0) == first:  # one that waits in each, so that there are enough of them
            check(waiting < 60, "the first segment stays")
            s.submit("slow@example.org")
            waiting += 1
            deferred(waiting)
            for _ in range(1 if waiting < 4 else 4):
                fill_segment(s)
        restart(s)
        taken_over(s, waiting)
        [message] = [m for m in get(s, *ids_of(s))["list"] if len(m["recipients"]) == 2]
        status = {a: r["status"] for a, r in message["recipients"].items()}
        check("ticket 4712" in status["slow@example.org"]["responseMessage"], f"reply: {status}")
        check("REMOTE18" in status["quick@example.org"]["responseMessage"], f"reply: {status}")
        equal({r["nextHop"] for r in message["recipients"].values()}, {"source"}, "next hops")
        codes = [a["responseCode"] for a in message["recipients"]["slow@example.org"]["attempts"].values()]
        equal(codes, [450], "attempts")
        equal(len(ids_of(s, error="ticket 4712")), waiting, "those with the reply")
