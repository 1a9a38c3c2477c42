/* kv/prefix.h - which token sequences have their keys and values in the pool: a tree over token ids.
 *
 * A node is one KV block and the ids of the tokens that it holds (fewer than a block only at a tail).  A
 * path from the top spells a prefix; requests that begin with it share its blocks.  A match is counted
 * in tokens, not in blocks: the last block may match in part, and the sequence that shares it copies it
 * before writing (kv/pool.h).
 *
 *     top -- [once upon a time][ there was a little] -- [ boat . The boat]
 *                                                    \- [ girl named ]        (a tail of 3)
 *
 * Matches compare ids, never hashes: a collision would hand one user's context to another (DESIGN 7).  The
 * name space (API key, adapter, encoder profile) is part of the key.  The tree holds one reference to each of
 * its blocks.  Everything is allocated at open; no call allocates.  One thread (the step loop).
 */
#ifndef SG_KV_PREFIX_H
#define SG_KV_PREFIX_H

#include "kv/pool.h"
#include "segue.h"

typedef struct sg_prefix sg_prefix;

/* A tree over the blocks of a pool, which must outlive it. */
sg_status sg_prefix_open(sg_prefix **tree, sg_kv_pool *pool, sg_error *err);
void sg_prefix_close(sg_prefix *tree); /* gives all blocks */

/* The longest stored prefix of ids[0..n).  blocks has room for sg_kv_blocks_for(n) numbers; the first
 * sg_kv_blocks_for(result) are filled.  No reference is taken: share them (sg_kv_seq_share) before the
 * next call that may evict.  `now` is any rising number, the time of use; negative: a look that counts as no use.
 * Returns tokens, 0 to n. */
int sg_prefix_match(sg_prefix *tree, uint64_t space, const int32_t *ids, int n, int64_t now, int32_t *blocks, sg_prefix_end *end);

/* Remember that blocks[i], which the caller holds, holds the keys and values of ids[i*block ..], n tokens in all.
 * What is there already stays as it is, and full blocks of it take the place of the caller's in blocks[], with his
 * reference: equal tokens are stored once, and who holds a node holds the path to it.  A last block that is not full
 * is remembered too when `tail`: its owner pays with a copy if he writes on, because a shared block is copied first. */
void sg_prefix_insert(sg_prefix *tree, uint64_t space, const int32_t *ids, int n, int32_t *blocks, bool tail, int64_t now);

/* What came behind ids[0..n) when others computed it: up to `most` tokens into out, following the blocks that were used most; returns how
 * many.  table[i] is the caller's block of ids[i*block ..]; its last full one must be in the tree, or nothing is found. */
int sg_prefix_guess(const sg_prefix *tree, uint64_t space, const int32_t *ids, int n, const int32_t *table, int32_t *out, int most);

/* Give up to `want` blocks back to the pool, the least valuable first: leaves that nobody else holds, by time of
 * last use, where every doubling of uses counts as much as `SG_PREFIX_USE_US` of recency.  Returns how many were given. */
int sg_prefix_evict(sg_prefix *tree, int want);
enum { SG_PREFIX_USE_US = 10000000 };

/* Give the tree's reference to one block, whoever holds it too.  False when it is not there or others follow it. */
bool sg_prefix_forget(sg_prefix *tree, int32_t block);

int sg_prefix_nblock(const sg_prefix *tree); /* blocks that the tree holds */

/* A number that changes whenever a block comes or goes: what a match found still holds while it is the same. */
uint64_t sg_prefix_version(const sg_prefix *tree);

#endif
