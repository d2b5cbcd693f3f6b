/* The message scanner, merger and head writer against the slow decoder; the last byte varies what the head writer is asked for. */
#include "support/view_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t salt = size > 0 ? data[size - 1] : 0;

    view_check(slim_bytes_of(data, size), salt | salt << 32 | salt << 44);
    return 0;
}
