/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Datagrams of DNS, which tell what the addresses are called that programs connect to, and of QUIC
 * (quic.bpf.h). Only those that look like it are copied, whatever their port.
 */
#ifndef QTAP_DATAGRAM_H
#define QTAP_DATAGRAM_H

/* RFC 1035, section 4.1.1; all in network byte order. */
struct dns_header {
	__be16 id;
	__be16 flags;
	__be16 questions;
	__be16 answers;
	__be16 authorities;
	__be16 additionals;
};

enum {
	DNS_RESPONSE = 0x8000,
	DNS_OPCODE = 0x7800,
	/* Zero in every message (RFC 1035, RFC 2535). */
	DNS_RESERVED = 0x0040,
	DNS_RCODE = 0x000f,
	/* More than this does not fit in what is copied. */
	DNS_RECORDS = 128,
	/* Of a query: EDNS and a signature. */
	DNS_QUERY_ADDITIONALS = 2,
};

/* A standard query or its answer, with one question, as all programs send them. */
static __always_inline bool looks_like_dns(const struct dns_header *header)
{
	u16 flags = bpf_ntohs(header->flags);

	if (flags & (DNS_OPCODE | DNS_RESERVED) || bpf_ntohs(header->questions) != 1)
		return false;
	if (flags & DNS_RESPONSE)
		return bpf_ntohs(header->answers) <= DNS_RECORDS &&
		       bpf_ntohs(header->authorities) <= DNS_RECORDS &&
		       bpf_ntohs(header->additionals) <= DNS_RECORDS;
	return !(flags & DNS_RCODE) && !header->answers && !header->authorities &&
	       bpf_ntohs(header->additionals) <= DNS_QUERY_ADDITIONALS;
}

/* Notes for send_datagram() whom the call itself names as peer, which the socket need not know. */
static __always_inline void note_peer(u64 name)
{
	struct datagram_scratch *s;
	u32 zero = 0;

	if (!settings.dns_queries)
		return;
	s = bpf_map_lookup_elem(&datagram_scratches, &zero);
	if (s)
		s->name = name;
}

/* Takes the peer over from the sockaddr that was noted, if there is one. */
static __always_inline void read_peer(struct datagram_scratch *s)
{
	struct {
		u16 family;
		__be16 port;
		__be32 ipv4;
	} name;

	if (!settings.dns_queries || !s->name ||
	    bpf_probe_read_user(&name, sizeof(name), (void *)s->name))
		return;
	if (name.family == AF_INET) {
		map_ipv4(s->event.remote_address, name.ipv4);
	} else if (name.family != AF_INET6 ||
		   bpf_probe_read_user(s->event.remote_address, 16,
				       (void *)(s->name + sizeof(name)))) {
		return;
	}
	s->event.remote_port = bpf_ntohs(name.port);
}

/* `room` bytes at `buffer` have the datagram or its beginning. Returns whether it is one of QUIC,
 * which is left to send_quic(). */
static __noinline int send_datagram(struct sock *sk, u32 direction, u64 bytes, u64 buffer, u64 room)
{
	u64 pid_tgid = bpf_get_current_pid_tgid(), length, flags;
	struct dns_header header;
	struct datagram_scratch *s;
	u32 zero = 0;

	length = bytes < room ? bytes : room;
	if (length < sizeof(header) || bpf_probe_read_user(&header, sizeof(header), (void *)buffer))
		return 0;
	if (!looks_like_dns(&header))
		return looks_like_quic((const u8 *)&header, bytes);
	if (!settings.dns_queries &&
	    (direction != DIRECTION_INGRESS || !(header.flags & bpf_htons(DNS_RESPONSE))))
		return 0;
	if (pid_tgid >> 32 == settings.own_pid || is_ignored(pid_tgid >> 32))
		return 0;
	s = bpf_map_lookup_elem(&datagram_scratches, &zero);
	if (!s || !sk)
		return 0;
	read_endpoints(&s->ends, sk);
	s->event.kind = EVENT_DATAGRAM;
	s->event.direction = direction;
	s->event.time = bpf_ktime_get_ns();
	s->event.socket = (u64)sk;
	s->event.pid = pid_tgid >> 32;
	s->event.tid = pid_tgid;
	s->event.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	s->event.bytes = bytes;
	s->event.local_port = s->ends.local_port;
	s->event.remote_port = s->ends.remote_port;
	__builtin_memcpy(s->event.local_address, s->ends.local_address, 16);
	__builtin_memcpy(s->event.remote_address, s->ends.remote_address, 16);
	read_peer(s);
	if (length > DATAGRAM_BYTES)
		length = DATAGRAM_BYTES;
	barrier_var(length);
	if (length > DATAGRAM_BYTES || bpf_probe_read_user(s->payload, length, (void *)buffer)) {
		count(COUNT_DATAGRAMS_LOST, 1);
		return 0;
	}
	s->event.length = length;
	flags = wake_flags();
	if (bpf_ringbuf_output(&datagram_ring, s, sizeof(s->event) + length, flags))
		count(COUNT_DATAGRAMS_LOST, 1);
	wake_after(&datagram_ring, flags);
	return 0;
}

/* One datagram that a call moved: in `buffer`, or in the buffers that are listed at `vector`, the
 * first of which has the beginning. */
static __always_inline void datagram(struct sock *sk, u32 direction, u64 bytes, u64 buffer,
				     u64 vector, u64 name, u32 loss)
{
	struct user_vector first = {.base = buffer, .length = bytes};
	struct quic_scratch *s;
	u32 zero = 0;

	if (quic_seen)
		count_quic(sk, direction, bytes, direction == DIRECTION_EGRESS ? name : 0, loss);
	if (loss)
		return;
	if (vector && bpf_probe_read_user(&first, sizeof(first), (void *)vector))
		return;
	note_peer(name);
	if (!send_datagram(sk, direction, bytes, first.base, first.length))
		return;
	s = bpf_map_lookup_elem(&quic_scratches, &zero);
	if (!s)
		return;
	s->at.bytes = bytes;
	s->at.buffer = first.base;
	s->at.length = bytes < first.length ? bytes : first.length;
	s->at.name = direction == DIRECTION_EGRESS ? name : 0;
	s->at.direction = direction;
	send_quic(sk);
}

/* Messages of one call that are looked at: a resolver asks for both kinds of addresses at once. */
enum { DATAGRAMS = 4 };

/* The datagrams that a call moved, as seen at its end; `result` is their number where they are
 * many, else the bytes of the only one. `bytes`: of all of them. */
static __always_inline void datagrams(struct sock *sk, u32 direction, u64 result, u64 bytes,
				      const struct source *from)
{
	u64 at, vector, name;
	u32 length;

	if (!from->message) {
		datagram(sk, direction, result, from->buffer, from->vector, from->name, from->loss);
		return;
	}
	for (int i = 0; i < DATAGRAMS; i++) {
		at = from->message + i * sizeof(struct user_mmessage);
		if (i >= result ||
		    bpf_probe_read_user(&vector, sizeof(vector),
					(void *)(at + __builtin_offsetof(struct user_mmessage,
									 message.vector))) ||
		    bpf_probe_read_user(&name, sizeof(name),
					(void *)(at + __builtin_offsetof(struct user_mmessage,
									 message.name))) ||
		    bpf_probe_read_user(
			    &length, sizeof(length),
			    (void *)(at + __builtin_offsetof(struct user_mmessage, length))))
			break;
		bytes -= length;
		datagram(sk, direction, length, 0, vector, name, LOSS_NONE);
	}
	if (quic_seen && result > DATAGRAMS)
		count_quic(sk, direction, bytes, 0, 1);
}

#endif
