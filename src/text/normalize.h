/* text/normalize.h - what is done to text before it is cut up: a list of steps.  Built by one thread, then
 * used by any, each with its own scratch. */
#ifndef SG_TEXT_NORMALIZE_H
#define SG_TEXT_NORMALIZE_H

#include "text/pretok.h"
#include "text/unicode.h"

typedef enum sg_norm_kind {
    SG_NORM_UNICODE,     /* form */
    SG_NORM_LOWERCASE,
    SG_NORM_ACCENTS,     /* StripAccents: drops \p{Mn} */
    SG_NORM_STRIP,       /* white space at the start (left) and the end (right) */
    SG_NORM_REPLACE,     /* string or regex by content */
    SG_NORM_PREPEND,     /* content, unless the text is empty */
    SG_NORM_BERT_CLEAN,  /* controls dropped, white space to blanks */
    SG_NORM_BERT_CHINESE, /* blanks around ideographs */
    SG_NORM_NMT,         /* SentencePiece's control and space rules */
    SG_NORM_CHARSMAP,    /* SentencePiece's precompiled table */
    SG_NORM_SQUEEZE,     /* SentencePiece: no blanks at the ends, one between words */
} sg_norm_kind;

/* A table compiled by SentencePiece: a double-array trie of what to replace, and the replacements. */
typedef struct sg_charsmap {
    uint32_t *unit;
    size_t nunit;
    char *text; /* NUL-terminated strings */
    size_t ntext;
} sg_charsmap;

typedef struct sg_norm {
    sg_norm_kind kind;
    sg_normal_form form;
    bool left, right;
    pcre2_code *regex; /* REPLACE: NULL = the string */
    char *string;
    size_t nstring;
    char *content;
    size_t ncontent;
    sg_charsmap map;
} sg_norm;

typedef struct sg_norms {
    sg_norm step[16];
    size_t n;
} sg_norms;

void sg_norms_fini(sg_norms *l);

/* Append a step; the list owns what it points at, also when this fails. */
sg_status sg_norms_add(sg_norms *l, sg_norm step, sg_error *err);
sg_status sg_norms_add_replace(sg_norms *l, const char *string, size_t nstring, bool regex, const char *content,
                               size_t ncontent, sg_error *err);
sg_status sg_norms_add_prepend(sg_norms *l, const char *content, size_t ncontent, sg_error *err);
sg_status sg_norms_add_charsmap(sg_norms *l, const void *blob, size_t n, sg_error *err);

typedef struct sg_norm_scratch {
    sg_buf text[2];
} sg_norm_scratch;
void sg_norm_scratch_fini(sg_norm_scratch *s);

/* Normalise well-formed text[0..n).  *out is the text itself or lies in the scratch.  A result longer than 64 KiB plus
 * 32 bytes for each of the text is SG_E_LIMIT. */
sg_status sg_norms_run(const sg_norms *l, sg_norm_scratch *s, sg_regex_scratch *re, const char *text, size_t n,
                       const char **out, size_t *nout, sg_error *err);

#endif
