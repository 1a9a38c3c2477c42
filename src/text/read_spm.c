/* text/read_spm.c - SentencePiece models (base/sentencepiece.h walks the message). */
#include "text/readers.h"

#include "base/heap.h"
#include "base/sentencepiece.h"

#include <string.h>

/* The unknown piece shows a surface of its own in decoded text. */
static sg_status put_unknown(sg_tokenizer *t, uint32_t id, const char *s, size_t n, sg_protobuf surface, sg_error *err)
{
    const unsigned flags = SG_PIECE_SPECIAL | SG_PIECE_ADDED | SG_PIECE_UNKNOWN;
    const char *shown = surface.p ? (const char *)surface.p : " \xe2\x81\x87 ";
    SG_TRY(sg_vocab_put(&t->vocab, id, shown, surface.p ? (size_t)(surface.end - surface.p) : strlen(shown), flags, err));
    return n > SG_ADDED_LENGTH_MAX ? SG_OK : sg_tokenizer_add(t, s, n, id, SG_ADDED_SPECIAL, err);
}

static sg_status put_piece(sg_tokenizer *t, uint32_t id, const sg_spm_piece *p, sg_protobuf surface, sg_error *err)
{
    const char *s = p->text;
    size_t n = p->n;
    if (t->model == SG_TEXT_UNIGRAM)
        t->score[id] = (double)p->score;
    else
        t->vocab.score[id] = p->score;
    switch (p->type) {
    case SG_SPM_NORMAL:
        return sg_read_bar_piece(t, id, s, n, SG_PIECE_MATCH, err);
    case SG_SPM_UNUSED:
        return sg_read_bar_piece(t, id, s, n, 0, err);
    case SG_SPM_UNKNOWN:
        return put_unknown(t, id, s, n, surface, err);
    case SG_SPM_CONTROL:
        SG_TRY(sg_vocab_put(&t->vocab, id, s, n, SG_PIECE_SPECIAL | SG_PIECE_ADDED, err));
        return n > SG_ADDED_LENGTH_MAX ? SG_OK : sg_tokenizer_add(t, s, n, id, SG_ADDED_SPECIAL, err);
    case SG_SPM_USER_DEFINED:
        SG_TRY(sg_read_bar_piece(t, id, s, n, SG_PIECE_MATCH | SG_PIECE_ADDED, err));
        return n > SG_ADDED_LENGTH_MAX ? SG_OK
                                       : sg_tokenizer_add(t, sg_vocab_piece(&t->vocab, id), t->vocab.len[id], id,
                                                          SG_ADDED_NORMALIZED, err);
    default: /* SG_SPM_BYTE */
        if (sg_byte_token(s, n) >= 0)
            return sg_vocab_put(&t->vocab, id, (const char[]){(char)sg_byte_token(s, n)}, 1, SG_PIECE_BYTE, err);
        return sg_fail(err, SG_E_FORMAT, "SentencePiece model: piece %u is to be a byte, written <0x41>", id);
    }
}

static sg_status name_ids(sg_tokenizer *t, const sg_spm *s, sg_error *err)
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
    sg_spm s = {0};
    SG_TRY(sg_spm_read(&s, m, err));
    t->model = s.model_type == SG_SPM_UNIGRAM ? SG_TEXT_UNIGRAM : SG_TEXT_SPM;
    t->byte_fallback = t->fuse_unknown = true;
    t->decoder = s.prefix ? SG_DECODE_BLANK : SG_DECODE_BYTES;
    t->strip_blanks = s.squeeze;
    SG_TRY(sg_vocab_init(&t->vocab, s.npiece, err));
    void *score = t->model == SG_TEXT_UNIGRAM ? (void *)(t->score = sg_calloc(s.npiece, sizeof *t->score))
                                              : (void *)(t->vocab.score = sg_calloc(s.npiece, sizeof *t->vocab.score));
    if (!score)
        return sg_fail_nomem(err, "the vocabulary");
    sg_spm_piece p = {0};
    bool more = false;
    SG_TRY(sg_spm_next(&m, 0, &p, &more, err));
    for (uint32_t id = 0; more; id++) {
        SG_TRY(put_piece(t, id, &p, s.surface, err));
        SG_TRY(sg_spm_next(&m, id + 1, &p, &more, err));
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
