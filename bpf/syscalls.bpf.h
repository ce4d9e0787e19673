/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* System calls by number, and their registers at exit. */
#ifndef QTAP_SYSCALLS_H
#define QTAP_SYSCALLS_H

enum call {
	CALL_NONE,
	CALL_READ,
	CALL_WRITE,
	CALL_READV,
	CALL_WRITEV,
	CALL_RECVFROM,
	CALL_SENDTO,
	CALL_RECVMSG,
	CALL_SENDMSG,
	CALL_RECVMMSG,
	CALL_SENDMMSG,
	CALL_SENDFILE,
	CALL_SPLICE,
	CALL_ACCEPT,
	CALL_ACCEPT4,
	CALL_MMAP,
	/* Not a system call: a request of io_uring. */
	CALL_URING,
};

enum { SYSCALL_TABLE = 512 };

#if defined(__TARGET_ARCH_x86)

/* All six survive until exit. */
#define SYSCALL_NUMBER(regs) ((u32)(regs)->orig_ax)
#define SYSCALL_ARG1(regs)   ((regs)->di)
#define SYSCALL_ARG2(regs)   ((regs)->si)
#define SYSCALL_ARG3(regs)   ((regs)->dx)
#define SYSCALL_ARG4(regs)   ((regs)->r10)
#define SYSCALL_ARG5(regs)   ((regs)->r8)

#define SYSCALL_CONNECT 42
#define SYSCALL_SENDTO	44

/* TS_COMPAT: the number is one of the 32-bit table. */
#define COMPAT_WORD thread_info.status
#define COMPAT_BIT  2

static const u8 syscall_calls[SYSCALL_TABLE] SEC(".rodata.calls") = {
	[0] = CALL_READ,       [1] = CALL_WRITE,     [9] = CALL_MMAP,	  [19] = CALL_READV,
	[20] = CALL_WRITEV,    [40] = CALL_SENDFILE, [43] = CALL_ACCEPT,  [44] = CALL_SENDTO,
	[45] = CALL_RECVFROM,  [46] = CALL_SENDMSG,  [47] = CALL_RECVMSG, [275] = CALL_SPLICE,
	[288] = CALL_ACCEPT4,  [295] = CALL_READV,   [296] = CALL_WRITEV, [299] = CALL_RECVMMSG,
	[307] = CALL_SENDMMSG, [327] = CALL_READV,   [328] = CALL_WRITEV,
};

#elif defined(__TARGET_ARCH_arm64)

/* The first argument gives its register to the result. */
#define SYSCALL_NUMBER(regs) ((u32)(regs)->syscallno)
#define SYSCALL_ARG1(regs)   ((regs)->orig_x0)
#define SYSCALL_ARG2(regs)   ((regs)->regs[1])
#define SYSCALL_ARG3(regs)   ((regs)->regs[2])
#define SYSCALL_ARG4(regs)   ((regs)->regs[3])
#define SYSCALL_ARG5(regs)   ((regs)->regs[4])

#define SYSCALL_CONNECT 203
#define SYSCALL_SENDTO	206

/* TIF_32BIT */
#define COMPAT_WORD	thread_info.flags
#define COMPAT_BIT	(1 << 22)

static const u8 syscall_calls[SYSCALL_TABLE] SEC(".rodata.calls") = {
	[63] = CALL_READ,      [64] = CALL_WRITE,   [65] = CALL_READV,	   [66] = CALL_WRITEV,
	[69] = CALL_READV,     [70] = CALL_WRITEV,  [71] = CALL_SENDFILE,  [76] = CALL_SPLICE,
	[202] = CALL_ACCEPT,   [206] = CALL_SENDTO, [207] = CALL_RECVFROM, [211] = CALL_SENDMSG,
	[212] = CALL_RECVMSG,  [222] = CALL_MMAP,   [242] = CALL_ACCEPT4,  [243] = CALL_RECVMMSG,
	[269] = CALL_SENDMMSG, [286] = CALL_READV,  [287] = CALL_WRITEV,
};

#endif

#ifdef QTAP_LEGACY
#define IS_COMPAT(task) (BPF_CORE_READ(task, COMPAT_WORD) & COMPAT_BIT)
#else
#define IS_COMPAT(task) ((task)->COMPAT_WORD & COMPAT_BIT)
#endif

/* What user programs pass; the same on all 64-bit architectures. */
struct user_vector {
	u64 base;
	u64 length;
};

struct user_message {
	u64 name;
	u32 name_length;
	u32 padding;
	u64 vector;
	u64 vectors;
	u64 control;
	u64 control_length;
	u32 flags;
	u32 padding_end;
};

struct user_mmessage {
	struct user_message message;
	u32 length;
	u32 padding;
};

#endif
