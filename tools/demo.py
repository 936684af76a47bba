#!/usr/bin/env python3
"""The demonstration of tools/run.sh: starts the sink and the server, sends one message to two
recipients, shows where each copy went and compares the bytes."""

import argparse
import json
import os
import pathlib
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import time

WAIT_S = 20  # for anything that should happen at once


def fail(text):
    print(f"tools/run.sh: {text}", file=sys.stderr)
    sys.exit(1)


def check_port(port):
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(("127.0.0.1", port))
    except PermissionError:
        fail(f"port {port} may not be used by this user: choose another with --port or --sink-port")
    except OSError:
        fail(f"port {port} is in use: stop the other program or choose another with --port or --sink-port")
    finally:
        probe.close()


def plan(port, sink_port):
    route = {
        "match": {
            "0": {"if": "is_local_address(rcpt)", "then": "'local'"},
            "1": {"if": "is_local_domain(rcpt_domain)", "then": "'source'"},
        },
        "else": "'mx'",
    }
    source = {"@type": "Relay", "name": "source", "address": "127.0.0.1", "port": sink_port, "protocol": "smtp"}
    domain = {"name": "example.org", "allowRelaying": True}
    settings = {"defaultHostname": "mx.example.org", "defaultDomainId": "#domain"}
    return [
        {"@type": "create", "object": "Domain", "value": {"domain": domain}},
        {"@type": "update", "object": "SystemSettings", "value": settings},
        {"@type": "create", "object": "Account",
         "value": {"alice": {"@type": "User", "name": "alice", "domainId": "#domain"}}},
        {"@type": "create", "object": "MtaRoute", "value": {"source": source}},
        {"@type": "update", "object": "MtaOutboundStrategy", "value": {"route": route}},
        {"@type": "destroy", "object": "NetworkListener"},
        {"@type": "create", "object": "NetworkListener",
         "value": {"smtp": {"name": "smtp", "bind": {f"127.0.0.1:{port}": True}}}},
    ]


def wait_for(what, condition):
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    fail(f"{what} did not happen within {WAIT_S} s")


def wait_for_line(process, log, word):
    def seen():
        if process.poll() is not None:
            fail(f"the program ended:\n{log.read_text()}")
        return any(word in line for line in log.read_text().splitlines())

    wait_for(f"'{word}' in {log}", seen)


MESSAGE = (
    b"From: Carol <carol@remote.example>\r\n"
    b"To: alice@example.org, Bob@example.org\r\n"
    b"Subject: one message, two systems\r\n"
    b"Message-ID: <demo@remote.example>\r\n"
    b"\r\n"
    b"alice has moved to the new system, bob has not.\r\n"
    b".A line that begins with a dot.\r\n"
    b"8-bit: \xc3\xa4\xc3\xb6\xc3\xbc\r\n"
)


def show(name, path, content):
    """Prints the headers that were added; returns whether the rest is what was sent."""
    added = content[: -len(MESSAGE)] if content.endswith(MESSAGE) else content
    print(f"\n{name}\n  {path}\n  added on top:")
    for line in added.decode("utf-8", "replace").splitlines():
        print(f"    {line}")
    exact = content.endswith(MESSAGE) and all(
        line.startswith((b"Return-Path:", b"Delivered-To:", b"Received:", b"\t")) for line in added.splitlines())
    print("  below it, byte for byte what was sent" if exact else "  THE CONTENT WAS CHANGED")
    return exact


def demonstrate(data, port):
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.remote.example", timeout=WAIT_S) as client:
        client.ehlo()
        client.mail("carol@remote.example", ["BODY=8BITMIME"])
        for rcpt in ("alice@example.org", "Bob@example.org"):
            code, text = client.rcpt(rcpt)
            print(f"RCPT TO:<{rcpt}>  {code} {text.decode()}")
        code, text = client.data(MESSAGE)
        print(f"DATA  {code} {text.decode()}")
    mailbox = data / "mail" / "example.org" / "alice" / "new"
    local = wait_for("delivery to alice", lambda: list(mailbox.glob("*")))[0]
    relayed = wait_for("the relayed copy for bob", lambda: list((data / "source").glob("*.eml")))[0]
    envelope = relayed.with_suffix(".env").read_text()
    good = show("alice@example.org: delivered to her mailbox here", local, local.read_bytes())
    good &= show("Bob@example.org: relayed to the system where he still lives", relayed, relayed.read_bytes())
    print("  envelope there: " + envelope.strip().replace("\n", ", "))
    return good and "to Bob@example.org" in envelope


def stop(processes):
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(WAIT_S + 20)
        except subprocess.TimeoutExpired:
            process.kill()
    return all(process.returncode == 0 for process in processes)


def start(command, log):
    with open(log, "wb") as out:
        return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check-ports", type=int, nargs="*")
    parser.add_argument("--build")
    parser.add_argument("--data")
    parser.add_argument("--port", type=int)
    parser.add_argument("--sink-port", type=int)
    parser.add_argument("--cores", type=int)
    parser.add_argument("--once", action="store_true")
    options = parser.parse_args()
    if options.check_ports:
        for port in options.check_ports:
            check_port(port)
        return 0

    data = pathlib.Path(options.data).absolute()
    marker = data / ".ringmx-demo"
    if data.exists() and any(data.iterdir()) and not marker.exists():
        fail(f"{data} is not empty and was not made by a demonstration: choose another with --data")
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    marker.touch()
    ringmx = pathlib.Path(options.build) / "ringmx"
    plan_file = data / "plan.ndjson"
    plan_file.write_text("".join(json.dumps(line) + "\n" for line in plan(options.port, options.sink_port)))
    applied = subprocess.run([ringmx, "apply", "--data", data, plan_file], capture_output=True, text=True)
    if applied.returncode != 0:
        fail(f"the configuration was refused:\n{applied.stderr}")
    print(f"configuration: {applied.stdout.strip()}")

    sink_log, server_log = data / "source.log", data / "server.log"
    sink = start([str(pathlib.Path(options.build) / "ringmx-bench"), "sink", "--listen",
                  f"127.0.0.1:{options.sink_port}", "--dir", str(data / "source")], sink_log)
    server = None
    try:
        wait_for_line(sink, sink_log, "sink ready")
        command = [str(ringmx), "serve", "--data", str(data)]
        if options.cores:
            command += ["--cores", str(options.cores)]
        server = start(command, server_log)
        wait_for_line(server, server_log, " ready ")
        print(f"ringmx receives on 127.0.0.1:{options.port}; \"source\" is 127.0.0.1:{options.sink_port}\n")
        good = demonstrate(data, options.port)
        if options.once:
            return 0 if good else 1
        print(f"\nServing until Ctrl-C. Log: {server_log}")
        try:
            while server.poll() is None:
                time.sleep(0.2)
        except KeyboardInterrupt:
            print("\nstopping")
        return 0 if good and server.poll() in (None, 0) else 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if not stop([p for p in (server, sink) if p is not None]):
            print(f"a program did not end well; see {server_log} and {sink_log}", file=sys.stderr)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    sys.exit(main())
