/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Where the kernel has no tracepoint behind its socket calls (see transfers.bpf.h): every system
 * call, when it returns. All programs of the host pay for that, whatever they call.
 */
#ifndef QTAP_SYSEXIT_H
#define QTAP_SYSEXIT_H

static __always_inline void accepted(struct task_struct *task, s32 fd, u32 call)
{
	u64 pid_tgid = bpf_get_current_pid_tgid();
	struct sock *sk = tcp_sock_of(file_of(task, fd));
	struct connection *conn;
	u64 key = (u64)sk;

	if (!sk)
		return;
	conn = bpf_map_lookup_elem(&connections, &key);
	if (!conn)
		conn = adopt(sk, key, pid_tgid, fd, 0, 0, ID_SYSCALL);
	if (conn)
		use_connection(sk, conn, pid_tgid, fd);
	TRACE(TRACE_SOCKET, call, fd, 0, conn ? conn->id : 0, 0, DIRECTION_INGRESS);
}

/* A call that would have blocked still tells which connection the TLS call around it is for. */
static __always_inline void touched_in_vain(s32 fd)
{
	u64 pid_tgid = bpf_get_current_pid_tgid(), key;
	struct connection *conn;
	struct frame *frame = top_frame(pid_tgid);

	if (!frame || frame->connection)
		return;
	key = (u64)tcp_sock_of(file_of(current_task(), fd));
	if (!key)
		return;
	conn = bpf_map_lookup_elem(&connections, &key);
	if (conn)
		touch(pid_tgid, key, conn);
}

static __always_inline void mapped(struct task_struct *task, struct pt_regs *regs, u64 address)
{
	struct event_mapped event = {};
	struct file_key key = {};
	struct file *file;
	struct inode *inode;

	if (!(SYSCALL_ARG3(regs) & PROT_EXEC) || (SYSCALL_ARG4(regs) & MAP_ANONYMOUS))
		return;
	if (bpf_get_current_pid_tgid() >> 32 == settings.own_pid)
		return;
	file = file_of(task, SYSCALL_ARG5(regs));
	if (!file)
		return;
	inode = BPF_CORE_READ(file, f_inode);
	key.device = BPF_CORE_READ(inode, i_sb, s_dev);
	key.inode = BPF_CORE_READ(inode, i_ino);
	if (bpf_map_lookup_elem(&known_files, &key))
		return;
	event.kind = EVENT_MAPPED;
	event.pid = bpf_get_current_pid_tgid() >> 32;
	event.time = bpf_ktime_get_ns();
	event.device = key.device;
	event.inode = key.inode;
	event.address = address;
	if (emit_control(&event, sizeof(event)))
		count(COUNT_MAPPED_LOST, 1);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *regs, long result)
{
	u32 number = SYSCALL_NUMBER(regs), direction = DIRECTION_INGRESS, flags;
	struct connection *conn;
	struct task_struct *task;
	struct source from = {};
	u64 bytes = result;
	u16 protocol = 0;
	struct sock *sk;
	s32 fd;
	u8 call;

	if (number >= SYSCALL_TABLE)
		return 0;
	call = syscall_calls[number];
	if (!call)
		return 0;
	if (result < 0 || (!result && call != CALL_ACCEPT && call != CALL_ACCEPT4)) {
		if (settings.calls && call <= CALL_SENDMSG)
			touched_in_vain(SYSCALL_ARG1(regs));
		return 0;
	}
	task = current_task();
	if (IS_COMPAT(task)) {
		count(COUNT_COMPAT_CALLS, 1);
		return 0;
	}
	fd = SYSCALL_ARG1(regs);
	switch (call) {
	case CALL_ACCEPT:
	case CALL_ACCEPT4:
		accepted(task, result, call);
		return 0;
	case CALL_MMAP:
		mapped(task, regs, result);
		return 0;
	case CALL_WRITE:
	case CALL_WRITEV:
	case CALL_SENDTO:
	case CALL_SENDMSG:
	case CALL_SENDMMSG:
	case CALL_SENDFILE:
		direction = DIRECTION_EGRESS;
		break;
	case CALL_SPLICE:
		if (!tcp_sock_of(file_of(task, fd))) {
			direction = DIRECTION_EGRESS;
			fd = SYSCALL_ARG3(regs);
		}
		break;
	}
	flags = flags_of(call, regs);
	if (flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB))
		return 0;
	locate(call, regs, &from);
	if (from.message) {
		from.messages = result;
		bytes = sum_messages(from.message, from.messages);
	}
	if (flags & MSG_TRUNC)
		from.loss = LOSS_UNREADABLE;
	sk = inet_sock_of(file_of(task, fd), &protocol);
	if (sk && protocol == IPPROTO_UDP) {
		datagrams(sk, direction, result, bytes, &from);
		return 0;
	}
	if (protocol == IPPROTO_MPTCP)
		count(COUNT_UNSUPPORTED_PROTOCOL, 1);
	if (protocol != IPPROTO_TCP)
		sk = NULL;
	TRACE(TRACE_SOCKET, call, fd, bytes, 0, 0, direction);
	if (!sk) {
		TRACE(TRACE_SOCKET, MESSAGE_NO_CONNECTION, fd, bytes, 0, 0, direction);
		return 0;
	}
	conn = known_connection(sk);
	if (!conn && meet(sk, fd, direction, bytes))
		conn = known_connection(sk);
	if (conn)
		moved(sk, conn, fd, direction, bytes, &from, COPY_STEPS);
	return 0;
}

#endif
