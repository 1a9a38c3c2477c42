/* base/rng.h - random numbers.
 *
 * sg_rng is a small sequential generator (splitmix64) for tests and set-up.  sg_rng_at is counter-based:
 * the value depends on its arguments only, which is what sampling needs so that a reply does not depend
 * on batching, preemption or speculation (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
 * SC'11; the mixing here is two rounds of splitmix64's finaliser over each word).
 */
#ifndef SG_BASE_RNG_H
#define SG_BASE_RNG_H

#include <stdint.h>

typedef struct sg_rng {
    uint64_t state;
} sg_rng;

static inline uint64_t sg_rng_mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline uint64_t sg_rng_u64(sg_rng *r) { return sg_rng_mix(r->state += 0x9e3779b97f4a7c15u); }

/* Uniform in [0, n), n > 0. */
static inline uint64_t sg_rng_below(sg_rng *r, uint64_t n) { return (uint64_t)((unsigned __int128)sg_rng_u64(r) * n >> 64); }

/* Uniform in [0, 1) with 53 bits. */
static inline double sg_rng_unit(sg_rng *r) { return (double)(sg_rng_u64(r) >> 11) * 0x1p-53; }

/* The random word of (seed, position, choice). */
static inline uint64_t sg_rng_at(uint64_t seed, uint64_t position, uint64_t choice)
{
    uint64_t z = sg_rng_mix(seed + 0x9e3779b97f4a7c15u);
    z = sg_rng_mix(z ^ (position + 0x9e3779b97f4a7c15u) * 0xd1342543de82ef95u);
    return sg_rng_mix(sg_rng_mix(z ^ (choice + 0x9e3779b97f4a7c15u) * 0xda942042e4dd58b5u));
}

static inline double sg_rng_unit_at(uint64_t seed, uint64_t position, uint64_t choice)
{
    return (double)(sg_rng_at(seed, position, choice) >> 11) * 0x1p-53;
}

#endif
