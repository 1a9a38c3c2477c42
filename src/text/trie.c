/* text/trie.c - a trie whose edges lie in one hash table.
 *
 *     (node, byte) -> child        open addressing, at most half full; the root's edges in an array of their own
 *
 * Vocabularies have nodes with one child mostly, for which an array of 256 would be waste and a sorted list slow to
 * build.  A step costs one probe; building costs one insertion for each new byte.  A node is four bytes (its value) and
 * an edge twelve.
 */
#include "text/trie.h"

#include "base/heap.h"

#include <string.h>

sg_status sg_trie_root(sg_trie *t, uint32_t *node, sg_error *err)
{
    if (t->nnode == t->cap) {
        if (t->cap >= UINT32_MAX / 4)
            return sg_fail(err, SG_E_LIMIT, "vocabulary: too many bytes for its trie");
        uint32_t cap = t->cap * 2 + 64;
        int32_t *value = sg_realloc(t->value, cap * sizeof *value);
        if (!value)
            return sg_fail_nomem(err, "the trie of a vocabulary");
        t->value = value;
        t->cap = cap;
    }
    *node = t->nnode++;
    t->value[*node] = -1;
    return SG_OK;
}

/* Slots are at most half full. */
static bool rehash(sg_trie *t, uint32_t nslot)
{
    uint64_t *key = sg_calloc(nslot, sizeof *key);
    uint32_t *child = sg_calloc(nslot, sizeof *child);
    if (!key || !child) {
        sg_free(key);
        sg_free(child);
        return false;
    }
    for (uint32_t i = 0; t->key && i <= t->mask; i++)
        if (t->key[i]) {
            uint32_t j = (uint32_t)(t->key[i] * 0x9e3779b97f4a7c15u >> 32) & (nslot - 1);
            while (key[j])
                j = (j + 1) & (nslot - 1);
            key[j] = t->key[i];
            child[j] = t->child[i];
        }
    sg_free(t->key);
    sg_free(t->child);
    t->key = key;
    t->child = child;
    t->mask = nslot - 1;
    return true;
}

sg_status sg_trie_init(sg_trie *t, sg_error *err)
{
    sg_trie x = {0};
    uint32_t root;
    sg_status st = rehash(&x, 64) ? sg_trie_root(&x, &root, err) : sg_fail_nomem(err, "the trie of a vocabulary");
    if (st != SG_OK)
        sg_trie_fini(&x);
    else
        *t = x;
    return st;
}

void sg_trie_fini(sg_trie *t)
{
    sg_free(t->key);
    sg_free(t->child);
    sg_free(t->value);
    memset(t, 0, sizeof *t);
}

static sg_status make_child(sg_trie *t, uint32_t node, unsigned char byte, uint32_t *child, sg_error *err)
{
    SG_TRY(sg_trie_root(t, child, err));
    if (node == 0) {
        t->root[byte] = *child;
        return SG_OK;
    }
    if (t->nnode > t->mask / 2 && !rehash(t, (t->mask + 1) * 2))
        return sg_fail_nomem(err, "the trie of a vocabulary");
    uint64_t key = ((uint64_t)node << 8 | byte) + 1;
    uint32_t i = (uint32_t)(key * 0x9e3779b97f4a7c15u >> 32) & t->mask;
    while (t->key[i])
        i = (i + 1) & t->mask;
    t->key[i] = key;
    t->child[i] = *child;
    return SG_OK;
}

sg_status sg_trie_add(sg_trie *t, uint32_t node, const char *s, size_t n, int32_t value, sg_error *err)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t child = sg_trie_step(t, node, (unsigned char)s[i]);
        if (!child)
            SG_TRY(make_child(t, node, (unsigned char)s[i], &child, err));
        node = child;
    }
    if (t->value[node] < 0)
        t->value[node] = value;
    return SG_OK;
}
