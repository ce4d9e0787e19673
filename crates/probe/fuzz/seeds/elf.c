/* A library with names and texts that classification looks for; built by scripts/fuzz, few KiB. */
static void ssl_log_secret(void *ssl, const char *label, const unsigned char *secret,
			   unsigned long length)
{
	*(volatile char *)ssl = *label + *secret + length;
}

void derive(void *ssl, const unsigned char *secret)
{
	ssl_log_secret(ssl, "CLIENT_HANDSHAKE_TRAFFIC_SECRET", secret, 32);
	ssl_log_secret(ssl, "SERVER_HANDSHAKE_TRAFFIC_SECRET", secret, 32);
	ssl_log_secret(ssl, "CLIENT_TRAFFIC_SECRET_0", secret, 32);
	ssl_log_secret(ssl, "SERVER_TRAFFIC_SECRET_0", secret, 32);
	ssl_log_secret(ssl, "EXPORTER_SECRET", secret, 32);
	ssl_log_secret(ssl, "CLIENT_RANDOM", secret, 48);
}

#define EXPORTED(name)                                                                             \
	int name(void *object)                                                                     \
	{                                                                                          \
		return *(volatile int *)object;                                                    \
	}

EXPORTED(SSL_read)
EXPORTED(SSL_read_ex)
EXPORTED(SSL_write)
EXPORTED(SSL_write_ex)
EXPORTED(SSL_free)
EXPORTED(SSL_do_handshake)
EXPORTED(EVP_KDF_derive)
EXPORTED(EVP_PKEY_derive)
EXPORTED(gnutls_record_recv)
EXPORTED(gnutls_record_send)
EXPORTED(nettle_hkdf_expand)

const char *version(void)
{
	return "OpenSSL 3.0.17 1 Jul 2025";
}
