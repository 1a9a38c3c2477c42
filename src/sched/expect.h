/* sched/expect.h - how long an answer will probably become, from those that ended.
 *
 * Admission promises memory for the expected length, so an estimate that is too low throws requests out again and one that
 * is too high leaves memory empty.  Lengths are kept as a decayed histogram (four bins an octave) for each class of requests:
 * tenant and order of magnitude of max_tokens, and for all together.  The expectation is conditional: an answer that has
 * passed the short ones is expected to become as long as the long ones were.
 *
 * Pure arithmetic, no clock, no allocation.  One thread at a time.
 */
#ifndef SG_SCHED_EXPECT_H
#define SG_SCHED_EXPECT_H

#include <stdint.h>

enum { SG_EXPECT_NCLASS = 64, SG_EXPECT_NBIN = 64 };

typedef struct sg_expect {
    struct {
        float n, bin[SG_EXPECT_NBIN];
    } of[SG_EXPECT_NCLASS + 1]; /* the last: all requests */
} sg_expect;

/* Knows nothing; zeroed memory is the same. */
void sg_expect_init(sg_expect *e);

/* An answer of a request that might have had `most` tokens ended by itself after `answered`. */
void sg_expect_learn(sg_expect *e, uint32_t tenant, int most, int answered);

/* Tokens that an answer of `answered` tokens will probably have in the end: mean and half a deviation of those that became longer; more
 * than `answered`, at most `most`. */
int sg_expect_length(const sg_expect *e, uint32_t tenant, int most, int answered);

#endif
