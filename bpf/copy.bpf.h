/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Copies what one call moved from user memory into records, piece by piece. */
#ifndef QTAP_COPY_H
#define QTAP_COPY_H

/* Where the bytes of a call are. */
struct source {
	u64 buffer;
	u64 vector;
	u64 vectors;
	u64 message;
	/* The sockaddr of who it is sent to or, once the call is over, came from; or 0. */
	u64 name;
	/* What comes with a message. */
	u64 control;
	u64 control_length;
	u32 messages;
	/* Why they cannot be read, or LOSS_NONE. */
	u32 loss;
};

enum {
	/* Per call: 1,024 iovecs or messages at two steps each, and 1 MiB or more in chunks. */
	COPY_STEPS = 4096,
	MESSAGES = 1024,
	/* Pieces above this get a record of their own, without the detour over the scratch buffer.
	 */
	LARGE_BYTES = 8192,
};

/*
 * Whether to ask how much is unread, which costs a call: on each CPU once for a 32nd of what the
 * reader is to be woken for.
 */
static __always_inline bool is_time_to_ask(struct scratch *s, u64 size)
{
	s->unasked += size;
	if (s->unasked < settings.data_wake_bytes >> 5)
		return false;
	s->unasked = 0;
	return true;
}

/* For the next record. The reader is also woken from a nap once too much is unread, if that is to
 * be asked. */
static __always_inline u64 data_wake_flags(bool asks)
{
	u64 flags = wake_flags();

	if (flags == BPF_RB_NO_WAKEUP && asks &&
	    bpf_ringbuf_query(&data_ring, BPF_RB_AVAIL_DATA) > settings.data_wake_bytes) {
		settings.data_wake_bytes = ~0u;
		return BPF_RB_FORCE_WAKEUP;
	}
	return flags;
}

static __always_inline void count_missing(u32 loss, u64 missing)
{
	switch (loss) {
	case LOSS_CALL_CAP:
		count(COUNT_CALL_CAP_BYTES, missing);
		break;
	case LOSS_FAULT:
		count(COUNT_FAULTS, 1);
		count(COUNT_FAULT_BYTES, missing);
		break;
	case LOSS_UNREADABLE:
		count(COUNT_UNREADABLE_BYTES, missing);
		break;
	case LOSS_URING:
		count(COUNT_URING_BYTES, missing);
		break;
	case LOSS_SKIPPED:
		count(COUNT_SKIPPED_BYTES, missing);
		break;
	}
}

static __always_inline void lose(struct scratch *s, u64 bytes)
{
	s->lost += bytes;
	count(COUNT_DATA_RECORDS_LOST, 1);
	count(COUNT_DATA_BYTES_LOST, bytes);
}

enum {
	TLS_CHANGE_CIPHER_SPEC = 0x14,
	TLS_HANDSHAKE = 0x16,
	TLS_APPLICATION_DATA = 0x17,
	/* Handshakes are over within so many bytes; beyond, large pieces are not looked at. */
	HANDSHAKE_BYTES = 1 << 16,
	/* The encrypted end of a handshake looks like data; the client's comes this early. */
	FINISHED_BYTES = 1 << 13,
};

/*
 * Notes that this thread is in the handshake of the connection, if a call began with a record of
 * one.
 */
static __always_inline void note_handshake(struct scratch *s, u8 first)
{
	u64 pid_tgid, connection;

	if (!s->event.call_start)
		return;
	if (first != TLS_HANDSHAKE &&
	    ((first != TLS_CHANGE_CIPHER_SPEC && first != TLS_APPLICATION_DATA) ||
	     s->event.position >= FINISHED_BYTES))
		return;
	pid_tgid = bpf_get_current_pid_tgid();
	connection = s->event.connection;
	bpf_map_update_elem(&handshakes, &pid_tgid, &connection, BPF_ANY);
}

/*
 * OpenSSL and others read the header of a record by itself. Whether this is one, which then is
 * kept, and not worth an event of its own.
 */
static __always_inline bool hold_header(struct connection *conn, u64 buffer)
{
	u8 header[TLS_HEADER_BYTES] = {};

	if (bpf_probe_read_user(header, sizeof(header), (void *)buffer))
		return false;
	if (header[0] < TLS_CHANGE_CIPHER_SPEC || header[0] > TLS_APPLICATION_DATA ||
	    header[1] != 3 || header[2] > 4 || !(header[3] | header[4]))
		return false;
	__builtin_memcpy(conn->header, header, sizeof(header));
	*(volatile u32 *)&conn->header_held = 1;
	return true;
}

/* Whether one is held. It is the caller's from here on. */
static __always_inline bool take_header(struct connection *conn)
{
	if (!*(volatile u32 *)&conn->header_held)
		return false;
	*(volatile u32 *)&conn->header_held = 0;
	return true;
}

/* Sends the header before `position` by itself, on behalf of whoever uses the connection. */
static __always_inline void send_header(struct connection *conn, u64 position)
{
	struct {
		struct event_data event;
		u8 payload[8];
	} *record = bpf_ringbuf_reserve(&data_ring, sizeof(*record), 0);

	if (!record) {
		count(COUNT_DATA_RECORDS_LOST, 1);
		count(COUNT_DATA_BYTES_LOST, TLS_HEADER_BYTES);
		__sync_fetch_and_add(&conn->lost_ring_full, TLS_HEADER_BYTES);
		*(volatile u64 *)&conn->lost_end[DIRECTION_INGRESS] = position;
		return;
	}
	record->event.kind = EVENT_DATA;
	record->event.direction = DIRECTION_INGRESS;
	record->event.layer = LAYER_SOCKET;
	record->event.call_start = 1;
	record->event.loss = LOSS_NONE;
	record->event.connection = conn->id;
	record->event.time = bpf_ktime_get_ns();
	record->event.position = position - TLS_HEADER_BYTES;
	record->event.other_settled = *(volatile u64 *)&conn->lost_end[DIRECTION_EGRESS];
	record->event.session = 0;
	record->event.pid = conn->pid;
	record->event.tid = conn->tid;
	record->event.length = TLS_HEADER_BYTES;
	record->event.missing = 0;
	__builtin_memcpy(record->payload, conn->header, TLS_HEADER_BYTES);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* Sends what is in the payload; `missing` bytes behind it could not be copied. */
static __noinline void flush(struct scratch *s, u32 missing, u32 loss)
{
	u64 flags, size;
	u32 fill;

	if (!s)
		return;
	fill = s->fill;
	if (!fill && !missing)
		return;
	if (fill > CHUNK_BYTES)
		fill = CHUNK_BYTES;
	s->event.length = fill;
	s->event.missing = missing;
	s->event.loss = missing ? loss : LOSS_NONE;
	size = sizeof(s->event) + fill;
	if (fill)
		note_handshake(s, s->payload[0]);
	if (drop_record()) {
		lose(s, fill + missing);
	} else {
		flags = data_wake_flags(is_time_to_ask(s, size));
		if (bpf_ringbuf_output(&data_ring, &s->event, size, flags))
			lose(s, fill + missing);
		else if (missing)
			count_missing(loss, missing);
		wake_after(&data_ring, flags);
	}
	s->event.position += fill + missing;
	s->event.call_start = 0;
	s->fill = 0;
}

/* A record of a size that is known when the program is loaded, filled in the ring: one copy less.
 */
#define SEND_SIZED(size)                                                                           \
	if (length <= (size)) {                                                                    \
		struct {                                                                           \
			struct event_data event;                                                   \
			u8 payload[size];                                                          \
		} *record = bpf_ringbuf_reserve(&data_ring, sizeof(*record), 0);                   \
                                                                                                   \
		if (!record)                                                                       \
			return false;                                                              \
		record->event = s->event;                                                          \
		if (bpf_probe_read_user(record->payload, length, (void *)s->segment)) {            \
			record->event.length = 0;                                                  \
			record->event.missing = length;                                            \
			record->event.loss = LOSS_FAULT;                                           \
			count_missing(LOSS_FAULT, length);                                         \
		}                                                                                  \
		bpf_ringbuf_submit(record, flags);                                                 \
		return true;                                                                       \
	}

/* At most a third of the room is wasted; the odd sizes are usual buffers with what is around them.
 */
static __always_inline bool send_large(struct scratch *s, u32 length, u64 flags)
{
	SEND_SIZED(6144)
	SEND_SIZED(8448)
	SEND_SIZED(12288)
	SEND_SIZED(16896)
	SEND_SIZED(20480)
	SEND_SIZED(24576)
	SEND_SIZED(28672)
	SEND_SIZED(CHUNK_BYTES)
	return false;
}

/* Sends one large piece by itself. */
static __noinline void flush_large(struct scratch *s, u32 length)
{
	u64 flags;
	u8 first = 0;

	if (!s)
		return;
	/* The compiler knows the bound from the caller, the verifiers of 5.10 and 6.1 do not. */
	barrier_var(length);
	s->event.length = length;
	s->event.missing = 0;
	s->event.loss = LOSS_NONE;
	if (s->event.call_start && s->event.position < HANDSHAKE_BYTES &&
	    !bpf_probe_read_user(&first, sizeof(first), (void *)s->segment))
		note_handshake(s, first);
	if (drop_record()) {
		lose(s, length);
	} else {
		flags = data_wake_flags(is_time_to_ask(s, length));
		if (!send_large(s, length, flags))
			lose(s, length);
		wake_after(&data_ring, flags);
	}
	s->event.position += length;
	s->event.call_start = 0;
}

/* The next message of recvmmsg or sendmmsg. */
static __always_inline bool next_message(struct scratch *s)
{
	struct user_mmessage header;

	if (!s->messages)
		return false;
	if (bpf_probe_read_user(&header, sizeof(header), (void *)s->message)) {
		s->loss = LOSS_FAULT;
		return false;
	}
	s->messages--;
	s->message += sizeof(header);
	s->message_left = header.length;
	s->vectors_ahead = 0;
	s->vector = header.message.vector;
	s->vectors = header.message.vectors > 1024 ? 1024 : header.message.vectors;
	return true;
}

/* Reads as many as there is room for: most calls have no more, and each read costs a call. */
static __always_inline bool read_vectors(struct scratch *s)
{
	u32 vectors = s->vectors < VECTORS_AHEAD ? s->vectors : VECTORS_AHEAD;

	barrier_var(vectors);
	if (!vectors || vectors > VECTORS_AHEAD)
		return false;
	if (bpf_probe_read_user(s->ahead, vectors * sizeof(struct user_vector),
				(void *)s->vector)) {
		s->loss = LOSS_FAULT;
		return false;
	}
	s->vector += vectors * sizeof(struct user_vector);
	s->vectors_ahead = vectors;
	s->next_ahead = 0;
	return true;
}

static __always_inline bool next_segment(struct scratch *s)
{
	struct user_vector *vector;

	if (!s->message_left)
		return next_message(s);
	if (!s->vectors_ahead && !read_vectors(s))
		return false;
	vector = &s->ahead[s->next_ahead & (VECTORS_AHEAD - 1)];
	s->next_ahead++;
	s->vectors_ahead--;
	s->vectors--;
	s->segment = vector->base;
	s->segment_left = vector->length < s->message_left ? vector->length : s->message_left;
	return true;
}

/* One piece, one vector or one message further; 0 when there is nothing more to do. */
__noinline int copy_step(u32 cpu)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &cpu);
	u32 fill, piece;

	if (!s || !s->copy)
		return 0;
	if (!s->segment_left && !next_segment(s))
		return 0;
	if (s->skip) {
		u64 skipped = s->skip < s->segment_left ? s->skip : s->segment_left;

		s->segment += skipped;
		s->segment_left -= skipped;
		s->message_left -= skipped;
		s->skip -= skipped;
		return 1;
	}
	piece = s->segment_left < CHUNK_BYTES ? s->segment_left : CHUNK_BYTES;
	if (s->copy < piece)
		piece = s->copy;
	if (!piece)
		return 1;
	fill = s->fill;
	if (fill && (piece > PIECE_BYTES || fill + piece > CHUNK_BYTES)) {
		flush(s, 0, 0);
		fill = 0;
	}
	if (piece > PIECE_BYTES) {
		flush_large(s, piece);
	} else {
		/* What was compared is what is used, also after the compiler is done with it. */
		barrier_var(piece);
		barrier_var(fill);
		if (piece > PIECE_BYTES || fill > CHUNK_BYTES)
			return 0;
		if (bpf_probe_read_user(s->payload + fill, piece, (void *)s->segment))
			flush(s, piece, LOSS_FAULT);
		else
			s->fill = fill + piece;
	}
	s->segment += piece;
	s->segment_left -= piece;
	s->message_left -= piece;
	s->copy -= piece;
	return s->copy != 0;
}

/* Bytes moved by the first `messages` of an array of mmsghdr. */
__noinline u64 sum_messages(u64 message, u32 messages)
{
	u64 sum = 0;
	u32 length;

	for (int i = 0; i < MESSAGES; i++) {
		if (i >= messages)
			break;
		if (bpf_probe_read_user(&length, sizeof(length),
					(void *)(message + i * sizeof(struct user_mmessage) +
						 sizeof(struct user_message))))
			break;
		sum += length;
	}
	return sum;
}

#endif
