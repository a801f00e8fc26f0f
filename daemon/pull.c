/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Pulls: a registry worker writes an image to a pipe, a store worker imports what it reads there.
 *
 * A name that is here already is first only asked for. Where it means the same the pull has ended; nothing is fetched
 * twice, and of what is new the layers that are here stay where they are (pull-have.c). The manager keeps both ends of
 * the pipe: so the store sees the end of its input only when the registry's side has said that all is well, and neither
 * side ever fails because the other has; whose error ends the job is always known. The record is written when the store
 * has published and said that it has what the registry promised. A pull that ends in any other way, or with the
 * manager, leaves nothing.
 *
 * A few run at a time, beside other work of the store, since it is strangers who say how long one takes.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "daemon/chain.h"
#include "daemon/collect.h"
#include "daemon/error.h"
#include "daemon/lease.h"
#include "daemon/pull.h"
#include "daemon/store-client.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "shared/name.h"
#include "shared/registry-protocol.h"

#define PULLS_MAX 4U
#define PIPE_SIZE (1 << 20)

typedef struct Pull {
        Pulls *pulls;
        Job *job;
        char *ns;
        char *name, *platform, *lease, *rootfs; /* what the options lead to */
        PullOptions options;
        int input, output; /* of the pipe; the output's is closed once all is written */
        StoreOp *fetch, *import;
        PullHave *have;
        PullAnswer answer; /* digest NULL: none yet */
        sd_bus_error failure;
        JobProgress progress;
        bool cancelled;
        bool whole; /* nothing is left out: the store did not have what the records say */
} Pull;

struct Pulls {
        Manager *m;
        const char *socket;
        GQueue waiting;
        GQueue running;
        bool pumping;
};

static const StoreWorker registry_worker = { "registry worker", "davit-registry.socket", "davit-registry@*" };

static void pump(Pulls *pulls);
static void fetch(Pull *p);

static void pull_close(Pull *p) {
        p->fetch = store_op_free(p->fetch);
        p->import = store_op_free(p->import);
        p->input = safe_close(p->input);
        p->output = safe_close(p->output);
        p->have = pull_have_free(p->have);
        pull_answer_done(&p->answer);
}

static void pull_free(void *data) {
        Pull *p = data;

        pull_close(p);
        (void)safe_close(p->options.authorization);
        sd_bus_error_free(&p->failure);
        g_free(p->ns);
        g_free(p->name);
        g_free(p->platform);
        g_free(p->lease);
        g_free(p->rootfs);
        g_free(p);
}

/** pulls_new() - none yet */
int pulls_new(Manager *m, Pulls **ret) {
        Pulls *pulls = g_new0(Pulls, 1);

        pulls->m = m;
        pulls->socket = DAVIT_REGISTRY_SOCKET;
        g_queue_init(&pulls->waiting);
        g_queue_init(&pulls->running);
        *ret = pulls;
        return 0;
}

/** pulls_free() - workers see the end of their connections; NULL is fine */
Pulls *pulls_free(Pulls *pulls) {
        if (!pulls)
                return NULL;
        g_queue_clear_full(&pulls->waiting, pull_free);
        g_queue_clear_full(&pulls->running, pull_free);
        g_free(pulls);
        return NULL;
}

/** pulls_set_socket() - another place than DAVIT_REGISTRY_SOCKET, for tests that play the worker; kept by reference */
void pulls_set_socket(Pulls *pulls, const char *path) {
        pulls->socket = path;
}

/* The job has its end; the next may begin. */
static void gone(Pull *p) {
        Pulls *pulls = p->pulls;

        g_queue_remove(&pulls->running, p);
        pull_free(p);
        pump(pulls);
}

static void finish_failed(Pull *p) {
        if (sd_bus_error_is_set(&p->failure))
                (void)job_finish_error(p->job, p->failure.name, p->failure.message);
        else
                (void)job_finish_cancelled(p->job);
        gone(p);
}

/* The first error is the job's. The store is waited for, so that what it has made meanwhile is gone when that is told.
 */
static void fail(Pull *p, const sd_bus_error *error) {
        if (!sd_bus_error_is_set(&p->failure))
                (void)sd_bus_error_copy(&p->failure, error);
        p->fetch = store_op_free(p->fetch);
        if (p->import)
                store_op_cancel(p->import);
        else
                finish_failed(p);
}

static void finish_ok(Pull *p, const char *name, const char *digest) {
        const char *const names[] = { name, NULL };
        GVariantDict dict;

        lease_add_late(p->pulls->m, p->ns, p->options.image.lease, "image", name, NULL);
        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert_value(&dict, "Images", g_variant_new_strv(names, -1));
        g_variant_dict_insert(&dict, "Digest", "s", digest);
        g_variant_dict_insert(&dict, "Fetched", "t", p->answer.fetched);
        (void)job_finish_ok(p->job, g_variant_dict_end(&dict));
        gone(p);
}

/* ---- the store's side ---- */

static void on_import_progress(StoreOp *op _unused_, const struct store_progress *progress, void *userdata) {
        Pull *p = userdata;

        if (progress->layers_total == 0)
                return; /* it reads, which the registry's side tells of */
        p->progress.parts_done = progress->layers_done;
        p->progress.parts_total = progress->layers_total;
        (void)job_progress(p->job, &p->progress);
}

/* What the store has published is what the registry's side says it has sent. */
static int put(Pull *p, JsonObject *result, sd_bus_error *error) {
        g_autoptr(GPtrArray) records = NULL;
        Manager *m = p->pulls->m;
        ImageRecord *record;
        Namespace *ns;
        int r;

        r = image_import_parse(m, p->name, result, &records, error);
        if (r < 0)
                return r;
        record = g_ptr_array_index(records, 0);
        if (!streq(record->source, p->answer.digest)) {
                log_warning("Pull of %s: the registry worker says %s and has sent %s", p->name, p->answer.digest,
                            record->source);
                return error_internal(error, "What was fetched for \"%s\" is not what the registry worker says.",
                                      p->name);
        }
        r = manager_namespace(m, p->ns, true, &ns, error);
        if (r < 0)
                return r;
        g_ptr_array_set_free_func(records, NULL);
        r = image_put(ns, record, NULL);
        return r < 0 ? error_set_errno(error, r, "The image was fetched, but its record cannot be written") : 0;
}

/* What the store has published becomes an image, or is garbage. */
static int keep(Pull *p, JsonObject *result, sd_bus_error *error) {
        int r;

        if (sd_bus_error_is_set(&p->failure))
                r = -ECANCELED; /* the job's error is there already */
        else if (!p->answer.digest)
                r = error_internal(error, "The store worker was done before there was anything to import.");
        else
                r = put(p, result, error);
        if (r >= 0)
                return 0;
        collect_schedule(p->pulls->m);
        return sd_bus_error_is_set(error) ? r : error_set_errno(error, r, "The image cannot be kept");
}

/* Whether the records promise layers that the store has lost; everything is fetched then. */
static bool try_whole(Pull *p, const sd_bus_error *error) {
        if (p->whole || p->cancelled || !streq(error->name, error_kind_bus_name(ERROR_FAILED_PRECONDITION)))
                return false;
        log_warning("Pull of %s: %s; all of it is fetched", p->name, error->message);
        pull_close(p);
        p->whole = true;
        fetch(p);
        return true;
}

static void on_imported(StoreOp *op _unused_, JsonObject *result, const sd_bus_error *error, void *userdata) {
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        Pull *p = userdata;
        int r = 0;

        p->import = NULL; /* frees itself */
        if (!error)
                r = keep(p, result, &failure);
        if (error && !sd_bus_error_is_set(&p->failure) && try_whole(p, error))
                return;
        if (sd_bus_error_is_set(&p->failure) || (p->cancelled && (error || r < 0))) {
                finish_failed(p);
                return;
        }
        if (error || r < 0) {
                fail(p, error ? error : &failure);
                return;
        }
        finish_ok(p, p->name, p->answer.digest);
}

static int start_import(Pull *p, sd_bus_error *error) {
        static const StoreHandlers handlers = { .progress = on_import_progress, .done = on_imported };
        g_autoptr(JsonObject) request = image_import_request(p->pulls->m, &p->options.image);

        json_object_set_array_member(request, "have", pull_have_layers(p->have));
        json_object_set_boolean_member(request, "ordered", true);
        return store_op_start(p->pulls->m->event, request, &p->input, 1, &handlers, p, &p->import, error);
}

/* ---- the registry's side ---- */

static void on_fetch_progress(StoreOp *op _unused_, const struct store_progress *progress, void *userdata) {
        Pull *p = userdata;

        p->progress.bytes_done = progress->bytes_done;
        p->progress.bytes_total = progress->bytes_total;
        if (p->progress.parts_total == 0 || !p->import)
                p->progress.parts_total = progress->layers_total;
        (void)job_progress(p->job, &p->progress);
}

static int take_answer(Pull *p, JsonObject *result, const sd_bus_error *error, sd_bus_error *failure) {
        int r;

        p->fetch = NULL; /* frees itself */
        if (error) {
                (void)sd_bus_error_copy(failure, error);
                return -EIO;
        }
        pull_answer_done(&p->answer);
        r = pull_answer_parse(p->name, result, &p->answer, failure);
        return r;
}

static void on_fetched(StoreOp *op _unused_, JsonObject *result, const sd_bus_error *error, void *userdata) {
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        Pull *p = userdata;

        if (take_answer(p, result, error, &failure) < 0)
                fail(p, &failure);
        else
                p->output = safe_close(p->output); /* the store sees the end */
}

static int start_registry(Pull *p, bool all, store_done_handler_t done, sd_bus_error *error) {
        const StoreHandlers handlers = { .progress = all ? on_fetch_progress : NULL,
                                         .done = done,
                                         .worker = &registry_worker };
        g_autoptr(JsonObject) request = pull_request(p->pulls->m, &p->options, all ? p->have : NULL);
        int fds[2];
        size_t n = 0;

        if (all)
                fds[n++] = p->output;
        if (p->options.authorization >= 0)
                fds[n++] = p->options.authorization;
        return store_op_start_at(p->pulls->m->event, p->pulls->socket, request, fds, n, &handlers, p, &p->fetch, error);
}

static int open_pipe(Pull *p, sd_bus_error *error) {
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_set_errno(error, -errno, "Cannot make a pipe");
        p->input = fds[0];
        p->output = fds[1];
        (void)fcntl(p->output, F_SETPIPE_SZ, PIPE_SIZE); /* fewer turns of both workers */
        return 0;
}

static void fetch(Pull *p) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        p->have = pull_have_new(p->pulls->m, p->whole);
        r = open_pipe(p, &error);
        if (r >= 0)
                r = start_registry(p, true, on_fetched, &error);
        if (r >= 0)
                r = start_import(p, &error);
        if (r < 0)
                fail(p, &error);
}

/* ---- what is here already ---- */

static Image *known(Pull *p) {
        Namespace *ns;

        if (manager_namespace(p->pulls->m, p->ns, false, &ns, NULL) < 0)
                return NULL;
        return g_hash_table_lookup(ns->images, p->name);
}

static void on_made(StoreOp *op _unused_, JsonObject *result _unused_, const sd_bus_error *error, void *userdata) {
        Pull *p = userdata;

        p->import = NULL; /* frees itself */
        if (!error)
                finish_ok(p, p->name, p->answer.digest);
        else if (p->cancelled)
                finish_failed(p);
        else if (!streq(error->name, error_kind_bus_name(ERROR_NOT_FOUND)))
                fail(p, error); /* a full disk, say: to fetch it all would end there, too */
        else {
                log_warning("Pull of %s: what is here is not whole: %s; all of it is fetched", p->name, error->message);
                pull_close(p);
                p->whole = true;
                fetch(p);
        }
}

/* The image is here already. That its layers are shows when the root file system that is wanted is not there, and made
 * of them: a check takes away what stands on something it has found damaged. */
static void take_here(Pull *p, const Image *image) {
        static const StoreHandlers handlers = { .done = on_made };
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *kind = p->options.image.rootfs;
        g_autoptr(JsonObject) request = NULL;
        ChainForm form;

        p->answer.fetched = 0;
        if (kind && streq(kind, "none")) {
                finish_ok(p, p->name, p->answer.digest);
                return;
        }
        chain_form_of(p->pulls->m, kind, &form);
        request = chain_request(image->record->chain_id, &form);
        if (store_op_start(p->pulls->m->event, request, NULL, 0, &handlers, p, &p->import, &error) < 0)
                fail(p, &error);
}

static bool platform_here(const ImageRecord *record, const char *platform) {
        size_t n = platform ? strlen(platform) : 0;

        if (!platform)
                return true;
        if (streq(platform, "all"))
                return *record->index;
        if (strncmp(record->platform, platform, n) == 0 && (!record->platform[n] || record->platform[n] == '/'))
                return true;
        for (guint i = 0; record->platforms && i < record->platforms->len; i++) {
                const ImageRecord *one = g_ptr_array_index(record->platforms, i);

                if (streq(one->platform, platform))
                        return true;
        }
        return false;
}

/* An image of a single manifest is for one platform, however often the registry says that it has nothing else. */
static bool single_fits(const Pull *p, const ImageRecord *record) {
        return *record->index || !p->platform || streq(p->platform, "all") || platform_here(record, p->platform);
}

static void on_asked(StoreOp *op _unused_, JsonObject *result, const sd_bus_error *error, void *userdata) {
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        Pull *p = userdata;
        Image *image;

        if (take_answer(p, result, error, &failure) < 0) {
                fail(p, &failure);
                return;
        }
        image = known(p);
        if (image && pull_answer_means(&p->answer, image->record) && single_fits(p, image->record))
                take_here(p, image);
        else {
                pull_answer_done(&p->answer);
                fetch(p);
        }
}

static void start(Pull *p) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *at = strchr(p->name, '@');
        Image *image = known(p);

        if (!image)
                fetch(p);
        else if (at && streq(at + 1, image->record->digest) && single_fits(p, image->record)) {
                /* there is nothing a registry could say about it */
                p->answer.digest = g_strdup(at + 1);
                take_here(p, image);
        } else if (start_registry(p, false, on_asked, &error) < 0)
                fail(p, &error);
}

static void pump(Pulls *pulls) {
        Pull *p;

        if (pulls->pumping) /* one that ends as it begins, of any number of them: the loop goes on */
                return;
        pulls->pumping = true;
        while (pulls->running.length < PULLS_MAX && (p = g_queue_pop_head(&pulls->waiting))) {
                g_queue_push_tail(&pulls->running, p);
                start(p);
        }
        pulls->pumping = false;
}

/* Policy "missing": what the call that needs the image would find. 1: it is here. */
static int find_here(Manager *m, const char *ns_name, const PullOptions *options, Image **ret, sd_bus_error *error) {
        Namespace *ns;
        int r;

        if (manager_namespace(m, ns_name, false, &ns, NULL) < 0)
                return 0;
        *ret = g_hash_table_lookup(ns->images, options->image.name);
        if (!*ret) {
                r = image_lookup(ns, options->typed, ret, error);
                if (r == -ENOENT) {
                        sd_bus_error_free(error);
                        return 0;
                }
                if (r < 0)
                        return r;
        }
        return platform_here((*ret)->record, options->image.platform);
}

static void on_cancel(Job *job _unused_, void *userdata) {
        Pull *p = userdata;

        p->cancelled = true;
        if (g_queue_remove(&p->pulls->waiting, p)) {
                (void)job_finish_cancelled(p->job);
                pull_free(p);
                return;
        }
        p->fetch = store_op_free(p->fetch);
        if (p->import)
                store_op_cancel(p->import);
        else
                finish_failed(p);
}

static int pull_new(Manager *m, const char *ns, const PullOptions *options, Pull **ret, sd_bus_error *error) {
        Pull *p = g_new0(Pull, 1);

        *p = (Pull){ .pulls = m->pulls, .ns = g_strdup(ns), .options = *options, .input = -1, .output = -1 };
        p->name = g_strdup(options->image.name);
        p->platform = g_strdup(options->image.platform);
        p->lease = g_strdup(options->image.lease);
        p->rootfs = g_strdup(options->image.rootfs);
        p->options.typed = NULL;
        p->options.image.name = p->name;
        p->options.image.platform = p->platform;
        p->options.image.lease = p->lease;
        p->options.image.rootfs = p->rootfs;
        p->options.image.format = "oci";
        if (options->authorization >= 0) {
                p->options.authorization = fcntl(options->authorization, F_DUPFD_CLOEXEC, 3);
                if (p->options.authorization < 0) {
                        int r = error_set_errno(error, -errno, "Cannot keep a descriptor");

                        pull_free(p);
                        return r;
                }
        }
        *ret = p;
        return 0;
}

/** pull_begin() - see pull.h; whatever needs a worker is told by the job */
int pull_begin(Manager *m, const char *ns, const PullOptions *options, Job **ret, sd_bus_error *error) {
        Image *image = NULL;
        Pull *p = NULL;
        int r;

        r = options->missing ? find_here(m, ns, options, &image, error) : 0;
        if (r < 0)
                return r;
        if (r == 0)
                image = NULL;
        r = pull_new(m, ns, options, &p, error);
        if (!p)
                return r;
        (void)job_new(m, ns, "pull", options->image.name, on_cancel, p, &p->job);
        *ret = p->job;
        if (image) {
                finish_ok(p, image->record->name,
                          *image->record->source ? image->record->source : image->record->digest);
                return 0;
        }
        g_queue_push_tail(&m->pulls->waiting, p);
        pump(m->pulls);
        return 0;
}
