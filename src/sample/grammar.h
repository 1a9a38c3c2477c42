/* sample/grammar.h - context-free grammars over bytes, and the masks they put on a vocabulary.
 *
 *     text (GBNF, ...)  ->  grammar  ->  matcher (where a text stands)  ->  mask over the tokens
 *                              ^                                              ^
 *                        rules over byte ranges                    trie of the tokens' bytes
 *
 * Characters are compiled to ranges of UTF-8 bytes, so that a token that ends inside a character needs no
 * special case and everything behind the compiler sees bytes only.
 */
#ifndef SG_SAMPLE_GRAMMAR_H
#define SG_SAMPLE_GRAMMAR_H

#include "base/error.h"
#include "segue.h"

/* ---- grammars: immutable once made, counted, any thread: see segue.h ------------- */

enum {
    SG_GRAMMAR_SYMBOLS_MAX = 1 << 20, /* after repetitions are written out */
    SG_GRAMMAR_REPEAT_MAX = 10000,    /* in {m,n} */
    SG_GRAMMAR_NEST_MAX = 100,        /* parentheses */
    SG_GRAMMAR_SHORTEST_MAX = 1 << 26, /* bytes that every text has at least */
};

/* One more owner. */
sg_grammar *sg_grammar_ref(sg_grammar *g);

/* ---- matchers: one thread at a time ------------------------------------------------ */

/* All ways in which the text so far can be read, as a set of stacks that share their tails. */
typedef struct sg_matcher sg_matcher;

/* At the start of a text.  The grammar is borrowed.  SG_E_LIMIT when it can be read in too many ways at once. */
sg_status sg_matcher_new(sg_matcher **m, const sg_grammar *g, sg_error *err);
void sg_matcher_free(sg_matcher *m);

/* Go on with bytes.  SG_E_ARGUMENT when the grammar does not allow them, SG_E_LIMIT or SG_E_NOMEM; the matcher then
 * stands where it stood. */
sg_status sg_matcher_feed(sg_matcher *m, const char *bytes, size_t n, sg_error *err);

/* The text so far is a whole one. */
bool sg_matcher_may_end(const sg_matcher *m);
/* Nothing can follow. */
bool sg_matcher_must_end(const sg_matcher *m);

/* ---- masks --------------------------------------------------------------------------- */

/* The bytes of a vocabulary as a trie; immutable, any thread. */
typedef struct sg_token_trie sg_token_trie;

/* piece(arg, id, &n) gives the bytes of token id, n = 0 for tokens that write nothing (they are never allowed by a
 * mask).  SG_E_NOMEM, SG_E_LIMIT. */
sg_status sg_token_trie_new(sg_token_trie **t, size_t nvocab, const char *(*piece)(void *arg, int32_t id, size_t *n),
                            void *arg, sg_error *err);
void sg_token_trie_free(sg_token_trie *t);

/* Set bit id % 32 of mask[id / 32] for the tokens that may come next, clear all others; mask has (nvocab + 31) / 32
 * words.  End-of-text tokens are the caller's: allowed when sg_matcher_may_end.  The matcher stands where it stood. */
sg_status sg_matcher_mask(sg_matcher *m, const sg_token_trie *t, uint32_t *mask, sg_error *err);

#endif
