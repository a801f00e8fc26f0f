/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * process.scheduler, process.ioPriority and linux.personality, with linux.mountLabel.
 *
 * Names become the kernel's numbers: sched_setattr(2), ioprio_set(2), personality(2). What the host allows is found out
 * by the process itself.
 */

#include <linux/ioprio.h>
#include <sys/personality.h>

#include "plan/build-internal.h"

static const NamedValue policies[] = {
        { "SCHED_OTHER", 0 }, { "SCHED_FIFO", 1 }, { "SCHED_RR", 2 },       { "SCHED_BATCH", 3 },
        { "SCHED_ISO", 4 },   { "SCHED_IDLE", 5 }, { "SCHED_DEADLINE", 6 }, {},
};

/* linux/sched.h, which goes with no other header */
static const NamedValue flags[] = {
        { "SCHED_FLAG_RESET_ON_FORK", 0x01 },  { "SCHED_FLAG_RECLAIM", 0x02 },
        { "SCHED_FLAG_DL_OVERRUN", 0x04 },     { "SCHED_FLAG_KEEP_POLICY", 0x08 },
        { "SCHED_FLAG_KEEP_PARAMS", 0x10 },    { "SCHED_FLAG_UTIL_CLAMP_MIN", 0x20 },
        { "SCHED_FLAG_UTIL_CLAMP_MAX", 0x40 }, {},
};

static const NamedValue io_classes[] = {
        { "IOPRIO_CLASS_RT", IOPRIO_CLASS_RT },
        { "IOPRIO_CLASS_BE", IOPRIO_CLASS_BE },
        { "IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE },
        {},
};

static const NamedValue domains[] = { { "LINUX", PER_LINUX }, { "LINUX32", PER_LINUX32 }, {} };

static gboolean build_scheduler(Build *b, JsonObject *object, GError **error) {
        struct plan_scheduler *s = &b->plan.process.scheduler;
        g_autoptr(GPtrArray) names = NULL;
        gint64 nice = 0, priority = 0;
        const char *policy = NULL;
        guint64 value;

        if (!field_string(object, "process.scheduler.", "policy", &policy, error) ||
            !field_named_value(policies, "process.scheduler.policy", policy, &value, error) ||
            !field_int(object, "process.scheduler.", "nice", -20, 19, &nice, error) ||
            !field_int(object, "process.scheduler.", "priority", 0, 99, &priority, error) ||
            !field_strings(object, "process.scheduler.", "flags", &names, error) ||
            !field_uint64(object, "process.scheduler.", "runtime", &s->runtime, error) ||
            !field_uint64(object, "process.scheduler.", "deadline", &s->deadline, error) ||
            !field_uint64(object, "process.scheduler.", "period", &s->period, error))
                return FALSE;
        s->policy = (guint32)value;
        s->nice = (gint32)nice;
        s->priority = (guint32)priority;
        for (guint i = 0; names && i < names->len; i++) {
                if (!field_named_value(flags, "process.scheduler.flags", names->pdata[i], &value, error))
                        return FALSE;
                s->flags |= value;
        }
        if ((s->priority != 0) != (s->policy == 1 || s->policy == 2))
                return plan_fail(error, PLAN_ERROR_INVALID,
                                 "process.scheduler.priority: is for SCHED_FIFO and SCHED_RR, which need one");
        if ((s->runtime || s->deadline || s->period) && s->policy != 6)
                return plan_fail(error, PLAN_ERROR_INVALID,
                                 "process.scheduler: runtime, deadline and period are for SCHED_DEADLINE");
        b->plan.flags |= PLAN_SCHEDULER;
        return TRUE;
}

static gboolean build_io_priority(Build *b, JsonObject *object, GError **error) {
        const char *name = NULL;
        gint64 level = 0;
        guint64 class;

        if (!field_string(object, "process.ioPriority.", "class", &name, error) ||
            !field_named_value(io_classes, "process.ioPriority.class", name, &class, error) ||
            !field_int(object, "process.ioPriority.", "priority", 0, 7, &level, error))
                return FALSE;
        b->plan.process.io_priority = (guint32)(class << IOPRIO_CLASS_SHIFT | (guint64)level);
        b->plan.flags |= PLAN_IO_PRIORITY;
        return TRUE;
}

/** build_scheduling() - Sections "Scheduler" and "I/O Priority" of a process. */
gboolean build_scheduling(Build *b, GError **error) {
        JsonObject *scheduler = NULL, *io_priority = NULL;

        if (!field_object(b->process, "process.", "scheduler", &scheduler, error) ||
            !field_object(b->process, "process.", "ioPriority", &io_priority, error))
                return FALSE;
        return (!scheduler || build_scheduler(b, scheduler, error)) &&
               (!io_priority || build_io_priority(b, io_priority, error));
}

/** build_personality() - Sections "Personality" and "Mount Label". */
gboolean build_personality(Build *b, GError **error) {
        g_autoptr(GPtrArray) names = NULL;
        const char *domain = NULL, *label = NULL;
        JsonObject *object = NULL;
        guint64 value = 0;

        if (!field_object(b->linux_, "linux.", "personality", &object, error) ||
            !field_string(b->linux_, "linux.", "mountLabel", &label, error))
                return FALSE;
        if (label && *label)
                b->plan.mount_label = writer_string(&b->writer, label);
        if (!object)
                return TRUE;
        if (!field_string(object, "linux.personality.", "domain", &domain, error) ||
            !field_named_value(domains, "linux.personality.domain", domain, &value, error) ||
            !field_strings(object, "linux.personality.", "flags", &names, error))
                return FALSE;
        if (names && names->len > 0)
                return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED, "linux.personality.flags: \"%s\" is not supported",
                                 (const char *)names->pdata[0]);
        b->plan.personality = (guint32)value;
        b->plan.flags |= PLAN_PERSONALITY;
        return TRUE;
}
