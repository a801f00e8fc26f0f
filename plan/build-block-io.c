/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * linux.resources.blockIO as the IO* properties of the container's systemd unit.
 *
 * Devices are named by number: /dev/block/MAJOR:MINOR, which systemd takes for a path. Throttles are
 * arrays of (path, value). Weights are converted from cgroup v1's 10..1000 to v2's 1..10000.
 */

#include "plan/build-internal.h"

#define BLOCK_IO "linux.resources.blockIO."

static guint64 convert_weight(gint64 weight) {
        return 1 + (guint64)(weight - 10) * 9999 / 990;
}

static gboolean check_weight(const char *field, gint64 weight, GError **error) {
        if (weight < 10 || weight > 1000)
                return plan_fail(error, PLAN_ERROR_INVALID, "%sweight: is not between 10 and 1000", field);
        return TRUE;
}

/* One (path, value) of @value_name; weights are converted. */
static gboolean add_device(JsonObject *object, const char *field, const char *value_name, gboolean weight,
                           GVariantBuilder *builder, GError **error) {
        static const char *const refused[] = { "leafWeight", NULL };
        g_autofree char *path = NULL;
        guint32 major = 0, minor = 0;
        gint64 value = 0;

        if (!field_given(object, "major") || !field_given(object, "minor"))
                return plan_fail(error, PLAN_ERROR_INVALID, "%smajor, minor: are needed", field);
        if (!field_uint32(object, field, "major", &major, error) ||
            !field_uint32(object, field, "minor", &minor, error) ||
            !field_int(object, field, value_name, 0, G_MAXINT64, &value, error) ||
            !build_refuse_given(object, field, refused, error))
                return FALSE;
        if (weight && !check_weight(field, value, error))
                return FALSE;
        path = g_strdup_printf("/dev/block/%u:%u", major, minor);
        g_variant_builder_add(builder, "(st)", path,
                              weight       ? convert_weight(value)
                              : value == 0 ? G_MAXUINT64
                                           : (guint64)value);
        return TRUE;
}

static gboolean build_list(Build *b, JsonObject *block_io, const char *name, const char *property, GError **error) {
        gboolean weight = g_str_equal(name, "weightDevice");
        g_autofree char *field = g_strconcat(BLOCK_IO, name, NULL);
        g_auto(GVariantBuilder) builder;
        JsonArray *array = NULL;

        g_variant_builder_init(&builder, G_VARIANT_TYPE("a(st)"));
        if (!field_array(block_io, BLOCK_IO, name, &array, error))
                return FALSE;
        if (!array || json_array_get_length(array) == 0)
                return TRUE;
        for (guint i = 0; i < json_array_get_length(array); i++) {
                g_autofree char *prefix = g_strdup_printf("%s[%u].", field, i);
                JsonObject *object;

                if (!element_object(array, field, i, &object, error) ||
                    !add_device(object, prefix, weight ? "weight" : "rate", weight, &builder, error))
                        return FALSE;
        }
        build_property(b, property, g_variant_builder_end(&builder), "io", field);
        return TRUE;
}

/** build_block_io() - Section "Block IO". */
gboolean build_block_io(Build *b, JsonObject *resources, GError **error) {
        static const char *const refused[] = { "leafWeight", NULL };
        JsonObject *block_io = NULL;
        gint64 weight = 0;

        if (!field_object(resources, "linux.resources.", "blockIO", &block_io, error) ||
            !field_int(block_io, BLOCK_IO, "weight", 0, G_MAXUINT16, &weight, error) ||
            !build_refuse_given(block_io, BLOCK_IO, refused, error))
                return FALSE;
        if (weight != 0) {
                if (!check_weight(BLOCK_IO, weight, error))
                        return FALSE;
                build_property(b, "IOWeight", g_variant_new_uint64(convert_weight(weight)), "io", BLOCK_IO "weight");
        }
        return build_list(b, block_io, "weightDevice", "IODeviceWeight", error) &&
               build_list(b, block_io, "throttleReadBpsDevice", "IOReadBandwidthMax", error) &&
               build_list(b, block_io, "throttleWriteBpsDevice", "IOWriteBandwidthMax", error) &&
               build_list(b, block_io, "throttleReadIOPSDevice", "IOReadIOPSMax", error) &&
               build_list(b, block_io, "throttleWriteIOPSDevice", "IOWriteIOPSMax", error);
}
