/* engine/constrain.h - grammars on answers: what a request adds to sampling.
 *
 * The submitter builds a constraint (and, once for an engine, the trie of the vocabulary); the step loop asks
 * it for a mask before a token is drawn and tells it the token.  Between submit and the end of the request it
 * belongs to the loop's thread.
 */
#ifndef SG_ENGINE_CONSTRAIN_H
#define SG_ENGINE_CONSTRAIN_H

#include "segue.h"

typedef struct sg_constraint sg_constraint;

/* The tokens of a vocabulary as the masks need them. */
typedef struct sg_vocabulary_trie sg_vocabulary_trie;
void sg_vocabulary_trie_free(sg_vocabulary_trie *v);
/* Make the engine's, unless it is there. */
sg_status sg_vocabulary_need(sg_engine *e, sg_error *err);

/* By options->grammar, which is referenced, and options->grammar_after; *c is NULL when there is none.  SG_E_NOMEM,
 * SG_E_LIMIT. */
sg_status sg_constraint_new(sg_constraint **c, sg_engine *e, const sg_request_options *options, sg_error *err);
void sg_constraint_free(sg_constraint *c);

/* The mask for the next token, valid until the next call; NULL while every token may come.  c may be NULL. */
sg_status sg_constraint_mask(sg_constraint *c, const uint32_t **mask, sg_error *err);

/* A token was drawn.  *done: nothing can follow it.  c may be NULL. */
sg_status sg_constraint_take(sg_constraint *c, int32_t id, bool *done, sg_error *err);

#endif
