/* Expected lengths of answers: what has ended says what will, class by class and given how far one has come. */
#include "tap.h"

#include "sched/expect.h"

static sg_expect e;

TEST(answers_that_pass_the_short_ones_are_expected_to_be_long)
{
    sg_expect_init(&e);
    CHECK_INT(sg_expect_length(&e, 1, 4096, 0), 64); /* knows nothing */
    for (int i = 0; i < 400; i++)
        sg_expect_learn(&e, 1, 4096, i % 2 ? 1000 : 16);
    int first = sg_expect_length(&e, 1, 4096, 0), later = sg_expect_length(&e, 1, 4096, 40);
    CHECK(first > 500 && first < 1000);
    CHECK(later > 850 && later < 1150);
    CHECK(sg_expect_length(&e, 1, 4096, 3000) > 3500); /* longer than all that ended */
    CHECK_INT(sg_expect_length(&e, 1, 4096, 4095), 4096);
    CHECK_INT(sg_expect_length(&e, 1, 300, 0), 300); /* never more than was asked for */
}

TEST(tenants_and_sizes_are_kept_apart)
{
    sg_expect_init(&e);
    for (int i = 0; i < 200; i++) {
        sg_expect_learn(&e, 1, 4096, 900);
        sg_expect_learn(&e, 2, 4096, 20);
        sg_expect_learn(&e, 1, 64, 10);
    }
    CHECK(sg_expect_length(&e, 1, 4096, 0) > 700);
    CHECK(sg_expect_length(&e, 2, 4096, 0) < 40);
    CHECK(sg_expect_length(&e, 1, 64, 0) < 20);
}

TEST(any_history_gives_a_length_that_can_be)
{
    sg_rng *r = tap_rng();
    sg_expect_init(&e);
    for (int i = 0; i < 20000; i++) {
        int most = 1 + (int)sg_rng_below(r, 1 << sg_rng_below(r, 21)), at = (int)sg_rng_below(r, (uint64_t)most);
        int n = sg_expect_length(&e, (uint32_t)sg_rng_u64(r), most, at);
        CHECK(n > at && n <= most);
        if (sg_rng_below(r, 2))
            sg_expect_learn(&e, (uint32_t)sg_rng_below(r, 40), most, at);
    }
}

TAP_MAIN
