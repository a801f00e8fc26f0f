/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Environment variables as users give them: "KEY=VALUE" sets one, "KEY" takes the value davitctl itself has and is left
 * out where it has none, a file has one of either on each line, with empty lines and lines that begin with # left out.
 * No value is ever expanded.
 */

#include "ctl/container-options.h"

/** env_add() - one variable. 0 or an exit status. */
int env_add(Ctl *ctl, Strv *env, const char *arg) {
        const char *value;

        if (!*arg || *arg == '=')
                return ctl_error(ctl, _("'%s' is no environment variable; give KEY=VALUE or KEY"), arg);
        if (strchr(arg, '='))
                return strv_add(env, arg) ? 0 : ctl_oom(ctl);
        value = getenv(arg);
        if (!value)
                return 0;
        return strv_take(env, text_printf("%s=%s", arg, value)) ? 0 : ctl_oom(ctl);
}

/** env_remove() - the name of one that is not to be there. 0 or an exit status. */
int env_remove(Ctl *ctl, Strv *env, const char *arg) {
        if (!*arg || strchr(arg, '='))
                return ctl_error(ctl, _("'%s' is no name of an environment variable"), arg);
        return strv_add(env, arg) ? 0 : ctl_oom(ctl);
}

/** env_add_file() - the variables of a file. 0 or an exit status. */
int env_add_file(Ctl *ctl, Strv *env, const char *path) {
        _cleanup_fclose_ FILE *f = NULL;
        _cleanup_free_ char *line = NULL;
        size_t size = 0;
        ssize_t n;
        int r;

        f = fopen(path, "re");
        if (!f)
                return ctl_error(ctl, _("cannot open '%s': %s"), path, strerror(errno));
        while ((n = getline(&line, &size, f)) >= 0) {
                const char *p;

                if (n > 0 && line[n - 1] == '\n')
                        line[n - 1] = '\0';
                p = line + strspn(line, " \t");
                if (!*p || *p == '#')
                        continue;
                r = env_add(ctl, env, p);
                if (r != 0)
                        return r;
        }
        return ferror(f) ? ctl_error(ctl, _("cannot read '%s': %s"), path, strerror(errno)) : 0;
}
