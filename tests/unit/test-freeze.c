/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A container held still, against a supervisor that this test plays: what is asked of it in which order, who is told,
 * and that the mark in /run is there as long as something has to be undone, and no longer.
 */

#include "daemon/freeze.h"

#include <errno.h>
#include <inttypes.h>

#include "daemon/task.h"
#include "tests/unit/fake-store.h"

#define MARK "namespaces/default/frozen/c%%3A%" PRIu64 ".json"

typedef struct Shim {
        Fixture f;
        Container *c;
        Task *t;
        int peer;
        unsigned n_done;
        int r;
} Shim;

static void begin(Shim *s, const void *data) {
        int fds[2], no_pidfd = -1;

        set_up(&s->f, data);
        s->c = g_new0(Container, 1);
        s->c->ns = s->f.ns;
        s->c->id = g_strdup("c");
        s->c->created_at = 7;
        g_hash_table_insert(s->f.ns->containers, s->c->id, s->c);
        g_assert_cmpint(task_new(s->c, "c.scope", &s->t), ==, 0);
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), ==, 0);
        s->peer = fds[1];
        g_assert_cmpint(link_new(&s->f.m, &fds[0], &no_pidfd, &task_link_handlers, s->t, &s->t->link), ==, 0);
        g_assert_cmpint(process_set_started(&s->t->process, 1, 1, 1), ==, 0);
}

static void end(Shim *s, const void *data) {
        (void)safe_close(s->peer);
        tear_down(&s->f, data);
}

static bool marked(Shim *s) {
        g_autofree char *mark = g_strdup_printf(MARK, s->t->process.created_at);

        return faccessat(s->f.m.runtime_fd, mark, F_OK, 0) == 0;
}

/* The request the shim gets next is this one; its serial. */
static uint32_t asked(Shim *s, uint16_t type) {
        g_autofree struct packet *p = g_new0(struct packet, 1);
        const struct shim_message *h;
        uint32_t serial;

        g_assert_cmpint(packet_recv(s->peer, p), ==, 1);
        g_assert_cmpint(shim_packet_check(p, &h, NULL, NULL, NULL), ==, 0);
        g_assert_cmpint(h->type, ==, type);
        serial = h->serial;
        packet_done(p);
        return serial;
}

static void nothing_asked(Shim *s) {
        char byte;

        g_assert_cmpint(recv(s->peer, &byte, 1, MSG_PEEK | MSG_DONTWAIT), <, 0);
        g_assert_cmpint(errno, ==, EAGAIN);
}

static void reply(Shim *s, uint32_t serial, int error) {
        struct shim_result body = { .error = error };

        g_assert_cmpint(shim_send(s->peer, SHIM_REPLY, serial, &body, NULL, NULL, 0), ==, 0);
        turn(&s->f);
}

static void done(int r, const sd_bus_error *error _unused_, void *userdata) {
        Shim *s = userdata;

        s->n_done++;
        s->r = r;
}

static int hold(Shim *s, Freeze **ret) {
        return freeze_begin(s->c, done, s, ret, NULL);
}

static void test_hold(Shim *s, const void *data _unused_) {
        uint32_t serial;
        Freeze *f;

        g_assert_cmpint(hold(s, &f), ==, 1);
        g_assert_true(marked(s));
        serial = asked(s, SHIM_PAUSE);
        g_assert_cmpuint(s->n_done, ==, 0);
        reply(s, serial, 0);
        g_assert_cmpuint(s->n_done, ==, 1);
        g_assert_cmpint(s->r, ==, 0);
        g_assert_cmpint(s->t->process.status, ==, TASK_PAUSED);
        nothing_asked(s);

        g_assert_null(freeze_end(f));
        serial = asked(s, SHIM_RESUME);
        g_assert_true(marked(s)); /* until it really runs */
        reply(s, serial, 0);
        g_assert_cmpint(s->t->process.status, ==, TASK_RUNNING);
        g_assert_false(marked(s));
        g_assert_cmpuint(s->n_done, ==, 1);
        g_assert_null(freeze_end(NULL));
}

/* Given up before the supervisor has answered, which it may never do by itself: nobody is told, and it runs on all the
 * same, also where the answer was on its way. */
static void test_given_up(Shim *s, const void *data) {
        const int *answer = data;
        uint32_t serial, resume;
        Freeze *f;

        g_assert_cmpint(hold(s, &f), ==, 1);
        serial = asked(s, SHIM_PAUSE);
        (void)freeze_end(f);
        resume = asked(s, SHIM_RESUME);
        reply(s, serial, *answer);
        reply(s, resume, 0);
        g_assert_cmpuint(s->n_done, ==, 0);
        if (*answer == 0)
                reply(s, asked(s, SHIM_RESUME), 0);
        nothing_asked(s);
        g_assert_cmpint(s->t->process.status, ==, TASK_RUNNING);
        g_assert_false(marked(s));
}

static void test_refused(Shim *s, const void *data _unused_) {
        Freeze *f;

        g_assert_cmpint(hold(s, &f), ==, 1);
        reply(s, asked(s, SHIM_PAUSE), -EIO);
        g_assert_cmpuint(s->n_done, ==, 1);
        g_assert_cmpint(s->r, <, 0);
        g_assert_cmpint(s->t->process.status, ==, TASK_RUNNING);
        (void)freeze_end(f);
        nothing_asked(s);
        g_assert_false(marked(s));
}

/* What does not run needs no holding, and what somebody else has paused stays so. */
static void test_still_already(Shim *s, const void *data _unused_) {
        Freeze *f;

        g_assert_cmpint(process_set_status(&s->t->process, TASK_PAUSING), ==, 0);
        g_assert_cmpint(process_set_status(&s->t->process, TASK_PAUSED), ==, 0);
        g_assert_cmpint(hold(s, &f), ==, 0);
        g_assert_null(f);
        process_set_exited(&s->t->process, 0, EXIT_KIND_EXITED, 1);
        g_assert_cmpint(hold(s, &f), ==, 0);
        g_assert_null(f);
        nothing_asked(s);
        g_assert_false(marked(s));
        g_assert_cmpuint(s->n_done, ==, 0);
}

static void test_being_started(Shim *s, const void *data _unused_) {
        Freeze *f;

        s->t->starting = true;
        g_assert_cmpint(hold(s, &f), ==, -EBUSY);
        g_assert_null(f);
        g_assert_false(marked(s));
        nothing_asked(s);
}

/* While it is being let go it can be held again: after that, with the mark there all along, and one at a time. */
static void test_again(Shim *s, const void *data _unused_) {
        Freeze *f, *next, *third;
        uint32_t serial;

        g_assert_cmpint(hold(s, &f), ==, 1);
        reply(s, asked(s, SHIM_PAUSE), 0);
        (void)freeze_end(f);
        serial = asked(s, SHIM_RESUME);
        g_assert_cmpint(hold(s, &next), ==, 1);
        g_assert_cmpint(hold(s, &third), ==, -EBUSY);
        nothing_asked(s);
        reply(s, serial, 0);
        g_assert_true(marked(s));
        g_assert_cmpuint(s->n_done, ==, 1);
        reply(s, asked(s, SHIM_PAUSE), 0);
        g_assert_cmpuint(s->n_done, ==, 2);
        (void)freeze_end(next);
        serial = asked(s, SHIM_RESUME);

        /* and one that waits may be given up, for another or for none */
        g_assert_cmpint(hold(s, &next), ==, 1);
        (void)freeze_end(next);
        g_assert_cmpint(hold(s, &next), ==, 1);
        (void)freeze_end(next);
        reply(s, serial, 0);
        nothing_asked(s);
        g_assert_cmpuint(s->n_done, ==, 2);
        g_assert_false(marked(s));
        g_assert_cmpint(s->t->process.status, ==, TASK_RUNNING);
}

/* It ends while it is held: there is nothing to let go of, nor to ask. */
static void test_end_meanwhile(Shim *s, const void *data _unused_) {
        Freeze *f;

        g_assert_cmpint(hold(s, &f), ==, 1);
        reply(s, asked(s, SHIM_PAUSE), 0);
        process_set_exited(&s->t->process, 0, EXIT_KIND_EXITED, 1);
        (void)freeze_end(f);
        nothing_asked(s);
        g_assert_false(marked(s));
}

/* One of the same name that came since is another one. */
static void test_another_of_that_name(Shim *s, const void *data _unused_) {
        Freeze *f;

        g_assert_cmpint(hold(s, &f), ==, 1);
        reply(s, asked(s, SHIM_PAUSE), 0);
        s->c->created_at++;
        (void)freeze_end(f);
        nothing_asked(s);
        g_assert_false(marked(s));
        g_assert_cmpint(s->t->process.status, ==, TASK_PAUSED);
}

/* A resume that fails leaves the mark for the next manager, which tries again. */
static void test_recovery(Shim *s, const void *data _unused_) {
        Freeze *f;

        g_assert_cmpint(hold(s, &f), ==, 1);
        reply(s, asked(s, SHIM_PAUSE), 0);
        (void)freeze_end(f);
        reply(s, asked(s, SHIM_RESUME), -EIO);
        g_assert_true(marked(s));
        g_assert_cmpint(s->t->process.status, ==, TASK_PAUSED);

        freeze_stop(&s->f.m); /* the manager goes: asked, and not waited for */
        reply(s, asked(s, SHIM_RESUME), -EIO);
        g_assert_true(marked(s));

        s->t->held = true;
        freeze_recover(&s->f.m);
        freeze_settled(&s->f.m); /* of another one */
        nothing_asked(s);        /* before it is over with what the last manager has dumped */
        g_assert_true(marked(s));
        s->t->held = false;
        freeze_settled(&s->f.m);
        reply(s, asked(s, SHIM_RESUME), 0);
        g_assert_false(marked(s));
        g_assert_cmpint(s->t->process.status, ==, TASK_RUNNING);
        freeze_recover(&s->f.m);
        freeze_settled(&s->f.m);
        freeze_stop(&s->f.m);
        nothing_asked(s);
}

/* It ends, or is let go by somebody, while a dump is waited for: nothing is asked, and the mark goes. */
static void test_recovery_meanwhile(Shim *s, const void *data) {
        const bool *ended = data;
        Freeze *f;

        g_assert_cmpint(hold(s, &f), ==, 1);
        reply(s, asked(s, SHIM_PAUSE), 0);
        s->t->held = true;
        freeze_recover(&s->f.m);
        s->t->held = false;
        if (*ended)
                process_set_exited(&s->t->process, 0, EXIT_KIND_EXITED, 1);
        else
                g_assert_cmpint(process_set_status(&s->t->process, TASK_RUNNING), ==, 0);
        g_assert_true(marked(s));
        freeze_settled(&s->f.m);
        g_assert_false(marked(s));
        nothing_asked(s);
        (void)freeze_end(f);
}

/* A mark of something that runs, or of nothing, only goes. */
static void test_stale_mark(Shim *s, const void *data _unused_) {
        Freeze *f;

        g_assert_cmpint(hold(s, &f), ==, 1);
        reply(s, asked(s, SHIM_PAUSE), 0);
        g_assert_cmpint(process_set_status(&s->t->process, TASK_RUNNING), ==, 0); /* somebody has resumed it */
        freeze_stop(&s->f.m);
        g_assert_true(marked(s));
        freeze_recover(&s->f.m);
        g_assert_false(marked(s));
        (void)freeze_end(f);
        nothing_asked(s);
}

#define ADD(name, func) g_test_add(name, Shim, NULL, begin, func, end)

int main(int argc, char **argv) {
        static const int called_off = -ECANCELED, done = 0;
        static const bool yes = true, no = false;

        g_test_init(&argc, &argv, NULL);
        ADD("/freeze/hold", test_hold);
        g_test_add("/freeze/given-up", Shim, &called_off, begin, test_given_up, end);
        g_test_add("/freeze/given-up-late", Shim, &done, begin, test_given_up, end);
        ADD("/freeze/refused", test_refused);
        ADD("/freeze/still-already", test_still_already);
        ADD("/freeze/being-started", test_being_started);
        ADD("/freeze/again", test_again);
        ADD("/freeze/end-meanwhile", test_end_meanwhile);
        ADD("/freeze/another-of-that-name", test_another_of_that_name);
        ADD("/freeze/recovery", test_recovery);
        g_test_add("/freeze/recovery-ended", Shim, &yes, begin, test_recovery_meanwhile, end);
        g_test_add("/freeze/recovery-resumed", Shim, &no, begin, test_recovery_meanwhile, end);
        ADD("/freeze/stale-mark", test_stale_mark);
        return g_test_run();
}
