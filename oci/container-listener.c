/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The seccomp listener: who answers the system calls that a container's filter asks about.
 *
 * Its descriptor goes to the socket the configuration names, with the state of the container as config-linux.md "The
 * Container Process State" has it. Without the listener the process would wait for ever, so that a failure ends it.
 */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "oci/container.h"
#include "plan/fields.h"
#include "plan/spec.h"
#include "shared/macros.h"
#include "shared/plan-check.h"

static char *describe(State *state, const char *metadata, pid_t pid) {
        static const char *const fds[] = { "seccompFd" };
        g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
        JsonObject *object = json_object_new();

        json_node_take_object(node, object);
        json_object_set_string_member(object, "ociVersion", state->version ? state->version : OCI_VERSION);
        field_set_strings(object, "fds", fds, G_N_ELEMENTS(fds));
        json_object_set_int_member(object, "pid", pid);
        if (metadata)
                json_object_set_string_member(object, "metadata", metadata);
        json_object_set_member(object, "state",
                               state_to_json(state, pid == state->pid ? STATUS_CREATING : STATUS_RUNNING, state->pid));
        return spec_to_string(node);
}

/** listener_send() - Hands the descriptor that came in @packet to the listener. */
gboolean listener_send(State *state, const struct plan *plan, pid_t pid, struct packet *packet, GError **error) {
        const char *path = plan_string(plan, plan->seccomp.listener);
        g_autofree char *text = describe(state, plan_string(plan, plan->seccomp.metadata), pid);
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = packet_take_fd(packet, 0), sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int r;

        if (fd < 0 || sock < 0 ||
            g_strlcpy(address.sun_path, path, sizeof(address.sun_path)) >= sizeof(address.sun_path))
                return oci_fail(error, OCI_ERROR_FAILED, "linux.seccomp.listenerPath: %s cannot be reached", path);
        if (connect(sock, (const struct sockaddr *)&address, sizeof(address)) < 0)
                return oci_fail_errno(error, errno, "linux.seccomp.listenerPath: %s", path);
        r = packet_send(sock, text, strlen(text), NULL, 0, NULL, 0, &fd, 1);
        return r < 0 ? oci_fail_errno(error, r, "linux.seccomp.listenerPath: %s", path) : TRUE;
}
