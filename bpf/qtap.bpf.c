// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Everything that runs in the kernel, one header per family of hooks. */
#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#include "events.bpf.h"
#include "maps.bpf.h"
#include "helpers.bpf.h"
#include "syscalls.bpf.h"
#include "connection.bpf.h"
#include "frames.bpf.h"
#include "tcp.bpf.h"
#include "copy.bpf.h"
#include "socket.bpf.h"
#include "process.bpf.h"
#include "iter.bpf.h"
#include "secrets.bpf.h"
#include "calls.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
