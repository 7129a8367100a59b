"""Forbids this process the network, by a filter in Linux (seccomp): whoever asks for a socket is killed by SIGSYS.

Only sockets between processes of this machine (AF_UNIX) may be created. It needs no privileges, holds for C code and
for the children of the process too, and cannot be taken back.
"""

import ctypes
import os
import platform
import struct
import sys

FORBIDDEN = f"import sys; sys.path.append({os.path.dirname(__file__)!r}); import no_network; no_network.forbid()\n"
"""Code for `commands.start` and `python -c`."""

NUMBERS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""The kernel's numbers of an architecture, and of `socket` in it."""
CAN_FORBID = sys.platform == "linux" and platform.machine() in NUMBERS
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER, ARCHITECTURE, FAMILY = 0, 4, 16
"""Where the data of a call has its number, the architecture and the first argument."""
ALLOW, KILL = 0x7FFF0000, 0x80000000
AF_UNIX = 1


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def forbid():
    """Forbid it from now on. Raises OSError if the kernel does not take the filter."""
    architecture, socket = NUMBERS[platform.machine()]
    instructions = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 0, 4, architecture),
        (LOAD, 0, 0, NUMBER),
        (EQUAL, 0, 2, socket),
        (LOAD, 0, 0, FAMILY),
        (EQUAL, 0, 1, AF_UNIX),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, KILL),
    ]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    library = ctypes.CDLL(None, use_errno=True)
    program = _Program(len(instructions), code)
    no_privileges = library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if no_privileges or library.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), "the kernel does not take the filter")
