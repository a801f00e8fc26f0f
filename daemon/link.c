/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The manager's end of one shim's control socket.
 *
 * Requests carry a serial and an answer handler; whatever comes with a serial that waits goes there, the rest are
 * events. The shim's end is told once: after its last message has been read, by the end of its socket or by its pidfd.
 * A packet that does not fit the protocol ends the link the same way. Owned by a task or by the pool.
 */

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>

#include "daemon/link.h"
#include "shared/log.h"

typedef struct Waiting {
        link_answer_t answer;
        void *userdata;
} Waiting;

struct Link {
        Manager *manager;
        int fd, pidfd;
        sd_event_source *io, *exit;
        uint32_t serial;
        GHashTable *waiting; /* serial -> Waiting */
        const LinkHandlers *handlers;
        void *userdata;
        bool gone, dispatching, freed;
};

static void really_free(Link *l) {
        g_hash_table_unref(l->waiting);
        g_free(l);
}

/** link_free() - closes the link; answers that wait are dropped, the shim lives on */
Link *link_free(Link *l) {
        if (!l)
                return NULL;
        l->io = sd_event_source_disable_unref(l->io);
        l->exit = sd_event_source_disable_unref(l->exit);
        l->fd = safe_close(l->fd);
        l->pidfd = safe_close(l->pidfd);
        l->freed = true;
        if (!l->dispatching)
                really_free(l);
        return NULL;
}

static void fail_waiting(Link *l) {
        LinkAnswer a = { .error = -ECONNRESET, .text = "the shim has gone" };
        GHashTableIter iter;
        void *value;

        while (!l->freed) {
                g_autofree Waiting *w = NULL;

                g_hash_table_iter_init(&iter, l->waiting);
                if (!g_hash_table_iter_next(&iter, NULL, &value))
                        return;
                w = g_memdup2(value, sizeof(*w));
                g_hash_table_iter_remove(&iter);
                w->answer(&a, w->userdata);
        }
}

static void link_end(Link *l) {
        if (l->gone || l->freed)
                return;
        l->gone = true;
        l->io = sd_event_source_disable_unref(l->io);
        l->exit = sd_event_source_disable_unref(l->exit);
        fail_waiting(l);
        if (!l->freed)
                l->handlers->gone(l->userdata);
}

static int answer_error(const struct shim_message *h, const void *body) {
        if (h->type == SHIM_REPLY)
                return ((const struct shim_result *)body)->error;
        if (h->type == SHIM_FAILED)
                return ((const struct shim_failed *)body)->error;
        return 0;
}

static int dispatch(Link *l, struct packet *p) {
        g_autofree char *copy = NULL;
        g_autofree Waiting *w = NULL;
        LinkAnswer a = { .packet = p };
        const char *text;
        size_t size;
        void *found;
        int r;

        r = shim_packet_check(p, &a.head, &a.body, &text, &size);
        if (r < 0)
                return r;
        if (a.head->type < SHIM_REPLY)
                return -EBADMSG;
        a.text = copy = g_strndup(text, size);
        a.error = answer_error(a.head, a.body);
        found = a.head->serial ? g_hash_table_lookup(l->waiting, GUINT_TO_POINTER(a.head->serial)) : NULL;
        if (!found || a.head->type == SHIM_STATE) {
                l->handlers->event(&a, l->userdata);
                return 0;
        }
        w = g_memdup2(found, sizeof(*w));
        g_hash_table_remove(l->waiting, GUINT_TO_POINTER(a.head->serial));
        w->answer(&a, w->userdata);
        return 0;
}

static void drain(Link *l) {
        struct packet p = PACKET_NULL;
        int r;

        while (!l->freed && !l->gone) {
                r = packet_recv(l->fd, &p);
                if (packet_transient(r))
                        return;
                /* A shim that ends with a request of ours unread resets the connection. What it said before is still to
                 * be had behind that error, which comes once. */
                if (r == -ECONNRESET)
                        continue;
                if (r == -EMSGSIZE && p.size >= sizeof(struct shim_message)) {
                        ((struct shim_message *)p.data)->n_fds = 0; /* what it says is worth more than they are */
                        r = 1;
                }
                if (r > 0) {
                        r = dispatch(l, &p);
                        packet_done(&p);
                        if (r >= 0)
                                continue;
                }
                if (r < 0)
                        (void)log_warning_errno(r, "A shim's connection is of no use any more");
                link_end(l);
        }
}

static void drain_guarded(Link *l, bool dead) {
        l->dispatching = true;
        drain(l);
        if (dead)
                link_end(l);
        l->dispatching = false;
        if (l->freed)
                really_free(l);
}

static int on_io(sd_event_source *s _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        drain_guarded(userdata, false);
        return 0;
}

static int on_exit_event(sd_event_source *s _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        drain_guarded(userdata, true);
        return 0;
}

/** link_new() - takes over a shim's socket and, where there is one, its pidfd */
int link_new(Manager *m, int *socket, int *pidfd, const LinkHandlers *handlers, void *userdata, Link **ret) {
        Link *l = g_new0(Link, 1);
        int r;

        l->manager = m;
        l->fd = take_fd(socket);
        l->pidfd = take_fd(pidfd);
        l->handlers = handlers;
        l->userdata = userdata;
        l->waiting = g_hash_table_new_full(NULL, NULL, NULL, g_free);
        r = sd_event_add_io(m->event, &l->io, l->fd, EPOLLIN, on_io, l);
        if (r >= 0 && l->pidfd >= 0)
                r = sd_event_add_io(m->event, &l->exit, l->pidfd, EPOLLIN, on_exit_event, l);
        if (r < 0) {
                (void)link_free(l);
                return r;
        }
        *ret = l;
        return 0;
}

/** link_request() - sends a message; answer (may be NULL) is called once unless the link is freed or forgets it first
 *
 * -ECONNRESET: the shim has gone, which the handlers are told, if they have not been yet.
 */
int link_request(Link *l, uint16_t type, const void *body, const char *text, const int *fds, size_t n_fds,
                 link_answer_t answer, void *userdata) {
        return link_request_text(l, type, body, text, text ? strlen(text) : 0, fds, n_fds, answer, userdata);
}

/** link_request_text() - link_request() with a text that may hold NUL bytes */
int link_request_text(Link *l, uint16_t type, const void *body, const char *text, size_t text_size, const int *fds,
                      size_t n_fds, link_answer_t answer, void *userdata) {
        uint32_t serial = ++l->serial ?: ++l->serial;
        int r;

        if (l->gone)
                return -ECONNRESET;
        if (text_size > SHIM_TEXT_MAX)
                return -E2BIG;
        r = shim_send_text(l->fd, type, serial, body, text, text_size, fds, n_fds);
        if (r == -EPIPE)
                return -ECONNRESET;
        if (r >= 0 && answer) {
                Waiting *w = g_new(Waiting, 1);
                *w = (Waiting){ answer, userdata };
                g_hash_table_insert(l->waiting, GUINT_TO_POINTER(serial), w);
        }
        return r;
}

static gboolean waits_for(void *key _unused_, void *value, void *userdata) {
        return ((Waiting *)value)->userdata == userdata;
}

/** link_forget() - drops the answers that userdata waits for */
void link_forget(Link *l, void *userdata) {
        if (l)
                (void)g_hash_table_foreach_remove(l->waiting, waits_for, userdata);
}

/** link_abandon() - whoever waits for an answer hears that the shim has gone, although it may still live */
void link_abandon(Link *l) {
        fail_waiting(l);
}

/** link_set_handlers() - hands the link to another owner */
void link_set_handlers(Link *l, const LinkHandlers *handlers, void *userdata) {
        l->handlers = handlers;
        l->userdata = userdata;
}

/** link_ended() - whether the shim's process is known to have ended; one that hangs up may still be about to */
bool link_ended(const Link *l) {
        struct pollfd p = { .fd = l->pidfd, .events = POLLIN };

        return l->pidfd >= 0 && poll(&p, 1, 0) > 0;
}

/** link_alive() - whether the shim's process exists */
bool link_alive(const Link *l) {
        return !l->gone && !link_ended(l);
}

/** link_pidfd() - the shim's pidfd, borrowed; -1 where there is none */
int link_pidfd(const Link *l) {
        return l->pidfd;
}
