/* replay/svg.c - a run as a picture: what each step computed, how long it took, and what each stream felt.
 *
 *     title, numbers, how to read it
 *     +--------------------------------------------------+
 *     | rows of every step by kind, as wide as it took    |   panel 1
 *     +--------------------------------------------------+
 *     | time of every step, predicted as a line, bound    |   panel 2
 *     +--------------------------------------------------+
 *     | a lane for each request: waiting, prompt, and     |   panel 3
 *     | every gap between tokens in a colour of its length |
 *     +--------------------------------------------------+
 *                      one time axis
 *
 * Plain SVG 1.1 without scripts or fonts of its own, so that it can be shown anywhere; colours follow the reader's light or
 * dark scheme and differ in lightness too.  Steps narrower than a pixel are drawn together (the largest of each pixel
 * column), neighbouring gaps of the same colour too, so that a long run stays a small file.
 */
#include "replay/record.h"

#include "base/file.h"
#include "base/heap.h"

#include <math.h>
#include <string.h>

enum {
    W = 1200,
    LEFT = 92,
    RIGHT = 104,
    PLOT = W - LEFT - RIGHT,
    ROWS_H = 150,
    TIME_H = 150,
    GAP = 66,
    TOP = 124,
    HEAD = 30, /* of a panel: its heading stands so far above, its key */
    KEY = 10,  /* so far */
    LANES_MAX = 160,
    NSHADE = 5
};

typedef struct picture {
    const sg_record *r;
    sg_buf b;
    double us_px; /* microseconds of a pixel */
    double bound; /* for colours and the dashed line */
    int lane_h, nlane;
} picture;

static double px(const picture *p, double us) { return LEFT + us / p->us_px; }

/* 1, 2 or 5 times a power of ten, at least x. */
static double nice(double x)
{
    double p = pow(10, floor(log10(x > 0 ? x : 1)));
    return x <= p ? p : x <= 2 * p ? 2 * p : x <= 5 * p ? 5 * p : 10 * p;
}

static void text(sg_buf *b, double x, double y, const char *class, const char *s)
{
    sg_buf_addf(b, "<text class='%s' x='%.1f' y='%.1f'>", class, x, y);
    for (; *s; s++)
        if (*s == '<')
            sg_buf_adds(b, "&lt;");
        else if (*s == '&')
            sg_buf_adds(b, "&amp;");
        else
            sg_buf_addc(b, (unsigned char)*s < 32 ? ' ' : *s);
    sg_buf_adds(b, "</text>\n");
}

/* Plain colours first, for programs that know no more; then those for a dark background. */
static const char style[] =
    "<style>.bg{fill:#ffffff}.t{fill:#1b1f24;font-size:20px;font-weight:600}.n{fill:#4a5462;font-size:13px}"
    ".h{fill:#1b1f24;font-size:14px;font-weight:600}.k{fill:#4a5462;font-size:12px}"
    ".r{fill:#4a5462;font-size:11px;text-anchor:end}.c{fill:#4a5462;font-size:12px;text-anchor:middle}.b{fill:#c01f33;font-size:12px;"
    "font-weight:600;text-anchor:end}"
    ".grid{stroke:#e4e8ee;stroke-width:1}.prompt{fill:#f0a030}.decode{fill:#2f6fd0}.draft{fill:#9a5fc8}.wait{fill:#d3d9e1}"
    ".step{fill:#a9b4c2}.pre{stroke:#111111;fill:none;stroke-width:1.2}"
    ".bound{stroke:#d62839;fill:none;stroke-width:1.6;stroke-dasharray:6 4}"
    ".g0{fill:#2e9e6b}.g1{fill:#9ccc52}.g2{fill:#f2d037}.g3{fill:#ee7d31}.g4{fill:#d62839}"
    "@media(prefers-color-scheme:dark){.bg{fill:#14171c}.t,.h{fill:#e8ebf0}.n,.k,.r,.c{fill:#a8b2c0}.b{fill:#ff6b7b}.grid{stroke:#2a3038}"
    ".prompt{fill:#e0983a}.decode{fill:#6ba0ee}.draft{fill:#b98be0}.wait{fill:#39414c}.step{fill:#5b6675}.pre{stroke:#ffffff}"
    ".bound{stroke:#ff6b7b}}</style>\n";

static void head(picture *p, int height, const char *title, const char *note)
{
    sg_buf_addf(&p->b,
                "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' width='%d' height='%d' "
                "font-family='system-ui,Segoe UI,Helvetica,Arial,sans-serif'>\n",
                (int)W, height, (int)W, height);
    sg_buf_adds(&p->b, style);
    sg_buf_addf(&p->b, "<rect class='bg' width='%d' height='%d'/>\n", (int)W, height);
    text(&p->b, 24, 34, "t", title);
    text(&p->b, 24, 56, "n", note);
}

/* A coloured square and a word; returns where the next one goes. */
static double key(picture *p, double x, double y, const char *class, const char *word)
{
    sg_buf_addf(&p->b, "<rect class='%s' x='%.1f' y='%.1f' width='10' height='10' rx='2'/>", class, x, y - 9);
    text(&p->b, x + 15, y, "k", word);
    return x + 15 + 6.9 * (double)strlen(word) + 16;
}

static void grid(picture *p, double y0, double h, double most, const char *unit, double scale)
{
    double tick = nice(most / 4);
    for (double v = 0; v <= most; v += tick) {
        double y = y0 + h - v / most * h;
        char label[48];
        snprintf(label, sizeof label, "%g%s", v * scale, unit);
        sg_buf_addf(&p->b, "<path class='grid' d='M%d %.1fH%d'/>", (int)LEFT, y, (int)(W - RIGHT));
        text(&p->b, LEFT - 8, y + 4, "r", label);
    }
}

static void bar(picture *p, const char *class, double x, double w, double y, double h)
{
    if (h > 0.05)
        sg_buf_addf(&p->b, "<rect class='%s' x='%.2f' y='%.2f' width='%.2f' height='%.2f'/>\n", class, x, y, w, h);
}

/* What is drawn for one pixel column or one wide step. */
typedef struct column {
    double x, w, us, predicted;
    int prompt, decode, draft;
} column;

/* The next column from step *i on: one wide step, or the largest of those within a pixel. */
static column next_column(const picture *p, size_t *i)
{
    const sg_record_step *s = &p->r->step[*i];
    column c = {px(p, (double)s->start_us),
                fmax((double)s->us / p->us_px, 0.6),
                (double)s->us,
                (double)s->predicted_us,
                s->prompt,
                s->decode,
                s->draft};
    double end = c.x + 1;
    for (++*i; *i < p->r->nstep && (s = &p->r->step[*i], px(p, (double)s->start_us + (double)s->us) < end); ++*i) {
        if (s->prompt + s->decode + s->draft > c.prompt + c.decode + c.draft)
            c.prompt = s->prompt, c.decode = s->decode, c.draft = s->draft;
        if ((double)s->us > c.us)
            c.us = (double)s->us, c.predicted = (double)s->predicted_us;
        c.w = 1;
    }
    return c;
}

static void rows_panel(picture *p, double y0)
{
    int most = 1;
    for (size_t i = 0; i < p->r->nstep; i++) {
        const sg_record_step *s = &p->r->step[i];
        most = s->prompt + s->decode + s->draft > most ? s->prompt + s->decode + s->draft : most;
    }
    text(&p->b, LEFT, y0 - HEAD, "h", "What each step computed");
    double x = key(p, LEFT, y0 - KEY, "decode", "answers: a token for each stream");
    x = key(p, x, y0 - KEY, "draft", "guesses being verified");
    x = key(p, x, y0 - KEY, "prompt", "chunks of prompts");
    text(&p->b, x, y0 - KEY, "k", "(a bar is a step: as high as its tokens, as wide as its time)");
    grid(p, y0, ROWS_H, most, "", 1);
    for (size_t i = 0; i < p->r->nstep;) {
        column c = next_column(p, &i);
        double k = (double)ROWS_H / most, y = y0 + ROWS_H - c.decode * k;
        bar(p, "decode", c.x, c.w, y, c.decode * k);
        bar(p, "draft", c.x, c.w, y -= c.draft * k, c.draft * k);
        bar(p, "prompt", c.x, c.w, y - c.prompt * k, c.prompt * k);
    }
}

static void bound_line(picture *p, double y)
{
    char label[32];
    snprintf(label, sizeof label, "%.0f ms", p->bound / 1e3);
    sg_buf_addf(&p->b, "<path class='bound' d='M%d %.1fH%d'/>\n", (int)LEFT, y, (int)(W - RIGHT));
    text(&p->b, W - 16, y + 4, "b", label);
}

static void time_panel(picture *p, double y0)
{
    double most = p->bound > 0 ? p->bound * 1.15 : 1;
    for (size_t i = 0; i < p->r->nstep; i++)
        most = fmax(most, (double)p->r->step[i].us);
    text(&p->b, LEFT, y0 - HEAD, "h", "How long each step took");
    double x = key(p, LEFT, y0 - KEY, "step", "measured");
    sg_buf_addf(&p->b, "<path class='pre' d='M%.1f %.1fh14'/>", x, y0 - KEY - 4.0);
    text(&p->b, x + 19, y0 - KEY, "k", "predicted before the step");
    if (p->bound > 0) {
        sg_buf_addf(&p->b, "<path class='bound' d='M%.1f %.1fh20'/>", x + 190, y0 - KEY - 4.0);
        text(&p->b, x + 215, y0 - KEY, "k", "wanted bound between tokens");
    }
    grid(p, y0, TIME_H, most, " ms", 1e-3);
    for (size_t i = 0; i < p->r->nstep;) {
        column c = next_column(p, &i);
        bar(p, "step", c.x, c.w, y0 + TIME_H - c.us / most * TIME_H, c.us / most * TIME_H);
    }
    sg_buf_adds(&p->b, "<path class='pre' d='");
    bool on = false;
    double end = 0;
    for (size_t i = 0; i < p->r->nstep;) {
        double before = end;
        column c = next_column(p, &i);
        end = c.x + c.w;
        on = on && c.x < before + 2; /* not across the time when nothing ran */
        double y = y0 + TIME_H - fmin(c.predicted, most) / most * TIME_H;
        if (c.predicted > 0)
            sg_buf_addf(&p->b, "%s%.1f %.1fH%.1f", on ? "L" : "M", c.x, y, c.x + c.w);
        on = c.predicted > 0;
    }
    sg_buf_adds(&p->b, "'/>\n");
    if (p->bound > 0)
        bound_line(p, y0 + TIME_H - p->bound / most * TIME_H);
}

/* Shades for gaps: up to half of the bound, three quarters, the bound, twice the bound, more. */
static int shade(const picture *p, double gap)
{
    static const double limit[NSHADE - 1] = {0.5, 0.75, 1, 2};
    double base = p->bound > 0 ? p->bound : 100000;
    int k = 0;
    while (k < NSHADE - 1 && gap > limit[k] * base)
        k++;
    return k;
}

typedef struct lane_run {
    double from, to;
    int shade;
    double longest; /* of all gaps so far */
} lane_run;

static void draw_run(picture *p, int lane, double y0, const lane_run *run)
{
    if (run->shade < 0)
        return;
    char class[4] = {'g', (char)('0' + run->shade), 0, 0};
    bar(p, class, px(p, run->from), fmax((run->to - run->from) / p->us_px, 0.5), y0 + lane * p->lane_h, p->lane_h * 0.78);
}

static void lane_label(picture *p, int i, double y)
{
    const sg_record_request *q = &p->r->request[i];
    char label[64];
    if (p->lane_h < 11 && i % (12 / p->lane_h + 1))
        return;
    snprintf(label, sizeof label, "%d + %d", (int)q->prompt, (int)q->output);
    text(&p->b, LEFT - 8, y + p->lane_h * 0.39 + 4, "r", label);
}

static void longest_label(picture *p, double y, int i, double gap)
{
    char label[32];
    if (gap <= 0 || (p->lane_h < 11 && i % (12 / p->lane_h + 1)))
        return;
    snprintf(label, sizeof label, "%.0f ms", gap / 1e3);
    text(&p->b, W - 16, y + p->lane_h * 0.39 + 4, p->bound > 0 && gap > p->bound ? "b" : "r", label);
}

static sg_status lanes(picture *p, double y0, sg_error *err)
{
    text(&p->b, LEFT, y0 - HEAD, "h", "What each request felt");
    double x = key(p, LEFT, y0 - KEY, "wait", "in the queue");
    x = key(p, x, y0 - KEY, "prompt", "waits for its first token");
    text(&p->b, x, y0 - KEY, "k", "gaps between tokens, against the bound:");
    static const char *const words[NSHADE] = {"half", "3/4", "within", "twice", "more"};
    x += 262;
    for (int i = 0; i < NSHADE; i++) {
        char class[4] = {'g', (char)('0' + i), 0, 0};
        x = key(p, x, y0 - KEY, class, words[i]);
    }
    text(&p->b, W - 16, y0 - KEY, "r", "longest gap");
    lane_run *run = sg_calloc((size_t)p->nlane + 1, sizeof *run);
    if (!run)
        return sg_fail_nomem(err, "the picture");
    for (int i = 0; i < p->nlane; i++) {
        const sg_record_request *q = &p->r->request[i];
        double y = y0 + i * p->lane_h, start = q->admit_us >= 0 ? (double)q->admit_us : (double)q->end_us;
        double first = q->first_us >= 0 ? (double)q->first_us : (double)q->end_us;
        lane_label(p, i, y);
        bar(p, "wait", px(p, (double)q->arrival_us), (start - (double)q->arrival_us) / p->us_px, y, p->lane_h * 0.78);
        bar(p, "prompt", px(p, start), (first - start) / p->us_px, y, p->lane_h * 0.78);
        run[i].shade = -1;
    }
    for (size_t k = 0; k < p->r->ntoken; k++) {
        const sg_record_token *t = &p->r->token[k];
        if (t->request >= p->nlane || t->gap_us < 0)
            continue;
        lane_run *l = &run[t->request], now = {(double)t->at_us - (double)t->gap_us, (double)t->at_us, shade(p, (double)t->gap_us), 0};
        now.longest = l->longest = fmax(l->longest, (double)t->gap_us);
        if (l->shade == now.shade)
            l->to = now.to;
        else {
            draw_run(p, t->request, y0, l);
            *l = now;
        }
    }
    for (int i = 0; i < p->nlane; i++) {
        draw_run(p, i, y0, &run[i]);
        longest_label(p, y0 + i * p->lane_h, i, run[i].longest);
    }
    sg_free(run);
    return SG_OK;
}

static void axis(picture *p, double y)
{
    double tick = nice((double)p->r->end_us / 10);
    for (double t = 0; t <= (double)p->r->end_us; t += tick) {
        char label[32];
        snprintf(label, sizeof label, "%g s", t * 1e-6);
        sg_buf_addf(&p->b, "<path class='grid' d='M%.1f %dV%.1f'/>", px(p, t), (int)TOP, y);
        text(&p->b, px(p, t), y + 16, "c", label);
    }
}

sg_status sg_record_write_svg(const sg_record *r, const char *path, const char *title, const char *note, double bound_us, sg_error *err)
{
    picture p = {.r = r, .bound = bound_us, .us_px = fmax((double)r->end_us, 1) / PLOT};
    p.nlane = r->nrequest < LANES_MAX ? (int)r->nrequest : LANES_MAX;
    p.lane_h = p.nlane <= 8 ? 22 : p.nlane <= 24 ? 14 : p.nlane <= 64 ? 8 : 5;
    double y1 = TOP, y2 = y1 + ROWS_H + GAP, y3 = y2 + TIME_H + GAP, y4 = y3 + p.nlane * p.lane_h + 6;
    head(&p, (int)y4 + 60, title, note);
    axis(&p, y4);
    rows_panel(&p, y1);
    time_panel(&p, y2);
    sg_status st = lanes(&p, y3, err);
    char more[128] = "left of each lane: tokens of its prompt + tokens of its answer";
    if ((size_t)p.nlane < r->nrequest)
        snprintf(more, sizeof more, "the first %d of %zu requests; left of each lane: tokens of its prompt + tokens of its answer", p.nlane,
                 r->nrequest);
    text(&p.b, LEFT, y4 + 40, "k", more);
    sg_buf_adds(&p.b, "</svg>\n");
    sg_file_writer *w = NULL;
    if (st == SG_OK && !sg_buf_ok(&p.b))
        st = sg_fail_nomem(err, "the picture");
    if (st == SG_OK)
        st = sg_file_create(&w, path, err);
    if (st == SG_OK && (st = sg_file_write(w, sg_buf_str(&p.b), p.b.len, err)) == SG_OK)
        st = sg_file_commit(w, err);
    else
        sg_file_abort(w);
    sg_buf_fini(&p.b);
    return st;
}
