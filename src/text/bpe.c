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
 * Very long words are merged in windows.  Taking the lowest key first means that a stretch of the word which nothing merges
 * into or out of goes through the same merges as it would alone, whatever happens beside it; and whether two neighbouring
 * pieces would have merged across their border depends on these two alone.  So pieces are the answer for the
 * whole word exactly when each two neighbours are the answer for their own text.  A window is merged, its last pieces
 * are thrown away, the next window starts where they began, and the seam is tested by merging the two pieces at it; when they
 * do not stay apart, the window starts a piece earlier and grows.  Time is linear, and a window stays in the cache.
 *
 * Rejected: taking ranks off in increasing order with a bucket for each.  It is linear too, but it visits the
 * word in the order of ranks, which is a cache miss for every merge.
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
    sg_free(s->window);
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
static sg_status merge_long(sg_bpe_scratch *s, sg_symbol *sym, size_t n, const char *text, const sg_merges *m, const sg_vocab *v,
                            sg_error *err)
{
    if (s->heap_cap < 2 * n) {
        uint64_t *p = sg_realloc(s->heap, 2 * n * sizeof *p);
        if (!p)
            return sg_fail_nomem(err, "a long word");
        s->heap = p;
        s->heap_cap = 2 * n;
    }
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

static sg_status merge(sg_bpe_scratch *s, sg_symbol *sym, size_t n, const char *text, const sg_merges *m, const sg_vocab *v,
                       sg_error *err)
{
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
    return merge_long(s, sym, n, text, m, v, err);
}

/* ---- windows ---- */

enum { WINDOW = 4096, SEAM = 8 }; /* symbols of a window; pieces at its end that are thrown away */

/* Merge the symbols [from, to) of the word in the window. */
static sg_status merge_window(sg_bpe_scratch *s, size_t from, size_t to, const char *text, const sg_merges *m,
                              const sg_vocab *v, sg_error *err)
{
    if (s->window_cap < to - from) {
        sg_symbol *p = sg_realloc(s->window, (to - from) * sizeof *p);
        if (!p)
            return sg_fail_nomem(err, "a long word");
        s->window = p;
        s->window_cap = to - from;
    }
    memcpy(s->window, s->symbol + from, (to - from) * sizeof *s->window);
    return merge(s, s->window, to - from, text, m, v, err);
}

/* Whether the symbols [from, mid) and [mid, to), one piece each, stay apart when merged together. */
static sg_status apart(sg_bpe_scratch *s, size_t from, size_t mid, size_t to, const char *text, const sg_merges *m,
                       const sg_vocab *v, bool *yes, sg_error *err)
{
    SG_TRY(merge_window(s, from, to, text, m, v, err));
    *yes = s->window[0].next == mid - from && s->window[mid - from].next == UINT32_MAX;
    return SG_OK;
}

/* The word's symbols stay as they are until the end; pieces are kept by where they begin (`begin`, ended by the word's end) and
 * what they are. */
typedef struct pieces {
    uint32_t *begin;
    int32_t *id;
    size_t n;
} pieces;

/* Take the pieces of the window that begins at symbol `from`, but the last `but`. */
static void keep(pieces *p, const sg_symbol *window, size_t from, size_t npiece, size_t but)
{
    uint32_t i = 0;
    for (size_t k = 0; k + but < npiece; k++, i = window[i].next) {
        p->begin[p->n] = (uint32_t)from + i;
        p->id[p->n++] = window[i].id;
    }
    p->begin[p->n] = i == UINT32_MAX ? UINT32_MAX : (uint32_t)from + i;
}

static sg_status merge_in_windows(sg_bpe_scratch *s, pieces *p, size_t n, const char *text, const sg_merges *m,
                              const sg_vocab *v, sg_error *err)
{
    size_t least = s->window_least ? s->window_least : WINDOW, size = least;
    for (size_t from = 0; from < n;) {
        size_t to = n - from > size ? from + size : n, npiece = 0;
        SG_TRY(merge_window(s, from, to, text, m, v, err));
        for (uint32_t i = 0; i != UINT32_MAX; i = s->window[i].next)
            npiece++;
        if (to < n && npiece <= SEAM) { /* hardly anything would be kept */
            size *= 2;
            continue;
        }
        size_t before = p->n;
        keep(p, s->window, from, npiece, to < n ? SEAM : 0);
        if (to == n)
            p->begin[p->n] = (uint32_t)n;
        bool fits = true;
        if (before > 0) {
            uint32_t first_end = before + 1 <= p->n ? p->begin[before + 1] : (uint32_t)n;
            SG_TRY(apart(s, p->begin[before - 1], from, first_end, text, m, v, &fits, err));
        }
        if (fits) {
            from = p->begin[p->n];
            size = least;
        } else {
            p->n = before - 1;
            from = p->begin[p->n];
            size *= 2;
        }
    }
    return SG_OK;
}

static sg_status merge_very_long(sg_bpe_scratch *s, size_t n, const char *text, const sg_merges *m,
                              const sg_vocab *v, sg_error *err)
{
    pieces p = {.begin = sg_alloc((n + 1) * sizeof *p.begin), .id = sg_alloc((n + 1) * sizeof *p.id)};
    sg_status st = p.begin && p.id ? merge_in_windows(s, &p, n, text, m, v, err) : sg_fail_nomem(err, "a long word");
    for (size_t k = 0; st == SG_OK && k < p.n; k++) { /* as the list that the caller expects */
        sg_symbol *a = &s->symbol[p.begin[k]];
        const sg_symbol *z = &s->symbol[p.begin[k + 1] - 1];
        a->len = z->start + z->len - a->start;
        a->id = p.id[k];
        a->next = k + 1 < p.n ? p.begin[k + 1] : UINT32_MAX;
    }
    sg_free(p.begin);
    sg_free(p.id);
    return st;
}

sg_status sg_bpe_merge(sg_bpe_scratch *s, size_t n, const char *text, const sg_merges *m, const sg_vocab *v, sg_error *err)
{
    if (n == 0)
        return SG_OK;
    if (n > 2 * (s->window_least ? s->window_least : WINDOW))
        return merge_very_long(s, n, text, m, v, err);
    return merge(s, s->symbol, n, text, m, v, err);
}
