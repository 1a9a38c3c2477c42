/* kv/pool.h - keys and values of all sequences, in blocks of a pool whose size is fixed at open.
 *
 *     pool   layer 0: K [nblock][nkv][block x dk]   V [nblock][nkv][block][dv]
 *                     (the order inside a block of keys is op/op.h's)
 *            layer 1: ...                          (layers may differ in heads and sizes; V may alias K)
 *            refs [nblock]                         0: free
 *     seq    table [i] = the block that holds positions [i*block, (i+1)*block), in every layer
 *
 * A block number stands for the same positions in all layers, so one table serves the whole model.  Sequences
 * share blocks: a fork, and later a prefix tree, takes a reference and gives it back.  A block with more than one
 * reference is never written: extending a sequence copies its last, partly filled block first when it is shared.
 *
 * Threads: one thread (the step loop) calls everything that takes, gives or extends; the workers of an op read
 * tables and read and write block memory while that thread waits for them.  sg_kv_pool_nfree may be read by others
 * through the thread's own statistics only.
 */
#ifndef SG_KV_POOL_H
#define SG_KV_POOL_H

#include "base/pool.h"
#include "op/op.h"

/* What a layer stores for a position. */
typedef struct sg_kv_spec {
    int nkv, dk, dv; /* heads; values of a key and of a value */
    bool alias;      /* V is the first dv values of K: only K is stored */
} sg_kv_spec;

typedef struct sg_kv_pool sg_kv_pool;

/* The largest number of blocks in a pool, and of positions in a block. */
enum { SG_KV_BLOCKS_MAX = 1 << 24, SG_KV_BLOCK_MAX = 1024 };

/* Bytes of one block over all layers; 0 when it does not fit or a size is out of range (dk, dv 1 to
 * SG_HEAD_DIM_MAX; multiples of 32 for SG_Q8_0; types F32, F16, BF16, Q8_0; block 1 to SG_KV_BLOCK_MAX). */
size_t sg_kv_block_bytes(const sg_kv_spec *layers, int nlayer, sg_dtype type, int block);

/* Blocks needed for n positions. */
static inline int sg_kv_blocks_for(int npos, int block) { return npos / block + (npos % block != 0); }

/* A pool of nblock blocks.  Memory is reserved at once and touched as it is used.  SG_E_ARGUMENT, SG_E_NOMEM. */
sg_status sg_kv_pool_open(sg_kv_pool **pool, const sg_kv_spec *layers, int nlayer, sg_dtype type, int block, int nblock,
                          sg_error *err);
void sg_kv_pool_close(sg_kv_pool *pool); /* all sequences of it are gone by then */

/* Touch a piece of memory (about 2 MiB), or one on each of the workers, of blocks that were never taken so far, if fewer than `ahead`
 * of them have been touched already; false when there is nothing to do.  At the first touch of memory the system finds, zeroes and maps
 * it; all layers would come to that point in the same step, for a third of a second.  The thread that takes blocks and runs the
 * workers. */
bool sg_kv_pool_warm(sg_kv_pool *pool, int ahead);

/* Whether warming is behind: of the pieces that one border needs, a larger share is left than of the `ahead` blocks before it. */
bool sg_kv_pool_late(const sg_kv_pool *pool, int ahead);

/* Who touches: borrowed; NULL, as at first: the calling thread alone. */
void sg_kv_pool_workers(sg_kv_pool *pool, sg_pool *workers);

int sg_kv_pool_block(const sg_kv_pool *pool); /* positions of a block */
int sg_kv_pool_nblock(const sg_kv_pool *pool);
int sg_kv_pool_nfree(const sg_kv_pool *pool);
int sg_kv_pool_nused(const sg_kv_pool *pool); /* free blocks that were taken before: they are taken first, and their memory is there */
int sg_kv_pool_nlayer(const sg_kv_pool *pool);
size_t sg_kv_pool_bytes(const sg_kv_pool *pool);
sg_dtype sg_kv_pool_type(const sg_kv_pool *pool);

/* The layout of layer l for the ops. */
const sg_kv_layer *sg_kv_pool_layer(const sg_kv_pool *pool, int l);

/* A free block with one reference, or -1. */
int32_t sg_kv_pool_take(sg_kv_pool *pool);
void sg_kv_pool_ref(sg_kv_pool *pool, int32_t block);  /* one more */
void sg_kv_pool_give(sg_kv_pool *pool, int32_t block); /* one less; free at none */
int sg_kv_pool_refs(const sg_kv_pool *pool, int32_t block);

/* The reference of a cache (the prefix tree) to a block that somebody holds, one a block: taken and given apart from
 * the others, so that the pool knows how many blocks are idle: held by the cache alone, to be had by evicting. */
void sg_kv_pool_cache(sg_kv_pool *pool, int32_t block);
void sg_kv_pool_uncache(sg_kv_pool *pool, int32_t block);
int sg_kv_pool_nidle(const sg_kv_pool *pool);
/* References to a block without the cache's. */
int sg_kv_pool_users(const sg_kv_pool *pool, int32_t block);

/* ---- sequences -------------------------------------------------------------------- */

typedef struct sg_kv_seq {
    sg_kv_pool *pool;
    int32_t *table; /* [max_blocks]; the first nblock are held */
    int nblock, max_blocks, max_len;
    int len; /* positions that are stored, or being stored by the running step */
} sg_kv_seq;

/* An empty sequence of at most max_len positions.  The table is allocated here, so growing later allocates nothing. */
sg_status sg_kv_seq_new(sg_kv_seq **seq, sg_kv_pool *pool, int max_len, sg_error *err);
void sg_kv_seq_free(sg_kv_seq *seq); /* gives its blocks */

/* Blocks that sg_kv_seq_extend(seq, n) would take from the pool. */
int sg_kv_seq_blocks_needed(const sg_kv_seq *seq, int n);

/* Make room for n more positions: len += n.  SG_E_LIMIT when max_len would be passed, SG_E_BUSY when the pool has not
 * enough free blocks; both leave the sequence as it was. */
sg_status sg_kv_seq_extend(sg_kv_seq *seq, int n, sg_error *err);

/* Forget positions from `len` on; blocks that hold none of the rest are given.  len above seq->len does nothing. */
void sg_kv_seq_truncate(sg_kv_seq *seq, int len);

/* Begin an empty sequence with positions [0, len) of blocks that hold them already: a reference to each of
 * blocks[0 .. sg_kv_blocks_for(len)) is taken.  SG_E_LIMIT when it is longer than the sequence may be. */
sg_status sg_kv_seq_share(sg_kv_seq *seq, const int32_t *blocks, int len, sg_error *err);

#endif
