/* Client through Mbed TLS: `zoo_mbedtls PORT CA BODY`. */
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>

#include "rounds.h"

static void *open_session(int fd, const char *authority)
{
	static mbedtls_net_context net;
	static mbedtls_entropy_context entropy;
	static mbedtls_ctr_drbg_context random;
	static mbedtls_ssl_config config;
	static mbedtls_ssl_context session;
	static mbedtls_x509_crt authorities;

	mbedtls_net_init(&net);
	mbedtls_entropy_init(&entropy);
	mbedtls_ctr_drbg_init(&random);
	mbedtls_ssl_config_init(&config);
	mbedtls_ssl_init(&session);
	mbedtls_x509_crt_init(&authorities);
	if (mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0) ||
	    mbedtls_x509_crt_parse_file(&authorities, authority) ||
	    mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT,
					MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT))
		fail(authority);
	mbedtls_ssl_conf_ca_chain(&config, &authorities, NULL);
	mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random);
	net.fd = fd;
	if (mbedtls_ssl_setup(&session, &config) || mbedtls_ssl_set_hostname(&session, "localhost"))
		fail("mbedtls_ssl_setup");
	mbedtls_ssl_set_bio(&session, &net, mbedtls_net_send, mbedtls_net_recv, NULL);
	if (mbedtls_ssl_handshake(&session))
		fail("mbedtls_ssl_handshake");
	return &session;
}

static int write_session(void *session, const void *from, int size)
{
	return mbedtls_ssl_write(session, from, size);
}

static int read_session(void *session, void *to, int size)
{
	return mbedtls_ssl_read(session, to, size);
}

static void close_session(void *session)
{
	mbedtls_ssl_close_notify(session);
	mbedtls_ssl_free(session);
}

int main(int argc, char **argv)
{
	const struct tls tls = {open_session, write_session, read_session, close_session};
	char version[32], library[64];

	if (argc != 4)
		fail("arguments");
	mbedtls_version_get_string(version);
	snprintf(library, sizeof(library), "Mbed TLS %s", version);
	return rounds(&tls, version, library, argv + 1);
}
