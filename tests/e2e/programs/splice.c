/*
 * Two HTTP exchanges on one TCP connection, the body of the first moved without a buffer of the
 * program: splice client PORT WAY    asks for /splice/WAY, then for /after, and prints the bytes
 * that it sent and received splice server PORT WAY    answers both on one connection with a body of
 * 100,000 bytes WAY: sendfile (of a file), splice-to (from a file through a pipe), splice-from (the
 * client takes the body through a pipe into a file). Heads, and all of the second exchange, go by
 * write and read. Exit code 0 only if the client got both bodies as they are.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#define BODY_BYTES 100000
#define HEAD_BYTES 512

static char body[BODY_BYTES], got[BODY_BYTES];
static size_t sent, received;

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "not what it should be");
	exit(1);
}

static size_t done(ssize_t result, const char *what)
{
	if (result <= 0)
		fail(what);
	return result;
}

static void write_all(int fd, const char *from, size_t length)
{
	for (size_t at = 0; at < length;)
		at += done(write(fd, from + at, length - at), "write");
	sent += length;
}

static void read_all(int fd, char *to, size_t length)
{
	for (size_t at = 0; at < length;)
		at += done(read(fd, to + at, length - at), "read");
	received += length;
}

/* A head and nothing behind it, so that what follows can be moved otherwise. */
static void read_head(int fd, char *head)
{
	for (;;) {
		size_t length = done(recv(fd, head, HEAD_BYTES - 1, MSG_PEEK), "peek");
		char *end;

		head[length] = 0;
		end = strstr(head, "\r\n\r\n");
		if (end) {
			read_all(fd, head, end + 4 - head);
			end[4] = 0;
			return;
		}
		usleep(10000);
	}
}

static int file_of(const char *text, size_t length)
{
	int file = memfd_create("body", 0);

	if (file < 0)
		fail("memfd_create");
	if (length && pwrite(file, text, length, 0) != (ssize_t)length)
		fail("pwrite");
	return file;
}

static void send_file(int fd, int file)
{
	off_t at = 0;

	while (at < BODY_BYTES)
		done(sendfile(fd, file, &at, BODY_BYTES - at), "sendfile");
}

/* Neither end is a pipe. */
static void splice_through(int from, int to)
{
	int ends[2];

	if (pipe(ends))
		fail("pipe");
	for (size_t at = 0; at < BODY_BYTES;) {
		size_t held =
			done(splice(from, NULL, ends[1], NULL, BODY_BYTES - at, 0), "splice in");

		at += held;
		while (held)
			held -= done(splice(ends[0], NULL, to, NULL, held, 0), "splice out");
	}
	close(ends[0]);
	close(ends[1]);
}

static void answer(int fd, const char *way)
{
	char head[HEAD_BYTES];

	write_all(fd, head,
		  snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n",
			   BODY_BYTES));
	if (!strcmp(way, "sendfile"))
		send_file(fd, file_of(body, BODY_BYTES));
	else if (!strcmp(way, "splice-to"))
		splice_through(file_of(body, BODY_BYTES), fd);
	else
		write_all(fd, body, BODY_BYTES);
}

static void ask(int fd, const char *way, const char *path)
{
	char head[HEAD_BYTES];
	int file;

	write_all(fd, head,
		  snprintf(head, sizeof(head),
			   "GET %s%s HTTP/1.1\r\nHost: splice.qtap.test\r\n\r\n", path, way));
	read_head(fd, head);
	memset(got, 0, sizeof(got));
	if (!strcmp(way, "splice-from")) {
		file = file_of(NULL, 0);
		splice_through(fd, file);
		received += BODY_BYTES;
		if (pread(file, got, BODY_BYTES, 0) != BODY_BYTES)
			fail("pread");
	} else {
		read_all(fd, got, BODY_BYTES);
	}
	errno = 0;
	if (strncmp(head, "HTTP/1.1 200 ", 13) || memcmp(got, body, BODY_BYTES))
		fail("answer");
}

int main(int count, char **arguments)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	char head[HEAD_BYTES];

	if (count != 4)
		return 2;
	address.sin_port = htons(atoi(arguments[2]));
	for (int i = 0; i < BODY_BYTES; i++)
		body[i] = 'a' + i % 23;
	if (!strcmp(arguments[1], "client")) {
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
			fail("connect");
		ask(fd, arguments[3], "/splice/");
		ask(fd, "", "/after");
		printf("%zu %zu\n", sent, received);
		return 0;
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 1))
		fail("listen");
	puts("listening");
	fflush(stdout);
	fd = accept(fd, NULL, NULL);
	if (fd < 0)
		fail("accept");
	read_head(fd, head);
	answer(fd, arguments[3]);
	read_head(fd, head);
	answer(fd, "");
	/* Until the client closes. */
	if (read(fd, head, 1))
		fail("end");
	return 0;
}
