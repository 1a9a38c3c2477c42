/* text/added.h - tokens that are found in the text before the model sees it: special tokens, user-defined
 * ones.  At each place the longest counts (leftmost-longest, as the tokenizers library does it).
 *
 * Built by one thread, then used by any.
 */
#ifndef SG_TEXT_ADDED_H
#define SG_TEXT_ADDED_H

#include "text/trie.h"

enum {
    SG_ADDED_SPECIAL = 1, /* matched only when special tokens are asked for */
    SG_ADDED_LSTRIP = 2,  /* swallows white space before it */
    SG_ADDED_RSTRIP = 4,  /* and after it */
    SG_ADDED_WORD = 8,    /* only where no word character stands beside it */
    SG_ADDED_NORMALIZED = 16, /* looked for in the normalised text (the caller sorts these out) */
};

enum { SG_ADDED_LENGTH_MAX = 1024 };

typedef struct sg_added_token {
    uint32_t id;
    uint8_t flags;
} sg_added_token;

typedef struct sg_added {
    sg_trie trie; /* value: index into token */
    sg_added_token *token;
    size_t n, cap;
    int only;           /* the one byte that all of them start with, -1 = several */
    bool has_ordinary;  /* one at least is not special */
} sg_added;

sg_status sg_added_init(sg_added *a, sg_error *err);
void sg_added_fini(sg_added *a);
sg_status sg_added_put(sg_added *a, const char *s, size_t n, uint32_t id, unsigned flags, sg_error *err);

/* The first match in text[from..end); false when there is none.  It covers [*start, *stop). */
bool sg_added_next(const sg_added *a, const char *text, size_t from, size_t end, bool special, size_t *start, size_t *stop,
                   uint32_t *id);

#endif
