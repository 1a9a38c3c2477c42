/* model/registry.c - the architectures that segue runs: one row each. */
#include "model/families.h"

#include <string.h>

static const sg_family families[] = {
    /* arch, kind, rope in pairs, params, globals, layer, forward */
    {"llama", SG_MODEL_DECODER, true, sg_llama_params, NULL, sg_llama_layer, sg_llama_forward},
    {"smollm3", SG_MODEL_DECODER, true, sg_llama_params, NULL, sg_llama_layer, sg_llama_forward},
    {"granite", SG_MODEL_DECODER, true, sg_granite_params, NULL, sg_llama_layer, sg_llama_forward},
    {"granitemoe", SG_MODEL_DECODER, true, sg_granite_params, NULL, sg_llama_layer, sg_llama_forward},
    {"qwen2", SG_MODEL_DECODER, false, sg_qwen_params, NULL, sg_qwen_layer, sg_llama_forward},
    {"qwen3", SG_MODEL_DECODER, false, sg_qwen_params, NULL, sg_qwen_layer, sg_llama_forward},
    {"qwen2moe", SG_MODEL_DECODER, false, sg_qwen_params, NULL, sg_qwen_layer, sg_llama_forward},
    {"qwen3moe", SG_MODEL_DECODER, false, sg_qwen_params, NULL, sg_qwen_layer, sg_llama_forward},
    {"gemma", SG_MODEL_DECODER, false, sg_gemma_params, NULL, sg_gemma_layer, sg_gemma_forward},
    {"gemma2", SG_MODEL_DECODER, false, sg_gemma_params, NULL, sg_gemma_layer, sg_gemma_forward},
    {"gemma3", SG_MODEL_DECODER, false, sg_gemma_params, NULL, sg_gemma_layer, sg_gemma_forward},
    {"phi3", SG_MODEL_DECODER, false, sg_phi3_params, NULL, sg_llama_layer, sg_llama_forward},
    {"olmo2", SG_MODEL_DECODER, false, sg_olmo_params, NULL, sg_olmo2_layer, sg_olmo2_forward},
    {"olmoe", SG_MODEL_DECODER, false, sg_olmo_params, NULL, sg_olmoe_layer, sg_llama_forward},
    {"gpt-oss", SG_MODEL_DECODER, false, sg_gptoss_params, NULL, sg_gptoss_layer, sg_gptoss_forward},
    {"deepseek2", SG_MODEL_DECODER, true, sg_deepseek_params, NULL, sg_deepseek_layer, sg_deepseek_forward},
    {"bert", SG_MODEL_ENCODER, false, sg_bert_params, sg_bert_globals, sg_bert_layer, sg_bert_forward},
};

const sg_family *sg_family_find(const char *arch)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(families[i].arch, arch) == 0)
            return &families[i];
    return NULL;
}
