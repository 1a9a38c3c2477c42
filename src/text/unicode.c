/* text/unicode.c - classes of characters and normal forms.
 *
 * Classes: sg_unicode_block[cp >> 8][cp & 255], blocks with equal contents shared (about 90 KB in use).  It
 * is made from utf8proc's properties at first use, in a few milliseconds, so that no generated table has to
 * be kept in the source.
 *
 * Normal forms: nearly all text is normal already, so the work is to be sure of that quickly.  A character
 * is "settled" in a form when it is a starter, is its own normal form and never joins the character before
 * it.  Between two settled characters nothing can change; each run of others, with the settled character
 * before it (they may join), is normalised by utf8proc and compared.  A run is cut after 256 characters:
 * utf8proc sorts marks by insertion, and a hostile text of a million marks must not cost their square.
 */
#include "text/unicode.h"

#include "base/utf8.h"

#include <pthread.h>
#include <string.h>
#include <utf8proc.h>

const uint8_t *sg_unicode_block[0x1100];

enum { NBLOCK_MAX = 1024, RUN_MAX = 256 };

static uint8_t blocks[NBLOCK_MAX][256];
static uint8_t unassigned[256];
static size_t nblock;

static bool is_white_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || cp == ' ' || cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

static uint8_t class_of(uint32_t cp)
{
    if (is_white_space(cp))
        return SG_CHAR_SPACE;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LL:
        return SG_CHAR_LOWER;
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
        return SG_CHAR_UPPER;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return SG_CHAR_OTHER;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return SG_CHAR_MARK;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return SG_CHAR_NUMBER;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        return SG_CHAR_PUNCT;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
        return SG_CHAR_SYMBOL;
    default:
        return 0;
    }
}

/* Planes 4 to 13 are unassigned and 15, 16 private use: class 0 all. */
static void make_classes(void)
{
    for (uint32_t b = 0; b < 0x1100; b++) {
        sg_unicode_block[b] = unassigned;
        if (b >= 0x400 && b != 0xe00 && b != 0xe01)
            continue;
        uint8_t one[256];
        for (uint32_t i = 0; i < 256; i++)
            one[i] = class_of(b << 8 | i);
        size_t k = nblock;
        while (k > 0 && memcmp(blocks[k - 1], one, 256) != 0)
            k--;
        if (k == 0) {
            SG_ASSERT(nblock < NBLOCK_MAX);
            memcpy(blocks[nblock++], one, 256);
            k = nblock;
        }
        sg_unicode_block[b] = blocks[k - 1];
    }
}

void sg_unicode_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_classes);
}

bool sg_unicode_is_word(uint32_t cp)
{
    return sg_unicode_class(cp) & (SG_CHAR_LETTER | SG_CHAR_MARK | SG_CHAR_NUMBER) ||
           utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_PC;
}

bool sg_unicode_is_control(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CO;
}

bool sg_unicode_is_nonspacing(uint32_t cp) { return utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_MN; }

bool sg_unicode_is_chinese(uint32_t cp)
{
    return (cp >= 0x4e00 && cp <= 0x9fff) || (cp >= 0x3400 && cp <= 0x4dbf) || (cp >= 0x20000 && cp <= 0x2a6df) ||
           (cp >= 0x2a700 && cp <= 0x2b73f) || (cp >= 0x2b740 && cp <= 0x2b81f) || (cp >= 0x2b920 && cp <= 0x2ceaf) ||
           (cp >= 0xf900 && cp <= 0xfaff) || (cp >= 0x2f800 && cp <= 0x2fa1f);
}

bool sg_unicode_is_bert_punct(uint32_t cp)
{
    return (cp >= 33 && cp <= 47) || (cp >= 58 && cp <= 64) || (cp >= 91 && cp <= 96) || (cp >= 123 && cp <= 126) ||
           sg_unicode_class(cp) & SG_CHAR_PUNCT;
}

static void add_char(sg_buf *out, uint32_t cp)
{
    char b[4];
    sg_buf_add(out, b, sg_utf8_encode(b, cp));
}

void sg_unicode_lower(sg_buf *out, uint32_t cp)
{
    if (cp == 0x130) { /* the one character whose lower case is two */
        sg_buf_adds(out, "i\xcc\x87");
        return;
    }
    add_char(out, cp < 128 ? (cp >= 'A' && cp <= 'Z' ? cp + 32 : cp) : (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp));
}

/* ---- normal forms ---- */

static const int form_options[4] = {
    [SG_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
    [SG_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
    [SG_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
    [SG_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
};

/* One bit a code point: not settled. */
static uint8_t unsettled[4][0x110000 / 8];

/* The normal form of a short run.  Returns its bytes, or -1 when out does not suffice (it does for
 * RUN_MAX + 1 characters: none has more than 18 in any form). */
static ptrdiff_t normalize_run(char *out, size_t cap, const char *s, size_t n, sg_normal_form form)
{
    utf8proc_int32_t cps[(RUN_MAX + 2) * 18];
    utf8proc_ssize_t k = utf8proc_decompose((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, cps,
                                            sizeof cps / sizeof cps[0], (utf8proc_option_t)form_options[form]);
    if (k < 0 || (size_t)k > sizeof cps / sizeof cps[0])
        return -1;
    k = utf8proc_normalize_utf32(cps, k, (utf8proc_option_t)form_options[form]);
    size_t w = 0;
    for (utf8proc_ssize_t i = 0; i < k; i++) {
        if (w + 4 > cap)
            return -1;
        w += sg_utf8_encode(out + w, (uint32_t)cps[i]);
    }
    return (ptrdiff_t)w;
}

static bool is_settled(uint32_t cp, sg_normal_form form)
{
    const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)cp);
    if (p->combining_class)
        return false;
    if (form == SG_NFC || form == SG_NFKC) {
        if (p->comb_index != UINT16_MAX && p->comb_index >= 0x8000)
            return false;
        if ((cp >= 0x1161 && cp <= 0x1175) || (cp >= 0x11a8 && cp <= 0x11c2))
            return false;
    }
    if (p->decomp_seqindex == UINT16_MAX && (cp < 0xac00 || cp > 0xd7a3))
        return true;
    char s[4], out[128];
    size_t n = sg_utf8_encode(s, cp);
    return normalize_run(out, sizeof out, s, n, form) == (ptrdiff_t)n && memcmp(s, out, n) == 0;
}

static void make_form(sg_normal_form form)
{
    for (uint32_t cp = 0; cp < 0x30000; cp++)
        if ((cp < 0xd800 || cp >= 0xe000) && (cp < 0x20000 || cp >= 0x2f800) && !is_settled(cp, form))
            unsettled[form][cp >> 3] |= (uint8_t)(1u << (cp & 7));
}

static void make_nfc(void) { make_form(SG_NFC); }
static void make_nfd(void) { make_form(SG_NFD); }
static void make_nfkc(void) { make_form(SG_NFKC); }
static void make_nfkd(void) { make_form(SG_NFKD); }

static void init_form(sg_normal_form form)
{
    static pthread_once_t once[4] = {PTHREAD_ONCE_INIT, PTHREAD_ONCE_INIT, PTHREAD_ONCE_INIT, PTHREAD_ONCE_INIT};
    static void (*const make[4])(void) = {make_nfc, make_nfd, make_nfkc, make_nfkd};
    pthread_once(&once[form], make[form]);
}

/* The run of unsettled characters at s[i..n), at most RUN_MAX of them: where it ends. */
static size_t run_end(const uint8_t *bits, const char *s, size_t i, size_t n)
{
    for (int k = 0; k < RUN_MAX && i < n; k++) {
        uint32_t cp;
        size_t used = sg_utf8_decode(s + i, n - i, &cp);
        if (used <= 1 || !(bits[cp >> 3] & 1u << (cp & 7)))
            break;
        i += used;
    }
    return i;
}

sg_status sg_unicode_normalize(sg_buf *out, const char *s, size_t n, sg_normal_form form, bool *same, sg_error *err)
{
    init_form(form);
    const uint8_t *bits = unsettled[form];
    size_t done = 0, before = 0; /* s[0..done) is written; `before` is where the last settled character starts */
    for (size_t i = 0; i < n;) {
        if (!((unsigned char)s[i] & 0x80)) {
            before = i++;
            continue;
        }
        uint32_t cp;
        size_t used = sg_utf8_decode(s + i, n - i, &cp);
        if (used == 0 || !(bits[cp >> 3] & 1u << (cp & 7))) {
            before = i;
            i += used ? used : 1;
            continue;
        }
        size_t end = run_end(bits, s, i, n);
        char norm[(RUN_MAX + 2) * 18 * 4];
        ptrdiff_t k = normalize_run(norm, sizeof norm, s + before, end - before, form);
        if (k < 0)
            return sg_fail(err, SG_E_FORMAT, "text: byte %zu cannot be normalised", before);
        if ((size_t)k != end - before || memcmp(norm, s + before, (size_t)k) != 0) {
            sg_buf_add(out, s + done, before - done);
            sg_buf_add(out, norm, (size_t)k);
            done = end;
        }
        before = i = end;
    }
    *same = done == 0;
    if (!*same)
        sg_buf_add(out, s + done, n - done);
    return sg_buf_ok(out) ? SG_OK : sg_fail_nomem(err, "normalised text");
}
