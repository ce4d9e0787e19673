/*
 * Client through the C functions of an OpenSSL that is mapped at run time, so that one program serves any C library: `zoo LIBSSL
 * PORT CA BODY`, to 127.0.0.1. What it prints and reads is described in tests/e2e/src/zoo.rs; it compares the bodies itself, for
 * want of a hash.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void *library;

static void fail(const char *what)
{
	const char *why = dlerror();

	fprintf(stderr, "%s: %s\n", what, why ? why : "failed");
	exit(1);
}

static void *function(const char *name)
{
	void *found = dlsym(library, name);

	if (!found)
		fail(name);
	return found;
}

/* Reads one response with a length; returns where its body is, and how long it is. */
static const unsigned char *response(int (*SSL_read)(void *, void *, int), void *ssl, size_t *length)
{
	static char buffer[1 << 17];
	size_t have = 0, wanted = 0;
	char *end = NULL;

	while (!end || have < (size_t)(end - buffer) + wanted) {
		int got = SSL_read(ssl, buffer + have, sizeof(buffer) - 1 - have);

		if (got <= 0)
			fail("SSL_read");
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
	return (unsigned char *)end;
}

static void *connected(int port, const char *authority)
{
	void *(*TLS_client_method)(void) = function("TLS_client_method");
	void *(*SSL_CTX_new)(void *) = function("SSL_CTX_new");
	int (*SSL_CTX_load_verify_locations)(void *, const char *, const char *) =
		function("SSL_CTX_load_verify_locations");
	void (*SSL_CTX_set_verify)(void *, int, void *) = function("SSL_CTX_set_verify");
	void *(*SSL_new)(void *) = function("SSL_new");
	int (*SSL_set_fd)(void *, int) = function("SSL_set_fd");
	int (*SSL_connect)(void *) = function("SSL_connect");
	long (*SSL_ctrl)(void *, int, long, void *) = function("SSL_ctrl");
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	void *context = SSL_CTX_new(TLS_client_method()), *ssl;

	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		fail("connect");
	if (SSL_CTX_load_verify_locations(context, authority, NULL) != 1)
		fail(authority);
	/* SSL_VERIFY_PEER. */
	SSL_CTX_set_verify(context, 1, NULL);
	ssl = SSL_new(context);
	/* SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name. */
	SSL_ctrl(ssl, 55, 0, "localhost");
	SSL_set_fd(ssl, fd);
	if (SSL_connect(ssl) != 1)
		fail("SSL_connect");
	return ssl;
}

int main(int argc, char **argv)
{
	const char *(*version)(int);
	int (*SSL_write)(void *, const void *, int);
	int (*SSL_read)(void *, void *, int);
	static char request[1 << 16], body[1 << 15], line[64];
	const char *paths[] = { "GET /bytes/30721", "POST /echo" };
	void *ssl = NULL;
	size_t size;
	FILE *file;

	if (argc != 5 || !(library = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL)))
		fail(argv[1]);
	version = function("OpenSSL_version");
	SSL_write = function("SSL_write");
	SSL_read = function("SSL_read");
	file = fopen(argv[4], "rb");
	if (!file)
		fail(argv[4]);
	size = fread(body, 1, sizeof(body), file);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("ready {\"version\": \"%s\", \"library\": \"%s\"}\n", version(0), version(0));
	while (fgets(line, sizeof(line), stdin)) {
		if (!ssl)
			ssl = connected(atoi(argv[2]), argv[3]);
		for (int i = 0; i < 2; i++) {
			size_t sent = i ? size : 0, length;
			int head = snprintf(request, sizeof(request),
					    "%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n",
					    paths[i], sent);
			const unsigned char *got;

			memcpy(request + head, body, sent);
			if (SSL_write(ssl, request, head + sent) <= 0)
				fail("SSL_write");
			got = response(SSL_read, ssl, &length);
			if (i ? length != size || memcmp(got, body, size) : length != 30721)
				fail("the body");
		}
		printf("done {}\n");
	}
	return 0;
}
