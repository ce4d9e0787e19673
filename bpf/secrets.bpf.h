/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * TLS secrets, read where libraries derive them: once per handshake, nothing per record. Programs
 * that need the result note at entry where it will be, per thread, and read it at return.
 *
 * User space programs can be preempted here, so there is no per-CPU memory: records are built on
 * the stack.
 */
#ifndef QTAP_SECRETS_H
#define QTAP_SECRETS_H

#if defined(__TARGET_ARCH_x86)
/* Behind the return address. */
#define STACK_ARG(regs, n) ((u64)PT_REGS_SP(regs) + 8 * ((n) + 1))

static __always_inline u64 seventh(struct pt_regs *regs)
{
	u64 value = 0;

	bpf_probe_read_user(&value, sizeof(value), (void *)STACK_ARG(regs, 0));
	return value;
}

static __always_inline u64 eighth(struct pt_regs *regs)
{
	u64 value = 0;

	bpf_probe_read_user(&value, sizeof(value), (void *)STACK_ARG(regs, 1));
	return value;
}

/* Where the ninth argument is, and those behind it. */
#define NINTH_ARG(regs) STACK_ARG(regs, 2)
#else
#define seventh(regs)	(PT_REGS_PARM7(regs))
#define eighth(regs)	(PT_REGS_PARM8(regs))
#define NINTH_ARG(regs) ((u64)PT_REGS_SP(regs))
#endif

struct derivation {
	u64 output;
	u64 length;
	/* Where the length is written, if it is not known at entry. */
	u64 length_at;
	/* The function's address, if it may be another one. */
	u64 origin;
	u32 label;
	u32 reserved;
};

/*
 * Key: pid_tgid; value: the derivation this thread is in. Inserted at entry, removed at return and
 * when the thread exits. Full: the least recently used goes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, u64);
	__type(value, struct derivation);
	__uint(max_entries, 4096);
} derivations SEC(".maps");

enum {
	RANDOM_BYTES = 32,
	MASTER_BYTES = 48,
	LABEL_BYTES = 32,
	/* Of an OSSL_PARAM array. */
	PARAMETERS = 16,
};

/* `connection`: whose it most likely is, 0 when not known; `origin`: the function's address, if it
 * was or may have been inferred, so that it can be judged by what becomes of its secrets. */
static __always_inline void emit_secret_of(u64 connection, u64 origin, u32 label, u64 secret,
					   u64 length, u64 client_random)
{
	u64 pid_tgid = bpf_get_current_pid_tgid();
	struct event_secret event = {};

	if (length < 32 || length > SECRET_BYTES)
		return;
	if (pid_tgid >> 32 == settings.own_pid)
		return;
	event.head.kind = EVENT_SECRET;
	event.head.label = label;
	event.head.time = bpf_ktime_get_ns();
	event.head.pid = pid_tgid >> 32;
	event.head.tid = pid_tgid;
	event.head.length = length;
	event.head.connection = connection;
	event.head.origin = origin;
	/* The compiler knows the bound, the verifiers of 5.10 and 6.1 do not. */
	barrier_var(length);
	if (length > SECRET_BYTES || bpf_probe_read_user(event.secret, length, (void *)secret)) {
		count(COUNT_SECRETS_UNREADABLE, 1);
		return;
	}
	if (client_random &&
	    !bpf_probe_read_user(event.head.client_random, RANDOM_BYTES, (void *)client_random))
		event.head.has_client_random = 1;
	TRACE(TRACE_OPENSSL | TRACE_GNUTLS | TRACE_GOTLS, MESSAGE_SECRET, -1, length, 0, label, 0);
	if (emit_control(&event, sizeof(event)))
		count(COUNT_SECRETS_LOST, 1);
}

/*
 * Key: tgid and enum misfit; value: when it was last told. Inserted by misfit(), never removed.
 * Full: the least recently used goes, and is told again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, u64);
	__type(value, u64);
	__uint(max_entries, 256);
} misfits SEC(".maps");

/* What was hit looks otherwise than the function that it should be: tells user space, which takes
 * the probe off; at most once a second, as it may be hit often until then. */
static __always_inline void misfit(u32 function)
{
	struct event_misfit event = {
		.kind = EVENT_MISFIT,
		.pid = bpf_get_current_pid_tgid() >> 32,
		.time = bpf_ktime_get_ns(),
		.function = function,
	};
	u64 key = (u64)event.pid << 32 | function;
	u64 *told = bpf_map_lookup_elem(&misfits, &key);

	if (told && event.time - *told < 1000000000ULL)
		return;
	/* Without it the next hit tells again. */
	bpf_map_update_elem(&misfits, &key, &event.time, BPF_ANY);
	if (emit_control(&event, sizeof(event)))
		count(COUNT_SECRETS_LOST, 1);
}

static __always_inline void emit_inferred(u64 origin, u32 label, u64 secret, u64 length,
					  u64 client_random)
{
	u64 pid_tgid = bpf_get_current_pid_tgid();
	u64 *connection = bpf_map_lookup_elem(&handshakes, &pid_tgid);

	emit_secret_of(connection ? *connection : 0, origin, label, secret, length, client_random);
}

static __always_inline void emit_secret(u32 label, u64 secret, u64 length, u64 client_random)
{
	emit_inferred(0, label, secret, length, client_random);
}

/* RFC 8446 7.1 names, without "tls13 ": "c hs traffic", "s ap traffic", "c e traffic" ...; 0 for
 * others. */
static __always_inline u32 traffic_label(const char *text)
{
	bool client = text[0] == 'c';

	if ((!client && text[0] != 's') || text[1] != ' ')
		return 0;
	if (text[2] == 'h' && text[3] == 's' && text[4] == ' ' && text[5] == 't')
		return client ? SECRET_CLIENT_HANDSHAKE : SECRET_SERVER_HANDSHAKE;
	if (text[2] == 'a' && text[3] == 'p' && text[4] == ' ' && text[5] == 't')
		return client ? SECRET_CLIENT_TRAFFIC : SECRET_SERVER_TRAFFIC;
	if (client && text[2] == 'e' && text[3] == ' ' && text[4] == 't')
		return SECRET_CLIENT_EARLY;
	return 0;
}

/* The label of an HkdfLabel (RFC 8446 7.1) in user memory: length, then "tls13 " and the name, each
 * behind its own length. */
static __always_inline u32 hkdf_label(u64 info, u64 length)
{
	char text[LABEL_BYTES] = {};

	/* 2 bytes, 1 byte, "tls13 c e traffic", and 1 byte. */
	if (length < 21 || bpf_probe_read_user(text, 21, (void *)info))
		return 0;
	if (text[3] != 't' || text[4] != 'l' || text[5] != 's' || text[6] != '1' ||
	    text[7] != '3' || text[8] != ' ')
		return 0;
	return traffic_label(text + 9);
}

static __always_inline bool is_key_expansion(u64 text)
{
	char start[16] = {};

	return !bpf_probe_read_user(start, 13, (void *)text) && start[0] == 'k' &&
	       start[1] == 'e' && start[2] == 'y' && start[3] == ' ' && start[4] == 'e' &&
	       start[5] == 'x' && start[6] == 'p' && start[12] == 'n';
}

static __always_inline void begin_inferred(u64 origin, u32 label, u64 output, u64 length,
					   u64 length_at)
{
	u64 pid_tgid = bpf_get_current_pid_tgid();
	struct derivation derivation = {
		.origin = origin,
		.label = label,
		.output = output,
		.length = length,
		.length_at = length_at,
	};

	if (bpf_map_update_elem(&derivations, &pid_tgid, &derivation, BPF_ANY))
		count(COUNT_SECRETS_LOST, 1);
}

static __always_inline void begin_derivation(u32 label, u64 output, u64 length, u64 length_at)
{
	begin_inferred(0, label, output, length, length_at);
}

static __always_inline int end_derivation(void)
{
	u64 pid_tgid = bpf_get_current_pid_tgid(), length;
	struct derivation *derivation = bpf_map_lookup_elem(&derivations, &pid_tgid);

	if (!derivation)
		return 0;
	length = derivation->length;
	if (derivation->length_at &&
	    bpf_probe_read_user(&length, sizeof(length), (void *)derivation->length_at))
		count(COUNT_SECRETS_UNREADABLE, 1);
	else
		emit_secret(derivation->label, derivation->output, length, 0);
	bpf_map_delete_elem(&derivations, &pid_tgid);
	return 0;
}

/* Both with their NUL. */
static __always_inline bool same(const char *text, const char *literal, u32 size)
{
	for (u32 i = 0; i < size; i++) {
		if (text[i] != literal[i])
			return false;
	}
	return true;
}

#define IS(text, literal) same(text, literal, sizeof(literal))

/* ssl_log_secret(ssl, label, secret, length), OpenSSL and BoringSSL: called whether or not anyone
 * wants a key log. */
SEC("uprobe/secret")
int secret_log(struct pt_regs *ctx)
{
	char text[LABEL_BYTES] = {};
	u32 label = 0;

	/* A text that is not in memory yet says nothing. */
	if (bpf_probe_read_user_str(text, sizeof(text), (void *)PT_REGS_PARM2(ctx)) < 0)
		return 0;
	/* CLIENT_..., SERVER_..., EXPORTER_SECRET, EARLY_EXPORTER_SECRET, ECH_SECRET, ECH_CONFIG.
	 */
	if ((text[0] != 'C' && text[0] != 'S' && text[0] != 'E') || text[1] < 'A' ||
	    text[1] > 'Z') {
		misfit(MISFIT_LOG_SECRET);
		return 0;
	}
	if (IS(text, "CLIENT_RANDOM"))
		label = SECRET_MASTER;
	else if (IS(text, "CLIENT_TRAFFIC_SECRET_0"))
		label = SECRET_CLIENT_TRAFFIC;
	else if (IS(text, "SERVER_TRAFFIC_SECRET_0"))
		label = SECRET_SERVER_TRAFFIC;
	else if (IS(text, "CLIENT_HANDSHAKE_TRAFFIC_SECRET"))
		label = SECRET_CLIENT_HANDSHAKE;
	else if (IS(text, "SERVER_HANDSHAKE_TRAFFIC_SECRET"))
		label = SECRET_SERVER_HANDSHAKE;
	else if (IS(text, "CLIENT_EARLY_TRAFFIC_SECRET"))
		label = SECRET_CLIENT_EARLY;
	if (label)
		emit_inferred(PT_REGS_IP(ctx), label, PT_REGS_PARM3(ctx), PT_REGS_PARM4(ctx), 0);
	return 0;
}

/* OSSL_PARAM of OpenSSL 3. */
struct parameter {
	u64 name;
	u32 type;
	u32 padding;
	u64 data;
	u64 size;
	u64 returned;
};

/* The names as they lie in memory, to compare them at once. */
#define NAME_LABEL  0x000000006c6562616cULL
#define NAME_SEED   0x0000000064656573ULL
#define NAME_SECRET 0x0000746572636573ULL

/* Where the n-th parameter of that name is, in an array in user memory; 0 if there is none. */
__noinline u64 find_parameter(u64 array, u64 name, u32 nth)
{
	struct parameter parameter;

	for (int i = 0; i < PARAMETERS; i++) {
		u64 at = array + i * sizeof(parameter), found = 0;

		if (bpf_probe_read_user(&parameter, sizeof(parameter), (void *)at) ||
		    !parameter.name)
			return 0;
		bpf_probe_read_user_str(&found, sizeof(found), (void *)parameter.name);
		if (found == name) {
			if (!nth)
				return at;
			nth--;
		}
	}
	return 0;
}

static __always_inline bool read_parameter(struct parameter *to, u64 array, u64 name, u32 nth)
{
	u64 at = find_parameter(array, name, nth);

	return at && !bpf_probe_read_user(to, sizeof(*to), (void *)at);
}

/* EVP_KDF_derive(ctx, out, length, params) of OpenSSL 3. */
SEC("uprobe/secret")
int secret_evp_kdf(struct pt_regs *ctx)
{
	struct parameter parameter, client_random;
	u64 array = PT_REGS_PARM4(ctx);
	char text[LABEL_BYTES] = {};
	u32 label;

	if (!array)
		return 0;
	if (read_parameter(&parameter, array, NAME_LABEL, 0)) {
		if (parameter.size < 11 || bpf_probe_read_user(text, 11, (void *)parameter.data))
			return 0;
		label = traffic_label(text);
		if (label)
			begin_derivation(label, PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx), 0);
		return 0;
	}
	/* TLS 1.2: "key expansion", server random, client random. */
	if (!read_parameter(&parameter, array, NAME_SEED, 0) || !is_key_expansion(parameter.data))
		return 0;
	if (read_parameter(&client_random, array, NAME_SEED, 2) &&
	    read_parameter(&parameter, array, NAME_SECRET, 0) && parameter.size == MASTER_BYTES)
		emit_secret(SECRET_MASTER, parameter.data, MASTER_BYTES, client_random.data);
	return 0;
}

SEC("uretprobe/secret")
int secret_evp_kdf_return(struct pt_regs *ctx)
{
	return end_derivation();
}

/* EVP_PKEY_derive(ctx, out, &length) of OpenSSL 1.1.1, which has its inputs in the context (layout
 * of 1.1.1, 64 bits). */
SEC("uprobe/secret")
int secret_evp_pkey(struct pt_regs *ctx)
{
	u64 context = PT_REGS_PARM1(ctx), method = 0, data = 0, length = 0, secret = 0;
	u32 kind = 0, mode = 0, label;

	if (!PT_REGS_PARM2(ctx) || bpf_probe_read_user(&method, sizeof(method), (void *)context) ||
	    bpf_probe_read_user(&kind, sizeof(kind), (void *)method))
		return 0;
	/* NID_hkdf, NID_tls1_prf; all others are key exchanges. */
	if (kind != 1036 && kind != 1021)
		return 0;
	if (bpf_probe_read_user(&data, sizeof(data), (void *)(context + 40)))
		return 0;
	if (kind == 1036) {
		bpf_probe_read_user(&mode, sizeof(mode), (void *)data);
		bpf_probe_read_user(&length, sizeof(length), (void *)(data + 1072));
		label = hkdf_label(data + 48, length);
		/* 2: expand only. */
		if (mode == 2 && label)
			begin_derivation(label, PT_REGS_PARM2(ctx), 0, PT_REGS_PARM3(ctx));
		return 0;
	}
	bpf_probe_read_user(&length, sizeof(length), (void *)(data + 1048));
	if (length != 13 + 2 * RANDOM_BYTES || !is_key_expansion(data + 24))
		return 0;
	bpf_probe_read_user(&secret, sizeof(secret), (void *)(data + 8));
	bpf_probe_read_user(&length, sizeof(length), (void *)(data + 16));
	if (length == MASTER_BYTES)
		emit_secret(SECRET_MASTER, secret, length, data + 24 + 13 + RANDOM_BYTES);
	return 0;
}

SEC("uretprobe/secret")
int secret_evp_pkey_return(struct pt_regs *ctx)
{
	return end_derivation();
}

/* nettle_hkdf_expand(mac, update, digest, digest_size, info_size, info, length, output). */
SEC("uprobe/secret")
int secret_nettle(struct pt_regs *ctx)
{
	u32 label = hkdf_label(PT_REGS_PARM6(ctx), PT_REGS_PARM5(ctx));

	if (label)
		begin_derivation(label, eighth(ctx), seventh(ctx), 0);
	return 0;
}

SEC("uretprobe/secret")
int secret_nettle_return(struct pt_regs *ctx)
{
	return end_derivation();
}

/* _gnutls_prf_raw(mac, master_size, master, label_size, label, seed_size, seed, ...): TLS 1.2 and
 * older. */
SEC("uprobe/secret")
int secret_gnutls_prf(struct pt_regs *ctx)
{
	if (PT_REGS_PARM2(ctx) != MASTER_BYTES || PT_REGS_PARM4(ctx) != 13 ||
	    PT_REGS_PARM6(ctx) != 2 * RANDOM_BYTES || !is_key_expansion(PT_REGS_PARM5(ctx)))
		return 0;
	emit_secret(SECRET_MASTER, PT_REGS_PARM3(ctx), MASTER_BYTES, seventh(ctx) + RANDOM_BYTES);
	return 0;
}

#endif
