/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * linux.resources.blockIO, hugepageLimits, rdma and network.
 */

#include <string.h>

#include "oci/group-internal.h"
#include "plan/fields.h"

#define RESOURCES "linux.resources."

static gboolean limit_weight(State *state, JsonObject *block_io, GError **error) {
        g_autofree char *v1 = NULL, *v2 = NULL, *file = NULL, *probe = NULL;
        gint64 weight = 0;

        if (!field_int(block_io, RESOURCES "blockIO.", "weight", 0, G_MAXUINT16, &weight, error))
                return FALSE;
        if (weight == 0)
                return TRUE;
        if (weight < 10 || weight > 1000)
                return oci_fail(error, OCI_ERROR_FAILED, RESOURCES "blockIO.weight: is not between 10 and 1000");
        v1 = g_strdup_printf("%d", (int)weight);
        v2 = g_strdup_printf("default %d", (int)(1 + (weight - 10) * 9999 / 990));
        file = group_directory(state, "blkio");
        probe = file ? g_build_filename(file, "blkio.weight", NULL) : NULL;
        return limit_write(
                state, RESOURCES "blockIO.weight", "blkio",
                (LimitFile){ probe && g_file_test(probe, G_FILE_TEST_EXISTS) ? "blkio.weight" : "blkio.bfq.weight",
                             v1 },
                (LimitFile){ "io.weight", v2 }, error);
}

/* One device a line: "8:0 1048576", of version 2 "8:0 rbps=1048576". */
static gboolean limit_throttle(State *state, JsonObject *block_io, const char *name, const char *file, const char *key,
                               GError **error) {
        g_autofree char *field = g_strconcat(RESOURCES "blockIO.", name, NULL);
        JsonArray *array = NULL;

        if (!field_array(block_io, RESOURCES "blockIO.", name, &array, error))
                return FALSE;
        for (guint i = 0; array && i < json_array_get_length(array); i++) {
                g_autofree char *prefix = g_strdup_printf("%s[%u].", field, i), *v1 = NULL, *v2 = NULL;
                guint32 major = 0, minor = 0;
                guint64 rate = 0;
                JsonObject *object;

                if (!element_object(array, field, i, &object, error) ||
                    !field_uint32(object, prefix, "major", &major, error) ||
                    !field_uint32(object, prefix, "minor", &minor, error) ||
                    !field_uint64(object, prefix, "rate", &rate, error))
                        return FALSE;
                v1 = g_strdup_printf("%u:%u %" G_GUINT64_FORMAT, major, minor, rate);
                v2 = rate == 0 ? g_strdup_printf("%u:%u %s=max", major, minor, key)
                               : g_strdup_printf("%u:%u %s=%" G_GUINT64_FORMAT, major, minor, key, rate);
                if (!limit_write(state, field, "blkio", (LimitFile){ file, v1 }, (LimitFile){ "io.max", v2 }, error))
                        return FALSE;
        }
        return TRUE;
}

static gboolean limit_weights(State *state, JsonObject *block_io, GError **error) {
        JsonArray *array = NULL;

        if (!field_array(block_io, RESOURCES "blockIO.", "weightDevice", &array, error))
                return FALSE;
        for (guint i = 0; array && i < json_array_get_length(array); i++) {
                g_autofree char *v1 = NULL, *v2 = NULL;
                guint32 major = 0, minor = 0, weight = 0;
                JsonObject *object;

                if (!element_object(array, RESOURCES "blockIO.weightDevice", i, &object, error) ||
                    !field_uint32(object, "", "major", &major, error) ||
                    !field_uint32(object, "", "minor", &minor, error) ||
                    !field_uint32(object, "", "weight", &weight, error))
                        return FALSE;
                v1 = g_strdup_printf("%u:%u %u", major, minor, weight);
                v2 = g_strdup_printf("%u:%u %u", major, minor, 1 + (CLAMP(weight, 10, 1000) - 10) * 9999 / 990);
                if (!limit_write(state, RESOURCES "blockIO.weightDevice", "blkio",
                                 (LimitFile){ "blkio.bfq.weight_device", v1 }, (LimitFile){ "io.weight", v2 }, error))
                        return FALSE;
        }
        return TRUE;
}

/** limit_block_io() - linux.resources.blockIO */
gboolean limit_block_io(State *state, JsonObject *resources, GError **error) {
        static const struct {
                const char *name, *file, *key;
        } throttles[] = {
                { "throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps" },
                { "throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps" },
                { "throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops" },
                { "throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops" },
        };
        JsonObject *block_io = NULL;

        if (!field_object(resources, RESOURCES, "blockIO", &block_io, error))
                return FALSE;
        if (!block_io)
                return TRUE;
        for (gsize i = 0; i < G_N_ELEMENTS(throttles); i++)
                if (!limit_throttle(state, block_io, throttles[i].name, throttles[i].file, throttles[i].key, error))
                        return FALSE;
        return limit_weight(state, block_io, error) && limit_weights(state, block_io, error);
}

static gboolean limit_rdma(State *state, JsonObject *resources, GError **error) {
        JsonObject *rdma = NULL;
        JsonObjectIter iter;
        const char *device;
        JsonNode *node;

        if (!field_object(resources, RESOURCES, "rdma", &rdma, error))
                return FALSE;
        if (!rdma)
                return TRUE;
        json_object_iter_init(&iter, rdma);
        while (json_object_iter_next(&iter, &device, &node)) {
                g_autofree char *field = g_strconcat(RESOURCES "rdma.", device, NULL), *text = NULL;
                guint32 handles = G_MAXINT32, objects = G_MAXINT32;

                if (!JSON_NODE_HOLDS_OBJECT(node))
                        return oci_fail(error, OCI_ERROR_FAILED, "%s: is not an object", field);
                if (!field_uint32(json_node_get_object(node), field, "hcaHandles", &handles, error) ||
                    !field_uint32(json_node_get_object(node), field, "hcaObjects", &objects, error))
                        return FALSE;
                text = g_strdup_printf("%s hca_handle=%u hca_object=%u", device, handles, objects);
                if (!limit_write(state, field, "rdma", (LimitFile){ "rdma.max", text }, (LimitFile){ "rdma.max", text },
                                 error))
                        return FALSE;
        }
        return TRUE;
}

static gboolean limit_network(State *state, JsonObject *resources, GError **error) {
        g_autofree char *text = NULL;
        JsonObject *network = NULL;
        JsonArray *priorities = NULL;
        guint32 class_id = 0;

        if (!field_object(resources, RESOURCES, "network", &network, error) ||
            !field_uint32(network, RESOURCES "network.", "classID", &class_id, error) ||
            !field_array(network, RESOURCES "network.", "priorities", &priorities, error))
                return FALSE;
        if (class_id != 0) {
                text = g_strdup_printf("%u", class_id);
                if (!limit_write(state, RESOURCES "network.classID", "net_cls", (LimitFile){ "net_cls.classid", text },
                                 (LimitFile){}, error))
                        return FALSE;
        }
        for (guint i = 0; priorities && i < json_array_get_length(priorities); i++) {
                g_autofree char *line = NULL;
                const char *name = NULL;
                guint32 priority = 0;
                JsonObject *object;

                if (!element_object(priorities, RESOURCES "network.priorities", i, &object, error) ||
                    !field_string(object, "", "name", &name, error) ||
                    !field_uint32(object, "", "priority", &priority, error))
                        return FALSE;
                line = g_strdup_printf("%s %u", name ? name : "", priority);
                if (!limit_write(state, RESOURCES "network.priorities", "net_prio",
                                 (LimitFile){ "net_prio.ifpriomap", line }, (LimitFile){}, error))
                        return FALSE;
        }
        return TRUE;
}

/** limit_huge_pages() - linux.resources.hugepageLimits, rdma and network */
gboolean limit_huge_pages(State *state, JsonObject *resources, GError **error) {
        JsonArray *array = NULL;

        if (!field_array(resources, RESOURCES, "hugepageLimits", &array, error))
                return FALSE;
        for (guint i = 0; array && i < json_array_get_length(array); i++) {
                g_autofree char *text = NULL, *v1 = NULL, *v2 = NULL;
                const char *size = NULL;
                guint64 limit = 0;
                JsonObject *object;

                if (!element_object(array, RESOURCES "hugepageLimits", i, &object, error) ||
                    !field_string(object, "", "pageSize", &size, error) ||
                    !field_uint64(object, "", "limit", &limit, error))
                        return FALSE;
                text = g_strdup_printf("%" G_GUINT64_FORMAT, limit);
                v1 = g_strdup_printf("hugetlb.%s.limit_in_bytes", size ? size : "");
                v2 = g_strdup_printf("hugetlb.%s.max", size ? size : "");
                if (!size || strchr(size, '/'))
                        return oci_fail(error, OCI_ERROR_FAILED, RESOURCES "hugepageLimits[%u].pageSize: is no size",
                                        i);
                if (!limit_write(state, RESOURCES "hugepageLimits", "hugetlb", (LimitFile){ v1, text },
                                 (LimitFile){ v2, text }, error))
                        return FALSE;
        }
        return limit_rdma(state, resources, error) && limit_network(state, resources, error);
}
