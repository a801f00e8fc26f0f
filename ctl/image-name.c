/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl image tag, rename, pin and unpin: what changes about an image without touching its content. A name that is
 * there already is taken over by tag and refused by rename. A pinned image is spared by prune and by rm without -f.
 */

#include "shared/image-name.h"
#include "ctl/bus.h"
#include "ctl/verbs.h"

typedef struct Tag {
        const char *path;
} Tag;

static int tag_image(Ctl *ctl, const char *name, void *userdata) {
        _cleanup_call_ Call call = {};
        int r;

        r = call_simple(ctl, &call, ((Tag *)userdata)->path, BUS_IMAGE, "Tag", "s", name);
        if (r == 0)
                r = call_finish(ctl, &call, name);
        if (r == 0)
                printf("%s\n", name);
        return r;
}

/* The manager would set those before one that it refuses. */
static int check_names(Ctl *ctl, char **names) {
        for (; *names; names++) {
                _cleanup_free_ char *whole = NULL;

                if (image_name_normalise(*names, &whole) < 0)
                        return ctl_error(ctl, _("'%s' is not a valid image name: %s"), *names, image_name_why(*names));
        }
        return 0;
}

/** verb_image_tag() - see above. */
int verb_image_tag(Ctl *ctl, int argc, char **argv) {
        _cleanup_call_ Call get = {};
        Tag tag;
        int r;

        r = options_parse(ctl, "image tag", &argc, &argv, NULL, NULL);
        if (r == 0)
                r = check_names(ctl, argv + 1);
        if (r == 0)
                r = object_get(ctl, &get, "GetImage", argv[0], &tag.path);
        return r == 0 ? object_each(ctl, argc - 1, argv + 1, tag_image, &tag) : r;
}

/** verb_image_rename() - see above. */
int verb_image_rename(Ctl *ctl, int argc, char **argv) {
        _cleanup_call_ Call get = {}, call = {};
        const char *whole, *path;
        int r;

        r = options_parse(ctl, "image rename", &argc, &argv, NULL, NULL);
        if (r == 0)
                r = image_get(ctl, &get, argv[0], &whole, &path);
        if (r == 0)
                r = call_simple(ctl, &call, path, BUS_IMAGE, "Rename", "s", argv[1]);
        if (r == 0)
                r = call_finish(ctl, &call, argv[1]);
        if (r == 0)
                printf("%s\n", argv[1]);
        return r;
}

static int set_pinned(Ctl *ctl, const char *name, void *userdata) {
        _cleanup_call_ Call get = {}, call = {};
        const char *whole, *path;
        int r;

        r = image_get(ctl, &get, name, &whole, &path);
        if (r == 0)
                r = call_simple(ctl, &call, path, BUS_IMAGE, "SetPinned", "b", (int)*(bool *)userdata);
        if (r == 0)
                r = call_finish(ctl, &call, whole);
        if (r == 0)
                printf("%s\n", whole);
        return r;
}

/** verb_image_pin() - see above. */
int verb_image_pin(Ctl *ctl, int argc, char **argv) {
        bool pinned = true;
        int r;

        r = options_parse(ctl, "image pin", &argc, &argv, NULL, NULL);
        return r == 0 ? object_each(ctl, argc, argv, set_pinned, &pinned) : r;
}

/** verb_image_unpin() - see above. */
int verb_image_unpin(Ctl *ctl, int argc, char **argv) {
        bool pinned = false;
        int r;

        r = options_parse(ctl, "image unpin", &argc, &argv, NULL, NULL);
        return r == 0 ? object_each(ctl, argc, argv, set_pinned, &pinned) : r;
}
