#include "format/source.h"

sg_status sg_hf_open(sg_weights *w, sg_error *err)
{
    (void)w;
    return sg_fail(err, SG_E_UNSUPPORTED, "Hugging Face directories are not read yet");
}
