/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Subscribing to systemd, which may join the bus before us, after us, or again. Bus and systemd are played by a thread
 * at the other end of the connection: like systemd it takes one subscription from a client and refuses the second.
 */

#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "daemon/units.h"

#define BUS_NAME "org.freedesktop.DBus"
#define TEST_NAME "org.example.Test"
#define OBJECT "/org/freedesktop/DBus"

typedef struct Peer {
        sd_bus *bus;
        bool present;    /* systemd, when it is first looked for */
        bool subscribed; /* to the systemd that is there */
        int n_subscribed, n_refused;
} Peer;

static int say_owner(Peer *p, const char *before, const char *after) {
        sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_signal(p->bus, &m, OBJECT, BUS_NAME, "NameOwnerChanged");
        if (r >= 0)
                r = sd_bus_message_set_sender(m, BUS_NAME);
        if (r >= 0)
                r = sd_bus_message_append(m, "sss", "org.freedesktop.systemd1", before, after);
        if (r >= 0)
                r = sd_bus_send(p->bus, m, NULL);
        sd_bus_message_unref(m);
        return r < 0 ? r : 1;
}

static int on_subscribe(Peer *p, sd_bus_message *m) {
        if (p->subscribed) {
                p->n_refused++;
                return sd_bus_reply_method_errorf(m, "org.freedesktop.systemd1.AlreadySubscribed", "Twice.");
        }
        p->subscribed = true;
        p->n_subscribed++;
        return sd_bus_reply_method_return(m, NULL);
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Peer *p = userdata;
        int r;

        (void)error;
        if (sd_bus_message_is_method_call(m, BUS_NAME, "Hello"))
                return sd_bus_reply_method_return(m, "s", ":1.7");
        if (sd_bus_message_is_method_call(m, NULL, "Subscribe"))
                return on_subscribe(p, m);
        if (sd_bus_message_is_method_call(m, BUS_NAME, "GetNameOwner")) {
                if (p->present)
                        return sd_bus_reply_method_return(m, "s", ":1.0");
                r = sd_bus_reply_method_errorf(m, SD_BUS_ERROR_NAME_HAS_NO_OWNER, "Not yet.");
                return r < 0 ? r : say_owner(p, "", ":1.0");
        }
        /* What a test says: systemd has come again, or only now is told that it came. */
        if (sd_bus_message_is_method_call(m, TEST_NAME, "Again")) {
                p->subscribed = false;
                (void)say_owner(p, ":1.0", "");
                (void)say_owner(p, "", ":1.9");
        }
        if (sd_bus_message_is_method_call(m, TEST_NAME, "Late"))
                (void)say_owner(p, "", ":1.0");
        return sd_bus_message_is_method_call(m, NULL, NULL) ? sd_bus_reply_method_return(m, NULL) : 0;
}

static void *peer_run(void *userdata) {
        Peer *p = userdata;
        int r = 0;

        while (r >= 0) {
                r = sd_bus_process(p->bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(p->bus, UINT64_MAX);
        }
        sd_bus_flush_close_unref(p->bus);
        return NULL;
}

static GThread *peer_start(Peer *p, sd_bus **ret) {
        sd_id128_t id;
        int fds[2];

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), ==, 0);
        g_assert_cmpint(sd_id128_randomize(&id), >=, 0);
        g_assert_cmpint(sd_bus_new(&p->bus), >=, 0);
        g_assert_cmpint(sd_bus_set_fd(p->bus, fds[0], fds[0]), >=, 0);
        g_assert_cmpint(sd_bus_set_server(p->bus, 1, id), >=, 0);
        g_assert_cmpint(sd_bus_set_anonymous(p->bus, 1), >=, 0);
        g_assert_cmpint(sd_bus_add_filter(p->bus, NULL, on_message, p), >=, 0);
        g_assert_cmpint(sd_bus_start(p->bus), >=, 0);
        g_assert_cmpint(sd_bus_new(ret), >=, 0);
        g_assert_cmpint(sd_bus_set_fd(*ret, fds[1], fds[1]), >=, 0);
        g_assert_cmpint(sd_bus_set_bus_client(*ret, 1), >=, 0);
        g_assert_cmpint(sd_bus_start(*ret), >=, 0);
        return g_thread_new("bus", peer_run, p);
}

/* The signals that a call has brought about are in the queue before its answer; they and what they lead to are done. */
static void settle(sd_bus *bus, const char *what) {
        int r;

        g_assert_cmpint(sd_bus_call_method(bus, NULL, OBJECT, TEST_NAME, what, NULL, NULL, NULL), >=, 0);
        while ((r = sd_bus_process(bus, NULL)) > 0)
                ;
        g_assert_cmpint(r, ==, 0);
        g_assert_cmpint(sd_bus_call_method(bus, NULL, OBJECT, TEST_NAME, "Nothing", NULL, NULL, NULL), >=, 0);
        while ((r = sd_bus_process(bus, NULL)) > 0)
                ;
        g_assert_cmpint(r, ==, 0);
}

static void test_subscribe(gconstpointer present) {
        Peer peer = { .present = GPOINTER_TO_INT(present) };
        Manager manager = {};
        Units *units = NULL;
        GThread *thread;

        thread = peer_start(&peer, &manager.bus);
        g_assert_cmpint(units_new(&manager, &units), ==, 0);
        settle(manager.bus, "Nothing");
        g_assert_cmpint(peer.n_subscribed, ==, 1);
        g_assert_cmpint(peer.n_refused, ==, 0);
        settle(manager.bus, "Late");
        g_assert_cmpint(peer.n_subscribed, ==, 1);
        settle(manager.bus, "Again");
        g_assert_cmpint(peer.n_subscribed, ==, 2);
        units_free(units);
        sd_bus_flush_close_unref(manager.bus);
        g_thread_join(thread);
}

int main(int argc, char *argv[]) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_data_func("/units/subscribe/systemd-first", GINT_TO_POINTER(1), test_subscribe);
        g_test_add_data_func("/units/subscribe/systemd-later", GINT_TO_POINTER(0), test_subscribe);
        return g_test_run();
}
