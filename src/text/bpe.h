/* text/bpe.h - byte-pair merging.
 *
 * Two ways of saying which neighbours merge: a list of merges in order of rank (GPT-2's way, used by
 * tokenizer.json and by GGUF's "gpt2"), or a score for each piece (SentencePiece's way): any two
 * neighbours whose text together is a piece may merge, the best score first.  Of equal candidates the
 * leftmost goes first.
 */
#ifndef SG_TEXT_BPE_H
#define SG_TEXT_BPE_H

#include "text/vocab.h"

/* A pair of ids and what it becomes, 21 + 21 + 22 bits a slot. */
typedef struct sg_merges {
    uint64_t *slot;  /* (left << 43 | right << 22 | rank) + 1, 0 = empty */
    uint32_t *id;    /* [n] what merge `rank` makes */
    uint64_t mask;
    uint32_t n;
} sg_merges;

enum { SG_MERGES_MAX = (1 << 22) - 2 };

/* Room for n merges; put them in the order of their rank.  The first of equal pairs counts.  */
sg_status sg_merges_init(sg_merges *m, size_t n, sg_error *err);
void sg_merges_fini(sg_merges *m);
sg_status sg_merges_put(sg_merges *m, uint32_t left, uint32_t right, uint32_t id, sg_error *err);

/* A piece of the word while it is being merged; `text` bytes [start, start + len). */
typedef struct sg_symbol {
    int32_t id; /* -1: no piece */
    uint32_t start, len;
    uint32_t prev, next; /* UINT32_MAX at the ends */
    uint32_t key;        /* rank of merging it with the next one, UINT32_MAX = they do not merge */
    int32_t merged;      /* what the two become */
} sg_symbol;

/* Scratch memory of one thread. */
typedef struct sg_bpe_scratch {
    sg_symbol *symbol;
    size_t symbol_cap;
    sg_symbol *window; /* [window_cap] */
    size_t window_cap;
    size_t window_least; /* tests: another size for the first window, 0 = the usual one */
    uint64_t *heap;
    size_t heap_cap;
} sg_bpe_scratch;

void sg_bpe_scratch_fini(sg_bpe_scratch *s);

/* Make room for n symbols, for the caller to fill in id, start and len. */
sg_status sg_bpe_room(sg_bpe_scratch *s, size_t n, sg_error *err);

/* Merge symbols 0..n-1 until nothing merges.  They are left as a list from 0 along next.  `m` NULL: by the scores
 * of `v`, else by merges.  The work is linear in n. */
sg_status sg_bpe_merge(sg_bpe_scratch *s, size_t n, const char *text, const sg_merges *m, const sg_vocab *v, sg_error *err);

static inline uint64_t sg_merges_hash(uint64_t pair) { return pair * 0x9e3779b97f4a7c15u >> 20; }

/* The rank of a pair, or UINT32_MAX. */
static inline uint32_t sg_merges_find(const sg_merges *m, uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 21 | right;
    for (uint64_t i = sg_merges_hash(pair) & m->mask; m->slot[i]; i = (i + 1) & m->mask)
        if ((m->slot[i] - 1) >> 22 == pair)
            return (uint32_t)((m->slot[i] - 1) & ((1u << 22) - 1));
    return UINT32_MAX;
}

#endif
