/* format/tokenizer_wordlist.c - see tokenizer_wordlist.h. */
#include "format/tokenizer_wordlist.h"

#include "base/heap.h"
#include "format/gguf.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_VOCABULARY = 1 << 24 };

void sg_wordlist_fini(sg_wordlist *v)
{
    sg_free(v->pieces);
    sg_free(v->types);
    sg_free(v->scores);
    sg_free(v->text);
}

sg_status sg_wordlist_init(sg_wordlist *v, uint64_t n, sg_error *err)
{
    if (n < 1 || n > MAX_VOCABULARY)
        return sg_fail(err, SG_E_LIMIT, "a vocabulary of %" PRIu64 " tokens", n);
    *v = (sg_wordlist){.n = (size_t)n};
    v->pieces = sg_calloc(v->n, sizeof *v->pieces);
    v->types = sg_calloc(v->n, sizeof *v->types);
    v->scores = sg_calloc(v->n, sizeof *v->scores);
    return v->pieces && v->types && v->scores ? SG_OK : sg_fail_nomem(err, "a vocabulary");
}

sg_status sg_wordlist_set_str(sg_dict *d, const char *key, const char *s, sg_error *err)
{
    return sg_dict_set_str(d, key, s, strlen(s), err);
}

sg_status sg_wordlist_set(sg_dict *d, const sg_wordlist *v, bool scores, sg_error *err)
{
    sg_value types = {.kind = SG_KIND_ARRAY, .wire = SG_GGUF_ARRAY, .wire_element = SG_GGUF_I32,
                      .a = {.kind = SG_KIND_I64, .n = v->n, .i = v->types}};
    SG_TRY(sg_dict_set_array(d, "tokenizer.ggml.tokens", &(sg_array){.kind = SG_KIND_STR, .n = v->n, .s = v->pieces},
                             err));
    if (scores)
        SG_TRY(sg_dict_set_array(d, "tokenizer.ggml.scores",
                                 &(sg_array){.kind = SG_KIND_F64, .n = v->n, .f = v->scores}, err));
    return sg_dict_set(d, "tokenizer.ggml.token_type", &types, err);
}

/* Rows of the embedding that no token has. */
sg_status sg_wordlist_fill_holes(sg_wordlist *v, sg_error *err)
{
    size_t holes = 0, at = 0;
    for (size_t i = 0; i < v->n; i++)
        holes += !v->pieces[i].data;
    if (!holes)
        return SG_OK;
    v->text = sg_alloc(holes * 24);
    if (!v->text)
        return sg_fail_nomem(err, "a vocabulary");
    for (size_t i = 0; i < v->n; i++)
        if (!v->pieces[i].data) {
            int n = snprintf(v->text + at, 24, "[PAD%zu]", i);
            v->pieces[i] = (sg_str){v->text + at, (size_t)n};
            v->types[i] = SG_WORD_UNUSED;
            at += (size_t)n + 1;
        }
    return SG_OK;
}

static bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f'); }

bool sg_word_is_byte(const char *s, size_t n)
{
    return n == 6 && memcmp(s, "<0x", 3) == 0 && is_hex(s[3]) && is_hex(s[4]) && s[5] == '>';
}
