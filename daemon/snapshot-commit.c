/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Snapshot.Commit: an active snapshot becomes a committed one under another key, or goes on beside it.
 *
 * The record of the committed one is written first, then the active one goes; whoever is cut off in between finds both.
 * With Continue the active one stays as it is, on its parent and with what was written, so a container may run on it
 * all the while; it is held still only while it is read.
 */

#include "daemon/collect.h"
#include "daemon/commit.h"
#include "daemon/error.h"
#include "daemon/lease.h"

typedef struct Work {
        Snapshot *snapshot; /* held by the commit */
        Commit *commit;
        Job *job;
        char *key, *lease;
        bool continued;
        GHashTable *labels;
} Work;

static void work_free(Work *w) {
        g_free(w->key);
        g_free(w->lease);
        if (w->labels)
                g_hash_table_unref(w->labels);
        g_free(w);
}

static GVariant *result_of(const Snapshot *s) {
        GVariantDict dict;

        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, "Snapshot", "o", s->path);
        g_variant_dict_insert(&dict, "ChainId", "s", s->chain_id);
        g_variant_dict_insert(&dict, "DiffId", "s", s->diff_id);
        g_variant_dict_insert(&dict, "Size", "t", s->size);
        return g_variant_dict_end(&dict);
}

static void accept_commit(Work *w, const SnapshotCommit *commit) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Manager *m = w->snapshot->ns->manager;
        Snapshot *s;

        if (snapshot_put_committed(w->snapshot, w->key, commit, w->labels, &s, &error) < 0) {
                collect_schedule(m);
                (void)job_finish_error(w->job, error.name, error.message);
                return;
        }
        lease_add_late(m, s->ns->name, w->lease, "snapshot", s->key, "chain", s->chain_id, NULL);
        if (!w->continued)
                (void)snapshot_remove(w->snapshot); /* when the commit lets go of it */
        (void)job_finish_ok(w->job, result_of(s));
}

static void on_done(const SnapshotCommit *commit, const sd_bus_error *error, bool cancelled, void *userdata) {
        Work *w = userdata;

        if (commit)
                accept_commit(w, commit);
        else if (cancelled)
                (void)job_finish_cancelled(w->job);
        else
                (void)job_finish_error(w->job, error->name, error->message);
        work_free(w);
}

static void on_cancel(Job *job _unused_, void *userdata) {
        commit_cancel(((Work *)userdata)->commit);
}

static int check(Snapshot *s, const SnapshotCommitOptions *o, Container **ret_freeze, sd_bus_error *error) {
        const char *user = snapshot_user(s), *runner = snapshot_runner(s, NULL);
        Lease *lease;
        int r;

        if (s->kind != SNAPSHOT_ACTIVE)
                return error_precondition(error, "Snapshot \"%s\" is %s; only an active one can be committed.", s->key,
                                          s->kind == SNAPSHOT_VIEW ? "a view" : "committed already");
        if (user && !o->continued)
                return error_precondition(
                        error, "Snapshot \"%s\" is used by container \"%s\"; delete that first, or continue it.",
                        s->key, user);
        r = snapshot_check_new(s->ns, o->key, error);
        if (r >= 0 && o->lease)
                r = lease_find(s->ns, o->lease, &lease, error);
        *ret_freeze = runner ? g_hash_table_lookup(s->ns->containers, runner) : NULL;
        return r;
}

/** snapshot_commit_begin() - see commit.h */
int snapshot_commit_begin(Snapshot *s, const SnapshotCommitOptions *o, Job **ret, sd_bus_error *error) {
        g_autofree char *subject = g_strdup_printf("%s/%s", s->ns->name, s->key);
        Container *freeze = NULL;
        Work *w;
        int r;

        r = check(s, o, &freeze, error);
        if (r < 0)
                return r;
        w = g_new0(Work, 1);
        *w = (Work){ .snapshot = s, .continued = o->continued };
        w->key = g_strdup(o->key);
        w->lease = g_strdup(o->lease);
        w->labels = o->labels ? g_hash_table_ref(o->labels) : NULL;
        r = commit_begin(s, freeze, on_done, w, &w->commit, error);
        if (r < 0) {
                work_free(w);
                return r;
        }
        (void)job_new(s->ns->manager, s->ns->name, "commit", subject, on_cancel, w, &w->job);
        commit_show(w->commit, w->job);
        *ret = w->job;
        return 0;
}
