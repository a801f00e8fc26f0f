/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Words to the user: translation, error lines, notes. The locale is set up with the first message, not at start,
 * because most runs of davitctl say nothing and a container's start waits for them. Whatever comes from elsewhere is
 * printed with control characters made visible: a container must not be able to write escape sequences to an operator's
 * terminal.
 */

#include "ctl/ctl.h"

#include <libintl.h>
#include <locale.h>
#include <stdarg.h>

#include "ctl/text.h"

/** locale_init() - reads the user's locale, once. */
void locale_init(void) {
        static bool done;

        if (done)
                return;
        done = true;
        (void)setlocale(LC_ALL, "");
        (void)bindtextdomain(PACKAGE, DAVIT_LOCALEDIR);
        (void)textdomain(PACKAGE);
}

/** ctl_gettext() - the message in the user's language; _() for short. */
const char *ctl_gettext(const char *message) {
        locale_init();
        return gettext(message);
}

/** ctl_ngettext() - the message in the form for n things. */
const char *ctl_ngettext(const char *one, const char *many, uint64_t n) {
        locale_init();
        return ngettext(one, many, n);
}

static void print_line(const char *prefix, const char *format, va_list ap) {
        _cleanup_free_ char *text = NULL, *visible = NULL;

        if (vasprintf(&text, format, ap) < 0)
                return;
        visible = text_visible(text);
        (void)fprintf(stderr, "%s%s\n", prefix, visible ?: text);
}

/** ctl_error() - prints "davitctl: <sentence>" and returns the exit status of a failure. */
int ctl_error(const Ctl *ctl, const char *format, ...) {
        va_list ap;

        (void)fflush(stdout);
        va_start(ap, format);
        print_line("davitctl: ", format, ap);
        va_end(ap);
        return ctl->failure;
}

/** ctl_note() - prints a line that is no error to stderr. */
void ctl_note(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        print_line("", format, ap);
        va_end(ap);
}

/** ctl_oom() - reports that memory ran out. */
int ctl_oom(const Ctl *ctl) {
        return ctl_error(ctl, "%s", _("out of memory"));
}
