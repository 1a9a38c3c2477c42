/* sample/schema_read.c - reading a JSON Schema: keywords and their shapes, references, and errors that name the place.
 *
 * Nothing of what a schema means is here.  A keyword that is not in the table is refused, except annotations; a wrong shape is
 * refused with the pointer to it.
 */
#include "sample/schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- errors ---------------------------------------------------------------------------- */

static bool find_place(const json_t *from, const json_t *s, int depth, char *path, size_t n)
{
    const char *key;
    json_t *v;
    size_t i;
    if (from == s)
        return true;
    if (depth > 200 || n + 24 > 160)
        return false;
    if (json_is_array(from)) {
        json_array_foreach((json_t *)from, i, v) {
            int k = snprintf(path + n, 160 - n, "/%zu", i);
            if (find_place(v, s, depth + 1, path, n + (size_t)k))
                return true;
        }
    } else if (json_is_object(from)) {
        json_object_foreach((json_t *)from, key, v) {
            if (!json_is_object(v) && !json_is_array(v))
                continue;
            int k = snprintf(path + n, 160 - n, "/%.60s", key);
            if (find_place(v, s, depth + 1, path, n + (size_t)k))
                return true;
        }
    }
    path[n] = 0;
    return false;
}

static void place(const sg_schema *c, const json_t *s, char path[160])
{
    path[0] = 0;
    if (!find_place(c->root, s, 0, path, 0) && c->here != s)
        find_place(c->root, c->here, 0, path, 0);
    if (!path[0])
        snprintf(path, 160, "/");
}

sg_status sg_schema_fail(sg_schema *c, const json_t *s, sg_status st, const char *format, ...)
{
    char path[160], text[200];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    place(c, s ? s : c->here, path);
    return sg_fail(c->err, st, "schema %s: %s", path, text);
}

sg_status sg_schema_fail_at(sg_schema *c, const json_t *s, sg_status st)
{
    char path[160];
    if (st == SG_E_NOMEM)
        return st;
    place(c, s ? s : c->here, path);
    return sg_fail_at(c->err, st, "schema %s", path);
}
/* ---- reading keywords --------------------------------------------------------------------- */

/* How the value of a keyword must look. */
typedef enum shape { ANY, SCHEMA, SCHEMAS, SCHEMA_MAP, STRING, TYPES, NUMBER, COUNT, BOOLEAN, STRINGS, VALUES, ITEMS, LIMIT, DEPENDENCIES,
                     REFUSED, FALSE_ONLY } shape;

static const struct keyword {
    const char *name;
    shape shape;
} keywords[] = {
    {"type", TYPES}, {"enum", VALUES}, {"const", ANY}, {"properties", SCHEMA_MAP}, {"required", STRINGS},
    {"additionalProperties", SCHEMA}, {"patternProperties", SCHEMA_MAP}, {"propertyNames", SCHEMA}, {"minProperties", COUNT},
    {"maxProperties", COUNT}, {"items", ITEMS}, {"prefixItems", SCHEMAS}, {"additionalItems", SCHEMA}, {"minItems", COUNT},
    {"maxItems", COUNT}, {"contains", SCHEMA}, {"minContains", COUNT}, {"maxContains", COUNT}, {"uniqueItems", BOOLEAN},
    {"minLength", COUNT}, {"maxLength", COUNT}, {"pattern", STRING}, {"format", STRING}, {"minimum", NUMBER}, {"maximum", NUMBER},
    {"exclusiveMinimum", LIMIT}, {"exclusiveMaximum", LIMIT}, {"multipleOf", NUMBER}, {"anyOf", SCHEMAS}, {"oneOf", SCHEMAS},
    {"allOf", SCHEMAS}, {"not", SCHEMA}, {"if", SCHEMA}, {"then", SCHEMA}, {"else", SCHEMA}, {"dependentRequired", DEPENDENCIES},
    {"dependentSchemas", SCHEMA_MAP}, {"dependencies", DEPENDENCIES}, {"$ref", STRING}, {"unevaluatedProperties", FALSE_ONLY},
    {"unevaluatedItems", FALSE_ONLY}, {"$dynamicRef", REFUSED}, {"$recursiveRef", REFUSED}, {"extends", REFUSED}, {"disallow", REFUSED},
    {"divisibleBy", REFUSED}, {SG_KEY_NOT_PATTERN, ANY}, {SG_KEY_NOT_MULTIPLE, ANY}, {SG_KEY_NOT_ENUM, ANY}, {SG_KEY_NOT_TYPES, ANY},
};

static const struct keyword *find_keyword(const char *name)
{
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++)
        if (strcmp(keywords[i].name, name) == 0)
            return &keywords[i];
    return NULL;
}

bool sg_schema_keyword(const char *name) { return find_keyword(name) != NULL; }

bool sg_schema_is(const json_t *v) { return json_is_object(v) || json_is_boolean(v); }

static bool all_are(const json_t *v, bool (*is)(const json_t *))
{
    const char *key;
    json_t *x;
    size_t i;
    if (json_is_array(v)) {
        json_array_foreach((json_t *)v, i, x)
            if (!is(x))
                return false;
    } else {
        json_object_foreach((json_t *)v, key, x)
            if (!is(x))
                return false;
    }
    return true;
}

static bool is_string(const json_t *v) { return json_is_string(v); }
static bool is_dependency(const json_t *v) { return sg_schema_is(v) || (json_is_array(v) && all_are(v, is_string)); }

static bool has_shape(const json_t *v, shape want)
{
    switch (want) {
    case SCHEMA: return sg_schema_is(v);
    case SCHEMAS: return json_is_array(v) && json_array_size(v) > 0 && all_are(v, sg_schema_is);
    case SCHEMA_MAP: return json_is_object(v) && all_are(v, sg_schema_is);
    case STRING: return json_is_string(v);
    case TYPES: return json_is_string(v) || (json_is_array(v) && json_array_size(v) > 0 && all_are(v, is_string));
    case NUMBER: return json_is_number(v);
    case COUNT: return (json_is_integer(v) && json_integer_value(v) >= 0) || (json_is_real(v) && json_real_value(v) >= 0);
    case BOOLEAN: return json_is_boolean(v);
    case STRINGS: return json_is_array(v) && all_are(v, is_string);
    case VALUES: return json_is_array(v);
    case ITEMS: return sg_schema_is(v) || (json_is_array(v) && all_are(v, sg_schema_is));
    case LIMIT: return json_is_number(v) || json_is_boolean(v);
    case DEPENDENCIES: return json_is_object(v) && all_are(v, is_dependency);
    case ANY:
    case REFUSED:
    case FALSE_ONLY: break;
    }
    return true;
}

/* All keywords are known or only describe, and look as they should. */
sg_status sg_schema_check_keywords(sg_schema *c, json_t *s)
{
    const char *key;
    json_t *v;
    json_object_foreach(s, key, v) {
        const struct keyword *k = find_keyword(key);
        if (!k)
            continue;
        if (k->shape == REFUSED || (k->shape == FALSE_ONLY && !json_is_true(v)))
            return sg_schema_fail(c, s, SG_E_UNSUPPORTED, "'%s' is not supported", key);
        if (!has_shape(v, k->shape))
            return sg_schema_fail(c, s, SG_E_FORMAT, "the value of '%s' is malformed", key);
    }
    return SG_OK;
}

bool sg_schema_constrains(const json_t *s)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)s, key, v)
        if (find_keyword(key))
            return true;
    return false;
}

sg_status sg_schema_types(sg_schema *c, const json_t *s, unsigned *types)
{
    static const struct {
        const char *name;
        unsigned types;
    } names[] = {{"null", SG_TYPE_NULL}, {"boolean", SG_TYPE_BOOLEAN}, {"object", SG_TYPE_OBJECT}, {"array", SG_TYPE_ARRAY},
                 {"string", SG_TYPE_STRING}, {"integer", SG_TYPE_INTEGER}, {"number", SG_TYPE_NUMBER}};
    const json_t *t = json_object_get(s, "type"), *not = json_object_get(s, SG_KEY_NOT_TYPES);
    unsigned all = 0;
    for (size_t i = 0; t && i < (json_is_array(t) ? json_array_size(t) : 1); i++) {
        const char *name = json_string_value(json_is_array(t) ? json_array_get(t, i) : t);
        size_t k = 0;
        while (k < 7 && name && strcmp(names[k].name, name) != 0)
            k++;
        if (!name || k == 7)
            return sg_schema_fail(c, s, SG_E_FORMAT, "'%.40s' is not a type", name ? name : "?");
        all |= names[k].types;
    }
    *types = (t ? all : SG_TYPE_ANY) & ~(unsigned)(not ? json_integer_value(not) : 0);
    return SG_OK;
}

sg_status sg_schema_count(sg_schema *c, const json_t *s, const char *key, int64_t fallback, int64_t *count)
{
    const json_t *v = json_object_get(s, key);
    double x = json_number_value(v);
    if (v && (x < 0 || x != (double)(int64_t)(x < 1e15 ? x : 0)))
        return x >= 1e15 ? sg_schema_fail(c, s, SG_E_LIMIT, "'%s' is too large", key)
                         : sg_schema_fail(c, s, SG_E_FORMAT, "'%s' is not a count", key);
    *count = v ? (int64_t)x : fallback;
    return SG_OK;
}

/* ---- references -------------------------------------------------------------------------------- */

static json_t *find_id(json_t *from, const char *id, size_t n, int depth)
{
    static const char *const keys[] = {"$id", "id", "$anchor"};
    const char *key;
    json_t *v;
    size_t i;
    if (depth > 200)
        return NULL;
    for (size_t k = 0; k < 3 && json_is_object(from); k++) {
        const json_t *have = json_object_get(from, keys[k]);
        const char *text = json_string_value(have), *want = id;
        size_t len = n;
        if (k == 2 && n && *want == '#') {
            want++;
            len--;
        } else if (k == 2) {
            continue;
        }
        if (text && json_string_length(have) == len && memcmp(text, want, len) == 0)
            return from;
    }
    if (json_is_array(from)) {
        json_array_foreach(from, i, v)
            if ((json_is_object(v) || json_is_array(v)) && (v = find_id(v, id, n, depth + 1)))
                return v;
    } else {
        json_object_foreach(from, key, v)
            if (strcmp(key, "enum") != 0 && strcmp(key, "const") != 0 && (json_is_object(v) || json_is_array(v)) &&
                (v = find_id(v, id, n, depth + 1)))
                return v;
    }
    return NULL;
}

static int hex_digit(char ch)
{
    return ch >= '0' && ch <= '9' ? ch - '0' : (ch | 32) >= 'a' && (ch | 32) <= 'f' ? (ch | 32) - 'a' + 10 : -1;
}

/* One step of a JSON pointer, %XX and ~0 ~1 taken out; false when it is too long. */
static bool pointer_step(const char **p, char name[256])
{
    size_t n = 0;
    for (; **p && **p != '/'; (*p)++) {
        char ch = **p;
        if (ch == '%' && hex_digit((*p)[1]) >= 0 && hex_digit((*p)[2]) >= 0) {
            ch = (char)(hex_digit((*p)[1]) * 16 + hex_digit((*p)[2]));
            *p += 2;
        }
        if (ch == '0' && n && name[n - 1] == '~') {
            name[n - 1] = '\x02'; /* a ~ that is done */
            continue;
        }
        if (ch == '1' && n && name[n - 1] == '~') {
            name[n - 1] = '/';
            continue;
        }
        if (n == 255 || !ch)
            return false;
        name[n++] = ch;
    }
    name[n] = 0;
    for (size_t i = 0; i < n; i++)
        if (name[i] == '\x02')
            name[i] = '~';
    return true;
}

static json_t *follow(json_t *from, const char *p)
{
    char name[256];
    while (from && *p == '/') {
        p++;
        if (!pointer_step(&p, name))
            return NULL;
        if (json_is_object(from)) {
            from = json_object_get(from, name);
        } else if (json_is_array(from)) {
            char *end;
            unsigned long i = strtoul(name, &end, 10);
            from = *name && !*end ? json_array_get(from, i) : NULL;
        } else {
            return NULL;
        }
    }
    return from && !*p && sg_schema_is(from) ? from : NULL;
}

sg_status sg_schema_resolve(sg_schema *c, json_t *s, json_t **target)
{
    const json_t *ref = json_object_get(s, "$ref");
    const char *text = json_string_value(ref), *hash = text ? strchr(text, '#') : NULL;
    json_t *base = c->root, *found = NULL;
    if (!text || strlen(text) != json_string_length(ref))
        return sg_schema_fail(c, s, SG_E_FORMAT, "the value of '$ref' is malformed");
    size_t n = hash ? (size_t)(hash - text) : strlen(text);
    if (n)
        base = find_id(c->root, text, n, 0);
    const char *rest = hash ? hash + 1 : "";
    if (base && (!*rest || *rest == '/'))
        found = follow(base, rest);
    else if (base)
        found = find_id(base, hash, strlen(hash), 0);
    if (!found && !base)
        return sg_schema_fail(c, s, SG_E_UNSUPPORTED, "$ref '%.80s' is outside of the schema; nothing is fetched", text);
    if (!found)
        return sg_schema_fail(c, s, SG_E_FORMAT, "$ref '%.80s' points at nothing", text);
    *target = found;
    return SG_OK;
}
