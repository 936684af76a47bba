"""A server for which hours pass when a test says so: both its clocks are ahead of the kernel's by so much."""

import os

import lib
from lib import wait_until, work_folder


class Hours:
    def __init__(self):
        self.path = os.path.join(work_folder(), "ahead")

    def start(self, server):
        server.start(env=dict(server.env or os.environ, LD_PRELOAD=os.path.join(lib.BUILD, "tests", "shift_clock.so"),
                              SHIFT_CLOCK_FILE=self.path, SHIFT_STEADY_FILE=self.path,
                              ASAN_OPTIONS="verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")))

    def ahead(self, server, seconds, to="alice@example.org"):
        """So many seconds ahead of the kernel's clocks. The server sleeps by the latter, so it gets something to do: a
        message, in whose turn what is due by then is begun as well."""
        with open(self.path + ".new", "w", encoding="ascii") as f:
            f.write(str(seconds))
        os.replace(self.path + ".new", self.path)
        if hasattr(server, "api"):
            server.api.connection = None  # it has rested for too long
        ident = server.submit(to)
        wait_until(lambda: f" delivered id={ident}" in server.log(), 30, "other mail")
