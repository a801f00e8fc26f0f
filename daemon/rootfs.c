/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A container's root file system, between image, snapshot, plan and launcher.
 *
 * Either an absolute host directory (Rootfs, or root.path of a configuration), or an image: then a snapshot's upper
 * directory over the image's chain, which the launcher mounts read-only before the shim starts. This file knows
 * what plan/ and the launcher must be told; it mounts nothing and reads nothing inside a root file system.
 */

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "daemon/error.h"
#include "daemon/image.h"
#include "daemon/launcher.h"
#include "daemon/limits.h"
#include "daemon/rootfs.h"
#include "daemon/snapshot-dir.h"
#include "shared/name.h"
#include "shared/plan.h"

#define SECCOMP_CACHE_DIR "/var/lib/davit/seccomp"

/* What it is says the start: a look at it may never come back, where its file system's server has gone. */
static int check_path(const char *path, sd_bus_error *error) {
        if (path[0] != '/')
                return error_invalid(error, "Rootfs \"%s\" is not an absolute path.", path);
        if (strlen(path) >= PATH_MAX)
                return error_invalid(error, "Rootfs \"%s\" is longer than any path may be.", path);
        return 0;
}

/* An active snapshot that is there already, whoever made it. */
static int use_snapshot(Container *c, const char *key, sd_bus_error *error) {
        const Snapshot *s = snapshot_find(c->ns, key);
        int r;

        if (!s)
                return error_not_found(error, "There is no snapshot \"%s\" in namespace \"%s\"; prepare it first.", key,
                                       c->ns->name);
        if (s->kind != SNAPSHOT_ACTIVE)
                return error_precondition(error, "Snapshot \"%s\" is %s; a container runs on an active one only.", key,
                                          s->kind == SNAPSHOT_VIEW ? "a view" : "committed");
        r = snapshot_check_idle(s, error); /* a commit without Continue takes it away in the end */
        if (r < 0)
                return r;
        c->snapshot_key = g_strdup(key);
        c->shared_snapshot = true;
        return 0;
}

/** rootfs_resolve() - finds out which root a new container has; *ret_config is the image's configuration, borrowed, or
 * NULL */
int rootfs_resolve(Container *c, const char *image, Options *o, JsonObject **ret_config, sd_bus_error *error) {
        Image *i;
        int r;

        *ret_config = NULL;
        if (*image && o->rootfs)
                return error_invalid(error, "An image and Rootfs exclude each other.");
        if (o->snapshot && o->rootfs)
                return error_invalid(error, "Snapshot and Rootfs exclude each other.");
        if (*image) {
                r = image_lookup_base(c->ns, image, &i, error);
                if (r < 0)
                        return r;
                c->image = g_strdup(i->record->name);
                c->image_digest = g_strdup(i->record->digest);
                c->image_config = g_strdup(i->record->config_digest);
                *ret_config = i->record->config;
        } else if (o->rootfs) {
                r = check_path(o->rootfs, error);
                if (r < 0)
                        return r;
                c->rootfs = g_steal_pointer(&o->rootfs);
        } else if (!o->spec && !o->snapshot)
                return error_invalid(
                        error, "Neither an image nor Rootfs, Snapshot nor Spec is given: there is nothing to run.");
        return o->snapshot ? use_snapshot(c, o->snapshot, error) : 0;
}

/** rootfs_pin() - makes the snapshot of an image's container */
int rootfs_pin(Container *c, sd_bus_error *error) {
        const Snapshot *taken = snapshot_find(c->ns, c->id);
        g_autofree char *key = g_strdup(c->id);
        char random[13];
        Snapshot *s;
        Image *i;
        int r;

        if (!c->image || c->shared_snapshot)
                return 0;
        if (taken && taken->owned && name_random_id(random) >= 0) { /* by a container that was renamed */
                g_free(key);
                key = g_strdup_printf("%s-%s", c->id, random);
        }
        r = image_lookup(c->ns, c->image, &i, error);
        if (r >= 0)
                r = snapshot_prepare(c->ns, key, i, c->auto_remove == AUTO_REMOVE_CONTAINER, &s, error);
        if (r < 0)
                return r;
        c->snapshot_key = g_strdup(s->key);
        return 0;
}

static Snapshot *snapshot_of(const Container *c) {
        Snapshot *s = c->snapshot_key ? snapshot_find(c->ns, c->snapshot_key) : NULL;

        return s && !c->shared_snapshot && !snapshot_other_user(s, c->id) ? s : NULL;
}

/** rootfs_unpin_prepare() - what rootfs_unpin() needs, taken before anything has gone */
int rootfs_unpin_prepare(const Container *c) {
        Snapshot *s = snapshot_of(c);

        return s ? snapshot_remove_prepare(s) : 0;
}

/** rootfs_unpin() - lets the snapshot go, in the background where it is large */
void rootfs_unpin(Container *c) {
        Snapshot *s = snapshot_of(c);

        if (s)
                (void)snapshot_remove(s);
}

/** rootfs_check_free() - whether the container may run on its snapshot now: nobody else does */
int rootfs_check_free(Container *c, sd_bus_error *error) {
        const Snapshot *s = container_uses_overlay(c) ? snapshot_find(c->ns, c->snapshot_key) : NULL;
        const char *other = s ? snapshot_runner(s, c->id) : NULL;

        if (other)
                return error_precondition(
                        error, "Container \"%s\" runs on snapshot \"%s\"; two cannot at the same time.", other, s->key);
        return s && s->busy ? snapshot_check_idle(s, error) : 0;
}

/** rootfs_plan_done() - frees what rootfs_plan() has filled in */
void rootfs_plan_done(RootfsPlan *p) {
        g_free(p->upper);
        g_free(p->work);
        g_free(p->lower);
        g_free(p->chain_id);
        *p = (RootfsPlan){};
}

/** rootfs_plan() - what a start needs to know */
int rootfs_plan(Container *c, RootfsPlan *ret, sd_bus_error *error) {
        Snapshot *s;

        *ret = (RootfsPlan){};
        ret->rootfs.directory = c->rootfs && *c->rootfs ? c->rootfs : NULL;
        if (!container_uses_overlay(c))
                return 0;
        s = snapshot_find(c->ns, c->snapshot_key);
        if (!s)
                return error_precondition(error,
                                          "Snapshot \"%s\" of container \"%s\" is missing; delete the container.",
                                          c->snapshot_key, c->id);
        ret->rootfs.ephemeral = s->ephemeral;
        ret->upper = snapshot_upper(s);
        ret->work = snapshot_work(s);
        if (*s->parent) {
                chain_form_of(c->ns->manager, s->rootfs, &ret->form);
                ret->chain_id = g_strdup(s->parent);
                ret->kind = s->rootfs;
                ret->lower = chain_place(s->rootfs, s->parent);
                ret->rootfs.data = chain_data(&ret->form);
        } else
                ret->lower = snapshot_nothing(s);
        ret->lowers[0] = ret->lower;
        ret->rootfs.lowers = ret->lowers;
        ret->rootfs.upper = ret->upper;
        ret->rootfs.work = ret->work;
        return 0;
}

static int refuse_limit(const Limits *l, const PlanUnitProperty *p, sd_bus_error *error) {
        if (!limits_enforced(l, p->controller))
                return error_not_supported(
                        error, "%s asks for a limit, but this host has no \"%s\" cgroup controller to enforce %s.",
                        p->field, p->controller, p->name);
        return error_not_supported(error,
                                   "%s asks for a limit, but this host has no %s to enforce %s: its \"%s\" cgroup "
                                   "controller is of version 1.",
                                   p->field, streq(p->name, "MemorySwapMax") ? "swap accounting" : "means", p->name,
                                   p->controller);
}

/* Where there can be no such limit, there is none already. What is kept for a container is no limit of it: all the
 * memory there is would be. */
static bool asks_nothing(const PlanUnitProperty *p) {
        return g_variant_is_of_type(p->value, G_VARIANT_TYPE_UINT64) &&
               g_variant_get_uint64(p->value) == G_MAXUINT64 && !streq(p->name, "MemoryLow") &&
               !streq(p->name, "MemoryMin");
}

/** rootfs_check_limits() - refuses, by name, a limit that nothing on this host would enforce */
int rootfs_check_limits(Manager *m, GPtrArray *properties, GPtrArray *unified, sd_bus_error *error) {
        for (guint i = 0; properties && i < properties->len; i++) {
                PlanUnitProperty *p = g_ptr_array_index(properties, i);
                if (!asks_nothing(p) && !limits_property_enforced(m->limits, p->name, p->controller))
                        return refuse_limit(m->limits, p, error);
        }
        for (guint i = 0; unified && i < unified->len; i++) {
                PlanUnified *u = g_ptr_array_index(unified, i);
                if (!limits_unified(m->limits, u->controller))
                        return error_not_supported(error,
                                                   "linux.resources.unified.%s asks for a limit, but this host has no "
                                                   "\"%s\" cgroup controller of version 2.",
                                                   u->name, u->controller);
        }
        return 0;
}

/** rootfs_build() - compiles spec for this container's root; *ret is the caller's */
int rootfs_build(Container *c, JsonNode *spec, unsigned n_listen_fds, PlanResult *ret, sd_bus_error *error) {
        g_autoptr(GError) g = NULL;
        RootfsPlan plan = {};
        RuntimePlan runtime = {};
        PlanContext context = {
                .namespace_ = c->ns->name,
                .id = c->id,
                .log_identifier = c->id,
                .stop_signal = c->stop_signal,
                .stop_timeout_usec = c->stop_timeout_usec,
                .n_listen_fds = n_listen_fds,
                .cache_dir = SECCOMP_CACHE_DIR,
                .flags = streq(c->ns->manager->config.seccomp_report, "yes") ? PLAN_SECCOMP_REPORT : 0,
        };
        int r;

        r = rootfs_plan(c, &plan, error);
        if (r < 0)
                return r;
        if (plan.rootfs.directory || plan.rootfs.lowers)
                context.rootfs = &plan.rootfs;
        if (!runtime_is_own(c->runtime.name)) {
                runtime_plan(&c->runtime, c->ns->name, &runtime);
                context.runtime = &runtime.plan;
                context.flags = runtime.flags;
        }
        if (!plan_build(spec, &context, ret, &g))
                r = error_set_gerror(error, g);
        else
                r = rootfs_check_limits(c->ns->manager, ret->unit_properties, ret->unified, error);
        rootfs_plan_done(&plan);
        runtime_plan_done(&runtime);
        return r;
}

/** rootfs_check_plan() - compiles the definition and throws the result away, so that mistakes show when they are made
 */
int rootfs_check_plan(Container *c, sd_bus_error *error) {
        g_auto(PlanResult) result = PLAN_RESULT_NULL;
        g_autoptr(JsonNode) spec = NULL;
        int r;

        r = container_load_spec(c, &spec, error);
        if (r < 0)
                return r;
        return rootfs_build(c, spec, 0, &result, error);
}
