/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* wolfSSL. */
#ifndef QTAP_WOLFSSL_H
#define QTAP_WOLFSSL_H

/* wc_Tls13_HKDF_Expand_Label(okm, okm_length, prk, prk_length, protocol, protocol_length, label,
 * label_length, info, info_length, digest) */
SEC("uprobe/secret")
int secret_wolfssl_label(struct pt_regs *ctx)
{
	char text[LABEL_BYTES] = {};
	u32 label;

	/* The shortest one of traffic; no NUL ends it. */
	if ((u32)eighth(ctx) < 11 || bpf_probe_read_user(text, 11, (void *)seventh(ctx)))
		return 0;
	label = traffic_label(text);
	if (label)
		begin_derivation(label, PT_REGS_PARM1(ctx), (u32)PT_REGS_PARM2(ctx), 0);
	return 0;
}

SEC("uretprobe/secret")
int secret_wolfssl_label_return(struct pt_regs *ctx)
{
	return end_derivation();
}

/* wc_PRF_TLS(out, out_length, secret, secret_length, label, label_length, seed, seed_length, ...)
 */
SEC("uprobe/secret")
int secret_wolfssl_prf(struct pt_regs *ctx)
{
	if ((u32)PT_REGS_PARM4(ctx) != MASTER_BYTES || (u32)PT_REGS_PARM6(ctx) != 13 ||
	    (u32)eighth(ctx) != 2 * RANDOM_BYTES || !is_key_expansion(PT_REGS_PARM5(ctx)))
		return 0;
	emit_secret(SECRET_MASTER, PT_REGS_PARM3(ctx), MASTER_BYTES, seventh(ctx) + RANDOM_BYTES);
	return 0;
}

#endif
