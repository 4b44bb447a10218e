/* Loaded before libc: notes every change of the files of one folder, in order and with its data, so that what
 * a disk could hold after a power cut can be put together later.
 *
 * The process arms it itself: record_start(folder, log); record_mark(n) notes a moment; record_stop().
 * A record is an operation, the lengths of path and data, a number (offset or size), path and data; all numbers
 * are little-endian. The -shm file is memory, not disk, and is left out. Not for programs of many threads.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static char folder[4096];
static int out = -1;

static int is_inside(const char *path)
{
    size_t n = strlen(folder), m = strlen(path);
    return out >= 0 && strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == 0)
        && !(m > 4 && strcmp(path + m - 4, "-shm") == 0) && !(m > 10 && strcmp(path + m - 10, " (deleted)") == 0);
}

static void note(char operation, const char *path, uint64_t number, const void *data, uint64_t n)
{
    struct __attribute__((packed)) { char operation; uint32_t path; uint64_t data, number; } head;
    head.operation = operation;
    head.path = (uint32_t)strlen(path);
    head.data = n;
    head.number = number;
    if (REAL(write)(out, &head, sizeof head) != (ssize_t)sizeof head
        || REAL(write)(out, path, head.path) != (ssize_t)head.path
        || (n && REAL(write)(out, data, n) != (ssize_t)n))
        _exit(99);
}

static void note_at(char operation, int fd, uint64_t number, const void *data, uint64_t n)
{
    char link[64], path[4096];
    ssize_t length;

    if (out < 0)
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return;
    path[length] = 0;
    if (is_inside(path))
        note(operation, path, number, data, n);
}

int record_start(const char *of, const char *log)
{
    snprintf(folder, sizeof folder, "%s", of);
    out = REAL(open)(log, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    return out;
}

void record_mark(long n)
{
    note('M', "", (uint64_t)n, 0, 0);
}

void record_stop(void)
{
    close(out);
    out = -1;
}

ssize_t write(int fd, const void *data, size_t n)
{
    off_t at = out < 0 ? 0 : lseek(fd, 0, SEEK_CUR);
    ssize_t done = REAL(write)(fd, data, n);
    if (done > 0 && at >= 0)
        note_at('W', fd, (uint64_t)at, data, (uint64_t)done);
    return done;
}

#define WRITES(name, offset)                                              \
    ssize_t name(int fd, const void *data, size_t n, offset at)           \
    {                                                                     \
        ssize_t done = REAL(name)(fd, data, n, at);                       \
        if (done > 0)                                                     \
            note_at('W', fd, (uint64_t)at, data, (uint64_t)done);         \
        return done;                                                      \
    }

#define ON_DESCRIPTOR(name, parameters, arguments, operation, number)     \
    int name parameters                                                   \
    {                                                                     \
        int failed = REAL(name) arguments;                                \
        if (!failed)                                                      \
            note_at(operation, fd, (uint64_t)(number), 0, 0);             \
        return failed;                                                    \
    }

#define ON_PATH(name, parameters, arguments, operation)                   \
    int name parameters                                                   \
    {                                                                     \
        int failed = REAL(name) arguments;                                \
        if (!failed && is_inside(path))                                   \
            note(operation, path, 0, 0, 0);                               \
        return failed;                                                    \
    }

WRITES(pwrite, off_t)
WRITES(pwrite64, off64_t)
ON_DESCRIPTOR(fsync, (int fd), (fd), 'S', 0)
ON_DESCRIPTOR(fdatasync, (int fd), (fd), 'S', 0)
ON_DESCRIPTOR(ftruncate, (int fd, off_t n), (fd, n), 'T', n)
ON_DESCRIPTOR(ftruncate64, (int fd, off64_t n), (fd, n), 'T', n)
ON_PATH(unlink, (const char *path), (path), 'U')
ON_PATH(mkdir, (const char *path, mode_t mode), (path, mode), 'D')

int rename(const char *path, const char *to)
{
    int failed = REAL(rename)(path, to);
    if (!failed && is_inside(path))
        note('R', path, 0, to, strlen(to));
    return failed;
}
