/* text/jinja_unicode.c - white space, printable characters and full case mappings over utf8proc.
 *
 * utf8proc has the simple (one to one) case mappings and full case folding.  The full upper-case mapping
 * of SpecialCasing.txt is derived: where a character that is not upper case itself folds to several
 * characters (ss for sharp s, fi for the ligature, a vowel and iota for the Greek iota subscripts), its
 * upper case is the upper case of these, one by one.  What folding does not say stands in code: capital
 * I with a dot above, and the final sigma.
 */
#include "text/jinja_unicode.h"

#include "base/utf8.h"

#include <utf8proc.h>

bool sg_jchar_is_space(uint32_t cp)
{
    if (cp < 0x80)
        return cp == ' ' || (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x1f);
    return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 ||
           cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

static utf8proc_category_t category(uint32_t cp) { return utf8proc_category((utf8proc_int32_t)cp); }

bool sg_jchar_is_printable(uint32_t cp)
{
    if (cp < 0x7f)
        return cp >= 0x20;
    switch (category(cp)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

bool sg_jchar_is_alpha(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

bool sg_jchar_is_decimal(uint32_t cp) { return category(cp) == UTF8PROC_CATEGORY_ND; }

bool sg_jchar_is_digit(uint32_t cp)
{
    return sg_jchar_is_decimal(cp) || cp == 0xb2 || cp == 0xb3 || cp == 0xb9 || cp == 0x2070 || (cp >= 0x2074 && cp <= 0x2079) ||
           (cp >= 0x2080 && cp <= 0x2089) || (cp >= 0x2460 && cp <= 0x2468);
}

bool sg_jchar_is_numeric(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

bool sg_jchar_is_upper(uint32_t cp) { return utf8proc_isupper((utf8proc_int32_t)cp) && category(cp) != UTF8PROC_CATEGORY_LT; }
bool sg_jchar_is_lower(uint32_t cp) { return utf8proc_islower((utf8proc_int32_t)cp); }

bool sg_jchar_is_name(uint32_t cp, bool first)
{
    if (cp < 0x80)
        return cp == '_' || ((cp | 32) >= 'a' && (cp | 32) <= 'z') || (!first && cp >= '0' && cp <= '9');
    utf8proc_category_t c = category(cp);
    if (sg_jchar_is_alpha(cp) || c == UTF8PROC_CATEGORY_NL)
        return true;
    return !first && (c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC || c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_PC);
}

uint32_t sg_jstr_before(const char *s, size_t at, size_t *start)
{
    size_t b = at - 1;
    while (b > 0 && at - b < 4 && ((unsigned char)s[b] & 0xc0) == 0x80)
        b--;
    uint32_t cp;
    sg_utf8_decode(s + b, at - b, &cp);
    *start = b;
    return cp;
}

size_t sg_jstr_space_left(const char *s, size_t n)
{
    size_t at = 0;
    while (at < n) {
        uint32_t cp;
        size_t used = sg_utf8_decode(s + at, n - at, &cp);
        if (!used || !sg_jchar_is_space(cp))
            break;
        at += used;
    }
    return at;
}

size_t sg_jstr_space_right(const char *s, size_t n)
{
    size_t at = n, start;
    while (at > 0 && sg_jchar_is_space(sg_jstr_before(s, at, &start)))
        at = start;
    return n - at;
}

/* ---- case ---------------------------------------------------------------------- */

/* The full case folding of cp: its length, 1 for most. */
static utf8proc_ssize_t fold(uint32_t cp, utf8proc_int32_t out[4])
{
    int bound = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, out, 4, UTF8PROC_CASEFOLD, &bound);
    if (n < 1 || n > 4) {
        out[0] = (utf8proc_int32_t)cp;
        return 1;
    }
    return n;
}

static uint32_t simple_lower(uint32_t cp) { return (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp); }
static uint32_t simple_upper(uint32_t cp) { return (uint32_t)utf8proc_toupper((utf8proc_int32_t)cp); }

/* Upper case, or title case for the first character of a word. */
static void raise(sg_jinja_text *t, uint32_t cp, bool title)
{
    if (cp < 0x80) {
        sg_jinja_text_addc(t, cp >= 'a' && cp <= 'z' ? (char)(cp - 32) : (char)cp);
        return;
    }
    utf8proc_int32_t f[4];
    utf8proc_ssize_t n = category(cp) == UTF8PROC_CATEGORY_LU ? 1 : fold(cp, f);
    uint32_t one = title ? (uint32_t)utf8proc_totitle((utf8proc_int32_t)cp) : simple_upper(cp);
    if (n == 1 || (title && one != cp) || (title && category(cp) == UTF8PROC_CATEGORY_LT)) {
        sg_jinja_text_cp(t, one);
        return;
    }
    bool lower_rest = title && f[0] != 0x2bc;
    for (utf8proc_ssize_t i = 0; i < n; i++)
        sg_jinja_text_cp(t, lower_rest && i > 0 ? (uint32_t)f[i] : simple_upper((uint32_t)f[i]));
}

static bool cased(uint32_t cp) { return sg_jchar_is_lower(cp) || sg_jchar_is_upper(cp) || category(cp) == UTF8PROC_CATEGORY_LT; }

static bool case_ignorable(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return cp == '\'' || cp == '.' || cp == ':' || cp == '^' || cp == '`' || cp == 0xb7 || cp == 0x2019 || c == UTF8PROC_CATEGORY_MN ||
           c == UTF8PROC_CATEGORY_ME || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_SK;
}

/* Is the capital sigma at s[at] the last letter of a word?  Unicode, table 3-17. */
static bool final_sigma(const char *s, size_t n, size_t at)
{
    uint32_t cp = 0;
    size_t b = at;
    bool before = false;
    while (b > 0) {
        cp = sg_jstr_before(s, b, &b);
        if (!case_ignorable(cp)) {
            before = cased(cp);
            break;
        }
    }
    for (size_t a = at + 2; before && a < n;) {
        size_t used = sg_utf8_decode(s + a, n - a, &cp);
        if (!used || !case_ignorable(cp))
            return !used || !cased(cp);
        a += used;
    }
    return before;
}

static void lower_at(sg_jinja_text *t, const char *s, size_t n, size_t at, uint32_t cp)
{
    if (cp < 0x80)
        sg_jinja_text_addc(t, cp >= 'A' && cp <= 'Z' ? (char)(cp + 32) : (char)cp);
    else if (cp == 0x130)
        sg_jinja_text_adds(t, "i\xcc\x87");
    else if (cp == 0x3a3)
        sg_jinja_text_cp(t, final_sigma(s, n, at) ? 0x3c2 : 0x3c3);
    else
        sg_jinja_text_cp(t, simple_lower(cp));
}

typedef enum mapping { UPPER, LOWER, CAPITALIZE, TITLE, SWAP, FOLD } mapping;

static void map(sg_jinja_text *t, const char *s, size_t n, mapping m)
{
    bool inside = false; /* a word, for TITLE */
    for (size_t at = 0; at < n && sg_jinja_charge(t->j, 1);) {
        uint32_t cp;
        size_t used = sg_utf8_decode(s + at, n - at, &cp);
        used = used ? used : 1;
        if (m == UPPER)
            raise(t, cp, false);
        else if (m == LOWER)
            lower_at(t, s, n, at, cp);
        else if (m == CAPITALIZE)
            at == 0 ? raise(t, cp, true) : lower_at(t, s, n, at, cp);
        else if (m == TITLE)
            inside ? lower_at(t, s, n, at, cp) : raise(t, cp, true);
        else if (m == SWAP)
            sg_jchar_is_upper(cp) ? lower_at(t, s, n, at, cp) : sg_jchar_is_lower(cp) ? raise(t, cp, false) : sg_jinja_text_cp(t, cp);
        else {
            utf8proc_int32_t f[4];
            utf8proc_ssize_t k = fold(cp, f);
            for (utf8proc_ssize_t i = 0; i < k; i++)
                sg_jinja_text_cp(t, (uint32_t)f[i]);
        }
        inside = cased(cp);
        at += used;
    }
}

void sg_jtext_upper(sg_jinja_text *t, const char *s, size_t n) { map(t, s, n, UPPER); }
void sg_jtext_lower(sg_jinja_text *t, const char *s, size_t n) { map(t, s, n, LOWER); }
void sg_jtext_capitalize(sg_jinja_text *t, const char *s, size_t n) { map(t, s, n, CAPITALIZE); }
void sg_jtext_title(sg_jinja_text *t, const char *s, size_t n) { map(t, s, n, TITLE); }
void sg_jtext_swapcase(sg_jinja_text *t, const char *s, size_t n) { map(t, s, n, SWAP); }
void sg_jtext_casefold(sg_jinja_text *t, const char *s, size_t n) { map(t, s, n, FOLD); }
