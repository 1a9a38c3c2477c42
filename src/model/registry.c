/* model/registry.c - the architectures that segue runs: one row each. */
#include "model/families.h"

#include <string.h>

static const sg_family families[] = {
    /* arch, kind, rope in pairs, params, globals, layer, forward */
    {"llama", SG_MODEL_DECODER, true, sg_llama_params, NULL, sg_llama_layer, sg_llama_forward},
    {"smollm3", SG_MODEL_DECODER, true, sg_llama_params, NULL, sg_llama_layer, sg_llama_forward},
    {"granite", SG_MODEL_DECODER, true, sg_granite_params, NULL, sg_llama_layer, sg_llama_forward},
    {"granitemoe", SG_MODEL_DECODER, true, sg_granite_params, NULL, sg_llama_layer, sg_llama_forward},
};

const sg_family *sg_family_find(const char *arch)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(families[i].arch, arch) == 0)
            return &families[i];
    return NULL;
}
