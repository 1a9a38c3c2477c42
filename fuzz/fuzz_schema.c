/* Any bytes as a JSON Schema, up to the first NUL, and a text to read with it behind that. */
#include "sample/grammar.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t n = nul ? (size_t)(nul - data) : size;
    sg_grammar *g;
    sg_matcher *m;
    if (sg_grammar_from_schema(&g, (const char *)data, n, size & SG_SCHEMA_CLOSED, NULL) != SG_OK)
        return 0;
    if (sg_matcher_new(&m, g, NULL) == SG_OK) {
        if (sg_matcher_must_end(m) && !sg_matcher_may_end(m))
            __builtin_trap(); /* stuck: pruning leaves nothing that cannot be completed */
        for (size_t i = n + 1; i < size; i++) {
            if (sg_matcher_feed(m, (const char *)data + i, 1, NULL) != SG_OK)
                break;
            if (sg_matcher_must_end(m) && !sg_matcher_may_end(m))
                __builtin_trap();
        }
        sg_matcher_free(m);
    }
    sg_grammar_free(g);
    return 0;
}
