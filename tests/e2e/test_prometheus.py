"""Prometheus and Grafana: /metrics, the alert rules and the dashboard, by promtool."""

import json
import os
import re
import shutil
import subprocess

import lib
from lib import Sink, Skip, check, equal, work_folder
from test_management import Managed
from test_stats import table


ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RULES = os.path.join(ROOT, "tools", "prometheus")


def promtool(*args, text=None):
    """A run of Debian's promtool, installed or unpacked below build/prometheus (tools/test.sh does that)."""
    unpacked = os.path.join(os.path.dirname(lib.BUILD), "prometheus", "usr", "bin", "promtool")
    program = shutil.which("promtool") or unpacked
    if not os.path.exists(program):
        raise Skip("promtool of Debian's package prometheus is not here")
    done = subprocess.run([program, *args], input=text, capture_output=True, text=True, timeout=60)
    equal(done.returncode, 0, f"exit code of promtool {args} ({done.stdout}{done.stderr})")
    return done.stdout + done.stderr


def traffic(s):
    """A little of everything."""
    for to in ("alice@example.org", "bob@example.org"):
        s.submit(to)
    with s.wire() as w:
        w.expect("STARTTLS", "220")
        w.start_tls()
    with s.wire() as w:
        w.expect("MAIL FROM:<a@example.net>", "250")
        w.expect("RCPT TO:<a@elsewhere.example>", "550")
    s.delivered(1)


def metrics(s):
    status, headers, body = s.api.http("GET", "/metrics", headers={})
    equal((status, headers["Content-Type"]), (200, "text/plain; version=0.0.4"), "status and type of /metrics")
    return body.decode()


def test_metrics_by_the_rules():
    """promtool finds nothing to say about /metrics of a server with traffic; histograms are cumulative."""
    with Sink() as sink, Managed(relay=sink.port) as s:
        traffic(s)
        sink.got(1)
        text = metrics(s)
        equal(promtool("check", "metrics", text=text), "", "what promtool says")
        check(len(text) < 400000, f"bytes of /metrics: {len(text)}")
        buckets = {}
        for line in text.splitlines():
            found = re.match(r'(ringmx_\w+)_bucket{(.*),?le="([^"]+)"} (\d+)$', line)
            if found:
                buckets.setdefault((found[1], found[2]), []).append((float(found[3]), int(found[4])))
        check(len(buckets) > 20, f"histograms: {len(buckets)}")
        for key, series in buckets.items():
            equal([b for b, _ in series], sorted(b for b, _ in series), f"bounds of {key}")
            equal([n for _, n in series], sorted(n for _, n in series), f"counts of {key}")
            equal(series[-1][0], float("inf"), f"last bound of {key}")
            if re.search("_(seconds|bytes)$", key[0]):
                steps = [high / low for (low, _), (high, _) in zip(series, series[1:-1])]
                check(len(steps) > 10 and max(steps) < 2.02, f"a bound is at most twice the one before: {key}: {series}")


SAMPLE = re.compile(r'(ringmx_[a-z0-9_]+){((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)} ([0-9.]+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\[\\"n])*)"')


def samples(text):
    """Names, labels and values of the text format 0.0.4, strictly; no series may be there twice."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        sample = SAMPLE.fullmatch(line)
        check(sample, f"not a sample: {line}")
        labels = LABEL.findall(sample[2])
        equal(len(dict(labels)), len(labels), f"labels of {line}")
        key = (sample[1], frozenset((name, re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], value))
                                    for name, value in labels if value))  # an empty label is none
        check(key not in found, f"twice: {line}")
        found[key] = float(sample[3])
    return found


LONG = "sehr lange Beschreibung " * 8
NAMES = ["others", 'a "quote"', "back\\slash", "\\n is no line", "Grüße, 世界 📧", "{core=\"0\"}", "case", "Case",
         *(LONG + "📧" * 4 + tail for tail in ("1", "2")), *("x" * n + "📧📧📧📧📧📧" for n in range(95, 111))]


def test_metrics_tell_names_apart():
    """Names of any characters, long ones that begin alike, and more than there are rows: each is one series, escaped as the format
    asks, in /metrics and in /stats; what has no row is in the one without a name, whatever others are called."""
    with Managed() as s:
        for name in NAMES + [f"more {n}" for n in range(10)]:
            s.api.create("MtaInboundThrottle", description=name, key={"listener": True}, rate={"count": 1000, "period": 3600000})
        with s.wire():
            text = metrics(s)
            stats = [row for core in s.api.stats() for row in core["inbound_throttle_passed_total"]]
        equal(promtool("check", "metrics", text=text), "", "what promtool says")
        passed = {dict(labels).get("throttle"): value for (name, labels), value in samples(text).items()
                  if name == "ringmx_inbound_throttle_passed_total"}
        equal({row["throttle"] or None: float(row["value"]) for row in stats}, passed, "/stats")
        equal(len(stats), len(passed), "rows of /stats")
        equal({name for name in NAMES if len(name.encode()) <= 100} - set(passed), set(), "short names, as they are")
        equal((len(passed), passed.pop(None)), (32, len(NAMES) + 10 - 31), "rows, and those without one")
        equal(set(passed.values()), {1}, "each is counted by itself")


# What tells little over time, or what another one says better.
UNSHOWN = {f"ringmx_{name}" for name in """
    config_generation delivery_attempts_total directory_load_ratio directory_slots directory_table_bytes
    dns_lookups listener_refused_total loop_turn_longest_seconds loop_turns_total next_hops pool_taken_bytes
    pool_used_peak_bytes proxy_headers_awaited queue_bytes receive_buffers receive_buffers_free ring_pending
    sessions sessions_accepted_total statistics_read_seconds trace_records_total verification_connections
    """.split()}


def test_alerts_and_dashboard():
    """Alert rules are good and come when they should; rules and dashboard name only what there is."""
    rules = os.path.join(RULES, "alerts.yml")
    check("SUCCESS" in promtool("check", "rules", rules), "check rules")
    check("SUCCESS" in promtool("test", "rules", os.path.join(RULES, "alerts_test.yml")), "test rules")
    with Sink() as sink, Managed(relay=sink.port) as s:
        traffic(s)
        sink.got(1)
        kinds = dict(line.split()[2:] for line in metrics(s).splitlines() if line.startswith("# TYPE "))
    names = {n + suffix for n, kind in kinds.items()
             for suffix in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))}
    with open(rules, encoding="utf-8") as f:
        text = f.read()
    with open(os.path.join(RULES, "grafana.json"), encoding="utf-8") as f:
        board = json.load(f)
    panels = [p for p in board["panels"] if p["type"] != "row"]
    equal(len({p["id"] for p in board["panels"]}), len(board["panels"]), "ids of the panels")
    expressions = [t["expr"] for p in panels for t in p["targets"]]
    check(len(panels) > 30 and all(p["targets"] for p in panels), "panels without a query")
    used = set(re.findall(r"\bringmx_\w+", "\n".join(re.findall(r"expr: (.*)", text) + expressions)))
    equal(sorted(used - names), [], "names that there are not")
    shown = {re.sub("_(bucket|sum|count)$", "", name) if name not in kinds else name for name in used}
    equal(sorted({f"ringmx_{name}" for name in table()} - shown), sorted(UNSHOWN), "statistics that neither has")
    path = os.path.join(work_folder(), "rules.yml")
    with open(path, "w", encoding="utf-8") as f:
        rows = [{"record": f"panel:{i}", "expr": e.replace("$__rate_interval", "5m").replace("$instance", ".*")
                 .replace("$core", ".*")} for i, e in enumerate(expressions)]
        json.dump({"groups": [{"name": "dashboard", "rules": rows}]}, f)
    check("SUCCESS" in promtool("check", "rules", path), "the dashboard's queries")
