/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The maker, seen from davit-oci.
 *
 * It is this program once more, run from a clone of its file that is attached nowhere and read-only, so that a
 * container that gets hold of /proc/PID/exe of a process in the making has something in hand that nobody can write to.
 * It is started before the configuration is read and is ready when that has become a plan.
 */

#include "oci/maker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/macros.h"
#include "shared/syscalls.h"
#include "shim/setup.h"

#define PROGRAM "/proc/self/exe"

extern char **environ;

/** maker_clear() - Ends a maker that has had nothing to make; one that has is only collected. */
void maker_clear(Maker *m) {
        m->sock = safe_close(m->sock);
        if (m->pid > 0)
                while (waitpid(m->pid, NULL, 0) < 0 && errno == EINTR)
                        ;
        m->pid = 0;
}

static int open_program(GError **error) {
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID };
        _cleanup_close_ int fd = open_tree(AT_FDCWD, PROGRAM, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

        if (fd < 0 && errno == EPERM) {
                (void)oci_fail(error, OCI_ERROR_FAILED, "making containers needs the rights of root (CAP_SYS_ADMIN)");
                return -1;
        }
        if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0) {
                (void)oci_fail_errno(error, errno, "%s", PROGRAM);
                return -1;
        }
        return take_fd(&fd);
}

/* Nothing but system calls between vfork and exec: the memory is the parent's. */
/* NOLINTBEGIN(clang-analyzer-security.insecureAPI.vfork, clang-analyzer-unix.Vfork): see above; posix_spawn() knows no
 * program by its descriptor */
static pid_t spawn(int program, int sock) {
        static char name[] = "davit-oci", option[] = MAKER_OPTION;
        char *argv[] = { name, option, NULL };
        pid_t pid;

        pid = vfork();
        if (pid == 0) {
                /* Without close-on-exec the maker is the last to close its program's mount: that waits for the kernel.
                 */
                if (fcntl(program, F_SETFD, 0) < 0)
                        _exit(127);
                if (sock == MAKER_SOCKET ? fcntl(sock, F_SETFD, 0) >= 0 : dup2(sock, MAKER_SOCKET) >= 0)
                        (void)fexecve(program, argv, environ);
                _exit(127);
        }
        return pid;
}
/* NOLINTEND(clang-analyzer-security.insecureAPI.vfork, clang-analyzer-unix.Vfork) */

/** maker_spawn() - Starts a maker; it waits for its request. */
gboolean maker_spawn(Maker *ret, GError **error) {
        _cleanup_close_ int program = open_program(error);
        int socks[2];

        if (program < 0)
                return FALSE;
        if (program == MAKER_SOCKET) { /* it would be replaced by the socket */
                int moved = fcntl(program, F_DUPFD_CLOEXEC, MAKER_SOCKET + 1);

                if (moved < 0)
                        return oci_fail_errno(error, errno, "%s", PROGRAM);
                safe_close(program);
                program = moved;
        }
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
                return oci_fail_errno(error, errno, "socket pair");
        ret->pid = spawn(program, socks[1]);
        safe_close(socks[1]);
        ret->sock = socks[0];
        if (ret->pid < 0)
                return oci_fail_errno(error, errno, "%s", PROGRAM);
        return TRUE;
}

/* A command that is not there is told apart from everything else. */
static gboolean fail_step(GError **error, int number, guint32 step, const char *text) {
        OciError code = OCI_ERROR_FAILED;

        if (step == SHIM_STEP_COMMAND && number != -ECANCELED)
                code = number == -ENOENT ? OCI_ERROR_NO_COMMAND : OCI_ERROR_NOT_EXECUTABLE;
        return oci_fail(error, code, "%s: %s", shim_step_name(step) ? shim_step_name(step) : "setup", text);
}

/**
 * maker_make() - Has a process made.
 * @fds: as maker-protocol.h orders them, borrowed
 *
 * On success @ret is a child of the caller's.
 */
gboolean maker_make(Maker *m, const struct maker_request *request, const int *fds, gsize n_fds, Made *ret,
                    GError **error) {
        const struct maker_answer *answer;
        struct packet packet;
        int r;

        r = packet_send(m->sock, request, sizeof(*request), NULL, 0, NULL, 0, fds, n_fds);
        if (r < 0)
                return oci_fail_errno(error, r, "ask the maker");
        r = packet_recv(m->sock, &packet);
        if (r <= 0 || packet.size != sizeof(*answer)) {
                if (r > 0)
                        packet_done(&packet);
                return oci_fail(error, OCI_ERROR_FAILED, "the maker has died");
        }
        answer = (const void *)packet.data;
        if (answer->error < 0)
                return fail_step(error, answer->error, answer->step, answer->text);
        *ret = (Made){
                .pid = answer->pid,
                .pidfd = packet_take_fd(&packet, 0),
                .sock = packet_take_fd(&packet, 1),
                .started = answer->start_time,
        };
        packet_done(&packet);
        return TRUE;
}

/** made_clear() - Closes the descriptors; the process goes on. */
void made_clear(Made *made) {
        made->pidfd = safe_close(made->pidfd);
        made->sock = safe_close(made->sock);
}

/** made_kill() - Ends a process that could not be made, and collects it. */
void made_kill(Made *made) {
        if (made->pidfd < 0)
                return;
        (void)sys_pidfd_send_signal(made->pidfd, SIGKILL, NULL, 0);
        (void)made_wait(made, NULL);
        made_clear(made);
}

/** made_tell() - Sends a message to the process; one that has failed meanwhile tells why when it is heard. */
gboolean made_tell(Made *made, guint32 message, int fd, GError **error) {
        int r = packet_send(made->sock, &message, sizeof(message), NULL, 0, NULL, 0, &fd, fd >= 0 ? 1 : 0);

        if (r >= 0 || r == -EPIPE || r == -ECONNRESET)
                return TRUE;
        return oci_fail_errno(error, r, "talk to the container's process");
}

/**
 * made_hear() - Waits for the process's next message.
 *
 * Returns enum setup_message with the packet, which the caller ends; 0 once it executes its program; -1 with the error
 * set.
 */
int made_hear(Made *made, struct packet *packet, GError **error) {
        const struct setup_record *record = (const void *)packet->data;
        int r;

        for (;;) {
                do /* a process that ends without having read everything resets the connection, behind its last word */
                        r = packet_recv(made->sock, packet);
                while (packet_transient(r) || r == -ECONNRESET);
                if (r <= 0 || packet->size < sizeof(record->message)) {
                        if (made->executing)
                                return 0;
                        (void)oci_fail(error, OCI_ERROR_KILLED, "the process was killed before its program ran");
                        return -1;
                }
                if (record->message == SETUP_FAULT && packet->size == sizeof(*record)) {
                        (void)fail_step(error, record->fault.error, record->fault.step, record->fault.text);
                        packet_done(packet);
                        return -1;
                }
                if (record->message != SETUP_EXECUTING)
                        return (int)record->message;
                made->executing = TRUE;
                packet_done(packet);
        }
}

/** made_wait() - Waits for the end of the process: its exit code, or 128 and the signal. */
gboolean made_wait(Made *made, int *ret_status) {
        siginfo_t info = { .si_pid = 0 };

        while (waitid(P_PIDFD, (id_t)made->pidfd, &info, WEXITED) < 0)
                if (errno != EINTR)
                        return FALSE;
        if (ret_status)
                *ret_status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
        return TRUE;
}
