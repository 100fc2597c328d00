/* Makes a disk slower: loaded before a program (LD_PRELOAD), every fsync and fdatasync takes SLOW_FSYNC_US microseconds
 * at the least. See `benches/run --fsync`. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int slowly(const char *name, int fd) {
    const char *least = getenv("SLOW_FSYNC_US");
    long long until = now_ns() + (least ? atoll(least) * 1000LL : 0);
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int result = real(fd);
    long long left = until - now_ns();
    if (left > 0) {
        struct timespec pause = {left / 1000000000LL, left % 1000000000LL};
        nanosleep(&pause, NULL);
    }
    return result;
}

int fsync(int fd) { return slowly("fsync", fd); }

int fdatasync(int fd) { return slowly("fdatasync", fd); }
