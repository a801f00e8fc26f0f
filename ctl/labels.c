/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The verb "label" of containers, and those of several groups: without labels to set or remove they print those there
 * are; otherwise the labels are read, changed and set again as a whole, as the interface has it. Who changes the same
 * object's labels at the same moment may lose; programs that care call SetLabels themselves.
 */

#include "ctl/labels.h"

#include "ctl/json.h"
#include "ctl/verbs.h"

const Option label_options[] = {
        { 'r', "remove", N_("KEY"), N_("Remove a label") },
        {},
};

static int on_option(_unused_ int key, const char *arg, void *userdata) {
        return strv_add(userdata, arg) ? 0 : EXIT_FAILURE;
}

static size_t key_length(const char *label) {
        return strcspn(label, "=");
}

static bool same_key(const char *a, const char *b) {
        return key_length(a) == key_length(b) && strncmp(a, b, key_length(a)) == 0;
}

static bool has_key(char *const *labels, size_t n, const char *label) {
        for (size_t i = 0; i < n; i++)
                if (same_key(labels[i], label))
                        return true;
        return false;
}

/* The labels there are but those set or removed, and then those set. */
static int merge(Message *m, char *const *set, size_t n_set, const Strv *removed, Strv *ret) {
        const char *key, *value;
        int r;

        r = message_enter(m, 'v', "a{ss}");
        if (r > 0)
                r = message_enter(m, 'a', "{ss}");
        while (r > 0 && (r = message_read(m, "{ss}", &key, &value)) > 0) {
                char *label = text_printf("%s=%s", key, value);

                if (label && (has_key(set, n_set, label) || has_key(removed->v, removed->n, label)))
                        free(label);
                else if (!strv_take(ret, label))
                        return -ENOMEM;
        }
        for (size_t i = 0; i < n_set && r >= 0; i++)
                if (!strv_add(ret, set[i]))
                        return -ENOMEM;
        return r;
}

static int print_labels(Ctl *ctl, Message *m) {
        const char *key, *value;
        Json j = {};
        int r;

        if (ctl->json) {
                r = json_value(&j, m);
                json_end(&j);
                return r < 0 ? bus_protocol_error(ctl, r) : 0;
        }
        r = message_enter(m, 'v', "a{ss}");
        if (r > 0)
                r = message_enter(m, 'a', "{ss}");
        while (r > 0 && (r = message_read(m, "{ss}", &key, &value)) > 0)
                printf("%s=%s\n", key, value);
        return r < 0 ? bus_protocol_error(ctl, r) : 0;
}

static int set_labels(Ctl *ctl, const char *path, const char *interface, const Strv *labels, const char *name) {
        _cleanup_message_ Message *m = NULL;
        _cleanup_call_ Call call = {};
        int r;

        r = call_new(ctl, path, interface, "SetLabels", &m);
        if (r != 0)
                return r;
        r = append_labels(m, labels);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        r = call_send(ctl, &call, m);
        return r == 0 ? call_finish(ctl, &call, name) : r;
}

/** labels_verb() - the whole verb; member: the manager's method that finds the object; NULL: it is a namespace. */
int labels_verb(Ctl *ctl, const char *verb, int argc, char **argv, const char *member, const char *interface) {
        _cleanup_strv_ Strv removed = {}, labels = {};
        _cleanup_call_ Call get = {}, old = {};
        _cleanup_free_ char *whole = NULL, *own = NULL;
        const char *path = NULL;
        int r;

        r = options_parse(ctl, verb, &argc, &argv, on_option, &removed);
        if (r == 0 && member && streq(member, "GetContent"))
                r = content_digest(ctl, argv[0], &whole);
        if (r == 0 && member && streq(member, "GetContainer")) {
                whole = container_resolve(ctl, argv[0]);
                r = whole ? 0 : ctl->failure;
        }
        if (r == 0 && !member) {
                own = path_encode(BUS_PATH "/ns", argv[0]);
                path = own;
        } else if (r == 0)
                r = object_get(ctl, &get, member, whole ?: argv[0], &path);
        if (r == 0 && !path)
                r = ctl_oom(ctl);
        if (r == 0)
                r = member ? property_get(ctl, &old, path, interface, "Labels")
                           : namespace_property(ctl, &old, argv[0], "Labels");
        if (r != 0)
                return r;
        if (argc == 1 && removed.n == 0)
                return print_labels(ctl, old.reply);
        r = merge(old.reply, argv + 1, (size_t)argc - 1, &removed, &labels);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        return set_labels(ctl, path, interface, &labels, argv[0]);
}

/** verb_label() - of a container. */
int verb_label(Ctl *ctl, int argc, char **argv) {
        return labels_verb(ctl, "label", argc, argv, "GetContainer", BUS_CONTAINER);
}
