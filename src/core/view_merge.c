#include "core/view.h"

#include <assert.h>

#include "core/wire.h"

/* Which fields of a message are parts to be merged, and what is to be merged inside of them. */
typedef struct part part;
struct part {
    const part *child[5]; /* by field number */
};
static const part leaf = {{NULL}};
static const part encoded_name = {{[4] = &leaf}};
static const part name = {{[1] = &encoded_name, [2] = &leaf}};
static const part header = {{[1] = &name, [2] = &name}};
static const part subscribe = {{[1] = &header}};
static const part publish = {{[1] = &header, [2] = &leaf, [3] = &leaf}};
static const part link_member = {{[1] = &leaf}};

static const part *part_of_member(uint32_t number)
{
    switch (number) {
    case SLIM_MSG_SUBSCRIBE:
    case SLIM_MSG_UNSUBSCRIBE: return &subscribe;
    case SLIM_MSG_PUBLISH: return &publish;
    case SLIM_MSG_LINK: return &link_member;
    case SLIM_MSG_SUBSCRIPTION_ACK: return &leaf;
    default: return NULL;
    }
}

/* Field numbers from the Message down to the part that is being written; NameId is the deepest. */
#define PATH_MAX_LEVELS 6

typedef struct merge {
    slim_bytes winner; /* the message from the first occurrence of the oneof member that counts */
    uint32_t path[PATH_MAX_LEVELS];
    uint8_t *out;
} merge;

typedef struct field {
    slim_bytes raw, body; /* body of a length-delimited field */
    uint32_t key, number;
} field;

/* The next field of a message that was scanned before; depth as slim_wire_skip takes it. False at the end. */
static bool field_next(const uint8_t **p, const uint8_t *end, unsigned depth, field *f)
{
    const uint8_t *start = *p, *at;
    uint64_t key;
    slim_err err;

    if (start == end || (at = slim_wire_varint(start, end, &key, &err)) == NULL)
        return false;
    if (key == SLIM_KEY_LEN(key >> 3))
        at = slim_wire_part(at, end, &f->body, &err);
    else
        at = slim_wire_skip(at, end, key, depth, &err);
    if (at == NULL)
        return false;
    f->raw = slim_bytes_of(start, (size_t)(at - start));
    f->key = (uint32_t)key;
    f->number = (uint32_t)(key >> 3);
    *p = at;
    return true;
}

/* What to write of a part: the fields that a hop keeps, those that it rewrites, or all. A header is written in two passes so that
 * the kept fields are one run. */
typedef enum pick { PICK_ALL, PICK_KEPT, PICK_REWRITTEN } pick;

static bool picked(pick which, uint32_t number)
{
    bool rewritten = (number >= 6 && number <= 9) || number == 11;

    return which == PICK_ALL || rewritten == (which == PICK_REWRITTEN);
}

typedef struct emit {
    const part *part;
    unsigned level; /* how many numbers of the path lead to it */
    pick which;
    uint32_t written; /* bit set of the children that are out already */
} emit;

static void emit_part(merge *m, const part *what, unsigned level);

/* Writes the key, the merged body and, when its size is known, the length between them. */
static void emit_child(merge *m, const part *child, unsigned level, uint32_t number)
{
    uint8_t *length, *body, *end;

    m->path[level] = number;
    m->out = slim_varint_put(m->out, SLIM_KEY_LEN(number));
    length = m->out;
    body = m->out = length + SLIM_VARINT_MAX;
    emit_part(m, child, level + 1);
    end = m->out;
    m->out = slim_varint_put(length, (uint64_t)(end - body));
    memmove(m->out, body, (size_t)(end - body));
    m->out += end - body;
}

/* Goes down the path through every occurrence of every part on it; together the bodies at its end are the merged part. */
static void emit_bodies(merge *m, emit *e, slim_bytes body, unsigned level)
{
    const uint8_t *p = body.p, *end = p + body.n;
    field f;

    while (field_next(&p, end, level, &f)) {
        const part *child;

        if (level < e->level) {
            if (f.key == SLIM_KEY_LEN(m->path[level]))
                emit_bodies(m, e, f.body, level + 1);
            continue;
        }
        if (!picked(e->which, f.number))
            continue;
        child = f.number < sizeof e->part->child / sizeof e->part->child[0] ? e->part->child[f.number] : NULL;
        if (child == NULL || f.key != SLIM_KEY_LEN(f.number)) {
            m->out = slim_put(m->out, f.raw.p, f.raw.n);
        } else if ((e->written & 1u << f.number) == 0) {
            e->written |= 1u << f.number;
            emit_child(m, child, level, f.number);
        }
    }
}

static void emit_part(merge *m, const part *what, unsigned level)
{
    emit e = {what, level, what == &header ? PICK_KEPT : PICK_ALL, 0};

    assert(level < PATH_MAX_LEVELS + 1);
    emit_bodies(m, &e, m->winner, 0);
    if (what == &header) {
        e.which = PICK_REWRITTEN;
        emit_bodies(m, &e, m->winner, 0);
    }
}

/* Where the occurrences of the member begin that no other member replaces; its number, 0 without one. */
static uint32_t find_winner(slim_bytes msg, slim_bytes *winner)
{
    const uint8_t *p = msg.p, *end = p + msg.n;
    uint32_t last = 0;
    field f;

    while (field_next(&p, end, 0, &f)) {
        if (part_of_member(f.number) == NULL || f.number == last)
            continue;
        last = f.number;
        *winner = slim_bytes_of(f.raw.p, (size_t)(end - f.raw.p));
    }
    return last;
}

slim_err slim_view_normalise(slim_bytes msg, slim_mem *mem, uint8_t **out, size_t *out_n, slim_view *view)
{
    /* Nothing grows by merging; the slack is for lengths that are not known yet, one per level. */
    uint8_t *buf = slim_alloc(mem, msg.n + PATH_MAX_LEVELS * SLIM_VARINT_MAX);
    merge m = {.winner = msg, .out = buf};
    const uint8_t *p = msg.p, *end = p + msg.n;
    uint32_t member;
    size_t n;
    field f;
    slim_err e = SLIM_OK;

    if (buf == NULL)
        return SLIM_E_NOMEM;
    if ((member = find_winner(msg, &m.winner)) != 0)
        emit_child(&m, part_of_member(member), 0, member);
    while (field_next(&p, end, 0, &f)) {
        if (part_of_member(f.number) == NULL)
            m.out = slim_put(m.out, f.raw.p, f.raw.n);
    }
    n = (size_t)(m.out - buf);
    if (n > SLIM_MESSAGE_MAX_BYTES)
        e = SLIM_E_TOO_LARGE;
    else
        e = slim_view_scan(slim_bytes_of(buf, n), view);
    if (e != SLIM_OK) {
        slim_free(mem, buf);
        return e;
    }
    *out = buf;
    *out_n = n;
    return SLIM_OK;
}
