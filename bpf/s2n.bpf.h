/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* s2n-tls. Bytes are passed as blobs. */
#ifndef QTAP_S2N_H
#define QTAP_S2N_H

/* The beginning of struct s2n_blob. */
struct s2n_blob {
	u64 data;
	u32 size;
	u32 allocated;
};

static __always_inline bool read_blob(struct s2n_blob *blob, u64 address)
{
	return address && !bpf_probe_read_user(blob, sizeof(*blob), (void *)address);
}

/* s2n_derive_secret_with_context(connection, input_type, label, transcript_end, output): each
 * traffic secret, and those of the exporter and of resumption. */
SEC("uprobe/secret")
int secret_s2n_derive(struct pt_regs *ctx)
{
	struct s2n_blob name, output;
	char text[LABEL_BYTES] = {};
	u32 label;

	/* A blob that is not in memory yet says nothing. */
	if (!read_blob(&name, PT_REGS_PARM3(ctx)) || !read_blob(&output, PT_REGS_PARM5(ctx)))
		return 0;
	/* "res master" to "c hs traffic" and what may be called so in times to come. */
	if (name.size < 9 || name.size > 20 || bpf_probe_read_user(text, 10, (void *)name.data) ||
	    !(text[1] == ' ' || text[3] == ' ')) {
		misfit(MISFIT_S2N_DERIVE);
		return 0;
	}
	label = traffic_label(text);
	if (label)
		begin_derivation(label, output.data, output.size, 0);
	return 0;
}

SEC("uretprobe/secret")
int secret_s2n_derive_return(struct pt_regs *ctx)
{
	return end_derivation();
}

/* Whether a label may be one of those that the PRF is given: "master secret" to "extended master
 * secret". */
static __always_inline bool is_prf_label(const struct s2n_blob *label)
{
	char first = 0;

	return label->size >= 13 && label->size <= 22 &&
	       !bpf_probe_read_user(&first, 1, (void *)label->data) && first >= 'a' && first <= 'z';
}

/* s2n_prf(connection, secret, label, seed_a, seed_b, seed_c, out): "key expansion", server random,
 * client random. */
SEC("uprobe/secret")
int secret_s2n_prf(struct pt_regs *ctx)
{
	struct s2n_blob secret, label, client_random;

	if (!read_blob(&label, PT_REGS_PARM3(ctx)))
		return 0;
	if (!is_prf_label(&label)) {
		misfit(MISFIT_S2N_PRF);
		return 0;
	}
	if (label.size != 13 || !is_key_expansion(label.data))
		return 0;
	if (read_blob(&secret, PT_REGS_PARM2(ctx)) && secret.size == MASTER_BYTES &&
	    read_blob(&client_random, PT_REGS_PARM5(ctx)) && client_random.size == RANDOM_BYTES)
		emit_secret(SECRET_MASTER, secret.data, MASTER_BYTES, client_random.data);
	return 0;
}

#endif
