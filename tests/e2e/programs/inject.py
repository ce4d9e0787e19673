"""Makes a thread of another process call the kernel, and prints what each call returned: a JSON list.

    inject.py TID NUMBER[,ARGUMENT…]…

As a debugger does it: the thread is stopped, its registers are those of the call, one step, and its own are put back. So
the filter that answers is that of the thread. x86-64 only. Arguments are numbers; what the call does to the process is real.
"""

import ctypes
import json
import os
import sys

PTRACE_SINGLESTEP, PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_ATTACH, PTRACE_DETACH = 9, 12, 13, 16, 17
WALL = 0x40000000
NAMES = (
    "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs"
).split()
ARGUMENTS = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
SYSCALL = b"\x0f\x05"


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in NAMES]


libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, tid, data=None):
    if libc.ptrace(request, tid, None, data) != 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request} of {tid}")


def find_instruction(tid):
    """Address of a system call instruction in the thread's code."""
    with open(f"/proc/{tid}/maps") as maps, open(f"/proc/{tid}/mem", "rb") as memory:
        for line in maps:
            bounds, access = line.split()[:2]
            if "x" not in access or "vsyscall" in line:
                continue
            start, end = (int(part, 16) for part in bounds.split("-"))
            memory.seek(start)
            found = memory.read(end - start).find(SYSCALL)
            if found >= 0:
                return start + found
    raise RuntimeError("no system call instruction")


def call(tid, instruction, number, arguments):
    own = Registers()
    ptrace(PTRACE_GETREGS, tid, ctypes.addressof(own))
    theirs = Registers.from_buffer_copy(own)
    theirs.rip, theirs.rax = instruction, number
    # So that the kernel does not restart the call that the thread was stopped in.
    theirs.orig_rax = (1 << 64) - 1
    for name, value in zip(ARGUMENTS, arguments):
        setattr(theirs, name, value & ((1 << 64) - 1))
    ptrace(PTRACE_SETREGS, tid, ctypes.addressof(theirs))
    ptrace(PTRACE_SINGLESTEP, tid)
    os.waitpid(tid, WALL)
    ptrace(PTRACE_GETREGS, tid, ctypes.addressof(theirs))
    ptrace(PTRACE_SETREGS, tid, ctypes.addressof(own))
    return ctypes.c_int64(theirs.rax).value


def main():
    tid = int(sys.argv[1])
    calls = [[int(part, 0) for part in text.split(",")] for text in sys.argv[2:]]
    instruction = find_instruction(tid)
    ptrace(PTRACE_ATTACH, tid)
    os.waitpid(tid, WALL)
    try:
        print(json.dumps([call(tid, instruction, number, rest) for number, *rest in calls]))
    finally:
        ptrace(PTRACE_DETACH, tid)


main()
