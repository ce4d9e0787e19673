/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* --bpf-trace: one compact record per decision, only while someone asked. The ring is small, which
 * limits the rate. */
#ifndef QTAP_TRACE_H
#define QTAP_TRACE_H

/* `message` has the direction in its upper half: a function has five arguments. */
static __noinline void send_trace(u32 message, s32 fd, s64 bytes, u64 connection, u64 object)
{
	u64 pid_tgid = bpf_get_current_pid_tgid(), flags;
	u32 pid = pid_tgid >> 32;
	struct event_trace event = {};

	if (pid == settings.own_pid)
		return;
	if (!(settings.trace_modules & TRACE_EVERYONE) &&
	    !bpf_map_lookup_elem(&traced_processes, &pid))
		return;
	event.kind = EVENT_TRACE;
	event.message = message & 0xffff;
	event.time = bpf_ktime_get_ns();
	event.connection = connection;
	event.object = object;
	event.bytes = bytes;
	event.pid = pid;
	event.tid = pid_tgid;
	event.fd = fd;
	event.direction = message >> 16;
	flags = wake_flags();
	if (bpf_ringbuf_output(&trace_ring, &event, sizeof(event), flags))
		count(COUNT_TRACES_LOST, 1);
	wake_after(&trace_ring, flags);
}

/* Costs one load while nobody traces. */
#define TRACE(module, message, fd, bytes, connection, object, direction)                           \
	do {                                                                                       \
		if (settings.trace_modules & (module))                                             \
			send_trace((message) | (direction) << 16, fd, bytes, connection, object);  \
	} while (0)

#endif
