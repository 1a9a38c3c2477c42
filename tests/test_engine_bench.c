/* Benchmarks give well-formed results, for kernels and for the embedded model's file. */
#include "base/json.h"
#include "segue.h"
#include "tap.h"

#include <string.h>

static json_t *run(const sg_bench_options *o, sg_error *err)
{
    char *text = NULL;
    if (sg_bench_json(&text, o, err) != SG_OK)
        return NULL;
    json_t *root = json_loads(text, 0, NULL);
    sg_memory_free(text);
    return root;
}

TEST(kernels_are_timed)
{
    sg_error err = {0};
    sg_bench_options o = {.kernels = true, .threads = 2, .only = "q8_0", .m = 3, .n = 40, .k = 64};
    json_t *root = run(&o, &err);
    CHECK(root);
    json_t *row = json_array_get(json_object_get(root, "results"), 0), *machine = json_object_get(root, "machine");
    CHECK_STR(json_string_value(json_object_get(row, "type")), "q8_0");
    CHECK(json_number_value(json_object_get(row, "value")) > 0);
    CHECK(json_number_value(json_object_get(json_object_get(machine, "ceiling"), "int8_gops")) > 0);
    CHECK_INT(json_array_size(json_object_get(root, "results")), 1);
    json_decref(root);
    o.only = "q9";
    char *text;
    CHECK_FAILS(sg_bench_json(&text, &o, &err), SG_E_ARGUMENT, "q9");
    o.m = -1;
    CHECK_FAILS(sg_bench_json(&text, &o, &err), SG_E_ARGUMENT, "shape");
}

TEST(a_model_is_timed)
{
    sg_error err = {0};
    char path[512];
    int batch[2] = {1, 3};
    snprintf(path, sizeof path, "%s/models/segue-default.gguf", tap_source());
    sg_bench_options o = {.model = path, .threads = 2, .prompt = 9, .generate = 3, .depth = 5, .reps = 2, .batch = batch, .nbatch = 2};
    json_t *root = run(&o, &err);
    if (!root)
        tap_note("%s", err.text);
    CHECK(root);
    json_t *results = json_object_get(root, "results");
    CHECK_INT(json_array_size(results), 3);
    CHECK_STR(json_string_value(json_object_get(json_array_get(results, 0), "test")), "pp9");
    CHECK_STR(json_string_value(json_object_get(json_array_get(results, 2), "test")), "tg3");
    CHECK_INT(json_integer_value(json_object_get(json_array_get(results, 2), "batch")), 3);
    for (size_t i = 0; i < 3; i++) {
        json_t *tps = json_object_get(json_array_get(results, i), "tps");
        double low = json_number_value(json_object_get(tps, "min")), high = json_number_value(json_object_get(tps, "max"));
        CHECK(low > 0 && high >= low);
    }
    double weights = json_number_value(json_object_get(json_object_get(json_object_get(root, "machine"), "ceiling"), "weights_gbps"));
    for (size_t i = 1; i < 3; i++) { /* decoding reads its weights, and not faster than they can be read */
        const json_t *row = json_array_get(results, i);
        double gbps = json_number_value(json_object_get(row, "weights_gbps"));
        double part = json_number_value(json_object_get(row, "fraction_of_ceiling"));
        CHECK(gbps > 0 && gbps <= weights && part > 0 && part < 1);
        CHECK(json_number_value(json_object_get(row, "fraction_of_read")) > 0);
        CHECK(json_number_value(json_object_get(row, "fraction_of_vnni")) > 0);
    }
    CHECK(!json_object_get(json_array_get(results, 0), "weights_gbps"));
    json_decref(root);
    batch[1] = 100000;
    char *text;
    CHECK_FAILS(sg_bench_json(&text, &o, &err), SG_E_ARGUMENT, "batch");
}

TAP_MAIN

TEST(rows_of_all_kinds_are_timed_together_and_apart)
{
    sg_error err = {0};
    char path[512];
    int batch[1] = {1};
    snprintf(path, sizeof path, "%s/models/segue-default.gguf", tap_source());
    sg_bench_options o = {.model = path, .threads = 2, .mixed = true, .reps = 1, .batch = batch, .nbatch = 1};
    json_t *root = run(&o, &err);
    CHECK(root);
    json_t *results = json_object_get(root, "results");
    CHECK_INT(json_array_size(results), 7);
    for (size_t i = 0; i < 7; i++) {
        const json_t *row = json_array_get(results, i);
        CHECK(json_number_value(json_object_get(row, "together_ms")) > 0);
        CHECK(json_number_value(json_object_get(row, "ratio")) > 0);
    }
    json_decref(root);
}

/* Every op of a step has its row, calls are a whole number of a step, and the rows' times do not pass the step's. */
TEST(a_step_is_counted_by_op)
{
    sg_error err = {0};
    char path[512];
    int batch[2] = {1, 3};
    snprintf(path, sizeof path, "%s/models/segue-default.gguf", tap_source());
    sg_bench_options o = {.model = path, .threads = 2, .generate = 4, .reps = 1, .batch = batch, .nbatch = 2, .profile = true};
    json_t *root = run(&o, &err);
    CHECK(root);
    json_t *results = json_object_get(root, "results");
    CHECK_INT(json_array_size(results), 4);
    for (size_t t = 2; t < 4; t++) {
        const json_t *row = json_array_get(results, t), *op;
        size_t i, known = 0;
        double sum = 0, step = json_number_value(json_object_get(row, "step_us"));
        CHECK_INT(json_integer_value(json_object_get(row, "batch")), t == 2 ? 1 : 3);
        json_array_foreach(json_object_get(row, "ops"), i, op)
        {
            const char *name = json_string_value(json_object_get(op, "op"));
            double busy = json_number_value(json_object_get(op, "busy")), calls = json_number_value(json_object_get(op, "calls"));
            sum += json_number_value(json_object_get(op, "us"));
            CHECK(busy >= 0 && busy <= 1.01 && calls >= 1);
            CHECK(calls == (double)(int)calls);
            known += strcmp(name, "attn_q") == 0 || strcmp(name, "ffn_down") == 0;
            known += strcmp(name, "attention") == 0 || strcmp(name, "norm") == 0;
            if (strcmp(name, "head") == 0) {
                known++;
                CHECK(calls == 1 && json_number_value(json_object_get(op, "gbps")) > 0);
            }
        }
        CHECK_INT(known, 5);
        CHECK(sum > 0.99 * step && sum < 1.01 * step); /* "between" is what the others leave */
    }
    json_decref(root);
}
