/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From what a user typed to a container: a whole id is used as it is, without asking; only after the manager said that
 * there is no such object the beginning of an id is looked for among all that Davit has made up. An ambiguous beginning
 * is an error. Images are never looked up this way.
 */

#include "ctl/bus.h"
#include "shared/name.h"

static int list_ids(Ctl *ctl, Call *call) {
        int r;

        r = call_simple(ctl, call, BUS_PATH, BUS_MANAGER, "ListContainers", "sa{sv}", ctl->ns, 0);
        if (r != 0)
                return r;
        r = call_wait(ctl, call);
        if (r != 0)
                return r;
        return call_error(call) ? call_report(ctl, call, NULL) : 0;
}

/* Walks the reply. Returns the number of made-up ids that begin with prefix, negative errno. A name that somebody chose
 * has to be given whole: "rm -f web" is not about "web-db". */
static int match_prefix(Message *reply, const char *prefix, const char **ret) {
        const char *id;
        int r, n = 0;

        r = message_enter(reply, 'a', "(sssasa{ss}to)");
        while (r >= 0 && (r = message_enter(reply, 'r', "sssasa{ss}to")) > 0) {
                r = message_read(reply, "ss", NULL, &id);
                if (r >= 0)
                        r = message_skip(reply, "sasa{ss}to");
                if (r >= 0)
                        r = message_exit(reply);
                if (r < 0)
                        break;
                if (streq(id, prefix)) {
                        *ret = id;
                        return 1;
                }
                if (name_is_random_id(id) && strncmp(id, prefix, strlen(prefix)) == 0) {
                        *ret = id;
                        n++;
                }
        }
        return r < 0 ? r : n;
}

/**
 * container_find() - finds the container whose id is or begins with what was given.
 * @ret: its id, to free; NULL where there is none.
 *
 * Returns 0, or an exit status after an error has been printed.
 */
int container_find(Ctl *ctl, const char *given, char **ret) {
        _cleanup_call_ Call call = {};
        const char *id = NULL;
        int n, r;

        *ret = NULL;
        r = list_ids(ctl, &call);
        if (r != 0)
                return r;
        n = *given ? match_prefix(call.reply, given, &id) : 0;
        if (n < 0)
                return bus_protocol_error(ctl, n);
        if (n > 1)
                return ctl_error(ctl, _("'%s' is the beginning of more than one container's id; give more of it"),
                                 given);
        if (n == 1) {
                *ret = strdup(id);
                return *ret ? 0 : ctl_oom(ctl);
        }
        return 0;
}

/** container_missing() - prints that there is no such container. */
int container_missing(Ctl *ctl, const char *given) {
        return ctl_error(ctl, _("there is no container '%s' in namespace '%s'; see 'davitctl ps -a'"), given, ctl->ns);
}

/** container_resolve() - container_find() for a container that must be there: its id, NULL after an error has been
 * printed. */
char *container_resolve(Ctl *ctl, const char *given) {
        char *id;

        if (container_find(ctl, given, &id) != 0)
                return NULL;
        if (!id)
                (void)container_missing(ctl, given);
        return id;
}

/** container_object() - container_resolve(), and the path of the container's object of a kind, "container" or "task";
 * both to free. 0, or an exit status after an error has been printed. */
int container_object(Ctl *ctl, const char *given, const char *kind, char **ret_id, char **ret_path) {
        *ret_id = container_resolve(ctl, given);
        if (!*ret_id)
                return ctl->failure;
        *ret_path = path_of(ctl->ns, kind, *ret_id);
        return *ret_path ? 0 : ctl_oom(ctl);
}

/** container_latest() - the id of the container created last, to free; NULL after an error has been printed. */
char *container_latest(Ctl *ctl) {
        const char *id, *latest = NULL;
        _cleanup_call_ Call call = {};
        uint64_t created, newest = 0;
        char *copy = NULL;
        int r;

        if (list_ids(ctl, &call) != 0)
                return NULL;
        r = message_enter(call.reply, 'a', "(sssasa{ss}to)");
        while (r >= 0 && (r = message_enter(call.reply, 'r', "sssasa{ss}to")) > 0) {
                r = message_read(call.reply, "ss", NULL, &id);
                if (r >= 0)
                        r = message_skip(call.reply, "sasa{ss}");
                if (r >= 0)
                        r = message_read(call.reply, "to", &created, NULL);
                if (r >= 0)
                        r = message_exit(call.reply);
                if (r >= 0 && (!latest || created >= newest)) {
                        latest = id;
                        newest = created;
                }
        }
        if (r < 0)
                (void)bus_protocol_error(ctl, r);
        else if (!latest)
                (void)ctl_error(ctl, _("there is no container in namespace '%s'"), ctl->ns);
        else if (!(copy = strdup(latest)))
                (void)ctl_oom(ctl);
        return copy;
}
