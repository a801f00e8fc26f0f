/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The options of every method that takes a dictionary, as one table.
 *
 * A row says the key, its type, which calls take it and where it goes; data/dbus/org.davit.Davit1.xml documents the
 * same keys. An Options owns what it holds, descriptors included, and whoever uses a descriptor takes it out.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/options.h"
#include "daemon/runtime.h"
#include "shared/fd.h"
#include "shared/name.h"
#include "shared/shim-drop.h"

#define LISTEN_FDS_MAX 32U
#define SPEC_SIZE_MAX (1024U * 1024U)

static const char *const auto_remove_names[_AUTO_REMOVE_MAX] = {
        [AUTO_REMOVE_NO] = "no",
        [AUTO_REMOVE_TASK] = "task",
        [AUTO_REMOVE_CONTAINER] = "container",
};

/** auto_remove_name() - the word on the bus and in records */
const char *auto_remove_name(AutoRemove a) {
        return a >= 0 && a < _AUTO_REMOVE_MAX ? auto_remove_names[a] : "no";
}

/** auto_remove_from_name() - _AUTO_REMOVE_INVALID for anything that is not a word of ours */
AutoRemove auto_remove_from_name(const char *name) {
        for (AutoRemove a = 0; a < _AUTO_REMOVE_MAX; a++)
                if (streq(auto_remove_names[a], name))
                        return a;
        return _AUTO_REMOVE_INVALID;
}

/* One of a few words, the pointer being that of the list. */
static int read_word(sd_bus_message *m, const BusOption *o, const char *const *words, size_t n, const char **ret,
                     sd_bus_error *error) {
        g_autoptr(GString) all = g_string_new(NULL);
        const char *s;
        int r;

        r = sd_bus_message_read_basic(m, 's', &s);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                if (streq(words[i], s)) {
                        *ret = words[i];
                        return 0;
                }
                g_string_append_printf(all, "%s\"%s\"", i == 0 ? "" : i + 1 < n ? ", " : " or ", words[i]);
        }
        return error_invalid(error, "%s is \"%s\"; it takes %s.", o->name, s, all->str);
}

static int read_auto_remove(sd_bus_message *m, const BusOption *o, void *data, sd_bus_error *error) {
        Options *options = data;
        const char *word = "";
        int r;

        r = read_word(m, o, auto_remove_names, ELEMENTSOF(auto_remove_names), &word, error);
        if (r >= 0)
                options->auto_remove = auto_remove_from_name(word);
        return r;
}

/* Spec, RuntimeConfig */
static int read_text(sd_bus_message *m, const BusOption *o, void *data, sd_bus_error *error) {
        char **p = (char **)((char *)data + o->offset);
        _cleanup_free_ char *text = NULL;
        const char *s;
        size_t size;
        char type;
        int fd, r;

        r = sd_bus_message_peek_type(m, &type, NULL);
        if (r < 0)
                return r;
        if (type == 's') {
                r = sd_bus_message_read_basic(m, 's', &s);
                if (r >= 0)
                        *p = g_strdup(s);
                return r;
        }
        r = sd_bus_message_read_basic(m, 'h', &fd);
        if (r < 0)
                return r;
        /* A regular file or memfd only: a pipe could keep the whole manager waiting for its writer. */
        if (lseek(fd, 0, SEEK_SET) < 0)
                return error_invalid(error, "%s must be a regular file or a memory file, not a pipe or socket.",
                                     o->name);
        r = fd_read_bounded(fd, SPEC_SIZE_MAX, &text, &size);
        if (r < 0)
                return error_set_errno(error, r, "%s cannot be read from its descriptor", o->name);
        if (memchr(text, '\0', size))
                return error_invalid(error, "%s holds a NUL; it is not a text.", o->name);
        *p = g_strndup(text, size);
        return 0;
}

static int read_runtime(sd_bus_message *m, const BusOption *o _unused_, void *data, sd_bus_error *error) {
        Options *options = data;
        const char *s;
        int r;

        r = sd_bus_message_read_basic(m, 's', &s);
        if (r >= 0)
                r = runtime_check_name(s, error);
        if (r >= 0)
                options->runtime = g_strdup(s);
        return r;
}

static int read_runtime_options(sd_bus_message *m, const BusOption *o _unused_, void *data, sd_bus_error *error) {
        return runtime_read(m, &((Options *)data)->runtime_options, error);
}

static int read_mounts(sd_bus_message *m, const BusOption *o _unused_, void *data, sd_bus_error *error _unused_) {
        const char *type, *source, *target, *flags;
        Options *options = data;
        int r;

        options->mounts = g_array_new(FALSE, TRUE, sizeof(SpecMount));
        r = sd_bus_message_enter_container(m, 'a', "(ssss)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "(ssss)", &type, &source, &target, &flags)) > 0) {
                SpecMount mount = { g_strdup(type), g_strdup(source), g_strdup(target),
                                    *flags ? g_strdup(flags) : NULL };
                g_array_append_val(options->mounts, mount);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_listen_fds(sd_bus_message *m, const BusOption *o _unused_, void *data, sd_bus_error *error) {
        Options *options = data;
        int fd, r;

        options->listen_fds = g_array_new(FALSE, FALSE, sizeof(int));
        r = sd_bus_message_enter_container(m, 'a', "h");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read_basic(m, 'h', &fd)) > 0) {
                int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
                if (copy < 0)
                        return -errno;
                g_array_append_val(options->listen_fds, copy);
                if (options->listen_fds->len > LISTEN_FDS_MAX)
                        return error_invalid(error, "ListenFDs holds more than %u descriptors.", LISTEN_FDS_MAX);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_console(sd_bus_message *m, const BusOption *o _unused_, void *data, sd_bus_error *error) {
        Options *options = data;
        int r;

        r = sd_bus_message_read(m, "(uu)", &options->console_width, &options->console_height);
        if (r >= 0 && (options->console_width > UINT16_MAX || options->console_height > UINT16_MAX))
                return error_invalid(error, "ConsoleSize is at most %u columns and rows.", UINT16_MAX);
        return r;
}

static int read_signal(sd_bus_message *m, const BusOption *o, void *data, sd_bus_error *error) {
        char **p = (char **)((char *)data + o->offset);
        const char *s;
        int r;

        r = sd_bus_message_read_basic(m, 's', &s);
        if (r < 0)
                return r;
        if (signal_from_name(s) < 0)
                return error_invalid(error, "%s is \"%s\", which is no signal; use a name like \"TERM\" or a number.",
                                     o->name, s);
        *p = g_strdup(s);
        return 0;
}

/* journald counts lines in an unsigned, and no time is as long as the largest number. */
static int read_rate(sd_bus_message *m, const BusOption *o, void *data, sd_bus_error *error) {
        uint64_t *p = (uint64_t *)((char *)data + o->offset);
        uint64_t max = o->offset == offsetof(Options, log_rate_burst) ? UINT32_MAX : INT64_MAX;
        int r;

        r = sd_bus_message_read_basic(m, 't', p);
        if (r >= 0 && *p > max)
                return error_invalid(error, "%s is at most %" PRIu64 ".", o->name, max);
        return r;
}

/* A deadline of the shim's lies so far ahead. */
static int read_drop_after(sd_bus_message *m, const BusOption *o, void *data, sd_bus_error *error) {
        Options *options = data;
        int r;

        r = sd_bus_message_read_basic(m, 't', &options->drop_after_usec);
        if (r >= 0 && options->drop_after_usec > SHIM_DROP_AFTER_USEC_MAX)
                return error_invalid(error, "%s is at most %" PRIu64 ".", o->name, SHIM_DROP_AFTER_USEC_MAX);
        if (r >= 0 && options->drop_after_usec > 0 && options->drop_after_usec < SHIM_DROP_AFTER_USEC_MIN)
                return error_invalid(error, "%s is at least %" PRIu64 ", or 0 for never.", o->name,
                                     SHIM_DROP_AFTER_USEC_MIN);
        return r;
}

static int read_output(sd_bus_message *m, const BusOption *o, void *data, sd_bus_error *error) {
        static const char *const words[] = { "journal", "null" };
        Options *options = data;
        const char *word = "";
        int r;

        r = read_word(m, o, words, ELEMENTSOF(words), &word, error);
        if (r >= 0)
                options->output = g_strdup(word);
        return r;
}

static int read_seccomp_report(sd_bus_message *m, const BusOption *o, void *data, sd_bus_error *error) {
        static const char *const words[] = { "yes", "no" };
        Options *options = data;
        const char *word = "";
        int r;

        r = read_word(m, o, words, ELEMENTSOF(words), &word, error);
        if (r >= 0)
                options->seccomp_report = g_strdup(word);
        return r;
}

static int read_swap(sd_bus_message *m, const BusOption *o _unused_, void *data, sd_bus_error *error _unused_) {
        Options *options = data;

        options->has_memory_swap_max = true;
        return sd_bus_message_read_basic(m, 't', &options->memory_swap_max);
}

static int read_limit(sd_bus_message *m, const BusOption *o, void *data, sd_bus_error *error _unused_) {
        OptionLimit limit = { .name = o->name };
        Options *options = data;
        int r;

        r = sd_bus_message_read_basic(m, 't', &limit.value);
        if (r < 0)
                return r;
        if (!options->limits)
                options->limits = g_array_new(FALSE, FALSE, sizeof(OptionLimit));
        g_array_append_val(options->limits, limit);
        return 0;
}

#define DEFINITION (OPTION_CREATE | OPTION_UPDATE)
#define START (OPTION_TASK | OPTION_EXEC)
#define AT(x) offsetof(Options, x)

static const BusOption table[] = {
        { "Spec", "s|h", AT(spec), OPTION_CREATE, read_text },
        { "SpecPatch", "s", AT(spec_patch), DEFINITION, NULL },
        { "Rootfs", "s", AT(rootfs), OPTION_CREATE, NULL },
        { "Snapshot", "s", AT(snapshot), OPTION_CREATE, bus_read_named },
        { "Entrypoint", "as", AT(entrypoint), DEFINITION, NULL },
        { "Env", "as", AT(env), DEFINITION | OPTION_EXEC, NULL },
        { "WorkingDir", "s", AT(working_dir), DEFINITION | OPTION_EXEC, NULL },
        { "User", "s", AT(user), DEFINITION | OPTION_EXEC, NULL },
        { "Hostname", "s", AT(hostname), DEFINITION, NULL },
        { "Terminal", "b", AT(terminal), DEFINITION | OPTION_EXEC, NULL },
        { "ReadOnly", "b", AT(read_only), DEFINITION, NULL },
        { "Network", "s", AT(network), DEFINITION | OPTION_DEFAULTS, bus_read_named },
        { "Mounts", "a(ssss)", 0, DEFINITION, read_mounts },
        { "CapAdd", "as", AT(cap_add), DEFINITION | OPTION_EXEC, NULL },
        { "CapDrop", "as", AT(cap_drop), DEFINITION, NULL },
        { "MemoryMax", "t", AT(memory_max), DEFINITION | OPTION_DEFAULTS, NULL },
        { "MemorySwapMax", "t", 0, DEFINITION, read_swap },
        { "CPUQuotaPerSecUSec", "t", AT(cpu_quota_per_sec_usec), DEFINITION | OPTION_DEFAULTS, NULL },
        { "TasksMax", "t", AT(tasks_max), DEFINITION | OPTION_DEFAULTS, NULL },
        { "Labels", "a{ss}", AT(labels), DEFINITION, NULL },
        { "StopSignal", "s", AT(stop_signal), DEFINITION | OPTION_DEFAULTS, read_signal },
        { "StopTimeoutUSec", "t", AT(stop_timeout_usec), DEFINITION | OPTION_DEFAULTS, NULL },
        { "SeccompReport", "s", 0, DEFINITION | OPTION_DEFAULTS, read_seccomp_report },
        { "LogRateLimitIntervalUSec", "t", AT(log_rate_interval_usec), DEFINITION | OPTION_DEFAULTS, read_rate },
        { "LogRateLimitBurst", "t", AT(log_rate_burst), DEFINITION | OPTION_DEFAULTS, read_rate },
        { "Runtime", "s", 0, DEFINITION | OPTION_DEFAULTS, read_runtime },
        { "RuntimeOptions", "a{sv}", 0, DEFINITION, read_runtime_options },
        { "RuntimeConfig", "s|h", AT(runtime_config), DEFINITION, read_text },
        { "AutoRemove", "s", 0, DEFINITION | OPTION_TASK, read_auto_remove },
        { "AutoRemove", "b", AT(exec_auto_remove), OPTION_EXEC, NULL },
        { "Stdin", "h", AT(stdin_fd), START, NULL },
        { "Stdout", "h", AT(stdout_fd), START, NULL },
        { "Stderr", "h", AT(stderr_fd), START, NULL },
        { "Output", "s", 0, START, read_output },
        { "StdinPath", "s", AT(paths[0]), START, NULL },
        { "StdoutPath", "s", AT(paths[1]), START, NULL },
        { "StderrPath", "s", AT(paths[2]), START, NULL },
        { "Pipes", "b", AT(pipes), START, NULL },
        { "DropAfterUSec", "t", 0, START, read_drop_after },
        { "LogPath", "s", AT(log_path), OPTION_TASK, NULL },
        { "ListenFDs", "ah", 0, START, read_listen_fds },
        { "ConsoleSize", "(uu)", 0, START, read_console },
        { "Checkpoint", "s", AT(checkpoint), OPTION_RESTORE, bus_read_named },
        { "Signal", "s", AT(signal), OPTION_STOP, read_signal },
        { "TimeoutUSec", "t", AT(timeout_usec), OPTION_STOP, NULL },
        { "Force", "b", AT(force), OPTION_STOP | OPTION_DELETE_CONTAINER | OPTION_DELETE_PROCESS, NULL },
        { "KeepSnapshot", "b", AT(keep_snapshot), OPTION_DELETE_CONTAINER, NULL },
        { "Resources", "s", AT(resources), OPTION_UPDATE_TASK, NULL },
        { "MemoryMax", "t", 0, OPTION_UPDATE_TASK, read_limit },
        { "MemoryHigh", "t", 0, OPTION_UPDATE_TASK, read_limit },
        { "MemoryLow", "t", 0, OPTION_UPDATE_TASK, read_limit },
        { "MemorySwapMax", "t", 0, OPTION_UPDATE_TASK, read_limit },
        { "CPUQuotaPerSecUSec", "t", 0, OPTION_UPDATE_TASK, read_limit },
        { "CPUWeight", "t", 0, OPTION_UPDATE_TASK, read_limit },
        { "IOWeight", "t", 0, OPTION_UPDATE_TASK, read_limit },
        { "TasksMax", "t", 0, OPTION_UPDATE_TASK, read_limit },
        { "AllowedCPUs", "s", AT(allowed_cpus), OPTION_UPDATE_TASK, NULL },
        { "AllowedMemoryNodes", "s", AT(allowed_nodes), OPTION_UPDATE_TASK, NULL },
        { "Unified", "a{ss}", AT(unified), OPTION_UPDATE_TASK, NULL },
};

/** options_read() - reads the dictionary of a call that takes the rows of mask; calls of two methods may share one
 * Options */
int options_read(sd_bus_message *m, OptionMask mask, Options *o, sd_bus_error *error) {
        int r = bus_options_read(m, table, ELEMENTSOF(table), mask, o, error);

        if (r >= 0 && o->memory_max > 0 && o->memory_max < PLAN_MEMORY_MIN)
                return error_invalid(error,
                                     "MemoryMax: %" PRIu64 " bytes are too few: the minimum is %" PRIu64 " (4 MiB).",
                                     o->memory_max, PLAN_MEMORY_MIN);
        return r;
}

static void free_mounts(GArray *mounts) {
        for (guint i = 0; i < mounts->len; i++) {
                SpecMount *mount = &g_array_index(mounts, SpecMount, i);
                g_free((char *)mount->type);
                g_free((char *)mount->source);
                g_free((char *)mount->target);
                g_free((char *)mount->options);
        }
        g_array_unref(mounts);
}

/** options_done() - frees and closes what is left */
void options_done(Options *o) {
        char **strings[] = { o->command, o->entrypoint, o->env, o->cap_add, o->cap_drop };
        char *texts[] = { o->spec,           o->spec_patch,   o->rootfs,        o->working_dir,    o->user,
                          o->hostname,       o->network,      o->stop_signal,   o->output,         o->log_path,
                          o->signal,         o->snapshot,     o->paths[0],      o->paths[1],       o->paths[2],
                          o->resources,      o->allowed_cpus, o->allowed_nodes, o->seccomp_report, o->runtime,
                          o->runtime_config, o->checkpoint };

        for (size_t i = 0; i < ELEMENTSOF(strings); i++)
                g_strfreev(strings[i]);
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                g_free(texts[i]);
        if (o->mounts)
                free_mounts(o->mounts);
        if (o->runtime_options)
                runtime_clear(o->runtime_options);
        g_free(o->runtime_options);
        if (o->labels)
                g_hash_table_unref(o->labels);
        if (o->unified)
                g_hash_table_unref(o->unified);
        if (o->limits)
                g_array_unref(o->limits);
        (void)safe_close(o->stdin_fd);
        (void)safe_close(o->stdout_fd);
        (void)safe_close(o->stderr_fd);
        for (guint i = 0; o->listen_fds && i < o->listen_fds->len; i++)
                (void)safe_close(g_array_index(o->listen_fds, int, i));
        if (o->listen_fds)
                g_array_unref(o->listen_fds);
        *o = (Options)OPTIONS_NULL;
}

#define STRV(x) ((const char *const *)(x))

/** options_get_spec() - the part that plan/ applies to a configuration; borrows from o */
void options_get_spec(const Options *o, SpecOptions *ret) {
        *ret = (SpecOptions){
                .command = o->command && o->command[0] ? STRV(o->command) : NULL,
                .entrypoint = STRV(o->entrypoint),
                .env = STRV(o->env),
                .working_dir = o->working_dir,
                .user = o->user,
                .hostname = o->hostname,
                .network = o->network,
                .seccomp_report = o->seccomp_report,
                .terminal = o->terminal,
                .read_only = o->read_only,
                .mounts = o->mounts ? (const SpecMount *)o->mounts->data : NULL,
                .n_mounts = o->mounts ? o->mounts->len : 0,
                .cap_add = STRV(o->cap_add),
                .cap_drop = STRV(o->cap_drop),
                .memory_max = o->memory_max,
                .has_memory_swap_max = o->has_memory_swap_max,
                .memory_swap_max = o->memory_swap_max,
                .cpu_quota_per_sec_usec = o->cpu_quota_per_sec_usec,
                .tasks_max = o->tasks_max,
                .console_width = o->console_width,
                .console_height = o->console_height,
        };
}

/** options_change_spec() - whether applying them would change a configuration */
bool options_change_spec(const Options *o) {
        return (o->command && o->command[0]) || o->entrypoint || o->env || o->working_dir || o->user || o->hostname ||
               o->network || o->terminal || o->read_only || o->mounts || o->cap_add || o->cap_drop || o->memory_max ||
               o->has_memory_swap_max || o->seccomp_report || o->cpu_quota_per_sec_usec || o->tasks_max ||
               o->console_width || o->console_height;
}
