/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Connections that nobody told: those that are older than the agent, and those whose opening found
 * no room in the control ring. One pass over all descriptors of all processes, after the hooks are
 * live. */
#ifndef QTAP_ITER_H
#define QTAP_ITER_H

static __always_inline bool is_open(u8 state)
{
	switch (state) {
	case TCP_ESTABLISHED:
	case TCP_CLOSE_WAIT:
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
		return true;
	default:
		return false;
	}
}

/* The other half is for what happens meanwhile: secrets cannot be told again. */
static __always_inline bool is_half_full(void)
{
	return bpf_ringbuf_query(&control_ring, BPF_RB_AVAIL_DATA) >
	       bpf_ringbuf_query(&control_ring, BPF_RB_RING_SIZE) / 2;
}

SEC("iter/task_file")
int existing_connections(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct connection *conn;
	u64 key, pid_tgid;
	struct sock *sk;

	if (!task || !file)
		return 0;
	sk = tcp_sock_of(file);
	if (!sk)
		return 0;
	key = (u64)sk;
	pid_tgid = (u64)BPF_CORE_READ(task, tgid) << 32 | (u32)BPF_CORE_READ(task, pid);
	conn = bpf_map_lookup_elem(&connections, &key);
	if (conn) {
		/* Being dialled, or in nobody's hands yet. */
		if (conn->state != CONNECTION_PENDING || !conn->time || !conn->pid)
			return 0;
	} else {
		if (!is_open(BPF_CORE_READ(sk, __sk_common.skc_state)))
			return 0;
		conn = adopt(sk, key, pid_tgid, ctx->fd, 0, 0, ID_ITERATOR);
		if (!conn)
			return 0;
		/* Even if nothing has moved on it yet, what it is for may have been agreed
		 * elsewhere. */
		conn->midstream = 1;
	}
	if (is_half_full())
		count(COUNT_OPENED_LOST, 1);
	else
		use_connection(sk, conn, pid_tgid, ctx->fd);
	return 0;
}

#endif
