/* tests/test_format_embedded.c - the default model in the program is the file in models/, and opens as GGUF. */
#include "base/file.h"
#include "format/embedded.h"
#include "format/weights.h"
#include "tap.h"

TEST(embedded_is_the_file)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/models/segue-default.gguf", tap_source());
    sg_file file = { 0 };
    sg_error err = { 0 };
    CHECK_OK(sg_file_open(&file, path, &err));
    bool same = file.size == sg_default_model_bytes() && memcmp(file.data, sg_default_model, file.size) == 0;
    sg_file_close(&file);
    CHECK(same);
    CHECK(sg_default_model_bytes() <= 8000000);
    CHECK((uintptr_t)sg_default_model % 64 == 0);
}

TEST(embedded_opens)
{
    sg_error err = { 0 };
    sg_weights *w = NULL;
    CHECK_OK(sg_weights_open_memory(&w, sg_default_model, sg_default_model_bytes(), "embedded", &err));
    const sg_tensor *embed = sg_weights_find(w, "token_embd.weight");
    bool ok = embed && embed->ne[0] % 32 == 0 && !sg_weights_find(w, "output.weight");
    sg_str name = { 0 };
    bool named = sg_dict_need_str(sg_weights_meta(w), "general.name", &name, &err) == SG_OK && strcmp(name.data, "segue default") == 0;
    sg_weights_close(w);
    CHECK(ok);
    CHECK(named);
}

TAP_MAIN
