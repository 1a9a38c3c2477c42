/* text/readers.h - what the readers of tokenizer formats share.  Private to src/text. */
#ifndef SG_TEXT_READERS_H
#define SG_TEXT_READERS_H

#include "text/tokenizer.h"

/* Add merge number `index`: two parts as they are written, which with their concatenation must be in
 * `names`.  `what` names the list in errors. */
sg_status sg_read_merge(sg_tokenizer *t, const sg_vocab *names, const char *left, size_t nleft, const char *right,
                        size_t nright, size_t index, const char *what, sg_error *err);

/* The same from "left right" with exactly one blank. */
sg_status sg_read_merge_line(sg_tokenizer *t, const sg_vocab *names, const char *s, size_t n, size_t index,
                             const char *what, sg_error *err);

/* Put a piece with every ▁ turned into a blank. */
sg_status sg_read_bar_piece(sg_tokenizer *t, uint32_t id, const char *s, size_t n, unsigned flags, sg_error *err);

/* Put a piece written in GPT-2's alphabet; one that is not stands for itself and is never matched. */
sg_status sg_read_gpt2_piece(sg_tokenizer *t, uint32_t id, const char *s, size_t n, unsigned flags, sg_error *err);

/* BERT's normaliser and pre-tokeniser. */
sg_status sg_read_bert_steps(sg_tokenizer *t, bool clean, bool chinese, bool accents, bool lowercase, sg_error *err);
sg_status sg_read_bert_words(sg_tokenizer *t, sg_error *err);

/* SentencePiece's: a blank in front, ▁ is a blank. */
sg_status sg_read_sentencepiece_steps(sg_tokenizer *t, bool prefix, sg_error *err);

/* The named way to cut words for GGUF's tokenizer.ggml.pre ("" = missing).  SG_E_UNSUPPORTED for a name that
 * we do not know. */
sg_status sg_read_pre(sg_tokenizer *t, const char *name, bool *add_bos, sg_error *err);

#endif
