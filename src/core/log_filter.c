#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/log.h"

static const char *const target_names[] = {
#define X(id, name) name,
    SLIM_LOG_TARGETS(X)
#undef X
};

/* One name of the level in any case; -1: none. */
static int level_parse(const char *s, size_t n)
{
    static const char *const names[] = {"off", "error", "warn", "info", "debug", "trace"};

    for (int i = 0; i < 6; i++)
        if (strlen(names[i]) == n && strncasecmp(names[i], s, n) == 0)
            return i;
    return -1;
}

/* A directive selects every target that begins with its name, at a module boundary. A longer name beats a shorter one. */
static bool selects(const char *name, size_t n, const char *target)
{
    return strncmp(target, name, n) == 0 && (target[n] == '\0' || target[n] == ':');
}

static void apply(const char *name, size_t n, int level, size_t *best)
{
    for (size_t t = 0; t < SLIM_LOG_TARGET_COUNT; t++) {
        if (selects(name, n, target_names[t]) && n >= best[t]) {
            slim_log_levels[t] = (uint8_t)level;
            best[t] = n;
        }
    }
}

/* `target=level`, `target`, `target[span]=level`, or a level alone; the latter sets what nothing else selects. */
static bool directive(const char *s, size_t n, int bare_level, size_t *best)
{
    const char *eq = memchr(s, '=', n), *span = memchr(s, '[', n);
    size_t name_n = eq != NULL ? (size_t)(eq - s) : n;
    int level = eq != NULL ? level_parse(eq + 1, n - name_n - 1) : bare_level;

    if (span != NULL && (size_t)(span - s) < name_n)
        name_n = (size_t)(span - s);
    if (eq == NULL && level_parse(s, n) >= 0) {
        for (size_t t = 0; t < SLIM_LOG_TARGET_COUNT; t++)
            if (best[t] == 0)
                slim_log_levels[t] = (uint8_t)level_parse(s, n);
        return true;
    }
    if (level < 0 || name_n == 0)
        return false;
    for (size_t i = 0; i < name_n; i++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:-", s[i]) == NULL)
            return false;
    apply(s, name_n, level, best);
    return true;
}

static void report(void (*bad)(void *arg, const char *directive), void *arg, const char *s, size_t n)
{
    char text[128];

    if (bad == NULL)
        return;
    snprintf(text, sizeof(text), "%.*s", (int)(n < 120 ? n : 120), s);
    bad(arg, text);
}

void slim_log_configure(const char *level, const char *const *filters, size_t n_filters, const char *rust_log,
                        void (*bad)(void *arg, const char *directive), void *arg)
{
    size_t best[SLIM_LOG_TARGET_COUNT] = {0};
    int all = level_parse(level, strlen(level));

    if (all < 0)
        all = SLIM_INFO;
    memset(slim_log_levels, rust_log != NULL ? SLIM_OFF : all, sizeof(slim_log_levels));
    if (rust_log == NULL) {
        for (size_t i = 0; i < n_filters; i++)
            if (!directive(filters[i], strlen(filters[i]), all, best))
                report(bad, arg, filters[i], strlen(filters[i]));
        return;
    }
    while (*rust_log != '\0') {
        size_t n = strcspn(rust_log, ",");

        /* A bare target means everything of it. */
        if (n > 0 && !directive(rust_log, n, SLIM_TRACE, best))
            report(bad, arg, rust_log, n);
        rust_log += n + (rust_log[n] == ',');
    }
}
