/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A seccomp profile as rules by name, and its compilation to a BPF program. */

#include <glib.h>
#include <json-glib/json-glib.h>

#define SECCOMP_CONDITIONS_MAX 6

typedef enum SeccompArch {
        SECCOMP_ARCH_X86_64,
        SECCOMP_ARCH_X86,
        SECCOMP_ARCH_X32,
        _SECCOMP_ARCH_MAX,
} SeccompArch;

typedef enum SeccompCompare {
        SECCOMP_CMP_NE,
        SECCOMP_CMP_LT,
        SECCOMP_CMP_LE,
        SECCOMP_CMP_EQ,
        SECCOMP_CMP_GE,
        SECCOMP_CMP_GT,
        SECCOMP_CMP_MASKED_EQ, /* (argument & value) == (value_two & value) */
} SeccompCompare;

typedef struct SeccompCondition {
        guint32 index; /* of the argument */
        SeccompCompare op;
        guint64 value, value_two;
} SeccompCondition;

typedef struct SeccompRule {
        const char *name; /* borrowed */
        guint32 action;   /* SECCOMP_RET_* with its data */
        guint n;          /* conditions, all of which must hold; none: always */
        SeccompCondition conditions[SECCOMP_CONDITIONS_MAX];
} SeccompRule;

typedef struct SeccompProfile {
        guint32 default_action;
        guint32 flags;  /* SECCOMP_FILTER_FLAG_* */
        guint32 arches; /* bit SeccompArch; x86-64 is always in */
        GArray *rules;  /* SeccompRule */
} SeccompProfile;

void seccomp_profile_init(SeccompProfile *profile, guint32 default_action);
void seccomp_profile_clear(SeccompProfile *profile);
void seccomp_profile_add(SeccompProfile *profile, const SeccompRule *rule);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SeccompProfile, seccomp_profile_clear)

void seccomp_known(JsonObject *object); /* what config.json may name: actions, operators, archs, knownFlags */
gboolean seccomp_profile_parse(SeccompProfile *ret, JsonObject *object, const char *path, GError **error);
gboolean seccomp_profile_parse_listening(SeccompProfile *ret, JsonObject *object, const char *path,
                                         const char **ret_listener, const char **ret_metadata, GError **error);
void seccomp_profile_default(SeccompProfile *ret, guint64 capabilities);
JsonObject *seccomp_profile_to_json(const SeccompProfile *profile);
gboolean seccomp_profile_supervisor(const SeccompProfile *container, SeccompProfile *ret);
GBytes *seccomp_compile(const SeccompProfile *profile, GError **error); /* struct sock_filter[] */

/* names */
#define SECCOMP_NUMBER_NONE G_MININT /* no such call on that architecture, or known to nobody */
typedef struct SeccompNumber {
        int direct;      /* number, with the x32 bit, or SECCOMP_NUMBER_NONE */
        int multiplexer; /* socketcall or ipc, or SECCOMP_NUMBER_NONE */
        guint32 call;    /* the multiplexer's first argument */
} SeccompNumber;
gboolean seccomp_number(SeccompArch arch, const char *name, SeccompNumber *ret);
char *seccomp_call_name(guint32 audit_arch, int call);
const char *seccomp_arch_name(guint32 audit_arch, int call);

/* what programs depend on beside the profile, for the keys of a cache that outlives this build */
void seccomp_default_hash(GChecksum *checksum);
void seccomp_supervisor_hash(GChecksum *checksum);
void seccomp_names_hash(GChecksum *checksum);

/* cache of programs by key */
GBytes *seccomp_cache_get(const char *key, const char *dir);
void seccomp_cache_put(const char *key, const char *dir, GBytes *program);
