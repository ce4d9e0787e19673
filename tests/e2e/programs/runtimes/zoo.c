/*
 * Client through the C functions of an OpenSSL that is mapped at run time, so that one program
 * serves any C library: `zoo LIBSSL PORT CA BODY`.
 */
#include <dlfcn.h>

#include "rounds.h"

static void *library;

static void *function(const char *name)
{
	void *found = dlsym(library, name);

	if (!found)
		fail(name);
	return found;
}

static void *open_session(int fd, const char *authority)
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
	void *context = SSL_CTX_new(TLS_client_method()), *session;

	if (SSL_CTX_load_verify_locations(context, authority, NULL) != 1)
		fail(authority);
	/* SSL_VERIFY_PEER. */
	SSL_CTX_set_verify(context, 1, NULL);
	session = SSL_new(context);
	/* SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name. */
	SSL_ctrl(session, 55, 0, "localhost");
	SSL_set_fd(session, fd);
	if (SSL_connect(session) != 1)
		fail("SSL_connect");
	return session;
}

/* The end of the process closes it. */
static void leave(void *session)
{
	(void)session;
}

int main(int argc, char **argv)
{
	struct tls tls = {.open = open_session, .close = leave};
	const char *(*version)(int);

	if (argc != 5 || !(library = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL))) {
		const char *why = dlerror();

		fail(why ? why : "arguments");
	}
	tls.write = function("SSL_write");
	tls.read = function("SSL_read");
	version = function("OpenSSL_version");
	return rounds(&tls, version(0), version(0), argv + 2);
}
