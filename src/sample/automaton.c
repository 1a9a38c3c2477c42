/* sample/automaton.c - deterministic automata, by exploration.
 *
 * Everything that makes an automaton here (subset construction, products, counting, comparing digits with a
 * bound) is the same walk: a state is a key of some bytes, and a function says where each character leads.
 * The explorer numbers the keys, keeps them in a table and asks for each one once:
 *
 *     keys  [n][key_bytes]     index  open addressing, number + 1     edges  in the order of the states
 */
#include "sample/automaton.h"

#include "base/heap.h"
#include "base/utf8.h"

#include <string.h>

struct sg_explorer {
    size_t key_bytes, max, n, cap, nedge, edge_cap, slots;
    unsigned char *keys;
    uint32_t *index, *first, *accept;
    sg_dfa_edge *edge;
    uint32_t now; /* the state being expanded */
    sg_error *err;
};

enum { EDGES_MAX = 1 << 21 };

void sg_dfa_fini(sg_dfa *d)
{
    sg_free(d->first);
    sg_free(d->edge);
    sg_free(d->accept);
    *d = (sg_dfa){0};
}

uint32_t sg_dfa_step(const sg_dfa *d, uint32_t state, uint32_t cp)
{
    if (state == UINT32_MAX)
        return state;
    for (uint32_t i = d->first[state]; i < d->first[state + 1]; i++)
        if (cp >= d->edge[i].low && cp <= d->edge[i].high)
            return d->edge[i].to;
    return UINT32_MAX;
}

uint32_t sg_dfa_match(const sg_dfa *d, const char *text, size_t n)
{
    uint32_t state = 0, cp;
    for (size_t i = 0; i < n && state != UINT32_MAX;) {
        size_t used = sg_utf8_decode(text + i, n - i, &cp);
        if (!used)
            return 0;
        state = sg_dfa_step(d, state, cp);
        i += used;
    }
    return state == UINT32_MAX ? 0 : d->accept[state];
}

/* ---- the explorer ---------------------------------------------------------------- */

static size_t slot_of(const sg_explorer *x, const void *key)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < x->key_bytes; i++)
        h = (h ^ ((const unsigned char *)key)[i]) * 1099511628211u;
    size_t at = (size_t)(h ^ h >> 29) & (x->slots - 1);
    while (x->index[at] && memcmp(x->keys + (x->index[at] - 1) * x->key_bytes, key, x->key_bytes) != 0)
        at = (at + 1) & (x->slots - 1);
    return at;
}

static sg_status widen_states(sg_explorer *x)
{
    size_t cap = x->cap ? 2 * x->cap : 32;
    unsigned char *keys = sg_realloc(x->keys, cap * x->key_bytes);
    x->keys = keys ? keys : x->keys;
    uint32_t *accept = sg_realloc(x->accept, cap * sizeof *accept);
    x->accept = accept ? accept : x->accept;
    uint32_t *first = sg_realloc(x->first, (cap + 1) * sizeof *first);
    x->first = first ? first : x->first;
    uint32_t *index = sg_calloc(4 * cap, sizeof *index);
    if (!keys || !accept || !first || !index) {
        sg_free(index);
        return sg_fail_nomem(x->err, "an automaton");
    }
    sg_free(x->index);
    x->index = index;
    x->slots = 4 * cap;
    x->cap = cap;
    for (size_t i = 0; i < x->n; i++)
        x->index[slot_of(x, x->keys + i * x->key_bytes)] = (uint32_t)i + 1;
    return SG_OK;
}

static sg_status find_state(sg_explorer *x, const void *key, uint32_t *state)
{
    if (x->n == x->cap)
        SG_TRY(widen_states(x));
    size_t slot = slot_of(x, key);
    if (!x->index[slot]) {
        if (x->n >= x->max)
            return sg_fail(x->err, SG_E_LIMIT, "an automaton of more than %zu states", x->max);
        memcpy(x->keys + x->n * x->key_bytes, key, x->key_bytes);
        x->accept[x->n] = 0;
        x->index[slot] = (uint32_t)++x->n;
    }
    *state = x->index[slot] - 1;
    return SG_OK;
}

sg_status sg_explorer_edge(sg_explorer *x, uint32_t low, uint32_t high, const void *key)
{
    uint32_t to;
    SG_TRY(find_state(x, key, &to));
    if (x->nedge == x->edge_cap) {
        size_t cap = x->edge_cap ? 2 * x->edge_cap : 64;
        sg_dfa_edge *wider = cap <= EDGES_MAX ? sg_realloc(x->edge, cap * sizeof *wider) : NULL;
        if (!wider)
            return cap <= EDGES_MAX ? sg_fail_nomem(x->err, "an automaton") : sg_fail(x->err, SG_E_LIMIT, "an automaton of too many edges");
        x->edge = wider;
        x->edge_cap = cap;
    }
    if (x->nedge > x->first[x->now] && x->edge[x->nedge - 1].to == to && x->edge[x->nedge - 1].high + 1 == low)
        x->edge[x->nedge - 1].high = high;
    else
        x->edge[x->nedge++] = (sg_dfa_edge){low, high, to};
    return SG_OK;
}

void sg_explorer_accept(sg_explorer *x, uint32_t bits) { x->accept[x->now] = bits; }

static sg_status explore(sg_explorer *x, const void *start, sg_status (*expand)(void *, sg_explorer *, const void *), void *arg,
                         void *key)
{
    uint32_t state;
    SG_TRY(find_state(x, start, &state));
    for (x->now = 0; x->now < x->n; x->now++) {
        memcpy(key, x->keys + x->now * x->key_bytes, x->key_bytes);
        x->first[x->now] = (uint32_t)x->nedge;
        SG_TRY(expand(arg, x, key));
    }
    x->first[x->n] = (uint32_t)x->nedge;
    return SG_OK;
}

/* Leave out the edges into states that no accepting state can be reached from.  States are numbered as they are met, so that
 * going backward settles most in one pass. */
static sg_status trim(sg_dfa *d, sg_error *err)
{
    bool *live = sg_calloc(d->n + 1, sizeof *live);
    if (!live)
        return sg_fail_nomem(err, "an automaton");
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = d->n; i-- > 0;) {
            bool is = d->accept[i] != 0;
            for (uint32_t k = d->first[i]; k < d->first[i + 1] && !is && !live[i]; k++)
                is = live[d->edge[k].to];
            changed |= is && !live[i];
            live[i] |= is;
        }
    }
    uint32_t n = 0, from = 0;
    for (size_t i = 0; i < d->n; i++) {
        uint32_t end = d->first[i + 1];
        d->first[i] = n;
        for (; from < end; from++)
            if (live[d->edge[from].to])
                d->edge[n++] = d->edge[from];
    }
    d->first[d->n] = n;
    sg_free(live);
    return SG_OK;
}

sg_status sg_dfa_explore(sg_dfa *d, size_t key_bytes, const void *start, size_t max,
                         sg_status (*expand)(void *arg, sg_explorer *x, const void *key), void *arg, sg_error *err)
{
    sg_explorer x = {.key_bytes = key_bytes, .max = max, .err = err};
    void *key = sg_alloc(key_bytes);
    sg_status st = key ? explore(&x, start, expand, arg, key) : sg_fail_nomem(err, "an automaton");
    sg_free(key);
    sg_free(x.keys);
    sg_free(x.index);
    sg_dfa made = {.n = x.n, .first = x.first, .edge = x.edge, .accept = x.accept};
    if (st == SG_OK)
        st = trim(&made, err);
    if (st == SG_OK)
        *d = made;
    else
        sg_dfa_fini(&made);
    return st;
}

/* ---- texts ------------------------------------------------------------------------- */

typedef struct text_list {
    const char *const *text;
    const size_t *len;
    const uint32_t *order; /* sorted by bytes */
} text_list;

/* A state: the texts order[from..to) agree in their first `at` bytes. */
typedef struct text_key {
    uint32_t from, to, at;
} text_key;

static sg_status expand_texts(void *arg, sg_explorer *x, const void *key)
{
    const text_list *l = arg;
    text_key k;
    memcpy(&k, key, sizeof k);
    for (uint32_t i = k.from; i < k.to;) {
        const char *s = l->text[l->order[i]];
        size_t n = l->len[l->order[i]];
        if (n == k.at) {
            sg_explorer_accept(x, 1);
            i++;
            continue;
        }
        uint32_t cp, end = i + 1;
        size_t used = sg_utf8_decode(s + k.at, n - k.at, &cp);
        if (!used)
            return SG_E_INTERNAL; /* JSON strings are UTF-8 */
        while (end < k.to && l->len[l->order[end]] >= k.at + used && memcmp(l->text[l->order[end]] + k.at, s + k.at, used) == 0)
            end++;
        text_key next = {i, end, k.at + (uint32_t)used};
        SG_TRY(sg_explorer_edge(x, cp, cp, &next));
        i = end;
    }
    return SG_OK;
}

static bool text_before(const text_list *l, uint32_t a, uint32_t b)
{
    size_t n = l->len[a] < l->len[b] ? l->len[a] : l->len[b];
    int c = memcmp(l->text[a], l->text[b], n);
    return c ? c < 0 : l->len[a] < l->len[b];
}

/* Heap sort: no allocation, no bad case. */
static void sift(const text_list *l, uint32_t *a, size_t n, size_t i)
{
    for (size_t kid; (kid = 2 * i + 1) < n; i = kid) {
        if (kid + 1 < n && text_before(l, a[kid], a[kid + 1]))
            kid++;
        if (!text_before(l, a[i], a[kid]))
            return;
        uint32_t t = a[i];
        a[i] = a[kid];
        a[kid] = t;
    }
}

static void sort_texts(const text_list *l, uint32_t *a, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift(l, a, n, i);
    for (size_t left = n; left > 1;) {
        uint32_t t = a[0];
        a[0] = a[--left];
        a[left] = t;
        sift(l, a, left, 0);
    }
}

sg_status sg_dfa_of_texts(sg_dfa *d, const char *const *text, const size_t *len, size_t n, sg_error *err)
{
    uint32_t *order = sg_calloc(n + 1, sizeof *order);
    if (!order)
        return sg_fail_nomem(err, "an automaton");
    text_list l = {text, len, order};
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    sort_texts(&l, order, n);
    text_key start = {0, (uint32_t)n, 0};
    sg_status st = sg_dfa_explore(d, sizeof start, &start, 1 << 18, expand_texts, &l, err);
    sg_free(order);
    return st;
}
