/* text/pretok.c - pre-tokenisers as a list of steps over spans.
 *
 *     text   "It's  2 days"
 *     spans  [0,12)  ->  step 1  ->  [0,2) [2,4) [4,5) [5,7) ...  ->  step 2  ->  ...
 *
 * The usual tokenizer has one step, a known pattern, which encode.c runs in batches without coming here.
 * Here is the general way: each step reads the spans of the one before and writes its own, and the few
 * steps that change the text (ByteLevel's blank, Metaspace) write a new text beside the new spans.
 *
 * Expressions that no scanner stands for go to PCRE2 with limits on steps, depth and memory, so a pattern
 * that backtracks without end is an error and not a hang.  Oniguruma's \s is Unicode's White_Space and PCRE2's is
 * not quite, so \s and \S are spelt out; character class intersection (&&) PCRE2 does not have.
 */
#include "text/pretok.h"

#include "base/heap.h"
#include "base/utf8.h"
#include "text/unicode.h"

#include <pthread.h>
#include <string.h>

enum { PATTERN_MAX = 1 << 16, MATCH_LIMIT = 1000000, DEPTH_LIMIT = 10000, HEAP_LIMIT_KIB = 16384 };

/* ---- regular expressions ---- */

static void *pcre_alloc(size_t n, void *arg)
{
    (void)arg;
    return sg_alloc(n);
}

static void pcre_free(void *p, void *arg)
{
    (void)arg;
    sg_free(p);
}

/* \s and \S by their Unicode property, inside and outside of classes. */
static sg_status translate(sg_buf *out, const char *s, size_t n, sg_error *err)
{
    bool in_class = false;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\\' && i + 1 < n) {
            char c = s[++i];
            if (c == 's' || c == 'S')
                sg_buf_adds(out, c == 's' ? "\\p{White_Space}" : "\\P{White_Space}");
            else
                sg_buf_add(out, (const char[]){'\\', c}, 2);
            continue;
        }
        if (in_class && s[i] == '&' && i + 1 < n && s[i + 1] == '&')
            return sg_fail(err, SG_E_UNSUPPORTED, "pattern '%.*s': intersection of classes", (int)(n < 150 ? n : 150), s);
        if (s[i] == '[')
            in_class = true;
        else if (s[i] == ']')
            in_class = false;
        sg_buf_addc(out, s[i]);
    }
    return sg_buf_ok(out) ? SG_OK : sg_fail_nomem(err, "a pattern");
}

sg_status sg_regex_new(pcre2_code **code, const char *pattern, size_t n, sg_error *err)
{
    if (n > PATTERN_MAX)
        return sg_fail(err, SG_E_LIMIT, "pattern of %zu bytes, at most %d", n, PATTERN_MAX);
    sg_buf text = SG_BUF_INIT;
    pcre2_general_context *g = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    pcre2_compile_context *c = g ? pcre2_compile_context_create(g) : NULL;
    sg_status st = c ? translate(&text, pattern, n, err) : sg_fail_nomem(err, "a pattern");
    if (st == SG_OK) {
        int why;
        PCRE2_SIZE where;
        pcre2_code *re = pcre2_compile((PCRE2_SPTR)sg_buf_str(&text), text.len, PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C,
                                       &why, &where, c);
        if (re) {
            *code = re;
            pcre2_jit_compile(re, PCRE2_JIT_COMPLETE); /* without it matching is slower, no more */
        } else {
            char m[120];
            pcre2_get_error_message(why, (PCRE2_UCHAR *)m, sizeof m);
            st = why == PCRE2_ERROR_NOMEMORY || why == 121
                     ? sg_fail_nomem(err, "a pattern")
                     : sg_fail(err, SG_E_FORMAT, "pattern '%.*s': %s", (int)(n < 80 ? n : 80), pattern, m);
        }
    }
    sg_buf_fini(&text);
    pcre2_compile_context_free(c);
    pcre2_general_context_free(g);
    return st;
}

void sg_regex_free(pcre2_code *code) { pcre2_code_free(code); }

void sg_regex_scratch_fini(sg_regex_scratch *s)
{
    pcre2_match_data_free(s->match);
    pcre2_match_context_free(s->limits);
    *s = (sg_regex_scratch){0};
}

static sg_status regex_scratch(sg_regex_scratch *s, sg_error *err)
{
    if (s->match)
        return SG_OK;
    pcre2_general_context *g = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    if (g) {
        s->limits = pcre2_match_context_create(g);
        s->match = s->limits ? pcre2_match_data_create(64, g) : NULL;
    }
    pcre2_general_context_free(g);
    if (!s->match) {
        sg_regex_scratch_fini(s);
        return sg_fail_nomem(err, "matching");
    }
    pcre2_set_match_limit(s->limits, MATCH_LIMIT);
    pcre2_set_depth_limit(s->limits, DEPTH_LIMIT);
    pcre2_set_heap_limit(s->limits, HEAP_LIMIT_KIB);
    return SG_OK;
}

sg_status sg_regex_next(sg_regex_scratch *s, const pcre2_code *code, const char *text, size_t begin, size_t from, size_t end,
                        size_t *start, size_t *stop, bool *found, sg_error *err)
{
    SG_TRY(regex_scratch(s, err));
    PCRE2_SPTR subject = (PCRE2_SPTR)text + begin;
    int k = pcre2_match(code, subject, end - begin, from - begin, PCRE2_NO_UTF_CHECK, s->match, s->limits);
    if (k == PCRE2_ERROR_JIT_STACKLIMIT)
        k = pcre2_match(code, subject, end - begin, from - begin, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, s->match, s->limits);
    if (k == PCRE2_ERROR_NOMATCH) {
        *found = false;
        return SG_OK;
    }
    if (k == PCRE2_ERROR_NOMEMORY)
        return sg_fail_nomem(err, "matching");
    if (k < 0)
        return sg_fail(err, SG_E_LIMIT, "text: byte %zu: the pre-tokeniser's pattern runs out of steps", from);
    PCRE2_SIZE *v = pcre2_get_ovector_pointer(s->match);
    *found = true;
    *start = begin + v[0];
    *stop = begin + (v[1] > v[0] ? v[1] : v[0]);
    return SG_OK;
}

/* ---- the list ---- */

static void step_fini(sg_pretok *s)
{
    pcre2_code_free(s->regex);
    sg_free(s->literal);
}

void sg_pretoks_fini(sg_pretoks *p)
{
    for (size_t i = 0; i < p->n; i++)
        step_fini(&p->step[i]);
    p->n = 0;
}

sg_status sg_pretoks_add(sg_pretoks *p, const sg_pretok *step, sg_error *err)
{
    if (p->n == sizeof p->step / sizeof p->step[0])
        return sg_fail(err, SG_E_LIMIT, "pre_tokenizer: more than %zu steps", p->n);
    p->step[p->n++] = *step;
    return SG_OK;
}

sg_status sg_pretoks_add_regex(sg_pretoks *p, const char *pattern, size_t n, sg_split_behavior behavior, bool invert,
                               sg_error *err)
{
    sg_pretok s = {.kind = SG_PRETOK_SCAN, .behavior = behavior, .invert = invert};
    if (behavior == SG_SPLIT_ISOLATED || behavior == SG_SPLIT_REMOVED)
        s.scan = sg_scanner_find(pattern, n);
    if (behavior == SG_SPLIT_REMOVED && (!invert || !s.scan)) /* "removed, inverted" keeps the matches: all there is */
        s.scan = NULL;
    if (!s.scan) {
        s.kind = SG_PRETOK_REGEX;
        SG_TRY(sg_regex_new(&s.regex, pattern, n, err));
    }
    sg_status st = sg_pretoks_add(p, &s, err);
    if (st != SG_OK)
        step_fini(&s);
    return st;
}

sg_status sg_pretoks_add_literal(sg_pretoks *p, const char *literal, size_t n, sg_split_behavior behavior, bool invert,
                                 sg_error *err)
{
    sg_pretok s = {.kind = SG_PRETOK_LITERAL, .behavior = behavior, .invert = invert, .nliteral = n};
    s.literal = sg_strndup(literal, n);
    if (!s.literal)
        return sg_fail_nomem(err, "a pattern");
    sg_status st = sg_pretoks_add(p, &s, err);
    if (st != SG_OK)
        step_fini(&s);
    return st;
}

/* ---- running ---- */

void sg_pretok_scratch_fini(sg_pretok_scratch *s)
{
    for (int i = 0; i < 2; i++) {
        sg_free(s->spans[i].data);
        sg_buf_fini(&s->text[i]);
    }
    sg_regex_scratch_fini(&s->regex);
    *s = (sg_pretok_scratch){0};
}

static sg_status room(sg_spans *l, size_t n, sg_error *err)
{
    if (l->cap - l->n >= n)
        return SG_OK;
    size_t cap = l->cap + l->cap / 2 + n + 256;
    sg_span *p = sg_realloc(l->data, cap * sizeof *p);
    if (!p)
        return sg_fail_nomem(err, "the pieces of a text");
    l->data = p;
    l->cap = cap;
    return SG_OK;
}

/* One step at work: pieces and delimiters arrive in order, pieces go out. */
typedef struct cutter {
    const sg_pretok *step;
    sg_spans *out;
    uint32_t at;    /* everything before is out */
    bool open;      /* PREVIOUS and CONTIGUOUS: the last piece may still grow; NEXT: `at` starts a delimiter */
} cutter;

static sg_status emit(sg_spans *out, uint32_t start, uint32_t end, sg_error *err)
{
    if (start == end)
        return SG_OK;
    SG_TRY(room(out, 1, err));
    out->data[out->n++] = (sg_span){start, end};
    return SG_OK;
}

/* [start, stop) is a delimiter; what lies between it and the one before is a piece. */
static sg_status delimiter(cutter *c, uint32_t start, uint32_t stop, sg_error *err)
{
    if (start == stop && c->step->behavior != SG_SPLIT_ISOLATED && c->step->behavior != SG_SPLIT_REMOVED)
        return SG_OK;
    switch (c->step->behavior) {
    case SG_SPLIT_ISOLATED:
        SG_TRY(emit(c->out, c->at, start, err));
        SG_TRY(emit(c->out, start, stop, err));
        break;
    case SG_SPLIT_REMOVED:
        SG_TRY(emit(c->out, c->at, start, err));
        break;
    case SG_SPLIT_PREVIOUS: /* a delimiter joins the piece before it, never another delimiter */
        SG_TRY(emit(c->out, c->at, stop, err));
        break;
    case SG_SPLIT_NEXT: /* a piece that begins with its delimiter ends where the next one starts */
        SG_TRY(emit(c->out, c->at, start, err));
        c->at = start;
        return SG_OK;
    case SG_SPLIT_CONTIGUOUS:
        if (c->open && c->at == start) {
            c->out->data[c->out->n - 1].end = stop;
        } else {
            SG_TRY(emit(c->out, c->at, start, err));
            SG_TRY(emit(c->out, start, stop, err));
        }
        c->open = true;
        break;
    }
    c->at = stop;
    return SG_OK;
}

/* The next match of a step in text[from..end): false when there is none. */
static sg_status next_match(sg_pretok_scratch *s, const sg_pretok *step, const char *text, sg_span piece, size_t from,
                            size_t *start, size_t *stop, bool *found, sg_error *err)
{
    if (step->kind == SG_PRETOK_REGEX)
        return sg_regex_next(&s->regex, step->regex, text, piece.start, from, piece.end, start, stop, found, err);
    if (step->kind == SG_PRETOK_LITERAL) {
        const char *p = step->nliteral ? memmem(text + from, piece.end - from, step->literal, step->nliteral) : NULL;
        *found = p != NULL;
        *start = p ? (size_t)(p - text) : 0;
        *stop = *start + step->nliteral;
        return SG_OK;
    }
    *found = false;
    for (size_t i = from; i < piece.end;) {
        uint32_t cp;
        size_t used = sg_utf8_decode(text + i, piece.end - i, &cp);
        used += used == 0;
        if (step->class == SG_CLASS_SPACE    ? sg_unicode_is_space(cp)
            : step->class == SG_CLASS_NUMBER ? (sg_unicode_class(cp) & SG_CHAR_NUMBER) != 0
                                             : sg_unicode_is_bert_punct(cp)) {
            *found = true;
            *start = i;
            *stop = i + used;
            return SG_OK;
        }
        i += used;
    }
    return SG_OK;
}

static sg_status cut(sg_pretok_scratch *s, const sg_pretok *step, const char *text, sg_span piece, sg_spans *out,
                     sg_error *err)
{
    cutter c = {.step = step, .out = out, .at = piece.start};
    size_t from = piece.start, last = piece.start; /* last: end of the match before, for `invert` */
    while (from <= piece.end) {
        size_t start, stop;
        bool found;
        SG_TRY(next_match(s, step, text, piece, from, &start, &stop, &found, err));
        if (!found)
            break;
        if (!step->invert)
            SG_TRY(delimiter(&c, (uint32_t)start, (uint32_t)stop, err));
        else if (start > last)
            SG_TRY(delimiter(&c, (uint32_t)last, (uint32_t)start, err));
        last = stop;
        from = stop;
        if (stop == start) { /* an empty match: go on behind the next character */
            uint32_t cp;
            size_t used = from < piece.end ? sg_utf8_decode(text + from, piece.end - from, &cp) : 1;
            from += used ? used : 1;
        }
    }
    if (step->invert && last < piece.end)
        SG_TRY(delimiter(&c, (uint32_t)last, piece.end, err));
    return emit(out, c.at, piece.end, err);
}

static sg_status cut_fixed(const sg_pretok *step, const char *text, sg_span piece, sg_spans *out, sg_error *err)
{
    uint32_t start = piece.start, i = start;
    while (i < piece.end) {
        for (size_t k = 0; k < step->nliteral && i < piece.end; k++) {
            uint32_t cp;
            size_t used = sg_utf8_decode(text + i, piece.end - i, &cp);
            i += (uint32_t)(used ? used : 1);
        }
        SG_TRY(emit(out, start, i, err));
        start = i;
    }
    return SG_OK;
}

/* Metaspace: rewrite one piece to b and cut it.  The mark is a blank when the pieces have been turned round. */
static sg_status metaspace(const sg_pretok *step, const char *text, sg_span piece, bool first, sg_buf *b, sg_spans *out,
                           sg_error *err)
{
    static const char bar[] = "\xe2\x96\x81";
    const char *mark = step->blanks ? " " : bar;
    size_t start = b->len, n = piece.end - piece.start, nmark = strlen(mark);
    const char *s = text + piece.start;
    bool marked = n > 0 && (s[0] == ' ' || (n >= 3 && memcmp(s, bar, 3) == 0));
    if (!marked && n > 0 && (step->prepend == SG_PREPEND_ALWAYS || (step->prepend == SG_PREPEND_FIRST && first)))
        sg_buf_add(b, mark, nmark);
    for (size_t i = 0; i < n; i++) {
        bool is_bar = n - i >= 3 && memcmp(s + i, bar, 3) == 0;
        if (s[i] == ' ' || is_bar)
            sg_buf_add(b, mark, nmark);
        else
            sg_buf_addc(b, s[i]);
        i += is_bar ? 2 : 0;
    }
    if (!sg_buf_ok(b))
        return sg_fail_nomem(err, "the pieces of a text");
    if (!step->cut)
        return emit(out, (uint32_t)start, (uint32_t)b->len, err);
    size_t at = start;
    for (size_t i = start + 1; i + nmark <= b->len; i++)
        if (memcmp(b->data + i, mark, nmark) == 0) {
            SG_TRY(emit(out, (uint32_t)at, (uint32_t)i, err));
            at = i;
        }
    return emit(out, (uint32_t)at, (uint32_t)b->len, err);
}

static sg_status prefix(const char *text, sg_span piece, sg_buf *b, sg_spans *out, sg_error *err)
{
    size_t start = b->len;
    if (piece.end > piece.start && text[piece.start] != ' ')
        sg_buf_addc(b, ' ');
    sg_buf_add(b, text + piece.start, piece.end - piece.start);
    return sg_buf_ok(b) ? emit(out, (uint32_t)start, (uint32_t)b->len, err) : sg_fail_nomem(err, "the pieces of a text");
}

static sg_status scan(sg_scan_fn *fn, const char *text, sg_span piece, sg_spans *out, sg_error *err)
{
    uint32_t pos = piece.start;
    while (pos < piece.end) {
        SG_TRY(room(out, 64, err));
        out->n += fn(text, &pos, piece.end, out->data + out->n, out->cap - out->n);
    }
    return SG_OK;
}

static sg_status run_step(const sg_pretok *step, sg_pretok_scratch *s, const char *text, sg_span piece, bool first,
                          sg_buf *rewritten, sg_spans *out, sg_error *err)
{
    switch (step->kind) {
    case SG_PRETOK_SCAN:
        return scan(step->scan, text, piece, out, err);
    case SG_PRETOK_METASPACE:
        return metaspace(step, text, piece, first, rewritten, out, err);
    case SG_PRETOK_PREFIX:
        return prefix(text, piece, rewritten, out, err);
    case SG_PRETOK_FIXED:
        return cut_fixed(step, text, piece, out, err);
    default:
        return cut(s, step, text, piece, out, err);
    }
}

sg_status sg_pretoks_run(const sg_pretoks *p, sg_pretok_scratch *s, const char *text, size_t n, bool first,
                         const char **out_text, const sg_span **out, size_t *nout, sg_error *err)
{
    if (n >= INT32_MAX)
        return sg_fail(err, SG_E_LIMIT, "text: %zu bytes, at most 2 GiB at once", n);
    sg_spans *have = &s->spans[0], *next = &s->spans[1];
    sg_buf *buf = &s->text[0], *other = &s->text[1];
    have->n = 0;
    SG_TRY(emit(have, 0, (uint32_t)n, err));
    for (size_t i = 0; i < p->n; i++) {
        const sg_pretok *step = &p->step[i];
        next->n = 0;
        sg_buf_clear(buf);
        buf->max = INT32_MAX;
        for (size_t k = 0; k < have->n; k++)
            SG_TRY(run_step(step, s, text, have->data[k], first && k == 0, buf, next, err));
        if (step->kind == SG_PRETOK_METASPACE || step->kind == SG_PRETOK_PREFIX) {
            text = sg_buf_str(buf);
            sg_buf *b = buf;
            buf = other;
            other = b;
        }
        sg_spans *l = have;
        have = next;
        next = l;
    }
    *out_text = text;
    *out = have->data;
    *nout = have->n;
    return SG_OK;
}
