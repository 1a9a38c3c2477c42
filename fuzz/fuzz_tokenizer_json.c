/* tokenizer.json: refused with a reason, or loaded and then usable: every text has ids in range, and ids decode to
 * well-formed text. */
#include "base/utf8.h"
#include "text/tokenizer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const sg_tokenizer *t)
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_error err = {0};
    sg_tokenizer *t;
    if (sg_tokenizer_new_from_json(&t, (const char *)data, size, NULL, 0, &err) == SG_OK) {
        use(t);
        sg_tokenizer_free(t);
    } else if (!err.text[0]) {
        abort(); /* refused without a reason */
    }
    return 0;
}
