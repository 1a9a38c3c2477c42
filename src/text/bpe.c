/* text/bpe.c - byte-pair merging.
 *
 *     symbols   t - h - e - r - e        a list over an array; each knows the key (rank) of the pair
 *     keys      7   3   ∞   9            that it forms with the next, and what that pair becomes
 *
 * Merging always takes the lowest key, the leftmost of equals.  Short words look for it by going through
 * the list: a word of ten symbols does not repay a heap.  Long ones keep the candidates in a binary heap of
 * (key << 32 | symbol); a merge makes at most two new candidates, and old ones are recognised when
 * they come up because the symbol's key is another by then.  So a 10 MB word costs n log n.
 *
 * Rejected: taking ranks off in increasing order with a bucket for each.  It is linear, but only right
 * when no merge creates a pair of lower rank than its own, which files may violate; and the tokenizers
 * that define the answer use a heap.
 */
#include "text/bpe.h"

#include "base/heap.h"

enum { SHORT_WORD = 48 }; /* symbols; measured: the heap wins from about 60 on */

sg_status sg_merges_init(sg_merges *m, size_t n, sg_error *err)
{
    if (n > SG_MERGES_MAX)
        return sg_fail(err, SG_E_LIMIT, "merges: %zu, at most %d", n, SG_MERGES_MAX);
    size_t nslot = 16;
    while (nslot < n * 2)
        nslot *= 2;
    sg_merges x = {.slot = sg_calloc(nslot, sizeof *x.slot), .id = sg_alloc((n + 1) * sizeof *x.id), .mask = nslot - 1};
    if (!x.slot || !x.id) {
        sg_merges_fini(&x);
        return sg_fail_nomem(err, "the merges");
    }
    *m = x;
    return SG_OK;
}

void sg_merges_fini(sg_merges *m)
{
    sg_free(m->slot);
    sg_free(m->id);
    *m = (sg_merges){0};
}

sg_status sg_merges_put(sg_merges *m, uint32_t left, uint32_t right, uint32_t id, sg_error *err)
{
    (void)err;
    uint32_t rank = m->n++;
    m->id[rank] = id;
    if (sg_merges_find(m, left, right) != UINT32_MAX)
        return SG_OK;
    uint64_t pair = (uint64_t)left << 21 | right, i = sg_merges_hash(pair) & m->mask;
    while (m->slot[i])
        i = (i + 1) & m->mask;
    m->slot[i] = (pair << 22 | rank) + 1;
    return SG_OK;
}

void sg_bpe_scratch_fini(sg_bpe_scratch *s)
{
    sg_free(s->symbol);
    sg_free(s->heap);
    *s = (sg_bpe_scratch){0};
}

sg_status sg_bpe_room(sg_bpe_scratch *s, size_t n, sg_error *err)
{
    if (n <= s->symbol_cap)
        return SG_OK;
    if (n >= UINT32_MAX)
        return sg_fail(err, SG_E_LIMIT, "text: a word of %zu symbols", n);
    size_t cap = n + n / 4 + 64;
    sg_symbol *p = sg_realloc(s->symbol, cap * sizeof *p);
    if (!p)
        return sg_fail_nomem(err, "a word");
    s->symbol = p;
    s->symbol_cap = cap;
    return SG_OK;
}

/* A float as an integer that grows when the float falls; NaN was refused when the vocabulary was read. */
static inline uint32_t descending(float f)
{
    uint32_t u;
    f += 0.0f; /* -0 and 0 are equal */
    memcpy(&u, &f, 4);
    return u & 0x80000000u ? u : ~(u | 0x80000000u);
}

/* Set the key of the pair that starts at symbol i. */
static inline void pair_up(sg_symbol *sym, uint32_t i, const char *text, const sg_merges *m, const sg_vocab *v)
{
    sg_symbol *a = &sym[i];
    a->key = UINT32_MAX;
    if (a->next == UINT32_MAX)
        return;
    const sg_symbol *b = &sym[a->next];
    if (m) {
        if (a->id < 0 || b->id < 0)
            return;
        uint32_t rank = sg_merges_find(m, (uint32_t)a->id, (uint32_t)b->id);
        if (rank != UINT32_MAX) {
            a->key = rank;
            a->merged = (int32_t)m->id[rank];
        }
        return;
    }
    int32_t id = sg_vocab_find(v, text + a->start, a->len + b->len);
    if (id >= 0) {
        a->key = descending(v->score[id]);
        if (a->key == UINT32_MAX)
            a->key--;
        a->merged = id;
    }
}

/* Join symbol i with the next; the pairs on both sides get new keys. */
static inline void join(sg_symbol *sym, uint32_t i, const char *text, const sg_merges *m, const sg_vocab *v)
{
    sg_symbol *a = &sym[i], *b = &sym[a->next];
    a->id = a->merged;
    a->len += b->len;
    b->key = UINT32_MAX;
    a->next = b->next;
    if (a->next != UINT32_MAX)
        sym[a->next].prev = i;
    pair_up(sym, i, text, m, v);
    if (a->prev != UINT32_MAX)
        pair_up(sym, a->prev, text, m, v);
}

static void merge_short(sg_symbol *sym, const char *text, const sg_merges *m, const sg_vocab *v)
{
    for (;;) {
        uint32_t best = 0;
        for (uint32_t i = sym[0].next; i != UINT32_MAX; i = sym[i].next)
            if (sym[i].key < sym[best].key)
                best = i;
        if (sym[best].key == UINT32_MAX)
            return;
        join(sym, best, text, m, v);
    }
}

static void sift_down(uint64_t *heap, size_t n, size_t i)
{
    uint64_t x = heap[i];
    for (size_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && heap[c + 1] < heap[c])
            c++;
        if (heap[c] >= x)
            break;
        heap[i] = heap[c];
    }
    heap[i] = x;
}

static void push(uint64_t *heap, size_t *n, uint64_t x)
{
    size_t i = (*n)++;
    for (; i > 0 && heap[(i - 1) / 2] > x; i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = x;
}

/* Every pop that merges takes one entry out and puts two in at most, and there are at most n - 1 merges: 2n suffice. */
static sg_status merge_long(sg_bpe_scratch *s, size_t n, const char *text, const sg_merges *m, const sg_vocab *v,
                            sg_error *err)
{
    if (s->heap_cap < 2 * n) {
        uint64_t *p = sg_realloc(s->heap, 2 * n * sizeof *p);
        if (!p)
            return sg_fail_nomem(err, "a long word");
        s->heap = p;
        s->heap_cap = 2 * n;
    }
    sg_symbol *sym = s->symbol;
    uint64_t *heap = s->heap;
    size_t k = 0;
    for (uint32_t i = 0; i < n; i++)
        if (sym[i].key != UINT32_MAX)
            heap[k++] = (uint64_t)sym[i].key << 32 | i;
    for (size_t i = k / 2; i-- > 0;)
        sift_down(heap, k, i);
    while (k > 0) {
        uint64_t top = heap[0];
        heap[0] = heap[--k];
        if (k)
            sift_down(heap, k, 0);
        uint32_t i = (uint32_t)top;
        if (sym[i].key != top >> 32)
            continue;
        join(sym, i, text, m, v);
        if (sym[i].key != UINT32_MAX)
            push(heap, &k, (uint64_t)sym[i].key << 32 | i);
        uint32_t p = sym[i].prev;
        if (p != UINT32_MAX && sym[p].key != UINT32_MAX)
            push(heap, &k, (uint64_t)sym[p].key << 32 | p);
    }
    return SG_OK;
}

sg_status sg_bpe_merge(sg_bpe_scratch *s, size_t n, const char *text, const sg_merges *m, const sg_vocab *v, sg_error *err)
{
    sg_symbol *sym = s->symbol;
    if (n == 0)
        return SG_OK;
    for (uint32_t i = 0; i < n; i++) {
        sym[i].prev = i ? i - 1 : UINT32_MAX;
        sym[i].next = i + 1 < n ? i + 1 : UINT32_MAX;
    }
    for (uint32_t i = 0; i < n; i++)
        pair_up(sym, i, text, m, v);
    if (n <= SHORT_WORD) {
        merge_short(sym, text, m, v);
        return SG_OK;
    }
    return merge_long(s, n, text, m, v, err);
}
