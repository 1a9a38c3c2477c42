/* engine/template_open.c - the chat template of a model on disk. */
#include "base/error.h"
#include "base/file.h"
#include "base/heap.h"
#include "format/embedded.h"
#include "format/weights.h"
#include "text/template.h"

#include <string.h>

enum { CONFIG_MAX = 64 << 20 };

/* A Hugging Face directory: chat_template.jinja if it is there (the newer way), else tokenizer_config.json. */
static sg_status from_directory(sg_template **t, const sg_weights *w, const char *name, sg_error *err)
{
    const char *plain = sg_weights_chat_template(w), *config = sg_weights_tokenizer_config(w);
    char *text;
    size_t n;
    if (plain && (!name || strcmp(name, "default") == 0)) {
        SG_TRY(sg_file_read(plain, SG_TEMPLATE_SOURCE_MAX, &text, &n, err));
        sg_status st = sg_template_new(t, text, n, err);
        sg_free(text);
        return st;
    }
    if (!config)
        return sg_fail(err, SG_E_NOT_FOUND, "%s: no chat template", sg_weights_path(w));
    SG_TRY(sg_file_read(config, CONFIG_MAX, &text, &n, err));
    sg_status st = sg_template_from_config(t, text, n, name, err);
    sg_free(text);
    return st;
}

sg_status sg_template_open(sg_template **t, const char *model, const char *name, sg_error *err)
{
    sg_weights *w;
    if (model)
        SG_TRY(sg_weights_open(&w, model, err));
    else
        SG_TRY(sg_weights_open_memory(&w, sg_default_model, sg_default_model_bytes(), "the embedded default", err));
    bool in_files = sg_weights_source(w) == SG_SOURCE_HF;
    sg_status st = in_files ? from_directory(t, w, name, err) : sg_template_from_dict(t, sg_weights_meta(w), name, err);
    sg_weights_close(w);
    return st == SG_OK ? st : sg_fail_at(err, st, "%s", model ? model : "the embedded default");
}
