/* What the C clients share: a connection to loopback, a request, the body of its response. */
#ifndef HTTP_CLIENT_H
#define HTTP_CLIENT_H

static void fail(const char *what)
{
	fprintf(stderr, "cannot %s\n", what);
	exit(1);
}

static int connect_to(int port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int descriptor = socket(AF_INET, SOCK_STREAM, 0);

	if (descriptor < 0 || connect(descriptor, (struct sockaddr *)&address, sizeof(address)))
		fail("connect");
	return descriptor;
}

static char *request_for(const char *target, const char *name)
{
	static char request[1024];

	snprintf(request, sizeof(request),
		 "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target, name);
	return request;
}

/* Reads to the end, and writes what is behind the head. */
static void copy_body(int (*receive)(void *, char *, int), void *session)
{
	static char answer[1 << 20];
	size_t filled = 0;
	char *body;

	for (;;) {
		int got = receive(session, answer + filled, sizeof(answer) - 1 - filled);

		if (got <= 0)
			break;
		filled += got;
	}
	answer[filled] = 0;
	body = strstr(answer, "\r\n\r\n");
	if (!body)
		fail("find the body");
	body += 4;
	fwrite(body, 1, filled - (body - answer), stdout);
	fflush(stdout);
}

#endif
