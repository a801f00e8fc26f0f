/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The bus face of jobs: decodes calls, encodes properties, replies and signals.
 *
 * Jobs are told apart by their number, which is the last part of the object path; nothing of a job is kept here. It
 * takes no decision: what is allowed in which state is in job.c. Nothing here waits for the bus.
 */

#include <errno.h>
#include <string.h>

#include "daemon/bus-variant.h"
#include "daemon/error.h"
#include "daemon/job-bus.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "shared/name.h"

#define JOB_ROOT DAVIT_BUS_PATH "/job"

/** job_bus_path() - the object path of a job, to be freed with g_free() */
char *job_bus_path(const Job *job) {
        return g_strdup_printf(JOB_ROOT "/%u", job->number);
}

/** job_bus_reply_path() - answers the method that has begun a job with its object path */
int job_bus_reply_path(const Job *job, sd_bus_message *call) {
        g_autofree char *path = job_bus_path(job);

        return sd_bus_reply_method_return(call, "o", path);
}

/* "7" of ".../job/7"; 0, which no job has, for anything that is not one plain number. */
static uint32_t number_from_path(const char *path) {
        const char *s = path + strlen(JOB_ROOT "/");
        guint64 number;

        if (!g_str_has_prefix(path, JOB_ROOT "/") || *s == '0' ||
            !g_ascii_string_to_unsigned(s, 10, 1, UINT32_MAX, &number, NULL))
                return 0;

        return (uint32_t)number;
}

static int find_object(sd_bus *bus _unused_, const char *path, const char *interface _unused_, void *userdata,
                       void **ret, sd_bus_error *error _unused_) {
        Job *job = job_find(userdata, number_from_path(path));

        if (!job)
                return 0;

        *ret = job;
        return 1;
}

static int enumerate(sd_bus *bus _unused_, const char *prefix _unused_, void *userdata, char ***ret,
                     sd_bus_error *error _unused_) {
        Manager *m = userdata;
        GHashTableIter iter;
        void *value;
        char **paths;
        size_t n = 0;

        /* sd-bus frees this with free(), which g_malloc() is since GLib 2.46 */
        paths = calloc(g_hash_table_size(m->jobs) + 1, sizeof(char *));
        if (!paths)
                return -ENOMEM;
        g_hash_table_iter_init(&iter, m->jobs);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                paths[n++] = job_bus_path(value);

        *ret = paths;
        return 0;
}

static int append_result(const Job *job, sd_bus_message *reply) {
        if (job->result)
                return bus_append_variant(reply, job->result);

        return sd_bus_message_append(reply, "a{sv}", 0);
}

/** job_bus_reply() - answers a Wait with the end of a job that has ended */
int job_bus_reply(Job *job, sd_bus_message *call) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        if (job->state != JOB_DONE)
                return sd_bus_reply_method_errorf(call, job->error, "%s", job->message);

        r = sd_bus_message_new_method_return(call, &reply);
        if (r < 0)
                return r;
        r = append_result(job, reply);
        if (r < 0)
                return r;
        return sd_bus_send(NULL, reply, NULL);
}

static int method_cancel(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Job *job = userdata;
        int r;

        r = job_cancel(job);
        if (r == -EALREADY)
                return error_precondition(error, "Job %u has already ended (%s).", job->number,
                                          job_state_name(job->state));
        if (r == -EOPNOTSUPP)
                return error_not_supported(error, "A job of type \"%s\" cannot be cancelled.", job->type);
        if (r < 0)
                return r;
        return sd_bus_reply_method_return(m, NULL);
}

static int method_wait(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        int r;

        r = job_wait(userdata, m);
        return r < 0 ? r : 1; /* answered now or later */
}

static int get_state(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                     const char *property _unused_, sd_bus_message *reply, void *userdata,
                     sd_bus_error *error _unused_) {
        const Job *job = userdata;

        return sd_bus_message_append(reply, "s", job_state_name(job->state));
}

static int get_progress(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                        const char *property _unused_, sd_bus_message *reply, void *userdata,
                        sd_bus_error *error _unused_) {
        const JobProgress *p = &((const Job *)userdata)->progress;

        return sd_bus_message_append(reply, "(ttuu)", p->bytes_done, p->bytes_total, p->parts_done, p->parts_total);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Cancel", "", "", method_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Wait", SD_BUS_NO_ARGS, SD_BUS_RESULT("a{sv}", result), method_wait,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Type", "s", NULL, offsetof(Job, type), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Subject", "s", NULL, offsetof(Job, subject), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("State", "s", get_state, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Progress", "(ttuu)", get_progress, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("StartedAt", "t", NULL, offsetof(Job, started_at), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_SIGNAL_WITH_ARGS("Finished", SD_BUS_ARGS("s", state, "s", error, "s", message), 0),
        SD_BUS_VTABLE_END,
};

/** job_bus_register() - puts the manager's jobs on its bus */
int job_bus_register(Manager *m) {
        int r;

        r = sd_bus_add_fallback_vtable(m->bus, NULL, JOB_ROOT, JOB_INTERFACE, vtable, find_object, m);
        if (r < 0)
                return r;
        return sd_bus_add_node_enumerator(m->bus, NULL, JOB_ROOT, enumerate, m);
}

static int by_number(const void *a, const void *b) {
        const Job *x = a, *y = b;

        return x->number < y->number ? -1 : x->number > y->number;
}

/** method_list_jobs() - Manager.ListJobs */
int method_list_jobs(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        Manager *manager = userdata;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        g_autoptr(GList) jobs = g_list_sort(g_hash_table_get_values(manager->jobs), by_number);
        int r;

        r = sd_bus_message_new_method_return(m, &reply);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(reply, 'a', "(ussso)");
        if (r < 0)
                return r;
        for (const GList *l = jobs; l; l = l->next) {
                const Job *job = l->data;
                g_autofree char *path = job_bus_path(job);

                r = sd_bus_message_append(reply, "(ussso)", job->number, job->type, job->subject,
                                          job_state_name(job->state), path);
                if (r < 0)
                        return r;
        }
        r = sd_bus_message_close_container(reply);
        if (r < 0)
                return r;
        return sd_bus_send(NULL, reply, NULL);
}

void job_bus_added(Job *job) {
        g_autofree char *path = job_bus_path(job);
        int r;

        if (!job->manager->bus)
                return;
        r = sd_bus_emit_interfaces_added(job->manager->bus, path, JOB_INTERFACE, NULL);
        if (r < 0)
                log_warning_errno(r, "Cannot announce job %u", job->number);
}

void job_bus_removed(Job *job) {
        g_autofree char *path = job_bus_path(job);
        int r;

        if (!job->manager->bus)
                return;
        r = sd_bus_emit_interfaces_removed(job->manager->bus, path, JOB_INTERFACE, NULL);
        if (r < 0)
                log_warning_errno(r, "Cannot announce the removal of job %u", job->number);
}

void job_bus_changed(Job *job, const char *property) {
        g_autofree char *path = job_bus_path(job);
        int r;

        if (!job->manager->bus)
                return;
        r = sd_bus_emit_properties_changed(job->manager->bus, path, JOB_INTERFACE, property, NULL);
        if (r < 0)
                log_warning_errno(r, "Cannot announce %s of job %u", property, job->number);
}

/** job_bus_finished() - the last progress and the state, then Finished and Manager.JobRemoved */
void job_bus_finished(Job *job) {
        g_autofree char *path = job_bus_path(job);
        sd_bus *bus = job->manager->bus;
        int r;

        if (!bus)
                return;
        r = sd_bus_emit_properties_changed(bus, path, JOB_INTERFACE, "Progress", "State", NULL);
        if (r >= 0)
                r = sd_bus_emit_signal(bus, path, JOB_INTERFACE, "Finished", "sss", job_state_name(job->state),
                                       job->error ?: "", job->message ?: "");
        if (r >= 0)
                r = sd_bus_emit_signal(bus, DAVIT_BUS_PATH, DAVIT_BUS_NAME ".Manager", "JobRemoved", "uos", job->number,
                                       path, job_state_name(job->state));
        if (r < 0)
                log_warning_errno(r, "Cannot announce the end of job %u", job->number);
}
