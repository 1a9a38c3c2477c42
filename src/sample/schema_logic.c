/* sample/schema_logic.c - does a value obey a schema, what is the opposite of a schema, are two schemas apart.
 *
 * The opposite is pushed inward by De Morgan's rules until it can be said with keywords:
 *
 *     not {properties: {a: S}}  ->  an object that has a, and a obeys the opposite of S
 *     not {required: [a, b]}    ->  an object without a, or one without b
 *     not {type: T, minimum: m} ->  not of type T, or a number below m
 *
 * Opposites are schemas like others, made once for each schema and kept by the compiler.
 */
#include "sample/schema.h"

#include "base/utf8.h"

#include <math.h>
#include <string.h>

/* ---- values ------------------------------------------------------------------------------- */

static bool same_at(const json_t *a, const json_t *b, int depth);

static bool same_objects(const json_t *a, const json_t *b, int depth)
{
    const char *key;
    json_t *v;
    if (json_object_size(a) != json_object_size(b))
        return false;
    json_object_foreach((json_t *)a, key, v)
        if (!same_at(v, json_object_get(b, key), depth + 1))
            return false;
    return true;
}

static bool same_at(const json_t *a, const json_t *b, int depth)
{
    if (!a || !b || depth > 1000)
        return false;
    if (json_is_integer(a) && json_is_integer(b))
        return json_integer_value(a) == json_integer_value(b);
    if (json_is_number(a) && json_is_number(b)) /* exactly the same double is meant */
        return !(json_number_value(a) < json_number_value(b)) && !(json_number_value(a) > json_number_value(b));
    if (json_typeof(a) != json_typeof(b))
        return false;
    if (json_is_object(a))
        return same_objects(a, b, depth);
    if (!json_is_array(a))
        return json_equal(a, b);
    if (json_array_size(a) != json_array_size(b))
        return false;
    for (size_t i = 0; i < json_array_size(a); i++)
        if (!same_at(json_array_get(a, i), json_array_get(b, i), depth + 1))
            return false;
    return true;
}

bool sg_schema_same(const json_t *a, const json_t *b) { return same_at(a, b, 0); }

static unsigned type_of(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_NULL: return SG_TYPE_NULL;
    case JSON_TRUE:
    case JSON_FALSE: return SG_TYPE_BOOLEAN;
    case JSON_OBJECT: return SG_TYPE_OBJECT;
    case JSON_ARRAY: return SG_TYPE_ARRAY;
    case JSON_STRING: return SG_TYPE_STRING;
    case JSON_INTEGER: return SG_TYPE_INTEGER;
    case JSON_REAL: return floor(json_real_value(v)) < json_real_value(v) ? SG_TYPE_FRACTION : SG_TYPE_INTEGER;
    default: return 0;
    }
}

static bool among(const json_t *list, const json_t *v)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (sg_schema_same(json_array_get(list, i), v))
            return true;
    return false;
}

/* ---- does a value obey? ---------------------------------------------------------------------- */

typedef struct judge {
    sg_schema *c;
    int depth;
} judge;

static sg_status obeys(judge *j, json_t *s, const json_t *v, bool *yes);

/* Number of the schemas of a list that v obeys. */
static sg_status count_obeyed(judge *j, const json_t *list, const json_t *v, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        bool yes;
        SG_TRY(obeys(j, json_array_get(list, i), v, &yes));
        *n += yes;
    }
    return SG_OK;
}

static sg_status obeys_logic(judge *j, json_t *s, const json_t *v, bool *yes)
{
    json_t *x;
    size_t n;
    bool is;
    if (json_object_get(s, "$ref")) {
        SG_TRY(sg_schema_resolve(j->c, s, &x));
        SG_TRY(obeys(j, x, v, yes));
        if (!*yes || j->c->lone_ref)
            return SG_OK;
    }
    if ((x = json_object_get(s, "allOf"))) {
        SG_TRY(count_obeyed(j, x, v, &n));
        *yes &= n == json_array_size(x);
    }
    if ((x = json_object_get(s, "anyOf"))) {
        SG_TRY(count_obeyed(j, x, v, &n));
        *yes &= n > 0;
    }
    if ((x = json_object_get(s, "oneOf"))) {
        SG_TRY(count_obeyed(j, x, v, &n));
        *yes &= n == 1;
    }
    if ((x = json_object_get(s, "not"))) {
        SG_TRY(obeys(j, x, v, &is));
        *yes &= !is;
    }
    if ((x = json_object_get(s, "if"))) {
        SG_TRY(obeys(j, x, v, &is));
        x = json_object_get(s, is ? "then" : "else");
        if (x) {
            SG_TRY(obeys(j, x, v, &is));
            *yes &= is;
        }
    }
    return SG_OK;
}

static sg_status obeys_string(judge *j, json_t *s, const json_t *v, bool *yes)
{
    static const char *const keys[] = {"pattern", SG_KEY_NOT_PATTERN};
    const char *text = json_string_value(v);
    size_t bytes = json_string_length(v);
    int64_t n = 0, min, max;
    uint32_t cp;
    for (size_t i = 0, used; i < bytes; i += used ? used : 1, n++)
        used = sg_utf8_decode(text + i, bytes - i, &cp);
    SG_TRY(sg_schema_count(j->c, s, "minLength", 0, &min));
    SG_TRY(sg_schema_count(j->c, s, "maxLength", -1, &max));
    *yes &= n >= min && (max < 0 || n <= max);
    for (size_t i = 0; i < 2 && *yes; i++) {
        const json_t *p = json_object_get(s, keys[i]);
        const sg_dfa *d;
        if (!json_is_string(p))
            continue;
        SG_TRY(sg_schema_pattern(j->c, s, json_string_value(p), json_string_length(p), &d));
        *yes &= (sg_dfa_match(d, text, bytes) != 0) == (i == 0);
    }
    return SG_OK;
}

static bool is_multiple(double x, double of)
{
    double q = x / of;
    return of > 0 && fabs(q - round(q)) < 1e-9 * (fabs(q) > 1 ? fabs(q) : 1);
}

static void obeys_number(const json_t *s, const json_t *v, bool *yes)
{
    double x = json_number_value(v);
    const json_t *min = json_object_get(s, "minimum"), *max = json_object_get(s, "maximum");
    const json_t *above = json_object_get(s, "exclusiveMinimum"), *below = json_object_get(s, "exclusiveMaximum");
    const json_t *of = json_object_get(s, "multipleOf"), *not = json_object_get(s, SG_KEY_NOT_MULTIPLE);
    if (min)
        *yes &= json_is_true(above) ? x > json_number_value(min) : x >= json_number_value(min);
    if (max)
        *yes &= json_is_true(below) ? x < json_number_value(max) : x <= json_number_value(max);
    if (json_is_number(above))
        *yes &= x > json_number_value(above);
    if (json_is_number(below))
        *yes &= x < json_number_value(below);
    if (of)
        *yes &= is_multiple(x, json_number_value(of));
    if (json_is_number(not))
        *yes &= !is_multiple(x, json_number_value(not));
}

static sg_status obeys_dependencies(judge *j, const json_t *map, const json_t *v, bool *yes)
{
    const char *key;
    json_t *asks, *name;
    size_t i;
    json_object_foreach((json_t *)map, key, asks) {
        bool is = true;
        if (!json_object_get(v, key))
            continue;
        if (json_is_array(asks)) {
            json_array_foreach(asks, i, name)
                is &= json_object_get(v, json_string_value(name)) != NULL;
        } else {
            SG_TRY(obeys(j, asks, v, &is));
        }
        *yes &= is;
    }
    return SG_OK;
}

static sg_status obeys_object(judge *j, json_t *s, const json_t *v, bool *yes)
{
    static const char *const dependent[] = {"dependentRequired", "dependentSchemas", "dependencies"};
    sg_schema_set one = {.s = {s}, .n = 1};
    int64_t n = (int64_t)json_object_size(v), min, max;
    const char *key;
    json_t *x;
    size_t i;
    bool is;
    SG_TRY(sg_schema_count(j->c, s, "minProperties", 0, &min));
    SG_TRY(sg_schema_count(j->c, s, "maxProperties", -1, &max));
    *yes &= n >= min && (max < 0 || n <= max);
    json_array_foreach(json_object_get(s, "required"), i, x)
        *yes &= json_object_get(v, json_string_value(x)) != NULL;
    for (i = 0; i < 3; i++)
        SG_TRY(obeys_dependencies(j, json_object_get(s, dependent[i]), v, yes));
    json_object_foreach((json_t *)v, key, x) {
        sg_schema_set of = {0};
        if (!*yes)
            break;
        SG_TRY(sg_schema_property(j->c, &one, key, strlen(key), &of));
        *yes &= !of.never;
        for (i = 0; i < of.n && *yes; i++)
            SG_TRY(obeys(j, of.s[i], x, yes));
        if (*yes && json_object_get(s, "propertyNames")) {
            json_t *name = json_string(key);
            sg_status st = name ? obeys(j, json_object_get(s, "propertyNames"), name, &is) : sg_fail_nomem(j->c->err, "a schema");
            json_decref(name);
            SG_TRY(st);
            *yes &= is;
        }
    }
    return SG_OK;
}

static bool unique(const json_t *v)
{
    for (size_t i = 0; i < json_array_size(v); i++)
        for (size_t k = 0; k < i; k++)
            if (sg_schema_same(json_array_get(v, i), json_array_get(v, k)))
                return false;
    return true;
}

static sg_status obeys_array(judge *j, json_t *s, const json_t *v, bool *yes)
{
    const json_t *tuple = json_object_get(s, "prefixItems"), *items = json_object_get(s, "items");
    tuple = tuple ? tuple : json_is_array(items) ? items : NULL;
    json_t *rest = json_is_array(items) ? json_object_get(s, "additionalItems") : json_object_get(s, "items");
    json_t *contains = json_object_get(s, "contains");
    int64_t n = (int64_t)json_array_size(v), min, max, found = 0;
    SG_TRY(sg_schema_count(j->c, s, "minItems", 0, &min));
    SG_TRY(sg_schema_count(j->c, s, "maxItems", -1, &max));
    *yes &= n >= min && (max < 0 || n <= max);
    for (size_t i = 0; i < json_array_size(v) && *yes; i++) {
        json_t *of = i < json_array_size(tuple) ? json_array_get(tuple, i) : rest;
        bool is = false;
        if (of)
            SG_TRY(obeys(j, of, json_array_get(v, i), yes));
        if (contains)
            SG_TRY(obeys(j, contains, json_array_get(v, i), &is));
        found += is;
    }
    if (contains && *yes) {
        SG_TRY(sg_schema_count(j->c, s, "minContains", 1, &min));
        SG_TRY(sg_schema_count(j->c, s, "maxContains", -1, &max));
        *yes &= found >= min && (max < 0 || found <= max);
    }
    if (json_is_true(json_object_get(s, "uniqueItems")))
        *yes &= unique(v);
    return SG_OK;
}

static sg_status obeys_inside(judge *j, json_t *s, const json_t *v, bool *yes)
{
    const json_t *one = json_object_get(s, "const"), *many = json_object_get(s, "enum"), *not = json_object_get(s, SG_KEY_NOT_ENUM);
    unsigned types;
    SG_TRY(obeys_logic(j, s, v, yes));
    if (!*yes || (j->c->lone_ref && json_object_get(s, "$ref")))
        return SG_OK;
    SG_TRY(sg_schema_types(j->c, s, &types));
    *yes &= (types & type_of(v)) != 0 && !(one && !sg_schema_same(one, v)) && !(many && many != j->c->known && !among(many, v)) &&
            !(not && among(not, v));
    if (!*yes)
        return SG_OK;
    if (json_is_string(v))
        return obeys_string(j, s, v, yes);
    if (json_is_number(v))
        obeys_number(s, v, yes);
    if (json_is_object(v))
        return obeys_object(j, s, v, yes);
    return json_is_array(v) ? obeys_array(j, s, v, yes) : SG_OK;
}

static sg_status obeys(judge *j, json_t *s, const json_t *v, bool *yes)
{
    *yes = !json_is_false(s);
    if (!json_is_object(s))
        return SG_OK;
    if (j->depth == SG_SCHEMA_DEPTH_MAX)
        return sg_schema_fail(j->c, s, SG_E_LIMIT, "references inside references, too deep");
    if (--j->c->work < 0)
        return sg_schema_fail(j->c, s, SG_E_LIMIT, "too many values to be checked");
    j->depth++;
    sg_status st = obeys_inside(j, s, v, yes);
    j->depth--;
    return st;
}

sg_status sg_schema_obeys(sg_schema *c, json_t *s, const json_t *v, bool *yes)
{
    judge j = {c, 0};
    return obeys(&j, s, v, yes);
}

/* ---- the opposite ------------------------------------------------------------------------------ */

static sg_status opposite(sg_schema *c, json_t *s, int depth, json_t **out);

/* With c->partly an opposite may allow less than all that s does not: ways that cannot be said are left out, as long as there is
 * another one.  That is enough where it is only asked for more (oneOf), and no opposite of it is ever made. */

/* Put a schema (taken over) into a list. */
static sg_status put(sg_schema *c, json_t *list, json_t *s)
{
    return s && json_array_append_new(list, s) == 0 ? SG_OK : sg_fail_nomem(c->err, "a schema");
}

/* The opposites of all members of a list.  `one`: it is enough when one of them holds, so some may be left out. */
static sg_status opposites(sg_schema *c, const json_t *list, bool one, int depth, json_t *out)
{
    sg_status lost = SG_OK;
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *not;
        sg_status st = opposite(c, json_array_get(list, i), depth + 1, &not);
        if (st == SG_E_UNSUPPORTED && one && c->partly)
            lost = st;
        else if (st != SG_OK)
            return st;
        else
            SG_TRY(put(c, out, json_incref(not)));
    }
    return lost;
}

static sg_status cannot(sg_schema *c, const json_t *s, const char *key)
{
    return sg_schema_fail(c, s, SG_E_UNSUPPORTED, "the opposite of '%s' cannot be expressed", key);
}

/* A value of `type` with a bound that the keyword's value is outside of. */
static sg_status flip_count(sg_schema *c, json_t *s, const char *key, const char *type, const char *other, int by, json_t *any)
{
    int64_t n;
    SG_TRY(sg_schema_count(c, s, key, 0, &n));
    if (n + by < 0)
        return SG_OK; /* nothing is shorter than 0 */
    return put(c, any, json_pack("{s:s, s:I}", "type", type, other, (json_int_t)(n + by)));
}

static sg_status flip_simple(sg_schema *c, json_t *s, const char *key, json_t *v, json_t *any, bool *done)
{
    static const struct {
        const char *key, *type, *other;
        int by;
    } counts[] = {{"minLength", "string", "maxLength", -1}, {"maxLength", "string", "minLength", 1},
                  {"minItems", "array", "maxItems", -1}, {"maxItems", "array", "minItems", 1},
                  {"minProperties", "object", "maxProperties", -1}, {"maxProperties", "object", "minProperties", 1}};
    static const struct {
        const char *key, *other, *type;
    } values[] = {{"minimum", "exclusiveMaximum", "number"}, {"maximum", "exclusiveMinimum", "number"},
                  {"exclusiveMinimum", "maximum", "number"}, {"exclusiveMaximum", "minimum", "number"},
                  {"pattern", SG_KEY_NOT_PATTERN, "string"}, {SG_KEY_NOT_PATTERN, "pattern", "string"},
                  {"multipleOf", SG_KEY_NOT_MULTIPLE, "number"}, {SG_KEY_NOT_MULTIPLE, "multipleOf", "number"}};
    *done = true;
    for (size_t i = 0; i < 6; i++)
        if (strcmp(counts[i].key, key) == 0)
            return flip_count(c, s, key, counts[i].type, counts[i].other, counts[i].by, any);
    for (size_t i = 0; i < 8; i++)
        if (strcmp(values[i].key, key) == 0)
            return json_is_boolean(v) || json_is_boolean(json_object_get(s, "exclusiveMinimum")) ||
                           json_is_boolean(json_object_get(s, "exclusiveMaximum"))
                       ? cannot(c, s, key)
                       : put(c, any, json_pack("{s:s, s:O}", "type", values[i].type, values[i].other, v));
    *done = false;
    return SG_OK;
}

static sg_status flip_properties(sg_schema *c, json_t *map, int depth, json_t *any)
{
    const char *name;
    json_t *s, *not;
    sg_status lost = SG_OK;
    json_object_foreach(map, name, s) {
        sg_status st = opposite(c, s, depth + 1, &not);
        if (st == SG_E_UNSUPPORTED && c->partly)
            lost = st;
        else if (st != SG_OK)
            return st;
        else if (!json_is_false(not))
            SG_TRY(put(c, any, json_pack("{s:s, s:[s], s:{s:O}}", "type", "object", "required", name, "properties", name, not)));
    }
    return lost;
}

static sg_status flip_required(sg_schema *c, const json_t *names, json_t *any)
{
    for (size_t i = 0; i < json_array_size(names); i++)
        SG_TRY(put(c, any, json_pack("{s:s, s:{s:b}}", "type", "object", "properties", json_string_value(json_array_get(names, i)), 0)));
    return SG_OK;
}

static sg_status flip_type(sg_schema *c, const json_t *s, json_t *any)
{
    unsigned types;
    SG_TRY(sg_schema_types(c, s, &types));
    return put(c, any, json_pack("{s:I}", SG_KEY_NOT_TYPES, (json_int_t)types));
}

/* One keyword: schemas of which at least one holds where the keyword does not. */
static sg_status flip(sg_schema *c, json_t *s, const char *key, json_t *v, int depth, json_t *any)
{
    json_t *list, *not;
    bool done;
    SG_TRY(flip_simple(c, s, key, v, any, &done));
    if (done)
        return SG_OK;
    if (strcmp(key, "type") == 0 || strcmp(key, SG_KEY_NOT_TYPES) == 0)
        return strcmp(key, "type") == 0 && json_object_get(s, SG_KEY_NOT_TYPES) ? SG_OK : flip_type(c, s, any);
    if (strcmp(key, "const") == 0)
        return put(c, any, json_pack("{s:[O]}", SG_KEY_NOT_ENUM, v));
    if (strcmp(key, "enum") == 0)
        return put(c, any, json_pack("{s:O}", SG_KEY_NOT_ENUM, v));
    if (strcmp(key, SG_KEY_NOT_ENUM) == 0)
        return put(c, any, json_pack("{s:O}", "enum", v));
    if (strcmp(key, "properties") == 0)
        return flip_properties(c, v, depth, any);
    if (strcmp(key, "required") == 0)
        return flip_required(c, v, any);
    if (strcmp(key, "not") == 0)
        return put(c, any, json_incref(v));
    if (strcmp(key, "allOf") == 0)
        return opposites(c, v, true, depth, any);
    if (strcmp(key, "anyOf") == 0) {
        if (!(list = json_array()))
            return sg_fail_nomem(c->err, "a schema");
        sg_status st = opposites(c, v, false, depth, list);
        if (st == SG_OK)
            return put(c, any, json_pack("{s:o}", "allOf", list));
        json_decref(list);
        return st;
    }
    if (strcmp(key, "items") == 0 && !json_is_array(v) && !json_object_get(s, "prefixItems")) {
        SG_TRY(opposite(c, v, depth + 1, &not));
        return json_is_false(not) ? SG_OK : put(c, any, json_pack("{s:s, s:O}", "type", "array", "contains", not));
    }
    if (strcmp(key, "contains") == 0 && !json_object_get(s, "minContains") && !json_object_get(s, "maxContains")) {
        SG_TRY(opposite(c, v, depth + 1, &not));
        return put(c, any, json_pack("{s:s, s:O}", "type", "array", "items", not));
    }
    if ((strcmp(key, "additionalProperties") == 0 || strcmp(key, "uniqueItems") == 0) && !json_is_object(v) &&
        json_is_true(v) == (key[0] == 'a'))
        return SG_OK; /* says nothing */
    static const char *const constraining[] = {"additionalProperties", "patternProperties", "propertyNames", "items", "prefixItems",
                                               "additionalItems", "contains", "minContains", "maxContains", "uniqueItems", "oneOf", "if",
                                               "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties",
                                               "unevaluatedItems", "$dynamicRef", "$recursiveRef"};
    for (size_t i = 0; i < sizeof constraining / sizeof constraining[0]; i++)
        if (strcmp(key, constraining[i]) == 0)
            return cannot(c, s, key);
    return SG_OK;
}

static sg_status flip_all(sg_schema *c, json_t *s, int depth, json_t *any)
{
    const char *key;
    json_t *v, *target, *not;
    sg_status lost = SG_OK, st;
    if (json_object_get(s, "$ref")) {
        SG_TRY(sg_schema_resolve(c, s, &target));
        st = opposite(c, target, depth + 1, &not);
        if (st == SG_E_UNSUPPORTED && c->partly)
            lost = st;
        else if (st != SG_OK)
            return st;
        else
            SG_TRY(put(c, any, json_incref(not)));
        if (c->lone_ref)
            return lost;
    }
    json_object_foreach(s, key, v) {
        st = flip(c, s, key, v, depth, any);
        if (st == SG_E_UNSUPPORTED && c->partly)
            lost = st;
        else if (st != SG_OK)
            return st;
    }
    return lost;
}

static sg_status opposite(sg_schema *c, json_t *s, int depth, json_t **out)
{
    if (json_is_boolean(s)) {
        *out = json_is_true(s) ? json_false() : json_true();
        return SG_OK;
    }
    const char *name = c->partly ? "opposite, partly" : "opposite";
    if ((*out = sg_schema_made(c, s, name)))
        return SG_OK;
    if (depth > 32 || --c->work < 0)
        return sg_schema_fail(c, s, SG_E_UNSUPPORTED, "the opposite of something this deep cannot be expressed");
    json_t *any = json_array();
    if (!any)
        return sg_fail_nomem(c->err, "a schema");
    sg_status st = flip_all(c, s, depth, any);
    if (st == SG_E_UNSUPPORTED && c->partly && json_array_size(any))
        st = SG_OK;
    if (st != SG_OK) {
        json_decref(any);
        return st;
    }
    if (json_array_size(any) == 0) { /* s allows everything */
        json_decref(any);
        *out = json_false();
        return SG_OK;
    }
    SG_TRY(sg_schema_keep(c, s, name, json_pack("{s:o}", "anyOf", any)));
    *out = sg_schema_made(c, s, name);
    return SG_OK;
}

sg_status sg_schema_opposite(sg_schema *c, json_t *s, json_t **out) { return opposite(c, s, 0, out); }

/* ---- apart ------------------------------------------------------------------------------------------ */

/* What is easily seen of a schema: through $ref and allOf. */
typedef struct facts {
    json_t *s[16];
    size_t n;
    unsigned types;
    bool never;
} facts;

static sg_status learn(sg_schema *c, json_t *s, facts *f, int depth)
{
    unsigned types;
    json_t *x;
    size_t i;
    if (!json_is_object(s)) {
        f->never |= json_is_false(s);
        return SG_OK;
    }
    if (depth > 8 || f->n == 16)
        return SG_OK;
    if (json_object_get(s, "$ref")) {
        SG_TRY(sg_schema_resolve(c, s, &x));
        SG_TRY(learn(c, x, f, depth + 1));
        if (c->lone_ref)
            return SG_OK;
    }
    SG_TRY(sg_schema_types(c, s, &types));
    f->types &= types;
    f->s[f->n++] = s;
    json_array_foreach(json_object_get(s, "allOf"), i, x)
        SG_TRY(learn(c, x, f, depth + 1));
    return SG_OK;
}

/* The values a schema lists; NULL when it does not. */
static json_t *listed(json_t *s, bool *one)
{
    json_t *v = json_object_get(s, "const");
    *one = v != NULL;
    return v ? v : json_object_get(s, "enum");
}

/* No value of a's list obeys b. */
static sg_status list_apart(sg_schema *c, json_t *a, json_t *b, bool *apart)
{
    bool one, yes;
    json_t *values = listed(a, &one);
    if (!values)
        return SG_OK;
    for (size_t i = 0; i < (one ? 1 : json_array_size(values)); i++) {
        SG_TRY(sg_schema_obeys(c, b, one ? values : json_array_get(values, i), &yes));
        if (yes)
            return SG_OK;
    }
    *apart = true;
    return SG_OK;
}

static sg_status apart_at(sg_schema *c, json_t *a, json_t *b, int depth, bool *apart);

/* An object of a has `name`; can b's have what a wants there? */
static sg_status property_apart(sg_schema *c, const facts *a, const facts *b, const char *name, int depth, bool *apart)
{
    sg_schema_set x = {0}, y = {0};
    for (size_t i = 0; i < a->n; i++) {
        sg_schema_set one = {.s = {a->s[i]}, .n = 1};
        SG_TRY(sg_schema_property(c, &one, name, strlen(name), &x));
    }
    for (size_t i = 0; i < b->n; i++) {
        sg_schema_set one = {.s = {b->s[i]}, .n = 1};
        SG_TRY(sg_schema_property(c, &one, name, strlen(name), &y));
    }
    *apart |= x.never || y.never;
    for (size_t i = 0; i < x.n && !*apart; i++)
        for (size_t k = 0; k < y.n && !*apart; k++)
            SG_TRY(apart_at(c, x.s[i], y.s[k], depth + 1, apart));
    return SG_OK;
}

static sg_status objects_apart(sg_schema *c, const facts *a, const facts *b, int depth, bool *apart)
{
    for (size_t i = 0; i < a->n && !*apart; i++) {
        const json_t *names = json_object_get(a->s[i], "required");
        for (size_t k = 0; k < json_array_size(names) && !*apart; k++) {
            const char *name = json_string_value(json_array_get(names, k));
            if (!name)
                continue;
            sg_schema_set y = {0};
            for (size_t m = 0; m < b->n; m++) {
                sg_schema_set one = {.s = {b->s[m]}, .n = 1};
                SG_TRY(sg_schema_property(c, &one, name, strlen(name), &y));
            }
            *apart |= y.never; /* b does not allow it at all */
            if (!*apart) /* it is there in a: what b says of it counts too */
                SG_TRY(property_apart(c, a, b, name, depth, apart));
        }
    }
    return SG_OK;
}

static sg_status apart_at(sg_schema *c, json_t *a, json_t *b, int depth, bool *apart)
{
    facts x = {.types = SG_TYPE_ANY}, y = {.types = SG_TYPE_ANY};
    if (depth > 4)
        return SG_OK;
    SG_TRY(learn(c, a, &x, 0));
    SG_TRY(learn(c, b, &y, 0));
    *apart |= x.never || y.never || !(x.types & y.types);
    for (size_t i = 0; i < x.n && !*apart; i++)
        SG_TRY(list_apart(c, x.s[i], b, apart));
    for (size_t i = 0; i < y.n && !*apart; i++)
        SG_TRY(list_apart(c, y.s[i], a, apart));
    if (*apart || (x.types & y.types) != SG_TYPE_OBJECT)
        return SG_OK;
    SG_TRY(objects_apart(c, &x, &y, depth, apart));
    return objects_apart(c, &y, &x, depth, apart);
}

sg_status sg_schema_apart(sg_schema *c, json_t *a, json_t *b, bool *apart)
{
    *apart = false;
    return apart_at(c, a, b, 0, apart);
}
