/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * TLS in the kernel (kTLS): a program makes its handshake, hands the keys of a direction to the
 * socket, and from then on moves plaintext by its system calls in that direction.
 *
 * It is recognised anew with each transfer, by what the socket does then: so it holds for
 * connections older than the agent too, and changes with the byte with which the socket changes.
 */
#ifndef QTAP_KTLS_H
#define QTAP_KTLS_H

enum {
	/* include/linux/socket.h, include/uapi/linux/tls.h */
	SOL_TLS = 282,
	TLS_SET_RECORD_TYPE = 1,
	TLS_GET_RECORD_TYPE = 2,
};

/* The beginning of a control message of user space, with the type of a record. */
struct record_control {
	u64 length;
	s32 level;
	s32 type;
	u8 content;
} __attribute__((packed));

/* Whether something lies on top of TCP, which few sockets have. */
static __always_inline bool has_layer(struct sock *sk)
{
	if (CAN_CAST)
		return CAST(sk, inet_connection_sock)->icsk_ulp_ops;
	return BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_ulp_ops);
}

/* Whether the kernel protects what is sent, or what is received, on the socket with such a layer:
 * it does so by functions other than those that the socket was made with. */
static __noinline int is_kernel_tls(struct sock *sk, u32 direction)
{
	const struct tcp_ulp_ops *layer =
		BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_ulp_ops);
	struct proto *now, *first;
	u32 name = 0;

	if (!layer)
		return 0;
	bpf_probe_read_kernel(&name, sizeof(name),
			      (void *)layer + bpf_core_field_offset(struct tcp_ulp_ops, name));
	/* "tls" and its NUL. */
	if (name != 0x00736c74)
		return 0;
	now = BPF_CORE_READ(sk, __sk_common.skc_prot);
	first = BPF_CORE_READ(sk, sk_prot_creator);
	if (direction == DIRECTION_EGRESS)
		return BPF_CORE_READ(now, sendmsg) != BPF_CORE_READ(first, sendmsg);
	return BPF_CORE_READ(now, recvmsg) != BPF_CORE_READ(first, recvmsg);
}

/* Whether a message is of TLS itself, a handshake or an alert: its control message says so. */
static __always_inline bool is_record_control(const struct source *from)
{
	struct record_control control;

	if (from->control_length < sizeof(control) ||
	    bpf_probe_read_user(&control, sizeof(control), (void *)from->control))
		return false;
	return control.level == SOL_TLS && control.length >= sizeof(control) &&
	       (control.type == TLS_SET_RECORD_TYPE || control.type == TLS_GET_RECORD_TYPE) &&
	       control.content != TLS_APPLICATION_DATA;
}

#endif
