/*
 * Client and server over Mbed TLS 3: `zoo_mbedtls3 client PORT CA BODY`, to 127.0.0.1, and
 * `zoo_mbedtls3 server CERTIFICATE KEY BODY`. The environment's MBEDTLS_TLS names the version: 1.2
 * or 1.3. What it prints and reads is described in tests/e2e/src/zoo.rs; it compares the bodies
 * itself, for want of a hash. One connection at a time.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <psa/crypto.h>

static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context drbg;
static mbedtls_ssl_config config;
static mbedtls_ssl_context session;
static mbedtls_x509_crt certificate;
static mbedtls_pk_context key;

static unsigned char body[1 << 16], message[1 << 17];
static size_t body_length;

static void check(int result, const char *what)
{
	if (result) {
		fprintf(stderr, "%s: -0x%x\n", what, -result);
		exit(1);
	}
}

static void read_body(const char *path)
{
	FILE *file = fopen(path, "rb");

	check(!file, path);
	body_length = fread(body, 1, sizeof(body), file);
	fclose(file);
}

static void set_up(int endpoint)
{
	const char *wanted = getenv("MBEDTLS_TLS");
	mbedtls_ssl_protocol_version version = wanted && !strcmp(wanted, "1.2")
						       ? MBEDTLS_SSL_VERSION_TLS1_2
						       : MBEDTLS_SSL_VERSION_TLS1_3;

	setvbuf(stdout, NULL, _IOLBF, 0);
	mbedtls_entropy_init(&entropy);
	mbedtls_ctr_drbg_init(&drbg);
	mbedtls_ssl_config_init(&config);
	mbedtls_x509_crt_init(&certificate);
	mbedtls_pk_init(&key);
	check(psa_crypto_init(), "psa_crypto_init");
	check(mbedtls_ctr_drbg_seed(&drbg, mbedtls_entropy_func, &entropy, NULL, 0), "seed");
	check(mbedtls_ssl_config_defaults(&config, endpoint, MBEDTLS_SSL_TRANSPORT_STREAM,
					  MBEDTLS_SSL_PRESET_DEFAULT),
	      "defaults");
	mbedtls_ssl_conf_min_tls_version(&config, version);
	mbedtls_ssl_conf_max_tls_version(&config, version);
	mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &drbg);
}

static void say_ready(int port)
{
	char version[32];

	mbedtls_version_get_string(version);
	printf("ready {\"version\": \"%s\", \"library\": \"Mbed TLS %s\", \"port\": %d}\n", version,
	       version, port);
}

static void write_all(const void *data, size_t length)
{
	const unsigned char *at = data;

	while (length) {
		int written = mbedtls_ssl_write(&session, at, length);

		check(written <= 0, "mbedtls_ssl_write");
		at += written;
		length -= written;
	}
}

/* Reads one message with a length into `message`; returns its body, or NULL at the end. */
static const unsigned char *read_message(size_t *length)
{
	size_t have = 0, wanted = 0;
	char *end = NULL;

	while (!end || have < (size_t)(end - (char *)message) + wanted) {
		int got = mbedtls_ssl_read(&session, message + have, sizeof(message) - 1 - have);

		if (got == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET)
			continue;
		if (got <= 0)
			return NULL;
		have += got;
		message[have] = 0;
		if (!end && (end = strstr((char *)message, "\r\n\r\n"))) {
			char *field = strcasestr((char *)message, "content-length:");

			wanted = field && field < end ? strtoul(field + 15, NULL, 10) : 0;
			end += 4;
		}
	}
	*length = wanted;
	return (unsigned char *)end;
}

static void handshake(mbedtls_net_context *net)
{
	mbedtls_ssl_init(&session);
	check(mbedtls_ssl_setup(&session, &config), "mbedtls_ssl_setup");
	if (config.private_endpoint == MBEDTLS_SSL_IS_CLIENT)
		check(mbedtls_ssl_set_hostname(&session, "localhost"), "hostname");
	mbedtls_ssl_set_bio(&session, net, mbedtls_net_send, mbedtls_net_recv, NULL);
	check(mbedtls_ssl_handshake(&session), "mbedtls_ssl_handshake");
}

static void client(const char *port, const char *authority)
{
	const char *requests[] = {"GET /bytes/30721", "POST /echo"};
	mbedtls_net_context net;
	int is_connected = 0;
	char line[64];

	set_up(MBEDTLS_SSL_IS_CLIENT);
	check(mbedtls_x509_crt_parse_file(&certificate, authority), authority);
	mbedtls_ssl_conf_ca_chain(&config, &certificate, NULL);
	mbedtls_net_init(&net);
	say_ready(0);
	while (fgets(line, sizeof(line), stdin)) {
		if (!is_connected) {
			check(mbedtls_net_connect(&net, "127.0.0.1", port, MBEDTLS_NET_PROTO_TCP),
			      "connect");
			handshake(&net);
			is_connected = 1;
		}
		for (int i = 0; i < 2; i++) {
			size_t sent = i ? body_length : 0, length;
			char head[256];
			const unsigned char *got;

			snprintf(head, sizeof(head),
				 "%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n",
				 requests[i], sent);
			write_all(head, strlen(head));
			write_all(body, sent);
			got = read_message(&length);
			check(!got, "response");
			check(i ? length != body_length || memcmp(got, body, length)
				: length != 30721,
			      "the body");
		}
		printf("done {}\n");
	}
	if (is_connected)
		mbedtls_ssl_close_notify(&session);
	mbedtls_net_free(&net);
}

static void answer(mbedtls_net_context *net)
{
	const unsigned char *received;
	size_t length;

	handshake(net);
	while ((received = read_message(&length))) {
		int is_post = !memcmp(message, "POST", 4);
		size_t size = is_post ? length : body_length;
		char head[128];

		snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
			 size);
		write_all(head, strlen(head));
		write_all(is_post ? received : body, size);
	}
	mbedtls_ssl_free(&session);
	mbedtls_net_free(net);
}

static void serve(const char *chain, const char *private_key)
{
	mbedtls_net_context listener, net;
	char port[8];

	set_up(MBEDTLS_SSL_IS_SERVER);
	check(mbedtls_x509_crt_parse_file(&certificate, chain), chain);
	check(mbedtls_pk_parse_keyfile(&key, private_key, NULL, mbedtls_ctr_drbg_random, &drbg),
	      private_key);
	check(mbedtls_ssl_conf_own_cert(&config, &certificate, &key), "own certificate");
	mbedtls_net_init(&listener);
	/* One that is free, near one that differs from process to process. */
	for (int try = 0, number = 20000 + getpid() % 10000; try < 1000; try++, number++) {
		snprintf(port, sizeof(port), "%d", number);
		if (!mbedtls_net_bind(&listener, "127.0.0.1", port, MBEDTLS_NET_PROTO_TCP))
			break;
	}
	say_ready(atoi(port));
	for (;;) {
		mbedtls_net_init(&net);
		check(mbedtls_net_accept(&listener, &net, NULL, 0, NULL), "accept");
		answer(&net);
	}
}

int main(int count, char **arguments)
{
	if (count != 5)
		return 2;
	read_body(arguments[4]);
	if (!strcmp(arguments[1], "server"))
		serve(arguments[2], arguments[3]);
	else
		client(arguments[2], arguments[3]);
	return 0;
}
