/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The user's own terminal. Raw mode is left again however davitctl ends: at the end of a session, and by atexit() on
 * every other way out. The container never gets this terminal, only one of its own.
 * One terminal at a time, hence the file-wide state.
 */

#include "ctl/terminal.h"

#include <sys/ioctl.h>
#include <termios.h>

#include "ctl/ctl.h"

static struct termios saved;
static bool is_raw;

/** terminal_size() - the size of the terminal davitctl was started on; false where it has none. */
bool terminal_size(unsigned *ret_columns, unsigned *ret_rows) {
        struct winsize size;

        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
                if (ioctl(fd, TIOCGWINSZ, &size) >= 0 && size.ws_col > 0 && size.ws_row > 0) {
                        *ret_columns = size.ws_col;
                        *ret_rows = size.ws_row;
                        return true;
                }
        return false;
}

/** terminal_restore() - undoes terminal_raw(). */
void terminal_restore(void) {
        if (is_raw)
                (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
        is_raw = false;
}

/** terminal_raw() - hands every key through; 0 also where stdin is no terminal, or negative errno. */
int terminal_raw(void) {
        static bool registered;
        struct termios raw;

        if (tcgetattr(STDIN_FILENO, &raw) < 0)
                return errno == ENOTTY ? 0 : -errno;
        if (!is_raw)
                saved = raw;
        if (!registered && atexit(terminal_restore) == 0)
                registered = true;
        raw = saved;
        cfmakeraw(&raw);
        is_raw = true;
        return tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) < 0 ? -errno : 0;
}

/** terminal_columns() - how wide output may be; 0: as wide as it is, stdout is no terminal. */
unsigned terminal_columns(void) {
        struct winsize size;

        return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) >= 0 ? size.ws_col : 0;
}

/** terminal_colours() - whether output may be coloured. */
bool terminal_colours(void) {
        const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");

        return !(no_color && *no_color) && term && !streq(term, "dumb") && isatty(STDOUT_FILENO);
}
