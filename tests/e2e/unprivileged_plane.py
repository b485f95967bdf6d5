"""Enforce as the systemd unit lets an agent: nobody's user, CAP_NET_ADMIN, no writable code.

Run by root as a program, in a network namespace of its own: it gives up everything else, and then
applies a configuration to the kernel, reads it back and ends connections.
"""

import asyncio
import ctypes
import os
import sys

from dsn.dataplane.nftables import NftablesDataPlane
from dsn.dataplane.ruleset import Layout
from tests.unit.dsn.configurations import make_configuration, make_rule

NOBODY = 65534
# <linux/prctl.h>, <linux/capability.h>
PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_SET_MDWE = 8, 38, 47, 65
CAP_NET_ADMIN = 12
CAPABILITY_VERSION_3 = 0x20080522


class Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def give_up_all_but_net_admin() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    # Linux 6.3 and later; an older one goes without.
    libc.prctl(PR_SET_MDWE, 1, 0, 0, 0)
    assert libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    only = 1 << CAP_NET_ADMIN
    sets = (Data * 2)(Data(only, only, only))
    header = Header(CAPABILITY_VERSION_3, 0)
    assert libc.capset(ctypes.byref(header), ctypes.byref(sets)) == 0
    assert libc.prctl(PR_CAP_AMBIENT, 2, CAP_NET_ADMIN, 0, 0) == 0
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0


async def enforce() -> None:
    plane = NftablesDataPlane(table="hanse", layout=Layout(4740, ()))
    configuration = make_configuration(make_rule(1), make_rule(2, "reject", 81))
    await plane.apply(configuration)
    read = await plane.read_back()
    assert (read.hash, read.faults) == (configuration.hash(), ())
    assert await plane.end_denied_connections(configuration) == 0
    assert await plane.counters()
    await plane.close()
    sys.stdout.write(f"enforced by uid {os.geteuid()}\n")


if __name__ == "__main__":
    give_up_all_but_net_admin()
    asyncio.run(enforce())
