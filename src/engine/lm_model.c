/* engine/lm_model.c - a real model behind engine/lm.h: weights, operations, KV pool, tokenizer, template. */
#include "engine/internal.h"

sg_status sg_lm_open(sg_lm *lm, const sg_engine_options *o, sg_error *err)
{
    (void)lm;
    return sg_fail(err, SG_E_UNSUPPORTED, "%s: not yet", o->model ? o->model : "the embedded default");
}
