"""ringmx-cli: every command against recorded conversations."""

import json
import os
import subprocess
import tempfile

import lib
import talks
from lib import check, equal
from talks import call, one, pair


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
