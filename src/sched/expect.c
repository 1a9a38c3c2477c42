/* sched/expect.c - decayed histograms of answer lengths.
 *
 *     bin      0   1   2   3   4      8       12      40
 *     tokens   0   1.2 1.4 1.7 2 ...  4  ...  8  ...  1024 ...       (the middle of a bin stands for it)
 *
 * One average for the engine was tried first: with short and long answers in turn it lies where no answer ends, so every
 * long one over-ran its promise and somebody was thrown out for it.
 */
#include "sched/expect.h"

#include "base/rng.h"

#include <math.h>
#include <string.h>

enum { PER_OCTAVE = 4, ENOUGH = 8, FIRST = 64, LEAST = 16, TENANTS = 8, SIZES = 8 };
static const float keep = 0.99f; /* for each answer of the class: half-life 69 answers */

void sg_expect_init(sg_expect *e) { memset(e, 0, sizeof *e); }

static int bin_of(int n)
{
    int b = n > 1 ? (int)(PER_OCTAVE * log2(n)) : 0;
    return b < SG_EXPECT_NBIN ? b : SG_EXPECT_NBIN - 1;
}

static int class_of(uint32_t tenant, int most)
{
    int size = most > 1 ? (31 - __builtin_clz((unsigned)most)) / 2 : 0;
    return (int)(sg_rng_mix(tenant) % TENANTS) * SIZES + (size < SIZES ? size : SIZES - 1);
}

static void learn(sg_expect *e, int c, int bin)
{
    for (int i = 0; i < SG_EXPECT_NBIN; i++)
        e->of[c].bin[i] *= keep;
    e->of[c].bin[bin] += 1;
    e->of[c].n = e->of[c].n * keep + 1;
}

void sg_expect_learn(sg_expect *e, uint32_t tenant, int most, int answered)
{
    learn(e, class_of(tenant, most), bin_of(answered));
    learn(e, SG_EXPECT_NCLASS, bin_of(answered));
}

int sg_expect_length(const sg_expect *e, uint32_t tenant, int most, int answered)
{
    int c = class_of(tenant, most);
    if (e->of[c].n < ENOUGH)
        c = SG_EXPECT_NCLASS;
    double n = 0, sum = 0, squares = 0, length = answered + FIRST;
    int from = answered > 0 ? bin_of(answered) + 1 : 0;
    double value = exp2((from + 0.5) / PER_OCTAVE), step = 1.189207115002721; /* the fourth root of 2 */
    for (int i = from; i < SG_EXPECT_NBIN; i++, value *= step) {
        double w = (double)e->of[c].bin[i];
        n += w;
        sum += w * value;
        squares += w * value * value;
    }
    if (n >= 0.5) {
        double mean = sum / n, variance = squares / n - mean * mean;
        length = mean + 0.5 * sqrt(variance > 0 ? variance : 0);
    } else if (e->of[c].n >= ENOUGH) /* longer than all that are remembered: a quarter more */
        length = answered + fmax(answered / 4, LEAST);
    length = fmax(length, answered + 1);
    return length < most ? (int)length : most > answered ? most : answered + 1;
}
