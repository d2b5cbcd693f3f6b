#include "core/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/bytes.h"

#define LINE_BYTES 2048

static const char *const target_names[] = {
#define X(id, name) name,
    SLIM_LOG_TARGETS(X)
#undef X
};

uint8_t slim_log_levels[SLIM_LOG_TARGET_COUNT];
slim_log_style slim_log_style_now = {.thread_names = true};

static slim_log_sink sink;
static void *sink_arg;
static uint64_t (*sink_wall_ns)(void);
static _Thread_local const char *thread_name = "";

void slim_log_thread_name(const char *name)
{
    thread_name = name;
}

void slim_log_set_sink(slim_log_sink s, void *arg, uint64_t (*wall_ns)(void))
{
    sink = s;
    sink_arg = arg;
    sink_wall_ns = wall_ns;
}

typedef struct line {
    char text[LINE_BYTES];
    size_t n;
} line;

static void add(line *l, const char *s)
{
    size_t n = strlen(s), room = LINE_BYTES - 1 - l->n;

    if (n > room)
        n = room;
    memcpy(l->text + l->n, s, n);
    l->n += n;
}

static void paint(line *l, const char *code)
{
    if (slim_log_style_now.color)
        add(l, code);
}

/* How long the valid UTF-8 character at p is, 0 when there is none. */
static size_t character(const char *p)
{
    size_t left = strnlen(p, 4);

    for (size_t n = 1; n <= left; n++)
        if (slim_utf8_valid(slim_bytes_of(p, n)))
            return n;
    return 0;
}

/* Peers choose some of the text: control characters (also ESC and newlines) and broken UTF-8 are shown as \xNN. A tab passes. */
static void add_escaped(line *l, const char *s)
{
    while (*s != '\0' && l->n + 5 < LINE_BYTES) {
        unsigned char c = (unsigned char)*s;
        size_t n = character(s);

        if (n == 0 || (c < 0x20 && c != '\t') || c == 0x7f) {
            char hex[8];

            snprintf(hex, sizeof(hex), "\\x%02x", c);
            add(l, hex);
            s++;
        } else {
            char one[5] = "";

            memcpy(one, s, n);
            add(l, one);
            s += n;
        }
    }
}

static void add_time(line *l)
{
    uint64_t ns = sink_wall_ns != NULL ? sink_wall_ns() : 0;
    time_t s = (time_t)(ns / 1000000000u);
    char stamp[48], whole[80];
    struct tm tm;

    gmtime_r(&s, &tm);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(whole, sizeof(whole), "%s.%06uZ", stamp, (unsigned)(ns % 1000000000u / 1000));
    paint(l, "\x1b[2m");
    add(l, whole);
    paint(l, "\x1b[0m");
}

static void add_level(line *l, slim_level level)
{
    static const char *const names[] = {"  OFF", "ERROR", " WARN", " INFO", "DEBUG", "TRACE"};
    static const char *const colors[] = {"", "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[34m", "\x1b[35m"};

    add(l, " ");
    paint(l, colors[level]);
    add(l, names[level]);
    paint(l, "\x1b[0m");
}

void slim_log_write_xt(slim_level level, slim_target t, int number, const char *fmt, ...)
{
    char message[LINE_BYTES], small[64];
    line l = {.n = 0};
    va_list ap;

    if (sink == NULL)
        return;
    va_start(ap, fmt);
    vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    add_time(&l);
    add_level(&l, level);
    if (slim_log_style_now.thread_names && thread_name[0] != '\0') {
        add(&l, " ");
        add(&l, thread_name);
    }
    if (slim_log_style_now.thread_ids) {
        snprintf(small, sizeof(small), " ThreadId(%lu)", (unsigned long)pthread_self() % 100000);
        add(&l, small);
    }
    add(&l, " ");
    paint(&l, "\x1b[2m");
    add(&l, target_names[t]);
    add(&l, ":");
    snprintf(small, sizeof(small), " %d:", number);
    add(&l, small);
    paint(&l, "\x1b[0m");
    add(&l, " ");
    add_escaped(&l, message);
    l.text[l.n++] = '\n';
    sink(sink_arg, l.text, l.n);
}

bool slim_log_rate_take(slim_log_rate *r, uint64_t now_ns, uint32_t burst, uint32_t per_s, uint32_t *suppressed)
{
    uint64_t gained;

    if (r->last_ns == 0) {
        r->tokens_milli = burst * 1000;
    } else {
        /* A thousandth of a line per microsecond step, capped before the product can overflow. */
        uint64_t us = now_ns > r->last_ns ? (now_ns - r->last_ns) / 1000 : 0;

        if (us > 3600000000u)
            us = 3600000000u;
        gained = us * per_s / 1000;
        r->tokens_milli = gained + r->tokens_milli > (uint64_t)burst * 1000 ? burst * 1000 : (uint32_t)(r->tokens_milli + gained);
        if (gained == 0)
            now_ns = r->last_ns; /* keep the rest for the next look */
    }
    r->last_ns = now_ns != 0 ? now_ns : 1;
    if (r->tokens_milli < 1000) {
        r->suppressed++;
        return false;
    }
    r->tokens_milli -= 1000;
    *suppressed = r->suppressed;
    r->suppressed = 0;
    return true;
}
