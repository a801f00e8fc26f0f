/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * linux.sysctl: only parameters that belong to a namespace the container does not share with the host.
 *
 * Every key is on the list below or in a namespaced tree; host-wide ones are refused, whoever asks.
 * A pair is one parameter and one value: characters that could make two of one ('+', '=', control
 * characters, space in keys) are refused, as such a string once reached kernel.core_pattern
 * elsewhere (CVE-2022-0811).
 */

#include <sched.h>
#include <string.h>

#include "plan/build-internal.h"

static const char *const ipc_keys[] = {
        "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
        "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
};

static gboolean is_ipc(const char *key) {
        if (g_str_has_prefix(key, "fs.mqueue."))
                return TRUE;
        for (gsize i = 0; i < G_N_ELEMENTS(ipc_keys); i++)
                if (g_str_equal(ipc_keys[i], key))
                        return TRUE;
        return FALSE;
}

/* Joined by path, a namespace may still be the one this process, and so the host, lives in. */
static gboolean joined_is_host(Build *b, guint32 flag, const char *own) {
        const struct plan_namespace *join = (gconstpointer)(b->writer.bytes->data + b->plan.namespaces.offset);
        struct stat theirs, ours;

        for (guint i = 0; i < b->plan.namespaces.n; i++)
                if (join[i].clone_flag == flag)
                        return stat((const char *)b->writer.bytes->data + join[i].path, &theirs) == 0 &&
                               stat(own, &ours) == 0 && theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
        return FALSE;
}

static gboolean check_owner(Build *b, const char *key, guint32 flag, const char *own, const char *name,
                            GError **error) {
        if (!((b->plan.clone_flags | b->joined) & flag) || joined_is_host(b, flag, own))
                return plan_fail(error, PLAN_ERROR_INVALID, "linux.sysctl.%s: needs %s namespace of its own", key,
                                 name);
        return TRUE;
}

static gboolean check_text(const char *key, const char *value, GError **error) {
        for (const char *p = key; *p; p++)
                if (!g_ascii_isalnum(*p) && !strchr("._-/", *p))
                        return plan_fail(error, PLAN_ERROR_INVALID, "linux.sysctl: \"%s\" is no parameter name", key);
        if (!*key || *key == '.' || *key == '/' || strstr(key, "..") || strstr(key, "//") || strstr(key, "./") ||
            strstr(key, "/."))
                return plan_fail(error, PLAN_ERROR_INVALID, "linux.sysctl: \"%s\" is no parameter name", key);
        for (const char *p = value; *p; p++)
                if ((g_ascii_iscntrl(*p) && *p != '\t') || *p == '+' || *p == '=')
                        return plan_fail(error, PLAN_ERROR_INVALID,
                                         "linux.sysctl.%s: the value has a character that is not allowed", key);
        return TRUE;
}

static gboolean check_pair(Build *b, const char *key, const char *value, GError **error) {
        if (!check_text(key, value, error))
                return FALSE;
        if (g_str_equal(key, "kernel.hostname") || g_str_equal(key, "kernel.domainname"))
                return plan_fail(error, PLAN_ERROR_INVALID, "linux.sysctl.%s: use \"%s\" instead", key,
                                 key + strlen("kernel."));
        if (g_str_has_prefix(key, "net.") || g_str_has_prefix(key, "net/"))
                return check_owner(b, key, CLONE_NEWNET, "/proc/self/ns/net", "a network", error);
        if (is_ipc(key))
                return check_owner(b, key, CLONE_NEWIPC, "/proc/self/ns/ipc", "an ipc", error);
        return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED, "linux.sysctl.%s: is not a parameter of a namespace", key);
}

/** build_sysctls() - Section "Sysctl". */
gboolean build_sysctls(Build *b, GError **error) {
        g_autoptr(GArray) sysctls = g_array_new(FALSE, TRUE, sizeof(struct plan_sysctl));
        g_autoptr(GPtrArray) pairs = NULL;

        if (!field_map(b->linux_, "linux.", "sysctl", &pairs, error))
                return FALSE;
        for (guint i = 0; pairs && i < pairs->len; i += 2) {
                struct plan_sysctl sysctl = {};

                if (!check_pair(b, pairs->pdata[i], pairs->pdata[i + 1], error))
                        return FALSE;
                sysctl.key = writer_string(&b->writer, pairs->pdata[i]);
                sysctl.value = writer_string(&b->writer, pairs->pdata[i + 1]);
                g_array_append_val(sysctls, sysctl);
        }
        b->plan.sysctls = writer_array(&b->writer, sysctls->data, sysctls->len, sizeof(struct plan_sysctl));
        return TRUE;
}
