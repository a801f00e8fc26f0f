/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The launch plan: an OCI runtime configuration made flat.
 *
 * One plan describes either a container's first process with all it needs (PLAN_CONTAINER) or a
 * further process in a running container (PLAN_EXEC, which uses only the process part and the
 * seccomp program). It is written by plan/, carried in a sealed memfd and executed by davit-shim,
 * which checks it with plan_check() (plan-check.c) before it believes a single field.
 *
 * Layout: struct plan at offset 0; every struct plan_list names an array of fixed-size records
 * elsewhere in the same memory, aligned to 8; every plan_str is the offset of a NUL-terminated
 * string, 0 meaning "not given" (so the empty string and absence differ). All integers are in host byte order: a
 * plan never leaves the machine that made it.
 *
 * Sources: OCI runtime-spec 1.2 config.md and config-linux.md; section names are given below.
 */

#include <stdint.h>

#include "shared/plan-flags.h"

#define PLAN_MAGIC UINT64_C(0x314e4c5054564144) /* "DAVTPLN1" */
#define PLAN_VERSION 4U
#define PLAN_SIZE_MAX (4U * 1024U * 1024U)
#define PLAN_LIST_MAX 65536U
#define PLAN_BITS_MAX 8192U /* CPUs, memory nodes */

typedef uint32_t plan_str;

struct plan_list {
        uint32_t offset; /* bytes from the plan's start */
        uint32_t n;      /* number of records */
};

/* linux.namespaces: "flags" of struct plan holds the CLONE_NEW* to create; these are the ones to join by path. */
struct plan_namespace {
        uint32_t clone_flag; /* one CLONE_NEW* */
        plan_str path;
};

/* linux.uidMappings, linux.gidMappings */
struct plan_id_map {
        uint32_t container_id;
        uint32_t host_id;
        uint32_t size;
        uint32_t pad;
};

enum plan_rootfs_kind {
        PLAN_ROOTFS_DIRECTORY = 1, /* bind of "path" */
        PLAN_ROOTFS_OVERLAY = 2, /* overlay of "lowers" with "upper" and "work", mounted at a place of the shim's own */
};

/* root.path, or the snapshot that takes its place */
struct plan_rootfs {
        uint32_t kind;
        uint32_t propagation; /* linux.rootfsPropagation as MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE, with
                                 MS_REC; 0: MS_SLAVE|MS_REC */
        plan_str path;        /* PLAN_ROOTFS_DIRECTORY */
        plan_str upper;       /* absolute; both missing: a read-only overlay (view) */
        plan_str work;
        uint32_t pad;
        struct plan_list lowers; /* plan_str, topmost first */
        struct plan_list data;   /* plan_str: data-only lower layers, below all others */
};

enum plan_mount_kind {
        PLAN_MOUNT_BIND = 1,    /* source is a host path */
        PLAN_MOUNT_FS = 2,      /* a new instance of "fstype", made inside the container's namespaces */
        PLAN_MOUNT_CGROUP = 3,  /* type "cgroup" or "cgroup2": the container's own cgroup tree */
        PLAN_MOUNT_REMOUNT = 4, /* only attributes of what is already at "target" change */
};

enum plan_mount_flag {
        PLAN_MOUNT_RECURSIVE = 1U << 0, /* rbind */
        PLAN_MOUNT_COPY_UP = 1U << 1,   /* tmpcopyup: start a tmpfs with the target directory's content */
        /* "idmap": uid_map and gid_map below, or the container's user namespace where they are empty */
        PLAN_MOUNT_IDMAP = 1U << 2,
        PLAN_MOUNT_IDMAP_RECURSIVE = 1U << 3, /* "ridmap" */
        PLAN_MOUNT_OPTIONAL = 1U << 4,        /* a source that does not exist is skipped (our own defaults only) */
};

/* mounts[] */
struct plan_mount {
        uint32_t kind;
        uint32_t flags;
        plan_str source;
        plan_str target; /* absolute inside the container's root */
        plan_str fstype;
        plan_str data;        /* file-system specific options, "key=value,flag", handed to fsconfig one by one */
        uint32_t sb_flags;    /* MS_SYNCHRONOUS, MS_DIRSYNC, MS_MANDLOCK, MS_LAZYTIME, MS_RDONLY of the superblock */
        uint32_t propagation; /* MS_SHARED ... with MS_REC as asked; 0 keeps what it inherits */
        uint64_t attr_set;    /* MOUNT_ATTR_* */
        uint64_t attr_clear;
        uint64_t attr_set_recursive; /* rro, rnosuid, ... */
        uint64_t attr_clear_recursive;
        struct plan_list uid_map; /* struct plan_id_map */
        struct plan_list gid_map;
};

/* linux.devices and the default nodes of config-linux.md "Default Devices" */
struct plan_device {
        plan_str path;
        uint32_t type; /* S_IFCHR, S_IFBLK or S_IFIFO */
        uint32_t major;
        uint32_t minor;
        uint32_t mode; /* permission bits */
        uint32_t uid;
        uint32_t gid;
        uint32_t pad;
};

/* default symbolic links of /dev */
struct plan_link {
        plan_str target;
        plan_str path;
};

/* linux.sysctl: key still in dotted form, checked to be a namespaced one */
struct plan_sysctl {
        plan_str key;
        plan_str value;
};

/* process.rlimits */
struct plan_rlimit {
        uint32_t resource; /* RLIMIT_* */
        uint32_t pad;
        uint64_t soft;
        uint64_t hard;
};

/* process.scheduler as sched_setattr(2) takes it */
struct plan_scheduler {
        uint32_t policy;
        int32_t nice;
        uint32_t priority;
        uint32_t pad;
        uint64_t flags;
        uint64_t runtime; /* nanoseconds, for SCHED_DEADLINE */
        uint64_t deadline;
        uint64_t period;
};

/* process */
struct plan_process {
        struct plan_list args; /* plan_str; args[0] is looked up in the container's PATH */
        struct plan_list env;  /* plan_str "KEY=value" */
        plan_str cwd;          /* absolute */
        plan_str user; /* image form "user[:group]" to be resolved in the container's own passwd and group; 0: uid and
                          gid below hold */
        uint32_t uid;
        uint32_t gid;
        struct plan_list groups; /* uint32_t: process.user.additionalGids */
        uint32_t umask;
        int32_t oom_score_adj;
        uint64_t cap_effective; /* bit n is capability n */
        uint64_t cap_permitted;
        uint64_t cap_inheritable;
        uint64_t cap_ambient;
        uint64_t cap_bounding;
        struct plan_list rlimits; /* struct plan_rlimit */
        plan_str apparmor_profile;
        plan_str selinux_label;
        uint32_t console_width;  /* columns; 0: leave */
        uint32_t console_height; /* rows */
        uint32_t n_listen_fds;   /* descriptors that follow stdio, passed on from fd 3 */
        uint32_t io_priority;    /* as ioprio_set(2) takes it: class and level */
        struct plan_scheduler scheduler;
        /* process.execCPUAffinity, of an exec: uint64_t, bit n of the first is CPU n */
        struct plan_list affinity_initial;
        struct plan_list affinity_final;
};

/* When a hook runs, and where: of the host's programs in the host's namespaces, but for the third, which is already in
 * the container's, and the fourth, which is a program of the container's. */
enum plan_hook_stage {
        PLAN_HOOK_PRESTART = 1,
        PLAN_HOOK_CREATE_RUNTIME,
        PLAN_HOOK_CREATE_CONTAINER,
        PLAN_HOOK_START_CONTAINER,
        PLAN_HOOK_POSTSTART,
        PLAN_HOOK_POSTSTOP,
        _PLAN_HOOK_STAGE_MAX,
};

/* hooks */
struct plan_hook {
        uint32_t stage;
        uint32_t timeout; /* seconds; 0: none */
        plan_str path;
        uint32_t index;        /* within its stage, for messages */
        struct plan_list args; /* plan_str; empty: the path alone */
        struct plan_list env;  /* plan_str, the whole environment */
};

/* linux.timeOffsets */
struct plan_time_offset {
        uint32_t clock; /* CLOCK_MONOTONIC or CLOCK_BOOTTIME */
        uint32_t nanosecs;
        int64_t secs;
};

/* linux.seccomp, compiled */
struct plan_seccomp {
        struct plan_list program; /* struct sock_filter; n == 0: no filter */
        uint32_t flags;           /* SECCOMP_FILTER_FLAG_*; with NEW_LISTENER the descriptor goes to: */
        plan_str listener;        /* path of a stream socket */
        plan_str metadata;        /* what it is told beside the state */
        uint32_t pad;
};

/* Another OCI runtime, which makes the container or the exec in the shim's place. What else stands in the plan is then
 * for the shim to know, not to carry out: root file system, user, streams, limits. */
struct plan_runtime {
        plan_str program;           /* a name, or an absolute path; 0: the shim does it itself */
        plan_str root;              /* absolute: the directory of the runtime's own records */
        struct plan_list arguments; /* plan_str: what comes before the sub-command */
        struct plan_list config;    /* plan_str: the text of config.json, or of an exec's process; between two pieces
                                       goes the user as it was found in the image */
};

struct plan {
        uint64_t magic;
        uint32_t version;
        uint32_t size; /* of the whole memory, equal to the memfd's */
        uint32_t kind;
        uint32_t flags;       /* PLAN_* */
        uint64_t clone_flags; /* CLONE_NEW* to create; CLONE_NEWTIME included */

        plan_str namespace; /* Davit's namespace, "default" */
        plan_str id;
        plan_str exec_id; /* PLAN_EXEC */
        plan_str hostname;
        plan_str domainname;
        plan_str log_identifier; /* SYSLOG_IDENTIFIER of a journal stream */

        struct plan_process process;
        struct plan_rootfs rootfs;
        struct plan_list namespaces; /* struct plan_namespace */
        struct plan_list uid_map;    /* struct plan_id_map */
        struct plan_list gid_map;
        struct plan_list mounts;         /* struct plan_mount, in order */
        struct plan_list devices;        /* struct plan_device */
        struct plan_list links;          /* struct plan_link */
        struct plan_list masked_paths;   /* plan_str */
        struct plan_list readonly_paths; /* plan_str */
        struct plan_list sysctls;        /* struct plan_sysctl */
        struct plan_seccomp seccomp;
        struct plan_seccomp supervisor_seccomp; /* for the shim itself once the container has started */
        struct plan_list unified;               /* plan_str name and value: files of payload/, in order */

        uint32_t stop_signal; /* number */
        uint32_t pad;
        uint64_t stop_timeout_usec;    /* from stop signal to SIGKILL when the unit is stopped */
        struct plan_list hooks;        /* struct plan_hook, in order */
        struct plan_list time_offsets; /* struct plan_time_offset */
        uint32_t personality;          /* as personality(2) takes it */
        plan_str mount_label;          /* linux.mountLabel: "context=" of new file systems */
        struct plan_list memory_nodes; /* linux.memoryPolicy: uint64_t, bit n of the first is node n */
        uint32_t memory_mode;          /* as set_mempolicy(2) takes it: mode and flags */
        uint32_t pad2;
        struct plan_runtime runtime;
};
