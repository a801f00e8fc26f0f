/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Operations on the content of snapshots: differences written out, layers applied, sizes.
 *
 * A difference and a size are read from the upper directory by a worker of the snapshot socket; a layer is unpacked by
 * a worker that has nothing but the mounted snapshot as a descriptor, since strangers wrote it. Nothing is entered or
 * unpacked here.
 */

#include <errno.h>
#include <fcntl.h>

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/record.h"
#include "daemon/snapshot-dir.h"
#include "daemon/snapshot-work.h"
#include "daemon/store-client.h"
#include "daemon/store-job.h"
#include "shared/image-name.h"
#include "shared/macros.h"
#include "shared/name.h"

/* ---- differences ---- */

static void job_end(void *s) {
        snapshot_job_end(s);
}

static int accept_diff(JsonObject *o, void *userdata _unused_, GVariant **ret, sd_bus_error *error) {
        const char *digest = "", *diff_id = "", *media_type = "";
        uint64_t size = 0;
        GVariantDict dict;

        if (record_get_string(o, "digest", &digest) == -EINVAL ||
            record_get_string(o, "diff_id", &diff_id) == -EINVAL ||
            record_get_string(o, "media_type", &media_type) == -EINVAL || record_get_u64(o, "size", &size) < 0)
                return error_internal(error, "The store worker's account of the difference cannot be used.");
        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, "Digest", "s", digest);
        g_variant_dict_insert(&dict, "DiffId", "s", diff_id);
        g_variant_dict_insert(&dict, "Size", "t", size);
        g_variant_dict_insert(&dict, "MediaType", "s", media_type);
        *ret = g_variant_ref_sink(g_variant_dict_end(&dict));
        return 0;
}

static int check_diff(const SnapshotDiffOptions *o, sd_bus_error *error) {
        static const char *const formats[] = { "tar", "list", NULL }, *const compressions[] = { "none", "gzip", "zstd",
                                                                                                NULL };
        int flags = fcntl(o->output, F_GETFL);

        if (o->format && !g_strv_contains(formats, o->format))
                return error_invalid(error, "Format is \"%s\"; it takes \"tar\" or \"list\".", o->format);
        if (o->compression && !g_strv_contains(compressions, o->compression))
                return error_invalid(error, "Compression is \"%s\"; it takes \"none\", \"gzip\" or \"zstd\".",
                                     o->compression);
        if (flags < 0 || (flags & O_PATH) || (flags & O_ACCMODE) == O_RDONLY)
                return error_invalid(error, "The output's descriptor is not open for writing.");
        return 0;
}

static int diff_from(Snapshot *s, const char *from, char **ret, sd_bus_error *error) {
        _cleanup_(snapshot_base_done) SnapshotBase base = SNAPSHOT_BASE_NULL;
        int r;

        if (!*from) {
                *ret = g_strdup(s->parent);
                return 0;
        }
        r = snapshot_base_resolve(s->ns, from, &base, error);
        if (r < 0)
                return r;
        *ret = g_strdup(base.chain_id ?: "");
        return 0;
}

/** snapshot_diff_begin() - writes what is other in @s than in options->from; ret: job "diff" */
int snapshot_diff_begin(Snapshot *s, const SnapshotDiffOptions *o, Job **ret, sd_bus_error *error) {
        g_autofree char *subject = g_strdup_printf("%s/%s", s->ns->name, s->key), *from = NULL;
        g_autoptr(JsonObject) request = json_object_new();
        int fds[] = { o->output, -1 }, r;
        StoreWork work = { .ns = s->ns->name,
                           .type = "diff",
                           .subject = subject,
                           .request = request,
                           .fds = fds,
                           .n_fds = 1,
                           .socket = DAVIT_STORE_SNAPSHOT_SOCKET,
                           .accept = accept_diff,
                           .destroy = job_end,
                           .userdata = s };

        r = check_diff(o, error);
        if (r >= 0)
                r = diff_from(s, o->from, &from, error);
        if (r >= 0 && s->kind != SNAPSHOT_COMMITTED) {
                r = fds[1] = snapshot_dir_open(s);
                if (r < 0)
                        return error_set_errno(error, r, "The directory of snapshot \"%s\" cannot be opened", s->key);
                work.n_fds = 2;
        }
        if (r < 0)
                return r;
        json_object_set_string_member(request, "operation", "diff");
        json_object_set_string_member(request, "from", from);
        json_object_set_string_member(request, "to", s->kind == SNAPSHOT_COMMITTED ? s->chain_id : s->parent);
        json_object_set_string_member(request, "format", o->format ?: "tar");
        json_object_set_string_member(request, "compression", o->compression ?: "none");
        snapshot_job_begin(s);
        r = store_job_begin(s->ns->manager->store_reads, &work, ret, error);
        (void)safe_close(fds[1]);
        return r;
}

/* ---- layers applied ---- */

typedef struct Apply {
        Snapshot *snapshot; /* held */
        Job *job;
        char *digest;
        int layer;
        SnapshotMount *mount;
        StoreOp *op;
        bool cancelled;
} Apply;

static void apply_free(Apply *a) {
        a->snapshot->busy = NULL;
        snapshot_job_end(a->snapshot);
        (void)safe_close(a->layer);
        g_free(a->digest);
        g_free(a);
}

static void apply_fail(Apply *a, const sd_bus_error *error) {
        if (a->cancelled)
                (void)job_finish_cancelled(a->job);
        else
                (void)job_finish_error(a->job, error->name, error->message);
        apply_free(a);
}

static void on_applied(StoreOp *op _unused_, JsonObject *o, const sd_bus_error *error, void *userdata) {
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        const char *diff_id;
        Apply *a = userdata;
        GVariantDict dict;
        uint64_t size;

        a->op = NULL; /* frees itself */
        if (!error && (record_get_string(o, "diff_id", &diff_id) < 0 || !digest_valid(diff_id) ||
                       record_get_u64(o, "size", &size) < 0)) {
                (void)error_internal(&failure, "The store worker's account of the layer cannot be used.");
                error = &failure;
        }
        if (error) {
                apply_fail(a, error);
                return;
        }
        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, "DiffId", "s", diff_id);
        g_variant_dict_insert(&dict, "Size", "t", size);
        (void)job_finish_ok(a->job, g_variant_dict_end(&dict));
        apply_free(a);
}

static void on_apply_progress(StoreOp *op _unused_, const struct store_progress *p, void *userdata) {
        const JobProgress progress = { p->bytes_done, p->bytes_total, p->layers_done, p->layers_total };

        (void)job_progress(((Apply *)userdata)->job, &progress);
}

static void on_apply_mounted(int fd, const sd_bus_error *error, void *userdata) {
        static const StoreHandlers handlers = { .progress = on_apply_progress, .done = on_applied };
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        g_autoptr(JsonObject) request = json_object_new();
        _cleanup_close_ int root = fd;
        Apply *a = userdata;
        int fds[] = { a->layer, root };

        a->mount = NULL;
        if (!error) {
                json_object_set_string_member(request, "operation", "apply");
                if (a->digest)
                        json_object_set_string_member(request, "digest", a->digest);
                if (store_op_start(a->snapshot->ns->manager->event, request, fds, 2, &handlers, a, &a->op, &failure) <
                    0)
                        error = &failure;
        }
        if (error)
                apply_fail(a, error);
        else
                a->layer = safe_close(a->layer); /* the worker's now */
}

static void on_apply_cancel(Job *job, void *userdata) {
        Apply *a = userdata;

        a->cancelled = true;
        if (a->op) {
                store_op_cancel(a->op);
                return;
        }
        snapshot_mount_cancel(a->mount);
        (void)job_finish_cancelled(job);
        apply_free(a);
}

/** snapshot_apply_begin() - unpacks a layer into an active snapshot; ret: job "apply" */
int snapshot_apply_begin(Snapshot *s, int layer, const char *digest, Job **ret, sd_bus_error *error) {
        g_autofree char *subject = g_strdup_printf("%s/%s", s->ns->name, s->key);
        Apply *a;
        int r;

        if (s->kind != SNAPSHOT_ACTIVE)
                return error_precondition(error, "Snapshot \"%s\" is %s; a layer can only be applied to an active one.",
                                          s->key, s->kind == SNAPSHOT_VIEW ? "a view" : "committed");
        if (digest && !digest_valid(digest))
                return error_invalid(error, "Digest \"%s\" is not \"sha256:\" with 64 hexadecimal digits.", digest);
        if (s->n_jobs > 0)
                return error_precondition(error, "Snapshot \"%s\" is just being read; try again when that is done.",
                                          s->key);
        a = g_new0(Apply, 1);
        *a = (Apply){ .snapshot = s, .digest = g_strdup(digest), .layer = fcntl(layer, F_DUPFD_CLOEXEC, 3) };
        snapshot_job_begin(s);
        r = a->layer < 0 ? error_set_errno(error, -errno, "Cannot keep the layer's descriptor")
                         : snapshot_mount(s, false, on_apply_mounted, a, &a->mount, error);
        if (r < 0) {
                apply_free(a);
                return r;
        }
        s->busy = "written to";
        (void)job_new(s->ns->manager, s->ns->name, "apply", subject, on_apply_cancel, a, &a->job);
        *ret = a->job;
        return 0;
}

/* ---- sizes ---- */

typedef struct Usage {
        Snapshot *snapshot; /* held */
        sd_bus_message *call;
} Usage;

static int usage_of(JsonObject *o, uint64_t *bytes, uint64_t *inodes) {
        JsonNode *node = json_object_get_member(o, "usage");
        JsonArray *array = node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
        int r;

        if (!array || json_array_get_length(array) != 1)
                return -EBADMSG;
        node = json_array_get_element(array, 0);
        if (!JSON_NODE_HOLDS_OBJECT(node))
                return -EBADMSG;
        r = record_get_u64(json_node_get_object(node), "bytes", bytes);
        return r < 0 ? r : record_get_u64(json_node_get_object(node), "inodes", inodes);
}

static void on_usage(StoreOp *op _unused_, JsonObject *o, const sd_bus_error *error, void *userdata) {
        g_autofree Usage *u = userdata;
        uint64_t bytes, inodes;
        int r = 0;

        if (!error)
                r = usage_of(o, &bytes, &inodes);
        if (error || r < 0)
                bus_reply_error(&u->call, r, error);
        else {
                (void)sd_bus_reply_method_return(u->call, "tt", bytes, inodes);
                sd_bus_message_unref(u->call);
        }
        snapshot_job_end(u->snapshot);
}

/** snapshot_usage() - answers with bytes and inodes that are the snapshot's own; 1 as a method's handler does */
int snapshot_usage(Snapshot *s, sd_bus_message *call, sd_bus_error *error) {
        static const StoreHandlers handlers = { .done = on_usage };
        g_autoptr(JsonObject) request = json_object_new();
        _cleanup_close_ int upper = -1;
        StoreOp *op;
        Usage *u;
        int r;

        if (s->kind == SNAPSHOT_COMMITTED)
                return sd_bus_reply_method_return(call, "tt", s->size, s->inodes);
        upper = snapshot_dir_open(s);
        if (upper < 0)
                return error_set_errno(error, upper, "The directory of snapshot \"%s\" cannot be opened", s->key);
        json_object_set_string_member(request, "operation", "usage");
        u = g_new(Usage, 1);
        *u = (Usage){ s, sd_bus_message_ref(call) };
        r = store_op_start_at(s->ns->manager->event, DAVIT_STORE_SNAPSHOT_SOCKET, request, &upper, 1, &handlers, u, &op,
                              error);
        if (r < 0) {
                sd_bus_message_unref(u->call);
                g_free(u);
                return r;
        }
        snapshot_job_begin(s);
        return 1;
}
