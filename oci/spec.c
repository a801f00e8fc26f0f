/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-oci spec: a config.json to begin with.
 *
 * With --rootless it is one for whoever has a single user id to give: a user namespace, the host's network and its
 * sysfs, which only who owns a network namespace could mount, and a terminal's group that has to be in the map.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "oci/container.h"
#include "plan/fields.h"
#include "plan/spec.h"
#include "shared/fd.h"
#include "shared/macros.h"

static char *arg_bundle, *arg_file;
static gboolean arg_rootless;

static const GOptionEntry entries[] = {
        { "bundle", 'b', 0, G_OPTION_ARG_FILENAME, &arg_bundle, "Directory to write it to (default: .)", "DIR" },
        { "file", 'f', 0, G_OPTION_ARG_FILENAME, &arg_file, "Another name than config.json", "FILE" },
        { "rootless", 0, 0, G_OPTION_ARG_NONE, &arg_rootless, "One for a user namespace with one id alone", NULL },
        {},
};

static void set_mapping(JsonObject *linux_, const char *name, guint id) {
        JsonNode *node = json_node_new(JSON_NODE_OBJECT);
        JsonObject *map = json_object_new();

        json_object_set_int_member(map, "containerID", 0);
        json_object_set_int_member(map, "hostID", id);
        json_object_set_int_member(map, "size", 1);
        json_node_take_object(node, map);
        json_array_add_element(field_ensure_array(linux_, name), node);
}

/* Namespaces of these types, in place of those that are there. */
static void set_namespaces(JsonObject *linux_) {
        static const char *const types[] = { "pid", "mount", "ipc", "uts", "cgroup", "user" };

        json_object_remove_member(linux_, "namespaces");
        for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
                JsonNode *node = json_node_new(JSON_NODE_OBJECT);
                JsonObject *object = json_object_new();

                json_object_set_string_member(object, "type", types[i]);
                json_node_take_object(node, object);
                json_array_add_element(field_ensure_array(linux_, "namespaces"), node);
        }
}

static void set_mount(JsonObject *mount) {
        static const char *const options[] = { "rbind", "nosuid", "noexec", "nodev", "ro" };
        const char *destination = NULL;
        g_autoptr(GPtrArray) given = NULL;

        if (!field_string(mount, "", "destination", &destination, NULL) ||
            !field_strings(mount, "", "options", &given, NULL) || !destination || !given)
                return;
        if (g_str_equal(destination, "/sys")) {
                json_object_set_string_member(mount, "type", "bind");
                json_object_set_string_member(mount, "source", "/sys");
                field_set_strings(mount, "options", options, G_N_ELEMENTS(options));
                return;
        }
        for (guint i = given->len; i-- > 0;)
                if (g_str_has_prefix(given->pdata[i], "gid="))
                        g_ptr_array_remove_index(given, i);
        field_set_strings(mount, "options", (const char *const *)given->pdata, given->len);
}

static void make_rootless(JsonObject *root) {
        JsonObject *linux_ = field_ensure_object(root, "linux");
        JsonArray *mounts = field_ensure_array(root, "mounts");

        set_namespaces(linux_);
        set_mapping(linux_, "uidMappings", geteuid());
        set_mapping(linux_, "gidMappings", getegid());
        for (guint i = 0; i < json_array_get_length(mounts); i++)
                set_mount(json_node_get_object(json_array_get_element(mounts, i)));
}

static char *make_text(void) {
        static const char *const args[] = { "sh" };
        g_autoptr(JsonNode) spec = spec_default_new();
        JsonObject *root = json_node_get_object(spec), *process = field_ensure_object(root, "process");

        field_set_strings(process, "args", args, G_N_ELEMENTS(args));
        json_object_set_member(process, "terminal", json_node_init_boolean(json_node_alloc(), TRUE));
        if (arg_rootless)
                make_rootless(root);
        return json_to_string(spec, TRUE);
}

/** verb_spec() - davit-oci spec */
int verb_spec(Oci *oci _unused_, int argc, char *argv[], GError **error) {
        g_autofree char *path = NULL, *text = NULL;
        _cleanup_close_ int fd = -1;
        int r;

        if (!oci_parse(entries, NULL, "Writes a config.json to begin with.", &argc, &argv, error) ||
            !take_nothing(argc, argv, error))
                return -1;
        path = g_build_filename(arg_bundle ? arg_bundle : ".", arg_file ? arg_file : "config.json", NULL);
        text = make_text();
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        r = fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));
        if (r >= 0)
                r = fd_write_all(fd, "\n", 1);
        if (r < 0) {
                (void)oci_fail_errno(error, r, "%s", path);
                return -1;
        }
        return 0;
}
