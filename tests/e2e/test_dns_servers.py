"""The DNS client against Debian's nsd (authoritative) and unbound (recursive)."""

import glob
import os
import socket
import subprocess

import lib
from lib import Server, Skip, check, equal, update, wait_until, work_folder
from netns import own_network
from test_mx import BODY, MX1, NETWORK, TO_MX, sink

NSD, UNBOUND = "127.0.0.60", "127.0.0.61"
MANY = 90  # mail hosts: more than fit into a datagram
ZONE = f"""$ORIGIN example.
$TTL 60
@ SOA ns hostmaster 1 3600 600 86400 30
@ NS ns
ns A {NSD}
a A {MX1}
far MX 10 a
alias CNAME far
circle CNAME circle2
circle2 CNAME circle
plain A {MX1}
none MX 0 .
""" + "".join(f"long MX {20 + number} host-{number}\n" for number in range(MANY)) + "long MX 10 a\n"
NSD_CONF = """server:
  ip-address: {address}
  port: 53
  server-count: 1
  username: ""
  chroot: ""
  database: ""
  zonesdir: "{folder}"
  pidfile: "{folder}/nsd.pid"
  xfrdfile: "{folder}/xfrd.state"
  zonelistfile: "{folder}/zone.list"
remote-control:
  control-enable: no
zone:
  name: example
  zonefile: zone
"""
UNBOUND_CONF = """server:
  interface: {address}
  port: 53
  num-threads: 1
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: "{folder}/unbound.pid"
  module-config: "iterator"
  do-not-query-localhost: no
  do-ip6: no
  access-control: 127.0.0.0/8 allow
  local-zone: "example." nodefault
remote-control:
  control-enable: no
stub-zone:
  name: "example"
  stub-addr: {nsd}
"""


class Daemon:
    """One of Debian's name servers with this configuration, as a context."""

    def __init__(self, program, arguments, text, address):
        path = os.path.join(lib.DNS or "", "usr/sbin", program)
        if lib.DNS is None or not os.path.exists(path):
            raise Skip("needs --dns DIR with Debian's nsd and unbound packages unpacked")
        self.folder = work_folder()
        conf = os.path.join(self.folder, f"{program}.conf")
        for name, content in ((conf, text.format(address=address, folder=self.folder, nsd=NSD)),
                              (os.path.join(self.folder, "zone"), ZONE)):
            with open(name, "w", encoding="ascii") as f:
                f.write(content)
        libraries = ":".join(glob.glob(os.path.join(lib.DNS, "usr/lib/*-linux-gnu")))
        self.log_path = os.path.join(self.folder, "log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([path, *arguments, "-c", conf], stdout=log, stderr=log,
                                            env=dict(os.environ, LD_LIBRARY_PATH=libraries))
        self.address = address

    def __enter__(self):
        wait_until(self.answers, 10, f"answers at {self.address}")
        return self

    def __exit__(self, *unused):
        self.process.terminate()
        self.process.wait(10)

    def answers(self):
        with open(self.log_path, errors="replace") as f:
            check(self.process.poll() is None, f"it ended: {f.read()[-500:]}")
        query = b"\0\1\1\0\0\1\0\0\0\0\0\0\3far\7example\0\0\x0f\0\1"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.3)
            s.connect((self.address, 53))
            try:
                s.send(query)
                return s.recv(4096)[7] > 0
            except OSError:
                return False


def test_dns_real_servers():
    """Mail finds its way by answers of nsd and of unbound: MX, one address as its own host, an alias, more
    hosts than a datagram holds, a null MX, a domain that is not there, aliases in a circle."""
    own_network(*NETWORK)
    domains = ["far", "alias", "plain", "long", "none", "gone", "circle"]
    served = {f"f{n}": {"name": f"{name}.example", "allowRelaying": True} for n, name in enumerate(domains)}
    with Daemon("nsd", ["-d"], NSD_CONF, NSD), Daemon("unbound", ["-d"], UNBOUND_CONF, UNBOUND):
        for address in (NSD, UNBOUND):
            resolver = update("DnsResolver", **{"@type": "Custom", "servers": {f"{address}:53": True},
                                                "timeout": 2000})
            extra = [resolver, {"@type": "create", "object": "Domain", "value": served}]
            with sink(MX1) as a, Server(strategy=TO_MX, cores=1, retry_ms=60000, extra=extra) as server:
                server.submit([f"bob@{name}.example" for name in domains], BODY, sender="sender@example.org")

                def line_of(name, server=server):
                    return next((line for line in server.log().splitlines()
                                 if f"to=bob@{name}.example" in line and " received " not in line), "")
                for name, event, text in (("far", "delivered", ""), ("alias", "delivered", ""),
                                          ("plain", "delivered", ""), ("long", "delivered", ""),
                                          ("none", "failed", "null MX"), ("gone", "failed", "does not exist"),
                                          ("circle", "deferred", "")):
                    wait_until(lambda name=name: line_of(name), 20, f"{address}: outcome of {name}")
                    check(f" {event} " in line_of(name) and text in line_of(name), f"{address}: {line_of(name)}")
                equal(len(a.messages), 4, f"{address}: messages")
