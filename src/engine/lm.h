/* engine/lm.h - what the step loop needs of a language model.
 *
 * The loop, the server and the commands are written against this table, so that they can be tested with
 * a model of a few lines (tests/fake_lm.h) and do not depend on how real ones are built.  The real
 * one is lm_model.c.  step, and everything it writes, belongs to the step loop's thread; the text calls
 * may come from any thread at any time.
 */
#ifndef SG_ENGINE_LM_H
#define SG_ENGINE_LM_H

#include "base/error.h"
#include "base/pool.h"
#include "engine/ledger.h"
#include "model/model.h"

typedef struct sg_lm {
    void *self;
    const char *architecture, *title; /* borrowed from self */
    uint64_t parameters, file_bytes;
    sg_ledger *ledger; /* with what it has taken; the engine takes it over.  NULL: the engine makes one */
    int nvocab;
    int ctx;         /* tokens a sequence may have */
    int ctx_trained; /* 0: not known */
    int extent_switch; /* sequences announced to become longer than this get other keys; 0: none */
    sg_kv_pool *pool; /* owned by self; the loop's thread takes and gives its blocks */
    sg_pool *workers; /* borrowed from self; idle between steps, the loop's thread may run tasks on them; NULL: none */
    int max_rows;    /* largest nrow of a step */
    int max_logits;  /* largest nout of a step; what exceeds the requests that may run is for guesses */
    int nexpert, nexpert_used; /* of a mixture layer; 0 when dense */
    bool probe;      /* steps cost what steps cost: time some when the engine opens */
    size_t piece_bytes_max; /* longest text that one token can complete, without the NUL */
    bool chat_template;

    /* Compute a step (model/model.h says what a table is).  Must not allocate.  A failure fails the requests of the
     * step. */
    sg_status (*step)(void *self, const sg_batch *batch, sg_error *err);
    bool (*is_end)(void *self, int32_t id); /* end of text, of turn */
    bool (*is_special)(void *self, int32_t id); /* writes nothing in an answer; NULL: none does */

    sg_status (*encode)(void *self, const char *text, size_t n, bool special, bool begin, int32_t **ids, size_t *nid, sg_error *err);
    size_t (*token_bytes)(void *self, int32_t id, char *out, size_t cap);
    /* A streaming decoder that goes on behind a prompt; made and freed by any thread, fed by the loop's.  It has all the
     * memory that it will need. */
    sg_status (*decoder_new)(void *self, void **decoder, const int32_t *prompt, size_t nprompt, sg_error *err);
    void (*decoder_free)(void *decoder); /* NULL is fine; the model may be closed already */
    size_t (*decode)(void *decoder, int32_t id, char *out); /* room for piece_bytes_max; whole characters */
    size_t (*decode_end)(void *decoder, char *out);         /* what an unfinished character turns into; at most 15 bytes */
    sg_status (*render)(void *self, const sg_chat *chat, char **text, size_t *n, sg_error *err);
    void (*close)(void *self);
} sg_lm;

#endif
