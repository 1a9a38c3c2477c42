/* format/tokenizer_wordlist.h - a vocabulary on its way into GGUF's tokenizer.ggml.* keys.  Private to format/. */
#ifndef SG_FORMAT_TOKENIZER_WORDLIST_H
#define SG_FORMAT_TOKENIZER_WORDLIST_H

#include "base/dict.h"
#include "base/json.h"

/* tokenizer.ggml.token_type; SentencePiece's own numbers. */
enum {
    SG_WORD_NORMAL = 1,
    SG_WORD_UNKNOWN = 2,
    SG_WORD_CONTROL = 3,
    SG_WORD_USER = 4,
    SG_WORD_UNUSED = 5,
    SG_WORD_BYTE = 6,
};

/* Arrays of [n]; an id without a word has pieces[id].data NULL.  The pieces' bytes are borrowed. */
typedef struct sg_wordlist {
    size_t n;
    sg_str *pieces;
    int64_t *types;
    double *scores;
    char *text; /* bytes behind pieces that had to be made */
} sg_wordlist;

/* n words that are not there yet.  SG_E_LIMIT, SG_E_NOMEM. */
sg_status sg_wordlist_init(sg_wordlist *v, uint64_t n, sg_error *err);
void sg_wordlist_fini(sg_wordlist *v);

/* Name the ids that have none "[PAD7]", unused: rows of the embedding that no token has. */
sg_status sg_wordlist_fill_holes(sg_wordlist *v, sg_error *err);

/* tokens, token_type and, if asked for, scores into the metadata. */
sg_status sg_wordlist_set(sg_dict *d, const sg_wordlist *v, bool scores, sg_error *err);

sg_status sg_wordlist_set_str(sg_dict *d, const char *key, const char *s, sg_error *err);

/* The vocabulary and the rules of a tokenizer.json with a Unigram model, parsed; added tokens are the caller's. */
sg_status sg_tokenizer_meta_unigram(sg_dict *meta, json_t *root, sg_wordlist *v, sg_error *err);

/* "<0x41>" */
bool sg_word_is_byte(const char *s, size_t n);

#endif
