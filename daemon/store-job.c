/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Work of the store workers: operations that run as jobs, a handful at a time.
 *
 * More workers at once would only take memory from each other, and the socket has a limit of its own: whoever comes
 * too soon waits here in order. Who asked says what a result means (StoreWork.accept), which is called while the worker
 * still holds what it has published; the connection is closed after that. A manager that ends closes the connections,
 * which stops the workers. What an operation does is not known here.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "daemon/error.h"
#include "daemon/store-client.h"
#include "daemon/store-job.h"
#include "shared/log.h"
#include "shared/macros.h"

#define FDS_MAX 4U

typedef struct Work {
        StoreJobs *jobs;
        Job *job; /* NULL: none */
        StoreWork what;
        char *type;
        char *socket;
        int fds[FDS_MAX];
        StoreOp *op; /* NULL: waits */
} Work;

struct StoreJobs {
        Manager *m;
        unsigned max;
        GQueue waiting;
        GQueue running;
};

static void pump(StoreJobs *s);

static void close_fds(Work *w) {
        for (size_t i = 0; i < w->what.n_fds; i++)
                w->fds[i] = safe_close(w->fds[i]);
        w->what.n_fds = 0;
}

static void work_free(void *p) {
        Work *w = p;

        (void)store_op_free(w->op);
        close_fds(w);
        if (w->what.destroy)
                w->what.destroy(w->what.userdata);
        json_object_unref(w->what.request);
        g_free(w->type);
        g_free(w->socket);
        g_free(w);
}

/** store_jobs_new() - nothing running; at most @max workers at a time */
int store_jobs_new(Manager *m, unsigned max, StoreJobs **ret) {
        StoreJobs *s = g_new0(StoreJobs, 1);

        s->m = m;
        s->max = max;
        g_queue_init(&s->waiting);
        g_queue_init(&s->running);
        *ret = s;
        return 0;
}

/** store_jobs_free() - gives up what is running: workers see the end of their connection */
StoreJobs *store_jobs_free(StoreJobs *s) {
        if (!s)
                return NULL;

        g_queue_clear_full(&s->waiting, work_free);
        g_queue_clear_full(&s->running, work_free);
        g_free(s);
        return NULL;
}

static void work_failed(Work *w, const sd_bus_error *error, bool cancelled) {
        if (!w->job)
                log_warning("Store operation %s failed: %s", w->type, error->message);
        else if (cancelled)
                (void)job_finish_cancelled(w->job);
        else
                (void)job_finish_error(w->job, error->name, error->message);
}

static void on_done(StoreOp *op, JsonObject *result, const sd_bus_error *error, void *userdata) {
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        g_autoptr(GVariant) value = NULL;
        Work *w = userdata;
        StoreJobs *s = w->jobs;
        int r = 0;

        w->op = NULL; /* frees itself */
        if (!error && w->what.accept) {
                r = w->what.accept(result, w->what.userdata, &value, &failure);
                if (r < 0 && !sd_bus_error_is_set(&failure))
                        (void)error_set_errno(&failure, r, "The result of the store cannot be used");
        }
        if (error || r < 0)
                work_failed(w, error ? error : &failure, error && store_op_cancel_asked(op));
        else if (w->job)
                (void)job_finish_ok(w->job, value);

        g_queue_remove(&s->running, w);
        work_free(w);
        pump(s);
}

static void on_progress(StoreOp *op _unused_, const struct store_progress *p, void *userdata) {
        const JobProgress progress = {
                .bytes_done = p->bytes_done,
                .bytes_total = p->bytes_total,
                .parts_done = p->layers_done,
                .parts_total = p->layers_total,
        };
        Work *w = userdata;

        if (w->job)
                (void)job_progress(w->job, &progress);
}

static int start(Work *w, sd_bus_error *error) {
        static const StoreHandlers handlers = { .progress = on_progress, .done = on_done };
        StoreJobs *s = w->jobs;
        int r;

        r = store_op_start_at(s->m->event, w->socket, w->what.request, w->fds, w->what.n_fds, &handlers, w, &w->op,
                              error);
        if (r < 0)
                return r;

        close_fds(w); /* the worker's now: a pipe's other end sees when that one goes */
        g_queue_push_tail(&s->running, w);
        return 0;
}

/* Starts whatever may run now. */
static void pump(StoreJobs *s) {
        Work *w;

        while (s->running.length < s->max && (w = g_queue_pop_head(&s->waiting))) {
                _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

                if (start(w, &error) >= 0)
                        continue;
                work_failed(w, &error, false);
                work_free(w);
        }
}

/* Whoever runs is asked to stop, whoever waits has not begun. */
static void on_cancel(Job *job, void *userdata) {
        Work *w = userdata;

        if (w->op) {
                store_op_cancel(w->op);
                return;
        }

        g_queue_remove(&w->jobs->waiting, w);
        work_free(w);
        (void)job_finish_cancelled(job);
}

static int copy_fds(Work *w, const StoreWork *work, sd_bus_error *error) {
        if (work->n_fds > FDS_MAX)
                return error_internal(error, "An operation of the store was given too many descriptors.");

        for (size_t i = 0; i < work->n_fds; i++) {
                w->fds[i] = fcntl(work->fds[i], F_DUPFD_CLOEXEC, 3);
                if (w->fds[i] < 0)
                        return error_set_errno(error, -errno, "Cannot keep a descriptor");
                w->what.n_fds++;
        }
        return 0;
}

/**
 * store_job_begin() - starts an operation, or lets it wait for its turn
 * @work: what is to be done; see StoreWork for who owns what
 * @ret: the job; NULL: nobody sees one
 */
int store_job_begin(StoreJobs *s, const StoreWork *work, Job **ret, sd_bus_error *error) {
        Work *w = g_new0(Work, 1);
        int r;

        w->jobs = s;
        w->what = *work;
        w->what.n_fds = 0;
        (void)json_object_ref(w->what.request);
        w->type = g_strdup(work->type);
        w->socket = g_strdup(work->socket);
        r = copy_fds(w, work, error);
        if (r >= 0 && s->running.length >= s->max)
                g_queue_push_tail(&s->waiting, w);
        else if (r >= 0)
                r = start(w, error);
        if (r < 0) {
                work_free(w);
                return r;
        }
        if (!ret)
                return 0;

        r = job_new(s->m, work->ns, work->type, work->subject, on_cancel, w, &w->job);
        *ret = w->job;
        return r;
}
