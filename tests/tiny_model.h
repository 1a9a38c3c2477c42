/* tests/tiny_model.h - GGUF files of tiny models with random weights, made in the test that needs them. */
#ifndef SG_TESTS_TINY_MODEL_H
#define SG_TESTS_TINY_MODEL_H

#include "base/error.h"
#include "base/rng.h"

/* Families that tiny_model_write knows: "llama" (grouped queries, q4_0), "llama-window" (every layer slides over 24 positions),
 * "gemma3" (norms of q and k, two rope bases, windows), "qwen3moe" (experts), "deepseek2" (latent attention, shared expert), "gpt-oss"
 * (sinks, biases), "bert" (encoder).  All have 96 tokens and 64 dimensions. */
enum { TINY_VOCAB = 96, TINY_DIM = 64, TINY_CTX = 512 };

sg_status tiny_model_write(const char *path, const char *family, sg_rng *rng, sg_error *err);

#endif
