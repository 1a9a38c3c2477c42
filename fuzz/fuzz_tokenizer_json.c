/* tokenizer.json: refused with a reason, or loaded and then usable: every text has ids in range, and ids decode to
 * well-formed text. */
#include "text/tokenizer.h"
#include "use_tokenizer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_error err = {0};
    sg_tokenizer *t;
    if (sg_tokenizer_new_from_json(&t, (const char *)data, size, NULL, 0, &err) == SG_OK) {
        use_tokenizer(t);
        sg_tokenizer_free(t);
    } else if (!err.text[0]) {
        abort(); /* refused without a reason */
    }
    return 0;
}
