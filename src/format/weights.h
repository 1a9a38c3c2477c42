/* format/weights.h - an opened model in neutral form: metadata and a directory of named tensors.
 *
 * Whatever a model comes from, it is seen through GGUF's eyes: metadata under GGUF's key names, tensors
 * under GGUF's names with GGUF's shapes.  So a family is described once, for GGUF, and works for all.
 *
 *     GGUF version 2 and 3, little-endian, also split sets (NAME-00001-of-0000N.gguf: name the first)
 *     a Hugging Face directory: config.json, *.safetensors (+ index), tokenizer.json
 *     a llama2.c .bin checkpoint (the legacy layout)
 *
 * Keys that GGUF has no name for are listed in docs/metadata.md.  Opening maps the files and reads
 * headers only; all names, shapes and extents are proved against the files then, so that reading a
 * tensor later cannot leave them.  Opened by one thread; after that everything but close is read-only and
 * may be called from any thread.
 */
#ifndef SG_FORMAT_WEIGHTS_H
#define SG_FORMAT_WEIGHTS_H

#include "base/dict.h"
#include "base/dtype.h"
#include "base/error.h"
#include "base/file.h"

typedef struct sg_weights sg_weights;

typedef enum sg_source {
    SG_SOURCE_GGUF,
    SG_SOURCE_HF,      /* directory with config.json and safetensors */
    SG_SOURCE_LLAMA2C, /* .bin */
} sg_source;

/* One tensor.  ne[0] is the contiguous dimension (the length of a row), as in GGUF; a matrix that a
 * linear layer multiplies with has ne = {inputs, outputs}.  Row r of a matrix starts at byte
 * r * sg_dtype_row_bytes(type, ne[0]). */
typedef struct sg_tensor {
    const char *name;  /* GGUF name, such as "blk.0.attn_q.weight" */
    sg_dtype type;     /* of the bytes that sg_weights_read gives and `data` has */
    int ndim;          /* 1 to 4 */
    uint64_t ne[4];    /* at least 1 each; 1 from ndim on */
    uint64_t bytes;    /* of the whole tensor; at most four times the bytes that are stored */
    const void *data;  /* in the mapping, when the stored bytes are already in GGUF form; else NULL.
                        * Aligned to 8 bytes at best, often only to the element. */
    const sg_file *file; /* with `data`: the file that it is in and where, for positioned reading; NULL for
                          * the few numbers that are computed at open (rope factors) */
    size_t offset;
    const struct sg_recipe *recipe; /* private: how to make the bytes when data is NULL */
} sg_tensor;

/* Open a model.  Errors name the path and the field: SG_E_FORMAT (malformed), SG_E_UNSUPPORTED (an
 * architecture or a version we do not read), SG_E_LIMIT, SG_E_IO, SG_E_NOMEM.  On failure *w is untouched. */
sg_status sg_weights_open(sg_weights **w, const char *path, sg_error *err);

/* A GGUF image in memory that outlives the result (the embedded default); `name` stands in errors. */
sg_status sg_weights_open_memory(sg_weights **w, const void *data, size_t size, const char *name, sg_error *err);

void sg_weights_close(sg_weights *w);

sg_source sg_weights_source(const sg_weights *w);
const char *sg_weights_path(const sg_weights *w);    /* as given to open */
const sg_dict *sg_weights_meta(const sg_weights *w); /* GGUF keys; "general.architecture" is always there */
uint64_t sg_weights_file_bytes(const sg_weights *w); /* of all files that hold tensors */

size_t sg_weights_count(const sg_weights *w);
const sg_tensor *sg_weights_at(const sg_weights *w, size_t i);              /* i < count, in the file's order */
const sg_tensor *sg_weights_find(const sg_weights *w, const char *name);    /* NULL when there is none */

/* Values in a tensor. */
static inline uint64_t sg_tensor_values(const sg_tensor *t) { return t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]; }
/* Rows of ne[0] values. */
static inline uint64_t sg_tensor_rows(const sg_tensor *t) { return t->ne[1] * t->ne[2] * t->ne[3]; }

/* Write the t->bytes bytes of the tensor, in GGUF form and type, to dst.  Works for every tensor, with
 * `data` or without.  SG_E_NOMEM is the only failure. */
sg_status sg_weights_read(const sg_weights *w, const sg_tensor *t, void *dst, sg_error *err);

/* The same for rows [row, row + nrow), counted over all dimensions but the first. */
sg_status sg_weights_read_rows(const sg_weights *w, const sg_tensor *t, uint64_t row, uint64_t nrow, void *dst,
                               sg_error *err);

/* The caller has what it wants of this tensor (repacked elsewhere): its mapped pages are given back.
 * Reading it again works. */
void sg_weights_drop(const sg_weights *w, const sg_tensor *t);
/* The same for `bytes` of it from `data` on. */
void sg_weights_drop_part(const sg_weights *w, const sg_tensor *t, const void *data, size_t bytes);

/* Paths of the tokenizer's files beside a Hugging Face model, NULL when they are not there or the model
 * is of another kind (then the dictionary has tokenizer.ggml.*, or a tokenizer.bin is given apart). */
const char *sg_weights_tokenizer_json(const sg_weights *w);
const char *sg_weights_tokenizer_config(const sg_weights *w);
const char *sg_weights_chat_template(const sg_weights *w); /* chat_template.jinja */

#endif
