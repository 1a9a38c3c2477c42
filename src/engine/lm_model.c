/* engine/lm_model.c - a real model behind engine/lm.h: weights, operations, KV pool, tokenizer, template.
 *
 * Opening decides how much memory there is for keys and values, once:
 *
 *     need     what weights, steps and the least context will take: more than the ledger (ledger.h) has left is refused
 *              before anything is loaded
 *     room     seven eighths of what the ledger has left after the weights with --memory, without it half
 *     wanted   the context times the requests that may run at once
 *     blocks   the lesser of the two; a context that does not fit is an error when it was asked for, and is
 *              made shorter (visible in the information) when it was the model's own
 *
 * The pool's memory is reserved at once and touched as it is used.
 */
#include "engine/internal.h"

#include "base/heap.h"
#include "format/embedded.h"
#include "text/template.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <string.h>

enum { BLOCK = 32, ROWS = 512, RUNNING = 32, DRAFTS = 16, CTX_MIN = 16 };

typedef struct real_lm {
    sg_weights *weights;
    sg_ops *ops;
    sg_model *model;
    const sg_model_info *info;
    sg_kv_pool *pool;
    sg_tokenizer *tokenizer;
    sg_template *template;
    sg_error template_error; /* why there is none, although the model brings one: said when it is asked for */
    sg_token longest; /* the token with the most bytes */
    int nvocab;
} real_lm;

static sg_status real_step(void *self, const sg_batch *batch, sg_error *err)
{
    real_lm *m = self;
    return sg_model_step(m->model, m->pool, batch, err);
}

/* ---- text ---- */

static bool real_is_special(void *self, int32_t id)
{
    const real_lm *m = self;
    return (size_t)id >= sg_tokenizer_size(m->tokenizer) || sg_tokenizer_is_special(m->tokenizer, id);
}

static bool real_is_end(void *self, int32_t id)
{
    const real_lm *m = self;
    return (size_t)id < sg_tokenizer_size(m->tokenizer) && sg_tokenizer_is_end(m->tokenizer, id);
}

static sg_status real_encode(void *self, const char *text, size_t n, bool special, bool begin, int32_t **ids, size_t *nid, sg_error *err)
{
    const real_lm *m = self;
    sg_tokens list = {0};
    unsigned flags = (special ? SG_ENCODE_SPECIAL : 0) | (begin ? SG_ENCODE_AROUND : 0);
    sg_status st = sg_tokenizer_encode(m->tokenizer, text, n, flags, &list, err);
    if (st == SG_OK && begin && list.n > 1 && list.data[list.n - 1] == sg_tokenizer_eos(m->tokenizer))
        list.n--; /* the text is to be continued, not ended */
    for (size_t i = 0; st == SG_OK && i < list.n; i++)
        if (list.data[i] < 0 || list.data[i] >= m->nvocab)
            st = sg_fail(err, SG_E_FORMAT, "the tokenizer gives token %d, the model has %d", (int)list.data[i], m->nvocab);
    if (st == SG_OK && !list.data && !(list.data = sg_calloc(1, sizeof *list.data)))
        st = sg_fail_nomem(err, "token ids");
    if (st != SG_OK) {
        sg_tokens_fini(&list);
        return st;
    }
    *ids = list.data;
    *nid = list.n;
    return SG_OK;
}

static size_t real_token_bytes(void *self, int32_t id, char *out, size_t cap)
{
    const real_lm *m = self;
    size_t n = 0;
    const char *s = sg_tokenizer_piece(m->tokenizer, id, &n);
    if (!s)
        return 0;
    if (cap)
        memcpy(out, s, n < cap ? n : cap);
    return n;
}

static void real_decoder_free(void *decoder) { sg_detok_free(decoder); }

/* The longest token passes through first, so that no later one makes the decoder grow; then the prompt's last token, so
 * that the answer is decoded as what follows it. */
static sg_status real_decoder_new(void *self, void **decoder, const int32_t *prompt, size_t nprompt, sg_error *err)
{
    const real_lm *m = self;
    sg_detok *d;
    const char *text;
    size_t n;
    SG_TRY(sg_detok_new(&d, m->tokenizer, true, err));
    sg_status st = m->longest >= 0 ? sg_detok_add(d, m->longest, &text, &n, err) : SG_OK;
    if (st == SG_OK)
        st = sg_detok_end(d, &text, &n, err);
    if (st == SG_OK && nprompt && (size_t)prompt[nprompt - 1] < sg_tokenizer_size(m->tokenizer))
        st = sg_detok_add(d, prompt[nprompt - 1], &text, &n, err);
    if (st != SG_OK) {
        sg_detok_free(d);
        return st;
    }
    *decoder = d;
    return SG_OK;
}

static size_t real_decode(void *decoder, int32_t id, char *out)
{
    const char *text = "";
    size_t n = 0;
    if (sg_detok_add(decoder, id, &text, &n, NULL) != SG_OK)
        return 0; /* an id of the model that the tokenizer does not have shows nothing */
    memcpy(out, text, n);
    return n;
}

static size_t real_decode_end(void *decoder, char *out)
{
    const char *text = "";
    size_t n = 0;
    if (sg_detok_end(decoder, &text, &n, NULL) != SG_OK || n > 15)
        return 0;
    memcpy(out, text, n);
    return n;
}

static sg_status real_render(void *self, const sg_chat *chat, char **text, size_t *n, sg_error *err)
{
    const real_lm *m = self;
    sg_template_input in = {.messages = chat->messages, .tools = chat->tools, .documents = chat->documents, .options = chat->variables,
                            .add_generation_prompt = !chat->no_generation_prompt};
    if (!m->template) {
        if (err)
            *err = m->template_error;
        return m->template_error.status;
    }
    return sg_template_render(m->template, &in, text, n, NULL, err);
}

/* ---- opening ---- */

static void real_close(void *self)
{
    real_lm *m = self;
    sg_kv_pool_close(m->pool);
    sg_model_free(m->model);
    sg_ops_close(m->ops);
    sg_template_free(m->template);
    sg_tokenizer_free(m->tokenizer);
    sg_weights_close(m->weights);
    sg_free(m);
}

static sg_status open_weights(real_lm *m, const sg_engine_options *o, sg_error *err)
{
    if (o->model)
        return sg_weights_open(&m->weights, o->model, err);
    return sg_weights_open_memory(&m->weights, sg_default_model, sg_default_model_bytes(), "the embedded default", err);
}

static sg_status open_text(real_lm *m, sg_lm *lm, const sg_engine_options *o, sg_error *err)
{
    const sg_dict *meta = sg_weights_meta(m->weights);
    if (o->tokenizer)
        SG_TRY(sg_tokenizer_open(&m->tokenizer, o->tokenizer, err));
    else if (sg_weights_source(m->weights) == SG_SOURCE_GGUF)
        SG_TRY(sg_tokenizer_new_from_dict(&m->tokenizer, meta, err));
    else if (sg_weights_source(m->weights) == SG_SOURCE_HF)
        SG_TRY(sg_tokenizer_open(&m->tokenizer, o->model, err));
    else
        return sg_fail(err, SG_E_ARGUMENT, "%s: a llama2.c model needs --tokenizer FILE", o->model);
    sg_status st = SG_E_NOT_FOUND;
    if (sg_weights_source(m->weights) == SG_SOURCE_GGUF)
        st = sg_template_in_dict(meta) ? sg_template_from_dict(&m->template, meta, NULL, &m->template_error) : SG_E_NOT_FOUND;
    else if (sg_weights_source(m->weights) == SG_SOURCE_HF)
        st = sg_template_open(&m->template, o->model, NULL, &m->template_error);
    if (st == SG_E_NOMEM)
        return sg_fail_nomem(err, "the chat template");
    lm->chat_template = st != SG_E_NOT_FOUND; /* one that is broken fails requests for chat, and nothing else */
    size_t most = 0;
    m->longest = -1;
    for (size_t i = 0; i < sg_tokenizer_size(m->tokenizer); i++) {
        size_t n = 0;
        if (sg_tokenizer_piece(m->tokenizer, (sg_token)i, &n) && n > most) {
            most = n;
            m->longest = (sg_token)i;
        }
    }
    if (most > 4096)
        return sg_fail(err, SG_E_LIMIT, "token %d has %zu bytes, at most 4096", (int)m->longest, most);
    lm->piece_bytes_max = 3 * (most + 4) + 1; /* each byte may become U+FFFD */
    return SG_OK;
}

static sg_status kv_type(const real_lm *m, const char *name, sg_dtype *type, sg_error *err)
{
    *type = m->info->kv_type;
    if (name && (!sg_dtype_parse(name, type) || !sg_kv_block_bytes(m->info->kv, m->info->nlayer, *type, BLOCK)))
        return sg_fail(err, SG_E_ARGUMENT, "KV type '%s': f32, f16, bf16 and q8_0 (head sizes that are multiples of 32) are possible",
                       name);
    return SG_OK;
}

static int running_of(const sg_engine_options *o) { return o->max_running > 0 ? o->max_running : RUNNING; }

/* What the step loop will take.  A draft model (part > 1) has one sampler. */
static uint64_t loop_bytes(const real_lm *m, const sg_lm *lm, const sg_engine_options *o, int part, int nvocab)
{
    return sg_engine_loop_bytes(part > 1 ? 1 : sg_pool_nworker(sg_ops_pool(m->ops)), running_of(o), lm->max_logits, nvocab);
}

/* Blocks that there is memory for beside the step loop. */
static int64_t room_for(const sg_engine_options *o, size_t block_bytes, uint64_t loop)
{
    uint64_t left = sg_ledger_left();
    left = left > loop ? left - loop : 0;
    uint64_t room = o->memory_bytes ? left - left / 8 : left / 2; /* the rest for requests and answers */
    uint64_t tree = BLOCK * sizeof(int32_t) + 96;                                           /* what the prefix tree takes for a block */
    return (int64_t)(room / (block_bytes + tree));
}

/* `part`: the pool gets at most such a part of the room. */
static sg_status open_pool(real_lm *m, sg_lm *lm, const sg_engine_options *o, int part, sg_error *err)
{
    sg_dtype type;
    SG_TRY(kv_type(m, o->kv_type, &type, err));
    size_t bytes = sg_kv_block_bytes(m->info->kv, m->info->nlayer, type, BLOCK);
    if (!bytes)
        return sg_fail(err, SG_E_UNSUPPORTED, "the model's keys and values do not fit a block");
    int64_t room = room_for(o, bytes, loop_bytes(m, lm, o, part, m->nvocab)) / part;
    int ctx = o->ctx > 0 ? o->ctx : m->info->ctx;
    if (room > SG_KV_BLOCKS_MAX)
        room = SG_KV_BLOCKS_MAX;
    if (sg_kv_blocks_for(ctx, BLOCK) > room) {
        if (o->ctx > 0 || room * BLOCK < CTX_MIN)
            return sg_fail(err, SG_E_NOMEM, "a context of %d tokens needs %.0f MiB of keys and values, there is memory for %lld tokens",
                           ctx, (double)sg_kv_blocks_for(ctx, BLOCK) * (double)bytes / 0x1p20, (long long)room * BLOCK);
        ctx = (int)room * BLOCK;
    }
    int64_t wanted = (int64_t)sg_kv_blocks_for(ctx, BLOCK) * running_of(o);
    SG_TRY(sg_kv_pool_open(&m->pool, m->info->kv, m->info->nlayer, type, BLOCK, (int)(wanted < room ? wanted : room), err));
    lm->ctx = ctx;
    return SG_OK;
}

/* Whether weights, steps and a context fit, in numbers, before they are loaded. */
static sg_status check_memory(const real_lm *m, const sg_lm *lm, const sg_engine_options *o, int part, sg_error *err)
{
    sg_model_need n;
    char parts[160];
    sg_dtype type = o->exact ? SG_F32 : SG_F16;
    if (o->kv_type && !sg_dtype_parse(o->kv_type, &type))
        return SG_OK; /* open_pool says so */
    SG_TRY(sg_model_need_of(&n, m->weights, m->ops, lm->max_rows, lm->max_logits, type, BLOCK, err));
    int ctx = o->ctx > 0 ? o->ctx : n.ctx < CTX_MIN ? n.ctx : CTX_MIN;
    uint64_t kv = (uint64_t)sg_kv_blocks_for(ctx, BLOCK) * n.block_bytes, weights = (uint64_t)n.packed_bytes + n.mapped_bytes;
    uint64_t steps = n.scratch_bytes + loop_bytes(m, lm, o, part, n.nvocab);
    snprintf(parts, sizeof parts, "weights %.0f, steps %.0f, keys and values of %d tokens %.0f", (double)weights / 0x1p20,
             (double)steps / 0x1p20, ctx, (double)kv / 0x1p20);
    return sg_ledger_check(o->model ? o->model : "the embedded default", weights + steps + kv, parts, err);
}

/* The heap's bytes since the last call, into a row. */
static void note(sg_lm *lm, sg_ledger_row row, int64_t *at)
{
    int64_t now = sg_heap_thread();
    if (now > *at)
        sg_ledger_hold(lm->ledger, row, (uint64_t)(now - *at));
    *at = now;
}

static sg_status open_all(real_lm *m, sg_lm *lm, const sg_engine_options *o, sg_pool *workers, int part, sg_error *err)
{
    sg_ops_options ops = {.nthread = o->threads, .exact = o->exact, .pool = workers};
    sg_str title = {"", 0};
    int64_t at = sg_heap_thread();
    SG_TRY(sg_isa_choose(&ops.isa, err));
    SG_TRY(open_weights(m, o, err));
    lm->max_logits = running_of(o) + (sg_engine_speculates(o) ? DRAFTS : part > 1 ? SG_DRAFT_EXAM : 0);
    lm->max_rows = ROWS > lm->max_logits ? ROWS : lm->max_logits;
    SG_TRY(sg_ledger_check(o->model ? o->model : "the embedded default", sg_weights_file_bytes(m->weights), "its weights alone", err));
    SG_TRY(sg_ops_open(&m->ops, &ops, err));
    note(lm, SG_LEDGER_SCRATCH, &at);
    SG_TRY(check_memory(m, lm, o, part, err));
    SG_TRY(open_text(m, lm, o, err));
    note(lm, SG_LEDGER_TEXT, &at);
    SG_TRY(sg_model_load(&m->model, m->weights, m->ops, err));
    note(lm, SG_LEDGER_PACKED, &at);
    m->info = sg_model_info_of(m->model);
    if (m->info->kind != SG_MODEL_DECODER)
        return sg_fail(err, SG_E_UNSUPPORTED, "%s is an encoder: it writes no text; see segue embed and rank", m->info->architecture);
    m->nvocab = m->info->nvocab;
    SG_TRY(sg_model_reserve(m->model, lm->max_rows, lm->max_logits, err));
    note(lm, SG_LEDGER_SCRATCH, &at);
    uint64_t file = sg_weights_file_bytes(m->weights);
    sg_ledger_hold(lm->ledger, SG_LEDGER_WEIGHTS, file > m->info->dropped_bytes ? file - m->info->dropped_bytes : 0);
    SG_TRY(open_pool(m, lm, o, part, err));
    sg_kv_pool_workers(m->pool, sg_ops_pool(m->ops));
    note(lm, SG_LEDGER_KV, &at);
    SG_TRY(sg_dict_str(sg_weights_meta(m->weights), "general.name", "", &title, err));
    lm->title = title.data;
    lm->architecture = m->info->architecture;
    lm->parameters = m->info->parameters;
    lm->file_bytes = file;
    lm->nvocab = m->nvocab;
    lm->ctx_trained = m->info->ctx;
    lm->extent_switch = m->info->extent_switch;
    lm->nexpert = m->info->nexpert;
    lm->nexpert_used = m->info->nexpert_used;
    lm->probe = true;
    lm->pool = m->pool;
    lm->workers = sg_ops_pool(m->ops);
    return SG_OK;
}

static sg_status open_part(sg_lm *lm, const sg_engine_options *o, sg_pool *workers, int part, sg_error *err)
{
    real_lm *m = sg_calloc(1, sizeof *m);
    if (!m)
        return sg_fail_nomem(err, "a model");
    sg_lm out = {.self = m, .step = real_step, .is_end = real_is_end, .is_special = real_is_special, .encode = real_encode,
                 .token_bytes = real_token_bytes,
                 .decoder_new = real_decoder_new, .decoder_free = real_decoder_free, .decode = real_decode,
                 .decode_end = real_decode_end, .render = real_render, .close = real_close};
    sg_status st = sg_ledger_new(&out.ledger, o->memory_bytes, err);
    if (st == SG_OK)
        st = open_all(m, &out, o, workers, part, err);
    if (st != SG_OK) {
        real_close(m);
        sg_ledger_unref(out.ledger);
        return st;
    }
    *lm = out;
    return SG_OK;
}

sg_status sg_lm_open(sg_lm *lm, const sg_engine_options *o, sg_pool *workers, sg_error *err)
{
    return open_part(lm, o, workers, 1, err);
}

sg_status sg_lm_open_draft(sg_lm *lm, const sg_engine_options *o, sg_error *err)
{
    enum { PART = 8 };
    sg_engine_options draft = *o;
    draft.model = o->draft;
    draft.spec = "off"; /* nobody guesses for it */
    draft.ctx = 0;      /* its own: longer requests go without */
    sg_error why;
    sg_status st = open_part(lm, &draft, NULL, PART, &why);
    return st == SG_OK ? SG_OK : sg_fail(err, st, "the draft model: %.200s", why.text);
}
