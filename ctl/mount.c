/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Mounts as users write them (-v, --mount, --tmpfs) turned into type, source, target and options. Read-only means all
 * of what is mounted, submounts too. Only the form is checked here; whether a source exists is the manager's to say,
 * and nothing is created.
 */

#include "ctl/container-options.h"

#define BIND_OPTIONS "rbind,rprivate"
#define TMPFS_OPTIONS "nosuid,nodev,noexec"

static int add(Ctl *ctl, Strv *mounts, const char *type, const char *source, const char *target, const char *options) {
        if (*target != '/')
                return ctl_error(ctl, _("the place of a mount in the container must be absolute, '%s' is not"), target);
        if (!strv_add(mounts, type) || !strv_add(mounts, source) || !strv_add(mounts, target) ||
            !strv_add(mounts, options))
                return ctl_oom(ctl);
        return 0;
}

/* A source as an absolute path; NULL after an error has been printed. */
static char *source_path(Ctl *ctl, const char *source) {
        char *path;

        if (*source == '/' || *source == '.')
                path = *source == '/' ? strdup(source) : realpath(source, NULL);
        else {
                (void)ctl_error(ctl,
                                _("'%s' is no path; there are no named volumes, give a path that begins with / or ."),
                                source);
                return NULL;
        }
        if (!path)
                (void)ctl_error(ctl, _("cannot mount '%s': %s"), source, strerror(errno));
        return path;
}

/* Appends what a comma-separated list asks for. */
static char *bind_options(char *list) {
        char *options = strdup(BIND_OPTIONS), *word, *state = NULL, *longer;

        for (word = list ? strtok_r(list, ",", &state) : NULL; word && options; word = strtok_r(NULL, ",", &state)) {
                if (streq(word, "ro") || streq(word, "readonly"))
                        word = (char *)"rro";
                longer = text_printf("%s,%s", options, word);
                free(options);
                options = longer;
        }
        return options;
}

/** mount_add_volume() - "SRC:DST[:OPTION,...]". 0 or an exit status. */
int mount_add_volume(Ctl *ctl, Strv *mounts, const char *arg) {
        _cleanup_free_ char *copy = strdup(arg), *path = NULL, *options = NULL;
        char *target, *list;

        if (!copy)
                return ctl_oom(ctl);
        target = strchr(copy, ':');
        if (!target)
                return ctl_error(ctl, _("'%s' is no volume; give SRC:DST or SRC:DST:OPTIONS"), arg);
        *target++ = '\0';
        list = strchr(target, ':');
        if (list)
                *list++ = '\0';
        path = source_path(ctl, copy);
        if (!path)
                return ctl->failure;
        options = bind_options(list);
        return options ? add(ctl, mounts, "bind", path, target, options) : ctl_oom(ctl);
}

/** mount_add_tmpfs() - "DST[:OPTION,...]". 0 or an exit status. */
int mount_add_tmpfs(Ctl *ctl, Strv *mounts, const char *arg) {
        _cleanup_free_ char *copy = strdup(arg), *options = NULL;
        char *list;

        if (!copy)
                return ctl_oom(ctl);
        list = strchr(copy, ':');
        if (list)
                *list++ = '\0';
        options = text_printf("%s%s%s", TMPFS_OPTIONS, list ? "," : "", list ?: "");
        return options ? add(ctl, mounts, "tmpfs", "tmpfs", copy, options) : ctl_oom(ctl);
}

typedef struct Mount {
        const char *type, *source, *target;
        Strv options;
} Mount;

static bool truth(const char *value) {
        return !value || streq(value, "true") || streq(value, "1");
}

/* One key of --mount. Returns false where it is not known. */
static bool mount_key(Mount *m, const char *key, const char *value) {
        if (streq(key, "type"))
                m->type = value ?: "";
        else if (streq(key, "source") || streq(key, "src"))
                m->source = value ?: "";
        else if (streq(key, "target") || streq(key, "destination") || streq(key, "dst"))
                m->target = value ?: "";
        else if (streq(key, "readonly") || streq(key, "ro"))
                return !truth(value) || strv_add(&m->options, "ro");
        else if (streq(key, "bind-propagation") && value)
                return strv_add(&m->options, value);
        else if (streq(key, "tmpfs-size") && value)
                return strv_take(&m->options, text_printf("size=%s", value));
        else if (streq(key, "tmpfs-mode") && value)
                return strv_take(&m->options, text_printf("mode=%s", value));
        else
                return false;
        return true;
}

static char *join(const Strv *words) {
        char *text = strdup("");

        for (size_t i = 0; i < words->n && text; i++) {
                char *longer = text_printf("%s%s%s", text, i > 0 ? "," : "", words->v[i]);

                free(text);
                text = longer;
        }
        return text;
}

static int mount_finish(Ctl *ctl, Strv *mounts, const Mount *m, const char *arg) {
        _cleanup_free_ char *list = join(&m->options), *path = NULL, *options = NULL;

        if (!list)
                return ctl_oom(ctl);
        if (!m->target)
                return ctl_error(ctl, _("'%s' names no target; give target=PATH"), arg);
        if (streq(m->type, "tmpfs")) {
                options = text_printf("%s%s%s", TMPFS_OPTIONS, *list ? "," : "", list);
                return options ? add(ctl, mounts, "tmpfs", "tmpfs", m->target, options) : ctl_oom(ctl);
        }
        if (!streq(m->type, "bind"))
                return ctl_error(ctl, _("mounts are of type bind or tmpfs, not '%s'"), m->type);
        if (!m->source)
                return ctl_error(ctl, _("'%s' names no source; give source=PATH"), arg);
        path = source_path(ctl, m->source);
        if (!path)
                return ctl->failure;
        options = bind_options(list);
        return options ? add(ctl, mounts, "bind", path, m->target, options) : ctl_oom(ctl);
}

/** mount_add_mount() - "type=bind,source=PATH,target=PATH,...". 0 or an exit status. */
int mount_add_mount(Ctl *ctl, Strv *mounts, const char *arg) {
        _cleanup_free_ char *copy = strdup(arg);
        Mount m = { .type = "bind" };
        char *word, *state = NULL;
        int r = 0;

        if (!copy)
                return ctl_oom(ctl);
        for (word = strtok_r(copy, ",", &state); word && r == 0; word = strtok_r(NULL, ",", &state)) {
                char *value = strchr(word, '=');

                if (value)
                        *value++ = '\0';
                if (!mount_key(&m, word, value))
                        r = ctl_error(ctl, _("'%s' is not known in --mount; see davitctl(1)"), word);
        }
        if (r == 0)
                r = mount_finish(ctl, mounts, &m, arg);
        strv_clear(&m.options);
        return r;
}
