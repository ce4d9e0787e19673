/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Life of processes, threads left aside. */
#ifndef QTAP_PROCESS_H
#define QTAP_PROCESS_H

SEC("tp_btf/sched_process_fork")
int BPF_PROG(sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct event_forked event = {};
	u32 pid = BPF_CORE_READ(child, tgid), parent_pid = BPF_CORE_READ(parent, tgid);
	u64 time = bpf_ktime_get_ns();

	if (pid != BPF_CORE_READ(child, pid))
		return 0;
	if (is_ignored(parent_pid) && bpf_map_update_elem(&process_verdicts, &pid, &time, BPF_ANY))
		count(COUNT_PROCESS_VERDICTS_FULL, 1);
	event.kind = EVENT_FORKED;
	event.pid = pid;
	event.parent = parent_pid;
	event.start_ns = BPF_CORE_READ(child, start_boottime);
	event.time = time;
	if (emit_control(&event, sizeof(event)))
		count(COUNT_PROCESS_EVENTS_LOST, 1);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(sched_process_exec, struct task_struct *task, int former_pid,
	     struct linux_binprm *binary)
{
	u64 start, end, length, used, flags;
	struct exec_scratch *s;
	struct mm_struct *mm;
	u32 zero = 0;
	long copied;

	s = bpf_map_lookup_elem(&exec_scratches, &zero);
	if (!s)
		return 0;
	TRACE(TRACE_PROCESS, MESSAGE_EXEC, -1, 0, 0, 0, 0);
	s->event.kind = EVENT_EXEC;
	s->event.pid = BPF_CORE_READ(task, tgid);
	s->event.parent = BPF_CORE_READ(task, real_parent, tgid);
	s->event.uid = BPF_CORE_READ(task, cred, euid.val);
	s->event.time = bpf_ktime_get_ns();
	s->event.start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	s->event.cgroup = bpf_get_current_cgroup_id();
	s->event.filename_length = 0;
	s->event.arguments_length = 0;
	s->event.environment_length = 0;
	s->event.environment_complete = 0;
	bpf_map_update_elem(&images, &s->event.pid, &s->event.time, BPF_ANY);

	copied =
		bpf_probe_read_kernel_str(s->text, FILENAME_BYTES, BPF_CORE_READ(binary, filename));
	s->event.filename_length = copied > 0 && copied <= FILENAME_BYTES ? copied : 0;
	/* Read back, a number without the signed range of `copied`, on which older verifiers
	 * founder. */
	used = *(volatile u32 *)&s->event.filename_length;

	mm = BPF_CORE_READ(task, mm);
	start = BPF_CORE_READ(mm, arg_start);
	end = BPF_CORE_READ(mm, arg_end);
	length = end - start;
	if (length > ARGUMENT_BYTES)
		length = ARGUMENT_BYTES;
	barrier_var(length);
	if (used <= FILENAME_BYTES && length <= ARGUMENT_BYTES &&
	    !bpf_probe_read_user(s->text + used, length, (void *)start)) {
		s->event.arguments_length = length;
		used += length;
	}

	start = BPF_CORE_READ(mm, env_start);
	end = BPF_CORE_READ(mm, env_end);
	length = end - start;
	barrier_var(length);
	barrier_var(used);
	if (used <= FILENAME_BYTES + ARGUMENT_BYTES && length <= ENVIRONMENT_BYTES &&
	    !bpf_probe_read_user(s->text + used, length, (void *)start)) {
		s->event.environment_length = length;
		s->event.environment_complete = 1;
		used += length;
	}

	barrier_var(used);
	if (used > sizeof(s->text))
		return 0;
	flags = wake_flags();
	if (bpf_ringbuf_output(&control_ring, s, sizeof(s->event) + used, flags))
		count(COUNT_PROCESS_EVENTS_LOST, 1);
	wake_after(&control_ring, flags);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(sched_process_exit, struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	u32 pid = BPF_CORE_READ(task, tgid);
	struct event_exited event = {};
	u64 thread;

	/* Whatever the thread was in when it was ended. */
	thread = (u64)pid << 32 | (u32)BPF_CORE_READ(task, pid);
	bpf_map_delete_elem(&frames, &thread);
	bpf_map_delete_elem(&handshakes, &thread);
	bpf_map_delete_elem(&derivations, &thread);
	/* Already counted down: 0 for the last thread. */
	if (BPF_CORE_READ(signal, live.counter) != 0)
		return 0;
	TRACE(TRACE_PROCESS, MESSAGE_EXIT, -1, 0, 0, 0, 0);
	bpf_map_delete_elem(&process_verdicts, &pid);
	bpf_map_delete_elem(&images, &pid);
	bpf_map_delete_elem(&traced_processes, &pid);
	event.kind = EVENT_EXITED;
	event.pid = pid;
	event.status = BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT
			       ? BPF_CORE_READ(signal, group_exit_code)
			       : BPF_CORE_READ(task, group_leader, exit_code);
	event.start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	event.time = bpf_ktime_get_ns();
	if (emit_control(&event, sizeof(event)))
		count(COUNT_PROCESS_EVENTS_LOST, 1);
	return 0;
}

#endif
