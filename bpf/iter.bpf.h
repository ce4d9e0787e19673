/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Connections that are older than the agent: one pass over all descriptors of all processes, after
 * the hooks are live. */
#ifndef QTAP_ITER_H
#define QTAP_ITER_H

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
	if (bpf_map_lookup_elem(&connections, &key))
		return 0;
	switch (BPF_CORE_READ(sk, __sk_common.skc_state)) {
	case TCP_ESTABLISHED:
	case TCP_CLOSE_WAIT:
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
		break;
	default:
		return 0;
	}
	pid_tgid = (u64)BPF_CORE_READ(task, tgid) << 32 | (u32)BPF_CORE_READ(task, pid);
	conn = adopt(sk, key, pid_tgid, ctx->fd, 0, 0, ID_ITERATOR);
	if (!conn)
		return 0;
	/* Even if nothing has moved on it yet, what it is for may have been agreed elsewhere. */
	conn->midstream = 1;
	use_connection(sk, conn, pid_tgid, ctx->fd);
	return 0;
}

#endif
