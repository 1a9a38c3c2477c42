/* Any bytes as a chat template: compiled, rendered with a fixed conversation; what comes out is UTF-8. */
#include "base/utf8.h"
#include "segue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const sg_template_input input = {
        .messages = "[{\"role\": \"system\", \"content\": \"Be brief.\"},"
                    "{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"h\\u00e9\"}]},"
                    "{\"role\": \"assistant\", \"content\": null,"
                    "\"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": {\"x\": 1.5}}}]}]",
        .tools = "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"type\": \"object\", \"properties\": {}}}}]",
        .options = "{\"n\": 3, \"l\": [3, 1, 2], \"d\": {\"a\": \"x\", \"b\": null}, \"s\": \"a b,c\"}",
        .bos = "<s>",
        .now = "2026-01-02T03:04:05",
        .add_generation_prompt = 1,
    };
    sg_template *t;
    sg_error err;
    if (sg_template_new(&t, (const char *)data, size, &err) != SG_OK)
        return 0;
    char *text = NULL, *raised = NULL;
    size_t n = 0;
    sg_status st = sg_template_render(t, &input, &text, &n, &raised, &err);
    if (st == SG_OK ? !sg_utf8_valid(text, n) || text[n] : st != err.status || !err.text[0])
        __builtin_trap();
    sg_memory_free(text);
    sg_memory_free(raised);
    sg_template_free(t);
    return 0;
}
