/* Verdicts on the hostile files of the shared data: what must load is accepted, what must be refused is refused with
 * one line that says why, and neither takes memory beyond reason. */
#include "tap.h"

#include "base/heap.h"
#include "base/json.h"

#include <stdlib.h>

enum { MEMORY_MAX = 64 << 20 };

static bool mentions(json_t *list, const char *text)
{
    size_t i;
    json_t *word;
    bool any = json_array_size(list) == 0;
    json_array_foreach(list, i, word)
        any = any || strstr(text, json_string_value(word));
    return any;
}

static int judge(const char *root, json_t *entry)
{
    const char *file = json_string_value(json_object_get(entry, "file")),
               *verdict = json_string_value(json_object_get(entry, "verdict"));
    char path[1024];
    sg_error err = {0};
    snprintf(path, sizeof path, "%s/%s", root, file);
    size_t live = sg_heap_live();
    sg_status st = sg_check(path, &err);
    const char *wrong = NULL;
    if (sg_heap_live() != live)
        wrong = "memory is left behind";
    else if (st == SG_OK && !strcmp(verdict, "must be refused"))
        wrong = "accepted";
    else if (st != SG_OK && !strcmp(verdict, "must load"))
        wrong = "refused";
    else if (st != SG_OK && (!strstr(err.text, file) || strchr(err.text, '\n')))
        wrong = "not one line that names the file";
    else if (st != SG_OK && !mentions(json_object_get(entry, "mention"), err.text))
        wrong = "the reason is not named";
    if (wrong)
        tap_note("%s: %s: %s", file, wrong, err.text);
    return wrong != NULL;
}

TEST(hostile_files_get_their_verdicts)
{
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    char root[512], path[600];
    sg_error err;
    json_t *index = NULL, *entry;
    size_t i;
    int bad = 0, n = 0;
    snprintf(root, sizeof root, "%s/data/hostile", tap_shared());
    snprintf(path, sizeof path, "%s/index.json", root);
    CHECK_OK(sg_json_read(&index, path, 16 << 20, &err));
    size_t before = sg_heap_live();
    json_array_foreach(json_object_get(index, "files"), i, entry) {
        const char *file = json_string_value(json_object_get(entry, "file"));
        if (strncmp(file, "wav/", 4) == 0) /* with audio */
            continue;
        bad += judge(root, entry);
        n++;
    }
    json_decref(index);
    tap_note("%d files, %d wrong; %zu KiB at most", n, bad, (sg_heap_peak() - before) / 1024);
    CHECK_INT(bad, 0);
    CHECK(sg_heap_peak() - before < MEMORY_MAX);
}

TAP_MAIN
