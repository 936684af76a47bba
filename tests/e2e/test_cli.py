"""ringmx-cli: the commands for objects, against recorded conversations and a server."""

import json

import talks
from client import (ACCOUNT, ALLOW_RELAYING, Bare, CREATE_DOMAIN, CREATE_ROUTE, DOMAIN, DOMAIN_LABEL, FIND_DOMAIN, ROUTE,
                    SET_ROUTE, TRUST_PROXY, at_server, create, get, last_word, talk)
from lib import Sink, check, equal
from talks import call, one, pair


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
