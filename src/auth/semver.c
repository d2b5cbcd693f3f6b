#include "auth/negotiation.h"

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}
static bool is_ident(uint8_t c)
{
    return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-';
}

/* A decimal number without leading zeros that fits 64 bits. */
static bool number(slim_cur *c)
{
    const uint8_t *start = c->p;
    uint64_t v = 0;

    while (c->p < c->end && is_digit(*c->p)) {
        uint64_t digit = (uint64_t)(*c->p++ - '0');

        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    return c->p > start && (*start != '0' || c->p - start == 1);
}

static bool one(slim_cur *c, char want)
{
    if (c->p == c->end || *c->p != (uint8_t)want)
        return false;
    c->p++;
    return true;
}

/* Dot-separated identifiers; numeric ones of a pre-release have no leading zeros. */
static bool identifiers(slim_cur *c, bool pre_release)
{
    do {
        const uint8_t *start = c->p;
        bool digits = true;

        while (c->p < c->end && is_ident(*c->p))
            digits &= is_digit(*c->p++);
        if (c->p == start || (pre_release && digits && *start == '0' && c->p - start > 1))
            return false;
    } while (one(c, '.'));
    return true;
}

bool slim_version_valid(slim_bytes v)
{
    slim_cur c = slim_cur_of(v);

    if (!number(&c) || !one(&c, '.') || !number(&c) || !one(&c, '.') || !number(&c))
        return false;
    if (one(&c, '-') && !identifiers(&c, true))
        return false;
    if (one(&c, '+') && !identifiers(&c, false))
        return false;
    return c.p == c.end;
}
