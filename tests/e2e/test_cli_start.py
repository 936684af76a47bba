"""ringmx-cli: how it starts and ends: schema, session, credentials, TLS, usage, terminals, servers that mean harm."""

import json
import os
import random
import re
import subprocess

import lib
import talks
from client import ACCOUNT, ALLOW_RELAYING, DOMAIN, ROUTE, START, plan, run_cli, start_with, talk
from lib import check, equal
from talks import pair


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
