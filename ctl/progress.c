/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The progress of a job as one line on stderr, where that is a terminal: a bar, bytes, layers, rate and time left. The
 * line is drawn when the manager tells of a change; at the end one that says what was done stands in its place. Nothing
 * is drawn where nobody looks, and nothing polls.
 */

#include "ctl/progress.h"

#include <sys/ioctl.h>
#include <time.h>

static uint64_t now_usec(void) {
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / NSEC_PER_USEC;
}

/** progress_begin() - decides whether there is anybody to see it. The work begins now. */
void progress_begin(Progress *p, bool quiet) {
        struct winsize size;

        p->shown = !quiet && isatty(STDERR_FILENO) && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) >= 0;
        p->columns = p->shown && size.ws_col > 0 ? size.ws_col : 80;
        rate_begin(&p->rate, p->shown ? now_usec() : 0);
}

/** progress_step() - draws how far the work has come. */
void progress_step(Progress *p, const Amount *amount) {
        _cleanup_free_ char *line = NULL;

        if (!p->shown)
                return;
        rate_step(&p->rate, now_usec(), amount->done);
        line = rate_line(&p->rate, amount, p->columns);
        (void)fprintf(stderr, "\r\033[K%s", line ?: "");
        (void)fflush(stderr);
        p->drawn = true;
}

/** progress_signal() - takes a PropertiesChanged signal of any job; those of others are left. */
void progress_signal(Progress *p, Message *m) {
        Amount amount;
        const char *key;
        int r;

        if (!p->shown || (p->job && !streq(m->path ?: "", p->job)))
                return;
        r = message_skip(m, "s");
        if (r >= 0)
                r = message_enter(m, 'a', "{sv}");
        while (r >= 0 && message_enter(m, 'e', "sv") > 0) {
                r = message_read(m, "s", &key);
                if (r >= 0 && streq(key, "Progress")) {
                        r = message_read(m, "v", "(ttuu)", &amount.done, &amount.total, &amount.layers,
                                         &amount.all_layers);
                        if (r >= 0)
                                progress_step(p, &amount);
                } else if (r >= 0)
                        r = message_skip(m, "v");
                if (r >= 0)
                        r = message_exit(m);
        }
}

/** progress_end() - takes the line away; where the work is done, says in its place what was done. */
void progress_end(Progress *p, bool whole) {
        _cleanup_free_ char *line = NULL;

        if (!p->drawn)
                return;
        (void)fputs("\r\033[K", stderr);
        if (whole && p->rate.done > 0)
                line = rate_summary(&p->rate, now_usec());
        if (line)
                (void)fprintf(stderr, "%s\n", line);
        p->drawn = false;
}
