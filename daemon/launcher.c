/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Client of the launcher (davit-shim --launcher) over its SEQPACKET socket.
 *
 * Holds the warm shims that the launcher has pushed: each a control socket and a pidfd that this process
 * owns from then on. What has been taken is asked for again only when the taker says that its own urgent
 * messages are out. A launcher that goes away costs its waiting callers an error and its chain mounts their cache, no
 * more: systemd holds the socket, so a reconnect starts it again. Nothing here blocks.
 */

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "daemon/launcher.h"
#include "daemon/pool.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/message.h"
#include "shared/name.h"

#define RECONNECT_USEC (100 * 1000)
#define RECONNECT_MAX_USEC (5 * USEC_PER_SEC)

/* Which directory a chain's mount shows: a checkout that was removed and made again is another one. */
typedef struct ChainSource {
        dev_t dev;
        ino_t ino;
} ChainSource;

struct LauncherRequest {
        Launcher *launcher;
        launcher_shim_handler_t shim_handler;
        launcher_done_handler_t done_handler;
        launcher_mount_handler_t mount_handler;
        launcher_dump_handler_t dump_handler;
        void *userdata;
        uint32_t serial;
        char *chain_id;
        ChainSource source;
};

struct Launcher {
        Manager *manager;
        int fd;
        sd_event_source *io, *timer;
        uint64_t backoff;
        uint32_t serial;
        uint32_t owed;       /* shims asked for and not yet here */
        uint32_t features;   /* bit n: chains of form n can be mounted; 0: not known yet */
        GQueue warm;         /* WarmShim* */
        GQueue waiting;      /* LauncherRequest*, for a shim */
        GHashTable *pending; /* serial -> LauncherRequest, for an answer */
        GHashTable *chains;  /* chain id -> ChainSource, of what stands in this launcher's life */
};

static int launcher_connect(Launcher *l);

/** warm_shim_done() - lets go of a shim nobody will use: its socket's end makes it exit */
void warm_shim_done(WarmShim *s) {
        s->socket = safe_close(s->socket);
        s->pidfd = safe_close(s->pidfd);
}

static bool alive(const WarmShim *s) {
        struct pollfd p = { .fd = s->pidfd, .events = POLLIN };

        return poll(&p, 1, 0) == 0;
}

static void request_free(LauncherRequest *q) {
        g_free(q->chain_id);
        g_free(q);
}

/** launcher_request_cancel() - forgets a request; NULL is fine */
void launcher_request_cancel(LauncherRequest *q) {
        if (!q)
                return;
        (void)g_queue_remove(&q->launcher->waiting, q);
        if (q->serial)
                g_hash_table_remove(q->launcher->pending, GUINT_TO_POINTER(q->serial));
        request_free(q);
}

static void complete_shim(LauncherRequest *q, WarmShim *s, int error) {
        q->shim_handler(s, error, q->userdata);
        request_free(q);
}

static void complete_dump(LauncherRequest *q, const struct launcher_dumped *d, const char *text) {
        q->dump_handler(d, text, q->userdata);
        request_free(q);
}

static void complete_done(LauncherRequest *q, int error, const char *message, int fd) {
        const struct launcher_dumped failed = { .error = error, .cause = LAUNCHER_DUMP_FAILED };

        if (q->dump_handler) { /* no answer came */
                complete_dump(q, &failed, message);
                return;
        }
        if (q->chain_id && error == 0)
                g_hash_table_replace(q->launcher->chains, g_strdup(q->chain_id),
                                     g_memdup2(&q->source, sizeof(q->source)));
        if (q->done_handler)
                q->done_handler(error, message, q->userdata);
        if (q->mount_handler)
                q->mount_handler(fd, error, message, q->userdata);
        else
                (void)safe_close(fd);
        request_free(q);
}

static void fail_all(Launcher *l) {
        LauncherRequest *q;
        GHashTableIter iter;
        void *value;

        while ((q = g_queue_pop_head(&l->waiting)))
                complete_shim(q, NULL, -ECONNRESET);
        for (;;) {
                g_hash_table_iter_init(&iter, l->pending);
                if (!g_hash_table_iter_next(&iter, NULL, &value))
                        return;
                g_hash_table_iter_remove(&iter);
                complete_done(value, -ECONNRESET, "the launcher has gone", -1);
        }
}

static int on_reconnect(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata) {
        Launcher *l = userdata;

        l->timer = sd_event_source_disable_unref(l->timer);
        (void)launcher_connect(l);
        return 0;
}

static void disconnect(Launcher *l) {
        l->io = sd_event_source_disable_unref(l->io);
        l->fd = safe_close(l->fd);
        l->owed = 0;
        g_hash_table_remove_all(l->chains);
        if (!l->timer) {
                (void)sd_event_add_time_relative(l->manager->event, &l->timer, CLOCK_MONOTONIC, l->backoff, 0,
                                                 on_reconnect, l);
                l->backoff = MIN(l->backoff * 2, RECONNECT_MAX_USEC);
        }
        fail_all(l);
}

static int take_shim(Launcher *l, struct packet *p, const struct launcher_shim *body) {
        LauncherRequest *q;
        WarmShim *s;
        int r;

        r = fd_set_nonblock(p->fds[0], true);
        if (r < 0) /* to read from it would hold up everything */
                return r;
        s = g_new(WarmShim, 1);
        *s = (WarmShim){ packet_take_fd(p, 0), packet_take_fd(p, 1), body->pid, body->start_time };
        if (l->owed > 0)
                l->owed--;
        q = g_queue_pop_head(&l->waiting);
        if (!q) {
                g_queue_push_tail(&l->warm, s);
                return 0;
        }
        complete_shim(q, s, 0);
        g_free(s);
        return 0;
}

/* One that was asked for will not come. */
static void miss_shim(Launcher *l, int error) {
        LauncherRequest *q = g_queue_pop_head(&l->waiting);

        if (l->owed > 0)
                l->owed--;
        if (q)
                complete_shim(q, NULL, error);
        pool_refill_later(l->manager->pool);
}

/* What has been asked for under this serial; NULL: nobody waits. */
static LauncherRequest *take_pending(Launcher *l, uint32_t serial) {
        LauncherRequest *q = g_hash_table_lookup(l->pending, GUINT_TO_POINTER(serial));

        if (q)
                g_hash_table_remove(l->pending, GUINT_TO_POINTER(serial));
        return q;
}

static void handle_answer(Launcher *l, struct packet *p, const struct shim_message *h, const void *body,
                          const char *text) {
        LauncherRequest *q = take_pending(l, h->serial);

        if (q && q->dump_handler && h->type == LAUNCHER_DUMP_DONE)
                complete_dump(q, body, text);
        else if (q)
                complete_done(q, h->type == LAUNCHER_DUMP_DONE ? -EBADMSG : ((const struct shim_result *)body)->error,
                              text, packet_take_fd(p, 0));
}

static int handle_packet(Launcher *l, struct packet *p) {
        g_autofree char *message = NULL;
        const struct shim_message *h;
        const void *body;
        const char *text;
        size_t size;
        int r;

        r = shim_packet_check(p, &h, &body, &text, &size);
        if (r < 0)
                return r;
        switch (h->type) {
        case LAUNCHER_SHIM:
                if (p->n_fds == 0 && ((const struct launcher_shim *)body)->pid < 0) {
                        miss_shim(l, ((const struct launcher_shim *)body)->pid);
                        return 0;
                }
                if (p->n_fds != 2)
                        return -EBADMSG;
                return take_shim(l, p, body);
        case LAUNCHER_FEATURES:
                l->features = ((const struct launcher_features *)body)->forms;
                return 0;
        case LAUNCHER_CHAIN_DONE:
        case LAUNCHER_MOUNT_DONE:
        case LAUNCHER_REMOVE_DONE:
        case LAUNCHER_DUMP_DONE:
        case LAUNCHER_DUMP_ENDED:
                message = g_strndup(text, size);
                handle_answer(l, p, h, body, message);
                return 0;
        default:
                return -EBADMSG;
        }
}

static int on_io(sd_event_source *s _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        struct packet p = PACKET_NULL;
        Launcher *l = userdata;
        int r;

        while (l->fd >= 0) {
                r = packet_recv(l->fd, &p);
                if (packet_transient(r))
                        return 0;
                if (r > 0) {
                        l->backoff = RECONNECT_USEC;
                        r = handle_packet(l, &p);
                        packet_done(&p);
                        if (r >= 0)
                                continue;
                }
                if (r < 0)
                        (void)log_warning_errno(r, "The launcher's connection is of no use any more, connecting again");
                else
                        log_info("The launcher has closed its connection, connecting again");
                disconnect(l);
        }
        return 0;
}

static int ask(Launcher *l) {
        struct launcher_hello hello = { 0 };
        uint32_t wanted, have;
        int r;

        if (l->fd < 0)
                return -ENOTCONN;
        wanted = l->manager->config.warm_shims + l->waiting.length;
        have = l->warm.length + l->owed;
        if (wanted <= have)
                return 0;
        hello.warm = MIN(wanted - have, LAUNCHER_WARM_MAX);
        r = shim_send(l->fd, LAUNCHER_HELLO, 0, &hello, NULL, NULL, 0);
        if (r >= 0)
                l->owed += hello.warm;
        return r;
}

static int launcher_connect(Launcher *l) {
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = DAVIT_LAUNCHER_SOCKET };
        int r;

        l->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (l->fd < 0)
                return -errno;
        r = connect(l->fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
        if (r >= 0)
                r = sd_event_add_io(l->manager->event, &l->io, l->fd, EPOLLIN, on_io, l);
        if (r >= 0)
                r = ask(l);
        if (r < 0) {
                if (l->backoff <= RECONNECT_USEC)
                        (void)log_warning_errno(r, "Cannot reach the launcher at " DAVIT_LAUNCHER_SOCKET);
                disconnect(l);
        }
        return r;
}

/** launcher_new() - connects; a launcher that cannot be reached is tried again */
int launcher_new(Manager *m, Launcher **ret) {
        Launcher *l = g_new0(Launcher, 1);

        l->manager = m;
        l->fd = -1;
        l->backoff = RECONNECT_USEC;
        g_queue_init(&l->warm);
        g_queue_init(&l->waiting);
        l->pending = g_hash_table_new(NULL, NULL);
        l->chains = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        (void)launcher_connect(l);
        *ret = l;
        return 0;
}

static void free_warm(void *p) {
        warm_shim_done(p);
        g_free(p);
}

/** launcher_free() - closes everything; shims in use belong to their tasks and are not touched */
Launcher *launcher_free(Launcher *l) {
        if (!l)
                return NULL;
        disconnect(l);
        l->timer = sd_event_source_disable_unref(l->timer);
        g_queue_clear_full(&l->warm, free_warm);
        g_hash_table_unref(l->pending);
        g_hash_table_unref(l->chains);
        g_free(l);
        return NULL;
}

/* A caller does not wait for the next try. */
static int connect_now(Launcher *l) {
        if (l->fd >= 0)
                return 0;
        l->timer = sd_event_source_disable_unref(l->timer);
        return launcher_connect(l);
}

/**
 * launcher_take() - takes a warm shim
 *
 * Return: 1 with *ret filled; 0 where the handler will be called with one or with an error (*ret_request can be
 * cancelled until then); a negative errno where the launcher cannot be reached.
 */
int launcher_take(Launcher *l, WarmShim *ret, launcher_shim_handler_t handler, void *userdata,
                  LauncherRequest **ret_request) {
        LauncherRequest *q;
        WarmShim *s;
        int r;

        while ((s = g_queue_pop_head(&l->warm))) {
                if (alive(s)) {
                        *ret = *s;
                        g_free(s);
                        return 1;
                }
                free_warm(s);
        }
        r = connect_now(l);
        if (r < 0)
                return r;
        q = g_new0(LauncherRequest, 1);
        q->launcher = l;
        q->shim_handler = handler;
        q->userdata = userdata;
        g_queue_push_tail(&l->waiting, q);
        r = ask(l);
        if (r < 0) {
                launcher_request_cancel(q);
                return r;
        }
        *ret_request = q;
        return 0;
}

/** launcher_refill() - asks for as many shims as have been taken */
void launcher_refill(Launcher *l) {
        int r = ask(l);

        if (r < 0 && r != -ENOTCONN)
                (void)log_warning_errno(r, "Cannot ask the launcher for shims");
}

static int send_request_fds(Launcher *l, uint16_t type, const void *body, const char *text, size_t size, const int *fds,
                            size_t n_fds, LauncherRequest *q) {
        int r;

        q->launcher = l;
        q->serial = ++l->serial ?: ++l->serial;
        r = connect_now(l);
        if (r >= 0)
                r = shim_send_text(l->fd, type, q->serial, body, text, size, fds, n_fds);
        if (r == -EPIPE || r == -ECONNRESET) {
                /* It has gone, and we have not been told yet. */
                disconnect(l);
                r = connect_now(l);
                if (r >= 0)
                        r = shim_send_text(l->fd, type, q->serial, body, text, size, fds, n_fds);
        }
        if (r < 0) {
                request_free(q);
                return r;
        }
        g_hash_table_insert(l->pending, GUINT_TO_POINTER(q->serial), q);
        return 0;
}

static int send_request(Launcher *l, uint16_t type, const void *body, const char *text, size_t size,
                        LauncherRequest *q) {
        return send_request_fds(l, type, body, text, size, NULL, 0, q);
}

static bool read_source(const char *path, ChainSource *ret) {
        struct stat st;

        if (stat(path, &st) < 0)
                return false;
        *ret = (ChainSource){ st.st_dev, st.st_ino };
        return true;
}

/** launcher_features() - the forms of chains the kernel mounts, bit n for form n; 0: none has told yet; NULL is fine */
uint32_t launcher_features(const Launcher *l) {
        return l ? l->features : 0;
}

/** launcher_chain() - see launcher.h; error and message of the handler are the launcher's */
int launcher_chain(Launcher *l, const char *chain_id, const char *source, const struct launcher_chain *form,
                   launcher_done_handler_t handler, void *userdata, LauncherRequest **ret_request) {
        LauncherRequest *q = g_new0(LauncherRequest, 1);
        g_autoptr(GString) text = g_string_new(chain_id);
        int r;

        g_string_append_c(text, '\0');
        g_string_append(text, source);
        q->done_handler = handler;
        q->userdata = userdata;
        q->chain_id = g_strdup(chain_id);
        if (!read_source(source, &q->source))
                q->source = (ChainSource){ 0 }; /* the launcher says why it cannot be mounted */
        r = send_request(l, LAUNCHER_CHAIN, form, text->str, text->len, q);
        if (r >= 0)
                *ret_request = q;
        return r;
}

static void append_paths(GByteArray *text, const char *const *paths, uint32_t *ret_n) {
        for (*ret_n = 0; paths && paths[*ret_n]; ++*ret_n)
                g_byte_array_append(text, (const guint8 *)paths[*ret_n], (guint)strlen(paths[*ret_n]) + 1);
}

/** launcher_mount() - has layers mounted without attaching that anywhere; the handler takes the descriptor
 *
 * A chain among them has been mounted by launcher_chain(). @upper and @work are NULL for a view.
 */
int launcher_mount(Launcher *l, const char *const *lowers, const char *const *data, const char *upper, const char *work,
                   launcher_mount_handler_t handler, void *userdata, LauncherRequest **ret_request) {
        const char *both[] = { upper, work, NULL };
        g_autoptr(GByteArray) text = g_byte_array_new();
        LauncherRequest *q = g_new0(LauncherRequest, 1);
        struct launcher_mount body = { 0 };
        uint32_t n;
        int r;

        append_paths(text, lowers, &body.n_lowers);
        append_paths(text, data, &body.n_data);
        append_paths(text, both, &n);
        body.writable = n > 0;
        q->mount_handler = handler;
        q->userdata = userdata;
        r = text->len > SHIM_TEXT_MAX ? -E2BIG : 0;
        if (r < 0)
                request_free(q);
        else
                r = send_request(l, LAUNCHER_MOUNT, &body, (const char *)text->data, text->len, q);
        if (r >= 0)
                *ret_request = q;
        return r;
}

/** launcher_drop_chain() - has a chain's mount taken away, whose checkout has gone; nobody waits */
int launcher_drop_chain(Launcher *l, const char *chain_id) {
        struct launcher_chain body = { .form = LAUNCHER_CHAIN_CHECKOUT };

        g_hash_table_remove(l->chains, chain_id);
        return send_request(l, LAUNCHER_CHAIN, &body, chain_id, strlen(chain_id) + 1, g_new0(LauncherRequest, 1));
}

/** launcher_has_chain() - whether the chain's mount stands and shows what is at source now */
bool launcher_has_chain(Launcher *l, const char *chain_id, const char *source) {
        const ChainSource *mounted = g_hash_table_lookup(l->chains, chain_id);
        ChainSource now;

        return mounted && read_source(source, &now) && mounted->dev == now.dev && mounted->ino == now.ino;
}

/** launcher_remove() - has an entry of the trash removed; the handler is called once unless an error is returned */
int launcher_remove(Launcher *l, const char *name, launcher_done_handler_t handler, void *userdata) {
        LauncherRequest *q = g_new0(LauncherRequest, 1);

        q->done_handler = handler;
        q->userdata = userdata;
        return send_request(l, LAUNCHER_REMOVE, NULL, name, strlen(name), q);
}

/** launcher_dump() - see launcher.h; the handler is called once unless an error is returned
 *
 * directory, and life, the writing end of a pipe, are the caller's; both -1 with LAUNCHER_DUMP_CHECK. The other end
 * shows when nothing of the dump is there any more, which may be after the launcher has gone.
 */
int launcher_dump(Launcher *l, const struct launcher_dump *what, int directory, int life,
                  launcher_dump_handler_t handler, void *userdata, uint32_t *ret_serial) {
        LauncherRequest *q = g_new0(LauncherRequest, 1);
        const int fds[] = { directory, life };
        int r;

        q->dump_handler = handler;
        q->userdata = userdata;
        r = send_request_fds(l, LAUNCHER_DUMP, what, NULL, 0, fds, directory >= 0 ? ELEMENTSOF(fds) : 0, q);
        if (r >= 0)
                *ret_serial = q->serial;
        return r;
}

/** launcher_dump_end() - has the processes killed or let go of (end false) when all is written; before, gives it up,
 * for which there is no answer but that of the dump: then handler is NULL */
int launcher_dump_end(Launcher *l, uint32_t serial, bool end, launcher_done_handler_t handler, void *userdata) {
        struct launcher_dump_end body = { .end = end };
        LauncherRequest *q;
        int r;

        if (l->fd < 0)
                return -ENOTCONN; /* whose end was that of the dump too */
        r = shim_send_text(l->fd, LAUNCHER_DUMP_END, serial, &body, NULL, 0, NULL, 0);
        if (r < 0 || !handler)
                return r;
        q = g_new0(LauncherRequest, 1);
        q->launcher = l;
        q->serial = serial;
        q->done_handler = handler;
        q->userdata = userdata;
        g_hash_table_insert(l->pending, GUINT_TO_POINTER(serial), q);
        return 0;
}
