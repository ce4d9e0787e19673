/*
 * What the C clients share: rounds of two requests over HTTP/1.1 on one connection to 127.0.0.1.
 * What they print and read is described in tests/e2e/src/guest.rs; they compare the bodies
 * themselves, for want of a hash.
 */
#ifndef ROUNDS_H
#define ROUNDS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A TLS library. */
struct tls {
	/* A session over a connected socket. */
	void *(*open)(int fd, const char *authority);
	/* Bytes moved, or not more than 0. */
	int (*write)(void *session, const void *from, int size);
	int (*read)(void *session, void *to, int size);
	void (*close)(void *session);
};

static void fail(const char *what)
{
	fprintf(stderr, "%s failed\n", what);
	exit(1);
}

static int connect_to(int port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		fail("connect");
	return fd;
}

/* Reads one response with a length; returns where its body is, and how long it is. */
static const char *response(const struct tls *tls, void *session, size_t *length)
{
	static char buffer[1 << 17];
	size_t have = 0, wanted = 0;
	char *end = NULL;

	while (!end || have < (size_t)(end - buffer) + wanted) {
		int got = tls->read(session, buffer + have, sizeof(buffer) - 1 - have);

		if (got <= 0)
			fail("read");
		have += got;
		buffer[have] = 0;
		if (!end && (end = strstr(buffer, "\r\n\r\n"))) {
			char *field = strcasestr(buffer, "content-length:");

			if (!field)
				fail("a length");
			wanted = strtoul(field + 15, NULL, 10);
			end += 4;
		}
	}
	*length = wanted;
	return end;
}

/* `arguments`: port, authority, file of the body that is posted. */
static int rounds(const struct tls *tls, const char *version, const char *library, char **arguments)
{
	static char request[1 << 16], body[1 << 15], line[64];
	const char *paths[] = {"GET /bytes/30721", "POST /echo"};
	FILE *file = fopen(arguments[2], "rb");
	void *session = NULL;
	size_t size;

	if (!file)
		fail(arguments[2]);
	size = fread(body, 1, sizeof(body), file);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("ready {\"version\": \"%s\", \"library\": \"%s\"}\n", version, library);
	while (fgets(line, sizeof(line), stdin)) {
		if (!session)
			session = tls->open(connect_to(atoi(arguments[0])), arguments[1]);
		for (int i = 0; i < 2; i++) {
			size_t sent = i ? size : 0, length;
			int head = snprintf(
				request, sizeof(request),
				"%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n",
				paths[i], sent);
			const char *got;

			memcpy(request + head, body, sent);
			if (tls->write(session, request, head + sent) != head + (int)sent)
				fail("write");
			got = response(tls, session, &length);
			if (i ? length != size || memcmp(got, body, size) : length != 30721)
				fail("compare the body");
		}
		printf("done {}\n");
	}
	if (session)
		tls->close(session);
	return 0;
}

#endif
