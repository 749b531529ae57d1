"""Lets a test ask the host what its threads are doing, from the first moments of its start: SIGUSR1 writes it."""

import faulthandler
import os
import signal
import sys


def preload(_parser):
    """Called by the host before it reads its arguments."""
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1, file=sys.__stderr__, all_threads=True)
        print(f"SIGUSR1 tells the stacks of process {os.getpid()}", file=sys.__stderr__, flush=True)
