/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The socket layer: every call that moves bytes of a TCP connection, seen when it returns. */
#ifndef QTAP_SOCKET_H
#define QTAP_SOCKET_H

static __always_inline struct file *file_of(struct task_struct *task, u32 fd)
{
	struct file **files, *file = NULL;
	struct fdtable *table;

#ifdef QTAP_LEGACY
	table = BPF_CORE_READ(task, files, fdt);
	if (!table || fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	files = BPF_CORE_READ(table, fd);
#else
	struct files_struct *holder = task->files;

	if (!holder)
		return NULL;
	table = holder->fdt;
	if (fd >= table->max_fds)
		return NULL;
	files = table->fd;
	if (CAN_CAST) {
		/* Plain loads are of members: the slot is one of a table that begins before it. */
		void *slot = (void *)(files + fd);

		return (struct file *)CAST(slot - bpf_core_field_offset(table->fd), fdtable)->fd;
	}
#endif
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	return file;
}

static __always_inline bool is_socket(u16 mode)
{
	return (mode & S_IFMT) == S_IFSOCK;
}

static __always_inline bool is_internet(u16 family)
{
	return family == AF_INET || family == AF_INET6;
}

/* The sock behind a descriptor, of the Internet's protocols; NULL for all other files. Most calls
 * end here, with the mode. */
static __always_inline struct sock *inet_sock_of(struct file *file, u16 *protocol)
{
	struct sock *sk;

	if (!file)
		return NULL;
	if (CAN_CAST) {
		struct file *f = CAST(file, file);

		if (!is_socket(f->f_inode->i_mode))
			return NULL;
		sk = CAST(f->private_data, socket)->sk;
		if (!sk || !is_internet(sk->__sk_common.skc_family))
			return NULL;
		*protocol = sk->sk_protocol;
	} else {
		struct socket *socket;

		if (!is_socket(BPF_CORE_READ(file, f_inode, i_mode)))
			return NULL;
		socket = BPF_CORE_READ(file, private_data);
		sk = BPF_CORE_READ(socket, sk);
		if (!sk || !is_internet(BPF_CORE_READ(sk, __sk_common.skc_family)))
			return NULL;
		*protocol = BPF_CORE_READ(sk, sk_protocol);
	}
	return sk;
}

/* The TCP sock behind a descriptor; NULL for all other files. */
static __always_inline struct sock *tcp_sock_of(struct file *file)
{
	u16 protocol = 0;
	struct sock *sk = inet_sock_of(file, &protocol);

	if (!sk)
		return NULL;
	if (protocol != IPPROTO_TCP) {
		if (protocol == IPPROTO_MPTCP)
			count(COUNT_UNSUPPORTED_PROTOCOL, 1);
		return NULL;
	}
	return sk;
}

/*
 * Index: who adopts (enum id_family), which is never twice at a time on one CPU. What becomes an
 * entry of connections: the stack has no room for it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, u32);
	__type(value, struct connection);
	__uint(max_entries, 8);
} adopted SEC(".maps");

/*
 * A connection that nobody told us of: older than the agent, or a hook missed it. `sent` and
 * `received` are what the call moved that made us see it; the connection begins before them.
 */
static __always_inline struct connection *adopt(struct sock *sk, u64 key, u64 pid_tgid, s32 fd,
						u64 sent, u64 received, u32 family)
{
	struct connection *fresh = bpf_map_lookup_elem(&adopted, &family);
	u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);
	u64 unread_bytes;

	if (!fresh || state == TCP_LISTEN || state == TCP_SYN_SENT)
		return NULL;
	/* Of a file system or a tunnel, used in the name of whatever program. */
	if (BPF_CORE_READ_BITFIELD_PROBED(sk, sk_kern_sock))
		return NULL;
	unread_bytes = unread(sk);
	__builtin_memset(fresh, 0, sizeof(*fresh));
	fresh->id = next_connection(family);
	fresh->time = bpf_ktime_get_ns();
	fresh->pid = pid_tgid >> 32;
	fresh->tid = pid_tgid;
	fresh->fd = fd;
	fresh->role = find_role(sk, state);
	fresh->sent_base = sequence_sent(sk) - sent;
	fresh->received_base = sequence_received(sk) - unread_bytes - received;
	fresh->fin_in_base = fin_received(sk) && !unread_bytes;
	fresh->midstream = fresh->received_base != 0 ||
			   fresh->sent_base != (fresh->role == ROLE_CLIENT ? 1 : 0);
	if (state == TCP_CLOSE) {
		/* The counts stand still already. */
		fresh->ended = 1;
		fresh->sent_final = sent;
		fresh->received_final = received + unread_bytes;
	}
	if (bpf_map_update_elem(&connections, &key, fresh, BPF_NOEXIST)) {
		struct connection *other = bpf_map_lookup_elem(&connections, &key);

		if (!other)
			count(COUNT_CONNECTIONS_FULL, 1);
		return other;
	}
	count(COUNT_ADOPTED, 1);
	return bpf_map_lookup_elem(&connections, &key);
}

/* The ring had no room for `bytes` of a call that ends at `end`. All its other records are sent. */
static __always_inline void note_lost(struct connection *conn, u32 direction, u64 end, u64 bytes)
{
	__sync_fetch_and_add(&conn->lost_ring_full, bytes);
	*(volatile u64 *)&conn->lost_end[direction & 1] = end;
}

static __always_inline struct connection *known_connection(struct sock *sk)
{
	u64 key = (u64)sk;

	return bpf_map_lookup_elem(&connections, &key);
}

/*
 * Adopts the connection of a socket that moved bytes, which nobody told us of; 0 if it is none of
 * ours. A call, and the caller looks it up, for the verifier's sake: it would follow each way to a
 * connection through all that is done with it.
 */
static __noinline int meet(struct sock *sk, s32 fd, u32 direction, u64 bytes)
{
	u64 key = (u64)sk, pid_tgid = bpf_get_current_pid_tgid();
	struct connection *conn;

	if (!sk || pid_tgid >> 32 == settings.own_pid)
		return 0;
	conn = adopt(sk, key, pid_tgid, fd, direction == DIRECTION_EGRESS ? bytes : 0,
		     direction == DIRECTION_INGRESS ? bytes : 0, ID_SYSCALL);
	if (!conn)
		return 0;
	TRACE(TRACE_SOCKET, MESSAGE_ADOPTED, fd, bytes, conn->id, 0, direction);
	return 1;
}

static __always_inline void moved(struct sock *sk, struct connection *conn, s32 fd, u32 direction,
				  u64 bytes, const struct source *from, u32 steps)
{
	u64 skip_until = 0, stream_until = ~0ULL, position, end, start, stop, left;
	u32 cpu = bpf_get_smp_processor_id(), slot;
	u64 pid_tgid = current_pid_tgid();
	struct verdict *verdict;
	struct scratch *s;
	u32 loss = LOSS_CALL_CAP, unreadable = from->loss, held = 0;
	bool by_kernel;

	if (settings.calls)
		touch(pid_tgid, (u64)sk, conn);
	if (conn->state == CONNECTION_FILTERED) {
		TRACE(TRACE_SOCKET, MESSAGE_IGNORED, fd, bytes, conn->id, 0, direction);
		return;
	}
	if (conn->state == CONNECTION_PENDING)
		use_connection(sk, conn, pid_tgid, fd);
	position = reserve_position(&conn->position[direction & 1], bytes);
	if (conn->state != CONNECTION_OPENED) {
		/* User space does not know it yet, for want of room in the control ring. */
		if (conn->state == CONNECTION_PENDING) {
			note_lost(conn, direction, position + bytes, bytes);
			count(COUNT_DATA_BYTES_LOST, bytes);
			TRACE(TRACE_SOCKET, MESSAGE_NOT_OPEN, fd, bytes, conn->id, 0, direction);
		}
		return;
	}

	by_kernel = false;
	/* What the verifier knows least of comes first, and then stands for the other case too. */
	if (__builtin_expect(has_layer(sk), true))
		by_kernel = is_kernel_tls(sk, direction);
	slot = conn->id & (VERDICT_SLOTS - 1);
	verdict = bpf_map_lookup_elem(&verdicts, &slot);
	if (verdict && *(volatile u64 *)&verdict->connection == conn->id) {
		skip_until = verdict->skip_until[direction & 1];
		/* Who wants the plaintext of calls instead of ciphertext wants this. */
		if (!by_kernel || !verdict->calls)
			stream_until = verdict->stream_until[direction & 1];
	}
	end = position + bytes;
	start = position > skip_until ? position : skip_until;
	stop = end < stream_until ? end : stream_until;
	if (direction == DIRECTION_INGRESS && take_header(conn)) {
		if (start == position && start < stop && !by_kernel && !is_shed(conn))
			held = TLS_HEADER_BYTES;
		else
			send_header(conn, position);
	}
	if (start >= stop) {
		count(COUNT_SKIPPED_BYTES, bytes);
		TRACE(TRACE_SOCKET, MESSAGE_SETTINGS_IGNORE, fd, bytes, conn->id, 0, direction);
		return;
	}
	if (is_shed(conn)) {
		/* What is not wanted is no loss; what is wanted is, and the other direction is to
		 * know. */
		count(COUNT_SKIPPED_BYTES, bytes - (stop - start));
		count(COUNT_SHED_BYTES, stop - start);
		*(volatile u64 *)&conn->lost_end[direction & 1] = stop;
		TRACE(TRACE_SOCKET, MESSAGE_SHED, fd, bytes, conn->id, 0, direction);
		return;
	}
	TRACE(TRACE_SOCKET, MESSAGE_DATA, fd, bytes, conn->id, 0, direction);
	if (start > position)
		count(COUNT_SKIPPED_BYTES, start - position);

	if (direction == DIRECTION_INGRESS && !held && !by_kernel && bytes == TLS_HEADER_BYTES &&
	    start == position && stop == end && from->buffer && !from->loss &&
	    hold_header(conn, from->buffer))
		return;

	s = bpf_map_lookup_elem(&scratches, &cpu);
	if (!s)
		return;
	s->event.kind = EVENT_DATA;
	s->event.direction = direction;
	s->event.layer = by_kernel ? LAYER_KERNEL_TLS : LAYER_SOCKET;
	s->event.call_start = start == position;
	s->event.connection = conn->id;
	s->event.time = bpf_ktime_get_ns();
	s->event.position = start - held;
	s->event.other_settled = *(volatile u64 *)&conn->lost_end[!direction];
	s->event.session = 0;
	s->event.pid = pid_tgid >> 32;
	s->event.tid = pid_tgid;
	if (held)
		__builtin_memcpy(s->payload, conn->header, TLS_HEADER_BYTES);
	s->fill = held;
	s->lost = 0;
	if (by_kernel && !unreadable && is_record_control(from))
		unreadable = LOSS_TLS_CONTROL;
	if (unreadable) {
		flush(s, stop - start, unreadable);
		if (s->lost)
			note_lost(conn, direction, end, s->lost);
		return;
	}
	s->loss = LOSS_NONE;
	s->skip = start - position;
	s->copy = stop - start;
	if (s->copy > settings.call_cap)
		s->copy = settings.call_cap;
	else if (stop < end)
		loss = LOSS_SKIPPED;
	s->segment = from->buffer;
	s->segment_left = from->buffer ? bytes : 0;
	s->vector = from->vector;
	s->vectors_ahead = 0;
	s->vectors = from->vectors > 1024 ? 1024 : from->vectors;
	s->message = from->message;
	s->messages = from->messages;
	s->message_left = from->message ? 0 : bytes;
	for (int i = 0; i < steps; i++) {
		if (!copy_step(cpu))
			break;
	}
	left = end - s->event.position - s->fill;
	flush(s, left, s->loss ?: loss);
	if (s->lost)
		note_lost(conn, direction, end, s->lost);
}

/* What the call was told of how to move bytes, of those that receive messages. */
static __always_inline u32 flags_of(u8 call, struct pt_regs *regs)
{
	switch (call) {
	case CALL_RECVMSG:
		return SYSCALL_ARG3(regs);
	case CALL_RECVFROM:
	case CALL_RECVMMSG:
		return SYSCALL_ARG4(regs);
	default:
		return 0;
	}
}

static __always_inline void locate_message(u64 message, struct source *from)
{
	struct user_message header;

	if (bpf_probe_read_user(&header, sizeof(header), (void *)message))
		return;
	from->name = header.name;
	from->vector = header.vector;
	from->vectors = header.vectors;
	from->control = header.control;
	from->control_length = header.control_length;
}

/* Where the bytes of a call are, by its registers; of many messages the first. */
static __always_inline void locate(u8 call, struct pt_regs *regs, struct source *from)
{
	switch (call) {
	case CALL_READ:
	case CALL_WRITE:
		from->buffer = SYSCALL_ARG2(regs);
		break;
	case CALL_RECVFROM:
	case CALL_SENDTO:
		from->buffer = SYSCALL_ARG2(regs);
		from->name = SYSCALL_ARG5(regs);
		break;
	case CALL_READV:
	case CALL_WRITEV:
		from->vector = SYSCALL_ARG2(regs);
		from->vectors = SYSCALL_ARG3(regs);
		break;
	case CALL_RECVMSG:
	case CALL_SENDMSG:
		locate_message(SYSCALL_ARG2(regs), from);
		break;
	case CALL_RECVMMSG:
	case CALL_SENDMMSG:
		from->message = SYSCALL_ARG2(regs);
		break;
	default:
		from->loss = LOSS_UNREADABLE;
	}
}

#endif
