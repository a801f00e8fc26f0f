/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The Manager's methods that bring images in and out: ImportImage, PullImage and SaveImages.
 *
 * Archives are descriptors, and only looked at from outside here: what kind of file it is, and whether it is open for
 * what is to be done. What is in them is for the store worker alone.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/image-bus.h"
#include "daemon/image-store.h"
#include "daemon/job-bus.h"
#include "daemon/lease.h"
#include "daemon/pull.h"
#include "shared/image-name.h"
#include "shared/macros.h"
#include "shared/name.h"
#include "shared/registry-protocol.h"

#define SAVE_NAMES_MAX 1024U

/* What an archive may be: something to read or write, not merely a path. */
static int check_archive(int fd, bool output, uint64_t *ret_size, sd_bus_error *error) {
        socklen_t size = sizeof(int);
        int flags, type = 0;
        struct stat st;

        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fstat(fd, &st) < 0)
                return error_set_errno(error, -errno, "The archive's descriptor cannot be used");
        if (flags & O_PATH)
                return error_invalid(error, "The archive's descriptor was opened with O_PATH; open it for %s.",
                                     output ? "writing" : "reading");
        if (!S_ISDIR(st.st_mode) && (flags & O_ACCMODE) == (output ? O_RDONLY : O_WRONLY))
                return error_invalid(error, "The archive's descriptor is not open for %s.",
                                     output ? "writing" : "reading");

        *ret_size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
        if (S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode) || S_ISDIR(st.st_mode))
                return 0;
        if (S_ISCHR(st.st_mode) && output && !isatty(fd)) /* /dev/null, a tape */
                return 0;
        if (S_ISSOCK(st.st_mode) && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) >= 0 && type == SOCK_STREAM)
                return 0;
        return error_invalid(error, "The archive has to be a regular file, a pipe, a stream socket, %s.",
                             output ? "a device that is no terminal, or a directory for an OCI layout"
                                    : "or a directory that holds an OCI layout");
}

/* ---- ImportImage ---- */

typedef struct ImportArgs {
        char *format, *platform, *lease, *rootfs, *policy;
        int authorization;
        uint64_t limits[_LIMIT_MAX];
} ImportArgs;
#define IMPORT_ARGS_NULL                                                                                               \
        { .authorization = -1 }

enum { IMPORT = 1, PULL = 2 };

static void import_args_done(ImportArgs *args) {
        g_free(args->format);
        g_free(args->platform);
        g_free(args->lease);
        g_free(args->rootfs);
        g_free(args->policy);
        (void)safe_close(args->authorization);
}

static int set_limit(ImportArgs *args, const char *name, uint64_t value, sd_bus_error *error) {
        for (ConfigLimit l = 0; l < _LIMIT_MAX; l++) {
                if (!streq(name, config_limit_name(l)))
                        continue;
                if (value == 0 || value > config_limit_max(l))
                        return error_invalid(error, "Limit %s is from 1 to %" PRIu64 ".", name, config_limit_max(l));
                args->limits[l] = value;
                return 0;
        }
        return error_invalid(error, "There is no limit \"%s\".", name);
}

static int read_limits(sd_bus_message *m, const BusOption *o _unused_, void *data, sd_bus_error *error) {
        const char *name;
        uint64_t value;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{st}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "{st}", &name, &value)) > 0) {
                r = set_limit(data, name, value, error);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* "all", or "os/arch" or "os/arch/variant", in lower-case words. */
static bool platform_valid(const char *s) {
        g_auto(GStrv) parts = g_strsplit(s, "/", 4);
        guint n = g_strv_length(parts);

        if (streq(s, "all"))
                return true;
        if (n < 2 || n > 3)
                return false;
        for (guint i = 0; i < n; i++)
                if (!*parts[i] || strlen(parts[i]) > 32 ||
                    strspn(parts[i], "abcdefghijklmnopqrstuvwxyz0123456789._-") != strlen(parts[i]))
                        return false;
        return true;
}

/* "auto" is what this host mounts, now and after a change of its kernel. */
static int check_rootfs(const char *word, const char **ret, sd_bus_error *error) {
        static const char *const words[] = { "auto", "erofs", "checkout", "none", NULL };

        if (word && !g_strv_contains(words, word))
                return error_invalid(
                        error, "RootFilesystem \"%s\" is not known; it is one of auto, erofs, checkout, none.", word);
        *ret = word && !streq(word, "auto") ? word : NULL;
        return 0;
}

static int check_options(const ImportArgs *args, ImportOptions *options, sd_bus_error *error) {
        static const char *const formats[] = { "auto", "oci", "docker", "rootfs", NULL };
        int r;

        options->format = args->format ?: "auto";
        options->platform = args->platform;
        options->lease = args->lease;
        memcpy(options->limits, args->limits, sizeof(options->limits));
        r = check_rootfs(args->rootfs, &options->rootfs, error);
        if (r < 0)
                return r;
        if (!g_strv_contains(formats, options->format))
                return error_invalid(error, "Format \"%s\" is not known; it is one of auto, oci, docker, rootfs.",
                                     options->format);
        if (streq(options->format, "rootfs") && !options->name)
                return error_invalid(error, "A root file system archive holds no name; give one.");
        if (args->platform && !platform_valid(args->platform))
                return error_invalid(error, "Platform \"%s\" is not of the form os/arch[/variant].", args->platform);
        return 0;
}

static int check_lease(Manager *m, const char *ns_name, const char *id, sd_bus_error *error) {
        Namespace *ns;
        Lease *lease;
        int r;

        r = manager_namespace(m, ns_name, false, &ns, error);
        return r < 0 ? r : lease_find(ns, id, &lease, error);
}

static int import_call(Manager *m, const char *ns, const char *name, int fd, const ImportArgs *args, Job **ret,
                       sd_bus_error *error) {
        _cleanup_free_ char *whole = NULL;
        ImportOptions options = { 0 };
        int r;

        if (!*ns)
                ns = DAVIT_DEFAULT_NAMESPACE;
        r = manager_check_namespace(ns, error);
        if (r < 0)
                return r;
        if (*name && image_name_normalise(name, &whole) < 0)
                return error_invalid(error, "\"%s\" is not a valid image name: %s.", name, image_name_why(name));
        options.name = whole;
        r = check_options(args, &options, error);
        if (r >= 0 && options.lease)
                r = check_lease(m, ns, options.lease, error);
        if (r >= 0)
                r = check_archive(fd, false, &options.size, error);
        return r < 0 ? r : image_import_begin(m, ns, fd, &options, ret, error);
}

static int read_options(sd_bus_message *m, unsigned mask, ImportArgs *args, sd_bus_error *error) {
        static const BusOption table[] = {
                { "Format", "s", offsetof(ImportArgs, format), IMPORT, NULL },
                { "Platform", "s", offsetof(ImportArgs, platform), IMPORT | PULL, NULL },
                { "Limits", "a{st}", 0, IMPORT | PULL, read_limits },
                { "Lease", "s", offsetof(ImportArgs, lease), IMPORT | PULL, bus_read_named },
                { "RootFilesystem", "s", offsetof(ImportArgs, rootfs), IMPORT | PULL, NULL },
                { "Policy", "s", offsetof(ImportArgs, policy), PULL, NULL },
                { "Authorization", "h", offsetof(ImportArgs, authorization), PULL, NULL },
        };

        return bus_options_read(m, table, ELEMENTSOF(table), mask, args, error);
}

/** method_import_image() - Manager.ImportImage */
int method_import_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(import_args_done) ImportArgs args = IMPORT_ARGS_NULL;
        const char *ns, *name;
        Job *job = NULL;
        int fd, r;

        r = sd_bus_message_read(m, "ssh", &ns, &name, &fd);
        if (r >= 0)
                r = read_options(m, IMPORT, &args, error);
        if (r >= 0)
                r = import_call(userdata, ns, name, fd, &args, &job, error);
        return r < 0 ? r : job_bus_reply_path(job, m);
}

/* ---- PullImage ---- */

/* A registry worker reads it by offset, perhaps twice; nobody else looks at what is in it. */
static int check_authorization(int fd, sd_bus_error *error) {
        struct stat st;
        int flags;

        if (fd < 0)
                return 0;
        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fstat(fd, &st) < 0)
                return error_set_errno(error, -errno, "The descriptor of Authorization cannot be used");
        if (!S_ISREG(st.st_mode) || flags & O_PATH || (flags & O_ACCMODE) == O_WRONLY ||
            st.st_size > (off_t)REGISTRY_CREDENTIALS_MAX)
                return error_invalid(
                        error, "Authorization has to be a file or memfd that is open for reading, of at most %u bytes.",
                        REGISTRY_CREDENTIALS_MAX);
        return 0;
}

static int check_name(const Manager *m, const char *name, char **ret, sd_bus_error *error) {
        const char *registry = m->config.registry ?: "";
        _cleanup_free_ char *whole = NULL;

        if (image_name_normalise(name, &whole) < 0)
                return error_invalid(error, "\"%s\" is not a valid image name: %s.", name, image_name_why(name));
        if (digest_valid(name))
                return error_invalid(error,
                                     "\"%s\" is a digest alone; say of which repository, as in "
                                     "registry.example/team/app@%s.",
                                     name, name);
        if (digest_part(name))
                return error_invalid(error,
                                     "\"%s\" is a part of a digest, and a registry knows whole ones only: write "
                                     "registry.example/team/app@sha256: and 64 digits.",
                                     name);
        if (!*registry && image_name_host(name) == 0)
                return error_invalid(error,
                                     "\"%s\" does not say which registry it is to come from: write HOST/%s, or set "
                                     "[Registry] Default= (davit.conf(5)).",
                                     name, name);
        if (image_name_qualify(name, registry, ret) < 0)
                return error_invalid(error, "\"%s\" is too long with its registry in front.", name);
        return 0;
}

static int pull_call(Manager *m, const char *ns, const char *name, const ImportArgs *args, Job **ret,
                     sd_bus_error *error) {
        PullOptions options = { .typed = name, .authorization = args->authorization };
        const char *policy = args->policy ?: "always";
        _cleanup_free_ char *whole = NULL;
        int r;

        if (!*ns)
                ns = DAVIT_DEFAULT_NAMESPACE;
        r = manager_check_namespace(ns, error);
        if (r < 0)
                return r;
        options.missing = streq(policy, "missing");
        if (!options.missing && !streq(policy, "always"))
                return error_invalid(error, "Policy \"%s\" is not known; it is missing or always.", policy);
        r = check_name(m, name, &whole, error);
        options.image.name = whole;
        if (r >= 0)
                r = check_options(args, &options.image, error);
        if (r >= 0 && options.image.lease)
                r = check_lease(m, ns, options.image.lease, error);
        if (r >= 0)
                r = check_authorization(args->authorization, error);
        return r < 0 ? r : pull_begin(m, ns, &options, ret, error);
}

/** method_pull_image() - Manager.PullImage */
int method_pull_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(import_args_done) ImportArgs args = IMPORT_ARGS_NULL;
        const char *ns, *name;
        Job *job = NULL;
        int r;

        r = sd_bus_message_read(m, "ss", &ns, &name);
        if (r >= 0)
                r = read_options(m, PULL, &args, error);
        if (r >= 0)
                r = pull_call(userdata, ns, name, &args, &job, error);
        return r < 0 ? r : job_bus_reply_path(job, m);
}

/* ---- SaveImages ---- */

typedef struct SaveArgs {
        char *format, *compression;
} SaveArgs;

static void save_args_done(SaveArgs *args) {
        g_free(args->format);
        g_free(args->compression);
}

static int check_save(char **names, const SaveArgs *args, SaveOptions *options, sd_bus_error *error) {
        static const char *const formats[] = { "oci", "docker", "rootfs", NULL };
        static const char *const compressions[] = { "none", "gzip", "zstd", NULL };
        guint n = names ? g_strv_length(names) : 0;

        options->format = args->format ?: "oci";
        options->compression = args->compression ?: "none";
        if (n == 0 || n > SAVE_NAMES_MAX)
                return error_invalid(error, "From 1 to %u names of images have to be given.", SAVE_NAMES_MAX);
        if (!g_strv_contains(formats, options->format))
                return error_invalid(error, "Format \"%s\" is not known; it is one of oci, docker, rootfs.",
                                     options->format);
        if (!g_strv_contains(compressions, options->compression))
                return error_invalid(error, "Compression \"%s\" is not known; it is one of none, gzip, zstd.",
                                     options->compression);
        return 0;
}

/** method_save_images() - Manager.SaveImages */
int method_save_images(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = {
                { "Format", "s", offsetof(SaveArgs, format), 1, NULL },
                { "Compression", "s", offsetof(SaveArgs, compression), 1, NULL },
        };
        _cleanup_(save_args_done) SaveArgs args = { 0 };
        g_auto(GStrv) names = NULL;
        SaveOptions options;
        const char *ns_name;
        uint64_t size;
        Namespace *ns;
        Job *job;
        int fd, r;

        r = sd_bus_message_read(m, "s", &ns_name);
        if (r >= 0)
                r = sd_bus_message_read_strv(m, &names);
        if (r >= 0)
                r = sd_bus_message_read(m, "h", &fd);
        if (r >= 0)
                r = bus_options_read(m, table, ELEMENTSOF(table), 1, &args, error);
        if (r >= 0)
                r = check_save(names, &args, &options, error);
        if (r >= 0)
                r = check_archive(fd, true, &size, error);
        if (r >= 0)
                r = manager_namespace(userdata, ns_name, false, &ns, error);
        if (r >= 0)
                r = image_save_begin(ns, names, fd, &options, &job, error);
        return r < 0 ? r : job_bus_reply_path(job, m);
}
