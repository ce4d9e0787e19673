/*
 * Opens and closes TLS connections, one after another, both ends in this process:
 *
 *     tls_churn CERTIFICATE KEY AUTHORITY
 *
 * Reads lines with a number, makes so many connections, and says {"made": N, "milliseconds": T}. On
 * each the client asks for a number, `GET /N`, and gets it back. All but every 100th resume the
 * session before. Both ends are closed by a reset, so that no port is left waiting. Ends with its
 * input.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FULL_HANDSHAKE_EVERY = 100, STALLED_MS = 20000 };

static SSL_SESSION *resumed;

static void fail(const char *what)
{
	perror(what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(resumed);
	resumed = session;
	return 1;
}

static SSL_CTX *context(const SSL_METHOD *method)
{
	SSL_CTX *made = SSL_CTX_new(method);

	if (!made || !SSL_CTX_set_min_proto_version(made, TLS1_3_VERSION))
		fail("context");
	return made;
}

/* Whether the call has to be made again; waits for the socket if so. */
static int again(SSL *ssl, int result)
{
	struct pollfd wait = {.fd = SSL_get_fd(ssl)};

	if (result > 0)
		return 0;
	switch (SSL_get_error(ssl, result)) {
	case SSL_ERROR_WANT_READ:
		wait.events = POLLIN;
		break;
	case SSL_ERROR_WANT_WRITE:
		wait.events = POLLOUT;
		break;
	default:
		fail("TLS");
	}
	if (poll(&wait, 1, STALLED_MS) != 1)
		fail("a connection that stands still");
	return 1;
}

/* Alternates between both ends, which are in one thread. */
static void shake_hands(SSL *client, SSL *server)
{
	int client_done = 0, server_done = 0, rounds = 0;

	while (!client_done || !server_done) {
		SSL *both[] = {client, server};
		int *done[] = {&client_done, &server_done};

		for (int i = 0; i < 2; i++) {
			int result = *done[i] ? 1 : SSL_do_handshake(both[i]);

			if (result == 1)
				*done[i] = 1;
			else if (SSL_get_error(both[i], result) != SSL_ERROR_WANT_READ)
				fail("handshake");
		}
		if (++rounds > 100000)
			fail("a handshake that stands still");
	}
}

static void write_all(SSL *ssl, const char *text)
{
	while (again(ssl, SSL_write(ssl, text, strlen(text))))
		;
}

/* Reads up to the end of what `end` is the last of. */
static void read_to(SSL *ssl, const char *end, char *text, size_t size)
{
	size_t length = 0;

	do {
		int result = SSL_read(ssl, text + length, size - 1 - length);

		if (again(ssl, result))
			continue;
		length += result;
		text[length] = 0;
	} while (!strstr(text, end) && length + 1 < size);
}

static void reset(int fd)
{
	struct linger at_once = {.l_onoff = 1};

	if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) || close(fd))
		fail("close");
}

static SSL *end_of(SSL_CTX *ctx, int fd)
{
	int one = 1;
	SSL *ssl = SSL_new(ctx);

	if (fcntl(fd, F_SETFL, O_NONBLOCK) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) || !ssl ||
	    !SSL_set_fd(ssl, fd))
		fail("an end of a connection");
	return ssl;
}

static void connect_once(SSL_CTX *client_ctx, SSL_CTX *server_ctx, int listener,
			 const struct sockaddr_in *address, unsigned long number)
{
	char request[128], response[128], seen[256], mark[32];
	int near = socket(AF_INET, SOCK_STREAM, 0), far;
	SSL *client, *server;

	if (near < 0 || connect(near, (const struct sockaddr *)address, sizeof(*address)))
		fail("connect");
	far = accept(listener, NULL, NULL);
	if (far < 0)
		fail("accept");
	client = end_of(client_ctx, near);
	server = end_of(server_ctx, far);
	SSL_set_connect_state(client);
	SSL_set_accept_state(server);
	if (resumed && number % FULL_HANDSHAKE_EVERY)
		SSL_set_session(client, resumed);
	shake_hands(client, server);

	snprintf(request, sizeof(request), "GET /%lu HTTP/1.1\r\nHost: churn.qtap.test\r\n\r\n",
		 number);
	snprintf(mark, sizeof(mark), "[%lu]", number);
	snprintf(response, sizeof(response), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
		 strlen(mark), mark);
	write_all(client, request);
	read_to(server, "\r\n\r\n", seen, sizeof(seen));
	if (strcmp(seen, request))
		fail("another request");
	write_all(server, response);
	read_to(client, "]", seen, sizeof(seen));
	if (strcmp(seen, response))
		fail("another response");
	SSL_free(client);
	SSL_free(server);
	reset(near);
	reset(far);
}

static long milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t size = sizeof(address);
	SSL_CTX *client, *server;
	unsigned long number = 0, count;

	if (argc != 4)
		return 2;
	client = context(TLS_client_method());
	server = context(TLS_server_method());
	if (SSL_CTX_use_certificate_chain_file(server, argv[1]) != 1 ||
	    SSL_CTX_use_PrivateKey_file(server, argv[2], SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_load_verify_locations(client, argv[3], NULL) != 1)
		fail("certificates");
	SSL_CTX_set_verify(client, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_session_cache_mode(client, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(client, keep_session);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(listener, 16) || getsockname(listener, (struct sockaddr *)&address, &size))
		fail("listen");
	printf("{\"port\": %d}\n", ntohs(address.sin_port));
	fflush(stdout);
	while (scanf("%lu", &count) == 1) {
		long start = milliseconds();

		for (unsigned long i = 0; i < count; i++)
			connect_once(client, server, listener, &address, number++);
		printf("{\"made\": %lu, \"milliseconds\": %ld}\n", count, milliseconds() - start);
		fflush(stdout);
	}
	return 0;
}
