/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Options of an OCI runtime, from KEY=VALUE on the command line to the types of the bus.
 *
 * Arguments may be given several times and is a list; "yes" and "no" in any of their usual forms are a boolean, all
 * else is a text. Which keys there are is the manager's to know, and it refuses the others by name.
 */

#include "ctl/container-options.h"

static int boolean(const char *value) {
        static const char *const words[] = { "no", "false", "off", "yes", "true", "on" };

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (streq(words[i], value))
                        return i >= 3;
        return -1;
}

static bool key_is(const char *option, const char *key) {
        size_t n = strlen(key);

        return strncmp(option, key, n) == 0 && option[n] == '=';
}

static int append_arguments(Message *m, const Strv *options) {
        _cleanup_strv_ Strv arguments = {};
        bool ok = true;

        for (size_t i = 0; i < options->n && ok; i++)
                if (key_is(options->v[i], "Arguments"))
                        ok = strv_add(&arguments, strchr(options->v[i], '=') + 1);
        if (!ok)
                return -ENOMEM;
        return arguments.n > 0 ? option_strv(m, "Arguments", arguments.v) : 0;
}

static int append_one(Message *m, const char *option) {
        const char *value = strchr(option, '=') + 1;
        _cleanup_free_ char *key = strndup(option, (size_t)(value - option) - 1);
        int on = boolean(value);

        if (!key)
                return -ENOMEM;
        return on >= 0 ? option_bool(m, key, on) : option_string(m, key, value);
}

/** append_runtime_options() - RuntimeOptions of "KEY=VALUE" strings; negative errno. */
int append_runtime_options(Message *m, const Strv *options) {
        int r;

        r = message_open(m, 'e', "sv");
        if (r >= 0)
                r = message_append(m, "s", "RuntimeOptions");
        if (r >= 0)
                r = message_open(m, 'v', "a{sv}");
        if (r >= 0)
                r = message_open(m, 'a', "{sv}");
        for (size_t i = 0; i < options->n && r >= 0; i++)
                if (!key_is(options->v[i], "Arguments"))
                        r = append_one(m, options->v[i]);
        if (r >= 0)
                r = append_arguments(m, options);
        for (int depth = 0; depth < 3 && r >= 0; depth++)
                r = message_close(m);
        return r;
}
