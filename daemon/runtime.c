/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which OCI runtime makes a container.
 *
 * The container's own word, else the namespace's default, else the configuration's, else the shim. A runtime is a name
 * that the shim looks up in the system's directories of programs, or an absolute path; its options are typed, and only
 * those that Davit can hold to are taken. Nothing is executed here, and only a name that is to be a namespace's default
 * is looked up: whether a container's own is there, or a path leads to one, is known when it starts.
 */

#include "daemon/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/record.h"
#include "daemon/task-files.h"
#include "daemon/task.h"
#include "plan/spec.h"
#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/plan-flags.h"
#include "shared/runtime-protocol.h"

#define NAME_MAX_LENGTH 64U
#define ARGUMENTS_MAX 64U
#define LOG_MAX (128U * 1024U)

static bool path_valid(const char *path) {
        size_t n = strlen(path);

        if (path[0] != '/' || n < 2 || n >= PATH_MAX || path[n - 1] == '/' || strstr(path, "//"))
                return false;
        for (const char *p = path; *p; p++)
                if ((unsigned char)*p < 0x20 || *p == 0x7f)
                        return false;
        for (const char *p = path; (p = strchr(p, '/')); p++)
                if ((p[1] == '.' && (p[2] == '/' || !p[2])) || (p[1] == '.' && p[2] == '.' && (p[3] == '/' || !p[3])))
                        return false;
        return true;
}

/** runtime_name_valid() - a program's name, or the absolute path of one */
bool runtime_name_valid(const char *name) {
        size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+");

        if (*name == '/')
                return path_valid(name);
        return n > 0 && !name[n] && n <= NAME_MAX_LENGTH && *name != '.' && *name != '-';
}

/** runtime_is_own() - whether the shim does it itself */
bool runtime_is_own(const char *name) {
        return !name || streq(name, RUNTIME_OWN);
}

/** runtime_check_name() - runtime_name_valid() as an error */
int runtime_check_name(const char *name, sd_bus_error *error) {
        return runtime_name_valid(name)
                       ? 0
                       : error_invalid(error,
                                       "Runtime \"%s\" is neither the name of a program, such as \"runc\", nor an "
                                       "absolute path without \".\" and \"..\".",
                                       name);
}

static bool is_program(const char *path) {
        struct stat st;

        return stat(path, &st) >= 0 && S_ISREG(st.st_mode) && access(path, X_OK) >= 0;
}

/** runtime_check_found() - whether there is a program of that name now; the configuration's own word is taken as it is,
 * and a path too: what a caller names is not looked at here, where a file system that does not answer would hold up all
 */
int runtime_check_found(const Config *config, const char *name, sd_bus_error *error) {
        g_auto(GStrv) dirs = g_strsplit(RUNTIME_SEARCH_PATH, ":", -1);

        if (runtime_is_own(name) || *name == '/' || streq(name, config->runtime))
                return 0;
        for (char **dir = dirs; *dir; dir++) {
                g_autofree char *path = g_build_filename(*dir, name, NULL);

                if (is_program(path))
                        return 0;
        }
        return error_not_found(error,
                               "There is no program \"%s\" in " RUNTIME_SEARCH_PATH "; install it, or give its path.",
                               name);
}

/** runtime_clear() - frees what it holds */
void runtime_clear(Runtime *r) {
        g_free(r->name);
        g_free(r->binary_name);
        g_free(r->root);
        g_strfreev(r->arguments);
        g_free(r->config);
        *r = (Runtime){};
}

/* Its own scope would be beside ours, and nothing that is done to the task's would reach the container. */
static int read_systemd_cgroup(sd_bus_message *m, const BusOption *o, void *data _unused_, sd_bus_error *error) {
        int on, r;

        r = sd_bus_message_read_basic(m, 'b', &on);
        if (r >= 0 && on)
                return error_not_supported(
                        error, "%s: the task has a scope of systemd's already, and the runtime is held inside it.",
                        o->name);
        return r;
}

#define AT(x) offsetof(Runtime, x)

static const BusOption table[] = {
        { "BinaryName", "s", AT(binary_name), 1, NULL },      { "Root", "s", AT(root), 1, NULL },
        { "Arguments", "as", AT(arguments), 1, NULL },        { "NoPivotRoot", "b", AT(no_pivot_root), 1, NULL },
        { "NoNewKeyring", "b", AT(no_new_keyring), 1, NULL }, { "SystemdCgroup", "b", 0, 1, read_systemd_cgroup },
};

static int check_options(const Runtime *r, sd_bus_error *error) {
        if (r->binary_name && !runtime_name_valid(r->binary_name))
                return error_invalid(error, "BinaryName \"%s\" is neither the name of a program nor an absolute path.",
                                     r->binary_name);
        if (r->root && !path_valid(r->root))
                return error_invalid(error, "Root \"%s\" is no absolute path without \".\" and \"..\".", r->root);
        if (r->root && (streq(r->root, RUNTIME_DIR) || g_str_has_prefix(r->root, RUNTIME_DIR "/")))
                return error_invalid(error, "Root \"%s\" is in Davit's own directory; leave it out to have one there.",
                                     r->root);
        if (r->arguments && g_strv_length(r->arguments) > ARGUMENTS_MAX)
                return error_invalid(error, "Arguments holds more than %u.", ARGUMENTS_MAX);
        return 0;
}

/** runtime_read() - RuntimeOptions of a call; the caller's to clear and free, without a name */
int runtime_read(sd_bus_message *m, Runtime **ret, sd_bus_error *error) {
        Runtime *o = g_new0(Runtime, 1);
        int r;

        r = bus_options_read(m, table, ELEMENTSOF(table), 1, o, error);
        if (r >= 0)
                r = check_options(o, error);
        if (r < 0) {
                runtime_clear(o);
                g_free(o);
                return r;
        }
        *ret = o;
        return 0;
}

/** runtime_append() - RuntimeOptions as a dictionary */
int runtime_append(sd_bus_message *m, const Runtime *o) {
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        if (r >= 0 && o->binary_name)
                r = sd_bus_message_append(m, "{sv}", "BinaryName", "s", o->binary_name);
        if (r >= 0 && o->root)
                r = sd_bus_message_append(m, "{sv}", "Root", "s", o->root);
        if (r >= 0 && o->arguments && (r = sd_bus_message_open_container(m, 'e', "sv")) >= 0) {
                r = sd_bus_message_append(m, "s", "Arguments");
                if (r >= 0)
                        r = sd_bus_message_open_container(m, 'v', "as");
                if (r >= 0)
                        r = sd_bus_message_append_strv(m, o->arguments);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
        }
        if (r >= 0 && o->no_pivot_root)
                r = sd_bus_message_append(m, "{sv}", "NoPivotRoot", "b", 1);
        if (r >= 0 && o->no_new_keyring)
                r = sd_bus_message_append(m, "{sv}", "NoNewKeyring", "b", 1);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static void copy_options(const Runtime *from, Runtime *to) {
        to->binary_name = g_strdup(from->binary_name);
        to->root = g_strdup(from->root);
        to->arguments = g_strdupv(from->arguments);
        to->no_pivot_root = from->no_pivot_root;
        to->no_new_keyring = from->no_new_keyring;
}

static int choose(const char *name, const Runtime *options, const char *config, Runtime *ret, sd_bus_error *error) {
        *ret = (Runtime){};
        if (runtime_is_own(name) && (options || config))
                return error_invalid(error,
                                     "%s is not for the runtime of this container, \"%s\"; name another in Runtime.",
                                     options ? "RuntimeOptions" : "RuntimeConfig", RUNTIME_OWN);
        ret->name = g_strdup(name);
        ret->config = config && *config ? g_strdup(config) : NULL;
        if (options)
                copy_options(options, ret);
        return 0;
}

/** runtime_choose() - of a new container, whose options have got the namespace's defaults */
int runtime_choose(const char *fallback, Options *o, Runtime *ret, sd_bus_error *error) {
        const char *name = o->runtime && *o->runtime ? o->runtime : fallback;
        int r = runtime_check_name(name, error);

        return r < 0 ? r : choose(name, o->runtime_options, o->runtime_config, ret, error);
}

/** runtime_change() - of a container that has one already; what is not given stays, but for another runtime */
int runtime_change(const Runtime *before, Options *o, Runtime *ret, sd_bus_error *error) {
        bool same = !o->runtime || !*o->runtime || streq(o->runtime, before->name);
        const Runtime *options = o->runtime_options ?: same && !runtime_is_own(before->name) ? before : NULL;
        const char *config = o->runtime_config ?: same ? before->config : NULL;
        int r = same ? 0 : runtime_check_name(o->runtime, error);

        return r < 0 ? r : choose(same ? before->name : o->runtime, options, config, ret, error);
}

/** runtime_save() - into a container's record */
void runtime_save(const Runtime *r, JsonObject *record) {
        JsonObject *o;

        json_object_set_string_member(record, "runtime", r->name);
        if (runtime_is_own(r->name))
                return;
        o = json_object_new();
        if (r->binary_name)
                json_object_set_string_member(o, "binary_name", r->binary_name);
        if (r->root)
                json_object_set_string_member(o, "root", r->root);
        if (r->arguments)
                record_set_strv(o, "arguments", (const char *const *)r->arguments);
        json_object_set_int_member(o, "no_pivot_root", r->no_pivot_root);
        json_object_set_int_member(o, "no_new_keyring", r->no_new_keyring);
        if (r->config)
                json_object_set_string_member(o, "config", r->config);
        json_object_set_object_member(record, "runtime_options", o);
}

static char *dup_member(JsonObject *o, const char *key) {
        const char *s;

        return record_get_string(o, key, &s) >= 0 ? g_strdup(s) : NULL;
}

/** runtime_load() - from a container's record */
int runtime_load(JsonObject *record, Runtime *ret) {
        JsonNode *node = json_object_get_member(record, "runtime_options");
        uint64_t pivot = 0, keyring = 0;
        JsonObject *o;

        *ret = (Runtime){ .name = dup_member(record, "runtime") };
        if (!ret->name)
                ret->name = g_strdup(RUNTIME_OWN);
        if (!runtime_name_valid(ret->name))
                return -EBADMSG;
        if (!node || !JSON_NODE_HOLDS_OBJECT(node))
                return 0;
        o = json_node_get_object(node);
        ret->binary_name = dup_member(o, "binary_name");
        ret->root = dup_member(o, "root");
        ret->config = dup_member(o, "config");
        (void)record_get_strv(o, "arguments", &ret->arguments);
        (void)record_get_u64(o, "no_pivot_root", &pivot);
        (void)record_get_u64(o, "no_new_keyring", &keyring);
        ret->no_pivot_root = pivot > 0;
        ret->no_new_keyring = keyring > 0;
        return check_options(ret, NULL) < 0 ? -EBADMSG : 0;
}

/** runtime_plan_done() - frees what runtime_plan() has filled in */
void runtime_plan_done(RuntimePlan *p) {
        g_free(p->root);
        *p = (RuntimePlan){};
}

/** runtime_plan() - what the plan says of it; borrows from r. A runtime's records are apart from those of every other
 * namespace, and from whoever else uses that runtime. */
void runtime_plan(const Runtime *r, const char *ns, RuntimePlan *ret) {
        g_autofree char *base = g_path_get_basename(r->name);

        *ret = (RuntimePlan){
                .plan = { .program = r->binary_name ?: r->name,
                          .arguments = (const char *const *)r->arguments,
                          .config = r->config },
                .root = r->root ? g_strdup_printf("%s/davit-%s", r->root, ns)
                                : g_strdup_printf(RUNTIME_DIR "/" RUNTIME_RECORDS "/%s/%s", base, ns),
                .flags = (r->no_pivot_root ? PLAN_NO_PIVOT : 0) | (r->no_new_keyring ? PLAN_KEEP_KEYRING : 0),
        };
        ret->plan.root = ret->root;
}

/* The last line that tells of an error. Source: the log formats of runc (logrus) and crun. */
static char *last_error(char *text) {
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
        char *found = NULL;

        for (char **line = lines; *line; line++) {
                g_autoptr(JsonNode) node = **line ? spec_parse(*line, strlen(*line), NULL) : NULL;
                const char *level = "error", *message;

                if (!node || !JSON_NODE_HOLDS_OBJECT(node))
                        continue;
                (void)record_get_string(json_node_get_object(node), "level", &level);
                if ((streq(level, "error") || streq(level, "fatal")) &&
                    record_get_string(json_node_get_object(node), "msg", &message) >= 0) {
                        g_free(found);
                        found = g_strdup(message);
                }
        }
        if (found)
                g_strchomp(g_strdelimit(found, "\n\r\t", ' '));
        return found;
}

/** runtime_failure() - why the runtime says it has failed just now; the file with it goes. The caller's */
char *runtime_failure(Task *t, const char *exec_id) {
        g_autofree char *name = *exec_id ? g_strdup_printf(RUNTIME_EXEC_LOG, exec_id) : g_strdup(RUNTIME_LOG);
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = -1;

        if (runtime_is_own(t->runtime))
                return NULL;
        fd = task_dir_open(t->ns->manager, t->ns->name, t->id, false);
        if (fd < 0 || file_read_at(fd, name, LOG_MAX, &text, NULL) < 0)
                return NULL;
        (void)unlinkat(fd, name, 0);
        return last_error(text);
}

static bool contains_one(const char *text, const char *const *words) {
        for (; *words; words++)
                if (strstr(text, *words))
                        return true;
        return false;
}

/** runtime_failure_kind() - whether the program that was to be run is what is wrong, by a runtime's words.
 * Source: what messages of runc, davit-oci and crun begin with, and the C library's words for errors. */
ErrorKind runtime_failure_kind(const char *words) {
        static const char *const of_program[] = { "exec: \"", "command: ", "exec container process", "executable file",
                                                  "open executable", NULL };
        static const char *const missing[] = { "not found", "no such file or directory", NULL };
        static const char *const denied[] = { "permission denied", "operation not permitted", "is a directory",
                                              "exec format error", NULL };
        g_autofree char *text = words ? g_ascii_strdown(words, -1) : NULL;

        if (!text || !contains_one(text, of_program))
                return ERROR_FAILED_PRECONDITION;
        if (contains_one(text, missing))
                return ERROR_NOT_FOUND;
        return contains_one(text, denied) ? ERROR_PERMISSION_DENIED : ERROR_FAILED_PRECONDITION;
}

/** runtime_records_remove() - what a runtime that was killed has left in the directory that is ours; runtime_fd:
 * /run/davit */
void runtime_records_remove(int runtime_fd, const char *name, const char *ns, const char *id) {
        g_autofree char *base = g_path_get_basename(name);
        g_autofree char *path = g_strdup_printf(RUNTIME_RECORDS "/%s/%s", base, ns);
        _cleanup_close_ int fd = openat(runtime_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

        if (fd >= 0)
                (void)tree_remove_at(fd, id); /* its directory stays: the next one may be on its way there */
}
