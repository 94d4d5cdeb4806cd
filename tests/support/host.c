/* A preloaded library that gives its process another host's name: HOST_NAME. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

int uname(struct utsname *facts) {
    int result = ((int (*)(struct utsname *))dlsym(RTLD_NEXT, "uname"))(facts);
    const char *name = getenv("HOST_NAME");
    if (result == 0 && name) {
        memset(facts->nodename, 0, sizeof facts->nodename);
        strncpy(facts->nodename, name, sizeof facts->nodename - 1);
    }
    return result;
}
