#include "bin/logger.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "io/ring.h"

#define RING_BYTES (1u << 20)
/* After the stop was asked for, a stdout that takes nothing may hold us this long. */
#define LAST_WORDS_MS 500

static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    pthread_t thread;
    bool running, stop;
    size_t head, used; /* bytes are at [head, head + used) modulo RING_BYTES */
    unsigned long long lost;
    char ring[RING_BYTES];
} logger = {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER};

static void put_locked(const char *line, size_t n)
{
    size_t at = (logger.head + logger.used) % RING_BYTES, first = n < RING_BYTES - at ? n : RING_BYTES - at;

    memcpy(logger.ring + at, line, first);
    memcpy(logger.ring, line + first, n - first);
    logger.used += n;
}

static void sink(void *arg, const char *line, size_t n)
{
    pthread_mutex_lock(&logger.lock);
    if (RING_BYTES - logger.used < n + 128) {
        logger.lost++;
    } else {
        if (logger.lost > 0) {
            char note[128];
            int k = snprintf(note, sizeof(note), "... %llu log lines lost: stdout is read too slowly\n", logger.lost);

            put_locked(note, (size_t)k);
            logger.lost = 0;
        }
        if (RING_BYTES - logger.used >= n)
            put_locked(line, n);
        pthread_cond_signal(&logger.filled);
    }
    pthread_mutex_unlock(&logger.lock);
}

static bool write_some(const char *p, size_t n, bool last_words)
{
    while (n > 0) {
        ssize_t k;

        if (last_words) {
            struct pollfd fd = {.fd = STDOUT_FILENO, .events = POLLOUT};

            if (poll(&fd, 1, LAST_WORDS_MS) == 0)
                return false;
        }
        k = write(STDOUT_FILENO, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false; /* nobody reads us any more: the log is dropped, the hub goes on */
        p += k;
        n -= (size_t)k;
    }
    return true;
}

static void *logger_main(void *arg)
{
    static char out[65536];

    pthread_mutex_lock(&logger.lock);
    while (logger.used > 0 || !logger.stop) {
        size_t n, first;
        bool stop;

        if (logger.used == 0) {
            pthread_cond_wait(&logger.filled, &logger.lock);
            continue;
        }
        n = logger.used < sizeof(out) ? logger.used : sizeof(out);
        first = n < RING_BYTES - logger.head ? n : RING_BYTES - logger.head;
        memcpy(out, logger.ring + logger.head, first);
        memcpy(out + first, logger.ring, n - first);
        logger.head = (logger.head + n) % RING_BYTES;
        logger.used -= n;
        stop = logger.stop;
        pthread_mutex_unlock(&logger.lock);
        if (!write_some(out, n, stop) && stop)
            return NULL;
        pthread_mutex_lock(&logger.lock);
    }
    pthread_mutex_unlock(&logger.lock);
    return NULL;
}

slim_err slim_logger_start(void)
{
    if (pthread_create(&logger.thread, NULL, logger_main, NULL) != 0)
        return SLIM_E_SYS;
    logger.running = true;
    slim_log_set_sink(sink, NULL, slim_wall_ns);
    return SLIM_OK;
}

void slim_logger_stop(void)
{
    if (!logger.running)
        return;
    pthread_mutex_lock(&logger.lock);
    logger.stop = true;
    pthread_cond_signal(&logger.filled);
    pthread_mutex_unlock(&logger.lock);
    pthread_join(logger.thread, NULL);
    logger.running = false;
}
