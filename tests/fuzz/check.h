/* What the fuzz targets share. */
#ifndef SLIM_TESTS_FUZZ_CHECK_H
#define SLIM_TESTS_FUZZ_CHECK_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(c)                                                                                                                   \
    do {                                                                                                                           \
        if (!(c)) {                                                                                                                \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #c);                                                 \
            abort();                                                                                                               \
        }                                                                                                                          \
    } while (0)

#endif
