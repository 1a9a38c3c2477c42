/* Half floats and bfloat16: every value, every midpoint between neighbours and the floats beside it. */
#include "base/f16.h"
#include "tap.h"

/* The value of a finite half float by the definition. */
static double f16_value(unsigned h)
{
    int e = (int)(h >> 10 & 31), m = (int)(h & 1023);
    double v = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return h & 0x8000 ? -v : v;
}

TEST(every_half_float_decodes_to_its_value_and_back)
{
    for (unsigned h = 0; h < 65536; h++) {
        float f = sg_f16_to_f32((uint16_t)h);
        if ((h & 0x7c00) != 0x7c00) {
            CHECK((double)f == f16_value(h));
            CHECK(!signbit(f) == !(h & 0x8000));
            CHECK_INT(sg_f32_to_f16(f), h);
        } else if (h & 0x3ff) {
            CHECK(isnan(f));
            CHECK_INT(sg_f32_to_f16(f), h | 0x200);
        } else {
            CHECK(isinf(f) && !signbit(f) == !(h & 0x8000));
            CHECK_INT(sg_f32_to_f16(f), h);
        }
    }
}

TEST(halves_round_to_nearest_and_ties_to_even)
{
    for (unsigned h = 0; h < 0x7c00; h++) { /* the neighbour above 0x7bff counts as 65536, which is infinity */
        double mid = (f16_value(h) + (h == 0x7bff ? 65536.0 : f16_value(h + 1))) / 2;
        float m = (float)mid;
        CHECK((double)m == mid);
        CHECK_INT(sg_f32_to_f16(m), h + (h & 1));
        CHECK_INT(sg_f32_to_f16(nextafterf(m, 0)), h);
        CHECK_INT(sg_f32_to_f16(nextafterf(m, INFINITY)), h + 1);
        CHECK_INT(sg_f32_to_f16(-m), 0x8000 | (h + (h & 1)));
    }
    CHECK_INT(sg_f32_to_f16(3.4e38f), 0x7c00);
    CHECK_INT(sg_f32_to_f16(1e-45f), 0);
    CHECK_INT(sg_f32_to_f16(-0.0f), 0x8000);
}

TEST(bfloat16_is_the_upper_half_rounded_to_even)
{
    for (unsigned b = 0; b < 65536; b++) {
        float f = sg_bf16_to_f32((uint16_t)b);
        bool nan = (b & 0x7fff) > 0x7f80;
        CHECK_INT(isnan(f), nan);
        CHECK_INT(sg_f32_to_bf16(f), nan ? b | 0x40 : b);
        if ((b & 0x7fff) >= 0x7f80)
            continue;
        CHECK_INT(sg_f32_bits(f), b << 16);
        CHECK_INT(sg_f32_to_bf16(sg_f32_of_bits(b << 16 | 0x8000)), b + (b & 1));
        CHECK_INT(sg_f32_to_bf16(sg_f32_of_bits(b << 16 | 0x7fff)), b);
        CHECK_INT(sg_f32_to_bf16(sg_f32_of_bits(b << 16 | 0x8001)), b + 1);
    }
    CHECK_INT(sg_f32_to_bf16(sg_f32_of_bits(0x7f800001)), 0x7fc0); /* the payload is cut off: still a NaN */
}

TAP_MAIN
