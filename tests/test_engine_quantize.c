/* Quantising: the choice of types, importance files, and whole files written and read back. */
#include "engine/quantize.h"

#include "base/file.h"
#include "format/gguf.h"
#include "format/imatrix.h"
#include "format/weights.h"
#include "kernel/quant.h"
#include "tap.h"

#include <stdlib.h>
#include <unistd.h>

static sg_dtype choice(const char *mix, const sg_mix_model *model, const char *name, uint64_t ncol, uint64_t rank)
{
    bool fallback;
    return sg_mix_choose(sg_mix_find(mix), model, name, ncol, strstr(name, "exps") != NULL, rank, model->nlayer, false, &fallback);
}

TEST(mixes_give_more_bits_where_it_hurts)
{
    sg_mix_model m = {.nlayer = 24, .gqa = 4};
    CHECK_INT(choice("q4_k_m", &m, "output.weight", 2048, 0), SG_Q6_K);
    CHECK_INT(choice("q4_k_m", &m, "output.weight", 2080, 0), SG_Q8_0);
    CHECK_INT(choice("q4_k_m", &m, "token_embd.weight", 2048, 0), SG_Q4_K);
    m.tied = true;
    CHECK_INT(choice("Q4_K_M", &m, "token_embd.weight", 2048, 0), SG_Q6_K);
    for (unsigned i = 0; i < 24; i++) {
        char name[40];
        snprintf(name, sizeof name, "blk.%u.ffn_down.weight", i);
        CHECK_INT(choice("q4_k", &m, name, 2048, 0), (i < 3 || i >= 21 || (i - 3) % 3 == 2) ? SG_Q6_K : SG_Q4_K);
        snprintf(name, sizeof name, "blk.%u.attn_v.weight", i);
        CHECK_INT(choice("q3_k_m", &m, name, 2048, i), i < 2 ? SG_Q5_K : SG_Q4_K);
    }
    CHECK_INT(choice("q4_k_m", &m, "blk.0.attn_q.weight", 2080, 0), SG_Q5_0);
    CHECK_INT(choice("iq4_xs", &m, "blk.9.attn_q.weight", 2080, 0), SG_IQ4_NL);
    CHECK_INT(choice("q6_k", &m, "blk.9.attn_q.weight", 2080, 0), SG_Q8_0);
    CHECK_INT(choice("q2_k", &m, "blk.9.attn_q.weight", 20, 0), SG_F16);
    CHECK_INT(choice("bf16", &m, "blk.9.attn_q.weight", 20, 0), SG_BF16);
    CHECK_INT(choice("mxfp4_moe", &m, "blk.9.ffn_up_exps.weight", 2048, 0), SG_MXFP4);
    CHECK_INT(choice("mxfp4_moe", &m, "blk.9.attn_q.weight", 2048, 0), SG_Q8_0);
    m.nexpert = 8;
    CHECK_INT(choice("q4_k_s", &m, "blk.9.attn_v.weight", 2048, 9), SG_Q8_0);
    CHECK_INT(choice("q4_k_s", &m, "blk.9.attn_output.weight", 2048, 9), SG_Q5_K);
    CHECK(!sg_mix_find("q4") && !sg_mix_find(""));
}

TEST(every_named_mix_exists_and_can_be_encoded)
{
    char names[512];
    snprintf(names, sizeof names, "%s", sg_quantize_types());
    int n = 0;
    for (char *rest = names, *s; (s = strsep(&rest, " ")); n++) {
        const sg_mix *mix = sg_mix_find(s);
        CHECK(mix && sg_quant_can_encode(mix->type));
        CHECK_STR(mix->name, s);
    }
    tap_note("%d mixes", n);
}

TEST(small_tensors_are_left_alone)
{
    CHECK(sg_mix_applies("blk.0.attn_q.weight", 2));
    CHECK(!sg_mix_applies("blk.0.attn_q.weight", 1));
    CHECK(!sg_mix_applies("blk.0.attn_q.bias", 2));
    CHECK(!sg_mix_applies("blk.0.attn_q_norm.weight", 2));
    CHECK(!sg_mix_applies("blk.0.ffn_gate_inp.weight", 2));
    CHECK(!sg_mix_applies("token_types.weight", 2));
    CHECK(!sg_mix_applies("x", 2));
}

/* ---- importance files ----------------------------------------------------------------------------- */

static bool write_bytes(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(data, 1, n, f) == n;
    return f && fclose(f) == 0 && ok;
}

static size_t dat(unsigned char *b, const char *name, const float *values, int32_t n)
{
    int32_t head[] = {1, (int32_t)strlen(name)}, tail[] = {2, n};
    size_t at = 0;
    memcpy(b + at, head, sizeof head), at += sizeof head;
    memcpy(b + at, name, strlen(name)), at += strlen(name);
    memcpy(b + at, tail, sizeof tail), at += sizeof tail;
    memcpy(b + at, values, (size_t)n * sizeof *values), at += (size_t)n * sizeof *values;
    return at;
}

static bool open_imatrix(void *path)
{
    sg_imatrix *m = NULL;
    bool ok = sg_imatrix_open(&m, path, NULL) == SG_OK;
    if (ok)
        sg_imatrix_close(m);
    return ok;
}

TEST(the_dat_form_is_read_and_checked)
{
    unsigned char b[256];
    float values[3] = {1, 2, 0.5f};
    const char *path = tap_scratch("importance.dat");
    sg_error err = {0};
    sg_imatrix *m = NULL;
    size_t n = dat(b, "blk.0.attn_q.weight", values, 3), have = 0;
    CHECK(write_bytes(path, b, n));
    CHECK_OK(sg_imatrix_open(&m, path, &err));
    CHECK_INT(sg_imatrix_count(m), 1);
    const float *v = sg_imatrix_find(m, "blk.0.attn_q.weight", &have);
    CHECK(v && have == 3 && memcmp(v, values, sizeof values) == 0);
    CHECK(!sg_imatrix_find(m, "blk.0.attn_k.weight", &have));
    sg_imatrix_close(m);
    CHECK_ALLOC_LOOP(open_imatrix, (void *)(uintptr_t)path);
    for (size_t cut = 0; cut < n; cut++) { /* every shorter file is refused */
        CHECK(write_bytes(path, b, cut));
        CHECK(sg_imatrix_open(&m, path, &err) != SG_OK);
    }
    for (int rep = 0; rep < 300; rep++) { /* and no other bytes do harm */
        unsigned char c[256];
        memcpy(c, b, n);
        c[sg_rng_below(tap_rng(), n)] = (unsigned char)sg_rng_u64(tap_rng());
        CHECK(write_bytes(path, c, n));
        open_imatrix((void *)(uintptr_t)path);
    }
    values[1] = NAN;
    n = dat(b, "x", values, 3);
    CHECK(write_bytes(path, b, n));
    CHECK_FAILS(sg_imatrix_open(&m, path, &err), SG_E_FORMAT, "'x': value 1");
}

/* ---- whole files ---------------------------------------------------------------------------------- */

enum { NCOL = 256, NROW = 96 };

static float weights[NROW * NCOL];

static const sg_gguf_tensor model_tensors[] = {
    {"token_embd.weight", SG_F32, 2, {NCOL, NROW, 1, 1}},     {"output_norm.weight", SG_F32, 1, {NCOL, 1, 1, 1}},
    {"blk.0.attn_q.weight", SG_F32, 2, {NCOL, NROW, 1, 1}},   {"blk.0.attn_v.weight", SG_F32, 2, {NCOL, NROW, 1, 1}},
    {"blk.0.ffn_up_exps.weight", SG_F32, 3, {NCOL, NROW / 4, 4, 1}}, {"blk.0.ffn_gate_inp.weight", SG_F32, 2, {NCOL, 4, 1, 1}},
    {"blk.0.odd.weight", SG_F32, 2, {96, 8, 1, 1}},
};
enum { NTENSOR = sizeof model_tensors / sizeof *model_tensors };

static sg_status give_rows(void *arg, size_t tensor, uint64_t row, uint64_t nrow, void *dst, sg_error *err)
{
    (void)arg, (void)err;
    uint64_t n = model_tensors[tensor].ne[0];
    memcpy(dst, weights + row * n, nrow * n * sizeof *weights);
    return SG_OK;
}

static bool write_model(const char *path)
{
    sg_dict *meta = sg_dict_new();
    bool ok = meta && sg_dict_set_str(meta, "general.architecture", "llama", 5, NULL) == SG_OK &&
              sg_dict_set_u64(meta, "llama.block_count", 1, NULL) == SG_OK &&
              sg_gguf_write(path, meta, model_tensors, NTENSOR, give_rows, NULL, NULL) == SG_OK;
    sg_dict_free(meta);
    return ok;
}

static void fill(void)
{
    for (size_t i = 0; i < NROW * NCOL; i++)
        weights[i] = (float)(sg_rng_unit(tap_rng()) - 0.5);
}

static const char *in_path, *out_path;

static bool quantize_once(void *arg)
{
    return sg_quantize(in_path, out_path, arg, NULL, NULL) == SG_OK;
}

TEST(a_model_is_quantized_the_same_on_any_number_of_threads)
{
    fill();
    in_path = tap_scratch("in.gguf");
    out_path = tap_scratch("out.gguf");
    CHECK(write_model(in_path));
    static const char *const keep[] = {"attn_q=q8_0", "attn_.*=f16"};
    sg_quantize_options o = {.type = "q4_k_m", .keep = keep, .nkeep = 2, .threads = 1};
    sg_quantize_report r = {0};
    sg_error err = {0};
    CHECK_OK(sg_quantize(in_path, out_path, &o, &r, &err));
    CHECK_INT(r.ntensor, NTENSOR);
    CHECK_INT(r.nquantized, 5);
    CHECK_INT(r.nfallback, 1);
    sg_weights *w = NULL;
    CHECK_OK(sg_weights_open(&w, out_path, &err));
    static const sg_dtype want[NTENSOR] = {SG_Q6_K, SG_F32, SG_Q8_0, SG_F16, SG_Q4_K, SG_F32, SG_Q5_0};
    for (int i = 0; i < NTENSOR; i++) {
        const sg_tensor *t = sg_weights_at(w, (size_t)i);
        CHECK_STR(t->name, model_tensors[i].name);
        CHECK_INT(t->type, want[i]);
    }
    uint64_t file_type = 0;
    CHECK_OK(sg_dict_u64(sg_weights_meta(w), "general.file_type", 0, &file_type, &err));
    CHECK_INT(file_type, 15);
    static uint8_t stored[NROW * NCOL * 4], expected[NROW * NCOL * 4];
    CHECK_OK(sg_weights_read(w, sg_weights_at(w, 4), stored, &err));
    sg_quant_encode(SG_Q4_K, expected, weights, NROW, NCOL, NULL);
    CHECK(memcmp(stored, expected, NROW * sg_dtype_row_bytes(SG_Q4_K, NCOL)) == 0);
    sg_weights_close(w);
    char *one = NULL, *three = NULL;
    size_t none = 0, nthree = 0;
    CHECK_OK(sg_file_read(out_path, 1 << 24, &one, &none, &err));
    o.threads = 3;
    CHECK_OK(sg_quantize(in_path, out_path, &o, &r, &err));
    CHECK_OK(sg_file_read(out_path, 1 << 24, &three, &nthree, &err));
    CHECK(none == nthree && memcmp(one, three, none) == 0);
    sg_free(one);
    sg_free(three);
    o.threads = 1;
    CHECK_ALLOC_LOOP(quantize_once, &o);
}

static bool stop_at_third(void *arg, const sg_write_progress *p)
{
    (void)arg;
    return p->tensor < 2;
}

TEST(what_goes_wrong_leaves_no_file)
{
    fill();
    in_path = tap_scratch("bad-in.gguf");
    out_path = tap_scratch("bad-out.gguf");
    CHECK(write_model(in_path));
    sg_error err = {0};
    sg_quantize_options o = {.type = "q4_0", .threads = 2};
    sg_quantize_report r = {.ntensor = 77};
    o.progress = stop_at_third;
    CHECK_FAILS(sg_quantize(in_path, out_path, &o, &r, &err), SG_E_CANCELLED, "stopped");
    o.progress = NULL;
    static const char *const bad[] = {"(=q8_0"}, *const untyped[] = {"attn"}, *const narrow[] = {"odd=q4_k"};
    o.nkeep = 1;
    o.keep = bad;
    CHECK_FAILS(sg_quantize(in_path, out_path, &o, &r, &err), SG_E_ARGUMENT, "--keep '(=q8_0': at character");
    o.keep = untyped;
    CHECK_FAILS(sg_quantize(in_path, out_path, &o, &r, &err), SG_E_ARGUMENT, "REGEX=TYPE");
    o.keep = narrow;
    CHECK_FAILS(sg_quantize(in_path, out_path, &o, &r, &err), SG_E_ARGUMENT, "rows of 96 values");
    o.nkeep = 0;
    o.type = "q9";
    CHECK_FAILS(sg_quantize(in_path, out_path, &o, &r, &err), SG_E_ARGUMENT, "unknown type 'q9'");
    o.type = "q4_0";
    weights[5 * NCOL + 7] = NAN;
    CHECK(write_model(in_path));
    CHECK_FAILS(sg_quantize(in_path, out_path, &o, &r, &err), SG_E_FORMAT, "row 5, column 7 is nan");
    weights[5 * NCOL + 7] = 0;
    CHECK(write_model(in_path));
    unsigned char b[128];
    float two[2] = {1, 1};
    const char *path = tap_scratch("wrong.dat");
    CHECK(write_bytes(path, b, dat(b, "blk.0.attn_q.weight", two, 2)));
    o.imatrix = path;
    CHECK_FAILS(sg_quantize(in_path, out_path, &o, &r, &err), SG_E_FORMAT, "has 2 values");
    CHECK_INT(r.ntensor, 77);
    CHECK(access(out_path, F_OK) != 0);
}

/* A Hugging Face directory and a llama2.c checkpoint go straight to a quantised GGUF with its tokenizer. */
TEST(other_models_are_quantized_in_one_step)
{
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    static const struct {
        const char *in, *tokenizer;
    } models[] = {{"golden/arch/llama", NULL}, {"golden/arch/qwen3moe", NULL}, {"llm/stories260K.bin", "llm/tok512.bin"}};
    sg_error err = {0};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char in[600], tokenizer[600];
        snprintf(in, sizeof in, "%s/data/%s", tap_shared(), models[i].in);
        snprintf(tokenizer, sizeof tokenizer, "%s/data/%s", tap_shared(), models[i].tokenizer ? models[i].tokenizer : "");
        const char *out = tap_scratch("other.gguf");
        sg_quantize_options o = {.type = "q8_0", .tokenizer = models[i].tokenizer ? tokenizer : NULL, .threads = 2};
        sg_quantize_report r = {0};
        CHECK_OK(sg_quantize(in, out, &o, &r, &err));
        sg_weights *w = NULL;
        const sg_array *tokens = NULL;
        CHECK_OK(sg_weights_open(&w, out, &err));
        CHECK_OK(sg_dict_array(sg_weights_meta(w), "tokenizer.ggml.tokens", SG_KIND_STR, &tokens, &err));
        const sg_tensor *t = sg_weights_find(w, "token_embd.weight");
        CHECK(tokens && t);
        CHECK_INT(tokens->n, t->ne[1]);
        CHECK_INT(t->type, t->ne[0] % 32 ? SG_F16 : SG_Q8_0);
        CHECK_INT(sg_weights_find(w, "output_norm.weight")->type, SG_F32);
        CHECK(r.nquantized > 0 && r.bytes_out < r.bytes_in);
        sg_weights_close(w);
    }
}

TAP_MAIN
