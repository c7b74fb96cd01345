"""The two settings of the C runtime, where they exist."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from diffcov.runtime import spin_briefly


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_freed_memory_is_kept() -> None:
    """After keep_freed_memory a freed 64 MiB block stays mapped; without it the kernel gets it back at once."""
    code = """
import ctypes, sys
from diffcov.runtime import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
block = libc.malloc(64 << 20)
ctypes.memset(block, 1, 64 << 20)
full = resident()
libc.free(block)
print(full - resident())
"""
    given_back = {
        how: int(subprocess.run([sys.executable, "-c", code, how], capture_output=True, check=True).stdout)
        for how in ("kept", "default")
    }
    assert given_back["kept"] < 1 << 20 < 60 << 20 < given_back["default"]


def test_idle_threads_sleep_soon_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    spin_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == "1000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    spin_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    spin_briefly()
    assert "GOMP_SPINCOUNT" not in os.environ
