/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Jobs: every event in every state, and the objects on a private bus connection.
 */

#include <errno.h>
#include <string.h>

#include "daemon/job-bus.h"
#include "daemon/job.h"
#include "shared/macros.h"
#include "shared/name.h"
#include "tests/unit/bus-pair.h"

#define JOB_1 DAVIT_BUS_PATH "/job/1"

static int n_cancels;

static void on_cancel(Job *job, void *userdata) {
        g_assert_true(userdata == &n_cancels);
        g_assert_true(job->cancel_asked);
        n_cancels++;
}

static int apply(Job *job, JobEvent event) {
        static const JobProgress progress = { .bytes_done = 7 };

        switch (event) {
        case JOB_EVENT_PROGRESS:
                return job_progress(job, &progress);
        case JOB_EVENT_CANCEL:
                return job_cancel(job);
        case JOB_EVENT_FINISH_OK:
                return job_finish_ok(job, NULL);
        case JOB_EVENT_FINISH_ERROR:
                return job_finish_error(job, DAVIT_BUS_ERROR "Internal", "It broke.");
        case JOB_EVENT_FINISH_CANCELLED:
                return job_finish_cancelled(job);
        default:
                g_assert_not_reached();
        }
}

static const JobEvent way_to[_JOB_STATE_MAX] = {
        [JOB_RUNNING] = JOB_EVENT_PROGRESS,
        [JOB_DONE] = JOB_EVENT_FINISH_OK,
        [JOB_FAILED] = JOB_EVENT_FINISH_ERROR,
        [JOB_CANCELLED] = JOB_EVENT_FINISH_CANCELLED,
};

static void test_names(void) {
        for (int s = 0; s < _JOB_STATE_MAX; s++)
                g_assert_nonnull(job_state_name((JobState)s));
        g_assert_null(job_state_name(_JOB_STATE_MAX));
        g_assert_null(job_state_name(_JOB_STATE_INVALID));
        g_assert_cmpint(job_next_state(_JOB_STATE_MAX, JOB_EVENT_CANCEL), ==, -EINVAL);
        g_assert_cmpint(job_next_state(JOB_RUNNING, _JOB_EVENT_MAX), ==, -EINVAL);
}

/* What the code does is what the table says, and an ended job keeps its end. */
static void test_every_event_in_every_state(void) {
        Manager m = { 0 };

        g_assert_cmpint(sd_event_new(&m.event), >=, 0);
        jobs_init(&m);
        for (int s = 0; s < _JOB_STATE_MAX; s++)
                for (int e = 0; e < JOB_EVENT_EXPIRE; e++) {
                        int expected = job_next_state((JobState)s, (JobEvent)e), r;
                        Job *job;

                        g_assert_cmpint(job_new(&m, "default", "import", "x", on_cancel, &n_cancels, &job), ==, 0);
                        (void)apply(job, way_to[s]);
                        g_assert_cmpint(job->state, ==, s);
                        r = apply(job, (JobEvent)e);
                        g_assert_cmpint(MIN(r, 0), ==, MIN(expected, 0));
                        g_assert_cmpint(job->state, ==, expected < 0 ? s : expected);
                        g_assert_true(s == JOB_RUNNING || expected == -EALREADY);
                        g_assert_true(!!job->error == (job->state == JOB_FAILED || job->state == JOB_CANCELLED));
                }
        for (int s = 0; s < _JOB_STATE_MAX; s++)
                g_assert_cmpint(job_next_state((JobState)s, JOB_EVENT_EXPIRE), ==, s == JOB_RUNNING ? -EBUSY : s);
        g_assert_cmpuint(g_hash_table_size(m.jobs), ==, m.n_jobs_ever);
        jobs_done(&m);
        sd_event_unref(m.event);
}

static void test_cancel(void) {
        Manager m = { 0 };
        Job *job;

        g_assert_cmpint(sd_event_new(&m.event), >=, 0);
        jobs_init(&m);
        g_assert_cmpint(job_new(&m, "default", "import", "x", on_cancel, &n_cancels, &job), ==, 0);
        n_cancels = 0;
        g_assert_cmpint(job_cancel(job), ==, 0);
        g_assert_cmpint(job_cancel(job), ==, 0);
        g_assert_cmpint(n_cancels, ==, 1);
        g_assert_cmpint(job->state, ==, JOB_RUNNING);
        g_assert_cmpint(job_finish_ok(job, NULL), ==, 0); /* the work was faster */
        g_assert_cmpint(job_cancel(job), ==, -EALREADY);

        g_assert_cmpint(job_new(&m, "default", "stop", "x", NULL, NULL, &job), ==, 0);
        g_assert_cmpint(job_cancel(job), ==, -EOPNOTSUPP);
        jobs_done(&m);
        sd_event_unref(m.event);
}

static void test_numbers(void) {
        Manager m = { .n_jobs_ever = UINT32_MAX - 1 };
        Job *a, *b;

        g_assert_cmpint(sd_event_new(&m.event), >=, 0);
        jobs_init(&m);
        g_assert_cmpint(job_new(&m, "default", "t", "s", NULL, NULL, &a), ==, 0);
        g_assert_cmpuint(a->number, ==, UINT32_MAX);
        g_assert_cmpint(job_new(&m, "default", "t", "s", NULL, NULL, &b), ==, 0);
        g_assert_cmpuint(b->number, ==, 1);
        m.n_jobs_ever = UINT32_MAX - 1;
        g_assert_cmpint(job_new(&m, "default", "t", "s", NULL, NULL, &b), ==, 0);
        g_assert_cmpuint(b->number, ==, 2); /* those in use are left out, and 0 */
        jobs_done(&m);
        sd_event_unref(m.event);
}

typedef struct Watch {
        unsigned progress, state, finished, removed, interfaces_removed;
        char *end;
} Watch;

static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Watch *w = userdata;
        const char *text;

        (void)error;
        if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.Properties", "PropertiesChanged")) {
                g_assert_cmpint(sd_bus_message_skip(m, "s"), >=, 0);
                g_assert_cmpint(sd_bus_message_enter_container(m, 'a', "{sv}"), >=, 0);
                while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
                        g_assert_cmpint(sd_bus_message_read(m, "s", &text), >=, 0);
                        w->progress += streq(text, "Progress");
                        w->state += streq(text, "State");
                        g_assert_cmpint(sd_bus_message_skip(m, "v"), >=, 0);
                        g_assert_cmpint(sd_bus_message_exit_container(m), >=, 0);
                }
        } else if (sd_bus_message_is_signal(m, JOB_INTERFACE, "Finished"))
                w->finished++;
        else if (sd_bus_message_is_signal(m, DAVIT_BUS_NAME ".Manager", "JobRemoved")) {
                const char *path, *end;

                g_assert_cmpint(sd_bus_message_read(m, "uos", NULL, &path, &end), >=, 0);
                g_assert_cmpstr(path, ==, JOB_1);
                w->end = g_strdup(end);
                w->removed++;
        } else if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved"))
                w->interfaces_removed++;
        return 0;
}

typedef struct BusFixture {
        BusPair pair;
        Manager m;
        Watch watch;
} BusFixture;

static void fixture_set_up(BusFixture *f, const void *data) {
        (void)data;
        bus_pair_open(&f->pair);
        f->m.event = f->pair.event;
        f->m.bus = f->pair.server;
        jobs_init(&f->m);
        g_assert_cmpint(sd_bus_add_object_manager(f->m.bus, NULL, DAVIT_BUS_PATH), >=, 0);
        g_assert_cmpint(job_bus_register(&f->m), >=, 0);
        g_assert_cmpint(sd_bus_add_match(f->pair.client, NULL, "type='signal'", on_signal, &f->watch), >=, 0);
}

static void fixture_tear_down(BusFixture *f, const void *data) {
        (void)data;
        jobs_done(&f->m);
        bus_pair_close(&f->pair);
        g_free(f->watch.end);
}

static sd_bus_message *call(BusFixture *f, const char *interface, const char *member, const char *a, const char *b) {
        sd_bus_message *reply = NULL;

        g_assert_cmpint(sd_bus_call_method_async(f->pair.client, NULL, NULL, JOB_1, interface, member,
                                                 bus_pair_on_reply, &reply, a ? "ss" : "", a, b),
                        >=, 0);
        bus_pair_run(&f->pair, (void *const *)&reply);
        return reply;
}

static void test_bus_wait(BusFixture *f, const void *data) {
        g_autoptr(GVariant) images = NULL;
        sd_bus_message *before = NULL, *after, *cancel;
        const char *names[] = { "a:latest", "b:1", NULL };
        const char *key;
        char **got = NULL;
        GVariantDict dict;
        Job *job;

        (void)data;
        g_assert_cmpint(job_new(&f->m, "default", "import", "debian:12", NULL, NULL, &job), ==, 0);
        g_assert_cmpint(sd_bus_call_method_async(f->pair.client, NULL, NULL, JOB_1, JOB_INTERFACE, "Wait",
                                                 bus_pair_on_reply, &before, ""),
                        >=, 0);
        cancel = call(f, JOB_INTERFACE, "Cancel", NULL, NULL);
        g_assert_cmpstr(sd_bus_message_get_error(cancel)->name, ==, DAVIT_BUS_ERROR "NotSupported");
        g_assert_null(before);
        g_assert_cmpuint(job->waiters->len, ==, 1);

        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert_value(&dict, "Images", g_variant_new_strv(names, -1));
        g_assert_cmpint(job_finish_ok(job, g_variant_dict_end(&dict)), ==, 0);
        bus_pair_run(&f->pair, (void *const *)&before);
        after = call(f, JOB_INTERFACE, "Wait", NULL, NULL);
        for (int i = 0; i < 2; i++) {
                sd_bus_message *reply = i == 0 ? before : after;

                g_assert_null(sd_bus_message_get_error(reply));
                g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "{sv}"), >, 0);
                g_assert_cmpint(sd_bus_message_enter_container(reply, 'e', "sv"), >, 0);
                g_assert_cmpint(sd_bus_message_read(reply, "s", &key), >, 0);
                g_assert_cmpstr(key, ==, "Images");
                g_assert_cmpint(sd_bus_message_enter_container(reply, 'v', "as"), >, 0);
                g_assert_cmpint(sd_bus_message_read_strv(reply, &got), >, 0);
                g_assert_cmpstr(got[0], ==, "a:latest");
                g_assert_cmpstr(got[1], ==, "b:1");
                g_assert_null(got[2]);
                for (char **s = got; *s; s++)
                        free(*s);
                free(got);
                sd_bus_message_unref(reply);
        }
        sd_bus_message_unref(cancel);
        cancel = call(f, JOB_INTERFACE, "Cancel", NULL, NULL);
        g_assert_cmpstr(sd_bus_message_get_error(cancel)->name, ==, DAVIT_BUS_ERROR "FailedPrecondition");
        sd_bus_message_unref(cancel);
        g_assert_cmpuint(f->watch.finished, ==, 1);
        g_assert_cmpuint(f->watch.removed, ==, 1);
        g_assert_cmpuint(f->watch.state, ==, 1);
        g_assert_cmpstr(f->watch.end, ==, "done");
}

static void test_bus_failure(BusFixture *f, const void *data) {
        sd_bus_message *reply;
        const char *state;
        Job *job;

        (void)data;
        g_assert_cmpint(job_new(&f->m, "default", "import", "x", NULL, NULL, &job), ==, 0);
        g_assert_cmpint(job_finish_error(job, DAVIT_BUS_ERROR "NotFound", "There is 100% nothing."), ==, 0);
        reply = call(f, JOB_INTERFACE, "Wait", NULL, NULL);
        g_assert_cmpstr(sd_bus_message_get_error(reply)->name, ==, DAVIT_BUS_ERROR "NotFound");
        g_assert_cmpstr(sd_bus_message_get_error(reply)->message, ==, "There is 100% nothing.");
        sd_bus_message_unref(reply);

        reply = call(f, "org.freedesktop.DBus.Properties", "Get", JOB_INTERFACE, "State");
        g_assert_cmpint(sd_bus_message_read(reply, "v", "s", &state), >, 0);
        g_assert_cmpstr(state, ==, "failed");
        sd_bus_message_unref(reply);
}

/* A thousand steps in a quarter of a second are a handful of announcements, the last of them complete. */
static void test_bus_progress(BusFixture *f, const void *data) {
        uint64_t done;
        sd_bus_message *reply;
        Job *job;

        (void)data;
        jobs_set_times(60 * USEC_PER_SEC, USEC_PER_SEC / 10);
        g_assert_cmpint(job_new(&f->m, "default", "import", "x", NULL, NULL, &job), ==, 0);
        for (gint64 begin = g_get_monotonic_time(); g_get_monotonic_time() < begin + 250000;) {
                JobProgress p = { .bytes_done = ++job->progress.bytes_done + 1, .bytes_total = 1U << 30 };

                g_assert_cmpint(job_progress(job, &p), >=, 0);
                g_assert_cmpint(sd_event_run(f->pair.event, 0), >=, 0);
        }
        done = job->progress.bytes_done;
        while (job->timer)
                g_assert_cmpint(sd_event_run(f->pair.event, 100000), >=, 0);
        reply = call(f, "org.freedesktop.DBus.Properties", "Get", JOB_INTERFACE, "Progress");
        sd_bus_message_unref(reply);
        g_assert_cmpuint(f->watch.progress, >=, 2);
        g_assert_cmpuint(f->watch.progress, <=, 5);
        g_assert_cmpuint(job->progress.bytes_done, ==, done);
}

static void test_bus_expiry(BusFixture *f, const void *data) {
        sd_bus_message *reply;
        Job *job;

        (void)data;
        jobs_set_times(20000, 100000);
        g_assert_cmpint(job_new(&f->m, "default", "import", "x", NULL, NULL, &job), ==, 0);
        g_assert_cmpint(job_finish_cancelled(job), ==, 0);
        g_assert_nonnull(job_find(&f->m, 1));
        while (job_find(&f->m, 1))
                g_assert_cmpint(sd_event_run(f->pair.event, 100000), >, 0);
        reply = call(f, JOB_INTERFACE, "Wait", NULL, NULL);
        g_assert_cmpstr(sd_bus_message_get_error(reply)->name, ==, SD_BUS_ERROR_UNKNOWN_OBJECT);
        sd_bus_message_unref(reply);
        g_assert_cmpuint(f->watch.interfaces_removed, ==, 1);
        g_assert_cmpstr(f->watch.end, ==, "cancelled");
}

#define ADD_BUS(name, func) g_test_add(name, BusFixture, NULL, fixture_set_up, func, fixture_tear_down)

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/job/names", test_names);
        g_test_add_func("/job/every-event-in-every-state", test_every_event_in_every_state);
        g_test_add_func("/job/cancel", test_cancel);
        g_test_add_func("/job/numbers", test_numbers);
        ADD_BUS("/job/bus/wait", test_bus_wait);
        ADD_BUS("/job/bus/failure", test_bus_failure);
        ADD_BUS("/job/bus/progress", test_bus_progress);
        ADD_BUS("/job/bus/expiry", test_bus_expiry);
        return g_test_run();
}
