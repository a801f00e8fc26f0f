/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What an image may be called.
 *
 * The grammar is that of the OCI distribution specification and of docker's references, a little wider in what may
 * stand between letters and digits. A repository is in lower case; a host and a tag need not be. A name without tag and
 * digest means ":latest". Nothing else is added: no registry and no "library/", so what a user typed is what a list
 * shows; only who asks a registry completes a name. Names come from archives, that is from strangers; one that is valid
 * here holds no control character, no space and no ".." component. This file never touches an image.
 */

#include "shared/image-name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/macros.h"

#define DIGEST_PREFIX "sha256:"
#define DIGEST_HEX 64U
#define DOCKER_HOST "docker.io"

/* isalnum() of the C locale, whatever the locale is. */
static bool is_alnum(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/** digest_valid() - "sha256:" and 64 lower-case hexadecimal digits, the only form of a digest that is taken */
bool digest_valid(const char *s) {
        if (strncmp(s, DIGEST_PREFIX, strlen(DIGEST_PREFIX)) != 0)
                return false;

        s += strlen(DIGEST_PREFIX);
        return strlen(s) == DIGEST_HEX && strspn(s, "0123456789abcdef") == DIGEST_HEX;
}

/** digest_part() - whether this is the beginning of a digest and not all of it: "sha256:" and fewer digits */
bool digest_part(const char *s) {
        size_t n;

        if (strncmp(s, DIGEST_PREFIX, strlen(DIGEST_PREFIX)) != 0)
                return false;

        s += strlen(DIGEST_PREFIX);
        n = strlen(s);
        return n > 0 && n < DIGEST_HEX && strspn(s, "0123456789abcdef") == n;
}

static bool tag_valid(const char *s, size_t size) {
        if (size == 0 || size > IMAGE_TAG_MAX || s[0] == '.' || s[0] == '-')
                return false;

        for (size_t i = 0; i < size; i++)
                if (!is_alnum(s[i]) && !strchr("._-", s[i]))
                        return false;
        return true;
}

/* One part between slashes: letters, digits and, between them, the separators. */
static bool component_valid(const char *s, size_t size) {
        if (size == 0 || !is_alnum(s[0]) || !is_alnum(s[size - 1]))
                return false;

        for (size_t i = 0; i < size; i++) {
                if (!is_alnum(s[i]) && !strchr("._-", s[i]))
                        return false;
                if (s[i] == '.' && s[i + 1] == '.' && i + 1 < size)
                        return false;
        }
        return true;
}

/* "host:5000": a port is only possible where a slash follows. */
static bool host_valid(const char *s, size_t size) {
        const char *colon = memchr(s, ':', size);
        size_t digits;

        if (!colon)
                return component_valid(s, size);

        digits = size - (size_t)(colon - s) - 1;
        return component_valid(s, (size_t)(colon - s)) && digits >= 1 && digits <= 5 &&
               strspn(colon + 1, "0123456789") == digits;
}

static bool has_upper(const char *s, size_t size) {
        for (size_t i = 0; i < size; i++)
                if (s[i] >= 'A' && s[i] <= 'Z')
                        return true;
        return false;
}

/* @upper: upper case is let through, to tell that this alone is wrong */
static bool path_valid(const char *s, size_t size, bool upper) {
        bool first = true;

        for (;;) {
                const char *slash = memchr(s, '/', size);
                size_t n = slash ? (size_t)(slash - s) : size;

                if (first && slash ? !host_valid(s, n) : !component_valid(s, n) || (!upper && has_upper(s, n)))
                        return false;
                if (!slash)
                        return true;

                size -= n + 1;
                s = slash + 1;
                first = false;
        }
}

/* The colon before the tag: the last one, when no slash follows it. */
static const char *find_tag(const char *name, size_t size) {
        const char *colon = memrchr(name, ':', size);

        return colon && !memchr(colon, '/', size - (size_t)(colon - name)) ? colon : NULL;
}

/* A whole name: with a tag or without, with a digest or without. */
static bool name_valid(const char *name, bool upper) {
        const char *at, *tag;
        size_t size = strlen(name);

        if (size == 0 || size > IMAGE_NAME_MAX)
                return false;

        at = strchr(name, '@');
        if (at) {
                if (!digest_valid(at + 1))
                        return false;
                size = (size_t)(at - name);
        }
        tag = find_tag(name, size);
        if (tag) {
                if (!tag_valid(tag + 1, size - (size_t)(tag - name) - 1))
                        return false;
                size = (size_t)(tag - name);
        }
        return path_valid(name, size, upper);
}

/** image_name_why() - why image_name_normalise() has refused a name, for people, after a colon */
const char *image_name_why(const char *name) {
        const char *at = strchr(name, '@');

        if (at && !digest_valid(at + 1))
                return "after @ there has to be a whole digest, sha256: and 64 digits; a part of one stands alone";
        if (!name_valid(name, false) && name_valid(name, true))
                return "a repository is written in lower case";
        return "at most " IMAGE_NAME_MAX_TEXT " letters, digits and ._-/:@ as in registry.example:5000/team/app:1.0";
}

/**
 * image_name_normalise() - the name under which an image is kept
 * @ret: @name, with ":latest" where it has neither tag nor digest; to be freed
 *
 * Return: 0, -EINVAL when it is not valid, or -ENOMEM.
 */
int image_name_normalise(const char *name, char **ret) {
        static const char latest[] = ":latest";
        size_t size = strlen(name);
        char *whole;

        if (!name_valid(name, false))
                return -EINVAL;
        if (strchr(name, '@') || find_tag(name, size)) {
                whole = strdup(name);
        } else {
                if (size + strlen(latest) > IMAGE_NAME_MAX)
                        return -EINVAL;
                whole = malloc(size + sizeof(latest));
                if (whole) {
                        memcpy(whole, name, size);
                        memcpy(whole + size, latest, sizeof(latest));
                }
        }
        if (!whole)
                return -ENOMEM;

        *ret = whole;
        return 0;
}

/** image_name_repository() - the size of a name without tag and digest */
size_t image_name_repository(const char *name) {
        size_t size = strcspn(name, "@");
        const char *slash = memrchr(name, '/', size), *base = slash ? slash + 1 : name;
        const char *colon = memchr(base, ':', size - (size_t)(base - name));

        return colon ? (size_t)(colon - name) : size;
}

/** image_name_host() - the size of the registry a name begins with, 0 where it names none: "localhost", or a first part
 * with a dot, a colon or a capital in it, as docker's references have it */
size_t image_name_host(const char *name) {
        const char *slash = strchr(name, '/');
        size_t n = slash ? (size_t)(slash - name) : 0;

        for (size_t i = 0; i < n; i++)
                if (name[i] == '.' || name[i] == ':' || (name[i] >= 'A' && name[i] <= 'Z'))
                        return n;
        return n == strlen("localhost") && strncmp(name, "localhost", n) == 0 ? n : 0;
}

static bool ends_with(const char *name, size_t size, const char *wanted) {
        size_t n = strlen(wanted);

        return size >= n && memcmp(name + size - n, wanted, n) == 0 && (size == n || name[size - n - 1] == '/');
}

/** image_name_matches() - whether a name is what somebody looks for: the whole of it, or without its tag, its registry
 * or what else stands before a slash */
bool image_name_matches(const char *name, const char *wanted) {
        return ends_with(name, strlen(name), wanted) || ends_with(name, image_name_repository(name), wanted);
}

/**
 * image_name_qualify() - the name in full, as a registry is asked for it
 * @registry: HOST[:PORT], put in front of a name without one
 * @ret: in the form image_name_normalise() gives; to be freed
 *
 * What docker.io has without a slash in its path is below "library/". Return: 0, -EINVAL or -ENOMEM.
 */
int image_name_qualify(const char *name, const char *registry, char **ret) {
        size_t own = image_name_host(name), host = own > 0 ? own : strlen(registry);
        const char *path = own > 0 ? name + own + 1 : name, *library = "";
        char *whole;
        int r;

        if (own > 0)
                registry = name;
        if (host == strlen(DOCKER_HOST) && strncmp(registry, DOCKER_HOST, host) == 0 && !strchr(path, '/'))
                library = "library/";
        if (asprintf(&whole, "%.*s/%s%s", (int)host, registry, library, path) < 0)
                return -ENOMEM;
        r = image_name_normalise(whole, ret);
        free(whole);
        return r;
}

/** image_registry_valid() - HOST or HOST:PORT, as it may stand before the first slash of a name */
bool image_registry_valid(const char *s) {
        return strlen(s) <= IMAGE_NAME_MAX && host_valid(s, strlen(s));
}
