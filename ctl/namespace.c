/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl namespace ls, create, rm, label and default: namespaces keep the containers and images of different users of
 * a host apart. One comes into being with its first object, too, so create is only needed for labels. Only an empty one
 * can be removed. Defaults are set all at once, with options as run has them.
 */

#include "ctl/container-options.h"
#include "ctl/json.h"
#include "ctl/labels.h"
#include "ctl/verbs.h"

const Option namespace_create_options[] = {
        { 'l', "label", N_("KEY[=VALUE]"), N_("Set a label") },
        {},
};

enum { OPTION_RESET = OPTION_FREE + 200 };

const Option namespace_default_options[] = {
        { OPTION_NETWORK, "network", N_("none|host"), N_("Network") },
        { 'm', "memory", N_("SIZE"), N_("Memory limit, with unit b, k, m or g; \"max\": none") },
        { OPTION_CPUS, "cpus", N_("N"), N_("Processor limit, such as 1.5") },
        { OPTION_PIDS, "pids-limit", N_("N"), N_("Limit of processes and threads; \"max\": none") },
        { OPTION_STOP_SIGNAL, "stop-signal", N_("SIGNAL"), N_("Signal that asks the program to end") },
        { OPTION_STOP_TIMEOUT, "stop-timeout", N_("SECONDS"), N_("Time to end before it is killed") },
        { OPTION_LOG_RATE, "log-rate", N_("LINES[/TIME]"), N_("Lines the journal takes in that time; 0: all") },
        { OPTION_SECCOMP_REPORT, "seccomp-report", N_("yes|no"), N_("Tell system calls that are refused") },
        { OPTION_RUNTIME, "runtime", N_("PROGRAM"), N_("OCI runtime: davit, runc, crun, a path") },
        { OPTION_RESET, "reset", NULL, N_("None any more") },
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
        if (r == 0 && !*argv[0])
                return ctl_error(ctl, "%s", _("the name of the namespace is empty"));
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

static int missing(Ctl *ctl, const char *name) {
        return ctl_error(ctl, _("there is no namespace '%s'; see 'davitctl namespace ls'"), name);
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
                return missing(ctl, name);
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

/** namespace_property() - one of its properties; the answer holds a variant. 0 or an exit status. */
int namespace_property(Ctl *ctl, Call *call, const char *name, const char *property) {
        _cleanup_free_ char *path = path_encode(BUS_PATH "/ns", name);
        int r;

        if (!path)
                return ctl_oom(ctl);
        r = call_simple(ctl, call, path, DBUS_PROPERTIES, "Get", "ss", BUS_NAMESPACE, property);
        if (r == 0)
                r = call_wait(ctl, call);
        if (r == 0 && error_no_object(call_error(call)))
                return missing(ctl, name);
        return r == 0 && call_error(call) ? call_report(ctl, call, name) : r;
}

/** verb_namespace_label() - see above. */
int verb_namespace_label(Ctl *ctl, int argc, char **argv) {
        return labels_verb(ctl, "namespace label", argc, argv, NULL, BUS_NAMESPACE);
}

typedef struct Defaults {
        ContainerOptions options;
        bool given; /* there is something to set */
} Defaults;

static int on_default(int key, const char *arg, void *userdata) {
        Defaults *d = userdata;

        d->given = true;
        return key == OPTION_RESET ? 0 : container_option(key, arg, &d->options);
}

static int print_defaults(Ctl *ctl, Message *m) {
        Json j = {};
        int r;

        r = json_value(&j, m);
        json_end(&j);
        return r < 0 ? bus_protocol_error(ctl, r) : 0;
}

static int set_defaults(Ctl *ctl, ContainerOptions *o, const char *path, const char *name) {
        _cleanup_message_ Message *m = NULL;
        _cleanup_call_ Call call = {};
        int r;

        r = call_new(ctl, path, BUS_NAMESPACE, "SetDefaults", &m);
        if (r != 0)
                return r;
        r = message_open(m, 'a', "{sv}");
        if (r >= 0)
                r = container_options_append(o, m);
        if (r >= 0)
                r = message_close(m);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        r = call_send(ctl, &call, m);
        if (r == 0)
                r = call_wait(ctl, &call);
        if (r == 0 && error_no_object(call_error(&call)))
                return missing(ctl, name);
        return r == 0 && call_error(&call) ? call_report(ctl, &call, name) : r;
}

/** verb_namespace_default() - see above. */
int verb_namespace_default(Ctl *ctl, int argc, char **argv) {
        Defaults d = { .options = CONTAINER_OPTIONS_INIT(ctl) };
        _cleanup_free_ char *path = NULL;
        _cleanup_call_ Call get = {};
        int r;

        r = options_parse(ctl, "namespace default", &argc, &argv, on_default, &d);
        if (r != 0)
                return r;
        path = path_encode(BUS_PATH "/ns", argv[0]);
        if (!path)
                return ctl_oom(ctl);
        if (d.given)
                return set_defaults(ctl, &d.options, path, argv[0]);
        r = namespace_property(ctl, &get, argv[0], "Defaults");
        return r == 0 ? print_defaults(ctl, get.reply) : r;
}
