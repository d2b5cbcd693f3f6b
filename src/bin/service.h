/* From a configured service to a running hub: TLS material, listeners, outbound links. */
#ifndef SLIM_BIN_SERVICE_H
#define SLIM_BIN_SERVICE_H

#include "config/config.h"
#include "io/ring.h"
#include "node/hub.h"

typedef struct slim_service slim_service;

/* Loads certificates and checks endpoints without opening anything. file: the configuration's name for messages. */
slim_err slim_service_check(const slim_cfg_service *s, const char *file, char *why, size_t why_n);

/* What the command line says about every service. */
typedef struct slim_service_options {
    slim_ring_backend backend;
    uint32_t per_address_max; /* 0: no limit */
    bool per_address_spares_local;
    uint64_t slow_reader_ns; /* 0: never */
    slim_placement placement;
    int64_t memory_bytes; /* of messages on their way */
} slim_service_options;

/* Starts the hub, binds every server, starts every client. */
slim_err slim_service_start(const slim_cfg *cfg, const slim_cfg_service *s, const char *file, const slim_service_options *options,
                            slim_service **out, char *why, size_t why_n);
/* How the clients stand: E_AGAIN while one still dials, SLIM_OK when all were connected once, else the first failure with why. */
slim_err slim_service_clients(slim_service *s, char *why, size_t why_n);
const char *slim_service_endpoint(const slim_service *s); /* of the first server */
const char *slim_service_backend(const slim_service *s);
bool slim_service_drain(slim_service *s, uint64_t timeout_ns);
void slim_service_free(slim_service *s);

/* Called whenever a client settles; set before the first start. */
extern void (*slim_service_on_settled)(void);

#endif
