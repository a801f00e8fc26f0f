/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Two ends of a private bus connection in one event loop: objects are put on "server", calls come from "client". */

#include <glib.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

typedef struct BusPair {
        sd_event *event;
        sd_bus *server, *client;
} BusPair;

static inline void bus_pair_open(BusPair *p) {
        sd_id128_t id;
        int fds[2];

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), ==, 0);
        g_assert_cmpint(sd_id128_randomize(&id), >=, 0);
        g_assert_cmpint(sd_event_new(&p->event), >=, 0);
        g_assert_cmpint(sd_bus_new(&p->server), >=, 0);
        g_assert_cmpint(sd_bus_set_fd(p->server, fds[0], fds[0]), >=, 0);
        g_assert_cmpint(sd_bus_set_server(p->server, 1, id), >=, 0);
        g_assert_cmpint(sd_bus_set_anonymous(p->server, 1), >=, 0);
        g_assert_cmpint(sd_bus_negotiate_fds(p->server, 1), >=, 0);
        g_assert_cmpint(sd_bus_new(&p->client), >=, 0);
        g_assert_cmpint(sd_bus_set_fd(p->client, fds[1], fds[1]), >=, 0);
        g_assert_cmpint(sd_bus_negotiate_fds(p->client, 1), >=, 0);
        g_assert_cmpint(sd_bus_attach_event(p->server, p->event, 0), >=, 0);
        g_assert_cmpint(sd_bus_attach_event(p->client, p->event, 0), >=, 0);
        g_assert_cmpint(sd_bus_start(p->server), >=, 0);
        g_assert_cmpint(sd_bus_start(p->client), >=, 0);
}

static inline void bus_pair_close(BusPair *p) {
        sd_bus_close(p->client);
        sd_bus_close(p->server);
        sd_bus_unref(p->client);
        sd_bus_unref(p->server);
        sd_event_unref(p->event);
}

static inline int bus_pair_on_reply(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        (void)error;
        *(sd_bus_message **)userdata = sd_bus_message_ref(m);
        return 0;
}

/* Runs the loop until *done is set; ten seconds at most. */
static inline void bus_pair_run(BusPair *p, void *const *done) {
        for (gint64 end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC; !*done;) {
                g_assert_cmpint(g_get_monotonic_time(), <, end);
                g_assert_cmpint(sd_event_run(p->event, 100000), >=, 0);
        }
}
