/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The progress of a job as one line on stderr, where that is a terminal: bytes, layers and, where the whole is known, a
 * bar. The line is drawn when the manager tells of a change and taken away at the end. Nothing is drawn where nobody
 * looks, and nothing polls.
 */

#include "ctl/progress.h"

#include <sys/ioctl.h>

#include "ctl/text.h"

#define BAR_MAX 40U

/** progress_begin() - decides whether there is anybody to see it. */
void progress_begin(Progress *p, bool quiet) {
        struct winsize size;

        p->shown = !quiet && isatty(STDERR_FILENO) && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) >= 0;
        p->columns = p->shown && size.ws_col > 0 ? size.ws_col : 80;
}

static void draw_bar(const Progress *p, uint64_t done, uint64_t total) {
        unsigned width = p->columns > 60 ? BAR_MAX : p->columns > 40 ? 15 : 0;
        unsigned full = (unsigned)((double)done / (double)total * width);

        if (width == 0)
                return;
        (void)fputs("[", stderr);
        for (unsigned i = 0; i < width; i++)
                (void)fputc(i < full ? '#' : ' ', stderr);
        (void)fputs("] ", stderr);
}

static void draw(Progress *p, uint64_t done, uint64_t total, uint32_t layers, uint32_t all_layers) {
        char a[TEXT_SIZE_MAX], b[TEXT_SIZE_MAX];

        (void)fputs("\r\033[K", stderr);
        if (total > 0) {
                if (done > total)
                        done = total;
                draw_bar(p, done, total);
                (void)fprintf(stderr, _("%s of %s"), text_size(done, a), text_size(total, b));
        } else
                (void)fputs(text_size(done, a), stderr);
        if (all_layers > 0)
                (void)fprintf(stderr, _(", layer %u of %u"), layers < all_layers ? layers + 1 : layers, all_layers);
        (void)fflush(stderr);
        p->drawn = true;
}

/** progress_signal() - takes a PropertiesChanged signal of any job; those of others are left. */
void progress_signal(Progress *p, Message *m) {
        uint64_t done, total;
        uint32_t layers, all_layers;
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
                        r = message_read(m, "v", "(ttuu)", &done, &total, &layers, &all_layers);
                        if (r >= 0)
                                draw(p, done, total, layers, all_layers);
                } else if (r >= 0)
                        r = message_skip(m, "v");
                if (r >= 0)
                        r = message_exit(m);
        }
}

/** progress_end() - takes the line away. */
void progress_end(Progress *p) {
        if (p->drawn)
                (void)fputs("\r\033[K", stderr);
        p->drawn = false;
}
