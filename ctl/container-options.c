/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The wishes about a container, as run and create take them on the command line and as the manager takes them in an
 * option dictionary. Numbers and the form of mounts are checked here, because the user's own notation is; all else is
 * the manager's to judge.
 */

#include "ctl/container-options.h"

#include <assert.h>
#include <fcntl.h>

#include "ctl/pull.h"
#include "ctl/resource.h"
#include "ctl/text.h"
#include "shared/fd.h"

#define SPEC_MAX ((size_t)4 << 20)

/* Options that keep a string. Returns where it goes, NULL for the others. */
static const char **string_option(ContainerOptions *o, int key) {
        switch (key) {
        case 'w':
                return &o->working_dir;
        case 'u':
                return &o->user;
        case 'h':
                return &o->hostname;
        case OPTION_NETWORK:
                return &o->network;
        case OPTION_ROOTFS:
                return &o->rootfs;
        case OPTION_SNAPSHOT:
                return &o->snapshot;
        case OPTION_ENTRYPOINT:
                return &o->entrypoint;
        case OPTION_STOP_SIGNAL:
                return &o->stop_signal;
        case OPTION_SECCOMP_REPORT:
                return &o->seccomp_report;
        case OPTION_SPEC:
                return &o->spec;
        case OPTION_SPEC_PATCH:
                return &o->spec_patch;
        case OPTION_NAME:
                return &o->name;
        case OPTION_LOG:
                return &o->log;
        case OPTION_RUNTIME:
                return &o->runtime;
        case OPTION_PULL:
                return &o->pull;
        case OPTION_AUTH_FILE:
                return &o->auth_file;
        default:
                return NULL;
        }
}

static bool *flag_option(ContainerOptions *o, int key) {
        switch (key) {
        case 't':
                return &o->terminal;
        case 'i':
                return &o->interactive;
        case 'd':
                return &o->detach;
        case OPTION_READ_ONLY:
                return &o->read_only;
        case OPTION_RM:
                return &o->remove;
        default:
                return NULL;
        }
}

/* "1000/30s", "1000" (a second), "0" */
static int log_rate(ContainerOptions *o, const char *arg) {
        _cleanup_free_ char *lines = strndup(arg, strcspn(arg, "/"));
        const char *time = strchr(arg, '/');

        if (!lines)
                return ctl_oom(o->ctl);
        o->has_log_rate = true;
        o->log_interval = USEC_PER_SEC;
        if (!parse_unsigned(lines, UINT32_MAX, &o->log_burst) || (time && !parse_duration(time + 1, &o->log_interval)))
                return ctl_error(o->ctl, _("'%s' is no rate; give one such as 1000/30s, or 0"), arg);
        if (o->log_burst == 0)
                o->log_interval = 0;
        return 0;
}

static int number_option(ContainerOptions *o, int key, const char *arg) {
        switch (key) {
        case 'm':
                if (resource_size(o->ctl, arg, &o->memory) != 0)
                        return o->ctl->failure;
                return o->memory > 0 ? 0 : ctl_error(o->ctl, "%s", _("--memory 0 leaves nothing; max is no limit"));
        case OPTION_MEMORY_SWAP:
                o->has_swap = true;
                return resource_size(o->ctl, arg, &o->swap);
        case OPTION_CPUS:
                if (!parse_cpus(arg, &o->cpu_usec))
                        return ctl_error(o->ctl, _("'%s' is no number of processors; give one such as 2 or 0.5"), arg);
                return 0;
        case OPTION_PIDS:
                return resource_pids(o->ctl, arg, &o->pids);
        case OPTION_LOG_RATE:
                return log_rate(o, arg);
        case OPTION_DROP_AFTER:
                if (!parse_duration(arg, &o->drop_after) || o->drop_after == 0)
                        return ctl_error(o->ctl, _("'%s' is no length of time; give one such as 1s or 5min"), arg);
                return 0;
        default: /* OPTION_STOP_TIMEOUT */
                o->has_stop_timeout = true;
                if (!parse_seconds(arg, &o->stop_timeout))
                        return ctl_error(o->ctl, _("'%s' is no number of seconds"), arg);
                return 0;
        }
}

static int list_option(ContainerOptions *o, int key, const char *arg) {
        switch (key) {
        case 'e':
                return env_add(o->ctl, &o->env, arg);
        case OPTION_ENV_FILE:
                return env_add_file(o->ctl, &o->env, arg);
        case OPTION_UNSETENV:
                return env_remove(o->ctl, &o->env, arg);
        case 'v':
                return mount_add_volume(o->ctl, &o->mounts, arg);
        case OPTION_MOUNT:
                return mount_add_mount(o->ctl, &o->mounts, arg);
        case OPTION_TMPFS:
                return mount_add_tmpfs(o->ctl, &o->mounts, arg);
        case OPTION_CAP_ADD:
                return strv_add(&o->cap_add, arg) ? 0 : ctl_oom(o->ctl);
        case OPTION_CAP_DROP:
                return strv_add(&o->cap_drop, arg) ? 0 : ctl_oom(o->ctl);
        case 'l':
                return strv_add(&o->labels, arg) ? 0 : ctl_oom(o->ctl);
        case OPTION_RUNTIME_OPT:
                if (!strchr(arg, '='))
                        return ctl_error(o->ctl, _("'%s' is no option of a runtime; give KEY=VALUE"), arg);
                return strv_add(&o->runtime_options, arg) ? 0 : ctl_oom(o->ctl);
        default:
                return number_option(o, key, arg);
        }
}

/** container_option() - an OptionHandler; userdata is a ContainerOptions. */
int container_option(int key, const char *arg, void *userdata) {
        ContainerOptions *o = userdata;
        const char **string;
        bool *flag;

        assert(o);
        string = string_option(o, key);
        flag = flag_option(o, key);
        if (string) {
                *string = arg;
                return 0;
        }
        if (flag) {
                *flag = true;
                return 0;
        }
        return list_option(o, key, arg);
}

/* A copy of stdin, which may be a pipe, in memory; the manager reads plain files only. Negative errno. */
static int spec_from_stdin(void) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = fd_read_bounded(STDIN_FILENO, SPEC_MAX, &text, &size);
        return r < 0 ? r : memfd_sealed("spec", text, size);
}

static int open_spec(ContainerOptions *o) {
        if (streq(o->spec, "-")) {
                o->spec_fd = spec_from_stdin();
        } else {
                o->spec_fd = open(o->spec, O_RDONLY | O_CLOEXEC);
                if (o->spec_fd < 0)
                        o->spec_fd = -errno;
        }
        return o->spec_fd < 0 ? ctl_error(o->ctl, _("cannot open '%s': %s"), o->spec, strerror(-o->spec_fd)) : 0;
}

/** container_options_check() - what only shows when all options are known; argc counts what follows. 0 or an exit
 * status. */
int container_options_check(ContainerOptions *o, int argc) {
        _cleanup_free_ char *path = NULL;

        if (!o->rootfs && !o->spec && argc < 1)
                return ctl_error(o->ctl, _("name an image; see 'davitctl image ls' for those there are"));
        if (o->rootfs && argc < 1 && !o->spec && !o->spec_patch && (!o->entrypoint || !*o->entrypoint))
                return ctl_error(o->ctl, _("a root directory says nothing of a command; name one"));
        if (o->snapshot && o->rootfs)
                return ctl_error(o->ctl, _("a root file system is a directory or a snapshot, not both"));
        if (o->spec) {
                int r = open_spec(o);

                if (r != 0)
                        return r;
        }
        if (o->log && !streq(o->log, "journal") && !streq(o->log, "null") && !streq(o->log, "pipe") &&
            strncmp(o->log, "file:/", 6) != 0)
                return ctl_error(o->ctl, _("--log takes journal, null, pipe or file:/PATH, not '%s'"), o->log);
        if (o->has_swap && resource_swap(o->ctl, o->memory > 0, o->memory, &o->swap) != 0)
                return o->ctl->failure;
        if (pull_policy_check(o->ctl, o->pull) != 0)
                return o->ctl->failure;
        if (o->drop_after > 0 && (!o->detach || o->terminal || !o->log || !streq(o->log, "pipe")))
                return ctl_error(o->ctl, _("--drop-after is for -d with --log pipe"));
        return 0;
}

static int append_strings(ContainerOptions *o, Message *m) {
        const struct {
                const char *key, *value;
        } strings[] = {
                { "WorkingDir", o->working_dir },
                { "User", o->user },
                { "Hostname", o->hostname },
                { "Network", o->network },
                { "Snapshot", o->snapshot },
                { "StopSignal", o->stop_signal },
                { "SpecPatch", o->spec_patch },
                { "AutoRemove", o->remove ? "container" : NULL },
                { "SeccompReport", o->seccomp_report },
                { "Runtime", o->runtime },
        };
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(strings) && r >= 0; i++)
                if (strings[i].value)
                        r = option_string(m, strings[i].key, strings[i].value);
        return r;
}

static int append_mounts(ContainerOptions *o, Message *m) {
        int r;

        if (o->mounts.n == 0)
                return 0;
        r = message_open(m, 'e', "sv");
        if (r >= 0)
                r = message_append(m, "s", "Mounts");
        if (r >= 0)
                r = message_open(m, 'v', "a(ssss)");
        if (r >= 0)
                r = message_open(m, 'a', "(ssss)");
        for (size_t i = 0; i + 3 < o->mounts.n && r >= 0; i += 4)
                r = message_append(m, "(ssss)", o->mounts.v[i], o->mounts.v[i + 1], o->mounts.v[i + 2],
                                   o->mounts.v[i + 3]);
        for (int depth = 0; depth < 3 && r >= 0; depth++)
                r = message_close(m);
        return r;
}

static int append_lists(ContainerOptions *o, Message *m) {
        char *entrypoint[] = { (char *)o->entrypoint, NULL };
        int r = 0;

        if (o->env.n > 0)
                r = option_strv(m, "Env", o->env.v);
        if (r >= 0 && o->cap_add.n > 0)
                r = option_strv(m, "CapAdd", o->cap_add.v);
        if (r >= 0 && o->cap_drop.n > 0)
                r = option_strv(m, "CapDrop", o->cap_drop.v);
        if (r >= 0 && o->entrypoint)
                r = option_strv(m, "Entrypoint", *o->entrypoint ? entrypoint : NULL);
        if (r >= 0 && o->labels.n > 0)
                r = option_labels(m, "Labels", &o->labels);
        if (r >= 0 && o->runtime_options.n > 0)
                r = append_runtime_options(m, &o->runtime_options);
        return r < 0 ? r : append_mounts(o, m);
}

static int append_numbers(ContainerOptions *o, Message *m) {
        int r = 0;

        if (o->memory > 0)
                r = option_u64(m, "MemoryMax", o->memory);
        if (r >= 0 && o->has_swap && (o->swap != NO_LIMIT || o->spec)) /* there is none where nobody says one */
                r = option_u64(m, "MemorySwapMax", o->swap);
        if (r >= 0 && o->cpu_usec > 0)
                r = option_u64(m, "CPUQuotaPerSecUSec", o->cpu_usec);
        if (r >= 0 && o->pids > 0)
                r = option_u64(m, "TasksMax", o->pids);
        if (r >= 0 && o->has_stop_timeout)
                r = option_u64(m, "StopTimeoutUSec", o->stop_timeout);
        if (r >= 0 && o->has_log_rate)
                r = option_u64(m, "LogRateLimitIntervalUSec", o->log_interval);
        if (r >= 0 && o->has_log_rate)
                r = option_u64(m, "LogRateLimitBurst", o->log_burst);
        if (r >= 0 && o->terminal)
                r = option_bool(m, "Terminal", true);
        if (r >= 0 && o->read_only)
                r = option_bool(m, "ReadOnly", true);
        return r;
}

/** container_options_append() - the entries of CreateContainer's dictionary; negative errno. */
int container_options_append(ContainerOptions *o, Message *m) {
        _cleanup_free_ char *rootfs = NULL;
        int r;

        r = append_strings(o, m);
        if (r >= 0)
                r = append_numbers(o, m);
        if (r >= 0)
                r = append_lists(o, m);
        if (r >= 0 && o->rootfs) {
                rootfs = realpath(o->rootfs, NULL);
                r = option_string(m, "Rootfs", rootfs ?: o->rootfs);
        }
        if (r >= 0 && o->spec_fd >= 0)
                r = option_fd(m, "Spec", o->spec_fd);
        return r;
}

/** container_image() - where the image is named, as container_call_new() takes it; NULL where none is. */
char **container_image(const ContainerOptions *o, int argc, char **argv) {
        return o->rootfs || argc < 1 ? NULL : argv;
}

/**
 * container_call_new() - CreateContainer or Run up to and with the container's options; the dictionary is left open.
 * @argc, @argv: image and command, or the command alone where a root directory or a whole configuration was given.
 *
 * Returns 0 or an exit status.
 */
int container_call_new(ContainerOptions *o, const char *member, int argc, char **argv, Message **ret) {
        bool image = container_image(o, argc, argv);
        int r;

        r = call_new(o->ctl, BUS_PATH, BUS_MANAGER, member, ret);
        if (r != 0)
                return r;
        r = message_append(*ret, "sss", o->ctl->ns, o->name ?: "", image ? argv[0] : "");
        if (r >= 0)
                r = message_append_strv(*ret, argc > image ? argv + image : NULL);
        if (r >= 0)
                r = message_open(*ret, 'a', "{sv}");
        if (r >= 0)
                r = container_options_append(o, *ret);
        return r < 0 ? bus_protocol_error(o->ctl, r) : 0;
}

/** container_options_clear() - frees the lists and closes the configuration. */
void container_options_clear(ContainerOptions *o) {
        strv_clear(&o->env);
        strv_clear(&o->cap_add);
        strv_clear(&o->cap_drop);
        strv_clear(&o->labels);
        strv_clear(&o->runtime_options);
        strv_clear(&o->mounts);
        free(TAKE_PTR(o->pulled));
        o->spec_fd = safe_close(o->spec_fd);
}
