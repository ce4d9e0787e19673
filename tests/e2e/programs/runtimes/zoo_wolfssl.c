/* Client through wolfSSL: `zoo_wolfssl PORT CA BODY`. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "rounds.h"

static void *open_session(int fd, const char *authority)
{
	WOLFSSL_CTX *context = wolfSSL_CTX_new(wolfTLSv1_3_client_method());
	WOLFSSL *session;

	if (!context ||
	    wolfSSL_CTX_load_verify_locations(context, authority, NULL) != WOLFSSL_SUCCESS)
		fail(authority);
	session = wolfSSL_new(context);
	if (!session || wolfSSL_set_fd(session, fd) != WOLFSSL_SUCCESS)
		fail("wolfSSL_new");
	wolfSSL_UseSNI(session, WOLFSSL_SNI_HOST_NAME, "localhost", strlen("localhost"));
	wolfSSL_check_domain_name(session, "localhost");
	if (wolfSSL_connect(session) != WOLFSSL_SUCCESS)
		fail("wolfSSL_connect");
	return session;
}

static int write_session(void *session, const void *from, int size)
{
	return wolfSSL_write(session, from, size);
}

static int read_session(void *session, void *to, int size)
{
	return wolfSSL_read(session, to, size);
}

static void close_session(void *session)
{
	wolfSSL_shutdown(session);
	wolfSSL_free(session);
}

int main(int argc, char **argv)
{
	const struct tls tls = {open_session, write_session, read_session, close_session};
	char library[64];

	if (argc != 4)
		fail("arguments");
	wolfSSL_Init();
	snprintf(library, sizeof(library), "wolfSSL %s", wolfSSL_lib_version());
	return rounds(&tls, wolfSSL_lib_version(), library, argv + 1);
}
