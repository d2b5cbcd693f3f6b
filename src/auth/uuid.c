#include "auth/uuid.h"

slim_err slim_uuid4(const slim_random *rnd, char out[37])
{
    static const char hex[] = "0123456789abcdef";
    uint8_t b[16];
    size_t n = 0;

    if (!rnd->fill(rnd->arg, b, sizeof(b)))
        return SLIM_E_CRYPTO;
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[n++] = '-';
        out[n++] = hex[b[i] >> 4];
        out[n++] = hex[b[i] & 15];
    }
    out[n] = '\0';
    return SLIM_OK;
}
