/* A client and a server that exchange one datagram each, whatever it is: `quic_sample PORT QUESTION
 * ANSWER`, two files. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static void must(int holds, const char *what)
{
	if (holds)
		return;
	perror(what);
	exit(1);
}

static ssize_t content(const char *path, char *to, size_t room)
{
	FILE *file = fopen(path, "rb");
	size_t length;

	must(file != NULL, path);
	length = fread(to, 1, room, file);
	fclose(file);
	return length;
}

int main(int count, char **arguments)
{
	struct sockaddr_in address = {.sin_family = AF_INET}, peer;
	int client = socket(AF_INET, SOCK_DGRAM, 0), server = socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t size = sizeof(peer);
	char data[4096];
	ssize_t length;

	must(count == 4, "usage: quic_sample PORT QUESTION ANSWER");
	address.sin_port = htons(atoi(arguments[1]));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(!bind(server, (struct sockaddr *)&address, sizeof(address)), "bind");
	must(!connect(client, (struct sockaddr *)&address, sizeof(address)), "connect");
	length = content(arguments[2], data, sizeof(data));
	must(send(client, data, length, 0) == length, "send");
	must(recvfrom(server, data, sizeof(data), 0, (struct sockaddr *)&peer, &size) == length,
	     "recvfrom");
	length = content(arguments[3], data, sizeof(data));
	must(sendto(server, data, length, 0, (struct sockaddr *)&peer, size) == length, "sendto");
	must(recv(client, data, sizeof(data), 0) == length, "recv");
	return 0;
}
