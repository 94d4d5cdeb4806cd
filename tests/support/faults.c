/* A failing disk for LD_PRELOAD: the rules in FAULTS say which calls fail, fall short, take long, hang, or kill the process.
 *
 * FAULTS="rule;rule;…", a rule is words with a space between them:
 *   call=write,fsync     read write fsync fdatasync open mkdir rename unlink link close ftruncate
 *   path=TEXT            only where the path of the file holds this text (for a descriptor: what /proc says it is)
 *   head=TEXT            (write) only where the bytes begin with this text; _ stands for a space
 *   while=FILE           only while this file exists
 *   from=N count=M       only the matching calls number N … N+M-1 of this process, from 1 on; default: all
 *   every=K              of those, each K-th
 * and what happens:
 *   errno=NAME           the call is not made, and fails with ENOSPC, EIO, …
 *   short=K              (write) only the K-th part is written, rounded up
 *   delay=MS             the call is made, and takes so many milliseconds more
 *   hang=1               the call waits until the file of `while` is gone
 *   kill=SIGNAL          the process is sent this signal before the call
 *   killafter=SIGNAL     … after the call
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define RULES 16

struct rule {
    char calls[128], path[256], head[64], guard[512];
    long from, count, every, seen;
    int error, part, delay, hang, kill, killafter;
};

static struct rule rules[RULES];
static int known;

static const struct { const char *name; int number; } errors[] = {
    {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EIO", EIO}, {"EROFS", EROFS}, {"EFBIG", EFBIG}, {"EINTR", EINTR},
    {"EAGAIN", EAGAIN}, {"EMFILE", EMFILE}, {"ENFILE", ENFILE}, {"EACCES", EACCES}, {"ESTALE", ESTALE},
    {"EINVAL", EINVAL}, {"ENOENT", ENOENT}, {"EPERM", EPERM}, {"EXDEV", EXDEV}, {"ENOSYS", ENOSYS},
};

static int number_of(const char *name) {
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (!strcmp(errors[i].name, name)) return errors[i].number;
    fprintf(stderr, "faults.c: unknown errno %s\n", name);
    _exit(99);
}

static void read_word(struct rule *rule, char *word) {
    char *value = strchr(word, '=');
    if (!value) {
        fprintf(stderr, "faults.c: unknown word %s\n", word);
        _exit(99);
    }
    *value++ = 0;
    if (!strcmp(word, "call")) snprintf(rule->calls, sizeof rule->calls, ",%s,", value);
    else if (!strcmp(word, "path")) snprintf(rule->path, sizeof rule->path, "%s", value);
    else if (!strcmp(word, "head")) {
        snprintf(rule->head, sizeof rule->head, "%s", value);
        for (char *at = rule->head; *at; at++) if (*at == '_') *at = ' ';
    }
    else if (!strcmp(word, "while")) snprintf(rule->guard, sizeof rule->guard, "%s", value);
    else if (!strcmp(word, "from")) rule->from = atol(value);
    else if (!strcmp(word, "count")) rule->count = atol(value);
    else if (!strcmp(word, "every")) rule->every = atol(value);
    else if (!strcmp(word, "errno")) rule->error = number_of(value);
    else if (!strcmp(word, "short")) rule->part = atoi(value);
    else if (!strcmp(word, "delay")) rule->delay = atoi(value);
    else if (!strcmp(word, "hang")) rule->hang = atoi(value);
    else if (!strcmp(word, "kill")) rule->kill = atoi(value);
    else if (!strcmp(word, "killafter")) rule->killafter = atoi(value);
    else {
        fprintf(stderr, "faults.c: unknown word %s\n", word);
        _exit(99);
    }
}

__attribute__((constructor)) static void read_rules(void) {
    const char *given = getenv("FAULTS");
    if (!given) return;
    char *text = strdup(given), *outer, *inner;
    for (char *one = strtok_r(text, ";", &outer); one && known < RULES; one = strtok_r(NULL, ";", &outer)) {
        struct rule *rule = &rules[known];
        rule->from = 1;
        rule->count = 1L << 60;
        rule->every = 1;
        for (char *word = strtok_r(one, " \n", &inner); word; word = strtok_r(NULL, " \n", &inner))
            read_word(rule, word);
        if (rule->calls[0]) known++;
    }
    free(text);
}

static int there(const char *path) {
    return syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
}

static void wait_ms(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) && errno == EINTR) {}
}

/* The rule that this call meets, NULL without one. */
static struct rule *meet(const char *call, const char *path, const void *bytes, size_t size) {
    char name[40];
    snprintf(name, sizeof name, ",%s,", call);
    for (int i = 0; i < known; i++) {
        struct rule *rule = &rules[i];
        if (!strstr(rule->calls, name)) continue;
        if (rule->path[0] && (!path || !strstr(path, rule->path))) continue;
        size_t length = strlen(rule->head);
        if (length && (size < length || memcmp(bytes, rule->head, length))) continue;
        if (rule->guard[0] && !there(rule->guard)) continue;
        long place = __atomic_add_fetch(&rule->seen, 1, __ATOMIC_SEQ_CST) - rule->from;
        if (place < 0 || place >= rule->count || place % rule->every) continue;
        return rule;
    }
    return NULL;
}

static struct rule *meet_fd(const char *call, int fd, const void *bytes, size_t size) {
    int asked = 0;
    for (int i = 0; i < known; i++) asked |= strstr(rules[i].calls, call) != NULL;
    if (!asked) return NULL;
    int before = errno;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    struct rule *rule = meet(call, path, bytes, size);
    errno = before;
    return rule;
}

/* What happens before the call: true when the call is not to be made. */
static int before(struct rule *rule) {
    if (!rule) return 0;
    if (rule->kill) {
        kill(getpid(), rule->kill);
        wait_ms(10);
    }
    while (rule->hang && there(rule->guard)) wait_ms(5);
    if (rule->error) errno = rule->error;
    return rule->error != 0;
}

static void after(struct rule *rule) {
    if (!rule) return;
    int saved = errno;
    if (rule->delay) wait_ms(rule->delay);
    if (rule->killafter) {
        kill(getpid(), rule->killafter);
        wait_ms(10);
    }
    errno = saved;
}

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *bytes, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    struct rule *rule = meet_fd("write", fd, bytes, size);
    if (before(rule)) return -1;
    ssize_t result = real(fd, bytes, rule && rule->part ? (size + rule->part - 1) / rule->part : size);
    after(rule);
    return result;
}

ssize_t read(int fd, void *bytes, size_t size) {
    REAL(ssize_t, "read", int, void *, size_t);
    struct rule *rule = meet_fd("read", fd, NULL, 0);
    if (before(rule)) return -1;
    ssize_t result = real(fd, bytes, size);
    after(rule);
    return result;
}

#define ON_FD(name) \
    int name(int fd) { \
        REAL(int, #name, int); \
        struct rule *rule = meet_fd(#name, fd, NULL, 0); \
        if (before(rule)) return -1; \
        int result = real(fd); \
        after(rule); \
        return result; \
    }
ON_FD(fsync)
ON_FD(fdatasync)
ON_FD(close)

static int cut(const char *name, int fd, off_t size) {
    REAL(int, name, int, off_t);
    struct rule *rule = meet_fd("ftruncate", fd, NULL, 0);
    if (before(rule)) return -1;
    int result = real(fd, size);
    after(rule);
    return result;
}
int ftruncate(int fd, off_t size) { return cut("ftruncate", fd, size); }
int ftruncate64(int fd, off_t size) { return cut("ftruncate64", fd, size); }

#define ON_PATH(name, call, parameters, path, ...) \
    int name parameters { \
        static int (*real) parameters; \
        if (!real) real = (int (*) parameters)dlsym(RTLD_NEXT, #name); \
        struct rule *rule = known ? meet(call, path, NULL, 0) : NULL; \
        if (before(rule)) return -1; \
        int result = real(__VA_ARGS__); \
        after(rule); \
        return result; \
    }
ON_PATH(mkdir, "mkdir", (const char *path, mode_t mode), path, path, mode)
ON_PATH(mkdirat, "mkdir", (int fd, const char *path, mode_t mode), path, fd, path, mode)
ON_PATH(unlink, "unlink", (const char *path), path, path)
ON_PATH(unlinkat, "unlink", (int fd, const char *path, int flags), path, fd, path, flags)
ON_PATH(rename, "rename", (const char *from, const char *to), to, from, to)
ON_PATH(renameat, "rename", (int a, const char *from, int b, const char *to), to, a, from, b, to)
ON_PATH(link, "link", (const char *from, const char *to), to, from, to)
ON_PATH(linkat, "link", (int a, const char *from, int b, const char *to, int flags), to, a, from, b, to, flags)

#define OPENED \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    } \
    struct rule *rule = known ? meet("open", path, NULL, 0) : NULL; \
    if (before(rule)) return -1

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        static int (*real)(const char *, int, ...); \
        if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name); \
        OPENED; \
        int result = real(path, flags, mode); \
        after(rule); \
        return result; \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        static int (*real)(int, const char *, int, ...); \
        if (!real) real = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, #name); \
        OPENED; \
        int result = real(folder, path, flags, mode); \
        after(rule); \
        return result; \
    }
OPENAT(openat)
OPENAT(openat64)
