/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Looking into a JSON text: members of objects, one after the other or by name, and strings. Nothing is built in
 * memory, a value is the place in the text where it begins. A text is walked no further than it is asked for, and one
 * that is cut off or malformed on the way ends the walk; it is never taken for more than it says.
 */

#include "ctl/json.h"

static size_t blanks(const char *s) {
        return strspn(s, " \t\r\n");
}

/* What follows a string; NULL where it does not end. */
static const char *skip_string(const char *s) {
        for (s++; *s != '"'; s++)
                if (*s == '\0' || (*s == '\\' && *++s == '\0'))
                        return NULL;
        return s + 1;
}

/* What follows a value; NULL where it does not end. */
static const char *skip_value(const char *s) {
        unsigned depth = 0;

        do {
                s += blanks(s);
                if (*s == '"') {
                        s = skip_string(s);
                        if (!s)
                                return NULL;
                } else if (*s == '{' || *s == '[') {
                        depth++;
                        s++;
                } else if ((*s == '}' || *s == ']') && depth > 0) {
                        depth--;
                        s++;
                } else if ((*s == ',' || *s == ':') && depth > 0) {
                        s++;
                } else {
                        size_t n = strcspn(s, ",:{}[]\" \t\r\n");

                        if (n == 0)
                                return NULL;
                        s += n;
                }
        } while (depth > 0);
        return s;
}

static bool hex4(const char *s, uint32_t *ret) {
        *ret = 0;
        for (size_t i = 0; i < 4; i++) {
                const char *digits = "0123456789abcdef", *at;
                int c = s[i] >= 'A' && s[i] <= 'F' ? s[i] - 'A' + 'a' : s[i];

                at = c != '\0' ? strchr(digits, c) : NULL;
                if (!at)
                        return false;
                *ret = *ret << 4 | (uint32_t)(at - digits);
        }
        return true;
}

static char *put_utf8(char *out, uint32_t c) {
        if (c < 0x80) {
                *out++ = (char)c;
                return out;
        }
        if (c < 0x800)
                *out++ = (char)(0xc0 | c >> 6);
        else {
                if (c < 0x10000)
                        *out++ = (char)(0xe0 | c >> 12);
                else {
                        *out++ = (char)(0xf0 | c >> 18);
                        *out++ = (char)(0x80 | (c >> 12 & 0x3f));
                }
                *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        }
        *out++ = (char)(0x80 | (c & 0x3f));
        return out;
}

/* "uXXXX", and the second half of a pair where this is the first. Returns what follows, NULL where it is none. */
static const char *unescape_unicode(const char *s, char **out) {
        uint32_t c, low;

        if (!hex4(s + 1, &c) || c == 0)
                return NULL;
        s += 5;
        if (c >= 0xd800 && c < 0xe000) {
                if (c >= 0xdc00 || s[0] != '\\' || s[1] != 'u' || !hex4(s + 2, &low) || low < 0xdc00 || low > 0xdfff)
                        return NULL;
                c = 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00));
                s += 6;
        }
        *out = put_utf8(*out, c);
        return s;
}

/* What stands after a backslash. */
static const char *unescape(const char *s, char **out) {
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        const char *at;

        if (*s == 'u')
                return unescape_unicode(s, out);
        at = *s ? strchr(from, *s) : NULL;
        if (!at)
                return NULL;
        *(*out)++ = to[at - from];
        return s + 1;
}

/** json_text() - what a string means, to free; NULL where the value is none. */
char *json_text(const char *value) {
        _cleanup_free_ char *text = NULL;
        const char *s = value, *end;
        char *out;

        end = s && *s == '"' ? skip_string(s) : NULL;
        text = end ? malloc((size_t)(end - s)) : NULL;
        if (!text)
                return NULL;
        out = text;
        for (s++; s && s < end - 1;)
                if (*s == '\\')
                        s = unescape(s + 1, &out);
                else
                        *out++ = *s++;
        if (!s)
                return NULL; /* NOLINT(clang-analyzer-unix.Malloc): what out points into is freed as text */
        *out = '\0';
        return TAKE_PTR(text);
}

/**
 * json_next() - the next member of an object.
 * @at: the object at first, then what the last call has left.
 * @ret_name: to free; @ret_value: where the value begins.
 *
 * Returns whether there was one.
 */
bool json_next(const char **at, char **ret_name, const char **ret_value) {
        _cleanup_free_ char *name = NULL;
        const char *s = *at + blanks(*at), *value;

        if (*s != '{' && *s != ',')
                return false;
        s += 1 + blanks(s + 1);
        name = json_text(s);
        s = name ? skip_string(s) : NULL;
        if (!s || s[blanks(s)] != ':')
                return false;
        value = s + blanks(s) + 1;
        value += blanks(value);
        s = skip_value(value);
        if (!s)
                return false;
        *at = s + blanks(s);
        *ret_name = TAKE_PTR(name);
        *ret_value = value;
        return true;
}

/** json_find() - the value of a member of an object; NULL where there is none, or no object. */
const char *json_find(const char *object, const char *name) {
        const char *at = object ? object + blanks(object) : "", *value;
        char *found;

        if (*at != '{')
                return NULL;
        while (json_next(&at, &found, &value)) {
                bool same = streq(found, name);

                free(found);
                if (same)
                        return value;
        }
        return NULL;
}

/** json_whole() - whether a text is one value and nothing more. */
bool json_whole(const char *text) {
        const char *end = skip_value(text);

        return end && end[blanks(end)] == '\0';
}

/** json_find_true() - whether a member of a member of an object is true. */
bool json_find_true(const char *text, const char *object, const char *member) {
        const char *value = json_find(json_find(text, object), member);

        return value && strncmp(value, "true", 4) == 0;
}
