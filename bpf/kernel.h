/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel types we touch, with just the fields we use. Offsets are relocated at load time
 * (CO-RE), so the order and the neighbours of a field do not matter here, only its name and type.
 */
#ifndef QTAP_KERNEL_H
#define QTAP_KERNEL_H

/* bpf_tracing.h: registers have the kernel's names. */
#define __VMLINUX_H__

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u16 __sum16;
typedef __u32 __wsum;
typedef __u8 u8;
typedef __s8 s8;
typedef __u16 u16;
typedef __u32 u32;
typedef __s32 s32;
typedef __u64 u64;
typedef __s64 s64;
typedef _Bool bool;
enum { false = 0, true = 1 };

#define NULL ((void *)0)

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_EXIST = 2,
};

enum {
	BPF_F_MMAPABLE = 1 << 10,
};

enum {
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
};

enum {
	BPF_RB_AVAIL_DATA = 0,
	BPF_RB_RING_SIZE = 1,
};

/* Values are matched by name against the running kernel: which helpers it has. */
enum bpf_func_id {
	BPF_FUNC_task_pt_regs = 175,
};

enum {
	AF_INET = 2,
	AF_INET6 = 10,
};

enum {
	SOCK_STREAM = 1,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_MPTCP = 262,
};

enum {
	MSG_OOB = 0x1,
	MSG_PEEK = 0x2,
	MSG_TRUNC = 0x20,
	MSG_ERRQUEUE = 0x2000,
};

enum {
	PROT_EXEC = 0x4,
	MAP_ANONYMOUS = 0x20,
};

/* include/linux/sched.h: of a task. */
enum {
	PF_IO_WORKER = 0x00000010,
	PF_KTHREAD = 0x00200000,
};

enum {
	S_IFMT = 0170000,
	S_IFSOCK = 0140000,
};

/* include/net/tcp_states.h */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_FIN_WAIT2 = 5,
	TCP_TIME_WAIT = 6,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
	TCP_CLOSING = 11,
};

/* include/net/sock.h: SOCK_DONE is set when a FIN was taken in; user locks tell who chose the local
 * port. */
enum {
	SOCK_FLAG_DONE = 1 << 1,
	LOCK_BINDPORT = 8,
	LOCK_CONNECT_BIND = 16,
};

enum {
	SIGNAL_GROUP_EXIT = 0x4,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r14;
	unsigned long r10;
	unsigned long r9;
	unsigned long r8;
	unsigned long bp;
	unsigned long bx;
	unsigned long ax;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
	unsigned long ip;
	unsigned long sp;
};

struct thread_info {
	u32 status;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	u64 regs[31];
	u64 sp;
	u64 pc;
	u64 pstate;
};

struct pt_regs {
	u64 regs[31];
	u64 sp;
	u64 pc;
	u64 orig_x0;
	s32 syscallno;
};

struct thread_info {
	unsigned long flags;
};
#else
#error "unsupported architecture"
#endif

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	s64 counter;
} atomic64_t;

typedef struct {
	u32 val;
} kuid_t;

struct in6_addr {
	union {
		u8 u6_addr8[16];
	} in6_u;
};

struct super_block {
	u32 s_dev;
};

struct inode {
	u16 i_mode;
	unsigned long i_ino;
	struct super_block *i_sb;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct cred {
	kuid_t euid;
};

struct signal_struct {
	atomic_t live;
	int group_exit_code;
	unsigned int flags;
};

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
	unsigned long env_start;
	unsigned long env_end;
};

struct io_uring_task;

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	struct io_uring_task *io_uring;
	struct mm_struct *mm;
	s32 pid;
	s32 tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	u64 start_boottime;
	const struct cred *cred;
	struct files_struct *files;
	struct signal_struct *signal;
	int exit_code;
};

struct linux_binprm {
	const char *filename;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock;

/* Of a family of sockets; the kernel's TLS puts its own in its place. */
struct proto {
	void *sendmsg;
	void *recvmsg;
};

struct sock_common {
	struct proto *skc_prot;
	possible_net_t skc_net;
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	u16 skc_num;
	u16 skc_family;
	u8 skc_state;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	unsigned long skc_flags;
};

struct socket;

struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
	/* That of the socket when it was made. */
	struct proto *sk_prot_creator;
	u16 sk_type;
	u16 sk_protocol;
	int sk_err;
	u8 sk_userlocks;
	u8 sk_kern_sock : 1;
};

struct socket {
	struct file *file;
	struct sock *sk;
};

struct inet_sock {
	__be16 inet_sport;
};

struct inet_bind_bucket {
	signed char fastreuse;
};

/* A protocol on top of TCP in one socket. */
struct tcp_ulp_ops {
	char name[16];
};

struct inet_connection_sock {
	struct inet_bind_bucket *icsk_bind_hash;
	const struct tcp_ulp_ops *icsk_ulp_ops;
};

struct tcp_sock {
	u64 bytes_received;
	u64 bytes_acked;
	u64 bytes_sent;
	u64 bytes_retrans;
	u32 snd_nxt;
	u32 rcv_nxt;
	u32 copied_seq;
	u32 snd_una;
	u32 write_seq;
};

/* io_uring: a request, and what it was asked for in the same memory. */
struct io_cqe {
	s32 res;
};

struct io_kiocb {
	struct file *file;
	u8 opcode;
	struct io_cqe cqe;
	void *async_data;
};

/* Since 6.4. Values are matched by name. */
enum iter_type {
	ITER_UBUF = 0,
};

struct iov_iter {
	u8 iter_type;
	unsigned long iov_offset;
	void *ubuf;
};

struct msghdr {
	struct iov_iter msg_iter;
};

struct io_async_msghdr {
	struct msghdr msg;
};

struct io_sr_msg {
	void *buf;
	u32 msg_flags;
	u32 done_io;
	u16 flags;
};

struct io_rw {
	u64 addr;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
};

#pragma clang attribute pop

#endif
