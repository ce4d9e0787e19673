/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Bytes that io_uring moves: no system call shows them. Each request is seen when its completion is
 * told, in a thread that has the memory of the process: the one that submitted, a worker of the
 * ring or its polling thread. Costs nothing to who does not use io_uring.
 *
 * From 5.19 on the tracepoint of completions has the request. Before, and for requests that
 * complete more than once, functions are hooked where the kernel allows it.
 */
#ifndef QTAP_URING_H
#define QTAP_URING_H

/* include/uapi/linux/io_uring.h; those that may concern a socket. */
enum {
	URING_READV = 1,
	URING_WRITEV = 2,
	URING_READ_FIXED = 4,
	URING_WRITE_FIXED = 5,
	URING_SENDMSG = 9,
	URING_RECVMSG = 10,
	URING_READ = 22,
	URING_WRITE = 23,
	URING_SEND = 26,
	URING_RECV = 27,
	URING_SPLICE = 30,
	URING_SEND_ZC = 47,
	URING_SENDMSG_ZC = 48,
	URING_READ_MULTISHOT = 49,
	URING_RECV_ZC = 58,
	URING_READV_FIXED = 59,
	URING_WRITEV_FIXED = 60,
};

/* IORING_RECVSEND_BUNDLE, IORING_SEND_VECTORIZED: the buffer is not one. */
enum { URING_MANY_BUFFERS = 1 << 4 | 1 << 5 };

/* Of the copies of one request: it has one buffer, of at most 4 MiB. */
enum { URING_STEPS = 160 };

struct uring_post {
	u64 request;
	s64 result;
	/* Where the bytes are, or 0. */
	u64 buffer;
};

/*
 * Key: pid_tgid; value: the request that this thread is about to tell a completion of, with more to
 * come. Inserted by io_req_post_cqe, removed by the tracepoint inside of it. Full: the least
 * recently used goes; its bytes show in the kernel's count of the connection only.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, u64);
	__type(value, struct uring_post);
	__uint(max_entries, 4096);
} uring_posts SEC(".maps");

static __always_inline void mark_uring(struct sock *sk)
{
	u64 key = (u64)sk;
	struct connection *conn = bpf_map_lookup_elem(&connections, &key);

	if (conn)
		conn->uring = 1;
}

/* Where the bytes of a send or receive are; false if they are not to be counted. */
static __always_inline bool message_buffer(struct io_kiocb *req, u32 opcode, struct source *from)
{
	struct io_sr_msg *message = (struct io_sr_msg *)req;
	u32 flags = BPF_CORE_READ(message, msg_flags);

	if (opcode == URING_RECV || opcode == URING_RECVMSG) {
		if (flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB))
			return false;
		if (flags & MSG_TRUNC)
			return true;
	}
	/* The vectors of messages may be reused as soon as they are submitted: what stands there
	 * now is not what was sent. After a partial transfer kernels differ in where the buffer
	 * begins. */
	if (opcode == URING_SENDMSG || opcode == URING_RECVMSG || opcode == URING_SENDMSG_ZC ||
	    opcode == URING_RECV_ZC)
		return true;
	if (BPF_CORE_READ(message, flags) & URING_MANY_BUFFERS || BPF_CORE_READ(message, done_io))
		return true;
	from->buffer = (u64)BPF_CORE_READ(message, buf);
	return true;
}

static __always_inline int uring_completed(struct io_kiocb *req, s64 result,
					   const struct uring_post *post)
{
	u32 opcode = BPF_CORE_READ(req, opcode), direction;
	struct connection *conn;
	struct source from = {};
	struct sock *sk;

	if (result <= 0)
		return 0;
	switch (opcode) {
	case URING_READ:
	case URING_READV:
	case URING_READ_FIXED:
	case URING_READV_FIXED:
	case URING_READ_MULTISHOT:
	case URING_RECV:
	case URING_RECVMSG:
	case URING_RECV_ZC:
		direction = DIRECTION_INGRESS;
		break;
	case URING_WRITE:
	case URING_WRITEV:
	case URING_WRITE_FIXED:
	case URING_WRITEV_FIXED:
	case URING_SEND:
	case URING_SENDMSG:
	case URING_SEND_ZC:
	case URING_SENDMSG_ZC:
	case URING_SPLICE:
		direction = DIRECTION_EGRESS;
		break;
	default:
		return 0;
	}
	sk = tcp_sock_of(BPF_CORE_READ(req, file));
	if (!sk)
		return 0;
	switch (opcode) {
	case URING_READ:
	case URING_WRITE:
	case URING_READ_FIXED:
	case URING_WRITE_FIXED:
		from.buffer = BPF_CORE_READ((struct io_rw *)req, addr);
		break;
	case URING_SEND:
	case URING_SENDMSG:
	case URING_RECV:
	case URING_RECVMSG:
	case URING_SEND_ZC:
	case URING_SENDMSG_ZC:
	case URING_RECV_ZC:
		/* The result of a repeated recvmsg counts headers of io_uring's own. */
		if ((post && opcode == URING_RECVMSG) || !message_buffer(req, opcode, &from)) {
			mark_uring(sk);
			return 0;
		}
		break;
	}
	if (post && post->buffer)
		from.buffer = post->buffer;
	from.loss = from.buffer ? LOSS_NONE : LOSS_URING;
	TRACE(TRACE_SOCKET, CALL_URING, -1, result, 0, 0, direction);
	conn = known_connection(sk);
	if (!conn && meet(sk, -1, direction, result))
		conn = known_connection(sk);
	if (!conn)
		return 0;
	conn->uring = 1;
	moved(sk, conn, -1, direction, result, &from, URING_STEPS);
	return 0;
}

/* (context, request, …) from 5.19 on; what follows differs between kernels. */
SEC("tp_btf/io_uring_complete")
int uring_complete(u64 *ctx)
{
	struct io_kiocb *req = (struct io_kiocb *)ctx[1];
	u64 pid_tgid;
	struct uring_post *found, post;

	if (!bpf_core_field_exists(req->cqe))
		return 0;
	if (req)
		return uring_completed(req, BPF_CORE_READ(req, cqe.res), NULL);
	pid_tgid = bpf_get_current_pid_tgid();
	found = bpf_map_lookup_elem(&uring_posts, &pid_tgid);
	if (!found)
		return 0;
	post = *found;
	bpf_map_delete_elem(&uring_posts, &pid_tgid);
	return uring_completed((struct io_kiocb *)post.request, post.result, &post);
}

/* Where a repeated receive put its last bytes: the request forgets, the iterator it copied by
 * stands behind them. */
static __always_inline u64 repeated_buffer(struct io_kiocb *req, s32 result)
{
	struct io_async_msghdr *message = BPF_CORE_READ(req, async_data);

	if (BPF_CORE_READ(req, opcode) != URING_RECV || !message ||
	    !bpf_core_enum_value_exists(enum iter_type, ITER_UBUF) ||
	    BPF_CORE_READ(message, msg.msg_iter.iter_type) !=
		    bpf_core_enum_value(enum iter_type, ITER_UBUF))
		return 0;
	return (u64)BPF_CORE_READ(message, msg.msg_iter.ubuf) +
	       BPF_CORE_READ(message, msg.msg_iter.iov_offset) - result;
}

/*
 * A request completes with more to come; what the tracepoint inside of it tells has no request. The
 * bytes are taken there, since this program can be preempted and what copies must not be.
 */
SEC("fentry/io_req_post_cqe")
int BPF_PROG(uring_post_cqe, struct io_kiocb *req, s32 result)
{
	u64 pid_tgid = bpf_get_current_pid_tgid();
	struct uring_post post = {.request = (u64)req, .result = result};

	if (result <= 0)
		return 0;
	post.buffer = repeated_buffer(req, result);
	bpf_map_update_elem(&uring_posts, &pid_tgid, &post, BPF_ANY);
	return 0;
}

/*
 * Before 5.19 the request's address is gone when its completion is told. That the connection is
 * used by io_uring is noted when a request is tried; how much it moves, the kernel's count tells.
 */
static __always_inline int uring_tried(struct io_kiocb *req)
{
	struct sock *sk = tcp_sock_of(BPF_CORE_READ(req, file));
	u64 key = (u64)sk, pid_tgid;
	struct connection *conn;

	if (!sk)
		return 0;
	pid_tgid = bpf_get_current_pid_tgid();
	conn = bpf_map_lookup_elem(&connections, &key);
	if (!conn)
		conn = adopt(sk, key, pid_tgid, -1, 0, 0, ID_URING);
	if (!conn)
		return 0;
	conn->uring = 1;
	use_connection(sk, conn, pid_tgid, -1);
	return 0;
}

#define URING_TRIED(function)                                                                      \
	SEC("fentry/" #function) int BPF_PROG(uring_##function, struct io_kiocb *req)              \
	{                                                                                          \
		return uring_tried(req);                                                           \
	}

URING_TRIED(io_send)
URING_TRIED(io_sendmsg)
URING_TRIED(io_recv)
URING_TRIED(io_recvmsg)
URING_TRIED(io_read)
URING_TRIED(io_write)

#endif
