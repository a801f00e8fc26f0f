/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a registry worker is asked, and the check of what it says.
 *
 * The worker talks to strangers and may have been taken over by one: its answer is two digests and a number, each of
 * which has a form here, and what is in the stream is verified by the store. Whether a host may be talked to in the
 * clear is decided here: those that the configuration names, and this machine itself. Credentials are a descriptor that
 * is passed on unread.
 */

#include <arpa/inet.h>
#include <string.h>

#include "daemon/error.h"
#include "daemon/pull.h"
#include "daemon/record.h"
#include "shared/image-name.h"
#include "shared/macros.h"

/** pull_host_insecure() - whether plain HTTP is allowed with the registry of a name in full */
bool pull_host_insecure(const Config *config, const char *name) {
        g_autofree char *host = g_strndup(name, strcspn(name, "/")), *bare = g_strndup(host, strcspn(host, ":"));
        struct in_addr address;

        for (char **h = config->insecure_registries; h && *h; h++)
                if (g_ascii_strcasecmp(*h, host) == 0)
                        return true;
        return streq(bare, "localhost") ||
               (inet_pton(AF_INET, bare, &address) == 1 && ntohl(address.s_addr) >> 24 == IN_LOOPBACKNET);
}

static void add_limits(const Manager *m, const ImportOptions *options, JsonObject *request) {
        JsonObject *limits = image_import_limits(m, options);

        json_object_set_int_member(limits, "connect_usec", (gint64)m->config.connect_timeout_usec);
        json_object_set_int_member(limits, "stall_usec", (gint64)m->config.stall_timeout_usec);
        json_object_set_int_member(limits, "retries", m->config.registry_retries);
        json_object_set_object_member(request, "limits", limits);
}

/**
 * pull_request() - the request of shared/registry-protocol.h; a new reference
 * @have: layers to leave out; NULL only asks what the name means now
 */
JsonObject *pull_request(const Manager *m, const PullOptions *options, const PullHave *have) {
        JsonObject *o = json_object_new();

        json_object_set_string_member(o, "reference", options->image.name);
        if (options->image.platform)
                json_object_set_string_member(o, "platform", options->image.platform);
        if (have)
                json_object_set_array_member(o, "have", pull_have_digests(have));
        else
                json_object_set_boolean_member(o, "digest_only", true);
        if (pull_host_insecure(&m->config, options->image.name))
                json_object_set_boolean_member(o, "insecure", true);
        if (options->authorization >= 0) {
                JsonArray *hosts = json_array_new();

                for (char **h = m->config.token_hosts; h && *h; h++)
                        json_array_add_string_element(hosts, *h);
                json_object_set_boolean_member(o, "credentials", true);
                json_object_set_array_member(o, "token_hosts", hosts);
        }
        add_limits(m, &options->image, o);
        return o;
}

/** pull_answer_done() - frees what pull_answer_parse() has filled in */
void pull_answer_done(PullAnswer *a) {
        g_free(a->digest);
        g_free(a->manifest);
        *a = (PullAnswer){ 0 };
}

/**
 * pull_answer_parse() - checks a registry worker's result
 * @name: in full; where it carries a digest, that is the only one the answer may hold
 */
int pull_answer_parse(const char *name, JsonObject *result, PullAnswer *ret, sd_bus_error *error) {
        const char *digest, *manifest = "", *at = strchr(name, '@');
        uint64_t fetched = 0;
        int r;

        r = record_get_string(result, "digest", &digest);
        if (r >= 0 && json_object_has_member(result, "manifest"))
                r = record_get_string(result, "manifest", &manifest);
        if (r >= 0 && json_object_has_member(result, "fetched"))
                r = record_get_u64(result, "fetched", &fetched);
        if (r < 0 || !digest_valid(digest) || (*manifest && !digest_valid(manifest)))
                return error_internal(error, "The registry worker's account of \"%s\" cannot be used.", name);
        if (at && !streq(at + 1, digest))
                return error_invalid(error, "The registry has another digest for \"%s\": %s.", name, digest);

        *ret = (PullAnswer){ g_strdup(digest), g_strdup(manifest), fetched };
        return 0;
}

/** pull_answer_means() - whether an image is what the registry has under its name now, for the platform asked for */
bool pull_answer_means(const PullAnswer *a, const ImageRecord *record) {
        if (*a->manifest)
                return streq(record->digest, a->manifest);
        return streq(*record->index ? record->index : record->digest, a->digest);
}
