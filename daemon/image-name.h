/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names of images: [HOST[:PORT]/]PATH[:TAG][@DIGEST], as users of docker write them. */

#include <glib.h>
#include <stdbool.h>

#define IMAGE_NAME_MAX 255U
#define IMAGE_TAG_MAX 128U

bool digest_valid(const char *s);
bool image_name_valid(const char *name);
char *image_name_normalise(const char *name);
