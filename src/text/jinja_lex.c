/* text/jinja_lex.c - the lexer: text, tags, and what is inside tags.
 *
 *     text ... {{ expression }} text {% statement %}\n text {# comment #} text
 *          TEXT     VAR          TEXT     BLOCK        TEXT
 *
 * White space around tags:
 *   - {%- {{- {#- take all white space before them away, -%} -}} -#} all behind them;
 *   - without a sign, a block or comment tag takes the white space between the start of its line and
 *     itself away when nothing else stands there (lstrip_blocks), and one newline directly behind it
 *     (trim_blocks); a + on that side keeps it.  {{ }} never does.
 * "Start of the line" also holds directly behind a tag that swallowed its newline.
 *
 * Inside a tag, }} or %} end it only outside of brackets: {{ {'a': {}} }} is one expression.
 */
#include "text/jinja_lex.h"

#include "base/utf8.h"
#include "text/jinja_print.h"
#include "text/jinja_unicode.h"

#include <stdio.h>
#include <stdlib.h>

sg_jval sg_jinja_source(sg_jinja *j, const char *text, size_t n)
{
    size_t good = sg_utf8_valid_prefix(text, n);
    if (good != n) {
        for (size_t i = 0; i < good; i++)
            j->line += text[i] == '\n';
        sg_jinja_fail(j, SG_E_FORMAT, "byte %zu is not UTF-8", good);
        return sg_jval_undef();
    }
    char *s = sg_jinja_alloc(j, n);
    if (!s)
        return sg_jval_undef();
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '\r')
            s[k++] = text[i];
        else if (i + 1 == n || text[i + 1] != '\n')
            s[k++] = '\n';
    }
    if (k && s[k - 1] == '\n')
        k--;
    return sg_jval_str(s, k);
}

void sg_jlexer_init(sg_jlexer *l, sg_jinja *j, sg_jval source)
{
    *l = (sg_jlexer){.j = j, .p = source.s, .end = source.s + source.n, .line = 1, .line_starting = true};
}

/* Move to `to`, counting lines. */
static void advance(sg_jlexer *l, const char *to)
{
    for (const char *p = l->p; p < to; p++)
        l->line += *p == '\n';
    if (to > l->p)
        l->line_starting = to[-1] == '\n';
    l->p = to;
}

static size_t left(const sg_jlexer *l, const char *p) { return (size_t)(l->end - p); }

static bool starts(const sg_jlexer *l, const char *p, const char *word)
{
    size_t n = strlen(word);
    return left(l, p) >= n && memcmp(p, word, n) == 0;
}

static const char *skip_space(const sg_jlexer *l, const char *p) { return p + sg_jstr_space_left(p, left(l, p)); }

/* The end of a block or comment tag at p ("%}" or "#}" with an optional sign), with the white space that goes with
 * it; NULL when it is not there. */
static const char *tag_end(const sg_jlexer *l, const char *p, const char *mark)
{
    char sign = p < l->end && (*p == '-' || *p == '+') ? *p : '\0';
    const char *q = sign ? p + 1 : p;
    if (!starts(l, q, mark))
        return NULL;
    q += 2;
    if (sign == '-')
        return skip_space(l, q);
    return !sign && q < l->end && *q == '\n' ? q + 1 : q;
}

/* What is left of text[0..n) before a tag with this sign. */
static size_t trim_before(const char *text, size_t n, char sign, bool block, bool line_starting)
{
    if (sign == '-')
        return n - sg_jstr_space_right(text, n);
    if (sign == '+' || !block)
        return n;
    size_t start = n;
    while (start > 0 && text[start - 1] != '\n')
        start--;
    if (start == 0 && !line_starting)
        return n;
    return sg_jstr_space_left(text + start, n - start) == n - start ? start : n;
}

/* {% raw %} at p (which starts with "{%"): where its text begins, or NULL.  A sign behind {% is p[2]. */
static const char *raw_begin(const sg_jlexer *l, const char *p)
{
    const char *q = p + 2;
    if (q < l->end && (*q == '-' || *q == '+'))
        q++;
    q = skip_space(l, q);
    if (!starts(l, q, "raw"))
        return NULL;
    q = skip_space(l, q + 3);
    if (starts(l, q, "-%}"))
        return skip_space(l, q + 3);
    return starts(l, q, "%}") ? q + 2 : NULL;
}

static char sign_at(const sg_jlexer *l, const char *p) { return p < l->end && (*p == '-' || *p == '+') ? *p : '\0'; }

static sg_jtoken token(const sg_jlexer *l, sg_jtok type) { return (sg_jtoken){.type = type, .line = l->line}; }

static sg_jtoken failed(sg_jlexer *l, const char *what)
{
    l->j->line = l->line;
    sg_jinja_fail(l->j, SG_E_FORMAT, "%s", what);
    return token(l, SG_T_EOF);
}

static sg_jtoken data(sg_jlexer *l, const char *s, size_t n)
{
    sg_jtoken t = token(l, SG_T_DATA);
    t.value = sg_jval_str(s, n);
    return t;
}

/* The text of a raw section, up to its endraw. */
static sg_jtoken read_raw(sg_jlexer *l)
{
    const char *text = l->p;
    bool line_starting = l->line_starting;
    for (const char *p = text; (p = memmem(p, left(l, p), "{%", 2)); p++) {
        char sign = sign_at(l, p + 2);
        const char *q = skip_space(l, p + 2 + (sign != '\0'));
        if (!starts(l, q, "endraw"))
            continue;
        q = tag_end(l, skip_space(l, q + 6), "%}");
        if (!q)
            continue;
        sg_jtoken t = data(l, text, trim_before(text, (size_t)(p - text), sign, true, line_starting));
        advance(l, q);
        return t;
    }
    return failed(l, "missing end of raw directive");
}

static bool skip_comment(sg_jlexer *l)
{
    const char *p = l->p + 2 + (sign_at(l, l->p + 2) != '\0');
    for (; p < l->end; p++) {
        const char *q = tag_end(l, p, "#}");
        if (q) {
            advance(l, q);
            return true;
        }
    }
    failed(l, "missing end of comment tag");
    return false;
}

/* The next {{, {% or {# at or behind p, or the end. */
static const char *find_tag(const sg_jlexer *l, const char *p)
{
    while (p < l->end && (p = memchr(p, '{', left(l, p)))) {
        if (p + 1 < l->end && (p[1] == '{' || p[1] == '%' || p[1] == '#'))
            return p;
        p++;
    }
    return l->end;
}

static sg_jtoken begin_tag(sg_jlexer *l)
{
    l->mode = l->pending == SG_T_BLOCK_BEGIN ? SG_LEX_BLOCK : SG_LEX_VAR;
    l->nnest = 0;
    sg_jtoken t = token(l, l->pending);
    advance(l, l->p + 2 + (sign_at(l, l->p + 2) != '\0'));
    return t;
}

static sg_jtoken read_text(sg_jlexer *l)
{
    for (;;) {
        if (l->p == l->end)
            return token(l, SG_T_EOF);
        const char *text = l->p, *tag = find_tag(l, text);
        if (tag == l->end) {
            sg_jtoken t = data(l, text, (size_t)(tag - text));
            advance(l, tag);
            return t;
        }
        size_t n = trim_before(text, (size_t)(tag - text), sign_at(l, tag + 2), tag[1] != '{', l->line_starting);
        sg_jtoken t = data(l, text, n);
        advance(l, tag);
        const char *raw = tag[1] == '%' ? raw_begin(l, tag) : NULL;
        if (raw) {
            /* The raw text is a token of its own; what stood before it goes first. */
            advance(l, raw);
            sg_jtoken r = read_raw(l);
            if (n == 0)
                return r;
            sg_jinja_text both = {.j = l->j};
            sg_jinja_text_add(&both, text, n);
            sg_jinja_text_add(&both, r.value.s, r.type == SG_T_DATA ? r.value.n : 0);
            t.value = sg_jval_text(&both);
            return r.type == SG_T_DATA ? t : r;
        }
        if (tag[1] == '#') {
            if (!skip_comment(l))
                return token(l, SG_T_EOF);
        } else {
            l->pending = tag[1] == '%' ? SG_T_BLOCK_BEGIN : SG_T_VAR_BEGIN;
            if (n == 0)
                return begin_tag(l);
            l->mode = SG_LEX_TAG_PENDING;
        }
        if (n)
            return t;
    }
}

/* ---- inside a tag ------------------------------------------------------------------ */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* `count` hexadecimal digits at *p, which moves behind them; -1 when they are not there. */
static int64_t hex_number(const char **p, const char *end, int count)
{
    int64_t v = 0;
    const char *q = *p;
    for (int i = 0; i < count; i++, q++) {
        int d = q < end ? hex_digit(*q) : -1;
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    *p = q;
    return v;
}

/* A \x, \u or \U escape at p, behind the letter; pairs of surrogates become one character, single ones U+FFFD. */
static bool unescape_hex(sg_jinja_text *t, char letter, const char **p, const char *end)
{
    int64_t cp = hex_number(p, end, letter == 'x' ? 2 : letter == 'u' ? 4 : 8);
    if (cp < 0 || cp > 0x10ffff)
        return sg_jinja_fail(t->j, SG_E_FORMAT, "bad \\%c escape in a string", letter);
    if (cp >= 0xd800 && cp < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        const char *q = *p + 2;
        int64_t low = hex_number(&q, end, 4);
        if (low >= 0xdc00 && low < 0xe000) {
            cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
            *p = q;
        }
    }
    sg_jinja_text_cp(t, cp >= 0xd800 && cp < 0xe000 ? 0xfffd : (uint32_t)cp);
    return true;
}

static void unescape_octal(sg_jinja_text *t, const char **p, const char *end)
{
    uint32_t v = 0;
    for (int i = 0; i < 3 && *p < end && **p >= '0' && **p <= '7'; i++)
        v = v * 8 + (uint32_t)(*(*p)++ - '0');
    sg_jinja_text_cp(t, v);
}

static sg_jval unescape(sg_jinja *j, const char *p, const char *end)
{
    if (!memchr(p, '\\', (size_t)(end - p)))
        return sg_jval_str(p, (size_t)(end - p));
    static const char from[] = "\\'\"abfnrtv\n", to[] = "\\'\"\a\b\f\n\r\t\v";
    sg_jinja_text t = {.j = j};
    while (p < end && sg_jinja_ok(j)) {
        const char *back = memchr(p, '\\', (size_t)(end - p));
        sg_jinja_text_add(&t, p, (size_t)((back ? back : end) - p));
        if (!back)
            break;
        char c = back[1];
        p = back + 2;
        const char *known = memchr(from, c, sizeof from - 1);
        if (c == '\n')
            continue;
        if (known)
            sg_jinja_text_addc(&t, to[known - from]);
        else if (c == 'x' || c == 'u' || c == 'U')
            unescape_hex(&t, c, &p, end);
        else if (c >= '0' && c <= '7') {
            p--;
            unescape_octal(&t, &p, end);
        } else {
            sg_jinja_text_addc(&t, '\\');
            p--;
        }
    }
    return sg_jval_text(&t);
}

static sg_jtoken read_string(sg_jlexer *l)
{
    char quote = *l->p;
    const char *p = l->p + 1;
    while (p < l->end && *p != quote)
        p += *p == '\\' && p + 1 < l->end ? 2 : 1;
    if (p >= l->end)
        return failed(l, "a string without its end");
    sg_jtoken t = token(l, SG_T_STRING);
    l->j->line = l->line;
    t.value = unescape(l->j, l->p + 1, p);
    advance(l, p + 1);
    return t;
}

static bool digit(const sg_jlexer *l, const char *p) { return p < l->end && *p >= '0' && *p <= '9'; }

/* Behind digits with single underscores between them. */
static const char *skip_digits(const sg_jlexer *l, const char *p)
{
    while (digit(l, p) || (p < l->end && *p == '_' && digit(l, p + 1)))
        p++;
    return p;
}

static sg_jtoken read_radix(sg_jlexer *l, int bits)
{
    sg_jtoken t = token(l, SG_T_NUMBER);
    const char *p = l->p + 2;
    uint64_t v = 0;
    for (; p < l->end; p++) {
        if (*p == '_')
            continue;
        int d = hex_digit(*p);
        if (d < 0 || d >= 1 << bits)
            break;
        if (v >> (63 - bits))
            return failed(l, "a number beyond 64 bits");
        v = v << bits | (uint64_t)d;
    }
    t.value = sg_jval_int((int64_t)v);
    advance(l, p);
    return t;
}

/* Digits as INT, or as BIG when they do not fit. */
static sg_jval decimal(sg_jinja *j, const char *s, size_t n)
{
    int64_t v = 0;
    for (size_t i = 0; i < n; i++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, s[i] - '0', &v)) {
            sg_jval big = sg_jval_str(s, n);
            big.kind = SG_J_BIG;
            if (n > 4300)
                sg_jinja_fail(j, SG_E_LIMIT, "an integer of more than 4300 digits");
            return big;
        }
    return sg_jval_int(v);
}

static sg_jtoken read_number(sg_jlexer *l)
{
    char c = left(l, l->p) > 2 && l->p[0] == '0' ? (char)(l->p[1] | 32) : '\0';
    int bits = c == 'x' ? 4 : c == 'o' ? 3 : c == 'b' ? 1 : 0;
    if (bits && hex_digit(l->p[2]) >= 0 && hex_digit(l->p[2]) < 1 << bits)
        return read_radix(l, bits);
    const char *p = skip_digits(l, l->p);
    bool real = false;
    if (p + 1 < l->end && *p == '.' && digit(l, p + 1) && l->p[-1] != '.') {
        real = true;
        p = skip_digits(l, p + 1);
    }
    if (p < l->end && (*p | 32) == 'e' && l->p[-1] != '.') {
        const char *q = p + 1;
        if (q < l->end && (*q == '+' || *q == '-'))
            q++;
        if (digit(l, q)) {
            real = true;
            p = skip_digits(l, q);
        }
    }
    sg_jtoken t = token(l, SG_T_NUMBER);
    sg_jinja_text plain = {.j = l->j};
    for (const char *q = l->p; q < p; q++)
        if (*q != '_')
            sg_jinja_text_addc(&plain, *q);
    sg_jinja_text_addc(&plain, '\0');
    if (!sg_jinja_ok(l->j))
        return token(l, SG_T_EOF);
    size_t zeros = 0;
    while (plain.s[zeros] == '0' && plain.s[zeros + 1] != '\0')
        zeros++;
    l->j->line = l->line;
    t.value = real ? sg_jval_float(sg_jinja_strtod(plain.s, NULL)) : decimal(l->j, plain.s + zeros, plain.n - 1 - zeros);
    advance(l, p);
    return t;
}

/* A name at p: its length in bytes, 0 when there is none. */
static size_t name_length(const sg_jlexer *l, const char *p)
{
    size_t n = 0;
    for (;;) {
        uint32_t cp;
        size_t used = sg_utf8_decode(p + n, left(l, p + n), &cp);
        if (!used || !sg_jchar_is_name(cp, n == 0))
            return n;
        n += used;
    }
}

static bool nest(sg_jlexer *l, int op)
{
    char text[64];
    if (op == '(' || op == '[' || op == '{') {
        if (l->nnest == SG_JLEX_NEST) {
            failed(l, "brackets nested too deep");
            return false;
        }
        l->nest[l->nnest++] = (char)(op == '(' ? ')' : op == '[' ? ']' : '}');
    } else if (op == ')' || op == ']' || op == '}') {
        if (l->nnest == 0 || l->nest[l->nnest - 1] != op) {
            if (l->nnest)
                snprintf(text, sizeof text, "unexpected '%c', expected '%c'", op, l->nest[l->nnest - 1]);
            else
                snprintf(text, sizeof text, "unexpected '%c'", op);
            failed(l, text);
            return false;
        }
        l->nnest--;
    }
    return true;
}

static sg_jtoken read_operator(sg_jlexer *l)
{
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    sg_jtoken t = token(l, SG_T_OP);
    for (size_t i = 0; i < sizeof two / sizeof two[0]; i++)
        if (starts(l, l->p, two[i])) {
            t.op = SG_OP2(two[i][0], two[i][1]);
            advance(l, l->p + 2);
            return t;
        }
    if (!*l->p || !strchr("+-/*%~[](){}><=.:|,;", *l->p)) {
        uint32_t cp;
        size_t used = sg_utf8_decode(l->p, left(l, l->p), &cp);
        char text[64];
        snprintf(text, sizeof text, "unexpected character '%.*s'", (int)used, l->p);
        return failed(l, text);
    }
    t.op = (unsigned char)*l->p;
    if (!nest(l, t.op))
        return token(l, SG_T_EOF);
    advance(l, l->p + 1);
    return t;
}

/* The end of the tag at l->p, or NULL. */
static const char *closing(const sg_jlexer *l)
{
    if (l->nnest)
        return NULL;
    if (l->mode == SG_LEX_BLOCK)
        return tag_end(l, l->p, "%}");
    if (starts(l, l->p, "-}}"))
        return skip_space(l, l->p + 3);
    return starts(l, l->p, "}}") ? l->p + 2 : NULL;
}

static sg_jtoken read_tag(sg_jlexer *l)
{
    advance(l, skip_space(l, l->p));
    if (l->p == l->end)
        return failed(l, l->mode == SG_LEX_VAR ? "the template ends inside {{" : "the template ends inside {%");
    const char *end = closing(l);
    if (end) {
        sg_jtoken t = token(l, l->mode == SG_LEX_VAR ? SG_T_VAR_END : SG_T_BLOCK_END);
        advance(l, end);
        l->mode = SG_LEX_TEXT;
        return t;
    }
    if (digit(l, l->p))
        return read_number(l);
    if (*l->p == '\'' || *l->p == '"')
        return read_string(l);
    size_t n = name_length(l, l->p);
    if (n) {
        sg_jtoken t = token(l, SG_T_NAME);
        t.value = sg_jval_str(l->p, n);
        advance(l, l->p + n);
        return t;
    }
    return read_operator(l);
}

sg_jtoken sg_jlexer_next(sg_jlexer *l)
{
    if (!sg_jinja_charge(l->j, 1))
        return token(l, SG_T_EOF);
    if (l->mode == SG_LEX_TAG_PENDING)
        return begin_tag(l);
    return l->mode == SG_LEX_TEXT ? read_text(l) : read_tag(l);
}

const char *sg_jtoken_text(const sg_jtoken *t, char *out, size_t cap)
{
    switch (t->type) {
    case SG_T_EOF:
        return "end of template";
    case SG_T_DATA:
        return "template text";
    case SG_T_VAR_BEGIN:
        return "begin of print statement";
    case SG_T_VAR_END:
        return "end of print statement";
    case SG_T_BLOCK_BEGIN:
        return "begin of statement block";
    case SG_T_BLOCK_END:
        return "end of statement block";
    case SG_T_NUMBER:
        return "a number";
    case SG_T_STRING:
        return "a string";
    case SG_T_NAME:
        snprintf(out, cap, "'%.*s'", (int)(t->value.n < 60 ? t->value.n : 60), t->value.s);
        return out;
    case SG_T_OP:
        if (t->op > 255)
            snprintf(out, cap, "'%c%c'", t->op >> 8, t->op & 255);
        else
            snprintf(out, cap, "'%c'", t->op);
        return out;
    }
    return "";
}
