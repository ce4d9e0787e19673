/*
 * A preloaded library: the wall clock of the program it is loaded into is off by as many seconds as
 * a file says, whenever it says so. Nothing else is changed, and nobody else's clock. The file is
 * named by QTAP_CLOCK and holds one number of 64 bits.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static int (*original)(clockid_t, struct timespec *);
static const volatile int64_t *offset_seconds;

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("QTAP_CLOCK");
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	*(void **)&original = dlsym(RTLD_NEXT, "clock_gettime");
	if (file < 0)
		return;
	void *memory = mmap(NULL, sizeof(*offset_seconds), PROT_READ, MAP_SHARED, file, 0);
	close(file);
	if (memory != MAP_FAILED)
		offset_seconds = memory;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = original(clock, now);

	if (result == 0 && clock == CLOCK_REALTIME && offset_seconds)
		now->tv_sec += *offset_seconds;
	return result;
}
