"""What is in reports to senders (RFC 3464), for the tests of what leads to them."""

import email
import email.policy

from lib import check, equal, split_local


def bounces(server, count=1):
    """The parsed DSNs in alice's mailbox."""
    parsed = []
    for raw in server.delivered(count):
        return_path, _, _, rest = split_local(raw) if b"\r\nReceived:" in raw[:300] else (
            raw.split(b"\r\n")[0], None, None, raw.split(b"\r\n", 2)[2])
        equal(return_path, b"Return-Path: <>", "Return-Path of a DSN")
        parsed.append(email.message_from_bytes(rest, policy=email.policy.SMTPUTF8))
    return parsed


def status_fields(dsn):
    """(fields of the message, [fields of each recipient]) of a DSN."""
    equal(dsn.get_content_type(), "multipart/report", "type of the DSN")
    equal(dsn.get_param("report-type"), "delivery-status", "report-type")
    parts = list(dsn.iter_parts())
    check(len(parts) >= 2, f"{len(parts)} parts")
    if parts[1].get_content_type() == "message/global-delivery-status":
        # Python takes it for a message: the first group is its header, the others its body.
        first = parts[1].get_payload(0)
        text = first.get_payload(decode=True).decode().replace("\r\n", "\n")
        groups = [first] + [email.message_from_string(g + "\n\n", policy=email.policy.SMTPUTF8)
                            for g in text.strip().split("\n\n")]
    else:
        equal(parts[1].get_content_type(), "message/delivery-status", "second part")
        groups = parts[1].get_payload()
    return groups[0], groups[1:]


def recipients(dsn):
    """Addresses of the recipients that a DSN is about."""
    return sorted(g["Final-Recipient"].split(";")[1].strip() for g in status_fields(dsn)[1])
