/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where a create, start or exec failed; shim_step_name() gives the word used in messages. */
enum shim_step {
        SHIM_STEP_PLAN = 1,
        SHIM_STEP_NAMESPACE,
        SHIM_STEP_ID_MAP,
        SHIM_STEP_CGROUP,
        SHIM_STEP_ROOTFS,
        SHIM_STEP_MOUNT,
        SHIM_STEP_DEVICE,
        SHIM_STEP_MASK,
        SHIM_STEP_SYSCTL,
        SHIM_STEP_PIVOT,
        SHIM_STEP_STDIO,
        SHIM_STEP_USER,
        SHIM_STEP_RLIMIT,
        SHIM_STEP_CAPABILITY,
        SHIM_STEP_LABEL,
        SHIM_STEP_SECCOMP,
        SHIM_STEP_CWD,
        SHIM_STEP_COMMAND, /* the executable: ENOENT is 127, EACCES and the rest 126 to a caller */
        SHIM_STEP_RUNTIME, /* another runtime, see runtime-protocol.h */
        SHIM_STEP_RESTORE, /* criu could not restore; -EOPNOTSUPP: it is not there, or cannot on this host */
        _SHIM_STEP_MAX,
};
