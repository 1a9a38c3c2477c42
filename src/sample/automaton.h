/* sample/automaton.h - deterministic automata over code points, and regular expressions as such automata.
 *
 * A grammar made from a JSON Schema has places where languages are intersected and complemented (a pattern and a length,
 * every name but these): context-free rules cannot do that, automata can.  Everything is bounded; a pattern
 * whose automaton explodes is SG_E_LIMIT.
 */
#ifndef SG_SAMPLE_AUTOMATON_H
#define SG_SAMPLE_AUTOMATON_H

#include "base/error.h"

enum { SG_DFA_STATES_MAX = 1 << 15, SG_NFA_STATES_MAX = 1 << 13, SG_CODE_POINT_MAX = 0x10ffff };

typedef struct sg_dfa_edge {
    uint32_t low, high, to;
} sg_dfa_edge;

/* State 0 is the start.  A character without an edge leads nowhere. */
typedef struct sg_dfa {
    size_t n;
    uint32_t *first;   /* [n + 1] in edge */
    sg_dfa_edge *edge; /* of one state: disjoint */
    uint32_t *accept;  /* [n] 0: no; the bits are the maker's */
} sg_dfa;

void sg_dfa_fini(sg_dfa *d);

/* The state behind a character, UINT32_MAX for nowhere (and from nowhere). */
uint32_t sg_dfa_step(const sg_dfa *d, uint32_t state, uint32_t cp);
/* The accept bits behind a UTF-8 text; 0 when it falls out. */
uint32_t sg_dfa_match(const sg_dfa *d, const char *text, size_t n);

/* ---- by exploration -------------------------------------------------------------- */

/* States are keys of key_bytes bytes; expand(arg, x, key) calls sg_explorer_edge for each way on and sg_explorer_accept.
 * States are made as they are met.  SG_E_LIMIT past `max` states. */
typedef struct sg_explorer sg_explorer;
sg_status sg_dfa_explore(sg_dfa *d, size_t key_bytes, const void *start, size_t max,
                         sg_status (*expand)(void *arg, sg_explorer *x, const void *key), void *arg, sg_error *err);
sg_status sg_explorer_edge(sg_explorer *x, uint32_t low, uint32_t high, const void *key);
void sg_explorer_accept(sg_explorer *x, uint32_t bits);

/* ---- texts and patterns ---------------------------------------------------------- */

/* Exactly the given UTF-8 texts; accept is 1. */
sg_status sg_dfa_of_texts(sg_dfa *d, const char *const *text, const size_t *len, size_t n, sg_error *err);

/* The texts in which a regular expression finds something: ECMA 262 as JSON Schema uses it (u flag), anchored only where it
 * says so.  Alternation, groups, classes with \d \w \s, counted repetition, ^ $ . and escapes.  Look-around, \b, back-references
 * and \p are SG_E_UNSUPPORTED, malformed ones SG_E_FORMAT, too large ones SG_E_LIMIT; the texts begin with "pattern". */
sg_status sg_dfa_of_pattern(sg_dfa *d, const char *pattern, size_t n, sg_error *err);

#endif
