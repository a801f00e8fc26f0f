/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who we are to a registry: user and password for the host of an image, from the files in which podman, skopeo and
 * docker keep them, or from stdin. They leave in a memory file, never in an argument or a message, and name the host
 * they are for, so that nobody else is shown them. No credential helper is run and no file is written.
 */

#include "ctl/auth.h"

#include <fcntl.h>

#include "ctl/json.h"
#include "shared/fd.h"
#include "shared/image-name.h"
#include "shared/utf8.h"

#define AUTH_FILE_MAX ((size_t)1 << 20)
#define AUTH_LINE_MAX 8192U
#define DOCKER_HUB "docker.io"

/** auth_host() - the registry of an image's name, to free; that of docker's where it names none. */
char *auth_host(const char *image) {
        size_t n = image_name_host(image);

        return n > 0 ? strndup(image, n) : strdup(DOCKER_HUB);
}

/* Host and repository, without tag and digest: what the keys of a file may be the beginning of. */
static char *repository_of(const char *image) {
        size_t n = image_name_repository(image), host = image_name_host(image);
        bool official = host == 0 && !memchr(image, '/', n);

        return text_printf("%s%s%.*s", host > 0 ? "" : DOCKER_HUB "/", official ? "library/" : "", (int)n, image);
}

/* A key as docker and podman write them ("https://index.docker.io/v1/", "quay.io/team"), as host and path. */
static char *key_normalise(const char *key) {
        static const char *const schemes[] = { "https://", "http://" };
        static const char *const ends[] = { "/", "/v1", "/v2" };
        static const char *const hub[] = { "index.docker.io", "registry-1.docker.io", DOCKER_HUB };
        size_t n;

        for (size_t i = 0; i < ELEMENTSOF(schemes); i++)
                if (strncmp(key, schemes[i], strlen(schemes[i])) == 0)
                        key += strlen(schemes[i]);
        n = strlen(key);
        for (size_t i = 0; i < ELEMENTSOF(ends); i++) {
                size_t size = strlen(ends[i]);

                if (n > size && strncmp(key + n - size, ends[i], size) == 0)
                        n -= size;
        }
        for (size_t i = 0; i < ELEMENTSOF(hub); i++) {
                size_t size = strlen(hub[i]);

                if (n >= size && strncmp(key, hub[i], size) == 0 && (n == size || key[size] == '/'))
                        return text_printf(DOCKER_HUB "%.*s", (int)(n - size), key + size);
        }
        return strndup(key, n);
}

/* How much of a repository a key stands for; 0: it is for another. */
static size_t key_matches(const char *key, const char *repository) {
        _cleanup_free_ char *normal = key_normalise(key);
        size_t n = normal ? strlen(normal) : 0;

        if (n == 0 || strncmp(normal, repository, n) != 0)
                return 0;
        return repository[n] == '\0' || repository[n] == '/' ? n : 0;
}

/* The member of an object whose key stands for the most of a repository. */
static const char *best_member(const char *object, const char *repository) {
        const char *at = object, *value, *best = NULL;
        size_t most = 0;
        char *name;

        while (at && json_next(&at, &name, &value)) {
                size_t n = key_matches(name, repository);

                if (n > most) {
                        most = n;
                        best = value;
                }
                free(name);
        }
        return best;
}

/**
 * auth_search() - what a file says about an image's registry.
 * @ret_auth: "USER:PASSWORD" in base64; @ret_helper: the credential helper that would know, where it is not in the
 * file. Both to free, NULL where there is none.
 *
 * Returns 0, -EBADMSG where the text is no such file, -ENOMEM.
 */
int auth_search(const char *text, const char *image, char **ret_auth, char **ret_helper) {
        _cleanup_free_ char *repository = repository_of(image);
        const char *entry, *helper;

        if (!repository)
                return -ENOMEM;
        if (!text || !json_whole(text) || text[strspn(text, " \t\r\n")] != '{')
                return -EBADMSG;
        entry = best_member(json_find(text, "auths"), repository);
        *ret_auth = json_text(json_find(entry, "auth"));
        if (*ret_auth && **ret_auth == '\0')
                free(TAKE_PTR(*ret_auth));
        if (*ret_auth)
                return 0;
        helper = best_member(json_find(text, "credHelpers"), repository);
        *ret_helper = json_text(helper ?: json_find(text, "credsStore"));
        if (*ret_helper && **ret_helper == '\0')
                free(TAKE_PTR(*ret_helper));
        return 0;
}

static int base64_digit(char c) {
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const char *at = c != '\0' ? strchr(digits, c) : NULL;

        return at ? (int)(at - digits) : -1;
}

/** auth_decode() - the text that base64 stands for, to free; NULL where it is none. */
char *auth_decode(const char *base64) {
        size_t size = strcspn(base64, "="), out = 0;
        _cleanup_free_ char *text = malloc(size * 3 / 4 + 1);
        uint32_t bits = 0;

        if (!text || size % 4 == 1 || base64[size + strspn(base64 + size, "=")] != '\0')
                return NULL;
        for (size_t i = 0; i < size; i++) {
                int digit = base64_digit(base64[i]);

                if (digit < 0)
                        return NULL;
                bits = bits << 6 | (uint32_t)digit;
                if (i % 4 != 0)
                        text[out++] = (char)(bits >> (6 - i % 4 * 2));
        }
        text[out] = '\0';
        return strlen(text) == out ? TAKE_PTR(text) : NULL;
}

static bool put_json(FILE *f, const char *s, size_t n) {
        (void)fputc('"', f);
        for (size_t i = 0; i < n;) {
                size_t size = utf8_length(s + i);

                if (size == 0)
                        return false;
                if (s[i] == '"' || s[i] == '\\' || (unsigned char)s[i] < 0x20)
                        (void)fprintf(f, "\\u%04x", (unsigned)s[i]);
                else
                        (void)fwrite(s + i, 1, size, f);
                i += size;
        }
        (void)fputc('"', f);
        return true;
}

/** auth_document() - what the manager takes, to free; NULL where "USER:PASSWORD" is none, with EINVAL, or no memory. */
char *auth_document(const char *host, const char *credentials) {
        const char *colon = strchr(credentials, ':');
        char *text = NULL;
        size_t size;
        bool good;
        FILE *f;

        if (!colon || colon == credentials)
                return errno = EINVAL, NULL;
        f = open_memstream(&text, &size);
        if (!f)
                return NULL;
        (void)fputs("{\"registry\":", f);
        good = put_json(f, host, strlen(host));
        (void)fputs(",\"username\":", f);
        good = good && put_json(f, credentials, (size_t)(colon - credentials));
        (void)fputs(",\"password\":", f);
        good = good && put_json(f, colon + 1, strlen(colon + 1));
        (void)fputs("}", f);
        if (fclose(f) == 0 && good)
                return text;
        free(text);
        return errno = good ? ENOMEM : EINVAL, NULL;
}

/* Keeps credentials for the manager. @where: what to name when they are none. */
static int auth_take(Ctl *ctl, Auth *auth, const char *where, const char *image, char *credentials) {
        _cleanup_free_ char *document = NULL;

        auth->host = auth_host(image);
        auth->from = strdup(where);
        if (!auth->host || !auth->from)
                return ctl_oom(ctl);
        document = auth_document(auth->host, credentials);
        explicit_bzero(credentials, strlen(credentials));
        if (!document && errno == EINVAL)
                return ctl_error(ctl, _("%s: what it has for %s is not USER:PASSWORD"), where, auth->host);
        if (!document)
                return ctl_oom(ctl);
        auth->fd = memfd_sealed("authorization", document, strlen(document));
        explicit_bzero(document, strlen(document));
        return auth->fd < 0 ? ctl_error(ctl, _("cannot make a memory file: %s"), strerror(-auth->fd)) : 0;
}

static int auth_from_text(Ctl *ctl, Auth *auth, const char *file, const char *image, const char *text) {
        _cleanup_free_ char *base64 = NULL, *credentials = NULL, *helper = NULL;
        int r;

        r = auth_search(text, image, &base64, &helper);
        if (r == -EBADMSG)
                return ctl_error(ctl, _("'%s' is no file with credentials: it is not JSON"), file);
        if (r < 0)
                return ctl_oom(ctl);
        if (!auth->ignored)
                auth->ignored = TAKE_PTR(helper);
        if (!base64)
                return 0;
        credentials = auth_decode(base64);
        return auth_take(ctl, auth, file, image, credentials ?: base64);
}

/* Looks into one file. @must: it has been named, so it has to be there. */
static int auth_from_file(Ctl *ctl, Auth *auth, const char *file, bool must, const char *image) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = -1;
        size_t size = 0;
        int r;

        fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0 && !must && (errno == ENOENT || errno == ENOTDIR || errno == EACCES))
                return 0;
        r = fd < 0 ? -errno : fd_read_bounded(fd, AUTH_FILE_MAX, &text, &size);
        if (r < 0)
                return ctl_error(ctl, _("cannot open '%s': %s"), file, strerror(-r));
        r = auth_from_text(ctl, auth, file, image, text);
        if (text)
                explicit_bzero(text, size);
        return r;
}

/* A path below a directory that the environment names; "" where it names none. */
static char *below(const char *directory, const char *path) {
        return directory && *directory == '/' ? text_printf("%s/%s", directory, path) : strdup("");
}

/**
 * auth_find() - credentials for the registry of an image.
 * @file: the only one to look into; NULL: where podman, skopeo and docker keep theirs, the first that has some.
 *
 * Returns 0, also where there are none, or an exit status after an error has been printed.
 */
int auth_find(Ctl *ctl, Auth *auth, const char *file, const char *image) {
        const char *runtime = getenv("XDG_RUNTIME_DIR"), *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
        char *files[] = {
                runtime ? below(runtime, "containers/auth.json") : strdup("/run/containers/0/auth.json"),
                config ? below(config, "containers/auth.json") : below(home, ".config/containers/auth.json"),
                below(getenv("DOCKER_CONFIG"), "config.json"),
                below(home, ".docker/config.json"),
        };
        int r = 0;

        file = file ?: getenv("REGISTRY_AUTH_FILE");
        if (file && *file)
                r = auth_from_file(ctl, auth, file, true, image);
        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                if (!files[i])
                        r = r != 0 ? r : ctl_oom(ctl);
                else if (r == 0 && auth->fd < 0 && *files[i] && (!file || !*file))
                        r = auth_from_file(ctl, auth, files[i], false, image);
                free(files[i]);
        }
        return r;
}

/* The first line of standard input, without waiting for what comes after it. Negative errno. */
static int read_line(char *line, size_t size) {
        size_t n = 0;

        for (;;) {
                ssize_t got = read(STDIN_FILENO, line + n, 1);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return -errno;
                if (got == 0 || line[n] == '\n')
                        break;
                if (++n == size)
                        return -EFBIG;
        }
        while (n > 0 && line[n - 1] == '\r')
                n--;
        line[n] = '\0';
        return 0;
}

/** auth_from_stdin() - USER:PASSWORD, one line. 0 or an exit status. */
int auth_from_stdin(Ctl *ctl, Auth *auth, const char *image) {
        char line[AUTH_LINE_MAX] = "";
        int r;

        r = read_line(line, sizeof(line));
        if (r < 0)
                r = ctl_error(ctl, _("cannot read standard input: %s"), strerror(-r));
        else
                r = auth_take(ctl, auth, _("standard input"), image, line);
        explicit_bzero(line, sizeof(line));
        return r;
}

/** auth_clear() - frees it. */
void auth_clear(Auth *auth) {
        free(auth->host);
        free(auth->from);
        free(auth->ignored);
        *auth = (Auth){ .fd = safe_close(auth->fd) };
}
