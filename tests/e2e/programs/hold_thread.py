"""Holds one thread of a process, named by its command name, for some seconds: hold_thread.py PID NAME SECONDS.

SIGSTOP stops all threads of a process; ptrace stops one.
"""

import ctypes
import os
import sys
import time

SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000


def main():
    pid, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def ptrace(request, thread):
        if libc.ptrace(request, thread, None, None) != 0:
            raise OSError(ctypes.get_errno(), f"ptrace({request:#x}) of thread {thread}")

    tasks = os.listdir(f"/proc/{pid}/task")
    thread = next(int(task) for task in tasks if open(f"/proc/{pid}/task/{task}/comm").read().strip() == name)
    ptrace(SEIZE, thread)
    ptrace(INTERRUPT, thread)
    os.waitpid(thread, WALL)
    print("held", flush=True)
    time.sleep(seconds)
    ptrace(DETACH, thread)


main()
