#include "config/config.h"

#include <string.h>

static const struct {
    const char *name;
    uint64_t ns;
} units[] = {
    {"ns", 1},
    {"us", 1000u},
    {"ms", 1000000u},
    {"s", 1000000000u},
    {"m", 60u * 1000000000ull},
    {"h", 3600u * 1000000000ull},
    {"d", 86400u * 1000000000ull},
    {"w", 7u * 86400u * 1000000000ull},
    {"y", 365u * 86400u * 1000000000ull},
};

slim_err slim_duration_parse(const char *text, uint64_t *ns)
{
    uint64_t total = 0;

    if (*text == '\0')
        return SLIM_E_CONFIG;
    while (*text != '\0') {
        uint64_t number = 0;
        size_t letters = 0, unit;

        if (*text < '0' || *text > '9')
            return SLIM_E_CONFIG;
        for (; *text >= '0' && *text <= '9'; text++)
            if (__builtin_mul_overflow(number, 10u, &number) || __builtin_add_overflow(number, (uint64_t)(*text - '0'), &number))
                return SLIM_E_CONFIG;
        while (text[letters] >= 'a' && text[letters] <= 'z')
            letters++;
        for (unit = 0; unit < sizeof(units) / sizeof(*units); unit++)
            if (strlen(units[unit].name) == letters && memcmp(units[unit].name, text, letters) == 0)
                break;
        if (unit == sizeof(units) / sizeof(*units))
            return SLIM_E_CONFIG;
        if (__builtin_mul_overflow(number, units[unit].ns, &number) || __builtin_add_overflow(total, number, &total))
            total = UINT64_MAX;
        text += letters;
    }
    *ns = total;
    return SLIM_OK;
}
