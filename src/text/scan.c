/* text/scan.c - the well-known patterns as scanners.
 *
 * Every pattern of the GPT families is the same handful of alternatives, tried in order at each place, each decided by the class
 * of one or two characters:
 *
 *     contraction     's 't 're ...          a word's prefix and letters      numbers, up to k
 *     [prefix] word   ' ' or any mark        runs of anything else            white space
 *
 * so a scanner is a chain of class tests and runs, without backtracking; what little backtracking changes the answer (white
 * space before a word, upper case before lower case) is worked out at the place.  Characters are classed by one table
 * load (unicode.h); runs of ASCII letters, which are most of most texts, are measured 16 or 32 bytes at a time.
 *
 * One inline function has a `const` description of each pattern as its argument, and one instance is compiled for each: the
 * compiler folds the description away.  Text is well-formed UTF-8 here (encode.c sees to it).
 */
#include "text/scan.h"

#include "text/unicode.h"

#include <string.h>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

enum { L = SG_CHAR_LETTER, M = SG_CHAR_MARK, N = SG_CHAR_NUMBER, S = SG_CHAR_SPACE, P = SG_CHAR_PUNCT, Y = SG_CHAR_SYMBOL };

typedef enum words {
    WORDS_GPT2,     /* ` ?\p{L}+` */
    WORDS_LETTERS,  /* `[^\r\n\p{L}\p{N}]?\p{L}+` */
    WORDS_MARKS,    /* `[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+` */
    WORDS_CASED,    /* upper case then lower case, with marks */
    WORDS_DEEPSEEK, /* `[!-~ punctuation][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+` */
} words;

typedef enum contractions { NO_CONTRACTIONS, CONTRACTIONS, CONTRACTIONS_ANY_CASE, CONTRACTIONS_BEHIND } contractions;

typedef struct pattern {
    words words;
    contractions contractions;
    unsigned digits;  /* longest number, 0 = any length, with ' ?' before it as GPT-2 has it */
    bool marks_apart; /* punctuation excludes \p{M} too */
    bool tail, slash; /* punctuation takes line ends (and slashes) behind it */
    bool newlines;    /* `\s*[\r\n]+` */
} pattern;

typedef struct text {
    const unsigned char *s;
    uint32_t end;
} text;

/* The class of the character at i and its length; class 0 at the end. */
static inline unsigned class_at(text t, uint32_t i, uint32_t *len)
{
    if (i >= t.end) {
        *len = 0;
        return 0;
    }
    const unsigned char *p = t.s + i;
    unsigned c = p[0];
    if (c < 0x80) {
        *len = 1;
        return sg_unicode_block[0][c];
    }
    if (c < 0xe0) {
        *len = 2;
        unsigned cp = (c & 0x1f) << 6 | (p[1] & 0x3fu);
        return sg_unicode_block[cp >> 8][cp & 255];
    }
    if (c < 0xf0) {
        *len = 3;
        unsigned cp = (c & 0xf) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
        return sg_unicode_block[cp >> 8][cp & 255];
    }
    *len = 4;
    unsigned cp = (c & 7) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
    return sg_unicode_class(cp);
}

/* End of the run of ASCII letters at i. */
static inline uint32_t ascii_letters(text t, uint32_t i)
{
#if defined(__x86_64__)
    while (i + 16 <= t.end) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(t.s + i));
        __m128i lower = _mm_or_si128(x, _mm_set1_epi8(0x20));
        __m128i is = _mm_and_si128(_mm_cmpgt_epi8(lower, _mm_set1_epi8('a' - 1)), _mm_cmplt_epi8(lower, _mm_set1_epi8('z' + 1)));
        unsigned m = (unsigned)_mm_movemask_epi8(is);
        if (m != 0xffff)
            return i + (uint32_t)__builtin_ctz(~m);
        i += 16;
    }
#endif
    while (i < t.end && (unsigned char)((t.s[i] | 0x20) - 'a') < 26)
        i++;
    return i;
}

/* End of the run of ASCII lower case at i. */
static inline uint32_t ascii_lower(text t, uint32_t i)
{
#if defined(__x86_64__)
    while (i + 16 <= t.end) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(t.s + i));
        __m128i is = _mm_and_si128(_mm_cmpgt_epi8(x, _mm_set1_epi8('a' - 1)), _mm_cmplt_epi8(x, _mm_set1_epi8('z' + 1)));
        unsigned m = (unsigned)_mm_movemask_epi8(is);
        if (m != 0xffff)
            return i + (uint32_t)__builtin_ctz(~m);
        i += 16;
    }
#endif
    while (i < t.end && (unsigned char)(t.s[i] - 'a') < 26)
        i++;
    return i;
}

/* End of the run of characters at i that have (or, `not`, have not) one of the classes. */
static inline uint32_t run(text t, uint32_t i, unsigned classes)
{
    for (uint32_t len; class_at(t, i, &len) & classes; i += len)
        if (len == 1 && classes & SG_CHAR_LOWER) {
            i = classes & SG_CHAR_UPPER ? ascii_letters(t, i) : ascii_lower(t, i + 1);
            len = 0;
        }
    return i;
}

static inline uint32_t run_not(text t, uint32_t i, unsigned classes)
{
    for (uint32_t len; i < t.end && !(class_at(t, i, &len) & classes); i += len)
        ;
    return i;
}

static inline bool is_newline(unsigned char c) { return c == '\r' || c == '\n'; }

/* Length of 's 't 're 've 'm 'll 'd at i, 0 when there is none.  In any case, U+017F (long s) is an s. */
static inline uint32_t contraction(text t, uint32_t i, bool any_case)
{
    uint32_t left = t.end - i;
    if (left < 2 || t.s[i] != '\'')
        return 0;
    unsigned char a = t.s[i + 1], b = left > 2 ? t.s[i + 2] : 0;
    if (any_case) {
        if (a == 0xc5 && b == 0xbf)
            return 3;
        a |= 0x20;
        b |= 0x20;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    if (b == 'e' && (a == 'r' || a == 'v'))
        return 3;
    return a == 'l' && b == 'l' ? 3 : 0;
}

/* [upper]*[lower]+ or else [upper]+[lower]* at i, where modifier letters, other letters and marks are both.  Returns the
 * end, or i when nothing matches. */
static inline uint32_t cased(text t, uint32_t i)
{
    const unsigned both = SG_CHAR_OTHER | M;
    uint32_t len, k = i, after_both = 0;
    for (unsigned c; (c = class_at(t, k, &len)) & (SG_CHAR_UPPER | both); k += len)
        if (c & both)
            after_both = k + len;
    uint32_t e = run(t, k, SG_CHAR_LOWER | both);
    if (e > k)
        return e;
    return after_both ? after_both : k; /* give upper case back until the last can be a lower case; else all upper case */
}

/* End of the word at i with its prefix, or i when there is none. */
static inline uint32_t word(const pattern *p, text t, uint32_t i, unsigned c, uint32_t len)
{
    unsigned char b = t.s[i];
    uint32_t e;
    switch (p->words) {
    case WORDS_GPT2:
        e = i + (b == ' ');
        if ((e > i ? class_at(t, e, &len) : c) & L)
            return run(t, e, L);
        return i;
    case WORDS_LETTERS:
        if (c & L)
            return run(t, i, L);
        if (c & N || is_newline(b))
            return i;
        e = run(t, i + len, L);
        return e > i + len ? e : i;
    case WORDS_MARKS:
        if (c & (L | M))
            return run(t, i, L | M);
        if (c & N || is_newline(b))
            return i;
        e = run(t, i + len, L | M);
        return e > i + len ? e : i;
    case WORDS_CASED:
        if (!(c & (L | N)) && !is_newline(b)) {
            e = cased(t, i + len);
            /* The first alternative needs a lower case; with a mark for its prefix it may find one only without. */
            if (e > i + len && !(c & M))
                return e;
        }
        return cased(t, i);
    case WORDS_DEEPSEEK:
        if (c & (P | Y) && b < 0x80) {
            e = ascii_letters(t, i + 1);
            return e > i + 1 ? e : i;
        }
        if (c & (L | M))
            return run(t, i, L | M);
        if (c & (P | Y) || is_newline(b))
            return i;
        e = run(t, i + len, L | M);
        return e > i + len ? e : i;
    }
    return i;
}

/* End of the run of anything else at i, with a blank before it and line ends behind it. */
static inline uint32_t other(const pattern *p, text t, uint32_t i)
{
    uint32_t start = i + (t.s[i] == ' '), e;
    if (p->words == WORDS_DEEPSEEK)
        e = run(t, start, P | Y);
    else
        e = run_not(t, start, S | L | N | (p->marks_apart ? M : 0));
    if (e == start)
        return i;
    if (p->tail)
        while (e < t.end && (is_newline(t.s[e]) || (p->slash && t.s[e] == '/')))
            e++;
    return e;
}

/* End of the white space at i (there is some): up to the last line end in it, or all but the last character
 * when more text follows, or all. */
static inline uint32_t space(const pattern *p, text t, uint32_t i)
{
    uint32_t e = i, len, last = i, newline = i;
    while (class_at(t, e, &len) & S) {
        last = e;
        e += len;
        if (is_newline(t.s[last]))
            newline = e;
    }
    if (p->newlines && newline > i)
        return newline;
    return e < t.end && last > i ? last : e;
}

/* End of the number at i, 0 digits: of any length. */
static inline uint32_t number(const pattern *p, text t, uint32_t i)
{
    uint32_t len;
    if (p->digits == 0)
        return run(t, i, N);
    for (unsigned k = 0; k < p->digits && class_at(t, i, &len) & N; k++)
        i += len;
    return i;
}

/* End of the match at i, or i when nothing matches there. */
static inline uint32_t match(const pattern *p, text t, uint32_t i)
{
    uint32_t len, e;
    unsigned c = class_at(t, i, &len);
    if (p->contractions == CONTRACTIONS || p->contractions == CONTRACTIONS_ANY_CASE) {
        e = contraction(t, i, p->contractions == CONTRACTIONS_ANY_CASE);
        if (e)
            return i + e;
    }
    e = word(p, t, i, c, len);
    if (e > i)
        return p->contractions == CONTRACTIONS_BEHIND ? e + contraction(t, e, true) : e;
    if (p->words == WORDS_GPT2) {
        uint32_t start = i + (t.s[i] == ' ');
        e = run(t, start, N);
        if (e > start)
            return e;
    } else if (p->words != WORDS_DEEPSEEK && c & N) {
        return number(p, t, i);
    }
    e = other(p, t, i);
    if (e > i)
        return e;
    return c & S ? space(p, t, i) : i;
}

static inline size_t scan(const pattern *p, const char *s, uint32_t *pos, uint32_t end, sg_span *out, size_t max)
{
    text t = {(const unsigned char *)s, end};
    uint32_t i = *pos, gap = i;
    size_t n = 0;
    while (i < end && n + 2 <= max) {
        uint32_t e = match(p, t, i);
        if (e == i) { /* nothing matches: part of a gap */
            uint32_t len;
            class_at(t, i, &len);
            i += len;
            continue;
        }
        if (gap < i)
            out[n++] = (sg_span){gap, i};
        out[n++] = (sg_span){i, e};
        gap = i = e;
    }
    if (i >= end && gap < end && n < max) {
        out[n++] = (sg_span){gap, end};
        gap = end;
    }
    *pos = gap;
    return n;
}

#define SCANNER(name, ...)                                                                             \
    static size_t scan_##name(const char *s, uint32_t *pos, uint32_t end, sg_span *out, size_t max)    \
    {                                                                                                  \
        static const pattern p = {__VA_ARGS__};                                                        \
        return scan(&p, s, pos, end, out, max);                                                        \
    }

SCANNER(gpt2, .words = WORDS_GPT2, .contractions = CONTRACTIONS)
SCANNER(llama3, .words = WORDS_LETTERS, .contractions = CONTRACTIONS_ANY_CASE, .digits = 3, .tail = true, .newlines = true)
SCANNER(qwen2, .words = WORDS_LETTERS, .contractions = CONTRACTIONS_ANY_CASE, .digits = 1, .tail = true, .newlines = true)
SCANNER(numbers, .words = WORDS_LETTERS, .contractions = CONTRACTIONS_ANY_CASE, .digits = 0, .tail = true, .newlines = true)
SCANNER(turkish, .words = WORDS_LETTERS, .digits = 1, .tail = true, .newlines = true)
SCANNER(qwen35, .words = WORDS_MARKS, .contractions = CONTRACTIONS_ANY_CASE, .digits = 1, .marks_apart = true, .tail = true,
        .newlines = true)
SCANNER(o200k, .words = WORDS_CASED, .contractions = CONTRACTIONS_BEHIND, .digits = 3, .tail = true, .slash = true,
        .newlines = true)
SCANNER(tekken, .words = WORDS_CASED, .digits = 1, .tail = true, .slash = true, .newlines = true)
SCANNER(deepseek, .words = WORDS_DEEPSEEK, .tail = true, .newlines = true)

/* Patterns that pick out characters and leave the rest in gaps. */
typedef bool want_fn(unsigned class, const unsigned char *s, uint32_t len);

static inline size_t pick(want_fn *want, uint32_t longest, const char *s, uint32_t *pos, uint32_t end, sg_span *out, size_t max)
{
    text t = {(const unsigned char *)s, end};
    uint32_t i = *pos, gap = i, len;
    size_t n = 0;
    while (i < end && n + 2 <= max) {
        uint32_t e = i;
        for (uint32_t k = 0; k < longest && e < end; k++) {
            unsigned c = class_at(t, e, &len);
            if (!want(c, t.s + e, len))
                break;
            e += len;
        }
        if (e == i) {
            class_at(t, i, &len);
            i += len;
            continue;
        }
        if (gap < i)
            out[n++] = (sg_span){gap, i};
        out[n++] = (sg_span){i, e};
        gap = i = e;
    }
    if (i >= end && gap < end && n < max) {
        out[n++] = (sg_span){gap, end};
        gap = end;
    }
    *pos = gap;
    return n;
}

static bool is_number(unsigned class, const unsigned char *s, uint32_t len)
{
    (void)s;
    (void)len;
    return class & N;
}

/* [一-龥぀-ゟ゠-ヿ]: ideographs as of Unicode 1, hiragana, katakana; all of three bytes. */
static bool is_cjk(unsigned class, const unsigned char *s, uint32_t len)
{
    (void)class;
    if (len != 3)
        return false;
    unsigned cp = (s[0] & 0xfu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
    return (cp >= 0x4e00 && cp <= 0x9fa5) || (cp >= 0x3040 && cp <= 0x30ff);
}

static bool is_line_end(unsigned class, const unsigned char *s, uint32_t len)
{
    (void)class;
    return len == 1 && is_newline(*s);
}

#define PICKER(name, want, longest)                                                                    \
    static size_t scan_##name(const char *s, uint32_t *pos, uint32_t end, sg_span *out, size_t max)    \
    {                                                                                                  \
        return pick(want, longest, s, pos, end, out, max);                                             \
    }

PICKER(number, is_number, 1)
PICKER(number3, is_number, 3)
PICKER(number_run, is_number, UINT32_MAX)
PICKER(cjk, is_cjk, UINT32_MAX)
PICKER(line_end, is_line_end, 1)

#define AFTER_WORDS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LETTERS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define CASED_1 "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
#define CASED_2 "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
#define ENDS "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
#define AFTER_CASED "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define DEEPSEEK(nl) \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^" nl "\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[" nl \
    "]*|\\s*[" nl "]+|\\s+(?!\\S)|\\s+"

const sg_scanner sg_scanners[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", scan_gpt2},
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)", scan_gpt2},
    {"'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", scan_gpt2},
    {LETTERS "\\p{N}{1,3}" AFTER_WORDS, scan_llama3},
    {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
     scan_llama3},
    {LETTERS "\\p{N}" AFTER_WORDS, scan_qwen2},
    {LETTERS "\\p{N}+" AFTER_WORDS, scan_numbers},
    {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
     scan_qwen2},
    {"[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" AFTER_WORDS, scan_turkish},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
     "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     scan_qwen35},
    {CASED_1 ENDS "|" CASED_2 ENDS "|\\p{N}{1,3}" AFTER_CASED, scan_o200k},
    {CASED_1 "|" CASED_2 "|\\p{N}" AFTER_CASED, scan_tekken},
    {DEEPSEEK("\r\n"), scan_deepseek},
    {DEEPSEEK("\\r\\n"), scan_deepseek},
    {"\\p{N}", scan_number},
    {"\\p{N}{1,3}", scan_number3},
    {"\\p{N}+", scan_number_run},
    {"[\xe4\xb8\x80-\xe9\xbe\xa5\xe3\x81\x80-\xe3\x82\x9f\xe3\x82\xa0-\xe3\x83\xbf]+", scan_cjk},
    {"[\r\n]", scan_line_end},
    {"[\\r\\n]", scan_line_end},
    {NULL, NULL},
};

sg_scan_fn *sg_scanner_find(const char *regex, size_t n)
{
    for (const sg_scanner *s = sg_scanners; s->pattern; s++)
        if (strlen(s->pattern) == n && memcmp(s->pattern, regex, n) == 0)
            return s->scan;
    return NULL;
}
