/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What run and create have in common: the wishes about a container and their way into an option dictionary. */

#include "ctl/bus.h"

typedef struct ContainerOptions {
        Ctl *ctl;
        const char *name, *entrypoint, *working_dir, *user, *hostname, *network, *rootfs, *snapshot, *stop_signal,
                *spec, *spec_patch, *log, *seccomp_report, *runtime, *pull, *auth_file;
        Strv env, cap_add, cap_drop, labels, runtime_options;
        Strv mounts; /* type, source, target, options; four strings each */
        uint64_t memory, swap, cpu_usec, pids, stop_timeout, log_burst, log_interval, drop_after;
        bool has_swap, has_stop_timeout, has_log_rate, terminal, read_only, interactive, detach, remove;
        int spec_fd;
        char *pulled; /* the name of an image that had to be fetched */
} ContainerOptions;

#define CONTAINER_OPTIONS_INIT(c)                                                                                      \
        { .ctl = (c), .spec_fd = -1 }
#define _cleanup_container_options_ _cleanup_(container_options_clear)

/* clang-format off */
#define CONTAINER_OPTIONS                                                                                       \
        { 'e', "env", N_("KEY[=VALUE]"), N_("Set a variable; without VALUE take ours") },                       \
        { OPTION_ENV_FILE, "env-file", N_("FILE"), N_("Read variables from a file") },                          \
        { OPTION_UNSETENV, "unsetenv", N_("KEY"), N_("Remove a variable of the image") },                       \
        { 'w', "workdir", N_("DIR"), N_("Working directory") },                                                 \
        { 'u', "user", N_("USER[:GROUP]"), N_("User, by name or number") },                                     \
        { 'v', "volume", N_("SRC:DST[:OPTIONS]"), N_("Mount a host directory or file") },                       \
        { OPTION_MOUNT, "mount", N_("KEY=VALUE,..."), N_("Mount something: type=bind or tmpfs") },              \
        { OPTION_TMPFS, "tmpfs", N_("DST[:OPTIONS]"), N_("Mount an empty tmpfs") },                             \
        { OPTION_READ_ONLY, "read-only", NULL, N_("Mount the root file system read-only") },                    \
        { OPTION_CAP_ADD, "cap-add", N_("CAPABILITY"), N_("Add a capability, or ALL") },                        \
        { OPTION_CAP_DROP, "cap-drop", N_("CAPABILITY"), N_("Drop a capability, or ALL") },                     \
        { 'm', "memory", N_("SIZE"), N_("Memory limit, with unit b, k, m or g; \"max\": none") },               \
        { OPTION_MEMORY_SWAP, "memory-swap", N_("SIZE"), N_("Limit of memory and swap together; with --memory") },   \
        { OPTION_CPUS, "cpus", N_("N"), N_("Processor limit, such as 1.5") },                                   \
        { OPTION_PIDS, "pids-limit", N_("N"), N_("Limit of processes and threads; \"max\": none") },            \
        { 'l', "label", N_("KEY[=VALUE]"), N_("Set a label") },                                                 \
        { 'h', "hostname", N_("NAME"), N_("Host name") },                                                       \
        { OPTION_NETWORK, "network", N_("none|host"), N_("Network (default: none)") },                          \
        { OPTION_ROOTFS, "rootfs", N_("DIR"), N_("Use a host directory instead of an image") },                 \
        { OPTION_SNAPSHOT, "snapshot", N_("KEY"), N_("Use a snapshot; IMAGE is its configuration, or \"\"") },    \
        { OPTION_ENTRYPOINT, "entrypoint", N_("PROGRAM"), N_("Replace the image's entry point; empty: none") }, \
        { OPTION_STOP_SIGNAL, "stop-signal", N_("SIGNAL"), N_("Signal that asks the program to end") },         \
        { OPTION_STOP_TIMEOUT, "stop-timeout", N_("SECONDS"), N_("Time to end before it is killed") },          \
        { OPTION_LOG_RATE, "log-rate", N_("LINES[/TIME]"), N_("Lines the journal takes in that time; 0: all") },  \
        { OPTION_SECCOMP_REPORT, "seccomp-report", N_("yes|no"), N_("Tell system calls that are refused") },         \
        { OPTION_SPEC, "spec", N_("FILE"), N_("Whole OCI runtime configuration; -: from stdin") },              \
        { OPTION_SPEC_PATCH, "spec-patch", N_("JSON"), N_("Merge patch applied to the configuration last") },   \
        { OPTION_RUNTIME, "runtime", N_("PROGRAM"), N_("OCI runtime: davit, runc, crun, a path") },               \
        { OPTION_RUNTIME_OPT, "runtime-opt", N_("KEY=VALUE"), N_("Option of the runtime, such as BinaryName=") }, \
        { OPTION_PULL, "pull", N_("missing|always|never"), N_("When to fetch the image (default: missing)") },     \
        { OPTION_AUTH_FILE, "authfile", N_("FILE"), N_("Credentials for the registry") },                       \
        { OPTION_NAME, "name", N_("ID"), N_("Id of the container (default: chosen by the manager)") },          \
        { OPTION_RM, "rm", NULL, N_("Remove the container when it ends") },                                     \
        { 't', "tty", NULL, N_("Give the program a terminal") }
/* clang-format on */

enum {
        OPTION_ENV_FILE = OPTION_FREE,
        OPTION_UNSETENV,
        OPTION_MOUNT,
        OPTION_TMPFS,
        OPTION_READ_ONLY,
        OPTION_CAP_ADD,
        OPTION_CAP_DROP,
        OPTION_MEMORY_SWAP,
        OPTION_CPUS,
        OPTION_PIDS,
        OPTION_NETWORK,
        OPTION_ROOTFS,
        OPTION_SNAPSHOT,
        OPTION_ENTRYPOINT,
        OPTION_STOP_SIGNAL,
        OPTION_STOP_TIMEOUT,
        OPTION_LOG_RATE,
        OPTION_SECCOMP_REPORT,
        OPTION_SPEC,
        OPTION_SPEC_PATCH,
        OPTION_NAME,
        OPTION_RM,
        OPTION_LOG,
        OPTION_DROP_AFTER,
        OPTION_RUNTIME,
        OPTION_RUNTIME_OPT,
        OPTION_PULL,
        OPTION_AUTH_FILE,
};

int container_option(int key, const char *arg, void *userdata);
int container_options_check(ContainerOptions *o, int argc);
int container_options_append(ContainerOptions *o, Message *m);
char **container_image(const ContainerOptions *o, int argc, char **argv);
int container_call_new(ContainerOptions *o, const char *member, int argc, char **argv, Message **ret);
void container_options_clear(ContainerOptions *o);

/* runtime.c */
int append_runtime_options(Message *m, const Strv *options);

/* env.c */
int env_add(Ctl *ctl, Strv *env, const char *arg);
int env_add_file(Ctl *ctl, Strv *env, const char *path);
int env_remove(Ctl *ctl, Strv *env, const char *arg);

/* mount.c */
int mount_add_volume(Ctl *ctl, Strv *mounts, const char *arg);
int mount_add_mount(Ctl *ctl, Strv *mounts, const char *arg);
int mount_add_tmpfs(Ctl *ctl, Strv *mounts, const char *arg);
