"""The requests of the unmodified stalwart-cli against the real process, and its parser's demands on every answer."""

from lib import Fail, check, equal
from strict_client import Refused, StrictClient, check_set_error
from client import Bare
from test_management import ADMIN, Managed


def client_of(s):
    return StrictClient(s.http_port, ADMIN)


def test_client_writes_and_reads():
    """create, get, query, update by pointer and delete, with the ids and the errors that the client needs."""
    with Bare() as s:
        c = client_of(s)
        domain = c.create("Domain", {"name": "example.org"})
        equal(c.query("Domain", ["id"], name="example.org"), [{"id": domain}], "query --fields id")
        c.update("Domain", domain, {"allowRelaying": True})
        c.update("Domain", domain, {"aliases/example.net": True, "description": "d"})
        equal(c.get("Domain", domain, ["aliases", "allowRelaying"]),
              {"id": domain, "aliases": {"example.net": True}, "allowRelaying": True}, "get --fields")
        c.update("Domain", domain, {"aliases/example.net": None, "description": None})
        equal((c.get("Domain", domain)["aliases"], c.get("Domain", domain)["description"]), ({}, None), "after the patch")
        route = c.create("MtaRoute", {"@type": "Relay", "name": "source", "address": "source.internal.example.org",
                                      "port": 25, "protocol": "smtp", "implicitTls": False, "allowInvalidCerts": True})
        equal(c.get("MtaRoute", route)["@type"], "Relay", "@type")
        c.update("MtaOutboundStrategy", "singleton", {"route": {
            "match": {"0": {"if": "is_local_address(rcpt)", "then": "'local'"},
                      "1": {"if": "is_local_domain(rcpt_domain)", "then": "'source'"}}, "else": "'mx'"}})
        c.update("SystemSettings", "singleton", {"proxyTrustedNetworks": {"203.0.113.10/32": True}})
        equal(c.get("SystemSettings", "singleton", ["proxyTrustedNetworks"]),
              {"id": "singleton", "proxyTrustedNetworks": {"203.0.113.10": True}}, "a host's prefix is not shown")
        equal(c.delete("MtaRoute", [route])[route]["type"], "objectIsLinked", "a route in use")
        equal(c.get("MtaRoute", "bcd"), None, "an id that is not there")
        answer = c.create("Action", {"@type": "ReloadSettings"})
        check(isinstance(answer, str), "the id of an action")


def test_client_pages():
    """Whole pages and the empty one behind them; many deletions in parts."""
    with Bare() as s:
        c = client_of(s)
        for part in range(2):
            made = c.set("BlockedIp", create={f"n{i}": {"address": f"203.0.{part}.{i % 256}" if i < 256 else
                                                        f"198.51.{part}.{i - 256}"} for i in range(c.most_set)})
            equal(len(made["created"]), c.most_set, "created")
        rows = c.query("BlockedIp", ["address"])
        equal((len(rows), len({row["id"] for row in rows})), (2 * c.most_get, 2 * c.most_get), "rows")
        equal([r["id"] for r in c.query("BlockedIp", ["id"], address="203.0.1.7")],
              [row["id"] for row in rows if row["address"] == "203.0.1.7"], "a filter")
        equal(c.delete("BlockedIp", [row["id"] for row in rows]), {}, "deletions")
        equal(c.query("BlockedIp"), [], "rows left")
        many = {f"n{i}": {"address": "203.0.113.1"} for i in range(c.most_set + 1)}
        try:
            c.set("BlockedIp", create=many)
            raise Fail("more objects than allowed were taken")
        except Refused as refused:
            equal(refused.args[0], "requestTooLarge", "too many objects")


def test_client_applies():
    """A plan in the client's requests: references in values and keys, by creation ids of this call and of earlier ones."""
    plan = [
        ("upsert", "Domain", {"d1": {"name": "example.org", "description": "one"}, "d2": {"name": "example.com"}}),
        ("create", "Role", {"r1": {"description": "inner", "enabledPermissions": {"sysDomainGet": True}},
                            "r2": {"description": "outer", "roleIds": {"#r1": True}}}),
        ("create", "Account", {"u1": {"@type": "User", "name": "ann", "domainId": "#d1",
                                      "aliases": {"0": {"name": "a", "domainId": "#d2"}},
                                      "roles": {"@type": "Custom", "roleIds": {"#r2": True}}}}),
        ("update", "Domain", ("#d1", {"description": "main"})),
        ("update", "SystemSettings", ("singleton", {"defaultDomainId": "#d1"})),
    ]
    with Bare() as s:
        c = client_of(s)
        created = c.apply(plan)
        account = c.get("Account", created["u1"])
        equal((account["domainId"], account["roles"], account["aliases"]["0"]["domainId"]),
              (created["d1"], {"@type": "Custom", "roleIds": {created["r2"]: True}}, created["d2"]), "references")
        equal(c.get("SystemSettings", "singleton")["defaultDomainId"], created["d1"], "defaultDomainId")
        again = c.apply(plan[:1])
        equal({k: again[k] for k in ("d1", "d2")}, {k: created[k] for k in ("d1", "d2")}, "the second time")
        equal(len(c.query("Domain")), 2, "domains")
        c.apply([("destroy", "Role", {}), ("destroy", "Account", {})])
        equal((c.query("Account"), c.query("Role")), ([], []), "destroyed in reverse order")


def test_client_reconciles():
    """upsert by several properties and by reference, and reconcile within a scope: twice the same plan is no change."""
    plan = [
        ("upsert", "Domain", {"d1": {"name": "example.org"}, "d2": {"name": "example.com"}}),
        ("upsert", "Account", {f"u{i}": {"@type": "User", "name": f"u{i}", "domainId": "#d2" if i % 2 else "#d1",
                                         "description": "one"} for i in range(600)}, {"matchOn": ["name", "domainId"]}),
        ("reconcile", "MtaRoute", {"r1": {"name": "hub", "address": "192.0.2.25", "port": 26}},
         {"matchOn": ["name"], "scope": {"@type": "Relay"}}),
    ]
    with Bare() as s:
        c = client_of(s)
        others = len(c.query("MtaRoute"))
        c.create("MtaRoute", {"@type": "Relay", "name": "old", "address": "192.0.2.26"})
        first = c.apply(plan)
        equal(first, c.apply(plan), "ids of the first and of the second time")
        equal({r["name"]: r["port"] for r in c.query("MtaRoute") if r["@type"] == "Relay"}, {"hub": 26}, "relays")
        equal(len(c.query("MtaRoute")), others + 1, "routes")
        accounts = c.query("Account", ["name", "domainId"])
        equal(len(accounts), 600, "accounts")
        equal(c.labels("Domain", sorted({a["domainId"] for a in accounts})),
              {first["d1"]: "example.org", first["d2"]: "example.com"}, "names of domains")


def test_client_snapshots():
    """Every type can be read whole: singletons from the first start, variants named where there are several."""
    with Managed() as s:
        c = client_of(s)
        for name, described in c.schema["objects"].items():
            kind = name.removeprefix("x:")
            if described["type"] != "view" and kind != "Action":
                rows = c.snapshot(kind)
                check(described["type"] != "singleton" or len(rows) == 1, f"{kind}: {rows}")


def test_client_understands_errors():
    """Every kind of refusal has the form that the client's parser takes."""
    with Managed() as s:
        c = client_of(s)
        domain = c.query("Domain", ["id"])[0]["id"]
        listener = c.query("NetworkListener", ["id"])[0]["id"]
        cases = [
            ("Domain", {"create": {"n": {"name": "example.org"}}}, "primaryKeyViolation"),
            ("Domain", {"create": {"n": {"name": ""}}}, "invalidPatch"),
            ("Domain", {"create": {"n": {}}}, "validationFailed"),
            ("Domain", {"create": {"n": {"name": "a.example", "logo": "x"}}}, "invalidPatch"),
            ("Domain", {"create": {"n": {"name": "a.example", "nonsense": 1}}}, "invalidPatch"),
            ("Domain", {"create": {"n": {"name": "a.example", "isEnabled": "yes"}}}, "invalidPatch"),
            ("Domain", {"update": {domain: {"description": "x" * 300}}}, "validationFailed"),
            ("Domain", {"destroy": [domain]}, "objectIsLinked"),
            ("Domain", {"destroy": ["bcdz"]}, "notFound"),
            ("Domain", {"update": {domain: {}}, "destroy": [domain]}, "willDestroy"),
            ("Account", {"create": {"n": {"@type": "User", "name": "x", "domainId": "bcdz"}}}, "invalidForeignKey"),
            ("Account", {"create": {"n": {"name": "x", "domainId": domain}}}, "invalidPatch"),
            ("Account", {"create": {"n": {"@type": "User", "name": "x", "domainId": domain,
                                          "credentials": {"0": {"@type": "Password", "secret": "short"}}}}}, "invalidProperties"),
            ("Account", {"create": {"n": {"@type": "User", "name": "x", "domainId": domain,
                                          "credentials": {"0": {"@type": "AppPassword", "description": "x"}}}}}, "invalidPatch"),
            ("Account", {"create": {"n": {"@type": "User", "name": "x", "domainId": domain, "credentials": {
                "0": {"@type": "Password", "secret": "long enough to do", "otpAuth": "otpauth://totp/x"}}}}}, "invalidPatch"),
            ("ApiKey", {"create": {"n": {"description": "x"}}}, "forbidden"),
            ("MtaRoute", {"create": {"n": {"@type": "Relay", "name": "r", "address": "192.0.2.1", "port": 0}}}, "validationFailed"),
            ("MtaRoute", {"create": {"n": {"@type": "Relay", "name": "r", "address": "192.0.2.1", "port": 65536}}},
             "validationFailed"),
            ("MtaOutboundStrategy", {"update": {"singleton": {"route": {"match": {}, "else": "nonsense("}}}}, "validationFailed"),
            ("MtaOutboundStrategy", {"update": {"singleton": {"route": {"match": {}, "else": "'nowhere'"}}}}, "invalidForeignKey"),
            ("MtaOutboundStrategy", {"destroy": ["singleton"]}, "singleton"),
            ("MtaOutboundStrategy", {"update": {"other": {}}}, "notFound"),
            ("NetworkListener", {"create": {"n": {"name": "x", "bind": {}}}}, "validationFailed"),
            ("NetworkListener", {"update": {listener: {"bind": {"192.0.2.200:25": True}}}}, "validationFailed"),
            ("NetworkListener", {"update": {listener: {"name": "other"}}}, "invalidPatch"),
            ("Certificate", {"create": {"n": {"certificate": {"@type": "Text", "value": "x"},
                                              "privateKey": {"@type": "Text", "secret": "x"}}}}, "invalidProperties"),
            ("BlockedIp", {"create": {"n": {"address": "nonsense"}}}, "invalidPatch"),
            ("BlockedIp", {"create": {"n": {"address": "192.0.2.1", "expiresAt": "tomorrow"}}}, "invalidPatch"),
            ("Security", {"update": {"singleton": {"authBanRate": {"count": 0, "period": 1}}}}, "validationFailed"),
            ("QueuedMessage", {"create": {"n": {}}}, "forbidden"),
            ("QueuedMessage", {"destroy": ["bcdz"]}, "notFound"),
            ("Action", {"create": {"n": {"@type": "UpdateApps"}}}, "invalidPatch"),
            ("Action", {"update": {"bcd": {}}}, "forbidden"),
        ]
        for kind, arguments, wanted in cases:
            answer = c.set(kind, **arguments)
            errors = [e for member in ("notCreated", "notUpdated", "notDestroyed") for e in answer.get(member, {}).values()]
            check(errors, f"{kind} {arguments} was taken: {answer}")
            error = errors[0]
            equal(check_set_error(error)["type"], wanted, f"{kind} {arguments}: {error}")
        for kind in ("AppPassword", "Tenant", "MtaMilter", "DkimSignature"):
            try:
                c.set(kind)
                raise Fail(f"{kind} is served")
            except Refused as refused:
                equal(refused.args, ("unknownMethod", f"x:{kind}/set: is not supported by ringmx"), kind)
