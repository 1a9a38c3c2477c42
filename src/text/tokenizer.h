/* text/tokenizer.h - what a tokenizer is made of.  Private to src/text.
 *
 *     text -> added tokens | text between -> normalise -> cut into words -> model -> ids
 *
 * Filled in by one of the readers (read_*.c), finished by sg_tokenizer_finish, and immutable from then on but
 * for the list of idle encoders.
 */
#ifndef SG_TEXT_TOKENIZER_H
#define SG_TEXT_TOKENIZER_H

#include "text/added.h"
#include "text/bpe.h"
#include "text/normalize.h"
#include "text/pretok.h"
#include "text/vocab.h"
#include "text/words.h"

#include <pthread.h>

typedef enum sg_text_model {
    SG_TEXT_BPE,       /* merges with ranks; over bytes (byte_level) or characters */
    SG_TEXT_SPM,       /* merges by score over characters */
    SG_TEXT_UNIGRAM,
    SG_TEXT_WORDPIECE,
} sg_text_model;

typedef enum sg_decoder {
    SG_DECODE_BYTES,     /* pieces one behind the other (they hold what they show) */
    SG_DECODE_BLANK,     /* the same, and one blank is dropped from the first token */
    SG_DECODE_WORDPIECE, /* a blank before each piece that does not continue a word */
    SG_DECODE_WORDS,     /* a blank between all tokens (no decoder) */
} sg_decoder;

typedef struct sg_encoder sg_encoder;

struct sg_tokenizer {
    sg_text_model model;
    sg_vocab vocab;
    sg_merges merges; /* SG_TEXT_BPE */
    sg_trie trie;     /* SG_TEXT_UNIGRAM: pieces; SG_TEXT_WORDPIECE: pieces below the two roots */
    uint32_t root[2]; /* WORDPIECE: of words, of what continues them */
    double *score;    /* UNIGRAM, [n] */
    double unknown_score;
    bool byte_level, ignore_merges, byte_fallback, fuse_unknown;
    bool split_blanks;    /* words may be cut before a blank, but where joins[] says no */
    bool joins[256];      /* some piece has this byte right before a blank */
    int32_t byte_id[256]; /* the token of a single byte, -1 */
    size_t word_max;      /* WORDPIECE: characters a word may have */

    sg_added raw, normalized;
    sg_norms norms;
    sg_pretoks pretoks;

    sg_decoder decoder;
    bool clean_up;  /* WORDPIECE: no blanks before punctuation */
    bool strip_blanks; /* BLANK: from every token before the first that shows more */
    bool show_bars; /* pieces hold ▁ for a blank (usually they hold the blank itself, see read_json.c) */

    sg_tokens before, after; /* what SG_ENCODE_AROUND adds */
    sg_token bos, eos, eot, unk, pad, sep, mask;

    pthread_mutex_t lock; /* guards idle */
    sg_encoder *idle;
};

/* An empty tokenizer for a reader to fill: nothing set, ids -1. */
sg_status sg_tokenizer_new(sg_tokenizer **t, sg_error *err);

/* Build what the readers need not: maps, tries, tables, checks. */
sg_status sg_tokenizer_finish(sg_tokenizer *t, sg_error *err);

/* Readers.  Each makes a finished tokenizer.  `config` is the text of tokenizer_config.json or NULL. */
sg_status sg_tokenizer_new_from_dict(sg_tokenizer **t, const struct sg_dict *meta, sg_error *err);
sg_status sg_tokenizer_new_from_json(sg_tokenizer **t, const char *text, size_t n, const char *config, size_t nconfig,
                                     sg_error *err);
struct json_t;
sg_status sg_tokenizer_new_from_values(sg_tokenizer **t, const struct json_t *root, const struct json_t *config, sg_error *err);
sg_status sg_tokenizer_new_from_spm(sg_tokenizer **t, const void *data, size_t n, sg_error *err);
sg_status sg_tokenizer_new_from_llama2c(sg_tokenizer **t, const void *data, size_t n, sg_error *err);

/* Register an added token: in the list it belongs to. */
sg_status sg_tokenizer_add(sg_tokenizer *t, const char *s, size_t n, uint32_t id, unsigned flags, sg_error *err);

/* "The text of byte token <0x41>" is 0x41; -1 for anything else. */
int sg_byte_token(const char *s, size_t n);

/* GPT-2's alphabet: write the bytes that s stands for; false when s is not written in it. */
bool sg_bytes_from_gpt2(const char *s, size_t n, sg_buf *out);

/* Whether models end turns or texts with a token of this name. */
bool sg_is_end_name(const char *s);

/* Mark what ends a reply by the names that models use for it. */
void sg_tokenizer_mark_ends(sg_tokenizer *t);

/* Scratch memory and cache of one encoding thread. */
sg_status sg_encoder_take(const sg_tokenizer *t, sg_encoder **e, sg_error *err);
void sg_encoder_give(const sg_tokenizer *t, sg_encoder *e);
void sg_encoder_free(sg_encoder *e);
void sg_encoder_forget(sg_encoder *e); /* empty its cache */

#endif
