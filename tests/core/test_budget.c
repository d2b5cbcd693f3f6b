#include <criterion/criterion.h>

#include "core/budget.h"

Test(budget, settles_in_steps)
{
    slim_budget b = {.limit_bytes = 1000000};
    slim_purse p = {&b, 0};

    slim_purse_add(&p, SLIM_PURSE_STEP - 1);
    cr_assert_eq(atomic_load(&b.used_bytes), 0, "a purse settles only whole steps");
    slim_purse_add(&p, 1);
    cr_assert_eq(atomic_load(&b.used_bytes), SLIM_PURSE_STEP);
    slim_purse_add(&p, -SLIM_PURSE_STEP);
    cr_assert_eq(atomic_load(&b.used_bytes), 0);
    cr_assert_eq(p.unsettled_bytes, 0);
}

Test(budget, pressure)
{
    slim_budget b = {.limit_bytes = 1000};
    const struct {
        int64_t used;
        slim_pressure pressure;
    } rows[] = {{0, SLIM_PRESSURE_NONE},   {499, SLIM_PRESSURE_NONE}, {500, SLIM_PRESSURE_HALF}, {749, SLIM_PRESSURE_HALF},
                {750, SLIM_PRESSURE_HIGH}, {999, SLIM_PRESSURE_HIGH}, {1000, SLIM_PRESSURE_FULL}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        atomic_store(&b.used_bytes, rows[i].used);
        cr_assert_eq(slim_budget_pressure_xt(&b), rows[i].pressure, "%ld of 1000", rows[i].used);
    }
}
