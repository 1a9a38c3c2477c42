/* kv/prefix.c - the prefix tree, one node a block.
 *
 * A block is in the tree at most once, so node numbers are block numbers and all nodes are one array as long
 * as the pool.  The children of a node stand in a treap (Seidel and Aragon 1996) ordered by their ids: the child
 * that shares the most ids with a query is a neighbour of the query's place in that order, hence on the search
 * path, so one descent finds both an exact child and the longest partial match.  No child tables grow or shrink.
 *
 *     node  parent | kid: root of the children's treap | left, right: in the treap of its siblings
 *           count: ids it holds | heap: place among the leaves, by value
 *
 * Leaves stand in a binary heap by value; the least valuable is evicted first, and its parent may become a leaf.
 * Leaves that a running sequence holds are passed over.
 *
 * What was evicted is remembered as long as about as many others have not been evicted since, by a 64-bit number of the path to its
 * end: only to say why a match ended, never to find anything.
 *
 * Rejected: a compressed radix tree with edges of any length (edges must be split, which splits blocks between
 * nodes, for no gain when storage comes in blocks anyway); hashing blocks (a hit must compare ids all the same).
 */
#include "kv/prefix.h"

#include "base/heap.h"
#include "base/rng.h"

#include <string.h>

enum { NONE = -1 };

typedef struct node {
    int32_t parent, kid, left, right;
    int32_t count; /* 0: the block is not in the tree */
    int32_t heap;  /* place in the heap, NONE when not a leaf */
    uint32_t priority, uses;
    uint64_t space, path; /* path: a number of all ids from the top to this block's end */
    int64_t used;
} node;

struct sg_prefix {
    sg_kv_pool *pool;
    int block, nblock, n, nheap;
    int32_t top; /* treap of the first blocks of all name spaces */
    node *nodes;   /* [nblock] */
    int32_t *ids;  /* [nblock][block] */
    int32_t *heap; /* [nblock] */
    int32_t *held; /* [nblock] scratch of eviction: leaves that somebody else holds */
    uint64_t *gone; /* [nblock] paths that were evicted, each at its remainder; 0: none */
    uint64_t version;
    sg_rng rng;
};

sg_status sg_prefix_open(sg_prefix **out, sg_kv_pool *pool, sg_error *err)
{
    sg_prefix *t = sg_calloc(1, sizeof *t);
    if (!t)
        return sg_fail_nomem(err, "a prefix tree");
    size_t n = (size_t)sg_kv_pool_nblock(pool);
    t->pool = pool;
    t->block = sg_kv_pool_block(pool);
    t->nblock = (int)n;
    t->top = NONE;
    t->rng.state = 1;
    t->nodes = sg_calloc(n, sizeof *t->nodes);
    t->ids = sg_calloc(n, (size_t)t->block * sizeof *t->ids);
    t->heap = sg_calloc(n, sizeof *t->heap);
    t->held = sg_calloc(n, sizeof *t->held);
    t->gone = sg_calloc(n, sizeof *t->gone);
    if (!t->nodes || !t->ids || !t->heap || !t->held || !t->gone) {
        sg_prefix_close(t);
        return sg_fail_nomem(err, "a prefix tree");
    }
    *out = t;
    return SG_OK;
}

void sg_prefix_close(sg_prefix *t)
{
    if (!t)
        return;
    for (int i = 0; t->nodes && i < t->nblock; i++)
        if (t->nodes[i].count)
            sg_kv_pool_uncache(t->pool, i);
    sg_free(t->nodes);
    sg_free(t->ids);
    sg_free(t->heap);
    sg_free(t->held);
    sg_free(t->gone);
    sg_free(t);
}

int sg_prefix_nblock(const sg_prefix *t) { return t->n; }
uint64_t sg_prefix_version(const sg_prefix *t) { return t->version; }

/* ---- order of siblings ------------------------------------------------------------------ */

/* The order of (space, ids[0..n)) against a node's key; *same = ids in common from the front. */
static int compare(const sg_prefix *t, uint64_t space, const int32_t *ids, int n, int32_t at, int *same)
{
    const node *x = &t->nodes[at];
    const int32_t *have = t->ids + (size_t)at * (size_t)t->block;
    *same = 0;
    if (space != x->space)
        return space < x->space ? -1 : 1;
    int both = n < x->count ? n : x->count, i = 0;
    while (i < both && ids[i] == have[i])
        i++;
    *same = i;
    if (i < both)
        return ids[i] < have[i] ? -1 : 1;
    return n < x->count ? -1 : n > x->count;
}

static int32_t *kids_of(sg_prefix *t, int32_t parent) { return parent == NONE ? &t->top : &t->nodes[parent].kid; }

/* Split a treap into keys below and above those of node `at` (which is not in it). */
static void split(sg_prefix *t, int32_t root, int32_t at, int32_t *below, int32_t *above)
{
    while (root != NONE) {
        int same;
        node *r = &t->nodes[root];
        if (compare(t, t->nodes[at].space, t->ids + (size_t)at * (size_t)t->block, t->nodes[at].count, root, &same) < 0) {
            *above = root;
            above = &r->left;
            root = r->left;
        } else {
            *below = root;
            below = &r->right;
            root = r->right;
        }
    }
    *below = *above = NONE;
}

static void treap_insert(sg_prefix *t, int32_t *root, int32_t at)
{
    int same;
    const node *x = &t->nodes[at];
    while (*root != NONE && t->nodes[*root].priority >= x->priority)
        root = compare(t, x->space, t->ids + (size_t)at * (size_t)t->block, x->count, *root, &same) < 0 ? &t->nodes[*root].left
                                                                                                     : &t->nodes[*root].right;
    int32_t old = *root;
    *root = at;
    split(t, old, at, &t->nodes[at].left, &t->nodes[at].right);
}

static void treap_remove(sg_prefix *t, int32_t *root, int32_t at)
{
    int same;
    const node *x = &t->nodes[at];
    while (*root != at)
        root = compare(t, x->space, t->ids + (size_t)at * (size_t)t->block, x->count, *root, &same) < 0 ? &t->nodes[*root].left
                                                                                                     : &t->nodes[*root].right;
    int32_t a = x->left, b = x->right;
    while (a != NONE && b != NONE) { /* merge the two sides into *root */
        bool left = t->nodes[a].priority >= t->nodes[b].priority;
        *root = left ? a : b;
        root = left ? &t->nodes[a].right : &t->nodes[b].left;
        if (left)
            a = *root;
        else
            b = *root;
    }
    *root = a != NONE ? a : b;
}

/* Among the children: the one with the most ids in common with (space, ids[0..n)); NONE when none has any. */
static int32_t closest(const sg_prefix *t, int32_t root, uint64_t space, const int32_t *ids, int n, int *common)
{
    int32_t best = NONE;
    *common = 0;
    while (root != NONE) {
        int same, order = compare(t, space, ids, n, root, &same);
        if (same > *common || (same == *common && order == 0 && same > 0)) {
            *common = same;
            best = root;
        }
        if (order == 0)
            break;
        root = order < 0 ? t->nodes[root].left : t->nodes[root].right;
    }
    return best;
}

/* ---- leaves by value ----------------------------------------------------------------------- */

static int64_t value(const node *x)
{
    int doublings = 31 - __builtin_clz(x->uses | 1);
    return x->used + (int64_t)doublings * SG_PREFIX_USE_US;
}

static void place(sg_prefix *t, int i, int32_t at)
{
    t->heap[i] = at;
    t->nodes[at].heap = i;
}

static void sift(sg_prefix *t, int i)
{
    int32_t at = t->heap[i];
    int64_t v = value(&t->nodes[at]);
    while (i > 0 && value(&t->nodes[t->heap[(i - 1) / 2]]) > v) {
        place(t, i, t->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (;;) {
        int kid = 2 * i + 1;
        if (kid + 1 < t->nheap && value(&t->nodes[t->heap[kid + 1]]) < value(&t->nodes[t->heap[kid]]))
            kid++;
        if (kid >= t->nheap || value(&t->nodes[t->heap[kid]]) >= v)
            break;
        place(t, i, t->heap[kid]);
        i = kid;
    }
    place(t, i, at);
}

static void heap_add(sg_prefix *t, int32_t at)
{
    place(t, t->nheap, at);
    sift(t, t->nheap++);
}

static void heap_remove(sg_prefix *t, int32_t at)
{
    int i = t->nodes[at].heap;
    t->nodes[at].heap = NONE;
    if (i != --t->nheap) {
        place(t, i, t->heap[t->nheap]);
        sift(t, i);
    }
}

static void touch(sg_prefix *t, int32_t at, int64_t now)
{
    node *x = &t->nodes[at];
    x->used = now;
    x->uses++;
    if (x->heap != NONE)
        sift(t, x->heap);
}

/* ---- nodes ------------------------------------------------------------------------------------ */

/* The path that goes on from `parent` with n ids. */
static uint64_t path_of(const sg_prefix *t, int32_t parent, uint64_t space, const int32_t *ids, int n)
{
    uint64_t path = parent == NONE ? sg_rng_mix(space) : t->nodes[parent].path;
    for (int i = 0; i < n; i++)
        path = sg_rng_mix(path + (uint32_t)ids[i] + 0x9e3779b97f4a7c15u);
    return path;
}

static uint64_t *gone_at(const sg_prefix *t, uint64_t path) { return &t->gone[path % (uint64_t)t->nblock]; }

/* Whether a block was evicted that went on from `at` with ids[0..k), common < k <= n. */
static bool was_evicted(const sg_prefix *t, int32_t at, uint64_t space, const int32_t *ids, int common, int n)
{
    uint64_t path = path_of(t, at, space, ids, common);
    for (int i = common; i < n; i++) {
        path = sg_rng_mix(path + (uint32_t)ids[i] + 0x9e3779b97f4a7c15u);
        if (*gone_at(t, path) == path)
            return true;
    }
    return false;
}

static void add_node(sg_prefix *t, int32_t parent, uint64_t space, const int32_t *ids, int count, int32_t block, int64_t now)
{
    node *x = &t->nodes[block];
    *x = (node){.parent = parent, .kid = NONE, .left = NONE, .right = NONE, .count = count, .heap = NONE, .space = space,
                .path = path_of(t, parent, space, ids, count), .priority = (uint32_t)sg_rng_u64(&t->rng), .used = now, .uses = 1};
    memcpy(t->ids + (size_t)block * (size_t)t->block, ids, (size_t)count * sizeof *ids);
    treap_insert(t, kids_of(t, parent), block);
    if (parent != NONE && t->nodes[parent].heap != NONE)
        heap_remove(t, parent);
    heap_add(t, block);
    sg_kv_pool_cache(t->pool, block);
    t->n++;
    t->version++;
}

static void remove_leaf(sg_prefix *t, int32_t at)
{
    int32_t parent = t->nodes[at].parent;
    heap_remove(t, at);
    treap_remove(t, kids_of(t, parent), at);
    t->nodes[at].count = 0;
    t->n--;
    t->version++;
    sg_kv_pool_uncache(t->pool, at);
    if (parent != NONE && t->nodes[parent].kid == NONE)
        heap_add(t, parent);
}

int sg_prefix_match(sg_prefix *t, uint64_t space, const int32_t *ids, int n, int64_t now, int32_t *blocks, sg_prefix_end *end)
{
    int done = 0;
    int32_t at = NONE;
    *end = SG_PREFIX_WHOLE;
    while (done < n) {
        int want = n - done < t->block ? n - done : t->block, common;
        int32_t kid = closest(t, *kids_of(t, at), space, ids + done, want, &common);
        if (kid == NONE) {
            bool any = *kids_of(t, at) != NONE;
            *end = was_evicted(t, at, space, ids + done, 0, want) ? SG_PREFIX_EVICTED
                   : done == 0                                    ? SG_PREFIX_COLD
                   : any                                          ? SG_PREFIX_DIVERGED
                                                                  : SG_PREFIX_SHORT;
            break;
        }
        if (now >= 0)
            touch(t, kid, now);
        blocks[done / t->block] = kid;
        done += common;
        if (common < t->block) {
            if (done < n)
                *end = was_evicted(t, at, space, ids + done - common, common, want) ? SG_PREFIX_EVICTED
                       : common == t->nodes[kid].count                              ? SG_PREFIX_SHORT
                                                                                    : SG_PREFIX_DIVERGED;
            break;
        }
        at = kid;
    }
    return done;
}

/* The caller's block holds what `node` holds: it goes on with the node's and gives its own. */
static void exchange(sg_prefix *t, int32_t *block, int32_t at)
{
    if (*block == at)
        return;
    sg_kv_pool_ref(t->pool, at);
    sg_kv_pool_give(t->pool, *block);
    *block = at;
}

void sg_prefix_insert(sg_prefix *t, uint64_t space, const int32_t *ids, int n, int32_t *blocks, bool tail, int64_t now)
{
    int32_t at = NONE;
    for (int done = 0; done < n; done += t->block) {
        int count = n - done < t->block ? n - done : t->block, common;
        if (count < t->block && !tail)
            return;
        int32_t kid = closest(t, *kids_of(t, at), space, ids + done, count, &common);
        if (kid != NONE && common == count) { /* there already, perhaps with more behind it */
            touch(t, kid, now);
            if (count == t->block)
                exchange(t, &blocks[done / t->block], kid);
            at = kid;
            continue;
        }
        int32_t block = blocks[done / t->block];
        if (t->nodes[block].count) /* this block is known under other ids: its owner has rewound and gone on */
            return;
        add_node(t, at, space, ids + done, count, block, now);
        if (kid != NONE && common == t->nodes[kid].count) /* a shorter tail of the same text is not needed any more */
            remove_leaf(t, kid);
        at = block;
    }
}

/* Of the first few children the one that was used most, the last used among equals. */
static int32_t favourite(const sg_prefix *t, int32_t root)
{
    enum { FEW = 8 };
    int32_t queue[FEW], best = NONE;
    int n = 0;
    if (root != NONE)
        queue[n++] = root;
    for (int i = 0; i < n; i++) {
        const node *x = &t->nodes[queue[i]];
        if (best == NONE || x->uses > t->nodes[best].uses || (x->uses == t->nodes[best].uses && x->used > t->nodes[best].used))
            best = queue[i];
        if (x->left != NONE && n < FEW)
            queue[n++] = x->left;
        if (x->right != NONE && n < FEW)
            queue[n++] = x->right;
    }
    return best;
}

/* Whether a block is the node of these ids. */
static bool is_node(const sg_prefix *t, int32_t at, uint64_t space, const int32_t *ids)
{
    const node *x = &t->nodes[at];
    return x->count == t->block && x->space == space &&
           memcmp(t->ids + (size_t)at * (size_t)t->block, ids, (size_t)t->block * sizeof *ids) == 0;
}

int sg_prefix_guess(const sg_prefix *t, uint64_t space, const int32_t *ids, int n, const int32_t *table, int32_t *out, int most)
{
    int full = n / t->block, tail = n % t->block, common = 0, count = 0;
    int32_t at = full ? table[full - 1] : NONE;
    if (at != NONE && !is_node(t, at, space, ids + (full - 1) * t->block))
        return 0;
    int32_t root = at == NONE ? t->top : t->nodes[at].kid;
    at = tail ? closest(t, root, space, ids + full * t->block, tail, &common) : at == NONE ? NONE : favourite(t, root);
    if (common < tail)
        return 0;
    while (at != NONE && count < most) {
        const node *x = &t->nodes[at];
        for (int i = common; i < x->count && count < most; i++)
            out[count++] = t->ids[(size_t)at * (size_t)t->block + (size_t)i];
        common = 0;
        at = x->count == t->block ? favourite(t, x->kid) : NONE;
    }
    return count;
}

bool sg_prefix_forget(sg_prefix *t, int32_t block)
{
    if (t->nodes[block].count == 0 || t->nodes[block].kid != NONE)
        return false;
    remove_leaf(t, block);
    return true;
}

int sg_prefix_evict(sg_prefix *t, int want)
{
    int given = 0, nheld = 0;
    while (given < want && t->nheap > 0) {
        int32_t at = t->heap[0];
        if (sg_kv_pool_refs(t->pool, at) > 1) {
            heap_remove(t, at);
            t->held[nheld++] = at;
            continue;
        }
        *gone_at(t, t->nodes[at].path) = t->nodes[at].path;
        remove_leaf(t, at);
        given++;
    }
    while (nheld > 0)
        heap_add(t, t->held[--nheld]);
    return given;
}
