/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Plaintext from the read and write calls of TLS libraries. A program can be preempted here, so
 * records are reserved in the ring, in sizes that waste less than half, and filled there.
 */
#ifndef QTAP_CALLS_H
#define QTAP_CALLS_H

enum call_hook {
	/* A call that moves nothing. */
	HOOK_NONE = 0,
	/* Numbered as their trace messages. */
	HOOK_SSL_READ = MESSAGE_SSL_READ,
	HOOK_SSL_READ_EX,
	HOOK_SSL_WRITE,
	HOOK_SSL_WRITE_EX,
	HOOK_GNUTLS_RECV,
	HOOK_GNUTLS_SEND,
	HOOK_GO_READ = MESSAGE_GO_READ,
	HOOK_GO_WRITE,
};

/* Records of one call, which makes 4 MiB. */
enum { CALL_CHUNKS = 128 };

/* Odd, with bits all over: 2^64 by the golden ratio. Keeps apart what differs little. */
#define SPREAD 0x9e3779b97f4a7c15ULL

static __always_inline int enter_call(u32 hook, u64 object, u64 buffer, u64 length_at)
{
	u64 pid_tgid = bpf_get_current_pid_tgid();
	struct frames *all, fresh = {};
	struct frame *frame;
	u32 depth;

	if (pid_tgid >> 32 == settings.own_pid)
		return 0;
	all = bpf_map_lookup_elem(&frames, &pid_tgid);
	if (!all) {
		fresh.depth = 1;
		fresh.stack[0].hook = hook;
		fresh.stack[0].object = object;
		fresh.stack[0].buffer = buffer;
		fresh.stack[0].length_at = length_at;
		if (bpf_map_update_elem(&frames, &pid_tgid, &fresh, BPF_NOEXIST))
			count(COUNT_FRAMES_FULL, 1);
		return 0;
	}
	depth = all->depth;
	all->depth = depth + 1;
	if (depth >= FRAMES) {
		count(COUNT_FRAMES_DEPTH, 1);
		return 0;
	}
	frame = &all->stack[depth & (FRAMES - 1)];
	frame->hook = hook;
	frame->object = object;
	frame->buffer = buffer;
	frame->length_at = length_at;
	frame->sock = 0;
	frame->connection = 0;
	return 0;
}

/* A record of a size that is known when the program is loaded, as reserving asks for. */
#define EMIT_SIZED(size)                                                                           \
	if (length <= (size)) {                                                                    \
		struct {                                                                           \
			struct event_data event;                                                   \
			u8 payload[size];                                                          \
		} *record = bpf_ringbuf_reserve(&data_ring, sizeof(*record), 0);                   \
                                                                                                   \
		if (!record)                                                                       \
			return -1;                                                                 \
		record->event = *event;                                                            \
		error = bpf_probe_read_user(record->payload, length, (void *)from);                \
		if (error) {                                                                       \
			record->event.length = 0;                                                  \
			record->event.missing = length + event->missing;                           \
			record->event.loss = LOSS_FAULT;                                           \
		}                                                                                  \
		bpf_ringbuf_submit(record, flags);                                                 \
		wake_after(&data_ring, flags);                                                     \
		return error ? 1 : 0;                                                              \
	}

/* 0: sent; 1: sent without payload, as the memory could not be read; -1: no room. */
static __always_inline int emit_call_chunk(const struct event_data *event, u64 from, u32 length)
{
	u64 flags;
	long error;

	if (drop_record())
		return -1;
	flags = data_wake_flags(true);
	EMIT_SIZED(256)
	EMIT_SIZED(512)
	EMIT_SIZED(1024)
	EMIT_SIZED(2048)
	EMIT_SIZED(4096)
	EMIT_SIZED(8192)
	EMIT_SIZED(16384)
	EMIT_SIZED(CHUNK_BYTES)
	return -1;
}

/* One record of what this thread has to send; 0 when that was the last. A function of its own is
 * verified once. */
__noinline int emit_call_step(u32 last)
{
	u64 pid_tgid = bpf_get_current_pid_tgid();
	struct frames *all = bpf_map_lookup_elem(&frames, &pid_tgid);
	struct emission *emission;
	u32 chunk, missing;
	int error;

	if (!all)
		return 0;
	emission = &all->emission;
	chunk = emission->copy < CHUNK_BYTES ? emission->copy : CHUNK_BYTES;
	if (!chunk)
		return 0;
	emission->copy -= chunk;
	emission->bytes -= chunk;
	/* The last record tells what is not copied. */
	missing = emission->copy && !last ? 0 : emission->bytes;
	emission->event.length = chunk;
	emission->event.missing = missing;
	emission->event.loss = missing ? LOSS_CALL_CAP : LOSS_NONE;
	error = emit_call_chunk(&emission->event, emission->from, chunk);
	if (error < 0) {
		count(COUNT_CALLS_BYTES_LOST, chunk + missing);
		emission->lost = 1;
	} else if (error)
		count_missing(LOSS_FAULT, chunk + missing);
	else if (missing)
		count_missing(LOSS_CALL_CAP, missing);
	emission->event.call_start = 0;
	emission->event.position += chunk;
	emission->from += chunk;
	return 1;
}

static __always_inline void emit_call(void)
{
	for (int i = 0; i < CALL_CHUNKS; i++) {
		if (!emit_call_step(i == CALL_CHUNKS - 1))
			break;
	}
}

/* The connection of a session: what it is known to be while that lives, else what this call
 * touched. Of Go it is found anew at each call: nobody tells when an object is freed, and its
 * address may be another's before the connection is gone. */
static __always_inline struct connection *connection_of(struct session *session,
							struct frame *frame, u64 pid)
{
	struct connection *conn;

	if (session->connection && frame->hook < HOOK_GO_READ) {
		conn = bpf_map_lookup_elem(&connections, &session->sock);
		if (conn && conn->id == session->connection)
			return conn;
	}
	if (!frame->connection)
		return NULL;
	conn = bpf_map_lookup_elem(&connections, &frame->sock);
	if (!conn || conn->id != frame->connection)
		return NULL;
	/*
	 * Calls before this one went without a connection. Those that user space could not tell
	 * whose they were are missing here: it has to know before an answer comes to one of them.
	 */
	if (!conn->calls_position[0] && !conn->calls_position[1]) {
		conn->calls_position[0] = conn->calls_lost_end[0] = session->position[0];
		conn->calls_position[1] = conn->calls_lost_end[1] = session->position[1];
	}
	session->sock = frame->sock;
	session->connection = frame->connection;
	conn->session_object = frame->object;
	conn->session_pid = pid;
	return conn;
}

static __always_inline u32 module_of(u32 hook)
{
	if (hook >= HOOK_GO_READ)
		return TRACE_GOTLS;
	return hook >= HOOK_GNUTLS_RECV ? TRACE_GNUTLS : TRACE_OPENSSL;
}

static __always_inline void plaintext(u64 pid_tgid, struct frames *all, struct frame *frame,
				      u32 direction, u64 bytes)
{
	struct session_key key = {.object = frame->object, .pid = pid_tgid >> 32};
	struct session *session = bpf_map_lookup_elem(&sessions, &key), fresh = {};
	u32 pid = pid_tgid >> 32, slot;
	u64 end;
	struct event_data *event = &all->emission.event;
	struct connection *conn;
	struct verdict *verdict;

	if (!session) {
		/* No other object of the process has the address at this time. */
		fresh.id = frame->object * SPREAD ^ bpf_ktime_get_ns();
		bpf_map_update_elem(&sessions, &key, &fresh, BPF_NOEXIST);
		session = bpf_map_lookup_elem(&sessions, &key);
		if (!session)
			return;
	}
	conn = connection_of(session, frame, pid);
	if (!bytes) {
		TRACE(module_of(frame->hook), MESSAGE_CALL_FAILED, -1, 0, conn ? conn->id : 0,
		      frame->object, direction);
		return;
	}
	TRACE(module_of(frame->hook), frame->hook, conn ? conn->fd : -1, bytes, conn ? conn->id : 0,
	      frame->object, direction);
	if (!conn)
		TRACE(module_of(frame->hook), MESSAGE_CALL_NO_CONNECTION, -1, bytes, 0,
		      frame->object, direction);
	event->kind = EVENT_DATA;
	event->direction = direction;
	event->layer = LAYER_CALLS;
	event->call_start = 1;
	event->time = bpf_ktime_get_ns();
	event->pid = pid;
	event->tid = pid_tgid;
	event->session = session->id;
	event->connection = 0;
	event->other_settled = 0;
	all->emission.lost = 0;
	if (conn) {
		if (conn->state == CONNECTION_FILTERED)
			return;
		event->connection = conn->id;
		event->other_settled = *(volatile u64 *)&conn->calls_lost_end[!direction];
		event->position = reserve_position(&conn->calls_position[direction & 1], bytes);
		slot = conn->id & (VERDICT_SLOTS - 1);
		verdict = bpf_map_lookup_elem(&verdicts, &slot);
		if (verdict && *(volatile u64 *)&verdict->connection == conn->id &&
		    !verdict->calls) {
			count(COUNT_SKIPPED_BYTES, bytes);
			return;
		}
		if (is_shed(conn)) {
			count(COUNT_SHED_CALLS_BYTES, bytes);
			*(volatile u64 *)&conn->calls_lost_end[direction & 1] =
				event->position + bytes;
			return;
		}
	} else {
		if (is_ignored(pid))
			return;
		event->other_settled = *(volatile u64 *)&session->lost_end[!direction];
		event->position = reserve_position(&session->position[direction & 1], bytes);
		if (settings.shed == SHED_ALL) {
			count(COUNT_SHED_CALLS_BYTES, bytes);
			*(volatile u64 *)&session->lost_end[direction & 1] =
				event->position + bytes;
			return;
		}
	}
	all->emission.from = frame->buffer;
	all->emission.bytes = bytes;
	all->emission.copy = bytes < settings.call_cap ? bytes : settings.call_cap;
	end = event->position + bytes;
	emit_call();
	if (!all->emission.lost)
		return;
	if (conn)
		*(volatile u64 *)&conn->calls_lost_end[direction & 1] = end;
	else
		*(volatile u64 *)&session->lost_end[direction & 1] = end;
}

static __always_inline int leave_call(struct pt_regs *ctx, u32 hook, u32 direction)
{
	s64 result = PT_REGS_RC(ctx);
	u64 pid_tgid = bpf_get_current_pid_tgid(), bytes = 0;
	struct frames *all = bpf_map_lookup_elem(&frames, &pid_tgid);
	struct frame *frame;
	u32 depth, index;

	if (!all)
		return 0;
	depth = all->depth;
	if (!depth) {
		bpf_map_delete_elem(&frames, &pid_tgid);
		return 0;
	}
	all->depth = depth - 1;
	if (depth <= FRAMES) {
		/* The compiler knows that the mask changes nothing; older verifiers do not. */
		index = depth - 1;
		barrier_var(index);
		frame = &all->stack[index & (FRAMES - 1)];
		if (frame->hook == hook) {
			/* The _ex functions return 1 or 0, the others an int or ssize_t. */
			if (hook == HOOK_SSL_READ_EX || hook == HOOK_SSL_WRITE_EX) {
				if ((s32)result == 1 && frame->length_at)
					bpf_probe_read_user(&bytes, sizeof(bytes),
							    (void *)frame->length_at);
			} else if (hook == HOOK_SSL_READ || hook == HOOK_SSL_WRITE) {
				if ((s32)result > 0)
					bytes = (s32)result;
			} else if (result > 0) {
				bytes = result;
			}
			plaintext(pid_tgid, all, frame, direction, bytes);
		}
	}
	if (depth == 1)
		bpf_map_delete_elem(&frames, &pid_tgid);
	return 0;
}

static __always_inline int free_object(u64 object)
{
	struct session_key key = {.object = object, .pid = bpf_get_current_pid_tgid() >> 32};

	bpf_map_delete_elem(&sessions, &key);
	return 0;
}

#define CALL_PROGRAMS(name, hook, direction, length_at)                                            \
	SEC("uprobe/call") int call_##name(struct pt_regs *ctx)                                    \
	{                                                                                          \
		return enter_call(hook, PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), length_at);        \
	}                                                                                          \
                                                                                                   \
	SEC("uretprobe/call") int call_##name##_return(struct pt_regs *ctx)                        \
	{                                                                                          \
		return leave_call(ctx, hook, direction);                                           \
	}

CALL_PROGRAMS(ssl_read, HOOK_SSL_READ, DIRECTION_INGRESS, 0)
CALL_PROGRAMS(ssl_read_ex, HOOK_SSL_READ_EX, DIRECTION_INGRESS, PT_REGS_PARM4(ctx))
CALL_PROGRAMS(ssl_write, HOOK_SSL_WRITE, DIRECTION_EGRESS, 0)
CALL_PROGRAMS(ssl_write_ex, HOOK_SSL_WRITE_EX, DIRECTION_EGRESS, PT_REGS_PARM4(ctx))
CALL_PROGRAMS(gnutls_recv, HOOK_GNUTLS_RECV, DIRECTION_INGRESS, 0)
CALL_PROGRAMS(gnutls_send, HOOK_GNUTLS_SEND, DIRECTION_EGRESS, 0)

/* ssl_SecureRecv(session, buffer, length, flags) of NSS, whose return is that of SSL_read. */
SEC("uprobe/call")
int call_nss_recv(struct pt_regs *ctx)
{
	u32 hook = PT_REGS_PARM4(ctx) & MSG_PEEK ? HOOK_NONE : HOOK_SSL_READ;

	return enter_call(hook, PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), 0);
}

SEC("uprobe/call")
int call_ssl_free(struct pt_regs *ctx)
{
	TRACE(TRACE_OPENSSL, MESSAGE_SSL_FREE, -1, 0, 0, PT_REGS_PARM1(ctx), 0);
	return free_object(PT_REGS_PARM1(ctx));
}

SEC("uprobe/call")
int call_gnutls_deinit(struct pt_regs *ctx)
{
	TRACE(TRACE_GNUTLS, MESSAGE_GNUTLS_DEINIT, -1, 0, 0, PT_REGS_PARM1(ctx), 0);
	return free_object(PT_REGS_PARM1(ctx));
}

#endif
