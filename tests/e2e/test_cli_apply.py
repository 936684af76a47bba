"""ringmx-cli: apply and snapshot, against recorded conversations and a server."""

import json
import os
import subprocess

import lib
import talks
from client import ACCOUNT, Bare, DOMAIN, PLAN, PLAN_CALLS, at_server, existing, get, plan, put, run_cli, talk
from lib import check, equal
from talks import one, pair
from test_management import ADMIN, Api, Managed
from test_web import make_certificate


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
