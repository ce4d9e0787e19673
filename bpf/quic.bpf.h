/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * QUIC (RFC 9000): datagrams that begin with an Initial packet are copied, both ways, because they
 * tell who talks to whom. Of a socket that had one the bytes are counted from then on; all other
 * UDP is left alone.
 */
#ifndef QTAP_QUIC_H
#define QTAP_QUIC_H

enum {
	/* Header form, fixed bit and type of a long header (RFC 9000, 17.2; RFC 9369, 3.2). */
	QUIC_FIRST_BITS = 0xf0,
	QUIC_INITIAL_V1 = 0xc0,
	QUIC_INITIAL_V2 = 0xd0,
	QUIC_V1 = 0x00000001,
	QUIC_V2 = 0x6b3343cf,
	QUIC_CONNECTION_ID_BYTES = 20,
	/* A header without connection IDs, the packet number and what is sampled to protect it.
	   Clients and most packets of servers fill 1,200 bytes; a refusal need not. */
	QUIC_LEAST = 30,
	/* Of one socket in one period of about a second (2^30 ns), by direction: of one that is
	   connected to a peer, and of one that is not. */
	QUIC_PERIOD_SHIFT = 30,
	QUIC_COPIED_CONNECTED = 16,
	QUIC_COPIED = 512,
};

/*
 * Which socket, and with whom: `remote` is zero in the entry of the socket as a whole. Of a socket
 * that is not connected there is one entry more for each peer.
 */
struct quic_key {
	u64 socket;
	u8 remote[16];
	u16 port;
	u16 reserved[3];
};

struct quic_counts {
	/* Payload bytes of UDP, by direction; of a peer only those sent to it. */
	u64 bytes[2];
	u64 period;
	/* Datagrams copied in this period. */
	u32 copied[2];
	/* Another one at the address of the sock is another socket. */
	u16 local_port;
	/* Who sent the first Initial packet. */
	u8 role;
	/* Datagrams went to peers that were not looked at: what each got is not known. */
	u8 unsplit;
	u32 reserved;
};

/*
 * Inserted with the first Initial packet that is copied, never removed. Full: the least recently
 * used goes; user space says of its connection that the bytes are not known.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct quic_key);
	__type(value, struct quic_counts);
	__uint(max_entries, 8192);
} quic_counts SEC(".maps");

/* A datagram, or several that went in one call (GSO, GRO). */
struct quic_datagram {
	u64 bytes;
	u64 buffer;
	/* Bytes at `buffer`. */
	u64 length;
	/* Where the user's sockaddr of the peer is that it is sent to, or 0. */
	u64 name;
	u32 direction;
	u32 reserved;
};

struct quic_scratch {
	struct event_quic event;
	u8 payload[QUIC_BYTES];
	/* Only its addresses are used. */
	struct event_opened ends;
	/* What becomes an entry: the stack has no room for it. */
	struct quic_counts fresh;
	/* What send_quic() is to look at. */
	struct quic_datagram at;
};

/* Used where sockets are seen, which is never twice at a time on one CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, u32);
	__type(value, struct quic_scratch);
	__uint(max_entries, 1);
} quic_scratches SEC(".maps");

/* Some socket had an Initial packet: before that, nothing is looked up. */
u32 quic_seen SEC(".data.quic");

/* What user programs pass as struct sockaddr_in, and the beginning of sockaddr_in6: the address
 * follows. */
struct user_address {
	u16 family;
	__be16 port;
	__be32 ipv4;
};

/* The first 12 bytes of a datagram. */
static __always_inline bool looks_like_quic(const u8 *start, u64 bytes)
{
	u32 version = (u32)start[1] << 24 | start[2] << 16 | start[3] << 8 | start[4];
	u8 first = start[0] & QUIC_FIRST_BITS;

	return bytes >= QUIC_LEAST && start[5] <= QUIC_CONNECTION_ID_BYTES &&
	       ((version == QUIC_V1 && first == QUIC_INITIAL_V1) ||
		(version == QUIC_V2 && first == QUIC_INITIAL_V2));
}

/* False: it is none, or cannot be read. */
static __always_inline bool read_name(u8 *remote, u16 *port, u64 name)
{
	struct user_address address;

	if (bpf_probe_read_user(&address, sizeof(address), (void *)name))
		return false;
	if (address.family == AF_INET) {
		map_ipv4(remote, address.ipv4);
	} else if (address.family != AF_INET6 ||
		   bpf_probe_read_user(remote, 16, (void *)(name + sizeof(address)))) {
		return false;
	}
	*port = bpf_ntohs(address.port);
	return true;
}

static __always_inline u16 local_port_of(const struct sock *sk)
{
	return bpf_ntohs(BPF_CORE_READ((const struct inet_sock *)sk, inet_sport));
}

/* Counts what a call moved, if the socket is one of QUIC. `unsplit`: to peers that are not known.
 */
static __noinline void count_quic(struct sock *sk, u32 direction, u64 bytes, u64 name, u32 unsplit)
{
	struct quic_key key = {.socket = (u64)sk};
	struct quic_counts *counts = bpf_map_lookup_elem(&quic_counts, &key);

	if (!counts)
		return;
	if (counts->local_port != local_port_of(sk)) {
		bpf_map_delete_elem(&quic_counts, &key);
		return;
	}
	__sync_fetch_and_add(&counts->bytes[direction & 1], bytes);
	if (direction != DIRECTION_EGRESS)
		return;
	if (unsplit)
		counts->unsplit = 1;
	if (!name || !read_name(key.remote, &key.port, name))
		return;
	counts = bpf_map_lookup_elem(&quic_counts, &key);
	if (counts)
		__sync_fetch_and_add(&counts->bytes[DIRECTION_EGRESS], bytes);
}

/* The entry of the socket or of a peer, made when there is none; the bytes of what is moved just
 * now are counted in either case. */
static __always_inline struct quic_counts *
ensure_counts(const struct quic_key *key, struct quic_scratch *s, u32 direction, u64 bytes)
{
	struct quic_counts *counts = bpf_map_lookup_elem(&quic_counts, key);

	if (counts)
		return counts;
	__builtin_memset(&s->fresh, 0, sizeof(s->fresh));
	s->fresh.local_port = s->ends.local_port;
	s->fresh.bytes[direction & 1] = bytes;
	s->fresh.role = direction == DIRECTION_EGRESS ? ROLE_CLIENT : ROLE_SERVER;
	bpf_map_update_elem(&quic_counts, key, &s->fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&quic_counts, key);
}

/* Whether one more datagram of the socket is copied. Two at a time may be counted as one. */
static __always_inline bool admit_quic(struct quic_counts *counts, u32 direction, bool is_connected)
{
	u64 period = bpf_ktime_get_ns() >> QUIC_PERIOD_SHIFT;
	u32 limit = is_connected ? QUIC_COPIED_CONNECTED : QUIC_COPIED;

	if (counts->period != period) {
		counts->period = period;
		counts->copied[0] = 0;
		counts->copied[1] = 0;
	}
	if (counts->copied[direction & 1] >= limit) {
		count(COUNT_QUIC_SHED, 1);
		return false;
	}
	counts->copied[direction & 1] += 1;
	return true;
}

/* As filter(), for one whose peer may not be known yet. */
static __always_inline bool is_quic_filtered(const struct event_opened *ends, u32 pid, u8 role)
{
	if (!ends->remote_port)
		return pid == settings.own_pid || is_ignored(pid) ||
		       (settings.direction != SETTING_ALL && settings.direction != SETTING_INGRESS);
	return filter(ends, pid, role) != NOT_FILTERED;
}

/* Looks at what the scratch says, for the programs that come here have no stack to spare. */
static __noinline void send_quic(struct sock *sk)
{
	u64 pid_tgid = bpf_get_current_pid_tgid(), length, flags;
	u32 direction, zero = 0;
	const struct quic_datagram *datagram;
	struct quic_key key = {.socket = (u64)sk};
	struct quic_counts *counts;
	struct quic_scratch *s;
	bool is_connected;
	u8 role;

	s = bpf_map_lookup_elem(&quic_scratches, &zero);
	if (!s)
		return;
	datagram = &s->at;
	direction = datagram->direction;
	read_endpoints(&s->ends, sk);
	is_connected = s->ends.remote_port != 0;
	if (direction == DIRECTION_EGRESS && datagram->name)
		read_name(s->ends.remote_address, &s->ends.remote_port, datagram->name);
	counts = bpf_map_lookup_elem(&quic_counts, &key);
	role = direction == DIRECTION_EGRESS ? ROLE_CLIENT : ROLE_SERVER;
	if (counts)
		role = counts->role;
	if (is_quic_filtered(&s->ends, pid_tgid >> 32, role)) {
		count(COUNT_QUIC_FILTERED, 1);
		return;
	}
	counts = ensure_counts(&key, s, direction, datagram->bytes);
	if (!counts)
		return;
	quic_seen = 1;
	if (!admit_quic(counts, direction, is_connected))
		return;
	s->event.bytes_before[0] = counts->bytes[0];
	s->event.bytes_before[1] = counts->bytes[1];
	s->event.bytes_before[direction & 1] -= datagram->bytes;
	s->event.sent_before = 0;
	if (!is_connected && s->ends.remote_port) {
		__builtin_memcpy(key.remote, s->ends.remote_address, 16);
		key.port = s->ends.remote_port;
		counts = ensure_counts(&key, s, direction, datagram->bytes);
		if (counts)
			s->event.sent_before = counts->bytes[DIRECTION_EGRESS] - datagram->bytes;
	}
	s->event.datagram.kind = EVENT_QUIC;
	s->event.datagram.direction = direction;
	s->event.datagram.time = bpf_ktime_get_ns();
	s->event.datagram.socket = (u64)sk;
	s->event.datagram.pid = pid_tgid >> 32;
	s->event.datagram.tid = pid_tgid;
	s->event.datagram.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	s->event.datagram.bytes = datagram->bytes;
	s->event.datagram.local_port = s->ends.local_port;
	s->event.datagram.remote_port = s->ends.remote_port;
	s->event.is_connected = is_connected;
	__builtin_memcpy(s->event.datagram.local_address, s->ends.local_address, 16);
	__builtin_memcpy(s->event.datagram.remote_address, s->ends.remote_address, 16);
	length = datagram->length;
	if (length > QUIC_BYTES)
		length = QUIC_BYTES;
	barrier_var(length);
	if (length > QUIC_BYTES ||
	    bpf_probe_read_user(s->payload, length, (void *)datagram->buffer)) {
		count(COUNT_QUIC_LOST, 1);
		return;
	}
	s->event.datagram.length = length;
	flags = wake_flags();
	if (bpf_ringbuf_output(&datagram_ring, s, sizeof(s->event) + length, flags))
		count(COUNT_QUIC_LOST, 1);
	wake_after(&datagram_ring, flags);
}

#endif
