/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * System calls that the container's filter refuses.
 *
 * Where they are to be told the kernel asks the shim instead of answering itself (seccomp.c). The shim answers at once,
 * with what the filter says, and tells afterwards: whether anybody listens, or is slow, is nothing the container would
 * notice. A call that was not told before is told, of the others so many in a window of time; the rest are counted, the
 * last of them is told with their number at the window's end, and windows get longer while there is that much to count.
 * A message stands for itself and those it says were dropped, so the sum of all is the number of calls. Never decides
 * anything: the filter does.
 */

#include "shim/violation.h"

#include <ctype.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "shared/fd.h"
#include "shared/plan-check.h"
#include "shared/process.h"
#include "shim/namespace.h"
#include "shim/shim.h"

#define WINDOW USEC_PER_SEC
#define WINDOW_MAX (64 * USEC_PER_SEC)
#define WINDOW_MESSAGES 10U /* of calls that have been told before */
#define WINDOW_NEW 16U      /* of others */
#define ROOM 512U           /* for a kernel whose structures have grown */
#define STATUS_MAX 4096U
#define X32_BIT 0x40000000

static bool filter_kills(const struct sock_filter *program, size_t n) {
        for (size_t i = 0; i < n; i++) {
                uint32_t action = program[i].k & SECCOMP_RET_ACTION_FULL;

                if (program[i].code == (BPF_RET | BPF_K) &&
                    (action == SECCOMP_RET_KILL_PROCESS || action == SECCOMP_RET_KILL_THREAD ||
                     action == SECCOMP_RET_TRAP))
                        return true;
        }
        return false;
}

static struct violation_filter *filter_take(struct shim *s, const struct sock_filter *program, size_t n) {
        struct violation_filter *filter;

        for (struct violation_source *o = s->violations.sources; o; o = o->next)
                if (o->filter->n == n && memcmp(o->filter->program, program, n * sizeof(*program)) == 0) {
                        o->filter->references++;
                        return o->filter;
                }
        filter = malloc(sizeof(*filter) + n * sizeof(*program));
        if (!filter)
                return NULL;
        filter->references = 1;
        filter->n = n;
        memcpy(filter->program, program, n * sizeof(*program));
        return filter;
}

/** violation_expect() - @p is being made from @plan: keep what the shim needs to answer for it
 *
 * The filter of another runtime's process is that runtime's. Of a restored one it is known, but criu brings back one
 * that asks nobody.
 */
void violation_expect(struct shim *s, struct process *p, const struct plan *plan) {
        const struct sock_filter *program = plan_array(plan, plan->seccomp.program);
        size_t n = plan->seccomp.program.n;

        p->filter_kills = plan->runtime.program || filter_kills(program, n);
        if (!(plan->flags & PLAN_SECCOMP_REPORT) || n == 0 || (s->restore && p == &s->init))
                return;
        p->filter = filter_take(s, program, n);
        p->filter_told = true;
}

/** violation_filter_unref() - NULL, for assignment */
struct violation_filter *violation_filter_unref(struct violation_filter *filter) {
        if (filter && --filter->references == 0)
                free(filter);
        return NULL;
}

static void source_free(struct shim *s, struct violation_source *o) {
        for (struct violation_source **p = &s->violations.sources; *p; p = &(*p)->next)
                if (*p == o) {
                        *p = o->next;
                        break;
                }
        /* A child that has just been cloned holds it as well: closing alone would leave it in the set. */
        (void)epoll_ctl(s->violations.epoll_fd, EPOLL_CTL_DEL, o->fd, NULL);
        (void)safe_close(o->fd);
        violation_filter_unref(o->filter);
        free(o);
}

/** violation_watch() - a process has handed over where its filter asks
 *
 * Takes @fd in any case; calls that nobody can answer any more fail with ENOSYS.
 */
void violation_watch(struct shim *s, struct process *p, int *fd) {
        struct violations *v = &s->violations;
        struct violation_source *o = calloc(1, sizeof(*o));
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = o };

        if (v->epoll_fd < 0)
                v->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (!o || !p->filter || v->epoll_fd < 0 || epoll_ctl(v->epoll_fd, EPOLL_CTL_ADD, *fd, &event) < 0) {
                *fd = safe_close(*fd);
                free(o);
                return;
        }
        o->fd = take_fd(fd);
        o->filter = TAKE_PTR(p->filter);
        memcpy(o->exec_id, p->exec_id, sizeof(o->exec_id));
        o->next = v->sources;
        v->sources = o;
}

/* Whether it was told before; *bit is where to note that. A number out of the table is as good as told. */
static bool seen(struct violations *v, uint32_t arch, int call, uint64_t **word, uint64_t *bit) {
        size_t a = arch == AUDIT_ARCH_I386 ? 1 : call & X32_BIT ? 2 : 0, n = (size_t)(call & ~X32_BIT);

        *word = NULL;
        if (n >= VIOLATION_CALLS)
                return true;
        *word = &v->seen[a][n / 64];
        *bit = UINT64_C(1) << n % 64;
        return **word & *bit;
}

static void window_begin(struct violations *v, uint64_t now) {
        v->window = !v->dropped ? WINDOW : v->window * 2 > WINDOW_MAX ? WINDOW_MAX : v->window * 2;
        v->window_end = now + v->window;
        v->left = WINDOW_MESSAGES;
        v->left_new = WINDOW_NEW;
        v->dropped = false;
}

static bool due(struct violations *v, uint32_t arch, int call) {
        uint64_t now = now_usec(CLOCK_MONOTONIC), *word, bit = 0;

        if (now >= v->window_end)
                window_begin(v, now);
        if (!seen(v, arch, call, &word, &bit) && v->left_new > 0)
                v->left_new--;
        else if (v->left > 0)
                v->left--;
        else
                return false;
        if (word)
                *word |= bit;
        return true;
}

/* A thread has a name of its own. What is not printable would be text that the container puts into messages. */
static void look_at(pid_t thread, struct shim_violation *e) {
        _cleanup_free_ char *status = NULL, *name = NULL;
        _cleanup_close_ int fd = proc_open(thread, "status", O_RDONLY);
        size_t n = 0;
        char *p;

        e->pid = thread;
        if (fd < 0 || fd_read_bounded(fd, STATUS_MAX, &status, NULL) < 0)
                return;
        p = strstr(status, "\nTgid:");
        if (p)
                e->pid = (pid_t)strtol(p + 6, NULL, 10);
        fd = safe_close(fd);
        fd = proc_open(e->pid, "comm", O_RDONLY);
        if (fd < 0 || fd_read_bounded(fd, sizeof(e->command), &name, &n) < 0)
                return;
        if (n > 0 && name[n - 1] == '\n')
                n--;
        for (size_t i = 0; i < n && i < sizeof(e->command) - 1; i++)
                e->command[i] = name[i];
        for (char *c = e->command; *c; c++)
                *c = isprint((unsigned char)*c) ? *c : '?';
}

/* The process, and what it calls itself. One that is killed meanwhile leaves its number to another, so what was read
 * counts only if the call still waits. */
static void identify(int fd, const struct seccomp_notif *notif, struct shim_violation *e) {
        struct shim_violation seen = *e;

        look_at((pid_t)notif->pid, &seen);
        if (ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &notif->id) >= 0)
                *e = seen;
}

/* A manager that does not read is told later, or by what stands in the directory: it is no reason to give it up. */
static void send_behind(struct shim *s) {
        struct violations *v = &s->violations;

        v->retry_at = 0;
        for (size_t i = 0; i < v->n_events && s->control >= 0; i++) {
                if (v->events[i].number <= v->sent)
                        continue;
                if (shim_send(s->control, SHIM_VIOLATION, 0, &v->events[i], NULL, NULL, 0) < 0) {
                        v->retry_at = now_usec(CLOCK_MONOTONIC) + WINDOW;
                        return;
                }
                v->sent = v->events[i].number;
        }
}

/* What goes without anybody having heard of it is counted with the next. */
static void make_room(struct violations *v) {
        if (v->n_events < VIOLATION_RECORD_MAX)
                return;
        if (v->events[0].number > v->sent)
                v->events[1].dropped += v->events[0].dropped + 1;
        memmove(v->events, v->events + 1, --v->n_events * sizeof(*v->events));
}

static void tell(struct shim *s, const struct shim_violation *told) {
        struct violations *v = &s->violations;
        struct shim_violation *e;

        make_room(v);
        e = &v->events[v->n_events++];
        *e = *told;
        e->number = ++v->number;
        e->calls = v->calls;
        e->dropped = v->waiting - 1;
        v->waiting = 0;
        (void)violation_record_write(s->task_dir, v->events, v->n_events);
        send_behind(s);
}

static void note(struct shim *s, const struct shim_violation *e, bool now) {
        struct violations *v = &s->violations;

        v->calls++;
        v->waiting++;
        if (now)
                tell(s, e);
        else {
                v->dropped = true;
                v->last = *e;
        }
}

static void answer(struct shim *s, struct violation_source *o) {
        union {
                struct seccomp_notif notif;
                uint8_t room[ROOM];
        } in = { .room = { 0 } };
        union {
                struct seccomp_notif_resp resp;
                uint8_t room[ROOM];
        } out = { .room = { 0 } };
        struct shim_violation e = { .pid = 0 };
        uint32_t number;
        bool now;

        if (ioctl(o->fd, SECCOMP_IOCTL_NOTIF_RECV, &in) < 0)
                return;
        e.at = now_usec(CLOCK_REALTIME);
        e.arch = in.notif.data.arch;
        e.call = in.notif.data.nr;
        e.pid = (int32_t)in.notif.pid;
        e.action = filter_run(o->filter->program, o->filter->n, &in.notif.data);
        memcpy(e.exec_id, o->exec_id, sizeof(e.exec_id));
        now = due(&s->violations, e.arch, e.call);
        if (now)
                identify(o->fd, &in.notif, &e);
        number = e.action & SECCOMP_RET_DATA;
        out.resp.id = in.notif.id;
        out.resp.error = -(int)(number > 4095 ? 4095 : number); /* as the kernel does */
        (void)ioctl(o->fd, SECCOMP_IOCTL_NOTIF_SEND, &out);
        note(s, &e, now);
}

/** violation_noticed() - epoll_fd is ready: one call of each process that asks; those that nobody has any more go */
void violation_noticed(struct shim *s) {
        struct epoll_event events[16];
        int n = epoll_wait(s->violations.epoll_fd, events, ELEMENTSOF(events), 0);

        for (int i = 0; i < n; i++) {
                if (events[i].events & EPOLLIN)
                        answer(s, events[i].data.ptr);
                else
                        source_free(s, events[i].data.ptr);
        }
}

/** violation_flush() - tell what was only counted so far */
void violation_flush(struct shim *s) {
        if (s->violations.waiting > 0)
                tell(s, &s->violations.last);
        else
                send_behind(s);
}

/** violation_flush_at() - when that is due, CLOCK_MONOTONIC in microseconds; 0: there is nothing to tell */
uint64_t violation_flush_at(const struct shim *s) {
        const struct violations *v = &s->violations;

        if (v->waiting > 0)
                return v->window_end;
        return s->control >= 0 ? v->retry_at : 0;
}

/** violation_killed() - a process of ours was killed by SIGSYS
 *
 * The kernel does that without asking, and says to nobody but its audit which call it was.
 */
void violation_killed(struct shim *s, const struct process *p) {
        struct shim_violation e = {
                .at = now_usec(CLOCK_REALTIME), .call = -1, .pid = p->pid, .action = SECCOMP_RET_KILL_PROCESS
        };

        if (!p->filter_told)
                return;
        memcpy(e.exec_id, p->exec_id, sizeof(e.exec_id));
        violation_flush(s);
        note(s, &e, true);
}

/** violation_tell_all() - everything once more, to a manager that has not heard it, or not all of it */
void violation_tell_all(struct shim *s) {
        s->violations.sent = 0;
        send_behind(s);
}
