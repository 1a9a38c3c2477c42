/* app/options.h - command-line options from a table.
 *
 * One table per command says what its options are; parsing, --help and the man page all come from it.
 *
 *     static const char *prompt; static int64_t n = -1;
 *     static const option options[] = {
 *         {"-p", "--prompt", OPT_STR, &prompt, "TEXT", "the prompt; - reads standard input"},
 *         {"-n", NULL, OPT_INT, &n, "N", "tokens to write"},
 *         {0}};
 *
 * Values may be given as "--name value" or "--name=value".  Everything after "--" is positional.  An
 * unknown option, a missing value or a number that is not one ends the program with status 2 and one
 * line on standard error.
 */
#ifndef SG_APP_OPTIONS_H
#define SG_APP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum option_kind {
    OPT_FLAG, /* bool: set to true */
    OPT_YESNO, /* int: 1 for yes, 0 for no; set -1 before when "not given" matters */
    OPT_INT,  /* int64_t */
    OPT_UINT, /* uint64_t */
    OPT_F64,  /* double */
    OPT_STR,  /* const char * */
    OPT_SIZE, /* uint64_t bytes: 512MiB, 2GiB, 50% of the memory that is available */
    OPT_LIST, /* string_list: may be given again and again */
} option_kind;

typedef struct string_list {
    const char *items[64];
    size_t n;
} string_list;

typedef struct option {
    const char *short_name; /* "-p" or NULL */
    const char *long_name;  /* "--prompt" or NULL */
    option_kind kind;
    void *value;
    const char *metavar;
    const char *help;
} option;

enum { EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

typedef struct command command;
struct command {
    const char *name;     /* "run" */
    const char *synopsis; /* "[MODEL] -p PROMPT [options]" */
    const char *summary;  /* one line: what it does */
    const char *text;     /* paragraphs for --help and the man page, or NULL */
    const option *const *tables; /* option tables, ended by NULL */
    int (*run)(const command *self, int argc, char **argv); /* argv[0] is the command's name */
};

/* Parse argv[1..argc) by the command's tables; positionals are moved to the front of argv (argv[0] onwards) and their
 * number is returned, at most `max`; one more is wrong usage.  --help, --man and errors do not return. */
int options_parse(const command *c, int argc, char **argv, int max);

/* One line "segue: COMMAND: ..." on standard error and exit status 2. */
__attribute__((format(printf, 2, 3), noreturn)) void options_usage(const command *c, const char *format, ...);

#endif
