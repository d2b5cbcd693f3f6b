#include "bin/memory.h"

#include <stdio.h>
#include <unistd.h>

int64_t slim_memory_bytes(void)
{
    int64_t all = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    FILE *f = fopen("/sys/fs/cgroup/memory.max", "re");
    long long limit;

    if (f == NULL)
        return all;
    /* "max" does not parse and means no limit. */
    if (fscanf(f, "%lld", &limit) == 1 && limit > 0 && limit < all)
        all = limit;
    fclose(f);
    return all;
}
