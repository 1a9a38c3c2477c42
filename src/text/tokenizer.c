/* text/tokenizer.c - what all tokenizers share: making, checking, asking.
 *
 * The readers (read_json.c, read_gguf.c, read_spm.c, read_llama2c.c) turn their formats into the same struct:
 * pieces with flags, merges or scores, lists of normalisers and pre-tokenisers, ids with a name.  Here the
 * tables that encoding wants are derived from it, once.
 *
 * Blanks: SentencePiece writes a blank as ▁ (U+2581) in its pieces and in the text that it looks at.  The
 * readers turn it round: pieces hold the blank, and a ▁ in the text becomes one.  Words are shorter so (a
 * byte for three), and a piece is already what it shows.
 */
#include "text/tokenizer.h"

#include "base/heap.h"

#include <string.h>

sg_status sg_tokenizer_new(sg_tokenizer **out, sg_error *err)
{
    sg_unicode_init();
    sg_tokenizer *t = sg_calloc(1, sizeof *t);
    if (!t)
        return sg_fail_nomem(err, "a tokenizer");
    pthread_mutex_init(&t->lock, NULL);
    t->bos = t->eos = t->eot = t->unk = t->pad = t->sep = t->mask = SG_TOKEN_NONE;
    t->word_max = 100;
    for (int i = 0; i < 256; i++)
        t->byte_id[i] = -1;
    sg_status st = sg_added_init(&t->raw, err);
    if (st == SG_OK)
        st = sg_added_init(&t->normalized, err);
    if (st != SG_OK)
        sg_tokenizer_free(t);
    else
        *out = t;
    return st;
}

void sg_tokenizer_free(sg_tokenizer *t)
{
    if (!t)
        return;
    while (t->idle) {
        sg_encoder *e = t->idle;
        t->idle = *(sg_encoder **)e; /* its first field is the link */
        sg_encoder_free(e);
    }
    pthread_mutex_destroy(&t->lock);
    sg_vocab_fini(&t->vocab);
    sg_merges_fini(&t->merges);
    sg_trie_fini(&t->trie);
    sg_free(t->score);
    sg_added_fini(&t->raw);
    sg_added_fini(&t->normalized);
    sg_norms_fini(&t->norms);
    sg_pretoks_fini(&t->pretoks);
    sg_tokens_fini(&t->before);
    sg_tokens_fini(&t->after);
    sg_free(t);
}

int sg_byte_token(const char *s, size_t n)
{
    static const char digits[] = "0123456789ABCDEF";
    if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>')
        return -1;
    const char *a = memchr(digits, s[3], 16), *b = memchr(digits, s[4], 16);
    return a && b ? (int)((a - digits) * 16 + (b - digits)) : -1;
}

/* GPT-2 writes printable bytes as themselves and the other 68 as U+0100 and on, in order. */
static int gpt2_byte(uint32_t cp)
{
    if ((cp >= 0x21 && cp <= 0x7e) || (cp >= 0xa1 && cp <= 0xac) || (cp >= 0xae && cp <= 0xff))
        return (int)cp;
    if (cp < 0x100 || cp >= 0x144)
        return -1;
    int k = (int)cp - 0x100;
    return k <= 0x20 ? k : k <= 0x42 ? k - 0x21 + 0x7f : 0xad;
}

bool sg_bytes_from_gpt2(const char *s, size_t n, sg_buf *out)
{
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)s[i];
        uint32_t cp = c;
        size_t used = 1;
        if (c >= 0x80) {
            if (c < 0xc2 || c > 0xc5 || i + 1 >= n || ((unsigned char)s[i + 1] & 0xc0) != 0x80)
                return false;
            cp = (c & 0x1fu) << 6 | ((unsigned char)s[i + 1] & 0x3fu);
            used = 2;
        }
        int b = gpt2_byte(cp);
        if (b < 0)
            return false;
        sg_buf_addc(out, (char)b);
        i += used;
    }
    return true;
}

sg_status sg_tokenizer_add(sg_tokenizer *t, const char *s, size_t n, uint32_t id, unsigned flags, sg_error *err)
{
    return sg_added_put(flags & SG_ADDED_NORMALIZED ? &t->normalized : &t->raw, s, n, id, flags, err);
}

/* ---- finishing ---- */

static sg_status build_trie(sg_tokenizer *t, sg_error *err)
{
    sg_vocab *v = &t->vocab;
    SG_TRY(sg_trie_init(&t->trie, err));
    if (t->model == SG_TEXT_WORDPIECE)
        for (int i = 0; i < 2; i++)
            SG_TRY(sg_trie_root(&t->trie, &t->root[i], err));
    for (uint32_t id = 0; id < v->n; id++)
        if (v->flags[id] & SG_PIECE_MATCH && v->len[id] > 0) {
            uint32_t root = t->model == SG_TEXT_WORDPIECE ? t->root[(v->flags[id] & SG_PIECE_CONTINUES) != 0] : 0;
            SG_TRY(sg_trie_add(&t->trie, root, sg_vocab_piece(v, id), v->len[id], (int32_t)id, err));
        }
    return SG_OK;
}

static void find_bytes(sg_tokenizer *t)
{
    sg_vocab *v = &t->vocab;
    unsigned want = t->byte_level ? SG_PIECE_MATCH : SG_PIECE_BYTE;
    for (uint32_t id = 0; id < v->n; id++)
        if (v->flags[id] & want && v->len[id] == 1) {
            int32_t *b = &t->byte_id[(unsigned char)*sg_vocab_piece(v, id)];
            if (*b < 0)
                *b = (int32_t)id;
        }
}

/* Models over characters see long texts as one word.  Where no piece has byte x followed by a blank, no token
 * reaches over "x ", whatever is merged: the word may be cut there, and its parts cached. */
static void find_joins(sg_tokenizer *t)
{
    if (t->byte_level || t->model == SG_TEXT_WORDPIECE || t->show_bars)
        return;
    t->split_blanks = true;
    const sg_vocab *v = &t->vocab;
    for (uint32_t id = 0; id < v->n; id++) {
        const char *s = sg_vocab_piece(v, id);
        for (uint32_t i = 1; v->flags[id] & SG_PIECE_MATCH && i < v->len[id]; i++)
            if (s[i] == ' ')
                t->joins[(unsigned char)s[i - 1]] = true;
    }
}

static const char *const turn_ends[] = {"<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end_of_turn|>", "<turn|>", "<|return|>",
                                        "<|end|>", "<|eot|>", "<EOT>", "<|END_OF_TURN_TOKEN|>", "<|endofturn|>", "[|endofturn|]"};
static const char *const text_ends[] = {"<|endoftext|>", "<|end_of_text|>", "<|eom_id|>", "<|call|>", "<|eom|>", "</s>", "<eos>",
                                        ("<\xef\xbd\x9c" "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"), "_<EOT>", "[EOS]"};
enum { NTURN = sizeof turn_ends / sizeof turn_ends[0], NTEXT = sizeof text_ends / sizeof text_ends[0] };

bool sg_is_end_name(const char *s)
{
    for (size_t i = 0; i < NTURN + NTEXT; i++)
        if (strcmp(s, i < NTURN ? turn_ends[i] : text_ends[i - NTURN]) == 0)
            return true;
    return false;
}

void sg_tokenizer_mark_ends(sg_tokenizer *t)
{
    bool harmony = sg_tokenizer_find(t, "<|return|>") >= 0 && sg_tokenizer_find(t, "<|call|>") >= 0;
    for (size_t i = 0; i < NTURN; i++) {
        sg_token id = sg_tokenizer_find(t, turn_ends[i]);
        if (id < 0 || (harmony && strcmp(turn_ends[i], "<|end|>") == 0)) /* there it ends a message, not the reply */
            continue;
        t->vocab.flags[id] |= SG_PIECE_END;
        if (t->eot < 0)
            t->eot = id;
    }
    for (size_t i = 0; i < NTEXT; i++) {
        sg_token id = sg_tokenizer_find(t, text_ends[i]);
        if (id >= 0 && t->vocab.flags[id] & SG_PIECE_SPECIAL)
            t->vocab.flags[id] |= SG_PIECE_END;
    }
    if (t->eos >= 0)
        t->vocab.flags[t->eos] |= SG_PIECE_END;
    if (t->eot >= 0)
        t->vocab.flags[t->eot] |= SG_PIECE_END;
}

sg_status sg_tokenizer_finish(sg_tokenizer *t, sg_error *err)
{
    if (t->vocab.n == 0)
        return sg_fail(err, SG_E_FORMAT, "the vocabulary is empty");
    SG_TRY(sg_vocab_index(&t->vocab, err));
    if (t->model == SG_TEXT_UNIGRAM || t->model == SG_TEXT_WORDPIECE)
        SG_TRY(build_trie(t, err));
    find_bytes(t);
    find_joins(t);
    if (t->model == SG_TEXT_UNIGRAM) {
        double least = 0;
        bool any = false;
        for (uint32_t id = 0; id < t->vocab.n; id++)
            if (t->vocab.flags[id] & SG_PIECE_MATCH && (!any || t->score[id] < least)) {
                least = t->score[id];
                any = true;
            }
        t->unknown_score = least - 10;
    }
    sg_tokenizer_mark_ends(t);
    return SG_OK;
}

/* ---- asking ---- */

size_t sg_tokenizer_size(const sg_tokenizer *t) { return t->vocab.n; }

const char *sg_tokenizer_kind(const sg_tokenizer *t)
{
    switch (t->model) {
    case SG_TEXT_BPE:
        return t->byte_level ? "bpe" : "sentencepiece";
    case SG_TEXT_SPM:
        return "sentencepiece";
    case SG_TEXT_UNIGRAM:
        return "unigram";
    default:
        return "wordpiece";
    }
}

static bool valid(const sg_tokenizer *t, sg_token id) { return id >= 0 && (uint32_t)id < t->vocab.n; }

const char *sg_tokenizer_piece(const sg_tokenizer *t, sg_token id, size_t *len)
{
    if (!valid(t, id))
        return NULL;
    *len = t->vocab.len[id];
    return sg_vocab_piece(&t->vocab, (uint32_t)id);
}

sg_token sg_tokenizer_find(const sg_tokenizer *t, const char *text)
{
    size_t n = strlen(text);
    const sg_added *lists[2] = {&t->raw, &t->normalized};
    for (int i = 0; i < 2; i++) {
        uint32_t node = 0;
        size_t k = 0;
        while (k < n && (node = sg_trie_step(&lists[i]->trie, node, (unsigned char)text[k])))
            k++;
        if (n && k == n && lists[i]->trie.value[node] >= 0)
            return (sg_token)lists[i]->token[lists[i]->trie.value[node]].id;
    }
    return SG_TOKEN_NONE;
}

bool sg_tokenizer_is_special(const sg_tokenizer *t, sg_token id)
{
    return valid(t, id) && t->vocab.flags[id] & SG_PIECE_SPECIAL;
}

bool sg_tokenizer_is_end(const sg_tokenizer *t, sg_token id) { return valid(t, id) && t->vocab.flags[id] & SG_PIECE_END; }

sg_token sg_tokenizer_bos(const sg_tokenizer *t) { return t->bos; }
sg_token sg_tokenizer_eos(const sg_tokenizer *t) { return t->eos; }
sg_token sg_tokenizer_eot(const sg_tokenizer *t) { return t->eot; }
sg_token sg_tokenizer_unk(const sg_tokenizer *t) { return t->unk; }
sg_token sg_tokenizer_pad(const sg_tokenizer *t) { return t->pad; }
sg_token sg_tokenizer_sep(const sg_tokenizer *t) { return t->sep; }
sg_token sg_tokenizer_mask(const sg_tokenizer *t) { return t->mask; }

bool sg_tokenizer_adds_bos(const sg_tokenizer *t)
{
    return t->before.n > 0 && t->before.data[0] == t->bos && t->bos >= 0;
}
