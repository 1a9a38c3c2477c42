/* engine/quantize.h - which type each tensor of a quantised model gets (quantize_types.c).  The work itself
 * is sg_quantize in segue.h. */
#ifndef SG_ENGINE_QUANTIZE_H
#define SG_ENGINE_QUANTIZE_H

#include "base/dict.h"
#include "base/dtype.h"

/* A named mix, such as q4_k_m: a type for most tensors and rules for those that deserve another. */
typedef struct sg_mix {
    const char *name;
    sg_dtype type;      /* what no rule changes */
    uint32_t file_type; /* general.file_type */
} sg_mix;

/* By name without regard to case; NULL when there is none. */
const sg_mix *sg_mix_find(const char *name);

/* All names, separated by spaces, for messages and help. */
const char *sg_mix_names(void);

/* What the rules look at beside the tensor. */
typedef struct sg_mix_model {
    uint64_t nlayer, nexpert, gqa; /* layers; experts, 0 when dense; query heads for each key head */
    bool falcon;
    bool tied;    /* no output.weight: token_embd.weight is also the output */
    bool imatrix; /* importance data is at hand */
} sg_mix_model;

/* Fill in all but `tied` and `imatrix` from a model's metadata.  Values that are not there count as 0. */
sg_status sg_mix_model_read(sg_mix_model *model, const sg_dict *meta, sg_error *err);

/* Whether a tensor is quantised at all: matrices named *weight, but no norms, routers, positions and the
 * like. */
bool sg_mix_applies(const char *name, int ndim);

/* The type for a tensor that sg_mix_applies to.  `stacked`: it is a stack of experts.  `rank` and `nvalue`
 * count for attention values: how many of them earlier layers have, and how many there are.  With `pure`
 * no rule counts.  *fallback: rows of `ncol` values do not divide into the blocks that the rules
 * asked for, so a type of smaller blocks, at least as good, was taken. */
sg_dtype sg_mix_choose(const sg_mix *mix, const sg_mix_model *model, const char *name, uint64_t ncol, bool stacked,
                       uint64_t rank, uint64_t nvalue, bool pure, bool *fallback);

/* Whether a tensor counts for `rank` and `nvalue`: attention values, alone or fused. */
bool sg_mix_is_value(const char *name);

#endif
