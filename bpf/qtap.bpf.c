// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Everything that runs in the kernel, one header per family of hooks. */
#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#include "events.bpf.h"
#include "syscalls.bpf.h"
#include "maps.bpf.h"
#include "helpers.bpf.h"
#include "trace.bpf.h"
#include "connection.bpf.h"
#include "frames.bpf.h"
#include "copy.bpf.h"
#include "tcp.bpf.h"
#include "ktls.bpf.h"
#include "socket.bpf.h"
#include "quic.bpf.h"
#include "datagram.bpf.h"
#include "sysexit.bpf.h"
#include "transfers.bpf.h"
#include "iter.bpf.h"
#include "secrets.bpf.h"
#include "rustls.bpf.h"
#include "wolfssl.bpf.h"
#include "mbedtls.bpf.h"
#include "s2n.bpf.h"
#include "nss.bpf.h"
#include "go.bpf.h"
#include "calls.bpf.h"
#include "gocalls.bpf.h"
#include "process.bpf.h"
#include "uring.bpf.h"

/* Not used: takes the types into the BTF of the object, from which the Rust ones are made. */
union event_types {
	enum event_kind kind;
	enum call call;
	enum direction direction;
	enum layer layer;
	enum role role;
	enum loss loss;
	enum secret_label label;
	enum misfit misfit;
	enum trace_module trace_module;
	enum trace_message trace_message;
	enum counter counter;
	enum direction_setting direction_setting;
	enum shed_setting shed_setting;
	enum connection_state connection_state;
	struct event_opened opened;
	struct event_closed closed;
	struct event_data data;
	struct event_datagram datagram;
	struct event_quic quic;
	struct quic_key quic_key;
	struct quic_counts quic_counts;
	struct event_forked forked;
	struct event_exec exec;
	struct event_exited exited;
	struct event_mapped mapped;
	struct event_secret secret;
	struct event_misfit misfit_event;
	struct event_trace trace;
};

const union event_types event_types SEC(".rodata.calls") = {};

char LICENSE[] SEC("license") = "Dual BSD/GPL";
