/* text/jinja_lex.h - template source to tokens, one at a time.
 *
 * Follows Jinja 3.1 with trim_blocks and lstrip_blocks: which white space around a tag disappears is
 * decided here, and nowhere else.
 */
#ifndef SG_TEXT_JINJA_LEX_H
#define SG_TEXT_JINJA_LEX_H

#include "text/jinja_ast.h"

typedef enum sg_jtok {
    SG_T_EOF,
    SG_T_DATA,        /* text: value */
    SG_T_VAR_BEGIN,   /* {{ */
    SG_T_VAR_END,     /* }} */
    SG_T_BLOCK_BEGIN, /* {% */
    SG_T_BLOCK_END,   /* %} */
    SG_T_NAME,        /* value */
    SG_T_STRING,      /* value, escapes resolved */
    SG_T_NUMBER,      /* value: INT, BIG or FLOAT */
    SG_T_OP,          /* op */
} sg_jtok;

typedef struct sg_jtoken {
    sg_jtok type;
    int op; /* see SG_OP2 */
    uint32_t line;
    sg_jval value;
} sg_jtoken;

enum { SG_JLEX_NEST = 100 };

typedef struct sg_jlexer {
    sg_jinja *j;
    const char *p, *end;
    uint32_t line;
    enum { SG_LEX_TEXT, SG_LEX_TAG_PENDING, SG_LEX_BLOCK, SG_LEX_VAR } mode;
    sg_jtok pending;    /* the tag that follows the text just given */
    bool line_starting; /* the last thing read ended a line */
    char nest[SG_JLEX_NEST];
    uint32_t nnest;
} sg_jlexer;

/* Lines end in \n in what the lexer reads: \r\n and \r are replaced, one newline at the very end is dropped, and the
 * text must be UTF-8.  The copy is in j's arena.  On failure an undefined value. */
sg_jval sg_jinja_source(sg_jinja *j, const char *text, size_t n);

void sg_jlexer_init(sg_jlexer *l, sg_jinja *j, sg_jval source);

/* The next token.  After a failure, and at the end, EOF. */
sg_jtoken sg_jlexer_next(sg_jlexer *l);

/* A token for an error message: "'x'", "end of statement block". */
const char *sg_jtoken_text(const sg_jtoken *t, char *out, size_t cap);

#endif
