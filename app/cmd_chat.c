/* app/cmd_chat.c - segue chat: a conversation in the terminal.
 *
 * The conversation is a list of messages; each turn renders all of it.  On a terminal lines are edited by libedit, with a
 * history file in the state folder; otherwise lines are read as they come, so that a conversation can be piped in.
 * Ctrl-C stops the answer that is being written (what was written stays in the conversation), or clears the line.
 */
#include "generate.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *system_text;

static const option options[] = {{NULL, "--system", OPT_STR, &system_text, "TEXT", "system message at the beginning"}, {0}};

typedef struct chat {
    const command *self;
    sg_engine *engine;
    json_t *messages;
    bool terminal, quit, failed, interrupted;
    EditLine *el;
    History *history;
    char history_path[4096];
    char *line; /* without a terminal */
    size_t cap;
} chat;

/* ---- reading lines ---- */

static const char *prompt_of(EditLine *el)
{
    (void)el;
    return "> ";
}

/* ~/.local/state/segue/history, its folder made; false when there is no place for it. */
static bool find_history(char *path, size_t cap)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = state && *state == '/' ? snprintf(path, cap, "%s/segue/history", state)
            : home && *home        ? snprintf(path, cap, "%s/.local/state/segue/history", home)
                                   : -1;
    if (n < 0 || (size_t)n >= cap)
        return false;
    for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        bool ok = mkdir(path, 0700) == 0 || errno == EEXIST;
        *slash = '/';
        if (!ok)
            return false;
    }
    return true;
}

static void open_editor(chat *c)
{
    HistEvent ev;
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1)
        setlocale(LC_CTYPE, "C.UTF-8");
    c->el = el_init("segue", stdin, stdout, stderr);
    c->history = history_init();
    if (!c->el || !c->history)
        return;
    history(c->history, &ev, H_SETSIZE, 1000);
    history(c->history, &ev, H_SETUNIQUE, 1);
    el_set(c->el, EL_PROMPT, prompt_of);
    el_set(c->el, EL_EDITOR, "emacs");
    el_set(c->el, EL_HIST, history, c->history);
    el_set(c->el, EL_SIGNAL, 0);
    el_source(c->el, NULL);
    if (find_history(c->history_path, sizeof c->history_path))
        history(c->history, &ev, H_LOAD, c->history_path);
    else
        c->history_path[0] = 0;
}

static void close_editor(chat *c)
{
    HistEvent ev;
    if (c->history && c->history_path[0] && history(c->history, &ev, H_SAVE, c->history_path) >= 0)
        chmod(c->history_path, 0600);
    if (c->history)
        history_end(c->history);
    if (c->el)
        el_end(c->el);
    free(c->line);
}

/* The next line without its end, NULL at the end of input.  Lives until the next call. */
static char *read_line(chat *c)
{
    for (;;) {
        int count = 0;
        interrupt_take();
        errno = 0;
        if (c->el && c->history) {
            const char *s = el_gets(c->el, &count);
            if (interrupt_take()) { /* Ctrl-C: a new line */
                el_reset(c->el);
                putchar('\n');
                continue;
            }
            if (!s || count <= 0)
                return NULL;
            HistEvent ev;
            if (count > 1)
                history(c->history, &ev, H_ENTER, s);
            free(c->line);
            c->line = strdup(s);
        } else {
            ssize_t n = getline(&c->line, &c->cap, stdin);
            if (n < 0 && errno == EINTR) {
                clearerr(stdin);
                c->interrupted = true; /* nobody edits: Ctrl-C ends */
            }
            if (n < 0)
                return NULL;
        }
        if (!c->line)
            return NULL;
        c->line[strcspn(c->line, "\n")] = 0;
        return c->line;
    }
}

/* ---- commands ---- */

static void show_help(void)
{
    printf("/system TEXT  set the system message (without TEXT: take it away)\n"
           "/reset        forget the conversation, keep the system message\n"
           "/save FILE    write the conversation as JSON messages\n"
           "/load FILE    go on with a conversation from such a file\n"
           "/help         this text\n"
           "/quit         end (also Ctrl-D); Ctrl-C stops an answer\n");
}

static bool is_role(const json_t *m, const char *role)
{
    const char *r = json_string_value(json_object_get(m, "role"));
    return r && strcmp(r, role) == 0;
}

static void add(chat *c, const char *role, const char *text, size_t n)
{
    json_t *content = json_stringn(text, n);
    if (content)
        json_array_append_new(c->messages, json_pack("{s:s, s:o}", "role", role, "content", content));
    else
        fprintf(stderr, "segue: chat: the text is not UTF-8\n");
}

static void set_system(chat *c, const char *text)
{
    if (is_role(json_array_get(c->messages, 0), "system"))
        json_array_remove(c->messages, 0);
    if (*text)
        json_array_insert_new(c->messages, 0, json_pack("{s:s, s:s}", "role", "system", "content", text));
}

static void reset(chat *c)
{
    size_t keep = is_role(json_array_get(c->messages, 0), "system");
    while (json_array_size(c->messages) > keep)
        json_array_remove(c->messages, json_array_size(c->messages) - 1);
}

static void save(const chat *c, const char *path)
{
    char temporary[4096];
    int n = snprintf(temporary, sizeof temporary, "%s.new", path);
    if (n < 0 || (size_t)n >= sizeof temporary || json_dump_file(c->messages, temporary, JSON_INDENT(2)) != 0 ||
        rename(temporary, path) != 0)
        fprintf(stderr, "segue: chat: %s: cannot be written: %s\n", path, strerror(errno));
    else
        printf("saved %zu messages\n", json_array_size(c->messages));
}

static bool is_conversation(const json_t *v)
{
    if (!json_is_array(v))
        return false;
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *m = json_array_get(v, i);
        if (!json_is_string(json_object_get(m, "role")) || !json_is_string(json_object_get(m, "content")))
            return false;
    }
    return true;
}

static void load(chat *c, const char *path)
{
    json_error_t e;
    json_t *v = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
    if (!v || !is_conversation(v)) {
        fprintf(stderr, "segue: chat: %s: %s\n", path, v ? "not a list of messages with role and content" : e.text);
        json_decref(v);
        return;
    }
    json_decref(c->messages);
    c->messages = v;
    printf("loaded %zu messages\n", json_array_size(v));
}

static void run_command(chat *c, char *line)
{
    char *arg = line + strcspn(line, " \t");
    if (*arg)
        *arg++ = 0;
    arg += strspn(arg, " \t");
    if (strcmp(line, "/quit") == 0 || strcmp(line, "/exit") == 0)
        c->quit = true;
    else if (strcmp(line, "/help") == 0)
        show_help();
    else if (strcmp(line, "/reset") == 0)
        reset(c);
    else if (strcmp(line, "/system") == 0)
        set_system(c, arg);
    else if (strcmp(line, "/save") == 0 && *arg)
        save(c, arg);
    else if (strcmp(line, "/load") == 0 && *arg)
        load(c, arg);
    else
        fprintf(stderr, "segue: chat: %s: unknown command, or it wants a file; /help lists them\n", line);
}

/* ---- turns ---- */

static bool answer(chat *c, sg_error *err)
{
    int32_t *ids;
    size_t nid;
    if (chat_tokens(c->engine, c->messages, &ids, &nid, err) != SG_OK)
        return false;
    sg_request_options o;
    sample_flags_fill(c->self, &o);
    o.prompt = ids;
    o.nprompt = nid;
    generation g = {.echo = true, .keep = true};
    interrupt_take();
    sg_status st = generate(&g, c->engine, &o, err);
    interrupt_take();
    sg_memory_free(ids);
    if (st == SG_OK && g.end.finish == SG_FINISH_ERROR)
        st = (*err = g.error).status;
    if (st == SG_OK) {
        add(c, "assistant", g.text ? g.text : "", g.ntext);
        printf(g.end.finish == SG_FINISH_CANCELLED ? " [stopped]\n" : "\n");
        fflush(stdout);
    }
    generation_fini(&g);
    return st == SG_OK;
}

static void turn(chat *c, const char *text)
{
    sg_error err;
    size_t n = json_array_size(c->messages);
    add(c, "user", text, strlen(text));
    if (json_array_size(c->messages) == n || answer(c, &err))
        return;
    json_array_remove(c->messages, n); /* as if it had not been said */
    fprintf(stderr, "segue: chat: %s%s\n", err.text, err.status == SG_E_LIMIT ? "; /reset begins anew" : "");
    c->failed = !c->terminal;
}

static void converse(chat *c)
{
    char *line;
    while (!c->quit && (line = read_line(c))) {
        line += strspn(line, " \t");
        if (*line == '/')
            run_command(c, line);
        else if (*line)
            turn(c, line);
    }
}

static const option *const tables[] = {options, sample_flag_options, model_flag_options, engine_flag_options, NULL};

static int run(const command *self, int argc, char **argv)
{
    int n = options_parse(self, argc, argv, 1);
    sg_request_options check;
    sample_flags_fill(self, &check);
    sg_engine_options o = model_flags_engine(self, n ? argv[0] : NULL);
    o.max_running = 1;
    chat c = {.self = self, .terminal = isatty(0) && isatty(1)};
    sg_error err;
    if (sg_engine_open(&c.engine, &o, &err) != SG_OK)
        return command_failed(self, &err);
    sg_engine_info info;
    sg_engine_info_get(c.engine, &info);
    if (!info.chat_template) {
        fprintf(stderr, "segue: chat: %s: the model has no chat template; segue run --raw continues a text\n", info.name);
        sg_engine_close(c.engine);
        return 1;
    }
    c.messages = json_array();
    if (system_text)
        set_system(&c, system_text);
    interrupt_watch();
    if (c.terminal) {
        if (!command_quiet(model_flag.quiet))
            fprintf(stderr, "%s, %d tokens of context.  /help lists the commands.\n", info.name, info.ctx);
        open_editor(&c);
    }
    converse(&c);
    if (c.terminal && !c.quit)
        putchar('\n');
    close_editor(&c);
    json_decref(c.messages);
    sg_engine_close(c.engine);
    return c.interrupted ? EXIT_INTERRUPTED : c.failed ? 1 : 0;
}

const command cmd_chat = {
    .name = "chat",
    .synopsis = "[MODEL] [--system TEXT] [options]",
    .summary = "Talk with a model in the terminal",
    .text = "Without a MODEL the embedded default talks.  Lines that begin with / are commands; /help lists them.  Ctrl-C stops the\n"
            "answer that is being written and not the program.  The history of lines is kept under XDG_STATE_HOME.",
    .tables = tables,
    .run = run,
};
