/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The streams of a program. A pipe, a file or a socket of ours is handed to the container as it is and nothing is
 * copied. A terminal of ours never is, since whoever holds it can read its keys and change its modes: a pipe takes its
 * place and a relay copies. With a terminal of the container's own, two relays join it to ours.
 * A relay holds one buffer and never blocks on the container's side.
 */

#include "ctl/stdio.h"

#include <ctype.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#define WRITE_MAX 4096U /* what a pipe takes without blocking once poll says that it can be written */

static bool same_terminal(int a, int b) {
        struct stat sa, sb;

        return isatty(a) && isatty(b) && fstat(a, &sa) >= 0 && fstat(b, &sb) >= 0 && sa.st_rdev == sb.st_rdev;
}

static Relay *relay_add(Stdio *s, int from, int to, bool close_to) {
        Relay *relay = &s->relays[s->n_relays++];

        relay->from = from;
        relay->to = to;
        relay->close_to = close_to;
        return relay;
}

static int add_pipe(Stdio *s, int stream) {
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        s->own[stream] = true;
        s->given[stream] = fds[stream == STDIN_FILENO ? 0 : 1];
        if (stream == STDIN_FILENO) {
                (void)fcntl(fds[1], F_SETFL, O_NONBLOCK);
                (void)relay_add(s, STDIN_FILENO, fds[1], true);
        } else {
                (void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
                (void)relay_add(s, fds[0], stream, false);
        }
        return 0;
}

/** stdio_prepare() - decides what the container gets for each stream; negative errno. */
int stdio_prepare(Stdio *s, bool with_stdin) {
        int r;

        for (int stream = with_stdin ? STDIN_FILENO : STDOUT_FILENO; stream <= STDERR_FILENO; stream++) {
                if (fcntl(stream, F_GETFD) < 0)
                        continue; /* closed: the container gets what it gets without */
                if (stream == STDERR_FILENO && s->own[STDOUT_FILENO] && same_terminal(STDOUT_FILENO, STDERR_FILENO)) {
                        s->given[stream] = s->given[STDOUT_FILENO]; /* one pipe keeps the lines in order */
                        continue;
                }
                if (!isatty(stream)) {
                        s->given[stream] = stream;
                        continue;
                }
                r = add_pipe(s, stream);
                if (r < 0)
                        return r;
        }
        return 0;
}

/** stdio_file() - both streams go to the end of a file, which is made where it is not there; negative errno. */
int stdio_file(Stdio *s, const char *path) {
        int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_CLOEXEC, 0640);

        if (fd < 0)
                return -errno;
        s->given[STDOUT_FILENO] = s->given[STDERR_FILENO] = fd;
        s->own[STDOUT_FILENO] = true;
        return 0;
}

/** stdio_append() - the entries Stdin, Stdout and Stderr of an option dictionary; negative errno. */
int stdio_append(Stdio *s, Message *m) {
        static const char *const keys[] = { "Stdin", "Stdout", "Stderr" };
        int r = 0;

        for (int stream = 0; stream < 3 && r >= 0; stream++)
                if (s->given[stream] >= 0)
                        r = option_fd(m, keys[stream], s->given[stream]);
        return r;
}

/** stdio_sent() - the message is on its way: closes the container's ends here, so that their end can be seen. */
void stdio_sent(Stdio *s) {
        for (int stream = 0; stream < 3; stream++) {
                if (s->own[stream])
                        (void)close(s->given[stream]);
                s->own[stream] = false;
                s->given[stream] = -1;
        }
}

/** stdio_terminal() - joins the container's terminal, which then belongs to the relays, to ours; negative errno. */
int stdio_terminal(Stdio *s, int master, bool with_stdin) {
        if (fcntl(master, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
                return -errno;
        (void)relay_add(s, master, STDOUT_FILENO, false);
        if (with_stdin)
                relay_add(s, STDIN_FILENO, master, false)->keys = &s->keys;
        return 0;
}

/* What never blocks here shall not become so for everybody else who holds the same end: where it may be opened, it is
 * taken for ourselves. */
static int own_pipe(int *fd, int mode) {
        char path[sizeof("/proc/self/fd/") + 10];
        int own;

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", *fd);
        own = open(path, mode | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        if (own < 0)
                return fcntl(*fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
        (void)close(*fd);
        *fd = own;
        return 0;
}

/** stdio_streams() - joins a container's own pipes (-1: none), which then are the relays', to ours; negative errno. */
int stdio_streams(Stdio *s, const int fds[3], bool with_stdin) {
        Relay *relay;
        int r;

        for (int stream = STDOUT_FILENO; stream <= STDERR_FILENO; stream++) {
                if (fds[stream] < 0)
                        continue;
                r = own_pipe(&relay_add(s, fds[stream], stream, false)->from, O_RDONLY);
                if (r < 0)
                        return r;
        }
        if (fds[STDIN_FILENO] < 0)
                return 0;
        if (!with_stdin) {
                (void)close(fds[STDIN_FILENO]);
                return 0;
        }
        relay = relay_add(s, STDIN_FILENO, fds[STDIN_FILENO], true);
        relay->keys = isatty(STDIN_FILENO) ? &s->keys : NULL;
        return own_pipe(&relay->to, O_WRONLY);
}

/** stdio_clear() - closes what is still open. */
void stdio_clear(Stdio *s) {
        stdio_sent(s);
        for (size_t i = 0; i < s->n_relays; i++) {
                Relay *relay = &s->relays[i];

                if (relay->from > STDERR_FILENO)
                        (void)close(relay->from);
                if (relay->close_to && relay->to >= 0)
                        (void)close(relay->to);
        }
        s->n_relays = 0;
}

static void relay_close(Relay *relay) {
        if (relay->from > STDERR_FILENO && !relay->keys)
                (void)close(relay->from);
        relay->from = -1;
        if (relay->close_to && relay->to >= 0)
                (void)close(relay->to);
        relay->to = -1;
}

/** relay_events() - what to poll for; the descriptor is -1 where the relay is at its end. */
short relay_events(const Relay *relay, int *ret_fd) {
        if (relay->begin < relay->end) {
                *ret_fd = relay->to;
                return POLLOUT;
        }
        *ret_fd = relay->from;
        return POLLIN;
}

/** detach_keys_parse() - "ctrl-p,ctrl-q": characters and ctrl- with a letter or one of @[\\]^_, with commas in between;
 * an empty text is none. */
bool detach_keys_parse(const char *s, DetachKeys *ret) {
        *ret = (DetachKeys){};
        while (*s) {
                int key = (unsigned char)*s;

                if (strncmp(s, "ctrl-", 5) == 0 && s[5]) {
                        key = toupper((unsigned char)s[5]);
                        if (key < '@' || key > '_')
                                return false;
                        key -= '@';
                        s += 5;
                }
                if (ret->n == DETACH_KEYS_MAX || (s[1] && s[1] != ',') || (s[1] && !s[2]))
                        return false;
                ret->v[ret->n++] = (char)key;
                s += s[1] ? 2 : 1;
        }
        return true;
}

/* How many of the held keys and this one begin the sequence; what stands before them goes through. */
static void take_key(Relay *relay, char typed) {
        const DetachKeys *keys = relay->keys;
        char seen[DETACH_KEYS_MAX + 1];
        size_t n = relay->held, skip = 0;

        memcpy(seen, keys->v, n);
        seen[n++] = typed;
        while (skip < n && (n - skip > keys->n || memcmp(seen + skip, keys->v, n - skip) != 0))
                relay->buffer[relay->end++] = seen[skip++];
        relay->held = n - skip;
        relay->detached = relay->held > 0 && relay->held == keys->n;
}

/* Takes the detach keys out of what was typed; a part of them goes through with the key after it. */
static void filter_keys(Relay *relay, const char *typed, size_t n) {
        relay->begin = relay->end = 0;
        for (size_t i = 0; i < n && !relay->detached; i++)
                take_key(relay, typed[i]);
}

static void relay_read(Relay *relay) {
        char typed[RELAY_BUFFER / 2] = "";
        ssize_t n;

        n = relay->keys ? read(relay->from, typed, sizeof(typed)) : read(relay->from, relay->buffer, RELAY_BUFFER);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) { /* EIO: the last holder of the terminal's other side has closed it */
                relay_close(relay);
                return;
        }
        if (relay->keys) {
                filter_keys(relay, typed, (size_t)n);
                return;
        }
        relay->begin = 0;
        relay->end = (size_t)n;
}

/** relay_step() - moves what can be moved; to be called after poll said that there is something to do. */
void relay_step(Relay *relay) {
        size_t size = relay->end - relay->begin;
        ssize_t n;

        if (relay->from < 0 && size == 0)
                return;
        if (size == 0) {
                relay_read(relay);
                return;
        }
        n = write(relay->to, relay->buffer + relay->begin, size < WRITE_MAX ? size : WRITE_MAX);
        if (n >= 0)
                relay->begin += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR) {
                relay->begin = relay->end = 0;
                relay_close(relay);
        }
}

/** relay_drain() - after the program's end: moves all that is there already. False at the end of the stream. */
bool relay_drain(Relay *relay) {
        if (relay->from == STDIN_FILENO || relay->from < 0)
                return false;
        for (;;) {
                while (relay->begin < relay->end && relay->to >= 0)
                        relay_step(relay);
                relay_read(relay);
                if (relay->from < 0)
                        return false;
                if (relay->begin == relay->end)
                        return true;
        }
}
