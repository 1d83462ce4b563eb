/* Loaded before libc (LD_PRELOAD): keeps what the files of a folder held before each write that is not synced
   yet, so that a power cut can be played: power_cut.py takes back all that no fsync has brought to the disk.

   POWER_CUT_DIR: the folder; of its files those whose path holds "sqlite3" or ".db", but for "-shm", which no
   power cut leaves behind. POWER_CUT_LOG: where the records go: a head of six numbers, the path, the old bytes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITTEN = 1, SYNCED = 2 };
struct head { uint64_t kind, place, size, path, old, upto; };

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static int log_file = -1;

static ssize_t put(int fd, const void *data, size_t n) { return syscall(SYS_write, fd, data, n); }

static int ours(int fd, char *path) {
    const char *folder = getenv("POWER_CUT_DIR"), *log = getenv("POWER_CUT_LOG");
    char link[64];
    if (!folder || !log) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    if (strncmp(path, folder, strlen(folder)) || strstr(path, "-shm")) return 0;
    if (!strstr(path, "sqlite3") && !strstr(path, ".db")) return 0;
    if (log_file < 0) log_file = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return log_file >= 0;
}

static void record(uint64_t kind, const char *path, uint64_t place, uint64_t size, const char *old, uint64_t n,
                   uint64_t upto) {
    struct head head = {kind, place, size, strlen(path), n, upto};
    size_t whole = sizeof head + head.path + n;
    char *all = malloc(whole);
    memcpy(all, &head, sizeof head);
    memcpy(all + sizeof head, path, head.path);
    if (n) memcpy(all + sizeof head + head.path, old, n);
    if (put(log_file, all, whole) != (ssize_t)whole) abort();
    free(all);
}

/* Before `n` bytes at `place` change (or all from there on are cut off): what is there. */
static void keep(int fd, const char *path, uint64_t place, uint64_t n) {
    struct stat found;
    if (fstat(fd, &found)) abort();
    uint64_t size = found.st_size, old = place >= size ? 0 : (size - place < n ? size - place : n);
    char *bytes = malloc(old + 1);
    if (old && syscall(SYS_pread64, fd, bytes, old, place) != (ssize_t)old) abort();
    record(WRITTEN, path, place, size, bytes, old, 0);
    free(bytes);
}

ssize_t write(int fd, const void *data, size_t n) {
    char path[PATH_MAX];
    if (!ours(fd, path)) return put(fd, data, n);
    pthread_mutex_lock(&turn);
    keep(fd, path, lseek(fd, 0, SEEK_CUR), n);
    ssize_t done = put(fd, data, n);
    pthread_mutex_unlock(&turn);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t place) {
    char path[PATH_MAX];
    if (!ours(fd, path)) return syscall(SYS_pwrite64, fd, data, n, place);
    pthread_mutex_lock(&turn);
    keep(fd, path, place, n);
    ssize_t done = syscall(SYS_pwrite64, fd, data, n, place);
    pthread_mutex_unlock(&turn);
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t place) { return pwrite64(fd, data, n, place); }

int ftruncate64(int fd, off64_t size) {
    char path[PATH_MAX];
    if (!ours(fd, path)) return syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&turn);
    keep(fd, path, size, UINT64_MAX);
    int done = syscall(SYS_ftruncate, fd, size);
    pthread_mutex_unlock(&turn);
    return done;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int synced(int fd, long call) {
    char path[PATH_MAX];
    if (!ours(fd, path)) return syscall(call, fd);
    pthread_mutex_lock(&turn); /* what is written from now on may miss the sync */
    uint64_t upto = lseek(log_file, 0, SEEK_END);
    pthread_mutex_unlock(&turn);
    int done = syscall(call, fd);
    pthread_mutex_lock(&turn);
    if (!done) record(SYNCED, path, 0, 0, NULL, 0, upto);
    pthread_mutex_unlock(&turn);
    return done;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }
