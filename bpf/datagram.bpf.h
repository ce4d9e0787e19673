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

/* One datagram that a call moved; the first of its buffers has the beginning. */
static __always_inline void datagram(struct sock *sk, u32 direction, u64 bytes,
				     const struct source *from)
{
	struct user_vector first = {.base = from->buffer, .length = bytes};
	struct quic_datagram quic = {.bytes = bytes, .direction = direction};

	if (direction == DIRECTION_EGRESS)
		quic.name = from->name;
	if (quic_seen)
		count_quic(sk, direction, bytes, quic.name, from->loss);
	if (from->loss)
		return;
	if (from->vector && bpf_probe_read_user(&first, sizeof(first), (void *)from->vector))
		return;
	if (!send_datagram(sk, direction, bytes, first.base, first.length))
		return;
	quic.buffer = first.base;
	quic.length = bytes < first.length ? bytes : first.length;
	send_quic(sk, &quic);
}

/* Messages of one call that are looked at: a resolver asks for both kinds of addresses at once. */
enum { DATAGRAMS = 4 };

/* The datagrams that a call moved, as seen at its end; `result` is their number where they are
 * many, else the bytes of the only one. `bytes`: of all of them. */
static __always_inline void datagrams(struct sock *sk, u32 direction, u64 result, u64 bytes,
				      const struct source *from)
{
	struct source one = {};
	u32 length;
	u64 at;

	if (!from->message) {
		datagram(sk, direction, result, from);
		return;
	}
	for (int i = 0; i < DATAGRAMS; i++) {
		at = from->message + i * sizeof(struct user_mmessage);
		if (i >= result ||
		    bpf_probe_read_user(&one.vector, sizeof(one.vector),
					(void *)(at + __builtin_offsetof(struct user_mmessage,
									 message.vector))) ||
		    bpf_probe_read_user(&one.name, sizeof(one.name),
					(void *)(at + __builtin_offsetof(struct user_mmessage,
									 message.name))) ||
		    bpf_probe_read_user(
			    &length, sizeof(length),
			    (void *)(at + __builtin_offsetof(struct user_mmessage, length))))
			break;
		bytes -= length;
		datagram(sk, direction, length, &one);
	}
	if (quic_seen && result > DATAGRAMS)
		count_quic(sk, direction, bytes, 0, 1);
}

#endif
