"""The queue as the management API shows and changes it; actions."""

import ssl

from lib import Sink, check, equal, free_port, queue_id, throwaway_certificate, wait_until, work_folder
from test_explain import cli
from test_management import Managed

NOW = "2000-01-01T00:00:00Z"  # a time that has passed


def query(server, **args):
    """The answer of x:QueuedMessage/query."""
    [answer] = server.api.calls(("x:QueuedMessage/query", args))
    check(isinstance(answer, dict), f"query {args}: {answer}")
    return answer


def get(server, *ids):
    [answer] = server.api.calls(("x:QueuedMessage/get", {"ids": list(ids) or None}))
    check(isinstance(answer, dict), f"get {ids}: {answer}")
    return answer


def act(server, variant):
    server.api.create("Action", **{"@type": variant})


def fill(server, count):
    """Messages from user N to rcptN, on connections to whichever core; their queue ids in order."""
    ids = []
    for n in range(count):
        with server.wire() as w:
            w.expect(f"MAIL FROM:<user{n}@example.net> ENVID=e+2B{n} RET=HDRS", "250")
            w.expect(f"RCPT TO:<rcpt{n}@example.org> NOTIFY=NEVER ORCPT=rfc822;o{n}@example.org", "250")
            w.expect("DATA", "354")
            w.send(f"Subject: {n}\r\n\r\nnumber {n}\r\n.\r\n".encode())
            ids.append(queue_id(w.reply()))
    return ids


def test_queue_listed_and_cancelled():
    """Pages, filters and details of a queue on two cores; a cancelled message is not delivered, even after a
    restart; the others are when the next hop is back."""
    port = free_port()
    with Managed(relay=port, retry_ms=60000) as s:
        queue_ids = fill(s, 25)
        wait_until(lambda: "next-hop-down" in s.log(), 10, "the dead next hop is noticed")
        check(len({i.split("-")[1] for i in queue_ids}) == 2, "both cores have some of the queue")

        everything = query(s, calculateTotal=True)
        equal((everything["total"], everything["position"], len(everything["ids"])), (25, 0, 25), "all")
        ids = everything["ids"]
        messages = get(s, *ids)["list"]
        equal(sorted(m["queueId"] for m in messages), sorted(queue_ids), "every message once")
        arrivals = [m["createdAt"] for m in messages]
        equal(arrivals, sorted(arrivals, reverse=True), "newest first")
        id_of = {queue_ids.index(m["queueId"]): m["id"] for m in messages}

        # by position and by anchor: the same pages, nothing twice and nothing left out
        pages = [query(s, position=p, limit=10) for p in (0, 10, 20)]
        equal(sum((p["ids"] for p in pages), []), ids, "pages by position")
        equal([p.get("limit") for p in pages], [10, 10, None], "whether more follows")
        seen, anchor = ids[:1], ids[0]
        while True:
            page = query(s, anchor=anchor, anchorOffset=1, limit=7)
            equal(page["position"], len(seen), "position behind the anchor")
            if not page["ids"]:
                break
            seen, anchor = seen + page["ids"], page["ids"][-1]
        equal(seen, ids, "pages by anchor")
        equal(query(s, anchor=ids[9], anchorOffset=-3, limit=2)["ids"], ids[6:8], "before the anchor")
        equal(query(s, position=-4, limit=2)["ids"], ids[21:23], "from the end")
        equal(query(s, sort=[{"property": "id", "isAscending": True}], limit=3)["ids"], ids[:-4:-1], "oldest first")
        equal(s.api.calls(("x:QueuedMessage/query", {"anchor": "b"}))[0][1]["type"], "anchorNotFound", "no anchor")
        due = query(s, sort=[{"property": "due", "isAscending": True}])["ids"]
        times = [m["nextRetry"] for m in get(s, *due)["list"]]
        equal((sorted(due), times), (sorted(ids), sorted(times)), "in order of the next attempt")

        def found(**filter):
            return sorted(m["queueId"] for m in get(s, *query(s, filter=filter)["ids"])["list"]) if \
                query(s, filter=filter)["ids"] else []
        equal(found(text="USER7@"), [queue_ids[7]], "text in the sender")
        equal(found(text="rcpt8@"), [queue_ids[8]], "text in a recipient")
        equal(found(returnPath="user9@example.net"), [queue_ids[9]], "returnPath")
        equal(found(returnPath="rcpt9"), [], "returnPath is not the recipient")
        equal(found(to="rcpt1"), sorted([queue_ids[1]] + queue_ids[10:20]), "to")
        equal(found(to="rcpt1", returnPath="user12"), [queue_ids[12]], "both")
        equal(found(dueIsLessThan=NOW), [], "due before")
        equal(len(found(dueIsGreaterThan=NOW)), 25, "due after")
        equal(len(found(queueName="remote")), 25, "queueName")
        equal(found(queueName="local"), [], "another queue")

        [message] = get(s, id_of[3])["list"]
        equal((message["returnPath"], message["envId"], message["receivedFromIp"], message["flags"], message["held"],
               message["size"]), ("user3@example.net", "e+3", "127.0.0.1", {"unauthenticated": True}, False, 24),
              "envelope")
        rcpt = message["recipients"]["rcpt3@example.org"]
        equal((list(message["recipients"]), rcpt["status"]["@type"], rcpt["orcpt"], rcpt["retryDue"]),
              (["rcpt3@example.org"], "TemporaryFailure", "rfc822;o3@example.org", message["nextRetry"]), "recipient")
        check(rcpt["retryCount"] >= 1 and rcpt["expires"]["expiresAt"] > message["createdAt"], f"{rcpt}")

        # cancel three, one of them twice; by anybody's guess: nothing
        gone = [id_of[0], id_of[14], id_of[24]]
        answer = s.api.set("QueuedMessage", destroy=gone)
        equal(sorted(answer["destroyed"]), sorted(gone), "destroyed")
        equal(s.api.set("QueuedMessage", destroy=[gone[0]])["notDestroyed"][gone[0]]["type"], "notFound", "again")
        equal(s.api.set("QueuedMessage", destroy=["b"])["notDestroyed"]["b"]["type"], "notFound", "a guess")
        equal(get(s, *gone)["notFound"], gone, "get of what has gone")
        equal(query(s, calculateTotal=True)["total"], 22, "left")
        equal(s.log().count(" cancelled "), 3, "lines of the log")
        equal(s.api.set("QueuedMessage", create={"n": {}})["notCreated"]["n"]["type"], "forbidden", "create")

        s.kill()
        s.api.connection = None
        s.start()
        wait_until(lambda: query(s, calculateTotal=True)["total"] >= 22, 10, "the queue is taken over")
        equal(query(s, calculateTotal=True)["total"], 22, "after a kill")
        with Sink(port=port) as sink:
            for id in query(s)["ids"]:
                s.api.update("QueuedMessage", id, nextRetry=NOW)
            got = sink.got(22)
            left = [n for n in range(25) if n not in (0, 14, 24)]
            equal(sorted(m.sender for m in got), sorted(f"user{n}@example.net" for n in left), "delivered")
            wait_until(lambda: query(s)["ids"] == [], 10, "an empty queue")


def test_queue_by_virtual_queue():
    """Messages are found by the virtual queue of their schedule, with pages and totals, and changed by it; after another schedule,
    and after a restart, as at the last attempt."""
    with Managed(relay=free_port(), cores=2, retry_ms=None) as s:
        queues = {name: s.api.create("MtaVirtualQueue", name=name, threadsPerNode=5) for name in ("bulk", "vip")}
        hour = {"@type": "Custom", "intervals": {"0": {"duration": 3600000}}}
        for name, queue in queues.items():
            s.api.create("MtaDeliverySchedule", name=name, queueId=queue, retry=hour)

        def choose(otherwise):
            s.api.update("MtaOutboundStrategy", "singleton", schedule={"match": {
                "0": {"if": "starts_with(rcpt, 'vip')", "then": "'vip'"}}, "else": f"'{otherwise}'"})
        choose("bulk")
        for n in range(10):
            s.submit(f"vip{n}@example.org")
            s.submit(f"any{n}@example.org")
        both = s.submit(["vip@example.org", "any@example.org"])

        def found(name, **args):
            return query(s, filter={"queueName": name}, calculateTotal=True, **args)

        def totals():
            return [found(name)["total"] for name in ("vip", "bulk", "remote", "vi")]
        wait_until(lambda: totals() == [11, 11, 0, 0], 10, "found by their queues")
        ids = found("vip")["ids"]
        equal(found("vip", position=3, limit=4)["ids"], ids[3:7], "a page")
        equal(found("VIP", anchor=ids[5], anchorOffset=1, limit=20)["ids"], ids[6:], "behind an anchor")
        [message] = [m for m in get(s, *ids)["list"] if m["queueId"] == both]
        equal({to: rcpt["queueName"] for to, rcpt in message["recipients"].items()},
              {"vip@example.org": "vip", "any@example.org": "bulk"}, "shown")
        shown = cli(s, "queue", "list", "--queue", "vip", "--limit", "20", "--json").stdout
        equal(shown.count('"vip"'), 11, "by the command line")

        # Only the recipients that are meant are held; the others stay as they are.
        cli(s, "queue", "hold", "--queue", "vip", code=0)
        equal([sum(r["held"] for m in get(s, *found(name)["ids"])["list"] for r in m["recipients"].values())
               for name in ("vip", "bulk")], [11, 1], "held")
        choose("remote")
        equal(totals(), [11, 11, 0, 0], "until they are tried again")
        for id in found("bulk")["ids"][:4]:
            s.api.update("QueuedMessage", id, nextRetry=NOW)
        wait_until(lambda: totals() == [11, 7, 4, 0], 10, "tried again under another schedule")
        for stop in (s.stop, s.kill):
            stop()
            s.api.connection = None
            s.start()
            wait_until(lambda: query(s, calculateTotal=True)["total"] == 21, 10, "the queue is taken over")
            equal(totals(), [11, 7, 4, 0], "after a restart")


def test_queue_by_virtual_queue_before_it_is_tried():
    """Mail that has not been tried, as everything is paused, is found by the queue that it has; after a restart too, when its
    schedule has to be looked up first."""
    with Managed(relay=free_port(), cores=2, retry_ms=None) as s:
        queue = s.api.create("MtaVirtualQueue", name="vip", threadsPerNode=5)
        s.api.create("MtaDeliverySchedule", name="vip", queueId=queue)
        s.api.update("MtaOutboundStrategy", "singleton", schedule={"match": {
            "0": {"if": "starts_with(rcpt, 'vip')", "then": "'vip'"}}, "else": "'remote'"})
        act(s, "PauseMtaQueue")
        for n in range(60):
            s.submit([f"any{n}@example.org", f"vip{n}@example.org"] if n % 3 == 0 else f"any{n}@example.org")

        def total(name, **more):
            return query(s, filter={"queueName": name, **more}, calculateTotal=True)["total"]

        def totals():
            return [total("vip"), total("remote"), total("local"), total("vip", text="vip1"), total("vip", text="any1@")]
        for again in range(2):
            equal(totals(), [20, 60, 0, 3, 0], f"restarts: {again}")
            ids = query(s, filter={"queueName": "vip"})["ids"]
            equal(query(s, filter={"queueName": "vip"}, position=7, limit=5)["ids"], ids[7:12], "a page")
            rcpts = get(s, ids[0])["list"][0]["recipients"]
            equal(sorted((r["queueName"], r["retryCount"]) for r in rcpts.values()), [("remote", 0), ("vip", 0)], "shown")
            s.kill()
            s.api.connection = None
            s.start()
            wait_until(lambda: query(s, calculateTotal=True)["total"] == 60, 10, "the queue is taken over")
        cli(s, "queue", "hold", "--queue", "vip", code=0)
        held = [to for m in get(s, *query(s, filter={"status": "held"})["ids"])["list"]
                for to, rcpt in m["recipients"].items() if rcpt["held"]]
        equal(sorted(held), sorted(f"vip{n}@example.org" for n in range(0, 60, 3)), "held")


def test_queue_pages_while_it_changes():
    """Who goes through the queue page by page sees each message once, whatever becomes of those that were seen: the place where a
    page ended stays, also when its last message has gone, or waits for another time; and two do so at once."""
    with Managed(relay=free_port(), retry_ms=3600000) as s:
        fill(s, 60)
        wait_until(lambda: query(s, filter={"status": "deferred"}, calculateTotal=True)["total"] == 60, 20, "all were tried")

        def pages(done, **question):
            seen = query(s, limit=7, **question)["ids"]
            last = seen
            while last:
                done(last)
                page = query(s, anchor=last[-1], anchorOffset=1, limit=7, **question)
                last = page["ids"]
                seen = seen + last
                yield seen
        by_due = {"sort": [{"property": "due", "isAscending": True}]}
        in_order = query(s, **by_due)["ids"]

        def put_off(ids):
            for id in ids:
                s.api.update("QueuedMessage", id, nextRetry="2099-01-01T00:00:00Z")
        # Put off, they come again at the end: each page is what was behind the last one at its time.
        seen = []
        for seen in pages(lambda ids: put_off(ids) if len(seen) < 50 else None, **by_due):
            pass
        equal(seen[:60], in_order, "by the next attempt, put off when seen")

        def destroy(ids):
            equal(len(s.api.set("QueuedMessage", destroy=ids)["destroyed"]), len(ids), "destroyed")
        in_order = query(s)["ids"]
        other = pages(lambda ids: None, filter={"to": "@example.org"})
        theirs = []
        for seen in pages(destroy):
            theirs = next(other, theirs)
        equal(seen, in_order, "newest first, destroyed when seen")
        equal(theirs, in_order[7:], "the other one, who has begun behind the first page")
        equal(s.api.calls(("x:QueuedMessage/query", {"anchor": in_order[5], "anchorOffset": 1}))[0][1]["type"], "anchorNotFound",
              "one that no page ended with")


def test_queue_changed_in_one_call():
    """Many messages cancelled and put off in one call: each is answered for itself, and the answer is true after a kill."""
    port = free_port()
    with Managed(relay=port, retry_ms=3600000) as s:
        fill(s, 60)
        wait_until(lambda: "next-hop-down" in s.log(), 10, "the dead next hop is noticed")
        ids = query(s)["ids"]
        cancelled, later = ids[:40], ids[40:59]
        answer = s.api.set("QueuedMessage", destroy=[*cancelled[:20], "bad7", *cancelled[20:], ids[59]],
                           update={**{i: {"nextRetry": "2099-01-01T00:00:00Z"} for i in later},
                                   ids[59]: {"nextRetry": NOW}, "bad7z": {"nextRetry": NOW},
                                   cancelled[0]: {"size": 3}})
        equal(sorted(answer["destroyed"]), sorted([*cancelled, ids[59]]), "destroyed")
        equal({k: v["type"] for k, v in answer["notDestroyed"].items()}, {"bad7": "notFound"}, "not destroyed")
        equal(sorted(answer["updated"]), sorted(later), "updated")
        equal({k: v["type"] for k, v in answer["notUpdated"].items()},
              {ids[59]: "willDestroy", "bad7z": "notFound", cancelled[0]: "willDestroy"}, "not updated")
        answer = s.api.set("QueuedMessage", destroy=cancelled, update={later[0]: {}, "bad7": {}})
        equal((sorted(answer["notDestroyed"]), answer["updated"], list(answer["notUpdated"])),
              (sorted(cancelled), {later[0]: None}, ["bad7"]), "a second time")
        kept = {m["queueId"] for m in get(s, *later)["list"]}
        s.kill()
        s.api.connection = None
        s.start()
        wait_until(lambda: len(query(s)["ids"]) == 19, 10, "the rest of the queue after the kill")
        left = get(s, *query(s)["ids"])["list"]
        equal({m["queueId"] for m in left}, kept, "messages after the kill")
        equal({m["nextRetry"][:19] for m in left}, {"2099-01-01T00:00:00"}, "next attempts")


def test_retry_now():
    """nextRetry is set: a message that would wait for long is tried at once, although its next hop was down."""
    port = free_port()
    with Managed(relay=port, retry_ms=600000) as s:
        fill(s, 2)
        wait_until(lambda: "next-hop-down" in s.log(), 10, "the dead next hop is noticed")
        ids = query(s)["ids"]
        s.api.update("QueuedMessage", ids[0], nextRetry="2100-01-01T00:00:00Z")
        equal(get(s, ids[0])["list"][0]["nextRetry"], "2100-01-01T00:00:00.000Z", "a later time")
        refused = s.api.set("QueuedMessage", update={ids[0]: {"priority": 5}, ids[1]: {"size": 5}})["notUpdated"]
        equal([refused[i]["type"] for i in ids], ["invalidPatch"] * 2, "what cannot be changed")
        with Sink(port=port) as sink:
            s.api.update("QueuedMessage", ids[1], nextRetry=NOW)
            equal(sink.got(1)[0].sender, "user0@example.net", "the one that was asked for")
            s.stop()
            s.api.connection = None
            s.start()
            wait_until(lambda: query(s)["ids"], 10, "the queue is taken over")
            equal(get(s)["list"][0]["nextRetry"], "2100-01-01T00:00:00.000Z", "after a restart")
            s.api.update("QueuedMessage", query(s)["ids"][0], nextRetry=NOW)
            equal(sink.got(2)[1].sender, "user1@example.net", "the other one, now")


def test_queue_paused():
    """While paused mail is accepted and nothing is delivered, to mailboxes or next hops; then all of it."""
    with Sink() as sink, Managed(relay=sink.port) as s:
        act(s, "PauseMtaQueue")
        act(s, "PauseMtaQueue")
        with s.wire() as w:
            for n in range(10):
                w.message("alice@example.org", f"Subject: local {n}\r\n\r\nx\r\n".encode())
        fill(s, 10)
        equal(query(s, calculateTotal=True)["total"], 20, "waiting")
        for id in query(s)["ids"]:  # due, but paused
            s.api.update("QueuedMessage", id, nextRetry=NOW)
        equal((query(s, calculateTotal=True)["total"], sink.messages, s.mailbox()), (20, [], []), "while paused")
        equal([m["retryCount"] for q in get(s)["list"] for m in q["recipients"].values()], [0] * 20, "attempts")
        act(s, "ResumeMtaQueue")
        sink.got(10)
        s.delivered(10)
        wait_until(lambda: query(s)["ids"] == [], 10, "an empty queue")
        equal(s.log().count("delivery-paused"), s.cores, "lines of the log")


def test_pause_outlives_the_process():
    """After a restart, or a kill, nothing is delivered until it is resumed."""
    with Managed() as s:
        act(s, "PauseMtaQueue")
        s.submit("alice@example.org")
        equal(len(query(s)["ids"]), 1, "waiting")
        for end in (s.stop, s.kill):
            end()
            s.api.connection = None
            s.start()
            wait_until(lambda: query(s)["ids"], 10, "the queue is taken over")
        s.submit("alice@example.org")
        equal((len(query(s)["ids"]), s.mailbox()), (2, []), "still waiting")
        act(s, "ResumeMtaQueue")
        s.delivered(2)
        s.kill()
        s.api.connection = None
        s.start()
        s.submit("alice@example.org")
        s.delivered(3)


def served_certificate(server):
    with server.wire() as w:
        w.expect("STARTTLS", "220")
        w.start_tls()
        return ssl.DER_cert_to_PEM_cert(w.sock.getpeercert(binary_form=True))


def read(path):
    with open(path) as f:
        return f.read()


def test_certificate_files_reloaded():
    """A certificate in files is replaced there, and by the action in every session from then on; a broken file is
    refused, and the old certificate stays."""
    folder = work_folder()
    with Managed() as s:
        cert, key = throwaway_certificate(folder, "first.example.org")
        first = read(cert)
        s.api.create("Certificate", certificate={"@type": "File", "filePath": cert},
                     privateKey={"@type": "File", "filePath": key})
        equal(served_certificate(s), first, "certificate")
        throwaway_certificate(folder, "second.example.org")
        second = read(cert)
        equal(served_certificate(s), first, "before the action")
        act(s, "ReloadTlsCertificates")
        for _ in range(8):  # on whichever core
            equal(served_certificate(s), second, "after the action")
        with open(cert, "w") as f:
            f.write(first)  # does not go with the key
        answer = s.api.set("Action", create={"n": {"@type": "ReloadTlsCertificates"}})
        equal(answer["notCreated"]["n"]["type"], "validationFailed", "a certificate of another key")
        equal(served_certificate(s), second, "after the refusal")
        act(s, "ReloadBlockedIps")


def test_actions_in_recovery_mode():
    """There is no queue to pause, and that is said; the list of messages is empty."""
    with Managed(start=False) as s:
        s.start(env=dict(s.env, STALWART_RECOVERY_MODE="1"))
        answer = s.api.set("Action", create={"n": {"@type": "PauseMtaQueue"}})
        check("recovery mode" in str(answer.get("notCreated")), f"pause: {answer}")
        equal(query(s)["ids"], [], "messages")
        equal(get(s, "bcd")["notFound"], ["bcd"], "get")
        act(s, "ReloadSettings")
