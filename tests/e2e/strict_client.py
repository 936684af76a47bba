"""What the unmodified stalwart-cli sends and how strictly it reads: its requests byte for byte in what matters (paths, headers,
members, ids), and an answer that its parser would not take is a failure. Not a client for people: ringmx-cli is."""

import base64
import gzip
import http.client
import json
import re

from lib import check, equal

USING = ["urn:ietf:params:jmap:core", "urn:stalwart:jmap"]
MEMBERS = ("objects", "schemas", "fields", "forms", "lists", "enums", "dashboards", "layouts")
SET_ERRORS = """forbidden overQuota tooLarge rateLimit notFound invalidPatch willDestroy invalidProperties singleton mailboxHasChild
mailboxHasEmail blobNotFound tooManyKeywords tooManyMailboxes forbiddenFrom invalidEmail tooManyRecipients noRecipients
invalidRecipients forbiddenMailFrom forbiddenToSend cannotUnsend alreadyExists invalidScript scriptIsActive addressBookHasContents
nodeHasChildren calendarHasEvent objectIsLinked invalidForeignKey primaryKeyViolation validationFailed""".split()
VALIDATIONS = {"Invalid": "value", "Required": None, "MaxLength": "required", "MinLength": "required", "MaxValue": "required",
               "MinValue": "required"}


class Refused(Exception):
    """A SetError, or a method's error, in the form that the client knows."""


def check_object_id(value):
    check(isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get("object"), str) and
                                     isinstance(value.get("id"), str) and not value["object"].startswith("x:")),
          f"not an object id: {value}")


def check_set_error(error):
    """As the client's parser: an unknown type, a null list or a wrong member would end it."""
    check(isinstance(error, dict) and error.get("type") in SET_ERRORS, f"type of {error}")
    if "description" in error:
        check(isinstance(error["description"], str), f"description of {error}")
    if "properties" in error:
        check(isinstance(error["properties"], list) and all(isinstance(p, str) for p in error["properties"]), f"{error}")
    if "objectId" in error:
        check_object_id(error["objectId"])
    for linked in error["linkedObjects"] if "linkedObjects" in error else []:
        check_object_id(linked)
    for problem in error["validationErrors"] if "validationErrors" in error else []:
        check(problem.get("type") in VALIDATIONS and isinstance(problem.get("property"), str), f"{error}")
        member = VALIDATIONS[problem["type"]]
        if member == "required":
            check(type(problem.get(member)) is int, f"required of {error}")
        elif member == "value":
            check(isinstance(problem.get(member), str), f"value of {error}")
    return error


class StrictClient:
    def __init__(self, port, credentials):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.authorization = "Basic " + base64.b64encode(credentials.encode()).decode()
        self.start()

    def http(self, method, path, body=None):
        """Status, Location, Content-Encoding, body; never follows a redirect, asks for no compression."""
        self.connection.putrequest(method, path, skip_accept_encoding=True)
        self.connection.putheader("Authorization", self.authorization)
        self.connection.putheader("Accept", "*/*")
        if body is not None:
            self.connection.putheader("Content-Type", "application/json")
            self.connection.putheader("Content-Length", str(len(body)))
        self.connection.endheaders(body)
        answer = self.connection.getresponse()
        return answer.status, answer.getheader("Location"), answer.getheader("Content-Encoding"), answer.read()

    def start(self):
        """What every command begins with: the schema by its hash, then the session."""
        status, location, _, _ = self.http("GET", "/api/schema")
        check(300 <= status < 400 and location, f"/api/schema: {status} {location}")
        self.hash = location.rsplit("/", 1)[1]
        check(re.fullmatch(r"[A-Za-z0-9_-]{1,100}", self.hash), f"hash {self.hash}")
        status, _, encoding, body = self.http("GET", f"/api/schema/{self.hash}")
        check(200 <= status < 300 and encoding in ("gzip", "x-gzip", "identity", "", None), f"schema: {status} {encoding}")
        self.schema = json.loads(gzip.decompress(body) if encoding in ("gzip", "x-gzip") else body)
        check(all(member in self.schema for member in MEMBERS), f"members: {list(self.schema)}")
        status, _, _, body = self.http("GET", "/jmap/session")
        check(200 <= status < 300, f"session: {status}")
        session = json.loads(body)
        core = session["capabilities"]["urn:ietf:params:jmap:core"]
        check(isinstance(core, dict) and isinstance(session["apiUrl"], str), f"{session}")
        self.path = "/" + session["apiUrl"].split("://", 1)[-1].split("/", 1)[-1].rstrip("/")
        self.most_get, self.most_set = core.get("maxObjectsInGet", 500), core.get("maxObjectsInSet", 500)

    def post(self, calls, created=None):
        request = {"using": USING, "methodCalls": calls} | ({"createdIds": created} if created else {})
        status, _, _, body = self.http("POST", self.path, json.dumps(request, separators=(",", ":")).encode())
        check(200 <= status < 300, f"status {status} of {calls}: {body[:300]}")
        answer = json.loads(body)
        responses = answer["methodResponses"]
        check(isinstance(responses, list) and len(responses) == len(calls), f"responses to {calls}: {answer}")
        for call, (name, arguments, call_id) in zip(calls, responses):
            if name == "error":
                raise Refused(arguments["type"], arguments.get("description"))
            equal((name, call_id), (call[0], call[2]), "name and id of a response")
        check(isinstance(answer.get("sessionState", ""), str), "sessionState")
        check(all(isinstance(v, str) for v in answer.get("createdIds", {}).values()), "createdIds")
        return [arguments for _, arguments, _ in responses]

    def get(self, kind, id, fields=None):
        [answer] = self.post([[f"x:{kind}/get", {"ids": [id], "properties": fields}, "c0"]])
        check(isinstance(answer["list"], list), f"{answer}")
        return answer["list"][0] if answer["list"] else None

    def query(self, kind, fields=None, **filter):
        """All rows, page by page, as many as fit into one get."""
        rows, more = [], {"calculateTotal": True}
        while True:
            ids, got = self.post([
                [f"x:{kind}/query", {"filter": filter, "limit": self.most_get, **more}, "q"],
                [f"x:{kind}/get", {"#ids": {"resultOf": "q", "name": f"x:{kind}/query", "path": "/ids"},
                                   "properties": fields}, "g"]])
            equal([row["id"] for row in got["list"]], ids["ids"], "rows in the order of the ids")
            rows += got["list"]
            if len(ids["ids"]) < self.most_get:
                return rows
            more = {"anchor": got["list"][-1]["id"], "anchorOffset": 1}

    def set(self, kind, created=None, **arguments):
        [answer] = self.post([[f"x:{kind}/set", arguments, "c0"]], created)
        for member in ("notCreated", "notUpdated", "notDestroyed"):
            for error in answer.get(member, {}).values():
                check_set_error(error)
        return answer

    def create(self, kind, value):
        answer = self.set(kind, create={"n0": value})
        if "n0" in answer.get("notCreated", {}):
            raise Refused(answer["notCreated"]["n0"])
        check(isinstance(answer["created"]["n0"]["id"], str), f"{answer}")
        return answer["created"]["n0"]["id"]

    def update(self, kind, id, patch):
        answer = self.set(kind, update={id: patch})
        if id in answer.get("notUpdated", {}):
            raise Refused(answer["notUpdated"][id])
        check(id in answer.get("updated", {}) and isinstance(answer["updated"][id], (dict, type(None))),
              f"server did not acknowledge update: {answer}")

    def delete(self, kind, ids):
        """The errors of those that were refused."""
        refused = {}
        for first in range(0, len(ids), self.most_set):
            part = ids[first:first + self.most_set]
            answer = self.set(kind, destroy=part)
            for id in part:
                check((id in answer.get("destroyed", [])) != (id in answer.get("notDestroyed", {})), f"no answer for {id}")
            refused |= answer.get("notDestroyed", {})
        return refused

    def type_of(self, kind):
        return self.schema["objects"][f"x:{kind}"]["type"], self.schema["schemas"][f"x:{kind}"]["type"]

    def snapshot(self, kind):
        single, form = self.type_of(kind)
        if single == "singleton":
            [answer] = self.post([[f"x:{kind}/get", {"ids": ["singleton"], "properties": None}, "c0"]])
            equal([row["id"] for row in answer["list"]], ["singleton"], f"{kind}")
            rows = answer["list"]
        else:
            rows = self.query(kind)
        for row in rows:
            equal("@type" in row, form == "multiple", f"@type in {kind}")
        return rows

    def labels(self, kind, ids):
        """The names shown for ids that rows refer to; errors are not looked at."""
        label = self.schema["lists"][f"x:{kind}"]["labelProperty"]
        [answer] = self.post([[f"x:{kind}/get", {"ids": ids, "properties": [label]}, "c0"]])
        return {row["id"]: row[label] for row in answer["list"]}

    def create_all(self, kind, created, value):
        """Creates in parts; earlier ids go along only when the part refers to them."""
        names = list(value)
        for first in range(0, len(names), self.most_set):
            part = {name: value[name] for name in names[first:first + self.most_set]}
            refs = references(part) - set(part)
            answer = self.set(kind, {ref: created[ref] for ref in sorted(refs) if ref in created}, create=part)
            equal(answer.get("notCreated"), None, f"creating {kind}")
            created |= {name: made["id"] for name, made in answer["created"].items()}

    def update_one(self, kind, created, id, patch):
        refs = {ref: created[ref] for ref in sorted(references(patch)) if ref in created}
        answer = self.set(kind, refs, update={id: patch})
        check(len(answer.get("updated", {})) == 1, f"no `updated` entry for {id} of {kind}: {answer}")

    def upsert(self, kind, created, existing, value, matchOn=None, scope=None):
        """Matches by properties, changes each object that is there in a call of its own; the ids that are accounted for."""
        multiple = self.type_of(kind)[1] == "multiple"
        keys = matchOn or [self.schema["lists"][f"x:{kind}"]["labelProperty"]]
        fields = self.fields_of(kind)
        if kind not in existing:
            existing[kind] = self.query(kind)
        new, seen = {}, set()
        for name, body in value.items():
            body = (scope or {}) | body

            def like(row):
                return all(row.get(k) == (resolved(v, created) if fields.get(k, {}).get("type", {}).get("type") == "objectId" else v)
                           for k, v in [(k, body[k]) for k in keys] + list((scope or {}).items()) +
                           ([("@type", body["@type"])] if multiple else []))
            found = [row for row in existing[kind] if like(row)]
            check(len(found) <= 1, f"ambiguous: {found}")
            if not found:
                new[name] = {k: v for k, v in body.items() if fields.get(k, {}).get("update") != "serverSet"}
                continue
            created[name] = found[0]["id"]
            seen.add(created[name])
            patch = {k: v for k, v in body.items() if k != "@type" and fields.get(k, {}).get("update") == "mutable"}
            if patch:
                self.update_one(kind, created, created[name], patch)
        self.create_all(kind, created, new)
        return seen | {created[name] for name in new}

    def fields_of(self, kind):
        shape = self.schema["schemas"][f"x:{kind}"]
        names = [v.get("schemaName") for v in shape["variants"]] if shape["type"] == "multiple" else [shape["schemaName"]]
        return {k: f for name in names if name for k, f in self.schema["fields"][name].get("properties", {}).items()}

    def apply(self, operations):
        """Operations as (word, object, value, more) in the order and in the requests of the client."""
        created, existing, surplus, touched = {}, {}, [], set()
        operations = [(*operation, {})[:4] for operation in operations]
        for word, kind, value, _ in operations[::-1]:
            if word == "destroy":
                ids = [row["id"] for row in self.query(kind, ["id"], **value)]
                equal(self.delete(kind, ids), {}, f"destroying {kind}")
        for word, kind, value, more in operations:
            if word == "create":
                self.create_all(kind, created, value)
            elif word == "update":
                id, patch = value
                self.update_one(kind, created, created[id[1:]] if id.startswith("#") else id, patch)
            elif word in ("upsert", "reconcile"):
                ids = self.upsert(kind, created, existing, value, **more)
                touched |= ids
                if word == "reconcile":
                    scope = more.get("scope", {})
                    surplus.append((kind, [row["id"] for row in existing[kind] if row["id"] not in ids and
                                           all(row.get(k) == v for k, v in scope.items())]))
        for kind, ids in surplus[::-1]:
            ids = [id for id in ids if id not in touched]
            equal(self.delete(kind, ids) if ids else {}, {}, f"what {kind} has too much")
        return created


def references(value):
    """Client ids that a value refers to: in texts, and in names of members."""
    if isinstance(value, str):
        return {value[1:]} if value.startswith("#") and len(value) > 1 else set()
    if isinstance(value, dict):
        return {r for k, v in value.items() for r in references(k) | references(v)}
    return {r for v in value for r in references(v)} if isinstance(value, list) else set()


def resolved(value, created):
    return created[value[1:]] if isinstance(value, str) and value.startswith("#") else value
