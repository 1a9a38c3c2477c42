/* Any bytes as a regular expression, up to the first NUL, and behind it a text: the grammar of the pattern reads the text exactly
 * when the automaton of the whole pattern does. */
#include "base/heap.h"
#include "base/utf8.h"
#include "sample/automaton.h"
#include "sample/grammar.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* By the automaton: the pattern as a group between anchors. */
static bool matches(const char *pattern, size_t n, const char *text, size_t ntext)
{
    sg_dfa d;
    char *whole = sg_alloc(n + 6);
    if (!whole)
        return false;
    memcpy(whole, "^(?:", 4);
    memcpy(whole + 4, pattern, n);
    memcpy(whole + 4 + n, ")$", 2);
    bool yes = false;
    if (sg_dfa_of_pattern(&d, whole, n + 6, NULL) == SG_OK) {
        yes = sg_dfa_match(&d, text, ntext) != 0;
        sg_dfa_fini(&d);
    } else
        __builtin_trap(); /* there is a grammar of it */
    sg_free(whole);
    return yes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    const char *pattern = (const char *)data;
    size_t n = nul ? (size_t)(nul - data) : size, ntext = nul ? size - n - 1 : 0;
    const char *text = pattern + (nul ? n + 1 : n);
    sg_grammar *g;
    sg_matcher *m;
    if (sg_grammar_from_pattern(&g, pattern, n, NULL) != SG_OK)
        return 0;
    if (sg_matcher_new(&m, g, NULL) == SG_OK) {
        sg_status st = sg_matcher_feed(m, text, ntext, NULL);
        bool reads = st == SG_OK && sg_matcher_may_end(m);
        if (st != SG_E_LIMIT && st != SG_E_NOMEM && sg_utf8_valid(text, ntext) && reads != matches(pattern, n, text, ntext))
            __builtin_trap();
        sg_matcher_free(m);
    }
    sg_grammar_free(g);
    return 0;
}
