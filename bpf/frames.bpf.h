/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The TLS calls that threads are in, and which connection each touches: how plaintext finds its
 * connection. */
#ifndef QTAP_FRAMES_H
#define QTAP_FRAMES_H

enum { FRAMES = 4 };

struct frame {
	/* The library's session. */
	u64 object;
	u64 buffer;
	/* Where the number of bytes is written, or 0: it is the result. */
	u64 length_at;
	/* What the call touched, if anything. */
	u64 sock;
	u64 connection;
	u32 hook;
	u32 reserved;
};

/* What is left to send of a call that returned. */
struct emission {
	struct event_data event;
	u64 from;
	u64 bytes;
	u64 copy;
	/* The ring had no room for something. */
	u64 lost;
};

struct frames {
	u32 depth;
	u32 reserved;
	struct frame stack[FRAMES];
	struct emission emission;
};

/*
 * Key: pid_tgid; value: the TLS calls this thread is in, innermost last. Inserted at entry of the
 * outermost, removed at its return and when the thread exits. Full: counted (COUNT_FRAMES_FULL),
 * the call is not seen.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, u64);
	__type(value, struct frames);
	__uint(max_entries, 8192);
} frames SEC(".maps");

struct session_key {
	u64 object;
	u64 pid;
};

struct session {
	/* Its own, where the address of an object is used again: the next session has another. */
	u64 id;
	u64 sock;
	u64 connection;
	/* Of bytes that could not be attributed, and the ends of the last ones of them that were
	 * lost. */
	u64 position[2];
	u64 lost_end[2];
};

/*
 * Key: process and session object; value: its connection. Inserted at the first call that touches a
 * connection or moves bytes, removed when the library frees the object and when the connection
 * ends. Full: the least recently used goes, and is found again by its next touch; those of
 * processes that were killed before their object touched a connection go that way only.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct session_key);
	__type(value, struct session);
	__uint(max_entries, 16384);
} sessions SEC(".maps");

/* The connection ends, and with it what its session object was remembered for. */
static __always_inline void forget_session(const struct connection *conn, u64 sock)
{
	struct session_key key = {.object = conn->session_object, .pid = conn->session_pid};
	struct session *session;

	if (!conn->session_object)
		return;
	session = bpf_map_lookup_elem(&sessions, &key);
	/* The object may serve another connection by now. */
	if (session && session->sock == sock && session->connection == conn->id)
		bpf_map_delete_elem(&sessions, &key);
}

static __always_inline struct frame *top_frame(u64 pid_tgid)
{
	struct frames *all = bpf_map_lookup_elem(&frames, &pid_tgid);
	u32 depth;

	if (!all)
		return NULL;
	depth = all->depth;
	if (!depth || depth > FRAMES)
		return NULL;
	return &all->stack[(depth - 1) & (FRAMES - 1)];
}

/* The socket layer saw a connection: if this happens inside a TLS call, it is the one of that
 * session. The first counts. */
static __always_inline void touch(u64 pid_tgid, u64 sock, const struct connection *conn)
{
	struct frame *frame = top_frame(pid_tgid);

	if (!frame || frame->connection)
		return;
	frame->sock = sock;
	frame->connection = conn->id;
}

#endif
