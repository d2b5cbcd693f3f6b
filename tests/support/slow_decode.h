/* A second decoder for data-plane messages, written after data-plane.md 2.6 for clarity only: a recursive descent that builds a
 * tree and merges as it goes. Tests hold the scanner against it. Spans borrow from the message. */
#ifndef SLIM_TESTS_SLOW_DECODE_H
#define SLIM_TESTS_SLOW_DECODE_H

#include "core/bytes.h"

#define SLOW_FIELDS 17

typedef struct slow_node slow_node;

/* One field of a message; which members count depends on its kind. */
typedef struct slow_value {
    bool present;
    uint64_t number;
    slim_bytes bytes;
    slow_node *node;  /* sub-message */
    slow_node **list; /* repeated sub-messages and map entries */
    size_t n_list;
} slow_value;

struct slow_node {
    const char *type;
    slow_value field[SLOW_FIELDS]; /* by number */
    uint8_t *unknown;              /* unknown fields as they came, one behind the other */
    size_t n_unknown;
};

/* kind: u uint64, w uint32 or enum, b bool, s string, y bytes, m message, r repeated message. oneof: members of one share a number
 * that is not 0. */
typedef struct slow_rule {
    const char *type;
    unsigned number;
    char kind;
    const char *sub;
    int oneof;
} slow_rule;
/* Ends with a row whose type is NULL. */
extern const slow_rule slow_rules[];
const slow_rule *slow_rule_of(const char *type, unsigned number);

/* NULL when the message is not acceptable. */
slow_node *slow_decode(slim_bytes msg);
void slow_free(slow_node *n);

/* The sub-message of a field, NULL without one (or without n). */
slow_node *slow_child(const slow_node *n, unsigned number);
/* Equal in all known fields, with presence of what has presence, and in the unknown ones. Both may be NULL. */
bool slow_equal(const slow_node *a, const slow_node *b);

#endif
