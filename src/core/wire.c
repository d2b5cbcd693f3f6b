#include "core/wire.h"

#include <assert.h>

static const uint8_t *fail(slim_err *err, slim_err e)
{
    *err = e;
    return NULL;
}

const uint8_t *slim_wire_varint_long(const uint8_t *p, const uint8_t *end, uint64_t *out, slim_err *err)
{
    slim_cur c = {p, end};

    if (end - p >= 2 && p[1] < 0x80) {
        *out = (p[0] & 0x7fu) | (uint64_t)p[1] << 7;
        return p + 2;
    }
    if ((*err = slim_cur_varint_slow(&c, out)) != SLIM_OK)
        return NULL;
    return c.p;
}

static bool key_valid(uint64_t key)
{
    return key <= UINT32_MAX && key >> 3 != 0 && (key & 7) <= SLIM_WIRE_32;
}

/* A value that is neither a group nor the end of one. */
static const uint8_t *skip_plain(const uint8_t *p, const uint8_t *end, unsigned wire, slim_err *err)
{
    uint64_t v;
    slim_bytes part;
    ptrdiff_t n = wire == SLIM_WIRE_32 ? 4 : 8;

    if (wire == SLIM_WIRE_VARINT)
        return slim_wire_varint(p, end, &v, err);
    if (wire == SLIM_WIRE_LEN)
        return slim_wire_part(p, end, &part, err);
    return end - p < n ? fail(err, SLIM_E_TRUNCATED) : p + n;
}

const uint8_t *slim_wire_skip(const uint8_t *p, const uint8_t *end, uint64_t key, unsigned depth, slim_err *err)
{
    uint32_t open[SLIM_WIRE_DEPTH];
    unsigned n_open = 0;

    for (;;) {
        unsigned wire = key & 7;

        if (!key_valid(key))
            return fail(err, SLIM_E_TAG);
        if (wire == SLIM_WIRE_END_GROUP) {
            if (n_open == 0 || open[n_open - 1] != key >> 3)
                return fail(err, SLIM_E_TAG);
            n_open--;
        } else if (n_open + depth >= SLIM_WIRE_DEPTH) {
            return fail(err, SLIM_E_DEPTH);
        } else if (wire == SLIM_WIRE_GROUP) {
            open[n_open++] = (uint32_t)(key >> 3);
        } else if ((p = skip_plain(p, end, wire, err)) == NULL) {
            return NULL;
        }
        if (n_open == 0)
            return p;
        if ((p = slim_wire_varint(p, end, &key, err)) == NULL)
            return NULL;
    }
}

/* CommandPayload to NameId is six levels. */
#define SCHEMA_LEVELS 8

slim_err slim_wire_check(const slim_schema *schema, slim_bytes body, unsigned depth)
{
    struct {
        const slim_schema *schema;
        const uint8_t *end;
    } outer[SCHEMA_LEVELS];
    const uint8_t *p = body.p, *end = p + body.n;
    unsigned level = 0;
    slim_err err = SLIM_OK;

    for (;;) {
        uint64_t key, v;
        slim_bytes part;
        const slim_field *f;

        while (p == end) {
            if (level == 0)
                return SLIM_OK;
            level--;
            schema = outer[level].schema;
            end = outer[level].end;
        }
        if ((p = slim_wire_varint(p, end, &key, &err)) == NULL)
            return err;
        if (key >> 3 >= schema->n || (f = &schema->field[key >> 3])->kind == SLIM_FIELD_UNKNOWN) {
            if ((p = slim_wire_skip(p, end, key, depth + level, &err)) == NULL)
                return err;
            continue;
        }
        if ((key & 7) != (f->kind == SLIM_FIELD_VARINT ? SLIM_WIRE_VARINT : SLIM_WIRE_LEN))
            return (key & 7) > SLIM_WIRE_32 ? SLIM_E_TAG : SLIM_E_WIRETYPE;
        if (f->kind == SLIM_FIELD_VARINT) {
            if ((p = slim_wire_varint(p, end, &v, &err)) == NULL)
                return err;
            continue;
        }
        if ((p = slim_wire_part(p, end, &part, &err)) == NULL)
            return err;
        if (f->kind == SLIM_FIELD_STRING && !slim_utf8_valid(part))
            return SLIM_E_UTF8;
        if (f->kind == SLIM_FIELD_MESSAGE) {
            assert(level < SCHEMA_LEVELS);
            outer[level].schema = schema;
            outer[level].end = end;
            level++;
            schema = f->sub;
            p = part.p;
            end = p + part.n;
        }
    }
}
