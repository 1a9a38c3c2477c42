/* engine/constrain.c - grammars on answers.
 *
 *     submit   grammar (shared, counted) + trie of the vocabulary (one an engine, made when first needed)
 *                 -> matcher of this request
 *     step     mask = tokens whose bytes the matcher allows, + end of text where it may end
 *              draw; feed the token's bytes
 *
 * Special tokens write nothing into an answer, so no mask allows them; the ones that end a text are allowed
 * where the grammar lets the text end.  When nothing can follow, the answer ends without them.
 *
 * A constraint may begin late: with grammar_after ("</think>"), the answer is free until that text has been
 * written.  It is found in the bytes of the tokens, so that a marker which is a special token counts too.
 *
 * This is the one thing in the step loop that allocates: the matcher writes its automaton down while it is used.
 * Its tables are bounded (sample/matcher.c: about 50 MiB at the very most, some 100 KiB in practice) and a
 * failure ends this request alone.
 */
#include "engine/constrain.h"

#include "engine/internal.h"

#include "base/heap.h"
#include "sample/grammar.h"

#include <string.h>

enum { AFTER_MAX = 64, PIECE_MAX = 1024 };

struct sg_vocabulary_trie {
    sg_token_trie *trie;
    int32_t *end; /* tokens that end a text */
    size_t nend;
};

struct sg_constraint {
    const sg_lm *lm;
    const sg_vocabulary_trie *vocabulary;
    sg_grammar *grammar;
    sg_matcher *matcher;
    uint32_t *mask; /* [(nvocab + 31) / 32] */
    bool ignore_eos;
    char after[AFTER_MAX], seen[AFTER_MAX]; /* seen: as many of the newest bytes as `after` has */
    size_t nafter, nseen;                   /* nafter 0: the grammar counts */
    char piece[PIECE_MAX];
};

/* ---- the vocabulary ---- */

typedef struct pieces {
    char *bytes;
    size_t *start; /* [nvocab + 1] */
} pieces;

static const char *piece_of(void *arg, int32_t id, size_t *n)
{
    const pieces *p = arg;
    *n = p->start[id + 1] - p->start[id];
    return p->bytes + p->start[id];
}

static bool writes(const sg_lm *lm, int32_t id) { return !lm->is_end(lm->self, id) && !(lm->is_special && lm->is_special(lm->self, id)); }

static sg_status gather(const sg_lm *lm, pieces *p, sg_error *err)
{
    size_t n = (size_t)lm->nvocab, total = 0;
    p->start = sg_calloc(n + 1, sizeof *p->start);
    if (!p->start)
        return sg_fail_nomem(err, "the vocabulary of a grammar");
    for (size_t i = 0; i < n; i++) {
        size_t k = writes(lm, (int32_t)i) ? lm->token_bytes(lm->self, (int32_t)i, NULL, 0) : 0;
        total += k <= PIECE_MAX ? k : 0;
        p->start[i + 1] = total;
    }
    p->bytes = sg_alloc(total + 1);
    if (!p->bytes)
        return sg_fail_nomem(err, "the vocabulary of a grammar");
    for (size_t i = 0; i < n; i++)
        if (p->start[i + 1] > p->start[i])
            lm->token_bytes(lm->self, (int32_t)i, p->bytes + p->start[i], p->start[i + 1] - p->start[i]);
    return SG_OK;
}

static sg_status find_ends(sg_vocabulary_trie *v, const sg_lm *lm, sg_error *err)
{
    for (int pass = 0; pass < 2; pass++) {
        v->nend = 0;
        for (int32_t i = 0; i < lm->nvocab; i++)
            if (lm->is_end(lm->self, i)) {
                if (pass)
                    v->end[v->nend] = i;
                v->nend++;
            }
        if (!pass && !(v->end = sg_calloc(v->nend + 1, sizeof *v->end)))
            return sg_fail_nomem(err, "the vocabulary of a grammar");
    }
    return SG_OK;
}

void sg_vocabulary_trie_free(sg_vocabulary_trie *v)
{
    if (!v)
        return;
    sg_token_trie_free(v->trie);
    sg_free(v->end);
    sg_free(v);
}

static sg_status new_vocabulary(sg_vocabulary_trie **out, const sg_lm *lm, sg_error *err)
{
    pieces p = {0};
    sg_vocabulary_trie *v = sg_calloc(1, sizeof *v);
    sg_status st = v ? gather(lm, &p, err) : sg_fail_nomem(err, "the vocabulary of a grammar");
    if (st == SG_OK)
        st = sg_token_trie_new(&v->trie, (size_t)lm->nvocab, piece_of, &p, err);
    if (st == SG_OK)
        st = find_ends(v, lm, err);
    sg_free(p.bytes);
    sg_free(p.start);
    if (st == SG_OK)
        *out = v;
    else
        sg_vocabulary_trie_free(v);
    return st;
}

/* The engine's, made by the first who needs it; the others wait for it. */
static sg_status find_vocabulary(const sg_vocabulary_trie **out, sg_engine *e, sg_error *err)
{
    sg_status st = SG_OK;
    pthread_mutex_lock(&e->vocabulary_lock);
    if (!e->vocabulary) {
        int64_t before = sg_heap_thread();
        st = new_vocabulary(&e->vocabulary, &e->lm, err);
        if (st == SG_OK)
            sg_ledger_hold(e->ledger, SG_LEDGER_TEXT, (uint64_t)(sg_heap_thread() - before));
    }
    *out = e->vocabulary;
    pthread_mutex_unlock(&e->vocabulary_lock);
    return st;
}

sg_status sg_vocabulary_need(sg_engine *e, sg_error *err)
{
    const sg_vocabulary_trie *v;
    return find_vocabulary(&v, e, err);
}

/* ---- constraints ---- */

void sg_constraint_free(sg_constraint *c)
{
    if (!c)
        return;
    sg_matcher_free(c->matcher);
    sg_grammar_free(c->grammar);
    sg_free(c->mask);
    sg_free(c);
}

static sg_status build(sg_constraint *c, sg_engine *e, const sg_request_options *o, sg_error *err)
{
    size_t n = o->grammar_after ? strlen(o->grammar_after) : 0;
    if (n >= AFTER_MAX)
        return sg_fail(err, SG_E_ARGUMENT, "grammar_after has %zu bytes, at most %d", n, AFTER_MAX - 1);
    memcpy(c->after, n ? o->grammar_after : "", n);
    c->nafter = n;
    c->lm = &e->lm;
    c->ignore_eos = o->ignore_eos;
    c->grammar = sg_grammar_ref(o->grammar);
    SG_TRY(find_vocabulary(&c->vocabulary, e, err));
    c->mask = sg_calloc(((size_t)e->lm.nvocab + 31) / 32, sizeof *c->mask);
    if (!c->mask)
        return sg_fail_nomem(err, "a constraint");
    return sg_matcher_new(&c->matcher, c->grammar, err);
}

sg_status sg_constraint_new(sg_constraint **out, sg_engine *e, const sg_request_options *o, sg_error *err)
{
    *out = NULL;
    if (!o->grammar)
        return SG_OK;
    sg_constraint *c = sg_calloc(1, sizeof *c);
    if (!c)
        return sg_fail_nomem(err, "a constraint");
    sg_status st = build(c, e, o, err);
    if (st == SG_OK)
        *out = c;
    else
        sg_constraint_free(c);
    return st;
}

sg_status sg_constraint_mask(sg_constraint *c, const uint32_t **mask, sg_error *err)
{
    *mask = NULL;
    if (!c || c->nafter)
        return SG_OK;
    SG_TRY(sg_matcher_mask(c->matcher, c->vocabulary->trie, c->mask, err));
    if (!c->ignore_eos && sg_matcher_may_end(c->matcher))
        for (size_t i = 0; i < c->vocabulary->nend; i++)
            c->mask[c->vocabulary->end[i] / 32] |= 1u << (c->vocabulary->end[i] % 32);
    *mask = c->mask;
    return SG_OK;
}

/* Slide the newest bytes past the marker. */
static void look_for_marker(sg_constraint *c, size_t n)
{
    for (size_t i = 0; i < n && c->nafter; i++) {
        if (c->nseen == c->nafter)
            memmove(c->seen, c->seen + 1, --c->nseen);
        c->seen[c->nseen++] = c->piece[i];
        if (c->nseen == c->nafter && memcmp(c->seen, c->after, c->nafter) == 0)
            c->nafter = 0;
    }
}

sg_status sg_constraint_take(sg_constraint *c, int32_t id, bool *done, sg_error *err)
{
    *done = false;
    if (!c)
        return SG_OK;
    size_t n = c->lm->token_bytes(c->lm->self, id, c->piece, PIECE_MAX);
    n = n < PIECE_MAX ? n : PIECE_MAX;
    if (c->nafter) {
        look_for_marker(c, n);
        return SG_OK;
    }
    SG_TRY(sg_matcher_feed(c->matcher, c->piece, n, err));
    *done = sg_matcher_must_end(c->matcher);
    return SG_OK;
}
