/* sample/matcher.c - where a text stands in a grammar, and which tokens may follow.
 *
 * A stack says what is still to come: a place in a rule, and the places to go on with afterwards.
 * Stacks are linked from the top down and interned, so that equal tails are one node:
 *
 *     node = (place, parent node)         state = sorted set of nodes that stand at a byte range, + "may end"
 *
 * A rule at the end of another is not stacked (its parent is the caller's parent), so lists and strings
 * of any length keep their depth.  States are interned too, and remember where each byte leads: after the
 * first walk a state is a row of a table, and the grammar behaves as a finite automaton that is
 * written down while it is used.  That is what makes a mask over 150,000 tokens affordable: most of
 * its steps are table look-ups.  Rejected: walking sets of stacks for each token (llama.cpp's way), 100
 * times the work inside a JSON string.
 *
 * Tokens are walked in the order of their bytes; a token goes on where it parts from the one before.
 *
 * A state also keeps its mask: inside of a string, where most tokens of an answer are, it is made once.
 *
 * Nothing is forgotten but at the start of a mask or a feed, when the tables have grown large: then all but
 * the present state is dropped.
 */
#include "sample/grammar_rules.h"

#include "base/heap.h"

#include <stdlib.h>
#include <string.h>

enum {
    NODES_MAX = 1 << 18, /* about 90,000 brackets deep in JSON */
    STATES_MAX = 1 << 15,
    KEEP_NODES = 1 << 15, /* at least; twice what a deep stack needs */
    KEEP_STATES = 1 << 13,
    KEEP_MASK_BYTES = 4 << 20, /* of masks, at most */
    SET_MAX = 1 << 14,    /* readings of a text at once */
    TOKEN_BYTES_MAX = 1024,
};

/* Where a byte leads: not known yet, nowhere, or a state + 2. */
enum { UNKNOWN, DEAD, FIRST };

typedef struct node {
    uint32_t place, parent; /* in symbols; SG_NONE for the bottom */
    uint32_t stamp;         /* of the last expansion that met it */
} node;

typedef struct state {
    uint32_t first, n; /* in members */
    bool may_end;
    uint32_t *next; /* [256], made when first needed */
    uint32_t *mask; /* the tokens that may follow, kept */
} state;

typedef struct array {
    void *at;
    size_t n, cap;
} array;

struct sg_matcher {
    const sg_grammar *g;
    array nodes, states, members, work, found;
    uint32_t *node_index, *state_index; /* open addressing, number + 1 */
    size_t node_slots, state_slots;
    uint32_t stamp, now;
    size_t keep_nodes; /* more than these: start afresh from the present state */
    bool may_end;      /* of the set being made */
    const sg_token_trie *masked; /* whose masks are kept */
    size_t mask_bytes;
    sg_status status;
};

struct sg_token_trie {
    size_t n;           /* tokens that write something */
    size_t nvocab;
    int32_t *id;        /* [n] in the order of their bytes */
    uint32_t *start;    /* [n + 1] in bytes */
    uint16_t *shared;   /* [n] leading bytes that are those of the token before */
    char *bytes;
};

#define NODE(m, i) (((node *)(m)->nodes.at)[i])
#define STATE(m, i) (((state *)(m)->states.at)[i])
#define MEMBER(m, i) (((uint32_t *)(m)->members.at)[i])

/* ---- arrays and tables -------------------------------------------------------------- */

static void *push(sg_matcher *m, array *a, size_t size, size_t max)
{
    if (m->status != SG_OK)
        return NULL;
    if (a->n == a->cap) {
        size_t cap = a->cap ? 2 * a->cap : 64;
        void *wider = a->n < max ? sg_realloc(a->at, cap * size) : NULL;
        if (!wider) {
            m->status = a->n < max ? SG_E_NOMEM : SG_E_LIMIT;
            return NULL;
        }
        a->at = wider;
        a->cap = cap;
    }
    return (char *)a->at + size * a->n++;
}

/* Keep a table at most half full; true when it was replaced by an empty one. */
static bool widen(sg_matcher *m, uint32_t **index, size_t *slots, size_t n)
{
    if (2 * (n + 1) <= *slots || m->status != SG_OK)
        return false;
    size_t wider = *slots ? 2 * *slots : 256;
    uint32_t *fresh = sg_calloc(wider, sizeof *fresh);
    if (!fresh) {
        m->status = SG_E_NOMEM;
        return false;
    }
    sg_free(*index);
    *index = fresh;
    *slots = wider;
    return true;
}

static uint64_t mix(uint64_t h) { return (h ^ h >> 31) * 0x9e3779b97f4a7c15u; }

static size_t node_slot(const sg_matcher *m, uint32_t place, uint32_t parent)
{
    size_t mask = m->node_slots - 1, at = (size_t)(mix((uint64_t)place << 32 | parent) >> 20) & mask;
    while (m->node_index[at] && (NODE(m, m->node_index[at] - 1).place != place || NODE(m, m->node_index[at] - 1).parent != parent))
        at = (at + 1) & mask;
    return at;
}

/* The one node for (place, parent); SG_NONE after a failure. */
static uint32_t intern(sg_matcher *m, uint32_t place, uint32_t parent)
{
    if (widen(m, &m->node_index, &m->node_slots, m->nodes.n))
        for (uint32_t i = 0; i < m->nodes.n; i++)
            m->node_index[node_slot(m, NODE(m, i).place, NODE(m, i).parent)] = i + 1;
    if (m->status != SG_OK)
        return SG_NONE;
    size_t slot = node_slot(m, place, parent);
    if (m->node_index[slot])
        return m->node_index[slot] - 1;
    node *fresh = push(m, &m->nodes, sizeof *fresh, NODES_MAX);
    if (!fresh)
        return SG_NONE;
    *fresh = (node){place, parent, 0};
    m->node_index[slot] = (uint32_t)m->nodes.n;
    return (uint32_t)m->nodes.n - 1;
}

static size_t state_slot(const sg_matcher *m, const uint32_t *set, size_t n, bool may_end)
{
    uint64_t h = may_end;
    for (size_t i = 0; i < n; i++)
        h = mix(h + set[i] + 1);
    size_t mask = m->state_slots - 1, at = (size_t)(h >> 20) & mask;
    for (; m->state_index[at]; at = (at + 1) & mask) {
        const state *s = &STATE(m, m->state_index[at] - 1);
        if (s->n == n && s->may_end == may_end && (n == 0 || memcmp(&MEMBER(m, s->first), set, n * sizeof *set) == 0))
            break;
    }
    return at;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The state of the nodes found; SG_NONE after a failure. */
static uint32_t intern_found(sg_matcher *m)
{
    if (m->found.n > 1)
        qsort(m->found.at, m->found.n, sizeof(uint32_t), by_number);
    if (widen(m, &m->state_index, &m->state_slots, m->states.n))
        for (uint32_t i = 0; i < m->states.n; i++) {
            const state *s = &STATE(m, i);
            m->state_index[state_slot(m, s->n ? &MEMBER(m, s->first) : NULL, s->n, s->may_end)] = i + 1;
        }
    if (m->status != SG_OK)
        return SG_NONE;
    size_t slot = state_slot(m, m->found.at, m->found.n, m->may_end);
    if (m->state_index[slot])
        return m->state_index[slot] - 1;
    uint32_t first = (uint32_t)m->members.n;
    for (size_t i = 0; i < m->found.n; i++) {
        uint32_t *member = push(m, &m->members, sizeof *member, (size_t)NODES_MAX * 8);
        if (!member)
            return SG_NONE;
        *member = ((const uint32_t *)m->found.at)[i];
    }
    state *s = push(m, &m->states, sizeof *s, STATES_MAX);
    if (!s)
        return SG_NONE;
    *s = (state){.first = first, .n = (uint32_t)m->found.n, .may_end = m->may_end};
    m->state_index[slot] = (uint32_t)m->states.n;
    return (uint32_t)m->states.n - 1;
}

/* ---- expansion ---------------------------------------------------------------------------- */

static void begin_set(sg_matcher *m)
{
    m->stamp++;
    m->work.n = m->found.n = 0;
    m->may_end = false;
}

static void todo(sg_matcher *m, uint32_t i)
{
    if (i == SG_NONE || NODE(m, i).stamp == m->stamp)
        return;
    NODE(m, i).stamp = m->stamp;
    uint32_t *w = push(m, &m->work, sizeof *w, NODES_MAX);
    if (w)
        *w = i;
}

/* Enter rules and leave ended ones until every reading stands at a byte range. */
static void expand(sg_matcher *m)
{
    while (m->work.n && m->status == SG_OK) {
        uint32_t i = ((uint32_t *)m->work.at)[--m->work.n], place = NODE(m, i).place, parent = NODE(m, i).parent;
        const sg_symbol *s = &m->g->symbols[place];
        if (s->kind == SG_SYMBOL_END) {
            if (parent == SG_NONE)
                m->may_end = true;
            todo(m, parent);
        } else if (s->kind == SG_SYMBOL_BYTES) {
            uint32_t *f = push(m, &m->found, sizeof *f, SET_MAX);
            if (f)
                *f = i;
        } else {
            uint32_t behind = s[1].kind == SG_SYMBOL_END ? parent : intern(m, place + 1, parent);
            for (uint32_t a = m->g->first[s->rule]; a != SG_NONE && m->status == SG_OK; a = m->g->alternatives[a].next)
                todo(m, intern(m, m->g->alternatives[a].start, behind));
        }
    }
}

static uint32_t step_slow(sg_matcher *m, uint32_t from, unsigned char byte)
{
    begin_set(m);
    for (uint32_t k = 0; k < STATE(m, from).n; k++) {
        node x = NODE(m, MEMBER(m, STATE(m, from).first + k));
        const sg_symbol *s = &m->g->symbols[x.place];
        if (byte >= s->low && byte <= s->high)
            todo(m, intern(m, x.place + 1, x.parent));
    }
    expand(m);
    if (m->status != SG_OK)
        return DEAD;
    if (m->found.n == 0 && !m->may_end)
        return DEAD;
    uint32_t to = intern_found(m);
    return to == SG_NONE ? DEAD : to + FIRST;
}

/* Where a byte leads from a state: DEAD or a state + FIRST.  DEAD, too, after a failure. */
static uint32_t step(sg_matcher *m, uint32_t from, unsigned char byte)
{
    if (m->status != SG_OK)
        return DEAD;
    if (!STATE(m, from).next) {
        uint32_t *next = sg_calloc(256, sizeof *next);
        if (!next) {
            m->status = SG_E_NOMEM;
            return DEAD;
        }
        STATE(m, from).next = next;
    }
    uint32_t to = STATE(m, from).next[byte];
    if (to == UNKNOWN) {
        to = step_slow(m, from, byte);
        if (m->status == SG_OK)
            STATE(m, from).next[byte] = to;
    }
    return to;
}

/* ---- matchers --------------------------------------------------------------------------------- */

/* Give back what the matcher holds. */
static void empty(sg_matcher *m)
{
    for (size_t i = 0; i < m->states.n; i++) {
        sg_free(STATE(m, i).next);
        sg_free(STATE(m, i).mask);
    }
    sg_free(m->nodes.at);
    sg_free(m->states.at);
    sg_free(m->members.at);
    sg_free(m->work.at);
    sg_free(m->found.at);
    sg_free(m->node_index);
    sg_free(m->state_index);
}

void sg_matcher_free(sg_matcher *m)
{
    if (!m)
        return;
    empty(m);
    sg_free(m);
}

static sg_status report(sg_matcher *m, sg_error *err)
{
    sg_status st = m->status;
    m->status = SG_OK;
    if (st == SG_E_LIMIT)
        return sg_fail(err, st, "grammar: the text can be read in too many ways");
    return st == SG_E_NOMEM ? sg_fail_nomem(err, "grammar") : st;
}

sg_status sg_matcher_new(sg_matcher **out, const sg_grammar *g, sg_error *err)
{
    sg_matcher *m = sg_calloc(1, sizeof *m);
    if (!m)
        return sg_fail_nomem(err, "grammar");
    m->g = g;
    m->keep_nodes = KEEP_NODES;
    begin_set(m);
    for (uint32_t a = g->first[g->root]; a != SG_NONE; a = g->alternatives[a].next)
        todo(m, intern(m, g->alternatives[a].start, SG_NONE));
    expand(m);
    m->now = m->status == SG_OK ? intern_found(m) : SG_NONE;
    if (m->status != SG_OK) {
        sg_status st = report(m, err);
        sg_matcher_free(m);
        return st;
    }
    *out = m;
    return SG_OK;
}

/* The stack from node i of `old` down, made anew, from the bottom up along a reversed list: stacks can be deep.  What was
 * moved before (moved[i] is the new number + 1) is not walked again. */
static uint32_t copy_stack(sg_matcher *m, const node *old, uint32_t *moved, uint32_t i)
{
    m->work.n = 0;
    for (; i != SG_NONE && !moved[i]; i = old[i].parent) {
        uint32_t *w = push(m, &m->work, sizeof *w, NODES_MAX);
        if (!w)
            return SG_NONE;
        *w = i;
    }
    uint32_t parent = i == SG_NONE ? SG_NONE : moved[i] - 1;
    while (m->work.n && m->status == SG_OK) {
        i = ((uint32_t *)m->work.at)[--m->work.n];
        parent = intern(m, old[i].place, parent);
        moved[i] = parent + 1;
    }
    return parent;
}

/* The present state alone, in fresh tables.  m is not changed. */
static void copy_present(const sg_matcher *m, sg_matcher *fresh, uint32_t *moved)
{
    const state *now = &STATE(m, m->now);
    begin_set(fresh);
    fresh->may_end = now->may_end;
    for (uint32_t k = 0; k < now->n; k++) {
        uint32_t copied = copy_stack(fresh, m->nodes.at, moved, MEMBER(m, now->first + k));
        uint32_t *f = push(fresh, &fresh->found, sizeof *f, SET_MAX);
        if (f)
            *f = copied;
    }
    fresh->now = intern_found(fresh);
}

/* When the tables have grown large, start afresh with the present state only.  Without memory for that, go on as it is. */
static void tidy(sg_matcher *m, bool now_or_never)
{
    if (!now_or_never && m->nodes.n < m->keep_nodes && m->states.n < KEEP_STATES)
        return;
    uint32_t *moved = sg_calloc(m->nodes.n, sizeof *moved);
    if (!moved)
        return;
    sg_matcher fresh = {.g = m->g};
    copy_present(m, &fresh, moved);
    sg_free(moved);
    if (fresh.status == SG_OK) {
        fresh.keep_nodes = 2 * fresh.nodes.n > KEEP_NODES ? 2 * fresh.nodes.n : KEEP_NODES;
        empty(m);
        *m = fresh;
    } else {
        empty(&fresh);
    }
}

/* Walk bytes from the present state; gives how many fit, and *at, the state behind them. */
static size_t walk(sg_matcher *m, const char *bytes, size_t n, uint32_t *at)
{
    *at = m->now;
    for (size_t i = 0; i < n; i++) {
        uint32_t to = step(m, *at, (unsigned char)bytes[i]);
        if (to == DEAD)
            return i;
        *at = to - FIRST;
    }
    return n;
}

sg_status sg_matcher_feed(sg_matcher *m, const char *bytes, size_t n, sg_error *err)
{
    uint32_t at;
    tidy(m, false);
    size_t fit = walk(m, bytes, n, &at);
    if (m->status == SG_E_LIMIT) { /* full of what is no longer needed? */
        m->status = SG_OK;
        tidy(m, true);
        fit = walk(m, bytes, n, &at);
    }
    if (m->status != SG_OK)
        return report(m, err);
    if (fit < n)
        return sg_fail(err, SG_E_ARGUMENT, "grammar: byte %zu does not fit", fit);
    m->now = at;
    return SG_OK;
}

bool sg_matcher_may_end(const sg_matcher *m) { return STATE(m, m->now).may_end; }
bool sg_matcher_must_end(const sg_matcher *m) { return STATE(m, m->now).n == 0; }

/* ---- masks -------------------------------------------------------------------------------------- */

static void walk_tokens(sg_matcher *m, const sg_token_trie *t, uint32_t *mask)
{
    uint32_t at[TOKEN_BYTES_MAX + 1]; /* the state after each byte of the token before */
    size_t good = 0;                  /* how many of its bytes fit */
    at[0] = m->now;
    for (size_t i = 0; i < t->n && m->status == SG_OK; i++) {
        size_t n = t->start[i + 1] - t->start[i], k = t->shared[i];
        const char *bytes = t->bytes + t->start[i];
        if (k > good)
            continue; /* parts behind the byte that did not fit */
        for (good = k; good < n; good++) {
            uint32_t to = step(m, at[good], (unsigned char)bytes[good]);
            if (to == DEAD)
                break;
            at[good + 1] = to - FIRST;
        }
        if (good == n)
            mask[t->id[i] / 32] |= 1u << (t->id[i] % 32);
    }
}

static void forget_masks(sg_matcher *m)
{
    for (size_t i = 0; i < m->states.n && m->mask_bytes; i++) {
        sg_free(STATE(m, i).mask);
        STATE(m, i).mask = NULL;
    }
    m->mask_bytes = 0;
}

sg_status sg_matcher_mask(sg_matcher *m, const sg_token_trie *t, uint32_t *mask, sg_error *err)
{
    size_t bytes = (t->nvocab + 31) / 32 * sizeof *mask;
    tidy(m, false);
    if (m->masked != t)
        forget_masks(m);
    m->masked = t;
    if (STATE(m, m->now).mask) {
        memcpy(mask, STATE(m, m->now).mask, bytes);
        return SG_OK;
    }
    memset(mask, 0, bytes);
    walk_tokens(m, t, mask);
    if (m->status != SG_OK)
        return report(m, err);
    if (m->mask_bytes + bytes > KEEP_MASK_BYTES)
        forget_masks(m);
    if (bytes <= KEEP_MASK_BYTES && (STATE(m, m->now).mask = sg_alloc(bytes))) { /* without memory it is made again */
        memcpy(STATE(m, m->now).mask, mask, bytes);
        m->mask_bytes += bytes;
    }
    return SG_OK;
}

/* ---- vocabularies --------------------------------------------------------------------------------- */

typedef struct piece {
    const char *s;
    size_t n;
    int32_t id;
} piece;

static int by_bytes(const void *a, const void *b)
{
    const piece *x = a, *y = b;
    size_t n = x->n < y->n ? x->n : y->n;
    int c = memcmp(x->s, y->s, n);
    return c ? c : x->n < y->n ? -1 : x->n > y->n ? 1 : x->id < y->id ? -1 : 1;
}

void sg_token_trie_free(sg_token_trie *t)
{
    if (!t)
        return;
    sg_free(t->id);
    sg_free(t->start);
    sg_free(t->shared);
    sg_free(t->bytes);
    sg_free(t);
}

static size_t common(const piece *x, const piece *y)
{
    size_t n = 0;
    while (n < x->n && n < y->n && x->s[n] == y->s[n])
        n++;
    return n;
}

static sg_status fill_trie(sg_token_trie *t, const piece *p, size_t n, size_t bytes, sg_error *err)
{
    t->n = n;
    t->id = sg_calloc(n + 1, sizeof *t->id);
    t->start = sg_calloc(n + 1, sizeof *t->start);
    t->shared = sg_calloc(n + 1, sizeof *t->shared);
    t->bytes = sg_alloc(bytes + 1);
    if (!t->id || !t->start || !t->shared || !t->bytes)
        return sg_fail_nomem(err, "token trie");
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        memcpy(t->bytes + at, p[i].s, p[i].n);
        at += p[i].n;
        t->id[i] = p[i].id;
        t->start[i + 1] = (uint32_t)at;
        t->shared[i] = i ? (uint16_t)common(&p[i - 1], &p[i]) : 0;
    }
    return SG_OK;
}

sg_status sg_token_trie_new(sg_token_trie **out, size_t nvocab, const char *(*get)(void *arg, int32_t id, size_t *n),
                            void *arg, sg_error *err)
{
    if (nvocab > INT32_MAX)
        return sg_fail(err, SG_E_LIMIT, "token trie: %zu tokens", nvocab);
    piece *p = sg_calloc(nvocab, sizeof *p);
    sg_token_trie *t = sg_calloc(1, sizeof *t);
    size_t n = 0, bytes = 0;
    for (size_t i = 0; p && t && i < nvocab; i++) {
        p[n] = (piece){.id = (int32_t)i};
        p[n].s = get(arg, (int32_t)i, &p[n].n);
        if (p[n].s && p[n].n && p[n].n <= TOKEN_BYTES_MAX && bytes + p[n].n <= UINT32_MAX)
            bytes += p[n++].n;
    }
    sg_status st = p && t ? SG_OK : sg_fail_nomem(err, "token trie");
    if (st == SG_OK) {
        t->nvocab = nvocab;
        qsort(p, n, sizeof *p, by_bytes);
        st = fill_trie(t, p, n, bytes, err);
    }
    sg_free(p);
    if (st == SG_OK)
        *out = t;
    else
        sg_token_trie_free(t);
    return st;
}
