/* base/sentencepiece.h - walking a SentencePiece model file (a protobuf message; sentencepiece_model.proto).
 *
 *     ModelProto      1: SentencePiece (repeated)  2: TrainerSpec  3: NormalizerSpec
 *     SentencePiece   1: piece  2: score (float)  3: type
 *     TrainerSpec     3: model_type (1 unigram, 2 BPE)  35: byte_fallback  40-43: unk, bos, eos, pad ids  44: unk_surface
 *     NormalizerSpec  2: precompiled_charsmap  3: add_dummy_prefix  4: remove_extra_whitespaces
 */
#ifndef SG_BASE_SENTENCEPIECE_H
#define SG_BASE_SENTENCEPIECE_H

#include "base/protobuf.h"

#include <stdbool.h>
#include <stddef.h>

enum { SG_SPM_UNIGRAM = 1, SG_SPM_BPE = 2 };

/* Kinds of pieces. */
enum { SG_SPM_NORMAL = 1, SG_SPM_UNKNOWN, SG_SPM_CONTROL, SG_SPM_USER_DEFINED, SG_SPM_UNUSED, SG_SPM_BYTE };

/* The settings; bytes are borrowed from the message. */
typedef struct sg_spm {
    uint64_t model_type; /* SG_SPM_UNIGRAM or SG_SPM_BPE */
    int64_t unk, bos, eos, pad; /* ids; -1: none */
    bool byte_fallback, prefix, squeeze;
    sg_protobuf charsmap, surface; /* surface: what the unknown piece shows; p is NULL without */
    size_t npiece;
} sg_spm;

typedef struct sg_spm_piece {
    const char *text; /* borrowed, n bytes */
    size_t n;
    float score;   /* a number */
    uint64_t type; /* SG_SPM_NORMAL to SG_SPM_BYTE */
} sg_spm_piece;

/* Read the settings and count the pieces.  SG_E_FORMAT for what is malformed or has no piece, SG_E_UNSUPPORTED for other
 * kinds of models; *spm is then unspecified. */
sg_status sg_spm_read(sg_spm *spm, sg_protobuf model, sg_error *err);

/* The next piece of a message that sg_spm_read has accepted; `id` is its number, for errors.  *more is false at the end, and
 * *piece then untouched. */
sg_status sg_spm_next(sg_protobuf *model, size_t id, sg_spm_piece *piece, bool *more, sg_error *err);

#endif
