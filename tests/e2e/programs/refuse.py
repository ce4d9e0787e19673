"""Runs a program for which the kernel refuses some system calls with EPERM.

    refuse.py NUMBER[,NUMBER…] PROGRAM [ARGUMENT…]

x86-64 only: the filter looks at numbers, not at the architecture.
"""

import ctypes
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, EPERM = 0x7FFF0000, 0x00050001

numbers = [int(number) for number in sys.argv[1].split(",")]
instructions = [(LOAD, 0, 0, 0)]
for number in numbers:
    instructions += [(JUMP_IF_EQUAL, 0, 1, number), (RETURN, 0, 0, EPERM)]
instructions.append((RETURN, 0, 0, ALLOW))
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in instructions))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(instructions), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0)):
    if libc.prctl(*arguments) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
os.execvp(sys.argv[2], sys.argv[2:])
