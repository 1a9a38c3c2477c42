/* base/limits.c - what the machine has to give, and what a container or a shell leaves of it.
 *
 *     CPUs      affinity mask, and of every cgroup from the process's own up to the root: cpu.max (v2), or cpu.cfs_quota_us
 *               over cpu.cfs_period_us (v1)
 *     memory    MemAvailable; of every such cgroup: memory.max and memory.high (v2), or memory.limit_in_bytes (v1), less what is in
 *               use; RLIMIT_AS less the size of the process
 *
 * The least counts.  A parent's limit holds for its children, whose own files may say "max", so all of them are read, up to the
 * root.  A path of /proc/self/cgroup may not exist below the mount: containers see their own group at the mount's root.
 * So missing files are passed over, and the root is always looked at.  The version 2 tree is mounted at /sys/fs/cgroup, or
 * at /sys/fs/cgroup/unified beside version 1.
 *
 * "In use" counts the page cache, which the kernel gives back before it kills anybody: inactive file pages are taken off, and
 * half of the active ones, as MemAvailable does.  A model's mapped file is such a page cache.
 *
 * Rejected: sysconf and sysinfo, which know nothing of groups.
 */
#include "base/limits.h"

#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, WORD = 64 };

static FILE *open_at(const char *root, const char *path)
{
    char full[PATH_BYTES];
    int n = snprintf(full, sizeof full, "%s%s", root, path);
    return n > 0 && (size_t)n < sizeof full ? fopen(full, "re") : NULL;
}

/* Word `field` of the first line as a number; `fallback` when it is none ("max") or there is no file. */
static double number_in(const char *root, const char *path, int field, double fallback)
{
    FILE *f = open_at(root, path);
    char word[2][WORD] = {"", ""}, *end;
    if (!f)
        return fallback;
    int got = fscanf(f, "%63s %63s", word[0], word[1]);
    fclose(f);
    if (got <= field)
        return fallback;
    double v = strtod(word[field], &end);
    return end == word[field] || !isfinite(v) ? fallback : v;
}

/* The number behind `key` in a file of lines "key number" or "key: number kB"; 0 without. */
static double named_in(const char *root, const char *path, const char *key)
{
    FILE *f = open_at(root, path);
    char line[256];
    double v = 0;
    size_t n = strlen(key);
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, n) == 0 && (line[n] == ' ' || line[n] == ':')) {
            v = strtod(line + n + 1, NULL) * (strstr(line, " kB") ? 1024 : 1);
            break;
        }
    if (f)
        fclose(f);
    return isfinite(v) && v > 0 ? v : 0;
}

/* ---- one cgroup ---- */

typedef struct group {
    const char *root, *dir; /* "/sys/fs/cgroup/memory/a/b" */
} group;

static double file_number(const group *g, const char *name, int field, double fallback)
{
    char path[PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s/%s", g->dir, name);
    return n > 0 && (size_t)n < sizeof path ? number_in(g->root, path, field, fallback) : fallback;
}

static double stat_number(const group *g, const char *key)
{
    char path[PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s/memory.stat", g->dir);
    return n > 0 && (size_t)n < sizeof path ? named_in(g->root, path, key) : 0;
}

static void least_memory(sg_limits *l, double limit, double used, const char *from)
{
    if (!(limit >= 0) || limit > 1e17) /* version 1 writes "no limit" as a number near 2^63 */
        return;
    double room = limit > used ? limit - used : 0;
    if (l->memory_from && room >= (double)l->memory_bytes)
        return;
    l->memory_bytes = (uint64_t)room;
    l->memory_limit = (uint64_t)limit;
    l->memory_from = from;
}

static void memory_of(sg_limits *l, const group *g)
{
    double max = file_number(g, "memory.max", 0, INFINITY), high = file_number(g, "memory.high", 0, INFINITY);
    if (fmin(max, high) < INFINITY) {
        double used = file_number(g, "memory.current", 0, 0) - stat_number(g, "inactive_file") - stat_number(g, "active_file") / 2;
        least_memory(l, fmin(max, high), fmax(used, 0), high < max ? "memory.high of a cgroup" : "memory.max of a cgroup");
    }
    double old = file_number(g, "memory.limit_in_bytes", 0, INFINITY);
    if (old < 1e17) {
        double used = file_number(g, "memory.usage_in_bytes", 0, 0) - stat_number(g, "total_inactive_file") -
                      stat_number(g, "total_active_file") / 2;
        least_memory(l, old, fmax(used, 0), "memory.limit_in_bytes of a cgroup");
    }
}

static void processors_of(sg_limits *l, const group *g)
{
    double quota = file_number(g, "cpu.max", 0, -1), period = file_number(g, "cpu.max", 1, -1);
    if (quota <= 0 || period <= 0) {
        quota = file_number(g, "cpu.cfs_quota_us", 0, -1);
        period = file_number(g, "cpu.cfs_period_us", 0, -1);
    }
    if (quota > 0 && period > 0 && (l->cpu_quota <= 0 || quota / period < l->cpu_quota))
        l->cpu_quota = quota / period;
}

/* ---- all of them ---- */

/* `mount` with each of `path` ("/a/b"), "/a" and "" behind it. */
static void climb(sg_limits *l, const char *root, const char *mount, const char *path, void (*look)(sg_limits *l, const group *g))
{
    char dir[PATH_BYTES];
    int n = snprintf(dir, sizeof dir, "%s%s", mount, path);
    if (n < 0 || (size_t)n >= sizeof dir)
        return;
    for (size_t stem = strlen(mount); strlen(dir) > stem; *strrchr(dir, '/') = '\0')
        if (dir[strlen(dir) - 1] != '/')
            look(l, &(group){root, dir});
    look(l, &(group){root, mount});
}

/* Whether a list "cpu,cpuacct" has the word. */
static bool has(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; (p = strstr(p, word)); p += n)
        if ((p == list || p[-1] == ',') && (p[n] == '\0' || p[n] == ','))
            return true;
    return false;
}

/* A line "4:memory:/a/b" (version 1) or "0::/a/b" (version 2). */
static void line_of(sg_limits *l, const char *root, char *line)
{
    char mount[512];
    line[strcspn(line, "\n")] = '\0';
    char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
    if (!path || path[1] != '/' || strstr(path, "/.."))
        return;
    *path++ = '\0';
    names++;
    if (!*names) {
        climb(l, root, "/sys/fs/cgroup", path, memory_of);
        climb(l, root, "/sys/fs/cgroup", path, processors_of);
        climb(l, root, "/sys/fs/cgroup/unified", path, memory_of);
        climb(l, root, "/sys/fs/cgroup/unified", path, processors_of);
        return;
    }
    if ((size_t)snprintf(mount, sizeof mount, "/sys/fs/cgroup/%s", names) >= sizeof mount)
        return;
    if (has(names, "memory"))
        climb(l, root, mount, path, memory_of);
    if (has(names, "cpu")) {
        climb(l, root, mount, path, processors_of);
        climb(l, root, "/sys/fs/cgroup/cpu", path, processors_of);
    }
}

static void groups(sg_limits *l, const char *root)
{
    char line[PATH_BYTES];
    FILE *f = open_at(root, "/proc/self/cgroup");
    while (f && fgets(line, sizeof line, f))
        line_of(l, root, line);
    if (f)
        fclose(f);
    else { /* no /proc: the root groups */
        char all[] = "0::/";
        line_of(l, root, all);
    }
}

static void address_space(sg_limits *l)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_AS, &r) == 0 && r.rlim_cur != RLIM_INFINITY)
        least_memory(l, (double)r.rlim_cur, number_in("", "/proc/self/statm", 0, 0) * (double)sysconf(_SC_PAGESIZE),
                     "the limit of the address space (ulimit -v)");
}

void sg_limits_read(sg_limits *limits, const char *root)
{
    cpu_set_t set;
    sg_limits l = {.cpus = 1};
    double available = named_in(root, "/proc/meminfo", "MemAvailable"), total = named_in(root, "/proc/meminfo", "MemTotal");
    if (available > 0)
        least_memory(&l, fmax(total, available), fmax(total, available) - available, "MemAvailable");
    groups(&l, root);
    if (*root)
        l.cpus = INT32_MAX;
    else {
        address_space(&l);
        if (sched_getaffinity(0, sizeof set, &set) == 0)
            l.cpus = CPU_COUNT(&set);
    }
    if (l.cpu_quota > 0 && ceil(l.cpu_quota) < l.cpus)
        l.cpus = (int)ceil(l.cpu_quota);
    l.cpus = l.cpus < 1 ? 1 : l.cpus;
    *limits = l;
}
