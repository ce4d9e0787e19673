/* One HTTP/1.1 exchange over Mbed TLS. Arguments: authority, port, server name, target.
 * Says "ready", waits for a line, writes the body to standard output. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>

#include "http_client.h"

static int receive(void *session, char *to, int size)
{
	return mbedtls_ssl_read(session, (unsigned char *)to, size);
}

int main(int count, char **arguments)
{
	mbedtls_net_context net;
	mbedtls_entropy_context entropy;
	mbedtls_ctr_drbg_context random;
	mbedtls_ssl_config config;
	mbedtls_ssl_context session;
	mbedtls_x509_crt authority;
	char line[8];
	char *request;
	int length;

	if (count != 5)
		fail("arguments");
	mbedtls_net_init(&net);
	mbedtls_entropy_init(&entropy);
	mbedtls_ctr_drbg_init(&random);
	mbedtls_ssl_config_init(&config);
	mbedtls_ssl_init(&session);
	mbedtls_x509_crt_init(&authority);
	if (mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0) ||
	    mbedtls_x509_crt_parse_file(&authority, arguments[1]) ||
	    mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT,
					MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT))
		fail("set up");
	mbedtls_ssl_conf_ca_chain(&config, &authority, NULL);
	mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random);
	puts("ready");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		fail("wait");
	net.fd = connect_to(atoi(arguments[2]));
	if (mbedtls_ssl_setup(&session, &config) ||
	    mbedtls_ssl_set_hostname(&session, arguments[3]))
		fail("make a session");
	mbedtls_ssl_set_bio(&session, &net, mbedtls_net_send, mbedtls_net_recv, NULL);
	if (mbedtls_ssl_handshake(&session))
		fail("shake hands");
	request = request_for(arguments[4], arguments[3]);
	length = strlen(request);
	if (mbedtls_ssl_write(&session, (unsigned char *)request, length) != length)
		fail("write");
	copy_body(receive, &session);
	mbedtls_ssl_close_notify(&session);
	mbedtls_net_free(&net);
	mbedtls_ssl_free(&session);
	mbedtls_ssl_config_free(&config);
	mbedtls_x509_crt_free(&authority);
	mbedtls_ctr_drbg_free(&random);
	mbedtls_entropy_free(&entropy);
	return 0;
}
