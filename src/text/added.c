/* text/added.c - finding added tokens in text.
 *
 * A trie holds their texts.  Matching walks it from each place where some token could start and keeps the longest
 * end; most texts have no such place, so when all tokens start with the same byte (the usual '<') memchr finds the
 * places, and otherwise the root's table of children rules them out, a load for each byte.
 *
 * Rejected: Aho-Corasick, which never looks at a byte twice.  Tokens are bounded in length and false starts rare,
 * so it would save nothing and cost a failure link for every node.
 */
#include "text/added.h"

#include "base/heap.h"
#include "base/utf8.h"
#include "text/unicode.h"

#include <string.h>

sg_status sg_added_init(sg_added *a, sg_error *err)
{
    sg_added x = {.only = -1};
    SG_TRY(sg_trie_init(&x.trie, err));
    *a = x;
    return SG_OK;
}

void sg_added_fini(sg_added *a)
{
    sg_trie_fini(&a->trie);
    sg_free(a->token);
    *a = (sg_added){0};
}

sg_status sg_added_put(sg_added *a, const char *s, size_t n, uint32_t id, unsigned flags, sg_error *err)
{
    if (n == 0)
        return SG_OK;
    if (n > SG_ADDED_LENGTH_MAX)
        return sg_fail(err, SG_E_LIMIT, "added token %u: %zu bytes, at most %d", id, n, SG_ADDED_LENGTH_MAX);
    if (a->n == a->cap) {
        size_t cap = a->cap * 2 + 16;
        sg_added_token *t = sg_realloc(a->token, cap * sizeof *t);
        if (!t)
            return sg_fail_nomem(err, "added tokens");
        a->token = t;
        a->cap = cap;
    }
    SG_TRY(sg_trie_add(&a->trie, 0, s, n, (int32_t)a->n, err));
    a->only = a->n == 0 || a->only == (unsigned char)s[0] ? (unsigned char)s[0] : -1;
    a->token[a->n++] = (sg_added_token){.id = id, .flags = (uint8_t)flags};
    if (!(flags & SG_ADDED_SPECIAL))
        a->has_ordinary = true;
    return SG_OK;
}

/* The longest string of the trie at text[i..end): its index, or -1. */
static int32_t longest(const sg_added *a, const char *text, size_t i, size_t end, size_t *stop)
{
    int32_t best = -1;
    uint32_t node = 0;
    while (i < end && (node = sg_trie_step(&a->trie, node, (unsigned char)text[i]))) {
        i++;
        if (a->trie.value[node] >= 0) {
            best = a->trie.value[node];
            *stop = i;
        }
    }
    return best;
}

static bool word_before(const char *text, size_t from, size_t i)
{
    size_t k = i;
    while (k > from && k > i - 4 && ((unsigned char)text[k - 1] & 0xc0) == 0x80)
        k--;
    uint32_t cp;
    return k > from && sg_utf8_decode(text + k - 1, i - (k - 1), &cp) && sg_unicode_is_word(cp);
}

static bool word_after(const char *text, size_t i, size_t end)
{
    uint32_t cp;
    return i < end && sg_utf8_decode(text + i, end - i, &cp) && sg_unicode_is_word(cp);
}

/* Widen a match over the white space beside it. */
static void strip(unsigned flags, const char *text, size_t from, size_t end, size_t *start, size_t *stop)
{
    uint32_t cp;
    while (flags & SG_ADDED_RSTRIP && *stop < end) {
        size_t n = sg_utf8_decode(text + *stop, end - *stop, &cp);
        if (!n || !sg_unicode_is_space(cp))
            break;
        *stop += n;
    }
    while (flags & SG_ADDED_LSTRIP && *start > from) {
        size_t k = *start - 1;
        while (k > from && ((unsigned char)text[k] & 0xc0) == 0x80)
            k--;
        if (!sg_utf8_decode(text + k, *start - k, &cp) || !sg_unicode_is_space(cp))
            break;
        *start = k;
    }
}

bool sg_added_next(const sg_added *a, const char *text, size_t from, size_t end, bool special, size_t *start, size_t *stop,
                   uint32_t *id)
{
    if (a->n == 0 || (!special && !a->has_ordinary))
        return false;
    for (size_t i = from; i < end; i++) {
        if (a->only >= 0) {
            const char *p = memchr(text + i, a->only, end - i);
            if (!p)
                return false;
            i = (size_t)(p - text);
        } else if (!a->trie.root[(unsigned char)text[i]]) {
            continue;
        }
        size_t e = i;
        int32_t k = longest(a, text, i, end, &e);
        if (k < 0)
            continue;
        unsigned flags = a->token[k].flags;
        if ((flags & SG_ADDED_SPECIAL && !special) ||
            (flags & SG_ADDED_WORD && (word_before(text, from, i) || word_after(text, e, end)))) {
            i = e - 1; /* it is there, but it is text; nothing shorter inside it counts */
            continue;
        }
        *start = i;
        *stop = e;
        *id = a->token[k].id;
        strip(flags, text, from, end, start, stop);
        return true;
    }
    return false;
}
