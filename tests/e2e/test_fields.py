"""Every field that is served has an effect, and a test that shows it."""

import gzip
import http.client
import json
import os
import re
import smtplib
import socket
import ssl
import subprocess

from lib import (Sink, check, equal, free_port, marked, need_program, session_limits, starts,
                 throwaway_certificate, wait_until, work_folder)
from run import find_tests
from test_bans import PROXY, bans, say
from test_management import Api, Managed
from test_relay import later
from test_web import make_certificate

HOUR_MS = 3600000

# Type and field -> the end-to-end test, or the unit test, that shows what it does. Descriptions are for people alone.
EFFECTS = {
    "Domain": {"name": "split_delivery", "aliases": "domain_fields", "isEnabled": "domain_fields",
               "allowRelaying": "unknown_users", "verifyRecipients": "verify_unavailable",
               "catchAllAddress": "domain_fields", "subAddressing": "domain_fields"},
    "AccountUser": {"name": "account_fields", "domainId": "account_fields", "emailAddress": "account_fields",
                    "aliases": "aliases", "credentials": "account_fields", "roles": "nobody_gives_what_he_has_not",
                    "permissions": "permission_fields"},
    "AccountGroup": {"name": "group_mailbox", "domainId": "group_mailbox", "emailAddress": "account_fields",
                     "aliases": "group_mailbox"},
    "EmailAlias": {"enabled": "aliases", "name": "aliases", "domainId": "aliases"},
    "CredentialPassword": {"secret": "secrets_leave_no_trace", "expiresAt": "account_fields", "allowedIps": "account_fields"},
    "PermissionsMerge": {"enabledPermissions": "permission_fields", "disabledPermissions": "permission_fields"},
    "PermissionsReplace": {"enabledPermissions": "permission_fields", "disabledPermissions": "permission_fields"},
    "UserRolesCustom": {"roleIds": "nobody_gives_what_he_has_not"},
    "Role": {"enabledPermissions": "nobody_gives_what_he_has_not", "disabledPermissions": "permission_fields",
             "roleIds": "permission_fields"},
    "ApiKey": {"expiresAt": "api_key_fields", "allowedIps": "api_key_fields", "permissions": "api_key_fields",
               "accountId": "api_key_fields", "createdAt": "api_key_fields", "secret": "secrets_leave_no_trace"},
    "CredentialPermissionsDisable": {"permissions": "api_key_fields"},
    "CredentialPermissionsReplace": {"permissions": "api_key_fields"},
    "Security": {"authBanRate": "ban_for_failed_sign_ins", "authBanPeriod": "ban_for_failed_sign_ins",
                 "abuseBanRate": "ban_for_refused_recipients", "abuseBanPeriod": "ban_for_refused_recipients",
                 "loiterBanRate": "ban_for_loitering", "loiterBanPeriod": "ban_for_loitering",
                 "scanBanRate": "ban_for_unknown_commands", "scanBanPeriod": "ban_fields",
                 "scanBanPaths": "ban_for_paths", "ipv6PrefixLength": "ban_fields"},
    "Rate": {"count": "ban_for_unknown_commands", "period": "admin/check_ban.c"},
    "MailingList": {"name": "list_members", "domainId": "list_members", "emailAddress": "account_fields",
                    "aliases": "list_members", "recipients": "list_members"},
    "MtaRouteLocal": {"name": "split_delivery"},
    "MtaRouteMx": {"name": "mx_route_waits", "maxMxHosts": "mx_resolver_fields", "maxMultihomed": "mx_address_order",
                   "ipLookupStrategy": "mx_address_order"},
    "DnsResolverCustom": {"servers": "mx_resolver_changes_live", "timeout": "mx_resolver_fields",
                          "attempts": "mx_resolver_fields"},
    "MtaRouteRelay": {"name": "queue_follows_the_route", "address": "relay_implicit_tls", "port": "queue_follows_the_route",
                      "protocol": "lmtp_outcomes", "implicitTls": "relay_implicit_tls",
                      "allowInvalidCerts": "relay_implicit_tls"},
    "MtaOutboundStrategy": {"route": "refused_changes_change_nothing", "schedule": "schedule_by_recipient",
                            "connection": "connection_strategy_by_host", "tls": "tls_strategy_by_recipient"},
    "MtaDeliverySchedule": {"name": "schedule_by_recipient", "queueId": "queue_workers", "retry": "schedule_by_recipient",
                            "notify": "schedule_notices", "expiry": "schedule_by_recipient"},
    "MtaDeliveryScheduleIntervalsOrDefaultCustom": {"intervals": "schedule_by_recipient"},
    "MtaDeliveryScheduleInterval": {"duration": "schedule_by_recipient"},
    "MtaDeliveryExpirationTtl": {"expire": "schedule_notices"},
    "MtaDeliveryExpirationAttempts": {"maxAttempts": "schedule_by_recipient"},
    "MtaVirtualQueue": {"name": "queue_workers", "threadsPerNode": "queue_workers"},
    "MtaOutboundThrottle": {"enable": "throttle_keys", "key": "throttle_hosts", "match": "throttle_keys",
                            "rate": "throttle_defers"},
    "MtaQueueQuota": {"enable": "queue_quota_keys", "key": "queue_quota_keys", "match": "queue_quota_keys",
                      "messages": "queue_quota_whole_process", "size": "queue_quota_size"},
    "MtaTlsStrategy": {"name": "tls_strategy_by_recipient", "startTls": "tls_disabled",
                       "allowInvalidCerts": "tls_required_certificate", "tlsTimeout": "tls_timeout"},
    "MtaConnectionStrategy": {"name": "connection_strategy_by_host", "sourceIps": "connection_source_and_name",
                              "ehloHostname": "connection_source_and_name",
                              "connectTimeout": "connection_connect_timeout", "greetingTimeout": "connection_timeouts",
                              "ehloTimeout": "connection_timeouts", "mailFromTimeout": "connection_timeouts",
                              "rcptToTimeout": "connection_timeouts", "dataTimeout": "connection_timeouts"},
    "MtaConnectionIpHost": {"sourceIp": "connection_source_and_name", "ehloHostname": "connection_source_and_name"},
    "Expression": {"match": "expression_unknown_route", "else": "refused_changes_change_nothing"},
    "ExpressionMatch": {"if": "expression_unknown_route", "then": "expression_unknown_route"},
    "NetworkListener": {"name": "listeners_change_live", "bind": "listeners_change_live", "protocol": "listener_fields",
                        "overrideProxyTrustedNetworks": "proxy_by_listener", "useTls": "listeners_change_live",
                        "tlsImplicit": "implicit_tls", "maxConnections": "many_connections",
                        "socketBacklog": "listener_fields", "greetDelay": "greet_delay"},
    "SystemSettings": {"defaultHostname": "settings_fields", "defaultDomainId": "settings_fields",
                       "postmasterAddress": "postmaster", "defaultCertificateId": "certificate_fields",
                       "maxConnections": "many_connections", "maxConnectionsPerClient": "limit_of_a_client",
                       "maxConnectionsPerNetwork": "limit_of_a_network", "networkPrefixLengthIpv4": "limit_of_a_network",
                       "networkPrefixLengthIpv6": "limit_of_a_network",
                       "proxyTrustedNetworks": "proxy_networks_change_live"},
    "Certificate": {"certificate": "certificate_fields", "privateKey": "certificate_fields",
                    "notValidBefore": "certificate_fields", "notValidAfter": "certificate_fields",
                    "subjectAlternativeNames": "certificate_names", "issuer": "certificate_names"},
    "PublicTextText": {"value": "certificate_fields"}, "PublicTextFile": {"filePath": "certificate_files_reloaded"},
    "PublicTextEnvironmentVariable": {"variableName": "certificate_fields"},
    "SecretTextText": {"secret": "certificate_fields"}, "SecretTextFile": {"filePath": "certificate_files_reloaded"},
    "SecretTextEnvironmentVariable": {"variableName": "certificate_fields"},
    "BlockedIp": {"address": "blocked_clients", "expiresAt": "blocked_clients", "reason": "ban_for_refused_recipients",
                  "createdAt": "ban_fields"},
    "AllowedIp": {"address": "blocked_clients", "expiresAt": "allowed_until", "reason": "blocked_clients",
                  "createdAt": "allowed_until"},
    "MemoryLookupKey": {"namespace": "lookup_lists", "key": "lookup_lists", "isGlobPattern": "lookup_lists"},
    "MemoryLookupKeyValue": {"namespace": "lookup_lists", "key": "lookup_lists", "value": "lookup_lists",
                             "isGlobPattern": "route/test_lookup.c"},
    "MtaInboundThrottle": {"enable": "throttle_conditions", "key": "throttle_at_each_command",
                           "match": "throttle_conditions", "rate": "throttle_of_clients"},
    "MtaInboundSession": {"timeout": "timeouts", "maxDuration": "timeouts", "dataTimeout": "timeouts",
                          "minDataRate": "data_rate_off", "minDataRateGrace": "data_rate",
                          "maxErrors": "too_many_errors", "errorDelay": "error_delay", "errorDelayAfter": "error_delay", "maxCommands": "too_many_commands",
                          "maxLineLength": "session_fields", "unauthorizedPipelining": "pipelining_refused"},
    "MtaStageConnect": {"smtpGreeting": "stage_greeting", "hostname": "stage_hostname"},
    "MtaStageEhlo": {"rejectNonFqdn": "stage_helo", "require": "stage_no_helo"},
    "MtaExtensions": {"pipelining": "stage_extensions", "chunking": "stage_extensions", "dsn": "stage_extensions"},
    "DsnReportSettings": {"fromName": "dsn_from", "fromAddress": "dsn_from"},
    "MtaStageMail": {"isSenderAllowed": "stage_sender", "rewrite": "stage_rewrite"},
    "MtaStageRcpt": {"maxRecipients": "too_many_recipients", "maxFailures": "refused_recipients_of_a_session",
                     "waitOnFail": "wait_on_fail", "allowRelaying": "stage_relaying", "rewrite": "stage_rewrite"},
    "MtaStageData": {"maxMessageSize": "size", "maxMessages": "too_many_commands", "maxReceivedHeaders": "received_loop",
                     "bareNewlines": "normalize", "binaryMime": "session_fields"},
    "Performance": {f: "performance_changes_live" for f in (
        "receiveBuffers", "turnCompletions", "sessionSteps", "commitDelay", "commitRecords", "outcomeDelay", "activeMessages",
        "deliveryMemory", "connectionsPerHop", "connectionIdle", "connectionTransactions")} | {
            "contentMemory": "every_statistic_moves", "traceMemory": "trace_memory_bounded"} | {f"verification{f}": "verify_tuning" for f in (
                "Timeout", "KeepAccepted", "KeepRefused", "Cache", "Connections", "Questions")} | {
                    "overloadDescriptors": "overload_descriptors", "overloadMemory": "overload_memory",
                    "overloadDiskFree": "overload_disk", "overloadInodesFree": "overload_inodes",
                    "overloadQueueMessages": "overload_queue_messages", "overloadQueueBytes": "overload_queue_bytes"},
    "QueuedMessage": {"returnPath": "queue_listed_and_cancelled", "recipients": "queue_listed_and_cancelled",
                      "nextRetry": "retry_now", "createdAt": "queue_listed_and_cancelled",
                      "size": "queue_listed_and_cancelled", "envId": "queue_listed_and_cancelled",
                      "receivedFromIp": "queue_listed_and_cancelled", "flags": "queue_listed_and_cancelled",
                      "queueId": "queue_listed_and_cancelled", "held": "queue_held_after_a_kill",
                      "expiresAt": "queue_expiry_changed", "blobId": "queue_content_and_replies",
                      "damaged": "queue_active_and_damaged", "active": "queue_active_and_damaged"},
    "QueuedRecipient": {"status": "recipient_fields", "retryCount": "queue_paused",
                        "retryDue": "queue_listed_and_cancelled", "notifyCount": "recipient_fields",
                        "expires": "queue_expiry_changed", "orcpt": "queue_listed_and_cancelled",
                        "nextHop": "queue_content_and_replies", "held": "queue_by_filter",
                        "attempts": "queue_history", "queueName": "queue_by_virtual_queue"},
    "QueueAttempt": dict.fromkeys(("at", "result", "duration", "nextHop", "host", "peer", "responseCode",
                                   "responseMessage"), "queue_history"),
    "ActionPauseMtaQueue": {"route": "queue_route_paused", "queue": "virtual_queue_paused"},
    "ActionResumeMtaQueue": {"route": "queue_route_paused", "queue": "virtual_queue_paused"},
    "ActionChangeMtaQueue": dict.fromkeys(("operation", "at", "returnPath", "to", "nextHop", "error", "cursor"), "queue_by_filter") | {
        "status": "queue_held_after_a_kill", "queueName": "queue_by_virtual_queue"} | dict.fromkeys(
        ("text", "createdBefore", "createdAfter", "dueBefore", "dueAfter"), "queue_filters_of_changes"),
    "QueueExpiryTtl": {"expiresAt": "queue_listed_and_cancelled"},
    "RecipientStatusCompleted": {"responseCode": "recipient_fields",
                                        "responseMessage": "queue_content_and_replies"},
    "RecipientStatusTemporaryFailure": {"responseCode": "recipient_fields",
                                        "responseMessage": "queue_content_and_replies"},
    "RecipientStatusPermanentFailure": {"responseCode": "recipient_fields",
                                        "responseMessage": "queue_content_and_replies"},
}


def schema_of(s):
    location = s.api.http("GET", "/api/schema")[1]["Location"]
    return json.loads(gzip.decompress(s.api.http("GET", location)[2]))


def is_test(name, tests):
    unit = os.path.join(os.path.dirname(__file__), "..", name)
    return os.path.isfile(unit) if name.endswith(".c") else name in tests


def test_every_field_has_an_effect():
    """A field is served only if a test shows what it does; a new one needs one, and an entry in the table."""
    with Managed() as s:
        fields = schema_of(s)["fields"]
    tests = {name for name, _ in find_tests()}
    for name, described in fields.items():
        known = EFFECTS.get(name.removeprefix("x:"), {})
        served = set(described.get("properties", {})) - {"description"}
        equal(sorted(served), sorted(known), f"fields of {name} with a test")
        for field, test in known.items():
            check(is_test(test, tests), f"{name} {field}: there is no test {test}")
    check(all(f"x:{name}" in fields for name in EFFECTS), "a type of the table is not served")


def code(s, address):
    """The reply code to RCPT."""
    with s.wire() as w:
        w.expect("MAIL FROM:<a@example.net>", "250")
        return int(w.cmd(f"RCPT TO:<{address}>")[:3])


def test_domain_fields():
    """Aliases, catch-all, sub-addressing and being off act on the next RCPT."""
    with Managed(allow_relaying=False) as s:
        domain = s.api.find("Domain", name="example.org")
        equal([code(s, a) for a in ("alice@example.org", "alice+tag@example.org", "nobody@example.org",
                                    "alice@alias.example")], [250, 250, 550, 550], "at first")
        s.api.update("Domain", domain, subAddressing={"@type": "Disabled"})
        equal(code(s, "alice+tag@example.org"), 550, "without sub-addressing")
        s.api.update("Domain", domain, **{"aliases/alias.example": True})
        equal(code(s, "alice@alias.example"), 250, "by the domain's alias")
        s.api.update("Domain", domain, catchAllAddress="alice@example.org")
        s.submit("nobody@example.org", marked("caught"))
        check(b"caught" in s.delivered()[0], "the catch-all's mailbox")
        s.api.update("Domain", domain, allowRelaying=True)
        equal(code(s, "nobody@example.org"), 250, "relaying is allowed")
        s.api.update("Domain", domain, allowRelaying=False, isEnabled=False)
        equal([code(s, "alice@example.org"), code(s, "alice@alias.example")], [550, 550], "a domain that is off")
        s.api.update("Domain", domain, isEnabled=True)
        equal(code(s, "alice@example.org"), 250, "on again")


def sign_in(s, login, secret, source="127.0.0.1"):
    """Status of GET /api/account by password."""
    api = Api(s.http_port, f"{login}:{secret}")
    api.connection = http.client.HTTPConnection("127.0.0.1", s.http_port, timeout=60, source_address=(source, 0))
    try:
        return api.http("GET", "/api/account")[0]
    finally:
        api.connection.close()


def test_account_fields():
    """An account's name, domain and password as they are changed: addresses, and from where and until when it signs in."""
    word = "a password of some length"
    with Managed(allow_relaying=False) as s:
        domain = s.api.find("Domain", name="example.org")
        other = s.api.create("Domain", name="example.com")
        group = s.api.create("Account", **{"@type": "Group"}, name="team", domainId=domain)
        mailing_list = s.api.create("MailingList", name="news", domainId=domain)
        user = s.api.create("Account", **{"@type": "User"}, name="bob", domainId=domain,
                            credentials={"0": {"@type": "Password", "secret": word}})

        def address(kind, id):
            return s.api.calls((f"x:{kind}/get", {"ids": [id]}))[0]["list"][0]["emailAddress"]
        equal([address("Account", group), address("MailingList", mailing_list), address("Account", user)],
              ["team@example.org", "news@example.org", "bob@example.org"], "emailAddress")
        equal(sign_in(s, "bob@example.org", word), 200, "by password")
        s.api.update("Account", user, name="robert", domainId=other)
        equal([address("Account", user), code(s, "bob@example.org"), code(s, "robert@example.com")],
              ["robert@example.com", 550, 250], "after the change")
        equal([sign_in(s, "bob@example.org", word), sign_in(s, "robert@example.com", word)], [401, 200], "signing in")
        s.api.update("Account", user, **{"credentials/0/allowedIps": {"127.0.0.2": True}})
        equal([sign_in(s, "robert@example.com", word), sign_in(s, "robert@example.com", word, "127.0.0.2")],
              [401, 200], "allowedIps")
        s.api.update("Account", user, **{"credentials/0/allowedIps": {}, "credentials/0/expiresAt": "2001-01-01T00:00:00Z"})
        equal(sign_in(s, "robert@example.com", word), 401, "expiresAt")


def allowed(api, kind):
    [answer] = api.calls((f"x:{kind}/query", {}))
    return isinstance(answer, dict)


def test_permission_fields():
    """Roles in roles, and what an account or a role forbids or has instead, at the next request."""
    word = "a password of some length"
    with Managed() as s:
        domain = s.api.find("Domain", name="example.org")
        inner = s.api.create("Role", description="inner", enabledPermissions={"sysDomainQuery": True, "sysRoleQuery": True})
        role = s.api.create("Role", description="outer", roleIds={inner: True}, disabledPermissions={"sysRoleQuery": True})
        user = s.api.create("Account", **{"@type": "User"}, name="bob", domainId=domain,
                            roles={"@type": "Custom", "roleIds": {role: True}},
                            credentials={"0": {"@type": "Password", "secret": word}})
        bob = Api(s.http_port, f"bob@example.org:{word}")

        def may():
            return [allowed(bob, kind) for kind in ("Domain", "Role", "MtaRoute")]
        equal(may(), [True, False, False], "Role.roleIds and disabledPermissions")
        s.api.update("Account", user, permissions={"@type": "Merge", "enabledPermissions": {"sysMtaRouteQuery": True},
                                                   "disabledPermissions": {"sysDomainQuery": True}})
        equal(may(), [False, False, True], "Merge: enabledPermissions, disabledPermissions")
        s.api.update("Account", user, permissions={"@type": "Replace",
                                                   "enabledPermissions": {"sysRoleQuery": True, "sysDomainQuery": True},
                                                   "disabledPermissions": {"sysRoleQuery": True}})
        equal(may(), [True, False, False], "Replace: enabledPermissions, disabledPermissions")
        s.api.update("Account", user, permissions={"@type": "Inherit"})
        equal(may(), [True, False, False], "Inherit")


def test_api_key_fields():
    """Whose a key is, what may be done with it, from where and until when."""
    word = "a password of some length"
    with Managed() as s:
        domain = s.api.find("Domain", name="example.org")
        user = s.api.create("Account", **{"@type": "User"}, name="bob", domainId=domain, roles={"@type": "Admin"},
                            credentials={"0": {"@type": "Password", "secret": word}})
        bob = Api(s.http_port, f"bob@example.org:{word}")
        made = bob.set("ApiKey", create={"k": {"description": "key"}})["created"]["k"]
        shown = bob.calls(("x:ApiKey/get", {"ids": [made["id"]]}))[0]["list"][0]
        equal((shown["accountId"], shown["secret"]), (user, "****"), "accountId, secret")
        check(re.match(r"20\d\d-\d\d-\d\dT", shown["createdAt"]), f"createdAt: {shown}")
        key = Api(s.http_port)
        key.headers["Authorization"] = f"Bearer {made['secret']}"
        equal([allowed(key, "Domain"), allowed(key, "Role")], [True, True], "Inherit")
        bob.update("ApiKey", made["id"], permissions={"@type": "Disable", "permissions": {"sysDomainQuery": True}})
        equal([allowed(key, "Domain"), allowed(key, "Role")], [False, True], "Disable")
        bob.update("ApiKey", made["id"], permissions={"@type": "Replace", "permissions": {"sysDomainQuery": True}})
        equal([allowed(key, "Domain"), allowed(key, "Role")], [True, False], "Replace")
        bob.update("ApiKey", made["id"], allowedIps={"127.0.0.2": True})
        equal(key.http("GET", "/api/account")[0], 401, "allowedIps")
        bob.update("ApiKey", made["id"], allowedIps={}, expiresAt="2001-01-01T00:00:00Z")
        equal(key.http("GET", "/api/account")[0], 401, "expiresAt")
        bob.update("ApiKey", made["id"], expiresAt=None)
        equal(key.http("GET", "/api/account")[0], 200, "for ever")


def test_ban_fields():
    """The prefix that is one IPv6 client, and how long a ban holds."""
    with Managed(settings=PROXY) as s:
        s.api.update("Security", "singleton", scanBanRate={"count": 3, "period": HOUR_MS}, scanBanPeriod=2 * HOUR_MS,
                     ipv6PrefixLength=48)

        def scan(client, times):
            with socket.create_connection(("127.0.0.1", s.port), timeout=20) as raw:
                raw.sendall(f"PROXY TCP6 {client} 2001:db8::25 4711 25\r\n".encode())
                starts(raw.recv(200).decode(), "220", "banner")
                for _ in range(times):
                    starts(say(raw, "XYZZY"), "500", "an unknown command")
        scan("2001:db8:7:1::1", 2)
        scan("2001:db8:8:1::1", 2)
        scan("2001:db8:7:2::1", 2)
        ban = wait_until(lambda: bans(s).get("2001:db8:7::/48"), 10, "a ban of the /48")
        equal(list(bans(s)), ["2001:db8:7::/48"], "bans")
        times = [int(subprocess.run(["date", "-d", ban[k], "+%s"], capture_output=True, check=True).stdout)
                 for k in ("createdAt", "expiresAt")]
        check(abs(times[1] - times[0] - 7200) <= 5, f"createdAt, expiresAt: {ban}")


def test_allowed_until():
    """An AllowedIp holds until it expires, and says since when it is there."""
    with Managed(settings=PROXY) as s:
        s.api.create("BlockedIp", address="203.0.113.0/24")
        allow = s.api.create("AllowedIp", address="203.0.113.7", expiresAt="2099-01-01T00:00:00Z")
        check(s.api.calls(("x:AllowedIp/get", {"ids": [allow]}))[0]["list"][0]["createdAt"].startswith("20"), "createdAt")

        def banner():
            with socket.create_connection(("127.0.0.1", s.port), timeout=20) as raw:
                raw.sendall(b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 25\r\n")
                try:
                    return raw.recv(3)
                except ConnectionResetError:
                    return b""
        equal(banner(), b"220", "while it is allowed")
        s.api.update("AllowedIp", allow, expiresAt="2001-01-01T00:00:00Z")
        equal(banner(), b"", "afterwards")


def test_listener_fields():
    """The kernel's queue is as long as socketBacklog says; what is spoken is SMTP, other protocols are refused by name."""
    ss = need_program("ss")
    with Managed() as s:
        port = free_port()
        s.api.create("NetworkListener", name="other", bind={f"127.0.0.1:{port}": True}, socketBacklog=77, protocol="smtp")
        out = subprocess.run([ss, "-ltnH", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
        equal({line.split()[2] for line in out.splitlines()}, {"77"}, f"backlogs ({out})")
        with s.wire(port=port):
            pass
        for protocol in ("imap", "lmtp"):
            refused = s.api.set("NetworkListener", create={"n": {"name": "x", "bind": {f"127.0.0.1:{free_port()}": True},
                                                                 "protocol": protocol}})["notCreated"]["n"]
            check(f"'{protocol}' is not supported by ringmx" in refused["description"], f"{refused}")


def test_settings_fields():
    """The host name in banner and EHLO; the domain of a login without one."""
    word = "a password of some length"
    with Managed() as s:
        other = s.api.create("Domain", name="example.com")
        s.api.create("Account", **{"@type": "User"}, name="bob", domainId=other,
                     credentials={"0": {"@type": "Password", "secret": word}})
        equal(sign_in(s, "bob", word), 401, "before")
        s.api.update("SystemSettings", "singleton", defaultDomainId=other, defaultHostname="mx2.example.com")
        equal(sign_in(s, "bob", word), 200, "in the default domain")
        with smtplib.SMTP("127.0.0.1", s.port, timeout=20) as client:
            check(client.ehlo()[1].startswith(b"mx2.example.com"), "EHLO")


def pem(path):
    with open(path) as f:
        return f.read()


def name_served(s):
    """The certificate that STARTTLS shows."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", s.port, timeout=20) as client:
        client.starttls(context=context)
        return ssl.DER_cert_to_PEM_cert(client.sock.getpeercert(True))


def test_certificate_fields():
    """A certificate given as text or in the environment; which of several is shown; until when it is valid."""
    folders = [work_folder() for _ in range(2)]
    pairs = [[pem(path) for path in throwaway_certificate(f, f"mx{i}.example.org")] for i, f in enumerate(folders)]
    with Managed(start=False) as s:
        s.env |= {"CERT_OF_TEST": pairs[1][0], "KEY_OF_TEST": pairs[1][1]}
        s.start()
        text = s.api.create("Certificate", certificate={"@type": "Text", "value": pairs[0][0]},
                            privateKey={"@type": "Text", "secret": pairs[0][1]})
        equal(name_served(s), pairs[0][0], "the only one there is")
        shown = s.api.calls(("x:Certificate/get", {"ids": [text]}))[0]["list"][0]
        equal(shown["privateKey"], {"@type": "Text", "secret": "****"}, "the key as it is shown")
        said = subprocess.run(["openssl", "x509", "-in", os.path.join(folders[0], "cert.pem"), "-noout", "-dates",
                               "-dateopt", "iso_8601"], capture_output=True, text=True, check=True).stdout
        equal([shown["notValidBefore"][:19] + "Z", shown["notValidAfter"][:19] + "Z"],
              [line.split("=")[1].replace(" ", "T") for line in said.splitlines()], "notValidBefore, notValidAfter")
        s.api.update("SystemSettings", "singleton", defaultCertificateId=text)
        variable = s.api.create("Certificate", certificate={"@type": "EnvironmentVariable", "variableName": "CERT_OF_TEST"},
                                privateKey={"@type": "EnvironmentVariable", "variableName": "KEY_OF_TEST"})
        equal(name_served(s), pairs[0][0], "the default one of two")
        s.api.update("SystemSettings", "singleton", defaultCertificateId=variable)
        equal(name_served(s), pairs[1][0], "the default one, from the environment")
        refused = s.api.set("Certificate", destroy=[variable])["notDestroyed"][variable]
        equal(refused["linkedObjects"][0]["object"], "SystemSettings", "who holds it")


def test_certificate_names():
    """What a certificate is for and who has issued it, as openssl reads it; the names stand for it in lists."""
    cert, key = make_certificate(work_folder(), "names.example.org")
    with Managed() as s:
        made = s.api.create("Certificate", certificate={"@type": "Text", "value": pem(cert)},
                            privateKey={"@type": "Text", "secret": pem(key)})
        [shown] = s.api.calls(("x:Certificate/get", {"ids": [made]}))[0]["list"]
        said = subprocess.run(["openssl", "x509", "-in", cert, "-noout", "-issuer", "-nameopt", "RFC2253", "-ext", "subjectAltName"],
                              capture_output=True, text=True, check=True).stdout
        equal("issuer=" + shown["issuer"], said.splitlines()[0], "issuer")
        names = re.findall(r"(?:DNS|IP Address):([^,\s]+)", said)
        equal(names, ["names.example.org", "127.0.0.1"], "names that openssl reads")
        equal(shown["subjectAlternativeNames"], {name: True for name in names}, "names that are shown")
        refused = s.api.set("Certificate", update={made: {"issuer": "x"}})["notUpdated"][made]
        check("is set by the server" in refused["description"], f"writing it: {refused}")


def test_certificates_by_name():
    """Certificates are found by a part of a name that they are for, in any case, of text and of files; one whose file is
    gone is not found, and hides no other one."""
    folder = work_folder()

    def found(text, **more):
        return s.api.calls(("x:Certificate/query", {"filter": {"subjectAlternativeNames": text}, **more}))[0]["ids"]
    with Managed() as s:
        cert, key = make_certificate(folder, "mail.example.org")
        mail = s.api.create("Certificate", certificate={"@type": "Text", "value": pem(cert)},
                            privateKey={"@type": "Text", "secret": pem(key)})
        s.api.update("SystemSettings", "singleton", defaultCertificateId=mail)
        cert, key = make_certificate(folder, "in_bound.example.net")
        inbound = s.api.create("Certificate", certificate={"@type": "File", "filePath": cert},
                               privateKey={"@type": "File", "filePath": key})
        for text, expected in (("mail.example.org", [mail]), ("MAIL.Example", [mail]), ("example", [inbound, mail]),
                               ("127.0.0.1", [inbound, mail]), ("in_bound", [inbound]), ("inxbound", []), ("m_il", []),
                               ("%", []), ("x" * 255, [])):
            equal(found(text), expected, text)
        equal(found("example", limit=1, position=1), [mail], "a page")
        for text in ("x" * 300, "", 5):
            answer = s.api.calls(("x:Certificate/query", {"filter": {"subjectAlternativeNames": text}}))[0]
            equal(answer[1]["type"], "invalidArguments", f"{text}: {answer}")
        answer = s.api.calls(("x:Certificate/query", {"filter": {"issuer": "x"}}))[0]
        equal((answer[1]["type"], answer[1]["description"]), ("unsupportedFilter", "issuer"), f"{answer}")
        os.unlink(cert)
        equal(found("example"), [mail], "without the file")


def test_session_fields():
    """The longest command line; BINARYMIME is offered and taken when it is on."""
    with Managed(extra=[session_limits(maxLineLength=512)]) as s:
        with s.wire() as w:
            w.expect("NOOP " + "x" * 507, "250")
            w.expect("NOOP " + "x" * 508, "500 5.5.2")
            w.expect("MAIL FROM:<a@example.net> BODY=BINARYMIME", "5")
        s.api.update("MtaStageData", "singleton", binaryMime=True)
        with s.wire(hello=False) as w:
            w.then("220", "banner")
            check("250-BINARYMIME" in w.cmd("EHLO x.example.net"), "BINARYMIME in EHLO")
            w.expect("MAIL FROM:<a@example.net> BODY=BINARYMIME", "250")


def test_recipient_fields():
    """What came of each recipient: codes of the next hop, attempts, and reports of delay."""
    def hook(session, verb, line):
        if verb == "RCPT" and "bob" in line:
            return "451 4.2.0 later"
        return "550 5.1.1 never" if verb == "RCPT" and "carol" in line else None
    with Sink(hook=hook) as sink, Managed(relay=sink.port, retry_ms=None) as s:
        def recipients():
            [answer] = s.api.calls(("x:QueuedMessage/get", {}))
            messages = [m for m in answer["list"] if m["returnPath"] == "alice@example.org"]
            return messages[0]["recipients"] if messages else {}

        def tried():
            found = recipients()
            return found if found and found["bob@example.org"]["retryCount"] > 0 else None
        s.submit(["bob@example.org", "carol@example.org", "dave@example.org"], marked("three"), sender="alice@example.org")
        found = wait_until(tried, 20, "the first attempt")
        wait_until(lambda: recipients()["dave@example.org"]["status"]["@type"] == "Completed", 20, "the outcome of dave")
        found = recipients()
        equal({name: (r["status"]["@type"], r["status"]["responseCode"], r["notifyCount"]) for name, r in found.items()},
              {"bob@example.org": ("TemporaryFailure", 451, 0), "carol@example.org": ("PermanentFailure", 550, 0),
               "dave@example.org": ("Completed", 250, 0)}, "status")
        s.stop()
        s.api.connection = None
        s.start(env=s.env | later(1.1))
        wait_until(lambda: (recipients() or {}).get("bob@example.org", {}).get("notifyCount") == 1, 20, "a report of delay")
