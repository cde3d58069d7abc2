/* Lets the n-th call of a function of the C library fail, for tests: nncomp_arm("write", 3, ENOSPC). Loaded with LD_PRELOAD.
   n is 0 to only count; the count is told by nncomp_calls(). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/types.h>
#include <sys/stat.h>
#include <sys/mman.h>
#include <unistd.h>

static char armed[32];
static long wanted, calls;
static int error_number;

void nncomp_arm(const char *name, long number, int error) {
    strncpy(armed, name, sizeof armed - 1);
    wanted = number;
    error_number = error;
    calls = 0;
}

long nncomp_calls(void) { return calls; }

static int fails(const char *name) {
    if (strcmp(name, armed) != 0 || ++calls != wanted) return 0;
    errno = error_number;
    return 1;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t read(int d, void *b, size_t n) { REAL(read); return fails("read") ? -1 : real(d, b, n); }
ssize_t write(int d, const void *b, size_t n) { REAL(write); return fails("write") ? -1 : real(d, b, n); }
int fsync(int d) { REAL(fsync); return fails("fsync") ? -1 : real(d); }
int fchmod(int d, mode_t m) { REAL(fchmod); return fails("fchmod") ? -1 : real(d, m); }
int fchown(int d, uid_t u, gid_t g) { REAL(fchown); return fails("fchown") ? -1 : real(d, u, g); }
int rename(const char *a, const char *b) { REAL(rename); return fails("rename") ? -1 : real(a, b); }
int unlink(const char *a) { REAL(unlink); return fails("unlink") ? -1 : real(a); }
int dup(int d) { REAL(dup); return fails("dup") ? -1 : real(d); }
off64_t lseek64(int d, off64_t o, int w) { REAL(lseek64); return fails("lseek") ? -1 : real(d, o, w); }
int linkat(int a, const char *b, int c, const char *d, int e) { REAL(linkat); return fails("linkat") ? -1 : real(a, b, c, d, e); }
int utimensat(int a, const char *b, const struct timespec t[2], int f) { REAL(utimensat); return fails("utimensat") ? -1 : real(a, b, t, f); }
int close(int d) { REAL(close); return fails("close") ? (real(d), -1) : real(d); }
void *mmap64(void *a, size_t n, int p, int f, int d, off64_t o) { REAL(mmap64); return fails("mmap") ? MAP_FAILED : real(a, n, p, f, d, o); }

int open64(const char *path, int flags, ...) {
    REAL(open64);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return fails("open") ? -1 : real(path, flags, mode);
}
