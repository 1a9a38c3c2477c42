/* sample/grammar_rules.c - building grammars: rules, UTF-8 ranges, repetitions, and the check for left recursion.
 *
 * A range of characters becomes sequences of byte ranges: it is cut where the length of the encoding
 * changes, then where the leading bytes stop being equal, until each piece is a box of byte ranges.
 * [U+0080-U+FFFF] without surrogates, for example, is C2-DF 80-BF | E0 A0-BF 80-BF | E1-EC 80-BF 80-BF | ...
 *
 * Repetition is recursion at the end of a rule, x* being R ::= x R | nothing, which the matcher does
 * not stack; a bounded one is written out.
 */
#include "sample/grammar_rules.h"

#include "base/heap.h"
#include "base/utf8.h"

#include <stdatomic.h>
#include <string.h>

/* Room for one more item in an array that grows. */
static sg_status room(void **array, size_t n, size_t *cap, size_t size, sg_error *err)
{
    if (n < *cap)
        return SG_OK;
    if (n >= SG_GRAMMAR_SYMBOLS_MAX)
        return sg_fail(err, SG_E_LIMIT, "grammar: more than %d symbols", SG_GRAMMAR_SYMBOLS_MAX);
    size_t wider = *cap ? 2 * *cap : 16;
    void *p = sg_realloc(*array, wider * size);
    if (!p)
        return sg_fail_nomem(err, "grammar");
    *array = p;
    *cap = wider;
    return SG_OK;
}

sg_status sg_sequence_add(sg_sequence *s, sg_symbol symbol, sg_error *err)
{
    void *p = s->at;
    sg_status st = room(&p, s->n, &s->cap, sizeof *s->at, err);
    s->at = p;
    if (st == SG_OK)
        s->at[s->n++] = symbol;
    return st;
}

void sg_sequence_fini(sg_sequence *s)
{
    sg_free(s->at);
    *s = (sg_sequence){0};
}

sg_grammar *sg_grammar_ref(sg_grammar *g)
{
    atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
    return g;
}

void sg_grammar_free(sg_grammar *g)
{
    if (!g || atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) > 0)
        return;
    sg_free(g->symbols);
    sg_free(g->alternatives);
    sg_free(g->first);
    sg_free(g);
}

sg_status sg_grammar_add_rule(sg_grammar *g, uint32_t *rule, sg_error *err)
{
    void *p = g->first;
    sg_status st = room(&p, g->nrule, &g->rule_cap, sizeof *g->first, err);
    g->first = p;
    if (st != SG_OK)
        return st;
    g->first[g->nrule] = SG_NONE;
    *rule = (uint32_t)g->nrule++;
    return SG_OK;
}

static sg_status add_symbol(sg_grammar *g, sg_symbol symbol, sg_error *err)
{
    void *p = g->symbols;
    sg_status st = room(&p, g->nsymbol, &g->symbol_cap, sizeof *g->symbols, err);
    g->symbols = p;
    if (st == SG_OK)
        g->symbols[g->nsymbol++] = symbol;
    return st;
}

sg_status sg_grammar_add_alternative(sg_grammar *g, uint32_t rule, const sg_symbol *symbols, size_t n, sg_error *err)
{
    void *p = g->alternatives;
    sg_status st = room(&p, g->nalternative, &g->alternative_cap, sizeof *g->alternatives, err);
    g->alternatives = p;
    if (st != SG_OK)
        return st;
    uint32_t start = (uint32_t)g->nsymbol;
    for (size_t i = 0; i < n; i++)
        SG_TRY(add_symbol(g, symbols[i], err));
    SG_TRY(add_symbol(g, (sg_symbol){.kind = SG_SYMBOL_END}, err));
    g->alternatives[g->nalternative] = (sg_alternative){start, g->first[rule]};
    g->first[rule] = (uint32_t)g->nalternative++;
    return SG_OK;
}

/* ---- characters ------------------------------------------------------------------------ */

/* All of [low, high], whose encodings have the same length: cut until all bytes behind the first that differs run freely
 * (the construction of RE2 and of Thompson's original tables). */
static sg_status add_same_length(sg_grammar *g, uint32_t rule, uint32_t low, uint32_t high, sg_error *err)
{
    char a[4], b[4];
    size_t n = sg_utf8_encode(a, low);
    sg_utf8_encode(b, high);
    for (size_t i = 1; i < n; i++) {
        uint32_t mask = (1u << (6 * i)) - 1;
        if ((low & ~mask) == (high & ~mask))
            continue;
        uint32_t cut = low & mask ? low | mask : (high & mask) != mask ? (high & ~mask) - 1 : high;
        if (cut == high)
            continue;
        SG_TRY(add_same_length(g, rule, low, cut, err));
        return add_same_length(g, rule, cut + 1, high, err);
    }
    sg_symbol s[4];
    for (size_t i = 0; i < n; i++)
        s[i] = (sg_symbol){SG_SYMBOL_BYTES, (uint8_t)a[i], (uint8_t)b[i], 0};
    return sg_grammar_add_alternative(g, rule, s, n, err);
}

static sg_status add_range(sg_grammar *g, uint32_t rule, uint32_t low, uint32_t high, sg_error *err)
{
    static const uint32_t part[][2] = {{0, 0x7f}, {0x80, 0x7ff}, {0x800, 0xd7ff}, {0xe000, 0xffff}, {0x10000, 0x10ffff}};
    for (size_t i = 0; i < sizeof part / sizeof part[0]; i++) {
        uint32_t from = low > part[i][0] ? low : part[i][0], to = high < part[i][1] ? high : part[i][1];
        if (from <= to)
            SG_TRY(add_same_length(g, rule, from, to, err));
    }
    return SG_OK;
}

sg_status sg_grammar_add_chars(sg_grammar *g, uint32_t rule, const sg_char_range *ranges, size_t n, sg_error *err)
{
    for (size_t i = 0; i < n; i++)
        SG_TRY(add_range(g, rule, ranges[i].low, ranges[i].high, err));
    return SG_OK;
}

/* ---- repetition ---------------------------------------------------------------------------- */

static sg_status repeat_into(sg_grammar *g, sg_sequence *s, const sg_symbol *item, size_t n, int64_t min, int64_t max,
                             uint32_t rule, sg_error *err)
{
    /* What may follow the items that must be: R ::= x R | nothing, or one rule for each further item. */
    uint32_t tail = SG_NONE;
    for (int64_t k = max < 0 ? 0 : max - min; max < 0 ? tail == SG_NONE : k > 0; k--) {
        uint32_t r;
        SG_TRY(sg_grammar_add_rule(g, &r, err));
        s->n = 0;
        for (size_t i = 0; i < n; i++)
            SG_TRY(sg_sequence_add(s, item[i], err));
        if (max < 0 || tail != SG_NONE)
            SG_TRY(sg_sequence_add(s, (sg_symbol){.kind = SG_SYMBOL_RULE, .rule = max < 0 ? r : tail}, err));
        SG_TRY(sg_grammar_add_alternative(g, r, s->at, s->n, err));
        SG_TRY(sg_grammar_add_alternative(g, r, NULL, 0, err));
        tail = r;
    }
    s->n = 0;
    for (int64_t k = 0; k < min; k++)
        for (size_t i = 0; i < n; i++)
            SG_TRY(sg_sequence_add(s, item[i], err));
    if (tail != SG_NONE)
        SG_TRY(sg_sequence_add(s, (sg_symbol){.kind = SG_SYMBOL_RULE, .rule = tail}, err));
    return sg_grammar_add_alternative(g, rule, s->at, s->n, err);
}

sg_status sg_grammar_repeat(sg_grammar *g, const sg_symbol *item, size_t n, int64_t min, int64_t max, sg_symbol *out, sg_error *err)
{
    uint32_t rule;
    sg_sequence s = {0};
    SG_TRY(sg_grammar_add_rule(g, &rule, err));
    sg_status st = repeat_into(g, &s, item, n, min, max, rule, err);
    sg_sequence_fini(&s);
    if (st == SG_OK)
        *out = (sg_symbol){.kind = SG_SYMBOL_RULE, .rule = rule};
    return st;
}

/* ---- left recursion -------------------------------------------------------------------------- */

typedef struct search {
    const sg_grammar *g;
    bool *nullable;         /* [nrule]: the rule matches the empty text */
    uint32_t *seen, *queue; /* [nrule] */
    uint32_t stamp;
    int64_t work; /* left: a grammar made to be slow is refused */
} search;

/* Until nothing changes. */
static void find_nullable(search *x)
{
    const sg_grammar *g = x->g;
    for (bool changed = true; changed && x->work > 0;) {
        changed = false;
        for (size_t r = g->nrule; r-- > 0;)
            for (uint32_t a = g->first[r]; a != SG_NONE && !x->nullable[r]; a = g->alternatives[a].next) {
                const sg_symbol *s = &g->symbols[g->alternatives[a].start];
                for (x->work--; s->kind == SG_SYMBOL_RULE && x->nullable[s->rule]; x->work--)
                    s++;
                if (s->kind == SG_SYMBOL_END)
                    x->nullable[r] = changed = true;
            }
    }
}

/* Put the rules with which `rule` may begin on the queue; returns its new length. */
static size_t push_beginnings(search *x, uint32_t rule, size_t n)
{
    for (uint32_t a = x->g->first[rule]; a != SG_NONE; a = x->g->alternatives[a].next)
        for (const sg_symbol *s = &x->g->symbols[x->g->alternatives[a].start]; s->kind == SG_SYMBOL_RULE; s++) {
            x->work--;
            if (x->seen[s->rule] != x->stamp) {
                x->seen[s->rule] = x->stamp;
                x->queue[n++] = s->rule;
            }
            if (!x->nullable[s->rule])
                break;
        }
    return n;
}

/* Can `from` begin with `to`? */
static bool begins_with(search *x, uint32_t from, uint32_t to)
{
    x->stamp++;
    x->seen[from] = x->stamp;
    x->queue[0] = from;
    for (size_t i = 0, n = 1; i < n && x->work > 0; i++, x->work--) {
        if (x->queue[i] == to)
            return true;
        n = push_beginnings(x, x->queue[i], n);
    }
    return false;
}

/* Is a rule reachable from itself at its beginning, with something behind?  (At its end it is harmless: the matcher
 * does not stack it.) */
static uint32_t find_recursion(search *x)
{
    for (uint32_t r = 0; r < x->g->nrule; r++)
        for (uint32_t a = x->g->first[r]; a != SG_NONE; a = x->g->alternatives[a].next)
            for (const sg_symbol *s = &x->g->symbols[x->g->alternatives[a].start]; s->kind == SG_SYMBOL_RULE; s++) {
                if (s[1].kind != SG_SYMBOL_END && begins_with(x, s->rule, r))
                    return r;
                if (!x->nullable[s->rule])
                    break;
            }
    return SG_NONE;
}

sg_status sg_grammar_left_recursion(const sg_grammar *g, uint32_t *rule, sg_error *err)
{
    enum { WORK = 100000000 };
    search x = {g, sg_calloc(g->nrule, sizeof(bool)), sg_calloc(g->nrule, 4), sg_calloc(g->nrule, 4), 0, WORK};
    sg_status st = SG_OK;
    if (x.nullable && x.seen && x.queue) {
        find_nullable(&x);
        uint32_t found = find_recursion(&x);
        if (x.work <= 0)
            st = sg_fail(err, SG_E_LIMIT, "grammar: too many rules that begin with one another");
        else
            *rule = found;
    } else {
        st = sg_fail_nomem(err, "grammar");
    }
    sg_free(x.nullable);
    sg_free(x.seen);
    sg_free(x.queue);
    return st;
}

/* Whether a text of this alternative can begin, or be empty, as far as is known of the rules in it. */
static bool leads_somewhere(search *x, uint32_t a, const bool *hollow)
{
    for (const sg_symbol *s = &x->g->symbols[x->g->alternatives[a].start]; s->kind == SG_SYMBOL_RULE; s++) {
        x->work--;
        if (hollow[s->rule])
            return false;
        if (!x->nullable[s->rule])
            return true;
    }
    return true; /* a byte, or nothing at all */
}

sg_status sg_grammar_hollow(const sg_grammar *g, bool *hollow, sg_error *err)
{
    enum { WORK = 100000000 };
    search x = {.g = g, .nullable = sg_calloc(g->nrule + 1, sizeof(bool)), .work = WORK};
    if (!x.nullable)
        return sg_fail_nomem(err, "grammar");
    find_nullable(&x);
    memset(hollow, true, g->nrule * sizeof *hollow);
    for (bool changed = true; changed && x.work > 0;) {
        changed = false;
        for (size_t r = g->nrule; r-- > 0;)
            for (uint32_t a = g->first[r]; a != SG_NONE && hollow[r]; a = g->alternatives[a].next)
                if (x.work--, leads_somewhere(&x, a, hollow)) {
                    hollow[r] = false;
                    changed = true;
                }
    }
    sg_free(x.nullable);
    return x.work > 0 ? SG_OK : sg_fail(err, SG_E_LIMIT, "grammar: too many rules that begin with one another");
}

/* ---- what can be completed ------------------------------------------------------------------- */

typedef struct pruning {
    sg_grammar *g;
    uint32_t *owner;   /* [nalternative] its rule */
    uint32_t *left;    /* [nalternative] rules in it that are not known to have a text */
    uint32_t *use;     /* [nrule + 1] where the uses of a rule begin in `user` */
    uint32_t *user;    /* alternatives, one for each use */
    uint32_t *queue;   /* [nrule] */
    bool *has_text;    /* [nrule] */
} pruning;

static size_t count_uses(pruning *x)
{
    sg_grammar *g = x->g;
    size_t n = 0;
    for (uint32_t r = 0; r < g->nrule; r++)
        for (uint32_t a = g->first[r]; a != SG_NONE; a = g->alternatives[a].next) {
            x->owner[a] = r;
            for (const sg_symbol *s = &g->symbols[g->alternatives[a].start]; s->kind != SG_SYMBOL_END; s++)
                if (s->kind == SG_SYMBOL_RULE) {
                    x->use[s->rule + 1]++;
                    x->left[a]++;
                    n++;
                }
        }
    for (size_t r = 0; r < g->nrule; r++)
        x->use[r + 1] += x->use[r];
    return n;
}

/* From the alternatives without rules upward, each use once. */
static void find_texts(pruning *x)
{
    sg_grammar *g = x->g;
    size_t n = 0;
    for (uint32_t r = 0; r < g->nrule; r++)
        for (uint32_t a = g->first[r]; a != SG_NONE; a = g->alternatives[a].next) {
            for (const sg_symbol *s = &g->symbols[g->alternatives[a].start]; s->kind != SG_SYMBOL_END; s++)
                if (s->kind == SG_SYMBOL_RULE)
                    x->user[--x->use[s->rule + 1]] = a; /* filled from the end: use[r + 1] becomes the beginning */
            if (!x->left[a] && !x->has_text[r]) {
                x->has_text[r] = true;
                x->queue[n++] = r;
            }
        }
    for (size_t i = 0; i < n; i++) {
        uint32_t r = x->queue[i];
        uint32_t end = r + 2 <= g->nrule ? x->use[r + 2] : x->use[g->nrule + 1];
        for (uint32_t k = x->use[r + 1]; k < end; k++) {
            uint32_t a = x->user[k];
            if (--x->left[a] == 0 && !x->has_text[x->owner[a]]) {
                x->has_text[x->owner[a]] = true;
                x->queue[n++] = x->owner[a];
            }
        }
    }
}

sg_status sg_grammar_prune(sg_grammar *g, bool *empty, sg_error *err)
{
    pruning x = {.g = g};
    x.owner = sg_calloc(g->nalternative + 1, sizeof *x.owner);
    x.left = sg_calloc(g->nalternative + 1, sizeof *x.left);
    x.use = sg_calloc(g->nrule + 2, sizeof *x.use);
    x.queue = sg_calloc(g->nrule + 1, sizeof *x.queue);
    x.has_text = sg_calloc(g->nrule + 1, sizeof *x.has_text);
    size_t n = x.owner && x.left && x.use ? count_uses(&x) : 0;
    x.user = sg_calloc(n + 1, sizeof *x.user);
    sg_status st = SG_OK;
    if (x.owner && x.left && x.use && x.queue && x.has_text && x.user) {
        x.use[g->nrule + 1] = (uint32_t)n;
        find_texts(&x);
        for (uint32_t r = 0; r < g->nrule; r++)
            for (uint32_t *a = &g->first[r]; *a != SG_NONE;)
                if (x.left[*a])
                    *a = g->alternatives[*a].next;
                else
                    a = &g->alternatives[*a].next;
        *empty = !x.has_text[g->root];
    } else {
        st = sg_fail_nomem(err, "grammar");
    }
    sg_free(x.owner);
    sg_free(x.left);
    sg_free(x.use);
    sg_free(x.user);
    sg_free(x.queue);
    sg_free(x.has_text);
    return st;
}

/* ---- the shortest text ------------------------------------------------------------------------- */

sg_status sg_grammar_shortest(const sg_grammar *g, uint64_t *bytes, sg_error *err)
{
    enum { PASSES = 100 };
    const uint64_t most = (uint64_t)1 << 40;
    uint64_t *least = sg_calloc(g->nrule + 1, sizeof *least);
    if (!least)
        return sg_fail_nomem(err, "grammar");
    memset(least, 0xff, (g->nrule + 1) * sizeof *least);
    bool changed = true;
    for (int pass = 0; pass < PASSES && changed; pass++) {
        changed = false;
        for (size_t r = g->nrule; r-- > 0;)
            for (uint32_t a = g->first[r]; a != SG_NONE; a = g->alternatives[a].next) {
                uint64_t n = 0;
                for (const sg_symbol *s = &g->symbols[g->alternatives[a].start]; s->kind != SG_SYMBOL_END && n != UINT64_MAX; s++) {
                    uint64_t one = s->kind == SG_SYMBOL_BYTES ? 1 : least[s->rule];
                    n = one == UINT64_MAX ? one : n + one < most ? n + one : most;
                }
                changed |= n < least[r];
                least[r] = n < least[r] ? n : least[r];
            }
    }
    *bytes = least[g->root];
    sg_free(least);
    return SG_OK;
}
