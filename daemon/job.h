/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Jobs: work that outlasts a method call, with progress, cancellation and an end that can be waited for. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "daemon/manager.h"

typedef struct Job Job;

typedef enum JobState {
        JOB_RUNNING,
        JOB_DONE,
        JOB_FAILED,
        JOB_CANCELLED,
        _JOB_STATE_MAX,
        _JOB_STATE_INVALID = -EINVAL,
} JobState;

typedef enum JobEvent {
        JOB_EVENT_PROGRESS,
        JOB_EVENT_CANCEL,
        JOB_EVENT_FINISH_OK,
        JOB_EVENT_FINISH_ERROR,
        JOB_EVENT_FINISH_CANCELLED,
        JOB_EVENT_EXPIRE,
        _JOB_EVENT_MAX,
} JobEvent;

typedef struct JobProgress {
        uint64_t bytes_done;
        uint64_t bytes_total; /* 0: not known */
        uint32_t parts_done;
        uint32_t parts_total;
} JobProgress;

/* Asked once at most; the work then ends the job by one of job_finish_*(), possibly before this returns. */
typedef void (*JobCancelFunc)(Job *job, void *userdata);

struct Job {
        Manager *manager;
        uint32_t number;
        char *ns; /* "": the whole host */
        char *type;
        char *subject;
        JobState state;
        bool cancel_asked;
        JobCancelFunc cancel;
        void *userdata;
        JobProgress progress;
        uint64_t started_at;       /* CLOCK_REALTIME, microseconds */
        uint64_t progress_sent_at; /* CLOCK_MONOTONIC, microseconds */
        sd_event_source *timer;    /* running: progress not yet announced; ended: time to go */
        GVariant *result;          /* a{sv}; JOB_DONE */
        char *error;               /* D-Bus error name; JOB_FAILED, JOB_CANCELLED */
        char *message;
        GPtrArray *waiters; /* sd_bus_message of each pending Wait */
};

/* all of them: Manager.jobs */
void jobs_init(Manager *m);
void jobs_done(Manager *m);
void jobs_set_times(
        uint64_t keep_usec,
        uint64_t progress_usec); /* for tests: how long an ended job stays, least time between announcements */
Job *job_find(Manager *m, uint32_t number);

/* for those who do the work */
int job_new(Manager *m, const char *ns, const char *type, const char *subject, JobCancelFunc cancel, void *userdata,
            Job **ret);
int job_progress(Job *job, const JobProgress *progress);
int job_finish_ok(Job *job, GVariant *result);
int job_finish_error(Job *job, const char *error, const char *message);
int job_finish_cancelled(Job *job);
void job_drop(Job *job);

/* for those who watch it */
int job_cancel(Job *job);
int job_wait(Job *job, sd_bus_message *call);

const char *job_state_name(JobState state);
int job_next_state(JobState state, JobEvent event);
