"""Lists that expressions look keys up in, and statistics in expressions."""

from lib import check, constant, starts, wait_until
from test_management import Managed


def said(s, command):
    """What MAIL or RCPT is answered, in a session of its own."""
    with s.wire() as w:
        if command.startswith("RCPT"):
            w.expect("MAIL FROM:<a@example.net>", "250")
        return w.cmd(command)


def refusal(s, kind, change):
    """The text of the refusal of a change."""
    answer = s.api.set(kind, **change)
    for part in ("notCreated", "notUpdated", "notDestroyed"):
        for error in answer.get(part, {}).values():
            return error.get("description", "") + str(error.get("validationErrors", ""))
    return f"accepted: {answer}"


def test_lookup_lists():
    """Keys, values and patterns of both types, in force on all cores with the answer; names that are not there, keys that are
    there twice and the last key of a list in use are refused by name."""
    with Managed(cores=2) as s:
        s.api.update("Domain", s.api.find("Domain", name="example.org"), allowRelaying=False)
        s.api.create("MemoryLookupKey", namespace="senders", key="spam@example.net")
        pattern = s.api.create("MemoryLookupKey", namespace="senders", key="*@bad.example", isGlobPattern=True)
        s.api.update("MtaStageMail", "singleton", isSenderAllowed=constant("!key_exists('senders', to_lowercase(sender))"))
        for sender, code in (("SPAM@example.net", "550"), ("x@bad.example", "550"), ("x@example.net", "250")) * 3:
            starts(said(s, f"MAIL FROM:<{sender}>"), code, sender)
        s.api.destroy("MemoryLookupKey", pattern)
        for _ in range(4):
            starts(said(s, "MAIL FROM:<x@bad.example>"), "250", "after the pattern has gone")
        moved = s.api.create("MemoryLookupKeyValue", namespace="moved", key="old@example.org", value="alice@example.org")
        s.api.update("MtaStageRcpt", "singleton", rewrite=constant("key_get('moved', rcpt)"))
        starts(said(s, "RCPT TO:<old@example.org>"), "250", "an address with another")
        starts(said(s, "RCPT TO:<older@example.org>"), "550", "an address without")
        s.api.update("MemoryLookupKeyValue", moved, key="older@example.org")
        starts(said(s, "RCPT TO:<old@example.org>"), "550", "after the key has changed")
        starts(said(s, "RCPT TO:<older@example.org>"), "250", "the new key")

        text = refusal(s, "MtaStageMail", {"update": {"singleton": {"rewrite": constant("key_get('Moved', sender)")}}})
        check("at position 8" in text and 'not "Moved"; available: * moved senders' in text, text)
        text = refusal(s, "MemoryLookupKey", {"create": {"a": {"namespace": "moved", "key": "older@example.org"}}})
        check("the list 'moved' has the key 'older@example.org' twice" in text, text)
        text = refusal(s, "MemoryLookupKey", {"create": {"a": {"namespace": "*", "key": "x"}}})
        check("is the store that expressions fill" in text, text)
        text = refusal(s, "MemoryLookupKeyValue", {"destroy": [moved]})
        check('not "moved"; available: * senders' in text, text)
        s.api.update("MtaStageRcpt", "singleton", rewrite=constant("false"))
        s.api.destroy("MemoryLookupKeyValue", moved)
        check(s.api.create("Action", **{"@type": "ReloadLookupStores"}), "the action of the contract")
        s.stop()
        s.start()
        starts(said(s, "MAIL FROM:<spam@example.net>"), "550", "after a restart")


def test_metric_function():
    """A statistic of all cores in an expression; one that does not exist is refused with those that do."""
    with Managed(cores=2) as s:
        text = refusal(s, "MtaStageMail", {"update": {"singleton": {"isSenderAllowed": constant("metric('queue.size') > 1")}}})
        check("at position 7" in text and "one of: queue.count queue.message-queued queue.rescheduled" in text, text)
        s.api.update("MtaStageMail", "singleton", isSenderAllowed=constant("metric('queue.message-queued') < 5"))
        wait_until(lambda: said(s, "MAIL FROM:<a@example.net>")[:3] == "250", 10, "the first collection")
        s.api.update("MtaStageMail", "singleton", isSenderAllowed=constant("true"))
        for _ in range(5):  # over whichever core
            s.submit("alice@example.org")
        s.api.update("MtaStageMail", "singleton", isSenderAllowed=constant("metric('queue.message-queued') < 5"))
        wait_until(lambda: said(s, "MAIL FROM:<a@example.net>")[:3] == "550", 10, "five messages of both cores")
