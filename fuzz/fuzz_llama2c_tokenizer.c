/* llama2.c's tokenizer.bin: refused with a reason, or loaded and then usable. */
#include "text/tokenizer.h"
#include "use_tokenizer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_error err = {0};
    sg_tokenizer *t;
    if (sg_tokenizer_new_from_llama2c(&t, data, size, &err) == SG_OK) {
        use_tokenizer(t);
        sg_tokenizer_free(t);
    } else if (!err.text[0]) {
        abort(); /* refused without a reason */
    }
    return 0;
}
