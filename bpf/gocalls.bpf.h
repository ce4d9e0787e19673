/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Plaintext of Go programs: crypto/tls.(*Conn).Read and .Write, at entry and at each instruction
 * that returns. A return probe would leave an address of its own on the stack, which Go copies to
 * another place when it grows, and walks. So what a call was given is kept by goroutine, not by
 * thread, and the socket is found through the connection object, not by who touched it: the system
 * calls of a goroutine may be made by any thread.
 */
#ifndef QTAP_GOCALLS_H
#define QTAP_GOCALLS_H

/* ABIInternal: the receiver and the first result share a register, of the slice that follows the
 * first word is GO_ARG1. */
#if defined(__TARGET_ARCH_x86)
#define GO_RECEIVER(context)  ((context)->ax)
#define GO_RESULT(context)    ((context)->ax)
#define GO_GOROUTINE(context) ((context)->r14)
#else
#define GO_RECEIVER(context)  ((context)->regs[0])
#define GO_RESULT(context)    ((context)->regs[0])
#define GO_GOROUTINE(context) ((context)->regs[28])
#endif

enum {
	/* Objects around a TCP connection that are looked through. */
	GO_WRAPPERS = 3,
};

struct go_key {
	/* Address of runtime.g, which stays where it is. */
	u64 goroutine;
	u32 pid;
	/* Bytes of its stack that the callers use: the same at entry and return, and of a call
	 * inside a call another. */
	u32 depth;
};

struct go_call {
	u64 object;
	u64 buffer;
	/* Bounds of the stack at entry. */
	u64 stack[2];
	u64 sock;
	u64 connection;
	/* The connection was found through an object in between. */
	u64 wrapped;
};

/*
 * Key: the goroutine and where in its stack; value: the call it is in. Inserted at entry, removed
 * at return; what is left when probes are taken off, or their process ends, is removed by user
 * space. Full: the least recently used goes, which a read survives and of a write is lost and
 * counted (COUNT_FRAMES_FULL).
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct go_key);
	__type(value, struct go_call);
	__uint(max_entries, 16384);
} go_calls SEC(".maps");

/* What emit_call() needs of a thread that is in no call of another library. */
const struct frames no_frames SEC(".rodata.calls") = {};

/* Beginning of net.netFD, which begins with poll.FD. The same in Go 1.17 to 1.27. */
struct go_descriptor {
	u64 lock[2];
	s64 fd;
	u64 rest[4];
	s64 family;
	s64 type;
};

/* Whether a call of this goroutine can be told from others, and as which. */
static __always_inline bool go_frame(struct pt_regs *ctx, struct go_key *key, u64 *stack)
{
	u64 goroutine = GO_GOROUTINE(ctx), sp = PT_REGS_SP(ctx);

	/* runtime.g begins with the bounds of its stack. */
	if (!goroutine || bpf_probe_read_user(stack, 2 * sizeof(*stack), (void *)goroutine))
		return false;
	if (sp < stack[0] || sp >= stack[1] || stack[1] - sp > 0xffffffff)
		return false;
	key->goroutine = goroutine;
	key->pid = bpf_get_current_pid_tgid() >> 32;
	key->depth = stack[1] - sp;
	return true;
}

/* The connection behind a descriptor of this process, if it is one that we know. */
static __always_inline bool go_connection(s64 fd, struct go_call *call)
{
	struct connection *conn;
	struct sock *sk;
	u64 key;

	if (fd < 0 || fd > 0x7fffffff)
		return false;
	sk = tcp_sock_of(file_of(current_task(), fd));
	if (!sk)
		return false;
	key = (u64)sk;
	conn = bpf_map_lookup_elem(&connections, &key);
	if (!conn)
		return false;
	call->sock = key;
	call->connection = conn->id;
	return true;
}

/*
 * The socket of a tls.Conn, whose first field is the net.Conn below it: an interface, of which the
 * second word leads to the object. That is a *net.TCPConn, whose only word leads to a netFD, or one
 * that has such an interface as its first field. Nothing tells which, so what would be a netFD has
 * to look like one of a TCP socket, and its descriptor has to be a connection of this process.
 */
static __always_inline bool go_socket(u64 object, struct go_call *call)
{
	struct go_descriptor descriptor;
	u64 at = object, first;

	for (int i = 0; i < GO_WRAPPERS; i++) {
		if (bpf_probe_read_user(&at, sizeof(at), (void *)(at + 8)) || !at)
			return false;
		if (bpf_probe_read_user(&first, sizeof(first), (void *)at) || !first)
			return false;
		if (!bpf_probe_read_user(&descriptor, sizeof(descriptor), (void *)first) &&
		    (descriptor.family == AF_INET || descriptor.family == AF_INET6) &&
		    descriptor.type == SOCK_STREAM && go_connection(descriptor.fd, call)) {
			call->wrapped = i;
			return true;
		}
	}
	return false;
}

/* Whether an object between this one and the socket is a tls.Conn itself: TLS within TLS. What it
 * reads or writes was seen already, and this is inside of it. */
static __always_inline bool go_is_nested(u64 object, u32 pid)
{
	struct session_key key = {.object = object, .pid = pid};

	for (int i = 0; i < GO_WRAPPERS; i++) {
		if (bpf_probe_read_user(&key.object, sizeof(key.object), (void *)(key.object + 8)))
			return false;
		if (bpf_map_lookup_elem(&sessions, &key))
			return true;
	}
	return false;
}

/* When a stack has to grow for the function it begins anew: then this comes twice. */
static __always_inline int go_enter(struct pt_regs *ctx)
{
	struct go_call call = {};
	struct go_key key = {};

	if (bpf_get_current_pid_tgid() >> 32 == settings.own_pid ||
	    !go_frame(ctx, &key, call.stack))
		return 0;
	call.object = GO_RECEIVER(ctx);
	call.buffer = GO_ARG1(ctx);
	/* Now, as by the return it may be closed. */
	go_socket(call.object, &call);
	if (bpf_map_update_elem(&go_calls, &key, &call, BPF_ANY))
		count(COUNT_FRAMES_FULL, 1);
	return 0;
}

/*
 * A call whose entry nobody saw, as the goroutine was waiting in it when the probes came. Read
 * keeps its arguments where the caller left room for them: above the return address, and of Go on
 * arm64 above the word for it. Only for functions of which user space saw that they do.
 */
static __always_inline bool go_recall(struct pt_regs *ctx, s64 bytes, struct go_call *call)
{
	u64 homes[3];

	if (bpf_probe_read_user(homes, sizeof(homes), (void *)(PT_REGS_SP(ctx) + 8)))
		return false;
	/* Receiver, then pointer and length of the slice. */
	if ((u64)bytes > homes[2] || !go_socket(homes[0], call))
		return false;
	call->object = homes[0];
	call->buffer = homes[1];
	return true;
}

static __always_inline int go_leave(struct pt_regs *ctx, u32 hook, u32 direction, bool recalls)
{
	u64 pid_tgid = bpf_get_current_pid_tgid(), stack[2];
	s64 bytes = GO_RESULT(ctx);
	struct go_call call = {}, *known;
	struct frame frame = {};
	struct go_key key = {};
	struct frames *all;
	bool is_fresh;

	if (pid_tgid >> 32 == settings.own_pid || !go_frame(ctx, &key, stack))
		return 0;
	known = bpf_map_lookup_elem(&go_calls, &key);
	if (known) {
		call = *known;
		bpf_map_delete_elem(&go_calls, &key);
		/* What lay on the stack has moved with it. */
		if (call.buffer >= call.stack[0] && call.buffer < call.stack[1])
			call.buffer += stack[1] - call.stack[1];
	} else if (bytes > 0 && recalls) {
		go_recall(ctx, bytes, &call);
	}
	/* An error says nothing of the bytes that came before it. */
	if (bytes <= 0)
		return 0;
	if (!call.connection || (call.wrapped && go_is_nested(call.object, key.pid))) {
		if (call.object)
			TRACE(TRACE_GOTLS, MESSAGE_CALL_NO_CONNECTION, -1, bytes, 0, call.object,
			      direction);
		count(COUNT_CALLS_UNATTRIBUTED, bytes);
		return 0;
	}
	frame.hook = hook;
	frame.object = call.object;
	frame.buffer = call.buffer;
	frame.sock = call.sock;
	frame.connection = call.connection;
	/* It may be in a call of another library, which called Go. */
	all = bpf_map_lookup_elem(&frames, &pid_tgid);
	is_fresh = !all;
	if (is_fresh) {
		if (bpf_map_update_elem(&frames, &pid_tgid, &no_frames, BPF_NOEXIST)) {
			count(COUNT_FRAMES_FULL, 1);
			return 0;
		}
		all = bpf_map_lookup_elem(&frames, &pid_tgid);
		if (!all)
			return 0;
	}
	plaintext(pid_tgid, all, &frame, direction, bytes);
	if (is_fresh)
		bpf_map_delete_elem(&frames, &pid_tgid);
	return 0;
}

SEC("uprobe/call")
int call_go_read(struct pt_regs *ctx)
{
	return go_enter(ctx);
}

SEC("uprobe/call")
int call_go_write(struct pt_regs *ctx)
{
	return go_enter(ctx);
}

SEC("uprobe/call")
int call_go_read_end(struct pt_regs *ctx)
{
	return go_leave(ctx, HOOK_GO_READ, DIRECTION_INGRESS, true);
}

SEC("uprobe/call")
int call_go_read_end_paired(struct pt_regs *ctx)
{
	return go_leave(ctx, HOOK_GO_READ, DIRECTION_INGRESS, false);
}

SEC("uprobe/call")
int call_go_write_end(struct pt_regs *ctx)
{
	return go_leave(ctx, HOOK_GO_WRITE, DIRECTION_EGRESS, false);
}

#endif
