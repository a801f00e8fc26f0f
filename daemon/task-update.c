/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Limits of a running task, changed.
 *
 * What is asked for becomes unit properties, which systemd writes, and files that only the shim may write, below the
 * scope. All of it is checked first; then the shim writes, which is what the kernel may refuse, then systemd, and where
 * that refuses or the kernel has not taken a value, both take back what they have done. Changes of one task follow one
 * another. An Update belongs to its task and ends with one call of done.
 */

#include <errno.h>
#include <json-glib/json-glib.h>
#include <string.h>

#include "daemon/error.h"
#include "daemon/rootfs.h"
#include "daemon/scope-watch.h"
#include "daemon/task.h"
#include "daemon/units.h"
#include "plan/spec.h"
#include "shared/fd.h"
#include "shared/log.h"

#define PAGE_MAX (UINT64_C(1) << 16)

typedef struct Update {
        Task *task;
        PlanUpdate plan;
        PlanUpdate emptied, back; /* what undoes it, one after the other */
        ScopeLimits before;
        bool written; /* by the shim */
        UnitCall *unit;
        int failure;
        sd_bus_error error;
        task_done_t done;
        void *userdata;
} Update;

/* Names are systemd's, so the values pass as they are. */
static const struct {
        const char *name, *controller;
        uint64_t min, max;
        const char *range; /* what is said of a value outside */
} limits[] = {
        { "MemoryMax", "memory", PLAN_MEMORY_MIN, UINT64_MAX, "bytes are too few: the minimum is 4194304 (4 MiB)" },
        { "MemoryHigh", "memory", 0, UINT64_MAX, NULL },
        { "MemoryLow", "memory", 0, UINT64_MAX, NULL },
        { "MemorySwapMax", "memory", 0, UINT64_MAX, NULL },
        { "CPUQuotaPerSecUSec", "cpu", 1000, UINT64_MAX,
          "microseconds a second are too few: the minimum is 1000 (0.001 of a processor)" },
        { "CPUWeight", "cpu", 1, 10000, "is not between 1 and 10000" },
        { "IOWeight", "io", 1, 10000, "is not between 1 and 10000" },
        { "TasksMax", "pids", 1, UINT64_MAX, "is too few: the minimum is 1" },
};

static void update_free(Update *u) {
        unit_call_cancel(u->unit);
        if (u->task->link)
                link_forget(u->task->link, u);
        plan_update_clear(&u->plan);
        plan_update_clear(&u->emptied);
        plan_update_clear(&u->back);
        sd_bus_error_free(&u->error);
        g_free(u);
}

static void begin(Update *u);

static void finish(Update *u) {
        Task *t = u->task;

        (void)g_queue_remove(&t->updates, u);
        u->done(t, u->failure, &u->error, u->userdata);
        update_free(u);
        if (!g_queue_is_empty(&t->updates))
                begin(g_queue_peek_head(&t->updates));
}

/** task_update_drop() - the task goes */
void task_update_drop(Task *t) {
        Update *u;

        while ((u = g_queue_pop_head(&t->updates))) {
                u->done(t, error_not_found(&u->error, "Task \"%s\" was deleted meanwhile.", t->id), &u->error,
                        u->userdata);
                update_free(u);
        }
}

static void on_taken_back(const LinkAnswer *a _unused_, void *userdata) {
        finish(userdata);
}

static void on_reverted(int r, const sd_bus_error *error _unused_, void *userdata) {
        Update *u = userdata;
        struct shim_unified body = { .undo = 1 };

        u->unit = NULL;
        if (r < 0)
                (void)log_warning_errno(r, "Limits of %s could not be put back", u->task->scope);
        scope_watch_refresh(u->task);
        if (!u->written || !u->task->link ||
            link_request(u->task->link, SHIM_UNIFIED, &body, NULL, NULL, 0, on_taken_back, u) < 0)
                finish(u);
}

/* The value of before where it is among the limits we know. */
static bool known_before(const Update *u, const char *name, uint64_t *ret) {
        const struct {
                const char *name;
                uint64_t value;
        } all[] = {
                { "MemoryMax", u->before.memory_max },
                { "MemoryHigh", u->before.memory_high },
                { "MemoryLow", u->before.memory_low },
                { "MemorySwapMax", u->before.memory_swap_max },
                { "CPUQuotaPerSecUSec", u->before.cpu_quota_per_sec_usec },
                { "CPUQuotaPeriodUSec", u->before.cpu_quota_period_usec },
                { "CPUWeight", u->before.cpu_weight },
                { "IOWeight", u->before.io_weight },
                { "TasksMax", u->before.tasks_max },
        };

        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                if (streq(all[i].name, name)) {
                        *ret = all[i].value;
                        return true;
                }
        return false;
}

/* Lists of devices are only added to: they are emptied first. */
static void set_emptied(Update *u, const PlanUnitProperty *p) {
        const GVariantType *type = g_variant_get_type(p->value);

        if (g_variant_type_is_array(type))
                plan_update_set(&u->emptied, p->name, g_variant_new_array(g_variant_type_element(type), NULL, 0), "",
                                "");
}

static GPtrArray *way_back(const Update *u) {
        GPtrArray *all = g_ptr_array_new();

        for (guint i = 0; i < u->emptied.unit_properties->len; i++)
                g_ptr_array_add(all, g_ptr_array_index(u->emptied.unit_properties, i));
        for (guint i = 0; i < u->back.unit_properties->len; i++)
                g_ptr_array_add(all, g_ptr_array_index(u->back.unit_properties, i));
        return all;
}

/* systemd: it has changed something that has to be changed back. */
static void fail(Update *u, int r, const sd_bus_error *error, bool systemd) {
        g_autoptr(GPtrArray) back = NULL;
        Task *t = u->task;

        u->failure = r;
        if (error && sd_bus_error_is_set(error))
                (void)sd_bus_error_copy(&u->error, error);
        else
                error_set_errno(&u->error, r, "The limits of task \"%s\" cannot be changed", t->id);
        back = systemd ? way_back(u) : NULL;
        if (back && units_change_properties(t->ns->manager->units, t->scope, back, on_reverted, u, &u->unit) >= 0)
                return;
        on_reverted(0, NULL, u);
}

static bool taken(uint64_t asked, uint64_t now) {
        return asked == now || (asked != SCOPE_NO_LIMIT && now <= asked && asked - now < PAGE_MAX);
}

/* Where systemd opens a version 1 group for a limit that the task did not have before, the processes below the scope
 * may stay outside, and the limit holds for nobody. */
static bool inside(const Task *t, const char *controller) {
        ScopePlace place = streq(controller, "io") ? SCOPE_IO : SCOPE_CPU;
        g_autofree char *pid = g_strdup_printf("%u", t->process.pid);
        _cleanup_close_ int dir = -1;
        _cleanup_free_ char *text = NULL;
        g_auto(GStrv) lines = NULL;

        if (!scope_version1(t, place) || !(streq(controller, "cpu") || streq(controller, "io")))
                return true;
        dir = scope_open(t, place);
        text = scope_read(dir, "cgroup.procs");
        lines = g_strsplit(text ? text : "", "\n", -1);
        return g_strv_contains((const char *const *)lines, pid);
}

/* No group is needed for no limit. */
static bool lifts(const PlanUnitProperty *p) {
        return g_variant_is_of_type(p->value, G_VARIANT_TYPE_UINT64) &&
               g_variant_get_uint64(p->value) == SCOPE_NO_LIMIT;
}

/* systemd logs what the kernel refuses, and answers all the same. */
static int verify(const Update *u, sd_bus_error *error) {
        const ScopeLimits *now = &u->task->limits;
        ScopeLimits asked = *now;

        for (guint i = 0; i < u->plan.unit_properties->len; i++) {
                const PlanUnitProperty *p = g_ptr_array_index(u->plan.unit_properties, i);

                if (!lifts(p) && !inside(u->task, p->controller))
                        return error_not_supported(error,
                                                   "%s cannot be changed while it runs: the task was started outside "
                                                   "the \"%s\" hierarchy of this host's cgroup version 1; stop it, "
                                                   "change the limit and start it again.",
                                                   p->field, p->controller);
        }

        scope_limits_apply(&asked, u->plan.unit_properties);
        if (!taken(asked.memory_max, now->memory_max))
                return error_precondition(error,
                                          "The kernel does not take MemoryMax=%" PRIu64 ": more than that is in use.",
                                          asked.memory_max);
        if (asked.tasks_max != now->tasks_max)
                return error_precondition(error, "The kernel does not take TasksMax=%" PRIu64 ".", asked.tasks_max);
        return 0;
}

static void on_properties(int r, const sd_bus_error *error, void *userdata) {
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        Update *u = userdata;

        u->unit = NULL;
        if (r < 0) {
                fail(u, r, error, false);
                return;
        }
        scope_watch_refresh(u->task);
        r = verify(u, &failure);
        if (r < 0)
                fail(u, r, &failure, true);
        else
                finish(u);
}

static void on_before(int r, const sd_bus_error *error, void *userdata) {
        Update *u = userdata;
        Task *t = u->task;

        u->unit = NULL;
        for (guint i = 0; r >= 0 && i < u->back.unit_properties->len; i++) {
                const PlanUnitProperty *p = g_ptr_array_index(u->back.unit_properties, i);
                set_emptied(u, p);
        }
        if (r >= 0)
                r = units_change_properties(t->ns->manager->units, t->scope, u->plan.unit_properties, on_properties, u,
                                            &u->unit);
        if (r < 0)
                fail(u, r, error, false);
}

/* What we do not know of a scope is asked for before it changes. */
static void ask_systemd(Update *u) {
        Task *t = u->task;
        bool known = true;
        int r;

        if (u->plan.unit_properties->len == 0) {
                finish(u);
                return;
        }
        (void)plan_build_update(NULL, NULL, &u->emptied, NULL);
        (void)plan_build_update(NULL, NULL, &u->back, NULL);
        for (guint i = 0; i < u->plan.unit_properties->len; i++) {
                const PlanUnitProperty *p = g_ptr_array_index(u->plan.unit_properties, i);
                uint64_t value;

                if (known_before(u, p->name, &value))
                        plan_update_set(&u->back, p->name, g_variant_new_uint64(value), "", "");
                else {
                        known = false;
                        plan_update_set(&u->back, p->name, p->value, "", "");
                }
        }
        if (known) {
                on_before(0, NULL, u);
                return;
        }
        r = units_read_properties(t->ns->manager->units, t->scope, u->back.unit_properties, on_before, u, &u->unit);
        if (r < 0)
                fail(u, r, NULL, false);
}

static void on_written(const LinkAnswer *a, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Update *u = userdata;
        int r;

        if (a->head && a->error >= 0) {
                u->written = true;
                ask_systemd(u);
                return;
        }
        r = !a->head ? error_unavailable(&error, "The supervisor of task \"%s\" has gone.", u->task->id)
                     : error_set(&error,
                                 a->error == -EINVAL || a->error == -ERANGE ? ERROR_INVALID_ARGUMENT
                                                                            : error_kind_from_errno(a->error),
                                 "linux.resources.unified.%s.", *a->text ? a->text : g_strerror(-a->error));
        fail(u, r, &error, false);
}

static int ask_shim(Update *u) {
        g_autoptr(GByteArray) text = g_byte_array_new();
        struct shim_unified body = {};
        _cleanup_close_ int fd = -1;

        for (guint i = 0; i < u->plan.unified->len; i++) {
                const PlanUnified *f = g_ptr_array_index(u->plan.unified, i);

                g_byte_array_append(text, (const guint8 *)f->name, (guint)strlen(f->name) + 1);
                g_byte_array_append(text, (const guint8 *)f->value, (guint)strlen(f->value) + 1);
        }
        fd = memfd_sealed("davit-unified", text->data, text->len);
        if (fd < 0)
                return fd;
        return link_request(u->task->link, SHIM_UNIFIED, &body, NULL, &fd, 1, on_written, u);
}

static void begin(Update *u) {
        int r;

        u->before = u->task->limits; /* with what the updates before this one have done */

        if (u->plan.unified->len == 0) {
                ask_systemd(u);
                return;
        }
        r = u->task->link ? ask_shim(u) : -ECONNRESET;
        if (r < 0)
                fail(u, r, NULL, false);
}

static int set_limit(PlanUpdate *plan, const OptionLimit *l, sd_bus_error *error) {
        for (size_t i = 0; i < ELEMENTSOF(limits); i++) {
                if (!streq(limits[i].name, l->name))
                        continue;
                if (l->value < limits[i].min || l->value > limits[i].max)
                        return error_invalid(error, "%s: %" PRIu64 " %s.", l->name, l->value, limits[i].range);
                plan_update_set(plan, l->name, g_variant_new_uint64(l->value), limits[i].controller, l->name);
        }
        return 0;
}

static void set_file(JsonObject *resources, const char *key, const char *value) {
        if (!json_object_has_member(resources, "unified"))
                json_object_set_object_member(resources, "unified", json_object_new());
        if (json_object_get_object_member(resources, "unified"))
                json_object_set_string_member(json_object_get_object_member(resources, "unified"), key, value);
}

/* Resources with the options that are files of it. */
static int read_resources(const Options *o, JsonNode **ret, sd_bus_error *error) {
        g_autoptr(JsonNode) node = NULL;
        g_autoptr(GError) g = NULL;
        const char *key, *value;
        JsonObject *object;
        GHashTableIter iter;

        if (o->resources)
                node = spec_parse(o->resources, strlen(o->resources), &g);
        else {
                node = json_node_new(JSON_NODE_OBJECT);
                json_node_take_object(node, json_object_new());
        }
        if (!node)
                return error_set_gerror(error, g);
        object = json_node_get_object(node);
        if (json_object_has_member(object, "unified") &&
            !JSON_NODE_HOLDS_OBJECT(json_object_get_member(object, "unified")))
                return error_invalid(error, "linux.resources.unified: is not an object.");
        if (o->unified) {
                g_hash_table_iter_init(&iter, o->unified);
                while (g_hash_table_iter_next(&iter, (void **)&key, (void **)&value))
                        set_file(object, key, value);
        }
        if (o->allowed_cpus)
                set_file(object, "cpuset.cpus", o->allowed_cpus);
        if (o->allowed_nodes)
                set_file(object, "cpuset.mems", o->allowed_nodes);
        *ret = g_steal_pointer(&node);
        return 0;
}

static int check_use(const Task *t, const PlanUpdate *plan, sd_bus_error *error) {
        bool v1 = scope_version1(t, SCOPE_MEMORY);
        ScopeLimits asked = t->limits;
        _cleanup_close_ int dir = -1;
        uint64_t used;

        if (!plan->check_memory)
                return 0;
        scope_limits_apply(&asked, plan->unit_properties);
        dir = scope_open(t, SCOPE_MEMORY);
        if (scope_read_number(dir, v1 ? "memory.usage_in_bytes" : "memory.current", &used) && used > asked.memory_max)
                return error_precondition(
                        error, "linux.resources.memory.limit: %" PRIu64 " bytes are in use, more than %" PRIu64 ".",
                        used, asked.memory_max);
        return 0;
}

static int compile(Task *t, const Options *o, PlanUpdate *ret, sd_bus_error *error) {
        g_autoptr(JsonNode) resources = NULL;
        g_autoptr(GError) g = NULL;
        PlanLimits now;
        int r;

        r = read_resources(o, &resources, error);
        if (r < 0)
                return r;
        scope_watch_refresh(t);
        now = (PlanLimits){ t->limits.memory_max, t->limits.cpu_quota_per_sec_usec, t->limits.cpu_quota_period_usec };
        if (!plan_build_update(resources, &now, ret, &g))
                return error_set_gerror(error, g);
        for (guint i = 0; o->limits && i < o->limits->len && r >= 0; i++)
                r = set_limit(ret, &g_array_index(o->limits, OptionLimit, i), error);
        if (r >= 0)
                r = rootfs_check_limits(t->ns->manager, ret->unit_properties, ret->unified, error);
        return r < 0 ? r : check_use(t, ret, error);
}

/** task_update() - changes what is given, all of it or nothing; done when it holds */
int task_update(Task *t, const Options *o, task_done_t done, void *userdata, sd_bus_error *error) {
        g_auto(PlanUpdate) plan = {};
        Update *u;
        int r;

        if (t->launch)
                return error_precondition(error, "Task \"%s\" is still being created; try again when that is done.",
                                          t->id);
        if (process_ended(&t->process))
                return error_precondition(error, "Task \"%s\" has ended; update its container, for its next start.",
                                          t->id);
        if (t->deferred)
                return error_precondition(error, "Task \"%s\" has not been started; update its container.", t->id);
        r = compile(t, o, &plan, error);
        if (r < 0)
                return r;
        u = g_new0(Update, 1);
        u->task = t;
        u->plan = plan;
        plan = (PlanUpdate){};
        u->done = done;
        u->userdata = userdata;
        g_queue_push_tail(&t->updates, u);
        if (g_queue_peek_head(&t->updates) == u)
                begin(u);
        return 0;
}
