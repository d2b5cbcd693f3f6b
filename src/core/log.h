/* Log lines in upstream's form (node.md 1.4, 6.1): level, target, message, key=value pairs. Callers format into a line; one sink,
 * set once at start, takes it away without blocking them. */
#ifndef SLIM_CORE_LOG_H
#define SLIM_CORE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum slim_level { SLIM_OFF = 0, SLIM_ERROR = 1, SLIM_WARN = 2, SLIM_INFO = 3, SLIM_DEBUG = 4, SLIM_TRACE = 5 } slim_level;

/* Category names are upstream's module names, so that existing filters select sensibly. */
#define SLIM_LOG_TARGETS(X)                                                                                                        \
    X(DATAPATH, "slim_datapath")                                                                                                   \
    X(SERVICE, "slim_service")                                                                                                     \
    X(CONTROLLER, "slim_controller")                                                                                               \
    X(AUTH, "slim_auth")                                                                                                           \
    X(CONFIG, "slim_config")                                                                                                       \
    X(SESSION, "slim_session")                                                                                                     \
    X(MLS, "slim_mls")                                                                                                             \
    X(SIGNAL, "slim::signal")                                                                                                      \
    X(RUNNER, "slim::runner")
typedef enum slim_target {
#define X(id, name) SLIM_T_##id,
    SLIM_LOG_TARGETS(X)
#undef X
        SLIM_LOG_TARGET_COUNT
} slim_target;

/* One level per target; plain bytes, set before threads start. */
extern uint8_t slim_log_levels[SLIM_LOG_TARGET_COUNT];
static inline bool slim_log_on(slim_level l, slim_target t)
{
    return l <= slim_log_levels[t];
}

/* Sets levels: `level` for all, then filters ("slim_datapath=debug", bare name = level); rust_log, when not NULL, decides alone
 * (node.md 6.1). A bad directive is reported through bad (may be NULL) and skipped. */
void slim_log_configure(const char *level, const char *const *filters, size_t n_filters, const char *rust_log,
                        void (*bad)(void *arg, const char *directive), void *arg);

/* How lines look. */
typedef struct slim_log_style {
    bool color, thread_names, thread_ids;
} slim_log_style;
extern slim_log_style slim_log_style_now;
/* Name of the calling thread for its lines; the string must live on. */
void slim_log_thread_name(const char *name);

/* Takes one finished line with its newline; must not block. Default: dropped. wall_ns gives the clock for the timestamp. */
typedef void (*slim_log_sink)(void *arg, const char *line, size_t n);
void slim_log_set_sink(slim_log_sink sink, void *arg, uint64_t (*wall_ns)(void));

/* Formats "message key=value ..." as printf does; cut at 2 KiB. Control characters and invalid UTF-8 from peers are escaped. */
void slim_log_write_xt(slim_level l, slim_target t, int line, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
#define slim_log(l, t, ...)                                                                                                        \
    do {                                                                                                                           \
        if (slim_log_on(l, SLIM_T_##t))                                                                                            \
            slim_log_write_xt(l, SLIM_T_##t, __LINE__, __VA_ARGS__);                                                               \
    } while (0)

/* A budget for one kind of line, owned by one thread: at most `burst` at once and `per_s` a second. take returns false to stay
 * silent; *suppressed is then counted and handed out with the next allowed line. */
typedef struct slim_log_rate {
    uint64_t last_ns;
    uint32_t tokens_milli, suppressed;
} slim_log_rate;
bool slim_log_rate_take(slim_log_rate *r, uint64_t now_ns, uint32_t burst, uint32_t per_s, uint32_t *suppressed);

#endif
