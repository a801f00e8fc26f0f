/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The container's terminal, on the host's side.
 *
 * Who detaches has the master sent to a socket of its own (--console-socket): one message with the descriptor, whose
 * text is the terminal's name. Who waits for the container joins the master with the terminal it runs on, which is raw
 * meanwhile and follows changes of size.
 */

#include "oci/console.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "plan/fields.h"
#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/message.h"
#include "shared/syscalls.h"

/** console_send() - Hands a terminal's master to a stream socket. */
gboolean console_send(const char *path, int master, GError **error) {
        static const char name[] = "/dev/ptmx";
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int r;

        if (fd < 0)
                return oci_fail_errno(error, errno, "--console-socket %s", path);
        if (g_strlcpy(address.sun_path, path, sizeof(address.sun_path)) >= sizeof(address.sun_path))
                return oci_fail(error, OCI_ERROR_FAILED, "--console-socket %s: is too long", path);
        if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                return oci_fail_errno(error, errno, "--console-socket %s", path);
        r = packet_send(fd, name, strlen(name), NULL, 0, NULL, 0, &master, 1);
        return r < 0 ? oci_fail_errno(error, r, "--console-socket %s", path) : TRUE;
}

/** console_size() - Gives a process that gets a terminal, and no size for it, the size of ours. */
void console_size(JsonObject *process) {
        JsonObject *object;
        struct winsize size;

        if (!process || field_given(process, "consoleSize") || ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0)
                return;
        object = field_ensure_object(process, "consoleSize");
        json_object_set_int_member(object, "width", size.ws_col);
        json_object_set_int_member(object, "height", size.ws_row);
}

static void passed_signals(sigset_t *ret) {
        (void)sigfillset(ret);
        (void)sigdelset(ret, SIGCHLD);
        (void)sigdelset(ret, SIGURG);
        (void)sigdelset(ret, SIGTTIN);
        (void)sigdelset(ret, SIGTTOU);
}

/** signals_hold() - Keeps the signals that are the process's from us, before there is a process they could go to. */
void signals_hold(void) {
        sigset_t set;

        passed_signals(&set);
        (void)sigprocmask(SIG_BLOCK, &set, NULL);
}

static int take_signals(int *ret_fd) {
        sigset_t set;

        passed_signals(&set);
        *ret_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return *ret_fd < 0 ? -errno : 0;
}

static void resize(int master) {
        struct winsize size;

        if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) >= 0)
                (void)ioctl(master, TIOCSWINSZ, &size);
}

static void pass_signals(int fd, int pidfd, int master) {
        struct signalfd_siginfo info;

        while (read(fd, &info, sizeof(info)) == sizeof(info)) {
                if (info.ssi_signo == SIGWINCH && master >= 0)
                        resize(master);
                else if (info.ssi_signo != SIGPIPE)
                        (void)sys_pidfd_send_signal(pidfd, (int)info.ssi_signo, NULL, 0);
        }
}

/** signals_relay() - Passes our signals on to a process until it has ended; 0 or a negative errno. */
int signals_relay(int pidfd) {
        _cleanup_close_ int fd = -1;
        int r;

        r = take_signals(&fd);
        if (r < 0)
                return r;
        for (;;) {
                struct pollfd p[2] = { { .fd = pidfd, .events = POLLIN }, { .fd = fd, .events = POLLIN } };

                if (poll(p, ELEMENTSOF(p), -1) < 0) {
                        if (errno != EINTR)
                                return -errno;
                        continue;
                }
                if (p[1].revents)
                        pass_signals(fd, pidfd, -1);
                if (p[0].revents)
                        return 0;
        }
}

/* One direction. What has been read waits here until it can be written, and nothing else waits with it: a program that
 * writes more than it reads would else wait for us, and we for it. */
typedef struct Flow {
        int from, to;
        gboolean over; /* one side of it is */
        gsize at, size;
        char data[PIPE_BUF]; /* as much as can be written for sure where poll(2) says so */
} Flow;

static void flow_poll(const Flow *f, struct pollfd p[2]) {
        p[0] = (struct pollfd){ .fd = f->over || f->size > 0 ? -1 : f->from, .events = POLLIN };
        p[1] = (struct pollfd){ .fd = f->size > 0 ? f->to : -1, .events = POLLOUT };
}

static gboolean is_passing(ssize_t n) {
        return n < 0 && (errno == EINTR || errno == EAGAIN);
}

static void flow_move(Flow *f, const struct pollfd p[2]) {
        ssize_t n;

        if (p[0].revents) {
                n = read(f->from, f->data, sizeof(f->data));
                f->at = 0;
                f->size = n > 0 ? (gsize)n : 0;
                f->over = n <= 0 && !is_passing(n);
        } else if (p[1].revents) {
                n = write(f->to, f->data + f->at, f->size);
                if (n > 0) {
                        f->at += (gsize)n;
                        f->size -= (gsize)n;
                } else if (!is_passing(n)) {
                        f->over = TRUE;
                        f->size = 0;
                }
        }
}

static int relay(int master, int pidfd, int signal_fd) {
        Flow in = { .from = STDIN_FILENO, .to = master }, out = { .from = master, .to = STDOUT_FILENO };
        gboolean ended = FALSE;

        for (;;) {
                struct pollfd p[6] = { [4] = { .fd = signal_fd, .events = POLLIN },
                                       [5] = { .fd = ended ? -1 : pidfd, .events = POLLIN } };
                gboolean last = ended && out.size == 0;
                int n;

                flow_poll(&in, p);
                flow_poll(&out, p + 2);
                if (ended)
                        p[0].fd = p[1].fd = -1;
                n = poll(p, ELEMENTSOF(p), last ? 0 : -1);
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (last && (n == 0 || out.over)) /* it has ended, and all it wrote is out */
                        return 0;
                if (n <= 0)
                        continue;
                if (p[4].revents)
                        pass_signals(signal_fd, pidfd, master);
                flow_move(&in, p);
                flow_move(&out, p + 2);
                if (p[5].revents)
                        ended = TRUE;
        }
}

/** console_relay() - Joins a terminal's master with our own terminal until the process has ended. */
int console_relay(int master, int pidfd) {
        gboolean tty = isatty(STDIN_FILENO);
        _cleanup_close_ int signal_fd = -1;
        struct termios saved, raw;
        int r;

        r = take_signals(&signal_fd);
        if (r >= 0)
                r = fd_set_nonblock(master, true);
        if (r < 0)
                return r;
        if (tty && tcgetattr(STDIN_FILENO, &saved) >= 0) {
                raw = saved;
                cfmakeraw(&raw);
                resize(master);
                (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
        } else
                tty = FALSE;
        r = relay(master, pidfd, signal_fd);
        if (tty)
                (void)tcsetattr(STDIN_FILENO, TCSANOW, &saved);
        return r;
}
