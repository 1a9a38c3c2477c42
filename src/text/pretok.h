/* text/pretok.h - pre-tokenisers: cutting text into the words that the model sees one by one.
 *
 * A list of steps; each cuts the pieces of the step before.  Built by one thread, then used by any, each
 * with its own scratch.
 */
#ifndef SG_TEXT_PRETOK_H
#define SG_TEXT_PRETOK_H

#include "base/buf.h"
#include "text/scan.h"

#include "base/error.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* What becomes of the delimiters (the matches). */
typedef enum sg_split_behavior {
    SG_SPLIT_ISOLATED,
    SG_SPLIT_REMOVED,
    SG_SPLIT_PREVIOUS, /* merged with the piece before */
    SG_SPLIT_NEXT,     /* merged with the piece after */
    SG_SPLIT_CONTIGUOUS, /* isolated, neighbours joined */
} sg_split_behavior;

typedef enum sg_pretok_kind {
    SG_PRETOK_SCAN,     /* a known pattern, isolated */
    SG_PRETOK_REGEX,
    SG_PRETOK_LITERAL,  /* split at a string */
    SG_PRETOK_CLASS,    /* split at single characters of a class */
    SG_PRETOK_PREFIX,   /* ByteLevel's blank before each piece */
    SG_PRETOK_METASPACE, /* blanks become ▁, one more ▁ in front; then cut before each ▁ when `cut` */
    SG_PRETOK_FIXED,    /* every `length` characters */
} sg_pretok_kind;

typedef enum sg_pretok_class {
    SG_CLASS_SPACE,       /* WhitespaceSplit */
    SG_CLASS_BERT_PUNCT,  /* BertPreTokenizer's second half, Punctuation */
    SG_CLASS_NUMBER,      /* Digits */
} sg_pretok_class;

typedef enum sg_prepend { SG_PREPEND_NEVER, SG_PREPEND_FIRST, SG_PREPEND_ALWAYS } sg_prepend;

typedef struct sg_pretok {
    sg_pretok_kind kind;
    sg_split_behavior behavior;
    bool invert; /* the delimiters are what does not match */
    sg_scan_fn *scan;
    pcre2_code *regex;
    char *literal;
    size_t nliteral; /* bytes; also SG_PRETOK_FIXED's length in characters */
    sg_pretok_class class;
    sg_prepend prepend;
    bool cut, blanks; /* METASPACE: the mark is a blank and not ▁ */
} sg_pretok;

typedef struct sg_pretoks {
    sg_pretok step[16];
    size_t n;
} sg_pretoks;

void sg_pretoks_fini(sg_pretoks *p);

/* Append a step.  Patterns that are known become scanners (ISOLATED only), others are compiled, SG_E_FORMAT naming the pattern when
 * they are no regular expressions and SG_E_UNSUPPORTED for what PCRE2 lacks. */
sg_status sg_pretoks_add(sg_pretoks *p, const sg_pretok *step, sg_error *err);
sg_status sg_pretoks_add_regex(sg_pretoks *p, const char *pattern, size_t n, sg_split_behavior behavior, bool invert,
                               sg_error *err);
sg_status sg_pretoks_add_literal(sg_pretoks *p, const char *literal, size_t n, sg_split_behavior behavior, bool invert,
                                 sg_error *err);

/* Compile a pattern of a tokenizer.json (Oniguruma's and Rust's dialect) for PCRE2. */
sg_status sg_regex_new(pcre2_code **code, const char *pattern, size_t n, sg_error *err);
void sg_regex_free(pcre2_code *code);

/* Find the next match in text[from..end), as if text ended at end and began at `begin`.  *found says whether. */
typedef struct sg_regex_scratch {
    pcre2_match_data *match;
    pcre2_match_context *limits;
} sg_regex_scratch;
void sg_regex_scratch_fini(sg_regex_scratch *s);
sg_status sg_regex_next(sg_regex_scratch *s, const pcre2_code *code, const char *text, size_t begin, size_t from, size_t end,
                        size_t *start, size_t *stop, bool *found, sg_error *err);

typedef struct sg_spans {
    sg_span *data;
    size_t n, cap;
} sg_spans;

/* Scratch of one thread. */
typedef struct sg_pretok_scratch {
    sg_spans spans[2];
    sg_buf text[2];
    sg_regex_scratch regex;
} sg_pretok_scratch;
void sg_pretok_scratch_fini(sg_pretok_scratch *s);

/* Cut text[0..n) (n < 2 GiB).  *out gives the pieces, *out_text what they index (the text itself, or a rewritten copy in the
 * scratch).  `first`: this is the start of the whole input. */
sg_status sg_pretoks_run(const sg_pretoks *p, sg_pretok_scratch *s, const char *text, size_t n, bool first,
                         const char **out_text, const sg_span **out, size_t *nout, sg_error *err);

#endif
