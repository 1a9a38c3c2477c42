/* app/generate.h - what run and chat share: sampling flags, one generation with Ctrl-C, standard input. */
#ifndef SG_APP_GENERATE_H
#define SG_APP_GENERATE_H

#include "model_flags.h"

#include <jansson.h>

enum { INPUT_MAX_MIB = 64 };

extern const option sample_flag_options[]; /* --temp and so on; the table to list in a command */

/* Request options from the flags; the seed is drawn when none was given.  Returns it. */
uint64_t sample_flags_fill(const command *c, sg_request_options *o);

typedef struct generation {
    bool echo; /* in: write the text to standard output as it comes */
    bool keep; /* in: keep text and tokens */
    char *text;
    size_t ntext, captext;
    int32_t *token;
    size_t ntoken, captoken;
    sg_event end; /* the end event, without its pointers */
    sg_error error;
} generation;

/* Run a request to its end.  Ctrl-C (interrupt_watch) cancels it. */
sg_status generate(generation *g, sg_engine *engine, const sg_request_options *o, sg_error *err);
void generation_fini(generation *g);

/* Messages through the model's chat template to token ids (sg_memory_free). */
sg_status chat_tokens(const sg_engine *engine, const json_t *messages, int32_t **ids, size_t *nid, sg_error *err);

/* Take SIGINT: it sets a flag and stops nothing by itself.  interrupt_take tells and clears it. */
void interrupt_watch(void);
bool interrupt_take(void);

/* All of standard input with a NUL behind it (free), NULL when it fails or is too long. */
char *read_standard_input(size_t *n);

#endif
