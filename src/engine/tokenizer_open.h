/* engine/tokenizer_open.h - the tokenizer of an opened model. */
#ifndef SG_ENGINE_TOKENIZER_OPEN_H
#define SG_ENGINE_TOKENIZER_OPEN_H

#include "format/weights.h"

/* The tokenizer that belongs to `w`: its metadata for GGUF, the files beside it for a Hugging Face directory.
 * `tokenizer` (may be NULL) names a file or directory to take instead; llama2.c checkpoints need it.  The
 * result does not depend on `w` afterwards. */
sg_status sg_tokenizer_of_weights(sg_tokenizer **t, const sg_weights *w, const char *tokenizer, sg_error *err);

#endif
