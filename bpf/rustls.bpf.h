/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * rustls. Rust's ABI is not fixed: only the pointer to the result, which comes first, and `self`
 * are relied on, and what is read must look as it should, or is counted and left alone.
 */
#ifndef QTAP_RUSTLS_H
#define QTAP_RUSTLS_H

#if defined(__TARGET_ARCH_x86)
#define RESULT_POINTER(context)	    PT_REGS_PARM1(context)
#define SELF_BEHIND_RESULT(context) PT_REGS_PARM2(context)
#else
#define RESULT_POINTER(context)	    ((context)->regs[8])
#define SELF_BEHIND_RESULT(context) PT_REGS_PARM1(context)
#endif

enum {
	/* OkmBlock: 64 bytes, of which the first are used, and how many. */
	OKM_USED_AT = 64,
	/* ConnectionSecrets. */
	SECRETS_CLIENT_RANDOM_AT = 8,
	SECRETS_MASTER_AT = 72,
};

/* KeySchedule::derive_logged_secret(&self, kind, transcript hash, key log, client random) ->
 * OkmBlock. Which kind is in another register with each compiler. */
SEC("uprobe/secret")
int secret_rustls_derive(struct pt_regs *ctx)
{
	u64 result = RESULT_POINTER(ctx);

	begin_inferred(PT_REGS_IP(ctx), SECRET_UNNAMED, result, 0, result + OKM_USED_AT);
	return 0;
}

SEC("uretprobe/secret")
int secret_rustls_derive_return(struct pt_regs *ctx)
{
	u64 pid_tgid = bpf_get_current_pid_tgid(), length = 0, rest = 1;
	struct derivation *derivation = bpf_map_lookup_elem(&derivations, &pid_tgid);
	u64 result, origin;

	if (!derivation)
		return 0;
	result = derivation->output;
	origin = derivation->origin;
	bpf_map_delete_elem(&derivations, &pid_tgid);
	if (bpf_probe_read_user(&length, sizeof(length), (void *)(result + OKM_USED_AT))) {
		count(COUNT_SECRETS_UNREADABLE, 1);
		return 0;
	}
	/* What a hash of 32 or 48 bytes leaves of the 64 is zero. */
	if ((length != 32 && length != 48) ||
	    bpf_probe_read_user(&rest, sizeof(rest), (void *)(result + length)) || rest) {
		misfit(MISFIT_RUSTLS_DERIVE);
		return 0;
	}
	emit_inferred(origin, SECRET_UNNAMED, result, length, 0);
	return 0;
}

/* ConnectionSecrets::make_key_block(&self) -> Vec<u8>: TLS 1.2. */
SEC("uprobe/secret")
int secret_rustls_key_block(struct pt_regs *ctx)
{
	u64 self = SELF_BEHIND_RESULT(ctx);

	emit_inferred(PT_REGS_IP(ctx), SECRET_MASTER, self + SECRETS_MASTER_AT, MASTER_BYTES,
		      self + SECRETS_CLIENT_RANDOM_AT);
	return 0;
}

#endif
