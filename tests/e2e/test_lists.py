"""Mail to mailing lists and groups."""

import re
import socket
import time

from lib import LOCAL, Server, Sink, check, equal, marked, run_ringmx, starts, wait_until
from test_management import Managed

WAITING = {"match": {"0": {"if": "is_local_address(rcpt)", "then": "'local'"}}, "else": "'source'"}


def mailing_list(name, *members, key=None, **fields):
    value = {"name": name, "domainId": "#d", "recipients": dict.fromkeys(members, True)} | fields
    return {"@type": "create", "object": "MailingList", "value": {key or f"l-{name}": value}}


def expanded(server, count=1, seconds=20):
    wait_until(lambda: server.log().count(" expanded ") >= count, seconds, f"{count} expanded lists")


def test_list_members():
    """Members get the content once each, local, aliased or relayed; the list is named on top, the sender stays."""
    body = marked("list")
    aliases = {"0": {"name": "a.liddell", "domainId": "#d"}}
    extra = [{"@type": "create", "object": "Account", "value": {
                 "x": {"@type": "User", "name": "lewis", "domainId": "#d", "aliases": aliases}}},
             mailing_list("team", "alice@example.org", "a.liddell@example.org", "Bob@example.org",
                          "team@example.org", aliases={"0": {"name": "crew", "domainId": "#d"}})]
    with Sink() as sink, Server(relay=sink.port, extra=extra) as s:
        s.submit("Team@example.org", body)
        [copy] = s.delivered(1)
        starts(copy, b"Return-Path: <sender@example.net>\r\nDelivered-To: alice@example.org\r\n"
               b"Delivered-To: team@example.org\r\nReceived: ", "the headers on top")
        equal(copy[-len(body):], body, "content")
        s.delivered(1, "lewis")
        [message] = sink.got()
        equal((message.sender, message.rcpts), ("sender@example.net", ["bob@example.org"]), "at the sink")
        s.submit(["team+tag@example.org", "crew@example.org"], body)
        s.delivered(3)
        s.delivered(3, "lewis")
        sink.got(3)
        expanded(s, 3)
        check(s.mailbox("team") == [], "a list has no mailbox")


def test_list_of_lists():
    """Lists in lists reach everybody; circles end with a report to the sender."""
    extra = [mailing_list("all", "devs@example.org", "alice@example.org"),
             mailing_list("devs", "lewis@example.org"),
             mailing_list("round", "about@example.org", "lewis@example.org"),
             mailing_list("about", "round@example.org", "alice@example.org")]
    with Server(users=("alice", "lewis"), extra=extra) as s:
        s.submit("all@example.org", marked())
        s.delivered(1)
        s.delivered(1, "lewis")
        s.submit("round@example.org", marked(), sender="alice@example.org")
        s.delivered(2, "lewis")
        wait_until(lambda: len(s.mailbox()) == 3, 15, "the copy and the report")
        [report] = [m for m in s.mailbox() if b"mail loop" in m]
        check(b"Final-Recipient: rfc822;round@example.org" in report, "the list is named")
        check(b"Status: 5.4.6" in report, "status")


def test_list_depth():
    """A chain of lists is followed eight deep; deeper is reported."""
    chain = [mailing_list(f"c{i}", f"c{i + 1}@example.org") for i in range(9)]
    chain += [mailing_list("c9", "alice@example.org")]
    with Server(users=("alice", "lewis"), extra=chain) as s:
        s.submit("c2@example.org", marked("eight lists"), sender="lewis@example.org")
        s.delivered(1)
        s.submit("c0@example.org", marked("ten lists"), sender="lewis@example.org")
        [report] = s.delivered(1, "lewis")
        check(b"Status: 5.4.6" in report and b"Final-Recipient: rfc822;c8@example.org" in report,
              "the report")


def test_list_without_members():
    """Mail to an empty list comes back."""
    with Server(extra=[mailing_list("empty"), mailing_list("self", "self@example.org")]) as s:
        s.submit(["empty@example.org", "self@example.org"], marked(), sender="alice@example.org")
        wait_until(lambda: b"".join(s.mailbox()).count(b"Status: 5.1.1") == 2, 15, "both reports")
        check(b"the mailing list has no members" in b"".join(s.mailbox()), "the reason")


def test_list_notify():
    """NOTIFY=SUCCESS is answered with 'expanded' by the list; failures of members are reported."""
    with Server(users=("alice", "lewis"), extra=[
            mailing_list("team", "lewis@example.org", "nobody@example.org")]) as s:
        with s.wire() as w:
            w.expect("MAIL FROM:<alice@example.org> ENVID=e1", "250")
            w.expect("RCPT TO:<team@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;the-team@example.org",
                     "250")
            w.expect("DATA", "354")
            w.send(marked() + b".\r\n")
            w.then("250")
        s.delivered(1, "lewis")
        wait_until(lambda: len(s.mailbox()) == 2, 15, "both reports")
        failed, done = sorted(s.mailbox(), key=lambda m: b"Action: expanded" in m)
        check(b"Final-Recipient: rfc822;team@example.org" in done and b"Status: 2.1.5" in done, "expanded")
        check(b"Final-Recipient: rfc822;nobody@example.org" in failed and b"Action: failed" in failed,
              "the failure of a member")
        for report in (failed, done):
            check(b"Original-Recipient: rfc822;the-team@example.org" in report, "ORCPT is passed on")
        time.sleep(0.5)
        equal(len(s.mailbox()), 2, "reports: none of lewis, whose success nobody asked for")


def test_list_large_message():
    """5 MB to a list arrive unchanged, locally and at the relay."""
    body = marked("large") + b"".join(b"%070d\r\n" % i for i in range(72000))
    extra = [mailing_list("team", "alice@example.org", "bob@example.org", "more@example.org"),
             mailing_list("more", "lewis@example.org")]
    with Sink() as sink, Server(relay=sink.port, users=("alice", "lewis"), extra=extra) as s:
        s.submit("team@example.org", body)
        for who in ("alice", "lewis"):
            [copy] = s.delivered(1, who, seconds=60)
            check(copy.endswith(b"\r\n" + body), f"content in the mailbox of {who}")
        [message] = sink.got()
        check(message.data.endswith(b"\r\n" + body), "content at the sink")


def waiting_members(server):
    """How often each member is in the queue of a server that was killed."""
    seen = {}
    for address in re.findall(r"to=<(m\d+@elsewhere\.example)>", server.queue()):
        seen[address] = seen.get(address, 0) + 1
    return seen


def big_list(count):
    return mailing_list("big", *(f"m{i}@elsewhere.example" for i in range(count)))


class Silent:
    """A next hop that takes connections and says nothing: what is for it stays in the queue, and no line is logged."""

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        return self

    def __exit__(self, *unused):
        self.socket.close()


def test_list_of_thousands():
    """3,000 members become several messages; each member is in one of them."""
    with Silent() as hop, Server(relay=hop.port, strategy=WAITING, extra=[big_list(3000)]) as s:
        s.submit("big@example.org", marked())
        expanded(s)
        check(s.log().count("list-mail-queued") >= 3, "several messages")
        s.kill()
        seen = waiting_members(s)
        equal((len(seen), set(seen.values())), (3000, {1}), "members and how often")


def test_list_expansion_killed():
    """kill -9 while lists are expanded: afterwards every member has every message exactly once."""
    body = marked("killed") + (b"x" * 70 + b"\r\n") * 14000  # 1 MB: every part is written anew
    least, most, rounds, finished = 8, 60, 0, 0
    with Silent() as hop, Managed(relay=hop.port, strategy=WAITING, cores=1, extra=[big_list(2500)]) as s:
        while rounds < least or (finished == rounds and rounds < most):  # a machine may be too slow to kill in between
            s.submit("big@example.org", body)
            wait_until(lambda n=rounds: s.log().count("list-mail-queued") >= n % 4, 20, "the moment")
            finished += " expanded " in s.log()
            rounds += 1
            s.kill()
            s.start()
        wait_until(lambda: " queue-recovered " in s.log() and not list_is_left(s), 60, "no list left")
        seen = waiting_members(s)
    equal((len(seen), set(seen.values())), (2500, {rounds}), "members and how often")
    check(finished < rounds, "never killed in between")


def list_is_left(server):
    """Is there a message that is still to be expanded? If not the server is killed, and it is so on the disk as well."""
    if server.api.calls(("x:QueuedMessage/query", {"filter": {"to": "big@"}, "limit": 1}))[0]["ids"]:
        return True
    server.kill()
    server.api.connection = None
    left = re.search(r"to=<big@example\.org> state=pending", server.queue())
    if left:
        server.start()
    return left


def test_list_changes():
    """Apply on a stopped server: a list's members and addresses are what was last written."""
    with Server(users=("alice", "lewis"), strategy=LOCAL, allow_relaying=False,
                extra=[mailing_list("team", "alice@example.org")]) as s:
        s.submit("team@example.org", marked())
        s.delivered(1)
        s.stop()
        s.apply([{"@type": "upsert", "object": "Domain", "matchOn": ["name"],
                  "value": {"d": {"name": "example.org"}}},
                 {"@type": "upsert", "object": "MailingList", "matchOn": ["name", "domainId"],
                  "value": {"t": {"name": "team", "domainId": "#d",
                                  "recipients": {"lewis@example.org": True}}}}])
        refused = s.apply([{"@type": "upsert", "object": "Domain", "matchOn": ["name"],
                            "value": {"d": {"name": "example.org"}}},
                           {"@type": "create", "object": "Account",
                            "value": {"x": {"@type": "User", "name": "team", "domainId": "#d"}}}],
                          expect=1)
        check("in use by a mailing list" in refused.stderr + refused.stdout, refused.stderr)
        refused = s.apply([{"@type": "destroy", "object": "Domain", "value": {"name": "example.org"}}],
                          expect=1)
        check("MailingList team@example.org" in refused.stderr + refused.stdout,
              refused.stderr + refused.stdout)
        s.start()
        s.submit("team@example.org", marked())
        s.delivered(1, "lewis")
        equal(len(s.mailbox()), 1, "messages of alice")


def test_group_mailbox():
    """A group is a mailbox of its own, with aliases and tags."""
    with Server(allow_relaying=False, extra=[{"@type": "create", "object": "Account", "value": {
            "g": {"@type": "Group", "name": "sales", "domainId": "#d",
                  "aliases": {"0": {"name": "orders", "domainId": "#d"}}}}}]) as s:
        s.submit(["sales+eu@example.org", "orders@example.org"], marked())
        s.delivered(2, "sales")
        done = run_ringmx("reference")
        check("## MailingList" in done.stdout and '`"@type": "Group"`' in done.stdout, "the reference has both")


def test_lists_change_live():
    """Lists and groups made, changed and deleted by the API are in force when the answer is there."""
    with Managed(users=("alice", "lewis"), strategy=LOCAL, allow_relaying=False) as s:
        domain = s.api.find("Domain", name="example.org")
        ident = s.api.create("MailingList", name="team", domainId=domain,
                             recipients={"alice@example.org": True},
                             aliases={"0": {"name": "crew", "domainId": domain}})
        s.submit(["team@example.org"], marked())
        s.delivered(1)
        s.api.update("MailingList", ident, **{"recipients/alice@example.org": None,
                                              "recipients/lewis@example.org": True})
        s.submit(["crew@example.org"], marked())
        s.delivered(1, "lewis")
        equal(s.api.find("MailingList", domainId=domain), ident, "found by its domain")
        answer = s.api.set("Account", create={"n": {"@type": "User", "name": "crew", "domainId": domain}})
        equal(answer["notCreated"]["n"]["type"], "primaryKeyViolation", "an address twice")
        answer = s.api.set("Domain", destroy=[domain])
        equal(answer["notDestroyed"][domain]["type"], "objectIsLinked", "a domain with lists")
        s.api.update("Domain", domain, name="example.com")
        s.api.update("MailingList", ident, recipients={"lewis@example.com": True})
        s.submit(["team@example.com"], marked())
        wait_until(lambda: s.mailbox("lewis", "example.com"), 15, "delivery under the new name")
        s.api.update("Domain", domain, name="example.org")
        s.api.destroy("MailingList", ident)
        group = s.api.create("Account", **{"@type": "Group", "name": "team", "domainId": domain})
        s.submit(["team@example.org"], marked())
        s.delivered(1, "team")
        s.api.destroy("Account", group)
        with s.wire() as w:
            w.expect("MAIL FROM:<>", "250")
            w.expect("RCPT TO:<team@example.org>", "550 5.1.1")
            w.expect("RCPT TO:<crew@example.org>", "550 5.1.1")
