#include "core/name.h"

#include <stdio.h>

/* The layout of the state, so that it can lie on the stack. */
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

uint64_t slim_component_hash(slim_bytes s)
{
    static const uint8_t end = 0xff;
    XXH64_state_t state;

    XXH64_reset(&state, 0);
    if (s.n != 0)
        XXH64_update(&state, s.p, s.n);
    XXH64_update(&state, &end, 1);
    return XXH64_digest(&state);
}

char *slim_id_text(slim_id id, char out[SLIM_ID_TEXT])
{
    if (slim_id_is_null(id))
        snprintf(out, SLIM_ID_TEXT, "NULL_COMPONENT");
    else
        snprintf(out, SLIM_ID_TEXT, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(id.hi >> 32), (unsigned)(id.hi >> 16 & 0xffff),
                 (unsigned)(id.hi & 0xffff), (unsigned)(id.lo >> 48), (unsigned long long)(id.lo & 0xffffffffffffu));
    return out;
}

static bool inside_character(slim_bytes s, size_t at)
{
    return at < s.n && (s.p[at] & 0xc0) == 0x80;
}

char *slim_name_text(const slim_name *name, char *out, size_t n)
{
    size_t at = 0;

    if (n == 0)
        return out;
    if (!name->has_str) {
        snprintf(out, n, "%016llx/%016llx/%016llx", (unsigned long long)name->key.c[0], (unsigned long long)name->key.c[1],
                 (unsigned long long)name->key.c[2]);
        return out;
    }
    for (int i = 0; i < 3; i++) {
        slim_bytes s = name->str[i];
        size_t take = s.n;

        if (i > 0 && at < n - 1)
            out[at++] = '/';
        if (take > n - 1 - at) {
            take = n - 1 - at;
            while (take > 0 && inside_character(s, take))
                take--;
        }
        /* A NUL from the wire would end the text early and hide the rest of the name. */
        for (size_t k = 0; k < take; k++)
            out[at++] = s.p[k] != 0 ? (char)s.p[k] : '?';
        if (take < s.n)
            break;
    }
    out[at] = '\0';
    return out;
}
