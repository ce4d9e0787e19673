/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Mbed TLS: the PRF of TLS 1.2, as two calls of HMAC. */
#ifndef QTAP_MBEDTLS_H
#define QTAP_MBEDTLS_H

/* mbedtls_md_hmac_starts(context, key, length) */
SEC("uprobe/secret")
int secret_mbedtls_starts(struct pt_regs *ctx)
{
	if (PT_REGS_PARM3(ctx) == MASTER_BYTES)
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

	if (!derivation)
		return 0;
	master = derivation->output;
	bpf_map_delete_elem(&derivations, &pid_tgid);
	if (PT_REGS_PARM3(ctx) == 13 + 2 * RANDOM_BYTES && is_key_expansion(data))
		emit_secret(SECRET_MASTER, master, MASTER_BYTES, data + 13 + RANDOM_BYTES);
	return 0;
}

#endif
