/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Mounts of snapshots that no container runs on.
 *
 * The launcher mounts the chain if it is not, then the layers, and hands out a descriptor of a mount that is attached
 * nowhere; whoever has it attaches it or reads through it. What the kernel leaves undefined, two writers on one upper
 * directory, is refused as far as it is known here. davitd mounts nothing itself.
 */

#include <errno.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/chain.h"
#include "daemon/error.h"
#include "daemon/launcher.h"
#include "daemon/snapshot-dir.h"
#include "daemon/snapshot-work.h"
#include "shared/log.h"
#include "shared/name.h"
#include "shared/shim-protocol.h"

struct SnapshotMount {
        Snapshot *snapshot; /* held by snapshot_job_begin() */
        Launcher *launcher;
        bool read_only;
        ChainForm form;
        ChainRequest *chain;
        LauncherRequest *request;
        snapshot_mount_done_t done;
        void *userdata;
};

static void mount_free(SnapshotMount *w) {
        Manager *m = w->snapshot->ns->manager;

        m->snapshot_mounts = g_slist_remove(m->snapshot_mounts, w);
        snapshot_job_end(w->snapshot);
        g_free(w);
}

static void mount_end(SnapshotMount *w, int fd, const sd_bus_error *error) {
        w->done(fd, error, w->userdata);
        mount_free(w);
}

static void mount_fail(SnapshotMount *w, int r, const char *message) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

        if (r == -ENOTCONN || r == -ECONNRESET)
                (void)error_unavailable(&error, "The launcher cannot be reached; see davit-launcher.service.");
        else
                (void)error_precondition(&error, "Snapshot \"%s\" cannot be mounted: %s.", w->snapshot->key,
                                         message && *message ? message : g_strerror(-r));
        mount_end(w, -1, &error);
}

static void on_mount(int mount, int r, const char *message, void *userdata) {
        SnapshotMount *w = userdata;

        w->request = NULL;
        if (r < 0)
                mount_fail(w, r, message);
        else
                mount_end(w, mount, NULL);
}

/* Layers topmost first: what was written, where it is only read, then what it stands on. */
static int ask_mount(SnapshotMount *w) {
        const Snapshot *s = w->snapshot;
        g_autofree char *upper = snapshot_upper(s), *work = snapshot_work(s),
                        *base = *s->parent ? chain_place(s->rootfs, s->parent) : snapshot_nothing(s);
        const char *lowers[3] = { 0 };
        size_t n = 0;

        if (s->kind == SNAPSHOT_VIEW || !w->read_only)
                lowers[n++] = base;
        else {
                lowers[n++] = upper;
                if (*s->parent)
                        lowers[n++] = base;
        }
        return launcher_mount(w->launcher, lowers, *s->parent ? chain_data(&w->form) : NULL,
                              w->read_only ? NULL : upper, w->read_only ? NULL : work, on_mount, w, &w->request);
}

static void on_chain(int r, const char *message, void *userdata) {
        SnapshotMount *w = userdata;

        w->chain = NULL;
        if (r >= 0) {
                message = NULL;
                r = ask_mount(w);
        }
        if (r < 0)
                mount_fail(w, r, message);
}

static int check(Snapshot *s, sd_bus_error *error) {
        const char *runner = snapshot_runner(s, NULL);

        if (s->kind == SNAPSHOT_COMMITTED)
                return error_precondition(error, "Snapshot \"%s\" is committed; mount a view of it.", s->key);
        if (runner)
                return error_precondition(error, "Container \"%s\" runs on snapshot \"%s\"; stop it first.", runner,
                                          s->key);
        return snapshot_check_idle(s, error);
}

/** snapshot_mount() - see snapshot-work.h */
int snapshot_mount(Snapshot *s, bool read_only, snapshot_mount_done_t done, void *userdata, SnapshotMount **ret,
                   sd_bus_error *error) {
        Manager *m = s->ns->manager;
        SnapshotMount *w;
        int r;

        r = check(s, error);
        if (r < 0)
                return r;
        w = g_new0(SnapshotMount, 1);
        w->snapshot = s;
        w->launcher = m->launcher;
        w->read_only = read_only || s->kind == SNAPSHOT_VIEW;
        w->done = done;
        w->userdata = userdata;
        chain_form_of(m, s->rootfs, &w->form);
        m->snapshot_mounts = g_slist_prepend(m->snapshot_mounts, w);
        snapshot_job_begin(s);
        r = *s->parent ? chain_mount(m, s->parent, s->rootfs, &w->form, on_chain, w, &w->chain) : 1;
        if (r > 0)
                r = ask_mount(w);
        if (r < 0) {
                mount_free(w);
                return error_unavailable(error, "The launcher cannot be reached: %s.", g_strerror(-r));
        }
        *ret = w;
        return 0;
}

/** snapshot_mount_cancel() - nobody wants it any more; done is not called */
void snapshot_mount_cancel(SnapshotMount *w) {
        chain_request_cancel(w->chain);
        launcher_request_cancel(w->request);
        mount_free(w);
}

/** snapshot_mounts_free() - at the end of the manager */
void snapshot_mounts_free(Manager *m) {
        while (m->snapshot_mounts)
                snapshot_mount_cancel(m->snapshot_mounts->data); /* NOLINT: it leaves the list */
}

/* ---- the description ---- */

static int append_chain(const Snapshot *s, const ChainForm *form, const char *target, sd_bus_message *reply) {
        g_autofree char *source = chain_source(form, s->parent);

        if (form->form == LAUNCHER_CHAIN_CHECKOUT)
                return sd_bus_message_append(reply, "(sssas)", "bind", source, target, 2, "rbind", "ro");
        return sd_bus_message_append(reply, "(sssas)", "erofs", source, target, 1, "ro");
}

/* The chain where the launcher has it too, then what is above it. */
static int append_overlay(const Snapshot *s, sd_bus_message *reply) {
        g_autofree char *chain = chain_place(s->rootfs, s->parent), *lower = NULL, *upper = NULL, *work = NULL,
                        *path = snapshot_upper(s), *work_path = snapshot_work(s);
        bool view = s->kind == SNAPSHOT_VIEW;
        const char *const *data;
        ChainForm form;
        int r;

        chain_form_of(s->ns->manager, s->rootfs, &form);
        data = chain_data(&form);
        r = append_chain(s, &form, view && !data ? "" : chain, reply);
        if (r < 0 || (view && !data))
                return r;
        /* The colon of a digest is no separator. */
        lower = g_strconcat("lowerdir=" CHAIN_MOUNTS "sha256\\:", chain + strlen(CHAIN_MOUNTS "sha256:"),
                            data ? "::" : NULL, data ? *data : NULL, NULL);
        upper = g_strconcat("upperdir=", path, NULL);
        work = g_strconcat("workdir=", work_path, NULL);
        if (view)
                return sd_bus_message_append(reply, "(sssas)", "overlay", "overlay", "", 3, "ro", lower, "metacopy=on");
        return sd_bus_message_append(reply, "(sssas)", "overlay", "overlay", "", 5, lower, upper, work, "metacopy=on",
                                     "redirect_dir=on");
}

/** snapshot_append_mounts() - type, source, target ("": where the caller wants it), options of each mount in turn */
int snapshot_append_mounts(const Snapshot *s, sd_bus_message *reply, sd_bus_error *error) {
        g_autofree char *upper = NULL;
        int r;

        if (s->kind == SNAPSHOT_COMMITTED)
                return error_precondition(error, "Snapshot \"%s\" is committed; mount a view of it.", s->key);
        r = sd_bus_message_open_container(reply, 'a', "(sssas)");
        if (r < 0)
                return r;
        upper = snapshot_upper(s);
        if (*s->parent)
                r = append_overlay(s, reply);
        else
                r = sd_bus_message_append(reply, "(sssas)", "bind", upper, "", 2, "rbind",
                                          s->kind == SNAPSHOT_VIEW ? "ro" : "rw");
        return r < 0 ? r : sd_bus_message_close_container(reply);
}
