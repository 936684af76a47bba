"""ringmx-cli: every command against recorded conversations."""

import json
import os
import random
import re
import subprocess

import lib
import talks
from lib import Sink, check, equal
from talks import call, one, pair
from test_management import ADMIN, Api, Managed
from test_web import make_certificate


def run_cli(player, *args, env=None, stdin="", scheme="http", **settings):
    """Runs the client in an environment of its own; returns the finished process."""
    cache = settings.get("cache") or lib.work_folder()
    variables = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": cache, "STALWART_USER": "admin", "STALWART_PASSWORD": "secret",
                 "STALWART_URL": f"{scheme}://127.0.0.1:{player.port}"}
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
        if name in os.environ:
            variables[name] = os.environ[name]
    variables = {k: v for k, v in (variables | (env or {})).items() if v is not None}
    return subprocess.run([os.path.join(lib.BUILD, "ringmx-cli"), *args], input=stdin, capture_output=True, text=True,
                          timeout=60, env=variables)


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


def test_cli_migration_commands():
    """The six commands of a migration, as the guide has them."""
    talk(CREATE_DOMAIN, "create", "Domain", "--field", "name=example.org", out="Created Domain $domain\n")
    talk(FIND_DOMAIN, "query", "Domain", "--where", "name=example.org", "--fields", "id", out="id\n$domain\n")
    talk(ALLOW_RELAYING, "update", "Domain", "b", "--field", "allowRelaying=true", out="Updated Domain $domain\n")
    talk(CREATE_ROUTE, "create", "MtaRoute/Relay", "--field", "name=source", "--field", "address=source.internal.example.org",
         "--field", "port=25", "--field", "protocol=smtp", "--field", "implicitTls=false", "--field", "allowInvalidCerts=true",
         out="Created MtaRoute $route\n")
    talk(SET_ROUTE, "update", "MtaOutboundStrategy", "singleton", "--field", f"route={json.dumps(ROUTE)}",
         out="Updated MtaOutboundStrategy singleton\n")
    talk(TRUST_PROXY, "update", "SystemSettings", "singleton", "--field", 'proxyTrustedNetworks={"203.0.113.10/32":true}',
         out="Updated SystemSettings singleton\n")


# --- get and query ---


def get(kind, ids, properties, rows, **more):
    return one(f"{kind}/get", {"ids": ids, "properties": properties}, {"list": rows, "notFound": []}, **more)


DOMAIN = {"id": "$domain", "name": "example.org", "aliases": {"example.net": True}, "description": None, "isEnabled": True,
          "allowRelaying": False, "createdAt": "2026-11-22T10:00:00Z"}
ACCOUNT = {"id": "$account", "@type": "User", "name": "ann", "domainId": "$domain", "emailAddress": "ann@example.org",
           "secret": "****", "quotas": {"maxDiskQuota": 1073741824},
           "aliases": {"10": {"enabled": True, "name": "z", "domainId": "$domain"},
                       "9": {"enabled": False, "name": "a.smith", "domainId": "$domain"}}}
DOMAIN_LABEL = get("x:Domain", ["$domain"], ["name"], [{"id": "$domain", "name": "example.org"}])


def test_cli_get():
    """get shows an object by its forms, names what it refers to, and gives JSON as it came."""
    talk([get("x:Domain", ["$domain"], None, [DOMAIN], needs={"list": [{"id": "$domain", "name": str, "isEnabled": bool}]})],
         "get", "domain", "b", out="  name:          example.org\n  aliases:       example.net\n  description:   <none>\n"
         "  isEnabled:     Yes\n  allowRelaying: No\n  createdAt:     2026-11-22T10:00:00Z\n")
    talk([get("x:Account", ["$account"], None, [ACCOUNT]), DOMAIN_LABEL], "get", "Account", "f",
         out="Type: User account\n\nAccount\n  Username: ann\n  Domain:   example.org (id: $domain)\n\n  aliases:\n"
         "    #   enabled  name     domainId\n    9   No       a.smith  example.org (id: $domain)\n"
         "    10  Yes      z        example.org (id: $domain)\n  secret:       *****\n"
         "  quotas:       Disk space → 1.0 GB\n  emailAddress: ann@example.org\n")
    talk([get("x:Domain", ["$domain"], ["name", "@type", "id"], [{"id": "$domain", "name": "example.org"}])],
         "get", "x:DOMAIN", "b", "--fields", "NAME,@TYPE", "--fields=id", "--json", out='{"id":"$domain","name":"example.org"}\n')
    talk([get("x:MtaOutboundStrategy", ["singleton"], None, [{"id": "singleton", "route": ROUTE}])], "get",
         "MtaOutboundStrategy", out="""  route:
      match:
        #  if                            then
        0  is_local_address(rcpt)        'local'
        1  is_local_domain(rcpt_domain)  'source'
      else:  'mx'
""")


def test_cli_get_refused():
    """What get cannot show is an error: absent objects, unknown names, a missing id, a failed call."""
    talk([get("x:Domain", ["zz"], None, [])], "get", "Domain", "zz", code=1, out="", err="error: Domain zz not found\n")
    talk([], "get", "Nothing", "b", code=1, err="error: unknown object: Nothing\n")
    talk([], "get", "EmailAlias", "b", code=1, err="part of other objects")
    talk([], "get", "Account/User", "b", code=1, err="for create only")
    talk([], "get", "Domain", code=1, err="error: Domain requires an id\n")
    talk([], "get", "SystemSettings", "b", code=1, err="singleton id must be 'singleton'")
    talk([], "get", "Domain", "b", "--fields", "nam", code=1, err="error: unknown field: nam\n")
    failed = call(("x:Domain/get", {"ids": ["b"], "properties": None}),
                  answer=[{"error!": {"type": "forbidden", "description": "not authorized"}}])
    talk([failed], "get", "Domain", "b", code=1, err="error: jmap error: forbidden: not authorized\n")


def test_cli_stored_but_not_in_force():
    """What was created is named although the call as a whole is an error."""
    failed = call(("x:Domain/set", {"create": {"n0": {"name": "example.org"}}}),
                  answer=[{"error!": {"type": "serverPartialFail", "description": "core 1 is behind",
                                      "created": {"n0": {"id": "b7"}}}}])
    talk([failed], "create", "Domain", "--field", "name=example.org", code=1,
         err="error: jmap error: serverPartialFail: core 1 is behind; created: n0 = b7\n")


def test_cli_label_errors():
    """A failed look-up of names leaves the ids; query asks for the names of a page at once."""
    failed = call(("x:Domain/get", {"ids": ["$domain"], "properties": ["name"]}),
                  answer=[{"error!": {"type": "forbidden", "description": ""}}])
    rows = [{"id": "$account", "name": "ann", "domainId": "$domain"}, {"id": "g", "name": "a\tb\nc", "domainId": "$domain"}]
    columns = ["id", "name", "domainId"]
    page = pair("x:Account", {"filter": {}, "limit": 500, "calculateTotal": True}, columns, ["$account", "g"], rows)
    talk([page, failed], "query", "Account", out="Id  Username  Domain\n$account   ann       $domain\ng   a b c     $domain\n")
    talk([page, DOMAIN_LABEL], "query", "Account",
         out="Id  Username  Domain\n$account   ann       example.org (id: $domain)\ng   a b c     example.org (id: $domain)\n")


def test_cli_query_pages():
    """query follows the pages by anchor until one is not full, as table, as JSON and as bare ids."""
    rows = [{"id": i, "name": f"{i}.example", "isEnabled": i == "c"} for i in "bcd"]
    columns = ["id", "name", "isEnabled"]
    pages = [pair("x:Domain", {"filter": {}, "limit": 2, "calculateTotal": True}, columns, ["b", "c"], rows[:2]),
             pair("x:Domain", {"filter": {}, "limit": 2, "anchor": "c", "anchorOffset": 1}, columns, ["d"], rows[2:])]
    small = talks.session(get=2)
    talk(pages, "query", "Domain", session=small,
         out="Id  Name       Enabled\nb   b.example  No\nc   c.example  Yes\nId  Name       Enabled\nd   d.example  No\n")
    talk(pages, "query", "Domain", "--json", session=small,
         out="".join(json.dumps(r, separators=(",", ":")) + "\n" for r in rows))
    full = pages[:1] + [pair("x:Domain", {"filter": {}, "limit": 2, "anchor": "c", "anchorOffset": 1}, columns, [], [])]
    talk(full, "query", "Domain", session=small, out="Id  Name       Enabled\nb   b.example  No\nc   c.example  Yes\n")
    ids = [one("x:QueuedMessage/query", {"filter": {}, "limit": 2, "calculateTotal": True}, {"ids": ["b", "c"]}),
           one("x:QueuedMessage/query", {"filter": {}, "limit": 2, "anchor": "c", "anchorOffset": 1}, {"ids": []})]
    talk(ids, "query", "QueuedMessage", session=small, out="b\nc\n")
    talk(ids, "query", "QueuedMessage", "--json", session=small, out='"b"\n"c"\n')


def test_cli_query_filters():
    """--where becomes one flat filter, typed by the schema."""
    wanted = {"dueIsLessThanOrEqual": "2026-11-22T00:00:00Z", "returnPath": "bulk@", "sizeIsGreaterThan": 100, "age": 5,
              "text": "a=b", "unknownIsLessThan": "7"}
    talk([one("x:QueuedMessage/query", {"filter": wanted, "limit": 500, "calculateTotal": True}, {"ids": []})],
         "query", "QueuedMessage", "--where", "due<=2026-11-22T00:00:00Z", "--where", "ReturnPath=bulk@", "--where", "SIZE>100",
         "--where=age=5", "--where", "text=a=b", "--where", "unknown<7", out="")
    empty = pair("x:Domain", {"filter": {"isEnabled": True, "allowRelaying": False}, "limit": 500, "calculateTotal": True},
                 ["id", "name", "isEnabled"], [], [])
    talk([empty], "query", "Domain", "--where", "isEnabled=YES", "--where", "allowRelaying=0", out="")
    talk([], "query", "Domain", "--where", "name>x", code=1, err="only for numbers and dates")
    talk([], "query", "Domain", "--where", "isEnabled=maybe", code=1, err="expected boolean, got `maybe`")
    talk([], "query", "QueuedMessage", "--where", "size=1.5", code=1, err="expected integer, got `1.5`")
    talk([], "query", "Domain", "--where", "name", code=1, err="invalid --where `name`")
    talk([], "query", "SystemSettings", code=1, err="SystemSettings is a singleton and does not support query")


# --- create, update, delete ---


def create(kind, value, reply, **more):
    return one(f"{kind}/set", {"create": {"n0": value}}, {"created": {"n0": reply}}, **more)


def test_cli_create():
    """create takes fields, JSON, a file or standard input; variants are spelled by the schema."""
    made = [create("x:Domain", {"name": "null", "description": None, "isEnabled": False, "aliases": {"a.example": True}},
                   {"id": "$domain"})]
    talk(made, "create", "Domain", "--json", '{"name":"null","description":null,"isEnabled":false,"aliases":{"a.example":true}}',
         out="Created Domain $domain\n")
    talk(made, "create", "Domain", "--stdin", out="Created Domain $domain\n",
         stdin='{"name":"null","description":null,"isEnabled":false,"aliases":{"a.example":true}}\n')
    talk([create("x:Domain", {"description": None, "isEnabled": False, "aliases": {"a.example": True}, "name": "x=y"},
                 {"id": "$domain"})],
         "create", "Domain", "--field", "DESCRIPTION=null", "--field", "isEnabled=FALSE", "--field", 'aliases={"a.example":true}',
         "--field", "'name'=x=y", out="Created Domain $domain\n")
    talk([create("x:Action", {"@type": "ReloadSettings"}, {"id": "a"})], "create", "action/reloadsettings",
         out="Created Action a\n")
    talk([create("x:Account", {"name": "ann", "domainId": "$domain", "@type": "User"},
                 {"id": "$account", "emailAddress": "ann@example.org"})],
         "create", "Account/user", "--field", "name=ann", "--field", "domainId=b",
         out='Created Account $account\n\n{\n  "emailAddress": "ann@example.org"\n}\n')


def test_cli_create_refused():
    """What create cannot send, and what the server refuses."""
    for arguments, text in [
            (["Domain"], "no input"), (["Domain", "--json", "{}", "--field", "name=a"], "only one of"),
            (["Domain", "--json", "[]"], "must be a JSON object"), (["Domain", "--json", "{"], "invalid JSON"),
            (["Domain", "--field", "name"], "expected KEY=VALUE"), (["Domain", "--field", "nam=a"], "unknown field: nam"),
            (["Domain", "--field", "name=a", "--field", "NAME=b"], "duplicate --field key `name`"),
            (["Domain", "--field", "aliases/a=true"], "not a path"), (["Domain", "--field", "name=null"], "null is not allowed"),
            (["Domain", "--field", "aliases=a"], "takes a JSON value"), (["Domain", "--field", "isEnabled=1"], "expected boolean"),
            (["MtaRoute/Relay", "--field", "port=25x"], "expected integer"), (["MtaRoute/Rely"], "unknown variant 'Rely'"),
            (["Domain/User"], "has no variants"), (["Domain", "--file", "/nonexistent/x"], "/nonexistent/x: No such file")]:
        talk([], "create", *arguments, code=1, out="", err=text)
    error = {"type": "validationFailed", "description": "Invalid data.", "properties": ["name", "aliases/0"],
             "objectId": {"object": "Domain", "id": "b"}, "existingId": "q",
             "linkedObjects": [{"object": "x:Account", "id": "e"}, {"object": "MtaRoute", "id": "f"}],
             "validationErrors": [{"type": "Required", "property": "name"}, {"type": "MaxLength", "property": "d", "required": 255},
                                  {"type": "MinValue", "property": "port", "required": 1},
                                  {"type": "Invalid", "property": "v", "value": "x"}]}
    done = talk([one("x:Domain/set", {"create": {"n0": {"name": "a"}}}, {"notCreated": {"n0": error}})],
                "create", "Domain", "--field", "name=a", code=1, out="")
    equal(done.stderr, """error: validationFailed
  Invalid data.
  Properties: name, aliases/0
  Existing id: q
  Object id:   Domain#b
  Linked by:   Account#e, MtaRoute#f
  Validation errors:
    name: required
    d: must be at most 255 chars
    port: must be at least 1
    v: invalid value "x"
error: create failed
""", "error text")
    talk([one("x:Domain/set", {"create": {"n0": {"name": "a"}}}, {"created": {"n0": {}}})], "create", "Domain", "--field",
         "name=a", code=1, err="the created object has no id")


def test_cli_update():
    """update sends a patch; paths keep their spelling and guess their types."""
    patch = {"aliases/Example.net": True, "description": None, "name": "n", "aliases/x/y": 5, "aliases/z": 1.5,
             "aliases/t": "text", "aliases/o": {"a": 1}}
    talk([one("x:Domain/set", {"update": {"$domain": patch}}, {"updated": {"$domain": {"secret": "s", "n": 1}}})],
         "update", "Domain", "b", "--field", "ALIASES/Example.net=true", "--field", "description=null", "--field", "Name=n",
         "--field", "aliases/x/y=5", "--field", "aliases/z=1.5", "--field", "aliases/t=text", "--field", 'aliases/o={"a":1}',
         out='Updated Domain $domain\n\n  secret: "s"\n  n: 1\n')
    linked = {"notUpdated": {"$domain": {"type": "objectIsLinked"}}}
    talk([one("x:Domain/set", {"update": {"$domain": {"name": "n"}}}, linked)], "update", "Domain", "b", "--field", "name=n",
         code=1, out="", err="error: objectIsLinked\nerror: update failed\n")
    talk([one("x:Domain/set", {"update": {"zz": {"name": "n"}}}, {})], "update", "Domain", "zz", "--field", "name=n", code=1,
         err="server did not acknowledge update")
    talk([], "update", "Domain", "b", "--json", "{}", code=1, err="no fields to update")


def test_cli_delete():
    """delete works in chunks, says what became of each, and fails if one stayed."""
    small = talks.session(put=2)
    calls = [one("x:Domain/set", {"destroy": ["b", "c"]}, {"destroyed": ["b", "c"]}),
             one("x:Domain/set", {"destroy": ["d"]}, {"destroyed": ["d"]})]
    for stdin, arguments in [("", ["--ids", "b, c,d,"]), ("b c\nd\n", ["--stdin"]), ('["b","c","d"]', ["--stdin"])]:
        talk(calls, "delete", "Domain", *arguments, stdin=stdin, session=small,
             out="b deleted\nc deleted\nd deleted\n3 deleted, 0 failed\n")
    refused = {"destroyed": ["c"], "notDestroyed": {"b": {"type": "objectIsLinked", "description": "in use",
                                                          "linkedObjects": [{"object": "Account", "id": "e"}]}}}
    talk([one("x:Domain/set", {"destroy": ["b", "c", "d"]}, refused)], "delete", "Domain", "--ids", "b,c,d", code=1,
         out="b failed: error: objectIsLinked\n    in use\n    Linked by:   Account#e\nc deleted\n"
         "d failed: no response from server\n1 deleted, 2 failed\n", err="error: one or more deletions failed\n")
    talk([], "delete", "SystemSettings", "--ids", "singleton", code=1, err="is a singleton and cannot be deleted")
    talk([], "delete", "Domain", code=1, err="either --ids or --stdin")
    talk([], "delete", "Domain", "--ids", " , ", code=1, err="no ids are given")
    talk([], "delete", "Domain", "--stdin", stdin="[1]", code=1, err="must be strings")


# --- describe ---


def test_cli_describe():
    """describe lists objects, shows one with variants and filters, or an enum, without any call."""
    done = talk([], "describe")
    equal(done.stdout.splitlines()[0], "Account              Account", "first line")
    check("SystemSettings       Settings [singleton]\n" in done.stdout, done.stdout)
    check("Account/User" not in done.stdout, "views are not listed")
    equal(len(done.stdout.splitlines()), 7, "objects listed")
    talk([], "describe", "x:domain", out="""Domain
  Domain

Fields:
    aliases        set<string<string>>  mutable
    allowRelaying  boolean  mutable
    createdAt      datetime  server-set
    description    string<string>?  mutable
    isEnabled      boolean  mutable
    name           string<string>  mutable  required
        The domain

Filters:
    name  text  Name

Sort by:
    name
""")
    done = talk([], "describe", "MtaRoute")
    check("  Variants:\n    Relay: Relay host\n      Fields:\n          address            string<string>  mutable  required\n"
          in done.stdout, done.stdout)
    check("          protocol           enum (see MtaProtocol)  mutable  default \"smtp\"\n" in done.stdout, done.stdout)
    check("          port               number<unsignedInteger>  mutable  1 to 65535  default 25\n" in done.stdout, done.stdout)
    check("    Local: Local delivery\n" in done.stdout, done.stdout)
    done = talk([], "describe", "mtaroute/RELAY")
    check("    Relay: Relay host\n" in done.stdout and "Local" not in done.stdout, done.stdout)
    talk([], "describe", "MtaOutboundStrategy", out="""MtaOutboundStrategy [singleton]
  Outbound strategy

Fields:
    route  object<Expression>  mutable
        Default: {"match":{},"else":"'mx'"}
""")
    talk([], "describe", "emailalias", out="""EmailAlias

Fields:
    domainId  id<Domain>  mutable  required
    enabled   boolean  mutable
    name      string<string>  mutable  required
""")
    talk([], "describe", "mtaprotocol", out="MtaProtocol  (enum)\n\n  Variants:\n    smtp  SMTP\n    lmtp  LMTP\n")
    for name in ("nothing", "MtaRoute/nothing", "Domain/Relay", "/Relay"):
        talk([], "describe", name, code=1, err=f"no object or enum named `{name}`")


# --- apply ---


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


def test_cli_apply():
    """apply destroys in reverse order, then upserts, creates and updates, with ids of what it made."""
    done = talk(PLAN_CALLS, "apply", "--stdin", stdin="\n" + PLAN + "  \n", out="")
    equal(done.stderr, """Plan: 2 destroy, 2 update, 1 create, 1 upsert, 0 reconcile (3 objects)
✓ destroyed MtaRoute (0)
✓ destroyed QueuedMessage (1)
✓ upserted Domain (2)
✓ created Account (1)
✓ updated SystemSettings (1)
✓ updated Domain (1)
Done: 1 destroyed, 3 updated, 2 created (0 failed)
""", "report")
    done = talk(PLAN_CALLS, "apply", "--stdin", "--json", "--quiet", stdin=PLAN)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    equal(done.stderr, "", "standard error with --json --quiet")
    equal(records[2], {"op": "upsert", "object": "Domain", "index": 0, "count": 2, "status": "ok"}, "record")
    equal(records[-1], {"op": "summary", "done": {"destroyed": 1, "updated": 3, "created": 2, "failed": 0},
                        "plan": {"destroys": 2, "updates": 2, "creates": 1, "create_objects": 1, "upserts": 1,
                                 "upsert_objects": 2, "reconciles": 0, "reconcile_objects": 0}}, "summary")
    folder = lib.work_folder()
    with open(os.path.join(folder, "plan"), "w") as f:
        f.write(PLAN)
    talk([], "apply", "--file", os.path.join(folder, "plan"), "--dry-run", out="", err="(dry run")


def test_cli_apply_batches():
    """Creates and destroys are cut at the server's limit; an object of an earlier batch is referred to by id."""
    small = talks.session(get=2, put=2)
    rows = [{"id": i} for i in "bcd"]
    calls = [one("x:Domain/query", {"filter": {"name": "x"}, "limit": 2, "calculateTotal": True}, {"ids": ["b", "c"]}),
             one("x:Domain/query", {"filter": {"name": "x"}, "limit": 2, "anchor": "c", "anchorOffset": 1}, {"ids": ["d"]}),
             put("x:Domain", {"destroyed": ["b", "c"]}, destroy=["b", "c"]), put("x:Domain", {"destroyed": ["d"]}, destroy=["d"]),
             put("x:Domain", {"created": {"a": {"id": "1"}, "b": {"id": "2"}}},
                 create={"a": {"name": "a"}, "b": {"name": "b", "description": "#a"}}),
             put("x:Domain", {"created": {"c": {"id": "3"}}}, create={"c": {"name": "c", "aliases": {"#a": True, "#none": True}}},
                 refs={"a": "1"})]
    operations = plan({"@type": "destroy", "object": "Domain", "value": {"name": "x"}},
                      {"@type": "create", "object": "Domain", "value": {
                          "a": {"name": "a"}, "b": {"name": "b", "description": "#a"},
                          "c": {"name": "c", "aliases": {"#a": True, "#none": True}}}})
    talk(calls, "apply", "--stdin", "--progress", stdin=operations, session=small, err="· creating Domain, batch 2 (1 objects)\n")
    equal(len(rows), 3, "rows")


def test_cli_apply_update_batches():
    """What was matched is changed in calls of as many as the server takes; what a call did counts, though it was refused in part."""
    small = talks.session(get=10, put=2)
    rows = [{"id": i, "name": i} for i in "bcd"]
    patches = {i: {"name": i, "description": "x"} for i in "bcd"}
    operations = plan({"@type": "upsert", "object": "Domain", "value": {f"u{i}": patch for i, patch in patches.items()}})
    both = {i: patches[i] for i in "bc"}
    talk([existing("x:Domain", rows, 10), put("x:Domain", {"updated": {"b": None, "c": None}}, update=both),
          put("x:Domain", {"updated": {"d": None}}, update={"d": patches["d"]})],
         "apply", "--stdin", stdin=operations, session=small, err="Done: 0 destroyed, 3 updated, 0 created (0 failed)\n")
    refused = {"type": "validationFailed", "description": "no"}
    talk([existing("x:Domain", rows, 10), put("x:Domain", {"updated": {"b": None}, "notUpdated": {"c": refused}}, update=both)],
         "apply", "--stdin", stdin=operations, session=small, code=1, err="Done: 0 destroyed, 1 updated, 0 created (1 failed)\n")
    talk([existing("x:Domain", rows, 10), put("x:Domain", {"updated": {"b": None}}, update=both)],
         "apply", "--stdin", stdin=operations, session=small, code=1, err="did not acknowledge update for id `c`")


def test_cli_apply_matching():
    """What upsert compares, what it drops from patches, and what it refuses to guess."""
    route = {"@type": "Relay", "name": "hub", "address": "192.0.2.25", "port": 26}
    found = [{"id": "r1", "@type": "Local", "name": "hub"}, {"id": "r2", "@type": "Relay", "name": "hub", "address": "x"}]
    talk([existing("x:MtaRoute", found), put("x:MtaRoute", {"updated": {"r2": None}},
                                             update={"r2": {"address": "192.0.2.25", "port": 26}})],
         "apply", "--stdin", stdin=plan({"@type": "upsert", "object": "MtaRoute", "value": {"r": route}}))
    by_value = [existing("x:Domain", [{"id": "b", "name": "a", "description": None, "isEnabled": True, "allowRelaying": False,
                                       "createdAt": "2026-01-01T00:00:00Z"}]),
                put("x:Domain", {"updated": {"b": None}}, update={"b": {"name": "a", "isEnabled": True, "allowRelaying": False}})]
    talk(by_value, "apply", "--stdin", stdin=plan({"@type": "upsert", "object": "Domain", "matchOn": "*", "value": {
        "d": {"name": "a", "isEnabled": True, "allowRelaying": False, "createdAt": "2020-01-01T00:00:00Z"}}}))
    account = {"@type": "User", "name": "ann", "domainId": "#d", "emailAddress": "dropped@example.org"}
    by_reference = [existing("x:Domain", [{"id": "b", "name": "a"}]),
                    put("x:Domain", {"updated": {"b": None}}, update={"b": {"name": "a"}}),
                    existing("x:Account", [{"id": "e", "@type": "User", "name": "ann", "domainId": "c"}]),
                    put("x:Account", {"created": {"u": {"id": "f"}}}, refs={"d": "b"},
                        create={"u": {"@type": "User", "name": "ann", "domainId": "#d"}})]
    operations = plan({"@type": "upsert", "object": "Domain", "value": {"d": {"name": "a"}}},
                      {"@type": "upsert", "object": "Account", "matchOn": ["name", "domainId"], "value": {"u": account}})
    talk(by_reference, "apply", "--stdin", stdin=operations)
    twice = [existing("x:Domain", [{"id": "b", "name": "a"}, {"id": "c", "name": "a"}])]
    talk(twice, "apply", "--stdin", code=1, err="ambiguous",
         stdin=plan({"@type": "upsert", "object": "Domain", "value": {"d": {"name": "a"}}}))
    talk([existing("x:Domain", [])], "apply", "--stdin", code=1, err="`d` and `e` are matched alike",
         stdin=plan({"@type": "upsert", "object": "Domain", "value": {"d": {"name": "a"}, "e": {"name": "a"}}}))
    talk([existing("x:MtaRoute", [])], "apply", "--stdin", code=1, err="lacks its `@type`",
         stdin=plan({"@type": "upsert", "object": "MtaRoute", "value": {"d": {"name": "a"}}}))
    own = [existing("x:Domain", []), put("x:Domain", {"created": {"d": {"id": "b"}}}, create={"d": {"name": "a"}}),
           put("x:Domain", {"updated": {"b": None}}, update={"b": {"name": "A"}}),
           put("x:Domain", {"updated": {"b": None}}, update={"b": {"name": "A", "isEnabled": True}})]
    talk(own, "apply", "--stdin", stdin=plan({"@type": "upsert", "object": "Domain", "value": {"d": {"name": "a"}}},
                                             {"@type": "update", "object": "Domain", "id": "#d", "value": {"name": "A"}},
                                             {"@type": "upsert", "object": "Domain", "value": {"x": {"name": "A", "isEnabled": True}}}))


def test_cli_apply_reconcile():
    """reconcile removes at the end what is in its scope and was neither matched nor made by the plan."""
    found = [{"id": "r1", "@type": "Relay", "name": "hub", "address": "x"}, {"id": "r2", "@type": "Relay", "name": "old"},
             {"id": "r3", "@type": "Local", "name": "local"}, {"id": "r4", "@type": "Relay", "name": "kept"}]
    operations = plan(
        {"@type": "reconcile", "object": "MtaRoute", "matchOn": ["name"], "scope": {"@type": "Relay"},
         "value": {"r": {"name": "hub", "address": "y"}, "n": {"@type": "Relay", "name": "new"}}},
        {"@type": "update", "object": "MtaRoute", "id": "r4", "value": {"port": 1}},
        {"@type": "reconcile", "object": "Domain", "value": {}})
    calls = [existing("x:MtaRoute", found),
             put("x:MtaRoute", {"created": {"n": {"id": "r5"}}}, create={"n": {"@type": "Relay", "name": "new"}}),
             put("x:MtaRoute", {"updated": {"r1": None}}, update={"r1": {"address": "y"}}),
             put("x:MtaRoute", {"updated": {"r4": None}}, update={"r4": {"port": 1}}),
             existing("x:Domain", [{"id": "b", "name": "a"}]),
             put("x:Domain", {"destroyed": ["b"]}, destroy=["b"]),
             put("x:MtaRoute", {"destroyed": ["r2"]}, destroy=["r2"])]
    talk(calls, "apply", "--stdin", stdin=operations,
         err="✓ reconcile removed Domain (1)\n✓ reconcile removed MtaRoute (1)\nDone: 2 destroyed, 2 updated, 1 created (0 failed)\n")


def test_cli_apply_failures():
    """The first failure ends a run, unless --continue-on-error; what was made before it is used."""
    refused = {"type": "primaryKeyViolation", "description": "Name is in use."}
    operations = plan({"@type": "create", "object": "Domain", "value": {"a": {"name": "a"}, "b": {"name": "b"}}},
                      {"@type": "update", "object": "Domain", "id": "#a", "value": {"name": "c"}},
                      {"@type": "update", "object": "Domain", "id": "#b", "value": {"name": "c"}})
    first = put("x:Domain", {"created": {"a": {"id": "1"}}, "notCreated": {"b": refused}},
                create={"a": {"name": "a"}, "b": {"name": "b"}})
    text = "Domain: create failed for `b`: error: primaryKeyViolation |   Name is in use.\n"
    done = talk([first], "apply", "--stdin", stdin=operations, code=1, err=f"error: {text}")
    check(f"✗ create Domain: {text}Done: 0 destroyed, 0 updated, 1 created (1 failed)\n" in done.stderr, done.stderr)
    second = put("x:Domain", {"updated": {"1": None}}, update={"1": {"name": "c"}})
    done = talk([first, second], "apply", "--stdin", "--json", "--continue-on-error", stdin=operations, code=1,
                err="error: apply completed with 2 failed operation(s)\n")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    equal([r.get("status") for r in records], ["error", "ok", "error", None], "records")
    equal(records[0]["error"] + "\n", text, "error of a record")
    talk([put("x:Domain", {}, create={"a": {"name": "a"}})], "apply", "--stdin", code=1, err="did not say what became of 1 objects",
         stdin=plan({"@type": "create", "object": "Domain", "value": {"a": {"name": "a"}}}))


def test_cli_apply_wrong_plans():
    """A plan with anything wrong in it is refused before the first call, with the line."""
    good = plan({"@type": "update", "object": "SystemSettings", "value": {}})
    for operation, text in [
            ({"@type": "drop", "object": "Domain"}, "line 2: `@type` must be"), ({"@type": "create"}, "`object` is missing"),
            ({"@type": "create", "object": "Nothing", "value": {"a": {}}}, "unknown object: Nothing"),
            ({"@type": "create", "object": "Domain", "extra": 1, "value": {"a": {}}}, "`extra` is no member of create"),
            ({"@type": "create", "object": "Domain", "id": "b", "value": {"a": {}}}, "`id` is no member of create"),
            ({"@type": "create", "object": "Domain", "value": {}}, "has no objects"),
            ({"@type": "create", "object": "Domain", "value": {"#a": {}, "a": {}}}, "has the id `a` twice"),
            ({"@type": "create", "object": "Domain", "value": {"a": 1}}, "`a` is not an object"),
            ({"@type": "update", "object": "Domain", "value": {}}, "has no `id`"),
            ({"@type": "update", "object": "Domain", "id": "b"}, "needs an object as `value`"),
            ({"@type": "update", "object": "Domain", "id": "#nobody", "value": {}}, "no operation before this one makes `#nobody`"),
            ({"@type": "update", "object": "SystemSettings", "id": "b", "value": {}}, "singleton id must be 'singleton'"),
            ({"@type": "destroy", "object": "SystemSettings"}, "cannot be done to a singleton"),
            ({"@type": "upsert", "object": "Domain", "matchOn": [], "value": {"a": {}}}, "needs a list of properties or"),
            ({"@type": "upsert", "object": "Domain", "matchOn": "name", "value": {"a": {}}}, "needs a list of properties or"),
            ({"@type": "reconcile", "object": "Account", "value": {}}, "has no key to match by"),
            ({"@type": "upsert", "object": "Domain", "scope": {"name": None}, "value": {"a": {}}}, "`scope` on `name` is null"),
            ({"@type": "upsert", "object": "Domain", "scope": {"@type": "A"}, "value": {"a": {}}}, "is no variant"),
            ({"@type": "upsert", "object": "Domain", "scope": {"createdAt": "x"}, "value": {"a": {}}}, "is set by the server"),
            ({"@type": "upsert", "object": "Domain", "scope": {"nam": "x"}, "value": {"a": {}}}, "is no property"),
            ({"@type": "upsert", "object": "Account", "matchOn": ["name"], "scope": {"domainId": "#no"}, "value": {"a": {}}},
             "refers to an id that no operation before"),
            ({"@type": "upsert", "object": "Domain", "scope": {"isEnabled": True}, "value": {"a": {"isEnabled": False}}},
             "`a` is outside the operation's `scope` on `isEnabled`")]:
        talk([], "apply", "--stdin", stdin=good + plan(operation), code=1, out="", err=text)
    talk([], "apply", "--stdin", stdin=good + "\n{]\n", code=1, err="plan, line 3: ")
    talk([], "apply", "--stdin", stdin='{"@type":"destroy","@type":"destroy","object":"Domain"}\n', code=1, err="duplicate")
    talk([], "apply", code=1, err="no plan")


# --- snapshot ---


def test_cli_snapshot():
    """snapshot writes objects after what they refer to, without secrets and what the server sets, singletons last."""
    page = {"filter": {}, "limit": 500}
    calls = [pair("x:Domain", page, None, ["$domain"], [DOMAIN]),
             pair("x:Account", page, None, ["$account"], [ACCOUNT]),
             get("x:SystemSettings", ["singleton"], None, [{"id": "singleton", "defaultHostname": "mx", "defaultDomainId": "$domain",
                                                            "proxyTrustedNetworks": {"203.0.113.10": True}}])]
    domain = {"@type": "upsert", "object": "Domain", "matchOn": ["name"], "value": {"domain-$domain": {
        "name": "example.org", "aliases": {"example.net": True}, "description": None, "isEnabled": True, "allowRelaying": False}}}
    account = {"@type": "User", "name": "ann", "domainId": "#domain-$domain", "quotas": {"maxDiskQuota": 1073741824},
               "aliases": {"10": {"enabled": True, "name": "z", "domainId": "#domain-$domain"},
                           "9": {"enabled": False, "name": "a.smith", "domainId": "#domain-$domain"}}}
    user = {"@type": "upsert", "object": "Account", "value": {"account-$account": account}}
    settings = {"@type": "update", "object": "SystemSettings", "value": {
        "defaultHostname": "mx", "defaultDomainId": "#domain-$domain", "proxyTrustedNetworks": {"203.0.113.10": True}}}
    want = talks.filled([domain, user, settings], talks.VARIABLES)
    done = talk(calls, "snapshot", "SystemSettings", "account", "Domain", "--quiet")
    equal([json.loads(line) for line in done.stdout.splitlines()], want, "plan")
    check("Account has no match key" in done.stderr and "secrets" in done.stderr, done.stderr)

    path = os.path.join(lib.work_folder(), "plan")
    secret = talks.filled({**user, "value": {"account-$account": {**account, "secret": "****"}}}, talks.VARIABLES)
    del secret["value"]["account-f"]["domainId"]
    for alias in secret["value"]["account-f"]["aliases"].values():
        del alias["domainId"]
    done = talk(calls[1:2], "snapshot", "Account", "--include-secrets", "--allow-unresolved", "Domain", "--output", path, out="",
                err="Account/User: 1\n")
    with open(path) as f:
        equal([json.loads(line) for line in f], [secret], "plan with secrets")

    talk([], "snapshot", "Account", code=1, err="Account references Domain but Domain is not in the snapshot selection")
    talk([], "snapshot", "Account/User", code=1, err="use its bare name")
    talk([], "snapshot", "Account", "--allow-unresolved", "Nothing", code=1, err="unknown object: Nothing")


def test_cli_snapshot_lines():
    """Of many objects a line has as many as a page; what is not one page is asked for once for each variant."""
    small = talks.session(get=2, put=2)
    domains = [{"id": i, "name": i} for i in "bcd"]
    routes = [{"id": "e", "@type": "Relay", "name": "e"}, {"id": "f", "@type": "Local", "name": "f"},
              {"id": "g", "@type": "Relay", "name": "g"}]

    def pages(kind, rows):
        return [pair(kind, {"filter": {}, "limit": 2}, None, [r["id"] for r in rows[:2]], rows[:2]),
                pair(kind, {"filter": {}, "limit": 2, "anchor": rows[1]["id"], "anchorOffset": 1}, None, [rows[2]["id"]], rows[2:])]
    done = talk(pages("x:Domain", domains), "snapshot", "Domain", "--quiet", session=small)
    equal([list(json.loads(line)["value"]) for line in done.stdout.splitlines()], [["domain-b", "domain-c"], ["domain-d"]], "lines")
    done = talk(pages("x:MtaRoute", routes) * 2, "snapshot", "MtaRoute", session=small, err="MtaRoute/Relay: 2\n")
    lines = [json.loads(line)["value"] for line in done.stdout.splitlines()]
    equal(sorted(sorted(line) for line in lines), [["mtaroute-e", "mtaroute-g"], ["mtaroute-f"]], "lines of two variants")


def test_cli_snapshot_circle():
    """Types that refer to each other: the optional reference is set by an update at the end. The plan applies."""
    schema = json.loads(json.dumps(talks.SCHEMA))
    schema["fields"]["x:Domain"]["properties"]["ownerId"] = talks.field("objectId", objectName="x:Account", nullable=True)
    domain, account = {"id": "b", "name": "a", "ownerId": "f"}, {"id": "f", "@type": "User", "name": "ann", "domainId": "b"}
    page = {"filter": {}, "limit": 500}
    with talks.Player([pair("x:Domain", page, None, ["b"], [domain]), pair("x:Account", page, None, ["f"], [account])],
                      schema=schema) as player:
        done = run_cli(player, "snapshot", "Account", "Domain")
    equal((player.wrong, done.returncode), ([], 0), f"snapshot ({done.stderr})")
    equal([json.loads(line) for line in done.stdout.splitlines()], [
        {"@type": "upsert", "object": "Domain", "matchOn": ["name"], "value": {"domain-b": {"name": "a"}}},
        {"@type": "upsert", "object": "Account", "value": {"account-f": {"@type": "User", "name": "ann", "domainId": "#domain-b"}}},
        {"@type": "update", "object": "Domain", "id": "#domain-b", "value": {"ownerId": "#account-f"}}], "plan")
    with talks.Player([], schema=schema) as player:
        dry = run_cli(player, "apply", "--stdin", "--dry-run", stdin=done.stdout)
    equal(dry.returncode, 0, f"dry run of the snapshot ({dry.stderr})")


# --- start, authentication, cache, transport ---


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


def test_cli_schema_cache():
    """The schema is fetched again when its hash has changed, when the kept copy is damaged, or none can be kept."""
    cache = lib.work_folder()
    equal(start_with(cache=cache)[0].seen, START, "first run")
    port_free = []  # every player has a port of its own, and the cache belongs to an URL
    with talks.Player([]) as player:
        for change, want in [(None, START), (None, [START[0], START[2]]), ("hash-2", [START[0], "GET /api/schema/hash-2", START[2]]),
                             ("hash-2", [START[0], START[2]])]:
            player.hash = change or player.hash
            player.seen.clear()
            equal(run_cli(player, "describe", cache=cache).returncode, 0, "exit code")
            equal(player.seen, want, f"requests with {player.hash}")
        folders = [f for f in os.listdir(os.path.join(cache, "ringmx-cli"))]
        equal(len(folders), 2, "one folder for each server")
        for folder in folders:
            path = os.path.join(cache, "ringmx-cli", folder, "schema-hash-2.json")
            if os.path.exists(path):
                port_free.append(path)
        equal(len(port_free), 1, "kept documents")
        with open(port_free[0], "w") as f:
            f.write('{"objects":')
        player.seen.clear()
        equal(run_cli(player, "describe", cache=cache).returncode, 0, "exit code with a damaged copy")
        check("GET /api/schema/hash-2" in player.seen, "the damaged copy was not replaced")
        player.override["/api/schema"] = (401, {}, b"")
        done = run_cli(player, "describe", cache=cache)
        equal(done.returncode, 0, f"exit code with a kept copy ({done.stderr})")
        check("warning: the schema cannot be fetched (authentication failed (HTTP 401))" in done.stderr, done.stderr)
        blocked = os.path.join(lib.work_folder(), "file")
        with open(blocked, "w"):
            pass
        player.override.clear()
        done = run_cli(player, "describe", cache=blocked)
        equal(done.returncode, 0, f"exit code without a cache ({done.stderr})")
        check("warning: the schema is not kept" in done.stderr, done.stderr)


def test_cli_schema_forms():
    """The schema may come without a redirect, packed or not; anything else is an error."""
    import gzip
    plain = json.dumps(talks.SCHEMA).encode()
    for headers, body, code in [
            ({}, plain, 0), ({"Content-Encoding": "identity"}, plain, 0), ({}, gzip.compress(plain), 0),
            ({"Content-Encoding": "x-gzip"}, gzip.compress(plain), 0), ({"Content-Encoding": "br"}, plain, 1),
            ({"Content-Encoding": "gzip"}, plain, 1), ({}, gzip.compress(plain)[:-9], 1), ({}, b"{}", 1), ({}, b"[", 1)]:
        start_with(code, override={"/api/schema": (200, headers, body)})
    for status, headers, text in [(302, {}, "redirect"), (302, {"Location": "/api/schema/"}, "redirect"),
                                  (302, {"Location": "/x/../..%2fetc"}, "redirect"), (404, {}, "not found (HTTP 404)"),
                                  (500, {}, "server returned HTTP 500")]:
        start_with(1, f"{text}", override={"/api/schema": (status, headers, b"")})
    start_with(1, "permission denied (HTTP 403)", override={"/api/schema/hash-1": (403, {}, b"")})
    for status, detail, text in [(503, "the registry is damaged; put a copy back", "server returned HTTP 503: the registry is damaged; put a copy back"),
                                 (403, "Needs the permission x.", "permission denied (HTTP 403): Needs the permission x."),
                                 (403, "Forbidden", "permission denied (HTTP 403)\n"), (401, "x", "authentication failed (HTTP 401)\n")]:
        problem = json.dumps({"type": "about:blank", "status": status, "title": "Forbidden", "detail": detail}).encode()
        start_with(1, text, override={"/api/schema": (status, {"Content-Type": "application/problem+json"}, problem)})
        start_with(1, text.split(":")[0] if ":" in text else text, override={"/api/schema": (status, {}, problem)})
    start_with(0, override={"/api/schema": (307, {"Location": "https://elsewhere.example/a/hash-1"}, b"")})


def test_cli_session():
    """What the session must have; of apiUrl only the path counts, behind a prefix of the URL."""
    start_with(1, "authentication failed (HTTP 401)", override={"/jmap/session": (401, {}, b"")})
    start_with(1, "rate limited (HTTP 429)", override={"/jmap/session": (429, {}, b"")})
    start_with(1, "no core capability", override={"/jmap/session": (200, {}, b'{"capabilities":{},"apiUrl":"/jmap"}')})
    start_with(1, "not JSON", override={"/jmap/session": (200, {}, b"<html>")})
    for api in ["/jmap", "http://elsewhere.example:9999/jmap//", "https://[::1]/jmap"]:
        talk(ALLOW_RELAYING, "update", "Domain", "b", "--field", "allowRelaying=true", session=talks.session(api=api))
    pages = {f"/pre/fix{p}": (s, h, b) for p, s, h, b in [
        ("/api/schema", 200, {}, json.dumps(talks.SCHEMA).encode()), ("/jmap/session", 200, {}, json.dumps(talks.session()).encode())]}
    with talks.Player([], override=pages) as player:
        done = run_cli(player, "describe", env={"STALWART_URL": f"http://127.0.0.1:{player.port}/pre/fix//"})
    equal((player.seen, done.returncode), ([f"GET {p}" for p in pages], 0), f"requests below a prefix ({done.stderr})")


def test_cli_credentials():
    """Options and environment: user and password, or a token, exactly one of them."""
    import base64
    seen = []

    class Noting(talks.Player):
        def note(self, handler):
            seen.append(handler.headers.get("Authorization"))
            super().note(handler)

    def authorization(*arguments, env):
        seen.clear()
        with Noting([]) as player:
            done = run_cli(player, "describe", *arguments, env=env)
        equal(done.returncode, 0, f"exit code ({done.stderr.strip()})")
        equal(len(set(seen)), 1, "the same credentials everywhere")
        return seen[0]

    basic = "Basic " + base64.b64encode("admin:geheim ü".encode()).decode()
    none = {"STALWART_USER": None, "STALWART_PASSWORD": None}
    equal(authorization(env={"STALWART_PASSWORD": "geheim ü"}), basic, "from the environment")
    equal(authorization("--user", "admin", "--password=geheim ü", env=none), basic, "from options")
    equal(authorization("--password=geheim ü", env={"STALWART_PASSWORD": "x"}), basic, "an option goes before a variable")
    equal(authorization(env=none | {"STALWART_TOKEN": "API_x"}), "Bearer API_x", "token")
    equal(authorization("--api-key", "API_y", env=none), "Bearer API_y", "token by option")
    for env, text in [(none, "no credentials"), ({"STALWART_TOKEN": "API_x"}, "a user and an API key"),
                      ({"STALWART_PASSWORD": None}, "standard input is not a terminal"),
                      (none | {"STALWART_TOKEN": "a\r\nX: y"}, "no token has"), ({"STALWART_URL": None}, "no URL"),
                      ({"STALWART_URL": "HTTP://127.0.0.1"}, "does not begin with https:// or http://"),
                      ({"STALWART_URL": "http://u:p@127.0.0.1"}, "only a host and a port"),
                      ({"STALWART_URL": "http://127.0.0.1:0"}, "from 1 to 65535")]:
        player, done = start_with(1, text, env=env)
        equal(player.seen, [], "nothing is asked without credentials")


def test_cli_tls():
    """https checks certificate and name, trusts SSL_CERT_FILE, and --insecure trusts everybody."""
    import ssl
    folder = lib.work_folder()
    cert, key = os.path.join(folder, "cert"), os.path.join(folder, "key")
    subprocess.run([lib.need_program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
                    "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def wrap(sock):
        return context.wrap_socket(sock, server_side=True)

    start_with(1, "TLS: ", wrap=wrap, scheme="https")
    for env, options in [({"SSL_CERT_FILE": cert}, []), ({}, ["-k"]), ({}, ["--insecure"])]:
        player, _ = start_with(0, wrap=wrap, scheme="https", env=env, arguments=["describe", *options])
        equal(player.seen, START, "requests over TLS")
    with talks.Player([], wrap=wrap) as player:
        done = run_cli(player, "describe", env={"SSL_CERT_FILE": cert, "STALWART_URL": f"https://localhost:{player.port}"})
    equal((done.returncode, player.seen), (1, []), f"another name ({done.stderr})")


def test_cli_usage():
    """Wrong use ends with 2 and says so on standard error; help and version with 0 on standard output."""
    def use(*arguments):
        return subprocess.run([os.path.join(lib.BUILD, "ringmx-cli"), *arguments], capture_output=True, text=True, timeout=60,
                              env={"PATH": os.environ["PATH"]})

    for arguments in [[], ["nothing"], ["get"], ["get", "a", "b", "c"], ["get", "a", "--where", "x"], ["query", "a", "--where"],
                      ["query", "a", "--where", "--json"], ["create", "a", "--json"], ["get", "a", "--json=1"], ["--url"],
                      ["get", "a", "-x"], ["get", "a", "-kk"], ["--user", "a", "--user", "b", "describe"], ["snapshot"]]:
        done = use(*arguments)
        equal((done.returncode, done.stdout), (2, ""), f"{arguments}: exit code and output")
        check("Usage: ringmx-cli" in done.stderr, done.stderr)
    for arguments in [["--help"], ["-h", "get"], ["apply", "--help"], ["help"], ["help", "get"], ["help", "--help"],
                      ["--version"], ["-V"]]:
        done = use(*arguments)
        equal((done.returncode, done.stderr), (0, ""), f"{arguments}: exit code and errors")
        check(done.stdout.startswith(("Manages", "Show", "Carry", "ringmx-cli 0.")), done.stdout)


def test_cli_manual():
    """The manual page is well-formed and has every command and option of the help."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/ringmx-cli.1")
    done = subprocess.run([lib.need_program("groff"), "-mandoc", "-ww", "-Tutf8", "-P-c", path], capture_output=True, text=True)
    equal((done.returncode, done.stderr), (0, ""), "groff")
    manual = re.sub(".\b", "", done.stdout).replace("\u2010", "-").replace("\u2212", "-")

    def help_of(*arguments):
        text = subprocess.run([os.path.join(lib.BUILD, "ringmx-cli"), *arguments, "--help"], capture_output=True, text=True)
        return text.stdout

    commands = re.findall(r"^  ([a-z]+) ", help_of(), re.MULTILINE)
    check(len(commands) >= 11, f"commands in the help: {commands}")
    for command in commands:
        check(f"\n     {command}\n" in manual or f"\n     {command}  " in manual, f"the manual lacks {command}")
        for option in re.findall(r"--[a-z-]+", help_of(command)):
            check(option in manual, f"the manual lacks {option} of {command}")


def test_cli_debug():
    """--debug and STALWART_DEBUG print requests and responses, without secrets."""
    for arguments, env in [(["describe", "--debug"], {}), (["describe"], {"STALWART_DEBUG": "1"})]:
        _, done = start_with(arguments=arguments, env=env)
        equal(sum(line.startswith("> GET http://127.0.0.1:") for line in done.stderr.splitlines()), 3, "requests")
        equal(sum(line.startswith("< ") for line in done.stderr.splitlines()), 3, "responses")
        check("secret" not in done.stderr and "YWRtaW4" not in done.stderr, "credentials in the debug output")
    _, done = start_with(env={"STALWART_DEBUG": ""})
    equal(done.stderr, "", "an empty variable is no debugging")


HOSTILE = [None, True, 0, -1.5, "", "x:Domain", "User", [], [[]], [None], {}, {"": {}}, {"type": "object"}, {"type": "objectId"},
           {"type": "set", "class": {"type": "objectId"}}, {"type": "map", "keyClass": 1, "valueClass": {"type": "object"}}]


def mutated(value, chance, random):
    """A copy in which some parts, deep down, are something else."""
    if random.random() < chance:
        return random.choice(HOSTILE)
    if isinstance(value, dict):
        return {k: mutated(v, chance, random) for k, v in value.items()}
    if isinstance(value, list):
        return [mutated(v, chance, random) for v in value]
    return value


class Hostile(talks.Player):
    """Answers everything with mutations of what would be right."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        schema = mutated(talks.SCHEMA, 0.01, self.random)
        if isinstance(schema, dict):
            schema = talks.SCHEMA | {k: v for k, v in schema.items() if type(v) is type(talks.SCHEMA[k])}
        super().__init__([], schema=schema)
        # the settings of the client's limits stay, or it would page for ever
        self.rows = {"x:Domain": DOMAIN, "x:Account": ACCOUNT, "x:MtaOutboundStrategy": {"id": "singleton", "route": ROUTE},
                     "x:MtaRoute": {"id": "r", "@type": "Relay", "name": "n", "port": 1}}

    def post(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        responses = []
        for name, arguments, tag in body["methodCalls"]:
            row = talks.filled(self.rows.get(name.split("/")[0], {"id": "b"}), talks.VARIABLES)
            result = {"ids": [row["id"]], "list": [row], "created": {k: {"id": "n", "x": row} for k in arguments.get("create", {})},
                      "updated": {k: row for k in arguments.get("update", {})}, "destroyed": arguments.get("destroy", [])}
            responses.append([name, mutated(result, 0.05, self.random), tag])
        answer = {"methodResponses": mutated(responses, 0.01, self.random), "createdIds": mutated({"d": "b"}, 0.2, self.random)}
        self.send(handler, 200, {}, json.dumps(answer).encode())


def test_cli_hostile_server():
    """Whatever a server answers, the client ends with 0 or 1, never by a signal."""
    operations = plan({"@type": "upsert", "object": "Domain", "value": {"d": {"name": "example.org"}}},
                      {"@type": "create", "object": "Account", "value": {"u": {"@type": "User", "name": "a", "domainId": "#d"}}},
                      {"@type": "reconcile", "object": "MtaRoute", "scope": {"@type": "Relay"}, "value": {}},
                      {"@type": "destroy", "object": "QueuedMessage"})
    commands = [["get", "Account", "f"], ["get", "MtaOutboundStrategy"], ["query", "Domain"], ["query", "Account"],
                ["snapshot", "Domain", "Account", "MtaRoute", "SystemSettings", "MtaOutboundStrategy"], ["describe"],
                ["describe", "Account"], ["describe", "MtaRoute"], ["describe", "MtaProtocol"], ["create", "Domain", "--json", "{}"],
                ["update", "Domain", "b", "--json", '{"name":"n"}'], ["delete", "Domain", "--ids", "b,c"],
                ["apply", "--stdin", "--continue-on-error"]]
    for seed in range(int(os.environ.get("HOSTILE_ROUNDS", "65"))):
        command = commands[seed % len(commands)]
        with Hostile(seed) as player:
            done = run_cli(player, *command, stdin=operations if command[0] == "apply" else "")
        check(done.returncode in (0, 1), f"seed {seed}: {command} ended with {done.returncode}: {done.stderr[:2000]}")


def test_cli_broken_pipe():
    """A reader that has seen enough is no error."""
    rows = [{"id": f"id{i}", "name": "n" * 60, "isEnabled": True} for i in range(3000)]
    page = pair("x:Domain", {"filter": {}, "limit": 5000, "calculateTotal": True}, ["id", "name", "isEnabled"],
                [r["id"] for r in rows], rows)
    with talks.Player([page], session=talks.session(get=5000)) as player:
        process = subprocess.Popen([os.path.join(lib.BUILD, "ringmx-cli"), "query", "Domain"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True,
                                   env=dict(os.environ, STALWART_URL=f"http://127.0.0.1:{player.port}", STALWART_USER="a",
                                            STALWART_PASSWORD="b", XDG_CACHE_HOME=lib.work_folder()))
        process.stdout.close()
        errors = process.stderr.read()
        equal((process.wait(60), errors), (0, ""), "exit code and errors")


def test_cli_terminal():
    """Colours on a terminal only, and not with NO_COLOR or --no-color; a password is asked for without echo."""
    import pty
    import select

    def on_terminal(*arguments, env=None, typed=None):
        with talks.Player([]) as player:
            variables = {"PATH": os.environ["PATH"], "STALWART_URL": f"http://127.0.0.1:{player.port}", "STALWART_USER": "admin",
                         "XDG_CACHE_HOME": lib.work_folder()} | (env or {})
            pid, terminal = pty.fork()
            if pid == 0:
                os.execve(os.path.join(lib.BUILD, "ringmx-cli"), ["ringmx-cli", *arguments], variables)
            seen = b""
            while True:
                ready, _, _ = select.select([terminal], [], [], 30)
                check(ready, f"nothing more after {seen!r}")
                try:
                    data = os.read(terminal, 65536)
                except OSError:
                    break
                if not data:
                    break
                seen += data
                if typed and b"Password: " in seen:
                    os.write(terminal, typed)
                    typed = None
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode()

    password = {"STALWART_PASSWORD": "secret"}
    code, text = on_terminal("describe", env=password)
    check(code == 0 and "\x1b[36mDomain\x1b[0m" in text, f"no colours: {code} {text!r}")
    for arguments, env in [(["describe", "--no-color"], password), (["describe"], password | {"NO_COLOR": ""})]:
        code, text = on_terminal(*arguments, env=env)
        check(code == 0 and "\x1b" not in text, f"colours: {code} {text!r}")
    code, text = on_terminal("describe", typed=b"geheim\n")
    check(code == 0 and "geheim" not in text, f"the password is seen: {code} {text!r}")


def test_cli_watch():
    """stats and health need no session, and no credentials if the server asks for none."""
    problem = {"Content-Type": "application/problem+json"}
    pages = {"/stats": (200, {}, b'{"version":"x","cores":[{"sessions":3,"load":0.25},{"sessions":10}]}'),
             "/healthz/live": (200, problem, b'{"status":200,"detail":"alive"}'),
             "/healthz/ready": (503, problem, b'{"status":503,"detail":"core 1: does not answer"}')}
    none = {"STALWART_USER": None, "STALWART_PASSWORD": None}
    _, done = start_with(arguments=["stats"], env=none, override=pages)
    equal(done.stdout, "Name     Value\nversion  x\n\nName      Core 0  Core 1\nsessions  3       10\nload      0.25\n", "stats")
    _, done = start_with(arguments=["stats", "--json"], env=none, override=pages)
    equal(json.loads(done.stdout), json.loads(pages["/stats"][2]), "stats as JSON")
    _, done = start_with(1, "would not take a message", arguments=["health"], env=none, override=pages)
    equal(done.stdout, "live   yes  alive\nready  no   core 1: does not answer\n", "health")
    pages["/healthz/ready"] = (200, problem, b'{"status":200,"detail":"ready"}')
    _, done = start_with(arguments=["health", "--json"], env=none, override=pages)
    equal(json.loads(done.stdout)["ready"], {"status": 200, "detail": "ready"}, "health as JSON")


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


def test_cli_migration_on_a_server():
    """The commands of a migration against the real process, mail that shows their effect, and the way back."""
    with Sink() as old, Bare() as s:
        domain = last_word(at_server(s, "create", "Domain", "--field", "name=example.org"))
        at_server(s, "query", "Domain", "--where", "name=example.org", "--fields", "id", out=f"id\n{domain}\n")
        at_server(s, "update", "Domain", domain, "--field", "allowRelaying=true", out=f"Updated Domain {domain}\n")
        route = last_word(at_server(
            s, "create", "MtaRoute/Relay", "--field", "name=source", "--field", "address=127.0.0.1", "--field", f"port={old.port}",
            "--field", "protocol=smtp", "--field", "implicitTls=false", "--field", "allowInvalidCerts=true"))
        at_server(s, "update", "MtaOutboundStrategy", "singleton", "--field", f"route={json.dumps(ROUTE)}",
                  out="Updated MtaOutboundStrategy singleton\n")
        at_server(s, "update", "SystemSettings", "singleton", "--field", 'proxyTrustedNetworks={"203.0.113.10/32":true}',
                  out="Updated SystemSettings singleton\n")
        at_server(s, "create", "Account/User", "--field", "name=alice", "--field", f"domainId={domain}")
        s.submit(["alice@example.org", "bob@example.org"])
        s.delivered()
        equal(old.got()[0].rcpts, ["bob@example.org"], "recipients on the old system")

        at_server(s, "delete", "MtaRoute", "--ids", route, code=1, err="one or more deletions failed")
        local = {"match": {"0": {"if": "is_local_domain(rcpt_domain)", "then": "'local'"}}, "else": "'mx'"}
        at_server(s, "update", "MtaOutboundStrategy", "--field", f"route={json.dumps(local)}")
        at_server(s, "delete", "MtaRoute", "--ids", route, out=f"{route} deleted\n1 deleted, 0 failed\n")
        at_server(s, "update", "Domain", domain, "--field", "allowRelaying=false")
        with s.wire() as wire:
            wire.expect("MAIL FROM:<s@example.net>", "250")
            wire.expect("RCPT TO:<bob@example.org>", "550")


def test_cli_talks_on_a_server():
    """The recorded requests, sent to the real process as they are: its answers have what they need."""
    with Bare() as s:
        variables = {}
        for entry in CREATE_DOMAIN + FIND_DOMAIN + ALLOW_RELAYING + CREATE_ROUTE + SET_ROUTE + TRUST_PROXY:
            status, _, answer = s.api.http("POST", "/jmap", json.dumps(talks.body_of(entry, variables)))
            equal(status, 200, f"status of {entry['calls']}")
            equal(talks.matches(json.loads(answer), talks.shape_of(entry), variables), None, f"answer to {entry['calls']}")


def test_cli_apply_and_snapshot_on_a_server():
    """A snapshot of the real process applies to it without a change, and to another one with the same result."""
    types = ["Certificate", "Domain", "Role", "Account", "MtaRoute", "MtaOutboundStrategy", "SystemSettings"]
    with Managed() as s, Bare() as other:
        plan_text = at_server(s, "snapshot", "--quiet", *types).stdout
        at_server(s, "apply", "--stdin", stdin=plan_text, err=" 0 created (0 failed)\n")
        equal(at_server(s, "snapshot", "--quiet", *types).stdout, plan_text, "snapshot after its own plan")
        at_server(other, "apply", "--stdin", "--dry-run", stdin=plan_text)
        at_server(other, "query", "Account", out="")
        at_server(other, "apply", "--stdin", stdin=plan_text, err="✓ upserted Account (1)\n")
        domain = json.loads(at_server(other, "query", "Domain", "--fields", "id,name", "--json").stdout)
        account = json.loads(at_server(other, "query", "Account", "--fields", "name,domainId", "--json").stdout)
        equal((domain["name"], account["name"], account["domainId"]), ("example.org", "alice", domain["id"]), "the copy")


def test_cli_snapshot_puts_back():
    """What was changed since a snapshot is as it was when that is applied; passwords, which it has not, stay."""
    types = ["Domain", "Role", "Account", "MailingList", "Security", "Certificate", "SystemSettings"]
    cert, key = (open(path).read() for path in make_certificate(lib.work_folder(), "mx.example.org"))
    password = {"0": {"@type": "Password", "secret": "correct horse battery"}}
    with Managed() as s:
        domain = s.api.find("Domain", name="example.org")
        root = s.api.create("Account", **{"@type": "User"}, name="root", domainId=domain, roles={"@type": "Admin"},
                            credentials=password, aliases={"0": {"name": "boss", "domainId": domain}})
        team = s.api.create("MailingList", name="team", domainId=domain, recipients={"alice@example.org": True})
        made = s.api.create("Certificate", certificate={"@type": "Text", "value": cert}, privateKey={"@type": "Text", "secret": key})
        s.api.update("SystemSettings", "singleton", defaultCertificateId=made)
        shown = at_server(s, "get", "SystemSettings").stdout
        check(f" mx.example.org, 127.0.0.1 (id: {made})\n" in shown, f"the certificate by its names: {shown}")
        before = at_server(s, "snapshot", "--quiet", *types).stdout
        check('"matchOn":["name","domainId"]' in before and "horse" not in before, before)
        s.api.update("Account", root, description="changed", aliases={})
        s.api.update("MailingList", team, recipients={})
        at_server(s, "apply", "--stdin", stdin=before, err=" 0 created (0 failed)\n")
        equal(at_server(s, "snapshot", "--quiet", *types).stdout, before, "snapshot afterwards")
        equal(Api(s.http_port, "root@example.org:correct horse battery").http("GET", "/api/account")[0], 200, "signing in")


def test_cli_snapshot_of_lists():
    """A key that two lists have is two objects to a snapshot, and to both programs that apply it."""
    with Managed() as s:
        for name, value in (("moved", "a"), ("other", "b")):
            s.api.create("MemoryLookupKeyValue", namespace=name, key="x", value=value)
        plan_text = at_server(s, "snapshot", "--quiet", "MemoryLookupKeyValue").stdout
        check('"matchOn":["namespace","key"]' in plan_text, plan_text)
        changed = s.api.find("MemoryLookupKeyValue", namespace="other")
        s.api.update("MemoryLookupKeyValue", changed, value="c")
        at_server(s, "apply", "--stdin", stdin=plan_text, err=" 0 created (0 failed)\n")
        equal(at_server(s, "snapshot", "--quiet", "MemoryLookupKeyValue").stdout, plan_text, "snapshot afterwards")
        s.stop()
        lines = [json.loads(line) for line in plan_text.splitlines()]
        for line in lines:
            del line["matchOn"]
        s.apply(lines)
        s.start()
        equal(at_server(s, "snapshot", "--quiet", "MemoryLookupKeyValue").stdout, plan_text, "applied while it is stopped")


def test_cli_watch_server():
    """stats and health against the real process."""
    port = lib.free_port()
    class At:
        pass
    at = At()
    at.port = port
    with lib.Server(args=["--http", f"127.0.0.1:{port}"]):
        done = run_cli(at, "health", env={"STALWART_USER": None, "STALWART_PASSWORD": None})
        equal((done.returncode, done.stdout), (0, "live   yes  alive\nready  yes  ready\n"), f"health ({done.stderr})")
        done = run_cli(at, "stats", "--json", env={"STALWART_USER": None, "STALWART_PASSWORD": None})
        equal(done.returncode, 0, f"exit code of stats ({done.stderr})")
        check(isinstance(json.loads(done.stdout), dict), done.stdout)
    done = run_cli(at, "health")
    equal(done.returncode, 1, "exit code without a server")
    check("Connection refused" in done.stderr, done.stderr)


def peak_kib(command, env):
    """Runs a command to its good end; its largest resident set."""
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    equal(process.returncode, 0, f"exit code of {command}")
    return usage.ru_maxrss


def test_cli_apply_memory():
    """A plan is as large as it likes: memory depends on its longest line. A pipe is a file as well."""
    with Managed() as s:
        env = dict(os.environ, STALWART_URL=f"http://127.0.0.1:{s.http_port}", STALWART_USER=ADMIN.split(":")[0],
                   STALWART_PASSWORD=ADMIN.split(":")[1], XDG_CACHE_HOME=s.folder)
        peaks = []
        for lines in (1, 400):
            path = os.path.join(s.folder, f"plan-{lines}.ndjson")
            with open(path, "w") as f:
                f.write('{"@type":"upsert","object":"Domain","matchOn":["name"],"value":{"d":{"name":"example.org"}}}\n')
                for i in range(lines):
                    f.write(json.dumps({"@type": "create", "object": "Account", "value": {
                        f"a{i}-{k}": {"@type": "User", "name": f"user{i}-{k}", "domainId": "#d"} for k in range(500)}}) + "\n")
            peaks.append(peak_kib([os.path.join(lib.BUILD, "ringmx-cli"), "apply", "--dry-run", "--file", path], env))
        check("ASAN_OPTIONS" in os.environ or peaks[1] < peaks[0] + 4096, f"KiB for 1 and for 400 lines: {peaks}")
        everybody = os.path.join(s.folder, "upsert.ndjson")
        with open(everybody, "w") as f:
            f.write('{"@type":"upsert","object":"Domain","matchOn":["name"],"value":{"d":{"name":"example.org"}}}\n')
            for i in range(20):
                f.write(json.dumps({"@type": "upsert", "object": "Account", "matchOn": ["name", "domainId"], "value": {
                    f"a{i}-{k}": {"@type": "User", "name": f"person{i}-{k}", "domainId": "#d", "description": "x" * 200}
                    for k in range(500)}}) + "\n")
        command = [os.path.join(lib.BUILD, "ringmx-cli"), "apply", "--file", everybody]
        for what in ("created", "matched"):
            peak = peak_kib(command, env)
            check("ASAN_OPTIONS" in os.environ or peak < peaks[0] + 6144, f"KiB with 10,000 accounts {what}: {peak}, {peaks}")
        equal(s.api.calls(("x:Account/query", {"limit": 1, "calculateTotal": True}))[0]["total"], 10001, "accounts")
        copy = os.path.join(s.folder, "copy.ndjson")
        peak = peak_kib([os.path.join(lib.BUILD, "ringmx-cli"), "snapshot", "Domain", "Account", "--allow-unresolved", "Role",
                         "--output", copy], env)
        check("ASAN_OPTIONS" in os.environ or peak < peaks[0] + 6144, f"KiB of a snapshot of 10,000 accounts: {peak}, {peaks}")
        with open(copy) as f:
            sizes = [len(json.loads(line)["value"]) for line in f]
        equal((sum(sizes), max(sizes)), (10002, 500), "objects, and the most on a line")
        fifo = os.path.join(s.folder, "fifo")
        os.mkfifo(fifo)
        with subprocess.Popen(["cp", os.path.join(s.folder, "plan-1.ndjson"), fifo]):
            done = subprocess.run([os.path.join(lib.BUILD, "ringmx-cli"), "apply", "--file", fifo], env=env,
                                  capture_output=True, text=True, timeout=60)
        equal(done.returncode, 0, f"exit code of apply ({done.stderr})")
        check("500" in done.stderr + done.stdout, f"what it said: {done.stderr} {done.stdout}")
