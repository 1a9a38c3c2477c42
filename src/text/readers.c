/* text/readers.c - what the readers of tokenizer formats share: pieces in their several alphabets, merges, BERT's and
 * SentencePiece's usual steps, and the table of GGUF's names for pre-tokenisers.
 *
 * GGUF does not store the pattern that cuts words, only a name (tokenizer.ggml.pre).  `pres` gives each name the
 * patterns of the models' own tokenizer.json files, one after another as those files apply them.  Adding a name is
 * adding a row; a pattern that scan.c knows is found there by its text.
 */
#include "text/readers.h"

#include "base/heap.h"

#include <stdio.h>
#include <string.h>

static int cut60(size_t n) { return (int)(n < 60 ? n : 60); }

sg_status sg_read_merge(sg_tokenizer *t, const sg_vocab *names, const char *left, size_t nleft, const char *right,
                        size_t nright, size_t index, const char *what, sg_error *err)
{
    int32_t a = sg_vocab_find(names, left, nleft), b = sg_vocab_find(names, right, nright);
    if (a < 0 || b < 0) {
        const char *s = a < 0 ? left : right;
        return sg_fail(err, SG_E_FORMAT, "%s: merge %zu uses '%.*s', which is no token", what, index,
                       cut60(a < 0 ? nleft : nright), s);
    }
    char local[256], *both = nleft + nright <= sizeof local ? local : sg_alloc(nleft + nright);
    if (!both)
        return sg_fail_nomem(err, "the merges");
    memcpy(both, left, nleft);
    memcpy(both + nleft, right, nright);
    int32_t id = sg_vocab_find(names, both, nleft + nright);
    sg_status st = id >= 0 ? sg_merges_put(&t->merges, (uint32_t)a, (uint32_t)b, (uint32_t)id, err)
                           : sg_fail(err, SG_E_FORMAT, "%s: merge %zu makes '%.*s', which is no token", what, index,
                                     cut60(nleft + nright), both);
    if (both != local)
        sg_free(both);
    return st;
}

sg_status sg_read_merge_line(sg_tokenizer *t, const sg_vocab *names, const char *s, size_t n, size_t index,
                             const char *what, sg_error *err)
{
    const char *blank = memchr(s, ' ', n);
    size_t left = blank ? (size_t)(blank - s) : 0;
    if (!blank || left == 0 || left + 1 == n || memchr(blank + 1, ' ', n - left - 1))
        return sg_fail(err, SG_E_FORMAT, "%s: merge %zu '%.*s' is not two parts with one blank between", what, index, cut60(n), s);
    return sg_read_merge(t, names, s, left, blank + 1, n - left - 1, index, what, err);
}

sg_status sg_read_bar_piece(sg_tokenizer *t, uint32_t id, const char *s, size_t n, unsigned flags, sg_error *err)
{
    sg_buf b = SG_BUF_INIT;
    for (size_t i = 0; i < n; i++)
        if (n - i >= 3 && memcmp(s + i, "\xe2\x96\x81", 3) == 0) {
            sg_buf_addc(&b, ' ');
            i += 2;
        } else {
            if (s[i] == ' ') /* a real blank never reaches the model: it became ▁ */
                flags &= ~(unsigned)SG_PIECE_MATCH;
            sg_buf_addc(&b, s[i]);
        }
    sg_status st = sg_buf_ok(&b) ? sg_vocab_put(&t->vocab, id, sg_buf_str(&b), b.len, flags, err)
                                 : sg_fail_nomem(err, "the vocabulary");
    sg_buf_fini(&b);
    return st;
}

sg_status sg_read_gpt2_piece(sg_tokenizer *t, uint32_t id, const char *s, size_t n, unsigned flags, sg_error *err)
{
    sg_buf b = SG_BUF_INIT;
    bool ok = sg_bytes_from_gpt2(s, n, &b);
    sg_status st = !sg_buf_ok(&b) ? sg_fail_nomem(err, "the vocabulary")
                   : ok           ? sg_vocab_put(&t->vocab, id, sg_buf_str(&b), b.len, flags, err)
                                  : sg_vocab_put(&t->vocab, id, s, n, flags & ~(unsigned)SG_PIECE_MATCH, err);
    sg_buf_fini(&b);
    return st;
}

sg_status sg_read_bert_steps(sg_tokenizer *t, bool clean, bool chinese, bool accents, bool lowercase, sg_error *err)
{
    if (clean)
        SG_TRY(sg_norms_add(&t->norms, (sg_norm){.kind = SG_NORM_BERT_CLEAN}, err));
    if (chinese)
        SG_TRY(sg_norms_add(&t->norms, (sg_norm){.kind = SG_NORM_BERT_CHINESE}, err));
    if (accents) {
        SG_TRY(sg_norms_add(&t->norms, (sg_norm){.kind = SG_NORM_UNICODE, .form = SG_NFD}, err));
        SG_TRY(sg_norms_add(&t->norms, (sg_norm){.kind = SG_NORM_ACCENTS}, err));
    }
    return lowercase ? sg_norms_add(&t->norms, (sg_norm){.kind = SG_NORM_LOWERCASE}, err) : SG_OK;
}

sg_status sg_read_bert_words(sg_tokenizer *t, sg_error *err)
{
    SG_TRY(sg_pretoks_add(&t->pretoks,
                          &(sg_pretok){.kind = SG_PRETOK_CLASS, .class = SG_CLASS_SPACE, .behavior = SG_SPLIT_REMOVED}, err));
    return sg_pretoks_add(&t->pretoks,
                          &(sg_pretok){.kind = SG_PRETOK_CLASS, .class = SG_CLASS_BERT_PUNCT, .behavior = SG_SPLIT_ISOLATED}, err);
}

sg_status sg_read_sentencepiece_steps(sg_tokenizer *t, bool prefix, sg_error *err)
{
    if (prefix)
        SG_TRY(sg_norms_add_prepend(&t->norms, " ", 1, err));
    return sg_norms_add_replace(&t->norms, "\xe2\x96\x81", 3, false, " ", 1, err);
}

/* ---- tokenizer.ggml.pre ---- */

#define LETTERS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define ENDING "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define MARK_1 "[^\\r\\n\\p{L}\\p{N}]?"
#define SUFFIX "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
#define SLASHES "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define PUNCTUATION_WORD "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
#define CONTINENTAL " ?[^(\\s|.,!?\xe2\x80\xa6\xe3\x80\x82\xef\xbc\x8c\xe3\x80\x81\xe0\xa5\xa4\xdb\x94\xd8\x8c)]+"

static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
static const char llama3[] = LETTERS "\\p{N}{1,3}" ENDING;
static const char qwen2[] = LETTERS "\\p{N}" ENDING;
static const char qwen35[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
                             "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char o200k[] = MARK_1 UPPER "*" LOWER "+" SUFFIX "|" MARK_1 UPPER "+" LOWER "*" SUFFIX "|\\p{N}{1,3}" SLASHES;
static const char tekken[] = MARK_1 UPPER "*" LOWER "+|" MARK_1 UPPER "+" LOWER "*|\\p{N}" SLASHES;
static const char youtu[] = MARK_1 UPPER "*" LOWER "+" SUFFIX "|" MARK_1 UPPER "+" LOWER "*" SUFFIX "|\\p{N}" SLASHES;
static const char kimi[] = "\\p{sc:Han}+|" MARK_1 "(?:(?!\\p{sc:Han})" UPPER ")*(?:(?!\\p{sc:Han})" LOWER ")+" SUFFIX "|" MARK_1
                           "(?:(?!\\p{sc:Han})" UPPER ")+(?:(?!\\p{sc:Han})" LOWER ")*" SUFFIX "|\\p{N}{1,3}" ENDING;
static const char deepseek3[] = PUNCTUATION_WORD "[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
                                 "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";
static const char cjk[] = "[\xe4\xb8\x80-\xe9\xbe\xa5\xe3\x81\x80-\xe3\x82\x9f\xe3\x82\xa0-\xe3\x83\xbf]+";
static const char cjk_old[] = "[\xe4\xb8\x80-\xe9\xbe\xa5\xe0\xa0\x80-\xe4\xb8\x80\xea\xb0\x80-\xed\x9f\xbf]+";
static const char number[] = "\\p{N}", numbers[] = "\\p{N}+", number3[] = "\\p{N}{1,3}", line_end[] = "[\r\n]";
static const char digits3[] = "[0-9][0-9][0-9]";
/* The cased letters of DeepSeek-LLM's published pre-tokenizer, as ranges. */
static const char deepseek_letters[] =
    "\\s?[A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}"
    "\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}"
    "\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}"
    "\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}"
    "\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}"
    "\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}"
    "\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}"
    "\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}"
    "\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}"
    "\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}"
    "\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}]+";
static const char deepseek_marks[] = "\\s?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+";

enum { WHOLE = 1, BOS = 2 }; /* a word that is a token needs no merges; BOS is added unless the file says otherwise */

static const struct pre {
    const char *names; /* between blanks */
    unsigned flags;
    const char *pattern[7];
} pres[] = {
    {" llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano ", WHOLE | BOS, {llama3}},
    {" dbrx smaug-bpe chatglm-bpe glm4 ", 0, {llama3}},
    {" gpt-2 phi-2 mpt olmo jais trillion granite-docling gigachat jina-es jina-de "
     "jina-v1-en jina-v2-code jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert roberta-bpe ",
     0, {gpt2}},
    {" qwen2 deepseek-r1-qwen stablelm2 hunyuan solar-open kormo megrez grok-2 ", 0, {qwen2}},
    {" qwen35 qwen3.5 ", 0, {qwen35}},
    {" gpt-4o llama4 minimax-m2 kanana2 ", 0, {o200k}},
    {" tekken ", WHOLE | BOS, {tekken}},
    {" kimi-k2 ", 0, {kimi}},
    {" deepseek-v3 hunyuan-dense joyai-llm ", 0, {number3, cjk, deepseek3}},
    {" deepseek-llm ", 0, {line_end, deepseek_letters, deepseek_marks, "\\s+$", cjk_old, numbers}},
    {" deepseek-coder ", 0, {line_end, "\\s?\\p{L}+", "\\s?\\p{P}+", cjk_old, number}},
    {" smollm starcoder refact command-r codeshell exaone minerva-7b mellum2 ", 0, {number, gpt2}},
    {" falcon ", 0, {"[\\p{P}\\$\\+<=>\\^~\\|`]+", gpt2, digits3}},
    {" youtu ", WHOLE, {"[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|"
                        "[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}\\x{2018}\\x{2019}\\x{2014}"
                        "\\x{ff1a}\\x{ff1b}\\x{ff0c}\\x{3001}-\\x{303f}\\x{fe30}-\\x{fe4f}]+|"
                        "[\\x{3105}-\\x{312f}]+|[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+", youtu}},
    {" poro-chat bloom gpt3-finnish ", 0, {CONTINENTAL}},
    {" viking ", 0, {CONTINENTAL, number}},
    {" superbpe ", 0, {numbers, "(?=(\\d{3})+(?!\\d))"}},
    {" seed-coder ", 0, {LETTERS "\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
    {" bailingmoe bailingmoe2 llada-moe ", 0, {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}"
                                              "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    {" chameleon ", BOS, {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )",
                         number, "[\\p{P}!-/:-@\\[-`{-~]", gpt2}},
    {" exaone4 ", 0, {gpt2}},
    {" default ", 0, {"[\\p{P}\\$\\+<=>\\^~\\|]+", gpt2, numbers, digits3}},
};

sg_status sg_read_pre(sg_tokenizer *t, const char *name, bool *add_bos, sg_error *err)
{
    char padded[64];
    int n = snprintf(padded, sizeof padded, " %s ", *name ? name : "default");
    for (size_t i = 0; n > 0 && (size_t)n < sizeof padded && i < sizeof pres / sizeof pres[0]; i++) {
        if (!strstr(pres[i].names, padded))
            continue;
        t->ignore_merges = pres[i].flags & WHOLE;
        *add_bos = pres[i].flags & BOS;
        for (const char *const *p = pres[i].pattern; *p; p++)
            SG_TRY(sg_pretoks_add_regex(&t->pretoks, *p, strlen(*p), SG_SPLIT_ISOLATED, false, err));
        return SG_OK;
    }
    return sg_fail(err, SG_E_UNSUPPORTED, "tokenizer.ggml.pre: '%s' is no pre-tokenizer that we know", name);
}
