/* Any bytes as the body of a chat and of a text completion: read, checked, errors written as JSON; what the answer is bound to
 * becomes a grammar. */
#include "base/heap.h"
#include "serve/api.h"
#include "serve/tools.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(const sg_api_error *e)
{
    sg_buf b = SG_BUF_INIT;
    json_t *v = NULL;
    sg_api_error_write(&b, e);
    if (sg_buf_ok(&b) && (e->status < 400 || sg_json_parse(&v, sg_buf_str(&b), b.len, "error", NULL) != SG_OK))
        __builtin_trap();
    json_decref(v);
    sg_buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_json_init();
    for (int route = SG_ROUTE_CHAT; route <= SG_ROUTE_COMPLETION; route++) {
        json_t *v = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
        sg_api_params p;
        sg_api_error e;
        char *text[4] = {0};
        sg_grammar *g = NULL;
        if (!v)
            return 0;
        if (!sg_api_params_read(&p, route, v, &e))
            check_error(&e);
        else if (route == SG_ROUTE_CHAT && !sg_api_chat_read(&p, &text[0], &text[1], &text[2], &text[3], &e))
            check_error(&e);
        else if (!sg_api_grammar(&p, &g, &e))
            check_error(&e);
        sg_grammar_free(g);
        for (int i = 0; i < 4; i++)
            sg_free(text[i]);
        json_decref(v);
    }
    return 0;
}
