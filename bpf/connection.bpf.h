/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What is true of a connection whoever looks: addresses, filters, the kernel's byte counts, open
 * and close. */
#ifndef QTAP_CONNECTION_H
#define QTAP_CONNECTION_H

static __always_inline void map_ipv4(u8 *address, __be32 ipv4)
{
	*(u64 *)address = 0;
	*(u32 *)(address + 8) = bpf_htonl(0xffff);
	*(u32 *)(address + 12) = ipv4;
}

/* Right into the event: the programs that come here have no stack to spare. */
static __always_inline void read_endpoints(struct event_opened *to, const struct sock *sk)
{
	to->ipv6_socket = BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6;
	/* Not skc_num, which is given back before the socket is destroyed. */
	to->local_port = bpf_ntohs(BPF_CORE_READ((const struct inet_sock *)sk, inet_sport));
	to->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (to->ipv6_socket) {
		BPF_CORE_READ_INTO((struct in6_addr *)to->local_address, sk,
				   __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)to->remote_address, sk,
				   __sk_common.skc_v6_daddr);
	} else {
		map_ipv4(to->local_address, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		map_ipv4(to->remote_address, BPF_CORE_READ(sk, __sk_common.skc_daddr));
	}
}

enum address_class {
	ADDRESS_PUBLIC,
	ADDRESS_INTERNAL,
	ADDRESS_LOOPBACK,
};

static __always_inline enum address_class classify(const u8 *address)
{
	u64 high = *(u64 *)address;
	u32 third = *(u32 *)(address + 8);
	u32 last = bpf_ntohl(*(u32 *)(address + 12));

	if (high == 0 && third == bpf_htonl(0xffff)) {
		if (last >> 24 == 127)
			return ADDRESS_LOOPBACK;
		if (last >> 24 == 10 || last >> 20 == 0xac1 ||
		    last >> 16 == 0xc0a8 || /* RFC 1918 */
		    last >> 16 == 0xa9fe || /* link-local, RFC 3927 */
		    last >> 22 == 0x191)    /* 100.64/10, RFC 6598 */
			return ADDRESS_INTERNAL;
		return ADDRESS_PUBLIC;
	}
	if (high == 0 && third == 0 && last == 1)
		return ADDRESS_LOOPBACK;
	if ((address[0] & 0xfe) == 0xfc ||			 /* unique local, RFC 4193 */
	    (address[0] == 0xfe && (address[1] & 0xc0) == 0x80)) /* link-local */
		return ADDRESS_INTERNAL;
	return ADDRESS_PUBLIC;
}

/* A host that talks to an address of its own goes through the loopback device, whatever the
 * address. */
static __always_inline enum address_class classify_remote(const struct event_opened *ends)
{
	if (*(u64 *)ends->local_address == *(u64 *)ends->remote_address &&
	    *(u64 *)(ends->local_address + 8) == *(u64 *)(ends->remote_address + 8))
		return ADDRESS_LOOPBACK;
	return classify(ends->remote_address);
}

enum { NOT_FILTERED = -1 };

/* The counter of the reason to leave a connection out, or NOT_FILTERED. */
static __always_inline int filter(const struct event_opened *ends, u32 pid, u8 role)
{
	u32 direction = settings.direction;
	enum address_class remote;

	if (pid == settings.own_pid)
		return COUNT_FILTERED_SELF;
	if (is_ignored(pid))
		return COUNT_FILTERED_PROCESS;
	remote = classify_remote(ends);
	if (remote == ADDRESS_LOOPBACK && settings.ignore_loopback)
		return COUNT_FILTERED_LOOPBACK;
	if (direction == SETTING_ALL)
		return NOT_FILTERED;
	if (role == ROLE_SERVER)
		return direction == SETTING_INGRESS ? NOT_FILTERED : COUNT_FILTERED_DIRECTION;
	if (direction == SETTING_EGRESS ||
	    (direction == SETTING_EGRESS_INTERNAL && remote != ADDRESS_PUBLIC) ||
	    (direction == SETTING_EGRESS_EXTERNAL && remote == ADDRESS_PUBLIC))
		return NOT_FILTERED;
	return COUNT_FILTERED_DIRECTION;
}

/*
 * All sequence numbers that we used since the connection began: payload, the FIN, and for a client
 * the SYN (a server's child begins behind it).
 */
static __always_inline u64 sequence_sent(const struct sock *sk)
{
	const struct tcp_sock *tp = (const struct tcp_sock *)sk;
	u32 unacked = BPF_CORE_READ(tp, write_seq) - BPF_CORE_READ(tp, snd_una);

	return BPF_CORE_READ(tp, bytes_acked) + unacked;
}

/* All sequence numbers that we took in, in order: payload and the FIN, not the SYN. */
static __always_inline u64 sequence_received(const struct sock *sk)
{
	return BPF_CORE_READ((const struct tcp_sock *)sk, bytes_received);
}

static __always_inline u32 unread(const struct sock *sk)
{
	const struct tcp_sock *tp = (const struct tcp_sock *)sk;

	return BPF_CORE_READ(tp, rcv_nxt) - BPF_CORE_READ(tp, copied_seq);
}

static __always_inline bool fin_received(const struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_flags) & SOCK_FLAG_DONE;
}

/*
 * Who dialled, of a connection whose beginning we did not see. A client used a sequence number for
 * its SYN, so it has used one more than it sent bytes (and its FIN). Where that does not come out
 * even, the port tells: a server's child shares the one of its listener and has no lock on it,
 * while bind() locks it, and connect() marks the port it chose.
 */
static __always_inline u8 find_role(struct sock *sk, u8 state)
{
	const struct tcp_sock *tp = (const struct tcp_sock *)sk;
	u32 in_flight = BPF_CORE_READ(tp, snd_nxt) - BPF_CORE_READ(tp, snd_una);
	u64 used = BPF_CORE_READ(tp, bytes_acked) + in_flight;
	u64 sent = BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans);
	struct inet_bind_bucket *bucket;
	u8 locks;

	if (state == TCP_FIN_WAIT2)
		sent += 1;
	if (state != TCP_FIN_WAIT1 && used == sent + 1)
		return ROLE_CLIENT;
	if (state != TCP_FIN_WAIT1 && used == sent)
		return ROLE_SERVER;
	locks = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks);
	if (locks & (LOCK_BINDPORT | LOCK_CONNECT_BIND))
		return ROLE_CLIENT;
	bucket = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_bind_hash);
	if (bucket && BPF_CORE_READ(bucket, fastreuse) == -1)
		return ROLE_CLIENT;
	return ROLE_SERVER;
}

/* Once per connection: filters, then the event. Where it cannot be sent the connection stays
 * pending and the next call tries. */
static __noinline void open_connection(struct sock *sk, struct connection *conn)
{
	struct event_opened event = {};
	int reason;

	if (!conn || !first_to(&conn->opening))
		return;
	read_endpoints(&event, sk);
	reason = filter(&event, conn->pid, conn->role);
	if (reason != NOT_FILTERED) {
		count(reason, 1);
		conn->state = CONNECTION_FILTERED;
		return;
	}
	event.kind = EVENT_OPENED;
	event.fd = conn->fd;
	event.connection = conn->id;
	event.time = conn->time;
	event.cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	event.pid = conn->pid;
	event.tid = conn->tid;
	event.role = conn->role;
	event.midstream = conn->midstream;
	conn->shed = settings.shed != SHED_NOTHING;
	event.shed = conn->shed;
	event.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (emit_control(&event, sizeof(event))) {
		count(COUNT_OPENED_LOST, 1);
		conn->opening = 0;
		return;
	}
	count(COUNT_OPENED, 1);
	conn->state = CONNECTION_OPENED;
}

/* A process took the connection in hand: fills in who, where nobody did. */
static __always_inline void use_connection(struct sock *sk, struct connection *conn, u64 pid_tgid,
					   s32 fd)
{
	if (conn->state != CONNECTION_PENDING)
		return;
	if (!conn->pid) {
		conn->pid = pid_tgid >> 32;
		conn->tid = pid_tgid;
	}
	if (conn->fd < 0)
		conn->fd = fd;
	if (!conn->time)
		conn->time = bpf_ktime_get_ns();
	open_connection(sk, conn);
}

/*
 * Somebody closes it who has not used it: the last to be asked whose it was. To be called where
 * only a process can be at it, and not an interrupt.
 */
static __always_inline void use_at_end(struct sock *sk, struct connection *conn)
{
	if (conn->state == CONNECTION_PENDING && conn->time && !conn->pid &&
	    !(BPF_CORE_READ(current_task(), flags) & PF_KTHREAD))
		use_connection(sk, conn, bpf_get_current_pid_tgid(), -1);
}

/* Whether payload of the connection is only counted, to shed load. */
static __always_inline bool is_shed(const struct connection *conn)
{
	u32 shed = settings.shed;

	return shed == SHED_ALL || (shed == SHED_NEW && conn->shed);
}

/* The kernel's counts no longer move: keep them, for the sock may be reset and used again. */
static __always_inline void end_connection(const struct sock *sk, struct connection *conn)
{
	if (conn->ended)
		return;
	conn->sent_final = sequence_sent(sk) - conn->sent_base - (conn->fin_sent ? 1 : 0);
	conn->received_final = sequence_received(sk) - conn->received_base -
			       (fin_received(sk) && !conn->fin_in_base ? 1 : 0);
	conn->ended = 1;
}

/* Payload that arrived and that nobody read before the end. */
static __always_inline u32 unread_bytes(const struct sock *sk)
{
	u32 left = unread(sk);

	/* The peer's FIN has a number of its own. */
	return left && fin_received(sk) ? left - 1 : left;
}

static __always_inline void close_connection(struct connection *conn)
{
	struct event_closed event = {};

	if (conn->state != CONNECTION_OPENED)
		return;
	event.kind = EVENT_CLOSED;
	event.reset = conn->reset;
	event.uring = conn->uring;
	event.connection = conn->id;
	event.time = bpf_ktime_get_ns();
	event.written = conn->position[DIRECTION_EGRESS];
	event.read = conn->position[DIRECTION_INGRESS];
	event.calls_written = conn->calls_position[DIRECTION_EGRESS];
	event.calls_read = conn->calls_position[DIRECTION_INGRESS];
	/* Where the end was missed the kernel's counts are lost: ours say the least that they were.
	 */
	event.kernel_sent = conn->ended ? conn->sent_final : event.written;
	event.kernel_received = conn->ended ? conn->received_final : event.read;
	event.unread = conn->unread;
	event.lost_ring_full = conn->lost_ring_full;
	count(emit_control(&event, sizeof(event)) ? COUNT_CLOSED_LOST : COUNT_CLOSED, 1);
}

#endif
