/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-oci spec: a config.json to begin with.
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

static char *arg_bundle;

static const GOptionEntry entries[] = {
        { "bundle", 'b', 0, G_OPTION_ARG_FILENAME, &arg_bundle, "Directory to write it to (default: .)", "DIR" },
        {},
};

static char *make_text(void) {
        static const char *const args[] = { "sh" };
        g_autoptr(JsonNode) spec = spec_default_new();
        JsonObject *root = json_node_get_object(spec), *process = field_ensure_object(root, "process");

        field_set_strings(process, "args", args, G_N_ELEMENTS(args));
        json_object_set_member(process, "terminal", json_node_init_boolean(json_node_alloc(), TRUE));
        return json_to_string(spec, TRUE);
}

/** verb_spec() - davit-oci spec */
int verb_spec(Oci *oci _unused_, int argc, char *argv[], GError **error) {
        g_autofree char *path = NULL, *text = NULL;
        _cleanup_close_ int fd = -1;
        int r;

        if (!oci_parse(entries, NULL, "Writes a config.json to begin with.", &argc, &argv, error))
                return -1;
        if (argc > 1) {
                (void)oci_fail(error, OCI_ERROR_USAGE, "spec: too many arguments: \"%s\"", argv[1]);
                return -1;
        }
        path = g_build_filename(arg_bundle ? arg_bundle : ".", "config.json", NULL);
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
