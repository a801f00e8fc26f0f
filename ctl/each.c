/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One method called on every container a user named. All calls go out before the first answer is awaited, so stopping
 * ten containers takes as long as the slowest of them. Ids are taken as they are and looked up by their beginning only
 * where there is no such object, or where two names may be of one container, which is called once. What failed is
 * printed and the others still done. An exec is named by its container and its own id, which is taken whole.
 */

#include "ctl/each.h"

typedef struct Target {
        char *id;
        Call call;
} Target;

/* The object that is called; to free, NULL where memory ran out. */
static char *target_path(Ctl *ctl, const Each *each, const Target *target) {
        _cleanup_free_ char *path = path_of(ctl->ns, each->kind, target->id), *prefix = NULL;

        if (!path || !each->exec)
                return TAKE_PTR(path);
        prefix = text_printf("%s/exec", path);
        return prefix ? path_encode(prefix, each->exec) : NULL;
}

static int target_send(Ctl *ctl, const Each *each, Target *target) {
        _cleanup_message_ Message *m = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        path = target_path(ctl, each, target);
        if (!path)
                return ctl_oom(ctl);
        r = call_new(ctl, path, each->interface, each->member, &m);
        if (r != 0)
                return r;
        r = each->append ? each->append(m, each->userdata) : 0;
        if (r < 0)
                return bus_protocol_error(ctl, r);
        return call_send(ctl, &target->call, m);
}

static int target_retry(Ctl *ctl, const Each *each, Target *target) {
        char *id = NULL;
        int r;

        r = container_find(ctl, target->id, &id);
        if (r != 0)
                return r;
        if (!id)
                return each->missing_ok ? 0 : container_missing(ctl, target->id);
        free(target->id);
        target->id = id;
        call_clear(&target->call);
        r = target_send(ctl, each, target);
        return r == 0 ? call_wait(ctl, &target->call) : r;
}

/* There is such a container, but no such object of it. */
static int target_absent(Ctl *ctl, const Each *each, const Target *target) {
        _cleanup_call_ Call call = {};

        if (each->exec && task_status(ctl, &call, target->id))
                return ctl_error(ctl,
                                 _("container '%s' has no exec '%s'; see 'davitctl top %s' for those it has, and "
                                   "'davitctl events --since 1h -f id=%s' for how others have ended"),
                                 target->id, each->exec, target->id, target->id);
        return ctl_error(ctl, _("container '%s' is not running"), target->id);
}

static int target_done(Ctl *ctl, const Each *each, Target *target) {
        int r;

        r = call_wait(ctl, &target->call);
        if (r == 0 && error_no_object(call_error(&target->call)))
                r = target_retry(ctl, each, target);
        if (r != 0)
                return r;
        if (error_no_object(call_error(&target->call)) && each->missing_ok)
                return 0;
        if (error_no_object(call_error(&target->call)) && !each->absent_ok)
                return target_absent(ctl, each, target);
        if (each->refused && call_failed(&target->call, "FailedPrecondition"))
                return each->refused(ctl, target->id, &target->call);
        if (call_error(&target->call) && !error_no_object(call_error(&target->call)))
                return call_report(ctl, &target->call, target->id);
        if (each->answered)
                return each->answered(ctl, target->id, &target->call, each->userdata);
        printf("%s\n", each->exec ?: target->id);
        return 0;
}

/* Whether another name may be of the same container: of an id and its beginning, or two beginnings of an id, one begins
 * with the other. */
static bool has_relative(int argc, char **argv, int i) {
        for (int k = 0; k < argc; k++) {
                size_t n = strlen(argv[i]), other = strlen(argv[k]);

                if (k != i && strncmp(argv[i], argv[k], n < other ? n : other) == 0)
                        return true;
        }
        return false;
}

static bool has_string(const Strv *strv, const char *s) {
        for (size_t i = 0; i < strv->n; i++)
                if (streq(strv->v[i], s))
                        return true;
        return false;
}

/** each_names() - what was named, each container once unless repeats. 0, or the exit status of the last failure. */
int each_names(Ctl *ctl, bool repeats, int argc, char **argv, Strv *ret) {
        int r, status = 0;

        for (int i = 0; i < argc; i++) {
                _cleanup_free_ char *id = NULL;

                r = !repeats && has_relative(argc, argv, i) ? container_find(ctl, argv[i], &id) : 0;
                if (r != 0)
                        status = r;
                else if ((repeats || !has_string(ret, id ?: argv[i])) && !strv_add(ret, id ?: argv[i]))
                        return ctl_oom(ctl);
        }
        return status;
}

/* Calls all of them and takes their answers. */
static int call_targets(Ctl *ctl, const Each *each, Target *targets, const Strv *names) {
        int r = 0, status = 0;
        size_t sent = 0;

        for (; sent < names->n && r == 0; sent++) {
                targets[sent].id = strdup(names->v[sent]);
                r = targets[sent].id ? target_send(ctl, each, &targets[sent]) : ctl_oom(ctl);
        }
        for (size_t i = 0; i < sent; i++) {
                int failed = r == 0 ? target_done(ctl, each, &targets[i]) : r;

                if (failed != 0)
                        status = failed;
                call_clear(&targets[i].call);
                free(targets[i].id);
        }
        return status;
}

/** each_call() - see above. Returns 0 or the exit status of the last failure. */
int each_call(Ctl *ctl, const Each *each, int argc, char **argv) {
        _cleanup_strv_ Strv names = {};
        Target *targets;
        int r, status;

        if (each->exec && argc != 1)
                return ctl_error(ctl, _("--exec is about one container; name no other"));
        status = each_names(ctl, each->repeats, argc, argv, &names);
        if (names.n == 0)
                return status;
        targets = calloc(names.n, sizeof(*targets));
        if (!targets)
                return ctl_oom(ctl);
        r = call_targets(ctl, each, targets, &names);
        free(targets);
        return r == 0 ? status : r;
}
