/* engine/tokenizer_open.c - the tokenizer of a model, whatever the model is stored as.
 *
 *     DIR/                 tokenizer.json with tokenizer_config.json, or tokenizer.model
 *     *.gguf               its metadata
 *     "{" first            a tokenizer.json
 *     anything else        a SentencePiece model when it starts like one (field 1, length-delimited), else
 *                          llama2.c's tokenizer.bin
 *
 * The contents decide, not the name.  (text) may not know of (format), so this stands above both.
 */
#include "engine/tokenizer_open.h"

#include "base/file.h"
#include "base/heap.h"
#include "format/weights.h"
#include "text/tokenizer.h"

#include <string.h>

enum { JSON_MAX = 256 << 20, CONFIG_MAX = 16 << 20 };

static sg_status open_json(sg_tokenizer **t, const char *path, const char *config, sg_error *err)
{
    char *text = NULL, *conf = NULL;
    size_t n = 0, nconf = 0;
    sg_status st = sg_file_read(path, JSON_MAX, &text, &n, err);
    if (st == SG_OK && config && sg_path_exists(config))
        st = sg_file_read(config, CONFIG_MAX, &conf, &nconf, err);
    if (st == SG_OK) {
        st = sg_tokenizer_new_from_json(t, text, n, conf, nconf, err);
        if (st != SG_OK)
            sg_fail_at(err, st, "%s", path);
    }
    sg_free(text);
    sg_free(conf);
    return st;
}

static sg_status open_lone(sg_tokenizer **t, const char *path, sg_error *err)
{
    sg_file f = {0};
    SG_TRY(sg_file_open(&f, path, err));
    size_t blank = 0;
    while (blank < f.size && blank < 64 && memchr(" \t\r\n\xef\xbb\xbf", f.data[blank], 7))
        blank++;
    sg_status st;
    if (f.size == 0)
        st = sg_fail(err, SG_E_FORMAT, "the file is empty");
    else if (blank < f.size && (f.data[blank] == '{' || f.data[blank] == '['))
        st = sg_tokenizer_new_from_json(t, (const char *)f.data, f.size, NULL, 0, err);
    else if (f.data[0] == 0x0a)
        st = sg_tokenizer_new_from_spm(t, f.data, f.size, err);
    else
        st = sg_tokenizer_new_from_llama2c(t, f.data, f.size, err);
    if (st != SG_OK)
        sg_fail_at(err, st, "%s", path);
    sg_file_close(&f);
    return st;
}

static sg_status open_directory(sg_tokenizer **t, const char *path, sg_error *err)
{
    char *json = sg_path_join(path, "tokenizer.json"), *config = sg_path_join(path, "tokenizer_config.json");
    char *model = sg_path_join(path, "tokenizer.model");
    sg_status st;
    if (!json || !config || !model)
        st = sg_fail_nomem(err, path);
    else if (sg_path_exists(json))
        st = open_json(t, json, config, err);
    else if (sg_path_exists(model))
        st = open_lone(t, model, err);
    else
        st = sg_fail(err, SG_E_NOT_FOUND, "%s: neither tokenizer.json nor tokenizer.model is there", path);
    sg_free(json);
    sg_free(config);
    sg_free(model);
    return st;
}

sg_status sg_tokenizer_of_weights(sg_tokenizer **t, const sg_weights *w, const char *tokenizer, sg_error *err)
{
    if (tokenizer)
        return sg_path_is_directory(tokenizer) ? open_directory(t, tokenizer, err) : open_lone(t, tokenizer, err);
    if (sg_weights_source(w) == SG_SOURCE_HF)
        return open_directory(t, sg_weights_path(w), err);
    if (sg_weights_source(w) == SG_SOURCE_LLAMA2C)
        return sg_fail(err, SG_E_ARGUMENT, "%s: a llama2.c model wants --tokenizer FILE", sg_weights_path(w));
    sg_status st = sg_tokenizer_new_from_dict(t, sg_weights_meta(w), err);
    return st == SG_OK ? st : sg_fail_at(err, st, "%s", sg_weights_path(w));
}

static bool starts_with(const char *path, const char *magic)
{
    sg_file f = {0};
    if (sg_file_open(&f, path, NULL) != SG_OK)
        return false;
    bool yes = f.size >= strlen(magic) && memcmp(f.data, magic, strlen(magic)) == 0;
    sg_file_close(&f);
    return yes;
}

sg_status sg_tokenizer_open(sg_tokenizer **t, const char *path, sg_error *err)
{
    if (sg_path_is_directory(path))
        return open_directory(t, path, err);
    if (!starts_with(path, "GGUF"))
        return open_lone(t, path, err);
    sg_weights *w;
    SG_TRY(sg_weights_open(&w, path, err));
    sg_status st = sg_tokenizer_of_weights(t, w, NULL, err);
    sg_weights_close(w);
    return st;
}
