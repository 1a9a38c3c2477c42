/* text/decode.c - ids to text, at once or token by token.
 *
 * Tokens are bytes, characters are not: a token may end in the middle of one.  The streaming detokeniser
 * keeps what could still become a character and lets out everything before it; a byte that cannot be part of
 * any becomes U+FFFD as soon as that is certain.  Decoding at once is the same with one long piece, so both
 * always agree.
 *
 *     held:  e2 96        (start of a character)
 *     + 81 20    ->  out: e2 96 81 20     held: -
 */
#include "text/tokenizer.h"

#include "base/heap.h"
#include "base/utf8.h"

#include <string.h>

struct sg_detok {
    const sg_tokenizer *t;
    bool skip_special;
    bool begun;  /* a token was given */
    bool shown;  /* one of them showed something */
    sg_buf held; /* bytes that are not out */
    sg_buf out;
};

/* Pieces that BERT's clean-up puts behind the word before them without a blank. */
static bool closes_up(const char *s, size_t n)
{
    static const char *const list[] = {".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        if (strlen(list[i]) == n && memcmp(list[i], s, n) == 0)
            return true;
    return false;
}

static void add_bars(sg_buf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (n - i >= 3 && memcmp(s + i, "\xe2\x96\x81", 3) == 0) {
            sg_buf_addc(b, ' ');
            i += 2;
        } else {
            sg_buf_addc(b, s[i]);
        }
}

/* The bytes that a token adds to b, given what came before. */
static void add_piece(const sg_tokenizer *t, sg_token id, bool skip_special, bool *begun, bool *shown, sg_buf *b)
{
    unsigned flags = t->vocab.flags[id];
    bool first = !*begun, before = *shown;
    *begun = true;
    if (!(flags & SG_PIECE_SET) || (skip_special && flags & SG_PIECE_SPECIAL))
        return;
    const char *s = sg_vocab_piece(&t->vocab, (uint32_t)id);
    size_t n = t->vocab.len[id], start = b->len;
    switch (t->decoder) {
    case SG_DECODE_WORDPIECE:
        if (*shown && !(flags & SG_PIECE_CONTINUES) && !(t->clean_up && closes_up(s, n)))
            sg_buf_addc(b, ' ');
        else if (!*shown && flags & SG_PIECE_CONTINUES)
            sg_buf_adds(b, "##");
        break;
    case SG_DECODE_WORDS:
        if (*shown)
            sg_buf_addc(b, ' ');
        break;
    default:
        break;
    }
    *shown = true;
    if (t->show_bars)
        add_bars(b, s, n);
    else
        sg_buf_add(b, s, n);
    if (t->decoder != SG_DECODE_BLANK || flags & (SG_PIECE_BYTE | SG_PIECE_UNKNOWN) || b->len == start || b->data[start] != ' ')
        return;
    if (t->strip_blanks ? !before : first) {
        memmove(b->data + start, b->data + start + 1, b->len - start - 1);
        b->len--;
        *shown = before || b->len > start;
    }
}

/* Whether s[0..n) may still become a character.  A surrogate's first two bytes (ed a0 to ed bf) cannot, but
 * decoders differ in when they notice (CPython's waits for the third byte); waiting costs nothing, and it is
 * what our vectors were made with. */
static bool unfinished(const char *s, size_t n)
{
    return sg_utf8_partial_suffix(s, n) == n || (n == 2 && (unsigned char)s[0] == 0xed && (s[1] & 0x60) == 0x20 && (s[1] & 0x80));
}

/* Move from `held` to `out` what is certain; all of it at the end. */
static void release(sg_buf *held, sg_buf *out, bool end)
{
    const char *s = sg_buf_str(held);
    size_t n = held->len, i = 0;
    while (i < n) {
        size_t ok = sg_utf8_valid_prefix(s + i, n - i);
        sg_buf_add(out, s + i, ok);
        i += ok;
        if (i == n || (!end && unfinished(s + i, n - i)))
            break;
        sg_buf_adds(out, "\xef\xbf\xbd");
        i += sg_utf8_ill_formed(s + i, n - i);
    }
    if (i)
        memmove(held->data, held->data + i, n - i);
    held->len = n - i;
}

static sg_status check(const sg_tokenizer *t, sg_token id, sg_error *err)
{
    if (id < 0 || (uint32_t)id >= t->vocab.n)
        return sg_fail(err, SG_E_ARGUMENT, "token %d: the vocabulary has 0 to %u", id, t->vocab.n - 1);
    return SG_OK;
}

sg_status sg_tokenizer_decode(const sg_tokenizer *t, const sg_token *ids, size_t n, bool skip_special, char **text,
                              size_t *len, sg_error *err)
{
    sg_buf held = SG_BUF_INIT, out = SG_BUF_INIT;
    bool begun = false, shown = false;
    sg_status st = SG_OK;
    for (size_t i = 0; st == SG_OK && i < n; i++) {
        st = check(t, ids[i], err);
        if (st == SG_OK)
            add_piece(t, ids[i], skip_special, &begun, &shown, &held);
    }
    if (st == SG_OK) {
        release(&held, &out, true);
        sg_buf_add(&out, "", 0);
        size_t k = out.len;
        char *p = held.failed || out.failed ? NULL : out.data ? sg_buf_steal(&out) : sg_strdup("");
        if (p) {
            *text = p;
            if (len)
                *len = k;
        } else {
            st = sg_fail_nomem(err, "decoded text");
        }
    }
    sg_buf_fini(&held);
    sg_buf_fini(&out);
    return st;
}

void sg_tokenizer_text_free(char *text) { sg_free(text); }

sg_status sg_detok_new(sg_detok **out, const sg_tokenizer *t, bool skip_special, sg_error *err)
{
    sg_detok *d = sg_calloc(1, sizeof *d);
    if (!d)
        return sg_fail_nomem(err, "a detokeniser");
    d->t = t;
    d->skip_special = skip_special;
    *out = d;
    return SG_OK;
}

void sg_detok_free(sg_detok *d)
{
    if (!d)
        return;
    sg_buf_fini(&d->held);
    sg_buf_fini(&d->out);
    sg_free(d);
}

static sg_status hand_out(sg_detok *d, bool end, const char **text, size_t *len, sg_error *err)
{
    sg_buf_clear(&d->out);
    release(&d->held, &d->out, end);
    if (!sg_buf_ok(&d->held) || !sg_buf_ok(&d->out))
        return sg_fail_nomem(err, "decoded text");
    *text = sg_buf_str(&d->out);
    if (d->out.len == 0)
        *text = "";
    *len = d->out.len;
    return SG_OK;
}

sg_status sg_detok_add(sg_detok *d, sg_token id, const char **text, size_t *len, sg_error *err)
{
    SG_TRY(check(d->t, id, err));
    add_piece(d->t, id, d->skip_special, &d->begun, &d->shown, &d->held);
    return hand_out(d, false, text, len, err);
}

sg_status sg_detok_end(sg_detok *d, const char **text, size_t *len, sg_error *err)
{
    SG_TRY(hand_out(d, true, text, len, err));
    d->begun = d->shown = false;
    return SG_OK;
}
