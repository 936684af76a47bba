"""How slow the machine is: what waits for a CPU and for the disk, as a delivery's mark does, waits how long?"""

import os
import threading
import time

EVERY_S = 0.02  # as long as a mark waits for company
BYTES = 4096
# A mark waits for a turn of its core, for the sync that is under way, for its timer, and for its own write:
# each of them as long, at worst, as the probe's turn and sync together.
WAITS = 4


class Pace:
    """Every now and then a block is written to the data's file system and synced. The worst time that this took,
    from the moment when it was due, is known for any span of time."""

    def __init__(self, folder):
        self.fd = os.open(os.path.join(folder, "pace"), os.O_WRONLY | os.O_CREAT, 0o600)
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.worst_s, self.due = 0.0, time.monotonic()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        block = b"\1" * BYTES
        while not self.stopping.is_set():
            time.sleep(EVERY_S)
            os.pwrite(self.fd, block, 0)
            os.fdatasync(self.fd)
            with self.lock:
                self.note(time.monotonic())
                self.due = time.monotonic() + EVERY_S

    def note(self, now):
        self.worst_s = max(self.worst_s, now - self.due)

    def begin(self):
        with self.lock:
            self.worst_s = 0.0

    def mark_us(self):
        """What a mark may have taken since begin(): nothing to speak of on a quiet machine."""
        with self.lock:
            self.note(time.monotonic())  # the one under way
            return int(self.worst_s * WAITS * 1000000)

    def stop(self):
        self.stopping.set()
        self.thread.join()
        os.close(self.fd)
