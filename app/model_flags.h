/* app/model_flags.h - the options that every command which runs a model takes. */
#ifndef SG_APP_MODEL_FLAGS_H
#define SG_APP_MODEL_FLAGS_H

#include "commands.h"

#define SEED_NONE UINT64_MAX

typedef struct model_flags {
    int64_t threads, ctx, warm_tokens;
    uint64_t memory, seed; /* seed: SEED_NONE when not given */
    const char *kv_type, *tokenizer, *spec, *draft;
    bool exact, quiet, no_prefix_cache;
} model_flags;

extern model_flags model_flag;            /* filled by options_parse */
extern const option model_flag_options[]; /* the table to list in a command */

/* The options of an evaluation.  `model` as given on the command line, or NULL. */
sg_eval_options model_flags_eval(const command *c, const char *model);

/* The same for an engine; NULL is the embedded default.  A name that is no path is looked for under SEGUE_MODELS. */
sg_engine_options model_flags_engine(const command *c, const char *model);

#endif
