/* app/cmd_tokenize.c - `segue tokenize`: text to ids and ids to text.
 *
 *     --text, --file     one text in, {"ids":[...]} out
 *     --decode           ids in, {"text":"..."} out
 *     --jsonl            a line in, a line out: a string or {"base64":...} is encoded, an array decoded
 */
#include "commands.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text, *file, *decode_ids;
static bool as_json, as_jsonl, skip_special;
static int special, around; /* yes unless said otherwise */

static const option options[] = {
    {NULL, "--text", OPT_STR, &text, "T", "the text"},
    {NULL, "--file", OPT_STR, &file, "F", "a file with the text, byte for byte; - reads standard input"},
    {NULL, "--decode", OPT_STR, &decode_ids, "1,2,3", "turn these ids back into text"},
    {NULL, "--special", OPT_YESNO, &special, NULL, "whether the text of a special token becomes that token (yes)"},
    {NULL, "--bos", OPT_YESNO, &around, NULL, "whether to add what the model wants around a text: BOS, [CLS] and [SEP] (yes)"},
    {NULL, "--skip-special", OPT_FLAG, &skip_special, NULL, "decoding leaves special tokens out"},
    {NULL, "--json", OPT_FLAG, &as_json, NULL, "one JSON object on standard output"},
    {NULL, "--jsonl", OPT_FLAG, &as_jsonl, NULL,
     "a JSON string, {\"base64\":\"...\"} or array of ids a line on standard input, one object a line out"},
    {0}};

static bool wrong(sg_error *err, const char *what)
{
    *err = (sg_error){.status = SG_E_ARGUMENT};
    snprintf(err->text, sizeof err->text, "%s", what);
    return false;
}

static int digit(int c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* Base64 to fresh bytes (free); NULL when it is none. */
static char *from_base64(const char *s, size_t n, size_t *len)
{
    char *out = malloc(n / 4 * 3 + 4);
    unsigned acc = 0, bits = 0;
    *len = 0;
    for (size_t i = 0; out && i < n && s[i] != '='; i++) {
        int d = digit((unsigned char)s[i]);
        if (d < 0) {
            free(out);
            return NULL;
        }
        acc = (acc << 6 | (unsigned)d) & 0xffffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[(*len)++] = (char)(acc >> bits & 255);
        }
    }
    return out;
}

/* ---- one text, one list of ids ---- */

static json_t *encode(const sg_tokenizer *t, const char *s, size_t n, sg_error *err)
{
    sg_tokens ids = {0};
    unsigned flags = (special ? SG_ENCODE_SPECIAL : 0u) | (around ? SG_ENCODE_AROUND : 0u);
    if (sg_tokenizer_encode(t, s, n, flags, &ids, err) != SG_OK)
        return NULL;
    json_t *list = json_array();
    for (size_t i = 0; i < ids.n; i++)
        json_array_append_new(list, json_integer(ids.data[i]));
    sg_tokens_fini(&ids);
    return json_pack("{s:o}", "ids", list);
}

static json_t *decode(const sg_tokenizer *t, const sg_token *ids, size_t n, sg_error *err)
{
    char *s;
    size_t len;
    if (sg_tokenizer_decode(t, ids, n, skip_special, &s, &len, err) != SG_OK)
        return NULL;
    json_t *o = json_pack("{s:o}", "text", json_stringn(s, len));
    sg_tokenizer_text_free(s);
    return o;
}

static json_t *decode_array(const sg_tokenizer *t, const json_t *list, sg_error *err)
{
    size_t n = json_array_size(list), i;
    sg_token *ids = malloc((n + 1) * sizeof *ids);
    const json_t *v;
    json_t *o = NULL;
    bool ok = ids || wrong(err, "out of memory");
    for (i = 0; ok && i < n; i++) {
        v = json_array_get(list, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > INT32_MAX)
            ok = wrong(err, "an id is not a number from 0 on");
        else
            ids[i] = (sg_token)json_integer_value(v);
    }
    if (ok)
        o = decode(t, ids, n, err);
    free(ids);
    return o;
}

static json_t *one_value(const sg_tokenizer *t, const json_t *v, sg_error *err)
{
    if (json_is_string(v))
        return encode(t, json_string_value(v), json_string_length(v), err);
    if (json_is_array(v))
        return decode_array(t, v, err);
    const json_t *b = json_object_get(v, "base64");
    size_t n;
    char *bytes = json_is_string(b) ? from_base64(json_string_value(b), json_string_length(b), &n) : NULL;
    if (!bytes) {
        wrong(err, "neither a string, nor {\"base64\":\"...\"}, nor an array of ids");
        return NULL;
    }
    json_t *o = encode(t, bytes, n, err);
    free(bytes);
    return o;
}

static void print(json_t *o)
{
    json_dumpf(o, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(o);
}

static int run_lines(const command *c, const sg_tokenizer *t)
{
    char *line = NULL;
    size_t cap = 0;
    int status = 0;
    for (ssize_t n; status == 0 && (n = getline(&line, &cap, stdin)) >= 0;) {
        json_error_t e;
        sg_error err = {0};
        if (strspn(line, " \t\r\n") == (size_t)n)
            continue;
        json_t *v = json_loadb(line, (size_t)n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e), *o = NULL;
        if (v)
            o = one_value(t, v, &err);
        else
            wrong(&err, e.text);
        json_decref(v);
        if (!o)
            o = json_pack("{s:s}", "error", err.text);
        print(o);
        if (ferror(stdout))
            status = 1;
    }
    if (ferror(stdin)) {
        fprintf(stderr, "segue: %s: standard input: %s\n", c->name, strerror(errno));
        status = 1;
    }
    free(line);
    return status;
}

/* "1,2,3" with blanks or brackets. */
static json_t *parse_ids(const command *c, const char *s)
{
    json_t *list = json_array();
    while (*(s += strspn(s, " ,[]\t\n"))) {
        char *end;
        errno = 0;
        long long v = strtoll(s, &end, 10);
        if (end == s || errno || v < 0)
            options_usage(c, "--decode: '%.20s' is not an id", s);
        json_array_append_new(list, json_integer(v));
        s = end;
    }
    return list;
}

/* All of a file into fresh memory (free). */
static char *slurp(const char *path, size_t *n)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
    char *data = NULL;
    size_t cap = 0;
    *n = 0;
    while (f) {
        if (*n == cap) {
            char *p = realloc(data, cap = cap * 2 + 65536);
            if (!p)
                break;
            data = p;
        }
        size_t got = fread(data + *n, 1, cap - *n, f);
        *n += got;
        if (got == 0)
            break;
    }
    bool ok = f && !ferror(f);
    if (f && f != stdin)
        fclose(f);
    if (ok)
        return data;
    free(data);
    return NULL;
}

static int run_one(const command *c, const sg_tokenizer *t)
{
    sg_error err = {0};
    json_t *o;
    if (decode_ids) {
        json_t *list = parse_ids(c, decode_ids);
        o = decode_array(t, list, &err);
        json_decref(list);
    } else if (file) {
        size_t n;
        char *data = slurp(file, &n);
        if (!data) {
            fprintf(stderr, "segue: %s: %s: %s\n", c->name, file, strerror(errno));
            return 1;
        }
        o = encode(t, data, n, &err);
        free(data);
    } else {
        o = encode(t, text, strlen(text), &err);
    }
    if (!o)
        return command_failed(c, &err);
    print(o);
    return 0;
}

static int run(const command *c, int argc, char **argv)
{
    special = around = 1;
    int n = options_parse(c, argc, argv, 1);
    if (n != 1)
        options_usage(c, "which MODEL?");
    if ((text != NULL) + (file != NULL) + (decode_ids != NULL) + as_jsonl != 1)
        options_usage(c, "one of --text, --file, --decode and --jsonl");
    sg_error err;
    sg_tokenizer *t;
    if (sg_tokenizer_open(&t, argv[0], &err) != SG_OK)
        return command_failed(c, &err);
    int status = as_jsonl ? run_lines(c, t) : run_one(c, t);
    sg_tokenizer_free(t);
    return status;
}

const command cmd_tokenize = {
    .name = "tokenize",
    .synopsis = "MODEL --text T | --file F | --decode IDS | --jsonl [options]",
    .summary = "Turn text into token ids, and back",
    .text = "MODEL is a .gguf file, a Hugging Face directory, or a lone tokenizer.json, SentencePiece .model or\n"
            "llama2.c tokenizer.bin.  Answers are JSON: {\"ids\":[...]} or {\"text\":\"...\"}.",
    .tables = (const option *const[]){options, NULL},
    .run = run,
};
