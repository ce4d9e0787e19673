/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What user space gets and gives. The Rust types come from the BTF of these; nothing here is
 * written twice. Every record begins with its kind.
 */
#ifndef QTAP_EVENTS_H
#define QTAP_EVENTS_H

enum event_kind {
	EVENT_OPENED = 1,
	EVENT_CLOSED = 2,
	EVENT_DATA = 3,
	EVENT_FORKED = 4,
	EVENT_EXEC = 5,
	EVENT_EXITED = 6,
	EVENT_MAPPED = 7,
	EVENT_SECRET = 8,
	EVENT_TRACE = 9,
	EVENT_MISFIT = 10,
	EVENT_DATAGRAM = 11,
	EVENT_QUIC = 12,
};

enum direction {
	DIRECTION_EGRESS = 0,
	DIRECTION_INGRESS = 1,
};

enum layer {
	LAYER_SOCKET = 0,
	LAYER_CALLS = 1,
	/* At the socket, and plaintext: the kernel does the TLS of this direction. Positions are
	   those of LAYER_SOCKET. */
	LAYER_KERNEL_TLS = 2,
};

enum role {
	ROLE_UNKNOWN = 0,
	ROLE_CLIENT = 1,
	ROLE_SERVER = 2,
};

/* Why the bytes that follow a record's payload are not there. */
enum loss {
	LOSS_NONE = 0,
	LOSS_CALL_CAP = 1,
	LOSS_FAULT = 2,
	LOSS_UNREADABLE = 3,
	LOSS_SKIPPED = 4,
	LOSS_URING = 5,
	/* Of TLS itself, not of the application; only in LAYER_KERNEL_TLS. */
	LOSS_TLS_CONTROL = 6,
};

enum {
	/* Payload of one record. */
	CHUNK_BYTES = 32768,
	/* Larger pieces get a record of their own; smaller ones are gathered. */
	PIECE_BYTES = 4096,
	FILENAME_BYTES = 1024,
	ARGUMENT_BYTES = 4096,
	ENVIRONMENT_BYTES = 16384,
	/* Payload of a datagram: what an Ethernet frame takes. */
	DATAGRAM_BYTES = 1500,
	/* The same of QUIC: two or three of them may go in one call. */
	QUIC_BYTES = 4096,
	/* Slots of verdicts, a power of two. */
	VERDICT_SLOTS = 65536,
	SECRET_BYTES = 64,
};

struct event_opened {
	u32 kind;
	s32 fd;
	u64 connection;
	u64 time;
	u64 cookie;
	u32 pid;
	u32 tid;
	/* IPv4 as ::ffff:a.b.c.d. */
	u8 local_address[16];
	u8 remote_address[16];
	/* Host byte order. */
	u16 local_port;
	u16 remote_port;
	u8 role;
	u8 ipv6_socket;
	u8 midstream;
	u8 shed;
	/* Inode of the network namespace. */
	u32 netns;
	u32 reserved;
};

struct event_closed {
	u32 kind;
	u16 reset;
	/* Something of it was moved by io_uring. */
	u16 uring;
	u64 connection;
	u64 time;
	u64 written;
	u64 read;
	u64 calls_written;
	u64 calls_read;
	u64 kernel_sent;
	u64 kernel_received;
	u64 unread;
	u64 lost_ring_full;
};

/* A datagram that looks like one of DNS; its first `length` bytes follow. */
struct event_datagram {
	u32 kind;
	u32 direction;
	u64 time;
	/* The socket, as long as it is open. */
	u64 socket;
	u32 pid;
	u32 tid;
	u32 netns;
	/* Of the datagram. */
	u32 bytes;
	u32 length;
	/* As in event_opened; the remote ones are zero where the socket is not connected, and the
	 * call does not tell. */
	u16 local_port;
	u16 remote_port;
	u8 local_address[16];
	u8 remote_address[16];
};

enum {
	TLS_HEADER_BYTES = 5,
};

/* A datagram that begins with an Initial packet of QUIC; its first `datagram.length` bytes follow.
 */
struct event_quic {
	struct event_datagram datagram;
	/* What the socket had moved before, by direction. */
	u64 bytes_before[2];
	/* The same, sent to this peer, where the socket is not connected. */
	u64 sent_before;
	u32 is_connected;
	u32 reserved;
};

/* `length` bytes of payload follow; `missing` more bytes of the same call were not copied. */
struct event_data {
	u32 kind;
	u8 direction;
	u8 layer;
	u8 call_start;
	u8 loss;
	u64 connection;
	u64 time;
	u64 position;
	/* Bytes of the other direction and the same layer before this position that have not come
	 * are lost. */
	u64 other_settled;
	/* Of a call, the TLS session that it was made for: see `struct session`. */
	u64 session;
	u32 pid;
	u32 tid;
	u32 length;
	u32 missing;
};

struct event_forked {
	u32 kind;
	u32 pid;
	u32 parent;
	u32 reserved;
	u64 start_ns;
	u64 time;
};

/* File name, arguments and environment follow, in this order. */
struct event_exec {
	u32 kind;
	u32 pid;
	u32 parent;
	u32 uid;
	u64 time;
	u64 start_ns;
	u64 cgroup;
	u32 filename_length;
	u32 arguments_length;
	u32 environment_length;
	/* 0: it was longer than ENVIRONMENT_BYTES or could not be read. */
	u32 environment_complete;
};

struct event_exited {
	u32 kind;
	u32 pid;
	u32 status;
	u32 reserved;
	u64 start_ns;
	u64 time;
};

struct event_mapped {
	u32 kind;
	u32 pid;
	u64 time;
	/* The kernel's dev_t: major << 20 | minor. */
	u64 device;
	u64 inode;
	u64 address;
};

enum secret_label {
	SECRET_CLIENT_EARLY = 1,
	SECRET_CLIENT_HANDSHAKE = 2,
	SECRET_SERVER_HANDSHAKE = 3,
	SECRET_CLIENT_TRAFFIC = 4,
	SECRET_SERVER_TRAFFIC = 5,
	SECRET_MASTER = 6,
	/* Of TLS 1.3; what opens under it tells which. */
	SECRET_UNNAMED = 7,
};

struct event_secret_head {
	u32 kind;
	u32 label;
	u64 time;
	u32 pid;
	u32 tid;
	u32 length;
	u32 has_client_random;
	/* Where this thread last moved a handshake record; 0 when not known. */
	u64 connection;
	/* Address of the function that was probed; 0 of those that are found by nothing but their
	 * name. */
	u64 origin;
	u8 client_random[32];
};

struct event_secret {
	struct event_secret_head head;
	u8 secret[SECRET_BYTES];
};

/* A function that was found by inference, and is not what it was taken for. */
enum misfit {
	MISFIT_LOG_SECRET = 1,
	MISFIT_RUSTLS_DERIVE = 2,
	MISFIT_S2N_DERIVE = 3,
	MISFIT_S2N_PRF = 4,
};

struct event_misfit {
	u32 kind;
	u32 pid;
	u64 time;
	u32 function;
	u32 reserved;
};

/* Modules of --bpf-trace, as bits of settings.trace_modules. */
enum trace_module {
	TRACE_SOCKET = 1,
	TRACE_OPENSSL = 2,
	TRACE_GNUTLS = 4,
	TRACE_PROCESS = 8,
	TRACE_GOTLS = 16,
	/* Not a module: all processes, not just those in traced_processes. */
	TRACE_EVERYONE = 1U << 31,
};

/* What happened. The first ones are system calls, numbered as enum call. */
enum trace_message {
	MESSAGE_SYSCALL_FIRST = 0,
	MESSAGE_SYSCALL_LAST = 31,
	MESSAGE_NO_CONNECTION = 32,
	MESSAGE_NOT_OPEN,
	MESSAGE_IGNORED,
	MESSAGE_DATA,
	MESSAGE_SETTINGS_IGNORE,
	MESSAGE_ADOPTED,
	MESSAGE_SHED,
	MESSAGE_SSL_READ = 48,
	MESSAGE_SSL_READ_EX,
	MESSAGE_SSL_WRITE,
	MESSAGE_SSL_WRITE_EX,
	MESSAGE_GNUTLS_RECV,
	MESSAGE_GNUTLS_SEND,
	MESSAGE_SSL_FREE,
	MESSAGE_GNUTLS_DEINIT,
	MESSAGE_CALL_FAILED,
	MESSAGE_CALL_NO_CONNECTION,
	MESSAGE_SECRET,
	MESSAGE_GO_READ,
	MESSAGE_GO_WRITE,
	MESSAGE_EXEC = 64,
	MESSAGE_EXIT,
};

struct event_trace {
	u32 kind;
	u32 message;
	u64 time;
	u64 connection;
	/* Session object of TLS messages. */
	u64 object;
	s64 bytes;
	u32 pid;
	u32 tid;
	s32 fd;
	u32 direction;
};

/* Indexes of the per-CPU counters: everything that was left out, by reason. */
enum counter {
	COUNT_CONNECTIONS_FULL = 0,
	COUNT_FILTERED_SELF,
	COUNT_FILTERED_PROCESS,
	COUNT_FILTERED_DIRECTION,
	COUNT_FILTERED_LOOPBACK,
	COUNT_FILTERED_KERNEL,
	COUNT_COMPAT_CALLS,
	COUNT_UNSUPPORTED_PROTOCOL,
	COUNT_ADOPTED,
	COUNT_OPENED_LOST,
	COUNT_NEVER_OPENED,
	COUNT_CLOSED_LOST,
	COUNT_DATA_RECORDS_LOST,
	COUNT_DATA_BYTES_LOST,
	COUNT_CALLS_BYTES_LOST,
	COUNT_FAULTS,
	COUNT_FAULT_BYTES,
	COUNT_CALL_CAP_BYTES,
	COUNT_UNREADABLE_BYTES,
	COUNT_SKIPPED_BYTES,
	COUNT_SHED_BYTES,
	COUNT_SHED_CALLS_BYTES,
	COUNT_PROCESS_EVENTS_LOST,
	COUNT_PROCESS_VERDICTS_FULL,
	COUNT_MAPPED_LOST,
	COUNT_SECRETS_LOST,
	COUNT_SECRETS_UNREADABLE,
	COUNT_FRAMES_FULL,
	COUNT_FRAMES_DEPTH,
	COUNT_TRACES_LOST,
	COUNT_OPENED,
	COUNT_CLOSED,
	COUNT_URING_BYTES,
	COUNT_UNUSED,
	COUNT_DATAGRAMS_LOST,
	COUNT_QUIC_LOST,
	COUNT_QUIC_SHED,
	COUNT_QUIC_FILTERED,
	/* Of TLS calls whose connection cannot be told. */
	COUNT_CALLS_UNATTRIBUTED,
	COUNTERS,
};

enum direction_setting {
	SETTING_INGRESS = 0,
	SETTING_EGRESS = 1,
	SETTING_EGRESS_INTERNAL = 2,
	SETTING_EGRESS_EXTERNAL = 3,
	SETTING_ALL = 4,
};

/* What is not copied because the agent is over its share of the CPU. */
enum shed_setting {
	SHED_NOTHING = 0,
	/* Payload of connections that opened since then. */
	SHED_NEW = 1,
	SHED_ALL = 2,
};

/* User space writes these at any time through shared memory. */
struct settings {
	u32 direction;
	u32 ignore_loopback;
	/* Bytes copied of one system call or TLS call. */
	u32 call_cap;
	/* The agent itself: never observed. */
	u32 own_pid;
	/* TLS calls are probed: note which socket a thread touches in one. */
	u32 calls;
	/* The reader sleeps until something is in a ring. Cleared by who wakes it. */
	u32 reader_sleeps;
	/* The reader naps until more than this is unread in the data ring. ~0: it does not. Set to
	 * that by who wakes it: a wake-up is an interrupt, and one is enough. */
	u32 data_wake_bytes;
	u32 trace_modules;
	/* enum shed_setting. Holds for calls that end from now on. */
	u32 shed;
	/* Tell queries of DNS too, and what is sent; else only answers that are received. */
	u32 dns_queries;
};

/* What to copy of one connection; `connection` tells whether the slot is its own. Index 0 egress, 1
 * ingress. */
struct verdict {
	u64 connection;
	u64 skip_until[2];
	u64 stream_until[2];
	u64 calls;
};

#endif
