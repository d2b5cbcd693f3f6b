#include "support/support.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

slim_bytes test_hex(const char *hex)
{
    uint8_t *out = malloc(strlen(hex) / 2 + 1);
    size_t n = 0;
    int high = -1;

    for (; *hex != '\0'; hex++) {
        int v;

        if (isspace((unsigned char)*hex))
            continue;
        v = isdigit((unsigned char)*hex) ? *hex - '0' : tolower((unsigned char)*hex) - 'a' + 10;
        if (v < 0 || v > 15)
            abort();
        if (high < 0) {
            high = v;
        } else {
            out[n++] = (uint8_t)(high << 4 | v);
            high = -1;
        }
    }
    if (high >= 0)
        abort();
    return slim_bytes_of(out, n);
}

slim_bytes test_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    size_t n = 0, cap = 4096;
    uint8_t *out = malloc(cap);

    if (f == NULL) {
        fprintf(stderr, "cannot read %s\n", path);
        abort();
    }
    for (;;) {
        size_t got = fread(out + n, 1, cap - n, f);

        if (got == 0)
            break;
        n += got;
        if (n == cap)
            out = realloc(out, cap *= 2);
    }
    fclose(f);
    return slim_bytes_of(out, n);
}

static void *test_resize(slim_mem *self, void *p, size_t n)
{
    test_mem *t = (test_mem *)self;
    void *q;

    if (t->fail_at >= 0 && t->calls++ == t->fail_at) {
        t->failed = true;
        return NULL;
    }
    if ((q = realloc(p, n)) != NULL && p == NULL)
        t->live++;
    return q;
}

static void test_release(slim_mem *self, void *p)
{
    ((test_mem *)self)->live--;
    free(p);
}

void test_mem_init(test_mem *t, long fail_at)
{
    *t = (test_mem){{test_resize, test_release}, fail_at, 0, 0, false};
}

uint64_t test_seed(void)
{
    const char *s = getenv("SLIM_TEST_SEED");
    uint64_t seed = s != NULL ? strtoull(s, NULL, 0) : (uint64_t)time(NULL) * 1000003u;

    fprintf(stderr, "SLIM_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

uint64_t test_rand(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
