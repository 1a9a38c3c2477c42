/* sample/schema.h - the inside of the compiler from JSON Schema to grammars (sg_grammar_from_schema in segue.h).
 *
 *     schema.c         sets of schemas that hold together, choices, what values a set allows
 *     schema_object.c  objects and arrays          schema_string.c   strings, keys, literals
 *     schema_number.c  numbers                     schema_logic.c    does a value obey; the opposite; are two apart
 *
 * Everything works on sets: a value obeys all schemas of a set.  A set becomes one rule, once; rules are filled from a
 * queue, so that recursion in the schema is recursion in the grammar and costs no stack.
 */
#ifndef SG_SAMPLE_SCHEMA_H
#define SG_SAMPLE_SCHEMA_H

#include "base/json.h"
#include "sample/automaton.h"
#include "sample/grammar_rules.h"

enum {
    SG_SCHEMA_SET_MAX = 80,       /* schemas that hold at one place at once */
    SG_SCHEMA_SETS_MAX = 1 << 16, /* rules for sets */
    SG_SCHEMA_WORK_MAX = 1 << 18, /* steps of resolving choices */
    SG_SCHEMA_DEPTH_MAX = 128,    /* of references and choices that lead to one another, of values in enum */
    SG_SCHEMA_BLANKS_MAX = 80,    /* of indentation behind a line end */
};

/* Sets of JSON types; an integer is a number without a fraction. */
enum {
    SG_TYPE_NULL = 1,
    SG_TYPE_BOOLEAN = 2,
    SG_TYPE_OBJECT = 4,
    SG_TYPE_ARRAY = 8,
    SG_TYPE_STRING = 16,
    SG_TYPE_INTEGER = 32,
    SG_TYPE_FRACTION = 64,
    SG_TYPE_NUMBER = SG_TYPE_INTEGER | SG_TYPE_FRACTION,
    SG_TYPE_ANY = 127,
};

/* Keywords that the compiler makes for itself. */
#define SG_KEY_NOT_PATTERN "\x01not-pattern"   /* string */
#define SG_KEY_NOT_MULTIPLE "\x01not-multiple" /* number */
#define SG_KEY_NOT_ENUM "\x01not-enum"         /* array of values */
#define SG_KEY_NOT_TYPES "\x01not-types"       /* integer: a set of types */

typedef struct sg_schema_set {
    json_t *s[SG_SCHEMA_SET_MAX]; /* borrowed; objects only, as they were met */
    size_t n;
    bool never; /* a false was among them */
} sg_schema_set;

typedef struct sg_schema_memo sg_schema_memo;
typedef struct sg_schema_classes sg_schema_classes; /* rules for sets of characters */

typedef struct sg_schema {
    sg_grammar *g;
    json_t *root;
    unsigned flags;
    bool partly;    /* opposites may leave out what they cannot say: they allow less, never more */
    bool lone_ref;  /* drafts up to 7: nothing stands beside $ref */
    json_t *made;   /* object: schemas made on the way, by what they were made of */
    json_t *here;   /* the schema being compiled, for errors */
    const json_t *known; /* an enum whose values are being checked: they are among it */
    sg_schema_memo *memo;
    sg_schema_classes *classes;
    int64_t work;
    /* rules that many places use, SG_NONE until made */
    uint32_t ws, indent, string, chars, character, hex, number, integer, anything, nothing;
    sg_error *err;
} sg_schema;

/* ---- schema.c ---- */

/* One more schema (a boolean or an object). */
sg_status sg_schema_set_add(sg_schema *c, sg_schema_set *set, json_t *s);
/* The rule of a set, to be filled later. */
sg_status sg_schema_rule_of(sg_schema *c, sg_schema_set *set, uint32_t *rule);
/* A schema made by the compiler, found again by key and schema; *found NULL when there is none yet.  keep takes `made` over. */
json_t *sg_schema_made(sg_schema *c, const json_t *s, const char *key);
sg_status sg_schema_keep(sg_schema *c, const json_t *s, const char *key, json_t *made);
/* An automaton for a pattern, made once; borrowed.  The text must outlive the compiler. */
sg_status sg_schema_pattern(sg_schema *c, const json_t *s, const char *text, size_t n, const sg_dfa **d);

/* ---- schema_read.c ---- */

/* Fail with the place of schema s (or of what is being compiled) in front. */
__attribute__((format(printf, 4, 5))) sg_status sg_schema_fail(sg_schema *c, const json_t *s, sg_status st, const char *format, ...);
/* Put that place in front of an error that is there. */
sg_status sg_schema_fail_at(sg_schema *c, const json_t *s, sg_status st);
/* Every keyword of s is known and has its shape. */
sg_status sg_schema_check_keywords(sg_schema *c, json_t *s);
/* Some keyword of s says something of values (annotations do not). */
bool sg_schema_constrains(const json_t *s);
/* Whether a keyword of that name is known. */
bool sg_schema_keyword(const char *name);
/* An object or a boolean. */
bool sg_schema_is(const json_t *v);
/* What a $ref points at; SG_E_... when nothing. */
sg_status sg_schema_resolve(sg_schema *c, json_t *s, json_t **target);
/* The types a schema allows by `type` alone. */
sg_status sg_schema_types(sg_schema *c, const json_t *s, unsigned *types);
/* A count such as minItems: 0 or more; `fallback` when it is not there. */
sg_status sg_schema_count(sg_schema *c, const json_t *s, const char *key, int64_t fallback, int64_t *count);

/* ---- schema_rules.c ---- */

static inline sg_symbol sg_symbol_rule(uint32_t rule) { return (sg_symbol){.kind = SG_SYMBOL_RULE, .rule = rule}; }
sg_status sg_schema_literal(sg_schema *c, sg_sequence *s, const char *bytes, size_t n);
/* One alternative: text with, for each %, the next of the rules. */
sg_status sg_schema_rule(sg_schema *c, uint32_t rule, const char *text, const uint32_t *rules);
/* `item` from min to max times (max < 0: any number); large counts cost the logarithm. */
sg_status sg_schema_repeat(sg_schema *c, uint32_t item, int64_t min, int64_t max, uint32_t *rule);
sg_status sg_schema_ws(sg_schema *c, uint32_t *rule);
sg_status sg_schema_anything(sg_schema *c, uint32_t *rule);

/* ---- schema_string.c: an alternative of `rule` for what the set says of strings ---- */

sg_status sg_schema_string(sg_schema *c, const sg_schema_set *set, uint32_t rule);
/* Any string. */
sg_status sg_schema_any_string(sg_schema *c, uint32_t *rule);
/* Names of properties: not one of `not`, allowed by the propertyNames of the set; `patterns` sort them into classes
 * (bit k: patterns[k] matches).  Calls found(arg, class, rule) for each class that has names, rule being the
 * quoted key. */
sg_status sg_schema_names(sg_schema *c, const sg_schema_set *set, const char *const *not, const size_t *len, size_t nnot,
                          const sg_dfa *const *patterns, size_t npattern,
                          sg_status (*found)(void *arg, uint32_t class, uint32_t rule), void *arg);
/* One of the texts, as they stand. */
sg_status sg_schema_texts(sg_schema *c, const char *const *text, const size_t *len, size_t n, uint32_t rule);
void sg_schema_classes_free(sg_schema_classes *classes);
/* A value as JSON text, compact, in fresh memory; a string gets quotes. */
sg_status sg_schema_dump(sg_schema *c, const json_t *v, char **text, size_t *n);

/* ---- schema_number.c, schema_object.c ---- */

sg_status sg_schema_number(sg_schema *c, const sg_schema_set *set, bool integer, uint32_t rule);
sg_status sg_schema_object(sg_schema *c, const sg_schema_set *set, uint32_t rule);
sg_status sg_schema_array(sg_schema *c, const sg_schema_set *set, uint32_t rule);
/* Arrays of min to max (max < 0: any number of) different items that obey `set`, as alternatives of `rule`.  *done is false, and
 * nothing was added, when they cannot be listed. */
sg_status sg_schema_unique(sg_schema *c, const sg_schema_set *set, int64_t min, int64_t max, uint32_t rule, bool *done);
/* What the schemas of a set say of the property `name`. */
sg_status sg_schema_property(sg_schema *c, const sg_schema_set *set, const char *name, size_t n, sg_schema_set *value);

/* ---- schema_logic.c ---- */

/* *obeys: the value is allowed. */
sg_status sg_schema_obeys(sg_schema *c, json_t *s, const json_t *v, bool *obeys);
/* The schema of everything that s does not allow; borrowed from the compiler.  SG_E_UNSUPPORTED when there is no way to say it. */
sg_status sg_schema_opposite(sg_schema *c, json_t *s, json_t **out);
/* *apart: no value can obey both, as far as is easily seen. */
sg_status sg_schema_apart(sg_schema *c, json_t *a, json_t *b, bool *apart);
/* Are two JSON values the same (1 and 1.0 are). */
bool sg_schema_same(const json_t *a, const json_t *b);

#endif
