/* text/trie.h - byte strings with a number each, found by walking byte after byte.
 *
 * Built by one thread, then walked by any.  Node 0 is the root and never a child, so 0 also says "no such
 * child".  Further roots are made by adding under them.
 */
#ifndef SG_TEXT_TRIE_H
#define SG_TEXT_TRIE_H

#include "base/error.h"

typedef struct sg_trie {
    uint64_t *key;   /* [nslot] (node << 8 | byte) + 1, 0 = empty */
    uint32_t *child; /* [nslot] */
    int32_t *value;  /* [nnode] -1 = no string ends here */
    uint32_t mask, nnode, cap;
    uint32_t root[256]; /* children of node 0 */
} sg_trie;

sg_status sg_trie_init(sg_trie *t, sg_error *err);
void sg_trie_fini(sg_trie *t); /* a zeroed one is fine */

/* Add s[0..n) (n > 0) with a value of 0 or more below `node`; of equal strings the first stays. */
sg_status sg_trie_add(sg_trie *t, uint32_t node, const char *s, size_t n, int32_t value, sg_error *err);

/* A new root. */
sg_status sg_trie_root(sg_trie *t, uint32_t *node, sg_error *err);

static inline uint32_t sg_trie_step(const sg_trie *t, uint32_t node, unsigned char byte)
{
    if (node == 0)
        return t->root[byte];
    uint64_t key = ((uint64_t)node << 8 | byte) + 1;
    for (uint32_t i = (uint32_t)(key * 0x9e3779b97f4a7c15u >> 32) & t->mask; t->key[i]; i = (i + 1) & t->mask)
        if (t->key[i] == key)
            return t->child[i];
    return 0;
}

#endif
