/* What containers and shells leave of a machine, read from made-up folders, and of this one. */
#include "tap.h"

#include "base/buf.h"
#include "base/cpu.h"
#include "base/limits.h"
#include "segue.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[512];

static void put(const char *path, const char *text)
{
    char full[2048];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); *p++ = '/') {
        *p = '\0';
        mkdir(full, 0777);
    }
    FILE *f = fopen(full, "w");
    if (!f || fputs(text, f) < 0 || fclose(f))
        tap_fail(__FILE__, __LINE__, "%s cannot be written", full);
}

/* A machine of 8 GiB of which 6 are available. */
static void machine(const char *cgroup)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/segue-limits-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(root))
        tap_fail(__FILE__, __LINE__, "no scratch folder");
    put("/proc/meminfo", "MemTotal:        8388608 kB\nMemFree:          100000 kB\nMemAvailable:    6291456 kB\n");
    put("/proc/self/cgroup", cgroup);
}

static void clean(void)
{
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    if (system(command))
        tap_note("%s is left behind", root);
}

TEST(without_groups_the_machine_counts)
{
    sg_limits l;
    machine("");
    sg_limits_read(&l, root);
    CHECK_INT(l.memory_bytes, 6ll << 30);
    CHECK_INT(l.memory_limit, 8ll << 30);
    CHECK_STR(l.memory_from, "MemAvailable");
    CHECK(l.cpu_quota <= 0);
    clean();
}

TEST(version_2_limits_of_all_ancestors_count)
{
    sg_limits l;
    machine("0::/user/box/app\n");
    put("/sys/fs/cgroup/user/box/app/memory.max", "max\n");
    put("/sys/fs/cgroup/user/box/app/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/user/box/memory.max", "2147483648\n");
    put("/sys/fs/cgroup/user/box/memory.current", "1073741824\n");
    put("/sys/fs/cgroup/user/box/memory.stat", "anon 5\ninactive_file 536870912\nactive_file 268435456\n");
    put("/sys/fs/cgroup/user/cpu.max", "250000 100000\n");
    sg_limits_read(&l, root);
    CHECK_INT(l.memory_bytes, (1ll << 30) + 536870912 + 134217728);
    CHECK_INT(l.memory_limit, 2ll << 30);
    CHECK_STR(l.memory_from, "memory.max of a cgroup");
    CHECK_NEAR(l.cpu_quota, 2.5, 1e-9);
    CHECK_INT(l.cpus, 3);
    put("/sys/fs/cgroup/user/box/app/memory.high", "1100000000\n");
    put("/sys/fs/cgroup/user/box/app/memory.current", "1000000000\n");
    put("/sys/fs/cgroup/user/box/app/cpu.max", "50000 100000\n");
    sg_limits_read(&l, root);
    CHECK_INT(l.memory_bytes, 100000000);
    CHECK_STR(l.memory_from, "memory.high of a cgroup");
    CHECK_INT(l.cpus, 1);
    clean();
}

/* A container's own group stands at the root of what it sees, whatever its path says. */
TEST(version_1_and_paths_that_are_not_there)
{
    sg_limits l;
    machine("5:cpu,cpuacct:/docker/0123\n4:memory:/docker/0123\n1:name=systemd:/docker/0123\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "805306368\n");
    put("/sys/fs/cgroup/memory/memory.stat", "cache 7\ninactive_file 1\ntotal_inactive_file 268435456\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "150000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    sg_limits_read(&l, root);
    CHECK_INT(l.memory_bytes, 536870912);
    CHECK_STR(l.memory_from, "memory.limit_in_bytes of a cgroup");
    CHECK_INT(l.cpus, 2);
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    sg_limits_read(&l, root);
    CHECK_STR(l.memory_from, "MemAvailable");
    CHECK(l.cpu_quota <= 0);
    clean();
}

TEST(odd_files_are_no_limit)
{
    sg_limits l;
    machine("nonsense\n0::relative\n0::/../up\n7:memory\n0::/a//b/\n");
    put("/sys/fs/cgroup/memory.max", "a lot\n");
    put("/sys/fs/cgroup/cpu.max", "\n");
    put("/sys/fs/cgroup/a/memory.max", "nan\n");
    sg_limits_read(&l, root);
    CHECK_STR(l.memory_from, "MemAvailable");
    put("/sys/fs/cgroup/a/memory.max", "0\n"); /* that is one */
    sg_limits_read(&l, root);
    CHECK_INT(l.memory_bytes, 0);
    clean();
    snprintf(root, sizeof root, "/nowhere");
    sg_limits_read(&l, root);
    CHECK(!l.memory_from && l.memory_bytes == 0 && l.cpus > 0);
}

TEST(this_machine_and_its_shell)
{
    sg_limits l;
    struct rlimit old, tight;
    sg_limits_read(&l, "");
    CHECK(l.cpus >= 1 && l.cpus == sg_cpu_count() && l.memory_bytes > 1 << 20 && l.memory_from);
    tap_note("%d CPUs, %.1f GiB of %.1f by %s", l.cpus, (double)l.memory_bytes / 0x1p30, (double)l.memory_limit / 0x1p30, l.memory_from);
    uint64_t before = l.memory_bytes;
    CHECK(getrlimit(RLIMIT_AS, &old) == 0);
    tight = old;
    tight.rlim_cur = (rlim_t)1 << 46; /* sanitizers have mapped terabytes already */
    CHECK(setrlimit(RLIMIT_AS, &tight) == 0);
    sg_limits_read(&l, "");
    CHECK(l.memory_bytes <= before + (1 << 28));
    CHECK(setrlimit(RLIMIT_AS, &old) == 0);
    CHECK(sg_memory_available() > 0);
}

TAP_MAIN
