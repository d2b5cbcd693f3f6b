/* The scanner against prost: every message of prost_vectors.txt (written by tests/oracle/prost) is accepted or refused as prost
 * did, with the fields that prost decoded. */
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/view.h"
#include "support/support.h"

typedef struct text {
    char *p;
    size_t n, cap;
} text;

__attribute__((format(printf, 2, 3))) static void add(text *t, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    t->n += (size_t)vsnprintf(t->p + t->n, t->cap - t->n, format, args);
    va_end(args);
    cr_assert_lt(t->n, t->cap);
}

static void add_hex(text *t, slim_bytes b)
{
    for (size_t i = 0; i < b.n; i++)
        add(t, "%02x", b.p[i]);
}

static void add_name(text *t, const slim_name *n)
{
    if (!n->present) {
        add(t, "- ");
        return;
    }
    add(t, "[");
    if (n->has_name)
        add(t, "%llx,%llx,%llx,", (unsigned long long)n->key.c[0], (unsigned long long)n->key.c[1],
            (unsigned long long)n->key.c[2]);
    if (n->has_name && n->has_id)
        add(t, "%llx.%llx", (unsigned long long)n->id.hi, (unsigned long long)n->id.lo);
    else
        add(t, "-");
    add(t, "|");
    if (!n->has_str)
        add(t, "-");
    for (int i = 0; n->has_str && i < 3; i++) {
        add(t, "%s", i > 0 ? "," : "");
        add_hex(t, n->str[i]);
    }
    add(t, "] ");
}

static void add_optional(text *t, bool has, uint64_t v)
{
    if (has)
        add(t, "%llu ", (unsigned long long)v);
    else
        add(t, "- ");
}

static void add_header(text *t, const slim_view *v)
{
    if (!v->has_header) {
        add(t, "-");
        return;
    }
    add_name(t, &v->source);
    add_name(t, &v->destination);
    add(t, "\"");
    add_hex(t, v->identity);
    add(t, "\" %u \"", v->fanout);
    add_hex(t, v->version);
    add(t, "\" %u ", v->ttl);
    add_optional(t, v->has_recv_from, v->recv_from);
    add_optional(t, v->has_forward_to, v->forward_to);
    add_optional(t, v->has_incoming_conn, v->incoming_conn);
    add(t, "%s ", v->has_error ? v->error ? "true" : "false" : "-");
    if (v->has_mac) {
        add(t, "\"");
        add_hex(t, v->mac);
        add(t, "\"");
    } else {
        add(t, "-");
    }
}

/* The line as the oracle prints it. */
static void show(text *t, const slim_view *v)
{
    t->n = 0;
    add(t, "%d", (int)v->type);
    switch (v->type) {
    case SLIM_MSG_SUBSCRIBE:
    case SLIM_MSG_UNSUBSCRIBE:
        add(t, " %llu ", (unsigned long long)v->subscription_id);
        add_header(t, v);
        break;
    case SLIM_MSG_PUBLISH:
        add(t, " %s ", v->has_session ? "session" : "-");
        add_header(t, v);
        break;
    case SLIM_MSG_LINK: add(t, " %s", v->link_empty ? "-" : "negotiation"); break;
    default: break;
    }
}

static void check_line(char *line, text *t, unsigned long *accepted, unsigned long *merged)
{
    char *judgement = strchr(line, ' '), *fields;
    slim_bytes msg;
    slim_view v;
    slim_err e;

    cr_assert_not_null(judgement);
    *judgement++ = '\0';
    msg = strcmp(line, "-") == 0 ? slim_bytes_of(malloc(1), 0) : test_hex(line);
    e = slim_view_scan(msg, &v);
    cr_assert_eq(e == SLIM_OK, judgement[0] == 'A', "%s: %s, prost says %s", line, slim_err_text(e), judgement);
    if (e == SLIM_OK) {
        uint8_t *out = NULL;
        size_t n;

        fields = judgement + 2;
        show(t, &v);
        cr_assert_str_eq(t->p, fields, "%s", line);
        ++*accepted;
        if (!v.plain) {
            cr_assert_eq(slim_view_normalise(msg, &slim_mem_libc, &out, &n, &v), SLIM_OK, "%s", line);
            cr_assert(v.plain, "%s", line);
            show(t, &v);
            cr_assert_str_eq(t->p, fields, "normalised: %s", line);
            ++*merged;
        }
        slim_free(&slim_mem_libc, out);
    }
    free((void *)(uintptr_t)msg.p);
}

Test(view_prost, agrees)
{
    slim_bytes file = test_file(SLIM_TEST_DATA "/prost_vectors.txt");
    char *all = malloc(file.n + 1), *line, *rest;
    text t = {malloc(65536), 0, 65536};
    unsigned long lines = 0, accepted = 0, merged = 0;

    memcpy(all, file.p, file.n);
    all[file.n] = '\0';
    for (line = strtok_r(all, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest), lines++)
        check_line(line, &t, &accepted, &merged);
    cr_assert_gt(lines, 5000);
    cr_assert_gt(accepted, 2000);
    cr_assert_gt(lines - accepted, 1500);
    cr_assert_gt(merged, 300);
    free(all);
    free(t.p);
    free((void *)(uintptr_t)file.p);
}
