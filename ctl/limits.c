/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Limits of an import, as import and pull take them on the command line (bytes=2g) and the manager in an option
 * dictionary. Which names there are is the manager's to know; here only their form is looked at.
 */

#include "ctl/job.h"
#include "ctl/text.h"

/** limits_check() - whether all of them are NAME=SIZE. 0 or an exit status. */
int limits_check(Ctl *ctl, const Strv *limits) {
        for (size_t i = 0; i < limits->n; i++) {
                const char *equals = strchr(limits->v[i], '=');
                uint64_t value;

                if (!equals || equals == limits->v[i] || !parse_size(equals + 1, &value))
                        return ctl_error(ctl, _("'%s' is no limit; give a name and a size, such as bytes=2g"),
                                         limits->v[i]);
        }
        return 0;
}

/** limits_append() - the entry of an option dictionary; negative errno. */
int limits_append(Message *m, const Strv *limits) {
        int r;

        if (limits->n == 0)
                return 0;
        r = message_open(m, 'e', "sv");
        if (r >= 0)
                r = message_append(m, "s", "Limits");
        if (r >= 0)
                r = message_open(m, 'v', "a{st}");
        if (r >= 0)
                r = message_open(m, 'a', "{st}");
        for (size_t i = 0; i < limits->n && r >= 0; i++) {
                const char *equals = strchr(limits->v[i], '=');
                _cleanup_free_ char *name = strndup(limits->v[i], (size_t)(equals - limits->v[i]));
                uint64_t value = 0;

                (void)parse_size(equals + 1, &value);
                r = name ? message_append(m, "{st}", name, value) : -ENOMEM;
        }
        if (r >= 0)
                r = message_close(m);
        if (r >= 0)
                r = message_close(m);
        return r < 0 ? r : message_close(m);
}
