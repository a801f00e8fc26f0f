/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* sha256 by OpenSSL, and digest strings ("sha256:" and 64 hexadecimal digits). */

#include <glib.h>
#include <openssl/evp.h>

#define DIGEST_SIZE 32U
#define DIGEST_HEX 65U    /* with NUL */
#define DIGEST_STRING 72U /* "sha256:" + hex + NUL */

typedef struct Digest Digest;

struct Digest {
        EVP_MD_CTX *context;
};

void digest_init(Digest *d);
void digest_update(Digest *d, const void *data, gsize size);
void digest_final(Digest *d, guint8 ret[DIGEST_SIZE]); /* and begins anew */
void digest_done(Digest *d);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Digest, digest_done)

void digest_bytes(const void *data, gsize size, guint8 ret[DIGEST_SIZE]);
void digest_hex(const guint8 bytes[DIGEST_SIZE], char ret[DIGEST_HEX]);
void digest_string(const guint8 bytes[DIGEST_SIZE], char ret[DIGEST_STRING]);
gboolean digest_parse_hex(const char *hex, guint8 ret[DIGEST_SIZE]);
gboolean digest_parse(const char *text, guint8 ret[DIGEST_SIZE], GError **error);
