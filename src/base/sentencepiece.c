/* base/sentencepiece.c - the one walk over a SentencePiece message, for the tokenizer (text/read_spm.c) and for the keys that
 * convert writes (format/tokenizer_spm.c).
 *
 * Two passes: the settings, which may stand behind the pieces, with a count; then the pieces one by one, so that the reader
 * decides where they go.  What is checked here is what both need: the kind of model, scores that are numbers, known types.
 */
#include "base/sentencepiece.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const char what[] = "SentencePiece model";

static sg_status read_trainer(sg_spm *s, sg_protobuf m, sg_error *err)
{
    int64_t *const ids[] = {&s->unk, &s->bos, &s->eos, &s->pad};
    while (m.p < m.end) {
        sg_protobuf_field f = {0};
        SG_TRY(sg_protobuf_next(&m, &f, what, err));
        if (f.number == 3)
            s->model_type = f.value;
        else if (f.number == 35)
            s->byte_fallback = f.value;
        else if (f.number >= 40 && f.number <= 43)
            *ids[f.number - 40] = (int32_t)f.value;
        else if (f.number == 44)
            s->surface = f.body;
    }
    return SG_OK;
}

static sg_status read_normalizer(sg_spm *s, sg_protobuf m, sg_error *err)
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

sg_status sg_spm_read(sg_spm *s, sg_protobuf m, sg_error *err)
{
    *s = (sg_spm){.model_type = SG_SPM_UNIGRAM, .unk = 0, .bos = 1, .eos = 2, .pad = -1, .prefix = true, .squeeze = true};
    while (m.p < m.end) {
        sg_protobuf_field f = {0};
        SG_TRY(sg_protobuf_next(&m, &f, what, err));
        if (f.number == 1)
            s->npiece++;
        else if (f.number == 2)
            SG_TRY(read_trainer(s, f.body, err));
        else if (f.number == 3)
            SG_TRY(read_normalizer(s, f.body, err));
    }
    if (s->npiece == 0)
        return sg_fail(err, SG_E_FORMAT, "%s: no pieces", what);
    if (s->model_type != SG_SPM_UNIGRAM && s->model_type != SG_SPM_BPE)
        return sg_fail(err, SG_E_UNSUPPORTED, "%s: model_type %" PRIu64 ", known are 1 (unigram) and 2 (BPE)", what, s->model_type);
    return SG_OK;
}

static sg_status read_piece(sg_spm_piece *piece, sg_protobuf m, size_t id, sg_error *err)
{
    sg_spm_piece p = {.text = "", .type = SG_SPM_NORMAL};
    while (m.p < m.end) {
        sg_protobuf_field f = {0};
        SG_TRY(sg_protobuf_next(&m, &f, what, err));
        if (f.number == 1 && f.body.p) {
            p.text = (const char *)f.body.p;
            p.n = (size_t)(f.body.end - f.body.p);
        } else if (f.number == 2)
            memcpy(&p.score, &f.value, sizeof p.score);
        else if (f.number == 3)
            p.type = f.value;
    }
    if (isnan(p.score))
        return sg_fail(err, SG_E_FORMAT, "%s: the score of piece %zu is not a number", what, id);
    if (p.type < SG_SPM_NORMAL || p.type > SG_SPM_BYTE)
        return sg_fail(err, SG_E_FORMAT, "%s: piece %zu has type %" PRIu64 ", known are 1 to 6", what, id, p.type);
    *piece = p;
    return SG_OK;
}

sg_status sg_spm_next(sg_protobuf *m, size_t id, sg_spm_piece *piece, bool *more, sg_error *err)
{
    *more = false;
    while (m->p < m->end) {
        sg_protobuf_field f = {0};
        SG_TRY(sg_protobuf_next(m, &f, what, err));
        if (f.number == 1) {
            *more = true;
            return read_piece(piece, f.body, id, err);
        }
    }
    return SG_OK;
}
