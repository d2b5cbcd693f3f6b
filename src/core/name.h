/* Names as the wire carries them: three hashed components, a 128-bit id, optional strings (data-plane.md 2.3, 3). */
#ifndef SLIM_CORE_NAME_H
#define SLIM_CORE_NAME_H

#include "core/bytes.h"

#define SLIM_ID_NULL_HALF UINT64_MAX /* both halves: "any id" */

/* A 128-bit instance id, hi first as in its UUID text form. */
typedef struct slim_id {
    uint64_t hi, lo;
} slim_id;

/* What the routing table compares. */
typedef struct slim_key {
    uint64_t c[3];
} slim_key;

/* One Name message as decoded; strings borrow from the message. Presence is protobuf presence, also of empty parts. */
typedef struct slim_name {
    bool present;  /* the Name message itself */
    bool has_name; /* EncodedName */
    bool has_id;   /* NameId; absent means the wildcard */
    bool has_str;  /* StringName */
    slim_key key;
    slim_id id; /* SLIM_ID_NULL when has_id is false */
    slim_bytes str[3];
} slim_name;

#define SLIM_ID_NULL ((slim_id){SLIM_ID_NULL_HALF, SLIM_ID_NULL_HALF})

static inline bool slim_id_is_null(slim_id id)
{
    return id.hi == SLIM_ID_NULL_HALF && id.lo == SLIM_ID_NULL_HALF;
}
static inline bool slim_id_eq(slim_id a, slim_id b)
{
    return a.hi == b.hi && a.lo == b.lo;
}
static inline bool slim_key_eq(const slim_key *a, const slim_key *b)
{
    return a->c[0] == b->c[0] && a->c[1] == b->c[1] && a->c[2] == b->c[2];
}

/* XXH64 with seed 0 over the bytes and one byte 0xFF: the component's number on the wire. */
uint64_t slim_component_hash(slim_bytes s);

/* Text of an id: UUID form in lower case, or NULL_COMPONENT. Writes at most SLIM_ID_TEXT bytes with the NUL. */
#define SLIM_ID_TEXT 40
char *slim_id_text(slim_id id, char out[SLIM_ID_TEXT]);

/* "org/ns/app" when strings are known, else the three numbers in hex; always NUL-terminated, cut at n. */
char *slim_name_text(const slim_name *name, char *out, size_t n);

#endif
