/* sample/grammar_texts.c - grammars of plain texts: one of a list, or what a regular expression matches as a whole.
 *
 * Both are automata over characters (automaton.h).  A state becomes a rule, an edge an alternative:
 *
 *     state ::= class next | class next | (nothing, where a text may end)
 *
 * so every rule ends with the next one and the matcher stacks nothing.  Servers that others wrote call these guided_choice and
 * guided_regex.
 */
#include "sample/grammar_rules.h"

#include "base/buf.h"
#include "base/heap.h"
#include "sample/automaton.h"

#include <stdlib.h>
#include <string.h>

static int by_target(const void *a, const void *b)
{
    const sg_dfa_edge *x = a, *y = b;
    if (x->to != y->to)
        return x->to < y->to ? -1 : 1;
    return x->low < y->low ? -1 : x->low > y->low;
}

/* Edges to one state: their characters are a rule. */
static sg_status edge_rule(sg_grammar *g, uint32_t state, const sg_dfa_edge *e, size_t n, sg_error *err)
{
    uint32_t class;
    SG_TRY(sg_grammar_add_rule(g, &class, err));
    for (size_t i = 0; i < n; i++) {
        sg_char_range range = {e[i].low, e[i].high};
        SG_TRY(sg_grammar_add_chars(g, class, &range, 1, err));
    }
    const sg_symbol both[2] = {{.kind = SG_SYMBOL_RULE, .rule = class}, {.kind = SG_SYMBOL_RULE, .rule = e[0].to}};
    return sg_grammar_add_alternative(g, state, both, 2, err);
}

/* The rules of the states are 0 to n - 1, in an empty grammar. */
static sg_status fill(sg_grammar *g, const sg_dfa *d, sg_dfa_edge *edges, sg_error *err)
{
    uint32_t r;
    for (size_t i = 0; i < d->n; i++)
        SG_TRY(sg_grammar_add_rule(g, &r, err));
    for (uint32_t s = 0; s < d->n; s++) {
        size_t n = d->first[s + 1] - d->first[s];
        if (n)
            memcpy(edges, d->edge + d->first[s], n * sizeof *edges);
        if (n > 1)
            qsort(edges, n, sizeof *edges, by_target);
        for (size_t i = 0, k; i < n; i = k) {
            for (k = i + 1; k < n && edges[k].to == edges[i].to; k++)
                ;
            SG_TRY(edge_rule(g, s, edges + i, k - i, err));
        }
        if (d->accept[s])
            SG_TRY(sg_grammar_add_alternative(g, s, NULL, 0, err));
    }
    return SG_OK;
}

static sg_status from_dfa(sg_grammar **out, const sg_dfa *d, const char *what, sg_error *err)
{
    sg_grammar *g = sg_calloc(1, sizeof *g);
    sg_dfa_edge *edges = sg_calloc((size_t)d->first[d->n] + 1, sizeof *edges);
    uint64_t shortest = 0;
    bool empty = false;
    sg_status st = g && edges ? fill(g, d, edges, err) : sg_fail_nomem(err, "a grammar");
    if (st == SG_OK)
        st = sg_grammar_prune(g, &empty, err);
    if (st == SG_OK && empty)
        st = sg_fail(err, SG_E_FORMAT, "%s: no text is allowed by it", what);
    if (st == SG_OK)
        st = sg_grammar_shortest(g, &shortest, err);
    if (st == SG_OK && shortest > SG_GRAMMAR_SHORTEST_MAX)
        st = sg_fail(err, SG_E_LIMIT, "%s: its shortest text has more than %d bytes", what, SG_GRAMMAR_SHORTEST_MAX);
    sg_free(edges);
    if (st == SG_OK)
        *out = g;
    else
        sg_grammar_free(g);
    return st;
}

sg_status sg_grammar_from_texts(sg_grammar **g, const char *const *text, const size_t *len, size_t n, sg_error *err)
{
    sg_dfa d;
    if (n == 0)
        return sg_fail(err, SG_E_FORMAT, "choices: there are none");
    SG_TRY(sg_dfa_of_texts(&d, text, len, n, err));
    sg_status st = from_dfa(g, &d, "choices", err);
    sg_dfa_fini(&d);
    return st;
}

/* The pattern by itself has to be one: in "a)|(b" the group below would end early. */
static sg_status whole(sg_dfa *d, const char *pattern, size_t n, sg_error *err)
{
    sg_buf b = {0};
    SG_TRY(sg_dfa_of_pattern(d, pattern, n, err));
    sg_dfa_fini(d);
    sg_buf_adds(&b, "^(?:");
    sg_buf_add(&b, pattern, n);
    sg_buf_adds(&b, ")$");
    sg_status st = sg_buf_ok(&b) ? sg_dfa_of_pattern(d, b.data, b.len, err) : sg_fail_nomem(err, "a pattern");
    sg_buf_fini(&b);
    return st;
}

sg_status sg_grammar_from_pattern(sg_grammar **g, const char *pattern, size_t n, sg_error *err)
{
    sg_dfa d;
    SG_TRY(whole(&d, pattern, n, err));
    sg_status st = from_dfa(g, &d, "pattern", err);
    sg_dfa_fini(&d);
    return st;
}
