"""Memory goes back to the system when it is freed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

HELD = """
import ctypes, sys
from litetext.memory import return_large_blocks

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def block(size):
    address = libc.malloc(size)
    ctypes.memset(address, 1, size)
    return address

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
if sys.argv[1] == "returned":
    return_large_blocks()
libc.free(block(24 << 20))  # after which glibc takes smaller blocks from its heap
before = resident()
large, above = block(16 << 20), block(900_000)
libc.free(large)
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other rules")
def test_a_freed_block_below_one_in_use_goes_back() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    held = {}
    for how in ("kept", "returned"):
        command = [sys.executable, "-c", HELD, how]
        held[how] = int(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    assert held["kept"] > 16 << 20
    assert held["returned"] < 2 << 20
