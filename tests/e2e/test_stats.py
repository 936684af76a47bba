"""Statistics: every one moves when it should, and is there when a core is not."""

import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import lib
from lib import check, equal
from stats_mail import limits, mail, names, queue, tls_client, verifications
from stats_server import logs, memory, overload, stall, trouble
from stats_sessions import refusals, states, tls_server
from stats_watch import Watch
from test_management import Api, Managed


# What no test of this kind can reach, and where it is tested instead (file, and a word in it).
ELSEWHERE = {
    "inbound_throttle_forgotten_total": ("tests/core/test_rate_table.c", "a_full_table_forgets_what_was_used_least"),
    "expression_keys_forgotten_total": ("tests/core/test_key_table.c", "full_of_keys"),
    "ring_overflowed_total": ("tests/io/check_ring.c", "stats.overflowed > 0"),
}
# Rows that need memory to run out (tests/smtp/check_alloc_mail.c does that), or the moment in which a listener ends;
# and what is not tried here: a thousand silent proxies (test_proxy.py does), mailboxes have no connections, a server
# checks no certificates, MX hosts are foreign.
NEVER = {
    "sessions_refused_total{reason=no_session}",
    "sessions_refused_total{reason=stopping}", "sessions_refused_total{reason=proxy_waits}", "recipients_total{verdict=no_memory}",
    "tls_server_handshakes_failed_total{reason=certificate}",
} | {f"delivery_connections{kind}_total{{class={c}}}" for kind in ("", "_failed", "_reused")
     for c in ("local", "mx")} | {
    "delivery_attempts_total{class=mx}", "delivery_attempt_seconds{class=mx}", "delivery_age_seconds{class=mx}",
    "recipients_delivered_total{class=mx}", "recipients_failed_total{class=mx}",
}
SCENARIOS = (mail, verifications, states, refusals, tls_server, tls_client, queue, trouble, stall, logs, memory, overload,
             limits, names)


def table():
    """The names of all statistics, from the reference page."""
    done = lib.run_ringmx("reference", "statistics")
    equal(done.returncode, 0, "exit code of reference statistics")
    return [line.split("`")[1] for line in done.stdout.splitlines() if line.startswith("| `")]


def test_every_statistic_moves():
    """Every statistic, and every value of its fixed labels, is other than zero when it should be."""
    watch = Watch()
    with ThreadPoolExecutor(4) as pool:  # each has servers of its own and waits most of the time
        for done in [pool.submit(scenario, watch) for scenario in SCENARIOS]:
            done.result()
    names = table()
    check(len(names) > 70, f"the table of statistics has {len(names)} rows")
    known = {k.split("{")[0] for k in watch.known} - {"core"}
    equal(sorted(set(names) ^ known), [], "the table and /stats")
    for name, (path, word) in ELSEWHERE.items():
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        with open(os.path.join(root, path), encoding="utf-8") as f:
            check(word in f.read(), f"{path} does not test {name}")
    by_name = {k.split("{")[0] for k in watch.moved}
    equal(sorted(set(names) - by_name - set(ELSEWHERE)), [], "statistics that never moved")
    fixed = re.compile(r"\{(state|reason|verdict|class)=")
    still = {k for k in watch.known - watch.moved if fixed.search(k) and k.split("{")[0] not in ELSEWHERE}
    equal(sorted(still - NEVER), [], "values that never moved")
    equal(sorted(NEVER & watch.moved), [], "values that cannot move, and did")


def test_statistics_while_management_is_busy():
    """The loop answers for the cores while the worker has requests that take long."""
    with Managed(cores=2) as s:
        busy, domain = Api(s.http_port), s.api.find("Domain", name="example.org")
        accounts = {f"n{i}": {"@type": "User", "name": f"user{i}", "domainId": domain, "credentials": {
            "0": {"@type": "Password", "secret": f"correct horse {i}"}}} for i in range(40)}
        ended, answers = threading.Event(), 0

        def work():
            busy.set("Account", create=accounts)  # 40 passwords are hashed
            ended.set()
        worker = threading.Thread(target=work)
        worker.start()
        while not ended.is_set():
            equal(s.api.http("GET", "/stats", headers={})[0], 200, "status of /stats")
            answers += not ended.is_set()
        worker.join()
        # Counted, not timed: the worker's request takes seconds, and none of these waits for it.
        check(answers >= 10, f"answers while the worker was busy: {answers}")
