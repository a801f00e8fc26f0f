/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Statistics of a task, from the files of its scope to an a{sv}.
 *
 * A table says which file holds which key and what it is called on the bus; a file or key that is not there, because
 * the host has no such controller or an older kernel, leaves its entry out rather than saying 0. The names are those of
 * systemd's unit properties where it has one. Nothing is kept between two readings.
 */

#include <errno.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/stats.h"
#include "daemon/task.h"

typedef struct Counter {
        const char *name; /* on the bus */
        const char *file;
        const char *key;  /* of a file of keys; NULL: the file is one number */
        unsigned divisor; /* 0: none */
} Counter;

static const Counter cpu[] = {
        { "CPUUsageUSec", "cpu.stat", "usage_usec", 0 },
        { "CPUUserUSec", "cpu.stat", "user_usec", 0 },
        { "CPUSystemUSec", "cpu.stat", "system_usec", 0 },
        { "CPUPeriods", "cpu.stat", "nr_periods", 0 },
        { "CPUThrottledPeriods", "cpu.stat", "nr_throttled", 0 },
        { "CPUThrottledUSec", "cpu.stat", "throttled_usec", 0 },
        {},
};

static const Counter cpu_version1[] = {
        { "CPUPeriods", "cpu.stat", "nr_periods", 0 },
        { "CPUThrottledPeriods", "cpu.stat", "nr_throttled", 0 },
        { "CPUThrottledUSec", "cpu.stat", "throttled_time", NSEC_PER_USEC },
        {},
};

static const Counter memory[] = {
        { "MemoryCurrent", "memory.current", NULL, 0 },
        { "MemoryPeak", "memory.peak", NULL, 0 },
        { "MemoryMax", "memory.max", NULL, 0 },
        { "MemorySwapCurrent", "memory.swap.current", NULL, 0 },
        { "MemoryAnon", "memory.stat", "anon", 0 },
        { "MemoryFile", "memory.stat", "file", 0 },
        { "MemoryInactiveFile", "memory.stat", "inactive_file", 0 },
        { "MemoryShmem", "memory.stat", "shmem", 0 },
        { "MemoryKernel", "memory.stat", "kernel", 0 },
        { "PageFaults", "memory.stat", "pgfault", 0 },
        { "MajorPageFaults", "memory.stat", "pgmajfault", 0 },
        { "MemoryHighEvents", "memory.events", "high", 0 },
        { "MemoryMaxEvents", "memory.events", "max", 0 },
        { "OomEvents", "memory.events", "oom", 0 },
        { "OomKills", "memory.events", "oom_kill", 0 },
        {},
};

static const Counter memory_version1[] = {
        { "MemoryCurrent", "memory.usage_in_bytes", NULL, 0 },
        { "MemoryPeak", "memory.max_usage_in_bytes", NULL, 0 },
        { "MemoryAnon", "memory.stat", "rss", 0 },
        { "MemoryFile", "memory.stat", "cache", 0 },
        { "MemoryInactiveFile", "memory.stat", "inactive_file", 0 },
        { "MemoryShmem", "memory.stat", "shmem", 0 },
        { "PageFaults", "memory.stat", "pgfault", 0 },
        { "MajorPageFaults", "memory.stat", "pgmajfault", 0 },
        { "MemoryMaxEvents", "memory.failcnt", NULL, 0 },
        { "OomKills", "memory.oom_control", "oom_kill", 0 },
        {},
};

static const Counter tasks[] = {
        { "TasksCurrent", "pids.current", NULL, 0 },
        { "TasksPeak", "pids.peak", NULL, 0 },
        { "TasksMax", "pids.max", NULL, 0 },
        {},
};

static const struct {
        const char *name;
        unsigned part;
} parts[] = {
        { "cpu", STATS_CPU },     { "memory", STATS_MEMORY },     { "io", STATS_IO },
        { "tasks", STATS_TASKS }, { "pressure", STATS_PRESSURE },
};

/** stats_part_from_name() - "cpu", "memory", "io", "tasks", "pressure" */
unsigned stats_part_from_name(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                if (streq(parts[i].name, name))
                        return parts[i].part;
        return 0;
}

static int append_u64(sd_bus_message *m, const char *name, uint64_t value) {
        return sd_bus_message_append(m, "{sv}", name, "t", value);
}

/* Rows of one file stand together, so it is read once. */
static int append_counters(sd_bus_message *m, int dir, const Counter *c) {
        _cleanup_free_ char *text = NULL;
        const char *file = "";
        int r = 0;

        for (; r >= 0 && c->name; c++) {
                uint64_t value;

                if (!streq(file, c->file)) {
                        free(text);
                        text = scope_read(dir, c->file);
                        file = c->file;
                }
                if (!text)
                        continue;
                if (c->key ? !scope_find_number(text, c->key, &value) : !scope_parse_number(text, &value))
                        continue;
                r = append_u64(m, c->name, c->divisor ? value / c->divisor : value);
        }
        return r;
}

typedef struct Device {
        uint32_t major, minor;
        uint64_t v[4]; /* rbytes, wbytes, rios, wios */
} Device;

static const char *const device_keys[] = { "rbytes=", "wbytes=", "rios=", "wios=" };

static bool parse_device(const char *line, Device *d) {
        char *end;

        *d = (Device){ .major = (uint32_t)g_ascii_strtoull(line, &end, 10) };
        if (end == line || *end != ':')
                return false;
        d->minor = (uint32_t)g_ascii_strtoull(end + 1, &end, 10);
        for (size_t i = 0; i < ELEMENTSOF(device_keys); i++) {
                const char *p = strstr(end, device_keys[i]);

                if (p)
                        d->v[i] = g_ascii_strtoull(p + strlen(device_keys[i]), NULL, 10);
        }
        return true;
}

static int append_devices(sd_bus_message *m, char **lines, Device *total) {
        Device d;
        int r;

        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", "IODevices");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "a(uutttt)");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(uutttt)");
        for (char **l = lines; r >= 0 && *l; l++) {
                if (!parse_device(*l, &d))
                        continue;
                for (size_t i = 0; i < ELEMENTSOF(d.v); i++)
                        total->v[i] += d.v[i];
                r = sd_bus_message_append(m, "(uutttt)", d.major, d.minor, d.v[0], d.v[1], d.v[2], d.v[3]);
        }
        for (int i = 0; r >= 0 && i < 3; i++)
                r = sd_bus_message_close_container(m);
        return r;
}

/* The kernel's cgroup-v2 documentation, "IO Interface Files". */
static int append_io(sd_bus_message *m, int dir) {
        static const char *const names[] = { "IOReadBytes", "IOWriteBytes", "IOReadOperations", "IOWriteOperations" };
        _cleanup_free_ char *text = scope_read(dir, "io.stat");
        g_auto(GStrv) lines = NULL;
        Device total = {};
        int r;

        if (!text)
                return 0;
        lines = g_strsplit(text, "\n", -1);
        r = append_devices(m, lines, &total);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(names); i++)
                r = append_u64(m, names[i], total.v[i]);
        return r;
}

static double pressure_field(const char *line, const char *key) {
        const char *p = strstr(line, key);

        return p ? g_ascii_strtod(p + strlen(key), NULL) : 0;
}

static int append_pressure_line(sd_bus_message *m, const char *line) {
        const char *total = strstr(line, " total=");
        char kind[5] = "";

        memcpy(kind, line, 4);
        return sd_bus_message_append(m, "{s(dddt)}", kind, pressure_field(line, " avg10="),
                                     pressure_field(line, " avg60="), pressure_field(line, " avg300="),
                                     total ? (uint64_t)g_ascii_strtoull(total + strlen(" total="), NULL, 10) : 0);
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=0", and the same of "full"; a kernel that was booted without says
 * EOPNOTSUPP. */
static int append_pressure(sd_bus_message *m, int dir, const char *file, const char *name) {
        _cleanup_free_ char *text = scope_read(dir, file);
        g_auto(GStrv) lines = NULL;
        int r;

        if (!text)
                return 0;
        lines = g_strsplit(text, "\n", -1);
        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", name);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "a{s(dddt)}");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{s(dddt)}");
        for (char **l = lines; r >= 0 && *l; l++)
                if (g_str_has_prefix(*l, "some ") || g_str_has_prefix(*l, "full "))
                        r = append_pressure_line(m, *l);
        for (int i = 0; r >= 0 && i < 3; i++)
                r = sd_bus_message_close_container(m);
        return r;
}

static int append_version1(sd_bus_message *m, const Task *t, unsigned wanted) {
        _cleanup_close_ int memory_dir = wanted & STATS_MEMORY ? scope_open(t, SCOPE_MEMORY) : -1,
                            cpu_dir = wanted & STATS_CPU ? scope_open(t, SCOPE_CPU) : -1,
                            pids_dir = wanted & STATS_TASKS ? scope_open(t, SCOPE_PIDS) : -1;
        int r;

        r = append_counters(m, cpu_dir, cpu_version1);
        if (r >= 0)
                r = append_counters(m, memory_dir, memory_version1);
        if (r >= 0 && memory_dir >= 0)
                r = append_u64(m, "MemoryMax", t->limits.memory_max);
        return r < 0 ? r : append_counters(m, pids_dir, tasks);
}

static int append_all(sd_bus_message *m, const Task *t, int dir, unsigned wanted) {
        bool v1 = scope_version1(t, SCOPE_MEMORY);
        int r = 0;

        if (wanted & STATS_CPU)
                r = append_counters(m, dir, cpu);
        if (r >= 0 && v1)
                r = append_version1(m, t, wanted);
        if (r >= 0 && (wanted & STATS_MEMORY) && !v1)
                r = append_counters(m, dir, memory);
        if (r >= 0 && (wanted & STATS_IO))
                r = append_io(m, dir);
        if (r >= 0 && (wanted & STATS_TASKS) && !v1)
                r = append_counters(m, dir, tasks);
        if (!(wanted & STATS_PRESSURE))
                return r;
        if (r >= 0)
                r = append_pressure(m, dir, "cpu.pressure", "CPUPressure");
        if (r >= 0)
                r = append_pressure(m, dir, "memory.pressure", "MemoryPressure");
        return r < 0 ? r : append_pressure(m, dir, "io.pressure", "IOPressure");
}

/** stats_append() - reads and appends the parts that are wanted */
int stats_append(sd_bus_message *m, const Task *t, unsigned wanted) {
        _cleanup_close_ int dir = scope_open(t, SCOPE_UNIFIED);
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0)
                r = append_u64(m, "At", now_usec(CLOCK_REALTIME));
        if (r >= 0)
                r = append_all(m, t, dir, wanted);
        return r < 0 ? r : sd_bus_message_close_container(m);
}
