/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The socket layer from 6.5 on: tracepoints at the end of each transfer of a socket, whatever call
 * it is part of. The registers of that call say where the bytes are. System calls that have nothing
 * to do with sockets cost nothing, which a program at the exit of all of them can not give.
 *
 * They came in 6.3. sendfile() and splice() go through them since 6.5.
 */
#ifndef QTAP_TRANSFERS_H
#define QTAP_TRANSFERS_H

#ifndef QTAP_LEGACY

/* How far a call that moves several messages is. */
struct message_run {
	/* The array of mmsghdr. */
	u64 messages;
	u32 next;
	u32 reserved;
};

/*
 * Key: pid_tgid; value: which message of the sendmmsg() or recvmmsg() that the thread is in comes
 * next. Inserted by each message but the last, removed by the last and by one that ends the call
 * before it. Full: the least recently used goes; the rest of that call is taken for a call of its
 * own, and read from its first message.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, u64);
	__type(value, struct message_run);
	__uint(max_entries, 1024);
} message_runs SEC(".maps");

enum { VECTORS_SUMMED = 64 };

/* Room that the first vectors of a message have; all that there is when there are not more. */
__noinline u64 message_room(u64 message)
{
	struct user_message header;
	struct user_vector vector;
	u64 room = 0;

	if (bpf_probe_read_user(&header, sizeof(header), (void *)message))
		return 0;
	for (int i = 0; i < VECTORS_SUMMED; i++) {
		if (i >= header.vectors)
			break;
		if (bpf_probe_read_user(&vector, sizeof(vector),
					(void *)(header.vector + i * sizeof(vector))))
			break;
		room += vector.length;
	}
	return room;
}

/*
 * The message that sendmmsg() or recvmmsg() moves just now. Each of its messages comes by here, and
 * the call ends at its last one, at one that fails, and when sending at one that was sent in part.
 * 0: it cannot be known.
 */
static __always_inline u64 message_of(u8 call, struct pt_regs *regs, s64 result)
{
	u64 pid_tgid = bpf_get_current_pid_tgid(), messages = SYSCALL_ARG2(regs), message;
	struct message_run run = {.messages = messages}, *former;
	u32 most = SYSCALL_ARG3(regs), index = 0;

	if (most <= 1)
		return messages;
	/* It may end when time is up, unseen. */
	if (call == CALL_RECVMMSG && SYSCALL_ARG5(regs))
		return 0;
	former = bpf_map_lookup_elem(&message_runs, &pid_tgid);
	if (former && former->messages == messages && former->next < most)
		index = former->next;
	message = messages + index * sizeof(struct user_mmessage);
	run.next = index + 1;
	if (result < 0 || run.next >= most ||
	    (call == CALL_SENDMMSG && message_room(message) != result))
		bpf_map_delete_elem(&message_runs, &pid_tgid);
	else
		bpf_map_update_elem(&message_runs, &pid_tgid, &run, BPF_ANY);
	return message;
}

/*
 * Whether a system call that we know the registers of moves bytes of this sock, and not a request
 * of io_uring that the thread completes on its way (see uring.bpf.h).
 */
static __always_inline bool is_by_call(struct task_struct *task, struct sock *sk, u8 call, s32 fd)
{
	if (!bpf_core_field_exists(task->io_uring) || !task->io_uring)
		return true;
	return call != CALL_NONE && tcp_sock_of(file_of(task, fd)) == sk;
}

/* Nothing moved; and yet it tells whose the connection is, and which one the TLS call around it is
 * for. */
static __always_inline void tried(struct sock *sk, struct connection *conn, s32 fd)
{
	u64 pid_tgid = current_pid_tgid();

	if (conn->state == CONNECTION_PENDING && conn->time)
		use_connection(sk, conn, pid_tgid, fd);
	if (settings.calls)
		touch(pid_tgid, (u64)sk, conn);
}

/* The system call that the thread is in, if it is one that moves bytes. */
static __always_inline u8 current_call(struct task_struct *task, struct pt_regs *regs)
{
	u32 number = SYSCALL_NUMBER(regs);

	if (IS_COMPAT(task)) {
		count(COUNT_COMPAT_CALLS, 1);
		return CALL_NONE;
	}
	return number < SYSCALL_TABLE ? syscall_calls[number] : CALL_NONE;
}

/* The descriptor that it moves them by. */
static __always_inline s32 descriptor_of(u8 call, struct pt_regs *regs)
{
	if (call == CALL_NONE)
		return -1;
	return call == CALL_SPLICE ? SYSCALL_ARG3(regs) : SYSCALL_ARG1(regs);
}

/* Where the bytes are that a call, or one message of it, moved or tried to. */
static __always_inline void locate_transfer(u8 call, struct pt_regs *regs, s64 result,
					    struct source *from)
{
	if (call == CALL_RECVMMSG || call == CALL_SENDMMSG) {
		u64 message = message_of(call, regs, result);

		if (message)
			locate_message(message, from);
		else
			from->loss = LOSS_UNREADABLE;
	} else if (result > 0) {
		locate(call, regs, from);
	}
}

/* One datagram. */
static __noinline int sent_or_received(struct sock *sk, s64 result, u32 flags, u32 direction)
{
	struct task_struct *task = current_task();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	u8 call = current_call(task, regs);
	struct source from = {};

	if (!sk || !is_by_call(task, sk, call, descriptor_of(call, regs)) ||
	    flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB))
		return 0;
	locate_transfer(call, regs, result, &from);
	/* It is filled in later. */
	if (direction == DIRECTION_INGRESS)
		from.name = 0;
	if (result > 0)
		datagram(sk, direction, result, from.buffer, from.vector, from.name, from.loss);
	return 0;
}

static __always_inline int transferred(struct sock *sk, s64 result, u32 flags, u32 direction)
{
	struct connection *conn;
	struct task_struct *task;
	struct source from = {};
	struct pt_regs *regs;
	u8 call;
	s32 fd;

	if (!is_internet(sk->__sk_common.skc_family))
		return 0;
	task = current_task();
	if (task->flags & (PF_KTHREAD | PF_IO_WORKER))
		return 0;
	if (sk->sk_protocol == IPPROTO_UDP)
		return sent_or_received(sk, result, flags, direction);
	if (sk->sk_protocol != IPPROTO_TCP) {
		if (sk->sk_protocol == IPPROTO_MPTCP)
			count(COUNT_UNSUPPORTED_PROTOCOL, 1);
		return 0;
	}
	conn = known_connection(sk);
	/* Unless somebody looks for the connections of TLS calls, or wants to be told. */
	if (conn && conn->state == CONNECTION_FILTERED && !settings.calls &&
	    !(settings.trace_modules & TRACE_SOCKET))
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	call = current_call(task, regs);
	/* In vain: that tells nothing but whose a connection is, and that of a TLS call. */
	if (result <= 0 && call != CALL_RECVMMSG && call != CALL_SENDMMSG &&
	    (!conn || (conn->state != CONNECTION_PENDING && !settings.calls)))
		return 0;
	fd = descriptor_of(call, regs);
	if (!is_by_call(task, sk, call, fd) || flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB))
		return 0;
	if (!conn) {
		if (result <= 0 || !meet(sk, fd, direction, result))
			return 0;
		conn = known_connection(sk);
		if (!conn)
			return 0;
	}
	locate_transfer(call, regs, result, &from);
	if (result <= 0) {
		tried(sk, conn, fd);
		return 0;
	}
	if (flags & MSG_TRUNC)
		from.loss = LOSS_UNREADABLE;
	TRACE(TRACE_SOCKET, call, fd, result, 0, 0, direction);
	moved(sk, conn, fd, direction, result, &from, COPY_STEPS);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(sock_send_length, struct sock *sk, int result, int flags)
{
	return transferred(sk, result, 0, DIRECTION_EGRESS);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(sock_recv_length, struct sock *sk, int result, int flags)
{
	return transferred(sk, result, flags, DIRECTION_INGRESS);
}

/*
 * splice() from a socket reads past the tracepoints above. This one comes with each read of a
 * connection, in the middle of it; the kernel's count says how much was read by then.
 */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(tcp_rcv_space_adjust, struct sock *sk)
{
	struct source from = {.loss = LOSS_UNREADABLE};
	struct task_struct *task = current_task();
	struct connection *conn;
	u64 read, position;
	struct pt_regs *regs;
	u32 number;
	s32 fd;

	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	number = SYSCALL_NUMBER(regs);
	if (number >= SYSCALL_TABLE || syscall_calls[number] != CALL_SPLICE ||
	    task->flags & PF_KTHREAD || IS_COMPAT(task))
		return 0;
	fd = SYSCALL_ARG1(regs);
	/* Not one that an interrupt reads. */
	if (tcp_sock_of(file_of(task, fd)) != sk)
		return 0;
	conn = known_connection(sk);
	if (!conn) {
		meet(sk, fd, DIRECTION_INGRESS, 0);
		return 0;
	}
	read = sequence_received(sk) - unread(sk) - conn->received_base;
	if (fin_received(sk) && !conn->fin_in_base && !unread(sk))
		read -= 1;
	position = *(volatile u64 *)&conn->position[DIRECTION_INGRESS];
	if (read <= position)
		return 0;
	TRACE(TRACE_SOCKET, CALL_SPLICE, fd, read - position, 0, 0, DIRECTION_INGRESS);
	moved(sk, conn, fd, DIRECTION_INGRESS, read - position, &from, 1);
	return 0;
}

#endif

#endif
