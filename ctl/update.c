/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl update: changes limits of containers. A task that runs is changed at once, and the container's definition
 * for the next start; with --runtime the task alone, as systemctl set-property has it. The task goes first: what the
 * host or the kernel refuses is not written down either. Limits are those of run and create, and more; every value is
 * for the manager to judge.
 */

#include "ctl/each.h"

#include <inttypes.h>
#include <stdio.h>

#include "ctl/resource.h"
#include "ctl/text.h"
#include "ctl/verbs.h"

enum {
        OPTION_CPUS = OPTION_FREE,
        OPTION_CPU_WEIGHT,
        OPTION_CPUSET,
        OPTION_PIDS,
        OPTION_MEMORY_HIGH,
        OPTION_MEMORY_LOW,
        OPTION_MEMORY_SWAP,
        OPTION_IO_WEIGHT,
        OPTION_UNIFIED,
        OPTION_RUNTIME,
};

const Option update_options[] = {
        { 'm', "memory", N_("SIZE"), N_("Memory limit, with unit b, k, m or g; \"max\": none") },
        { OPTION_MEMORY_HIGH, "memory-high", N_("SIZE"), N_("Memory above which the container is slowed down") },
        { OPTION_MEMORY_LOW, "memory-low", N_("SIZE"), N_("Memory that is left to the container") },
        { OPTION_MEMORY_SWAP, "memory-swap", N_("SIZE"), N_("Limit of memory and swap together; with --memory") },
        { OPTION_CPUS, "cpus", N_("N"), N_("Processor limit, such as 1.5; \"max\": none") },
        { OPTION_CPU_WEIGHT, "cpu-weight", N_("N"), N_("Share of the processors, 1 to 10000") },
        { OPTION_CPUSET, "cpuset-cpus", N_("LIST"), N_("Processors it may use, such as 0-3,7") },
        { OPTION_IO_WEIGHT, "io-weight", N_("N"), N_("Share of the disks, 1 to 10000") },
        { OPTION_PIDS, "pids-limit", N_("N"), N_("Limit of processes and threads; \"max\": none") },
        { OPTION_UNIFIED, "cgroup-conf", N_("FILE=VALUE"), N_("A file of cgroup version 2") },
        { OPTION_RUNTIME, "runtime", NULL, N_("Only until the container ends") },
        {},
};

/* What a limit is called by the manager, and in linux.resources.unified of a configuration. */
static const struct {
        int key;
        const char *name, *file;
} limits[] = {
        { 'm', "MemoryMax", "memory.max" },
        { OPTION_MEMORY_HIGH, "MemoryHigh", "memory.high" },
        { OPTION_MEMORY_LOW, "MemoryLow", "memory.low" },
        { OPTION_MEMORY_SWAP, "MemorySwapMax", "memory.swap.max" },
        { OPTION_CPUS, "CPUQuotaPerSecUSec", "cpu.max" },
        { OPTION_CPU_WEIGHT, "CPUWeight", "cpu.weight" },
        { OPTION_IO_WEIGHT, "IOWeight", "io.weight" },
        { OPTION_PIDS, "TasksMax", "pids.max" },
};

typedef struct Update {
        Ctl *ctl;
        uint64_t values[ELEMENTSOF(limits)];
        bool given[ELEMENTSOF(limits)], runtime;
        const char *cpuset;
        Strv files; /* FILE=VALUE */
} Update;

static int parse_limit(Update *u, size_t i, const char *arg) {
        uint64_t *value = &u->values[i];

        u->given[i] = true;
        *value = NO_LIMIT;
        if (streq(arg, "max"))
                return 0;
        switch (limits[i].key) {
        case OPTION_CPUS:
                if (parse_cpus(arg, value))
                        return 0;
                return ctl_error(u->ctl, _("'%s' is no number of processors; give one such as 2 or 0.5"), arg);
        case OPTION_PIDS:
                return resource_pids(u->ctl, arg, value);
        case OPTION_CPU_WEIGHT:
        case OPTION_IO_WEIGHT:
                if (parse_unsigned(arg, UINT32_MAX, value))
                        return 0;
                return ctl_error(u->ctl, _("'%s' is no number"), arg);
        default:
                return resource_size(u->ctl, arg, value);
        }
}

static int on_option(int key, const char *arg, void *userdata) {
        Update *u = userdata;

        for (size_t i = 0; i < ELEMENTSOF(limits); i++)
                if (limits[i].key == key)
                        return parse_limit(u, i, arg);
        switch (key) {
        case OPTION_RUNTIME:
                u->runtime = true;
                return 0;
        case OPTION_CPUSET:
                u->cpuset = arg;
                return 0;
        default:
                if (*arg == '=' || !strchr(arg, '='))
                        return ctl_error(u->ctl, _("'%s' is not of the form FILE=VALUE"), arg);
                return strv_add(&u->files, arg) ? 0 : ctl_oom(u->ctl);
        }
}

static size_t limit_of(int key) {
        size_t i = 0;

        while (limits[i].key != key)
                i++;
        return i;
}

/* The manager takes swap alone. */
static int split_swap(Update *u) {
        size_t memory = limit_of('m'), swap = limit_of(OPTION_MEMORY_SWAP);

        return u->given[swap] ? resource_swap(u->ctl, u->given[memory], u->values[memory], &u->values[swap]) : 0;
}

static int append_task(Message *m, void *userdata) {
        const Update *u = userdata;
        int r;

        r = message_open(m, 'a', "{sv}");
        for (size_t i = 0; i < ELEMENTSOF(limits) && r >= 0; i++)
                if (u->given[i])
                        r = option_u64(m, limits[i].name, u->values[i]);
        if (r >= 0 && u->cpuset)
                r = option_string(m, "AllowedCPUs", u->cpuset);
        if (r >= 0 && u->files.n > 0)
                r = option_labels(m, "Unified", &u->files);
        return r < 0 ? r : message_close(m);
}

/* Quotes what may stand in a JSON string; control characters are no part of any value. */
static bool quote(FILE *f, const char *s, size_t n) {
        (void)fputc('"', f);
        for (size_t i = 0; i < n; i++) {
                if ((unsigned char)s[i] < 0x20)
                        return false;
                if (s[i] == '"' || s[i] == '\\')
                        (void)fputc('\\', f);
                (void)fputc(s[i], f);
        }
        (void)fputc('"', f);
        return true;
}

static void put_limit(FILE *f, size_t i, uint64_t value) {
        (void)fprintf(f, "\"%s\":\"", limits[i].file);
        if (value == NO_LIMIT)
                (void)fputs("max", f);
        else if (limits[i].key == OPTION_CPUS) /* a tenth of a second is the period */
                (void)fprintf(f, "%" PRIu64 " 100000", value / 10);
        else
                (void)fprintf(f, "%" PRIu64, value);
        (void)fputc('"', f);
}

/* The definition's change as a merge patch, which the files of version 2 outweigh all else in. */
static char *make_patch(const Update *u) {
        const char *comma = "";
        size_t size = 0;
        char *text = NULL;
        bool ok = true;
        FILE *f;

        f = open_memstream(&text, &size);
        if (!f)
                return NULL;
        (void)fputs("{\"linux\":{\"resources\":{\"unified\":{", f);
        for (size_t i = 0; i < ELEMENTSOF(limits); i++)
                if (u->given[i]) {
                        (void)fputs(comma, f);
                        put_limit(f, i, u->values[i]);
                        comma = ",";
                }
        if (u->cpuset) {
                (void)fprintf(f, "%s\"cpuset.cpus\":", comma);
                ok = quote(f, u->cpuset, strlen(u->cpuset));
                comma = ",";
        }
        for (size_t i = 0; i < u->files.n && ok; i++) {
                const char *equals = strchr(u->files.v[i], '=');

                (void)fputs(comma, f);
                ok = quote(f, u->files.v[i], (size_t)(equals - u->files.v[i]));
                (void)fputc(':', f);
                ok = ok && quote(f, equals + 1, strlen(equals + 1));
                comma = ",";
        }
        (void)fputs("}}}}", f);
        if (fclose(f) != 0 || !ok) {
                free(text);
                return NULL;
        }
        return text;
}

static int append_container(Message *m, void *userdata) {
        _cleanup_free_ char *patch = make_patch(userdata);
        int r;

        if (!patch)
                return -EINVAL;
        r = message_open(m, 'a', "{sv}");
        if (r >= 0)
                r = option_string(m, "SpecPatch", patch);
        return r < 0 ? r : message_close(m);
}

/* The id is printed when all is done. */
static int task_answered(_unused_ Ctl *ctl, _unused_ const char *id, _unused_ Call *call, _unused_ void *userdata) {
        return 0;
}

static int update_one(Ctl *ctl, const char *given, void *userdata) {
        _cleanup_free_ char *id = container_resolve(ctl, given);
        const Update *u = userdata;
        char *argv[] = { id, NULL };
        Each task = { .kind = "task",
                      .interface = BUS_TASK,
                      .member = "Update",
                      .append = append_task,
                      .answered = task_answered,
                      .absent_ok = true,
                      .userdata = userdata };
        Each container = { .kind = "container",
                           .interface = BUS_CONTAINER,
                           .member = "Update",
                           .append = append_container,
                           .userdata = userdata };
        int r = 0;

        if (!id)
                return ctl->failure;
        if (task_lives(ctl, id))
                r = each_call(ctl, &task, 1, argv);
        else if (u->runtime)
                r = ctl_error(ctl, _("container '%s' is not running"), id);
        if (r != 0)
                return r;
        if (u->runtime) {
                printf("%s\n", id);
                return 0;
        }
        return each_call(ctl, &container, 1, argv);
}

/** verb_update() - see above. */
int verb_update(Ctl *ctl, int argc, char **argv) {
        _cleanup_strv_ Strv names = {};
        Update u = { .ctl = ctl };
        int r, status = 0;
        bool any = false;

        r = options_parse(ctl, "update", &argc, &argv, on_option, &u);
        if (r == 0)
                r = split_swap(&u);
        for (size_t i = 0; i < ELEMENTSOF(limits); i++)
                any = any || u.given[i];
        if (r == 0 && !any && !u.cpuset && u.files.n == 0)
                r = ctl_error(ctl, "%s", _("say which limit is to change; see 'davitctl help update'"));
        if (r == 0)
                status = each_names(ctl, false, argc, argv, &names);
        if (r == 0)
                r = object_each(ctl, (int)names.n, names.v, update_one, &u);
        strv_clear(&u.files);
        return r == 0 ? status : r;
}
