/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The state machine of a job, and the table that holds all of them (Manager.jobs).
 *
 * A job is made by whoever begins long work and ended by exactly one job_finish_*() call. The table owns it: it
 * stays readable for a while after its end and goes by a timer. Whoever works on it forgets the pointer when
 * it ends the job. Jobs do not outlive the manager, and no record of them is kept on disk.
 *
 * A job never does the work, knows nothing of what the work is, and encodes no message: that is job-bus.c.
 */

#include <errno.h>
#include <string.h>
#include <time.h>

#include "daemon/event.h"
#include "daemon/job-bus.h"
#include "daemon/job.h"
#include "shared/macros.h"
#include "shared/name.h"
#include "shared/process.h"

static uint64_t job_keep_usec = 60 * USEC_PER_SEC;
static uint64_t job_progress_usec = USEC_PER_SEC / 10;

#define JOB_TIMER_ACCURACY_USEC (USEC_PER_SEC / 100)

static const char *const state_names[_JOB_STATE_MAX] = {
        [JOB_RUNNING] = "running",
        [JOB_DONE] = "done",
        [JOB_FAILED] = "failed",
        [JOB_CANCELLED] = "cancelled",
};

/* The state an event leads to, or why it cannot happen there. */
static const int transitions[_JOB_STATE_MAX][_JOB_EVENT_MAX] = {
        [JOB_RUNNING] = {
                [JOB_EVENT_PROGRESS] = JOB_RUNNING,
                [JOB_EVENT_CANCEL] = JOB_RUNNING,
                [JOB_EVENT_FINISH_OK] = JOB_DONE,
                [JOB_EVENT_FINISH_ERROR] = JOB_FAILED,
                [JOB_EVENT_FINISH_CANCELLED] = JOB_CANCELLED,
                [JOB_EVENT_EXPIRE] = -EBUSY,
        },
        [JOB_DONE] = {
                [JOB_EVENT_PROGRESS] = -EALREADY,
                [JOB_EVENT_CANCEL] = -EALREADY,
                [JOB_EVENT_FINISH_OK] = -EALREADY,
                [JOB_EVENT_FINISH_ERROR] = -EALREADY,
                [JOB_EVENT_FINISH_CANCELLED] = -EALREADY,
                [JOB_EVENT_EXPIRE] = JOB_DONE,
        },
        [JOB_FAILED] = {
                [JOB_EVENT_PROGRESS] = -EALREADY,
                [JOB_EVENT_CANCEL] = -EALREADY,
                [JOB_EVENT_FINISH_OK] = -EALREADY,
                [JOB_EVENT_FINISH_ERROR] = -EALREADY,
                [JOB_EVENT_FINISH_CANCELLED] = -EALREADY,
                [JOB_EVENT_EXPIRE] = JOB_FAILED,
        },
        [JOB_CANCELLED] = {
                [JOB_EVENT_PROGRESS] = -EALREADY,
                [JOB_EVENT_CANCEL] = -EALREADY,
                [JOB_EVENT_FINISH_OK] = -EALREADY,
                [JOB_EVENT_FINISH_ERROR] = -EALREADY,
                [JOB_EVENT_FINISH_CANCELLED] = -EALREADY,
                [JOB_EVENT_EXPIRE] = JOB_CANCELLED,
        },
};

/** job_state_name() - the word the bus uses for a state; NULL for a value that is none */
const char *job_state_name(JobState state) {
        if ((int)state < 0 || state >= _JOB_STATE_MAX)
                return NULL;

        return state_names[state];
}

/** job_next_state() - the state @event leads to from @state; -EBUSY or -EALREADY where it cannot happen */
int job_next_state(JobState state, JobEvent event) {
        if ((int)state < 0 || state >= _JOB_STATE_MAX || (int)event < 0 || event >= _JOB_EVENT_MAX)
                return -EINVAL;

        return transitions[state][event];
}

static void job_free(void *p) {
        Job *job = p;

        sd_event_source_disable_unref(job->timer);
        g_clear_pointer(&job->waiters, g_ptr_array_unref);
        g_clear_pointer(&job->result, g_variant_unref);
        g_free(job->ns);
        g_free(job->type);
        g_free(job->subject);
        g_free(job->error);
        g_free(job->message);
        g_free(job);
}

static void message_unref(void *p) {
        sd_bus_message_unref(p);
}

/** jobs_init() - an empty table in Manager.jobs */
void jobs_init(Manager *m) {
        m->jobs = g_hash_table_new_full(NULL, NULL, NULL, job_free);
}

/** jobs_done() - drops every job, without a word on the bus; the work has to be stopped before */
void jobs_done(Manager *m) {
        g_clear_pointer(&m->jobs, g_hash_table_unref);
}

/** jobs_set_times() - other times than a minute and a tenth of a second; for tests, which do not want to wait */
void jobs_set_times(uint64_t keep_usec, uint64_t progress_usec) {
        job_keep_usec = keep_usec;
        job_progress_usec = progress_usec;
}

/** job_find() - the job of a number; NULL when there is none (any more) */
Job *job_find(Manager *m, uint32_t number) {
        return g_hash_table_lookup(m->jobs, GUINT_TO_POINTER(number));
}

/* One timer a job: while it runs it announces progress that came too soon, afterwards it ends the object. */
static int job_timer_set(Job *job, uint64_t usec, sd_event_time_handler_t handler) {
        job->timer = sd_event_source_disable_unref(job->timer);
        return sd_event_add_time_relative(job->manager->event, &job->timer, CLOCK_MONOTONIC, usec,
                                          JOB_TIMER_ACCURACY_USEC, handler, job);
}

static int on_expire(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        Job *job = userdata;

        if (job_next_state(job->state, JOB_EVENT_EXPIRE) < 0)
                return 0;

        job_drop(job);
        return 0;
}

static int on_progress_due(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        Job *job = userdata;

        job->timer = sd_event_source_disable_unref(job->timer);
        job->progress_sent_at = now_usec(CLOCK_MONOTONIC);
        job_bus_changed(job, "Progress");
        return 0;
}

/**
 * job_new() - a running job
 * @ns: the namespace it works in; "": the whole host
 * @type: one word, such as "import"
 * @subject: what it works on, for people
 * @cancel: asked to stop the work; NULL when it cannot be stopped
 * @ret: owned by the table; valid until it is finished or dropped
 */
int job_new(Manager *m, const char *ns, const char *type, const char *subject, JobCancelFunc cancel, void *userdata,
            Job **ret) {
        Job *job;

        do
                m->n_jobs_ever++;
        while (m->n_jobs_ever == 0 || job_find(m, m->n_jobs_ever));

        job = g_new0(Job, 1);
        job->manager = m;
        job->number = m->n_jobs_ever;
        job->ns = g_strdup(ns);
        job->type = g_strdup(type);
        job->subject = g_strdup(subject);
        job->cancel = cancel;
        job->userdata = userdata;
        job->started_at = now_usec(CLOCK_REALTIME);
        job->waiters = g_ptr_array_new_with_free_func(message_unref);
        g_hash_table_insert(m->jobs, GUINT_TO_POINTER(job->number), job);
        job_bus_added(job);
        *ret = job;
        return 0;
}

/** job_drop() - removes a job at once: for work that never began, and for ended jobs whose time has come */
void job_drop(Job *job) {
        job_bus_removed(job);
        g_hash_table_remove(job->manager->jobs, GUINT_TO_POINTER(job->number));
}

/** job_progress() - notes how far the work is; announced at most ten times a second */
int job_progress(Job *job, const JobProgress *progress) {
        uint64_t now, since;
        int r;

        r = job_next_state(job->state, JOB_EVENT_PROGRESS);
        if (r < 0)
                return r;
        if (memcmp(&job->progress, progress, sizeof(*progress)) == 0)
                return 0;

        job->progress = *progress;
        if (job->timer)
                return 0;

        now = now_usec(CLOCK_MONOTONIC);
        since = now - job->progress_sent_at;
        if (since < job_progress_usec)
                return job_timer_set(job, job_progress_usec - since, on_progress_due);

        job->progress_sent_at = now;
        job_bus_changed(job, "Progress");
        return 0;
}

/* The only place where the state changes. */
static int job_set_state(Job *job, JobEvent event) {
        int next;

        next = job_next_state(job->state, event);
        if (next < 0)
                return next;

        job->state = (JobState)next;
        job->cancel = NULL;
        job->userdata = NULL;
        return 0;
}

static int job_ended(Job *job) {
        job->timer = sd_event_source_disable_unref(job->timer);
        job_bus_finished(job);
        for (guint i = 0; i < job->waiters->len; i++)
                (void)job_bus_reply(job, g_ptr_array_index(job->waiters, i));
        g_ptr_array_set_size(job->waiters, 0);
        return job_timer_set(job, job_keep_usec, on_expire);
}

/**
 * job_finish_ok() - the work is done
 * @result: a{sv}, a floating reference is taken; NULL for an empty one
 *
 * Return: -EALREADY when the job had ended, the first end holds.
 */
int job_finish_ok(Job *job, GVariant *result) {
        g_autoptr(GVariant) owned = result ? g_variant_ref_sink(result) : NULL;
        int r;

        r = job_set_state(job, JOB_EVENT_FINISH_OK);
        if (r < 0)
                return r;

        job->result = g_steal_pointer(&owned);
        return job_ended(job);
}

/**
 * job_finish_error() - the work has failed
 * @error: a whole D-Bus error name
 * @message: a sentence that says what to do
 *
 * The one end that is an event: the job goes soon, and whoever began it may not be there.
 */
int job_finish_error(Job *job, const char *error, const char *message) {
        g_autofree char *path = NULL;
        int r;

        r = job_set_state(job, JOB_EVENT_FINISH_ERROR);
        if (r < 0)
                return r;

        job->error = g_strdup(error);
        job->message = g_strdup(message);
        path = job_bus_path(job);
        event_emit(job->manager, EVENT_JOB_FAILED, job->ns, job->subject, path, "JOB_TYPE", job->type, "ERROR_NAME",
                   job->error, "ERROR", job->message, NULL);
        return job_ended(job);
}

/** job_finish_cancelled() - the work was stopped because someone asked for it */
int job_finish_cancelled(Job *job) {
        int r;

        r = job_set_state(job, JOB_EVENT_FINISH_CANCELLED);
        if (r < 0)
                return r;

        job->error = g_strdup(DAVIT_BUS_ERROR "FailedPrecondition");
        job->message = g_strdup("The job was cancelled.");
        return job_ended(job);
}

/**
 * job_cancel() - asks the work to stop; asking again is no error
 *
 * Return: -EALREADY when it has ended, -EOPNOTSUPP when this work cannot be stopped.
 */
int job_cancel(Job *job) {
        int r;

        r = job_next_state(job->state, JOB_EVENT_CANCEL);
        if (r < 0)
                return r;
        if (!job->cancel)
                return -EOPNOTSUPP;
        if (job->cancel_asked)
                return 0;

        job->cancel_asked = true;
        job->cancel(job, job->userdata);
        return 0;
}

/** job_wait() - answers @call when the job has ended, at once if it has already */
int job_wait(Job *job, sd_bus_message *call) {
        if (job->state != JOB_RUNNING)
                return job_bus_reply(job, call);

        g_ptr_array_add(job->waiters, sd_bus_message_ref(call));
        return 0;
}
