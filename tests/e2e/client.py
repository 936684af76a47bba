"""What tests of ringmx-cli share: runs of it against recorded conversations (talks.py) and against a server."""

import json
import os
import subprocess

import lib
import talks
from lib import check, equal
from talks import one, pair
from test_management import ADMIN, Managed


def environment(player, env=None, scheme="http", cache=None):
    """Of a client; nothing else of this process's."""
    cache = cache or lib.work_folder()
    variables = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": cache, "STALWART_USER": "admin", "STALWART_PASSWORD": "secret",
                 "STALWART_URL": f"{scheme}://127.0.0.1:{player.port}"}
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
        if name in os.environ:
            variables[name] = os.environ[name]
    return {k: v for k, v in (variables | (env or {})).items() if v is not None}


def run_cli(player, *args, env=None, stdin="", scheme="http", **settings):
    """Runs the client in an environment of its own; returns the finished process."""
    return subprocess.run([os.path.join(lib.BUILD, "ringmx-cli"), *args], input=stdin, capture_output=True, text=True,
                          timeout=60, env=environment(player, env, scheme, settings.get("cache")))


def talk(calls, *args, code=0, out=None, err=None, session=None, **settings):
    """Plays calls to one run of the client; compares requests, exit code and output (err: a part of it)."""
    with talks.Player(calls, session=session or talks.session()) as player:
        done = run_cli(player, *args, **settings)
    what = f"ringmx-cli {' '.join(args)}"
    equal(player.wrong, [], f"requests of {what} ({done.stderr.strip()})")
    equal(player.next, len(calls), f"calls of {what} ({done.stderr.strip()})")
    equal(done.returncode, code, f"exit code of {what} ({done.stderr.strip()})")
    if out is not None:
        equal(done.stdout, talks.filled(out, talks.VARIABLES), f"output of {what}")
    if err is not None:
        check(err in done.stderr, f"{what}: {err!r} is not in {done.stderr!r}")
    return done


ROUTE = {"match": {"0": {"if": "is_local_address(rcpt)", "then": "'local'"},
                   "1": {"if": "is_local_domain(rcpt_domain)", "then": "'source'"}}, "else": "'mx'"}
CREATE_DOMAIN = [one("x:Domain/set", {"create": {"n0": {"name": "example.org"}}}, {"created": {"n0": {"id": "$domain"}}},
                     {"created": {"n0": {"id": "$domain"}}})]
FIND_DOMAIN = [pair("x:Domain", {"filter": {"name": "example.org"}, "limit": 500, "calculateTotal": True}, ["id"], ["$domain"],
                    [{"id": "$domain"}], [{"ids": ["$domain"]}, {"list": [{"id": "$domain"}]}])]
ALLOW_RELAYING = [one("x:Domain/set", {"update": {"$domain": {"allowRelaying": True}}}, {"updated": {"$domain": None}},
                      {"updated": {"$domain": None}})]
CREATE_ROUTE = [one("x:MtaRoute/set",
                    {"create": {"n0": {"name": "source", "address": "source.internal.example.org", "port": 25,
                                       "protocol": "smtp", "implicitTls": False, "allowInvalidCerts": True, "@type": "Relay"}}},
                    {"created": {"n0": {"id": "$route"}}}, {"created": {"n0": {"id": "$route"}}})]
SET_ROUTE = [one("x:MtaOutboundStrategy/set", {"update": {"singleton": {"route": ROUTE}}}, {"updated": {"singleton": None}},
                 {"updated": {"singleton": None}})]
TRUST_PROXY = [one("x:SystemSettings/set", {"update": {"singleton": {"proxyTrustedNetworks": {"203.0.113.10/32": True}}}},
                   {"updated": {"singleton": None}}, {"updated": {"singleton": None}})]


def get(kind, ids, properties, rows, **more):
    return one(f"{kind}/get", {"ids": ids, "properties": properties}, {"list": rows, "notFound": []}, **more)


DOMAIN = {"id": "$domain", "name": "example.org", "aliases": {"example.net": True}, "description": None, "isEnabled": True,
          "allowRelaying": False, "createdAt": "2026-11-22T10:00:00Z"}
ACCOUNT = {"id": "$account", "@type": "User", "name": "ann", "domainId": "$domain", "emailAddress": "ann@example.org",
           "secret": "****", "quotas": {"maxDiskQuota": 1073741824},
           "aliases": {"10": {"enabled": True, "name": "z", "domainId": "$domain"},
                       "9": {"enabled": False, "name": "a.smith", "domainId": "$domain"}}}
DOMAIN_LABEL = get("x:Domain", ["$domain"], ["name"], [{"id": "$domain", "name": "example.org"}])


def create(kind, value, reply, **more):
    return one(f"{kind}/set", {"create": {"n0": value}}, {"created": {"n0": reply}}, **more)


def plan(*operations):
    return "".join(json.dumps(op) + "\n" for op in operations)


def existing(kind, rows, limit=500):
    """The first page of everything, as apply asks for it."""
    return pair(kind, {"filter": {}, "limit": limit, "calculateTotal": True}, None, [r["id"] for r in rows], rows,
                [{"ids": list}, {"list": list}])


def put(kind, answer, refs=None, **arguments):
    return one(f"{kind}/set", arguments, answer, refs=refs)


PLAN = plan(
    {"@type": "upsert", "object": "Domain", "matchOn": ["name"], "value": {"#d1": {"name": "example.org", "isEnabled": True},
                                                                           "d2": {"name": "new.example"}}},
    {"@type": "destroy", "object": "QueuedMessage", "value": {"returnPath": "bulk@"}},
    {"@type": "create", "object": "Account", "value": {"u1": {"@type": "User", "name": "ann", "domainId": "#d1",
                                                              "aliases": {"0": {"name": "a", "domainId": "#d2"}}}}},
    {"@type": "update", "object": "SystemSettings", "value": {"defaultDomainId": "#d1"}},
    {"@type": "update", "object": "Domain", "id": "#d2", "value": {"description": "main"}},
    {"@type": "destroy", "object": "MtaRoute"})
PLAN_CALLS = [
    one("x:MtaRoute/query", {"limit": 500, "calculateTotal": True}, {"ids": []}),
    one("x:QueuedMessage/query", {"filter": {"returnPath": "bulk@"}, "limit": 500, "calculateTotal": True}, {"ids": ["q1"]}),
    put("x:QueuedMessage", {"destroyed": ["q1"]}, destroy=["q1"]),
    existing("x:Domain", [{"id": "$domain", "name": "example.org"}, {"id": "zz", "name": "other.example"}]),
    put("x:Domain", {"created": {"d2": {"id": "$second"}}}, create={"d2": {"name": "new.example"}}),
    put("x:Domain", {"updated": {"$domain": None}}, update={"$domain": {"name": "example.org", "isEnabled": True}}),
    put("x:Account", {"created": {"u1": {"id": "$account"}}}, refs={"d1": "$domain", "d2": "$second"},
        create={"u1": {"@type": "User", "name": "ann", "domainId": "#d1", "aliases": {"0": {"name": "a", "domainId": "#d2"}}}}),
    put("x:SystemSettings", {"updated": {"singleton": None}}, refs={"d1": "$domain"},
        update={"singleton": {"defaultDomainId": "#d1"}}),
    put("x:Domain", {"updated": {"$second": None}}, update={"$second": {"description": "main"}})]


def start_with(code=0, err=None, env=None, arguments=("describe", "Domain"), **settings):
    """One run against a server with other pages than usual; returns player and process."""
    cache = settings.pop("cache", None)
    scheme = settings.pop("scheme", "http")
    with talks.Player([], **settings) as player:
        done = run_cli(player, *arguments, env=env, cache=cache, scheme=scheme)
    equal(player.wrong, [], "requests")
    equal(done.returncode, code, f"exit code ({done.stderr.strip()})")
    if err is not None:
        check(err in done.stderr, f"{err!r} is not in {done.stderr!r}")
    return player, done


START = ["GET /api/schema", "GET /api/schema/hash-1", "GET /jmap/session"]


class Bare(Managed):
    """A server with a listener and nothing else."""

    def apply(self, plan, expect=0):
        return super().apply([op for op in plan if op["object"] == "NetworkListener"], expect)


def at_server(server, *args, code=0, out=None, err=None, **settings):
    """A run of the client against the real process."""
    user, password = ADMIN.split(":")
    class Endpoint:
        port = server.http_port
    done = run_cli(Endpoint, *args, env={"STALWART_USER": user, "STALWART_PASSWORD": password}, **settings)
    equal(done.returncode, code, f"exit code of {args} ({done.stderr.strip()})")
    if out is not None:
        equal(done.stdout, out, f"output of {args}")
    if err is not None:
        check(err in done.stderr, f"{args}: {err!r} is not in {done.stderr!r}")
    return done


def last_word(done):
    return done.stdout.splitlines()[0].split()[-1]
