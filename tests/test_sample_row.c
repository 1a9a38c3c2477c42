/* Passes over rows against plain loops, in rows of all lengths up to some pieces and some long ones; with and without AVX2 the same
 * bits. */
#include "tap.h"

#include "sample/row.c" /* to call both builds of each loop */

#include <stdlib.h>

enum { MAX = 6000 };

static float x[MAX], w[MAX], w2[MAX];
static double sum[MAX], sum2[MAX];

/* Logits as models have them: few far above the rest; some -INFINITY and NaN. */
static void fill(size_t n, bool odd)
{
    for (size_t i = 0; i < n; i++) {
        double u = sg_rng_unit(tap_rng());
        x[i] = (float)(sg_rng_unit(tap_rng()) * 8 - 4 + (u < 0.02 ? 12 : 0));
        if (odd && u > 0.97)
            x[i] = u > 0.985 ? -INFINITY : NAN;
    }
}

static size_t length(int round) { return round < 700 ? (size_t)round + 1 : 1 + (size_t)sg_rng_below(tap_rng(), MAX); }

TEST(largest_and_next_are_those_of_a_plain_loop)
{
    for (int round = 0; round < 1000; round++) {
        size_t n = length(round), i = (size_t)sg_rng_below(tap_rng(), n), plain = 0;
        float most = -INFINITY, least;
        fill(n, true);
        for (size_t k = 0; k < n; k++)
            most = x[k] > most ? x[k] : most;
        CHECK(sg_row_largest(x, n) == most);
        CHECK(largest_any(x, n) == most);
        least = most - (float)(sg_rng_unit(tap_rng()) * 4);
        for (plain = i; plain < n && !(x[plain] >= least); plain++)
            ;
        CHECK_INT(sg_row_next(x, n, i, least), plain);
        if (!has_avx2())
            continue;
        CHECK_INT(block_any(x, n, i, least), block_avx2(x, n, i, least));
    }
    x[0] = NAN;
    CHECK(sg_row_largest(x, 1) == -INFINITY);
    CHECK_INT(sg_row_find(x, 1, 3), -1);
}

TEST(the_first_of_equals_is_found)
{
    for (size_t n = 1; n < 700; n++) {
        for (size_t i = 0; i < n; i++)
            x[i] = (float)(i % 3);
        CHECK_INT(sg_row_find(x, n, 0), 0);
        CHECK_INT(sg_row_find(x, n, 2), n > 2 ? 2 : -1);
        x[n - 1] = 7;
        CHECK_INT(sg_row_find(x, n, 7), n - 1);
        CHECK_INT(sg_row_find(x, n, 1.5f), -1);
    }
}

TEST(masses_are_exponentials_and_the_same_bits_everywhere)
{
    for (int round = 0; round < 1000; round++) {
        size_t n = length(round);
        float t = (float)(0.1 + sg_rng_unit(tap_rng()) * 2), most;
        fill(n, true);
        most = sg_row_largest(x, n);
        if (isinf(most))
            continue;
        double total = sg_row_mass(w, sum, x, n, most, t), plain = 0;
        for (size_t i = 0; i < n; i++) {
            double want = isnan(x[i]) ? 0 : exp(((double)x[i] - (double)most) / (double)t);
            CHECK_NEAR((double)w[i], want, 2e-5 * want + 1e-37);
            plain += (double)w[i];
        }
        CHECK_NEAR(total, plain, 1e-12 * plain);
        mass_any(w2, sum2, x, n, most, 1 / t);
        CHECK(memcmp(w, w2, n * sizeof *w) == 0);
        CHECK(memcmp(sum, sum2, sg_row_nblock(n) * sizeof *sum) == 0);
    }
    x[0] = x[70] = INFINITY;
    CHECK_NEAR(sg_row_mass(w, sum, x, 100, INFINITY, 1), 2, 0);
    CHECK(w[0] == 1 && w[1] == 0 && w[70] == 1);
}

TEST(a_draw_is_where_the_running_mass_exceeds_u)
{
    for (int round = 0; round < 1000; round++) {
        size_t n = length(round);
        fill(n, true);
        float most = sg_row_largest(x, n);
        if (isinf(most))
            continue;
        double total = sg_row_mass(w, sum, x, n, most, 1), u = sg_rng_unit(tap_rng()) * total, running = 0;
        int32_t id = sg_row_draw(w, sum, n, u);
        CHECK(id >= 0 && (size_t)id < n && w[id] > 0);
        for (int32_t i = 0; i < id; i++)
            running += (double)w[i];
        CHECK(running <= u + 1e-12 * total);
        CHECK(running + (double)w[id] >= u - 1e-12 * total);
        id = sg_row_draw(w, sum, n, total * (1 + 1e-9)); /* rounded up: the last one that has any */
        CHECK(w[id] > 0);
        for (size_t i = (size_t)id + 1; i < n; i++)
            CHECK(w[i] == 0);
    }
}

static int downwards(const void *a, const void *b)
{
    float p = *(const float *)a, q = *(const float *)b;
    return (p < q) - (p > q);
}

/* What the cut leaves contains all that is wanted, and seldom much more. */
TEST(a_cut_leaves_what_is_wanted_and_little_else)
{
    static float sorted[MAX];
    double left_of_wanted = 0;
    int cut = 0;
    for (int round = 0; round < 1500; round++) {
        size_t n = length(round), number = 1 + (size_t)sg_rng_below(tap_rng(), n), need = 0, left = 0;
        double share = sg_rng_unit(tap_rng()), running = 0;
        bool by_number = round % 2;
        fill(n, false);
        float most = sg_row_largest(x, n);
        double total = sg_row_mass(w, sum, x, n, most, 1);
        float least = sg_row_cut(x, by_number ? NULL : w, n, most, by_number ? number : n, share, total);
        memcpy(sorted, x, n * sizeof *x);
        qsort(sorted, n, sizeof *sorted, downwards);
        for (; need < n && (by_number ? need < number : running < share * total); need++)
            running += exp((double)sorted[need] - (double)most);
        for (size_t i = 0; i < n; i++)
            left += x[i] >= least;
        CHECK(left >= need);
        if (need) {
            cut++;
            left_of_wanted += (double)left / (double)(need > 256 ? need : 256);
        }
    }
    CHECK(left_of_wanted / cut < 1.2);
    CHECK(sg_row_cut(x, w, 1, x[0], 1, 1, 1) <= x[0]);
}

TAP_MAIN
