/* Any bytes as a grammar, up to the first NUL, and a text to read with it behind that. */
#include "sample/grammar.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *piece(void *arg, int32_t id, size_t *n)
{
    (void)arg;
    static char bytes[256];
    bytes[id] = (char)id;
    *n = 1;
    return &bytes[id];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t n = nul ? (size_t)(nul - data) : size;
    sg_grammar *g;
    sg_matcher *m;
    sg_token_trie *t;
    if (sg_grammar_parse(&g, (const char *)data, n, NULL) != SG_OK)
        return 0;
    if (sg_matcher_new(&m, g, NULL) == SG_OK) {
        if (sg_token_trie_new(&t, 256, piece, NULL, NULL) == SG_OK) {
            for (size_t i = n + 1; i < size && i < n + 100; i++) {
                uint32_t mask[8];
                sg_status masked = sg_matcher_mask(m, t, mask, NULL), fed = sg_matcher_feed(m, (const char *)data + i, 1, NULL);
                if (masked == SG_OK && fed != SG_E_LIMIT && fed != SG_E_NOMEM &&
                    (mask[data[i] / 32] >> (data[i] % 32) & 1) != (fed == SG_OK))
                    __builtin_trap(); /* the mask and the matcher disagree */
                if (fed != SG_OK)
                    break;
            }
            sg_token_trie_free(t);
        }
        sg_matcher_free(m);
    }
    sg_grammar_free(g);
    return 0;
}
