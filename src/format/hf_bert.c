/* format/hf_bert.c - bert encoders: sentence embedding (mean or CLS pooling) and cross-encoders.
 *
 * A sentence embedding model says in modules.json and 1_Pooling/config.json how it pools; a
 * BertForSequenceClassification ranks, through the pooler's dense layer and the classifier.
 */
#include "format/hf.h"

#include "base/heap.h"

#include <string.h>

enum { POOL_MEAN = 1, POOL_CLS = 2, POOL_LAST = 3, POOL_RANK = 4, MAX_JSON = 1 << 20 };

static bool ranks(const sg_hf *h)
{
    const char *class = json_string_value(json_array_get(json_object_get(h->config, "architectures"), 0));
    return class && strstr(class, "ForSequenceClassification");
}

static sg_status read_beside(const sg_hf *h, const char *name, json_t **v, sg_error *err)
{
    *v = NULL;
    char *path = sg_path_join(h->w->path, name);
    if (!path)
        return sg_fail_nomem(err, "a path");
    sg_status st = sg_path_exists(path) ? sg_json_read(v, path, MAX_JSON, err) : SG_OK;
    sg_free(path);
    return st;
}

static sg_status pooling(sg_hf *h, sg_error *err)
{
    static const struct {
        const char *key;
        uint64_t type;
    } modes[] = {{"pooling_mode_mean_tokens", POOL_MEAN},
                 {"pooling_mode_cls_token", POOL_CLS},
                 {"pooling_mode_lasttoken", POOL_LAST}};
    json_t *config = NULL;
    uint64_t type = 0;
    SG_TRY(read_beside(h, "1_Pooling/config.json", &config, err));
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        if (json_is_true(json_object_get(config, modes[i].key)))
            type = modes[i].type;
    bool stated = config != NULL;
    json_decref(config);
    if (stated && !type)
        return sg_fail(err, SG_E_UNSUPPORTED, "1_Pooling/config.json: neither mean, CLS nor last token pooling");
    return type ? sg_hf_set_u64(h, "pooling_type", type, err) : SG_OK;
}

/* id2label in the order of the ids. */
static sg_status labels(sg_hf *h, sg_error *err)
{
    json_t *map = json_object_get(h->config, "id2label");
    size_t n = json_object_size(map);
    if (!n)
        return SG_OK;
    sg_str *list = sg_calloc(n, sizeof *list);
    if (!list)
        return sg_fail_nomem(err, "id2label");
    sg_status st = SG_OK;
    for (size_t i = 0; i < n && st == SG_OK; i++) {
        char id[32];
        snprintf(id, sizeof id, "%zu", i);
        json_t *label = json_object_get(map, id);
        if (!json_is_string(label))
            st = sg_fail(err, SG_E_FORMAT, "config.json: id2label has no label %zu", i);
        else
            list[i] = (sg_str){json_string_value(label), json_string_length(label)};
    }
    if (st == SG_OK)
        st = sg_dict_set_array(h->w->meta, "bert.classifier.output_labels",
                               &(sg_array){.kind = SG_KIND_STR, .n = n, .s = list}, err);
    sg_free(list);
    return st;
}

static sg_status bert(sg_hf *h, sg_error *err)
{
    uint64_t context = 0, hidden = 0, ff = 0, types = 0;
    SG_TRY(sg_hf_need_u64(h, "num_hidden_layers", &h->nlayer, err));
    SG_TRY(sg_hf_need_u64(h, "max_position_embeddings", &context, err));
    SG_TRY(sg_hf_need_u64(h, "hidden_size", &hidden, err));
    SG_TRY(sg_hf_need_u64(h, "intermediate_size", &ff, err));
    SG_TRY(sg_hf_need_u64(h, "num_attention_heads", &h->nhead, err));
    SG_TRY(sg_hf_u64(h, "type_vocab_size", 2, &types, err));
    if (!h->nlayer || h->nlayer > h->dir.n)
        return sg_fail(err, SG_E_FORMAT, "config.json: num_hidden_layers is %llu, there are %zu tensors",
                       (unsigned long long)h->nlayer, h->dir.n);
    const char *positions = json_string_value(json_object_get(h->config, "position_embedding_type"));
    if (positions && strcmp(positions, "absolute") != 0)
        return sg_fail(err, SG_E_UNSUPPORTED, "config.json: position_embedding_type is '%s'", positions);
    SG_TRY(sg_hf_set_u64(h, "block_count", h->nlayer, err));
    SG_TRY(sg_hf_set_u64(h, "context_length", context, err));
    SG_TRY(sg_hf_set_u64(h, "embedding_length", hidden, err));
    SG_TRY(sg_hf_set_u64(h, "feed_forward_length", ff, err));
    SG_TRY(sg_hf_set_u64(h, "attention.head_count", h->nhead, err));
    SG_TRY(sg_hf_pass_f64(h, "layer_norm_eps", "attention.layer_norm_epsilon", err));
    SG_TRY(sg_hf_set_bool(h, "attention.causal", false, err));
    sg_value count = {.kind = SG_KIND_U64, .wire = 4, .u = types};
    SG_TRY(sg_dict_set(h->w->meta, "tokenizer.ggml.token_type_count", &count, err));
    if (!ranks(h))
        return pooling(h, err);
    SG_TRY(sg_hf_set_u64(h, "pooling_type", POOL_RANK, err));
    return labels(h, err);
}

/* The pooler's dense layer and the classifier belong to ranking only. */
static sg_status pooler(sg_hf *h, const sg_hf_row *row, const char *name, const sg_stored *s, sg_error *err)
{
    return ranks(h) ? sg_hf_copy(h, row, name, s, err) : SG_OK;
}

#define BOTH(stored, name) {stored ".weight", name ".weight", NULL, 0}, {stored ".bias", name ".bias", NULL, 0}

static const sg_hf_row rows[] = {
    {"embeddings.word_embeddings.weight", "token_embd.weight", NULL, 0},
    {"embeddings.position_embeddings.weight", "position_embd.weight", NULL, 0},
    {"embeddings.token_type_embeddings.weight", "token_types.weight", NULL, 0},
    BOTH("embeddings.LayerNorm", "token_embd_norm"),
    BOTH("encoder.layer.%.attention.self.query", "blk.%.attn_q"),
    BOTH("encoder.layer.%.attention.self.key", "blk.%.attn_k"),
    BOTH("encoder.layer.%.attention.self.value", "blk.%.attn_v"),
    BOTH("encoder.layer.%.attention.output.dense", "blk.%.attn_output"),
    BOTH("encoder.layer.%.attention.output.LayerNorm", "blk.%.attn_output_norm"),
    BOTH("encoder.layer.%.intermediate.dense", "blk.%.ffn_up"),
    BOTH("encoder.layer.%.output.dense", "blk.%.ffn_down"),
    BOTH("encoder.layer.%.output.LayerNorm", "blk.%.layer_output_norm"),
    {"pooler.dense.weight", "cls.weight", pooler, 0},
    {"pooler.dense.bias", "cls.bias", pooler, 0},
    {"classifier.weight", "cls.output.weight", pooler, 0},
    {"classifier.bias", "cls.output.bias", pooler, 0},
    {0},
};

static const char *const ignore[] = {"cls.predictions.", "cls.seq_relationship.", NULL};

static const sg_hf_row *const tables[] = {rows, NULL};
static const sg_hf_default defaults[] = {{"layer_norm_eps", 1e-12}, {0}};

const sg_hf_family sg_hf_bert_families[] = {
    {"bert", "bert", tables, bert, defaults, "|bert.", ignore, "gelu"},
    {0},
};
