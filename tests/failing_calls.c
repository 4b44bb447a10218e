/* Loaded before libc: makes one call, or every call from one on, on files of one folder fail as a full or a
 * broken disk makes it fail.
 *
 * The process arms it itself: fault_arm(folder, k, kind, and_after) lets k - 1 calls through. fault_disarm()
 * says how many there were. Calls are counted only while armed, on descriptors whose path, as the kernel
 * knows it, begins with the folder. Not for programs of many threads.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { ALL_ENOSPC = 0, ALL_EIO = 1, OPEN_EMFILE = 2, SHORT_WRITE = 3 };

static char folder[4096];
static long armed_at, seen;
static int kind, and_after;

void fault_arm(const char *of, long k, int of_kind, int stays)
{
    snprintf(folder, sizeof folder, "%s", of);
    armed_at = k;
    kind = of_kind;
    and_after = stays;
    seen = 0;
}

long fault_disarm(void)
{
    armed_at = 0;
    return seen;
}

static int is_due(int is_open, int is_write)
{
    if ((kind == OPEN_EMFILE && !is_open) || (kind == SHORT_WRITE && !is_write))
        return 0;
    seen++;
    return seen == armed_at || (and_after && seen > armed_at);
}

static int fails_at(const char *path, int is_open, int is_write)
{
    return armed_at && strncmp(path, folder, strlen(folder)) == 0 && is_due(is_open, is_write);
}

static int fails_on(int fd, int is_write)
{
    char link[64], path[4096];
    ssize_t n;

    if (!armed_at)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path - 1);
    if (n < 0)
        return 0;
    path[n] = 0;
    return fails_at(path, 0, is_write);
}

static int fail(void)
{
    errno = kind == ALL_EIO ? EIO : kind == OPEN_EMFILE ? EMFILE : ENOSPC;
    return -1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t n)
{
    if (!fails_on(fd, 1))
        return REAL(write)(fd, data, n);
    return kind == SHORT_WRITE && n > 1 ? REAL(write)(fd, data, n / 2) : fail();
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
    if (!fails_on(fd, 1))
        return REAL(pwrite)(fd, data, n, at);
    return kind == SHORT_WRITE && n > 1 ? REAL(pwrite)(fd, data, n / 2, at) : fail();
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at)
{
    if (!fails_on(fd, 1))
        return REAL(pwrite64)(fd, data, n, at);
    return kind == SHORT_WRITE && n > 1 ? REAL(pwrite64)(fd, data, n / 2, at) : fail();
}

#define ON_DESCRIPTOR(name, parameters, arguments) \
    int name parameters { return fails_on(fd, 0) ? fail() : REAL(name) arguments; }

ON_DESCRIPTOR(fsync, (int fd), (fd))
ON_DESCRIPTOR(fdatasync, (int fd), (fd))
ON_DESCRIPTOR(ftruncate, (int fd, off_t n), (fd, n))
ON_DESCRIPTOR(ftruncate64, (int fd, off64_t n), (fd, n))

#define OPENS(name)                                  \
    int name(const char *path, int flags, ...)       \
    {                                                \
        va_list rest;                                \
        mode_t mode;                                 \
        va_start(rest, flags);                       \
        mode = va_arg(rest, mode_t);                 \
        va_end(rest);                                \
        if (fails_at(path, 1, 0))                    \
            return fail();                           \
        return REAL(name)(path, flags, mode);        \
    }

OPENS(open)
OPENS(open64)
