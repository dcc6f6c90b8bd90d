/* Lets a file system become read-only under a process, as Linux does with a disk that fails: while the file that
   TEST_READ_ONLY_FILE names is there, regular files can neither be created nor written. Loaded with LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_read_only(void) {
    const char *file = getenv("TEST_READ_ONLY_FILE");
    return file != NULL && access(file, F_OK) == 0;
}

static int is_refused(int descriptor) {
    struct stat found;
    /* The log of the server is on another file system. */
    return descriptor > 2 && is_read_only() && fstat(descriptor, &found) == 0 && S_ISREG(found.st_mode);
}

#define REFUSE(descriptor) if (is_refused(descriptor)) { errno = EROFS; return -1; }
#define REAL(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))

ssize_t write(int d, const void *bytes, size_t count) { REFUSE(d) return REAL(write)(d, bytes, count); }
ssize_t pwrite(int d, const void *bytes, size_t count, off_t at) { REFUSE(d) return REAL(pwrite)(d, bytes, count, at); }
ssize_t pwrite64(int d, const void *bytes, size_t count, off64_t at) { REFUSE(d) return REAL(pwrite64)(d, bytes, count, at); }
int ftruncate(int d, off_t length) { REFUSE(d) return REAL(ftruncate)(d, length); }
int ftruncate64(int d, off64_t length) { REFUSE(d) return REAL(ftruncate64)(d, length); }

#define OPEN(name)                                                                      \
    int name(const char *path, int flags, ...) {                                        \
        mode_t mode = 0;                                                                \
        if (flags & O_CREAT) {                                                          \
            va_list rest;                                                               \
            va_start(rest, flags);                                                      \
            mode = va_arg(rest, mode_t);                                                \
            va_end(rest);                                                               \
        }                                                                               \
        if ((flags & (O_CREAT | O_WRONLY | O_RDWR)) && is_read_only()) {                \
            errno = EROFS;                                                              \
            return -1;                                                                  \
        }                                                                               \
        return REAL(name)(path, flags, mode);                                           \
    }
OPEN(open)
OPEN(open64)
