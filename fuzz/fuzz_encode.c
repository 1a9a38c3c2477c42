/* Encoding any bytes: ids in range; a byte-level vocabulary with all bytes gives the text back (ill-formed pieces as U+FFFD); a word
 * has the same ids whether the cache is empty or full; every scanner covers the text without gaps. */
#include "base/utf8.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* All bytes in GPT-2's alphabet (id = order of its code points) and a few merges. */
static sg_tokenizer *make(void)
{
    sg_buf b = SG_BUF_INIT;
    sg_buf_adds(&b, "{\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
                    "\"decoder\":{\"type\":\"ByteLevel\"},"
                    "\"added_tokens\":[{\"id\":300,\"content\":\"<x>\",\"special\":true}],\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (uint32_t cp = 0x21, n = 0; cp < 0x144; cp++) {
        if ((cp > 0x7e && cp < 0xa1) || cp == 0xad)
            continue;
        sg_buf_addf(&b, "%s\"\\u%04x\":%u", n ? "," : "", cp, n);
        n++;
    }
    sg_buf_adds(&b, ",\"th\":260,\"the\":261,\"\\u0120the\":262,\"aa\":263,\"aaaa\":264},"
                    "\"merges\":[\"t h\",\"th e\",\"\\u0120 the\",\"a a\",\"aa aa\"]}}");
    sg_tokenizer *t = NULL;
    sg_error err;
    if (!sg_buf_ok(&b) || sg_tokenizer_new_from_json(&t, sg_buf_str(&b), b.len, NULL, 0, &err) != SG_OK)
        abort();
    sg_buf_fini(&b);
    return t;
}

static void check_scanners(const char *s, size_t n)
{
    for (const sg_scanner *p = sg_scanners; p->pattern; p++) {
        sg_span span[8];
        uint32_t pos = 0, at = 0;
        for (size_t k; (k = p->scan(s, &pos, (uint32_t)n, span, 8)) > 0;)
            for (size_t i = 0; i < k; i++) {
                if (span[i].start != at || span[i].end <= at)
                    abort();
                at = span[i].end;
            }
        if (at != n)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_tokenizer *t = make();
    const char *s = (const char *)data;
    sg_tokens a = {0}, b = {0};
    if (sg_tokenizer_encode(t, s, size, 0, &a, NULL) == SG_OK && sg_tokenizer_encode(t, s, size, 0, &b, NULL) == SG_OK) {
        if (a.n != b.n || (a.n && memcmp(a.data, b.data, a.n * sizeof *a.data) != 0))
            abort();
        char *out;
        size_t n;
        if (sg_tokenizer_decode(t, a.data, a.n, false, &out, &n, NULL) == SG_OK) {
            if (!sg_utf8_valid(out, n) || (sg_utf8_valid(s, size) && (n != size || (n && memcmp(out, s, n) != 0))))
                abort();
            check_scanners(out, n);
            sg_tokenizer_text_free(out);
        }
    }
    sg_tokens_fini(&a);
    sg_tokens_fini(&b);
    sg_tokenizer_free(t);
    return 0;
}
