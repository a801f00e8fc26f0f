/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The OCI image layout: oci-layout, index.json, blobs/sha256/<digest>.
 *
 * What index.json leads to is oci-index.c's matter; here is where the documents stand in an archive, which stays the
 * caller's. Format: OCI image specification 1.1, image-layout.
 */

#include "store/oci.h"

#include "store/error.h"
#include "store/json.h"

static GBytes *read_member(const OciSource *s, const Descriptor *d, const char *what G_GNUC_UNUSED, GError **error) {
        return archive_read(s->userdata, d->member, STORE_DOCUMENT_MAX, error);
}

/** oci_read() - the images of an OCI layout for @platform ("os/arch[/variant]", or "all") */
gboolean oci_read(Archive *a, const char *platform, const StoreLimits *limits, GPtrArray *images, GError **error) {
        const OciSource source = { .name = "The archive", .read = read_member, .userdata = a };
        const Descriptor top = { .media_type = MEDIA_OCI_INDEX };
        g_autoptr(JsonNode) layout_owner = NULL, owner = NULL;
        g_autoptr(GBytes) layout = archive_read(a, "oci-layout", STORE_DOCUMENT_MAX, error);
        g_autoptr(GBytes) bytes = NULL;
        const char *version;
        JsonObject *o;

        o = layout ? json_parse_object(layout, "oci-layout", &layout_owner, error) : NULL;
        if (!o || !json_string(o, "imageLayoutVersion", "oci-layout", &version, error))
                return FALSE;
        if (!version || !g_str_has_prefix(version, "1."))
                return store_fail(error, STORE_FAIL_UNSUPPORTED, "The image layout's version is not 1");
        bytes = archive_read(a, "index.json", STORE_DOCUMENT_MAX, error);
        o = bytes ? json_parse_object(bytes, "index.json", &owner, error) : NULL;
        return o && document_check(o, &top, "index.json", "layers", error) &&
               oci_read_index(&source, o, platform, limits, images, error);
}
