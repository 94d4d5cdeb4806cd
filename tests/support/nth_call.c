/* A preloaded library that kills its process at the Nth system call on files below a folder.
 *
 * NTH_UNDER: the folder. NTH_NOT: a text that the path of a call does not have that counts. NTH_AT: which call, counted from 1
 * over all threads (0: none, only count). NTH_CALLS: names of the calls that count, with commas around and between them
 * (",write,rename,"). NTH_HOW: "before" the call is made, "half" (a write of half the bytes, then the end), or "after" it; with
 * "stop" the process is stopped before the call, not killed.
 * At the end of the process the count is told through TOLD_FD.
 *
 * A process that was forked off counts nothing, unless it calls nth_arm(), which sets these anew for it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define MOST 65536

static atomic_int calls;
static char kinds[MOST + 1]; /* of each call so far the first letter of its name */
static pid_t owner;
static int at;
static const char *under, *names, *how, *except;

__attribute__((constructor)) static void begin(void) {
    owner = getpid();
    under = getenv("NTH_UNDER");
    names = getenv("NTH_CALLS");
    how = getenv("NTH_HOW");
    except = getenv("NTH_NOT");
    at = atoi(getenv("NTH_AT") ? getenv("NTH_AT") : "0");
    unsetenv("LD_PRELOAD"); /* what the process starts is left alone */
}

void nth_arm(const char *folder, int number, const char *way) {
    owner = getpid();
    under = strdup(folder);
    how = strdup(way);
    at = number;
    memset(kinds, 0, sizeof kinds);
    atomic_store(&calls, 0);
}

const char *nth_calls(void) { return kinds; }

static void end(void) { kill(getpid(), SIGKILL); }

static int wanted(const char *name, const char *path) {
    char word[40];
    if (!under || !names || !how || getpid() != owner || strncmp(path, under, strlen(under)) != 0) return 0;
    if (except && strstr(path, except)) return 0;
    snprintf(word, sizeof word, ",%s,", name);
    if (!strstr(names, word)) return 0;
    int number = atomic_fetch_add(&calls, 1);
    if (number < MOST) kinds[number] = name[0];
    return number + 1 == at;
}

static int wanted_fd(const char *name, int fd) {
    char link[40], path[PATH_MAX];
    if (!under) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return wanted(name, path);
}

__attribute__((destructor)) static void count(void) {
    char text[40];
    if (getenv("TOLD_FD") && under && getpid() == owner)
        dprintf(atoi(getenv("TOLD_FD")), "%.*s", snprintf(text, sizeof text, "calls %d\n", (int)calls), text);
}

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))
#define AROUND(hit, call)                                \
    if ((hit) && !strcmp(how, "stop")) {                 \
        raise(SIGSTOP);                                  \
        return call;                                     \
    }                                                    \
    if ((hit) && strcmp(how, "after") != 0) end();       \
    typeof(call) result = call;                          \
    if (hit) end();                                      \
    return result;

ssize_t write(int fd, const void *data, size_t size) {
    int hit = wanted_fd("write", fd);
    if (hit && !strcmp(how, "half")) {
        REAL(write)(fd, data, size / 2);
        end();
    }
    AROUND(hit, REAL(write)(fd, data, size))
}

int fsync(int fd) { int hit = wanted_fd("fsync", fd); AROUND(hit, REAL(fsync)(fd)) }
int close(int fd) { int hit = wanted_fd("close", fd); AROUND(hit, REAL(close)(fd)) }
int dup2(int from, int to) { int hit = wanted_fd("dup2", from); AROUND(hit, REAL(dup2)(from, to)) }
int dup3(int from, int to, int flags) { int hit = wanted_fd("dup2", from); AROUND(hit, REAL(dup3)(from, to, flags)) }
int ftruncate64(int fd, off64_t size) { int hit = wanted_fd("ftruncate", fd); AROUND(hit, REAL(ftruncate64)(fd, size)) }
int rename(const char *from, const char *to) { int hit = wanted("rename", to); AROUND(hit, REAL(rename)(from, to)) }
int unlink(const char *path) { int hit = wanted("unlink", path); AROUND(hit, REAL(unlink)(path)) }
int link(const char *from, const char *to) { int hit = wanted("link", to); AROUND(hit, REAL(link)(from, to)) }
int rmdir(const char *path) { int hit = wanted("rmdir", path); AROUND(hit, REAL(rmdir)(path)) }
int mkdir(const char *path, mode_t mode) { int hit = wanted("mkdir", path); AROUND(hit, REAL(mkdir)(path, mode)) }

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    int hit = wanted("link", to);
    AROUND(hit, REAL(linkat)(from_folder, from, to_folder, to, flags))
}

int unlinkat(int folder, const char *path, int flags) {
    int hit = path[0] == '/' ? wanted("unlink", path) : wanted_fd("unlink", folder);
    AROUND(hit, REAL(unlinkat)(folder, path, flags))
}

int ioctl(int fd, unsigned long request, ...) {
    va_list more;
    va_start(more, request);
    void *argument = va_arg(more, void *);
    va_end(more);
    int hit = request == FICLONE && wanted_fd("clone", fd);
    AROUND(hit, REAL(ioctl)(fd, request, argument))
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    int hit = (flags & O_ACCMODE) != O_RDONLY && wanted("open", path);
    AROUND(hit, REAL(open64)(path, flags, mode))
}
