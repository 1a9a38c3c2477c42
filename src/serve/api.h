/* serve/api.h - what a request body says: OpenAI's chat and completion requests, checked.
 *
 * Every field that is understood has a row in the table of fields.c: routes, type, range, default.  A field
 * that has no row is refused, as the public API does.  Nothing here touches sockets or engines; any
 * thread.
 */
#ifndef SG_SERVE_API_H
#define SG_SERVE_API_H

#include "segue.h"

#include "base/buf.h"
#include "base/json.h"

enum { SG_ROUTE_CHAT = 1, SG_ROUTE_COMPLETION = 2 };

enum { SG_API_STOPS_MAX = 4, SG_API_CHOICES_MAX = 128, SG_API_MESSAGES_MAX = 16384, SG_API_BIAS_MAX = 1024 };

/* An answer that is an error: OpenAI's error object and its HTTP status. */
typedef struct sg_api_error {
    int status;
    const char *type, *code; /* constants; code may be NULL */
    char param[96];          /* "" when none is named */
    char message[400];
} sg_api_error;

/* Fill *e; returns false so that a failure is one statement.  code and param may be NULL. */
__attribute__((format(printf, 5, 6)))
bool sg_api_fail(sg_api_error *e, int status, const char *code, const char *param, const char *format, ...);

/* The one place where library errors become HTTP statuses. */
bool sg_api_fail_status(sg_api_error *e, const sg_error *err, const char *param);

/* {"error": {"message", "type", "param", "code"}} */
void sg_api_error_write(sg_buf *b, const sg_api_error *e);

/* What was asked for.  JSON values are borrowed from the body. */
typedef struct sg_api_params {
    const char *model, *user, *reasoning_effort, *cache_salt, *service_tier;
    bool stream, include_usage, echo, ignore_eos, chat_logprobs;
    int64_t n, best_of, max_tokens, max_completion_tokens, seed, top_logprobs, logprobs, top_k, repeat_last_n;
    bool has_seed;
    int64_t priority; /* as vLLM means it: lower is earlier, 0 is usual */
    double temperature, top_p, min_p, typical_p, repeat_penalty, frequency_penalty, presence_penalty;
    json_t *messages, *prompt, *stop, *logit_bias, *tools, *tool_choice, *documents, *template_kwargs, *stream_options;
    json_t *response_format, *modalities, *json_schema, *suffix;
    json_t *structured, *choice;         /* structured_outputs; texts of which the answer is one */
    const char *grammar, *schema_param; /* GBNF; where the schema came from, NULL: "json_schema" */
    const char *regex;                  /* that the answer matches */
    bool any_object, parallel;          /* json_object; parallel_tool_calls */
} sg_api_params;

/* Check a body against the table and cross-field rules. */
bool sg_api_params_read(sg_api_params *p, int route, json_t *body, sg_api_error *e);

/* Check messages, tools and tool_choice, and make the texts for the chat template: contents of several text parts
 * become one string, arguments of tool calls become objects.  The texts are malloc'ed by jansson's allocator:
 * sg_free.  *tools and *variables stay NULL when there is nothing. */
bool sg_api_chat_read(const sg_api_params *p, char **messages, char **tools, char **documents, char **variables, sg_api_error *e);

#endif
