#include "core/view.h"

#include "core/wire.h"

/* How many messages are around each of these (prost's recursion limit counts them). */
enum { DEPTH_MESSAGE = 0, DEPTH_MEMBER, DEPTH_HEADER, DEPTH_NAME, DEPTH_NAME_PART, DEPTH_NAME_ID };

typedef struct scan {
    slim_view *v;
    slim_err err;
    const uint8_t *limit;    /* the end of the message */
    uint32_t members;        /* occurrences of the oneof so far */
    bool content, link_type; /* seen in this member */
} scan;

/* A key that no case of a scanner takes: an error, or an unknown field to skip. The known numbers of a message are 1 to known. */
static const uint8_t *other_field(scan *s, const uint8_t *p, const uint8_t *end, uint64_t key, uint32_t known, unsigned depth)
{
    if (key >> 3 == 0 || key >> 3 > known || (key & 7) > SLIM_WIRE_32)
        return slim_wire_skip(p, end, key, depth, &s->err);
    s->err = SLIM_E_WIRETYPE;
    return NULL;
}

static inline const uint8_t *string_field(scan *s, const uint8_t *p, const uint8_t *end, slim_bytes *out)
{
    if ((p = slim_wire_part(p, end, out, &s->err)) == NULL)
        return NULL;
    if (!slim_utf8_valid(*out)) {
        s->err = SLIM_E_UTF8;
        return NULL;
    }
    return p;
}

static inline const uint8_t *uint32_field(scan *s, const uint8_t *p, const uint8_t *end, uint32_t *out)
{
    uint64_t v = 0;

    p = slim_wire_varint(p, end, &v, &s->err);
    *out = (uint32_t)v;
    return p;
}

/* Notes a part that is merged when it comes again. */
static inline void once(scan *s, bool *seen)
{
    if (*seen)
        s->v->plain = false;
    *seen = true;
}

static bool scan_name_id(scan *s, slim_bytes body, slim_id *id)
{
    const uint8_t *p = body.p, *end = p + body.n;
    uint64_t key;

    while (p != end) {
        if ((p = slim_wire_varint(p, end, &key, &s->err)) == NULL)
            return false;
        switch (key) {
        case SLIM_KEY_VARINT(1): p = slim_wire_varint_wide(p, end, s->limit, &id->hi, &s->err); break;
        case SLIM_KEY_VARINT(2): p = slim_wire_varint_wide(p, end, s->limit, &id->lo, &s->err); break;
        default: p = other_field(s, p, end, key, 2, DEPTH_NAME_ID);
        }
        if (p == NULL)
            return false;
    }
    return true;
}

static bool scan_encoded_name(scan *s, slim_bytes body, slim_name *name)
{
    const uint8_t *p = body.p, *end = p + body.n;
    uint64_t key;
    slim_bytes part;

    while (p != end) {
        if ((p = slim_wire_varint(p, end, &key, &s->err)) == NULL)
            return false;
        switch (key) {
        case SLIM_KEY_VARINT(1): p = slim_wire_varint_wide(p, end, s->limit, &name->key.c[0], &s->err); break;
        case SLIM_KEY_VARINT(2): p = slim_wire_varint_wide(p, end, s->limit, &name->key.c[1], &s->err); break;
        case SLIM_KEY_VARINT(3): p = slim_wire_varint_wide(p, end, s->limit, &name->key.c[2], &s->err); break;
        case SLIM_KEY_LEN(4):
            if ((p = slim_wire_part(p, end, &part, &s->err)) == NULL)
                return false;
            if (!name->has_id)
                name->id = (slim_id){0, 0};
            once(s, &name->has_id);
            if (!scan_name_id(s, part, &name->id))
                return false;
            break;
        default: p = other_field(s, p, end, key, 4, DEPTH_NAME_PART);
        }
        if (p == NULL)
            return false;
    }
    return true;
}

static bool scan_string_name(scan *s, slim_bytes body, slim_name *name)
{
    const uint8_t *p = body.p, *end = p + body.n;
    uint64_t key;

    while (p != end) {
        if ((p = slim_wire_varint(p, end, &key, &s->err)) == NULL)
            return false;
        switch (key) {
        case SLIM_KEY_LEN(1): p = string_field(s, p, end, &name->str[0]); break;
        case SLIM_KEY_LEN(2): p = string_field(s, p, end, &name->str[1]); break;
        case SLIM_KEY_LEN(3): p = string_field(s, p, end, &name->str[2]); break;
        default: p = other_field(s, p, end, key, 3, DEPTH_NAME_PART);
        }
        if (p == NULL)
            return false;
    }
    return true;
}

static bool scan_name(scan *s, slim_bytes body, slim_name *name)
{
    const uint8_t *p = body.p, *end = p + body.n;
    uint64_t key;
    slim_bytes part;

    once(s, &name->present);
    while (p != end) {
        if ((p = slim_wire_varint(p, end, &key, &s->err)) == NULL)
            return false;
        switch (key) {
        case SLIM_KEY_LEN(1):
            if ((p = slim_wire_part(p, end, &part, &s->err)) == NULL)
                return false;
            once(s, &name->has_name);
            if (!scan_encoded_name(s, part, name))
                return false;
            break;
        case SLIM_KEY_LEN(2):
            if ((p = slim_wire_part(p, end, &part, &s->err)) == NULL)
                return false;
            once(s, &name->has_str);
            if (!scan_string_name(s, part, name))
                return false;
            break;
        default:
            if ((p = other_field(s, p, end, key, 2, DEPTH_NAME)) == NULL)
                return false;
        }
    }
    return true;
}

/* The kept header bytes since the last rewritten field. */
typedef struct run {
    const uint8_t *start;
    uint32_t lowest;
} run;

static void run_end(slim_view *v, const run *r, const uint8_t *end)
{
    if (r->start == end)
        return;
    if (v->n_runs == SLIM_HEADER_RUNS)
        v->plain = false;
    else
        v->run[v->n_runs++] = (slim_header_run){slim_bytes_of(r->start, (size_t)(end - r->start)), r->lowest};
}

/* Reads one kept field behind its key. */
static inline const uint8_t *kept_field(scan *s, const uint8_t *p, const uint8_t *end, uint64_t key)
{
    slim_view *v = s->v;
    slim_bytes part;
    uint64_t n;

    switch (key) {
    case SLIM_KEY_LEN(1):
    case SLIM_KEY_LEN(2):
        p = slim_wire_part(p, end, &part, &s->err);
        return p != NULL && scan_name(s, part, key == SLIM_KEY_LEN(1) ? &v->source : &v->destination) ? p : NULL;
    case SLIM_KEY_LEN(3): return string_field(s, p, end, &v->identity);
    case SLIM_KEY_VARINT(4): return uint32_field(s, p, end, &v->fanout);
    case SLIM_KEY_LEN(5): return string_field(s, p, end, &v->version);
    case SLIM_KEY_VARINT(10):
        if ((p = slim_wire_varint(p, end, &n, &s->err)) != NULL) {
            v->has_error = true;
            v->error = n != 0;
        }
        return p;
    case SLIM_KEY_LEN(12): return slim_wire_part(p, end, &part, &s->err);
    default: return other_field(s, p, end, key, 12, DEPTH_HEADER);
    }
}

static bool scan_header(scan *s, slim_bytes body)
{
    slim_view *v = s->v;
    const uint8_t *p = body.p, *end = p + body.n;
    run r = {p, UINT32_MAX};

    once(s, &v->has_header);
    while (p != end) {
        const uint8_t *start = p;
        uint64_t key;

        if ((p = slim_wire_varint(p, end, &key, &s->err)) == NULL)
            return false;
        switch (key) {
        case SLIM_KEY_VARINT(6): p = uint32_field(s, p, end, &v->ttl); break;
        case SLIM_KEY_VARINT(7):
            v->has_recv_from = true;
            p = slim_wire_varint(p, end, &v->recv_from, &s->err);
            break;
        case SLIM_KEY_VARINT(8):
            v->has_forward_to = true;
            p = slim_wire_varint(p, end, &v->forward_to, &s->err);
            break;
        case SLIM_KEY_VARINT(9):
            v->has_incoming_conn = true;
            p = slim_wire_varint(p, end, &v->incoming_conn, &s->err);
            break;
        case SLIM_KEY_LEN(11):
            v->has_mac = true;
            p = slim_wire_part(p, end, &v->mac, &s->err);
            break;
        default:
            if ((p = kept_field(s, p, end, key)) == NULL)
                return false;
            if (key >> 3 < r.lowest)
                r.lowest = (uint32_t)(key >> 3);
            continue;
        }
        if (p == NULL)
            return false;
        run_end(v, &r, start);
        r = (run){p, UINT32_MAX};
    }
    run_end(v, &r, end);
    return true;
}

/* The header field of a member: start is its key, p the byte behind that. */
static const uint8_t *header_field(scan *s, slim_bytes member, const uint8_t *start, const uint8_t *p)
{
    slim_view *v = s->v;
    const uint8_t *end = member.p + member.n;
    slim_bytes part;

    if ((p = slim_wire_part(p, end, &part, &s->err)) == NULL || !scan_header(s, part))
        return NULL;
    v->inner = slim_bytes_of(member.p, (size_t)(start - member.p));
    v->tail = slim_bytes_of(p, (size_t)(v->msg.p + v->msg.n - p));
    v->member_rest_bytes = (size_t)(end - p);
    return p;
}

static bool scan_subscribe(scan *s, slim_bytes body)
{
    const uint8_t *p = body.p, *end = p + body.n;
    uint64_t key;

    while (p != end) {
        const uint8_t *start = p;

        if ((p = slim_wire_varint(p, end, &key, &s->err)) == NULL)
            return false;
        switch (key) {
        case SLIM_KEY_LEN(1): p = header_field(s, body, start, p); break;
        case SLIM_KEY_VARINT(2): p = slim_wire_varint_wide(p, end, s->limit, &s->v->subscription_id, &s->err); break;
        default: p = other_field(s, p, end, key, 2, DEPTH_MEMBER);
        }
        if (p == NULL)
            return false;
    }
    return true;
}

/* A part of a member that only has to be acceptable. */
static const uint8_t *checked_part(scan *s, const uint8_t *p, const uint8_t *end, const slim_schema *schema)
{
    slim_bytes part;

    if ((p = slim_wire_part(p, end, &part, &s->err)) == NULL)
        return NULL;
    return (s->err = slim_wire_check(schema, part, DEPTH_MEMBER + 1)) == SLIM_OK ? p : NULL;
}

static bool scan_publish(scan *s, slim_bytes body)
{
    const uint8_t *p = body.p, *end = p + body.n;
    uint64_t key;

    while (p != end) {
        const uint8_t *start = p;

        if ((p = slim_wire_varint(p, end, &key, &s->err)) == NULL)
            return false;
        switch (key) {
        case SLIM_KEY_LEN(1): p = header_field(s, body, start, p); break;
        case SLIM_KEY_LEN(2):
            once(s, &s->v->has_session);
            p = checked_part(s, p, end, &slim_schema_session);
            break;
        case SLIM_KEY_LEN(3):
            once(s, &s->content);
            p = checked_part(s, p, end, &slim_schema_content);
            break;
        default: p = other_field(s, p, end, key, 3, DEPTH_MEMBER);
        }
        if (p == NULL)
            return false;
    }
    return true;
}

static bool scan_link(scan *s, slim_bytes body)
{
    const uint8_t *p = body.p, *end = p + body.n;
    uint64_t key;

    while (p != end) {
        if ((p = slim_wire_varint(p, end, &key, &s->err)) == NULL)
            return false;
        if (key == SLIM_KEY_LEN(1)) {
            once(s, &s->link_type);
            p = checked_part(s, p, end, &slim_schema_link_negotiation);
        } else {
            p = other_field(s, p, end, key, 1, DEPTH_MEMBER);
        }
        if (p == NULL)
            return false;
    }
    s->v->link_empty = !s->link_type;
    return true;
}

static inline void view_reset(slim_view *v, slim_bytes msg, bool plain)
{
    size_t n = sizeof *v;

    /* Hides the size: for a known one the compiler emits a string instruction that costs more than the rest of a scan. */
    __asm__("" : "+r"(n));
    memset(v, 0, n);
    v->plain = plain;
    v->msg = msg;
    v->source.id = v->destination.id = SLIM_ID_NULL;
}

static bool scan_member(scan *s, slim_msg_type type, slim_bytes body, const uint8_t *start)
{
    slim_view *v = s->v;

    if (s->members++ > 0) {
        v->plain = false;
        if (v->type != type) {
            view_reset(v, v->msg, false);
            s->content = s->link_type = false;
        }
    }
    v->type = type;
    v->body = body;
    v->lead = slim_bytes_of(v->msg.p, (size_t)(start - v->msg.p));
    switch (type) {
    case SLIM_MSG_SUBSCRIBE:
    case SLIM_MSG_UNSUBSCRIBE: return scan_subscribe(s, body);
    case SLIM_MSG_PUBLISH: return scan_publish(s, body);
    case SLIM_MSG_LINK: return scan_link(s, body);
    default: s->err = slim_wire_check(&slim_schema_subscription_ack, body, DEPTH_MEMBER); return s->err == SLIM_OK;
    }
}

slim_err slim_view_scan(slim_bytes msg, slim_view *out)
{
    scan s = {.v = out};
    const uint8_t *p = msg.p, *end;

    view_reset(out, msg, true);
    if (msg.n == 0)
        return SLIM_OK;
    s.limit = end = p + msg.n;
    while (p != end) {
        const uint8_t *start = p;
        uint64_t key;
        slim_bytes part;

        if ((p = slim_wire_varint(p, end, &key, &s.err)) == NULL)
            return s.err;
        switch (key) {
        case SLIM_KEY_LEN(1):
        case SLIM_KEY_LEN(2):
        case SLIM_KEY_LEN(3):
        case SLIM_KEY_LEN(5):
        case SLIM_KEY_LEN(6):
            if ((p = slim_wire_part(p, end, &part, &s.err)) == NULL || !scan_member(&s, (slim_msg_type)(key >> 3), part, start))
                return s.err;
            break;
        case SLIM_KEY_LEN(4):
            if ((p = slim_wire_part(p, end, &part, &s.err)) == NULL)
                return s.err;
            if ((s.err = slim_wire_check(&slim_schema_metadata, part, DEPTH_MESSAGE + 1)) != SLIM_OK)
                return s.err;
            break;
        default:
            if ((p = other_field(&s, p, end, key, 6, DEPTH_MESSAGE)) == NULL)
                return s.err;
        }
    }
    return SLIM_OK;
}

static bool name_complete(const slim_name *n)
{
    return n->present && n->has_name;
}

slim_err slim_view_validate(const slim_view *v)
{
    switch (v->type) {
    case SLIM_MSG_NONE: return SLIM_E_MISSING;
    case SLIM_MSG_LINK: return v->link_empty ? SLIM_E_MISSING : SLIM_OK;
    case SLIM_MSG_SUBSCRIPTION_ACK: return SLIM_OK;
    default: break;
    }
    if (!v->has_header || !name_complete(&v->source) || !name_complete(&v->destination))
        return SLIM_E_MISSING;
    return v->type == SLIM_MSG_PUBLISH && !v->has_session ? SLIM_E_MISSING : SLIM_OK;
}
