/* fuzz/use_tokenizer.h - what a tokenizer that loads must then be able to do: encode a text of every kind into ids of
 * its vocabulary, and decode them to well-formed UTF-8.  Aborts when it cannot.
 */
#ifndef SG_FUZZ_USE_TOKENIZER_H
#define SG_FUZZ_USE_TOKENIZER_H

#include "base/utf8.h"
#include "text/tokenizer.h"

#include <stdlib.h>

static inline void use_tokenizer(const sg_tokenizer *t)
{
    static const char text[] = "the cat\xc3\xa9 sat  on\n1234 <|end|> \xe4\xb8\xad\xff don't";
    sg_tokens ids = {0};
    if (sg_tokenizer_encode(t, text, sizeof text - 1, SG_ENCODE_SPECIAL | SG_ENCODE_AROUND, &ids, NULL) == SG_OK) {
        for (size_t i = 0; i < ids.n; i++)
            if (ids.data[i] < 0 || (size_t)ids.data[i] >= sg_tokenizer_size(t))
                abort();
        char *s;
        size_t n;
        if (sg_tokenizer_decode(t, ids.data, ids.n, false, &s, &n, NULL) == SG_OK) {
            if (!sg_utf8_valid(s, n))
                abort();
            sg_tokenizer_text_free(s);
        }
    }
    sg_tokens_fini(&ids);
}

#endif
