/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * TLS secrets of Go programs, at the entry of functions of crypto/tls. Goroutines move between
 * threads and their stacks move in memory: nothing is kept by thread, nothing is probed at a
 * return, and the thread is no hint whose a secret is. The client random comes with it.
 */
#ifndef QTAP_GO_H
#define QTAP_GO_H

/* The n-th word of arguments. A string is two words, a slice three. */
#if defined(__TARGET_ARCH_x86)
/* ABIInternal of Go 1.17 and newer. */
#define GO_ARG1(context) ((context)->bx)
#define GO_ARG2(context) ((context)->cx)
#define GO_ARG3(context) ((context)->di)
#define GO_ARG4(context) ((context)->si)
#define GO_ARG5(context) ((context)->r8)
#define GO_ARG6(context) ((context)->r9)
#define GO_ARG7(context) ((context)->r10)
#else
/* Of Go 1.18 and newer. */
#define GO_ARG1(context) ((context)->regs[1])
#define GO_ARG2(context) ((context)->regs[2])
#define GO_ARG3(context) ((context)->regs[3])
#define GO_ARG4(context) ((context)->regs[4])
#define GO_ARG5(context) ((context)->regs[5])
#define GO_ARG6(context) ((context)->regs[6])
#define GO_ARG7(context) ((context)->regs[7])
#endif

/* A key-log label of TLS 1.3, filled up with NULs; 0 for others. CLIENT_RANDOM, of TLS 1.2, comes
 * from where its keys are derived, also when a session is resumed. */
static __always_inline u32 go_label(const char *text)
{
	if (IS(text, "CLIENT_TRAFFIC_SECRET_0"))
		return SECRET_CLIENT_TRAFFIC;
	if (IS(text, "SERVER_TRAFFIC_SECRET_0"))
		return SECRET_SERVER_TRAFFIC;
	if (IS(text, "CLIENT_HANDSHAKE_TRAFFIC_SECRET"))
		return SECRET_CLIENT_HANDSHAKE;
	if (IS(text, "SERVER_HANDSHAKE_TRAFFIC_SECRET"))
		return SECRET_SERVER_HANDSHAKE;
	if (IS(text, "CLIENT_EARLY_TRAFFIC_SECRET"))
		return SECRET_CLIENT_EARLY;
	return 0;
}

/* (*Config).writeKeyLog(label string, clientRandom, secret []byte): called whether or not the
 * program wants a key log. */
SEC("uprobe/secret")
int secret_go_key_log(struct pt_regs *ctx)
{
	u64 length = GO_ARG2(ctx);
	char text[LABEL_BYTES] = {};
	u32 label;

	if (length >= LABEL_BYTES || GO_ARG4(ctx) != RANDOM_BYTES ||
	    bpf_probe_read_user(text, length & (LABEL_BYTES - 1), (void *)GO_ARG1(ctx))) {
		count(COUNT_SECRETS_UNREADABLE, 1);
		return 0;
	}
	label = go_label(text);
	if (label)
		emit_secret_of(0, PT_REGS_IP(ctx), label, GO_ARG6(ctx), GO_ARG7(ctx), GO_ARG3(ctx));
	return 0;
}

/* keysFromMasterSecret(version uint16, suite *cipherSuite, masterSecret, clientRandom,
 * serverRandom []byte, ...): TLS 1.2 and older, sessions that are resumed too. */
SEC("uprobe/secret")
int secret_go_master_keys(struct pt_regs *ctx)
{
	if (GO_ARG3(ctx) != MASTER_BYTES || GO_ARG6(ctx) != RANDOM_BYTES) {
		count(COUNT_SECRETS_UNREADABLE, 1);
		return 0;
	}
	emit_secret_of(0, PT_REGS_IP(ctx), SECRET_MASTER, GO_ARG2(ctx), MASTER_BYTES, GO_ARG5(ctx));
	return 0;
}

#endif
