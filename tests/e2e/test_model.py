"""Random changes of every object type, good and bad, whole and by pointer, against a simple model of what must come of them."""

import copy
import os
import random

from lib import Fail, check, equal, free_port
from strict_client import StrictClient, check_set_error
from client import Bare
from test_management import ADMIN

CALLS = int(os.environ.get("MODEL_CALLS", "300"))
ENTRIES = 4  # per verb and call
MISSING = "bcdzz"  # an id that nothing has


class Bad(Exception):
    """What the model refuses; the argument is a SetError that is certain, or None."""


class Value:
    """A value as it is sent, and as it is stored; or one that is refused."""

    def __init__(self, wire, stored=None, bad=False, error=None):
        self.wire, self.bad, self.error = wire, bad, error
        self.stored = copy.deepcopy(wire if stored is None else stored)


def bad(*wires):
    return Value(random.choice(wires), bad=True)


# Texts whose form the schema does not tell: (sent, stored) each.
TEXTS = {
    "x:Domain.name": lambda: [(f"D{n}.Example", f"d{n}.example") for n in range(14)],
    "x:Domain.aliases": lambda: [(f"D{n}.EXAMPLE", f"d{n}.example") for n in range(14)],
    "local": lambda: [(f"U{n}", f"u{n}") for n in range(9)],
    "x:MtaRoute.name": lambda: [(f"route{n}",) * 2 for n in range(9)],
    "x:MtaRoute.address": lambda: [("relay.example.net",) * 2, ("192.0.2.9",) * 2, ("2001:db8::9",) * 2],
    "x:NetworkListener.name": lambda: [(f"listener{n}",) * 2 for n in range(9)],
    "x:SystemSettings.defaultHostname": lambda: [("mx1.example.org",) * 2, ("MX2.example.org", "mx2.example.org")],
    "permission": lambda: [(name,) * 2 for name in ("sysDomainGet", "sysRoleQuery", "sysAccountUpdate")],
    "text": lambda: [("some text",) * 2, ("other text",) * 2, ("ünicode",) * 2],
    "emailAddress": lambda: [(f"M{n}@Elsewhere.Example", f"m{n}@elsewhere.example") for n in range(5)],
    "ipNetwork": lambda: [("203.0.113.7/32", "203.0.113.7"), ("198.51.100.0/24",) * 2, ("2001:DB8::/32", "2001:db8::/32")]
    + [(f"192.0.2.{n}",) * 2 for n in range(9)],
    "secret": lambda: [(f"a long secret number {n}", "****") for n in range(3)],
}
BAD_TEXTS = {"emailAddress": ["nonsense", "@x", "a@"], "ipNetwork": ["300.1.1.1", "10.0.0.0/33", "x"], "secret": ["short"],
             "permission": ["nonsense"], "local": ["a b", "a@b"], "x:Domain.name": ["-a.example", "a..b"],
             "x:Domain.aliases": ["-a.example"], "x:MtaRoute.name": ["a b"], "x:NetworkListener.name": ["a b"]}
CONSTANTS = {"timeout": ["2m", "30s"], "maxDuration": ["2h"], "dataTimeout": ["3m"],
             "minDataRate": ["0", "300"], "minDataRateGrace": ["1m"], "maxErrors": ["7", "100"],
             "maxCommands": ["500"], "maxLineLength": ["512", "1000"], "maxRecipients": ["100"], "maxFailures": ["0", "5"], "waitOnFail": ["0", "1s"], "allowRelaying": ["false", "remote_ip == '192.0.2.9'"],
             "smtpGreeting": ["system('hostname')"], "rejectNonFqdn": ["false", "true"],
             "connection": ["'default'"], "tls": ["'default'"], "schedule": ["'local'", "'remote'"],
             "isSenderAllowed": ["true", "sender != 'nobody@example.net'"], "maxMessageSize": ["2048"],
             "rewrite": ["false", "rcpt"], "maxMessages": ["5"], "maxReceivedHeaders": ["9"]}
REQUIRED = {"x:Domain": ["name"], "x:AccountUser": ["name", "domainId"], "x:AccountGroup": ["name", "domainId"],
            "x:MailingList": ["name", "domainId"], "x:Role": ["description"], "x:MtaRouteLocal": ["name"],
            "x:MtaRouteMx": ["name"], "x:MtaRouteRelay": ["name", "address"], "x:BlockedIp": ["address"],
            "x:AllowedIp": ["address"], "x:NetworkListener": ["name", "bind"], "x:EmailAlias": ["name", "domainId"],
            "x:Rate": ["count", "period"], "x:CredentialPassword": ["secret"]}
OBJECTS = ["Domain", "Account", "MailingList", "Role", "MtaRoute", "BlockedIp", "AllowedIp", "NetworkListener"]
SINGLETONS = ["SystemSettings", "Security", "MtaInboundSession", "MtaStageRcpt", "MtaStageData", "MtaOutboundStrategy"]


class Model:
    def __init__(self, client):
        self.client, self.schema = client, client.schema
        self.stored = {kind: {} for kind in OBJECTS + SINGLETONS}
        for kind in self.stored:
            for row in client.snapshot(kind):
                self.stored[kind][row["id"]] = self.own(kind, row)

    # What the schema says

    def variants(self, name):
        """Schema name of each variant; None: the only one."""
        described = self.schema["schemas"][name]
        if described["type"] == "single":
            return {None: described["schemaName"]}
        return {v["name"]: v.get("schemaName") for v in described["variants"]}

    def fields(self, schema_name):
        return self.schema["fields"][schema_name]["properties"] if schema_name else {}

    def own(self, kind, row):
        """A row without what the server sets."""
        fields = self.fields(self.variants(f"x:{kind}")[row.get("@type")])
        return {k: v for k, v in row.items() if k == "@type" or fields.get(k, {}).get("update", "serverSet") != "serverSet"}

    def default(self, schema_name, name, kind):
        given = self.schema["fields"][schema_name].get("defaults", {})
        if name in given:
            return copy.deepcopy(given[name])
        return False if kind["type"] == "boolean" else {} if kind["type"] in ("set", "objectList") else None

    # Values

    def text_key(self, owner, name, kind):
        key = f"{owner.replace('Local', '').replace('Mx', '').replace('Relay', '') if 'MtaRoute' in owner else owner}.{name}"
        if key in TEXTS:
            return key
        if name == "name":
            return "local"
        if "ermissions" in name:
            return "permission"
        return kind["format"] if kind["format"] in TEXTS else "text"

    def text(self, owner, name, kind):
        key = self.text_key(owner, name, kind)
        if random.random() < 0.06:
            return bad("", 7, [], {}, *BAD_TEXTS.get(key, []))
        wire, stored = random.choice(TEXTS[key]())
        return Value(wire, stored)

    def id_of(self, kind):
        ids = [id for id in self.stored[kind] if not id.startswith("?")]
        if not ids or random.random() < 0.06:
            return random.choice([Value(MISSING, bad=True, error="invalidForeignKey"), bad("not an id", 5, "")])
        return Value(random.choice(ids))

    def members(self, owner, name, kind):
        """A set: some members, and one that is not meant."""
        low, high = kind.get("minItems", 0), 3
        values = [self.member(owner, name, kind) for _ in range(random.randint(low, high))]
        if random.random() < 0.04:
            return bad([], {"x": 1}, "x", 5)
        wire = {v.wire if isinstance(v.wire, str) else "": True for v in values}
        stored = {v.stored: True for v in values if isinstance(v.stored, str)}
        out = self.member(owner, name, kind)
        if random.random() < 0.2 and isinstance(out.wire, str) and out.wire not in wire and out.stored not in stored:
            wire[out.wire] = False  # whatever it is, it is not a member
        return Value(wire, stored, any(v.bad for v in values),
                     next((v.error for v in values if v.error), None) if sum(v.bad for v in values) == 1 else None)

    def member(self, owner, name, kind):
        inner = kind["class"]
        if inner["type"] == "objectId":
            return self.id_of(inner["objectName"].removeprefix("x:"))
        if inner["format"] == "socketAddress":
            return bad("127.0.0.1", "x:1") if random.random() < 0.05 else Value(f"127.0.0.1:{free_port()}")
        return self.text(owner, name, inner)

    def value(self, owner, name, field):
        kind = field["type"]
        if kind.get("nullable") and random.random() < 0.2:
            return Value(None)
        if kind["type"] == "string":
            return self.text(owner, name, kind)
        if kind["type"] == "boolean":
            return bad(1, "true", None, {}) if random.random() < 0.06 else Value(random.random() < 0.5)
        if kind["type"] == "number":
            low, high = kind.get("min", 0), kind.get("max", 1000)
            return bad("5", 1.5, low - 1, high + 1, {}) if random.random() < 0.08 else Value(random.choice(
                [low, high, random.randint(low, high)]))
        if kind["type"] == "enum":
            names = [e["name"] for e in self.schema["enums"][kind["enumName"]]]
            if (owner, name) == ("x:NetworkListener", "protocol"):
                names = ["smtp"]  # others have rules of their own
            return bad("Nonsense", 3, "") if random.random() < 0.06 else Value(random.choice(names))
        if kind["type"] == "utcDateTime":
            return bad("tomorrow", 5, "") if random.random() < 0.08 else random.choice(
                [Value("2031-02-03T04:05:06Z"), Value("2031-02-03T05:05:06+01:00", "2031-02-03T04:05:06Z")])
        if kind["type"] == "objectId":
            if kind["objectName"] == "x:Certificate":
                return Value(None)
            return self.id_of(kind["objectName"].removeprefix("x:"))
        if kind["type"] == "set":
            return self.members(owner, name, kind)
        if kind["type"] == "objectList":
            return self.items(name, kind)
        if kind["objectName"] == "x:Expression":
            return self.expression(name)
        return self.body(kind["objectName"], part=True)

    def expression(self, name):
        if random.random() < 0.1:
            return bad({"match": {}, "else": "nonsense("}, {"match": [], "else": "1"}, {"match": {}}, "1", {"else": ""})
        if name == "route":
            routes = [r["name"] for r in self.stored["MtaRoute"].values()]
            then = f"'{random.choice(routes)}'"
            return Value({"match": {"3": {"if": "is_local_domain(rcpt_domain)", "then": then}}, "else": "'mx'"},
                         {"match": {"0": {"if": "is_local_domain(rcpt_domain)", "then": then}}, "else": "'mx'"})
        text = random.choice(CONSTANTS[name])
        return Value({"else": text}, {"match": {}, "else": text})

    def items(self, name, kind):
        if name == "credentials" and random.random() < 0.8:
            return Value({})
        if random.random() < 0.04:
            return bad([], {"x": {}}, 5)
        values = [self.body(kind["objectName"], part=True) for _ in range(random.randint(0, min(2, kind.get("maxItems", 2))))]
        places = sorted(random.sample(range(9), len(values)))
        errors = [v.error for v in values if v.bad]
        return Value({str(p): v.wire for p, v in zip(places, values)}, {str(i): v.stored for i, v in enumerate(values)},
                     bool(errors), errors[0] if len(errors) == 1 else None)

    def body(self, name, part=False):
        """A whole object of a shape."""
        variant, schema_name = random.choice(list(self.variants(name).items()))
        wire = {"@type": variant} if variant else {}
        stored = dict(wire)
        wrong = []
        for field_name, field in self.fields(schema_name).items():
            if field["update"] == "serverSet":
                continue
            needed = field_name in REQUIRED.get(schema_name, [])
            if not needed and random.random() < 0.5:
                stored[field_name] = self.default(schema_name, field_name, field["type"])
                continue
            if needed and random.random() < 0.02:
                wrong.append(None)
                continue
            value = self.value(schema_name, field_name, field)
            wire[field_name], stored[field_name] = value.wire, value.stored
            wrong += [value.error] if value.bad else []
        if random.random() < 0.02:
            wire["nonsense"] = 1
            wrong.append("invalidPatch")
        return Value(wire, stored, bool(wrong), wrong[0] if len(wrong) == 1 else None)

    # Rules that need more than one object

    def addresses(self, but=None):
        found = []
        for kind in ("Account", "MailingList"):
            for id, o in self.stored[kind].items():
                if id != but:
                    found += [(o["domainId"], o["name"])] + [(a["domainId"], a["name"]) for a in o["aliases"].values()]
        return found

    def conflict(self, kind, id, new):
        """primaryKeyViolation when something that must be unique is taken."""
        taken = False
        others = [o for i, o in self.stored[kind].items() if i != id]
        if kind == "Domain":
            names = [n for o in others for n in [o["name"], *o["aliases"]]]
            taken = new["name"] in names or new["name"] in new["aliases"] or any(a in names for a in new["aliases"])
        elif kind in ("Account", "MailingList"):
            own = [(new["domainId"], new["name"])] + [(a["domainId"], a["name"]) for a in new["aliases"].values()]
            taken = len(own) != len(set(own)) or bool(set(own) & set(self.addresses(id)))
        elif kind in ("MtaRoute", "NetworkListener"):
            taken = new["name"] in [o["name"] for o in others]
        elif kind in ("BlockedIp", "AllowedIp"):
            taken = new["address"] in [o["address"] for o in others]
        if kind == "Role" and self.leads_to(new["roleIds"], id):
            return "invalidProperties"
        return "primaryKeyViolation" if taken else None

    def leads_to(self, roles, id):
        """Whether roles have this one, by whatever way."""
        return any(role == id or self.leads_to(self.stored["Role"][role]["roleIds"], id) for role in roles)

    def is_linked(self, kind, id):
        if kind == "Domain":
            return any(domain == id for domain, _ in self.addresses()) or \
                self.stored["SystemSettings"]["singleton"]["defaultDomainId"] == id
        if kind == "Role":
            return any(id in a.get("roles", {}).get("roleIds", {}) for a in self.stored["Account"].values()) or \
                any(id in r["roleIds"] for r in self.stored["Role"].values())
        if kind == "MtaRoute":
            return f"'{self.stored[kind][id]['name']}'" in str(self.stored["MtaOutboundStrategy"]["singleton"]["route"])
        return False

    # Patches

    def patch(self, kind, id):
        """Some pointers with their values, and the object afterwards; None: refused."""
        old = self.stored[kind][id]
        schema_name = self.variants(f"x:{kind}")[old.get("@type")]
        fields = {n: f for n, f in self.fields(schema_name).items() if f["update"] != "serverSet"}
        new, wire, wrong = copy.deepcopy(old), {}, []
        for name in random.sample(list(fields), min(len(fields), random.randint(1, 3))):
            kind_of = fields[name]["type"]
            if fields[name]["update"] == "immutable":
                if random.random() < 0.1:
                    wire[name] = "other"
                    wrong.append("invalidPatch")
                continue
            if kind_of["type"] == "set" and random.random() < 0.5:
                member = self.member(schema_name, name, kind_of)
                if not isinstance(member.wire, str) or member.wire == "":
                    continue
                on = random.choice([True, False, None])
                wire[f"{name}/{member.wire.replace('~', '~0').replace('/', '~1')}"] = on
                if member.bad and on:
                    wrong.append(member.error)
                elif on:
                    new[name][member.stored] = True
                else:
                    new[name].pop(member.stored, None)
                    if len(new[name]) < kind_of.get("minItems", 0):
                        wrong.append("validationFailed")
            elif kind_of["type"] == "objectList" and new[name] and random.random() < 0.5:
                wire[f"{name}/0"] = None
                new[name] = {str(i): v for i, v in enumerate(list(new[name].values())[1:])}
            elif kind_of.get("objectName") == "x:Rate" and new[name] and random.random() < 0.5:
                count = random.choice([5, 0])
                wire[name if count else f"{name}/count"] = {"count": count} if count else count
                new[name]["count"] = count
                wrong += [] if count else ["validationFailed"]
            else:
                value = self.value(schema_name, name, fields[name])
                if kind_of["type"] == "object" and isinstance(value.wire, dict) and kind_of.get("objectName") == "x:Rate":
                    continue  # merges; the case above
                wire[name], new[name] = value.wire, value.stored
                wrong += [value.error] if value.bad else []
        if random.random() < 0.03:
            wire["nonsense/x"] = 1
            wrong.append("invalidPatch")
        return Value(wire, new, bool(wrong), wrong[0] if len(wrong) == 1 else None)

    # Calls

    def expect(self, kind, id, value):
        """SetError that must come: a word, None (some), or "" for success."""
        if value.bad:  # where a circle of roles is found as well, which comes first is not said
            return None if kind == "Role" else value.error
        return self.conflict(kind, id, value.stored) or ""

    def call(self, kind):
        creates, updates, destroys = {}, {}, []
        wanted = []  # (member, key, error or "")
        single = kind in SINGLETONS
        for n in range(0 if single else random.randint(0, ENTRIES)):
            value = self.body(f"x:{kind}")
            error = self.expect(kind, None, value)
            creates[f"n{n}"] = value.wire
            wanted.append(("created", f"n{n}", error))
            if error == "":
                self.stored[kind][f"?{n}"] = value.stored
        ids = [i for i in self.stored[kind] if not i.startswith("?")]
        doomed = [] if single else random.sample(ids, min(len(ids), random.randint(0, 2)))
        for id in random.sample(ids, min(len(ids), random.randint(0, ENTRIES))):
            if id in doomed:
                continue
            value = self.patch(kind, id)
            error = self.expect(kind, id, value)
            updates[id] = value.wire
            wanted.append(("updated", id, error))
            if error == "":
                self.stored[kind][id] = value.stored
        again = True
        while again:  # those that only others of this call hold go after these
            again = False
            for id in [d for d in doomed if d not in destroys]:
                if not self.is_linked(kind, id):
                    destroys.append(id)
                    del self.stored[kind][id]
                    again = True
        wanted += [("destroyed", id, "" if id in destroys else "objectIsLinked") for id in doomed]
        if not single and random.random() < 0.1:
            doomed.append(MISSING)
            wanted.append(("destroyed", MISSING, "notFound"))
        request = {"create": creates, "update": updates, "destroy": doomed}
        answer = self.client.set(kind, **request)
        self.compare(kind, request, answer, wanted)

    def compare(self, kind, request, answer, wanted):
        for member, key, error in wanted:
            done = key in answer.get(member, {})
            refused = answer.get("not" + member.capitalize(), {}).get(key)
            good = done and not refused if error == "" else refused and not done and error in (None, refused["type"])
            check(good, f"{kind} {member} {key}: wanted {'success' if error == '' else error or 'a refusal'}, got {refused}\n"
                        f"request {request}\nanswer {answer}")
            if refused:
                check_set_error(refused)
            if member == "created" and error == "":
                self.stored[kind][answer["created"][key]["id"]] = self.stored[kind].pop("?" + key[1:])
        rows = {row["id"]: self.own(kind, row) for row in self.client.snapshot(kind)}
        equal(sorted(rows), sorted(self.stored[kind]), f"ids of {kind} after {request}")
        for id, row in rows.items():
            check(simple(row) == simple(self.stored[kind][id]),
                  f"{kind} {id} after {request}\nis    {simple(row)}\nmodel {simple(self.stored[kind][id])}")


def simple(value):
    """Dates without fractions."""
    if isinstance(value, dict):
        return {k: simple(v) for k, v in value.items()}
    return value[:19] + "Z" if isinstance(value, str) and value[4:5] == "-" and value.endswith("Z") else value


def test_random_changes_of_every_type():
    """Random set calls on every object type and singleton: every entry of every answer, and all that is stored, as in the model."""
    seed = int(os.environ.get("MODEL_SEED", random.randrange(1 << 32)))
    random.seed(seed)
    with Bare() as s:
        model = Model(StrictClient(s.http_port, ADMIN))
        done = 0
        try:
            for done in range(CALLS):
                model.call(random.choice(OBJECTS * 2 + SINGLETONS))
        except Fail as problem:
            raise Fail(f"MODEL_SEED={seed}, call {done}: {problem}") from None
        s.stop()
        s.start()
        after = Model(StrictClient(s.http_port, ADMIN))
        equal(after.stored == model.stored or simple(after.stored) == simple(model.stored), True, "what is stored, after a restart")
