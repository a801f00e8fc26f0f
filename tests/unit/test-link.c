/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The manager's end of a shim's socket: answers find their request, anything else is an event, the end is told once,
 * and a peer that does not speak the protocol is dropped.
 */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/link.h"
#include "shared/macros.h"

typedef struct Fixture {
        Manager *manager;
        Link *link;
        int peer;
        unsigned n_events, n_gone, n_answers;
        int error;
        char *text;
        bool free_in_answer;
} Fixture;

static void on_event(const LinkAnswer *event, void *userdata) {
        Fixture *f = userdata;

        g_assert_nonnull(event->head);
        f->n_events++;
}

static void on_gone(void *userdata) {
        ((Fixture *)userdata)->n_gone++;
}

static const LinkHandlers handlers = { on_event, on_gone };

static void on_answer(const LinkAnswer *a, void *userdata) {
        Fixture *f = userdata;

        f->n_answers++;
        f->error = a->error;
        g_free(f->text);
        f->text = g_strdup(a->text);
        if (f->free_in_answer)
                f->link = link_free(f->link);
}

static void set_up(Fixture *f, const void *data) {
        int fds[2], no_pidfd = -1;

        (void)data;
        g_assert_cmpint(manager_new(&f->manager), ==, 0);
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), ==, 0);
        f->peer = fds[1];
        g_assert_cmpint(link_new(f->manager, &fds[0], &no_pidfd, &handlers, f, &f->link), ==, 0);
}

static void tear_down(Fixture *f, const void *data) {
        (void)data;
        (void)link_free(f->link);
        (void)safe_close(f->peer);
        g_free(f->text);
        (void)manager_free(f->manager);
}

static void turn(Fixture *f) {
        while (sd_event_run(f->manager->event, 0) > 0)
                ;
}

static uint32_t ask(Fixture *f) {
        struct packet p = PACKET_NULL;
        const struct shim_message *h;
        uint32_t serial;

        g_assert_cmpint(link_request(f->link, SHIM_PAUSE, NULL, NULL, NULL, 0, on_answer, f), ==, 0);
        g_assert_cmpint(packet_recv(f->peer, &p), ==, 1);
        g_assert_cmpint(shim_packet_check(&p, &h, NULL, NULL, NULL), ==, 0);
        serial = h->serial;
        packet_done(&p);
        return serial;
}

static void answer(Fixture *f, uint32_t serial, int error, const char *text) {
        struct shim_result body = { .error = error };

        g_assert_cmpint(shim_send(f->peer, SHIM_REPLY, serial, &body, text, NULL, 0), ==, 0);
}

static void test_answers(Fixture *f, const void *data) {
        uint32_t one = ask(f), two = ask(f);

        (void)data;
        g_assert_cmpuint(one, !=, two);
        answer(f, two, -EBUSY, "frozen");
        turn(f);
        g_assert_cmpuint(f->n_answers, ==, 1);
        g_assert_cmpint(f->error, ==, -EBUSY);
        g_assert_cmpstr(f->text, ==, "frozen");
        answer(f, one, 0, NULL);
        answer(f, one, -EIO, "twice"); /* nobody waits for it any more */
        turn(f);
        g_assert_cmpuint(f->n_answers, ==, 2);
        g_assert_cmpint(f->error, ==, 0);
        g_assert_cmpuint(f->n_events, ==, 1);
}

static void test_gone(Fixture *f, const void *data) {
        (void)data;
        (void)ask(f);
        (void)ask(f);
        f->peer = safe_close(f->peer);
        turn(f);
        g_assert_cmpuint(f->n_answers, ==, 2);
        g_assert_cmpint(f->error, ==, -ECONNRESET);
        g_assert_cmpuint(f->n_gone, ==, 1);
        g_assert_cmpint(link_request(f->link, SHIM_PAUSE, NULL, NULL, NULL, 0, on_answer, f), ==, -ECONNRESET);
}

static void test_last_words(Fixture *f, const void *data) {
        struct shim_exited e = { .status = 3, .kind = EXIT_KIND_EXITED };

        (void)data;
        g_assert_cmpint(shim_send(f->peer, SHIM_EXITED, 0, &e, NULL, NULL, 0), ==, 0);
        f->peer = safe_close(f->peer);
        turn(f);
        g_assert_cmpuint(f->n_events, ==, 1);
        g_assert_cmpuint(f->n_gone, ==, 1);
}

static void test_wrong_peer(Fixture *f, const void *data) {
        static const char *const wrong[] = { "x", "0123456789abcdef0123456789abcdef" };

        (void)ask(f);
        g_assert_cmpint(send(f->peer, wrong[GPOINTER_TO_INT(data)], strlen(wrong[GPOINTER_TO_INT(data)]), 0), >, 0);
        turn(f);
        g_assert_cmpuint(f->n_gone, ==, 1);
        g_assert_cmpint(f->error, ==, -ECONNRESET);
}

static void test_request_from_peer(Fixture *f, const void *data) {
        (void)data;
        g_assert_cmpint(shim_send(f->peer, SHIM_PAUSE, 1, NULL, NULL, NULL, 0), ==, 0);
        turn(f);
        g_assert_cmpuint(f->n_gone, ==, 1);
        g_assert_cmpuint(f->n_events, ==, 0);
}

static void test_free_in_answer(Fixture *f, const void *data) {
        uint32_t serial = ask(f);

        (void)data;
        (void)ask(f);
        f->free_in_answer = true;
        answer(f, serial, 0, NULL);
        answer(f, serial + 1, 0, NULL);
        turn(f);
        g_assert_cmpuint(f->n_answers, ==, 1);
        g_assert_null(f->link);
}

static void test_forget(Fixture *f, const void *data) {
        uint32_t serial = ask(f);

        (void)data;
        link_forget(f->link, f);
        answer(f, serial, 0, NULL);
        turn(f);
        g_assert_cmpuint(f->n_answers, ==, 0);
}

#define ADD(name, function, data) g_test_add(name, Fixture, data, set_up, function, tear_down)

int main(int argc, char *argv[]) {
        g_test_init(&argc, &argv, NULL);
        ADD("/link/answers", test_answers, NULL);
        ADD("/link/gone", test_gone, NULL);
        ADD("/link/last-words", test_last_words, NULL);
        ADD("/link/short", test_wrong_peer, GINT_TO_POINTER(0));
        ADD("/link/garbage", test_wrong_peer, GINT_TO_POINTER(1));
        ADD("/link/request", test_request_from_peer, NULL);
        ADD("/link/free-in-answer", test_free_in_answer, NULL);
        ADD("/link/forget", test_forget, NULL);
        return g_test_run();
}
