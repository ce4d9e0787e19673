/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Beginning and end of TCP connections, once per socket and not per descriptor.
 *
 * The kernel does not run a program on a CPU on which it is running already: of a socket whose
 * state changes in a softirq that interrupts such a program, the change would go unseen. So there
 * are two programs for each of these tracepoints, one after the other: an interrupt that falls into
 * one of them is seen by the other. The one that comes second finds everything done.
 */
#ifndef QTAP_TCP_H
#define QTAP_TCP_H

/* The descriptor given to the system call this thread is in: connect() and sendto(MSG_FASTOPEN)
 * have it first. */
static __always_inline s32 descriptor_of_call(void)
{
#ifndef QTAP_LEGACY
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs)) {
		struct pt_regs *regs =
			(struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
		u32 nr = SYSCALL_NUMBER(regs);

		if (nr == SYSCALL_CONNECT || nr == SYSCALL_SENDTO)
			return SYSCALL_ARG1(regs);
	}
#endif
	return -1;
}

/* Nothing has happened on it since it was made. */
static __always_inline bool is_fresh(const struct connection *conn, u8 role)
{
	return conn->role == role && conn->state == CONNECTION_PENDING && !conn->ended &&
	       !conn->position[DIRECTION_EGRESS] && !conn->position[DIRECTION_INGRESS];
}

/* Tells what is known of it, and that it ended. */
static __always_inline void finish_connection(struct connection *conn)
{
	/* The rest of the record was not read. */
	if (conn->state == CONNECTION_OPENED && take_header(conn))
		send_header(conn, conn->position[DIRECTION_INGRESS]);
	close_connection(conn);
}

static __always_inline void dialled(struct sock *sk, u64 key, u32 family)
{
	struct connection fresh = {}, *former;
	u64 pid_tgid = bpf_get_current_pid_tgid();

	former = bpf_map_lookup_elem(&connections, &key);
	/* Dialled just now, by the other program. */
	if (former && is_fresh(former, ROLE_CLIENT))
		return;
	/* A sock that was disconnected and dials again, or one at the same address whose end was
	 * missed. */
	if (former)
		finish_connection(former);
	if (BPF_CORE_READ_BITFIELD_PROBED(sk, sk_kern_sock)) {
		if (former)
			bpf_map_delete_elem(&connections, &key);
		count(COUNT_FILTERED_KERNEL, 1);
		return;
	}
	fresh.id = next_connection(family);
	fresh.pid = pid_tgid >> 32;
	fresh.tid = pid_tgid;
	fresh.fd = descriptor_of_call();
	fresh.role = ROLE_CLIENT;
	/* The SYN. */
	fresh.sent_base = 1;
	if (bpf_map_update_elem(&connections, &key, &fresh, BPF_ANY))
		count(COUNT_CONNECTIONS_FULL, 1);
}

static __always_inline void established(struct sock *sk, u64 key, int former_state, u32 family)
{
	struct connection fresh = {}, *conn = bpf_map_lookup_elem(&connections, &key);

	/* Out of SYN_RECV comes a server's child, or the dialler of a simultaneous open; an older
	   entry at this address is that of a sock whose end was missed. */
	if (conn && !conn->ended && conn->role == ROLE_CLIENT &&
	    (former_state != TCP_SYN_RECV || is_fresh(conn, ROLE_CLIENT))) {
		if (!conn->time)
			conn->time = bpf_ktime_get_ns();
		open_connection(sk, conn);
		return;
	}
	if (conn && former_state == TCP_SYN_RECV && is_fresh(conn, ROLE_SERVER))
		return;
	if (conn)
		finish_connection(conn);
	if (former_state != TCP_SYN_RECV) {
		/* Dialled before we looked, established now: whoever uses it first opens it. */
		fresh.role = ROLE_CLIENT;
		fresh.sent_base = 1;
	} else {
		/* Nobody has accepted it yet; this is an interrupt in whatever process. */
		fresh.role = ROLE_SERVER;
	}
	fresh.id = next_connection(family);
	fresh.fd = -1;
	fresh.time = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&connections, &key, &fresh, BPF_ANY))
		count(COUNT_CONNECTIONS_FULL, 1);
}

static __always_inline int state_changed(struct sock *sk, int from, int to, u32 family)
{
	u64 key = (u64)sk;
	struct connection *conn;

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	switch (to) {
	case TCP_SYN_SENT:
		dialled(sk, key, family);
		break;
	case TCP_ESTABLISHED:
		established(sk, key, from, family);
		break;
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK:
		conn = bpf_map_lookup_elem(&connections, &key);
		if (!conn)
			break;
		conn->fin_sent = 1;
		/* close() and shutdown() only. */
		use_at_end(sk, conn);
		break;
	case TCP_CLOSE:
		conn = bpf_map_lookup_elem(&connections, &key);
		if (!conn || conn->ended)
			break;
		/* Without a FIN of ours somebody cut it off. */
		conn->reset = BPF_CORE_READ(sk, sk_err) != 0 || from == TCP_ESTABLISHED ||
			      from == TCP_CLOSE_WAIT;
		conn->accepted = BPF_CORE_READ(sk, sk_socket) != NULL;
		end_connection(sk, conn);
		break;
	}
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(inet_sock_set_state, struct sock *sk, int from, int to)
{
	return state_changed(sk, from, to, ID_STATE);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(inet_sock_set_state_again, struct sock *sk, int from, int to)
{
	return state_changed(sk, from, to, ID_STATE_AGAIN);
}

static __always_inline int destroyed(struct sock *sk)
{
	u64 key = (u64)sk;
	struct connection *conn = bpf_map_lookup_elem(&connections, &key);

	if (!conn)
		return 0;
	end_connection(sk, conn);
	conn->unread = unread_bytes(sk);
	/* A process had it when it was cut off, and comes to let go of it now. */
	if (conn->accepted)
		use_at_end(sk, conn);
	if (conn->state == CONNECTION_PENDING && conn->pid) {
		/* The control ring had no room for it before. */
		open_connection(sk, conn);
		if (conn->state == CONNECTION_PENDING)
			count(COUNT_NEVER_OPENED, 1);
	}
	/* A server's child that nobody used as far as we see, and yet its bytes moved. */
	if (conn->state == CONNECTION_PENDING && conn->time && !conn->pid &&
	    conn->sent_final + conn->received_final > conn->unread)
		count(COUNT_UNUSED, 1);
	finish_connection(conn);
	forget_session(conn, key);
	bpf_map_delete_elem(&connections, &key);
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tcp_destroy_sock, struct sock *sk)
{
	return destroyed(sk);
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tcp_destroy_sock_again, struct sock *sk)
{
	return destroyed(sk);
}

#endif
