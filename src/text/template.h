/* text/template.h - chat templates from where models keep them (include/segue.h has the rest).  Any thread. */
#ifndef SG_TEXT_TEMPLATE_H
#define SG_TEXT_TEMPLATE_H

#include "base/dict.h"
#include "base/error.h"

/* From GGUF metadata: tokenizer.chat_template, or tokenizer.chat_template.NAME, and the texts of the tokens that
 * tokenizer.ggml.bos_token_id and eos_token_id name.  name NULL: the default.  SG_E_NOT_FOUND when there is none,
 * SG_E_FORMAT when it is no string or does not parse. */
sg_status sg_template_from_dict(sg_template **t, const sg_dict *meta, const char *name, sg_error *err);

/* Whether the metadata has a default template. */
bool sg_template_in_dict(const sg_dict *meta);

/* What a rendering may take, apart from what its input's size adds. */
enum {
    SG_TEMPLATE_SOURCE_MAX = 2 << 20, /* bytes of template text */
    SG_TEMPLATE_MEMORY_MAX = 32 << 20,
    SG_TEMPLATE_OUTPUT_MAX = 1 << 20,
    SG_TEMPLATE_STEPS_MAX = 10000000, /* see src/text/template.c for what a step costs */
    SG_TEMPLATE_DEPTH_MAX = 1000,
};

#endif
