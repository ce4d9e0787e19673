/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef QTAP_HELPERS_H
#define QTAP_HELPERS_H

/* Shared with user space. */
volatile struct settings settings SEC(".data.settings") = {
	.direction = SETTING_ALL,
	.call_cap = 1 << 20,
	.data_wake_bytes = ~0u,
};

/* The number of the last connection. */
u64 last_connection SEC(".data.ids");

/*
 * For tests: records of payload are lost at random, as if the data ring had no room for them. The
 * switch is set before the object is loaded; where it is off, the verifier takes out what depends
 * on it. The rate, in records of a million, can be written at any time.
 */
const volatile u32 drops_records SEC(".rodata.drops") = 0;
volatile u32 drop_rate SEC(".data.drops") = 0;

/* To be asked before the reader is to be woken: a record that is lost wakes nobody. */
static __always_inline bool drop_record(void)
{
	return drops_records && bpf_get_prandom_u32() % 1000000 < drop_rate;
}

static __always_inline void count(u32 counter, u64 amount)
{
	u64 *value = bpf_map_lookup_elem(&counters, &counter);

	if (value)
		__sync_fetch_and_add(value, amount);
}

#ifdef QTAP_LEGACY
/* Before 5.12 an atomic addition does not return the former value: numbers come from per-CPU
 * counters instead. */
const volatile u32 possible_cpus SEC(".rodata.legacy") = 1;

enum id_family {
	ID_STATE,
	ID_STATE_AGAIN,
	ID_SYSCALL,
	ID_ITERATOR,
	ID_URING,
	ID_FAMILIES = 8,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, ID_FAMILIES);
} connection_numbers SEC(".maps");

static __always_inline u64 next_connection(u32 family)
{
	u64 *number = bpf_map_lookup_elem(&connection_numbers, &family);

	if (!number)
		return 0;
	*number += 1;
	return (*number * possible_cpus + bpf_get_smp_processor_id()) * ID_FAMILIES + family;
}

/* Two threads that move bytes of one connection the same way at once may get the same position
 * here. */
static __always_inline u64 reserve_position(u64 *position, u64 bytes)
{
	u64 former = *(volatile u64 *)position;

	__sync_fetch_and_add(position, bytes);
	return former;
}

static __always_inline bool first_to(u32 *flag)
{
	bool first = !*(volatile u32 *)flag;

	*(volatile u32 *)flag = 1;
	return first;
}
#else
enum id_family {
	ID_STATE,
	ID_STATE_AGAIN,
	ID_SYSCALL,
	ID_ITERATOR,
	ID_URING,
};

/* Dense numbers: consecutive connections use different verdict slots. */
static __always_inline u64 next_connection(u32 family)
{
	return __sync_fetch_and_add(&last_connection, 1) + 1;
}

static __always_inline u64 reserve_position(u64 *position, u64 bytes)
{
	return __sync_fetch_and_add(position, bytes);
}

static __always_inline bool first_to(u32 *flag)
{
	return __sync_lock_test_and_set(flag, 1) == 0;
}
#endif

/*
 * Reading kernel memory by plain loads instead of a call per pointer. The verifier knows the type
 * of some pointers (the current task and what it leads to); for others bpf_rdonly_cast tells it,
 * from 6.2 on.
 */
extern void *bpf_rdonly_cast(const void *object, u32 type) __ksym __weak;

#ifdef QTAP_LEGACY
#define CAN_CAST false
#else
#define CAN_CAST bpf_ksym_exists(bpf_rdonly_cast)
#endif

#define CAST(pointer, type)                                                                        \
	((struct type *)bpf_rdonly_cast(pointer, bpf_core_type_id_kernel(struct type)))

static __always_inline struct task_struct *current_task(void)
{
#ifdef QTAP_LEGACY
	return (struct task_struct *)bpf_get_current_task();
#else
	return (struct task_struct *)bpf_get_current_task_btf();
#endif
}

/* As bpf_get_current_pid_tgid(), by loads where that is possible. */
static __always_inline u64 current_pid_tgid(void)
{
#ifdef QTAP_LEGACY
	return bpf_get_current_pid_tgid();
#else
	struct task_struct *task = current_task();

	return (u64)task->tgid << 32 | (u32)task->pid;
#endif
}

/*
 * Whether a process is left out. User space judges an image some time after the event that told of
 * it; by then the process may have become another one, which is not judged yet and is looked at.
 */
static __always_inline bool is_ignored(u32 pid)
{
	u64 *judged = bpf_map_lookup_elem(&process_verdicts, &pid);
	u64 *image;

	if (!judged)
		return false;
	image = bpf_map_lookup_elem(&images, &pid);
	return !image || *judged >= *image;
}

/*
 * Waking the reader costs an interrupt, so nobody does while it is awake: it looks every few
 * milliseconds by itself until nothing came for a while, then says that it sleeps.
 */
static __always_inline u64 wake_flags(void)
{
	if (!settings.reader_sleeps)
		return BPF_RB_NO_WAKEUP;
	settings.reader_sleeps = 0;
	return BPF_RB_FORCE_WAKEUP;
}

/* The reader may have gone to sleep between wake_flags() and the commit; a record of no use wakes
 * it. */
static __always_inline void wake_after(void *ring, u64 flags)
{
	void *record;

	if (flags == BPF_RB_FORCE_WAKEUP || !settings.reader_sleeps)
		return;
	record = bpf_ringbuf_reserve(ring, 8, 0);
	if (!record)
		return;
	settings.reader_sleeps = 0;
	bpf_ringbuf_discard(record, BPF_RB_FORCE_WAKEUP);
}

static __always_inline long emit_control(void *record, u64 size)
{
	u64 flags = wake_flags();
	long error = bpf_ringbuf_output(&control_ring, record, size, flags);

	wake_after(&control_ring, flags);
	return error;
}

#endif
