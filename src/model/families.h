/* model/families.h - the functions of each family that registry.c puts in its table.  Private to model/. */
#ifndef SG_MODEL_FAMILIES_H
#define SG_MODEL_FAMILIES_H

#include "model/internal.h"

sg_status sg_llama_params(sg_hparams *h, const sg_keys *k);
sg_status sg_granite_params(sg_hparams *h, const sg_keys *k);
sg_status sg_llama_layer(sg_loader *ld, sg_layer *w, int l);
void sg_llama_forward(sg_model *m, sg_pass *p);

sg_status sg_qwen_params(sg_hparams *h, const sg_keys *k);
sg_status sg_qwen_layer(sg_loader *ld, sg_layer *w, int l);

sg_status sg_gemma_params(sg_hparams *h, const sg_keys *k);
sg_status sg_gemma_layer(sg_loader *ld, sg_layer *w, int l);
void sg_gemma_forward(sg_model *m, sg_pass *p);

sg_status sg_phi3_params(sg_hparams *h, const sg_keys *k);

sg_status sg_olmo_params(sg_hparams *h, const sg_keys *k);
sg_status sg_olmo2_layer(sg_loader *ld, sg_layer *w, int l);
void sg_olmo2_forward(sg_model *m, sg_pass *p);
sg_status sg_olmoe_layer(sg_loader *ld, sg_layer *w, int l);

sg_status sg_deepseek_params(sg_hparams *h, const sg_keys *k);
sg_status sg_deepseek_layer(sg_loader *ld, sg_layer *w, int l);
void sg_deepseek_forward(sg_model *m, sg_pass *p);

sg_status sg_gptoss_params(sg_hparams *h, const sg_keys *k);
sg_status sg_gptoss_layer(sg_loader *ld, sg_layer *w, int l);
void sg_gptoss_forward(sg_model *m, sg_pass *p);

sg_status sg_bert_params(sg_hparams *h, const sg_keys *k);
sg_status sg_bert_globals(sg_loader *ld);
sg_status sg_bert_layer(sg_loader *ld, sg_layer *w, int l);
void sg_bert_forward(sg_model *m, sg_pass *p);

#endif
