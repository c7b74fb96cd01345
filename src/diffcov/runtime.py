"""Memory, threads and descriptors of the process: settings of the C runtime that make CPU runs faster, and a peak.

The settings are made by the program, never by the library.

Those of memory and threads must happen before torch is imported. On Linux, glibc gives freed memory back to the kernel
and takes it again, page by page, at every layer of a network; ``mallopt`` tells it to keep it. And OpenMP's idle
threads spin for milliseconds, which starves the others as soon as anything else runs; they are told to spin briefly,
then sleep. (Not to sleep at once: small layers follow one another within microseconds, and waking up would cost more
than they do.)
"""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["fill_standard_descriptors", "keep_freed_memory", "peak_memory", "spin_briefly"]

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
"""Parameters of mallopt(3)."""


def keep_freed_memory() -> bool:
    """Tell glibc to serve large blocks from the heap and not to trim it; False where there is no mallopt."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    settings = {M_MMAP_THRESHOLD: 1 << 30, M_TRIM_THRESHOLD: (1 << 31) - 1, M_TOP_PAD: 64 << 20}
    accepted = [mallopt(parameter, value) == 1 for parameter, value in settings.items()]
    return all(accepted)


def spin_briefly() -> None:
    """Let idle OpenMP threads (GNU's, which torch for Linux brings) sleep soon, unless the user has said otherwise."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def fill_standard_descriptors() -> None:
    """Open what is closed of stdin, stdout and stderr to nowhere.

    Else the next file that is opened takes its number, and what a C library has to say is written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def peak_memory() -> int:
    """The most memory that this process has held at once, in bytes (getrusage counts KiB, on macOS bytes)."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
