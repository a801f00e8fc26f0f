/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl namespace ls, create and rm: namespaces keep the containers and images of different users of a host
 * apart. One comes into being with its first object, too, so create is only needed for labels. Only an empty one
 * can be removed.
 */

#include "ctl/bus.h"
#include "ctl/json.h"
#include "ctl/verbs.h"

const Option namespace_create_options[] = {
        { 'l', "label", N_("KEY[=VALUE]"), N_("Set a label") },
        {},
};

static int on_option(_unused_ int key, const char *arg, void *userdata) {
        return strv_add(userdata, arg) ? 0 : EXIT_FAILURE;
}

static int print_namespaces(Ctl *ctl, Message *m) {
        const char *name, *object;
        Json j = {};
        int r;

        if (ctl->json)
                json_open(&j, '[');
        r = message_enter(m, 'a', "(sa{ss}o)");
        while (r >= 0 && (r = message_enter(m, 'r', "sa{ss}o")) > 0) {
                r = message_read(m, "s", &name);
                if (r >= 0 && ctl->json) {
                        json_open(&j, '{');
                        json_key(&j, "Name");
                        json_string(&j, name);
                        json_key(&j, "Labels");
                        r = json_value(&j, m);
                } else if (r >= 0) {
                        printf("%s\n", name);
                        r = message_skip(m, "a{ss}");
                }
                if (r >= 0)
                        r = message_read(m, "o", &object);
                if (r >= 0 && ctl->json) {
                        json_key(&j, "Object");
                        json_string(&j, object);
                        json_close(&j, '}');
                }
                if (r >= 0)
                        r = message_exit(m);
        }
        if (r < 0)
                return bus_protocol_error(ctl, r);
        if (ctl->json) {
                json_close(&j, ']');
                json_end(&j);
        }
        return 0;
}

/** verb_namespace_ls() - see above. */
int verb_namespace_ls(Ctl *ctl, int argc, char **argv) {
        _cleanup_call_ Call call = {};
        int r;

        r = options_parse(ctl, "namespace ls", &argc, &argv, NULL, NULL);
        if (r == 0)
                r = call_simple(ctl, &call, BUS_PATH, BUS_MANAGER, "ListNamespaces", NULL);
        if (r == 0)
                r = call_finish(ctl, &call, NULL);
        return r == 0 ? print_namespaces(ctl, call.reply) : r;
}

/** verb_namespace_create() - see above. */
int verb_namespace_create(Ctl *ctl, int argc, char **argv) {
        _cleanup_message_ Message *m = NULL;
        _cleanup_strv_ Strv labels = {};
        _cleanup_call_ Call call = {};
        int r;

        r = options_parse(ctl, "namespace create", &argc, &argv, on_option, &labels);
        if (r == 0)
                r = call_new(ctl, BUS_PATH, BUS_MANAGER, "CreateNamespace", &m);
        if (r != 0)
                return r;
        r = message_append(m, "s", argv[0]);
        if (r >= 0)
                r = append_labels(m, &labels);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        r = call_send(ctl, &call, m);
        if (r == 0)
                r = call_finish(ctl, &call, argv[0]);
        if (r == 0)
                printf("%s\n", argv[0]);
        return r;
}

static int remove_namespace(Ctl *ctl, const char *name) {
        _cleanup_free_ char *path = path_encode(BUS_PATH "/ns", name);
        _cleanup_call_ Call call = {};
        int r;

        if (!path)
                return ctl_oom(ctl);
        r = call_simple(ctl, &call, path, BUS_NAMESPACE, "Delete", NULL);
        if (r == 0)
                r = call_wait(ctl, &call);
        if (r != 0)
                return r;
        if (error_no_object(call_error(&call)))
                return ctl_error(ctl, _("there is no namespace '%s'; see 'davitctl namespace ls'"), name);
        if (call_error(&call))
                return call_report(ctl, &call, name);
        printf("%s\n", name);
        return 0;
}

/** verb_namespace_rm() - see above. */
int verb_namespace_rm(Ctl *ctl, int argc, char **argv) {
        int r, status = 0;

        r = options_parse(ctl, "namespace rm", &argc, &argv, NULL, NULL);
        if (r != 0)
                return r;
        for (int i = 0; i < argc; i++) {
                r = remove_namespace(ctl, argv[i]);
                if (r != 0)
                        status = r;
        }
        return status;
}
