/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text for people: sizes, ages, visible control characters; and what people write: sizes, numbers, signals. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_SIZE_MAX 32U

/* for people */
char *text_visible(const char *s);
size_t text_width(const char *s);
const char *text_size(uint64_t bytes, char ret[TEXT_SIZE_MAX]);
char *text_span(uint64_t usec);
char *text_age(uint64_t then, uint64_t now);
char *text_command(char *const *argv);
const char *text_digest(const char *digest, char ret[TEXT_SIZE_MAX]);

/* from people; false: not understood */
bool parse_size(const char *s, uint64_t *ret);
bool parse_unsigned(const char *s, uint64_t max, uint64_t *ret);
bool parse_cpus(const char *s, uint64_t *ret_usec_per_sec);
bool parse_seconds(const char *s, uint64_t *ret_usec);
bool parse_duration(const char *s, uint64_t *ret_usec);
const char *duration_read(const char *s, uint64_t *ret_usec);
bool parse_moment(const char *s, uint64_t now_usec, uint64_t *ret_usec);
