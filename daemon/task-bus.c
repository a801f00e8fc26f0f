/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bus face of tasks: org.davit.Davit1.Task, beside Process on the same path.
 *
 * Decodes, calls, encodes; answers come when the work is done. Stop exists in a waiting form and as a job.
 */

#include <errno.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/checkpoint.h"
#include "daemon/error.h"
#include "daemon/event.h"
#include "daemon/exec.h"
#include "daemon/job-bus.h"
#include "daemon/job.h"
#include "daemon/objects.h"
#include "daemon/scope-watch.h"
#include "daemon/stats.h"
#include "daemon/task-seccomp.h"
#include "daemon/task.h"
#include "shared/fd.h"

#define INTERFACE "org.davit.Davit1.Task"
#define PROCESSES_SIZE_MAX (64U * 1024U * 1024U)

/** task_bus_find() - by namespace ("" is the default one) and whole id */
int task_bus_find(Manager *m, const char *ns_name, const char *id, Task **ret, sd_bus_error *error) {
        Container *c;
        int r;

        r = container_bus_find(m, ns_name, id, &c, error);
        if (r < 0)
                return r;
        if (!c->task || !c->task->process.visible)
                return error_not_found(error, "Container \"%s\" has no task; start it first.", id);
        *ret = c->task;
        return 0;
}

static void on_done(Task *t _unused_, int r, const sd_bus_error *error, void *userdata) {
        bus_reply_done(userdata, r, error);
}

static int stop(Task *t, const Options *o, task_done_t done, void *userdata, sd_bus_error *error) {
        uint64_t timeout = o->timeout_usec != UINT64_MAX ? o->timeout_usec : t->container->stop_timeout_usec;

        return task_stop(t, o->signal, timeout, o->force != 0, done, userdata, error);
}

static int method_stop(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(options_done) Options o = OPTIONS_NULL;
        int r;

        r = options_read(m, OPTION_STOP, &o, error);
        if (r < 0)
                return r;
        return bus_reply_later(m, stop(userdata, &o, on_done, sd_bus_message_ref(m), error), error);
}

typedef struct StopJob {
        Job *job; /* NULL once it has been cancelled */
} StopJob;

static void on_job_stopped(Task *t _unused_, int r, const sd_bus_error *error, void *userdata) {
        g_autofree StopJob *s = userdata;

        if (!s->job)
                return;
        if (r >= 0)
                (void)job_finish_ok(s->job, NULL);
        else
                (void)job_finish_error(
                        s->job, error && error->name ? error->name : error_kind_bus_name(error_kind_from_errno(r)),
                        error && error->message ? error->message : g_strerror(-r));
}

/* What has been signalled stays signalled; the job merely stops to watch. */
static void on_job_cancelled(Job *job, void *userdata) {
        ((StopJob *)userdata)->job = NULL;
        (void)job_finish_cancelled(job);
}

static int method_begin_stop(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        _cleanup_(options_done) Options o = OPTIONS_NULL;
        g_autofree char *subject = NULL, *path = NULL;
        Task *t = userdata;
        StopJob *s;
        int r;

        r = options_read(m, OPTION_STOP, &o, error);
        if (r < 0)
                return r;
        subject = g_strdup_printf("%s/%s", t->ns->name, t->id);
        s = g_new0(StopJob, 1);
        r = job_new(t->ns->manager, t->ns->name, "stop", subject, on_job_cancelled, s, &s->job);
        if (r < 0) {
                g_free(s);
                return error_set_errno(error, r, "No job can be made");
        }
        path = job_bus_path(s->job);
        r = sd_bus_reply_method_return(m, "o", path);
        if (r >= 0)
                r = stop(t, &o, on_job_stopped, s, &failure); /* the call is answered: this is for the job alone */
        if (r < 0) {
                (void)job_finish_error(s->job, failure.name ?: error_kind_bus_name(error_kind_from_errno(r)),
                                       failure.message ?: g_strerror(-r));
                g_free(s);
        }
        return 1;
}

static int method_kill_all(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        int r, sig;

        r = bus_read_signal(m, &sig, error);
        if (r < 0)
                return r;
        return bus_reply_later(m, task_kill(userdata, "", sig, true, on_done, sd_bus_message_ref(m), error), error);
}

static int method_pause(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return bus_reply_later(m, task_pause(userdata, true, on_done, sd_bus_message_ref(m), error), error);
}

static int method_resume(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return bus_reply_later(m, task_pause(userdata, false, on_done, sd_bus_message_ref(m), error), error);
}

static int new_exec(sd_bus_message *m, Task *t, Exec **ret, sd_bus_error *error) {
        _cleanup_(options_done) Options o = OPTIONS_NULL;
        g_auto(GStrv) command = NULL;
        const char *exec_id;
        int r;

        r = sd_bus_message_read(m, "s", &exec_id);
        if (r >= 0)
                r = sd_bus_message_read_strv(m, &command);
        if (r >= 0)
                r = options_read(m, OPTION_EXEC, &o, error);
        if (r < 0)
                return r;
        r = exec_new(t, exec_id, command, &o, ret, error);
        return r < 0 ? error_set_errno(error, r, "The exec cannot be defined") : 0;
}

static int method_exec(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Exec *e;
        int r;

        r = new_exec(m, userdata, &e, error);
        if (r < 0)
                return r;
        process_bus_added(&e->process);
        event_exec(e, EVENT_EXEC_ADDED);
        return sd_bus_reply_method_return(m, "so", e->process.exec_id, e->process.path);
}

static void on_exec_started(Exec *e, int r, const sd_bus_error *error, void *userdata) {
        sd_bus_message *call = userdata;
        _cleanup_close_ int fd = -1;

        if (r >= 0)
                r = process_wait_fd(&e->process, &fd);
        if (r < 0) {
                bus_reply_error(&call, r, error);
                return;
        }
        process_bus_added(&e->process);
        r = sd_bus_reply_method_return(call, "souh", e->process.exec_id, e->process.path, e->process.pid, fd);
        if (r < 0)
                bus_reply_error(&call, r, NULL);
        else
                sd_bus_message_unref(call);
}

static int method_exec_start(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Exec *e;
        int r;

        r = new_exec(m, userdata, &e, error);
        if (r < 0)
                return r;
        r = exec_start(e, on_exec_started, sd_bus_message_ref(m), error);
        if (r < 0)
                exec_forget(e);
        return bus_reply_later(m, r, error);
}

static int append_processes(sd_bus_message *reply, int fd) {
        _cleanup_free_ char *data = NULL;
        struct shim_process p;
        size_t size;
        int r;

        if (lseek(fd, 0, SEEK_SET) < 0)
                return -errno;
        r = fd_read_bounded(fd, PROCESSES_SIZE_MAX, &data, &size);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(us)");
        for (size_t at = 0; r >= 0 && at + sizeof(p) <= size; at += sizeof(p)) {
                memcpy(&p, data + at, sizeof(p));
                p.exec_id[sizeof(p.exec_id) - 1] = '\0';
                r = sd_bus_message_append(reply, "(us)", (uint32_t)p.pid, p.exec_id);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static void on_processes(Task *t _unused_, int r, int fd_in, const sd_bus_error *error, void *userdata) {
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        sd_bus_message *call = userdata;
        _cleanup_close_ int fd = fd_in;

        if (r >= 0)
                r = sd_bus_message_new_method_return(call, &reply);
        if (r >= 0)
                r = append_processes(reply, fd);
        if (r < 0) {
                bus_reply_error(&call, r, error);
                return;
        }
        (void)sd_bus_send(NULL, reply, NULL);
        sd_bus_message_unref(call);
}

static int method_list_processes(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return bus_reply_later(
                m, task_fd_request(userdata, SHIM_PROCESSES, NULL, on_processes, sd_bus_message_ref(m), error), error);
}

static int method_update(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(options_done) Options o = OPTIONS_NULL;
        int r;

        r = options_read(m, OPTION_UPDATE_TASK, &o, error);
        if (r < 0)
                return r;
        return bus_reply_later(m, task_update(userdata, &o, on_done, sd_bus_message_ref(m), error), error);
}

#define GETTER(name)                                                                                                   \
        static int name(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,               \
                        const char *property _unused_, sd_bus_message *reply, void *userdata,                          \
                        sd_bus_error *error _unused_)

GETTER(get_namespace) {
        return sd_bus_message_append(reply, "s", ((Task *)userdata)->ns->name);
}

GETTER(get_container) {
        const Task *t = userdata;
        g_autofree char *p = bus_object_path(t->ns->name, "container", t->id);

        return sd_bus_message_append(reply, "o", p);
}

/* Without dashes, as journalctl takes it. */
GETTER(get_boot_id) {
        const Task *t = userdata;
        char id[sizeof(t->boot_id)];
        size_t n = 0;

        for (const char *p = t->boot_id; *p; p++)
                if (*p != '-')
                        id[n++] = *p;
        id[n] = '\0';
        return sd_bus_message_append(reply, "s", id);
}

GETTER(get_spec) {
        return sd_bus_message_append(reply, "s", ((Task *)userdata)->spec_text ?: "");
}

GETTER(get_journal) {
        return sd_bus_message_append(reply, "b", ((Task *)userdata)->journal);
}

/* One for all limits: the property's name tells which. */
static int get_limit(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,
                     const char *property, sd_bus_message *reply, void *userdata, sd_bus_error *error _unused_) {
        Task *t = userdata;
        const ScopeLimits *l = &t->limits;
        const struct {
                const char *name;
                const uint64_t *value;
        } all[] = {
                { "MemoryMax", &l->memory_max },
                { "MemoryHigh", &l->memory_high },
                { "MemoryLow", &l->memory_low },
                { "MemorySwapMax", &l->memory_swap_max },
                { "CPUQuotaPerSecUSec", &l->cpu_quota_per_sec_usec },
                { "CPUWeight", &l->cpu_weight },
                { "IOWeight", &l->io_weight },
                { "TasksMax", &l->tasks_max },
        };

        scope_watch_ensure(t);
        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                if (streq(all[i].name, property))
                        return sd_bus_message_append(reply, "t", *all[i].value);
        return sd_bus_message_append(reply, "s", l->allowed_cpus);
}

#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define LIMIT(name) SD_BUS_PROPERTY(name, "t", get_limit, 0, CHANGES)
#define CONST SD_BUS_VTABLE_PROPERTY_CONST
#define AT(x) offsetof(Task, x)

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Stop", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT, method_stop,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("BeginStop", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("o", job), method_begin_stop,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("KillAll", SD_BUS_ARGS("s", signal), SD_BUS_NO_RESULT, method_kill_all,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Pause", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_pause, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Resume", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_resume, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Checkpoint", SD_BUS_ARGS("s", name, "a{sv}", options), SD_BUS_RESULT("o", job),
                                method_checkpoint, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Exec", SD_BUS_ARGS("s", exec_id, "as", command, "a{sv}", options),
                                SD_BUS_RESULT("s", exec_id, "o", process), method_exec, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ExecStart", SD_BUS_ARGS("s", exec_id, "as", command, "a{sv}", options),
                                SD_BUS_RESULT("s", exec_id, "o", process, "u", pid, "h", exit), method_exec_start,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListProcesses", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(us)", processes),
                                method_list_processes, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Update", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT, method_update,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Stats", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("a{sv}", stats),
                                method_task_stats, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Namespace", "s", get_namespace, 0, CONST),
        SD_BUS_PROPERTY("Id", "s", NULL, AT(id), CONST),
        SD_BUS_PROPERTY("Container", "o", get_container, 0, CONST),
        SD_BUS_PROPERTY("Scope", "s", NULL, AT(scope), CONST),
        SD_BUS_PROPERTY("Runtime", "s", NULL, AT(runtime), CONST),
        SD_BUS_PROPERTY("Spec", "s", get_spec, 0, CONST | SD_BUS_VTABLE_PROPERTY_EXPLICIT),
        SD_BUS_PROPERTY("BootId", "s", get_boot_id, 0, CONST),
        SD_BUS_PROPERTY("CreatedAt", "t", NULL, AT(process.created_at), CONST),
        SD_BUS_PROPERTY("Journal", "b", get_journal, 0, CONST),
        LIMIT("MemoryMax"),
        LIMIT("MemoryHigh"),
        LIMIT("MemoryLow"),
        LIMIT("MemorySwapMax"),
        LIMIT("CPUQuotaPerSecUSec"),
        LIMIT("CPUWeight"),
        LIMIT("IOWeight"),
        LIMIT("TasksMax"),
        SD_BUS_PROPERTY("AllowedCPUs", "s", get_limit, 0, CHANGES),
        SD_BUS_PROPERTY("OomKills", "t", NULL, AT(oom_kills), CHANGES),
        SD_BUS_SIGNAL_WITH_ARGS("OomKilled", SD_BUS_ARGS("s", culprit, "s", exec_id, "t", kills, "t", at), 0),
        SD_BUS_PROPERTY("SeccompViolations", "t", NULL, AT(violations), CHANGES),
        SD_BUS_SIGNAL_WITH_ARGS("SeccompViolation",
                                SD_BUS_ARGS("s", syscall, "i", number, "s", arch, "s", action, "u", pid, "s", command,
                                            "s", exec_id, "t", dropped, "t", at),
                                0),
        SD_BUS_VTABLE_END,
};

const ObjectTable task_objects = { .kind = "task",
                                   .interface = INTERFACE,
                                   .table = offsetof(Namespace, tasks),
                                   .path = offsetof(Task, process.path),
                                   .visible = offsetof(Task, process.visible) };

static int find(sd_bus *bus _unused_, const char *path, const char *interface _unused_, void *userdata, void **ret,
                sd_bus_error *error _unused_) {
        *ret = object_at(userdata, &task_objects, path);
        return *ret ? 1 : 0;
}

/** task_bus_register() - once, for all of them; process-bus.c enumerates */
int task_bus_register(Manager *m) {
        return sd_bus_add_fallback_vtable(m->bus, NULL, DAVIT_BUS_PATH "/ns", INTERFACE, vtable, find, m);
}

/** task_bus_changed() - properties of the Task interface are other than they were */
void task_bus_changed(Task *t, const char *const *properties) {
        if (t->process.visible)
                (void)sd_bus_emit_properties_changed_strv(t->ns->manager->bus, t->process.path, INTERFACE,
                                                          (char **)properties);
}

/** task_bus_oom() - the property, then the signal */
void task_bus_oom(Task *t, const struct shim_oom *e) {
        if (!t->process.visible)
                return;
        task_bus_changed(t, (const char *const[]){ "OomKills", NULL });
        (void)sd_bus_emit_signal(t->ns->manager->bus, t->process.path, INTERFACE, "OomKilled", "sstt",
                                 oom_culprit_name(e->culprit), e->exec_id, e->kills, e->at);
}

/** task_bus_violation() - the property, then the signal */
void task_bus_violation(Task *t, const TaskViolation *v) {
        const struct shim_violation *e = v->shim;

        if (!t->process.visible)
                return;
        task_bus_changed(t, (const char *const[]){ "SeccompViolations", NULL });
        (void)sd_bus_emit_signal(t->ns->manager->bus, t->process.path, INTERFACE, "SeccompViolation", "sissusstt",
                                 v->name, e->call, v->arch, v->action, (uint32_t)e->pid, e->command, e->exec_id,
                                 e->dropped, e->at);
}
