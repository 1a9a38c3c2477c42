/* config.json in its variants: a golden directory with some keys changed, opened, and its metadata looked at. */
#include "tap.h"

#include "base/heap.h"
#include "base/json.h"
#include "format/weights.h"

#include <stdlib.h>
#include <unistd.h>

/* Open golden model `name` with `patch` (a JSON object; null removes a key) laid over its config.json. */
static sg_status open_changed(sg_weights **w, const char *name, const char *patch, sg_error *err)
{
    char path[1024], dir[] = "/tmp/segue-test-XXXXXX", copy[128], link[128];
    json_t *config = NULL, *change = NULL, *value;
    const char *key;
    snprintf(path, sizeof path, "%s/data/golden/arch/%s/config.json", tap_shared(), name);
    SG_TRY(sg_json_read(&config, path, 1 << 20, err));
    SG_TRY(sg_json_parse(&change, patch, strlen(patch), "patch", err));
    json_object_foreach(change, key, value)
        if (json_is_null(value))
            json_object_del(config, key);
        else
            json_object_set(config, key, value);
    if (!mkdtemp(dir))
        return sg_fail(err, SG_E_IO, "mkdtemp");
    snprintf(copy, sizeof copy, "%s/config.json", dir);
    snprintf(link, sizeof link, "%s/model.safetensors", dir);
    snprintf(path, sizeof path, "%s/data/golden/arch/%s/model.safetensors", tap_shared(), name);
    json_dump_file(config, copy, 0);
    json_decref(config);
    json_decref(change);
    char *real = realpath(path, NULL); /* the shared folder may be named relative to the working directory */
    sg_status st = real && symlink(real, link) == 0 ? sg_weights_open(w, dir, err) : sg_fail(err, SG_E_IO, "symlink");
    free(real);
    unlink(copy);
    unlink(link);
    rmdir(dir);
    return st;
}

static double number(const sg_weights *w, const char *key)
{
    double v = NAN;
    return sg_dict_f64(sg_weights_meta(w), key, NAN, &v, NULL) == SG_OK ? v : NAN;
}

/* A list of bools as text, "01.."; "" when the key is absent. */
static const char *bools(const sg_weights *w, const char *key)
{
    static char text[64];
    const sg_value *v = sg_dict_find(sg_weights_meta(w), key);
    size_t n = v && v->kind == SG_KIND_ARRAY && v->a.kind == SG_KIND_BOOL ? v->a.n : 0;
    for (size_t i = 0; i < n && i < sizeof text - 1; i++)
        text[i] = v->a.b[i] ? '1' : '0';
    text[n] = '\0';
    return text;
}

#define NEED_SHARED()                 \
    if (!tap_shared()) {              \
        tap_skip("no shared data");   \
        return;                       \
    }                                 \
    sg_error err;                     \
    sg_weights *w = NULL

TEST(gemma3_of_both_styles_is_the_same)
{
    NEED_SHARED();
    sg_weights *old = NULL;
    CHECK_OK(open_changed(&old, "gemma3", "{}", &err));
    CHECK_OK(open_changed(
        &w, "gemma3",
        "{\"rope_theta\":null,\"rope_scaling\":null,\"rope_local_base_freq\":null,\"sliding_window_pattern\":null,"
        "\"layer_types\":[\"sliding_attention\",\"sliding_attention\",\"sliding_attention\",\"sliding_attention\","
        "\"sliding_attention\",\"full_attention\",\"sliding_attention\"],\"rope_parameters\":{\"full_attention\":"
        "{\"rope_type\":\"linear\",\"rope_theta\":1000000.0,\"factor\":8.0},\"sliding_attention\":{\"rope_type\":"
        "\"default\","
        "\"rope_theta\":10000.0}}}",
        &err));
    const sg_dict *a = sg_weights_meta(old), *b = sg_weights_meta(w);
    CHECK_INT(sg_dict_count(a), sg_dict_count(b));
    for (size_t i = 0; i < sg_dict_count(a); i++) {
        const sg_value *x = sg_dict_at(a, i), *y = sg_dict_find(b, sg_dict_key(a, i));
        CHECK(y && x->kind == y->kind);
        CHECK(x->kind == SG_KIND_STR || x->u == y->u);
    }
    CHECK(number(w, "gemma3.rope.freq_base_swa") == 10000);
    sg_weights_close(old);
    sg_weights_close(w);
    CHECK_OK(open_changed(&w, "gemma3", "{\"sliding_window_pattern\":2,\"query_pre_attn_scalar\":9}", &err));
    CHECK_STR(bools(w, "gemma3.attention.sliding_window_pattern"), "1010101");
    CHECK(number(w, "gemma3.attention.query_pre_attn_scalar") == 9);
    sg_weights_close(w);
}

TEST(windows_of_some_layers)
{
    NEED_SHARED();
    CHECK_OK(
        open_changed(&w, "qwen3", "{\"use_sliding_window\":true,\"sliding_window\":8,\"max_window_layers\":1}", &err));
    CHECK(number(w, "qwen3.attention.sliding_window") == 8);
    CHECK_STR(bools(w, "qwen3.attention.sliding_window_pattern"), "01");
    sg_weights_close(w);
    CHECK_OK(
        open_changed(&w, "qwen3", "{\"use_sliding_window\":false,\"sliding_window\":8,\"max_window_layers\":1}", &err));
    CHECK(isnan(number(w, "qwen3.attention.sliding_window")));
    sg_weights_close(w);
    CHECK_OK(open_changed(&w, "mistral-swa", "{}", &err));
    CHECK(number(w, "llama.attention.sliding_window") == 16);
    CHECK_STR(bools(w, "llama.attention.sliding_window_pattern"), "");
    sg_weights_close(w);
    CHECK_OK(open_changed(&w, "gpt-oss", "{\"layer_types\":[\"full_attention\",\"sliding_attention\"]}", &err));
    CHECK_STR(bools(w, "gpt-oss.attention.sliding_window_pattern"), "01");
    sg_weights_close(w);
}

TEST(layers_without_rope)
{
    NEED_SHARED();
    CHECK_OK(open_changed(&w, "smollm3", "{\"no_rope_layers\":[1,0,1,0]}", &err));
    CHECK_STR(bools(w, "smollm3.rope.layers"), "1010");
    sg_weights_close(w);
    CHECK_OK(open_changed(&w, "smollm3", "{\"no_rope_layers\":null}", &err)); /* the interval of 4 says the same */
    CHECK_STR(bools(w, "smollm3.rope.layers"), "");
    sg_weights_close(w);
}

TEST(yarn_factors)
{
    NEED_SHARED();
    CHECK_OK(open_changed(
        &w, "qwen2-yarn",
        "{\"rope_parameters\":{\"rope_type\":\"yarn\",\"rope_theta\":1e4,\"factor\":4.0,\"attention_factor\":1.5}}",
        &err));
    CHECK_NEAR(number(w, "qwen2.rope.scaling.attn_factor"), 1.5 / (0.1 * log(4) + 1), 1e-6);
    CHECK(number(w, "qwen2.rope.scaling.original_context_length") == 16384);
    sg_weights_close(w);
    CHECK_OK(open_changed(&w, "deepseek2",
                          "{\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0,\"mscale\":1.0,\"mscale_all_dim\":0.5,"
                          "\"original_max_position_embeddings\":4096}}",
                          &err));
    CHECK_NEAR(number(w, "deepseek2.rope.scaling.attn_factor"), (0.1 * log(4) + 1) / (0.05 * log(4) + 1), 1e-6);
    CHECK_NEAR(number(w, "deepseek2.rope.scaling.yarn_log_multiplier"), 0.05, 1e-7);
    sg_weights_close(w);
    CHECK_OK(open_changed(&w, "gpt-oss-yarn", "{}", &err));
    CHECK(!sg_dict_find(sg_weights_meta(w), "gpt-oss.rope.scaling.yarn_truncate")->b);
    CHECK(isnan(number(w, "gpt-oss.rope.scaling.attn_factor")));
    sg_weights_close(w);
}

TEST(longrope_of_both_styles_is_the_same)
{
    NEED_SHARED();
    CHECK_OK(open_changed(&w, "phi3-longrope",
                          "{\"rope_theta\":null,\"rope_scaling\":null,\"partial_rotary_factor\":null,"
                          "\"original_max_position_embeddings\":null,\"rope_parameters\":{\"rope_type\":\"longrope\","
                          "\"rope_theta\":10000.0,\"partial_rotary_factor\":0.75,\"original_max_position_embeddings\":64,"
                          "\"short_factor\":[1.0,1.25,1.5,1.5,2.0,2.5],\"long_factor\":[1.0,1.5,2.5,4.0,7.0,12.0]}}",
                          &err));
    CHECK(number(w, "phi3.rope.scaling.original_context_length") == 64);
    CHECK(number(w, "phi3.rope.dimension_count") == 12);
    CHECK_NEAR(number(w, "phi3.rope.scaling.attn_factor"), sqrt(1 + log(4) / log(64)), 1e-6);
    CHECK(((const float *)sg_weights_find(w, "rope_factors_long.weight")->data)[5] == 12.0f);
    sg_weights_close(w);
}

TEST(what_is_not_understood_is_refused)
{
    static const struct {
        const char *name, *patch;
        sg_status status;
        const char *part;
    } cases[] = {
        {"llama", "{\"model_type\":\"alpaca9000\"}", SG_E_UNSUPPORTED, "'alpaca9000'"},
        {"llama", "{\"model_type\":null}", SG_E_FORMAT, "model_type"},
        {"llama", "{\"hidden_act\":\"relu\"}", SG_E_UNSUPPORTED, "hidden_act"},
        {"llama", "{\"rope_scaling\":{\"type\":\"spiral\",\"factor\":2}}", SG_E_UNSUPPORTED, "'spiral'"},
        {"llama", "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":-2}}", SG_E_FORMAT, "factor"},
        {"llama", "{\"rope_scaling\":7}", SG_E_FORMAT, "rope"},
        {"llama", "{\"rope_theta\":0}", SG_E_FORMAT, "rope_theta"},
        {"llama", "{\"quantization_config\":{\"quant_method\":\"fp8\"}}", SG_E_UNSUPPORTED, "'fp8'"},
        {"llama", "{\"num_hidden_layers\":1000000000}", SG_E_FORMAT, "num_hidden_layers"},
        {"llama", "{\"num_hidden_layers\":1}", SG_E_UNSUPPORTED, "model.layers.1."},
        {"llama", "{\"hidden_size\":null}", SG_E_FORMAT, "hidden_size is missing"},
        {"llama", "{\"hidden_size\":\"64\"}", SG_E_FORMAT, "hidden_size"},
        {"llama", "{\"hidden_size\":-64}", SG_E_FORMAT, "hidden_size"},
        {"llama", "{\"hidden_size\":64.5}", SG_E_FORMAT, "hidden_size"},
        {"llama", "{\"num_attention_heads\":0}", SG_E_FORMAT, "0"},
        {"llama", "{\"num_attention_heads\":5}", SG_E_FORMAT, "q_proj"},
        {"llama", "{\"head_dim\":100001}", SG_E_FORMAT, "rotary"},
        {"olmo2", "{\"model_type\":\"llama\"}", SG_E_UNSUPPORTED, "has no place"},
        {"mixtral", "{\"num_local_experts\":5}", SG_E_FORMAT, "expert 4"},
        {"mixtral", "{\"num_local_experts\":3}", SG_E_UNSUPPORTED, "experts.3."},
        {"mixtral", "{\"num_local_experts\":4000000000}", SG_E_FORMAT, "4000000000 experts"},
        {"phi3-longrope", "{\"partial_rotary_factor\":1.0}", SG_E_FORMAT, "long_factor"},
        {"deepseek2", "{\"v_head_dim\":13}", SG_E_FORMAT, "kv_b_proj"},
        {"deepseek2", "{\"kv_lora_rank\":4294967295}", SG_E_FORMAT, "kv_b_proj"},
        {"gemma2", "{\"layer_types\":[\"sliding_attention\"]}", SG_E_UNSUPPORTED, "layer_types[1]"},
        {"bert-mean", "{\"position_embedding_type\":\"relative_key\"}", SG_E_UNSUPPORTED, "position_embedding_type"},
    };
    NEED_SHARED();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_FAILS(open_changed(&w, cases[i].name, cases[i].patch, &err), cases[i].status, cases[i].part);
        CHECK(!w);
    }
    tap_note("%zu refusals", sizeof cases / sizeof cases[0]);
}

TAP_MAIN
