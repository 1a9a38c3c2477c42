/* sample/grammar_rules.h - the inside of a grammar, for its compilers and the matcher.
 *
 *     rule r ::= alternative | alternative | ...          first[r] -> alternative -> next -> ...
 *     alternative = symbols[start], ..., SG_SYMBOL_END
 */
#ifndef SG_SAMPLE_GRAMMAR_RULES_H
#define SG_SAMPLE_GRAMMAR_RULES_H

#include "sample/grammar.h"

typedef enum sg_symbol_kind { SG_SYMBOL_END, SG_SYMBOL_BYTES, SG_SYMBOL_RULE } sg_symbol_kind;

typedef struct sg_symbol {
    uint8_t kind;
    uint8_t low, high; /* BYTES: one byte in this range */
    uint32_t rule;     /* RULE */
} sg_symbol;

typedef struct sg_alternative {
    uint32_t start; /* in symbols */
    uint32_t next;  /* the rule's next alternative, SG_NONE at the end */
} sg_alternative;

enum { SG_NONE = UINT32_MAX };

struct sg_grammar {
    sg_symbol *symbols;
    size_t nsymbol, symbol_cap;
    sg_alternative *alternatives;
    size_t nalternative, alternative_cap;
    uint32_t *first; /* [nrule] */
    size_t nrule, rule_cap;
    uint32_t root;
    _Atomic int refs; /* owners but one */
};

/* A sequence of symbols being built. */
typedef struct sg_sequence {
    sg_symbol *at;
    size_t n, cap;
} sg_sequence;

sg_status sg_sequence_add(sg_sequence *s, sg_symbol symbol, sg_error *err);
void sg_sequence_fini(sg_sequence *s);

/* A new rule without alternatives. */
sg_status sg_grammar_add_rule(sg_grammar *g, uint32_t *rule, sg_error *err);
/* One more alternative of a rule; their order says nothing. */
sg_status sg_grammar_add_alternative(sg_grammar *g, uint32_t rule, const sg_symbol *symbols, size_t n, sg_error *err);

/* Ranges of code points, sorted and apart, as alternatives of a rule over UTF-8 bytes. */
typedef struct sg_char_range {
    uint32_t low, high;
} sg_char_range;
sg_status sg_grammar_add_chars(sg_grammar *g, uint32_t rule, const sg_char_range *ranges, size_t n, sg_error *err);

/* `item` from min to max times (max < 0: any number), as one symbol. */
sg_status sg_grammar_repeat(sg_grammar *g, const sg_symbol *item, size_t n, int64_t min, int64_t max, sg_symbol *out, sg_error *err);

/* The bytes of the shortest text, at most 2^40; UINT64_MAX when none was found. */
sg_status sg_grammar_shortest(const sg_grammar *g, uint64_t *bytes, sg_error *err);

/* Drop the alternatives that no text completes, so that a matcher is never led where nothing can follow.  *empty: not even
 * the root has a text. */
sg_status sg_grammar_prune(sg_grammar *g, bool *empty, sg_error *err);

/* A rule that may begin with itself and go on behind that, or SG_NONE: the matcher could not end on it. */
sg_status sg_grammar_left_recursion(const sg_grammar *g, uint32_t *rule, sg_error *err);

/* hollow[nrule]: whether a rule leads to nothing but rules, never to a byte and never to the empty text (root ::= root). */
sg_status sg_grammar_hollow(const sg_grammar *g, bool *hollow, sg_error *err);

#endif
