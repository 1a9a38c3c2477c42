/* Traces: the published files, hostile ones, and what is made of them. */
#include "tap.h"

#include "replay/record.h"
#include "replay/trace.h"

#include <stdlib.h>
#include <unistd.h>

static sg_error err;

static sg_status parse(sg_trace *t, const char *text) { return sg_trace_parse(t, text, strlen(text), "t", 0, &err); }

TEST(reads_csv_in_any_order_of_columns_and_time)
{
    sg_trace t;
    CHECK_OK(parse(&t, "x,GeneratedTokens,TIMESTAMP,ContextTokens\r\na,5,2023-11-16 23:59:59.5,100\r\nb,0,2023-11-17 "
                       "00:00:01,7\r\nc,9,2023-11-16 "
                       "23:59:58.5,3\r\n"));
    CHECK_INT(t.n, 3);
    CHECK(t.timed);
    CHECK(t.request[0].prompt == 3 && t.request[0].arrival_us == 0);
    CHECK(t.request[1].prompt == 100 && t.request[1].arrival_us == 1000000);
    CHECK(t.request[2].arrival_us == 2500000 && t.request[2].output == 1); /* an empty answer becomes one token */
    sg_trace_scale(&t, 10, 0);
    CHECK(t.request[1].prompt == 10 && t.request[2].prompt == 1);
    sg_trace_scale(&t, 1, 8);
    CHECK(t.request[1].prompt + t.request[1].output <= 8);
    sg_trace_poisson(&t, 2, 1);
    CHECK(t.request[0].arrival_us == 0 && t.request[1].arrival_us > 0 && t.request[2].arrival_us >= t.request[1].arrival_us);
    sg_trace_fini(&t);
}

TEST(reads_json_lines_with_prefixes)
{
    sg_trace t;
    CHECK_OK(parse(&t, "{\"timestamp\": 500, \"input_length\": 600, \"output_length\": 3, \"hash_ids\": [7, 8]}\n\n"
                       "{\"timestamp\": 1500, \"input_length\": 9, \"output_length\": 4}\n"));
    CHECK(t.n == 2 && t.timed && t.request[0].nhash == 2 && t.hash[t.request[0].hash + 1] == 8 && t.request[1].nhash == 0);
    CHECK_INT(t.request[1].arrival_us, 1000000);
    sg_trace_fini(&t);
}

TEST(refuses_what_is_no_trace)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"", "no requests"},
        {"a,b\n1,2\n", "no column"},
        {"prompt_tokens,output_tokens\n", "no requests"},
        {"prompt_tokens,output_tokens\n1\n", "line 2"},
        {"prompt_tokens,output_tokens\n1,x\n", "line 2"},
        {"prompt_tokens,output_tokens\n1,2\n0,2\n", "line 3"},
        {"prompt_tokens,output_tokens\n1e99,2\n", "line 2"},
        {"prompt_tokens,output_tokens\nnan,2\n", "line 2"},
        {"TIMESTAMP,prompt_tokens,output_tokens\n2023-99-16 1:2:3,1,2\n", "line 2"},
        {"{\"input_length\": 1}\n", "line 1"},
        {"{\"input_length\": \"1\", \"output_length\": 2}\n", "line 1"},
        {"{\"input_length\": 1, \"output_length\": 2", "line 1"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sg_trace t;
        CHECK_FAILS(parse(&t, bad[i].text), SG_E_FORMAT, bad[i].why);
    }
}

static bool read_both(void *arg)
{
    (void)arg;
    sg_trace t;
    if (sg_trace_parse(&t, "prompt_tokens,output_tokens\n1,2\n3,4\n", 36, "t", 0, NULL) != SG_OK)
        return false;
    sg_trace_fini(&t);
    if (sg_trace_mix(&t, 300, 1, NULL) != SG_OK)
        return false;
    sg_trace_fini(&t);
    return true;
}

TEST(survives_failing_allocations) { CHECK_ALLOC_LOOP(read_both, NULL); }

TEST(reads_the_published_traces)
{
    static const struct {
        const char *name;
        size_t n;
        bool timed;
    } files[] = {{"AzureLLMInferenceTrace_code.csv", 8819, true},
                 {"AzureLLMInferenceTrace_conv.csv", 19366, true},
                 {"arxiv_summarization_lengths_llama2.csv", 28257, false},
                 {"sharegpt_8k_lengths_llama2.csv", 30731, false},
                 {"mooncake_conversation_trace.jsonl", 12031, true}};
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[4400];
        sg_trace t;
        snprintf(path, sizeof path, "%s/data/traces/%s", tap_shared(), files[i].name);
        CHECK_OK(sg_trace_read(&t, path, 0, &err));
        tap_note("%s: %zu requests, the last arrives after %.0f s", files[i].name, t.n, (double)t.request[t.n - 1].arrival_us * 1e-6);
        CHECK(t.n + 1 >= files[i].n && t.n <= files[i].n + 1); /* a last line without its end */
        CHECK_INT(t.timed, files[i].timed);
        sg_trace_fini(&t);
    }
}

/* ---- ServeGen's descriptions ---- */

static const char windows[] = "0,2,1.0,Gamma,1.0,0.5\n600,0,0,,0,0\r\n1200,4,0.5,Weibull,2.1,0.28\n1800,0,0,,0,0\n";
static const char periods[] = "{\"1200\": {\"input_tokens\": \"{50: 1.0}\", \"output_tokens\": \"{7: 0.5, 9: 0.5}\", \"other\": \"{}\"},"
                              "\"0\": {\"input_tokens\": \"{ 10: 0.25, 30 : 0.75 }\", \"output_tokens\": \"{5: 2}\"}}";

static sg_status describe(sg_trace *t, const char *csv, const char *json, size_t max)
{
    return sg_servegen_add(t, csv, strlen(csv), json, strlen(json), 3, max, "client", "client's lengths", &err);
}

TEST(draws_requests_from_descriptions)
{
    sg_trace t = {0}, again = {0};
    CHECK_OK(describe(&t, windows, periods, 0));
    size_t early = 0, late = 0, small = 0, nine = 0;
    for (size_t i = 0; i < t.n; i++) {
        const sg_trace_request *r = &t.request[i];
        double at = (double)r->arrival_us * 1e-6;
        bool first = at < 600;
        CHECK(first || (at >= 1200 && at < 1800)); /* nobody comes in the empty windows */
        CHECK(!i || r->arrival_us >= r[-1].arrival_us);
        CHECK(first ? (r->prompt == 10 || r->prompt == 30) && r->output == 5 : r->prompt == 50 && (r->output == 7 || r->output == 9));
        early += first;
        late += !first;
        small += r->prompt == 10;
        nine += r->output == 9;
    }
    CHECK_NEAR((double)early, 1200, 150); /* 600 s times the rate */
    CHECK_NEAR((double)late, 2400, 150);
    CHECK_NEAR((double)small / (double)early, 0.25, 0.06);
    CHECK_NEAR((double)nine / (double)late, 0.5, 0.06);
    CHECK_OK(describe(&again, windows, periods, 50));
    CHECK_INT(again.n, 50);
    for (int i = 0; i < 50; i++) /* the same ones every time */
        CHECK(again.request[i].arrival_us == t.request[i].arrival_us && again.request[i].prompt == t.request[i].prompt &&
              again.request[i].output == t.request[i].output);
    sg_trace_fini(&t);
    sg_trace_fini(&again);
}

TEST(refuses_hostile_descriptions)
{
    static const struct {
        const char *windows, *periods, *why;
    } bad[] = {
        {"", periods, "no windows"},
        {"x", periods, "line 1"},
        {"0,1,1,Gamma,1", periods, "line 1"},
        {"0,1,1,Gamma,1,1,1", periods, "line 1"},
        {"0,1,1,Pareto,1,1", periods, "Gamma or Weibull"},
        {"0,1,1,,1,1", periods, "Gamma or Weibull"},
        {"0,1,1,Gamma,0,1", periods, "shape"},
        {"0,1,1,Weibull,1e-9,1", periods, "shape"},
        {"0,1,1,Gamma,nan,1", periods, "shape"},
        {"0,nan,1,Gamma,1,1", periods, "windows must"},
        {"0,-1,1,Gamma,1,1", periods, "windows must"},
        {"0,1e99,1,Gamma,1,1", periods, "windows must"},
        {"-600,1,1,Gamma,1,1", periods, "windows must"},
        {"600,1,1,Gamma,1,1\n600,1,1,Gamma,1,1", periods, "line 2"},
        {"600,1,1,Gamma,1,1\n0,1,1,Gamma,1,1", periods, "line 2"},
        {windows, "", "client"},
        {windows, "[]", "no object"},
        {windows, "{}", "no lengths"},
        {windows, "{\"x\": {}}", "is no second"},
        {windows, "{\"1e99\": {}}", "is no second"},
        {windows, "{\"0\": 5}", "no text"},
        {windows, "{\"0\": {\"input_tokens\": \"[1]\"}}", "no text"},
        {windows, "{\"0\": {\"input_tokens\": \"{\"}}", "instead of tokens"},
        {windows, "{\"0\": {\"input_tokens\": \"{5\"}}", "instead of tokens"},
        {windows, "{\"0\": {\"input_tokens\": \"{5:\"}}", "instead of a share"},
        {windows, "{\"0\": {\"input_tokens\": \"{5: 1 6: 1}\"}}", "instead of a comma"},
        {windows, "{\"0\": {\"input_tokens\": \"{-5: 1}\"}}", "-5 tokens"},
        {windows, "{\"0\": {\"input_tokens\": \"{1e12: 1}\"}}", "tokens with"},
        {windows, "{\"0\": {\"input_tokens\": \"{5: -1}\"}}", "share of -1"},
        {windows, "{\"0\": {\"input_tokens\": \"{5: nan}\"}}", "share of"},
        {windows, "{\"0\": {\"input_tokens\": \"{5: 0}\", \"output_tokens\": \"{5: 1}\"}}", "no lengths"},
        {windows, "{\"0\": {\"input_tokens\": \"{}\", \"output_tokens\": \"{}\"}}", "no lengths"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sg_trace t = {0};
        CHECK_FAILS(describe(&t, bad[i].windows, bad[i].periods, 10), SG_E_FORMAT, bad[i].why);
        sg_trace_fini(&t);
    }
    sg_trace t = {0}; /* a million a second for a day */
    CHECK_FAILS(describe(&t, "0,1e6,1,Gamma,1,1\n86400,0,0,,0,0\n", periods, 0), SG_E_LIMIT, "--requests");
    sg_trace_fini(&t);
}

static bool describe_once(void *arg)
{
    (void)arg;
    sg_trace t = {0};
    bool ok = describe(&t, windows, periods, 600) == SG_OK;
    sg_trace_fini(&t);
    return ok;
}

TEST(descriptions_survive_failing_allocations) { CHECK_ALLOC_LOOP(describe_once, NULL); }

static bool write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    if (!f)
        return false;
    fputs(text, f);
    return fclose(f) == 0;
}

TEST(reads_a_folder_of_clients)
{
    char dir[] = "/tmp/segue-clients-XXXXXX", path[4][128];
    static const char *const names[] = {"chunk-0-trace.csv", "chunk-0-dataset.json", "chunk-12-trace.csv", "chunk-12-dataset.json"};
    sg_trace t;
    CHECK(mkdtemp(dir));
    CHECK_FAILS(sg_trace_read(&t, dir, 0, &err), SG_E_FORMAT, "without chunk-N");
    for (int i = 0; i < 4; i++) {
        snprintf(path[i], sizeof path[i], "%s/%s", dir, names[i]);
        CHECK(write_file(path[i], i % 2 ? periods : windows));
    }
    CHECK_OK(sg_trace_read(&t, dir, 0, &err));
    CHECK(t.timed && t.n > 6400 && t.n < 8000 && t.request[0].arrival_us == 0);
    size_t n = t.n;
    sg_trace_fini(&t);
    CHECK_OK(sg_trace_read(&t, path[2], 0, &err)); /* one of them */
    CHECK(t.n > n / 3 && t.n < n);
    sg_trace_fini(&t);
    CHECK_OK(sg_trace_read(&t, dir, 10, &err));
    CHECK(t.n == 10 && t.request[9].arrival_us < 60000000);
    sg_trace_fini(&t);
    remove(path[3]);
    CHECK_FAILS(sg_trace_read(&t, dir, 0, &err), SG_E_IO, "chunk-12-dataset.json");
    for (int i = 0; i < 3; i++)
        remove(path[i]);
    remove(dir);
}

TEST(reads_the_published_clients)
{
    char dir[] = "/tmp/segue-servegen-XXXXXX", command[4600], path[128];
    sg_trace t;
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    CHECK(mkdtemp(dir));
    snprintf(command, sizeof command, "tar xzf '%s/data/traces/servegen-reason-deepseek-r1.tar.gz' -C %s 2>/dev/null", tap_shared(), dir);
    bool there = system(command) == 0;
    if (there) {
        snprintf(path, sizeof path, "%s/reason/deepseek-r1", dir);
        sg_status st = sg_trace_read(&t, path, 20000, &err);
        if (st != SG_OK)
            tap_fail(__FILE__, __LINE__, "%s", err.text);
        else {
            double s = (double)t.request[t.n - 1].arrival_us * 1e-6;
            tap_note("%zu requests in %.0f s", t.n, s);
            if (t.n != 20000 || s < 800 || s > 1600) /* the described rates begin at 15 to 20 a second */
                tap_fail(__FILE__, __LINE__, "%zu requests in %.0f s", t.n, s);
            sg_trace_fini(&t);
        }
    } else
        tap_skip("the archive is not there, or no tar");
    snprintf(command, sizeof command, "rm -rf %s", dir);
    CHECK(system(command) == 0);
}

/* Turns of a task begin with the turns before them, token by token. */
TEST(agents_share_their_history)
{
    sg_trace t;
    CHECK_OK(sg_trace_agents(&t, 200, 1, &err));
    CHECK_INT(t.n, 200);
    for (size_t i = 8; i < t.n; i++) {
        int same = 0, n = t.request[i - 8].prompt;
        CHECK(t.request[i].prompt > 3000 && t.request[i].nhash * SG_TRACE_HASH_TOKENS >= t.request[i].prompt);
        while (same < n && sg_trace_token(&t, i, same, 1, 5, 1000) == sg_trace_token(&t, i - 8, same, 1, 5, 1000))
            same++;
        CHECK(i / 8 % 8 ? same == n : same < n);
    }
    sg_trace_fini(&t);
}

TEST(a_record_becomes_numbers_a_table_and_a_picture)
{
    sg_record r;
    CHECK_OK(sg_record_init(&r, 2, &err));
    r.request[0].arrival_us = 0, r.request[0].admit_us = 1000, r.request[0].prompt = 5;
    r.request[1].arrival_us = 10000, r.request[1].admit_us = 11000, r.request[1].prompt = 9;
    for (int i = 0; i < 100; i++)
        sg_record_add_token(&r, 0, 20000 + i * 10000 + (i > 98 ? 90000 : 0));
    sg_record_add_token(&r, 1, 40000);
    for (int i = 0; i < 100; i++)
        sg_record_add_step(&r, &(sg_record_step){.start_us = i * 10000, .us = 9900, .predicted_us = 9000, .prompt = i % 7, .decode = 1});
    r.end_us = 1200000;
    sg_summary s;
    CHECK_OK(sg_record_summarise(&r, &s, &err));
    CHECK_NEAR(s.tbt.p50, 10, 1e-6);
    CHECK_NEAR(s.tbt.max, 100, 1e-6);
    CHECK_NEAR(s.ttft.max, 30, 1e-6);
    CHECK_NEAR(s.error_p90, 0.9 / 9.9, 1e-5);
    const char *csv = tap_scratch("run.csv"), *svg = tap_scratch("run.svg");
    CHECK_OK(sg_record_write_csv(&r, csv, &err));
    CHECK_OK(sg_record_write_steps(&r, tap_scratch("steps.csv"), &err));
    CHECK_FAILS(sg_record_write_steps(&r, "/nowhere/x.csv", &err), SG_E_IO, "nowhere");
    CHECK_OK(sg_record_write_svg(&r, svg, "a <title> & more", "note", 50000, &err));
    CHECK_FAILS(sg_record_write_svg(&r, "/nowhere/x.svg", "t", "n", 0, &err), SG_E_IO, "nowhere");
    sg_record_fini(&r);
}

TAP_MAIN
