/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A further process in a running container.
 *
 * The shim enters the container's pid namespace for its next child alone and clones that straight into its cgroup. The
 * child has nothing of the shim open and is closed to ptrace before it enters a single namespace of the container; what
 * it needs of the image's files it reads before that, from outside, resolved inside the container's root.
 */

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "shared/macros.h"
#include "shared/name.h"
#include "shared/plan-check.h"
#include "shim/child.h"
#include "shim/foreign.h"
#include "shim/process.h"
#include "shim/setup.h"
#include "shim/shim.h"

#define RETURN_TRIES 8U

static int exec_plan(struct packet *p, const struct plan **ret, struct fault *fault) {
        _cleanup_close_ int fd = packet_take_fd(p, 0);

        if (fd < 0)
                return fault_set(fault, SHIM_STEP_PLAN, EBADMSG, "exec without a plan");
        return plan_map(fd, PLAN_EXEC, ret, fault);
}

static bool exec_fits(const struct shim *s, const struct plan *plan) {
        return !s->foreign == !plan->runtime.program;
}

static int exec_open(struct shim *s, struct setup *su, struct fault *fault) {
        char path[40];

        (void)snprintf(path, sizeof(path), "/proc/%d/root", (int)s->init.pid);
        su->root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (su->root_fd < 0)
                return fault_set(fault, SHIM_STEP_ROOTFS, errno, "the container's root");
        su->init_pidfd = s->init.pidfd;
        su->join_flags = s->namespace_flags;
        return 0;
}

/* It takes a little memory, and the container's life hangs on it. */
static bool exec_return(struct shim *s) {
        for (unsigned i = 0; i < RETURN_TRIES; i++)
                if (setns(s->pid_ns_fd, CLONE_NEWPID) >= 0)
                        return true;
        return false;
}

/* The kernel lets nobody be born below a first process that ends, and tells it as want of memory (pid_namespaces(7)).
 * Such a process has no root any more. */
static bool init_ends(const struct shim *s) {
        char path[40], c;

        (void)snprintf(path, sizeof(path), "/proc/%d/root", (int)s->init.pid);
        return readlink(path, &c, 1) < 0;
}

static int exec_clone(struct shim *s, struct process *p, struct setup *su, struct fault *fault) {
        _cleanup_close_ int group = -1;
        int r;

        group = cgroup_make_exec(&s->cgroup, p->exec_id);
        if (group < 0)
                return fault_set(fault, SHIM_STEP_CGROUP, group, "cgroup of exec %s", p->exec_id);
        if ((su->join_flags & CLONE_NEWPID) && setns(s->init.pidfd, CLONE_NEWPID) < 0)
                return fault_set(fault, SHIM_STEP_NAMESPACE, errno, "join the container's pid namespace");
        r = child_clone(p, su, 0, group);
        if (r == 0)
                exec_main(su);
        if ((su->join_flags & CLONE_NEWPID) && !exec_return(s))
                _exit(EXIT_FAILURE); /* the next child would be born in the wrong namespace */
        if (r == -ENOMEM && (su->join_flags & CLONE_NEWPID) && init_ends(s))
                return fault_set(fault, SHIM_STEP_NAMESPACE, ESRCH, "the container is not running");
        if (r < 0)
                return fault_set(fault, SHIM_STEP_NAMESPACE, r, "clone exec %s", p->exec_id);
        return child_oom_score(s, p, su->plan, fault);
}

static int exec_begin(struct shim *s, struct stdio_source *source, const struct shim_exec *request, struct process *p,
                      struct fault *fault) {
        struct setup su = SETUP_NULL;
        char unit[NAME_UNIT_MAX] = "";
        int r;

        su.fault = fault;
        r = exec_plan(source->packet, &su.plan, fault);
        if (!su.plan)
                return r;
        if (!exec_fits(s, su.plan))
                r = fault_set(fault, SHIM_STEP_PLAN, EINVAL, "exec of another runtime");
        (void)name_scope(plan_string(su.plan, su.plan->namespace), plan_string(su.plan, su.plan->id), unit);
        source->identifier = plan_identifier(su.plan);
        source->unit = unit;
        if (r >= 0)
                r = stdio_take(&su.stdio, &request->stdio, source, fault);
        if (r >= 0) {
                stdio_keep(&su.stdio, p->kept);
                r = drop_begin(s, p, &su.stdio, fault);
        }
        violation_expect(s, p, su.plan);
        if (r >= 0)
                r = exec_open(s, &su, fault);
        if (r >= 0)
                r = s->foreign ? foreign_exec(s, p, &su, fault) : exec_clone(s, p, &su, fault);
        stdio_done(&su.stdio);
        safe_close(su.root_fd);
        source->identifier = source->unit = NULL; /* they go with the plan and this function */
        (void)munmap((void *)su.plan, su.plan->size);
        return r;
}

static int exec_allowed(struct shim *s, const struct shim_exec *request, struct fault *fault) {
        if (s->init.state != PROCESS_RUNNING)
                return fault_set(fault, SHIM_STEP_PLAN, ESRCH, "the container is not running");
        if (s->paused || s->pausing)
                return fault_set(fault, SHIM_STEP_PLAN, EBUSY, "the container is paused");
        if (!memchr(request->exec_id, '\0', sizeof(request->exec_id)) || !name_id_valid(request->exec_id))
                return fault_set(fault, SHIM_STEP_PLAN, EINVAL, "exec id");
        if (shim_process(s, request->exec_id))
                return fault_set(fault, SHIM_STEP_PLAN, EEXIST, "exec %s", request->exec_id);
        return 0;
}

/** shim_exec() - start a further process */
void shim_exec(struct shim *s, struct packet *packet, const struct shim_exec *request, const char *text,
               size_t text_size, uint32_t serial) {
        struct stdio_source source = { .packet = packet, .next = 1, .text = text, .text_size = text_size };
        struct fault fault = FAULT_NULL;
        struct process *p;
        int allowed, r;

        p = calloc(1, sizeof(*p));
        if (!p) {
                shim_reply(s, serial, -ENOMEM, "exec");
                return;
        }
        *p = (struct process)PROCESS_NULL;
        p->serial = serial;
        p->state = PROCESS_MAKING;
        allowed = r = exec_allowed(s, request, &fault);
        memcpy(p->exec_id, request->exec_id, sizeof(p->exec_id));
        p->exec_id[sizeof(p->exec_id) - 1] = '\0';
        if (r >= 0)
                r = exec_begin(s, &source, request, p, &fault);
        if (r < 0) {
                shim_failed(s, p, &fault);
                if (allowed >= 0) /* else the group, if there is one of that name, is somebody else's */
                        cgroup_remove_exec(&s->cgroup, p->exec_id);
                process_done(s, p);
                free(p);
                return;
        }
        p->next = s->execs;
        s->execs = p;
}

static int exec_join(struct setup *s) {
        uint64_t flags = s->join_flags & (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP |
                                          CLONE_NEWUSER | CLONE_NEWTIME);

        if (setns(s->init_pidfd, (int)flags) < 0)
                return fault_set(s->fault, SHIM_STEP_NAMESPACE, errno, "join the container's namespaces");
        return flags & CLONE_NEWUSER ? namespace_become_root(s) : 0;
}

static int exec_run(struct setup *s) {
        int r;

        r = setup_begin(s);
        if (r >= 0 && (s->plan->flags & PLAN_BUNDLE)) /* it may have to be put into groups of cgroup v1 first */
                r = setup_expect(s, SETUP_SCOPED, SETUP_SCOPED, NULL, NULL);
        if (r >= 0)
                r = affinity_begin(s);
        if (r >= 0)
                r = stdio_open_null(s);
        if (r >= 0)
                r = user_resolve(s);
        if (r >= 0)
                r = labels_set(s);
        if (r >= 0 && !s->stdio.terminal)
                r = stdio_prepare(s);
        if (r >= 0)
                r = exec_join(s);
        if (r >= 0 && s->stdio.terminal) {
                r = terminal_open(s, false);
                if (r >= 0)
                        r = stdio_prepare(s);
        }
        if (r >= 0)
                r = namespace_keyring(s);
        if (r >= 0)
                r = setup_identity(s);
        return r < 0 ? r : setup_release(s);
}

/** exec_main() - be an exec */
void exec_main(struct setup *s) {
        if (exec_run(s) < 0)
                setup_die(s);
        command_run(s);
}
