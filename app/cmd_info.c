/* app/cmd_info.c - segue info: what a model is, or whether a file is sound. */
#include "commands.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static bool as_json, with_tensors, check;

static const option options[] = {
    {NULL, "--check", OPT_FLAG, &check, NULL, "check FILE as loading would: exit 0 when it is sound, else 1 with the reason"},
    {NULL, "--tensors", OPT_FLAG, &with_tensors, NULL, "list the tensors too"},
    {NULL, "--json", OPT_FLAG, &as_json, NULL, "one JSON object"},
    {0}};

/* Text from a file: control bytes must not reach the terminal. */
static void print_text(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 32 || *s == 127)
            printf("\\x%02x", (unsigned char)*s);
        else
            putchar(*s);
}

static void print_count(const char *label, json_t *o, const char *key)
{
    double v = (double)json_integer_value(json_object_get(o, key));
    printf("%-16s %" JSON_INTEGER_FORMAT, label, json_integer_value(json_object_get(o, key)));
    if (v >= 1e6)
        printf("  (%.1f %s)", v >= 1e9 ? v / 1e9 : v / 1e6, v >= 1e9 ? "G" : "M");
    putchar('\n');
}

static void print_string(const char *label, json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    printf("%-16s ", label);
    print_text(s ? s : "none");
    putchar('\n');
}

static void print_tensors(json_t *o)
{
    size_t i, d;
    json_t *t, *n;
    json_array_foreach(json_object_get(o, "tensors"), i, t) {
        printf("%-8s", json_string_value(json_object_get(t, "type")));
        char shape[128] = "";
        size_t len = 0;
        json_array_foreach(json_object_get(t, "shape"), d, n) {
            const char *format = d ? "x%" JSON_INTEGER_FORMAT : "%" JSON_INTEGER_FORMAT;
            len += (size_t)snprintf(shape + len, sizeof shape - len, format, json_integer_value(n));
        }
        printf("%-24s", shape);
        print_text(json_string_value(json_object_get(t, "name")));
        putchar('\n');
    }
}

static void print_info(json_t *o)
{
    const char *type;
    json_t *n, *experts = json_object_get(o, "experts"), *memory = json_object_get(o, "memory");
    print_string("architecture", o, "architecture");
    print_string("name", o, "name");
    if (json_object_get(o, "description"))
        print_string("description", o, "description");
    if (json_object_get(o, "license"))
        print_string("license", o, "license");
    print_count("parameters", o, "parameters");
    print_count("file bytes", o, "file_bytes");
    print_count("context length", o, "context_length");
    print_count("vocabulary", o, "vocabulary");
    print_string("tokenizer", o, "tokenizer");
    printf("%-16s %s\n", "chat template", json_is_true(json_object_get(o, "chat_template")) ? "yes" : "no");
    printf("%-16s", "tensors");
    json_object_foreach(json_object_get(o, "types"), type, n)
        printf(" %s:%" JSON_INTEGER_FORMAT, type, json_integer_value(n));
    putchar('\n');
    if (json_is_object(experts))
        printf("%-16s %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT " used for a token\n", "experts",
               json_integer_value(json_object_get(experts, "count")),
               json_integer_value(json_object_get(experts, "used")));
    print_count("bytes per token", o, "bytes_per_token");
    print_count("weights, bytes", memory, "weights");
    print_count("KV of a token", memory, "kv_per_token_f16");
    print_tensors(o);
}

static int run(const command *self, int argc, char **argv)
{
    int n = options_parse(self, argc, argv, 1);
    sg_error err;
    char *json = NULL;
    if (check && n != 1)
        options_usage(self, "--check needs the name of a file");
    if (check && (as_json || with_tensors))
        options_usage(self, "--check goes alone");
    if (check)
        return sg_check(argv[0], &err) == SG_OK ? 0 : command_failed(self, &err);
    if (sg_info_json(&json, n ? argv[0] : NULL, with_tensors, &err) != SG_OK)
        return command_failed(self, &err);
    json_t *o = as_json ? NULL : json_loads(json, JSON_ALLOW_NUL, NULL);
    if (as_json)
        puts(json);
    else
        print_info(o);
    json_decref(o);
    sg_memory_free(json);
    return 0;
}

static const option *const tables[] = {options, NULL};

const command cmd_info = {
    .name = "info",
    .synopsis = "[MODEL] [--tensors] [--json] | FILE --check",
    .summary = "what a model is; whether a file is sound",
    .text = "Prints what a model says of itself: sizes, tokenizer, types of its tensors, the bytes of weights that "
            "decoding a token reads.  Nothing is loaded.  Without MODEL it is the embedded default.  --check takes "
            "every kind of file that segue reads and refuses with one line that names the field and the fact.",
    .tables = tables,
    .run = run,
};
