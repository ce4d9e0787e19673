/*
 * One HTTP exchange over TCP, moved by io_uring without liburing:
 *   uring client PORT WAY     asks for /uring/WAY and prints the answer's length
 *   uring server PORT WAY     answers one connection with a body of 100,000 bytes, and ends when
 * the peer closes WAY: message (send, recv), file (write, read), vector (writev, readv), multishot
 * (send, repeated recv into provided buffers). The connection is made by ordinary system calls.
 * Exit code 2: this kernel does not have it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Newer than the headers of some distributions. */
#define RECV_MULTISHOT (1U << 1)
#define BUFFERS	       64
#define BUFFER_BYTES   4096
#define BODY_BYTES     100000

/* What a completion is of. */
enum { MOVED, REPEATED, PROVIDED };

/* The part of it that all kernels have. */
struct completion {
	__u64 user_data;
	__s32 res;
	__u32 flags;
};

static int ring;
static unsigned *submitted, *submit_mask, *submit_array, *completed_head, *completed_tail,
	*complete_mask;
static struct io_uring_sqe *entries;
static struct completion *completions;
static char provided[BUFFERS][BUFFER_BYTES];

static void fail(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(error));
	exit(error == EINVAL || error == ENOSYS ? 2 : 1);
}

static void set_up(void)
{
	/* Completions that find no room are told otherwise. */
	struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE, .cq_entries = 256};
	char *submissions;
	size_t length;

	ring = syscall(__NR_io_uring_setup, 8, &params);
	if (ring < 0)
		fail("io_uring_setup", errno);
	length = params.sq_off.array + params.sq_entries * 4;
	if (length < params.cq_off.cqes + params.cq_entries * sizeof(*completions))
		length = params.cq_off.cqes + params.cq_entries * sizeof(*completions);
	submissions = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
			   IORING_OFF_SQ_RING);
	entries = mmap(NULL, params.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
	if (submissions == MAP_FAILED || entries == MAP_FAILED)
		fail("mmap", errno);
	if (!(params.features & IORING_FEAT_SINGLE_MMAP))
		fail("one mapping for both rings", ENOSYS);
	submitted = (unsigned *)(submissions + params.sq_off.tail);
	submit_mask = (unsigned *)(submissions + params.sq_off.ring_mask);
	submit_array = (unsigned *)(submissions + params.sq_off.array);
	completed_head = (unsigned *)(submissions + params.cq_off.head);
	completed_tail = (unsigned *)(submissions + params.cq_off.tail);
	complete_mask = (unsigned *)(submissions + params.cq_off.ring_mask);
	completions = (struct completion *)(submissions + params.cq_off.cqes);
}

static struct io_uring_sqe *request(int opcode, int fd, void *memory, unsigned length)
{
	struct io_uring_sqe *entry = &entries[*submitted & *submit_mask];

	memset(entry, 0, sizeof(*entry));
	entry->opcode = opcode;
	entry->fd = fd;
	entry->addr = (unsigned long)memory;
	entry->len = length;
	return entry;
}

static void submit(void)
{
	unsigned index = *submitted & *submit_mask;

	submit_array[index] = index;
	__atomic_store_n(submitted, *submitted + 1, __ATOMIC_RELEASE);
	if (syscall(__NR_io_uring_enter, ring, 1, 0, 0, NULL, 0) != 1)
		fail("io_uring_enter", errno);
}

static struct completion next_completion(void)
{
	struct completion found;

	while (__atomic_load_n(completed_tail, __ATOMIC_ACQUIRE) == *completed_head)
		if (syscall(__NR_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0 &&
		    errno != EINTR)
			fail("io_uring_enter", errno);
	found = completions[*completed_head & *complete_mask];
	__atomic_store_n(completed_head, *completed_head + 1, __ATOMIC_RELEASE);
	return found;
}

static int moved(const char *what)
{
	struct completion found;

	do
		found = next_completion();
	while (found.user_data != MOVED);
	if (found.res < 0)
		fail(what, -found.res);
	return found.res;
}

static void send_all(int fd, const char *way, char *text, size_t length)
{
	while (length) {
		/* Two pieces, so that a vector has more than one. */
		struct iovec pieces[2] = {{text, length / 2},
					  {text + length / 2, length - length / 2}};
		int done;

		if (!strcmp(way, "vector"))
			request(IORING_OP_WRITEV, fd, pieces, 2);
		else
			request(!strcmp(way, "file") ? IORING_OP_WRITE : IORING_OP_SEND, fd, text,
				length);
		submit();
		done = moved("send");
		text += done;
		length -= done;
	}
}

/* One piece, 0 at the end. */
static size_t receive(int fd, const char *way, char *to, size_t room)
{
	struct iovec pieces[2] = {{to, room / 2}, {to + room / 2, room - room / 2}};

	if (!strcmp(way, "vector"))
		request(IORING_OP_READV, fd, pieces, 2);
	else
		request(!strcmp(way, "file") ? IORING_OP_READ : IORING_OP_RECV, fd, to, room);
	submit();
	return moved("receive");
}

static void provide(int first, int count)
{
	struct io_uring_sqe *entry =
		request(IORING_OP_PROVIDE_BUFFERS, count, provided[first], BUFFER_BYTES);

	entry->off = first;
	entry->user_data = PROVIDED;
	submit();
}

/* Repeated: one request, a completion for each piece until the end; provides each buffer again. */
static size_t receive_repeated(int fd, char *to, size_t room, const char *until)
{
	size_t length = 0;
	int armed = 0;

	provide(0, BUFFERS);
	while (length < room) {
		struct completion found;

		if (!armed) {
			struct io_uring_sqe *entry = request(IORING_OP_RECV, fd, NULL, 0);

			entry->flags = IOSQE_BUFFER_SELECT;
			entry->ioprio = RECV_MULTISHOT;
			entry->user_data = REPEATED;
			submit();
			armed = 1;
		}
		found = next_completion();
		if (found.user_data != REPEATED)
			continue;
		armed = found.flags & IORING_CQE_F_MORE;
		if (found.res == -ENOBUFS)
			continue;
		if (found.res < 0)
			fail("repeated receive", -found.res);
		if (!found.res)
			break;
		memcpy(to + length, provided[found.flags >> 16], found.res);
		length += found.res;
		provide(found.flags >> 16, 1);
		if (until && memmem(to, length, until, strlen(until)))
			break;
	}
	return length;
}

static size_t receive_until(int fd, const char *way, char *to, size_t room, const char *until)
{
	size_t length = 0, piece;

	if (!strcmp(way, "multishot"))
		return receive_repeated(fd, to, room, until);
	while (length < room && (piece = receive(fd, way, to + length, room - length))) {
		length += piece;
		if (until && memmem(to, length, until, strlen(until)))
			break;
	}
	return length;
}

int main(int count, char **arguments)
{
	static char text[1 << 18];
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1, length;
	const char *way;

	if (count != 4)
		return 1;
	address.sin_port = htons(atoi(arguments[2]));
	way = arguments[3];
	set_up();
	if (!strcmp(arguments[1], "client")) {
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
			fail("connect", errno);
		length = snprintf(text, sizeof(text),
				  "GET /uring/%s HTTP/1.1\r\nHost: uring.qtap.test\r\nConnection: "
				  "close\r\n\r\n",
				  way);
		send_all(fd, way, text, length);
		printf("%zu\n", receive_until(fd, way, text, sizeof(text), NULL));
		return 0;
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 1))
		fail("listen", errno);
	puts("listening");
	fflush(stdout);
	fd = accept(fd, NULL, NULL);
	if (fd < 0)
		fail("accept", errno);
	receive_until(fd, way, text, sizeof(text) - 1, "\r\n\r\n");
	length = snprintf(text, sizeof(text),
			  "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n",
			  BODY_BYTES);
	for (int i = 0; i < BODY_BYTES; i++)
		text[length + i] = 'a' + i % 23;
	send_all(fd, way, text, length + BODY_BYTES);
	shutdown(fd, SHUT_WR);
	receive_until(fd, !strcmp(way, "multishot") ? "message" : way, text, sizeof(text), NULL);
	return 0;
}
