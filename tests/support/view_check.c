#include "support/view_check.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/head.h"
#include "support/slow_decode.h"
#include "support/support.h"

static slim_bytes current;

static void require(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "%s\n", what);
    for (size_t i = 0; i < current.n; i++)
        fprintf(stderr, "%02x", current.p[i]);
    fprintf(stderr, "\n");
    abort();
}

static bool inside(slim_bytes part, slim_bytes whole)
{
    return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void check_name(const slim_name *n, const slow_node *slow)
{
    const slow_node *encoded = slow_child(slow, 1), *strings = slow_child(slow, 2), *id = slow_child(encoded, 4);

    require(n->present == (slow != NULL), "presence of a name");
    require(n->has_name == (encoded != NULL), "presence of an encoded name");
    require(n->has_id == (id != NULL), "presence of a name id");
    require(n->has_str == (strings != NULL), "presence of a string name");
    for (unsigned i = 0; i < 3; i++) {
        require(n->key.c[i] == (encoded != NULL ? encoded->field[i + 1].number : 0), "component");
        require(slim_bytes_eq(n->str[i], strings != NULL ? strings->field[i + 1].bytes : slim_bytes_of(NULL, 0)),
                "string component");
    }
    if (id == NULL)
        require(slim_id_is_null(n->id), "absent id");
    else
        require(slim_id_eq(n->id, (slim_id){id->field[1].number, id->field[2].number}), "id");
}

static const slow_value *header_value(const slow_node *header, unsigned number)
{
    static const slow_value absent;

    return header != NULL ? &header->field[number] : &absent;
}

static void check_number(bool has, uint64_t v, const slow_value *slow, const char *what)
{
    require(has == slow->present && v == slow->number, what);
}

static const slow_node *member_of(const slow_node *root, slim_msg_type type)
{
    return type == SLIM_MSG_NONE ? NULL : slow_child(root, type);
}

static void check_fields(const slim_view *v, const slow_node *root)
{
    const slow_node *member = member_of(root, v->type), *header;
    bool routed = v->type == SLIM_MSG_SUBSCRIBE || v->type == SLIM_MSG_UNSUBSCRIBE || v->type == SLIM_MSG_PUBLISH;

    for (unsigned i = 1; i <= 6; i++)
        require(i == 4 || (slow_child(root, i) != NULL) == (i == v->type), "message type");
    header = routed ? slow_child(member, 1) : NULL;
    require(v->has_header == (header != NULL), "presence of the header");
    require(v->has_session == (v->type == SLIM_MSG_PUBLISH && slow_child(member, 2) != NULL), "presence of the session");
    check_name(&v->source, slow_child(header, 1));
    check_name(&v->destination, slow_child(header, 2));
    require(slim_bytes_eq(v->identity, header_value(header, 3)->bytes), "identity");
    require(v->fanout == header_value(header, 4)->number, "fanout");
    require(slim_bytes_eq(v->version, header_value(header, 5)->bytes), "version");
    require(v->ttl == header_value(header, 6)->number, "ttl");
    check_number(v->has_recv_from, v->recv_from, header_value(header, 7), "recv_from");
    check_number(v->has_forward_to, v->forward_to, header_value(header, 8), "forward_to");
    check_number(v->has_incoming_conn, v->incoming_conn, header_value(header, 9), "incoming_conn");
    check_number(v->has_error, v->error, header_value(header, 10), "error");
    require(v->has_mac == header_value(header, 11)->present && slim_bytes_eq(v->mac, header_value(header, 11)->bytes),
            "header_mac");
    require(v->subscription_id == (routed && v->type != SLIM_MSG_PUBLISH ? member->field[2].number : 0), "subscription_id");
    require(v->link_empty == (v->type == SLIM_MSG_LINK && slow_child(member, 1) == NULL), "link_type");
    require(inside(v->lead, v->msg) && inside(v->inner, v->msg) && inside(v->tail, v->msg) && inside(v->body, v->msg), "spans");
}

static uint8_t *put_le(uint8_t *p, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        *p++ = (uint8_t)(v >> 8 * i);
    return p;
}

static uint8_t *put_text(uint8_t *p, slim_bytes s)
{
    return slim_put(put_le(p, s.n, 4), s.p, s.n);
}

static uint8_t *slow_name_preimage(uint8_t *p, const slow_node *name)
{
    const slow_node *encoded = slow_child(name, 1), *strings = slow_child(name, 2), *id = slow_child(encoded, 4);

    p = put_le(p, name != NULL, 1);
    if (name == NULL)
        return p;
    p = put_le(p, encoded != NULL, 1);
    if (encoded != NULL) {
        for (unsigned i = 1; i <= 3; i++)
            p = put_le(p, encoded->field[i].number, 8);
        p = put_le(p, id != NULL, 1);
        for (unsigned i = 1; id != NULL && i <= 2; i++)
            p = put_le(p, id->field[i].number, 8);
    }
    p = put_le(p, strings != NULL, 1);
    for (unsigned i = 1; strings != NULL && i <= 3; i++)
        p = put_text(p, strings->field[i].bytes);
    return p;
}

static uint8_t *slow_optional(uint8_t *p, const slow_value *v, unsigned n)
{
    p = put_le(p, v->present, 1);
    return v->present ? put_le(p, v->number, n) : p;
}

/* Items 3 to 10 of data-plane.md 4.4. */
static size_t slow_preimage(const slow_node *header, uint8_t *out)
{
    uint8_t *p = slow_name_preimage(out, slow_child(header, 1));

    p = slow_name_preimage(p, slow_child(header, 2));
    p = put_text(p, header->field[3].bytes);
    p = put_le(p, header->field[4].number, 4);
    p = slow_optional(p, &header->field[7], 8);
    p = slow_optional(p, &header->field[8], 8);
    p = slow_optional(p, &header->field[10], 1);
    p = put_le(p, header->field[6].number, 4);
    return (size_t)(p - out);
}

static void patch_number(slow_node *header, unsigned number, bool present, uint64_t v)
{
    header->field[number].present = present;
    header->field[number].number = present ? v : 0;
}

/* The rewritten message must be the old one with the patch applied to the tree, byte order aside. */
static void check_head(const slim_view *v, slow_node *root, uint64_t salt)
{
    static const uint8_t zeros[SLIM_MAC_BYTES];
    slim_head_patch patch = {.ttl = salt & 1 ? (uint32_t)(salt >> 32) : 0,
                             .has_incoming_conn = (salt & 2) != 0,
                             .incoming_conn = salt & 4 ? salt >> 40 : 0,
                             .with_mac = (salt & 8) != 0,
                             .keep_directions = (salt & 16) != 0};
    size_t bound = slim_head_bound(v), n, mac_offset, pre_n;
    uint8_t *out = malloc(bound + v->tail.n), *pre = malloc(slim_preimage_bound(v)), *slow_pre = malloc(slim_preimage_bound(v));
    slow_node *header = slow_child(member_of(root, v->type), 1), *sent;
    slim_view again;

    n = slim_head_build(v, &patch, out, &mac_offset);
    require(n <= bound, "head is larger than its bound");
    slim_put(out + n, v->tail.p, v->tail.n);
    require(slim_view_scan(slim_bytes_of(out, n + v->tail.n), &again) == SLIM_OK, "forwarded message is not acceptable");
    require(again.plain, "forwarded message is not plain");
    require((sent = slow_decode(slim_bytes_of(out, n + v->tail.n))) != NULL, "forwarded message does not decode");

    patch_number(header, 6, patch.ttl != 0, patch.ttl);
    if (!patch.keep_directions) {
        patch_number(header, 7, false, 0);
        patch_number(header, 8, false, 0);
    }
    patch_number(header, 9, patch.has_incoming_conn, patch.incoming_conn);
    header->field[11].present = patch.with_mac;
    header->field[11].bytes = slim_bytes_of(zeros, patch.with_mac ? sizeof zeros : 0);
    require(slow_equal(root, sent), "forwarded message differs in more than the patch");
    require(patch.with_mac ? again.mac.p == out + mac_offset : mac_offset == 0, "place of the MAC");

    pre_n = slim_preimage_build(v, patch.ttl, patch.keep_directions, pre);
    require(pre_n <= slim_preimage_bound(v), "preimage is larger than its bound");
    require(slow_preimage(header, slow_pre) == pre_n && memcmp(pre, slow_pre, pre_n) == 0, "preimage");
    slow_free(sent);
    free(out);
    free(pre);
    free(slow_pre);
}

bool view_check(slim_bytes msg, uint64_t salt)
{
    slim_view v;
    slow_node *root;
    slim_err e;

    current = msg;
    root = slow_decode(msg);
    e = slim_view_scan(msg, &v);
    require((e == SLIM_OK) == (root != NULL),
            e == SLIM_OK ? "scanner accepts, decoder refuses" : "scanner refuses, decoder accepts");
    if (root == NULL)
        return false;
    check_fields(&v, root);
    if (v.plain && v.has_header) {
        check_head(&v, root, salt);
    } else if (!v.plain) {
        uint8_t *out;
        size_t n;
        slow_node *merged;

        require(slim_view_normalise(msg, &slim_mem_libc, &out, &n, &v) == SLIM_OK, "normalise fails");
        require(n <= msg.n, "a merged message grew");
        require(v.plain && v.msg.p == out && v.msg.n == n, "a merged message is not plain");
        require((merged = slow_decode(slim_bytes_of(out, n))) != NULL && slow_equal(root, merged), "a merged message differs");
        check_fields(&v, merged);
        if (v.has_header)
            check_head(&v, merged, salt);
        slow_free(merged);
        slim_free(&slim_mem_libc, out);
    }
    slow_free(root);
    return true;
}

typedef struct gen {
    uint64_t *state;
    unsigned wild; /* one field in so many is odd; 0: none */
} gen;

static uint64_t below(gen *g, uint64_t n)
{
    return test_rand(g->state) % n;
}
static bool odd(gen *g)
{
    return g->wild != 0 && below(g, g->wild) == 0;
}

/* Now and then longer than needed. */
static uint8_t *put_varint(gen *g, uint8_t *p, uint64_t v)
{
    uint8_t *start = p;

    p = slim_varint_put(p, v);
    if (odd(g) && p - start < 9) {
        p[-1] |= 0x80;
        while (below(g, 2) != 0 && p - start < 9)
            *p++ = 0x80;
        *p++ = 0;
    }
    return p;
}

static uint64_t random_number(gen *g)
{
    static const uint64_t some[] = {0, 1, 2, 127, 128, 255, 256, 0xffffffff, 0x100000000, 0x100000001, UINT64_MAX - 1, UINT64_MAX};

    return below(g, 2) ? some[below(g, sizeof some / sizeof some[0])] : test_rand(g->state) >> below(g, 64);
}

static uint8_t *put_text_random(gen *g, uint8_t *p)
{
    static const char *const some[] = {"",
                                       "org",
                                       "\xc3\xa9",
                                       "\xf0\x9f\x98\x80",
                                       "abcdefghijklmnopqrstuvwxyz0123456789",
                                       "\xe2\x82\xac uro",
                                       "\xc0\x80",
                                       "\xed\xa0\x80",
                                       "\xf4\x90\x80\x80",
                                       "abcdefgh\xff",
                                       "\xe2\x82",
                                       "01234567\xc3\xa9z"};
    slim_bytes s = slim_bytes_str(some[below(g, odd(g) ? 12 : 6)]);

    return slim_put(put_varint(g, p, s.n), s.p, s.n);
}

static uint8_t *put_unknown(gen *g, uint8_t *p, unsigned depth)
{
    uint64_t number = below(g, 2) ? 13 + below(g, 8) : 1 + below(g, 0x1fffffff), n;
    unsigned wire = odd(g) ? (unsigned)below(g, 8) : (unsigned[]){0, 1, 2, 3, 5}[below(g, 5)];

    p = put_varint(g, p, number << 3 | wire);
    switch (wire) {
    case 0: return put_varint(g, p, random_number(g));
    case 1: return slim_put(p, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
    case 5: return slim_put(p, "\x01\x02\x03\x04", 4);
    case 2: n = below(g, 6); return slim_put(put_varint(g, p, n), "\xff\x08\x01\x0a\x7f\x04", n);
    case 3:
        for (n = below(g, 3); n > 0 && depth < 4; n--)
            p = put_unknown(g, p, depth + 1);
        return put_varint(g, p, (odd(g) ? number + 1 : number) << 3 | 4);
    default: return p;
    }
}

static uint8_t *put_message(gen *g, uint8_t *p, const char *type, unsigned depth);

static uint8_t *put_field(gen *g, uint8_t *p, const slow_rule *r, unsigned depth)
{
    bool varint = r->kind == 'u' || r->kind == 'w' || r->kind == 'b';
    uint8_t body[4096], *end;

    p = put_varint(g, p, (uint64_t)r->number << 3 | (odd(g) ? below(g, 6) : varint ? 0u : 2u));
    if (varint)
        return put_varint(g, p, random_number(g));
    if (r->kind == 's')
        return put_text_random(g, p);
    if (r->kind == 'y') {
        size_t n = r->number == 11 ? SLIM_MAC_BYTES : below(g, 5);

        p = put_varint(g, p, n);
        memset(p, (int)below(g, 256), n);
        return p + n;
    }
    end = put_message(g, body, r->sub, depth + 1);
    p = put_varint(g, p, (size_t)(end - body) + odd(g));
    return slim_put(p, body, (size_t)(end - body));
}

/* Fields mostly once and in order; with some luck absent, repeated or in another order. Bodies shrink with depth to stay small. */
static uint8_t *put_message(gen *g, uint8_t *p, const char *type, unsigned depth)
{
    uint8_t *start = p;
    const slow_rule *rules[SLOW_FIELDS];
    unsigned n = 0, shuffled = below(g, 4) == 0;
    size_t room = 3600u >> (depth > 1 ? depth - 1 : 0);
    bool choice;

    for (const slow_rule *r = slow_rules; r->type != NULL; r++) {
        if (strcmp(r->type, type) == 0)
            rules[n++] = r;
    }
    choice = n > 0 && rules[n - 1]->oneof != 0;
    for (unsigned i = 0; i < n && (size_t)(p - start) < room / 2; i++) {
        const slow_rule *r = rules[shuffled ? below(g, n) : i];
        uint8_t one[4096];
        size_t size;

        if (r->oneof != 0 && (choice || strcmp(type, "Message") == 0)) {
            if (i > 0 && below(g, 8) != 0)
                continue;
            r = rules[below(g, strcmp(type, "Message") == 0 ? 5 : n)];
            if (strcmp(type, "Message") == 0 && below(g, 2) != 0)
                r = rules[2];
        }
        if (below(g, 6) == 0)
            continue;
        for (unsigned times = below(g, 12) == 0 ? 2 : 1; times > 0; times--) {
            size = (size_t)(put_field(g, one, r, depth) - one);
            if ((size_t)(p - start) + size < room)
                p = slim_put(p, one, size);
        }
        if (below(g, 12) == 0)
            p = put_unknown(g, p, 0);
    }
    return p;
}

size_t view_random(uint64_t *state, uint8_t *out, size_t max)
{
    gen g = {state, (unsigned[]){0, 0, 30, 100}[test_rand(state) % 4]};
    uint8_t msg[8192];
    size_t n = (size_t)(put_message(&g, msg, "Message", 0) - msg);

    if (n > 0 && below(&g, 4) == 0) {
        for (uint64_t i = 1 + below(&g, 3); i > 0; i--) {
            size_t at = below(&g, n);

            if (below(&g, 2) != 0)
                msg[at] = (uint8_t)test_rand(state);
            else
                msg[at] ^= (uint8_t)(1 << below(&g, 8));
        }
    }
    if (n > 0 && below(&g, 10) == 0)
        n = below(&g, n);
    if (n > max)
        n = max;
    memcpy(out, msg, n);
    return n;
}
