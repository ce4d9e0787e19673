/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Every map: what the key and value are, who inserts, who removes, what happens when it is full. */
#ifndef QTAP_MAPS_H
#define QTAP_MAPS_H

enum connection_state {
	/* Known, not told to user space: not yet established, not yet accepted, or the control ring
	   was full. */
	CONNECTION_PENDING = 0,
	CONNECTION_OPENED = 1,
	/* Left out by settings; only the entry stays, so that its calls are cheap. */
	CONNECTION_FILTERED = 2,
};

struct connection {
	u64 id;
	/* When it was established, or found. */
	u64 time;
	/* Bytes moved by calls that we saw, by direction. */
	u64 position[2];
	u64 calls_position[2];
	/* Ends of the last calls of which the data ring had no room for something, or which were
	   not copied to shed load. */
	u64 lost_end[2];
	u64 calls_lost_end[2];
	/* The kernel's counts when the connection opened, and when it ended. */
	u64 sent_base;
	u64 received_base;
	u64 sent_final;
	u64 received_final;
	u64 lost_ring_full;
	/* The session object that was found to use it, and its process; see sessions. */
	u64 session_object;
	u64 session_pid;
	u32 pid;
	u32 tid;
	s32 fd;
	/* Raised by who tells user space, so that it is told once. */
	u32 opening;
	u8 state;
	u8 role;
	u8 midstream;
	/* A FIN of ours is in the kernel's count of sent bytes. */
	u8 fin_sent;
	/* Payload that nobody read before the end. */
	u32 unread;
	/* A FIN of the peer is already in received_base. */
	u8 fin_in_base;
	u8 ended;
	u8 reset;
	/* It opened while new connections were only counted. */
	u8 shed;
	/* Something was moved by io_uring. */
	u8 uring;
	/* It had a descriptor when it ended. */
	u8 accepted;
	/* The header of a TLS record that was read by itself, just before position[ingress], and
	 * was not sent yet: it goes with the rest of the record. */
	u8 header[TLS_HEADER_BYTES];
	u32 header_held;
};

/*
 * Key: address of the sock; value: our connection. Inserted at SYN_SENT, at ESTABLISHED of a
 * server's child, by the iterator, and at the first I/O of a socket we do not know. Removed by
 * tcp_destroy_sock. Full: counted (COUNT_CONNECTIONS_FULL), the connection is not observed.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, u64);
	__type(value, struct connection);
	__uint(max_entries, 65536);
} connections SEC(".maps");

/*
 * Index: connection id modulo VERDICT_SLOTS. Written by user space through shared memory, never
 * removed: a slot whose `connection` is another one means "copy everything".
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct verdict);
	__uint(max_entries, VERDICT_SLOTS);
} verdicts SEC(".maps");

/*
 * Key: tgid; value: a time at which the image that is ignored ran, see is_ignored(). Inserted by
 * user space and at fork (from the parent), removed by user space and at exit. Full: counted
 * (COUNT_PROCESS_VERDICTS_FULL), the child is observed.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 16384);
} process_verdicts SEC(".maps");

/*
 * Key: tgid; value: time of its last exec. Inserted at exec, removed at exit. Full: the oldest go,
 * whose verdicts are settled.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 16384);
} images SEC(".maps");

/*
 * Key: tgid; value: any. Which processes --bpf-trace is about. Inserted and removed by user space;
 * removed at exit. Full: user space is told by the failed update.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, u32);
	__type(value, u8);
	__uint(max_entries, 1024);
} traced_processes SEC(".maps");

struct file_key {
	u64 device;
	u64 inode;
};

/*
 * Executable files that user space has looked into and found of no interest: their mappings are not
 * told. All others are, each time and for every process, since who maps a TLS library is of
 * interest. Written by user space; when it is full the least recently used are forgotten, and told
 * again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct file_key);
	__type(value, u8);
	__uint(max_entries, 16384);
} known_files SEC(".maps");

/* Index: enum counter. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, COUNTERS);
} counters SEC(".maps");

/* Open, close, processes, mappings, secrets. Full: the record is counted by kind. User space sets
 * the size. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} control_ring SEC(".maps");

/* Payload. Full: bytes are counted and remembered on the connection. User space sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} data_ring SEC(".maps");

/* Datagrams of DNS and QUIC. Full: counted (COUNT_DATAGRAMS_LOST, COUNT_QUIC_LOST). */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} datagram_ring SEC(".maps");

/* Decisions, for --bpf-trace. One page unless user space asks for more. Full: counted. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} trace_ring SEC(".maps");

enum { VECTORS_AHEAD = 4 };

/*
 * What copying of one call is at. A plain array with one entry per CPU (user space sets the
 * number), because values of per-CPU maps are limited to 32 KiB. Only sys_exit uses it; the kernel
 * does not run one BTF tracepoint program twice at a time on one CPU.
 */
struct scratch {
	struct event_data event;
	u8 payload[CHUNK_BYTES + PIECE_BYTES];
	/* Bytes in payload. */
	u32 fill;
	/* iovecs not yet begun. */
	u32 vectors;
	/* The first one that is not ahead. */
	u64 vector;
	/* Of iovecs not yet begun, those that were read together, from `next_ahead` on. */
	struct user_vector ahead[VECTORS_AHEAD];
	u32 vectors_ahead;
	u32 next_ahead;
	/* mmsghdrs not yet begun. */
	u32 messages;
	u32 loss;
	u64 message;
	/* The user memory being copied. */
	u64 segment;
	u64 segment_left;
	/* Bytes of the current message that segments still have to explain. */
	u64 message_left;
	/* Bytes to pass over, then bytes to copy. */
	u64 skip;
	u64 copy;
	/* Bytes for which the ring had no room. */
	u64 lost;
	/* Bytes of records since the ring was last asked how much is unread. */
	u64 unasked;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, u32);
	__type(value, struct scratch);
	__uint(max_entries, 1);
} scratches SEC(".maps");

/*
 * Key: pid_tgid; value: the connection on which the thread last moved a TLS handshake record: the
 * secrets it derives next are most likely that connection's. Inserted and replaced by the socket
 * path, removed when the thread exits. Full: the least recently used goes; then a secret has no
 * hint and is tried on more connections.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, u64);
	__type(value, u64);
	__uint(max_entries, 16384);
} handshakes SEC(".maps");

struct datagram_scratch {
	struct event_datagram event;
	u8 payload[DATAGRAM_BYTES];
	/* Where the sockaddr of the peer is in user memory, or 0. */
	u64 name;
	/* Only its addresses are used. */
	struct event_opened ends;
};

/* Used where sockets are seen, which is never twice at a time on one CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, u32);
	__type(value, struct datagram_scratch);
	__uint(max_entries, 1);
} datagram_scratches SEC(".maps");

struct exec_scratch {
	struct event_exec event;
	u8 text[FILENAME_BYTES + ARGUMENT_BYTES + ENVIRONMENT_BYTES];
};

/* Only sched_process_exec uses it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, u32);
	__type(value, struct exec_scratch);
	__uint(max_entries, 1);
} exec_scratches SEC(".maps");

#endif
