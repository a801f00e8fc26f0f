/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What run and create do about an image that is not here. The container is asked for first, and only where that fails
 * for want of the image it is pulled and the container asked for again: with the image at hand nothing is paid. An
 * error tells both, that the image is not here and why it could not be had. It decides nothing about the container.
 */

#include "ctl/container-options.h"
#include "ctl/pull.h"
#include "shared/image-name.h"

/** pull_policy_check() - whether it is one of those that --pull takes. 0 or an exit status. */
int pull_policy_check(Ctl *ctl, const char *policy) {
        if (!policy || streq(policy, "missing") || streq(policy, "always") || streq(policy, "never"))
                return 0;
        return ctl_error(ctl, _("--pull takes missing, always or never, not '%s'"), policy);
}

/* Fetches the image; where that works @image is the name that it has here. @why: what an error begins with. */
static int fetch(ContainerOptions *o, const char *why, char **image) {
        _cleanup_pull_ Pull pull = PULL_INIT(o->ctl);
        int r;

        if (!why)
                return ctl_oom(o->ctl);
        pull.policy = o->pull ?: "missing";
        pull.auth_file = o->auth_file;
        pull.job.file = why;
        r = pull_image(&pull, *image);
        if (r != 0)
                return r;
        free(o->pulled);
        o->pulled = strdup(pull.name);
        if (!o->pulled)
                return ctl_oom(o->ctl);
        *image = o->pulled;
        return 0;
}

/** pull_always() - fetches the image where the policy says that the registry is always asked. 0 or an exit status. */
int pull_always(ContainerOptions *o, char **image) {
        _cleanup_free_ char *why = NULL;

        if (!o->pull || !streq(o->pull, "always") || !**image)
                return 0;
        why = text_printf(_("image '%s' cannot be pulled"), *image);
        return fetch(o, why, image);
}

/* Whether there is no such image: what is not found may also be the command or a snapshot. */
static int is_missing(Ctl *ctl, const char *image, bool *ret) {
        _cleanup_call_ Call get = {};
        int r;

        r = object_ask(ctl, &get, "GetImage", image);
        *ret = r == 0 && call_failed(&get, "NotFound");
        return r;
}

/**
 * pull_missing() - fetches the image where a call has failed for want of it and the policy lets it.
 * @call: the answered call; cleared where it is to be sent again.
 * @image: what was asked for, and then the name that it has here.
 *
 * Returns 0, with the call to be sent again or as it was, or an exit status after an error has been printed.
 */
int pull_missing(ContainerOptions *o, Call *call, char **image, bool *ret_again) {
        _cleanup_free_ char *why = NULL;
        bool missing;
        int r;

        *ret_again = false;
        if (!call_failed(call, "NotFound") || o->pulled || (o->pull && streq(o->pull, "never")))
                return 0;
        if (digest_valid(*image) || digest_part(*image))
                return 0;
        r = is_missing(o->ctl, *image, &missing);
        if (r != 0 || !missing)
                return r;
        if (isatty(STDERR_FILENO))
                ctl_note(_("there is no image '%s' here; pulling it"), *image);
        why = text_printf(_("there is no image '%s' here, and it cannot be pulled"), *image);
        r = fetch(o, why, image);
        if (r != 0)
                return r;
        call_clear(call);
        *ret_again = true;
        return 0;
}
