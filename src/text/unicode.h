/* text/unicode.h - what tokenizers ask about characters.
 *
 * One byte of classes for each code point, from utf8proc, in a table made at first use; so a scanner
 * spends one load on a character.  Any thread.
 */
#ifndef SG_TEXT_UNICODE_H
#define SG_TEXT_UNICODE_H

#include "base/buf.h"
#include "base/error.h"

enum {
    SG_CHAR_LOWER = 1,   /* \p{Ll} */
    SG_CHAR_UPPER = 2,   /* \p{Lu} \p{Lt} */
    SG_CHAR_OTHER = 4,   /* \p{Lm} \p{Lo} */
    SG_CHAR_MARK = 8,    /* \p{M} */
    SG_CHAR_NUMBER = 16, /* \p{N} */
    SG_CHAR_SPACE = 32,  /* White_Space */
    SG_CHAR_PUNCT = 64,  /* \p{P} */
    SG_CHAR_SYMBOL = 128, /* \p{S} */
    SG_CHAR_LETTER = 7,
};

/* Two levels: block of 256 code points, then the point. */
extern const uint8_t *sg_unicode_block[0x1100];

/* Make the table; every entry point of the tokenizer does it before anything else. */
void sg_unicode_init(void);

static inline unsigned sg_unicode_class(uint32_t cp) { return cp < 0x110000 ? sg_unicode_block[cp >> 8][cp & 255] : 0; }
static inline bool sg_unicode_is_space(uint32_t cp) { return sg_unicode_class(cp) & SG_CHAR_SPACE; }
bool sg_unicode_is_word(uint32_t cp); /* letter, mark, number or connector punctuation */

bool sg_unicode_is_control(uint32_t cp);     /* \p{Cc} \p{Cf} \p{Co} */
bool sg_unicode_is_nonspacing(uint32_t cp);  /* \p{Mn} */
bool sg_unicode_is_chinese(uint32_t cp);     /* the CJK ideographs that BERT sets apart */
bool sg_unicode_is_bert_punct(uint32_t cp);  /* \p{P} and all ASCII punctuation */

/* Append the lower-case form of cp (one or two characters). */
void sg_unicode_lower(sg_buf *out, uint32_t cp);

typedef enum sg_normal_form { SG_NFC, SG_NFD, SG_NFKC, SG_NFKD } sg_normal_form;

/* Append the normal form of well-formed s[0..n).  True when everything was in that form already; then
 * nothing is appended. */
sg_status sg_unicode_normalize(sg_buf *out, const char *s, size_t n, sg_normal_form form, bool *same, sg_error *err);

#endif
