/* One HTTP/1.1 exchange over wolfSSL. Arguments: authority, port, server name, target, TLS version
 * (1.2, 1.3). Says "ready", waits for a line, writes the body to standard output. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "http_client.h"

static int receive(void *session, char *to, int size)
{
	return wolfSSL_read(session, to, size);
}

int main(int count, char **arguments)
{
	char line[8];
	WOLFSSL_CTX *context;
	WOLFSSL *session;
	int descriptor, length;
	char *request;

	if (count != 6)
		fail("arguments");
	wolfSSL_Init();
	context = wolfSSL_CTX_new(strcmp(arguments[5], "1.3") ? wolfTLSv1_2_client_method()
							      : wolfTLSv1_3_client_method());
	if (!context ||
	    wolfSSL_CTX_load_verify_locations(context, arguments[1], NULL) != WOLFSSL_SUCCESS)
		fail("set up");
	puts("ready");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		fail("wait");
	descriptor = connect_to(atoi(arguments[2]));
	session = wolfSSL_new(context);
	if (!session || wolfSSL_set_fd(session, descriptor) != WOLFSSL_SUCCESS)
		fail("make a session");
	wolfSSL_UseSNI(session, WOLFSSL_SNI_HOST_NAME, arguments[3], strlen(arguments[3]));
	wolfSSL_check_domain_name(session, arguments[3]);
	if (wolfSSL_connect(session) != WOLFSSL_SUCCESS)
		fail("shake hands");
	request = request_for(arguments[4], arguments[3]);
	length = strlen(request);
	if (wolfSSL_write(session, request, length) != length)
		fail("write");
	copy_body(receive, session);
	wolfSSL_shutdown(session);
	close(descriptor);
	wolfSSL_free(session);
	wolfSSL_CTX_free(context);
	return 0;
}
