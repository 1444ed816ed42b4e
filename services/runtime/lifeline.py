"""Ends a process when the one that started it ends, however that ends."""

import os
import signal
import sys
import threading

#: Set by the supervisor for its children, whose standard input is a pipe that only it holds open.
VARIABLE = "ORRERY_LIFELINE"


def follow_parent() -> None:
    """Stop this process, as by SIGTERM, when standard input closes; only where the supervisor asked for it."""
    if os.environ.get(VARIABLE) == "stdin":
        threading.Thread(target=_wait, name="lifeline", daemon=True).start()


def _wait() -> None:
    while os.read(sys.stdin.fileno(), 1):
        continue
    os.kill(os.getpid(), signal.SIGTERM)
