/* sample/schema_rules.c - rules that every part of the schema compiler writes: literals, repetitions, blanks, any value. */
#include "sample/schema.h"

#include <string.h>

/* ---- rules ---------------------------------------------------------------------------- */

sg_status sg_schema_literal(sg_schema *c, sg_sequence *s, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        SG_TRY(sg_sequence_add(s, (sg_symbol){SG_SYMBOL_BYTES, (uint8_t)bytes[i], (uint8_t)bytes[i], 0}, c->err));
    return SG_OK;
}

sg_status sg_schema_rule(sg_schema *c, uint32_t rule, const char *text, const uint32_t *rules)
{
    sg_sequence s = {0};
    sg_status st = SG_OK;
    for (; *text && st == SG_OK; text++)
        st = *text == '%' ? sg_sequence_add(&s, sg_symbol_rule(*rules++), c->err) : sg_schema_literal(c, &s, text, 1);
    if (st == SG_OK)
        st = sg_grammar_add_alternative(c->g, rule, s.at, s.n, c->err);
    sg_sequence_fini(&s);
    return st;
}

/* Exactly 2^k of item: half and half. */
static sg_status power(sg_schema *c, uint32_t item, int k, uint32_t *rule)
{
    *rule = item;
    for (int i = 0; i < k; i++) {
        uint32_t half = *rule;
        SG_TRY(sg_grammar_add_rule(c->g, rule, c->err));
        SG_TRY(sg_schema_rule(c, *rule, "%%", (uint32_t[]){half, half}));
    }
    return SG_OK;
}

static int log_floor(uint64_t n) { return 63 - __builtin_clzll(n); }

static sg_status exactly(sg_schema *c, uint32_t item, int64_t n, uint32_t *rule)
{
    uint32_t rest = SG_NONE;
    SG_TRY(sg_grammar_add_rule(c->g, rule, c->err));
    if (n == 0)
        return sg_schema_rule(c, *rule, "", NULL);
    for (int k = 0; n >> k; k++) {
        uint32_t block, both;
        if (!(n >> k & 1))
            continue;
        SG_TRY(power(c, item, k, &block));
        SG_TRY(sg_grammar_add_rule(c->g, &both, c->err));
        SG_TRY(rest == SG_NONE ? sg_schema_rule(c, both, "%", &block) : sg_schema_rule(c, both, "%%", (uint32_t[]){block, rest}));
        rest = both;
    }
    return sg_schema_rule(c, *rule, "%", &rest);
}

/* At most n: with 2^k the largest power in n, either fewer than 2^k, or 2^k and at most n - 2^k more.  Fewer than 2^k: its
 * binary digits, largest first, so that a number is read in one way only. */
static sg_status at_most(sg_schema *c, uint32_t item, int64_t n, int depth, uint32_t *rule)
{
    enum { CHAIN = 64 };
    SG_TRY(sg_grammar_add_rule(c->g, rule, c->err));
    SG_TRY(sg_schema_rule(c, *rule, "", NULL));
    if (n <= 0)
        return SG_OK;
    if (n <= CHAIN || depth > 64) {
        sg_symbol one = sg_symbol_rule(item), all;
        SG_TRY(sg_grammar_repeat(c->g, &one, 1, 1, n, &all, c->err));
        return sg_schema_rule(c, *rule, "%", &all.rule);
    }
    int k = log_floor((uint64_t)n);
    uint32_t block, rest, fewer = SG_NONE;
    for (int i = 0; i < k; i++) {
        uint32_t digit, next;
        SG_TRY(power(c, item, i, &digit));
        SG_TRY(sg_grammar_add_rule(c->g, &next, c->err));
        if (fewer == SG_NONE) {
            SG_TRY(sg_schema_rule(c, next, "", NULL));
            SG_TRY(sg_schema_rule(c, next, "%", &digit));
        } else {
            SG_TRY(sg_schema_rule(c, next, "%", &fewer));
            SG_TRY(sg_schema_rule(c, next, "%%", (uint32_t[]){digit, fewer}));
        }
        fewer = next;
    }
    SG_TRY(power(c, item, k, &block));
    SG_TRY(at_most(c, item, n - ((int64_t)1 << k), depth + 1, &rest));
    SG_TRY(sg_schema_rule(c, *rule, "%", &fewer));
    return sg_schema_rule(c, *rule, "%%", (uint32_t[]){block, rest});
}

sg_status sg_schema_repeat(sg_schema *c, uint32_t item, int64_t min, int64_t max, uint32_t *rule)
{
    enum { WRITTEN_OUT = 1024 };
    if (min <= WRITTEN_OUT && max <= WRITTEN_OUT) {
        sg_symbol one = sg_symbol_rule(item), all;
        SG_TRY(sg_grammar_repeat(c->g, &one, 1, min, max, &all, c->err));
        *rule = all.rule;
        return SG_OK;
    }
    uint32_t first, rest;
    SG_TRY(exactly(c, item, min, &first));
    if (max < 0) {
        sg_symbol one = sg_symbol_rule(item), all;
        SG_TRY(sg_grammar_repeat(c->g, &one, 1, 0, -1, &all, c->err));
        rest = all.rule;
    } else {
        SG_TRY(at_most(c, item, max - min, 0, &rest));
    }
    SG_TRY(sg_grammar_add_rule(c->g, rule, c->err));
    return sg_schema_rule(c, *rule, "%%", (uint32_t[]){first, rest});
}

/* Nothing, one blank, or a line end and indentation. */
sg_status sg_schema_ws(sg_schema *c, uint32_t *rule)
{
    if (c->ws == SG_NONE) {
        uint32_t blank, indent;
        SG_TRY(sg_grammar_add_rule(c->g, &c->ws, c->err));
        SG_TRY(sg_grammar_add_rule(c->g, &blank, c->err));
        SG_TRY(sg_schema_rule(c, blank, " ", NULL));
        SG_TRY(sg_schema_rule(c, blank, "\t", NULL));
        SG_TRY(sg_schema_repeat(c, blank, 0, SG_SCHEMA_BLANKS_MAX, &indent));
        SG_TRY(sg_schema_rule(c, c->ws, "", NULL));
        SG_TRY(sg_schema_rule(c, c->ws, " ", NULL));
        SG_TRY(sg_schema_rule(c, c->ws, "\n%", &indent));
    }
    *rule = c->ws;
    return SG_OK;
}

/* ---- values without a schema ------------------------------------------------------------------------ */

sg_status sg_schema_anything(sg_schema *c, uint32_t *rule)
{
    if (c->anything == SG_NONE) {
        static const sg_schema_set none;
        uint32_t all;
        SG_TRY(sg_grammar_add_rule(c->g, &all, c->err));
        c->anything = all;
        static const char *const words[] = {"null", "true", "false"};
        for (size_t i = 0; i < 3; i++)
            SG_TRY(sg_schema_rule(c, all, words[i], NULL));
        SG_TRY(sg_schema_string(c, &none, all));
        SG_TRY(sg_schema_number(c, &none, false, all));
        SG_TRY(sg_schema_object(c, &none, all));
        SG_TRY(sg_schema_array(c, &none, all));
    }
    *rule = c->anything;
    return SG_OK;
}
