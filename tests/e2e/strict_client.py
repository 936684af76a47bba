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

    def apply(self, operations):
        """Operations as (word, object, arguments) in the order and in the requests of the client."""
        created = {}
        for word, kind, value in operations[::-1]:
            if word == "destroy":
                ids = [row["id"] for row in self.query(kind, ["id"], **value)]
                equal(self.delete(kind, ids), {}, f"destroying {kind}")
        for word, kind, value in operations:
            if word == "create":
                answer = self.set(kind, created, create=value)
                equal(answer.get("notCreated"), None, f"creating {kind}")
                created |= {name: made["id"] for name, made in answer["created"].items()}
            elif word == "update":
                id, patch = value
                id = created[id[1:]] if id.startswith("#") else id
                answer = self.set(kind, created, update={id: patch})
                check(id in answer.get("updated", {}), f"updating {kind}: {answer}")
            elif word == "upsert":
                label = self.schema["lists"][f"x:{kind}"]["labelProperty"]
                known = {row[label]: row["id"] for row in self.query(kind)}
                new = {name: body for name, body in value.items() if body[label] not in known}
                if new:
                    created |= {name: made["id"] for name, made in self.set(kind, created, create=new)["created"].items()}
                for name, body in value.items():
                    if name not in new:
                        created[name] = known[body[label]]
                        patch = {k: v for k, v in body.items() if k not in (label, "@type")}
                        answer = self.set(kind, created, update={known[body[label]]: patch})
                        check(known[body[label]] in answer.get("updated", {}), f"{answer}")
        return created
