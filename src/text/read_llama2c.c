/* text/read_llama2c.c - llama2.c's tokenizer.bin.
 *
 *     uint32 longest; then for each piece, to the end of the file: float32 score, uint32 length, bytes
 *
 * Little-endian.  Blanks stand as blanks, bytes as <0x41>; 0 is the unknown token, 1 BOS, 2 EOS.  It is encoded as
 * SentencePiece does it: a blank in front, the best scored pair first, bytes for what is no piece.
 */
#include "text/readers.h"

#include "base/heap.h"

#include <math.h>
#include <string.h>

enum { PIECES_MIN = 32 }; /* an alphabet and the three special tokens; the smallest in use has 105 */

typedef struct piece {
    float score;
    uint32_t len;
    const char *text;
} piece;

/* The piece at *at, which moves behind it. */
static sg_status next(const char *data, size_t n, size_t *at, uint32_t longest, size_t id, piece *p, sg_error *err)
{
    if (n - *at < 8)
        return sg_fail(err, SG_E_FORMAT, "tokenizer.bin: piece %zu: the file ends in it", id);
    memcpy(&p->score, data + *at, 4);
    memcpy(&p->len, data + *at + 4, 4);
    *at += 8;
    if (p->len > longest)
        return sg_fail(err, SG_E_FORMAT, "tokenizer.bin: piece %zu is %u bytes long, the file says at most %u", id, p->len, longest);
    if (p->len > n - *at)
        return sg_fail(err, SG_E_FORMAT, "tokenizer.bin: piece %zu: %u bytes, %zu are left", id, p->len, n - *at);
    if (isnan(p->score))
        return sg_fail(err, SG_E_FORMAT, "tokenizer.bin: the score of piece %zu is not a number", id);
    p->text = data + *at;
    *at += p->len;
    return SG_OK;
}

static sg_status put(sg_tokenizer *t, uint32_t id, const piece *p, sg_error *err)
{
    static const char *const special[] = {"<unk>", "<s>", "</s>"};
    t->vocab.score[id] = p->score;
    if (id < 3) {
        SG_TRY(sg_vocab_put(&t->vocab, id, special[id], strlen(special[id]),
                            SG_PIECE_SPECIAL | SG_PIECE_ADDED | (id == 0 ? SG_PIECE_UNKNOWN : 0u), err));
        return sg_tokenizer_add(t, special[id], strlen(special[id]), id, SG_ADDED_SPECIAL, err);
    }
    int byte = sg_byte_token(p->text, p->len);
    if (byte >= 0)
        return sg_vocab_put(&t->vocab, id, (const char[]){(char)byte}, 1, SG_PIECE_BYTE, err);
    return sg_vocab_put(&t->vocab, id, p->text, p->len, SG_PIECE_MATCH, err);
}

static sg_status read_model(sg_tokenizer *t, const char *data, size_t n, sg_error *err)
{
    uint32_t longest;
    size_t count = 0, at = 4;
    piece p = {0};
    if (n < 4)
        return sg_fail(err, SG_E_FORMAT, "tokenizer.bin: %zu bytes", n);
    memcpy(&longest, data, 4);
    for (; at < n; count++)
        SG_TRY(next(data, n, &at, longest, count, &p, err));
    if (count < PIECES_MIN)
        return sg_fail(err, SG_E_FORMAT, "tokenizer.bin: %zu pieces, at least %d make a vocabulary", count, PIECES_MIN);
    t->model = SG_TEXT_SPM;
    t->byte_fallback = t->fuse_unknown = true;
    t->decoder = SG_DECODE_BLANK;
    t->unk = 0;
    t->bos = 1;
    t->eos = 2;
    SG_TRY(sg_vocab_init(&t->vocab, count, err));
    t->vocab.score = sg_calloc(count, sizeof *t->vocab.score);
    if (!t->vocab.score)
        return sg_fail_nomem(err, "the vocabulary");
    at = 4;
    for (uint32_t id = 0; id < count; id++) {
        SG_TRY(next(data, n, &at, longest, id, &p, err));
        SG_TRY(put(t, id, &p, err));
    }
    SG_TRY(sg_tokens_add(&t->before, t->bos, err));
    SG_TRY(sg_read_sentencepiece_steps(t, true, err));
    return sg_tokenizer_finish(t, err);
}

sg_status sg_tokenizer_new_from_llama2c(sg_tokenizer **out, const void *data, size_t n, sg_error *err)
{
    sg_tokenizer *t;
    SG_TRY(sg_tokenizer_new(&t, err));
    sg_status st = read_model(t, data, n, err);
    if (st == SG_OK)
        *out = t;
    else
        sg_tokenizer_free(t);
    return st;
}
