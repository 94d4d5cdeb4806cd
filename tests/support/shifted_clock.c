/* A preloaded library that shifts the wall clock of its process by the seconds that stand, as text, in the file SHIFT_FILE.
 * The file is read at each call, so that the clock can jump while the process runs. Monotonic clocks are left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int shift_file = -1;

__attribute__((constructor)) static void begin(void) {
    if (getenv("SHIFT_FILE")) shift_file = open(getenv("SHIFT_FILE"), O_RDONLY | O_CLOEXEC);
}

static long long shift(void) {
    char text[32] = "";
    return shift_file >= 0 && pread(shift_file, text, sizeof text - 1, 0) > 0 ? atoll(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return result;
}

time_t time(time_t *where) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (where) *where = exact.tv_sec;
    return exact.tv_sec;
}
