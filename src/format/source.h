/* format/source.h - what the readers share: building an sg_weights.  Private to format/. */
#ifndef SG_FORMAT_SOURCE_H
#define SG_FORMAT_SOURCE_H

#include "format/weights.h"

enum { SG_MAX_FILES = 10000 }; /* parts of one model */

struct sg_weights {
    sg_source source;
    char *path;
    sg_dict *meta;
    sg_file *files; /* nfile of them; fixed before the first tensor is added, because tensors point at them */
    size_t nfile;
    bool borrowed; /* files[0] is the caller's memory, not a mapping */
    sg_tensor *tensors;
    size_t n, cap;
    uint32_t *by_name; /* [n] indices sorted by name, made by sg_weights_seal */
    void *blobs[4]; /* nblob tensors' bytes that were computed at open (rope factors) */
    size_t nblob;
    char *tokenizer_json, *tokenizer_config, *chat_template;
};

/* A new empty one; NULL when out of memory. */
sg_weights *sg_weights_new(sg_source source, const char *path);

/* Add a tensor: a copy of *t with its own copy of name[0..n).  The recipe is owned from then on (also on
 * failure). */
sg_status sg_weights_add(sg_weights *w, const sg_tensor *t, const char *name, size_t n, sg_error *err);

/* Sort the names and refuse duplicates.  Once, after the last tensor. */
sg_status sg_weights_seal(sg_weights *w, sg_error *err);

/* Check that the tensors of file `f` which lie in it do not share bytes. */
sg_status sg_weights_check_overlap(const sg_weights *w, const sg_file *f, sg_error *err);

/* Fill t->bytes from its type and shape.  false when it does not fit 63 bits or a row is no whole number
 * of blocks (*why says which). */
bool sg_tensor_size(sg_tensor *t, const char **why);

/* A reader on bytes in memory that outlive the result; `name` stands in errors.  GGUF and llama2.c only. */
sg_status sg_weights_open_bytes(sg_weights **w, sg_source source, const void *data, size_t size, const char *name,
                                sg_error *err);

/* Whether llama.cpp keeps this tensor in F32 whatever the file's type is: vectors, norms, biases, routers,
 * position and type embeddings. */
bool sg_gguf_keeps_f32(const char *name, int ndim);

/* The readers.  Each fills an empty w. */
sg_status sg_gguf_open(sg_weights *w, sg_error *err);    /* w->path, or w->files[0] when borrowed */
sg_status sg_gguf_open_any(sg_weights *w, sg_error *err); /* one file that need not be a model (imatrix.c) */
sg_status sg_hf_open(sg_weights *w, sg_error *err);      /* directory w->path */
sg_status sg_llama2c_open(sg_weights *w, sg_error *err); /* w->path, or w->files[0] when borrowed */

#endif
