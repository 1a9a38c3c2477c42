/* app/model_flags.h - the options of commands that run a model.
 *
 * Two tables: what every such command takes, and what only those take that answer through an engine's step loop.  A command
 * lists a table only when it honours all of it; an option that is read and then ignored would be a lie to its user. */
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
extern const option model_flag_options[];  /* the same everywhere */
extern const option engine_flag_options[]; /* of commands that call model_flags_engine: guesses, prefix cache, memory touched before */

/* The options of an evaluation.  `model` as given on the command line, or NULL: the embedded default.  A name that is no path is
 * looked for under SEGUE_MODELS. */
sg_eval_options model_flags_eval(const command *c, const char *model);

/* The same for an engine. */
sg_engine_options model_flags_engine(const command *c, const char *model);

#endif
