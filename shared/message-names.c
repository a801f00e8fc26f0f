/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The words behind the numbers of shim-protocol.h.
 *
 * These words are what the bus, the journal and the exit record show; they are part of the interface and
 * never change their meaning.
 */

#include <string.h>

#include "shared/macros.h"
#include "shared/message.h"

static const char *const step_names[_SHIM_STEP_MAX] = {
        [SHIM_STEP_PLAN] = "plan",
        [SHIM_STEP_NAMESPACE] = "namespace",
        [SHIM_STEP_ID_MAP] = "id map",
        [SHIM_STEP_CGROUP] = "cgroup",
        [SHIM_STEP_ROOTFS] = "root file system",
        [SHIM_STEP_MOUNT] = "mount",
        [SHIM_STEP_DEVICE] = "device",
        [SHIM_STEP_MASK] = "masked path",
        [SHIM_STEP_SYSCTL] = "sysctl",
        [SHIM_STEP_PIVOT] = "pivot_root",
        [SHIM_STEP_STDIO] = "stdio",
        [SHIM_STEP_USER] = "user",
        [SHIM_STEP_RLIMIT] = "rlimit",
        [SHIM_STEP_CAPABILITY] = "capabilities",
        [SHIM_STEP_LABEL] = "label",
        [SHIM_STEP_SECCOMP] = "seccomp",
        [SHIM_STEP_CWD] = "working directory",
        [SHIM_STEP_COMMAND] = "command",
        [SHIM_STEP_RUNTIME] = "runtime",
        [SHIM_STEP_RESTORE] = "restore",
};

static const char *const culprit_names[_OOM_CULPRIT_MAX] = {
        [OOM_CULPRIT_INIT] = "init",
        [OOM_CULPRIT_EXEC] = "exec",
        [OOM_CULPRIT_CHILD] = "child",
};

static const char *const kind_names[_EXIT_KIND_MAX] = {
        [EXIT_KIND_EXITED] = "exited", [EXIT_KIND_SIGNALLED] = "signalled", [EXIT_KIND_DUMPED] = "dumped",
        [EXIT_KIND_OOM] = "oom",       [EXIT_KIND_SECCOMP] = "seccomp",     [EXIT_KIND_LOST] = "lost",
};

static const char *const status_names[_TASK_STATUS_MAX] = {
        [TASK_UNKNOWN] = "unknown", [TASK_CREATED] = "created", [TASK_RUNNING] = "running",
        [TASK_PAUSING] = "pausing", [TASK_PAUSED] = "paused",   [TASK_STOPPED] = "stopped",
};

static uint32_t table_find(const char *const *table, size_t n, const char *name) {
        for (size_t i = 0; i < n; i++)
                if (table[i] && streq(table[i], name))
                        return (uint32_t)i;
        return 0;
}

/** shim_step_name() - word for an enum shim_step, "unknown step" for anything else */
const char *shim_step_name(uint32_t step) {
        return step < ELEMENTSOF(step_names) && step_names[step] ? step_names[step] : "unknown step";
}

/** exit_kind_name() - word for an enum exit_kind, "" for anything else: a process that has not ended has no kind */
const char *exit_kind_name(uint32_t kind) {
        return kind < ELEMENTSOF(kind_names) && kind_names[kind] ? kind_names[kind] : "";
}

/** exit_kind_from_name() - the reverse; 0 for a word that is no kind */
uint32_t exit_kind_from_name(const char *name) {
        return table_find(kind_names, ELEMENTSOF(kind_names), name);
}

/** oom_culprit_name() - word for an enum oom_culprit, "" for anything else */
const char *oom_culprit_name(uint32_t culprit) {
        return culprit < ELEMENTSOF(culprit_names) && culprit_names[culprit] ? culprit_names[culprit] : "";
}

/** oom_culprit_from_name() - the reverse; 0 for a word that is no culprit */
uint32_t oom_culprit_from_name(const char *name) {
        return table_find(culprit_names, ELEMENTSOF(culprit_names), name);
}

/** task_status_name() - word for an enum task_status, "unknown" for anything else */
const char *task_status_name(uint32_t status) {
        return status < ELEMENTSOF(status_names) ? status_names[status] : "unknown";
}

/** task_status_from_name() - the reverse; TASK_UNKNOWN for a word that is no status */
uint32_t task_status_from_name(const char *name) {
        return table_find(status_names, ELEMENTSOF(status_names), name);
}
