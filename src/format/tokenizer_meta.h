/* format/tokenizer_meta.h - tokenizer files as GGUF metadata (tokenizer.ggml.*), for writing GGUF.
 *
 * Running a model reads tokenizer.json itself, which says more than GGUF can; this is for files that other
 * engines load.
 */
#ifndef SG_FORMAT_TOKENIZER_META_H
#define SG_FORMAT_TOKENIZER_META_H

#include "format/weights.h"

/* From tokenizer.json and tokenizer_config.json beside a Hugging Face model: byte-level BPE ("gpt2"), BPE with
 * byte fallback ("llama"), WordPiece ("bert"), Unigram ("t5"); ids up to nvocab without a token become unused
 * ones.  Without tokenizer.json SentencePiece's tokenizer.model is taken, without both there is none.
 * SG_E_UNSUPPORTED for what GGUF cannot say. */
sg_status sg_tokenizer_meta_hf(sg_dict *meta, const sg_weights *w, uint64_t nvocab, sg_error *err);

/* From a SentencePiece model of at most nvocab pieces: "llama" for BPE, "t5" for unigram. */
sg_status sg_tokenizer_meta_spm(sg_dict *meta, const char *path, uint64_t nvocab, sg_error *err);

/* From llama2.c's tokenizer.bin with exactly nvocab pieces. */
sg_status sg_tokenizer_meta_llama2c(sg_dict *meta, const char *path, uint64_t nvocab, sg_error *err);

#endif
