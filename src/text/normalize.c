/* text/normalize.c - normalisers.
 *
 * Each step reads one text and writes another; two buffers take turns.  A step that finds nothing to do (the
 * usual case: text is in NFC already) hands its input on.  The output is bounded, because four harmless looking
 * "replace a by 1,000 a" make a terabyte of one letter.
 *
 * SentencePiece's precompiled table: uint32 size of the trie in bytes, the trie as a Darts double array (units of 32
 * bits), then NUL-terminated replacements.  At each place the longest prefix that the trie knows is replaced by
 * the string at its value.  A unit is  offset << 10 | leaf-follows << 8 | label  (offset scaled by 256 when bit 9 is set),
 * a leaf has bit 31 and the value in the rest.
 */
#include "text/normalize.h"

#include "base/heap.h"
#include "base/utf8.h"

#include <string.h>

static void norm_fini(sg_norm *s)
{
    sg_regex_free(s->regex);
    sg_free(s->string);
    sg_free(s->content);
    sg_free(s->map.unit);
    sg_free(s->map.text);
}

void sg_norms_fini(sg_norms *l)
{
    for (size_t i = 0; i < l->n; i++)
        norm_fini(&l->step[i]);
    l->n = 0;
}

sg_status sg_norms_add(sg_norms *l, sg_norm step, sg_error *err)
{
    if (l->n == sizeof l->step / sizeof l->step[0]) {
        norm_fini(&step);
        return sg_fail(err, SG_E_LIMIT, "normalizer: more than %zu steps", l->n);
    }
    l->step[l->n++] = step;
    return SG_OK;
}

static char *copy(const char *s, size_t n)
{
    char *p = sg_alloc(n + 1);
    if (p) {
        memcpy(p, s, n);
        p[n] = '\0';
    }
    return p;
}

sg_status sg_norms_add_replace(sg_norms *l, const char *string, size_t nstring, bool regex, const char *content,
                               size_t ncontent, sg_error *err)
{
    sg_norm s = {.kind = SG_NORM_REPLACE, .nstring = nstring, .ncontent = ncontent};
    if (regex)
        SG_TRY(sg_regex_new(&s.regex, string, nstring, err));
    s.string = copy(string, nstring);
    s.content = copy(content, ncontent);
    if (!s.string || !s.content) {
        norm_fini(&s);
        return sg_fail_nomem(err, "a normalizer");
    }
    return sg_norms_add(l, s, err);
}

sg_status sg_norms_add_prepend(sg_norms *l, const char *content, size_t ncontent, sg_error *err)
{
    sg_norm s = {.kind = SG_NORM_PREPEND, .content = copy(content, ncontent), .ncontent = ncontent};
    return s.content ? sg_norms_add(l, s, err) : sg_fail_nomem(err, "a normalizer");
}

sg_status sg_norms_add_charsmap(sg_norms *l, const void *blob, size_t n, sg_error *err)
{
    uint32_t size;
    if (n < 4 || (memcpy(&size, blob, 4), size > n - 4) || size % 4 != 0 || size < 4)
        return sg_fail(err, SG_E_FORMAT, "precompiled_charsmap: a trie of more bytes than there are");
    sg_norm s = {.kind = SG_NORM_CHARSMAP};
    s.map.nunit = size / 4;
    s.map.ntext = n - 4 - size;
    s.map.unit = sg_alloc(size);
    s.map.text = copy((const char *)blob + 4 + size, s.map.ntext);
    if (!s.map.unit || !s.map.text) {
        norm_fini(&s);
        return sg_fail_nomem(err, "a normalizer");
    }
    memcpy(s.map.unit, (const char *)blob + 4, size);
    return sg_norms_add(l, s, err);
}

/* The longest prefix of s[0..n) in the table: its length and replacement, or 0. */
static size_t charsmap_find(const sg_charsmap *m, const char *s, size_t n, const char **to)
{
    size_t best = 0;
    uint32_t unit = m->unit[0];
    size_t pos = 0;
    for (size_t i = 0; i < n; i++) {
        pos ^= (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
        pos ^= (unsigned char)s[i];
        if (pos >= m->nunit)
            break;
        unit = m->unit[pos];
        if ((unit & ((1u << 31) | 0xff)) != (unsigned char)s[i])
            break;
        if (unit & 1u << 8) {
            size_t leaf = pos ^ ((size_t)(unit >> 10) << ((unit & 1u << 9) >> 6));
            if (leaf >= m->nunit)
                break;
            size_t value = m->unit[leaf] & 0x7fffffffu;
            if (value < m->ntext) {
                best = i + 1;
                *to = m->text + value;
            }
        }
    }
    return best;
}

typedef struct job {
    const sg_norm *step;
    sg_regex_scratch *re;
    const char *s;
    size_t n;
    sg_buf *out;
} job;

static void add_char(sg_buf *b, uint32_t cp)
{
    char c[4];
    sg_buf_add(b, c, sg_utf8_encode(c, cp));
}

static bool nmt_drops(uint32_t cp)
{
    return (cp >= 1 && cp <= 8) || cp == 11 || (cp >= 14 && cp <= 31) || cp == 127 || cp == 0x8f || cp == 0x9f;
}

static bool nmt_blank(uint32_t cp)
{
    return cp == 9 || cp == 10 || cp == 12 || cp == 13 || cp == 0x1680 || (cp >= 0x200b && cp <= 0x200f) || cp == 0x2028 ||
           cp == 0x2029 || cp == 0x2581 || cp == 0xfeff || cp == 0xfffd;
}

/* One character of a step that goes character by character. */
static void one_char(const job *j, uint32_t cp, const char *s, size_t len)
{
    sg_buf *b = j->out;
    switch (j->step->kind) {
    case SG_NORM_LOWERCASE:
        sg_unicode_lower(b, cp);
        break;
    case SG_NORM_ACCENTS:
        if (cp < 0x80 || !sg_unicode_is_nonspacing(cp))
            sg_buf_add(b, s, len);
        break;
    case SG_NORM_BERT_CLEAN:
        if (cp == '\t' || cp == '\n' || cp == '\r')
            sg_buf_addc(b, ' ');
        else if (cp != 0xfffd && !sg_unicode_is_control(cp)) /* other controls go, those that are white space too */
            sg_unicode_is_space(cp) ? sg_buf_addc(b, ' ') : sg_buf_add(b, s, len);
        break;
    case SG_NORM_BERT_CHINESE:
        if (sg_unicode_is_chinese(cp)) {
            sg_buf_addc(b, ' ');
            sg_buf_add(b, s, len);
            sg_buf_addc(b, ' ');
        } else {
            sg_buf_add(b, s, len);
        }
        break;
    default:
        if (!nmt_drops(cp))
            add_char(b, nmt_blank(cp) ? ' ' : cp);
    }
}

static void by_char(const job *j)
{
    for (size_t i = 0; i < j->n && sg_buf_ok(j->out);) {
        uint32_t cp;
        size_t used = sg_utf8_decode(j->s + i, j->n - i, &cp);
        used += used == 0;
        one_char(j, cp, j->s + i, used);
        i += used;
    }
}

static void charsmap(const job *j)
{
    for (size_t i = 0; i < j->n && sg_buf_ok(j->out);) {
        const char *to;
        size_t k = charsmap_find(&j->step->map, j->s + i, j->n - i, &to);
        if (k) {
            sg_buf_adds(j->out, to);
            i += k;
        } else {
            uint32_t cp;
            size_t used = sg_utf8_decode(j->s + i, j->n - i, &cp);
            sg_buf_add(j->out, j->s + i, used ? used : 1);
            i += used ? used : 1;
        }
    }
}

static void strip(const job *j)
{
    size_t a = 0, b = j->n, used;
    uint32_t cp;
    while (j->step->left && a < b && (used = sg_utf8_decode(j->s + a, b - a, &cp)) && sg_unicode_is_space(cp))
        a += used;
    while (j->step->right && b > a) {
        size_t k = b - 1;
        while (k > a && ((unsigned char)j->s[k] & 0xc0) == 0x80)
            k--;
        if (!sg_utf8_decode(j->s + k, b - k, &cp) || !sg_unicode_is_space(cp))
            break;
        b = k;
    }
    sg_buf_add(j->out, j->s + a, b - a);
}

static void squeeze(const job *j)
{
    size_t start = j->out->len;
    for (size_t i = 0; i < j->n; i++)
        if (j->s[i] != ' ' || (j->out->len > start && j->out->data[j->out->len - 1] != ' '))
            sg_buf_addc(j->out, j->s[i]);
    if (j->out->len > start && j->out->data[j->out->len - 1] == ' ')
        j->out->len--;
}

static sg_status replace(const job *j, sg_error *err)
{
    const sg_norm *st = j->step;
    size_t at = 0, from = 0;
    while (from <= j->n && sg_buf_ok(j->out)) {
        size_t start, stop;
        bool found;
        if (st->regex) {
            SG_TRY(sg_regex_next(j->re, st->regex, j->s, 0, from, j->n, &start, &stop, &found, err));
        } else {
            const char *p = st->nstring ? memmem(j->s + from, j->n - from, st->string, st->nstring) : NULL;
            found = p != NULL;
            start = p ? (size_t)(p - j->s) : 0;
            stop = start + st->nstring;
        }
        if (!found)
            break;
        sg_buf_add(j->out, j->s + at, start - at);
        sg_buf_add(j->out, st->content, st->ncontent);
        at = from = stop;
        if (stop == start) { /* nothing matched: step over one character */
            uint32_t cp;
            size_t used = from < j->n ? sg_utf8_decode(j->s + from, j->n - from, &cp) : 1;
            from += used ? used : 1;
        }
    }
    sg_buf_add(j->out, j->s + at, j->n - at);
    return SG_OK;
}

/* The usual replacement, one byte by a short string, without calls for each. */
static bool replace_byte(const job *j)
{
    const sg_norm *st = j->step;
    if (st->regex || st->nstring != 1 || st->ncontent == 0 || st->ncontent > 8)
        return false;
    size_t hits = 0;
    for (size_t i = 0; i < j->n; i++)
        hits += j->s[i] == st->string[0];
    char *w = sg_buf_room(j->out, j->n + hits * st->ncontent);
    if (!w)
        return true;
    char *start = w;
    for (size_t i = 0; i < j->n; i++)
        if (j->s[i] == st->string[0]) {
            for (size_t k = 0; k < st->ncontent; k++)
                *w++ = st->content[k];
        } else {
            *w++ = j->s[i];
        }
    j->out->len += (size_t)(w - start);
    return true;
}

/* *same: the step changes nothing and has written nothing. */
static sg_status run_step(const job *j, bool *same, sg_error *err)
{
    *same = false;
    switch (j->step->kind) {
    case SG_NORM_UNICODE:
        return sg_unicode_normalize(j->out, j->s, j->n, j->step->form, same, err);
    case SG_NORM_STRIP:
        strip(j);
        return SG_OK;
    case SG_NORM_SQUEEZE:
        squeeze(j);
        return SG_OK;
    case SG_NORM_CHARSMAP:
        charsmap(j);
        return SG_OK;
    case SG_NORM_REPLACE:
        return replace_byte(j) ? SG_OK : replace(j, err);
    case SG_NORM_PREPEND:
        if (j->n == 0) {
            *same = true;
            return SG_OK;
        }
        sg_buf_add(j->out, j->step->content, j->step->ncontent);
        sg_buf_add(j->out, j->s, j->n);
        return SG_OK;
    default:
        by_char(j);
        return SG_OK;
    }
}

void sg_norm_scratch_fini(sg_norm_scratch *s)
{
    sg_buf_fini(&s->text[0]);
    sg_buf_fini(&s->text[1]);
}

sg_status sg_norms_run(const sg_norms *l, sg_norm_scratch *s, sg_regex_scratch *re, const char *text, size_t n,
                       const char **out, size_t *nout, sg_error *err)
{
    size_t max = 65536 + n * 32;
    int turn = 0;
    for (size_t i = 0; i < l->n; i++) {
        sg_buf *b = &s->text[turn];
        sg_buf_clear(b);
        b->max = max;
        bool same;
        sg_status st = run_step(&(job){&l->step[i], re, text, n, b}, &same, err);
        if (st == SG_OK && !sg_buf_ok(b))
            return sg_fail(err, SG_E_LIMIT, "normalizer: step %zu makes more than %zu bytes of %zu, or memory is short", i,
                           max, n);
        SG_TRY(st);
        if (same)
            continue;
        text = sg_buf_str(b);
        n = b->len;
        turn = !turn;
    }
    *out = text;
    *nout = n;
    return SG_OK;
}
