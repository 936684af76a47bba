"""The registry: killed at any moment of a change, and when it cannot be read."""

import http.client
import json
import os
import pwd
import random
import shutil
import sqlite3
import subprocess
import threading
import time

import lib
from lib import Fail, Skip, check, equal
from test_management import ADMIN, Api, Managed

RECOVERY = {"STALWART_RECOVERY_MODE": "1", "STALWART_RECOVERY_ADMIN": ADMIN}
DAMAGED = "put a copy of registry.db back"


def registry(server):
    return os.path.join(server.data, "registry.db")


def files(server):
    """What the registry is made of: contents, sizes, times."""
    state = {}
    for name in sorted(os.listdir(server.data)):
        if name.startswith("registry"):
            path = os.path.join(server.data, name)
            with open(path, "rb") as f:
                state[name] = f.read(), os.stat(path).st_mtime_ns, oct(os.stat(path).st_mode)
    return state


def refused(server, reason, advice, before):
    """It does not start, says why and where to go on; recovery mode runs and says what can be done."""
    server.spawn()
    equal(server.ended(), 1, f"exit code ({server.log()[-300:]})")
    [line] = [line for line in server.log().splitlines() if "configuration-unusable" in line]
    check(reason in line and "STALWART_RECOVERY_MODE=1" in line, f"the log says {line}")
    check("listening" not in server.log(), "it listens before it ends")
    equal(files(server), before, "the registry after the start")
    server.start(env=dict(os.environ, **RECOVERY))
    check(advice in server.log(), f"the log of recovery mode: {server.log()[-500:]}")
    server.api.connection = None
    status, _, body = server.api.http("POST", "/jmap", '{"using":[],"methodCalls":[]}')
    equal(status, 503, "status of the API in recovery mode")
    detail = json.loads(body)["detail"]
    check(reason in detail and advice in detail, f"recovery mode says {detail}")
    equal(server.api.http("GET", "/healthz/live", headers={})[0], 200, "live in recovery mode")
    server.stop()
    equal(files(server), before, "the registry after recovery mode")


def overwrite(path, content):
    with open(path, "wb") as f:
        f.write(content)


def another_database(path):
    os.remove(path)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mail(x)")
    db.close()


def from_the_future(path):
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()


def rotten(path):
    """Every page but the first loses what it holds."""
    page, size = 8192, os.path.getsize(path)
    with open(path, "r+b") as f:
        for at in range(page, size, page):
            f.seek(at)
            f.write(b"\xa5" * page)


def test_unreadable_store():
    """Garbage, nothing, half a file, rot, another database, a newer format: refused, kept as it is, with advice;
    put back, it runs again."""
    cases = ((lambda path: overwrite(path, random.Random(1).randbytes(30000)), "not a database", DAMAGED),
             (lambda path: overwrite(path, b""), "not a registry of ringmx", DAMAGED),
             (lambda path: os.truncate(path, os.path.getsize(path) // 2 + 100), "damaged", DAMAGED),
             (rotten, "damaged", DAMAGED),
             (another_database, "not a registry of ringmx", DAMAGED),
             (from_the_future, "was written by a newer ringmx (format 99", "start the ringmx that wrote registry.db"))
    with Managed(start=False) as s:
        copy = os.path.join(s.folder, "copy")
        shutil.copy(registry(s), copy)
        for spoil, reason, advice in cases:
            spoil(registry(s))
            before = files(s)
            refused(s, reason, advice, before)
            done = s.apply([], expect=1)
            check(reason in done.stderr, f"apply says {done.stderr}")
            equal(files(s), before, "the registry after apply")
            shutil.copy(copy, registry(s))
        s.start()
        s.submit("alice@example.org")
        s.delivered()


def test_newer_store_with_log():
    """A newer format in the log of a process that was killed: the log is not merged by who cannot read it."""
    with Managed() as s:
        s.api.create("Domain", name="logged.example")
        s.kill()
        wal = registry(s) + "-wal"
        check(os.path.getsize(wal) > 0, "there is no log")
        # Written by a program that ends without merging.
        script = ("import sqlite3, os, sys\ndb = sqlite3.connect(sys.argv[1])\n"
                  "db.execute('PRAGMA user_version=99')\ndb.commit()\nos._exit(0)\n")
        subprocess.run([shutil.which("python3"), "-c", script, registry(s)], check=True)
        if os.path.exists(registry(s) + "-shm"):
            os.remove(registry(s) + "-shm")
        refused(s, "was written by a newer ringmx", "start the ringmx that wrote registry.db", files(s))


def as_nobody():
    """The uid of a user without rights, in whose name the server can run."""
    if os.getuid() != 0:
        raise Skip("needs root")
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        raise Skip("there is no user 'nobody'") from None


def owned_by(uid, server):
    os.chmod(server.folder, 0o755)
    for folder, folders, names in os.walk(server.data):
        for path in [folder] + [os.path.join(folder, name) for name in folders + names]:
            os.chown(path, uid, -1)


def test_store_of_another_user():
    """A registry that the user of the server cannot read, or cannot write: refused at the start."""
    uid = as_nobody()
    with Managed(start=False) as s:
        s.args += ["--user", "nobody"]
        owned_by(uid, s)
        for owner, mode in ((0, 0o600), (uid, 0o400), (uid, 0)):
            os.chown(registry(s), owner, -1)
            os.chmod(registry(s), mode)
            refused(s, "permission denied", "give registry.db and its folder to the user", files(s))
        os.chown(registry(s), uid, -1)
        os.chmod(registry(s), 0o600)
        s.start()
        s.api.connection = None
        s.api.create("Domain", name="his.example")


def test_first_start_as_a_user():
    """Started as root for a user, with an empty data folder: what is made is the user's, and can be managed."""
    uid = as_nobody()
    with Managed(start=False) as s:
        shutil.rmtree(s.data)
        os.mkdir(s.data)
        os.chown(s.data, uid, -1)
        os.chmod(s.folder, 0o755)
        # The first start listens on port 25: only what comes before and after counts, so recovery mode.
        s.args += ["--user", "nobody"]
        s.start(env=dict(os.environ, **RECOVERY))
        s.api.create("Domain", name="first.example")
        for name in os.listdir(s.data):
            equal(os.stat(os.path.join(s.data, name)).st_uid, uid, f"owner of {name}")


# Kills

KILLS = int(os.environ.get("STORE_KILLS", "6"))  # of each kind
BATCH = 200


class Batches(threading.Thread):
    """Calls that change many objects at once, each wholly described by a number, until the server is gone."""

    def __init__(self, server, kind, number):
        super().__init__(daemon=True)
        self.api, self.kind, self.number = Api(server.http_port), kind, number
        self.answered, self.asked, self.problem = number, threading.Event(), None

    def names(self, number):
        return [f"k{number}-{i}" for i in range(BATCH)]

    def call(self, domain, ids):
        """Creates the batch of a number and takes away the one before."""
        if self.kind == "Account":
            create = {n: {"@type": "User", "name": n, "domainId": domain} for n in self.names(self.number)}
        else:
            create = {n: {"name": f"{n}.example"} for n in self.names(self.number)}
        return {"create": create, "destroy": ids}

    def present(self):
        """Names to ids, of what the batches made."""
        ids = self.api.calls((f"x:{self.kind}/query", {}))[0]["ids"]
        found = {}
        for at in range(0, len(ids), 200):
            for o in self.api.calls((f"x:{self.kind}/get", {"ids": ids[at:at + 200]}))[0]["list"]:
                if o["name"].startswith("k"):
                    found[o["name"].removesuffix(".example")] = o["id"]
        return found

    def run(self):
        try:
            domain = self.api.find("Domain", name="example.org")
            ids = list(self.present().values())
            while True:
                self.number += 1
                args = self.call(domain, ids)
                self.asked.set()
                answer = self.api.set(self.kind, **args)
                self.asked.clear()
                check(not any(k.startswith("not") for k in answer), f"{self.kind}: {str(answer)[:300]}")
                ids = [o["id"] for o in answer["created"].values()]
                self.answered = self.number
        except (OSError, http.client.HTTPException):
            pass  # killed
        except Fail as problem:
            self.problem = problem


def rcpt_says(server, gone, there):
    with server.wire() as w:
        w.expect("MAIL FROM:<s@example.net>", "250")
        for names, code in ((there[:2], "250"), (gone[:2], "550")):
            for name in names:
                w.expect(f"RCPT TO:<{name}@example.org>", code)


def killed_in_batches(kind, dice):
    """Kills at random moments of one call after another; each time exactly one whole batch is there, the last one
    that was answered or the one that was not."""
    outcomes = {"whole": 0, "absent": 0}
    with Managed(start=False, allow_relaying=False) as s:
        number = 0
        for _ in range(KILLS):
            s.start()
            batches = Batches(s, kind, number)
            batches.start()
            check(batches.asked.wait(20), f"no call is made ({batches.problem})")
            time.sleep(dice.uniform(0, 0.3))
            s.kill()
            batches.join()
            check(batches.problem is None, str(batches.problem))
            s.start()
            looks = Batches(s, kind, batches.number)
            there = sorted(looks.present())
            answered, asked = (sorted(batches.names(n)) if n else [] for n in (batches.answered, batches.number))
            check(there in (answered, asked), f"{kind} after the kill: {len(there)} objects, {there[:3]}...; answered "
                  f"{batches.answered}, asked {batches.number}")
            if batches.number != batches.answered:
                outcomes["whole" if there == asked else "absent"] += 1
            if kind == "Account":
                rcpt_says(s, asked if there == answered else answered, there)
            number = batches.number if there == asked else batches.answered
            s.kill()
    return outcomes


def test_kill_during_account_set():
    """kill -9 during x:Account/set calls that create 200 accounts and destroy 200: whole or absent."""
    killed_in_batches("Account", random.Random(11))


def test_kill_during_domain_set():
    """kill -9 during x:Domain/set calls that create 200 domains and destroy 200: whole or absent."""
    killed_in_batches("Domain", random.Random(12))


def total(server, kind):
    return server.api.calls((f"x:{kind}/query", {"limit": 1, "calculateTotal": True}))[0]["total"]


def test_kill_during_apply():
    """kill -9 while ringmx-cli applies a plan: every batch that was answered is there, the next one is whole or
    absent; the tool says that it failed, and the same plan applied again makes the rest."""
    count, size, dice = 2000, 500, random.Random(13)
    value = {f"a{i}": {"@type": "User", "name": f"a{i}", "domainId": "#d"} for i in range(count)}
    plan = [{"@type": "upsert", "object": "Domain", "matchOn": ["name"], "value": {"d": {"name": "plan.example"}}},
            {"@type": "destroy", "object": "Account", "value": {}},
            {"@type": "create", "object": "Account", "value": value}]
    with Managed(start=False) as s:
        path = os.path.join(s.folder, "accounts.ndjson")
        with open(path, "w") as f:
            f.writelines(json.dumps(line) + "\n" for line in plan)
        user, password = ADMIN.split(":")
        env = dict(os.environ, STALWART_URL=f"http://127.0.0.1:{s.http_port}", STALWART_USER=user,
                   STALWART_PASSWORD=password)
        command = [os.path.join(lib.BUILD, "ringmx-cli"), "apply", "--file", path, "--progress"]
        for number in range(KILLS // 2):
            s.start()
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as tool:
                batch = 0
                last = dice.randrange(1, count // size + 1)
                for line in tool.stderr:
                    batch += "creating Account, batch" in line
                    if batch == last:
                        break
                check(batch == last, f"batch {last} never began")
                time.sleep(dice.uniform(0, 0.03))
                s.kill()
                tool.stderr.read()
            code = tool.returncode
            s.start()
            s.api.connection = None
            there = total(s, "Account")
            check(there % size == 0 and there >= (batch - 1) * size, f"{there} accounts after batch {batch}")
            check((code == 0) == (there == count and code == 0), f"exit code {code} with {there} accounts")
            s.stop()
        s.start()
        s.api.connection = None
        equal(subprocess.run(command, stderr=subprocess.DEVNULL, env=env).returncode, 0, "exit code at the end")
        equal(total(s, "Account"), count, "accounts at the end")
