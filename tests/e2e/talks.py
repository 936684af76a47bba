"""Recorded conversations of the administration: what a client sends, and what the answers must be like.

A talk is a list of calls. Each has the exact request (method calls of one POST, without the envelope), an answer as the
server gives it, and in `needs` what every server's answer must contain: a dict needs these members, a list exactly these
items, a type stands for any value of it, everything else for itself. "$name" in any string is a variable: a server may
choose its own value where it answers, and requests use it from then on; VARIABLES has those of the recording.

The tests of ringmx-cli play the answers; the requests can be sent to a real server as well."""

import gzip
import http.server
import json
import threading

CORE = "urn:ietf:params:jmap:core"
USING = [CORE, "urn:stalwart:jmap"]
VARIABLES = {"domain": "b", "route": "c", "account": "f", "second": "d", "third": "e"}


def field(kind, update="mutable", description="", **more):
    return {"description": description, "update": update, "type": {"type": kind} | more}


def text(update="mutable", **more):
    return field("string", update, format=more.pop("format", "string"), **more)


def singleton(what):
    return {"type": "singleton", "description": what, "permissionPrefix": "sys"}


def thing(what):
    return {"type": "object", "description": what, "permissionPrefix": "sys"}


def single(name):
    return {"type": "single", "schemaName": name}


def listing(label, columns, **more):
    return {"title": "", "subtitle": "", "singularName": "", "pluralName": "",
            "columns": [{"name": n, "label": t} for n, t in columns]} | ({"labelProperty": label} if label else {}) | more


ROUTE = {"name": text("immutable"), "description": text(nullable=True)}
SCHEMA = {
    "objects": {
        "x:Domain": thing("Domain"), "x:Account": thing("Account"), "x:MtaRoute": thing("Route"),
        "x:Account/User": {"type": "view", "objectName": "x:Account"},
        "x:Action": thing("Action"), "x:QueuedMessage": thing("Message in the queue"),
        "x:MtaOutboundStrategy": singleton("Outbound strategy"), "x:SystemSettings": singleton("Settings"),
    },
    "schemas": {
        "x:Domain": single("x:Domain"), "x:SystemSettings": single("x:SystemSettings"),
        "x:MtaOutboundStrategy": single("x:MtaOutboundStrategy"), "x:QueuedMessage": single("x:QueuedMessage"),
        "x:Expression": single("x:Expression"), "x:ExpressionMatch": single("x:ExpressionMatch"),
        "x:EmailAlias": single("x:EmailAlias"),
        "x:Account": {"type": "multiple", "variants": [
            {"name": "User", "label": "User account", "schemaName": "x:UserAccount"},
            {"name": "Group", "label": "Group account", "schemaName": "x:GroupAccount"}]},
        "x:MtaRoute": {"type": "multiple", "variants": [
            {"name": "Relay", "label": "Relay host", "schemaName": "x:MtaRouteRelay"},
            {"name": "Local", "label": "Local delivery", "schemaName": "x:MtaRouteCommon"}]},
        "x:Action": {"type": "multiple", "variants": [{"name": "ReloadSettings", "label": "Reload settings"}]},
    },
    "fields": {
        "x:Domain": {"properties": {
            "name": text(description="The domain"), "aliases": field("set", **{"class": {"type": "string", "format": "string"}}),
            "description": text(nullable=True), "isEnabled": field("boolean"), "allowRelaying": field("boolean"),
            "createdAt": field("utcDateTime", "serverSet")}},
        "x:UserAccount": {"properties": {
            "name": text(), "domainId": field("objectId", objectName="x:Domain"),
            "aliases": field("objectList", objectName="x:EmailAlias"), "secret": text(format="secret", nullable=True),
            "quotas": field("map", keyClass={"type": "enum", "enumName": "StorageQuota"},
                            valueClass={"type": "number", "format": "size"}),
            "emailAddress": text("serverSet", format="emailAddress")}},
        "x:GroupAccount": {"properties": {"name": text(), "domainId": field("objectId", objectName="x:Domain")}},
        "x:EmailAlias": {"properties": {"enabled": field("boolean"), "name": text(),
                                        "domainId": field("objectId", objectName="x:Domain")}},
        "x:MtaRouteCommon": {"properties": ROUTE},
        "x:MtaRouteRelay": {"properties": ROUTE | {
            "address": text(), "port": field("number", format="unsignedInteger", min=1, max=65535),
            "protocol": field("enum", enumName="MtaProtocol"), "implicitTls": field("boolean"),
            "allowInvalidCerts": field("boolean")}, "defaults": {"port": 25, "protocol": "smtp"}},
        "x:MtaOutboundStrategy": {"properties": {"route": field("object", objectName="x:Expression")},
                                  "defaults": {"route": {"match": {}, "else": "'mx'"}}},
        "x:Expression": {"properties": {"match": field("objectList", objectName="x:ExpressionMatch"), "else": text()}},
        "x:ExpressionMatch": {"properties": {"if": text(), "then": text()}},
        "x:SystemSettings": {"properties": {
            "defaultHostname": text(), "defaultDomainId": field("objectId", objectName="x:Domain", nullable=True),
            "proxyTrustedNetworks": field("set", **{"class": {"type": "string", "format": "ipNetwork"}})}},
        "x:QueuedMessage": {"properties": {
            "returnPath": text("serverSet"), "size": field("number", "serverSet", format="size"),
            "due": field("utcDateTime", "serverSet"), "age": field("number", "serverSet", format="duration")}},
    },
    "forms": {"x:Account/User": {"sections": [{"title": "Account", "fields": [
        {"name": "name", "label": "Username"}, {"name": "domainId", "label": "Domain"}]}]}},
    "lists": {
        "x:Domain": listing("name", [("name", "Name"), ("isEnabled", "Enabled")],
                            filters=[{"type": "text", "field": "name", "label": "Name"}], sort=["name"]),
        "x:MtaRoute": listing("name", [("name", "Name"), ("@type", "Type")]),
        "x:Account/User": listing("name", [("name", "Username"), ("domainId", "Domain")]),
    },
    "enums": {"MtaProtocol": [{"name": "smtp", "label": "SMTP"}, {"name": "lmtp", "label": "LMTP", "color": "green"}],
              "StorageQuota": [{"name": "maxDiskQuota", "label": "Disk space"}]},
    "dashboards": [], "layouts": [],
}


def session(get=500, put=500, api="https://mx.example.org/jmap/"):
    return {"capabilities": {CORE: {"maxObjectsInGet": get, "maxObjectsInSet": put}, "urn:stalwart:jmap": {}},
            "apiUrl": api, "accounts": {}, "primaryAccounts": {}, "username": "admin", "state": "0"}


# --- variables and shapes ---


def filled(value, variables):
    """The value with "$name" replaced in strings and keys."""
    if isinstance(value, str):
        for name, actual in variables.items():
            value = value.replace(f"${name}", actual)
        return value
    if isinstance(value, list):
        return [filled(v, variables) for v in value]
    if isinstance(value, dict):
        return {filled(k, variables): filled(v, variables) for k, v in value.items()}
    return value


def matches(value, shape, variables):
    """None, or where value is not like shape; binds variables that are not known yet."""
    if isinstance(shape, type):
        good = isinstance(value, shape) and not (shape is int and isinstance(value, bool))
        return None if good else f"{value!r} is no {shape.__name__}"
    if isinstance(shape, str) and shape.startswith("$") and isinstance(value, str):
        return None if variables.setdefault(shape[1:], value) == value else f"{value!r} is not {shape}"
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{value!r} is no object"
        for name, inner in shape.items():
            name = filled(name, variables)
            if name not in value:
                return f"no {name} in {value!r}"
            wrong = matches(value[name], inner, variables)
            if wrong:
                return f"{name}: {wrong}"
        return None
    if isinstance(shape, list):
        if not isinstance(value, list) or len(value) != len(shape):
            return f"{value!r} has not {len(shape)} items"
        return next((w for v, s in zip(value, shape) if (w := matches(v, s, variables))), None)
    return None if value == filled(shape, variables) else f"{value!r} is not {shape!r}"


def call(*calls, answer, needs=None, refs=None):
    """One POST; calls are (method, arguments, id), answer and needs have one entry for each call."""
    return {"calls": [list(c) if len(c) == 3 else [*c, "c0"] for c in calls], "answer": answer,
            "needs": needs if needs is not None else [{} for _ in calls], "refs": refs}


def one(method, arguments, answer, needs=None, refs=None):
    return call((method, arguments), answer=[answer], needs=None if needs is None else [needs], refs=refs)


def pair(kind, query, properties, ids, rows, needs=None):
    """A query and a get of what it found."""
    get = {"#ids": {"resultOf": "q", "name": f"{kind}/query", "path": "/ids"}, "properties": properties}
    return call((f"{kind}/query", query, "q"), (f"{kind}/get", get, "g"),
                answer=[{"ids": ids}, {"list": rows, "notFound": []}],
                needs=needs or [{"ids": list}, {"list": list}])


def body_of(entry, variables):
    body = {"using": USING, "methodCalls": filled(entry["calls"], variables)}
    if entry["refs"]:
        body["createdIds"] = filled(entry["refs"], variables)
    return body


def answer_of(entry, variables):
    names = [c[0] for c in entry["calls"]]
    responses = []
    for name, (_, _, tag), result in zip(names, entry["calls"], filled(entry["answer"], variables)):
        error = isinstance(result, dict) and "error!" in result
        responses.append(["error" if error else name, result["error!"] if error else result, tag])
    return {"methodResponses": responses, "sessionState": "0"}


def failed(entry):
    """The recorded answer is a failure of a call, as {"error!": ...}."""
    return any("error!" in result for result in entry["answer"])


def shape_of(entry):
    return {"methodResponses": [[c[0], needs, c[2]] for c, needs in zip(entry["calls"], entry["needs"])]}


# --- the player ---


class Player:
    """A server that plays the answers of a talk and notes every request that is not as recorded."""

    def __init__(self, talk, session=session(), schema=SCHEMA, schema_hash="hash-1", wrap=None, override=None):
        self.talk, self.session, self.hash = list(talk), session, schema_hash
        self.schema = json.dumps(schema).encode()
        self.override = override or {}  # path -> (status, headers, body), or what gives it
        self.next, self.wrong, self.seen = 0, [], []
        player = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                player.get(self)

            def do_POST(self):
                player.post(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if wrap:
            self.server.socket = wrap(self.server.socket)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def note(self, handler):
        self.seen.append(f"{handler.command} {handler.path}")
        allowed = {"host", "accept", "authorization"}
        if handler.command == "POST":
            allowed |= {"content-type", "content-length"}
        names = {name.lower() for name in handler.headers.keys()}
        if names - allowed:
            self.wrong.append(f"{self.seen[-1]}: headers {sorted(names - allowed)}")
        if handler.headers.get("Accept") != "*/*":
            self.wrong.append(f"{self.seen[-1]}: Accept is {handler.headers.get('Accept')}")

    def send(self, handler, status, headers, body):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def get(self, handler):
        self.note(handler)
        json_type = {"Content-Type": "application/json"}
        if handler.path in self.override:
            answer = self.override[handler.path]
            self.send(handler, *(answer() if callable(answer) else answer))
        elif handler.path == "/api/schema":
            self.send(handler, 302, {"Location": f"/api/schema/{self.hash}"}, b"")
        elif handler.path == f"/api/schema/{self.hash}":
            self.send(handler, 200, json_type | {"Content-Encoding": "gzip"}, gzip.compress(self.schema))
        elif handler.path == "/jmap/session":
            self.send(handler, 200, json_type, json.dumps(self.session).encode())
        else:
            self.wrong.append(f"unexpected {self.seen[-1]}")
            self.send(handler, 404, {}, b"")

    def post(self, handler):
        self.note(handler)
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        if handler.headers.get("Content-Type") != "application/json" or handler.path != "/jmap":
            self.wrong.append(f"{self.seen[-1]} with {handler.headers.get('Content-Type')}")
        if handler.path in self.override:
            self.send(handler, *self.override[handler.path])
            return
        if self.next >= len(self.talk):
            self.wrong.append(f"one call too many: {json.dumps(body['methodCalls'])}")
            self.send(handler, 500, {}, b"")
            return
        entry = self.talk[self.next]
        self.next += 1
        if body != body_of(entry, VARIABLES):
            self.wrong.append(f"call {self.next}: got {json.dumps(body)}, expected {json.dumps(body_of(entry, VARIABLES))}")
        answer = answer_of(entry, VARIABLES)
        wrong = None if failed(entry) else matches(answer, shape_of(entry), dict(VARIABLES))
        if wrong:
            self.wrong.append(f"call {self.next}: the recorded answer has not what it needs: {wrong}")
        self.send(handler, 200, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(answer).encode())
