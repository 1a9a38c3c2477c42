/* format/gguf.h - facts of the GGUF format (docs of ggml: "gguf.md"), and writing it. */
#ifndef SG_FORMAT_GGUF_H
#define SG_FORMAT_GGUF_H

#include "base/dict.h"
#include "base/dtype.h"
#include "base/error.h"

/* Types of metadata values. */
enum {
    SG_GGUF_U8, SG_GGUF_I8, SG_GGUF_U16, SG_GGUF_I16, SG_GGUF_U32, SG_GGUF_I32, SG_GGUF_F32, SG_GGUF_BOOL,
    SG_GGUF_STRING, SG_GGUF_ARRAY, SG_GGUF_U64, SG_GGUF_I64, SG_GGUF_F64, SG_GGUF_TYPE_END,
};

enum {
    SG_GGUF_ALIGNMENT = 32,         /* unless general.alignment says otherwise */
    SG_GGUF_ALIGNMENT_MAX = 1 << 20,
    SG_GGUF_MAX_KEYS = 16384,       /* real files have under 100 */
    SG_GGUF_MAX_TENSORS = 1 << 20,  /* real files have under 10,000 */
    SG_GGUF_MAX_NAME = 1024,        /* bytes of a key or a tensor's name */
    SG_GGUF_MAX_META = 128 << 20,   /* bytes of the metadata section; vocabularies of 262,144 tokens take 15 MB */
};

/* A tensor to be written. */
typedef struct sg_gguf_tensor {
    const char *name;
    sg_dtype type;
    int ndim;
    uint64_t ne[4]; /* ne[0] contiguous and a whole number of blocks; 1 from ndim on */
} sg_gguf_tensor;

/* Makes rows [row, row + nrow) of tensor number `tensor`, nrow * sg_dtype_row_bytes bytes, into dst.  Rows
 * are asked for in order, a few MiB at a time. */
typedef sg_status sg_gguf_rows_fn(void *arg, size_t tensor, uint64_t row, uint64_t nrow, void *dst, sg_error *err);

/* Write a GGUF file of version 3: all of `meta` in its order, then the tensors.  Alignment is
 * general.alignment or 32.  Values keep the wire type they had in a file; those that have none become
 * u32 (u64, i32, i64 where they must), f32, bool, string.  The file appears whole under `path` or not at
 * all.  Errors: those of base/file.h, those of `rows`, SG_E_ARGUMENT for a tensor that cannot be. */
sg_status sg_gguf_write(const char *path, const sg_dict *meta, const sg_gguf_tensor *tensors, size_t n,
                        sg_gguf_rows_fn *rows, void *arg, sg_error *err);

#endif
