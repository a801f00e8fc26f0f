/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Faults: the error idiom of everything that sets a container up.
 *
 * Functions return a negative errno and leave a struct fault with the step and a sentence behind. The
 * container's first process, which has no log and soon no file system of the host, sends it to the shim as it is;
 * the shim sends it to the manager as SHIM_FAILED. Only the first fault counts: later ones are its echo.
 */

#include "shim/fault.h"

#include <stdarg.h>
#include <string.h>

/** fault_set() - remember a failure
 *
 * @error: an errno of either sign; its text is appended to the sentence. A fault that is already set stays.
 *
 * Return: the negative errno, to be passed on.
 */
int fault_set(struct fault *fault, uint32_t step, int error, const char *format, ...) {
        va_list ap;
        int n;

        error = error < 0 ? error : -error;
        if (fault->error < 0)
                return fault->error;

        fault->error = error;
        fault->step = step;
        va_start(ap, format);
        n = vsnprintf(fault->text, sizeof(fault->text), format, ap);
        va_end(ap);
        if (n >= 0 && (size_t)n < sizeof(fault->text))
                (void)snprintf(fault->text + n, sizeof(fault->text) - (size_t)n, ": %s", strerror(-error));
        return error;
}
