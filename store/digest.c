/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Digests: one algorithm, computed by OpenSSL (which knows the processor's instructions; GLib's own does not).
 *
 * A digest string from a manifest reaches paths and ref names only after digest_parse() has taken it apart. OpenSSL
 * cannot fail here for want of anything but memory, in which case the process ends as it does for any GLib allocation.
 */

#include "store/digest.h"

#include <string.h>

#include "store/error.h"

static const EVP_MD *digest_method(void) {
        static gsize method;

        if (g_once_init_enter(&method)) {
                EVP_MD *m = EVP_MD_fetch(NULL, "SHA256", NULL);

                if (!m)
                        g_error("OpenSSL has no SHA-256");
                g_once_init_leave(&method, (gsize)m);
        }
        return (const EVP_MD *)method;
}

void digest_init(Digest *d) {
        d->context = EVP_MD_CTX_new();
        if (!d->context || EVP_DigestInit_ex2(d->context, digest_method(), NULL) != 1)
                g_error("Cannot set up SHA-256");
}

void digest_update(Digest *d, const void *data, gsize size) {
        if (EVP_DigestUpdate(d->context, data, size) != 1)
                g_error("Cannot compute SHA-256");
}

void digest_final(Digest *d, guint8 ret[DIGEST_SIZE]) {
        unsigned size = DIGEST_SIZE;

        if (EVP_DigestFinal_ex(d->context, ret, &size) != 1 ||
            EVP_DigestInit_ex2(d->context, digest_method(), NULL) != 1)
                g_error("Cannot compute SHA-256");
}

void digest_done(Digest *d) {
        g_clear_pointer(&d->context, EVP_MD_CTX_free);
}

void digest_bytes(const void *data, gsize size, guint8 ret[DIGEST_SIZE]) {
        g_auto(Digest) d = { NULL };

        digest_init(&d);
        digest_update(&d, data, size);
        digest_final(&d, ret);
}

void digest_hex(const guint8 bytes[DIGEST_SIZE], char ret[DIGEST_HEX]) {
        static const char digits[] = "0123456789abcdef";

        for (gsize i = 0; i < DIGEST_SIZE; i++) {
                ret[2 * i] = digits[bytes[i] >> 4];
                ret[2 * i + 1] = digits[bytes[i] & 15];
        }
        ret[2 * DIGEST_SIZE] = '\0';
}

void digest_string(const guint8 bytes[DIGEST_SIZE], char ret[DIGEST_STRING]) {
        digest_hex(bytes, g_stpcpy(ret, "sha256:"));
}

static int digit_value(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return -1;
}

/** digest_parse_hex() - exactly 64 lower-case hexadecimal digits */
gboolean digest_parse_hex(const char *hex, guint8 ret[DIGEST_SIZE]) {
        for (gsize i = 0; i < DIGEST_SIZE; i++) {
                int high = digit_value(hex[2 * i]);
                int low = high < 0 ? -1 : digit_value(hex[2 * i + 1]);

                if (low < 0)
                        return FALSE;
                ret[i] = (guint8)(high << 4 | low);
        }
        return hex[2 * DIGEST_SIZE] == '\0';
}

/** digest_parse() - a digest string of the image specification; other algorithms than sha256 are not supported */
gboolean digest_parse(const char *text, guint8 ret[DIGEST_SIZE], GError **error) {
        g_autofree char *shown = NULL;

        if (text && g_str_has_prefix(text, "sha256:") && digest_parse_hex(text + 7, ret))
                return TRUE;
        if (text && g_str_has_prefix(text, "sha512:"))
                return store_fail(error, STORE_FAIL_UNSUPPORTED, "Digests of sha512 are not supported");
        shown = text ? g_strescape(text, NULL) : g_strdup("(none)");
        return store_fail(error, STORE_FAIL_INVALID, "'%.100s' is not a digest", shown);
}
