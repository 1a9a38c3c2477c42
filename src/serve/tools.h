/* serve/tools.h - answers that must be, or may be, calls of functions; schemas and grammars of requests.
 *
 * Any thread; nothing here touches sockets or engines.
 */
#ifndef SG_SERVE_TOOLS_H
#define SG_SERVE_TOOLS_H

#include "serve/api.h"

/* How an answer may use the tools: not at all, if it wants, must call one. */
typedef enum sg_tool_use { SG_TOOLS_OFF, SG_TOOLS_FREE, SG_TOOLS_FORCED } sg_tool_use;
sg_tool_use sg_tools_use(const sg_api_params *p);

/* What constrains the answer: response_format, a schema, a grammar, a forced call; *g is NULL when nothing does.  A schema
 * that cannot be kept is 400 with its parameter. */
bool sg_api_grammar(const sg_api_params *p, sg_grammar **g, sg_api_error *e);

/* The calls in an answer.  Formats: docs/structured-output.md.  Fills `calls` with the JSON list's content
 * ({"id","type","function"}, ...; with "index" when `stream`), and *content with how many leading bytes of the text are plain
 * content.  Returns the number of calls; 0: all of it is content.  Calls that are malformed, or of functions that are not
 * offered, are content. */
size_t sg_tools_parse(const sg_api_params *p, const char *text, size_t n, const char *id, bool stream, sg_buf *calls, size_t *content);

/* How many leading bytes of an unfinished answer are surely content: the rest may become a call. */
size_t sg_tools_safe(const sg_api_params *p, const char *text, size_t n, bool begun);

#endif
