/* base/dict.h - an ordered dictionary of typed values, the neutral form of model metadata.
 *
 * A GGUF header, a Hugging Face config.json and a llama2.c header are all turned into one of these,
 * with GGUF's key names ("llama.block_count", "tokenizer.ggml.tokens"), so that nothing above `format`
 * knows where a model came from.  Keys and values are copied in.  Written by one thread, then read by
 * any.
 */
#ifndef SG_BASE_DICT_H
#define SG_BASE_DICT_H

#include "base/error.h"

typedef enum sg_kind {
    SG_KIND_U64, /* all unsigned integers */
    SG_KIND_I64, /* all signed integers */
    SG_KIND_F64, /* all floats */
    SG_KIND_BOOL,
    SG_KIND_STR,
    SG_KIND_ARRAY, /* of one of the kinds above; nested arrays are refused by the readers */
} sg_kind;

typedef struct sg_str {
    const char *data; /* followed by a NUL that len does not count; may hold NULs inside */
    size_t len;
} sg_str;

typedef struct sg_array {
    sg_kind kind; /* of the elements */
    size_t n;
    union {
        const uint64_t *u; /* SG_KIND_U64 */
        const int64_t *i;  /* SG_KIND_I64 */
        const double *f;   /* SG_KIND_F64 */
        const bool *b;     /* SG_KIND_BOOL */
        const sg_str *s;   /* SG_KIND_STR */
    };
} sg_array;

typedef struct sg_value {
    sg_kind kind;
    uint32_t wire; /* what the file called the type (GGUF's number), 0 when it did not; used by writers */
    uint32_t wire_element;
    union {
        uint64_t u;
        int64_t i;
        double f;
        bool b;
        sg_str s;
        sg_array a;
    };
} sg_value;

typedef struct sg_dict sg_dict;

/* NULL when out of memory. */
sg_dict *sg_dict_new(void);
void sg_dict_free(sg_dict *d);

/* Setting a key again replaces its value and keeps its place.  The failures are SG_E_NOMEM only. */
sg_status sg_dict_set(sg_dict *d, const char *key, const sg_value *value, sg_error *err); /* deep copy */
sg_status sg_dict_set_u64(sg_dict *d, const char *key, uint64_t v, sg_error *err);
sg_status sg_dict_set_i64(sg_dict *d, const char *key, int64_t v, sg_error *err);
sg_status sg_dict_set_f64(sg_dict *d, const char *key, double v, sg_error *err);
sg_status sg_dict_set_bool(sg_dict *d, const char *key, bool v, sg_error *err);
sg_status sg_dict_set_str(sg_dict *d, const char *key, const char *s, size_t n, sg_error *err);
sg_status sg_dict_set_array(sg_dict *d, const char *key, const sg_array *a, sg_error *err); /* deep copy */

/* Remove a key; nothing happens when it is not there. */
void sg_dict_remove(sg_dict *d, const char *key);

size_t sg_dict_count(const sg_dict *d);
const char *sg_dict_key(const sg_dict *d, size_t i);        /* i < count, in order of insertion */
const sg_value *sg_dict_at(const sg_dict *d, size_t i);
const sg_value *sg_dict_find(const sg_dict *d, const char *key); /* NULL when absent */

/* Typed reading.  Each gives `fallback` when the key is absent; a value of another kind that does not
 * convert without loss (a string, a negative number for u64, a fraction) is SG_E_FORMAT naming key and
 * kinds.  The *_need forms fail with SG_E_FORMAT when the key is absent. */
sg_status sg_dict_u64(const sg_dict *d, const char *key, uint64_t fallback, uint64_t *v, sg_error *err);
sg_status sg_dict_f64(const sg_dict *d, const char *key, double fallback, double *v, sg_error *err);
sg_status sg_dict_bool(const sg_dict *d, const char *key, bool fallback, bool *v, sg_error *err);
sg_status sg_dict_str(const sg_dict *d, const char *key, const char *fallback, sg_str *v, sg_error *err);
sg_status sg_dict_need_u64(const sg_dict *d, const char *key, uint64_t *v, sg_error *err);
sg_status sg_dict_need_f64(const sg_dict *d, const char *key, double *v, sg_error *err);
sg_status sg_dict_need_str(const sg_dict *d, const char *key, sg_str *v, sg_error *err);

/* An array of the kind asked for, or *a = NULL when the key is absent; another kind is SG_E_FORMAT. */
sg_status sg_dict_array(const sg_dict *d, const char *key, sg_kind kind, const sg_array **a, sg_error *err);

#endif
