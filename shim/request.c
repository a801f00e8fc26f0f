/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a manager asks of a running shim.
 *
 * One function a message: check, act, answer. Nothing here waits; what takes time is answered when it is done.
 */

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

#include "shared/fd.h"
#include "shared/syscalls.h"
#include "shim/foreign.h"
#include "shim/process.h"
#include "shim/shim.h"

static void request_kill(struct shim *s, const struct shim_kill *k, uint32_t serial) {
        struct process *p;
        int r;

        if (k->signal < 0 || k->signal >= _NSIG) {
                shim_reply(s, serial, -EINVAL, "no such signal");
                return;
        }
        if (k->all) {
                s->killed = s->killed || k->signal == SIGKILL;
                process_note_signal(&s->init, k->signal);
                for (p = s->execs; p; p = p->next)
                        process_note_signal(p, k->signal);
                /* Nobody but the runtime that deletes it is left of a container with a deadline for that. */
                r = foreign_deadline(s) ? 0 : cgroup_kill(&s->cgroup, k->signal);
                shim_reply(s, serial, r, r < 0 ? "signal to the container" : NULL);
                return;
        }
        p = shim_process(s, k->exec_id);
        if (!p || p->pidfd < 0 || p->state == PROCESS_ENDED) {
                shim_reply(s, serial, -ESRCH, "no such process");
                return;
        }
        process_note_signal(p, k->signal);
        if (s->foreign && p == &s->init && k->signal > 0 && k->signal != SIGKILL) {
                foreign_signal(s, k->signal, serial);
                return;
        }
        r = sys_pidfd_send_signal(p->pidfd, k->signal, NULL, 0) < 0 ? -errno : 0;
        shim_reply(s, serial, r, r < 0 ? "signal" : NULL);
}

static void request_pause(struct shim *s, uint32_t serial) {
        bool populated, frozen = false;
        int r;

        if (s->init.state != PROCESS_RUNNING || s->phase != SHIM_PHASE_ALIVE) {
                shim_reply(s, serial, -ESRCH, "the container is not running");
                return;
        }
        if (s->paused || s->pausing) {
                shim_reply(s, serial, s->paused ? 0 : -EBUSY, s->paused ? NULL : "the container is about to be paused");
                return;
        }
        if (s->foreign) {
                foreign_freeze(s, true, serial);
                return;
        }
        r = cgroup_state(&s->cgroup, &populated, &frozen); /* opened first, so that no change is missed */
        if (r >= 0)
                r = cgroup_freeze(&s->cgroup, true);
        if (r < 0) {
                shim_reply(s, serial, r, "freeze");
                return;
        }
        s->pausing = true;
        s->pause_serial = serial;
}

static void request_resume(struct shim *s, uint32_t serial) {
        bool still = s->paused || s->pausing;
        int r;

        if (!still && s->init.state != PROCESS_RUNNING) {
                shim_reply(s, serial, -ESRCH, "the container is not running");
                return;
        }
        if (s->foreign && s->pausing) {
                shim_reply(s, serial, -EBUSY, "the container is about to be paused");
                return;
        }
        if (s->foreign && still) {
                foreign_freeze(s, false, serial);
                return;
        }
        /* Whatever we know: a stop lets it run, and a dump that ends after that holds it still once more. */
        r = s->foreign ? 0 : cgroup_freeze(&s->cgroup, false);
        if (r >= 0 && still) {
                if (s->pausing)
                        shim_reply(s, s->pause_serial, -ECANCELED, "resumed");
                s->paused = s->pausing = false;
                s->cgroup.events_fd = safe_close(s->cgroup.events_fd);
        }
        shim_reply(s, serial, r, r < 0 ? "thaw" : NULL);
}

static void request_resize(struct shim *s, const struct shim_resize *z, uint32_t serial) {
        struct winsize size = { .ws_row = z->rows, .ws_col = z->columns };
        struct process *p = shim_process(s, z->exec_id);
        int r;

        if (!p || p->terminal_fd < 0) {
                shim_reply(s, serial, -ENOTTY, "the process has no terminal");
                return;
        }
        r = ioctl(p->terminal_fd, TIOCSWINSZ, &size) < 0 ? -errno : 0;
        shim_reply(s, serial, r, r < 0 ? "terminal size" : NULL);
}

static void request_terminal(struct shim *s, const struct shim_target *t, uint32_t serial) {
        struct process *p = shim_process(s, t->exec_id);
        struct shim_result result = { .error = 0 };

        if (!p || p->terminal_fd < 0)
                shim_reply(s, serial, -ENOTTY, "the process has no terminal");
        else
                (void)shim_tell(s, SHIM_REPLY, serial, &result, NULL, &p->terminal_fd, 1);
}

static void request_open_streams(struct shim *s, const struct shim_target *t, uint32_t serial) {
        struct process *p = shim_process(s, t->exec_id);
        struct shim_streams streams = { .mask = 0 };
        int fds[ELEMENTSOF(p->kept)];
        size_t n = 0;

        for (size_t i = 0; p && i < ELEMENTSOF(p->kept); i++)
                if (p->kept[i] >= 0) {
                        streams.mask |= 1U << i;
                        fds[n++] = p->kept[i];
                }
        if (n > 0)
                (void)shim_tell(s, SHIM_STREAMS_OPEN, serial, &streams, NULL, fds, n);
        else
                shim_reply(s, serial, -EBUSY, "none of its streams is kept");
}

static void request_close_streams(struct shim *s, const struct shim_streams *c, uint32_t serial) {
        struct process *p = shim_process(s, c->exec_id);

        if (!p) {
                shim_reply(s, serial, -ESRCH, "no such process");
                return;
        }
        for (size_t i = 0; i < ELEMENTSOF(p->kept); i++)
                if ((c->mask & 1U << i) && p->kept[i] < 0) {
                        shim_reply(s, serial, -EBUSY, "one of these streams is not kept");
                        return;
                }
        drop_end(s, p, c->mask);
        for (size_t i = 0; i < ELEMENTSOF(p->kept); i++)
                if (c->mask & 1U << i)
                        p->kept[i] = safe_close(p->kept[i]);
        shim_reply(s, serial, 0, NULL);
}

struct process_list {
        struct shim_process *records;
        size_t n, allocated;
};

static int collect(void *userdata, const char *group, pid_t pid) {
        struct process_list *l = userdata;
        struct shim_process *r;

        if (streq(group, CGROUP_RUNTIME))
                return 0;
        if (l->n == l->allocated) {
                size_t n = l->allocated ? l->allocated * 2 : 16;
                struct shim_process *grown = realloc(l->records, n * sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                l->records = grown;
                l->allocated = n;
        }
        r = &l->records[l->n++];
        memset(r, 0, sizeof(*r));
        r->pid = pid;
        return 0;
}

/* What an exec has started does not bear its name. */
static void name_processes(struct shim *s, struct process_list *l) {
        for (size_t i = 0; i < l->n; i++) {
                struct shim_process *r = &l->records[i];

                if (r->pid == s->init.pid)
                        (void)snprintf(r->exec_id, sizeof(r->exec_id), "init");
                for (const struct process *p = s->execs; p; p = p->next)
                        if (p->pid == r->pid)
                                memcpy(r->exec_id, p->exec_id, sizeof(r->exec_id));
        }
}

static void request_processes(struct shim *s, uint32_t serial) {
        struct process_list list = { .records = NULL };
        struct shim_result result = { .error = 0 };
        _cleanup_close_ int fd = -1;
        int r;

        r = cgroup_list(&s->cgroup, collect, &list);
        name_processes(s, &list);
        if (r >= 0 && list.n > 0) {
                fd = memfd_sealed("davit-processes", list.records, list.n * sizeof(*list.records));
                r = fd < 0 ? fd : 0;
        }
        free(list.records);
        if (r < 0)
                shim_reply(s, serial, r, "list processes");
        else
                (void)shim_tell(s, SHIM_REPLY, serial, &result, NULL, &fd, fd >= 0 ? 1 : 0);
}

static void request_unified(struct shim *s, struct packet *p, const struct shim_unified *u, uint32_t serial) {
        _cleanup_close_ int fd = packet_take_fd(p, 0);
        struct fault fault = FAULT_NULL;
        struct shim_result result;

        if (s->phase != SHIM_PHASE_ALIVE || !s->scoped) {
                shim_reply(s, serial, -ESRCH, "the container is not running");
                return;
        }
        result.error = u->undo ? unified_take_back(&s->cgroup, &s->unified, &fault)
                               : unified_change(&s->cgroup, &s->unified, fd, &fault);
        result.pad = 0;
        (void)shim_tell(s, SHIM_REPLY, serial, &result, result.error < 0 ? fault.text : NULL, NULL, 0);
}

static void request_query(struct shim *s, uint32_t serial) {
        oom_tell_all(s);
        violation_tell_all(s);
        shim_tell_state(s, &s->init, serial);
        drop_tell(s, &s->init, true);
        for (struct process *p = s->execs; p; p = p->next) {
                shim_tell_state(s, p, serial);
                drop_tell(s, p, true);
        }
        shim_reply(s, serial, 0, NULL);
}

static void request_launch(struct shim *s, struct packet *p, const struct shim_launch *l, const char *text,
                           size_t text_size, uint32_t serial) {
        if (s->phase == SHIM_PHASE_WARM || s->phase == SHIM_PHASE_PARKED)
                shim_launch(s, p, l, text, text_size, serial);
        else
                shim_reply(s, serial, -EBUSY, "the shim has a container");
}

static void request_park(struct shim *s, struct packet *p, uint32_t serial) {
        int dir = packet_take_fd(p, 0);

        if (s->phase != SHIM_PHASE_WARM) {
                safe_close(dir);
                shim_reply(s, serial, -EBUSY, "the shim is not warm");
                return;
        }
        s->phase = SHIM_PHASE_PARKED;
        s->task_dir = dir;
}

static void request_scope(struct shim *s, const char *text, size_t size, uint32_t serial) {
        if (s->phase == SHIM_PHASE_WARM || s->phase == SHIM_PHASE_ENDING)
                shim_reply(s, serial, -EINVAL, "no scope is expected");
        else
                shim_scope(s, text, size, serial);
}

static void request_stop(struct shim *s, const struct shim_stop *stop, uint32_t serial) {
        if (stop->signal < 0 || stop->signal >= _NSIG) {
                shim_reply(s, serial, -EINVAL, "no such signal");
                return;
        }
        shim_reply(s, serial, 0, NULL);
        shim_stop(s, stop->signal, stop->force, stop->timeout_usec);
}

static bool exec_id_terminated(uint16_t type, const void *body) {
        const char *id;

        switch (type) {
        case SHIM_KILL:
                id = ((const struct shim_kill *)body)->exec_id;
                break;
        case SHIM_RESIZE:
                id = ((const struct shim_resize *)body)->exec_id;
                break;
        case SHIM_CLOSE_STREAMS:
                id = ((const struct shim_streams *)body)->exec_id;
                break;
        case SHIM_TERMINAL:
        case SHIM_OPEN_STREAMS:
                id = ((const struct shim_target *)body)->exec_id;
                break;
        default:
                return true;
        }
        return memchr(id, '\0', SHIM_EXEC_ID_MAX) != NULL;
}

static void dispatch(struct shim *s, struct packet *p, const struct shim_message *m, const void *body, const char *text,
                     size_t text_size) {
        switch (m->type) {
        case SHIM_PARK:
                return request_park(s, p, m->serial);
        case SHIM_LAUNCH:
                return request_launch(s, p, body, text, text_size, m->serial);
        case SHIM_SCOPE:
                return request_scope(s, text, text_size, m->serial);
        case SHIM_START:
                return shim_start(s, m->serial);
        case SHIM_EXEC:
                return shim_exec(s, p, body, text, text_size, m->serial);
        case SHIM_KILL:
                return request_kill(s, body, m->serial);
        case SHIM_STOP:
                return request_stop(s, body, m->serial);
        case SHIM_PAUSE:
                return request_pause(s, m->serial);
        case SHIM_RESUME:
                return request_resume(s, m->serial);
        case SHIM_RESIZE:
                return request_resize(s, body, m->serial);
        case SHIM_CLOSE_STREAMS:
                return request_close_streams(s, body, m->serial);
        case SHIM_OPEN_STREAMS:
                return request_open_streams(s, body, m->serial);
        case SHIM_TERMINAL:
                return request_terminal(s, body, m->serial);
        case SHIM_PROCESSES:
                return request_processes(s, m->serial);
        case SHIM_QUERY:
                return request_query(s, m->serial);
        case SHIM_UNIFIED:
                return request_unified(s, p, body, m->serial);
        case SHIM_DISCARD:
                shim_reply(s, m->serial, 0, NULL);
                return shim_discard(s);
        default:
                return shim_reply(s, m->serial, -EBADMSG, "not a request to a shim");
        }
}

/** shim_request() - act on one packet of the manager; a malformed one ends the connection */
void shim_request(struct shim *s, struct packet *p) {
        const struct shim_message *m;
        const char *text;
        const void *body;
        size_t text_size;

        if (shim_packet_check(p, &m, &body, &text, &text_size) < 0 || !exec_id_terminated(m->type, body)) {
                s->control = safe_close(s->control);
                return;
        }
        dispatch(s, p, m, body, text, text_size);
}
