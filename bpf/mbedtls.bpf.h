/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Mbed TLS: the PRF of TLS 1.2, as two calls of HMAC, and the key schedule of TLS 1.3. */
#ifndef QTAP_MBEDTLS_H
#define QTAP_MBEDTLS_H

/* mbedtls_ssl_tls13_derive_secret(hash, secret, length, label, label_length, context,
 * context_length, is_hashed, output, output_length), since 3.2 */
SEC("uprobe/secret")
int secret_mbedtls_derive(struct pt_regs *ctx)
{
	char text[LABEL_BYTES] = {};
	u64 output[2] = {};
	u32 label;

	/* The shortest one of traffic; no NUL ends it. */
	if (PT_REGS_PARM5(ctx) < 11 || bpf_probe_read_user(text, 11, (void *)PT_REGS_PARM4(ctx)))
		return 0;
	label = traffic_label(text);
	/* The last two arguments. */
	if (label && !bpf_probe_read_user(output, sizeof(output), (void *)NINTH_ARG(ctx)))
		begin_derivation(label, output[0], output[1], 0);
	return 0;
}

SEC("uretprobe/secret")
int secret_mbedtls_derive_return(struct pt_regs *ctx)
{
	return end_derivation();
}

/* mbedtls_md_hmac_starts(context, key, length) */
SEC("uprobe/secret")
int secret_mbedtls_starts(struct pt_regs *ctx)
{
	u64 pid_tgid = bpf_get_current_pid_tgid();
	struct derivation *derivation = bpf_map_lookup_elem(&derivations, &pid_tgid);

	/* Not one of those within the derivation of TLS 1.3. */
	if (PT_REGS_PARM3(ctx) == MASTER_BYTES &&
	    (!derivation || derivation->label == SECRET_MASTER))
		begin_derivation(SECRET_MASTER, PT_REGS_PARM2(ctx), MASTER_BYTES, 0);
	return 0;
}

/* mbedtls_md_hmac_update(context, data, length): "key expansion", server random, client random,
 * right behind the call above in this thread, whose key its caller still holds. */
SEC("uprobe/secret")
int secret_mbedtls_update(struct pt_regs *ctx)
{
	u64 pid_tgid = bpf_get_current_pid_tgid(), data = PT_REGS_PARM2(ctx);
	struct derivation *derivation = bpf_map_lookup_elem(&derivations, &pid_tgid);
	u64 master;

	if (!derivation || derivation->label != SECRET_MASTER)
		return 0;
	master = derivation->output;
	bpf_map_delete_elem(&derivations, &pid_tgid);
	if (PT_REGS_PARM3(ctx) == 13 + 2 * RANDOM_BYTES && is_key_expansion(data))
		emit_secret(SECRET_MASTER, master, MASTER_BYTES, data + 13 + RANDOM_BYTES);
	return 0;
}

#endif
