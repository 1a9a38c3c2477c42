/* format/safetensors.h - the directory of safetensors files (huggingface/safetensors, format description).
 *
 * Only the header is read; the tensors stay where they are in the mapped file.
 */
#ifndef SG_FORMAT_SAFETENSORS_H
#define SG_FORMAT_SAFETENSORS_H

#include "base/dtype.h"
#include "base/error.h"
#include "base/file.h"

enum { SG_STORED_DIMS = 8, SG_STORED_NONE = -1 };

/* One stored tensor.  shape[0] is the outermost dimension, as Python prints it. */
typedef struct sg_stored {
    char *name;
    const char *dtype; /* "BF16"; static */
    int type;          /* the sg_dtype with the same bytes, or SG_STORED_NONE (U8, BOOL, F8_E4M3, ...) */
    int ndim;          /* 0 for a scalar */
    uint64_t shape[SG_STORED_DIMS];
    const sg_file *file;
    size_t offset, bytes; /* in the file */
    bool used;            /* for the caller */
} sg_stored;

typedef struct sg_safetensors {
    sg_stored *tensors;
    size_t n, cap;
} sg_safetensors;

/* Add the tensors of one file.  Checks all that the format promises: header and offsets inside the file,
 * bytes equal to shape times type, no hole, no overlap, no name twice, string metadata.  On failure the
 * directory may hold part of the file's tensors. */
sg_status sg_safetensors_read(sg_safetensors *dir, const sg_file *file, sg_error *err);

/* Sort by name (after the last file); refuses a name that two files have. */
sg_status sg_safetensors_sort(sg_safetensors *dir, sg_error *err);

/* After sorting; NULL when there is none. */
sg_stored *sg_safetensors_find(const sg_safetensors *dir, const char *name);

/* Open one file, check all of the above, close it.  Errors begin with the path. */
sg_status sg_safetensors_check(const char *path, sg_error *err);

void sg_safetensors_fini(sg_safetensors *dir);

#endif
