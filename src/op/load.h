/* op/load.h - the load model: about how many nanoseconds a unit of work takes one worker.
 *
 * Only ratios matter: the task table (base/tasks.h) deals by them, and stealing evens out the rest.  Each kind of unit
 * costs the bytes that it brings to the arithmetic once, and the arithmetic for each row:
 *
 *     linear, expert   tiles of W read and unpacked once + rows x columns x k multiply-adds
 *     attention        keys and values decoded once + queries x positions x (dk + dv) multiply-adds
 *
 * The constants are of one core of a Sapphire Rapids class server (reads about 16 bytes, decodes about 8 cached values, and
 * does about 300 multiply-adds of int8 layers and 100 of attention in a nanosecond: segue bench kernel); on narrower
 * machines all of them are larger by similar factors.
 */
#ifndef SG_OP_LOAD_H
#define SG_OP_LOAD_H

#include <stddef.h>
#include <stdint.h>

/* nrow rows against `bytes` of packed weights of ncol columns and k inputs. */
static inline uint64_t sg_load_linear(int nrow, size_t bytes, int ncol, int k)
{
    return 1 + bytes / 16 + (uint64_t)nrow * (uint64_t)ncol * (uint64_t)k / 300;
}

/* nquery query vectors against npos positions of one KV head. */
static inline uint64_t sg_load_attention(int nquery, int npos, int dk, int dv)
{
    uint64_t values = (uint64_t)npos * (uint64_t)(dk + dv);
    return 1 + values / 8 + (uint64_t)nquery * values / 100;
}

#endif
