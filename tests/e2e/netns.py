"""A network of the test's own: a namespace with nothing but a loopback device and addresses on it."""

import ctypes
import os
import subprocess

from lib import Skip, need_program

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000


def own_network(*addresses):
    """Moves this test's process into a new network; every address is there on the loopback device."""
    ip = need_program("ip")
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNET if uid == 0 else CLONE_NEWUSER | CLONE_NEWNET) != 0:
        raise Skip(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    if uid != 0:
        for path, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{path}", "w", encoding="ascii") as f:
                f.write(text)
    subprocess.run([ip, "link", "set", "lo", "up"], check=True)
    for address in addresses:
        bits = "128" if ":" in address else "32"
        subprocess.run([ip, "addr", "add", f"{address}/{bits}", "dev", "lo"] +
                       (["nodad"] if bits == "128" else []), check=True)
