/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The default OCI configuration: what a container gets when nobody asks for anything.
 *
 * It is what users of other engines expect on linux/amd64: own pid, mount, ipc, uts, cgroup and
 * network namespaces, the usual pseudo file systems, fourteen capabilities, none of them
 * inheritable or ambient, kernel interfaces masked or read-only. no_new_privs is off so that sudo
 * and apt work inside. The default seccomp profile is named by an annotation, not spelled out, so
 * that it can follow the capabilities the container has in the end (seccomp-default.c).
 * Nothing of an image or of a caller is looked at here.
 */

#include <string.h>

#include "plan/fields.h"
#include "plan/spec.h"

/* Masked: the union of what the common engines mask. asound is masked here, elsewhere only read-only. */
static const char default_text[] =
        "{\"ociVersion\":\"1.2.0\","
        "\"process\":{\"user\":{\"uid\":0,\"gid\":0},\"cwd\":\"/\",\"noNewPrivileges\":false,"
        "\"env\":[\"PATH=" SPEC_DEFAULT_PATH "\"],"
        "\"capabilities\":{\"inheritable\":[],\"ambient\":[]}},"
        "\"root\":{\"path\":\"rootfs\",\"readonly\":false},"
        "\"mounts\":["
        "{\"destination\":\"/"
        "proc\",\"type\":\"proc\",\"source\":\"proc\",\"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
        "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\","
        "\"options\":[\"nosuid\",\"strictatime\",\"mode=755\",\"size=65536k\"]},"
        "{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\","
        "\"options\":[\"nosuid\",\"noexec\",\"newinstance\",\"ptmxmode=0666\",\"mode=0620\",\"gid=5\"]},"
        "{\"destination\":\"/dev/shm\",\"type\":\"tmpfs\",\"source\":\"shm\","
        "\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"mode=1777\",\"size=65536k\"]},"
        "{\"destination\":\"/dev/mqueue\",\"type\":\"mqueue\",\"source\":\"mqueue\","
        "\"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
        "{\"destination\":\"/sys\",\"type\":\"sysfs\",\"source\":\"sysfs\","
        "\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"ro\"]},"
        "{\"destination\":\"/sys/fs/cgroup\",\"type\":\"cgroup\",\"source\":\"cgroup\","
        "\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"relatime\",\"ro\"]}],"
        "\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},"
        "{\"type\":\"cgroup\"},{\"type\":\"network\"}],"
        "\"maskedPaths\":[\"/proc/acpi\",\"/proc/asound\",\"/proc/interrupts\",\"/proc/kcore\",\"/proc/keys\","
        "\"/proc/latency_stats\",\"/proc/sched_debug\",\"/proc/scsi\",\"/proc/timer_list\",\"/proc/timer_stats\","
        "\"/sys/dev/block\",\"/sys/devices/virtual/powercap\",\"/sys/firmware\",\"/sys/fs/selinux\"],"
        "\"readonlyPaths\":[\"/proc/bus\",\"/proc/fs\",\"/proc/irq\",\"/proc/sys\",\"/proc/sysrq-trigger\"]},"
        "\"annotations\":{\"" SPEC_ANNOTATION_SECCOMP "\":\"default\"}}";

static const char *const default_capabilities[] = {
        "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",
        "CAP_MKNOD",   "CAP_NET_RAW",      "CAP_SETGID",           "CAP_SETUID",
        "CAP_SETFCAP", "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
        "CAP_KILL",    "CAP_AUDIT_WRITE",
};

/* CPU temperature interfaces exist once a CPU, on hardware that has them: asked of this host once. */
static const char *const *thermal_paths(void) {
        static char **paths;

        if (g_once_init_enter(&paths)) {
                GPtrArray *found = g_ptr_array_new();

                for (guint cpu = 0; cpu < g_get_num_processors(); cpu++) {
                        char *path = g_strdup_printf("/sys/devices/system/cpu/cpu%u/thermal_throttle", cpu);

                        if (g_file_test(path, G_FILE_TEST_IS_DIR))
                                g_ptr_array_add(found, path);
                        else
                                g_free(path);
                }
                g_ptr_array_add(found, NULL);
                g_once_init_leave(&paths, (char **)g_ptr_array_free(found, FALSE));
        }
        return (const char *const *)paths;
}

/**
 * spec_default_new() - A new default configuration, to be completed by an image or a command.
 *
 * root.path is a placeholder: a snapshot or --rootfs takes its place. process.args is missing.
 */
JsonNode *spec_default_new(void) {
        static const char *const sets[] = { "bounding", "effective", "permitted" };
        g_autoptr(GError) error = NULL;
        JsonNode *spec;
        JsonObject *capabilities;
        JsonArray *masked;

        spec = spec_parse(default_text, strlen(default_text), &error);
        if (!spec)
                g_error("Built-in configuration: %s", error->message);
        capabilities = field_ensure_object(field_ensure_object(json_node_get_object(spec), "process"), "capabilities");
        for (gsize i = 0; i < G_N_ELEMENTS(sets); i++)
                field_set_strings(capabilities, sets[i], default_capabilities, G_N_ELEMENTS(default_capabilities));
        masked = field_ensure_array(field_ensure_object(json_node_get_object(spec), "linux"), "maskedPaths");
        for (const char *const *path = thermal_paths(); *path; path++)
                json_array_add_string_element(masked, *path);
        return spec;
}
