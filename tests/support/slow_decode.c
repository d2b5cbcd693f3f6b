#include "support/slow_decode.h"

#include <stdlib.h>

const slow_rule slow_rules[] = {
    {"Message", 1, 'm', "Subscribe", 1},
    {"Message", 2, 'm', "Subscribe", 1},
    {"Message", 3, 'm', "Publish", 1},
    {"Message", 5, 'm', "Link", 1},
    {"Message", 6, 'm', "SubscriptionAck", 1},
    {"Message", 4, 'r', "MapEntry", 0},
    {"MapEntry", 1, 's', NULL, 0},
    {"MapEntry", 2, 's', NULL, 0},
    {"Subscribe", 1, 'm', "SLIMHeader", 0},
    {"Subscribe", 2, 'u', NULL, 0},
    {"Publish", 1, 'm', "SLIMHeader", 0},
    {"Publish", 2, 'm', "SessionHeader", 0},
    {"Publish", 3, 'm', "Content", 0},
    {"Link", 1, 'm', "LinkNegotiationPayload", 1},
    {"SubscriptionAck", 1, 'u', NULL, 0},
    {"SubscriptionAck", 2, 'b', NULL, 0},
    {"SubscriptionAck", 3, 's', NULL, 0},
    {"SLIMHeader", 1, 'm', "Name", 0},
    {"SLIMHeader", 2, 'm', "Name", 0},
    {"SLIMHeader", 3, 's', NULL, 0},
    {"SLIMHeader", 4, 'w', NULL, 0},
    {"SLIMHeader", 5, 's', NULL, 0},
    {"SLIMHeader", 6, 'w', NULL, 0},
    {"SLIMHeader", 7, 'u', NULL, 0},
    {"SLIMHeader", 8, 'u', NULL, 0},
    {"SLIMHeader", 9, 'u', NULL, 0},
    {"SLIMHeader", 10, 'b', NULL, 0},
    {"SLIMHeader", 11, 'y', NULL, 0},
    {"SLIMHeader", 12, 'y', NULL, 0},
    {"Name", 1, 'm', "EncodedName", 0},
    {"Name", 2, 'm', "StringName", 0},
    {"EncodedName", 1, 'u', NULL, 0},
    {"EncodedName", 2, 'u', NULL, 0},
    {"EncodedName", 3, 'u', NULL, 0},
    {"EncodedName", 4, 'm', "NameId", 0},
    {"NameId", 1, 'u', NULL, 0},
    {"NameId", 2, 'u', NULL, 0},
    {"StringName", 1, 's', NULL, 0},
    {"StringName", 2, 's', NULL, 0},
    {"StringName", 3, 's', NULL, 0},
    {"SessionHeader", 1, 'w', NULL, 0},
    {"SessionHeader", 2, 'w', NULL, 0},
    {"SessionHeader", 3, 'w', NULL, 0},
    {"SessionHeader", 4, 'w', NULL, 0},
    {"Content", 1, 'm', "ApplicationPayload", 1},
    {"Content", 2, 'm', "CommandPayload", 1},
    {"ApplicationPayload", 1, 's', NULL, 0},
    {"ApplicationPayload", 2, 'y', NULL, 0},
    {"CommandPayload", 1, 'm', "Empty", 1},
    {"CommandPayload", 2, 'm', "Empty", 1},
    {"CommandPayload", 3, 'm', "JoinRequestPayload", 1},
    {"CommandPayload", 4, 'm', "JoinReplyPayload", 1},
    {"CommandPayload", 5, 'm', "Empty", 1},
    {"CommandPayload", 6, 'm', "Empty", 1},
    {"CommandPayload", 7, 'm', "GroupUpdatePayload", 1},
    {"CommandPayload", 8, 'm', "GroupWelcomePayload", 1},
    {"CommandPayload", 9, 'm', "GroupClosePayload", 1},
    {"CommandPayload", 10, 'm', "GroupProposalPayload", 1},
    {"CommandPayload", 11, 'm', "Empty", 1},
    {"CommandPayload", 12, 'm', "Empty", 1},
    {"CommandPayload", 13, 'm', "HeartbeatPayload", 1},
    {"CommandPayload", 14, 'm', "UpdateParticipantStatePayload", 1},
    {"CommandPayload", 15, 'm', "RejoinRequestPayload", 1},
    {"CommandPayload", 16, 'm', "RejoinReplyPayload", 1},
    {"JoinRequestPayload", 1, 'm', "TimerSettings", 0},
    {"JoinRequestPayload", 2, 'm', "Name", 0},
    {"JoinRequestPayload", 3, 'm', "Name", 0},
    {"JoinRequestPayload", 4, 'm', "MlsSettings", 0},
    {"TimerSettings", 1, 'w', NULL, 0},
    {"TimerSettings", 2, 'w', NULL, 0},
    {"MlsSettings", 1, 'w', NULL, 0},
    {"JoinReplyPayload", 1, 'y', NULL, 0},
    {"JoinReplyPayload", 2, 'm', "Participant", 0},
    {"Participant", 1, 'm', "Name", 0},
    {"Participant", 2, 'm', "ParticipantSettings", 0},
    {"Participant", 3, 'w', NULL, 0},
    {"ParticipantSettings", 1, 'b', NULL, 0},
    {"ParticipantSettings", 2, 'b', NULL, 0},
    {"GroupUpdatePayload", 1, 'w', NULL, 0},
    {"GroupUpdatePayload", 2, 'm', "Participant", 0},
    {"GroupUpdatePayload", 3, 'r', "Participant", 0},
    {"GroupUpdatePayload", 4, 'm', "MlsPayload", 0},
    {"GroupWelcomePayload", 1, 'r', "Participant", 0},
    {"GroupWelcomePayload", 2, 'm', "MlsPayload", 0},
    {"MlsPayload", 1, 'w', NULL, 0},
    {"MlsPayload", 2, 'y', NULL, 0},
    {"GroupClosePayload", 1, 'r', "Name", 0},
    {"GroupProposalPayload", 1, 'm', "Name", 0},
    {"GroupProposalPayload", 2, 'y', NULL, 0},
    {"HeartbeatPayload", 1, 'u', NULL, 0},
    {"UpdateParticipantStatePayload", 1, 'm', "Name", 0},
    {"UpdateParticipantStatePayload", 2, 'w', NULL, 0},
    {"UpdateParticipantStatePayload", 3, 'u', NULL, 0},
    {"RejoinRequestPayload", 1, 'm', "Name", 0},
    {"RejoinRequestPayload", 2, 'y', NULL, 0},
    {"RejoinReplyPayload", 1, 'w', NULL, 0},
    {"RejoinReplyPayload", 2, 'y', NULL, 0},
    {"LinkNegotiationPayload", 1, 's', NULL, 0},
    {"LinkNegotiationPayload", 2, 's', NULL, 0},
    {"LinkNegotiationPayload", 3, 'b', NULL, 0},
    {"LinkNegotiationPayload", 4, 'y', NULL, 0},
    {"LinkNegotiationPayload", 5, 'w', NULL, 0},
    {"LinkNegotiationPayload", 6, 's', NULL, 0},
    {"LinkNegotiationPayload", 7, 's', NULL, 0},
    {"LinkNegotiationPayload", 8, 'y', NULL, 0},
    {NULL, 0, 0, NULL, 0},
};

const slow_rule *slow_rule_of(const char *type, unsigned number)
{
    for (const slow_rule *r = slow_rules; r->type != NULL; r++) {
        if (strcmp(r->type, type) == 0 && r->number == number)
            return r;
    }
    return NULL;
}

static void *must(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

static slow_node *node_new(const char *type)
{
    slow_node *n = must(calloc(1, sizeof *n));

    n->type = type;
    return n;
}

static void value_clear(slow_value *v)
{
    slow_free(v->node);
    for (size_t i = 0; i < v->n_list; i++)
        slow_free(v->list[i]);
    free(v->list);
    *v = (slow_value){0};
}

void slow_free(slow_node *n)
{
    if (n == NULL)
        return;
    for (unsigned i = 0; i < SLOW_FIELDS; i++)
        value_clear(&n->field[i]);
    free(n->unknown);
    free(n);
}

/* The rest of the part that is being read. */
typedef struct in {
    const uint8_t *p;
    size_t n;
} in;

static bool read_varint(in *b, uint64_t *out)
{
    *out = 0;
    for (unsigned i = 0; i < 10; i++) {
        uint8_t byte;

        if (b->n == 0)
            return false;
        byte = *b->p;
        b->p++;
        b->n--;
        if (i == 9 && byte > 1)
            return false;
        *out += (uint64_t)(byte % 128) << (7 * i);
        if (byte < 128)
            return true;
    }
    return false;
}

static bool read_part(in *b, slim_bytes *out)
{
    uint64_t n;

    if (!read_varint(b, &n) || n > b->n)
        return false;
    *out = slim_bytes_of(b->p, (size_t)n);
    b->p += n;
    b->n -= (size_t)n;
    return true;
}

static bool read_key(in *b, unsigned *number, unsigned *wire)
{
    uint64_t key;

    if (!read_varint(b, &key) || key > 0xffffffffu)
        return false;
    *number = (unsigned)(key / 8);
    *wire = (unsigned)(key % 8);
    return *number != 0 && *wire <= 5;
}

/* allowance is prost's recursion counter; at zero nothing may be entered or skipped. */
static bool skip_value(in *b, unsigned number, unsigned wire, unsigned allowance)
{
    uint64_t v;
    slim_bytes part;
    size_t n = wire == 5 ? 4 : 8;

    if (allowance == 0)
        return false;
    switch (wire) {
    case 0: return read_varint(b, &v);
    case 2: return read_part(b, &part);
    case 3:
        for (;;) {
            unsigned inner_number, inner_wire;

            if (!read_key(b, &inner_number, &inner_wire))
                return false;
            if (inner_wire == 4)
                return inner_number == number;
            if (!skip_value(b, inner_number, inner_wire, allowance - 1))
                return false;
        }
    case 4: return false;
    default:
        if (b->n < n)
            return false;
        b->p += n;
        b->n -= n;
        return true;
    }
}

/* Code points by value, so that it shares no idea with the scanner's check by byte ranges. */
static bool text_valid(slim_bytes s)
{
    for (size_t i = 0; i < s.n;) {
        uint32_t c = s.p[i], least;
        size_t more;

        if (c < 0x80) {
            more = 0;
            least = 0;
        } else if (c >> 5 == 6) {
            more = 1;
            c &= 0x1f;
            least = 0x80;
        } else if (c >> 4 == 14) {
            more = 2;
            c &= 0x0f;
            least = 0x800;
        } else if (c >> 3 == 30) {
            more = 3;
            c &= 0x07;
            least = 0x10000;
        } else {
            return false;
        }
        i++;
        for (; more > 0; more--, i++) {
            if (i == s.n || s.p[i] >> 6 != 2)
                return false;
            c = c << 6 | (s.p[i] & 0x3f);
        }
        if (c < least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
            return false;
    }
    return true;
}

static bool decode_into(slow_node *n, slim_bytes body, unsigned allowance);

static bool decode_known(slow_node *n, const slow_rule *r, in *b, unsigned wire, unsigned allowance)
{
    slow_value *v = &n->field[r->number];
    bool varint = r->kind == 'u' || r->kind == 'w' || r->kind == 'b';
    slim_bytes part;

    if (wire != (varint ? 0u : 2u))
        return false;
    if (r->oneof != 0) {
        for (unsigned i = 0; i < SLOW_FIELDS; i++) {
            const slow_rule *other = slow_rule_of(n->type, i);

            if (i != r->number && other != NULL && other->oneof == r->oneof)
                value_clear(&n->field[i]);
        }
    }
    v->present = true;
    if (varint) {
        if (!read_varint(b, &v->number))
            return false;
        if (r->kind == 'w')
            v->number &= 0xffffffffu;
        if (r->kind == 'b')
            v->number = v->number != 0;
        return true;
    }
    if (!read_part(b, &part))
        return false;
    if (r->kind == 's' || r->kind == 'y') {
        v->bytes = part;
        return r->kind == 'y' || text_valid(part);
    }
    if (r->kind == 'r') {
        v->list = must(realloc(v->list, (v->n_list + 1) * sizeof(*v->list)));
        v->list[v->n_list] = node_new(r->sub);
        return decode_into(v->list[v->n_list++], part, allowance - 1);
    }
    if (v->node == NULL)
        v->node = node_new(r->sub);
    return decode_into(v->node, part, allowance - 1);
}

static bool decode_into(slow_node *n, slim_bytes body, unsigned allowance)
{
    in b = {body.p, body.n};

    while (b.n > 0) {
        const uint8_t *start = b.p;
        unsigned number, wire;
        const slow_rule *r;

        if (!read_key(&b, &number, &wire))
            return false;
        if ((r = slow_rule_of(n->type, number)) != NULL) {
            if (!decode_known(n, r, &b, wire, allowance))
                return false;
            continue;
        }
        if (!skip_value(&b, number, wire, allowance))
            return false;
        n->unknown = must(realloc(n->unknown, n->n_unknown + (size_t)(b.p - start)));
        memcpy(n->unknown + n->n_unknown, start, (size_t)(b.p - start));
        n->n_unknown += (size_t)(b.p - start);
    }
    return true;
}

slow_node *slow_decode(slim_bytes msg)
{
    slow_node *n = node_new("Message");

    if (decode_into(n, msg, 100))
        return n;
    slow_free(n);
    return NULL;
}

slow_node *slow_child(const slow_node *n, unsigned number)
{
    return n != NULL ? n->field[number].node : NULL;
}

/* proto3 scalars have no presence, except the optional ones of the header. */
static bool has_presence(const slow_node *n, unsigned number)
{
    return strcmp(n->type, "SLIMHeader") == 0 && number >= 7;
}

bool slow_equal(const slow_node *a, const slow_node *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    if (strcmp(a->type, b->type) != 0 ||
        !slim_bytes_eq(slim_bytes_of(a->unknown, a->n_unknown), slim_bytes_of(b->unknown, b->n_unknown)))
        return false;
    for (unsigned i = 0; i < SLOW_FIELDS; i++) {
        const slow_value *x = &a->field[i], *y = &b->field[i];

        if (x->number != y->number || !slim_bytes_eq(x->bytes, y->bytes) || !slow_equal(x->node, y->node) || x->n_list != y->n_list)
            return false;
        if (has_presence(a, i) && x->present != y->present)
            return false;
        for (size_t k = 0; k < x->n_list; k++) {
            if (!slow_equal(x->list[k], y->list[k]))
                return false;
        }
    }
    return true;
}
