/* text/read_spm.c - SentencePiece models (a protobuf message; sentencepiece_model.proto).
 *
 *     ModelProto      1: SentencePiece (repeated)  2: TrainerSpec  3: NormalizerSpec
 *     SentencePiece   1: piece  2: score (float)  3: type (1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte)
 *     TrainerSpec     3: model_type (1 unigram, 2 BPE)  35: byte_fallback  40-43: unk, bos, eos, pad ids  44: unk_surface
 *     NormalizerSpec  2: precompiled_charsmap  3: add_dummy_prefix  4: remove_extra_whitespaces
 */
#include "text/readers.h"

#include "base/heap.h"
#include "base/protobuf.h"

#include <math.h>
#include <string.h>

typedef struct spec {
    uint64_t model_type;
    int64_t unk, bos, eos, pad;
    bool byte_fallback, prefix, squeeze;
    sg_protobuf charsmap, surface; /* surface: what the unknown piece shows */
    size_t npiece;
} spec;

static const char what[] = "SentencePiece model";

static sg_status read_trainer(sg_protobuf m, spec *s, sg_error *err)
{
    while (m.p < m.end) {
        sg_protobuf_field f = {0};
        SG_TRY(sg_protobuf_next(&m, &f, what, err));
        switch (f.number) {
        case 3:
            s->model_type = f.value;
            break;
        case 35:
            s->byte_fallback = f.value;
            break;
        case 40:
            s->unk = (int32_t)f.value;
            break;
        case 41:
            s->bos = (int32_t)f.value;
            break;
        case 42:
            s->eos = (int32_t)f.value;
            break;
        case 43:
            s->pad = (int32_t)f.value;
            break;
        case 44:
            s->surface = f.body;
            break;
        default:
            break;
        }
    }
    return SG_OK;
}

static sg_status read_normalizer(sg_protobuf m, spec *s, sg_error *err)
{
    while (m.p < m.end) {
        sg_protobuf_field f = {0};
        SG_TRY(sg_protobuf_next(&m, &f, what, err));
        if (f.number == 2)
            s->charsmap = f.body;
        else if (f.number == 3)
            s->prefix = f.value;
        else if (f.number == 4)
            s->squeeze = f.value;
    }
    return SG_OK;
}

/* First pass: the settings, and how many pieces there are. */
static sg_status read_spec(sg_protobuf m, spec *s, sg_error *err)
{
    *s = (spec){.model_type = 1, .unk = 0, .bos = 1, .eos = 2, .pad = -1, .prefix = true, .squeeze = true};
    while (m.p < m.end) {
        sg_protobuf_field f = {0};
        SG_TRY(sg_protobuf_next(&m, &f, what, err));
        if (f.number == 1)
            s->npiece++;
        else if (f.number == 2)
            SG_TRY(read_trainer(f.body, s, err));
        else if (f.number == 3)
            SG_TRY(read_normalizer(f.body, s, err));
    }
    if (s->npiece == 0)
        return sg_fail(err, SG_E_FORMAT, "SentencePiece model: no pieces");
    if (s->model_type != 1 && s->model_type != 2)
        return sg_fail(err, SG_E_UNSUPPORTED, "SentencePiece model: model_type %llu, known are 1 (unigram) and 2 (BPE)",
                       (unsigned long long)s->model_type);
    return SG_OK;
}

/* The unknown piece shows a surface of its own in decoded text. */
static sg_status put_unknown(sg_tokenizer *t, uint32_t id, const char *s, size_t n, sg_protobuf surface, sg_error *err)
{
    const unsigned flags = SG_PIECE_SPECIAL | SG_PIECE_ADDED | SG_PIECE_UNKNOWN;
    const char *shown = surface.p ? (const char *)surface.p : " \xe2\x81\x87 ";
    SG_TRY(sg_vocab_put(&t->vocab, id, shown, surface.p ? (size_t)(surface.end - surface.p) : strlen(shown), flags, err));
    return n > SG_ADDED_LENGTH_MAX ? SG_OK : sg_tokenizer_add(t, s, n, id, SG_ADDED_SPECIAL, err);
}

static sg_status put_piece(sg_tokenizer *t, uint32_t id, const char *s, size_t n, float score, uint64_t type, sg_protobuf surface,
                           sg_error *err)
{
    enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };
    if (isnan(score))
        return sg_fail(err, SG_E_FORMAT, "SentencePiece model: the score of piece %u is not a number", id);
    if (t->model == SG_TEXT_UNIGRAM)
        t->score[id] = (double)score;
    else
        t->vocab.score[id] = score;
    switch (type) {
    case NORMAL:
        return sg_read_bar_piece(t, id, s, n, SG_PIECE_MATCH, err);
    case UNUSED:
        return sg_read_bar_piece(t, id, s, n, 0, err);
    case UNKNOWN:
        return put_unknown(t, id, s, n, surface, err);
    case CONTROL:
        SG_TRY(sg_vocab_put(&t->vocab, id, s, n, SG_PIECE_SPECIAL | SG_PIECE_ADDED, err));
        return n > SG_ADDED_LENGTH_MAX ? SG_OK : sg_tokenizer_add(t, s, n, id, SG_ADDED_SPECIAL, err);
    case USER_DEFINED:
        SG_TRY(sg_read_bar_piece(t, id, s, n, SG_PIECE_MATCH | SG_PIECE_ADDED, err));
        return n > SG_ADDED_LENGTH_MAX ? SG_OK
                                       : sg_tokenizer_add(t, sg_vocab_piece(&t->vocab, id), t->vocab.len[id], id,
                                                          SG_ADDED_NORMALIZED, err);
    case BYTE:
        if (sg_byte_token(s, n) >= 0)
            return sg_vocab_put(&t->vocab, id, (const char[]){(char)sg_byte_token(s, n)}, 1, SG_PIECE_BYTE, err);
        return sg_fail(err, SG_E_FORMAT, "SentencePiece model: piece %u is to be a byte, written <0x41>", id);
    default:
        return sg_fail(err, SG_E_FORMAT, "SentencePiece model: piece %u has type %llu, known are 1 to 6", id, (unsigned long long)type);
    }
}

static sg_status read_piece(sg_tokenizer *t, sg_protobuf m, uint32_t id, sg_protobuf surface, sg_error *err)
{
    sg_protobuf piece = {0};
    float score = 0;
    uint64_t type = 1;
    while (m.p < m.end) {
        sg_protobuf_field f = {0};
        SG_TRY(sg_protobuf_next(&m, &f, what, err));
        if (f.number == 1)
            piece = f.body;
        else if (f.number == 2)
            memcpy(&score, &f.value, 4);
        else if (f.number == 3)
            type = f.value;
    }
    return put_piece(t, id, piece.p ? (const char *)piece.p : "", (size_t)(piece.end - piece.p), score, type, surface, err);
}

static sg_status name_ids(sg_tokenizer *t, const spec *s, sg_error *err)
{
    const int64_t from[] = {s->unk, s->bos, s->eos, s->pad};
    sg_token *const to[] = {&t->unk, &t->bos, &t->eos, &t->pad};
    for (int i = 0; i < 4; i++)
        if (from[i] >= 0 && (uint64_t)from[i] < t->vocab.n)
            *to[i] = (sg_token)from[i];
    return t->bos >= 0 ? sg_tokens_add(&t->before, t->bos, err) : SG_OK;
}

static sg_status read_model(sg_tokenizer *t, sg_protobuf m, sg_error *err)
{
    spec s = {0};
    SG_TRY(read_spec(m, &s, err));
    t->model = s.model_type == 1 ? SG_TEXT_UNIGRAM : SG_TEXT_SPM;
    t->byte_fallback = t->fuse_unknown = true;
    t->decoder = s.prefix ? SG_DECODE_BLANK : SG_DECODE_BYTES;
    t->strip_blanks = s.squeeze;
    SG_TRY(sg_vocab_init(&t->vocab, s.npiece, err));
    void *score = t->model == SG_TEXT_UNIGRAM ? (void *)(t->score = sg_calloc(s.npiece, sizeof *t->score))
                                              : (void *)(t->vocab.score = sg_calloc(s.npiece, sizeof *t->vocab.score));
    if (!score)
        return sg_fail_nomem(err, "the vocabulary");
    uint32_t id = 0;
    while (m.p < m.end) {
        sg_protobuf_field f = {0};
        SG_TRY(sg_protobuf_next(&m, &f, what, err));
        if (f.number == 1)
            SG_TRY(read_piece(t, f.body, id++, s.surface, err));
    }
    if (s.charsmap.p < s.charsmap.end)
        SG_TRY(sg_norms_add_charsmap(&t->norms, s.charsmap.p, (size_t)(s.charsmap.end - s.charsmap.p), err));
    if (s.squeeze)
        SG_TRY(sg_norms_add(&t->norms, (sg_norm){.kind = SG_NORM_SQUEEZE}, err));
    SG_TRY(sg_read_sentencepiece_steps(t, s.prefix, err));
    SG_TRY(name_ids(t, &s, err));
    return sg_tokenizer_finish(t, err);
}

sg_status sg_tokenizer_new_from_spm(sg_tokenizer **out, const void *data, size_t n, sg_error *err)
{
    sg_tokenizer *t;
    SG_TRY(sg_tokenizer_new(&t, err));
    sg_status st = read_model(t, (sg_protobuf){data, (const unsigned char *)data + n}, err);
    if (st == SG_OK)
        *out = t;
    else
        sg_tokenizer_free(t);
    return st;
}
