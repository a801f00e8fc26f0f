/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One connection of the manager's: a request, its progress, its result.
 *
 * Only root, or whoever we are ourselves, is answered. There is one thread; what ends an operation early is noticed
 * where it waits (operation.c). Descriptors of the request are closed before the answer is sent.
 */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "registry/pull.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/macros.h"
#include "store/error.h"
#include "store/json.h"
#include "store/wire.h"

static gboolean peer_may(int sock) {
        struct ucred peer;
        socklen_t size = sizeof(peer);

        return getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

static gboolean check_fds(const Pull *p, const WireMessage *m, GError **error) {
        gsize wanted = (p->digest_only ? 0 : 1) + (p->has_credentials ? 1 : 0);

        if (m->n_fds == wanted)
                return TRUE;
        return store_fail(error, STORE_FAIL_INVALID, "The request came with %zu descriptors instead of %zu", m->n_fds,
                          wanted);
}

static char *serve(int sock, int signal_fd, WireMessage *m, GError **error) {
        g_auto(Pull) p = { .platform = NULL };
        g_auto(Operation) o = { .sock = -1 };
        g_autoptr(JsonNode) result = NULL;

        if (m->head.type != STORE_REQUEST) {
                store_fail(error, STORE_FAIL_INVALID, "The first message is not a request");
                return NULL;
        }
        if (!wire_text(m, error) || !pull_read(&p, m->text, m->text_size, error) || !check_fds(&p, m, error) ||
            !operation_init(&o, sock, signal_fd, p.digest_only ? -1 : m->fds[0], error))
                return NULL;
        result = pull_run(&p, &o, p.has_credentials ? m->fds[m->n_fds - 1] : -1, error);
        return result ? json_text(result) : NULL;
}

/** server_run() - serve one connection; 0 when a result or an error has been delivered, else a negative errno */
int server_run(int sock) {
        g_auto(WireMessage) m = { .n_fds = 0 };
        _cleanup_close_ int signal_fd = -1;
        g_autoptr(GError) error = NULL;
        g_autofree char *result = NULL;
        int n;

        if (!peer_may(sock))
                return -EPERM;
        n = wire_begin(sock, &m, &signal_fd);
        if (n <= 0)
                return n;
        result = serve(sock, signal_fd, &m, &error);
        wire_message_clear(&m);
        return result ? wire_send_result(sock, result) : wire_send_error(sock, error);
}
