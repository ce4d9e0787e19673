/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * NSS. libnss3 knows what a key is for, and freebl, called by softoken below it, its bytes: the two
 * are joined by thread.
 */
#ifndef QTAP_NSS_H
#define QTAP_NSS_H

struct sec_item {
	u32 type;
	u32 padding;
	u64 data;
	u32 length;
	u32 padding2;
};

/* PK11_DeriveWithFlags(key, mechanism, parameter, ...): CK_HKDF_PARAMS has the HkdfLabel at 48. */
SEC("uprobe/secret")
int secret_nss_derive(struct pt_regs *ctx)
{
	u64 pid_tgid = bpf_get_current_pid_tgid();
	struct sec_item item = {};
	u64 info[2] = {};
	u32 label = 0;

	if (!bpf_probe_read_user(&item, sizeof(item), (void *)PT_REGS_PARM3(ctx)) &&
	    item.length >= 48 + sizeof(info) &&
	    !bpf_probe_read_user(info, sizeof(info), (void *)(item.data + 48)))
		label = hkdf_label(info[0], info[1]);
	if (label)
		begin_derivation(label, 0, 0, 0);
	else
		bpf_map_delete_elem(&derivations, &pid_tgid);
	return 0;
}

/* HMAC_Finish(context, result, result_length, max_length): the first block of what HKDF expands is
 * the whole secret. */
SEC("uprobe/secret")
int secret_nss_hmac(struct pt_regs *ctx)
{
	u64 pid_tgid = bpf_get_current_pid_tgid();
	struct derivation *derivation = bpf_map_lookup_elem(&derivations, &pid_tgid);

	if (derivation) {
		derivation->output = PT_REGS_PARM2(ctx);
		derivation->length_at = PT_REGS_PARM3(ctx);
	}
	return 0;
}

SEC("uretprobe/secret")
int secret_nss_hmac_return(struct pt_regs *ctx)
{
	u64 pid_tgid = bpf_get_current_pid_tgid();
	struct derivation *derivation = bpf_map_lookup_elem(&derivations, &pid_tgid);
	u32 length = 0;

	if (!derivation)
		return 0;
	if (bpf_probe_read_user(&length, sizeof(length), (void *)derivation->length_at))
		count(COUNT_SECRETS_UNREADABLE, 1);
	else
		emit_secret(derivation->label, derivation->output, length, 0);
	bpf_map_delete_elem(&derivations, &pid_tgid);
	return 0;
}

/* TLS_P_hash(hash, secret, label, seed, result, ...): items of SECItem. */
SEC("uprobe/secret")
int secret_nss_prf(struct pt_regs *ctx)
{
	struct sec_item secret = {}, seed = {};

	if (!is_key_expansion(PT_REGS_PARM3(ctx)) ||
	    bpf_probe_read_user(&secret, sizeof(secret), (void *)PT_REGS_PARM2(ctx)) ||
	    bpf_probe_read_user(&seed, sizeof(seed), (void *)PT_REGS_PARM4(ctx)))
		return 0;
	if (secret.length == MASTER_BYTES && seed.length == 2 * RANDOM_BYTES)
		emit_secret(SECRET_MASTER, secret.data, MASTER_BYTES, seed.data + RANDOM_BYTES);
	return 0;
}

#endif
