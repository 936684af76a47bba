"""Secrets: what was told to the server in clear is in no log, answer, file or memory of it."""

import base64
import json
import os
import pwd
import re
import secrets
import socket
import subprocess
import tempfile

import lib
from lib import Skip, check, equal, wait_until
from test_management import Api, Managed


def memory_of(pid):
    """Everything that a process can read and write, piece by piece."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in maps:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if not found:
                continue
            begin, end = (int(x, 16) for x in found.groups())
            try:
                mem.seek(begin)
                yield mem.read(end - begin)
            except (OSError, ValueError, OverflowError):
                pass  # a mapping without pages, or gone meanwhile


def forms_of(secret):
    """A secret in clear, and inside of base64 at each of the three places where it can begin."""
    forms = [secret.encode()]
    for shift in range(3):
        coded = base64.b64encode(b"x" * shift + secret.encode())
        forms.append(coded[4:-4])
    return forms


def found_in(pieces, needles):
    pieces = list(pieces)
    return [n for n in needles if any(n in piece for piece in pieces)]


def send_raw(port, data, answered=True):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.sendall(data)
        while answered and raw.recv(65536):
            pass


def send_broken(port, words, authorization):
    """Secrets in requests that fail on their way: each is wiped wherever it got to."""
    head = f"POST /jmap HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nAuthorization: {authorization}\r\n"
    coded = base64.b64encode(f"admin:{words['malformed']}".encode()).decode()
    send_raw(port, f"GET /jmap/session HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic {coded}=!!\r\n\r\n".encode())
    send_raw(port, f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: {words['header']}\r\nContent-Length: x\r\n\r\n".encode())
    secret = '{"using": [], "methodCalls": [["x:Account/set", {"create": {"n": {"credentials": {"0": {"secret": "%s"'
    for word in ("cut", "unparsed", "nowhere", "chunked"):
        body = (secret % words[word]).encode()
        if word == "nowhere":
            send_raw(port, head.replace("/jmap ", "/nowhere ").encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        elif word == "chunked":
            half = len(body) - 20
            send_raw(port, head.encode() + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (
                half, body[:half], 20, body[half:]))
        elif word == "cut":
            send_raw(port, head.encode() + b"Content-Length: 100000\r\n\r\n" + body, answered=False)
        else:
            send_raw(port, head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def test_secrets_leave_no_trace():
    """Passwords and keys that came in requests are not in the process's memory afterwards, nor in log or store."""
    if os.geteuid() != 0:
        raise Skip("reading another process's memory needs root")
    if "asan" in os.path.basename(lib.BUILD):
        raise Skip("the address sanitizer keeps what is freed, and terabytes of shadow")
    words = {name: f"{name}-{secrets.token_hex(16)}" for name in
             ("recovery", "first", "second", "wrong", "patched", "refused", "malformed", "header", "unparsed", "nowhere",
              "chunked", "cut")}
    with Managed(start=False) as s:
        s.env["STALWART_RECOVERY_ADMIN"] = f"admin:{words['recovery']}"
        s.start()
        s.api = Api(s.http_port, f"admin:{words['recovery']}")
        domain = s.api.find("Domain", name="example.org")

        def password(word):
            return {"0": {"@type": "Password", "secret": words[word]}}
        account = s.api.create("Account", **{"@type": "User"}, name="zaphod", domainId=domain,
                               roles={"@type": "Admin"}, credentials=password("first"))
        own = Api(s.http_port, f"zaphod@example.org:{words['first']}")
        key = own.set("ApiKey", create={"k": {"description": "for the test"}})["created"]["k"]["secret"]
        check(key.startswith("API_"), f"the key: {key}")
        words["key"] = key[24:]
        by_key = Api(s.http_port)
        by_key.headers["Authorization"] = f"Bearer {key}"
        equal(by_key.http("GET", "/jmap/session")[0], 200, "signing in with the key")
        s.api.update("Account", account, credentials=password("second"))
        s.api.update("Account", account, **{"credentials/0/secret": words["patched"]})
        refused = s.api.set("Account", create={"n": {"@type": "User", "name": "ford", "domainId": "nowhere",
                                                     "credentials": password("refused")}})
        check("notCreated" in refused and words["refused"] not in json.dumps(refused), f"{refused}")
        equal(Api(s.http_port, f"zaphod@example.org:{words['wrong']}").http("GET", "/api/account")[0], 401,
              "a wrong password")
        shown = json.dumps(s.api.calls(("x:Account/get", {"ids": [account]}), ("x:ApiKey/get", {})))
        check("****" in shown and not any(w in shown for w in words.values()), f"shown: {shown}")
        for api in (s.api, own, by_key):
            api.connection.close()
        send_broken(s.http_port, words, s.api.headers["Authorization"])
        wait_until(lambda: "sign-in-refused" in s.log(), 10, "the last refusal")
        needles = [form for word in words.values() for form in forms_of(word)]
        memory = list(memory_of(s.process.pid))
        check(found_in(memory, [b"zaphod"]), "the search finds nothing at all")
        equal(found_in(memory, needles), [], "in the memory of the process")
        with open(f"/proc/{s.process.pid}/environ", "rb") as f:
            equal(found_in([f.read()], needles), [], "in its environment")
        equal(found_in([s.log().encode()], needles), [], "in the log")
        s.stop()
        store = []
        for name in os.listdir(s.data):
            if name.startswith("registry.db"):
                with open(os.path.join(s.data, name), "rb") as f:
                    store.append(f.read())
        check(found_in(store, [b"zaphod"]), "the store holds nothing at all")
        equal(found_in(store, needles), [], "in the store")



def owner_in_proc(*args):
    """Whom the kernel lets look into a server that runs as nobody: nobody, or root alone (no core dumps)."""
    with Managed(start=False) as s:
        os.chmod(s.folder, 0o755)
        nobody = pwd.getpwnam("nobody")
        for path, folders, files in os.walk(s.data):
            for name in [".", *folders, *files]:
                os.chown(os.path.join(path, name), nobody.pw_uid, nobody.pw_gid)
        s.args += ["--user", "nobody", *args]
        s.start()
        with open(f"/proc/{s.process.pid}/status") as f:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        equal(status["Uid"].split(), [str(nobody.pw_uid)] * 4, "user")
        equal(int(status["CapPrm"], 16), 1 << 10, "capabilities: CAP_NET_BIND_SERVICE alone")
        check("runs-as-root" not in s.log(), "warned of root, which it left")
        s.submit("alice@example.org")
        s.delivered()
        return pwd.getpwuid(os.stat(f"/proc/{s.process.pid}/mem").st_uid).pw_name


def test_no_core_dumps():
    """As another user: keeps one capability, and a crash leaves no core (keys, mail) unless --core-dumps says so."""
    if os.geteuid() != 0:
        raise Skip("becoming another user needs root")
    if "asan" in os.path.basename(lib.BUILD):
        raise Skip("the address sanitizer looks for leaks by ptrace, which needs dumps allowed")
    equal(owner_in_proc(), "root", "who may look into it")
    equal(owner_in_proc("--core-dumps"), "nobody", "who may look into it, with --core-dumps")


def test_api_key_by_command_line():
    """The key is shown when it is made, and only then; with it the command line signs in."""
    with Managed() as s, tempfile.TemporaryDirectory() as home:
        domain = s.api.find("Domain", name="example.org")
        word = secrets.token_hex(16)
        s.api.create("Account", **{"@type": "User"}, name="keeper", domainId=domain, roles={"@type": "Admin"},
                     credentials={"0": {"@type": "Password", "secret": word}})

        def cli(*args, **variables):
            env = {"HOME": home, "PATH": os.environ["PATH"], "STALWART_URL": f"http://127.0.0.1:{s.http_port}"}
            done = subprocess.run([os.path.join(lib.BUILD, "ringmx-cli"), *args], capture_output=True, text=True,
                                  timeout=60, env=env | variables)
            equal(done.returncode, 0, f"exit code of {args}: {done.stderr}")
            return done.stdout
        account = {"STALWART_USER": "keeper@example.org", "STALWART_PASSWORD": word}
        key = re.search(r"API_[A-Za-z0-9_-]+", cli("create", "ApiKey", "--field", "description=script", **account))
        check(key is not None, "the key is not shown")
        check("example.org" in cli("query", "Domain", "--fields", "name", STALWART_TOKEN=key[0]), "by the key")
        for shown in (cli("query", "ApiKey", **account), cli("query", "ApiKey", "--json", **account), s.log()):
            check(key[0] not in shown, f"shown again: {shown}")
