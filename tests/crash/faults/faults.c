/* Faults of a disk, on demand: preloaded into a process, it stands between the process and libc for all files below
 * one directory, and does to them what a page of shared memory says.
 *
 * FAULTS_BELOW is the directory, FAULTS_CONTROL a file that holds one `struct control`; tests/crash/faults/disk.py
 * has the same fields in the same order. FAULTS_DURABLE, where it is set, is a directory that gets what a power cut
 * would leave: a file's bytes come there when the file is synced. Bytes whose sync failed never do unless they are
 * written again, because the kernel takes them for written. Names are durable at once.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct control {
    /* What to do. Which files: 1 those that end in -wal, 2 in .db, 4 in -shm, 8 all others. */
    _Atomic int64_t files;
    _Atomic int64_t write_errno;    /* Writes fail with it once `write_bytes` have been written. */
    _Atomic int64_t write_bytes;    /* Bytes that may still be written; counted down while `write_errno` is set. */
    _Atomic int64_t short_writes;   /* Of every so many writes one writes a part only; 0 none. */
    _Atomic int64_t sync_errno;     /* fsync and fdatasync fail with it. */
    _Atomic int64_t sync_failures;  /* Syncs that are still to fail; -1 all. */
    _Atomic int64_t sync_micros;    /* How long every sync takes longer. */
    _Atomic int64_t read_errno;     /* Reads fail with it. */
    _Atomic int64_t change_errno;   /* Opening for writing, making, removing and truncating fail with it. */
    /* What was seen, whether or not it failed. */
    _Atomic int64_t opened;
    _Atomic int64_t written;
    _Atomic int64_t synced;
    _Atomic int64_t failed;
};

enum { WAL = 1, DATABASE = 2, MEMORY = 4, OTHER = 8, FILES = 65536 };

static struct control *control;
static char below[PATH_MAX];
static size_t below_length;
static _Atomic unsigned char kinds[FILES];

/* What was done to a file since it was last synced, in order: bytes written, or (size -1) a new length. */
struct change {
    off64_t at;
    ssize_t size;
};
struct file {
    char path[PATH_MAX];
    struct change *changes;
    size_t count, room;
};
enum { KEPT_FILES = 1024 };
static char durable[PATH_MAX];
static struct file *files[KEPT_FILES];
static _Atomic short numbers[FILES]; /* Of an open file: its place in `files`, plus 1. */
static pthread_mutex_t keeping = PTHREAD_MUTEX_INITIALIZER;

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static ssize_t (*real_read)(int, void *, size_t);
static ssize_t (*real_pread)(int, void *, size_t, off64_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off64_t);
static int (*real_fallocate)(int, off64_t, off64_t);
static int (*real_close)(int);
static int (*real_unlink)(const char *);
static int (*real_rename)(const char *, const char *);
static int (*real_mkdir)(const char *, mode_t);

__attribute__((constructor)) static void begin(void) {
    real_open = dlsym(RTLD_NEXT, "open64");
    real_openat = dlsym(RTLD_NEXT, "openat64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_read = dlsym(RTLD_NEXT, "read");
    real_pread = dlsym(RTLD_NEXT, "pread64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fallocate = dlsym(RTLD_NEXT, "posix_fallocate64");
    real_close = dlsym(RTLD_NEXT, "close");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_rename = dlsym(RTLD_NEXT, "rename");
    real_mkdir = dlsym(RTLD_NEXT, "mkdir");
    const char *folder = getenv("FAULTS_BELOW"), *page = getenv("FAULTS_CONTROL");
    if (!folder || !page || !realpath(folder, below)) return;
    below_length = strlen(below);
    int fd = real_open(page, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    real_close(fd);
    const char *kept = getenv("FAULTS_DURABLE");
    if (kept) snprintf(durable, sizeof durable, "%s", kept);
    if (mapped != MAP_FAILED) control = mapped;
}

/* The kind of a file below the directory; 0 for all others. Only absolute paths are looked at: the store uses no
 * other ones. */
static int kind_of(const char *path) {
    if (!control || strncmp(path, below, below_length) || path[below_length] != '/') return 0;
    size_t length = strlen(path);
#define ENDS(ending) (length >= sizeof(ending) - 1 && !strcmp(path + length - (sizeof(ending) - 1), ending))
    if (ENDS("-wal")) return WAL;
    if (ENDS("-shm")) return MEMORY;
    return ENDS(".db") ? DATABASE : OTHER;
}

static int kind_of_fd(int fd) { return fd >= 0 && fd < FILES ? kinds[fd] : 0; }

static int fail(int64_t number) {
    control->failed++;
    errno = (int)number;
    return -1;
}

/* What an operation on a kind of file fails with; 0 not at all. */
static int64_t asked(int kind, _Atomic int64_t *number) { return kind && (control->files & kind) ? *number : 0; }

/* The same file in the durable directory; "" where there is none. */
static const char *durable_path(const char *path, char *place) {
    int kind = kind_of(path);
    place[0] = 0;
    if (durable[0] && kind && kind != MEMORY) snprintf(place, PATH_MAX, "%s%s", durable, path + below_length);
    return place;
}

static void keep_file(int fd, const char *path, int flags) {
    char place[PATH_MAX];
    if (fd < 0 || fd >= FILES) return;
    numbers[fd] = 0;
    if (!*durable_path(path, place) || flags & O_DIRECTORY) return;
    if (flags & O_CREAT) real_close(real_open(place, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    pthread_mutex_lock(&keeping);
    int number = 0;
    while (number < KEPT_FILES && files[number] && strcmp(files[number]->path, path)) number++;
    if (number < KEPT_FILES) {
        if (!files[number]) {
            files[number] = calloc(1, sizeof **files);
            snprintf(files[number]->path, PATH_MAX, "%s", path);
        }
        numbers[fd] = (short)(number + 1);
    }
    pthread_mutex_unlock(&keeping);
}

static void note(int fd, off64_t at, ssize_t size) {
    if (fd < 0 || fd >= FILES || !numbers[fd]) return;
    pthread_mutex_lock(&keeping);
    struct file *file = files[numbers[fd] - 1];
    if (file->count == file->room) {
        file->room = file->room ? 2 * file->room : 64;
        file->changes = realloc(file->changes, file->room * sizeof *file->changes);
    }
    file->changes[file->count++] = (struct change){at, size};
    pthread_mutex_unlock(&keeping);
}

/* Make durable what was done to a file; after a sync that failed only the new lengths, and forget the rest. */
static void settle(int fd, int synced) {
    char place[PATH_MAX];
    if (fd < 0 || fd >= FILES || !numbers[fd]) return;
    pthread_mutex_lock(&keeping);
    struct file *file = files[numbers[fd] - 1];
    int to = real_open(durable_path(file->path, place), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (size_t number = 0; to >= 0 && number < file->count; number++) {
        struct change change = file->changes[number];
        if (change.size < 0) {
            if (real_ftruncate(to, change.at)) abort();
        } else if (synced) {
            char *data = malloc((size_t)change.size);
            ssize_t got = real_pread(fd, data, (size_t)change.size, change.at);
            if (got > 0 && real_pwrite(to, data, (size_t)got, change.at) != got) abort();
            free(data);
        }
    }
    if (to >= 0) real_close(to);
    file->count = 0;
    pthread_mutex_unlock(&keeping);
}

static int remember(int fd, int kind, const char *path, int flags) {
    if (fd >= 0 && fd < FILES) kinds[fd] = (unsigned char)kind;
    if (fd >= 0 && kind) {
        control->opened++;
        keep_file(fd, path, flags);
    }
    return fd;
}

static int refuses(int kind, int flags) {
    int64_t number = kind ? asked(kind, &control->change_errno) : 0;
    return number && ((flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC)) ? fail(number) : 0;
}

#define OPEN(name)                                                        \
    int name(const char *path, int flags, ...) {                          \
        va_list rest;                                                     \
        va_start(rest, flags);                                            \
        mode_t mode = va_arg(rest, mode_t);                               \
        va_end(rest);                                                     \
        int kind = kind_of(path);                                         \
        if (refuses(kind, flags)) return -1;                              \
        return remember(real_open(path, flags, mode), kind, path, flags);              \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                      \
    int name(int folder, const char *path, int flags, ...) {              \
        va_list rest;                                                     \
        va_start(rest, flags);                                            \
        mode_t mode = va_arg(rest, mode_t);                               \
        va_end(rest);                                                     \
        int kind = kind_of(path);                                         \
        if (refuses(kind, flags)) return -1;                              \
        return remember(real_openat(folder, path, flags, mode), kind, path, flags);    \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
    if (fd >= 0 && fd < FILES) {
        kinds[fd] = 0;
        numbers[fd] = 0;
    }
    return real_close(fd);
}

/* How many of `size` bytes may be written: fewer for a short write or a disk that gets full; -1 none, with errno. */
static ssize_t allowed(int kind, size_t size) {
    static _Atomic int64_t writes;
    control->written++;
    int64_t number = asked(kind, &control->write_errno);
    if (number) {
        int64_t left = atomic_fetch_sub(&control->write_bytes, (int64_t)size);
        if (left <= 0) return fail(number);
        if (left < (int64_t)size) return left;
    }
    int64_t every = asked(kind, &control->short_writes);
    if (every && size > 1 && !(++writes % every)) return (ssize_t)(size / 2);
    return (ssize_t)size;
}

ssize_t write(int fd, const void *data, size_t size) {
    int kind = kind_of_fd(fd);
    ssize_t most = kind ? allowed(kind, size) : (ssize_t)size;
    ssize_t done = most < 0 ? -1 : real_write(fd, data, (size_t)most);
    if (kind && done > 0) note(fd, lseek64(fd, 0, SEEK_CUR) - done, done);
    return done;
}

#define PWRITE(name)                                                      \
    ssize_t name(int fd, const void *data, size_t size, off64_t at) {     \
        int kind = kind_of_fd(fd);                                        \
        ssize_t most = kind ? allowed(kind, size) : (ssize_t)size;        \
        ssize_t done = most < 0 ? -1 : real_pwrite(fd, data, (size_t)most, at); \
        if (kind && done > 0) note(fd, at, done);                         \
        return done;                                                      \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t read(int fd, void *data, size_t size) {
    int64_t number = asked(kind_of_fd(fd), &control->read_errno);
    return number ? fail(number) : real_read(fd, data, size);
}

#define PREAD(name)                                                       \
    ssize_t name(int fd, void *data, size_t size, off64_t at) {           \
        int64_t number = asked(kind_of_fd(fd), &control->read_errno);     \
        return number ? fail(number) : real_pread(fd, data, size, at);    \
    }
PREAD(pread)
PREAD(pread64)

static int sync_with(int (*real)(int), int fd) {
    int kind = kind_of_fd(fd);
    if (!kind) return real(fd);
    control->synced++;
    int64_t micros = asked(kind, &control->sync_micros), number = asked(kind, &control->sync_errno);
    if (micros) {
        struct timespec pause = {micros / 1000000, micros % 1000000 * 1000};
        nanosleep(&pause, NULL);
    }
    if (number && control->sync_failures) {
        if (control->sync_failures > 0) control->sync_failures--;
        settle(fd, 0);
        return fail(number);
    }
    int done = real(fd);
    settle(fd, !done);
    return done;
}

int fsync(int fd) { return sync_with(real_fsync, fd); }
int fdatasync(int fd) { return sync_with(real_fdatasync, fd); }

static int truncate_fd(int fd, off64_t size) {
    int kind = kind_of_fd(fd);
    int64_t number = kind ? asked(kind, &control->change_errno) : 0;
    if (number) return fail(number);
    int done = real_ftruncate(fd, size);
    if (kind && !done) note(fd, size, -1);
    return done;
}

int ftruncate(int fd, off_t size) { return truncate_fd(fd, size); }
int ftruncate64(int fd, off64_t size) { return truncate_fd(fd, size); }

static int allocate(int fd, off64_t at, off64_t size) {
    int kind = kind_of_fd(fd);
    int64_t number = kind ? asked(kind, &control->write_errno) : 0;
    if (number && control->write_bytes <= 0) {
        control->failed++;
        return (int)number;
    }
    return real_fallocate(fd, at, size);
}

int posix_fallocate(int fd, off_t at, off_t size) { return allocate(fd, at, size); }
int posix_fallocate64(int fd, off64_t at, off64_t size) { return allocate(fd, at, size); }

static int may_change(const char *path) {
    int kind = kind_of(path);
    int64_t number = kind ? asked(kind, &control->change_errno) : 0;
    return number ? fail(number) : 0;
}

int unlink(const char *path) {
    char place[PATH_MAX];
    if (may_change(path)) return -1;
    if (*durable_path(path, place)) real_unlink(place);
    return real_unlink(path);
}

int rename(const char *from, const char *to) {
    char before[PATH_MAX], after[PATH_MAX];
    if (may_change(to)) return -1;
    if (*durable_path(from, before) && *durable_path(to, after)) real_rename(before, after);
    return real_rename(from, to);
}

int mkdir(const char *path, mode_t mode) {
    char place[PATH_MAX];
    if (may_change(path)) return -1;
    if (*durable_path(path, place)) real_mkdir(place, mode);
    return real_mkdir(path, mode);
}
