/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names of images, [HOST[:PORT]/]PATH[:TAG][@DIGEST] as users of docker write them, and digests; manager and store
 * agree on them. */

#include <stdbool.h>
#include <stddef.h>

#define IMAGE_NAME_MAX 255U
#define IMAGE_NAME_MAX_TEXT "255"
#define IMAGE_TAG_MAX 128U

bool digest_valid(const char *s);
bool digest_part(const char *s);
const char *image_name_why(const char *name);
size_t image_name_repository(const char *name);
size_t image_name_host(const char *name);
bool image_name_matches(const char *name, const char *wanted);
int image_name_normalise(const char *name, char **ret);
int image_name_qualify(const char *name, const char *registry, char **ret);
bool image_registry_valid(const char *s);
