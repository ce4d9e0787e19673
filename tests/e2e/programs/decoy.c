/*
 * A library in which the function that is handed TLS secrets seems to be: texts and calls are as in
 * BoringSSL, so it is found by what refers to the texts. The secrets that it is handed are those of
 * no connection.
 *
 * One exported function for each label, called with what its caller says is the secret.
 */
#include <stddef.h>

volatile unsigned char decoy_sum;
const char decoy_vendor[] = "BoringSSL";

__attribute__((noipa)) static void log_secret(const void *session, const char *label,
					      const unsigned char *secret, size_t length)
{
	for (size_t i = 0; i < length; i++)
		decoy_sum ^= secret[i] ^ label[0];
	decoy_sum += session != NULL;
}

#define LABEL(name, label)                                                                         \
	__attribute__((noipa)) void decoy_##name(const unsigned char *secret, size_t length)       \
	{                                                                                          \
		log_secret(decoy_vendor, label, secret, length);                                   \
		decoy_sum++;                                                                       \
	}

LABEL(early, "CLIENT_EARLY_TRAFFIC_SECRET")
LABEL(client_handshake, "CLIENT_HANDSHAKE_TRAFFIC_SECRET")
LABEL(server_handshake, "SERVER_HANDSHAKE_TRAFFIC_SECRET")
LABEL(client_traffic, "CLIENT_TRAFFIC_SECRET_0")
LABEL(server_traffic, "SERVER_TRAFFIC_SECRET_0")
LABEL(exporter, "EXPORTER_SECRET")
LABEL(master, "CLIENT_RANDOM")
