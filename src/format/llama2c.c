#include "format/source.h"

sg_status sg_llama2c_open(sg_weights *w, sg_error *err)
{
    (void)w;
    return sg_fail(err, SG_E_UNSUPPORTED, "llama2.c checkpoints are not read yet");
}
