/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What manager and shim agree on where another OCI runtime makes the container.
 *
 * The runtime sees a mount namespace and a cgroup namespace of its own: the bundle stands where the manager's directory
 * is on the host, and the root of its only cgroup hierarchy is the task's payload/.
 */

#define RUNTIME_DIR "/run/davit"
#define RUNTIME_BUNDLE RUNTIME_DIR "/bundle"
#define RUNTIME_ROOTFS RUNTIME_BUNDLE "/rootfs"
#define RUNTIME_CGROUP "/init"

/* Where a runtime that is named without a path is looked for. */
#define RUNTIME_SEARCH_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Records of runtimes, below RUNTIME_DIR, one directory a runtime and namespace; the same on the host and for them. */
#define RUNTIME_RECORDS "runtime"

/* In the task directory, after a failure (SHIM_STEP_RUNTIME, or SHIM_REPLY with an error): what the runtime has logged,
 * one JSON object a line with "level" and "msg". Of an exec the second. */
#define RUNTIME_LOG "runtime.log"
#define RUNTIME_EXEC_LOG "exec-%s.log"
